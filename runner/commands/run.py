"""`omixa run`: plan, ask, buy within every budget, and say what happened."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from runner.approvals import Frozen
    from runner.booking import Done, Means, Stop
    from runner.execution import Control, Tally
    from runner.ledger.database import Database
    from runner.ledger.values import Approved
    from runner.pile import Pile
    from runner.plan import Plan
    from runner.recipe import Recipe
    from runner.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="names of recipes, run one after another")
    parser.add_argument("--plan", metavar="FILE", help="buy exactly what this approved plan says (omixa plan --out)")
    parser.add_argument(
        "--approval", action="append", metavar="FILE", help="an approval of it (default: all that stand beside it)"
    )
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask; required where there is no terminal")
    parser.add_argument("--limit", type=int, metavar="N", help="buy at most N pictures a recipe")
    parser.add_argument(
        "--canary",
        type=int,
        metavar="N",
        help="buy N first; the others only if those came and cost no more than planned",
    )
    parser.add_argument("--reroll", action="store_true", help="buy again, on purpose, what was paid before")
    parser.add_argument("--verify", action="store_true", help="read every picture again, also those seen before")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout when all is done")


def run(
    *,
    project: str | None,
    recipes: list[str],
    plan: str | None,
    approval: list[str] | None,
    yes: bool,
    limit: int | None,
    canary: int | None,
    reroll: bool,
    verify: bool,
    json: bool,
    **_: object,
) -> int:
    """Plan all recipes, ask, and run them one after another; a stop ends them all. An approved plan asks nobody again.

    Returns the exit code of the gravest trouble. What was bought is told whatever happens afterwards.
    """
    from runner import jobs
    from runner.commands.bell import ring
    from runner.errors import OmixaError, UsageError
    from runner.ledger.database import open_database
    from runner.project import find_root, load
    from runner.settings import ledger_path

    if limit is not None and limit < 1:
        raise UsageError(f"--limit is the most pictures to buy, at least 1; found {limit}")
    if canary is not None and canary < 1:
        raise UsageError(f"--canary is how many pictures to buy first, at least 1; found {canary}")
    frozen = None if plan is None else _frozen(plan, recipes, approval, limit=limit, reroll=reroll)
    if frozen is None and (approval is not None or not recipes):
        raise UsageError(
            "say which recipes to run, or which approved plan", "`omixa run NAME`, `omixa run --plan FILE`"
        )
    root = find_root(project)
    settings, found = (_settings(root), []) if frozen is not None else load(root, recipes)
    jobs.refuse_clashes(found, settings)
    for recipe in found:
        jobs.refuse_uncommitted(recipe, settings)
    with open_database(ledger_path(settings), create=True) as database, ExitStack() as stack:
        jobs.claim_home(settings)
        wishes = jobs.Wishes(again=reroll, limit=limit, canary=canary, verify=verify)
        session = _Session(settings, database, wishes, json, yes=yes)
        plans: list[Plan] = []
        if frozen is not None:
            found, plans = session.clear(frozen, approval, stack)
        for recipe in [] if frozen is not None else found:
            means = session.means(recipe.workspace, stack)
            made = jobs.make_plan(
                recipe, settings, database, means.results, at=means.now(), wishes=session.wishes, after=plans
            )
            plans.append(made)
        for made in [] if json else plans:
            _say(_plan_text(made))
        if frozen is None:
            jobs.refuse_unapproved(plans, settings)
            for recipe, made in zip(found, plans, strict=True):
                ask(made, recipe, settings, yes=yes)
        for recipe, made in zip(found, plans, strict=True):
            try:
                session.buy(recipe, made, session.means(recipe.workspace, stack))
            except OmixaError as error:
                if not session.summaries:
                    raise
                # Earlier recipes have bought: their summary must not be lost to this one's trouble.
                session.failed(made, error)
                break
            if session.control.finishing:
                break
        if json:
            from runner.commands.json_pieces import json_pieces

            _say("", json_pieces({"schema": "omixa.run/1", "runs": session.summaries}))
        ring(settings, found, database)
    return max(session.codes, key=_GRAVITY.index)


def _frozen(plan: str, recipes: list[str], approval: list[str] | None, *, limit: int | None, reroll: bool) -> "Frozen":
    """The plan that is to be bought. Raises UsageError for wishes that the plan does not say itself."""
    from pathlib import Path

    from runner.approvals import read_plan
    from runner.errors import UsageError

    if recipes or limit is not None or reroll:
        wish = f"recipe {recipes[0]}" if recipes else "--limit" if limit is not None else "--reroll"
        raise UsageError(f"--plan says itself what is bought, so there is no room for {wish}", "leave it out")
    return read_plan(Path(plan))


def _settings(root: "Path") -> "Settings":
    from runner import settings as settings_file
    from runner.diagnostics import Problems

    settings, problems = settings_file.load(root)
    if settings is None:
        raise Problems(problems)
    return settings


class _Session:
    """One invocation: its brakes, what it works with, and what it has to tell at the end."""

    def __init__(self, settings: "Settings", database: "Database", wishes: Any, json: bool, *, yes: bool) -> None:
        from runner.execution import Control

        self.settings, self.database, self.wishes, self.json, self.yes = settings, database, wishes, json, yes
        self.control = Control()
        self.summaries: list[dict[str, Any]] = []
        self.codes: list[int] = []
        self.approved: Approved | None = None
        self._means: dict[str, Means] = {}

    def means(self, workspace: str, stack: ExitStack) -> "Means":
        """What runs in a workspace work with; whatever a dead run left there is finished first."""
        from runner import wiring
        from runner.errors import ExitCode
        from runner.identity import who
        from runner.recovery import check, recover

        if workspace not in self._means:
            means = stack.enter_context(wiring.means(self.settings, self.settings.workspaces[workspace], self.database))
            found = recover(means)
            _say_recovered(found)
            if any(done.kind == "unknown" for done in found):
                self.codes.append(int(ExitCode.UNKNOWN))
            check(means, who=who())
            self._means[workspace] = means
        return self._means[workspace]

    def clear(self, frozen: "Frozen", named: list[str] | None, stack: ExitStack) -> "tuple[list[Recipe], list[Plan]]":
        """What is left to buy of an approved plan. Raises ApprovalRefused, with every reason why it must not be."""
        from pathlib import Path

        from runner import approvals, jobs, windows

        workspace = frozen.plan.workspace.name
        # First of all, what a dead run of this plan has left.
        at = self.means(workspace, stack).now() if workspace in self.settings.workspaces else windows.clock()
        files = approvals.approval_files(frozen.path) if named is None else [Path(one) for one in named]
        cleared = approvals.clear(frozen, files, self.settings, self.database, at=at)
        jobs.refuse_clashes(cleared.recipes, self.settings)
        for recipe in cleared.recipes:
            jobs.refuse_uncommitted(recipe, self.settings)
        self.approved = cleared.approved
        self.wishes = jobs.Wishes(again=frozen.plan.reroll, canary=self.wishes.canary)
        return list(cleared.recipes), list(cleared.plans)

    def buy(self, recipe: "Recipe", made: "Plan", means: "Means") -> None:
        """Run one recipe and tell what happened."""
        from runner.jobs import exit_code
        from runner.pile import Pile

        # The brakes only now: at the question, Ctrl-C simply ends the program.
        with brakes(self.control, means.provider.cancel):
            told = Pile()
            tally = _buy(recipe, made, means, self, told)
        self.summaries.append(_summary(made, tally, told))
        self.codes.append(int(exit_code(made, tally)))
        self._checkpoint(means)
        if not self.json:
            _say(_told(made, tally, recipe, self))

    def _checkpoint(self, means: "Means") -> None:
        """Write down how far the ledger has come. What was bought is bought, so this is only a warning."""
        from runner.errors import OmixaError

        try:
            means.checkpoint()
        except OmixaError as error:
            print(f"warning: no checkpoint of the ledger was written: {error.message}", file=sys.stderr)
            if error.hint:
                print(f"   = help: {error.hint}", file=sys.stderr)

    def failed(self, made: "Plan", error: Any) -> None:
        """A recipe could not be run, after others were."""
        print(f"error: {made.recipe}: {error.message}", file=sys.stderr)
        self.summaries.append({"recipe": made.recipe, "error": error.message})
        self.codes.append(int(error.exit_code))


def _say(text: str, pieces: "Iterable[str]" = ()) -> None:
    """Print to stdout. A reader that went away, or a full disk behind it, must not change how the run ends."""
    import os

    try:
        for piece in pieces:
            sys.stdout.write(piece)
        print(text, flush=True)
    except OSError:
        # Or Python complains again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with suppress(OSError):
            print("the summary could not be written to standard output; see `omixa audit list`", file=sys.stderr)


def _plan_text(made: "Plan") -> str:
    from runner.commands.plan import totals

    return f"{made.recipe} · workspace {made.workspace} · {made.model}\n{totals(made)}\n"


def _say_recovered(found: "list[Done]") -> None:
    """A run that died left attempts; say what became of them."""
    for done in found:
        what = {"bought": "settled from its kept answer", "declined": "released, nothing was billed"}
        text = what.get(done.kind) or done.message or done.kind
        print(f"recovered attempt {done.attempt_id} of a run that died: {text}", file=sys.stderr)


def ask(made: "Plan", recipe: "Recipe", settings: "Settings", *, yes: bool) -> None:
    """Ask before real money is spent. Raises UsageError without consent."""
    from runner.errors import UsageError
    from runner.money import show
    from runner.settings_tables import SANDBOX
    from runner.terminal import counted

    if yes or not made.buy_count or settings.workspaces[recipe.workspace].endpoint == SANDBOX:
        return
    cost = f"about {show(made.expected_micros, made.currency)}, at most {show(made.worst_micros, made.currency)}"
    pictures = counted(made.buy_count, "picture")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{pictures} for {cost} would be bought, and nobody can be asked", "add --yes")
    print(f"Buy {pictures} for {cost}? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        print("", file=sys.stderr)
        raise UsageError("not confirmed; nothing was sent", "answer `y`, or add --yes") from None
    if not answer.endswith("\n"):
        print("", file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed; nothing was sent", "answer `y`, or add --yes")


def _buy(recipe: "Recipe", made: "Plan", means: "Means", session: _Session, told: "Pile") -> "Tally":
    from runner import jobs
    from runner.commands.progress import progress
    from runner.execution import Tally, execute

    if not made.count("buy", "restore"):
        jobs.sweep(made)
        return Tally()
    jobs.check_writable(recipe, made)
    control, settings = session.control, session.settings
    concurrency = settings.workspaces[recipe.workspace].concurrency
    with (
        jobs.begin(recipe, settings, made, means, wishes=session.wishes, approved=session.approved) as (
            purchase,
            outcome,
        ),
        progress(made, purchase.caps, session.database, quiet=session.json) as show_done,
    ):

        def watch(done: "Done") -> None:
            if session.json:
                told.append(_picture(done))
            show_done(done)

        def approve(tally: Tally) -> "Stop | None":
            return _approve(made, recipe, tally, session)

        tally = execute(
            made.items,
            purchase,
            means,
            control,
            concurrency=concurrency,
            watch=watch,
            canary=session.wishes.canary or recipe.canary,
            approve=approve,
        )
        outcome.append(jobs.outcome_word(tally))
    return tally


def _approve(made: "Plan", recipe: "Recipe", tally: "Tally", session: _Session) -> "Stop | None":
    """After the canary: show what came and what it cost, and go on only if it is within the plan.

    On a terminal somebody looks at the pictures and says so, except with --yes.
    """
    from runner import jobs
    from runner.booking import Stop
    from runner.money import show
    from runner.terminal import clean, counted

    unit = made.currency
    bought = [done for done in tally.canary or [] if done.kind == "bought"]
    lines = [f"canary: {counted(len(bought), 'picture')} bought"]
    for done in bought:
        odd = f"  ({clean(done.remark)})" if done.remark else ""
        lines.append(f"  {clean(done.item.draft.output_path)}  {show(done.billed_micros, unit)}{odd}")
    print("\n".join(lines), file=sys.stderr, flush=True)
    stop = jobs.canary_stop(made, tally)
    if stop is not None:
        return stop
    dearest = max(done.billed_micros for done in bought)
    planned = max(part.price.expected_micros or 0 for part in made.parts)
    print(f"at most {show(dearest, unit)} a picture, as planned ({show(planned, unit)})", file=sys.stderr, flush=True)
    if session.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    left = made.buy_count - len(bought)
    print(f"Buy the other {counted(left, 'picture')}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return None
    again = f"look at them, then `omixa run {made.recipe}` buys the others"
    return Stop("canary", "not confirmed after the canary; the others are not bought", again)


@contextmanager
def brakes(control: "Control", cancel: "Callable[[], None]") -> Iterator[None]:
    """Ctrl-C once (or SIGTERM): finish what is in flight. Ctrl-C twice: `cancel`; what was sent is kept as unknown."""
    import os
    import signal
    import threading

    # A signal handler may interrupt itself, so it takes no lock: it writes a byte, and a thread does the braking.
    heard, told = os.pipe()

    def listen() -> None:
        while (number := os.read(heard, 1)[0]) != 0:
            if not control.finishing:
                control.finish()
                text = "finishing what is in flight; Ctrl-C again to stop now"
            elif number == signal.SIGINT:
                cancel()
                text = "stopping now; requests in flight are kept as unknown"
            else:
                continue
            with suppress(OSError):
                print(f"\n{text}", file=sys.stderr, flush=True)

    def brake(number: int, _frame: object) -> None:
        os.write(told, bytes([number]))

    listener = threading.Thread(target=listen, name="brakes", daemon=True)
    listener.start()
    before = {number: signal.signal(number, brake) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(told, b"\0")
        listener.join()
        os.close(heard)
        os.close(told)


# From the least to the gravest: several recipes end with the gravest code of all.
_GRAVITY = [0, 1, 3, 9, 7, 4, 6, 8, 130]


def _told(made: "Plan", tally: "Tally", recipe: "Recipe", session: _Session) -> str:
    """What happened, for a person: counts, money, troubles, what is left and what to do next."""
    from runner.money import show
    from runner.terminal import clean, counted

    unit = made.currency
    bought, restored = tally.counts.get("bought", 0), tally.counts.get("restored", 0)
    lines = [""] if made.count("buy", "restore") else [_nothing(made)]
    if made.count("buy", "restore"):
        spent = f"bought {counted(bought, 'picture')} for {show(tally.billed_micros, unit)}"
        lines.append(f"{spent}, restored {restored} without paying")
    if tally.held_micros:
        unknown = counted(tally.counts["unknown"], "attempt")
        lines.append(f"held {show(tally.held_micros, unit)} for {unknown} whose bill is unknown")
    for done in tally.troubles:
        lines.append(f"  {done.kind}  {clean(done.item.draft.told)}: {clean(done.message or done.remark or '')}")
    untold = sum(tally.trouble_counts.values()) - len(tally.troubles)
    lines += [f"  … and {untold} more (`omixa audit list`)"] if untold else []
    lines += _not_bought(made)
    if bought or restored or made.count("skip"):
        lines += _where(made, tally, recipe, session)
    if tally.stop is not None:
        lines.append(f"stopped: {clean(tally.stop.message)}")
        if tally.stop.hint:
            lines.append(f"   = help: {tally.stop.hint}")
    elif tally.interrupted:
        lines.append("stopped: interrupted")
    if tally.left:
        again = f"`omixa run {made.recipe}` goes on with what is left"
        if session.approved is not None:
            again = "the same `omixa run --plan` goes on with what is left, until the approval expires"
        if session.wishes.again:
            again = "--reroll begins again with all of them"
        lines.append(f"left: {counted(len(tally.left), 'picture')}; {again}")
        lines += [f"  {clean(name)}" for name in islice(tally.left, 20)]
        if len(tally.left) > 20:
            lines.append(f"  … and {len(tally.left) - 20} more (`omixa plan {made.recipe}` lists them)")
    return "\n".join(lines)


# Of the items that the plan does not buy, so many are told here.
_HELD_TOLD = 1_000


def _not_bought(made: "Plan") -> list[str]:
    """What the plan holds back, and what cannot be sent."""
    from runner.terminal import clean

    held = (f"  held back  {clean(item.draft.missing)}: {clean(item.reason)}" for item in made.of("hold"))
    unsuitable = (f"  unsuitable  {clean(item.draft.told)}: {clean(item.reason)}" for item in made.of("unsuitable"))
    lines = [*islice(held, _HELD_TOLD), *islice(unsuitable, _HELD_TOLD)]
    untold = made.count("hold", "unsuitable") - len(lines)
    return lines + ([f"  … and {untold} more (`omixa plan {made.recipe}` lists them)"] if untold else [])


def _where(made: "Plan", tally: "Tally", recipe: "Recipe", session: _Session) -> list[str]:
    """Where the pictures are; of several steps, how many each has brought so far."""
    from runner.drafts import shown
    from runner.terminal import table

    root = session.settings.root
    if len(recipe.steps) == 1:
        return [f"pictures are in {shown(recipe.steps[0].output.folder, root)}"]
    counts = {"there": "there", "bought now": "bought", "missing": "missing"}
    if made.count("later"):
        counts["beyond the limit"] = "later"
    rows = [
        [one["step"], *(str(one[key]) for key in counts.values()), shown(step.output.folder, root)]
        for one, step in zip(by_step(made, tally), recipe.steps, strict=True)
    ]
    right = range(1, len(counts) + 1)
    return ["", *table(["step", *counts, "pictures are in"], rows, right={*right}).split("\n")]


def by_step(made: "Plan", tally: "Tally") -> list[dict[str, Any]]:
    """How far each step of a recipe has come: how many of its pictures are there, and how many are missing.

    `later`: how many the plan left out on purpose, beyond the limit. They are not missing: with --reroll, what was
    bought before stands in their place.
    """
    found = []
    for part in made.parts:
        wanted, there = made.items.how_many(step=part.name), made.items.how_many("skip", step=part.name)
        bought, restored = (tally.by_step.get((part.name, kind), 0) for kind in ("bought", "restored"))
        there += bought + restored
        later = made.items.how_many("later", step=part.name)
        told = {"step": part.name, "there": there, "bought": bought, "missing": wanted - there - later, "later": later}
        found.append(told)
    return found


def _nothing(made: "Plan") -> str:
    """Why nothing was to be bought. Ends with what a script's reader looks for: nothing was sent."""
    if not made.count():
        return "no pictures were found in the recipe's folders; nothing was sent"
    if made.count("skip"):
        return "everything that can be bought is paid for and in place; nothing was sent"
    return "none of the pictures can be bought now; nothing was sent"


def _picture(done: "Done") -> dict[str, Any]:
    from runner.money import exact

    return {
        "kind": done.kind,
        "source": done.item.draft.source_path or None,
        "output": done.item.draft.output_path,
        "attempt": done.attempt_id,
        "billed": exact(done.billed_micros),
        "message": done.message,
        "remark": done.remark,
    }


def _summary(made: "Plan", tally: "Tally", told: "Pile") -> dict[str, Any]:
    from runner.money import exact
    from runner.pile import Pile

    return {
        "recipe": made.recipe,
        "workspace": made.workspace,
        "currency": made.currency,
        "counts": tally.counts,
        "billed": exact(tally.billed_micros),
        "held": exact(tally.held_micros),
        "stop": None if tally.stop is None else {"kind": tally.stop.kind, "message": tally.stop.message},
        "interrupted": tally.interrupted,
        "left": tally.left,
        "later": Pile(item.draft.missing for item in made.of("later")),
        "pictures": told,
        **({"steps": by_step(made, tally)} if len(made.parts) > 1 else {}),
    }
