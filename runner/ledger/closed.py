"""Reading what is closed: reports as they were at the closing, corrections in the windows that were open then, and
whether every closing still is what was signed.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice, zip_longest
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, select

from runner import windows
from runner.errors import LedgerError
from runner.ledger import usage
from runner.ledger.database import Database
from runner.ledger.tables import (
    AGREED_VERDICTS,
    ATTEMPTS,
    BUDGET_WINDOWS,
    CLOSINGS,
    CORRECTIONS,
    LEDGER_STATE,
    LIVE_STATES,
    RECONCILED,
    WORKSPACES,
)
from runner.ledger.usage import Spent, UsageRow
from runner.trail import checkpoint
from runner.trail.checkpoint import Checkpoint, VerifierKey

SCHEMA = "omixa.closing/1"

# What a snapshot says of each row, of the window as a whole, and of a budget in it. A change of these needs another
# schema: older closings are checked against it.
SNAPSHOT = (
    *("attempt_id", "run_uid", "workspace", "currency", "recipe", "recipe_path", "git_commit", "git_dirty", "slot"),
    *("cost_centre", "labels", "who", "model", "preset", "prompt", "source_path", "output_path", "state"),
    *("reserved_micros", "billed_micros", "code", "day", "reserved_at", "ended_at", "has_picture", "again"),
    *("author", "approver", "reconciled", "before_state", "corrected_day"),
)
WHOLE = ("workspace", "currency", "first_day", "last_day", "period", "label", "zone", "at", "who", "program", "totals")
BUDGET = ("workspace", "currency", "recipe", "period", "label", "cap_micros", "settled_micros", "open_micros")


@dataclass(frozen=True, slots=True)
class Closing:
    """A window that is closed: `first_day` to `last_day` of the calendar of `zone`, both inside.

    `at` is the moment in UTC, as the ledger keeps it. `totals` are counts and micro-units; `budgets` the budget windows
    that ended in it, as they stood. `digest`: SHA-256 of the snapshot, in hex; `note`: the digest, signed.
    """

    workspace: str
    currency: str
    first_day: str
    last_day: str
    period: str
    label: str
    zone: str
    at: str
    who: str
    program: str
    totals: Mapping[str, int]
    budgets: tuple[Spent, ...]
    digest: str
    note: str

    @property
    def moment(self) -> datetime:
        """When it was closed: aware, UTC."""
        return datetime.fromisoformat(self.at).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Frame:
    """What is closed of a report: the closings that lie in its days or share some, and whether they are all of it."""

    closings: tuple[Closing, ...]
    is_whole: bool

    def made_by(self, program: str, now: datetime) -> tuple[str, datetime]:
        """Who made the report, and when: the closing, where all of it is closed."""
        if not self.is_whole or not self.closings:
            return program, now
        newest = max(self.closings, key=lambda one: (one.at, one.workspace))
        return newest.program, newest.moment


# ---- closings

_CLOSINGS = (
    select(CLOSINGS, WORKSPACES.c.currency)
    .join(WORKSPACES, WORKSPACES.c.name == CLOSINGS.c.workspace)
    .order_by(CLOSINGS.c.workspace, CLOSINGS.c.last_day)
)


def closings(database: Database, *, workspace: str | None = None) -> list[Closing]:
    """Every closing, by workspace, the oldest first."""
    with database.read() as connection:
        return closings_in(connection, workspace)


def closings_in(connection: Connection, workspace: str | None) -> list[Closing]:
    """The same inside a transaction."""
    query = _CLOSINGS if workspace is None else _CLOSINGS.where(CLOSINGS.c.workspace == workspace)
    return [of_row(row) for row in connection.execute(query)]


def of_row(row: Any) -> Closing:
    """A closing from its row, with the currency of its workspace."""
    told = {name: getattr(row, name) for name in (one.name for one in fields(Closing))}
    budgets = tuple(Spent(**one) for one in json.loads(row.budgets))
    return Closing(**{**told, "totals": json.loads(row.totals), "budgets": budgets})


def frame(database: Database, *, workspace: str | None, first_day: str | None, last_day: str | None) -> Frame:
    """What is closed of the days, both inside; None: no limit."""
    with database.read() as connection:
        found = [
            one
            for one in closings_in(connection, workspace)
            if (last_day is None or one.first_day <= last_day) and (first_day is None or one.last_day >= first_day)
        ]
        if last_day is None:
            return Frame(tuple(found), is_whole=False)
        ends: dict[str, str] = {}
        for one in closings_in(connection, workspace):
            ends[one.workspace] = one.last_day
        names = [workspace] if workspace is not None else _active(connection, first_day, last_day)
        return Frame(tuple(found), all(ends.get(name, "") >= last_day for name in names))


def _active(connection: Connection, first_day: str | None, last_day: str) -> list[str]:
    """The workspaces that have anything on these days."""
    found: list[str] = []
    for table in (ATTEMPTS, CORRECTIONS):
        inside = table.c.day <= last_day
        if first_day is not None:
            inside = and_(inside, table.c.day >= first_day)
        has = exists().where(table.c.workspace == WORKSPACES.c.name, inside)
        found += connection.execute(select(WORKSPACES.c.name).where(has)).scalars()
    for name in connection.execute(select(WORKSPACES.c.name)).scalars():
        if any(_shown(one, first_day, last_day) for one in budgets_of(connection, name)):
            found.append(name)
    return sorted(set(found))


# ---- rows: each window as it was at its closing, and what came later as corrections

_CHUNK = 500


def rows(
    database: Database, *, workspace: str | None = None, first_day: str | None = None, last_day: str | None = None
) -> Iterator[UsageRow]:
    """What reports are made of, streamed: attempts in the order they were reserved, then corrections in theirs.

    An attempt of a closed window is as it was at the closing, and each correction a row of its own, in the window that
    was open then; so the sum over all windows is the truth. Days are the workspace's own, both ends inside. Memory
    grows with the corrections alone.
    """
    with database.read() as connection:
        yield from rows_in(connection, workspace, first_day, last_day)


def rows_in(
    connection: Connection, workspace: str | None, first_day: str | None, last_day: str | None
) -> Iterator[UsageRow]:
    """The same inside a transaction."""
    before = {
        row.id: row
        for row in connection.execute(
            select(ATTEMPTS.c.id, CORRECTIONS.c.before_state, CORRECTIONS.c.before_code, CORRECTIONS.c.before_picture)
            .join(CORRECTIONS, and_(CORRECTIONS.c.attempt_id == ATTEMPTS.c.id, CORRECTIONS.c.number == 1))
            .where(*_inside(ATTEMPTS, workspace, first_day, last_day))
        )
    }
    for row in usage.rows_where(connection, *_inside(ATTEMPTS, workspace, first_day, last_day)):
        yield row if row.attempt_id not in before else _as_closed(row, before[row.attempt_id])
    yield from _corrections(connection, workspace, first_day, last_day)


def _inside(
    table: Any, workspace: str | None, first_day: str | None, last_day: str | None
) -> list[ColumnElement[bool]]:
    found = [] if workspace is None else [table.c.workspace == workspace]
    found += [] if first_day is None else [table.c.day >= first_day]
    return found + ([] if last_day is None else [table.c.day <= last_day])


def _as_closed(row: UsageRow, before: Any) -> UsageRow:
    """An attempt as it was when its window was closed: open."""
    return replace(
        row,
        state=before.before_state,
        billed_micros=None,
        code=before.before_code,
        ended_at=None,
        has_picture=bool(before.before_picture),
        again=False,
        reconciled=False,
    )


def _corrections(
    connection: Connection, workspace: str | None, first_day: str | None, last_day: str | None
) -> Iterator[UsageRow]:
    query = select(CORRECTIONS).where(*_inside(CORRECTIONS, workspace, first_day, last_day))
    ends = connection.execute(select(CLOSINGS)).all()
    found = iter(connection.execute(query.order_by(CORRECTIONS.c.entry_id)).all())
    while chunk := list(islice(found, _CHUNK)):
        wanted = {row.attempt_id for row in chunk}
        attempts = {row.attempt_id: row for row in usage.rows_where(connection, ATTEMPTS.c.id.in_(wanted))}
        agreed = _agreed(connection, wanted)
        for told in chunk:
            attempt = attempts[told.attempt_id]
            settled = told.state == "settled"
            yield replace(
                attempt,
                state=told.state,
                billed_micros=told.billed_micros,
                code=told.code,
                day=told.day,
                ended_at=None if told.state in LIVE_STATES else told.at,
                has_picture=settled and attempt.has_picture,
                again=settled and attempt.again,
                reconciled=settled and _in_time(agreed.get(told.attempt_id), told, ends),
                before_state=told.before_state,
                corrected_day=attempt.day,
            )


def _agreed(connection: Connection, attempts: Iterable[int]) -> dict[int, int]:
    """The entries that say of these attempts that a file of the provider bills just so."""
    query = select(RECONCILED.c.attempt_id, RECONCILED.c.entry_id).where(
        RECONCILED.c.attempt_id.in_(attempts), RECONCILED.c.verdict.in_(AGREED_VERDICTS)
    )
    return {row.attempt_id: row.entry_id for row in connection.execute(query)}


def _in_time(entry_id: int | None, correction: Any, ends: Sequence[Any]) -> bool:
    """Whether a file said so before the correction's own window was closed."""
    return entry_id is not None and not any(
        one.workspace == correction.workspace
        and one.first_day <= correction.day <= one.last_day
        and one.entry_id < entry_id
        for one in ends
    )


