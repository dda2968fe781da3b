"""Whether the ledger adds up, at the cost of what has changed since that was last seen.

When everything adds up, an entry of kind `checked` says so: up to which entry (`seen`), and what all entries of each
workspace make together (`sums`). From then on it is enough that

- what the entries of a workspace make, those sums and the entries since, is what its totals by day make, which the
  database keeps with every change of an attempt (migration 0008);
- the balance of every window is what those totals make for its span;
- each attempt that is open, or that an entry since then speaks of, is the sum of its entries, and every balance has in
  it the open attempts that are booked in it, no more and no less;
- the balance of each run and approval that such an attempt belongs to is the sum of its attempts.

When one of these does not hold, nothing is concluded from it: everything is added up again, and that decides. So no
balance that is not what its attempts cost goes unseen before money is reserved on it. What was done to rows of old
attempts that no balance depends on is for `omixa doctor` and `omixa audit verify`, which always read everything;
`verify` also proves what these entries say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text

from runner.ledger import balance_check
from runner.ledger.database import Database
from runner.ledger.tables import BUDGET_WINDOWS, ENTRIES, EVERYWHERE
from runner.trail.payload import decode, leaf_hash

# How many entries there are since the last time until it is written down again.
CHECKED_EVERY = 1000

Sums = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: what is wrong, in words, and the newest entry that was there.

    `due`: it is worth writing down that nothing is.
    """

    wrong: list[str]
    seen: int
    due: bool


@dataclass(frozen=True, slots=True)
class _Mark:
    """The newest entry of kind `checked`. `sums`: open and settled micro-units of each workspace up to it."""

    entry_id: int
    seen: int
    sums: Mapping[str, tuple[int, int]]


_NEWEST = text("SELECT coalesce(max(id), 0) FROM entries")
_MARK = (
    select(ENTRIES.c.id, ENTRIES.c.payload, ENTRIES.c.hash)
    .where(ENTRIES.c.workspace == EVERYWHERE, ENTRIES.c.kind == "checked")
    .order_by(ENTRIES.c.seq.desc())
    .limit(1)
)
_MADE_SINCE = text(
    "SELECT workspace, sum(open_micros), sum(settled_micros) FROM entries NOT INDEXED WHERE id > :entry "
    "GROUP BY workspace"
)
_OF_WORKSPACES = text("SELECT workspace, sum(open_micros), sum(settled_micros) FROM totals GROUP BY workspace")
# What the totals count in the window of a correction belongs, in balances, to the window of the reservation.
_BY_DAY = text(
    "SELECT workspace, recipe, day, sum(open_micros), sum(settled_micros) FROM ("
    "SELECT workspace, recipe, day, open_micros, settled_micros FROM totals UNION ALL "
    "SELECT workspace, recipe, day, -open_micros, -settled_micros FROM counted WHERE attempt_id IN "
    "(SELECT attempt_id FROM corrections) UNION ALL "
    "SELECT workspace, recipe, day, CASE WHEN live_key IS NULL THEN 0 ELSE reserved_micros END, "
    "ifnull(billed_micros, 0) FROM attempts WHERE id IN (SELECT attempt_id FROM corrections)) "
    "GROUP BY workspace, recipe, day"
)
_LIVE = "SELECT a.id FROM workspaces w CROSS JOIN attempts a ON a.workspace = w.name AND a.live_key > ''"
# By their numbers, not by an index that has all of them.
_TOUCHED = "SELECT attempt_id FROM entries NOT INDEXED WHERE id > :seen AND attempt_id IS NOT NULL UNION " + _LIVE  # noqa: S608
_OPEN = "CASE WHEN state IN ('reserved', 'sent', 'unknown') THEN reserved_micros ELSE 0 END"
_ATTEMPT_OFF = text(
    f"SELECT 1 FROM ({_TOUCHED}) t CROSS JOIN attempts a ON a.id = t.attempt_id WHERE "  # noqa: S608
    f"(SELECT coalesce(sum(open_micros), 0) FROM entries e WHERE e.attempt_id = a.id) <> {_OPEN} OR "
    "(SELECT coalesce(sum(settled_micros), 0) FROM entries e WHERE e.attempt_id = a.id) <> ifnull(billed_micros, 0) "
    "LIMIT 1"
)
_OPEN_BY_WINDOW = text(
    f"SELECT j.window_id, sum(a.reserved_micros) FROM ({_LIVE}) l CROSS JOIN attempts a ON a.id = l.id "  # noqa: S608
    "CROSS JOIN attempt_windows j ON j.attempt_id = a.id GROUP BY j.window_id"
)
_RUNS = f"SELECT DISTINCT run_id FROM attempts WHERE id IN ({_TOUCHED})"  # noqa: S608
_OF_RUNS = text(
    f"SELECT r.uid, sum({_OPEN}), sum(ifnull(a.billed_micros, 0)) FROM runs r "  # noqa: S608
    f"CROSS JOIN attempts a ON a.run_id = r.id WHERE r.id IN ({_RUNS}) GROUP BY r.uid"
)
_OF_APPROVALS = text(
    f"SELECT r.approval, sum({_OPEN}), sum(ifnull(a.billed_micros, 0)) FROM runs r "  # noqa: S608
    "CROSS JOIN attempts a ON a.run_id = r.id WHERE r.approval IN "
    f"(SELECT approval FROM runs WHERE approval IS NOT NULL AND id IN ({_RUNS})) GROUP BY r.approval"
)
_WINDOWS = select(
    *(BUDGET_WINDOWS.c[name] for name in ("id", "workspace", "scope", "name", "period", "label")),
    BUDGET_WINDOWS.c.open_micros,
    BUDGET_WINDOWS.c.settled_micros,
)


def check(database: Database) -> Checked:
    """Whether the ledger adds up. Raises LedgerError, and TypeError or ValueError for what no program writes."""
    with database.read() as connection:
        seen = int(connection.execute(_NEWEST).scalar_one())
        mark = _mark(connection)
        if mark is not None and _agrees(connection, mark):
            return Checked([], seen, seen - mark.entry_id >= CHECKED_EVERY)
        wrong = balance_check.wrong_balances(connection)
        return Checked(wrong, seen, not wrong and seen - (mark.entry_id if mark else 0) >= CHECKED_EVERY)


def sums(connection: Connection) -> Sums:
    """Open and settled micro-units that the entries of each workspace make, up to the newest."""
    mark = _mark(connection)
    before, entry_id = (mark.sums, mark.entry_id) if mark else ({}, 0)
    return _with(before, _sums(connection, _MADE_SINCE, entry=entry_id))


def _mark(connection: Connection) -> _Mark | None:
    row = connection.execute(_MARK).first()
    if row is None or leaf_hash(row.payload) != row.hash:
        return None
    facts = decode(row.payload).facts
    return _Mark(row.id, facts["seen"], {name: (made[0], made[1]) for name, made in facts["sums"].items()})


def _agrees(connection: Connection, mark: _Mark) -> bool:
    """Whether all that the module's docstring lists holds."""
    made = _with(mark.sums, _sums(connection, _MADE_SINCE, entry=mark.entry_id))
    if made != _with({}, _sums(connection, _OF_WORKSPACES)):
        return False
    if connection.execute(_ATTEMPT_OFF, {"seen": mark.seen}).first() is not None:
        return False
    spans = _by_span(connection)
    runs = {
        "run": _sums(connection, _OF_RUNS, seen=mark.seen),
        "approval": _sums(connection, _OF_APPROVALS, seen=mark.seen),
    }
    booked = {row[0]: row[1] for row in connection.execute(_OPEN_BY_WINDOW)}
    for row in connection.execute(_WINDOWS):
        has = row.open_micros, row.settled_micros
        if row.open_micros != booked.get(row.id, 0):
            return False
        if row.scope == "run":
            # What nothing has been booked in since is as it was then, or nobody can take anything from it.
            if has != runs[row.period].get(row.name, has):
                return False
        elif has != spans.get((row.workspace, row.scope, row.name, row.period, row.label), (0, 0)):
            return False
    return True


def _by_span(connection: Connection) -> dict[tuple[str, str, str, str, str], tuple[int, int]]:
    """What is open and settled in every window of the calendar, by its key."""
    found: dict[tuple[str, str, str, str, str], tuple[int, int]] = {}
    for workspace, recipe, day, opened, settled in connection.execute(_BY_DAY):
        for period, label in balance_check.labels(day):
            for key in ((workspace, "workspace", "", period, label), (workspace, "recipe", recipe, period, label)):
                before = found.get(key, (0, 0))
                found[key] = before[0] + opened, before[1] + settled
    return found


def _sums(connection: Connection, statement: Any, **names: int) -> Sums:
    return {name: (opened, settled) for name, opened, settled in connection.execute(statement, names)}


def _with(some: Mapping[str, tuple[int, int]], others: Mapping[str, tuple[int, int]]) -> Sums:
    """Both together, without those that come to nothing."""
    found = {}
    for name in {*some, *others}:
        (one, two), (three, four) = some.get(name, (0, 0)), others.get(name, (0, 0))
        if (one + three, two + four) != (0, 0):
            found[name] = one + three, two + four
    return found
