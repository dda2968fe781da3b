"""A cron expression or an interval → due moments, around clock changes in particular.

Berlin's of 2026 are on 29 March and 25 October. `tests.long.clock_changes` walks every minute to know what is right.
"""

import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runner import slots
from runner.slots import Timing
from tests.long import clock_changes

BERLIN = "Europe/Berlin"
LORD_HOWE = "Australia/Lord_Howe"  # where the change is of half an hour
CHANGING = [BERLIN, "America/New_York", "Europe/London", LORD_HOWE, "Asia/Tokyo"]
# Where midnight is skipped or repeated, a change is of two or three hours, or a whole day is left out (Apia in 2011).
ODD = ["America/Santiago", "America/St_Johns", "Antarctica/Casey", "Antarctica/Troll", "America/Nuuk", "Pacific/Apia"]
MANY = 1_000_000


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(cron: str, after: str, count: int, zone: str = BERLIN) -> list[str]:
    return [f"{moment:%m-%dT%H:%M}" for moment in slots.next_slots(cron, zone, at(after), count)]


def due_on(cron: str, day: str, zone: str = BERLIN) -> list[str]:
    """What is due on a local day, as the clock on the wall shows it there."""
    wall = ZoneInfo(zone)
    begin = datetime.fromisoformat(day).replace(tzinfo=wall) - timedelta(minutes=1)
    moments = slots.due(Timing(cron, None, zone), begin, begin + timedelta(days=1, hours=2), MANY)
    shown = [moment.astimezone(wall) for moment in moments]
    return [f"{local:%H:%M}" for local in shown if f"{local:%Y-%m-%d}" == day]


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


# ---- clock changes


@pytest.mark.parametrize("zone", CHANGING)
def test_around_every_change_of_ten_years_it_is_what_a_walk_over_every_minute_finds(zone: str) -> None:
    found, compared = clock_changes.differences(zone, 2020, 2030)
    assert found == []
    assert compared["changes"] == (0 if zone == "Asia/Tokyo" else 22)
    assert compared["days"] == 4 * (11 * 365 + 3 - 1)


def test_the_walk_over_every_minute_knows_no_cron_and_finds_what_is_known() -> None:
    """The oracle itself, on the one hour of Berlin that everybody has in the calendar."""
    spring, _ = clock_changes.walked(BERLIN, at("2026-03-28T12:00"), at("2026-03-30T12:00"), clock_changes.DAILY)
    autumn, _ = clock_changes.walked(BERLIN, at("2026-10-24T12:00"), at("2026-10-26T12:00"), clock_changes.DAILY)
    assert spring["30 2 * * *"] == [at("2026-03-29T01:00"), at("2026-03-30T00:30")]
    assert autumn["30 2 * * *"] == [at("2026-10-25T00:30"), at("2026-10-26T01:30")]


@pytest.mark.parametrize("zone", ODD)
def test_a_change_at_midnight_or_of_many_hours_is_a_change_like_any_other(zone: str) -> None:
    found, compared = clock_changes.differences(zone, 2010, 2011)
    assert found == []
    assert compared["changes"] >= 2


