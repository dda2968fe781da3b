"""What governing one picture costs: reserve → sent → settle with its audit rows, beside a plain sqlite3 loop.

    python benchmarks/booking.py
    python benchmarks/booking.py --rounds 9 --bookings 3000 --seconds 10

The plain loop is what a script would do that only remembers what it spent: one row and one counter, a transaction when
a request begins and one when it ends, one after the other, in WAL mode with `synchronous=FULL`. It checks no cap, keeps
no evidence and has no chain. Ours does three durable transactions, over three budgets. Rounds are interleaved; what is
printed are medians and ratios. CPU time is the process's own, all threads together, the disk's part in the kernel
included. Then 1, 2 and 4 processes with 64 in flight each press on one ledger. At the end every ledger is verified.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from runner.ledger.database import Database, open_database, sqlite_module
from runner.ledger.ledger import Ledger
from runner.ledger.values import Asked, Cap, Reserved, Result, RunFacts
from runner.ledger.verify import verify
from runner.providers.provider import Evidence

WORKERS = (1, 8, 32)
PROCESSES = (1, 2, 4)
IN_FLIGHT = 64
PRICE = 39_000
PROMPT = "restore it, as it was"
EVIDENCE = Evidence(
    status=200,
    request_id="req-1",
    headers={"content-type": "application/json", "date": "Fri, 27 Nov 2026 17:02:18 GMT"},
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: bookings per second, and microseconds of CPU for each."""

    rate: float
    cpu_us: float


@dataclass(slots=True)
class Shares:
    """What so many processes booked together in a second, and each of them in all."""

    rate: float
    each: list[int] = field(default_factory=list)


