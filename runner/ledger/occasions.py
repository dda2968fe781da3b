"""What there is to tell and was not told yet: budgets, breaches, stops, unknown attempts, slots, the clock. Only reads.

An occasion has a key, which names what it is about; whoever records it writes the key down, and so it is told once.
Messages are our own words: nothing that an endpoint sent stands in them, since it may quote a prompt.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text

from runner import windows
from runner.ledger import clocks, standing
from runner.ledger.database import driver_of, moment
from runner.ledger.tables import ALERTS, BUDGET_WINDOWS, ENTRIES, EVERYWHERE, SCHEDULES, WORKSPACES
from runner.ledger.values import Cap
from runner.money import show
from runner.terminal import clean, counted

# How long something that is over is still told. Whoever looks once a day sees each day.
LOOK_BACK = timedelta(days=2)

# How many attempts of a workspace become known as unknown in one go; the others the next time.
UNKNOWN_MAX = 500

# Reasons that people and the ledger itself gave stand in messages up to this length.
REASON_LENGTH_MAX = 300

_KNOWN = select(ALERTS.c.key).where(ALERTS.c.key.in_(bindparam("keys", expanding=True)))
_WINDOWS = select(BUDGET_WINDOWS).where(
    BUDGET_WINDOWS.c.workspace == bindparam("workspace"),
    BUDGET_WINDOWS.c.scope == bindparam("scope"),
    BUDGET_WINDOWS.c.name == bindparam("name"),
    BUDGET_WINDOWS.c.period == bindparam("period"),
    BUDGET_WINDOWS.c.label.in_(bindparam("labels", expanding=True)),
)
# As text, so that the index over what is in force can be used.
_LEVERS = text(
    "SELECT id, kind, workspace, reason, who, until FROM levers WHERE ended_at IS NULL AND kind <> 'grant' "
    "AND (until IS NULL OR until > :at) "
    "AND NOT EXISTS (SELECT 1 FROM alerts WHERE key = levers.kind || ' ' || levers.id) ORDER BY id"
)
_ACCOUNTS = select(WORKSPACES.c.name, WORKSPACES.c.currency).order_by(WORKSPACES.c.name)
# Only open money has a live key, so its unique index leads past all that is over.
_UNKNOWN = text(
    "SELECT id, reserved_micros, coalesce(sent_at, reserved_at) AS since FROM attempts "
    "WHERE workspace = :workspace AND live_key > '' AND state = 'unknown' "
    "AND coalesce(sent_at, reserved_at) <= :before "
    "AND NOT EXISTS (SELECT 1 FROM alerts WHERE key = 'unknown ' || attempts.id) ORDER BY id LIMIT :most"
)
_SCHEDULES = select(SCHEDULES.c.recipe, SCHEDULES.c.workspace, SCHEDULES.c.zone).order_by(SCHEDULES.c.recipe)
# The newest fifty of a recipe, and all that were due lately: each found by the unique pair of recipe and moment.
_FIFTIETH = text("SELECT due_at FROM slots WHERE recipe = :recipe ORDER BY due_at DESC LIMIT 1 OFFSET 49")
_TROUBLED = text(
    "SELECT due_at, state, entry_id FROM slots WHERE recipe = :recipe AND due_at >= :first "
    "AND state IN ('missed', 'refused', 'failed') AND ended_at > :since ORDER BY due_at"
)
_WAITING = text(
    "SELECT recipe, workspace, due_at, reason FROM slots WHERE state IN ('waiting', 'running') AND state = 'waiting' "
    "AND reason IS NOT NULL AND NOT EXISTS "
    "(SELECT 1 FROM alerts WHERE key = 'approval ' || slots.recipe || ' ' || slots.due_at) ORDER BY id"
)
_TROUBLED_COUNT = text(
    "SELECT count(*) AS many, min(due_at) AS first, max(due_at) AS last FROM slots "
    "WHERE recipe = :recipe AND state = :state AND ended_at > :since AND entry_id > :after"
)
_TOLD_LAST = text("SELECT coalesce(max(entry_id), 0) FROM alerts WHERE key > :prefix AND key < :prefix || '~'")
_NEWEST_ENTRY = select(func.max(ENTRIES.c.id)).where(
    ENTRIES.c.workspace == EVERYWHERE, ENTRIES.c.kind == bindparam("kind")
)


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something to tell, once. `workspace`: the account it is about; None: no single one.

    `quiet`: written down, so that it is not told later, but sent nowhere: another one tells of it.
    """

    key: str
    kind: str
    workspace: str | None
    message: str
    hint: str | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Payer:
    """A workspace, by its name in the ledger, with every cap that is declared for it and its recipes."""

    account: str
    zone: str
    unit: str
    caps: Sequence[Cap]


