"""A seeded world around the real code: what one schedule is, who goes next in it, and what must hold after each step.

Real: `execution.perform`, `booking.book` and `restore`, `recovery.recover`, `owners`, and all of `runner.ledger` with
its SQL on a real SQLite database. Simulated: the provider, which knows what it billed; the disk; the clock; the
kernel's locks; and who goes next. Each worker is a greenlet that stops at every boundary of a transaction and of the
world outside, and there the schedule may let another go on, or kill its process. The same seed gives the same schedule.
"""

import gc
import importlib
import pkgutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from greenlet import getcurrent, greenlet
from sqlalchemy.pool import StaticPool

import runner.ledger
from runner import booking, execution, images, recovery, windows
from runner.booking import Done, Means
from runner.contracts import CONTRACTS
from runner.ledger import database, ledger, migrate, owners, usage
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap, RunFacts
from runner.plan import Draft, Item
from runner.providers.provider import Billed, Declined, Evidence, Order, Outcome, Unknown
from runner.spares import Spares
from tests.proof import simulated_disk
from tests.proof.quick_sql import QuickConnection
from tests.proof.simulated_disk import NOW, Disk, Place

WORKSPACE, CURRENCY, ZONE = "studio", "USD", "Europe/Berlin"
CONTRACT = CONTRACTS["stability-upscale-creative"]
HOME, ROOT = Place("home"), Place("project")
EVIDENCE = Evidence()
BERLIN = ZoneInfo(ZONE)

# A schedule that is longer goes round in circles.
STEPS_MAX = 6000
STEP_US = 700
# How far a sleeper's clock goes on at least when everybody sleeps: more than `execution.LOOK_FOR_DEAD_S`.
NAP_US = 2_500_000

# Moments to begin at: in the middle of a day, just before midnight in Berlin, before a month's and a year's end.
BEGINNINGS = [
    datetime(2026, 11, 22, 12, tzinfo=UTC),
    datetime(2026, 11, 22, 22, 59, 59, 970_000, tzinfo=UTC),
    datetime(2026, 11, 30, 22, 59, 59, 950_000, tzinfo=UTC),
    datetime(2026, 12, 31, 22, 59, 59, 960_000, tzinfo=UTC),
    datetime(2026, 10, 24, 21, 59, 59, 960_000, tzinfo=UTC),
]


class Killed(BaseException):
    """The process is gone. No Exception, so that nothing in the runner takes it for one."""


class Broken(Exception):
    """An invariant does not hold."""


# ---- the database of all schedules


class Store:
    """One migrated ledger in memory, emptied between schedules. `plain` runs every statement through SQLAlchemy."""

    def __init__(self, *, plain: bool = False) -> None:
        self.plain = plain
        self.engine = database._engine("sqlite://", poolclass=StaticPool)
        with self.engine.connect() as connection:
            connection.execution_options(begin="IMMEDIATE")
            migrate.upgrade(connection)
            # Drawn at random for each ledger; here the same seed must give the same bytes.
            connection.exec_driver_sql("UPDATE ledger_state SET uid = 'simulated', digest_key = '00'")
            connection.commit()
        self.raw: Any = self.engine.raw_connection().driver_connection
        self.raw.isolation_level = None
        # The rows of a schedule are removed after it, which the ledger's own triggers rightly refuse.
        triggers = self.raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, sql in triggers:
            if "DELETE" in sql.upper():
                self.raw.execute(f"DROP TRIGGER {name}")
        self.raw.execute("PRAGMA foreign_keys=OFF")
        tables = self.raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self.tables = [name for (name,) in tables if name != "alembic_version" and not name.startswith("sqlite_")]
        # What a migration has put into a table belongs to an empty ledger.
        self._rows = {name: self.raw.execute(f"SELECT * FROM {name}").fetchall() for name in self.tables}
        self.quick = QuickConnection(self.raw, self.engine.dialect)
        self.quick.remember(_modules())
        self.writer: Desk | None = None  # whose the last transaction was
        self.versions = 0

    def reset(self) -> None:
        """An empty ledger."""
        run = self.raw.execute
        run("BEGIN")
        for name in self.tables:
            run(f"DELETE FROM {name}")
            for row in self._rows[name]:
                run(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)
        run("COMMIT")


def _modules() -> list[Any]:
    """The modules that hold the ledger's statements."""
    return [
        importlib.import_module(f"runner.ledger.{module.name}")
        for module in pkgutil.iter_modules(runner.ledger.__path__)
    ]


class Desk(Database):
    """What one process sees of the store: it stops before each transaction, before its commit, and after it."""

    def __init__(self, store: Store) -> None:
        """`begun` and `kept`: as Database's."""
        self.path = None
        self._made = store.engine
        self._store = store
        self.begun = 0
        self.kept = {}

    def version(self, _connection: Any) -> int:
        """All processes have one connection, which cannot tell them apart: so the store counts who came after whom."""
        return self._store.versions

    def is_inside(self, _connection: Any) -> bool:
        """As Database's."""
        return bool(self._store.raw.in_transaction)

    def write_transaction(self) -> Any:
        """As Database's: committed at the end, or not at all."""
        self.begun += 1
        return PlainWriting(self._store, self) if self._store.plain else Writing(self._store, self)

    def read(self) -> Any:
        """As Database's: one consistent view."""
        return plain_reading(self._store) if self._store.plain else Reading(self._store)


class Writing:
    """BEGIN IMMEDIATE … COMMIT, through the gate. What dies before the commit is rolled back."""

    __slots__ = ("desk", "store")

    def __init__(self, store: Store, desk: Desk) -> None:
        self.store, self.desk = store, desk

    def _begin(self) -> None:
        world: World = NOW.world
        world.at("begin", needs="gate")
        world.gate = world.task
        if self.store.writer is not self.desk:
            self.store.writer, self.store.versions = self.desk, self.store.versions + 1

    def __enter__(self) -> Any:
        self._begin()
        self.store.raw.execute("BEGIN IMMEDIATE")
        return self.store.quick

    def __exit__(self, kind: object, *_: object) -> None:
        world: World = NOW.world
        task = world.task
        try:
            if kind is None:
                world.at("commit")
        except BaseException:
            kind = Killed
            raise
        finally:
            self.store.raw.execute("COMMIT" if kind is None else "ROLLBACK")
            world.gate = None
        if kind is None:
            world.committed(task)
            world.at("committed")


