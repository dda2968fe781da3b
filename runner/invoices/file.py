"""A provider's usage or invoice file → its lines, or every Problem in it. CSV, JSON and JSON lines.

What stands in a cell is text until runner/money.py reads it: a JSON number too, so no float comes near an amount.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from runner import money
from runner.declared import in_order
from runner.diagnostics import Place, Problem, Problems, did_you_mean
from runner.errors import UsageError
from runner.invoices.matching import Theirs
from runner.settings import Invoice

# No file of a month is as large; a wrong one must not fill the memory.
BYTES_MAX = 1 << 30

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class InvoiceFile:
    """A file as it was read. `digest`: SHA-256 of its bytes. `rounded`: lines with more than six decimals, rounded up
    as every bill is. `left_out`: lines that `only` leaves out.
    """

    name: str
    digest: str
    lines: tuple[Theirs, ...]
    rounded: int = 0
    left_out: int = 0


@dataclass(slots=True)
class _Read:
    """What one line says, before it has its key."""

    number: int
    micros: int
    at: int
    id: str | None
    model: str | None


def micros_of(at: datetime) -> int:
    """A moment in microseconds since 1970, UTC."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment_of(micros: int) -> datetime:
    """The moment of so many microseconds."""
    return _EPOCH + timedelta(microseconds=micros)


def read(path: Path, how: Invoice, currency: str, *, may_be_empty: bool = False) -> InvoiceFile:
    """The lines of a file. `currency`: of the workspace in the ledger. Raises Problems, all there are; UsageError.

    `may_be_empty`: somebody says that all that was billed is in it; otherwise a file without a line is taken for one
    that did not arrive whole.
    """
    data = _bytes(path)
    reader = _Reader(path.name, how, currency)
    lines = reader.lines(_text(data, path.name, how.encoding), _kind(path, how))
    if not lines and not reader.problems and not reader.left_out and not may_be_empty:
        reader.nothing()
    if reader.problems:
        raise Problems(in_order(reader.problems, path.name))
    return InvoiceFile(path.name, sha256(data).hexdigest(), _keyed(lines), reader.rounded, reader.left_out)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {error.strerror}", "name the provider's file") from error
    if len(data) > BYTES_MAX:
        raise UsageError(f"`{path}` is larger than {BYTES_MAX >> 20} MiB", "split it by days, and reconcile each part")
    return data


def _text(data: bytes, name: str, encoding: str) -> str:
    # A mark of the byte order is no part of the first column's name.
    codec = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        return data.decode(codec)
    except UnicodeError as error:
        line = data[: error.start].count(b"\n") + 1 if isinstance(error, UnicodeDecodeError) else None
        hint = 'say how it is encoded: `encoding = "cp1252"`, `"utf-16"` and others'
        raise Problems(
            [Problem("bad-encoding", f"this is not text in {encoding}", Place(name, line), hint=hint)]
        ) from None


