"""Money: whole micro-units (10⁻⁶) of one currency, held as int. Exact; no float, no Decimal of foreign text.

Names end in `_micros`. A workspace has exactly one currency, so amounts of one workspace always add up;
amounts of different currencies are never added.
"""

import re

MICROS_PER_UNIT = 1_000_000

# The most that can be written down, here and in an answer: nine digits before the point (contract B, Amounts).
LIMIT_MICROS = 10**9 * MICROS_PER_UNIT

_GRAMMAR = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.([0-9]{1,12}))?", re.ASCII)
_TEXT_LENGTH_MAX = 24


class AmountError(ValueError):
    """The text is not an amount; the message says what was found and what is expected."""


def billed(value: object) -> int | None:
    """The amount an answer states, in micro-units; None when it is unreadable (contract C19 and B, Amounts).

    Only a string of the strict grammar counts: no sign, exponent, underscore, white space or other digits.
    Beyond six decimals it rounds up, so that what we book is never less than what was billed.
    """
    if not isinstance(value, str) or len(value) > _TEXT_LENGTH_MAX:
        return None
    match = _GRAMMAR.fullmatch(value)
    if match is None:
        return None
    whole, fraction = match[1], match[2] or ""
    micros = int(whole) * MICROS_PER_UNIT + int(fraction[:6].ljust(6, "0"))
    return micros + 1 if fraction[6:].strip("0") else micros


def declared(value: object) -> int:
    """The amount a person wrote in a settings file, recipe or argument, in micro-units.

    Stricter than `billed`: more than six decimals are refused, not rounded, because a person meant them.
    Raises AmountError.
    """
    if not isinstance(value, str):
        raise AmountError(f'money is written as a string, such as "5.00"; found {_kind(value)}')
    match = _GRAMMAR.fullmatch(value) if len(value) <= _TEXT_LENGTH_MAX else None
    if match is None:
        raise AmountError(f'expected an amount such as "5.00", found "{_shortened(value)}"')
    if len(match[2] or "") > 6:
        raise AmountError(f'at most six decimals can be billed, found "{value}"')
    micros = billed(value)
    assert micros is not None
    return micros


def exact(micros: int) -> str:
    """The amount with all six decimals, as in the ledger, in JSON and in reports: `0.975000`."""
    sign = "-" if micros < 0 else ""
    whole, fraction = divmod(abs(micros), MICROS_PER_UNIT)
    return f"{sign}{whole}.{fraction:06d}"


def short(micros: int) -> str:
    """The amount with at least three decimals and no more than needed, for a table whose heading has the unit."""
    text = exact(micros)
    return text[:-3] + text[-3:].rstrip("0")


def show(micros: int, currency: str) -> str:
    """The same with its unit, for a message: `0.700 USD`."""
    return f"{short(micros)} {currency}"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    return {"int": "an integer", "Decimal": "a decimal number", "float": "a decimal number"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
