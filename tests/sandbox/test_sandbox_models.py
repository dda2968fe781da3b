"""Models of contract files: the same strictness, other pictures, and every answer says what was done."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from runner import project
from runner.contracts.contract import Contract
from runner.sandbox import Sandbox, SandboxOptions, draw, start
from tests.sandbox.sandbox_client import ask, drawn, file_of, item

CONTRACTS = project.contracts(str(Path(__file__).parents[2]))
DRAW = {"model": "stability-image-core", "prompt": "a harbour", "output_format": "png", "seed": 7}


@pytest.fixture(scope="module")
def models() -> Iterator[Sandbox]:
    with start(SandboxOptions(contracts=CONTRACTS)) as server:
        yield server


def picture(models: Sandbox, body: dict[str, object]) -> tuple[bytes, str]:
    """The picture's file, and what the answer says of it."""
    answer = ask(models, body)
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"]), answer.headers["x-sandbox"]


def cut(file: bytes) -> dict[str, object]:
    return {"model": "stability-remove-background", "output_format": "png", "input_images": [item(file)]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({**DRAW, "input_images": [item(file_of(drawn()))]}, "stability-image-core has no option `input_images`"),
        ({**DRAW, "aspect_ratio": "17:9"}, "`aspect_ratio` has no value `17:9`"),
        ({**DRAW, "aspect_ratio": 1}, "`aspect_ratio` must be a string, found an integer"),
        ({**DRAW, "prompt": ""}, "`prompt` must have at least 1 character"),
        ({**DRAW, "prompt": "x" * 10_001}, "`prompt` has 10001 characters"),
        ({name: value for name, value in DRAW.items() if name != "prompt"}, "`prompt` is required"),
        ({**DRAW, "seed": 4294967295}, "`seed` must be 0-4294967294"),
        ({**DRAW, "creativity": 0.3}, "has no option `creativity`"),
        ({**cut(file_of(drawn())), "prompt": "x"}, "stability-remove-background has no option `prompt`"),
        ({**cut(file_of(drawn())), "output_format": "jpeg"}, "`output_format` has no value `jpeg`"),
        ({**cut(file_of(drawn())), "input_images": []}, "`input_images` must be an array of exactly 1 item"),
        (cut(file_of(drawn(63, 70))), "63 px side, at least 64 px needed"),
        (cut(file_of(drawn(2049, 2048))), "at most 4194304 accepted"),
        ({**DRAW, "model": "stability-image-cor"}, "did you mean `stability-image-core`?"),
    ],
)
def test_each_limit_of_a_contract_file_is_kept(models: Sandbox, body: dict[str, object], sentence: str) -> None:
    before = models.counts()
    answer = ask(models, body)
    assert answer.status_code == 400
    assert sentence in " ".join(answer.json()["errors"]), answer.text
    assert models.counts().pictures == before.pictures


def test_a_model_of_a_file_is_known_only_where_the_file_is() -> None:
    with start(SandboxOptions()) as other:
        answer = ask(other, DRAW)
        assert (answer.status_code, "no value `stability-image-core`" in answer.text) == (400, True)


def test_a_body_without_a_picture_has_the_same_limit(models: Sandbox) -> None:
    body = json.dumps(DRAW).encode()
    assert ask(models, body + b" " * (10 * 1024 * 1024 - len(body))).status_code == 200
    assert ask(models, body + b" " * (10 * 1024 * 1024 - len(body) + 1)).status_code == 413


def test_equal_requests_draw_equal_pictures_and_others_do_not(models: Sandbox) -> None:
    first, honest = picture(models, DRAW)
    assert honest == "a placeholder, drawn locally; no model has read the prompt"
    assert picture(models, DRAW)[0] == first
    changes: tuple[dict[str, object], ...] = ({"prompt": "a forest"}, {"seed": 8}, {"negative_prompt": "boats"})
    assert len({first, *(picture(models, {**DRAW, **change})[0] for change in changes)}) == 4
    # Without a seed, each is its own.
    free = {**DRAW, "seed": 0}
    assert picture(models, free)[0] != picture(models, free)[0]


@pytest.mark.parametrize("ratio", CONTRACTS["stability-image-core"].field("aspect_ratio").choices)  # type: ignore[union-attr]
def test_a_placeholder_has_about_a_megapixel_in_the_ratio_that_was_asked_for(ratio: str) -> None:
    width, height = draw.size_of(ratio)
    across, down = (int(side) for side in ratio.split(":"))
    assert 0.97 < width * height / draw.PIXELS <= 1
    assert abs(width * down / (height * across) - 1) < 0.02
    assert width % 8 == height % 8 == 0


@pytest.mark.parametrize("ratio", [None, "", "0:1", "1:0", "100:1", "wide", "1:1:1", "٣:٢"])
def test_what_is_no_ratio_is_a_square(ratio: str | None) -> None:
    assert draw.size_of(ratio) == (1024, 1024)


@pytest.mark.parametrize("ratio", ["99:1", "1:99"])
def test_the_word_placeholder_fits_into_any_picture(ratio: str) -> None:
    made = draw.placeholder("x", ratio)
    assert made.size == draw.size_of(ratio)


def test_every_format_that_the_contract_has_comes_back(models: Sandbox) -> None:
    for name in ("png", "jpeg", "webp"):
        file, _ = picture(models, {**DRAW, "output_format": name})
        assert (Image.open(io.BytesIO(file)).format or "").lower() == name


def test_a_plain_ground_becomes_transparent_and_the_thing_on_it_stays(models: Sandbox) -> None:
    source = Image.new("RGB", (100, 80), (200, 210, 220))
    ImageDraw.Draw(source).ellipse((30, 20, 70, 60), fill=(150, 20, 20))
    file, honest = picture(models, cut(file_of(source)))
    assert honest == "the colour of the corners cut out locally; no model has looked at it"
    made = Image.open(io.BytesIO(file))
    assert (made.mode, made.size) == ("RGBA", (100, 80))
    alpha = made.getchannel("A")
    assert [alpha.getpixel(at) for at in ((0, 0), (99, 79), (50, 5), (50, 40))] == [0, 0, 0, 255]
    assert made.getpixel((50, 40)) == (150, 20, 20, 255)
    # The ellipse, to the pixel: nothing of it is lost, and nothing of the ground is left.
    assert alpha.getbbox() == (30, 20, 71, 61)
    assert made.getpixel((0, 0)) == (0, 0, 0, 0)


def test_what_was_transparent_stays_so() -> None:
    source = Image.new("RGBA", (64, 64), (10, 200, 10, 255))
    source.paste((250, 250, 250, 77), (20, 20, 40, 40))
    alpha = draw.cut_out(source).getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((30, 30))) == (0, 77)


def test_an_edit_is_the_source_with_grain(models: Sandbox) -> None:
    core = CONTRACTS["stability-remove-background"]
    contract = Contract("edit", "Edit", "", core.fields[1:], core.pictures, operation="image-editing")
    source = drawn(90, 70, "RGBA")
    source.putalpha(128)
    with start(SandboxOptions(contracts={"edit": contract})) as server:
        file, honest = picture(server, {**cut(file_of(source)), "model": "edit"})
    assert "made locally; no model has read the prompt" in honest
    made = Image.open(io.BytesIO(file))
    assert (made.mode, made.size) == ("RGBA", (90, 70))
    assert made.getchannel("A").getextrema() == (128, 128)
    assert made.tobytes() != source.tobytes()
    apart = [abs(a - b) for a, b in zip(made.convert("RGB").tobytes(), source.convert("RGB").tobytes(), strict=True)]
    assert max(apart) == 1
