"""Problems: what is wrong, where, what was found, what to do next; and the one way they are shown."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from runner.errors import ExitCode, OmixaError


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a text file. `line` and `column` count characters from 1; None when only the file is known.

    `length` is the number of characters the carets underline; `source` the text of the line, with keys masked.
    """

    path: str
    line: int | None = None
    column: int | None = None
    length: int = 1
    source: str | None = None

    def __post_init__(self) -> None:
        if self.source is not None:
            object.__setattr__(self, "source", masked(self.source))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `label` stands beside the carets, `hint` on a line of its own below.

    `code` is stable and documented, such as `unknown-option`; `place` is None when no file is to blame.
    """

    code: str
    message: str
    place: Place | None = None
    label: str | None = None
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        # Messages quote what was found, so this is where a key or a terminal escape would slip out.
        for name in ("message", "label", "hint"):
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, _one_line(masked(text)))


class Problems(OmixaError):
    """All problems found, at once. `problems` is never empty and keeps the order of the files."""

    exit_code = ExitCode.INVALID

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        super().__init__(render(problems))
        self.problems = tuple(problems)


class ApprovalRefused(Problems):
    """What must be approved is not, or not any more; every reason at once. Nothing was sent."""

    exit_code = ExitCode.APPROVAL


_KEY_LIKE = re.compile(r"(omx_(?:live|test)_)([A-Za-z0-9_-]+)")


def keys_in(text: str) -> list[tuple[int, int]]:
    """Where the text has what looks like a workspace key: start and length of each, in characters."""
    return [(match.start(), len(match[0])) for match in _KEY_LIKE.finditer(text)]


def masked(text: str) -> str:
    """The text with everything that looks like a workspace key starred out, and as long as before."""
    return _KEY_LIKE.sub(lambda match: match[1] + "*" * len(match[2]), text)


_NAME_LENGTH_MAX = 200


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The closest known name, or None when nothing is close. `cutoff`: how alike they must be, up to 1.

    Only the first thousand names of a line's length are looked at: comparing takes the product of all lengths.
    """
    if len(name) > _NAME_LENGTH_MAX:
        return None
    short = islice((word for word in known if len(word) <= _NAME_LENGTH_MAX), 1000)
    close = difflib.get_close_matches(name, list(short), n=1, cutoff=cutoff)
    return close[0] if close else None


def render(problems: Iterable[Problem]) -> str:
    """The problems as text, one block each, separated by an empty line; no trailing newline."""
    return "\n\n".join(_block(problem) for problem in problems)


def _block(problem: Problem) -> str:
    lines = [f"{problem.severity}[{problem.code}]: {problem.message}"]
    place = problem.place
    if place is not None:
        where = ":".join(str(part) for part in (place.path, place.line, place.column) if part is not None)
        lines.append(f"  --> {_one_line(where)}")
        if place.line is not None and place.source is not None:
            lines += _excerpt(place, problem.label)
        elif problem.label:
            lines.append(f"   = {problem.label}")
    if problem.hint:
        lines.append(f"   = help: {problem.hint}")
    return "\n".join(lines)


_EXCERPT_WIDTH = 100


def _excerpt(place: Place, label: str | None) -> list[str]:
    assert place.source is not None
    column = place.column or 1
    source = _printable(place.source.replace("\t", " "))
    # A long line is cut around the column, so that the carets stay on the screen.
    cut = max(0, column - 1 - _EXCERPT_WIDTH // 2) if len(source) > _EXCERPT_WIDTH else 0
    shown = source[cut : cut + _EXCERPT_WIDTH]
    before, found = shown[: column - 1 - cut], shown[column - 1 - cut :][: place.length]
    carets = "^" * max(1, _width(found))
    if cut:
        shown = "…" + shown[1:]
    if cut + _EXCERPT_WIDTH < len(source):
        shown = shown[:-1] + "…"
    number = str(place.line)
    gutter = " " * max(2, len(number))
    return [
        f"{gutter} |",
        f"{number.ljust(len(gutter))} | {shown}".rstrip(),
        f"{gutter} | {' ' * _width(before)}{carets}{' ' + label if label else ''}",
    ]


def _width(text: str) -> int:
    """Columns on a terminal: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


_MESSAGE_LENGTH_MAX = 2000  # three long paths fit


def _one_line(text: str) -> str:
    text = _printable(text)
    return text if len(text) <= _MESSAGE_LENGTH_MAX else text[: _MESSAGE_LENGTH_MAX - 1] + "…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
