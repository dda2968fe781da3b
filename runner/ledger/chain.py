"""The entries as a chain: each is hashed together with the one before it, in the transaction that it is about.

One chain a workspace, and one for what concerns none. Called inside a write transaction.

A `Page` is what a transaction has found out, so that several bookings that are committed together do not each ask
again: how far the chains have come, and whatever is remembered with `Writing.known`. Ends of chains are written once,
before the commit (`Page.finish`). A page goes on into the next transaction only when the database itself proves that
nobody has written in between (together.py).
"""

import hmac
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, bindparam, insert, select

from runner.ledger.database import driver_of, moment
from runner.ledger.prepared import Prepared, Values
from runner.ledger.tables import CHAINS, ENTRIES, LEDGER_STATE
from runner.trail.merkle import Frontier
from runner.trail.payload import FIRST, Entry, encode, leaf_hash

Found = TypeVar("Found")

_END = Prepared(select(CHAINS.c.head, CHAINS.c.frontier).where(CHAINS.c.workspace == bindparam("chain")))
_ADD = Prepared(
    insert(ENTRIES),
    *(
        "at",
        "workspace",
        "attempt_id",
        "kind",
        "open_micros",
        "settled_micros",
        "who",
        "note",
        "seq",
        "payload",
        "hash",
    ),
)
_MOVE = Prepared(
    "INSERT INTO chains (workspace, head, frontier) VALUES (:chain, :head, :frontier) "
    "ON CONFLICT (workspace) DO UPDATE SET head = excluded.head, frontier = excluded.frontier"
)
_LATEST = select(ENTRIES.c.at).order_by(ENTRIES.c.id.desc()).limit(1)
_IDENTITY = select(LEDGER_STATE.c.uid, LEDGER_STATE.c.digest_key)

