"""A workspace's places for requests in flight, shared fairly by the runs of one process that want them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.baton import aside

# How often one that waits looks whether its run is ending: nothing else wakes it then.
LOOK_S = 0.2


class Lanes:
    """At most `count` requests are in flight at once; of the runs that wait, the one with the fewest is next.

    So a run of three pictures does not stand behind one of thousands. Safe to use from any thread.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Condition()
        self._in_flight: Counter[str] = Counter()
        self._waiting: list[tuple[int, str]] = []  # ticket and run, the oldest first
        self._tickets = 0

    @contextmanager
    def place(self, run: str, is_ending: Callable[[], bool]) -> Iterator[None]:
        """Wait for a place and hold it while inside. A run that is ending does not wait: it sends nothing any more."""
        with aside(), self._changed:
            self._tickets += 1
            mine = (self._tickets, run)
            self._waiting.append(mine)
            while not self._is_next(mine) and not is_ending():
                self._changed.wait(LOOK_S)
            self._waiting.remove(mine)
            self._in_flight[run] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._in_flight[run] -= 1
                if not self._in_flight[run]:
                    del self._in_flight[run]
                self._changed.notify_all()

    def _is_next(self, mine: tuple[int, str]) -> bool:
        if self._in_flight.total() >= self.count:
            return False
        return min(self._waiting, key=lambda one: (self._in_flight[one[1]], one[0])) == mine
