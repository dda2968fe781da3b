"""Whether the ledger is what its chain says: every link, every row of every table, and every checkpoint.

Streams: memory does not grow with the number of entries. Reads one consistent view and changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, bindparam, func, or_, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from runner.ledger import chain, fresh, totals
from runner.ledger.balance_check import among, attempts_off, windows_off
from runner.ledger.balances import joined_digest
from runner.ledger.beside import Answers, Question, views
from runner.ledger.chain import Identity
from runner.ledger.database import Database, driver_of
from runner.ledger.facts import PURGED, attempt_facts, is_purged
from runner.ledger.lives import Lives, blocks, stream
from runner.ledger.multiset import Standing
from runner.ledger.retold import ENDS, Heads
from runner.ledger.tables import (
    ATTEMPT_WINDOWS,
    ATTEMPTS,
    BUDGET_WINDOWS,
    CHAINS,
    DELIVERIES,
    ENTRIES,
    LEDGER_STATE,
    LEVERS,
    RECORDS,
    RUNS,
    TEXTS,
    WORKSPACES,
)
from runner.ledger.usual import Usual
from runner.trail.merkle import Frontier
from runner.trail.payload import FIRST, Entry, decode, facts_of, leaf_hash

# How many faults are told; whoever changed more has been found out.
FAULTS_MAX = 20
# From so many entries on, a second connection and a thread are worth their millisecond.
BESIDE_FROM = 5000
_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint kept elsewhere: the chain had this root when it had `size` entries. `where`: for messages."""

    chain: str
    size: int
    root: bytes
    where: str


class ChainEnd:
    """One chain as found: its entries counted, hashed and added up; amounts in micro-units.

    `size`: how many entries there were. `head`: the hash of the newest.
    """

    __slots__ = ("_frontier", "_new", "head", "open_micros", "settled_micros", "size")

    def __init__(self) -> None:
        """A chain without entries."""
        self._frontier = Frontier()
        self._new: list[bytes] = []  # hashes that are not in the tree yet: many at once take half of the time
        self.head = FIRST
        self.size = self.open_micros = self.settled_micros = 0

    def add(self, leaf: bytes, opened: int, settled: int) -> None:
        """One more entry: its hash, and the changes of open and settled money."""
        self.head = leaf
        self.size += 1
        self.open_micros += opened
        self.settled_micros += settled
        self._new.append(leaf)
        if len(self._new) == _ROWS:
            self._frontier.extend(self._new)
            self._new.clear()

    def add_all(self, leaves: list[bytes], opened: int, settled: int) -> None:
        """Many more: their hashes, and the changes of money by all of them."""
        self.head = leaves[-1]
        self.size += len(leaves)
        self.open_micros += opened
        self.settled_micros += settled
        self._new += leaves
        if len(self._new) >= _ROWS:
            self._frontier.extend(self._new)
            self._new.clear()

    @property
    def frontier(self) -> Frontier:
        """The tree over all entries."""
        self._frontier.extend(self._new)
        self._new.clear()
        return self._frontier


