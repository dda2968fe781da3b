"""A governed run against the script that it replaces, and against the fastest clients there are.

    python -m benchmarks.sending             # some minutes; --full for as many pictures as the goals speak of
    python -m benchmarks.sending --quick     # a few pictures, to see that it works
    python -m benchmarks.sending --scene small-20-16 --clients plain-session,omixa --rounds 5
    python -m benchmarks.sending --profile   # where the CPU of a governed picture goes

Each client is a process that buys the same pictures from the same endpoint, which is a process of its own
(benchmarks/endpoint.py). What is shown is the median of the rounds, and the median of the ratios within each round.
"Pictures/s" is for the whole command: start-up, imports, plan, everything until the program has ended.
"""

import argparse
import compileall
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import governed, measured, performance, profiled
from benchmarks.endpoint import KEY, Running
from benchmarks.measured import Goal, Table, median
from benchmarks.turns import (
    OMIXA,
    PYCURL,
    SCRIPT,
    WAYS,
    Bench,
    Round,
    Scene,
    Words,
    loads,
    of,
    ratio,
    speed,
)

LIMITS = ("http.client", "raw-socket")
LIMIT_GOAL = 0.6
# In flight → pictures of 20 KB: so many that starting the program is not all that is measured.
CURVE = {1: 150, 4: 400, 8: 500, 16: 600, 32: 800, 64: 800}
NOTES = """\
Every turn was checked: the endpoint's count of requests and of money, the files on the disk, the sum of the ledger and
its chain agree. The governed run has everything on: caps of day, month, run and in total, the ledger at
`synchronous=FULL`, the audit trail, digests, and the check that a result shows its source. `plain-session` is the
script that people write (`requests`, a thread pool, a Session for each thread), `plain` the same without a Session.
`http.client`, `raw-socket` and `pycurl` are limits: no JSON, no caps, no record, nothing that makes sure of the disk.
"""


