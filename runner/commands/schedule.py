"""`omixa schedule`: recurring jobs: the scheduler itself, what comes, what was, and what was missed."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from datetime import datetime

    from runner.forecast import Slot as Coming
    from runner.ledger.agenda import Slot
    from runner.ledger.database import Database
    from runner.outlook import Outlook
    from runner.recipe import Recipe
    from runner.settings import Settings

# As in runner.ledger.tables, which costs too much to import for --help; a test holds them equal.
STATES = ("waiting", "running", "ran", "skipped", "refused", "failed", "missed", "overlapped")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their arguments."""
    actions = parser.add_subparsers(
        dest="action",
        metavar="run|list|next|missed|history|run-now|pause|unpause|unit",
        title="actions",
        required=True,
    )

    serve = actions.add_parser("run", help="run what is due, until it is stopped", allow_abbrev=False)
    serve.add_argument("--yes", "-y", action="store_true", help="real money may be spent; required for it")
    serve.add_argument("--port", type=int, metavar="N", help="also serve /healthz and /metrics on this machine")
    serve.add_argument("--log", choices=["text", "json"], help="(default: text on a terminal, else json)")

    listing = actions.add_parser("list", help="every recipe: when it is due next, and how it went last")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout")

    coming = actions.add_parser("next", help="the slots that come, what each should cost, and whether it fits")
    coming.add_argument("recipes", nargs="*", metavar="RECIPE", help="only these (default: all)")
    coming.add_argument("--until", metavar="DAY", help="the last day, as 2026-11-30 (default: the end of the month)")
    coming.add_argument("--limit", type=int, default=20, metavar="N", help="at most the N next (default: 20)")
    coming.add_argument("--json", action="store_true", help="one JSON object on stdout")

    missed = actions.add_parser("missed", help="slots nobody ran, and what a run now would cost")
    missed.add_argument("recipes", nargs="*", metavar="RECIPE", help="only these (default: all)")
    missed.add_argument("--json", action="store_true", help="one JSON object on stdout")

    history = actions.add_parser("history", help="slots that were due, and how each ended; the newest last")
    history.add_argument("recipes", nargs="*", metavar="RECIPE", help="only these (default: all)")
    history.add_argument("--state", action="append", choices=STATES, help="only in this state; repeatable")
    history.add_argument("--limit", type=int, default=50, metavar="N", help="at most the N newest (default: 50)")
    history.add_argument("--json", action="store_true", help="one JSON object on stdout")

    now = actions.add_parser("run-now", help="run a recipe as a slot of its own, now", allow_abbrev=False)
    now.add_argument("recipe", metavar="RECIPE")
    now.add_argument("--yes", "-y", action="store_true", help="do not ask; required where there is no terminal")

    pause = actions.add_parser("pause", help="skip a recipe's slots until it is unpaused", allow_abbrev=False)
    pause.add_argument("recipe", metavar="RECIPE")
    pause.add_argument("--reason", metavar="TEXT", help="why; kept in the ledger, and told with every skipped slot")
    unpause = actions.add_parser("unpause", help="let a paused recipe's slots run again", allow_abbrev=False)
    unpause.add_argument("recipe", metavar="RECIPE")

    unit = actions.add_parser("unit", help="print a systemd unit, or lines for cron", allow_abbrev=False)
    unit.add_argument("--cron", action="store_true", help="lines for a crontab instead")
    unit.add_argument("--user", metavar="NAME", help="the user that the unit runs as (default: you)")
    unit.add_argument("--environment-file", metavar="FILE", help="where systemd finds the key, as NAME=value lines")
    unit.add_argument("--port", type=int, metavar="N", help="as of `schedule run`")


def run(*, project: str | None, action: str, **options: Any) -> int:
    """Do one of them."""
    from runner.errors import ExitCode

    match action:
        case "run":
            from runner.commands.scheduler import serve

            return serve(project, yes=options["yes"], port=options["port"], form=options["log"])
        case "run-now":
            return _run_now(project, options["recipe"], yes=options["yes"])
        case "list":
            _list(project, as_json=options["json"])
        case "next":
            _next(project, options["recipes"], options["until"], options["limit"], as_json=options["json"])
        case "missed":
            _missed(project, options["recipes"], as_json=options["json"])
        case "history":
            _history(project, options)
        case "pause":
            _pause(project, options["recipe"], options["reason"])
        case "unpause":
            _unpause(project, options["recipe"])
        case "unit":
            _unit(project, options)
    return int(ExitCode.OK)


