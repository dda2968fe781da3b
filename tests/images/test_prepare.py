"""Preparing source pictures: what is sent is what was planned, set right where it has to be."""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat

from runner.errors import DiskError
from runner.images import Picture, Prepared, Unsuitable, prepare
from tests.images.samples import (
    DEMO,
    LIMITS,
    chunk,
    encoded,
    orientation,
    saved,
    scene,
    sent,
    sixteen_bit_png,
    suitable,
)


def prepared(picture: Picture, folder: Path, **changed: Any) -> Prepared | Unsuitable:
    wishes: dict[str, Any] = {"output_format": "png", "flatten": None, "limits": LIMITS, **changed}
    return prepare(picture, folder=folder, **wishes)


def unlike(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures in levels of 255."""
    mode = "RGBA" if first.mode == second.mode == "RGBA" else "RGB"
    return max(ImageStat.Stat(ImageChops.difference(first.convert(mode), second.convert(mode))).mean)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_plain_picture_is_copied_byte_for_byte(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "a", scene(), format=kind)
    result = prepared(suitable(path), tmp_path / "new" / "folder")
    assert isinstance(result, Prepared)
    assert result.path.read_bytes() == path.read_bytes()
    assert result.path.parent == tmp_path / "new" / "folder"
    assert result.media_type == Image.MIME[kind]


@pytest.mark.parametrize("more", [1, 0, -1])
def test_a_copy_that_is_written_over_another_has_nothing_of_it(tmp_path: Path, more: int) -> None:
    path = saved(tmp_path / "a.png", scene())
    old = b"x" * (path.stat().st_size + more * 1000)

    def spare(place: Path) -> bool:
        place.write_bytes(old)
        return True

    result = prepared(suitable(path), tmp_path / "out", spare=spare)
    assert isinstance(result, Prepared)
    assert result.path.read_bytes() == path.read_bytes()


def test_what_was_written_over_another_and_is_not_sent_is_not_left_there(tmp_path: Path) -> None:
    picture = suitable(saved(tmp_path / "a.png", scene()))
    saved(tmp_path / "a.png", scene(128, 96))
    result = prepared(picture, tmp_path / "out", spare=lambda place: bool(place.write_bytes(b"x")))
    assert isinstance(result, Unsuitable)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_same_picture_can_be_prepared_twice_at_a_time(tmp_path: Path) -> None:
    picture = suitable(saved(tmp_path / "a.png", scene()))
    first, second = prepared(picture, tmp_path / "out"), prepared(picture, tmp_path / "out")
    assert isinstance(first, Prepared)
    assert isinstance(second, Prepared)
    assert first.path != second.path


@pytest.mark.parametrize("turned", range(2, 9))
def test_a_turned_picture_is_sent_upright(tmp_path: Path, turned: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene().transpose(undo[turned])
    result = sent(saved(tmp_path / "a.png", stored, exif=orientation(turned)), tmp_path / "out")
    assert unlike(result, scene()) == 0
    assert result.getexif().get(0x0112, 1) == 1


def test_cmyk_is_sent_as_rgb(tmp_path: Path) -> None:
    result = sent(saved(tmp_path / "a.jpg", scene(mode="CMYK"), quality=95), tmp_path / "out")
    assert result.mode == "RGB"
    assert unlike(result, scene()) < 4


def test_a_colour_profile_is_converted_and_not_carried_along(tmp_path: Path) -> None:
    # L*a*b* stands for any profile that is not sRGB: its numbers are far from what they show.
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    linear = _linear_rgb_profile()
    stored = ImageCms.profileToProfile(scene(), srgb, linear, outputMode="RGB")
    assert stored is not None
    assert unlike(stored, scene()) > 15
    path = saved(tmp_path / "a.png", stored, icc_profile=linear.tobytes())
    result = sent(path, tmp_path / "out")
    assert unlike(result, scene()) < 4
    assert "icc_profile" not in result.info
    # A profile for other channels than the picture's is no reason to refuse it.
    odd = saved(tmp_path / "b.png", scene(), icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert unlike(sent(odd, tmp_path / "out"), scene()) == 0


def _linear_rgb_profile() -> ImageCms.ImageCmsProfile:
    """Pillow's sRGB profile, with its tone curves replaced by straight ones and its name changed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    for number in range(count):
        entry = 132 + 12 * number
        offset = int.from_bytes(profile[entry + 4 : entry + 8], "big")
        length = int.from_bytes(profile[entry + 8 : entry + 12], "big")
        if profile[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + length] = (b"curv" + bytes(8)).ljust(length, b"\0")
        elif profile[entry : entry + 4] == b"desc":
            text = bytes(profile[offset : offset + length])
            profile[offset : offset + length] = text.replace("sRGB".encode("utf-16-be"), "line".encode("utf-16-be"))
    return ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile)))


