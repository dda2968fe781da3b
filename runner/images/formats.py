"""What a picture file says about itself before anything is decoded: type by magic bytes, size, depth, frames."""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from runner.images.chunks import Unusable, media_type_of, png_chunks, riff_chunks

# Whatever a header declares: more is never decoded (a 900-megapixel picture would take 3.6 GB).
PIXELS_MAX = 64_000_000
# Where 10 or 16 bytes a pixel are held (16 bits a channel, WebP): otherwise it would be more than half a gigabyte.
WIDE_PIXELS_MAX = 24_000_000

# Pillow warns of broken EXIF and the like, which changes no pixel; it would only litter the terminal. Its warning
# of too many pixels comes from Image.open, which is not used here: see `refuse_bomb`.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_BLOCK_BYTES = 64 * 1024
# Far above what cameras and editors write; they keep Pillow, which reads a JPEG's head byte by byte, under a second.
_SEGMENTS_MAX = 2_000
_METADATA_BYTES_MAX = 8 * 1024 * 1024
_FILL_BYTES_MAX = 64 * 1024
# A progressive JPEG has ten or so. Each takes the time of the whole picture, and can be written with a few bytes.
_SCANS_MAX = 100

# What Pillow raises on damaged or hostile files (it promises no single type, and asserts what files can break: that
# pixels with a palette have one).
_DAMAGE = (
    AssertionError,
    AttributeError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    ImageCms.PyCMSError,
)

# Beginnings of files that people try, so that the message can name what it found.
_OTHER_KINDS = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What the file declares. Pixels as stored, before any orientation. `bits` per channel; `frames` ≥ 1.

    `late_metadata`: a PNG with EXIF or XMP behind its pixels, which Pillow sees only after decoding.
    `channels` is a plain PNG's, one byte each, for reading it in bands; 0 when the file has to be read whole.
    """

    media_type: str
    width: int
    height: int
    bits: int = 8
    frames: int = 1
    late_metadata: bool = False
    channels: int = 0


def read_header(file: BinaryIO, size_bytes: int) -> Header:
    """Read what an open file declares; nothing is decoded. Raises Unusable, also for a file that ends too early."""
    file.seek(0)
    head = file.read(32)
    media_type = media_type_of(head)
    if media_type is None:
        raise Unusable(f"{_other_kind(head)}, expected PNG, JPEG or WebP (contract C9)")
    if media_type == "image/png":
        return _png_header(file, size_bytes)
    if media_type == "image/webp":
        return _webp_header(file, size_bytes)
    _check_jpeg_segments(file)
    file.seek(0)
    with damage_as_unusable(), JpegImageFile(file) as picture:
        return Header(media_type, *picture.size)


def _other_kind(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(head[8:12], "HEIF or video")
    return next((name for magic, name in _OTHER_KINDS if head.startswith(magic)), "not a picture")


@contextmanager
def damage_as_unusable(saying: str = "cannot be decoded") -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file into Unusable, its reason beginning with `saying`."""
    try:
        yield
    except _DAMAGE as error:
        detail = str(error).strip() or type(error).__name__
        raise Unusable(f"{saying}: {detail}") from error


def decoder(file: BinaryIO, header: Header) -> ImageFile.ImageFile:
    """Pillow's lazy picture of an open file; pixels are read by its `load()`. Use within damage_as_unusable.

    The classes are called by name instead of through Image.open: the allow-list is then the code itself, and a
    phone's multi-picture JPEG stays a JPEG. Raises Unusable above PIXELS_MAX, and when Pillow reads another size
    out of the file than the header that was checked has.
    """
    refuse_bomb(header)
    file.seek(0)
    picture: ImageFile.ImageFile
    if header.media_type == "image/png":
        picture = PngImageFile(file)
    elif header.media_type == "image/jpeg":
        picture = JpegImageFile(file)
    else:
        picture = WebPImageFile(file)
    if picture.size != (header.width, header.height):
        width, height = picture.size
        raise Unusable(f"damaged: it declares {header.width} × {header.height} and {width} × {height} pixels")
    return picture


def refuse_bomb(header: Header) -> None:
    """Raise Unusable for more pixels than are ever decoded, whatever a model accepts."""
    pixels = header.width * header.height
    is_wide = header.media_type == "image/webp" or header.bits == 16
    # The larger one first: it is the one to be told where both are passed.
    for pixels_max in (PIXELS_MAX, WIDE_PIXELS_MAX) if is_wide else (PIXELS_MAX,):
        if pixels > pixels_max:
            declared = f"{header.width} × {header.height} pixels declared"
            raise Unusable(f"{declared}; more than {pixels_max} are never decoded")


def eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 bits per channel, scaled to 8; any other as it is. (Pillow's convert would clip it.)"""
    if not picture.mode.startswith("I"):
        return picture
    return picture.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")


def _png_header(file: BinaryIO, size_bytes: int) -> Header:
    width = height = bits = colour = interlace = 0
    frames, pixels_seen, late = 1, False, False
    for number, chunk in enumerate(png_chunks(file, size_bytes)):
        file.seek(chunk.offset)
        if number == 0:
            if chunk.kind != b"IHDR" or chunk.length != 13:
                raise Unusable("damaged: the PNG does not begin with its header")
            width, height, bits, colour, _, _, interlace = struct.unpack(">IIBBBBB", file.read(13))
        elif chunk.kind == b"IHDR":
            # Decoders take the last one: what was checked would not be what is decoded.
            raise Unusable("damaged: the PNG has two headers")
        elif chunk.kind == b"acTL" and chunk.length >= 4 and not pixels_seen:
            frames = max(1, struct.unpack(">I", file.read(4))[0])
        elif chunk.kind in (b"eXIf", b"iTXt"):
            late = late or pixels_seen
        pixels_seen = pixels_seen or chunk.kind == b"IDAT"
    if not pixels_seen or not width or not height:
        raise Unusable("damaged: the PNG has no pixels")
    plain = bits == 8 and interlace == 0
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0) if plain else 0
    return Header("image/png", width, height, bits, frames, late, channels)


# Between two segments only fill bytes and, in sloppy files, some junk. Inside pixels, FF 00 stands for FF.
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_MARKER_AFTER_PIXELS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_START_OF_SCAN, _END_OF_PICTURE = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


def _check_jpeg_segments(file: BinaryIO) -> None:
    """Refuse a JPEG that would keep a decoder busy: too many segments, metadata, fill bytes or scans.

    A file that ends early is left to the decoder, which says so. What lies behind the picture's end is not looked at.
    """
    at, scans, metadata, fill = 2, 0, 0, 0
    for _ in range(_SEGMENTS_MAX):
        found = _next_marker(file, at, _MARKER_AFTER_PIXELS if scans else _MARKER, None if scans else _FILL_BYTES_MAX)
        if found is None:
            return
        marker, after, start = found
        fill += 0 if scans else after - at - 2
        if fill > _FILL_BYTES_MAX:
            raise Unusable("damaged: there is more than a little between the segments of the JPEG")
        at = after
        if marker == _END_OF_PICTURE and scans:
            return
        if marker in _WITHOUT_LENGTH or marker == _END_OF_PICTURE:
            continue
        if len(start) < 2:
            return
        length = int.from_bytes(start, "big")
        at += max(2, length)
        scans += marker == _START_OF_SCAN
        metadata += length
        if scans > _SCANS_MAX:
            raise Unusable(f"a JPEG of more than {_SCANS_MAX} scans")
        if metadata > _METADATA_BYTES_MAX:
            raise Unusable(f"more than {_METADATA_BYTES_MAX // 2**20} MiB beside the pixels of the JPEG")
    raise Unusable(f"a JPEG of more than {_SEGMENTS_MAX} segments")


def _next_marker(
    file: BinaryIO, at: int, marker: re.Pattern[bytes], bytes_max: int | None
) -> tuple[int, int, bytes] | None:
    """The marker from `at` on, the place after it, and the two bytes there; None when the file ends before one.

    Raises Unusable when none comes within `bytes_max`.
    """
    read = 0
    file.seek(at)
    last = b""
    # The first look is a short one: mostly the marker stands right here.
    while block := file.read(_BLOCK_BYTES if read else 4):
        window = last + block
        match = marker.search(window)
        if match:
            after = at + read - len(last) + match.end()
            file.seek(after)
            return window[match.end() - 1], after, file.read(2)
        read += len(block)
        last = block[-1:]
        if bytes_max is not None and read > bytes_max:
            raise Unusable("damaged: there is more than a little between the segments of the JPEG")
    return None


def _webp_header(file: BinaryIO, size_bytes: int) -> Header:
    """Size and frames of a WebP file (https://developers.google.com/speed/webp/docs/riff_container)."""
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    if end > size_bytes:
        raise Unusable(f"truncated: the WebP declares {end} bytes, {size_bytes} are there")
    width = height = frames = 0
    for chunk in riff_chunks(file, end):
        data = file.read(min(chunk.length, 10))
        if chunk.kind == b"ANMF":
            frames += 1
        elif width:
            continue  # the first size is the canvas; what follows are parts of it
        elif chunk.kind == b"VP8X" and len(data) == 10:
            width = 1 + int.from_bytes(data[4:7], "little")
            height = 1 + int.from_bytes(data[7:10], "little")
        elif chunk.kind == b"VP8L" and len(data) >= 5:
            packed = int.from_bytes(data[1:5], "little")
            width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        elif chunk.kind == b"VP8 " and len(data) == 10:
            width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    if not width or not height:
        raise Unusable("damaged: the WebP declares no size")
    return Header("image/webp", width, height, frames=max(1, frames))