# ---- what is scheduled


def _list(project: str | None, *, as_json: bool) -> None:
    from runner.diagnostics import Problems
    from runner.ledger.database import open_database
    from runner.project import find_root, load_all, recipe_paths
    from runner.settings import ledger_path
    from runner.terminal import clean, table
    from runner.windows import clock

    root, at = find_root(project), clock()
    settings, recipes, problems = load_all(root, [])
    if settings is None:
        raise Problems(problems)
    good = {recipe.name: recipe for recipe in recipes}
    with open_database(ledger_path(settings), create=False) as database:
        lines = [_line(path.stem, good.get(path.stem), settings, database, at) for path in recipe_paths(root, [])]
    if as_json:
        _print_json("omixa.schedule-list/1", {"recipes": lines})
        return
    header = ["recipe", "when", "state", "next due", "last slot", "how it went"]
    rows = [
        [
            line["recipe"],
            line["timing"] or "–",
            line["state"] + (f" ({line['why']})" if line["why"] else ""),
            _local(line["next_due_at"], line["zone"]),
            _local(line["last_due_at"], line["zone"]),
            line["last_state"] or "–",
        ]
        for line in lines
    ]
    print(table(header, rows) if rows else "no recipes yet")
    for line in lines:
        if line["last_reason"] and line["last_state"] not in ("ran", None):
            print(f"{clean(line['recipe'])}: {line['last_state']}: {clean(line['last_reason'])}")


def _line(
    name: str, recipe: "Recipe | None", settings: "Settings", database: "Database", at: "datetime"
) -> dict[str, Any]:
    """A recipe as JSON has it."""
    from runner.ledger import agenda
    from runner.ledger.database import moment
    from runner.slots import next_due

    recorded = agenda.schedule(database, name)
    last = agenda.slots(database, recipe=name, newest=1)
    by_hand = None
    if recorded is not None and recorded.paused_at is not None:
        by_hand = f"{recorded.paused_by}: {recorded.paused_reason}"
    timing = zone = None
    state, why, next_at = "by hand only", by_hand and f"paused by {by_hand}", None
    if recipe is None:
        state, why = "invalid", "omixa check" + (f"; paused by {by_hand}" if by_hand else "")
    elif recipe.schedule is not None:
        timing = recipe.schedule.timing(settings.workspaces[recipe.workspace].time_zone)
        zone, state = timing.zone, "scheduled"
        next_at = next_due(timing, at)
        why = by_hand
        if recipe.schedule.paused:
            state, why = "paused", "in the recipe"
        elif by_hand:
            state = "paused"
    if zone is None and recipe is not None:
        zone = settings.workspaces[recipe.workspace].time_zone
    elif zone is None:
        zone = "UTC" if recorded is None else recorded.zone
    return {
        "recipe": name,
        "timing": None if timing is None else str(timing),
        "zone": zone,
        "state": state,
        "why": why,
        "next_due_at": None if next_at is None or state == "paused" else moment(next_at),
        "last_due_at": moment(last[0].due_at) if last else None,
        "last_state": last[0].state if last else None,
        "last_reason": last[0].reason if last else None,
    }


