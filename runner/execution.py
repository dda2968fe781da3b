"""From a plan to pictures: `perform` takes one item over reserve → send → write → settle, `execute` takes many.

`recover` finishes what a process that died has left. All three end an attempt through `_book`, and nothing else does.
"""

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from runner import images
from runner.contracts.contract import Contract, OptionValue
from runner.errors import DiskError, OmixaError
from runner.ledger import owners, usage
from runner.ledger.ledger import Ledger
from runner.ledger.values import (
    AlreadyBought,
    Asked,
    Cap,
    InFlight,
    Refusal,
    Reservation,
    Reserved,
    Result,
    RunFacts,
    Stopped,
)
from runner.money import show
from runner.plan import Draft, Item, digest, plain
from runner.providers.provider import Billed, Declined, Evidence, Order, Outcome, Provider, Unknown

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
class Means:
    """What a run works with. `root`: the project's folder; `home`: beside the ledger, holds spool, results, owners."""

    ledger: Ledger
    provider: Provider
    results: images.Results
    root: Path
    home: Path
    now: Callable[[], datetime]

    @property
    def spool(self) -> Path:
        """Where raw answers wait until they are booked."""
        return self.home / "spool"

    @property
    def work(self) -> Path:
        """Where each run keeps what it is about to send, in a folder of its uid."""
        return self.home / "work"

    def spool_of(self, run_uid: str, attempt_id: int) -> Path:
        """Where the raw answer of an attempt waits. With the run's uid, because numbers repeat in a restored ledger."""
        return self.spool / f"{run_uid}-{attempt_id}.answer"

    @property
    def raw(self) -> Path:
        """Where raw answers stay that a person may have to look at."""
        return self.home / "raw"


@dataclass(frozen=True, slots=True)
class Purchase:
    """How the items of one run are bought. `ceiling_micros`: the most one request may cost."""

    run_id: int
    run: RunFacts
    contract: Contract
    caps: Sequence[Cap]
    ceiling_micros: int
    output_format: str
    flatten: str | None
    work: Path
    again: bool
    concurrency: int


Kind = Literal["bought", "restored", "unusable", "declined", "unsent", "unknown", "refused", "unsuitable", "unfinished"]


@dataclass(frozen=True, slots=True)
class Done:
    """How one item ended. `stop` is why no further item can be bought, None when the run goes on.

    `held_micros`: set aside and not resolved. `attempt_id` is None when nothing was reserved.
    """

    item: Item
    kind: Literal[
        "bought", "restored", "unusable", "declined", "unsent", "unknown", "refused", "unsuitable", "unfinished"
    ]
    message: str | None = None
    attempt_id: int | None = None
    billed_micros: int = 0
    held_micros: int = 0
    remark: str | None = None
    unwritten: bool = False
    stop: "Stop | None" = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run cannot go on: which kind of trouble, and in words."""

    kind: Literal["budget", "provider", "ledger", "disk", "breach", "interrupted"]
    message: str
    hint: str | None = None


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
        with self._changed:
            if not self._finish.is_set():
                self._changed.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long: the provider asked for it."""
        self._pause_until = max(self._pause_until, time.monotonic() + seconds)

    def pass_pause(self) -> None:
        """Wait until sending is allowed again, or the run finishes."""
        while not self.finishing and (left := self._pause_until - time.monotonic()) > 0:
            self._finish.wait(left)


# ---- one item


def perform(item: Item, purchase: Purchase, means: Means, control: Control) -> Done:
    """Take one item over reserve → send → write → settle. Raises LedgerError when the ledger cannot be written."""
    if item.action == "restore":
        return _restore(item, item.paid.result_digest if item.paid else None, means)
    draft = item.draft
    assert draft.picture is not None
    prepared = images.prepare(
        draft.picture,
        output_format=purchase.output_format,
        flatten=purchase.flatten,
        limits=purchase.contract.pictures,
        folder=purchase.work,
    )
    if isinstance(prepared, images.Unsuitable):
        return Done(item, "unsuitable", prepared.reason)
    options = _drawn(draft, purchase.contract)
    order = Order(purchase.contract.model, options, prepared.path, prepared.media_type)
    asked = _asked(draft, purchase.contract, options)
    try:
        for tries_left in reversed(range(TRIES_MAX)):
            control.pass_pause()
            if control.finishing:
                return Done(item, "unfinished", "not sent: the run is ending")
            no_space = _no_space(means, draft, purchase.concurrency)
            if no_space is not None:
                return Done(item, "unfinished", no_space.message, stop=no_space)
            reservation = _reserve(asked, purchase, means, control)
            if not isinstance(reservation, Reserved):
                return _not_reserved(item, reservation, purchase, means)
            if control.finishing:
                return _give_back(item, reservation, purchase, means)
            spool = means.spool_of(purchase.run.uid, reservation.attempt_id)
            try:
                outcome = means.provider.send(order, spool=spool, on_sending=_recorder(reservation, purchase, means))
                done = _book(item, reservation, outcome, spool, purchase.run, means)
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
        with suppress(OSError):
            prepared.path.unlink(missing_ok=True)


