"""A month's report over a year of heavy use: its query beside DuckDB's from its own table, and the whole command.

    python -m benchmarks.report --attempts 10000000       # the goal's size: ten gigabytes, ten minutes to make once
    python -m benchmarks.report --rounds 9

A ledger of the real schema is filled by SQL, with the columns that a bill fills; its totals are then added up as a
migration does, and compared with all rows by the program's own check before anything is measured. The same rows go into
a table of DuckDB's own, with the columns that the report needs and nothing else. Both stay in benchmarks/.cache/ (or
--folder) for the next time. In every round all take turns, and the answers of both must be the same.

DuckDB has one thread, so that its CPU time is also the time that somebody would wait for it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
from sqlalchemy import text

from benchmarks import measured, performance
from benchmarks.measured import Goal, Table, median
from runner.ledger import HEAD, totals
from runner.ledger.database import Database, open_database, sqlite_module
from runner.ledger.tables import SUMS

RECIPES, RUN_OF, TOGETHER = 30, 40, 250_000
DAYS = ("2026-10-01", "2026-10-31")
MONTH = ["--month", "2026-10"]
QUERY_GOAL, COMMAND_GOAL = 0.1, 4.0
OURS, DUCK, PLAIN = "the totals", "DuckDB, its own table", "SQL over the attempts"
REPORT, IMPORTS, PASS = "omixa report --month", "the same imports", "python -c pass"
PROJECT = """
[ledger]
url = "sqlite:///{path}"

[workspaces.studio]
currency = "USD"
time_zone = "Europe/Berlin"
endpoint = "sandbox"
unlimited = true
"""

RUNS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :runs)
INSERT INTO runs (id, uid, workspace, recipe, recipe_path, recipe_digest, git_commit, git_dirty, slot, cost_centre,
  labels, who, program, started_at, ended_at, outcome)
SELECT i, printf('run-%d', i), :workspace, printf('recipe-%02d', i % :recipes),
  printf('recipes/recipe-%02d.toml', i % :recipes),
  hex(zeroblob(32)), printf('%040x', i / 5000), 0, NULL, printf('47%02d', i % 7), '{"client": "acme"}', 'ana@desk',
  'omixa-runner', m, m, 'done'
FROM (SELECT i, strftime('%Y-%m-%dT%H:%M:%S.000000Z', '2026-01-01', printf('+%d seconds', i * :seconds)) AS m FROM n)
"""
ATTEMPTS = """
WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)
INSERT INTO attempts (id, run_id, workspace, recipe, model, item_key, live_key, source_path, source_digest,
  source_bytes, prompt_name, prompt_digest, preset_name, options, output_path, state, reserved_micros, billed_micros,
  billed_text, breach, code, status, request_id, result_digest, result_bytes, day, reserved_at, sent_at, ended_at)
SELECT i, r.id, r.workspace, r.recipe, 'stability-upscale-creative', printf('%064x', i), NULL,
  printf('pictures/scans/%08d.png', i), printf('%064x', i), 20000, 'restore', hex(zeroblob(32)), 'photo',
  '{"output_format": "png", "seed": "7"}', printf('out/%08d.png', i), iif(i % 50, 'settled', 'released'), 700000,
  iif(i % 50, 39000 + i % 7, NULL), iif(i % 50, '0.039', NULL), 0, 'billed', 200, printf('req-%d', i),
  iif(i % 50, printf('%064x', i + 1), NULL), 80000, substr(r.started_at, 1, 10), r.started_at, r.started_at,
  r.started_at
FROM n JOIN runs r ON r.id = (i - 1) / :run_of + 1
"""
# Everything that a line of the report shows, from the columns of one table.
LIVE = "state IN ('reserved', 'sent', 'unknown')"
SHOWN = {
    "attempts": "count(*)",
    "settled_count": "count(*) FILTER (WHERE state = 'settled')",
    "released_count": "count(*) FILTER (WHERE state = 'released')",
    "open_count": f"count(*) FILTER (WHERE {LIVE})",
    "unknown_count": "count(*) FILTER (WHERE state = 'unknown')",
    "unusable_count": "count(*) FILTER (WHERE state = 'settled' AND NOT has_picture)",
    "settled_micros": "coalesce(sum(billed_micros), 0)",
    "open_micros": f"coalesce(sum(reserved_micros) FILTER (WHERE {LIVE}), 0)",
    "unknown_micros": "coalesce(sum(reserved_micros) FILTER (WHERE state = 'unknown'), 0)",
    "unusable_micros": "coalesce(sum(billed_micros) FILTER (WHERE NOT has_picture), 0)",
}
COLUMNS = {
    "recipe": "TEXT",
    "currency": "TEXT",
    "day": "DATE",
    "state": "TEXT",
    "reserved_micros": "BIGINT",
    "billed_micros": "BIGINT",
    "has_picture": "BOOLEAN",
}
ASKED = f"SELECT recipe, currency, {', '.join(SHOWN.values())} FROM {{table}} WHERE day BETWEEN ? AND ? GROUP BY 1, 2"
JOINED = (
    "(SELECT a.recipe, w.currency, a.day, a.state, a.reserved_micros, a.billed_micros, "
    "a.result_digest IS NOT NULL AS has_picture FROM attempts a JOIN workspaces w ON w.name = a.workspace)"
)
# Runs the command in its own process and says which modules it has imported by its end.
IMPORTED = """
import json, sys
before = set(sys.modules)
from runner.cli import start
start()
print(json.dumps([name for name in sys.modules if name not in before]), file=sys.stderr)
"""
# As runner.cli.start does it.
IMPORTING = """
import gc, os
from importlib import import_module
gc.set_threshold(10_000, 10, 10)
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
for name in {modules!r}:
    import_module(name)
gc.freeze()
"""
NOTES = """\
Query times are CPU time, DuckDB with one thread; both answers were compared in full. The ledger's totals were made by
the statement of the migration that brings them, and the program's own check found them equal to all rows. The command
is measured whole, with its children; beyond imports means less a process that only imports the modules that it imports.
What was done, and what is in the way of more: [what verifying and reporting cost](performance-reports.md).
"""


