"""`omixa budget`: every window of every budget now in force: cap, settled, open, left, and when it ends."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from runner.ledger.values import Cap
    from runner.plan import Headroom
    from runner.recipe import Recipe
    from runner.settings import Settings, Workspace


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--workspace", metavar="W", help="only this workspace (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(*, project: str | None, workspace: str | None, json: bool, **_: object) -> int:
    """Show the windows that hold this moment. Writes nothing."""
    from runner.errors import ExitCode
    from runner.ledger.database import moment, open_database
    from runner.project import find_root
    from runner.settings import ledger_path
    from runner.windows import clock

    settings, recipes = _load(find_root(project))
    wanted = _wanted(settings, workspace)
    at = clock()
    with open_database(ledger_path(settings), create=False) as database, database.looking() as raw:
        shown = [_of(one, recipes, raw, at) for one in wanted]
    if json:
        from json import dumps

        print(dumps({"schema": "omixa.budget/1", "at": moment(at), "workspaces": shown}, indent=2))
    else:
        print("\n\n".join(_text(one) for one in shown))
    return int(ExitCode.OK)


def _load(root: "Path") -> "tuple[Settings, list[Recipe]]":
    """The settings, and the recipes that can be read; the others are named on stderr. Raises Problems."""
    from runner.diagnostics import Problems
    from runner.project import load_all
    from runner.terminal import clean

    settings, recipes, problems = load_all(root, [])
    if settings is None:
        raise Problems(problems)
    if problems:
        files = dict.fromkeys(clean(problem.place.path) for problem in problems if problem.place is not None)
        named = ", ".join(files) or "some recipes"
        print(f"warning: the budgets of {named} are not shown: they have problems", file=sys.stderr)
        print("   = help: `omixa check` shows them all", file=sys.stderr)
    return settings, recipes


def _wanted(settings: "Settings", name: str | None) -> "list[Workspace]":
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError

    if name is None:
        return list(settings.workspaces.values())
    found = [workspace for workspace in settings.workspaces.values() if name in (workspace.name, workspace.account)]
    if found:
        return found
    closest = did_you_mean(name, settings.workspaces)
    known = ", ".join(f"`{one}`" for one in settings.workspaces)
    raise UsageError(
        f"there is no workspace `{name}` in omixa.toml", f"did you mean `{closest}`?" if closest else f"known: {known}"
    )


def _of(workspace: "Workspace", recipes: "list[Recipe]", raw: object, at: "datetime") -> dict[str, Any]:
    """A workspace with its windows and those of its recipes, as JSON has it; money as text with six decimals."""
    from runner.caps import caps_of
    from runner.ledger import standing
    from runner.ledger.database import moment
    from runner.ledger.values import Cap
    from runner.reports.levers import record

    held: list[tuple[str | None, Cap]] = [(None, cap) for cap in caps_of(workspace)]
    for recipe in (recipe for recipe in recipes if recipe.workspace == workspace.name):
        held += [(recipe.name, cap) for cap in caps_of(workspace, recipe) if cap.scope != "workspace"]
    if workspace.unlimited:
        held.insert(0, (None, Cap("workspace", "", "total", 0)))
    account, zone = workspace.account, workspace.time_zone
    rooms = standing.headrooms(raw, account, zone, [cap for _, cap in held], at)
    windows = [
        _window(
            recipe,
            cap,
            room,
            standing.unknown(raw, account, zone, cap, at),
            capped=not (workspace.unlimited and cap.scope == "workspace"),
        )
        for (recipe, cap), room in zip(held, rooms, strict=True)
    ]
    now = standing.moment_of(raw, at)
    active = [lever for lever in standing.all_levers(raw) if lever.is_active(moment(now))]
    stopped = standing.stopped(raw, account, at)
    doubt, frozen = standing.doubts(raw)
    return {
        "workspace": workspace.account,
        "currency": workspace.unit,
        "time_zone": workspace.time_zone,
        "stopped": None if stopped is None else stopped.reason,
        "levers": [record(lever, workspace.unit) for lever in active if lever.workspace in (None, workspace.account)],
        "clock_doubted": doubt,
        "frozen": frozen,
        "windows": windows,
    }


def _window(recipe: str | None, cap: "Cap", room: "Headroom", unknown: int, *, capped: bool) -> dict[str, Any]:
    """One window. `cap` and `left` are None without a cap (`unlimited = true`); a run's window has not begun."""
    from runner.money import exact

    return {
        "budget": f"each run of recipe {recipe}" if cap.period == "run" else room.name,
        "scope": cap.scope,
        "recipe": recipe,
        "period": cap.period,
        "cap": exact(room.cap_micros) if capped else None,
        "settled": exact(room.settled_micros),
        "open": exact(room.open_micros),
        "unknown": exact(unknown),
        "left": exact(room.left_micros) if capped else None,
        "over": capped and room.left_micros < 0,
        "ends_at": room.ends_at,
    }


_HEADER = ["budget", "cap", "settled", "open", "of which unknown", "left", "ends", ""]


def _text(shown: dict[str, Any]) -> str:
    from runner.reports.levers import sentence
    from runner.terminal import clean, table

    lines = [f"workspace {shown['workspace']} · {shown['currency']}"]
    rows = [_row(window, shown) for window in shown["windows"]]
    lines.append(table(_HEADER, rows, right=range(1, 6)))
    for lever in shown["levers"]:
        lines.append(clean(sentence(lever, shown["time_zone"])))
        if lever["kind"] != "grant":
            where = "" if lever["workspace"] is None else f" --workspace {lever['workspace']}"
            lines.append(f"   = help: look into it, then: omixa resume{where} --note TEXT")
    if shown["clock_doubted"] is not None:
        lines.append(f"nothing is reserved: {clean(shown['clock_doubted'])}")
        lines.append(
            "   = help: set the clock if it is wrong; when it is right: omixa doctor --confirm-clock --note TEXT"
        )
    if shown["frozen"] is not None:
        lines.append(f"nothing is reserved: the ledger is frozen: {clean(shown['frozen'])}")
        lines.append("   = help: `omixa audit verify`, then `omixa audit repair`")
    return "\n".join(lines)


def _row(window: dict[str, Any], shown: dict[str, Any]) -> list[str]:
    from datetime import datetime

    from runner.windows import local_text

    ends_at = window["ends_at"]
    ends = "with the run" if window["period"] == "run" else "never"
    return [
        window["budget"].removesuffix(f" of workspace {shown['workspace']}"),
        window["cap"] or "no cap",
        window["settled"],
        window["open"],
        window["unknown"],
        window["left"] or "–",
        ends if ends_at is None else local_text(datetime.fromisoformat(ends_at), shown["time_zone"]),
        "OVER ITS CAP" if window["over"] else "",
    ]
