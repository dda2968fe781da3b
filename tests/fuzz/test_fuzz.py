"""A few hundred hostile inputs of each kind: by grammar, and by mutation of good ones. Millions: tests/long/fuzz.py."""

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import made
from tests.fuzz.targets import SECRET, TARGETS, LoadedTooMuch, amount, answer, oracle, output_name, picture, toml
from tests.images.samples import encoded, png, scene

few = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize("name", TARGETS)
@few
@given(number=st.integers(0, 10**9))
def test_no_mutation_of_a_good_example_breaks_a_promise(name: str, number: int) -> None:
    TARGETS[name].run(made(TARGETS[name], 2026, number))


@pytest.mark.parametrize("name", TARGETS)
def test_every_example_itself_keeps_the_promises(name: str) -> None:
    for data in TARGETS[name].seeds():
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=2_000))
@example(data=b"")
def test_no_bytes_at_all_break_a_promise(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_an_input_can_be_made_again_from_its_number() -> None:
    for target in TARGETS.values():
        assert [made(target, 7, n) for n in range(50)] == [made(target, 7, n) for n in range(50)]
        assert made(target, 7, 1) != made(target, 8, 1)


# ---- amounts: all that the grammar allows, and one step beside it

DIGITS = st.text("0123456789", max_size=13)


@few
@given(DIGITS, st.sampled_from(["", ".", ",", "．"]), DIGITS, st.sampled_from(["", " ", "\n", "0", "e1", "\0"]))
def test_amounts_beside_the_grammar(whole: str, point: str, fraction: str, rest: str) -> None:
    amount(f"{whole}{point}{fraction}{rest}".encode())


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("0.039000", 39_000),
        ("0.0390001", 39_001),
        ("0.0000000000001", None),
        ("0.000000000001", 1),
        ("999999999.999999", 999_999_999_999_999),
        ("999999999.9999991", 1_000_000_000_000_000),
        ("1000000000", None),
        ("01", None),
        ("1.", None),
        ("-0", None),
    ],
)
def test_the_oracle_knows_what_an_amount_is(text: str, micros: int | None) -> None:
    assert oracle(text) == micros


# ---- answers: JSON of the words that count

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(
    ["0.039000", "0.000000", "0", "1E9", SECRET, base64.b64encode(SECRET.encode()).decode(), "QUJD" * 400, "moderation"]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "usage",
        "billed_amount",
        "data",
        "b64_json",
        "url",
        "error",
        "message",
        "code",
        "name",
        "errors",
        "detail",
        "type",
    ]
)
TREES = st.recursive(LEAVES, lambda i: st.lists(i, max_size=3) | st.dictionaries(WORDS, i, max_size=4), max_leaves=15)


def escaped(text: str, every: int) -> bytes:
    """JSON with each so-many-th letter written as an escape."""
    inside = False
    out = []
    for number, c in enumerate(text):
        inside ^= c == '"'
        out.append(f"\\u{ord(c):04x}" if inside and every and c.isalnum() and number % every == 0 else c)
    return "".join(out).encode("utf-8", "replace")


@few
@given(st.integers(0, 255), st.integers(0, 5), st.dictionaries(WORDS, TREES, max_size=5), st.sampled_from([0, 1, 2, 5]))
def test_answers_of_the_words_that_count(status: int, headers: int, body: dict[str, object], every: int) -> None:
    text = json.dumps(body)
    # Escapes of text that already has some would be no JSON any more; both kinds are tried.
    answer(bytes([status, headers]) + (escaped(text, every) if "\\" not in text else text.encode()))


# ---- recipes: every key with odd values


@few
@given(
    st.sampled_from(["folder", "include", "prompt", "preset", "text", "file", "name", "format", "cron", "day", "x"]),
    st.text(max_size=30)
    | st.sampled_from(["*" * 900, "[" * 50, "{file:../x}", "../..", "\u202e", "0 0 31 2 *", SECRET]),
    st.sampled_from(
        ["[[sources]]", "[prompts.restore]", "[output]", "[schedule]", "[budget]", "[allow]", "[labels]", ""]
    ),
    st.booleans(),
)
def test_recipes_and_settings_of_odd_values(key: str, value: str, table: str, is_settings: bool) -> None:
    text = f'workspace = "studio"\nmodel = "stability-upscale-creative"\n{table}\n{key} = {json.dumps(value)}\n'
    toml(bytes([is_settings]) + text.encode("utf-8", "replace"))


# ---- names of outputs: any template with any name


@few
@given(
    st.lists(
        st.sampled_from(["{dir}", "{stem}", "{suffix}", "{parent}", "/", ".", " ", "x", "con", "..", "~"]), max_size=8
    ),
    st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4),
)
def test_names_of_any_letters(template: list[str], parts: list[str]) -> None:
    rel = "/".join(part.replace("/", "_").replace("\0", "_") for part in parts)
    output_name(f"{''.join(template)}\0{rel}".encode("utf-8", "surrogateescape" if rel.isascii() else "replace"))


# ---- pictures: any header on any rows


@few
@given(
    st.sampled_from([0, 1, 63, 64, 65, 1024, 1025, 30_000, 2**31 - 1, 2**32 - 1]),
    st.sampled_from([0, 1, 64, 1024, 30_000, 2**31]),
    st.sampled_from([1, 2, 4, 8, 16, 3, 0, 255]),
    st.sampled_from([0, 2, 3, 4, 6, 1, 7]),
    st.integers(0, 7),
)
def test_png_headers_of_any_size_and_depth(width: int, height: int, bits: int, colour: int, wishes: int) -> None:
    picture(bytes([wishes]) + png(width, height, bits, colour, bytes(20_000)))


def test_the_picture_target_would_see_a_load_beyond_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target itself is right: a gate without its check lets a large picture through, and the target says so."""
    from dataclasses import replace

    from tests.fuzz import targets

    large = b"\0" + encoded(scene(1100, 1000), "JPEG")
    picture(large)
    open_gate = replace(targets.LIMITS, pixels_max=10**9)
    real = targets.inspect
    monkeypatch.setattr(targets, "inspect", lambda path, limits, **wishes: real(path, open_gate, **wishes))
    with pytest.raises((AssertionError, LoadedTooMuch)):
        picture(large)
