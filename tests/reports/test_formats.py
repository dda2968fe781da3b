"""Each format as finance reads it: exact amounts, no formula that runs, no total in the CSV."""

import csv
import io
import json
from dataclasses import replace

import pytest

from runner.reports import FORMATS
from runner.reports.csv import cell
from runner.reports.report import Report, build
from tests.reports.conftest import Books
from tests.reports.test_report import row


def written(format_name: str, report: Report) -> str:
    out = io.StringIO(newline="")
    FORMATS[format_name].write(report, out)
    return out.getvalue()


def test_the_text_has_a_table_and_a_total_for_each_currency(books: Books) -> None:
    report = build(books.rows(), ["recipe"], first_day="2026-10-01")
    assert written("text", report) == (
        "usage by recipe · all workspaces · from 2026-10-01\n"
        "\n"
        "recipe  attempts  settled  released  open  unknown  settled EUR  open EUR  of which unknown EUR\n"
        "logos          2        1         0     1        1     0.050001  0.700000              0.700000\n"
        "total          2        1         0     1        1     0.050001  0.700000              0.700000\n"
        "a picture cost 0.050001 EUR on average\n"
        "\n"
        "recipe   attempts  settled  released  open  unknown  settled USD  open USD  of which unknown USD\n"
        "posters         4        2         0     2        0     0.080000  1.400000              0.000000\n"
        "scans           2        0         1     1        1     0.000000  0.700000              0.700000\n"
        "total           6        2         1     3        1     0.080000  2.100000              0.700000\n"
        "a picture cost 0.040000 USD on average\n"
    )


def test_the_text_says_which_days_and_shortens_commits(books: Books) -> None:
    report = build(books.rows(), ["workspace", "commit"], workspace="studio", last_day="2026-11-30")
    text = written("text", report)
    assert text.startswith("usage by workspace, commit · workspace studio · until 2026-11-30\n")
    assert "0123456789ab-dirty " in text
    assert "0123456789abc" not in text
    assert "\nlab        –  " in text
    assert written("text", build([], ["day"])) == "usage by day · all workspaces · all days\n\nno attempts\n"


def test_the_csv_is_rows_only_with_six_decimals(books: Books) -> None:
    assert written("csv", build(books.rows(), ["recipe", "label:season"])) == (
        "recipe,label:season,currency,attempts,settled_count,released_count,open_count,unknown_count,"
        "settled,open,unknown,unusable_count,unusable,again_count,again,reconciled_count,reconciled,price_per_picture,"
        "correction_count\r\n"
        "logos,,EUR,2,1,0,1,1,0.050001,0.700000,0.700000,0,0.000000,0,0.000000,0,0.000000,0.050001,0\r\n"
        "posters,,USD,4,2,0,2,0,0.080000,1.400000,0.000000,0,0.000000,0,0.000000,0,0.000000,0.040000,0\r\n"
        "scans,autumn,USD,2,0,1,1,1,0.000000,0.700000,0.700000,0,0.000000,0,0.000000,0,0.000000,,0\r\n"
    )


def test_the_json_carries_rows_and_totals_with_money_as_text(books: Books) -> None:
    found = json.loads(written("json", build(books.rows(), ["cost-centre"], workspace="studio")))
    assert found["schema"] == "omixa.report/1"
    assert (found["by"], found["workspace"], found["from"], found["to"]) == (["cost-centre"], "studio", None, None)
    assert found["rows"][-1] == {
        "cost-centre": None,
        "currency": "USD",
        "attempts": 2,
        "settled_count": 0,
        "released_count": 1,
        "open_count": 1,
        "unknown_count": 1,
        "settled": "0.000000",
        "open": "0.700000",
        "unknown": "0.700000",
        "unusable_count": 0,
        "unusable": "0.000000",
        "again_count": 0,
        "again": "0.000000",
        "reconciled_count": 0,
        "reconciled": "0.000000",
        "price_per_picture": None,
        "correction_count": 0,
    }
    assert [(total["currency"], total["settled"]) for total in found["totals"]] == [
        ("EUR", "0.050001"),
        ("USD", "0.080000"),
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_text(start: str) -> None:
    assert cell(f"{start}1+1").startswith("'")
    found = build([row(1, "settled", 39_000, labels={"client": f"{start}HYPERLINK(1)"})], ["label:client"])
    body = written("csv", found).split("\r\n")[1]
    assert body.startswith(("'", "\"'"))


def test_an_ordinary_cell_and_a_number_stay_as_they_are() -> None:
    assert cell("4711") == "4711"
    assert cell("a=b") == "a=b"
    assert cell(None) == ""


def test_cells_with_commas_quotes_and_line_breaks_come_back_whole() -> None:
    report = build([row(1, "settled", 1, cost_centre='a,"b"\nc')], ["cost-centre"])
    parsed = list(csv.reader(io.StringIO(written("csv", report), newline="")))
    assert parsed[1][0] == 'a,"b"\\nc'  # a line break is shown, so that a row stays a line


TEXTS = [name for name, one in FORMATS.items() if one.of == "groups"]


@pytest.mark.parametrize("format_name", TEXTS)
def test_no_format_lets_a_value_steer_the_terminal(format_name: str) -> None:
    hostile = "\x1b]0;owned\x07\u202eevil\x9b31m"
    report = build([row(1, "settled", 1, recipe=hostile)], ["recipe"])
    text = written(format_name, replace(report, workspace=hostile))
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}


def test_amounts_beyond_what_a_float_can_hold_stay_exact() -> None:
    report = build([row(1, "settled", 999_999_999_999_999), row(2, "settled", 9_007_199_254_740_993)], ["recipe"])
    for format_name in TEXTS:
        assert "10007199254.740992" in written(format_name, report)
