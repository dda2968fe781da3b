"""Problems: what is wrong, where, what was found, what to do next; and the one way they are shown."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from runner.errors import ExitCode, OmixaError


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a text file. `line` and `column` count from 1; None when only the file is known.

    `length` is the number of characters the carets underline; `source` the text of the line.
    """

    path: str
    line: int | None = None
    column: int | None = None
    length: int = 1
    source: str | None = None


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


class Problems(OmixaError):
    """All problems found, at once. `problems` is never empty and keeps the order of the files."""

    exit_code = ExitCode.INVALID

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        super().__init__(render(problems))
        self.problems = tuple(problems)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The closest known name, or None when nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def render(problems: Iterable[Problem]) -> str:
    """The problems as text, one block each, separated by an empty line; no trailing newline."""
    return "\n\n".join(_block(problem) for problem in problems)


def _block(problem: Problem) -> str:
    lines = [f"{problem.severity}[{problem.code}]: {problem.message}"]
    place = problem.place
    if place is not None:
        where = ":".join(str(part) for part in (place.path, place.line, place.column) if part is not None)
        lines.append(f"  --> {where}")
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
    source = place.source
    # A long line is cut around the column, so that the carets stay on the screen.
    cut = max(0, column - 1 - _EXCERPT_WIDTH // 2) if len(source) > _EXCERPT_WIDTH else 0
    shown = source[cut : cut + _EXCERPT_WIDTH]
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown.replace("\t", " "))
    start = column - 1 - cut
    carets = "^" * max(1, min(place.length, len(shown) - start))
    number = str(place.line)
    gutter = " " * max(2, len(number))
    return [
        f"{gutter} |",
        f"{number.ljust(len(gutter))} | {shown}".rstrip(),
        f"{gutter} | {' ' * start}{carets}{' ' + label if label else ''}",
    ]
