"""Many entries verified, beside SHA-256 over the same bytes in one stream: CPU, wall time and memory.

    python -m benchmarks.verify                       # 10^6 entries, three rounds; about ten minutes
    python -m benchmarks.verify --entries 100000 --rounds 5

The ledger is filled by the program's own functions, many of their transactions committed together: runs of a thousand
pictures, each reserved, sent, and billed with what an endpoint answers and a picture that was written out. It stays in
benchmarks/.cache/ for the next time. In every round these take turns, each a process of its own: SHA-256 over all
payloads as one stream from a file; `omixa audit verify`; and the verifier that an auditor runs on an export.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from benchmarks import measured, performance
from benchmarks.measured import Goal, Table, Used, median
from runner.ledger import HEAD
from runner.ledger.database import Database, open_database, sqlite_module
from runner.ledger.ledger import Ledger
from runner.ledger.values import Asked, Cap, Reserved, Result, RunFacts
from runner.plan import digest
from runner.providers.provider import Evidence

TOGETHER = 3000
GOAL = 3.0
SHA, VERIFY, AUDITOR = "sha256, one stream", "omixa audit verify", "verifier.py on an export"
PROJECT = """
[ledger]
url = "sqlite:///{path}"

[workspaces.studio]
currency = "USD"
time_zone = "Europe/Berlin"
endpoint = "sandbox"
unlimited = true
"""
STREAM = """
import hashlib, sys
found = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        found.update(block)
print(found.hexdigest())
"""
NOTES = """\
`omixa audit verify` does all that it does for anybody: the spelling, hash and link of every entry, the tree over each
chain, every column and row that an entry speaks of, all balances and totals, and the pages and indexes of the file. The
stream reads the payloads from one file and knows nothing of where one ends. What is in the way of more, and where the
time goes, is in [what verifying and reporting cost](performance-reports.md).
"""


class Bulk(Database):
    """Commits many transactions at once: only for filling a ledger that nobody else uses."""

    open: Connection | None = None
    count = 0

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        if self.open is None:
            self.open = self._engine.connect()
            self.open.execution_options(begin="IMMEDIATE")
            self.open.begin()
        yield self.open
        self.count += 1
        if self.count % TOGETHER == 0:
            self.flush()

    def flush(self) -> None:
        if self.open is not None:
            self.open.commit()
            self.open.close()
            self.open = None


def fill(path: Path, entries: int) -> None:
    """Runs of a thousand pictures each, ten minutes apart."""
    open_database(path, create=True).close()
    database = Bulk(path)
    ledger = Ledger(database, uptime=lambda: None)
    at, month = datetime(2026, 1, 1, tzinfo=UTC), Cap("workspace", "", "month", 10**15)
    for number in range(entries // 3 + 1):
        if number % 1000 == 0:
            at += timedelta(minutes=10)
            run = _run(number)
            run_id = ledger.begin_run(run, at=at)
        at += timedelta(microseconds=137)
        text = f"restore it, in the manner of {number % 50}"
        asked = Asked(
            model="stability-upscale-creative",
            item_key=digest(f"item {number}"),
            source_path=f"pictures/scans/{number:07}.png",
            source_digest=digest(f"picture {number}"),
            source_bytes=20_000,
            prompt_name="restore",
            prompt=text,
            prompt_digest=digest(text),
            negative=None,
            negative_digest=None,
            preset_name="photo",
            options='{"creativity": "0.3", "output_format": "png", "seed": "7"}',
            output_path=f"out/scans/{number:07}.png",
        )
        held = ledger.reserve(run_id, run, asked, amount_micros=700_000, caps=[month], at=at)
        assert isinstance(held, Reserved), held
        ledger.sent(held.attempt_id, who=run.who, at=at)
        ledger.settle(
            held.attempt_id,
            billed_micros=39_000,
            billed_text="0.039000",
            code="billed",
            message=None,
            evidence=_evidence(number, at),
            result=Result(digest(f"result {number}"), 2_087_953, 1536, 1024, None, delivered=True),
            who=run.who,
            at=at,
        )
    database.flush()
    database.close()


def _evidence(number: int, at: datetime) -> Evidence:
    """As a paid endpoint answers: no two alike."""
    asked = f"req-{number:012x}"
    headers = {"content-length": "2784044", "content-type": "application/json", "x-request-id": asked}
    headers["date"] = at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    head = f'{{"created": {1_767_225_600 + number}, "data": [{{"b64_json": "…", "url": null}}], '
    return Evidence(200, headers, asked, head + '"usage": {"billed_amount": "0.039000"}}')


def _run(number: int) -> RunFacts:
    return RunFacts(
        uid=f"run-{number}",
        workspace="studio@sandbox",
        currency="sandbox-USD",
        zone="Europe/Berlin",
        recipe="scans",
        recipe_path="recipes/scans.toml",
        recipe_digest="d" * 64,
        git_commit="c" * 40,
        git_dirty=False,
        cost_centre="4711",
        labels={"project": "archive"},
        who="ana@desk",
        program="benchmark",
    )


@dataclass(frozen=True)
class Round:
    """What each took. Seconds and MiB."""

    used: dict[str, Used]
    load: float


def made(folder: Path, entries: int) -> int:
    """The ledger, its payloads in one file and its export, when they are not there yet; how many bytes were hashed."""
    path, payloads, bundle = folder / "ledger.db", folder / "payloads", folder / "bundle"
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    (folder / "omixa.toml").write_text(PROJECT.format(path=path), encoding="utf-8")
    if not path.exists():
        print(f"filling a ledger of {entries} entries", flush=True)
        filling = folder / "filling" / "ledger.db"
        filling.unlink(missing_ok=True)
        fill(filling, entries)
        filling.rename(path)
    if not payloads.exists():
        raw = sqlite_module().connect(path)
        with payloads.with_suffix(".part").open("wb") as file:
            for (payload,) in raw.execute("SELECT payload FROM entries ORDER BY id"):
                file.write(payload)
        raw.close()
        payloads.with_suffix(".part").rename(payloads)
    if not bundle.exists():
        print("exporting it for the auditor", flush=True)
        words = ["--project", str(folder), "audit", "export", "--bundle", str(bundle)]
        measured.measure([sys.executable, "-m", "runner", *words], folder / "said.txt", **HERE)
    return payloads.stat().st_size


HERE = {"PYTHONPATH": str(measured.ROOT)}


def rounds(folder: Path, count: int, scratch: Path, *, auditor: bool) -> list[Round]:
    """All in turns; each must find the ledger sound."""
    commands = {
        SHA: [sys.executable, "-c", STREAM, str(folder / "payloads")],
        VERIFY: [sys.executable, "-m", "runner", "--project", str(folder), "audit", "verify"],
    }
    if auditor:
        commands[AUDITOR] = [sys.executable, "-I", "-S", str(folder / "bundle" / "verifier.py"), str(folder / "bundle")]
    found = []
    for _ in range(count):
        used = {name: measured.measure(words, scratch / "said.txt", **HERE) for name, words in commands.items()}
        found.append(Round(used, os.getloadavg()[0]))
    return found


def ratio(found: list[Round], name: str) -> float:
    """CPU time against the stream's, the median of those within a round."""
    return median([one.used[name].cpu_s / one.used[SHA].cpu_s for one in found])


