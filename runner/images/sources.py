"""Source pictures: checked by their headers for the plan, copied and set right before they are sent."""

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from PIL import ExifTags, Image, ImageCms, ImageColor, ImageOps

from runner.contracts.contract import PictureLimits
from runner.images.chunks import SUFFIXES, Unusable
from runner.images.disk import copy, explained, make_folder
from runner.images.formats import Header, damage_as_unusable, decoder, eight_bits, read_header
from runner.images.picture import CHANGED, Picture, Unsuitable
from runner.images.profiles import is_sound

# Larger files are not read at all: Pillow takes a WebP into memory to see its header.
_FILE_BYTES_MAX = 64 * 1024 * 1024
# The request is the picture in base64 plus prompts, options and JSON around them.
_REQUEST_ROOM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Prepared:
    """The file whose bytes are sent. The caller removes it after the answer."""

    path: Path
    media_type: str
    size_bytes: int


def inspect(
    path: Path, limits: PictureLimits, *, output_format: str, flatten: str | None, sixteen_bit: bool
) -> Picture | Unsuitable:
    """Check a source picture without decoding it; the first reason found makes it Unsuitable.

    `flatten` is the colour under transparent pixels when the result is JPEG, None when none is declared;
    `sixteen_bit` allows 16 bits per channel. Raises nothing for whatever the file holds.
    """
    try:
        with opened(path) as file:
            return _inspected(path, file, limits, output_format, flatten, sixteen_bit)
    except Unusable as fault:
        return Unsuitable(path, fault.reason)
    except OSError as error:
        return Unsuitable(path, f"cannot be read: {error.strerror}")


def opened(path: Path) -> BufferedReader:
    """Open a regular file, never through a symbolic link. Raises Unusable, or OSError when it cannot be read."""
    try:
        # Non-blocking, so that a named pipe is refused below instead of waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unusable("not there any more") from None
    except OSError:
        if path.is_symlink():
            raise Unusable("a symbolic link, which is never followed") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unusable("not a regular file")
    return os.fdopen(handle, "rb")


def _inspected(
    path: Path, file: BufferedReader, limits: PictureLimits, output_format: str, flatten: str | None, sixteen_bit: bool
) -> Picture:
    size_bytes = os.fstat(file.fileno()).st_size
    header = _checked_header(file, size_bytes, limits)
    if header.bits == 16 and not sixteen_bit:
        raise Unusable(
            "16 bits per channel: the endpoint documents no depth, so it would be reduced to 8; "
            "allow with [allow] sixteen_bit = true"
        )
    with damage_as_unusable(), decoder(file, header) as picture:
        turned = orientation(picture, header)
        has_alpha = picture.has_transparency_data
        needs_preparing = turned != 1 or picture.mode == "CMYK" or foreign_profile(picture) is not None
    if has_alpha and output_format == "jpeg":
        if flatten is None:
            raise Unusable('transparent, which JPEG cannot keep; declare `flatten = "#ffffff"` beside its format')
        needs_preparing = True
    if not needs_preparing:
        _check_request_size(size_bytes, limits)
    width, height = (header.height, header.width) if turned >= 5 else (header.width, header.height)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Picture(
        path, digest, size_bytes, header.media_type, width, height, has_alpha, header.bits == 16, needs_preparing
    )


def _checked_header(file: BufferedReader, size_bytes: int, limits: PictureLimits) -> Header:
    """The header of a picture that may be decoded: right type, size and one frame."""
    if size_bytes == 0:
        raise Unusable("empty file (0 bytes)")
    if size_bytes > _FILE_BYTES_MAX:
        raise Unusable(f"{_mib(size_bytes)} file, at most {_mib(_FILE_BYTES_MAX)} are read")
    header = read_header(file, size_bytes)
    if header.media_type not in limits.media_types:
        raise Unusable(f"{header.media_type}, accepted are {', '.join(limits.media_types)}")
    fault = limits.fault(header.width, header.height)
    if fault is not None:
        raise Unusable(fault)
    if header.frames > 1:
        raise Unusable(f"animated: {header.frames} frames, only still pictures are sent")
    return header


