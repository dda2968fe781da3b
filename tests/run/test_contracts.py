"""Models of contract files, end to end: bought once at a real endpoint, found again, and recorded, whatever dies."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from runner import project, sandbox
from runner.images import looks_wrong
from tests.run.conftest import KEY, Studio, kill, wait_until
from tests.run.test_crash import _put_back, sent_twice

HOUSE = Path(__file__).parents[2]
SETTINGS = """
[endpoints.local]
url = "{url}"
[workspaces.studio]
endpoint = "local"
api_key = {{ env = "STUDIO_KEY" }}
currency = "USD"
time_zone = "Europe/Berlin"
concurrency = 4
budget = {{ month = "50.00" }}
ceilings = {{ {ceilings} }}
"""
CEILINGS = '"stability-image-core" = "0.10", "stability-remove-background" = "0.10"'


@pytest.fixture
def drawing(open_studio: Callable[..., Studio]) -> Studio:
    """The repository's own two examples, at an endpoint that counts and knows their models."""
    studio = open_studio()
    for folder in ("contracts", "recipes", "pictures"):
        shutil.copytree(HOUSE / folder, studio.root / folder)
    for other in ("logos", "restore-scans"):
        (studio.root / f"recipes/{other}.toml").unlink()
    serve(studio)
    return studio


def serve(studio: Studio, *, ceilings: str = CEILINGS, latency_ms: int = 0, faults: tuple[str, ...] = ()) -> None:
    studio.endpoint.stop()
    options = sandbox.SandboxOptions(
        key=KEY,
        log=studio.log,
        latency_ms=latency_ms,
        contracts=project.contracts(str(studio.root)),
        faults=tuple(sandbox.parse_fault(text) for text in faults),
    )
    studio.endpoint = sandbox.start(options)
    (studio.root / "omixa.toml").write_text(SETTINGS.format(url=studio.endpoint.url, ceilings=ceilings))


def asked(studio: Studio) -> list[dict[str, object]]:
    """What the ledger has of each attempt: source, model, prompt, options."""
    with sqlite3.connect(studio.root / ".omixa/ledger.db") as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM attempts ORDER BY id")]


def test_a_picture_is_bought_from_words_alone_and_only_once(drawing: Studio) -> None:
    plan = drawing.omixa("plan", "poster-ideas", "--json")
    (made,) = json.loads(plan.out)["plans"]
    assert [item["source"] for item in made["items"]] == [None] * 4
    assert (made["buy"], made["worst_cost"]) == (4, "0.400000")
    first = drawing.omixa("run", "poster-ideas", "--yes")
    assert first.code == 0, first
    assert drawing.outputs("out/poster-ideas") == [
        "harbour-tall.png",
        "harbour-wide.png",
        "lighthouse-tall.png",
        "lighthouse-wide.png",
    ]
    assert Image.open(drawing.root / "out/poster-ideas/harbour-wide.png").size == (1360, 760)
    again = drawing.omixa("run", "poster-ideas", "--yes")
    assert "nothing was sent" in again.out, again
    (drawing.root / "out/poster-ideas/harbour-tall.png").unlink()
    restored = drawing.omixa("run", "poster-ideas", "--yes")
    assert "bought 0 pictures for 0.000 USD, restored 1 without paying" in restored.out, restored
    assert (drawing.endpoint.counts().requests, drawing.settled) == (4, 156_000)
    rows = asked(drawing)
    assert [(row["source_path"], row["source_digest"], row["source_bytes"]) for row in rows] == [("", "", 0)] * 4
    assert len({row["item_key"] for row in rows}) == 4
    assert {json.loads(str(row["options"]))["aspect_ratio"] for row in rows} == {"16:9", "2:3"}
    drawing.balances()


def test_a_background_is_removed_without_any_prompt(drawing: Studio) -> None:
    ended = drawing.omixa("run", "cut-outs", "--yes")
    assert ended.code == 0, ended
    for name in ("badge", "rose"):
        made = Image.open(drawing.root / f"out/cut-outs/{name}.webp")
        assert (made.mode, made.size) == ("RGBA", (150, 150))
        alpha = made.getchannel("A")
        assert alpha.getpixel((0, 0)) == 0
        # The shadows of what is cut out are neither; half of the picture is the thing itself.
        assert sum(alpha.histogram()[:16]) > 150 * 150 // 10
        assert alpha.getextrema() == (0, 255)
    assert "nothing was sent" in drawing.omixa("run", "cut-outs", "--yes").out
    assert [row["prompt_name"] for row in asked(drawing)] == ["", ""]
    assert all(json.loads(str(row["options"])) == {"output_format": "webp"} for row in asked(drawing))


