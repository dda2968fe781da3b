"""Plain tables, and text that cannot steer a terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.terminal import clean, supports_color, table, table_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – Größe 写真", "plain – Größe 写真"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("\udcff\u2028\U000e0041", "\\udcff\\u2028\\U000e0041"),
    ],
)
def test_what_could_steer_or_hide_is_made_visible(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert clean(shown) == shown


def test_columns_line_up_and_no_line_ends_in_spaces() -> None:
    assert table(["name", "sum", ""], [["a", "1.00", "x"], ["longer", "10.00", ""]], right={1}) == (
        "name      sum\na        1.00  x\nlonger  10.00"
    )


def test_a_table_without_rows_is_its_header() -> None:
    assert table(["a", "b"], []) == "a  b"


def test_a_cell_cannot_break_out_of_its_line() -> None:
    assert len(table(["a"], [["x\ny\x1b[0m"]]).splitlines()) == 2


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert supports_color(Screen())
    assert not supports_color(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not supports_color(Screen())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not supports_color(Screen())
    monkeypatch.setenv("NO_COLOR", "")  # https://no-color.org: only when not empty
    assert supports_color(Screen())


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=8), st.sampled_from([set(), {0}, {1}]))
def test_a_table_that_is_made_line_by_line_is_the_same(rows: list[tuple[str, str]], right: set[int]) -> None:
    assert "\n".join(table_lines(["a", "long\n"], lambda: iter(rows), right)) == table(["a", "long\n"], rows, right)
