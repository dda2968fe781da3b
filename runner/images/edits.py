"""A file with a few of its bytes replaced, read as if it were a file of its own: nothing is copied into memory."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class Edit:
    """At this place of the file so many bytes go, and others come."""

    at: int
    remove: int
    insert: bytes


def edited(file: BinaryIO, edits: Sequence[Edit]) -> BinaryIO:
    """The file with the edits made, which are in order and do not overlap. It reads from `file` and never closes it."""
    return io.BufferedReader(_Edited(file, edits))


class _Edited(io.RawIOBase):
    """The pieces in order: bytes that came, and (place, length) of what stays."""

    def __init__(self, file: BinaryIO, edits: Sequence[Edit]) -> None:
        super().__init__()
        self._file = file
        self._pieces: list[tuple[int, int, bytes | int]] = []  # where it begins and ends here; its bytes, or place
        self._at = here = there = 0
        for edit in edits:
            here = self._piece(here, edit.at - there, there)
            here = self._piece(here, len(edit.insert), edit.insert)
            there = edit.at + edit.remove
        self._end = self._piece(here, max(0, file.seek(0, os.SEEK_END) - there), there)

    def _piece(self, begin: int, length: int, what: bytes | int) -> int:
        assert length >= 0, "edits are in order"
        self._pieces.append((begin, begin + length, what))
        return begin + length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        for begin, end, what in self._pieces:
            if begin <= self._at < end:
                length = min(len(view), end - self._at)
                if isinstance(what, bytes):
                    data = what[self._at - begin : self._at - begin + length]
                else:
                    self._file.seek(what + self._at - begin)
                    data = self._file.read(length)
                view[: len(data)] = data
                self._at += len(data)
                return len(data)
        return 0
