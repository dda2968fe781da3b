"""What it costs to start `omixa`, against bare Python: CPU time (user + system) of the whole process.

    python -m benchmarks.startup [--rounds 40]

Byte code is compiled first. The programs take turns, so that a busy machine disturbs all of them alike; what is shown
is the median. Two projects are made for it with `omixa init`: one has bought the example's three pictures at the
sandbox, the other has a hundred recipes.
"""

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measured, performance
from benchmarks.measured import Goal, Table

SCRIPT = str(Path(sys.executable).with_name("omixa"))
BARE = "python -c pass"
RECIPES = 100
NOTES = (
    "`budget`, `report` and `plan` are of a project that has bought three pictures. A `report` loads\n"
    "SQLAlchemy, which by itself is twenty times bare Python; who plans, or looks at budgets, does without it.\n"
)


@dataclass(frozen=True)
class Program:
    """What is started, where (None: anywhere), and how many times bare Python it may cost; None: not said."""

    words: Sequence[str]
    at: Path | None = None
    most: float | None = None


def programs(one: Path, many: Path) -> dict[str, Program]:
    """By the name in the table. `one`: the project that has bought; `many`: the one with many recipes."""
    return {
        BARE: Program([sys.executable, "-c", "pass"]),
        "omixa --version": Program([SCRIPT, "--version"], most=1.5),
        "omixa --help": Program([SCRIPT, "--help"], most=3.5),
        "omixa plan --help": Program([SCRIPT, "plan", "--help"]),
        "omixa budget": Program([SCRIPT, "budget"], one, most=25),
        f"omixa check ({RECIPES} recipes)": Program([SCRIPT, "check"], many, most=25),
        "omixa check (1 recipe)": Program([SCRIPT, "check"], one),
        "omixa report": Program([SCRIPT, "report"], one),
        "omixa plan": Program([SCRIPT, "plan"], one),
    }


def projects(root: Path) -> tuple[Path, Path]:
    """Make both."""
    one, many = root / "one", root / "many"
    for folder in (one, many):
        folder.mkdir()
        _done([SCRIPT, "init"], folder)
    _done([SCRIPT, "run", "first"], one)
    text = (many / "recipes" / "first.toml").read_text(encoding="utf-8")
    for number in range(1, RECIPES):
        made = text.replace('folder = "out/first"', f'folder = "out/number{number}"')
        if made == text:
            raise SystemExit("the example's recipe has another output folder than this program knows")
        (many / "recipes" / f"number{number}.toml").write_text(made, encoding="utf-8")
    return one, many


def _done(words: Sequence[str], folder: Path) -> None:
    done = subprocess.run(words, cwd=folder, env=measured.environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(words)}` failed: exit {done.returncode}\n{done.stderr}")


def cpu_ms(program: Program) -> float:
    """Start a program, wait for its end, and return the CPU time that it used, in milliseconds."""
    nothing = os.open(os.devnull, os.O_RDWR)
    words = [*program.words[:1], *(() if program.at is None else ("-C", str(program.at))), *program.words[1:]]
    actions = [(os.POSIX_SPAWN_DUP2, nothing, n) for n in (0, 1, 2)]
    # Without PYTHONDONTWRITEBYTECODE and the like: what a user's own shell would start.
    process = os.posix_spawn(words[0], words, measured.environment(), file_actions=actions)
    os.close(nothing)
    _, status, used = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"`{' '.join(words)}` failed: exit {os.waitstatus_to_exitcode(status)}")
    return (used.ru_utime + used.ru_stime) * 1000


def measure(wanted: dict[str, Program], rounds: int) -> dict[str, list[float]]:
    """CPU times of every program, in milliseconds; each round starts each program once."""
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(rounds):
        for name, program in wanted.items():
            found[name].append(cpu_ms(program))
    return found


def table(found: dict[str, list[float]]) -> Table:
    """One line a program."""
    bare = statistics.median(found[BARE])
    rows = [["", "CPU ms, median", "lowest", "×"]]
    for name, times in found.items():
        median = statistics.median(times)
        rows.append([f"`{name}`", f"{median:.1f}", f"{min(times):.1f}", f"{median / bare:.2f}"])
    return Table(f"CPU of one start, {len(found[BARE])} rounds, load {os.getloadavg()[0]:.1f} at the end", rows)


def goals(wanted: dict[str, Program], found: dict[str, list[float]]) -> list[Goal]:
    """A row for each program that may cost so much and no more."""
    bare = statistics.median(found[BARE])
    rows = []
    for name, program in wanted.items():
        if program.most is not None:
            ratio = statistics.median(found[name]) / bare
            said = f"CPU ≤ {program.most:g}×"
            rows.append(Goal(f"`{name}`", f"`{BARE}`", said, f"{ratio:.2f}×", ratio <= program.most))
    return rows


def main() -> int:
    """Compile, measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=measured.whole, default=40)
    parser.add_argument("--folder", type=Path, help="where the work is done (default: as TMPDIR)")
    parser.add_argument("--quick", action="store_true", help="one round: shows that it works, and nothing else")
    options = parser.parse_args()
    compileall.compile_dir(measured.ROOT / "runner", quiet=1)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="omixa-bench-") as name:
        wanted = programs(*projects(Path(name)))
        measure(wanted, 1 if options.quick else 2)  # warms the disk cache; not counted
        found = measure(wanted, 1 if options.quick else options.rounds)
    shown = table(found)
    measured.show(shown)
    if options.quick:
        return 0
    reached = goals(wanted, found)
    measured.show_goals(reached)
    measured.keep(
        "startup",
        "Starting",
        goals=reached,
        tables=[shown],
        notes=NOTES,
        command=measured.command("startup", sys.argv[1:]),
        rounds=[{"name": name, "ms": times} for name, times in found.items()],
    )
    performance.write()
    return 0


if __name__ == "__main__":
    measured.run(main)
