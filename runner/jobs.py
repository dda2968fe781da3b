"""One recipe as a job: which caps it falls under, its plan, and a run of it that begins and ends in the ledger."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runner import __version__, images, items, plan, policy
from runner.caps import caps_of
from runner.diagnostics import ApprovalRefused, Problem, Problems
from runner.drafts import Drafting, made_of, shown
from runner.errors import DiskError, ExitCode, UsageError
from runner.identity import author_of_file, git_state, who
from runner.ledger import known, owners
from runner.ledger.database import Database
from runner.ledger.values import Approved, RunFacts
from runner.money import short, show
from runner.plan import Draft, Facts, Headroom, Item, Part, Plan, Price
from runner.project import load_all
from runner.recipe import Recipe, Step
from runner.settings import Settings, Workspace, ledger_path
from runner.settings_tables import FILE_NAME
from runner.spares import Spares

if TYPE_CHECKING:  # what buys is imported by who buys; plans and reports only ask
    from runner.booking import Means, Stop
    from runner.execution import Purchase, Tally
    from runner.images.seen import Seen
    from runner.images.unchanged import Unchanged


# More pictures that are paid for and in place than this are not listed in a plan, but counted.
LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller asks beyond the recipe. `limit` None: no limit; `slot` None: started by hand.

    `canary`: how many to buy first, and look; None: as the recipe says. `only` these places (`Draft.place`); None: all.
    `verify`: look into every file again, whatever was seen of it before; `keep` False: write down nothing of it.
    `listed`: all items are listed, also what is paid for and in place and has not changed (`Shelf.unlisted`).
    """

    again: bool = False
    limit: int | None = None
    canary: int | None = None
    slot: str | None = None
    only: frozenset[tuple[str, str, str, str]] | None = None
    verify: bool = False
    keep: bool = True
    listed: bool = False


def home(settings: Settings) -> Path:
    """The folder of the ledger: spool, kept results, owners' locks and raw answers stand beside it."""
    return ledger_path(settings).parent


def results(settings: Settings) -> images.Results:
    """The pictures that were paid for, by digest."""
    return images.Results(home(settings) / "results")


def seen(settings: Settings, *, verify: bool, keep: bool) -> "Seen":
    """What was seen of the project's files before, beside the ledger. `verify`: look into each of them again."""
    from runner.images.seen import FILE_NAME as SEEN
    from runner.images.seen import Seen

    return Seen(home(settings) / SEEN, trust=not verify, keep=keep)


def refuse_clashes(recipes: Sequence[Recipe], settings: Settings) -> None:
    """Raise Problems when one of the recipes would write to the same file as another of the project."""
    everyone = load_all(settings.root, [])[1]
    problems = items.clashes_of(recipes, everyone, settings)
    if problems:
        raise Problems(problems)


def refuse_uncommitted(recipe: Recipe, settings: Settings) -> None:
    """Raise Problems when the policy buys only what is committed, and a file that says what to buy is not."""
    if not settings.policy.require_clean:
        return
    problems = policy.uncommitted(recipe, settings, lambda file: git_state(settings.root, [file]))
    if problems:
        raise Problems(problems)


def claim_home(settings: Settings) -> None:
    """Make sure that the ledger is this project's: paths in it are relative to one project. Raises UsageError."""
    note = home(settings) / "project"
    here = str(settings.root)
    inside = home(settings).is_relative_to(settings.root)
    with suppress(FileNotFoundError):
        # A folder's name may be any bytes; so may a note that a power cut has torn.
        owner = os.fsdecode(note.read_bytes()).removesuffix("\n")
        if owner not in (here, "") and not inside:
            raise UsageError(
                f"the ledger `{ledger_path(settings)}` belongs to the project `{owner}`",
                f"give this project a ledger of its own with [ledger] url in {FILE_NAME}; if the project has moved "
                f"here, delete `{note}`",
            )
        if owner == here:
            return
    with images.explained(note):
        note.write_bytes(os.fsencode(here) + b"\n")
        note.chmod(0o600)


