"""The balances: one row a budget window, taken from and freed in one place. Called inside a write transaction."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from hashlib import sha256

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    and_,
    bindparam,
    false,
    func,
    insert,
    or_,
    select,
    text,
)

from runner import windows
from runner.errors import LedgerError
from runner.ledger import standing
from runner.ledger.chain import Writing
from runner.ledger.database import driver_of, moment
from runner.ledger.prepared import Prepared
from runner.ledger.standing import WINDOW_KEY
from runner.ledger.tables import ATTEMPT_WINDOWS, ATTEMPTS, BUDGET_WINDOWS, LIVE_STATES
from runner.ledger.values import Cap, Refusal, RunFacts


@cache
def _take_statement(count: int) -> Prepared:
    """One conditional UPDATE over `count` windows, all of them or none; built once per count, not once per request."""
    terms = " OR ".join(f"(id = :id{n} AND open_micros + settled_micros + :amount <= :cap{n})" for n in range(count))
    numbers = ", ".join(f":id{n}" for n in range(count))
    return Prepared(
        f"UPDATE budget_windows SET open_micros = open_micros + :amount WHERE id IN ({numbers}) "  # noqa: S608 - no input
        f"AND (SELECT count(*) FROM budget_windows WHERE {terms}) = {count}"
    )


@cache
def _add_windows_statement(count: int) -> Prepared:
    rows = ", ".join(f"(:attempt, :id{n})" for n in range(count))
    return Prepared(f"INSERT INTO attempt_windows (attempt_id, window_id) VALUES {rows}")  # noqa: S608 - no input


_MOVING = (
    select(func.coalesce(func.sum(ATTEMPTS.c.reserved_micros), 0))
    .join(ATTEMPT_WINDOWS, ATTEMPT_WINDOWS.c.attempt_id == ATTEMPTS.c.id)
    .where(ATTEMPT_WINDOWS.c.window_id == bindparam("window"), ATTEMPTS.c.state.in_(("reserved", "sent")))
)
_FREE = Prepared(
    "UPDATE budget_windows SET open_micros = open_micros - :reserved, settled_micros = settled_micros + :billed "
    "WHERE id IN (SELECT window_id FROM attempt_windows WHERE attempt_id = :attempt)"
)


_REBUILD = text(
    "UPDATE budget_windows SET (open_micros, settled_micros) = (SELECT "
    "coalesce(sum(CASE WHEN a.state IN ('reserved', 'sent', 'unknown') THEN a.reserved_micros ELSE 0 END), 0), "
    "coalesce(sum(a.billed_micros), 0) FROM attempt_windows j JOIN attempts a ON a.id = j.attempt_id "
    "WHERE j.window_id = budget_windows.id)"
)


_OTHERS = select(BUDGET_WINDOWS.c.id, BUDGET_WINDOWS.c.period).where(
    BUDGET_WINDOWS.c.workspace == bindparam("workspace"),
    or_(
        BUDGET_WINDOWS.c.scope == "workspace",
        and_(BUDGET_WINDOWS.c.scope == "recipe", BUDGET_WINDOWS.c.name == bindparam("recipe")),
    ),
    BUDGET_WINDOWS.c.label.in_(bindparam("labels", expanding=True)),
)

_FIND = select(
    BUDGET_WINDOWS.c.id, BUDGET_WINDOWS.c.cap_micros, BUDGET_WINDOWS.c.open_micros, BUDGET_WINDOWS.c.settled_micros
).where(*(BUDGET_WINDOWS.c[name] == bindparam(name) for name in WINDOW_KEY))
_ONE = select(BUDGET_WINDOWS).where(BUDGET_WINDOWS.c.id == bindparam("window"))
_SET_CAP = text("UPDATE budget_windows SET cap_micros = :cap_micros, entry_id = :entry_id WHERE id = :window")
_SET_ENTRY = text("UPDATE budget_windows SET entry_id = :entry_id WHERE id = :window")
_ADD = insert(BUDGET_WINDOWS).returning(BUDGET_WINDOWS.c.id)
_LAST = select(func.coalesce(func.max(ATTEMPTS.c.id), 0))
_JOINED = (
    select(ATTEMPT_WINDOWS.c.attempt_id)
    .where(ATTEMPT_WINDOWS.c.window_id == bindparam("window"), ATTEMPT_WINDOWS.c.attempt_id <= bindparam("last"))
    .order_by(ATTEMPT_WINDOWS.c.attempt_id)
)

# The attempts that count in a window: what was billed and what is still open. A run's window is made before its first.
_OF_WORKSPACE = (
    ATTEMPTS.c.workspace == bindparam("workspace"),
    ATTEMPTS.c.state != "released",
    ATTEMPTS.c.day.between(bindparam("first_day"), bindparam("last_day")),
)
_INSIDE: Mapping[str, tuple[ColumnElement[bool], ...]] = {
    "workspace": _OF_WORKSPACE,
    "recipe": (*_OF_WORKSPACE, ATTEMPTS.c.recipe == bindparam("name")),
    "run": (false(),),
}
_SUMS = {
    scope: select(
        func.coalesce(func.sum(ATTEMPTS.c.reserved_micros).filter(ATTEMPTS.c.state.in_(LIVE_STATES)), 0),
        func.coalesce(func.sum(ATTEMPTS.c.billed_micros), 0),
    ).where(*inside)
    for scope, inside in _INSIDE.items()
}
_JOIN = {
    scope: insert(ATTEMPT_WINDOWS).from_select(
        ["attempt_id", "window_id"], select(ATTEMPTS.c.id, bindparam("window", type_=Integer)).where(*inside)
    )
    for scope, inside in _INSIDE.items()
}

# Stands in for the cap of a window that exists although nothing is declared for it now: all amounts are far below.
_NO_CAP = 2**62


class WindowRows:
    """Finds the row of a window, or makes it. Rows are never deleted, so their numbers are remembered."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str, str, str, str], int] = {}

    def all(
        self,
        writing: Writing,
        run: RunFacts,
        caps: Sequence[Cap],
        day: date,
        granted: Mapping[tuple[str, str], int],
    ) -> list[tuple[int, Cap]]:
        """Every window that a request falls under: those of the caps, and any other that was ever made for this span.

        So a window counts everything in its span, also while no cap is declared for it. `granted`: how much more each
        window (period, label) of the workspace may take now; the caps come back raised by it.
        """
        key = ("windows", run.workspace, run.recipe, run.zone, tuple(caps), day)
        held = writing.known(key, lambda: self._all(writing, run, caps, day))
        return [(id_, standing.raised(cap, granted, day, run.zone)) for id_, cap in held] if granted else held

    def _all(self, writing: Writing, run: RunFacts, caps: Sequence[Cap], day: date) -> list[tuple[int, Cap]]:
        held = [(self._find(writing, run, cap, day), cap) for cap in caps]
        known = {id_ for id_, _ in held}
        labels = [windows.window(period, day, run.zone).label for period in windows.PERIODS]
        others = writing.reader.execute(_OTHERS, {"workspace": run.workspace, "recipe": run.recipe, "labels": labels})
        return held + [(row.id, Cap("workspace", "", row.period, _NO_CAP)) for row in others if row.id not in known]

    def _find(self, writing: Writing, run: RunFacts, cap: Cap, day: date) -> int:
        """The row of a window, made at its first use from what was already spent in it."""
        window = None if cap.calendar is None else windows.window(cap.calendar, day, run.zone)
        key = (run.workspace, cap.scope, cap.name, cap.period, window.label if window else cap.period)
        if key in self._ids:
            return self._ids[key]
        names = dict(zip(WINDOW_KEY, key, strict=True))
        row = writing.reader.execute(_FIND, names).first()
        if row is None:
            ends_at = window.ends_at if window else None
            names["zone"] = run.zone
            # Not remembered yet: this transaction may still fail.
            return _add_window(writing, run.who, names, cap.cap_micros, window, moment(ends_at) if ends_at else None)
        if row.cap_micros != cap.cap_micros:
            facts = {"id": row.id, "cap_micros": cap.cap_micros, "before_micros": row.cap_micros}
            entry_id = writing.entry(run.workspace, "cap", run.who, facts)
            writing.connection.execute(_SET_CAP, {"cap_micros": cap.cap_micros, "entry_id": entry_id, "window": row.id})
        number = int(row.id)
        writing.then.append(lambda: self._ids.update({key: number}))
        return number


