"""Folders in which a plan found nothing to do, and nothing has changed since: they are not looked into again.

What is remembered of a folder of pictures, in the file of `seen`: what stood in it and in the folders of its results
(names, sizes, moments, inodes), all that the recipe asks, how far the ledger had come, and how many items there were,
each paid for and in place. When all of that is as it was, so is the answer. What the ledger has booked since is asked
for: a folder with an item in it that was booked again is looked into. So is one of which anything is young (see
`seen`), or not known.
"""

import sqlite3
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runner.images.listing import Listing, listing_of
from runner.pile import Pile

TABLE = """CREATE TABLE unchanged (recipe TEXT NOT NULL, folder TEXT NOT NULL, terms BLOB NOT NULL,
listing BLOB NOT NULL, results TEXT NOT NULL, items INTEGER NOT NULL, ledger TEXT NOT NULL, entry INTEGER NOT NULL,
hash BLOB NOT NULL, keys BLOB NOT NULL, PRIMARY KEY (recipe, folder))"""

# Results of one folder of pictures that go to more folders than this are looked for one by one.
_RESULT_FOLDERS_MAX = 16
_LISTINGS_HELD = 4096
_KEY_BYTES = 8
# A record this many entries behind is written anew when it holds, so that never many have to be asked for.
_BEHIND_MAX = 1000
# After more entries than this, every folder is looked into.
_ENTRIES_MAX = 200_000

_GET = (
    "SELECT rowid, listing, results, items, ledger, entry, hash FROM unchanged "
    "WHERE recipe = ? AND folder = ? AND terms = ?"
)
_KEYS = "SELECT keys FROM unchanged WHERE rowid = ?"
_PUT = "INSERT OR REPLACE INTO unchanged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MOVE = (
    "UPDATE unchanged SET entry = ?, hash = ? "
    "WHERE recipe = ? AND folder = ? AND entry = ? AND listing = ? AND terms = ? AND ledger = ?"
)
_FORGET = "DELETE FROM unchanged WHERE recipe = ? AND folder = ?"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a ledger had come: its uid, its newest entry, and that one's hash."""

    ledger: str
    entry: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """What a ledger says of itself. `hash_of`: an entry's hash, None when there is none; `keys`: the item keys of the
    attempts that have an entry after the first and up to the second number.
    """

    now: Position
    hash_of: Callable[[int], bytes | None]
    keys: Callable[[int, int], Iterator[str]]


@dataclass(slots=True)
class _Record:
    """A folder of pictures that was looked into: what is to be remembered of it, if it may be."""

    listing: bytes
    items: int = 0
    is_quiet: bool = True
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    results: dict[str, bytes] = field(default_factory=dict)


