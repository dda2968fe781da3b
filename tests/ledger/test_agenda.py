"""Each slot is somebody's, once; its end is written down; and what was missed is accounted for."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runner.ledger import agenda, verify
from runner.ledger.agenda import Agenda, Slot
from runner.ledger.clocks import Uptime
from runner.ledger.database import open_database
from tests.ledger.conftest import NOON, no_uptime

BY = {"who": "ana@desk"}


@pytest.fixture
def open_agenda(ledger_path: Path) -> Iterator[Callable[[], Agenda]]:
    """Opens the same ledger again, as another process would."""
    opened = []

    def open_one() -> Agenda:
        database = open_database(ledger_path, create=True)
        opened.append(database)
        return Agenda(database, uptime=no_uptime)

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def book(open_agenda: Callable[[], Agenda]) -> Agenda:
    return open_agenda()


def claim(book: Agenda, due_at: datetime = NOON, owner: str = "one", recipe: str = "posters", **more: str) -> Slot:
    slot = book.claim(recipe, due_at, "studio", owner=owner, at=max(NOON, due_at), **BY, **more)
    assert slot is not None
    return slot


def states(book: Agenda) -> list[str]:
    return [slot.state for slot in agenda.slots(book.database)]


# ---- claims


def test_a_slot_is_claimed_once(open_agenda: Callable[[], Agenda]) -> None:
    one, another = open_agenda(), open_agenda()
    assert claim(one).state == "waiting"
    assert another.claim("posters", NOON, "studio", owner="another", at=NOON, **BY) is None
    assert another.claim("logos", NOON, "studio", owner="another", at=NOON, **BY) is not None


def test_of_many_that_see_a_slot_at_once_one_gets_it(open_agenda: Callable[[], Agenda]) -> None:
    desks = [open_agenda() for _ in range(4)]

    def take(number: int) -> bool:
        desk = desks[number % 4]
        slot = desk.claim(f"recipe-{number // 4}", NOON, "studio", owner=str(number), at=NOON, **BY)
        return slot is not None

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(take, range(80)))
    assert [sum(taken[n : n + 4]) for n in range(0, 80, 4)] == [1] * 20
    assert verify.verify(desks[0].database).faults == []


def test_a_slot_that_comes_while_one_runs_is_overlapped(book: Agenda) -> None:
    first = claim(book)
    book.begin(first.id, owner="one", at=NOON, **BY)
    second = claim(book, NOON + timedelta(hours=1))
    assert second.state == "overlapped"
    assert second.reason == "the run of 2026-11-22 12:00 UTC still went on"
    assert second.ended_at is not None
    assert claim(book, NOON + timedelta(hours=1), recipe="logos").state == "waiting"
    book.end(first.id, "ran", None, at=NOON, **BY)
    assert claim(book, NOON + timedelta(hours=2)).state == "waiting"


def test_with_queue_one_waits_and_no_more(book: Agenda) -> None:
    first = claim(book, overlap="queue")
    book.begin(first.id, owner="one", at=NOON, **BY)
    assert claim(book, NOON + timedelta(hours=1), overlap="queue").state == "waiting"
    third = claim(book, NOON + timedelta(hours=2), overlap="queue")
    assert third.state == "overlapped"
    assert "another one waits" in (third.reason or "")


def test_only_its_owner_begins_a_slot_and_only_once(book: Agenda) -> None:
    slot = claim(book)
    assert book.begin(slot.id, owner="another", at=NOON, **BY) is None
    begun = book.begin(slot.id, owner="one", at=NOON, **BY)
    assert begun is not None
    assert (begun.state, begun.begun_at) == ("running", NOON)
    assert book.begin(slot.id, owner="one", at=NOON, **BY) is None


def test_one_that_waits_can_be_taken_over_by_one_and_then_its_first_owner_must_not_run_it(book: Agenda) -> None:
    slot = claim(book, owner="dead")
    assert book.adopt(slot.id, before="dead", owner="two", at=NOON, **BY) is not None
    assert book.adopt(slot.id, before="dead", owner="three", at=NOON, **BY) is None
    assert book.begin(slot.id, owner="dead", at=NOON, **BY) is None
    assert book.begin(slot.id, owner="two", at=NOON, **BY) is not None
    assert book.adopt(slot.id, before="two", owner="three", at=NOON, **BY) is None


def test_an_end_is_final(book: Agenda) -> None:
    slot = claim(book)
    book.begin(slot.id, owner="one", at=NOON, **BY)
    book.runs_as(slot.id, "run-1", 78_000, at=NOON, **BY)
    assert book.end(slot.id, "ran", None, billed_micros=39_000, bought=1, owner="one", at=NOON, **BY)
    assert not book.end(slot.id, "failed", "its process died", at=NOON, **BY)
    (ended,) = agenda.slots(book.database)
    assert (ended.state, ended.run_uid, ended.expected_micros, ended.billed_micros, ended.bought) == (
        *("ran", "run-1", 78_000, 39_000, 1),
    )


def test_who_lost_a_slot_cannot_end_it(book: Agenda) -> None:
    slot = claim(book, owner="dead")
    book.adopt(slot.id, before="dead", owner="two", at=NOON, **BY)
    assert not book.end(slot.id, "failed", "late", owner="dead", at=NOON, **BY)
    assert states(book) == ["waiting"]


# ---- accounts


def test_missed_slots_are_recorded_once_however_many_look(open_agenda: Callable[[], Agenda]) -> None:
    one, another = open_agenda(), open_agenda()
    hours = [NOON + timedelta(hours=n) for n in range(450)]
    claim(one, hours[3])
    assert one.account("posters", "studio", hours, "missed", "nobody was there", at=NOON, **BY) == 449
    assert another.account("posters", "studio", hours, "missed", "nobody was there", at=NOON, **BY) == 0
    assert states(one) == ["missed"] * 50
    assert agenda.count_by_state(one.database, "posters") == {"missed": 449, "waiting": 1}
    assert verify.verify(one.database).faults == []


def test_slots_are_accounted_for_up_to_the_latest_or_since_the_schedule_was_seen(book: Agenda) -> None:
    assert agenda.accounted_to(book.database, "posters") is None
    assert book.watch("posters", "studio", "cron 0 2 * * *", "UTC", at=NOON, **BY)[0] is None
    assert agenda.accounted_to(book.database, "posters") == NOON
    claim(book, NOON + timedelta(hours=5))
    assert agenda.accounted_to(book.database, "posters") == NOON + timedelta(hours=5)
    before, now = book.watch("posters", "studio", "cron 0 3 * * *", "UTC", at=NOON + timedelta(hours=9), **BY)
    assert before is not None
    assert (before.timing, now.timing) == ("cron 0 2 * * *", "cron 0 3 * * *")
    assert agenda.accounted_to(book.database, "posters") == NOON + timedelta(hours=9)


def test_a_timing_that_is_seen_again_counts_from_where_it_was(book: Agenda) -> None:
    for hours in (0, 5):
        book.watch("posters", "studio", "cron 0 2 * * *", "UTC", at=NOON + timedelta(hours=hours), **BY)
    found = agenda.schedule(book.database, "posters")
    assert found is not None
    assert found.since == NOON


def test_a_pause_says_who_and_why_and_lasts_until_it_is_ended(book: Agenda) -> None:
    book.pause("posters", "studio", "UTC", reason="holiday", at=NOON, **BY)
    book.watch("posters", "studio", "cron 0 2 * * *", "UTC", at=NOON, **BY)
    found = agenda.schedules(book.database)["posters"]
    assert (found.paused_at, found.paused_by, found.paused_reason) == (NOON, "ana@desk", "holiday")
    assert book.unpause("posters", at=NOON, **BY) == found
    assert book.unpause("posters", at=NOON, **BY) is None
    assert agenda.schedules(book.database)["posters"].paused_at is None


# ---- clocks


def test_a_clock_that_ran_ahead_of_the_machine_is_not_believed(ledger_path: Path) -> None:
    up = Uptime("boot", 0)
    with open_database(ledger_path, create=True) as database:
        book = Agenda(database, uptime=lambda: up)
        assert book.clock_ran_ahead(NOON) is None
        book.confirm_clock(note="right", at=NOON, **BY)
        assert book.clock_ran_ahead(NOON + timedelta(minutes=10)) is None
        assert "by this machine's own count" in (book.clock_ran_ahead(NOON + timedelta(minutes=11)) or "")
        up = Uptime("boot", 86_400 * 10**9)  # a lid that was closed for a day
        assert book.clock_ran_ahead(NOON + timedelta(days=1)) is None
        book.doubt_clock("the endpoint said otherwise", at=NOON, **BY)
        assert book.clock_ran_ahead(NOON) == "the endpoint said otherwise"