def make_plan(
    recipe: Recipe,
    settings: Settings,
    database: Database,
    results: images.Results,
    *,
    at: datetime,
    wishes: Wishes,
    after: Sequence[Plan] = (),
) -> Plan:
    """What a run of the recipe would buy now, or after other plans were run. Opens no socket, and writes nothing but
    what it has seen of pictures, beside the ledger.

    Raises Problems when two pictures would be written to one path or the recipe breaks the policy, UsageError when
    nobody knows what a request may cost.
    """
    with seen(settings, verify=wishes.verify, keep=wishes.keep) as memory:
        quiet = _unchanged(memory, recipe, settings, database, wishes)
        wants = items.Wants(recipe, settings, pass_over=None if quiet is None else quiet.look)
        drafting = Drafting(recipe, settings.root, seen=memory)
        batches = (_only(drafting.of(_expected(batch, quiet)), wishes) for batch in wants.batches())
        made = _plan_of(
            batches, recipe, settings, database, results, at=at, wishes=wishes, after=after, seen=memory, quiet=quiet
        )
        if quiet is None or not quiet.items or _count_unchanged(quiet, made, wants):
            _refuse(wants, made, recipe, settings)
            if quiet is not None:
                quiet.remember()
            return made
    return make_plan(recipe, settings, database, results, at=at, wishes=replace(wishes, listed=True), after=after)


def _refuse(wants: items.Wants, made: Plan, recipe: Recipe, settings: Settings) -> None:
    problems = wants.problems()
    if problems:
        raise Problems(problems)
    _refuse_unpriced(made, recipe, settings)
    problems = policy.plan_problems(made, recipe, settings)
    if problems:
        raise Problems(problems)


def _count_unchanged(quiet: "Unchanged", made: Plan, wants: items.Wants) -> bool:
    """Count what was passed over. False: it has to be looked at nevertheless.

    So when it is few enough to be shown, and when another result could be the same file as one of those.
    """
    made.items.add_unlisted(quiet.items, quiet.folders)
    for source, outputs in quiet.passed:
        wants.paths.note_passed(source, outputs)
    return made.count("skip") > LISTED_MAX and not wants.paths.is_in_passed


def _unchanged(
    memory: "Seen", recipe: Recipe, settings: Settings, database: Database, wishes: Wishes
) -> "Unchanged | None":
    """What is known of the recipe's folders as wholes; None: every picture is looked at."""
    from runner.images.unchanged import outside_of_each_other

    folders = [source.folder for source in recipe.steps[0].sources if source.folder is not None]
    is_plain = len(recipe.steps) == 1 and len(folders) == len(recipe.steps[0].sources)
    if wishes.again or wishes.listed or wishes.only is not None or not is_plain or database.path is None:
        return None
    if not outside_of_each_other(folders):
        return None
    account = settings.workspaces[recipe.workspace].account
    terms = recipe, str(settings.root), str(ledger_path(settings)), account, settings.policy
    return memory.unchanged(recipe.name, terms, known.moved(database))


def _expected(batch: list[items.Wanted], quiet: "Unchanged | None") -> list[items.Wanted]:
    """The batch, before any of its results is looked for."""
    if quiet is not None:
        for one in batch:
            quiet.expect(_folder(one.source), _folder(one.output))
    return batch


def _folder(path: Path | None) -> str:
    text = str(path)
    return text[: text.rfind("/")]


def _only(drafts: list[Draft], wishes: Wishes) -> list[Draft]:
    return drafts if wishes.only is None else [one for one in drafts if one.place in wishes.only]


def plan_of(
    drafts: Sequence[Draft],
    recipe: Recipe,
    settings: Settings,
    database: Database,
    results: images.Results,
    *,
    at: datetime,
    wishes: Wishes,
    after: Sequence[Plan] = (),
) -> Plan:
    """As `make_plan`, of drafts that were made already; asks no policy, and reads every file that counts."""
    made = _plan_of([drafts], recipe, settings, database, results, at=at, wishes=wishes, after=after)
    _refuse_unpriced(made, recipe, settings)
    return made


def _plan_of(
    batches: Iterable[Sequence[Draft]],
    recipe: Recipe,
    settings: Settings,
    database: Database,
    results: images.Results,
    *,
    at: datetime,
    wishes: Wishes,
    after: Sequence[Plan] = (),
    seen: "Seen | None" = None,
    quiet: "Unchanged | None" = None,
) -> Plan:
    """A plan of batches of drafts: one is held at a time. `seen` None: every file is read that counts."""
    workspace = settings.workspaces[recipe.workspace]
    parts = [Part(step.name, step.model, _price(database, workspace, step.model), step.origin) for step in recipe.steps]
    windows = known.headrooms(
        database, workspace=workspace.account, zone=workspace.time_zone, caps=caps_of(workspace, recipe), at=at
    )
    deciding = _Deciding(recipe, parts, windows, workspace, database, results, wishes, seen, quiet)
    return plan.gather(
        parts,
        (item for batch in batches for item in deciding.decided(batch)),
        windows,
        recipe=recipe.name,
        workspace=workspace.account,
        currency=workspace.unit,
        zone=workspace.time_zone,
        limit=wishes.limit,
        after=after,
    )


