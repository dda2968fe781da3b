"""Inspecting source pictures: each rule of contract.md's picture hygiene, one inside and one just outside."""

import hashlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from tests.images.samples import (
    LIMITS,
    chunk,
    encoded,
    inspected,
    orientation,
    png,
    reason,
    saved,
    scene,
    sixteen_bit_png,
    suitable,
)

KINDS = [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_a_plain_picture_is_sent_as_it_is(tmp_path: Path, kind: str, media_type: str) -> None:
    path = saved(tmp_path / "a", scene(96, 72), format=kind)
    picture = suitable(path)
    assert (picture.path, picture.media_type, picture.width, picture.height) == (path, media_type, 96, 72)
    assert picture.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert picture.size_bytes == path.stat().st_size
    assert (picture.has_alpha, picture.sixteen_bit, picture.needs_preparing) == (False, False, False)


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_the_type_is_read_from_the_bytes_and_not_from_the_name(tmp_path: Path, kind: str, media_type: str) -> None:
    assert suitable(saved(tmp_path / "a.gif", scene(), format=kind)).media_type == media_type
    assert suitable(saved(tmp_path / "b.png", scene(), format=kind)).media_type == media_type


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_another_format_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "a.png", scene(), format=kind)
    assert reason(path) == f"{kind}, expected PNG, JPEG or WebP (contract C9)"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"hello, this is no picture", "not a picture"),
        (b"\0\0\0\x1cftypavif" + bytes(20), "AVIF"),
        (b"x", "not a picture"),
        (b"RIFX" + encoded(scene(), "WEBP")[4:], "not a picture"),
    ],
)
def test_what_is_no_picture_is_said_so(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert reason(tmp_path / "a.png") == f"{found}, expected PNG, JPEG or WebP (contract C9)"


def test_a_type_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.webp", scene())
    assert reason(path, limits=replace(LIMITS, media_types=("image/png",))) == "image/webp, accepted are image/png"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert reason(tmp_path / "a.png") == "empty file (0 bytes)"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_64_pixels_of_side_are_enough_and_63_are_not(tmp_path: Path, kind: str) -> None:
    assert suitable(saved(tmp_path / "a", scene(64, 64), format=kind)).width == 64
    path = saved(tmp_path / "b", scene(80, 63), format=kind)
    assert reason(path) == "63 px side, at least 64 px needed (contract U2)"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_one_mebipixel_is_accepted_and_one_row_more_is_not(tmp_path: Path, kind: str) -> None:
    assert suitable(saved(tmp_path / "a", scene(1024, 1024), format=kind)).height == 1024
    path = saved(tmp_path / "b", scene(1024, 1025), format=kind)
    assert reason(path) == "1024 × 1025 = 1049600 pixels, at most 1048576 accepted (contract U2)"


def test_a_request_of_the_size_limit_is_accepted_and_one_byte_more_is_not(tmp_path: Path) -> None:
    plain = encoded(scene(), "PNG")
    # The picture in base64 takes 4/3 of the file; 64 KiB are set aside for the rest of the request.
    limit = (LIMITS.request_bytes_max - 64 * 1024) * 3 // 4
    padding = limit - len(plain) - 12
    fits = plain[:-12] + chunk(b"teSt", bytes(padding)) + plain[-12:]
    assert len(fits) == limit
    (tmp_path / "fits.png").write_bytes(fits)
    assert suitable(tmp_path / "fits.png").size_bytes == limit
    (tmp_path / "over.png").write_bytes(plain[:-12] + chunk(b"teSt", bytes(padding + 1)) + plain[-12:])
    assert reason(tmp_path / "over.png") == (
        "7.5 MiB file makes a request of 10.0 MiB, at most 10.0 MiB accepted (contract U2)"
    )


def test_a_file_of_gigabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.write(encoded(scene(), "PNG"))
        file.truncate(5 * 2**30)
    assert reason(tmp_path / "a.png") == "5120.0 MiB file, at most 64.0 MiB are read"


# Bombs: the header declares 900 megapixels, and the compressed rows would really fill them.
def _jpeg_bomb() -> bytes:
    plain = bytearray(encoded(scene(64, 64), "JPEG"))
    start = plain.index(b"\xff\xc0") + 5
    plain[start : start + 4] = struct.pack(">HH", 30_000, 30_000)
    return bytes(plain)


def _webp_bomb() -> bytes:
    size = (16_383).to_bytes(3, "little")
    extended = struct.pack("<4sI", b"VP8X", 10) + bytes(4) + size + size
    inner = encoded(scene(64, 64), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(inner)) + b"WEBP" + extended + inner


BOMBS = {
    "png": (png(30_000, 30_000, 8, 2, bytes(1_000_000)), "30000 × 30000 = 900000000 pixels"),
    "jpeg": (_jpeg_bomb(), "30000 × 30000 = 900000000 pixels"),
    "webp": (_webp_bomb(), "16384 × 16384 = 268435456 pixels"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_on_its_header(tmp_path: Path, kind: str) -> None:
    content, size = BOMBS[kind]
    (tmp_path / "bomb").write_bytes(content)
    assert reason(tmp_path / "bomb") == f"{size}, at most 1048576 accepted (contract U2)"


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_even_where_the_model_sets_no_limit(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bomb").write_bytes(BOMBS[kind][0])
    assert "more than 64000000 are never decoded" in reason(
        tmp_path / "bomb", limits=replace(LIMITS, pixels_max=10**12)
    )


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    for kind, (content, _) in BOMBS.items():
        (tmp_path / kind).write_bytes(content)
    program = (
        "import sys; from pathlib import Path; from tests.images.samples import LIMITS, peak_kib, reason\n"
        "from dataclasses import replace\n"
        "before = peak_kib()\n"
        "for name in sys.argv[1:]:\n"
        "    reason(Path(name)); reason(Path(name), limits=replace(LIMITS, pixels_max=10**12))\n"
        "print(peak_kib() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *(str(tmp_path / kind) for kind in BOMBS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 8 * 1024  # KiB; decoded they would take gigabytes


def test_animation_is_refused_by_the_number_of_frames(tmp_path: Path) -> None:
    frames = [scene(), scene().transpose(Image.Transpose.ROTATE_180), scene().convert("L").convert("RGB")]
    for kind in ("PNG", "WEBP"):
        path = saved(tmp_path / kind, frames[0], format=kind, save_all=True, append_images=frames[1:])
        assert reason(path) == "animated: 3 frames, only still pictures are sent"
    # The same containers, with one frame in them, are still pictures.
    assert suitable(saved(tmp_path / "one.webp", scene(), save_all=True)).media_type == "image/webp"
    control = chunk(b"acTL", struct.pack(">II", 1, 0))
    plain = encoded(scene(), "PNG")
    (tmp_path / "one.png").write_bytes(plain[:33] + control + plain[33:])
    assert suitable(tmp_path / "one.png").media_type == "image/png"


def test_a_second_picture_in_a_phones_jpeg_is_no_animation(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", scene(), format="MPO", save_all=True, append_images=[scene()])
    picture = suitable(path)
    assert (picture.media_type, picture.needs_preparing) == ("image/jpeg", False)


@pytest.mark.parametrize("colour", [0, 2])
def test_16_bits_per_channel_must_be_allowed(tmp_path: Path, colour: int) -> None:
    (tmp_path / "a.png").write_bytes(sixteen_bit_png(colour=colour))
    assert reason(tmp_path / "a.png") == (
        "16 bits per channel: the endpoint documents no depth, so it would be reduced to 8; "
        "allow with [allow] sixteen_bit = true"
    )
    picture = suitable(tmp_path / "a.png", sixteen_bit=True)
    assert picture.sixteen_bit
    assert not picture.needs_preparing


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_turned_picture_is_measured_upright_and_prepared(tmp_path: Path, kind: str) -> None:
    for turned in range(1, 9):
        path = saved(tmp_path / str(turned), scene(96, 72), format=kind, exif=orientation(turned))
        picture = suitable(path)
        assert (picture.width, picture.height) == ((72, 96) if turned >= 5 else (96, 72))
        assert picture.needs_preparing == (turned != 1)


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path) -> None:
    picture = suitable(saved(tmp_path / "a.jpg", scene(), exif=orientation(9)))
    assert not picture.needs_preparing


def test_exif_behind_the_pixels_of_a_png_is_seen(tmp_path: Path) -> None:
    plain = encoded(scene(96, 72), "PNG")
    exif = chunk(b"eXIf", orientation(6)[6:])
    (tmp_path / "late.png").write_bytes(plain[:-12] + exif + plain[-12:])
    picture = suitable(tmp_path / "late.png")
    assert (picture.width, picture.height, picture.needs_preparing) == (72, 96, True)


def test_exif_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.webp", scene(), exif=b"Exif\0\0what is this")
    assert reason(path).startswith("its orientation cannot be read: not a TIFF file")


def test_cmyk_and_foreign_profiles_are_prepared_and_srgb_is_not(tmp_path: Path) -> None:
    assert suitable(saved(tmp_path / "cmyk.jpg", scene(mode="CMYK"))).needs_preparing
    assert suitable(saved(tmp_path / "lab.png", scene(), icc_profile=LAB)).needs_preparing
    assert not suitable(saved(tmp_path / "srgb.png", scene(), icc_profile=SRGB)).needs_preparing
    assert not suitable(saved(tmp_path / "junk.png", scene(), icc_profile=b"no profile at all")).needs_preparing


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_needs_a_colour_only_where_the_result_is_jpeg(tmp_path: Path, mode: str) -> None:
    options = {"transparency": 0} if mode == "P" else {}
    path = saved(tmp_path / "a.png", scene(mode=mode), **options)
    for output_format in ("png", "webp"):
        picture = suitable(path, output_format=output_format)
        assert (picture.has_alpha, picture.needs_preparing) == (True, False)
    assert reason(path, output_format="jpeg") == (
        'transparent, which JPEG cannot keep; declare `flatten = "#ffffff"` beside its format'
    )
    assert suitable(path, output_format="jpeg", flatten="#ffffff").needs_preparing
    opaque = suitable(saved(tmp_path / "b.png", scene()), output_format="jpeg", flatten="#ffffff")
    assert (opaque.has_alpha, opaque.needs_preparing) == (False, False)


def test_a_webp_with_alpha_is_seen(tmp_path: Path) -> None:
    faded = scene(mode="RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(faded.size))
    assert suitable(saved(tmp_path / "a.webp", faded)).has_alpha


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_file_that_ends_too_early_is_refused_by_its_own_account(tmp_path: Path, kind: str) -> None:
    whole = encoded(scene(), kind)
    (tmp_path / "a").write_bytes(whole[:-1])
    assert reason(tmp_path / "a").startswith("truncated: ")
    (tmp_path / "a").write_bytes(whole)
    assert suitable(tmp_path / "a")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_cut_anywhere_in_its_header_is_refused(tmp_path: Path, kind: str) -> None:
    whole = encoded(scene(), kind)
    for length in range(1, 60):
        (tmp_path / "a").write_bytes(whole[:length])
        assert reason(tmp_path / "a")


def test_symbolic_links_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", scene())
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert reason(tmp_path / "link.png") == "a symbolic link, which is never followed"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "not a regular file"
    assert reason(tmp_path) == "not a regular file"
    assert reason(tmp_path / "gone.png") == "not there any more"


def test_a_file_that_cannot_be_opened_is_unsuitable(tmp_path: Path) -> None:
    # Root may read every file, but nobody can open a socket or a name that is too long.
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "s"))
        assert reason(tmp_path / "s") == "cannot be read: No such device or address"
    assert reason(tmp_path / ("x" * 300)) == "cannot be read: File name too long"


def test_a_file_that_this_user_may_not_read_is_unsuitable() -> None:
    program = (
        "import os, sys; from pathlib import Path; from tests.images.samples import reason\n"
        "os.getuid() or os.setuid(65534); print(reason(Path(sys.argv[1])))"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = saved(Path(folder) / "a.png", scene())
        path.chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "cannot be read: Permission denied\n"


def test_no_file_is_left_open(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", scene())
    (tmp_path / "b.png").write_bytes(b"no picture")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        inspected(tmp_path / "a.png")
        inspected(tmp_path / "b.png")
        inspected(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
