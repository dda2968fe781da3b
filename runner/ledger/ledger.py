"""The states of money: reserve, sent, settle, release, unknown, resolve. Every change is one durable transaction.

Balances (balances.py) change only here, together with the attempt and its entry. Every public function takes `at`
(aware, UTC); the ledger never goes back behind the latest moment it has used, so a window once left stays left.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from runner import windows
from runner.errors import LedgerError, UsageError
from runner.ledger import approvals, balances, clocks, corrections, levers, standing
from runner.ledger.balances import WindowRows
from runner.ledger.chain import Writing
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database, driver_of, moment
from runner.ledger.facts import attempt_facts
from runner.ledger.office import Office
from runner.ledger.prepared import Prepared
from runner.ledger.tables import (
    ATTEMPTS,
    DELIVERIES,
    LIVE_STATES,
    PRICES,
    RUNS,
    WORKSPACES,
)
from runner.ledger.values import (
    AlreadyBought,
    Approved,
    Asked,
    Cap,
    ClockDoubted,
    FirstOfPrice,
    Frozen,
    InFlight,
    Reservation,
    Reserved,
    Result,
    RunFacts,
    Stopped,
    Unpriced,
)
from runner.money import exact, show
from runner.providers.provider import Evidence

# These are texts with the states in them, not given as values. Where a partial index asks for a state, SQLite looks at
# the value to plan with, and so plans anew each time that it is given one.
_OF_ITEM = (
    "SELECT id, state, result_digest FROM attempts "
    "WHERE workspace = :workspace AND item_key = :key AND state <> 'released'"
)
_BEFORE = Prepared(f"{_OF_ITEM} LIMIT 2")
# The attempt that has open money, otherwise the one that paid, with a usable picture if there is one. Sorting takes
# several times as long as finding out that there is nothing to sort.
_FOREMOST = Prepared(f"{_OF_ITEM} ORDER BY live_key IS NULL, result_digest IS NULL, id DESC LIMIT 1")
_FIRST = Prepared(
    "SELECT id FROM attempts WHERE state IN ('reserved', 'sent') AND workspace = :workspace AND model = :model LIMIT 1"
)
_HIGHEST = Prepared(
    select(PRICES.c.highest_micros).where(
        PRICES.c.workspace == bindparam("workspace"), PRICES.c.model == bindparam("model")
    )
)
_ADD_ATTEMPT = Prepared(
    insert(ATTEMPTS),
    *("run_id", "workspace", "recipe", "model", "item_key", "live_key", "source_path", "source_digest", "source_bytes"),
    *("prompt_name", "prompt_digest", "negative_digest", "preset_name", "options", "output_path", "state"),
    *("reserved_micros", "breach", "day", "reserved_at"),
)
_ADD_TEXT = Prepared("INSERT INTO texts (digest, text) VALUES (:digest, :text) ON CONFLICT (digest) DO NOTHING")
_SENT = Prepared("UPDATE attempts SET state = 'sent', sent_at = :at WHERE id = :attempt AND state = 'reserved'")
# Apart, because RETURNING takes as long as the rest of that statement.
_WORKSPACE = Prepared(select(ATTEMPTS.c.workspace).where(ATTEMPTS.c.id == bindparam("attempt")))
_ATTEMPT = select(
    ATTEMPTS.c.id,
    ATTEMPTS.c.workspace,
    ATTEMPTS.c.model,
    ATTEMPTS.c.state,
    ATTEMPTS.c.reserved_micros,
    ATTEMPTS.c.item_key,
    ATTEMPTS.c.output_path,
    ATTEMPTS.c.day,
    ATTEMPTS.c.code,
    ATTEMPTS.c.result_digest,
    corrections.closed_to_of_attempt().label("closed_to"),
).where(ATTEMPTS.c.id == bindparam("attempt"))
_OPEN_ATTEMPT = Prepared(_ATTEMPT)
_CURRENCY = select(WORKSPACES.c.currency).where(WORKSPACES.c.name == bindparam("workspace"))
_ADD_WORKSPACE = insert(WORKSPACES)
_ADD_RUN = insert(RUNS).returning(RUNS.c.id)
_END_RUN = (
    update(RUNS)
    .where(RUNS.c.id == bindparam("run"), RUNS.c.ended_at.is_(None))
    .values(ended_at=bindparam("at"), outcome=bindparam("how"))
    .returning(RUNS.c.workspace, RUNS.c.who)
)
_DELIVERED = Prepared(select(DELIVERIES.c.entry_id).where(DELIVERIES.c.output_path == bindparam("path")))
_DELIVER = Prepared(
    "INSERT INTO deliveries (output_path, item_key, result_digest, at, entry_id) "
    "VALUES (:path, :key, :digest, :at, :entry) "
    "ON CONFLICT (output_path) DO UPDATE SET item_key = excluded.item_key, result_digest = excluded.result_digest, "
    "at = excluded.at, entry_id = excluded.entry_id"
)
_PRICE = Prepared(
    "INSERT INTO prices (workspace, model, settled_count, highest_micros) VALUES (:workspace, :model, 1, :billed) "
    "ON CONFLICT (workspace, model) DO UPDATE SET settled_count = prices.settled_count + 1, highest_micros = "
    "CASE WHEN prices.highest_micros < excluded.highest_micros THEN excluded.highest_micros "
    "ELSE prices.highest_micros END"
)


_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


class _Attempt(NamedTuple):
    """What `_ATTEMPT` selects, in its order."""

    id: int
    workspace: str
    model: str
    state: str
    reserved_micros: int
    item_key: str
    output_path: str
    day: str
    code: str | None
    result_digest: str | None
    closed_to: str | None


class Ledger(Office):
    """The ledger of one project. Safe to share between threads; any number of processes may use the same file."""

    def __init__(self, database: Database, *, uptime: Callable[[], Uptime | None] = clocks.uptime) -> None:
        super().__init__(database, uptime)
        self._windows = WindowRows()

    # ---- runs

    def begin_run(self, run: RunFacts, *, at: datetime, approved: Approved | None = None) -> int:
        """Record that a run starts, and with an approval that it is used. Raises UsageError when the workspace was
        recorded with another currency, ApprovalRefused when the approval has expired, is used, or is in use.
        """
        with self._write(at) as writing:
            connection = writing.connection
            if approved is not None:
                approvals.claim(writing, run, approved)
            known = connection.execute(_CURRENCY, {"workspace": run.workspace}).scalar_one_or_none()
            if known is None:
                connection.execute(_ADD_WORKSPACE, {"name": run.workspace, "currency": run.currency})
                writing.entry(run.workspace, "workspace", run.who, {"currency": run.currency})
            elif known != run.currency:
                raise UsageError(
                    f"workspace `{run.workspace}` is kept in {known} in the ledger, omixa.toml says {run.currency}",
                    "amounts of two currencies never add up: give the workspace a new name",
                )
            values = {
                "uid": run.uid,
                "workspace": run.workspace,
                "recipe": run.recipe,
                "recipe_path": run.recipe_path,
                "recipe_digest": run.recipe_digest,
                "git_commit": run.git_commit,
                "git_dirty": None if run.git_dirty is None else int(run.git_dirty),
                "slot": run.slot,
                "cost_centre": run.cost_centre,
                "labels": json.dumps(dict(run.labels), sort_keys=True, ensure_ascii=False),
                "who": run.who,
                "program": run.program,
                "started_at": moment(at),
                "author": run.author,
                "approver": run.approver,
                "approval": run.approval,
            }
            number = int(connection.execute(_ADD_RUN, values).scalar_one())
            writing.entry(run.workspace, "run", run.who, {"id": number, **values})
            return number

    def end_run(self, run_id: int, outcome: str, *, at: datetime) -> None:
        """Record how a run ended. Its open attempts, if any, keep their state."""
        with self._write(at) as writing:
            values = {"ended_at": moment(at), "outcome": outcome}
            names = {"run": run_id, "at": values["ended_at"], "how": outcome}
            run = writing.connection.execute(_END_RUN, names).first()
            if run is not None:
                writing.entry(run.workspace, "run-ended", run.who, {"id": run_id, **values})

    # ---- the states of money

    def reserve(
        self,
        run_id: int,
        run: RunFacts,
        asked: Asked,
        *,
        amount_micros: int | None,
        caps: Sequence[Cap],
        at: datetime,
        again: bool = False,
    ) -> Reservation:
        """Set aside the most a request may cost, in every window it falls under, before it is sent: all or nothing.

        `amount_micros` is the declared ceiling, None when nothing is declared; it is raised to the highest bill ever
        seen for the model, never shrunk to fit. `again` buys an item that was paid before (`--reroll`). Anything but
        Reserved took no money.
        """
        assert amount_micros is None or amount_micros > 0
        up = self._uptime()

        def change(writing: Writing) -> Reservation:
            stopped = self._stopped(writing, run, asked, at, up, again)
            if stopped is not None:
                return stopped
            amount = _amount(writing, run.workspace, asked.model, amount_micros)
            if not isinstance(amount, int):
                return amount
            latest = balances.latest_reservation(writing)
            doubt = self._doubt(writing, run, caps, at, latest, up)
            if doubt is not None:
                return ClockDoubted(doubt)
            within = at if latest is None else max(at, latest)
            day = _open_day(writing, run.workspace, windows.local_day(within, run.zone))
            granted = (
                standing.granted(driver_of(writing.reader), run.workspace, within)
                if levers.any_active(writing, run.workspace)
                else {}
            )
            held = self._windows.all(writing, run, caps, day, granted)
            if held and not balances.take(writing, held, amount):
                return balances.refusal(writing.reader, held, amount, day)
            return _reserved(writing, run_id, run, asked, amount, day, within, held)

        return self._book(at, change)

    def _stopped(
        self, writing: Writing, run: RunFacts, asked: Asked, at: datetime, up: Uptime | None, again: bool
    ) -> Frozen | Stopped | InFlight | AlreadyBought | None:
        """Why this item is not reserved now, whatever it costs; None: it may be."""
        state = _state(writing)
        if state.frozen_reason is not None:
            return Frozen(state.frozen_reason)
        if levers.any_active(writing, run.workspace):
            stopped = standing.stopped(driver_of(writing.reader), run.workspace, clocks.believed(state, at, up))
            if stopped is not None:
                return stopped
        names = {"workspace": run.workspace, "key": asked.item_key}
        before = writing.run(_BEFORE, names).fetchall()
        if len(before) > 1:
            before = writing.run(_FOREMOST, names).fetchall()
        for attempt_id, its_state, result_digest in before:
            if its_state != "settled":
                return InFlight(attempt_id, its_state)
            if not again:
                return AlreadyBought(attempt_id, result_digest)
        return None

    def _doubt(
        self,
        writing: Writing,
        run: RunFacts,
        caps: Sequence[Cap],
        at: datetime,
        latest: datetime | None,
        up: Uptime | None,
    ) -> str | None:
        """Why the clock is not believed. Windows move forward by the moments of reservations only: a bill that is
        booked while the clock is wrong opens none.
        """
        periods = [cap.calendar for cap in caps if cap.calendar is not None]
        return clocks.doubt(writing, _state(writing), at=at, latest=latest, zone=run.zone, periods=periods, up=up)

    def sent(self, attempt_id: int, *, who: str, at: datetime) -> None:
        """Record, durably, that the request's body is about to leave. Raises LedgerError when it must not."""

        def change(writing: Writing) -> None:
            changed = writing.run(_SENT, {"attempt": attempt_id, "at": moment(writing.now)}).rowcount
            if not changed:
                raise LedgerError(
                    f"attempt {attempt_id} is no longer reserved, so it must not be sent",
                    f"`omixa audit show {attempt_id}` tells what happened to it",
                )
            (workspace,) = writing.run(_WORKSPACE, {"attempt": attempt_id}).fetchone()
            writing.entry(workspace, "sent", who, {}, attempt_id=attempt_id)

        self._book(at, change)

    def settle(
        self,
        attempt_id: int,
        *,
        billed_micros: int,
        billed_text: str | None,
        code: str,
        message: str | None,
        evidence: Evidence | None,
        result: Result | None,
        who: str,
        at: datetime,
        note: str | None = None,
        also: Callable[[Writing], None] | None = None,
    ) -> bool:
        """Book what was billed, whatever it is; the reservation is freed in the windows it was made in.

        Returns True on a breach: billed above the reservation. Then the workspace stops until a person resumes it.
        `also`: what is written in the same transaction, such as the evidence.
        """

        def change(writing: Writing) -> bool:
            attempt = _open_attempt(writing, attempt_id, "sent", "unknown")
            breach = bool(billed_micros > attempt.reserved_micros)
            values: dict[str, Any] = {
                "state": "settled",
                "live_key": None,
                "billed_micros": billed_micros,
                "billed_text": billed_text,
                "breach": int(breach),
                "ended_at": moment(writing.now),
            }
            values |= _told(code, message, evidence) | _shown(result)
            self._correct(writing, attempt, values, who, note)
            _close(writing, attempt, values, billed_micros)
            delivery = _delivery(writing, attempt.output_path, attempt.item_key, result)
            entry_id = writing.entry(
                attempt.workspace,
                "settle",
                who,
                attempt_facts(writing.identity, values) | delivery,
                attempt_id=attempt_id,
                opened=-attempt.reserved_micros,
                settled=billed_micros,
                note=note,
            )
            _note_price(writing, attempt.workspace, attempt.model, billed_micros)
            if delivery:
                _deliver(writing, attempt.output_path, attempt.item_key, delivery, entry_id)
            if breach:
                _stop_for_breach(writing, attempt, billed_micros, who)
            if also is not None:
                also(writing)
            return breach

        return self._book(at, change)

    def release(
        self,
        attempt_id: int,
        *,
        code: str,
        message: str | None,
        evidence: Evidence | None,
        who: str,
        at: datetime,
        note: str | None = None,
        also: Callable[[Writing], None] | None = None,
    ) -> None:
        """Give the reservation back: it is certain, or declared policy, that nothing was billed.

        `also`: as in `settle`.
        """

        def change(writing: Writing) -> None:
            attempt = _open_attempt(writing, attempt_id, *LIVE_STATES)
            values = {"state": "released", "live_key": None, "ended_at": moment(writing.now)}
            values |= _told(code, message, evidence)
            self._correct(writing, attempt, values, who, note)
            _close(writing, attempt, values, 0)
            writing.entry(
                attempt.workspace,
                "release",
                who,
                attempt_facts(writing.identity, values),
                attempt_id=attempt_id,
                opened=-attempt.reserved_micros,
                note=note,
            )
            if also is not None:
                also(writing)

        self._book(at, change)

    def unknown(
        self,
        attempt_id: int,
        *,
        code: str,
        message: str | None,
        evidence: Evidence | None,
        result: Result | None,
        who: str,
        at: datetime,
    ) -> None:
        """Keep the reservation: it may have been billed. Time never frees it, only `resolve` does."""

        def change(writing: Writing) -> None:
            attempt = _open_attempt(writing, attempt_id, "sent")
            values: dict[str, Any] = {"state": "unknown"} | _told(code, message, evidence) | _shown(result)
            self._correct(writing, attempt, values, who, None)
            _change(writing, attempt_id, values)
            delivery = _delivery(writing, attempt.output_path, attempt.item_key, result)
            facts = attempt_facts(writing.identity, values) | delivery
            entry_id = writing.entry(attempt.workspace, "unknown", who, facts, attempt_id=attempt_id)
            if delivery:
                _deliver(writing, attempt.output_path, attempt.item_key, delivery, entry_id)

        self._book(at, change)

    def resolve(
        self,
        attempt_id: int,
        *,
        billed_micros: int | None,
        note: str,
        who: str,
        at: datetime,
        also: Callable[[Writing], None] | None = None,
    ) -> bool:
        """Settle (or, with `billed_micros` None, release) an unknown attempt on a person's evidence.

        Returns True on a breach, as `settle` does. Raises UsageError when the attempt is not unknown. `also`: as in
        `settle`.
        """
        with self.database.read() as connection:
            attempt = connection.execute(_ATTEMPT, {"attempt": attempt_id}).first()
        if attempt is None:
            raise UsageError(f"there is no attempt {attempt_id}", "`omixa audit list --state unknown` lists them")
        if attempt.state != "unknown":
            raise UsageError(
                f"attempt {attempt_id} is {attempt.state}; only an unknown attempt can be resolved",
                f"`omixa audit show {attempt_id}` tells how it ended",
            )
        if billed_micros is None:
            self.release(
                attempt_id,
                code="resolved",
                message=note,
                evidence=None,
                who=who,
                at=at,
                note=f"not billed: {note}",
                also=also,
            )
            return False
        return self.settle(
            attempt_id,
            billed_micros=billed_micros,
            billed_text=None,
            code="resolved",
            message=note,
            evidence=None,
            result=None,
            who=who,
            at=at,
            note=f"billed {exact(billed_micros)}: {note}",
            also=also,
        )

    def deliver(self, run: RunFacts, output_path: str, item_key: str, result_digest: str, *, at: datetime) -> None:
        """Record that a paid result now stands at an output path."""

        def change(writing: Writing) -> None:
            delivery = _delivered(writing, output_path, item_key, result_digest)
            entry_id = writing.entry(run.workspace, "deliver", run.who, delivery)
            _deliver(writing, output_path, item_key, delivery, entry_id)

        self._book(at, change)

    def _correct(self, writing: Writing, attempt: Any, values: Mapping[str, Any], who: str, reason: str | None) -> None:
        """In a closed window, tell the change as a correction first: without it the database refuses the change."""
        corrections.correct(writing, attempt, values, who=who, reason=reason, uptime=self._uptime)


# ---- inside a transaction


def _stop_for_breach(writing: Writing, attempt: Any, billed: int, who: str) -> None:
    currency = writing.connection.execute(_CURRENCY, {"workspace": attempt.workspace}).scalar_one()
    reason = (
        f"attempt {attempt.id} was billed {show(billed, currency)}, above its reservation of "
        f"{show(attempt.reserved_micros, currency)}"
    )
    levers.add(writing, "breach", attempt.workspace, reason=reason, who=who, attempt_id=attempt.id)


def _state(writing: Writing) -> Any:
    return writing.known("state", lambda: clocks.state(writing.reader))


def _open_day(writing: Writing, workspace: str, day: date) -> date:
    """`day`, or the first that is not closed."""
    closed = writing.known(("closed", workspace), lambda: standing.closed_to(driver_of(writing.reader), workspace))
    return standing.day_after(closed, day)


def _amount(writing: Writing, workspace: str, model: str, declared_micros: int | None) -> int | FirstOfPrice | Unpriced:
    """The most that one request may cost, micro-units; or why nobody knows."""
    seen = _highest(writing, workspace, model)
    if seen is None:
        first = writing.run(_FIRST, {"workspace": workspace, "model": model}).fetchone()
        if first is not None:
            return FirstOfPrice(first[0])
    amount = max(declared_micros or 0, seen or 0)
    return Unpriced(model) if amount == 0 else amount


