"""Long lists in little memory: what is more than a thousand values goes into a file that has no name.

The file goes away with the process, whatever ends it. It is made where TMPDIR says, or in /var/tmp, which is on a disk
where /tmp may be memory.
"""

import heapq
import marshal
import os
import sqlite3
import tempfile
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from runner.errors import DiskError

# So many values are held before the first goes to the disk, and so many stand together there.
HELD = 1_000
BLOCK = 500
_HINT = "free some space, or have TMPDIR name a folder on a disk that has some"


class Pile:
    """Values in the order in which they came: texts, numbers, and tuples, lists and mappings of them.

    Safe to use from any thread; who goes through them all while more come may miss those. Raises DiskError when there
    is no room for the file.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._last: list[Any] = []
        self._file: Any = None
        self._ends = array("q", [0])  # where each block ends in the file
        self._firsts = array("q")  # the position of each block's first value
        self._count = 0
        self._lock = threading.Lock()
        self.extend(values)

    def append(self, value: Any) -> None:
        """One more value."""
        with self._lock:
            self._last.append(value)
            self._count += 1
            if len(self._last) >= (HELD if self._file is None else BLOCK):
                self._write()

    def extend(self, values: Iterable[Any]) -> None:
        """More values."""
        for value in values:
            self.append(value)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self._firsts) + 1):
            yield from self.block(number)

    def __getitem__(self, at: int) -> Any:
        return next(self.part(range(self._count)[at]))

    def part(self, at: int, end: int | None = None) -> Iterator[Any]:
        """The values from one position up to, and without, another; None: to the end."""
        end = self._count if end is None else end
        while at < end:
            block = bisect_right(self._firsts, at) - 1 if at < self._count - len(self._last) else len(self._firsts)
            first = self._firsts[block] if block < len(self._firsts) else self._count - len(self._last)
            values = self.block(block)[at - first : end - first]
            yield from values
            at += len(values)

    def block(self, number: int) -> list[Any]:
        """The values of one block of the file; behind the last of them, those that are held."""
        with self._lock:
            if number >= len(self._firsts):
                return list(self._last)
            begin, end = self._ends[number], self._ends[number + 1]
        try:
            found: list[Any] = marshal.loads(os.pread(self._file.fileno(), end - begin, begin))  # noqa: S302 - our own
        except (OSError, EOFError, ValueError) as error:
            raise DiskError(f"the temporary file of a long list cannot be read: {error}", _HINT) from error
        return found

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder())  # noqa: SIM115 - it is open as long as the list
            for at in range(0, len(self._last), BLOCK):
                data = marshal.dumps(self._last[at : at + BLOCK])
                _write_all(self._file.fileno(), data, self._ends[-1])
                self._firsts.append(self._count - len(self._last) + at)
                self._ends.append(self._ends[-1] + len(data))
        except OSError as error:
            raise _no_room(error) from error
        self._last = []


class InOrder:
    """Texts that are given in any order, and come back in that of `sorted`: first all are given, then gone through.

    Raises DiskError when there is no room for the file.
    """

    def __init__(self) -> None:
        self._last: list[str] = []
        self._sorted = Pile()  # ten thousand at a time
        self._ends = [0]

    def append(self, text: str) -> None:
        """One more text."""
        self._last.append(text)
        if len(self._last) >= 10 * HELD:
            self._sorted.extend(sorted(self._last))
            self._ends.append(len(self._sorted))
            self._last = []

    def __iter__(self) -> Iterator[str]:
        parts = [self._sorted.part(*ends) for ends in pairwise(self._ends)]
        return heapq.merge(*parts, sorted(self._last)) if parts else iter(sorted(self._last))


class FirstOf:
    """Which came first of those that are the same: a text for each digest (hex), the first that was given.

    Raises DiskError when there is no room for its file.
    """

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._database: sqlite3.Connection | None = None

    def get(self, digest: str) -> str | None:
        """What was given for a digest; None: nothing."""
        found = self._held.get(digest)
        if found is None and self._database is not None:
            row = self._asked("SELECT told FROM first WHERE digest = ?", (digest,))
            found = None if row is None else row[0]
        return found

    def add(self, digest: str, told: str) -> None:
        """What is given for a digest that has none."""
        self._held[digest] = told
        if len(self._held) > 2 * HELD:
            self._write()

    def _asked(self, statement: str, names: tuple[str]) -> Any:
        assert self._database is not None
        try:
            return self._database.execute(statement, names).fetchone()
        except sqlite3.Error as error:
            raise _no_room(error) from error

    def _write(self) -> None:
        try:
            if self._database is None:
                self._database = _scratch()
            self._database.executemany("INSERT OR IGNORE INTO first VALUES (?, ?)", sorted(self._held.items()))
        except sqlite3.Error as error:
            raise _no_room(error) from error
        self._held = {}


def _scratch() -> sqlite3.Connection:
    """A database in a file without a name: SQLite removes it when it is closed, and when the process dies."""
    made = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    made.execute("PRAGMA journal_mode=OFF")
    made.execute("PRAGMA cache_size=-1024")
    made.execute("CREATE TABLE first (digest TEXT PRIMARY KEY, told TEXT NOT NULL) WITHOUT ROWID")
    return made


def _write_all(file: int, data: bytes, at: int) -> None:
    """A disk that is nearly full takes a part and says so, before it refuses the rest."""
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, at)
        left, at = left[written:], at + written


def folder() -> str | None:
    """Where temporary files are made; None: where Python makes them."""
    disk = Path("/var/tmp")  # noqa: S108 - the file has no name there, and nobody else can open it
    return None if os.environ.get("TMPDIR") or not os.access(disk, os.W_OK) else str(disk)


def _no_room(error: Exception) -> DiskError:
    told = error.strerror if isinstance(error, OSError) else error
    return DiskError(f"a long list needs a temporary file, which cannot be written: {told}", _HINT)
