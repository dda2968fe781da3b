"""Result pictures: cut off ones are found, blurred and unrelated ones are flagged, honest ones never."""

import functools
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from runner.images import ResultFacts, looks_wrong, result_facts
from tests.images.samples import DEMO, chunk, encoded, png, saved, scene, sixteen_bit_png

KINDS = ["PNG", "JPEG", "WEBP"]
ROOT = Path(__file__).parents[2]
DEMOS = sorted(path for path in DEMO.rglob("*") if path.suffix in (".jpg", ".png", ".webp"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_result_is_measured(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "a", scene(400, 300), format=kind)
    assert result_facts(path) == ResultFacts(Image.MIME[kind], 400, 300, path.stat().st_size)


@pytest.mark.parametrize("kind", [*KINDS, "progressive"])
def test_a_result_cut_off_anywhere_is_found(tmp_path: Path, kind: str) -> None:
    picture = Image.open(DEMO / "scans/harbour-dusk.jpg")
    options = {"progressive": True} if kind == "progressive" else {}
    whole = encoded(picture, "JPEG" if kind == "progressive" else kind, **options)
    for length in {
        1,
        2,
        10,
        11,
        12,
        20,
        30,
        33,
        100,
        *range(200, len(whole), len(whole) // 40),
        len(whole) - 2,
        len(whole) - 1,
    }:
        (tmp_path / "a").write_bytes(whole[:length])
        assert isinstance(result_facts(tmp_path / "a"), str), length
    (tmp_path / "a").write_bytes(whole)
    assert isinstance(result_facts(tmp_path / "a"), ResultFacts)


def test_a_jpeg_that_lacks_nothing_but_its_end_marker_is_found(tmp_path: Path) -> None:
    # The decoder is content with some of these: all of their rows are there.
    rng = random.Random(1)
    for side in range(64, 100):
        whole = encoded(Image.frombytes("RGB", (side, side), rng.randbytes(side * side * 3)), "JPEG")
        (tmp_path / "a.jpg").write_bytes(whole[:-2])
        assert isinstance(result_facts(tmp_path / "a.jpg"), str), side


def test_the_end_of_a_thumbnail_is_not_taken_for_the_end_of_the_result(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x9286] = encoded(scene(64, 64), "JPEG")  # a JPEG within a JPEG, with an end marker of its own
    whole = encoded(Image.open(DEMO / "scans/harbour-dusk.jpg"), "JPEG", exif=exif)
    assert whole.count(b"\xff\xd9") == 2
    (tmp_path / "a.jpg").write_bytes(whole)
    assert isinstance(result_facts(tmp_path / "a.jpg"), ResultFacts)
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    assert str(result_facts(tmp_path / "a.jpg")).startswith("cannot be decoded: image file is truncated")


def test_a_result_with_a_flipped_bit_is_found_by_its_checksum(tmp_path: Path) -> None:
    damaged = bytearray(encoded(scene(), "PNG"))
    damaged[damaged.index(b"IDAT") + 50] ^= 1
    (tmp_path / "a.png").write_bytes(damaged)
    assert result_facts(tmp_path / "a.png") == "damaged: wrong checksum of the PNG's IDAT chunk"


def test_what_is_no_result_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert result_facts(tmp_path / "a") == "empty (0 bytes)"
    (tmp_path / "a").write_bytes(b"<html>Bad gateway</html>")
    assert result_facts(tmp_path / "a") == "not a picture, expected PNG, JPEG or WebP (contract C9)"
    saved(tmp_path / "a", scene(), format="GIF")
    assert result_facts(tmp_path / "a") == "GIF, expected PNG, JPEG or WebP (contract C9)"
    assert result_facts(tmp_path / "gone") == "cannot be read: No such file or directory"


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_of_the_pixel_limit_is_accepted_and_a_larger_one_is_not(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "a", scene(100, 80), format=kind)
    assert isinstance(result_facts(path, pixels_max=8000), ResultFacts)
    assert result_facts(path, pixels_max=7999) == "100 × 80 pixels, at most 7999 are accepted"


def test_a_result_that_is_a_bomb_is_refused_on_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(30_000, 30_000, 8, 2, bytes(1_000_000)))
    assert result_facts(tmp_path / "a.png") == "30000 × 30000 pixels, at most 64000000 are accepted"
    assert "never decoded" in str(looks_wrong(DEMOS[0], tmp_path / "a.png"))


# ------------------------------------------------------------------------------------------------ looks_wrong


def upright(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        turned = ImageOps.exif_transpose(picture)
        return turned.convert("RGBA" if turned.has_transparency_data else "RGB")


def enlarged(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width * 4, picture.height * 4), Image.Resampling.LANCZOS)


def with_colours(change: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    """Let a change touch the colours alone, not the alpha."""

    @functools.wraps(change)
    def changed(picture: Image.Image) -> Image.Image:
        result = change(picture.convert("RGB"))
        if picture.mode == "RGBA":
            result.putalpha(picture.getchannel("A").resize(result.size))
        return result

    return changed


def on_white(picture: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture.convert("RGBA"))
    return ground.convert("RGB")


HONEST = {
    "plain": enlarged,
    "sharpened hard": lambda picture: enlarged(picture).filter(ImageFilter.UnsharpMask(4, 300, 0)),
    "denoised": with_colours(lambda picture: enlarged(picture.filter(ImageFilter.MedianFilter(3)))),
    "a little soft": lambda picture: enlarged(picture).filter(ImageFilter.GaussianBlur(2)),
    "toned": with_colours(lambda picture: ImageEnhance.Contrast(enlarged(picture)).enhance(0.8)),
    "moved a little": lambda picture: ImageChops.offset(enlarged(picture), 4, -4),
    "laid on white": lambda picture: on_white(enlarged(picture)),
    "without alpha": lambda picture: enlarged(picture).convert("RGB"),
}


@pytest.mark.parametrize("source", DEMOS, ids=lambda path: path.stem)
def test_an_honest_enlargement_is_never_flagged(tmp_path: Path, source: Path) -> None:
    for name, enlarge in HONEST.items():
        result = saved(tmp_path / "result.png", enlarge(upright(source)), compress_level=0)
        assert looks_wrong(source, result) is None, name


@pytest.mark.parametrize("source", DEMOS, ids=lambda path: path.stem)
@pytest.mark.parametrize("radius", [8, 30])
def test_a_blurred_result_is_flagged(tmp_path: Path, source: Path, radius: int) -> None:
    blurred = enlarged(upright(source)).filter(ImageFilter.GaussianBlur(radius))
    flagged = looks_wrong(source, saved(tmp_path / "result.png", blurred, compress_level=0))
    assert str(flagged).startswith("looks blurred: its edges have ")


def test_another_picture_is_flagged(tmp_path: Path) -> None:
    scans = [path for path in DEMOS if "logos" not in path.parts and path.stem != "too-small"]
    results = {path: saved(tmp_path / f"{path.stem}.png", enlarged(upright(path)), compress_level=0) for path in scans}
    for source, other in zip(scans, scans[3:] + scans[:3], strict=True):
        flagged = looks_wrong(source, results[other])
        assert str(flagged).startswith(("looks unrelated to the source", "looks blurred")), (source.stem, other.stem)


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_compared_in_every_format(tmp_path: Path, kind: str) -> None:
    source = DEMO / "scans/lighthouse.jpg"
    large = enlarged(upright(source))
    assert looks_wrong(source, saved(tmp_path / "a", large, format=kind)) is None
    blurred = large.filter(ImageFilter.GaussianBlur(12))
    assert "blurred" in str(looks_wrong(source, saved(tmp_path / "b", blurred, format=kind)))
    other = enlarged(upright(DEMO / "scans/aurora.jpg"))
    assert "unrelated" in str(looks_wrong(source, saved(tmp_path / "c", other, format=kind)))


def test_a_source_without_edges_or_contrast_is_never_flagged(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L")
    smooth = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_90), Image.radial_gradient("L")))
    for number, picture in enumerate((smooth.resize((200, 150)), Image.new("RGB", (100, 100), (90, 120, 30)))):
        source = saved(tmp_path / f"{number}.png", picture)
        for enlarge in (*HONEST.values(), lambda p: enlarged(p).filter(ImageFilter.GaussianBlur(20))):
            result = saved(tmp_path / "result.png", enlarge(picture), compress_level=0)
            assert looks_wrong(source, result) is None


def test_faint_edges_that_a_blur_takes_away_are_no_proof(tmp_path: Path) -> None:
    faint = ImageEnhance.Contrast(upright(DEMO / "scans/forest-fog.jpg")).enhance(0.06)
    source = saved(tmp_path / "source.png", faint)
    blurred = enlarged(faint).filter(ImageFilter.GaussianBlur(12))
    assert looks_wrong(source, saved(tmp_path / "result.png", blurred, compress_level=0)) is None


def test_a_black_or_inverted_result_is_flagged(tmp_path: Path) -> None:
    source = DEMO / "scans/city-night.jpg"
    black = saved(tmp_path / "black.png", Image.new("RGB", (1440, 960)))
    assert "blurred" in str(looks_wrong(source, black))
    inverted = saved(tmp_path / "inverted.png", ImageOps.invert(enlarged(upright(source))))
    assert "unrelated" in str(looks_wrong(source, inverted))


def test_a_result_smaller_than_its_source_is_compared_at_its_own_size(tmp_path: Path) -> None:
    source = DEMO / "scans/harbour-dusk.jpg"
    small = upright(source).resize((72, 48), Image.Resampling.LANCZOS)
    assert looks_wrong(source, saved(tmp_path / "a.png", small)) is None


def test_a_clean_result_of_a_grainy_scan_is_not_flagged(tmp_path: Path) -> None:
    clean = upright(DEMO / "scans/harbour-dusk.jpg")
    size, rng = clean.size, random.Random(3)
    grain = [
        Image.frombytes("RGB", size, rng.randbytes(size[0] * size[1] * 3)).point(lambda v: v // 3) for _ in range(2)
    ]
    grainy = ImageChops.subtract(ImageChops.add(clean, grain[0]), grain[1])
    source = saved(tmp_path / "source.png", grainy)
    assert looks_wrong(source, saved(tmp_path / "result.png", enlarged(clean), compress_level=0)) is None


def test_a_source_that_is_gone_or_changed_flags_nothing(tmp_path: Path) -> None:
    result = saved(tmp_path / "result.png", scene())
    assert looks_wrong(tmp_path / "gone.png", result) is None
    (tmp_path / "changed.png").write_bytes(b"no picture any more")
    assert looks_wrong(tmp_path / "changed.png", result) is None
    assert "not a picture" in str(looks_wrong(result, tmp_path / "changed.png"))
    assert looks_wrong(result, tmp_path / "gone.png") == "cannot be read: No such file or directory"


def test_a_png_whose_rows_end_too_early_is_flagged_though_its_checksums_are_right(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.png", scene())
    for row in (bytes(97), b"\0" + b"\x80" * 96):
        for missing in (1, 97, 97 * 40):
            (tmp_path / "a.png").write_bytes(png(96, 72, 8, 0, (row * 72)[:-missing]))
            assert looks_wrong(source, tmp_path / "a.png") == "truncated: the PNG has fewer rows than it declares"
        (tmp_path / "a.png").write_bytes(png(96, 72, 8, 0, row * 72))
        assert "truncated" not in str(looks_wrong(source, tmp_path / "a.png"))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(1500, 1100), (4096, 64), (64, 4096), (97, 131)])
def test_a_png_read_in_bands_is_the_same_as_one_read_whole(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    from runner.images.results import _result_brightness

    picture = upright(DEMO / "scans/still-life.webp").resize(size, Image.Resampling.BICUBIC)
    path = saved(tmp_path / "a.png", picture.convert(mode))
    wanted = (size[0] // 3, size[1] // 3)
    with Image.open(path) as opened:
        whole = opened.convert("L").reduce(3).resize(wanted, Image.Resampling.LANCZOS)
    assert _result_brightness(path, wanted).tobytes() == whole.tobytes()


# Which bits a channel may have, and how many channels there are, by the kind of colour (PNG, 11.2.1).
PNG_KINDS = [
    *((0, bits, 1) for bits in (1, 2, 4, 8, 16)),
    *((3, bits, 1) for bits in (1, 2, 4, 8)),
    *((colour, bits, channels) for colour, channels in ((2, 3), (4, 2), (6, 4)) for bits in (8, 16)),
]
# Where the seven passes of an interlaced PNG begin and how far their pixels stand apart, across and down (PNG, 8.2).
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def any_png(
    colour: int, bits: int, channels: int, size: tuple[int, int], *, interlaced: bool, dice: random.Random
) -> bytes:
    """A valid PNG of random bytes, each row with a filter of its own; now and then with a transparent colour."""
    width, height = size
    rows = b""
    for left, top, across, down in PASSES if interlaced else [(0, 0, 1, 1)]:
        pixels, lines = -(-max(0, width - left) // across), -(-max(0, height - top) // down)
        row_bytes = -(-pixels * bits * channels // 8)
        for _ in range(lines if pixels else 0):
            rows += bytes([dice.randrange(5)]) + dice.randbytes(row_bytes)
    more = [chunk(b"PLTE", dice.randbytes(3 * 2**bits))] if colour == 3 else []
    if colour in (0, 2, 3) and dice.random() < 0.5:
        most = 2**bits - 1
        some = bytes(dice.randrange(256) for _ in range(2**bits))
        key = b"".join(dice.randint(0, most).to_bytes(2, "big") for _ in range(channels))
        more.append(chunk(b"tRNS", some if colour == 3 else key))
    data = png(width, height, bits, colour, rows, *more)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return data[:8] + chunk(b"IHDR", header) + data[33:]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits", "channels"), PNG_KINDS)
def test_any_valid_png_is_seen_the_same_at_once_and_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: int, bits: int, channels: int, interlaced: bool
) -> None:
    from runner.images import results

    source, path = saved(tmp_path / "source.png", scene(96, 72)), tmp_path / "a.png"
    for seed in range(20):
        dice = random.Random(f"{colour} {bits} {interlaced} {seed}")
        size = dice.randint(1, 90), dice.randint(1, 90)
        path.write_bytes(any_png(colour, bits, channels, size, interlaced=interlaced, dice=dice))
        assert isinstance(result_facts(path), ResultFacts)
        wanted = dice.randint(1, size[0]), dice.randint(1, size[1])
        seen, verdict = results._result_brightness(path, wanted).tobytes(), looks_wrong(source, path)
        with monkeypatch.context() as bands:
            bands.setattr(results, "_WHOLE_PIXELS_MAX", 0)
            bands.setattr(results, "_BAND_BYTES", 1000)
            assert results._result_brightness(path, wanted).tobytes() == seen, (seed, size, wanted)
            assert looks_wrong(source, path) == verdict


def test_of_two_palettes_a_small_png_is_seen_by_the_same_as_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.images import results

    picture = upright(DEMO / "scans/still-life.webp").resize((90, 60)).convert("P")
    data = saved(tmp_path / "a.png", picture).read_bytes()
    at = data.index(b"IDAT") - 4
    other = chunk(b"PLTE", bytes(range(255, -1, -1)) * 3)
    for place in (at, len(data) - 12):  # before the pixels, and behind them
        (tmp_path / "a.png").write_bytes(data[:place] + other + data[place:])
        seen = results._result_brightness(tmp_path / "a.png", (45, 30)).tobytes()
        with monkeypatch.context() as large:
            large.setattr(results, "_WHOLE_PIXELS_MAX", 0)
            assert results._result_brightness(tmp_path / "a.png", (45, 30)).tobytes() == seen


def test_pixels_in_many_small_chunks_or_highly_compressed_are_read_to_the_end(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.png", Image.new("RGB", (512, 512), (9, 9, 9)))
    rows = bytes((1 + 3 * 2048) * 2048)
    packed = zlib.compress(rows, 9)
    plain = png(2048, 2048, 8, 2, b"")
    for step in (1 << 20, 7):
        pixels = b"".join(chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
        (tmp_path / "a.png").write_bytes(plain[:33] + pixels + chunk(b"IEND", b""))
        assert looks_wrong(source, tmp_path / "a.png") is None


def test_16_bit_and_interlaced_results_are_read_whole(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L").rotate(90).resize((64, 64))
    source = saved(tmp_path / "source.png", ramp)
    (tmp_path / "a.png").write_bytes(sixteen_bit_png(64, 64, 0))
    assert looks_wrong(source, tmp_path / "a.png") is None


@pytest.mark.parametrize(("kind", "mode", "most_mib"), [("PNG", "RGB", 40), ("PNG", "RGBA", 40), ("JPEG", "RGB", 40)])
def test_a_4k_result_is_compared_in_little_memory(tmp_path: Path, kind: str, mode: str, most_mib: int) -> None:
    source = saved(tmp_path / "source.png", upright(DEMO / "scans/harbour-dusk.jpg").resize((1024, 1024)))
    large = Image.open(source).convert(mode).resize((4096, 4096))
    result = saved(tmp_path / "result", large, format=kind, **({"compress_level": 1} if kind == "PNG" else {}))
    program = (
        "import sys; from pathlib import Path; from runner.images import looks_wrong, result_facts\n"
        "from tests.images.samples import peak_kib\n"
        "before = peak_kib()\n"
        "facts = result_facts(Path(sys.argv[2]))\n"
        "assert (facts.width, looks_wrong(Path(sys.argv[1]), Path(sys.argv[2]))) == (4096, None)\n"
        "print(peak_kib() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(source), str(result)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < most_mib * 1024