def _highest(writing: Writing, workspace: str, model: str) -> int | None:
    """The highest bill that was ever seen for a model, micro-units; None: there was none."""

    def find() -> int | None:
        row = writing.run(_HIGHEST, {"workspace": workspace, "model": model}).fetchone()
        return None if row is None else int(row[0])

    return writing.known(("price", workspace, model), find)


def _note_price(writing: Writing, workspace: str, model: str, billed: int) -> None:
    """One more bill: the ceiling is at least the highest."""
    before = _highest(writing, workspace, model)
    writing.run(_PRICE, {"workspace": workspace, "model": model, "billed": billed})
    writing.learn(("price", workspace, model), billed if before is None else max(before, billed))


def _reserved(
    writing: Writing,
    run_id: int,
    run: RunFacts,
    asked: Asked,
    amount: int,
    day: date,
    at: datetime,
    held: Sequence[tuple[int, Cap]],
) -> Reserved:
    """The row of an attempt, its windows and its entry. `at`: the moment of its windows."""
    _add_text(writing, asked.prompt_digest, asked.prompt)
    if asked.negative is not None and asked.negative_digest is not None:
        _add_text(writing, asked.negative_digest, asked.negative)
    values = {
        "run_id": run_id,
        "workspace": run.workspace,
        "recipe": run.recipe,
        "model": asked.model,
        "item_key": asked.item_key,
        "live_key": asked.item_key,
        "source_path": asked.source_path,
        "source_digest": asked.source_digest,
        "source_bytes": asked.source_bytes,
        "prompt_name": asked.prompt_name,
        "prompt_digest": asked.prompt_digest,
        "negative_digest": asked.negative_digest,
        "preset_name": asked.preset_name,
        "options": asked.options,
        "output_path": asked.output_path,
        "state": "reserved",
        "reserved_micros": amount,
        "breach": 0,
        "day": day.isoformat(),
        "reserved_at": moment(at),
    }
    number = writing.add(_ADD_ATTEMPT, values)
    writing.learn("latest reservation", at)
    if held:
        balances.join(writing, number, held)
    facts = attempt_facts(writing.identity, values)
    facts["windows"] = sorted(id_ for id_, _ in held)
    writing.entry(run.workspace, "reserve", run.who, facts, attempt_id=number, opened=amount)
    return Reserved(number, amount)


