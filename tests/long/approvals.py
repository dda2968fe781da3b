"""One approved plan, bought by processes that race and are killed -9 again and again: never above its amount, once.

Two processes at a time run the same plan over real HTTP; when the endpoint has counted a few more requests both are
killed, until one comes to an end of its own. By the endpoint's own books and by the ledger:

    python -m tests.long.approvals --rounds 20 --seed 1
"""

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runner import approvals
from runner.cli import main as omixa
from runner.ledger import verify
from runner.ledger.database import open_database
from runner.trail import approval
from tests.run.conftest import Studio

PICTURES, PRICE, CEILING = 24, 39_000, 700_000


@dataclass
class Seen:
    """What one round came to: micro-units by the ledger and by the endpoint."""

    amount: int
    kills: int
    settled: int
    open: int
    billed: int
    runs: int
    codes: set[int]
    faults: list[str]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was kept: nothing above the amount, by any count, and a sound ledger."""
        held = self.settled + self.open
        return not self.faults and self.billed <= held <= self.amount and self.codes <= {0, 3, 6, 9}


def one_round(dice: random.Random) -> Seen:
    """Freeze, approve, and run until it ends."""
    with tempfile.TemporaryDirectory() as name:
        studio = Studio(Path(name), latency_ms=dice.choice((0, 5, 30)))
        try:
            return _bought(studio, dice)
        finally:
            studio.endpoint.stop()


def _bought(studio: Studio, dice: random.Random) -> Seen:
    public = approval.new_key(studio.root / "key")
    studio.settings(concurrency=dice.choice((1, 2, 4)))
    settings = studio.root / "omixa.toml"
    settings.write_text(f'{settings.read_text()}\n[approvers.ben]\nkey = "{public}"\n')
    studio.recipe()
    studio.pictures(PICTURES)
    plan = studio.root / "plan.json"
    assert omixa(["--project", str(studio.root), "plan", "posters", "--out", str(plan)]) == 0
    amount = dice.randrange(CEILING, PICTURES * PRICE + 2 * CEILING)
    key, _ = approval.load_key(studio.root / "key")
    at = datetime.now(UTC)
    signed = approval.sign(
        key,
        plan=approvals.read_plan(plan).digest,
        amount_micros=amount,
        currency="USD",
        approver="ben",
        at=at,
        until=at + timedelta(hours=1),
    )
    approvals.write_json(approvals.approval_path(plan, "ben"), signed.record())
    kills, codes = 0, set[int]()
    while True:
        running = [studio.start("run", "--plan", str(plan), "--json") for _ in range(2)]
        until = studio.endpoint.counts().requests + dice.randrange(1, 6)
        while studio.endpoint.counts().requests < until and any(one.poll() is None for one in running):
            time.sleep(0.001)
        over = all(one.poll() is not None for one in running) or kills >= 6
        for one in running:
            if not over and one.poll() is None:
                one.kill()
                kills += 1
            one.communicate(timeout=600)
            if one.returncode >= 0:
                codes.add(one.returncode)
        if over:
            break
    with open_database(studio.root / ".omixa" / "ledger.db", create=False) as database:
        faults = verify.verify(database).faults
    studio.balances()
    runs = len({row.run_uid for row in studio.rows()})
    return Seen(amount, kills, studio.settled, studio.open, studio.endpoint.counts().billed_micros, runs, codes, faults)


def main() -> int:
    """Run the rounds and say how each went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    broken = kills = 0
    for number in range(options.rounds):
        began = time.perf_counter()
        seen = one_round(random.Random(f"{options.seed}/{number}"))
        broken, kills = broken + (not seen.is_kept), kills + seen.kills
        print(
            f"round {number + 1}: amount {seen.amount / 1e6:.6f}, {seen.kills} kills, {seen.runs} runs, settled "
            f"{seen.settled / 1e6:.6f}, open {seen.open / 1e6:.6f}, endpoint {seen.billed / 1e6:.6f}, "
            f"{time.perf_counter() - began:.1f} s: {'kept' if seen.is_kept else f'BROKEN {seen}'}",
            file=sys.stderr,
            flush=True,
        )
    print(f"{options.rounds} rounds, {kills} kills, {broken} broken", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
