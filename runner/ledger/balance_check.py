"""Whether a ledger is sound: its file, its tables, its runs, and every balance made anew. Changes nothing."""

import os
from datetime import datetime
from pathlib import Path

from sqlalchemy import case, func, or_, select, text

from runner.ledger import owners, usage
from runner.ledger.database import Database, _revision
from runner.ledger.tables import ATTEMPT_WINDOWS, ATTEMPTS, BUDGET_WINDOWS, ENTRIES, LIVE_STATES
from runner.money import exact

# How many faults SQLite looks for before it stops.
DAMAGE_MAX = 10

_OPEN = case((ATTEMPTS.c.state.in_(LIVE_STATES), ATTEMPTS.c.reserved_micros), else_=0)
_SETTLED = func.coalesce(ATTEMPTS.c.billed_micros, 0)


def revision(database: Database) -> str | None:
    """The migration that the ledger has reached; None when it has no tables yet. Raises LedgerError."""
    return _revision(database)


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
        found = connection.execute(select(ENTRIES.c.at).order_by(ENTRIES.c.id.desc()).limit(1)).scalar_one_or_none()
        return None if found is None else datetime.fromisoformat(found)


def dead_runs(database: Database, folder: Path) -> list[str]:
    """The uids of runs that have not ended although their process is gone. `folder`: where the owners' locks are."""
    dead = set()
    for _, uid in usage.open_runs(database):
        owner = owners.claim(folder, uid)
        if owner is not None:
            os.close(owner._file)  # not `let_go`, which removes the lock: whoever recovers the run does that
            dead.add(uid)
    # Between the list and its lock a run may have ended in good order.
    return [uid for _, uid in usage.open_runs(database) if uid in dead]


def check_balances(database: Database) -> list[str]:
    """Every balance that is not the sum of its attempts, and every attempt that is not the sum of its entries.

    In words, with the amounts in the workspace's currency; empty when the ledger adds up. Raises LedgerError.
    """
    return _windows_off(database) + _attempts_off(database)


def _windows_off(database: Database) -> list[str]:
    window = BUDGET_WINDOWS.c
    opened, settled = func.coalesce(func.sum(_OPEN), 0), func.coalesce(func.sum(_SETTLED), 0)
    query = (
        select(BUDGET_WINDOWS, opened.label("open_sum"), settled.label("settled_sum"))
        .outerjoin(ATTEMPT_WINDOWS, ATTEMPT_WINDOWS.c.window_id == window.id)
        .outerjoin(ATTEMPTS, ATTEMPTS.c.id == ATTEMPT_WINDOWS.c.attempt_id)
        .group_by(window.id)
        .having(or_(window.open_micros != opened, window.settled_micros != settled))
        .order_by(window.id)
    )
    with database.read() as connection:
        return [
            f"budget {row.period} {row.label} {row.zone} of {row.scope} {row.name or row.workspace} has "
            f"{_amounts(row.open_micros, row.settled_micros)}; its attempts make "
            f"{_amounts(row.open_sum, row.settled_sum)}"
            for row in connection.execute(query)
        ]


def _attempts_off(database: Database) -> list[str]:
    sums = (
        select(
            ENTRIES.c.attempt_id,
            func.sum(ENTRIES.c.open_micros).label("open_sum"),
            func.sum(ENTRIES.c.settled_micros).label("settled_sum"),
        )
        .group_by(ENTRIES.c.attempt_id)
        .subquery()
    )
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
        .where(or_(open_sum != _OPEN, settled_sum != _SETTLED))
        .order_by(ATTEMPTS.c.id)
    )
    with database.read() as connection:
        return [
            f"attempt {row.id} is {row.state} with {_amounts(row.open, row.settled)}; its entries make "
            f"{_amounts(row.open_sum, row.settled_sum)}"
            for row in connection.execute(query)
        ]


def _amounts(open_micros: int, settled_micros: int) -> str:
    return f"{exact(open_micros)} open and {exact(settled_micros)} settled"
