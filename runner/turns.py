"""Which item of a run comes next: what is made of a result waits for it, and goes before what has not begun."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from runner.baton import aside
from runner.plan import Item

# How long a worker waits for a result before it looks whether the run is ending.
_LOOK_S = 0.2
# So many items are looked at ahead of those that are in flight, and what is to be made of the last of them.
AHEAD = 100


class Turns:
    """The items of a run in turn. Safe to use from any thread.

    Every item is taken once. One that is made of another's result, or shares its purchase, is taken after that one has
    ended, and then next: so a picture goes all its way before the next one begins. Some hundred items are held at a
    time. What an item waits for comes before it, as in a plan, or at most so many items after it.
    """

    def __init__(
        self, items: Iterable[Item], results: Mapping[str, str | None] | None = None, *, keep: bool = True
    ) -> None:
        """`results`: how items ended that were taken elsewhere before, by output path; None: no usable result came.

        `keep` False: how one ended is forgotten when the last that was made of it has ended, so nobody goes on with it.
        """
        self._keep = keep
        self._items = iter(items)
        self._next: Item | None = next(self._items, None)
        self._results: dict[str, str | None] = dict(results or {})
        self._users: dict[str, int] = {}  # by output path: how many that wait for its result have not ended
        self._changed = threading.Condition()
        self._held: dict[int, Item] = {}  # by number, in order: what is not taken yet
        self._numbers = 0
        self._unended: set[str] = set()  # output paths of what is held or in flight
        self._waits: dict[int, int] = {}  # by number: for how many others
        self._after: dict[str, list[int]] = {}  # by output path: who waits for it
        self._ready: deque[int] = deque()
        self._in_flight = 0
        self._endings = 0

    def take(self, is_ending: Callable[[], bool]) -> Item | None:
        """The next item; waits while there is none and others may still end. None: there is none, or the run ends."""
        while not is_ending():
            with self._changed:
                if not self._ready and self._next is not None:
                    self._look_ahead()
                if self._ready:
                    self._in_flight += 1
                    return self._held.pop(self._ready.popleft())
                if not self._in_flight:
                    return None
                seen = self._endings
            with aside(), self._changed:
                if self._endings == seen:
                    self._changed.wait(_LOOK_S)
        return None

    def ended(self, item: Item, result_digest: str | None) -> None:
        """An item that was taken has ended. `result_digest`: of its picture, None when no usable one came."""
        path = item.draft.output_path
        with self._changed:
            self._in_flight -= 1
            self._endings += 1
            self._unended.discard(path)
            for used in (item.after, item.draft.origin):
                if used in self._users:
                    self._users[used] -= 1
                    if not self._users[used]:
                        del self._users[used], self._results[used]
            ready = self._after.pop(path, [])
            if ready:
                self._results[path] = result_digest
                if not self._keep:
                    self._users[path] = len(ready)
            for number in reversed(ready):
                self._waits[number] -= 1
                if not self._waits[number]:
                    del self._waits[number]
                    self._ready.appendleft(number)
            self._changed.notify_all()

    def result(self, item: Item) -> str | None:
        """The digest of the result that an item is made of; None: none came."""
        with self._changed:
            return self._results.get(item.draft.origin or "")

    def left(self) -> Iterator[Item]:
        """What was never taken, in the order of the plan. Nothing is taken any more."""
        with self._changed:
            held, self._held = self._held, {}
            after, self._next = self._next, None
        yield from held.values()
        if after is not None:
            yield after
        yield from self._items

    @property
    def results(self) -> Mapping[str, str | None]:
        """How those ended that others wait for."""
        with self._changed:
            return dict(self._results)

    def _look_ahead(self) -> None:
        """Hold the next items, up to the end of what is made of one picture; those that wait for nothing are ready."""
        found: list[Item] = []
        while self._next is not None and (len(found) < AHEAD or self._next.draft.awaits):
            found.append(self._next)
            self._next = next(self._items, None)
        self._unended |= {item.draft.output_path for item in found} - self._results.keys()
        for item in found:
            number = self._numbers = self._numbers + 1
            self._held[number] = item
            needed = {item.after, item.draft.origin if item.draft.awaits else None} - {item.draft.output_path, None}
            waits_for = [path for path in needed if path in self._unended]
            for path in waits_for:
                assert path is not None
                self._after.setdefault(path, []).append(number)
            if waits_for:
                self._waits[number] = len(waits_for)
            else:
                self._ready.append(number)
