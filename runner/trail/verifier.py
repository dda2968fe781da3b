"""Checks an exported audit trail, without trusting the program that wrote it: omixa is not needed, nor installed.

An auditor runs it on a folder that `omixa audit export` wrote:

    python3 verifier.py FOLDER --key VKEY --checkpoints FILE

It needs Python 3.8 or newer and nothing else, reads every file once, and keeps only what is still open in memory. All
of it stands in this one file, also the check of Ed25519 signatures (RFC 8032), so that it can be read before it is
believed. The format is described in docs/audit-trail.md, in the project that this file comes from.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator  # noqa: UP035  (Python 3.8)

SOUND, NOT_SOUND, UNREADABLE = 0, 1, 2

EXPLANATION = """\
FOLDER has
  entries.jsonl     one line an entry, in the order of the ledger: id, chain, seq, hash, the payload that was hashed,
                    and a readable copy of it
  attempts.jsonl    one line an attempt: what became of one paid request, and its money in millionths of the currency
  heads.json        how long each chain is, its last hash, its root, and its money
  checkpoints.txt   signed notes that say how long a chain was at some moment, and its root

What is checked
  payloads      each is spelled in the only way there is, its hash is that of its bytes, its readable copy says the same
  links         in each chain seq counts from 0 without a gap, and each entry names the hash of the one before it
  heads         length, last hash, root (RFC 6962) and the sums of open and settled money of every chain
  checkpoints   the signature, by the key that you give; the root at that length; that no chain is shorter than one says
  attempts      state, reserved and billed money and every recorded fact follow from the entries of the attempt

Where to take --key and --checkpoints from
  The key is one line, NAME+ID+KEY. Take it from where the ledger's keeper could not change it: your own notes, an old
  report, a commit. So also with checkpoints: those in FOLDER come from whoever made the export; a copy that was kept
  elsewhere shows what was cut off since. Both options can be given several times.

Exit status
  0  sound        1  not sound: the first bad line of each kind is named        2  the files or the key cannot be read
"""

LIMITS = """\
What this sees: an entry that was changed, removed, added, doubled or moved, in its bytes or in the readable copy;
attempts and sums that do not follow from the entries; a signature that is not the key's. Of what a checkpoint covers
it sees also that a chain was rewritten from some entry on with all hashes made anew, cut short, or put back to an old
copy.

What this cannot see: a rewriting of entries that no checkpoint covers; a checkpoint that was removed, when no copy of
it is at hand; anything signed by somebody who has the key; ids and the order between chains, which no hash covers; a
request that was never recorded, or that was recorded falsely when it happened. Those need the provider's invoice."""

# ---- payloads: thirteen fields, each its length and its bytes

VERSION = "omixa-entry/1"
TEXT, NUMBER, HASH, FACTS = range(4)
FIELDS = (
    ("version", TEXT),
    ("ledger", TEXT),
    ("chain", TEXT),
    ("seq", NUMBER),
    ("before", HASH),
    ("at", TEXT),
    ("kind", TEXT),
    ("attempt_id", NUMBER),
    ("open_micros", NUMBER),
    ("settled_micros", NUMBER),
    ("who", TEXT),
    ("note", TEXT),
    ("facts", FACTS),
)
MAY_BE_NONE = ("attempt_id", "note")
MAY_BE_NEGATIVE = ("open_micros", "settled_micros")
COPIED = frozenset(name for name, _ in FIELDS[1:])
NONE = b"\xff\xff\xff\xff"
NOTHING_BEFORE = "0" * 64

LINE_BYTES_MAX = 8 * 1024 * 1024
NOTE_BYTES_MAX = 128 * 1024
MOST = 2**63 - 1