class PlainWriting(Writing):
    """The same with SQLAlchemy's own connection."""

    __slots__ = ("connection",)

    def __enter__(self) -> Any:
        self._begin()
        self.connection = self.store.engine.connect()
        self.connection.execution_options(begin="IMMEDIATE")
        self.connection.begin()
        return self.connection

    def __exit__(self, kind: object, *_: object) -> None:
        world: World = NOW.world
        task = world.task
        try:
            if kind is None:
                world.at("commit")
        except BaseException:
            kind = Killed
            raise
        finally:
            if kind is None:
                self.connection.commit()
            self.connection.close()
            world.gate = None
        if kind is None:
            world.committed(task)
            world.at("committed")


class Reading:
    """One view of what is committed: it waits while somebody else's transaction is open on the one connection."""

    __slots__ = ("store",)

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> Any:
        NOW.world.at("read", needs="gate")
        return self.store.quick

    def __exit__(self, *_: object) -> None:
        return None


@contextmanager
def plain_reading(store: Store) -> Iterator[Any]:
    """The same with SQLAlchemy's own connection."""
    NOW.world.at("read", needs="gate")
    with store.engine.connect() as connection:
        connection.execution_options(begin="DEFERRED")
        with connection.begin():
            yield connection


# ---- what a schedule is made of


@dataclass(slots=True)
class Mood:
    """What a schedule is about: the chances in it, of a thousand at each opportunity."""

    kill: int = 0
    trouble: int = 0  # answers other than a picture with a bill
    odd: int = 0  # bills other than the price
    breach: int = 0  # bills above the ceiling
    disk: int = 0
    jump: int = 0
    person: int = 0
    stickiness: int = 0


MOODS = (
    # A calm one must fill its cap exactly.
    ("calm", Mood(odd=200)),
    ("busy", Mood(odd=200, trouble=150)),
    ("deadly", Mood(odd=150, trouble=150, kill=25)),
    ("deadly calm", Mood(kill=40)),
    ("greedy", Mood(odd=300, breach=150, trouble=100, kill=8, person=10)),
    ("time", Mood(odd=100, trouble=100, kill=10, jump=25)),
    ("people", Mood(odd=100, trouble=350, kill=8, jump=5, person=25)),
    ("full disk", Mood(odd=100, trouble=250, kill=15, disk=350, person=15)),
    ("all at once", Mood(odd=200, breach=30, trouble=250, kill=15, disk=60, jump=8, person=15)),
)


class Process:
    """One process: its own Ledger, its brakes, its queue of items. `owner` is its lock while it runs."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name, self.dead = world, name, False
        self.tasks: list[Task] = []
        self.ledger = world.new_ledger()
        self.control = Brakes()
        self.queue: deque[Item] = deque()
        self.items: list[Item] = []
        self.caps: list[Cap] = []
        self.again = False
        self.run: RunFacts | None = None
        self.working = 0
        self.dones: list[Done] = []

    def kill(self) -> None:
        """Gone: its greenlets unwind, and nothing that they do on the way has any effect."""
        self.dead = True
        self.world.disk.close_all(self)
        for task in self.tasks:
            if task:  # one that has not begun has nothing to undo
                self.world.task = task
                task.throw(Killed)
                assert task.dead, "a killed worker goes nowhere"
        self.world.task = None


class Task(greenlet):
    """One worker. It is awake, or it waits for `needs`, or it sleeps until something changes or its time has come."""

    def __init__(self, process: Process, work: Callable[[], None], name: str) -> None:
        super().__init__(work, process.world.hub)
        self.process, self.name = process, name
        self.point, self.what = "start", ""
        self.needs: str | None = None
        self.sleep_us = 0
        self.seen = -1
        self.effect: Callable[[str], None] | None = None
        process.tasks.append(self)


class Turn:
    """One worker of a process at a time."""

    def __init__(self) -> None:
        self.holder: Task | None = None

    def __enter__(self) -> None:
        NOW.world.at("turn", needs="turn")
        self.holder = NOW.world.task

    def __exit__(self, *_: object) -> None:
        self.holder = None


class Brakes(execution.Control):
    """The run's brakes for greenlets: who waits goes to sleep, and the schedule says when it wakes."""

    def __init__(self) -> None:
        self._finishing = False
        self._until_us = 0
        self.version = 0
        self.turn = Turn()  # type: ignore[assignment]

    @property
    def finishing(self) -> bool:
        return self._finishing

    def finish(self) -> None:
        self._finishing = True
        self.version += 1

    def changed(self) -> None:
        self.version += 1

    def wait(self, seconds: float) -> None:
        if not self._finishing:
            NOW.world.at("wait", sleep_us=int(seconds * 1_000_000) or 1)

    def pause(self, seconds: float) -> None:
        self._until_us = max(self._until_us, NOW.world.elapsed_us + int(seconds * 1_000_000))

    def pass_pause(self) -> None:
        while not self._finishing and (left := self._until_us - NOW.world.elapsed_us) > 0:
            NOW.world.at("pause", sleep_us=left)


@dataclass(slots=True)
class Paid:
    """One request that reached the provider, and the truth about it. `billed` None: it was not billed."""

    key: str
    billed: int | None
    picture: str | None


@dataclass(slots=True)
class Booked:
    """One attempt, as the entries tell it. `windows`: all that hold it; `caps`: what its run declared."""

    key: str
    uid: str
    reserved: int
    windows: list[tuple[str, str, str, str]]
    caps: list[Cap]
    state: str = "reserved"
    billed: int | None = None
    open_sum: int = 0
    settled_sum: int = 0
    digest: str | None = None
    day: date = date.min
    at: str = ""


