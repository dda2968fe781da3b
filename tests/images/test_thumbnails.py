"""Thumbnails: upright, small, and only of a file that still holds the very bytes that it should."""

import hashlib
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from runner.images import Changed, Thumbnail, Unusable, thumbnail
from tests.images.samples import encoded, saved, scene


def small(path: Path, side: int = 64) -> Image.Image:
    found = thumbnail(path, hashlib.sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size, side=side)
    assert isinstance(found, Thumbnail)
    picture = Image.open(io.BytesIO(found.content))
    assert (picture.format, picture.size) == ("WEBP", (found.width, found.height))
    assert not picture.info.get("exif")
    assert not picture.info.get("icc_profile")
    return picture


def is_red(picture: Image.Image, x: int, y: int) -> bool:
    red, green, blue = picture.convert("RGB").getpixel((x, y))  # type: ignore[misc]
    return red > 150 and green < 110 and blue < 110


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGB"),
        ("a.png", "RGBA"),
        ("a.png", "P"),
        ("a.png", "L"),
        ("a.png", "LA"),
        ("a.png", "1"),
        ("a.png", "I;16"),
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.jpg", "CMYK"),
        ("a.webp", "RGB"),
        ("a.webp", "RGBA"),
    ],
)
def test_every_kind_of_picture_is_made_small(tmp_path: Path, name: str, mode: str) -> None:
    picture = scene(192, 144).convert("L").convert("I;16") if mode == "I;16" else scene(192, 144, mode)
    found = small(saved(tmp_path / name, picture))
    assert found.size == (64, 48)
    if mode in ("RGB", "RGBA", "P", "CMYK"):
        assert is_red(found, 8, 6)
        assert not is_red(found, 56, 40)


def test_a_small_picture_is_not_made_larger(tmp_path: Path) -> None:
    assert small(saved(tmp_path / "a.png", scene(32, 24))).size == (32, 24)


@pytest.mark.parametrize(
    ("turn", "corner"),
    [(1, (8, 6)), (2, (56, 6)), (3, (56, 42)), (4, (8, 42)), (5, (6, 8)), (6, (42, 8)), (7, (42, 56)), (8, (6, 56))],
)
def test_a_picture_is_shown_upright(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    found = small(saved(tmp_path / "a.jpg", scene(192, 144), exif=exif))
    assert found.size == ((48, 64) if turn >= 5 else (64, 48))
    assert is_red(found, *corner)


def test_transparency_stays(tmp_path: Path) -> None:
    picture = scene(192, 144, "RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    assert small(saved(tmp_path / "a.png", picture)).convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_other_bytes_are_not_decoded_whatever_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", scene())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for other in (encoded(scene(97), "PNG"), b"", b"GIF89a", path.read_bytes() + b"x", path.read_bytes()[:-1] + b"x"):
        path.write_bytes(other)
        with pytest.raises(Changed):
            thumbnail(path, digest, size_bytes=None, side=64)


def test_a_file_of_another_size_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(scene(), "PNG"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("ab") as file:
        file.truncate(2**38)  # a hole of 256 GiB: to read it would take minutes
    try:
        with pytest.raises(Changed):
            thumbnail(path, digest, size_bytes=1000, side=64)
    finally:
        path.unlink()  # whatever tests leave behind is searched for keys


def test_what_is_no_picture_is_said_even_if_it_is_what_it_was(tmp_path: Path) -> None:
    whole = encoded(scene(), "PNG")
    bomb = whole.replace(b"\0\0\0\x60\0\0\0\x48", b"\0\0\xff\xff\0\0\xff\xff", 1)
    for content in (b"", b"GIF89a" + bytes(40), whole[: len(whole) // 2], encoded(scene(), "JPEG")[:200], bomb):
        path = tmp_path / "a.png"
        path.write_bytes(content)
        with pytest.raises(Unusable):
            thumbnail(path, hashlib.sha256(content).hexdigest(), size_bytes=None, side=64)


def test_links_pipes_and_folders_are_not_opened(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", scene())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "link.png").symlink_to(path)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("link.png", "pipe.png", "folder.png", "gone.png"):
        with pytest.raises(Unusable):
            thumbnail(tmp_path / name, digest, size_bytes=None, side=64)
