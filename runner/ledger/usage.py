"""Reading the ledger: what a plan must know, budgets, attempts, and the rows that reports are made of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, exists, or_, select

from runner import windows
from runner.images import Stamp
from runner.ledger import standing
from runner.ledger.database import Database, driver_of
from runner.ledger.tables import (
    AGREED_VERDICTS,
    ATTEMPT_WINDOWS,
    ATTEMPTS,
    BUDGET_WINDOWS,
    CLOSINGS,
    DELIVERIES,
    ENTRIES,
    LEDGER_STATE,
    LIVE_STATES,
    RECONCILED,
    RUNS,
    TEXTS,
    WORKSPACES,
)
from runner.ledger.values import Cap, Lever, RunFacts, Stopped
from runner.plan import Headroom

# Statements are made once: made per call they cost several times what running them does.
_MOVING = ATTEMPTS.c.state.in_(("reserved", "sent"))
_OPEN_RUNS = select(RUNS.c.id, RUNS.c.uid).where(
    or_(RUNS.c.ended_at.is_(None), RUNS.c.id.in_(select(ATTEMPTS.c.run_id).where(_MOVING)))
)
_UNFINISHED = select(ATTEMPTS).where(ATTEMPTS.c.run_id == bindparam("run"), _MOVING).order_by(ATTEMPTS.c.id)
_BOOKED = (
    select(ATTEMPTS.c.state, ATTEMPTS.c.result_digest)
    .join(RUNS, RUNS.c.id == ATTEMPTS.c.run_id)
    .where(
        ATTEMPTS.c.id == bindparam("attempt"),
        ATTEMPTS.c.state.in_(("settled", "released", "unknown")),
        RUNS.c.uid == bindparam("uid"),
        RUNS.c.ended_at.is_not(None),
    )
)
_OUTPUT_PATHS = select(ATTEMPTS.c.output_path).where(ATTEMPTS.c.run_id == bindparam("run")).distinct()
_RUN = select(RUNS).where(RUNS.c.id == bindparam("run"))
_CURRENCY = select(WORKSPACES.c.currency).where(WORKSPACES.c.name == bindparam("workspace"))
_OF_WORKSPACE = ATTEMPTS.c.workspace == bindparam("workspace")


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One attempt with the facts of its run. Micro-units; `day` is the workspace's local day at reservation.

    `labels` is a mapping; moments are ledger texts (UTC). `has_picture`: what came can be used. `again`: settled, and
    the same item had been bought with a picture before. `reconciled`: a file of the provider bills just this. What is
    None was not known or has not happened.

    With `before_state` it is a correction instead: an attempt of a window that is closed has gone on from that state,
    which was open, to `state`. Its `day` is that of the correction, `corrected_day` the attempt's own.
    """

    attempt_id: int
    run_uid: str
    workspace: str
    currency: str
    recipe: str
    recipe_path: str
    git_commit: str | None
    git_dirty: bool | None
    slot: str | None
    cost_centre: str | None
    labels: Mapping[str, str]
    who: str
    model: str
    preset: str
    prompt: str
    source_path: str
    output_path: str
    state: str
    reserved_micros: int
    billed_micros: int | None
    code: str | None
    day: str
    reserved_at: str
    ended_at: str | None
    author: str | None = None
    approver: str | None = None
    has_picture: bool = True
    again: bool = False
    reconciled: bool = False
    before_state: str | None = None
    corrected_day: str | None = None
    sums: ClassVar[None] = None  # one attempt: it is counted, not added (totals.DayTotal)

    @property
    def open_micros(self) -> int:
        """What is set aside and neither billed nor given back; of a correction the change of it, zero or below."""
        held = self.reserved_micros if self.state in LIVE_STATES else 0
        return held if self.before_state is None else held - self.reserved_micros


