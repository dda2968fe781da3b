"""A plan is made batch by batch: it is the one that comes of all pictures at once, wherever a batch ends."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.plan import png
from runner import drafts, images, items, jobs, pile, plan, shelf
from runner.diagnostics import Problems
from runner.item import Item
from runner.ledger import known
from runner.project import load
from tests.planned import NOON, Told, World, told

BATCH = 4


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is done in portions is done in small ones."""
    monkeypatch.setattr(items, "BATCH", BATCH)
    monkeypatch.setattr(pile, "HELD", 3)
    monkeypatch.setattr(shelf, "HELD", 3)
    monkeypatch.setattr(pile, "BLOCK", 2)


def all_at_once(world: World, name: str, *, again: bool = False, limit: int | None = None) -> list[Told]:
    """The plan as it is told by its rules, with everything in memory: decide step by step, order, share, limit."""
    settings, (recipe,) = load(world.root, [name])
    wanted, problems = items.expand(recipe, settings)
    assert problems == []
    made = drafts.draft(recipe, wanted, settings.root)
    results = images.Results(jobs.home(settings) / "results")
    workspace = settings.workspaces["studio"]
    decided: dict[str, Item] = {}
    with world.ledger() as database:
        for step in recipe.steps:
            own = [one for one in made if one.step == step.name]
            facts = known.facts(
                database,
                own,
                workspace=workspace.account,
                recipe=recipe.name,
                model=step.model,
                declared_micros=workspace.ceilings[step.model],
                zone=workspace.time_zone,
                caps=[],
                at=NOON,
                is_kept=lambda digest: results.path(digest) is not None,
                is_same_file=lambda path, digest: digest in images.digests(path),
            )
            for one in own:
                origin = decided[one.origin] if one.origin else None
                decided[one.output_path] = plan.decide(one, facts, step.model, reroll=again, origin=origin)
    ordered: list[Item] = []

    def visit(item: Item) -> None:
        ordered.append(item)
        for other in decided.values():
            if other.draft.origin == item.draft.output_path:
                visit(other)

    for item in decided.values():
        if item.draft.origin is None:
            visit(item)
    return [_told(item) for item in _shared(ordered, limit)]


def _shared(ordered: Sequence[Item], limit: int | None) -> list[Item]:
    first: dict[str, str] = {}
    later: set[str] = set()
    found = []
    for item in ordered:
        identity, output = item.draft.identity, item.draft.output_path
        if item.action == "buy" and identity is not None:
            if identity in first:
                reason = f"same content and options as `{first[identity]}`: bought once"
                item = replace(item, action="restore", reason=reason, paid=None, after=first[identity])
            elif item.draft.awaits and item.draft.origin in later:
                item = replace(item, action="later", reason=f"made of `{item.draft.origin}`, which is not bought now")
            elif limit is not None and len(first) >= limit:
                item = replace(item, action="later", reason=f"beyond --limit {limit}: {item.reason}")
            else:
                first[identity] = output
        if item.action == "later":
            later.add(output)
        found.append(item)
    return found


def _told(item: Item) -> Told:
    draft = item.draft
    return item.action, item.reason, draft.step, draft.source_path, draft.output_path, draft.identity, item.after


def disturb(world: World, dice: random.Random, count: int) -> None:
    """Pictures that are new, twins, unsuitable or gone, and results that are gone or somebody else's."""
    for number in range(count):
        match dice.randrange(8):
            case 0:
                world.output(number).unlink()
            case 1:
                world.output(number).write_bytes(b"somebody's")
            case 2:
                world.source(number).write_bytes(png(dice.choice((90_001, 90_002))))
            case 3:
                world.source(number).write_bytes(b"no picture")
            case 4:
                world.source(number).unlink()
            case 5:
                twin = world.source(number).with_name(f"twin-{number}.png")
                twin.write_bytes(png(dice.choice((90_001, 90_002, number))))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 2 * BATCH + 1, 31])
