"""Reports over a year of heavy use, beside plain SQL over the attempts and beside DuckDB over its own table.

    python benchmarks/usage.py --attempts 10000000 --folder /somewhere/large

The rows are put in by SQL, with the columns that a bill fills, and the totals added up as a migration does; then a
month is asked for by recipe in several ways, and with `--export` all is exported. Each figure is the median of
interleaved rounds; memory is the highest of the whole command. The ledger stays in the folder when one is named.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
from sqlalchemy import text

from runner.ledger import totals
from runner.ledger.database import open_database, sqlite_module
from runner.ledger.tables import SUMS

RECIPES, RUN_OF, TOGETHER = 30, 40, 250_000
MONTH = ("2026-10-01", "2026-10-31")
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
PLAIN = """
SELECT a.recipe, w.currency, count(*), sum(a.state = 'settled'), sum(coalesce(a.billed_micros, 0)) FROM attempts a
JOIN workspaces w ON w.name = a.workspace WHERE a.day BETWEEN ? AND ? GROUP BY 1, 2 ORDER BY 1, 2
"""
DUCK = """
SELECT recipe, currency, count(*), count(*) FILTER (state = 'settled'), coalesce(sum(billed_micros), 0)::BIGINT
FROM usage WHERE day BETWEEN ? AND ? GROUP BY 1, 2 ORDER BY 1, 2
"""


def fill(path: Path, attempts: int) -> None:
    """A year of runs of forty pictures each, of thirty recipes and seven cost centres."""
    workspace, runs = "studio@sandbox", attempts // RUN_OF + 1
    filling = path.with_suffix(".part")
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


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def command(project: Path, *words: str) -> tuple[float, float]:
    """Seconds and MB of an `omixa report`, run by a process of its own that has no other child."""
    inner = (
        "import resource, subprocess, sys, time; t = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    omixa = [sys.executable, "-m", "runner", "report", "--project", str(project), *words]
    said = subprocess.run([sys.executable, "-c", inner, *omixa], check=True, capture_output=True, text=True)
    seconds, megabytes = said.stdout.split()
    return float(seconds), float(megabytes)


def main() -> None:
    """Fill, then measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--attempts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the ledger is made, or is (default: thrown away)")
    parser.add_argument("--export", action="store_true", help="also write every attempt as Parquet")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (told.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "ledger.db"
        (folder / "omixa.toml").write_text(PROJECT.format(path=path), encoding="utf-8")
        (folder / "recipes").mkdir(exist_ok=True)
        if not path.exists():
            print(f"filled in {timed(lambda: fill(path, told.attempts)):.0f} s")
        measure(folder, path, told.rounds, export=told.export)


def in_duckdb(raw: Any) -> duckdb.DuckDBPyConnection:
    """What the query asks for, in a table of DuckDB's own."""
    duck = duckdb.connect()
    duck.execute("SET threads = 2")
    names = ("recipe", "currency", "day", "state", "billed_micros")
    kinds = [pyarrow.string()] * 4 + [pyarrow.int64()]
    duck.execute("CREATE TABLE usage (recipe TEXT, currency TEXT, day TEXT, state TEXT, billed_micros BIGINT)")
    found = raw.execute(
        "SELECT a.recipe, w.currency, a.day, a.state, a.billed_micros FROM attempts a JOIN workspaces w "
        "ON w.name = a.workspace"
    )
    while rows := found.fetchmany(TOGETHER):
        columns = [pyarrow.array(one, kind) for one, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
        part = pyarrow.table(dict(zip(names, columns, strict=True)))
        duck.register("part", part)
        duck.execute("INSERT INTO usage SELECT * FROM part")
    return duck


def measure(folder: Path, path: Path, rounds: int, *, export: bool) -> None:
    raw = sqlite_module().connect(path)
    count = raw.execute("SELECT count(*) FROM attempts").fetchone()[0]
    lines = raw.execute("SELECT count(*) FROM totals").fetchone()[0]
    print(f"{count:,} attempts, {lines:,} totals, {path.stat().st_size / 1e9:.1f} GB")

    if export:
        seconds, megabytes = command(folder, "--format", "parquet", "--out", str(folder / "usage.parquet"))
        print(f"all of it as Parquet: {seconds:.0f} s, {megabytes:.0f} MB")
    duck = in_duckdb(raw)
    month = ["--month", MONTH[0][:7], "--by", "recipe"]
    with open_database(path, create=False) as database:

        def ours() -> list[tuple[object, ...]]:
            rows = totals.rows(database, ["recipe"], first_day=MONTH[0], last_day=MONTH[1])
            sums = [SUMS.index(name) for name in ("attempts", "settled_count", "settled_micros")]
            return sorted((row.recipe, row.currency, *(row.sums[at] for at in sums)) for row in rows)

        ways: dict[str, Callable[[], object]] = {
            "the totals": ours,
            "DuckDB, from its own table": lambda: duck.execute(DUCK, MONTH).fetchall(),
            "plain SQL over the attempts": lambda: raw.execute(PLAIN, MONTH).fetchall(),
            "omixa report --month": lambda: command(folder, *month),
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        }
        found = [sorted(map(tuple, way())) for way in list(ways.values())[:3]]  # type: ignore[call-overload]
        assert found[0] == found[1] == found[2], "the three disagree"
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(timed(way))
        medians = {name: statistics.median(one) for name, one in times.items()}
        for name, median in medians.items():
            print(f"{name:28} {median * 1000:10.1f} ms")
        print(f"totals / DuckDB {medians['the totals'] / medians['DuckDB, from its own table']:.2f}")
    _, megabytes = command(folder, *month)
    print(f"omixa report --month: {megabytes:.0f} MB")
    with open_database(path, create=False) as database, database.read() as connection:
        print(f"all totals compared with all rows: {timed(lambda: totals.wrong(connection)):.0f} s")
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
