"""What a paid endpoint can do with a request: each scene says what it really did, and what the client gets to see.

Contract B's declared policy is the one thing believed of an endpoint: a 400 or a 429 without `usage` was not billed.
Everything else is played both ways where both can happen: answered badly and billed, answered badly and not billed.
"""

import base64
import gzip
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.proof.endpoint import Caller

PRICE = "0.039000"

Play = Callable[[Caller, str], None]
Body = bytes | Callable[[Caller], bytes]


@dataclass(frozen=True, slots=True)
class Scene:
    """One way in which an endpoint can behave.

    `ends`: the states of the item's attempts, in order, when nobody is killed and the run is repeated until nothing
    moves: S(ettled), U(nknown), R(eleased); None where it depends on who is faster. `first`: those of the first run
    alone, when they are fewer: only some of what is certainly not billed is sent again by itself. `first_url`: what is
    configured for the first run; afterwards it is this endpoint. `slow`: it takes seconds.
    """

    name: str
    truth: str
    ends: str | None
    play: Play
    first: str | None = None
    timeout_s: int = 60
    big: bool = False
    first_url: Literal["here", "refused", "tls"] = "here"
    slow: bool = False


SCENES: dict[str, Scene] = {}


def _scene(name: str, truth: str, ends: str | None, play: Play, **more: object) -> None:
    assert name not in SCENES, name
    SCENES[name] = Scene(name, truth, ends, play, **more)  # type: ignore[arg-type]


# ---- what answers are made of


def _json(value: object) -> str:
    return json.dumps(value)


def _body(
    picture: Callable[[Caller], bytes | str | None] | None = Caller.bought,
    *,
    usage: str | None = f'{{"billed_amount": "{PRICE}"}}',
    url: str | None = None,
    more: str = "",
) -> Callable[[Caller], bytes]:
    """The body of an answer; `usage` and `more` are JSON as it stands there. `picture` None: null."""

    def make(caller: Caller) -> bytes:
        given = picture(caller) if picture else None
        coded = base64.b64encode(given).decode() if isinstance(given, bytes) else given
        data = f'{{"b64_json": {_json(coded)}, "url": {_json(url)}}}'
        tail = "" if usage is None else f', "usage": {usage}'
        return f'{{"created": 1764000000, "data": [{data}]{tail}{more}}}'.encode()

    return make


def _made(body: Body, caller: Caller) -> bytes:
    return body(caller) if callable(body) else body


def _http(body: bytes, status: str = "200 OK", *headers: str, length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _chunks(body: bytes, size: int = 4096) -> bytes:
    blocks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks)


# ---- kinds of scenes


def _answers(
    name: str,
    ends: str,
    body: Body,
    status: str = "200 OK",
    *headers: str,
    billed: str | None = PRICE,
    once: bool = False,
    **more: object,
) -> None:
    """Reads everything, bills or not, answers well-formed HTTP. `once`: the first time, and then a clean answer."""

    def play(caller: Caller, seed: str) -> None:
        caller.read()
        if once and caller.number > 1:
            _sell(caller)
            return
        caller.bill(billed)
        caller.send(_http(_made(body, caller), status, *headers))

    _scene(name, "billed" if billed else "not billed", ends, play, **more)


def _sends(name: str, ends: str, raw: Callable[[Caller], bytes], *, billed: str | None = PRICE, **more: object) -> None:
    """Reads everything, bills or not, sends these very bytes, and hangs up."""

    def play(caller: Caller, seed: str) -> None:
        caller.read()
        caller.bill(billed)
        caller.send(raw(caller))

    _scene(name, "billed" if billed else "not billed", ends, play, **more)


def _cut(name: str, at: Callable[[bytes], int], *, status: str = "200 OK", billed: str | None = PRICE) -> None:
    """Sends a good answer only up to a place, and hangs up."""

    def raw(caller: Caller) -> bytes:
        whole = _http(_body()(caller) if status.startswith("2") else b'{"message": "slow down"}', status)
        return whole[: at(whole)]

    _sends(name, "U", raw, billed=billed)


def _sell(caller: Caller) -> None:
    caller.bill(PRICE)
    caller.send(_http(_body()(caller)))


# ---- good answers, whatever their form

_answers("clean", "S", _body())
_answers("created", "S", _body(), "201 Created")
_answers("no-charge", "S", _body(usage='{"billed_amount": "0.000000"}'), billed="0.000000")
_answers("sub-micro", "S", _body(usage='{"billed_amount": "0.0390001"}'), billed="0.0390001")
_answers("more-fields", "S", _body(more=', "id": "x", "extra": {"billed_amount": "9.9"}'))
_sends(
    "chunked",
    "S",
    lambda c: _http(_chunks(_body()(c)) + b"0\r\n\r\n", "200 OK", "Transfer-Encoding: chunked", length=False),
)
_sends("until-closed", "S", lambda c: _http(_body()(c), length=False))
_sends(
    "interim",
    "S",
    lambda c: b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _http(_body()(c)),
)
_sends("more-than-announced", "S", lambda c: _http(_body()(c)) + b"{}")


