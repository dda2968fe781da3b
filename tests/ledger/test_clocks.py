"""A clock that runs ahead opens no budget, and one that goes back opens none either."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from runner.ledger import clocks, usage
from runner.ledger.clocks import Uptime
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap, ClockDoubted, Refusal, Reserved, Stopped
from tests.ledger.conftest import MONTH, Desk

BY = {"who": "ana@desk"}
HOUR_NS = 3_600 * 10**9


class Machine:
    """A machine's own count of time; only the test moves it."""

    def __init__(self) -> None:
        self.up: Uptime | None = Uptime("boot-1", 5 * HOUR_NS)

    def pass_time(self, desk: Desk, **units: int) -> None:
        """Time passes, on every clock."""
        desk.pass_time(**units)
        assert self.up is not None
        self.up = Uptime(self.up.boot, self.up.ns + int(timedelta(**units) / timedelta(microseconds=1)) * 1000)

    def restart(self) -> None:
        self.up = Uptime("boot-2", HOUR_NS)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def watched(open_ledger: Callable[[], Ledger], machine: Machine) -> Desk:
    """A desk whose ledger can see the machine's own count. It has reserved once, on 22 November."""
    desk = Desk(Ledger(open_ledger().database, uptime=lambda: machine.up))
    desk.buy("first")
    return desk


def test_months_pass_without_a_question_while_both_clocks_agree(watched: Desk, machine: Machine) -> None:
    for n in range(5):
        machine.pass_time(watched, days=40)
        assert isinstance(watched.reserve(f"{n}"), Reserved)


def test_a_jump_that_would_open_a_new_month_is_refused_and_says_what_it_saw(watched: Desk) -> None:
    watched.pass_time(days=10)
    found = watched.reserve("a")
    assert found == ClockDoubted(
        "the clock says 2026-12-02 12:00 UTC, but by this machine's own count it is 2026-11-22 12:00 UTC; "
        "month 2026-12 Europe/Berlin would be opened"
    )
    assert watched.balance(MONTH) == (0, 0)


@pytest.mark.parametrize(("minutes", "kind"), [(10, Reserved), (11, ClockDoubted)])
def test_ten_minutes_over_midnight_are_forgiven_and_eleven_are_not(
    watched: Desk, machine: Machine, minutes: int, kind: type
) -> None:
    day = Cap("workspace", "", "day", 1_000_000)
    machine.pass_time(watched, hours=10, minutes=55)  # 23:55 in Berlin
    watched.pass_time(minutes=minutes)
    assert isinstance(watched.reserve("a", caps=[day]), kind)


def test_a_jump_within_every_window_opens_nothing_and_is_believed(watched: Desk) -> None:
    watched.pass_time(days=3)
    assert isinstance(watched.reserve("a"), Reserved)


def test_a_confirmed_clock_is_believed_and_measured_from_there(watched: Desk, machine: Machine) -> None:
    watched.pass_time(days=10)
    watched.ledger.confirm_clock(note="asked the time service", at=watched.at, **BY)
    assert isinstance(watched.reserve("a"), Reserved)
    machine.pass_time(watched, days=31)
    assert isinstance(watched.reserve("b"), Reserved)
    watched.pass_time(days=31)
    assert isinstance(watched.reserve("c"), ClockDoubted)


def test_after_a_restart_a_month_is_forgiven_and_a_longer_gap_asked_about(watched: Desk, machine: Machine) -> None:
    machine.restart()
    watched.pass_time(days=33)
    found = watched.reserve("a")
    assert isinstance(found, ClockDoubted)
    assert "nothing tells how long the machine was off" in found.reason
    watched.at -= timedelta(days=2)
    assert isinstance(watched.reserve("a"), Reserved)
    watched.pass_time(days=31)
    assert isinstance(watched.reserve("b"), ClockDoubted), "and from there the new count holds"


def test_a_clock_that_goes_back_stays_in_the_window_it_was_in(watched: Desk, machine: Machine) -> None:
    machine.pass_time(watched, days=10)
    watched.buy("december")
    watched.at -= timedelta(days=300)
    full = Cap("workspace", "", "month", 39_000)
    assert isinstance(watched.reserve("a", caps=[full]), Refusal), "December's window is full"


def test_a_bill_that_is_booked_while_the_clock_runs_ahead_opens_no_window(watched: Desk) -> None:
    full = Cap("workspace", "", "month", 78_000)
    attempt_id = watched.send("a", caps=[full])
    right = watched.at
    watched.pass_time(days=10)
    watched.settle(attempt_id)
    watched.at = right
    refused = watched.reserve("b", caps=[full])
    assert isinstance(refused, Refusal)
    assert refused.budget == "month 2026-11 Europe/Berlin of workspace studio"


def test_a_jump_does_not_end_a_stop(watched: Desk) -> None:
    watched.ledger.stop("studio", until=watched.at + timedelta(days=2), reason="night", at=watched.at, **BY)
    watched.pass_time(days=3)
    assert isinstance(watched.reserve("a"), Stopped)


def test_a_doubt_stays_until_somebody_confirms_the_clock(watched: Desk) -> None:
    watched.ledger.doubt_clock("the endpoint said it was yesterday", at=watched.at, **BY)
    watched.ledger.doubt_clock("another reason", at=watched.at, **BY)
    assert watched.reserve("a") == ClockDoubted("the endpoint said it was yesterday")
    assert usage.doubts(watched.ledger.database) == ("the endpoint said it was yesterday", None)
    watched.ledger.confirm_clock(note="it was the endpoint", at=watched.at, **BY)
    assert isinstance(watched.reserve("a"), Reserved)


@pytest.mark.parametrize(("seconds", "off"), [(600, False), (601, True), (-600, False), (-601, True)])
def test_an_endpoints_date_may_be_ten_minutes_off(seconds: int, off: bool) -> None:
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert clocks.is_off(at + timedelta(seconds=seconds), at) is off


def test_the_machines_own_count_moves_on() -> None:
    first, second = clocks.uptime(), clocks.uptime()
    assert first is not None
    assert second is not None
    assert first.boot == second.boot
    assert second.ns >= first.ns
