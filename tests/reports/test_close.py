"""A closed window: the database refuses every change, exports stay the same bytes, what comes later is a correction."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from runner.errors import LedgerError, OmixaError, UsageError
from runner.ledger import closed, standing, usage, verify
from runner.ledger.closed import Closing
from runner.ledger.closing import Closer, window_of
from runner.ledger.database import driver_of, sqlite_module
from runner.ledger.ledger import Ledger
from runner.ledger.tables import ATTEMPTS, CLOSINGS, CORRECTIONS, RUNS, WORKSPACES
from runner.ledger.values import Cap, Reserved
from runner.reports import FORMATS
from runner.reports.report import Sums, build
from runner.trail.checkpoint import SigningKey
from tests.reports.conftest import LOGOS, MONTH, POSTERS, SCANS, SETTINGS, Books, asked, parsed
from tests.reports.pages import Page

OCTOBER = datetime(2026, 10, 20, 9, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 3, 9, tzinfo=UTC)
CLOSED_AT = datetime(2026, 11, 3, 9, 30, 15, tzinfo=UTC)
ZONES = {"studio": "Europe/Berlin", "lab": "America/New_York"}
HOUSE = Path(__file__).parents[2]


def close(
    books: Books,
    label: str = "2026-10",
    workspace: str = "studio",
    *,
    at: datetime = CLOSED_AT,
    living: tuple[str, ...] = (),
    sign: Callable[[Any], str] | None = None,
) -> Closing:
    """Close a window at a moment that the test tells."""
    closer = Closer(books.database, lambda: None)
    window = window_of(label, ZONES[workspace])
    key = SigningKey.load_or_create(books.root / ".omixa" / "audit.key", f"omixa/{uid(books)}")
    return closer.close(
        workspace,
        window,
        closer.read(workspace, window),
        program="omixa-runner test",
        who="ana@desk",
        at=at,
        sign=sign or key.sign,
        is_living=living.__contains__,
    )[0]


def uid(books: Books) -> str:
    with books.database.read() as connection:
        return str(connection.execute(text("SELECT uid FROM ledger_state")).scalar_one())


@pytest.fixture
def october(empty_books: Books) -> Books:
    """October: settled, released, unknown, and a request of a process that is gone. November: settled."""
    books = empty_books
    books.settled(POSTERS, "a", OCTOBER, 39_000, caps=(MONTH,))
    books.released(POSTERS, "b", OCTOBER)
    books.unknown(SCANS, "c", OCTOBER, caps=(MONTH,))
    books.sent(SCANS, "d", OCTOBER)
    books.settled(POSTERS, "e", NOVEMBER, 41_000, caps=(MONTH,))
    return books


def exported(books: Books, *words: str) -> dict[str, bytes]:
    """October in every format."""
    found = {}
    for name in FORMATS:
        file = books.root / f"out.{name}"
        assert books.omixa("report", "--month", "2026-10", "--format", name, "--out", str(file), *words) == 0
        found[name] = file.read_bytes()
    return found


def faults(books: Books) -> list[str]:
    key = SigningKey.load_or_create(books.root / ".omixa" / "audit.key", f"omixa/{uid(books)}").verifier
    return verify.verify(books.database).faults + closed.faults(books.database, [key])


# ---- the same bytes


def test_a_closed_month_is_the_same_bytes_later_elsewhere_and_after_everything_changed(
    october: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    close(october)
    first = exported(october)
    assert b"made 2026-11-03 09:30:15 UTC by omixa-runner test" in first["beancount"]
    assert b"closed up to 2026-10-31: on 3 Nov 2026 10:30 Europe/Berlin by ana@desk" in first["text"]
    assert b"month 2026-10 of workspace studio" in first["text"]

    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER + timedelta(days=9))
    october.ledger.release(4, code="x", message=None, evidence=None, who="bo", at=NOVEMBER + timedelta(days=9))
    october.settled(replace(POSTERS, uid="later", cost_centre="1", labels={}), "f", NOVEMBER + timedelta(days=20), 7)
    october.ledger.purge(before="2026-11-01", note="asked to", who="ana", at=NOVEMBER + timedelta(days=21))
    changed = SETTINGS.replace("Europe/Berlin", "Asia/Tokyo").replace('month = "5.00"', 'month = "9.00"')
    (october.root / "omixa.toml").write_text(changed)
    assert exported(october) == first

    for name, content in first.items():
        words = [sys.executable, "-m", "runner", "report", "--month", "2026-10", "--format", name, "--out", "elsewhere"]
        environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
        environment |= {"PYTHONPATH": str(HOUSE), "TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
        subprocess.run(words, cwd=october.root, check=True, env=environment)
        assert (october.root / "elsewhere").read_bytes() == content, name
    assert faults(october) == []


def test_a_report_that_is_not_wholly_closed_says_so_by_its_own_moment(october: Books) -> None:
    october.settled(LOGOS, "g", NOVEMBER, 1)
    close(october)
    frame = closed.frame(october.database, workspace=None, first_day="2026-10-01", last_day="2026-10-31")
    assert frame.is_whole, "the other workspace has nothing in October"
    for days in ({"first_day": "2026-10-01", "last_day": "2026-11-01"}, {"first_day": "2026-10-01", "last_day": None}):
        assert not closed.frame(october.database, workspace="studio", **days).is_whole  # type: ignore[arg-type]
    assert not closed.frame(october.database, workspace="lab", first_day="2026-10-01", last_day="2026-10-31").is_whole


def test_a_budget_that_ended_in_a_closed_window_is_shown_as_it_stood(october: Books) -> None:
    month = closed.spent(october.database, [], workspace=None, first_day="2026-10-01", last_day="2026-10-31")
    assert [(one.settled_micros, one.open_micros) for one in month] == [(39_000, 1_400_000)]
    made = close(october)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    days = {"workspace": None, "first_day": "2026-10-01", "last_day": "2026-10-31"}
    assert closed.spent(october.database, [made], **days) == month
    assert usage.spent(october.database, **days)[0].settled_micros == 89_000, "the cap itself counts the truth"
    year = closed.spent(october.database, [made], workspace=None, first_day="2026-01-01", last_day="2026-12-31")
    assert [(one.label, one.settled_micros) for one in year] == [("2026-10", 39_000), ("2026-11", 41_000)]


# ---- the database refuses


@contextmanager
def raw(books: Books) -> Iterator[Any]:
    """The file, as somebody has it who goes past the program; nothing is kept."""
    assert books.database.path is not None
    with closing(sqlite_module().connect(books.database.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("ROLLBACK")


def refused(books: Books, statement: str, *values: object) -> None:
    with raw(books) as connection, pytest.raises(sqlite_module().IntegrityError, match=r"^closed: "):
        connection.execute(statement, values)


def taken(books: Books, statement: str, *values: object) -> None:
    with raw(books) as connection:
        assert connection.execute(statement, values).rowcount == 1, statement


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("column", [column.name for column in ATTEMPTS.columns])
def test_no_column_of_an_attempt_of_a_closed_window_can_be_changed(october: Books, column: str, number: int) -> None:
    value = {"state": "sent" if number == 3 else "released", "day": "2026-11-01", "workspace": "lab"}.get(column, 77)
    close(october)
    refused(october, f"UPDATE attempts SET {column} = ? WHERE id = ?", value, number)


def test_in_an_open_window_the_database_lets_the_program_do_its_work(october: Books) -> None:
    close(october)
    taken(october, "UPDATE attempts SET code = 'x' WHERE id = 5")
    taken(october, "DELETE FROM attempts WHERE id = 5")
    refused(october, "UPDATE attempts SET day = '2026-10-31' WHERE id = 5")


def test_no_row_can_be_put_into_a_closed_window_or_taken_out(october: Books) -> None:
    close(october)
    names = ", ".join(column.name for column in ATTEMPTS.columns if column.name != "id")
    like = f"INTO attempts ({names}) SELECT {names.replace('live_key', 'NULL')} FROM attempts WHERE id = 1"
    refused(october, f"INSERT {like}")
    refused(october, f"INSERT OR REPLACE {like}")
    refused(october, "DELETE FROM attempts WHERE id = 1")
    every = ", ".join(column.name for column in ATTEMPTS.columns)
    instead = every.replace("id", "1", 1)
    refused(october, f"INSERT OR REPLACE INTO attempts ({every}) SELECT {instead} FROM attempts WHERE id = 5")
    refused(october, "UPDATE OR REPLACE attempts SET id = 1 WHERE id = 5")
    key = "UPDATE OR REPLACE attempts SET live_key = 'key of c', state = 'sent', billed_micros = NULL WHERE id = 5"
    refused(october, key)


OF_RUN = [column.name for column in RUNS.columns if column.name not in ("ended_at", "outcome")]


@pytest.mark.parametrize("column", OF_RUN)
def test_no_column_of_a_run_that_reports_print_can_be_changed(october: Books, column: str) -> None:
    close(october)
    refused(october, f"UPDATE runs SET {column} = ? WHERE id = 2", 77)
    refused(october, "DELETE FROM runs WHERE id = 2")
    refused(october, "INSERT OR REPLACE INTO runs SELECT * FROM runs WHERE id = 2")


def test_a_run_ends_once_also_after_its_window_is_closed(october: Books) -> None:
    close(october)
    october.ledger.end_run(2, "died", at=NOVEMBER)
    refused(october, "UPDATE runs SET outcome = 'done' WHERE id = 2")
    refused(october, "UPDATE runs SET ended_at = NULL WHERE id = 2")


@pytest.mark.parametrize("table", [CLOSINGS, CORRECTIONS], ids=str)
def test_closings_and_corrections_stay(october: Books, table: Any) -> None:
    close(october)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    for column in table.columns:
        refused(october, f"UPDATE {table.name} SET {column.name} = 77")
    refused(october, f"DELETE FROM {table.name}")
    refused(october, f"INSERT OR REPLACE INTO {table.name} SELECT * FROM {table.name}")
    for column in WORKSPACES.columns:
        refused(october, f"UPDATE workspaces SET {column.name} = 'x' WHERE name = 'studio'")
    refused(october, "DELETE FROM workspaces WHERE name = 'studio'")
    refused(october, "INSERT OR REPLACE INTO workspaces VALUES ('studio', 'EUR')")


def test_a_correction_is_of_an_open_attempt_as_it_stands_and_falls_into_an_open_window(october: Books) -> None:
    insert = (
        "INSERT INTO corrections (attempt_id, number, workspace, day, at, before_state, before_picture, state, "
        "billed_micros, who, entry_id) VALUES (?, ?, 'studio', ?, 'now', ?, 0, 'released', NULL, 'x', 1)"
    )
    refused(october, insert, 3, 1, "2026-11-05", "unknown")  # nothing is closed yet
    close(october)
    taken(october, insert, 3, 1, "2026-11-05", "unknown")
    refused(october, insert, 3, 1, "2026-10-31", "unknown")
    refused(october, insert, 3, 1, "2026-11-05", "sent")
    refused(october, insert, 5, 1, "2026-11-05", "unknown")
    october.ledger.settle(
        4,
        billed_micros=1,
        billed_text="0",
        code="billed",
        message=None,
        evidence=None,
        result=None,
        who="x",
        at=NOVEMBER,
    )
    refused(october, insert, 4, 1, "2026-11-05", "unknown")


def test_the_program_says_in_words_what_the_database_refuses(october: Books) -> None:
    close(october)
    with (
        pytest.raises(LedgerError, match="refused to change what is closed"),
        october.database.write_transaction() as c,
    ):
        c.execute(text("UPDATE attempts SET billed_micros = 1 WHERE id = 1"))


# ---- corrections


def plain(found: Sums) -> tuple[int, ...]:
    return (found.attempts, found.settled_count, found.released_count, found.open_count, found.unknown_count)


def test_what_was_open_ends_as_a_correction_in_the_window_that_is_open_then(october: Books) -> None:
    close(october)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice 7", who="bo", at=NOVEMBER + timedelta(days=2))
    report = build(closed.rows(october.database), ["month"])
    assert [line.values for line in report.lines] == [("2026-10",), ("2026-11",)]
    before, after = (line.sums for line in report.lines)
    assert plain(before) == (4, 1, 1, 2, 1)
    assert (before.settled_micros, before.open_micros, before.unknown_micros) == (39_000, 1_400_000, 700_000)
    assert plain(after) == (1, 2, 0, -1, -1)
    assert (after.settled_micros, after.open_micros, after.unknown_micros) == (91_000, -700_000, -700_000)
    assert (before.correction_count, after.correction_count) == (0, 1)
    truth = build(usage.rows(october.database), ["workspace"]).totals["USD"]
    assert report.totals["USD"] == replace(truth, correction_count=1)
    (row,) = [row for row in closed.rows(october.database) if row.before_state is not None]
    assert (row.attempt_id, row.day, row.corrected_day) == (3, "2026-11-05", "2026-10-20")
    assert october.omixa("audit", "verify") == 0
    assert faults(october) == []


def test_a_process_that_died_in_october_is_recovered_in_november_in_two_corrections(october: Books) -> None:
    close(october)
    by = {"code": "process-died", "message": None, "evidence": None, "who": "omixa"}
    october.ledger.unknown(4, **by, result=None, at=NOVEMBER)  # type: ignore[arg-type]
    october.ledger.resolve(4, billed_micros=900_000, note="invoice", who="bo", at=datetime(2026, 12, 4, tzinfo=UTC))
    found = {line.values[0]: line.sums for line in build(closed.rows(october.database), ["month"]).lines}
    assert plain(found["2026-11"]) == (1, 1, 0, 0, 1), "sent became unknown: open as before"
    assert plain(found["2026-12"]) == (0, 1, 0, -1, -1)
    assert found["2026-12"].settled_micros == 900_000
    assert usage.stopped(october.database, "studio", at=NOVEMBER) is not None, "a breach stops, whenever it comes"
    assert faults(october) == []


def test_every_format_adds_the_windows_up_to_the_truth(october: Books) -> None:
    close(october)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    text_of = {}
    for name in ("focus", "beancount", "json"):
        file = october.root / f"november.{name}"
        assert october.omixa("report", "--month", "2026-11", "--format", name, "--out", str(file)) == 0
        text_of[name] = file.read_text()
    assert text_of["focus"].count("Correction") == 1
    assert (
        '2026-11-03 * "scans" "correction: attempt 3 of 2026-10-20, workspace studio" ^attempt-3-of-2026-10-20'
        in (text_of["beancount"])
    )
    assert "balance Liabilities:Pictures:Studio  -0.091000 USD" in text_of["beancount"]
    total = json.loads(text_of["json"])["totals"][0]
    assert (total["settled"], total["open"], total["correction_count"]) == ("0.091000", "-0.700000", 1)


def test_a_page_never_takes_from_what_days_may_cost_what_corrections_took_back_of_others(october: Books) -> None:
    def text_of(*words: str) -> str:
        file = october.root / "page.html"
        assert october.omixa("report", *words, "--out", str(file)) == 0
        return Page(file.read_text(encoding="utf-8")).text

    close(october)
    october.sent(POSTERS, "f", NOVEMBER)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    by = {"code": "process-died", "message": None, "evidence": None, "who": "omixa"}
    october.ledger.unknown(4, **by, result=None, at=NOVEMBER)  # type: ignore[arg-type]
    november = text_of("--month", "2026-11")
    assert "at least 0.091000 and at most 0.791000 USD" in november, "the open request of October is no discount"
    assert "may still be billed, 1 request; less 0.700000 that corrections took back of closed windows" in november
    assert "somebody has to find out, 1 request; less 0.700000 that" in november
    assert november.count("pictures/d.png") == 1, "its answer was found to be lost in November"
    always = text_of()
    assert "at least 0.130000 and at most 1.530000 USD" in always
    assert "pictures/c.png" not in always.partition("Billed without a usable")[0], "nobody has to resolve it now"

    october.ledger.resolve(4, billed_micros=None, note="not on the invoice", who="bo", at=NOVEMBER)
    november = text_of("--month", "2026-11")
    assert "at least 0.091000 and at most 0.791000 USD" in november
    assert "somebody has to find out, 0 requests; less" in november
    assert "Unknown requests" not in november


def test_resolve_says_that_it_is_a_correction(october: Books, capsys: pytest.CaptureFixture[str]) -> None:
    close(october)
    assert october.omixa("resolve", "3", "--billed", "0.05", "--note", "invoice") == 0
    (row,) = [row for row in closed.rows(october.database) if row.before_state is not None]
    said = f"  the window of 2026-10-20 is closed, so reports show it as a correction on {row.day}\n"
    assert said in capsys.readouterr().out


def test_audit_lists_attempts_as_they_are_now(october: Books, capsys: pytest.CaptureFixture[str]) -> None:
    close(october)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    capsys.readouterr()
    assert october.omixa("audit", "list", "--json", "--state", "settled") == 0
    listed: Any = parsed(capsys.readouterr().out)["attempts"]
    assert [one["id"] for one in listed] == [1, 3, 5]
    assert october.omixa("audit", "show", "3", "--json") == 0
    entries: Any = parsed(capsys.readouterr().out)["entries"]
    assert [one["kind"] for one in entries] == ["reserve", "sent", "unknown", "correction", "settle"]


def test_a_correction_falls_into_no_window_of_a_clock_that_ran_ahead(october: Books) -> None:
    from runner.ledger.clocks import Uptime

    moment = [0]
    ledger = Ledger(october.database, uptime=lambda: Uptime("boot", moment[0]))
    found = ledger.reserve(1, POSTERS, asked("n"), amount_micros=700_000, caps=(MONTH,), at=NOVEMBER)
    assert isinstance(found, Reserved)
    close(october)
    ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER + timedelta(days=400))
    (row,) = [row for row in closed.rows(october.database) if row.before_state is not None]
    assert row.day == "2026-11-03"


# ---- when it can be closed


def refusal(books: Books, *words: Any, **options: Any) -> str:
    with pytest.raises(OmixaError) as error:
        close(books, *words, **options)
    return error.value.message


def test_a_window_is_closed_when_it_is_over_in_its_own_zone(empty_books: Books) -> None:
    books = empty_books
    books.settled(POSTERS, "a", OCTOBER, 39_000)
    said = refusal(books, at=datetime(2026, 10, 31, 22, 59, 59, tzinfo=UTC))
    assert said == (
        "month 2026-10 Europe/Berlin of workspace studio is not over: it ends at 1 Nov 2026 00:00 Europe/Berlin"
    )
    assert close(books, at=datetime(2026, 10, 31, 23, 0, tzinfo=UTC)).totals["attempts"] == 1


def test_the_moment_is_the_ledgers_own(october: Books) -> None:
    """The clock has gone back; the latest reservation was in November."""
    assert close(october, at=OCTOBER).label == "2026-10"


def test_a_clock_that_ran_ahead_closes_nothing(october: Books) -> None:
    from runner.ledger.clocks import Uptime

    closer = Closer(october.database, lambda: Uptime("boot", 0))
    ledger = Ledger(october.database, uptime=lambda: Uptime("boot", 0))
    ledger.reserve(1, POSTERS, asked("n"), amount_micros=700_000, caps=(MONTH,), at=NOVEMBER)
    later = {"2026-11": datetime(2026, 12, 5, tzinfo=UTC)}
    with pytest.raises(UsageError, match="is not over"):
        closer.check({"studio": window_of("2026-11", "Europe/Berlin")}, at=later["2026-11"], is_living=lambda _: False)
    october.ledger.doubt_clock("odd", who="x", at=NOVEMBER)
    assert refusal(october) == "the clock is not believed: odd"


def test_windows_close_in_order_and_once(october: Books) -> None:
    december = datetime(2026, 12, 1, 9, tzinfo=UTC)
    said = refusal(october, "2026-11", at=december)
    assert said == (
        "of workspace studio there is something on 2026-10-20, before month 2026-11 Europe/Berlin, that is not closed"
    )
    first = close(october)
    assert close(october, at=december) == first
    assert "closed up to 2026-10-31 already, and month 2026-09 Europe/Berlin begins before that" in refusal(
        october, "2026-09"
    )
    assert "closed up to 2026-10-31 already" in refusal(october, "2026-Q4", at=datetime(2027, 1, 2, tzinfo=UTC))
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=december)
    year = datetime(2027, 1, 2, tzinfo=UTC)
    assert "on 2026-11-03, before month 2026-12" in refusal(october, "2026-12", at=year)
    assert close(october, "2026-11", at=december).totals["corrections"] == 0
    made = close(october, "2026-12", at=year).totals
    assert (made["corrections"], made["attempts"], made["open"], made["settled_micros"]) == (1, 0, -1, 50_000)
    assert faults(october) == []


def test_requests_under_way_are_named_and_those_of_the_dead_stay_open(october: Books) -> None:
    said = refusal(october, living=("run-scans",))
    assert said == "in month 2026-10 Europe/Berlin of workspace studio requests are under way: attempt 4"
    assert close(october).totals["open"] == 2


def test_a_ledger_that_does_not_add_up_is_not_closed(october: Books, capsys: pytest.CaptureFixture[str]) -> None:
    with october.database.write_transaction() as connection:
        connection.execute(text("UPDATE attempts SET billed_micros = 38000 WHERE id = 1"))
    assert october.omixa("close", "2026-10") == 8
    assert "attempts: row 1: `billed_micros` is not what its entries say" in capsys.readouterr().err
    assert closed.closings(october.database) == []
    october.ledger.freeze("odd", who="x", at=NOVEMBER)
    assert refusal(october) == "the ledger is frozen: odd"


# ---- races and deaths


def test_a_reservation_after_the_closing_is_of_the_open_window_whatever_its_clock_says(october: Books) -> None:
    close(october)
    before = datetime(2026, 10, 31, 22, 59, 59, tzinfo=UTC)
    number = october.settled(POSTERS, "late", before, 1_000, caps=(MONTH,))
    with october.database.read() as connection:
        assert standing.open_day(driver_of(connection), "studio", before.date()).isoformat() == "2026-11-01"
    row = next(row for row in closed.rows(october.database) if row.attempt_id == number)
    assert row.day >= "2026-11-01"
    zone = replace(POSTERS, uid="moved", zone="Pacific/Pago_Pago")
    empty = close(october, "2026-11", at=datetime(2026, 12, 1, 9, tzinfo=UTC))
    assert empty.last_day == "2026-11-30"
    number = october.sent(zone, "moved", datetime(2026, 12, 1, 0, 30, tzinfo=UTC), caps=(MONTH,))
    row = next(row for row in closed.rows(october.database) if row.attempt_id == number)
    assert row.day == "2026-12-01", "in Pago Pago it is still November"
    assert faults(october) == []


def test_what_changes_between_reading_and_closing_is_in_the_snapshot(october: Books) -> None:
    closer = Closer(october.database, lambda: None)
    window = window_of("2026-10", "Europe/Berlin")
    read = closer.read("studio", window)
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    key = SigningKey.load_or_create(october.root / ".omixa" / "audit.key", f"omixa/{uid(october)}")
    made, _ = closer.close(
        "studio", window, read, program="p", who="a", at=CLOSED_AT, sign=key.sign, is_living=lambda _: False
    )
    assert made.totals["settled_micros"] == 89_000
    assert faults(october) == []


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from runner.ledger.closing import Closer, window_of
from runner.ledger.database import open_database

def sign(_):
    os.kill(os.getpid(), signal.SIGKILL)

closer = Closer(open_database(Path(sys.argv[1]), create=False), lambda: None)
window = window_of("2026-10", "Europe/Berlin")
closer.close("studio", window, closer.read("studio", window), program="p", who="a",
             at=datetime(2026, 11, 2, tzinfo=UTC), sign=sign, is_living=lambda _: False)
"""


