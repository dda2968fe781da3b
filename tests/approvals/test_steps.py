"""An approved plan of several steps: what is made of what was approved is bought, and nothing else."""

import json
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.approvals.conftest import MAIL, House
from tests.run.conftest import kill, wait_until
from tests.run.test_contracts import HOUSE, serve
from tests.run.test_steps import CHEAP, RECIPE


class Steps:
    """The house with a recipe of three steps."""

    def __init__(self, house: House) -> None:
        self.house, self.studio = house, house.studio
        shutil.copytree(HOUSE / "contracts", self.studio.root / "contracts")
        self.write()
        self.serve()
        house.git("add", "contracts")
        house.commit("ana")

    def write(self, *, text: str = "Crisp.", large: str = "") -> None:
        (self.studio.root / "recipes/posters.toml").write_text(RECIPE.format(text=text, top="", large=large))

    def serve(self, ceilings: str = CHEAP, **options: Any) -> None:
        serve(self.studio, ceilings=ceilings, **options)
        path = self.studio.root / "omixa.toml"
        approver = f'[approvers.ben]\nkey = "{self.house.public["ben"]}"\nemail = "{MAIL["ben"]}"\n'
        path.write_text(path.read_text() + approver)


@pytest.fixture
def steps(house: House) -> Steps:
    return Steps(house)


def test_the_whole_graph_is_approved_and_bought_once(steps: Steps) -> None:
    plan = steps.house.plan()
    (recipe,) = plan["recipes"]
    assert (recipe["buy"], recipe["worst_cost"], recipe["ceiling"]) == (9, "0.351000", None)
    assert {model: price["ceiling"] for model, price in recipe["prices"].items()} == {
        "stability-remove-background": "0.039000",
        "stability-upscale-creative": "0.039000",
    }
    assert [("lineage" in item, item["key"] is None) for item in recipe["items"]] == [
        (False, False),
        (True, True),
        (True, True),
    ] * 3
    shown = steps.house.approve(amount="0.351")
    assert shown.code == 0
    assert re.search(r"^large +out/cut/000.png +out/large/000.png +crisp +–$", shown.out + shown.err, re.MULTILINE)
    ended = steps.house.run_plan()
    assert ended.code == 0, ended
    assert "bought 9 pictures for 0.351 USD" in ended.out
    again = steps.house.run_plan()
    assert again.code == 9, again
    assert steps.house.requests == 9


def test_killed_on_its_way_it_goes_on_with_what_is_left(steps: Steps) -> None:
    steps.serve(latency_ms=50)
    steps.studio.pictures(12)
    steps.house.plan()
    assert steps.house.approve(amount="1.404").code == 0
    process = steps.studio.start("run", "--plan", str(steps.house.plan_file))
    wait_until(lambda: steps.house.requests >= 8, process)
    kill(process)
    ended = steps.house.run_plan()
    assert ended.code in (0, 6), ended
    unknown = [row.attempt_id for row in steps.studio.rows() if row.state == "unknown"]
    for attempt in unknown:
        words = ("resolve", str(attempt), "--not-billed", "--note", "asked the provider")
        assert steps.house.omixa(*words).code == 0
    if unknown:  # they held what is made of them, and the approval came to its end: what is left is approved anew
        assert steps.house.run_plan().code == 9
        steps.house.approval().unlink()
        plan = steps.house.plan()
        assert plan["recipes"][0]["buy"] == 36 - steps.studio.states()["settled"]
        assert steps.house.approve(amount="1.404").code == 0
        assert steps.house.run_plan().code == 0
    assert steps.studio.states()["settled"] == 36
    assert steps.studio.settled == 1_404_000
    assert steps.house.requests - 36 <= 4


CHANGES: dict[str, tuple[Callable[[Steps], object], list[str]]] = {
    "another prompt on the way": (lambda steps: steps.write(text="Soft."), ["recipe-edited", "prompt-changed"]),
    "another picture at its beginning": (
        lambda steps: steps.studio.picture("pictures/001.png", seed=99),
        ["picture-touched"],
    ),
    "a picture that is gone": (
        lambda steps: (steps.studio.root / "pictures/001.png").unlink(),
        ["picture-gone"],
    ),
    "a dearer model in one step": (
        lambda steps: steps.serve('"stability-remove-background" = "0.039", "stability-upscale-creative" = "0.040"'),
        ["price-raised"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_it_was_approved_is_refused(steps: Steps, change: str) -> None:
    steps.house.plan()
    assert steps.house.approve().code == 0
    act, causes = CHANGES[change]
    act(steps)
    ended = steps.house.run_plan()
    assert ended.code == 9, ended
    for cause in causes:
        assert f"error[{cause}]" in ended.err, ended
    assert steps.house.requests == 0


def test_what_is_told_of_a_dearer_model_names_it(steps: Steps) -> None:
    steps.house.plan()
    assert steps.house.approve().code == 0
    CHANGES["a dearer model in one step"][0](steps)
    said = steps.house.run_plan().err
    assert "the most that one of stability-upscale-creative may cost was 0.039 USD when the plan was made" in said
    assert "stability-remove-background" not in said


def test_a_step_that_was_paid_before_is_not_approved_again(steps: Steps) -> None:
    """What is made of a result that is there is frozen with its key, as everything else is."""
    assert steps.house.omixa("run", "posters", "--yes", "--limit", "4").code == 0
    plan = steps.house.plan()
    (recipe,) = plan["recipes"]
    actions = [item["action"] for item in recipe["items"]]
    assert actions == ["skip", "skip", "skip", "skip", "buy", "buy", "buy", "buy", "buy"]
    assert ["lineage" in item for item in recipe["items"]] == [False] * 5 + [True] + [False] + [True] * 2
    assert steps.house.approve().code == 0
    ended = steps.house.run_plan()
    assert ended.code == 0, ended
    assert steps.house.requests == 9


def test_a_plan_that_says_another_lineage_buys_nothing(steps: Steps) -> None:
    """Signed or not: it would be made of something else than what the plan itself lists."""
    plan = steps.house.plan()
    for item in plan["recipes"][0]["items"]:
        if "lineage" in item:
            item["lineage"] = item["lineage"][::-1]
    steps.house.plan_file.write_text(json.dumps(plan))
    assert steps.house.approve().code == 0
    ended = steps.house.run_plan()
    assert (ended.code, steps.house.requests) == (9, 0), ended
    assert "error[picture-touched]: posters: changed after the plan was made: `out/cut/000.png`" in ended.err
