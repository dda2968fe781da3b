"""Recipes of several steps, end to end: at a real endpoint that counts, killed, refused and stopped on their way."""

import json
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.images import digests
from tests.run.conftest import Ended, Studio, kill, wait_until
from tests.run.test_contracts import CEILINGS, HOUSE, serve

CHEAP = '"stability-remove-background" = "0.039", "stability-upscale-creative" = "0.039"'
RECIPE = """
workspace = "studio"
{top}

[[steps]]
name = "cut"
model = "stability-remove-background"
[[steps.sources]]
folder = "pictures"
[steps.output]
folder = "out/cut"

[[steps]]
name = "large"
model = "stability-upscale-creative"
from = "cut"
prompt = "crisp"
{large}
[steps.output]
folder = "out/large"

[[steps]]
name = "ground"
model = "stability-remove-background"
from = "large"
[steps.output]
folder = "out/ground"
format = "webp"

[prompts.crisp]
text = "{text}"
"""


class Graph:
    """A studio with one recipe: cut out, enlarge, cut out again."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        shutil.copytree(HOUSE / "contracts", studio.root / "contracts")
        (studio.root / "recipes").mkdir()
        self.write()
        self.serve()

    def write(self, *, text: str = "Crisp.", top: str = "", large: str = "") -> None:
        recipe = RECIPE.format(text=text, top=top, large=large)
        (self.studio.root / "recipes/posters.toml").write_text(recipe)

    def serve(self, *, month: str = "50.00", ceilings: str = CHEAP, **options: Any) -> None:
        serve(self.studio, ceilings=ceilings, **options)
        settings = self.studio.root / "omixa.toml"
        settings.write_text(settings.read_text().replace('month = "50.00"', f'month = "{month}"'))

    def run(self, *words: str) -> Ended:
        return self.studio.omixa("run", "posters", "--yes", *words)

    def plan(self) -> dict[str, Any]:
        ended = self.studio.omixa("plan", "posters", "--json")
        assert ended.code == 0, ended
        made: dict[str, Any] = json.loads(ended.out)["plans"][0]
        return made

    def actions(self) -> list[tuple[str, str, str]]:
        return [(item["step"], Path(item["output"]).stem, item["action"]) for item in self.plan()["items"]]

    @property
    def requests(self) -> int:
        return self.studio.endpoint.counts().requests

    def attempts(self) -> list[dict[str, Any]]:
        with sqlite3.connect(self.studio.root / ".omixa/ledger.db") as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM attempts ORDER BY id")]


@pytest.fixture
def graph(open_studio: Callable[..., Studio]) -> Graph:
    return Graph(open_studio())


def test_pictures_flow_through_all_steps_and_are_paid_once(graph: Graph) -> None:
    graph.studio.pictures(2)
    plan = graph.plan()
    assert (plan["buy"], plan["expected_cost"], plan["worst_cost"]) == (6, "0.234000", "0.234000")
    assert [(one["step"], one["from"], one["buy"]) for one in plan["steps"]] == [
        ("cut", None, 2),
        ("large", "cut", 2),
        ("ground", "large", 2),
    ]
    assert [item["item_key"] is None for item in plan["items"]] == [False, True, True] * 2
    first = graph.run()
    assert first.code == 0, first
    assert "bought 6 pictures for 0.234 USD" in first.out
    for folder, ending in (("cut", "png"), ("large", "png"), ("ground", "webp")):
        assert graph.studio.outputs(f"out/{folder}") == [f"000.{ending}", f"001.{ending}"]
    rows = graph.attempts()
    by_output = {row["output_path"]: row for row in rows}
    for row in rows:
        if row["source_path"].startswith("out/"):
            made_of = by_output[row["source_path"]]
            assert row["source_digest"] == made_of["result_digest"]
            assert row["reserved_at"] >= made_of["ended_at"]
    assert "nothing was sent" in graph.run().out
    assert graph.actions() == [(step, name, "skip") for name in ("000", "001") for step in ("cut", "large", "ground")]
    assert graph.requests == 6
    graph.studio.balances()


def test_what_was_lost_on_the_way_comes_back_without_paying(graph: Graph) -> None:
    graph.studio.pictures(1)
    assert graph.run().code == 0
    for name in ("cut/000.png", "large/000.png", "ground/000.webp"):
        (graph.studio.root / "out" / name).unlink()
    again = graph.run()
    assert "bought 0 pictures for 0.000 USD, restored 3 without paying" in again.out, again
    assert graph.requests == 3


def test_what_was_lost_on_the_way_comes_back_although_the_cap_is_full(graph: Graph) -> None:
    graph.studio.pictures(1)
    assert graph.run().code == 0
    graph.studio.picture("pictures/000-before.png")
    settings = graph.studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace("50.00", "0.15"))  # one more of the first step fits
    for name in ("cut/000.png", "large/000.png", "ground/000.webp"):
        (graph.studio.root / "out" / name).unlink()
    again = graph.run()
    assert again.code == 3, again
    assert "restored 3 without paying" in again.out
    assert {f"{name}.{kind}" for name, kind in (("cut/000", "png"), ("large/000", "png"), ("ground/000", "webp"))} <= {
        f"{step}/{name}" for step in ("cut", "large", "ground") for name in graph.studio.outputs(f"out/{step}")
    }


def test_a_picture_goes_all_its_way_before_the_next_one_begins(graph: Graph) -> None:
    settings = graph.studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace("concurrency = 4", "concurrency = 1"))
    graph.studio.pictures(2)
    assert graph.run().code == 0
    assert [row["output_path"].removeprefix("out/").partition(".")[0] for row in graph.attempts()] == [
        *("cut/000", "large/000", "ground/000"),
        *("cut/001", "large/001", "ground/001"),
    ]


def test_a_changed_step_pays_for_itself_and_what_is_made_of_it(graph: Graph) -> None:
    graph.studio.pictures(2)
    assert graph.run().code == 0
    graph.write(text="Soft.")
    assert [one["buy"] for one in graph.plan()["steps"]] == [0, 2, 2]
    why = {item["step"]: item["reason"] for item in graph.plan()["items"]}
    assert "prompt changed" in why["large"]
    assert why["ground"] == "again: made of `out/large/001.png`, which is bought first"
    ended = graph.run()
    assert ended.code == 0, ended
    assert "bought 4 pictures" in ended.out
    graph.write()
    assert [one["buy"] for one in graph.plan()["steps"]] == [0, 0, 0]
    assert graph.requests == 10


@pytest.mark.parametrize("answered", [3, 40, 90])
def test_killed_in_the_middle_it_pays_only_for_what_was_missing(graph: Graph, answered: int) -> None:
    graph.serve(latency_ms=20)
    graph.studio.pictures(50)
    process = graph.studio.start("run", "posters", "--yes")
    wait_until(lambda: graph.requests >= answered, process)
    kill(process)
    ended = graph.run()
    assert ended.code in (0, 6), ended
    # What was in flight may have been billed: it is never sent again, and what is made of it waits. A person decides.
    for row in graph.studio.rows():
        if row.state == "unknown":
            resolved = graph.studio.omixa(
                "resolve", str(row.attempt_id), "--not-billed", "--note", "asked the provider"
            )
            assert resolved.code == 0, resolved
    last = graph.run()
    assert last.code == 0, last
    for folder in ("cut", "large", "ground"):
        assert len(graph.studio.outputs(f"out/{folder}")) == 50
    states = graph.studio.states()
    assert states["settled"] == 150
    # All that arrived at the endpoint is settled, or was in flight when the process died: nothing was bought twice.
    assert graph.requests - 150 <= 4
    assert "nothing was sent" in graph.run().out
    graph.studio.balances()


def test_a_cap_that_ends_on_the_way_leaves_a_clear_picture_of_what_is_where(graph: Graph) -> None:
    graph.serve(month="0.60")  # 15 of 60 pictures at 0.039
    graph.studio.pictures(20)
    ended = graph.run("--json")
    assert ended.code == 3, ended
    (run,) = json.loads(ended.out)["runs"]
    assert (run["billed"], run["held"]) == ("0.585000", "0.000000")
    there = {one["step"]: one["there"] for one in run["steps"]}
    assert sum(there.values()) == 15
    assert there == {step: len(graph.studio.outputs(f"out/{step}")) for step in there}
    assert all(one["there"] + one["missing"] == 20 for one in run["steps"])
    assert len(run["left"]) == 45
    # A chain is finished before the next begins, so what was paid for is of use.
    assert there["cut"] - there["ground"] <= 4
    told = graph.run()
    assert told.code == 3
    assert "there  bought now  missing  pictures are in" in told.out
    assert f"cut     {there['cut']:5}           0  {20 - there['cut']:7}  out/cut" in told.out, told
    settings = graph.studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace('"0.60"', '"5.00"'))
    assert graph.run().code == 0
    assert graph.requests == 60
    graph.studio.balances()


def test_what_is_declined_stops_only_what_would_be_made_of_it(graph: Graph) -> None:
    studio = graph.studio
    studio.pictures(3)
    graph.serve(faults=("moderated,nth=2",))
    settings = studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace("concurrency = 4", "concurrency = 1"))
    ended = graph.run("--json")
    assert ended.code == 1, ended
    (run,) = json.loads(ended.out)["runs"]
    # The second request was the enlargement of the first picture.
    assert [(one["step"], one["there"], one["missing"]) for one in run["steps"]] == [
        ("cut", 3, 0),
        ("large", 2, 1),
        ("ground", 2, 1),
    ]
    assert run["left"] == ["out/ground/000.webp"]
    assert [item for item in graph.actions() if item[2] != "skip"] == [
        ("large", "000", "hold"),
        ("ground", "000", "hold"),
    ]
    reasons = {item["step"]: item["reason"] for item in graph.plan()["items"] if item["action"] == "hold"}
    assert reasons["ground"].startswith("made of `out/large/000.png`, which is held back: declined on ")
    assert graph.requests == 8


def test_equal_pictures_are_bought_once_in_every_step(graph: Graph) -> None:
    graph.studio.picture("pictures/a.png", seed=1)
    graph.studio.picture("pictures/b.png", seed=1)
    assert graph.plan()["buy"] == 3
    # What shares a purchase that is still to be made was not paid for.
    planned = graph.studio.omixa("plan", "posters").out
    assert [line.split()[3:6] for line in planned.splitlines() if line.startswith(("cut ", "large ", "ground "))] == [
        ["2", "1", "0"]
    ] * 3
    drawn = graph.studio.omixa("graph", "posters", "--plan").out
    assert drawn.count("1 to buy, 0.039 USD; 1 the same as others\n") == 3, drawn
    ended = graph.run()
    assert ended.code == 0, ended
    assert "bought 3 pictures for 0.117 USD, restored 3 without paying" in ended.out
    assert graph.studio.outputs("out/ground") == ["a.webp", "b.webp"]
    assert graph.requests == 3


def test_limit_and_canary_are_of_pictures_that_go_all_their_way(graph: Graph) -> None:
    graph.studio.pictures(3)
    limited = graph.run("--limit", "4")
    assert limited.code == 0, limited
    assert [len(graph.studio.outputs(f"out/{step}")) for step in ("cut", "large", "ground")] == [2, 1, 1]
    dear = CHEAP.replace("0.039", "0.10")
    graph.serve(ceilings=dear, faults=("bill=0.050",))
    # One picture goes all its way, and then nothing more is bought: it cost more than the plan says.
    stopped = graph.run("--canary", "1", "--json")
    assert stopped.code == 3, stopped
    (run,) = json.loads(stopped.out)["runs"]
    assert run["stop"]["kind"] == "canary"
    assert [Path(one["output"]).stem for one in run["pictures"]] == ["001", "001"]
    assert graph.requests == 2


def test_a_file_of_somebody_else_on_the_way_holds_what_is_made_of_it(graph: Graph) -> None:
    graph.studio.pictures(1)
    (graph.studio.root / "out/large").mkdir(parents=True)
    (graph.studio.root / "out/large/000.png").write_text("mine")
    assert graph.actions() == [("cut", "000", "buy"), ("large", "000", "hold"), ("ground", "000", "hold")]
    ended = graph.run()
    assert ended.code == 1, ended
    assert graph.requests == 1
    assert (graph.studio.root / "out/large/000.png").read_text() == "mine"
    # Each by its own name: what holds the second is what stands where the first goes.
    assert "  held back  out/large/000.png: a file that omixa did not write" in ended.out
    assert "  held back  out/ground/000.webp: made of `out/large/000.png`, which is held back" in ended.out


def test_what_is_left_is_called_by_its_own_name(graph: Graph) -> None:
    graph.studio.pictures(1)
    graph.serve(month="0.07")
    ended = graph.run("--json")
    assert (ended.code, graph.requests) == (3, 1), ended
    (run,) = json.loads(ended.out)["runs"]
    assert sorted(run["left"]) == ["out/ground/000.webp", "out/large/000.png"]
    (run,) = json.loads(graph.run("--limit", "1", "--json").out)["runs"]
    assert (run["left"], run["later"]) == (["out/large/000.png"], ["out/ground/000.webp"])


def test_a_kept_result_that_is_gone_is_taken_from_where_it_was_delivered(graph: Graph) -> None:
    graph.studio.pictures(1)
    assert graph.run().code == 0
    shutil.rmtree(graph.studio.root / ".omixa/results")
    graph.write(text="Soft.")
    assert graph.actions() == [("cut", "000", "skip"), ("large", "000", "buy"), ("ground", "000", "buy")]
    assert graph.run().code == 0
    shutil.rmtree(graph.studio.root / ".omixa/results")
    (graph.studio.root / "out/cut/000.png").unlink()
    graph.write(text="Loud.")
    assert [action for _, _, action in graph.actions()] == ["hold"] * 3
    assert graph.requests == 5


def test_what_is_made_of_a_kept_result_that_cannot_be_read_is_held_and_not_paid_again(graph: Graph) -> None:
    graph.studio.pictures(1)
    assert graph.run().code == 0
    for folder in (graph.studio.root / ".omixa/results").iterdir():
        shutil.rmtree(folder)
        folder.write_text("a file is in the way")
    (graph.studio.root / "out/cut/000.png").write_text("mine")
    graph.write(text="Soft.")
    _, large, _ = graph.plan()["items"]
    assert large["reason"].startswith("made of `out/cut/000.png`, but the kept result `")
    assert "reroll" not in graph.run().out
    assert graph.requests == 3


def test_what_was_delivered_and_changed_can_be_brought_back_instead_of_paying_again(graph: Graph) -> None:
    graph.studio.pictures(1)
    assert graph.run().code == 0
    shutil.rmtree(graph.studio.root / ".omixa/results")
    delivered = graph.studio.root / "out/cut/000.png"
    before = delivered.read_bytes()
    delivered.write_text("mine")
    graph.write(text="Soft.")
    _, large, _ = graph.plan()["items"]
    assert large["reason"] == (
        "made of `out/cut/000.png`, whose kept result is gone, and what stands there cannot be read or was changed: "
        "make it readable or bring it back, for nothing, or --reroll buys it again"
    )
    delivered.write_bytes(before)
    assert graph.actions() == [("cut", "000", "skip"), ("large", "000", "buy"), ("ground", "000", "buy")]


def test_reroll_buys_every_step_again(graph: Graph) -> None:
    graph.studio.picture("pictures/a.png", seed=1)
    graph.studio.picture("pictures/b.png", seed=1)
    assert graph.run().code == 0
    ended = graph.run("--reroll")
    assert ended.code == 0, ended
    assert "bought 3 pictures" in ended.out
    assert graph.requests == 6


def test_what_is_beyond_the_limit_is_not_called_missing(graph: Graph) -> None:
    graph.studio.pictures(2)
    assert graph.run().code == 0
    told = graph.run("--reroll", "--limit", "2")
    assert told.code == 0, told
    (summary,) = re.findall(r"^step +there [^~]*?out/ground$", told.out, re.MULTILINE)
    assert re.sub(" +", " ", summary).splitlines() == [
        "step there bought now missing beyond the limit pictures are in",
        "cut 1 1 0 1 out/cut",
        "large 1 1 0 1 out/large",
        "ground 0 0 0 2 out/ground",
    ]
    (run,) = json.loads(graph.run("--reroll", "--limit", "1", "--json").out)["runs"]
    assert run["steps"][1] == {"step": "large", "there": 0, "bought": 0, "missing": 0, "later": 2}


def test_a_result_that_the_next_model_cannot_take_is_told(graph: Graph) -> None:
    # 300 × 300, enlarged four times, is more than the enlarger takes.
    text = (graph.studio.root / "recipes/posters.toml").read_text()
    text = text.replace(
        'name = "ground"\nmodel = "stability-remove-background"',
        'name = "ground"\nmodel = "stability-upscale-creative"',
    )
    (graph.studio.root / "recipes/posters.toml").write_text(text)
    graph.studio.picture("pictures/a.png", size=300)
    ended = graph.run()
    assert ended.code == 1, ended
    assert "unsuitable  out/large/a.png: 1200 × 1200 = 1440000 pixels" in ended.out, ended
    assert (graph.requests, graph.actions()[-1]) == (2, ("ground", "a", "unsuitable"))


def test_ceilings_of_every_step_are_needed(graph: Graph) -> None:
    graph.studio.pictures(1)
    graph.serve(ceilings=CEILINGS)
    ended = graph.run()
    assert ended.code == 2, ended
    assert "nobody knows what one request of stability-upscale-creative may cost" in ended.err
    assert graph.requests == 0


def test_a_stamped_file_is_not_what_was_bought_so_nothing_is_made_of_it(graph: Graph) -> None:
    """With a stamp, the file has other bytes than the result: it would be another item, and paid again."""
    text = (graph.studio.root / "recipes/posters.toml").read_text()
    text = text.replace('folder = "out/cut"', 'folder = "out/cut"\nprovenance = true')
    (graph.studio.root / "recipes/posters.toml").write_text(text)
    graph.studio.pictures(1)
    assert graph.run().code == 0
    assert graph.actions() == [("cut", "000", "skip"), ("large", "000", "skip"), ("ground", "000", "skip")]
    shutil.rmtree(graph.studio.root / ".omixa/results")
    assert graph.actions() == [("cut", "000", "skip"), ("large", "000", "hold"), ("ground", "000", "hold")]


def test_only_the_steps_that_say_so_stamp_their_pictures(graph: Graph) -> None:
    text = (graph.studio.root / "recipes/posters.toml").read_text()
    text = text.replace('folder = "out/large"', 'folder = "out/large"\nprovenance = true')
    (graph.studio.root / "recipes/posters.toml").write_text(text)
    graph.studio.pictures(1)
    assert graph.run().code == 0
    for name, is_stamped in (("cut/000.png", False), ("large/000.png", True), ("ground/000.webp", False)):
        assert (len(digests(graph.studio.root / "out" / name)) == 2) is is_stamped, name


def test_two_runs_at_once_buy_each_picture_of_each_step_once(graph: Graph) -> None:
    graph.serve(latency_ms=60)
    graph.studio.pictures(6)
    processes = [graph.studio.start("run", "posters", "--yes") for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        # What the other is just buying when a plan is made is held back in this one.
        assert process.returncode in (0, 1), out + err
    assert graph.run().code == 0
    assert (graph.requests, graph.studio.states()) == (18, {"settled": 18})
    graph.studio.balances()


def test_ctrl_c_leaves_what_has_not_begun_and_says_how_far_each_step_has_come(graph: Graph) -> None:
    graph.serve(latency_ms=100)
    graph.studio.pictures(10)
    process = graph.studio.start("run", "posters", "--yes", "--json")
    wait_until(lambda: graph.requests >= 6, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    (run,) = json.loads(out)["runs"]
    assert sum(one["there"] for one in run["steps"]) == graph.requests < 30
    assert len(run["left"]) == 30 - graph.requests
    assert graph.run().code == 0
    assert graph.requests == 30


def test_a_slot_of_a_schedule_buys_the_whole_graph(graph: Graph) -> None:
    graph.studio.pictures(2)
    graph.write(top='schedule = { cron = "0 2 * * *" }')
    ended = graph.studio.omixa("schedule", "run-now", "posters", "--yes")
    assert ended.code == 0, ended
    assert (graph.requests, graph.studio.states()) == (6, {"settled": 6})
    looked = graph.studio.omixa("forecast", "--json")
    assert looked.code == 0, looked


def test_a_forecast_calls_nothing_billed_that_was_not(graph: Graph) -> None:
    graph.studio.pictures(1)
    graph.write(top='schedule = { every = "1d" }')
    for words in ([], ["schedule", "run-now", "posters", "--yes"]):
        assert not words or graph.studio.omixa(*words).code == 0
        graph.studio.picture("pictures/new.png", seed=8)
        told = graph.studio.omixa("forecast", "--until", f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}").out
        assert "(the mean of what its steps expect), at most 0.039 USD" in told, told
        price = graph.plan()["price"]
        assert (price["highest_seen"], price["median_seen"], price["ceiling"]) == (None, None, "0.039000")


def test_an_empty_folder_makes_nothing_in_any_step(graph: Graph) -> None:
    (graph.studio.root / "pictures").mkdir()
    ended = graph.run()
    assert ended.code == 0, ended
    assert "no pictures were found in the recipe's folders; nothing was sent" in ended.out
