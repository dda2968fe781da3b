"""A page as a program reads it: its tables as text, its pictures, and every address and script in it."""

from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser


@dataclass
class Table:
    """A table as it is shown: the text of its cells, and the currency it says it is of."""

    currency: str | None
    classes: str
    caption: str = ""
    head: list[str] = field(default_factory=list)
    body: list[list[str]] = field(default_factory=list)
    foot: list[list[str]] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        """The cells of a column by its heading; of two with the same, the last."""
        at = len(self.head) - 1 - self.head[::-1].index(name)
        return [row[at] for row in self.body]

    def total(self, name: str) -> str:
        """The cell of the total."""
        at = len(self.head) - 1 - self.head[::-1].index(name)
        (row,) = self.foot
        return row[at]


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[Table] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self._part = ""
        self._open: list[str] = []
        self._said: list[str] = []
        self.feed(text)
        self.close()
        self.text = " ".join("".join(self._said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            told = dict(attrs)
            self.tables.append(Table(told.get("data-currency"), told.get("class") or ""))
        elif tag in ("thead", "tbody", "tfoot"):
            self._part = tag
        elif tag == "tr" and self._part != "thead":
            (self.tables[-1].body if self._part == "tbody" else self.tables[-1].foot).append([])
        elif tag in ("th", "td"):
            self._cells().append("")
        if tag not in ("meta", "link", "img", "input"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        self.inside[within] = self.inside.get(within, "") + data
        if within not in ("style", "script", "title"):
            self._said.append(data)
        if "table" in self._open and "caption" in self._open:
            self.tables[-1].caption += data
        elif "table" in self._open and {"th", "td"} & set(self._open):
            self._cells()[-1] += data

    def _cells(self) -> list[str]:
        table = self.tables[-1]
        if self._part == "thead":
            return table.head
        return (table.body if self._part == "tbody" else table.foot)[-1]

    def reports(self) -> dict[str, Table]:
        """The tables of the report itself, by currency."""
        found = [table for table in self.tables if "report" in table.classes.split()]
        assert len({table.currency for table in found}) == len(found)
        return {table.currency or "": table for table in found}

    def attributes(self, tag: str, name: str) -> list[str]:
        """An attribute of every such element that has it."""
        return [told[name] or "" for one, told in self.elements if one == tag and name in told]


def money(cells: list[str]) -> Decimal:
    """The sum of a column; `–` is nothing."""
    return sum((Decimal(cell) for cell in cells if cell != "–"), Decimal())
