"""The benchmark of the booking keeps running, on a small scale; no time is compared."""

from pathlib import Path

from benchmarks import booking


def test_both_loops_and_every_crowd_book_all_they_were_asked_for(tmp_path: Path) -> None:
    turns = booking.side_by_side(tmp_path, rounds=1, bookings=12)
    assert {name: len(taken) for name, taken in turns.items()} == {"plain": 1, "1": 1, "8": 1, "32": 1}


def test_processes_that_share_a_ledger_each_book_something(tmp_path: Path) -> None:
    found = booking.shares(tmp_path, 2, 0.5)
    assert len(found.each) == 2
    assert min(found.each) > 0
