"""Text → HTML. Whatever is not made here is escaped: a name from the ledger is never markup."""

from base64 import b64encode
from html import escape
from pathlib import Path

from runner.diagnostics import masked
from runner.terminal import clean


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


_EMPTY = frozenset({"br", "circle", "img", "input", "line", "link", "meta", "path", "rect"})


def told(value: str) -> str:
    """Text as a reader may see it: on one line, nothing hidden, and what looks like a key starred out."""
    return clean(masked(value))


def element(name: str, /, *inside: str | None, **attributes: str | int | bool | None) -> Markup:
    """An element. `inside`: Markup as it is, other text escaped, None left out.

    An attribute's name may end with `_` (`class_`), and its other `_` are written `-`; None or False leaves it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        words.append(written if value is True else f'{written}="{_text(value)}"')
    if name in _EMPTY:
        return Markup(f"<{' '.join(words)} />")  # the slash ends an element of SVG; on one of HTML it does nothing
    return Markup(f"<{' '.join(words)}>{joined(*inside)}</{name}>")


def joined(*inside: str | None) -> Markup:
    """Several pieces, one behind the other: Markup as it is, other text escaped, None left out."""
    return Markup("".join(part if isinstance(part, Markup) else escape(told(part)) for part in inside if part))


def from_file(path: Path) -> Markup:
    """A style or script of ours, as it stands in a page."""
    return Markup(path.read_text(encoding="utf-8"))


def data_uri(media_type: str, content: bytes) -> Markup:
    """Bytes as an address that holds them, so that nothing has to be fetched."""
    return Markup(f"data:{media_type};base64,{b64encode(content).decode()}")


def _text(value: str | int) -> str:
    if isinstance(value, int | Markup):
        return str(value)
    return escape(told(value))
