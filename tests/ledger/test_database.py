"""The ledger's file: made safely, opened by many, migrated with a backup, and every trouble told in plain words."""

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from runner.errors import LedgerError
from runner.ledger import HEAD, database, migrate, tables
from runner.ledger.ledger import Ledger
from tests.ledger.conftest import Desk


def test_only_its_owner_can_read_a_new_ledger(open_ledger: Callable[[], Ledger], ledger_path: Path) -> None:
    Desk(open_ledger()).buy("a")
    for file in ledger_path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(ledger_path.parent.stat().st_mode) == 0o700


def test_commits_survive_a_power_cut_by_the_settings_of_every_connection(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    with ledger.database.read() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_the_sqlite_in_use_has_the_wal_reset_fix() -> None:
    assert database.sqlite_module().sqlite_version_info >= database.SQLITE_VERSION_MIN


def test_reading_without_a_file_is_an_empty_ledger_and_writes_nothing(ledger_path: Path) -> None:
    opened = database.open_database(ledger_path, create=False)
    with opened.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM attempts")).scalar_one() == 0
    opened.close()
    assert not ledger_path.parent.exists()


def test_the_migrations_lead_from_nothing_to_exactly_the_tables() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        migrate.upgrade(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables.METADATA) == []
        checks = "SELECT count(*) FROM sqlite_master WHERE sql LIKE '%ck_attempts_settled_is_billed%'"
        assert connection.execute(text(checks)).scalar_one() == 1


def test_the_newest_migration_is_the_one_the_tables_name() -> None:
    assert ScriptDirectory(str(migrate.folder())).get_current_head() == HEAD


@pytest.mark.parametrize("refusals", [3, 1_000_000])
def test_the_switch_to_wal_is_tried_for_as_long_as_the_file_may_be_locked(
    ledger_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    def alone(path: Path, statement: str, *values: str, really: Callable[..., None] = database._alone) -> None:
        tries.append(statement)
        if statement == "PRAGMA journal_mode=WAL" and len(tries) <= refusals:
            raise database.sqlite_module().OperationalError("database is locked")
        really(path, statement, *values)

    # What SQLite says, without waiting, to one of two processes that find what a third left when it was killed.
    tries: list[str] = []
    monkeypatch.setattr(database, "_alone", alone)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    if refusals < 10:
        database.open_database(ledger_path, create=True).close()
        assert len(tries) == refusals + 1
    else:
        with pytest.raises(LedgerError, match="was locked for"):
            database.open_database(ledger_path, create=True)
        assert len(tries) > 3


def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(
    open_ledger: Callable[[], Ledger], ledger_path: Path
) -> None:
    ledger = open_ledger()
    with ledger.database.write_transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'tomorrow'"))
    ledger.database.close()
    before = ledger_path.read_bytes()
    with pytest.raises(LedgerError, match="newer omixa"):
        database.open_database(ledger_path, create=True)
    assert ledger_path.read_bytes() == before


def test_an_older_ledger_is_backed_up_before_it_is_migrated(
    open_ledger: Callable[[], Ledger], ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Desk(open_ledger()).buy("a")
    # A program of tomorrow, whose newest migration is one further.
    folder = ledger_path.parent / "migrations"
    (folder / "versions").mkdir(parents=True)
    for file in [*migrate.folder().glob("*.*"), *migrate.folder().glob("versions/*.py")]:
        (folder / file.relative_to(migrate.folder())).write_bytes(file.read_bytes())
    today = HEAD
    (folder / "versions" / "9999_more.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = '9999'\ndown_revision = '{today}'\n"
        "def upgrade():\n    op.add_column('runs', sa.Column('more', sa.Text()))\n"
    )
    monkeypatch.setattr(migrate, "folder", lambda: folder)
    monkeypatch.setattr(database, "HEAD", "9999")
    opened = database.open_database(ledger_path, create=True)
    with opened.read() as connection:
        assert connection.execute(text("SELECT count(more) FROM runs")).scalar_one() == 0
        assert connection.execute(text("SELECT count(*) FROM attempts")).scalar_one() == 1
    opened.close()
    copy = ledger_path.with_name(f"ledger.db.before-9999-from-{today}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (today,)
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (1,)


def test_a_damaged_ledger_is_named_with_the_next_step(ledger_path: Path) -> None:
    ledger_path.parent.mkdir()
    ledger_path.write_bytes(b"this is no database at all, whatever its name says" * 100)
    with pytest.raises(LedgerError, match="is damaged") as caught:
        database.open_database(ledger_path, create=True)
    assert "backup" in (caught.value.hint or "")


def test_a_ledger_that_does_not_say_how_new_its_tables_are_is_damaged(
    open_ledger: Callable[[], Ledger], ledger_path: Path
) -> None:
    ledger = open_ledger()
    with ledger.database.write_transaction() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    ledger.database.close()
    with pytest.raises(LedgerError, match="is damaged"):
        database.open_database(ledger_path, create=True)


def test_a_ledger_where_no_folder_can_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError, match="cannot be created"):
        database.open_database(tmp_path / "file" / "home" / "ledger.db", create=True)


def test_a_network_file_system_is_refused(ledger_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "file_system", lambda path: "nfs4")
    with pytest.raises(LedgerError, match=r"network file system \(nfs4\)"):
        database.open_database(ledger_path, create=True)


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="this system does not list its mounts")
def test_the_file_system_of_a_path_is_the_one_mounted_nearest() -> None:
    assert database.file_system(Path("/proc/self/status")) == "proc"


def test_a_full_disk_is_named_and_nothing_is_written_by_halves(ledger_path: Path) -> None:
    # A limit on the size of files stands in for a disk that fills up in the middle of a transaction.
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from runner.errors import LedgerError\n"
        "from runner.ledger.database import open_database\n"
        "from runner.ledger.ledger import Ledger\n"
        "from tests.ledger.conftest import Desk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "desk = Desk(Ledger(open_database(Path(sys.argv[1]), create=True)))\n"
        "desk.buy('a')\n"
        "size = max(f.stat().st_size for f in Path(sys.argv[1]).parent.iterdir())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "try:\n"
        "    for n in range(1000): desk.buy(f'k{n}', caps=[])\n"
        "except LedgerError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(ledger_path)], capture_output=True, text=True, check=True)
    assert "cannot be written: the disk is full" in done.stdout or "cannot be used: disk I/O error" in done.stdout
    opened = database.open_database(ledger_path, create=False)
    with opened.read() as connection:
        entries = connection.execute(text("SELECT sum(open_micros), sum(settled_micros) FROM entries")).one()
        attempts = connection.execute(
            text(
                "SELECT sum(CASE WHEN state IN ('reserved', 'sent', 'unknown') THEN reserved_micros ELSE 0 END), "
                "sum(billed_micros) FROM attempts"
            )
        ).one()
    opened.close()
    assert tuple(entries) == tuple(attempts)


def test_what_another_process_removes_beside_the_ledger_is_simply_not_there(ledger_path: Path) -> None:
    """The last process that closes a ledger takes its -wal away, maybe while the next one opens it."""
    ledger_path.parent.mkdir(parents=True, exist_ok=True)
    wal = ledger_path.with_name(ledger_path.name + "-wal")
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            wal.write_bytes(b"x")
            wal.unlink()

    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    try:
        found = {(database._uri(ledger_path), database._has_bytes(wal)) for _ in range(20_000)}
    finally:
        over.set()
        thread.join()
    assert {place for place, _ in found} == {str(ledger_path)}
    assert {has for _, has in found} == {True, False}
