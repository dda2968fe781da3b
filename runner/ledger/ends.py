"""How far the chains have come: read for checkpoints and exports."""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from runner.ledger.database import Database
from runner.ledger.tables import CHAINS, ENTRIES, LEDGER_STATE
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


def broken_by(database: Database, seen: Iterable[tuple[str, int, bytes]]) -> list[str]:
    """The chains that are not what was seen of them: name, size and root at some time. Raises LedgerError.

    Only the newest sight of each chain is compared, by the hashes that stand in the ledger: a quick look for a
    ledger that was put back, cut off or made anew. Whether hashes and entries agree is for `verify`.
    """
    newest: dict[str, tuple[int, set[bytes]]] = {}
    for name, size, root in seen:
        most, roots = newest.get(name, (-1, set()))
        if size >= most:
            newest[name] = size, {root} | (roots if size == most else set())
    with database.read() as connection:
        return sorted(name for name, (size, roots) in newest.items() if roots != {_root_at(connection, name, size)})


def _root_at(connection: Connection, name: str, size: int) -> bytes | None:
    """The root that a chain had when it had so many entries; None when it has fewer."""
    told = connection.execute(select(CHAINS.c.frontier).where(CHAINS.c.workspace == name)).scalar_one_or_none()
    end = Frontier() if told is None else Frontier.from_bytes(told)
    if end.size <= size:
        return end.root() if end.size == size else None
    leaves = select(ENTRIES.c.hash).where(ENTRIES.c.workspace == name).order_by(ENTRIES.c.seq).limit(size)
    until = Frontier()
    for leaf in connection.execution_options(yield_per=1000).execute(leaves).scalars():
        until.append(leaf)
    return until.root() if until.size == size else None
