"""How a recipe or omixa.toml is laid out: one order, one spacing; every comment stays, and no value changes."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import ExitCode, OmixaError
from runner.tomlfile import comments, tree_of

if TYPE_CHECKING:
    from tree_sitter import Node

WIDTH = 100  # columns; an array that would end beyond has one item a line
INDENT = 4

# What stands where: the JSON Schema of a table, whose `properties` are in canonical order; None where it has nothing.
Order = Mapping[str, Any] | None


class NotKept(OmixaError):
    """Laying a text out would have lost or changed something: our mistake, and nothing may be written."""

    exit_code = ExitCode.INTERNAL


def laid_out(text: str, order: Order) -> str:
    """The text in canonical order and spacing, proven to say the same: equal data, and the same comments.

    `text` is valid TOML, `order` the schema of the file. Keys that the schema does not know come after those it does,
    in the order they stand in. Line ends stay what the first line's is. Raises NotKept.
    """
    plain = text.replace("\r\n", "\n")
    tree = tree_of(plain)
    if tree.root_node.has_error:
        raise NotKept("its syntax is not understood here, although it is valid TOML")
    after = _File(order).read(tree.root_node).text()
    prove(plain, after)
    return after.replace("\n", "\r\n") if text.partition("\n")[0].endswith("\r") else after


def prove(before: str, after: str) -> None:
    """Raise NotKept unless two texts say the same: equal data, to the spelling of decimals, and the same comments.

    Needs nothing of what lays a text out, so that a mistake there shows here.
    """
    if _exact(_data(before)) != _exact(_data(after)):
        raise NotKept("its values would not be the same")
    if Counter(_comments(before)) != Counter(_comments(after)):
        raise NotKept("its comments would not be the same")


def _data(text: str) -> dict[str, Any]:
    try:
        # Numbers with a point are compared as they are written, not by their value.
        return tomllib.loads(text, parse_float=lambda written: ("decimal", written))
    except tomllib.TOMLDecodeError as error:
        raise NotKept(f"it would not be TOML any more: {error}") from None


def _exact(value: object) -> object:
    """A value that equals another only when both are of one type: `true` is not 1."""
    if isinstance(value, dict):
        return {key: _exact(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    return type(value), value


def _comments(text: str) -> list[str]:
    return [comment.rstrip() for comment in comments(text)]


# --- the parts of a file -------------------------------------------------------------------------------------------


@dataclass
class _Entry:
    """A `key = value` or a `[header]`, and the comments that go where it goes.

    `above` has an empty line between blocks of comments, and at its end where the last does not touch the entry;
    `below` is the block that touches the entry from below and nothing else. `gap`: whether an empty line is before it.
    """

    text: str
    rows: tuple[int, int]
    is_header: bool = False
    beside: str | None = None
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    gap: bool = False

    def lines(self) -> list[str]:
        return [*self.above, f"{self.text} {self.beside}" if self.beside else self.text, *self.below]


@dataclass
class _Section:
    """What is between two headers; `rank` is where it belongs among the others."""

    order: Order
    header: _Entry | None
    rank: tuple[tuple[int, ...], ...] = ()
    pairs: list[tuple[tuple[tuple[int, ...], ...], _Entry]] = field(default_factory=list)

    def lines(self) -> list[str]:
        entries = [entry for _, entry in sorted(self.pairs, key=lambda pair: pair[0])]
        if self.header is not None:
            entries.insert(0, self.header)
        found: list[str] = []
        for number, entry in enumerate(entries):
            first_of_table = number == 0 or (number == 1 and self.header is not None)
            if (entry.gap and not first_of_table) or (number and entries[number - 1].below):
                found.append("")
            found += entry.lines()
        return found


@dataclass
class _Block:
    """Comments on lines of their own, without an empty line between them."""

    comments: list[str]
    rows: tuple[int, int]


class _File:
    """A whole file: what is at its top and its end, and its sections between."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.top: list[str] = []
        self.sections = [_Section(order, None)]
        self.end: list[str] = []
        self._seen: dict[tuple[str | int, ...], int] = {}
        self._counts: dict[tuple[str | int, ...], int] = {}

    def read(self, document: "Node") -> "_File":
        pending: list[_Block] = []
        last: _Entry | None = None
        parts = list(self._parts(document))
        for part, following in zip(parts, [*parts[1:], None], strict=False):
            if isinstance(part, _Entry):
                self._place(part, pending, last)
                pending, last = [], part
            elif last is not None and not pending and _touch(last, part) and not _touch(part, following):
                last.below = part.comments
            else:
                pending.append(part)
        self.end = _joined(pending)
        return self

    def text(self) -> str:
        first, *others = self.sections
        sections = [first, *sorted(others, key=lambda section: section.rank)]
        blocks = [*(section.lines() for section in sections), self.end]
        lines = [line for block in blocks if block for line in ("", *block)]
        return "".join(f"{line}\n" for line in [*self.top, *lines[1:]])

    def _place(self, entry: _Entry, pending: list[_Block], last: _Entry | None) -> None:
        """Give an entry the comments that wait for one."""
        if last is None and pending:
            self.top, pending = _top(pending, entry)
        before = pending[0] if pending else entry
        # An empty line below a header is nobody's, unless it keeps comments away from it.
        is_first = last is None or (last.is_header and not pending)
        entry.gap = not is_first and last is not None and not _touch(last, before)
        entry.above = _joined(pending)
        if pending and not _touch(pending[-1], entry):
            entry.above.append("")

    def _parts(self, document: "Node") -> Iterator[_Entry | _Block]:
        """Headers, pairs and blocks of comments, from top to bottom."""
        block: _Block | None = None
        for node in _flat_nodes(document):
            row = node.start_point.row
            if node.type != "comment":
                if block is not None:
                    yield block
                block = None
                yield self._pair(node) if node.type == "pair" else self._header(node)
            elif block is not None and block.rows[1] + 1 == row:
                block = _Block([*block.comments, _comment(node)], (block.rows[0], row))
            else:
                if block is not None:
                    yield block
                block = _Block([_comment(node)], (row, row))
        if block is not None:
            yield block

    def _header(self, node: "Node") -> _Entry:
        key = next(child for child in node.named_children if child.type != "comment")
        names = _names(key)
        where: tuple[str | int, ...] = ()
        order: Order = self.order
        rank: list[tuple[int, ...]] = []
        for number, name in enumerate(names, 1):
            order, place = self._rank(order, where, name)
            rank.append(place)
            where = (*where, name)
            if number == len(names) and node.type == "table_array_element":
                self._counts[where] = self._counts.get(where, 0) + 1
            if where in self._counts:  # `[sources.x]` after `[[sources]]` belongs to the latest of them
                position = self._counts[where]
                rank.append((position,))
                where, order = (*where, position), _items_order(order)
        left, right = ("[[", "]]") if node.type == "table_array_element" else ("[", "]")
        row = node.start_point.row
        entry = _Entry(f"{left}{_dotted(key)}{right}", (row, row), True, _beside(node, row))
        self.sections.append(_Section(order, entry, tuple(rank)))
        return entry

    def _pair(self, node: "Node") -> _Entry:
        section = self.sections[-1]
        key, value = node.named_children[:2]
        order: Order = section.order
        rank: list[tuple[int, ...]] = []
        base: tuple[str | int, ...] = ("", len(self.sections))
        for name in _names(key):
            order, place = self._rank(order, base, name)
            rank.append(place)
            base = (*base, name)
        end = value.end_point.row
        entry = _Entry(_pair(node, order, 0), (node.start_point.row, end), False, _beside(node, end))
        section.pairs.append((tuple(rank), entry))
        return entry

    def _rank(self, order: Order, where: tuple[str | int, ...], name: str) -> tuple[Order, tuple[int, ...]]:
        """What is below a key, and its place among those beside it: as the schema has it, then as it was written."""
        seen = self._seen.setdefault((*where, name), len(self._seen))
        return _below(order, name), (_known(order, name), seen)


