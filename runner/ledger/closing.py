"""Closing a window: its snapshot is signed and becomes a record; from then on the database refuses every change in it.

Windows close in order and once each; none is ever opened again, since somebody may have been given its figures.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, func, select, text

from runner import windows
from runner.errors import FrozenError, UsageError
from runner.ledger import clocks, closed, records, standing
from runner.ledger.chain import Writing
from runner.ledger.closed import Closing
from runner.ledger.database import driver_of, moment
from runner.ledger.office import Office
from runner.ledger.tables import ATTEMPTS, CLOSINGS, ENTRIES, RUNS, WORKSPACES
from runner.ledger.usage import UsageRow
from runner.windows import Period, Window

if TYPE_CHECKING:
    from hashlib import _Hash

    from runner.trail.checkpoint import Checkpoint

# How many attempts a message names.
_NAMED_MAX = 10

_NEWEST = select(func.coalesce(func.max(ENTRIES.c.id), 0))
_CURRENCY = select(WORKSPACES.c.currency).where(WORKSPACES.c.name == bindparam("workspace"))
# An entry about an attempt, or a correction, of the days since the snapshot was read.
_TOUCHED = text(
    "SELECT EXISTS (SELECT 1 FROM entries e LEFT JOIN attempts a ON a.id = e.attempt_id WHERE e.id > :seen "
    "AND e.workspace = :workspace AND (a.day BETWEEN :first AND :last OR e.kind IN ('correction', 'reconcile')))"
)
_OLDEST_OPEN = text(
    "SELECT min(day) FROM (SELECT day FROM attempts WHERE workspace = :workspace AND day > :after AND day < :first "
    "UNION ALL SELECT day FROM corrections WHERE workspace = :workspace AND day > :after AND day < :first)"
)
_MOVING = (
    select(ATTEMPTS.c.id, RUNS.c.uid)
    .join(RUNS, RUNS.c.id == ATTEMPTS.c.run_id)
    .where(
        ATTEMPTS.c.workspace == bindparam("workspace"),
        ATTEMPTS.c.day.between(bindparam("first"), bindparam("last")),
        ATTEMPTS.c.state.in_(("reserved", "sent")),
    )
    .order_by(ATTEMPTS.c.id)
)


@dataclass(slots=True)
class Read:
    """The rows of a window, read before the write transaction: their hash so far, their sums, and the newest entry."""

    seen: int
    made: "_Hash"
    totals: dict[str, int]


class Closer(Office):
    """Closes windows. Safe to share between threads, as the ledger is."""

    def read(self, workspace: str, window: Window) -> Read:
        """Add up and hash a window's rows. It may take a while, and nobody waits for it."""
        with self.database.read() as connection:
            return _read(connection, workspace, *_days(window))

    def check(self, spans: Mapping[str, Window], *, at: datetime, is_living: Callable[[str], bool]) -> None:
        """See that these windows, by workspace, can be closed now or are. Raises as `close`, with all that is wrong."""
        up, wrong = self._uptime(), []
        with self.database.read() as connection:
            now = clocks.believed(clocks.state(connection), at, up)
            for workspace, window in spans.items():
                if _found(connection, workspace, window) is None:
                    try:
                        _refuse(connection, workspace, window, now, is_living)
                    except UsageError as error:
                        wrong.append(error)
        if wrong:
            raise UsageError("; ".join(dict.fromkeys(error.message for error in wrong)), wrong[0].hint)

    def close(
        self,
        workspace: str,
        window: Window,
        read: Read,
        *,
        program: str,
        who: str,
        at: datetime,
        sign: "Callable[[Checkpoint], str]",
        is_living: Callable[[str], bool],
    ) -> tuple[Closing, bool]:
        """Close a window of a workspace for good, in one transaction; with whether this call did, or it was closed.

        `sign` makes a signed note; `is_living` says of a run's uid whether its process lives. Raises UsageError when
        the window cannot be closed yet, and FrozenError.
        """
        first, last = _days(window)
        up = self._uptime()
        with self._write(at) as writing:
            connection = writing.connection
            found = _found(connection, workspace, window)
            if found is not None:
                return found, False
            _refuse(connection, workspace, window, clocks.believed(clocks.state(connection), at, up), is_living)
            names = {"seen": read.seen, "workspace": workspace, "first": first, "last": last}
            if connection.execute(_TOUCHED, names).scalar_one():
                read = _read(connection, workspace, first, last)
            return _write(writing, workspace, window, read, program=program, who=who, sign=sign), True


def window_of(label: str, zone: str) -> Window:
    """The window of a label such as `2026-10`, `2026-Q3` or `2026`. Raises UsageError for what is none."""
    for period in _CLOSABLE:
        try:
            first, _ = windows.labelled(period, label)
        except ValueError:
            continue
        return windows.window(period, first, zone)
    raise UsageError(f"`{label}` is no window", "write a month, a quarter or a year: 2026-10, 2026-Q3, 2026")


_CLOSABLE: tuple[Period, ...] = ("month", "quarter", "year")


