"""`omixa plan`: every item with its decision and why, what it may cost, and each budget's headroom."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from runner.jobs import Wishes
    from runner.ledger.database import Database
    from runner.plan import Plan, Price
    from runner.recipe import Recipe
    from runner.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="names of recipes (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--reroll", action="store_true", help="plan to buy again what was paid before")
    parser.add_argument("--all", dest="every", action="store_true", help="list every picture, also those in place")
    parser.add_argument("--limit", type=int, metavar="N", help="plan to buy at most N pictures a recipe")
    parser.add_argument("--verify", action="store_true", help="read every picture again, also those seen before")
    parser.add_argument("--out", metavar="FILE", help="also freeze the plan into a file that can be approved")
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help="0: nothing to buy, 10: something would be bought, 3: not all of it fits the budgets",
    )


def run(
    *,
    project: str | None,
    recipes: list[str],
    json: bool,
    reroll: bool,
    limit: int | None,
    detailed_exitcode: bool,
    out: str | None,
    verify: bool,
    every: bool,
    **_: object,
) -> int:
    """Show the plans; opens no socket, needs no key, and writes nothing but the file of --out and what was seen."""
    from runner import jobs, windows
    from runner.errors import ExitCode, UsageError
    from runner.ledger.database import open_database
    from runner.project import find_root, load
    from runner.settings import ledger_path

    if limit is not None and limit < 1:
        raise UsageError(f"--limit is the most pictures to buy, at least 1; found {limit}")
    settings, found = load(find_root(project), recipes)
    if not found:
        raise UsageError("this project has no recipes", "write one: recipes/NAME.toml (docs/recipes.md)")
    jobs.refuse_clashes(found, settings)
    # What is going to be signed is read, whatever was seen of it before.
    wishes = jobs.Wishes(again=reroll, limit=limit, verify=verify or out is not None, listed=json or every)
    plans: list[Plan] = []
    # A frozen plan says of which ledger it is, so there must be one.
    with open_database(ledger_path(settings), create=out is not None) as database:
        at = windows.clock()
        for recipe in found:
            made = jobs.make_plan(recipe, settings, database, jobs.results(settings), at=at, wishes=wishes, after=plans)
            plans.append(made)
        digest = None if out is None else _freeze(found, plans, settings, database, out, at, wishes)
    if digest is not None:
        then = f"`omixa approve {out} --max AMOUNT`{_least(plans)}"
        print(f"frozen into `{out}`, digest {digest}: {then}", file=sys.stderr)
    if json:
        from runner.commands.json_pieces import print_json

        print_json({"schema": "omixa.plan/1", "plans": map(as_json, plans)})
    else:
        for number, made in enumerate(plans):
            _print_lines([""] if number else [], lines(made, every=every))
        if len(plans) > 1:
            print(f"\n{_sum(plans)}")
    if not detailed_exitcode or not any(made.buy_count for made in plans):
        return int(ExitCode.OK)
    return int(ExitCode.CHANGES if all(made.fits == made.buy_count for made in plans) else ExitCode.BUDGET)


def _freeze(
    recipes: "list[Recipe]",
    plans: "list[Plan]",
    settings: "Settings",
    database: "Database",
    out: str,
    at: "datetime",
    wishes: "Wishes",
) -> str:
    from pathlib import Path

    from runner import approvals, jobs

    jobs.claim_home(settings)
    return approvals.freeze(recipes, plans, settings, database, Path(out), at=at, wishes=wishes)


def _least(plans: "Iterable[Plan]") -> str:
    """How much must be approved so that anything is bought, in words; nothing where nothing is to be bought."""
    from runner.money import show

    ceilings = [
        (part.price.ceiling_micros, made.currency)
        for made in plans
        for part in made.parts
        if made.buys[part.name] and part.price.ceiling_micros is not None
    ]
    return f", at least {show(*min(ceilings))}: one picture may cost that" if ceilings else ""


def _print_lines(*parts: "Iterable[str]") -> None:
    """Many lines at a time: one by one, a terminal or a pipe is woken for each."""
    from itertools import chain, islice

    left = chain(*parts)
    while held := list(islice(left, 1000)):
        print("\n".join(held))


def lines(made: "Plan", *, every: bool = False) -> "Iterator[str]":
    """The whole plan for a person, line by line. Of many pictures, only how many are paid for and in place."""
    from runner.jobs import LISTED_MAX
    from runner.terminal import clean, counted, table_lines

    yield f"{made.recipe} · workspace {made.workspace} · {made.model}"
    yield ""
    is_graph, paid = len(made.parts) > 1, made.count("skip")
    untold = 0 if every or paid <= LISTED_MAX else paid

    def rows() -> "Iterator[list[str]]":
        for action, step, source, output, reason in made.items.lines:
            if untold and action == "skip":
                continue
            named = clean(source) or "–", clean(output), clean(reason)
            yield [action, *([step] if is_graph else []), *named]

    header = ["", *(["step"] if is_graph else []), "source", "output", "why"]
    if not made.count():
        yield "no pictures found"
    elif made.count() > untold:
        yield from table_lines(header, rows)
    if untold:
        yield f"{counted(untold, 'picture')} paid for and in place (`omixa plan {made.recipe} --all` lists them)"
    yield ""
    yield totals(made)


def totals(made: "Plan") -> str:
    """Counts, costs and budgets of a plan."""
    from runner.jobs import LISTED_MAX
    from runner.money import show
    from runner.terminal import counted, table

    # Of very many, how many are in place stands last, wherever the first of them does.
    counts = sorted(made.items.actions.items(), key=lambda one: one[0] == "skip" and one[1] > LISTED_MAX)
    said = [f"{count} {action}" for action, count in counts]
    lines = [f"{counted(made.count(), 'picture')}: {', '.join(said) or 'none'}"]
    price = made.price
    if len(made.parts) > 1:
        lines += ["", _steps(made)]
        if made.buy_count:
            lines += ["", f"expected cost  {show(made.expected_micros, made.currency)}"]
            lines.append(f"worst cost     {show(made.worst_micros, made.currency)}")
    elif made.buy_count and price.expected_micros is not None and price.ceiling_micros is not None:
        source = "median of what was billed" if price.median_micros is not None else "no bill seen yet: the ceiling"
        count, unit = made.buy_count, made.currency
        expected, ceiling = show(price.expected_micros, unit), show(price.ceiling_micros, unit)
        lines.append(f"expected cost  {show(made.expected_micros, unit)}  ({count} × {expected}, {source})")
        lines.append(f"worst cost     {show(made.worst_micros, unit)}  ({count} × {ceiling}, the most one may cost)")
    lines.append("")
    header = [f"budget, {made.currency}", "cap", "settled", "open", "this run", "left", "fits", "ends"]
    lines.append(table(header, [_budget(made, window) for window in made.windows], right={1, 2, 3, 4, 5, 6}))
    if made.buy_count:
        is_known = all(part.price.median_micros is not None for part in made.parts if made.buys[part.name])
        guess = "" if is_known else "at least "
        lines.append(f"\n{guess}{made.fits} of {made.buy_count} fit into every budget")
    return "\n".join(lines)


def _steps(made: "Plan") -> str:
    """Each step: what it takes, how many pictures it has, buys and has paid for, and what it costs."""
    from runner.money import short
    from runner.terminal import table

    rows = []
    for part in made.parts:
        own = made.items.how_many(step=part.name)
        buys = made.buys[part.name]
        costs = [
            "?" if micros is None and buys else short(buys * (micros or 0))
            for micros in (part.price.expected_micros, part.price.ceiling_micros)
        ]
        rows.append([part.name, part.origin or "–", part.model, str(own), str(buys), str(made.paid(part.name)), *costs])
    header = ["step", "from", "model", "pictures", "buy", "paid", f"expected, {made.currency}", "at most"]
    return table(header, rows, right={3, 4, 5, 6, 7})


def _budget(made: "Plan", window: Any) -> list[str]:
    from datetime import datetime

    from runner.money import short
    from runner.windows import local_text

    this_run = made.expected_micros if made.buy_count else 0
    amounts = (window.cap_micros, window.settled_micros, window.open_micros, this_run, window.left_micros - this_run)
    # The zone stands in the budget's name already.
    ends = (
        local_text(datetime.fromisoformat(window.ends_at), made.zone).removesuffix(f" {made.zone}")
        if window.ends_at
        else "never"
    )
    return [window.name, *(short(micros) for micros in amounts), str(made.fits_into(window)), ends]


def _sum(plans: "list[Plan]") -> str:
    from runner.money import show

    totals: dict[str, int] = {}
    for made in plans:
        if made.buy_count:
            totals[made.currency] = totals.get(made.currency, 0) + made.expected_micros
    costs = " + ".join(show(micros, currency) for currency, micros in totals.items()) or "nothing to pay"
    return f"all {len(plans)} recipes: {sum(made.buy_count for made in plans)} to buy, expected {costs}"


def as_json(made: "Plan") -> dict[str, Any]:
    """The whole plan for a program; money as text with six decimals, None where nobody knows.

    Its items can be gone through once.
    """
    from runner.money import exact

    def money(micros: int | None) -> str | None:
        return None if micros is None else exact(micros)

    def priced_as(price: "Price") -> dict[str, str | None]:
        return {
            "declared": money(price.declared_micros),
            "highest_seen": money(price.highest_micros),
            "median_seen": money(price.median_micros),
            "ceiling": money(price.ceiling_micros),
            "expected": money(price.expected_micros),
        }

    priced = bool(made.buy_count)
    return {
        "recipe": made.recipe,
        "workspace": made.workspace,
        "model": made.model,
        "currency": made.currency,
        "price": priced_as(made.price),
        "steps": [
            {
                "step": part.name,
                "from": part.origin,
                "model": part.model,
                "price": priced_as(part.price),
                "buy": made.buys[part.name],
            }
            for part in made.parts
            if part.name
        ],
        "buy": made.buy_count,
        "fits": made.fits,
        "expected_cost": exact(made.expected_micros) if priced else exact(0),
        "worst_cost": exact(made.worst_micros) if priced else exact(0),
        "budgets": [
            {
                "budget": window.name,
                "cap": exact(window.cap_micros),
                "settled": exact(window.settled_micros),
                "open": exact(window.open_micros),
                "left": exact(window.left_micros),
                "fits": made.fits_into(window),
                "ends_at": window.ends_at,
            }
            for window in made.windows
        ],
        "items": (
            {
                "action": item.action,
                "reason": item.reason,
                "source": item.draft.source_path or None,
                "output": item.draft.output_path,
                "prompt": item.draft.prompt_name,
                "preset": item.draft.preset_name,
                "item_key": item.draft.key,
                **({"step": item.draft.step} if item.draft.step else {}),
            }
            for item in made.items
        ),
    }
