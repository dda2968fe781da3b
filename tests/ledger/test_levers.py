"""Stops, grants and the price that was never seen: read inside the reserve transaction, so they hold everywhere."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from runner.errors import UsageError
from runner.ledger import database, known, migrate, usage
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap, FirstOfPrice, Refusal, Reserved, Stopped, Unpriced
from tests.ledger.conftest import MONTH, RUN, Desk, asked

BY = {"who": "ana@desk"}


# ---- stops


def test_a_stop_refuses_at_once_in_every_process_that_has_the_ledger_open(open_ledger: Callable[[], Ledger]) -> None:
    desk, other = Desk(open_ledger()), open_ledger()
    assert isinstance(desk.reserve("a"), Reserved)
    other.stop("studio", reason="wrong prompt", at=desk.at, **BY)
    found = desk.reserve("b")
    assert found == Stopped("wrong prompt", False, "stop", "ana@desk", None)


def test_a_stop_without_a_workspace_stops_them_all(desk: Desk) -> None:
    desk.ledger.stop(None, reason="key leaked", at=desk.at, **BY)
    found = desk.reserve("a")
    assert isinstance(found, Stopped)
    assert found.everywhere


def test_a_stop_of_one_workspace_leaves_the_others_alone(desk: Desk) -> None:
    desk.ledger.stop("lab", reason="audit", at=desk.at, **BY)
    assert isinstance(desk.reserve("a"), Reserved)


def test_what_is_in_flight_is_booked_while_everything_is_stopped(desk: Desk) -> None:
    attempt_id = desk.send("a")
    desk.ledger.stop(None, reason="key leaked", at=desk.at, **BY)
    desk.settle(attempt_id)
    assert desk.balance() == (0, 39_000)


def test_a_stop_with_an_end_ends_by_itself_and_not_a_moment_before(desk: Desk) -> None:
    end = desk.at + timedelta(hours=2)
    desk.ledger.stop("studio", until=end, reason="night", at=desk.at, **BY)
    desk.at = end - timedelta(microseconds=1)
    assert isinstance(desk.reserve("a"), Stopped)
    desk.at = end
    assert isinstance(desk.reserve("a"), Reserved)


def test_resume_ends_the_stops_of_its_workspace_and_no_other(desk: Desk) -> None:
    desk.ledger.stop("studio", reason="one", at=desk.at, **BY)
    desk.ledger.stop("studio", reason="two", at=desk.at, **BY)
    desk.ledger.stop(None, reason="all", at=desk.at, **BY)
    ended = desk.ledger.resume("studio", note="fine", at=desk.at, **BY)
    assert [lever.reason for lever in ended] == ["one", "two"]
    assert isinstance(desk.reserve("a"), Stopped)
    assert [lever.reason for lever in desk.ledger.resume(None, note="fine", at=desk.at, **BY)] == ["all"]
    assert isinstance(desk.reserve("a"), Reserved)
    assert desk.ledger.resume(None, note="again", at=desk.at, **BY) == []
    kept = usage.all_levers(desk.ledger.database)
    assert [(one.kind, one.reason, one.ended_by, one.ended_note) for one in kept] == [
        ("stop", "one", "ana@desk", "fine"),
        ("stop", "two", "ana@desk", "fine"),
        ("stop", "all", "ana@desk", "fine"),
    ]


# ---- grants

EXACT = Cap("workspace", "", "month", 39_000)


def grant(desk: Desk, amount: int, *, until: datetime | None = None, label: str = "2026-11") -> int:
    return desk.ledger.grant(
        "studio", period="month", label=label, amount_micros=amount, until=until, reason="rush job", at=desk.at, **BY
    )


def test_a_grant_raises_one_window_by_its_amount_and_not_by_a_micro_unit_more(desk: Desk) -> None:
    desk.buy("a", caps=[EXACT])
    assert isinstance(desk.reserve("b", caps=[EXACT]), Refusal)
    grant(desk, 39_000)
    refused = desk.reserve("b", amount=39_001, caps=[EXACT])
    assert isinstance(refused, Refusal)
    assert refused.cap_micros == 78_000
    assert isinstance(desk.reserve("b", caps=[EXACT]), Reserved)


def test_grants_add_up(desk: Desk) -> None:
    desk.buy("a", caps=[EXACT])
    grant(desk, 20_000)
    assert isinstance(desk.reserve("b", caps=[EXACT]), Refusal)
    grant(desk, 19_000)
    assert isinstance(desk.reserve("b", caps=[EXACT]), Reserved)


def test_a_grant_is_over_at_its_end(desk: Desk) -> None:
    desk.buy("a", caps=[EXACT])
    end = desk.at + timedelta(days=1)
    grant(desk, 390_000, until=end)
    desk.at = end - timedelta(microseconds=1)
    desk.buy("b", caps=[EXACT])
    desk.at = end
    refused = desk.reserve("c", caps=[EXACT])
    assert isinstance(refused, Refusal)
    assert refused.left_micros == -39_000, "what was spent under the grant stays spent"


def test_a_grant_is_for_its_window_and_not_for_the_next(desk: Desk) -> None:
    grant(desk, 390_000)
    desk.pass_time(days=20)
    desk.buy("a", caps=[EXACT])
    assert isinstance(desk.reserve("b", caps=[EXACT]), Refusal)


def test_a_grant_raises_neither_a_recipes_cap_nor_another_workspaces(desk: Desk) -> None:
    of_recipe = Cap("recipe", RUN.recipe, "month", 39_000)
    grant(desk, 390_000)
    desk.buy("a", caps=[of_recipe])
    assert isinstance(desk.reserve("b", caps=[of_recipe]), Refusal)
    desk.ledger.grant("lab", period="month", label="2026-11", amount_micros=1, until=None, reason="r", at=desk.at, **BY)
    assert isinstance(desk.reserve("b", amount=390_001, caps=[EXACT]), Refusal)


def test_a_grant_can_be_ended_before_its_time_once(desk: Desk) -> None:
    number = grant(desk, 390_000)
    assert desk.ledger.end_grant(number, note="mistyped", at=desk.at, **BY).amount_micros == 390_000
    desk.buy("a", caps=[EXACT])
    assert isinstance(desk.reserve("b", caps=[EXACT]), Refusal)
    with pytest.raises(UsageError, match=f"no grant {number} in force"):
        desk.ledger.end_grant(number, note="again", at=desk.at, **BY)


def test_a_budget_shows_its_cap_with_what_is_granted(desk: Desk) -> None:
    grant(desk, 1_000)
    rooms = known.headrooms(desk.ledger.database, workspace="studio", zone=RUN.zone, caps=[EXACT], at=desk.at)
    assert rooms[0].cap_micros == 40_000


# ---- a price never seen


@pytest.fixture
def fresh(open_ledger: Callable[[], Ledger]) -> Desk:
    """A ledger that has never seen a bill."""
    return Desk(open_ledger(), seen=False)


def test_the_first_request_of_a_price_goes_alone_over_all_processes(
    fresh: Desk, open_ledger: Callable[[], Ledger]
) -> None:
    attempt_id = fresh.send("a")
    other = open_ledger()
    found = other.reserve(fresh.run_id, RUN, asked("b"), amount_micros=39_000, caps=[MONTH], at=fresh.at)
    assert found == FirstOfPrice(attempt_id)
    fresh.settle(attempt_id)
    assert isinstance(fresh.reserve("b"), Reserved)
    assert isinstance(fresh.reserve("c"), Reserved)


def test_while_no_bill_came_each_goes_alone(fresh: Desk) -> None:
    attempt_id = fresh.send("a")
    fresh.release(attempt_id)
    assert isinstance(fresh.reserve("b"), Reserved)
    assert isinstance(fresh.reserve("c"), FirstOfPrice)


def test_an_unknown_first_request_does_not_hold_up_the_next_for_ever(fresh: Desk) -> None:
    fresh.lose(fresh.send("a"))
    assert isinstance(fresh.reserve("b"), Reserved)
    assert fresh.balance() == (78_000, 0)


def test_another_model_has_a_price_of_its_own(fresh: Desk) -> None:
    fresh.send("a")
    found = fresh.ledger.reserve(
        fresh.run_id, RUN, asked("b", model="another"), amount_micros=39_000, caps=[MONTH], at=fresh.at
    )
    assert isinstance(found, Reserved)


def test_a_price_neither_declared_nor_seen_is_refused(fresh: Desk) -> None:
    def ask(key: str) -> object:
        return fresh.ledger.reserve(fresh.run_id, RUN, asked(key), amount_micros=None, caps=[MONTH], at=fresh.at)

    assert ask("a") == Unpriced("stability-upscale-creative")
    assert fresh.balance() == (0, 0)
    fresh.buy("b", billed=20_000)
    assert ask("a") == Reserved(2, 20_000), "from then on the ledger knows"


# ---- an older ledger


def test_a_workspace_that_a_breach_had_stopped_is_still_stopped_after_the_migration(ledger_path: Path) -> None:
    ledger_path.parent.mkdir()
    old = database.Database(ledger_path)
    with old._engine.connect() as connection:
        migrate.upgrade(connection, "0001")
        connection.execute(
            text(
                "INSERT INTO workspaces VALUES ('studio', 'USD', 'attempt 1 was billed 40', :at), "
                "('lab', 'EUR', NULL, NULL)"
            ),
            {"at": "2026-11-20T12:00:00.000000Z"},
        )
        connection.commit()
    old.close()
    with database.open_database(ledger_path, create=False) as opened:
        desk = Desk(Ledger(opened, uptime=lambda: None))
        found = desk.reserve("a")
        assert found == Stopped("attempt 1 was billed 40", False, "breach", "omixa", None)
        assert desk.ledger.resume("studio", note="seen", at=datetime(2026, 11, 22, tzinfo=UTC), **BY)
        assert isinstance(desk.reserve("a"), Reserved)
    with sqlite3.connect(ledger_path) as raw:
        assert raw.execute("SELECT count(*) FROM pragma_table_info('workspaces')").fetchone() == (2,)
