"""Grouping and adding up: the total is the sum of the groups is the sum of the rows, each currency for itself."""

import gc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.ledger.usage import UsageRow
from runner.reports.report import KEYS, Report, Sums, build, parse_keys
from tests.reports.conftest import COMMIT, POSTERS, Books

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
    labels=st.dictionaries(st.sampled_from(["client", "season"]), WORDS),
    day=st.dates().map(lambda day: day.isoformat()),
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
