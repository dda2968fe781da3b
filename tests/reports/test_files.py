"""Workbook, journal, FOCUS and Parquet, read again by what finance reads them with: every sum is the same."""

import csv
import io
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import openpyxl
import pytest
from beancount import loader
from beancount.core import data
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.commands.schema import schema
from runner.errors import UsageError
from runner.images import Results
from runner.ledger.usage import UsageRow
from runner.money import exact
from runner.reports import FORMATS, by_ending
from runner.reports.beancount import commodity
from runner.reports.book import Book, made_at
from runner.reports.focus import COLUMNS
from runner.reports.html import Overview, Shelf, Sight
from runner.reports.report import KEYS, build
from tests.reports.conftest import Books
from tests.reports.pages import Page, money
from tests.reports.test_report import WORDS, row

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
BOOK = Book("usage", "omixa-runner test", NOW, {"a": "Europe/Berlin", "b": "America/New_York"})

NAMES = WORDS | st.text(max_size=12)
ROWS = st.lists(
    st.builds(
        lambda *words, correction, **changes: row(*words, **changes, **correction),
        st.integers(1, 10**6),
        st.sampled_from(["sent", "unknown", "settled", "settled", "settled", "released"]),
        st.integers(0, 10**11),
        workspace=NAMES,
        currency=st.sampled_from(["USD", "EUR", "sandbox-USD"]),
        recipe=NAMES,
        cost_centre=st.none() | NAMES,
        labels=st.dictionaries(NAMES, NAMES, max_size=2),
        day=st.sampled_from(["2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01"]),
        ended_at=st.just("2026-11-15T12:00:00.000000Z"),
        has_picture=st.booleans(),
        again=st.booleans(),
        correction=st.sampled_from(
            [{}, {}, *({"before_state": before, "corrected_day": "2026-09-30"} for before in ("unknown", "sent"))]
        ),
    ),
    max_size=12,
)
SLOW = settings(max_examples=40, deadline=None)


def written(name: str, rows: Sequence[UsageRow]) -> bytes:
    """What a format makes of these attempts."""
    chosen = FORMATS[name]
    out: Any = io.BytesIO() if chosen.is_binary else io.StringIO(newline="")
    if chosen.of == "workbook":
        chosen.write(build(rows, ["cost-centre", "recipe"]), BOOK, out)
    elif chosen.of == "page":
        overview = Overview()
        report = build(overview.watch(rows), ["cost-centre", "recipe"])
        chosen.write(report, BOOK, Sight(overview, {}, [], Shelf(Path("/nowhere"), Results(Path("/nowhere")))), out)
    else:
        chosen.write(iter(rows), BOOK, out)
    found = out.getvalue()
    return found if isinstance(found, bytes) else found.encode()


def billed(rows: Sequence[UsageRow], wanted: Callable[[UsageRow], bool] = lambda _: True) -> dict[str, Decimal]:
    """What was settled by currency, added up here; currencies of nothing are left out."""
    sums: dict[str, int] = defaultdict(int)
    for one in rows:
        if one.billed_micros and wanted(one):
            sums[one.currency] += one.billed_micros
    return {currency: Decimal(exact(micros)) for currency, micros in sums.items()}


def is_cost(row: UsageRow) -> bool:
    """Billed, and not in play money."""
    return row.state == "settled" and row.currency in ("USD", "EUR")


# ---- workbook


class Workbook:
    """A workbook as a spreadsheet shows it; the few formulas that there are are calculated here."""

    def __init__(self, content: bytes) -> None:
        self.file = openpyxl.load_workbook(io.BytesIO(content))
        self.shown = openpyxl.load_workbook(io.BytesIO(content), data_only=True)

    def value(self, sheet: str, cell: str) -> Decimal:
        content = self.file[sheet][cell].value
        if not isinstance(content, str):
            return Decimal(str(content or 0))
        if (found := re.fullmatch(r"=SUM\(([A-Z]+)(\d+):[A-Z]+(\d+)\)", content)) is not None:
            return sum(
                (self.value(sheet, f"{found[1]}{n}") for n in range(int(found[2]), int(found[3]) + 1)), Decimal()
            )
        found = re.fullmatch(r"='((?:[^']|'')+)'!([A-Z]+\d+)", content)
        assert found is not None, content
        return self.value(found[1].replace("''", "'"), found[2])

    def totals(self) -> dict[str, Decimal]:
        """The settled totals of the summary, by currency; each formula shows what it calculates to."""
        summary = self.file["Summary"]
        found = {}
        for number in range(5, summary.max_row + 1):
            if str(summary[f"A{number}"].value or "").startswith("total "):
                total = self.value("Summary", f"H{number}")
                assert Decimal(str(self.shown["Summary"][f"H{number}"].value)) == total
                found[str(summary[f"B{number}"].value)] = total
        return {currency: total for currency, total in found.items() if total}


