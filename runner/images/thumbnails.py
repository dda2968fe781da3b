"""Small copies of pictures for a report: only of a file that still is, byte for byte, what the ledger says it was."""

import hashlib
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from runner.images.formats import Header, damage_as_unusable, decoder, eight_bits, read_header
from runner.images.sources import foreign_profile, in_srgb, opened, orientation

_QUALITY = 60

# How a picture is set upright, by its EXIF orientation.
_TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A WebP picture, upright, in sRGB, without metadata; width and height in pixels."""

    content: bytes
    width: int
    height: int


class Changed(Exception):
    """The file holds other bytes than it should."""


def thumbnail(path: Path, digest: str, *, size_bytes: int | None, side: int) -> Thumbnail:
    """A copy of the picture at `path` that fits into a square of `side` pixels; never larger than the picture.

    `digest`: sha256 of the file's bytes, in hex; `size_bytes`: how many they are, None: not known. Both are compared
    before anything is decoded: whatever else lies there is not looked at, nor is a file of another size read. Raises
    Changed when they differ, Unusable when there is no picture to show, OSError.
    """
    with opened(path) as file:
        if size_bytes not in (None, os.fstat(file.fileno()).st_size):
            raise Changed
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise Changed
        header = read_header(file, file.tell())
        with damage_as_unusable(), decoder(file, header) as picture:
            small = _small(picture, header, side)
            content = BytesIO()
            small.save(content, "WEBP", quality=_QUALITY, method=4)
    return Thumbnail(content.getvalue(), *small.size)


def _small(picture: Image.Image, header: Header, side: int) -> Image.Image:
    if isinstance(picture, JpegImageFile):
        picture.draft(None, (2 * side, 2 * side))  # the decoder leaves out what would only be thrown away
    profile, turned = foreign_profile(picture), orientation(picture, header)
    small = _colours(picture)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    alpha = small.getchannel("A") if small.mode == "RGBA" else None
    small = in_srgb(small.convert("RGB") if alpha is not None else small, profile).convert("RGB")
    if alpha is not None:
        small.putalpha(alpha)
    for turn in _TURNS.get(turned, ()):
        small = small.transpose(turn)
    small.info.clear()
    return small


def _colours(picture: Image.Image) -> Image.Image:
    """In a mode that can be made smaller: with alpha where there is some."""
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    grey = eight_bits(picture)
    return grey if grey.mode in ("L", "RGB", "CMYK") else grey.convert("RGB")