def test_a_closing_that_is_killed_is_none(october: Books) -> None:
    words = [sys.executable, "-c", KILLED, str(october.database.path)]
    done = subprocess.run(words, check=False, env=os.environ | {"PYTHONPATH": str(HOUSE)})
    assert done.returncode == -signal.SIGKILL
    assert closed.closings(october.database) == []
    assert verify.verify(october.database).faults == []
    assert close(october).totals["attempts"] == 4
    assert faults(october) == []


def test_two_closings_at_once_are_one(october: Books) -> None:
    words = [sys.executable, "-m", "runner", "close", "2026-10", "--json"]
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}
    at_once = [subprocess.Popen(words, cwd=october.root, stdout=subprocess.PIPE, env=environment) for _ in range(3)]
    said = {one.communicate()[0] for one in at_once}
    assert [one.returncode for one in at_once] == [0, 0, 0]
    assert len(said) == 1, "each tells of the same closing"
    assert [one.label for one in closed.closings(october.database)] == ["2026-10"]
    assert faults(october) == []


# ---- verify


def meddled(books: Books, *statements: str) -> None:
    """Change the file as somebody can who takes the triggers away first, and puts them back."""
    with books.database.write_transaction() as connection:
        triggers = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        for trigger in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {trigger.name}")
        for statement in statements:
            connection.exec_driver_sql(statement)
        for trigger in triggers:
            connection.exec_driver_sql(trigger.sql)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE attempts SET billed_micros = 38000 WHERE id = 1", "attempts: row 1: `billed_micros`"),
        ("UPDATE attempts SET output_path = 'x' WHERE id = 2", "attempts: row 2: `output_path`"),
        ("UPDATE runs SET cost_centre = '1' WHERE id = 1", "runs: row 1: `cost_centre`"),
        ("UPDATE closings SET totals = replace(totals, '39000', '38000')", "closings: row studio/2026-10-31"),
        ("UPDATE closings SET zone = 'UTC'", "closings: row studio/2026-10-31"),
        ("UPDATE corrections SET before_code = 'x'", "corrections: row 3/1"),
    ],
)
def test_what_was_changed_behind_the_triggers_is_named_by_row_and_column(
    october: Books, capsys: pytest.CaptureFixture[str], statement: str, named: str
) -> None:
    close(october)
    assert october.omixa("close", "2026-10", "--workspace", "studio", "--out", str(october.root / "kept")) == 0
    october.ledger.resolve(3, billed_micros=50_000, note="invoice", who="bo", at=NOVEMBER)
    assert october.omixa("close", "--verify", "2026-10") == 0
    meddled(october, statement)
    capsys.readouterr()
    assert october.omixa("close", "--verify") == 8
    said = capsys.readouterr().out
    assert said.startswith("BAD  closing 2026-10 of studio: its snapshot is ")
    assert named in said
    snapshot = str(october.root / "kept" / "2026-10-studio.jsonl")
    assert october.omixa("close", "--verify", "2026-10", "--snapshot", snapshot) == 8
    assert "` differs: line " in capsys.readouterr().out
    assert october.omixa("audit", "verify") == 8


