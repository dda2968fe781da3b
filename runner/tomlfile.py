"""TOML text, its data, and where each key stands. Hostile files are refused before they are parsed."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.diagnostics import Place, Problem, Problems

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

BYTES_MAX = 1024 * 1024
KEY_PARTS_MAX = 32
DEPTH_MAX = 32
WORD_LENGTH_MAX = 256  # a bare word or number; Python refuses to read integers of thousands of digits anyway
PARTS_MAX = 20_000  # keys and values in one file; keeps the parsers, which take microseconds for each, under a second

# The way to a value: keys of tables and positions in arrays, such as ("sources", 0, "folder").
Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class TomlFile:
    """One parsed file. `shown` is the path for messages: relative to the project, with forward slashes.

    Decimals in `data` are `decimal.Decimal`, exactly as written. `raw` is the file itself, of which `text` is what its
    bytes say; empty where the text was not read from a file.
    """

    path: Path
    shown: str
    text: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    raw: bytes = field(default=b"", repr=False)

    def place(self, loc: Loc, *, value: bool = False) -> Place:
        """Where the key at `loc` stands, or its value. Falls back to the nearest known parent, then to the file."""
        while loc:
            spot = self._map.spots.get(loc)
            if spot is not None:
                # An item of an array has no key, and a table in [brackets] no value of its own.
                return self._at(spot.value or spot.key if value else spot.key or spot.value)
            loc, value = loc[:-1], False
        return Place(self.shown)

    def place_within(self, loc: Loc, part: str) -> Place:
        """Where `part` stands inside the value at `loc`; the whole value when it is not written there literally."""
        spot = self._map.spots.get(loc)
        node = spot.value if spot is not None else None
        if node is not None:
            start = self._source.find(part.encode(), node.start_byte, node.end_byte)
            if start >= 0:
                return self.place_at(len(self._source[:start].decode()), len(part))
        return self.place(loc, value=True)

    def place_at(self, offset: int, length: int = 1) -> Place:
        """The place of a stretch of the text, both in characters. A stretch over several lines ends with the first."""
        return place_in(self.text, self.shown, offset, length)

    def twice(self) -> list[tuple[str, Place, Place]]:
        """Keys and tables that are written twice: name, where first, where again."""
        return [(name, self._at(first), self._at(again)) for name, first, again in self._map.twice]

    def _at(self, node: "Node | None") -> Place:
        assert node is not None
        # tree-sitter counts bytes; people and editors count characters.
        offset = len(self._source[: node.start_byte].decode())
        return self.place_at(offset, len(self._source[node.start_byte : node.end_byte].decode()))

    @cached_property
    def _source(self) -> bytes:
        return self.text.encode()

    @cached_property
    def _map(self) -> "_Map":
        # The tree is kept: its nodes are only views of it.
        return _Map(tree_of(self.text)).read()


def tree_of(text: str) -> "Tree":
    """The syntax of a text, with every comment and bracket; nodes count bytes, and rows from 0."""
    # Imported here: most files have nothing to report, and the grammar takes a while to load.
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language())).parse(text.encode())


def comments(text: str) -> list[str]:
    """Every comment of a valid TOML text, in order, each from its `#` to the end of its line.

    Found without the syntax tree, so that one can be held against the other.
    """
    return [token[0] for token in _TOKEN.finditer(text) if token.lastgroup == "comment"]


def read(path: Path, shown: str, *, root: Path | None = None) -> TomlFile:
    """Read one file, exactly. `shown` is its path for messages; with `root`, no link is followed out of that folder.

    Raises Problems when it cannot be read, is not UTF-8, is not TOML, or is larger or deeper than any settings
    file or recipe needs to be (the limits above); those are found in linear time, before anything is parsed.
    """
    return from_bytes(_raw(path, shown, root), shown, path)


def from_bytes(raw: bytes, shown: str, path: Path) -> TomlFile:
    """As `read`, of bytes that came from elsewhere. More than BYTES_MAX of them need not be given."""
    if len(raw) > BYTES_MAX:
        message = f"the file is larger than {BYTES_MAX // 1024} KiB, more than any recipe needs"
        raise Problems([Problem("file-too-large", message, Place(shown))])
    text = _text(raw, shown)
    hostile = _hostile(text, shown)
    if hostile is not None:
        raise Problems([hostile])
    return TomlFile(path, shown, text, _parsed(path, shown, text), raw)


class NotRegular(OSError):
    """It is a named pipe, a socket or a device: it would be waited for, or never end."""


def read_regular(path: Path, bytes_max: int, *, links: bool) -> bytes:
    """The first bytes of a regular file. `links`: whether a symbolic link is followed; otherwise it is ELOOP.

    Raises OSError. The kind is asked of the open file, so that it cannot be exchanged between check and reading.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
    try:
        kind = os.fstat(handle).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # of a folder, the reading itself says so
            raise NotRegular
        blocks, left = [], bytes_max
        while left and (block := os.read(handle, left)):
            blocks.append(block)
            left -= len(block)
        return b"".join(blocks)
    finally:
        os.close(handle)