@dataclass(frozen=True, slots=True)
class Lookout:
    """What to look for at a moment. `thresholds`: percent, rising."""

    payers: Sequence[Payer]
    thresholds: Sequence[int]
    unknown_after: timedelta
    at: datetime


def untold(connection: Connection, lookout: Lookout, told: Iterable[Occasion] = ()) -> list[Occasion]:
    """Everything to tell that no alert was recorded of; of what somebody tells us, likewise."""
    others = {occasion.key: occasion for occasion in told}
    known = known_keys(connection, others)
    return [
        *_state(connection),
        *_levers(connection, lookout.at),
        *_budgets(connection, lookout),
        *_unknown(connection, lookout),
        *_slots(connection, lookout.at),
        *_waiting(connection),
        *(occasion for key, occasion in others.items() if key not in known),
    ]


def window_key(account: str, cap: Cap, label: str) -> str:
    """What alerts call a budget window: `studio workspace - month 2026-11`."""
    return f"{account} {cap.scope} {cap.name or '-'} {cap.period} {label}"


def known_keys(connection: Connection, keys: Collection[str]) -> set[str]:
    """Those of the keys that an alert was recorded of."""
    return set(connection.execute(_KNOWN, {"keys": list(keys)}).scalars()) if keys else set()


# ---- budgets


def _budgets(connection: Connection, lookout: Lookout) -> Iterator[Occasion]:
    if not lookout.thresholds:
        return
    within = standing.moment_of(driver_of(connection), lookout.at)
    for payer in lookout.payers:
        today = windows.local_day(within, payer.zone)
        days = [today - timedelta(days=back) for back in range(LOOK_BACK.days + 1)]
        for cap in payer.caps:
            if cap.calendar is None:
                continue
            # Of several days in one window the newest.
            labels = {windows.window(cap.calendar, day, payer.zone).label: day for day in reversed(days)}
            names = {"workspace": payer.account, "scope": cap.scope, "name": cap.name, "period": cap.period}
            for row in connection.execute(_WINDOWS, {**names, "labels": list(labels)}):
                yield from _budget(connection, lookout, payer, cap, row, labels[row.label], within)


def _budget(
    connection: Connection, lookout: Lookout, payer: Payer, cap: Cap, row: Any, day: date, within: datetime
) -> Iterator[Occasion]:
    """The thresholds that a window has passed. Only the highest is told; the others are passed with it."""
    if not _passed(row, cap, lookout.thresholds):
        return  # and grants only raise it
    is_over = row.ends_at is not None and row.ends_at <= moment(within)
    last = datetime.fromisoformat(row.ends_at) - timedelta(microseconds=1) if is_over else within
    cap = standing.raised(cap, standing.granted(driver_of(connection), payer.account, last), day, payer.zone)
    passed = _passed(row, cap, lookout.thresholds)
    keys = {percent: f"budget {window_key(payer.account, cap, row.label)} {percent}" for percent in passed}
    known = known_keys(connection, keys.values())
    title = cap.title(payer.account, payer.zone, day)
    for percent in passed:
        if keys[percent] in known:
            continue
        found = Occasion(keys[percent], "budget", payer.account, f"{title} has reached {percent} %")
        if percent != passed[-1]:
            message = f"{found.message}; told with its {passed[-1]} %"
            yield replace(found, message=message, quiet=True)
            continue
        settled, opened = show(row.settled_micros, payer.unit), show(row.open_micros, payer.unit)
        sums = f"{settled} settled and {opened} open, of {show(cap.cap_micros, payer.unit)}"
        message = f"{found.message}: {sums}" + (" (the window has ended)" if is_over else "")
        hint = "`omixa budget` shows what is left; `omixa grant` raises a cap for a while"
        yield replace(found, message=message, hint=hint)


