"""Pictures made to keep a decoder busy or to show the gate something else than the decoder: refused before a load."""

import struct
from pathlib import Path

import pytest
from PIL import ImageCms

from runner.images import result_facts
from runner.images.chunks import Unusable
from runner.images.formats import PIXELS_MAX, WIDE_PIXELS_MAX, Header, decoder, refuse_bomb
from runner.images.profiles import is_sound
from tests.images.samples import chunk, encoded, png, reason, scene, suitable

ROWS = (b"\0" + b"\x10" * 96 * 3) * 72
JPEG = encoded(scene(), "JPEG")
PROGRESSIVE = encoded(scene(), "JPEG", progressive=True)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "picture"
    path.write_bytes(content)
    return path


def test_a_png_with_a_second_header_is_refused_because_decoders_take_the_last(tmp_path: Path) -> None:
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path = written(tmp_path, png(96, 72, 8, 2, ROWS, second))
    assert reason(path) == "damaged: the PNG has two headers"
    assert result_facts(path) == "damaged: the PNG has two headers"
    assert suitable(written(tmp_path, png(96, 72, 8, 2, ROWS, chunk(b"teSt", b"")))).width == 96


def test_a_picture_that_a_decoder_measures_otherwise_than_the_gate_is_refused_before_its_load(tmp_path: Path) -> None:
    small = encoded(scene(64, 64), "WEBP")
    with written(tmp_path, small).open("rb") as file, decoder(file, Header("image/webp", 64, 64)) as picture:
        assert picture.size == (64, 64)
    told = "it declares 65 × 64 and 64 × 64 pixels"
    with written(tmp_path, small).open("rb") as file, pytest.raises(Unusable, match=told):
        decoder(file, Header("image/webp", 65, 64))


@pytest.mark.parametrize(
    ("stuffing", "words"),
    [
        (b"\xff\xfe\0\2" * 3_000, "a JPEG of more than 2000 segments"),
        ((b"\xff\xfe\xff\xff" + bytes(65_533)) * 130, "more than 8 MiB beside the pixels of the JPEG"),
        (b"\xff" * 200_000, "damaged: there is more than a little between the segments of the JPEG"),
        (b"\0" * 200_000, "damaged: there is more than a little between the segments of the JPEG"),
        (
            b"\0" * 40_000 + b"\xff\xfe\0\2" + b"\0" * 40_000,
            "damaged: there is more than a little between the segments",
        ),
    ],
    ids=["segments", "metadata", "fill", "junk", "junk-in-parts"],
)
def test_a_jpeg_whose_head_would_take_seconds_to_read_is_refused(tmp_path: Path, stuffing: bytes, words: str) -> None:
    path = written(tmp_path, JPEG[:20] + stuffing + JPEG[20:])
    assert reason(path).startswith(words)
    assert str(result_facts(path)).startswith(words)


@pytest.mark.parametrize(
    "stuffing",
    [b"\xff\xfe\0\2" * 1_000, (b"\xff\xfe\xff\xff" + bytes(65_533)) * 60, b"\xff" * 100, b"\0" * 1_000],
    ids=["segments", "metadata", "fill", "junk"],
)
def test_a_jpeg_with_a_little_too_much_in_its_head_is_a_picture(tmp_path: Path, stuffing: bytes) -> None:
    assert suitable(written(tmp_path, JPEG[:20] + stuffing + JPEG[20:])).width == 96


def scans(count: int) -> bytes:
    """A progressive JPEG with that many scans, each of them but the first ten only a few bytes."""
    own = PROGRESSIVE.count(b"\xff\xda")
    last = PROGRESSIVE.rfind(b"\xff\xda")
    one = PROGRESSIVE[last : last + 16]
    return PROGRESSIVE[:-2] + one * (count - own) + b"\xff\xd9"


def test_a_progressive_jpeg_of_a_hundred_scans_is_accepted_and_one_more_is_not(tmp_path: Path) -> None:
    assert suitable(written(tmp_path, scans(100))).width == 96
    path = written(tmp_path, scans(101))
    assert reason(path) == "a JPEG of more than 100 scans"
    assert result_facts(path) == "a JPEG of more than 100 scans"


def test_an_end_marker_inside_metadata_does_not_hide_the_scans_behind_it(tmp_path: Path) -> None:
    at = PROGRESSIVE.rfind(b"\xff\xda")
    hidden = PROGRESSIVE[:at] + b"\xff\xfe\0\6\xff\xd9\0\0" + scans(120)[at:]
    assert reason(written(tmp_path, hidden)) == "a JPEG of more than 100 scans"