def test_a_closing_that_is_taken_out_or_signed_by_another_is_found(
    october: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SigningKey.load_or_create(october.root / "other.key", f"omixa/{uid(october)}")
    close(october, sign=other.sign)
    assert october.omixa("close", "--verify") == 8
    assert "with no key that is known here" in capsys.readouterr().out
    assert october.omixa("close", "--verify", "--key", other.vkey) == 0
    meddled(october, "DELETE FROM closings")
    assert verify.verify(october.database).faults == [
        "closings: a row is missing, or is an older one than the entries say"
    ]


def test_a_snapshot_is_a_file_whose_digest_anybody_can_make(october: Books) -> None:
    from hashlib import sha256

    made = close(october)
    for _ in range(2):
        assert october.omixa("close", "2026-10", "--workspace", "studio", "--out", str(october.root / "kept")) == 0
        october.ledger.end_run(1, "done", at=NOVEMBER)
    content = (october.root / "kept" / "2026-10-studio.jsonl").read_bytes()
    assert sha256(content).hexdigest() == made.digest
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line.get("attempt_id") for line in lines] == [1, 2, 3, 4, None]
    assert lines[-1]["schema"] == "omixa.closing/1"
    assert (october.root / "kept" / "2026-10-studio.note").read_text() == made.note


