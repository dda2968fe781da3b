"""Of what kind a picture file is and of what chunks it consists, by its bytes alone.

Nothing here needs Pillow, which is a tenth of the start of a command: a plan of pictures that are known needs none.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# The formats that are ever opened, by their registered types (contract C9); everything else is refused by name.
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_CHUNKS_MAX = 100_000
_BLOCK_BYTES = 64 * 1024


class Unusable(Exception):
    """A picture file that cannot be used; `reason` is a phrase for a message, without the file's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a PNG or WebP file: its four-letter kind, and where its data lies."""

    kind: bytes
    offset: int
    length: int


def media_type_of(head: bytes) -> str | None:
    """The registered type by the first bytes (12 at least), never by the file's name; None when unknown."""
    if head.startswith(PNG_MAGIC):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def png_chunks(file: BinaryIO, size_bytes: int, *, checked: bool = False) -> Iterator[Chunk]:
    """The chunks of a PNG up to its end; the caller may read and seek in between. `checked` compares each CRC.

    Raises Unusable when the file ends before IEND does.
    """
    at = len(PNG_MAGIC)
    for _ in range(_CHUNKS_MAX):
        file.seek(at)
        start = file.read(8)
        if len(start) < 8:
            raise Unusable("truncated: the PNG ends before its IEND chunk")
        length, kind = struct.unpack(">I4s", start)
        if at + length + 12 > size_bytes:
            raise Unusable(f"truncated: the PNG ends within its {kind.decode('ascii', 'replace')} chunk")
        if checked:
            _check_crc(file, kind, length)
        yield Chunk(kind, at + 8, length)
        if kind == b"IEND":
            return
        at += length + 12
    raise Unusable(f"a PNG of more than {_CHUNKS_MAX} chunks")


def _check_crc(file: BinaryIO, kind: bytes, length: int) -> None:
    crc = zlib.crc32(kind)
    while length:
        block = file.read(min(length, _BLOCK_BYTES))
        crc = zlib.crc32(block, crc)
        length -= len(block)
    if file.read(4) != struct.pack(">I", crc):
        raise Unusable(f"damaged: wrong checksum of the PNG's {kind.decode('ascii', 'replace')} chunk")


def riff_chunks(file: BinaryIO, end: int) -> Iterator[Chunk]:
    """The chunks of a WebP up to `end`; the caller may read and seek in between. Raises Unusable."""
    at = 12
    for _ in range(_CHUNKS_MAX):
        if at + 8 > end:
            return
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if at + 8 + length > end:
            raise Unusable("damaged: a chunk of the WebP is longer than the file")
        yield Chunk(kind, at + 8, length)
        at += 8 + length + length % 2
    raise Unusable(f"a WebP of more than {_CHUNKS_MAX} chunks")
