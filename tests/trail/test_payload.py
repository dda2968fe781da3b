"""An entry as bytes: one spelling for each entry, and one entry for each spelling."""

import hashlib
import json
import struct
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.trail.payload import FIELDS, FIRST, Entry, decode, encode, leaf_hash
from tests.trail.entries import RESERVED, any_entry, with_

FIELDS_OF_EXAMPLE: list[bytes | None] = [
    b"omixa-entry/1",
    b"5b2f0c1e9d3a4b77",
    b"studio",
    b"7",
    bytes(range(32)),
    b"2026-11-22T16:47:00.123456Z",
    b"settle",
    b"3",
    b"-700000",
    b"39000",
    b"anna@press-2",
    "fällig: 1 €".encode(),
    b'{"billed":"0.039","code":null,"seed":7}',
]
EXAMPLE = with_(
    kind="settle",
    open_micros=-700_000,
    settled_micros=39_000,
    note="fällig: 1 €",
    facts={"seed": 7, "billed": "0.039", "code": None},
)


def raw(fields: list[bytes | None]) -> bytes:
    """A payload of any fields, as the page of the format describes it."""
    return b"".join(b"\xff" * 4 if field is None else struct.pack(">I", len(field)) + field for field in fields)


def changed(name: str, value: bytes | None) -> bytes:
    fields = list(FIELDS_OF_EXAMPLE)
    fields[FIELDS.index(name)] = value
    return raw(fields)


# ---- one spelling


def test_a_payload_is_thirteen_fields_each_behind_its_length() -> None:
    assert encode(EXAMPLE) == raw(FIELDS_OF_EXAMPLE)
    assert decode(raw(FIELDS_OF_EXAMPLE)) == EXAMPLE


def test_none_is_a_length_without_bytes_and_differs_from_an_empty_text() -> None:
    nothing, empty = encode(with_(note=None)), encode(with_(note=""))
    assert nothing != empty
    assert decode(nothing).note is None
    assert decode(empty).note == ""
    assert decode(encode(with_(attempt_id=None))).attempt_id is None
    assert decode(encode(with_(attempt_id=0))).attempt_id == 0


@given(any_entry())
def test_every_entry_comes_back_as_it_was(entry: Entry) -> None:
    payload = encode(entry)
    assert decode(payload) == entry
    assert encode(decode(payload)) == payload


@given(any_entry(), any_entry())
def test_two_entries_never_share_a_payload(one: Entry, other: Entry) -> None:
    assert (encode(one) == encode(other)) == (one == other)


def test_facts_are_written_in_the_same_order_whatever_order_they_came_in() -> None:
    backwards = dict(reversed(RESERVED.facts.items()))
    assert encode(with_(facts=backwards)) == encode(RESERVED)
    assert encode(with_(facts=MappingProxyType(backwards))) == encode(RESERVED)


def test_a_file_name_of_odd_bytes_comes_back_as_it_was() -> None:
    odd = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    entry = with_(note=odd, who="\ud800\udc00 \udfff", facts={"source_path": odd, "\udce9": [odd]})
    assert decode(encode(entry)) == entry


def test_a_pair_of_surrogates_in_the_facts_is_the_character_that_it_stands_for() -> None:
    pair = with_(facts={"\ud83d\ude00": "\ud83d\ude00", "\uffff": 1})
    assert decode(encode(pair)).facts == {"\U0001f600": "\U0001f600", "\uffff": 1}
    with pytest.raises(ValueError, match=r"^facts: a key stands there twice"):
        encode(with_(facts={"\ud83d\ude00": 1, "\U0001f600": 2}))


def test_a_long_field_has_its_whole_length() -> None:
    for size in (511, 512, 65_536):
        entry = with_(note="n" * size)
        assert decode(encode(entry)) == entry