def windows_of(database: Database, attempt_id: int) -> list[Headroom]:
    """The windows that an attempt was reserved in, as they stand now; caps as last declared when money was reserved.

    Without the run's own budget, which ends with the run.
    """
    query = (
        select(BUDGET_WINDOWS, ATTEMPTS.c.day)
        .join(ATTEMPT_WINDOWS, ATTEMPT_WINDOWS.c.window_id == BUDGET_WINDOWS.c.id)
        .join(ATTEMPTS, ATTEMPTS.c.id == ATTEMPT_WINDOWS.c.attempt_id)
        .where(ATTEMPTS.c.id == attempt_id, BUDGET_WINDOWS.c.scope != "run")
        .order_by(BUDGET_WINDOWS.c.id)
    )
    with database.read() as connection:
        return [
            Headroom(
                Cap(row.scope, row.name, row.period, row.cap_micros).title(
                    row.workspace, row.zone, date.fromisoformat(row.day)
                ),
                row.scope,
                row.cap_micros,
                row.settled_micros,
                row.open_micros,
                row.ends_at,
            )
            for row in connection.execute(query)
        ]


def workspaces(database: Database) -> dict[str, str]:
    """Every workspace that the ledger knows, with its currency."""
    with database.read() as connection:
        rows = connection.execute(select(WORKSPACES.c.name, WORKSPACES.c.currency).order_by(WORKSPACES.c.name))
        return {row.name: row.currency for row in rows}


