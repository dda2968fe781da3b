"""Where the CPU of a governed picture goes: the real program, with its parts timed by the CPU clock of their thread.

Shown by `python -m benchmarks.sending --profile`, twice over: once by the stages below, which hardly disturbs what is
measured; and once by every function (cProfile in each thread), which makes small functions look dearer than they are.

    python -m benchmarks.profiled stages FOLDER/stages.json --project DIR run all --yes --json   # one run by itself
"""

import importlib
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import governed, measured
from benchmarks.endpoint import KEY

if TYPE_CHECKING:
    from benchmarks.turns import Bench, Words

# What counts as governance: the money and the record of each picture.
GOVERNANCE = ("reserve", "sent", "settle")
# Stage → what belongs to it. A stage within a stage counts for itself only. What is not there any more is told.
STAGES: dict[str, tuple[str, ...]] = {
    "reserve": ("runner.ledger.ledger:Ledger.reserve",),
    "sent": ("runner.ledger.ledger:Ledger.sent",),
    "settle": ("runner.ledger.ledger:Ledger.settle",),
    "send and receive": ("runner.providers.omixa:OmixaProvider.send",),
    "decode the answer": ("runner.providers.omixa:OmixaProvider.read_spooled",),
    "is the result whole": ("runner.images.results:result_facts",),
    "does it show its source": ("runner.images.results:looks_wrong",),
    "keep the result": ("runner.images.disk:Results.keep",),
    "write it out": ("runner.images.disk:write_atomically",),
    "look at a source": ("runner.images.sources:inspect", "runner.images.sources:prepare"),
    "plan": ("runner.jobs:make_plan",),
}


# ---- in the program that is measured


class Clock:
    """CPU seconds by stage and by thread, of this process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.threads: dict[str, float] = defaultdict(float)
        self.missing: list[str] = []
        self._here = threading.local()
        self._lock = threading.Lock()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose CPU counts for the stage, without what stages inside of it take."""

        def call(*args: Any, **named: Any) -> Any:
            inner: list[float] = getattr(self._here, "inner", None) or [0.0]
            self._here.inner = inner
            inner.append(0.0)
            began = time.thread_time()
            try:
                return function(*args, **named)
            finally:
                took = time.thread_time() - began
                nested = inner.pop()
                inner[-1] += took
                with self._lock:
                    self.seconds[stage] += took - nested
                    self.calls[stage] += 1

        return call

    def install(self) -> None:
        """Put the clock around every stage, wherever its function is known by name."""
        for stage, places in STAGES.items():
            for place in places:
                module, _, name = place.partition(":")
                *owner, last = name.split(".")
                try:
                    found = importlib.import_module(module)
                    for part in owner:
                        found = getattr(found, part)
                    original = getattr(found, last)
                except (ImportError, AttributeError):
                    self.missing.append(place)
                    continue
                timed = self.timed(stage, original)
                setattr(found, last, timed)
                for other in [other for name, other in sys.modules.items() if name.startswith("runner")]:
                    for known, value in list(vars(other).items()):
                        if value is original:
                            setattr(other, known, timed)

    def watch_threads(self) -> None:
        """Count what each kind of thread takes."""
        original = threading.Thread.run

        def run(thread: threading.Thread) -> None:
            try:
                original(thread)
            finally:
                kind = thread.name.split("-")[0].rstrip("0123456789_ ") + _target(thread.name)
                with self._lock:
                    self.threads[kind] += time.thread_time()

        threading.Thread.run = run  # type: ignore[method-assign,assignment]

    def told(self) -> dict[str, Any]:
        """As it is written down."""
        with self._lock:
            threads = {**self.threads, "main": time.thread_time()}
            return {
                "stages": {stage: [self.seconds[stage], self.calls[stage]] for stage in STAGES if self.calls[stage]},
                "threads": threads,
                "missing": self.missing,
                "cpu_s": time.process_time(),
            }


def _target(name: str) -> str:
    """`Thread-3 (work)` → ` (work)`."""
    return f" ({name.partition('(')[2]}" if "(" in name else ""


def _stages(out: Path, words: list[str]) -> int:
    from runner.cli import main

    clock = Clock()
    clock.watch_threads()
    clock.install()
    try:
        return main(words)
    finally:
        out.write_text(json.dumps(clock.told()), encoding="utf-8")


