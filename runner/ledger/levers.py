"""What operators set beside the declared caps, and breaches: stops and grants. Called inside a transaction.

They are read inside the reserve transaction, so they hold in every process from the moment they are committed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert, update

from runner.ledger.chain import Writing
from runner.ledger.database import moment
from runner.ledger.prepared import Prepared
from runner.ledger.tables import EVERYWHERE, LEVERS
from runner.ledger.values import Lever

_ANY = Prepared(
    "SELECT EXISTS (SELECT 1 FROM levers WHERE ended_at IS NULL AND (workspace = :workspace OR workspace IS NULL))"
)


def any_active(writing: Writing, workspace: str) -> bool:
    """Whether there is a stop, a breach or a grant that nobody has ended, of a workspace or of everything."""

    def find() -> bool:
        return bool(writing.run(_ANY, {"workspace": workspace}).fetchone()[0])

    return writing.known(("levers", workspace), find)


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
