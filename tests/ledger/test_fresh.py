"""A new ledger is made of what all migrations together make, and made at once."""

import runpy
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from runner.errors import LedgerError
from runner.ledger import HEAD, fresh, migrate
from runner.ledger.database import Database, open_database, sqlite_module

# Drawn at random for each ledger.
RANDOM = ("uid", "digest_key")
PRAGMAS = ("page_size", "encoding", "auto_vacuum", "user_version", "application_id", "journal_mode")


def all_of(path: Path) -> dict[str, Any]:
    """Everything that a file is made of, and has in it."""
    with closing(sqlite_module().connect(path)) as raw:
        parts = raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid").fetchall()
        found = {"parts": parts}
        for kind, name, _, _ in parts:
            if kind == "table":
                columns = [column[1] for column in raw.execute(f"PRAGMA table_info({name})")]
                kept = ", ".join(column for column in columns if column not in RANDOM)
                found[name] = raw.execute(f"SELECT {kept} FROM {name}").fetchall()
        return found | {name: raw.execute(f"PRAGMA {name}").fetchone() for name in PRAGMAS}


def drawn(path: Path) -> list[str]:
    with closing(sqlite_module().connect(path)) as raw:
        return list(raw.execute(f"SELECT {', '.join(RANDOM)} FROM ledger_state").fetchone())


def test_a_new_ledger_is_to_the_byte_what_the_migrations_make(ledger_path: Path, tmp_path: Path) -> None:
    open_database(ledger_path, create=True).close()
    walked = tmp_path / "walked.db"
    open_database(walked, create=True).close()  # for its settings; then all of it is made again, by the whole way
    with closing(sqlite_module().connect(walked, isolation_level=None)) as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
            raw.execute(f"DROP VIEW {name}")
        raw.execute("PRAGMA foreign_keys=OFF")
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            raw.execute(f"DROP TABLE {name}")
    with Database(walked) as database, database._engine.connect() as connection:
        migrate.upgrade(connection)
        connection.commit()
    assert all_of(ledger_path) == all_of(walked)
    assert all_of(ledger_path)["alembic_version"] == [(HEAD,)]
    (uid, key), (other_uid, other_key) = drawn(ledger_path), drawn(walked)
    assert [len(uid), len(bytes.fromhex(key))] == [len(other_uid), len(bytes.fromhex(other_key))] == [32, 32]


def test_no_two_ledgers_are_the_same(tmp_path: Path) -> None:
    made = [tmp_path / "one.db", tmp_path / "other.db"]
    for path in made:
        open_database(path, create=True).close()
    assert len({*drawn(made[0]), *drawn(made[1])}) == 4


def test_what_is_written_down_is_what_the_migrations_make() -> None:
    lines = runpy.run_path(str(fresh.folder() / "head.py"))["lines"]
    written = (fresh.folder() / "head.sql").read_text(encoding="utf-8")
    assert written == "".join(lines()), "a migration was added: python migrations/head.py"


def test_a_new_ledger_does_not_walk_the_whole_way(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom runner.ledger.database import open_database\n"
        "open_database(Path(sys.argv[1]), create=True).close()\n"
        "print(sorted({'alembic', 'mako', 'sqlalchemy'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "l.db"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


@pytest.mark.parametrize("done", [0, 1, 20, 10_000])
def test_a_process_that_is_killed_while_it_makes_a_ledger_leaves_none_by_halves(ledger_path: Path, done: int) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom runner.ledger import fresh\n"
        "from runner.ledger.database import open_database\n"
        "made = fresh.statements()\n"
        "def dying():\n"
        "    yield from made[:int(sys.argv[2])]\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "fresh.statements = dying\n"
        "open_database(Path(sys.argv[1]), create=True)"
    )
    died = subprocess.run([sys.executable, "-c", program, ledger_path, str(done)])
    assert died.returncode == -signal.SIGKILL
    open_database(ledger_path, create=True).close()
    assert all_of(ledger_path)["alembic_version"] == [(HEAD,)]


def test_an_installation_without_the_tables_says_so(
    ledger_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.statements.cache_clear()
    monkeypatch.setattr(fresh, "folder", lambda: tmp_path)
    with pytest.raises(LedgerError, match=r"tables are missing from this installation: .*head\.sql` cannot be read"):
        open_database(ledger_path, create=True)
    # Nothing is left in the way: with the file there again, the ledger is made.
    monkeypatch.undo()
    open_database(ledger_path, create=True).close()
    assert all_of(ledger_path)["alembic_version"] == [(HEAD,)]


def test_where_nothing_was_bought_yet_there_is_nothing_to_find(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "studio"
    assert main(["init", str(root)]) == 0
    assert main(["--project", str(root), "audit", "verify"]) == 0
    assert "sound: 0 entries" in capsys.readouterr().out
    assert not (root / ".omixa").exists()