class Unchanged:
    """What one plan of a recipe knows of its folders. In any trouble with the memory, a folder is looked into.

    `terms`: a digest of all that the answer depends on beside the files and the ledger.
    """

    def __init__(
        self, database: sqlite3.Connection, recipe: str, terms: bytes, moved: Moved, *, keep: bool, young_ns: int
    ) -> None:
        self._database: sqlite3.Connection | None = database
        self._recipe, self._terms, self._moved, self._keep = recipe, terms, moved, keep
        self._old_enough_ns = time.time_ns() - young_ns
        self._listed: dict[str, bytes] = {}
        self._results: dict[str, bytes | None] = {}
        self._open: dict[str, _Record] = {}
        self._found: Pile = Pile()
        self._hashes: dict[int, bool] = {moved.now.entry: True}
        # The newest entry of each item key that has one after `_asked_from`.
        self._newest: dict[int, int] = {}
        self._asked_from = moved.now.entry
        self.items = 0
        # Where results of what is unchanged are, and of which folder they are.
        self.folders = Pile()
        self.passed = Pile()

    def look(self, folder: str) -> Listing | None:
        """What stands in a folder, when all pictures directly in it are paid for and in place, as they were.

        None: they have to be looked at. Then what stands in it is noted.
        """
        listing = listing_of(folder)
        if listing is None:
            return None
        items = self._held(folder, listing.digest)
        if items is not None:
            self.items += items
            return listing
        if listing.newest_ns <= self._old_enough_ns:
            self._listed[folder] = listing.digest
        return None

    def expect(self, source: str, output: str) -> None:
        """A result of a picture in `source` is to stand in the folder `output`. Before anybody looks for it there."""
        digest = self._listed.get(source)
        if digest is None:
            return
        record = self._open.get(source)
        if record is None:
            record = self._open[source] = _Record(digest)
        if output not in record.results:
            result = self._listing(output)
            if result is None or len(record.results) >= _RESULT_FOLDERS_MAX:
                record.is_quiet = False
            else:
                record.results[output] = result

    def note(self, source: str, key: str | None, *, is_quiet: bool) -> None:
        """One item of a picture in that folder was decided about. `is_quiet`: it is paid for and in place."""
        record = self._open.get(source)
        if record is None:
            return
        record.items += 1
        if key is None or not is_quiet:
            record.is_quiet = False
        if record.is_quiet and key is not None:
            record.keys.append(_number(key))

    def leave(self, keep: Callable[[str], bool]) -> None:
        """No more items come of the folders for which `keep` says no."""
        for folder in [one for one in self._open if not keep(one)]:
            record = self._open.pop(folder)
            del self._listed[folder]
            if record.is_quiet and record.items:
                results = _packed(record.results)
                self._found.append((folder, record.listing, results, record.items, record.keys.tobytes()))
            else:
                self._found.append((folder,))

    def remember(self) -> None:
        """Write down what was found: the plan is made, and nothing was wrong with it."""
        self.leave(lambda _: False)
        now, database = self._moved.now, self._database
        if database is None or not self._keep or not len(self._found):
            return
        with suppress(sqlite3.Error, ValueError):  # the latter of a name that is no text
            try:
                database.execute("BEGIN IMMEDIATE")
                for folder, *told in self._found:
                    if len(told) == 2:
                        told = [self._recipe, folder, *told, self._terms, now.ledger]
                        database.execute(_MOVE, (now.entry, now.hash, *told))
                    elif told:
                        listing, results, items, keys = told
                        position = now.ledger, now.entry, now.hash
                        database.execute(
                            _PUT, (self._recipe, folder, self._terms, listing, results, items, *position, keys)
                        )
                    else:
                        database.execute(_FORGET, (self._recipe, folder))
            finally:
                if database.in_transaction:
                    database.execute("COMMIT")

    def _held(self, folder: str, listing: bytes) -> int | None:
        """How many items a folder has, when it is as it was remembered, and so are its results."""
        if self._database is None:
            return None
        try:
            row = self._database.execute(_GET, (self._recipe, folder, self._terms)).fetchone()
            if row is None or row[1] != listing:
                return None
            number, _, told, items, ledger, entry, known_hash = row
            results = _unpacked(told)
            if not results or any(self._listing(one) != was for one, was in results.items()):
                return None
            if ledger != self._moved.now.ledger or not self._is_past(entry, known_hash):
                return None
            if entry < self._moved.now.entry and not self._is_untouched(number, entry):
                return None
            if not isinstance(items, int) or items < 1:
                return None
        except (sqlite3.Error, ValueError, TypeError, AttributeError):  # a file of SQLite's can hold anything
            return None
        if self._moved.now.entry - entry > _BEHIND_MAX:
            self._found.append((folder, entry, listing))
        self.folders.extend(results)
        self.passed.append((folder, list(results)))
        return items

    def _is_past(self, entry: int, known_hash: bytes) -> bool:
        """Whether the ledger has come by that entry: one that was brought back from a copy may have another there."""
        if entry == self._moved.now.entry:
            return known_hash == self._moved.now.hash
        if entry > self._moved.now.entry or self._moved.now.entry - entry > _ENTRIES_MAX:
            return False
        if entry not in self._hashes:
            self._hashes[entry] = (self._moved.hash_of(entry) or b"") == known_hash
        return self._hashes[entry]

    def _is_untouched(self, number: int, entry: int) -> bool:
        """Whether no item of the folder has been booked after that entry."""
        assert self._database is not None
        if entry < self._asked_from:
            for key in self._moved.keys(entry, self._asked_from):
                self._newest.setdefault(_number(key), self._asked_from)
            self._asked_from = entry
        if not self._newest:
            return True
        keys = array("q")
        keys.frombytes(self._database.execute(_KEYS, (number,)).fetchone()[0])
        return not any(self._newest.get(key, 0) > entry for key in self._newest.keys() & set(keys))

    def _listing(self, folder: str) -> bytes | None:
        """What stands in a folder of results, as a digest. None: it cannot be read, has too much in it, or is young."""
        if folder in self._results:
            return self._results[folder]
        if len(self._results) >= _LISTINGS_HELD:
            del self._results[next(iter(self._results))]
        listing = listing_of(folder)
        is_old = listing is not None and listing.newest_ns <= self._old_enough_ns
        found = self._results[folder] = listing.digest if listing is not None and is_old else None
        return found


def _number(key: str) -> int:
    return int.from_bytes(bytes.fromhex(key[: 2 * _KEY_BYTES]), "big", signed=True)


def _packed(results: dict[str, bytes]) -> str:
    return "\n".join(f"{digest.hex()} {folder}" for folder, digest in results.items())


def _unpacked(told: str) -> dict[str, bytes]:
    return {line[65:]: bytes.fromhex(line[:64]) for line in told.split("\n") if line}


def outside_of_each_other(folders: Sequence[Path]) -> bool:
    """Whether no folder is, or lies in, another of them, links followed: then each picture is of one of them."""
    real = sorted(Path(one).resolve() for one in folders)
    return not any(later.is_relative_to(one) for at, one in enumerate(real) for later in real[at + 1 :])