class Provider:
    """Bills and answers as the schedule says. Only it knows the truth."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def send(self, order: Order, *, spool: Any, on_sending: Callable[[], None]) -> Outcome:
        """One request. The answer is in the spool before this returns."""
        world, attempt = self.world, _number(spool)
        world.at("connect")
        if world.chance(world.mood.trouble // 4):
            world.tell("refused connection", attempt)
            return Declined(EVIDENCE, "not-sent", "nothing was sent: refused", 1.0)
        on_sending()
        world.at("body")
        kind, answer, content = world.asked(attempt, spool)
        world.at("answer")
        if kind == "cut":
            return answer
        world.disk.put(spool.text, b"answer %d" % attempt)
        world.disk.answers[spool.text] = (answer, content)
        world.spooled(attempt)
        world.at("spooled")
        return self.read_spooled(spool)

    def read_spooled(self, spool: Any) -> Outcome:
        """What an answer on disk means; its picture is taken out again."""
        world = self.world
        world.alive()
        answer, content = world.disk.answers[spool.text]
        if content is not None:
            world.at("picture")
            world.disk.put(f"{spool.text}.picture", content)
            world.at("picture kept")
        return answer

    def cancel(self) -> None:
        """Nobody presses Ctrl-C twice here."""


def _number(spool: Any) -> int:
    return int(spool.stem.rpartition("-")[2])


class World:
    """One schedule."""

    def __init__(self, store: Store, seed: int, number: int, *, trace: bool) -> None:
        self.store, self.tracing = store, trace
        self.random = Random(seed * 1_000_003 + number)
        self.rand = self.random.random
        self.trace: list[str] = []
        self.disk = Disk(self)
        self.hub = getcurrent()
        self.task: Task | None = None
        self.gate: Task | None = None
        self.processes: list[Process] = []
        self.tasks: list[Task] = []
        self.steps = 0
        self.elapsed_us = 0
        self.wall_us = 0
        self.files = 0
        self.violation: str | None = None
        self.kills: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.bills: Counter[str] = Counter()
        self.truth: dict[int, Paid] = {}
        self.booked: dict[int, Booked] = {}
        self.unsafe: dict[int, str] = {}  # attempts whose answer is spooled and not booked
        self.pictures: Counter[str] = Counter()  # digests that settled attempts need
        self.paid: Counter[str] = Counter()
        self.may_pay: Counter[str] = Counter()
        self.last_entry, self.last_at = 0, ""
        self.stops: list[tuple[str | None, str | None]] = []  # who is stopped (None: everybody), until when
        self.last_reserved = ""
        self.grants: list[tuple[str, int, str, str]] = []  # period, amount, from, until
        self.totals: dict[tuple[str, str, str, str], int] = {}
        self.people = 0
        self.quiet = True  # nothing happened that may leave a cap with room
        self._draw()

    # ---- drawing a schedule

    def _draw(self) -> None:
        random = self.random
        self.mood_name, self.mood = MOODS[random.randrange(len(MOODS))]
        self.stickiness = random.choice((0, 0, 400, 800, 950))
        self.begins = random.choice(BEGINNINGS)
        self.price = random.choice((39_000, 500_001, random.randint(1, 1_000_000)))
        self.ceiling = self.price + random.choice((0, 0, 1, self.price // 3, self.price))
        self.model = CONTRACT.model
        count = random.choice((2, 2, 2, 3, 3, 4))
        self.keys = [f"k{n}" for n in range(count)]
        fits = random.randint(1, count)
        tight = (fits - 1) * self.price + self.ceiling + random.choice((0, 0, -1, 1, self.price // 2))
        roomy = tight + random.choice((0, self.price, 10 * self.ceiling))
        periods = random.sample(("day", "week", "month", "year", "total"), random.choice((1, 1, 1, 2)))
        self.caps = [Cap("workspace", "", period, random.choice((tight, roomy))) for period in periods]
        recipe_periods = random.sample(("day", "month", "total"), random.choice((0, 0, 0, 1)))
        self.recipe_caps = [(period, random.choice((tight, roomy))) for period in recipe_periods]
        # Caps that are declared for some runs only, as when omixa.toml changes in the middle of a month.
        self.uneven = random.random() < 0.15
        self.run_cap = random.choice((None, None, None, None, tight, roomy))
        for _ in range(random.choice((1, 2, 2, 2, 2, 3, 4))):
            self.start_process()
        self.restarts = random.choice((0, 1, 1, 2)) if self.mood.kill else 0

    def start_process(self) -> None:
        """One more process, with a run of some of the items."""
        random = self.random
        process = Process(self, f"p{len(self.processes)}")
        self.processes.append(process)
        recipe = random.choice(("posters", "posters", "scans"))
        keys = [key for key in self.keys if random.random() < 0.8] or self.keys[:1]
        random.shuffle(keys)
        process.again = random.random() < 0.03
        for key in keys:
            self.may_pay[key] += process.again
        process.items = [item_of(recipe, key) for key in keys]
        process.queue.extend(process.items)
        uid = f"{process.name}"
        process.run = _run_facts(uid, recipe)
        process.caps = [cap for cap in self.caps if not self.uneven or random.random() < 0.6]
        process.caps += [Cap("recipe", recipe, period, cap) for period, cap in self.recipe_caps]
        if self.run_cap is not None:
            process.caps.append(Cap("run", uid, "run", self.run_cap))
        workers = random.choice((1, 1, 2))
        self.add(process, lambda: self._process(process, workers), "main")

    def add(self, process: Process, work: Callable[[], None], name: str) -> None:
        """One more worker."""
        self.tasks.append(Task(process, self._guarded(process, work), f"{process.name}.{name}"))

    def _guarded(self, process: Process, work: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                work()
            except (Killed, Broken):
                if not process.dead and self.violation is None:
                    self.violation = "a living process was taken for a dead one"
            except BaseException as error:  # noqa: BLE001 - every surprise is a finding
                if not process.dead and self.violation is None:
                    self.violation = f"{process.name} ended with {type(error).__name__}: {error}"
                    if self.tracing:
                        import traceback

                        self.trace.append(traceback.format_exc())

        return guarded

    # ---- what a process does, as `commands/run.py` and `jobs.begin` do it

    def _process(self, process: Process, workers: int) -> None:
        means = self.means(process)
        self._count(recovery.recover(means))
        owner = owners.hold(means.home / "owners", process.run.uid)  # type: ignore[union-attr, arg-type]
        run_id = process.ledger.begin_run(process.run, at=self.now())  # type: ignore[arg-type]
        purchase = execution.Purchase(
            **_known(
                execution.Purchase,
                run_id=run_id,
                run=process.run,
                terms={"": execution.Terms(CONTRACT, self.ceiling, "png", None)},
                caps=process.caps,
                follow=lambda item, _: item,  # no recipe here has several steps
                work=means.work / process.run.uid,  # type: ignore[union-attr]
                again=process.again,
                concurrency=workers,
                copies=Spares(means.work / process.run.uid, "copy"),  # type: ignore[union-attr]
                answers=Spares(means.work / process.run.uid, "answer"),  # type: ignore[union-attr]
            )
        )
        process.working = workers
        for number in range(1, workers):
            self.add(process, lambda: self._work(process, purchase, means), f"worker{number}")
        self._work(process, purchase, means)
        while process.working:
            self.at("join", needs="join")
        process.ledger.end_run(run_id, "done", at=self.now())
        simulated_disk.SHUTIL.rmtree(means.work / process.run.uid)  # type: ignore[union-attr]
        owner.let_go()

    def _work(self, process: Process, purchase: Any, means: Means) -> None:
        while process.queue and not process.control.finishing:
            done = execution.perform(process.queue.popleft(), purchase, means, process.control)
            process.dones.append(done)
            self._count([done])
            if done.stop is not None:
                process.control.finish()
        process.working -= 1

    def _count(self, dones: Sequence[Done]) -> None:
        for done in dones:
            self.outcomes[done.kind] += 1
            if done.kind in ("unknown", "unusable") or (done.stop is not None and done.stop.kind != "budget"):
                self.quiet = False
            if self.tracing:
                self.tell(f"done: {done.kind} {done.message or ''}", done.attempt_id)

    def means(self, process: Process) -> Means:
        """What a process works with."""
        return Means(
            **_known(
                Means,
                ledger=process.ledger,
                provider=Provider(self),
                results=simulated_disk.Results(HOME / "results"),
                root=ROOT,
                home=HOME,
                now=self.now,
            )
        )

    def new_ledger(self) -> Ledger:
        """The ledger, as one process opens it."""
        return Ledger(Desk(self.store), uptime=self.uptime)

    # ---- time

    def now(self) -> datetime:
        """What the wall clock says."""
        return self.begins + timedelta(microseconds=self.elapsed_us + self.wall_us)

    def uptime(self) -> Uptime:
        """The boot and the nanoseconds since: never set by anybody."""
        return Uptime("boot", self.elapsed_us * 1000)

    def monotonic(self) -> float:
        """Seconds that only go on."""
        return self.elapsed_us / 1_000_000

    def number_file(self) -> int:
        """A number that no file has yet."""
        self.files += 1
        return self.files

    # ---- the scheduler

    @property
    def process(self) -> Process | None:
        """Whose worker runs now."""
        return self.task.process if self.task is not None else None

    def alive(self) -> None:
        """Nothing has an effect any more for a process that is gone."""
        if self.task is not None and self.task.process.dead:
            raise Killed

    def at(self, point: str, what: str = "", *, needs: str | None = None, sleep_us: int = 0) -> None:
        """A boundary: anybody may go on before what comes next, and the process may be killed here."""
        task = self.task
        assert task is not None
        assert task is getcurrent(), "each worker speaks for itself"
        if task.process.dead:
            raise Killed
        task.point, task.what, task.needs, task.sleep_us = point, what, needs, sleep_us
        task.seen = task.process.control.version
        self.hub.switch()
        if task.process.dead:
            raise Killed

    def run(self) -> None:
        """Until everybody has ended, or something does not hold."""
        NOW.world = self
        try:
            self._go_on()
            if self.violation is None:
                self._end()
        except Broken as error:
            self.violation = str(error)
        finally:
            if self.violation is not None:
                self._discard()
            NOW.world = None

    def _go_on(self) -> None:
        last: Task | None = None
        mood = self.mood
        rand = self.rand
        disturbed = mood.kill or mood.jump or mood.person
        while True:
            if disturbed:
                self._disturb()
            task = self._choose(last)
            if task is None:
                if self.restarts and rand() < 0.7:
                    self.restarts -= 1
                    self.start_process()
                    continue
                return
            self.steps += 1
            self.elapsed_us += STEP_US
            if self.steps > STEPS_MAX:
                self.violation = f"nobody comes to an end: {[(t.name, t.point) for t in self.tasks]}"
                return
            if mood.kill and rand() * 1000 < mood.kill and task.process.items:
                self._kill(task)
                continue
            self._resume(task)
            if self.violation is not None:
                return
            last = task

    def _resume(self, task: Task) -> None:
        if self.tracing:
            self.trace.append(
                f"{self.steps:4} {self.now():%d %H:%M:%S.%f} {task.name:12} from {task.point} {task.what}"
            )
        self.task = task
        task.switch()
        self.task = None
        if task.dead:
            self.tasks.remove(task)

    def _kill(self, task: Task) -> None:
        process = task.process
        self.kills[task.point] += 1
        self.quiet = False
        if self.tracing:
            self.trace.append(f"{self.steps:4} {process.name} is killed, {task.name} at {task.point} {task.what}")
        process.kill()
        self.tasks = [other for other in self.tasks if other.process is not process]

    def _choose(self, last: Task | None) -> Task | None:
        awake: list[Task] = []
        asleep: list[Task] = []
        for task in self.tasks:
            needs = task.needs
            if needs is not None:
                if needs == "gate":
                    if self.gate is None:
                        awake.append(task)
                elif needs == "turn":
                    if task.process.control.turn.holder is None:  # type: ignore[attr-defined]
                        awake.append(task)
                elif not task.process.working:
                    awake.append(task)
            elif task.sleep_us and task.seen == task.process.control.version:
                asleep.append(task)
            else:
                awake.append(task)
        if awake and (not asleep or self.rand() > 0.02):
            if last in awake and self.rand() * 1000 < self.stickiness:
                return last
            return awake[int(self.rand() * len(awake))]
        if asleep:
            task = asleep[int(self.rand() * len(asleep))]
            self.elapsed_us += task.sleep_us if awake else max(task.sleep_us, NAP_US)
            return task
        if self.tasks:
            self.violation = f"nobody can go on: {[(t.name, t.point, t.needs) for t in self.tasks]}"
        return None

    def _discard(self) -> None:
        """Let go of what is left of a broken schedule."""
        for process in self.processes:
            process.kill()
        self.gate = None

    # ---- chances, people and clocks

    def chance(self, thousandths: int) -> bool:
        """Whether it happens."""
        return thousandths > 0 and self.rand() * 1000 < thousandths

    def disk_fails(self) -> bool:
        """Whether the disk is full right now."""
        return self.chance(self.mood.disk)

    def _disturb(self) -> None:
        if self.chance(self.mood.jump):
            self._jump()
        if self.chance(self.mood.person) and self.people < 6 and self.booked:
            self._call_somebody()

    def _jump(self) -> None:
        self.quiet = False
        now, random = self.now(), self.random
        local = now.astimezone(BERLIN)
        midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), BERLIN)
        first = date(local.year + local.month // 12, local.month % 12 + 1, 1)
        month = datetime.combine(first, datetime.min.time(), BERLIN)
        target = random.choice(
            (midnight, midnight, month, now - timedelta(hours=random.randint(1, 40)), now + timedelta(minutes=7))
        )
        by_us = int((target - now) / timedelta(microseconds=1)) + random.randint(-2000, 2000)
        if random.random() < 0.5 and by_us > 0:
            self.elapsed_us += by_us
        else:
            self.wall_us += by_us
        self.tell(f"the clock goes from {now} to {self.now()}", None)

    def _call_somebody(self) -> None:
        """A person's command, as a process of its own."""
        deeds: list[Callable[[Process], None]] = []
        if self.stops:
            deeds.append(self._resume_work)
        if any(booked.state == "unknown" for booked in self.booked.values()):
            deeds.append(self._resolve)
        if hasattr(Ledger, "stop"):
            deeds += [self._stop, self._grant]
        if hasattr(Ledger, "confirm_clock"):
            deeds.append(self._confirm_clock)
        if not deeds:
            return
        self.people += 1
        person = Process(self, f"person{self.people}")
        self.processes.append(person)
        deed = self.random.choice(deeds)
        self.add(person, lambda: deed(person), deed.__name__.strip("_"))

    def _resolve(self, person: Process) -> None:
        unknown = [number for number, booked in self.booked.items() if booked.state == "unknown"]
        if not unknown:
            return
        number = self.random.choice(unknown)
        truth = self.truth.get(number)
        try:
            person.ledger.resolve(
                number, billed_micros=truth.billed if truth else None, note="invoice", who="ana", at=self.now()
            )
        except (ledger.UsageError, ledger.LedgerError) as error:  # somebody else was faster
            self.tell(f"resolve: {error}", number)

    def _resume_work(self, person: Process) -> None:
        def resumed(_at: str) -> None:
            self.stops = [stop for stop in self.stops if stop[0] is None]

        self.task.effect = resumed  # type: ignore[union-attr]
        person.ledger.resume(WORKSPACE, note="looked at it", who="ana", at=self.now())

    def _stop(self, person: Process) -> None:
        self.quiet = False
        until = self.now() + timedelta(seconds=self.random.choice((0.01, 1, 3600))) if self.chance(500) else None
        workspace = self.random.choice((None, WORKSPACE))

        def stopped(_at: str) -> None:
            self.stops.append((workspace, None if until is None else database.moment(until)))

        self.task.effect = stopped  # type: ignore[union-attr]
        person.ledger.stop(workspace, until=until, reason="enough", who="ana", at=self.now())  # type: ignore[attr-defined]
        self.at("coffee", sleep_us=self.random.choice((10_000, 3_000_000)))

        def resumed(_at: str) -> None:
            self.stops = [stop for stop in self.stops if stop[0] != workspace]

        self.task.effect = resumed  # type: ignore[union-attr]
        person.ledger.resume(workspace, note="go on", who="ana", at=self.now())  # type: ignore[arg-type]

    def _grant(self, person: Process) -> None:
        self.quiet = False
        amount = self.random.choice((self.price, self.ceiling))
        periods = [cap.period for cap in self.caps if cap.scope == "workspace" and cap.period != "run"]
        if not periods:
            return
        period = self.random.choice(periods)
        at = usage.moment_of(person.ledger.database, self.now())
        label = windows.window(period, windows.local_day(at, ZONE), ZONE).label
        until = self.now() + timedelta(seconds=self.random.choice((0.01, 0.05, 1, 3600)))

        def granted(at: str) -> None:
            self.grants.append((period, amount, at, database.moment(until)))

        self.task.effect = granted  # type: ignore[union-attr]
        person.ledger.grant(
            WORKSPACE,
            period=period,
            label=label,
            amount_micros=amount,
            until=until,
            reason="more",
            who="ana",
            at=self.now(),
        )

    def _confirm_clock(self, person: Process) -> None:
        person.ledger.confirm_clock(note="looked", who="ana", at=self.now())  # type: ignore[attr-defined]

    # ---- the provider's side

    def asked(self, attempt: int, spool: Any) -> tuple[str, Outcome, bytes | None]:
        """A whole request has arrived: what is billed for it, and what the caller will see."""
        booked = self.booked.get(attempt)
        if booked is None or booked.state != "sent":
            raise self.broken(f"attempt {attempt} was sent and is {booked.state if booked else 'not in the ledger'}")
        if attempt in self.truth:
            raise self.broken(f"attempt {attempt} was sent twice")
        kind = self._kind_of_answer()
        self.bills[kind] += 1
        billed = None if kind in ("timeout, not billed", "declined", "busy") else self._bill(booked.reserved)
        picture = b"picture of %s by %d" % (booked.key.encode(), attempt) if kind == "bought" else None
        self.truth[attempt] = Paid(booked.key, billed, None)
        self.tell(f"{kind}, billed {billed}", attempt)
        if billed is not None:
            self.paid[booked.key] += 1
            if self.paid[booked.key] > 1 + self.may_pay[booked.key]:
                raise self.broken(f"item {booked.key} was paid {self.paid[booked.key]} times")
            if billed > booked.reserved:
                self.quiet = False
            self._check_truth(booked)
        return self._answer(kind, billed, picture, spool)

    def _kind_of_answer(self) -> str:
        if not self.chance(self.mood.trouble):
            return "bought"
        kinds = ("timeout, billed", "timeout, not billed", "declined", "busy", "busy", "no amount", "no picture")
        return self.random.choice(kinds)

    def _bill(self, reserved: int) -> int:
        if self.chance(self.mood.breach):
            return reserved + self.random.choice((1, self.random.randint(1, reserved * 50)))
        if self.chance(self.mood.odd):
            return self.random.choice((0, self.random.randint(0, reserved), reserved))
        return min(self.price, reserved)

    def _answer(
        self, kind: str, billed: int | None, picture: bytes | None, spool: Any
    ) -> tuple[str, Outcome, bytes | None]:
        match kind:
            case "timeout, billed" | "timeout, not billed":
                return "cut", Unknown(EVIDENCE, "timed-out", "no complete answer within 300 s"), None
            case "declined":
                return "answer", Declined(EVIDENCE, "moderated", "moderated"), None
            case "busy":
                return "answer", Declined(EVIDENCE, "rate-limited", "busy", self.random.choice((1.0, 60.0))), None
            case "no amount":
                content = b"picture without a bill"
                return "answer", Billed(EVIDENCE, None, None, Place(f"{spool.text}.picture")), content
            case "no picture":
                return "answer", Billed(EVIDENCE, billed, "text", None, "no picture came"), None
            case _:
                return "answer", Billed(EVIDENCE, billed, "text", Place(f"{spool.text}.picture")), picture

    # ---- what must hold

    def broken(self, what: str) -> Broken:
        """An invariant does not hold: the schedule ends here."""
        if self.violation is None:
            self.violation = what
        return Broken(what)

    def tell(self, what: str, attempt: int | None) -> None:
        """A line of the trace."""
        if self.tracing:
            self.trace.append(f"     {'' if attempt is None else f'attempt {attempt}: '}{what}")

    def spooled(self, attempt: int) -> None:
        """The answer of an attempt is on disk: from now on it must not be lost before it is booked."""
        booked = self.booked[attempt]
        if booked.state == "sent":
            self.unsafe[attempt] = f"home/spool/{booked.uid}-{attempt}.answer"

    def removed(self, path: str, digest: str) -> None:
        """A file went away: was it the last one of a paid picture, or an answer that is not booked?"""
        if self.pictures.get(digest) and not self.disk.copies[digest]:
            raise self.broken(f"the only copy of a paid picture was removed: {path}")
        for attempt, spool in self.unsafe.items():
            if spool == path and path not in self.disk.files:
                raise self.broken(f"the answer of attempt {attempt} was removed before it was booked")

    def committed(self, task: Task | None) -> None:
        """A transaction is durable: read what it has changed, and check everything it could have broken."""
        execute = self.store.raw.execute
        entries = execute(_NEW_ENTRIES, (self.last_entry,)).fetchall()
        effect, task.effect = task.effect, None  # type: ignore[union-attr]
        if not entries:
            return
        if effect is not None:
            effect(entries[-1][1])
        fresh: list[Booked] = []
        for id_, at, attempt, kind, opened, settled in entries:
            self.last_entry = id_
            if at < self.last_at:
                raise self.broken(f"entry {id_} is of {at}, the one before of {self.last_at}")
            self.last_at = at
            self.tell(f"{kind} {opened:+} {settled:+}", attempt)
            if kind == "reserve":
                fresh.append(self._reserved(attempt, at))
            elif kind == "breach":
                self.stops.append((WORKSPACE, None))
            if attempt is not None:
                booked = self.booked[attempt]
                booked.open_sum += opened
                booked.settled_sum += settled
        self._check_attempts(execute(_ALL_ATTEMPTS).fetchall())
        self._check_windows(execute(_ALL_WINDOWS).fetchall(), fresh)

    def _reserved(self, attempt: int, at: str) -> Booked:
        # Its windows are those of the moment at which the clock was read, which may be before that of its entry.
        key, uid, reserved, reserved_at = self.store.raw.execute(_ONE_ATTEMPT, (attempt,)).fetchone()
        for workspace, until in self.stops:
            if until is None or at < until:
                raise self.broken(f"attempt {attempt} was reserved while {workspace or 'everything'} is stopped")
        process = next(process for process in self.processes if process.run is not None and process.run.uid == uid)
        if reserved_at < self.last_reserved:
            raise self.broken(f"attempt {attempt} is of {reserved_at}, the one before of {self.last_reserved}")
        self.last_reserved = reserved_at
        day = datetime.fromisoformat(reserved_at).astimezone(BERLIN).date()
        every = [*self.caps, *process.caps] if self.uneven else process.caps
        names = list(dict.fromkeys(window_of(cap, day) for cap in every))
        booked = self.booked[attempt] = Booked(key, uid, reserved, names, process.caps)
        booked.day, booked.at = day, reserved_at
        if reserved < self.ceiling:
            raise self.broken(f"attempt {attempt} reserved {reserved}, less than the ceiling {self.ceiling}")
        return booked

    def _check_attempts(self, rows: list[Any]) -> None:
        truth_sum = book_sum = 0
        for id_, state, reserved, billed, digest in rows:
            booked = self.booked[id_]
            truth = self.truth.get(id_)
            fact = truth.billed if truth is not None else None
            if state != booked.state:
                self._check_change(id_, booked, state, billed, fact, digest)
            opened = reserved if state in ("reserved", "sent", "unknown") else 0
            if (opened, billed or 0) != (booked.open_sum, booked.settled_sum):
                raise self.broken(f"attempt {id_} is {state} {opened}/{billed}, its entries make {booked}")
            # A bill above its reservation is in the ledger as soon as it is settled.
            truth_sum += min(fact or 0, reserved) if opened else fact or 0
            book_sum += opened + (billed or 0)
        if truth_sum > book_sum:
            raise self.broken(f"the provider billed {truth_sum}, the ledger has {book_sum} settled and open")

    def _check_change(
        self, id_: int, booked: Booked, state: str, billed: int | None, fact: int | None, digest: str | None
    ) -> None:
        if state not in NEXT[booked.state]:
            raise self.broken(f"attempt {id_} went from {booked.state} to {state}")
        booked.state, booked.billed = state, billed
        if state in ("settled", "released"):
            if billed != fact:
                raise self.broken(f"attempt {id_} is {state} with {billed}, the provider billed {fact}")
            spool = self.unsafe.pop(id_, None)
            answer = self.disk.answers.get(spool, (None,))[0] if spool else None
            if isinstance(answer, Billed) and answer.result is not None and digest is None:
                raise self.broken(f"attempt {id_} is {state}, and the picture that came is not booked")
        if state == "unknown" and (spool := self.unsafe.pop(id_, None)) is not None:
            answer = self.disk.answers.get(spool, (None,))[0]
            if isinstance(answer, Declined) or (isinstance(answer, Billed) and answer.amount_micros is not None):
                raise self.broken(f"attempt {id_} is unknown, and its answer is on disk: {answer}")
        if digest is not None and state == "settled":
            booked.digest = digest
            self.pictures[digest] += 1
            if not self.disk.copies[digest]:
                raise self.broken(f"attempt {id_} is settled, and its picture is nowhere")

    def _check_windows(self, rows: list[Any], fresh: list[Booked]) -> None:
        sums: dict[tuple[str, str, str, str], list[int]] = {}
        for booked in self.booked.values():
            opened = booked.reserved if booked.state in ("reserved", "sent", "unknown") else 0
            for name in booked.windows:
                found = sums.setdefault(name, [0, 0])
                found[0] += opened
                found[1] += booked.billed or 0
        there = set()
        for scope, name, period, label, opened, settled in rows:
            window = (scope, name, period, label)
            there.add(window)
            expected = sums.get(window)
            if expected is not None and expected != [opened, settled]:
                raise self.broken(f"window {period} {label} has {opened}/{settled}, its attempts make {expected}")
        for booked in fresh:
            self._check_caps(booked, sums, there)
        for window, (opened, settled) in sums.items():
            self.totals[window] = opened + settled

    def _check_caps(self, booked: Booked, sums: dict[tuple[str, str, str, str], list[int]], there: set[Any]) -> None:
        for cap in booked.caps:
            window = window_of(cap, booked.day)
            if window not in there:
                raise self.broken(f"nothing was taken from window {window}")
            opened, settled = sums[window]
            allowed = cap.cap_micros + self._granted(cap, booked.at)
            if opened + settled > allowed:
                raise self.broken(f"window {window} has {opened} open and {settled} settled, its cap is {allowed}")

    def _granted(self, cap: Cap, at: str) -> int:
        if not self.grants or cap.scope != "workspace":
            return 0
        return sum(amount for period, amount, _, until in self.grants if period == cap.period and at < until)

    def _check_truth(self, asked: Booked) -> None:
        """What the provider billed in a window is within its cap, as long as no bill was above its reservation."""
        if self.uneven or any((paid.billed or 0) > self.booked[number].reserved for number, paid in self.truth.items()):
            return
        granted = sum(amount for _, amount, _, _ in self.grants)
        for cap in asked.caps:
            window = window_of(cap, asked.day)
            spent = sum(
                paid.billed or 0 for number, paid in self.truth.items() if window in self.booked[number].windows
            )
            if spent > cap.cap_micros + granted:
                raise self.broken(f"the provider billed {spent} in window {window}, its cap is {cap.cap_micros}")

    # ---- the end

    def _end(self) -> None:
        """A fresh process finishes what is left; then nothing is in the air, and a cap that could be filled is full."""
        self.mood = Mood()
        last = Process(self, "last")
        self.processes.append(last)
        self.add(last, lambda: self._count(recovery.recover(self.means(last))), "recovery")
        while self.tasks and self.violation is None:
            self.steps += 1
            self.elapsed_us += STEP_US
            self._resume(self.tasks[0])
        if self.violation is not None:
            return
        left = self.store.raw.execute(_LEFT).fetchall()
        if left:
            raise self.broken(f"after the last recovery attempts are left: {left}")
        running = self.store.raw.execute("SELECT uid FROM runs WHERE ended_at IS NULL").fetchall()
        if running:
            raise self.broken(f"after the last recovery runs have not ended: {running}")
        if self.disk.locks:
            raise self.broken("after the last process ended a lock is held")
        if self.quiet:
            self._check_full()

    def _check_full(self) -> None:
        if not self.booked:
            return
        day = datetime.fromisoformat(self.last_at).astimezone(BERLIN).date()
        if day != self.begins.astimezone(BERLIN).date():
            return
        amount = max([self.ceiling, *(booked.billed or 0 for booked in self.booked.values())])
        bought = {booked.key for booked in self.booked.values() if booked.state == "settled"}
        for process in self.processes:
            if process.run is None:
                continue
            declined = {done.item.draft.key for done in process.dones if done.kind in ("declined", "unsent")}
            left = [item for item in process.items if item.draft.key not in bought | declined]
            rooms = [cap.cap_micros - self.totals.get(window_of(cap, day), 0) for cap in process.caps]
            if left and min(rooms, default=amount) >= amount:
                raise self.broken(f"{process.name} left {left[0].draft.key}, and {min(rooms)} is left for {amount}")


