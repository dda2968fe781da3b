"""From a plan to pictures: `perform` takes one item over reserve → send → write → settle, `execute` takes many."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path

from runner import images
from runner.baton import aside, carried, heavy, taken
from runner.booking import Done, Means, Stop, book, restore
from runner.contracts.contract import Contract, OptionValue
from runner.errors import DiskError, OmixaError
from runner.images.seen import FILE_NAME as SEEN
from runner.images.seen import forget
from runner.lanes import Lanes
from runner.ledger import known
from runner.ledger.clocks import is_off
from runner.ledger.values import (
    THIS_APPROVAL,
    AlreadyBought,
    Asked,
    Cap,
    ClockDoubted,
    FirstOfPrice,
    Frozen,
    InFlight,
    Refusal,
    Reservation,
    Reserved,
    RunFacts,
    Stopped,
    Unpriced,
)
from runner.money import show
from runner.pile import Pile
from runner.plan import Draft, Item, digest, plain
from runner.providers.provider import Declined, Order, Outcome
from runner.providers.spool import part_of
from runner.recovery import recover
from runner.shelf import Shelf
from runner.spares import Spares
from runner.turns import Turns
from runner.windows import local_text

# How often one item may be sent in a run when each time it is certain that nothing was billed (contract B).
TRIES_MAX = 4

# Free space that must be there for each request in flight before it leaves, so that its answer can be kept: raw,
# decoded, as a kept result and as the output, for a picture of 12 MB.
FREE_BYTES_PER_REQUEST = 56 * 1024 * 1024

# The longest the whole run holds back because the provider asked for it.
PAUSE_S_MAX = 600.0

# How long to wait before asking the ledger again for money that other processes hold, and to look for dead ones.
ASK_AGAIN_S = (0.02, 0.5)
LOOK_FOR_DEAD_S = 2.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How the items of one step are bought. `ceiling_micros`: the most one request may cost."""

    contract: Contract
    ceiling_micros: int
    output_format: str
    flatten: str | None


@dataclass(frozen=True, slots=True)
class Purchase:
    """How the items of one run are bought. `terms`: of each step, by its name; what cannot be bought has none.

    `follow` decides about an item that is made of a result which has just come; the text is that result's digest.
    `copies` of what was sent, and `answers` that were booked, are written over.
    """

    run_id: int
    run: RunFacts
    terms: Mapping[str, Terms]
    caps: Sequence[Cap]
    follow: Callable[[Item, str], Item]
    work: Path
    again: bool
    concurrency: int
    copies: Spares
    answers: Spares

    def of(self, draft: Draft) -> Terms:
        """The terms of a draft's step."""
        return self.terms[draft.step]


