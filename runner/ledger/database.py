"""The ledger's file: opening it safely, and the one place where a write transaction begins and ends.

SQLite with WAL and `synchronous=FULL`: an acknowledged commit survives a power cut. A lock file beside the ledger
(the gate) is held around BEGIN … COMMIT, because SQLite's own busy loop starves a process when many write.
"""

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner.baton import aside, taken
from runner.errors import LedgerError
from runner.ledger import HEAD, fresh
from runner.ledger.gate import Gate

# SQLAlchemy takes longer to load than all that somebody does who only looks: it comes with the first engine.
if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Before 3.51.3 a crash while the WAL is reset can lose a commit: https://sqlite.org/wal.html#walresetbug
SQLITE_VERSION_MIN = (3, 51, 3)
BUSY_TIMEOUT_S = 30
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}
)


def sqlite_module() -> ModuleType:
    """The sqlite3 of the standard library, or the newer one of the `pysqlite3` wheel when ours lacks the WAL fix."""
    if sqlite3.sqlite_version_info >= SQLITE_VERSION_MIN:
        return sqlite3
    try:
        import pysqlite3
    except ImportError:  # no wheel for this platform: `omixa doctor` warns
        return sqlite3
    newer: ModuleType = pysqlite3
    return newer


def moment(at: datetime) -> str:
    """A moment as the ledger keeps it: UTC, fixed width, so that text order is time order."""
    assert at.tzinfo is not None, "moments are aware"
    # By `isoformat`, which takes a quarter of the time of `strftime`: a booking writes five moments.
    at = at if at.tzinfo is UTC else at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"


class Database:
    """One ledger file. Safe to share between threads; any number of processes may open the same file."""

    def __init__(self, path: Path | None, *, wait_s: float = BUSY_TIMEOUT_S) -> None:
        """Open an existing, up-to-date file; None opens an empty ledger in memory, to plan without a file.

        `wait_s`: the longest that a write transaction waits for the process that holds the gate.
        """
        self.path = path
        self._writer = threading.Lock()
        # The connection that writes stays open: between its transactions it can tell whether anybody else has written.
        self._writing: Connection | None = None
        # How many write transactions were begun here.
        self.begun = 0
        # What the parts of the ledger keep for as long as the file is open, one of a kind.
        self.kept: dict[type, Any] = {}
        self._gate = None if path is None else Gate(gate_path(path), ledger=path, wait_s=wait_s)
        self._making = threading.Lock()
        self._made: Engine | None = None

    @property
    def _engine(self) -> "Engine":
        """Made when it is first needed."""
        with self._making:
            if self._made is None:
                self._made = _in_memory() if self.path is None else _engine(f"sqlite:///{_uri(self.path)}")
            return self._made

    @contextmanager
    def write_transaction(self) -> Iterator["Connection"]:
        """Everything inside is committed durably at the end, or not at all. Raises LedgerError."""
        asked_at = time.monotonic()
        with taken(self._writer), explained(self.path), self._held_gate(asked_at):
            self.begun += 1
            is_new = self._writing is None
            connection = self._writing = self._writing or self._engine.connect().execution_options(begin=None)
            raw = driver_of(connection)
            if is_new:
                raw.execute("PRAGMA cache_size=-2000")
            try:
                raw.execute("BEGIN IMMEDIATE")
                yield connection
                with aside():  # meanwhile others come to what is committed next
                    raw.commit()
            except BaseException:
                # Closed, it is rolled back, whatever state it is in; a new one is opened for what comes next.
                self._close_writing()
                raise

    def begin_anew(self, connection: "Connection") -> None:
        """Inside a write transaction: undo all of it, and begin it once more. The gate stays ours."""
        raw = driver_of(connection)
        raw.rollback()
        raw.execute("BEGIN IMMEDIATE")

    def version(self, connection: "Connection") -> int:
        """Inside a write transaction: what is the same again in a later one on the same connection only when nobody
        else, in this process or another, has committed anything in between.

        https://www.sqlite.org/pragma.html#pragma_data_version
        """
        version: int = driver_of(connection).execute("PRAGMA data_version").fetchone()[0]
        return version

    def is_inside(self, connection: "Connection") -> bool:
        """Whether the transaction still stands: some errors, such as a full disk, end it by themselves."""
        return bool(driver_of(connection).in_transaction)

    @contextmanager
    def read(self) -> Iterator["Connection"]:
        """One consistent view. Raises LedgerError."""
        with explained(self.path), self._engine.connect() as connection:
            connection.execution_options(begin="DEFERRED")
            with connection.begin():
                yield connection

    @contextmanager
    def looking(self) -> Iterator[Any]:
        """One consistent view, as a connection of the driver that writes nothing. Raises LedgerError."""
        if self.path is None:
            with self.read() as connection:
                yield driver_of(connection)
            return
        with explained(self.path), closing(_connect(self.path)) as raw:
            raw.execute("BEGIN")
            yield raw

    def compact(self) -> None:
        """Write the file anew, so that nothing of what was removed is left in it. Raises LedgerError."""
        if self.path is not None:
            with taken(self._writer), explained(self.path), self._held_gate():
                _alone(self.path, "VACUUM")
                _alone(self.path, "PRAGMA wal_checkpoint(TRUNCATE)")

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the last process to do so folds the WAL back into it."""
        self._close_writing()
        if self._made is not None:
            self._made.dispose()
        if self._gate is not None:
            self._gate.close()

    def _close_writing(self) -> None:
        connection, self._writing = self._writing, None
        if connection is not None:
            try:
                connection.close()
            except Exception:  # noqa: BLE001 - the driver does not even roll back: it is not used again
                connection.invalidate()

    def _held_gate(self, asked_at: float | None = None) -> AbstractContextManager[None]:
        return nullcontext() if self._gate is None else self._gate.held(asked_at)


def driver_of(connection: "Connection") -> Any:
    """The driver's own connection."""
    return connection.connection.driver_connection


