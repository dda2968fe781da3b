"""Whether the clock can be believed where believing it would open new budget. Called inside a transaction.

Two witnesses: the machine's own count of time since it was started, which nobody can set, and the `Date` that an
endpoint sends with its answers.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from runner import windows
from runner.ledger.chain import Writing
from runner.ledger.database import moment
from runner.ledger.tables import EVERYWHERE, LEDGER_STATE
from runner.windows import Period

# How far the calendar may run away from the machine's own count, or from an endpoint's `Date`.
JUMP_MAX = timedelta(minutes=10)

# After a restart nothing tells how long the machine was off. A month without a single reservation is unusual enough
# to ask.
GAP_MAX = timedelta(days=32)

_STATE = select(LEDGER_STATE)


@dataclass(frozen=True, slots=True)
class Uptime:
    """Nanoseconds since the machine was started, suspended time included; `boot` tells one start from another."""

    boot: str
    ns: int


def uptime() -> Uptime | None:
    """The machine's own clock now; None where the system does not tell."""
    try:
        return Uptime(_boot(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    except (OSError, AttributeError, ValueError):
        return None


@cache
def _boot() -> str:
    """It is another one only after a restart, which no process lives through."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def state(connection: Connection) -> Any:
    """The one row that says what is true of the ledger as a whole."""
    return connection.execute(_STATE).one()


def believed(state: Any, at: datetime, up: Uptime | None) -> datetime:
    """`at`, or the latest moment that the machine's own count allows when the calendar has run ahead of it."""
    expected = _expected(state, up)
    return at if expected is None else min(at, expected + JUMP_MAX)


def ran_ahead(state: Any, at: datetime, up: Uptime | None) -> str | None:
    """Why a moment is not believed where it would be written down as having passed; None: it is."""
    if state.clock_doubt is not None:
        reason: str = state.clock_doubt
        return reason
    expected = _expected(state, up)
    if expected is None or at - expected <= JUMP_MAX:
        return None
    return f"the clock says {_text(at)}, but by this machine's own count it is {_text(expected)}"


def doubt(
    writing: Writing,
    state: Any,
    *,
    at: datetime,
    latest: datetime | None,
    zone: str,
    periods: Iterable[Period],
    up: Uptime | None,
) -> str | None:
    """Why the moment `at` is not believed for a reservation, or None.

    `latest`: the moment of the latest reservation; None: there is none. `periods`: the windows that have caps.
    Takes the first reading of the machine's own clock, and one after each restart.
    """
    if state.clock_doubt is not None:
        reason: str = state.clock_doubt
        return reason
    expected = _expected(state, up)
    if expected is not None:
        if at - expected <= JUMP_MAX or (latest is not None and at <= latest):
            return None
        opened = _opened(max(expected, latest or expected), at, zone, periods)
        return (
            None
            if opened is None
            else (
                f"the clock says {_text(at)}, but by this machine's own count it is {_text(expected)}; "
                f"{opened} would be opened"
            )
        )
    if latest is not None and at - latest > GAP_MAX:
        opened = _opened(latest, at, zone, periods)
        if opened is not None:
            return (
                f"the clock says {_text(at)}, the latest reservation is of {_text(latest)}, and nothing tells how "
                f"long the machine was off in between; {opened} would be opened"
            )
    if up is not None:
        read(writing, at, up)
    return None


def read(writing: Writing, at: datetime, up: Uptime) -> None:
    """Take a reading: from now on the calendar is measured against it."""
    values = {"boot": up.boot, "boot_ns": up.ns, "boot_at": moment(at)}
    writing.connection.execute(update(LEDGER_STATE).values(values))
    writing.entry(EVERYWHERE, "clock-read", "omixa", values)


def is_off(said: datetime, at: datetime) -> bool:
    """Whether an endpoint's `Date` and our clock are too far apart."""
    return abs(said - at) > JUMP_MAX


def _expected(state: Any, up: Uptime | None) -> datetime | None:
    """What the calendar should say by the machine's own count; None without a reading since its start."""
    if up is None or state.boot != up.boot:
        return None
    return _moment(state.boot_at) + timedelta(microseconds=(up.ns - state.boot_ns) // 1000)


def _opened(before: datetime, at: datetime, zone: str, periods: Iterable[Period]) -> str | None:
    """The first window with a cap that holds `at` and not `before`."""
    days = windows.local_day(before, zone), windows.local_day(at, zone)
    for period in periods:
        old, new = (windows.window(period, day, zone) for day in days)
        if old.label != new.label:
            return str(new)
    return None


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