def _refuse_unpriced(made: Plan, recipe: Recipe, settings: Settings) -> None:
    """Raise UsageError when it would buy what nobody knows the price of."""
    workspace = settings.workspaces[recipe.workspace]
    for part in made.parts:
        if made.buys[part.name] and part.price.ceiling_micros is None:
            raise UsageError(
                f"nobody knows what one request of {part.model} may cost: workspace {workspace.name} declares no "
                "ceiling and the ledger has seen no bill",
                f'add to [workspaces.{workspace.name}] in {FILE_NAME}: ceilings = {{ "{part.model}" = "0.70" }}, with '
                "the most that one request may cost",
            )


def _price(database: Database, workspace: Workspace, model: str) -> Price:
    declared = workspace.ceilings.get(model)
    return known.price(database, workspace=workspace.account, model=model, declared_micros=declared)


@dataclass(frozen=True, slots=True)
class _Deciding:
    """Decides about batches of drafts, each by one look into the ledger for every step."""

    recipe: Recipe
    parts: Sequence[Part]
    windows: Sequence[Headroom]
    workspace: Workspace
    database: Database
    results: images.Results
    wishes: Wishes
    seen: "Seen | None"
    quiet: "Unchanged | None"

    def decided(self, drafts: Sequence[Draft]) -> Sequence[Item]:
        """The items of a batch, what is made of each right behind it."""
        decided: dict[str, Item] = {}
        # Step by step: what a step has brought decides what the next one is made of.
        for step, part in zip(self.recipe.steps, self.parts, strict=True):
            own = [
                _made_of_result(self.recipe, one, decided, self.results, self.seen)
                for one in drafts
                if one.step == step.name and (one.origin is None or one.origin in decided)
            ]
            facts = self._facts(own, part) if own else None
            for one in own:
                assert facts is not None
                origin = None if one.origin is None else decided[one.origin]
                decided[one.output_path] = plan.decide(one, facts, step.model, reroll=self.wishes.again, origin=origin)
        if self.quiet is not None:
            _note(decided.values(), self.quiet)
        return plan.in_turn(list(decided.values()))

    def _facts(self, drafts: Sequence[Draft], part: Part) -> Facts:
        return known.facts_of(
            self.database,
            drafts,
            workspace=self.workspace.account,
            recipe=self.recipe.name,
            price=part.price,
            windows=self.windows,
            is_kept=lambda digest: self.results.path(digest) is not None,
            is_same_file=partial(_is_file_of_digest, _digests(self.seen)),
        )


def _note(decided: Iterable[Item], quiet: "Unchanged") -> None:
    folder = ""
    for item in decided:
        folder = _folder(item.draft.source)
        quiet.note(folder, item.draft.key, is_quiet=item.action == "skip")
    quiet.leave(lambda one: f"{folder}/".startswith(f"{one}/"))


def _facts_of_one(one: Draft, recipe: Recipe, step: Step, settings: Settings, means: "Means") -> Facts:
    workspace, results = settings.workspaces[recipe.workspace], means.results
    return known.facts(
        means.ledger.database,
        [one],
        workspace=workspace.account,
        recipe=recipe.name,
        model=step.model,
        declared_micros=workspace.ceilings.get(step.model),
        zone=workspace.time_zone,
        caps=caps_of(workspace, recipe),
        at=means.now(),
        is_kept=lambda digest: results.path(digest) is not None,
        is_same_file=partial(_is_file_of_digest, images.digests),
    )


def _made_of_result(
    recipe: Recipe, one: Draft, decided: Mapping[str, Item], results: images.Results, seen: "Seen | None"
) -> Draft:
    """A draft with the picture that it is made of, where that was paid for and stays as it is."""
    origin = None if one.origin is None else decided[one.origin]
    if origin is None or origin.action not in ("skip", "restore") or not one.awaits:
        return one
    digest = origin.paid.result_digest if origin.paid else None
    if digest is None:
        return one
    file = None
    with suppress(DiskError):  # where that is told, in `plan.decide`, the next step is told too
        file = results.path(digest)
    if file is None and origin.action == "skip" and _is_exactly(_digests(seen), origin.draft.output, digest):
        file = origin.draft.output  # its kept result cannot be had, and what was delivered is the same
    return one if file is None else made_of(recipe, one, file, seen)


