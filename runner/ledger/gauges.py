"""What a monitor wants to know of the ledger at a moment: money by window, attempts, slots, what is unknown.

Whole numbers only. A second look reads only what is new since the first, however large the ledger is.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, func, literal, select

from runner import windows
from runner.ledger import standing
from runner.ledger.database import Database, driver_of
from runner.ledger.tables import ATTEMPTS, BUDGET_WINDOWS, LIVE_STATES, OPEN_SLOT_STATES, SLOTS, WORKSPACES
from runner.ledger.values import Cap

_CHUNK = 500
_SECOND = timedelta(seconds=1)

_CURRENCIES = select(WORKSPACES.c.name, WORKSPACES.c.currency).order_by(WORKSPACES.c.name)
_RECORDED = select(BUDGET_WINDOWS).where(BUDGET_WINDOWS.c.scope != "run").order_by(BUDGET_WINDOWS.c.id)


@dataclass(frozen=True, slots=True)
class Account:
    """A workspace by its name in the ledger, its zone, and the caps now declared for it and for its recipes."""

    workspace: str
    zone: str
    caps: Sequence[Cap]


@dataclass(frozen=True, slots=True)
class WindowGauge:
    """The window of a cap that holds the moment. Micro-units of `unit`; `recipe` is empty for the workspace's own.

    `cap_micros`: with what is granted.
    """

    workspace: str
    scope: str
    recipe: str
    period: str
    unit: str
    cap_micros: int
    settled_micros: int
    open_micros: int

    @property
    def headroom_micros(self) -> int:
        """cap − settled − open. Negative after a cap was lowered or a bill broke it."""
        return self.cap_micros - self.settled_micros - self.open_micros


@dataclass(frozen=True, slots=True)
class Gauges:
    """One look at a ledger. What has ended only grows in number; what is open comes and goes.

    `units`: the currency of each workspace. `billed_micros`: by workspace, all that was ever billed. `attempts_…`: by
    workspace, state and code (empty: none). `slots_…`: by workspace, recipe and state. `unknown_oldest_s`: by
    workspace, whole seconds since the oldest attempt that is unknown now was sent; 0: none is.
    """

    windows: tuple[WindowGauge, ...]
    units: Mapping[str, str]
    billed_micros: Mapping[str, int]
    attempts_ended: Mapping[tuple[str, str, str], int]
    attempts_open: Mapping[tuple[str, str, str], int]
    slots_ended: Mapping[tuple[str, str, str], int]
    slots_open: Mapping[tuple[str, str, str], int]
    queue_length: int
    unknown_oldest_s: Mapping[str, int]


class Looks:
    """Looks at one ledger again and again, and remembers what it has counted. Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._attempts = _Counted(_ATTEMPTS)
        self._slots = _Counted(_SLOTS)

    def look(self, at: datetime, accounts: Sequence[Account] | None = None) -> Gauges:
        """What is so at `at` (aware), in one consistent view. Raises LedgerError.

        `accounts`: whose windows are told, by the caps that are declared now. None: by the caps that money was last
        reserved under.
        """
        with self._lock, self._database.read() as connection:
            units = {row.name: row.currency for row in connection.execute(_CURRENCIES)}
            told = _recorded(connection) if accounts is None else accounts
            held = tuple(window for account in told for window in _windows(connection, account, units, at))
            attempts, slots = self._attempts.look(connection), self._slots.look(connection)
            slots_open = Counter(_key(row) for row in slots)
            return Gauges(
                windows=held,
                units=units,
                billed_micros={name: self._attempts.micros[name] for name in units},
                attempts_ended=dict(self._attempts.ended),
                attempts_open=dict(Counter(_key(row) for row in attempts)),
                slots_ended=dict(self._slots.ended),
                slots_open=dict(slots_open),
                queue_length=sum(count for (_, _, state), count in slots_open.items() if state == "waiting"),
                unknown_oldest_s=dict.fromkeys(units, 0) | _oldest(attempts, at),
            )


def read(database: Database, at: datetime, accounts: Sequence[Account] | None = None) -> Gauges:
    """One look, as `Looks.look`, which reads every attempt and slot of the ledger."""
    return Looks(database).look(at, accounts)


# ---- money


def _recorded(connection: Connection) -> list[Account]:
    """Every workspace with the caps and the zone that were last recorded; caps that were given up since, too."""
    zones: dict[str, str] = {}
    caps: dict[str, dict[tuple[str, str, str], Cap]] = {}
    for row in connection.execute(_RECORDED):
        zones[row.workspace] = row.zone
        cap = Cap(row.scope, row.name, row.period, row.cap_micros)
        caps.setdefault(row.workspace, {})[cap.scope, cap.name, cap.period] = cap
    return [Account(name, zones[name], list(caps[name].values())) for name in sorted(caps)]


