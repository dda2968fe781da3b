"""What docs/reports.md and docs/ledger.md say is what the program does: every console example is run."""

import re
import shlex
from pathlib import Path

import pytest

from runner.ledger import tables
from runner.reports import FORMATS
from runner.reports.csv import COLUMNS
from runner.reports.report import KEYS
from tests.reports.conftest import Books

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str) -> list[tuple[str, str]]:
    """Each command of a page's console blocks, with what it prints."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


@pytest.mark.parametrize("page", ["reports.md", "ledger.md"])
def test_every_console_example_prints_what_the_page_shows(
    books: Books, capsys: pytest.CaptureFixture[str], page: str
) -> None:
    assert examples(page)
    for command, printed in examples(page):
        program, *words = shlex.split(command)
        assert (program, books.omixa(*words)) == ("omixa", 0), command
        said = capsys.readouterr()
        assert (said.out + said.err).replace("\r\n", "\n") == printed, command


def test_every_key_format_and_column_of_a_report_is_on_its_page() -> None:
    text = (DOCS / "reports.md").read_text(encoding="utf-8")
    missing = [word for word in (*KEYS, "label:NAME", *FORMATS, *COLUMNS) if f"`{word}`" not in text]
    assert missing == []


def test_every_state_is_on_its_page() -> None:
    text = (DOCS / "ledger.md").read_text(encoding="utf-8")
    assert [state for state in tables.STATES if f"| `{state}` |" not in text] == []
    assert [state for state in tables.STATES if state.upper() not in text] == []