@dataclass(slots=True)
class Verified:
    """What was found. `faults` in words, the first bad row first; empty when the ledger is sound.

    `checkpoints`: how many were compared.
    """

    entries: int = 0
    chains: dict[str, ChainEnd] = field(default_factory=dict)
    checkpoints: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether enough faults were found."""
        return len(self.faults) >= FAULTS_MAX

    def fault(self, text: str) -> None:
        """Tell one more fault."""
        if not self.full and text not in self.faults:
            self.faults.append(text)


def verify(
    database: Database,
    seen: Sequence[Seen] = (),
    *,
    balances: bool = True,
    reading: bool = False,
    beside: bool | None = None,
) -> Verified:
    """Check everything against the chain, and the chain against checkpoints kept elsewhere. Raises LedgerError.

    Without `balances`, whether the balances add up is left out. An entry is only read when it is not just the bytes
    that its columns and rows make; with `reading` every one is, which finds the same and takes several times as long.
    `beside`: whether SQLite's own part goes on at the same time, in a thread; None: when there are many entries.
    """
    found = Verified()
    two = beside if beside is not None else _is_large(database)
    with views(database, two=two) as (connection, other):
        try:
            with Answers(connection, other, _questions(balances=balances)) as answers:
                _verify(connection, found, seen, answers, balances=balances, reading=reading)
        except (ValueError, TypeError, LookupError, AttributeError, SQLAlchemyError) as error:
            if isinstance(error, DBAPIError):
                raise
            # Somebody put in something that no program writes.
            found.fault(f"what is there cannot be read as a ledger: {error}")
    return found


def _is_large(database: Database) -> bool:
    with database.read() as connection:
        newest: int | None = connection.execute(select(func.max(ENTRIES.c.id))).scalar_one()
    return newest is not None and newest >= BESIDE_FROM


def _verify(
    connection: Connection,
    found: Verified,
    seen: Sequence[Seen],
    answers: Answers,
    *,
    balances: bool,
    reading: bool,
) -> None:
    who_am_i = chain.identity(connection)
    tables = _Tables(connection, found)
    lives = Lives(driver_of(connection), who_am_i.key, tables.delivered)
    _chains(connection, who_am_i, tables, lives, found, seen, reading=reading)
    if found.full:
        return
    left, tables.named = lives.left()
    _attempts(connection, who_am_i, tables, left, found)
    tables.counted(left)
    for question in _questions(balances=balances):
        for wrong in answers.to(question):
            found.fault(wrong)
        # An attempt that is what its entries make it is also what they add up to.
        if question is windows_off and left != []:
            for wrong in attempts_off(connection, left):
                found.fault(wrong)


# ---- what SQLite looks at by itself


def _questions(*, balances: bool) -> list[Question]:
    """Each finds faults, in words, in the order in which they are told."""
    return [_wrong_texts, _wrong_prices, *((windows_off, totals.wrong) if balances else ()), _wrong_schema, _damage]


def _wrong_prices(connection: Connection) -> list[str]:
    return [
        f"prices of {price.model} in workspace {price.workspace} are not those of its attempts"
        for price in connection.execute(_WRONG_PRICES)
    ]


def _wrong_schema(connection: Connection) -> list[str]:
    """A trigger that guards what is closed, a check of a table: each must be what the migrations make, to the word."""
    told = "the file has other tables, indexes or triggers than the migrations make"
    return [f"{told}: {one}" for one in fresh.differences(driver_of(connection))]


def _damage(connection: Connection) -> list[str]:
    """An index that leaves rows out shows different rows to different questions."""
    lines = connection.execute(text(f"PRAGMA integrity_check({FAULTS_MAX})")).scalars()
    return [f"the file is damaged: {line}" for line in lines if line != "ok"]


# ---- the chain


_ENTRIES = (
    "SELECT at, workspace, attempt_id, kind, open_micros, settled_micros, who, note, seq, id, payload, hash "
    "FROM entries ORDER BY id"
)
_leaf = sha256(b"\0").copy
_TOLD = frozenset({"reserve", "sent", *ENDS})


class _EntryRow(NamedTuple):
    """What `_ENTRIES` selects."""

    at: str
    workspace: str
    attempt_id: int | None
    kind: str
    open_micros: int
    settled_micros: int
    who: str
    note: str | None
    seq: int
    id: int
    payload: bytes
    hash: bytes


def _chains(
    connection: Connection,
    who_am_i: Identity,
    tables: "_Tables",
    lives: Lives,
    found: Verified,
    seen: Sequence[Seen],
    *,
    reading: bool,
) -> None:
    """Every entry: whether it is the bytes that its columns and the rows make; if not, what is wrong with it."""
    due: dict[str, dict[int, list[Seen]]] = {}
    for one in seen:
        due.setdefault(one.chain, {}).setdefault(one.size, []).append(one)
    heads, usual, latest = Heads(who_am_i.uid), Usual(who_am_i.uid, lives), ""
    for rows in blocks(driver_of(connection), _ENTRIES):
        at = 0
        while at < len(rows):
            name = rows[at][1]
            end = found.chains.get(name)
            if end is None:
                end = found.chains[name] = ChainEnd()
            if not reading:
                until = min((size for size in due.get(name, ()) if size > end.size), default=None)
                followed = usual.follow(rows, at, found.entries + 1, latest, end.size, end.head, until)
                if followed.leaves:
                    at += len(followed.leaves)
                    found.entries += len(followed.leaves)
                    latest = followed.latest
                    end.add_all(followed.leaves, followed.open_micros, followed.settled_micros)
                    _as_seen(due, name, found.entries, end, found)
                    if found.full:
                        return
                    continue
            row = rows[at]
            at += 1
            found.entries += 1
            number = row[9]
            told = not reading and number == found.entries and _as_told(row, heads, end, latest, lives)
            entry = (
                None if told is True else told or _explained(_EntryRow._make(row), who_am_i, end, latest, lives, found)
            )
            latest = max(latest, row[0])
            if entry is not None and entry.kind == "checked":
                _checked(number, entry, found)
            _as_seen(due, name, number, end, found)
            if entry is not None:
                tables.heard(number, entry)
            if found.full:
                return
    _ends(connection, found)
    for left in sorted((one for sizes in due.values() for some in sizes.values() for one in some), key=_size_of):
        size = found.chains[left.chain].size if left.chain in found.chains else 0
        found.checkpoints += 1
        if left.size or size:
            found.fault(
                f"chain {left.chain} has {size} entries, and the checkpoint at {left.where} saw {left.size}: the "
                "ledger was cut off or put back to an older copy"
            )


def _as_seen(due: dict[str, dict[int, list[Seen]]], name: str, number: int, end: ChainEnd, found: Verified) -> None:
    """Compare a chain with the checkpoints that were made when it had this length. `number`: of its newest entry."""
    for one in due[name].pop(end.size, ()) if name in due else ():
        found.checkpoints += 1
        if end.frontier.root() != one.root:
            found.fault(
                f"entry {number}: up to here chain {name} is not what the checkpoint at {one.where} saw; "
                "an entry was changed, and all hashes after it made anew"
            )


def _size_of(seen: Seen) -> int:
    return seen.size


def _as_told(row: Any, heads: Heads, end: ChainEnd, latest: str, lives: Lives) -> Entry | bool:
    """Whether an entry is spelled as its columns say, has its hash, and follows on its chain; then it is added there.

    True when it is also just what the rows of its attempt make it; otherwise what it says, to be heard of.
    """
    at, name, attempt, kind, opened, settled, who, note, seq, number, payload, digest = row
    try:
        head = heads.of(row[:9], end.head)
        if at < latest or seq != end.size or not payload.startswith(head):
            return False
        leaf = _leaf()
        leaf.update(payload)
        hashed = leaf.digest()
        size = int.from_bytes(payload[len(head) : len(head) + 4], "big")
        facts = payload[len(head) + 4 :]
        said = facts.decode("latin-1")
        if hashed != digest or size != len(facts):
            return False
        if kind in _TOLD and attempt is not None and lives.tells(number, at, attempt, kind, opened, settled, said):
            end.add(hashed, opened, settled)
            return True
        if attempt is not None:
            if attempt < 0:
                return False
            if kind == "adopt":
                lives.adopted(attempt)
            elif kind not in _TOLD:
                lives.mentioned(attempt, moves=bool(opened or settled))
        entry = Entry(heads.ledger, name, seq, end.head, at, kind, attempt, opened, settled, who, note, facts_of(facts))
    except (TypeError, AttributeError, LookupError, ValueError):
        return False
    end.add(hashed, opened, settled)
    return entry


def _explained(
    row: _EntryRow, who_am_i: Identity, end: ChainEnd, latest: str, lives: Lives, found: Verified
) -> Entry | None:
    """What is wrong with an entry, in words; what it says, None when it cannot be read."""
    if row.id != found.entries:
        # No hash covers the number of an entry, and rows are only ever added, so the numbers have no gaps.
        found.fault(f"entry {row.id}: its number should be {found.entries}")
    entry = _link(row, who_am_i, end, found)
    if row.at < latest:
        found.fault(f"entry {row.id}: its moment {row.at} is before that of the entry above it")
    if row.attempt_id is not None:
        lives.leave(row.attempt_id)
    end.add(leaf_hash(row.payload), row.open_micros, row.settled_micros)
    return entry


def _link(row: _EntryRow, who_am_i: Identity, end: ChainEnd, found: Verified) -> Entry | None:
    """One entry: its payload, its columns, its place in the chain. None when the payload cannot be read."""
    seq, where = end.size, f"entry {row.id}"
    try:
        entry = decode(row.payload)
    except ValueError as error:
        found.fault(f"{where}: its payload cannot be read: {error}")
        return None
    if leaf_hash(row.payload) != row.hash:
        found.fault(f"{where}: its payload does not have the hash that stands beside it")
    if entry.before != end.head or entry.seq != seq:
        found.fault(
            f"{where}: it is number {entry.seq} of chain {entry.chain} and does not follow on number {seq - 1}; "
            "an entry was taken out, put in or moved"
        )
    if entry.ledger != who_am_i.uid:
        found.fault(f"{where}: it is of another ledger")
    columns = {
        "at": entry.at,
        "workspace": entry.chain,
        "attempt_id": entry.attempt_id,
        "kind": entry.kind,
        "open_micros": entry.open_micros,
        "settled_micros": entry.settled_micros,
        "who": entry.who,
        "note": entry.note,
        "seq": entry.seq,
    }
    for name, value in columns.items():
        if getattr(row, name) != value:
            found.fault(f"{where}: its column `{name}` is not what was hashed")
    return entry


def _checked(number: int, entry: Entry, found: Verified) -> None:
    """What was written down when the ledger added up is what the entries before make (checked.py)."""
    made = {name: [end.open_micros, end.settled_micros] for name, end in found.chains.items()}
    if entry.facts.get("sums") != {name: both for name, both in made.items() if both != [0, 0]}:
        found.fault(f"entry {number}: the sums in it are not those of the entries before it")
    if not 0 <= entry.facts.get("seen", -1) < number:
        found.fault(f"entry {number}: it speaks of entries that come after it")


def _ends(connection: Connection, found: Verified) -> None:
    """The end of each chain as the ledger keeps it, against what was counted: a tail that is cut off shows here."""
    kept = {row.workspace: row for row in connection.execute(select(CHAINS))}
    for name in sorted({*kept, *found.chains}):
        end, row = found.chains.get(name), kept.get(name)
        if end is None or row is None or (row.head, row.frontier) != (end.head, end.frontier.to_bytes()):
            size = end.frontier.size if end else 0
            found.fault(f"chain {name} has {size} entries, and the row that keeps its end says otherwise")


# ---- the tables that entries speak of


class _Tables:
    """Compares rows with the entries that speak of them, as they go by, and in the end that there are no others."""

    def __init__(self, connection: Connection, found: Verified) -> None:
        self.connection = connection
        self.found = found
        self.counts = dict.fromkeys(("workspaces", "runs", "ended runs", "levers", "ended levers", "windows"), 0)
        self.state: dict[str, Any] = dict.fromkeys(("boot", "boot_ns", "boot_at", "clock_doubt", "frozen_reason"))
        self.joined = 0  # rows that joined a window when it was made
        self.named = 0  # rows that a reservation made
        self.caps: dict[int, tuple[int, int]] = {}  # window → its cap, and the entry that says so
        self.delivered = Standing()  # the entry of the newest delivery at each path
        self.recorded = {table.name: Standing() for table in RECORDS}  # the newest entry about each row
        self.purged_to = 0

    def heard(self, number: int, entry: Entry) -> None:
        """What entry `number` says of rows elsewhere."""
        facts = entry.facts
        match entry.kind:
            case "workspace":
                self._row(number, "workspaces", WORKSPACES, "name", entry.chain, facts)
            case "run":
                # Older programs said nothing of these, and so nothing may stand there.
                older = dict.fromkeys(("author", "approver", "approval"))
                self._row(number, "runs", RUNS, "id", facts.get("id"), {**older, **facts})
            case "run-ended":
                self._row(number, "ended runs", RUNS, "id", facts.get("id"), facts)
            case "stop" | "breach" | "grant" if "lever" in facts:
                lever = {name: value for name, value in facts["lever"].items() if not name.startswith("ended_")}
                self._row(number, "levers", LEVERS, "id", lever.get("id"), lever)
                if facts["lever"].get("ended_at") is not None:
                    self._row(number, "ended levers", LEVERS, "id", lever.get("id"), facts["lever"])
            case "resume" | "grant-ended":
                for lever_id in facts.get("levers", ()):
                    ended = {name: value for name, value in facts.items() if name != "levers"}
                    self._row(number, "ended levers", LEVERS, "id", lever_id, ended)
            case "window":
                self._window(number, facts)
            case "cap":
                self.caps[facts["id"]] = (facts["cap_micros"], number)
            case "purged":
                self.purged_to = max(self.purged_to, facts["up_to"])
        self.state |= {name: value for name, value in facts.items() if name in self.state}
        delivery = facts.get("delivery")
        if delivery is not None:
            self.delivered.put(number, delivery["replaces"])
        record = facts.get("record")
        if record is not None:
            self.recorded[record["table"]].put(number, record["replaces"])

    def _row(self, number: int, what: str, table: Any, key: str, value: Any, facts: Mapping[str, Any]) -> None:
        self.counts[what] += 1
        row = self.connection.execute(select(table).where(table.c[key] == value)).mappings().first()
        if row is None:
            self.found.fault(f"{table.name}: the row {value} that entry {number} speaks of is missing")
            return
        for name, said in facts.items():
            if row[name] != said:
                self.found.fault(f"{table.name}: row {value}: `{name}` is not what entry {number} says")

    def _window(self, number: int, facts: Mapping[str, Any]) -> None:
        names = {name: value for name, value in facts.items() if name not in ("joined", "joined_to", "cap_micros")}
        self._row(number, "windows", BUDGET_WINDOWS, "id", facts["id"], names)
        self.caps[facts["id"]] = (facts["cap_micros"], number)
        if joined_digest(self.connection, facts["id"], facts["joined_to"]) != facts["joined"]:
            self.found.fault(f"attempt_windows: other attempts stand in window {facts['id']} than entry {number} says")
        inside = (ATTEMPT_WINDOWS.c.window_id == facts["id"]) & (ATTEMPT_WINDOWS.c.attempt_id <= facts["joined_to"])
        count = select(func.count()).select_from(ATTEMPT_WINDOWS).where(inside)
        self.joined += self.connection.execute(count).scalar_one()

    def counted(self, left: list[int] | None) -> None:
        """No table has a row that no entry speaks of, and what changes over time ends as the last entry says.

        `left`: the attempts that are not just what their entries make them; None: all.
        """
        for what, (table, condition) in _COUNTS.items():
            query = select(func.count()).select_from(table)
            has = self.connection.execute(query if condition is None else query.where(condition)).scalar_one()
            if has != self.counts[what]:
                self.found.fault(f"{table.name}: {has} {what} are there, and entries speak of {self.counts[what]}")
        columns = BUDGET_WINDOWS.c
        for name, condition in _ENDED_BY_HALVES.items():
            for number in self.connection.execute(condition).scalars():
                self.found.fault(f"{name}: row {number} has an end that no entry speaks of")
        for row in self.connection.execute(select(columns.id, columns.cap_micros, columns.entry_id)):
            if self.caps.get(row.id) != (row.cap_micros, row.entry_id):
                self.found.fault(f"budget_windows: row {row.id}: its cap is not what the newest entry about it says")
        state = self.connection.execute(select(LEDGER_STATE)).mappings().one()
        if state["id"] != 1:
            self.found.fault("ledger_state: its one row has another number")
        for name, said in self.state.items():
            if state[name] != said:
                self.found.fault(f"ledger_state: `{name}` is not what the newest entry about it says")
        if left is None or not self._are_delivered(set(left)):
            self._deliveries()
        self._records()
        rows = self.connection.execute(select(func.count()).select_from(ATTEMPT_WINDOWS)).scalar_one()
        if rows != self.joined + self.named:
            self.found.fault(f"attempt_windows: {rows} rows are there, and entries speak of {self.joined + self.named}")

    def _are_delivered(self, left: set[int]) -> bool:
        """Whether each delivery is what the attempt that brought it says, or what its entry does; none is missing."""
        who_am_i = chain.identity(self.connection)
        standing = Standing()
        for entry_id, attempt, is_told in stream(driver_of(self.connection), _BROUGHT):
            standing.put(entry_id)
            if not is_told or attempt in left:
                row = self.connection.execute(_DELIVERY, {"entry": entry_id}).first()
                if row is None or self._delivery_off(row, who_am_i) is not None:
                    return False
        return standing == self.delivered

    def _deliveries(self) -> None:
        who_am_i = chain.identity(self.connection)
        standing = Standing()
        for row in _stream(self.connection, _DELIVERIES):
            standing.put(row.entry_id)
            fault = self._delivery_off(row, who_am_i)
            if fault is not None:
                self.found.fault(fault)
        if standing != self.delivered:
            self.found.fault("deliveries: a row is missing, or is an older one than the entries say")

    def _delivery_off(self, row: Row[Any], who_am_i: Identity) -> str | None:
        """What is wrong with a row of deliveries beside its entry; None: nothing."""
        entry = _read(row.payload)
        said = None if entry is None else entry.facts.get("delivery")
        if entry is None or said is None:
            return f"deliveries: no entry speaks of `{row.output_path}`"
        has = (row.output_path, who_am_i.digest(row.item_key), row.result_digest, row.at)
        if has != (said["output_path"], said["item_key"], said["result_digest"], entry.at):
            return f"deliveries: `{row.output_path}` is not what entry {row.entry_id} says"
        return None

    def _records(self) -> None:
        """Each row is what its newest entry says, and no entry's row is missing."""
        for table in RECORDS:
            standing = Standing()
            query = select(table, ENTRIES.c.payload).outerjoin(ENTRIES, ENTRIES.c.id == table.c.entry_id)
            for row in _stream(self.connection, query):
                standing.put(row.entry_id)
                entry = _read(row.payload)
                said = None if entry is None else entry.facts.get("record")
                has = {name: value for name, value in row._mapping.items() if name not in ("entry_id", "payload")}
                name = "/".join(str(row._mapping[column.name]) for column in table.primary_key)
                if said is None or said["table"] != table.name:
                    self.found.fault(f"{table.name}: no entry speaks of row {name}")
                elif said["row"] != has:
                    self.found.fault(f"{table.name}: row {name} is not what entry {row.entry_id} says")
            if standing != self.recorded[table.name]:
                self.found.fault(f"{table.name}: a row is missing, or is an older one than the entries say")


