"""The demo pictures: what draw.py draws, and of every kind that the README speaks of."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from runner.images import Unsuitable, find, prepare
from tests.images.samples import DEMO, LIMITS, inspected, reason, suitable

ALL = ["**/*.jpg", "**/*.png", "**/*.webp"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    subprocess.run([sys.executable, "-B", str(DEMO / "draw.py"), str(folder)], check=True)
    return folder


def test_the_committed_pictures_are_what_the_program_draws(drawn: Path) -> None:
    committed = [path.relative_to(DEMO) for path in find(DEMO, ALL, [])]
    assert committed == [path.relative_to(drawn) for path in find(drawn, ALL, [])]
    for name in committed:
        with Image.open(DEMO / name) as ours, Image.open(drawn / name) as theirs:
            assert (ours.mode, ours.size, ours.format) == (theirs.mode, theirs.size, theirs.format)
            assert ours.getexif() == theirs.getexif()
            apart = ImageChops.difference(ours.convert("RGBA"), theirs.convert("RGBA"))
        # Pixels may differ by what another version of Pillow or of its codecs rounds differently, and no more.
        assert max(ImageStat.Stat(apart).mean) < 0.5, name


def test_the_demo_has_enough_pictures_and_one_that_is_unsuitable() -> None:
    found = {path: inspected(path) for path in find(DEMO, ALL, [])}
    unsuitable = [path for path, seen in found.items() if isinstance(seen, Unsuitable)]
    assert [path.name for path in unsuitable] == ["too-small.png"]
    assert reason(DEMO / "scans/too-small.png") == "48 px side, at least 64 px needed (contract U2)"
    folders = [path.relative_to(DEMO).parts[0] for path in found if path not in unsuitable]
    assert folders.count("scans") >= 9
    assert folders.count("logos") >= 2


def test_every_suitable_demo_picture_can_be_prepared(tmp_path: Path) -> None:
    for path in find(DEMO, ALL, ["**/too-small.png"]):
        picture = suitable(path)
        done = prepare(picture, output_format="png", flatten=None, limits=LIMITS, folder=tmp_path)
        assert not isinstance(done, Unsuitable), done


def test_the_demo_pictures_are_small_and_of_every_kind() -> None:
    seen = {path.name: suitable(path) for path in find(DEMO, ALL, ["**/too-small.png"])}
    assert max(picture.size_bytes for picture in seen.values()) <= 30_000
    assert max(max(picture.width, picture.height) for picture in seen.values()) <= 400
    assert {picture.media_type for picture in seen.values()} == set(LIMITS.media_types)
    assert [name for name, picture in seen.items() if picture.needs_preparing] == ["lighthouse.jpg"]
    assert seen["lighthouse.jpg"].height > seen["lighthouse.jpg"].width
    assert sorted(name for name, picture in seen.items() if picture.has_alpha) == [
        "anchor.png",
        "compass.png",
        "sun-and-waves.png",
    ]
    modes = {name: Image.open(path).mode for path in find(DEMO, ALL, []) for name in (path.name,)}
    assert (modes["anchor.png"], modes["sun-and-waves.png"], modes["steamer.jpg"]) == ("RGBA", "P", "L")
