"""Whether a frozen plan may be bought now: it is what is there, and enough of those who may have approved it.

Everything that stands in the way is found at once. What two processes could both find free is claimed by the ledger.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from hashlib import sha256
from pathlib import Path

from runner import __version__, images, jobs, planfile, project
from runner.diagnostics import ApprovalRefused, Problem, Problems
from runner.errors import DiskError, UsageError
from runner.identity import author_of_file, git_state, git_user, who
from runner.ledger import approvals as ledger_approvals
from runner.ledger import known
from runner.ledger.database import Database
from runner.ledger.ends import ledger_uid
from runner.ledger.values import Approved
from runner.money import show
from runner.plan import Plan
from runner.planfile import FrozenRecipe, PlanFile
from runner.recipe import Recipe
from runner.settings import Approver, Settings
from runner.settings_tables import FILE_NAME
from runner.terminal import clean, counted
from runner.trail import approval
from runner.trail.approval import Approval


@dataclass(frozen=True, slots=True)
class Frozen:
    """A plan file as read: where it is, what it says, its digest."""

    path: Path
    plan: PlanFile
    digest: str


@dataclass(frozen=True, slots=True)
class Found:
    """An approval as read, and from which file."""

    path: Path
    approval: Approval


@dataclass(frozen=True, slots=True)
class Cleared:
    """An approved plan that may be bought now: by which approval, and each recipe with what is left to buy of it."""

    approved: Approved
    recipes: Sequence[Recipe]
    plans: Sequence[Plan]
    wishes: Mapping[str, jobs.Wishes]


# ---- files

# Of one recipe: such a file is read, compared and digested as a whole.
FROZEN_MAX = 200_000


def freeze(
    recipes: Sequence[Recipe],
    plans: Sequence[Plan],
    settings: Settings,
    database: Database,
    path: Path,
    *,
    at: datetime,
    wishes: jobs.Wishes,
) -> str:
    """Write the plans into a file that can be approved; returns its digest. Raises UsageError, DiskError."""
    if len({recipe.workspace for recipe in recipes}) > 1:
        raise UsageError(
            "the recipes are of several workspaces, and an approval is of one amount in one currency",
            "freeze one plan a workspace: name its recipes before --out",
        )
    many = next((plan for plan in plans if plan.count() > FROZEN_MAX), None)
    if many is not None:
        raise UsageError(
            f"{many.recipe} has {many.count()} pictures, and a plan that is signed has {FROZEN_MAX} at most",
            "write several recipes, or narrow `include`",
        )
    steps = [step for one in recipes for step in one.steps]
    contracts = {settings.root / step.contract.file for step in steps if step.contract.file is not None}
    git = git_state(
        settings.root, [*(recipe.path for recipe in recipes), settings.root / FILE_NAME, *sorted(contracts)]
    )
    made = planfile.Made(
        program=f"omixa-runner {__version__}",
        ledger=ledger_uid(database),
        at=at,
        who=who(),
        git=git_user(settings.root),
        commit=git.commit,
        dirty=git.dirty,
    )
    parts = [
        (recipe, plan, author_of_file(settings.root, recipe.path)) for recipe, plan in zip(recipes, plans, strict=True)
    ]
    data = planfile.freeze(parts, settings, made, reroll=wishes.again, limit=wishes.limit)
    write_json(path, data)
    return approval.digest(data)


def write_json(path: Path, data: object) -> None:
    """Write a file whole, or leave what was there. A link is followed; what is no file (a device, a pipe) is written
    directly, never replaced. Raises DiskError.
    """
    import json

    told = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    with images.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            target.write_text(told, encoding="utf-8")
            return
        part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
        try:
            with part.open("x", encoding="utf-8") as file:
                file.write(told)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def read_plan(path: Path) -> Frozen:
    """A plan file. Raises UsageError for what is none, DiskError."""
    try:
        return Frozen(path, *planfile.read(_text(path, planfile.FILE_BYTES_MAX)))
    except ValueError as error:
        hint = "`omixa plan RECIPE --out plan.json` writes a plan"
        raise UsageError(f"`{path}` is no plan that could be bought: {clean(str(error))}", hint) from None


def approval_path(plan: Path, name: str) -> Path:
    """Where an approver's approval of a plan stands: beside it, one file each, so that several can sign at once."""
    return plan.with_name(f"{plan.name.removesuffix('.json')}.approval-{name}.json")