def _top(blocks: list[_Block], entry: _Entry) -> tuple[list[str], list[_Block]]:
    """What of the comments above the first entry is about the file and stays at its top, and what is the entry's.

    The file's are those that touch nothing, and `#:schema`, which editors look for there, whatever it touches.
    """
    *others, block = blocks
    if not _touch(block, entry):
        return [*_joined(blocks), ""], []
    count = max((at for at, one in enumerate(block.comments, 1) if one.startswith("#:")), default=0)
    mine = _Block(block.comments[count:], block.rows)
    if count:
        return _joined([*others, _Block(block.comments[:count], block.rows)]), [mine] if mine.comments else []
    return [*_joined(others), ""] if others else [], [mine]


def _touch(upper: _Entry | _Block, lower: _Entry | _Block | None) -> bool:
    """Whether no empty line is between them; nothing touches the end of the file."""
    return lower is not None and upper.rows[1] + 1 == lower.rows[0]


def _joined(blocks: Iterable[_Block]) -> list[str]:
    lines = [line for block in blocks for line in ("", *block.comments)]
    return lines[1:]


def _flat_nodes(document: "Node") -> Iterator["Node"]:
    """Headers, pairs and comments on lines of their own, in the order they stand in."""
    for child in document.named_children:
        yield child
        if child.type in ("table", "table_array_element"):
            row = child.start_point.row
            for inner in child.named_children:
                is_beside = inner.type == "comment" and inner.start_point.row == row
                if inner.type in ("pair", "comment") and not is_beside:
                    yield inner