def _passed(row: Any, cap: Cap, thresholds: Sequence[int]) -> list[int]:
    taken: int = row.settled_micros + row.open_micros
    return [percent for percent in thresholds if taken and taken * 100 >= percent * cap.cap_micros]


# ---- stops and breaches


def _levers(connection: Connection, at: datetime) -> Iterator[Occasion]:
    for row in connection.execute(_LEVERS, {"at": moment(at)}):
        what = "everything" if row.workspace is None else f"workspace {row.workspace}"
        until = "" if row.until is None else f" until {_utc(row.until)}"
        by = "by a breach" if row.kind == "breach" else f"by {row.who}"
        where = "" if row.workspace is None else f" --workspace {row.workspace}"
        yield Occasion(
            f"{row.kind} {row.id}",
            row.kind,
            row.workspace,
            f"{what} is stopped {by}{until}: {_short(row.reason)}",
            f"look into it, then: omixa resume{where} --note TEXT",
        )


# ---- attempts whose answer never came


def _unknown(connection: Connection, lookout: Lookout) -> Iterator[Occasion]:
    """The first of each workspace tells of all that are new."""
    before = moment(lookout.at - lookout.unknown_after)
    for account, currency in connection.execute(_ACCOUNTS):
        names = {"workspace": account, "before": before, "most": UNKNOWN_MAX}
        rows = list(connection.execute(_UNKNOWN, names))
        for row in rows:
            one = f"attempt {row.id} of workspace {account}, sent {_utc(row.since)}, may have been billed"
            found = Occasion(f"unknown {row.id}", "unknown", account, one)
            if row is not rows[0]:
                yield replace(found, message=f"{one}; told with attempt {rows[0].id}", quiet=True)
                continue
            held = show(sum(other.reserved_micros for other in rows), currency)
            message = f"{one}, and holds {held}"
            if len(rows) > 1:
                ids = ", ".join(str(other.id) for other in rows[:10]) + (", …" if len(rows) > 10 else "")
                message = f"{len(rows)} attempts of workspace {account} may have been billed, and hold {held}: {ids}"
            hint = f"omixa resolve {row.id} --billed X|--not-billed --note TEXT"
            yield replace(found, message=message, hint=hint)


# ---- slots


def _slots(connection: Connection, at: datetime) -> Iterator[Occasion]:
    """What was missed and refused comes in rows, so at most once a recipe and day; what failed, each."""
    since = moment(at - LOOK_BACK)
    for recipe, account, zone in connection.execute(_SCHEDULES):
        fiftieth = connection.execute(_FIFTIETH, {"recipe": recipe}).scalar_one_or_none()
        names = {"recipe": recipe, "first": min(since, fiftieth or since), "since": since}
        rows = list(connection.execute(_TROUBLED, names))
        yield from _failed(connection, recipe, account, zone, [row for row in rows if row.state == "failed"])
        for state in ("missed", "refused"):
            newest = max((row.entry_id for row in rows if row.state == state), default=0)
            if newest:
                yield from _in_rows(connection, recipe, account, zone, state, newest, at)


