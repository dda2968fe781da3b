"""Which item of a run comes next: what is made of a result waits for it, and goes before what has not begun."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from runner.plan import Item

# How long a worker waits for a result before it looks whether the run is ending.
_LOOK_S = 0.2


class Turns:
    """The items of a run in turn. Safe to use from any thread.

    Every item is taken once. One that is made of another's result, or shares its purchase, is taken after that one has
    ended, and then next: so a picture goes all its way before the next one begins.
    """

    def __init__(self, items: Iterable[Item], results: Mapping[str, str | None] | None = None) -> None:
        """`results`: how items ended that were taken elsewhere before, by output path; None: no usable result came."""
        self._items = list(items)
        self._results: dict[str, str | None] = dict(results or {})
        self._changed = threading.Condition()
        self._waits: dict[int, int] = {}  # by the item's position: for how many others
        self._after: dict[str, list[int]] = {}  # by output path: who waits for it
        self._ready: deque[int] = deque()
        self._taken = [False] * len(self._items)
        self._in_flight = 0
        here = {item.draft.output_path for item in self._items} - self._results.keys()
        for at, item in enumerate(self._items):
            needed = {item.after, item.draft.origin if item.draft.awaits else None} & here - {item.draft.output_path}
            for path in needed:
                if path is not None:
                    self._after.setdefault(path, []).append(at)
            if needed:
                self._waits[at] = len(needed)
            else:
                self._ready.append(at)

    def take(self, is_ending: Callable[[], bool]) -> Item | None:
        """The next item; waits while there is none and others may still end. None: there is none, or the run ends."""
        with self._changed:
            while not is_ending():
                if self._ready:
                    at = self._ready.popleft()
                    self._taken[at] = True
                    self._in_flight += 1
                    return self._items[at]
                if not self._in_flight:
                    return None
                self._changed.wait(_LOOK_S)
            return None

    def ended(self, item: Item, result_digest: str | None) -> None:
        """An item that was taken has ended. `result_digest`: of its picture, None when no usable one came."""
        path = item.draft.output_path
        with self._changed:
            self._in_flight -= 1
            ready = self._after.pop(path, [])
            if ready:
                self._results[path] = result_digest
            for at in reversed(ready):
                self._waits[at] -= 1
                if not self._waits[at]:
                    self._ready.appendleft(at)
            self._changed.notify_all()

    def result(self, item: Item) -> str | None:
        """The digest of the result that an item is made of; None: none came."""
        with self._changed:
            return self._results.get(item.draft.origin or "")

    def left(self) -> list[Item]:
        """What was never taken, in the order of the plan."""
        with self._changed:
            return [item for at, item in enumerate(self._items) if not self._taken[at]]

    @property
    def results(self) -> Mapping[str, str | None]:
        """How those ended that others wait for."""
        with self._changed:
            return dict(self._results)
