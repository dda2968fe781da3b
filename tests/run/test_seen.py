"""What was seen of pictures before decides what is planned, and never what is sent."""

import json
from pathlib import Path

import pytest

from runner import drafts, items, jobs
from runner.cli import main
from runner.images.seen import FILE_NAME, Seen
from runner.project import load
from tests.images.test_seen import forged, remembered, same_size
from tests.run.conftest import KEY, Studio


def remember(studio: Studio) -> Path:
    """See all pictures of the recipe as a plan does, also those that have just been written."""
    settings, (recipe,) = load(studio.root, ["posters"])
    wanted, _ = items.expand(recipe, settings)
    memory = studio.root / ".omixa" / FILE_NAME
    with Seen(memory, young_ns=0) as seen:
        drafts.draft(recipe, wanted, settings.root, seen=seen)
    return memory


def keys(studio: Studio, *words: str) -> list[str]:
    ended = studio.omixa("plan", "posters", "--json", *words)
    assert ended.code == 0, ended
    return [item["item_key"] for item in json.loads(ended.out)["plans"][0]["items"]]


def test_a_wrong_memory_makes_a_wrong_plan_and_nothing_is_sent_by_it(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    new = studio.root / "pictures" / "001.png"
    new.write_bytes(same_size(1))
    memory = remember(studio)
    before = keys(studio)
    # Another picture of the same size and moments, and a memory that knows nothing of it.
    forged(memory, new, same_size(2))
    assert keys(studio) == before
    ended = studio.run()
    assert ended.code == 1, ended
    assert "changed since it was planned; plan again" in ended.err
    assert (studio.endpoint.counts().requests, studio.settled) == (1, 39_000)
    assert studio.outputs() == ["000.png"]
    # It is told apart when asked for, in a plan and in a run; then it is what was sent.
    assert keys(studio, "--verify")[0] == before[0]
    assert keys(studio, "--verify")[1] != before[1]
    ended = studio.run("--verify")
    assert ended.code == 0, ended
    assert (studio.endpoint.counts().requests, studio.settled) == (2, 78_000)
    studio.balances()


def test_a_wrong_memory_is_forgotten_by_the_run_that_finds_it(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    new = studio.root / "pictures" / "001.png"
    new.write_bytes(same_size(1))
    memory = remember(studio)
    known = remembered(memory)
    forged(memory, new, same_size(2))
    assert studio.run().code == 1
    assert (studio.settled, remembered(memory)) == (39_000, known - 1)
    # So the next one, which nobody told to look again, plans what is there.
    ended = studio.run()
    assert ended.code == 0, ended
    assert (studio.settled, studio.outputs()) == (78_000, ["000.png", "001.png"])


def test_what_is_signed_is_read_again(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    new = studio.root / "pictures" / "001.png"
    new.write_bytes(same_size(1))
    forged(remember(studio), new, same_size(2))
    wrong, right = keys(studio), keys(studio, "--verify")
    assert wrong != right
    forged(remember(studio), new, same_size(3))
    now = keys(studio, "--out", str(studio.root / "plan.json"))
    assert now not in (wrong, right)
    assert now == keys(studio, "--verify")


def test_nothing_is_remembered_before_there_is_a_ledger(studio: Studio) -> None:
    studio.pictures(1)
    keys(studio)
    assert not (studio.root / ".omixa").exists()
    studio.run()
    assert remembered(remember(studio)) == 1


def test_a_run_of_folders_that_have_not_changed_sends_nothing_and_one_of_a_changed_one_does(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "LISTED_MAX", 0)
    monkeypatch.setitem(Seen.__init__.__kwdefaults__, "young_ns", 0)
    monkeypatch.setenv("STUDIO_KEY", KEY)
    studio.pictures(3)
    studio.picture("pictures/other/a.png")
    words = ["--project", str(studio.root), "run", "posters", "--yes"]
    assert main(words) == 0
    assert "bought 4 pictures for 0.156 USD" in capsys.readouterr().out
    for _ in range(3):
        assert main(words) == 0
        assert "paid for and in place; nothing was sent" in capsys.readouterr().out
    assert studio.endpoint.counts().requests == 4
    (studio.root / "out/001.png").unlink()
    studio.picture("pictures/new.png")
    assert main(words) == 0
    assert "bought 1 picture for 0.039 USD, restored 1 without paying" in capsys.readouterr().out
    (studio.root / "out/other/a.png").unlink()
    assert main(words) == 0
    assert "bought 0 pictures for 0.000 USD, restored 1 without paying" in capsys.readouterr().out
    assert (studio.endpoint.counts().requests, len(studio.outputs())) == (5, 5)
    studio.balances()
