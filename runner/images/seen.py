"""What was seen of picture files before, so that a plan looks only into those that may have changed.

A file is taken for the one that was seen when its size, both of its moments (content and entry) and its number on the
disk are the same. Whoever writes a file anew changes its `ctime`, which no program can set back; only a file that was
still young when it was seen could be written again within the same tick of the clock, so such a file is not remembered
(git's rule for "racily clean" entries). What is remembered decides what is planned, never what is sent: `prepare`
digests the very bytes again.

The memory is a SQLite file of its own. It may be deleted at any time, by anybody; one that cannot be read is begun
anew, and one that cannot be written is done without.
"""

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import PIL  # its number alone: nothing of it is imported

from runner import __version__
from runner.contracts.contract import PictureLimits
from runner.images.chunks import SUFFIXES
from runner.images.picture import Picture, Unsuitable
from runner.images.provenance import digests
from runner.images.unchanged import TABLE as UNCHANGED
from runner.images.unchanged import Moved, Unchanged

FILE_NAME = "seen.db"
# Coarser than the clock of any file system that counts (FAT: 2 s).
YOUNG_NS = 2_000_000_000

_VERSION = 2
_BYTES_MAX = 4 * 1024**3  # then it is begun anew: rows of files that are gone are not looked for
_WAIT_S = 1.0
_TOGETHER = 2_000
_FOLDERS_HELD = 8
_FILES_HELD = 5_000  # of one folder; in a larger one each is asked for by itself
_INODE_MASK = 2**63 - 1  # what SQLite can hold
_KINDS = (bytes, str, int, int, int)
_TABLES = (
    "CREATE TABLE folders (id INTEGER PRIMARY KEY, how TEXT NOT NULL, path TEXT NOT NULL, UNIQUE (how, path))",
    """CREATE TABLE files (folder INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, digests BLOB NOT NULL,
    media_type TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, flags INTEGER NOT NULL,
    PRIMARY KEY (folder, name)) WITHOUT ROWID""",
    UNCHANGED,
)
_FOLDER = "SELECT id FROM folders WHERE how = ? AND path = ?"
_FILES = (
    "SELECT name, size, mtime_ns, ctime_ns, inode, digests, media_type, width, height, flags FROM files "
    "WHERE folder = ? LIMIT ?"
)
_FILE = (
    "SELECT name, size, mtime_ns, ctime_ns, inode, digests, media_type, width, height, flags FROM files "
    "WHERE folder = (SELECT id FROM folders WHERE how = ? AND path = ?) AND name = ?"
)
_FORGET = "DELETE FROM files WHERE name = ? AND folder IN (SELECT id FROM folders WHERE path = ?)"
_PUT = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

# What SQLite raises on a file that is no database, is locked, or is where nothing can be written; and what Python does
# for a name that is not text.
_TROUBLE = (sqlite3.Error, OSError, UnicodeError, OverflowError)

# How a file is on the disk: size, both moments, its number. What was seen in it: digests, media type, width, height and
# flags. A row is its name and both.
_State = tuple[int, int, int, int]
_Told = tuple[bytes, str, int, int, int]
_Row = tuple[str, int, int, int, int, bytes, str, int, int, int]

Found = TypeVar("Found")


