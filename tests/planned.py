"""A project with a ledger in which every picture was bought and is in place, in one process, and its plans."""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan as benchmark
from runner import images, jobs
from runner.images.seen import Seen
from runner.ledger.database import Database, open_database
from runner.plan import Plan
from runner.project import load
from runner.settings import ledger_path

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUSE = Path(__file__).parents[1]
# What an item says of itself, in the order in which the items stand.
Told = tuple[str, str, str, str, str, str | None, str | None]


class World:
    """The project. Files count as old enough to be remembered as soon as they are there."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, *, pictures: int, a_folder: int = 10) -> None:
        patch.setattr(benchmark, "A_FOLDER", a_folder)
        patch.setitem(Seen.__init__.__kwdefaults__, "young_ns", 0)
        self.root = root
        benchmark.make_world(root, pictures, pictures)

    @property
    def recipe(self) -> Path:
        return self.root / "recipes/scans.toml"

    def source(self, number: int) -> Path:
        """The picture with that number."""
        return self.root / "pictures" / f"{number // benchmark.A_FOLDER:04d}" / f"scan-{number:08d}.png"

    def output(self, number: int) -> Path:
        """Its result."""
        return self.root / "out" / self.source(number).relative_to(self.root / "pictures")

    def ledger(self) -> AbstractContextManager[Database]:
        return open_database(ledger_path(load(self.root, [])[0]), create=False)

    def plan(self, name: str = "scans", *, after: Sequence[Plan] = (), **wishes: Any) -> Plan:
        """A plan as it is now."""
        settings, (recipe,) = load(self.root, [name])
        with open_database(ledger_path(settings), create=False) as database:
            results = images.Results(jobs.home(settings) / "results")
            asked = jobs.Wishes(**wishes)
            return jobs.make_plan(recipe, settings, database, results, at=NOON, wishes=asked, after=after)

    def steps(self, name: str = "graph", **changes: str) -> None:
        """One more recipe, of three steps, that wants the same pictures."""
        if not (self.root / "contracts").exists():
            shutil.copytree(HOUSE / "contracts", self.root / "contracts")
        text = GRAPH
        for old, new in changes.items():
            text = text.replace(old, new)
        (self.root / "recipes" / f"{name}.toml").write_text(text, encoding="utf-8")
        settings = self.root / "omixa.toml"
        told = settings.read_text(encoding="utf-8")
        ceilings = 'ceilings = { "stability-remove-background" = "0.05", "stability-upscale-creative" = "0.70" }'
        settings.write_text("\n".join(ceilings if line.startswith("ceilings") else line for line in told.split("\n")))


GRAPH = """
workspace = "studio"

[[steps]]
name = "cut"
model = "stability-remove-background"
[[steps.sources]]
folder = "pictures"
[steps.output]
folder = "made/cut"

[[steps]]
name = "large"
model = "stability-upscale-creative"
from = "cut"
prompt = "crisp"
[steps.output]
folder = "made/large"

[[steps]]
name = "ground"
model = "stability-remove-background"
from = "large"
[steps.output]
folder = "made/ground"
format = "webp"

[prompts.crisp]
text = "Crisp."
"""


def told(made: Plan) -> list[Told]:
    """All that the items of a plan say."""
    return [
        (
            item.action,
            item.reason,
            item.draft.step,
            item.draft.source_path,
            item.draft.output_path,
            item.draft.identity,
            item.after,
        )
        for item in made.items
    ]
