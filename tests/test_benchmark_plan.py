"""The benchmark of planning, small: its world is one in which nothing is due, and what it measures ends well."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import measured, performance, plan
from benchmarks.plan import ALL, FIND, PLAN, faster, grown, make_world, measure


def test_the_world_of_the_benchmark_has_nothing_to_buy_among_many_attempts(tmp_path: Path) -> None:
    world = tmp_path / "world"
    make_world(world, pictures=30, attempts=200)
    said = subprocess.run(
        [sys.executable, "-m", "runner", "-C", str(world), "plan", "--json"], capture_output=True, text=True, check=True
    )
    (made,) = json.loads(said.stdout)["plans"]
    assert [item["action"] for item in made["items"]] == ["skip"] * 30
    found = measure(world, 30, 1, ["find", "omixa"])
    assert list(found) == [FIND, "omixa plan", "omixa plan --all", "omixa plan --json", "omixa plan --verify"]
    assert all(cpu > 0 and megabytes > 0 for cpu, _, megabytes in found.values())


def test_what_a_larger_tree_may_take_grows_with_it_and_memory_does_not() -> None:
    small = {FIND: (0.5, 0.5, 11.0), PLAN: (1.0, 1.0, 40.0), ALL: (7.0, 7.0, 54.0)}
    larger = {FIND: (5.0, 5.0, 11.0), PLAN: (12.0, 12.0, 150.0), ALL: (84.1, 84.1, 60.0)}
    quick, every = grown(small, 100_000, larger, 1_000_000)
    assert (quick.measured, quick.reached) == ("12.0×, 40 → 150 MB", True)
    assert (every.measured, every.reached) == ("12.0×, 54 → 60 MB", False)
    heavy = {**larger, PLAN: (9.0, 9.0, 150.1)}
    assert not grown(small, 100_000, heavy, 1_000_000)[0].reached
    assert grown(small, 100_000, {**larger, PLAN: (24.0, 24.0, 41.0)}, 2_000_000)[0].reached


def test_only_other_programs_are_to_be_slower() -> None:
    found = {FIND: (0.5, 0.5, 11.0), PLAN: (1.0, 1.0, 40.0), ALL: (7.0, 7.0, 54.0), "make": (0.8, 0.8, 59.0)}
    (make,) = faster(found, 100_000)
    assert (make.against, make.measured, make.reached) == ("`make`", "1.25×", False)


def test_other_sizes_are_measured_in_one_go(tmp_path: Path) -> None:
    words = ["--pictures", "20", "--attempts", "100", "--rounds", "1", "--only", "find", "--only", "omixa"]
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.plan",
            *words,
            "--also",
            "5",
            "--also",
            "40",
            "--folder",
            str(tmp_path / "w"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    for told in ("20 pictures, 100 attempts", "5 pictures, 50 attempts", "40 pictures, 100 attempts"):
        assert told in said.stdout
    assert "`omixa plan --all` of 40 pictures" in said.stdout


def test_what_is_kept_is_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(performance, "write", lambda: None)
    words = ["--pictures", "20", "--attempts", "100", "--rounds", "1", "--only", "find", "--only", "omixa"]
    monkeypatch.setattr(sys, "argv", ["plan", *words, "--also", "40", "--keep", "--folder", str(tmp_path / "w")])
    assert plan.main() == 0
    kept = json.loads((tmp_path / "results" / "plan.json").read_text())
    assert [table["title"].split(",")[0] for table in kept["tables"]] == ["20 pictures", "40 pictures"]
    assert [goal[0].split(" of ")[1] for goal in kept["goals"]][-2:] == ["40 pictures"] * 2
    assert str(tmp_path) not in json.dumps(kept)
