"""docs/performance.md says what was measured, all of it, and is made from what was kept."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import measured, performance, svg
from benchmarks.measured import Goal, Table
from benchmarks.turns import Round, of, ratio, speed

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def turn(client: str, wall_s: float) -> Round:
    return Round(client, wall_s, cpu_s=1, rss_mib=1, sending_s=1, in_flight_max=1, endpoint_cpu_s=1, load=0)


def test_the_page_is_what_the_kept_results_make() -> None:
    sections = performance.sections()
    assert sections
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert page == performance.page(sections, picture=performance.PICTURE.exists())
    for section in sections:
        for goal in section["goals"]:
            assert " | ".join(goal) in page
        for words in (section["commit"], section["at"], section["machine"], section["command"]):
            assert words in page


def test_what_was_not_reached_is_said() -> None:
    goals = [Goal("one", "two", "≥ 2×", f"{got}×", reached) for got, reached in ((3, True), (1, False), (0, None))]
    section: dict[str, Any] = {
        **dict.fromkeys(("title", "command", "commit", "at", "machine", "system", "notes"), "x"),
        "goals": [goal.row() for goal in goals],
        "tables": [{"title": "figures", "rows": [["", "a"], ["first", "1.5"], ["second", "–"]]}],
    }
    page = performance.page([section], picture=False)
    assert "| one | two | ≥ 2× | 3× | reached |" in page
    assert "| one | two | ≥ 2× | 1× | **not reached** |" in page
    assert "| one | two | ≥ 2× | 0× | not measured |" in page
    assert "| first | 1.5 |\n| second | – |" in page


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    # The machine was slow in the second round. By the medians of each, 2 and 3 seconds, it would be 1.5 times.
    rounds = [turn("a", 1), turn("b", 3), turn("b", 20), turn("a", 10), turn("a", 2), turn("b", 2)]
    assert [one.wall_s for one in of(rounds, "b")] == [3, 20, 2]
    assert ratio(rounds, "a", "b", speed) == 2


def test_the_chart_holds_every_figure_and_is_right_in_proportion() -> None:
    values = {"1": 0.5, "16": 2.0, "64": 3.0}
    tree = ElementTree.fromstring(svg.bars(title="a < b", under="c & d", values=values, line=1.0, line_name="one"))
    space = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in tree.iter(f"{space}text")]
    assert {"a < b", "c & d", "one", "0.50", "2.00", "3.00", "1", "16", "64"} <= set(words)
    heights = [float(bar.get("height", "")) for bar in tree.iter(f"{space}rect") if bar.get("fill") == "#2563a8"]
    assert [round(height / heights[0], 1) for height in heights] == [1.0, 4.0, 6.0]
    assert tree.findtext(f"{space}desc") == "1: 0.50; 16: 2.00; 64: 3.00"


def test_what_is_kept_can_be_read_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    rows = [["", "a"], ["×", "1"]]
    path = measured.keep("one", "One", goals=[], tables=[Table("t", rows)], notes="n", command="c", more=[1.5])
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert (kept["tables"], kept["more"]) == ([{"title": "t", "rows": rows}], [1.5])
    assert [section["title"] for section in performance.sections()] == ["One"]


@pytest.mark.parametrize("file", ["Makefile", "CONTRIBUTING.md", "README.md", "docs/performance.md"])
def test_every_benchmark_that_is_named_is_there(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    named = {*re.findall(r"-m benchmarks\.(\w+)", text), *re.findall(r"benchmarks/(\w+)\.py", text)}
    assert named
    assert sorted(name for name in named - {"NAME"} if not (ROOT / "benchmarks" / f"{name}.py").exists()) == []


def test_make_bench_makes_the_page_anew() -> None:
    """What it starts is what keeps results, or prints its own figures."""
    done = subprocess.run(["make", "--no-print-directory", "-n", "bench"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    started = re.findall(r"python -m benchmarks\.(\w+)$", done.stdout, re.MULTILINE)
    assert started == ["sending", "processes", "growth", "startup"]
    for name in started:
        assert "performance.write()" in (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")


def test_a_result_does_not_tell_where_the_files_were() -> None:
    words = ["--keep", "--folder", "/some/where", "--only", "find /", "--rounds", "3"]
    assert measured.command("plan", words) == "python -m benchmarks.plan --keep --only 'find /' --rounds 3"
    assert measured.command("plan", []) == "python -m benchmarks.plan"
