"""Bookings that wait at the same time: one commit for all, and each with its own end."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from runner.errors import LedgerError
from runner.ledger import usage
from runner.ledger.balance_check import check_balances
from runner.ledger.chain import Writing
from runner.ledger.ledger import Ledger
from runner.ledger.together import TOGETHER_MAX
from runner.ledger.values import AlreadyBought, Cap, Reserved, Stopped
from runner.ledger.verify import verify
from tests.ledger.conftest import Call, Desk, in_line


@pytest.fixture
def desk(open_ledger: Callable[[], Ledger]) -> Desk:
    """A ledger with one bill in it, so that the price is known and several requests may be in flight."""
    desk = Desk(open_ledger(), seen=False)
    desk.buy("first")
    return desk


def sound(desk: Desk) -> bool:
    return verify(desk.ledger.database).faults == [] and check_balances(desk.ledger.database) == []


def fails_after_writing(desk: Desk, attempt_id: int) -> Call:
    """A settlement that has written everything when it fails."""

    def fail(_: Writing) -> None:
        raise LedgerError("no", "try another")

    return lambda: desk.ledger.settle(
        attempt_id,
        billed_micros=39_000,
        billed_text=None,
        code="billed",
        message=None,
        evidence=None,
        result=None,
        who="ana",
        at=desk.at,
        also=fail,
    )


def test_those_who_wait_at_the_same_time_are_committed_together(desk: Desk) -> None:
    begun = desk.ledger.database.begun
    with in_line(desk, [lambda n=n: desk.reserve(f"item-{n}") for n in range(8)]) as ends:  # type: ignore[misc]
        pass
    assert [end.attempt_id for end in ends] == list(range(2, 10))
    assert desk.ledger.database.begun == begun + 2  # the one that held the ledger, and one for all eight
    assert desk.balance() == (8 * 39_000, 39_000)
    assert sound(desk)


def test_a_cap_is_exact_also_among_those_who_are_committed_together(desk: Desk) -> None:
    cap = Cap("workspace", "", "month", 4 * 39_000)
    with in_line(desk, [lambda n=n: desk.reserve(f"item-{n}", caps=[cap]) for n in range(8)]) as ends:  # type: ignore[misc]
        pass
    assert [isinstance(end, Reserved) for end in ends] == [True] * 3 + [False] * 5
    assert desk.balance(cap) == (3 * 39_000, 39_000)
    assert sound(desk)


def test_an_item_is_reserved_once_also_among_those_who_are_committed_together(desk: Desk) -> None:
    with in_line(desk, [lambda: desk.reserve("same")] * 4) as ends:
        pass
    assert [type(end).__name__ for end in ends] == ["Reserved", "InFlight", "InFlight", "InFlight"]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_that_fails_is_undone_alone_and_hears_its_own_error(desk: Desk, place: int) -> None:
    sent = desk.send("sent")
    calls: list[Call] = [lambda n=n: desk.reserve(f"item-{n}") for n in range(3)]  # type: ignore[misc]
    calls.insert(place, fails_after_writing(desk, sent))
    with in_line(desk, calls) as ends:
        pass
    error = ends.pop(place)
    assert isinstance(error, LedgerError)
    assert (error.message, error.hint) == ("no", "try another")
    assert all(isinstance(end, Reserved) for end in ends), ends
    assert desk.balance() == (4 * 39_000, 39_000)
    assert sound(desk)
    desk.settle(sent)
    assert desk.balance() == (3 * 39_000, 2 * 39_000)
    assert sound(desk)


def test_what_the_database_refuses_is_told_in_words_to_the_one_whom_it_concerns(desk: Desk) -> None:
    def stray(writing: Writing) -> None:
        writing.connection.execute(text("INSERT INTO attempt_windows (attempt_id, window_id) VALUES (99, 99)"))

    calls: list[Call] = [
        lambda: desk.reserve("a"),
        lambda: desk.ledger._book(desk.at, stray),
        lambda: desk.reserve("b"),
    ]
    with in_line(desk, calls) as ends:
        pass
    assert isinstance(ends[1], LedgerError)
    assert "cannot be used: FOREIGN KEY constraint failed" in ends[1].message
    assert [isinstance(end, Reserved) for end in ends] == [True, False, True]
    assert sound(desk)


def breaks_the_commit(writing: Writing) -> None:
    """Found out only when it is committed."""
    writing.connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    writing.connection.execute(text("INSERT INTO attempt_windows (attempt_id, window_id) VALUES (99, 99)"))


def ends_the_transaction(writing: Writing) -> None:
    """SQLite rolls everything back by itself, as it does when the disk is full."""
    for _ in range(2):
        writing.connection.execute(text("INSERT OR ROLLBACK INTO texts (digest, text) VALUES ('x', '')"))


@pytest.mark.parametrize("trouble", [breaks_the_commit, ends_the_transaction])
def test_when_nothing_is_committed_everybody_hears_it_and_nothing_is_believed(
    desk: Desk, trouble: Callable[[Writing], None]
) -> None:
    bought = desk.buy("before")
    calls: list[Call] = [lambda n=n: desk.reserve(f"item-{n}") for n in range(3)]  # type: ignore[misc]
    with in_line(desk, [*calls, lambda: desk.ledger._book(desk.at, trouble)]) as ends:
        pass
    assert [type(end) for end in ends] == [LedgerError] * 4, ends
    assert len({id(end) for end in ends}) == 4
    assert desk.balance() == (0, 2 * 39_000)
    assert [row.attempt_id for row in usage.rows(desk.ledger.database)] == [1, bought]
    again = desk.reserve("item-0")
    assert isinstance(again, Reserved)
    assert isinstance(desk.reserve("before"), AlreadyBought)
    assert sound(desk)


def test_who_comes_after_the_most_that_are_committed_together_has_a_transaction_of_its_own(desk: Desk) -> None:
    begun = desk.ledger.database.begun
    with in_line(desk, [lambda n=n: desk.reserve(f"item-{n}", caps=[]) for n in range(TOGETHER_MAX + 2)]) as ends:  # type: ignore[misc]
        pass
    assert all(isinstance(end, Reserved) for end in ends)
    assert desk.ledger.database.begun == begun + 3
    assert sound(desk)


def test_nobody_is_told_before_it_is_committed(desk: Desk, open_ledger: Callable[[], Ledger]) -> None:
    # Another opening of the file sees only what is committed.
    other = open_ledger()

    def book(number: int) -> bool:
        held = desk.reserve(f"item-{number}", caps=[])
        assert isinstance(held, Reserved)
        return any(row.attempt_id == held.attempt_id for row in usage.rows(other.database))

    for turn in range(5):
        with in_line(desk, [lambda n=n: book(n) for n in range(turn * 6, turn * 6 + 6)]) as ends:  # type: ignore[misc]
            pass
        assert ends == [True] * 6


def test_the_main_thread_books_for_nobody_else(desk: Desk) -> None:
    # It alone hears Ctrl-C, in the middle of anything: what others wait for must not end with it.
    def interrupt(_: Writing) -> None:
        raise KeyboardInterrupt

    with in_line(desk, [lambda: desk.reserve("a"), lambda: desk.reserve("b")]) as ends:
        pass
    with pytest.raises(KeyboardInterrupt):
        desk.ledger._book(desk.at, interrupt)
    assert all(isinstance(end, Reserved) for end in ends)
    assert isinstance(desk.reserve("c"), Reserved)
    assert sound(desk)


def test_a_thread_that_is_ended_while_it_leads_leaves_the_others_an_answer(desk: Desk) -> None:
    def end(_: Writing) -> None:
        raise SystemExit

    calls: list[Call] = [lambda: desk.ledger._book(desk.at, end), lambda: desk.reserve("a")]
    with in_line(desk, calls) as ends:
        pass
    assert isinstance(ends[0], SystemExit)
    assert isinstance(ends[1], Reserved)
    calls = [lambda: desk.reserve("b"), lambda: desk.ledger._book(desk.at, end), lambda: desk.reserve("c")]
    with in_line(desk, calls) as ends:
        pass
    assert isinstance(ends[0], SystemExit)  # it led, and the other's end was its own
    assert isinstance(ends[1], LedgerError)
    assert isinstance(ends[2], Reserved)
    assert sound(desk)


# ---- what is remembered from one transaction to the next


def test_what_another_process_writes_is_seen_by_the_next_booking(desk: Desk, open_ledger: Callable[[], Ledger]) -> None:
    other = Desk(open_ledger(), replace(desk.run, uid="run-2"), seen=False)
    for number in range(3):
        desk.buy(f"mine {number}")
        other.buy(f"theirs {number}", billed=40_000 + number, amount=50_000)
    held = desk.reserve("mine", amount=1)
    assert isinstance(held, Reserved)
    assert held.amount_micros == 40_002  # the highest bill, wherever it was booked
    assert isinstance(desk.reserve("theirs 0"), AlreadyBought)
    other.ledger.stop("studio", reason="wrong prompt", who="bo", at=other.at)
    assert isinstance(desk.reserve("stopped"), Stopped)
    other.ledger.resume("studio", note="mended", who="bo", at=other.at)
    assert isinstance(desk.reserve("goes on"), Reserved)
    assert sound(desk)


def test_what_is_written_beside_the_ledgers_functions_is_seen_too(desk: Desk) -> None:
    desk.buy("a")
    with desk.ledger.database.write_transaction() as connection:
        connection.execute(text("UPDATE prices SET highest_micros = 77000"))
    held = desk.reserve("b")
    assert isinstance(held, Reserved)
    assert held.amount_micros == 77_000