@SLOW
@given(ROWS)
def test_a_workbook_adds_up_to_what_was_billed(rows: list[UsageRow]) -> None:
    assert Workbook(written("xlsx", rows)).totals() == billed(rows)


def test_a_workbook_has_a_sheet_for_each_cost_centre_and_a_head_that_stays(books: Books) -> None:
    found = Workbook(written("xlsx", books.rows()))
    assert found.file.sheetnames == ["Summary", "4711", "(none)"]
    assert {sheet.freeze_panes for sheet in found.file} == {"A5"}
    assert {sheet.print_title_rows for sheet in found.file} == {"$4:$4"}
    cell = found.file["4711"]["H5"]
    assert (cell.value, cell.number_format) == (0.050001, "#,##0.000000")


@pytest.mark.parametrize(
    "name",
    ["=1+1", "'", "a/b:c*d?[e]", "x" * 40, "History", "Summary", "\x1b]0;x\x07", "http://a.example", "Ü", "🌀" * 16],
)
def test_any_cost_centre_has_its_sheet_and_runs_as_no_formula(name: str) -> None:
    rows = [row(1, "settled", 39_000, cost_centre=name, recipe=name), row(2, "settled", 1, cost_centre=name.upper())]
    found = Workbook(written("xlsx", rows))
    assert found.totals() == {"USD": Decimal("0.039001")}
    formulas = [cell for sheet in found.file for line in sheet for cell in line if cell.data_type == "f"]
    assert all(re.fullmatch(r"=SUM\([A-Z]+\d+:[A-Z]+\d+\)|='.+'![A-Z]+\d+", str(cell.value)) for cell in formulas)
    assert not [cell for sheet in found.file for line in sheet for cell in line if cell.hyperlink]


def test_an_amount_that_a_workbook_rounds_is_told() -> None:
    content = Workbook(written("xlsx", [row(1, "settled", 10**15)])).file["(none)"]
    assert "rounds" in str(content[f"A{content.max_row}"].value)


# ---- journal


def journal(content: bytes, path: Path | None = None) -> dict[str, Decimal]:
    """The expenses of a journal that Beancount accepts, by commodity."""
    entries, errors, _ = loader.load_string(content.decode())
    assert errors == [], content.decode()
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        if isinstance(entry, data.Transaction):
            assert sum(posting.units.number for posting in entry.postings) == 0
            for posting in entry.postings:
                if posting.account.startswith("Expenses:"):
                    sums[posting.units.currency] += posting.units.number
    return {unit: total for unit, total in sums.items() if total}


@SLOW
@given(ROWS)
def test_beancount_accepts_the_journal_and_adds_it_up_to_what_was_billed(rows: list[UsageRow]) -> None:
    assert journal(written("beancount", rows)) == {commodity(key): total for key, total in billed(rows).items()}


def test_the_journal_of_a_ledger(books: Books) -> None:
    assert written("beancount", books.rows()[:2]).decode() == (
        'option "title" "usage"\n'
        "; made 2026-12-01 08:00:00 UTC by omixa-runner test\n"
        "\n"
        "2026-10-31 open Expenses:Pictures:4711:Posters\n"
        "2026-10-31 open Liabilities:Pictures:Studio\n"
        "\n"
        '2026-10-31 * "posters" "1 × picture, workspace studio"\n'
        '  recipe: "posters"\n'
        '  workspace: "studio"\n'
        '  cost-centre: "4711"\n'
        "  requests: 1\n"
        "  Expenses:Pictures:4711:Posters  0.039000 USD\n"
        "  Liabilities:Pictures:Studio  -0.039000 USD\n"
        "\n"
        '2026-11-01 * "posters" "1 × picture, workspace studio"\n'
        '  recipe: "posters"\n'
        '  workspace: "studio"\n'
        '  cost-centre: "4711"\n'
        "  requests: 1\n"
        "  Expenses:Pictures:4711:Posters  0.041000 USD\n"
        "  Liabilities:Pictures:Studio  -0.041000 USD\n"
        "\n"
        "2026-11-02 balance Liabilities:Pictures:Studio  -0.080000 USD\n"
    )
    assert journal(written("beancount", [])) == {}


