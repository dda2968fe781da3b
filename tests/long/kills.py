"""Rounds of kill -9: a small project is killed again and again, finished, and judged by the endpoint's own truth.

A round is a new project with a few pictures at an endpoint on an ordinary bad day. Its processes die by a real SIGKILL
at a point of `tests.proof.death` or at a random moment, also while they recover from an earlier death, make the first
ledger, or while a second process works beside them. Then it is run until nothing moves any more. A round that failed
keeps its folder, and is played again by its seed and number.

    python -m tests.long.kills --rounds 1000 --seed 7
    python -m tests.long.kills --seed 7 --only 42
    python -m tests.long.kills --each                   every kill point once, in every way
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine

from runner.ledger import migrate
from tests.proof.death import ENDING, POINTS, RECOVERING, RUNNING, STARTING, Death, Point, When
from tests.proof.endpoint import Provider
from tests.proof.forks import Forks
from tests.proof.project import Project

# What the first process of a round can die of, and what every later one can: it has a death to recover from.
FIRST = (*STARTING, *RUNNING, *ENDING)
LATER = (*RECOVERING, *RECOVERING, *RUNNING, *ENDING)

TRIES_MAX = 5


@dataclass(slots=True)
class Round:
    """One round and what came out of it. `seed` None: its kill was not drawn, it is a strike of that number."""

    seed: int | None
    number: int
    faults: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    unknown: int = 0
    folder: Path | None = None

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        which = "--each" if self.seed is None else f"--seed {self.seed}"
        return f"python -m tests.long.kills {which} --only {self.number}"


@dataclass(frozen=True, slots=True)
class _Kill:
    """One process that is to die: at a point, or so many milliseconds after its start."""

    death: Death | None
    after_ms: int | None


def play(number: int, seed: int, root: Path, provider: Provider, forks: Forks) -> Round:
    """One round, in a new folder under `root`, which is left there only when something is wrong."""
    dice = random.Random(f"{seed} {number}")
    name = f"round-{number}"
    outside = root / f"{name}-ledger" / "ledger.db" if dice.random() < 0.25 else None
    project = Project(root / name, pictures=dice.randint(4, 12), ledger=outside)
    month = dice.choice(("100.00", "100.00", "100.00", "1.50"))
    project.settings(provider.url(name, f"shop~{seed}-{number}"), concurrency=dice.randint(1, 8), month=month)
    if dice.random() < 0.3:
        _older_ledger(project.ledger)
    if dice.random() < 0.3:
        project.run(forks, "--limit", "1")  # the first price is known before anything dies
    done = Round(seed, number)
    deaths = dice.randint(1, 4)
    for _ in range(deaths):
        _die(project, done, dice, forks)
    return _judged(done, project, provider, forks, name, month=month, deaths=deaths)


def _judged(
    done: Round,
    project: Project,
    provider: Provider,
    forks: Forks,
    cell: str,
    *,
    month: str = "100.00",
    deaths: int = 1,
) -> Round:
    """Let the project come to rest, and judge it; its folder stays only when something is wrong."""
    truth = project.finish(forks, provider, cell)
    done.requests = len(truth)
    done.unknown = sum(attempt.state == "unknown" for attempt in project.attempts())
    done.faults = project.verdict(truth, month=month)
    done.faults += [f"it was not killed {deaths} times"] * (sum(done.kills.values()) < deaths)
    if done.faults:
        done.folder = project.root
        (project.root / "truth.txt").write_text("\n".join(map(repr, truth)) + "\n")
    else:
        project.remove()
    return done


# ---- every point once


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill point, struck in one way while an endpoint plays a scene that leads the process there."""

    point: Point
    when: When
    step: int
    scene: str

    @property
    def death(self) -> Death:
        """The kill itself."""
        return Death(self.point.name, self.point.targets, self.when, step=self.step)


# Where a process has died before, for there to be something to recover: its answer is in the spool, and not booked.
SPOOLED = Death("spool", next(point.targets for point in POINTS if point.name == "spool"), "after")
# Points that a clean answer does not lead to, or that other answers pass in another way.
SCENES_OF = {
    "decode what was kept": ("prefix-and-space",),
    "spool": ("clean", "prefix-and-space"),
    "recover an attempt": ("clean", "prefix-and-space"),
    "read the spool": ("clean", "prefix-and-space"),
    "settle": ("clean", "bill-only"),
    "release": ("429-once",),
    "unknown": ("500-billed",),
    "keep the raw answer": ("500-billed", "bill-only"),
    "drop the spool": ("clean", "429-once"),
}


# What only an older ledger comes to.
MIGRATING = ("back up", "migrate")


def strikes() -> list[Strike]:
    """Every point in every way; in the middle near the beginning and further in. Only those that a process comes to:
    a first ledger is not backed up."""
    points = [point for point in POINTS if len(migrate.revisions()) > 1 or point.name not in MIGRATING]
    return [
        Strike(point, when, step, scene)
        for point in points
        for scene in SCENES_OF.get(point.name, ("clean",))
        for when in point.whens
        for step in ((1, 40, 400) if when == "middle" else (1,))
    ]


def play_strike(number: int, root: Path, provider: Provider, forks: Forks) -> Round:
    """A project of three pictures in which a process dies at the point; in recovery, when it belongs there."""
    strike = strikes()[number]
    name = f"strike-{number}"
    project = Project(root / name, pictures=3)
    # Of several workers one may commit for all, and not be the one that is to die.
    project.settings(provider.url(name, strike.scene), concurrency=1 if strike.when == "commit" else 2)
    done = Round(None, number)
    if strike.point.name in MIGRATING:
        _older_ledger(project.ledger)
    if strike.point.name in ("restore", "record a delivery"):
        project.run(forks)
        _lose_an_output(project, random.Random(number))
    elif strike.point in RECOVERING:
        project.run(forks, death=SPOOLED)
    if (killed := project.run(forks, death=strike.death).killed) is not None:
        done.kills[killed] += 1
    return _judged(done, project, provider, forks, name)


