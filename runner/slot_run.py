"""One slot as a run: from a due moment that is ours to the state that it ends in, with the reason in words."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from runner import approvals, jobs, wiring
from runner.booking import Done, Means, Stop
from runner.diagnostics import ApprovalRefused, Problems
from runner.errors import ExitCode, OmixaError
from runner.execution import Control, Tally, execute
from runner.lanes import Lanes
from runner.ledger import clocks, usage
from runner.ledger.agenda import Agenda, Slot, SlotState
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database
from runner.ledger.values import Approved
from runner.money import show
from runner.plan import Plan
from runner.recipe import Recipe
from runner.recovery import check, recover
from runner.settings import Settings
from runner.terminal import counted


@dataclass(frozen=True, slots=True)
class Place:
    """Where slots are run: the ledger's agenda, who runs them under which lock, and where the time comes from.

    `lanes`: the places in flight of a workspace's account. `recovered` hears of what a dead process had left.
    """

    agenda: Agenda
    owner: str
    who: str
    now: Callable[[], datetime]
    lanes: Callable[[str, int], Lanes]
    recovered: Callable[[list[Done]], None] = lambda _: None
    uptime: Callable[[], Uptime | None] = clocks.uptime


@dataclass(frozen=True, slots=True)
class End:
    """How a slot ended. Micro-units; `bought` and `billed_micros` None: no run was begun. `code`: of a run by hand."""

    state: SlotState
    reason: str | None
    bought: int | None = None
    billed_micros: int | None = None
    code: ExitCode = ExitCode.OK

    def record(self, slot_id: int, place: Place) -> None:
        """Write it down, unless the slot has ended already. Raises LedgerError."""
        billed, bought = self.billed_micros, self.bought
        place.agenda.end(
            slot_id, self.state, self.reason, billed_micros=billed, bought=bought, who=place.who, at=place.now()
        )


class _Waits(Exception):
    """What the slot would buy must be approved first. `reason`: for what it waits, in words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class SlotRun:
    """A slot while it runs: its brakes, and how far it has come. Safe to look at from any thread."""

    slot: Slot
    recipe: Recipe
    settings: Settings
    control: Control = field(default_factory=Control)
    planned: int = 0
    done: int = 0
    # Why it is told to end, when it is.
    cut_short: str | None = None
    # Whether it may wait for an approval that it needs; by hand, nobody would be there when it came.
    may_wait: bool = True
    # Why it waits again, when it does.
    parked: str | None = None
    # How it ended, also when that could not be recorded.
    end: End | None = None
    _means: Means | None = None

    def finish(self, why: str) -> None:
        """Send nothing new; what is in flight finishes."""
        self.cut_short = self.cut_short or why
        self.control.finish()

    def cancel(self) -> None:
        """Wait for nothing any more: what is in flight is kept as unknown."""
        if self._means is not None:
            self._means.provider.cancel()

    def run(self, place: Place) -> End | None:
        """Run the slot and record its end. None: it was not ours any more, or waits again, and nothing was done.

        Raises LedgerError when the ledger cannot be written: `end` is then to be recorded later, if there is one.
        """
        begun = place.agenda.begin(self.slot.id, owner=place.owner, who=place.who, at=place.now())
        if begun is None:
            return None
        self.slot = begun
        try:
            self.end = end = self._bought(place)
        except _Waits as wait:
            place.agenda.park(self.slot.id, wait.reason, who=place.who, at=place.now())
            self.parked = wait.reason
            return None
        except ApprovalRefused as error:
            told = [one.message + (f" ({one.hint})" if one.hint else "") for one in error.problems]
            self.end = end = End("refused", "; ".join(told), code=error.exit_code)
        except Problems as error:
            first = error.problems[0]
            more = f" (and {counted(len(error.problems) - 1, 'more problem')})" if len(error.problems) > 1 else ""
            self.end = end = End(
                "failed", f"{first.message}{more}; `omixa plan {self.recipe.name}` tells all", code=error.exit_code
            )
        except OmixaError as error:
            self.end = end = End(
                "failed", error.message + (f"; {error.hint}" if error.hint else ""), code=error.exit_code
            )
        end.record(self.slot.id, place)
        return end

    def _bought(self, place: Place) -> End:
        recipe, settings = self.recipe, self.settings
        workspace = settings.workspaces[recipe.workspace]
        database = place.agenda.database
        stopped = usage.stopped(database, workspace.account, at=place.now())
        if stopped is not None:
            cause = "a breach" if stopped.cause == "breach" else "a stop"
            return End("skipped", f"{cause}: {stopped.reason}", code=ExitCode.BUDGET)
        jobs.refuse_clashes([recipe], settings)
        with wiring.means(settings, workspace, database, now=place.now, uptime=place.uptime) as means:
            self._means = means
            place.recovered(recover(means))
            check(means, who=place.who)
            wishes = jobs.Wishes(slot=self.slot.due_at.isoformat())
            made, approved = self._approved(database, means, wishes, place)
            self.planned = made.count("buy", "restore")
            if not self.planned:
                jobs.sweep(made)
                return End("ran", _nothing(made), 0, 0, ExitCode.FAILED if made.count("hold") else ExitCode.OK)
            jobs.check_writable(recipe, made)
            begun = jobs.begin(recipe, settings, made, means, wishes=wishes, approved=approved)
            with begun as (purchase, outcome), self._limited():
                uid, expected = purchase.run.uid, made.expected_micros
                place.agenda.runs_as(self.slot.id, uid, expected, who=place.who, at=place.now())
                tally = execute(
                    made.items,
                    purchase,
                    means,
                    self.control,
                    concurrency=workspace.concurrency,
                    watch=self._count,
                    canary=recipe.canary,
                    approve=lambda tally: jobs.canary_stop(made, tally),
                    lanes=place.lanes(workspace.account, workspace.concurrency),
                )
                outcome.append(jobs.outcome_word(tally))
            with suppress(OmixaError):  # what was bought is bought; `omixa audit verify` tells of checkpoints
                means.checkpoint()
            return _end(made, tally, self.cut_short)

    def _approved(
        self, database: Database, means: Means, wishes: jobs.Wishes, place: Place
    ) -> tuple[Plan, Approved | None]:
        """What to buy, and by which approval. Raises _Waits when one must come first, ApprovalRefused when none can."""
        recipe, settings, at = self.recipe, self.settings, place.now()
        path = approvals.waiting_path(settings, recipe.name, self.slot.due_at)
        if path.exists():
            try:
                cleared = approvals.clear(
                    approvals.read_plan(path), approvals.approval_files(path), settings, database, at=at
                )
            except ApprovalRefused as error:
                if not approvals.may_still_come(error):
                    raise
                others = [one.message for one in error.problems if one.code != "approvals-missing"]
                raise _Waits("; ".join([approvals.waits_for(path, settings), *others])) from None
            return cleared.plans[0], cleared.approved
        made = jobs.make_plan(recipe, settings, database, means.results, at=at, wishes=wishes)
        try:
            jobs.refuse_unapproved([made], settings)
        except ApprovalRefused:
            if not self.may_wait:
                raise
            made = jobs.make_plan(recipe, settings, database, means.results, at=at, wishes=replace(wishes, listed=True))
            approvals.freeze([recipe], [made], settings, database, path, at=at, wishes=wishes)
            raise _Waits(approvals.waits_for(path, settings)) from None
        return made, None

    def _count(self, _: Done) -> None:
        self.done += 1

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Nothing new is sent once the recipe's time limit is over."""
        limit_s = self.recipe.schedule.time_limit_s if self.recipe.schedule else None
        if limit_s is None:
            yield
            return
        timer = threading.Timer(limit_s, self.finish, [f"its time limit of {limit_s} s was over"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _nothing(made: Plan) -> str:
    """Why there was nothing to buy."""
    if not made.count():
        return "no pictures were found"
    held = _held_back(made)
    return f"nothing to buy; {held}" if held else "everything is paid for and in place"


def _held_back(made: Plan) -> str:
    """What the plan holds back, which makes the slot end as one that somebody should look at; empty: nothing."""
    held = made.count("hold")
    return f"{counted(held, 'picture')} held back: `omixa plan {made.recipe}` tells why" if held else ""


def _end(made: Plan, tally: Tally, cut_short: str | None) -> End:
    """The state and reason that a run's tally comes to. The words are ours: an endpoint may quote a prompt."""
    bought, billed, code = tally.counts.get("bought", 0), tally.billed_micros, jobs.exit_code(made, tally)
    left = f"; {counted(len(tally.left), 'picture')} left" if tally.left else ""
    troubles = "; ".join(filter(None, [_troubles(tally, made.currency), _held_back(made)]))
    more = f"; {troubles}" if troubles else ""
    if tally.stop is not None:
        return End(_state(tally.stop, bought), f"{_why(tally)}{left}{more}", bought, billed, code)
    if tally.interrupted:
        # Over its time limit, it was interrupted by nobody.
        code = code if cut_short is None else ExitCode.FAILED
        return End("ran", f"{cut_short or 'it was interrupted'}{left}{more}", bought, billed, code)
    return End("ran", (troubles + left) or None, bought, billed, code)


def _state(stop: Stop, bought: int) -> SlotState:
    match stop.kind:
        case "provider" | "disk" | "frozen":
            return "failed"
        case "stop" | "breach" if not bought:
            return "skipped"
        case _:
            return "refused"


def _why(tally: Tally) -> str:
    assert tally.stop is not None
    if tally.stop.kind != "provider":
        return tally.stop.message
    cause = tally.stopping
    where = f": `omixa audit show {cause.attempt_id}`" if cause is not None and cause.attempt_id is not None else ""
    return f"the endpoint cannot be used{where}"


def _troubles(tally: Tally, unit: str) -> str:
    """What a person should look at, as counts."""
    kinds = tally.trouble_counts
    told = [f"{count} {kind}" for kind, count in kinds.items() if kind not in ("bought", "restored")]
    if tally.held_micros:
        told.append(f"{show(tally.held_micros, unit)} held for unknown bills: `omixa audit list --state unknown`")
    return ", ".join(told)
