"""The spool: what came back, on disk before it is booked, so that a paid picture outlives its process.

A spooled answer is one line of JSON (status, kept headers, moment of receipt in UTC) and then the body as it was
received, with nothing changed but the key, should the endpoint have echoed it. It appears whole or not at all.
"""

import json
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from runner.providers.answer import Answer
from runner.providers.document import Buffer

_LINE_BYTES_MAX = 256 * 1024


class NotASpool(ValueError):
    """The file is not a spooled answer."""


class SpoolWriter:
    """Takes an answer block by block to `<path>.part`, and gives it its name when it is complete.

    The disk may fail at any point after the first: then `fault` says how, what came so far is in memory, and so
    is the rest, because the bill in it must still be booked. Raises OSError only when it is created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file = open(self._part, "w+b", buffering=0, opener=_private)  # noqa: SIM115  # closed by close()
        self._written = 0
        self._head_bytes = 0
        self._memory: bytearray | None = None
        self.fault: str | None = None
        self.lost = False

    def begin(self, status: int, headers: dict[str, str], received_at: datetime) -> None:
        """Write the line that stands before the body."""
        line = json.dumps({"status": status, "headers": headers, "received_at": received_at.isoformat()})
        self._head_bytes = len(line) + 1
        self.write(line.encode() + b"\n")

    def write(self, block: bytes) -> None:
        """Take the next bytes. Never raises."""
        if self._memory is not None:
            self._memory += block
            return
        rest = memoryview(block)
        try:
            while rest:
                count = self._file.write(rest)
                self._written += count
                rest = rest[count:]
        except OSError as error:
            self._fall_back(error)
            assert self._memory is not None
            self._memory += rest

    def commit(self) -> bool:
        """Make the answer durable under its name. False when the disk failed; then `body()` has it."""
        if self._memory is None:
            try:
                os.fsync(self._file.fileno())
                self._part.rename(self._path)
                _sync_folder(self._path.parent)
            except OSError as error:
                self._fall_back(error)
        return self._memory is None

    def body(self) -> bytes:
        """The body, when the disk could not take it."""
        return bytes(self._memory or b"")[self._head_bytes :]

    def close(self) -> None:
        """Let go of the file. What was not committed is removed: the ledger may need the room for the booking."""
        self._file.close()
        with suppress(OSError):
            self._part.unlink()

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
        self.lost = len(self._memory) < self._written


@contextmanager
def opened(path: Path) -> Iterator[Answer]:
    """The spooled answer, its body in memory only inside the block. Raises OSError or NotASpool."""
    with path.open("rb") as file:
        try:
            line = json.loads(file.readline(_LINE_BYTES_MAX))
            status, headers = int(line["status"]), {str(k): str(v) for k, v in line["headers"].items()}
            received_at = datetime.fromisoformat(line["received_at"]).astimezone(UTC)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise NotASpool(f"`{path}` is not a spooled answer") from None
        body = _body(file.fileno(), file.tell())
        try:
            yield Answer(status, headers, received_at, body)
        finally:
            if isinstance(body, mmap.mmap):
                body.close()


def keep_picture(blocks: Iterable[bytes], path: Path) -> Path:
    """Write a picture durably, whole or not at all. Raises OSError; what the blocks raise comes through."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb", opener=_private) as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
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
