"""`omixa reconcile`: an invoice against a real ledger; what it proves is done once, and what differs is named."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.invoices.matching import DIFFERENCES, OPEN
from runner.ledger import reconciling, usage, verify
from runner.ledger.database import open_database
from runner.ledger.tables import VERDICTS
from runner.providers.provider import Evidence
from runner.reports.reconciled import NAMES
from tests.reports.conftest import MONTH, POSTERS, Books

MAPPING = """
[invoices.omixa]
workspace = "studio"
time = "created at"
amount = "amount"
currency = "currency"
id = "request"
"""
BEGAN = datetime(2026, 10, 5, 8, tzinfo=UTC)
OCTOBER = ("--month", "2026-10")


class Bought:
    """Attempts of a month, and the provider's lines of them, which a test then changes."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.lines: list[list[str]] = []
        (books.root / "omixa.toml").write_text((books.root / "omixa.toml").read_text() + MAPPING)

    def buy(self, count: int, *, billed: int = 39_000) -> list[int]:
        """So many settled attempts, ten minutes apart, each with its line."""
        found = []
        for _ in range(count):
            at = self.later()
            number = self.books.sent(POSTERS, f"p{len(self.lines)}", at, caps=(MONTH,))
            self.books.ledger.settle(
                number,
                billed_micros=billed,
                billed_text=None,
                code="billed",
                message=None,
                evidence=Evidence(200, {}, f"r-{number}"),
                result=None,
                who="ana",
                at=at + timedelta(seconds=2),
            )
            self.bill(at, billed, f"r-{number}")
            found.append(number)
        return found

    def lose(self, *, request_id: str | None = None) -> int:
        """An attempt whose answer never came."""
        evidence = None if request_id is None else Evidence(500, {}, request_id)
        return self.books.unknown(POSTERS, f"lost at {self.later()}", self.at, caps=(MONTH,), evidence=evidence)

    def later(self) -> datetime:
        """Two hours on: what is unknown is alone at its time."""
        self.at = getattr(self, "at", BEGAN) + timedelta(hours=2)
        return self.at

    def bill(self, at: datetime, micros: int, name: str, *, currency: str = "USD") -> None:
        self.lines.append([at.isoformat(), f"{micros // 10**6}.{micros % 10**6:06d}", currency, name])

    def file(self, name: str = "october.csv") -> str:
        out = io.StringIO(newline="")
        csv.writer(out).writerows([["created at", "amount", "currency", "request"], *self.lines])
        (self.books.root / name).write_text(out.getvalue(), newline="")
        return str(self.books.root / name)

    def kept(self) -> list[tuple[Any, ...]]:
        names = ("key", "verdict", "evidence", "ours_micros", "theirs_micros", "line")
        return [tuple(row[name] for name in names) for row in reconciling.kept(self.books.database)]

    def sound(self) -> None:
        """The chain guards what was recorded; the books' prompts are made up, which it says."""
        assert [fault for fault in verify.verify(self.books.database).faults if not fault.startswith("texts:")] == []


@pytest.fixture
def bought(empty_books: Books) -> Bought:
    return Bought(empty_books)


def test_an_invoice_that_agrees_ends_with_nothing_to_do(bought: Bought, capsys: pytest.CaptureFixture[str]) -> None:
    bought.buy(3)
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER) == 0
    out = capsys.readouterr().out
    assert "ours − theirs = 0.000000 USD: both say the same" in out
    assert "matched by id" in out
    assert bought.kept() == []


def test_every_difference_is_named_with_its_line_and_what_to_do(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    bought.buy(6)
    bought.lines[1][1] = "0.049000"  # line 3
    del bought.lines[3]
    bought.lines.append(list(bought.lines[0]))  # line 7
    bought.bill(BEGAN + timedelta(days=9), 700_000, "r-nobody")  # line 8
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER) == 1
    out = capsys.readouterr().out
    assert "ours − theirs = -0.710000 USD: the 4 rows below, to the micro-unit" in out
    table = [line.split("  ") for line in out.splitlines() if line.startswith(("october.csv:", "–"))]
    assert [[cell.strip() for cell in line if cell.strip()][:3] for line in table] == [
        ["october.csv:3", "amount differs", "2"],
        ["–", "only ours", "4"],
        ["october.csv:8", "only theirs", "–"],
        ["october.csv:7", "billed twice", "–"],
    ]


