"""Slots, pictures and budgets add up to where each budget ends: as if one bought picture after picture. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import forecast, slots, windows
from runner.errors import UsageError
from runner.forecast import SLOTS_MAX, Forecast, Gain, Grant, Line, Projection, Room
from runner.plan import Price
from runner.slots import Timing

BERLIN = "Europe/Berlin"
PRICE = Price(declared_micros=700_000, highest_micros=41_000, median_micros=39_000)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def daily(count: int, first: str = "2026-11-23T01:00") -> list[datetime]:
    return [at(first) + n * DAY for n in range(count)]


def line(recipe: str = "posters", **changes: object) -> Line:
    return replace(Line(recipe, daily(5), 0, Fraction(0), PRICE), **changes)


def ahead(lines: Sequence[Line], rooms: Sequence[Room], **changes: object) -> Forecast:
    plain = {"workspace": "studio", "zone": BERLIN, "at": NOON, "until": at("2026-11-30T23:00")}
    return forecast.look_ahead(lines, rooms, **(plain | changes))


def fits(found: Forecast) -> list[tuple[int, int]]:
    """Of each slot: pictures wanted and pictures that fit."""
    return [(slot.wanted, slot.fitting) for slot in found.slots]


def month(cap: int, **changes: object) -> Room:
    return replace(Room("month", cap), **changes)


# ---- one recipe, one budget


def test_what_waits_is_bought_at_the_first_slot_and_nothing_after_it() -> None:
    found = ahead([line(waiting=3)], [month(2_000_000)])
    assert fits(found) == [(3, 3), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert [slot.expected_micros for slot in found.slots] == [117_000, 0, 0, 0, 0]
    (total,) = found.totals
    assert (total.slots, total.bought, total.left, total.expected_micros, total.refused) == (5, 3, 0, 117_000, None)
    assert (found.expected_micros, found.refused) == (117_000, None)


@pytest.mark.parametrize(("cap", "fitting"), [(700_000 + 2 * 39_000, 3), (700_000 + 2 * 39_000 - 1, 2)])
def test_a_cap_that_fits_exactly_takes_all_and_one_by_a_micro_unit_less_refuses_the_last(
    cap: int, fitting: int
) -> None:
    found = ahead([line(waiting=3, due=daily(1))], [month(cap)])
    assert fits(found) == [(3, fitting)]
    (window,) = found.windows
    assert window.projected_micros == fitting * 39_000
    if fitting == 3:
        assert (window.refuses, found.refused, found.totals[0].left) == (None, None, 0)
    else:
        assert window.refuses == found.refused == found.totals[0].refused == found.slots[0]
        assert found.slots[0].refused_by == "month 2026-11 Europe/Berlin of workspace studio"
        assert found.totals[0].left == 1


def test_what_did_not_fit_waits_for_the_next_slot_and_the_window_names_the_first_that_it_refused() -> None:
    caps = [Room("day", 700_000 + 39_000)]
    found = ahead([line(waiting=5)], caps)
    assert fits(found) == [(5, 2), (3, 2), (1, 1), (0, 0), (0, 0)]
    refusing = [window.label for window in found.windows if window.refuses]
    assert refusing == ["2026-11-23", "2026-11-24"]
    assert found.totals[0].left == 0


def test_what_is_used_already_counts_in_the_window_that_holds_the_moment_and_in_no_later_one() -> None:
    december = line(waiting=2, due=[at("2026-11-30T22:59"), at("2026-11-30T23:00")])
    rooms = [month(1_000_000, used_micros=990_000, used_by={"scans": 990_000})]
    found = ahead([december], rooms, until=at("2026-12-31T23:00"))
    assert fits(found) == [(2, 0), (2, 2)]
    november, december_window = found.windows
    assert (november.label, november.now_micros, november.projected_micros) == ("2026-11", 990_000, 990_000)
    assert november.refuses == found.slots[0]
    assert november.most_by == ("scans", 990_000)
    assert (december_window.label, december_window.now_micros, december_window.projected_micros) == (
        "2026-12",
        0,
        78_000,
    )
    assert december_window.ends_at == at("2026-12-31T23:00")
    assert december_window.refuses is None


def test_a_window_that_carries_over_the_month_keeps_what_it_has() -> None:
    both = line(waiting=1, gained_per_day=Fraction(1), due=[at("2026-11-30T22:00"), at("2026-12-01T12:00")])
    found = ahead([both], [Room("week", 9_000_000, used_micros=5)], until=at("2026-12-31T23:00"))
    of = {window.label: window for window in found.windows}
    # 30 November and 1 December 2026 are Monday and Tuesday of one week.
    assert of["2026-W49"].projected_micros == sum(slot.expected_micros for slot in found.slots)
    assert (of["2026-W47"].now_micros, of["2026-W47"].projected_micros) == (5, 5)


def test_a_window_over_its_cap_refuses_everything() -> None:
    found = ahead([line(waiting=1, due=daily(1))], [month(1_000_000, used_micros=1_300_000)])
    assert fits(found) == [(1, 0)]


def test_pictures_that_cost_nothing_need_the_ceiling_free_and_take_nothing() -> None:
    free = replace(PRICE, median_micros=0)
    assert fits(ahead([line(waiting=9, due=daily(1), price=free)], [month(700_000)])) == [(9, 9)]
    assert fits(ahead([line(waiting=9, due=daily(1), price=free)], [month(699_999)])) == [(9, 0)]


def test_without_a_budget_everything_fits() -> None:
    found = ahead([line(waiting=1000)], [])
    assert fits(found)[0] == (1000, 1000)
    assert found.windows == []


# ---- which slots count


def test_only_slots_after_the_moment_and_before_the_end_count() -> None:
    end = at("2026-11-30T23:00")
    found = ahead([line(due=[NOON, NOON + timedelta(microseconds=1), end - timedelta(microseconds=1), end])], [])
    assert [slot.at for slot in found.slots] == [NOON + timedelta(microseconds=1), end - timedelta(microseconds=1)]


def test_a_recipe_without_a_slot_spends_nothing_and_keeps_what_waits() -> None:
    found = ahead([line(due=[], waiting=4)], [month(5_000_000)])
    assert found.slots == []
    assert (found.totals[0].slots, found.totals[0].bought, found.totals[0].left) == (0, 0, 4)
    assert [(window.label, window.projected_micros) for window in found.windows] == [("2026-11", 0)]


def test_as_many_slots_as_can_be_walked_are_walked_and_one_more_is_refused() -> None:
    until = NOON + timedelta(minutes=SLOTS_MAX + 10)
    due = [NOON + timedelta(minutes=n + 1) for n in range(SLOTS_MAX)]
    assert len(ahead([line(due=due)], [month(1_000_000)], until=until).slots) == SLOTS_MAX
    with pytest.raises(UsageError, match=f"workspace studio have more than {SLOTS_MAX} slots"):
        ahead([line(due=due), line("scans", due=due[:1])], [], until=until)


# ---- pictures gained


def test_a_fraction_of_a_picture_is_carried_until_it_is_a_whole_one() -> None:
    # Half a picture a day, exactly 24 hours apart: every second slot finds one.
    due = [NOON + n * DAY for n in range(1, 7)]
    assert fits(ahead([line(due=due, gained_per_day=Fraction(1, 2))], [])) == [
        (0, 0),
        (1, 1),
        (0, 0),
        (1, 1),
        (0, 0),
        (1, 1),
    ]


def test_thirds_add_up_to_a_whole_picture_at_its_very_moment_and_not_a_microsecond_sooner() -> None:
    third = NOON + 3 * DAY
    gained = Fraction(1, 3)
    assert fits(ahead([line(due=[third], gained_per_day=gained)], [])) == [(1, 1)]
    assert fits(ahead([line(due=[third - timedelta(microseconds=1)], gained_per_day=gained)], [])) == [(0, 0)]


def test_a_gain_is_by_real_time_on_a_day_of_25_hours() -> None:
    before, after = at("2026-10-24T22:00"), at("2026-10-25T23:00")
    found = ahead([line(due=[after], gained_per_day=Fraction(24))], [], at=before, until=after + DAY)
    assert fits(found) == [(25, 25)]


def test_what_history_tells_is_pictures_by_days_and_nothing_when_there_was_no_day() -> None:
    assert Gain(14, 28).per_day == Fraction(1, 2)
    assert Gain(1, 3).per_day == Fraction(1, 3)
    assert Gain(0, 0).per_day == 0


# ---- the calendar


@pytest.mark.parametrize(
    ("zone", "after", "last", "next_"),
    [
        # The month of the spring change, with the hour that it skips; and of the autumn change.
        ("Europe/Berlin", "2026-03-01T00:00", "2026-03-31T21:59", "2026-03-31T22:00"),
        ("Europe/Berlin", "2026-10-05T00:00", "2026-10-31T22:59", "2026-10-31T23:00"),
        ("America/New_York", "2026-11-05T00:00", "2026-12-01T04:59", "2026-12-01T05:00"),
        ("Australia/Lord_Howe", "2026-10-05T00:00", "2026-10-31T12:59", "2026-10-31T13:00"),
        ("Asia/Tokyo", "2026-11-05T00:00", "2026-11-30T14:59", "2026-11-30T15:00"),
    ],
)
def test_the_month_turns_at_the_local_midnight(zone: str, after: str, last: str, next_: str) -> None:
    due = [at(last), at(next_)]
    found = ahead([line(waiting=2, due=due)], [month(700_000)], zone=zone, at=at(after), until=at(next_) + DAY)
    assert fits(found) == [(2, 1), (1, 1)]
    first, second = found.windows
    assert (first.ends_at, first.projected_micros) == (at(next_), 39_000)
    assert second.projected_micros == 39_000


def test_a_daily_slot_over_both_clock_changes_falls_into_one_day_each() -> None:
    for month_, days in ((3, 31), (10, 31)):
        start = datetime(2026, month_, 1, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC) - timedelta(seconds=1)
        window = windows.window("month", date(2026, month_, 1), BERLIN)
        assert window.ends_at is not None
        until = window.ends_at
        due = slots.due(Timing("30 2 * * *", None, BERLIN), start, until, 1000)
        rooms = [Room("day", 700_000)]
        found = ahead([line(due=due, waiting=1000)], rooms, at=start + timedelta(seconds=1), until=until)
        assert [slot.fitting for slot in found.slots] == [1] * days
        assert [window.projected_micros for window in found.windows] == [39_000] * days


def test_windows_of_every_length_are_kept_side_by_side() -> None:
    rooms = [Room(period, 2_000_000) for period in windows.PERIODS]
    found = ahead(
        [line(waiting=1, due=[at("2026-12-31T22:00"), at("2027-01-01T12:00")])], rooms, until=at("2027-01-02")
    )
    assert [(window.period, window.label) for window in found.windows] == [
        ("day", "2026-11-22"),
        ("day", "2026-12-31"),
        ("day", "2027-01-01"),
        ("day", "2027-01-02"),
        ("week", "2026-W47"),
        ("week", "2026-W53"),
        ("month", "2026-11"),
        ("month", "2026-12"),
        ("month", "2027-01"),
        ("quarter", "2026-Q4"),
        ("quarter", "2027-Q1"),
        ("year", "2026"),
        ("year", "2027"),
        ("total", "all"),
    ]
    assert found.windows[-1].ends_at is None


# ---- several recipes and several budgets


def test_recipes_share_the_workspace_and_the_one_that_spends_most_is_named() -> None:
    posters = line("posters", waiting=1, due=daily(1, "2026-11-23T03:00"))
    scans = line("scans", waiting=10, due=daily(1, "2026-11-23T01:00"))
    found = ahead([posters, scans], [month(700_000 + 10 * 39_000 - 1)])
    assert [(slot.recipe, slot.wanted, slot.fitting) for slot in found.slots] == [("scans", 10, 10), ("posters", 1, 0)]
    (window,) = found.windows
    assert window.refuses is not None
    assert window.refuses.recipe == "posters"
    assert window.most_by == ("scans", 390_000)
    assert [(total.recipe, total.bought) for total in found.totals] == [("posters", 0), ("scans", 10)]


def test_slots_of_one_moment_are_in_the_order_of_the_names_of_their_recipes() -> None:
    found = ahead([line("b", waiting=1, due=daily(1)), line("a", waiting=1, due=daily(1))], [month(700_000)])
    assert [(slot.recipe, slot.fitting) for slot in found.slots] == [("a", 1), ("b", 0)]


def test_a_recipes_own_budget_holds_only_its_own_pictures() -> None:
    lines = [line("a", waiting=9, due=daily(1)), line("b", waiting=3, due=daily(1))]
    found = ahead(lines, [month(9_000_000), month(739_000, recipe="a")])
    assert fits(found) == [(9, 2), (3, 3)]
    assert found.slots[0].refused_by == "month 2026-11 Europe/Berlin of recipe a"
    assert [(window.recipe, window.projected_micros) for window in found.windows] == [(None, 195_000), ("a", 78_000)]
    assert [window.refuses is None for window in found.windows] == [True, False]


def test_the_budget_of_a_run_is_whole_again_at_every_slot() -> None:
    found = ahead([line(waiting=5)], [month(9_000_000), Room("run", 700_000 + 39_000, recipe="posters")])
    assert fits(found) == [(5, 2), (3, 2), (1, 1), (0, 0), (0, 0)]
    run = found.windows[1]
    assert (run.budget, run.label, run.ends_at, run.now_micros) == ("each run of recipe posters", None, None, 0)
    assert run.projected_micros == 78_000
    assert run.refuses == found.slots[0]
    assert run.most_by is None


def test_of_budgets_that_refuse_together_the_first_is_named_and_each_has_the_slot() -> None:
    rooms = [Room("day", 800_000), month(739_000), Room("total", 739_038), month(739_000, recipe="posters")]
    (slot,) = ahead([line(waiting=9, due=daily(1))], rooms).slots
    assert (slot.fitting, slot.refused_by) == (2, "month 2026-11 Europe/Berlin of workspace studio")
    found = ahead([line(waiting=9, due=daily(1))], rooms)
    assert {(window.period, window.recipe) for window in found.windows if window.refuses} == {
        ("month", None),
        ("total", None),
        ("month", "posters"),
    }


# ---- grants


def test_a_grant_raises_its_own_window_and_no_other() -> None:
    grant = Grant("month", "2026-11", 39_000)
    lines = [line(waiting=3, due=[at("2026-11-30T22:00"), at("2026-11-30T23:00")])]
    rooms = [month(700_000), month(9_000_000, recipe="posters")]
    found = ahead(lines, rooms, grants=[grant, replace(grant, period="week")], until=at("2026-12-31T23:00"))
    assert fits(found) == [(3, 2), (1, 1)]
    assert [window.cap_micros for window in found.windows] == [739_000, 700_000, 9_000_000, 9_000_000]


def test_a_grant_is_over_at_its_very_moment() -> None:
    one = line(waiting=1, due=daily(1))
    (due_at,) = one.due
    rooms = [month(699_999)]
    for until, fitting in ((None, 1), (due_at + timedelta(microseconds=1), 1), (due_at, 0)):
        assert fits(ahead([one], rooms, grants=[Grant("month", "2026-11", 1, until)])) == [(1, fitting)]


# ---- against buying one picture after another


Key = tuple[int, str]


def label(period: str, moment: datetime, zone: str) -> str:
    """The window of a moment, by a way of its own."""
    day = moment.astimezone(ZoneInfo(zone))
    quarter = f"{day:%Y}-Q{(day.month - 1) // 3 + 1}"
    names = {"day": f"{day:%Y-%m-%d}", "week": f"{day:%G-W%V}", "month": f"{day:%Y-%m}", "year": f"{day:%Y}"}
    return (names | {"quarter": quarter, "total": "all", "run": moment.isoformat()})[period]


def one_by_one(
    lines: Sequence[Line], rooms: Sequence[Room], zone: str, until: datetime
) -> tuple[list[tuple[str, datetime, int, int, int | None]], dict[Key, int], dict[Key, tuple[str, datetime]]]:
    """What a patient clerk does with a book of windows: slots, what is in each window, and its first refusal."""
    used: dict[Key, int] = {(n, label(r.period, NOON, zone)): r.used_micros for n, r in enumerate(rooms)}
    refused: dict[Key, tuple[str, datetime]] = {}
    bought = dict.fromkeys((one.recipe for one in lines), 0)
    said = []
    for moment, recipe in sorted({(moment, one.recipe) for one in lines for moment in one.due if moment < until}):
        (one,) = (one for one in lines if one.recipe == recipe)
        micros = (moment - NOON) // timedelta(microseconds=1)
        there = one.waiting + (micros * one.gained_per_day.numerator) // (
            one.gained_per_day.denominator * 86_400_000_000
        )
        wanted, fitting, by = there - bought[recipe], 0, None
        held = [(n, label(room.period, moment, zone)) for n, room in enumerate(rooms) if room.recipe in (None, recipe)]
        while fitting < wanted:
            full = [key for key in held if used.get(key, 0) + one.price.ceiling_micros > rooms[key[0]].cap_micros]
            for key in full:
                refused.setdefault(key, (recipe, moment))
            if full:
                by = full[0][0]
                break
            for key in held:
                used[key] = used.get(key, 0) + one.price.expected_micros
            fitting += 1
        bought[recipe] += fitting
        said.append((recipe, moment, wanted, fitting, by))
    return said, used, refused


micros = st.integers(0, 3_000)
prices = st.builds(
    lambda declared, seen: Price(declared, max(seen), sorted(seen)[len(seen) // 2]),
    st.integers(1, 900),
    st.lists(st.integers(0, 900), min_size=1, max_size=3),
)
moments = st.lists(
    st.integers(1, 60 * 24 * 50).map(lambda minutes: NOON + timedelta(minutes=minutes)), max_size=8, unique=True
).map(sorted)
gained = st.fractions(min_value=0, max_value=3, max_denominator=30)


@st.composite
def projects(draw: st.DrawFn) -> tuple[list[Line], list[Room]]:
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    lines = [Line(name, draw(moments), draw(st.integers(0, 12)), draw(gained), draw(prices)) for name in names]
    rooms = [
        Room(period, draw(micros), used_micros=draw(micros))
        for period in draw(st.lists(st.sampled_from(windows.PERIODS), unique=True))
    ]
    for name in names:
        periods = draw(st.lists(st.sampled_from([*windows.PERIODS, "run"]), unique=True, max_size=3))
        rooms += [
            Room(period, draw(micros), name, used_micros=0 if period == "run" else draw(micros)) for period in periods
        ]
    return lines, rooms


@given(projects(), st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo", "UTC"]))
def test_a_forecast_is_what_buying_picture_after_picture_comes_to(
    project: tuple[list[Line], list[Room]], zone: str
) -> None:
    lines, rooms = project
    until = NOON + 45 * DAY
    found = ahead(lines, rooms, zone=zone, until=until)
    said, used, refused = one_by_one(lines, rooms, zone, until)
    assert [(slot.recipe, slot.at, slot.wanted, slot.fitting) for slot in found.slots] == [one[:4] for one in said]
    windows_ = {(_room_of(window, rooms), window.label): window for window in found.windows}
    for slot, (*_, by) in zip(found.slots, said, strict=True):
        assert slot.expected_micros == slot.fitting * next(
            one.price.expected_micros or 0 for one in lines if one.recipe == slot.recipe
        )
        named = None if by is None else _title(rooms[by], slot.at, zone)
        assert slot.refused_by == named
    for (n, name), window in windows_.items():
        # A run's book has a page of its own for each slot.
        pages = [page for page in used.keys() | refused.keys() if page[0] == n and name in (None, page[1])]
        assert window.projected_micros == max((used.get(page, 0) for page in pages), default=0)
        first = min((refused[page] for page in pages if page in refused), key=lambda one: one[1], default=None)
        assert (window.refuses and (window.refuses.recipe, window.refuses.at)) == first
    missing = {key for key in used if rooms[key[0]].period != "run"} - windows_.keys()
    assert missing == set()


def _room_of(window: Projection, rooms: Sequence[Room]) -> int:
    (n,) = (n for n, room in enumerate(rooms) if (room.period, room.recipe) == (window.period, window.recipe))
    return n


def _title(room: Room, moment: datetime, zone: str) -> str:
    if room.period == "run":
        return f"each run of recipe {room.recipe}"
    owner = "workspace studio" if room.recipe is None else f"recipe {room.recipe}"
    named = "total" if room.period == "total" else f"{room.period} {label(room.period, moment, zone)} {zone}"
    return f"{named} of {owner}"
