"""Reading an answer that nobody documented: what it says (contract R) and whether it was billed (contract B).

Two tables decide, in this order: LADDER finds the words of the endpoint, TABLE finds the row of contract B.
Nothing here opens a socket.
"""

import html
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import pybase64

from runner import money
from runner.providers.document import Buffer, Cut, Document, NotAnObject, NotJson, Number, parse
from runner.providers.key import Escaped, Key, redact
from runner.providers.provider import Billed, Declined, Evidence, Outcome, Unknown

REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-omixa-request-id", "cf-ray")
KEPT_HEADERS = frozenset(
    {
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "retry-after",
        "server",
        "transfer-encoding",
        "via",
        *REQUEST_ID_HEADERS,
    }
)
KEPT_HEADER_PREFIXES = ("x-ratelimit-", "ratelimit-")

_HEADERS_MAX = 40
_HEADER_LENGTH_MAX = 500
_HEAD_LENGTH = 4096
_TEXT_BYTES = 16 * 1024  # how much of a page that is not JSON is looked at for words
_MESSAGE_LENGTH_MAX = 500

# Seconds to wait. 60 is what the upstream bans for (contract U5); the bounds keep a header from stalling a run.
RETRY_SOON_S = 1.0
RETRY_WITHOUT_HEADER_S = 60.0
RETRY_MIN_S = 1.0
RETRY_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer as it was received. `headers` are the kept ones, lower case; `received_at` is in UTC.

    `cut`: the picture, which was decoded while it came, and is not in the body.
    """

    status: int
    headers: Mapping[str, str]
    received_at: datetime
    body: Buffer
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """The endpoint's own words. Either may be None."""

    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer holds, apart from what it means.

    `readable` is False for a body that is broken or encoded: nothing can be concluded from it. `bill`: whether
    `usage` is missing, holds an amount, or holds something else. `picture` is the decoded file, `digest` its sha256 in
    hex where it is known; `offered` is True when a usable picture came even if it could not be kept, `fault` says why
    there is no file. `url` is where the picture can be fetched when the answer carries no bytes.
    """

    status: int
    evidence: Evidence
    said: Said
    readable: bool
    bill: "Bill"
    amount_micros: int | None = None
    amount_text: str | None = None
    picture: Path | None = None
    digest: str | None = None
    offered: bool = False
    fault: str | None = None
    url: str | None = None
    error: bool = False
    markers: "frozenset[Marker]" = frozenset()
    retry_after_s: float | None = None


# Writes the decoded blocks to a file and returns its path. Raises OSError when the disk cannot take it, and lets
# the ValueError of blocks that are not base64 through.
Keep = Callable[[Iterator[bytes]], Path]


def read(answer: Answer, *, key: Key, keep: Keep, parsed: Document | None = None) -> Reading:
    """What the answer holds; the picture goes through `keep`. Never raises, whatever the endpoint sent.

    `parsed`: its document, where `with_picture_cut` has found that already.
    """
    document, broken, unreadable = _document(answer) if parsed is None else (parsed, False, None)
    said = Said() if broken else _said(document, answer.body, key)
    bill, amount_micros, amount_text = _bill(document, answer, key)
    picture, offered, fault, url = _picture(document, answer, unreadable, keep)
    return Reading(
        status=answer.status,
        evidence=evidence(answer, document, key),
        said=said,
        readable=not broken,
        bill=bill,
        amount_micros=amount_micros,
        amount_text=amount_text,
        picture=picture,
        digest=answer.cut.digest if answer.cut is not None and picture == answer.cut.file else None,
        offered=offered,
        fault=fault,
        url=url,
        error=document is not None and bool(document.root.get("error")),
        markers=_markers(document, said, answer.headers, answer.received_at),
        retry_after_s=retry_after_s(answer.headers, answer.received_at),
    )


# --- contract R: the ladder -----------------------------------------------------------------------------------


def _from_error_object(root: Mapping[str, object], text: Callable[[object], str | None]) -> Said | None:
    error = root.get("error")
    if not isinstance(error, dict) or not error:
        return None
    code = _code(error.get("code"), text) or _code(error.get("type"), text) or _code(error.get("name"), text)
    message = text(error.get("message")) or text(error.get("detail")) or text(error.get("msg"))
    return Said(code, message)


def _from_error_string(root: Mapping[str, object], text: Callable[[object], str | None]) -> Said | None:
    error = text(root.get("error"))
    return Said(_slug(error), error) if error else None


def _from_name_and_errors(root: Mapping[str, object], text: Callable[[object], str | None]) -> Said | None:
    name, errors = text(root.get("name")), root.get("errors")
    if not name or not isinstance(errors, list):
        return None
    return Said(_slug(name), "; ".join(filter(None, (_entry(entry, text) for entry in errors[:10]))))


def _from_detail(root: Mapping[str, object], text: Callable[[object], str | None]) -> Said | None:
    detail = root.get("detail")
    if isinstance(detail, list):
        return Said(None, "; ".join(filter(None, (_entry(entry, text) for entry in detail[:10]))))
    # Beside a title it is half of an RFC 9457 problem, which the next rung reads whole.
    found = text(detail) if not text(root.get("title")) else None
    return Said(None, found) if found else None


def _from_problem(root: Mapping[str, object], text: Callable[[object], str | None]) -> Said | None:
    parts = [part for part in (text(root.get("title")), text(root.get("detail"))) if part]
    return Said(None, ": ".join(parts)) if parts else None


def _from_message(root: Mapping[str, object], text: Callable[[object], str | None]) -> Said | None:
    code = _code(root.get("code"), text) or _code(root.get("name"), text) or _code(root.get("type"), text)
    message = text(root.get("message"))
    return Said(code, message) if code or message else None


# Contract R, in its order. What a rung leaves open (code or message) the next ones may fill in. The last rung,
# text with its tags stripped, is for bodies that are no JSON object: _stripped().
LADDER: tuple[tuple[str, Callable[[Mapping[str, object], Callable[[object], str | None]], Said | None]], ...] = (
    ("`error` as an object", _from_error_object),
    ("`error` as a string", _from_error_string),
    ("`name` and `errors[]` (contract U6)", _from_name_and_errors),
    ("`detail`, a list or a string", _from_detail),
    ("`title` and `detail` (RFC 9457)", _from_problem),
    ("`message`", _from_message),
)


def _said(document: Document | None, body: Buffer, key: Key) -> Said:
    if document is None:
        return Said(None, _message(_stripped(body), key))
    code: str | None = None
    message: str | None = None
    for _, rung in LADDER:
        said = rung(document.root, document.text)
        if said is not None:
            code, message = code or said.code, message or said.message
    return Said(_clean(code, key)[:80] if code else None, _message(message, key))


def _entry(entry: object, text: Callable[[object], str | None]) -> str | None:
    """One line of a list of errors: a string, or an object with a place and a message."""
    if not isinstance(entry, dict):
        return text(entry)
    message = text(entry.get("msg")) or text(entry.get("message")) or text(entry.get("detail"))
    place = entry.get("loc") or entry.get("field") or entry.get("param")
    parts = [_code(part, text) for part in (place if isinstance(place, list) else [place])[:10]]
    where = ".".join(part for part in parts if part)
    return f"{where}: {message}" if where and message else message


def _code(value: object, text: Callable[[object], str | None]) -> str | None:
    """A code as text: a slug, a numeric string or a number."""
    return value.text if isinstance(value, Number) else text(value) or None


def _slug(text: str) -> str | None:
    """The text when it is a bare word such as `payment_required`, otherwise None."""
    return text if re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", text, re.ASCII) else None


def _stripped(body: Buffer) -> str:
    """The words of a page: script, style and tags taken out, white space folded."""
    page = body[:_TEXT_BYTES].decode("utf-8", "replace")
    page = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", " ", page)
    return html.unescape(re.sub(r"<[^<>]*>", " ", page))


def _message(text: str | None, key: Key) -> str | None:
    if text is None:
        return None
    folded = " ".join(_clean(text, key).split())
    return (folded if len(folded) <= _MESSAGE_LENGTH_MAX else folded[: _MESSAGE_LENGTH_MAX - 1] + "…") or None


# --- what the answer holds ------------------------------------------------------------------------------------


def _document(answer: Answer) -> tuple[Document | None, bool, str | None]:
    """The JSON object of the body, or None; whether the body is broken; and why there is no object.

    Broken is what begins as JSON and is none (cut, mostly), and what was encoded without being asked to: nobody
    can say what stood in it. A page of HTML is not broken, and holds no bill.
    """
    if not is_plain(answer.headers) or answer.body[:4].startswith(_ENCODED):
        return None, True, "it is compressed or in no usual encoding, although that was not asked for"
    try:
        return parse(answer.body, answer.cut), False, None
    except NotAnObject as reason:
        return None, False, str(reason)
    except NotJson as reason:
        return None, answer.body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["), str(reason)


# gzip, Zstandard, zlib, UTF-16 and UTF-32: what stands in such a body cannot be looked at, whatever its headers say.
_ENCODED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"x\x01", b"x\x5e", b"x\x9c", b"x\xda", b"\xff\xfe", b"\xfe\xff", b"\0")


def is_plain(headers: Mapping[str, str]) -> bool:
    """Whether the body is as it was meant, not encoded in a way that was never asked for."""
    return headers.get("content-encoding", "identity").strip().lower() in ("", "identity") and headers.get(
        "transfer-encoding", "chunked"
    ).strip().lower() in ("", "identity", "chunked")


def _bill(document: Document | None, answer: Answer, key: Key) -> "tuple[Bill, int | None, str | None]":
    """Whether there is a bill, its amount in micro-units, and its text as received (contract C19, B Amounts).

    `usage` null or left out is no bill. Any other `usage` without a strict amount is an unreadable one. So is an
    error, or a body that is no object, that speaks of an amount elsewhere or brings a picture: then it cannot be
    shown that nothing was billed.
    """
    if document is None:
        return ("unreadable" if _AMOUNT_NAME.count(answer.body) else "none"), None, None
    usage = document.root.get("usage")
    amount = usage.get("billed_amount") if isinstance(usage, dict) else None
    shown = amount.text if isinstance(amount, Number) else document.text(amount, 64)
    as_text = _clean(shown, key) if shown is not None else None
    micros = money.billed(amount)
    if usage is not None and micros is None:
        return "unreadable", None, as_text
    if not micros and answer.status not in SUCCESS and _speaks_of_money(document, answer.body):
        return "unreadable", None, as_text
    return ("none" if micros is None else "readable"), micros, as_text


_AMOUNT_NAME = Escaped("billed_amount")


def _speaks_of_money(document: Document, body: Buffer) -> bool:
    """Whether an error holds more about a bill than amounts that are zero: such as the answer of someone further up,
    inside of an object or of a text. Or a picture, which nobody gives away."""
    first = _first(document)
    if first is not None and any(isinstance(first.get(k), str) and first[k] for k in ("b64_json", "url")):
        return True
    zeros, waiting = 0, [document.root]
    while waiting:
        found: object = waiting.pop()
        if isinstance(found, dict):
            zeros += money.billed(found.get("billed_amount")) == 0
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return _AMOUNT_NAME.count(body) > zeros


def with_picture_cut(answer: Answer) -> Document | None:
    """The document of an answer when what was cut out of it stood where its picture does; None when it did not, or the
    answer cannot be read."""
    document, _, _ = _document(answer)
    first = None if document is None else _first(document)
    if document is None or document.cut is None or first is None or first.get("b64_json") != document.cut:
        return None
    return document


def _first(document: Document) -> dict[str, object] | None:
    data = document.root.get("data")
    first = data[0] if isinstance(data, list) and data else None
    return first if isinstance(first, dict) else None


def _picture(
    document: Document | None, answer: Answer, unreadable: str | None, keep: Keep
) -> tuple[Path | None, bool, str | None, str | None]:
    """The decoded picture, whether a usable one came, why there is no file, and the address to fetch it from."""
    if document is None:
        return None, False, f"the answer cannot be read: {unreadable}", None
    if answer.status not in SUCCESS:
        return None, False, f"status {answer.status} is no success", None
    first = _first(document)
    if first is None:
        return None, False, "the answer has no `data[0]`", None
    encoded, url = first.get("b64_json"), document.text(first.get("url"), 8192)
    if not isinstance(encoded, str) or not encoded:
        if url:
            return None, True, None, url
        return None, False, "`data[0]` has neither `b64_json` nor `url`", None
    if answer.cut is not None and encoded == document.cut:
        return (None if answer.cut.fault else answer.cut.file), True, answer.cut.fault, None
    try:
        return keep(base64_blocks(document.pieces(encoded))), True, None, None
    except ValueError:
        return None, False, "`data[0].b64_json` is not base64", None
    except OSError as error:
        return None, True, f"the picture could not be written: {error.strerror or type(error).__name__}", None


def base64_blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The decoded bytes of a base64 text, a block at a time; a `data:` prefix and white space are allowed.

    Strict after that: the standard alphabet, padding only at the end, at least one byte. Raises ValueError.
    """
    carry = b""
    first, ended, empty = True, False, True
    for piece in pieces:
        text = _without_prefix(piece) if first else piece
        first = False
        text = carry + text.translate(None, b" \t\r\n")
        if ended and text:
            raise ValueError("text after the padding")
        whole = len(text) - len(text) % 4
        carry = text[whole:]
        if whole:
            yield pybase64.b64decode(memoryview(text)[:whole], validate=True)
            ended, empty = text.endswith(b"=", 0, whole), False
    if carry or empty:
        raise ValueError("nothing, or not a whole number of quanta")


