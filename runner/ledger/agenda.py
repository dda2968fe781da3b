"""Schedules and their slots as records: who looks after which due moment, and how each of them ended.

A slot is a row of its own from the moment anybody sees it due; the unique pair of recipe and moment makes any number of
schedulers harmless. Every public function takes `at` (aware, UTC).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, func, select, text

from runner.ledger import clocks, records
from runner.ledger.chain import Writing
from runner.ledger.database import Database, moment
from runner.ledger.office import Office
from runner.ledger.tables import OPEN_SLOT_STATES, SCHEDULES, SLOTS

SlotState = Literal["waiting", "running", "ran", "skipped", "refused", "failed", "missed", "overlapped"]

# How many slots are written in one transaction: whoever buys meanwhile must not wait long.
BATCH = 200

_SCHEDULE = select(SCHEDULES).where(SCHEDULES.c.recipe == bindparam("recipe"))
_SCHEDULES = select(SCHEDULES).order_by(SCHEDULES.c.recipe)
_SLOT = select(SLOTS).where(SLOTS.c.id == bindparam("slot"))
_SLOT_AT = select(SLOTS).where(SLOTS.c.recipe == bindparam("recipe"), SLOTS.c.due_at == bindparam("due_at"))
_LATEST = select(func.max(SLOTS.c.due_at)).where(SLOTS.c.recipe == bindparam("recipe"))
_NEXT_ID = select(func.coalesce(func.max(SLOTS.c.id), 0) + 1)
# As text with the states in it, so that the index over what is open can be used.
_OPEN = text(f"SELECT * FROM slots WHERE state IN {OPEN_SLOT_STATES} ORDER BY id")  # noqa: S608 - our own words
_OPEN_OF = text(f"SELECT * FROM slots WHERE state IN {OPEN_SLOT_STATES} AND recipe = :recipe ORDER BY id")  # noqa: S608
_RECIPES = select(SCHEDULES.c.recipe).union(select(SLOTS.c.recipe))
_RAN_LAST = select(func.max(SLOTS.c.due_at)).where(
    SLOTS.c.recipe == bindparam("recipe"), SLOTS.c.state.in_(("ran", "refused", "failed", "running"))
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recipe's timing as last seen. `timing` None: it has no schedule now.

    `since`: slots up to this moment are accounted for. `paused_at` None: not paused by an operator.
    """

    recipe: str
    workspace: str
    timing: str | None
    zone: str
    since: datetime
    paused_at: datetime | None = None
    paused_by: str | None = None
    paused_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One due moment of a recipe, and what became of it. Micro-units; None: not known, or not yet.

    `owner`: the lock of the process that looks after it. `reason` is in words, for people.
    """

    id: int
    recipe: str
    due_at: datetime
    workspace: str
    state: SlotState
    who: str
    claimed_at: datetime
    reason: str | None = None
    run_uid: str | None = None
    owner: str | None = None
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    expected_micros: int | None = None
    billed_micros: int | None = None
    bought: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits or runs."""
        return self.state in OPEN_SLOT_STATES


