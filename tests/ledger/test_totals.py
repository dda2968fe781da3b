"""The totals by day are the sums of the attempts, whatever happened to them, and whoever changed them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from runner.errors import UsageError
from runner.ledger import balance_check, closed, records, totals, verify
from runner.ledger.closing import Closer, window_of
from runner.ledger.database import Database, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.tables import RECONCILED, SUMS
from runner.ledger.values import Reserved, Result
from runner.reports.report import KEYS, Sums, build
from runner.windows import Window, local_day
from tests.ledger.conftest import RUN, Desk, no_uptime

KNOWN = sorted({*KEYS, "label:client", "label:none"} - {"run", "slot", "source"})
PICTURE = Result(digest="e" * 64, size_bytes=9, width=2, height=2, remark=None, delivered=False)

# What happens to a ledger: of which run, which item, how it goes on, and what is billed.
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from("abc"),
        st.sampled_from(
            ["reserve", "send", "lose", "release", "bill", "picture", "picture", "resolve", "free", "close", "file"]
        ),
        st.integers(0, 900),
    ),
    max_size=14,
)


@contextmanager
def desks(*, seen: bool = True) -> Iterator[tuple[Ledger, list[Desk]]]:
    """One ledger with runs of different recipes, cost centres, commits and approvers."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(open_database(Path(folder) / "home" / "ledger.db", create=True), uptime=no_uptime)
        runs = [
            RUN,
            replace(RUN, uid="run-2", recipe="scans", cost_centre=None, labels={}, git_commit="c" * 40, git_dirty=True),
            replace(RUN, uid="run-3", workspace="other", currency="EUR", who="bo@desk", labels={"client": ""}),
            replace(RUN, uid="run-4", author="ana <ana@studio.example>", approver="ben, eve", approval="a" * 64),
        ]
        try:
            yield ledger, [Desk(ledger, run, seen=seen) for run in runs]
        finally:
            ledger.database.close()


def close(desk: Desk) -> None:
    """Close the month that the desk is in, a few days into the next, if it can be; what is under way has died."""
    ledger, run = desk.ledger, desk.run
    closer, window = Closer(ledger.database, no_uptime), month_of(desk.at, run.zone)
    assert window.ends_at is not None
    desk.at = window.ends_at + timedelta(days=2)
    told = {"program": "p", "who": "ana", "at": desk.at, "sign": lambda _: "signed", "is_living": lambda _: False}
    with suppress(UsageError):  # an earlier month is open, or it is closed already
        closer.close(run.workspace, window, closer.read(run.workspace, window), **told)


def month_of(at: datetime, zone: str) -> Window:
    return window_of(local_day(at, zone).isoformat()[:7], zone)


def compare(desk: Desk, amount: int) -> None:
    """What a file of the provider says of one attempt that is billed, maybe for the second time: it agrees, or not."""
    ledger, account = desk.ledger, desk.run.workspace
    with ledger._write(desk.at) as writing:
        query = text("SELECT id, billed_micros FROM attempts WHERE workspace = :name AND state = 'settled' ORDER BY id")
        settled = writing.connection.execute(query, {"name": account}).all()
        agreed = text("SELECT attempt_id FROM reconciled WHERE verdict = 'matched'")
        known = set(writing.connection.execute(agreed).scalars())
        # What agreed is never overwritten (runner/ledger/reconciling.py).
        if settled and (found := settled[amount % len(settled)]).id not in known:
            row = dict.fromkeys(column.name for column in RECONCILED.columns if column.name != "entry_id")
            row |= {"key": f"attempt {found.id}", "workspace": account, "attempt_id": found.id, "invoice": "i"}
            row |= {"file_name": "f", "file_digest": "d", "who": "ana", "at": "t", "theirs_micros": amount}
            row |= {"verdict": "matched" if amount % 3 else "differs", "ours_micros": found.billed_micros}
            records.put(writing, RECONCILED, row, chain=account, kind="reconcile", who="ana")


def do(desk: Desk, key: str, what: str, amount: int, unknown: list[tuple[Desk, int]]) -> None:
    """One step of a life: a new attempt that goes on as told, the end of an unknown one, or of a month."""
    if what == "close":
        close(desk)
        return
    if what == "file":
        compare(desk, amount)
        return
    if what in ("resolve", "free"):
        if unknown:
            of, attempt_id = unknown.pop(0)
            of.at = max(of.at, desk.at)
            billed = amount if what == "resolve" else None
            of.ledger.resolve(attempt_id, billed_micros=billed, note="invoice", who="ana", at=of.at)
        return
    reserved = desk.reserve(key, amount=1000, again=True)
    if not isinstance(reserved, Reserved) or what == "reserve":
        return
    attempt_id = reserved.attempt_id
    if what == "release":
        desk.release(attempt_id)
        return
    desk.ledger.sent(attempt_id, who="ana", at=desk.at)
    known = {"code": "x", "message": None, "evidence": None, "who": "ana", "at": desk.at}
    if what == "lose":
        desk.ledger.unknown(attempt_id, result=PICTURE if amount % 2 else None, **known)
        unknown.append((desk, attempt_id))
    elif what in ("bill", "picture"):
        result = PICTURE if what == "picture" else None
        desk.ledger.settle(attempt_id, billed_micros=amount, billed_text=None, result=result, **known)