def _is_exactly(digests: Callable[[Path], list[str]], path: Path, digest: str) -> bool:
    try:
        return digests(path)[0] == digest
    except OSError:
        return False


def follower(recipe: Recipe, settings: Settings, means: "Means", wishes: Wishes) -> Callable[[Item, str], Item]:
    """What decides, in a run, about what is made of a result that has just come; `str` is that result's digest."""

    def follow(item: Item, result_digest: str) -> Item:
        try:
            file = means.results.path(result_digest)
        except DiskError as error:
            told = f"made of `{item.draft.origin}`, but {error.message}: {error.hint}"
            return replace(item, action="hold", reason=told)
        if file is None:
            return replace(item, action="hold", reason=f"the kept result of `{item.draft.origin}` is gone")
        one, step = made_of(recipe, item.draft, file), recipe.step(item.draft.step)
        facts = _facts_of_one(one, recipe, step, settings, means)
        # What another run is just buying is waited for where money is set aside, and then brought back.
        unknown = {key: live for key, live in facts.live.items() if live.state == "unknown"}
        return plan.decide(one, replace(facts, live=unknown), step.model, reroll=wishes.again)

    return follow


def _digests(seen: "Seen | None") -> Callable[[Path], list[str]]:
    return images.digests if seen is None else seen.digests


def _is_file_of_digest(digests: Callable[[Path], list[str]], path: Path, digest: str) -> bool:
    try:
        return digest in digests(path)
    except OSError:
        return False


def refuse_unapproved(plans: Sequence[Plan], settings: Settings) -> None:
    """Raise ApprovalRefused when what the plans of one workspace may cost together must be approved first."""
    over = settings.policy.approval_over
    worst: dict[str, int] = {}
    for made in plans:
        if made.buy_count:
            worst[made.workspace] = worst.get(made.workspace, 0) + made.worst_micros
    problems = []
    for workspace, micros in worst.items():
        if over is None or micros <= over:
            continue
        of = [made for made in plans if made.workspace == workspace and made.buy_count]
        names, unit = " ".join(made.recipe for made in of), of[0].currency
        message = (
            f"{names} may cost {show(micros, unit)}, and what is above {show(over, unit)} must be approved "
            f"(`approval_over` in {FILE_NAME})"
        )
        hint = f"`omixa plan {names} --out plan.json`, then `omixa approve plan.json --max {short(micros)}`"
        problems.append(Problem("approval-needed", message, hint=f"{hint}, then `omixa run --plan plan.json`"))
    if problems:
        raise ApprovalRefused(problems)


def canary_stop(made: Plan, tally: "Tally") -> "Stop | None":
    """Why the others must not be bought after the canary, or None: all of it came, at the planned price."""
    from runner.booking import Stop

    unit = made.currency
    came = tally.canary or []
    bought = [done for done in came if done.kind == "bought"]
    if came and all(done.kind == "restored" for done in came):
        message = "another run has bought the canary meanwhile, so this one saw no price; the others are not bought"
        return Stop(
            "canary", message, f"`omixa plan {made.recipe}` shows what is left, by what was billed; then run again"
        )
    if not bought or any(done.kind not in ("bought", "restored", "refused", "unfinished") for done in came):
        again = f"look at them, then `omixa run {made.recipe}` buys the others"
        return Stop("canary", "not every picture of the canary came, so the others are not bought", again)
    expected = {part.name: part.price.expected_micros or 0 for part in made.parts}
    for done in bought:
        cost, planned = done.billed_micros, expected[done.item.draft.step]
        if cost <= planned:
            continue
        message = f"a picture of the canary cost {show(cost, unit)}, and the plan expects {show(planned, unit)}"
        return Stop("canary", f"{message}; the others are not bought", f"`omixa plan {made.recipe}` has the new price")
    return None


def outcome_word(tally: "Tally") -> str:
    """How a run ended, as the ledger keeps it."""
    return tally.stop.kind if tally.stop else "interrupted" if tally.interrupted else "done"


