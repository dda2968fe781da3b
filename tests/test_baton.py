"""The baton: who carries it runs, and nobody who is stuck with it holds up the others."""

import threading
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from runner import baton as batons
from runner.baton import HEAVY_BYTES, SHORT_S, TRIED_EVERY, Baton, Usual

A_MOMENT_S = 30.0  # a test that waits so long has failed


@pytest.fixture
def baton(monkeypatch: pytest.MonkeyPatch) -> Baton:
    """One that nobody takes away: what would only be slow is stuck here."""
    monkeypatch.setattr(batons, "PATIENCE_S", 10 * A_MOMENT_S)
    return Baton()


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> bool:
    for thread in threads:
        thread.join(A_MOMENT_S)
    return not any(thread.is_alive() for thread in threads)


def queued(baton: Baton, count: int) -> bool:
    """Wait until so many wait for the baton."""
    tick = threading.Event()
    for _ in range(int(A_MOMENT_S * 1000)):
        if len(baton._waiting) == count:
            return True
        tick.wait(0.001)
    return False


class Held:
    """A thread that carries the baton until it is told to end."""

    def __init__(self, baton: Baton) -> None:
        self._has, self._may_end = threading.Event(), threading.Event()
        self._thread = started(lambda: self._hold(baton))
        assert self._has.wait(A_MOMENT_S)

    def _hold(self, baton: Baton) -> None:
        with baton.carried():
            self._has.set()
            self._may_end.wait(A_MOMENT_S)

    def end(self) -> None:
        self._may_end.set()
        assert ended(self._thread)


def test_one_carries_it_at_a_time_and_in_the_order_of_asking(baton: Baton) -> None:
    held, told = Held(baton), list[int]()
    inside: list[int] = []

    def work(number: int) -> None:
        with baton.carried():
            inside.append(number)
            assert inside == [number]
            told.append(number)
            inside.remove(number)

    threads = []
    for number in range(8):
        threads.append(started(lambda number=number: work(number)))  # type: ignore[misc]
        assert queued(baton, number + 1)
    held.end()
    assert ended(*threads)
    assert told == list(range(8))
    assert baton.taken_away == 0


def test_who_is_aside_lets_another_carry_it_and_has_it_again_afterwards(baton: Baton) -> None:
    other_was_here = threading.Event()

    def other() -> None:
        with baton.carried():
            other_was_here.set()

    with baton.carried():
        thread = started(other)
        assert queued(baton, 1)
        assert not other_was_here.is_set()
        with baton.aside():
            assert not baton.runs
            assert other_was_here.wait(A_MOMENT_S)
            with baton.aside(), baton.heavy(HEAVY_BYTES):  # nothing to let go of
                pass
        assert baton.runs
        assert baton._carrier is not None
    assert ended(thread)
    assert baton._carrier is None


def test_what_is_heavy_is_aside_and_what_is_light_is_not(baton: Baton) -> None:
    with baton.carried():
        with baton.heavy(HEAVY_BYTES - 1):
            assert baton.runs
        with baton.heavy(HEAVY_BYTES):
            assert not baton.runs
            assert baton._carrier is None


def test_an_error_inside_lets_go_of_it(baton: Baton) -> None:
    with pytest.raises(ZeroDivisionError), baton.carried(), baton.aside():
        raise ZeroDivisionError
    assert baton._carrier is None
    assert not baton.runs


def test_a_thread_that_never_carries_it_waits_for_nobody(baton: Baton) -> None:
    held = Held(baton)
    lock = threading.Lock()
    with baton.aside(), baton.heavy(HEAVY_BYTES), baton.taken(lock), Usual(baton).wait():
        assert lock.locked()
    call = baton.call()
    started(call.make)
    call.wait()
    held.end()


def test_nobody_is_held_up_by_one_that_is_stuck_with_it() -> None:
    baton = Baton()
    held = Held(baton)
    through = threading.Barrier(4)

    def work() -> None:
        with baton.carried():
            through.wait(A_MOMENT_S)  # none of the three has it, and all are here

    threads = [started(work) for _ in range(3)]
    through.wait(A_MOMENT_S)
    assert ended(*threads)
    assert baton.taken_away == 3
    assert baton._carrier is None  # the last of them has handed it on, or back
    held.end()
    with baton.carried():
        assert baton._carrier is not None  # and it goes round again
    assert baton._carrier is None


