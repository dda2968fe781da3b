"""Reading the ledger for a page with pictures: what was bought, and the caps of single days."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select

from runner.ledger.database import Database
from runner.ledger.tables import ATTEMPTS, BUDGET_WINDOWS, CORRECTIONS, WORKSPACES


@dataclass(frozen=True, slots=True)
class Bought:
    """A picture that was paid for. Paths as in the ledger: relative to the project, absolute outside of it.

    `day` is the workspace's own; `billed_text` is the amount as it was received; digests are SHA-256 in hex. `remark`:
    what looked odd about the picture. None: not known.
    """

    attempt_id: int
    workspace: str
    currency: str
    recipe: str
    prompt: str
    preset: str
    day: str
    source_path: str
    source_digest: str
    source_bytes: int
    output_path: str
    result_digest: str
    result_bytes: int | None
    width: int | None
    height: int | None
    billed_micros: int
    billed_text: str | None
    remark: str | None


_BOUGHT = (
    select(
        ATTEMPTS.c.id,
        ATTEMPTS.c.workspace,
        WORKSPACES.c.currency,
        ATTEMPTS.c.recipe,
        ATTEMPTS.c.prompt_name,
        ATTEMPTS.c.preset_name,
        ATTEMPTS.c.day,
        ATTEMPTS.c.source_path,
        ATTEMPTS.c.source_digest,
        ATTEMPTS.c.source_bytes,
        ATTEMPTS.c.output_path,
        ATTEMPTS.c.result_digest,
        ATTEMPTS.c.result_bytes,
        ATTEMPTS.c.result_width,
        ATTEMPTS.c.result_height,
        ATTEMPTS.c.billed_micros,
        ATTEMPTS.c.billed_text,
        ATTEMPTS.c.remark,
    )
    .join(WORKSPACES, WORKSPACES.c.name == ATTEMPTS.c.workspace)
    .outerjoin(CORRECTIONS, and_(CORRECTIONS.c.attempt_id == ATTEMPTS.c.id, CORRECTIONS.c.state == "settled"))
    .where(ATTEMPTS.c.state == "settled", ATTEMPTS.c.result_digest.is_not(None))
    .order_by(ATTEMPTS.c.id.desc())
)


def bought(
    database: Database, *, workspace: str | None, first_day: str | None, last_day: str | None, limit: int
) -> list[Bought]:
    """The newest pictures of these days, both inside, the newest first; None: no limit. At most `limit`."""
    query = _BOUGHT.limit(limit)
    if workspace is not None:
        query = query.where(ATTEMPTS.c.workspace == workspace)
    # What a closed window learned too late is in the window of its correction.
    day = func.coalesce(CORRECTIONS.c.day, ATTEMPTS.c.day)
    if first_day is not None:
        query = query.where(day >= first_day)
    if last_day is not None:
        query = query.where(day <= last_day)
    with database.read() as connection:
        rows: list[Any] = list(connection.execute(query))
    # The columns stand in the order of the fields.
    return [Bought(*row) for row in rows]


def day_caps(database: Database) -> dict[tuple[str, str], int]:
    """The caps of single days, as last declared, in micro-units: by workspace and local day. Not those of recipes."""
    query = select(BUDGET_WINDOWS.c.workspace, BUDGET_WINDOWS.c.label, BUDGET_WINDOWS.c.cap_micros).where(
        BUDGET_WINDOWS.c.scope == "workspace", BUDGET_WINDOWS.c.period == "day", BUDGET_WINDOWS.c.cap_micros > 0
    )
    with database.read() as connection:
        return {(row.workspace, row.label): row.cap_micros for row in connection.execute(query)}