_DELIVERIES = select(DELIVERIES, ENTRIES.c.payload).outerjoin(ENTRIES, ENTRIES.c.id == DELIVERIES.c.entry_id)
_DELIVERY = _DELIVERIES.where(DELIVERIES.c.entry_id == bindparam("entry"))
# Which attempt brought what was delivered, and whether the row says the same of it.
_BROUGHT = (
    "SELECT d.entry_id, a.id, e.kind IN ('settle', 'unknown') AND d.output_path = a.output_path "
    "AND d.item_key = a.item_key AND d.result_digest = a.result_digest AND d.at = e.at "
    "FROM deliveries d LEFT JOIN entries e ON e.id = d.entry_id LEFT JOIN attempts a ON a.id = e.attempt_id"
)

_COUNTS: dict[str, tuple[Any, Any]] = {
    "workspaces": (WORKSPACES, None),
    "runs": (RUNS, None),
    "ended runs": (RUNS, RUNS.c.ended_at.is_not(None)),
    "levers": (LEVERS, None),
    "ended levers": (LEVERS, LEVERS.c.ended_at.is_not(None)),
    "windows": (BUDGET_WINDOWS, None),
}


_ENDED_BY_HALVES = {
    "runs": select(RUNS.c.id).where(RUNS.c.ended_at.is_(None), RUNS.c.outcome.is_not(None)),
    "levers": select(LEVERS.c.id).where(
        LEVERS.c.ended_at.is_(None), or_(LEVERS.c.ended_by.is_not(None), LEVERS.c.ended_note.is_not(None))
    ),
}