def _beside(node: "Node", row: int) -> str | None:
    found = (child for child in node.named_children if child.type == "comment" and child.start_point.row == row)
    return next((_comment(child) for child in found), None)


# --- the order, as a schema has it ---------------------------------------------------------------------------------


def _below(order: Order, name: str) -> Order:
    properties = (order or {}).get("properties", {})
    found = properties.get(name, (order or {}).get("additionalProperties"))
    return found if isinstance(found, dict) else None


def _items_order(order: Order) -> Order:
    found = (order or {}).get("items")
    return found if isinstance(found, dict) else None


def _known(order: Order, name: str) -> int:
    properties = list((order or {}).get("properties", {}))
    return properties.index(name) if name in properties else len(properties)


# --- keys and values -----------------------------------------------------------------------------------------------


def _text(node: "Node") -> str:
    return (node.text or b"").decode()


def _comment(node: "Node") -> str:
    return _text(node).rstrip()


def _key_parts(key: "Node") -> list["Node"]:
    if key.type != "dotted_key":
        return [key]
    return [part for child in key.named_children for part in _key_parts(child)]


def _dotted(key: "Node") -> str:
    return ".".join(_text(part) for part in _key_parts(key))


def _names(key: "Node") -> tuple[str, ...]:
    """The parts of a key as they are meant: without quotes and escapes."""
    return tuple(
        _text(part) if part.type == "bare_key" else str(tomllib.loads(f"x = {_text(part)}")["x"])
        for part in _key_parts(key)
    )


def _pair(node: "Node", order: Order, indent: int, column: int = 0) -> str:
    key, value = node.named_children[:2]
    start = f"{_dotted(key)} = "
    return start + _value(value, order, indent, column + len(start))


def _value(node: "Node", order: Order, indent: int, column: int) -> str:
    """A value that begins in `column`; what follows on further lines is indented by `indent`, except in strings."""
    if node.type not in ("array", "inline_table"):
        return _text(node)
    if not _has_comment(node):
        flat = _flat(node, order)
        if "\n" not in flat and column + len(flat) <= WIDTH:
            return flat
    if node.type == "array":
        return _tall_array(node, order, indent)
    text = "{ "
    for number, pair in enumerate(_sorted_pairs(node, order)):
        text += ", " if number else ""
        column_now = column + len(text) if "\n" not in text else len(text) - text.rfind("\n") - 1
        text += _pair(pair, _pair_order(order, pair), indent, column_now)
    return text + " }" if len(text) > 2 else "{}"


def _has_comment(node: "Node") -> bool:
    return any(child.type == "comment" or _has_comment(child) for child in node.named_children)


def _flat(node: "Node", order: Order) -> str:
    """A value on one line, as far as it has no string of several."""
    if node.type == "array":
        inner = _items_order(order)
        return "[" + ", ".join(_flat(item, inner) for item in node.named_children) + "]"
    if node.type == "inline_table":
        pairs = [
            f"{_dotted(pair.named_children[0])} = {_flat(pair.named_children[1], _pair_order(order, pair))}"
            for pair in _sorted_pairs(node, order)
        ]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return _text(node)


def _sorted_pairs(node: "Node", order: Order) -> Sequence["Node"]:
    pairs = [child for child in node.named_children if child.type == "pair"]
    seen: dict[tuple[str, ...], int] = {}

    def rank(pair: "Node") -> tuple[tuple[int, int], ...]:
        at, found = order, []
        names = _names(pair.named_children[0])
        for number, name in enumerate(names, 1):
            found.append((_known(at, name), seen.setdefault(names[:number], len(seen))))
            at = _below(at, name)
        return tuple(found)

    return sorted(pairs, key=rank)


def _pair_order(order: Order, pair: "Node") -> Order:
    for name in _names(pair.named_children[0]):
        order = _below(order, name)
    return order


def _tall_array(node: "Node", order: Order, indent: int) -> str:
    """One item a line, with its comments; what stands beside the bracket stays there."""
    inner, lines = _items_order(order), ["["]
    inset, last_row = " " * (indent + INDENT), node.start_point.row
    for child in node.named_children:
        if child.type != "comment":
            lines.append(inset + _value(child, inner, indent + INDENT, indent + INDENT) + ",")
            last_row = child.end_point.row
        elif child.start_point.row == last_row:
            lines[-1] += f" {_comment(child)}"
            last_row = -1
        else:
            lines.append(inset + _comment(child))
            last_row = -1
    return "\n".join([*lines, " " * indent + "]"])