# ---- the command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which window?"),
        (["october"], "`october` is no window"),
        (["2026-10-05"], "`2026-10-05` is no window"),
        (["2026-13"], "`2026-13` is no window"),
        (["2999-01"], "is not over"),
        (["--verify", "2026-09"], "`2026-09` is not closed"),
        (["2026-10", "--workspace", "studi"], "there is no workspace `studi`"),
        (["2026-10", "--snapshot", "x"], "`--snapshot` is for --verify"),
    ],
)
def test_what_cannot_be_closed_is_said(
    october: Books, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert october.omixa("close", *words) == 2
    assert said in capsys.readouterr().err
    assert closed.closings(october.database) == []


def test_it_says_what_it_did_and_lists_it(october: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert october.omixa("close", "--list") == 0
    assert october.omixa("close", "2026-10") == 0
    out = capsys.readouterr().out
    assert out.startswith("nothing is closed\nclosed 2026-10 of workspace studio: 2026-10-01 to 2026-10-31 Europe/Berl")
    assert "4 requests: 1 settled, 1 released, 2 open; 0.039000 USD settled, 1.400000 USD open" in out
    assert "still open in it: attempt 3, 4\n" in out
    assert october.omixa("close", "2026-10") == 0
    assert "2026-10 of workspace studio is closed already: on " in capsys.readouterr().out
    assert october.omixa("close", "--list", "--json") == 0
    assert parsed(capsys.readouterr().out)["schema"] == "omixa.close/1"


def test_without_a_ledger_there_is_nothing_to_close_and_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from runner import cli

    (tmp_path / "omixa.toml").write_text(SETTINGS)
    assert cli.main(["--project", str(tmp_path), "close", "2026-10"]) == 2
    assert "nothing that could be closed" in capsys.readouterr().err
    assert not (tmp_path / ".omixa").exists()


# ---- whatever happens


WORDS = ["settled", "unknown", "sent", "released", "resolve", "give-back", "recover", "close", "day", "week"]
STEPS = st.lists(st.sampled_from(WORDS), max_size=24)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_happens_windows_add_up_and_closed_ones_stay(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    books = Books(tmp_path_factory.mktemp("walk"))
    with closing(books.database):
        now, kept = OCTOBER, {}
        books.settled(POSTERS, "first", now, 39_000)  # the price is seen, so several may be in flight
        for number, step in enumerate(steps):
            now += timedelta(days={"day": 1, "week": 9}.get(step, 0), minutes=1)
            _step(books, step, str(number), now)
            if step == "close":
                for one in closed.closings(books.database):
                    kept.setdefault(one.label, list(closed.snapshot(books.database, one)))
        for one in closed.closings(books.database):
            assert list(closed.snapshot(books.database, one)) == kept[one.label]
        found = build(closed.rows(books.database), ["month"]).totals.get("USD", Sums())
        truth = build(usage.rows(books.database), ["month"]).totals.get("USD", Sums())
        assert replace(found, correction_count=0) == truth
        assert found.attempts == found.settled_count + found.released_count + found.open_count
        assert faults(books) == []


def _step(books: Books, step: str, name: str, now: datetime) -> None:
    open_ones = {row.attempt_id: row.state for row in usage.rows(books.database) if row.open_micros}
    unknown = [number for number, state in open_ones.items() if state == "unknown"]
    gone = [number for number, state in open_ones.items() if state == "sent"]
    by = {"code": "x", "message": None, "evidence": None, "who": "omixa"}
    match step:
        case "settled":
            books.settled(POSTERS, name, now, 39_000 + int(name), caps=(MONTH, Cap("workspace", "", "total", 10**9)))
        case "unknown" | "sent" | "released":
            getattr(books, step)(SCANS, name, now)
        case "resolve" if unknown:
            books.ledger.resolve(unknown[0], billed_micros=50_000, note="invoice", who="bo", at=now)
        case "give-back" if unknown:
            books.ledger.resolve(unknown[-1], billed_micros=None, note="no trace", who="bo", at=now)
        case "recover" if gone:
            books.ledger.unknown(gone[0], **by, result=None, at=now)  # type: ignore[arg-type]
        case "close":
            with suppress(UsageError):
                close(books, f"{now - timedelta(days=32):%Y-%m}", at=now)


def test_a_snapshot_says_everything_that_a_row_has() -> None:
    assert set(closed.SNAPSHOT) == {field.name for field in fields(usage.UsageRow)}
