"""Pictures to buy: valid PNGs of a given weight, each with bytes of its own, and what an endpoint makes of them.

Noise hardly compresses, so a square of side² × 3 bytes weighs about as much as a PNG. All sources show the same noise,
a little different each time, and the result is that noise enlarged: so it looks like the source of each of them.
"""

import math
import random
from pathlib import Path

from PIL import Image, ImageChops


def make(folder: Path, count: int, *, source_bytes: int, result_bytes: int) -> Path:
    """Make `count` sources in `folder/pictures`, and return the path of the result that belongs to all of them."""
    (folder / "pictures").mkdir(parents=True)
    base = noise(_side(source_bytes), seed=0)
    for number in range(count):
        corner = noise(16, seed=number + 1)  # so that each has a digest of its own
        picture = base.copy()
        picture.paste(corner, (0, 0))
        picture.save(folder / "pictures" / f"{number:06}.png", compress_level=1)
    result = folder / "result.png"
    side = _side(result_bytes)
    for _ in range(2):  # it compresses by a tenth; the second time is as heavy as was asked for
        enlarged(base, side).save(result, compress_level=1)
        side = max(64, round(side * math.sqrt(result_bytes / result.stat().st_size)))
    return result


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """The upper bits of the picture's pixels, and lower ones of its own: it weighs, and shows the same."""
    upper = picture.resize((side, side), Image.Resampling.NEAREST).point([level & 0xC0 for level in range(256)] * 3)
    lower = noise(side, seed=-1).point([level & 0x3F for level in range(256)] * 3)
    return ImageChops.add(upper, lower)


def noise(side: int, *, seed: int) -> Image.Image:
    """A square of noise; equal seeds give equal pictures."""
    return Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3))


def _side(size_bytes: int) -> int:
    """Of the square whose pixels weigh so much; not under 64, which the model does not take."""
    return max(64, math.isqrt(size_bytes // 3))
