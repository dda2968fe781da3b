"""What all measuring needs: one process with its CPU and memory, the machine, and results that are kept."""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
# What is installed only to be compared with; not in git.
CACHE = Path(__file__).resolve().parent / ".cache"


@dataclass(frozen=True)
class Used:
    """What one process took: seconds of wall time and of CPU, with the children it waited for; peak MiB."""

    wall_s: float
    cpu_s: float
    rss_mib: float


def environment(**more: str) -> dict[str, str]:
    """What a program is started with: nothing that changes how Python works, and no proxy."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and not name.lower().endswith("_proxy")
    }
    return kept | more


def measure(words: Sequence[str], log: Path, **variables: str) -> Used:
    """Start a program, wait for its end, and say what it took. Raises SystemExit with its words when it fails."""
    return Started(words, log, **variables).ended()


class Started:
    """A program that was started; what it says goes to `log`."""

    def __init__(self, words: Sequence[str], log: Path, **variables: str) -> None:
        self._words, self._log, self._told = words, log, log.with_suffix(".used")
        waiter = [sys.executable, "-I", "-S", str(Path(__file__).with_name("waiter.py")), str(self._told)]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*waiter, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(**variables),
            )

    def ended(self) -> Used:
        """Wait for its end. Raises SystemExit with its words when it failed."""
        code = self.process.wait()
        if code != 0:
            told = self._log.read_text(encoding="utf-8", errors="replace")[-4000:]
            raise SystemExit(f"`{' '.join(self._words)}` ended with {code}:\n{told}")
        wall_s, cpu_s, rss = self._told.read_text(encoding="ascii").split()
        # Linux says KiB, macOS bytes.
        return Used(float(wall_s), float(cpu_s), float(rss) / (1024 * 1024 if sys.platform == "darwin" else 1024))


def run(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark as a program: what stops it is said in a line."""
    _at_begin.update(machine())
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was kept")
    except OSError as error:
        sys.exit(f"error: {error}")


def whole(text: str) -> int:
    """An option's value: a whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not `{text}`")
    return int(text)


def share(text: str) -> float:
    """An option's value: more than 0, and 1 at most."""
    with suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"more than 0 and at most 1, such as 0.25; not `{text}`")


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


# Of a benchmark that runs as a program: what it began with, for the checkout may go on while it runs.
_at_begin: dict[str, Any] = {}


def machine() -> dict[str, Any]:
    """What was measured on, and what: the figures mean nothing without it."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib()} GiB",
        "system": f"{platform.system()}, Python {platform.python_version()}",
    }


def _commit() -> str:
    """Of the program and of what measures it; with a mark when either was changed since."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", "runner", "migrations", "benchmarks/*.py", "pyproject.toml")
    return f"{commit or 'unknown'}{', changed since' if changed else ''}"


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


@dataclass(frozen=True)
class Goal:
    """One line of what was to be shown: `reached` is None where it could not be measured here."""

    work: str
    against: str
    goal: str
    measured: str
    reached: bool | None

    def row(self) -> list[str]:
        """As cells."""
        return [self.work, self.against, self.goal, self.measured, REACHED[self.reached]]


REACHED = {True: "reached", False: "**not reached**", None: "not measured"}


@dataclass(frozen=True)
class Table:
    """Figures in rows; the first row is the head."""

    title: str
    rows: list[list[str]]


def command(name: str, words: Sequence[str]) -> str:
    """How a benchmark was called, for whoever calls it again: where it had its files is nobody else's business."""
    told = [word for before, word in zip(["", *words], words, strict=False) if "--folder" not in (before, word)]
    return shlex.join(["python", "-m", f"benchmarks.{name}", *told])


def keep(name: str, title: str, *, goals: Sequence[Goal], tables: Sequence[Table], notes: str, **more: Any) -> Path:
    """Keep what was measured as `results/<name>.json`, from which docs/performance.md is made."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    found = {
        "title": title,
        **(_at_begin or machine()),
        "notes": notes,
        "goals": [goal.row() for goal in goals],
        "tables": [{"title": table.title, "rows": table.rows} for table in tables],
        **more,
    }
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def show(table: Table) -> None:
    """Print a table in columns: the first to the left, the others to the right."""
    widths = [max(len(row[n]) for row in table.rows) for n in range(len(table.rows[0]))]
    print(f"\n{table.title}")
    for row in table.rows:
        cells = [
            cell.ljust(width) if not n else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells), flush=True)


def show_goals(goals: Sequence[Goal]) -> None:
    """Print what was to be shown, and whether it was."""
    print("\nagainst the goals")
    for goal in goals:
        against = f", against {goal.against}" if goal.against != "–" else ""
        print(f"  {REACHED[goal.reached].strip('*'):12}  {goal.work}{against}: {goal.goal}")
        print(f"  {'':12}  → {goal.measured}", flush=True)