def _functions(out: Path, words: list[str]) -> int:
    """Every function in every thread, by CPU time."""
    import cProfile
    import pstats

    from runner.cli import main

    profiles: list[cProfile.Profile] = []
    original = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        profile = cProfile.Profile(time.thread_time)
        try:
            profile.runcall(original, thread)
        finally:
            # Of a thread that still waits at the end, another thread's clock would be counted for its waiting.
            profiles.append(profile)

    threading.Thread.run = run  # type: ignore[method-assign,assignment]
    mine = cProfile.Profile(time.thread_time)
    try:
        return int(mine.runcall(main, words))
    finally:
        merged = pstats.Stats(mine)
        for profile in profiles:
            merged.add(profile)
        merged.dump_stats(out)


# ---- in the benchmark


def profiled_words(how: str, out: Path) -> "Words":
    """The governed run with a clock in it."""

    def words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
        governed.lay_out(root, url=url, in_flight=in_flight, recipes=[("all", "pictures", "out")])
        _, *rest = governed.run_words(root, "all")
        start = [sys.executable, "-m", "benchmarks.profiled", how, str(out), *rest]
        return start, {"BENCH_KEY": KEY, "PYTHONPATH": str(measured.ROOT)}

    return words


def stages(bench: "Bench") -> dict[str, Any]:
    """CPU seconds by stage and by thread of one governed run, checked like any other."""
    out = bench.root / "stages.json"
    bench.ways = {"omixa": profiled_words("stages", out)}
    bench.rounds(1)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def stage_table(title: str, found: Mapping[str, Any], count: int) -> measured.Table:
    """One line a stage, then the threads."""
    rows = [["", "calls", "CPU ms a picture"]]
    for stage, (seconds, calls) in sorted(found["stages"].items(), key=lambda pair: -pair[1][0]):
        rows.append([stage, str(calls), f"{seconds / count * 1000:.3f}"])
    rows.append(["governance: reserve, sent, settle", "", f"{governance_ms(found, count):.3f}"])
    rows += [[f"thread {name}", "", f"{took / count * 1000:.3f}"] for name, took in found["threads"].items()]
    rows.append(["everything, with start-up", "", f"{found['cpu_s'] / count * 1000:.3f}"])
    return measured.Table(title, rows)


def governance_ms(found: Mapping[str, Any], count: int) -> float:
    """CPU milliseconds a picture of what GOVERNANCE names."""
    return float(sum(found["stages"].get(stage, (0.0, 0))[0] for stage in GOVERNANCE)) / count * 1000


def show_profile(bench: "Bench") -> None:
    """Print both."""
    import pstats

    scene = bench.scene
    found = stages(bench)
    measured.show(stage_table(f"{scene.title}: {scene.count} pictures, by stage", found, scene.count))
    for place in found["missing"]:
        print(f"  there is no `{place}` any more: see STAGES in benchmarks/profiled.py", file=sys.stderr)
    out = bench.root / "functions.prof"
    bench.ways = {"omixa": profiled_words("functions", out)}
    bench.rounds(1)
    stats = pstats.Stats(str(out))
    measured.show(measured.Table(f"{scene.title}: by file, in itself", list(_by_file(stats, scene.count))))
    measured.show(measured.Table(f"{scene.title}: by function, in itself", list(_by_function(stats, scene.count, 2))))
    measured.show(
        measured.Table(
            f"{scene.title}: functions of runner/, with all they call", list(_by_function(stats, scene.count, 3))
        )
    )


def _by_file(stats: "Any", count: int) -> Iterator[list[str]]:
    seconds: dict[str, float] = defaultdict(float)
    for (file, _, name), (_, _, own, _, _) in stats.stats.items():
        seconds[_place(file) if file != "~" else f"built in: {name}"] += own
    yield ["", "CPU ms a picture"]
    for place, own in sorted(seconds.items(), key=lambda pair: -pair[1])[:30]:
        yield [place, f"{own / count * 1000:.3f}"]


def _by_function(stats: "Any", count: int, which: int) -> Iterator[list[str]]:
    """`which`: 2 for its own time, 3 for all that it calls, too."""
    found = [
        (values[which], values[1], f"{_place(file)}:{line} {name}")
        for (file, line, name), values in stats.stats.items()
        if which == 2 or "/runner/" in file
    ]
    yield ["", "calls", "CPU ms a picture"]
    for seconds, calls, name in sorted(found, reverse=True)[:40]:
        yield [name, str(calls), f"{seconds / count * 1000:.3f}"]


def _place(file: str) -> str:
    """A file's path from where it is easily told."""
    for mark in ("/site-packages/", f"{measured.ROOT}/", f"/python{sys.version_info[0]}.{sys.version_info[1]}/"):
        if mark in file:
            return file.partition(mark)[2]
    return file


if __name__ == "__main__":
    how, out, *words = sys.argv[1:]
    sys.exit({"stages": _stages, "functions": _functions}[how](Path(out), words))