def latest_reservation(writing: Writing) -> datetime | None:
    """The moment of the latest reservation; None: there is none."""
    return writing.known("latest reservation", lambda: standing.latest_reservation(driver_of(writing.reader)))


def _add_window(
    writing: Writing,
    who: str,
    names: Mapping[str, str],
    cap: int,
    window: windows.Window | None,
    ends_at: str | None,
) -> int:
    """A new window. A cap declared in the middle of a month counts the whole month: earlier attempts join it."""
    connection = writing.connection
    scope = names["scope"]
    inside = _inside(names["workspace"], scope, names["name"], window)
    open_micros, settled_micros = connection.execute(_SUMS[scope], inside).one()
    values = {**names, "cap_micros": cap, "ends_at": ends_at}
    sums = {"open_micros": open_micros, "settled_micros": settled_micros}
    id_ = int(connection.execute(_ADD, {**values, **sums, "entry_id": 0}).scalar_one())
    connection.execute(_JOIN[scope], {**inside, "window": id_})
    last = connection.execute(_LAST).scalar_one()
    facts = {"id": id_, **values, "joined_to": last, "joined": joined_digest(connection, id_, last)}
    entry_id = writing.entry(names["workspace"], "window", who, facts)
    connection.execute(_SET_ENTRY, {"entry_id": entry_id, "window": id_})
    return id_


