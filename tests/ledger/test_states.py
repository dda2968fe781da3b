"""The states of money: what counts against a cap, and what moves it (design: Money and states)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from runner.errors import LedgerError, UsageError
from runner.ledger import usage
from runner.ledger.ledger import Ledger
from runner.ledger.tables import ENTRIES
from runner.ledger.values import AlreadyBought, Cap, InFlight, Refusal, Reserved, Stopped
from tests.ledger.conftest import MONTH, RUN, Desk

DAY = Cap("workspace", "", "day", 10_000_000)
RECIPE = Cap("recipe", "posters", "month", 100_000)
THIS_RUN = Cap("run", "run-1", "run", 60_000)


def test_a_reservation_counts_against_every_cap_at_once(desk: Desk) -> None:
    desk.reserve("a", caps=[MONTH, DAY, RECIPE, THIS_RUN])
    assert [desk.balance(cap) for cap in (MONTH, DAY, RECIPE, THIS_RUN)] == [(39_000, 0)] * 4


def test_one_full_window_refuses_and_takes_from_none(desk: Desk) -> None:
    refusal = desk.reserve("a", amount=70_000, caps=[MONTH, RECIPE, THIS_RUN])
    assert isinstance(refusal, Refusal)
    assert refusal.budget == "this run"
    assert (refusal.left_micros, refusal.asked_micros) == (60_000, 70_000)
    assert desk.balance(MONTH) == (0, 0)
    assert desk.balance(RECIPE) == (0, 0)
    assert list(usage.rows(desk.ledger.database)) == []


@pytest.mark.parametrize("place", range(4))
def test_the_one_window_without_room_refuses_wherever_it_stands_among_the_caps(desk: Desk, place: int) -> None:
    caps = [MONTH, DAY, RECIPE, THIS_RUN]
    caps[place] = replace(caps[place], cap_micros=38_999)
    refusal = desk.reserve("a", caps=caps)
    assert isinstance(refusal, Refusal)
    assert refusal.cap_micros == 38_999
    assert [desk.balance(cap) for cap in caps] == [(0, 0)] * 4


def test_a_cap_of_one_is_filled_by_25_bills_of_0_039_and_not_one_more(desk: Desk) -> None:
    for n in range(25):
        desk.buy(f"k{n}")
    assert desk.balance() == (0, 975_000)
    refusal = desk.reserve("k25")
    assert isinstance(refusal, Refusal)
    assert (refusal.left_micros, refusal.may_free) == (25_000, False)
    assert str(refusal.ends_local) == "1 Dec 2026 00:00 Europe/Berlin"


def test_an_amount_that_fits_to_the_last_micro_unit_is_reserved(desk: Desk) -> None:
    assert isinstance(desk.reserve("a", amount=1_000_000), Reserved)
    assert isinstance(desk.reserve("b", amount=1), Refusal)


def test_sent_and_unknown_count_like_reserved_and_time_frees_nothing(desk: Desk) -> None:
    attempt_id = desk.send("a")
    assert desk.balance() == (39_000, 0)
    desk.lose(attempt_id)
    assert desk.balance() == (39_000, 0)
    desk.pass_time(days=5)
    assert desk.balance() == (39_000, 0)


def test_released_counts_nothing_and_settled_what_was_billed(desk: Desk) -> None:
    desk.release(desk.send("a"))
    assert desk.balance() == (0, 0)
    desk.settle(desk.send("b"), billed=12_345)
    assert desk.balance() == (0, 12_345)


def test_settlement_after_midnight_stays_in_its_window(desk: Desk) -> None:
    desk.at = datetime(2026, 11, 30, 22, 59, tzinfo=UTC)  # 23:59 in Berlin
    attempt_id = desk.send("a", caps=[MONTH, DAY])
    november = desk.at
    desk.pass_time(minutes=2)
    desk.settle(attempt_id)
    assert desk.balance(MONTH) == (0, 0)
    desk.at = november
    assert desk.balance(MONTH) == (0, 39_000)
    assert desk.balance(DAY) == (0, 39_000)


def test_a_clock_that_goes_back_does_not_reopen_an_old_window(desk: Desk) -> None:
    desk.at = datetime(2026, 12, 1, 12, tzinfo=UTC)
    desk.buy("a")
    desk.at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    desk.buy("b")
    days = [row.day for row in usage.rows(desk.ledger.database)]
    assert days == ["2026-12-01", "2026-12-01"]


def test_a_refusal_says_whether_requests_in_flight_could_make_room(desk: Desk) -> None:
    first = desk.send("a", amount=700_000)
    refusal = desk.reserve("b", amount=700_000)
    assert isinstance(refusal, Refusal)
    assert refusal.may_free
    desk.lose(first)  # an unknown one never frees anything by itself
    refusal = desk.reserve("b", amount=700_000)
    assert isinstance(refusal, Refusal)
    assert not refusal.may_free


def test_a_reservation_is_never_below_the_highest_bill_seen(desk: Desk) -> None:
    desk.buy("a", amount=100_000, billed=80_000)
    reservation = desk.reserve("b", amount=50_000)
    assert isinstance(reservation, Reserved)
    assert reservation.amount_micros == 80_000


# ---- one item is bought once


def test_an_item_whose_money_is_open_cannot_be_reserved_again(desk: Desk) -> None:
    attempt_id = desk.send("a")
    assert desk.reserve("a") == InFlight(attempt_id, "sent")
    desk.lose(attempt_id)
    assert desk.reserve("a", again=True) == InFlight(attempt_id, "unknown")


def test_a_bought_item_is_not_bought_again_unless_on_purpose(desk: Desk) -> None:
    attempt_id = desk.buy("a")
    assert desk.reserve("a") == AlreadyBought(attempt_id, None)
    assert isinstance(desk.reserve("a", again=True), Reserved)


def test_an_item_that_was_released_can_be_bought(desk: Desk) -> None:
    desk.release(desk.send("a"))
    assert isinstance(desk.reserve("a"), Reserved)


def test_another_workspace_pays_for_its_own(desk: Desk) -> None:
    desk.buy("a")
    other = Desk(desk.ledger, replace(RUN, uid="run-2", workspace="other"))
    assert isinstance(other.reserve("a"), Reserved)


# ---- what may follow what


def test_only_a_reserved_attempt_may_be_sent(desk: Desk) -> None:
    attempt_id = desk.send("a")
    with pytest.raises(LedgerError, match="no longer reserved"):
        desk.ledger.sent(attempt_id, who="ana", at=desk.at)


def test_nothing_is_settled_that_was_not_sent(desk: Desk) -> None:
    reservation = desk.reserve("a")
    assert isinstance(reservation, Reserved)
    with pytest.raises(LedgerError, match="is reserved, expected sent or unknown"):
        desk.settle(reservation.attempt_id)
    assert desk.balance() == (39_000, 0)


def test_an_ended_attempt_cannot_end_again(desk: Desk) -> None:
    attempt_id = desk.buy("a")
    for end in (desk.settle, desk.release, desk.lose):
        with pytest.raises(LedgerError, match="is settled"):
            end(attempt_id)
    assert desk.balance() == (0, 39_000)


def test_a_reserved_attempt_may_be_released_because_nothing_left(desk: Desk) -> None:
    reservation = desk.reserve("a")
    assert isinstance(reservation, Reserved)
    desk.release(reservation.attempt_id)
    assert desk.balance() == (0, 0)


# ---- breach


def test_a_bill_above_the_reservation_is_booked_and_stops_the_workspace(desk: Desk) -> None:
    assert desk.settle(desk.send("a"), billed=40_500_000)
    assert desk.balance() == (0, 40_500_000)
    stopped = desk.reserve("b", caps=[])
    assert isinstance(stopped, Stopped)
    assert stopped.reason == "attempt 1 was billed 40.500 USD, above its reservation of 0.039 USD"
    assert desk.ledger.resume("studio", note="asked the provider", who="ana", at=desk.at)
    reservation = desk.reserve("b", caps=[])
    assert isinstance(reservation, Reserved)
    assert reservation.amount_micros == 40_500_000, "the ceiling rose to what was seen"


def test_a_bill_equal_to_the_reservation_is_no_breach(desk: Desk) -> None:
    assert not desk.settle(desk.send("a"), billed=39_000)
    assert isinstance(desk.reserve("b"), Reserved)


# ---- resolve


def test_resolving_settles_or_releases_an_unknown_attempt(desk: Desk) -> None:
    first, second = desk.send("a"), desk.send("b")
    desk.lose(first)
    desk.lose(second)
    desk.ledger.resolve(first, billed_micros=20_000, note="invoice line 7", who="ana", at=desk.at)
    desk.ledger.resolve(second, billed_micros=None, note="not on the invoice", who="ana", at=desk.at)
    assert desk.balance() == (0, 20_000)
    with desk.ledger.database.read() as connection:
        notes = connection.execute(select(ENTRIES.c.note).where(ENTRIES.c.kind.in_(("settle", "release")))).scalars()
        assert list(notes) == ["billed 0.020000: invoice line 7", "not billed: not on the invoice"]


def test_only_an_unknown_attempt_can_be_resolved(desk: Desk) -> None:
    attempt_id = desk.buy("a")
    with pytest.raises(UsageError, match="is settled; only an unknown"):
        desk.ledger.resolve(attempt_id, billed_micros=None, note="n", who="ana", at=desk.at)
    with pytest.raises(UsageError, match="there is no attempt 99"):
        desk.ledger.resolve(99, billed_micros=None, note="n", who="ana", at=desk.at)


# ---- caps and windows that change


def test_a_cap_declared_in_the_middle_of_a_month_counts_the_whole_month(desk: Desk) -> None:
    desk.buy("a", caps=[])
    lost = desk.send("b", caps=[])
    desk.lose(lost)
    refusal = desk.reserve("c", caps=[Cap("workspace", "", "month", 100_000)])
    assert isinstance(refusal, Refusal)
    assert (refusal.settled_micros, refusal.open_micros) == (39_000, 39_000)
    # What was open then is freed in the new window too.
    desk.ledger.resolve(lost, billed_micros=None, note="n", who="ana", at=desk.at)
    assert desk.balance(MONTH) == (0, 39_000)


@pytest.mark.parametrize("cap", [MONTH, replace(RECIPE, cap_micros=1_000_000)])
def test_a_cap_that_was_removed_and_put_back_counts_what_was_spent_in_between(
    desk: Desk, open_ledger: Callable[[], Ledger], cap: Cap
) -> None:
    desk.buy("a", amount=600_000, billed=600_000, caps=[cap])
    # Another process, whose settings do not declare the cap.
    Desk(open_ledger(), replace(RUN, uid="run-2")).buy("b", amount=600_000, billed=600_000, caps=[])
    refusal = desk.reserve("c", amount=600_000, caps=[replace(cap, cap_micros=1_500_000)])
    assert isinstance(refusal, Refusal)
    assert refusal.settled_micros == 1_200_000
    assert desk.balance(cap) == (0, 1_200_000)


def test_a_time_zone_that_changes_and_changes_back_leaves_the_month_whole(desk: Desk) -> None:
    desk.buy("a", amount=400_000, billed=400_000)
    elsewhere = Desk(desk.ledger, replace(RUN, uid="run-2", zone="Asia/Tokyo"))
    assert isinstance(elsewhere.reserve("b", amount=700_000), Refusal)
    elsewhere.buy("c", amount=400_000, billed=400_000)
    assert desk.balance() == (0, 800_000)


def test_a_new_recipe_cap_counts_only_its_recipe(desk: Desk) -> None:
    other = Desk(desk.ledger, replace(RUN, uid="run-2", recipe="other"))
    other.buy("x", caps=[])
    desk.buy("a", caps=[])
    assert desk.balance(RECIPE) == (0, 39_000)
    desk.reserve("b", caps=[RECIPE])
    assert desk.balance(RECIPE) == (39_000, 39_000)


def test_a_cap_that_was_lowered_holds_from_the_next_reservation_on(desk: Desk) -> None:
    desk.buy("a")
    assert isinstance(desk.reserve("b", caps=[replace(MONTH, cap_micros=50_000)]), Refusal)
    assert isinstance(desk.reserve("b", caps=[replace(MONTH, cap_micros=78_000)]), Reserved)


def test_a_workspace_keeps_its_currency(desk: Desk) -> None:
    with pytest.raises(UsageError, match=r"kept in USD in the ledger, omixa\.toml says EUR"):
        Desk(desk.ledger, replace(RUN, uid="run-2", currency="EUR"))


# ---- the record


def test_balances_equal_the_sum_of_the_entries(desk: Desk) -> None:
    desk.buy("a", billed=20_000)
    desk.lose(desk.send("b"))
    desk.release(desk.send("c"))
    desk.reserve("d")
    with desk.ledger.database.read() as connection:
        sums = connection.execute(text("SELECT sum(open_micros), sum(settled_micros) FROM entries")).one()
    assert tuple(sums) == desk.balance() == (78_000, 20_000)


@pytest.mark.parametrize("statement", ["DELETE FROM entries", "UPDATE entries SET settled_micros = 0"])
def test_entries_cannot_be_changed(desk: Desk, statement: str) -> None:
    desk.buy("a")
    with pytest.raises(LedgerError, match="append-only"), desk.ledger.database.write_transaction() as connection:
        connection.execute(text(statement))


def test_every_attempt_is_a_row_before_it_is_sent(desk: Desk, open_ledger: Callable[[], Ledger]) -> None:
    desk.reserve("a")
    row = next(usage.rows(open_ledger().database))
    assert (row.state, row.reserved_micros, row.who, row.cost_centre) == ("reserved", 39_000, "ana@desk", "4711")
    assert row.labels == {"client": "acme"}


def test_the_moment_of_an_entry_never_goes_back(desk: Desk) -> None:
    desk.buy("a")
    desk.at -= timedelta(hours=3)
    desk.buy("b")
    with desk.ledger.database.read() as connection:
        moments = list(connection.execute(select(ENTRIES.c.at).order_by(ENTRIES.c.id)).scalars())
    assert moments == sorted(moments)