_HEX_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SIZE = re.compile(rb"0|[1-9][0-9]{0,18}")
_VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_SIGNATURE_LINE = re.compile("\N{EM DASH} ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_DASH = "\N{EM DASH} ".encode()
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


class Bad(Exception):
    """Something is not as it must be; the text says where, what was found and what was expected."""


class Unreadable(Exception):
    """The check cannot be made: a file is missing, or the key is none."""


def shown(value: Any) -> str:
    """A value for a message: in one line, without anything that a terminal would obey, and not too long."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "backslashreplace")
    text = json.dumps(value)
    return "`" + (text if len(text) <= 100 else text[:99] + "…") + "`"


def spell_field(name: str, kind: int, value: Any) -> bytes | None:
    """The bytes of one field of an entry, None for None. Raises Bad for a value that the field cannot have."""
    if value is None and name in MAY_BE_NONE:
        return None
    if kind == TEXT and type(value) is str:
        return value.encode("utf-8", "surrogatepass")
    if kind == NUMBER and type(value) is int:
        if (-MOST - 1 if name in MAY_BE_NEGATIVE else 0) <= value <= MOST:
            return b"%d" % value
    elif kind == HASH and type(value) is str and _HEX_HASH.fullmatch(value):
        return bytes.fromhex(value)
    elif kind == FACTS and type(value) is dict:
        return _CANONICAL(value).encode()
    raise Bad(f"`{name}` of the readable copy is {shown(value)}, which it cannot be")


def spell(entry: dict[str, Any]) -> bytes:
    """The payload of an entry, from its readable copy: the only bytes that are right for it. Raises Bad."""
    parts = []
    for name, kind in FIELDS:
        said = VERSION if name == "version" else entry[name]
        if kind == TEXT and type(said) is str:  # most are, and a call for each takes its time
            value = said.encode("utf-8", "surrogatepass")
        else:
            spelled = spell_field(name, kind, said)
            if spelled is None:
                parts.append(NONE)
                continue
            value = spelled
        parts.append(len(value).to_bytes(4, "big") + value)
    return b"".join(parts)


def split_payload(payload: bytes) -> list[bytes | None]:
    """The fields of a payload, None for one that is None. Raises Bad with the name of the first that is not whole."""
    fields: list[bytes | None] = []
    at = 0
    for name, _ in FIELDS:
        length = payload[at : at + 4]
        at += 4
        size = int.from_bytes(length, "big")
        if length == NONE:
            fields.append(None)
            continue
        if len(length) < 4 or size > len(payload) - at:
            raise Bad(f"`payload` ends inside its field `{name}`")
        fields.append(payload[at : at + size])
        at += size
    if at != len(payload):
        raise Bad(f"`payload` has {len(payload) - at} bytes behind its last field")
    return fields


def check_copy(payload: bytes, entry: dict[str, Any]) -> None:
    """Make sure that a payload is spelled as it must be and says what its readable copy says. Raises Bad."""
    if spell(entry) == payload:
        return
    fields = split_payload(payload)
    for (name, kind), found in zip(FIELDS, fields):  # noqa: B905  (Python 3.8)
        value = VERSION if name == "version" else entry[name]
        expected = spell_field(name, kind, value)
        # JSON cannot tell two surrogates in a row from the one character that they stand for.
        if found != expected and not (kind == TEXT and found is not None and _through_json(found) == value):
            raise Bad(f"field `{name}` of the payload is {shown(found)}, and {shown(value)} in the readable copy")


def _through_json(text: bytes) -> Any:
    try:
        return json.loads(json.dumps(text.decode("utf-8", "surrogatepass")))
    except UnicodeDecodeError:
        return None


# ---- the tree of RFC 6962


class Tree:
    """The root over the leaves so far, kept as the roots of its full parts."""

    def __init__(self) -> None:
        """The tree without leaves."""
        self.size = 0
        self.parts: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        at = self.size
        while at & 1:
            leaf = hashlib.sha256(b"\1" + self.parts.pop() + leaf).digest()
            at >>= 1
        self.parts.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves, or the hash of nothing."""
        if not self.parts:
            return hashlib.sha256(b"").digest()
        root = self.parts[-1]
        for part in reversed(self.parts[:-1]):
            root = hashlib.sha256(b"\1" + part + root).digest()
        return root


# ---- Ed25519 (RFC 8032), to verify only; so it need not be safe against those who measure time

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)
WINDOW_BITS = 4


