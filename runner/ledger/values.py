"""What goes into the ledger and what it answers: values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from runner.windows import Period, local_text, window

# What messages call the budget of an approval.
THIS_APPROVAL = "this approval"


@dataclass(frozen=True, slots=True)
class Cap:
    """A cap as declared. `name` is the recipe's name, the run's uid, or empty for the workspace.

    Of the period `approval`: what was approved for all runs of one plan together, whose digest is the name.
    """

    scope: Literal["workspace", "recipe", "run"]
    name: str
    period: Period | Literal["run", "approval"]
    cap_micros: int

    @property
    def calendar(self) -> Period | None:
        """Which windows of the calendar it has; None: it is of a run, or of an approval."""
        if self.period == "run" or self.period == "approval":
            return None
        return self.period

    def title(self, workspace: str, zone: str, day: date) -> str:
        """The budget in words: `month 2026-11 Europe/Berlin of workspace studio`."""
        if self.period == "approval":
            return THIS_APPROVAL
        if self.period == "run":
            return "this run"
        owner = f"recipe {self.name}" if self.scope == "recipe" else f"workspace {workspace}"
        return f"{window(self.period, day, zone)} of {owner}"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One execution of a plan, as the ledger records it. None: not known, or not in a git repository.

    `author`: who wrote the recipe, as git has it. `approver` and `approval`: who approved which plan; None: nobody.
    """

    uid: str
    workspace: str
    currency: str
    zone: str
    recipe: str
    recipe_path: str
    recipe_digest: str
    git_commit: str | None
    git_dirty: bool | None
    cost_centre: str | None
    labels: Mapping[str, str]
    who: str
    program: str
    slot: str | None = None
    author: str | None = None
    approver: str | None = None
    approval: str | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    """A plan that was approved: `plan` is its digest, `approver` the names of those who count, joined by commas.

    `amount_micros` is the most that all its runs together may spend; `signatures` the approvals as signed, as JSON.
    `again`: it buys what was paid before (`--reroll`).
    """

    plan: str
    workspace: str
    amount_micros: int
    expires_at: datetime
    approver: str
    signatures: str
    made_by: str
    made_at: datetime
    again: bool = False

    @property
    def cap(self) -> Cap:
        """What it adds to the caps of each of its runs."""
        return Cap("run", self.plan, "approval", self.amount_micros)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for. `options` is what is sent, without prompts; money is never here.

    Without a source picture, `source_path` and `source_digest` are empty and `source_bytes` is 0; without a prompt,
    `prompt_name` and `prompt` are empty.
    """

    model: str
    item_key: str
    source_path: str
    source_digest: str
    source_bytes: int
    prompt_name: str
    prompt: str
    prompt_digest: str
    negative: str | None
    negative_digest: str | None
    preset_name: str
    options: str
    output_path: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """Money is set aside; the request may be sent. `amount_micros` is at least the ceiling that was asked for."""

    attempt_id: int
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A window has no room; nothing was written. `may_free`: requests in flight could still make room."""

    budget: str  # in words, as Cap.title gives it
    zone: str
    ends_at: str | None
    cap_micros: int
    settled_micros: int
    open_micros: int
    asked_micros: int
    may_free: bool

    @property
    def left_micros(self) -> int:
        """The headroom: cap − settled − open. Negative after a cap was lowered or a bill broke it."""
        return self.cap_micros - self.settled_micros - self.open_micros

    @property
    def ends_local(self) -> str | None:
        """When the window ends, in its zone: `1 Dec 2026 00:00 Europe/Berlin`; None: never."""
        return None if self.ends_at is None else local_text(datetime.fromisoformat(self.ends_at), self.zone)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A breach or an operator has stopped the workspace, or everything; nothing was written.

    `until`: the moment (ledger text, UTC) at which it ends by itself; None: when a person lets it go on.
    """

    reason: str
    everywhere: bool = False
    cause: Literal["stop", "breach"] = "breach"
    who: str = ""
    until: str | None = None


@dataclass(frozen=True, slots=True)
class FirstOfPrice:
    """What a model costs here was never seen, and another request is finding it out: wait for that one."""

    attempt_id: int


@dataclass(frozen=True, slots=True)
class Unpriced:
    """What a model costs here was neither declared nor ever seen; nothing was written."""

    model: str


@dataclass(frozen=True, slots=True)
class ClockDoubted:
    """The clock may be wrong, and believing it would open new budget; nothing was written."""

    reason: str


@dataclass(frozen=True, slots=True)
class Frozen:
    """The ledger does not add up: nothing is reserved until a person has looked; nothing was written."""

    reason: str


@dataclass(frozen=True, slots=True)
class AlreadyBought:
    """This very item was paid for. `result_digest` is None when no usable picture came."""

    attempt_id: int
    result_digest: str | None


@dataclass(frozen=True, slots=True)
class InFlight:
    """Another attempt at this very item has open money; `state` says whether it can still end by itself."""

    attempt_id: int
    state: str


Reservation = Reserved | Refusal | Stopped | AlreadyBought | InFlight | FirstOfPrice | Unpriced | ClockDoubted | Frozen


@dataclass(frozen=True, slots=True)
class Lever:
    """A stop, a breach or a grant as recorded. Moments are ledger texts (UTC).

    `workspace` None: everywhere. `until` None: until somebody ends it. Of a grant: `period`, `label` and
    `amount_micros` say which window of the workspace may take how much more.
    """

    id: int
    kind: Literal["stop", "breach", "grant"]
    workspace: str | None
    period: Period | None
    label: str | None
    amount_micros: int | None
    until: str | None
    reason: str
    who: str
    at: str
    ended_at: str | None
    ended_by: str | None
    ended_note: str | None

    def is_active(self, at: str) -> bool:
        """Whether it is in force at a moment (ledger text)."""
        return self.ended_at is None and (self.until is None or self.until > at)


@dataclass(frozen=True, slots=True)
class Result:
    """The picture that came: digest of its bytes, size in bytes and pixels; `remark` is what looked odd, or None.

    `delivered`: it stands at the attempt's output path.
    """

    digest: str
    size_bytes: int
    width: int
    height: int
    remark: str | None
    delivered: bool