@pytest.mark.parametrize(
    ("cron", "zone", "day", "shown"),
    [
        ("30 2 * * *", BERLIN, "2026-03-29", ["03:00"]),
        ("0 2 * * *", BERLIN, "2026-03-29", ["03:00"]),
        ("59 1 * * *", BERLIN, "2026-03-29", ["01:59"]),
        ("0 3 * * *", BERLIN, "2026-03-29", ["03:00"]),
        ("0 0 * * *", BERLIN, "2026-03-29", ["00:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-04", ["02:30"]),
        ("30 2 * * *", LORD_HOWE, "2026-10-04", ["02:30"]),
        ("0 0 * * *", "America/Santiago", "2026-09-06", ["01:00"]),
    ],
)
def test_a_moment_that_spring_skips_is_due_right_after_the_gap(
    cron: str, zone: str, day: str, shown: list[str]
) -> None:
    assert due_on(cron, day, zone) == shown


def test_two_times_in_the_same_gap_are_one_run() -> None:
    assert due_on("0,30 2 * * *", "2026-03-29") == ["03:00"]
    assert due_on("0,30 2,3 * * *", "2026-03-29") == ["03:00", "03:30"]
    assert due_on("0,15 2 * * *", "2026-10-04", LORD_HOWE) == ["02:30"]


def test_a_step_of_minutes_in_an_hour_that_is_skipped_is_not_lost() -> None:
    assert due_on("*/15 2 * * *", "2026-03-29") == ["03:00"]
    assert due_on("*/15 2 * * *", "2026-04-05", LORD_HOWE) == ["02:00", "02:15", "02:30", "02:45"]


def test_midnight_after_the_spring_change_is_not_skipped() -> None:
    assert due("0 0 * * *", "2026-03-28T12:00", 3) == ["03-28T23:00", "03-29T22:00", "03-30T22:00"]


def test_a_moment_that_autumn_repeats_is_due_once() -> None:
    assert due("30 2 * * *", "2026-10-24T12:00", 2) == ["10-25T00:30", "10-26T01:30"]
    assert due_on("*/15 2 * * *", "2026-10-25") == ["02:00", "02:15", "02:30", "02:45"]
    # St John's went from one minute past midnight back to the day before, until 2011.
    assert due_on("0 0 * * *", "2010-11-07", "America/St_Johns") == ["00:00"]
    assert due_on("30 23 * * *", "2010-11-06", "America/St_Johns") == ["23:30"]


@pytest.mark.parametrize("after", ["2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:10", "2026-10-25T01:30"])
def test_it_is_not_due_again_when_asked_inside_the_repeated_hour(after: str) -> None:
    assert due("30 2 * * *", after, 1) == ["10-26T01:30"]


def test_every_quarter_of_an_hour_goes_on_through_both_changes() -> None:
    for day in ("2026-03-28T23:00", "2026-10-24T23:00"):
        moments = slots.next_slots("*/15 * * * *", BERLIN, at(day), 16)
        assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=15)}


def test_an_hour_field_with_a_star_goes_on_by_real_time() -> None:
    assert due("30 * * * *", "2026-03-29T00:00", 3) == ["03-29T00:30", "03-29T01:30", "03-29T02:30"]
    assert due("30 * * * *", "2026-10-25T00:00", 3) == ["10-25T00:30", "10-25T01:30", "10-25T02:30"]
    assert due_on("45 * * * *", "2026-04-05", LORD_HOWE)[:4] == ["00:45", "01:45", "01:45", "02:45"]
    assert due_on("0 */2 * * *", "2026-10-25")[:4] == ["00:00", "02:00", "02:00", "04:00"]


def test_a_skipped_time_that_real_time_does_not_bring_is_made_up_for() -> None:
    assert due_on("0 */2 * * *", "2026-03-29")[:3] == ["00:00", "03:00", "04:00"]
    assert due_on("15 * * * *", "2026-10-04", LORD_HOWE)[:4] == ["00:15", "01:15", "02:30", "03:15"]
    assert due_on("45 * * * *", "2026-10-04", LORD_HOWE)[:4] == ["00:45", "01:45", "02:45", "03:45"]


# ---- spans


def test_a_due_moment_is_strictly_after_and_in_utc() -> None:
    after = datetime(2026, 11, 2, 2, 0, tzinfo=timezone(timedelta(hours=1)))
    (moment,) = slots.next_slots("0 2 * * *", BERLIN, after, 1)
    assert moment == at("2026-11-03T01:00")
    assert moment.tzinfo is UTC


def test_no_moments_are_none() -> None:
    assert due("0 2 * * *", "2026-11-02T00:00", 0) == []