def _next(project: str | None, names: list[str], until: str | None, limit: int, *, as_json: bool) -> None:
    from runner import jobs, windows
    from runner.commands.forecast import asked_day
    from runner.diagnostics import Problems
    from runner.ledger.database import moment, open_database
    from runner.money import exact, show
    from runner.outlook import outlook
    from runner.project import find_root, load_all, recipe_paths
    from runner.settings import ledger_path
    from runner.terminal import clean, counted, table

    _refuse_limit(limit)
    last = asked_day(None, until)
    root = find_root(project)
    wanted = {path.stem for path in recipe_paths(root, names)}
    settings, recipes, problems = load_all(root, [])
    if settings is None:
        raise Problems(problems)
    with open_database(ledger_path(settings), create=False) as database:
        found = outlook(settings, recipes, database, jobs.results(settings), at=windows.clock(), until=last)
    coming = [(slot, one) for one in found for slot in one.forecast.slots if slot.recipe in wanted]
    coming.sort(key=lambda pair: (pair[0].at, pair[0].recipe))
    shown = coming[:limit]
    over = settings.policy.approval_over
    left_out = [(left.recipe, left.reason) for one in found for left in one.uncounted if left.recipe in wanted]
    broken = wanted - {recipe.name for recipe in recipes}
    left_out += [(name, "it has problems: `omixa check` shows them") for name in sorted(broken)]
    if as_json:
        told = [
            {
                "recipe": slot.recipe,
                "workspace": one.workspace,
                "currency": one.currency,
                "due_at": moment(slot.at),
                "pictures": slot.wanted,
                "fitting": slot.fitting,
                "expected": exact(slot.expected_micros),
                "refused_by": slot.refused_by,
                "needs_approval": over is not None and _worst_micros(slot, one) > over,
            }
            for slot, one in shown
        ]
        left = [{"recipe": recipe, "reason": reason} for recipe, reason in left_out]
        _print_json("omixa.schedule-next/1", {"slots": told, "not_counted": left, "more": len(coming) - len(shown)})
        return
    rows = [
        [
            _local(moment(slot.at), one.zone),
            slot.recipe,
            counted(slot.wanted, "picture"),
            show(slot.expected_micros, one.currency),
            ("fits" if slot.refused_by is None else f"{slot.fitting} of {slot.wanted} fit: {slot.refused_by}")
            + _approval(slot, one, over),
        ]
        for slot, one in shown
    ]
    end = "this month; --until DAY looks further" if last is None else str(last)
    none = f"no slot comes to the end of {end}"
    print(table(["due", "recipe", "would buy", "expected", ""], rows, right=[3]) if rows else none)
    if len(coming) > len(shown):
        print(f"… and {len(coming) - len(shown)} more (--limit); `omixa forecast` adds them up")
    for recipe, reason in left_out:
        print(f"not counted: {clean(recipe)}: {clean(reason)}")


def _worst_micros(slot: "Coming", one: "Outlook") -> int:
    return next(known for known in one.assumptions if known.recipe == slot.recipe).worst_micros(slot.wanted)


def _approval(slot: "Coming", one: "Outlook", over: int | None) -> str:
    """What a slot waits for before it buys, by the policy; empty: nothing."""
    from runner.money import show

    worst_micros = _worst_micros(slot, one)
    if over is None or worst_micros <= over:
        return ""
    return f"; waits for an approval of up to {show(worst_micros, one.currency)}"


# ---- what was


def _history(project: str | None, options: dict[str, Any]) -> None:
    from runner.ledger import agenda, usage
    from runner.terminal import table

    limit, states = options["limit"], options["state"] or ()
    _refuse_limit(limit)
    with reading.ledger(project) as (settings, database):
        names = _known(settings, database, options["recipes"])
        found = [
            slot
            for name in (names if options["recipes"] else [None])
            for slot in agenda.slots(database, recipe=name, states=states, newest=limit + 1)
        ]
        units = {one.account: one.unit for one in settings.workspaces.values()} | usage.workspaces(database)
    found.sort(key=lambda slot: (slot.due_at, slot.id))
    if len(found) > limit:
        print(f"the newest {limit}; --limit lists more", file=sys.stderr)
        found = found[-limit:]
    zones = _zones(settings, found)
    if options["json"]:
        _print_json("omixa.schedule-history/1", {"slots": [_record(slot, units) for slot in found]})
        return
    rows = [_row(slot, units, zones) for slot in found]
    none = f"no slot in state {' or '.join(dict.fromkeys(states))}" if states else "no slots yet"
    print(table(_SLOT_HEADER, rows, right=[3, 4]) if rows else none)


_SLOT_HEADER = ["due", "recipe", "state", "bought", "billed", "why"]


def _row(slot: "Slot", units: dict[str, str], zones: dict[str, str]) -> list[str]:
    from runner.ledger.database import moment
    from runner.money import show

    return [
        _local(moment(slot.due_at), zones[slot.recipe]),
        slot.recipe,
        slot.state,
        "" if slot.bought is None else str(slot.bought),
        "" if slot.billed_micros is None else show(slot.billed_micros, units.get(slot.workspace, "")),
        slot.reason or "",
    ]


