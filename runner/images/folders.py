"""Finds source pictures: globs over a folder, in a fixed order, never through a symbolic link."""

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.errors import DiskError, UsageError
from runner.images.listing import Listing
from runner.pile import InOrder

# A picture's own prompt lies beside it, as `photo.jpg.prompt.txt`; it is never a picture itself.
SIDECAR_SUFFIX = ".prompt.txt"

_SEGMENTS_MAX = 64
# `folder = "/"` is a slip of the pen, not a job: stop before the whole disk has been walked.
_ENTRIES_MAX = 20_000_000


def find(folder: Path, include: Sequence[str], exclude: Sequence[str], *, leave_out: Sequence[Path] = ()) -> list[Path]:
    """All files under `folder` that an include glob matches and no exclude glob does; absolute, sorted.

    Globs are relative to `folder`, with `/` between segments: `*`, `?` and `[a-z]` stay within one segment, `**`
    stands for any number of folders, none included; `drafts/` means all that lies under it. Upper and lower case
    differ, except in the extension: `*.jpg` finds `A.JPG`. Names that begin with a dot are found only by a segment
    that writes the dot. `folder` itself may be a symbolic link; links under it are left out, as are sidecars and
    all that lies under a `leave_out` path. Raises DiskError for a folder that cannot be read and UsageError for a
    glob of more than 64 segments.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - Path.resolve() would replace a linked folder's name
    return [root / rel for rel in found(folder, include, exclude, leave_out=leave_out)]


def found(
    folder: Path,
    include: Sequence[str],
    exclude: Sequence[str],
    *,
    leave_out: Sequence[Path] = (),
    pass_over: Callable[[str], Listing | None] | None = None,
) -> Iterator[str]:
    """As `find`, one path after the other, relative to `folder` with `/` between names: one folder at a time is held.

    They come in the order of their names, folder by folder, which is the order of sorted paths. `pass_over` is asked
    about each folder (absolute): what stands in it, when those directly in it are to be left out; otherwise None.
    """
    included, excluded = [_glob(text) for text in include], [_glob(text) for text in exclude]
    closed = _Closed(leave_out)
    if closed.has_above(folder):
        return iter(())
    top = _Level.top(included, hidden=False), _Level.top(excluded, hidden=True)
    return _walked(os.path.abspath(folder), closed, *top, pass_over)  # noqa: PTH100 - as above


class _Closed:
    """Folders that are left out, whatever name leads to them: known by their number on the disk, not by their path."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._numbers: set[tuple[int, int]] = set()
        for path in paths:
            with suppress(OSError):  # what is not there has nothing in it
                self._numbers.add(_number(path.stat()))
        self._inodes = {inode for _, inode in self._numbers}

    def has_above(self, folder: Path) -> bool:
        """Whether the folder, or one above it, is left out."""
        if not self._numbers:
            return False
        real = Path(os.path.realpath(folder))
        for one in (real, *real.parents):
            with suppress(OSError):
                if _number(one.stat()) in self._numbers:
                    return True
        return False

    def has(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry of a folder is left out."""
        return entry.inode() in self._inodes and _number(entry.stat(follow_symlinks=False)) in self._numbers

    def has_at(self, path: str) -> bool:
        """The same of what stands at a path."""
        try:
            return _number(os.lstat(path)) in self._numbers
        except OSError:
            return False


def _number(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _walked(
    root: str,
    closed: _Closed,
    included: "_Level",
    excluded: "_Level",
    pass_over: Callable[[str], Listing | None] | None,
) -> Iterator[str]:
    """The files under a folder, in order. Folders are walked into by a list of our own: Python's calls go 1000 deep."""
    seen = 0
    deeper: tuple[str, _Level, _Level] | None = ("", included, excluded)
    waiting: list[tuple[str, Iterator[str], frozenset[str], _Level, _Level]] = []
    while deeper is not None or waiting:
        if deeper is not None:
            above, included, excluded = deeper
            names, folders, count = _listed(root, above, closed, included, excluded, pass_over)
            waiting.append((above, names, folders, included, excluded))
            deeper = None
            seen += count
            if seen > _ENTRIES_MAX:
                raise _too_many(Path(root))
        above, left, folders, included, excluded = waiting[-1]
        for name in left:
            if name not in folders:
                yield above + name
                continue
            below = included.below(name)
            if below.reached:
                deeper = f"{above}{name}/", below, excluded.below(name)
                break
        else:
            waiting.pop()


def _listed(
    root: str,
    above: str,
    closed: _Closed,
    included: "_Level",
    excluded: "_Level",
    pass_over: Callable[[str], Listing | None] | None,
) -> tuple[Iterator[str], frozenset[str], int]:
    """What counts in one folder under the root, by name; which of it are folders; how many entries there are in all.

    `above` ends with `/`, or is empty.
    """
    folder = f"{root}/{above}" if above else root
    names = InOrder()
    folders: list[str] = []
    passed = None if pass_over is None else pass_over(folder.rstrip("/"))
    if passed is not None:
        folders = [name for name in passed.folders if not closed.has_at(f"{folder}/{name}")]
        return iter(sorted(folders)), frozenset(folders), passed.count
    is_in, is_out = included.accepts, excluded.accepts
    count = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    if not closed.has(entry):
                        folders.append(name)
                        names.append(name)
                elif (
                    is_in(name) and entry.is_file(follow_symlinks=False) and not is_out(name) and not closed.has(entry)
                ):
                    names.append(name)
                if count > _ENTRIES_MAX:
                    raise _too_many(Path(root))
    except OSError as error:
        raise _unreadable(Path(root, above), error) from error
    return iter(names), frozenset(folders), count


def _too_many(root: Path) -> DiskError:
    return DiskError(
        f"`{root}` holds more than {_ENTRIES_MAX} files and folders",
        "name a folder nearer to the pictures in [[sources]] folder",
    )


def _unreadable(folder: Path, error: OSError) -> DiskError:
    if isinstance(error, FileNotFoundError):
        return DiskError(f"the folder `{folder}` does not exist", "create it, or correct [[sources]] folder")
    if isinstance(error, NotADirectoryError):
        return DiskError(f"`{folder}` is not a folder", "correct [[sources]] folder")
    return DiskError(
        f"the folder `{folder}` cannot be read: {error.strerror}",
        "let this user read it, or leave it out with `exclude` of the folder above",
    )


@dataclass(frozen=True, slots=True)
class _Glob:
    """One pattern, a segment at a time. `segments` holds None for `**`."""

    texts: tuple[str, ...]
    segments: tuple[re.Pattern[str] | None, ...]
    dotted: tuple[bool, ...]
    folded: re.Pattern[str] | None  # the last segment with its extension in lower case

    def past_any_folders(self, reached: set[int]) -> set[int]:
        """The same places, and those behind each `**` that stands for nothing."""
        for at in sorted(reached):
            while at < len(self.segments) and self.segments[at] is None:
                at += 1
                reached.add(at)
        return reached

    def step(self, reached: set[int], name: str, *, hidden: bool, last: bool) -> set[int]:
        """How many segments can be used up by the names so far and one more name: a table, so that no pattern can make
        it run away. `hidden`: names with a leading dot need not be written with it.
        """
        shown = hidden or not name.startswith(".")
        after: set[int] = set()
        for at in reached:
            if at == len(self.segments):
                continue
            segment = self.segments[at]
            if segment is None:
                after |= {at} if shown else set()
            elif (shown or self.dotted[at]) and self._fits(segment, at, name, last):
                after.add(at + 1)
        return self.past_any_folders(after)

    def _fits(self, segment: re.Pattern[str], at: int, name: str, last: bool) -> bool:
        if segment.match(name):
            return True
        ends_here = last and at == len(self.segments) - 1
        return ends_here and self.folded is not None and self.folded.match(_extension_lowered(name)) is not None


class _Level:
    """What some globs have come to in one folder. Most files of a folder end alike: an answer is remembered by ending
    where every glob that is left looks at nothing else.
    """

    def __init__(self, globs: Sequence[_Glob], reached: Sequence[set[int]], *, hidden: bool) -> None:
        left = [(glob, at) for glob, at in zip(globs, reached, strict=True) if at]
        self._globs, self.reached, self._hidden = [glob for glob, _ in left], [at for _, at in left], hidden
        self._by_ending: dict[str, bool] | None = {} if all(map(_asks_the_ending, self._globs, self.reached)) else None

    @classmethod
    def top(cls, globs: Sequence[_Glob], *, hidden: bool) -> "_Level":
        """Before the first name."""
        return cls(globs, [glob.past_any_folders({0}) for glob in globs], hidden=hidden)

    def below(self, name: str) -> "_Level":
        """In a folder of this one."""
        reached = [
            glob.step(at, name, hidden=self._hidden, last=False)
            for glob, at in zip(self._globs, self.reached, strict=True)
        ]
        return _Level(self._globs, reached, hidden=self._hidden)

    def accepts(self, name: str) -> bool:
        """Whether a file of this folder fits one of the globs. Prompts beside pictures never do."""
        if name.endswith(SIDECAR_SUFFIX):
            return False
        if self._by_ending is None or name.startswith("."):
            return self._accepts(name)
        ending = name[name.rfind(".") :] if "." in name else ""
        found = self._by_ending.get(ending)
        if found is None:
            found = self._by_ending[ending] = self._accepts(name)
        return found

    def _accepts(self, name: str) -> bool:
        return any(
            len(glob.segments) in glob.step(at, name, hidden=self._hidden, last=True)
            for glob, at in zip(self._globs, self.reached, strict=True)
        )


_ENDING_ALONE = re.compile(r"\*(\.[A-Za-z0-9]+)?")


def _asks_the_ending(glob: _Glob, reached: set[int]) -> bool:
    """Whether a file fits by its extension alone: each segment that can be the last is `*` or `*.x`."""
    end = len(glob.segments)
    return all(
        _ENDING_ALONE.fullmatch(glob.texts[at]) is not None or end not in glob.past_any_folders({at + 1})
        for at in reached
        if at < end and glob.segments[at] is not None
    )


def _glob(text: str) -> _Glob:
    names = [name for name in text.split("/") if name != "."]
    if names and names[-1] == "":
        names[-1] = "**"
    if len(names) > _SEGMENTS_MAX:
        raise UsageError(
            f"the pattern `{text[:40]}…` has {len(names)} segments, at most {_SEGMENTS_MAX} are accepted",
            "use `**` for any number of folders",
        )
    # Each `*` of fnmatch's expressions is possessive (bpo-40480), so that none runs away on a long name.
    segments = tuple(None if name == "**" else re.compile(fnmatch.translate(name)) for name in names)
    last = names[-1] if names else "**"
    folded = None if last == "**" else re.compile(fnmatch.translate(_extension_lowered(last)))
    return _Glob(tuple(names), segments, tuple(name.startswith(".") for name in names), folded)


def _extension_lowered(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return stem + dot + extension.lower() if dot else name
