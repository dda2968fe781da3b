"""Result pictures: whole or cut off, and whether they show what was paid for.

A 4096 × 4096 result takes about 15 MB here as PNG (a large one is decoded in bands) or JPEG (reduced by its decoder);
a progressive JPEG takes 100 MB at worst and a WebP 270 MB, because their decoders know no other way: those go one at a
time.
"""

import math
import operator
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageChops, ImageFilter, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from runner.baton import taken
from runner.images.chunks import Unusable, png_chunks
from runner.images.formats import (
    PIXELS_MAX,
    Header,
    damage_as_unusable,
    decoder,
    eight_bits,
    read_header,
    refuse_bomb,
)

# Pillow holds 4 bytes a pixel, and 16 for WebP.
_ONE_AT_A_TIME = threading.Lock()
# Looking takes some megabytes and a whole core: more than there are cores would only need more memory at a time.
_LOOKING = threading.BoundedSemaphore(max(1, min(os.cpu_count() or 1, 4)))
_BAND_BYTES = 1024 * 1024
# Up to here a PNG is decoded at once, at 4 bytes a pixel.
_WHOLE_PIXELS_MAX = 1_000_000
_BLOCK_BYTES = 64 * 1024

# Tried on the demo pictures, enlarged ×4, as shares of the source's edge strength: sharpened, toned, grained and
# denoised results kept 0.70 and more, a blur of radius 8 left 0.31 at most.
_BLURRED_BELOW = 0.40
# In grey levels of 255. Under it a source has no edges that a blur could take away, such as a gradient.
_EDGE_STRENGTH_MIN = 8.0
# Correlation of the brightness at 64 × 64, whole and without the large shapes. Honest results kept 0.9 of both;
# of unrelated pairs some reached 0.59 of the first (two skies) or 0.31 of the second, none both.
_UNRELATED_BELOW = 0.60
_UNRELATED_DETAIL_BELOW = 0.35
_CONTRAST_MIN = 4.0
_GRID = (64, 64)
_SQUARES = [level * level for level in range(256)]


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """A usable result: registered type by magic bytes, pixels, bytes."""

    media_type: str
    width: int
    height: int
    size_bytes: int


def result_facts(file: Path, *, pixels_max: int = PIXELS_MAX) -> ResultFacts | str:
    """The facts of a result picture, or why it cannot be used, as a phrase.

    A PNG's checksums, a WebP's length and all of a JPEG's data are read, so that one cut off on its way is found.
    Raises nothing.
    """
    try:
        with file.open("rb") as opened:
            size_bytes = file.stat().st_size
            if size_bytes == 0:
                return "empty (0 bytes)"
            header = read_header(opened, size_bytes)
            if header.width * header.height > pixels_max:
                return f"{header.width} × {header.height} pixels, at most {pixels_max} are accepted"
            _check_whole(opened, header, size_bytes)
    except Unusable as fault:
        return fault.reason
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ResultFacts(header.media_type, header.width, header.height, size_bytes)


def _check_whole(file: BinaryIO, header: Header, size_bytes: int) -> None:
    if header.media_type == "image/png":
        for _ in png_chunks(file, size_bytes, checked=True):
            pass
    elif header.media_type == "image/jpeg":
        file.seek(max(0, size_bytes - _BLOCK_BYTES))
        if b"\xff\xd9" not in file.read():
            raise Unusable("truncated: the JPEG has no end marker")
        _jpeg_reduced(file, header, (1, 1))
    # A WebP's declared length has been compared with the file's by read_header.


def looks_wrong(source: Path, result: Path) -> str | None:
    """Why a result does not look like an enlargement of its source, as a phrase; None when it does (contract U7).

    A moderated output comes back as a success, blurred. This is a guess from brightness alone: a source without
    edges or contrast is never flagged, nor one that cannot be read any more. Where the source is transparent nothing
    is compared. Raises nothing.
    """
    with taken(_LOOKING):
        return _looks_wrong(source, result)


def _looks_wrong(source: Path, result: Path) -> str | None:
    try:
        before, opaque = _source_brightness(source)
    except (Unusable, OSError):
        return None
    try:
        after = _result_brightness(result, before.size)
    except Unusable as fault:
        return fault.reason
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    # Never larger than the result: what was not delivered cannot be compared.
    before, opaque = before.resize(after.size), opaque.resize(after.size, Image.Resampling.NEAREST)
    if opaque.getextrema() != (255, 255):
        ground = Image.new("L", after.size, 128)
        before = Image.composite(before, ground, opaque)
        after = Image.composite(after, ground, opaque)
    return _blurred(before, after, opaque) or _unrelated(before, after, opaque)