class Seen:
    """The memory of one project. Not for several threads; any number of processes may use the same file.

    `file` None: nothing is remembered. `trust` False: whatever is asked for is looked at anew, and remembered.
    `keep` False: what is seen is not written down, and the file is left as it is. `young_ns`: how old a file's moments
    must be to be remembered.
    """

    def __init__(self, file: Path | None, *, trust: bool = True, keep: bool = True, young_ns: int = YOUNG_NS) -> None:
        self._file, self._trust, self._keep, self._young_ns = file, trust, keep, young_ns
        self._known: dict[tuple[str, str], dict[str, _Row] | None] = {}
        self._new: dict[tuple[str, str, str], _Row] = {}
        self._database = None if file is None else _opened(file) if keep else _opened_to_read(file)

    def __enter__(self) -> "Seen":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write down what was seen, and let go of the file. Raises nothing: what is not written is seen again."""
        self._write()
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = None

    def looking(
        self, limits: PictureLimits, *, output_format: str, flatten: str | None, sixteen_bit: bool
    ) -> Callable[[Path], Picture | Unsuitable]:
        """As `sources.inspect` with these arguments; a suitable picture that is as it was seen is not opened."""
        how = _how(limits, output_format, flatten, sixteen_bit)

        def look(path: Path) -> Picture | Unsuitable:
            from runner.images.sources import inspect  # with Pillow; a plan of known pictures needs none

            return inspect(path, limits, output_format=output_format, flatten=flatten, sixteen_bit=sixteen_bit)

        def known(path: Path) -> Picture | Unsuitable:
            row = self._row(how, path)
            return self._looked(how, path, look, _row_of) if row is None else _picture_of(path, row)

        return known

    def digests(self, path: Path) -> list[str]:
        """As `provenance.digests`; a file that is as it was seen is not opened. Raises OSError."""
        row = self._row("result", path)
        if row is not None:
            return [row[5][at : at + 32].hex() for at in range(0, len(row[5]), 32)]
        return self._looked("result", path, digests, lambda found: (bytes.fromhex("".join(found)), "", 0, 0, 0))

    def unchanged(self, recipe: str, terms: object, moved: Moved) -> Unchanged | None:
        """What is known of a recipe's folders as wholes; None: nothing is believed, or there is no memory.

        `terms`: all that what is done with a picture depends on, beside the picture, its results and the ledger. Its
        text must say all of it, the same in each process.
        """
        if not self._trust or self._database is None:
            return None
        told = repr((_VERSION, __version__, PIL.__version__, terms))
        digest = hashlib.sha256(told.encode(errors="surrogatepass")).digest()
        return Unchanged(self._database, recipe, digest, moved, keep=self._keep, young_ns=self._young_ns)

    def _row(self, how: str, path: Path) -> _Row | None:
        """What is remembered of a file, when it is still that file."""
        if not self._trust or self._database is None:
            return None
        folder, name = os.path.split(path)
        known = self._known[how, folder] if (how, folder) in self._known else self._read(how, folder)
        row = self._read_one(how, folder, name) if known is None else known.get(name)
        return row if row is not None and _as_it_is(path) == row[1:5] and _is_whole(row) else None

    def _looked(
        self, how: str, path: Path, look: Callable[[Path], Found], row_of: Callable[[Found], _Told | None]
    ) -> Found:
        begun_ns, before = time.time_ns(), _as_it_is(path)
        found = look(path)
        if not self._keep or self._database is None or before is None or max(before[1:3]) > begun_ns - self._young_ns:
            return found
        told = row_of(found)
        if told is not None and _as_it_is(path) == before:
            folder, name = os.path.split(path)
            self._new[how, folder, name] = (name, *before, *told)
            if len(self._new) >= _TOGETHER:
                self._write()
        return found

    def _read(self, how: str, folder: str) -> dict[str, _Row] | None:
        """All that is remembered of a folder's files; None: they are too many to be held."""
        known: dict[str, _Row] | None = {}
        with self._usable() as database:
            if database is not None:
                number = database.execute(_FOLDER, (how, folder)).fetchone()
                rows = [] if number is None else database.execute(_FILES, (*number, _FILES_HELD + 1)).fetchall()
                known = {row[0]: row for row in rows} if len(rows) <= _FILES_HELD else None
        while len(self._known) >= _FOLDERS_HELD:
            del self._known[next(iter(self._known))]
        self._known[how, folder] = known
        return known

    def _read_one(self, how: str, folder: str, name: str) -> _Row | None:
        row: _Row | None = None
        with self._usable() as database:
            if database is not None:
                row = database.execute(_FILE, (how, folder, name)).fetchone()
        return row

    def _write(self) -> None:
        new, self._new = self._new, {}
        if not new:
            return
        with self._usable() as database:
            if database is not None:
                database.execute("BEGIN IMMEDIATE")
                numbers: dict[tuple[str, str], int] = {}
                for (how, folder, _), row in new.items():
                    if (how, folder) not in numbers:
                        numbers[how, folder] = _number(database, how, folder)
                    database.execute(_PUT, (numbers[how, folder], *row))
                database.execute("COMMIT")

    @contextmanager
    def _usable(self) -> Iterator[sqlite3.Connection | None]:
        """The database; after any trouble with it, the rest is done without."""
        try:
            yield self._database
        except _TROUBLE as error:
            if self._database is not None:
                with suppress(sqlite3.Error):
                    self._database.close()
            self._database = None
            if self._file is not None and self._keep and _is_damage(error):
                _remove(self._file)