# ---- budgets

_BUDGETS = (
    select(BUDGET_WINDOWS, WORKSPACES.c.currency)
    .join(WORKSPACES, WORKSPACES.c.name == BUDGET_WINDOWS.c.workspace)
    .where(BUDGET_WINDOWS.c.scope != "run", BUDGET_WINDOWS.c.period != "total", BUDGET_WINDOWS.c.cap_micros > 0)
)


def budgets_of(connection: Connection, workspace: str) -> list[Spent]:
    """The budget windows of a workspace as they stand in the ledger now, without those of runs and without an end."""
    found = [
        Spent(
            row.workspace,
            row.currency,
            row.name if row.scope == "recipe" else None,
            row.period,
            row.label,
            row.cap_micros,
            row.settled_micros,
            row.open_micros,
        )
        for row in connection.execute(_BUDGETS.where(BUDGET_WINDOWS.c.workspace == workspace))
    ]
    return sorted(found, key=_budget_order)


def last_day_of(budget: Spent) -> str:
    """The last day of a budget's window."""
    return windows.labelled(budget.period, budget.label)[1].isoformat()  # type: ignore[arg-type]


def _budget_order(one: Spent) -> tuple[str, bool, str, str]:
    return one.workspace, one.recipe is not None, one.recipe or "", one.label


