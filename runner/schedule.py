"""The scheduler: wakes when a slot is due, runs what is due and ours, and ends in good order. Decides no moment itself.

The only importer of APScheduler, which only wakes us: what is due comes from slots.py, whose it is from the ledger.
"""

import os
import select
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from runner import approvals, jobs, windows
from runner.booking import Done
from runner.errors import OmixaError
from runner.identity import who
from runner.lanes import Lanes
from runner.ledger import clocks, owners
from runner.ledger.agenda import Agenda, SlotState
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database
from runner.recipe import Recipe
from runner.settings import Settings
from runner.slot_run import End, Place, SlotRun
from runner.terminal import counted
from runner.watch import Due, Log, Watch

# The longest between two looks: at the clock, which may have been set or have slept, at the files, and for the dead.
LOOK = timedelta(seconds=30)

_ACTIONS = {"skipped": "slot-skipped", "refused": "slot-refused", "failed": "slot-failed"}


class Scheduler:
    """One scheduler of a project, without its clock: each `step` does what is due at that moment.

    `wake` is called, from any thread, when a step would find something new. Without `consent` no real money is spent:
    a recipe that begins to cost some while it is watched is skipped.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        database: Database,
        *,
        log: Log,
        wake: Callable[[], None] = lambda: None,
        consent: bool = True,
        now: Callable[[], datetime] = windows.clock,
        uptime: Callable[[], Uptime | None] = clocks.uptime,
    ) -> None:
        self.database, self.log, self.wake, self.now = database, log, wake, now
        self.home = jobs.home(settings)
        self.uid = uuid.uuid4().hex
        self._owner = owners.hold(self.home / "owners", self.uid)
        self._lanes: dict[str, Lanes] = {}
        self._changing = threading.Lock()
        self.waiting: list[Due] = []
        self.running: dict[int, SlotRun] = {}
        # Slots that wait for an approval, each with the approvals that it was last looked at with.
        self.parked: dict[int, tuple[Due, object]] = {}
        self._threads: list[threading.Thread] = []
        # How slots ended while the ledger could not be written.
        self._unrecorded: dict[int, End] = {}
        self.is_stopping = False
        self._looked: datetime | None = None
        self._swept: datetime | None = None
        agenda = Agenda(database, uptime=uptime)
        self.place = Place(agenda, self.uid, who(), now, self._lanes_of, self._tell_recovered, uptime)
        self.watch = Watch(root, agenda, self.uid, self.place.who, log, self._price, consent)

    # ---- steps

    def step(self, *, reload: bool = False) -> datetime:
        """Do what is due now; returns the latest moment at which the next step must be. Raises OmixaError."""
        at = self.now()
        due_at = self.watch.next_at(at)
        # What is about to run is read afresh, so that a prompt file that changed is seen too.
        self.watch.reload(at, force=reload or (due_at is not None and due_at <= at))
        self._record_late()
        found: list[Due] = []
        if not self.is_stopping:
            if self._looked is None or not timedelta() <= at - self._looked < LOOK:
                self._looked = at
                found += self.watch.inherit(self.home, at)
                self._sweep(at)
            found += self._approvals(at)
            found += self.watch.due(at)
        with self._changing:
            self.waiting += found
        self._start(at)
        return self._next(at)

    def _sweep(self, at: datetime) -> None:
        """Once a day, put away the plans of slots that nobody approved."""
        if self._swept is not None and timedelta() <= at - self._swept < timedelta(days=1):
            return
        self._swept = at
        assert self.watch.settings is not None
        with suppress(OmixaError):  # they cost only space
            approvals.sweep_waiting(self.watch.settings, self.database, at=at)

    def _approvals(self, at: datetime) -> list[Due]:
        """Slots that another approval has come for; those that none came for in time end."""
        with self._changing:
            parked = list(self.parked.items())
        come: list[Due] = []
        for slot_id, (due, seen) in parked:
            slot = due.slot
            path = approvals.waiting_path(due.settings, slot.recipe, slot.due_at)
            over = at >= slot.due_at + approvals.WAIT
            if not over and approvals.seen(path) == seen:
                continue
            state: SlotState = "refused"
            reason = f"no approval came within {counted(approvals.WAIT // timedelta(hours=1), 'hour')}"
            if not over:
                why_not = self.watch.stands_in_the_way(slot.recipe)
                if why_not is None:
                    come.append(due)
                    self._unpark(slot_id)
                    continue
                state, reason = "skipped", why_not
            if self.place.agenda.end(slot_id, state, reason, who=self.place.who, at=at, owner=self.uid):
                self.log(_ACTIONS[state], recipe=slot.recipe, due_at=slot.due_at, reason=reason)
            # Only now: an end that could not be written is tried again.
            self._unpark(slot_id)
        return come

    def _unpark(self, slot_id: int) -> None:
        with self._changing:
            del self.parked[slot_id]

    def _next(self, at: datetime) -> datetime:
        with self._changing:
            moments = [due.start_at for due in self.waiting if due.start_at > at]
        due_at = self.watch.next_at(at)
        return min([at + LOOK, *moments, *([] if due_at is None else [max(due_at, at)])])

    def _start(self, at: datetime) -> None:
        """Begin the slots whose moment has come, one of a recipe at a time."""
        with self._changing:
            busy = {run.slot.recipe for run in self.running.values()}
            for due in sorted(self.waiting, key=lambda due: due.start_at):
                if due.start_at > at or due.slot.recipe in busy or self.is_stopping:
                    continue
                self.waiting.remove(due)
                busy.add(due.slot.recipe)
                run = SlotRun(due.slot, *self._newest(due))
                self.running[due.slot.id] = run
                thread = threading.Thread(target=self._run, args=(run,), name=f"slot-{due.slot.id}", daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()]
                self._threads.append(thread)
                thread.start()

    def _newest(self, due: Due) -> tuple[Recipe, Settings]:
        """The recipe as it is now, which may be newer than when its slot was claimed."""
        one = self.watch.watched.get(due.slot.recipe)
        settings = self.watch.settings
        if one is None or one.recipe is None or settings is None or one.recipe.workspace not in settings.workspaces:
            return due.recipe, due.settings
        return one.recipe, settings

    def _run(self, run: SlotRun) -> None:
        slot = run.slot
        try:
            self.log("slot-started", recipe=slot.recipe, due_at=slot.due_at)
            seen = approvals.seen(approvals.waiting_path(run.settings, slot.recipe, slot.due_at))
            end = run.run(self.place)
            if end is not None:
                self._tell_end(run, end)
            elif run.parked is not None:
                self.log("slot-waits", recipe=slot.recipe, due_at=slot.due_at, reason=run.parked)
                with self._changing:
                    self.parked[slot.id] = Due(run.slot, run.recipe, run.settings, slot.due_at), seen
        except OmixaError as error:
            self._unrecorded[slot.id] = run.end or End("failed", error.message)
            self.log("slot-failed", recipe=slot.recipe, due_at=slot.due_at, reason=error.message, help=error.hint)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one slot must not end the others
            self._fail(run, f"omixa made a mistake of its own ({type(error).__name__})")
        finally:
            with self._changing:
                self.running.pop(slot.id, None)
            self.wake()

    def _fail(self, run: SlotRun, reason: str) -> None:
        slot = run.slot
        self.log("slot-failed", recipe=slot.recipe, due_at=slot.due_at, reason=reason)
        end = End("failed", reason)
        try:
            end.record(slot.id, self.place)
        except OmixaError:
            self._unrecorded[slot.id] = end

    def _record_late(self) -> None:
        """Write down the ends that could not be written before. Raises LedgerError when they still cannot."""
        for slot_id, end in list(self._unrecorded.items()):
            end.record(slot_id, self.place)
            del self._unrecorded[slot_id]

    def _tell_end(self, run: SlotRun, end: End) -> None:
        facts = {"recipe": run.slot.recipe, "due_at": run.slot.due_at, "state": end.state, "reason": end.reason}
        facts |= {"bought": end.bought, "billed_micros": end.billed_micros}
        self.log(_ACTIONS.get(end.state, "slot-ended"), **facts)

    def _tell_recovered(self, found: list[Done]) -> None:
        for done in found:
            self.log("recovered", attempt=done.attempt_id, kind=done.kind)

    # ---- what slots share

    def _lanes_of(self, account: str, count: int) -> Lanes:
        with self._changing:
            lanes = self._lanes.setdefault(account, Lanes(count))
            lanes.count = count
            return lanes

    def _price(self, recipe: Recipe, settings: Settings, at: datetime) -> str:
        """What a run now would buy and cost, in words: for slots that were missed and are only planned."""
        from runner.money import show

        made = jobs.make_plan(recipe, settings, self.database, jobs.results(settings), at=at, wishes=jobs.Wishes())
        if not made.buy_count:
            return "a run now would buy nothing"
        cost = f"about {show(made.expected_micros, made.currency)}, at most {show(made.worst_micros, made.currency)}"
        start = f"`omixa schedule run-now {recipe.name}` starts it"
        return f"a run now would buy {counted(made.buy_count, 'picture')} for {cost}: {start}"

    # ---- the end

    def stop(self, why: str) -> None:
        """Begin nothing more; what is in flight finishes."""
        with self._changing:
            self.is_stopping = True
            runs = list(self.running.values())
        for run in runs:
            run.finish(why)

    def cancel(self) -> None:
        """Wait for nothing: requests in flight are kept as unknown."""
        with self._changing:
            runs = list(self.running.values())
        for run in runs:
            run.cancel()

    @property
    def is_idle(self) -> bool:
        """Whether no slot runs."""
        with self._changing:
            return not self.running

    def settled(self, timeout_s: float | None = None) -> bool:
        """Wait until no slot runs; whether that came in time."""
        for thread in list(self._threads):
            thread.join(timeout_s)
        return self.is_idle

    def close(self) -> None:
        """Give the lock back. Slots that wait stay for whoever comes next."""
        self._owner.let_go()


class Waker:
    """Calls `wake` at one moment, the one set last. A clock that is set or sleeps meanwhile may make it late."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def at(self, moment: datetime) -> None:
        """Wake then, instead of when was said before."""
        # However late it is heard, it is heard, and once: a moment that APScheduler "misfired" would be dropped.
        options = {"id": "wake", "replace_existing": True, "misfire_grace_time": None, "coalesce": True}
        self._scheduler.add_job(self._wake, DateTrigger(moment), **options)

    def __enter__(self) -> "Waker":
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Waits for a moment that is just being rung: one that APScheduler forgets after its end breaks its thread.
        self._scheduler.remove_all_jobs()
        self._scheduler.shutdown(wait=False)