@dataclass(frozen=True)
class Round:
    """Seconds of CPU of each, and MiB of the whole command."""

    cpu_s: dict[str, float]
    rss_mib: float
    load: float


def fill(path: Path, attempts: int) -> None:
    """A year of runs of forty pictures each, of thirty recipes and seven cost centres; the totals are proved."""
    workspace, runs = "studio@sandbox", attempts // RUN_OF + 1
    filling = path.with_suffix(".part")
    filling.unlink(missing_ok=True)
    with open_database(filling, create=True) as database:
        with database.write_transaction() as connection:
            triggers = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'attempts'")
            ).all()
            for name, _ in triggers:
                connection.execute(text(f"DROP TRIGGER {name}"))
            connection.execute(text("INSERT INTO workspaces VALUES (:name, 'sandbox-USD')"), {"name": workspace})
            seconds = max(1, 365 * 86400 // runs)
            told = {"runs": runs, "recipes": RECIPES, "workspace": workspace, "seconds": seconds}
            connection.execute(text(RUNS), told)
        for first in range(1, attempts + 1, TOGETHER):
            last = min(attempts, first + TOGETHER - 1)
            with database.write_transaction() as connection:
                connection.execute(text(ATTEMPTS), {"first": first, "last": last, "run_of": RUN_OF})
        with database.write_transaction() as connection:
            totals.remake(connection)
            for _, sql in triggers:
                connection.exec_driver_sql(sql)
    filling.rename(path)


def prove(path: Path) -> float:
    """That every total equals its rows, by the program's own check; seconds of CPU."""
    began = time.process_time()
    with open_database(path, create=False) as database, database.read() as connection:
        wrong = totals.wrong(connection)
    if wrong:
        raise SystemExit(f"the totals are not the sums of the rows: {wrong[0]}")
    path.with_suffix(".proved").touch()
    return time.process_time() - began


def in_duckdb(path: Path, ledger: Path) -> None:
    """The same rows in a table of DuckDB's own."""
    filling = path.with_suffix(".part")
    filling.unlink(missing_ok=True)
    duck = duckdb.connect(str(filling))
    duck.execute(f"CREATE TABLE usage ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    kinds = {"BIGINT": pyarrow.int64(), "BOOLEAN": pyarrow.bool_()}
    raw = sqlite_module().connect(ledger)
    found = raw.execute(f"SELECT {', '.join(COLUMNS)} FROM {JOINED}")
    while rows := found.fetchmany(TOGETHER):
        columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
        columns["has_picture"] = tuple(map(bool, columns["has_picture"]))
        part = pyarrow.table(
            {
                name: pyarrow.array(column, kinds.get(COLUMNS[name], pyarrow.string()))
                for name, column in columns.items()
            }
        )
        duck.register("part", part)
        duck.execute("INSERT INTO usage SELECT * FROM part")
    duck.close()
    raw.close()
    filling.rename(path)


def timed(work: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    """Seconds of CPU of this process, all threads; and what came."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, sorted(map(tuple, found))


def summed(database: Database) -> list[Any]:
    """By the ledger's totals, as a report asks for them."""
    places = [SUMS.index(name) for name in SHOWN]
    rows = totals.rows(database, ["recipe"], first_day=DAYS[0], last_day=DAYS[1])
    return [(row.recipe, row.currency, *(row.sums[at] for at in places)) for row in rows]


def rounds(project: Path, ledger: Path, duck: Any, count: int, scratch: Path, *, plain: bool) -> list[Round]:
    """All in turns."""
    omixa = [sys.executable, "-m", "runner", "report", "--project", str(project), *MONTH]
    told = subprocess.run(
        [sys.executable, "-c", IMPORTED, *omixa[3:]], capture_output=True, text=True, check=True, cwd=measured.ROOT
    )
    modules = json.loads(told.stderr.splitlines()[-1])
    importing = scratch / "importing.py"
    importing.write_text(IMPORTING.format(modules=modules))
    commands = {
        REPORT: omixa,
        IMPORTS: [sys.executable, str(importing)],
        PASS: [sys.executable, "-c", "pass"],
    }
    raw = sqlite_module().connect(ledger)
    found = []
    with open_database(ledger, create=False) as database:
        queries: dict[str, Callable[[], list[Any]]] = {
            OURS: lambda: summed(database),
            DUCK: lambda: duck.execute(ASKED.format(table="usage"), DAYS).fetchall(),
        }
        if plain:
            queries[PLAIN] = lambda: raw.execute(ASKED.format(table=JOINED), DAYS).fetchall()
        for _ in range(count + 1):  # the first is not counted: caches are cold
            cpu, answers = {}, {}
            for name, query in queries.items():
                cpu[name], answers[name] = timed(query)
            if any(answer != answers[OURS] for answer in answers.values()):
                raise SystemExit("the answers differ")
            for name, words in commands.items():
                used = measured.measure(words, scratch / "said.txt", PYTHONPATH=str(measured.ROOT))
                cpu[name] = used.cpu_s
                if name == REPORT:
                    rss = used.rss_mib
            found.append(Round(cpu, rss, os.getloadavg()[0]))
    return found[1:]


def of(found: list[Round], name: str) -> float:
    """The median, in milliseconds."""
    return median([one.cpu_s[name] for one in found]) * 1000


def goals(found: list[Round], attempts: int) -> list[Goal]:
    """What was to be shown."""
    query = median([one.cpu_s[OURS] / one.cpu_s[DUCK] for one in found])
    beyond = median([(one.cpu_s[REPORT] - one.cpu_s[IMPORTS]) / one.cpu_s[PASS] for one in found])
    work = f"monthly report over {attempts:,} attempts".replace(",", " ")
    shown = f"{query:.2f}×: {of(found, OURS):.1f} ms against {of(found, DUCK):.1f} ms"
    more = of(found, REPORT) - of(found, IMPORTS)
    all_of = f"{beyond:.1f}×: {more:.0f} ms, and {of(found, IMPORTS):.0f} ms of imports"
    return [
        Goal(work, "the same totals by DuckDB from its own table", "query ≤ 0.1×", shown, query <= QUERY_GOAL),
        Goal(work, "bare `python -c pass`", "command beyond imports ≤ 4×", all_of, beyond <= COMMAND_GOAL),
    ]


def table(found: list[Round], attempts: int, lines: int) -> Table:
    """One line each."""
    rows = [["", "CPU ms", "× of DuckDB", "× of python -c pass"]]
    for name in found[0].cpu_s:
        is_query = name in (OURS, DUCK, PLAIN)
        ratios = [median([one.cpu_s[name] / one.cpu_s[base] for one in found]) for base in (DUCK, PASS)]
        rows.append(
            [
                name,
                f"{of(found, name):.1f}",
                f"{ratios[0]:.2f}" if is_query else "–",
                "–" if is_query else f"{ratios[1]:.1f}",
            ]
        )
    loads = [one.load for one in found]
    sizes = f"{attempts:,} attempts, {lines:,} totals by day".replace(",", " ")
    peak = f"{median([one.rss_mib for one in found]):.0f} MiB at most"
    return Table(f"{sizes}; {peak}; rounds: {len(found)}, load {min(loads):.1f} to {max(loads):.1f}", rows)


def main() -> int:
    """Fill when there is nothing yet, measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attempts", type=measured.whole, default=1_000_000)
    parser.add_argument("--rounds", type=measured.whole, default=5)
    parser.add_argument("--folder", type=Path, help="where the ledger is made, or is (default: benchmarks/.cache)")
    parser.add_argument("--plain", action="store_true", help="also by SQL over the attempts, which takes its time")
    told = parser.parse_args()
    folder = (told.folder or measured.CACHE / f"report-{told.attempts}-{HEAD}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path, other = folder / "ledger.db", folder / "usage.duckdb"
    (folder / "omixa.toml").write_text(PROJECT.format(path=path), encoding="utf-8")
    (folder / "recipes").mkdir(exist_ok=True)
    if not path.exists():
        print("filling the ledger", flush=True)
        fill(path, told.attempts)
    if not path.with_suffix(".proved").exists():
        print(f"all totals are the sums of their rows: {prove(path):.0f} s of CPU to see it", flush=True)
    if not other.exists():
        print("filling DuckDB's table", flush=True)
        in_duckdb(other, path)
    raw = sqlite_module().connect(path)
    attempts, lines = (raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("attempts", "totals"))
    raw.close()
    duck = duckdb.connect(str(other), read_only=True)
    duck.execute("SET threads = 1")
    with tempfile.TemporaryDirectory() as scratch:
        found = rounds(folder, path, duck, told.rounds, Path(scratch), plain=told.plain)
    shown, reached = table(found, attempts, lines), goals(found, attempts)
    measured.show(shown)
    measured.show_goals(reached)
    measured.keep(
        "report",
        "A monthly report",
        goals=reached,
        tables=[shown],
        notes=NOTES,
        command=measured.command("report", sys.argv[1:]),
        rounds=[asdict(one) for one in found],
    )
    performance.write()
    return 0


if __name__ == "__main__":
    measured.run(main)