def _check_request_size(size_bytes: int, limits: PictureLimits) -> None:
    request = size_bytes * 4 // 3 + _REQUEST_ROOM_BYTES
    if request > limits.request_bytes_max:
        raise Unusable(
            f"{_mib(size_bytes)} file makes a request of {_mib(request)}, "
            f"at most {_mib(limits.request_bytes_max)} accepted ({limits.source})"
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"


def orientation(picture: Image.Image, header: Header) -> int:
    """How the picture is to be turned, 1 (not at all) to 8, by EXIF or XMP."""
    # PngImageFile.getexif() decodes everything whenever no EXIF came before the pixels; the plain one does not.
    with damage_as_unusable("its orientation cannot be read"):
        exif = picture.getexif() if header.late_metadata else Image.Image.getexif(picture)
    turned = exif.get(ExifTags.Base.Orientation, 1)
    return turned if turned in range(1, 9) else 1


def foreign_profile(picture: Image.Image) -> bytes | None:
    """The embedded colour profile, or None when there is none, when it is sRGB, or when it cannot be read safely."""
    profile: bytes | None = picture.info.get("icc_profile")
    if not profile or not is_sound(profile):
        return None
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (OSError, ImageCms.PyCMSError):
        return None  # viewers ignore a broken profile too
    return None if "srgb" in name.lower() else profile


def prepare(
    picture: Picture,
    *,
    output_format: str,
    flatten: str | None,
    limits: PictureLimits,
    folder: Path,
    spare: Callable[[Path], bool] = lambda _: False,
) -> Prepared | Unsuitable:
    """Put what is to be sent into `folder`: the very bytes that were planned, or a PNG set right from them.

    The copy is digested while it is made and decoded in full: Unsuitable when the file has changed since it was
    inspected, or is damaged beyond its header. Raises DiskError when `folder` cannot take it; then, and when
    Unsuitable, nothing is left there. `spare`: puts a file that may be written over at a path, or says that there is
    none; then one is made.
    """
    name = f"{picture.digest[:12]}-{secrets.token_hex(8)}"
    same, right = folder / f"{name}{SUFFIXES[picture.media_type]}", folder / f"{name}-right.png"
    try:
        with explained(folder):
            make_folder(folder)
        with _removed_on_failure(same):
            mode = "r+b" if spare(same) else "xb"
            with opened(picture.path) as source, explained(same), same.open(mode) as target:
                digest = copy(source, cast(BinaryIO, target), same)
                # Of a spare file the rest is cut off at the end. One that is emptied first is sent to the disk by some
                # file systems when it is closed.
                target.truncate()
            if digest != picture.digest:
                raise Unusable(CHANGED)
            set_right = _decoded(same, picture, flatten if output_format == "jpeg" else None)
        if set_right is None:
            return Prepared(same, picture.media_type, picture.size_bytes)
        same.unlink()
        with _removed_on_failure(right):
            with explained(right):
                set_right.save(right, format="PNG")
            size_bytes = right.stat().st_size
            _check_request_size(size_bytes, limits)
        return Prepared(right, "image/png", size_bytes)
    except Unusable as fault:
        return Unsuitable(picture.path, fault.reason)
    except OSError as error:
        return Unsuitable(picture.path, f"cannot be read: {error.strerror}")


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _decoded(path: Path, picture: Picture, ground: str | None) -> Image.Image | None:
    """Decode a copy in full; the picture set right, or None when its bytes can be sent as they are."""
    with path.open("rb") as file:
        header = read_header(file, picture.size_bytes)
        with damage_as_unusable(), decoder(file, header) as original:
            if not picture.needs_preparing:
                original.draft("L", (1, 1))  # a JPEG is read to its end all the same, and an eighth of it is held
            original.load()
            return _set_right(original, ground) if picture.needs_preparing else None


def _set_right(original: Image.Image, ground: str | None) -> Image.Image:
    """The picture turned upright, in sRGB, 8 bits a channel, without metadata.

    Alpha is kept, or laid on the colour `ground` when there is one.
    """
    profile = foreign_profile(original)
    upright = ImageOps.exif_transpose(original)
    alpha = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
    colours = in_srgb(_without_alpha(upright), profile)
    if alpha is not None and ground is not None:
        backing = Image.new("RGB", colours.size, ImageColor.getrgb(ground))
        backing.paste(colours, (0, 0), alpha)
        return backing
    if alpha is not None:
        colours = colours.convert("RGB")
        colours.putalpha(alpha)
    colours.info.clear()
    return colours


def _without_alpha(picture: Image.Image) -> Image.Image:
    """The colours alone, as L, RGB or CMYK: the modes that colour profiles are made for."""
    if picture.mode.startswith("I"):
        return eight_bits(picture)
    if picture.mode in ("1", "L", "LA"):
        return picture.convert("L")
    return picture if picture.mode == "CMYK" else picture.convert("RGB")


def in_srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    """The colours as sRGB shows them; as they are when they have no profile, or one that cannot be used."""
    if profile is not None:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            return _converted(colours, source)
        except (OSError, ImageCms.PyCMSError):
            pass  # a profile for another number of channels says nothing about this picture
    return colours.convert("RGB") if colours.mode == "CMYK" else colours


def _converted(colours: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted
