"""A plan of pictures that are all paid for and in place, beside what else looks at a tree to find that nothing is due.

    python -m benchmarks.plan --pictures 100000 --attempts 1000000 --folder /somewhere/large

The world: tiny PNGs in folders of a thousand, their results in place, and a ledger that has bought each of them among
many other attempts. `omixa plan` counts folders that have not changed, `--all` and `--json` look at each picture, and
`--verify` reads them. Beside it stand `find -printf` over the same two trees and, of those on PATH, make,
rclone, doit, snakemake and dvc, each told that the same results come from the same pictures. The programs take turns;
shown are medians of CPU time (user + system, children included), their ratio to find, and the highest memory.

`--also 5000 --also 1000000` makes and measures worlds of other sizes too: a smaller one, with ten attempts a picture,
for programs that take too long for a large one; a larger one in a single round, which shows how plans grow.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import measured as measuring
from benchmarks import performance
from benchmarks.measured import Goal, Table
from runner import drafts, items
from runner.ledger import totals
from runner.ledger.database import open_database
from runner.plan import Draft
from runner.project import load

A_FOLDER = 1000
RUN_OF = 40
TOGETHER = 50_000
WORKSPACE, MODEL = "studio@sandbox", "stability-upscale-creative"
PROJECT = """
[ledger]
url = "sqlite:///.omixa/ledger.db"

[workspaces.studio]
currency = "USD"
time_zone = "Europe/Berlin"
endpoint = "sandbox"
unlimited = true
ceilings = { "stability-upscale-creative" = "0.70" }
"""
RECIPE = """
workspace = "studio"
model = "stability-upscale-creative"

[[sources]]
folder = "pictures"

[prompts.restore]
text = "Preserve the subject while restoring crisp, realistic detail."

[output]
folder = "out"
name = "{dir}/{stem}"
"""
RUNS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :runs)
INSERT INTO runs (id, uid, workspace, recipe, recipe_path, recipe_digest, git_commit, git_dirty, slot, cost_centre,
  labels, who, program, started_at, ended_at, outcome)
SELECT i, printf('run-%d', i), :workspace, 'scans', 'recipes/scans.toml', hex(zeroblob(32)), NULL, 0, NULL, NULL, '{}',
  'ana@desk', 'omixa-runner', '2026-10-01T00:00:00.000000Z', '2026-10-01T00:00:00.000000Z', 'done' FROM n
"""
ATTEMPT = """
INSERT INTO attempts (id, run_id, workspace, recipe, model, item_key, source_path, source_digest, source_bytes,
  prompt_name, prompt_digest, preset_name, options, output_path, state, reserved_micros, billed_micros, billed_text,
  breach, code, status, result_digest, result_bytes, day, reserved_at, sent_at, ended_at)
VALUES (:id, :run, :workspace, :recipe, :model, :key, :source, :digest, 200, 'restore', :prompt, '',
  '{"output_format": "png"}', :output, 'settled', 700000, 39000, '0.039', 0, 'billed', 200, :result, :bytes,
  '2026-10-01', :at, :at, :at)
"""
DELIVERY = "INSERT INTO deliveries (output_path, item_key, result_digest, at) VALUES (:output, :key, :result, :at)"
AT = "2026-10-01T00:00:00.000000Z"


