"""What a provider's file says of the attempts: what it is compared with, and how its verdicts are kept.

A verdict is a record: one row an attempt, or a line that belongs to none, each told whole by an entry of the chain. An
unknown attempt is settled or released in the same transaction as the record of its evidence, so that dying between the
two is not possible, and doing all of it again changes nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn

from sqlalchemy import Connection, Row, bindparam, select, text

from runner.errors import LedgerError, UsageError
from runner.invoices import matching
from runner.invoices.file import InvoiceFile, micros_of, moment_of
from runner.invoices.matching import Matching, Ours, Proof
from runner.ledger import records
from runner.ledger.chain import Writing
from runner.ledger.database import Database, moment
from runner.ledger.ledger import Ledger
from runner.ledger.tables import AGREED_VERDICTS, ATTEMPTS, RECONCILED
from runner.money import exact

# The longest that a request can take: whoever dates its bill does so by then. omixa.toml allows no longer `timeout_s`.
REQUEST_MAX = timedelta(hours=1)

# How many verdicts are written in one transaction: whoever buys meanwhile must not wait long.
BATCH = 200

_COLUMNS = (
    "SELECT a.id, a.state, coalesce(a.billed_micros, a.reserved_micros) AS micros, a.model, a.request_id, a.sent_at, "
    "a.ended_at, r.verdict, r.theirs_micros, r.line_key, r.invoice, r.file_name, r.line "
    "FROM attempts a LEFT JOIN reconciled r ON r.key = 'attempt ' || a.id "
    "WHERE a.workspace = :workspace AND a.sent_at IS NOT NULL "
)
# By the day of the reservation, which has an index; the moment it was sent says what is meant.
_DAYS_AROUND = 2
_OF_DAYS = text(
    _COLUMNS + "AND a.day >= :first_day AND a.day <= :last_day AND a.sent_at >= :first AND a.sent_at <= :last"
)
_NAMED = text(
    "SELECT id, request_id FROM attempts "
    "WHERE workspace = :workspace AND request_id IS NOT NULL AND sent_at IS NOT NULL"
)
_ONE = text(_COLUMNS + "AND a.id = :attempt")
_KNOWN = select(RECONCILED).where(RECONCILED.c.key == bindparam("key"))
_STANDS = select(ATTEMPTS.c.state, ATTEMPTS.c.billed_micros).where(ATTEMPTS.c.id == bindparam("attempt"))


def attempts(
    database: Database, workspace: str, *, first: int, last: int, within: int, ids: Collection[str]
) -> list[Ours]:
    """The attempts that a file about `first` to `last` can speak of, and all that have one of these ids.

    Microseconds since 1970, UTC; `within` is added on both sides, and what the longest request takes before.
    """
    low, high = moment_of(first - within) - REQUEST_MAX, moment_of(last + within)
    around = timedelta(days=_DAYS_AROUND)
    names: dict[str, Any] = {"workspace": workspace, "first": moment(low), "last": moment(high)}
    names |= {"first_day": (low - around).date().isoformat(), "last_day": (high + around).date().isoformat()}
    with database.read() as connection:
        found = {row.id: _ours(row) for row in connection.execute(_OF_DAYS, names)}
        missing = set(ids) - {one.request_id for one in found.values()}
        if missing:
            named = connection.execution_options(yield_per=1000).execute(_NAMED, {"workspace": workspace})
            others = [row.id for row in named if row.request_id in missing and row.id not in found]
            for number in others:
                found[number] = _ours(connection.execute(_ONE, {"workspace": workspace, "attempt": number}).one())
    return list(found.values())


def _ours(row: Row[Any]) -> Ours:
    sent = datetime.fromisoformat(row.sent_at)
    latest = sent + REQUEST_MAX
    # What a person resolved, or what was booked from the spool days later, was not billed then.
    ended = latest if row.ended_at is None else min(latest, datetime.fromisoformat(row.ended_at))
    proof = None
    if row.verdict is not None:
        agreed = row.verdict in AGREED_VERDICTS
        said = (row.verdict, agreed, row.theirs_micros, row.line_key, row.invoice, row.file_name, row.line)
        proof = Proof(*said)
    micros = (micros_of(sent), micros_of(max(sent, ended)))
    return Ours(row.id, row.state, row.micros, row.model, row.request_id, *micros, proof)


@dataclass(slots=True)
class Applied:
    """What was done. `recorded`: verdicts written now; `already`: that stood there; `kept`: rows that an earlier file
    contradicts, which were left as they are; `changed`: attempts that changed while the file was compared. `breaches`:
    attempts billed above their reservation, which stopped the workspace.
    """

    recorded: int = 0
    already: int = 0
    settled: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    kept: list[matching.Row] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    breaches: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Source:
    """Whose file it is: the workspace's account, the name of `[invoices.NAME]`, the file; and who applies it."""

    account: str
    invoice: str
    file: InvoiceFile
    who: str


