"""How far the chains have come: read for checkpoints and exports."""

from sqlalchemy import select

from runner.ledger.database import Database
from runner.ledger.tables import CHAINS, LEDGER_STATE
from runner.trail.merkle import Frontier


def chain_ends(database: Database) -> dict[str, Frontier]:
    """The tree over each chain, by the chain's name, in one consistent view."""
    with database.read() as connection:
        rows = connection.execute(select(CHAINS).order_by(CHAINS.c.workspace))
        return {row.workspace: Frontier.from_bytes(row.frontier) for row in rows}


def ledger_uid(database: Database) -> str:
    """Which ledger this is; the same in every copy of it."""
    with database.read() as connection:
        uid: str = connection.execute(select(LEDGER_STATE.c.uid)).scalar_one()
        return uid
