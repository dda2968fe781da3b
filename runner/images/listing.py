"""What stands in a folder, as one digest: whether anything in it has changed, without a look into any file."""

import hashlib
import marshal
import os
import stat
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter

# So many entries are looked at together.
_TOGETHER = 1_000
# A folder with more entries has no digest: they are sorted in memory.
ENTRIES_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a folder: names, and of what is no folder how it is on the disk (kind and
    rights, size, both moments, inode).

    `digest`: the same for the same entries. `folders`: names. `newest_ns`: when any of the other entries
    was last changed, in nanoseconds since 1970 (`ctime`); 0: there are none.
    """

    digest: bytes
    folders: list[str]
    count: int
    newest_ns: int


def listing_of(folder: str) -> Listing | None:
    """What stands in a folder now. None: it is not there, cannot be read, or has too much in it."""
    try:
        # Relative to the open folder, so that no path is walked anew for each of them.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            names = os.listdir(opened)  # noqa: PTH208 - of an open folder
            if len(names) > ENTRIES_MAX:
                return None
            names.sort()
            return _digested(opened, names)
        finally:
            os.close(opened)
    except OSError:
        return None


def _digested(opened: int, names: list[str]) -> Listing:
    """What these entries of an open folder are. Some at a time: what is told of one takes three times its name."""
    digest, folders, newest_ns = hashlib.sha256(), list[str](), 0
    for at in range(0, len(names), _TOGETHER):
        some = names[at : at + _TOGETHER]
        # One look at the disk for each, and nothing of Python's in between: there may be a million of them.
        rows = list(map(_FACTS, map(partial(os.stat, dir_fd=opened, follow_symlinks=False), some)))
        if any(map(stat.S_ISDIR, set(map(_MODE, rows)))):
            folders += [name for name, row in zip(some, rows, strict=True) if stat.S_ISDIR(row[0])]
            rows = [row if not stat.S_ISDIR(row[0]) else () for row in rows]
        newest_ns = max(newest_ns, max(map(_CTIME_NS, filter(None, rows)), default=0))
        # Its version 2 writes equal values alike, however they are shared in memory.
        digest.update(marshal.dumps((some, rows), 2))
    return Listing(digest.digest(), folders, len(names), newest_ns)


_FACTS = attrgetter("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
_MODE, _CTIME_NS = itemgetter(0), itemgetter(3)
