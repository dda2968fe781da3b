"""Which approved plans were begun: an approval is claimed with its run, in one transaction, before money is reserved.

What it allows to spend is a budget window of its own (`Approved.cap`), which counts over all runs of the plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from runner.diagnostics import ApprovalRefused, Problem
from runner.ledger import records
from runner.ledger.chain import Writing
from runner.ledger.database import Database, moment
from runner.ledger.tables import APPROVALS, RUNS
from runner.ledger.values import Approved, RunFacts

_RUNS = (
    select(RUNS.c.uid, RUNS.c.recipe, RUNS.c.started_at, RUNS.c.ended_at, RUNS.c.outcome, RUNS.c.who)
    .where(RUNS.c.approval == bindparam("plan"))
    .order_by(RUNS.c.id)
)
_ROW = select(APPROVALS).where(APPROVALS.c.plan == bindparam("plan"))

_ANEW = "freeze what is left with `omixa plan --out`, and have that approved"


@dataclass(frozen=True, slots=True)
class Use:
    """A run of an approved plan. Moments are ledger texts (UTC); `ended_at` None: it has not ended."""

    uid: str
    recipe: str
    started_at: str
    ended_at: str | None
    outcome: str | None
    who: str

    @property
    def is_over(self) -> bool:
        """Whether it came to its end: then its part of the plan is used. One that was cut off may be gone on with."""
        return self.outcome == "done"


def uses(database: Database, plan: str) -> list[Use]:
    """The runs of an approved plan, the oldest first."""
    with database.read() as connection:
        return [Use(*row) for row in connection.execute(_RUNS, {"plan": plan})]


def claim(writing: Writing, run: RunFacts, approved: Approved) -> None:
    """Use an approval for this run. Raises ApprovalRefused when it has expired, is used, or another run uses it now.

    The moment is the ledger's, which does not go back when the clock does. Called before the run is recorded.
    """
    found = [Use(*row) for row in writing.connection.execute(_RUNS, {"plan": approved.plan})]
    problems = [*expired(approved, writing.now), *used(found, [run.recipe])]
    if approved.again and not problems:
        problems += rerolled([use for use in found if use.recipe == run.recipe])
    problems += [in_use(use) for use in found if use.ended_at is None]
    if problems:
        raise ApprovalRefused(problems)
    row = {
        "plan": approved.plan,
        "workspace": approved.workspace,
        "amount_micros": approved.amount_micros,
        "expires_at": moment(approved.expires_at),
        "approver": approved.approver,
        "signatures": approved.signatures,
        "made_by": approved.made_by,
        "made_at": moment(approved.made_at),
    }
    before = writing.connection.execute(_ROW, {"plan": approved.plan}).mappings().first()
    if before is None or {name: before[name] for name in row} != row:
        records.put(writing, APPROVALS, row, chain=approved.workspace, kind="approval", who=run.who)


def expired(approved: Approved, at: datetime) -> list[Problem]:
    """The problem of an approval whose time is over at a moment."""
    if at < approved.expires_at:
        return []
    message = f"the approval by {approved.approver} has expired at {_minute(moment(approved.expires_at))}"
    return [Problem("approval-expired", message, hint="`omixa approve` approves the same plan again")]


def used(found: Sequence[Use], recipes: Sequence[str]) -> list[Problem]:
    """The problem of an approval by which every one of these recipes was run to its end."""
    over = {use.recipe: use for use in found if use.is_over}
    if not all(recipe in over for recipe in recipes):
        return []
    last = over[recipes[-1]]
    message = f"the approval is used: run {last.uid} by {last.who} came to its end at {_minute(last.ended_at or '')}"
    return [Problem("approval-used", message, hint=_ANEW)]


def rerolled(found: Sequence[Use]) -> list[Problem]:
    """The problem of a plan that buys again on purpose, and was begun: going on could buy a third time."""
    if not found:
        return []
    use = found[-1]
    message = f"the plan buys again what was paid (--reroll), and run {use.uid} has begun it: it cannot be gone on with"
    return [Problem("approval-used", message, hint=_ANEW)]


def in_use(use: Use) -> Problem:
    """The problem of an approval by which another run buys now."""
    message = f"the approval is in use: run {use.uid} by {use.who} buys by it since {_minute(use.started_at)}"
    hint = "wait for its end; a run whose process was killed is ended by the next `omixa run`"
    return Problem("approval-in-use", message, hint=hint)


def _minute(told: str) -> str:
    return f"{told[:10]} {told[11:16]} UTC"
