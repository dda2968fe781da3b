"""An entry as bytes: one spelling for each entry, so that a hash of the bytes is a hash of the facts.

A payload is thirteen fields; each is its length (4 bytes, big-endian) and its bytes, and None is the length 0xFFFFFFFF
without bytes. Whole numbers are ASCII decimals, without a leading zero. Texts are UTF-8; a lone surrogate, which a file
name of odd bytes becomes, takes the three bytes that UTF-8 would give its number (Python's `surrogatepass`), so that
every text comes back as it was. docs/audit-trail.md has the table.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

VERSION = b"omixa-entry/1"
HASH_BYTES = 32
FIRST = bytes(HASH_BYTES)  # what stands before the first entry of a chain

FIELDS = (
    *("version", "ledger", "chain", "seq", "before", "at", "kind"),
    *("attempt_id", "open_micros", "settled_micros", "who", "note", "facts"),
)
_MAY_BE_NONE = frozenset({"attempt_id", "note"})

_NONE = b"\xff\xff\xff\xff"
_LENGTH_BYTES = 4
# Most fields are short, and looking their length up takes half the time of writing it.
_LENGTHS = [size.to_bytes(_LENGTH_BYTES, "big") for size in range(512)]
_HEAD = _LENGTHS[len(VERSION)] + VERSION
_LENGTH_OF_HASH = _LENGTHS[HASH_BYTES]

# What SQLite and PostgreSQL keep as a whole number.
_LEAST, _MOST = -(2**63), 2**63 - 1
_MOST_DIGITS = 20

_DUMPS = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False
).encode
_PLAIN = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger, as the trail keeps it. Amounts are changes, in micro-units; `at` is a moment in UTC.

    `ledger` is the identity of the ledger and `chain` the workspace's name. `seq` counts the entries of a chain from 0,
    and `before` is the hash of the one before it: 32 bytes, `FIRST` for seq 0. `attempt_id` is None for an entry about
    the workspace. `facts` are JSON values without floats.
    """

    ledger: str
    chain: str
    seq: int
    before: bytes
    at: str
    kind: str
    attempt_id: int | None
    open_micros: int
    settled_micros: int
    who: str
    note: str | None
    facts: Mapping[str, Any]


def leaf_hash(payload: bytes) -> bytes:
    """The hash of an entry, 32 bytes: SHA-256 of a zero byte and the payload, the leaf hash of RFC 6962 (2.1).

    It is what the next entry of the chain names as the one before it, and the leaf of the tree.
    """
    return sha256(b"\0" + payload).digest()


def encode(entry: Entry) -> bytes:
    """The payload of an entry: the only bytes that `decode` gives this entry for.

    Raises ValueError, with the name of the field, for what has no payload: a float anywhere in the facts, a number that
    does not fit into 64 bits, a hash that is not 32 bytes.
    """
    seq, before, attempt, note = entry.seq, entry.before, entry.attempt_id, entry.note
    if len(before) != HASH_BYTES:
        raise ValueError(f"before: expected {HASH_BYTES} bytes, got {len(before)}")
    if seq == 0 and before != FIRST:
        raise ValueError("before: nothing is before the first entry, so it is all zero there")
    return b"".join(
        (
            _HEAD,
            _field(_text_bytes(entry.ledger, "ledger")),
            _field(_text_bytes(entry.chain, "chain")),
            _field(_number_bytes(seq, "seq", 0)),
            _LENGTH_OF_HASH,
            before,
            _field(_text_bytes(entry.at, "at")),
            _field(_text_bytes(entry.kind, "kind")),
            _NONE if attempt is None else _field(_number_bytes(attempt, "attempt_id", 0)),
            _field(_number_bytes(entry.open_micros, "open_micros", _LEAST)),
            _field(_number_bytes(entry.settled_micros, "settled_micros", _LEAST)),
            _field(_text_bytes(entry.who, "who")),
            _NONE if note is None else _field(_text_bytes(note, "note")),
            _field(_json_bytes(entry.facts)),
        )
    )


def decode(payload: bytes) -> Entry:
    """The entry of a payload. Raises ValueError, with the name of the field, for bytes that `encode` never writes."""
    fields = _split(payload)
    if fields["version"] != VERSION:
        raise ValueError(f"version: expected `{VERSION.decode()}`, got {_shown(fields['version'])}")
    before = fields["before"]
    if len(before) != HASH_BYTES:
        raise ValueError(f"before: expected {HASH_BYTES} bytes, got {len(before)}")
    seq = _number(fields, "seq", 0)
    if seq == 0 and before != FIRST:
        raise ValueError("before: nothing is before the first entry, so it is all zero there")
    return Entry(
        ledger=_text(fields, "ledger"),
        chain=_text(fields, "chain"),
        seq=seq,
        before=before,
        at=_text(fields, "at"),
        kind=_text(fields, "kind"),
        attempt_id=_number(fields, "attempt_id", 0) if "attempt_id" in fields else None,
        open_micros=_number(fields, "open_micros", _LEAST),
        settled_micros=_number(fields, "settled_micros", _LEAST),
        who=_text(fields, "who"),
        note=_text(fields, "note") if "note" in fields else None,
        facts=_facts(fields["facts"]),
    )


