"""What a change of recipes would do: two sides + what the ledger knows → Comparison. Opens no socket, writes nothing.

**A month's cost** is the slots of a month × the items of the recipe × the price of one: what the schedule can spend
where each slot finds its pictures new, at most what the recipe's own budgets let through. A recipe without slots counts
as one run by hand. It does not depend on what was bought already, so a limit on it means the same to everybody. What
will really be bought is the forecast's, and what the change itself makes necessary are the items gained.
"""

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from runner import images, items, jobs, slots, windows
from runner.declared import PROBLEMS_MAX, shown_path
from runner.diagnostics import Problem, Problems
from runner.drafts import draft, key_of_made
from runner.errors import UsageError
from runner.forecast import Projection
from runner.items import Wanted
from runner.ledger import known
from runner.ledger.database import Database
from runner.money import show
from runner.outlook import Outlook, outlook
from runner.plan import Draft, Part, Plan, Price, item_key, price_of
from runner.policy import price_problems, recipe_problems
from runner.recipe import Recipe
from runner.settings import Policy, Settings, Workspace
from runner.sides import Side
from runner.wording import Word, recipe_words, settings_words

# A recipe that is renamed shares so many of its items with what it was: a half.
_ALIKE = 2
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]+)\n"
)


@dataclass(frozen=True)
class Stand:
    """One recipe on one side. `drafts` None: its pictures cannot be counted, and `unknown` says why.

    `slots`: due moments in `month`, the first day of it; `parts`: what a request of each step costs, by the workspace's
    currency. `pointers`: items known only by their Git LFS pointers. `paid`: what the ledger has paid for or holds, by
    `Draft.identity`.
    """

    recipe: Recipe
    workspace: Workspace
    parts: Sequence[Part]
    month: date
    slots: int
    drafts: Sequence[Draft] | None
    unknown: str | None = None
    pointers: int = 0
    paid: frozenset[str] = frozenset()

    @cached_property
    def keys(self) -> Mapping[str, Draft]:
        """`Draft.identity` → the first draft that it is of: what is bought once."""
        found: dict[str, Draft] = {}
        for one in self.drafts or ():
            if one.identity is not None:
                found.setdefault(one.identity, one)
        return found

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many items each step has."""
        found = {part.name: 0 for part in self.parts}
        for one in self.keys.values():
            found[one.step] += 1
        return found

    @property
    def price(self) -> Price:
        """What one request costs; of several models the mean, by how many items each has (`plan.price_of`)."""
        return price_of(self.parts, self.counts)

    @property
    def items(self) -> int | None:
        """How many items a run would find; None: not known."""
        return None if self.drafts is None else len(self.keys)

    @property
    def unsuitable(self) -> int:
        """How many pictures cannot be sent."""
        return sum(one.identity is None for one in self.drafts or ())

    @property
    def runs(self) -> int:
        """Runs that a month's cost counts: its slots, or one by hand."""
        return self.slots or 1

    @property
    def run_micros(self) -> int | None:
        """What one run should cost where everything is new; None: not known."""
        return None if self.drafts is None else _sum(self.counts, self.parts)

    @property
    def run_worst_micros(self) -> int | None:
        """The most that one run may cost where everything is new; None: not known."""
        return None if self.drafts is None else _sum(self.counts, self.parts, worst=True)

    @property
    def scheduled_micros(self) -> int | None:
        """Runs × items × price, whatever budgets say; None: not known."""
        run = self.run_micros
        return None if run is None else self.runs * run

    @property
    def cap_micros(self) -> int | None:
        """The most that the recipe's own budgets let through in a month; None: it has none."""
        budget = self.recipe.budget
        times = {"run": self.runs, "day": 31, "week": 6, "month": 1, "quarter": 1, "year": 1, "total": 1}
        return min((budget[period] * times[period] for period in budget), default=None)

    @property
    def month_micros(self) -> int | None:
        """A month's cost: what the schedule can spend, at most what the own budgets let through; None: not known."""
        scheduled, cap = self.scheduled_micros, self.cap_micros
        return scheduled if scheduled is None or cap is None else min(scheduled, cap)


