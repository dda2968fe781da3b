"""The local endpoint really enlarges: sizes, colours, alpha, formats, and what a seed decides."""

import io
import json
from decimal import Decimal

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageStat
from sandbox_client import ask, drawn, file_of, picture_of, request

from runner.sandbox import enlarge

THIRD = Decimal("0.3")


def decoded(file, media_type="image/png"):
    return enlarge.decoded(enlarge.opened(file, media_type))


def enlarged(file, media_type="image/png", creativity=THIRD, variation="1"):
    return enlarge.enlarge(decoded(file, media_type), creativity, variation)


def error_between(image, other):
    return sum(ImageStat.Stat(ImageChops.difference(image, other)).rms)


def detailed(width=96, height=80):
    """Lines, a disc and gradients, reduced from a larger drawing: there is detail to lose."""
    large = drawn(width * 4, height * 4)
    pen = ImageDraw.Draw(large)
    pen.ellipse((40, 30, 200, 190), fill=(250, 240, 40), outline=(10, 20, 120), width=9)
    for x in range(0, width * 4, 37):
        pen.line((x, 0, width * 2, height * 4), fill=(250, 250, 250), width=5)
    return large, large.resize((width, height), Image.Resampling.LANCZOS)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), (256, 256)),
        ((100, 64), (400, 256)),
        ((1024, 1000), (4096, 4000)),
        ((1025, 1000), (4096, 3996)),
        ((1365, 768), (4096, 2305)),
        ((64, 16384), (16, 4096)),
    ],
)
def test_sides_are_four_times_as_long_up_to_4096_px(size, expected):
    assert enlarge.enlarged_size(*size) == expected


@pytest.mark.parametrize("size", [(100, 64), (64, 2000), (2000, 70)])
def test_the_answered_picture_has_that_size(sandbox, size):
    answer = ask(sandbox, request(file_of(drawn(*size))))
    assert picture_of(answer).size == enlarge.enlarged_size(*size)


def test_made_small_again_it_is_the_source():
    _, small = detailed()
    back, plain = (
        large.resize(small.size, Image.Resampling.LANCZOS)
        for large in (
            enlarged(file_of(small), creativity=Decimal(0)),
            small.resize((384, 320), Image.Resampling.LANCZOS),
        )
    )
    assert error_between(back, small) < error_between(plain, small) / 3


def test_it_is_closer_to_the_truth_than_plain_enlarging():
    large, small = detailed()
    plain = small.resize(large.size, Image.Resampling.LANCZOS)
    assert error_between(enlarged(file_of(small), creativity=Decimal("0.1")), large) < error_between(plain, large)


def test_creativity_sharpens():
    _, small = detailed()
    contrast = [
        sum(ImageStat.Stat(enlarged(file_of(small), creativity=Decimal(text))).stddev) for text in ("0.1", "0.3", "0.5")
    ]
    assert contrast == sorted(contrast)
    assert len(set(contrast)) == 3


@pytest.mark.parametrize(("size", "levels"), [((90, 200), 0), ((64, 1000), 0), ((1300, 100), 1)])
def test_working_in_strips_does_not_show(size, levels):
    _, small = detailed(*size)
    whole, strips = (enlarge.enlarge(small, Decimal("0.5"), "1", strip_px=pixels) for pixels in (2**30, size[0] * 7))
    assert max(high for _, high in ImageChops.difference(whole, strips).getextrema()) <= levels


def test_equal_seed_picture_and_options_give_equal_bytes(sandbox):
    asked = request(file_of(drawn()), seed=7, creativity=0.3)
    first = ask(sandbox, asked).json()["data"][0]["b64_json"]
    assert ask(sandbox, asked).json()["data"][0]["b64_json"] == first
    # The documented default, and another order of the fields, are still the same request.
    same = {name: asked[name] for name in reversed(asked) if name != "creativity"}
    assert ask(sandbox, same).json()["data"][0]["b64_json"] == first
    padded = json.dumps(asked).replace('"creativity": 0.3', '"creativity": 0.30').encode()
    assert b"0.30" in padded
    assert ask(sandbox, padded).json()["data"][0]["b64_json"] == first


@pytest.mark.parametrize("other", [{"seed": 8}, {"prompt": "another"}, {"creativity": 0.31}, {"style_preset": "anime"}])
def test_another_seed_or_option_gives_another_picture(sandbox, other):
    asked = {"file": file_of(drawn()), "seed": 7}
    pictures = [picture_of(ask(sandbox, request(**fields))) for fields in (asked, asked | other)]
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert error_between(*pictures) < 12  # too little to be seen


@pytest.mark.parametrize("seed", [0, None])
def test_without_a_seed_each_picture_is_another(sandbox, seed):
    asked = request(file_of(drawn()), seed=seed)
    assert picture_of(ask(sandbox, asked)).tobytes() != picture_of(ask(sandbox, asked)).tobytes()


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP"), (None, "PNG")])
def test_the_output_format_is_honoured(sandbox, output_format, kind):
    assert picture_of(ask(sandbox, request(output_format=output_format))).format == kind