# ---- text, CSV and JSON


@SLOW
@given(ROWS, ROWS, st.lists(st.sampled_from([*KEYS, "label:client"]), min_size=1, max_size=3))
def test_text_csv_and_json_say_the_same_sums_by_whatever_is_grouped(
    rows: list[UsageRow], before: list[UsageRow], by: list[str]
) -> None:
    report = build(rows, by, before=before, before_span="before")
    texts = {}
    for name in ("text", "csv", "json"):
        out = io.StringIO(newline="")
        FORMATS[name].write(report, out)
        texts[name] = out.getvalue()
    told = json.loads(texts["json"])
    jsonschema.validate(told, schema("report"))
    lines = list(csv.DictReader(io.StringIO(texts["csv"], newline="")))
    for currency, micros in {one.currency: 0 for one in [*rows, *before]}.items():
        for field, source in (("settled", rows), ("settled_before", before)):
            wanted = billed(source).get(currency, Decimal(micros))
            own = [Decimal(line[field]) for line in lines if line["currency"] == currency]
            assert sum(own) == wanted
            assert sum(Decimal(row[field]) for row in told["rows"] if row["currency"] == currency) == wanted
            assert [Decimal(one[field]) for one in told["totals"] if one["currency"] == currency] == [wanted]
        opened = Decimal(exact(sum(one.open_micros for one in rows if one.currency == currency)))
        own = [line for line in lines if line["currency"] == currency]
        assert sum(Decimal(line["open"]) for line in own) == opened
        for line in own:
            assert int(line["attempts"]) == sum(int(line[f"{word}_count"]) for word in ("settled", "released", "open"))
        corrected = sum(one.before_state is not None for one in rows if one.currency == currency)
        assert sum(int(line["correction_count"]) for line in own) == corrected
        assert exact(int(billed(rows).get(currency, Decimal()) * 1_000_000)) in total_of(texts["text"], currency)


def total_of(text: str, currency: str) -> list[str]:
    """The cells of the total of a currency, as the text has them."""
    wanted = re.compile(rf"  settled {re.escape(currency)}  ")
    (block,) = (part for part in text.split("\n\n") if wanted.search(part.partition("\n")[0]))
    return [line for line in block.splitlines() if line.startswith("total ")][-1].split()


