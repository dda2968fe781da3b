"""Many schedules of the simulator, on several cores, with seeds that replay.

    python -m tests.long.simulate --schedules 1000000 --processes 2 --seed 7
    python -m tests.long.simulate --replay 7:4711

Prints what was run and what it covered, and the first violation with the trace of its steps. Exits 1 on a violation.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.proof.simulator import Simulator, Sum

# Schedules that one worker runs before it reports.
BATCH = 2000


def batches(schedules: int) -> Iterator[range]:
    """All numbers below `schedules`, a batch at a time."""
    for start in range(0, schedules, BATCH):
        yield range(start, min(start + BATCH, schedules))


def run_batch(seed: int, numbers: range) -> Sum:
    """One batch, in the simulator of this process."""
    if not _OPEN:
        _OPEN.append(Simulator().__enter__())
    return _OPEN[0].many(seed, numbers)


# The simulator of a worker's process lives as long as the process.
_OPEN: list[Simulator] = []


def main() -> int:
    """Run the schedules and say what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", metavar="SEED:NUMBER", help="print every step of one schedule")
    parser.add_argument("--brief", action="store_true", help="one line: how many schedules, and the first violation")
    options = parser.parse_args()
    if options.replay:
        return replay(*map(int, options.replay.split(":")))
    began = time.perf_counter()
    total = Sum()
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes) as pool:
        waiting = [pool.apply_async(run_batch, (options.seed, numbers)) for numbers in batches(options.schedules)]
        for result in waiting:
            merge(total, result.get())
            if not options.brief and total.schedules % 50_000 == 0:
                tell(f"{total.schedules} schedules, {total.schedules / (time.perf_counter() - began):.0f} a second")
            if total.violation is not None:
                pool.terminate()
                break
    if options.brief:
        tell(f"{total.schedules} schedules: {total.violation[2] if total.violation else 'no violation'}")
    else:
        show(total, time.perf_counter() - began, options)
    return 1 if total.violation is not None else 0


def merge(total: Sum, part: Sum) -> None:
    """Add what one batch came to."""
    total.schedules += part.schedules
    total.steps += part.steps
    total.filled += part.filled
    for name in ("kills", "outcomes", "bills", "moods"):
        getattr(total, name).update(getattr(part, name))
    total.violation = total.violation or part.violation


def show(total: Sum, seconds: float, options: argparse.Namespace) -> None:
    """What was run, what it covered, and what was found."""
    tell(f"seed {options.seed}, {options.processes} processes, {seconds:.1f} s")
    tell(f"{total.schedules} schedules, {total.steps} steps, {total.schedules / seconds:.0f} schedules a second")
    tell(f"{sum(total.kills.values())} kills, at {listed(total.kills)}")
    tell(f"answers: {listed(total.bills)}")
    tell(f"items: {listed(total.outcomes)}")
    tell(f"kinds of schedule: {listed(total.moods)}")
    tell(f"{total.filled} schedules without trouble, each with its caps filled exactly or nothing left to buy")
    if total.violation is None:
        tell("0 violations")
        return
    seed, number, what = total.violation
    tell(f"VIOLATION: {what}\n")
    replay(seed, number)
    tell(f"\npython -m tests.long.simulate --replay {seed}:{number}")


def replay(seed: int, number: int) -> int:
    """Print every step of one schedule, and whether it broke something."""
    with Simulator() as simulator:
        world = simulator.run(seed, number, trace=True)
    caps = ", ".join(f"{cap.scope} {cap.period} {cap.cap_micros}" for cap in world.caps)
    caps += "".join(f", recipe {period} {cap}" for period, cap in world.recipe_caps)
    caps += f", run {world.run_cap}" if world.run_cap is not None else ""
    tell(f"schedule {seed}:{number}, {world.mood_name}: price {world.price}, ceiling {world.ceiling}, caps: {caps}")
    for process in world.processes:
        if process.run is not None:
            keys = " ".join(str(item.draft.key) for item in process.items)
            tell(f"{process.name} runs {process.run.recipe}: {keys}{' again' if process.again else ''}")
    for line in world.trace:
        tell(line)
    tell(f"VIOLATION: {world.violation}" if world.violation else "everything holds")
    return 1 if world.violation else 0


def listed(counts: Counter[str]) -> str:
    """Names with their counts, the largest first."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"


def tell(line: str) -> None:
    """Print at once: a long run is watched."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