def _without_prefix(piece: bytes) -> bytes:
    match = re.match(rb"\s*data:[^,]{0,200}?;base64,", piece, re.IGNORECASE)
    return piece[match.end() :] if match else piece


_NO_MONEY = frozenset({"payment_required", "insufficient_quota", "budget_exceeded"})
_MODERATED = re.compile(r"moderat(?:ed|ion)|content[ _-](?:policy|filter)|safety[ _-](?:system|filter|check)|nsfw")


def _markers(
    document: Document | None, said: Said, headers: Mapping[str, str], received_at: datetime
) -> "frozenset[Marker]":
    """The signs that contract B asks for: `no-money`, `moderated`, `retry-after`."""
    words = _words(document)
    found: set[Marker] = set()
    if words & _NO_MONEY:
        found.add("no-money")
    if _MODERATED.search(" ".join([*words, said.message or ""]).lower()):
        found.add("moderated")
    if retry_after_s(headers, received_at) is not None:
        found.add("retry-after")
    return frozenset(found)


def _words(document: Document | None) -> frozenset[str]:
    """Every code, type and name of an error, in one spelling: lower case with underscores."""
    if document is None:
        return frozenset()
    root, error = document.root, document.root.get("error")
    values = [root.get(name) for name in ("code", "type", "name", "error")]
    values += [error.get(name) for name in ("code", "type", "name")] if isinstance(error, dict) else []
    texts = (document.text(value, 80) for value in values)
    return frozenset(re.sub(r"[\s-]+", "_", text.strip().lower()) for text in texts if text)