class Agenda(Office):
    """What is written about schedules and slots. Safe to share between threads; any number of processes may write."""

    def __init__(self, database: Database, *, uptime: Callable[[], clocks.Uptime | None] = clocks.uptime) -> None:
        super().__init__(database, uptime)

    # ---- schedules

    def watch(
        self, recipe: str, workspace: str, timing: str | None, zone: str, *, who: str, at: datetime
    ) -> tuple[Schedule | None, Schedule]:
        """Record the timing of a recipe: what was recorded before (None: nothing), and what is now.

        A new timing counts from `at` on; one that is the same goes on from where it was. `timing` None: none any more.
        """
        with self._write(at) as writing:
            before = _schedule(writing.connection, recipe)
            if before is not None and (before.timing, before.zone, before.workspace) == (timing, zone, workspace):
                return before, before
            if before is None:
                now = Schedule(recipe, workspace, timing, zone, since=at)
            else:
                now = replace(before, workspace=workspace, timing=timing, zone=zone, since=max(at, before.since))
            _put_schedule(writing, now, "schedule", who)
            return before, now

    def pause(self, recipe: str, workspace: str, zone: str, *, reason: str, who: str, at: datetime) -> Schedule:
        """Let no slot of a recipe run until somebody unpauses it; each is recorded as skipped."""
        with self._write(at) as writing:
            before = _schedule(writing.connection, recipe) or Schedule(recipe, workspace, None, zone, since=at)
            now = replace(before, paused_at=at, paused_by=who, paused_reason=reason)
            _put_schedule(writing, now, "pause", who)
            return now

    def unpause(self, recipe: str, *, who: str, at: datetime) -> Schedule | None:
        """Let its slots run again. Returns the schedule as it was; None when it was not paused."""
        with self._write(at) as writing:
            before = _schedule(writing.connection, recipe)
            if before is None or before.paused_at is None:
                return None
            now = replace(before, paused_at=None, paused_by=None, paused_reason=None)
            _put_schedule(writing, now, "unpause", who)
            return before

    # ---- slots

    def claim(
        self,
        recipe: str,
        due_at: datetime,
        workspace: str,
        *,
        owner: str,
        who: str,
        at: datetime,
        overlap: Literal["skip", "queue"] = "skip",
    ) -> Slot | None:
        """Become the one who looks after a slot; None when somebody else has it, or had it.

        While an earlier slot of the recipe is open it comes back overlapped, or with `queue` as one that waits; but
        at most one waits.
        """
        with self._write(at) as writing:
            connection = writing.connection
            if connection.execute(_SLOT_AT, {"recipe": recipe, "due_at": moment(due_at)}).first() is not None:
                return None
            earlier = _slots(connection.execute(_OPEN_OF, {"recipe": recipe}))
            slot = Slot(_next(connection), recipe, due_at, workspace, "waiting", who, at, owner=owner)
            if earlier and (overlap == "skip" or any(one.state == "waiting" for one in earlier)):
                first = f"{earlier[0].due_at:%Y-%m-%d %H:%M} UTC"
                reason = f"the run of {first} still went on"
                if earlier[0].state == "waiting" and earlier[0].reason is not None:
                    # How it is approved, that slot says itself.
                    reason = f"the slot of {first} still {earlier[0].reason.partition(':')[0]}"
                if overlap == "queue":
                    reason += ", and another one waits for it already"
                slot = replace(slot, state="overlapped", reason=reason, ended_at=at)
            _put_slot(writing, slot, who)
            return slot

    def adopt(self, slot_id: int, *, before: str | None, owner: str, who: str, at: datetime) -> Slot | None:
        """Look after a slot that waits and whose process is gone; None when somebody else was first."""
        with self._write(at) as writing:
            slot = _slot(writing.connection, slot_id)
            if slot.state != "waiting" or slot.owner != before:
                return None
            slot = replace(slot, owner=owner, who=who)
            _put_slot(writing, slot, who)
            return slot

    def begin(self, slot_id: int, *, owner: str, who: str, at: datetime) -> Slot | None:
        """A slot that waits begins to run; None when it does not wait any more, or is another's: do not run it then."""
        with self._write(at) as writing:
            slot = _slot(writing.connection, slot_id)
            if slot.state != "waiting" or slot.owner != owner:
                return None
            slot = replace(slot, state="running", begun_at=at, reason=None)
            _put_slot(writing, slot, who)
            return slot

    def park(self, slot_id: int, reason: str, *, who: str, at: datetime) -> None:
        """A slot that has begun waits again, for what the reason says: nothing was bought."""
        with self._write(at) as writing:
            slot = replace(_slot(writing.connection, slot_id), state="waiting", begun_at=None, reason=reason)
            _put_slot(writing, slot, who)

    def runs_as(self, slot_id: int, run_uid: str, expected_micros: int, *, who: str, at: datetime) -> None:
        """Record which run a slot has begun, and what its plan expects to spend."""
        with self._write(at) as writing:
            slot = replace(_slot(writing.connection, slot_id), run_uid=run_uid, expected_micros=expected_micros)
            _put_slot(writing, slot, who)

    def end(
        self,
        slot_id: int,
        state: SlotState,
        reason: str | None,
        *,
        who: str,
        at: datetime,
        billed_micros: int | None = None,
        bought: int | None = None,
        owner: str | None = None,
    ) -> bool:
        """Record how a slot ended. False when it had ended already, or (with `owner`) is looked after by another."""
        assert state not in OPEN_SLOT_STATES
        with self._write(at) as writing:
            slot = _slot(writing.connection, slot_id)
            if not slot.is_open or (owner is not None and slot.owner != owner):
                return False
            slot = replace(slot, state=state, reason=reason, ended_at=at, billed_micros=billed_micros, bought=bought)
            _put_slot(writing, slot, who)
            return True

    def account(
        self,
        recipe: str,
        workspace: str,
        moments: Sequence[datetime],
        state: SlotState,
        reason: str,
        *,
        who: str,
        at: datetime,
    ) -> int:
        """Record slots that do not run, each once; how many nobody had recorded yet."""
        assert state not in OPEN_SLOT_STATES
        added = 0
        for start in range(0, len(moments), BATCH):
            with self._write(at) as writing:
                number = _next(writing.connection)
                for due_at in moments[start : start + BATCH]:
                    names = {"recipe": recipe, "due_at": moment(due_at)}
                    if writing.connection.execute(_SLOT_AT, names).first() is None:
                        slot = Slot(number, recipe, due_at, workspace, state, who, at, reason=reason, ended_at=at)
                        _put_slot(writing, slot, who)
                        number, added = number + 1, added + 1
        return added

    def clock_ran_ahead(self, at: datetime) -> str | None:
        """Why a moment is not believed, by the machine's own count of time; None: it is."""
        with self.database.read() as connection:
            return clocks.ran_ahead(clocks.state(connection), at, self._uptime())


