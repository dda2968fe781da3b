"""The baton: of the workers of this process, the one that carries it runs, and the others are not even woken.

Python lets one thread run at a time, and gives the turn away at each wait, however short: for a file, for a statement
of the database. With several cores the next thread then wakes on another one and takes the turn, and the first has to
wait for it, hundreds of times a picture. So workers hand on a baton of their own: it is kept over short waits, and let
go of over long ones.

It is a courtesy and never a lock: it protects nothing, and nothing is wrong when two run at once. Whoever waits for it
while it is not handed on for a moment goes on, and carries it from then on: whoever had it before has it no more. So
one that is stuck, or computes for long, holds up the others once and for a moment, and no order of locks can end in a
deadlock. For speed alone two rules are kept: let go of it around what may take long (`aside`, `heavy`, `Usual`), and
wait with `taken` for a lock under which somebody may have let go of it.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

# Whoever has waited so long, and it was not handed on meanwhile, takes it from whoever has it.
PATIENCE_S = 0.05
# A wait is short when handing the baton on and getting it back would take about as long.
SHORT_S = 0.001
# Of waits that are usually long, one in so many is made with the baton in hand, to see whether they still are: without
# it, the time in which others run would be taken for theirs.
TRIED_EVERY = 32
# With so many bytes at a time libraries of C are busy, in which threads run side by side.
HEAVY_BYTES = 512 * 1024


class _Mine(threading.local):
    """What one thread knows of itself."""

    def __init__(self) -> None:
        self.runs = False  # it is inside `carried`, and not aside
        self.handed = _closed()  # opened when the baton is handed to it; stands for the thread


class Baton:
    """One baton, handed to whoever has waited longest. Safe to use from any thread; a thread that never carries it is
    not held up by it."""

    def __init__(self) -> None:
        self._mine = _Mine()
        self._changing = threading.Lock()
        self._carrier: threading.Lock | None = None
        self._waiting: deque[threading.Lock] = deque()
        self.handovers = 0
        self.taken_away = 0  # how often somebody lost patience

    @property
    def runs(self) -> bool:
        """Whether this thread is inside `carried`, and not aside."""
        return self._mine.runs

    @contextmanager
    def carried(self) -> Iterator[None]:
        """Inside, this thread carries it, but for what is aside. Waits for it first."""
        with _Turned(self, runs=True):
            yield

    def aside(self) -> AbstractContextManager[None]:
        """Inside, others may carry it: for what may take long."""
        return _Turned(self, runs=False) if self._mine.runs else _NOTHING

    def heavy(self, size_bytes: int) -> AbstractContextManager[None]:
        """The same, when so many bytes are to be read, written, decoded or digested that it pays."""
        return self.aside() if size_bytes >= HEAVY_BYTES else _NOTHING

    @contextmanager
    def taken(self, lock: "threading.Lock | threading.Semaphore") -> Iterator[None]:
        """Hold a lock; it is not waited for with the baton in hand."""
        if not self._mine.runs:
            with lock:  # also in the main thread, where Ctrl-C between taking it and `try` would leave it taken
                yield
            return
        if not lock.acquire(blocking=False):
            with self.aside():
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def call(self) -> "Call":
        """What this thread is to wait for. Whoever asks for one waits for it, once."""
        return Call(self)

    def take(self) -> None:
        """Wait for it, for `PATIENCE_S` after it was last handed on."""
        mine = self._mine
        mine.runs = True
        with self._changing:
            if self._carrier is None:
                self._carrier = mine.handed
                return
            self._waiting.append(mine.handed)
        self.wait_to_be_handed()

    def let_go(self) -> None:
        """Hand it to whoever has waited longest, when this thread has it."""
        mine = self._mine
        mine.runs = False
        with self._changing:
            if self._carrier is not mine.handed:
                return  # it was taken away
            self.handovers += 1
            self._carrier = self._waiting.popleft() if self._waiting else None
            if self._carrier is not None:
                self._carrier.release()

    def queue(self, handed: threading.Lock) -> None:
        """Let the thread that waits for this lock be the last of those who wait for the baton."""
        with self._changing:
            if self._carrier is not None:
                self._waiting.append(handed)
            else:
                self._carrier = handed
                handed.release()

    def wait_to_be_handed(self) -> None:
        """Until it is handed to this thread, or this thread waits for it and loses patience.

        All that lose it at about the same time go on at once, and the last of them hands it on.
        """
        mine, seen = self._mine, -1
        while not mine.handed.acquire(timeout=PATIENCE_S):
            with self._changing:
                if mine.handed not in self._waiting:
                    continue  # it is not even called yet, or it was handed the baton at this moment
                if self.handovers == seen:
                    self._waiting.remove(mine.handed)
                    self._carrier = mine.handed
                    self.taken_away += 1
                    return
                seen = self.handovers


class Call:
    """Wakes one thread that waits, at once or, when it carries the baton at other times, in its turn."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton if baton.runs else None
        self._awake = _closed() if self._baton is None else baton._mine.handed

    def wait(self) -> None:
        """Until it is made, by the thread that asked for the call. Others carry the baton meanwhile."""
        if self._baton is None:
            self._awake.acquire()
            return
        self._baton.let_go()
        self._baton.wait_to_be_handed()
        self._baton._mine.runs = True

    def make(self) -> None:
        """Wake whoever waits, or will. From any thread, once."""
        if self._baton is None:
            self._awake.release()
        else:
            self._baton.queue(self._awake)


class Usual:
    """Waits of one kind, such as for the next bytes of an answer: the baton is kept over them when they are usually
    short."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._usual_s = 0.0
        self._count = 0

    def wait(self) -> AbstractContextManager[None]:
        """Inside, one such wait."""
        if not self._baton.runs:
            return _NOTHING
        self._count += 1
        if self._usual_s > SHORT_S and self._count % TRIED_EVERY:
            return self._baton.aside()
        return _Timed(self)

    def took(self, seconds: float) -> None:
        """How long one took, with the baton in hand."""
        self._usual_s += (seconds - self._usual_s) / 4


class _Turned(AbstractContextManager[None]):
    """One thread with the baton, or without it, for a while."""

    def __init__(self, baton: Baton, *, runs: bool) -> None:
        self._enter, self._leave = (baton.take, baton.let_go) if runs else (baton.let_go, baton.take)

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, *_: object) -> None:
        self._leave()


class _Timed(AbstractContextManager[None]):
    """One wait with the baton in hand."""

    def __init__(self, usual: Usual) -> None:
        self._usual = usual

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._usual.took(time.perf_counter() - self._began)


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


_NOTHING = nullcontext()

# The workers' own, one for all runs of a process.
WORKERS = Baton()
carried, aside, heavy, taken = WORKERS.carried, WORKERS.aside, WORKERS.heavy, WORKERS.taken
SYNC, CONNECT, SEND, RECEIVE = Usual(WORKERS), Usual(WORKERS), Usual(WORKERS), Usual(WORKERS)
