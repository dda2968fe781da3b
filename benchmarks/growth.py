"""Peak memory of a governed run by how many pictures it buys: that it does not grow with them.

    python -m benchmarks.growth                            # 1 000 and 10 000 small pictures
    python -m benchmarks.growth --pictures 1000,100000     # the goal's; takes long

The pictures are the smallest that the model takes, 64 pixels a side, and the endpoint answers at once.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import measured, performance
from benchmarks.measured import Goal, Table
from benchmarks.turns import OMIXA, WAYS, Bench, Round, Scene

IN_FLIGHT = 16
GROWTH_MIB = 10
NOTES = "Each run was checked: requests, money, files, the sum of the ledger and its chain agree.\n"


@dataclass(frozen=True)
class Bought:
    """A run over so many pictures."""

    pictures: int
    turn: Round


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=_counts, default=[1_000, 10_000], metavar="N,N", help="in rising order")
    parser.add_argument("--folder", type=Path, help="where the work is done (default: as TMPDIR)")
    parser.add_argument("--quick", action="store_true", help="a few pictures: shows that it works, and nothing else")
    options = parser.parse_args()
    counts = [4, 12] if options.quick else options.pictures
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="omixa-bench-") as name:
        found = [Bought(count, bought(Path(name) / str(count), count)) for count in counts]
    shown = table(found)
    measured.show(shown)
    if options.quick:
        return 0
    reached = [goal(found)]
    measured.show_goals(reached)
    measured.keep(
        "growth",
        "Memory by number of pictures",
        goals=reached,
        tables=[shown],
        notes=NOTES,
        command=measured.command("growth", sys.argv[1:]),
        rounds=[asdict(one) for one in found],
    )
    performance.write()
    return 0


def _counts(text: str) -> list[int]:
    counts = [measured.whole(count) for count in text.split(",")]
    if len(counts) < 2 or counts != sorted(set(counts)):
        raise argparse.ArgumentTypeError(f"two numbers or more that rise, such as 1000,10000; not `{text}`")
    return counts


def bought(root: Path, count: int) -> Round:
    """One run."""
    scene = Scene("growth", "smallest pictures, 0 ms latency", 12_288, 12_288, 0, IN_FLIGHT, count)
    (turn,) = Bench(root, scene, {OMIXA: _words}).rounds(1)
    return turn


def _words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
    """As a job that nobody watches runs: `--json` would hold every picture's line until the end."""
    words, variables = WAYS[OMIXA](root, url, in_flight)
    return [word for word in words if word != "--json"], variables


def table(found: Sequence[Bought]) -> Table:
    """One line a run."""
    rows = [["pictures", "peak MiB", "seconds", "CPU ms each", "load"]]
    for one in found:
        each = one.turn.cpu_s / one.pictures * 1000
        rows.append(
            [
                str(one.pictures),
                f"{one.turn.rss_mib:.0f}",
                f"{one.turn.wall_s:.0f}",
                f"{each:.2f}",
                f"{one.turn.load:.1f}",
            ]
        )
    return Table(f"pictures of 12 KB, {IN_FLIGHT} in flight", rows)


def goal(found: Sequence[Bought]) -> Goal:
    """The last against the first."""
    first, last = found[0], found[-1]
    grown = last.turn.rss_mib - first.turn.rss_mib
    work = f"peak memory of a run, {first.pictures} → {last.pictures} pictures"
    return Goal(work, "its number of pictures", f"grows ≤ {GROWTH_MIB} MB", f"{grown:.0f} MB", grown <= GROWTH_MIB)


if __name__ == "__main__":
    measured.run(main)