class Reconciling(Ledger):
    """The part of the ledger that keeps what files said. Any number of processes may apply the same or other files."""

    def apply(self, found: Matching, source: Source, *, at: datetime) -> Applied:
        """Settle and release what the file proves, and record every verdict. What stands there already stays."""
        done = Applied()
        plain = []
        for row in found.rows:
            if row.verdict in ("billed", "not-billed"):
                self._resolve(row, source, done, at)
            elif row.verdict not in matching.OPEN and row.verdict != "edge":
                plain.append(row)
        for start in range(0, len(plain), BATCH):
            # Counted only once it is committed.
            batch = Applied()
            with self._write(at) as writing:
                for row in plain[start : start + BATCH]:
                    _record(writing, row, source, batch)
            done.recorded += batch.recorded
            done.already += batch.already
            done.kept += batch.kept
            done.changed += batch.changed
        return done

    def _resolve(self, row: matching.Row, source: Source, done: Applied, at: datetime) -> None:
        """One unknown attempt on the evidence of the file; another process may have done so meanwhile."""
        one, line = row.ours, row.theirs
        assert one is not None
        batch = Applied()

        def evidence(writing: Writing) -> None:
            nonlocal batch
            batch = Applied()  # it may be called twice (together.py)
            _record(writing, row, source, batch)
            if batch.changed or batch.kept:
                _refuse_evidence(one.attempt_id)

        billed = None if line is None else line.micros
        note = note_of(row, source.file)
        try:
            breach = self.resolve(one.attempt_id, billed_micros=billed, note=note, who=source.who, at=at, also=evidence)
        except (UsageError, LedgerError) as error:
            if not self._was_meanwhile(row, error):
                raise
            known = self._known(_key(row))
            if known is not None and known.line_key == (None if line is None else line.key):
                done.already += 1
            else:
                done.changed.append(one.attempt_id)
            return
        done.recorded += batch.recorded
        (done.released if billed is None else done.settled).append(one.attempt_id)
        if breach:
            done.breaches.append(one.attempt_id)

    def _was_meanwhile(self, row: matching.Row, error: Exception) -> bool:
        """Whether it failed because the attempt is not unknown any more; else the ledger cannot be written."""
        assert row.ours is not None
        with self.database.read() as connection:
            stands = connection.execute(_STANDS, {"attempt": row.ours.attempt_id}).first()
        return isinstance(error, UsageError) or (stands is not None and stands.state != "unknown")

    def _known(self, key: str) -> Row[Any] | None:
        with self.database.read() as connection:
            return connection.execute(_KNOWN, {"key": key}).first()


def note_of(row: matching.Row, file: InvoiceFile) -> str:
    """The evidence in words, as it stands in the ledger with the settlement or release."""
    where = f"{file.name} (SHA-256 {file.digest[:16]}…)"
    line = row.theirs
    if line is None:
        return f"{where} lists what was billed before and after, and not this"
    by = f"id {line.id}" if row.evidence == "id" else "time, as the only one"
    return f"{where} line {line.number} bills {exact(line.micros)} at {moment(moment_of(line.at))}, found by {by}"


def _refuse_evidence(attempt_id: int) -> NoReturn:
    raise UsageError(
        f"attempt {attempt_id} changed while the file was compared", "nothing was changed; compare the file again"
    )