def _record(slot: "Slot", units: dict[str, str]) -> dict[str, Any]:
    """A slot as JSON has it; money as text with six decimals."""
    from runner.ledger.database import moment
    from runner.money import exact

    def text(at: "datetime | None") -> str | None:
        return None if at is None else moment(at)

    def money(micros: int | None) -> str | None:
        return None if micros is None else exact(micros)

    return {
        "id": slot.id,
        "recipe": slot.recipe,
        "workspace": slot.workspace,
        "currency": units.get(slot.workspace),
        "due_at": text(slot.due_at),
        "state": slot.state,
        "reason": slot.reason,
        "run": slot.run_uid,
        "who": slot.who,
        "claimed_at": text(slot.claimed_at),
        "begun_at": text(slot.begun_at),
        "ended_at": text(slot.ended_at),
        "bought": slot.bought,
        "expected": money(slot.expected_micros),
        "billed": money(slot.billed_micros),
    }


def _zones(settings: "Settings", slots: "list[Slot]") -> dict[str, str]:
    """In whose time each recipe's slots are told: its workspace's."""
    known = {workspace.account: workspace.time_zone for workspace in settings.workspaces.values()}
    return {slot.recipe: known.get(slot.workspace, "UTC") for slot in slots}


def _missed(project: str | None, names: list[str], *, as_json: bool) -> None:
    """The slots that nobody ran since each recipe last ran, and what a run now would buy: once, however many."""
    from runner.ledger import agenda
    from runner.ledger.database import moment

    told = []
    with reading.ledger(project) as (settings, database):
        for name in _known(settings, database, names):
            last = agenda.ran_last(database, name)
            count = agenda.count_by_state(database, name, last).get("missed", 0)
            if not count:
                continue
            slots = agenda.slots(database, recipe=name, states=("missed",), after=last, newest=count)
            zone = _zones(settings, slots)[name]
            told.append(
                {
                    "recipe": name,
                    "zone": zone,
                    "slots": count,
                    "first_due_at": moment(slots[0].due_at),
                    "last_due_at": moment(slots[-1].due_at),
                    "reason": slots[-1].reason,
                    **_price(name, settings, database),
                }
            )
    if as_json:
        _print_json("omixa.schedule-missed/1", {"recipes": [_missed_record(one) for one in told]})
        return
    if not told:
        print("no slot was missed since each recipe last ran")
    for one in told:
        print(_missed_text(one))


def _missed_record(one: dict[str, Any]) -> dict[str, Any]:
    """One recipe's missed slots as JSON has them; money as text with six decimals."""
    from runner.money import exact

    return {
        name.removesuffix("_micros"): exact(value) if name.endswith("_micros") and value is not None else value
        for name, value in one.items()
    }


def _missed_text(one: dict[str, Any]) -> str:
    from runner.money import show
    from runner.terminal import clean, counted

    first, last = (_local(one[name], one["zone"]) for name in ("first_due_at", "last_due_at"))
    span = first if first == last else f"{first.removesuffix(one['zone'])}to {last}"
    lines = [f"{clean(one['recipe'])}: {counted(one['slots'], 'slot')} missed, {span}"]
    if one["problem"] is not None:
        lines.append(f"  no plan can be made: {clean(one['problem'])}")
    elif not one["pictures"]:
        lines.append("  a run now would buy nothing")
    else:
        about, most = (show(one[name], one["currency"]) for name in ("expected_micros", "worst_micros"))
        lines.append(f"  one run now would buy {counted(one['pictures'], 'picture')} for about {about}, at most {most}")
        lines.append(f"   = help: omixa schedule run-now {clean(one['recipe'])}")
    return "\n".join(lines)


def _price(name: str, settings: "Settings", database: "Database") -> dict[str, Any]:
    """What a run of a recipe would buy now."""
    from runner import jobs, windows
    from runner.diagnostics import Problems
    from runner.errors import OmixaError
    from runner.project import load

    told: dict[str, Any] = dict.fromkeys(("pictures", "expected_micros", "worst_micros", "currency", "problem"))
    try:
        _, (recipe,) = load(settings.root, [name])
        at = windows.clock()
        made = jobs.make_plan(recipe, settings, database, jobs.results(settings), at=at, wishes=jobs.Wishes())
    except OmixaError as error:
        return told | {"problem": "`omixa check` tells" if isinstance(error, Problems) else error.message}
    told |= {"pictures": made.buy_count, "currency": made.currency}
    if made.buy_count:
        told |= {"expected_micros": made.expected_micros, "worst_micros": made.worst_micros}
    return told


