"""Scripted faults: what can go wrong at a paid endpoint, on demand and repeatable.

A fault is written as `word` and `key=value` parts with commas between them, such as `status=429,retry_after=1,first=3`.
Some parts say what happens, others to which requests. Requests are numbered from 1 in the order in which they arrive.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from runner import money
from runner.diagnostics import did_you_mean
from runner.errors import UsageError


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and for which requests. None or False: this part goes right, or does not select.

    Something happens when all selectors hold: every N-th request, the first N, the N-th alone, a `rate` of 0–1.
    `bill_micros` is billed and said; `bill_text` is only said. `billed` None: a status or an error is not billed,
    all else is. `cut_at` counts bytes of the whole answer, status line and headers included.
    """

    status: int | None = None
    retry_after: str | None = None
    moderated: bool = False
    unpaid: bool = False
    error_in_200: bool = False
    body: str | None = None
    delay_ms: int = 0
    cut_at: int | None = None
    close_before_read: bool = False
    close_after_read: bool = False
    bill_micros: int | None = None
    bill_text: str | None = None
    usage: str | None = None
    picture: str | None = None
    billed: bool | None = None
    every: int | None = None
    first: int | None = None
    nth: int | None = None
    rate: Decimal | None = None

    @property
    def error_status(self) -> int | None:
        """The status to answer with instead of a picture; None when the picture is answered."""
        return 403 if self.moderated else 402 if self.unpaid else self.status

    @property
    def only_delays(self) -> bool:
        """Whether the answer itself is left as it is."""
        return all(getattr(self, name) == getattr(NO_FAULT, name) for name in _EFFECTS)

    def billed_micros(self, price_micros: int) -> int | None:
        """What the server bills for an accepted request, or None when it does not bill."""
        by_default = self.error_status is None and not self.error_in_200
        if not (by_default if self.billed is None else self.billed):
            return None
        return price_micros if self.bill_micros is None else self.bill_micros

    def strikes(self, number: int, seed: int, position: int) -> bool:
        """Whether the fault at `position` of the script meets this request; equal seeds always answer alike."""
        if self.every is not None and number % self.every != 0:
            return False
        if self.first is not None and number > self.first:
            return False
        if self.nth is not None and number != self.nth:
            return False
        if self.rate is None:
            return True
        # Drawn from the number, not from a stream, so that the order of the threads does not matter.
        draw = int.from_bytes(hashlib.sha256(f"{seed}:{position}:{number}".encode()).digest()[:8], "big")
        return draw < int(self.rate * 2**64)


NO_FAULT = Fault()


def effect(script: Sequence[Fault], number: int, seed: int) -> Fault:
    """What goes wrong with one request: the first fault that meets it, plus the delays of all others that do."""
    struck = [fault for position, fault in enumerate(script) if fault.strikes(number, seed, position)]
    first = next((fault for fault in struck if not fault.only_delays), NO_FAULT)
    return replace(first, delay_ms=sum(fault.delay_ms for fault in struck))


def parse_fault(text: str) -> Fault:
    """The fault that a person wrote; raises UsageError naming the part that is wrong and what would be right."""
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if key not in _PARTS:
            closest = did_you_mean(key, _PARTS)
            raise UsageError(
                f"fault `{text}`: `{key}` is not a part of a fault",
                f"did you mean `{closest}`?" if closest else f"known parts: {', '.join(_PARTS)}",
            )
        field, reader = _PARTS[key]
        if field in values:
            raise UsageError(f"fault `{text}`: `{key}` stands there twice", "write one `--fault` for each of the two")
        if reader is None and equals:
            raise UsageError(f"fault `{text}`: `{key}` takes no value, found `{value}`", f"write only `{key}`")
        values[field] = True if reader is None else _value(text, key, value, reader)
    fault = Fault(**values)
    _check(text, fault)
    return fault


def _value(text: str, key: str, value: str, reader: Callable[[str], Any]) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise UsageError(f"fault `{text}`: `{key}` {error}, found `{value}`", _EXAMPLES.get(key)) from None


def _check(text: str, fault: Fault) -> None:
    if fault.only_delays and not fault.delay_ms:
        raise UsageError(f"fault `{text}` says when, but not what", "add a part such as `status=500` or `delay_ms=500`")
    endings = [
        name
        for name in ("status", "moderated", "unpaid", "error_in_200", "close_before_read", "close_after_read")
        if getattr(fault, name) not in (None, False)
    ]
    if len(endings) > 1:
        raise UsageError(
            f"fault `{text}`: `{endings[0]}` and `{endings[1]}` exclude each other",
            "one request ends in one way; write one `--fault` for each",
        )
    if fault.retry_after is not None and fault.error_status is None:
        raise UsageError(f"fault `{text}`: `retry_after` needs a status", "write `status=429,retry_after=1`")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and low <= int(text) <= high):
            raise ValueError(f"must be a whole number {low}–{high}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(f'`{word}`' for word in words)}")
        return text

    return read


def _rate(text: str) -> Decimal:
    wanted = "must be a decimal number 0–1, such as `0.1`"
    try:
        rate = Decimal(text)
    except InvalidOperation:
        raise ValueError(wanted) from None
    if not (rate.is_finite() and 0 <= rate <= 1):
        raise ValueError(wanted)
    return rate


def _amount(text: str) -> int:
    try:
        return money.declared(text)
    except money.AmountError:
        raise ValueError("must be an amount such as `0.039`") from None


def _printable(text: str) -> str:
    if not (text and text.isascii() and text.isprintable()):
        raise ValueError("must be printable ASCII text")
    return text


def _said(text: str) -> str:
    return text  # whatever a careless server could say


def _yes(text: str) -> bool:
    return _one_of("yes", "no")(text) == "yes"


_MANY = 10**9

# Part as written → field of Fault, and its reader; None: the word alone.
_PARTS: dict[str, tuple[str, Callable[[str], Any] | None]] = {
    "status": ("status", _whole(300, 599)),
    "retry_after": ("retry_after", _printable),
    "moderated": ("moderated", None),
    "unpaid": ("unpaid", None),
    "error_in_200": ("error_in_200", None),
    "body": ("body", _one_of("html")),
    "delay_ms": ("delay_ms", _whole(0, 3_600_000)),
    "cut_at": ("cut_at", _whole(0, _MANY)),
    "close_before_read": ("close_before_read", None),
    "close_after_read": ("close_after_read", None),
    "bill": ("bill_micros", _amount),
    "bill_text": ("bill_text", _said),
    "usage": ("usage", _one_of("missing", "number")),
    "picture": ("picture", _one_of("missing", "broken", "blurred")),
    "billed": ("billed", _yes),
    "every": ("every", _whole(1, _MANY)),
    "first": ("first", _whole(1, _MANY)),
    "nth": ("nth", _whole(1, _MANY)),
    "rate": ("rate", _rate),
}
_SELECTORS = ("every", "first", "nth", "rate")
# What can happen to an answer. `billed` counts: a picture that is answered and not billed is a fault as well.
_EFFECTS = tuple(field.name for field in fields(Fault) if field.name not in (*_SELECTORS, "delay_ms"))
_EXAMPLES = {
    "status": "for example `status=500,every=10`",
    "rate": "for example `delay_ms=500,rate=0.1`",
    "bill": "for a text that is no amount write `bill_text=…`",
}