def test_alpha_is_kept_when_a_picture_is_set_right(tmp_path: Path) -> None:
    faded = scene(mode="RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(faded.size))
    path = saved(tmp_path / "a.png", faded.transpose(Image.Transpose.ROTATE_90), exif=orientation(6))
    # A colour for JPEG results says nothing about the others.
    for colour in (None, "#008040"):
        result = sent(path, tmp_path / "out", flatten=colour)
        assert result.mode == "RGBA"
        assert unlike(result, faded) == 0


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_kept_when_a_picture_is_set_right(tmp_path: Path, mode: str) -> None:
    stored = scene().quantize(8) if mode == "P" else scene(mode=mode)
    clear = stored.getpixel((1, 1))
    path = saved(tmp_path / "a.png", stored, exif=orientation(3), transparency=clear)
    result = sent(path, tmp_path / "out")
    assert result.mode == "RGBA"
    alpha = result.getchannel("A").transpose(Image.Transpose.ROTATE_180)
    assert (alpha.getpixel((1, 1)), alpha.getpixel((60, 5))) == (0, 255)


@pytest.mark.parametrize("name", ["logos/anchor.png", "logos/compass.png", "logos/sun-and-waves.png"])
def test_for_jpeg_alpha_is_laid_on_the_declared_colour(tmp_path: Path, name: str) -> None:
    path = DEMO / name
    original = Image.open(path).convert("RGBA")
    expected = Image.new("RGBA", original.size, (0, 128, 64, 255))
    expected.alpha_composite(original)
    result = sent(path, tmp_path, output_format="jpeg", flatten="#008040")
    assert result.mode == "RGB"
    assert unlike(result, expected.convert("RGB")) < 1
    assert result.getpixel((0, 0)) == (0, 128, 64)
    # Where the result can hold it, alpha stays and the file is sent as it is.
    kept = prepared(suitable(path, flatten="#008040"), tmp_path / "kept", flatten="#008040")
    assert isinstance(kept, Prepared)
    assert kept.path.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("colour", [0, 2])
def test_16_bits_that_are_allowed_are_scaled_where_the_picture_is_set_right(tmp_path: Path, colour: int) -> None:
    plain = sixteen_bit_png(colour=colour)
    (tmp_path / "a.png").write_bytes(plain[:33] + chunk(b"eXIf", orientation(2)[6:]) + plain[33:])
    result = sent(tmp_path / "a.png", tmp_path / "out", sixteen_bit=True)
    row = [result.convert("L").getpixel((63 - x, 0)) for x in range(64)]
    assert (row[0], row[-1]) == (0, 255)
    assert max(abs(level - x * 255 / 63) for x, level in enumerate(row)) <= 1


def test_a_picture_that_has_changed_is_not_sent(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", scene())
    picture = suitable(path)
    path.write_bytes(encoded(scene().transpose(Image.Transpose.ROTATE_180), "PNG"))
    result = prepared(picture, tmp_path / "out")
    assert result == Unsuitable(path, "changed since it was planned; plan again")
    path.unlink()
    assert prepared(picture, tmp_path / "out") == Unsuitable(path, "not there any more")
    path.symlink_to(saved(tmp_path / "b.png", scene()))
    assert prepared(picture, tmp_path / "out") == Unsuitable(path, "a symbolic link, which is never followed")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("turned", [1, 6])
def test_damage_behind_the_header_is_found_before_anything_is_paid(tmp_path: Path, kind: str, turned: int) -> None:
    noisy = Image.open(DEMO / "scans/harbour-dusk.jpg")
    whole = bytearray(encoded(noisy, kind, exif=orientation(turned)))
    if kind == "JPEG":
        del whole[len(whole) // 2 :]
    else:
        # Cut off, and the lengths in the file changed to match: only decoding can tell.
        whole = _shortened(bytes(whole), kind)
    (tmp_path / "a").write_bytes(whole)
    result = prepared(suitable(tmp_path / "a"), tmp_path / "out")
    assert isinstance(result, Unsuitable)
    assert result.reason.startswith("cannot be decoded: ")
    assert os.listdir(tmp_path / "out") == []


def _shortened(whole: bytes, kind: str) -> bytearray:
    if kind == "PNG":
        start = whole.index(b"IDAT") - 4
        length = int.from_bytes(whole[start : start + 4], "big")
        pixels = whole[start + 8 : start + 8 + length // 2]
        return bytearray(whole[:start] + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    start = whole.index(b"VP8 ")
    length = int.from_bytes(whole[start + 4 : start + 8], "little")
    half = length // 4 * 2
    rest = whole[start + 8 + length + length % 2 :]
    body = whole[12 : start + 4] + half.to_bytes(4, "little") + whole[start + 8 : start + 8 + half] + rest
    return bytearray(b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body)


def test_a_picture_that_grows_past_the_request_when_set_right_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", scene(mode="CMYK"))
    limits = replace(LIMITS, request_bytes_max=64 * 1024 + 100)
    result = prepared(suitable(path, limits=limits), tmp_path / "out", limits=limits)
    assert isinstance(result, Unsuitable)
    assert result.reason.startswith("0.0 MiB file makes a request of 0.1 MiB, at most 0.1 MiB accepted")
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_cannot_take_the_copy_is_one_clear_error(tmp_path: Path) -> None:
    picture = suitable(saved(tmp_path / "a.png", scene()))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match=r"`.*/file/out` cannot be written: a part of the path is a file"):
        prepared(picture, tmp_path / "file" / "out")