def test_the_end_of_a_span_is_inside_and_its_beginning_is_not() -> None:
    timing = Timing("0 2 * * *", None, "UTC")
    second = timedelta(seconds=1)
    first, last = at("2026-11-01T02:00"), at("2026-11-03T02:00")
    days = [at("2026-11-01T02:00"), at("2026-11-02T02:00"), at("2026-11-03T02:00")]
    assert slots.due(timing, first, last, 9) == days[1:]
    assert slots.due(timing, first - second, last, 9) == days
    assert slots.due(timing, first, last - second, 9) == days[1:2]
    assert slots.due(timing, last, first, 9) == []


def test_a_limit_takes_the_first_or_the_newest() -> None:
    for timing in (Timing("0 * * * *", None, BERLIN), Timing(None, 3600, BERLIN)):
        begin, end = at("2026-11-01T00:00"), at("2026-11-01T05:00")
        hours = [at(f"2026-11-01T0{hour}:00") for hour in (1, 2, 3, 4, 5)]
        assert slots.due(timing, begin, end, 2) == hours[:2]
        assert slots.last_due(timing, begin, end, 2) == (hours[3:], 3)
        assert slots.last_due(timing, begin, end, 5) == (hours, 0)
        assert slots.last_due(timing, begin, end, 0) == ([], 5)
        assert slots.due(timing, begin, end, 0) == []
        assert slots.last_due(timing, end, begin, 2) == ([], 0)


@pytest.mark.parametrize("timing", [Timing("* * * * *", None, BERLIN), Timing(None, 60, BERLIN)])
def test_ten_years_of_every_minute_are_counted_and_not_held(timing: Timing) -> None:
    begin, end = at("2016-01-01T00:00"), at("2026-01-01T00:00")
    newest, older = slots.last_due(timing, begin, end, 3)
    assert newest == [end - timedelta(minutes=2), end - timedelta(minutes=1), end]
    assert older + 3 == (end - begin) // timedelta(minutes=1)

    tracemalloc.start()
    slots.last_due(timing, at("2025-01-01T00:00"), end, 3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000, "half a million moments would be 30 MB"


def test_what_is_due_once_in_many_years_is_found() -> None:
    after = at("2096-03-01T00:00")
    assert slots.next_due(Timing("0 0 29 2 *", None, "UTC"), after) == at("2104-02-29T00:00")
    assert slots.due(Timing("0 0 29 2 *", None, "UTC"), after, at("2104-02-28T00:00"), 1) == []
    assert slots.due(Timing("0 0 29 2 *", None, "UTC"), after, at("2104-02-29T00:00"), 1) == [at("2104-02-29T00:00")]


# ---- intervals


def test_an_interval_is_due_at_its_multiples_since_1970_whoever_asks() -> None:
    quarter = Timing(None, 900, BERLIN)
    moments = [at("2026-03-29T01:00"), at("2026-03-29T01:15")]
    assert slots.due(quarter, at("2026-03-29T00:45"), at("2026-03-29T01:20"), 9) == moments
    assert slots.next_due(quarter, at("2026-03-29T01:00")) == at("2026-03-29T01:15")
    assert slots.next_due(quarter, at("2026-03-29T01:07") + timedelta(microseconds=1)) == at("2026-03-29T01:15")
    assert slots.next_due(Timing(None, 7 * 86_400, "UTC"), at("1970-01-01T00:00")) == at("1970-01-08T00:00")
    tokyo = datetime(2026, 3, 29, 10, tzinfo=timezone(timedelta(hours=9)))
    assert slots.next_due(quarter, tokyo) == at("2026-03-29T01:15")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1m", 60), ("15m", 900), ("90m", 5400), ("10080m", 604_800), ("6h", 21_600), ("1d", 86_400)),
        *(("168h", 604_800), ("7d", 604_800), ("0m", None), ("10081m", None), ("169h", None), ("8d", None)),
        *(("", None), ("15", None), ("30s", None), ("15 m", None), ("15M", None), ("1w", None), ("-1d", None)),
        *(("015m", None), ("1.5h", None), ("1h30m", None), ("١m", None), ("1d\n", None), ("9" * 99 + "m", None)),
    ],
)
def test_an_interval_is_a_whole_number_of_minutes_hours_or_days(text: str, seconds: int | None) -> None:
    assert slots.interval_s(text) == seconds


