"""Cron → due moments, around the clock changes of Berlin (29 March and 25 October 2026) in particular."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from runner import slots

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(cron: str, after: str, count: int, zone: str = BERLIN) -> list[str]:
    return [f"{moment:%m-%dT%H:%M}" for moment in slots.next_slots(cron, zone, at(after), count)]


@pytest.mark.parametrize(
    "cron", ["0 2 * * 1-5", "*/15 * * * *", "0 0 29 2 *", "0 0 L * *", "0 9 * * MON", "0 9 * * 7", "0 9 * JAN-MAR *"]
)
def test_cron_of_five_fields_is_accepted(cron: str) -> None:
    assert slots.check(cron) is None


@pytest.mark.parametrize(
    ("cron", "fault"),
    [
        ("0 0 2 * * 1", "has six fields: seconds are not supported, write minute, hour, day, month, weekday"),
        ("@daily", "has one field and needs five: minute, hour, day, month, weekday"),
        ("", "has no fields and needs five: minute, hour, day, month, weekday"),
        ("60 * * * *", "has a bad minute `60`; it takes 0-59"),
        ("0 24 * * *", "has a bad hour `24`; it takes 0-23"),
        ("0 0 32 * *", "has a bad day of the month `32`; it takes 1-31, L or LW"),
        ("0 0 * 13 *", "has a bad month `13`; it takes 1-12 or JAN-DEC"),
        ("0 0 * * 8", "has a bad weekday `8`; it takes 0-7 or SUN-SAT, where 0 and 7 are Sunday"),
        ("0 0 31 2 *", "is never due: month `2` has no day `31`"),
        ("0 0 31 4,6 *", "is never due: month `4,6` has no day `31`"),
        ("0 0 * * " + "1," * 100 + "1", "has 209 characters, at most 200 are accepted"),
    ],
)
def test_other_cron_is_refused_with_the_reason(cron: str, fault: str) -> None:
    assert slots.check(cron) == fault


def test_weekday_zero_and_seven_are_sunday_and_one_to_five_are_working_days() -> None:
    assert due("0 9 * * 0", "2026-11-02T00:00", 1) == due("0 9 * * 7", "2026-11-02T00:00", 1) == ["11-08T08:00"]
    assert due("0 9 * * 1-5", "2026-11-06T12:00", 1) == ["11-09T08:00"]


def test_a_moment_that_spring_skips_is_due_right_after_the_gap() -> None:
    assert due("30 2 * * *", "2026-03-28T12:00", 2) == ["03-29T01:00", "03-30T00:30"]


def test_midnight_after_the_spring_change_is_not_skipped() -> None:
    assert due("0 0 * * *", "2026-03-28T12:00", 3) == ["03-28T23:00", "03-29T22:00", "03-30T22:00"]


def test_a_moment_that_autumn_repeats_is_due_once() -> None:
    assert due("30 2 * * *", "2026-10-24T12:00", 2) == ["10-25T00:30", "10-26T01:30"]


@pytest.mark.parametrize("after", ["2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:10", "2026-10-25T01:30"])
def test_it_is_not_due_again_when_asked_inside_the_repeated_hour(after: str) -> None:
    assert due("30 2 * * *", after, 1) == ["10-26T01:30"]


def test_every_quarter_of_an_hour_goes_on_through_the_repeated_hour() -> None:
    moments = slots.next_slots("*/15 * * * *", BERLIN, at("2026-10-24T23:00"), 16)
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=15)}


def test_a_due_moment_is_strictly_after_and_in_utc() -> None:
    after = datetime(2026, 11, 2, 2, 0, tzinfo=timezone(timedelta(hours=1)))
    (moment,) = slots.next_slots("0 2 * * *", BERLIN, after, 1)
    assert moment == at("2026-11-03T01:00")
    assert moment.tzinfo is UTC


def test_no_moments_are_none() -> None:
    assert due("0 2 * * *", "2026-11-02T00:00", 0) == []