@pytest.mark.parametrize("seed", range(3))
def test_a_plan_in_batches_is_the_plan_of_all_at_once(
    count: int, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world", monkeypatch, pictures=count, a_folder=5)
    dice = random.Random(f"{count} {seed}")
    assert [one[0] for one in told(world.plan(listed=True))] == ["skip"] * count
    disturb(world, dice, count)
    for wishes in ({}, {"limit": dice.randint(1, 5)}, {"again": True}):
        assert told(world.plan(listed=True, **wishes)) == all_at_once(world, "scans", **wishes)  # type: ignore[arg-type]
    world.steps()
    for wishes in ({}, {"limit": dice.randint(1, 9)}):
        assert told(world.plan("graph", **wishes)) == all_at_once(world, "graph", **wishes)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small")
def test_without_a_picture_there_is_nothing_in_any_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "world", monkeypatch, pictures=1)
    world.source(0).unlink()
    world.steps()
    for name in ("scans", "graph"):
        made = world.plan(name)
        assert (made.count(), list(made.items), made.buy_count) == (0, [], 0)


@pytest.mark.usefixtures("small")
def test_the_counts_of_a_plan_are_those_of_its_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "world", monkeypatch, pictures=23, a_folder=5)
    disturb(world, random.Random(7), 23)
    world.steps()
    for name in ("scans", "graph"):
        made = world.plan(name, listed=True)
        listed = list(made.items)
        assert made.count() == len(listed) == len(made.items)
        for action in ("buy", "restore", "skip", "hold", "unsuitable", "later"):
            own = [item for item in listed if item.action == action]
            assert (made.count(action), list(made.of(action))) == (len(own), own)  # type: ignore[arg-type]
        for part in made.parts:
            own = [item for item in listed if item.draft.step == part.name]
            assert made.buys[part.name] == sum(item.action == "buy" for item in own)
            assert made.paid(part.name) == sum(
                item.action in ("skip", "restore") and item.after is None for item in own
            )
        assert set(made.items.folders) == {str(item.draft.output.parent) for item in listed}
        assert [line[3] for line in made.items.lines] == [item.draft.output_path for item in listed]
        assert [made.items[at] for at in range(len(listed))] == listed


@pytest.mark.usefixtures("small")
def test_what_one_recipe_buys_is_not_bought_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "world", monkeypatch, pictures=13)
    world.steps()
    world.steps("second", **{"made/": "other/"})
    first = world.plan("graph")
    second = world.plan("second", after=[first])
    assert (first.buy_count, second.buy_count) == (39, 0)
    assert [item.after for item in second.items] == [item.draft.output_path for item in first.items]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("first", "second"), [(0, 1), (BATCH - 1, BATCH), (0, 11), (3, 9)])
def test_two_results_of_different_batches_that_would_be_one_file_are_found(
    first: int, second: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world", monkeypatch, pictures=12, a_folder=3)
    name = '[output]\nfolder = "out"\nname = "{stem}"'
    world.recipe.write_text(world.recipe.read_text().partition("[output]")[0] + name)
    world.plan()
    world.source(second).rename(world.source(second).with_name(world.source(first).name.upper()))
    with pytest.raises(Problems) as caught:
        world.plan()
    (problem,) = caught.value.problems
    assert problem.code == "output-collision"
    assert f"pictures/{first // 3:04d}/" in problem.message
    assert f"pictures/{second // 3:04d}/" in problem.message


@pytest.mark.usefixtures("small")
def test_a_folder_with_more_pictures_than_are_remembered_at_once_is_still_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.images.seen._FILES_HELD", 5)
    world = World(tmp_path / "world", monkeypatch, pictures=9, a_folder=6)
    before = told(world.plan(listed=True))
    monkeypatch.setattr("runner.images.sources.inspect", None)  # nobody looks into a picture any more
    assert told(world.plan(listed=True)) == before