def test_apply_settles_and_releases_what_is_proved_with_the_evidence_and_again_changes_nothing(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    bought.buy(1)
    by_id, by_time, not_billed = bought.lose(request_id="r-lost"), bought.lose(), bought.lose()
    sent = BEGAN + timedelta(hours=4)
    bought.bill(sent, 41_000, "r-lost")
    bought.bill(sent + timedelta(hours=2, seconds=5), 42_000, "unheard")
    bought.buy(1)
    file = bought.file()
    assert bought.books.omixa("reconcile", file, *OCTOBER, "--complete") == 6  # what is proved is not booked yet
    assert bought.kept() == []
    assert {row.attempt_id: row.state for row in bought.books.rows()}[by_id] == "unknown"

    assert bought.books.omixa("reconcile", file, *OCTOBER, "--complete", "--apply") == 0
    out = capsys.readouterr().out
    assert f"settled attempts {by_id}, {by_time}; released attempt {not_billed}" in out
    states = {row.attempt_id: (row.state, row.billed_micros) for row in bought.books.rows()}
    assert states[by_id] == ("settled", 41_000)
    assert states[by_time] == ("settled", 42_000)
    assert states[not_billed] == ("released", None)
    found = usage.attempt(bought.books.database, by_id)
    assert found is not None
    note = found["entries"][-1]["note"]
    assert note.startswith("billed 0.041000: october.csv (SHA-256 ")
    assert note.endswith("line 3 bills 0.041000 at 2026-10-05T12:00:00.000000Z, found by id r-lost")
    kept = bought.kept()
    assert [row[:3] for row in kept] == [
        ("attempt 1", "matched", "id"),
        (f"attempt {by_id}", "billed", "id"),
        (f"attempt {by_time}", "billed", "time"),
        (f"attempt {not_billed}", "not-billed", None),
        ("attempt 5", "matched", "id"),
    ]
    bought.sound()
    entries = verify.verify(bought.books.database).entries

    assert bought.books.omixa("reconcile", file, *OCTOBER, "--complete", "--apply") == 0
    assert "0 verdicts recorded; 4 stood there already" in capsys.readouterr().out
    assert (bought.kept(), verify.verify(bought.books.database).entries) == (kept, entries)
    # So is what the next file has of it.
    bought.buy(1)
    assert bought.books.omixa("reconcile", bought.file("autumn.csv"), "--apply") == 0
    assert [row for row in bought.kept() if row[0] != "attempt 6"] == kept


def test_what_is_not_proved_stays_held(bought: Bought, capsys: pytest.CaptureFixture[str]) -> None:
    bought.buy(1)
    number = bought.lose()
    bought.buy(1)
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER, "--apply") == 6
    assert f"`omixa resolve {number} …`" in capsys.readouterr().out
    assert {row.attempt_id: row.state for row in bought.books.rows()}[number] == "unknown"


def test_a_file_without_a_line_is_believed_only_with_complete_and_the_days(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = bought.lose()
    bought.buy(1)
    bought.lines.clear()
    for words in ((), OCTOBER, ("--complete",)):
        assert bought.books.omixa("reconcile", bought.file(), *words) == 2
        assert "say so with --complete and the days, such as --month 2026-10" in capsys.readouterr().err
    assert bought.books.omixa("reconcile", bought.file(), "--complete", *OCTOBER, "--apply") == 1
    out = capsys.readouterr().out
    assert re.search(r"^only ours +1  0\.039000 +0\.000000 +\+0\.039000$", out, re.MULTILINE), out
    # It lists nothing before and after, so it proves of an unknown attempt nothing.
    assert {row.attempt_id: row.state for row in bought.books.rows()}[lost] == "unknown"


def test_a_bill_above_the_reservation_stops_the_workspace(bought: Bought, capsys: pytest.CaptureFixture[str]) -> None:
    number = bought.lose(request_id="r-dear")
    bought.bill(bought.at, 900_000, "r-dear")
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER, "--apply") == 0
    assert f"attempt {number} was billed more than was held, so workspace studio is stopped" in capsys.readouterr().err
    assert usage.stopped(bought.books.database, "studio", at=bought.at) is not None


def test_what_was_released_and_is_billed_stays_released_and_is_told(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    at = bought.later()
    number = bought.books.released(POSTERS, "declined", at)
    bought.bill(at, 39_000, "unheard")
    for apply in ([], ["--apply"], ["--apply"]):
        assert bought.books.omixa("reconcile", bought.file(), *OCTOBER, *apply) == 1
        assert "it stays released: ask for a credit" in capsys.readouterr().out
    assert {row.attempt_id: row.state for row in bought.books.rows()} == {number: "released"}
    assert bought.kept() == [(f"attempt {number}", "billed-released", "time", None, 39_000, 2)]


def test_another_file_that_says_otherwise_is_told_and_overwrites_nothing(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    bought.buy(2)
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER, "--apply") == 0
    kept = bought.kept()
    bought.lines[0][1] = "0.049000"
    capsys.readouterr()
    assert bought.books.omixa("reconcile", bought.file("corrected.csv"), *OCTOBER, "--apply") == 1
    out = capsys.readouterr().out
    assert "october.csv:2 said `matched`, which is kept" in out
    assert "1 verdict of an earlier file kept, although this one says otherwise" in out
    assert bought.kept() == kept


def test_what_a_later_file_explains_is_no_difference_any_more(bought: Bought) -> None:
    bought.buy(3)
    line = bought.lines.pop(1)
    bought.bill(BEGAN + timedelta(days=9), 39_000, "r-later")
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER, "--apply") == 1
    assert [row[1] for row in bought.kept()] == ["matched", "only-ours", "matched", "only-theirs"]
    bought.lines.insert(1, line)
    bought.lines.pop()
    assert bought.books.omixa("reconcile", bought.file("corrected.csv"), *OCTOBER, "--apply") == 0
    assert [row[1] for row in bought.kept()] == ["matched", "matched", "matched", "only-theirs"]
    bought.sound()