NEXT = {
    "reserved": ("sent", "released"),
    "sent": ("settled", "released", "unknown"),
    "unknown": ("settled", "released"),
    "settled": (),
    "released": (),
}
_NEW_ENTRIES = "SELECT id, at, attempt_id, kind, open_micros, settled_micros FROM entries WHERE id > ? ORDER BY id"
_ONE_ATTEMPT = (
    "SELECT a.item_key, r.uid, a.reserved_micros, a.reserved_at FROM attempts a JOIN runs r ON r.id = a.run_id "
    "WHERE a.id = ?"
)
_ALL_ATTEMPTS = "SELECT id, state, reserved_micros, billed_micros, result_digest FROM attempts"
_ALL_WINDOWS = "SELECT scope, name, period, label, open_micros, settled_micros FROM budget_windows"
_LEFT = "SELECT id, state FROM attempts WHERE state IN ('reserved', 'sent')"


def label_of(period: str, day: date) -> str:
    """The name of the window that holds a day, worked out apart from `runner.windows`."""
    match period:
        case "day":
            return str(day)
        case "week":
            return f"{day.isocalendar()[0]}-W{day.isocalendar()[1]:02}"
        case "month":
            return str(day)[:7]
        case "quarter":
            return f"{day.year}-Q{(day.month - 1) // 3 + 1}"
        case "year":
            return str(day)[:4]
        case "total":
            return "all"
        case _:
            return "run"


