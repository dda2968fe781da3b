"""`omixa diff` of recipes of several steps: each step's items, at each model's price."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.review.conftest import Scratch
from tests.review.test_diff import micros, only, total

HOUSE = Path(__file__).parents[2]
RECIPE = """
workspace = "studio"

[labels]
client = "acme"

[[steps]]
name = "restore"
model = "stability-upscale-creative"

[[steps.sources]]
folder = "pictures"
prompt = "restore"

[steps.output]
folder = "out/restored"

[[steps]]
name = "cut-out"
model = "stability-remove-background"
from = "restore"

[steps.output]
folder = "out/cut-out"

[prompts.restore]
text = "Restore it."

[schedule]
cron = "0 2 1 * *"
"""
THIRD = """
[[steps]]
name = "enlarge"
model = "stability-upscale-creative"
from = "cut-out"
prompt = ["restore", "enlarge"]

[steps.output]
folder = "out/large"
name = "{stem}-{prompt}"

[prompts.enlarge]
text = "Enlarge it."
"""
CEILINGS = '"stability-upscale-creative" = "0.04", "stability-remove-background" = "0.10"'


@pytest.fixture
def graph(scratch: Scratch) -> Scratch:
    shutil.copytree(HOUSE / "contracts", scratch.root / "contracts")
    scratch.replace("omixa.toml", '"stability-upscale-creative" = "0.04"', CEILINGS)
    scratch.write("recipes/posters.toml", RECIPE)
    scratch.commit("steps")
    scratch.git("branch", "--force", "main")
    return scratch


def gained(recipe: dict[str, Any]) -> list[str]:
    return [item["output"] for item in recipe["gained"]]


def test_a_month_counts_every_step_at_its_own_price(graph: Scratch) -> None:
    graph.write("recipes/posters.toml", RECIPE.replace("0 2 1 * *", "0 2 1,2 * *"))
    graph.commit()
    told = graph.diff("main...HEAD")
    # Three pictures: 0.04 and 0.10 each, once and then twice a month.
    assert [micros(only(told)[side]["run_expected"]) for side in ("before", "after")] == [420_000, 420_000]
    assert micros(total(told)["month_change"]) == 420_000
    assert only(told)["gained"] == []


def test_a_changed_first_step_is_all_that_is_made_of_it_and_a_changed_last_one_only_itself(graph: Scratch) -> None:
    graph.write("recipes/posters.toml", RECIPE.replace("Restore it.", "Restore it well."))
    graph.commit()
    told = graph.diff("main...HEAD")
    assert sorted(gained(only(told))) == [f"out/{step}/{n}.png" for step in ("cut-out", "restored") for n in range(3)]
    assert (total(told)["anew"], micros(total(told)["anew_cost"])) == (6, 420_000)
    graph.write(
        "recipes/posters.toml", RECIPE.replace('folder = "out/cut-out"', 'folder = "out/cut-out"\nformat = "webp"')
    )
    graph.commit()
    told = graph.diff("main...HEAD")
    assert gained(only(told)) == [f"out/cut-out/{n}.webp" for n in range(3)]
    assert (total(told)["anew"], micros(total(told)["anew_cost"])) == (3, 300_000)


def test_a_step_more_is_told_in_words_and_costs_what_it_makes(graph: Scratch) -> None:
    graph.write("recipes/posters.toml", RECIPE + THIRD)
    graph.commit()
    told = graph.diff("main...HEAD")
    assert len(gained(only(told))) == 6
    assert micros(total(told)["anew_cost"]) == 6 * 40_000
    words = {one["key"]: one["after"] for one in only(told)["changes"]}
    assert words["steps.enlarge.from"] == "cut-out"
    assert words["steps.enlarge.model"] == "stability-upscale-creative"
    assert words["steps.enlarge.prompt"] == "enlarge, restore"


def test_a_prompt_that_nobody_wrote_is_no_change(graph: Scratch) -> None:
    wordless = RECIPE[RECIPE.index("workspace") : RECIPE.index("[[steps]]")]
    wordless += 'model = "stability-remove-background"\n[[sources]]\nfolder = "pictures"\n[output]\nfolder = "out"\n'
    graph.write("recipes/posters.toml", wordless.replace("[labels]", "labels = {}\n").replace('client = "acme"', ""))
    graph.commit()
    keys = [one["key"] for one in only(graph.diff("main...HEAD"))["changes"]]
    assert [key for key in keys if key.startswith("prompts")] == ["prompts.restore"]
    assert "model" in keys


def test_renamed_steps_and_reordered_keys_cost_nothing(graph: Scratch) -> None:
    text = RECIPE.replace('"restore"\nmodel', '"restored"\nmodel').replace('from = "restore"', 'from = "restored"')
    graph.write("recipes/posters.toml", text)
    graph.commit()
    told = graph.diff("main...HEAD")
    assert (gained(only(told)), total(told)["month_change"]) == ([], "0.000000")


def test_what_is_paid_for_is_not_bought_anew_in_any_step(graph: Scratch) -> None:
    code, _, err = graph.say("run", "posters", "--yes")
    assert code == 0, err
    graph.write("recipes/posters.toml", RECIPE.replace("[schedule]", '[budget]\nmonth = "5.00"\n\n[schedule]'))
    graph.write("recipes/copies.toml", RECIPE.replace("out/", "out/copies/"))
    graph.commit()
    told = graph.diff("main...HEAD")
    assert (total(told)["anew"], micros(total(told)["month_change"])) == (0, 234_000)  # as billed
    # Also where the base had no such recipe, and only the ledger knows.
    for name in ("posters", "copies"):
        (graph.root / f"recipes/{name}.toml").unlink()
    graph.commit()
    graph.git("branch", "--force", "main")
    graph.write("recipes/posters.toml", RECIPE)
    graph.commit()
    told = graph.diff("main...HEAD")
    assert (len(gained(only(told))), total(told)["anew"]) == (6, 0)


def test_policies_are_asked_of_every_step(graph: Scratch) -> None:
    graph.settings(more='[policy]\nmax_price = "0.05"\nallowed_folders = ["pictures", "out/restored"]\n')
    graph.replace("omixa.toml", '"stability-upscale-creative" = "0.04"', CEILINGS)
    code, _, err = graph.say("check")
    assert code == 2
    assert "a picture of stability-remove-background may cost 0.100" in err
    assert "the folder `out/cut-out` lies in none that the policy allows\n  --> recipes/posters.toml:24:10" in err