def stopped(database: Database, workspace: str, *, at: datetime) -> Stopped | None:
    """Why nothing may be reserved in a workspace now; None when nothing stops it."""
    with database.read() as connection:
        return standing.stopped(driver_of(connection), workspace, at)


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget window as it stands in the ledger: whose, its cap as last declared, and its money in micro-units."""

    workspace: str
    currency: str
    recipe: str | None
    period: str
    label: str
    cap_micros: int
    settled_micros: int
    open_micros: int


def spent(database: Database, *, workspace: str | None, first_day: str | None, last_day: str | None) -> list[Spent]:
    """The months, quarters and years of every budget that lie within these days, both inside; and a window that is
    just these days. Without the budgets of single runs. None: no limit; without any, the totals are there, too.
    """
    query = (
        select(BUDGET_WINDOWS, WORKSPACES.c.currency)
        .join(WORKSPACES, WORKSPACES.c.name == BUDGET_WINDOWS.c.workspace)
        .where(BUDGET_WINDOWS.c.scope != "run", BUDGET_WINDOWS.c.cap_micros > 0)
        .order_by(BUDGET_WINDOWS.c.workspace, BUDGET_WINDOWS.c.scope.desc(), BUDGET_WINDOWS.c.name)
        .order_by(BUDGET_WINDOWS.c.label)
    )
    if workspace is not None:
        query = query.where(BUDGET_WINDOWS.c.workspace == workspace)
    asked = (date.fromisoformat(first_day or "0001-01-01"), date.fromisoformat(last_day or "9999-12-31"))
    with database.read() as connection:
        found = []
        for row in connection.execute(query):
            window = (date.min, date.max) if row.period == "total" else windows.labelled(row.period, row.label)
            inside = asked[0] <= window[0] and window[1] <= asked[1]
            if window == asked or (inside and row.period in ("month", "quarter", "year")):
                recipe = row.name if row.scope == "recipe" else None
                money = (row.cap_micros, row.settled_micros, row.open_micros)
                found.append(Spent(row.workspace, row.currency, recipe, row.period, row.label, *money))
        return found


def moment_of(database: Database, at: datetime) -> datetime:
    """`at`, or the moment of the latest reservation when the clock has gone back: windows only move forward."""
    with database.read() as connection:
        return standing.moment_of(driver_of(connection), at)


def all_levers(database: Database) -> list[Lever]:
    """Every stop, breach and grant that there ever was, the oldest first."""
    with database.read() as connection:
        return standing.all_levers(driver_of(connection))


def doubts(database: Database) -> tuple[str | None, str | None]:
    """Why the clock is not believed, and why the ledger is frozen; None: it is, it is not."""
    with database.read() as connection:
        return standing.doubts(driver_of(connection))


def open_runs(database: Database) -> list[tuple[int, str]]:
    """Runs that have not ended, or have attempts that have not: number and uid. Their processes may be gone."""
    with database.read() as connection:
        return [(row.id, row.uid) for row in connection.execute(_OPEN_RUNS)]


def unfinished(database: Database, run_id: int) -> list[Row[Any]]:
    """The attempts of a run that are reserved or sent."""
    with database.read() as connection:
        return list(connection.execute(_UNFINISHED, {"run": run_id}))


def booked(database: Database, attempt_id: int, spooled_as: str) -> tuple[str, str | None] | None:
    """State and result digest of an attempt that is settled, released or unknown, in a run that has ended.

    `spooled_as` is `<run uid>-<attempt id>`. None: not booked, its run is still going on, or it is of another run.
    """
    with database.read() as connection:
        names = {"attempt": attempt_id, "uid": spooled_as.rpartition("-")[0]}
        row = connection.execute(_BOOKED, names).one_or_none()
        return None if row is None else (row.state, row.result_digest)


def output_paths(database: Database, run_id: int) -> list[str]:
    """Where the pictures of a run were to stand."""
    with database.read() as connection:
        return list(connection.execute(_OUTPUT_PATHS, {"run": run_id}).scalars())


def run_facts(database: Database, run_id: int) -> RunFacts:
    """A run as it was recorded. Its zone is not recorded: nothing is reserved with these facts."""
    with database.read() as connection:
        run = connection.execute(_RUN, {"run": run_id}).one()
        currency = connection.execute(_CURRENCY, {"workspace": run.workspace}).scalar_one()
    return RunFacts(
        uid=run.uid,
        workspace=run.workspace,
        currency=currency,
        zone="UTC",
        recipe=run.recipe,
        recipe_path=run.recipe_path,
        recipe_digest=run.recipe_digest,
        git_commit=run.git_commit,
        git_dirty=_truth(run.git_dirty),
        cost_centre=run.cost_centre,
        labels=json.loads(run.labels),
        who=run.who,
        program=run.program,
        slot=run.slot,
        author=run.author,
        approver=run.approver,
        approval=run.approval,
    )


def rows(
    database: Database,
    *,
    workspace: str | None = None,
    first_day: str | None = None,
    last_day: str | None = None,
    states: Sequence[str] = (),
) -> Iterator[UsageRow]:
    """Attempts in the order they were reserved, streamed. Days are the workspace's own, both ends inside."""
    with database.read() as connection:
        yield from rows_where(connection, *_wanted(workspace, first_day, last_day, states))


