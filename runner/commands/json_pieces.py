"""JSON that is written while it is made: as `json.dumps(value, indent=2)`, with no list held whole."""

from collections.abc import Iterable, Iterator, Mapping
from json import dumps
from typing import Any


def json_pieces(value: Any, indent: int = 0) -> Iterator[str]:
    """The text of a value in pieces. Whatever can be gone through and is no text and no mapping is an array."""
    if isinstance(value, Mapping):
        named = (((f"{dumps(name)}: "), one) for name, one in value.items())
        yield from _filled("{", named, "}", indent)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        yield from _filled("[", (("", one) for one in value), "]", indent)
    else:
        yield dumps(value)


def _filled(begin: str, values: Iterable[tuple[str, Any]], end: str, indent: int) -> Iterator[str]:
    inner = "\n" + " " * (indent + 2)
    between = begin
    for name, value in values:
        yield f"{between}{inner}{name}"
        yield from json_pieces(value, indent + 2)
        between = ","
    yield begin + end if between == begin else "\n" + " " * indent + end


def print_json(value: Any) -> None:
    """Write a value to stdout, and a newline."""
    import sys

    held: list[str] = []
    for piece in json_pieces(value):
        held.append(piece)
        if len(held) >= 10_000:
            sys.stdout.write("".join(held))
            held.clear()
    sys.stdout.write("".join(held) + "\n")
