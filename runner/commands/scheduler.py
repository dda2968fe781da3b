"""What `omixa schedule` runs: the scheduler as a process, one slot by hand, and the unit that systemd runs."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from runner.ledger.database import Database
    from runner.monitor.status import Status
    from runner.recipe import Recipe
    from runner.schedule import Scheduler
    from runner.settings import Settings

# A scheduler that has not looked for so long is not well.
UNWELL_S = 180

# How often alerts are looked for and sent.
ALERTS_EVERY_S = 30


def serve(project: str | None, *, yes: bool, port: int | None, form: str | None) -> int:
    """Run what is due until SIGTERM or Ctrl-C; what is in flight then finishes. Raises before anything is begun."""
    from runner import mailing
    from runner.diagnostics import Problems
    from runner.errors import ExitCode
    from runner.jobs import claim_home
    from runner.ledger.database import open_database
    from runner.monitor import logs
    from runner.project import find_root, load_all
    from runner.schedule import Scheduler, Signals
    from runner.schedule import serve as step_on
    from runner.settings import ledger_path

    root = find_root(project)
    settings, recipes, problems = load_all(root, [])
    if settings is None:
        raise Problems(problems)
    if unmakeable := mailing.problems(settings):
        raise Problems(unmakeable)
    _need_consent(recipes, settings, yes=yes)
    logs.open_log(sys.stderr, _form(form))
    with ExitStack() as stack:
        database = stack.enter_context(open_database(ledger_path(settings), create=True))
        claim_home(settings)
        signals = Signals()
        scheduler = Scheduler(root, settings, database, log=logs.log, wake=signals.wake, consent=yes)
        stack.callback(scheduler.close)
        stack.enter_context(signals.listening())
        window = stack.enter_context(Window(scheduler, port))
        stack.enter_context(Bell(scheduler))
        stack.callback(window.ending)
        logs.log("start", project=str(root), ledger=str(ledger_path(settings)), port=window.port)
        step_on(scheduler, signals, window.looked, beat_s=window.beat_s)
    return int(ExitCode.OK)


def _form(form: str | None) -> Any:
    return form or ("text" if sys.stderr.isatty() else "json")


def _need_consent(recipes: "list[Recipe]", settings: "Settings", *, yes: bool) -> None:
    """Raises UsageError when real money would be spent, and nobody said that it may be."""
    from runner.errors import UsageError
    from runner.settings_tables import SANDBOX

    paid = [
        recipe.name
        for recipe in recipes
        if recipe.schedule is not None and settings.workspaces[recipe.workspace].endpoint != SANDBOX
    ]
    if paid and not yes:
        raise UsageError(
            f"these recipes would spend real money by themselves: {', '.join(paid)}",
            "`omixa forecast` tells how much, `omixa budget` the caps; then add --yes",
        )


class Window:
    """What can be seen of a scheduler from outside: the status file, systemd, and /healthz and /metrics on a port."""

    def __init__(self, scheduler: "Scheduler", port: int | None) -> None:
        from runner.monitor import systemd
        from runner.windows import clock

        self._scheduler = scheduler
        self._wanted = port
        self._server: Any = None
        self._started_at = clock()
        self._good_at: datetime | None = None
        self._is_ready = False
        self._is_unwritable = False
        self._is_ending = False
        self.beat_s = systemd.watchdog_s()

    @property
    def port(self) -> int | None:
        """Where it is served; None: nowhere."""
        return None if self._server is None else self._server.port

    def __enter__(self) -> "Window":
        from runner.monitor import http

        if self._wanted is not None:
            self._server = http.serve(self._wanted, health=self._health, metrics=self._metrics())
        return self

    def _metrics(self) -> Any:
        """What answers a scrape; None: the extra is not installed, and whoever asks is told so."""
        from runner.caps import caps_of
        from runner.errors import UsageError
        from runner.ledger.gauges import Account, Looks
        from runner.monitor import metrics
        from runner.windows import clock

        looks, watch = Looks(self._scheduler.database), self._scheduler.watch

        def look() -> Any:
            accounts = []
            for workspace in () if watch.settings is None else watch.settings.workspaces.values():
                caps = caps_of(workspace)
                for recipe in watch.recipes_of(workspace.name):
                    caps += [cap for cap in caps_of(workspace, recipe) if cap.scope == "recipe"]
                accounts.append(Account(workspace.account, workspace.time_zone, caps))
            return looks.look(clock(), accounts)

        try:
            return metrics.exposition(look)
        except UsageError:
            return None

    def __exit__(self, *_: object) -> None:
        self.ending()
        if self._server is not None:
            self._server.stop()
        self._write("stopped")

    def ending(self) -> None:
        """Tell systemd, once, that the end has begun: what is in flight may take its time."""
        from runner.monitor import systemd

        if not self._is_ending:
            self._is_ending = True
            systemd.notify(STOPPING=1)

    def looked(self, good: bool) -> None:
        """The scheduler has looked: tell whoever watches."""
        from runner.monitor import logs, systemd
        from runner.windows import clock

        if self._scheduler.is_stopping:
            self.ending()
        if good:
            self._good_at = clock()
            if not self._is_ready:
                self._is_ready = True
                logs.log("ready", recipes=len(self._scheduler.watch.watched))
                systemd.notify(READY=1)
            systemd.notify(WATCHDOG=1)
        self._write("stopping" if self._scheduler.is_stopping else "running")

    def _health(self) -> tuple[bool, dict[str, Any]]:
        from runner.ledger.database import moment
        from runner.windows import clock

        at = clock()
        well = self._good_at is not None and (at - self._good_at).total_seconds() < UNWELL_S
        looked = None if self._good_at is None else moment(self._good_at)
        return well, {"looked_at": looked, "running": len(self._scheduler.running), "pid": self._pid()}

    def _pid(self) -> int:
        import os

        return os.getpid()

    def _write(self, state: Any) -> None:
        """The status file. That it cannot be written is told once, and ends nothing."""
        from runner.errors import OmixaError
        from runner.monitor import logs, status

        try:
            status.write(self._scheduler.home / "schedule.json", self._status(state))
            self._is_unwritable = False
        except OmixaError as error:
            if not self._is_unwritable:
                self._is_unwritable = True
                logs.log("status-unwritable", problem=error.message)

    def _status(self, state: Any) -> "Status":
        from runner import __version__
        from runner.monitor.status import RecipeStatus, RunningSlot, Status
        from runner.slots import next_due
        from runner.windows import clock

        scheduler, at = self._scheduler, clock()
        runs = list(scheduler.running.values())
        due = {run.slot.recipe: run.slot.due_at for run in runs}
        recipes = [
            RecipeStatus(
                one.name,
                "invalid" if one.problem else "by hand only" if one.timing is None else "scheduled",
                one.problem,
                None if one.timing is None else next_due(one.timing, max(at, one.accounted)),
                due.get(one.name),
            )
            for one in sorted(scheduler.watch.watched.values(), key=lambda one: one.name)
        ]
        running = [
            RunningSlot(run.slot.recipe, run.slot.due_at, run.slot.begun_at or at, run.done, run.planned)
            for run in runs
        ]
        return Status(
            pid=self._pid(),
            who=scheduler.place.who,
            program=f"omixa-runner {__version__}",
            started_at=self._started_at,
            at=at,
            state=state,
            recipes=tuple(recipes),
            running=tuple(running),
            queue_length=len(scheduler.waiting),
        )


class Bell:
    """Looks for something to tell, and tells it, in a thread of its own: a channel that hangs holds up no slot."""

    def __init__(self, scheduler: "Scheduler") -> None:
        import threading

        from runner.ringing import Ringer

        self._scheduler = scheduler
        self._ringer = Ringer(scheduler.watch, scheduler.database)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ring, name="alerts", daemon=True)

    def __enter__(self) -> "Bell":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)
        self._look()  # what the last slots have brought about

    def _ring(self) -> None:
        while not self._ended.wait(ALERTS_EVERY_S):
            self._look()

    def _look(self) -> None:
        from runner.errors import OmixaError
        from runner.monitor import logs

        try:
            found, sendings = self._ringer.ring(self._scheduler.now())
        except OmixaError as error:
            logs.log("tick-failed", problem=error.message, help=error.hint)
            return
        for alert in found:
            logs.log("alert", kind=alert.kind, message=alert.message)
        for one in sendings:
            if one.state != "sent":
                logs.log("alert-failed", channel=one.channel, alert=one.alert, problem=one.error)


# ---- one slot, by hand


def run_now(recipe: "Recipe", settings: "Settings", database: "Database", *, yes: bool) -> int:
    """Run a recipe now, as a slot of its own; returns the exit code of how it ended."""
    import uuid

    from runner import jobs, windows
    from runner.commands.bell import ring
    from runner.commands.run import ask, brakes
    from runner.errors import UsageError
    from runner.identity import who
    from runner.lanes import Lanes
    from runner.ledger import owners
    from runner.ledger.agenda import Agenda
    from runner.money import show
    from runner.slot_run import Place, SlotRun
    from runner.terminal import clean, counted

    jobs.claim_home(settings)
    at, wishes = windows.clock(), jobs.Wishes()
    made = jobs.make_plan(recipe, settings, database, jobs.results(settings), at=at, wishes=wishes)
    jobs.refuse_unapproved([made], settings)
    ask(made, recipe, settings, yes=yes)
    workspace, agenda = settings.workspaces[recipe.workspace], Agenda(database)
    owner = owners.hold(jobs.home(settings) / "owners", uuid.uuid4().hex)
    try:
        place = Place(agenda, owner.path.stem, who(), windows.clock, lambda _, count: Lanes(count))
        slot = agenda.claim(recipe.name, at, workspace.account, owner=place.owner, who=place.who, at=at)
        assert slot is not None, "a moment to the microsecond is nobody else's"
        if not slot.is_open:
            raise UsageError(
                f"{recipe.name} is not run: {slot.reason}", "`omixa schedule history` tells when it has ended"
            )
        run = SlotRun(slot, recipe, settings, may_wait=False)
        with brakes(run.control, run.cancel):
            end = run.run(place)
    finally:
        owner.let_go()
    assert end is not None
    told = f"{recipe.name}: {end.state}"
    if end.bought is not None:
        told += f", bought {counted(end.bought, 'picture')} for {show(end.billed_micros or 0, workspace.unit)}"
    print(told + (f": {clean(end.reason)}" if end.reason else ""))
    ring(settings, [recipe], database)
    return int(end.code)


# ---- the unit


def unit_text(
    project: str | None, *, cron: bool, user: str | None, environment_file: str | None, port: int | None
) -> str:
    """A systemd unit for this project's scheduler, or lines for a crontab."""
    import getpass
    from pathlib import Path

    from runner.monitor import systemd
    from runner.project import find_root, load
    from runner.settings import ledger_path

    root = find_root(project)
    settings, recipes = load(root, [])
    executable = _executable()
    file = None if environment_file is None else Path(environment_file).absolute()
    scheduled = [recipe for recipe in recipes if recipe.schedule is not None]
    if cron and not scheduled:
        return "# no recipe has a [schedule]\n"
    if cron:
        return "".join(_cron_lines(recipe, settings, executable, root, file) for recipe in scheduled)
    steps = [step for recipe in recipes for step in recipe.steps]
    sources = [source.folder for step in steps for source in step.sources if source.folder is not None]
    outputs = [step.output.folder for step in steps] + [ledger_path(settings).parent]
    outputs += [order.folder for order in settings.reports.values()]
    keys = [one.api_key.file for one in settings.workspaces.values() if one.api_key and one.api_key.file]
    return systemd.unit(
        root,
        executable,
        user=user or getpass.getuser(),
        environment_file=file,
        timeout_s=max(endpoint.timeout_s for endpoint in settings.endpoints.values()),
        options=["--yes", *([] if port is None else ["--port", str(port)])],
        writes=[place for place in dict.fromkeys(outputs) if not place.is_relative_to(root)],
        reads=[place for place in dict.fromkeys([*sources, *keys]) if not place.is_relative_to(root)],
    )


def _cron_lines(recipe: "Recipe", settings: "Settings", executable: "Path", root: "Path", file: "Path | None") -> str:
    from runner.monitor import systemd

    assert recipe.schedule is not None
    timing = recipe.schedule.timing(settings.workspaces[recipe.workspace].time_zone)
    if recipe.schedule.paused:
        return f"# {recipe.name}: no line, because of `paused = true` in its [schedule]\n"
    if timing.cron is None:
        return f"# {recipe.name}: `{timing}` is no cron expression; only `omixa schedule run` runs it\n"
    return systemd.cron_line(recipe.name, timing.cron, timing.zone, executable, root, environment_file=file)


def _executable() -> "Path":
    """The `omixa` that this is, absolute."""
    from pathlib import Path

    beside = Path(sys.executable).with_name("omixa")
    return beside if beside.exists() else Path(sys.argv[0]).absolute()