def joined_digest(connection: Connection, window_id: int, last: int) -> str:
    """A digest of the attempts, up to number `last`, that joined a window when it was made."""
    found = sha256()
    for number in connection.execute(_JOINED, {"window": window_id, "last": last}).scalars():
        found.update(f"{number},".encode())  # whatever stands there: `%d` takes 3.5 for 3
    return found.hexdigest()


def _inside(workspace: str, scope: str, name: str, window: windows.Window | None) -> dict[str, str]:
    """What the statements about the attempts of a window ask for, and nothing else."""
    if scope == "run":
        return {}
    found = standing.inside(workspace, name, window)
    return found if scope == "recipe" else {key: value for key, value in found.items() if key != "name"}


def take(writing: Writing, held: Sequence[tuple[int, Cap]], amount: int) -> bool:
    """Take the amount from every window, or from none."""
    values: dict[str, int] = {"amount": amount}
    for n, (id_, cap) in enumerate(held):
        values[f"id{n}"], values[f"cap{n}"] = id_, cap.cap_micros
    taken: int = writing.run(_take_statement(len(held)), values).rowcount
    if taken not in (0, len(held)):
        raise LedgerError(
            f"{taken} of {len(held)} budgets were changed; nothing was booked", "`omixa doctor` checks it"
        )
    return taken == len(held)


def join(writing: Writing, attempt_id: int, held: Sequence[tuple[int, Cap]]) -> None:
    """Note in which windows an attempt is reserved."""
    values = {"attempt": attempt_id} | {f"id{n}": id_ for n, (id_, _) in enumerate(held)}
    writing.run(_add_windows_statement(len(held)), values)


def refusal(connection: Connection, held: Sequence[tuple[int, Cap]], amount: int, day: date) -> Refusal:
    """Which window refuses; one that stays shut whatever is in flight comes first."""
    found: list[Refusal] = []
    for id_, cap in held:
        row = connection.execute(_ONE, {"window": id_}).one()
        taken = row.settled_micros + row.open_micros + amount
        if taken <= cap.cap_micros:
            continue
        moving = connection.execute(_MOVING, {"window": id_}).scalar_one()
        found.append(
            Refusal(
                budget=cap.title(row.workspace, row.zone, day),
                zone=row.zone,
                ends_at=row.ends_at,
                cap_micros=cap.cap_micros,
                settled_micros=row.settled_micros,
                open_micros=row.open_micros,
                asked_micros=amount,
                may_free=taken - moving <= cap.cap_micros,
            )
        )
    assert found, "a conditional UPDATE that fell short names at least one window"
    return min(found, key=lambda refusal: refusal.may_free)


def rebuild(connection: Connection) -> None:
    """Make every balance anew: the sum of the attempts that are booked in its window."""
    connection.execute(_REBUILD)


def free(writing: Writing, attempt_id: int, *, reserved: int, billed: int) -> None:
    """Move an attempt's money out of what is open, and what was billed into what is settled, in all its windows."""
    writing.run(_FREE, {"attempt": attempt_id, "reserved": reserved, "billed": billed})
