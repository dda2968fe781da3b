"""A request body in, an accepted request or a refusal out: the contract tables, kept to the letter.

Nothing here knows a particular model: fields and limits come from runner.contracts, so that a new contract is kept
as soon as it is registered.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pybase64
from PIL import Image

from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, Fault, OptionValue, PictureLimits
from runner.diagnostics import did_you_mean
from runner.sandbox import enlarge

_ERROR_LENGTH_MAX = 300
_FIELDS_MAX = 64  # each unknown field is answered with the closest known one; that work has a limit

# Status → `name` of the error, as upstream has them (contract U6); the rest in the same manner.
NAMES = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "unprocessable_entity",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that keeps the contract. `options` as sent, without `model` and the picture.

    `picture` is the (first) source, upright sRGB; `picture_digest` the SHA-256 of its file as it was sent. Both are
    None for a model that takes no source picture.
    """

    contract: Contract
    options: Mapping[str, OptionValue]
    picture: Image.Image | None
    picture_digest: str | None

    def option(self, name: str) -> OptionValue | None:
        """The value sent, or the documented default; None when there is neither."""
        if name in self.options:
            return self.options[name]
        field = self.contract.field(name)
        return field.default if field else None

    @property
    def options_digest(self) -> str:
        """SHA-256 over the options, whatever their order."""
        text = json.dumps({name: str(value) for name, value in self.options.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as upstream words it: the status, a stable name, and at least one sentence (contract U6)."""

    status: int
    name: str
    errors: tuple[str, ...]


def refused(status: int, *errors: str) -> Refused:
    """A refusal with the usual name of its status; long values that were echoed are cut."""
    short = (text if len(text) <= _ERROR_LENGTH_MAX else text[: _ERROR_LENGTH_MAX - 1] + "…" for text in errors)
    return Refused(status, NAMES.get(status, "error"), tuple(short))


def judge(body: bytes, contracts: Mapping[str, Contract] = CONTRACTS) -> Accepted | Refused:
    """Hold a body against the contract of the model it names. All that is wrong is said at once.

    The picture is unpacked only when everything else is right, and its header showed a size within the limits.
    """
    try:
        request = _read(body)
    except _Unreadable as error:
        return refused(400, str(error))
    contract = _contract(request, contracts)
    if isinstance(contract, Refused):
        return contract
    if len(body) > contract.request_bytes_max:
        return too_large(contract.request_bytes_max)
    options = {name: value for name, value in request.items() if name not in ("model", _pictures_name(contract))}
    errors = [_sentence(fault) for fault in contract.faults(options)]
    picture: tuple[Image.Image | None, str | None] = (None, None)
    try:
        if contract.pictures is not None:
            picture = _pictures(request, contract, contract.pictures, decode=not errors)[0]
    except _Unreadable as error:
        errors.append(str(error))
    if errors:
        return refused(400, *errors)
    return Accepted(contract, options, *picture)


def too_large(limit: int) -> Refused:
    """The refusal of a body above `limit` bytes (contract U2)."""
    return refused(413, f"the request body may have at most {limit} bytes")


class _Unreadable(ValueError):
    """What cannot be read, in one sentence for the caller."""


def _read(body: bytes) -> dict[str, Any]:
    """The body as one JSON object, decimals exact; raises _Unreadable for anything JSON does not allow (C3)."""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_float=_decimal, parse_constant=_constant
        )
    except _Unreadable:
        raise
    except UnicodeDecodeError:
        raise _Unreadable("the body is not UTF-8 text") from None
    except RecursionError:
        raise _Unreadable("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _Unreadable(f"the body is not JSON: {error}") from None
    except ValueError:  # Python reads no integer of more than 4300 digits
        raise _Unreadable("the body has a number with too many digits") from None
    if not isinstance(value, dict):
        raise _Unreadable("the body must be one JSON object")
    if len(value) > _FIELDS_MAX:
        raise _Unreadable(f"the body has {len(value)} fields, at most {_FIELDS_MAX} are read")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Unreadable(f"the body has `{name}` twice")
        found[name] = value
    return found


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _Unreadable(f"the body has a number that nobody can hold: {text[:40]}") from None


def _constant(text: str) -> Decimal:
    raise _Unreadable(f"the body has `{text}`, which is not JSON")


def _contract(request: Mapping[str, Any], contracts: Mapping[str, Contract]) -> Contract | Refused:
    model = request.get("model")
    if "model" not in request:
        return refused(400, "`model` is required")
    if not isinstance(model, str):
        return refused(400, "`model` must be a string")
    if model in contracts:
        return contracts[model]
    closest = did_you_mean(model, contracts) if len(model) <= 100 else None
    hint = f"; did you mean `{closest}`?" if closest else ""
    return refused(400, f"`model` has no value `{model}`{hint}")


def _pictures_name(contract: Contract) -> str | None:
    return next((field.name for field in contract.fields if field.kind == "pictures"), None)


def _sentence(fault: Fault) -> str:
    return f"{fault.message}; {fault.hint}" if fault.hint else fault.message


def _pictures(
    request: Mapping[str, Any], contract: Contract, limits: PictureLimits, *, decode: bool
) -> list[tuple[Image.Image, str]]:
    """Every picture, upright sRGB if `decode`, with the digest of its file; raises _Unreadable (C7–C9, U2)."""
    name = _pictures_name(contract)
    assert name is not None
    if name not in request:
        raise _Unreadable(f"`{name}` is required")
    items = request[name]
    if not isinstance(items, list) or len(items) != limits.count:
        raise _Unreadable(f"`{name}` must be an array of exactly {limits.count} item")
    return [
        _picture(_url(item, f"{name}[{index}]"), f"`{name}[{index}].image_url.url`", limits, decode)
        for index, item in enumerate(items)
    ]


def _picture(url: str, where: str, limits: PictureLimits, decode: bool) -> tuple[Image.Image, str]:
    media_type, data = _data_url(url, where, limits)
    found = enlarge.media_type_of(data)
    if found != media_type:
        raise _Unreadable(f"{where} says {media_type}, but its bytes are {found or 'no picture that is known'}")
    try:
        image = enlarge.opened(data, media_type)
        fault = limits.fault(*image.size)
        if fault:
            raise _Unreadable(f"{where} is unsuitable: {fault}")
        if enlarge.is_animated(image):
            raise _Unreadable(f"{where} is animated: one picture is wanted, not frames")
        return enlarge.decoded(image) if decode else image, hashlib.sha256(data).hexdigest()
    except enlarge.PictureError as error:
        raise _Unreadable(f"{where} is not a usable picture: {error}") from None


def _url(item: object, name: str) -> str:
    """The URL inside one item, whose shape is exactly `{"type": "image_url", "image_url": {"url": …}}` (C8)."""
    if not isinstance(item, dict):
        raise _Unreadable(f"`{name}` must be an object")
    _only(item, ("type", "image_url"), name)
    if item["type"] != "image_url":
        raise _Unreadable(f"`{name}.type` must be `image_url`")
    inner = item["image_url"]
    if not isinstance(inner, dict):
        raise _Unreadable(f"`{name}.image_url` must be an object")
    _only(inner, ("url",), f"{name}.image_url")
    if not isinstance(inner["url"], str):
        raise _Unreadable(f"`{name}.image_url.url` must be a string")
    return inner["url"]


def _only(found: Mapping[str, object], wanted: tuple[str, ...], name: str) -> None:
    for key in wanted:
        if key not in found:
            raise _Unreadable(f"`{name}.{key}` is required")
    for key in found:
        if key not in wanted:
            raise _Unreadable(f"`{name}` has no field `{key}`")


def _data_url(url: str, where: str, limits: PictureLimits) -> tuple[str, bytes]:
    head, _, payload = url.partition(",")
    scheme, _, kind = head.partition(":")
    media_type, _, encoding = kind.partition(";")
    if scheme != "data" or encoding != "base64":
        raise _Unreadable(f"{where} must be a data URL, `data:image/png;base64,…`: pictures are sent inline")
    if media_type not in limits.media_types:
        accepted = ", ".join(limits.media_types)
        raise _Unreadable(f"{where} declares the media type `{media_type}`; accepted: {accepted}")
    try:
        return media_type, pybase64.b64decode(payload, validate=True)
    except ValueError:  # binascii.Error, or characters that are not ASCII
        raise _Unreadable(f"{where} is not strict base64") from None
