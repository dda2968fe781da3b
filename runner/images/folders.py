"""Finds source pictures: globs over a folder, in a fixed order, never through a symbolic link."""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import DiskError, UsageError

# A picture's own prompt lies beside it, as `photo.jpg.prompt.txt`; it is never a picture itself.
SIDECAR_SUFFIX = ".prompt.txt"

_SEGMENTS_MAX = 64
# `folder = "/"` is a slip of the pen, not a job: stop before the whole disk has been walked.
_ENTRIES_MAX = 1_000_000


def find(folder: Path, include: Sequence[str], exclude: Sequence[str], *, leave_out: Sequence[Path] = ()) -> list[Path]:
    """All files under `folder` that an include glob matches and no exclude glob does; absolute, sorted.

    Globs are relative to `folder`, with `/` between segments: `*`, `?` and `[a-z]` stay within one segment, `**`
    stands for any number of folders, none included; `drafts/` means all that lies under it. Upper and lower case
    differ, except in the extension: `*.jpg` finds `A.JPG`. Names that begin with a dot are found only by a segment
    that writes the dot. `folder` itself may be a symbolic link; links under it are left out, as are sidecars and
    all that lies under a `leave_out` path. Raises DiskError for a folder that cannot be read and UsageError for a
    glob of more than 64 segments.
    """
    included, excluded = [_glob(text) for text in include], [_glob(text) for text in exclude]
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - Path.resolve() would replace a linked folder's name
    real_root = Path(os.path.realpath(folder))
    closed = {Path(os.path.realpath(path)) for path in leave_out}
    if any(path == real_root or path in real_root.parents for path in closed):
        return []
    found = [
        root.joinpath(*parts)
        for parts in _files(root, real_root, closed)
        if any(glob.matches(parts, hidden=False) for glob in included)
        and not any(glob.matches(parts, hidden=True) for glob in excluded)
    ]
    return sorted(found)


def _files(root: Path, real_root: Path, closed: set[Path]) -> Iterator[tuple[str, ...]]:
    """The regular files under a folder, each as the names that lead to it."""
    entries = 0
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(root.joinpath(*above)) as listing:
                for entry in listing:
                    entries += 1
                    if entries > _ENTRIES_MAX:
                        raise _too_many(root)
                    parts = (*above, entry.name)
                    if closed and real_root.joinpath(*parts) in closed:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(parts)
                    elif entry.is_file(follow_symlinks=False) and not entry.name.endswith(SIDECAR_SUFFIX):
                        yield parts
        except OSError as error:
            raise _unreadable(root.joinpath(*above), error) from error


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

    segments: tuple[re.Pattern[str] | None, ...]
    dotted: tuple[bool, ...]
    folded: re.Pattern[str] | None  # the last segment with its extension in lower case

    def matches(self, parts: tuple[str, ...], *, hidden: bool) -> bool:
        """Whether the names fit. `hidden`: names with a leading dot need not be written with it.

        `reached` holds how many segments can be used up by the names so far: a table, so that no pattern can make
        it run away.
        """
        reached = self._past_any_folders({0})
        for number, name in enumerate(parts):
            last = number == len(parts) - 1
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
            reached = self._past_any_folders(after)
        return len(self.segments) in reached

    def _past_any_folders(self, reached: set[int]) -> set[int]:
        """The same places, and those behind each `**` that stands for nothing."""
        for at in sorted(reached):
            while at < len(self.segments) and self.segments[at] is None:
                at += 1
                reached.add(at)
        return reached

    def _fits(self, segment: re.Pattern[str], at: int, name: str, last: bool) -> bool:
        if segment.match(name):
            return True
        ends_here = last and at == len(self.segments) - 1
        return ends_here and self.folded is not None and self.folded.match(_extension_lowered(name)) is not None


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
    return _Glob(segments, tuple(name.startswith(".") for name in names), folded)


def _extension_lowered(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return stem + dot + extension.lower() if dot else name