@dataclass(frozen=True, slots=True)
class Change:
    """One recipe. `before` None: it is new; `after` None: it is gone. `was`: its name before, when it was renamed.

    `gained` and `lost`: items by key; `moved`: how many pictures or results only have other names. `anew_of`: by step,
    the gained ones that no recipe of the workspace had before and that nobody has paid for: the change makes them be
    bought.
    """

    name: str
    was: str | None
    before: Stand | None
    after: Stand | None
    words: Sequence[Word]
    gained: Sequence[Draft]
    lost: Sequence[Draft]
    moved: int
    anew_of: Mapping[str, int]

    @property
    def anew(self) -> int:
        """How many are bought anew, of all steps."""
        return sum(self.anew_of.values())

    @property
    def is_counted(self) -> bool:
        """Whether all its sides could be counted."""
        return all(one is None or one.unknown is None for one in (self.before, self.after))

    @property
    def is_touched(self) -> bool:
        """Whether there is anything to say of it."""
        if self.words or self.gained or self.lost or self.moved or self.was or None in (self.before, self.after):
            return True
        assert self.before is not None
        assert self.after is not None
        before, after = self.before, self.after
        return (before.slots, before.parts, before.unknown) != (after.slots, after.parts, after.unknown)

    @property
    def anew_micros(self) -> int | None:
        """What buying anew costs; None: not known."""
        if not self.is_counted:
            return 0 if self.buys_alike else None
        if not self.anew or self.after is None:
            return 0
        return _sum(self.anew_of, self.after.parts)

    @property
    def buys_alike(self) -> bool:
        """Whether neither side can be counted, for one reason, and both buy alike, however many pictures that is."""
        old, new = self.before, self.after
        if old is None or new is None or old.unknown is None or self.was is not None:
            return False
        return old.unknown == new.unknown and _spending(old) == _spending(new)


@dataclass(frozen=True, slots=True)
class Total:
    """All recipes of one currency. None: what one of them costs is not known."""

    currency: str
    before_micros: int | None
    after_micros: int | None
    anew_micros: int | None
    anew: int

    @property
    def change_micros(self) -> int | None:
        """How much more a month costs."""
        if self.before_micros is None or self.after_micros is None:
            return None
        return self.after_micros - self.before_micros


@dataclass(frozen=True, slots=True)
class Room:
    """One budget as the forecast leaves it: the window with the least left, and the first slot that is refused.

    None of `refused_at`: it lasts.
    """

    cap_micros: int
    left_micros: int
    window: str | None
    refused_at: datetime | None


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """A budget that the change leaves with more or less. None: it is not there, or nothing is forecast for it."""

    name: str
    currency: str
    zone: str
    before: Room | None
    after: Room | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A limit or rule that the change breaks. `code` is stable; `recipe` None: it is of no single recipe."""

    code: str
    message: str
    recipe: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All there is to say. `month`: first day of the month that is counted; `observed`: prices come from a ledger."""

    before: str
    after: str
    month: date
    observed: bool
    changes: Sequence[Change]
    totals: Sequence[Total]
    budgets: Sequence[BudgetChange]
    forecast_micros: Mapping[str, tuple[int, int]]
    settings: Sequence[Word]
    policy: Policy
    policy_of: str
    notes: Sequence[str]
    violations: list[Violation] = field(default_factory=list)


