"""Power cuts: what the ledger acknowledged is there afterwards, whatever the disk had not yet been told to keep.

    python -m tests.long.power --cuts 1000 --seed 7

The real ledger runs on a SQLite whose every write, truncation and sync is written down. A cut is then any point in
that list: of each file the disk holds what was synced, and of what came after it any part, sector by sector. The
ledger is opened again on exactly those files. Some changes are made one by one, others by callers that wait at the
same time and are committed together; of one such group in each run the power is cut at every point. The controls do
the same with `synchronous=NORMAL`, which must lose commits, and with `synchronous=OFF`, which must ruin ledgers.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import apsw
from sqlalchemy import select

from runner.errors import LedgerError
from runner.ledger import balance_check
from runner.ledger import database as database_module
from runner.ledger.database import Database, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.tables import ENTRIES
from runner.ledger.values import Cap, Reserved
from runner.ledger.verify import verify
from tests.ledger.conftest import Call, Desk, in_line

# What a disk writes whole or not at all.
SECTOR_BYTES = 512

# Where these stand in an entry.
_ATTEMPT, _KIND = ENTRIES.c.keys().index("attempt_id"), ENTRIES.c.keys().index("kind")

# How many points of one recorded run are tried.
CUTS_PER_RUN = 25
STEPS_PER_RUN = 60

FULL = "PRAGMA synchronous=FULL"
NORMAL = "PRAGMA synchronous=NORMAL"
OFF = "PRAGMA synchronous=OFF"


# ---- what happened to the files, in order


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes went to a place in a file; the disk may keep them, or sectors of them, or nothing."""

    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A file was cut to a size; the disk may keep that, or not."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """The disk keeps all that happened to a file before."""

    file: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A file was deleted; SQLite does not sync the folder after that, so the file may come back."""

    file: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The ledger returned from a change: it has promised to keep so many entries."""

    entries: int


@dataclass(frozen=True, slots=True)
class Told:
    """One of several callers heard that its change is booked: from now on its entry is there."""

    attempt_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class Group:
    """Callers wait for one commit, or have all been answered."""

    begins: bool


Event = Wrote | Truncated | Synced | Removed | Acknowledged | Told | Group


@dataclass(slots=True)
class OneFile:
    """What a disk is sure to hold of a file, and what it has been told since. None: the file is not there."""

    kept: bytearray | None
    pending: list[Wrote | Truncated | Removed] = field(default_factory=list)

    def sync(self) -> None:
        """All that was told is kept."""
        for event in self.pending:
            self.kept = _applied(self.kept, event)
        self.pending.clear()

    def after_a_cut(self, rng: random.Random) -> bytes | None:
        """One of the contents that the file may have when the power went just now; None: there is no file."""
        content = None if self.kept is None else bytearray(self.kept)
        chance = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for piece in self.pending:
            for part in _sectors(piece) if isinstance(piece, Wrote) else (piece,):
                if rng.random() < chance:
                    content = _applied(content, part)
        return None if content is None else bytes(content)


def _applied(content: bytearray | None, event: Wrote | Truncated | Removed) -> bytearray | None:
    match event:
        case Removed():
            return None
        case Truncated(size=size):
            content = content or bytearray()
            return content[:size].ljust(size, b"\0")
        case Wrote(offset=offset, data=data):
            content = (content or bytearray()).ljust(offset, b"\0")
            content[offset : offset + len(data)] = data
            return content


def _sectors(piece: Wrote) -> Iterator[Wrote]:
    start, end = piece.offset, piece.offset + len(piece.data)
    while start < end:
        stop = min(end, start - start % SECTOR_BYTES + SECTOR_BYTES)
        yield Wrote(piece.file, start, piece.data[start - piece.offset : stop - piece.offset])
        start = stop


def disk_after(events: Sequence[Event], before: dict[str, bytes], rng: random.Random) -> dict[str, bytes]:
    """What the disk may hold when the power goes after these events. `before`: the files before them, all kept."""
    files = {name: OneFile(bytearray(content)) for name, content in before.items()}
    for event in events:
        match event:
            case Acknowledged() | Told() | Group():
                pass
            case Synced(file=name):
                files.setdefault(name, OneFile(None)).sync()
            case _:
                files.setdefault(event.file, OneFile(None)).pending.append(event)
    found = {name: file.after_a_cut(rng) for name, file in files.items()}
    return {name: content for name, content in found.items() if content is not None}


# ---- a SQLite that writes down what it does to its files


class _Files(apsw.VFS):
    """The operating system's files, and a list of what happens to them."""

    def __init__(self, name: str, events: list[Event]) -> None:
        super().__init__(name, "")
        self._events = events

    def xOpen(self, name: Any, flags: list[int]) -> "_File":  # noqa: N802 - apsw's name
        # Without a name it is for what is undone in a transaction, and gone with its process: nobody finds it again.
        return _File(name, flags, [] if name is None else self._events)

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802 - apsw's name
        super().xDelete(name, sync_folder)
        self._events.append(Removed(Path(name).name))
        if sync_folder:
            self._events.append(Synced(Path(name).name))


