"""The head of a request and the framing of its body: what must be right before there is anything to judge."""

import hmac
import re
from email.message import Message
from io import BufferedIOBase

from runner.contracts.contract import REQUEST_BYTES_MAX
from runner.sandbox.judge import Refused, refused, too_large

BASE = "/api/v1"
OPERATION = f"{BASE}/images/generations"

# No contract allows more; each may allow less.
_BODY_BYTES_MAX = REQUEST_BYTES_MAX
_KEY = re.compile(r"Bearer ([\x21-\x7e]+)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_LINE_BYTES_MAX = 1024
_TRAILERS_MAX = 64


def fault_of_head(method: str, target: str, headers: Message, key: str | None) -> Refused | None:
    """What is wrong before the body is looked at (contract C1–C3, U2), or None. `key` None: any key will do."""
    if target != OPERATION:
        return refused(404, f"there is nothing at `{target}`; the operation is `POST {OPERATION}`")
    if method != "POST":
        return refused(405, f"`{OPERATION}` takes only POST, found {method}")
    return _fault_of_key(headers, key) or _fault_of_type(headers) or fault_of_length(headers)


def fault_of_length(headers: Message) -> Refused | None:
    """Why the body cannot be read, or None: its length is announced twice, in words, or is above the limit."""
    lengths = headers.get_all("Content-Length") or []
    codings = headers.get_all("Transfer-Encoding") or []
    if codings and (lengths or [coding.strip().lower() for coding in codings] != ["chunked"]):
        return refused(400, "`Transfer-Encoding` must be `chunked`, and without `Content-Length`")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        return refused(400, "`Content-Length` must be one whole number")
    return too_large(_BODY_BYTES_MAX) if lengths and int(lengths[0]) > _BODY_BYTES_MAX else None


def body(file: BufferedIOBase, headers: Message) -> bytes | Refused | None:
    """The complete body; None when the client stopped in the middle. `fault_of_length` must have been asked."""
    if "Transfer-Encoding" in headers:
        return _chunks(file)
    length = int(headers.get("Content-Length", "0"))
    found = file.read(length)
    return found if len(found) == length else None


def _fault_of_key(headers: Message, key: str | None) -> Refused | None:
    found = headers.get_all("Authorization") or []
    match = _KEY.fullmatch(found[0]) if len(found) == 1 else None
    if match is None:
        return refused(401, "the header `Authorization: Bearer <workspace key>` is required")
    if key is not None and not hmac.compare_digest(match[1].encode(), key.encode()):
        return refused(401, "`Authorization`: this key is not known")
    return None


def _fault_of_type(headers: Message) -> Refused | None:
    kind, _, parameter = headers.get("Content-Type", "").lower().partition(";")
    if kind.strip() != "application/json" or parameter.strip() not in ("", "charset=utf-8", 'charset="utf-8"'):
        return refused(415, "the header `Content-Type` must be `application/json`")
    return None


def _chunks(file: BufferedIOBase) -> bytes | Refused | None:
    found = bytearray()
    while True:
        line = file.readline(_LINE_BYTES_MAX)
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            return refused(400, "the body has a broken chunk size") if line else None
        size = int(match[1], 16)
        if size == 0:
            return _after_last_chunk(file, bytes(found))
        if len(found) + size > _BODY_BYTES_MAX:
            return too_large(_BODY_BYTES_MAX)
        chunk = file.read(size + 2)
        if len(chunk) < size + 2:
            return None
        if not chunk.endswith(b"\r\n"):
            return refused(400, "the body has a chunk that is longer than its size")
        found += chunk[:-2]


def _after_last_chunk(file: BufferedIOBase, found: bytes) -> bytes | Refused | None:
    """Read past the trailers, which mean nothing here."""
    for _ in range(_TRAILERS_MAX):
        line = file.readline(_LINE_BYTES_MAX)
        if line == b"\r\n":
            return found
        if not line.endswith(b"\n"):
            return None
    return refused(400, "the body has too many trailers")
