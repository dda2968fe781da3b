"""The spool: what came back, on disk before it is booked, so that a paid picture outlives its process.

A spooled answer is one line of JSON (status, kept headers, moment of receipt in UTC) and then the body as it was
received, with nothing changed but the key, should the endpoint have echoed it. It appears whole or not at all.

Where the line has a `cut`, a picture was decoded while it came: it is beside the answer, and its base64 stood at that
place of the body.
"""

import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import file_digest
from io import FileIO
from pathlib import Path
from typing import Any

from runner.baton import SYNC
from runner.providers.answer import Answer
from runner.providers.document import Buffer, Cut

_BLOCK_BYTES = 256 * 1024
_LINE_BYTES_MAX = 256 * 1024


class NotASpool(ValueError):
    """The file is not a spooled answer."""


class SpoolWriter:
    """Takes an answer block by block to `<path>.part`, and gives it its name when it is complete.

    A picture that is decoded while it comes goes to a file of its own beside it. The disk may fail at any point after
    the first: then `fault` says how, what came so far is in memory, and so is the rest, because the bill in it must
    still be booked. Raises OSError only when it is created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.picture_path = picture_path(path)  # where the picture is
        self._part = part_of(path)
        self._picture_part = path.with_name(path.name + ".picture.part")
        self._is_named = False  # under the name that it is to have
        self._file = open(self._part, "w+b", buffering=0, opener=_private)  # noqa: SIM115  # closed by close()
        self._picture: FileIO | None = None
        self._picture_bytes = 0
        self._line: dict[str, object] | None = None
        self._written = 0
        self._head_bytes = 0
        self._memory: bytearray | None = None
        self.fault: str | None = None
        self.lost = False

    def begin(self, status: int, headers: Mapping[str, str], received_at: datetime) -> None:
        """What stands before the body."""
        self._line = {"status": status, "headers": headers, "received_at": received_at.isoformat()}

    def write(self, block: bytes) -> None:
        """Take the next bytes of the body. Never raises."""
        if self._line is not None:
            line = _line(self._line)
            self._line, self._head_bytes = None, len(line)
            self._write(line)
        self._write(block)

    def picture(self, block: bytes) -> bool:
        """Take the next bytes of the picture; False when the disk cannot: then `picture_so_far` ends before them."""
        try:
            if self._picture is None:
                self._picture = open(self._picture_part, "w+b", buffering=0, opener=_private)  # noqa: SIM115  # closed by close()
            _write_all(self._picture, block)
        except OSError:
            return False  # the same bytes are written once more, as text, and then it is told
        self._picture_bytes += len(block)
        return True

    def picture_so_far(self, block_bytes: int) -> Iterator[bytes]:
        """What has been taken of the picture, in blocks of the size; `lost` when the disk does not give it back."""
        at = 0
        while self._picture is not None and at < self._picture_bytes:
            try:
                block = os.pread(self._picture.fileno(), min(block_bytes, self._picture_bytes - at), at)
            except OSError:
                block = b""
            if len(block) < min(block_bytes, self._picture_bytes - at):
                self.lost, self.fault = True, "what was written cannot be read"
                return
            yield block
            at += len(block)

    def forget_picture(self) -> None:
        """The picture is not wanted any more."""
        if self._picture is not None:
            if not self._is_named:
                with suppress(OSError):
                    self._picture_part.unlink()
            self._picture.close()
            self._picture, self._picture_bytes = None, 0

    def commit(self) -> bool:
        """Make the answer durable under its name. False when the disk failed; then `body()` has it."""
        if self._memory is None:
            try:
                with SYNC.wait():
                    os.fsync(self._file.fileno())
                    self._part.rename(self._path)
                    self._is_named = True
                    _sync_folder(self._path.parent)
            except OSError as error:
                self._fall_back(error)
        return self._memory is None

    def commit_cut(self, text: bytes, cut: Cut) -> bool:
        """Make an answer without its picture, and the picture, durable under their names. False when the disk failed;
        then nothing is lost yet: the picture can be asked for, and the answer written once more."""
        assert self._line is not None
        assert self._picture is not None
        place = {"at": cut.at, "size_bytes": cut.size_bytes, "sha256": cut.digest}
        try:
            _write_all(self._file, _line({**self._line, "cut": place}) + text)
            with SYNC.wait():
                os.fsync(self._picture.fileno())
                os.fsync(self._file.fileno())
                self._picture_part.rename(self.picture_path)
                # Only now: an answer under its name has its picture.
                self._part.rename(self._path)
                self._is_named = True
                _sync_folder(self._path.parent)
        except OSError:
            self._give_up_cut()
            return False
        return True

    def _give_up_cut(self) -> None:
        """As if nothing had been written but the picture, whatever name that has by now."""
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            self.picture_path.unlink()
        self._written, self._is_named = 0, False
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            self._fall_back(error)

    def body(self) -> bytes:
        """The body, when the disk could not take it."""
        return bytes(self._memory or b"")[self._head_bytes :]

    def close(self) -> None:
        """Let go of the files. What was not committed is removed: the ledger may need the room for the booking."""
        self._file.close()
        if not self._is_named:
            with suppress(OSError):
                self._part.unlink()
        self.forget_picture()

    def _write(self, block: bytes) -> None:
        if self._memory is not None:
            self._memory += block
            return
        try:
            _write_all(self._file, block)
        except _Short as short:
            self._written += short.taken
            self._fall_back(short.error)
            assert self._memory is not None
            self._memory += block[short.taken :]
            return
        self._written += len(block)

    def _fall_back(self, error: OSError) -> None:
        """Go on in memory, with what is on the disk so far read back."""
        self.fault = words_of(error)
        self._memory = bytearray()
        try:
            while len(self._memory) < self._written:
                block = os.pread(self._file.fileno(), self._written - len(self._memory), len(self._memory))
                if not block:
                    break
                self._memory += block
        except OSError:
            pass
        self.lost = self.lost or len(self._memory) < self._written


class _Short(OSError):
    """The disk has taken `taken` bytes, and then failed with `error`."""

    def __init__(self, taken: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.taken = taken
        self.error = error


def _write_all(file: FileIO, block: bytes) -> None:
    """Write all of it. Raises _Short."""
    taken = 0
    try:
        while taken < len(block):
            with memoryview(block) as view, view[taken:] as rest:
                taken += file.write(rest)
    except OSError as error:
        raise _Short(taken, error) from error


def _line(values: Mapping[str, object]) -> bytes:
    return json.dumps(values).encode() + b"\n"


def part_of(spool: Path) -> Path:
    """Where a spooled answer is while it comes. A file that is there is written over."""
    return spool.with_name(spool.name + ".part")


def picture_path(spool: Path) -> Path:
    """Where the picture of a spooled answer is."""
    return spool.with_name(spool.name + ".picture")


def parts(spool: Path) -> Iterator[Path]:
    """Every file that can belong to an answer, the answer itself last."""
    for suffix in (".picture.part", ".picture", ".part", ""):
        yield spool.with_name(spool.name + suffix)


@contextmanager
def opened(path: Path, *, looked_at: bool = True) -> Iterator[Answer]:
    """The spooled answer, its body in memory only inside the block; the picture beside it is `looked_at`.

    Raises OSError or NotASpool.
    """
    with path.open("rb") as file:
        try:
            line = json.loads(file.readline(_LINE_BYTES_MAX))
            status, headers = int(line["status"]), {str(k): str(v) for k, v in line["headers"].items()}
            received_at = datetime.fromisoformat(line["received_at"]).astimezone(UTC)
            cut = _cut(line["cut"], path, looked_at) if "cut" in line else None
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise NotASpool(f"`{path}` is not a spooled answer") from None
        body = _body(file.fileno(), file.tell())
        try:
            if cut is None:
                yield Answer(status, headers, received_at, body)
            else:
                yield Answer(status, headers, received_at, body[: len(body)], cut)
        finally:
            if isinstance(body, mmap.mmap):
                body.close()


def _cut(line: Mapping[str, Any], path: Path, looked_at: bool) -> Cut:
    """The picture beside a spooled answer, looked at: a disk may have lost it. Raises what a damaged line makes."""
    cut = Cut(int(line["at"]), int(line["size_bytes"]), str(line["sha256"]), picture_path(path))
    if not looked_at:
        return cut
    try:
        with cut.file.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() == cut.digest:
                return cut
    except OSError as error:
        return replace(cut, fault=f"the picture at `{cut.file}` cannot be read: {words_of(error)}")
    return replace(cut, fault=f"the file `{cut.file}` is not the picture that came")


def is_cut(path: Path) -> bool:
    """Whether the picture of a spooled answer is not in it, but beside it."""
    try:
        with opened(path, looked_at=False) as answer:
            return answer.cut is not None
    except (OSError, NotASpool):
        return False


def keep_picture(blocks: Iterable[bytes], path: Path) -> Path:
    """Write a picture durably, whole or not at all. Raises OSError; what the blocks raise comes through."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb", opener=_private) as file:
            for block in blocks:
                file.write(block)
            with SYNC.wait():
                file.flush()
                os.fsync(file.fileno())
        with SYNC.wait():
            part.rename(path)
            _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return path


def words_of(error: OSError) -> str:
    """Why the disk failed, in lower case, such as `no space left on device`."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _body(descriptor: int, start: int) -> Buffer:
    """The rest of the file in memory that goes back to the system when it is closed.

    Not `bytes`: freed blocks of that size stay with the allocator, once for each thread.
    """
    size = os.fstat(descriptor).st_size - start
    if size == 0:
        return b""
    body = mmap.mmap(-1, size)
    with memoryview(body) as view:
        filled = 0
        while filled < size:
            with view[filled:] as rest:
                count = os.preadv(descriptor, [rest], start + filled)
            if count == 0:
                raise OSError("the spooled answer became shorter while it was read")
            filled += count
    return body


def _sync_folder(folder: Path) -> None:
    """Make a new name in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
