"""Places in flight: never more than there are, and of the runs that wait the one with the fewest is next."""

import threading
import time
from collections.abc import Callable

from runner.lanes import Lanes


class Traffic:
    """Threads that hold a place until they are told to go."""

    def __init__(self, count: int) -> None:
        self.lanes = Lanes(count)
        self.inside: list[str] = []
        self.peak = 0
        self._changing = threading.Lock()
        self._gates: list[tuple[str, threading.Event]] = []
        self._threads: list[threading.Thread] = []

    def enter(self, run: str, is_ending: Callable[[], bool] = lambda: False) -> None:
        """One more request of a run, which waits for a place if there is none."""
        gate = threading.Event()
        before = len(self.lanes._waiting) + len(self.inside)
        thread = threading.Thread(target=self._hold, args=(run, gate, is_ending))
        self._threads.append(thread)
        thread.start()
        until(lambda: len(self.lanes._waiting) + len(self.inside) > before)

    def _hold(self, run: str, gate: threading.Event, is_ending: Callable[[], bool]) -> None:
        with self.lanes.place(run, is_ending):
            with self._changing:
                self.inside.append(run)
                self.peak = max(self.peak, len(self.inside))
                self._gates.append((run, gate))
            gate.wait(60)
            with self._changing:
                self.inside.remove(run)

    def leave(self, run: str) -> None:
        """One request of a run is answered; returns when the next one has its place, or none waits."""
        with self._changing:
            place = next(pair for pair in self._gates if pair[0] == run)
            self._gates.remove(place)
        waiting, inside = len(self.lanes._waiting), len(self.inside)
        place[1].set()
        until(lambda: len(self.lanes._waiting) < waiting or (not waiting and len(self.inside) < inside))
        until(lambda: len(self.inside) == self.lanes._in_flight.total())

    def end(self) -> None:
        while self.inside:
            self.leave(self.inside[0])
        for thread in self._threads:
            thread.join(60)


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_no_more_are_in_flight_than_there_are_places() -> None:
    traffic = Traffic(3)
    for n in range(9):
        traffic.enter(f"run-{n % 2}")
    assert len(traffic.inside) == 3
    traffic.end()
    assert traffic.peak == 3


def test_a_small_run_does_not_stand_behind_a_large_one() -> None:
    traffic = Traffic(2)
    for _ in range(6):
        traffic.enter("large")
    traffic.enter("small")
    assert traffic.inside == ["large", "large"]
    traffic.leave("large")
    assert sorted(traffic.inside) == ["large", "small"]
    traffic.end()


def test_runs_with_as_many_in_flight_take_turns_by_who_waits_longest() -> None:
    traffic = Traffic(2)
    for run in ("a", "b", "a", "b"):
        traffic.enter(run)
    traffic.leave("a")
    assert sorted(traffic.inside) == ["a", "b"]
    traffic.end()


def test_a_run_that_is_ending_waits_for_nothing() -> None:
    traffic = Traffic(1)
    traffic.enter("a")
    ending = threading.Event()
    traffic.enter("b", ending.is_set)
    assert traffic.inside == ["a"]
    ending.set()
    until(lambda: len(traffic.inside) == 2)
    traffic.end()


def test_places_that_are_added_are_used() -> None:
    traffic = Traffic(1)
    traffic.enter("a")
    traffic.enter("a")
    assert len(traffic.inside) == 1
    traffic.lanes.count = 2
    until(lambda: len(traffic.inside) == 2)
    traffic.end()