def _blurred(before: Image.Image, after: Image.Image, opaque: Image.Image) -> str | None:
    inner = opaque if opaque.getextrema() == (255, 255) else opaque.filter(ImageFilter.MinFilter(11))
    expected, found = _edge_strength(before, inner), _edge_strength(after, inner)
    if expected < _EDGE_STRENGTH_MIN or found >= expected * _BLURRED_BELOW:
        return None
    return f"looks blurred: its edges have {found / expected:.0%} of the source's strength"


def _edge_strength(grey: Image.Image, mask: Image.Image) -> float:
    """The mean step of the strongest 2 % of all edges, in levels: edges outlast denoising, but not blurring."""
    steps = ImageChops.difference(grey, grey.filter(ImageFilter.GaussianBlur(2))).histogram(mask)
    wanted = left = sum(steps) / 50
    strength = 0.0
    for level in range(255, 0, -1):
        if steps[level] >= left:
            strength += left * level
            break
        strength += steps[level] * level
        left -= steps[level]
    return strength / wanted if wanted else 0.0


def _unrelated(before: Image.Image, after: Image.Image, opaque: Image.Image) -> str | None:
    mask = opaque.resize(_GRID).point([0] * 128 + [255] * 128)
    small = [grey.resize(_GRID, Image.Resampling.BOX) for grey in (before, after)]
    likeness, contrast = _correlation(small[0], small[1], mask)
    if likeness >= _UNRELATED_BELOW:
        return None
    fine = [ImageChops.subtract(grey, grey.filter(ImageFilter.GaussianBlur(8)), 1, 128) for grey in small]
    fine_likeness, fine_contrast = _correlation(fine[0], fine[1], mask)
    if min(contrast, fine_contrast) < _CONTRAST_MIN or fine_likeness >= _UNRELATED_DETAIL_BELOW:
        return None
    return f"looks unrelated to the source: their brightness correlates by {likeness:.2f}"


def _correlation(first: Image.Image, second: Image.Image, mask: Image.Image) -> tuple[float, float]:
    """Pearson's correlation where the mask is 255 and not 0, and the first one's standard deviation in levels.

    From whole numbers, which the libraries add up: pixel by pixel it would take longer than all else about a picture.
    """
    count = mask.histogram()[255]
    if not count:
        return 0.0, 0.0
    # Black where the mask is: that adds nothing to any sum.
    seen = [ImageChops.multiply(grey, mask) for grey in (first, second)]
    (sum_a, squares_a), (sum_b, squares_b) = (_sums(grey) for grey in seen)
    products = sum(map(operator.mul, seen[0].tobytes(), seen[1].tobytes()))
    spread_a, spread_b = count * squares_a - sum_a**2, count * squares_b - sum_b**2
    common = count * products - sum_a * sum_b
    likeness = common / math.sqrt(spread_a * spread_b) if spread_a and spread_b else 0.0
    return likeness, math.sqrt(spread_a) / count


def _sums(grey: Image.Image) -> tuple[int, int]:
    """The sum of all levels of a grey picture, and that of their squares."""
    counts = grey.histogram()
    return sum(map(operator.mul, counts, range(256))), sum(map(operator.mul, counts, _SQUARES))


def _source_brightness(path: Path) -> tuple[Image.Image, Image.Image]:
    """The upright source in grey, and a mask of where it is opaque (255) or not (0)."""
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size)
        with damage_as_unusable(), decoder(file, header) as picture:
            upright = ImageOps.exif_transpose(picture)
            grey = eight_bits(upright).convert("L")
            if not upright.has_transparency_data:
                return grey, Image.new("L", grey.size, 255)
            alpha = upright.convert("RGBA").getchannel("A")
            return grey, alpha.point([0] * 128 + [255] * 128)


def _result_brightness(path: Path, size: tuple[int, int]) -> Image.Image:
    """The result in grey, reduced to `size`; smaller when the result is."""
    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        header = read_header(file, size_bytes)
        refuse_bomb(header)
        size = min(size[0], header.width), min(size[1], header.height)
        if header.channels:
            grey = _png_whole(file, header, size) or _png_reduced(file, header, size_bytes, size)
        elif header.media_type == "image/jpeg":
            grey = _jpeg_reduced(file, header, size)
        else:
            with taken(_ONE_AT_A_TIME), damage_as_unusable(), decoder(file, header) as picture:
                grey = _reduced(picture, _factor(header, size))
    return grey.resize(size, Image.Resampling.LANCZOS)