def approval_files(plan: Path) -> list[Path]:
    """The approvals that stand beside a plan."""
    stem = plan.name.removesuffix(".json") + ".approval-"
    with suppress(OSError):
        return sorted(one for one in plan.parent.iterdir() if one.name.startswith(stem) and one.suffix == ".json")
    return []


# ---- slots that wait

# How long a slot waits for its approval: less than a day, so that a daily one gives way to the next.
WAIT = timedelta(hours=22)

# What another approval can mend; anything else will be as it is.
_MENDABLE = frozenset(
    {"approvals-missing", "approval-unreadable", "unlisted-key", "signature-altered", "plan-changed", "other-currency"}
    | {"approval-expired", "above-approver", "approver-made-plan", "approver-is-author", "author-unknown"}
)


def may_still_come(refused: ApprovalRefused) -> bool:
    """Whether a good approval is all that is missing."""
    return all(one.code in _MENDABLE for one in refused.problems)


def waiting_path(settings: Settings, recipe: str, due_at: datetime) -> Path:
    """Where the plan of a slot that waits for its approval stands."""
    return jobs.home(settings) / "waiting" / f"{recipe}-{due_at.astimezone(UTC):%Y%m%dT%H%M%SZ}.plan.json"


# How long the plan of a slot is kept that nobody approved: an approver may come late, and wants to see what it was.
KEPT = timedelta(days=30)


def sweep_waiting(settings: Settings, database: Database, *, at: datetime) -> list[Path]:
    """Remove the plans of slots that were due long ago and by which nothing was ever bought, with their approvals.

    What was bought by stays: the ledger has the digest of what was signed, and the plan says what it was. So does what
    cannot be read or is not ours. Returns the plans that were removed. Raises LedgerError.
    """
    removed = []
    with suppress(OSError):
        for path in sorted((jobs.home(settings) / "waiting").iterdir()):
            due_at = _due_at(path)
            if due_at is None or at < due_at + KEPT:
                continue
            with suppress(OSError, UsageError, DiskError):
                if ledger_approvals.uses(database, read_plan(path).digest):
                    continue
                # The approvals first: alone, nobody would know whose they were.
                for file in [*approval_files(path), path]:
                    file.unlink()
                removed.append(path)
    return removed


def _due_at(path: Path) -> datetime | None:
    """When the slot was due whose plan this is; None: it is no such plan."""
    found = re.fullmatch(r"[a-z0-9][a-z0-9._-]*-(\d{8}T\d{6})Z\.plan\.json", path.name)
    if found is None:
        return None
    with suppress(ValueError):
        return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return None


def is_of_slot(path: Path, settings: Settings) -> bool:
    """Whether a plan is that of a slot, which a scheduler buys when it is approved."""
    return path.resolve().parent == (jobs.home(settings) / "waiting").resolve() and _due_at(path) is not None


def waits_for(path: Path, settings: Settings) -> str:
    """What a slot waits for, in words: how much, and how to approve it."""
    plan = read_plan(path).plan
    where = path.relative_to(settings.root) if path.is_relative_to(settings.root) else path
    worst = show(plan.worst_micros, plan.workspace.currency)
    return f"waits for an approval of up to {worst}: `omixa approve {where} --max AMOUNT`"


