"""Budget windows are labels of the local calendar, whatever the clock does."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.windows import PERIODS, local_day, local_text, window

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo", "America/Sao_Paulo", "UTC"]


@pytest.mark.parametrize(
    ("period", "day", "label"),
    [
        ("day", date(2026, 11, 22), "2026-11-22"),
        ("week", date(2026, 11, 22), "2026-W47"),
        ("week", date(2027, 1, 3), "2026-W53"),
        ("month", date(2026, 12, 31), "2026-12"),
        ("quarter", date(2026, 11, 22), "2026-Q4"),
        ("quarter", date(2026, 4, 1), "2026-Q2"),
        ("year", date(2026, 1, 1), "2026"),
        ("total", date(2026, 1, 1), "all"),
    ],
)
def test_a_window_is_named_as_people_name_it(period: str, day: date, label: str) -> None:
    assert window(period, day, "Europe/Berlin").label == label


@given(st.sampled_from(PERIODS), st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_a_window_holds_its_day_and_the_next_one_begins_the_day_after(period: str, day: date) -> None:
    found = window(period, day, "Europe/Berlin")
    if found.first_day is None or found.last_day is None:
        assert period == "total"
        return
    assert found.first_day <= day <= found.last_day
    after = window(period, found.last_day + timedelta(days=1), "Europe/Berlin")
    assert after.first_day == found.last_day + timedelta(days=1)
    assert after.label != found.label


@given(
    st.sampled_from(ZONES),
    st.sampled_from([p for p in PERIODS if p != "total"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
)
def test_the_last_moment_is_inside_and_the_end_is_outside(zone: str, period: str, naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    found = window(period, local_day(at, zone), zone)
    assert found.ends_at is not None
    assert at < found.ends_at
    inside = found.ends_at - timedelta(microseconds=1)
    assert window(period, local_day(inside, zone), zone).label == found.label
    assert window(period, local_day(found.ends_at, zone), zone).label != found.label


def test_a_day_without_midnight_ends_where_the_clock_jumps() -> None:
    # In São Paulo 2018-11-04 began at 01:00: the day before ends at that very moment.
    ends_at = window("day", date(2018, 11, 3), "America/Sao_Paulo").ends_at
    assert ends_at == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert ends_at.astimezone(ZoneInfo("America/Sao_Paulo")).hour == 1


def test_the_end_is_told_in_local_time() -> None:
    ends_at = window("month", date(2026, 11, 22), "Europe/Berlin").ends_at
    assert ends_at is not None
    assert local_text(ends_at, "Europe/Berlin") == "1 Dec 2026 00:00 Europe/Berlin"