def _add_text(writing: Writing, digest: str, text: str) -> None:
    """A prompt is kept once, however many attempts have it."""

    def add() -> bool:
        writing.run(_ADD_TEXT, {"digest": digest, "text": text})
        return True

    writing.known(("text", digest), add)


def _open_attempt(writing: Writing, attempt_id: int, *states: str) -> _Attempt:
    """The attempt, when it is in one of the states from which this change is allowed. Raises LedgerError."""
    row = writing.run(_OPEN_ATTEMPT, {"attempt": attempt_id}).fetchone()
    attempt = None if row is None else _Attempt._make(row)
    if attempt is None or attempt.state not in states:
        found = "missing" if attempt is None else attempt.state
        raise LedgerError(
            f"attempt {attempt_id} is {found}, expected {' or '.join(states)}; nothing was changed",
            f"another process ended it; `omixa audit show {attempt_id}` tells how",
        )
    return attempt


def _close(writing: Writing, attempt: Any, values: Mapping[str, Any], billed: int) -> None:
    """End an attempt: its reservation leaves every window it was made in, and what was billed enters them."""
    _change(writing, attempt.id, values)
    balances.free(writing, attempt.id, reserved=attempt.reserved_micros, billed=billed)


def _change(writing: Writing, attempt_id: int, values: Mapping[str, Any]) -> None:
    writing.run(_change_statement(tuple(values)), {**values, "attempt": attempt_id})