def place_in(text: str, shown: str, offset: int, length: int = 1) -> Place:
    """The place of a stretch of any text, both in characters; it ends with its first line."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    source = text[start : end if end >= 0 else len(text)].rstrip("\r")
    column = offset - start + 1
    return Place(
        path=shown,
        line=text.count("\n", 0, start) + 1,
        column=column,
        length=max(1, min(length, len(source) - column + 1)),
        source=source,
    )


def _raw(path: Path, shown: str, root: Path | None) -> bytes:
    within = path
    if root is not None:
        # A recipe under review must not make a message, or a prompt, of another file of this machine.
        within = Path(os.path.realpath(path))
        if not within.is_relative_to(os.path.realpath(root)):
            message = f"`{shown}` is a link to a file outside the project, so it is not read"
            raise Problems([Problem("outside-project", message, Place(shown))])
    try:
        return read_regular(within, BYTES_MAX + 1, links=root is None)
    except NotRegular:
        raise Problems([Problem("unreadable-file", f"`{shown}` is not a file", Place(shown))]) from None
    except OSError as error:
        message = f"`{shown}` cannot be read: {error.strerror or error}"
        raise Problems([Problem("unreadable-file", message, Place(shown))]) from None


def _text(raw: bytes, shown: str) -> str:
    try:
        # A byte order mark, as some editors write it, is no part of the text.
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Counted in what was decoded, so a byte order mark (stripped above) moves nothing.
        good = raw[: error.start].decode("utf-8-sig")
        rest = raw[error.start : error.start + 80].decode("utf-8", errors="replace")
        place = place_in(good + rest, shown, len(good))
        message = f"the file is not UTF-8: byte 0x{raw[error.start]:02x} is no character"
        hint = "save it as UTF-8 in your editor"
        raise Problems([Problem("not-utf-8", message, place, hint=hint)]) from None


# Strings are skipped whole, in one step without backtracking (`*+`), so that the scan stays linear.
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*+)
      | (?P<string>\"\"\"(?:[^"\\]|\\.|"(?!""))*+"{3,5} | '''(?:[^']|'(?!''))*+'{3,5}
                  | (?!\"\"\")"(?:[^"\\\n]|\\[^\n])*+" | (?!''')'[^'\n]*+')
      | (?P<open>[\[{]) | (?P<close>[\]}]) | (?P<dot>\.) | (?P<end>[=,]|\n\s*+) | (?P<word>[^\s"'\#\[\]{}.=,]++)
      | (?P<unclosed>["'])""",
    re.VERBOSE | re.DOTALL,
)