def test_a_cut_out_is_not_held_against_its_source(drawing: Studio) -> None:
    """As an enlargement it would be wrong: most of what the source shows is gone, on purpose."""
    shutil.rmtree(drawing.root / "pictures/things")
    (drawing.root / "pictures/things").mkdir()
    source = drawing.root / "pictures/things/halves.png"
    picture = Image.new("RGB", (128, 128), (250, 250, 250))
    for left in range(0, 128, 16):
        picture.paste((10, 10, 60), (left + 8, 0, left + 16, 128))
    picture.paste((200, 30, 30), (60, 60, 68, 68))
    picture.save(source)
    ended = drawing.omixa("run", "cut-outs", "--yes", "--json")
    assert ended.code == 0, ended
    (told,) = json.loads(ended.out)["runs"][0]["pictures"]
    assert looks_wrong(source, drawing.root / told["output"]) is not None
    assert told["remark"] is None


@pytest.mark.parametrize("recipe", ["poster-ideas", "cut-outs"])
def test_after_kill_9_nothing_is_paid_twice(drawing: Studio, recipe: str) -> None:
    serve(drawing, latency_ms=400)
    process = drawing.start("run", recipe, "--yes")
    wait_until(lambda: drawing.endpoint.counts().requests >= 1, process)
    kill(process)
    ended = drawing.omixa("run", recipe, "--yes")
    assert ended.code in (0, 6), ended
    counts = drawing.endpoint.counts()
    states = drawing.states()
    wanted = 4 if recipe == "poster-ideas" else 2
    assert states.get("settled", 0) + states.get("unknown", 0) == wanted, states
    assert counts.requests <= wanted
    assert counts.billed_micros <= drawing.settled + drawing.open
    if recipe == "cut-outs":
        assert sent_twice(drawing) == []
    drawing.balances()
    drawing.omixa("run", recipe, "--yes")
    assert drawing.endpoint.counts().requests == counts.requests


def test_a_spooled_answer_without_a_source_is_settled_and_written_out(drawing: Studio) -> None:
    serve(drawing, ceilings='"stability-image-core" = "0.70"')
    (drawing.root / "recipes/cut-outs.toml").unlink()
    text = (drawing.root / "recipes/poster-ideas.toml").read_text()
    text = re.sub(r"\[prompts.lighthouse\]\n.*\n", "", text).replace('["wide", "tall"]', '"tall"')
    (drawing.root / "recipes/poster-ideas.toml").write_text(text)
    assert drawing.omixa("run", "poster-ideas", "--yes").code == 0
    kept = next((drawing.root / ".omixa/results").rglob("*.png"))
    picture = kept.read_bytes()
    _put_back(drawing, picture)
    kept.unlink()
    (drawing.root / "out/poster-ideas/harbour-tall.png").unlink()
    ended = drawing.omixa("run", "poster-ideas", "--yes")
    assert "recovered attempt 1 of a run that died: settled from its kept answer" in ended.err, ended
    assert (drawing.root / "out/poster-ideas/harbour-tall.png").read_bytes() == picture
    assert (drawing.endpoint.counts().requests, drawing.settled, drawing.open) == (1, 39_000, 0)
    drawing.balances()


def test_without_a_ceiling_nothing_is_bought(drawing: Studio) -> None:
    serve(drawing, ceilings='"stability-image-core" = "0.10"')
    ended = drawing.omixa("run", "cut-outs", "--yes")
    assert ended.code == 2, ended
    assert "nobody knows what one request of stability-remove-background may cost" in ended.err
    assert drawing.endpoint.counts().requests == 0


def test_a_broken_contract_stops_what_would_be_bought(drawing: Studio) -> None:
    path = drawing.root / "contracts/image-core.toml"
    path.write_text(path.read_text().replace("up to 10000 characters", "any valid value"))
    for words in (("run", "poster-ideas", "--yes"), ("plan", "poster-ideas"), ("run", "cut-outs", "--yes")):
        ended = drawing.omixa(*words)
        assert ended.code == 2, ended
        assert "--> contracts/image-core.toml:21:12" in ended.err, ended
    assert drawing.endpoint.counts().requests == 0