def test_a_timing_is_told_in_few_words() -> None:
    assert str(Timing("0 2 * * 1-5", None, BERLIN)) == "cron 0 2 * * 1-5"
    assert str(Timing(" 0  2\t* * 1-5 ", None, BERLIN)) == "cron 0 2 * * 1-5"
    told = {60: "1m", 900: "15m", 5400: "90m", 3600: "1h", 86_400: "1d", 604_800: "7d", 90_000: "25h", 45: "45s"}
    assert {every_s: str(Timing(None, every_s, BERLIN)) for every_s in told} == {
        every_s: f"every {text}" for every_s, text in told.items()
    }


def test_a_timing_is_either_cron_or_interval() -> None:
    for cron, every_s in ((None, None), ("0 2 * * *", 900), (None, 0)):
        with pytest.raises(AssertionError):
            Timing(cron, every_s, BERLIN)


# ---- whatever is asked


@cache
def changes(zone: str) -> list[datetime]:
    return clock_changes.changes(zone, at("2009-01-01T00:00"), at("2013-01-01T00:00"))


def _field(most: int, least: int = 0) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    some = st.lists(number.map(str), min_size=1, max_size=4).map(",".join)
    return st.one_of(st.just("*"), st.integers(1, 12).map("*/{}".format), some, span)


CRONS = st.one_of(
    st.tuples(_field(59), _field(3), st.just("*"), st.just("*"), st.just("*")).map(" ".join),
    st.tuples(_field(59), _field(23), _field(28, 1), st.just("*"), _field(7)).map(" ".join),
)


@st.composite
def timings(draw: st.DrawFn) -> Timing:
    zone = draw(st.sampled_from([*CHANGING, *ODD]))
    if draw(st.integers(0, 4)) == 0:
        return Timing(None, draw(st.integers(60, 90_000)), zone)
    return Timing(draw(CRONS), None, zone)


@st.composite
def moments_beside_a_change(draw: st.DrawFn, zone: str) -> datetime:
    """Most are hours from a change, to the microsecond; what is wrong is wrong there."""
    near = draw(st.sampled_from([*changes(zone), at("2010-06-01T00:00")]))
    seconds = draw(st.integers(-36 * 60, 36 * 60)) * 60 + draw(st.sampled_from([0, 0, 1, 59]))
    return near + timedelta(seconds=seconds, microseconds=draw(st.sampled_from([0, 0, 1, 999_999])))


@hypothesis_settings(max_examples=150, deadline=None)
@given(data=st.data(), timing=timings())
def test_a_span_cut_anywhere_loses_nothing_and_doubles_nothing(data: st.DataObject, timing: Timing) -> None:
    middle = data.draw(moments_beside_a_change(timing.zone))
    begin = middle - timedelta(minutes=data.draw(st.integers(0, 2000)))
    end = middle + timedelta(minutes=data.draw(st.integers(0, 2000)))
    whole = slots.due(timing, begin, end, MANY)

    assert whole == sorted(set(whole))
    assert all(begin < moment <= end and moment.tzinfo is UTC for moment in whole)
    assert slots.due(timing, begin, middle, MANY) + slots.due(timing, middle, end, MANY) == whole
    limit = data.draw(st.integers(0, len(whole) + 1))
    assert slots.due(timing, begin, end, limit) == whole[:limit]
    older = max(0, len(whole) - limit)
    assert slots.last_due(timing, begin, end, limit) == (whole[older:], older)
    later = slots.next_due(timing, begin)
    assert [later] == whole[:1] if whole else later is None or later > end
