"""How budgets stand and what holds them back, for all who look: in plain SQL, on the driver's connection.

Whoever only looks does not load SQLAlchemy, which takes longer than all else that such a command does. Whoever is
inside a transaction of SQLAlchemy asks the same here, by `driver_of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from runner import windows
from runner.ledger.database import moment
from runner.ledger.values import Cap, Lever, Stopped
from runner.plan import Headroom

# What makes a window the one it is.
WINDOW_KEY = ("workspace", "scope", "name", "period", "label")
_WINDOW = (
    "SELECT open_micros, settled_micros FROM budget_windows WHERE "  # noqa: S608 - no input
    + " AND ".join(f"{name} = :{name}" for name in WINDOW_KEY)
)
# What a window that has no row yet counts: the attempts of its days. A run's is made before its first attempt.
_INSIDE = "workspace = :workspace AND state <> 'released' AND day BETWEEN :first_day AND :last_day"
_SUMS = {
    scope: "SELECT coalesce(sum(reserved_micros) FILTER (WHERE state IN ('reserved', 'sent', 'unknown')), 0), "  # noqa: S608 - no input
    f"coalesce(sum(billed_micros), 0) FROM attempts WHERE {inside}"
    for scope, inside in {"workspace": _INSIDE, "recipe": f"{_INSIDE} AND recipe = :name", "run": "FALSE"}.items()
}
_UNKNOWN = {
    scope: f"SELECT coalesce(sum(reserved_micros), 0) FROM attempts WHERE {inside} AND state = 'unknown'"  # noqa: S608
    for scope, inside in {"workspace": _INSIDE, "recipe": f"{_INSIDE} AND recipe = :name"}.items()
}
_RESERVED_LAST = "SELECT reserved_at FROM attempts ORDER BY id DESC LIMIT 1"
_CLOSED_TO = "SELECT max(last_day) FROM closings WHERE workspace = :workspace"
# What stops everything first, then what ends last.
_STOPS = (
    "SELECT reason, workspace IS NULL, kind, who, until FROM levers WHERE ended_at IS NULL AND kind <> 'grant' "
    "AND (workspace = :workspace OR workspace IS NULL) AND (until IS NULL OR until > :at) "
    "ORDER BY workspace IS NOT NULL, until IS NOT NULL, until DESC, id LIMIT 1"
)
_GRANTS = (
    "SELECT period, label, amount_micros FROM levers WHERE ended_at IS NULL AND kind = 'grant' "
    "AND workspace = :workspace AND (until IS NULL OR until > :at)"
)
_DOUBTS = "SELECT clock_doubt, frozen_reason FROM ledger_state"


# ---- inside a transaction


def latest_reservation(raw: Any) -> datetime | None:
    """The moment of the latest reservation; None: there is none."""
    row = raw.execute(_RESERVED_LAST).fetchone()
    return None if row is None else datetime.fromisoformat(row[0]).astimezone(UTC)


def moment_of(raw: Any, at: datetime) -> datetime:
    """`at`, or the moment of the latest reservation when the clock has gone back: windows only move forward."""
    latest = latest_reservation(raw)
    return at if latest is None else max(at, latest)


def closed_to(raw: Any, workspace: str) -> str | None:
    """The last closed day of a workspace, such as `2026-10-31`; None: no window is closed."""
    found: str | None = raw.execute(_CLOSED_TO, {"workspace": workspace}).fetchone()[0]
    return found


def open_day(raw: Any, workspace: str, day: date) -> date:
    """`day`, or the first day that is not closed when the clock, or the workspace's zone, has gone back behind it."""
    return day_after(closed_to(raw, workspace), day)


def day_after(closed: str | None, day: date) -> date:
    """`day`, or the first one that is not closed. `closed`: as `closed_to` gives it."""
    return day if closed is None else max(day, date.fromisoformat(closed) + timedelta(days=1))


def stopped(raw: Any, workspace: str, at: datetime) -> Stopped | None:
    """Why nothing may be reserved in a workspace at a moment; None when nothing stops it."""
    row = raw.execute(_STOPS, {"workspace": workspace, "at": moment(at)}).fetchone()
    if row is None:
        return None
    reason, everywhere, kind, who, until = row
    return Stopped(reason, bool(everywhere), "breach" if kind == "breach" else "stop", who, until)