def compare(
    before: Side,
    after: Side,
    database: Database,
    results: images.Results,
    *,
    at: datetime,
    month: date | None = None,
    observed: bool,
) -> Comparison:
    """Compare two sides; `after` has no problems, and `before` is compared as far as it can be read.

    `month`: the first day of the month to count; None: the next one. Raises UsageError for a month that is past, and
    Problems where pictures of `after` cannot be bought as the recipes say.
    """
    assert after.settings is not None
    month = month or _next_month(at)
    if month.replace(day=calendar.monthrange(month.year, month.month)[1]) < at.date():
        raise UsageError(f"{month:%Y-%m} is past", "the month to count is this one or a later one")
    counter = _Counter(database, at, month)
    pairs = _paired(counter.stands(before), counter.stands(after))
    counter.refuse_problems(after)
    bought = _bought(pairs)
    changes = [_change(name, was, old, new, before, after, bought) for name, was, old, new in pairs]
    looks, notes = _outlooks(before, after, counter, results, month)
    policy, policy_of = _policy(before, after)
    found = Comparison(
        before=before.name,
        after=after.name,
        month=month,
        observed=observed,
        changes=sorted((one for one in changes if one.is_touched), key=_weight),
        totals=_totals(changes),
        budgets=_budgets(*looks),
        forecast_micros=_forecasts(*looks),
        settings=settings_words(before.settings, after.settings),
        policy=policy,
        policy_of=policy_of,
        notes=list(dict.fromkeys([*before.notes, *after.notes, *_notes(before, changes), *notes])),
    )
    found.violations.extend(_broken(found, after.settings))
    return found


def over(found: Comparison, max_increase_micros: int) -> list[Violation]:
    """What a limit on the increase refuses: a month's cost or what is bought anew, in each currency by itself.

    What nobody knows is refused, too.
    """
    said = []
    for total in found.totals:
        unit, limit = total.currency, show(max_increase_micros, total.currency)
        if total.change_micros is None or total.anew_micros is None:
            said.append(Violation("increase-unknown", f"nobody knows what the change costs in {unit}: {_why(found)}"))
            continue
        if total.change_micros > max_increase_micros:
            more = show(total.change_micros, unit)
            said.append(Violation("max-increase", f"a month can cost {more} more, and --max-increase allows {limit}"))
        if total.anew_micros > max_increase_micros:
            more = show(total.anew_micros, unit)
            text = f"what has to be bought anew costs {more}, and --max-increase allows {limit}"
            said.append(Violation("max-increase", text))
    return said


# ---- one side counted


def _sum(counts: Mapping[str, int], parts: Sequence[Part], *, worst: bool = False) -> int | None:
    """What so many requests of each step cost; None: nobody knows."""
    total = 0
    for part in parts:
        micros = part.price.ceiling_micros if worst else part.price.expected_micros
        if counts.get(part.name, 0) and micros is None:
            return None
        total += counts.get(part.name, 0) * (micros or 0)
    return total