def exit_code(made: Plan, tally: "Tally") -> ExitCode:
    """What a run ends with (docs/exit-codes.md): the gravest of what happened."""
    stop = tally.stop.kind if tally.stop else None
    if tally.interrupted:
        return ExitCode.INTERRUPTED
    if stop == "frozen":
        return ExitCode.FROZEN
    if tally.counts.get("unknown"):
        return ExitCode.UNKNOWN
    if stop == "provider":
        return ExitCode.PROVIDER
    if stop == "disk" or tally.unwritten:
        return ExitCode.DISK
    if stop is not None:
        return ExitCode.BUDGET
    failed = tally.left or {"declined", "unsent", "unsuitable", "unusable"} & tally.trouble_counts.keys()
    return ExitCode.FAILED if failed or made.count("hold") else ExitCode.OK


def check_writable(recipe: Recipe, made: Plan) -> None:
    """Raise DiskError when an output folder that the plan would write to cannot be written."""
    for step in recipe.steps:
        if made.items.how_many("buy", "restore", step=step.name):
            images.check_writable(step.output.folder)


def sweep(made: Plan) -> None:
    """Remove what a dead process has half written where this plan's pictures are.

    A run that only restored has no attempt that would say where it died; so also when there is nothing to buy.
    """
    for place in made.items.folders:
        images.sweep(Path(place))


@contextmanager
def begin(
    recipe: Recipe,
    settings: Settings,
    made: Plan,
    means: "Means",
    *,
    wishes: Wishes,
    approved: Approved | None = None,
) -> "Iterator[tuple[Purchase, list[str]]]":
    """A run in the ledger, owned by this process while inside. Append the outcome word to the list before leaving.

    `approved`: by which approval it buys; its amount is one more cap. Raises LedgerError, DiskError when an output
    folder cannot be written, UsageError on a changed currency, ApprovalRefused when the approval cannot be used, or
    there is none and there must be.
    """
    from runner.execution import Purchase, Terms

    if approved is None:
        refuse_unapproved([made], settings)
    workspace = settings.workspaces[recipe.workspace]
    uid = uuid.uuid4().hex
    declared = [recipe.path, settings.root / FILE_NAME]
    declared += [settings.root / step.contract.file for step in recipe.steps if step.contract.file is not None]
    git = git_state(settings.root, declared)
    refuse_uncommitted(recipe, settings)
    run = RunFacts(
        uid=uid,
        workspace=workspace.account,
        currency=workspace.unit,
        zone=workspace.time_zone,
        recipe=recipe.name,
        recipe_path=shown(recipe.path, settings.root),
        recipe_digest=recipe.digest,
        git_commit=git.commit,
        git_dirty=git.dirty,
        cost_centre=recipe.cost_centre,
        labels=recipe.labels,
        who=who(),
        program=f"omixa-runner {__version__}",
        slot=wishes.slot,
        author=author_of_file(settings.root, recipe.path),
        approver=None if approved is None else approved.approver,
        approval=None if approved is None else approved.plan,
    )
    work = means.work / uid
    owner = owners.hold(means.home / "owners", uid)
    outcome: list[str] = []
    sweep(made)
    try:
        run_id = means.ledger.begin_run(run, at=means.now(), approved=approved)
        for folder in (means.spool, work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamped = [shown(step.output.folder, settings.root) for step in recipe.steps if step.output.provenance]
        if stamped:
            with suppress(OSError):  # who recovers this run would then deliver without
                means.stamps(uid).write_text("\n".join(stamped), encoding="utf-8")
        yield (
            Purchase(
                run_id=run_id,
                run=run,
                terms={
                    step.name: Terms(step.contract, ceiling, step.output.format, step.output.flatten)
                    for step, part in zip(recipe.steps, made.parts, strict=True)
                    if (ceiling := part.price.ceiling_micros) is not None
                },
                caps=[*caps_of(workspace, recipe, uid), *([] if approved is None else [approved.cap])],
                follow=follower(recipe, settings, means, wishes),
                work=work,
                again=wishes.again,
                concurrency=workspace.concurrency,
                copies=Spares(work, "copy"),
                answers=Spares(work, "answer"),
            ),
            outcome,
        )
        means.ledger.end_run(run_id, outcome[-1] if outcome else "failed", at=means.now())
    finally:
        # Without an end in the ledger, whoever recovers next finds the lock free and finishes the attempts.
        shutil.rmtree(work, ignore_errors=True)
        owner.let_go()