def granted(raw: Any, workspace: str, at: datetime) -> Mapping[tuple[str, str], int]:
    """How much more each window (period, label) of a workspace may take at a moment, micro-units."""
    found: dict[tuple[str, str], int] = {}
    for period, label, amount in raw.execute(_GRANTS, {"workspace": workspace, "at": moment(at)}).fetchall():
        found[period, label] = found.get((period, label), 0) + amount
    return found


def raised(cap: Cap, granted: Mapping[tuple[str, str], int], day: date, zone: str) -> Cap:
    """The cap with what was granted for the window that holds a local day."""
    if not granted or cap.scope != "workspace" or cap.calendar is None:
        return cap
    more = granted.get((cap.period, windows.window(cap.calendar, day, zone).label), 0)
    return replace(cap, cap_micros=cap.cap_micros + more)


def all_levers(raw: Any) -> list[Lever]:
    """Every stop, breach and grant that there ever was, the oldest first."""
    found = raw.execute("SELECT * FROM levers ORDER BY id")
    names = [column[0] for column in found.description]
    return [Lever(**dict(zip(names, row, strict=True))) for row in found.fetchall()]


def balance(raw: Any, workspace: str, zone: str, cap: Cap, day: date) -> tuple[int, int, str | None]:
    """Open and settled micro-units of the window that holds a local day, and when it ends (None: never).

    A window that no reservation has touched yet has no row: it is counted from the attempts.
    """
    window = None if cap.calendar is None else windows.window(cap.calendar, day, zone)
    ends_at = window.ends_at if window else None
    key = (workspace, cap.scope, cap.name, cap.period, window.label if window else cap.period)
    taken = raw.execute(_WINDOW, dict(zip(WINDOW_KEY, key, strict=True))).fetchone()
    if taken is None:
        taken = raw.execute(_SUMS[cap.scope], inside(workspace, cap.name, window)).fetchone()
    return taken[0], taken[1], moment(ends_at) if ends_at else None


def inside(workspace: str, name: str, window: windows.Window | None) -> dict[str, str]:
    """What statements about the attempts of a window ask for; days are of the local calendar, both ends inside."""
    found = {"workspace": workspace, "name": name, "first_day": "0000-00-00", "last_day": "9999-99-99"}
    if window is not None and window.first_day is not None and window.last_day is not None:
        found |= {"first_day": window.first_day.isoformat(), "last_day": window.last_day.isoformat()}
    return found


def headrooms(raw: Any, workspace: str, zone: str, caps: Sequence[Cap], at: datetime) -> list[Headroom]:
    """The windows of these caps that hold the moment `at`, or the latest reservation's when the clock has gone back.

    Caps are raised by what is granted.
    """
    at = moment_of(raw, at)
    day = open_day(raw, workspace, windows.local_day(at, zone))
    grants = granted(raw, workspace, at)
    found = []
    for cap in caps:
        open_micros, settled_micros, ends_at = balance(raw, workspace, zone, cap, day)
        most = raised(cap, grants, day, zone).cap_micros
        found.append(Headroom(cap.title(workspace, zone, day), cap.scope, most, settled_micros, open_micros, ends_at))
    return found


def unknown(raw: Any, workspace: str, zone: str, cap: Cap, at: datetime) -> int:
    """How much of the open money of a window is unknown, micro-units. A run's window has not begun: nothing."""
    if cap.calendar is None:
        return 0
    day = open_day(raw, workspace, windows.local_day(moment_of(raw, at), zone))
    window = windows.window(cap.calendar, day, zone)
    found: int = raw.execute(_UNKNOWN[cap.scope], inside(workspace, cap.name, window)).fetchone()[0]
    return found


def doubts(raw: Any) -> tuple[str | None, str | None]:
    """Why the clock is not believed, and why the ledger is frozen; None: it is, it is not."""
    doubt, frozen = raw.execute(_DOUBTS).fetchone()
    return doubt, frozen