def _drawn(draft: Draft, contract: Contract) -> dict[str, OptionValue]:
    """What is sent, in the order of the contract; without a declared seed we draw our own, so that a paid picture can
    be asked for again (contract U8)."""
    given: dict[str, OptionValue] = {**draft.options, "prompt": draft.prompt}
    if draft.negative is not None:
        given["negative_prompt"] = draft.negative
    seed = contract.field("seed")
    if seed is not None and seed.maximum is not None and not given.get("seed"):
        given["seed"] = 1 + secrets.randbelow(int(seed.maximum))
    return {field.name: given[field.name] for field in contract.options if field.name in given}


def _asked(draft: Draft, contract: Contract, options: dict[str, OptionValue]) -> Asked:
    assert draft.picture is not None
    assert draft.key is not None
    sent = {name: plain(value) for name, value in options.items() if name not in ("prompt", "negative_prompt")}
    return Asked(
        model=contract.model,
        item_key=draft.key,
        source_path=draft.source_path,
        source_digest=draft.picture.digest,
        source_bytes=draft.picture.size_bytes,
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


def _reserve(asked: Asked, purchase: Purchase, means: Means, control: Control) -> Reservation:
    """Reserve; while money or this very item is in flight, here or in another process, wait and ask again.

    So a cap is filled exactly, whatever the number of processes.
    """

    def ask() -> Reservation:
        return means.ledger.reserve(
            purchase.run_id,
            purchase.run,
            asked,
            amount_micros=purchase.ceiling_micros,
            caps=purchase.caps,
            at=means.now(),
            again=purchase.again,
        )

    reservation = ask()
    if not _moves(reservation):
        return reservation
    with control.turn:
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
        case _:
            return False


def _not_reserved(item: Item, reservation: Reservation, purchase: Purchase, means: Means) -> Done:
    match reservation:
        case AlreadyBought(result_digest=result_digest):
            return _restore(item, result_digest, means)
        case InFlight(attempt_id=attempt_id):
            return Done(item, "unfinished", f"attempt {attempt_id} is not resolved: omixa resolve {attempt_id}")
        case Stopped(reason=reason):
            message = f"workspace {purchase.run.workspace} is stopped: {reason}"
            hint = f"omixa resume --workspace {purchase.run.workspace} --note …"
            return Done(item, "refused", message, stop=Stop("breach", message, hint))
        case Refusal():
            message = refusal_text(reservation, purchase.run.currency)
            return Done(item, "refused", message, stop=Stop("budget", message))
        case Reserved():
            raise AssertionError("a reservation is sent")


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


# ---- how an attempt ends

# Codes of attempts of which no byte of the body left.
NOTHING_SENT = ("not-sent", "never-sent", "spool-unwritable", "picture-unreadable", "not-in-contract")

_PROVIDER_HINTS = {
    "key-refused": "check the workspace's `api_key` in omixa.toml, and that the key is still valid, then run again",
    "account-empty": "top up the account at the provider, then run again",
    "spool-unwritable": "make the ledger's folder writable, then run again",
}


def _book(item: Item, held: Reserved, outcome: Outcome, spool: Path, run: RunFacts, means: Means) -> Done:
    """End an attempt in the ledger by what came back. The picture is on disk before the booking."""
    ledger, attempt_id = means.ledger, held.attempt_id
    match outcome:
        case Declined(evidence, code, message, _, stops_run):
            ledger.release(attempt_id, code=code, message=message, evidence=evidence, who=run.who, at=means.now())
            _drop(spool)
            stop = Stop("provider", message, _PROVIDER_HINTS.get(code)) if stops_run else None
            kind: Kind = "unsent" if code in NOTHING_SENT else "declined"
            return Done(item, kind, message, attempt_id, stop=stop)
        case Unknown(evidence, code, message):
            ledger.unknown(
                attempt_id,
                code=code,
                message=message,
                evidence=evidence,
                result=None,
                who=run.who,
                at=means.now(),
            )
            _keep_raw(spool, means)
            told = f"{message}; it may have been billed and is not sent again: omixa resolve {attempt_id}"
            return Done(item, "unknown", told, attempt_id, held_micros=held.amount_micros)
        case Billed():
            return _book_billed(item, held, outcome, spool, run, means)


def _book_billed(item: Item, held: Reserved, billed: Billed, spool: Path, run: RunFacts, means: Means) -> Done:
    written = _write(item.draft, billed, means)
    result, trouble = written.result, written.trouble
    attempt_id, unwritten = held.attempt_id, result is not None and not result.delivered
    if billed.amount_micros is None:
        message = "it was bought, but the answer does not say for how much; the whole reservation stays held"
        means.ledger.unknown(
            attempt_id,
            code="amount-unreadable",
            message=message,
            evidence=billed.evidence,
            result=result,
            who=run.who,
            at=means.now(),
        )
        _keep_raw(spool, means)
        told = f"{message}: omixa resolve {attempt_id}"
        return Done(item, "unknown", told, attempt_id, held_micros=held.amount_micros, unwritten=unwritten)
    if result is None:
        trouble = f"billed, but no usable picture came: {trouble}"
    breach = means.ledger.settle(
        attempt_id,
        billed_micros=billed.amount_micros,
        billed_text=billed.amount_text,
        code="billed" if result else "billed-unusable",
        message=trouble,
        evidence=billed.evidence,
        result=result,
        who=run.who,
        at=means.now(),
    )
    stop = None
    if breach:
        stop = Stop(
            "breach",
            f"attempt {attempt_id} was billed {show(billed.amount_micros, run.currency)}, above its reservation of "
            f"{show(held.amount_micros, run.currency)}; workspace {run.workspace} is stopped",
            f"look at it with `omixa audit show {attempt_id}`, then: omixa resume --workspace {run.workspace} --note …",
        )
    if result is None:
        kept = _keep_raw(spool, means)
        trouble = f"{trouble}; the raw answer {f'is kept at `{kept}`' if kept else 'could not be kept'}"
    elif written.kept:
        _drop(spool)
    # Otherwise the spool has the only copy: the next run keeps it as a result (`_keep_left_behind`).
    return Done(
        item,
        "bought" if result else "unusable",
        trouble,
        attempt_id,
        billed_micros=billed.amount_micros,
        remark=result.remark if result else None,
        unwritten=unwritten,
        stop=stop,
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a picture that came: `kept` among the results; the trouble in words, None when there was none."""

    result: Result | None
    trouble: str | None
    kept: bool = False


def _write(draft: Draft, billed: Billed, means: Means) -> Written:
    """Keep the picture and write it out. Never raises: the bill is a fact, whatever happens to the picture."""
    if billed.result is None:
        return Written(None, billed.fault or "no picture came")
    try:
        return _written(draft, billed.result, means)
    except Exception as error:  # noqa: BLE001 - a mistake here must not keep the bill from being booked
        return Written(None, f"the picture could not be looked at ({type(error).__name__}: {error})")


def _written(draft: Draft, picture: Path, means: Means) -> Written:
    facts = images.result_facts(picture)
    if isinstance(facts, str):
        return Written(None, facts)
    trouble, kept, file = None, None, picture
    try:
        result_digest = means.results.keep(picture)
        kept = means.results.path(result_digest)
        file = kept or picture
    except DiskError as error:
        trouble = f"{error.message}; the paid picture stays in the spool"
        result_digest = _digest_of(picture)
    delivered = False
    try:
        _put(file, draft, means)
        delivered = True
    except DiskError as error:
        where = "kept" if kept else "in the spool"
        trouble = f"{error.message}; the paid picture is {where} and comes back with a later run, without paying"
    remark = images.looks_wrong(draft.source, file)
    result = Result(result_digest, facts.size_bytes, facts.width, facts.height, remark, delivered)
    return Written(result, trouble, kept is not None)


def _put(file: Path, draft: Draft, means: Means) -> None:
    """Write a picture to its output path, over an older delivery of ours that nobody has changed, and nothing else.

    Raises DiskError, also when somebody's file stands there: it may have come after the plan was made.
    """
    if not os.path.lexists(draft.output):
        images.write_atomically(file, draft.output, over=False)
        return
    found = _digest_of(draft.output) if draft.output.is_file() and not draft.output.is_symlink() else None
    ours = usage.delivered(means.ledger.database, draft.output_path)
    if found is None or found not in (ours, _digest_of(file)):
        raise DiskError(f"`{draft.output}` is a file that omixa did not write, or that was changed since")
    images.write_atomically(file, draft.output)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _restore(item: Item, result_digest: str | None, means: Means) -> Done:
    """Bring a paid picture back to its output path, without paying."""
    if result_digest is None:
        return Done(item, "unfinished", "it was paid for, but no usable picture came: --reroll buys it again")
    kept = means.results.path(result_digest)
    if kept is None:
        return Done(item, "unfinished", "it was paid for, but its kept result is gone: --reroll buys it again")
    try:
        if _digest_of(kept) != result_digest:
            return Done(item, "unfinished", f"it was paid for, but its kept result `{kept}` is damaged")
        _put(kept, item.draft, means)
    except (DiskError, OSError) as error:
        message = error.message if isinstance(error, DiskError) else f"`{kept}` cannot be read: {error.strerror}"
        return Done(item, "restored", message, unwritten=True)
    assert item.draft.key is not None
    means.ledger.deliver(item.draft.output_path, item.draft.key, result_digest, at=means.now())
    return Done(item, "restored")


def _drop(spool: Path) -> None:
    """Remove what an attempt left in the spool. Never raises: leftovers cost only space."""
    with suppress(OSError):
        for file in spool.parent.glob(f"{spool.name}*"):
            file.unlink(missing_ok=True)


def _keep_raw(spool: Path, means: Means) -> Path | None:
    """Move a raw answer to where a person can look at it; where it is then, None when there is none."""
    kept: Path | None = None
    if spool.exists():
        kept = means.raw / spool.name
        try:
            means.raw.mkdir(mode=0o700, exist_ok=True)
            spool.replace(kept)
        except OSError:
            return spool  # it stays in the spool, which is just as safe
    _drop(spool)
    return kept


# ---- many items


@dataclass(slots=True)
class Tally:
    """How a run went. `left`: items that were wanted and not bought; `troubles`: every item a person should look at."""

    counts: dict[str, int] = field(default_factory=dict)
    billed_micros: int = 0
    held_micros: int = 0
    stop: Stop | None = None
    left: list[Item] = field(default_factory=list)
    troubles: list[Done] = field(default_factory=list)
    failure: BaseException | None = None
    interrupted: bool = False

    def add(self, done: Done) -> None:
        """Count one item."""
        self.counts[done.kind] = self.counts.get(done.kind, 0) + 1
        self.billed_micros += done.billed_micros
        self.held_micros += done.held_micros
        self.stop = self.stop or done.stop
        if done.kind in ("refused", "unfinished"):
            self.left.append(done.item)
        elif done.kind not in ("bought", "restored") or done.remark or done.unwritten:
            self.troubles.append(done)


def execute(
    items: Sequence[Item],
    purchase: Purchase,
    means: Means,
    control: Control,
    *,
    concurrency: int,
    watch: Callable[[Done], None],
) -> Tally:
    """Buy and restore, `concurrency` at a time; `watch` hears of every item, one at a time, from worker threads.

    Stops taking new items when a budget refuses, the provider stops or `control` says so; what is in flight finishes.
    `Tally.interrupted` says the last. Raises what made the ledger unusable, after every worker has ended.
    """
    tally = Tally()
    wanted = [item for item in items if item.action in ("buy", "restore")]
    # An item that shares another's purchase waits until that one is through.
    for batch in ([i for i in wanted if i.after is None], [i for i in wanted if i.after is not None]):
        _work_off(batch, purchase, means, control, concurrency, tally, watch)
    if tally.failure is not None:
        raise tally.failure
    tally.interrupted = control.finishing and tally.stop is None
    return tally


def _work_off(
    batch: Sequence[Item],
    purchase: Purchase,
    means: Means,
    control: Control,
    concurrency: int,
    tally: Tally,
    watch: Callable[[Done], None],
) -> None:
    queue: Iterator[Item] = iter(batch)
    taking, telling = threading.Lock(), threading.Lock()

    def work() -> None:
        while not control.finishing:
            with taking:
                item = next(queue, None)
            if item is None:
                return
            try:
                done = _perform_shared(item, purchase, means, control)
            except BaseException as error:  # noqa: BLE001 - handed to the caller by execute
                with telling:
                    tally.failure = tally.failure or error
                    tally.left.append(item)
                control.finish()
                return
            if done.stop is not None:
                control.finish()
            with telling:
                tally.add(done)
                with suppress(Exception):  # a terminal that went away must not end the purchase of the rest
                    watch(done)

    threads: list[threading.Thread] = []
    for number in range(min(concurrency, len(batch))):
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
    tally.left.extend(queue)


def _perform_shared(item: Item, purchase: Purchase, means: Means, control: Control) -> Done:
    """Perform an item; one that shares another's purchase is restored from what that one has paid for."""
    if item.after is None or item.draft.key is None:
        return perform(item, purchase, means, control)
    paid = usage.paid(means.ledger.database, purchase.run.workspace, item.draft.key)
    if paid is None:
        return Done(item, "unfinished", f"it waits for `{item.after}`, which was not bought")
    return _restore(item, paid.result_digest, means)


# ---- after a death


def recover(means: Means) -> list[Done]:
    """Finish the attempts of runs whose process is gone: reserved → released, sent → settled from the spooled answer,
    otherwise unknown. Safe to repeat, and to be killed itself; runs of living processes are not touched.
    """
    found: list[Done] = []
    for run_id, uid in usage.open_runs(means.ledger.database):
        owner = owners.claim(means.home / "owners", uid)
        if owner is None:
            continue
        try:
            # Between the list and the lock its own process may have ended it in good order.
            if any(id_ == run_id for id_, _ in usage.open_runs(means.ledger.database)):
                found += [_recover_attempt(row, means) for row in usage.unfinished(means.ledger.database, run_id)]
                _sweep(run_id, uid, means)
                means.ledger.end_run(run_id, "died", at=means.now())
        except BaseException:
            owner.close()  # the run is still to be recovered: its lock file stays
            raise
        owner.let_go()
    _keep_left_behind(means)
    return found


def _keep_left_behind(means: Means) -> None:
    """Keep as results the pictures whose disk was full when they came. What cannot be kept stays where it is."""
    for picture in means.spool.glob("*.answer.picture"):
        spool = picture.with_suffix("")
        number = spool.stem.rpartition("-")[2]
        if number.isdigit() and usage.result_digest(means.ledger.database, int(number), spool.stem) is not None:
            with suppress(OmixaError, OSError):
                means.results.keep(picture)
                _drop(spool)


def _sweep(run_id: int, uid: str, means: Means) -> None:
    """Remove what the dead process had half written: nothing of it was booked as delivered."""
    shutil.rmtree(means.work / uid, ignore_errors=True)
    folders = {(means.root / path).parent for path in usage.output_paths(means.ledger.database, run_id)}
    for folder in [*folders, *means.results.folder.glob("*")]:
        images.sweep(folder)


def _recover_attempt(row: Any, means: Means) -> Done:
    run = usage.run_facts(means.ledger.database, row.run_id)
    item = Item(_draft_of(row, means), "buy", "recovered")
    held = Reserved(row.id, row.reserved_micros)
    spool = means.spool_of(run.uid, row.id)
    if row.state == "reserved":
        outcome: Outcome = Declined(_NO_EVIDENCE, "never-sent", "its process died before anything was sent")
    elif spool.exists():
        outcome = means.provider.read_spooled(spool)
    else:
        outcome = Unknown(_NO_EVIDENCE, "process-died", "its process died after sending, before the answer was kept")
    return _book(item, held, outcome, spool, run, means)


_NO_EVIDENCE = Evidence()


def _draft_of(row: Any, means: Means) -> Draft:
    """What an attempt was for, as far as booking it needs."""
    return Draft(
        source=means.root / row.source_path,
        source_path=row.source_path,
        picture=None,
        fault=None,
        prompt_name=row.prompt_name,
        prompt="",
        negative=None,
        preset_name=row.preset_name,
        options={},
        key=row.item_key,
        output=means.root / row.output_path,
        output_path=row.output_path,
        output_size=None,
    )