def test_what_a_phone_appends_behind_the_picture_is_not_counted(tmp_path: Path) -> None:
    assert suitable(written(tmp_path, JPEG + b"\xff\xda" * 10_000)).width == 96


def test_what_takes_more_bytes_a_pixel_is_decoded_up_to_fewer_pixels() -> None:
    refuse_bomb(Header("image/png", PIXELS_MAX, 1))
    for kind, bits, most in (
        ("image/png", 8, PIXELS_MAX),
        ("image/webp", 8, WIDE_PIXELS_MAX),
        ("image/png", 16, WIDE_PIXELS_MAX),
    ):
        refuse_bomb(Header(kind, most, 1, bits))
        with pytest.raises(Unusable, match=f"more than {most} are never decoded"):
            refuse_bomb(Header(kind, most + 1, 1, bits))


def test_a_png_with_a_palette_that_is_not_there_is_damaged_and_not_a_crash(tmp_path: Path) -> None:
    assert reason(written(tmp_path, png(64, 64, 8, 3, bytes(65 * 64)))).startswith("cannot be decoded")


# ---- colour profiles

LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def tags(profile: bytes) -> dict[bytes, tuple[int, int]]:
    """Each tag of a profile: where it lies, and its bytes."""
    count = struct.unpack_from(">I", profile, 128)[0]
    found = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    return {name: (at, size) for name, at, size in found}


def changed(profile: bytes, at: int, octets: bytes) -> bytes:
    return profile[:at] + octets + profile[at + len(octets) :]


def table(kind: bytes, inputs: int, outputs: int, points: int) -> bytes:
    """A profile of one look-up table, whole for three channels of two points each."""
    if kind == b"mAB ":
        grid = bytes([points] * inputs + [0] * (16 - inputs)) + b"\1\0\0\0" + bytes(2**3 * 3)
        body = kind + bytes(4) + bytes([inputs, outputs, 0, 0]) + struct.pack(">5I", 0, 0, 0, 32, 0) + grid
    else:
        entries = struct.pack(">HH", 2, 2) if kind == b"mft2" else b""
        width, curves = (2, 12) if kind == b"mft2" else (1, 256 * 6)
        body = (
            kind + bytes(4) + bytes([inputs, outputs, points, 0]) + bytes(36) + entries + bytes(width * (curves + 24))
        )
    return bytes(128) + struct.pack(">I4sII", 1, b"A2B0", 144, len(body)) + body


def test_a_profile_that_declares_more_than_it_brings_is_not_handed_to_the_colour_engine(tmp_path: Path) -> None:
    """Found by fuzzing: a picture of 2 KB, whose profile declares 33 million names, made the engine take 400 MB."""
    hostile = changed(LAB, tags(LAB)[b"desc"][0], b"mluc" + bytes(4) + struct.pack(">I", 0x02000001))
    assert suitable(written(tmp_path, encoded(scene(), "PNG", icc_profile=LAB))).needs_preparing
    assert not suitable(written(tmp_path, encoded(scene(), "PNG", icc_profile=hostile))).needs_preparing


def test_honest_profiles_are_sound() -> None:
    made = [ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "LAB", "XYZ")]
    assert all(is_sound(profile) for profile in made)
    assert all(is_sound(table(kind, 3, 3, 2)) for kind in (b"mft1", b"mft2", b"mAB "))


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        SRGB[:131],
        SRGB[:-1],
        SRGB + bytes(4 * 1024 * 1024),
        changed(SRGB, 128, struct.pack(">I", 101)),
        changed(SRGB, 136, struct.pack(">I", 2**32 - 1)),
        changed(SRGB, tags(SRGB)[b"desc"][0] + 8, struct.pack(">I", 4)),
        changed(SRGB, tags(SRGB)[b"rTRC"][0], b"curv" + bytes(4) + struct.pack(">I", 11)),
        changed(SRGB, tags(SRGB)[b"rTRC"][0], b"mpet"),
        table(b"mft1", 3, 3, 3),
        table(b"mft2", 3, 3, 3),
        table(b"mft2", 255, 255, 255),
        table(b"mAB ", 3, 3, 3),
        table(b"mAB ", 15, 3, 255),
    ],
    ids=lambda profile: str(len(profile)),
)
def test_a_profile_is_sound_only_if_everything_that_it_declares_is_there(profile: bytes) -> None:
    assert not is_sound(profile)