class _Counter:
    """Counts recipes: their items, slots and price. Prices and what is paid are the ledger's."""

    def __init__(self, database: Database, at: datetime, month: date) -> None:
        self.database, self.at, self._month = database, at, month
        self.made: dict[tuple[int, str], Stand] = {}
        self._wanted: dict[int, list[tuple[Recipe, Sequence[Wanted]]]] = {}
        self._problems: dict[int, list[Problem]] = {}

    def stands(self, side: Side) -> dict[str, Stand]:
        """Every recipe of a side by its name."""
        if side.settings is None:
            return {}
        found = {recipe.name: self._stand(recipe, side, side.settings) for recipe in side.recipes}
        self.made |= {(id(side), name): one for name, one in found.items()}
        return found

    def refuse_problems(self, side: Side) -> None:
        """Raise Problems where results of a side would be written over each other, or a picture's name is no text."""
        assert side.settings is not None
        found = [*self._problems.get(id(side), []), *items.clashes(self._wanted.get(id(side), []), side.settings)]
        if found:
            raise Problems(found)

    def _stand(self, recipe: Recipe, side: Side, settings: Settings) -> Stand:
        workspace = settings.workspaces[recipe.workspace]
        parts = [Part(one.name, one.model, self._price(workspace, one.model), one.origin) for one in recipe.steps]
        month, count = _slots(recipe, workspace, self._month)
        sources = [source for step in recipe.steps for source in step.sources]
        why = next((side.unknown[one.folder] for one in sources if one.folder in side.unknown), None)
        if why is not None:
            return Stand(recipe, workspace, parts, month, count, None, why)
        wanted, problems = items.expand(recipe, settings)
        self._wanted.setdefault(id(side), []).append((recipe, wanted))
        self._problems.setdefault(id(side), []).extend(problems)
        if problems:
            return Stand(recipe, workspace, parts, month, count, None, f"it has a problem: {problems[0].message}")
        pointers: list[Draft] = []

        def mend(one: Draft) -> Draft:
            mended = _by_pointer(one, recipe)
            if mended is not one:
                pointers.append(mended)
            return replace(mended, output_size=None)

        drafts = draft(recipe, wanted, settings.root, mend)
        return Stand(
            recipe,
            workspace,
            parts,
            month,
            count,
            drafts,
            None,
            len(pointers),
            self._paid(recipe, workspace, drafts),
        )

    def _price(self, workspace: Workspace, model: str) -> Price:
        declared = workspace.ceilings.get(model)
        return known.price(self.database, workspace=workspace.account, model=model, declared_micros=declared)

    def _paid(self, recipe: Recipe, workspace: Workspace, drafts: Sequence[Draft]) -> frozenset[str]:
        """What is paid for or held, step by step: of a result that is paid for, it is known what is made of it."""
        results: dict[str, str | None] = {}
        found: set[str] = set()
        for step in recipe.steps:
            own = [_with_key(recipe, one, results) for one in drafts if one.step == step.name]
            facts = known.facts(
                self.database,
                own,
                workspace=workspace.account,
                recipe=recipe.name,
                model=step.model,
                declared_micros=None,
                zone=workspace.time_zone,
                caps=[],
                at=self.at,
                is_kept=lambda _: True,
                is_same_file=lambda *_: False,
            )
            for one in own:
                if one.key is not None and one.key in facts.settled:
                    results[one.output_path] = facts.settled[one.key].result_digest
                if one.key in facts.settled or one.key in facts.live:
                    found |= {identity for identity in (one.key, one.lineage) if identity is not None}
        return frozenset(found)


def _with_key(recipe: Recipe, one: Draft, results: Mapping[str, str | None]) -> Draft:
    """A draft with the key that it has when the result that it is made of is among `results`, by output path."""
    digest = results.get(one.origin or "") if one.awaits else None
    return one if digest is None else replace(one, key=key_of_made(recipe, one, digest))


def _by_pointer(one: Draft, recipe: Recipe) -> Draft:
    """A draft of a Git LFS pointer as the item that its picture would be: the pointer has the picture's digest."""
    # A prompt that has a name and no text is at fault; one without a name is none, as for a model that takes none.
    if one.key is not None or one.picture is not None or one.source is None or (one.prompt_name and not one.prompt):
        return one
    try:
        with one.source.open("rb") as file:
            match = _POINTER.match(file.read(1024))
    except OSError:
        return one
    if match is None:
        return one
    key = item_key(
        recipe.step(one.step).contract,
        one.options,
        prompt=one.prompt,
        negative=one.negative,
        picture_digest=match[1].decode("ascii"),
        flatten=None,
    )
    return replace(one, key=key, fault=None)


