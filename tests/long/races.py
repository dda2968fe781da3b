"""Races to a cap: 2, 8 and 16 processes on one ledger buy exactly what fits, round after round; and none starves.

    python -m tests.long.races --rounds 1000 --seed 7        caps, prices, recipes and runs drawn from the seed
    python -m tests.long.races --seed 7 --only 412           one of those rounds again
    python -m tests.long.races --fairness --seconds 20       who came to the ledger how often, and who waited longest
    python -m tests.long.races --fairness --no-gate          the control: the same without the gate

Each buyer is a process. What the provider would have billed is written to a book beside the ledger once the attempt is
`sent`, one line a purchase, so that the count does not depend on what is counted.
"""

import argparse
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from runner.errors import LedgerError
from runner.execution import _moves as may_change_by_waiting
from runner.ledger import balance_check, usage
from runner.ledger.database import Database, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.values import AlreadyBought, Cap, Refusal, Reserved
from tests.ledger.conftest import RUN, Desk

CROWDS = (2, 8, 16)

# No race takes nearly so long: a buyer that is still there then is stuck, and the kernel ends it.
STUCK_S = 300

# What a process of a crowd does: it makes itself ready up to its first `yield`, and goes on when all have.
Work = Callable[[int], Iterator[None]]


# ---- what is raced for


@dataclass(frozen=True, slots=True)
class Shop:
    """One workspace: what its pictures cost, what it may spend, and who shops in it. Amounts in micro-units.

    `prices` are drawn from in turn; a picture never costs more than `ceiling`. `recipe_caps`: one a recipe, None has no
    cap; `run_cap`: of every process alone. `shared`: all want the same pictures, otherwise each has its own.
    """

    workspace: str
    prices: tuple[int, ...]
    ceiling: int
    cap: int
    recipe_caps: tuple[int | None, ...]
    run_cap: int | None
    shared: bool
    declines: bool

    def caps(self, recipe: int, uid: str) -> list[Cap]:
        """The caps that a purchase of one process falls under."""
        found = [Cap("workspace", "", "month", self.cap)]
        recipe_cap = self.recipe_caps[recipe]
        if recipe_cap is not None:
            found.append(Cap("recipe", f"recipe-{recipe}", "total", recipe_cap))
        if self.run_cap is not None:
            found.append(Cap("run", uid, "run", self.run_cap))
        return found

    def price(self, item: str) -> int:
        """What the provider bills for a picture: the same in every process."""
        return self.prices[int(item.rpartition("-")[2]) % len(self.prices)]

    def fits(self, cap: int) -> int:
        """How many pictures of one price a cap has room for, when each was reserved at the ceiling."""
        assert len(self.prices) == 1
        return 0 if cap < self.ceiling else 1 + (cap - self.ceiling) // self.prices[0]


@dataclass(frozen=True, slots=True)
class Race:
    """One round: its shops, and for each process the shop and the recipe it buys for."""

    seed: int
    shops: tuple[Shop, ...]
    buyers: tuple[tuple[int, int], ...]

    def expected(self, number: int) -> int:
        """How many pictures the caps of a shop of one price let through, all together."""
        shop = self.shops[number]
        total = 0
        for recipe, cap in enumerate(shop.recipe_caps):
            here = sum(buyer == (number, recipe) for buyer in self.buyers)
            of_runs = here * shop.fits(shop.cap if shop.run_cap is None else shop.run_cap)
            total += of_runs if cap is None else min(shop.fits(cap), of_runs)
        return min(shop.fits(shop.cap), total)


def drawn(seed: int, processes: int) -> Race:
    """The round that belongs to a seed."""
    rng = random.Random(seed)
    shops = tuple(_drawn_shop(rng, f"studio-{n}") for n in range(rng.choice((1, 1, 1, 2))))
    places = [(n, recipe) for n, shop in enumerate(shops) for recipe in range(len(shop.recipe_caps))]
    return Race(seed, shops, tuple(places[n % len(places)] for n in range(processes)))