# ---- rounds at random


def _die(project: Project, done: Round, dice: random.Random, forks: Forks) -> None:
    """Let one process die. A point that it never came to is drawn again, with more to buy; at last an early moment."""
    for tries_left in reversed(range(TRIES_MAX)):
        kill = _drawn(dice, first=not done.kills) if tries_left else _Kill(None, dice.randrange(5, 60))
        if done.kills and dice.random() < 0.3:
            _lose_an_output(project, dice)
        dying = project.start(forks, death=kill.death)
        beside = project.start(forks) if dice.random() < 0.2 else None
        ended = project.wait(forks, dying, kill_after_ms=kill.after_ms)
        if beside is not None:
            project.wait(forks, beside)
        if ended.killed is not None:
            done.kills[ended.killed] += 1
            return
        project.more(dice.randint(1, 4))


def _drawn(dice: random.Random, *, first: bool) -> _Kill:
    if dice.random() < 0.2:
        return _Kill(None, dice.randrange(10, 500))
    point: Point = dice.choice(FIRST if first else LATER)
    nth = dice.choice((1, 1, 1, 2, 3, 5))
    step = int(10 ** dice.uniform(0, 3.3))
    return _Kill(Death(point.name, point.targets, dice.choice(point.whens), nth, step), None)


def _lose_an_output(project: Project, dice: random.Random) -> None:
    """Somebody deletes a picture that was delivered: it must come back without paying."""
    if standing := sorted(path for path in (project.root / "out").glob("*") if not path.name.startswith(".")):
        dice.choice(standing).unlink()


def _older_ledger(path: Path) -> None:
    """An empty ledger as the first program made it, when there has been more than one: the first start migrates it."""
    oldest, *newer = sorted(migrate.revisions())
    if not newer:
        return
    path.parent.mkdir(mode=0o700, parents=True)
    engine = create_engine(f"sqlite:///{path}")
    with _MIGRATING, closing(engine.connect()) as connection:
        migrate.upgrade(connection, oldest)
        connection.commit()
    engine.dispose()


# Alembic speaks to one connection of a process at a time.
_MIGRATING = threading.Lock()


def play_all(
    numbers: Sequence[int], seed: int | None, root: Path, *, workers: int, watch: Callable[[Round], None]
) -> list[Round]:
    """Play the rounds, or with `seed` None the strikes, some at a time; `watch` hears of each."""
    done: list[Round] = []
    waiting = list(reversed(numbers))
    troubles: list[BaseException] = []
    telling = threading.Lock()

    def work(forks: Forks, provider: Provider) -> None:
        while True:
            with telling:
                if not waiting or troubles:
                    return
                number = waiting.pop()
            try:
                one = (
                    play_strike(number, root, provider, forks)
                    if seed is None
                    else play(number, seed, root, provider, forks)
                )
            except BaseException as error:  # noqa: BLE001 - raised again where the thread is waited for
                error.add_note(f"in round {number} of seed {seed}")
                troubles.append(error)
                return
            with telling:
                done.append(one)
                watch(one)

    with ExitStack() as stack:
        provider = stack.enter_context(Provider())
        hands = [stack.enter_context(Forks()) for _ in range(workers)]
        threads = [threading.Thread(target=work, args=(forks, provider)) for forks in hands]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if troubles:
        raise troubles[0]
    return done


def totals(done: Sequence[Round], *, seed: int | None, seconds: float) -> Iterator[str]:
    """The figures, a line each."""
    kills = sum((one.kills for one in done), Counter[str]())
    which = "each kill point once" if seed is None else f"seed {seed}"
    faults = [fault.partition(":")[0] for one in done for fault in one.faults]
    yield f"{len(done)} rounds, {sum(kills.values())} kills, {sum(one.requests for one in done)} requests, {which}"
    for name, count in sorted(kills.items()):
        yield f"  {count:5}  {name}"
    lost = sum(fault in ("lost", "unfinished", "balance", "ledger") for fault in faults)
    yield f"lost {lost}, doubled {faults.count('doubled')}, left {faults.count('left')}, all faults {len(faults)}"
    yield f"{sum(one.unknown for one in done)} attempts are unknown: held, and not sent again"
    yield f"{seconds:.0f} s"


def main() -> int:
    """Play the rounds and print the figures; 1 when a promise did not hold in a round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="every kill point once, instead of rounds at random")
    parser.add_argument("--only", type=int, help="play this round alone")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    seed = None if options.each else options.seed
    numbers = list(range(len(strikes()))) if options.each else list(range(1, options.rounds + 1))
    if options.only is not None:
        numbers = [options.only]
    root = Path(tempfile.mkdtemp(prefix="omixa-kills-"))
    began = time.perf_counter()

    def watch(one: Round) -> None:
        for fault in one.faults:
            print(f"round {one.number}: {fault}", flush=True)
        if one.faults:
            print(f"round {one.number} is kept in {one.folder}; again: {one.replay}", flush=True)

    done = play_all(numbers, seed, root, workers=options.workers, watch=watch)
    print(*totals(done, seed=seed, seconds=time.perf_counter() - began), sep="\n")
    if any(one.faults for one in done):
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
