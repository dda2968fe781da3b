"""What the local endpoint answers to an accepted request, including all that a fault makes of it."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from secrets import randbelow

import pybase64
from PIL import Image

from runner import money
from runner.sandbox import draw, enlarge
from runner.sandbox.faults import Fault
from runner.sandbox.judge import NAMES, Accepted, Refused, refused

_HTML = b"<!doctype html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"


_RESAMPLED = "resampled locally; not the Stability model"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `parts` are the pieces of the body, not joined, because a picture is large.

    `honest`: what the header `x-sandbox` says of where the picture is from.
    """

    status: int
    media_type: str
    parts: Sequence[bytes]
    headers: tuple[tuple[str, str], ...] = ()
    honest: str = _RESAMPLED


# What else the server makes, and says in each answer that it has made.
_HONEST = {
    "prompt-to-image": "a placeholder, drawn locally; no model has read the prompt",
    "image-editing": "the source with some grain, made locally; no model has read the prompt",
    "background-removal": "the colour of the corners cut out locally; no model has looked at it",
}


def to_refused(refusal: Refused, request_id: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """The refusal in the shape of upstream errors (contract U6)."""
    error = {"id": request_id, "name": refusal.name, "errors": list(refusal.errors)}
    return Answer(refusal.status, "application/json", [json.dumps(error).encode()], headers)


def to_fault(fault: Fault, request_id: str, path: str) -> Answer | None:
    """The answer that a fault gives in place of a picture; None when a picture is answered all the same."""
    headers: tuple[tuple[str, str], ...] = ()
    if fault.retry_after is not None:
        headers = (("Retry-After", fault.retry_after),)
    status = fault.error_status
    if fault.body == "html":
        return Answer(status or 200, "text/html; charset=utf-8", [_HTML], headers)
    if fault.error_in_200:
        error = {"error": {"type": "internal_error", "code": "500", "message": "scripted fault: error_in_200"}}
        return Answer(200, "application/json", [json.dumps(error).encode()])
    if status is None:
        return None
    if 300 <= status < 400:
        headers += (("Location", path),)  # a trap: who follows it asks, and pays, again
    return to_refused(_refusal(fault, status), request_id, headers)


def to_accepted(accepted: Accepted, fault: Fault, price_micros: int, padded: bytes | None) -> Answer:
    """The picture and its bill (contract C17–C19). `padded` is base64 to answer with instead of enlarging."""
    start = b'{"created": %d, "data": [{"b64_json": ' % int(time.time())
    picture = [b"null"] if fault.picture == "missing" else [b'"', padded or _picture(accepted, fault), b'"']
    if fault.picture == "broken":
        picture[1] = picture[1][: len(picture[1]) // 8 * 4]  # half of it, and still base64
    usage = b"" if fault.usage == "missing" else b', "usage": {"billed_amount": %s}' % _amount(fault, price_micros)
    honest = _HONEST.get(accepted.contract.operation, _RESAMPLED)
    return Answer(200, "application/json", [start, *picture, b', "url": null}]', usage, b"}"], honest=honest)


def _refusal(fault: Fault, status: int) -> Refused:
    if fault.moderated:
        sentence = "Your request was flagged by the content moderation system; you were not charged."
        return Refused(403, "content_moderation", (sentence,))
    name = NAMES.get(status, "error").replace("_", " ")
    return refused(status, f"scripted fault: {name}")


def _amount(fault: Fault, price_micros: int) -> bytes:
    """`usage.billed_amount` as JSON: a string of six decimals, unless a fault says otherwise."""
    if fault.bill_text is not None:
        return json.dumps(fault.bill_text).encode()
    text = money.exact(price_micros if fault.bill_micros is None else fault.bill_micros)
    return (text if fault.usage == "number" else f'"{text}"').encode()


def _picture(accepted: Accepted, fault: Fault) -> bytes:
    """The picture's file in base64."""
    made = _made(accepted)
    if fault.picture == "blurred":
        made = enlarge.blurred(made)
    return pybase64.b64encode(enlarge.encode(made, str(accepted.option("output_format") or "png")))


def _made(accepted: Accepted) -> Image.Image:
    """What the model's operation is here."""
    source = accepted.picture
    if source is None:
        ratio = accepted.option("aspect_ratio")
        return draw.placeholder(_variation(accepted), None if ratio is None else str(ratio))
    match accepted.contract.operation:
        case "background-removal":
            return draw.cut_out(source)
        case "image-editing":
            return enlarge.grained(source, _variation(accepted))
        case _:
            creativity = accepted.option("creativity")
            strength = creativity if isinstance(creativity, Decimal | int) else Decimal(0)
            return enlarge.enlarge(source, Decimal(strength), _variation(accepted))


def _variation(accepted: Accepted) -> str:
    """What the grain is drawn from: equal for equal seed and options; random without a seed (contract C13)."""
    if not accepted.option("seed"):
        return f"random {randbelow(2**64)}"
    names = sorted(field.name for field in accepted.contract.options)
    return repr([(name, _plain(accepted.option(name))) for name in names])


def _plain(value: object) -> str:
    """The same text for 0.3 and 0.30."""
    return str(value.normalize() if isinstance(value, Decimal) else value)
