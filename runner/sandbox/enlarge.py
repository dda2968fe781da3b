"""The picture of the local endpoint: decoded with care, enlarged by resampling. Honest, and not the Stability model.

Everything is done in 8-bit bands, one horizontal strip after the other, so that a picture needs little more memory
than its result. Equal pictures, options and seeds give equal bytes with the same Pillow.
"""

import io
import random
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from decimal import Decimal

from PIL import Image, ImageChops, ImageCms, ImageFilter

SCALE = 4
SIDE_PX_MAX = 4096

# Media type → Pillow's name of the format and how such a file begins (contract C9).
_FORMATS = {
    "image/png": ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    "image/jpeg": ("JPEG", re.compile(rb"\xff\xd8\xff")),
    "image/webp": ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
}

_STRIP_PX = 1 << 18  # source pixels of one strip; its working copies are 16 times that, in three bytes each
_MARGIN_PX = 32  # source rows around a strip: three rounds of two filters that reach three rows each, then sharpening
_ROUNDS = 3
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """The bytes are not a picture of the declared type, or cannot be decoded; the message says which."""


# Sizes are checked on the header by our own, much lower limit; Pillow's warning would only add noise.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def media_type_of(data: bytes) -> str | None:
    """The registered type that the magic bytes show, or None (contract C9)."""
    return next((media_type for media_type, (_, begins) in _FORMATS.items() if begins.match(data)), None)


def opened(data: bytes, media_type: str) -> Image.Image:
    """The picture with only its header read, so that its size can be judged before any pixel is unpacked."""
    try:
        return Image.open(io.BytesIO(data), formats=[_FORMATS[media_type][0]])
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise PictureError(f"its header cannot be read ({type(error).__name__})") from error


def decoded(image: Image.Image) -> Image.Image:
    """An opened picture as upright sRGB, mode RGB or RGBA: EXIF orientation, ICC profile and palette are applied."""
    try:
        image.load()
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        return _srgb(upright, image.info.get("icc_profile"))
    except Exception as error:
        raise PictureError(f"it cannot be decoded ({type(error).__name__})") from error


def is_animated(image: Image.Image) -> bool:
    """Whether there is more than one frame. A JPEG has one picture, whatever its multi-picture header says."""
    return image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1


def enlarged_size(width: int, height: int) -> tuple[int, int]:
    """Four times each side, or as much as keeps the longer one at 4096 px; a longer source comes back smaller."""
    longer = max(width, height)
    if longer * SCALE <= SIDE_PX_MAX:
        return width * SCALE, height * SCALE
    # Rounded half up in whole numbers; a side never vanishes.
    return tuple(max(1, (2 * side * SIDE_PX_MAX + longer) // (2 * longer)) for side in (width, height))  # type: ignore[return-value]


def enlarge(image: Image.Image, creativity: Decimal, variation: str, strip_px: int = _STRIP_PX) -> Image.Image:
    """The picture at `enlarged_size`. `image` comes from `decoded`; RGB stays RGB, RGBA stays RGBA.

    `creativity` sets the sharpening; `variation` is any text and decides the grain. `strip_px` bounds the memory
    and does not show in the result.
    """
    result = Image.new("RGB", enlarged_size(*image.size))
    colours = _bled(image) if image.mode == "RGBA" else image
    for top, strip in _strips(colours, creativity, strip_px):
        result.paste(strip, (0, top))
    _add_grain(result, variation)
    if image.mode == "RGBA":
        # Bicubic has no second lobe, so that no ghost of an edge appears in what was clear.
        result.putalpha(image.getchannel("A").resize(result.size, Image.Resampling.BICUBIC))
    return result


def grained(image: Image.Image, variation: str) -> Image.Image:
    """The picture at its own size with the grain of `variation`; `image` comes from `decoded`."""
    result = image.convert("RGB")
    _add_grain(result, variation)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def encode(image: Image.Image, output_format: str) -> bytes:
    """The file, `png`, `jpeg` or `webp`. JPEG has no alpha: it is flattened on white. Speed before size."""
    file = io.BytesIO()
    if output_format == "png":
        image.save(file, "PNG", compress_level=1)
    elif output_format == "webp":
        image.save(file, "WEBP", quality=90, method=1)
    else:
        _flattened(image).save(file, "JPEG", quality=92)
    return file.getvalue()


def blurred(image: Image.Image) -> Image.Image:
    """The picture as a moderated one comes back: nothing left to recognise (contract U7)."""
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 16))


