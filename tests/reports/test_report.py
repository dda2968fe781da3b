"""Grouping and adding up: the total is the sum of the groups is the sum of the rows, each currency for itself."""

import gc
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.ledger import usage
from runner.ledger.usage import UsageRow
from runner.reports.days import Span, asked
from runner.reports.report import KEYS, Report, Sums, build, parse_keys
from tests.reports.conftest import COMMIT, MONTH, POSTERS, TOTAL, Books

ALL_KEYS = [*KEYS, "label:client", "label:season"]


def line(report: Report, *values: str | None) -> Sums:
    found = [line.sums for line in report.lines if line.values == values]
    assert len(found) == 1, report.lines
    return found[0]


def values(report: Report) -> list[tuple[str | None, ...]]:
    return [line.values for line in report.lines]


def test_settled_open_and_unknown_stand_apart(books: Books) -> None:
    report = build(books.rows(), ["recipe"])
    assert line(report, "posters") == Sums(
        attempts=4, settled_count=2, open_count=2, settled_micros=80_000, open_micros=1_400_000
    )
    assert line(report, "scans") == Sums(
        attempts=2, released_count=1, open_count=1, unknown_count=1, open_micros=700_000, unknown_micros=700_000
    )


def test_currencies_are_never_added_together(books: Books) -> None:
    report = build(books.rows(), ["model"])
    assert [(found.values, found.currency) for found in report.lines] == [
        (("stability-upscale-creative",), "EUR"),
        (("stability-upscale-creative",), "USD"),
    ]
    assert {currency: total.settled_micros for currency, total in report.totals.items()} == {
        "EUR": 50_001,
        "USD": 80_000,
    }


def test_days_are_the_local_days_of_the_workspace_at_reservation(books: Books) -> None:
    assert values(build(books.rows(), ["day"])) == [
        ("2026-10-31",),
        ("2026-11-01",),
        ("2026-11-02",),
        ("2026-11-08",),  # EUR: 9 November in UTC, still the 8th in New York
        ("2026-11-08",),
        ("2026-11-09",),
    ]


def test_weeks_are_iso_weeks_and_months_are_local_months(books: Books) -> None:
    assert values(build(books.rows(), ["month", "week"])) == [
        ("2026-10", "2026-W44"),
        ("2026-11", "2026-W44"),  # Sunday, 1 November
        ("2026-11", "2026-W45"),
        ("2026-11", "2026-W45"),
        ("2026-11", "2026-W46"),
    ]


def test_a_commit_with_changed_files_is_not_the_commit(books: Books) -> None:
    assert values(build(books.rows(), ["commit"])) == [(COMMIT,), (f"{COMMIT}-dirty",), (None,)]


def test_a_label_groups_by_its_own_value_and_attempts_without_it_come_last(books: Books) -> None:
    report = build(books.rows(), ["label:client"])
    assert values(report) == [("acme",), ("globex",), (None,)]
    assert line(report, None).attempts == 2
    assert values(build(books.rows(), ["label:season", "label:client"])) == [
        ("autumn", "globex"),
        (None, "acme"),
        (None, None),
    ]


def test_a_cost_centre_or_preset_that_is_not_there_is_none(books: Books) -> None:
    assert values(build(books.rows(), ["cost-centre"])) == [("4711",), ("4711",), (None,)]
    books.sent(POSTERS, "nameless", datetime(2026, 11, 10, 12, tzinfo=UTC), preset_name="")
    assert (None,) in values(build(books.rows(), ["preset"]))


def test_a_label_that_no_attempt_has_is_told(books: Books) -> None:
    assert build(books.rows(), ["label:client", "label:cleint"]).absent == ("label:cleint",)
    assert build([], ["label:cleint"]).absent == ()


def test_no_rows_give_no_lines_and_no_totals() -> None:
    report = build([], ["recipe"])
    assert (report.lines, report.totals) == ((), {})


@pytest.mark.parametrize(
    ("found", "meant"),
    [("mont", "month"), ("recipes", "recipe"), ("cost_centre", "cost-centre"), ("labels:", "label:NAME")],
)
def test_a_misspelled_key_is_refused_with_the_one_that_was_meant(found: str, meant: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_keys(["day", found])
    assert f"`{found}`; did you mean `{meant}`?" in raised.value.message


@pytest.mark.parametrize("found", ["", "label:", "colour"])
def test_an_unknown_key_is_refused_with_the_known_ones(found: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_keys([found])
    assert all(key in f"{raised.value.message} {raised.value.hint}" for key in ("`day`", "`label:NAME`"))


def test_who_asks_for_steps_is_told_what_tells_them_apart() -> None:
    with pytest.raises(UsageError, match="a report cannot be grouped by `step`") as caught:
        parse_keys(["recipe,step"])
    assert (caught.value.hint or "").startswith("the ledger has no steps; `model`, `prompt` or `preset` tells most of")


def test_keys_are_comma_separated_or_repeated_and_each_counts_once() -> None:
    assert parse_keys(["month, recipe", "label:client", "recipe"]) == ("month", "recipe", "label:client")


def row(n: int, state: str, micros: int, **changes: object) -> UsageRow:
    plain: dict[str, object] = {
        "attempt_id": n,
        "run_uid": "run",
        "workspace": "studio",
        "currency": "USD",
        "recipe": "posters",
        "recipe_path": "recipes/posters.toml",
        "git_commit": None,
        "git_dirty": None,
        "slot": None,
        "cost_centre": None,
        "labels": {},
        "who": "ana@desk",
        "model": "m",
        "preset": "photo",
        "prompt": "restore",
        "source_path": "a.png",
        "output_path": "out/a.png",
        "state": state,
        "reserved_micros": micros + 1,
        "billed_micros": micros if state == "settled" else None,
        "code": None,
        "day": "2026-11-22",
        "reserved_at": "2026-11-22T12:00:00.000000Z",
        "ended_at": None,
    }
    return UsageRow(**(plain | changes))  # type: ignore[arg-type]


WORDS = st.sampled_from(["a", "b", "c"])
ROWS = st.builds(
    row,
    st.integers(1, 9),
    st.sampled_from(["reserved", "sent", "unknown", "settled", "released"]),
    st.integers(0, 10**15),
    workspace=WORDS,
    currency=st.sampled_from(["USD", "EUR", "JPY"]),
    recipe=WORDS,
    preset=st.sampled_from(["", "a"]),
    model=WORDS,
    cost_centre=st.none() | WORDS,
    git_commit=st.none() | WORDS,
    git_dirty=st.none() | st.booleans(),
    author=st.none() | WORDS,
    approver=st.none() | WORDS,
    labels=st.dictionaries(st.sampled_from(["client", "season"]), WORDS),
    day=st.dates(max_value=date(9000, 1, 1)).map(lambda day: day.isoformat()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=40), st.lists(st.sampled_from(ALL_KEYS), min_size=1, max_size=4))
def test_the_total_is_the_sum_of_the_groups_is_the_sum_of_the_rows(rows: list[UsageRow], by: list[str]) -> None:
    report = build(rows, by)
    assert set(report.totals) == {row.currency for row in rows}
    for currency, total in report.totals.items():
        mine = [row for row in rows if row.currency == currency]
        groups = [line.sums for line in report.lines if line.currency == currency]
        assert total.attempts == len(mine) == sum(group.attempts for group in groups)
        assert total.attempts == total.settled_count + total.released_count + total.open_count
        billed = sum(row.billed_micros or 0 for row in mine)
        assert total.settled_micros == billed == sum(group.settled_micros for group in groups)
        held = sum(row.reserved_micros for row in mine if row.state in ("reserved", "sent", "unknown"))
        assert total.open_micros == held == sum(group.open_micros for group in groups)
        unknown = [row for row in mine if row.state == "unknown"]
        assert total.unknown_micros == sum(row.reserved_micros for row in unknown)
        assert total.unknown_count == len(unknown) == sum(group.unknown_count for group in groups)
    keys = [(line.values, line.currency) for line in report.lines]
    assert len(keys) == len(set(keys))


def test_rows_are_not_kept() -> None:
    alive: list[int] = []

    def many() -> Iterator[UsageRow]:
        for n in range(2000):
            if n % 500 == 499:
                alive.append(sum(isinstance(found, UsageRow) for found in gc.get_objects()))
            yield row(n, "settled", 1)

    assert build(many(), ["recipe"]).totals["USD"].attempts == 2000
    assert max(alive) < 10


# ---- windows, comparison, waste


@pytest.mark.parametrize(
    ("words", "days", "name"),
    [
        ({"month": "2026-10"}, ("2026-10-01", "2026-10-31"), "2026-10"),
        ({"month": "last"}, ("2026-02-01", "2026-02-28"), "2026-02"),
        ({"month": "this"}, ("2026-03-01", "2026-03-31"), "2026-03"),
        ({"quarter": "2026-Q3"}, ("2026-07-01", "2026-09-30"), "2026-Q3"),
        ({"quarter": "last"}, ("2025-10-01", "2025-12-31"), "2025-Q4"),
        ({"year": "2024"}, ("2024-01-01", "2024-12-31"), "2024"),
    ],
)
def test_a_window_is_short_for_its_days(words: dict[str, str], days: tuple[str, str], name: str) -> None:
    plain: dict[str, str | None] = {"month": None, "quarter": None, "year": None}
    found = asked(None, None, **{**plain, **words}, today=date(2026, 3, 31))  # type: ignore[arg-type]
    assert ((found.first_day, found.last_day), found.name) == (days, name)


@pytest.mark.parametrize("text", ["2026-13", "2026", "2026-1", "20261", "oct", "", "next"])
def test_what_is_no_month_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        asked(None, None, month=text, quarter=None, year=None, today=date(2026, 3, 31))
    assert f"`--month {text}` is not a month" in raised.value.message


def test_days_that_are_said_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="said twice"):
        asked("2026-01-01", None, month="2026-10", quarter=None, year=None, today=date(2026, 3, 31))


@pytest.mark.parametrize(
    ("span", "before"),
    [
        (Span("2026-03-01", "2026-03-31", "2026-03", "month"), ("2026-02-01", "2026-02-28")),
        (Span("2026-01-01", "2026-03-31", "2026-Q1", "quarter"), ("2025-10-01", "2025-12-31")),
        (Span("2024-03-01", "2024-03-07"), ("2024-02-23", "2024-02-29")),
    ],
)
def test_the_window_before_a_window(span: Span, before: tuple[str, str]) -> None:
    found = span.before()
    assert (found.first_day, found.last_day) == before


def test_without_both_days_there_is_no_window_before() -> None:
    with pytest.raises(UsageError, match="no window before"):
        Span("2026-03-01", None).before()


def test_what_brought_no_picture_and_what_was_bought_again_are_parts_of_settled() -> None:
    rows = [
        row(1, "settled", 40),
        row(2, "settled", 41, has_picture=False),
        row(3, "settled", 42, again=True),
        row(4, "settled", 43, again=True, has_picture=False),
    ]
    (found,) = build(rows, ["recipe"]).lines
    sums = found.sums
    assert (sums.unusable_count, sums.unusable_micros) == (2, 84)
    assert (sums.again_count, sums.again_micros) == (1, 42)
    assert (sums.pictures, sums.price_micros, sums.settled_micros) == (2, 83, 166)
    assert build([row(1, "settled", 1, has_picture=False)], ["recipe"]).lines[0].sums.price_micros is None


def test_the_columns_that_are_read_are_the_fields_in_their_order() -> None:
    names = [field.name for field in fields(UsageRow)]
    assert names[-2:] == ["before_state", "corrected_day"]  # only corrections have them
    assert [column.name for column in usage._USAGE.selected_columns] == names[:-2]


def test_the_ledger_says_what_was_bought_again(books: Books) -> None:
    books.settled(replace(POSTERS, uid="again"), "a", datetime(2026, 11, 12, tzinfo=UTC), 40_000, again=True)
    assert [found.attempt_id for found in books.rows() if found.again] == [9]
    assert build(books.rows(), ["model"]).totals["USD"].again_micros == 40_000


@given(
    st.lists(ROWS), st.lists(ROWS), st.sampled_from([None, 1, 2, 5]), st.lists(st.sampled_from(ALL_KEYS), min_size=1)
)
def test_nothing_is_lost_by_comparing_or_by_showing_only_the_dearest(
    rows: list[UsageRow], before: list[UsageRow], top: int | None, by: list[str]
) -> None:
    report = build(rows, by, before=before, top=top, before_span="before")
    for currency in {one.currency for one in [*rows, *before]}:
        total = report.total(currency)
        assert total.before is not None
        for sums, source in ((total.sums, rows), (total.before, before)):
            mine = [one for one in source if one.currency == currency]
            assert sums.attempts == len(mine)
            assert sums.settled_micros == sum(one.billed_micros or 0 for one in mine)
            assert sums.open_micros == sum(one.open_micros for one in mine)
        if top is not None:
            assert sum(found.currency == currency for found in report.lines) <= top + 1


def test_the_budgets_of_a_window_are_those_within_it(books: Books) -> None:
    books.settled(POSTERS, "x", datetime(2026, 11, 12, tzinfo=UTC), 40_000, caps=(MONTH, TOTAL))
    (found,) = usage.spent(books.database, workspace=None, first_day="2026-11-01", last_day="2026-11-30")
    assert (found.period, found.label, found.settled_micros) == ("month", "2026-11", 81_000)
    assert usage.spent(books.database, workspace="lab", first_day="2026-01-01", last_day="2026-12-31") == []
    assert usage.spent(books.database, workspace=None, first_day="2026-11-02", last_day="2026-11-30") == []