def _shown(budget: Spent, first_day: str | None, last_day: str | None) -> bool:
    """Whether a report of these days shows a budget, as `usage.spent` says."""
    first, last = (day.isoformat() for day in windows.labelled(budget.period, budget.label))  # type: ignore[arg-type]
    inside = (first_day is None or first_day <= first) and (last_day is None or last <= last_day)
    return (first, last) == (first_day, last_day) or (inside and budget.period in ("month", "quarter", "year"))


def spent(database: Database, closings: Iterable[Closing], **asked: Any) -> list[Spent]:
    """As `usage.spent`, but a budget window that ended in a closed one is as it stood at the closing.

    `closings`: those of the days that are `asked` for, or more.
    """
    kept = list(closings)
    ends: dict[str, str] = {}
    for one in kept:
        ends[one.workspace] = max(one.last_day, ends.get(one.workspace, ""))
    live = [
        one
        for one in usage.spent(database, **asked)
        if one.period == "total" or last_day_of(one) > ends.get(one.workspace, "")
    ]
    first, last = asked["first_day"], asked["last_day"]
    live += [budget for one in kept for budget in one.budgets if _shown(budget, first, last)]
    return sorted(live, key=_budget_order)


# ---- snapshots


def line_of(row: UsageRow) -> bytes:
    """One row of a snapshot: canonical JSON (keys sorted, no spaces, ASCII) and a line end."""
    told = {name: getattr(row, name) for name in SNAPSHOT}
    return _canonical({**told, "labels": dict(row.labels)})


def last_line(ledger: str, closing: Closing) -> bytes:
    """The last line of a snapshot: everything that is said of the window as a whole."""
    told = {name: getattr(closing, name) for name in WHOLE} | {"budgets": budgets_json(closing.budgets)}
    return _canonical({"schema": SCHEMA, "ledger": ledger, **told})


