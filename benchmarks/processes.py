"""Several governed runs on one ledger: that together they lose nothing, and that none starves.

    python -m benchmarks.processes              # 1, 2 and 4 processes, 64 in flight each, 20 KB → 80 KB at 20 ms
    python -m benchmarks.processes --pictures 1000 --rounds 5

Every process buys as many pictures of its own, all in one workspace and so under the same caps. The endpoint answers
only when all have filled their places, so that starting so many programs has no part in the rates. What a process has
when the first one has all of its pictures is its share.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import governed, measured, performance, scenes
from benchmarks.endpoint import KEY, PRICE, Running
from benchmarks.measured import Goal, Started, Table, median
from benchmarks.turns import compare

PROCESSES = (1, 2, 4)
IN_FLIGHT = 64
NO_LOSS = 0.95  # what is lost below that is no noise
NOTES = """\
After each round the endpoint's count of requests and money, the files, the sum of the ledger and its chain agreed.
One process uses little more than one core, so on several cores more processes may be faster together.
"""


@dataclass(frozen=True)
class Together:
    """So many processes at once. `share`: what the slowest had when the first was through, as part of that one's."""

    processes: int
    rate: float
    cpu_ms: float
    share: float


def together(root: Path, processes: int, pictures: int, endpoint: Running) -> Together:
    """Run so many processes on one empty ledger."""
    names = [f"part-{n}" for n in range(processes)]
    recipes = [(name, f"parts/{name}", f"out/{name}") for name in ("first", *names)]
    # Also what more processes have bought before.
    shutil.rmtree(root / "out", ignore_errors=True)
    governed.lay_out(root, url=endpoint.url, in_flight=IN_FLIGHT, recipes=recipes)
    # As long as no price is known, one request goes alone; that is not what is measured.
    measured.measure(governed.run_words(root, "first"), root / "first.txt", BENCH_KEY=KEY)
    endpoint.reset()
    endpoint.hold()
    started = [Started(governed.run_words(root, name), root / f"{name}.txt", BENCH_KEY=KEY) for name in names]
    _wait(started, lambda: endpoint.counts()["in_flight"] == processes * min(IN_FLIGHT, pictures))
    endpoint.go()
    had: list[int] = []

    def one_has_all() -> bool:
        had[:] = [_files(root / "out" / name) for name in names]
        return max(had) == pictures

    _wait(started, one_has_all)
    cpu_s = sum(one.ended().cpu_s for one in started)
    counts = endpoint.counts()
    _check(root, counts, processes * pictures)
    count = processes * pictures
    return Together(processes, count / counts["seconds"], cpu_s / count * 1000, min(had) / max(had))


def _wait(started: Sequence[Started], so: Callable[[], bool]) -> None:
    """Look again until something is so. Raises SystemExit when a process has ended before."""
    while not so():
        for one in started:
            if one.process.poll() not in (None, 0):
                one.ended()
        time.sleep(0.02)


def _files(folder: Path) -> int:
    """How many pictures are in a folder; none while there is no folder."""
    return sum(1 for _ in folder.glob("*.png"))


def _check(root: Path, counts: Mapping[str, Any], count: int) -> None:
    """Each picture was asked for, billed and booked once, and is there; one more was bought before."""
    price = governed.micros(PRICE)
    settled, held = governed.books(root)
    compare(
        f"several processes in {root}",
        {
            "requests": (counts["requests"], count),
            "micro-units billed": (counts["billed_micros"], count * price),
            "micro-units settled": (settled, (count + 1) * price),
            "micro-units open": (held, 0),
            "files": (len(list((root / "out").glob("part-*/*.png"))), count),
        },
    )


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=measured.whole, default=400, help="of each process")
    parser.add_argument("--rounds", type=measured.whole, default=3)
    parser.add_argument("--folder", type=Path, help="where the work is done (default: as TMPDIR)")
    parser.add_argument("--quick", action="store_true", help="a few pictures: shows that it works, and nothing else")
    options = parser.parse_args()
    if options.quick:
        options.pictures, options.rounds = 4, 2
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="omixa-bench-") as name:
        root = Path(name) / "work"
        count = max(PROCESSES) * options.pictures
        result = scenes.make(root, count + 1, source_bytes=20_000, result_bytes=80_000)
        for n, picture in enumerate(sorted((root / "pictures").iterdir())):
            part = root / "parts" / (f"part-{n // options.pictures}" if n < count else "first")
            part.mkdir(parents=True, exist_ok=True)
            picture.rename(part / picture.name)
        with Running(result, latency_ms=20) as endpoint:
            found = [
                together(root, processes, options.pictures, endpoint)
                for _ in range(options.rounds)
                for processes in (PROCESSES[:2] if options.quick else PROCESSES)
            ]
    shown = table(found, options.pictures, options.rounds)
    measured.show(shown)
    if not options.quick:
        reached = goals(found)
        measured.show_goals(reached)
        measured.keep(
            "processes",
            "Several processes on one ledger",
            goals=reached,
            tables=[shown],
            notes=NOTES,
            command=measured.command("processes", sys.argv[1:]),
            rounds=[asdict(one) for one in found],
        )
        performance.write()
    return 0


def table(found: Sequence[Together], pictures: int, rounds: int) -> Table:
    """One line a number of processes."""
    rows = [["processes", "pictures/s", "×", "CPU ms each", "share of the slowest"]]
    for processes in dict.fromkeys(one.processes for one in found):
        own = [one for one in found if one.processes == processes]
        rows.append(
            [
                str(processes),
                f"{median([one.rate for one in own]):.1f}",
                f"{_ratio(found, processes):.2f}",
                f"{median([one.cpu_ms for one in own]):.2f}",
                f"{median([one.share for one in own]):.2f}",
            ]
        )
    return Table(f"{pictures} pictures each, {IN_FLIGHT} in flight each, 20 ms latency, rounds: {rounds}", rows)


def goals(found: Sequence[Together]) -> list[Goal]:
    """What was to be shown."""
    reached = []
    for processes in PROCESSES[1:]:
        work = f"{processes} processes on one ledger, {IN_FLIGHT} in flight each"
        got, share = _ratio(found, processes), median([one.share for one in found if one.processes == processes])
        reached.append(Goal(work, "one process", f"total pictures/s ≥ {NO_LOSS:g}×", f"{got:.2f}×", got >= NO_LOSS))
        reached.append(Goal(work, "each other", "no share under 0.5×", f"{share:.2f}×", share >= 0.5))
    return reached


def _ratio(found: Sequence[Together], processes: int) -> float:
    """The median of the ratios within a round against one process."""
    one, several = ([each.rate for each in found if each.processes == n] for n in (1, processes))
    return median([b / a for a, b in zip(one, several, strict=True)])


if __name__ == "__main__":
    measured.run(main)