def _read(payload: bytes | None) -> Entry | None:
    try:
        return None if payload is None else decode(payload)
    except ValueError:
        return None


# ---- attempts: made anew from their entries, row for row


def _attempts(
    connection: Connection, who_am_i: Identity, tables: _Tables, left: list[int] | None, found: Verified
) -> None:
    """Each attempt that is left, all when that is None, from all of its entries."""
    if left == []:
        return
    told = _told(connection, left)
    booked = _booked(connection, left)
    entries = next(told, None)
    windows = next(booked, None)
    for row in _stream(connection, select(ATTEMPTS).where(*among(ATTEMPTS.c.id, left)).order_by(ATTEMPTS.c.id)):
        while entries is not None and entries[0] < row.id:
            found.fault(f"attempts: the row {entries[0]} that entries speak of is missing")
            entries = next(told, None)
        while windows is not None and windows[0] < row.id:
            windows = next(booked, None)
        has = windows[1] if windows is not None and windows[0] == row.id else set()
        if entries is None or entries[0] != row.id:
            found.fault(f"attempts: no entry speaks of row {row.id}")
            continue
        expected = entries[1]
        named = expected.pop("windows", [])
        tables.named += len(named)
        if not has.issuperset(named):
            found.fault(f"attempt_windows: attempt {row.id} is not in every window that it was reserved in")
        _compare(dict(row._mapping), expected, who_am_i, row.id <= tables.purged_to, found)
        entries = next(told, None)
        if found.full:
            return
    if entries is not None:
        found.fault(f"attempts: the row {entries[0]} that entries speak of is missing")


