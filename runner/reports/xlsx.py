"""A workbook for finance: a sheet for each cost centre, and a summary whose formulas add them up; amounts are numbers.

The report must be grouped by cost centre first. A cell's number has 15 significant digits, so an amount of a thousand
million or more is rounded; that is said on its sheet.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from io import BytesIO
from typing import Any, BinaryIO

from runner.errors import UsageError
from runner.money import MICROS_PER_UNIT, exact
from runner.reports.book import Book
from runner.reports.report import Line, Report
from runner.terminal import clean

INSTALL = "pip install 'omixa-runner[xlsx]'"
SUMMARY, NONE = "Summary", "(none)"
EXACT_MICROS_MAX = 10**9 * MICROS_PER_UNIT

# Heading, what it holds: a count or money, and how it is read from the sums.
NUMBERS: Sequence[tuple[str, str, str]] = (
    ("requests", "count", "attempts"),
    ("settled requests", "count", "settled_count"),
    ("not billed", "count", "released_count"),
    ("open requests", "count", "open_count"),
    ("unknown requests", "count", "unknown_count"),
    ("settled", "money", "settled_micros"),
    ("open", "money", "open_micros"),
    ("of which unknown", "money", "unknown_micros"),
    ("without a usable picture", "money", "unusable_micros"),
    ("bought again", "money", "again_micros"),
    ("reconciled", "money", "reconciled_micros"),
    ("corrections", "count", "correction_count"),
)


def write(report: Report, book: Book, out: BinaryIO) -> None:
    """Write the workbook. Raises UsageError without the extra."""
    try:
        import xlsxwriter
    except ImportError:
        raise UsageError("a workbook needs the package xlsxwriter", INSTALL) from None
    assert report.by[0] == "cost-centre"
    # Text stays text: a name that begins like a formula or an address is none.
    plain = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "in_memory": True}
    # Not straight into `out`: a ZIP file that a full disk cut off would try to end itself after `out` is closed.
    made = BytesIO()
    with xlsxwriter.Workbook(made, plain) as workbook:
        workbook.set_properties({"title": clean(book.title), "author": clean(book.program), "created": book.made_at})
        _Writer(workbook, report, book).write()
    out.write(made.getbuffer())


class _Writer:
    """One workbook while it is filled. `_sums` remembers where each sheet's totals stand, for the summary."""

    def __init__(self, workbook: Any, report: Report, book: Book) -> None:
        self._workbook, self._report, self._book = workbook, report, book
        self._bold = workbook.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._title = workbook.add_format({"bold": True, "font_size": 14})
        self._formats = {
            ("count", False): workbook.add_format({"num_format": "#,##0"}),
            ("money", False): workbook.add_format({"num_format": "#,##0.000000"}),
            ("count", True): workbook.add_format({"num_format": "#,##0", "bold": True, "top": 1}),
            ("money", True): workbook.add_format({"num_format": "#,##0.000000", "bold": True, "top": 1}),
        }
        self._total = workbook.add_format({"bold": True, "top": 1})
        self._sums: list[tuple[str | None, str, str, int, Line]] = []
        self._names: set[str] = {SUMMARY.lower()}

    def write(self) -> None:
        """The summary first, as it is read; the sheets that it adds up behind it."""
        summary = self._workbook.add_worksheet(SUMMARY)
        for centre in dict.fromkeys(line.values[0] for line in self._report.lines):
            self._centre(centre)
        self._summary(summary)

    def _summary(self, sheet: Any) -> None:
        header = ["cost centre", "currency", *(name for name, _, _ in NUMBERS)]
        top = self._head(sheet, clean(self._book.title), header)
        at = top
        for currency in self._report.totals:
            own = [one for one in self._sums if one[1] == currency]
            for centre, _, name, row, line in own:
                sheet.write_string(at, 0, NONE if centre is None else clean(centre))
                sheet.write_string(at, 1, clean(currency))
                for column, (_, kind, field) in enumerate(NUMBERS, start=2):
                    where = f"={_quoted(name)}!{_cell(row, column - 2 + len(self._report.by))}"
                    self._formula(sheet, at, column, where, kind, getattr(line.sums, field), bold=False)
                at += 1
            self._add_up(sheet, at, [f"total {clean(currency)}", clean(currency)], len(own), currency)
            at += 2
        for one in self._report.budgets:
            used = one.settled_micros + one.open_micros
            owner = f"workspace {one.workspace}" if one.recipe is None else f"recipe {one.recipe} of {one.workspace}"
            sheet.write_string(at, 0, clean(f"budget {one.period} {one.label} of {owner}"))
            sheet.write_string(at, 1, clean(one.currency))
            sheet.write_string(at, 2, "cap, used, left")
            for column, micros in ((7, one.cap_micros), (8, used), (9, one.cap_micros - used)):
                self._amount(sheet, at, column, micros, bold=False)
            at += 1
        sheet.autofit(300)

    def _centre(self, centre: str | None) -> None:
        name = self._name(NONE if centre is None else clean(centre))
        sheet = self._workbook.add_worksheet(name)
        keys = self._report.by[1:]
        header = [*(keys or ("cost-centre",)), "currency", *(name for name, _, _ in NUMBERS)]
        title = "without a cost centre" if centre is None else f"cost centre {clean(centre)}"
        at = self._head(sheet, title, header)
        for currency in self._report.totals:
            lines = [line for line in self._report.lines if line.currency == currency and line.values[0] == centre]
            if not lines:
                continue
            for line in lines:
                values = line.values[1:] or line.values
                for column, value in enumerate([*values, currency]):
                    sheet.write_string(at, column, NONE if value is None else clean(value))
                first = len(values) + 1
                for column, (_, kind, field) in enumerate(NUMBERS, start=first):
                    if kind == "money":
                        self._amount(sheet, at, column, getattr(line.sums, field), bold=False)
                    else:
                        sheet.write_number(at, column, getattr(line.sums, field), self._formats[kind, False])
                at += 1
            total = _added(lines)
            width = len(keys or ("",))
            words = [f"total {clean(currency)}", *[""] * (width - 1), clean(currency)]
            self._add_up(sheet, at, words, len(lines), currency, total)
            self._sums.append((centre, currency, name, at, total))
            at += 2
        if any(_is_large(line) for line in self._report.lines if line.values[0] == centre):
            sheet.write_string(at, 0, "a workbook rounds amounts of a thousand million or more; CSV and JSON do not")
        sheet.autofit(300)

    def _head(self, sheet: Any, title: str, header: Sequence[str]) -> int:
        """Title, when it was made, and a header that stays in sight and on each printed page; the row after it."""
        sheet.write_string(0, 0, title, self._title)
        sheet.write_string(1, 0, f"made {self._book.made_at:%Y-%m-%d %H:%M:%S} UTC by {clean(self._book.program)}")
        for column, name in enumerate(header):
            sheet.write_string(3, column, name, self._bold)
        sheet.freeze_panes(4, 0)
        sheet.repeat_rows(3)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        return 4

    def _add_up(
        self, sheet: Any, at: int, words: Sequence[str], count: int, currency: str, total: Line | None = None
    ) -> None:
        """A row of sums over the `count` rows above it."""
        total = total or self._report.total(currency)
        for column, word in enumerate(words):
            sheet.write_string(at, column, word, self._total)
        for column, (_heading, kind, field) in enumerate(NUMBERS, start=len(words)):
            over = f"=SUM({_cell(at - count, column)}:{_cell(at - 1, column)})"
            self._formula(sheet, at, column, over, kind, getattr(total.sums, field), bold=True)

    def _formula(self, sheet: Any, at: int, column: int, formula: str, kind: str, value: int, *, bold: bool) -> None:
        """A formula with its result beside it, for readers that do not calculate."""
        shown: Any = Decimal(exact(value)) if kind == "money" else value
        sheet.write_formula(at, column, formula, self._formats[kind, bold], shown)

    def _amount(self, sheet: Any, at: int, column: int, micros: int, *, bold: bool) -> None:
        sheet.write_number(at, column, Decimal(exact(micros)), self._formats["money", bold])

    def _name(self, wanted: str) -> str:
        """A name for a sheet: at most 31 characters, some never, and each once, whatever its case."""
        plain = re.sub(r"[\[\]:*?/\\]", "_", wanted).strip("'")
        plain = _cut(plain, 31) or "_"
        for candidate in _candidates(plain):
            if candidate.lower() not in self._names and candidate.lower() != "history":
                self._names.add(candidate.lower())
                return candidate
        raise AssertionError("there is always another number")


def _candidates(name: str) -> Iterator[str]:
    yield name
    for number in range(2, 10**6):
        ending = f" ({number})"
        yield _cut(name, 31 - len(ending)) + ending


def _cut(name: str, units: int) -> str:
    """The beginning of a name, as a spreadsheet counts: a character outside of the first 65 536 is two."""
    return name.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore").rstrip("'")


def _added(lines: Sequence[Line]) -> Line:
    return Report((), tuple(lines)).total(lines[0].currency)


def _is_large(line: Line) -> bool:
    return any(abs(getattr(line.sums, field)) >= EXACT_MICROS_MAX for _, kind, field in NUMBERS if kind == "money")


def _cell(row: int, column: int) -> str:
    from xlsxwriter.utility import xl_rowcol_to_cell

    found: str = xl_rowcol_to_cell(row, column)
    return found


def _quoted(sheet: str) -> str:
    return "'" + sheet.replace("'", "''") + "'"
