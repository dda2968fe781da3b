"""The entries as a chain: each is hashed together with the one before it, in the transaction that it is about.

One chain a workspace, and one for what concerns none. Called inside a write transaction.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text

from runner.ledger.database import moment
from runner.ledger.tables import CHAINS, ENTRIES, LEDGER_STATE
from runner.trail.merkle import Frontier
from runner.trail.payload import FIRST, Entry, encode, leaf_hash

_END = select(CHAINS.c.head, CHAINS.c.frontier).where(CHAINS.c.workspace == bindparam("chain"))
_ADD = insert(ENTRIES).returning(ENTRIES.c.id)
_MOVE = text(
    "INSERT INTO chains (workspace, head, frontier) VALUES (:chain, :head, :frontier) "
    "ON CONFLICT (workspace) DO UPDATE SET head = :head, frontier = :frontier"
)
_LATEST = select(ENTRIES.c.at).order_by(ENTRIES.c.id.desc()).limit(1)
_IDENTITY = select(LEDGER_STATE.c.uid, LEDGER_STATE.c.digest_key)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which ledger this is, and the key of its digests."""

    uid: str
    key: bytes

    def digest(self, value: str | None) -> str | None:
        """A text that must not stand in the chain, as a digest that only this ledger can make; None stays None."""
        if value is None:
            return None
        return hmac.new(self.key, value.encode("utf-8", "surrogatepass"), sha256).hexdigest()


# A chain is checkpointed whenever it has grown by so many entries, besides at the end of each run.
CHECKPOINT_EVERY = 1000


@dataclass(slots=True)
class Writing:
    """A write transaction: what it writes into, the moment of its entries, and the way to add one."""

    connection: Connection
    identity: Identity
    now: datetime
    checkpoint_due: bool = False

    def entry(
        self,
        chain: str,
        kind: str,
        who: str,
        facts: Mapping[str, Any],
        *,
        attempt_id: int | None = None,
        opened: int = 0,
        settled: int = 0,
        note: str | None = None,
    ) -> int:
        """Add an entry at this transaction's moment; returns its number. As `add`."""
        number, seq = add(
            self.connection,
            self.identity,
            chain,
            kind,
            at=self.now,
            who=who,
            attempt_id=attempt_id,
            opened=opened,
            settled=settled,
            note=note,
            facts=facts,
        )
        self.checkpoint_due |= (seq + 1) % CHECKPOINT_EVERY == 0
        return number

    def digest(self, value: str | None) -> str | None:
        """A text that must not stand in the chain; None stays None."""
        return self.identity.digest(value)


def latest(connection: Connection) -> datetime | None:
    """The moment of the latest entry, the highest time that the ledger ever used; None before the first."""
    found = connection.execute(_LATEST).scalar_one_or_none()
    return None if found is None else datetime.fromisoformat(found).astimezone(UTC)


def identity(connection: Connection) -> Identity:
    """Which ledger this is."""
    row = connection.execute(_IDENTITY).one()
    return Identity(row.uid, bytes.fromhex(row.digest_key))


def add(
    connection: Connection,
    who_am_i: Identity,
    chain: str,
    kind: str,
    *,
    at: datetime,
    who: str,
    attempt_id: int | None = None,
    opened: int = 0,
    settled: int = 0,
    note: str | None = None,
    facts: Mapping[str, Any],
) -> tuple[int, int]:
    """Add an entry to the end of its chain; returns its number in the ledger and in the chain.

    `opened` and `settled` are changes in micro-units. `facts` is everything that the ledger's other tables say on the
    strength of this entry: JSON values, no floats.
    """
    end = connection.execute(_END, {"chain": chain}).first()
    frontier = Frontier() if end is None else Frontier.from_bytes(end.frontier)
    seq = frontier.size
    entry = Entry(
        ledger=who_am_i.uid,
        chain=chain,
        seq=seq,
        before=FIRST if end is None else end.head,
        at=moment(at),
        kind=kind,
        attempt_id=attempt_id,
        open_micros=opened,
        settled_micros=settled,
        who=who,
        note=note,
        facts=facts,
    )
    payload = encode(entry)
    head = leaf_hash(payload)
    frontier.append(head)
    values = {
        "at": entry.at,
        "workspace": chain,
        "attempt_id": attempt_id,
        "kind": kind,
        "open_micros": opened,
        "settled_micros": settled,
        "who": who,
        "note": note,
        "seq": seq,
        "payload": payload,
        "hash": head,
    }
    number = int(connection.execute(_ADD, values).scalar_one())
    connection.execute(_MOVE, {"chain": chain, "head": head, "frontier": frontier.to_bytes()})
    return number, seq
