"""JSON from an endpoint that nobody vouches for: never slow, flat in memory, exact where money is concerned.

A picture is one string literal of many megabytes. Long literals are set aside first, as places in the body,
and only the small rest is parsed; so an answer costs its own size once, whatever it holds. A picture that was decoded
while it came is not in the body at all.
"""

import json
import mmap
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pybase64

Buffer = bytes | mmap.mmap

_LONG_BYTES = 1024  # a literal longer than this is set aside
_REST_BYTES_MAX = 512 * 1024  # what may be left after that; more is no answer of this endpoint, and takes seconds
_BLOCK_BYTES = 1024 * 1024
DEPTH_MAX = 64  # the answer of the contract has 3

# Possessive, so that it takes linear time whatever the body holds.
_LITERAL = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cut:
    """The content of one string literal that is not in the body, but decoded in a file: as base64 it stood at `at`.

    `size_bytes` and `digest` (sha256, in hex) are of the file; `fault` says why it is not as it was.
    """

    at: int
    size_bytes: int
    digest: str
    file: Path
    fault: str | None = None

    def text(self) -> Iterator[bytes]:
        """What stood there, a block at a time. Raises OSError."""
        with self.file.open("rb") as file:
            while block := file.read(_BLOCK_BYTES // 4 * 3):
                yield pybase64.b64encode(block)


class NotJson(ValueError):
    """The body is not one JSON object that can be read within the limits; the message says why."""


class NotAnObject(NotJson):
    """The body is whole and valid JSON, but no object."""


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written, also NaN and Infinity: never a float, and never taken for a string."""

    text: str

    def __bool__(self) -> bool:
        return self.text.strip("-0.") != ""


class _Repeated:
    """Stands for the value of a key that appears twice: which one counts is anybody's guess, so none does."""


REPEATED = _Repeated()


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object. Values are str, Number, bool, None, list, dict, or REPEATED for a key that appears twice.

    A long string stands in `root` as a stand-in of this document; `text` and `pieces` know it. They read the
    body, so they work only while it is open. `cut` is the stand-in of what is not in the body.
    """

    root: dict[str, object]
    _rest: str
    _spans: dict[str, tuple[int, int]]
    _body: Buffer
    cut: str | None = None
    _outside: Cut | None = None

    def text(self, value: object, limit: int = 4096) -> str | None:
        """The first `limit` characters of a string; None when the value is not a string."""
        if not isinstance(value, str):
            return None
        try:
            first = next(self.pieces(value), b"")
        except NotJson:
            return ""
        return first.decode("utf-8", "replace")[:limit]

    def pieces(self, value: str) -> Iterator[bytes]:
        """The string's UTF-8 bytes with its escapes resolved, a block at a time. Raises NotJson for a bad escape."""
        if value == self.cut and self._outside is not None:
            yield from self._outside.text()
            return
        if value not in self._spans:
            yield value.encode("utf-8", "replace")
            return
        position, end = self._spans[value]
        while position < end:
            stop = min(position + _BLOCK_BYTES, end)
            if stop < end:
                # An escape is at most six bytes; one that would be cut goes into the next block.
                escape = self._body.rfind(b"\\", stop - 5, stop)
                stop = stop if escape < 0 else escape
            yield _unescaped(self._body[position:stop])
            position = stop

    def head(self, limit: int) -> str:
        """The first `limit` characters of the JSON, long strings shortened to their beginning."""

        # A few stand-ins grow when they are shown, none shrinks, so the rest's own beginning is enough.
        rest, shown, done = self._rest[: limit + 100], "", 0
        tokens = [*filter(None, [self.cut]), *self._spans][:100]
        for at, token in sorted((at, token) for token in tokens if (at := rest.find(token)) >= 0):
            shown += rest[done:at] + self._beginning(token)
            done = at + len(token)
        return (shown + rest[done:])[:limit]

    def _beginning(self, token: str) -> str:
        if token == self.cut:
            return "…"
        start, end = self._spans[token]
        return self._body[start : min(end, start + 1000)].decode("utf-8", "replace") + "…"


def parse(body: Buffer, outside: Cut | None = None) -> Document:
    """The JSON object in the body. Raises NotJson, also for one nested more than DEPTH_MAX deep.

    `outside`: what is not in the body.
    """
    cut = None
    if outside is not None:
        cut = f"{secrets.token_hex(8)}-cut"
        body = body[: outside.at] + cut.encode() + body[outside.at :]
    rest, spans = _set_aside(body)
    # Not left to the interpreter's own limit, which depends on who calls: read twice, an answer means the same.
    if _is_deep(rest):
        raise NotJson("it is nested too deeply")
    try:
        text = rest.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
        root = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=Number,
            parse_float=Number,
            parse_constant=Number,
            strict=False,  # a raw line break inside a string harms nobody, and the bill beside it counts
        )
    except UnicodeDecodeError:
        raise NotJson("it is not UTF-8 text") from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError:
        raise NotJson("it is not JSON") from None
    if not isinstance(root, dict):
        raise NotAnObject("it is not a JSON object")
    return Document(root, text, spans, body, cut, outside)


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _is_deep(rest: bytes) -> bool:
    """Whether arrays and objects are nested more than DEPTH_MAX deep; anything, for what is no JSON."""
    if rest.count(b"[") + rest.count(b"{") <= DEPTH_MAX:
        return False
    brackets = _LITERAL.sub(b"", rest).translate(bytes.maketrans(b"{}", b"[]"), _NO_BRACKETS)
    for _ in range(DEPTH_MAX):  # each time without its innermost pairs: all at once, because one by one takes seconds
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets or brackets.count(b"[") > DEPTH_MAX


def _set_aside(body: Buffer) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The body with each long literal replaced by a stand-in, and what each stands for: where its content lies.

    Literals are told apart as a JSON reader does it, from the left, so exactly one token takes the place of
    exactly one token: the rest is valid JSON if and only if the body is.
    """
    nonce = secrets.token_hex(8)  # an endpoint cannot guess it, so no string of its own is taken for a stand-in
    kept: list[bytes] = []
    spans: dict[str, tuple[int, int]] = {}
    copied = position = removed = 0
    while (start := body.find(b'"', position)) >= 0:
        position = _literal_end(body, start)
        if position - start > _LONG_BYTES:
            token = f"{nonce}-{len(spans)}-"
            spans[token] = (start + 1, position - 1)
            kept += [body[copied:start], f'"{token}"'.encode()]
            removed += position - start
            copied = position
        if position - removed > _REST_BYTES_MAX:
            break
    if len(body) - removed > _REST_BYTES_MAX:
        raise NotJson("it is too large beside its pictures")
    kept.append(body[copied : len(body)])
    return b"".join(kept), spans


def _literal_end(body: Buffer, start: int) -> int:
    """The place after the literal that begins at `start`. Raises NotJson when it has no end."""
    quote = body.find(b'"', start + 1)
    if quote > 0 and body[quote - 1 : quote] != b"\\":
        return quote + 1  # fifty times faster than the pattern, and base64 never needs the pattern
    match = _LITERAL.match(body, start)
    if match is None:
        raise NotJson("it ends inside a string")
    return match.end()


def _unescaped(block: bytes) -> bytes:
    if b"\\" not in block:
        return block
    try:
        text = json.loads('"' + block.decode("utf-8", "replace") + '"', strict=False)
    except ValueError:
        raise NotJson("it has a bad escape in a string") from None
    assert isinstance(text, str)
    return text.encode("utf-8", "replace")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        found[name] = REPEATED if name in found else value
    return found
