"""A real ledger file, a run in it, and short words for what the tests do with it."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from runner.ledger.database import open_database
from runner.ledger.ledger import Ledger
from runner.ledger.together import together
from runner.ledger.values import Asked, Cap, Reservation, Reserved, RunFacts
from runner.plan import digest

LIMIT_S = 60
Call = Callable[[], Any]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

RUN = RunFacts(
    uid="run-1",
    workspace="studio",
    currency="USD",
    zone="Europe/Berlin",
    recipe="posters",
    recipe_path="recipes/posters.toml",
    recipe_digest="d" * 64,
    git_commit=None,
    git_dirty=None,
    cost_centre="4711",
    labels={"client": "acme"},
    who="ana@desk",
    program="omixa-runner test",
)
# A bill of zero, long ago: it raises no ceiling.
SEEN = text(
    "INSERT INTO prices (workspace, model, settled_count, highest_micros) VALUES (:workspace, :model, 1, 0) "
    "ON CONFLICT DO NOTHING"
)
MONTH = Cap("workspace", "", "month", 1_000_000)


def asked(key: str, **changes: object) -> Asked:
    """A request for the item `key`."""
    plain = Asked(
        model="stability-upscale-creative",
        item_key=key,
        source_path=f"pictures/{key}.png",
        source_digest=key * 4,
        source_bytes=100,
        prompt_name="restore",
        prompt="restore it",
        prompt_digest=digest("restore it"),
        negative=None,
        negative_digest=None,
        preset_name="photo",
        options='{"output_format": "png"}',
        output_path=f"out/{key}.png",
    )
    return replace(plain, **changes)


def no_uptime() -> None:
    """A system that does not tell how long it is up: tests move the calendar as they like."""


class Desk:
    """One ledger, one run, and a clock that only the test moves."""

    def __init__(self, ledger: Ledger, run: RunFacts = RUN, *, seen: bool = True) -> None:
        """`seen`: the model's price was seen before, so that several requests may be in flight."""
        self.ledger = ledger
        self.run = run
        self.at = NOON
        self.run_id = ledger.begin_run(run, at=self.at)
        if seen:
            with ledger.database.write_transaction() as connection:
                connection.execute(SEEN, {"workspace": run.workspace, "model": "stability-upscale-creative"})

    def pass_time(self, **units: int) -> None:
        self.at += timedelta(**units)

    def reserve(
        self, key: str, *, amount: int = 39_000, caps: Sequence[Cap] = (MONTH,), again: bool = False
    ) -> Reservation:
        return self.ledger.reserve(
            self.run_id, self.run, asked(key), amount_micros=amount, caps=caps, at=self.at, again=again
        )

    def send(self, key: str, *, amount: int = 39_000, caps: Sequence[Cap] = (MONTH,), again: bool = False) -> int:
        reservation = self.reserve(key, amount=amount, caps=caps, again=again)
        assert isinstance(reservation, Reserved), reservation
        self.ledger.sent(reservation.attempt_id, who="ana", at=self.at)
        return reservation.attempt_id

    def settle(self, attempt_id: int, billed: int = 39_000) -> bool:
        return self.ledger.settle(
            attempt_id,
            billed_micros=billed,
            billed_text=None,
            code="billed",
            message=None,
            evidence=None,
            result=None,
            who="ana",
            at=self.at,
        )

    def release(self, attempt_id: int) -> None:
        self.ledger.release(attempt_id, code="declined", message="no", evidence=None, who="ana", at=self.at)

    def lose(self, attempt_id: int) -> None:
        self.ledger.unknown(
            attempt_id, code="no-answer", message="gone", evidence=None, result=None, who="ana", at=self.at
        )

    def buy(self, key: str, *, billed: int = 39_000, amount: int = 39_000, caps: Sequence[Cap] = (MONTH,)) -> int:
        attempt_id = self.send(key, amount=amount, caps=caps)
        self.settle(attempt_id, billed)
        return attempt_id

    def balance(self, cap: Cap = MONTH) -> tuple[int, int]:
        """Open and settled micro-units of the window of `cap` that holds the moment now."""
        from runner.ledger import known

        window = known.headrooms(
            self.ledger.database, workspace=self.run.workspace, zone=self.run.zone, caps=[cap], at=self.at
        )[0]
        return window.open_micros, window.settled_micros


@contextmanager
def in_line(desk: Desk, calls: Sequence[Call]) -> Iterator[list[Any]]:
    """Inside, each call waits in a thread of its own, in this order, because the ledger is held; afterwards the list
    has what each returned or raised."""
    database, ends = desk.ledger.database, [None] * len(calls)

    def run(number: int, call: Call) -> None:
        try:
            ends[number] = call()
        except BaseException as error:  # noqa: BLE001 - compared by the test
            ends[number] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    with database.write_transaction():
        for waiting, thread in enumerate(threads):
            thread.start()
            until(lambda waiting=waiting: together(database)._led and len(together(database)._queue) == waiting)
        yield ends
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    """Look again and again, for a while."""
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end
        os.sched_yield()


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "ledger.db"


@pytest.fixture
def open_ledger(ledger_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens the same file again, as another process would."""
    opened = []

    def open_one() -> Ledger:
        database = open_database(ledger_path, create=True)
        opened.append(database)
        return Ledger(database, uptime=no_uptime)

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def desk(open_ledger: Callable[[], Ledger]) -> Desk:
    return Desk(open_ledger())
