"""`omixa forecast`: what the schedules will spend, and the slot at which each budget ends; opens no socket."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date, datetime
    from fractions import Fraction
    from pathlib import Path

    from runner.diagnostics import Problem
    from runner.forecast import Forecast, Projection, Slot, Total
    from runner.outlook import Assumption, Outlook
    from runner.recipe import Recipe
    from runner.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "recipes",
        nargs="*",
        metavar="RECIPE",
        help="show only these (default: all); the others are counted all the same, because they share the budgets",
    )
    parser.add_argument("--workspace", metavar="W", help="only this workspace (default: all)")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--month", metavar="MONTH", help="to the end of a month, as 2026-12 (default: of this month)")
    end.add_argument("--until", metavar="DAY", help="to the end of a day, as 2026-12-24; the workspace's own")
    parser.add_argument(
        "--recipe-file",
        action="append",
        metavar="FILE",
        default=[],
        help="what if the recipe of this name were as in FILE of this project; shows the difference (repeatable)",
    )
    parser.add_argument(
        "--gain",
        action="append",
        metavar="RECIPE=N",
        default=[],
        help="how many pictures a day a recipe gains, such as posters=0.5 (default: as in 28 days; repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, with every slot")


def run(
    *,
    project: str | None,
    recipes: list[str],
    workspace: str | None,
    month: str | None,
    until: str | None,
    recipe_file: list[str],
    gain: list[str],
    json: bool,
    **_: object,
) -> int:
    """Show the forecast; opens no socket, needs no key, writes nothing."""
    from runner import jobs, windows
    from runner.errors import ExitCode
    from runner.ledger.database import open_database
    from runner.outlook import outlook
    from runner.project import find_root
    from runner.settings import ledger_path

    last_day = asked_day(month, until)
    root = find_root(project)
    settings, present = _load(root)
    changed = _changed(recipe_file, settings)
    # One that is new has nothing to replace; it is counted beside the others.
    new = [recipe for recipe in present if recipe.name not in changed] + list(changed.values())
    only = _named(recipes, root, changed)
    gains = _gains(gain, {recipe.name for recipe in new})
    wanted = _workspaces(settings, workspace, new, only)
    at = windows.clock()
    with open_database(ledger_path(settings), create=False) as database:

        def looked(those: "Sequence[Recipe]") -> "list[Outlook]":
            return outlook(
                settings,
                those,
                database,
                jobs.results(settings),
                at=at,
                until=last_day,
                gains=gains,
                workspaces=wanted,
            )

        found = looked(new)
        before = looked(present) if changed else []
    if json:
        from json import dumps

        print(dumps(as_json(found, only, before, changed), indent=2))
    else:
        print("\n\n".join([as_text(one, only) for one in found] + what_if(before, found, changed)))
    return int(ExitCode.OK)


# ---- what is asked for


def asked_day(month: str | None, until: str | None) -> "date | None":
    """The last day that `--month` or `--until` means; None without both. Raises UsageError."""
    from datetime import date
    from re import ASCII, fullmatch

    from runner.errors import UsageError
    from runner.windows import window

    try:
        if month is not None and fullmatch(r"\d{4}-\d\d", month, ASCII):
            return window("month", date.fromisoformat(f"{month}-01"), "UTC").last_day
        if until is not None and fullmatch(r"\d{4}-\d\d-\d\d", until, ASCII):
            return date.fromisoformat(until)
    except ValueError:
        pass
    if month is not None:
        raise UsageError(f"`--month {month}` is not a month of the calendar", "write it like `--month 2026-12`")
    if until is not None:
        raise UsageError(f"`--until {until}` is not a day of the calendar", "write it like `--until 2026-12-24`")
    return None


def _load(root: "Path") -> "tuple[Settings, list[Recipe]]":
    """The settings, and the recipes that can be read; the others are named on stderr. Raises Problems."""
    from runner.diagnostics import Problems
    from runner.project import load_all

    settings, recipes, problems = load_all(root, [])
    if settings is None:
        raise Problems(problems)
    if problems:
        print(f"warning: {_files(problems)} cannot run and are not counted: they have problems", file=sys.stderr)
        print("   = help: `omixa check` shows them all", file=sys.stderr)
    return settings, recipes


def _files(problems: "Sequence[Problem]") -> str:
    from runner.terminal import clean

    files = dict.fromkeys(clean(problem.place.path) for problem in problems if problem.place is not None)
    return ", ".join(files) or "some recipes"


def _changed(files: list[str], settings: "Settings") -> "dict[str, Recipe]":
    """The recipes of a what-if, by name. Raises Problems with everything wrong in any of them, and UsageError."""
    from pathlib import Path

    from runner import recipe
    from runner.declared import real
    from runner.diagnostics import Problem, Problems
    from runner.errors import UsageError

    found: dict[str, Recipe] = {}
    problems: list[Problem] = []
    for file in files:
        if not real(Path(file).absolute()).is_relative_to(real(settings.root)):
            raise UsageError(f"`{file}` is outside the project, so it is not read", "copy it into the project first")
        one, more = recipe.load(Path(file).absolute(), settings)
        problems += more
        if one is not None and one.name in found:
            raise UsageError(f"two of the files are recipe `{one.name}`", "a recipe's name is the stem of its file")
        if one is not None:
            found[one.name] = one
    if problems:
        raise Problems(problems)
    return found


def _named(names: list[str], root: "Path", changed: "Collection[str]") -> set[str] | None:
    """The names of the recipes to show; None: all."""
    from runner.project import recipe_paths

    if not names:
        return None
    known = [name for name in names if name not in changed]
    return {*(path.stem for path in (recipe_paths(root, known) if known else ())), *(set(names) & set(changed))}


def _gains(texts: list[str], names: "Collection[str]") -> "dict[str, Fraction]":
    """Recipe → pictures a day, exactly as written. Raises UsageError."""
    from fractions import Fraction
    from re import ASCII, fullmatch

    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError

    found: dict[str, Fraction] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not fullmatch(r"(0|[1-9][0-9]{0,5})(\.[0-9]{1,6})?", number, ASCII):
            raise UsageError(
                f"`--gain {text}` does not say how many pictures a day a recipe gains",
                "write a recipe and a number, such as `--gain posters=0.5`",
            )
        if name not in names:
            closest = did_you_mean(name, names)
            known = ", ".join(f"`{one}`" for one in sorted(names)[:10]) or "none"
            hint = f"did you mean `{closest}`?" if closest else f"known: {known}"
            raise UsageError(f"`--gain {text}`: there is no recipe `{name}`", hint)
        found[name] = Fraction(number)
    return found


def _workspaces(
    settings: "Settings", name: str | None, recipes: "Sequence[Recipe]", only: set[str] | None
) -> set[str] | None:
    """The names in omixa.toml of the workspaces to show; None: all that have recipes. Raises UsageError."""
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError

    if name is None:
        return None if only is None else {recipe.workspace for recipe in recipes if recipe.name in only}
    found = {one.name for one in settings.workspaces.values() if name in (one.name, one.account)}
    if found:
        return found
    closest = did_you_mean(name, settings.workspaces)
    known = ", ".join(f"`{one}`" for one in settings.workspaces)
    raise UsageError(
        f"there is no workspace `{name}` in omixa.toml", f"did you mean `{closest}`?" if closest else f"known: {known}"
    )


# ---- for people


def as_text(one: "Outlook", only: "Collection[str] | None" = None) -> str:
    """The forecast of a workspace for a person. `only`: the recipes to show; None: all."""
    from runner.terminal import clean

    span = f"from {_local(one.at, one)} to {_local(one.until, one)} {one.zone}"
    said = [_assumed(assumed, one) for assumed in one.assumptions if _is_shown(assumed.recipe, only)]
    said += [
        f"not counted: {left.recipe}: {clean(left.reason)}" for left in one.uncounted if _is_shown(left.recipe, only)
    ]
    if one.stopped is not None:
        said.append(f"stopped now: {clean(one.stopped)}; the forecast takes it to be over by the next slot")
    blocks = [
        f"workspace {one.workspace} · {one.currency} · {span}",
        "\n".join(said),
        _totals(one, only),
        _windows(one, only),
        "\n".join(_sentences(one, only)),
    ]
    return "\n\n".join(block for block in blocks if block)


def _is_shown(recipe: str | None, only: "Collection[str] | None") -> bool:
    return recipe is None or only is None or recipe in only


def _local(at: "datetime", one: "Outlook") -> str:
    from runner.windows import local_text

    return local_text(at, one.zone).removesuffix(f" {one.zone}")


def _slot_time(slot: "Slot", one: "Outlook") -> str:
    from zoneinfo import ZoneInfo

    return f"{slot.at.astimezone(ZoneInfo(one.zone)):%Y-%m-%d %H:%M}"


def _assumed(assumed: "Assumption", one: "Outlook") -> str:
    from runner.money import show
    from runner.terminal import counted

    price = assumed.price
    assert price.expected_micros is not None
    assert price.ceiling_micros is not None
    source = "median of what was billed" if price.median_micros is not None else "no bill seen yet: the ceiling"
    if price.mean_micros is not None:
        source = "the mean of what its steps expect"
    waits = "waits" if assumed.waiting == 1 else "wait"
    return (
        f"assumed of {assumed.recipe}: {counted(assumed.waiting, 'picture')} {waits} now and "
        f"{per_day(assumed.gained_per_day)} a day are gained, {_basis(assumed)}; "
        f"each costs {show(price.expected_micros, one.currency)} ({source}), "
        f"at most {show(price.ceiling_micros, one.currency)}"
    )


def _basis(assumed: "Assumption") -> str:
    from runner.terminal import counted

    if assumed.history is None:
        return "as --gain says"
    if not assumed.history.days:
        return "for lack of a history (--gain says otherwise)"
    return f"from {counted(assumed.history.pictures, 'picture')} in {counted(assumed.history.days, 'day')}"


def per_day(gain: "Fraction") -> str:
    """Pictures a day with two decimals, rounded to the nearer; what would become 0.00 and is more is `<0.01`."""
    hundredths = (gain.numerator * 200 + gain.denominator) // (2 * gain.denominator)
    return f"{hundredths // 100}.{hundredths % 100:02d}" if hundredths or not gain else "<0.01"


def _totals(one: "Outlook", only: "Collection[str] | None") -> str:
    from runner.money import short
    from runner.terminal import table

    rows = [
        [total.recipe, str(total.slots), str(total.bought), str(total.left), short(total.expected_micros)]
        for total in one.forecast.totals
        if _is_shown(total.recipe, only)
    ]
    header = ["recipe", "slots", "pictures", "left waiting", f"expected cost, {one.currency}"]
    return table(header, rows, right=range(1, 5)) if rows else ""


def _windows(one: "Outlook", only: "Collection[str] | None") -> str:
    from runner.money import short
    from runner.terminal import table

    every = [window for window in one.forecast.windows if _is_shown(window.recipe, only)]
    shown = _telling(every)
    rows = []
    for window in shown:
        ends = "with the run" if window.period == "run" else "never"
        refuses = "" if window.refuses is None else f"refuses from {_refusal(window.refuses, one)}"
        rows.append(
            [
                window.budget.removesuffix(f" of workspace {one.workspace}"),
                *(short(micros) for micros in (window.cap_micros, window.now_micros, window.projected_micros)),
                ends if window.ends_at is None else _local(window.ends_at, one),
                refuses,
            ]
        )
    if not rows:
        return "no budget has a cap" + (" (`unlimited = true`)" if one.unlimited else "")
    text = table([f"budget, {one.currency}", "cap", "now", "projected", "ends", ""], rows, right={1, 2, 3})
    if len(shown) < len(every):
        text += f"\n{len(every) - len(shown)} more windows are in --json: here are the first and the last of each"
        text += " budget, and the first that refuses"
    return text


def _refusal(slot: "Slot", one: "Outlook") -> str:
    return f"{_slot_time(slot, one)} (recipe {slot.recipe})"


def _telling(every: "Sequence[Projection]") -> "list[Projection]":
    """Of each budget the first window, the last, and the first that refuses."""
    budgets: dict[tuple[str | None, str], list[Projection]] = {}
    for window in every:
        budgets.setdefault((window.recipe, window.period), []).append(window)
    shown: list[Projection] = []
    for windows in budgets.values():
        refusing = next((window for window in windows if window.refuses is not None), windows[0])
        shown += [window for window in windows if window in (windows[0], refusing, windows[-1])]
    return shown


def _sentences(one: "Outlook", only: "Collection[str] | None") -> "list[str]":
    """Where budgets end, and whose pictures they end with."""
    from runner.money import show
    from runner.terminal import counted

    said = []
    for window in _telling([window for window in one.forecast.windows if _is_shown(window.recipe, only)]):
        slot = window.refuses
        if slot is None:
            continue
        text = (
            f"{window.budget} ends at the slot of {_slot_time(slot, one)}: recipe {slot.recipe} wants "
            f"{counted(slot.wanted, 'picture')}, and {slot.fitting} of them {'fits' if slot.fitting == 1 else 'fit'}"
        )
        if window.most_by is not None:
            recipe, micros = window.most_by
            text += f"; most of it is spent by recipe {recipe}: {show(micros, one.currency)}"
        said.append(text)
    totals = [total for total in one.forecast.totals if _is_shown(total.recipe, only)]
    if not any(total.slots for total in totals):
        return [*said, "no slot is due in that time"]
    if not any(total.refused for total in totals):
        said.append("all pictures of these slots fit into every budget")
    cost = sum(total.expected_micros for total in totals)
    return [
        *said,
        f"expected cost of {counted(sum(total.slots for total in totals), 'slot')}: {show(cost, one.currency)}",
    ]


def what_if(before: "Sequence[Outlook]", after: "Sequence[Outlook]", changed: "Collection[str]") -> list[str]:
    """What the changed recipes make of the forecast: one table for each workspace that they are or were in."""
    from runner.money import short
    from runner.terminal import table

    texts = []
    for one, first, then in _pairs(before, after, changed):
        rows = []
        asked: list[tuple[str, str | None]] = [(f"recipe {name}", name) for name in changed]
        for name, recipe in [*asked, (f"workspace {one.workspace}", None)]:
            for words, found in (("as it is", first), ("changed", then)):
                bought, cost, refused = _sums(found, recipe)
                when = "–" if refused is None else f"{_slot_time(refused, one)} by {refused.refused_by}"
                rows.append([name, words, str(bought), short(cost), when])
        header = ["what if", "", "pictures", f"expected cost, {one.currency}", "first refused"]
        texts.append(table(header, rows, right={2, 3}))
    return texts


def _pairs(
    before: "Sequence[Outlook]", after: "Sequence[Outlook]", changed: "Collection[str]"
) -> "list[tuple[Outlook, Forecast | None, Forecast | None]]":
    """Each workspace that a changed recipe is or was in, with its forecast before and after; None: it had none."""
    first, then = ({one.workspace: one for one in outlooks} for outlooks in (before, after))
    pairs = []
    for name in dict.fromkeys([*first, *then]):
        both = [one for one in (then.get(name), first.get(name)) if one is not None]
        named = {total.recipe for one in both for total in one.forecast.totals}
        named |= {left.recipe for one in both for left in one.uncounted}
        if named & set(changed):
            pairs.append(
                (
                    both[0],
                    first[name].forecast if name in first else None,
                    then[name].forecast if name in then else None,
                )
            )
    return pairs


def _sums(found: "Forecast | None", recipe: str | None) -> "tuple[int, int, Slot | None]":
    """Pictures, cost and the first slot that is refused; of one recipe, or with None of all."""
    totals = [total for total in (found.totals if found else ()) if recipe in (None, total.recipe)]
    refused = sorted((total.refused for total in totals if total.refused), key=lambda slot: (slot.at, slot.recipe))
    return (
        sum(total.bought for total in totals),
        sum(total.expected_micros for total in totals),
        refused[0] if refused else None,
    )


# ---- for programs


def as_json(
    found: "Sequence[Outlook]",
    only: "Collection[str] | None",
    before: "Sequence[Outlook]",
    changed: "Collection[str]",
) -> dict[str, Any]:
    """The forecast for a program; money as text with six decimals, moments in UTC. `what_if`: None without one."""
    differences = [
        {
            "workspace": one.workspace,
            "currency": one.currency,
            "recipe": recipe,
            "before": _difference(first, recipe),
            "after": _difference(then, recipe),
        }
        for one, first, then in _pairs(before, found, changed)
        for recipe in (*changed, None)
    ]
    return {
        "schema": "omixa.forecast/1",
        "workspaces": [_workspace(one, only) for one in found],
        "what_if": differences if changed else None,
    }


def _workspace(one: "Outlook", only: "Collection[str] | None") -> dict[str, Any]:
    from runner.money import exact

    foreseen = one.forecast
    return {
        "workspace": one.workspace,
        "currency": one.currency,
        "time_zone": one.zone,
        "from": _moment(one.at),
        "until": _moment(one.until),
        "unlimited": one.unlimited,
        "stopped": one.stopped,
        "expected_cost": exact(foreseen.expected_micros),
        "assumptions": [_assumption(each) for each in one.assumptions if _is_shown(each.recipe, only)],
        "not_counted": [
            {"recipe": each.recipe, "reason": each.reason} for each in one.uncounted if _is_shown(each.recipe, only)
        ],
        "recipes": [_total(each) for each in foreseen.totals if _is_shown(each.recipe, only)],
        "windows": [_window(each) for each in foreseen.windows if _is_shown(each.recipe, only)],
        "slots": [_slot(each) for each in foreseen.slots if _is_shown(each.recipe, only)],
    }


def _total(total: "Total") -> dict[str, Any]:
    from runner.money import exact

    return {
        "recipe": total.recipe,
        "slots": total.slots,
        "pictures": total.bought,
        "left": total.left,
        "expected_cost": exact(total.expected_micros),
        "refused": _slot(total.refused),
    }


def _moment(at: "datetime | None") -> str | None:
    from runner.ledger.database import moment

    return None if at is None else moment(at)


def _assumption(assumed: "Assumption") -> dict[str, Any]:
    """`gained_per_day` is for people; `history` has it exactly. None: the caller said so."""
    from runner.money import exact

    price, past = assumed.price, assumed.history
    assert price.expected_micros is not None
    assert price.ceiling_micros is not None
    return {
        "recipe": assumed.recipe,
        "waiting": assumed.waiting,
        "gained_per_day": per_day(assumed.gained_per_day),
        "history": None if past is None else {"pictures": past.pictures, "days": past.days},
        "expected_price": exact(price.expected_micros),
        "ceiling": exact(price.ceiling_micros),
    }


def _slot(slot: "Slot | None") -> dict[str, Any] | None:
    from runner.money import exact

    if slot is None:
        return None
    return {
        "recipe": slot.recipe,
        "at": _moment(slot.at),
        "wanted": slot.wanted,
        "fits": slot.fitting,
        "expected_cost": exact(slot.expected_micros),
        "refused_by": slot.refused_by,
    }


def _window(window: "Projection") -> dict[str, Any]:
    from runner.money import exact

    most = window.most_by
    return {
        "budget": window.budget,
        "period": window.period,
        "label": window.label,
        "recipe": window.recipe,
        "cap": exact(window.cap_micros),
        "now": exact(window.now_micros),
        "projected": exact(window.projected_micros),
        "ends_at": _moment(window.ends_at),
        "refuses": _slot(window.refuses),
        "most_spent_by": None if most is None else {"recipe": most[0], "amount": exact(most[1])},
    }


def _difference(found: "Forecast | None", recipe: str | None) -> dict[str, Any]:
    from runner.money import exact

    bought, cost, refused = _sums(found, recipe)
    return {"pictures": bought, "expected_cost": exact(cost), "refused": _slot(refused)}