def test_what_a_contract_changes_is_told_and_bought_again(drawing: Studio) -> None:
    text = (drawing.root / "recipes/poster-ideas.toml").read_text()
    (drawing.root / "recipes/poster-ideas.toml").write_text(text.replace('preset = ["wide", "tall"]\n', ""))
    assert drawing.omixa("run", "poster-ideas", "--yes").code == 0
    path = drawing.root / "contracts/image-core.toml"
    # Words that change nothing of what is bought cost nothing.
    path.write_text(path.read_text().replace("Width to height.", "How wide it is."))
    assert "nothing was sent" in drawing.omixa("run", "poster-ideas", "--yes").out
    path.write_text(path.read_text().replace('default = "1:1"', 'default = "16:9"'))
    plan = drawing.omixa("plan", "poster-ideas")
    assert plan.out.count("what the model does by default, or the colour under transparent parts, has changed") == 2


def test_the_ledger_tells_whether_the_contract_was_committed(drawing: Studio) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        subprocess.run(["git", *who, *words], cwd=drawing.root, check=True, capture_output=True)

    def run(recipe: str) -> tuple[object, object]:
        assert drawing.omixa("run", recipe, "--yes").code == 0
        row = drawing.rows()[-1]
        return row.git_commit is not None, row.git_dirty

    git("init", "-q")
    git("add", "omixa.toml", "recipes", "contracts", "pictures")
    git("commit", "-qm", "first")
    assert run("cut-outs") == (True, False)
    path = drawing.root / "contracts/image-core.toml"
    path.write_text(path.read_text() + "# changed\n")
    # Dirty is a run whose own contract differs from the commit, and no other.
    assert run("poster-ideas") == (True, True)
    for name in ("badge.jpg", "rose.png"):
        (drawing.root / "pictures/things" / name).unlink()
    shutil.copy(HOUSE / "pictures/logos/anchor.png", drawing.root / "pictures/things")
    assert run("cut-outs") == (True, False)


def test_reports_and_stories_say_that_there_is_no_source(drawing: Studio) -> None:
    assert drawing.omixa("run", "poster-ideas", "cut-outs", "--yes").code == 0
    report = json.loads(drawing.omixa("report", "--by", "source", "--format", "json").out)
    assert [line["source"] for line in report["rows"]].count(None) == 1
    text = drawing.omixa("report", "--by", "recipe,source").out
    assert re.search(r"poster-ideas\s+–\s+4\s", text), text
    blame = drawing.omixa("blame", str(drawing.root / "out/poster-ideas/harbour-tall.png"))
    assert "made from  the prompt alone: its model takes no source picture" in blame.out, blame
    blame = drawing.omixa("blame", str(drawing.root / "out/cut-outs/badge.webp"))
    assert re.search(r"^prompt +–$", blame.out, re.MULTILINE), blame
    assert drawing.omixa("audit", "verify").code == 0
    shown = drawing.omixa("audit", "show", "1")
    assert re.search(r"source_path +–$", shown.out, re.MULTILINE), shown
    plan = drawing.omixa("plan", "poster-ideas")
    assert re.search(r"^skip +– +out/poster-ideas/harbour-wide.png", plan.out, re.MULTILINE), plan


def test_a_declined_item_without_a_source_is_named_by_its_result(drawing: Studio) -> None:
    drawing.endpoint.stop()
    drawing.endpoint = sandbox.start(
        sandbox.SandboxOptions(
            key=KEY, contracts=project.contracts(str(drawing.root)), faults=(sandbox.parse_fault("moderated"),)
        )
    )
    settings = SETTINGS.format(url=drawing.endpoint.url, ceilings=CEILINGS)
    (drawing.root / "omixa.toml").write_text(settings)
    ended = drawing.omixa("run", "poster-ideas", "--yes")
    assert ended.code == 1, ended
    assert "declined  out/poster-ideas/harbour-wide.png: " in ended.out, ended


def test_the_body_has_no_picture_where_the_model_takes_none(drawing: Studio) -> None:
    """The endpoint would refuse a field too many: that all were accepted says that there was none."""
    assert drawing.omixa("run", "poster-ideas", "--yes").code == 0
    lines = [json.loads(line) for line in drawing.log.read_text().splitlines()]
    assert [line["picture"] for line in lines] == [None] * 4
    assert drawing.endpoint.counts().refused == {}