def _hostile(text: str, shown: str) -> Problem | None:
    """What makes the text dangerous to parse, or None. One pass; does not need the text to be valid TOML."""
    depth = dots = parts = 0
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "unclosed":
            return None  # the parser stops here too, with a message of its own
        if kind == "open":
            depth, dots = depth + 1, 0
        elif kind == "close":
            depth, dots = max(0, depth - 1), 0
        elif kind == "end":
            dots = 0
        elif kind == "dot":
            dots += 1
        parts += kind in ("open", "word", "string")
        found = None
        if depth > DEPTH_MAX:
            found = ("nested-too-deep", f"arrays and tables are nested more than {DEPTH_MAX} deep here")
        elif dots >= KEY_PARTS_MAX:
            found = ("key-too-deep", f"this key has more than {KEY_PARTS_MAX} parts")
        elif kind == "word" and len(token[0]) > WORD_LENGTH_MAX:
            found = (
                "word-too-long",
                f"this word or number has {len(token[0])} characters, more than {WORD_LENGTH_MAX}",
            )
        elif parts > PARTS_MAX:
            found = ("too-many-values", f"the file has more than {PARTS_MAX} keys and values")
        if found is not None:
            code, message = found
            return Problem(code, message, place_in(text, shown, token.start()))
    return None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal can hold; every limit then says what it accepts
        return Decimal("-Infinity" if text.startswith("-") else "Infinity")


def _parsed(path: Path, shown: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=_decimal)
    except tomllib.TOMLDecodeError as error:
        raise Problems([_syntax_problem(TomlFile(path, shown, text, {}), str(error))]) from None


# What tomllib says → what we say, and the way out.
_SYNTAX: dict[str, tuple[str, str | None]] = {
    "Invalid value": ("this is not a TOML value", 'text and money stand in quotes: "…"'),
    "Invalid statement": ("this is neither `key = value` nor a `[table]`", None),
    "Expected '=' after a key in a key/value pair": ("expected `=` after the key", None),
    "Expected newline or end of document after a statement": (
        "expected the end of the line after the value",
        'text and money stand in quotes: "…"',
    ),
    "Expected ']' at the end of a table declaration": ("expected `]` after the table's name", None),
    "Expected ']]' at the end of an array declaration": ("expected `]]` after the table's name", None),
    "Illegal character '\\n'": ("the string is not closed on its line", None),
    "Unterminated string": ("the string is never closed", None),
    "Unclosed array": ("the array is not closed, or a comma is missing", None),
    "Unclosed inline table": ("the inline table is not closed, or a comma is missing", None),
    "Unescaped '\\' in a string": (
        "`\\` starts an escape in this string",
        "write `\\\\`, or use single quotes: '…'",
    ),
    "Invalid initial character for a key part": ("expected a key here", None),
    "Invalid date or datetime": ("this is not a date that exists", None),
}

_DUPLICATES = (
    "Cannot overwrite a value",
    "Cannot declare",
    "Cannot redefine",
    "Cannot mutate",
    "Duplicate inline table",
)


def _syntax_problem(file: TomlFile, error: str) -> Problem:
    said, line, column = _where(error, file.text)
    offset = _offset(file.text, line, column)
    if said.startswith(_DUPLICATES):
        for name, first, again in file.twice()[:1]:
            label = f"first written in line {first.line}"
            return Problem("duplicate-key", f"{name} is written twice", again, label)
        return Problem("duplicate-key", "what stands here was already written above", file.place_at(offset))
    if said.startswith("Unescaped"):  # said of the character after it
        offset = max(0, file.text.rfind("\\", 0, offset))
    known = next((text for start, text in _SYNTAX.items() if said.startswith(start)), None)
    message, hint = known or (said[:1].lower() + said[1:], None)
    return Problem("toml-syntax", message, file.place_at(offset), hint=hint)