def take_away(baton: Baton, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for it with little patience, and hand it back."""
    with monkeypatch.context() as hasty:
        hasty.setattr(batons, "PATIENCE_S", 0.001)
        with baton.carried():
            pass


def carry(baton: Baton) -> None:
    with baton.carried():
        pass


def test_one_that_is_stuck_with_it_is_waited_for_once(baton: Baton, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(baton)
    take_away(baton, monkeypatch)
    assert ended(started(lambda: carry(baton)))  # it is stuck still, and nobody takes it away any more
    with baton.carried():
        held.end()
        assert baton._carrier is baton._mine.handed  # who has it no more handed on nothing
    assert baton.taken_away == 1


def test_a_thread_that_ended_with_it_is_waited_for_once(baton: Baton, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(started(baton.take))
    take_away(baton, monkeypatch)
    assert ended(started(lambda: carry(baton)))
    assert baton.taken_away == 1


class Round:
    """A thread's lock, while the baton goes round so many times before it is handed to that thread."""

    def __init__(self, baton: Baton, times: int) -> None:
        self._baton, self._left = baton, times

    def acquire(self, timeout: float) -> bool:
        assert timeout == batons.PATIENCE_S
        self._baton.handovers += 1
        self._left -= 1
        return self._left < 0


def test_patience_lasts_while_it_goes_round(baton: Baton) -> None:
    baton._mine.handed = Round(baton, 5)  # type: ignore[assignment]  # all that is asked of a lock here
    baton._waiting.append(baton._mine.handed)
    baton.wait_to_be_handed()
    assert baton.taken_away == 0


def test_a_lock_under_which_it_was_let_go_of_is_not_waited_for_with_it(baton: Baton) -> None:
    lock, has_lock, go_on = threading.Lock(), threading.Event(), threading.Event()

    def first() -> None:
        with baton.carried(), baton.taken(lock), baton.aside():
            has_lock.set()
            go_on.wait(A_MOMENT_S)

    def second() -> None:
        with baton.carried():
            go_on.set()
            with baton.taken(lock):
                assert baton.runs

    one = started(first)
    assert has_lock.wait(A_MOMENT_S)
    two = started(second)
    assert ended(one, two)
    assert not lock.locked()


@pytest.mark.parametrize("is_carrying", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_wakes_the_one_that_waits_for_it_in_its_turn(baton: Baton, is_carrying: bool, when: str) -> None:
    woken, calls = list[str](), list[batons.Call]()
    asked, made = threading.Event(), threading.Event()

    def waiting() -> None:
        with baton.carried() if is_carrying else nullcontext():
            calls.append(baton.call())
            asked.set()
            if when == "before":
                assert made.wait(A_MOMENT_S)
            calls[0].wait()
            woken.append("called")
            assert baton.runs == is_carrying

    thread = started(waiting)
    assert asked.wait(A_MOMENT_S)
    if when == "before":
        calls[0].make()
        made.set()
    else:
        held = Held(baton)  # it is to be had, because who waits for a call does not carry it
        assert thread.is_alive()
        calls[0].make()
        if is_carrying:
            assert queued(baton, 1)
            assert not woken
        held.end()
    assert ended(thread)
    assert woken == ["called"]
    assert baton._carrier is None


def test_one_that_is_not_called_yet_waits_whatever_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batons, "PATIENCE_S", 0.001)
    baton = Baton()
    calls, asked, woken = list[batons.Call](), threading.Event(), threading.Event()

    def waiting() -> None:
        with baton.carried():
            calls.append(baton.call())
            asked.set()
            calls[0].wait()
            woken.set()

    thread = started(waiting)
    assert asked.wait(A_MOMENT_S)
    assert not woken.wait(0.1)
    calls[0].make()
    assert ended(thread)
    assert woken.is_set()
    assert baton.taken_away == 0


def test_the_baton_is_kept_over_waits_that_are_usually_short(baton: Baton) -> None:
    usual = Usual(baton)
    with baton.carried():
        with usual.wait():
            assert baton.runs
        for _ in range(20):
            usual.took(10 * SHORT_S)
        kept = 0
        for _ in range(4 * TRIED_EVERY):
            with usual.wait():
                kept += baton.runs
            usual.took(10 * SHORT_S)
        assert kept == 4  # only to see whether they are still long
        for _ in range(20):
            usual.took(SHORT_S / 10)
        with usual.wait():
            assert baton.runs


def test_waits_that_have_become_short_are_noticed(baton: Baton) -> None:
    usual = Usual(baton)
    with baton.carried():
        usual.took(10 * SHORT_S)
        for _ in range(6 * TRIED_EVERY):
            with usual.wait():
                pass  # of no length at all: each that was tried says so
        with usual.wait():
            assert baton.runs
    with usual.wait():
        assert not baton.runs
