"""Whatever the endpoint really did and wherever the process died, the ledger holds at least what was billed."""

from collections import Counter
from pathlib import Path

import pytest

from tests.long import matrix
from tests.proof import death
from tests.proof.scenes import MATRIX, SCENES

EVERY = 19


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[matrix.Found]:
    """A spread of the matrix; the whole of it is `python -m tests.long.matrix`."""
    root: Path = tmp_path_factory.mktemp("matrix")
    return matrix.play_all(matrix.spread(EVERY), root, workers=2, watch=lambda one: None)


def test_no_cell_breaks_a_promise(found: list[matrix.Found]) -> None:
    """Truth ≤ settled + open, nothing bought twice, every picture in place, balances, and the state of contract B."""
    assert {one.cell.name: one.faults for one in found if one.faults} == {}
    assert [one.cell.name for one in found if one.beyond and not one.unheard] == []


def test_the_spread_kills_at_every_point(found: list[matrix.Found]) -> None:
    struck = Counter(one.cell.column for one in found if one.struck)
    assert set(struck) == {one.name for one in matrix.DEATHS if one is not None}
    assert len(found) >= 50


def test_the_whole_matrix_is_as_large_as_promised() -> None:
    assert len(matrix.cells()) >= 400
    assert len(matrix.DEATHS) == 9
    truths = Counter(scene.truth for scene in MATRIX)
    assert set(truths) == {"billed", "not billed", "never saw it"}
    assert len(MATRIX) >= 20


def test_every_kill_point_names_a_function() -> None:
    """A point that was renamed would never strike, and prove nothing."""
    assert death.missing() == []
    targets = [target for one in matrix.DEATHS if one for target in one.targets]
    assert [death.found(target)[1] for target in targets] == [target.split(":")[1].split(".")[-1] for target in targets]


def test_every_scene_is_played_under_its_name() -> None:
    assert all(scene.name == name for name, scene in SCENES.items())
