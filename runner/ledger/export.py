"""The chains as lines for an auditor who does not trust us: what was hashed, and a readable copy beside it. Streams."""

import base64
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from runner.ledger.tables import ENTRIES
from runner.trail.merkle import Frontier
from runner.trail.payload import Entry, decode

_ROWS = 1000
# What moves an attempt, in the words of its entries; other entries about it are remarks.
_MOVES = {"reserve": "reserved", "sent": "sent", "unknown": "unknown", "settle": "settled", "release": "released"}


def entries(connection: Connection, heads: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One object an entry, in the order of the ledger. `heads` is filled, in the end, with how far each chain has come.

    Raises ValueError for a payload that cannot be read: `verify` names it.
    """
    trees: dict[str, Frontier] = {}
    query = select(ENTRIES.c.id, ENTRIES.c.workspace, ENTRIES.c.seq, ENTRIES.c.hash, ENTRIES.c.payload)
    for row in connection.execute(query.order_by(ENTRIES.c.id).execution_options(yield_per=_ROWS)):
        entry = decode(row.payload)
        tree = trees.setdefault(row.workspace, Frontier())
        tree.append(row.hash)
        head = heads.setdefault(row.workspace, {"open_micros": 0, "settled_micros": 0})
        head["open_micros"] += entry.open_micros
        head["settled_micros"] += entry.settled_micros
        head["head"] = row.hash.hex()
        yield {
            "id": row.id,
            "chain": row.workspace,
            "seq": row.seq,
            "hash": row.hash.hex(),
            "payload": base64.b64encode(row.payload).decode(),
            "entry": {**_readable(entry)},
        }
    for name, tree in trees.items():
        heads[name] |= {"size": tree.size, "root": base64.b64encode(tree.root()).decode()}


def _readable(entry: Entry) -> dict[str, Any]:
    copy = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    return copy | {"before": entry.before.hex(), "facts": dict(entry.facts)}


def attempts(connection: Connection) -> Iterator[dict[str, Any]]:
    """One object an attempt, as its entries make it, in the order of their numbers."""
    query = (
        select(ENTRIES.c.attempt_id, ENTRIES.c.payload)
        .where(ENTRIES.c.attempt_id.is_not(None), ENTRIES.c.kind.in_(_MOVES))
        .order_by(ENTRIES.c.attempt_id, ENTRIES.c.id)
        .execution_options(yield_per=_ROWS)
    )
    made: dict[str, Any] = {}
    for row in connection.execute(query):
        entry = decode(row.payload)
        if entry.kind == "reserve":
            if made:
                yield made
            made = {
                **entry.facts,
                "id": row.attempt_id,
                "workspace": entry.chain,
                "reserved_micros": entry.open_micros,
                "billed_micros": None,
            }
        else:
            made |= entry.facts
        made["state"] = _MOVES[entry.kind]
        if entry.kind == "settle":
            made["billed_micros"] = entry.settled_micros
    if made:
        yield made