def _factor(header: Header, size: tuple[int, int]) -> int:
    """How often the size fits into the picture: what can be reduced cheaply before the last, fine step."""
    return max(1, min(header.width // size[0], header.height // size[1]))


def _reduced(picture: Image.Image, factor: int) -> Image.Image:
    return eight_bits(picture).convert("L").reduce(factor)


def _jpeg_reduced(file: BinaryIO, header: Header, size: tuple[int, int]) -> Image.Image:
    """A JPEG in grey, at least of `size`: the decoder itself leaves out what is not needed, but reads to the end."""
    with taken(_ONE_AT_A_TIME), damage_as_unusable(), decoder(file, header) as picture:
        assert isinstance(picture, JpegImageFile)
        picture.draft("L", size)
        return picture.convert("L")


def _png_whole(file: BinaryIO, header: Header, size: tuple[int, int]) -> Image.Image | None:
    """A plain PNG in grey, at least of `size`, decoded at once; None for one that is too large for that, or damaged,
    or has a palette, or of which the last row may be missing: Pillow leaves what does not come at zero, and says
    nothing."""
    if header.width * header.height > _WHOLE_PIXELS_MAX:
        return None
    with suppress(Unusable), damage_as_unusable(), decoder(file, header) as picture:
        if picture.mode == "P":  # of several palettes, a decoder may take the first or the last
            return None
        picture.load()
        last = picture.crop((0, header.height - 1, header.width, header.height))
        if last.getbbox():
            return _reduced(picture, _factor(header, size))
    return None


def _png_reduced(file: BinaryIO, header: Header, size_bytes: int, size: tuple[int, int]) -> Image.Image:
    """A plain PNG in grey, at least of `size`, decoded in bands of rows: a few MB instead of 64.

    A PNG row may refer to the one above it. So each band is handed to Pillow as a small PNG of its own, whose
    first row is the last one of the band before.
    """
    factor = _factor(header, size)
    row_bytes = 1 + header.width * header.channels
    rows = factor * max(1, _BAND_BYTES // row_bytes // factor)
    ihdr, palette = _band_frame(file, size_bytes)
    whole = Image.new("L", (-(-header.width // factor), -(-header.height // factor)))
    above, done = bytes(row_bytes), 0
    for data in _inflated(file, size_bytes, rows * row_bytes, header.height * row_bytes):
        count = len(data) // row_bytes
        shape = struct.pack(">II", header.width, count + 1) + ihdr[8:]
        png = _png((b"IHDR", shape), *palette, (b"IDAT", zlib.compress(above + data, 0)), (b"IEND", b""))
        with damage_as_unusable(), PngImageFile(BytesIO(png)) as band:
            band.load()
            if done + count < header.height:
                above = b"\0" + band.crop((0, count, header.width, count + 1)).tobytes()
            whole.paste(_reduced(band.crop((0, 1, header.width, count + 1)), factor), (0, done // factor))
        done += count
    if done < header.height:
        raise Unusable("truncated: the PNG has fewer rows than it declares")
    return whole


def _band_frame(file: BinaryIO, size_bytes: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The header chunk's data, and the palette's chunk if there is one."""
    found: dict[bytes, bytes] = {}
    for chunk in png_chunks(file, size_bytes):
        if chunk.kind in (b"IHDR", b"PLTE") and chunk.length <= 768:
            file.seek(chunk.offset)
            found[chunk.kind] = file.read(chunk.length)
    return found.pop(b"IHDR"), list(found.items())


def _inflated(file: BinaryIO, size_bytes: int, band_bytes: int, total_bytes: int) -> Iterator[bytes]:
    """A PNG's rows before their compression, in bands; the last is shorter, and nothing comes after the total.

    What is left of an unfinished band is dropped: the caller counts the rows.
    """
    inflate = zlib.decompressobj()
    band = bytearray()
    for block in _pixel_blocks(file, size_bytes):
        more = True
        while more and total_bytes:
            wanted = min(band_bytes, total_bytes)
            with damage_as_unusable():
                band += inflate.decompress(block, wanted - len(band))
            block = inflate.unconsumed_tail
            more = len(band) == wanted
            if more:
                total_bytes -= wanted
                yield bytes(band)
                band.clear()


def _pixel_blocks(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    for chunk in png_chunks(file, size_bytes):
        if chunk.kind == b"IDAT":
            file.seek(chunk.offset)
            left = chunk.length
            while left:
                block = file.read(min(left, _BLOCK_BYTES))
                left -= len(block)
                yield block


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