def forget(file: Path, path: Path) -> None:
    """Have the memory know nothing of a file any more, whatever was seen in it. Raises nothing."""
    folder, name = os.path.split(path)
    with suppress(*_TROUBLE):
        database = sqlite3.connect(f"{file.as_uri()}?mode=rw", timeout=_WAIT_S, isolation_level=None, uri=True)
        with closing(database):
            database.execute(_FORGET, (name, folder))


def _how(limits: PictureLimits, output_format: str, flatten: str | None, sixteen_bit: bool) -> str:
    """A name for everything beside the file that what is seen in it depends on."""
    told = repr((_VERSION, __version__, PIL.__version__, limits, output_format, flatten, sixteen_bit))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _as_it_is(path: Path) -> _State | None:
    """How a regular file is on the disk now; None when there is none.

    The number of its disk is left out: a disk that is mounted again may have another.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & _INODE_MASK


def _row_of(found: Picture | Unsuitable) -> _Told | None:
    """What is remembered of a picture. Not of one that is not sent: why may be of the moment, as who may read it is."""
    if isinstance(found, Unsuitable):
        return None
    flags = found.has_alpha + 2 * found.sixteen_bit + 4 * found.needs_preparing
    return bytes.fromhex(found.digest), found.media_type, found.width, found.height, flags


def _picture_of(path: Path, row: _Row) -> Picture:
    _, size, _, _, _, digest, media_type, width, height, flags = row
    alpha, sixteen_bit, needs_preparing = bool(flags & 1), bool(flags & 2), bool(flags & 4)
    return Picture(path, digest.hex(), size, media_type, width, height, alpha, sixteen_bit, needs_preparing)


def _is_whole(row: _Row) -> bool:
    """Whether a row can have been put in: SQLite keeps whatever it is given, and disks forget."""
    if tuple(map(type, row[5:])) != _KINDS:
        return False
    digests, media_type, width, height, flags = row[5:]
    if not media_type:  # a result, of which nothing but its digests is remembered
        return len(digests) in (32, 64) and not (width or height or flags)
    return len(digests) == 32 and media_type in SUFFIXES and min(width, height) > 0 and 0 <= flags <= 7


def _opened(file: Path) -> sqlite3.Connection | None:
    """The memory; begun anew when it is damaged, of another version or too large. None: there is no place for it."""
    if not file.parent.is_dir():
        return None
    for _ in range(2):
        try:
            # Made by us, so that only its owner can read it from the first moment on.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            if file.stat().st_size <= _BYTES_MAX:
                return _made_ready(sqlite3.connect(file, timeout=_WAIT_S, isolation_level=None))
        except _TROUBLE as error:
            if not _is_damage(error):
                return None
        _remove(file)
    return None


def _opened_to_read(file: Path) -> sqlite3.Connection | None:
    """The memory's database as it stands; None when there is none that can be used."""
    if not file.is_file():
        return None
    database = None
    with suppress(*_TROUBLE):
        database = sqlite3.connect(f"{file.as_uri()}?mode=ro", timeout=_WAIT_S, isolation_level=None, uri=True)
        if database.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
            return database
    if database is not None:
        database.close()
    return None


def _made_ready(database: sqlite3.Connection) -> sqlite3.Connection:
    """The same, with its tables. Raises what SQLite raises, and has closed it then."""
    try:
        database.execute("PRAGMA trusted_schema=OFF")
        database.execute("PRAGMA synchronous=NORMAL")
        if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            database.execute("BEGIN IMMEDIATE")  # two that begin at once: the second finds the work done
            found = database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its version is {found}")
            if found == 0:
                for statement in _TABLES:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version={_VERSION}")
            database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _number(database: sqlite3.Connection, how: str, folder: str) -> int:
    """The number of a folder, which is given one when it has none."""
    database.execute("INSERT OR IGNORE INTO folders (how, path) VALUES (?, ?)", (how, folder))
    return int(database.execute(_FOLDER, (how, folder)).fetchone()[0])


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is wrong, and not the moment: locked, full and read-only are of the moment."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error) or "already exists" in str(error) or "has no column" in str(error)
    return isinstance(error, sqlite3.DatabaseError)


def _remove(file: Path) -> None:
    for name in (file.name, f"{file.name}-journal"):
        with suppress(OSError):
            file.with_name(name).unlink()
