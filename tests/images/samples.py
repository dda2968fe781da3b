"""Picture files for the tests: what Pillow can write, and what only a hostile hand would."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from runner.contracts import CONTRACTS
from runner.images import Picture, Prepared, Unsuitable, inspect, prepare

LIMITS = CONTRACTS["stability-upscale-creative"].pictures
DEMO = Path(__file__).parents[2] / "pictures"


def scene(width: int = 96, height: int = 72, mode: str = "RGB") -> Image.Image:
    """A small picture with an up, a down and some colours: red above left, blue below right."""
    picture = Image.new("RGB", (width, height), (230, 220, 200))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width // 3, height // 3), fill=(220, 30, 30))
    draw.ellipse((width // 2, height // 2, width - 4, height - 4), fill=(30, 60, 200))
    return picture.convert(mode)


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    """Write a picture, in the format of its name unless `format` is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def orientation(turned: int) -> bytes:
    """EXIF that says how a picture is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = turned
    return exif.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG with any header, whatever its rows hold; `more` chunks stand before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def sixteen_bit_png(width: int = 64, height: int = 64, colour: int = 2) -> bytes:
    """A PNG of 16 bits per channel, grey (colour 0) or RGB (2), brighter from left to right."""
    channels = {0: 1, 2: 3}[colour]
    row = b"\0" + b"".join(struct.pack(">H", x * 65535 // (width - 1)) * channels for x in range(width))
    return png(width, height, 16, colour, row * height)


def inspected(path: Path, **changed: Any) -> Picture | Unsuitable:
    """Inspect with the contract's limits, a PNG result and nothing allowed, but for what is `changed`."""
    wishes: dict[str, Any] = {"output_format": "png", "flatten": None, "sixteen_bit": False, **changed}
    return inspect(path, wishes.pop("limits", LIMITS), **wishes)


def suitable(path: Path, **changed: Any) -> Picture:
    """The inspected picture, which must be suitable."""
    found = inspected(path, **changed)
    assert isinstance(found, Picture), found
    return found


def reason(path: Path, **changed: Any) -> str:
    """Why a picture is unsuitable, which it must be."""
    found = inspected(path, **changed)
    assert isinstance(found, Unsuitable), found
    assert found.path == path
    return found.reason


def sent(path: Path, folder: Path, **changed: Any) -> Image.Image:
    """What the endpoint would decode: the picture inspected, prepared and opened."""
    picture = suitable(path, **changed)
    result = prepare(
        picture,
        output_format=changed.get("output_format", "png"),
        flatten=changed.get("flatten"),
        limits=LIMITS,
        folder=folder,
    )
    assert isinstance(result, Prepared), result
    assert result.size_bytes == result.path.stat().st_size
    opened = Image.open(result.path)
    opened.load()
    assert Image.MIME[opened.format or ""] == result.media_type
    assert opened.size == (picture.width, picture.height)
    return opened


def peak_kib() -> int:
    """The most memory this process has held. (ru_maxrss would carry over what its parent held before exec.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
