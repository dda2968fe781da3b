"""The same job by programs that people use to run many of something: Dask, Luigi, Prefect, Snakemake, promptfoo.

    python -m benchmarks.rivals                       # installs each into benchmarks/.cache, some minutes
    python -m benchmarks.rivals --only dask,luigi --pictures 200 --rounds 3

20 KB in, 80 KB out, 20 ms latency, 16 in flight, 1 000 pictures. Each uses the plain script's own code for one picture
(promptfoo, which is written for Node, has the same in its language). None of them has a cap that holds, or a ledger.
What cannot be installed is left out, and said. Rounds and checks are those of benchmarks/sending.py.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import measured, performance
from benchmarks.endpoint import KEY
from benchmarks.measured import CACHE, Goal, Table, median
from benchmarks.turns import OMIXA, WAYS, Bench, Round, Scene, Words, loads, of, ratio, speed

JOBS = Path(__file__).resolve().parent / "rival_jobs"
HERE = str(Path(__file__).resolve().parent)
NOTES = """\
Each buys with the code of the plain script, with as many workers, threads or processes as there are requests in flight.
After each turn the endpoint's counts and the files were checked. Snakemake and Luigi remember by files what was made,
promptfoo and Prefect in a database; none reserves money before it sends.
"""


@dataclass(frozen=True)
class Rival:
    """`goal`: how many times as fast the governed run should be."""

    name: str
    packages: tuple[str, ...]
    goal: float
    words: Words


def _python(name: str) -> str:
    return str(CACHE / name / "bin" / "python")


def _script(name: str) -> Words:
    """A script of ours, by the Python of the rival."""

    def words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
        given = [url, KEY, str(root / "pictures"), str(root / "out"), str(in_flight)]
        variables = {
            "PYTHONPATH": HERE,
            "PREFECT_HOME": str(root / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
            "DO_NOT_TRACK": "1",
        }
        return [_python(name), str(JOBS / f"{name}_job.py"), *given], variables

    return words


def _snakemake(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
    shutil.rmtree(root / "snakemake", ignore_errors=True)
    (root / "snakemake").mkdir()
    config = {
        "pictures": root / "pictures",
        "out": root / "out",
        "python": _python("snakemake"),
        "script": JOBS / "buy_one.py",
        "url": url,
        "key": KEY,
    }
    program = [str(CACHE / "snakemake" / "bin" / "snakemake"), "--snakefile", str(JOBS / "Snakefile")]
    options = ["--directory", str(root / "snakemake"), "--cores", str(in_flight), "--quiet", "all"]
    given = [f"{name}={value}" for name, value in config.items()]
    return [*program, *options, "--config", *given], {"PYTHONPATH": HERE, "HOME": str(root / "snakemake")}


def _promptfoo(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
    home = root / "promptfoo"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    (root / "out").mkdir()
    config = {
        "prompts": ["Restore it."],
        "providers": [
            {
                "id": f"file://{JOBS / 'promptfoo_provider.mjs'}",
                "config": {"url": url, "key": KEY, "out": str(root / "out")},
            }
        ],
        "tests": [{"vars": {"picture": str(path)}} for path in sorted((root / "pictures").iterdir())],
    }
    (home / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    program = str(CACHE / "promptfoo" / "node_modules" / ".bin" / "promptfoo")
    options = ["--no-table", "--no-progress-bar", "--no-cache", "--no-share", "-j", str(in_flight)]
    variables = {
        "PROMPTFOO_CONFIG_DIR": str(home),
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    }
    return [program, "eval", "-c", str(home / "promptfooconfig.json"), *options], variables


RIVALS = (
    Rival("dask", ("dask",), 1.7, _script("dask")),
    Rival("luigi", ("luigi",), 8, _script("luigi")),
    Rival("prefect", ("prefect",), 18, _script("prefect")),
    Rival("snakemake", ("snakemake",), 50, _snakemake),
    Rival("promptfoo", ("promptfoo",), 15, _promptfoo),
)


def installed(rival: Rival) -> bool:
    """Install it into a folder of its own, where it is not there yet; False when that cannot be done."""
    folder = CACHE / rival.name
    done = folder / "installed"
    if done.exists():
        return True
    print(f"installing {rival.name} into {folder.relative_to(measured.ROOT)} …", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *rival.packages]
    pip = [_python(rival.name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "requests"]
    steps = (
        [npm] if rival.name == "promptfoo" else [[sys.executable, "-m", "venv", str(folder)], [*pip, *rival.packages]]
    )
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            told = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else error
            print(f"{rival.name} cannot be installed here, and is left out: {told}", file=sys.stderr)
            return False
    done.write_text("", encoding="ascii")
    return True


def measure(bench: Bench, able: Sequence[Rival], rounds: int) -> dict[str, list[Round]]:
    """Each in turn with the governed run. What fails is left out, and said; it is not what is measured here."""
    found = {}
    for rival in able:
        bench.ways = {OMIXA: WAYS[OMIXA], rival.name: rival.words}
        try:
            found[rival.name] = bench.rounds(rounds)
        except SystemExit as failure:
            print(f"{rival.name} is left out: {failure}", file=sys.stderr)
    return found


def table(scene: Scene, found: Mapping[str, Sequence[Round]], count: int) -> Table:
    """One line a program."""
    rows = [["", "pictures/s", "omixa/s", "omixa is faster by", "CPU ms each", "omixa's", "peak MiB", "omixa's"]]
    for name, rounds in found.items():

        def cells(each: str, value: Callable[[Round], float], name: str = name) -> list[str]:
            return [format(median([value(one) for one in of(found[name], who)]), each) for who in (name, OMIXA)]

        rows.append(
            [
                name,
                *cells(".1f", lambda one: scene.count / one.wall_s),
                f"{ratio(rounds, OMIXA, name, speed):.1f}",
                *cells(".2f", lambda one: one.cpu_s / scene.count * 1000),
                *cells(".0f", lambda one: one.rss_mib),
            ]
        )
    every = [one for rounds in found.values() for one in rounds]
    return Table(f"{scene.title}: {scene.count} pictures, rounds: {count}, {loads(every)}", rows)


def goals(scene: Scene, found: Mapping[str, Sequence[Round]]) -> list[Goal]:
    """What was to be shown; also of what could not be measured here."""
    shown = []
    for rival in RIVALS:
        wanted = f"pictures/s ≥ {rival.goal:g}×"
        if rival.name in found:
            got = ratio(found[rival.name], OMIXA, rival.name, speed)
            shown.append(Goal(scene.title, rival.name, wanted, f"{got:.1f}×", got >= rival.goal))
        else:
            shown.append(Goal(scene.title, rival.name, wanted, "–", None))
    return shown


def main() -> int:
    """Install, measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", metavar="A,B", help=f"of {', '.join(rival.name for rival in RIVALS)}; nothing is kept"
    )
    parser.add_argument("--pictures", type=measured.whole, default=1000)
    parser.add_argument("--rounds", type=measured.whole, default=1)
    parser.add_argument("--folder", type=Path, help="where the work is done (default: as TMPDIR)")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else [rival.name for rival in RIVALS]
    unknown = set(only) - {rival.name for rival in RIVALS}
    if unknown:
        parser.error(f"there is no `{min(unknown)}` here")
    able = [rival for rival in RIVALS if rival.name in only and installed(rival)]
    scene = Scene("rivals", "20 KB → 80 KB, 20 ms latency, 16 in flight", 20_000, 80_000, 20, 16, options.pictures)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="omixa-bench-") as name:
        found = measure(Bench(Path(name) / "work", scene, {}), able, options.rounds)
    if not found:
        return 1
    shown, reached = table(scene, found, options.rounds), goals(scene, found)
    measured.show(shown)
    if options.only:
        return 0
    measured.show_goals(reached)
    measured.keep(
        "rivals",
        "Other runners",
        goals=reached,
        tables=[shown],
        notes=NOTES,
        command=measured.command("rivals", sys.argv[1:]),
        rounds={name: [asdict(one) for one in rounds] for name, rounds in found.items()},
    )
    performance.write()
    return 0


if __name__ == "__main__":
    measured.run(main)