def _compare(
    row: Mapping[str, Any], expected: Mapping[str, Any], who_am_i: Identity, may_be_purged: bool, found: Verified
) -> None:
    for name, value in attempt_facts(who_am_i, row).items():
        if value == expected.get(name) or (may_be_purged and is_purged(name, row[name])):
            continue
        found.fault(f"attempts: row {row['id']}: `{name}` is not what its entries say")


def _told(connection: Connection, left: list[int] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every attempt as its entries make it, in the order of their numbers."""
    query = select(ENTRIES.c.attempt_id, ENTRIES.c.payload).where(ENTRIES.c.attempt_id.is_not(None))
    query = query.where(*among(ENTRIES.c.attempt_id, left)).order_by(ENTRIES.c.attempt_id, ENTRIES.c.id)
    number: int | None = None
    made: dict[str, Any] = {}
    for row in _stream(connection, query):
        if row.attempt_id != number:
            if number is not None:
                yield number, made
            number, made = row.attempt_id, {}
        entry = _read(row.payload)
        if entry is not None:
            _fold_in(made, entry)
    if number is not None:
        yield number, made


def _fold_in(made: dict[str, Any], entry: Entry) -> None:
    """Go on from one entry of an attempt to the next."""
    facts = {name: value for name, value in entry.facts.items() if name != "delivery"}
    match entry.kind:
        case "adopt":
            made.clear()
            made.update(facts)
        case "reserve":
            made.update(facts, id=entry.attempt_id)
        case "sent":
            made.update(state="sent", sent_at=entry.at)
        case "settle" | "release" | "unknown":
            made.update(facts)


def _booked(connection: Connection, left: list[int] | None) -> Iterator[tuple[int, set[int]]]:
    """The windows of every attempt, in the order of the attempts' numbers."""
    number: int | None = None
    held: set[int] = set()
    query = select(ATTEMPT_WINDOWS).where(*among(ATTEMPT_WINDOWS.c.attempt_id, left))
    query = query.order_by(ATTEMPT_WINDOWS.c.attempt_id, ATTEMPT_WINDOWS.c.window_id)
    for row in _stream(connection, query):
        if row.attempt_id != number:
            if number is not None:
                yield number, held
            number, held = row.attempt_id, set()
        held.add(row.window_id)
    if number is not None:
        yield number, held


# ---- prompts


def _wrong_texts(connection: Connection) -> list[str]:
    wrong = [
        f"texts: the text of {row.digest[:12]}… was changed"
        for row in _stream(connection, select(TEXTS))
        if sha256(row.text.encode("utf-8", "surrogatepass")).hexdigest() != row.digest
    ]
    for number in connection.execute(_LOST_TEXTS, {"purged": PURGED, "most": FAULTS_MAX}).scalars():
        wrong.append(f"texts: a prompt of attempt {number} is missing")
    for digest in connection.execute(_STRAY_TEXTS, {"most": FAULTS_MAX}).scalars():
        wrong.append(f"texts: no attempt has the text {digest[:12]}…")
    return wrong


_LOST_TEXTS = text(
    "SELECT a.id FROM attempts a WHERE (a.prompt_digest <> :purged AND NOT EXISTS "
    "(SELECT 1 FROM texts t WHERE t.digest = a.prompt_digest)) OR (a.negative_digest <> :purged AND NOT EXISTS "
    "(SELECT 1 FROM texts t WHERE t.digest = a.negative_digest)) LIMIT :most"
)
_STRAY_TEXTS = text(
    "SELECT digest FROM texts WHERE digest NOT IN (SELECT prompt_digest FROM attempts UNION "
    "SELECT negative_digest FROM attempts WHERE negative_digest IS NOT NULL) LIMIT :most"
)
_WRONG_PRICES = text(
    "SELECT coalesce(p.workspace, m.workspace) AS workspace, coalesce(p.model, m.model) AS model FROM prices p "
    "FULL OUTER JOIN (SELECT workspace, model, count(*) AS settled, max(billed_micros) AS highest FROM attempts "
    "WHERE state = 'settled' GROUP BY workspace, model) m ON m.workspace = p.workspace AND m.model = p.model "
    "WHERE p.settled_count IS NOT m.settled OR p.highest_micros IS NOT m.highest"
)


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    yield from connection.execute(query.execution_options(yield_per=_ROWS))
