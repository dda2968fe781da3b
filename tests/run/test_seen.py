"""What was seen of pictures before decides what is planned, and never what is sent."""

import json
from pathlib import Path

from runner import drafts, items
from runner.images.seen import FILE_NAME, Seen
from runner.project import load
from tests.images.test_seen import forged, remembered, same_size
from tests.run.conftest import Studio


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