def _drawn_shop(rng: random.Random, workspace: str) -> Shop:
    """Caps of up to 12 pictures, at the ceiling exactly, one micro-unit off, or anywhere."""
    ceiling = rng.choice((39_000, 700_000, rng.randint(1, 2_000_000)))
    cheapest = max(1, ceiling // 4)
    price = rng.choice((ceiling, ceiling, max(1, ceiling * 39 // 50), rng.randint(cheapest, ceiling)))
    prices = (price,) if rng.random() < 0.8 else tuple(rng.randint(cheapest, ceiling) for _ in range(7))

    def cap() -> int:
        room = price * rng.randint(1, 12) + rng.choice((0, 0, -1, 1, ceiling - price, rng.randint(0, ceiling)))
        return max(1, room)

    recipe_caps = tuple(rng.choice((None, cap())) for _ in range(rng.choice((1, 1, 2))))
    run_cap = cap() if rng.random() < 0.2 else None
    return Shop(workspace, prices, ceiling, cap(), recipe_caps, run_cap, rng.random() < 0.4, rng.random() < 0.3)


# ---- one race


def race(template: Path, folder: Path, round_: Race) -> list[str]:
    """Run one round in `folder`, on a copy of the empty ledger `template`. What was not exact, in words."""
    path, book = folder / "ledger.db", folder / "book"
    shutil.copyfile(template, path)
    book.touch()

    failed = crowd(len(round_.buyers), lambda number: _buy(round_, number, path, book))
    wrong = [f"buyer {number} ended with {status}" for number, status in failed]
    billed = [line.split() for line in book.read_text().splitlines()]
    database = open_database(path, create=False)
    try:
        rows = list(usage.rows(database))
        wrong += balance_check.check_balances(database)
    finally:
        database.close()
    for number, shop in enumerate(round_.shops):
        truth = [(item, int(amount)) for workspace, item, amount in billed if workspace == shop.workspace]
        booked = [row for row in rows if row.workspace == shop.workspace]
        wrong += [f"{shop.workspace}: {line}" for line in _not_exact(round_, number, truth, booked)]
    return wrong


def _not_exact(
    round_: Race, number: int, truth: Sequence[tuple[str, int]], booked: Sequence[usage.UsageRow]
) -> Iterator[str]:
    """The provider's book against the caps, and the ledger against the provider's book."""
    shop = round_.shops[number]
    spent = sum(amount for _, amount in truth)
    settled = sum(row.billed_micros or 0 for row in booked)
    twice = [item for item, times in Counter(item for item, _ in truth).items() if times > 1]
    if spent > shop.cap:
        yield f"{spent} was billed on a cap of {shop.cap}"
    if twice:
        yield f"bought twice: {', '.join(twice)}"
    if settled != spent or sum(row.state == "settled" for row in booked) != len(truth):
        yield f"the ledger has {settled} settled, the provider billed {spent} for {len(truth)}"
    if sum(row.open_micros for row in booked):
        yield "money is open although nobody is in flight"
    if len(shop.prices) == 1 and len(truth) != round_.expected(number):
        yield f"{len(truth)} pictures were bought, {round_.expected(number)} fit"
    # With one price or many: a recipe that somebody bought for stopped because a cap had no room for one more.
    full = spent + shop.ceiling > shop.cap
    for recipe, cap in enumerate(shop.recipe_caps):
        if (number, recipe) not in round_.buyers:
            continue
        of_recipe = sum(row.billed_micros or 0 for row in booked if row.recipe == f"recipe-{recipe}")
        if cap is not None and of_recipe > cap:
            yield f"{of_recipe} was billed in recipe-{recipe} on a cap of {cap}"
        if not full and shop.run_cap is None and (cap is None or of_recipe + shop.ceiling <= cap):
            yield f"recipe-{recipe} stopped at {of_recipe} (cap {cap}), the workspace at {spent} (cap {shop.cap})"
    if shop.run_cap is not None:
        for uid, of_run in _by_run(booked).items():
            if of_run > shop.run_cap:
                yield f"{of_run} was billed in {uid} on a cap of {shop.run_cap}"


def _by_run(rows: Sequence[usage.UsageRow]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows:
        found[row.run_uid] += row.billed_micros or 0
    return found


def _buy(round_: Race, number: int, path: Path, book: Path) -> Iterator[None]:
    """One buyer: asks for pictures until its caps refuse. A refusal must say that nothing in flight could make room."""
    place, recipe = round_.buyers[number]
    shop, uid = round_.shops[place], f"run-{number}"
    rng = random.Random(f"{round_.seed} {number}")
    # More than can be bought, so that caps end the race and not the lack of pictures.
    names = [f"{'all' if shop.shared else uid}-{n}" for n in range(13 * 4 * 2)]
    if not shop.shared:
        rng.shuffle(names)  # otherwise all reach for the same picture at the same time
    caps = shop.caps(recipe, uid)
    run = replace(RUN, uid=uid, workspace=shop.workspace, recipe=f"recipe-{recipe}")
    provider = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    with open_database(path, create=False) as database:
        desk = Desk(Ledger(database), run)
        yield
        while names:
            reservation = desk.reserve(names[-1], amount=shop.ceiling, caps=caps)
            if may_change_by_waiting(reservation):
                os.sched_yield()
            elif isinstance(reservation, Reserved):
                desk.ledger.sent(reservation.attempt_id, who=uid, at=desk.at)
                if shop.declines and rng.random() < 0.3:
                    desk.release(reservation.attempt_id)
                    continue
                price = shop.price(names[-1])
                os.write(provider, f"{shop.workspace} {names.pop()} {price}\n".encode())
                desk.settle(reservation.attempt_id, price)
            elif isinstance(reservation, AlreadyBought) and shop.shared:
                names.pop()
            else:
                assert isinstance(reservation, Refusal), reservation
                assert reservation.settled_micros + reservation.asked_micros > reservation.cap_micros, reservation
                return
    raise AssertionError("every picture was bought before a cap refused")


# ---- many processes


def crowd(processes: int, work: Work) -> list[tuple[int, str]]:
    """Run `work(number)` in so many forked processes, all ready before one goes on. Who failed, and how.

    When one fails, the others are ended. The caller has no threads and no open database, so that a fork is a whole
    process: what is imported is shared.
    """
    ready, go = os.pipe(), os.pipe()
    children = [_forked(number, work, ready, go) for number in range(processes)]
    for end in (ready[1], go[0]):
        os.close(end)
    for _ in children:
        os.read(ready[0], 1)
    os.close(go[1])  # end of file for all of them at once
    os.close(ready[0])
    failed = []
    waiting = {pid: number for number, pid in enumerate(children)}
    while waiting:
        pid, status = os.wait()
        number = waiting.pop(pid)
        if status:
            failed.append((number, f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "an error"))
            for other in waiting:  # they may wait for money that nobody will free any more
                os.kill(other, signal.SIGKILL)
    return failed


def _forked(number: int, work: Work, ready: tuple[int, int], go: tuple[int, int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(STUCK_S)
        os.close(go[1])
        steps = work(number)
        next(steps)
        os.write(ready[1], b".")
        os.read(go[0], 1)
        next(steps, None)
    except BaseException:  # noqa: BLE001 - a forked process must not go on in its parent's code
        traceback.print_exc()
        with suppress(OSError):
            os.write(ready[1], b".")  # the others need not wait for it
        os._exit(1)
    os._exit(0)


def empty_ledger(folder: Path) -> Path:
    """An up-to-date ledger with nothing in it, to copy for each round."""
    path = folder / "empty" / "ledger.db"
    open_database(path, create=True).close()
    return path


def races(rounds: Sequence[int], seed: int) -> int:
    """Run these rounds of a seed, and say how it went; 0 when each cap was filled exactly."""
    began, bought, bad = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory() as name:
        template = empty_ledger(Path(name))
        for number in rounds:
            round_ = drawn(seed * 1_000_003 + number, CROWDS[number % len(CROWDS)])
            folder = Path(name) / f"round-{number}"
            folder.mkdir()
            wrong = race(template, folder, round_)
            bought += (folder / "book").read_text().count("\n")
            shutil.rmtree(folder)
            if wrong:
                bad += 1
                print(f"round {number}, {len(round_.buyers)} processes: NOT EXACT\n  {round_}", flush=True)
                print(*(f"  {line}" for line in wrong), sep="\n", flush=True)
    seconds = time.perf_counter() - began
    crowds = ", ".join(map(str, CROWDS))
    print(f"{len(rounds)} races of {crowds} processes in turn, seed {seed}: {bought} pictures bought")
    print(f"{len(rounds) - bad} filled each cap exactly, {bad} did not ({seconds:.0f} s)", flush=True)
    return 1 if bad else 0


# ---- fairness


@dataclass(frozen=True, slots=True)
class Share:
    """What one process got: its write transactions, its longest wait for the ledger, and how often it was busy."""

    transactions: int
    longest_ns: int
    busy: int


_SHARE = struct.Struct("qqq")


def shares(folder: Path, *, processes: int, gate: bool, enough: Callable[[int], bool]) -> list[Share]:
    """Let processes buy on one ledger until `enough(transactions of all)`; without `gate` only SQLite keeps order."""
    path = folder / "ledger.db"
    shutil.copyfile(empty_ledger(folder), path)
    told = mmap.mmap(-1, _SHARE.size * processes)

    def seen() -> list[Share]:
        return [Share(*_SHARE.unpack_from(told, _SHARE.size * n)) for n in range(processes)]

    def work(number: int) -> Iterator[None]:
        with open_database(path, create=False) as database:
            watch = _Watch()
            if not gate:
                vars(database)["_held_gate"] = lambda *_: nullcontext()
            desk = Desk(Ledger(database), replace(RUN, uid=f"run-{number}"))
            watch.over(database)
            yield
            bought = 0
            while not enough(sum(share.transactions for share in seen())):
                try:
                    reservation = desk.reserve(f"{number}-{bought}", caps=[Cap("workspace", "", "month", 10**15)])
                    if isinstance(reservation, Reserved):
                        desk.ledger.sent(reservation.attempt_id, who="ana", at=desk.at)
                        desk.settle(reservation.attempt_id)
                except LedgerError as error:
                    if "locked for" not in error.message and "held for" not in error.message:
                        raise
                    watch.busy += 1
                bought += 1
                _SHARE.pack_into(told, _SHARE.size * number, watch.transactions, watch.longest, watch.busy)

    failed = crowd(processes, work)
    assert not failed, failed
    return seen()


class _Watch:
    """Counts the write transactions of one process, and times how long each waited until it could begin."""

    def __init__(self) -> None:
        self.transactions = self.longest = self.busy = 0

    def over(self, database: Database) -> None:
        """Watch this one database."""
        inner = database.write_transaction

        @contextmanager
        def watched() -> Iterator[Connection]:
            asked = time.perf_counter_ns()
            with inner() as connection:
                self.longest = max(self.longest, time.perf_counter_ns() - asked)
                yield connection
            self.transactions += 1

        vars(database)["write_transaction"] = watched


def fairness(processes: int, seconds: int, *, gate: bool) -> int:
    """Let processes press on one ledger for so long, and say what each got; 1 when one was busy or starved."""
    with tempfile.TemporaryDirectory() as name:
        until = time.monotonic() + seconds
        found = shares(Path(name), processes=processes, gate=gate, enough=lambda _: time.monotonic() > until)
    counts = sorted(share.transactions for share in found)
    longest = max(share.longest_ns for share in found) / 1e9
    busy = sum(share.busy for share in found)
    print(f"{processes} processes for {seconds} s, {'with' if gate else 'WITHOUT'} the gate")
    print(f"transactions per process  {' '.join(map(str, counts))}")
    print(f"smallest / largest share  {counts[0]} / {counts[-1]} = {counts[0] / max(counts[-1], 1):.2f}")
    print(f"longest wait              {longest:.3f} s")
    print(f"busy errors               {busy}")
    print(f"transactions per second   {sum(counts) / seconds:.0f}", flush=True)
    return 1 if busy or longest >= 1 or counts[0] * 2 < counts[-1] else 0


def main() -> int:
    """Race, or show how the ledger is shared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="ROUND")
    parser.add_argument("--fairness", action="store_true")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--no-gate", action="store_true")
    options = parser.parse_args()
    if options.fairness:
        return fairness(options.processes, options.seconds, gate=not options.no_gate)
    return races(range(options.rounds) if options.only is None else [options.only], options.seed)


if __name__ == "__main__":
    sys.exit(main())