def budgets_json(budgets: Iterable[Spent]) -> list[dict[str, Any]]:
    """Budgets as a snapshot has them."""
    return [{name: getattr(one, name) for name in BUDGET} for one in budgets]


def _canonical(told: Mapping[str, Any]) -> bytes:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"{text}\n".encode("ascii")


def snapshot(database: Database, closing: Closing) -> Iterator[bytes]:
    """The lines of a closing's snapshot, made anew from what the ledger has now; their SHA-256 is its digest."""
    with database.read() as connection:
        for row in rows_in(connection, closing.workspace, closing.first_day, closing.last_day):
            yield line_of(row)
        ledger = connection.execute(select(LEDGER_STATE.c.uid)).scalar_one()
    yield last_line(ledger, closing)


def signed_as(ledger: str, closing: Closing) -> Checkpoint:
    """What is signed of a closing. Its origin is none of a chain, so that nobody takes one for the other."""
    name = f"omixa-closing/{ledger}/{closing.workspace}/{closing.label}"
    return Checkpoint(name, closing.totals["lines"], bytes.fromhex(closing.digest), closing.at)


def faults(database: Database, keys: Sequence[VerifierKey], of: Sequence[Closing] | None = None) -> list[str]:
    """Each closing whose snapshot is not what was signed, in words; empty when all are sound. `of`: only these.

    After a snapshot that differs comes the first row that is not what its entries say, with its column. Without keys
    no signature is checked. Raises LedgerError.
    """
    with database.read() as connection:
        ledger = connection.execute(select(LEDGER_STATE.c.uid)).scalar_one()
    found = []
    for closing in closings(database) if of is None else of:
        fault = _fault(database, ledger, closing, keys)
        if fault is not None:
            found.append(f"closing {closing.label} of {closing.workspace}: {fault}")
    if not found:
        return []
    from runner.ledger.verify import verify  # a report only reads closings

    return found + verify(database).faults


def _fault(database: Database, ledger: str, closing: Closing, keys: Sequence[VerifierKey]) -> str | None:
    made = sha256()
    for line in snapshot(database, closing):
        made.update(line)
    if made.hexdigest() != closing.digest:
        return f"its snapshot is {made.hexdigest()[:16]}… now, and {closing.digest[:16]}… was signed"
    if not keys:
        return None
    try:
        signed = checkpoint.verify(closing.note, keys)
    except LedgerError as error:
        return error.message
    expected = signed_as(ledger, closing)
    if signed != expected:
        return f"another snapshot was signed: {base64.b16encode(signed.root).decode().lower()[:16]}… of {signed.at}"
    return None


def corrected_on(database: Database, attempt_id: int) -> str | None:
    """The day of an attempt's newest correction; None: it has none."""
    query = select(CORRECTIONS.c.day).where(CORRECTIONS.c.attempt_id == attempt_id)
    with database.read() as connection:
        found = connection.execute(query.order_by(CORRECTIONS.c.number.desc()).limit(1))
        return found.scalar_one_or_none()


def open_in(database: Database, closing: Closing) -> list[int]:
    """The attempts of a closed window that have not ended yet."""
    which = {"workspace": closing.workspace, "first_day": closing.first_day, "last_day": closing.last_day}
    return [row.attempt_id for row in usage.rows(database, **which, states=LIVE_STATES)]


def first_difference(database: Database, closing: Closing, kept: Iterable[bytes]) -> str | None:
    """Where the ledger's snapshot of a closing differs from one that was kept elsewhere: row and column, in words."""
    for number, (ours, theirs) in enumerate(zip_longest(snapshot(database, closing), kept), start=1):
        if ours == theirs:
            continue
        try:
            before, now = (json.loads(line) if line else {} for line in (theirs, ours))
            name = next(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))
        except (ValueError, StopIteration, TypeError, AttributeError):
            return f"line {number}: it is no line of a snapshot"
        which = before.get("attempt_id", now.get("attempt_id"))
        what = "the window as a whole" if which is None else f"attempt {which}"
        return f"line {number}, {what}: `{name}` was {before.get(name)!r} and is {now.get(name)!r}"
    return None
