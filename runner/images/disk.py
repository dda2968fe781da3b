"""Writes pictures so that a crash, a full disk or a wrong name never leaves half a file or costs a paid result."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from runner.baton import SYNC
from runner.errors import DiskError
from runner.images.chunks import SUFFIXES, Unusable, media_type_of
from runner.images.edits import Edit, edited

_BLOCK_BYTES = 256 * 1024
_COPIED_AT_ONCE_BYTES = 1 << 30
_FREE_SOME = "free some space there or choose another folder, then run again"
_OTHER_FOLDER = "choose another folder"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

# errno → what it means, what to do next
_CAUSES = {
    errno.ENOSPC: ("the disk is full", _FREE_SOME),
    errno.EDQUOT: ("the disk quota is used up", _FREE_SOME),
    errno.EROFS: ("the file system is read-only", _OTHER_FOLDER),
    errno.EACCES: ("this user may not write there", "grant write access or choose another folder"),
    errno.EPERM: ("this user may not write there", "grant write access or choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "shorten the name template or the names of the folders"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _OTHER_FOLDER),
    errno.EEXIST: ("a part of the path is a file, not a folder", _OTHER_FOLDER),
    errno.EISDIR: ("a folder of that name is in the way", "rename the folder or choose another name"),
    errno.EFBIG: (
        "it would be larger than this system or `ulimit -f` allows",
        "raise the limit or choose another disk",
    ),
}

_MAY_NOT = ("this user may not read it", "let this user read it and go into the folders above it")
# errno → why a kept result cannot be read, what to do next
_UNREAD = {
    errno.EACCES: _MAY_NOT,
    errno.EPERM: _MAY_NOT,
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "move that file away and put the folder back"),
    errno.ELOOP: ("its folders are symbolic links in a circle", "put the folder back"),
}


_PART_PREFIX, _PART_SUFFIX = ".omixa-", ".part"


def free_bytes(folder: Path) -> int:
    """The bytes this user can still write at `folder`, or at its nearest parent that exists. Raises DiskError."""
    with explained(folder):
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free


def check_writable(folder: Path) -> None:
    """Make sure, before anything is paid for, that a file can be written in a folder; it is created when missing.

    Raises DiskError.
    """
    with explained(folder):
        make_folder(folder)
        # Without a name, so that nothing of it can stay when this process is killed.
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(b"probe")


def write_atomically(source: Path, target: Path, *, over: bool = True, edits: Sequence[Edit] = ()) -> None:
    """Put a copy of `source`, with the edits made, at `target`, on disk when this returns: the whole file or nothing.

    Missing folders are created. An existing file is replaced, or left alone with a DiskError when `over` is False.
    Nothing is written through a symbolic link at `target`. Raises DiskError and leaves no temporary file behind.
    """
    try:
        file = source.open("rb")
    except OSError as error:
        raise DiskError(f"`{source}` cannot be read: {error.strerror}") from error
    with file, explained(target), SYNC.wait():
        make_folder(target.parent)
        part, written = _new_part(target.parent)
        try:
            with written:
                if edits:
                    copy(edited(file, edits), written, part)
                else:
                    _copy_whole(file, written)
                os.fsync(written.fileno())
                _into_place(part, target, over)
        except Unusable as fault:
            raise DiskError(f"`{source}` {fault.reason}") from fault
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        _sync_folder(target.parent)


def _name_also(file: Path, target: Path) -> None:
    """Give a file a second name, on disk when this returns; where that cannot be, a copy. Raises DiskError."""
    with explained(target), SYNC.wait():
        make_folder(target.parent)
        try:
            os.link(file, target, follow_symlinks=False)
        except OSError:  # the name is taken by what was cut off, or these are two file systems
            write_atomically(file, target)
        else:
            _sync_folder(target.parent)


def _new_part(folder: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file and its place: in the folder of its target, so that the rename is one step; the leading dot
    keeps it out of `find`. Locked until it has its name: `sweep` can tell it from what a dead process has left.
    """
    while True:
        part = folder / f"{_PART_PREFIX}{secrets.token_hex(8)}{_PART_SUFFIX}"
        written = part.open("xb")
        fcntl.flock(written, fcntl.LOCK_EX)
        if os.fstat(written.fileno()).st_nlink:
            return part, written
        written.close()  # somebody swept here between the two steps


