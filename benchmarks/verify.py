"""`omixa audit verify` over many entries: entries a second beside plain SHA-256 over the same bytes, and its memory.

    python benchmarks/verify.py --entries 1000000

The ledger is filled by the program's own functions, many of their transactions committed together; times are CPU time.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, select

from runner.ledger.database import Database, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.tables import ENTRIES
from runner.ledger.values import Asked, Cap, Reserved, RunFacts
from runner.ledger.verify import verify
from runner.plan import digest

TOGETHER = 3000


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
            evidence=None,
            result=None,
            who=run.who,
            at=at,
        )
    database.flush()
    database.close()


def _run(number: int) -> RunFacts:
    return RunFacts(
        uid=f"run-{number}",
        workspace="studio",
        currency="USD",
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


def measure(path: Path) -> None:
    """Verify, and hash the same bytes plainly, in this process."""
    with Database(path) as database:
        began = time.process_time()
        found = verify(database)
        verified = time.process_time() - began
        assert found.faults == [], found.faults
        began = time.process_time()
        size = 0
        with database.read() as connection:
            query = select(ENTRIES.c.payload).execution_options(yield_per=1000)
            payloads = (row.payload for row in connection.execute(query))
            hashed = 0.0
            for payload in payloads:
                size += len(payload)
                start = time.process_time()
                sha256(payload).digest()
                hashed += time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    count = found.entries
    print(f"{count:,} entries, {size // count} bytes each; the ledger has {path.stat().st_size >> 20} MB")
    print(f"audit verify   {verified:8.1f} s CPU   {count / verified:12,.0f} entries/s")
    print(f"plain SHA-256  {hashed:8.1f} s CPU   {count / hashed:12,.0f} entries/s")
    print(f"peak memory    {peak} MB")


def main() -> None:
    """Fill ledgers of several sizes, each verified in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=30_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    for entries in (options.entries // 10, options.entries):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "home" / "ledger.db"
            fill(path, entries)
            subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()
