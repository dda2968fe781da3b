"""What each version of a recipe bought: by the digest of the file that a run was made from."""

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, case, func, select

from runner.ledger.database import Database
from runner.ledger.tables import ATTEMPTS, LIVE_STATES, RUNS, WORKSPACES


@dataclass(frozen=True, slots=True)
class Bought:
    """One version of a recipe in one currency. Micro-units; `pictures`: settled with one that can be used; days are
    the workspace's own.

    `digest`: sha256 of the recipe's file, in hex.
    """

    digest: str
    currency: str
    runs: int
    pictures: int
    settled_micros: int
    open_micros: int
    first_day: str
    last_day: str


_SETTLED = ATTEMPTS.c.state == "settled"
_BOUGHT = (
    select(
        RUNS.c.recipe_digest,
        WORKSPACES.c.currency,
        func.count(RUNS.c.id.distinct()),
        func.sum(case((and_(_SETTLED, ATTEMPTS.c.result_digest.is_not(None)), 1), else_=0)),
        func.sum(case((_SETTLED, ATTEMPTS.c.billed_micros), else_=0)),
        func.sum(case((ATTEMPTS.c.state.in_(LIVE_STATES), ATTEMPTS.c.reserved_micros), else_=0)),
        func.min(ATTEMPTS.c.day),
        func.max(ATTEMPTS.c.day),
    )
    .join(RUNS, RUNS.c.id == ATTEMPTS.c.run_id)
    .join(WORKSPACES, WORKSPACES.c.name == ATTEMPTS.c.workspace)
    .where(ATTEMPTS.c.recipe == bindparam("recipe"))
    .group_by(RUNS.c.recipe_digest, WORKSPACES.c.currency)
    .order_by(func.min(ATTEMPTS.c.id))
)


def bought(database: Database, recipe: str) -> list[Bought]:
    """Every version of a recipe that asked for something, the oldest first; currencies by themselves."""
    with database.read() as connection:
        return [Bought(*row) for row in connection.execute(_BOUGHT, {"recipe": recipe})]