def the_scenes(*, full: bool) -> list[Scene]:
    """The work of the goals."""
    small, large = (2000, 64) if full else (500, 24)
    return [
        *(_small(latency_ms, in_flight, small, goal) for latency_ms, in_flight, goal in _SMALL_GOALS),
        *(_large(20, in_flight, large if in_flight > 1 else large // 2) for in_flight in (1, 8, 16)),
    ]


_SMALL_GOALS = ((20, 16, 2.0), (20, 64, 2.5), (0, 8, 2.5))


def _small(latency_ms: float, in_flight: int, count: int, goal: float | None) -> Scene:
    title = f"20 KB → 80 KB, {latency_ms:g} ms latency, {in_flight} in flight"
    name, cpu_goal = f"small-{latency_ms:g}-{in_flight}", 0.45 if goal else None
    return Scene(name, title, 20_000, 80_000, latency_ms, in_flight, count, goal, cpu_goal)


def _large(latency_ms: float, in_flight: int, count: int) -> Scene:
    title = f"1.5 MB → 12 MB, {latency_ms:g} ms latency, {in_flight} in flight"
    name = f"large-{latency_ms:g}-{in_flight}"
    return Scene(name, title, 1_500_000, 12_000_000, latency_ms, in_flight, count, 5.5, 0.10, 0.2)


def quick_scenes() -> list[Scene]:
    """The same with so few pictures that the figures mean nothing."""
    large = replace(_large(0, 2, 2), source_bytes=100_000, result_bytes=1_000_000)
    return [replace(_small(5, 3, 6, 2.0), name="small-quick"), replace(large, name="large-quick")]


# ---- what is shown


def table(scene: Scene, rounds: Sequence[Round], clients: Sequence[str]) -> Table:
    """One line a client."""
    head = ["", "pictures/s", "×", "while sending", "CPU ms each", "×", "peak MiB", "×", "endpoint's CPU ms"]
    rows = [head]
    for client in clients:
        turns = of(rounds, client)
        against = [
            f"{ratio(rounds, client, SCRIPT, value):.2f}" if SCRIPT in clients else "–"
            for value in (speed, lambda one: one.cpu_s, lambda one: one.rss_mib)
        ]
        rows.append(
            [
                client,
                f"{median([scene.count / one.wall_s for one in turns]):.1f}",
                against[0],
                f"{median([scene.count / one.sending_s for one in turns]):.1f}",
                f"{median([one.cpu_s / scene.count * 1000 for one in turns]):.2f}",
                against[1],
                f"{median([one.rss_mib for one in turns]):.0f}",
                against[2],
                f"{median([one.endpoint_cpu_s / scene.count * 1000 for one in turns]):.2f}",
            ]
        )
    count = len(of(rounds, clients[0]))
    return Table(f"{scene.title}: {scene.count} pictures, {count} rounds, {loads(rounds)}", rows)


def goals(scene: Scene, rounds: Sequence[Round], clients: Sequence[str], idle_mib: float | None) -> list[Goal]:
    """What this work should show, and what it showed."""
    if OMIXA not in clients:
        return []
    found = []
    if SCRIPT in clients:
        for what, value, goal, least in (
            ("pictures/s", speed, scene.rate_goal, True),
            ("CPU per picture", lambda one: one.cpu_s, scene.cpu_goal, False),
            ("peak memory", lambda one: one.rss_mib, scene.rss_goal, False),
        ):
            if goal is not None:
                got = ratio(rounds, OMIXA, SCRIPT, value)
                wanted, reached = f"{'≥' if least else '≤'} {goal:g}×", got >= goal if least else got <= goal
                found.append(Goal(scene.title, "plain script with Session", f"{what} {wanted}", f"{got:.2f}×", reached))
    for limit in LIMITS:
        if limit in clients and scene.rate_goal is not None:
            got = ratio(rounds, OMIXA, limit, speed)
            wanted = f"pictures/s ≥ {LIMIT_GOAL:g}×"
            found.append(Goal(scene.title, f"{limit}, ungoverned", wanted, f"{got:.2f}×", got >= LIMIT_GOAL))
    if idle_mib is not None and scene.rss_goal is not None:
        got, most = median([one.rss_mib for one in of(rounds, OMIXA)]) - idle_mib, 50 + 2 * scene.in_flight
        told = f"{got:.0f} MB above {idle_mib:.0f} MB"
        found.append(Goal(scene.title, "a run that buys nothing", f"peak memory ≤ {most} MB above", told, got <= most))
    return found


def curve_table(curve: Mapping[int, list[Round]]) -> Table:
    """Ratios by how many are in flight."""
    rows = [["in flight", "plain-session/s", "omixa/s", "pictures/s ×", "while sending ×", "CPU ×"]]
    for in_flight, rounds in curve.items():
        count = CURVE[in_flight]
        rows.append(
            [
                str(in_flight),
                f"{median([count / one.wall_s for one in of(rounds, SCRIPT)]):.1f}",
                f"{median([count / one.wall_s for one in of(rounds, OMIXA)]):.1f}",
                f"{ratio(rounds, OMIXA, SCRIPT, speed):.2f}",
                f"{ratio(rounds, OMIXA, SCRIPT, lambda one: 1 / one.sending_s):.2f}",
                f"{ratio(rounds, OMIXA, SCRIPT, lambda one: one.cpu_s):.2f}",
            ]
        )
    every = [one for rounds in curve.values() for one in rounds]
    return Table(f"by concurrency: 20 KB → 80 KB, 20 ms latency, {loads(every)}", rows)


# ---- measuring


def ways(names: Sequence[str]) -> dict[str, Words]:
    """The clients by name; without pycurl where it cannot be had."""
    found = {name: WAYS[name] for name in names}
    if "pycurl" in found and not has_pycurl():
        print("pycurl cannot be installed here: it is left out", file=sys.stderr)
        del found["pycurl"]
    return found


def has_pycurl() -> bool:
    """Install pycurl into the cache, where it is not in anybody's way."""
    if not PYCURL.exists():
        words = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        ]
        done = subprocess.run([*words, "--target", str(PYCURL), "pycurl"], capture_output=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(PYCURL, ignore_errors=True)
    return PYCURL.exists()


def idle_mib(folder: Path) -> float:
    """Peak memory of a run that has nothing to buy: what the imports and an empty plan need."""
    scene = _small(0, 1, 1, None)
    bench = Bench(folder / "idle", scene, {OMIXA: WAYS[OMIXA]})
    bench.rounds(1)
    with Running(bench.result, latency_ms=0):
        words = governed.run_words(bench.root, "all")
        return median([measured.measure(words, bench.root / "log.txt", BENCH_KEY=KEY).rss_mib for _ in range(3)])


def measure_scenes(
    chosen: Sequence[Scene], clients: Sequence[str], rounds: int, folder: Path
) -> dict[str, list[Round]]:
    """Every scene, and its table as soon as it is there."""
    found = {}
    able = ways(clients)
    for scene in chosen:
        bench = Bench(folder / scene.name, scene, able)
        found[scene.name] = bench.rounds(rounds)
        shutil.rmtree(bench.root)
        measured.show(table(scene, found[scene.name], list(able)))
    return found


def measure_curve(rounds: int, folder: Path) -> dict[int, list[Round]]:
    """The governed run and the script, with few and many in flight."""
    found = {}
    for in_flight, count in CURVE.items():
        scene = _small(20, in_flight, count, None)
        bench = Bench(folder / f"curve-{in_flight}", scene, ways([SCRIPT, OMIXA]))
        found[in_flight] = bench.rounds(rounds)
        shutil.rmtree(bench.root)
    measured.show(curve_table(found))
    return found


def main() -> int:
    """Measure, print, and keep what docs/performance.md is made from."""
    options = _options()
    compileall.compile_dir(measured.ROOT / "runner", quiet=1)
    every = quick_scenes() if options.quick else the_scenes(full=options.full)
    chosen = [scene for scene in every if options.scene in (None, scene.name)]
    if not chosen:
        sys.exit(f"there is no scene `{options.scene}`: {', '.join(scene.name for scene in every)}")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="omixa-bench-") as name:
        folder = Path(name)
        if options.profile:
            for scene in chosen:
                profiled.show_profile(Bench(folder / scene.name, scene, {}))
            return 0
        found = measure_scenes(chosen, options.clients.split(","), options.rounds, folder)
        clients = [client for client in options.clients.split(",") if of(found[chosen[0].name], client)]
        idle = idle_mib(folder) if OMIXA in clients else None
        reached = [goal for scene in chosen for goal in goals(scene, found[scene.name], clients, idle)]
        curve = {} if options.quick or options.scene else measure_curve(options.rounds, folder)
    measured.show_goals(reached)
    if options.scene or options.quick:
        return 0
    path = measured.keep(
        "sending",
        "Sending",
        goals=reached,
        tables=[*(table(scene, found[scene.name], clients) for scene in chosen), curve_table(curve)],
        notes=NOTES,
        command=f"python -m benchmarks.sending{' --full' if options.full else ''}",
        curve={str(n): ratio(rounds, OMIXA, SCRIPT, speed) for n, rounds in curve.items()},
        rounds={name: [asdict(one) for one in rounds] for name, rounds in found.items()},
    )
    print(f"\nkept in {path.relative_to(measured.ROOT)}")
    performance.write()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="as many pictures as the goals speak of, five rounds")
    parser.add_argument("--quick", action="store_true", help="a few pictures: shows that it works, and nothing else")
    parser.add_argument("--profile", action="store_true", help="where the CPU of a governed picture goes")
    parser.add_argument("--scene", metavar="NAME", help="only one, such as small-20-16; nothing is kept")
    parser.add_argument("--clients", default=",".join([SCRIPT, OMIXA, *LIMITS, "pycurl", "plain"]), metavar="A,B")
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--folder", type=Path, help="where the work is done: on the disk that is meant (default: as TMPDIR)"
    )
    options = parser.parse_args()
    unknown = [client for client in options.clients.split(",") if client not in WAYS]
    if unknown:
        parser.error(f"there is no client `{unknown[0]}`: {', '.join(WAYS)}")
    options.rounds = options.rounds or (1 if options.quick else 5 if options.full else 3)
    return options


if __name__ == "__main__":
    sys.exit(main())
