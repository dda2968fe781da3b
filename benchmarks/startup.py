"""What it costs to start `omixa`, against bare Python: CPU time (user + system) of the whole process.

    .venv/bin/python benchmarks/startup.py [ROUNDS]

Byte code is compiled first. The programs take turns, so that a busy machine disturbs all of them alike; what is shown
is the median. Goals: `--version` at most 1.5 times, `--help` at most 4 times `python -c pass`.
"""

import compileall
import os
import statistics
import sys
from pathlib import Path

ROUNDS = 40
ROOT = Path(__file__).resolve().parents[1]
SCRIPT = str(Path(sys.executable).with_name("omixa"))

# what is started → the words, and the most it should cost against the first line
PROGRAMS: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "omixa --version": ([SCRIPT, "--version"], 1.5),
    "python -m runner --version": ([sys.executable, "-m", "runner", "--version"], 1.5),
    "omixa --help": ([SCRIPT, "--help"], 4.0),
    "python -m runner --help": ([sys.executable, "-m", "runner", "--help"], 4.0),
    "omixa plan --help": ([SCRIPT, "plan", "--help"], None),
}


def cpu_ms(words: list[str]) -> float:
    """Start a program, wait for its end, and return the CPU time that it used, in milliseconds."""
    nothing = os.open(os.devnull, os.O_RDWR)
    # Without PYTHONDONTWRITEBYTECODE and the like: what a user's own shell would start.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = os.posix_spawn(
        words[0], words, environment, file_actions=[(os.POSIX_SPAWN_DUP2, nothing, n) for n in (0, 1, 2)]
    )
    os.close(nothing)
    _, status, used = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"`{' '.join(words)}` failed: exit {os.waitstatus_to_exitcode(status)}")
    return (used.ru_utime + used.ru_stime) * 1000


def measure(rounds: int) -> dict[str, list[float]]:
    """CPU times of every program, in milliseconds; each round starts each program once."""
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, (words, _) in PROGRAMS.items():
            found[name].append(cpu_ms(words))
    return found


def main(rounds: int) -> None:
    """Compile, measure, and print one line a program."""
    os.chdir(ROOT)
    compileall.compile_dir(ROOT / "runner", quiet=1)
    measure(2)  # warms the disk cache; not counted
    found = measure(rounds)
    bare = statistics.median(found["python -c pass"])
    print(f"CPU of one start, {rounds} rounds, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"{'':28}{'median':>10}{'lowest':>10}{'ratio':>8}{'goal':>8}")
    for name, (_, goal) in PROGRAMS.items():
        median, lowest = statistics.median(found[name]), min(found[name])
        wanted = "" if goal is None else f"≤ {goal}"
        missed = "" if goal is None or median / bare <= goal else "  missed"
        print(f"{name:28}{median:7.1f} ms{lowest:7.1f} ms{median / bare:8.2f}{wanted:>8}{missed}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