def _windows(connection: Connection, account: Account, units: Mapping[str, str], at: datetime) -> Iterator[WindowGauge]:
    """The windows that hold the moment; a run's own ends with the run. Each is told once, however often it is asked."""
    raw = driver_of(connection)
    day = windows.local_day(standing.moment_of(raw, at), account.zone)
    granted = standing.granted(raw, account.workspace, at)
    for cap in {(cap.scope, cap.name, cap.period): cap for cap in account.caps if cap.period != "run"}.values():
        opened, settled, _ = standing.balance(raw, account.workspace, account.zone, cap, day)
        yield WindowGauge(
            workspace=account.workspace,
            scope=cap.scope,
            recipe=cap.name,
            period=cap.period,
            unit=units.get(account.workspace, ""),
            cap_micros=standing.raised(cap, granted, day, account.zone).cap_micros,
            settled_micros=settled,
            open_micros=opened,
        )


# ---- rows that end once, and are never removed


@dataclass(frozen=True, slots=True)
class _Statements:
    """How a table is counted. `ended` and `opened` look at the rows after a number up to another."""

    newest: Select[Any]
    ended: Select[Any]
    opened: Select[Any]
    rows: Select[Any]
    open_states: tuple[str, ...]


def _statements(
    table: Table,
    second: ColumnElement[str],
    third: ColumnElement[str],
    open_states: tuple[str, ...],
    *,
    micros: ColumnElement[Any],
    sent_at: ColumnElement[Any],
) -> _Statements:
    keys = (table.c.workspace, second.label("second"), third.label("third"))
    inside = (table.c.id > bindparam("after"), table.c.id <= bindparam("newest"))
    total = func.coalesce(func.sum(micros), 0).label("micros")
    return _Statements(
        newest=select(func.coalesce(func.max(table.c.id), 0)),
        ended=select(*keys, func.count().label("number"), total)
        .where(*inside, table.c.state.not_in(open_states))
        .group_by(*keys),
        opened=select(table.c.id).where(*inside, table.c.state.in_(open_states)),
        rows=select(*keys, table.c.id, table.c.state, micros.label("micros"), sent_at.label("sent_at")).where(
            table.c.id.in_(bindparam("ids", expanding=True))
        ),
        open_states=open_states,
    )


_ATTEMPTS = _statements(
    ATTEMPTS,
    ATTEMPTS.c.state,
    func.coalesce(ATTEMPTS.c.code, ""),
    LIVE_STATES,
    micros=ATTEMPTS.c.billed_micros,
    sent_at=ATTEMPTS.c.sent_at,
)
_SLOTS = _statements(SLOTS, SLOTS.c.recipe, SLOTS.c.state, OPEN_SLOT_STATES, micros=literal(0), sent_at=literal(None))


class _Counted:
    """What was counted of a table so far: rows that have ended are looked at once, those that are open every time."""

    def __init__(self, statements: _Statements) -> None:
        self._statements = statements
        self._newest = 0
        self._open: list[int] = []
        self.ended: Counter[tuple[str, str, str]] = Counter()
        self.micros: Counter[str] = Counter()

    def look(self, connection: Connection) -> list[Row[Any]]:
        """Count what has ended since the last look; the rows that are open now."""
        execute, ask = connection.execute, self._statements
        names = {"after": self._newest, "newest": execute(ask.newest).scalar_one()}
        new = list(execute(ask.ended, names))
        ids = self._open + list(execute(ask.opened, names).scalars())
        rows = [row for at in range(0, len(ids), _CHUNK) for row in execute(ask.rows, {"ids": ids[at : at + _CHUNK]})]
        # Only now: a look that fails in the middle has counted nothing.
        for row in new:
            self.ended[_key(row)] += row.number
            self.micros[row.workspace] += row.micros
        is_open = [row for row in rows if row.state in ask.open_states]
        for row in rows:
            if row.state not in ask.open_states:
                self.ended[_key(row)] += 1
                self.micros[row.workspace] += row.micros or 0
        self._newest, self._open = names["newest"], [row.id for row in is_open]
        return is_open


def _key(row: Row[Any]) -> tuple[str, str, str]:
    return row.workspace, row.second, row.third


def _oldest(attempts: Sequence[Row[Any]], at: datetime) -> dict[str, int]:
    """By workspace, the whole seconds since its oldest unknown attempt was sent; none without one."""
    found: dict[str, int] = {}
    for row in attempts:
        if row.state == "unknown":
            age_s = (at - datetime.fromisoformat(row.sent_at).astimezone(UTC)) // _SECOND
            found[row.workspace] = max(found.get(row.workspace, 0), age_s)
    return found
