"""`omixa graph`: a recipe as text, as Mermaid and as a picture; the example of the page is what the program says."""

import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from runner.cli import main
from runner.commands.graph_formats import Graph, Node, as_mermaid, as_svg, as_text

HOUSE = Path(__file__).parent.parent


def say(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    code = main(["--project", str(HOUSE), *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def test_the_page_says_what_the_program_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (HOUSE / "docs/steps.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n\$ omixa graph shop-posters\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert say(capsys, "graph", "shop-posters") == block[1]


def test_the_example_of_the_page_is_in_the_recipe_of_the_repository() -> None:
    page = (HOUSE / "docs/steps.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    recipe = {line.partition(" #")[0] for line in (HOUSE / "recipes/shop-posters.toml").read_text().splitlines()}
    assert [line for line in block[1].splitlines() if line not in recipe] == []


def test_a_recipe_of_one_step_is_drawn_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, "graph", "restore-scans").splitlines()[1:] == [
        "└─ pictures/scans",
        "   └─ restore-scans · stability-upscale-creative · prompt restore · preset photo · 11 pictures → out/scans",
    ]


def test_with_the_plan_it_says_what_is_paid_and_what_would_be_bought(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("recipes", "contracts", "pictures"):
        shutil.copytree(HOUSE / name, tmp_path / name)
    shutil.copy(HOUSE / "omixa.toml", tmp_path)
    assert main(["--project", str(tmp_path), "run", "shop-posters", "--yes", "--limit", "1"]) == 0
    capsys.readouterr()
    assert main(["--project", str(tmp_path), "graph", "shop-posters", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "out/shop-posters/cut-out · 1 paid; 1 to buy, 0.039 sandbox-USD\n" in said
    assert "out/shop-posters/large · 2 to buy, 1.400 sandbox-USD\n" in said
    assert not (tmp_path / "out/shop-posters/large").exists()


HOSTILE = 'a"]<b>&\x1b[31m`#;|\\'


def hostile() -> Graph:
    nodes = [Node(HOSTILE, [HOSTILE], True), Node("s", ["s", HOSTILE * 9], False), Node("t", ["t"], False)]
    return Graph(HOSTILE, nodes, [(0, 1), (1, 2), (0, 2)])


def test_a_name_is_never_markup() -> None:
    svg = ElementTree.fromstring(as_svg(hostile()))  # raises where it is no XML
    shown = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert HOSTILE.replace("\x1b", "\\x1b") in shown
    mermaid = as_mermaid(hostile())
    for line in mermaid.splitlines()[4:]:
        assert re.fullmatch(
            r'  n\d+(\[/"[\w ._/,·→#;-]*"/\]|\["[\w ._/,·→#;<>-]*"\]| --> n\d+)', line.replace("<br/>", "")
        ), line
    assert "\x1b" not in as_text(hostile()) + mermaid


def test_a_step_of_two_folders_stands_below_the_first_and_names_the_other() -> None:
    graph = Graph("two", [Node("a", ["a"], True), Node("b", ["b"], True), Node("s", ["s"], False)], [(0, 2), (1, 2)])
    assert as_text(graph) == "two\n├─ a\n│  └─ s · also of b\n└─ b\n"
    assert as_mermaid(graph).splitlines()[-2:] == ["  n0 --> n2", "  n1 --> n2"]


def test_the_picture_has_a_box_for_each_node_and_an_arrow_for_each_way() -> None:
    svg = ElementTree.fromstring(as_svg(hostile()))
    boxes = [(int(box.attrib["x"]), int(box.attrib["y"])) for box in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(boxes) == 3
    assert boxes[0][0] < boxes[1][0] < boxes[2][0]
    arrows = [path for path in svg.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "arrow"]
    assert len(arrows) == 3
    right = max(x for x, _ in boxes) + 300
    assert int(svg.attrib["width"]) >= right


def test_it_is_written_to_a_file_and_a_bad_name_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, "graph", "shop-posters", "--format", "svg", "--out", str(tmp_path / "a.svg")) == ""
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg ")
    for name, begins in (
        ("b.SVG", "<svg "),
        ("b.mmd", "---\ntitle"),
        ("b.txt", "shop-posters · "),
        ("b", "shop-posters · "),
    ):
        assert say(capsys, "graph", "shop-posters", "--out", str(tmp_path / name)) == ""
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins), name
    assert main(["--project", str(HOUSE), "graph", "shop-postres"]) == 2
    assert "did you mean `shop-posters`?" in capsys.readouterr().err
    assert main(["--project", str(HOUSE), "graph", "shop-posters", "--out", str(tmp_path / "no/a.svg")]) == 7
