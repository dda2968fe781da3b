"""The simulator: no schedule breaks an invariant, the same seed is the same schedule, and broken code is found."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runner import booking, execution
from runner.ledger import balances, usage
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap
from tests.proof import simulated_disk
from tests.proof.simulator import MOODS, Simulator

SEED = 1

# What dies with its process, or must not: kills are wanted at each.
BOUNDARIES = {
    *("start", "begin", "commit", "committed", "read", "open lock", "lock", "connect", "body", "answer", "spooled"),
    *("picture", "picture kept", "write", "written", "unlink"),
}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as opened:
        yield opened


@pytest.mark.parametrize("part", range(2))
def test_no_schedule_breaks_an_invariant(simulator: Simulator, part: int) -> None:
    total = simulator.many(SEED, range(part * 450, part * 450 + 450))
    assert total.violation is None
    assert set(total.kills) >= BOUNDARIES
    assert {mood for mood, _ in MOODS} == set(total.moods)
    assert total.filled > 40, "some schedules must show that a cap is filled exactly"


def test_the_same_seed_is_the_same_schedule(simulator: Simulator) -> None:
    for number in range(15):
        once = simulator.run(SEED, number, trace=True).trace
        assert once == simulator.run(SEED, number, trace=True).trace
        assert once != simulator.run(SEED + 1, number, trace=True).trace


def test_the_thin_executor_does_what_sqlalchemy_does() -> None:
    def traces(*, plain: bool) -> list[list[str]]:
        with Simulator(plain=plain) as simulator:
            made = []
            for number in range(40):
                trace = simulator.run(SEED, number, trace=True).trace
                rows = [
                    simulator.store.raw.execute(f"SELECT * FROM {name}").fetchall() for name in simulator.store.tables
                ]
                made.append([*trace, *map(str, rows)])
            return made

    assert traces(plain=False) == traces(plain=True)


def take_whatever_the_cap(connection: Any, held: Any, amount: int) -> bool:
    return _TAKE(connection, [(id_, Cap(cap.scope, cap.name, cap.period, 2**62)) for id_, cap in held], amount)


_TAKE = balances.take


def release_instead(self: Ledger, attempt_id: int, *, result: object = None, **told: Any) -> None:
    Ledger.release(self, attempt_id, **told)


FAULTS: list[tuple[str, Any, str, Callable[..., Any]]] = [
    ("a cap that nobody looks at", balances, "take", take_whatever_the_cap),
    ("release on time-out", Ledger, "unknown", release_instead),
    ("a body that leaves before it is recorded", execution, "_recorder", lambda *_: lambda: None),
    ("nobody waits for what is in flight", execution, "_moves", lambda _: False),
    ("a dead owner whoever it is", simulated_disk.FCNTL, "flock", lambda *_: None),
    ("nothing is left by the dead", usage, "unfinished", lambda *_: []),
    ("answers are dropped before they are booked", booking, "_write", lambda *_: booking.Written(None, "gone")),
]


@pytest.mark.parametrize(("place", "name", "fault"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_broken_code_is_found(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, fault: Callable[..., Any]
) -> None:
    monkeypatch.setattr(place, name, fault)
    assert simulator.many(SEED, range(600)).violation is not None
