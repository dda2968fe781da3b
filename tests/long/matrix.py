"""The fault matrix over real HTTP: every way an endpoint can behave × every place where the process can be killed.

In each cell one picture is bought from a scripted endpoint by a real process, which is killed (or not) at the cell's
point; then the run is repeated until nothing moves any more, and the project is judged by the endpoint's own truth.

    python -m tests.long.matrix                      all cells
    python -m tests.long.matrix --only 429-once      those of one behaviour (or kill point, or `behaviour × point`)
"""

import argparse
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from runner.ledger.database import open_database
from tests.proof.death import Death
from tests.proof.endpoint import Provider
from tests.proof.forks import Forks
from tests.proof.project import Project, billed_micros, unheard_breach
from tests.proof.scenes import MATRIX, Scene

_LEDGER, _SPOOL = "runner.ledger.ledger:Ledger", "runner.providers.spool:SpoolWriter"
BOOKINGS = (f"{_LEDGER}.settle", f"{_LEDGER}.release", f"{_LEDGER}.unknown")

# The columns: not killed, and the moments between two steps where what the disk knows and what happened differ most.
DEATHS: tuple[Death | None, ...] = (
    None,
    Death("reserve", (f"{_LEDGER}.reserve",), "after"),
    Death("connect", ("runner.providers.line:Line.connect",), "after"),
    Death("sent", (f"{_LEDGER}.sent",), "after"),
    Death("mid-write", ("runner.providers.omixa:_Body.read",), "before", nth=2),
    Death("mid-read", (f"{_SPOOL}.begin",), "after"),
    Death("spool", (f"{_SPOOL}.commit", f"{_SPOOL}.commit_cut"), "after"),
    Death("settle", BOOKINGS, "commit"),
    Death("deliver", ("runner.images.disk:_into_place",), "before"),
)
NOT_KILLED = "not killed"


@dataclass(frozen=True, slots=True)
class Cell:
    """One behaviour of the endpoint and one place to die at, None: nowhere."""

    scene: Scene
    death: Death | None

    @property
    def column(self) -> str:
        """The name of the kill point."""
        return self.death.name if self.death else NOT_KILLED

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return f"{self.scene.name} × {self.column}"


@dataclass(frozen=True, slots=True)
class Found:
    """What came out of a cell. `struck`: the process was killed where it should be; False also in cells without a kill.

    `states`: of the attempts, in order. `beyond`: by how much the endpoint's truth exceeds settled + open, 0 when not.
    `unheard`: that is because a bill above the ceiling stood in an answer that never came, a limit that is documented.
    """

    cell: Cell
    struck: bool
    states: str
    beyond: int
    unheard: bool
    faults: Sequence[str]


def cells() -> list[Cell]:
    """The whole matrix, row by row."""
    return [Cell(scene, death) for scene in MATRIX for death in DEATHS]


def spread(every: int) -> list[Cell]:
    """A part of the matrix that has every kill point and touches most behaviours, without the slow ones."""
    return [cell for cell in cells()[::every] if not cell.scene.slow]


def expected(cell: Cell, struck: bool) -> str | None:
    """The states that must come out, by contract B and the states of the ledger; None: more than one is right."""
    ends = cell.scene.ends
    if not struck or ends is None:
        return ends
    if cell.column in ("sent", "mid-write", "mid-read"):
        return "U"  # it may have left, and no answer was kept
    if cell.scene.first_url != "here":
        return "R S"  # nothing left; the next run finds a better address
    if cell.column in ("reserve", "connect"):
        return f"R {ends}"  # nothing left
    return ends  # the answer was kept, or it was never going to come


