"""A project for the real program: one workspace with caps, recipes, and a ledger of its own beside them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.endpoint import KEY
from benchmarks.measured import environment

OMIXA = str(Path(sys.executable).with_name("omixa"))
CEILING = "0.05"

_SETTINGS = """
[endpoints.local]
url = "{url}"
[workspaces.bench]
endpoint = "local"
api_key = {{ env = "BENCH_KEY" }}
currency = "USD"
time_zone = "Europe/Berlin"
concurrency = {in_flight}
budget = {{ day = "100000.00", month = "100000.00", total = "1000000.00" }}
ceilings = {{ "stability-upscale-creative" = "{ceiling}" }}
"""
_RECIPE = """
workspace = "bench"
model = "stability-upscale-creative"
[[sources]]
folder = "{pictures}"
prompt = "restore"
[prompts.restore]
text = "Restore it."
[output]
folder = "{out}"
format = "png"
[budget]
run = "50000.00"
month = "50000.00"
"""


def lay_out(root: Path, *, url: str, in_flight: int, recipes: Sequence[tuple[str, str, str]]) -> None:
    """Write omixa.toml and the recipes: name, folder of pictures, folder of results. What was bought is forgotten."""
    shutil.rmtree(root / ".omixa", ignore_errors=True)
    (root / "omixa.toml").write_text(_SETTINGS.format(url=url, in_flight=in_flight, ceiling=CEILING))
    (root / "recipes").mkdir(exist_ok=True)
    for name, pictures, out in recipes:
        shutil.rmtree(root / out, ignore_errors=True)
        (root / "recipes" / f"{name}.toml").write_text(_RECIPE.format(pictures=pictures, out=out))


def run_words(root: Path, recipe: str) -> list[str]:
    """The command that buys a recipe."""
    return [OMIXA, "--project", str(root), "run", recipe, "--yes", "--json"]


def told(root: Path, *words: str) -> dict[str, Any]:
    """What a command says with `--json`. Raises SystemExit when it fails."""
    done = subprocess.run(
        [OMIXA, "--project", str(root), *words, "--json"],
        capture_output=True,
        text=True,
        env=environment(BENCH_KEY=KEY),
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"omixa {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return cast(dict[str, Any], json.loads(done.stdout))


def books(root: Path) -> tuple[int, int]:
    """What the ledger says was settled, and is open, in micro-units; the chain must verify."""
    told(root, "audit", "verify")
    (workspace,) = told(root, "budget")["workspaces"]
    (total,) = [w for w in workspace["windows"] if w["scope"] == "workspace" and w["period"] == "total"]
    return micros(total["settled"]), micros(total["open"])


def micros(amount: str) -> int:
    """An amount as the program writes it, with six decimals."""
    whole, _, decimals = amount.partition(".")
    assert len(decimals) == 6, amount
    return int(whole + decimals)


def run_told(log: Path) -> dict[str, Any]:
    """What the last run said with `--json`; other words may stand before it."""
    text = log.read_text(encoding="utf-8")
    (run,) = json.loads(text[text.index('{\n  "schema": "omixa.run/1"') :])["runs"]
    return cast(dict[str, Any], run)
