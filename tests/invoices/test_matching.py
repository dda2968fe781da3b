"""Attempts × lines: every difference that is put in is found and named, and none is invented."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.invoices import matching
from runner.invoices.matching import Matching, Ours, Proof, Row, Terms, Theirs
from runner.invoices.pairing import pairs

MODEL = "stability-upscale-creative"
SECOND = 1_000_000
MINUTE = 60 * SECOND
PRICE = 39_000
TERMS = Terms(within=2 * MINUTE, invoice="omixa", first=0, last=100_000 * SECOND)


def ours(number: int, at: int, micros: int = PRICE, *, took: int = 3, state: str = "settled", **more: Any) -> Ours:
    """An attempt sent at a second, answered `took` seconds later."""
    plain: dict[str, Any] = {"request_id": f"r-{number}", "model": MODEL, "proof": None}
    return Ours(number, state, micros, first=at * SECOND, last=(at + took) * SECOND, **{**plain, **more})


def theirs(number: int, at: int, micros: int = PRICE, *, id: str | None = None, **more: Any) -> Theirs:  # noqa: A002
    """A line of the file, dated at a second."""
    said = {"model": None, "key": f"{id}/{at}/{micros}/{number}", **more}
    return Theirs(number, micros, at * SECOND, id, **said)


def line_of(one: Ours, number: int, *, by_id: bool, skew: int = 0) -> Theirs:
    """The line that the provider would bill an attempt with."""
    at = one.last // SECOND + skew
    return theirs(number, at, one.micros, id=one.request_id if by_id else None, key=f"line of {one.attempt_id}")


def told(found: Matching) -> list[tuple[str, int | None, int | None]]:
    """Verdict, attempt and line of each row that does not simply match."""
    return [
        (
            row.verdict,
            None if row.ours is None else row.ours.attempt_id,
            None if row.theirs is None else row.theirs.number,
        )
        for row in found.rows
        if row.verdict != "matched"
    ]


def check_sums(mine: list[Ours], lines: list[Theirs], found: Matching) -> None:
    """Nothing is in two rows, no line is lost, and the rows make the difference of the totals."""
    attempts = [row.ours.attempt_id for row in found.rows if row.ours is not None]
    numbers = [row.theirs.number for row in found.rows if row.theirs is not None]
    assert len(attempts) == len(set(attempts))
    assert sorted([*numbers, *(line.number for line in found.outside)]) == sorted(line.number for line in lines)
    settled = sum(row.ours.settled_micros for row in found.rows if row.ours is not None)
    billed = sum(row.theirs.micros for row in found.rows if row.theirs is not None)
    assert settled - billed == sum(row.difference_micros for row in found.rows)
    assert billed + sum(line.micros for line in found.outside) == sum(line.micros for line in lines)
    assert {row.ours for row in found.rows if row.ours is not None} <= set(mine)


# ---- whole months: what is put in is found


@st.composite
def months(draw: st.DrawFn) -> tuple[list[Ours], list[Theirs], list[tuple[str, int | None, int | None]], bool]:
    """A month of attempts, its invoice with seeded differences, and what must be found."""
    count = draw(st.integers(5, 40))
    gaps = draw(st.lists(st.integers(1, 400), min_size=count, max_size=count))
    by_id = draw(st.booleans())
    mine, at = [], 1000
    for number, gap in enumerate(gaps, start=1):
        # By time alone two requests of the same second cannot be told apart; by id they can.
        at += gap if by_id else gap + 8
        mine.append(ours(number, at, draw(st.sampled_from([PRICE, 41_000])), took=draw(st.integers(0, 3))))
    lines = [line_of(one, number, by_id=by_id, skew=draw(st.integers(-1, 1))) for number, one in enumerate(mine, 2)]
    expected: list[tuple[str, int | None, int | None]] = []
    seeds = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=4))
    for kind, where in zip(draw(st.permutations(["lost", "dearer", "stranger", "twice"])), seeds, strict=False):
        one, line = mine[where], lines[where]
        if kind == "lost":
            lines[where] = replace(line, micros=0, number=-1)
            expected.append(("only-ours", one.attempt_id, None))
        elif kind == "dearer" and by_id:
            lines[where] = replace(line, micros=line.micros + 1)
            expected.append(("differs", one.attempt_id, line.number))
        elif kind == "stranger":
            lines.append(theirs(1000, 50_000, PRICE, id="nobody" if by_id else None))
            expected.append(("only-theirs", None, 1000))
        elif kind == "twice" and by_id:
            lines.append(replace(line, number=1001, at=line.at + SECOND, key="again"))
            expected.append(("duplicate", None, 1001))
    return mine, [line for line in lines if line.number > 0], expected, by_id


@settings(max_examples=300, deadline=None)
@given(months(), st.randoms(use_true_random=False))
def test_every_seeded_difference_is_found_and_none_invented(month: Any, dice: random.Random) -> None:
    mine, lines, expected, _ = month
    found = matching.match(mine, lines, TERMS)
    assert sorted(told(found), key=str) == sorted(expected, key=str)
    check_sums(mine, lines, found)
    # The order of what is compared changes nothing.
    dice.shuffle(mine)
    dice.shuffle(lines)
    assert matching.match(mine, lines, TERMS) == found


@st.composite
def anything(draw: st.DrawFn) -> tuple[list[Ours], list[Theirs], Terms]:
    """Attempts in any state and lines of any kind, close together."""
    moments = st.integers(0, 400)
    ids = st.sampled_from([None, *(f"r-{number}" for number in range(8))])
    amounts = st.sampled_from([PRICE, 41_000, 700_000])
    models = st.sampled_from([MODEL, "other"])
    states = st.sampled_from(["settled", "settled", "settled", "unknown", "released", "sent"])
    mine = [
        ours(n, draw(moments), draw(amounts), took=draw(st.integers(0, 60)), state=draw(states), model=draw(models),
             request_id=draw(ids))
        for n in range(1, draw(st.integers(0, 12)) + 1)
    ]  # fmt: skip
    lines = [
        theirs(n, draw(moments), draw(st.sampled_from([PRICE, 41_000, -PRICE, 0])), id=draw(ids),
               model=draw(st.sampled_from([None, MODEL, "other"])))
        for n in range(2, draw(st.integers(0, 12)) + 2)
    ]  # fmt: skip
    terms = draw(st.sampled_from([TERMS, replace(TERMS, first=100 * SECOND, last=300 * SECOND, complete=True)]))
    return mine, lines, draw(st.sampled_from([terms, replace(terms, first=None, last=None, within=MINUTE)]))


@settings(max_examples=500, deadline=None)
@given(anything(), st.randoms(use_true_random=False))
def test_whatever_is_compared_the_rows_make_the_difference_of_the_totals(case: Any, dice: random.Random) -> None:
    mine, lines, terms = case
    found = matching.match(mine, lines, terms)
    check_sums(mine, lines, found)
    dice.shuffle(mine)
    dice.shuffle(lines)
    assert matching.match(mine, lines, terms) == found


@settings(max_examples=500, deadline=None)
@given(anything())
def test_what_is_recorded_changes_no_verdict(case: Any) -> None:
    """As `--apply` leaves it: what agreed is proved, what was proved is settled or released."""
    mine, lines, terms = case
    found = matching.match(mine, lines, terms)
    kept = {one.attempt_id: one for one in mine}
    for row in found.rows:
        if row.ours is None or row.verdict in ("unproven", "under-way", "edge"):
            continue
        line = row.theirs
        micros, key = (None, None) if line is None else (line.micros, line.key)
        agreed = row.verdict in ("matched", "billed", "not-billed")
        proof = Proof(row.verdict, agreed, micros, key, terms.invoice, "october.csv", None if line is None else 1)
        after = {"billed": "settled", "not-billed": "released"}.get(row.verdict, row.ours.state)
        paid = row.theirs.micros if row.verdict == "billed" and row.theirs is not None else row.ours.micros
        kept[row.ours.attempt_id] = replace(row.ours, state=after, micros=paid, proof=proof)
    again = matching.match(list(kept.values()), lines, terms)
    before = [
        ("matched" if row.verdict == "billed" else row.verdict, row.ours and row.ours.attempt_id, row.theirs)
        for row in found.rows
        if row.verdict != "not-billed"
    ]
    assert [(row.verdict, row.ours and row.ours.attempt_id, row.theirs) for row in again.rows] == before


# ---- the most pairs, and the nearest


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=7),
    st.lists(st.integers(0, 60), max_size=7),
    st.integers(0, 10),
)
def test_nothing_that_fits_is_left_over(spans: list[tuple[int, int]], moments: list[int], within: int) -> None:
    mine = [ours(n, at, took=took) for n, (at, took) in enumerate(spans, start=1)]
    lines = [theirs(n, at) for n, at in enumerate(moments)]
    found = pairs(mine, lines, within * SECOND)

    def fits(one: Ours, line: Theirs) -> bool:
        return one.first - within * SECOND <= line.at <= one.last + within * SECOND

    assert all(fits(one, line) for one, line in found)
    taken, used = {one.attempt_id for one, _ in found}, {line.number for _, line in found}
    assert len(taken) == len(used) == len(found)
    assert not any(
        fits(one, line) for one in mine for line in lines if {one.attempt_id} - taken and {line.number} - used
    )


def test_as_many_pairs_as_there_can_be_where_the_nearest_leave_one_over() -> None:
    mine = [ours(1, 100, took=0), ours(2, 250, took=0)]
    lines = [theirs(1, 0), theirs(2, 190)]
    # 190 is nearer to the second, and would leave the first line and nothing that it could be.
    assert {(one.attempt_id, line.number) for one, line in pairs(mine, lines, 100 * SECOND)} == {(1, 1), (2, 2)}
    closer = [ours(1, 100, took=0), ours(2, 240, took=0)]
    late = [theirs(1, 110), theirs(2, 170)]
    assert {(one.attempt_id, line.number) for one, line in pairs(closer, late, 100 * SECOND)} == {(1, 1), (2, 2)}


def test_a_lost_line_and_one_too_many_hours_later_are_two_differences() -> None:
    mine = [ours(n, 1000 + 10 * n, took=1) for n in range(1, 1001)]
    lines = [line_of(one, n, by_id=False) for n, one in enumerate(mine, 2) if one.attempt_id != 100]
    lines.append(replace(lines[800], number=5000, key="again"))
    assert sorted(told(matching.match(mine, lines, TERMS)), key=str) == [
        ("only-ours", 100, None),
        ("only-theirs", None, 5000),
    ]


def test_of_a_thousand_alike_the_one_without_a_line_is_named() -> None:
    """One a second, all of one amount, all within two minutes of the next: only nearness tells which is missing."""
    mine = [ours(n, 1000 + n, took=0) for n in range(1, 1001)]
    lines = [line_of(one, n, by_id=False) for n, one in enumerate(mine, 2) if one.attempt_id != 417]
    assert told(matching.match(mine, lines, TERMS)) == [("only-ours", 417, None)]


# ---- ids


def test_an_id_counts_more_than_time_and_amount() -> None:
    mine = [ours(1, 1000), ours(2, 1010)]
    lines = [theirs(2, 1003, id="r-2"), theirs(3, 90_000, id="r-1")]
    found = matching.match(mine, lines, TERMS)
    assert [(row.ours and row.ours.attempt_id, row.theirs and row.theirs.number) for row in found.rows] == [
        (2, 2),
        (1, 3),
    ]
    assert {row.evidence for row in found.rows} == {"id"}


def test_two_ids_that_differ_are_two_requests_where_ids_tell() -> None:
    mine = [ours(1, 1000), ours(2, 1010)]
    lines = [theirs(2, 1003, id="r-1"), theirs(3, 1010, id="r-9")]
    assert told(matching.match(mine, lines, TERMS)) == [("only-theirs", None, 3), ("only-ours", 2, None)]


def test_ids_of_another_kind_tell_nothing() -> None:
    mine = [ours(1, 1000), ours(2, 1010)]
    lines = [theirs(2, 1000, id="inv-1"), theirs(3, 1010, id="inv-2")]
    found = matching.match(mine, lines, TERMS)
    assert told(found) == []
    assert not found.by_id


def test_an_id_that_several_attempts_have_tells_none_of_them() -> None:
    mine = [ours(1, 1000, request_id="same"), ours(2, 2000, request_id="same")]
    lines = [theirs(2, 1000, id="same"), theirs(3, 2000, id="same")]
    found = matching.match(mine, lines, TERMS)
    assert [(row.verdict, row.evidence) for row in found.rows] == [("matched", "time"), ("matched", "time")]


def test_a_line_that_stands_twice_is_billed_twice_and_the_other_amount_is_the_extra_one() -> None:
    lines = [theirs(2, 1001, 50_000, id="r-1"), theirs(3, 1003, id="r-1")]
    assert told(matching.match([ours(1, 1000)], lines, TERMS)) == [("duplicate", None, 2)]


# ---- amounts


def test_another_amount_at_the_same_time_and_model_is_named_as_such() -> None:
    found = matching.match([ours(1, 1000)], [theirs(2, 1002, 45_000)], TERMS)
    assert told(found) == [("differs", 1, 2)]
    assert found.rows[0].difference_micros == -6_000
    other = [theirs(2, 1002, 45_000, model="another")]
    assert told(matching.match([ours(1, 1000)], other, TERMS)) == [("only-theirs", None, 2), ("only-ours", 1, None)]


def test_a_credit_is_matched_with_nothing() -> None:
    lines = [theirs(2, 1002, id="r-1"), theirs(3, 1002, -PRICE, id="r-1")]
    found = matching.match([ours(1, 1000)], lines, TERMS)
    assert told(found) == [("credit", None, 3)]
    assert sum(row.difference_micros for row in found.rows) == PRICE


def test_what_was_released_and_billed_is_told() -> None:
    released = ours(1, 1000, 700_000, state="released")
    assert told(matching.match([released], [theirs(2, 1002, id="r-1")], TERMS)) == [("billed-released", 1, 2)]
    assert told(matching.match([released], [theirs(2, 1002)], TERMS)) == [("billed-released", 1, 2)]
    assert told(matching.match([released], [theirs(2, 1002, 0, id="r-1")], TERMS)) == []


# ---- the edges of the days


@pytest.mark.parametrize(("sent", "billed"), [(-1, 3), (99_998, 100_003), (2, -1), (100_001, 99_999)])
def test_what_was_sent_on_one_side_of_midnight_and_billed_on_the_other_is_no_difference(sent: int, billed: int) -> None:
    mine = [ours(1, sent, request_id=None, took=1), ours(2, 5000)]
    found = matching.match(mine, [theirs(2, billed), theirs(3, 5001)], TERMS)
    assert told(found) == []
    assert len(found.rows) == 2


def test_what_is_missing_at_the_edge_is_told_apart() -> None:
    mine = [ours(1, 99_990), ours(2, 50_000), ours(3, 100_010), ours(4, 200_000)]
    found = matching.match(mine, [theirs(2, 70_000, 1)], TERMS)
    assert told(found) == [("only-theirs", None, 2), ("edge", 1, None), ("only-ours", 2, None)]


def test_lines_of_other_days_are_not_compared() -> None:
    found = matching.match([ours(1, 200_000)], [theirs(2, 200_003), theirs(3, -5)], TERMS)
    assert (told(found), {line.number for line in found.outside}) == ([], {2, 3})


def test_without_days_those_of_the_file_are_meant() -> None:
    terms = replace(TERMS, first=None, last=None)
    mine = [ours(1, 1000), ours(2, 2000), ours(3, 3000), ours(4, 9000)]
    found = matching.match(mine, [line_of(mine[0], 2, by_id=True), line_of(mine[2], 3, by_id=True)], terms)
    assert told(found) == [("only-ours", 2, None)]


# ---- unknown


def test_an_id_proves_what_an_unknown_attempt_was_billed() -> None:
    unknown = ours(1, 1000, 700_000, state="unknown")
    assert told(matching.match([unknown], [theirs(2, 1002, 900_000, id="r-1")], TERMS)) == [("billed", 1, 2)]


def test_the_only_line_at_its_time_proves_an_unknown_attempt_billed() -> None:
    unknown = ours(1, 1000, 700_000, state="unknown", request_id=None, took=3600)
    mine = [unknown, ours(2, 1005), ours(3, 20_000)]
    lines = [line_of(mine[1], 2, by_id=True), theirs(3, 1400, id="their own"), line_of(mine[2], 4, by_id=True)]
    assert told(matching.match(mine, lines, TERMS)) == [("billed", 1, 3)]


@pytest.mark.parametrize(
    ("more", "lines", "why"),
    [
        ([], [theirs(2, 1400), theirs(3, 1500)], "two lines, one attempt"),
        ([ours(2, 1200, 700_000, state="unknown", request_id=None, took=3600)], [theirs(2, 1400)], "two attempts"),
        ([], [theirs(2, 1400, 700_001)], "more than was reserved"),
        ([], [theirs(2, 1400, model="another")], "another model"),
        ([], [theirs(2, 9000)], "another time"),
        ([ours(2, 1400, 41_000)], [theirs(2, 1400)], "a settled attempt of that time that the file lacks"),
    ],
)
def test_where_anything_else_can_be_meant_an_unknown_attempt_stays(
    more: list[Ours], lines: list[Theirs], why: str
) -> None:
    unknown = ours(1, 1000, 700_000, state="unknown", request_id=None, took=3600)
    found = matching.match([unknown, *more], lines, replace(TERMS, complete=True))
    assert ("unproven", 1, None) in told(found), why
    assert "billed" not in {row.verdict for row in found.rows}, why


def test_two_unknown_attempts_and_two_lines_of_one_amount_are_both_billed() -> None:
    mine = [ours(n, 1000 + n, 700_000, state="unknown", request_id=None, took=3600) for n in (1, 2)]
    found = matching.match(mine, [theirs(2, 1400), theirs(3, 1500)], TERMS)
    assert [(row.verdict, row.theirs and row.theirs.number) for row in found.rows] == [("billed", 2), ("billed", 3)]
    # Which of them cost what is a guess when the amounts are not the same.
    found = matching.match(mine, [theirs(2, 1400), theirs(3, 1500, 41_000)], TERMS)
    assert "billed" not in {row.verdict for row in found.rows}


def test_only_a_complete_file_that_lists_what_was_before_and_after_proves_that_nothing_was_billed() -> None:
    unknown = ours(1, 5000, 700_000, state="unknown", request_id=None, took=3600)
    mine = [ours(2, 1000), unknown, ours(3, 20_000)]
    lines = [line_of(one, number, by_id=True) for number, one in enumerate(mine, 2) if one.state == "settled"]
    complete = replace(TERMS, complete=True)
    assert told(matching.match(mine, lines, complete)) == [("not-billed", 1, None)]
    assert told(matching.match(mine, lines, TERMS)) == [("unproven", 1, None)]
    # The file ends before: what came later is not on it, whatever days it is said to be of.
    assert told(matching.match(mine[:2], lines[:1], complete)) == [("unproven", 1, None)]
    # A line that nobody explains may be its bill.
    doubt = [*lines, theirs(9, 5001, 800_000, id="nobody")]
    assert told(matching.match(mine, doubt, complete)) == [("only-theirs", None, 9), ("unproven", 1, None)]


# ---- what an earlier file said


def proved(one: Ours, line: Theirs, *, verdict: str = "matched", invoice: str = "omixa") -> Ours:
    proof = Proof(verdict, verdict == "matched", line.micros, line.key, invoice, "october.csv", line.number)
    return replace(one, proof=proof)


def test_what_one_file_billed_is_not_billed_by_a_line_of_the_next() -> None:
    first = theirs(2, 1000)
    mine = [proved(ours(1, 1000), first)]
    assert told(matching.match(mine, [theirs(9, 1001)], replace(TERMS, first=None, last=None))) == [
        ("only-theirs", None, 9)
    ]
    # The same line in the next file is the same line.
    assert told(matching.match(mine, [replace(first, number=70)], TERMS)) == []
    # A file of another kind may tell of the same request in its own way.
    other = [proved(ours(1, 1000), first, invoice="usage")]
    assert told(matching.match(other, [theirs(9, 1001)], TERMS)) == []


def test_an_id_that_the_next_file_bills_again_is_billed_twice() -> None:
    mine = [proved(ours(1, 1000), theirs(2, 1002, id="r-1"))]
    found = matching.match(mine, [theirs(5, 90_000, id="r-1")], replace(TERMS, first=80_000 * SECOND))
    assert told(found) == [("duplicate", None, 5)]
    assert found.rows[0].earlier is not None


def test_what_contradicts_an_earlier_file_says_so() -> None:
    mine = [proved(ours(1, 1000), theirs(2, 1002, id="r-1"))]
    found = matching.match(mine, [theirs(5, 1002, 50_000, id="r-1")], TERMS)
    assert told(found) == [("differs", 1, 5)]
    assert found.rows[0].earlier == mine[0].proof
    gone = matching.match(mine, [theirs(5, 9000, 1)], TERMS)
    assert [row.earlier for row in gone.rows if row.verdict == "only-ours"] == [mine[0].proof]


def test_rows_stand_in_the_order_of_the_lines() -> None:
    mine = [ours(1, 3000), ours(2, 2000), ours(3, 1000), ours(4, 50_000)]
    lines = [line_of(mine[at], number, by_id=True) for number, at in ((2, 0), (3, 2), (4, 1))]
    rows: tuple[Row, ...] = matching.match(mine, lines, TERMS).rows
    assert [row.theirs and row.theirs.number for row in rows] == [2, 3, 4, None]