class Desk:
    """One run on one ledger."""

    def __init__(self, path: Path, uid: str) -> None:
        self.database = open_database(path, create=True)
        self.ledger = Ledger(self.database)
        self.run = RunFacts(
            uid=uid,
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
        self.caps = [
            Cap("workspace", "", "month", 10**15),
            Cap("recipe", "scans", "total", 10**15),
            Cap("run", uid, "run", 10**15),
        ]
        self.run_id = self.ledger.begin_run(self.run, at=datetime.now(UTC))
        self.booked = 0
        self.book()  # so that the price is known, and everything has been read once

    def book(self) -> None:
        """One picture, from the reservation to the bill."""
        self.booked += 1
        digest = sha256(f"{self.run.uid} {self.booked}".encode()).hexdigest()
        self._book(digest)

    def _book(self, digest: str) -> None:
        asked = Asked(
            model="stability-upscale-creative",
            item_key=digest,
            source_path=f"pictures/scans/{digest[:8]}.png",
            source_digest=digest,
            source_bytes=20_000,
            prompt_name="restore",
            prompt=PROMPT,
            prompt_digest=sha256(PROMPT.encode()).hexdigest(),
            negative=None,
            negative_digest=None,
            preset_name="photo",
            options='{"creativity": "0.3", "output_format": "png", "seed": 7}',
            output_path=f"out/scans/{digest[:8]}.png",
        )
        now = datetime.now(UTC)
        held = self.ledger.reserve(self.run_id, self.run, asked, amount_micros=PRICE, caps=self.caps, at=now)
        assert isinstance(held, Reserved), held
        self.ledger.sent(held.attempt_id, who=self.run.who, at=datetime.now(UTC))
        self.ledger.settle(
            held.attempt_id,
            billed_micros=PRICE,
            billed_text="0.039",
            code="billed",
            message=None,
            evidence=EVIDENCE,
            result=Result(digest, 80_000, 1024, 768, None, delivered=True),
            who=self.run.who,
            at=datetime.now(UTC),
        )

    def crowd(self, workers: int, go_on: Callable[[], bool]) -> int:
        """Let so many threads book while `go_on()`; how many bookings that were. Raises what one of them raised."""
        lock, errors, before = threading.Lock(), [], self.booked

        def work() -> None:
            while not errors:
                with lock:
                    if not go_on():
                        return
                    self.booked += 1
                    number = self.booked
                try:
                    self._book(sha256(f"{self.run.uid} {number}".encode()).hexdigest())
                except Exception as error:  # noqa: BLE001 - raised below
                    errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return self.booked - before


class Plain:
    """The loop that ours is compared with."""

    def __init__(self, path: Path) -> None:
        self.raw = sqlite_module().connect(path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE requests (id INTEGER PRIMARY KEY, picture TEXT, state TEXT, open INTEGER, billed INTEGER)",
            "CREATE TABLE budget (open INTEGER, settled INTEGER)",
            "INSERT INTO budget VALUES (0, 0)",
        ):
            self.raw.execute(statement)

    def book(self, number: int) -> None:
        """The pair, each in a transaction."""
        run = self.raw.execute
        run("BEGIN IMMEDIATE")
        run("UPDATE budget SET open = open + ?", (PRICE,))
        row = run("INSERT INTO requests (picture, state, open) VALUES (?, 'sent', ?)", (f"{number}.png", PRICE))
        run("COMMIT")
        run("BEGIN IMMEDIATE")
        run("UPDATE requests SET state = 'settled', billed = ? WHERE id = ?", (PRICE, row.lastrowid))
        run("UPDATE budget SET open = open - ?, settled = settled + ?", (PRICE, PRICE))
        run("COMMIT")


def timed(count: int, work: Callable[[], object]) -> Turn:
    """How fast `work` did `count` bookings."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Turn(count / wall, cpu / count * 1e6)


def side_by_side(folder: Path, rounds: int, bookings: int) -> dict[str, list[Turn]]:
    """Turns of the plain loop and of ours with 1, 8 and 32 workers, on a ledger each."""
    plain = Plain(folder / "plain.db")
    desks = {workers: Desk(folder / str(workers) / "ledger.db", f"run-{workers}") for workers in WORKERS}
    turns: dict[str, list[Turn]] = {}
    for turn in range(rounds):
        names = [0, *WORKERS]
        for workers in names[turn % len(names) :] + names[: turn % len(names)]:
            if workers == 0:
                taken = timed(bookings, lambda: [plain.book(number) for number in range(bookings)])
                turns.setdefault("plain", []).append(taken)
            else:
                # One worker pays for each disk sync alone; fewer bookings are enough to see that.
                count = bookings if workers > 1 else max(1, bookings // 4)
                left = iter(range(count))
                desk = desks[workers]
                taken = timed(count, lambda d=desk, w=workers, of=left: d.crowd(w, lambda: next(of, None) is not None))
                turns.setdefault(str(workers), []).append(taken)
    for desk in desks.values():
        check(desk.database, desk.booked)
        desk.database.close()
    plain.raw.close()
    return turns


def shares(folder: Path, processes: int, seconds: float) -> Shares:
    """Let so many processes with 64 in flight each press on one ledger for so long."""
    path = folder / "ledger.db"
    Desk(path, "first").database.close()
    words = [sys.executable, __file__, "--press", str(path), "--seconds", str(seconds), "--name"]
    started = [
        subprocess.Popen([*words, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(processes)
    ]
    for process in started:  # each says that it is ready, and all begin together
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    each = [int(process.communicate()[0]) for process in started]
    with Database(path) as database:
        check(database, sum(each) + processes + 1)
    return Shares(sum(each) / seconds, each)


def press(path: Path, name: str, seconds: float) -> None:
    """One of these processes."""
    desk = Desk(path, f"run-{name}")
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + seconds
    print(desk.crowd(IN_FLIGHT, lambda: time.monotonic() < until))
    desk.database.close()


def check(database: Database, bookings: int) -> None:
    """The ledger is sound, and has every booking."""
    found = verify(database)
    assert found.faults == [], found.faults
    with database.read() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM attempts WHERE state = 'settled'").scalar_one()
    assert count == bookings, (count, bookings)


def show(turns: dict[str, list[Turn]]) -> None:
    """Medians, and ratios against the plain loop."""
    plain = statistics.median(turn.rate for turn in turns["plain"])
    print(f"{'':24}{'bookings/s':>12}{'of the plain loop':>19}{'µs CPU each':>13}")
    for name, taken in turns.items():
        rate, cpu = (statistics.median(getattr(turn, what) for turn in taken) for what in ("rate", "cpu_us"))
        title = "plain loop" if name == "plain" else f"ours, {name} worker{'' if name == '1' else 's'}"
        print(f"{title:24}{rate:>12,.0f}{rate / plain:>18.2f}×{cpu:>13,.0f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bookings", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--press", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.press:
        press(options.press, options.name, options.seconds)
        return
    with tempfile.TemporaryDirectory() as name:
        show(side_by_side(Path(name), options.rounds, options.bookings))
        print()
        alone = 0.0
        for processes in PROCESSES:
            folder = Path(name) / f"processes-{processes}"
            folder.mkdir()
            found = shares(folder, processes, options.seconds)
            alone = alone or found.rate
            fair = min(found.each) / max(found.each)
            title = f"{processes} process{'' if processes == 1 else 'es'}, {IN_FLIGHT} in flight each"
            print(f"{title:36}{found.rate:>8,.0f} bookings/s, {found.rate / alone:.2f}× of one; shares {fair:.2f}")
    print(f"load {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