class _File(apsw.VFSFile):
    """One file. Shared memory is not listed: after a power cut SQLite makes it anew."""

    def __init__(self, name: Any, flags: list[int], events: list[Event]) -> None:
        super().__init__("", name, flags)
        self._name = Path((name.filename() if isinstance(name, apsw.URIFilename) else name) or "").name
        self._events = events

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        super().xWrite(data, offset)
        self._events.append(Wrote(self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802 - apsw's name
        super().xTruncate(size)
        self._events.append(Truncated(self._name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        # The real disk is spared: no power is cut but in the list.
        self._events.append(Synced(self._name))


class _Connection:
    """What SQLAlchemy's SQLite dialect and the ledger ask of a connection, over apsw.

    `instead`: what is executed in the place of a statement, which is how the control changes one setting and no code.
    """

    def __init__(self, path: str, vfs: str, timeout_ms: int, instead: dict[str, str], first: str) -> None:
        self._raw = apsw.Connection(path, vfs=vfs)
        self._raw.set_busy_timeout(timeout_ms)
        self._raw.execute(first)
        self._instead = instead
        self.isolation_level: str | None = ""

    def cursor(self) -> "_Cursor":
        return _Cursor(self._raw, self._instead)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> "_Cursor":
        return self.cursor().execute(statement, values)

    @property
    def in_transaction(self) -> bool:
        return bool(self._raw.in_transaction)

    def commit(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("COMMIT")

    def rollback(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")

    def close(self) -> None:
        self._raw.close()

    def create_function(self, name: str, count: int, function: Callable[..., Any], **_: Any) -> None:
        self._raw.create_scalar_function(name, function, count)


class _Cursor:
    """A statement that has been executed to its end, and its rows."""

    arraysize = 1

    def __init__(self, raw: apsw.Connection, instead: dict[str, str]) -> None:
        self._raw = raw
        self._instead = instead
        self._rows: Iterator[Any] = iter(())
        self.description: tuple[tuple[Any, ...], ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, statement: str, values: Sequence[Any] = ()) -> "_Cursor":
        cursor = self._raw.cursor()
        # Asked before the first step: afterwards apsw does not tell the columns of a query without rows.
        cursor.exec_trace = self._describe
        before = self._raw.total_changes()
        self._rows = iter(list(cursor.execute(self._instead.get(statement, statement), values)))
        self.rowcount = self._raw.changes() if self._raw.total_changes() != before else 0
        self.lastrowid = self._raw.last_insert_rowid()
        return self

    def _describe(self, cursor: apsw.Cursor, _statement: str, _values: Any) -> bool:
        columns = cursor.get_description()
        self.description = tuple((name, kind, None, None, None, None, None) for name, kind in columns) or None
        return True

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> "_Cursor":
        total = 0
        for values in rows:
            total += self.execute(statement, values).rowcount
        self.rowcount = total
        return self

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return [row for row, _ in zip(self._rows, range(size or self.arraysize), strict=False)]

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def close(self) -> None:
        self._rows = iter(())


@contextmanager
def recording(events: list[Event], synchronous: str, first: str) -> Iterator[None]:
    """Inside, ledgers are opened on files whose events are written down. `first`: a statement for each connection."""
    name = "written-down"
    files = _Files(name, events)
    version = apsw.sqlite_lib_version()

    def connect(path: str, *, timeout: float, **_: Any) -> _Connection:
        return _Connection(path, name, int(timeout * 1000), {FULL: synchronous}, first)

    errors = ("DatabaseError", "OperationalError", "IntegrityError", "ProgrammingError", "NotSupportedError")
    module = SimpleNamespace(
        connect=connect,
        paramstyle="qmark",
        Binary=bytes,
        sqlite_version=version,
        sqlite_version_info=tuple(int(part) for part in version.split(".")),
        Error=apsw.Error,
        **dict.fromkeys(errors, apsw.Error),
    )
    try:
        with patch.object(database_module, "sqlite_module", lambda: module):
            yield
    finally:
        files.unregister()


# ---- a run of the ledger, and the cuts in it


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run of the ledger: the files before it, what happened to them, and the entries that it wrote in the end."""

    before: dict[str, bytes]
    events: list[Event]
    entries: list[tuple[Any, ...]]


def recorded(template: Path, folder: Path, rng: random.Random, synchronous: str) -> Recorded:
    """Reserve, send, settle, release and lose at random on a copy of the ledger `template`."""
    path = folder / "ledger.db"
    shutil.copyfile(template, path)
    before = {path.name: path.read_bytes()}
    events: list[Event] = []
    # The default, and so often that cuts also come while the WAL is folded back and begun anew.
    pages = rng.choice((1000, 40, 8))
    first = f"PRAGMA wal_autocheckpoint={pages}"
    with recording(events, synchronous, first), open_database(path, create=False) as database:
        _check_setting(database, synchronous)
        for _ in _steps(Desk(Ledger(database), seen=False), rng, events):
            events.append(Acknowledged(len(_entries(database))))
    with open_database(path, create=False) as database:
        return Recorded(before, events, _entries(database))


def _check_setting(database: Database, synchronous: str) -> None:
    """A control that changed nothing would prove nothing; nor would a proof of a setting that is not in force."""
    with database.read() as connection:
        found = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    assert (mode, found) == ("wal", {FULL: 2, NORMAL: 1, OFF: 0}[synchronous])


def _steps(desk: Desk, rng: random.Random, events: list[Event]) -> Iterator[None]:
    """Changes of a ledger, one at a time or several at once."""
    caps = [Cap("workspace", "", "month", 10**9), Cap("recipe", "posters", "total", 10**9)]
    desk.buy("first", caps=caps)
    yield
    reserved: list[int] = []
    sent: list[int] = []
    for number in range(STEPS_PER_RUN):
        if rng.random() < 0.15:
            _group(desk, number, reserved, sent, caps, rng, events)
        elif rng.random() < 0.4 or not reserved + sent:
            reservation = desk.reserve(f"item-{number}", amount=rng.randint(39_000, 700_000), caps=caps)
            assert isinstance(reservation, Reserved), reservation
            reserved.append(reservation.attempt_id)
        elif reserved and (rng.random() < 0.5 or not sent):
            attempt = reserved.pop(rng.randrange(len(reserved)))
            if rng.random() < 0.2:
                desk.release(attempt)
            else:
                desk.ledger.sent(attempt, who="ana", at=desk.at)
                sent.append(attempt)
        else:
            attempt = sent.pop(rng.randrange(len(sent)))
            rng.choice((desk.settle, desk.settle, desk.settle, desk.release, desk.lose))(attempt)
        desk.pass_time(seconds=1)
        yield


def _group(
    desk: Desk,
    number: int,
    reserved: list[int],
    sent: list[int],
    caps: Sequence[Cap],
    rng: random.Random,
    events: list[Event],
) -> None:
    """Changes of callers that wait at the same time: what is reserved is sent, what is sent is settled, and something
    new is reserved; in half of the groups one fails in the middle. Each caller is told for itself."""

    def telling(kind: str, change: Callable[[], Any], attempt_id: int | None = None) -> Call:
        def call() -> int:
            found = change()
            mine = found.attempt_id if attempt_id is None else attempt_id
            events.append(Told(mine, kind))
            return int(mine)

        return call

    def send(attempt_id: int) -> Call:
        return lambda: desk.ledger.sent(attempt_id, who="ana", at=desk.at)

    calls = [telling("sent", send(attempt), attempt) for attempt in reserved]
    calls += [telling("settle", lambda a=attempt: desk.settle(a), attempt) for attempt in sent]  # type: ignore[misc]
    new = [f"item-{number}-{n}" for n in range(rng.randint(1, 4))]
    calls += [telling("reserve", lambda k=key: desk.reserve(k, caps=caps)) for key in new]  # type: ignore[misc]
    rng.shuffle(calls)
    fails = bool(sent) and rng.random() < 0.5
    if fails:
        calls.insert(rng.randint(0, len(calls)), send(sent[0]))  # a second time: that is refused
    begun = desk.ledger.database.begun
    events.append(Group(begins=True))
    with in_line(desk, calls) as ends:
        pass
    events.append(Group(begins=False))
    errors = [end for end in ends if isinstance(end, BaseException)]
    assert len(errors) == fails, errors
    # One that leads and fails ends its transaction, and the others have the next.
    assert desk.ledger.database.begun - begun - 1 in ((1, 2) if fails else (1,))
    known = {*reserved, *sent}
    reserved[:], sent[:] = [end for end in ends if type(end) is int and end not in known], list(reserved)


def _entries(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(select(ENTRIES).order_by(ENTRIES.c.id))]


def after_a_cut(run: Recorded, at: int, folder: Path, rng: random.Random) -> tuple[int, list[str]]:
    """How many acknowledged entries are lost when the power goes after so many events, and what else is wrong.

    A ledger that does not open has lost all of them.
    """
    for name, content in disk_after(run.events[:at], run.before, rng).items():
        (folder / name).write_bytes(content)
    promised = max((event.entries for event in run.events[:at] if isinstance(event, Acknowledged)), default=0)
    told = [event for event in run.events[:at] if isinstance(event, Told)]
    try:
        with open_database(folder / "ledger.db", create=False) as database:
            found = _entries(database)
            wrong = balance_check.damage(database) or balance_check.check_balances(database)
            # Whoever was not told is there with all that belongs to it, or not at all.
            wrong = wrong or [str(fault) for fault in verify(database).faults]
    except LedgerError as error:
        return promised, [error.message]
    if found != run.entries[: len(found)]:
        wrong.append("the entries are not those that were written, in their order")
    kept = {(entry[_ATTEMPT], entry[_KIND]) for entry in found}
    return max(0, promised - len(found), sum((one.attempt_id, one.kind) not in kept for one in told)), wrong


@dataclass(slots=True)
class Outcome:
    """How the cuts of one setting went.

    `losing` cuts lost `lost` acknowledged entries; `ruined` cuts left a ledger that does not open, does not add up, or
    has other entries than were written: `wrong` says what.
    """

    cuts: int = 0
    losing: int = 0
    lost: int = 0
    ruined: int = 0
    wrong: list[str] = field(default_factory=list)


def cuts(count: int, seed: int, synchronous: str) -> Outcome:
    """Try so many cuts, at most CUTS_PER_RUN in one recorded run."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = folder / "empty" / "ledger.db"
        open_database(template, create=True).close()
        while outcome.cuts < count:
            number = outcome.cuts // CUTS_PER_RUN
            rng = random.Random(f"{seed} {number}")
            run = recorded(template, _fresh(folder / "run"), rng, synchronous)
            for at in _points(run, min(CUTS_PER_RUN, count - outcome.cuts), rng):
                lost, wrong = after_a_cut(run, at, _fresh(folder / "cut"), rng)
                outcome.cuts += 1
                outcome.losing += lost > 0
                outcome.lost += lost
                outcome.ruined += bool(wrong)
                outcome.wrong += [f"run {number}, cut at event {at} of {len(run.events)}: {line}" for line in wrong]
    return outcome


def _points(run: Recorded, count: int, rng: random.Random) -> list[int]:
    """Where the power is cut: at every point of one of the groups, as far as half of `count` allows, and anywhere."""
    begins = [at for at, event in enumerate(run.events) if event == Group(begins=True)]
    points: list[int] = []
    if begins:
        begin = rng.choice(begins)
        points = list(range(begin + 1, run.events.index(Group(begins=False), begin) + 1))
    if len(points) > count // 2:
        points = rng.sample(points, count // 2)
    return points + [rng.randint(0, len(run.events)) for _ in range(count - len(points))]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def main() -> int:
    """Cut the power, with our setting and with the control's, and say what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcomes = {}
    for setting in (FULL, NORMAL, OFF):
        began = time.perf_counter()
        outcome = outcomes[setting] = cuts(options.cuts, options.seed, setting)
        print(
            f"{setting:25} {outcome.cuts} power cuts: {outcome.losing} lost acknowledged commits "
            f"({outcome.lost} entries), {outcome.ruined} left a ledger that is not sound "
            f"({time.perf_counter() - began:.0f} s)",
            flush=True,
        )
    full = outcomes[FULL]
    print(*full.wrong, sep="\n", end="")
    controls_fail = outcomes[NORMAL].losing and outcomes[OFF].ruined
    return 0 if controls_fail and not full.losing and not full.ruined else 1


if __name__ == "__main__":
    sys.exit(main())