def table(found: list[Round], entries: int, size: int) -> Table:
    """One line each."""
    rows = [["", "CPU s", "µs an entry", "× of the stream", "wall s", "peak MiB"]]
    for name in found[0].used:
        own = [one.used[name] for one in found]
        cpu = median([one.cpu_s for one in own])
        rows.append(
            [
                name,
                f"{cpu:.2f}",
                f"{cpu / entries * 1e6:.2f}",
                f"{ratio(found, name):.1f}",
                f"{median([one.wall_s for one in own]):.1f}",
                f"{max(one.rss_mib for one in own):.0f}",
            ]
        )
    loads = [one.load for one in found]
    title = f"{entries:,} entries of {size // entries} bytes".replace(",", " ")
    return Table(f"{title}, rounds: {len(found)}, load {min(loads):.1f} to {max(loads):.1f}", rows)


def main() -> int:
    """Fill when there is nothing yet, measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=measured.whole, default=1_000_000)
    parser.add_argument("--rounds", type=measured.whole, default=3)
    parser.add_argument("--folder", type=Path, help="where the ledger is made, or is (default: benchmarks/.cache)")
    parser.add_argument("--no-auditor", action="store_true", help="without the verifier on an export")
    told = parser.parse_args()
    folder = (told.folder or measured.CACHE / f"verify-{told.entries}-{HEAD}").resolve()
    size = made(folder, told.entries)
    raw = sqlite_module().connect(folder / "ledger.db")
    ((entries,),) = raw.execute("SELECT count(*) FROM entries").fetchall()
    raw.close()
    with tempfile.TemporaryDirectory() as scratch:
        found = rounds(folder, told.rounds, Path(scratch), auditor=not told.no_auditor)
    shown, got = table(found, entries, size), ratio(found, VERIFY)
    work = f"{entries:,} entries verified by `omixa audit verify`".replace(",", " ")
    reached = [Goal(work, "SHA-256 over the same bytes in one stream", "CPU ≤ 3×", f"{got:.0f}×", got <= GOAL)]
    measured.show(shown)
    measured.show_goals(reached)
    measured.keep(
        "verify",
        "Verifying",
        goals=reached,
        tables=[shown],
        notes=NOTES,
        command=measured.command("verify", sys.argv[1:]),
        rounds=[asdict(one) for one in found],
    )
    performance.write()
    return 0


if __name__ == "__main__":
    measured.run(main)