def _known(settings: "Settings", database: "Database", names: list[str]) -> list[str]:
    """The recipes named, which may be gone from the disk; all that the ledger has slots of, without names."""
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError
    from runner.ledger import agenda
    from runner.project import recipe_paths

    files = {path.stem for path in recipe_paths(settings.root, [])}
    everyone = sorted({*agenda.recipes(database), *files})
    for name in names:
        if name not in everyone:
            closest = did_you_mean(name, everyone)
            hint = f"did you mean `{closest}`?" if closest else "`omixa schedule list` lists them"
            raise UsageError(f"there is no recipe `{name}`, in recipes/ or in the ledger", hint)
    return list(dict.fromkeys(names)) or everyone


def _refuse_limit(limit: int) -> None:
    """Raises UsageError for a limit that lists nothing."""
    from runner.errors import UsageError

    if limit < 1:
        raise UsageError(f"`--limit` is the most slots to list, at least 1; found {limit}")


# ---- by hand


def _run_now(project: str | None, name: str, *, yes: bool) -> int:
    from contextlib import ExitStack

    from runner.commands.scheduler import run_now
    from runner.ledger.database import open_database
    from runner.project import find_root, load
    from runner.settings import ledger_path

    settings, (recipe,) = load(find_root(project), [name])
    with ExitStack() as stack:
        database = stack.enter_context(open_database(ledger_path(settings), create=True))
        return run_now(recipe, settings, database, yes=yes)


def _pause(project: str | None, name: str, reason: str | None) -> None:
    from runner.identity import who
    from runner.ledger.agenda import Agenda
    from runner.windows import clock

    kept = reading.note(reason, "why is it paused? every slot that is skipped tells it", option="--reason")
    name, account, zone = _one(project, name)
    with reading.ledger(project, create=True) as (_, database):
        Agenda(database).pause(name, account, zone, reason=kept, who=who(), at=clock())
    print(f"{name} is paused: its slots are skipped, in every scheduler; a run that goes on finishes")
    print(f"to go on: omixa schedule unpause {name}")


def _unpause(project: str | None, name: str) -> None:
    from runner.errors import UsageError
    from runner.identity import who
    from runner.ledger.agenda import Agenda
    from runner.terminal import clean
    from runner.windows import clock

    name, _, _ = _one(project, name)
    with reading.ledger(project, create=True) as (_, database):
        before = Agenda(database).unpause(name, who=who(), at=clock())
    if before is None:
        raise UsageError(f"{name} is not paused by anybody", "`omixa schedule list` tells how it stands")
    print(f"{name} goes on; it was paused by {before.paused_by}: {clean(before.paused_reason or '')}")


def _one(project: str | None, name: str) -> tuple[str, str, str]:
    """A recipe's name, its workspace in the ledger, and its time zone.

    What the ledger has of it is enough: one that has become invalid goes on in its last good version, and is paused all
    the same. Raises UsageError for one that nobody knows, and Problems for one that is invalid and never ran.
    """
    from runner.ledger import agenda
    from runner.project import find_root, load, recipe_paths

    with reading.ledger(project) as (_, database):
        recorded = agenda.schedules(database)
    if name not in recorded:
        name = recipe_paths(find_root(project), [name])[0].stem
    if name in recorded:
        return name, recorded[name].workspace, recorded[name].zone
    settings, (recipe,) = load(find_root(project), [name])
    workspace = settings.workspaces[recipe.workspace]
    return name, workspace.account, workspace.time_zone


def _unit(project: str | None, options: dict[str, Any]) -> None:
    from runner.commands.scheduler import unit_text

    print(unit_text(project, **{name: options[name] for name in ("cron", "user", "environment_file", "port")}), end="")


# ---- telling


def _local(at: str | None, zone: str) -> str:
    from datetime import datetime

    from runner.windows import local_text

    return "–" if at is None else local_text(datetime.fromisoformat(at), zone)


def _print_json(schema: str, told: dict[str, Any]) -> None:
    from json import dumps

    # ASCII: what a reason holds steers no terminal.
    print(dumps({"schema": schema, **told}, indent=2))
