"""Draws the demo pictures: `python pictures/draw.py [FOLDER]` (default: the folder of this file).

Made by code so that nobody else's rights are touched, and from seeded random numbers only, so that every run
draws the same. What each file is there to show stands beside it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import indoors
import landscapes
import logos
import seascapes
from PIL import Image

ORIENTATION_TAG = 0x0112


def _turned(picture: Image.Image) -> Image.Image:
    """The picture as a camera held upright stores it: on its side, with a note to turn it back."""
    return picture.transpose(Image.Transpose.ROTATE_90)


def _turned_exif() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    return exif.tobytes()


def _tiny() -> Image.Image:
    return seascapes.harbour_dusk().resize((72, 48), Image.Resampling.LANCZOS)


def _on_ground(thing: Image.Image) -> Image.Image:
    """The thing as photographed for a shop: on a plain ground, nothing transparent."""
    picture = Image.new("RGB", thing.size, (150, 190, 225))
    picture.paste(thing, mask=thing.convert("RGBA").getchannel("A"))
    return picture


PICTURES: list[tuple[str, Callable[[], Image.Image], dict[str, Any]]] = [
    ("scans/harbour-dusk.jpg", seascapes.harbour_dusk, {"quality": 82}),
    ("scans/mountain-lake.jpg", seascapes.mountain_lake, {"quality": 82}),
    ("scans/city-night.jpg", landscapes.city_night, {"quality": 80}),
    ("scans/forest-fog.jpg", landscapes.forest_fog, {"quality": 80, "progressive": True}),
    # stored on its side, EXIF orientation 6
    ("scans/lighthouse.jpg", lambda: _turned(seascapes.lighthouse()), {"quality": 84, "exif": _turned_exif()}),
    ("scans/still-life.webp", indoors.still_life, {"quality": 82, "method": 6}),
    ("scans/dunes.webp", landscapes.dunes, {"quality": 82, "method": 6}),
    ("scans/aurora.jpg", landscapes.aurora, {"quality": 82}),
    # in a folder of their own, for `**`; the steamer has one channel only
    ("scans/album/portrait.jpg", indoors.portrait_scan, {"quality": 78}),
    ("scans/album/steamer.jpg", seascapes.steamer_scan, {"quality": 78}),
    # 48 px side: unsuitable on purpose
    ("scans/too-small.png", _tiny, {"optimize": True}),
    ("logos/anchor.png", logos.anchor, {"optimize": True}),
    ("logos/compass.png", logos.compass, {"optimize": True}),
    # palette with one transparent colour
    ("logos/sun-and-waves.png", logos.sun_and_waves, {}),
    # on a plain ground, to be cut out
    ("things/badge.jpg", lambda: _on_ground(logos.anchor()), {"quality": 90}),
    ("things/rose.png", lambda: _on_ground(logos.compass()), {"optimize": True}),
]


def main(folder: Path) -> None:
    """Write all pictures under `folder`; existing ones are replaced."""
    for name, painted, options in PICTURES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        painted().save(target, **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