# ---- to bytes


def framed(value: bytes | None) -> bytes:
    """One field of a payload: its length, and its bytes. None is the length without bytes."""
    return _NONE if value is None else _field(value)


def _field(value: bytes) -> bytes:
    size = len(value)
    return (_LENGTHS[size] if size < 512 else size.to_bytes(_LENGTH_BYTES, "big")) + value


def _text_bytes(text: str, name: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogatepass")
    except AttributeError:
        raise ValueError(f"{name}: expected a text, got {type(text).__name__}") from None


def _number_bytes(number: int, name: str, least: int) -> bytes:
    if type(number) is not int:
        raise ValueError(f"{name}: expected a whole number, got {type(number).__name__}")
    if not least <= number <= _MOST:
        raise ValueError(f"{name}: {number} does not fit: {least} to {_MOST}")
    return b"%d" % number


def _json_bytes(facts: Mapping[str, Any]) -> bytes:
    """Canonical JSON: keys sorted, no spaces, ASCII."""
    plain = facts if type(facts) is dict else dict(facts)
    try:
        for key, value in plain.items():
            # Most facts are flat, and a call for each of them would take as long as the rest of an entry.
            if type(key) is not str or type(value) not in _PLAIN:
                _check_json(key, value)
        text = _DUMPS(plain)
    except RecursionError:
        raise ValueError("facts: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"facts: {error}") from None
    # Two surrogates in a row are written like the one character that they stand for, which sorts elsewhere as a key.
    return _DUMPS(_read_json(text)).encode() if "\\ud" in text else text.encode()


def _check_json(key: object, value: object) -> None:
    if not isinstance(key, str):
        raise ValueError(f"a key is a text, not {type(key).__name__}")
    if isinstance(value, dict):
        for inner, held in value.items():
            _check_json(inner, held)
    elif isinstance(value, list | tuple):
        for held in value:
            _check_json(key, held)
    elif not (value is None or isinstance(value, str | int)):
        raise ValueError(f"`{key}` is of type {type(value).__name__}, which has no exact JSON")


# ---- from bytes


def facts_of(field: bytes) -> dict[str, Any]:
    """What the bytes of a payload's last field say. Raises ValueError as `decode` does."""
    return _facts(field)


def _split(payload: bytes) -> dict[str, bytes]:
    """The fields by name; one that is None is missing."""
    fields: dict[str, bytes] = {}
    at, end = 0, len(payload)
    for name in FIELDS:
        length = payload[at : at + _LENGTH_BYTES]
        at += _LENGTH_BYTES
        if at > end:
            raise ValueError(f"{name}: the payload ends before it")
        if length == _NONE:
            if name not in _MAY_BE_NONE:
                raise ValueError(f"{name}: it is never None")
            continue
        size = int.from_bytes(length, "big")
        if size > end - at:
            raise ValueError(f"{name}: it says {size} bytes, and {end - at} are left")
        fields[name] = payload[at : at + size]
        at += size
    if at != end:
        raise ValueError(f"payload: {end - at} bytes follow the last field")
    return fields


def _text(fields: Mapping[str, bytes], name: str) -> str:
    try:
        return fields[name].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError(f"{name}: {_shown(fields[name])} is not UTF-8") from None


def _number(fields: Mapping[str, bytes], name: str, least: int) -> int:
    digits = fields[name]
    try:
        number = int(digits) if len(digits) <= _MOST_DIGITS else _MOST + 1
    except ValueError:
        raise ValueError(f"{name}: {_shown(digits)} is not a whole number") from None
    # One spelling only: `int` also takes blanks, underscores, a plus and leading zeros.
    if not least <= number <= _MOST or b"%d" % number != digits:
        raise ValueError(f"{name}: {_shown(digits)} is not a whole number of {least} to {_MOST} in its only spelling")
    return number


def _facts(text: bytes) -> dict[str, Any]:
    facts = _read_json(text.decode("ascii", "replace"))
    if type(facts) is not dict:
        raise ValueError("facts: not a JSON object")
    if _DUMPS(facts).encode() != text:
        raise ValueError("facts: not JSON in its only spelling (sorted keys, no spaces, ASCII)")
    return facts


def _read_json(text: str) -> Any:
    try:
        return _READ(text)
    except RecursionError:
        raise ValueError("facts: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"facts: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a key stands there twice")
    return read


def _no_float(text: str) -> None:
    raise ValueError(f"`{text}` is not a whole number")


# Made once: `json.loads` with hooks makes a reader for each call.
_READ = json.JSONDecoder(object_pairs_hook=_once, parse_float=_no_float, parse_constant=_no_float).decode


def _shown(value: bytes) -> str:
    return f"`{value[:40].decode('ascii', 'backslashreplace')}`"