def _days(window: Window) -> tuple[str, str]:
    assert window.first_day is not None
    assert window.last_day is not None
    return window.first_day.isoformat(), window.last_day.isoformat()


def _found(connection: Connection, workspace: str, window: Window) -> Closing | None:
    """The closing of just this window; None: there is none."""
    found = closed.closings_in(connection, workspace)
    return next((one for one in found if (one.first_day, one.last_day) == _days(window)), None)


def _read(connection: Connection, workspace: str, first: str, last: str) -> Read:
    names = ("lines", "attempts", "settled", "released", "open", "corrections", "settled_micros", "open_micros")
    found = Read(connection.execute(_NEWEST).scalar_one(), sha256(), dict.fromkeys(names, 0))
    for row in closed.rows_in(connection, workspace, first, last):
        found.made.update(closed.line_of(row))
        _count(found.totals, row)
    return found


def _count(totals: dict[str, int], row: UsageRow) -> None:
    """Add a row. A correction moves an attempt from open to its end, and is none of its own."""
    totals["lines"] += 1
    totals[row.state if row.state in ("settled", "released") else "open"] += 1
    if row.before_state is None:
        totals["attempts"] += 1
    else:
        totals["corrections"] += 1
        totals["open"] -= 1
    totals["settled_micros"] += row.billed_micros or 0
    totals["open_micros"] += row.open_micros


def _refuse(
    connection: Connection, workspace: str, window: Window, now: datetime, is_living: Callable[[str], bool]
) -> None:
    """Raises UsageError, or FrozenError, when the window cannot be closed at this moment."""
    state = clocks.state(connection)
    if state.frozen_reason is not None:
        raise FrozenError(
            f"the ledger is frozen: {state.frozen_reason}", "`omixa audit verify` names the first bad row"
        )
    if connection.execute(_CURRENCY, {"workspace": workspace}).scalar_one_or_none() is None:
        raise UsageError(f"workspace {workspace} has nothing in the ledger that could be closed")
    whose, (first, last) = f"of workspace {workspace}", _days(window)
    if state.clock_doubt is not None:
        raise UsageError(
            f"the clock is not believed: {state.clock_doubt}",
            'look at it, then: omixa doctor --confirm-clock --note "…"',
        )
    ends_at = window.ends_at
    assert ends_at is not None
    if ends_at > standing.moment_of(driver_of(connection), now):
        raise UsageError(
            f"{window} {whose} is not over: it ends at {windows.local_text(ends_at, window.zone)}", "close it then"
        )
    after = standing.closed_to(driver_of(connection), workspace) or ""
    if after >= first:
        raise UsageError(
            f"workspace {workspace} is closed up to {after} already, and {window} begins before that",
            "close what comes after it; `omixa close --list` shows what is closed",
        )
    names = {"workspace": workspace, "after": after, "first": first, "last": last}
    oldest = connection.execute(_OLDEST_OPEN, names).scalar_one()
    if oldest is not None:
        raise UsageError(
            f"{whose} there is something on {oldest}, before {window}, that is not closed",
            f"windows close in order: omixa close {oldest[:7]}",
        )
    living = [str(row.id) for row in connection.execute(_MOVING, names) if is_living(row.uid)]
    if living:
        more = f" and {len(living) - _NAMED_MAX} more" if len(living) > _NAMED_MAX else ""
        raise UsageError(
            f"in {window} {whose} requests are under way: attempt {', '.join(living[:_NAMED_MAX])}{more}",
            "wait until their run has ended",
        )


def _write(
    writing: Writing,
    workspace: str,
    window: Window,
    read: Read,
    *,
    program: str,
    who: str,
    sign: "Callable[[Checkpoint], str]",
) -> Closing:
    connection = writing.connection
    first, last = _days(window)
    after = standing.closed_to(driver_of(connection), workspace) or ""
    budgets = [one for one in closed.budgets_of(connection, workspace) if after < closed.last_day_of(one) <= last]
    closing = Closing(
        workspace=workspace,
        currency=connection.execute(_CURRENCY, {"workspace": workspace}).scalar_one(),
        first_day=first,
        last_day=last,
        period=window.period,
        label=window.label,
        zone=window.zone,
        at=moment(writing.now),
        who=who,
        program=program,
        totals={**read.totals, "lines": read.totals["lines"] + 1},
        budgets=tuple(budgets),
        digest="",
        note="",
    )
    ledger = writing.identity.uid
    made = read.made.copy()
    made.update(closed.last_line(ledger, closing))
    closing = replace(closing, digest=made.hexdigest())
    closing = replace(closing, note=sign(closed.signed_as(ledger, closing)))
    row: dict[str, Any] = {name: value for name, value in asdict(closing).items() if name != "currency"}
    row |= {"totals": _json(row["totals"]), "budgets": _json(closed.budgets_json(closing.budgets))}
    records.put(writing, CLOSINGS, row, chain=workspace, kind="closing", who=who)
    return closing


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
