"""Where a PNG, JPEG or WebP file carries XMP, and how it gets, changes or loses some without a pixel being touched.

XMP is the one kind of metadata that all three have, and that common tools carry over when they write another file.
(XMP specification, part 3: PNG `iTXt`, JPEG APP1, WebP `XMP `.)
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from runner.images.chunks import Chunk, Unusable, png_chunks, riff_chunks
from runner.images.edits import Edit

# More is not looked at: what editors write has some tens of KB.
PACKET_BYTES_MAX = 256 * 1024

_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_PNG_PLAIN = _PNG_KEYWORD + b"\0\0\0\0"  # not compressed, no language, no other keyword
_PNG_RAW = (b"Raw profile type xmp\0", b"Raw profile type APP1\0")  # what older tools write, in hexadecimal
_JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_BYTES_MAX = 65533
_WEBP_XMP, _WEBP_ALPHA = 0x04, 0x10


@dataclass(frozen=True, slots=True)
class Held:
    """A packet, and all of what holds it in the file: where that begins, and its length."""

    packet: bytes
    at: int
    length: int


def held(file: BinaryIO, media_type: str, size_bytes: int) -> Held | None:
    """The packet of a file that can be edited in place; None when there is none.

    Raises Unusable when there is one that cannot, or when the file is damaged.
    """
    if media_type == "image/png":
        return _png_held(file, size_bytes)
    if media_type == "image/jpeg":
        return _jpeg_held(file)
    return _webp_held(file, size_bytes)


def adding(file: BinaryIO, media_type: str, size_bytes: int, packet: bytes) -> list[Edit]:
    """The edits that give a file without a packet this one. Raises Unusable."""
    if media_type == "image/png":
        first = next(png_chunks(file, size_bytes))
        return [Edit(first.offset + first.length + 4, 0, _png_chunk(packet))]
    if media_type == "image/jpeg":
        return [Edit(_jpeg_place(file), 0, _jpeg_segment(packet))]
    return _webp_adding(file, size_bytes, packet)


def replacing(file: BinaryIO, media_type: str, found: Held, packet: bytes) -> list[Edit]:
    """The edits that put another packet where one is. Raises Unusable when it has no room."""
    if media_type == "image/png":
        return [Edit(found.at, found.length, _png_chunk(packet))]
    if media_type == "image/jpeg":
        return [Edit(found.at, found.length, _jpeg_segment(packet))]
    chunk = _webp_chunk(b"XMP ", packet)
    return [_webp_size(file, len(chunk) - found.length), Edit(found.at, found.length, chunk)]


def removing(file: BinaryIO, media_type: str, size_bytes: int, found: Held) -> list[Edit]:
    """The edits that take a packet out, and what `adding` has put in beside it. Raises Unusable."""
    if media_type != "image/webp":
        return [Edit(found.at, found.length, b"")]
    chunks = _webp_chunks(file, size_bytes)
    image = next((chunk for chunk in chunks if chunk.kind in (b"VP8 ", b"VP8L")), None)
    if image is not None and [chunk.kind for chunk in chunks] == [b"VP8X", image.kind, b"XMP "]:
        ours = _webp_extension(file, image)
        file.seek(12)
        if file.read(len(ours)) == ours:  # before, it was a simple file
            return [_webp_size(file, -len(ours) - found.length), Edit(12, len(ours), b""), _out(found)]
    return [_webp_size(file, -found.length), _webp_flag(file, chunks, on=False), _out(found)]


def all_packets(file: BinaryIO, media_type: str, size_bytes: int) -> Iterator[bytes]:
    """Every packet in the file, also compressed ones and those that older tools write. Raises Unusable."""
    if media_type != "image/png":
        found = held(file, media_type, size_bytes)
        if found is not None:
            yield found.packet
        return
    for chunk in png_chunks(file, size_bytes):
        if chunk.kind in (b"iTXt", b"zTXt", b"tEXt") and chunk.length <= PACKET_BYTES_MAX:
            file.seek(chunk.offset)
            packet = _png_text(chunk.kind, file.read(chunk.length))
            if packet is not None:
                yield packet


def _out(found: Held) -> Edit:
    return Edit(found.at, found.length, b"")


# ---- PNG


def _png_chunk(packet: bytes) -> bytes:
    data = _PNG_PLAIN + packet
    return struct.pack(">I4s", len(data), b"iTXt") + data + struct.pack(">I", zlib.crc32(b"iTXt" + data))


def _png_held(file: BinaryIO, size_bytes: int) -> Held | None:
    for chunk in png_chunks(file, size_bytes):
        if chunk.kind != b"iTXt":
            continue
        file.seek(chunk.offset)
        if not file.read(len(_PNG_PLAIN)).startswith(_PNG_KEYWORD):
            continue
        file.seek(chunk.offset)
        data = file.read(min(chunk.length, PACKET_BYTES_MAX))
        if len(data) < chunk.length:
            raise Unusable(f"its XMP has more than {PACKET_BYTES_MAX} bytes")
        if not data.startswith(_PNG_PLAIN):
            raise Unusable("its XMP is compressed")
        return Held(data[len(_PNG_PLAIN) :], chunk.offset - 8, chunk.length + 12)
    return None


def _png_text(kind: bytes, data: bytes) -> bytes | None:
    """The packet in a text chunk, None when it has none."""
    try:
        if kind == b"iTXt" and data.startswith(_PNG_KEYWORD):
            compressed, rest = data[len(_PNG_KEYWORD)], data[len(_PNG_KEYWORD) + 2 :]
            text = rest.split(b"\0", 2)[2]
            return _inflated(text) if compressed else text
        raw = next((name for name in _PNG_RAW if data.startswith(name)), None)
        if raw is None:
            return None
        text = data[len(raw) :]
        if kind == b"zTXt":
            text = _inflated(text[1:])
        # A name, a length, and then hexadecimal digits in lines.
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii")).removeprefix(_JPEG_NAME)
    except (LookupError, ValueError, zlib.error):
        return None


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, 2 * PACKET_BYTES_MAX)


# ---- JPEG


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Marker, place and length of each segment before the pixels. Raises Unusable where anything else stands."""
    at = 2
    while True:
        file.seek(at)
        start = file.read(4)
        if len(start) < 4 or start[0] != 0xFF or start[1] in (0x00, 0x01, 0xFF, *range(0xD0, 0xDA)):
            raise Unusable("its JPEG segments do not follow one another")
        if start[1] == 0xDA:
            return
        length = int.from_bytes(start[2:], "big")
        if length < 2:
            raise Unusable("its JPEG segments do not follow one another")
        yield start[1], at, 2 + length
        at += 2 + length