def test_the_schema_of_a_report_knows_what_is_wrong(books: Books) -> None:
    out = io.StringIO()
    FORMATS["json"].write(build(books.rows(), ["recipe"]), out)
    told = json.loads(out.getvalue())
    jsonschema.validate(told, schema("report"))
    for broken in (
        {**told, "more": 1},
        {**told, "rows": [{**told["rows"][0], "settled": 0.039}]},
        {**told, "totals": [{**told["totals"][0], "settled": "0.039"}]},
        {name: value for name, value in told.items() if name != "totals"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema("report"))


# ---- the page


@SLOW
@given(ROWS)
def test_a_page_read_back_adds_up_to_what_was_billed_whichever_way_it_is_cut(rows: list[UsageRow]) -> None:
    page = Page(written("html", rows).decode())
    wanted, reports = billed(rows), page.reports()
    assert set(reports) == {one.currency for one in rows}
    for currency, table in reports.items():
        total = wanted.get(currency, Decimal())
        held = Decimal(exact(sum(one.open_micros for one in rows if one.currency == currency)))
        assert Decimal(table.total(f"settled {currency}")) == money(table.column(f"settled {currency}")) == total
        assert Decimal(table.total(f"open {currency}")) == money(table.column(f"open {currency}")) == held
        for by in ("recipe", "cost centre"):
            (cut,) = (one for one in page.tables if one.caption == f"Spend by {by}, in {currency}")
            assert (money(cut.column("settled")), money(cut.column("open"))) == (total, held)
        days = [one for one in page.tables if one.caption.endswith("day by day") and f"open {currency}" in one.head]
        assert sum(money(one.column(f"settled {currency}")) for one in days) == total
        assert sum(money(one.column(f"open {currency}")) for one in days) == held
        assert f"{exact(int(total * 1_000_000))} {currency}" in page.text


# ---- FOCUS and Parquet


@SLOW
@given(ROWS)
def test_focus_has_a_row_for_each_bill_in_real_money(rows: list[UsageRow]) -> None:
    found = list(csv.DictReader(io.StringIO(written("focus", rows).decode(), newline="")))
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in found:
        sums[line["BillingCurrency"]] += Decimal(line["BilledCost"])
        assert list(line) == list(COLUMNS)
        assert (
            line["BillingPeriodStart"]
            <= line["ChargePeriodStart"]
            < line["ChargePeriodEnd"]
            <= line["BillingPeriodEnd"]
        )
    assert len(found) == sum(is_cost(one) for one in rows)
    assert {currency: total for currency, total in sums.items() if total} == billed(rows, is_cost)


@settings(max_examples=20, deadline=None)
@given(ROWS)
def test_parquet_has_every_attempt_and_duckdb_adds_it_up(
    tmp_path_factory: pytest.TempPathFactory, rows: list[UsageRow]
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    for name, wanted in (("parquet", lambda _: True), ("focus-parquet", is_cost)):
        file = folder / name
        file.write_bytes(written(name, rows))
        money, unit = ("billed", "currency") if name == "parquet" else ("BilledCost", "BillingCurrency")
        query = f"SELECT {unit}, sum({money}) FROM read_parquet('{file}') WHERE {money} > 0 GROUP BY 1"
        found = dict(duckdb.execute(query).fetchall())
        assert found == billed(rows, wanted)
        ((count,),) = duckdb.execute(f"SELECT count(*) FROM read_parquet('{file}')").fetchall()
        assert count == sum(map(wanted, rows))


@pytest.mark.parametrize("name", ["focus", "beancount", "html"])
def test_nothing_runs_as_a_formula_or_steers_the_terminal(name: str) -> None:
    hostile = "=HYPERLINK(1)\x1b]0;x\x07\u202e\x9b"
    bad = row(1, "settled", 1, recipe=hostile, workspace=hostile, cost_centre=hostile, output_path=hostile, who=hostile)
    text = written(name, [replace(bad, ended_at="2026-11-22T12:00:00.000000Z")]).decode()
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}
    if name == "focus":
        assert not [value for value in next(csv.reader(text.splitlines()[1:])) if value.startswith("=")]


def test_a_month_of_focus_begins_and_ends_with_the_workspaces_own_days() -> None:
    late = row(1, "settled", 1, workspace="b", day="2026-10-31", ended_at="2026-11-01T03:30:00.000000Z")
    (line,) = csv.DictReader(io.StringIO(written("focus", [late]).decode()))
    assert (line["BillingPeriodStart"], line["BillingPeriodEnd"]) == ("2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z")
    assert line["ChargePeriodStart"] == "2026-11-01T03:30:00Z"


# ---- the command


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_ledger_gives_the_same_bytes_again(books: Books, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1796083200")
    made = []
    for number in (1, 2):
        file = books.root / f"{number}.out"
        assert books.omixa("report", "--format", name, "--out", str(file)) == 0
        made.append(file.read_bytes())
        monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert made[0] == made[1]


@pytest.mark.parametrize("told", ["soon", "-1", "1.5", "9" * 30])
def test_a_source_date_epoch_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", told)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        made_at(NOW)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("u.csv", "csv"),
        ("u.focus.csv", "focus"),
        ("u.focus.parquet", "focus-parquet"),
        ("U.XLSX", "xlsx"),
        ("u.html", "html"),
        ("u.txt", "text"),
        ("u.beancount", "beancount"),
        ("csv", None),
        ("u.pdf", None),
    ],
)
def test_the_ending_of_the_file_says_the_format(file: str, name: str | None) -> None:
    assert by_ending(file) == name


def test_a_list_of_single_requests_is_not_grouped(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report", "--format", "focus", "--by", "recipe") == 2
    assert "`--format focus` lists every request by itself" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "package"), [("xlsx", "xlsxwriter"), ("parquet", "pyarrow")])
def test_a_missing_extra_is_named(
    books: Books, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    file = books.root / "u.out"
    file.write_text("before")
    assert books.omixa("report", "--format", name, "--out", str(file)) == 2
    assert f"pip install 'omixa-runner[{name}]'" in capsys.readouterr().err
    assert file.read_text() == "before"


@pytest.mark.parametrize("kind", ["html", "xlsx", "csv", "json", "beancount", "focus", "focus-parquet", "parquet"])
def test_a_full_disk_is_told_in_two_lines_whatever_the_format(books: Books, kind: str) -> None:
    words = ["report", "--format", kind, "--out", "/dev/full"]
    program = [sys.executable, "-m", "runner", "--project", str(books.root)]
    made = subprocess.run([*program, *words], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout) == (7, "")
    assert made.stderr == (
        "error: `/dev/full` cannot be written: No space left on device\n"
        "   = help: create its folder, or choose another place with --out\n"
    )