def _uri(path: Path) -> str:
    """How SQLite is told to open the file. Where nothing can be written, WAL's side files cannot be made either: the
    file is read as it stands, which is all of it unless a WAL with newer commits is left beside it."""
    if os.access(path.parent, os.W_OK) or _has_bytes(path.with_name(path.name + "-wal")):
        return str(path)
    return f"file:{quote(str(path))}?mode=ro&immutable=1&uri=true"


def _has_bytes(path: Path) -> bool:
    """Whether there is such a file, with anything in it. It may be removed by another process at any moment."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def gate_path(path: Path) -> Path:
    """The lock file beside a ledger."""
    return path.with_name(path.name + ".gate")


# A booking needs some forty statements; with the driver's default it prepared some of them anew each time.
_OPTIONS = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False, "cached_statements": 500}


def _prepare(raw: Any) -> None:
    # The driver must not begin transactions by itself: who uses it says which kind.
    raw.isolation_level = None
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("PRAGMA foreign_keys=ON")
    raw.execute("PRAGMA trusted_schema=OFF")
    raw.execute("PRAGMA cache_size=-512")  # KiB: many threads read a little each, and the system's cache is near


def _connect(path: Path) -> Any:
    """A connection of the driver that is nobody else's."""
    place = _uri(path)
    raw = sqlite_module().connect(place, uri=place.startswith("file:"), **_OPTIONS)
    try:
        _prepare(raw)
    except BaseException:
        raw.close()
        raise
    return raw


def _in_memory() -> "Engine":
    from sqlalchemy.pool import StaticPool

    engine = _engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        fresh.make(driver_of(connection), HEAD, uid="in memory")
    return engine


def _engine(url: str, **pool: Any) -> "Engine":
    from sqlalchemy import create_engine, event

    engine = create_engine(url, module=sqlite_module(), connect_args=_OPTIONS, **pool)

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _record: Any) -> None:
        _prepare(raw)

    @event.listens_for(engine, "begin")
    def begin(connection: "Connection") -> None:
        kind = connection.get_execution_options().get("begin", "DEFERRED")
        if kind is not None:  # the connection that writes has begun already
            connection.exec_driver_sql(f"BEGIN {kind}")

    return engine


def open_database(path: Path, *, create: bool) -> Database:
    """Open the ledger at `path`, migrated to this program's tables (after a backup).

    Without `create` a missing file gives an empty ledger in memory and nothing is written. Raises LedgerError.
    """
    with explained(path):
        refused, there = no_file(path), path.exists()
    if refused is not None:
        raise refused
    if not there:
        if not create:
            return Database(None)
        _create_file(path)
    _refuse_network(path)
    database = Database(path)
    try:
        if revision(database) != HEAD:
            _migrate(database, path)
    except BaseException:
        database.close()
        raise
    return database


def no_file(path: Path) -> LedgerError | None:
    """What stands where the ledger or its gate should be, and is no file; None: nothing, or files. Raises OSError."""
    if path.is_symlink() and not path.exists():
        return LedgerError(
            f"the ledger cannot be used: `{path}` is a link that leads nowhere",
            "bring back what it leads to, such as a disk that is not mounted; a new ledger would know of nothing that "
            "was bought. When there never was one, remove the link",
        )
    for one in (path, gate_path(path)):
        if one.exists() and not one.is_file():
            kind = "a folder" if one.is_dir() else "no file"
            return LedgerError(
                f"the ledger cannot be used: `{one}` is {kind}",
                "move it away; of a ledger that should be there, restore the newest backup",
            )
    return None


