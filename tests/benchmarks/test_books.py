"""The benchmarks of verifying and reporting keep running, on a small scale; no time is compared."""

import sys
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import text

from benchmarks import report, verify
from runner.ledger.database import open_database


@pytest.mark.skipif(sys.platform != "linux", reason="the waiter knows Linux and macOS only")
def test_every_turn_finds_the_same_ledger_sound(tmp_path: Path) -> None:
    size = verify.made(tmp_path / "books", 60)
    (tmp_path / "scratch").mkdir()
    found = verify.rounds(tmp_path / "books", 1, tmp_path / "scratch", auditor=True)
    assert list(found[0].used) == [verify.SHA, verify.VERIFY, verify.AUDITOR]
    assert size > 60 * 500
    assert verify.made(tmp_path / "books", 60) == size, "what is there is taken again"


def test_a_month_is_the_same_by_totals_by_duckdb_and_by_rows(tmp_path: Path) -> None:
    path, other = tmp_path / "ledger.db", tmp_path / "usage.duckdb"
    report.fill(path, 4000)
    report.prove(path)
    report.in_duckdb(other, path)
    (tmp_path / "omixa.toml").write_text(report.PROJECT.format(path=path))
    (tmp_path / "scratch").mkdir()
    with duckdb.connect(str(other), read_only=True) as duck:
        found = report.rounds(tmp_path, path, duck, 1, tmp_path / "scratch", plain=True)
    names = {report.OURS, report.DUCK, report.PLAIN, report.REPORT, report.IMPORTS, report.PASS}
    assert [set(one.cpu_s) for one in found] == [names]
    assert report.table(found, 4000, 1).rows[1][0] == report.OURS
    assert len(report.goals(found, 4000)) == 2


def test_totals_that_are_not_the_sums_of_their_rows_are_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    report.fill(path, 400)
    with open_database(path, create=False) as database, database.write_transaction() as connection:
        connection.execute(text("UPDATE totals SET attempts = attempts + 1"))
    with pytest.raises(SystemExit, match="are not the sums"):
        report.prove(path)