def window_of(cap: Cap, day: date) -> tuple[str, str, str, str]:
    """The window that a cap is for, on a day."""
    return cap.scope, cap.name, cap.period, label_of(cap.period, day)


_ITEMS: dict[tuple[str, str], Item] = {}


def item_of(recipe: str, key: str) -> Item:
    """An item to buy, made once."""
    if (recipe, key) not in _ITEMS:
        source = f"pictures/{key}.png"
        picture = images.Picture(
            path=key,  # type: ignore[arg-type]
            digest=key * 32,
            size_bytes=100,
            media_type="image/png",
            width=64,
            height=64,
            has_alpha=False,
            sixteen_bit=False,
            needs_preparing=False,
        )
        draft = Draft(
            source=ROOT / source,  # type: ignore[arg-type]
            source_path=source,
            picture=picture,
            fault=None,
            prompt_name="restore",
            prompt="restore it",
            negative=None,
            preset_name="photo",
            options={"output_format": "png"},
            key=key,
            output=ROOT / f"out/{recipe}/{key}.png",  # type: ignore[arg-type]
            output_path=f"out/{recipe}/{key}.png",
            output_size=None,
        )
        _ITEMS[recipe, key] = Item(draft, "buy", "new")
    return _ITEMS[recipe, key]


def _run_facts(uid: str, recipe: str) -> RunFacts:
    return RunFacts(
        uid=uid,
        workspace=WORKSPACE,
        currency=CURRENCY,
        zone=ZONE,
        recipe=recipe,
        recipe_path=f"recipes/{recipe}.toml",
        recipe_digest="d" * 64,
        git_commit=None,
        git_dirty=None,
        cost_centre=None,
        labels={},
        who="ana",
        program="omixa-runner",
    )