def _where(error: str, text: str) -> tuple[str, int, int]:
    """Message, line and column of a tomllib error; the end of the document is its last line with something on it."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", error, re.DOTALL)
    if match is None:
        return error, 1, 1
    if match[2]:
        return match[1], int(match[2]), int(match[3])
    kept = text.rstrip()
    return match[1], kept.count("\n") + 1, len(kept) - kept.rfind("\n")


def _offset(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return min(start + column - 1, len(text))


@dataclass
class _Spot:
    key: "Node | None"
    value: "Node | None"
    declared: bool = False  # by a [header] or a dotted key, and not only passed through


class _Map:
    """Where each key of a tree stands. Also notes what is written twice, which a parser would refuse."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        self.spots: dict[Loc, _Spot] = {}
        self.twice: list[tuple[str, Node, Node]] = []
        self._counts: dict[Loc, int] = {}  # of each array of tables, how many so far

    def read(self) -> "_Map":
        for node in self.tree.root_node.named_children:
            if node.type == "pair":
                self._pair((), node)
            elif node.type in ("table", "table_array_element"):
                base = self._header(node)
                for child in node.named_children:
                    if child.type == "pair":
                        self._pair(base, child)
        return self

    def _header(self, node: "Node") -> Loc:
        keys = list(_keys(node.named_children[0])) if node.named_children else []
        loc: Loc = ()
        for name, key in keys[:-1]:
            loc = self._latest((*loc, name))
            self.spots.setdefault(loc, _Spot(key, None))
        for name, key in keys[-1:]:
            loc = (*loc, name)
            if node.type == "table_array_element":
                position = self._counts.get(loc, 0)
                self._counts[loc] = position + 1
                self.spots.setdefault(loc, _Spot(key, None))
                loc = (*loc, position)
                self.spots[loc] = _Spot(key, None, declared=True)
            else:
                self._declare(loc, key)
        return loc

    def _declare(self, loc: Loc, key: "Node") -> None:
        spot = self.spots.setdefault(loc, _Spot(key, None))
        if spot.key is not None and spot.declared:
            self.twice.append((f"the table `[{_dotted(loc)}]`", spot.key, key))
        spot.declared = True

    def _pair(self, base: Loc, node: "Node") -> None:
        if len(node.named_children) < 2:
            return  # a syntax error, reported elsewhere
        key_node, value = node.named_children[:2]  # a comment on the line is a third
        keys = list(_keys(key_node))
        loc = base
        for name, key in keys[:-1]:
            loc = (*loc, name)
            self.spots.setdefault(loc, _Spot(key, None, declared=True))
        for name, key in keys[-1:]:
            loc = (*loc, name)
            spot = self.spots.get(loc)
            if spot is not None and spot.key is not None:
                self.twice.append((f"`{_dotted(loc)}`", spot.key, key))
            else:
                self.spots[loc] = _Spot(key, value, declared=True)
        self._inside(loc, value)

    def _inside(self, loc: Loc, value: "Node") -> None:
        if value.type == "inline_table":
            for child in value.named_children:
                if child.type == "pair":
                    self._pair(loc, child)
        elif value.type == "array":
            items = [child for child in value.named_children if child.type != "comment"]
            for position, item in enumerate(items):
                self.spots.setdefault((*loc, position), _Spot(None, item))
                self._inside((*loc, position), item)

    def _latest(self, loc: Loc) -> Loc:
        """`[sources.x]` after `[[sources]]` belongs to the latest of them."""
        count = self._counts.get(loc)
        return loc if count is None else (*loc, count - 1)


def _dotted(loc: Loc) -> str:
    return ".".join(part for part in loc if isinstance(part, str))


def _keys(node: "Node") -> Iterator[tuple[str, "Node"]]:
    """The parts of a key: `a."b c"` → a, b c."""
    if node.type == "dotted_key":
        for child in node.named_children:
            yield from _keys(child)
    elif node.type in ("bare_key", "quoted_key"):
        text = (node.text or b"").decode()
        yield (text if node.type == "bare_key" else _unquoted(text)), node


def _unquoted(text: str) -> str:
    try:
        return str(tomllib.loads(f"x = {text}")["x"])
    except tomllib.TOMLDecodeError:
        return text