def rows_where(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[UsageRow]:
    """The same inside a transaction, of the attempts that meet all conditions."""
    query = _USAGE.where(*conditions).order_by(ATTEMPTS.c.id)
    for row in connection.execution_options(yield_per=1000).execute(query):
        yield _usage_row(row)


def attempt(database: Database, attempt_id: int) -> dict[str, Any] | None:
    """Everything the ledger has on one attempt: its columns, its run, its prompts and its entries; None: not there."""
    with database.read() as connection:
        row = connection.execute(select(ATTEMPTS).where(ATTEMPTS.c.id == attempt_id)).mappings().first()
        return None if row is None else _whole(connection, row)


def attempts(
    database: Database,
    *,
    workspace: str | None = None,
    first_day: str | None = None,
    last_day: str | None = None,
    states: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """The same for every attempt, in the order they were reserved, streamed."""
    query = select(ATTEMPTS).where(*_wanted(workspace, first_day, last_day, states)).order_by(ATTEMPTS.c.id)
    with database.read() as connection:
        for row in connection.execution_options(yield_per=1000).execute(query):
            yield _whole(connection, row._mapping)


_EARLIER = ATTEMPTS.alias("earlier")
_AGAIN = and_(
    ATTEMPTS.c.state == "settled",
    exists().where(
        _EARLIER.c.workspace == ATTEMPTS.c.workspace,
        _EARLIER.c.item_key == ATTEMPTS.c.item_key,
        _EARLIER.c.state == "settled",
        _EARLIER.c.id < ATTEMPTS.c.id,
        _EARLIER.c.result_digest.is_not(None),
    ),
)
# What a file says after a window was closed changes nothing in it.
_TOO_LATE = (
    exists()
    .where(
        CLOSINGS.c.workspace == ATTEMPTS.c.workspace,
        CLOSINGS.c.first_day <= ATTEMPTS.c.day,
        CLOSINGS.c.last_day >= ATTEMPTS.c.day,
        CLOSINGS.c.entry_id < RECONCILED.c.entry_id,
    )
    .correlate(ATTEMPTS, RECONCILED)
)
_RECONCILED = and_(
    ATTEMPTS.c.state == "settled",
    exists().where(RECONCILED.c.attempt_id == ATTEMPTS.c.id, RECONCILED.c.verdict.in_(AGREED_VERDICTS), ~_TOO_LATE),
)
_MADE = select(ATTEMPTS.c.id).where(ATTEMPTS.c.result_digest.startswith(bindparam("digest"))).order_by(ATTEMPTS.c.id)
_DELIVERED_TO = (
    select(ATTEMPTS.c.id)
    .join(DELIVERIES, DELIVERIES.c.result_digest == ATTEMPTS.c.result_digest)
    .where(DELIVERIES.c.output_path == bindparam("path"))
    .order_by(ATTEMPTS.c.id.desc())
    .limit(1)
)
_ASKED_WITH = select(ATTEMPTS.c.id).where(ATTEMPTS.c.source_digest == bindparam("digest")).order_by(ATTEMPTS.c.id)


def made(database: Database, digest: str) -> list[int]:
    """The attempts that brought a picture whose SHA-256 is, or begins with, `digest`, in hex; the oldest first."""
    with database.read() as connection:
        return list(connection.execute(_MADE, {"digest": digest}).scalars())


def asked_with(database: Database, digest: str) -> list[int]:
    """The attempts whose source picture has this SHA-256, in hex; the oldest first."""
    with database.read() as connection:
        return list(connection.execute(_ASKED_WITH, {"digest": digest}).scalars())


def delivered_to(database: Database, output_path: str) -> int | None:
    """The newest attempt that brought what was last delivered to a path, relative to the project; None: nothing was."""
    with database.read() as connection:
        return connection.execute(_DELIVERED_TO, {"path": output_path}).scalar_one_or_none()


_STAMP = (
    select(
        select(LEDGER_STATE.c.uid).scalar_subquery().label("ledger"),
        RUNS.c.uid.label("run"),
        ATTEMPTS.c.recipe,
        ATTEMPTS.c.model,
        ATTEMPTS.c.options,
        ATTEMPTS.c.source_digest.label("source"),
        ATTEMPTS.c.reserved_at.label("at"),
        RUNS.c.git_commit.label("commit"),
        RUNS.c.slot,
    )
    .join(RUNS, RUNS.c.id == ATTEMPTS.c.run_id)
    .where(ATTEMPTS.c.id == bindparam("attempt"))
)


def stamp(database: Database, attempt_id: int) -> Stamp:
    """What a picture says of the attempt that made it: the same whenever it is asked."""
    with database.read() as connection:
        row = connection.execute(_STAMP, {"attempt": attempt_id}).mappings().one()
    options = " ".join(f"{name}={value}" for name, value in json.loads(row["options"]).items())
    return Stamp(**{**row, "attempt": str(attempt_id), "options": options})


def ledger_uid(database: Database) -> str:
    """Which ledger this is."""
    with database.read() as connection:
        return str(connection.execute(select(LEDGER_STATE.c.uid)).scalar_one())


_USAGE = (
    select(
        ATTEMPTS.c.id.label("attempt_id"),
        RUNS.c.uid.label("run_uid"),
        ATTEMPTS.c.workspace,
        WORKSPACES.c.currency,
        ATTEMPTS.c.recipe,
        RUNS.c.recipe_path,
        RUNS.c.git_commit,
        RUNS.c.git_dirty,
        RUNS.c.slot,
        RUNS.c.cost_centre,
        RUNS.c.labels,
        RUNS.c.who,
        ATTEMPTS.c.model,
        ATTEMPTS.c.preset_name.label("preset"),
        ATTEMPTS.c.prompt_name.label("prompt"),
        ATTEMPTS.c.source_path,
        ATTEMPTS.c.output_path,
        ATTEMPTS.c.state,
        ATTEMPTS.c.reserved_micros,
        ATTEMPTS.c.billed_micros,
        ATTEMPTS.c.code,
        ATTEMPTS.c.day,
        ATTEMPTS.c.reserved_at,
        ATTEMPTS.c.ended_at,
        RUNS.c.author,
        RUNS.c.approver,
        ATTEMPTS.c.result_digest.is_not(None).label("has_picture"),
        _AGAIN.label("again"),
        _RECONCILED.label("reconciled"),
    )
    .join(RUNS, RUNS.c.id == ATTEMPTS.c.run_id)
    .join(WORKSPACES, WORKSPACES.c.name == ATTEMPTS.c.workspace)
)


def _usage_row(row: Sequence[Any]) -> UsageRow:
    """The columns of _USAGE stand in the order of the fields: to name each of them takes nearly twice as long."""
    values: list[Any] = list(row)
    values[_DIRTY] = _truth(values[_DIRTY])
    values[_LABELS] = _labels(values[_LABELS])
    values[-3:] = map(bool, values[-3:])
    return UsageRow(*values)


_DIRTY, _LABELS = (list(UsageRow.__slots__).index(name) for name in ("git_dirty", "labels"))


@lru_cache(maxsize=1024)
def _labels(told: str) -> Mapping[str, str]:
    """Runs have few sets of labels, and attempts many runs."""
    return MappingProxyType(json.loads(told))


def _truth(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _wanted(
    workspace: str | None, first_day: str | None, last_day: str | None, states: Sequence[str]
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if workspace is not None:
        found.append(ATTEMPTS.c.workspace == workspace)
    if first_day is not None:
        found.append(ATTEMPTS.c.day >= first_day)
    if last_day is not None:
        found.append(ATTEMPTS.c.day <= last_day)
    if states:
        found.append(ATTEMPTS.c.state.in_(states))
    return found


def _whole(connection: Connection, attempt: Mapping[Any, Any]) -> dict[str, Any]:
    """The attempt with its run, prompts (None: purged) and entries; JSON columns as values."""
    whole = dict(attempt)
    run = connection.execute(select(RUNS).where(RUNS.c.id == whole["run_id"])).mappings().one()
    entries = connection.execute(select(ENTRIES).where(ENTRIES.c.attempt_id == whole["id"]).order_by(ENTRIES.c.id))
    whole["options"] = json.loads(whole["options"])
    whole["headers"] = None if whole["headers"] is None else json.loads(whole["headers"])
    whole["breach"] = bool(whole["breach"])
    whole["prompt"] = _text(connection, whole["prompt_digest"])
    whole["negative_prompt"] = _text(connection, whole["negative_digest"])
    whole["run"] = {**run, "labels": json.loads(run["labels"]), "git_dirty": _truth(run["git_dirty"])}
    whole["entries"] = [dict(row._mapping) for row in entries]
    return whole


def _text(connection: Connection, digest: str | None) -> str | None:
    found: str | None = connection.execute(select(TEXTS.c.text).where(TEXTS.c.digest == digest)).scalar_one_or_none()
    return found