def test_the_report_has_what_is_reconciled_in_a_column_of_its_own(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    bought.buy(3)
    assert bought.books.omixa("report") == 0
    assert "reconciled" not in capsys.readouterr().out
    bought.lines[-1][1] = "0.049"
    bought.lose(request_id="r-lost")
    bought.bill(bought.at, 41_000, "r-lost")
    assert bought.books.omixa("reconcile", bought.file(), *OCTOBER, "--apply") == 1
    capsys.readouterr()
    assert bought.books.omixa("report") == 0
    header, row = capsys.readouterr().out.splitlines()[2:4]
    assert header.endswith("reconciled USD")
    assert row.split()[-4:] == ["0.158000", "0.000000", "0.000000", "0.119000"]
    assert bought.books.omixa("report", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)["rows"][0]
    assert (found["reconciled_count"], found["reconciled"]) == (3, "0.119000")
    assert bought.books.omixa("report", "--format", "csv") == 0
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (line["reconciled_count"], line["reconciled"]) == ("3", "0.119000")


def test_csv_and_json_have_every_row_and_no_formula(bought: Bought, capsys: pytest.CaptureFixture[str]) -> None:
    bought.buy(2)
    bought.bill(BEGAN + timedelta(days=9), 1_000_001, "=HYPERLINK(1)")
    file = bought.file()
    assert bought.books.omixa("reconcile", file, *OCTOBER, "--format", "csv") == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["verdict"], row["line"], row["difference"]) for row in rows] == [
        ("matched", "2", "0.000000"),
        ("matched", "3", "0.000000"),
        ("only-theirs", "4", "-1.000001"),
    ]
    assert rows[2]["id"] == "'=HYPERLINK(1)"
    out = bought.books.root / "told.json"
    assert bought.books.omixa("reconcile", file, *OCTOBER, "--format", "json", "--out", str(out)) == 1
    found = json.loads(out.read_text())
    assert (found["schema"], found["difference"], len(found["rows"])) == ("omixa.reconcile/1", "-1.000001", 3)
    assert found["counts"]["matched"] == 2
    for name, begins in (("told.json", "{"), ("told.csv", "verdict,"), ("told.txt", "october.csv (3 lines)")):
        out = bought.books.root / name
        assert bought.books.omixa("reconcile", file, *OCTOBER, "--out", str(out)) == 1
        assert out.read_text().startswith(begins), name


def test_a_line_of_another_currency_is_refused_and_nothing_applied(
    bought: Bought, capsys: pytest.CaptureFixture[str]
) -> None:
    bought.buy(1)
    bought.bill(BEGAN, 1, "x", currency="EUR")
    assert bought.books.omixa("reconcile", bought.file(), "--apply") == 2
    assert "october.csv:3:currency" in capsys.readouterr().err
    assert bought.kept() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--invoice", "omxia"], "did you mean `omixa`?"),
        (["--workspace", "nobody"], "there is no workspace `nobody`"),
        (["--from", "2026-10-01"], "say both --from and --to"),
        (["--month", "2026-13"], "is not a month"),
        (["--month", "2026-10", "--year", "2026"], "the days are said twice"),
    ],
)
def test_what_cannot_be_meant_is_told(
    bought: Bought, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    bought.buy(1)
    assert bought.books.omixa("reconcile", bought.file(), *words) == 2
    assert said in capsys.readouterr().err


def test_without_a_mapping_or_a_ledger_it_says_what_to_write(
    tmp_path: Path, empty_books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    assert empty_books.omixa("reconcile", "x.csv") == 2
    assert "add `[invoices.omixa]`" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    (other / "omixa.toml").write_text((empty_books.root / "omixa.toml").read_text() + MAPPING)
    (other / "a.csv").write_text("created at,amount,currency,request\n2026-10-05T08:00:00Z,1.0,USD,x\n")
    empty_books.root = other
    assert empty_books.omixa("reconcile", str(other / "a.csv")) == 1
    assert empty_books.omixa("reconcile", str(other / "a.csv"), "--apply") == 2
    assert "there is no ledger yet" in capsys.readouterr().err
    assert not (other / ".omixa").exists()


def test_a_ledger_that_cannot_be_written_can_be_compared(bought: Bought) -> None:
    bought.buy(1)
    file = bought.file()
    with open_database(bought.books.root / ".omixa" / "ledger.db", create=False) as opened:
        before = verify.verify(opened).entries
        assert bought.books.omixa("reconcile", file) == 0
        assert verify.verify(opened).entries == before


def test_every_verdict_is_on_its_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reconcile.md").read_text(encoding="utf-8")
    assert [verdict for verdict in NAMES if f"`{verdict}`" not in page] == []
    assert {*DIFFERENCES, *OPEN, "matched", "edge"} == set(NAMES)
    assert {*NAMES} - {"unproven", "under-way", "edge"} == {*VERDICTS} - {"explained"}