class Control:
    """The run's brakes, safe to use from any thread: finish what is in flight, or stop now."""

    def __init__(self) -> None:
        self._finish = threading.Event()
        self._changed = threading.Condition()
        self._pause_until = 0.0
        # Only one thread of a run at a time waits for money; the others queue behind it instead of asking too.
        self.turn = threading.Lock()

    @property
    def finishing(self) -> bool:
        """True when nothing new may be started."""
        return self._finish.is_set()

    def finish(self) -> None:
        """Start nothing new; what is in flight goes on."""
        self._finish.set()
        self.changed()

    def changed(self) -> None:
        """Something ended: whoever waits for money may ask again."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until something changes, at most so long."""
        with aside(), self._changed:
            if not self._finish.is_set():
                self._changed.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long: the provider asked for it."""
        self._pause_until = max(self._pause_until, time.monotonic() + seconds)

    def pass_pause(self) -> None:
        """Wait until sending is allowed again, or the run finishes."""
        while not self.finishing and (left := self._pause_until - time.monotonic()) > 0:
            with aside():
                self._finish.wait(left)


# ---- one item


def perform(item: Item, purchase: Purchase, means: Means, control: Control) -> Done:
    """Take one item over reserve → send → write → settle. Raises LedgerError when the ledger cannot be written."""
    if item.action == "restore":
        return restore(item, item.paid.result_digest if item.paid else None, purchase.run, means)
    draft = item.draft
    terms = purchase.of(draft)
    prepared = _prepared(draft, terms, purchase)
    if isinstance(prepared, images.Unsuitable):
        if prepared.reason == images.CHANGED:
            # A memory that missed the change would make the same wrong plan again, and again every night.
            forget(means.home / SEEN, prepared.path)
        return Done(item, "unsuitable", prepared.reason)
    options = _drawn(draft, terms.contract)
    path, media_type = (None, None) if prepared is None else (prepared.path, prepared.media_type)
    order = Order(terms.contract.model, options, path, media_type)
    asked = _asked(draft, terms.contract, options)
    try:
        for tries_left in reversed(range(TRIES_MAX)):
            control.pass_pause()
            if control.finishing:
                return Done(item, "unfinished", "not sent: the run is ending")
            no_space = _no_space(means, draft, purchase.concurrency)
            if no_space is not None:
                return Done(item, "unfinished", no_space.message, stop=no_space)
            reservation = _reserve(asked, terms.ceiling_micros, purchase, means, control)
            if not isinstance(reservation, Reserved):
                return _not_reserved(item, reservation, purchase, means)
            if control.finishing:
                return _give_back(item, reservation, purchase, means)
            spool = means.spool_of(purchase.run.uid, reservation.attempt_id)
            began = means.now()
            purchase.answers.give(part_of(spool))
            try:
                outcome = means.provider.send(order, spool=spool, on_sending=_recorder(reservation, purchase, means))
                _check_clock(outcome, began, purchase.run, means)
                done = book(item, reservation, outcome, spool, purchase.run, means, spares=purchase.answers)
                if means.ledger.checkpoint_due:
                    means.ledger.checkpoint_due = False
                    with suppress(OmixaError):  # the one at the end of the run tells
                        means.checkpoint()
            finally:
                control.changed()
            if not isinstance(outcome, Declined) or outcome.retry_after_s is None:
                return done
            # Not billed, and the provider says when to come back: the one case that is sent again by itself.
            if tries_left == 0:
                return _gave_up(done, outcome)
            control.pause(min(outcome.retry_after_s * 2 ** (TRIES_MAX - 1 - tries_left), PAUSE_S_MAX))
        raise AssertionError("the last try returns")
    finally:
        if prepared is not None:
            purchase.copies.keep(prepared.path)


def _prepared(draft: Draft, terms: Terms, purchase: Purchase) -> "images.Prepared | images.Unsuitable | None":
    """The picture as it is sent; None for a model that takes none."""
    limits = terms.contract.pictures
    if limits is None:
        return None
    assert draft.picture is not None
    with heavy(draft.picture.size_bytes):
        return images.prepare(
            draft.picture,
            output_format=terms.output_format,
            flatten=terms.flatten,
            limits=limits,
            folder=purchase.work,
            spare=purchase.copies.give,
        )


def _drawn(draft: Draft, contract: Contract) -> dict[str, OptionValue]:
    """What is sent, in the order of the contract; without a declared seed we draw our own, so that a paid picture can
    be asked for again (contract U8)."""
    given: dict[str, OptionValue] = dict(draft.options)
    if draft.prompt:
        given["prompt"] = draft.prompt
    if draft.negative is not None:
        given["negative_prompt"] = draft.negative
    seed = contract.field("seed")
    if seed is not None and seed.maximum is not None and not given.get("seed"):
        given["seed"] = 1 + secrets.randbelow(int(seed.maximum))
    return {field.name: given[field.name] for field in contract.options if field.name in given}


def _asked(draft: Draft, contract: Contract, options: dict[str, OptionValue]) -> Asked:
    assert draft.key is not None
    sent = {name: plain(value) for name, value in options.items() if name not in ("prompt", "negative_prompt")}
    return Asked(
        model=contract.model,
        item_key=draft.key,
        source_path=draft.source_path,
        source_digest=draft.picture.digest if draft.picture is not None else "",
        source_bytes=draft.picture.size_bytes if draft.picture is not None else 0,
        prompt_name=draft.prompt_name,
        prompt=draft.prompt,
        prompt_digest=digest(draft.prompt),
        negative=draft.negative,
        negative_digest=None if draft.negative is None else digest(draft.negative),
        preset_name=draft.preset_name,
        options=json.dumps(sent, sort_keys=True),
        output_path=draft.output_path,
    )


def _no_space(means: Means, draft: Draft, in_flight: int) -> Stop | None:
    """Why a disk cannot take the answers of all that may be in flight, or None."""
    needed = FREE_BYTES_PER_REQUEST * in_flight
    for folder in (means.spool, draft.output.parent):
        free = images.free_bytes(folder)
        if free < needed:
            return Stop(
                "disk",
                f"`{folder}` has {free >> 20} MiB free, at least {needed >> 20} MiB are needed for {in_flight} in "
                "flight before a paid request leaves; nothing was sent",
                "free some space, or lower `concurrency` in omixa.toml, and run again",
            )
    return None


def _reserve(asked: Asked, ceiling_micros: int, purchase: Purchase, means: Means, control: Control) -> Reservation:
    """Reserve; while money or this very item is in flight, here or in another process, wait and ask again.

    So a cap is filled exactly, whatever the number of processes.
    """

    def ask() -> Reservation:
        return means.ledger.reserve(
            purchase.run_id,
            purchase.run,
            asked,
            amount_micros=ceiling_micros,
            caps=purchase.caps,
            at=means.now(),
            again=purchase.again,
        )

    reservation = ask()
    if not _moves(reservation):
        return reservation
    with taken(control.turn):
        pause, looked = ASK_AGAIN_S[0], time.monotonic()
        while _moves(reservation) and not control.finishing:
            control.wait(pause)
            pause = min(pause * 2, ASK_AGAIN_S[1])
            if time.monotonic() - looked > LOOK_FOR_DEAD_S:
                # A process that was killed holds its money until somebody finishes its attempts.
                recover(means)
                looked = time.monotonic()
            reservation = ask()
        return reservation


def _moves(reservation: Reservation) -> bool:
    """Whether waiting can change the answer."""
    match reservation:
        case Refusal(may_free=True):
            return True
        case InFlight(state=state):
            return state != "unknown"
        case FirstOfPrice():
            return True
        case _:
            return False


def _not_reserved(item: Item, reservation: Reservation, purchase: Purchase, means: Means) -> Done:
    match reservation:
        case AlreadyBought(result_digest=result_digest):
            return restore(item, result_digest, purchase.run, means)
        case InFlight(attempt_id=attempt_id):
            return Done(item, "unfinished", f"attempt {attempt_id} is not resolved: omixa resolve {attempt_id}")
        case FirstOfPrice(attempt_id=attempt_id):
            return Done(item, "unfinished", f"not sent: attempt {attempt_id} is finding out what one costs")
        case Reserved():
            raise AssertionError("a reservation is sent")
        case _:
            stop = why_not(reservation, purchase.run)
            return Done(item, "refused", stop.message, stop=stop)


def why_not(reservation: Stopped | Refusal | Unpriced | ClockDoubted | Frozen, run: RunFacts) -> Stop:
    """Why nothing more can be reserved, in words, with the command that lets it go on."""
    match reservation:
        case Stopped():
            return Stop(reservation.cause, *stopped_text(reservation, run.workspace, run.zone))
        case Refusal():
            return Stop(
                "budget", refusal_text(reservation, run.currency), _more_room(reservation.budget, run.workspace)
            )
        case Unpriced(model):
            return Stop(
                "budget",
                f"nobody knows what one request of {model} may cost: no ceiling is declared and no bill was seen",
                "declare the most that one request may cost, in `ceilings` of the workspace in omixa.toml",
            )
        case ClockDoubted(reason):
            hint = "set the clock if it is wrong; when it is right: omixa doctor --confirm-clock --note …"
            return Stop("clock", reason, hint)
        case Frozen(reason):
            hint = "nothing is reserved until a person has looked: `omixa audit verify`, then `omixa audit repair`"
            return Stop("frozen", f"the ledger is frozen: {reason}", hint)


def stopped_text(stopped: Stopped, workspace: str, zone: str) -> tuple[str, str]:
    """Why a workspace is stopped, by whom and until when, and the command that lets it go on."""
    what = "everything is stopped" if stopped.everywhere else f"workspace {workspace} is stopped"
    if stopped.cause == "stop":
        until = ""
        if stopped.until is not None:
            until = f" until {local_text(datetime.fromisoformat(stopped.until), zone)}"
        what += f" by {stopped.who}{until}"
    where = "" if stopped.everywhere else f" --workspace {workspace}"
    return f"{what}: {stopped.reason}", f"omixa resume{where} --note …"


def _more_room(budget: str, workspace: str) -> str:
    """What lets a run go on that this budget refused."""
    if budget == THIS_APPROVAL:
        return "`omixa approve` approves the same plan up to a higher amount; `omixa run --plan` then goes on"
    if budget.endswith(f" of workspace {workspace}"):
        return "see `omixa budget`; `omixa grant` raises a window of the workspace for a while"
    return "see `omixa budget`; it is raised in the recipe's `[budget]`: a grant is for budgets of the workspace"


def refusal_text(refusal: Refusal, currency: str) -> str:
    """Which budget refuses, what it has left until when, and what was asked for."""
    until = f" until {refusal.ends_local}" if refusal.ends_local else ""
    return (
        f"budget {refusal.budget} has {show(max(refusal.left_micros, 0), currency)} left{until}; "
        f"this request may cost {show(refusal.asked_micros, currency)}"
    )


def _recorder(reservation: Reserved, purchase: Purchase, means: Means) -> Callable[[], None]:
    def record() -> None:
        means.ledger.sent(reservation.attempt_id, who=purchase.run.who, at=means.now())

    return record


def _check_clock(outcome: Outcome, began: datetime, run: RunFacts, means: Means) -> None:
    """Doubt the clock when the endpoint's own is far from it: then the windows may be wrong ones."""
    try:
        said = parsedate_to_datetime(outcome.evidence.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return
    # RFC 5322 has a zone for "UTC, and nothing is known of the place"; Python gives it without one.
    said, now = (said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC), means.now()
    # The header is of some moment between the first byte sent and the last byte received.
    if is_off(said, min(max(said, began), now)):
        means.ledger.doubt_clock(
            f"the endpoint said it was {said:%Y-%m-%d %H:%M} UTC when this clock said {now:%Y-%m-%d %H:%M} UTC",
            who=run.who,
            at=now,
        )


def _give_back(item: Item, held: Reserved, purchase: Purchase, means: Means) -> Done:
    """The run began to end while the money was being set aside: nothing is sent any more."""
    message = "not sent: the run is ending"
    means.ledger.release(
        held.attempt_id, code="never-sent", message=message, evidence=None, who=purchase.run.who, at=means.now()
    )
    return Done(item, "unfinished", message, held.attempt_id)


def _gave_up(done: Done, outcome: Declined) -> Done:
    message = f"{outcome.message}; given up after {TRIES_MAX} tries, nothing was billed"
    stop = Stop("provider", message, "run again when the endpoint can be reached; what is left is bought then")
    return Done(done.item, done.kind, message, done.attempt_id, stop=stop)


# ---- many items


# So many of the items that a person should look at are told in full; of the others, how many there are.
TROUBLES_TOLD = 1_000


@dataclass(slots=True)
class Tally:
    """How a run went. `by_step`: how many of which step ended how. `left`: the names of items that were wanted and not
    bought (`Draft.missing`). `troubles`: the first of the items that a person should look at, `trouble_counts` how many
    ended how; `unwritten`: how many are paid for and could not be written out. `stopping`: what stopped the run first.

    `canary`: what became of the items of the canary, until it is asked whether the others are to be bought; else None.
    """

    counts: dict[str, int] = field(default_factory=dict)
    by_step: dict[tuple[str, str], int] = field(default_factory=dict)
    billed_micros: int = 0
    held_micros: int = 0
    stop: Stop | None = None
    stopping: Done | None = None
    left: Pile = field(default_factory=Pile)
    troubles: list[Done] = field(default_factory=list)
    trouble_counts: dict[str, int] = field(default_factory=dict)
    unwritten: int = 0
    canary: list[Done] | None = None
    failure: BaseException | None = None
    interrupted: bool = False

    def add(self, done: Done) -> None:
        """Count one item."""
        if self.canary is not None:
            self.canary.append(done)
        self.counts[done.kind] = self.counts.get(done.kind, 0) + 1
        of_step = done.item.draft.step, done.kind
        self.by_step[of_step] = self.by_step.get(of_step, 0) + 1
        self.billed_micros += done.billed_micros
        self.held_micros += done.held_micros
        self.stop = self.stop or done.stop
        if done.kind in ("refused", "unfinished"):
            self.left.append(done.item.draft.missing)
        elif done.kind not in ("bought", "restored") or done.remark or done.unwritten:
            self._trouble(done)

    def _trouble(self, done: Done) -> None:
        self.trouble_counts[done.kind] = self.trouble_counts.get(done.kind, 0) + 1
        self.unwritten += done.unwritten
        if self.stopping is None and done.stop is not None:
            self.stopping = done
        if len(self.troubles) < TROUBLES_TOLD:
            self.troubles.append(done)


def execute(
    items: Shelf,
    purchase: Purchase,
    means: Means,
    control: Control,
    *,
    concurrency: int,
    watch: Callable[[Done], None],
    canary: int | None = None,
    approve: Callable[[Tally], Stop | None] = lambda _: None,
    lanes: Lanes | None = None,
) -> Tally:
    """Buy and restore, `concurrency` at a time; `watch` hears of every item, one at a time, from worker threads.

    With `lanes` no more are in flight than have a place there, beside those of other runs. However many items there
    are, some hundred are held.

    Stops taking new items when a budget refuses, the provider stops or `control` says so; what is in flight finishes.
    `Tally.interrupted` says the last. What is paid for comes first, so that no budget keeps it away. What is made of a
    result is bought as soon as that is there, and not at all when it does not come. With a `canary`, so many are bought
    before the others, with all that is made of them, and `approve` says why the others must not be, or None; without
    any others it is not asked. Raises what made the ledger unusable, after every worker has ended.
    """
    tally = Tally()
    results: Mapping[str, str | None] = {}
    for name, batch, count in _batches(items, canary):
        tally.canary = [] if name == "canary" else None
        # What shares another's purchase, or is made of its result, waits until that one is through.
        turns = Turns(batch, results, keep=name == "canary")
        _work_off(turns, purchase, means, control, min(concurrency, count), tally, watch, lanes)
        results = turns.results
        if tally.failure is not None:
            raise tally.failure
        if name == "canary" and not control.finishing:
            tally.stop = approve(tally)
            if tally.stop is not None:
                control.finish()
    tally.canary = None
    tally.interrupted = control.finishing and tally.stop is None
    return tally


def _batches(items: Shelf, canary: int | None) -> Iterator[tuple[str, Iterable[Item], int]]:
    """What is paid for, which takes no money, so that nothing which a budget refuses may hold it up; the canary, with
    all that is made of it; and the others. Each with how many they are.

    Nothing waits for what is paid for: what is made of a kept result is made of that.
    """
    count = items.how_many("buy", "restore")
    paid = items.how_many("restore", alone=True)
    first = [] if canary is None else _canary(items, canary)
    if not first:
        yield "others", chain(_paid(items), _to_buy(items, ())), count
        return
    if paid:
        yield "paid", _paid(items), paid
    yield "canary", first, len(first)
    yield "others", _to_buy(items, {item.draft.output_path for item in first}), count - paid - len(first)


def _paid(items: Shelf) -> Iterator[Item]:
    return (item for item in items.of("restore") if item.after is None)


def _to_buy(items: Shelf, chosen: Collection[str]) -> Iterator[Item]:
    """What is to be bought, and what comes of that; but for these."""
    wanted = (item for item in items.of("buy", "restore") if item.action == "buy" or item.after is not None)
    return (item for item in wanted if item.draft.output_path not in chosen)


def _canary(items: Shelf, count: int) -> list[Item]:
    """The first so many to buy with all that is made of them; nothing when no others are left."""
    found: list[Item] = []
    chosen: set[str] = set()
    begun = 0
    for item in items.of("buy"):
        if not item.draft.awaits:
            begun += 1
            if begun > count:
                return found
        elif item.draft.origin not in chosen:
            continue
        chosen.add(item.draft.output_path)
        found.append(item)
    return []


def _work_off(
    turns: Turns,
    purchase: Purchase,
    means: Means,
    control: Control,
    concurrency: int,
    tally: Tally,
    watch: Callable[[Done], None],
    lanes: Lanes | None,
) -> None:
    telling = threading.Lock()

    def work() -> None:
        with carried():
            work_on()

    def work_on() -> None:
        item: Item | None = None
        while True:
            try:
                item = None
                item = turns.take(lambda: control.finishing)
                if item is None:
                    return
                with nullcontext() if lanes is None else lanes.place(purchase.run.uid, lambda: control.finishing):
                    done = _perform_in_turn(item, turns.result(item), purchase, means, control)
            except BaseException as error:  # noqa: BLE001 - handed to the caller by execute
                with telling:
                    tally.failure = tally.failure or error
                    if item is not None:
                        tally.left.append(item.draft.missing)
                control.finish()
                return
            if done.stop is not None:
                control.finish()
            turns.ended(item, done.result_digest)
            with telling:
                tally.add(done)
                with suppress(Exception):  # a terminal that went away must not end the purchase of the rest
                    watch(done)

    threads: list[threading.Thread] = []
    for number in range(concurrency):
        thread = threading.Thread(target=work, name=f"worker-{number}")
        try:
            thread.start()
        except RuntimeError as error:  # no more threads to be had: those that run do the work
            if not threads:
                raise DiskError("this machine cannot start a thread", "close other programs and run again") from error
            break
        threads.append(thread)
    for thread in threads:
        # In short steps, so that the main thread can hear Ctrl-C.
        while thread.is_alive():
            thread.join(0.2)
    tally.left.extend(item.draft.missing for item in turns.left())


def _perform_in_turn(item: Item, origin_digest: str | None, purchase: Purchase, means: Means, control: Control) -> Done:
    """Perform an item whose turn has come: with the result that it is made of, whose digest is `origin_digest`."""
    if not item.draft.awaits:
        return _perform_shared(item, purchase, means, control)
    if origin_digest is None:
        return Done(item, "unfinished", f"it is made of `{item.draft.origin}`, which did not come")
    now = purchase.follow(item, origin_digest)
    if now.action == "unsuitable":
        return Done(now, "unsuitable", now.reason)
    if now.action not in ("buy", "restore", "skip"):
        return Done(now, "unfinished", now.reason)
    return _perform_shared(
        replace(now, action="buy" if now.action == "buy" else "restore", after=item.after), purchase, means, control
    )


def _perform_shared(item: Item, purchase: Purchase, means: Means, control: Control) -> Done:
    """Perform an item; one that shares another's purchase is restored from what that one has paid for."""
    if item.after is None or item.draft.key is None:
        return perform(item, purchase, means, control)
    paid = known.paid(means.ledger.database, purchase.run.workspace, item.draft.key)
    if paid is None:
        return Done(item, "unfinished", f"it waits for `{item.after}`, which was not bought")
    return restore(item, paid.result_digest, purchase.run, means)