def add(one: Any, other: Any) -> Any:
    """The sum of two points, in extended coordinates (5.1.4); right for every pair of them."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point(encoded: bytes) -> Any:
    """The point of 32 bytes (5.1.3), None when they are none."""
    y = int.from_bytes(encoded, "little")
    odd, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = P - x
    return x, y, 1, x * y % P


def encoded(of: Any) -> bytes:
    """The 32 bytes of a point (5.1.2)."""
    x, y, z, _ = of
    inverse: int = pow(z, P - 2, P)
    both: int = y * inverse % P | (x * inverse % P & 1) << 255
    return both.to_bytes(32, "little")


def multiples(of: Any) -> list[list[Any]]:
    """For every four bits of a number the sixteen multiples of a point: then to multiply is only to add."""
    table = []
    for _ in range(0, 256, WINDOW_BITS):
        row = [NEUTRAL]
        for _ in range(2**WINDOW_BITS - 1):
            row.append(add(row[-1], of))
        table.append(row)
        of = add(row[-1], of)
    return table


def times(number: int, table: list[list[Any]]) -> Any:
    """The multiple of the point that the table was made of."""
    total = NEUTRAL
    for row in table:
        total = add(total, row[number & (2**WINDOW_BITS - 1)])
        number >>= WINDOW_BITS
    return total


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


class Key:
    """A verifier key, `NAME+ID+KEY` (https://c2sp.org/signed-note). Raises Unreadable when it is none."""

    def __init__(self, vkey: str) -> None:
        """Read it, and make sure that it was not mistyped."""
        match = _VKEY.fullmatch(vkey)
        kind = None if match is None else unbase64(match.group(3))
        if match is None or kind is None or len(kind) != 33 or kind[:1] != b"\1":
            raise Unreadable(f"{shown(vkey)} is not an Ed25519 verifier key; expected NAME+ID+KEY")
        self.name, self.public = match.group(1), kind[1:]
        name = self.name.encode("utf-8", "surrogatepass")
        self.key_id = hashlib.sha256(name + b"\n" + kind).digest()[:4]
        of = point(self.public)
        if self.key_id.hex() != match.group(2) or of is None:
            raise Unreadable(f"{shown(vkey)} is mistyped: its parts do not go together")
        x, y, z, t = of
        self._minus_public = multiples((P - x, y, z, P - t))
        self._base = multiples(BASE)

    def is_good(self, signature: bytes, text: bytes) -> bool:
        """Whether the signature over the text is this key's (5.1.7, without the cofactor)."""
        if len(signature) != 64:
            return False
        r, s = signature[:32], int.from_bytes(signature[32:], "little")
        if s >= ORDER:
            return False
        k = int.from_bytes(hashlib.sha512(r + self.public + text).digest(), "little") % ORDER
        return encoded(add(times(s, self._base), times(k, self._minus_public))) == r


# ---- notes


def unbase64(text: str) -> bytes | None:
    """The bytes of base64 in its only spelling; None for anything else."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == text else None


def split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The signed text of a note, and the name and bytes of each signature. Raises Bad for what is not a whole note."""
    text, blank, tail = note.rpartition(b"\n\n")
    if not text or not blank or not tail.endswith(b"\n"):
        raise Bad("it ends before its signature does")
    if len(note) > NOTE_BYTES_MAX or any(byte < 32 and byte != 10 for byte in note):
        raise Bad("it is too long, or has control characters")
    signatures = []
    for line in tail[:-1].split(b"\n"):
        match = _SIGNATURE_LINE.fullmatch(line.decode("utf-8", "replace"))
        signature = None if match is None else unbase64(match.group(2))
        if match is None or signature is None or len(signature) <= 4:
            raise Bad(f"{shown(line)} is not a signature")
        signatures.append((match.group(1), signature))
    if not any(len(signature) == 4 + 64 for _, signature in signatures):
        raise Bad("it has no whole signature")
    return text + b"\n", signatures


def parse_checkpoint(text: bytes) -> tuple[str, int, bytes, str]:
    """Origin, size, root and moment of a signed text. Raises Bad for what is not a checkpoint."""
    lines = text.split(b"\n")
    root = unbase64(lines[2].decode("ascii", "replace")) if len(lines) == 5 else None
    if root is None or len(root) != 32 or not _SIZE.fullmatch(lines[1]) or int(lines[1]) > MOST:
        raise Bad("it is not a checkpoint: expected an origin, a size, a root and `at MOMENT`, a line each")
    if not lines[0] or lines[3][:3] != b"at " or len(lines[3]) == 3:
        raise Bad("it is not a checkpoint: expected an origin, a size, a root and `at MOMENT`, a line each")
    try:
        return lines[0].decode(), int(lines[1]), root, lines[3][3:].decode()
    except UnicodeDecodeError:
        raise Bad("it is not UTF-8") from None


def parts_of(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Every part of a file of notes with the number of its first line: whole notes, and whatever else stands there."""
    held, held_at = b"", 0
    for at, part in _paragraphs(file):
        signed = [line.startswith(_DASH) for line in part.rstrip(b"\n").split(b"\n")]
        if held and all(signed):
            yield held_at, held + b"\n" + part
            held = b""
            continue
        if held:
            yield held_at, held
            held = b""
        if any(signed):
            yield at, part
        else:
            held, held_at = part, at
    if held:
        yield held_at, held


def _paragraphs(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    part, began, number = b"", 0, 0
    while True:
        line = file.readline(NOTE_BYTES_MAX)
        whole = not part or part.endswith(b"\n")
        number += 1 if whole else 0
        if part and (not line or (line == b"\n" and whole) or len(part) + len(line) > NOTE_BYTES_MAX):
            yield began, part
            part = b""
        if not line:
            return
        if line == b"\n" and whole:
            continue
        began = began if part else number
        part += line


# ---- what the folder says


class Place:
    """Where an entry stands, for a message; in words only when there is one."""

    def __init__(self, line: str, row: dict[str, Any]) -> None:
        """`line`: of which file; `row`: what stands there."""
        self.line, self.row = line, row

    def __str__(self) -> str:
        """In one line."""
        told = ", ".join(f"{name} {shown(self.row[name])}" for name in ("id", "chain", "seq"))
        return f"{self.line} ({told})"


class Chain:
    """One workspace's entries so far: their number and tree, the last hash, and the sums of their money."""

    def __init__(self) -> None:
        """A chain without entries."""
        self.tree = Tree()
        self.head = NOTHING_BEFORE
        self.line = 0
        self.open_micros = 0
        self.settled_micros = 0


class Trail:
    """The state of one check. Problems are texts, the first of each kind; everything goes on as far as it can."""

    def __init__(self, folder: Path, keys: list[Key], allow_torn: bool) -> None:
        """Nothing is read yet."""
        self.folder, self.keys, self.allow_torn = folder, keys, allow_torn
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.ledger = ""
        self.heads: dict[str, dict[str, Any]] = {}
        self.chains: dict[str, Chain] = {}
        # Chain → size → root and where the checkpoint stands.
        self.checkpoints: dict[str, dict[int, tuple[bytes, str]]] = {}
        self.counts = {"entries": 0, "attempts": 0, "checkpoints": 0}

    # -- heads.json

    def read_heads(self) -> None:
        """Which chains there must be. Raises Bad and Unreadable."""
        where = "heads.json"
        try:
            with (self.folder / where).open("rb") as file:
                heads = parse_object(file.read(LINE_BYTES_MAX), where)
        except OSError as error:
            raise unreadable(self.folder / where, error) from error
        has_keys(heads, {"schema", "ledger", "chains"}, where)
        if heads["schema"] != "omixa.audit.bundle/1":
            raise Bad(f"{where}: schema is {shown(heads['schema'])}, expected `omixa.audit.bundle/1`")
        if type(heads["ledger"]) is not str or type(heads["chains"]) is not dict:
            raise Bad(f"{where}: `ledger` must be a text and `chains` an object")
        self.ledger = heads["ledger"]
        for name, head in heads["chains"].items():
            place = f"{where}, chain {shown(name)}"
            if type(head) is not dict:
                raise Bad(f"{place}: expected an object, found {shown(head)}")
            has_keys(head, {"size", "root", "head", "open_micros", "settled_micros"}, place)
            if type(head["size"]) is not int or type(head["root"]) is not str:
                raise Bad(f"{place}: `size` must be a whole number and `root` a text")
            self.heads[name] = head

    def check_heads(self) -> None:
        """Compare with what the entries made. Raises Bad."""
        for name in [*self.heads, *(name for name in self.chains if name not in self.heads)]:
            if name not in self.heads:
                raise Bad(f"heads.json: chain {shown(name)} is missing, and entries.jsonl has entries of it")
            head, chain = self.heads[name], self.chains.get(name) or Chain()
            found = {
                "size": chain.tree.size,
                "root": base64.b64encode(chain.tree.root()).decode(),
                "head": chain.head,
                "open_micros": chain.open_micros,
                "settled_micros": chain.settled_micros,
            }
            for what, value in found.items():
                if type(head[what]) is not type(value) or head[what] != value:
                    raise Bad(
                        f"heads.json, chain {shown(name)}: {what} is {shown(head[what])}, and {shown(value)} by its "
                        f"{chain.tree.size} entries (entries.jsonl, up to line {chain.line}): entries are missing at "
                        "the end, or heads.json was changed"
                    )

    # -- checkpoints.txt

    def read_checkpoints(self, path: Path) -> None:
        """Check the signatures of a file of notes and remember what they say. Raises Bad and Unreadable."""
        try:
            with path.open("rb") as file:
                for line, part in parts_of(file):
                    self._add_checkpoint(f"{path.name} line {line}", part)
        except OSError as error:
            raise unreadable(path, error) from error

    def _add_checkpoint(self, where: str, note: bytes) -> None:
        try:
            text, signatures = split_note(note)
            origin, size, root, at = parse_checkpoint(text)
        except Bad as fault:
            if self.allow_torn:
                self.remarks.append(f"{where}: not a whole note, passed over: {fault}")
                return
            raise Bad(
                f"{where}: this is not a whole checkpoint: {fault}. A crash while it was written leaves such a part, "
                "and so does who cuts one; when a crash explains it, give --allow-torn"
            ) from None
        self._check_signatures(where, text, signatures)
        prefix = f"omixa/{self.ledger}/"
        if not origin.startswith(prefix):
            raise Bad(f"{where}: a checkpoint of {shown(origin)}, which is not of this ledger, {shown(self.ledger)}")
        name = origin[len(prefix) :]
        length = self.heads[name]["size"] if name in self.heads else 0
        if size > length:
            raise Bad(
                f"{where}: chain {shown(name)} had {size} entries at {shown(at)}, and the export has {length}: entries "
                "were cut off, or the ledger was put back to an old copy"
            )
        if size == 0 and root != Tree().root():
            raise Bad(f"{where}: its root is not that of no entries")
        known = self.checkpoints.setdefault(name, {})
        if known.setdefault(size, (root, where))[0] != root:
            raise Bad(
                f"{where}: another root for {size} entries of chain {shown(name)} than in {known[size][1]}: two "
                "histories were signed"
            )
        self.counts["checkpoints"] += 1

    def _check_signatures(self, where: str, text: bytes, signatures: list[tuple[str, bytes]]) -> None:
        if not self.keys:
            return
        found = False
        for name, signature in signatures:
            for key in self.keys:
                if (key.name, key.key_id) == (name, signature[:4]):
                    if not key.is_good(signature[4:], text):
                        raise Bad(
                            f"{where}: the signature of {shown(name)} is not over this checkpoint: it was changed"
                        )
                    found = True
        if not found:
            names = ", ".join(shown(f"{name}+{signature[:4].hex()}") for name, signature in signatures)
            raise Bad(f"{where}: signed by {names}, and with no key that was given")

    # -- entries.jsonl and attempts.jsonl, side by side

    def check_entries(self) -> None:
        """Read every entry, and follow the attempts beside them. Raises Bad at the first bad entry; Unreadable."""
        attempts: Attempts | None = Attempts(self.folder / "attempts.jsonl")
        last_id = -1
        for number, line in lines_of(self.folder / "entries.jsonl"):
            where: Any = f"entries.jsonl line {number}"
            row = parse_object(line, where)
            has_keys(row, {"id", "chain", "seq", "hash", "payload", "entry"}, where)
            where = Place(where, row)
            if type(row["id"]) is not int or row["id"] <= last_id:
                raise Bad(f"{where}: the id must be a whole number above {last_id}, that of the line before")
            last_id = row["id"]
            self._add_entry(number, where, row)
            self.counts["entries"] += 1
            try:
                if attempts is not None:
                    attempts.follow(where, row["entry"])
            except Bad as fault:
                # The chain can still be followed without the attempts.
                self.problems.append(str(fault))
                attempts = None
        try:
            if attempts is not None:
                self.counts["attempts"] = attempts.finish()
        except Bad as fault:
            self.problems.append(str(fault))

    def _add_entry(self, number: int, where: Place, row: dict[str, Any]) -> None:
        entry = row["entry"]
        if type(entry) is not dict:
            raise Bad(f"{where}: `entry` is not an object")
        has_keys(entry, COPIED, where, ": `entry`")
        payload = unbase64(row["payload"]) if type(row["payload"]) is str else None
        if payload is None:
            raise Bad(f"{where}: `payload` is not base64")
        try:
            check_copy(payload, entry)
        except Bad as fault:
            raise Bad(f"{where}: {fault}") from None
        digest = hashlib.sha256(b"\0" + payload)
        if row["hash"] != digest.hexdigest():
            raise Bad(f"{where}: hash is {shown(row['hash'])}, and `{digest.hexdigest()}` by its payload")
        if entry["ledger"] != self.ledger:
            raise Bad(f"{where}: an entry of ledger {shown(entry['ledger'])}, expected {shown(self.ledger)}")
        for name in ("chain", "seq"):
            if type(row[name]) is not type(entry[name]) or row[name] != entry[name]:
                raise Bad(f"{where}: {name} is {shown(row[name])}, and {shown(entry[name])} in the payload")
        chain = self.chains.setdefault(entry["chain"], Chain())
        before = f"line {chain.line}" if chain.line else "nothing: it is the first of its chain"
        if entry["seq"] != chain.tree.size:
            missing = "entries are missing before it" if entry["seq"] > chain.tree.size else "it stands there twice"
            raise Bad(f"{where}: expected seq {chain.tree.size} after {before}: {missing}, or it was moved")
        if entry["before"] != chain.head:
            raise Bad(f"{where}: it follows the hash `{entry['before']}`, and {before} has `{chain.head}`")
        chain.head, chain.line = row["hash"], number
        chain.tree.append(digest.digest())
        chain.open_micros += entry["open_micros"]
        chain.settled_micros += entry["settled_micros"]
        signed = self.checkpoints.get(entry["chain"], {}).get(chain.tree.size)
        if signed is not None and signed[0] != chain.tree.root():
            raise Bad(
                f"{where}: the {chain.tree.size} entries of its chain up to here are not those that the checkpoint at "
                f"{signed[1]} was made over: this one or one before it was rewritten, with all hashes after it"
            )

    def coverage(self) -> Iterator[str]:
        """How much of each chain the checkpoints fix."""
        for name, head in self.heads.items():
            covered = max(self.checkpoints.get(name, {}), default=0)
            rest = head["size"] - covered
            by = "signed checkpoints" if self.keys else "checkpoints whose signature was NOT checked"
            yield f"chain {shown(name)}: {head['size']} entries, {covered} fixed by {by}" + (
                f"; the last {rest} could be rewritten unseen" if rest else ""
            )


class Attempts:
    """The lines of attempts.jsonl, each beside the entries that it must follow from; only open ones are kept.

    An attempt's line is due when its reserve entry comes, so the lines are in that order.
    """

    FIXED = ("id", "workspace", "state", "reserved_micros", "billed_micros")
    FROM = {  # noqa: RUF012  (not a dataclass)
        "sent": ("reserved",),
        "unknown": ("sent",),
        "settle": ("sent", "unknown"),
        "release": ("reserved", "sent", "unknown"),
    }
    TO = {"sent": "sent", "unknown": "unknown", "settle": "settled", "release": "released"}  # noqa: RUF012

    def __init__(self, path: Path) -> None:
        """Nothing is read yet. Raises Unreadable."""
        self.lines = lines_of(path)
        self.last_id = 0
        self.count = 0
        # Attempt → where its line is, the line, what the entries make of it, and their facts.
        self.open: dict[int, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {}

    def follow(self, where: Place, entry: dict[str, Any]) -> None:
        """Take one entry. Raises Bad when it does not follow, or when the line of its attempt says otherwise."""
        kind, number, opened, settled = (
            entry[name] for name in ("kind", "attempt_id", "open_micros", "settled_micros")
        )
        if kind == "reserve":
            self._reserve(where, entry)
            return
        moves = kind in self.FROM
        if not moves or number is None:
            # A remark about an attempt or a workspace, such as a breach or a stop. It moves nothing.
            if moves or opened or settled or (number is not None and number > self.last_id):
                raise Bad(
                    f"{where}: an entry of kind {shown(kind)}, of no attempt that it could move, has no money to move"
                )
            return
        if number not in self.open:
            raise Bad(f"{where}: attempt {number} is not open, so it cannot be {self.TO[kind]}")
        place, row, made, facts = self.open[number]
        if made["state"] not in self.FROM[kind] or made["workspace"] != entry["chain"]:
            raise Bad(
                f"{where}: attempt {number} is {made['state']} in chain {shown(made['workspace'])}, so it cannot be "
                f"{self.TO[kind]} in chain {shown(entry['chain'])}"
            )
        ends = kind in ("settle", "release")
        due = -made["reserved_micros"] if ends else 0
        if opened != due or (settled < 0 if kind == "settle" else settled != 0):
            raise Bad(f"{where}: it moves open by {opened} and settled by {settled}; open must move by {due}")
        made["state"] = self.TO[kind]
        made["billed_micros"] = settled if kind == "settle" else None
        facts.update(entry["facts"])
        if ends:
            del self.open[number]
            self._compare(place, row, made, facts)

    def _reserve(self, where: Place, entry: dict[str, Any]) -> None:
        number, opened = entry["attempt_id"], entry["open_micros"]
        if number is None or number <= self.last_id or opened <= 0 or entry["settled_micros"]:
            raise Bad(f"{where}: a reservation is of an attempt above {self.last_id}, and of money above 0")
        self.last_id = number
        due = next(self.lines, None)
        if due is None:
            raise Bad(f"attempts.jsonl: it ends after line {self.count}, and attempt {number} is missing ({where})")
        self.count += 1
        place = f"attempts.jsonl line {due[0]}"
        row = parse_object(due[1], place)
        if type(row.get("id")) is not int or row["id"] != number:
            raise Bad(f"{place}: attempt {shown(row.get('id'))}, expected {number}, which is next in {where}")
        made = {"id": number, "workspace": entry["chain"], "state": "reserved", "reserved_micros": opened}
        self.open[number] = (f"{place} (attempt {number})", row, {**made, "billed_micros": None}, dict(entry["facts"]))

    def finish(self) -> int:
        """Check what is still open, and that no line is left; how many attempts there were. Raises Bad."""
        for place, row, made, facts in self.open.values():
            self._compare(place, row, made, facts)
        left = next(self.lines, None)
        if left is not None:
            raise Bad(f"attempts.jsonl line {left[0]}: no entry reserves this attempt: {shown(left[1])}")
        return self.count

    def _compare(self, place: str, row: dict[str, Any], made: dict[str, Any], facts: dict[str, Any]) -> None:
        """The line must be what the entries make: the five fixed facts, and the latest of each recorded one."""
        expected = {**facts, **made}
        if _CANONICAL(row) == _CANONICAL(expected):
            return
        for name in [*self.FIXED, *sorted(expected), *sorted(row)]:
            if name not in row:
                raise Bad(f"{place}: {shown(name)} is missing, and {shown(expected[name])} by its entries")
            if name not in expected:
                raise Bad(f"{place}: {shown(name)} is {shown(row[name])}, and no entry says so")
            if _CANONICAL(row[name]) != _CANONICAL(expected[name]):
                raise Bad(f"{place}: {shown(name)} is {shown(row[name])}, and {shown(expected[name])} by its entries")


# ---- reading


def unreadable(path: Path, error: OSError) -> Unreadable:
    """What to say of a file that cannot be read."""
    return Unreadable(f"{path} cannot be read: {error.strerror or error}")


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, one at a time. Raises Bad for one without end, and Unreadable."""
    try:
        with path.open("rb") as file:
            number = 0
            while True:
                line = file.readline(LINE_BYTES_MAX)
                if not line:
                    return
                number += 1
                if not line.endswith(b"\n"):
                    raise Bad(
                        f"{path.name} line {number}: it has no end: the file was cut off, or the line is too long"
                    )
                yield number, line
    except OSError as error:
        raise unreadable(path, error) from error


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object of a text, without floats and with every key once. Raises Bad."""
    try:
        value = _READ(text.decode("utf-8"))
        if text.count(b"[") + text.count(b"{") > 100:
            _CANONICAL(value)  # what can be read can be nested too deeply to be written
    except (ValueError, RecursionError) as error:
        fault = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise Bad(f"{where}: not JSON as it must be: {fault}") from None
    if type(value) is not dict:
        raise Bad(f"{where}: not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a key stands there twice")
    return read


def _no_float(text: str) -> None:
    raise ValueError(f"{text[:40]} is not a whole number")


# Made once: `json.loads` with hooks makes a reader for each line.
_READ = json.JSONDecoder(object_pairs_hook=_once, parse_float=_no_float, parse_constant=_no_float).decode


def has_keys(value: dict[str, Any], names: Iterable[str], where: Any, of: str = "") -> None:
    """Make sure that an object has these keys and no other. `of`: what is looked at there. Raises Bad."""
    if value.keys() == names:
        return
    where = f"{where}{of}"
    for name in names:
        if name not in value:
            raise Bad(f"{where}: `{name}` is missing")
    for name in value:
        if name not in names:
            raise Bad(f"{where}: {shown(name)} does not belong here")


# ---- the command


def check(folder: Path, keys: list[Key], checkpoints: list[Path], allow_torn: bool) -> Trail:
    """Check all of a folder; `problems` of the result are empty when it is sound. Raises Unreadable."""
    trail = Trail(folder, keys, allow_torn)
    try:
        trail.read_heads()
        for path in [folder / "checkpoints.txt", *checkpoints]:
            try:
                trail.read_checkpoints(path)
            except Bad as fault:
                trail.problems.append(str(fault))
        trail.check_entries()
        trail.check_heads()
    except Bad as fault:
        trail.problems.append(str(fault))
    return trail


def main(words: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="verifier.py",
        description="Check an exported audit trail without trusting the program that wrote it.",
        epilog=EXPLANATION + "\n" + LIMITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that `omixa audit export` wrote")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="the ledger's verifier key")
    parser.add_argument(
        "--checkpoints",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a copy of the checkpoints that was kept elsewhere",
    )
    parser.add_argument(
        "--allow-torn", action="store_true", help="pass over parts of checkpoint files that are not whole notes"
    )
    asked = parser.parse_args(words)
    try:
        trail = check(asked.folder, [Key(vkey) for vkey in asked.key], asked.checkpoints, asked.allow_torn)
    except Unreadable as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return UNREADABLE
    if not asked.key:
        print("WARNING: no --key was given: NO SIGNATURE WAS CHECKED. Whoever made the export may have made up every")
        print("         checkpoint in it. Take the key from where the ledger's keeper could not change it.\n")
    for remark in trail.remarks:
        print(f"REMARK  {remark}")
    for problem in trail.problems:
        print(f"BAD  {problem}")
    if trail.problems:
        print("\nNOT SOUND: the first bad place of each kind is named above.")
    else:
        counts = ", ".join(f"{number} {what}" for what, number in trail.counts.items())
        print(f"SOUND: ledger {shown(trail.ledger)}: {counts}.")
        for line in trail.coverage():
            print(f"  {line}")
    print(f"\n{LIMITS}")
    return NOT_SOUND if trail.problems else SOUND


if __name__ == "__main__":
    sys.exit(main())