def _into_place(part: Path, target: Path, over: bool) -> None:
    if target.is_symlink():
        raise DiskError(
            f"`{target}` is a symbolic link and is not written through", "remove the link or choose another name"
        )
    if over:
        part.replace(target)
        return
    taken = DiskError(f"`{target}` already exists and is not written over", "move it away or choose another name")
    try:
        os.link(part, target)  # unlike rename, it refuses when the name is taken
    except FileExistsError as error:
        raise taken from error
    except OSError:  # a file system without hard links
        if target.exists():
            raise taken from None
        part.replace(target)


def copy(source: BinaryIO, target: BinaryIO, path: Path) -> str:
    """Copy one open file to another; the sha256 of what was copied, in hex. It is not on disk when this returns.

    `path` is the target's, for messages. Raises Unusable when the source cannot be read and DiskError when the target
    cannot be written; the caller removes what is then left of the target.
    """
    digest = hashlib.sha256()
    with explained(path):
        for block in _blocks(source):
            digest.update(block)
            target.write(block)
        target.flush()
    return digest.hexdigest()


def _copy_whole(source: BinaryIO, target: BinaryIO) -> None:
    """Copy one open file to another by the kernel, so that nothing of it passes through this process.

    Raises Unusable when the source cannot be read, and OSError when the target cannot be written.
    """
    with suppress(OSError):  # whatever it is, the plain way goes on from there, and says what and where
        while os.copy_file_range(source.fileno(), target.fileno(), _COPIED_AT_ONCE_BYTES):
            pass
    source.seek(os.lseek(source.fileno(), 0, os.SEEK_CUR))
    for block in _blocks(source):
        target.write(block)
    target.flush()


def sweep(folder: Path) -> None:
    """Remove the temporary files that processes left in a folder when they were killed. Never raises.

    Those of living processes are locked, and stay.
    """
    with suppress(OSError):
        for part in folder.glob(f"{_PART_PREFIX}*{_PART_SUFFIX}"):
            with suppress(OSError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    try:
        while block := source.read(_BLOCK_BYTES):
            yield block
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, each on disk when this returns. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():  # otherwise another process was faster
            raise
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Put the folder's names on disk: without it a power cut can undo a rename."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(handle)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError of writing `path` into a DiskError that says the cause and the next step."""
    try:
        yield
    except OSError as error:
        cause, hint = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "check the disk"))
        raise DiskError(f"`{path}` cannot be written: {cause}", hint) from error


def unread(path: Path, error: OSError) -> DiskError:
    """What is said of a kept result that cannot be looked at. It was paid for: the next step never costs anything."""
    cause, hint = _UNREAD.get(error.errno or 0, (error.strerror or str(error), "check the disk"))
    return DiskError(f"the kept result `{path}` cannot be read: {cause}", f"{hint}, then run again: it is paid for")


class Results:
    """Paid results by the sha256 of their bytes: `<folder>/ab/abcdef….png`. What is kept once comes back unpaid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, file: Path) -> str:
        """Keep a copy of `file`, on disk when this returns; its sha256 in hex. Kept twice is kept once.

        Raises DiskError.
        """
        return self._kept(file, None, write_atomically)

    def take(self, file: Path, digest: str | None = None) -> str:
        """Keep `file` itself, under a second name, on disk when this returns; its sha256 in hex.

        It must be on disk, and nobody may change it afterwards. `digest`: its sha256, where it is known. Raises
        DiskError.
        """
        return self._kept(file, digest, _name_also)

    def _kept(self, file: Path, digest: str | None, put: Callable[[Path, Path], None]) -> str:
        try:
            with file.open("rb") as opened:
                suffix = SUFFIXES.get(media_type_of(opened.read(12)) or "", ".bin")
                if digest is None:
                    opened.seek(0)
                    digest = hashlib.file_digest(opened, "sha256").hexdigest()
                size_bytes = os.fstat(opened.fileno()).st_size
        except OSError as error:
            raise DiskError(f"`{file}` cannot be read: {error.strerror}") from error
        kept = self.path(digest)
        if kept is None or kept.stat().st_size != size_bytes:
            put(file, self._named(digest, suffix))
        return digest

    def path(self, digest: str) -> Path | None:
        """The kept file of that sha256; None when it is not there, or empty.

        Raises DiskError when that cannot be told: a result that was paid for is not gone because nobody may look.
        """
        if not _DIGEST.fullmatch(digest):
            return None
        for suffix in (*SUFFIXES.values(), ".bin"):
            path = self._named(digest, suffix)
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unread(path, error) from error
            if stat.S_ISREG(found.st_mode) and found.st_size > 0:
                return path
        return None

    def _named(self, digest: str, suffix: str) -> Path:
        return self.folder / digest[:2] / f"{digest}{suffix}"