def seen(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells whether another approval has come beside a plan."""
    found = []
    for one in approval_files(path):
        with suppress(OSError):
            facts = one.stat()
            found.append((one.name, facts.st_mtime_ns, facts.st_size))
    return tuple(found)


def _text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file `{path}`") from None
    except OSError as error:
        raise DiskError(f"`{path}` cannot be read: {error.strerror}", "see to the file and its rights") from error
    if len(raw) > most:
        raise ValueError(f"it has more than {most} bytes")
    return raw.decode("utf-8")


# ---- whether it may be bought


def clear(frozen: Frozen, files: Sequence[Path], settings: Settings, database: Database, *, at: datetime) -> Cleared:
    """The plan, when all of it is as it was approved. Raises ApprovalRefused with every reason why not.

    `files`: the approvals to look at.
    """
    plan = frozen.plan
    problems = list(planfile.workspace_changes(plan.workspace, settings))
    if plan.ledger != ledger_uid(database):
        message = f"the plan was made with another ledger ({plan.ledger[:12]}…)"
        problems.append(Problem("other-ledger", message, hint="run it where it was made; or make it anew here"))
    uses = ledger_approvals.uses(database, frozen.digest)
    problems += ledger_approvals.used(uses, [one.name for one in plan.recipes])
    if plan.reroll and not ledger_approvals.used(uses, [one.name for one in plan.recipes]):
        problems += ledger_approvals.rerolled(uses)
    problems += [ledger_approvals.in_use(use) for use in uses if use.ended_at is None]
    over = {use.recipe for use in uses if use.is_over}
    left = [one for one in plan.recipes if one.name not in over]
    recipes, plans, wishes = _as_now(left, plan, settings, database, problems, at)
    authors = {one.name: author_of_file(settings.root, settings.root / one.path) for one in plan.recipes}
    approved = judge(frozen, files, settings, authors, problems, at=at)
    if problems or approved is None:
        raise ApprovalRefused(problems)
    # What was approved is a budget like the others, and is shown with them.
    room = known.headrooms(
        database, workspace=approved.workspace, zone=plan.workspace.time_zone, caps=[approved.cap], at=at
    )
    return Cleared(approved, recipes, [replace(one, windows=[*one.windows, *room]) for one in plans], wishes)


def _as_now(
    left: Sequence[FrozenRecipe],
    plan: PlanFile,
    settings: Settings,
    database: Database,
    problems: list[Problem],
    at: datetime,
) -> tuple[list[Recipe], list[Plan], dict[str, jobs.Wishes]]:
    """The recipes of the plan as they are now, each with its plan; what has changed is added to the problems."""
    recipes: list[Recipe] = []
    plans: list[Plan] = []
    wishes: dict[str, jobs.Wishes] = {}
    if plan.workspace.name not in settings.workspaces:
        return [], [], {}
    for one in left:
        recipe = _recipe(one, settings, problems)
        if recipe is None:
            continue
        places = frozenset(planfile.place_of(item) for item in one.items if item.action in ("buy", "restore", "skip"))
        # What was signed is compared with the files themselves, not with what was once seen of them.
        wishes[one.name] = jobs.Wishes(again=plan.reroll, only=places, verify=True)
        try:
            made = jobs.make_plan(
                recipe, settings, database, jobs.results(settings), at=at, wishes=wishes[one.name], after=plans
            )
        except Problems as error:
            problems += error.problems
            continue
        problems += planfile.recipe_changes(one, recipe, made)
        recipes.append(recipe)
        plans.append(planfile.only(one, made))
    return recipes, plans, wishes


def _recipe(one: FrozenRecipe, settings: Settings, problems: list[Problem]) -> Recipe | None:
    """The recipe as it is now; None when it cannot be used, which the problems then say."""
    path = settings.root / one.path
    try:
        same = sha256(path.read_bytes()).hexdigest() == one.digest
    except OSError:
        problems.append(Problem("recipe-gone", f"recipe `{one.path}` is not there any more"))
        return None
    try:
        _, found = project.load(settings.root, [one.path])
    except Problems as error:
        problems += [*([] if same else [planfile.edited(one)]), *error.problems]
        return None
    except UsageError as error:
        problems.append(Problem("recipe-gone", error.message, hint=error.hint))
        return None
    return found[0]


def judge(
    frozen: Frozen,
    files: Sequence[Path],
    settings: Settings,
    authors: Mapping[str, str | None],
    problems: list[Problem],
    *,
    at: datetime,
) -> Approved | None:
    """What the approvals in the files allow; None, and why in the problems, when they are not enough.

    `authors`: who wrote each recipe of the plan. One that is not good stands in nobody's way when enough others are.
    """
    good: dict[str, Found] = {}
    bad: list[Problem] = []
    for path in files:
        try:
            found = Found(path, approval.read(_text(path, approval.FILE_BYTES_MAX)))
        except ValueError as error:
            message = f"`{path.name}` is no approval: {error}"
            bad.append(Problem("approval-unreadable", message, hint="have the approver write it again"))
            continue
        name, wrong = judge_one(found, frozen, settings, authors, at=at)
        bad += wrong
        before = good.get(name or "")
        if name is not None and (before is None or before.approval.amount_micros < found.approval.amount_micros):
            good[name] = found
    needed = settings.policy.approvals
    if len(good) < needed:
        problems += bad
        if not bad or good:
            message = f"the plan needs {counted(needed, 'approval')} and has {len(good)}"
            hint = f"`omixa approve {frozen.path} --max AMOUNT`, by one of the [approvers] in {FILE_NAME}"
            problems.append(Problem("approvals-missing", message, hint=hint))
        return None
    # So many of them have approved at least this much.
    most = sorted(good.items(), key=lambda one: -one[1].approval.amount_micros)[:needed]
    return Approved(
        plan=frozen.digest,
        workspace=frozen.plan.workspace.account,
        amount_micros=most[-1][1].approval.amount_micros,
        expires_at=min(found.approval.expires_at for _, found in most),
        approver=", ".join(sorted(name for name, _ in most)),
        signatures=approval.canonical([found.approval.record() for _, found in sorted(most)]).decode(),
        made_by=frozen.plan.made_by.git or frozen.plan.made_by.who,
        made_at=datetime.fromisoformat(frozen.plan.made_at).astimezone(UTC),
        again=frozen.plan.reroll,
    )


def judge_one(
    found: Found, frozen: Frozen, settings: Settings, authors: Mapping[str, str | None], *, at: datetime
) -> tuple[str | None, list[Problem]]:
    """Whose approval it is, and everything that is wrong with it. The name is None when anything is."""
    one, where, plan = found.approval, f"`{found.path.name}`", frozen.plan
    owner = next((approver for approver in settings.approvers.values() if approver.key == one.key), None)
    if owner is None:
        message = f"{where} is signed with a key that {FILE_NAME} does not list: `{one.key[:60]}`"
        return None, [Problem("unlisted-key", message, hint="only keys of [approvers] count")]
    if not one.is_signed:
        message = (
            f"the signature in {where} is not {owner.name}'s over what it says: it was altered after it was signed"
        )
        return None, [Problem("signature-altered", message, hint=f"have {owner.name} approve the plan again")]
    wrong: list[Problem] = []
    if one.plan != frozen.digest:
        message = f"{where} approves another plan than `{frozen.path.name}`, or that was changed after it was approved"
        wrong.append(Problem("plan-changed", message, hint=f"put the plan back as it was; or have {owner.name} look"))
    if one.currency != plan.workspace.currency:
        message = f"{where} is about {one.currency}, and the plan about {plan.workspace.currency}"
        wrong.append(Problem("other-currency", message))
    if at >= one.expires_at:
        message = f"the approval by {owner.name} has expired at {one.expires_at:%Y-%m-%d %H:%M} UTC"
        wrong.append(Problem("approval-expired", message, hint=f"`omixa approve {frozen.path.name}` approves it again"))
    wrong += not_allowed(owner, one.amount_micros, plan, settings, authors)
    return (None if wrong else owner.name), wrong


def not_allowed(
    owner: Approver, amount_micros: int, plan: PlanFile, settings: Settings, authors: Mapping[str, str | None]
) -> Iterator[Problem]:
    """Why this approver may not approve this plan for so much."""
    unit = plan.workspace.currency
    if owner.max_micros is not None and amount_micros > owner.max_micros:
        message = f"{owner.name} may approve {show(owner.max_micros, unit)}, not {show(amount_micros, unit)}"
        yield Problem("above-approver", message, hint=f"have somebody approve it who may: [approvers] in {FILE_NAME}")
    if not settings.policy.not_author:
        return
    another = "have somebody else approve it (`not_author`)"
    for maker in (plan.made_by.who, plan.made_by.git):
        if maker is not None and _is(owner, maker):
            yield Problem("approver-made-plan", f"{owner.name} made the plan ({maker})", hint=another)
            break
    for recipe, author in authors.items():
        if author is None:
            message = f"nobody can tell who wrote recipe {recipe}: it is not committed as it is"
            yield Problem("author-unknown", message, hint="commit the recipe; `not_author` asks for its author")
        elif _is(owner, author):
            yield Problem("approver-is-author", f"{owner.name} wrote recipe {recipe} ({author})", hint=another)


def _is(owner: Approver, told: str) -> bool:
    """Whether an approver is who git or the system names: the same address, or the same name."""
    name, address = parseaddr(told)
    names = {owner.name.casefold()} | ({owner.email.casefold()} if owner.email else set())
    # `ana@desk` of the system is ana.
    found = {name.casefold(), address.casefold()} | ({told.partition("@")[0].casefold()} if "<" not in told else set())
    return bool(names & found)
