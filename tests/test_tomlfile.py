"""TOML text, its data, and where each key stands; hostile files are refused before they are parsed."""

import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import tomlfile
from runner.diagnostics import Place, Problem, Problems


def read(folder: Path, text: str | bytes) -> tomlfile.TomlFile:
    path = folder / "x.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tomlfile.read(path, "recipes/x.toml")


def problem_of(folder: Path, text: str | bytes) -> Problem:
    with pytest.raises(Problems) as caught:
        read(folder, text)
    (problem,) = caught.value.problems
    return problem


def spot(place: Place) -> tuple[int | None, int | None, int]:
    return place.line, place.column, place.length


def test_decimals_are_read_exactly(tmp_path: Path) -> None:
    assert read(tmp_path, "a = 0.30\n").data == {"a": Decimal("0.30")}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = read(tmp_path, b"\xef\xbb\xbfa = 1\n")
    assert file.data == {"a": 1}
    assert spot(file.place(("a",))) == (1, 1, 1)


TEXT = """\
# ünïcödé
workspace = "studio"
a.b."c d".e = 'é'  # two bytes

[prompts.restore]
text = \"\"\"
first
second\"\"\"

[[sources]]
folder = "one"
[[sources]]
folder = "two"
include = ["ä", { x = 1, y.z = "日本" }]
[sources.more]
deep = [
  # a comment is no item
  "first",
  "second",
]
"""


@pytest.mark.parametrize(
    ("loc", "value", "expected"),
    [
        (("workspace",), False, (2, 1, 9)),
        (("workspace",), True, (2, 13, 8)),
        (("a", "b"), False, (3, 3, 1)),
        (("a", "b", "c d"), False, (3, 5, 5)),
        (("a", "b", "c d", "e"), False, (3, 11, 1)),
        (("a", "b", "c d", "e"), True, (3, 15, 3)),
        (("prompts",), False, (5, 2, 7)),
        (("prompts", "restore"), True, (5, 10, 7)),
        (("prompts", "restore", "text"), True, (6, 8, 3)),
        (("sources",), False, (10, 3, 7)),
        (("sources", 0), False, (10, 3, 7)),
        (("sources", 0, "folder"), True, (11, 10, 5)),
        (("sources", 1, "folder"), True, (13, 10, 5)),
        (("sources", 1, "include", 0), True, (14, 12, 3)),
        (("sources", 1, "include", 1, "x"), False, (14, 19, 1)),
        (("sources", 1, "include", 1, "y", "z"), True, (14, 32, 4)),
        (("sources", 1, "more", "deep", 1), True, (19, 3, 8)),
        (("sources", 1, "missing"), True, (12, 3, 7)),
        (("sources", 1, "missing", 3, "x"), True, (12, 3, 7)),
        (("missing",), True, (None, None, 1)),
    ],
)
def test_every_key_and_value_has_its_place(
    loc: tomlfile.Loc, value: bool, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    place = read(tmp_path, TEXT).place(loc, value=value)
    assert spot(place) == expected
    assert place.path == "recipes/x.toml"
    assert place.source == (TEXT.splitlines()[place.line - 1] if place.line else None)


def test_a_part_of_a_value_has_its_own_place(tmp_path: Path) -> None:
    file = read(tmp_path, TEXT)
    assert spot(file.place_within(("prompts", "restore", "text"), "second")) == (8, 1, 6)
    assert spot(file.place_within(("prompts", "restore", "text"), "not there")) == (6, 8, 3)


def test_lines_of_windows_are_lines(tmp_path: Path) -> None:
    place = read(tmp_path, "a = 1\r\nb = 2\r\n").place(("b",), value=True)
    assert spot(place) == (2, 5, 1)
    assert place.source == "b = 2"


def test_places_are_looked_up_only_when_asked_for(tmp_path: Path) -> None:
    sys.modules.pop("tree_sitter_toml", None)
    file = read(tmp_path, TEXT)
    assert "tree_sitter_toml" not in sys.modules
    file.place(("workspace",))
    assert "tree_sitter_toml" in sys.modules


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a = studio\n", "toml-syntax", 1, 5),
        ("a = 2.00 USD\n", "toml-syntax", 1, 10),
        ("workspace studio\n", "toml-syntax", 1, 11),
        ('a = 1\nb = "x\nc = 1\n', "toml-syntax", 2, 7),
        ('a = 1\r\nb = "x\r\nc = 1\r\n', "toml-syntax", 2, 7),
        ("[x\na = 1\n", "toml-syntax", 1, 3),
        ("a = [1,\n  2\nb = 3\n", "toml-syntax", 3, 1),
        ('a = """x\n\n\n', "toml-syntax", 1, 9),
        ('a = "c:\\pictures"\n', "toml-syntax", 1, 8),
        ("", None, 0, 0),
        ("a = 1\nb = 2\na = 3\n", "duplicate-key", 3, 1),
        ("a.b.c = 1\na.b = 2\n", "duplicate-key", 2, 3),
        ("[a]\nx = 1\n[b]\n[a]\n", "duplicate-key", 4, 2),
        ("[a]\nb.c = 1\n[a.b]\n", "duplicate-key", 3, 4),
        ("a = { b = 1, b = 2 }\n", "duplicate-key", 1, 14),
        ("[[a]]\n[a]\n", "duplicate-key", 2, 3),
    ],
)
def test_a_syntax_error_has_its_place(text: str, code: str | None, line: int, column: int, tmp_path: Path) -> None:
    if code is None:
        assert read(tmp_path, text).data == {}
        return
    problem = problem_of(tmp_path, text)
    assert problem.code == code
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (line, column)


