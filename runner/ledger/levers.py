"""What operators set beside the declared caps, and breaches: stops and grants. Called inside a transaction.

They are read inside the reserve transaction, so they hold in every process from the moment they are committed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from runner.ledger.chain import Writing
from runner.ledger.database import moment
from runner.ledger.prepared import Prepared
from runner.ledger.tables import EVERYWHERE, LEVERS
from runner.ledger.values import Lever, Stopped

_STOPS = (
    select(LEVERS.c.workspace, LEVERS.c.kind, LEVERS.c.reason, LEVERS.c.who, LEVERS.c.until)
    .where(
        LEVERS.c.ended_at.is_(None),
        LEVERS.c.kind != "grant",
        or_(LEVERS.c.workspace == bindparam("workspace"), LEVERS.c.workspace.is_(None)),
        or_(LEVERS.c.until.is_(None), LEVERS.c.until > bindparam("at")),
    )
    # What stops everything first, then what ends last.
    .order_by(LEVERS.c.workspace.is_not(None), LEVERS.c.until.is_not(None), LEVERS.c.until.desc(), LEVERS.c.id)
    .limit(1)
)
_GRANTS = select(LEVERS.c.period, LEVERS.c.label, LEVERS.c.amount_micros).where(
    LEVERS.c.ended_at.is_(None),
    LEVERS.c.kind == "grant",
    LEVERS.c.workspace == bindparam("workspace"),
    or_(LEVERS.c.until.is_(None), LEVERS.c.until > bindparam("at")),
)

_ANY = Prepared(
    "SELECT EXISTS (SELECT 1 FROM levers WHERE ended_at IS NULL AND (workspace = :workspace OR workspace IS NULL))"
)


def any_active(writing: Writing, workspace: str) -> bool:
    """Whether there is a stop, a breach or a grant that nobody has ended, of a workspace or of everything."""

    def find() -> bool:
        return bool(writing.run(_ANY, {"workspace": workspace}).fetchone()[0])

    return writing.known(("levers", workspace), find)


def stopped(connection: Connection, workspace: str, at: datetime) -> Stopped | None:
    """Why nothing may be reserved in a workspace at a moment; None when nothing stops it."""
    row = connection.execute(_STOPS, {"workspace": workspace, "at": moment(at)}).first()
    return None if row is None else Stopped(row.reason, row.workspace is None, _cause(row.kind), row.who, row.until)


def _cause(kind: str) -> Any:
    return "breach" if kind == "breach" else "stop"


def granted(connection: Connection, workspace: str, at: datetime) -> Mapping[tuple[str, str], int]:
    """How much more each window (period, label) of a workspace may take at a moment, micro-units."""
    found: dict[tuple[str, str], int] = {}
    for row in connection.execute(_GRANTS, {"workspace": workspace, "at": moment(at)}):
        found[row.period, row.label] = found.get((row.period, row.label), 0) + row.amount_micros
    return found


def add(
    writing: Writing,
    kind: Literal["stop", "breach", "grant"],
    workspace: str | None,
    *,
    reason: str,
    who: str,
    until: datetime | None = None,
    attempt_id: int | None = None,
    **grant: Any,
) -> int:
    """Record a stop, a breach or a grant; returns its number."""
    values = {
        "kind": kind,
        "workspace": workspace,
        "reason": reason,
        "who": who,
        "at": moment(writing.now),
        "until": None if until is None else moment(until),
        **dict.fromkeys(("period", "label", "amount_micros")),
        **grant,
    }
    number = int(writing.connection.execute(insert(LEVERS).values(values).returning(LEVERS.c.id)).scalar_one())
    facts = {"lever": {"id": number, **values}}
    writing.entry(workspace or EVERYWHERE, kind, who, facts, attempt_id=attempt_id, note=reason)
    return number


def end(writing: Writing, kind: str, ended: Sequence[Lever], *, note: str, who: str) -> None:
    """Record that stops, breaches or a grant of one workspace are over. `kind`: of the entry."""
    values = {"ended_at": moment(writing.now), "ended_by": who, "ended_note": note}
    numbers = [lever.id for lever in ended]
    writing.connection.execute(update(LEVERS).where(LEVERS.c.id.in_(numbers)).values(values))
    facts = {"levers": numbers, **values}
    writing.entry(ended[0].workspace or EVERYWHERE, kind, who, facts, note=note)


def all_levers(connection: Connection) -> list[Lever]:
    """Every stop, breach and grant that there ever was, the oldest first."""
    return [Lever(**row._mapping) for row in connection.execute(select(LEVERS).order_by(LEVERS.c.id))]