def _jpeg_held(file: BinaryIO) -> Held | None:
    for marker, at, length in _jpeg_segments(file):
        if marker == 0xE1:
            file.seek(at + 4)
            data = file.read(length - 4)
            if len(data) == length - 4 and data.startswith(_JPEG_NAME):
                return Held(data[len(_JPEG_NAME) :], at, length)
    return None


def _jpeg_place(file: BinaryIO) -> int:
    """Behind what must come first: JFIF, and EXIF."""
    place = 2
    for marker, at, length in _jpeg_segments(file):
        if marker not in (0xE0, 0xE1):
            break
        place = at + length
    return place


def _jpeg_segment(packet: bytes) -> bytes:
    data = _JPEG_NAME + packet
    if len(data) > _JPEG_BYTES_MAX:
        raise Unusable("its XMP has no room for more")
    return struct.pack(">BBH", 0xFF, 0xE1, 2 + len(data)) + data


# ---- WebP


def _webp_chunks(file: BinaryIO, size_bytes: int) -> list[Chunk]:
    end = _webp_end(file, size_bytes)
    chunks = list(riff_chunks(file, end))
    if not chunks or chunks[-1].offset + chunks[-1].length + chunks[-1].length % 2 != end:
        raise Unusable("its WebP chunks do not fill the file")
    return chunks


def _webp_end(file: BinaryIO, size_bytes: int) -> int:
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    if end > size_bytes:
        raise Unusable("its WebP is cut off")
    return end


def _webp_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)


def _webp_size(file: BinaryIO, more: int) -> Edit:
    file.seek(4)
    size = int.from_bytes(file.read(4), "little") + more
    if not 0 <= size < 2**32:
        raise Unusable("its WebP has no room for more")
    return Edit(4, 4, struct.pack("<I", size))


def _webp_held(file: BinaryIO, size_bytes: int) -> Held | None:
    for chunk in riff_chunks(file, _webp_end(file, size_bytes)):
        if chunk.kind == b"XMP ":
            if chunk.length > PACKET_BYTES_MAX:
                raise Unusable(f"its XMP has more than {PACKET_BYTES_MAX} bytes")
            file.seek(chunk.offset)
            return Held(file.read(chunk.length), chunk.offset - 8, 8 + chunk.length + chunk.length % 2)
    return None


def _webp_adding(file: BinaryIO, size_bytes: int, packet: bytes) -> list[Edit]:
    chunks = _webp_chunks(file, size_bytes)
    chunk, end = _webp_chunk(b"XMP ", packet), _webp_end(file, size_bytes)
    if chunks[0].kind == b"VP8X":
        return [_webp_size(file, len(chunk)), _webp_flag(file, chunks, on=True), Edit(end, 0, chunk)]
    if chunks[0].kind not in (b"VP8 ", b"VP8L"):
        raise Unusable("its WebP begins with something unknown")
    extension = _webp_extension(file, chunks[0])
    return [_webp_size(file, len(extension) + len(chunk)), Edit(12, 0, extension), Edit(end, 0, chunk)]


def _webp_flag(file: BinaryIO, chunks: list[Chunk], *, on: bool) -> Edit:
    if chunks[0].kind != b"VP8X" or chunks[0].length != 10:
        raise Unusable("its WebP has metadata without saying so")
    file.seek(chunks[0].offset)
    flags = file.read(1)[0]
    return Edit(chunks[0].offset, 1, bytes([flags | _WEBP_XMP if on else flags & ~_WEBP_XMP]))


def _webp_extension(file: BinaryIO, image: Chunk) -> bytes:
    """The `VP8X` chunk of a picture that had none: its size, whether it is transparent, and that XMP comes."""
    file.seek(image.offset)
    data = file.read(10)
    if len(data) < 10:
        raise Unusable("its WebP is cut off")
    if image.kind == b"VP8L":
        packed = int.from_bytes(data[1:5], "little")
        width, height, alpha = packed & 0x3FFF, packed >> 14 & 0x3FFF, packed >> 28 & 1
    else:
        width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        width, height, alpha = width - 1, height - 1, 0
        if width < 0 or height < 0:
            raise Unusable("its WebP declares no size")
    flags = _WEBP_XMP | (_WEBP_ALPHA if alpha else 0)
    return _webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little"))
