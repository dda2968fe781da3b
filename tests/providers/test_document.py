"""JSON that nobody vouches for: long strings are set aside without ever changing what the rest means."""

import json
import mmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.providers.document import REPEATED, NotJson, Number, parse

LONG = "QUJD" * 1000


def whole(text: str) -> bytes:
    document = parse(('{"a": ' + text + "}").encode())
    value = document.root["a"]
    assert isinstance(value, str)
    return b"".join(document.pieces(value))


def test_a_long_string_comes_out_as_it_went_in() -> None:
    assert whole(json.dumps(LONG)) == LONG.encode()


@pytest.mark.parametrize("filler", ["A" * 10, "A" * 1100, "A" * (1024 * 1024 - 3), "A" * (3 * 1024 * 1024)])
@pytest.mark.parametrize("escape", ["\\/", "\\n", "\\u002b", "\\u002B", '\\"', "\\t", "ä"])
def test_escapes_are_resolved_wherever_a_block_ends(filler: str, escape: str) -> None:
    text = f'"{filler}{escape}{escape}{filler}{escape}"'
    assert whole(text) == json.loads(text).encode()


@settings(deadline=None)
@given(st.text(alphabet='AB/+"\\\n\r\t\x01é😀', min_size=0, max_size=60), st.integers(1000, 1100))
def test_any_string_means_the_same_long_or_short(text: str, length: int) -> None:
    value = "A" * length + text
    assert whole(json.dumps(value)) == value.encode()
    assert whole(json.dumps(value, ensure_ascii=False)) == value.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.sampled_from([LONG, LONG + '\\"x', '"', "\\"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, st.booleans())
def test_any_document_is_read_as_the_standard_library_reads_it(value: object, ascii_only: bool) -> None:
    body = json.dumps({"v": value}, ensure_ascii=ascii_only, indent=1).encode()
    document = parse(body)

    def plain(found: object) -> object:
        if isinstance(found, str):
            return b"".join(document.pieces(found)).decode()
        if isinstance(found, list):
            return [plain(one) for one in found]
        if isinstance(found, dict):
            return {name: plain(one) for name, one in found.items()}
        return found

    assert plain(document.root) == {"v": value}


def test_a_long_gap_between_strings_is_not_taken_for_a_string() -> None:
    gap = " " * 5000
    document = parse(f'{{"a":{gap}"b",{gap}"c"{gap}:"d"}}'.encode())
    assert document.root == {"a": "b", "c": "d"}


def test_a_memory_map_is_read_like_bytes_and_can_be_closed_after() -> None:
    body = json.dumps({"a": LONG + "\n", "b": [1]}).encode()
    with mmap.mmap(-1, len(body)) as mapped:
        mapped[:] = body
        document = parse(mapped)
        value = document.root["a"]
        assert isinstance(value, str)
        assert b"".join(document.pieces(value)) == LONG.encode() + b"\n"
        assert document.text(value, 8) == "QUJDQUJD"
        assert document.head(9) == body.decode()[:9]


def test_numbers_keep_their_text_and_are_no_strings() -> None:
    document = parse(b'{"a": 0.10, "b": 1E+1000000, "c": NaN, "d": -0, "e": ' + b"9" * 10_000 + b"}")
    assert document.root["a"] == Number("0.10")
    assert document.root["b"] == Number("1E+1000000")
    assert document.root["c"] == Number("NaN")
    assert not Number("0")
    assert not Number("-0.0")
    assert Number("0.10")
    assert document.text(document.root["a"]) is None


def test_a_key_that_appears_twice_has_no_value_at_any_depth() -> None:
    document = parse(b'{"a": {"b": "1", "b": "1"}, "c": 1, "c": 1, "\\u0063": 1}')
    assert document.root == {"a": {"b": REPEATED}, "c": REPEATED}
    assert bool(REPEATED)


def test_a_string_that_looks_like_a_stand_in_is_only_a_string() -> None:
    first = parse(json.dumps({"a": LONG}).encode())
    stand_in = first.root["a"]
    second = parse(json.dumps({"a": LONG, "b": stand_in}).encode())
    assert second.text(second.root["b"]) == stand_in


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html></html>", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": "b', "ends inside a string"),
        (b'{"a": "' + b"Q" * 5000, "ends inside a string"),
        (b'{"a": ' + b'"\\"' * 100_000, "ends inside a string"),
        (b'{"a": "b"} x', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' * 50_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (json.dumps({"a": 1}).encode("utf-16"), "not"),
        (b'{"a": 1' + b" " * 2_000_000 + b"}", "too large"),
        (b'{"a": [' + b'"",' * 1_000_000 + b'""]}', "too large"),
        (b'{"a": "' + b"\\x" * 3 + b'"}', "not JSON"),
    ],
)
def test_what_is_not_one_json_object_is_said_so(body: bytes, why: str) -> None:
    with pytest.raises(NotJson, match=why):
        parse(body)


def test_a_byte_order_mark_is_forgiven() -> None:
    assert parse(b'\xef\xbb\xbf{"a": null}').root == {"a": None}


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_not_json(body: bytes) -> None:
    for text in (body, b'{"a":"' + b"Q" * 1100 + body, b'{"a":"' + b"Q" * 1100 + body + b'"}'):
        try:
            document = parse(text)
        except NotJson:
            continue
        document.head(100)
        for value in document.root.values():
            document.text(value)