def _spelled(caller: Caller) -> bytes:
    """A good answer that is not cut while it comes: its base64 is in no canonical spelling."""
    return _body(lambda c: "data:image/png;base64,\n" + base64.encodebytes(c.bought()).decode())(caller)


_answers("prefix-and-space", "S", _spelled)


def _drip(caller: Caller, seed: str) -> None:
    """The answer comes in small pieces, the head byte by byte."""
    caller.read()
    caller.bill(PRICE)
    whole = _http(_body()(caller))
    for at in range(90):
        caller.send(whole[at : at + 1])
    for at in range(90, len(whole), 1500):
        caller.send(whole[at : at + 1500])


_scene("drip", "billed", "S", _drip)

# ---- bills that a cap must survive

_answers("breach", "S", _body(usage='{"billed_amount": "40.500000"}'), billed="40.500000")

# ---- nothing, or not everything, was seen by the provider


def _play_clean(caller: Caller, seed: str) -> None:
    caller.read()
    _sell(caller)


def _hang_up_at_once(caller: Caller, seed: str) -> None:
    pass


def _reset_at_once(caller: Caller, seed: str) -> None:
    caller.reset()


def _reset_in_the_body(caller: Caller, seed: str) -> None:
    caller.read_some(3)
    caller.reset()


def _hang_up_in_the_body(caller: Caller, seed: str) -> None:
    caller.read_some(3)


def _early(caller: Caller, seed: str) -> None:
    """Answers before the request is there, and hangs up: 413 to a body that is too large; later it takes it."""
    caller.read_some(10)
    if caller.came > 1:
        caller.read()
        _sell(caller)
        return
    caller.send(_http(b'{"name": "payload_too_large", "errors": ["too large"]}', "413 Payload Too Large"))


_scene("refused", "never saw it", "R R R R S", _play_clean, first="R R R R", first_url="refused")
_scene("tls-refused", "never saw it", "R R R R S", _play_clean, first="R R R R", first_url="tls")
_scene("hang-up-after-head", "never saw it", None, _hang_up_at_once)
_scene("reset-after-head", "never saw it", None, _reset_at_once)
_scene("reset-in-body", "never saw it", "U", _reset_in_the_body, big=True)
_scene("hang-up-in-body", "never saw it", "U", _hang_up_in_the_body, big=True)
_scene("early-413", "never saw it", None, _early, big=True)

# ---- everything was seen, and no answer comes


def _silent(name: str, billed: str | None, end: Callable[[Caller], object], **more: object) -> None:
    def play(caller: Caller, seed: str) -> None:
        caller.read()
        caller.bill(billed)
        end(caller)

    _scene(name, "billed" if billed else "not billed", "U", play, **more)


def _trickle(caller: Caller) -> None:
    caller.send(_http(b"", "200 OK", "Content-Length: 100000", length=False))
    while not caller.wait(0.05):
        caller.send(b" ")


for _billed, _how in ((PRICE, "billed"), (None, "free")):
    _silent(f"hang-up-{_how}", _billed, lambda caller: None)
    _silent(f"reset-{_how}", _billed, Caller.reset)
    _silent(f"hang-{_how}", _billed, Caller.wait, timeout_s=1, slow=True)
_silent("trickle", PRICE, _trickle, timeout_s=1, slow=True)

# ---- the answer breaks off

