"""`omixa run`: plan, ask, buy within every budget, and say what happened."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.execution import Control, Done, Means, Tally
    from runner.ledger.database import Database
    from runner.plan import Plan
    from runner.recipe import Recipe
    from runner.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="names of recipes, run one after another")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask; required where there is no terminal")
    parser.add_argument("--limit", type=int, metavar="N", help="buy at most N pictures a recipe")
    parser.add_argument("--reroll", action="store_true", help="buy again, on purpose, what was paid before")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout when all is done")


def run(
    *, project: str | None, recipes: list[str], yes: bool, limit: int | None, reroll: bool, json: bool, **_: object
) -> int:
    """Run recipes one after another; a stop ends them all. Returns the exit code of the gravest trouble."""
    from runner import jobs, wiring
    from runner.errors import UsageError
    from runner.execution import Control, recover
    from runner.ledger.database import open_database
    from runner.project import find_root, load
    from runner.settings import ledger_path

    if limit is not None and limit < 1:
        raise UsageError(f"--limit is the most pictures to buy, at least 1; found {limit}")
    settings, found = load(find_root(project), recipes)
    jobs.refuse_clashes(found, settings)
    wishes = jobs.Wishes(again=reroll, limit=limit)
    control = Control()
    summaries: list[dict[str, Any]] = []
    codes: list[int] = []
    with open_database(ledger_path(settings), create=True) as database:
        for recipe in found:
            workspace = settings.workspaces[recipe.workspace]
            with wiring.means(settings, workspace, database) as means:
                _say_recovered(recover(means))
                made = jobs.make_plan(recipe, settings, database, means.results, at=means.now(), wishes=wishes)
                if not json:
                    _show_plan(made)
                _ask(made, recipe, settings, yes=yes)
                # Only now: at the question, Ctrl-C simply ends the program.
                with _brakes(control, means):
                    tally = _buy(recipe, settings, made, means, control, wishes=wishes, database=database, quiet=json)
            summaries.append(_summary(made, tally))
            codes.append(_code(made, tally))
            if not json:
                print(_told(made, tally, recipe, settings))
            if control.finishing:
                break
    if json:
        from json import dumps

        print(dumps({"schema": "omixa.run/1", "runs": summaries}, indent=2))
    return max(codes, key=_GRAVITY.index)


def _show_plan(made: "Plan") -> None:
    from runner.commands.plan import totals

    print(f"{made.recipe} · workspace {made.workspace} · {made.model}")
    print(totals(made), flush=True)


def _say_recovered(found: "list[Done]") -> None:
    """A run that died left attempts; say what became of them."""
    for done in found:
        what = {"bought": "settled from its kept answer", "declined": "released, nothing was billed"}
        text = what.get(done.kind) or done.message or done.kind
        print(f"recovered attempt {done.attempt_id} of a run that died: {text}", file=sys.stderr)


def _ask(made: "Plan", recipe: "Recipe", settings: "Settings", *, yes: bool) -> None:
    """Ask before real money is spent. Raises UsageError without consent."""
    from runner.errors import UsageError
    from runner.money import show
    from runner.settings import SANDBOX
    from runner.terminal import counted

    if yes or not made.buy_count or settings.workspaces[recipe.workspace].endpoint == SANDBOX:
        return
    cost = f"about {show(made.expected_micros, made.currency)}, at most {show(made.worst_micros, made.currency)}"
    pictures = counted(made.buy_count, "picture")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{pictures} for {cost} would be bought, and nobody can be asked", "add --yes")
    print(f"Buy {pictures} for {cost}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed; nothing was sent", "answer `y`, or add --yes")


def _buy(
    recipe: "Recipe",
    settings: "Settings",
    made: "Plan",
    means: "Means",
    control: "Control",
    *,
    wishes: Any,
    database: "Database",
    quiet: bool,
) -> "Tally":
    from runner import images, jobs
    from runner.commands.progress import progress
    from runner.execution import Tally, execute

    if not made.of("buy") and not made.of("restore"):
        return Tally()
    images.check_writable(recipe.output.folder)
    workspace = settings.workspaces[recipe.workspace]
    with (
        jobs.begin(recipe, settings, made, means, wishes=wishes) as (purchase, outcome),
        progress(made, purchase.caps, database, quiet=quiet) as watch,
    ):
        tally = execute(made.items, purchase, means, control, concurrency=workspace.concurrency, watch=watch)
        outcome.append(tally.stop.kind if tally.stop else "interrupted" if control.finishing else "done")
    return tally


@contextmanager
def _brakes(control: "Control", means: "Means") -> Iterator[None]:
    """Ctrl-C once (or SIGTERM): finish what is in flight. Ctrl-C twice: stop now; what was sent is kept as unknown."""
    import os
    import signal
    import threading

    # A signal handler may interrupt itself, so it takes no lock: it writes a byte, and a thread does the braking.
    heard, told = os.pipe()

    def listen() -> None:
        while (number := os.read(heard, 1)[0]) != 0:
            if not control.finishing:
                control.finish()
                print("\nfinishing what is in flight; Ctrl-C again to stop now", file=sys.stderr, flush=True)
            elif number == signal.SIGINT:
                print("\nstopping now; requests in flight are kept as unknown", file=sys.stderr, flush=True)
                means.provider.cancel()

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
_GRAVITY = [0, 1, 3, 7, 4, 6, 130]


def _code(made: "Plan", tally: "Tally") -> int:
    from runner.errors import ExitCode

    stop = tally.stop.kind if tally.stop else None
    if tally.interrupted:
        return int(ExitCode.INTERRUPTED)
    if tally.counts.get("unknown"):
        return int(ExitCode.UNKNOWN)
    if stop == "provider":
        return int(ExitCode.PROVIDER)
    if stop == "disk" or any(done.unwritten for done in tally.troubles):
        return int(ExitCode.DISK)
    if stop is not None:
        return int(ExitCode.BUDGET)
    failed = tally.left or any(done.kind in ("declined", "unsuitable", "unusable") for done in tally.troubles)
    return int(ExitCode.FAILED if failed or made.of("hold") else ExitCode.OK)


def _told(made: "Plan", tally: "Tally", recipe: "Recipe", settings: "Settings") -> str:
    """What happened, for a person: counts, money, troubles, what is left and what to do next."""
    from runner.drafts import shown
    from runner.money import show
    from runner.terminal import clean, counted

    unit = made.currency
    bought, restored = tally.counts.get("bought", 0), tally.counts.get("restored", 0)
    lines = [""]
    if not made.of("buy") and not made.of("restore"):
        lines.append("nothing to buy: everything that can be bought is paid for and in place")
    else:
        spent = f"bought {counted(bought, 'picture')} for {show(tally.billed_micros, unit)}"
        lines.append(f"{spent}, restored {restored} without paying")
    if tally.held_micros:
        unknown = counted(tally.counts["unknown"], "attempt")
        lines.append(f"held {show(tally.held_micros, unit)} for {unknown} whose bill is unknown")
    for done in tally.troubles:
        lines.append(f"  {done.kind}  {clean(done.item.draft.source_path)}: {clean(done.message or done.remark or '')}")
    for item in made.of("hold"):
        lines.append(f"  held back  {clean(item.draft.source_path)}: {clean(item.reason)}")
    if bought or restored:
        lines.append(f"pictures are in {shown(recipe.output.folder, settings.root)}")
    if tally.stop is not None:
        lines.append(f"stopped: {clean(tally.stop.message)}")
        if tally.stop.hint:
            lines.append(f"   = help: {tally.stop.hint}")
    elif tally.interrupted:
        lines.append("stopped: interrupted")
    if tally.left:
        lines.append(f"left: {counted(len(tally.left), 'picture')}; `omixa run {made.recipe}` goes on with them")
        lines += [f"  {clean(item.draft.source_path)}" for item in tally.left[:20]]
        if len(tally.left) > 20:
            lines.append(f"  … and {len(tally.left) - 20} more (`omixa plan {made.recipe}` lists them)")
    return "\n".join(lines)


def _summary(made: "Plan", tally: "Tally") -> dict[str, Any]:
    from runner.money import exact

    return {
        "recipe": made.recipe,
        "workspace": made.workspace,
        "currency": made.currency,
        "counts": tally.counts,
        "billed": exact(tally.billed_micros),
        "held": exact(tally.held_micros),
        "stop": None if tally.stop is None else {"kind": tally.stop.kind, "message": tally.stop.message},
        "interrupted": tally.interrupted,
        "left": [item.draft.source_path for item in tally.left],
        "troubles": [
            {
                "kind": done.kind,
                "source": done.item.draft.source_path,
                "attempt": done.attempt_id,
                "message": done.message,
                "remark": done.remark,
            }
            for done in tally.troubles
        ],
    }