def _waiting(connection: Connection) -> Iterator[Occasion]:
    """Slots that wait for an approval: the only ones that wait and say for what."""
    for row in list(connection.execute(_WAITING)):
        message = f"recipe {row.recipe}: the slot of {_utc(row.due_at)} {row.reason}"
        hint = "`omixa schedule history` tells how long it has waited"
        yield Occasion(f"approval {row.recipe} {row.due_at}", "approval", row.workspace, message, hint)


def _failed(connection: Connection, recipe: str, account: str, zone: str, rows: Sequence[Any]) -> Iterator[Occasion]:
    keys = [f"slot {recipe} {row.due_at}" for row in rows]
    known = known_keys(connection, keys)
    new = [(key, row) for key, row in zip(keys, rows, strict=True) if key not in known]
    for key, row in new:
        message = f"recipe {recipe}: the slot of {_local(row.due_at, zone)} failed"
        if key != new[-1][0]:
            yield Occasion(key, "slot", account, f"{message}; told with a later one", quiet=True)
            continue
        more = f", and {counted(len(new) - 1, 'slot')} before it" if len(new) > 1 else ""
        yield Occasion(key, "slot", account, f"{message}{more}", _why(recipe))


def _in_rows(
    connection: Connection, recipe: str, account: str, zone: str, state: str, newest: int, at: datetime
) -> Iterator[Occasion]:
    """All that came since it was last told, which the number of the newest entry about a slot says, not a clock."""
    prefix = f"slot {recipe} {state} "
    key = f"{prefix}{windows.local_day(at, zone)}"
    after = connection.execute(_TOLD_LAST, {"prefix": prefix}).scalar_one()
    if newest <= after or known_keys(connection, [key]):
        return
    names = {"recipe": recipe, "state": state, "since": moment(at - LOOK_BACK), "after": after}
    found = connection.execute(_TROUBLED_COUNT, names).one()
    how = "was" if found.many == 1 else "were"
    span = _local(found.first, zone)
    if found.many > 1:
        span = f"{_local(found.first, zone)} to {_local(found.last, zone)}"
    hint = f"`omixa schedule missed` prices them; {_why(recipe)}" if state == "missed" else _why(recipe)
    by = " by a budget or a stop" if state == "refused" else ""
    yield Occasion(
        key, "slot", account, f"recipe {recipe}: {counted(found.many, 'slot')} {how} {state}{by}: {span}", hint
    )


def _why(recipe: str) -> str:
    return f"`omixa schedule history {recipe}` says why"


# ---- the ledger as a whole


def _state(connection: Connection) -> Iterator[Occasion]:
    state = clocks.state(connection)
    if state.clock_doubt is not None:
        message = f"nothing is reserved, because the clock is not believed: {_short(state.clock_doubt)}"
        hint = "set the clock if it is wrong; when it is right: omixa doctor --confirm-clock --note TEXT"
        yield from _since(connection, "clock", "clock-doubted", message, hint)
    if state.frozen_reason is not None:
        message = f"nothing is reserved, because the ledger does not add up: {_short(state.frozen_reason)}"
        yield from _since(connection, "frozen", "frozen", message, "`omixa audit verify`, then `omixa audit repair`")


def _since(connection: Connection, kind: str, entry: str, message: str, hint: str) -> Iterator[Occasion]:
    """Once for each time that it began: its key has the number of the entry that says so."""
    key = f"{kind} {connection.execute(_NEWEST_ENTRY, {'kind': entry}).scalar_one()}"
    if not known_keys(connection, [key]):
        yield Occasion(key, kind, None, message, hint)


# ---- words


def _short(reason: str) -> str:
    reason = clean(reason)
    return reason if len(reason) <= REASON_LENGTH_MAX else reason[: REASON_LENGTH_MAX - 1] + "…"


def _utc(told: str) -> str:
    return f"{told[:16].replace('T', ' ')} UTC"


def _local(told: str, zone: str) -> str:
    return windows.local_text(datetime.fromisoformat(told).astimezone(UTC), zone)