def test_a_key_written_twice_says_where_it_was_first(tmp_path: Path) -> None:
    assert problem_of(tmp_path, "a = 1\n[b]\nc.d = 2\nc.d = 3\n").message == "`b.c.d` is written twice"
    assert problem_of(tmp_path, "a = 1\n[b]\nc.d = 2\nc.d = 3\n").label == "first written in line 3"


# Each of these takes a parser seconds, all memory, or its whole stack, if it ever sees it.
HOSTILE = {
    "dotted key": ("key-too-deep", "a." * 20_000 + "a = 1"),
    "dotted key with spaces": ("key-too-deep", "a .\t" * 20_000 + "a = 1"),
    "quoted dotted key": ("key-too-deep", '"a#".' * 20_000 + "a = 1"),
    "dotted header": ("key-too-deep", "[" + "a." * 20_000 + "a]"),
    "dotted key in an inline table": ("key-too-deep", "x = { " + "a." * 20_000 + "a = 1 }"),
    "arrays": ("nested-too-deep", "a = " + "[" * 20_000),
    "arrays over lines": ("nested-too-deep", "a = " + "[ # ]\n" * 20_000),
    "inline tables": ("nested-too-deep", "a = " + "{ a = " * 20_000),
    "after strings with brackets": ("nested-too-deep", "b = ''']'''\nc = \"\"\"]\"\"\"\na = " + "[']'," * 20_000),
    "after a string with four quotes at its end": ("nested-too-deep", 'b = """x""""\na = ' + "[" * 20_000),
    "after a literal with four quotes at its end": ("nested-too-deep", "b = '''x''''\na = " + "[" * 20_000),
    "after a string with five quotes at its end": ("nested-too-deep", 'b = """x"""""\na = ' + "[" * 20_000),
    "after an escaped quote": ("nested-too-deep", 'b = "\\""\na = ' + "[" * 20_000),
    "integer": ("word-too-long", "a = " + "1" * 10_000),
    "many tables": ("too-many-values", "[[a]]\n" * 100_000),
    "many values": ("too-many-values", "a = [" + "1," * 200_000 + "]"),
    "many keys": ("too-many-values", "".join(f"a{i} = 1\n" for i in range(50_000))),
    "size": ("file-too-large", "# " + "x" * tomlfile.BYTES_MAX),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_before_it_is_parsed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("the parser saw it")

    monkeypatch.setattr(tomlfile.tomllib, "loads", parsed)
    code, text = HOSTILE[name]
    assert problem_of(tmp_path, text).code == code


@pytest.mark.parametrize(
    "text",
    [
        'a = """' + '\\"""' * 100_000,
        "a = " + "'" * 15_000,
        "a = " + '"' * 15_000,
        'a = """' + "\\" * 300_000,
        "a = '''" + "''x" * 100_000,
        "a = 1\n" + "\n" * 900_000 + "=",
    ],
)
def test_unclosed_strings_are_read_in_one_pass(text: str, tmp_path: Path) -> None:
    assert problem_of(tmp_path, text).code == "toml-syntax"


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 32 + "]" * 32,
        ".".join("a" * 32) + " = 1",
        "[" + ".".join("a" * 32) + "]",
        "a = 'a.b.c." + "." * 100 + "[[[[" * 100 + "'",
        "# " + "a." * 100 + "[" * 100,
        "a = '''\n" + "[" * 100 + "\n" + "." * 100 + "''''' # five",
        "\n".join(f"a{i} = 1.5" for i in range(100)),
        'a = "\\"' + "[" * 100 + '"',
    ],
)
def test_what_is_within_the_limits_is_read(text: str, tmp_path: Path) -> None:
    read(tmp_path, text)


@pytest.mark.parametrize("text", ["a = " + "[" * 33 + "]" * 33, ".".join("a" * 33) + " = 1"])
def test_one_beyond_the_limits_is_refused(text: str, tmp_path: Path) -> None:
    assert problem_of(tmp_path, text).code in ("nested-too-deep", "key-too-deep")


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    read(tmp_path, "#" * tomlfile.BYTES_MAX)
    assert problem_of(tmp_path, "#" * (tomlfile.BYTES_MAX + 1)).code == "file-too-large"


def test_an_exponent_beyond_all_measure_is_a_value_like_any(tmp_path: Path) -> None:
    assert read(tmp_path, "a = 1e99999999999999999999\n").data == {"a": Decimal("Infinity")}
    assert read(tmp_path, "a = -1e99999999999999999999\n").data == {"a": Decimal("-Infinity")}


def test_bytes_that_are_no_utf_8_are_shown_in_their_line(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, 'a = 1\nb = "ü '.encode() + b"\xff" + b'"\n')
    assert problem.code == "not-utf-8"
    assert problem.place is not None
    assert spot(problem.place) == (2, 8, 1)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"`recipes/x.toml` cannot be read: No such file or directory"):
        tomlfile.read(tmp_path / "x.toml", "recipes/x.toml")
    with pytest.raises(Problems, match=r"cannot be read: Is a directory"):
        tomlfile.read(tmp_path, "recipes")


@settings(max_examples=300)
@given(st.text(alphabet="ab.=[]{},\"'#\\\n \t1-é", max_size=60))
def test_no_text_makes_it_fail_in_another_way(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "files-of-chance"
    folder.mkdir(exist_ok=True)
    try:
        file = read(folder, text)
    except Problems as error:
        found = error.problems
    else:
        found = ()
        assert all(file.place((key,)).line is not None for key in file.data)
    assert all(problem.place is not None for problem in found)
