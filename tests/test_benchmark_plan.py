"""The benchmark of planning, small: its world is one in which nothing is due, and what it measures ends well."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.plan import FIND, make_world, measure


def test_the_world_of_the_benchmark_has_nothing_to_buy_among_many_attempts(tmp_path: Path) -> None:
    world = tmp_path / "world"
    make_world(world, pictures=30, attempts=200)
    said = subprocess.run(
        [sys.executable, "-m", "runner", "-C", str(world), "plan", "--json"], capture_output=True, text=True, check=True
    )
    (made,) = json.loads(said.stdout)["plans"]
    assert [item["action"] for item in made["items"]] == ["skip"] * 30
    found = measure(world, 1, ["find", "omixa"])
    assert list(found) == [FIND, "omixa plan", "omixa plan --all", "omixa plan --json", "omixa plan --verify"]
    assert all(cpu > 0 and megabytes > 0 for cpu, _, megabytes in found.values())
