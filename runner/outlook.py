"""The forecast of a real project: schedules, plans, budgets and history of each workspace → Outlook. Writes nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from runner import forecast, images, jobs, slots, windows
from runner.caps import caps_of
from runner.diagnostics import Problems
from runner.errors import UsageError
from runner.forecast import SLOTS_MAX, Forecast, Gain, Grant, Line, Room
from runner.ledger import agenda, history, known, usage
from runner.ledger.database import Database, moment
from runner.ledger.values import Cap
from runner.plan import Plan, Price
from runner.recipe import Recipe
from runner.settings import Settings, Workspace
from runner.windows import Window, local_text

# A recipe, the moment, and the plans that run before it → its plan, or why it cannot run.
Planner = Callable[[Recipe, datetime, Sequence[Plan]], Plan | str]

_NO_GAINS: Mapping[str, Fraction] = {}


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a forecast takes for granted of one recipe.

    `history`: what the gain was taken from; None: the caller said so. `waiting`: pictures to be bought now.
    `waiting_worst_micros`: the most that those may cost.
    """

    recipe: str
    waiting: int
    gained_per_day: Fraction
    history: Gain | None
    price: Price
    waiting_worst_micros: int

    def worst_micros(self, pictures: int) -> int:
        """The most that so many pictures may cost; of a recipe of several steps, those to come at its dearest step."""
        ceiling_micros = self.price.ceiling_micros or 0
        return self.waiting_worst_micros if pictures == self.waiting else pictures * ceiling_micros


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A recipe that the forecast leaves out, and why."""

    recipe: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecast of one workspace from `at` until `until` (not inside), with all that it takes for granted.

    `workspace`: its name in the ledger. `stopped`: why nothing may be reserved now, which the forecast takes to be
    over by the next slot; None: nothing stops it.
    """

    workspace: str
    currency: str
    zone: str
    at: datetime
    until: datetime
    unlimited: bool
    stopped: str | None
    assumptions: Sequence[Assumption]
    uncounted: Sequence[Uncounted]
    forecast: Forecast


def outlook(
    settings: Settings,
    recipes: Sequence[Recipe],
    database: Database,
    results: images.Results,
    *,
    at: datetime,
    until: date | None = None,
    gains: Mapping[str, Fraction] = _NO_GAINS,
    workspaces: Collection[str] | None = None,
    planner: Planner | None = None,
) -> list[Outlook]:
    """One forecast for each workspace that has recipes. Opens no socket, needs no key.

    `recipes`: all of the project, because those of one workspace share its budgets. `until`: the last local day,
    inside; None: the last of this month. `gains`: pictures a day by recipe, instead of what the history says.
    `workspaces`: names in omixa.toml; None: all. `planner`: what a recipe would buy now, after other plans, or why it
    cannot run; None: as `omixa plan` says. Raises UsageError for a day that is past, and on too many slots.
    """
    found = []
    for workspace in settings.workspaces.values():
        own = [recipe for recipe in recipes if recipe.workspace == workspace.name]
        if own if workspaces is None else workspace.name in workspaces:
            plan_of = planner or (lambda *asked: _plan(asked[0], settings, database, results, asked[1], asked[2]))
            found.append(_of(workspace, own, database, plan_of, at=at, last_day=until, gains=gains))
    return found


def _of(
    workspace: Workspace,
    recipes: Sequence[Recipe],
    database: Database,
    planner: Planner,
    *,
    at: datetime,
    last_day: date | None,
    gains: Mapping[str, Fraction],
) -> Outlook:
    zone = workspace.time_zone
    # When the clock has gone back, the slots in between were run, and windows are never left backwards.
    at = usage.moment_of(database, at)
    today = windows.local_day(at, zone)
    until = _end(last_day, today, zone)
    due, uncounted = _due(workspace, recipes, database, at, until)
    counted, assumptions = [], []
    known = history.gains(database, workspace=workspace.account, today=today)
    plans: list[Plan] = []
    # Who is due first buys what several recipes want.
    for recipe in sorted((one for one in recipes if one.name in due), key=lambda one: (*due[one.name][:1], until)):
        made = planner(recipe, at, plans)
        if isinstance(made, str):
            uncounted[recipe.name] = made
            continue
        plans.append(made)
        counted.append(recipe)
        assumptions.append(_assumed(made, known.get(recipe.name, Gain(0, 0)), gains))
    stopped = usage.stopped(database, workspace.account, at=at)
    return Outlook(
        workspace=workspace.account,
        currency=workspace.unit,
        zone=zone,
        at=at,
        until=until,
        unlimited=workspace.unlimited,
        stopped=None if stopped is None else stopped.reason,
        assumptions=sorted(assumptions, key=lambda one: one.recipe),
        uncounted=[Uncounted(name, reason) for name, reason in sorted(uncounted.items())],
        forecast=forecast.look_ahead(
            [
                Line(one.recipe, due[one.recipe], one.waiting, one.gained_per_day, one.price)
                for one in sorted(assumptions, key=lambda one: one.recipe)
            ],
            _rooms(workspace, sorted(counted, key=lambda one: one.name), database, at),
            workspace=workspace.account,
            zone=zone,
            at=at,
            until=until,
            grants=_grants(workspace, database, at),
        ),
    )