class Signals:
    """What the operating system tells us, heard in the main thread's own time: SIGTERM, SIGINT, SIGHUP."""

    def __init__(self) -> None:
        self._heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._heard, False)
        self.stops = 0
        self.reload = False

    def wake(self) -> None:
        """End the present or the next `wait`. From any thread."""
        with suppress(BlockingIOError):  # full: it is woken anyway
            os.write(self._told, b"w")

    def wait(self, timeout_s: float | None = None) -> None:
        """Until something is told."""
        select.select([self._heard], [], [], timeout_s)
        with suppress(BlockingIOError):
            while os.read(self._heard, 1024):
                pass

    def _stop(self, _number: int, _frame: object) -> None:
        self.stops += 1
        self.wake()

    def _reload(self, _number: int, _frame: object) -> None:
        self.reload = True
        self.wake()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While inside, signals are heard here and end nothing by themselves."""
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    scheduler: Scheduler, signals: Signals, looked: Callable[[bool], None], *, beat_s: float | None = None
) -> None:
    """Step until told to stop, and then until nothing is in flight.

    `looked` is called after every step, with whether it was good; one that was not is tried again at the next look.
    `beat_s`: look at least so often; None: as often as `LOOK` says.
    """
    beat = LOOK if beat_s is None else min(LOOK, timedelta(seconds=beat_s))
    log = scheduler.log
    with Waker(signals.wake) as waker:
        while not signals.stops:
            reload, signals.reload = signals.reload, False
            good, next_at = True, scheduler.now() + beat
            try:
                next_at = min(scheduler.step(reload=reload), next_at)
                if reload:
                    log("reload", change="as told by SIGHUP")
            except OmixaError as error:
                good = False
                log("tick-failed", problem=error.message, help=error.hint)
            looked(good)
            waker.at(next_at)
            signals.wait()
    log(
        "stopping",
        running=[run.slot.recipe for run in list(scheduler.running.values())],
        waiting=len(scheduler.waiting),
    )
    scheduler.stop("the scheduler was told to stop")
    told = signals.stops
    while not scheduler.is_idle:
        if signals.stops > told:
            told = signals.stops
            scheduler.cancel()
        looked(True)
        signals.wait(1.0)
    log("stopped", left=", ".join(due.slot.recipe for due in scheduler.waiting) or None)