def logo():
    """A yellow disc on nothing; the clear pixels are black underneath, as many programs leave them."""
    large = Image.new("RGBA", (400, 400), (240, 200, 40, 0))
    ImageDraw.Draw(large).ellipse((80, 80, 320, 320), fill=(240, 200, 40, 255))
    small = large.resize((100, 100), Image.Resampling.LANCZOS)
    clear = small.getchannel("A").point(lambda value: 255 if value == 0 else 0)
    small.paste((0, 0, 0, 0), mask=clear)
    return small


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_alpha_is_kept(sandbox, output_format):
    result = picture_of(ask(sandbox, request(file_of(logo()), output_format=output_format)))
    assert (result.mode, result.size) == ("RGBA", (400, 400))
    assert result.getpixel((5, 5))[3] == 0
    assert result.getpixel((200, 200))[3] == 255


def test_the_edge_of_what_is_clear_has_no_dark_fringe():
    result = enlarged(file_of(logo()))
    seen = result.getchannel("A").point(lambda value: 255 if value > 0 else 0)
    darkest = [low for low, _ in ImageStat.Stat(result.convert("RGB"), mask=seen).extrema]
    assert darkest[0] > 215
    assert darkest[1] > 170


def test_jpeg_is_flattened_on_white(sandbox):
    result = picture_of(ask(sandbox, request(file_of(logo()), output_format="jpeg")))
    assert result.mode == "RGB"
    assert min(result.getpixel((5, 5))) > 250
    assert result.getpixel((200, 200))[2] < 80


def test_the_transparency_of_a_palette_is_kept():
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (16, 16, 48, 48))
    result = enlarged(file_of(palette, transparency=0))
    assert result.getpixel((4, 4))[3] == 0
    assert result.getpixel((128, 128))[3] == 255
    assert result.getpixel((128, 128))[2] > 250


def test_the_transparency_of_a_colour_key_is_kept():
    plain = Image.new("RGB", (64, 64), (255, 0, 255))
    plain.paste((0, 200, 0), (16, 16, 48, 48))
    result = enlarged(file_of(plain, transparency=(255, 0, 255)))
    assert result.getpixel((4, 4))[3] == 0
    assert result.getpixel((128, 128))[3] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation):
    upright = Image.new("RGB", (80, 64), "white")
    upright.paste("red", (0, 0, 40, 32))
    # What a camera stores for this orientation: turned back by the inverse.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = enlarged(file_of(stored, "JPEG", quality=95, exif=exif), "image/jpeg")
    assert result.size == (320, 256)
    red, white = result.getpixel((20, 20)), result.getpixel((300, 236))
    assert red[0] > 200
    assert red[1] < 60
    assert min(white) > 240


def test_colours_are_converted_to_srgb():
    # A profile whose red and green are swapped against sRGB is nothing a camera writes, but leaves no doubt.
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    profile = bytearray(ImageCms.ImageCmsProfile(srgb).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    result = decoded(file_of(Image.new("RGB", (64, 64), (255, 0, 0)), icc_profile=bytes(profile)))
    assert result.getpixel((9, 9))[1] > 250
    assert result.getpixel((9, 9))[0] < 5
    # A profile for another kind of picture is passed over.
    other = ImageCms.ImageCmsProfile(lab).tobytes()
    assert decoded(file_of(Image.new("RGB", (64, 64), "red"), icc_profile=other)).getpixel((9, 9)) == (255, 0, 0)


def test_sixteen_bits_are_reduced_and_not_cut_off():
    deep = Image.new("I;16", (64, 64), 32768)
    assert decoded(file_of(deep)).getpixel((9, 9)) in [(127,) * 3, (128,) * 3]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_kind_of_png_is_enlarged_in_colour(mode):
    result = enlarged(file_of(drawn(mode=mode)))
    assert result.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")
    assert result.size == (256, 256)


def test_a_cmyk_jpeg_is_enlarged():
    assert enlarged(file_of(drawn(mode="CMYK"), "JPEG"), "image/jpeg").mode == "RGB"


@pytest.mark.parametrize("size", [300, 5000, 1_000_003])
def test_a_padded_png_has_the_size_that_was_asked_for_and_is_valid(size):
    file = enlarge.padded_png(size)
    assert len(file) == size
    image = Image.open(io.BytesIO(file))
    image.load()
    Image.open(io.BytesIO(file)).verify()


def test_load_tests_are_answered_with_one_padded_picture(serve):
    sandbox = serve(answer_bytes=100_000)
    texts = {ask(sandbox, request(output_format=word)).json()["data"][0]["b64_json"] for word in ("png", "webp")}
    assert len(texts) == 1
    assert len(texts.pop()) == 4 * -(-100_000 // 3)
    assert ask(sandbox, request(seed=-1)).status_code == 400
