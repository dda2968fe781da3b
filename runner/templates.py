"""Text with `{placeholders}` and `{file:…}` includes: what is wrong with it, where, and filling it in."""

import errno
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.declared import PROBLEMS_MAX, is_path, real, shown_path
from runner.diagnostics import Place, Problem, did_you_mean, keys_in
from runner.tomlfile import NotRegular, place_in, read_regular

TEXT_BYTES_MAX = 64 * 1024  # of one text file; the longest prompt a model takes has a quarter of that
INCLUDES_MAX = 100

_PART = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")


class TextFault(Exception):
    """A text file cannot be used; the message ends a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class Text:
    """A template and where it stands: `folder` is what its includes are relative to, `place` finds a part of it."""

    text: str
    folder: Path
    place: Callable[[str], Place]


def read_text(path: Path, *, links: bool = True) -> str:
    """The text of a file without its last line end. Raises TextFault. `links`: whether a symbolic link is followed."""
    try:
        raw = read_regular(path, TEXT_BYTES_MAX + 1, links=links)
    except (NotRegular, IsADirectoryError):
        raise TextFault("is not a file") from None
    except (FileNotFoundError, NotADirectoryError):
        raise TextFault("does not exist") from None
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise TextFault("is a symbolic link, which is not followed") from None
        raise TextFault(f"cannot be read: {error.strerror or error}") from None
    if len(raw) > TEXT_BYTES_MAX:
        raise TextFault(f"is larger than {TEXT_BYTES_MAX // 1024} KiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextFault(f"is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}") from None
    return text.removesuffix("\n").removesuffix("\r")


def from_file(path: Path, shown: str) -> Text:
    """The template that a file holds. `shown` is its path for messages. Raises TextFault."""
    # What the path leads to was found inside of the project; the last step cannot lead out of it any more.
    text = read_text(real(path), links=False)

    def place(part: str) -> Place:
        return place_in(text, shown, max(0, text.find(part)), len(part))

    return Text(text, path.parent, place)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every placeholder filled in and `{{` `}}` as single braces; it must have no faults."""

    def one(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else values[match[1]]

    return _PART.sub(one, template)


def placeholders(template: str) -> set[str]:
    """The names of the placeholders that a template has."""
    return {match[1] for match in _PART.finditer(template) if match[1] is not None}


def faults(text: Text, known: Collection[str]) -> Iterator[Problem]:
    """Unknown placeholders and lone braces."""
    for match in _PART.finditer(text.text):
        yield from _fault(text, match, known)


def expanded(
    text: Text, known: Collection[str], root: Path, chain: tuple[Path, ...] = (), *, included: set[str] | None = None
) -> tuple[str, list[Problem]]:
    """The template with its includes put in, and everything wrong with it or with them.

    `chain` is the file that the text stands in, if it is a text file. Only files under `root` can be included.
    `included`: where the project's paths of those that were are added.
    """
    expansion = _Expansion(known, real(root), set() if included is None else included)
    return expansion.run(text, tuple(real(path) for path in chain)), expansion.problems


def _fault(text: Text, match: re.Match[str], known: Collection[str]) -> Iterator[Problem]:
    part, name = match[0], match[1]
    if part in ("{{", "}}") or name in known:
        return
    if name is None:
        rest = text.text[match.start() : match.start() + 12].split("\n")[0]
        message = f"`{part}` stands alone; placeholders are such as `{{stem}}`"
        place = text.place(rest)
        yield Problem("lone-brace", message, place, hint=f"for a brace in the text, write `{part}{part}`")
        return
    closest = did_you_mean(name, known)
    listed = ", ".join(f"`{{{word}}}`" for word in known)
    yield Problem(
        "unknown-placeholder",
        f"there is no placeholder `{part}`",
        text.place(part),
        label=f"did you mean `{{{closest}}}`?" if closest else None,
        hint=None if closest else f"known: {listed}; for braces in the text, write `{{{{` and `}}}}`",
    )


@dataclass
class _Expansion:
    known: Collection[str]
    root: Path
    included: set[str]
    problems: list[Problem] = field(default_factory=list)
    includes: int = 0

    def run(self, text: Text, chain: tuple[Path, ...]) -> str:
        parts: list[str] = []
        end = 0
        for match in _PART.finditer(text.text):
            if len(self.problems) >= PROBLEMS_MAX:
                break  # nobody reads more, and each takes a while to place
            parts.append(text.text[end : match.start()])
            end = match.end()
            if match[1] is not None and match[1].startswith("file:"):
                parts.append(self._include(text, match[0], match[1].removeprefix("file:").strip(), chain))
            else:
                self.problems += _fault(text, match, self.known)
                parts.append(match[0])
        return "".join([*parts, text.text[end:]])

    def _include(self, text: Text, part: str, name: str, chain: tuple[Path, ...]) -> str:
        place = text.place(part)
        if not is_path(name):
            self._found("missing-prompt-file", f"`{part}` names no file", place)
            return ""
        path = real(text.folder / name)
        shown = shown_path(path, self.root)
        if not path.is_relative_to(self.root):
            self._found("outside-project", f"`{name}` is outside the project, so it is not read", place)
        elif path in chain:
            circle = " → ".join(shown_path(at, self.root) for at in (*chain[chain.index(path) :], path))
            self._found("circular-prompt", f"prompt files include each other in a circle: {circle}", place)
        elif self.includes == INCLUDES_MAX:
            self._found("too-many-includes", f"the prompt includes more than {INCLUDES_MAX} files", place)
        else:
            self.includes += 1
            self.included.add(shown)
            try:
                included = from_file(path, shown)
            except TextFault as fault:
                self._found("missing-prompt-file", f"`{shown}` {fault}", place)
                return ""
            self.problems += key_problems(included)
            return self.run(included, (*chain, path))
        return ""

    def _found(self, code: str, message: str, place: Place) -> None:
        self.problems.append(Problem(code, message, place))


def key_problems(text: Text) -> Iterator[Problem]:
    """Everything in a text file that looks like a workspace key: it would be sent as part of the prompt."""
    for start, length in keys_in(text.text):
        place = text.place(text.text[start : start + length])
        yield Problem(
            "key-in-file",
            "this looks like a workspace key, and would be sent as part of the prompt",
            place,
            hint="remove it, and have it revoked",
        )