def test_numbers_may_take_64_bits_and_no_more() -> None:
    for least, most in (("open_micros", "settled_micros"), ("settled_micros", "seq"), ("open_micros", "attempt_id")):
        entry = with_(**{least: -(2**63), most: 2**63 - 1})
        assert decode(encode(entry)) == entry
        with pytest.raises(ValueError, match=rf"^{least}: "):
            encode(with_(**{least: -(2**63) - 1}))
        with pytest.raises(ValueError, match=rf"^{most}: "):
            encode(with_(**{most: 2**63}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq", -1),
        ("seq", True),
        ("seq", "7"),
        ("attempt_id", -1),
        ("open_micros", 0.7),
        ("settled_micros", None),
        ("before", b""),
        ("before", bytes(33)),
        ("chain", None),
        ("who", b"anna"),
        ("note", 7),
        ("facts", {"amount": 0.7}),
        ("facts", {"deep": [{"in": [1, [2.0]]}]}),
        ("facts", {"nan": float("nan")}),
        ("facts", {7: "seven"}),
        ("facts", {"inner": {None: 1}}),
        ("facts", {"bytes": b"x"}),
        ("facts", {"set": {1}}),
    ],
)
def test_what_has_no_exact_spelling_is_refused_by_the_name_of_its_field(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: "):
        encode(with_(**{name: value}))


def test_facts_that_hold_themselves_are_refused() -> None:
    facts: dict[str, Any] = {}
    facts["self"] = facts
    with pytest.raises(ValueError, match=r"^facts: nested too deeply"):
        encode(with_(facts=facts))


def test_the_first_entry_has_nothing_before_it() -> None:
    assert decode(encode(with_(seq=0, before=FIRST))).seq == 0
    with pytest.raises(ValueError, match=r"^before: nothing is before the first"):
        encode(with_(seq=0))
    with pytest.raises(ValueError, match=r"^before: nothing is before the first"):
        decode(changed("seq", b"0"))


# ---- nothing else is read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", b"omixa-entry/2"),
        ("version", None),
        ("ledger", None),
        ("chain", b"\xff"),
        ("chain", b"\xc0\xaf"),  # an overlong slash
        ("seq", b""),
        ("seq", b"07"),
        ("seq", b"+7"),
        ("seq", b"-7"),
        ("seq", b" 7"),
        ("seq", b"1_0"),
        ("seq", "٧".encode()),
        ("seq", b"9223372036854775808"),
        ("seq", b"1" * 5000),
        ("before", bytes(31)),
        ("attempt_id", b"-3"),
        ("open_micros", b"-0"),
        ("settled_micros", b"1e3"),
        ("settled_micros", None),
        ("who", b"\xed\xa0"),
        ("facts", None),
        ("facts", b""),
        ("facts", b"null"),
        ("facts", b"[]"),
        ("facts", b'{"a": 1}'),
        ("facts", b'{"b":1,"a":2}'),
        ("facts", b'{"a":1,"a":1}'),
        ("facts", b'{"a":1,"a":2}'),
        ("facts", b'{"a":1.0}'),
        ("facts", b'{"a":1e3}'),
        ("facts", b'{"a":-0}'),
        ("facts", b'{"a":NaN}'),
        ("facts", b'{"a":Infinity}'),
        ("facts", '{"a":"é"}'.encode()),
        ("facts", b'{"a":"\\u00E9"}'),
        ("facts", b'{"a":"\\/"}'),
        ("facts", b'{"a":"\\u0041"}'),
        ("facts", b'{"a":1}\n'),
        ("facts", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("facts", b'{"a":' + b"1" * 5000 + b"}"),
    ],
)
def test_another_spelling_is_refused_by_the_name_of_its_field(name: str, value: bytes | None) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: "):
        decode(changed(name, value))


def test_a_payload_ends_where_its_last_field_ends() -> None:
    payload = raw(FIELDS_OF_EXAMPLE)
    with pytest.raises(ValueError, match=r"^payload: 1 bytes follow the last field"):
        decode(payload + b"\0")
    for end in range(len(payload)):
        with pytest.raises(ValueError, match=rf"^({'|'.join(FIELDS)}): "):
            decode(payload[:end])


def test_every_changed_byte_is_refused_or_is_another_entry_with_another_hash() -> None:
    payload, refused = encode(EXAMPLE), {}
    for place, byte in enumerate(payload):
        for other in range(256):
            if other == byte:
                continue
            bad = payload[:place] + bytes([other]) + payload[place + 1 :]
            assert leaf_hash(bad) != leaf_hash(payload)
            try:
                entry = decode(bad)
            except ValueError as error:
                refused[place] = str(error).partition(":")[0]
            else:
                assert entry != EXAMPLE
                assert encode(entry) == bad
    assert set(refused.values()) <= {*FIELDS, "payload"}
    assert len(refused) > len(payload) // 2


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_value_error_or_are_what_encode_writes(noise: bytes) -> None:
    for payload in (noise, changed("facts", noise), changed("note", noise), changed("seq", noise)):
        try:
            entry = decode(payload)
        except ValueError:
            continue
        assert encode(entry) == payload


# ---- the hash


def test_the_hash_of_an_entry_is_the_leaf_hash_of_rfc_6962() -> None:
    payload = encode(EXAMPLE)
    assert leaf_hash(payload) == hashlib.sha256(b"\x00" + payload).digest()


def test_a_published_payload_never_changes_its_hash() -> None:
    """The first version is for good: ledgers that exist were written with it."""
    assert leaf_hash(encode(EXAMPLE)).hex() == "4f38ebf8aa3d0ca4efcc97c874b75d3f3605c092c6f5e1744011a111037973f5"
    assert json.loads(FIELDS_OF_EXAMPLE[12] or b"") == EXAMPLE.facts