def _key(row: matching.Row) -> str:
    if row.ours is not None:
        return f"attempt {row.ours.attempt_id}"
    assert row.theirs is not None
    return f"line {row.theirs.key}"


def _record(writing: Writing, row: matching.Row, source: Source, done: Applied) -> None:
    """Keep one verdict, unless it is kept already, the attempt has changed, or an earlier file says otherwise."""
    connection = writing.connection
    key = _key(row)
    known = connection.execute(_KNOWN, {"key": key}).first()
    new = _values(row, source, writing)
    if known is not None and _says_the_same(known, new):
        done.already += 1
        return
    if row.ours is not None and not _stands(connection, row):
        done.changed.append(row.ours.attempt_id)
        return
    if known is not None and known.verdict in AGREED_VERDICTS:
        done.kept.append(row)
        return
    records.put(writing, RECONCILED, new, chain=source.account, kind="reconcile", who=source.who)
    done.recorded += 1
    if row.ours is not None and row.theirs is not None:
        _explain(writing, row.theirs.key, source)


def _says_the_same(known: Any, new: Mapping[str, Any]) -> bool:
    """Whether a verdict stands already; that an attempt is as another file had it needs no second proof."""
    if known.verdict in AGREED_VERDICTS and new["verdict"] == "matched":
        return bool(known.theirs_micros in (None, new["theirs_micros"]))
    same = ("verdict", "theirs_micros", "ours_micros", "line_key")
    return all(getattr(known, name) == new[name] for name in same)


def _stands(connection: Connection, row: matching.Row) -> bool:
    """Whether the attempt is still what was compared, or what this very row has just made of it."""
    one = row.ours
    assert one is not None
    stands = connection.execute(_STANDS, {"attempt": one.attempt_id}).one()
    match row.verdict:
        case "billed":
            return row.theirs is not None and (stands.state, stands.billed_micros) == ("settled", row.theirs.micros)
        case "not-billed":
            return bool(stands.state == "released")
        case _:
            billed = one.micros if one.state == "settled" else None
            return (stands.state, stands.billed_micros) == (one.state, billed)


def _values(row: matching.Row, source: Source, writing: Writing) -> dict[str, Any]:
    one, line = row.ours, row.theirs
    ours = one.micros if one is not None and one.state == "settled" else None
    if row.verdict == "billed" and line is not None:
        ours = line.micros
    return {
        "key": _key(row),
        "workspace": source.account,
        "attempt_id": None if one is None else one.attempt_id,
        "verdict": row.verdict,
        "evidence": row.evidence,
        "ours_micros": ours,
        "theirs_micros": None if line is None else line.micros,
        "line_key": None if line is None else line.key,
        "billed_at": None if line is None else moment(moment_of(line.at)),
        "invoice": source.invoice,
        "file_name": source.file.name,
        "file_digest": source.file.digest,
        "line": None if line is None else line.number,
        "who": source.who,
        "at": moment(writing.now),
    }


def _explain(writing: Writing, line_key: str, source: Source) -> None:
    """A line that belonged to nobody, and now does, is no difference any more."""
    known = writing.connection.execute(_KNOWN, {"key": f"line {line_key}"}).mappings().first()
    if known is not None and known["verdict"] != "explained":
        row = {name: value for name, value in known.items() if name != "entry_id"}
        row |= {"verdict": "explained", "who": source.who, "at": moment(writing.now)}
        records.put(writing, RECONCILED, row, chain=source.account, kind="reconcile", who=source.who)


def kept(database: Database, *, workspace: str | None = None) -> Iterator[dict[str, Any]]:
    """Every verdict as it stands, in the order of the attempts; lines of no attempt come last."""
    query = select(RECONCILED).order_by(RECONCILED.c.attempt_id.is_(None), RECONCILED.c.attempt_id, RECONCILED.c.key)
    if workspace is not None:
        query = query.where(RECONCILED.c.workspace == workspace)
    with database.read() as connection:
        for row in connection.execution_options(yield_per=1000).execute(query):
            yield dict(row._mapping)