_cut("cut-in-status-line", lambda whole: 9)
_cut("cut-in-headers", lambda whole: 40)
_cut("cut-in-headers-429", lambda whole: 40, status="429 Too Many Requests", billed=None)
_cut("cut-before-body", lambda whole: whole.index(b"\r\n\r\n") + 4)
_cut("cut-in-picture", lambda whole: len(whole) // 2)
_cut("cut-in-amount", lambda whole: whole.index(b"billed_amount") + 20)
_cut("cut-last-byte", lambda whole: len(whole) - 1)
_cut("cut-in-429", lambda whole: len(whole) - 3, status="429 Too Many Requests", billed=None)

# ---- the form is broken


def _wrong_length(caller: Caller, by: int) -> bytes:
    body = _body()(caller)
    return _http(body, "200 OK", f"Content-Length: {len(body) + by}", length=False)


def _chunked(caller: Caller, change: Callable[[bytes], bytes]) -> bytes:
    return _http(change(_chunks(_body()(caller))), "200 OK", "Transfer-Encoding: chunked", length=False)


_sends("length-too-long", "U", lambda c: _wrong_length(c, 10))
_sends("length-too-short", "U", lambda c: _wrong_length(c, -10))
_sends("until-closed-cut", "U", lambda c: _http(_body()(c)[:-30], length=False))
_sends("chunk-no-end", "U", lambda c: _chunked(c, lambda chunks: chunks))
_sends("chunk-cut", "U", lambda c: _chunked(c, lambda chunks: chunks[:-100]))
_sends("chunk-bad-size", "U", lambda c: _chunked(c, lambda chunks: b"zz" + chunks + b"0\r\n\r\n"))
_sends("no-http", "U", lambda c: b"\x00\x01\x02 what\r\n\r\n")
_sends("endless-header", "U", lambda c: b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")
_answers("truncated-json", "U", lambda c: _body()(c)[:-30])
_answers("deep-json", "U", b'{"a":' * 100_000)
_answers("no-json", "U", b"<!doctype html><title>Fine</title><p>Your picture is ready.</p>")
_answers("empty", "U", b"")
_answers("null", "U", b"null")
_answers("no-content", "U", b"", "204 No Content")
_answers("gzip", "U", lambda c: gzip.compress(_body()(c)), "200 OK", "Content-Encoding: gzip")
_answers("gzip-bomb", "U", gzip.compress(b" " * 50_000_000, 6), "200 OK", "Content-Encoding: gzip")
_answers("huge", "U", lambda c: b" " * (97 * 1024 * 1024) + _body()(c), slow=True)

# ---- well-formed, and wrong inside

_ERROR = {"error": {"type": "internal_error", "code": "500", "message": "it went wrong"}}
_answers("error-inside-billed", "U", _json(_ERROR).encode())
_answers("error-inside-free", "U", _json(_ERROR).encode(), billed=None)
_answers("error-inside-with-bill", "S", _json(_ERROR | {"usage": {"billed_amount": PRICE}}).encode())
_answers("no-usage", "U", _body(usage=None))
_answers("usage-null", "U", _body(usage="null"))
_answers("usage-empty", "U", _body(usage="{}"))
for _name, _amount in (
    ("number", "0.039"),
    ("minus", '"-0.039"'),
    ("nan", '"NaN"'),
    ("bare-nan", "NaN"),
    ("exponent", '"39e-3"'),
    ("vast", '"1E+1000000"'),
    ("underscore", '"0_039.0"'),
    ("comma", '"0,039"'),
    ("other-digits", '"٠.٠٣٩"'),
    ("space", '" 0.039"'),
    ("currency", '"0.039 USD"'),
    ("leading-zero", '"00.039"'),
    ("long", '"0.0390000000000000000000000"'),
    ("list", '["0.039"]'),
    ("true", "true"),
):
    _answers(f"amount-{_name}", "U", _body(usage=f'{{"billed_amount": {_amount}}}'))
_answers("amount-twice", "U", _body(usage=f'{{"billed_amount": "0.010000", "billed_amount": "{PRICE}"}}'))
_answers(
    "usage-twice", "U", _body(usage='{"billed_amount": "0.010000"}', more=f', "usage": {{"billed_amount": "{PRICE}"}}')
)

# ---- billed, and no usable picture


def _bomb(caller: Caller) -> bytes:
    """A PNG that declares 60 000 × 60 000 pixels and has none."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    made = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return caller.give(b"\x89PNG\r\n\x1a\n" + b"".join(made))


_answers("bill-only", "S", _json({"usage": {"billed_amount": PRICE}}).encode())
_answers("no-data", "S", _json({"data": [], "usage": {"billed_amount": PRICE}}).encode())
_answers("picture-null", "S", _body(None))
_answers("picture-no-base64", "S", _body(lambda c: "*** not base64 ***"))
_answers("picture-text", "S", _body(lambda c: c.give(b"this is no picture at all, but text")))
_answers("picture-cut", "S", _body(lambda c: c.give(c.bought()[:-300])))
_answers("picture-bomb", "S", _body(_bomb))
_answers("picture-jpeg", "S", _body(lambda c: c.bought_as("JPEG")))
_answers("picture-webp", "S", _body(lambda c: c.bought_as("WEBP")))
_answers("picture-gif", "S", _body(lambda c: c.bought_as("GIF")))
_answers("picture-twice", "S", lambda c: _body()(c).replace(b'"url"', b'"b64_json": "AAAA", "url"'))
for _name, _url in (
    ("loopback", "https://127.0.0.1/picture.png"),
    ("local-name", "https://localhost:1/picture.png"),
    ("metadata", "http://169.254.169.254/latest/meta-data"),
    ("file", "file:///etc/passwd"),
):
    _answers(f"url-{_name}", "S", _body(None, url=_url))
_answers("url-unbilled-text", "U", _body(None, url="https://127.0.0.1/picture.png", usage=None))

# ---- every status of contract B

_POLICY = (400, 404, 405, 413, 415, 422)
_POSSIBLY = (408, 409, 418, 425, 499, 500, 502, 503, 504, 301, 302, 303, 307, 308)
_AGAIN = "generations?again"
_PLAIN = _json({"id": "x", "name": "sorry", "errors": ["no"]}).encode()
_WITH_BILL = _json({"name": "sorry", "errors": ["no"], "usage": {"billed_amount": PRICE}}).encode()
_ODD_BILL = _json({"name": "sorry", "errors": ["no"], "usage": {"billed_amount": 0.039}}).encode()
_FREE = _json({"name": "sorry", "errors": ["no"], "usage": {"billed_amount": "0.000000"}}).encode()
_MODERATED = _json({"name": "content_moderation", "errors": ["flagged; you were not charged"]}).encode()
_BROKE = _json({"error": {"code": "insufficient_quota", "message": "top up"}}).encode()

for _status in _POLICY:
    _answers(f"{_status}-once", "R S", _PLAIN, f"{_status} No", billed=None, once=True, first="R")
for _status in _POSSIBLY:
    # A redirect leads to a place that sells: who follows it pays twice.
    _headers = (f"Location: {_AGAIN}",) if _status < 400 else ()
    _answers(f"{_status}-billed", "U", _PLAIN, f"{_status} No", *_headers)
    _answers(f"{_status}-free", "U", _PLAIN, f"{_status} No", *_headers, billed=None)
for _status in (400, 402, 403, 429, 302, 500, 503):
    _answers(f"{_status}-with-bill", "S", _WITH_BILL, f"{_status} No", "Retry-After: 1")
_answers("400-odd-bill", "U", _ODD_BILL, "400 Bad Request")
_answers("429-odd-bill", "U", _ODD_BILL, "429 Too Many Requests", "Retry-After: 1")
_answers("422-free-bill-once", "R S", _FREE, "422 Entity", billed=None, once=True, first="R")
_answers("401-once", "R S", _PLAIN, "401 Unauthorized", billed=None, once=True, first="R")
_answers("402-once", "R S", _PLAIN, "402 Payment Required", billed=None, once=True, first="R")
_answers("quota-once", "R S", _BROKE, "400 Bad Request", billed=None, once=True, first="R")
_answers("403-once", "R S", _PLAIN, "403 Forbidden", billed=None, once=True, first="R")
_answers("403-moderated", "R", _MODERATED, "403 Forbidden", billed=None)
_answers("429-once", "R S", _PLAIN, "429 Too Many Requests", "Retry-After: 0", billed=None, once=True)
_answers("429-date-once", "R S", _PLAIN, "429 No", "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", billed=None, once=True)
_answers("429-no-wait-once", "R S", _PLAIN, "429 Too Many Requests", billed=None, once=True)
_answers("503-wait-once", "R S", _PLAIN, "503 Service Unavailable", "Retry-After: 0", billed=None, once=True)
_answers("500-page", "U", b"<html><h1>Bad gateway</h1></html>", "502 Bad Gateway")

MATRIX = tuple(SCENES.values())


# ---- a shop on an ordinary bad day, for the kill rounds


def _shop(caller: Caller, seed: str) -> None:
    """Sells, after a moment; some items meet trouble. What happens is drawn from the seed, the item and its count, so
    that a round can be replayed whatever the order in which requests come."""
    caller.read()
    item = hashlib.sha256(caller.picture).hexdigest()
    earlier = caller.books.earlier(caller.cell, item)
    dice = random.Random(f"{seed} {item} {earlier}")
    caller.wait(dice.choice((0, 0.002, 0.01, 0.03)))
    draw = dice.randrange(100)
    if draw < 60:
        _sell(caller)
    elif draw < 80:
        caller.bill(PRICE)
        caller.send(_http(_spelled(caller)))
    elif draw < 88:
        caller.send(_http(_PLAIN, "429 Too Many Requests", "Retry-After: 0"))
    elif draw < 91:
        caller.send(_http(_PLAIN, "422 Entity"))
    elif draw < 94:
        caller.bill(dice.choice((PRICE, None)))
        caller.send(_http(_PLAIN, "500 Internal Server Error"))
    elif draw < 97:
        caller.bill(dice.choice((PRICE, None)))
        caller.reset()
    else:
        caller.bill(PRICE)
        caller.send(_http(_body(usage=None)(caller)))


SCENES["shop"] = Scene("shop", "both", None, _shop)
