"""Every recipe in `recipes/` is also a test: it runs on the sandbox as it stands, and costs nothing the second time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (HOUSE / "recipes").glob("*.toml"))


def run(root: Path, recipe: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "runner", "--project", str(root), "run", recipe, "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["runs"][0]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_of_the_house_runs_and_then_costs_nothing(recipe: str, tmp_path: Path) -> None:
    shutil.copy(HOUSE / "omixa.toml", tmp_path)
    for folder in ("recipes", "pictures", "contracts"):
        shutil.copytree(HOUSE / folder, tmp_path / folder)
    first = run(tmp_path, recipe)
    assert isinstance(first["pictures"], list)
    assert first["pictures"]
    for picture in first["pictures"]:
        assert picture["kind"] == "bought"
        assert (tmp_path / picture["output"]).is_file()
    assert run(tmp_path, recipe)["counts"] == {}
