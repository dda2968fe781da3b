"""A process may be killed at any point, again and again: nothing is lost, nothing is bought twice, nothing is left."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.long import kills
from tests.proof.death import Death
from tests.proof.endpoint import Provider
from tests.proof.forks import Forks
from tests.proof.project import Project

_LEDGER = "runner.ledger.ledger:Ledger"

SEED = 20261122
ROUNDS = 6


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> list[kills.Round]:
    """A few rounds; `python -m tests.long.kills --rounds 1000` plays more."""
    root: Path = tmp_path_factory.mktemp("kills")
    return kills.play_all(range(1, ROUNDS + 1), SEED, root, workers=2, watch=lambda one: None)


def test_a_round_of_kills_loses_nothing_and_doubles_nothing(done: list[kills.Round]) -> None:
    assert {one.replay: one.faults for one in done if one.faults} == {}


def test_every_round_was_killed(done: list[kills.Round]) -> None:
    assert all(one.kills for one in done)
    assert sum((one.kills for one in done), Counter[str]()).total() >= ROUNDS


def test_a_process_comes_to_every_kill_point(tmp_path: Path) -> None:
    """Once at each: a point that the program's way no longer leads to proves nothing, and says nothing."""
    last = {(strike.point.name, strike.scene): number for number, strike in enumerate(kills.strikes())}
    commits = {
        (strike.point.name, strike.scene): number
        for number, strike in enumerate(kills.strikes())
        if strike.when == "commit"
    }
    numbers = sorted((last | commits).values())
    done = kills.play_all(numbers, None, tmp_path, workers=2, watch=lambda one: None)
    assert {one.replay: one.faults for one in done if one.faults} == {}


# ---- what a death leaves in between: nothing that no run would ever clear away


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.parametrize(
    ("scene", "death"),
    [
        pytest.param(
            "clean", Death("own", ("runner.ledger.owners:hold",), "after"), id="lock-of-a-run-that-never-began"
        ),
        pytest.param("clean", Death("end", (f"{_LEDGER}.end_run",), "after"), id="lock-and-folder-of-a-run-that-ended"),
        pytest.param("429-once", Death("release", (f"{_LEDGER}.release",), "after"), id="answer-of-a-released-attempt"),
        pytest.param("500-free", Death("unknown", (f"{_LEDGER}.unknown",), "after"), id="answer-of-an-unknown-attempt"),
        pytest.param("bill-only", Death("settle", (f"{_LEDGER}.settle",), "after"), id="answer-without-a-picture"),
    ],
)
def test_a_death_beside_the_booking_leaves_nothing_that_stays(
    scene: str, death: Death, tmp_path: Path, provider: Provider, forks: Forks
) -> None:
    project = Project(tmp_path / "project")
    cell = f"leaves-{scene}-{death.name}"
    project.settings(provider.url(cell, scene))
    assert project.run(forks, death=death).killed is not None
    assert project.verdict(project.finish(forks, provider, cell)) == []


def test_a_death_while_only_restoring_leaves_no_half_written_output(
    tmp_path: Path, provider: Provider, forks: Forks
) -> None:
    project = Project(tmp_path / "project")
    project.settings(provider.url("restores", "clean"))
    project.run(forks)
    (project.root / "out" / "000.png").unlink()
    assert project.run(forks, death=Death("into place", ("runner.images.disk:_into_place",), "before")).killed
    assert project.verdict(project.finish(forks, provider, "restores")) == []


def test_a_death_while_looking_whether_outputs_can_be_written_leaves_no_file(
    tmp_path: Path, provider: Provider, forks: Forks
) -> None:
    """Whatever it had written when it died: here, just when it is about to take it away again."""
    project = Project(tmp_path / "project")
    project.settings(provider.url("looks", "clean"))
    (project.root / "out").mkdir()
    for step in range(20, 100, 5):
        project.run(forks, death=Death("look", ("runner.images.disk:check_writable",), "middle", step=step))
    assert list((project.root / "out").iterdir()) == []
    assert project.verdict(project.finish(forks, provider, "looks")) == []
