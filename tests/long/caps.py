"""Caps under a crowd: N processes with M pictures each on one ledger fill a cap of 1.00 with bills of 0.039 exactly.

Counts by the endpoint's own books and by the ledger, with the ceiling at the price and above it, round after round.

    python -m tests.long.caps --processes 20 --pictures 100 --rounds 10
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.run.conftest import Studio


def one_round(processes: int, pictures: int, ceiling: str) -> tuple[int, int, int]:
    """Requests and pictures by the endpoint's count, and settled micro-units by the ledger's."""
    with tempfile.TemporaryDirectory() as name:
        studio = Studio(Path(name))
        try:
            studio.settings(month="1.00", ceiling=ceiling)
            for n in range(processes):
                studio.recipe(f"posters-{n}", folder=f"pictures/{n}", output=f"out/{n}")
                studio.pictures(pictures, folder=f"pictures/{n}")
            running = [studio.start("run", f"posters-{n}", "--yes", "--json") for n in range(processes)]
            for process in running:
                process.communicate(timeout=600)
            studio.balances()
            assert studio.open == 0
            assert {process.returncode for process in running} <= {0, 3}
            counts = studio.endpoint.counts()
            return counts.requests, counts.pictures, studio.settled
        finally:
            studio.endpoint.stop()


def main() -> int:
    """Run the rounds and say how each went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    failed = 0
    for number in range(options.rounds):
        for ceiling in ("0.039", "0.05"):
            began = time.perf_counter()
            requests, pictures, settled = one_round(options.processes, options.pictures, ceiling)
            exact = (requests, pictures, settled) == (25, 25, 975_000)
            failed += not exact
            print(
                f"round {number + 1} ceiling {ceiling}: {requests} requests, {pictures} billed, "
                f"ledger {settled / 1e6:.6f}, {time.perf_counter() - began:.1f} s: {'exact' if exact else 'NOT EXACT'}",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
