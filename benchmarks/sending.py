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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import governed, measured, performance, profiled
from benchmarks.endpoint import KEY, Running
from benchmarks.measured import Goal, Table, Used, median
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
CURVE = {1: 150, 4: 400, 8: 600, 16: 1000, 32: 1000, 64: 1000}
# The scenes with all clients; the others do without the slow ones and those that show the same as another.
THOROUGH = ("small-20-16", "large-20-8", "small-quick", "large-quick")

PROFILED = 500  # pictures, at most, when every function is timed

# By scene; and by how many are in flight, with how many pictures.
Found = Mapping[str, list[Round]]
Curve = Mapping[int, tuple[int, list[Round]]]
NOTES = """\
Every turn was checked: the endpoint's count of requests and of money, the files on the disk, the sum of the ledger and
its chain agree. The governed run has everything on: caps of day, month, run and in total, the ledger at
`synchronous=FULL`, the audit trail, digests, and the check that a result shows its source. `plain-session` is the
script that people write (`requests`, a thread pool, a Session for each thread), `plain-one-session` the same with one
Session for all, `plain` without any.
`http.client`, `raw-socket` and `pycurl` are limits: no JSON, no caps, no record, nothing that makes sure of the disk.
"""


def the_scenes(*, full: bool, share: float) -> list[Scene]:
    """The work of the goals."""
    small, large = max(2, round(2000 * share)), max(2, round((128 if full else 48) * share))
    return [
        *(_small(latency_ms, in_flight, small, goal) for latency_ms, in_flight, goal in _SMALL_GOALS),
        *(_large(20, in_flight, large) for in_flight in (1, 8, 16)),
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


Value = Callable[[Round], float]


def table(scene: Scene, rounds: Sequence[Round], idle: Mapping[str, Used]) -> Table:
    """One line a client; behind each figure its ratio against the plain script with a Session."""
    clients = list(dict.fromkeys(one.client for one in rounds))

    def cells(client: str, each: str, value: Value, compared: Value | None = None) -> list[str]:
        """The median, and the median of the ratios."""
        shown = format(median([value(one) for one in of(rounds, client)]), each)
        return [shown, f"{ratio(rounds, client, SCRIPT, compared or value):.2f}" if SCRIPT in clients else "–"]

    head = ["pictures/s", "×", "while sending", "×", "CPU ms each", "×", "less start-up", "×", "peak MiB", "×"]
    rows = [["", *head, "endpoint's CPU ms"]]
    for client in clients:
        rows.append(
            [
                client,
                *cells(client, ".1f", lambda one: scene.count / one.wall_s),
                *cells(client, ".1f", lambda one: scene.count / one.sending_s),
                *cells(client, ".2f", lambda one: one.cpu_s / scene.count * 1000),
                *cells(client, ".2f", lambda one: net(one, idle) / scene.count * 1000),
                *cells(client, ".0f", lambda one: one.rss_mib),
                f"{median([one.endpoint_cpu_s / scene.count * 1000 for one in of(rounds, client)]):.2f}",
            ]
        )
    count = len(of(rounds, clients[0]))
    return Table(f"{scene.title}: {scene.count} pictures, {counted(count, 'round')}, {loads(rounds)}", rows)


def net(one: Round, idle: Mapping[str, Used]) -> float:
    """CPU seconds of a turn without what the program takes when there is nothing to buy."""
    return max(one.cpu_s - idle[one.client].cpu_s, 1e-6)


def goals(scene: Scene, rounds: Sequence[Round], idle: Mapping[str, Used]) -> list[Goal]:
    """What this work should show, and what it showed."""
    clients = {one.client for one in rounds}
    if OMIXA not in clients:
        return []
    return [
        *(_against_script(scene, rounds, idle) if SCRIPT in clients else []),
        *(_against_limit(scene, rounds, limit) for limit in LIMITS if limit in clients and scene.rate_goal),
        *([_memory(scene, rounds, idle[OMIXA].rss_mib)] if scene.rss_goal else []),
    ]


def _against_script(scene: Scene, rounds: Sequence[Round], idle: Mapping[str, Used]) -> Iterator[Goal]:
    against = "plain script with Session"
    if scene.rate_goal is not None:
        got, sending = (ratio(rounds, OMIXA, SCRIPT, value) for value in (speed, _sending))
        told = f"{got:.2f}×; while sending {sending:.2f}×"
        bound = LIMITS[-1]
        if of(rounds, bound):
            told += f"; `{bound}` {ratio(rounds, bound, SCRIPT, speed):.2f}×"
        yield Goal(scene.title, against, f"pictures/s ≥ {scene.rate_goal:g}×", told, got >= scene.rate_goal)
    if scene.cpu_goal is not None:
        got, less = (ratio(rounds, OMIXA, SCRIPT, value) for value in (_cpu, lambda one: net(one, idle)))
        told = f"{got:.2f}×; less start-up {less:.2f}×"
        yield Goal(scene.title, against, f"CPU per picture ≤ {scene.cpu_goal:g}×", told, got <= scene.cpu_goal)
    if scene.rss_goal is not None:
        got = ratio(rounds, OMIXA, SCRIPT, lambda one: one.rss_mib)
        yield Goal(scene.title, against, f"peak memory ≤ {scene.rss_goal:g}×", f"{got:.2f}×", got <= scene.rss_goal)


def _against_limit(scene: Scene, rounds: Sequence[Round], limit: str) -> Goal:
    got, sending = (ratio(rounds, OMIXA, limit, value) for value in (speed, _sending))
    told, wanted = f"{got:.2f}×; while sending {sending:.2f}×", f"pictures/s ≥ {LIMIT_GOAL:g}×"
    return Goal(scene.title, f"`{limit}`, ungoverned", wanted, told, got >= LIMIT_GOAL)


def _memory(scene: Scene, rounds: Sequence[Round], idle_mib: float) -> Goal:
    got, most = median([one.rss_mib for one in of(rounds, OMIXA)]) - idle_mib, 50 + 2 * scene.in_flight
    told = f"{got:.0f} MB above {idle_mib:.0f} MB"
    return Goal(scene.title, "a run that buys nothing", f"peak memory ≤ {most} MB above it", told, got <= most)


def _sending(one: Round) -> float:
    return 1 / one.sending_s


def _cpu(one: Round) -> float:
    return one.cpu_s


def counted(count: int, what: str) -> str:
    """`1 round`, `3 rounds`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def curve_table(curve: Curve) -> Table:
    """Ratios by how many are in flight."""
    rows = [["in flight", "pictures", "plain-session/s", "omixa/s", "pictures/s ×", "while sending ×", "CPU ×"]]
    for in_flight, (count, rounds) in curve.items():
        rows.append(
            [
                str(in_flight),
                str(count),
                f"{median([count / one.wall_s for one in of(rounds, SCRIPT)]):.1f}",
                f"{median([count / one.wall_s for one in of(rounds, OMIXA)]):.1f}",
                f"{ratio(rounds, OMIXA, SCRIPT, speed):.2f}",
                f"{ratio(rounds, OMIXA, SCRIPT, _sending):.2f}",
                f"{ratio(rounds, OMIXA, SCRIPT, _cpu):.2f}",
            ]
        )
    every = [one for _, rounds in curve.values() for one in rounds]
    return Table(f"by concurrency: 20 KB → 80 KB, 20 ms latency, {loads(every)}", rows)


def endpoint_table(chosen: Sequence[Scene], found: Found) -> Table:
    """How far the endpoint was from its own limit: it works on one core, so that is one second of CPU a second."""
    rows = [["", "fastest while sending", "pictures/s", "endpoint's CPU ms each", "endpoint's limit/s", "busy"]]
    for scene in chosen:
        rounds = found[scene.name]
        rates = {
            client: median([scene.count / one.sending_s for one in of(rounds, client)])
            for client in dict.fromkeys(one.client for one in rounds)
        }
        fastest = max(rates, key=lambda client: rates[client])
        each_s = median([one.endpoint_cpu_s / scene.count for one in of(rounds, fastest)])
        rows.append(
            [
                scene.title,
                fastest,
                f"{rates[fastest]:.0f}",
                f"{each_s * 1000:.2f}",
                f"{1 / each_s:.0f}",
                f"{rates[fastest] * each_s:.0%}",
            ]
        )
    return Table("the endpoint by itself", rows)


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


def start_up(able: Mapping[str, Words], folder: Path, times: int) -> dict[str, Used]:
    """What every client takes when there is nothing to buy; for the governed run, because its picture was bought."""
    bench = Bench(folder / "start-up", _small(0, 1, 1, None), able)
    empty = folder / "empty"
    (empty / "pictures").mkdir(parents=True)
    found: dict[str, list[Used]] = {client: [] for client in able}
    again = governed.run_words(bench.root, "all"), {"BENCH_KEY": KEY}
    with Running(bench.result, latency_ms=0) as endpoint:
        for client in able:
            if client == OMIXA:
                bench.turn(client, endpoint)
        for client in list(able) * times:
            shutil.rmtree(empty / "out", ignore_errors=True)
            words, variables = able[client](empty, endpoint.url, 1) if client != OMIXA else again
            found[client].append(measured.measure(words, folder / "start-up.txt", **variables))
    return {
        client: Used(
            median([one.wall_s for one in used]),
            median([one.cpu_s for one in used]),
            median([one.rss_mib for one in used]),
        )
        for client, used in found.items()
    }


def measure_scenes(
    chosen: Sequence[Scene], options: argparse.Namespace, idle: Mapping[str, Used], folder: Path
) -> Found:
    """Every scene, and its table as soon as it is there."""
    found = {}
    able = {client: WAYS[client] for client in idle}
    for scene in chosen:
        # The slow ones only where there is something new to learn from them.
        slow = {"plain", "plain-one-session", "pycurl"} if scene.name not in THOROUGH and not options.scene else set()
        bench = Bench(folder / scene.name, scene, {name: way for name, way in able.items() if name not in slow})
        found[scene.name] = bench.rounds(options.rounds)
        shutil.rmtree(bench.root)
        measured.show(table(scene, found[scene.name], idle))
    return found


def measure_curve(options: argparse.Namespace, folder: Path) -> Curve:
    """The governed run and the script, with few and many in flight."""
    found = {}
    for in_flight, count in CURVE.items():
        scene = _small(20, in_flight, max(2, round(count * options.share)), None)
        bench = Bench(folder / f"curve-{in_flight}", scene, ways([SCRIPT, OMIXA]))
        found[in_flight] = scene.count, bench.rounds(options.rounds)
        shutil.rmtree(bench.root)
    measured.show(curve_table(found))
    return found


def measure_governance(scene: Scene, folder: Path) -> tuple[Goal, Table]:
    """The CPU of reserve, sent and settle of a picture, with the audit row and the chain that are a part of each."""
    bench = Bench(folder / "governance", scene, {})
    found = profiled.stages(bench)
    shutil.rmtree(bench.root)
    shown = profiled.stage_table(f"where the CPU goes: {scene.title}, {scene.count} pictures", found, scene.count)
    measured.show(shown)
    took = profiled.governance_ms(found, scene.count)
    work = "governance itself: reserve, sent, settle, audit row, chain"
    return Goal(work, "–", "CPU ≤ 0.35 ms a picture", f"{took:.2f} ms", took <= 0.35), shown


def main() -> int:
    """Measure, print, and keep what docs/performance.md is made from."""
    options = _options()
    compileall.compile_dir(measured.ROOT / "runner", quiet=1)
    every = quick_scenes() if options.quick else the_scenes(full=options.full, share=options.share)
    chosen = [scene for scene in every if options.scene in (None, scene.name)]
    if not chosen:
        sys.exit(f"there is no scene `{options.scene}`: {', '.join(scene.name for scene in every)}")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="omixa-bench-") as name:
        folder = Path(name)
        if options.profile:
            for scene in chosen if options.scene else [scene for scene in chosen if scene.name in THOROUGH]:
                few = replace(scene, count=min(scene.count, PROFILED))
                profiled.show_profile(Bench(folder / scene.name, few, {}))
            return 0
        idle = start_up(ways(options.clients.split(",")), folder, 1 if options.quick else 3)
        found = measure_scenes(chosen, options, idle, folder)
        reached = [goal for scene in chosen for goal in goals(scene, found[scene.name], idle)]
        if options.quick:
            turns = counted(sum(map(len, found.values())), "turn")
            print(f"\n{turns}: every picture, request and micro-unit was accounted for")
            return 0
        if options.scene:
            measured.show_goals(reached)
            return 0
        governance = measure_governance(every[2], folder)
        curve = measure_curve(options, folder)
    reached.append(governance[0])
    measured.show_goals(reached)
    tables = [table(scene, found[scene.name], idle) for scene in chosen]
    tables += [curve_table(curve), governance[1], endpoint_table(chosen, found)]
    measured.show(tables[-1])
    keep(options, reached, tables, found, curve)
    return 0


def keep(
    options: argparse.Namespace, reached: Sequence[Goal], tables: Sequence[Table], found: Found, curve: Curve
) -> None:
    """Keep what was measured, and make the page anew."""
    path = measured.keep(
        "sending",
        "Sending",
        goals=reached,
        tables=tables,
        notes=NOTES,
        command=measured.command("sending", sys.argv[1:]),
        curve={str(in_flight): ratio(rounds, OMIXA, SCRIPT, speed) for in_flight, (_, rounds) in curve.items()},
        rounds={name: [asdict(one) for one in rounds] for name, rounds in found.items()},
    )
    print(f"\nkept in {path.relative_to(measured.ROOT)}")
    performance.write()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="as many pictures as the goals speak of, five rounds")
    parser.add_argument("--quick", action="store_true", help="a few pictures: shows that it works, and nothing else")
    parser.add_argument("--profile", action="store_true", help="where the CPU of a governed picture goes")
    parser.add_argument("--scene", metavar="NAME", help="only one, such as small-20-16; nothing is kept")
    parser.add_argument(
        "--clients", default=",".join([SCRIPT, OMIXA, *LIMITS, "pycurl", "plain-one-session", "plain"]), metavar="A,B"
    )
    parser.add_argument("--rounds", type=measured.whole)
    parser.add_argument("--share", type=measured.share, default=1.0, metavar="X", help="of the pictures, such as 0.25")
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
    measured.run(main)