def play(cell: Cell, number: int, root: Path, template: Path, provider: Provider, forks: Forks) -> Found:
    """One cell, in a new folder under `root`, which is left there only when something is wrong."""
    scene, name = cell.scene, f"cell-{number}"
    project = Project(root / name, size=900 if scene.big else 64)
    project.ledger.parent.mkdir(mode=0o700)
    project.ledger.write_bytes(template.read_bytes())
    urls = {"here": provider.url(name, scene.name), "refused": provider.refusing_url, "tls": provider.tls_url}
    project.settings(urls[scene.first_url], timeout_s=scene.timeout_s)
    struck = project.run(forks, death=cell.death).killed is not None
    first = _states(project)
    project.settings(urls["here"], timeout_s=scene.timeout_s)
    truth = project.finish(forks, provider, name)
    attempts, states = project.attempts(), _states(project)
    faults = project.verdict(truth)
    wanted = expected(cell, struck)
    if wanted is not None and states != wanted:
        faults.append(f"the attempts end as {states}, expected {wanted}")
    if cell.death is None and first != (scene.first or scene.ends or first):
        faults.append(f"its first run ends as {first}, expected {scene.first or scene.ends}")
    if scene.name == "clean" and cell.death is not None and not struck:
        faults.append("a good answer leads to every kill point, and it was not killed")
    beyond = max(0, int(billed_micros(truth)) - sum(attempt.held_micros for attempt in attempts))
    if not faults:
        project.remove()
    return Found(cell, struck, states, beyond, unheard_breach(truth, attempts), faults)


def _states(project: Project) -> str:
    return " ".join(attempt.state[0].upper() for attempt in project.attempts())


def play_all(wanted: Sequence[Cell], root: Path, *, workers: int, watch: Callable[[Found], None]) -> list[Found]:
    """Play the cells, some at a time; `watch` hears of each. In their order, whatever the order they ended in."""
    found: dict[int, Found] = {}
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(wanted)):
        waiting.put(number)
    template = root / "template.db"
    open_database(template, create=True).close()
    troubles: list[BaseException] = []
    telling = threading.Lock()

    def work(forks: Forks, provider: Provider) -> None:
        while not troubles:
            try:
                number = waiting.get_nowait()
                done = play(wanted[number], number, root, template, provider, forks)
                with telling:
                    found[number] = done
                    watch(done)
            except queue.Empty:
                return
            except BaseException as error:  # noqa: BLE001 - raised again where the thread is waited for
                troubles.append(error)

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
    return [found[number] for number in sorted(found)]


def table(found: Sequence[Found]) -> Iterator[str]:
    """Behaviour × kill point: the states that came out. `·`: the process did not come to that point, so it lived."""
    columns = [death.name if death else NOT_KILLED for death in DEATHS]
    rows: dict[str, dict[str, str]] = {}
    for one in found:
        shown = one.states if one.struck or one.cell.death is None else "·"
        rows.setdefault(one.cell.scene.name, {})[one.cell.column] = shown + ("!" if one.faults else "")
    truths = {one.cell.scene.name: one.cell.scene.truth for one in found}
    yield f"{'behaviour':24}{'what it did':13}" + "".join(f"{column:11}" for column in columns)
    for name, row in rows.items():
        yield f"{name:24}{truths[name]:13}" + "".join(f"{row.get(column, ''):11}" for column in columns)


def totals(found: Sequence[Found]) -> Iterator[str]:
    """The figures that matter, a line each."""
    struck = Counter(one.cell.column for one in found if one.struck)
    yield f"{len(found)} cells, {len({one.cell.scene.name for one in found})} behaviours"
    yield f"{sum(struck.values())} processes killed: " + ", ".join(f"{name} {count}" for name, count in struck.items())
    unreached = sum(one.cell.death is not None and not one.struck for one in found)
    yield f"{unreached} cells whose behaviour never leads to their kill point"
    beyond = [one for one in found if one.beyond > 0]
    yield f"{sum(not one.unheard for one in beyond)} cells in which the provider's truth exceeds the ledger"
    limit = ", ".join(one.cell.name for one in beyond if one.unheard)
    yield f"and, a limit that is documented, with a bill above the ceiling in an answer that never came: {limit or 0}"
    yield f"{sum(bool(one.faults) for one in found)} cells with a fault of any kind"


def main() -> int:
    """Play the matrix and print its table; 1 when a promise did not hold in a cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="a behaviour, a kill point, or `behaviour × point`")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    wanted = [c for c in cells() if options.only in (None, c.scene.name, c.column, c.name)]
    root = Path(tempfile.mkdtemp(prefix="omixa-matrix-"))
    began = time.perf_counter()

    def watch(found: Found) -> None:
        for fault in found.faults:
            print(f"{found.cell.name}: {fault}", flush=True)

    found = play_all(wanted, root, workers=options.workers, watch=watch)
    print(*table(found), "", *totals(found), f"{time.perf_counter() - began:.0f} s", sep="\n")
    if any(one.faults for one in found):
        print(f"the failed cells are kept in {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
