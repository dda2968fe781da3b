"""How an attempt of a closed window goes on: as a correction in the window that is open then.

Called inside a write transaction, before the attempt's own row is changed: the database refuses the change of a closed
row whose correction is not there yet (migration 0007).
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from sqlalchemy import ScalarSelect, bindparam, func, select

from runner import windows
from runner.ledger import clocks, records, standing
from runner.ledger.chain import Writing
from runner.ledger.clocks import Uptime
from runner.ledger.database import driver_of, moment
from runner.ledger.tables import ATTEMPTS, CLOSINGS, CORRECTIONS

_ZONE = (
    select(CLOSINGS.c.zone)
    .where(CLOSINGS.c.workspace == bindparam("workspace"))
    .order_by(CLOSINGS.c.last_day.desc())
    .limit(1)
)
_NUMBER = select(func.coalesce(func.max(CORRECTIONS.c.number), 0) + 1).where(
    CORRECTIONS.c.attempt_id == bindparam("attempt")
)


def closed_to_of_attempt() -> ScalarSelect[Any]:
    """A column for a query over attempts: the last closed day of each one's workspace; NULL: none is closed."""
    return (
        select(func.max(CLOSINGS.c.last_day))
        .where(CLOSINGS.c.workspace == ATTEMPTS.c.workspace)
        .correlate(ATTEMPTS)
        .scalar_subquery()
    )


def correct(
    writing: Writing,
    attempt: Any,
    values: Mapping[str, Any],
    *,
    who: str,
    reason: str | None,
    uptime: Callable[[], Uptime | None],
) -> None:
    """Write the correction when the attempt's window is closed; otherwise nothing. `values`: its new columns."""
    if attempt.closed_to is None or attempt.day > attempt.closed_to:
        return
    connection = writing.connection
    row = {
        "attempt_id": attempt.id,
        "number": connection.execute(_NUMBER, {"attempt": attempt.id}).scalar_one(),
        "workspace": attempt.workspace,
        "day": _day(writing, attempt.workspace, uptime()).isoformat(),
        "at": moment(writing.now),
        "before_state": attempt.state,
        "before_code": attempt.code,
        "before_picture": int(attempt.result_digest is not None),
        "state": values["state"],
        "billed_micros": values.get("billed_micros"),
        "code": values.get("code"),
        "who": who,
        "reason": reason,
    }
    records.put(writing, CORRECTIONS, row, chain=attempt.workspace, kind="correction", who=who, attempt_id=attempt.id)


def _day(writing: Writing, workspace: str, up: Uptime | None) -> date:
    """The local day of a correction. A clock that has run ahead of the machine's own puts none into a far window."""
    connection = writing.connection
    believed = clocks.believed(clocks.state(connection), writing.now, up)
    zone = connection.execute(_ZONE, {"workspace": workspace}).scalar_one()
    raw = driver_of(connection)
    return standing.open_day(raw, workspace, windows.local_day(standing.moment_of(raw, believed), zone))