def assert_equal(database: Database) -> None:
    for keys in [[key] for key in KNOWN] + [KNOWN, ["recipe", "day"], ["commit", "label:client", "month"]]:
        assert totals.tell(keys)
        summed = build(totals.rows(database, keys), keys)
        assert summed.lines == build(closed.rows(database), keys).lines, keys
    with database.read() as connection:
        assert totals.wrong(connection) == []


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_totals_are_the_sums_of_the_rows_by_every_key_whatever_happens(
    steps: list[tuple[int, str, str, int]],
) -> None:
    with desks() as (ledger, all_desks):
        unknown: list[tuple[Desk, int]] = []
        for number, key, what, amount in steps:
            do(all_desks[number], key, what, amount, unknown)
            latest = max(desk.at for desk in all_desks)
            for desk in all_desks:
                desk.at = latest + timedelta(hours=7)
        assert_equal(ledger.database)


def test_a_late_bill_of_a_closed_month_is_counted_in_the_open_one() -> None:
    with desks() as (ledger, [desk, *_]):
        unknown: list[tuple[Desk, int]] = []
        do(desk, "a", "lose", 1, unknown)
        close(desk)
        do(desk, "a", "resolve", 300, unknown)
        assert_equal(ledger.database)
        months = build(totals.rows(ledger.database, ["month"]), ["month"]).lines
        assert [(line.values, line.sums.open_micros, line.sums.settled_micros) for line in months] == [
            (("2026-11",), 1000, 0),
            (("2026-12",), -1000, 300),
        ]


def test_what_a_file_says_after_a_closing_changes_nothing_that_is_closed() -> None:
    with desks() as (ledger, [desk, *_]):
        for key in "abd":
            do(desk, key, "picture", 500, [])
        compare(desk, 4)
        compare(desk, 3)
        compare(desk, 5)
        assert_equal(ledger.database)
        before = build(totals.rows(ledger.database, ["recipe"]), ["recipe"]).lines
        assert [line.sums.reconciled_count for line in before] == [2]
        close(desk)
        do(desk, "c", "picture", 700, [])
        for amount in range(1, 9):
            compare(desk, amount)
        assert_equal(ledger.database)
        november = {"last_day": "2026-11-30"}
        assert build(totals.rows(ledger.database, ["recipe"], **november), ["recipe"]).lines == before


def test_days_and_workspaces_limit_what_is_summed() -> None:
    with desks() as (ledger, all_desks):
        for desk in all_desks:
            do(desk, "a", "picture", 500, [])
            desk.pass_time(days=1)
            do(desk, "b", "bill", 70, [])
        database = ledger.database
        for limits in (
            {"workspace": "other"},
            {"first_day": "2026-11-23"},
            {"last_day": "2026-11-22"},
            {"workspace": "studio", "first_day": "2026-11-22", "last_day": "2026-11-22"},
        ):
            summed = build(totals.rows(database, ["recipe"], **limits), ["recipe"])
            assert summed.lines == build(closed.rows(database, **limits), ["recipe"]).lines
            assert summed.lines


def test_what_only_attempts_know_is_not_asked_of_the_totals() -> None:
    assert [key for key in KEYS if not totals.tell([key])] == ["source", "run", "slot"]
    assert not totals.tell(["recipe", "run"])


def test_the_columns_are_the_sums_of_a_report_in_their_order() -> None:
    assert tuple(Sums.__slots__) == SUMS


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE totals SET settled_micros = settled_micros - 1",
        "UPDATE totals SET attempts = attempts + 1",
        "DELETE FROM totals",
        "INSERT INTO totals SELECT '2020-01-01', workspace, recipe, model, preset_name, prompt_name, run_facts, 1, 1, 0"
        + 12 * ", 0"
        + " FROM totals",
    ],
)
def test_totals_that_somebody_changed_are_told_and_made_anew(statement: str) -> None:
    with desks(seen=False) as (ledger, [desk, *_]):
        do(desk, "a", "picture", 500, [])
        with ledger.database.write_transaction() as connection:
            connection.execute(text(statement))
        assert "the totals of posters on " in balance_check.check_all(ledger.database)[0]
        assert any("the totals of posters on " in fault for fault in verify.verify(ledger.database).faults)
        assert len(ledger.repair(note="seen", who="ana", at=desk.at)) == 1
        assert_equal(ledger.database)
        assert verify.verify(ledger.database).faults == []


def test_a_ledger_without_the_triggers_is_told() -> None:
    with desks() as (ledger, _):
        with ledger.database.write_transaction() as connection:
            connection.execute(text("DROP TRIGGER totals_in"))
        assert any("triggers" in fault for fault in verify.verify(ledger.database).faults)