# ---- reading


def schedule(database: Database, recipe: str) -> Schedule | None:
    """What is recorded of a recipe's timing; None: nothing."""
    with database.read() as connection:
        return _schedule(connection, recipe)


def schedules(database: Database) -> dict[str, Schedule]:
    """What is recorded of every recipe's timing, by recipe."""
    with database.read() as connection:
        found = [_schedule_of(row) for row in connection.execute(_SCHEDULES)]
        return {one.recipe: one for one in found}


def recipes(database: Database) -> set[str]:
    """Every recipe that the ledger has a schedule or a slot of, also those that are gone from the disk."""
    with database.read() as connection:
        return set(connection.execute(_RECIPES).scalars())


def accounted_to(database: Database, recipe: str) -> datetime | None:
    """Up to which moment every slot of a recipe has a row, or was before its schedule; None: it is not watched."""
    with database.read() as connection:
        found = _schedule(connection, recipe)
        latest = connection.execute(_LATEST, {"recipe": recipe}).scalar_one_or_none()
        if found is None:
            return None
        return found.since if latest is None else max(found.since, _moment(latest))


def open_slots(database: Database) -> list[Slot]:
    """The slots that wait or run, in the order they were claimed."""
    with database.read() as connection:
        return _slots(connection.execute(_OPEN))


def ran_last(database: Database, recipe: str) -> datetime | None:
    """The newest slot of a recipe that was run, however it ended; None: none was."""
    with database.read() as connection:
        found = connection.execute(_RAN_LAST, {"recipe": recipe}).scalar_one_or_none()
        return None if found is None else _moment(found)


def slots(
    database: Database,
    *,
    recipe: str | None = None,
    states: Sequence[SlotState] = (),
    after: datetime | None = None,
    newest: int = 50,
) -> list[Slot]:
    """The newest slots by due moment, the newest last. `after`: only those due later."""
    query = select(SLOTS)
    if recipe is not None:
        query = query.where(SLOTS.c.recipe == recipe)
    if states:
        query = query.where(SLOTS.c.state.in_(states))
    if after is not None:
        query = query.where(SLOTS.c.due_at > moment(after))
    with database.read() as connection:
        found = _slots(connection.execute(query.order_by(SLOTS.c.due_at.desc(), SLOTS.c.id.desc()).limit(newest)))
    return found[::-1]


def count_by_state(database: Database, recipe: str, after: datetime | None = None) -> dict[str, int]:
    """How many slots of a recipe ended in each state. `after`: only those due later."""
    query = select(SLOTS.c.state, func.count()).where(SLOTS.c.recipe == recipe).group_by(SLOTS.c.state)
    if after is not None:
        query = query.where(SLOTS.c.due_at > moment(after))
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


# ---- rows


def _schedule(connection: Connection, recipe: str) -> Schedule | None:
    row = connection.execute(_SCHEDULE, {"recipe": recipe}).first()
    return None if row is None else _schedule_of(row)


def _schedule_of(row: Any) -> Schedule:
    paused_at = None if row.paused_at is None else _moment(row.paused_at)
    return Schedule(
        row.recipe,
        row.workspace,
        row.timing,
        row.zone,
        _moment(row.since),
        paused_at,
        row.paused_by,
        row.paused_reason,
    )


def _put_schedule(writing: Writing, one: Schedule, kind: str, who: str) -> None:
    row = {
        "recipe": one.recipe,
        "workspace": one.workspace,
        "timing": one.timing,
        "zone": one.zone,
        "since": moment(one.since),
        "paused_at": None if one.paused_at is None else moment(one.paused_at),
        "paused_by": one.paused_by,
        "paused_reason": one.paused_reason,
    }
    records.put(writing, SCHEDULES, row, chain=one.workspace, kind=kind, who=who)


def _put_slot(writing: Writing, slot: Slot, who: str) -> None:
    row = {column.name: getattr(slot, column.name) for column in SLOTS.columns if column.name != "entry_id"}
    row = {name: moment(value) if isinstance(value, datetime) else value for name, value in row.items()}
    records.put(writing, SLOTS, row, chain=slot.workspace, kind="slot", who=who)


def _slot(connection: Connection, slot_id: int) -> Slot:
    return _slot_of(connection.execute(_SLOT, {"slot": slot_id}).one())


def _slots(rows: Any) -> list[Slot]:
    return [_slot_of(row) for row in rows]


_MOMENTS = ("due_at", "claimed_at", "begun_at", "ended_at")


def _slot_of(row: Any) -> Slot:
    values = {name: value for name, value in row._mapping.items() if name != "entry_id"}
    for name in _MOMENTS:
        if values[name] is not None:
            values[name] = _moment(values[name])
    return Slot(**values)


def _next(connection: Connection) -> int:
    return int(connection.execute(_NEXT_ID).scalar_one())


def _moment(told: str) -> datetime:
    return datetime.fromisoformat(told).astimezone(UTC)