@cache
def _change_statement(names: tuple[str, ...]) -> Prepared:
    """As text it is built once for each set of columns, not once per request."""
    assert all(name in ATTEMPTS.c for name in names)
    columns = ", ".join(f"{name} = :{name}" for name in names)
    return Prepared(f"UPDATE attempts SET {columns} WHERE id = :attempt")  # noqa: S608 - names of columns, no input


def _told(code: str, message: str | None, evidence: Evidence | None) -> dict[str, Any]:
    """What came back, as columns. Without new evidence the old stays."""
    values: dict[str, Any] = {"code": code, "message": message}
    if evidence is not None:
        values |= {
            "status": evidence.status,
            "request_id": evidence.request_id,
            "headers": _JSON(dict(evidence.headers)),
            "body_head": evidence.body_head,
        }
    return values


def _shown(result: Result | None) -> dict[str, Any]:
    """The picture that came, as columns. Without a new picture the old stays."""
    if result is None:
        return {}
    return {
        "result_digest": result.digest,
        "result_bytes": result.size_bytes,
        "result_width": result.width,
        "result_height": result.height,
        "remark": result.remark,
    }


def _delivery(writing: Writing, output_path: str, item_key: str, result: Result | None) -> dict[str, Any]:
    """What an entry says of a picture that was written out with it; empty when none was."""
    if result is None or not result.delivered:
        return {}
    return _delivered(writing, output_path, item_key, result.digest)


def _delivered(writing: Writing, output_path: str, item_key: str, digest: str) -> dict[str, Any]:
    """The facts of a delivery; `replaces` is the entry of what was delivered there before, 0 for the first."""
    before = writing.run(_DELIVERED, {"path": output_path}).fetchone()
    return {
        "delivery": {
            "output_path": output_path,
            "item_key": writing.digest(item_key),
            "result_digest": digest,
            "replaces": 0 if before is None else before[0],
        }
    }


def _deliver(writing: Writing, output_path: str, item_key: str, delivery: Mapping[str, Any], entry_id: int) -> None:
    digest = delivery["delivery"]["result_digest"]
    values = {"path": output_path, "key": item_key, "digest": digest, "at": moment(writing.now), "entry": entry_id}
    writing.run(_DELIVER, values)