def retry_after_s(headers: Mapping[str, str], received_at: datetime) -> float | None:
    """The seconds that `Retry-After` asks for, held between 1 and 600; None without a readable one.

    It is a number of seconds or an HTTP date. A date is measured against the endpoint's own `Date` where there
    is one, so that a clock that is off here does not matter.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        return min(max(float(text), RETRY_MIN_S), RETRY_MAX_S)
    until = _moment(text)
    if until is None:
        return None
    since = _moment(headers.get("date", "")) or received_at
    return min(max((until - since).total_seconds(), RETRY_MIN_S), RETRY_MAX_S)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def evidence(answer: Answer, document: Document | None, key: Key) -> Evidence:
    """What is kept of an answer for the audit."""
    head = document.head(4 * _HEAD_LENGTH) if document else answer.body[: 4 * _HEAD_LENGTH].decode("utf-8", "replace")
    return evidence_of(answer.status, answer.headers, head, key)


def evidence_of(status: int, headers: Mapping[str, str], head: str, key: Key) -> Evidence:
    """What is kept of an answer of which `head` is the beginning of the body."""
    without_pictures = re.sub(r"(?:[A-Za-z0-9+/]|\\[/nr]){60,}={0,2}…?", "…", redact(head, key))
    return Evidence(
        status=status,
        headers=headers,
        request_id=next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), None),
        body_head=_printable(without_pictures[:_HEAD_LENGTH], keep="\n"),
    )


def kept_headers(headers: Iterable[tuple[str, str]], key: Key) -> dict[str, str]:
    """The headers on the allow-list, lower-case names, the key hidden; of a repeated one the values joined."""
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name not in KEPT_HEADERS and not name.startswith(KEPT_HEADER_PREFIXES):
            continue
        if name not in found and len(found) >= _HEADERS_MAX:
            continue
        joined = f"{found[name]}, {value}" if name in found else value
        found[_clean(name, key)] = _clean(joined, key)[:_HEADER_LENGTH_MAX]
    return found


def _clean(text: str, key: Key) -> str:
    """The text on one line, without the key and without characters that a terminal or database would trip over."""
    return _printable(redact(text, key))


def _printable(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or c in keep else " " if c in "\t\r\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return "".join(shown)


# --- contract B: the table ------------------------------------------------------------------------------------

Bill = Literal["none", "readable", "unreadable"]
Marker = Literal["no-money", "moderated", "retry-after", "own-doing"]

NO_ANSWER: Collection[int] = frozenset()
SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the caller saw, in the columns that contract B decides on. `status` None: no complete answer came."""

    sent: bool
    status: int | None = None
    readable: bool = True
    bill: Bill = "none"
    picture: bool = False
    error: bool = False
    markers: frozenset[Marker] = frozenset()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of contract B. A column that is None fits anything; the first row that fits decides.

    `code` None: the word for what went wrong on the way. `again`: whether it may be sent again by itself.
    `note` ends the message. `statuses` None fits every answer, NO_ANSWER only the lack of one.
    """

    seen: str
    billed: Literal["no", "yes", "possibly"]
    code: str | None
    again: Literal["no", "soon", "after-wait"] = "no"
    stops_run: bool = False
    note: str = ""
    statuses: Collection[int] | None = None
    sent: bool | None = None
    readable: bool | None = None
    bill: Bill | None = None
    picture: bool | None = None
    error: bool | None = None
    marker: Marker | None = None

    def fits(self, seen: Seen) -> bool:
        """Whether every column holds."""
        if seen.status is None:
            status_fits = self.statuses is NO_ANSWER
        else:
            status_fits = self.statuses is None or seen.status in self.statuses
        return (
            status_fits
            and self.sent in (None, seen.sent)
            and self.readable in (None, seen.readable)
            and self.bill in (None, seen.bill)
            and self.picture in (None, seen.picture)
            and self.error in (None, seen.error)
            and (self.marker is None or self.marker in seen.markers)
        )


_POLICY = "not billed, by the declared policy"
_DECLINED_INPUT = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-type",
    422: "unprocessable",
}

# Contract B. Rows that bill or leave in doubt ask for `sent=True`: what never left cannot have been billed.
TABLE: tuple[Row, ...] = (
    Row("stopped here before a byte of the body left", "no", None, statuses=NO_ANSWER, sent=False, marker="own-doing"),
    Row("DNS, refused, TLS, connect timeout: no byte sent", "no", "not-sent", "soon", statuses=NO_ANSWER, sent=False),
    Row("write error, read timeout, reset, early EOF, truncated", "possibly", None, statuses=NO_ANSWER, sent=True),
    Row("undecodable body", "possibly", "answer-unreadable", sent=True, readable=False),
    Row(
        "200, `billed_amount` and a picture",
        "yes",
        "billed",
        statuses=SUCCESS,
        sent=True,
        bill="readable",
        picture=True,
    ),
    Row("200, `billed_amount`, no usable picture", "yes", "billed", statuses=SUCCESS, sent=True, bill="readable"),
    # Not a line of contract B, but its spirit: a stated amount is evidence of a bill, whatever stands above it.
    Row("any other status with `billed_amount`", "yes", "billed", sent=True, bill="readable"),
    Row("200, `error` inside, no `usage`", "possibly", "error-in-success", statuses=SUCCESS, sent=True, error=True),
    Row("200, a picture, `usage` missing or unreadable", "yes", "billed", statuses=SUCCESS, sent=True, picture=True),
    Row("200 and neither of them", "possibly", "answer-unreadable", statuses=SUCCESS, sent=True),
    Row("any other status, `usage` unreadable", "possibly", "bill-unreadable", sent=True, bill="unreadable"),
    Row("402", "no", "account-empty", stops_run=True, statuses={402}),
    # Only for client errors: beside a 200 or a 5xx the status decides, because there it is `possibly`.
    Row("`payment_required` …", "no", "account-empty", stops_run=True, statuses=range(400, 500), marker="no-money"),
    Row("403, moderation", "no", "moderated", note=_POLICY, statuses={403}, marker="moderated"),
    Row("401, 403 without a moderation marker", "no", "key-refused", stops_run=True, statuses={401, 403}),
    Row("429", "no", "rate-limited", "after-wait", statuses={429}),
    Row("503 with `Retry-After`", "no", "unavailable", "after-wait", statuses={503}, marker="retry-after"),
    *(
        Row(f"{status} without `usage`", "no", code, note=_POLICY, statuses={status})
        for status, code in _DECLINED_INPUT.items()
    ),
    Row("3xx", "possibly", "redirected", note="redirects are never followed", statuses=range(300, 400), sent=True),
    Row("5xx", "possibly", "server-error", statuses=range(500, 600), sent=True),
    Row("408 409 425 499 and every other status", "possibly", "unexpected-status", sent=True),
    Row("any such answer, no byte of the body sent", "no", "not-sent", "soon", sent=False),
)


def row_for(seen: Seen) -> Row:
    """The one row of contract B that decides."""
    return next(row for row in TABLE if row.fits(seen))


def decide(reading: Reading, *, sent: bool = True) -> Outcome:
    """What an answer means for the money. `sent`: whether any byte of the body had left."""
    # A stated zero on an error is no bill, and must not hide what the status says about the run.
    free = reading.amount_micros == 0 and reading.status not in SUCCESS
    bill = "none" if free else reading.bill
    seen = Seen(sent, reading.status, reading.readable, bill, reading.offered, reading.error, reading.markers)
    row = row_for(seen)
    # What the status says about the run holds also where a bill, or doubt about one, decides about the money.
    refusal = row_for(replace(seen, readable=True, bill="none"))
    if row.billed == "yes":
        fault = None if reading.picture else (reading.said.message if not reading.offered else None) or reading.fault
        billed = Billed(
            reading.evidence, reading.amount_micros, reading.amount_text, reading.picture, fault, digest=reading.digest
        )
        if not refusal.stops_run:
            return billed
        return replace(billed, stops_run=True, code=refusal.code or "", message=_answered(reading, refusal))
    wait_s = reading.retry_after_s if reading.retry_after_s is not None else RETRY_WITHOUT_HEADER_S
    outcome = _outcome(row, reading.evidence, row.code or "", _answered(reading, row), wait_s)
    return replace(outcome, stops_run=True) if refusal.stops_run and isinstance(outcome, Unknown) else outcome


def decide_silence(*, sent: bool, code: str, message: str, evidence: Evidence, own_doing: bool = False) -> Outcome:
    """What it means that no complete answer came. `own_doing`: it was stopped or could not be started here."""
    row = row_for(Seen(sent, markers=frozenset({"own-doing"} if own_doing else ())))
    return _outcome(row, evidence, row.code or code, message, RETRY_WITHOUT_HEADER_S)


def _outcome(row: Row, evidence: Evidence, code: str, message: str, wait_s: float) -> Outcome:
    if row.billed == "possibly":
        return Unknown(evidence, code, message)
    again = {"no": None, "soon": RETRY_SOON_S, "after-wait": wait_s}[row.again]
    return Declined(evidence, code, message, again, row.stops_run)


def _answered(reading: Reading, row: Row) -> str:
    """The message: the status, the endpoint's own words, and the note of the row."""
    said = reading.said
    if said.message is None and (reading.status in SUCCESS or not reading.readable):
        said = Said(said.code, reading.fault)
    code = f" ({said.code})" if said.code else ""
    message = f": {said.message}" if said.message and said.message != said.code else ""
    note = f"; {row.note}" if row.note else ""
    return f"the endpoint answered {reading.status}{code}{message}{note}"