def _kind(path: Path, how: Invoice) -> str:
    if how.format is not None:
        return how.format
    ending = path.suffix.lower()
    return {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv"}.get(ending, "csv")


def _keyed(lines: Iterable[_Read]) -> tuple[Theirs, ...]:
    """Lines that say the same are counted, so that each has a key of its own, whatever order they stand in."""
    seen: Counter[tuple[object, ...]] = Counter()
    made = []
    for line in lines:
        said = (line.id, line.at, line.micros, line.model)
        key = sha256(json.dumps([*said, seen[said]]).encode()).hexdigest()[:32]
        seen[said] += 1
        made.append(Theirs(line.number, line.micros, line.at, line.id, line.model, key))
    return tuple(made)


@dataclass(slots=True)
class _Reader:
    """One file while it is read."""

    name: str
    how: Invoice
    currency: str
    problems: list[Problem] = field(default_factory=list)
    rounded: int = 0
    left_out: int = 0
    _zone: ZoneInfo | None = None

    def lines(self, text: str, kind: str) -> list[_Read]:
        """Every line that could be read; what could not is in `problems`."""
        self._zone = None if self.how.time_zone is None else ZoneInfo(self.how.time_zone)
        records = self._csv(text, kind) if kind in ("csv", "tsv") else self._json(text, kind)
        found = []
        for number, record in records:
            if len(self.problems) > 1000:
                break
            line = self._line(number, record)
            if line is not None:
                found.append(line)
        return found

    def nothing(self) -> None:
        """A file without a line, which may be half of one."""
        hint = "get it anew; if nothing was billed, say so with --complete and the days, such as --month 2026-10"
        self._fault("empty-file", "there is no line in this file", None, hint=hint)

    # ---- what the formats share

    @property
    def _columns(self) -> dict[str, str]:
        """Key in omixa.toml → column, as far as they are declared."""
        how = self.how
        named = {"time": how.time, "amount": how.amount, "currency": how.currency, "id": how.id, "model": how.model}
        return {key: column for key, column in named.items() if column is not None}

    def _fault(self, code: str, message: str, number: int | None, column: str | None = None, **more: Any) -> None:
        """Tell what is wrong: of the whole file, of a line, or of a cell."""
        where = f"{number}:{column}" if column is not None else number
        # A cell is found by its column's name: a count of characters would help nobody in a spreadsheet.
        place = Place(self.name if number is None else f"{self.name}:{where}")
        self.problems.append(Problem(code, message, place, **more))

    def _line(self, number: int, record: Mapping[str, str | None]) -> _Read | None:
        for column, wanted in self.how.only.items():
            if record.get(column) != wanted:
                self.left_out += 1
                return None
        before = len(self.problems)
        micros = self._amount(number, record)
        at = self._time(number, record)
        self._currency(number, record)
        if len(self.problems) > before or micros is None or at is None:
            return None
        columns = self._columns
        name = record.get(columns["id"]) if "id" in columns else None
        model = record.get(columns["model"]) if "model" in columns else None
        return _Read(number, micros, at, name or None, model or None)

    def _amount(self, number: int, record: Mapping[str, str | None]) -> int | None:
        column = self.how.amount
        text = record.get(column)
        if not text:
            hint = 'leave lines that bill nothing out with `only`, such as `only = { type = "usage" }`'
            self._fault("missing-amount", "there is no amount here", number, column, hint=hint)
            return None
        sign = -1 if text.startswith("-") else 1
        plain = text.removeprefix("-")
        if self.how.decimal == ",":
            plain = plain.replace(",", ".") if "." not in plain else ""
        micros = money.billed(plain)
        if micros is None:
            example = "1234,5" if self.how.decimal == "," else "1234.5"
            hint = f"an amount is written such as `{example}`: no unit, and nothing between thousands"
            if "," in text and self.how.decimal == ".":
                hint = 'when `,` stands before its decimals, write `decimal = ","`; nothing may stand between thousands'
            self._fault("bad-amount", f"`{_short(text)}` is not an amount", number, column, hint=hint)
            return None
        decimals = plain.partition(".")[2]
        self.rounded += bool(decimals[6:].strip("0"))
        return sign * micros

    def _time(self, number: int, record: Mapping[str, str | None]) -> int | None:
        column = self.how.time
        text = record.get(column)
        if not text:
            self._fault("missing-time", "there is no time here", number, column)
            return None
        how = self.how.time_format
        try:
            at = _moment(text, how)
            if at.tzinfo is None and self._zone is None:
                hint = f'say whose clock it is: `time_zone = "UTC"` in [invoices.{self.how.name}]'
                message = f"`{_short(text)}` has no offset, so nobody can tell which moment it is"
                self._fault("no-time-zone", message, number, column, hint=hint)
                return None
            at = (at if at.tzinfo else at.replace(tzinfo=self._zone)).astimezone(UTC)
            if not 2000 <= at.year < 2200:
                raise ValueError
            return micros_of(at)
        except (ValueError, OverflowError, re.error):
            wanted = "an ISO 8601 time" if how is None else f"a time like `{how}`"
            hint = 'write `time_format` in the words of strptime, such as `"%d.%m.%Y %H:%M:%S"`, or `"unix"`'
            self._fault("bad-time", f"`{_short(text)}` is not {wanted}", number, column, hint=hint)
            return None

    def _currency(self, number: int, record: Mapping[str, str | None]) -> None:
        column = self.how.currency
        if column is None:
            return
        found = record.get(column) or ""
        # The sandbox's play money is called as the money that it plays.
        if found.upper() not in (self.currency.upper(), self.currency.upper().removeprefix("SANDBOX-")):
            message = f"this line is in `{_short(found)}`, and the workspace is kept in {self.currency}"
            hint = "one file is about one workspace: leave others out with `only`, or choose another with --workspace"
            self._fault("other-currency", message, number, column, hint=hint)

    def _missing(self, known: Sequence[str], *, optional: bool = True) -> bool:
        """Whether a declared column is not there; each such is a problem. `optional`: also one that lines may lack."""
        missing = False
        wanted = [*self._columns.items(), *(("only", column) for column in self.how.only)]
        wanted = [one for one in wanted if optional or one[0] in ("time", "amount", "only")]
        shown = ", ".join(f"`{_short(name)}`" for name in known[:20])
        for key, column in wanted:
            if column in known:
                continue
            missing = True
            closest = did_you_mean(column, known)
            hint = f"did you mean `{_short(closest)}`? " if closest else ""
            message = f"there is no column `{column}`, which [invoices.{self.how.name}] names as `{key}`"
            self._fault("missing-column", message, 1, hint=f"{hint}the file has: {shown or 'none'}")
        return missing

    # ---- CSV

    def _csv(self, text: str, kind: str) -> Iterator[tuple[int, dict[str, str | None]]]:
        delimiter = self.how.delimiter or ("\t" if kind == "tsv" else ",")
        rows = _rows(text, delimiter)
        try:
            _, header = next(rows, (1, []))
            header = [name.strip() for name in header]
            if not self._header(header):
                return
            for number, cells in rows:
                if len(cells) != len(header):
                    message = f"this line has {len(cells)} cells, and the header {len(header)}"
                    self._fault("bad-line", message, number, hint="was the file changed by hand, or cut off?")
                    continue
                yield number, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        except csv.Error as error:
            hint = "say what stands between cells with `delimiter`, and save it as CSV anew"
            self._fault("bad-csv", f"this cannot be read as CSV: {error}", None, hint=hint)

    def _header(self, header: Sequence[str]) -> bool:
        if len(header) == 1 and len(self._columns) > 1:
            other = next((one for one in ";\t|," if one in header[0]), None)
            if other is not None:
                written = json.dumps(other)
                message = f"the header is one column, `{_short(header[0])}`"
                self._fault("bad-delimiter", message, 1, hint=f"write `delimiter = {written}`")
                return False
        for column in dict.fromkeys([*self._columns.values(), *self.how.only]):
            if header.count(column) > 1:
                message = f"two columns are named `{_short(column)}`"
                self._fault("column-twice", message, 1, hint="give them names of their own in the file")
        return not self._missing(header) and not self.problems

    # ---- JSON

    def _json(self, text: str, kind: str) -> Iterator[tuple[int, dict[str, str | None]]]:
        wanted = dict.fromkeys([*self._columns.values(), *self.how.only])
        known: dict[str, None] = {}
        seen: set[str] = set()
        for number, found in self._objects(text, kind):
            if not isinstance(found, dict):
                self._fault("bad-line", f"expected an object, found {_named(found)}", number)
                continue
            record = {column: _at(found, column) for column in wanted}
            seen.update(column for column, value in record.items() if value is not _ABSENT)
            if not known:
                known = dict.fromkeys(_names(found))
                if self._missing([*known, *seen], optional=False):
                    return
            for column, value in record.items():
                if isinstance(value, dict | list):
                    self._fault("bad-value", f"expected a text or a number, found {_named(value)}", number, column)
                    break
            else:
                yield number, {column: None if value is _ABSENT else _cell(value) for column, value in record.items()}
        if known:
            self._missing([*known, *seen])

    def _objects(self, text: str, kind: str) -> Iterator[tuple[int, Any]]:
        if kind == "jsonl":
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    try:
                        yield number, _parsed(line)
                    except (ValueError, RecursionError) as error:
                        self._fault("bad-json", f"this is not JSON: {_said(error)}", number)
            return
        try:
            whole = _parsed(text)
        except (ValueError, RecursionError) as error:
            where = error.lineno if isinstance(error, json.JSONDecodeError) else None
            self._fault("bad-json", f"this is not JSON: {_said(error)}", where, hint="JSON lines end in .jsonl")
            return
        rows = whole if self.how.rows is None else _at(whole, self.how.rows)
        if not isinstance(rows, list):
            lists = [name for name in _names(whole) if isinstance(_at(whole, name), list)]
            better = f'write `rows = "{lists[0]}"`' if lists else "name the list of its lines with `rows`"
            named = "the file" if self.how.rows is None else f"`{self.how.rows}`"
            self._fault("no-rows", f"{named} is no list of lines", None, hint=better)
            return
        yield from enumerate(rows, start=1)


_ABSENT = object()


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the line that each begins on; empty lines are none."""
    # Only what ends a line in CSV does: a text may hold other marks that Python takes for line ends.
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    for cells in reader:
        if cells:
            yield begins, cells
        begins = reader.line_num + 1


def _moment(text: str, how: str | None) -> datetime:
    """A moment as it is written; without an offset where none is. Raises ValueError, OverflowError."""
    if how is None:
        return datetime.fromisoformat(text)
    if how != "unix":
        return datetime.strptime(text, how)  # noqa: DTZ007 - an offset that is missing is asked for by the caller
    found = _UNIX.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return _EPOCH + timedelta(seconds=int(found[1]), microseconds=int((found[2] or "")[:6].ljust(6, "0")))


def _parsed(text: str) -> Any:
    """Numbers as the text they are written in. Raises ValueError, also for a key that stands twice; RecursionError."""
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_once)


def _once(found: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(found)
    if len(made) != len(found):
        twice = next(name for name, count in Counter(name for name, _ in found).items() if count > 1)
        raise ValueError(f"the key `{_short(twice)}` stands twice")
    return made


def _said(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _at(value: Any, dotted: str) -> Any:
    """What stands under `a.b`; a key that is written with its dot first."""
    if isinstance(value, dict) and dotted in value:
        return value[dotted]
    for name in dotted.split("."):
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _names(value: Any) -> Iterator[str]:
    """The keys of an object, and of the objects in it: `a`, `b.c`."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield name
        if isinstance(inner, dict):
            yield from (f"{name}.{more}" for more in inner)


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    return ("true" if value else "false") if isinstance(value, bool) else str(value).strip()


def _named(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a text or a number")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
