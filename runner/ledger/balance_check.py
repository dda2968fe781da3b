"""Whether a ledger is sound: its file, its tables, its runs, and every balance made anew. Changes nothing."""

import json
from collections.abc import Collection
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, or_, select, text

from runner import windows
from runner.ledger import chain, owners, totals, usage
from runner.ledger.database import Database
from runner.ledger.tables import ATTEMPT_WINDOWS, ATTEMPTS, BUDGET_WINDOWS, ENTRIES, LIVE_STATES, RUNS
from runner.money import exact

# How many faults SQLite looks for before it stops.
DAMAGE_MAX = 10

_OPEN = case((ATTEMPTS.c.state.in_(LIVE_STATES), ATTEMPTS.c.reserved_micros), else_=0)
_SETTLED = func.coalesce(ATTEMPTS.c.billed_micros, 0)


def damage(database: Database) -> list[str]:
    """What SQLite finds wrong with the file's pages and rows, or with what its rows refer to. Raises LedgerError."""
    with database.read() as connection:
        pages = connection.execute(text(f"PRAGMA quick_check({DAMAGE_MAX})")).scalars()
        found = [line for line in pages if line != "ok"]
        strays = connection.execute(text("PRAGMA foreign_key_check")).all()
        return found + [f"a row of {row[0]} refers to a row of {row[2]} that is missing" for row in strays[:DAMAGE_MAX]]


def latest_moment(database: Database) -> datetime | None:
    """The moment of the latest entry, which the ledger never goes back behind; None before the first."""
    with database.read() as connection:
        return chain.latest(connection)


def dead_runs(database: Database, folder: Path) -> list[str]:
    """The uids of runs that have not ended although their process is gone. `folder`: where the owners' locks are."""
    dead = {uid for _, uid in usage.open_runs(database) if not owners.is_held(folder, uid)}
    # Between the list and its lock a run may have ended in good order.
    return [uid for _, uid in usage.open_runs(database) if uid in dead]


def check_all(database: Database) -> list[str]:
    """What `check_balances` finds, and every total that reports read which is not the sum of its attempts."""
    with database.read() as connection:
        return wrong_balances(connection) + totals.wrong(connection)


def check_balances(database: Database) -> list[str]:
    """Every balance that is not the sum of its attempts, and every attempt that is not the sum of its entries.

    In words, with the amounts in the workspace's currency; empty when the ledger adds up. Raises LedgerError.
    """
    with database.read() as connection:
        return wrong_balances(connection)


def wrong_balances(connection: Connection, only: Collection[int] | None = None) -> list[str]:
    """The same, inside a transaction. `only`: the attempts to look at; None: all."""
    return windows_off(connection) + ([] if only is not None and not only else attempts_off(connection, only))


def windows_off(connection: Connection) -> list[str]:
    """Balances against the attempts that are booked in a window, and against those that belong there by their day."""
    window = BUDGET_WINDOWS.c
    query = (
        select(BUDGET_WINDOWS, func.coalesce(func.sum(_OPEN), 0), func.coalesce(func.sum(_SETTLED), 0))
        .outerjoin(ATTEMPT_WINDOWS, ATTEMPT_WINDOWS.c.window_id == window.id)
        .outerjoin(ATTEMPTS, ATTEMPTS.c.id == ATTEMPT_WINDOWS.c.attempt_id)
        .group_by(window.id)
        .order_by(window.id)
    )
    belonging = _sums_by_window(connection)
    wrong = []
    for row in connection.execute(query):
        has, booked = (row.open_micros, row.settled_micros), (row[-2], row[-1])
        belongs = belonging.get((row.workspace, row.scope, row.name, row.period, row.label), (0, 0))
        if not has == booked == belongs:
            made = booked if booked != has else belongs
            wrong.append(f"budget {_title(row)} has {_amounts(*has)}; its attempts make {_amounts(*made)}")
    return wrong


def _sums_by_window(connection: Connection) -> dict[tuple[str, str, str, str, str], tuple[int, int]]:
    """What is open and what is settled, for every window that an attempt's day, recipe and run could put it in."""
    query = (
        select(*_BELONG, func.sum(_OPEN), func.sum(_SETTLED))
        .join(RUNS, RUNS.c.id == ATTEMPTS.c.run_id)
        .group_by(*_BELONG)
    )
    sums: dict[tuple[str, str, str, str, str], tuple[int, int]] = {}
    for workspace, recipe, uid, approval, day, opened, settled in connection.execute(query):
        keys = [(workspace, "run", uid, "run", "run")]
        if approval is not None:
            keys.append((workspace, "run", approval, "approval", "approval"))
        for period, label in labels(day):
            keys += [(workspace, "workspace", "", period, label), (workspace, "recipe", recipe, period, label)]
        for key in keys:
            before = sums.get(key, (0, 0))
            sums[key] = (before[0] + opened, before[1] + settled)
    return sums


# What says which windows an attempt belongs to.
_BELONG = (ATTEMPTS.c.workspace, ATTEMPTS.c.recipe, RUNS.c.uid, RUNS.c.approval, ATTEMPTS.c.day)


@lru_cache
def labels(day: str) -> list[tuple[str, str]]:
    """Period and label of every window that holds a local day; labels are the same in every zone."""
    return [(period, windows.window(period, date.fromisoformat(day), "UTC").label) for period in windows.PERIODS]


def among(number: ColumnElement[int], only: Collection[int] | None) -> list[ColumnElement[bool]]:
    """The condition that a number is one of these, as one value for any number of them; none when that is None."""
    if only is None:
        return []
    return [number.in_(select(func.json_each(json.dumps(list(only))).table_valued("value").c.value))]


def attempts_off(connection: Connection, only: Collection[int] | None) -> list[str]:
    """Every attempt that is not the sum of its entries, in words. `only`: the attempts to look at; None: all."""
    added = select(
        ENTRIES.c.attempt_id,
        func.sum(ENTRIES.c.open_micros).label("open_sum"),
        func.sum(ENTRIES.c.settled_micros).label("settled_sum"),
    )
    sums = added.where(*among(ENTRIES.c.attempt_id, only)).group_by(ENTRIES.c.attempt_id).subquery()
    open_sum, settled_sum = func.coalesce(sums.c.open_sum, 0), func.coalesce(sums.c.settled_sum, 0)
    query = (
        select(
            ATTEMPTS.c.id,
            ATTEMPTS.c.state,
            _OPEN.label("open"),
            _SETTLED.label("settled"),
            open_sum.label("open_sum"),
            settled_sum.label("settled_sum"),
        )
        .outerjoin(sums, sums.c.attempt_id == ATTEMPTS.c.id)
        .where(or_(open_sum != _OPEN, settled_sum != _SETTLED), *among(ATTEMPTS.c.id, only))
        .order_by(ATTEMPTS.c.id)
    )
    return [
        f"attempt {row.id} is {row.state} with {_amounts(row.open, row.settled)}; its entries make "
        f"{_amounts(row.open_sum, row.settled_sum)}"
        for row in connection.execute(query)
    ]


def _title(window: Any) -> str:
    spans = {"run": "", "approval": "approval ", "total": "total "}
    span = spans.get(window.period, f"{window.period} {window.label} {window.zone} ")
    return f"{span}of {window.scope} {window.name or window.workspace}"


def _amounts(open_micros: int, settled_micros: int) -> str:
    return f"{exact(open_micros)} open and {exact(settled_micros)} settled"
