"""Plain text for a terminal: tables, and text that cannot steer it. Knows nothing of the rest of the program."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TextIO


def clean(text: str) -> str:
    """The text on one line, with all that could steer a terminal or hide text made visible: `\\x1b`, `\\u202e`, `\\n`.

    What comes from a provider, a file name or a note can hold anything; what is printable stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """The rows as lines of aligned columns, cleaned; no trailing newline. `right`: columns that end at one edge.

    A column is as wide as its longest text, in characters.
    """
    lines = [[clean(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths, right) for line in lines)


def table_lines(
    header: Sequence[str], rows: Callable[[], Iterable[Sequence[str]]], right: Collection[int] = ()
) -> Iterator[str]:
    """As `table`, line by line, of rows that can be made twice: first to see how wide they are, then to be shown."""
    widths = [len(clean(cell)) for cell in header]
    for row in rows():
        for at, cell in enumerate(row):
            if len(cell) > widths[at] or not cell.isprintable():
                widths[at] = max(widths[at], len(clean(cell)))
    yield _aligned([clean(cell) for cell in header], widths, right)
    for row in rows():
        yield _aligned([clean(cell) for cell in row], widths, right)


def _aligned(line: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    cells = [
        cell.rjust(width) if at in right else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def supports_color(stream: TextIO) -> bool:
    """Whether colour may be written: to a terminal that is not `TERM=dumb`, and without `NO_COLOR`."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