def png(number: int) -> bytes:
    """A grey picture of 64 × 64 that no other number has."""
    rows = b"".join(b"\0" + bytes([row]) * 60 + number.to_bytes(4, "big") for row in range(64))
    chunks = [
        (b"IHDR", (64).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    ]
    made = [
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def make_world(folder: Path, pictures: int, attempts: int) -> None:
    """The pictures, their results, and a ledger of `attempts` in which each of the pictures was bought."""
    (folder / "recipes").mkdir(parents=True)
    (folder / "recipes" / "scans.toml").write_text(RECIPE, encoding="utf-8")
    (folder / "omixa.toml").write_text(PROJECT, encoding="utf-8")
    for number in range(pictures):
        place = Path(f"{number // A_FOLDER:04d}", f"scan-{number:08d}.png")
        for under, data in (("pictures", png(number)), ("out", b"result %d" % number)):
            file = folder / under / place
            if number % A_FOLDER == 0:
                file.parent.mkdir(parents=True)
            file.write_bytes(data)
    with open_database(folder / ".omixa" / "ledger.db", create=True) as database:
        _fill(database, folder, attempts)


def _fill(database: Any, folder: Path, attempts: int) -> None:
    with database.write_transaction() as connection:
        triggers = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'attempts'")
        ).all()
        for name, _ in triggers:
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("INSERT INTO workspaces VALUES (:name, 'sandbox-USD')"), {"name": WORKSPACE})
        connection.execute(text(RUNS), {"runs": attempts // RUN_OF + 1, "workspace": WORKSPACE})
    waiting: list[dict[str, Any]] = []
    for row in _attempts(folder, attempts):
        waiting.append(row)
        if len(waiting) == TOGETHER:
            _put(database, waiting)
            waiting = []
    _put(database, waiting)
    with database.write_transaction() as connection:
        totals.remake(connection)
        for _, sql in triggers:
            connection.exec_driver_sql(sql)


def _put(database: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        with database.write_transaction() as connection:
            connection.execute(text(ATTEMPT), rows)
            delivered = [row for row in rows if row["recipe"] == "scans"]
            if delivered:
                connection.execute(text(DELIVERY), delivered)


def _attempts(folder: Path, attempts: int) -> Iterator[dict[str, Any]]:
    """Attempts of other recipes, and between them, in another order than the tree's, those of the pictures here."""
    settings, (recipe,) = load(folder, ["scans"])
    drafting = drafts.Drafting(recipe, settings.root)
    made = [_bought(draft) for batch in items.Wants(recipe, settings).batches() for draft in drafting.of(batch)]
    every = max(1, attempts // max(1, len(made)))
    same = {"workspace": WORKSPACE, "model": MODEL, "at": AT, "prompt": hashlib.sha256(b"").hexdigest()}
    for number in range(1, attempts + 1):
        row = {**same, "id": number, "run": (number - 1) // RUN_OF + 1}
        at = number // every - 1
        if number % every == 0 and at < len(made):
            # 7919 is prime: neighbours in the ledger are no neighbours in the tree.
            row |= dict(zip(("key", "source", "output", "digest"), made[at * 7919 % len(made)], strict=True))
            result = (folder / str(row["output"])).read_bytes()
            row |= {"recipe": "scans", "result": hashlib.sha256(result).hexdigest(), "bytes": len(result)}
        else:
            other = hashlib.sha256(b"%d" % number).hexdigest()
            row |= {"recipe": f"recipe-{number % 30:02d}", "key": other, "source": f"elsewhere/{number:08d}.png"}
            row |= {"digest": other, "result": other, "bytes": 80000, "output": f"other/{number:08d}.png"}
        yield row


def _bought(draft: Draft) -> tuple[str, str, str, str]:
    assert draft.key is not None
    assert draft.picture is not None
    return draft.key, draft.source_path, draft.output_path, draft.picture.digest


# ---- who looks at the tree


@dataclass(frozen=True, slots=True)
class Program:
    """One that finds nothing to do: its words, and what it needs before it is measured (None: nothing).

    `is_slow`: it takes minutes for a large tree, and is left out of one unless somebody names it.
    """

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Path], None] | None = None
    is_slow: bool = False


FIND, PLAN, ALL = "find -printf", "omixa plan", "omixa plan --all"
FIND_MOST = 2.5
# Of a larger tree than this, what is slow is left out.
SLOW_MOST = 20_000
# Ten times the pictures may take so many times as long, and so many MB.
TEN_TIMES_MOST, LARGE_MB_MOST = 12, 150
# By name: seconds of CPU, seconds on the wall, and the highest MB.
Found = dict[str, tuple[float, float, float]]
NOTES = (
    "All pictures are paid for and in place. `--all` lists each of them, and so looks at each. How it is done, and\n"
    "what was measured before: [planning](performance-planning.md).\n"
)
OMIXA = (sys.executable, "-m", "runner", "plan")


def programs(names: Sequence[str], pictures: int) -> list[Program]:
    """Those of `names` that are installed, beside omixa and find, for a tree of so many pictures."""
    found = [
        Program(FIND, ("find", "pictures", "out", "-printf", "%p %s %T@ %i\\n")),
        Program(PLAN, OMIXA),
        Program(ALL, (*OMIXA, "--all")),
        Program("omixa plan --json", (*OMIXA, "--json")),
        Program("omixa plan --verify", (*OMIXA, "--verify")),
        Program("make -rR -q", ("make", "-rR", "-q", "-f", "Makefile.tree", "all"), _for_make),
        Program("rclone sync --dry-run", ("rclone", "sync", "--dry-run", "pictures", "copy"), _for_rclone),
        Program("doit", ("doit", "-f", "dodo.py", "-v0"), _for_doit, is_slow=True),
        Program("snakemake -n", ("snakemake", "-n", "--quiet", "-c1"), _for_snakemake, is_slow=True),
        Program("dvc status", ("dvc", "status", "-q"), _for_dvc, is_slow=True),
    ]
    wanted = [
        one
        for one in found
        if {one.name, one.name.split()[0]} & {*names} or not (names or (one.is_slow and pictures > SLOW_MOST))
    ]
    return [one for one in wanted if shutil.which(one.words[0])]


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder / "pictures").as_posix() for path in (folder / "pictures").rglob("*.png"))


def _for_make(folder: Path) -> None:
    """Without built-in rules and variables, and each pair written out: nothing is searched for."""
    lines = [f"out/{name}: pictures/{name}" for name in _names(folder)]
    text = "all: " + " ".join(f"out/{name}" for name in _names(folder)) + "\n" + "\n".join(lines) + "\n"
    (folder / "Makefile.tree").write_text(text, encoding="utf-8")


def _for_rclone(folder: Path) -> None:
    if not (folder / "copy").exists():
        shutil.copytree(folder / "pictures", folder / "copy")


def _for_doit(folder: Path) -> None:
    (folder / "dodo.py").write_text(
        "from pathlib import Path\n"
        "def task_all():\n"
        "    for path in sorted(Path('pictures').rglob('*.png')):\n"
        "        out = Path('out', *path.parts[1:])\n"
        "        yield {'name': str(path), 'file_dep': [str(path)], 'targets': [str(out)], 'actions': ['true']}\n",
        encoding="utf-8",
    )
    subprocess.run(
        ["doit", "-f", "dodo.py", "-v0"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _for_snakemake(folder: Path) -> None:
    (folder / "Snakefile").write_text(
        "from pathlib import Path\n"
        "NAMES = [str(p.relative_to('pictures')) for p in sorted(Path('pictures').rglob('*.png'))]\n"
        "rule all:\n    input: expand('out/{name}', name=NAMES)\n"
        "rule one:\n    input: 'pictures/{name}'\n    output: 'out/{name}'\n    shell: 'true'\n",
        encoding="utf-8",
    )


def _for_dvc(folder: Path) -> None:
    if not (folder / ".dvc").exists():
        subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
        subprocess.run(["dvc", "add", "-q", "pictures"], cwd=folder, check=True)


def measured(words: Sequence[str], folder: Path) -> tuple[float, float, float]:
    """Seconds of CPU (children included), seconds on the wall, and highest MB of one process that ends."""
    inner = (
        "import json, os, subprocess, sys, time; t = time.perf_counter(); "
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE); "
        "import resource; used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([used.ru_utime + used.ru_stime, time.perf_counter() - t, used.ru_maxrss / 1024, "
        "done.returncode, done.stderr.decode()[-500:]]))"
    )
    said = subprocess.run([sys.executable, "-c", inner, *words], cwd=folder, capture_output=True, text=True, check=True)
    cpu, wall, megabytes, code, stderr = json.loads(said.stdout)
    if code != 0:
        raise SystemExit(f"{' '.join(words)} ended with {code}: {stderr}")
    return cpu, wall, megabytes


def measure(folder: Path, pictures: int, rounds: int, names: Sequence[str]) -> Found:
    """Medians of CPU and wall seconds, and the highest MB, of interleaved rounds; the first of each is not counted."""
    wanted = programs(names, pictures)
    for one in wanted:
        if one.prepare is not None:
            one.prepare(folder)
        measured(one.words, folder)
    times: dict[str, list[tuple[float, float, float]]] = {one.name: [] for one in wanted}
    for _ in range(rounds):
        for one in wanted:
            times[one.name].append(measured(one.words, folder))
    return {
        name: (
            statistics.median(cpu for cpu, _, _ in found),
            statistics.median(wall for _, wall, _ in found),
            max(megabytes for _, _, megabytes in found),
        )
        for name, found in times.items()
    }


def table(found: Found, pictures: int, attempts: int, rounds: int) -> Table:
    """One line a program."""
    rows = [["", "CPU s", "× find", "wall s", "peak MB"]]
    for name, (cpu, wall, megabytes) in found.items():
        rows.append([f"`{name}`", f"{cpu:.2f}", f"{cpu / found[FIND][0]:.1f}", f"{wall:.2f}", f"{megabytes:.0f}"])
    load = os.getloadavg()[0]
    return Table(f"{pictures} pictures, {attempts} attempts in the ledger, rounds: {rounds}, load {load:.1f}", rows)


def goals(found: Found, pictures: int) -> list[Goal]:
    """At most so many times `find`, and faster than each of the others."""
    work, own = f"plan of {pictures} pictures of which nothing has changed", found[PLAN][0]
    ratio = own / found[FIND][0]
    rows = [Goal(work, f"`{FIND}`", "CPU ≤ 2.5×", f"{ratio:.1f}×, {found[PLAN][2]:.0f} MB", ratio <= FIND_MOST)]
    return [*rows, *faster(found, pictures)]


def faster(found: Found, pictures: int) -> list[Goal]:
    """Faster than each of the others."""
    work, own = f"plan of {pictures} pictures of which nothing has changed", found[PLAN][0]
    others = {name: cpu for name, (cpu, _, _) in found.items() if name != FIND and not name.startswith(PLAN)}
    return [Goal(work, f"`{name}`", "CPU < 1×", f"{own / cpu:.2f}×", own < cpu) for name, cpu in others.items()]


def grown(found: Found, pictures: int, larger: Found, more: int) -> list[Goal]:
    """So many times the pictures take at most so many times as long, give or take a fifth, and no more memory."""
    most = TEN_TIMES_MOST * more / pictures / 10
    rows = []
    for name in (PLAN, ALL):
        times, megabytes = larger[name][0] / found[name][0], larger[name][2]
        rows.append(
            Goal(
                f"`{name}` of {more} pictures",
                f"of {pictures}",
                f"CPU ≤ {most:.0f}×, ≤ {LARGE_MB_MOST} MB",
                f"{times:.1f}×, {found[name][2]:.0f} → {megabytes:.0f} MB",
                times <= most and megabytes <= LARGE_MB_MOST,
            )
        )
    return rows


def world(folder: Path, pictures: int, attempts: int) -> Path:
    """The world in that folder, made where it is missing."""
    if not (folder / "omixa.toml").exists():
        begun = time.perf_counter()
        make_world(folder, pictures, attempts)
        print(f"{pictures} pictures, made in {time.perf_counter() - begun:.0f} s", flush=True)
    return folder


def main() -> int:
    """Make the world where it is missing, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--attempts", type=int, default=1_000_000)
    parser.add_argument("--also", type=int, action="append", default=[], help="another size; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the world is made, or is (default: thrown away)")
    parser.add_argument(
        "--only", action="append", default=[], help="only these programs: find, omixa, 'omixa plan', make, …"
    )
    parser.add_argument("--keep", action="store_true", help="for docs/performance.md; needs find and `omixa plan`")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (told.folder or Path(scratch) / "world").resolve()
        found = measure(world(folder, told.pictures, told.attempts), told.pictures, told.rounds, told.only)
        others: dict[int, Found] = {}
        for size in told.also:
            beside = folder.with_name(f"{folder.name}-{size}")
            if size < told.pictures:
                others[size] = measure(world(beside, size, 10 * size), size, told.rounds, told.only)
            else:
                others[size] = measure(world(beside, size, max(size, told.attempts)), size, 1, (FIND, PLAN, ALL))
    if not {FIND, PLAN} <= found.keys():
        for name, (cpu, wall, megabytes) in found.items():
            print(f"{name:24}{cpu:8.2f} s of CPU{wall:8.2f} s{megabytes:7.0f} MB")
        return 0
    shown, reached = [table(found, told.pictures, told.attempts, told.rounds)], goals(found, told.pictures)
    for size, other in others.items():
        if size < told.pictures:
            shown.append(table(other, size, 10 * size, told.rounds))
            reached += faster({name: one for name, one in other.items() if name == PLAN or name not in found}, size)
        else:
            shown.append(table(other, size, max(size, told.attempts), 1))
            reached += grown(found, told.pictures, other, size)
    for one in shown:
        measuring.show(one)
    measuring.show_goals(reached)
    if told.keep:
        words = measuring.command("plan", sys.argv[1:])
        measuring.keep(
            "plan", "Planning", goals=reached, tables=shown, notes=NOTES, command=words, programs=[*found.items()]
        )
        performance.write()
    return 0


if __name__ == "__main__":
    measuring.run(main)