# A chain is checkpointed whenever it has grown by so many entries, besides at the end of each run.
CHECKPOINT_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Which ledger this is, and the key of its digests."""

    uid: str
    key: bytes

    def digest(self, value: str | None) -> str | None:
        """A text that must not stand in the chain, as a digest that only this ledger can make; None stays None."""
        if value is None:
            return None
        return _digest(self.key, value)


@lru_cache(maxsize=128)
def _digest(key: bytes, value: str) -> str:
    """Remembered, because all items of a recipe have the same few prompts."""
    return hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256").hex()


class End(NamedTuple):
    """The end of a chain: the hash of its last entry, and the tree over all of them."""

    head: bytes
    frontier: Frontier


class Page:
    """What a write transaction knows of the ledger, and where its entries go."""

    __slots__ = ("_dialect", "_ends", "_execute", "_found", "_moved", "believing", "connection", "identity", "latest")

    def __init__(self, connection: Connection, who_am_i: Identity | None) -> None:
        """Read anew. `who_am_i`: None asks the ledger."""
        self.connection = connection
        self.identity = who_am_i or identity(connection)
        self.latest = latest(connection)
        self.believing = True  # False: somebody may have written by other statements than ours
        self._execute = driver_of(connection).execute
        self._dialect = connection.dialect
        self._ends: dict[str, End] = {}
        self._moved: set[str] = set()
        self._found: dict[Hashable, Any] = {}

    def run(self, statement: Prepared, values: Values) -> Any:
        """Execute a prepared statement; the driver's cursor."""
        sql, ordered = statement.on(self._dialect)
        return self._execute(sql, ordered(values))

    def add(self, statement: Prepared, values: Values) -> int:
        """Execute a prepared INSERT of one row; the row's number.

        By the driver of SQLite: RETURNING takes half as long again. Another database would need it.
        """
        number: int = self.run(statement, values).lastrowid
        return number

    def entry(self, chain: str, at: datetime, **told: Any) -> tuple[int, int]:
        """Add an entry to the end of its chain; returns its number in the ledger and in the chain.

        `told`: the other fields of an Entry. `facts` is everything that the ledger's other tables say on the strength
        of this entry: JSON values, no floats.
        """
        end = self._ends.get(chain) or self._end(chain)
        frontier, seq = end.frontier, end.frontier.size
        entry = Entry(ledger=self.identity.uid, chain=chain, seq=seq, before=end.head, at=moment(at), **told)
        payload = encode(entry)
        head = leaf_hash(payload)
        values = {
            "at": entry.at,
            "workspace": chain,
            "attempt_id": entry.attempt_id,
            "kind": entry.kind,
            "open_micros": entry.open_micros,
            "settled_micros": entry.settled_micros,
            "who": entry.who,
            "note": entry.note,
            "seq": seq,
            "payload": payload,
            "hash": head,
        }
        number = self.add(_ADD, values)
        frontier.append(head)
        self._ends[chain] = End(head, frontier)
        self._moved.add(chain)
        self.latest = at
        return number, seq

    def _end(self, chain: str) -> End:
        row = self.run(_END, {"chain": chain}).fetchone()
        end = End(FIRST, Frontier()) if row is None else End(bytes(row[0]), Frontier.from_bytes(bytes(row[1])))
        self._ends[chain] = end
        return end

    def finish(self) -> None:
        """Write down how far the chains have come: the last thing before the commit."""
        for chain in sorted(self._moved):
            end = self._ends[chain]
            self.run(_MOVE, {"chain": chain, "head": end.head, "frontier": end.frontier.to_bytes()})
        self._moved.clear()

    def mark(self) -> "Mark":
        """How it stands now, to go back to."""
        ends = {chain: End(end.head, end.frontier.copy()) for chain, end in self._ends.items()}
        return Mark(ends, set(self._moved), self.latest)

    def back(self, mark: "Mark") -> None:
        """As it stood then; what was found out since is forgotten."""
        self._ends, self._moved, self.latest = mark.ends, mark.moved, mark.latest
        self._found.clear()

    def known(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What was found out before, or is now."""
        if not self.believing:
            return find()
        if key not in self._found:
            found = find()
            if not self.believing:  # to find it, something was written
                return found
            self._found[key] = found
        result: Found = self._found[key]
        return result

    def learn(self, key: Hashable, value: Any) -> None:
        """What we have just written ourselves."""
        self._found[key] = value

    def doubt(self) -> None:
        """Forget what was found out, and remember nothing until `believe`."""
        self.believing = False
        self._found.clear()

    def believe(self) -> None:
        """Begin to remember, from nothing when there was a doubt."""
        if not self.believing:
            self._found.clear()
            self.believing = True


class Mark(NamedTuple):
    """How a page stood at some moment."""

    ends: dict[str, End]
    moved: set[str]
    latest: datetime | None


@dataclass(slots=True)
class Writing:
    """One change of the ledger: what it writes into, the moment of its entries, and the way to add one.

    `then`: what is done once it is committed.
    """

    page: Page
    now: datetime
    checkpoint_due: bool = False
    then: list[Callable[[], None]] = field(default_factory=list)

    @property
    def connection(self) -> Connection:
        """To write with any statement: nothing that was remembered is believed any more."""
        self.page.doubt()
        return self.page.connection

    @property
    def reader(self) -> Connection:
        """Only to read with."""
        return self.page.connection

    @property
    def identity(self) -> Identity:
        """Which ledger this is."""
        return self.page.identity

    def run(self, statement: Prepared, values: Values) -> Any:
        """Execute a prepared statement of the hot path; the driver's cursor. Who writes what is remembered, says so
        with `learn`.
        """
        return self.page.run(statement, values)

    def add(self, statement: Prepared, values: Values) -> int:
        """Execute a prepared INSERT of one row; the row's number."""
        return self.page.add(statement, values)

    def known(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What was found out in this transaction already, or `find()`. Never for what a cap is compared with."""
        return self.page.known(key, find)

    def learn(self, key: Hashable, value: Any) -> None:
        """Remember what was just written."""
        self.page.learn(key, value)

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
        """Add an entry at this moment; returns its number. `opened` and `settled` are changes in micro-units."""
        number, seq = self.page.entry(
            chain,
            self.now,
            kind=kind,
            attempt_id=attempt_id,
            open_micros=opened,
            settled_micros=settled,
            who=who,
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