def _assumed(made: Plan, gain: Gain, given: Mapping[str, Fraction]) -> Assumption:
    per_day, history = (given[made.recipe], None) if made.recipe in given else (gain.per_day, gain)
    worst_micros = made.worst_micros if made.buy_count else 0
    return Assumption(made.recipe, made.buy_count, per_day, history, made.price, worst_micros)


def _end(last_day: date | None, today: date, zone: str) -> datetime:
    if last_day is not None and last_day < today:
        raise UsageError(f"{last_day} is past: today is {today} in {zone}", "a forecast needs a day to come")
    window = windows.window("month", today, zone) if last_day is None else windows.window("day", last_day, zone)
    assert window.ends_at is not None
    return window.ends_at


def _due(
    workspace: Workspace, recipes: Sequence[Recipe], database: Database, at: datetime, until: datetime
) -> tuple[dict[str, list[datetime]], dict[str, str]]:
    """When each recipe is due, and why the others never are, by recipe."""
    recorded = agenda.schedules(database)
    due: dict[str, list[datetime]] = {}
    why: dict[str, str] = {}
    left = SLOTS_MAX
    for recipe in recipes:
        watched = recorded.get(recipe.name)
        if recipe.schedule is None:
            why[recipe.name] = "it has no [schedule]"
        elif recipe.schedule.paused:
            why[recipe.name] = "it is paused by `paused = true` in its [schedule]"
        elif watched is not None and watched.paused_at is not None:
            since = local_text(watched.paused_at, workspace.time_zone)
            why[recipe.name] = f"it is paused by {watched.paused_by} since {since}: {watched.paused_reason}"
        else:
            timing = recipe.schedule.timing(workspace.time_zone)
            # A slot at the very end is the next window's.
            due[recipe.name] = slots.due(timing, at, until - timedelta(microseconds=1), left + 1)
            left -= len(due[recipe.name])
            if left < 0:
                raise forecast.too_many_slots(workspace.account)
    return due, why


def _plan(
    recipe: Recipe,
    settings: Settings,
    database: Database,
    results: images.Results,
    at: datetime,
    after: Sequence[Plan],
) -> Plan | str:
    """What the recipe would buy now, or why it cannot run at all."""
    try:
        made = jobs.make_plan(recipe, settings, database, results, at=at, wishes=jobs.Wishes(keep=False), after=after)
    except Problems as error:
        more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        return f"it has a problem: {error.problems[0].message}{more}"
    except UsageError as error:
        return error.message
    if made.price.ceiling_micros is None:
        return f"nobody knows what one request of {made.model} may cost"
    return made


def _rooms(workspace: Workspace, recipes: Sequence[Recipe], database: Database, at: datetime) -> list[Room]:
    """Every budget that a slot of these recipes can meet, in the order in which a refusal names them."""
    caps = caps_of(workspace)
    for recipe in recipes:
        caps += [
            Cap(cap.scope, recipe.name, cap.period, cap.cap_micros)
            for cap in caps_of(workspace, recipe)
            if cap.scope != "workspace"
        ]
    zone = workspace.time_zone
    today = windows.local_day(at, zone)
    taken = known.headrooms(database, workspace=workspace.account, zone=zone, caps=caps, at=at)
    rooms = []
    for cap, headroom in zip(caps, taken, strict=True):
        used_micros = headroom.settled_micros + headroom.open_micros
        used_by: Mapping[str, int] = {}
        if cap.calendar is not None:
            window = windows.window(cap.calendar, today, zone)
            used_by = _used_by(cap, window, used_micros, workspace, database)
        recipe_name = cap.name if cap.scope != "workspace" else None
        # What is granted for a while comes on top of the declared cap, not of the raised one.
        rooms.append(Room(cap.calendar or "run", cap.cap_micros, recipe_name, used_micros, used_by))
    return rooms


def _used_by(cap: Cap, window: Window, micros: int, workspace: Workspace, database: Database) -> Mapping[str, int]:
    if cap.scope == "recipe":
        return {cap.name: micros}
    return history.spent(database, workspace=workspace.account, window=window)


def _grants(workspace: Workspace, database: Database, at: datetime) -> list[Grant]:
    found = []
    for lever in usage.all_levers(database):
        if lever.kind == "grant" and lever.workspace == workspace.account and lever.is_active(moment(at)):
            assert lever.period is not None
            assert lever.label is not None
            assert lever.amount_micros is not None
            until = None if lever.until is None else datetime.fromisoformat(lever.until).astimezone(UTC)
            found.append(Grant(lever.period, lever.label, lever.amount_micros, until))
    return found
