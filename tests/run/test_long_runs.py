"""Runs of more items than are held at a time."""

import errno
import json
import os
import threading
from collections.abc import Callable

import pytest

from runner import execution, pile, shelf, turns
from runner.cli import main
from tests.run.conftest import KEY, Studio


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is held in portions is held in small ones."""
    monkeypatch.setattr(pile, "HELD", 3)
    monkeypatch.setattr(shelf, "HELD", 3)
    monkeypatch.setattr(pile, "BLOCK", 2)
    monkeypatch.setattr(turns, "AHEAD", 2)
    monkeypatch.setenv("STUDIO_KEY", KEY)


def words(studio: Studio, *more: str) -> list[str]:
    return ["--project", str(studio.root), "run", "posters", "--yes", *more]


@pytest.mark.usefixtures("small")
def test_a_run_that_holds_few_items_buys_each_once(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    studio.pictures(11)
    studio.picture("pictures/twin.png", seed=1)
    studio.picture("pictures/twins.png", seed=1)
    assert main(words(studio, "--json")) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert (told["counts"], told["left"], told["later"]) == ({"bought": 12, "restored": 1}, [], [])
    assert sorted(one["output"] for one in told["pictures"]) == [f"out/{name}" for name in studio.outputs()]
    assert (studio.endpoint.counts().requests, len(studio.outputs())) == (12, 13)
    studio.balances()


@pytest.mark.usefixtures("small")
def test_what_is_left_at_a_cap_is_told_by_its_names(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    studio.pictures(9)
    studio.settings(month="0.20", ceiling="0.039", concurrency=2)
    assert main(words(studio, "--json")) == 3
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    bought = {one["source"] for one in told["pictures"] if one["kind"] == "bought"}
    assert (len(bought), told["stop"]["kind"]) == (5, "budget")
    assert sorted([*bought, *told["left"]]) == [f"pictures/{number:03}.png" for number in range(9)]
    studio.balances()


@pytest.mark.usefixtures("small")
def test_a_plan_that_cannot_be_read_any_more_ends_the_run_with_a_word(
    studio: Studio, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = os.pread, []

    def worn(file: int, count: int, at: int) -> bytes:
        if threading.current_thread() is not threading.main_thread():
            reads.append(at)
            if len(reads) > 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(file, count, at)

    monkeypatch.setattr(pile.os, "pread", worn)
    studio.pictures(11)
    assert main(words(studio)) == 7
    assert "the temporary file of a long list cannot be read" in capsys.readouterr().err
    # What was bought until then is bought, and the others are not lost.
    before = studio.endpoint.counts().requests
    assert 0 < before < 11
    studio.balances()
    monkeypatch.setattr(pile.os, "pread", read)
    assert main(words(studio)) == 0
    assert (studio.endpoint.counts().requests, len(studio.outputs())) == (11, 11)


@pytest.mark.usefixtures("small")
def test_of_very_many_troubles_the_first_are_told_and_the_others_counted(
    open_studio: Callable[..., Studio], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "TROUBLES_TOLD", 2)
    studio = open_studio(faults=("moderated",))
    studio.recipe()
    studio.pictures(6)
    assert main(words(studio)) == 1
    out = capsys.readouterr().out
    assert out.count("  declined  ") == 2
    assert "  … and 4 more (`omixa audit list`)" in out
    studio.balances()