def _slots(recipe: Recipe, workspace: Workspace, month: date) -> tuple[date, int]:
    """How often it is due in a month, and in which: another one of a year where that has more than twice as many.

    A schedule for June alone must not look free in May.
    """
    schedule = recipe.schedule
    if schedule is None or schedule.paused:
        return month, 0
    zone = workspace.time_zone
    counts: dict[date, int] = {}
    first = month
    for _ in range(12):
        span = windows.window("month", first, zone)
        assert span.ends_at is not None
        begin = datetime(first.year, first.month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        tick = timedelta(microseconds=1)
        counts[first] = slots.last_due(schedule.timing(zone), begin - tick, span.ends_at - tick, 0)[1]
        first = (first + timedelta(days=31)).replace(day=1)
    busiest = max(counts, key=lambda one: counts[one])
    return (busiest, counts[busiest]) if counts[busiest] > 2 * counts[month] else (month, counts[month])


def _next_month(at: datetime) -> date:
    return (at.date().replace(day=1) + timedelta(days=31)).replace(day=1)


# ---- both sides


_Pair = tuple[str, str | None, Stand | None, Stand | None]


def _paired(before: Mapping[str, Stand], after: Mapping[str, Stand]) -> list[_Pair]:
    """Each recipe with what it was: by its name, or else by what it buys. Name, name before, both stands."""
    gone = {name: one for name, one in before.items() if name not in after}
    pairs: list[_Pair] = []
    for name, one in after.items():
        if name in before:
            pairs.append((name, None, before[name], one))
            continue
        was = next((old for old in gone if _is_renamed(gone[old], one)), None)
        pairs.append((name, was, gone.pop(was) if was is not None else None, one))
    pairs += [(name, None, one, None) for name, one in gone.items()]
    return sorted(pairs, key=lambda pair: pair[0])


def _is_renamed(old: Stand, new: Stand) -> bool:
    if old.recipe.digest == new.recipe.digest:
        return True
    shared = len(old.keys.keys() & new.keys.keys())
    return old.workspace.name == new.workspace.name and shared * _ALIKE > max(len(old.keys), len(new.keys))


def _bought(pairs: Sequence[_Pair]) -> dict[str, set[str]]:
    """What each account bought or would have, by key: before the change, or paid for. Filled as items are gained."""
    found: dict[str, set[str]] = {}
    for _, _, old, new in pairs:
        if old is not None:
            found.setdefault(old.workspace.account, set()).update(old.keys)
        for one in (old, new):
            if one is not None:
                found.setdefault(one.workspace.account, set()).update(one.paid)
    return found


def _change(
    name: str,
    was: str | None,
    old: Stand | None,
    new: Stand | None,
    before: Side,
    after: Side,
    bought: dict[str, set[str]],
) -> Change:
    ours = old.keys if old is not None else {}
    theirs = new.keys if new is not None else {}
    # Without both counts, nothing can be said of the difference.
    known = all(one is None or one.unknown is None for one in (old, new))
    gained = [theirs[key] for key in theirs if key not in ours] if known else []
    lost = [ours[key] for key in ours if key not in theirs] if known else []
    moved = 0
    for key in (ours.keys() & theirs.keys()) if known else ():
        moved += ours[key].source_path != theirs[key].source_path or ours[key].output_path != theirs[key].output_path
    anew: dict[str, int] = {}
    if new is not None:
        have = bought.setdefault(new.workspace.account, set())
        for one in gained:
            if one.identity is not None and one.identity not in have:
                anew[one.step] = anew.get(one.step, 0) + 1
                have.add(one.identity)
    if old is not None and new is not None:
        new = _not_cheaper(old, new)
    words = recipe_words(
        None if old is None else old.recipe, before.root, None if new is None else new.recipe, after.root
    )
    return Change(name, was, old, new, words, gained, lost, moved, anew)


def _not_cheaper(old: Stand, new: Stand) -> Stand:
    """A lower ceiling makes nothing cheaper: until a bill was seen, the higher one is what may come."""
    if old.workspace.account != new.workspace.account:
        return new
    declared = {part.model: part.price.declared_micros for part in old.parts}
    return replace(new, parts=[_part_not_cheaper(part, declared.get(part.model)) for part in new.parts])


def _part_not_cheaper(part: Part, first: int | None) -> Part:
    then = part.price.declared_micros
    if part.price.median_micros is not None or first is None or then is None or first <= then:
        return part
    return replace(part, price=replace(part.price, declared_micros=first))


def _weight(change: Change) -> tuple[int, int, str]:
    """What costs more comes first, and before it what nobody knows the cost of."""
    months = [0 if one is None else one.month_micros for one in (change.before, change.after)]
    more = 0 if change.buys_alike else None if None in months else (months[1] or 0) - (months[0] or 0)
    anew = change.anew_micros
    unknown = more is None or anew is None
    return -1 if unknown else 0, -(abs(more or 0) + (anew or 0)), change.name


def _spending(stand: Stand) -> object:
    """All of a recipe that decides what a month of it costs, its pictures apart."""
    recipe = stand.recipe
    plain = recipe.model_dump(
        exclude={"name", "path", "digest", "description", "cost_centre", "labels", "steps", "canary"}
    )
    steps = [
        (step.name, step.model, step.origin, step.contract, step.output.format, step.output.flatten)
        for step in recipe.steps
    ]
    sources = [
        (one.folder and shown_path(one.folder, _root(recipe)), one.include, one.exclude, one.prompts, one.presets)
        for step in recipe.steps
        for one in step.sources
    ]
    return plain, steps, sources, stand.parts, stand.slots, stand.workspace.account


def _root(recipe: Recipe) -> Path:
    return recipe.path.parent.parent


def _totals(changes: Sequence[Change]) -> list[Total]:
    """Every currency by itself."""
    units = dict.fromkeys(
        one.workspace.unit for change in changes for one in (change.before, change.after) if one is not None
    )
    return [_total(unit, changes) for unit in sorted(units)]


def _total(unit: str, changes: Sequence[Change]) -> Total:
    sums: list[int | None] = [0, 0]
    anew: int | None = 0
    count = 0
    for change in changes:
        if change.buys_alike and not change.is_counted:
            continue  # whatever it costs, it is no change
        for at, one in enumerate((change.before, change.after)):
            if one is not None and one.workspace.unit == unit:
                micros, so_far = one.month_micros, sums[at]
                sums[at] = None if so_far is None or micros is None else so_far + micros
        if change.after is not None and change.after.workspace.unit == unit:
            count += change.anew
            micros = change.anew_micros
            anew = None if anew is None or micros is None else anew + micros
    return Total(unit, sums[0], sums[1], anew, count)


def _why(found: Comparison) -> str:
    for change in found.changes:
        for one in (change.before, change.after):
            if one is not None and one.unknown is not None and not change.buys_alike:
                return f"{change.name}: {one.unknown}"
            if one is not None and one.month_micros is None:
                return f"{change.name}: nobody knows what one request of {' or '.join(one.recipe.models)} may cost"
    return "a price or a count is not known"


def _notes(before: Side, changes: Sequence[Change]) -> list[str]:
    found = []
    if before.problems:
        files = dict.fromkeys(one.place.path for one in before.problems if one.place is not None)
        found.append(f"{before.name} has problems of its own, so not all of it can be compared: {', '.join(files)}")
    for change in changes:
        new = change.after
        if change.is_touched and new is not None and new.pointers:
            found.append(
                f"{change.name}: {new.pointers} of its pictures are Git LFS pointers here: they count as items, "
                "but nobody has looked at them"
            )
        if change.was is not None and new is not None and new.recipe.budget:
            found.append(
                f"{change.name} was {change.was}: its own budgets start anew, as the ledger knows a recipe by its name"
            )
    return found


# ---- the forecast of both


def _outlooks(
    before: Side, after: Side, counter: _Counter, results: images.Results, month: date
) -> tuple[tuple[list[Outlook], list[Outlook]], list[str]]:
    last_day = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    found: list[list[Outlook]] = []
    notes: list[str] = []
    for side in (before, after):
        try:
            found.append(_outlook(side, counter, results, last_day) if side.settings is not None else [])
        except UsageError as error:
            found.append([])
            notes.append(f"no forecast of {side.name}: {error.message}")
    return (found[0], found[1]), notes


def _outlook(side: Side, counter: _Counter, results: images.Results, last_day: date) -> list[Outlook]:
    settings = side.settings
    assert settings is not None

    def planner(recipe: Recipe, at: datetime, after: Sequence[Plan]) -> Plan | str:
        stand = counter.made[id(side), recipe.name]
        if stand.drafts is None:
            return stand.unknown or "its pictures are not known"
        try:
            made = jobs.plan_of(
                stand.drafts, recipe, settings, counter.database, results, at=at, wishes=jobs.Wishes(), after=after
            )
        except UsageError as error:
            return error.message
        if made.price.ceiling_micros is None:
            return f"nobody knows what one request of {made.model} may cost"
        return made

    return outlook(settings, side.recipes, counter.database, results, at=counter.at, until=last_day, planner=planner)


def _forecasts(before: Sequence[Outlook], after: Sequence[Outlook]) -> dict[str, tuple[int, int]]:
    """What the slots until the end of the month are expected to buy, before and after, by currency."""
    found: dict[str, tuple[int, int]] = {}
    for at, looks in enumerate((before, after)):
        for one in looks:
            sums = list(found.get(one.currency, (0, 0)))
            sums[at] += one.forecast.expected_micros
            found[one.currency] = (sums[0], sums[1])
    return found


def _budgets(before: Sequence[Outlook], after: Sequence[Outlook]) -> list[BudgetChange]:
    old, new = _rooms(before), _rooms(after)
    found = []
    for key in dict.fromkeys([*old, *new]):
        first, then = old.get(key), new.get(key)
        if (first and first[1]) != (then and then[1]):
            look = (then or first)[0]  # type: ignore[index]
            workspace, recipe, period = key
            owner = f"workspace {workspace}" if recipe is None else f"recipe {recipe}"
            name = f"each run of {owner}" if period == "run" else f"{period} of {owner}"
            found.append(
                BudgetChange(name, look.currency, look.zone, first[1] if first else None, then[1] if then else None)
            )
    return found


def _rooms(looks: Sequence[Outlook]) -> dict[tuple[str, str | None, str], tuple[Outlook, Room]]:
    found: dict[tuple[str, str | None, str], tuple[Outlook, Room]] = {}
    for look in looks:
        groups: dict[tuple[str, str | None, str], list[Projection]] = {}
        for one in look.forecast.windows:
            groups.setdefault((look.workspace, one.recipe, one.period), []).append(one)
        for key, windows_ in groups.items():
            least = min(windows_, key=lambda one: one.cap_micros - one.projected_micros)
            refused = min((one.refuses.at for one in windows_ if one.refuses is not None), default=None)
            room = Room(least.cap_micros, least.cap_micros - least.projected_micros, least.label, refused)
            found[key] = (look, room)
    return found


# ---- the policy


def _policy(before: Side, after: Side) -> tuple[Policy, str]:
    """The policy that judges: that of before, because a change may not loosen what judges it."""
    if before.settings is not None:
        return before.settings.policy, before.name
    assert after.settings is not None
    return after.settings.policy, after.name


def _broken(found: Comparison, settings: Settings) -> list[Violation]:
    policy, root = found.policy, settings.root
    said = [
        Violation(problem.code, problem.message)
        for workspace in settings.workspaces.values()
        for model, ceiling in workspace.ceilings.items()
        for problem in price_problems(policy, workspace, model, ceiling, root)
    ]
    for change in found.changes:
        new = change.after
        if new is None:
            continue
        problems = recipe_problems(policy, new.recipe, root, links=False)
        said += [Violation(one.code, one.message, change.name) for one in problems[:PROBLEMS_MAX]]
        said += _monthly(policy, change.name, new)
    return said


def _monthly(policy: Policy, name: str, stand: Stand) -> list[Violation]:
    most, unit = policy.max_monthly_cost_micros, stand.workspace.unit
    if most is None:
        return []
    micros = stand.month_micros if stand.month_micros is not None else stand.cap_micros
    if micros is None:
        why = stand.unknown or "no price is known"
        return [Violation("policy-monthly-cost", f"nobody knows what a month can cost: {why}", name)]
    if micros <= most:
        return []
    text = f"a month can cost {show(micros, unit)}, and the policy allows {show(most, unit)}"
    return [Violation("policy-monthly-cost", text, name)]