def padded_png(size: int) -> bytes:
    """A valid PNG of `size` bytes, or some 200 if that is less: a small picture and an ancillary chunk of zeros."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(file, "PNG")
    head, end = file.getvalue()[:-12], file.getvalue()[-12:]
    payload = b"paDd" + bytes(max(0, size - len(head) - len(end) - 12))
    # After the pixels, so that reading the header of the file stays cheap.
    return head + struct.pack(">I", len(payload) - 4) + payload + struct.pack(">I", zlib.crc32(payload)) + end


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - broken EXIF data is no reason to refuse a picture
        return 1


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a sample: the upper eight are kept. convert() alone would cut off everything above 255.
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    alpha = None
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")  # a palette's or a colour key's transparency becomes a band
        alpha = with_alpha.getchannel("A")
        image = image.convert("L") if image.mode == "LA" else with_alpha.convert("RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    colours = _through_profile(image, profile) if profile else image.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        return ImageCms.profileToProfile(  # type: ignore[return-value]
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")  # a broken profile, or one for another kind of picture: shown as most viewers do


def _bled(image: Image.Image) -> Image.Image:
    """The colours without alpha: what is clear takes the colour around it, so that no dark fringe appears."""
    ground = image.resize((1, 1), Image.Resampling.BOX).resize(image.size)
    ground.putalpha(255)
    size = 2
    while size < max(image.size):
        # Pillow resizes RGBA by premultiplied colours: clear pixels add nothing.
        coarse = image.resize((min(size, image.width), min(size, image.height)), Image.Resampling.BOX)
        ground = Image.alpha_composite(ground, coarse.resize(image.size, Image.Resampling.BILINEAR))
        size *= 2
    return Image.alpha_composite(ground, image).convert("RGB")


def _strips(source: Image.Image, creativity: Decimal, strip_px: int) -> Iterator[tuple[int, Image.Image]]:
    """The result in horizontal strips with the row each begins at: what the whole picture would give, to the level.

    (Within one level where the 4096 px cap makes the scale a broken number.)
    """
    width, height = enlarged_size(*source.size)
    rows = max(1, strip_px // source.width * height // source.height)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        first = max(0, top * source.height // height - _MARGIN_PX)
        last = min(source.height, -(-bottom * source.height // height) + _MARGIN_PX)
        large = _sharpened(_fourfold(source.crop((0, first, source.width, last))), creativity)
        # The rows of the fourfold strip to keep; broken numbers, and another size, only where 4096 px is the cap.
        kept = tuple(row * source.height * SCALE / height - first * SCALE for row in (top, bottom))
        yield top, _resized(large, (width, bottom - top), kept)


def _fourfold(source: Image.Image) -> Image.Image:
    """Four times each side by Lanczos, then corrected three times by what is lost when it is made small again."""
    size = (source.width * SCALE, source.height * SCALE)
    large = _resized(source, size)
    for _ in range(_ROUNDS):
        small = _resized(large, source.size)
        # Signed differences in eight bits: 128 stands for none. What does not fit waits for the next round.
        lost = ImageChops.subtract(source, small, offset=128)
        large = ImageChops.add(large, _resized(lost, size), offset=-128)
    return large


def _resized(image: Image.Image, size: tuple[int, int], rows: tuple[float, ...] | None = None) -> Image.Image:
    """Some rows of a picture (None: all) by Lanczos, always first across and then down.

    Left to itself, Pillow picks the order by the size, and strips would differ from the whole by a few levels.
    """
    across = image.resize((size[0], image.height), Image.Resampling.LANCZOS)
    top, bottom = rows or (0, image.height)
    return across.resize(size, Image.Resampling.LANCZOS, box=(0, top, size[0], bottom))


def _sharpened(image: Image.Image, creativity: Decimal) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(radius=3, percent=int(creativity * 160), threshold=2))


def _add_grain(image: Image.Image, variation: str) -> None:
    """One level of brightness more or less here and there: too faint to see, enough for each seed to be its own."""
    grain = random.Random(variation)  # noqa: S311 - grain, not a secret
    # Of 256 values, 32 darken and 32 brighten; 128 stands for none.
    levels = [127] * 32 + [128] * 192 + [129] * 32
    rows = max(1, SCALE * SCALE * _STRIP_PX // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(image.height, top + rows))
        size = (image.width, box[3] - top)
        noise = Image.frombytes("L", size, grain.randbytes(size[0] * size[1])).point(levels)
        image.paste(ImageChops.add(image.crop(box), Image.merge("RGB", (noise,) * 3), offset=-128), box)


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground
