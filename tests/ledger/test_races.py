"""Many processes on one ledger: a cap is filled exactly, an item is bought once, nobody starves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runner.ledger import usage
from runner.ledger.database import open_database

BUYER = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
from runner.ledger.database import open_database
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap, Refusal, Reserved
from tests.ledger.conftest import RUN, Desk
path, name, ceiling, cap, same, most = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
desk = Desk(Ledger(open_database(Path(path), create=True)), replace(RUN, uid=name))
month = Cap("workspace", "", "month", cap)
sys.stdin.readline()
bought, longest, n = 0, 0.0, 0
while n < most:
    before = time.perf_counter()
    reservation = desk.reserve(f"item-{n}" if same else f"{name}-{n}", amount=ceiling, caps=[month])
    longest = max(longest, time.perf_counter() - before)
    if isinstance(reservation, Refusal):
        if reservation.may_free:
            continue
        break
    n += 1
    if isinstance(reservation, Reserved):
        desk.ledger.sent(reservation.attempt_id, who=name, at=desk.at)
        desk.settle(reservation.attempt_id, 39_000)
        bought += 1
print(json.dumps({"bought": bought, "longest": longest}))
"""


def race(path: Path, *, processes: int, ceiling: int, cap: int, same: bool = False, most: int = 100) -> list[int]:
    """How much each process bought; all begin together."""
    open_database(path, create=True).close()
    words = [str(ceiling), str(cap), str(int(same)), str(most)]
    buyers = [
        subprocess.Popen(
            [sys.executable, "-c", BUYER, str(path), f"buyer-{n}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    for buyer in buyers:
        assert buyer.stdin is not None
        buyer.stdin.write("go\n")
        buyer.stdin.flush()
    outputs = [buyer.communicate()[0] for buyer in buyers]
    assert all(buyer.returncode == 0 for buyer in buyers)
    return [json.loads(output)["bought"] for output in outputs]


def settled(path: Path) -> tuple[int, int]:
    opened = open_database(path, create=False)
    try:
        rows = list(usage.rows(opened))
    finally:
        opened.close()
    return sum(row.billed_micros or 0 for row in rows), sum(row.open_micros for row in rows)


@pytest.mark.parametrize("ceiling", [39_000, 50_000])
def test_two_processes_cannot_take_the_last_cent(ledger_path: Path, ceiling: int) -> None:
    assert sum(race(ledger_path, processes=2, ceiling=ceiling, cap=1_000_000)) == 25
    assert settled(ledger_path) == (975_000, 0)


@pytest.mark.parametrize("ceiling", [39_000, 50_000])
def test_eight_processes_fill_a_cap_exactly(ledger_path: Path, ceiling: int) -> None:
    assert sum(race(ledger_path, processes=8, ceiling=ceiling, cap=1_000_000)) == 25
    assert settled(ledger_path) == (975_000, 0)


def test_eight_processes_that_want_the_same_items_buy_each_once(ledger_path: Path) -> None:
    race(ledger_path, processes=8, ceiling=39_000, cap=100_000_000, same=True, most=20)
    opened = open_database(ledger_path, create=False)
    rows = list(usage.rows(opened))
    opened.close()
    assert sorted(row.source_path for row in rows) == sorted(f"pictures/item-{n}.png" for n in range(20))