def _create_file(path: Path) -> None:
    """An empty file that only its owner can read: what was bought, and for whom, is nobody else's business."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LedgerError(
            f"the ledger `{path}` cannot be created: {error.strerror}",
            "make the folder writable, or set another place with [ledger] url in omixa.toml",
        ) from error


def revision(database: Database) -> str | None:
    """The migration that the file has reached; None when it has no tables yet. Raises LedgerError."""
    with database.looking() as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master").fetchall()]
        if "alembic_version" not in tables:
            if tables:
                raise LedgerError(*_explain(database.path, "it is not a database of omixa, or malformed"))
            return None
        reached = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        if reached is None:  # its table and its row come in one transaction
            raise LedgerError(*_explain(database.path, "malformed, it does not say how new its tables are"))
        version: str = reached[0]
        return version


def _migrate(database: Database, path: Path) -> None:
    """Bring the file to this program's tables. Two processes at once: the second finds the work done."""
    with database._writer, explained(path), database._held_gate():
        reached = revision(database)
        if reached == HEAD:
            return
        if reached is None:
            _use_wal(path)
            with closing(_connect(path)) as raw:
                raw.execute("BEGIN IMMEDIATE")
                fresh.make(raw, HEAD)
                raw.commit()
            return
        from runner.ledger import migrate  # Alembic takes 15 MB and as long as a small run; only an older file needs it

        if reached not in migrate.revisions():
            raise LedgerError(
                f"the ledger `{path}` was written by a newer omixa (its tables are at {reached}, "
                f"this program knows {HEAD})",
                "update omixa-runner; nothing was changed",
            )
        _back_up(path, reached)
        _use_wal(path)
        with database._engine.connect() as connection:
            connection.execution_options(begin="IMMEDIATE")
            migrate.upgrade(connection)
            connection.commit()


def _use_wal(path: Path) -> None:
    """Switch the file to WAL.

    SQLite waits for locks, but here it gives up at once when another process opens the file at this moment and rolls
    back what a third left when it was killed.
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            return _alone(path, "PRAGMA journal_mode=WAL")
        except sqlite_module().OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until:
                raise
        time.sleep(0.02)


def _back_up(path: Path, revision: str) -> None:
    """A complete copy beside the ledger, before its tables change."""
    copy = path.with_name(f"{path.name}.before-{HEAD}-from-{revision}")
    copy.unlink(missing_ok=True)
    _alone(path, "VACUUM INTO ?", str(copy))
    copy.chmod(0o600)


def _alone(path: Path, statement: str, *values: str) -> None:
    """Run one statement that must not stand inside a transaction."""
    with closing(sqlite_module().connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as raw:
        raw.execute(statement, values)


def _refuse_network(path: Path) -> None:
    """SQLite's locks and WAL do not work on network file systems; caps would not hold."""
    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"the ledger `{path}` is on a network file system ({kind}), where locks cannot be trusted",
            "put it on a local disk with [ledger] url in omixa.toml",
        )


def file_system(path: Path) -> str | None:
    """The type of the file system that holds a path, such as `ext4`; None where the system does not say."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    resolved = Path(os.path.realpath(path))
    best: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        folder = Path(place.replace("\\040", " "))
        if resolved.is_relative_to(folder) and len(folder.parts) >= best[0]:
            best = (len(folder.parts), kind)
    return best[1]


def _errors() -> tuple[type[Exception], ...]:
    """What asking a database raises, by whatever way; SQLAlchemy raises nothing before it is loaded."""
    known: tuple[type[Exception], ...] = (OSError, sqlite3.Error, sqlite_module().Error)
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import DBAPIError

        known = (*known, DBAPIError)
    return known


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Turn what the database says into a LedgerError with the next step."""
    try:
        yield
    except _errors() as error:
        # What SQLAlchemy raises has the driver's own error inside.
        said = str(getattr(error, "orig", error))
        raise LedgerError(*_explain(path, said)) from error


def _explain(path: Path | None, said: str) -> tuple[str, str]:
    lowered = said.lower()
    if said.startswith("closed: "):
        return (
            f"the ledger `{path}` refused to change what is {said}",
            "nothing was changed; `omixa close --list` shows what is closed, `omixa audit verify` whether all is sound",
        )
    if "not a database" in lowered or "malformed" in lowered:
        return (
            f"the ledger `{path}` is damaged: {said}",
            "stop all runs, keep the file, and restore the newest backup; `omixa doctor` checks it. Nothing was sent",
        )
    if "readonly" in lowered or "read-only" in lowered or "unable to open" in lowered or "permission" in lowered:
        return (
            f"the ledger `{path}` cannot be written: {said}",
            "make the file and its folder writable for this user; nothing was sent without being recorded",
        )
    # Where even its index of the journal finds no room, SQLite speaks of the disk, and not of its space.
    if "full" in lowered or "no space" in lowered or ("disk i/o" in lowered and _has_no_room(path)):
        return (
            f"the ledger `{path}` cannot be written: the disk is full",
            "free some space and run again; what was in flight is settled from its spooled answers then",
        )
    if "locked" in lowered or "busy" in lowered:
        return (
            f"the ledger `{path}` was locked for {BUSY_TIMEOUT_S} s by another program",
            "close whatever holds it open for writing (a database browser?) and run again",
        )
    return (
        f"the ledger `{path}` cannot be used: {said}",
        "`omixa doctor` checks it; money in flight stays reserved until the ledger can be written",
    )


def _has_no_room(path: Path | None) -> bool:
    """Whether the disk of the ledger has no room for what SQLite needs to open it: 32 KiB for its index."""
    if path is None:
        return False
    try:
        facts = os.statvfs(path.parent)
    except OSError:
        return False
    return facts.f_bavail * facts.f_frsize < 1 << 15