def _known(kind: type, **values: Any) -> dict[str, Any]:
    """Only what this class takes: it gains fields over time, with defaults."""
    return {name: value for name, value in values.items() if name in kind.__dataclass_fields__}  # type: ignore[attr-defined]


# ---- running many


@dataclass
class Sum:
    """What many schedules came to."""

    schedules: int = 0
    steps: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    bills: Counter[str] = field(default_factory=Counter)
    moods: Counter[str] = field(default_factory=Counter)
    filled: int = 0
    violation: tuple[int, int, str] | None = None

    def add(self, world: World, seed: int, number: int) -> None:
        """One more schedule."""
        self.schedules += 1
        self.steps += world.steps
        self.kills += world.kills
        self.outcomes += world.outcomes
        self.bills += world.bills
        self.moods[world.mood_name] += 1
        self.filled += world.quiet
        if world.violation is not None and self.violation is None:
            self.violation = (seed, number, world.violation)


_STANDINS: tuple[tuple[Any, str, Any], ...] = (
    (execution, "images", simulated_disk.IMAGES),
    (execution, "secrets", SimpleNamespace(randbelow=lambda below: 6)),
    (execution, "time", SimpleNamespace(monotonic=lambda: NOW.world.monotonic())),
    (booking, "images", simulated_disk.IMAGES),
    (booking, "os", simulated_disk.OS),
    (recovery, "images", simulated_disk.IMAGES),
    (recovery, "shutil", simulated_disk.SHUTIL),
    (owners, "os", simulated_disk.OS),
    (owners, "fcntl", simulated_disk.FCNTL),
)


class Simulator:
    """Runs schedules in one process, inside of `with`: outside, the runner has its own disk and clock again."""

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain
        self._own: list[Any] = []

    def __enter__(self) -> "Simulator":
        self._own = [getattr(module, name) for module, name, _ in _STANDINS]
        for module, name, standin in _STANDINS:
            setattr(module, name, standin)
        self.store = Store(plain=self._plain)
        # What lives as long as the simulator need not be looked at again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000)
        return self

    def __exit__(self, *_: object) -> None:
        for (module, name, _standin), own in zip(_STANDINS, self._own, strict=True):
            setattr(module, name, own)
        self.store.engine.dispose()
        gc.unfreeze()
        gc.set_threshold(700)

    def run(self, seed: int, number: int, *, trace: bool = False) -> World:
        """One schedule, to its end."""
        self.store.reset()
        world = World(self.store, seed, number, trace=trace)
        world.run()
        return world

    def many(self, seed: int, numbers: Sequence[int], *, stop_at_first: bool = True) -> Sum:
        """Several schedules; the first that breaks an invariant ends them."""
        total = Sum()
        for number in numbers:
            total.add(self.run(seed, number), seed, number)
            if total.violation is not None and stop_at_first:
                break
        return total
