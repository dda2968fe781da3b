"""A plan, frozen into a file that can be approved: what would be bought, from what, for how much. Pure.

Its digest is over the canonical form (trail.approval). Prompts stand in it as digests: their texts are in the recipe.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from runner import money
from runner.contracts.contract import OptionValue
from runner.declared import Declared
from runner.diagnostics import Problem
from runner.money import exact, show
from runner.plan import Draft, Item, Plan, digest, plain
from runner.recipe import Recipe
from runner.settings import Settings
from runner.settings_tables import FILE_NAME
from runner.shelf import Shelf
from runner.terminal import counted
from runner.trail import approval

SCHEMA = "omixa.plan-file/1"
FILE_BYTES_MAX = 256 * 1024 * 1024

# How many names one problem tells.
_NAMED_MAX = 3


def _amount(value: str) -> str:
    if exact(money.declared(value)) != value:
        raise ValueError("an amount has six decimals")
    return value


def _moment(value: str) -> str:
    at = datetime.fromisoformat(value)
    if at.utcoffset() is None or at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") != value:
        raise ValueError("a moment is in UTC, such as `2026-11-22T16:47:00.000000Z`")
    return value


Amount = Annotated[str, AfterValidator(_amount)]
Moment = Annotated[str, AfterValidator(_moment)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FrozenItem(Declared):
    """One item with its decision. `digest`: of the picture; None: it cannot be sent. Paths are as in the ledger.

    `step` is empty in a recipe of one. What is made of a result that is still to be bought has no key and no digest;
    `lineage` then says what is to be made of what.
    """

    action: Literal["buy", "restore", "skip", "hold", "unsuitable", "later"]
    key: Digest | None
    source: str
    digest: Digest | None
    prompt: str
    prompt_digest: Digest
    negative_digest: Digest | None
    preset: str
    options: dict[str, str]
    output: str
    step: str = ""
    lineage: Digest | None = None


class FrozenPrice(Declared):
    """What one request of a model costs."""

    ceiling: Amount | None
    expected: Amount | None


class FrozenRecipe(Declared):
    """One recipe of the plan. `author`: as git has the last commit of its file; None: not known.

    `prices`: of each model, where there are several steps; `ceiling` and `expected` are then None.
    """

    name: str
    path: str
    digest: Digest
    author: str | None
    model: str
    budget: dict[str, Amount]
    ceiling: Amount | None
    expected: Amount | None
    buy: Annotated[int, Field(ge=0)]
    expected_cost: Amount
    worst_cost: Amount
    items: list[FrozenItem]
    prices: dict[str, FrozenPrice] | None = None


class FrozenWorkspace(Declared):
    """Who pays, at which endpoint, within which caps."""

    account: str
    name: str
    currency: str
    time_zone: str
    endpoint: str
    url: str | None
    budget: dict[str, Amount]


class Maker(Declared):
    """Who made the plan: `who` as the system knows them, `git` as git does (None: git does not)."""

    who: str
    git: str | None


class PlanFile(Declared):
    """All of it. `reroll` and `limit`: as `omixa plan` was told."""

    schema_: Literal["omixa.plan-file/1"] = Field(alias="schema")
    program: str
    ledger: str
    made_at: Moment
    made_by: Maker
    commit: str | None
    dirty: bool | None
    reroll: bool
    limit: Annotated[int, Field(ge=1)] | None
    workspace: FrozenWorkspace
    recipes: Annotated[list[FrozenRecipe], Field(min_length=1)]

    @property
    def expected_micros(self) -> int:
        """What everything in it should cost."""
        return sum(money.declared(one.expected_cost) for one in self.recipes)

    @property
    def worst_micros(self) -> int:
        """The most that everything in it may cost."""
        return sum(money.declared(one.worst_cost) for one in self.recipes)

    @property
    def one_micros(self) -> int | None:
        """The least that must be approved so that anything is bought: the most that one picture may cost, of several
        models the cheapest of them. None: nothing is to be bought.
        """
        ceilings = [
            price.ceiling
            for one in self.recipes
            if one.buy
            for price in (one.prices or {one.model: FrozenPrice(ceiling=one.ceiling, expected=one.expected)}).values()
        ]
        return min((money.declared(ceiling) for ceiling in ceilings if ceiling is not None), default=None)

    @property
    def buy_count(self) -> int:
        """How many requests would be sent."""
        return sum(one.buy for one in self.recipes)


@dataclass(frozen=True, slots=True)
class Made:
    """Who froze a plan, where and when: what is said of it beside what is bought."""

    program: str
    ledger: str
    at: datetime
    who: str
    git: str | None
    commit: str | None
    dirty: bool | None


# ---- freezing


def freeze(
    plans: Sequence[tuple[Recipe, Plan, str | None]],
    settings: Settings,
    made: Made,
    *,
    reroll: bool = False,
    limit: int | None = None,
) -> dict[str, Any]:
    """The plans, all of one workspace, each with its recipe and who wrote that, as a JSON value."""
    return {
        "schema": SCHEMA,
        "program": made.program,
        "ledger": made.ledger,
        "made_at": made.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "made_by": {"who": made.who, "git": made.git},
        "commit": made.commit,
        "dirty": made.dirty,
        "reroll": reroll,
        "limit": limit,
        "workspace": frozen_workspace(plans[0][0].workspace, settings),
        "recipes": [_frozen_recipe(recipe, plan, author, settings) for recipe, plan, author in plans],
    }


def frozen_workspace(name: str, settings: Settings) -> dict[str, Any]:
    """What a plan says of who pays."""
    one = settings.workspaces[name]
    return {
        "account": one.account,
        "name": one.name,
        "currency": one.unit,
        "time_zone": one.time_zone,
        "endpoint": one.endpoint,
        "url": settings.endpoints[one.endpoint].url,
        "budget": _budget(one.budget),
    }


def _budget(caps: Mapping[str, int]) -> dict[str, str]:
    return {period: exact(micros) for period, micros in caps.items()}


def _frozen_recipe(recipe: Recipe, plan: Plan, author: str | None, settings: Settings) -> dict[str, Any]:
    priced, is_graph = bool(plan.buy_count), len(plan.parts) > 1
    price = plan.parts[0].price
    found: dict[str, Any] = {
        "name": recipe.name,
        "path": recipe.path.relative_to(settings.root).as_posix(),
        "digest": recipe.digest,
        "author": author,
        "model": plan.model,
        "budget": _budget(recipe.budget),
        "ceiling": None if is_graph else _known(price.ceiling_micros),
        "expected": None if is_graph else _known(price.expected_micros),
        "buy": plan.buy_count,
        "expected_cost": exact(plan.expected_micros if priced else 0),
        "worst_cost": exact(plan.worst_micros if priced else 0),
        "items": [_frozen_item(item) for item in plan.items],
    }
    if is_graph:
        found["prices"] = {
            part.model: {"ceiling": _known(part.price.ceiling_micros), "expected": _known(part.price.expected_micros)}
            for part in plan.parts
        }
    return found


def _known(micros: int | None) -> str | None:
    return None if micros is None else exact(micros)


def _frozen_item(item: Item) -> dict[str, Any]:
    draft = item.draft
    found = {
        "action": item.action,
        "key": draft.key,
        "source": draft.source_path,
        "digest": None if draft.picture is None else draft.picture.digest,
        "prompt": draft.prompt_name,
        "prompt_digest": digest(draft.prompt),
        "negative_digest": None if draft.negative is None else digest(draft.negative),
        "preset": draft.preset_name,
        "options": _texts(draft.options),
        "output": draft.output_path,
    }
    if draft.step:
        found["step"] = draft.step
    if draft.awaits:
        found["lineage"] = draft.lineage
    return found


def _texts(options: Mapping[str, OptionValue]) -> dict[str, str]:
    return {name: plain(value) for name, value in options.items()}


# ---- reading


def read(text: str) -> tuple[PlanFile, str]:
    """A frozen plan, and its digest. Raises ValueError, with what is wrong."""
    data = approval.parse(text)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"it is not a plan (`{SCHEMA}`), as `omixa plan --out` writes it")
    try:
        found = PlanFile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"`{where}`: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    worst = [one.name for one in found.recipes if sum(item.action == "buy" for item in one.items) != one.buy]
    if worst:
        raise ValueError(f"`{worst[0]}` does not buy as many as its items say")
    return found, approval.digest(data)


# ---- comparing with what is there now


def workspace_changes(frozen: FrozenWorkspace, settings: Settings) -> Iterator[Problem]:
    """What is not any more as it was when the plan was frozen, of who pays."""
    if frozen.name not in settings.workspaces:
        message = f"the plan is for workspace `{frozen.name}`, which {FILE_NAME} does not have"
        yield Problem("other-workspace", message, hint="run it in the project that it was made in")
        return
    now = FrozenWorkspace.model_validate(frozen_workspace(frozen.name, settings))
    for name in ("account", "currency", "time_zone", "endpoint", "url"):
        was, is_ = getattr(frozen, name), getattr(now, name)
        if was != is_:
            message = f"`{name}` of workspace {frozen.name} was `{was}` when the plan was made, and is `{is_}` now"
            yield Problem("other-workspace", message, hint=_ANEW)
    yield from _lowered(f"workspace {frozen.name}", frozen.budget, now.budget, frozen.currency)


def recipe_changes(frozen: FrozenRecipe, recipe: Recipe, plan: Plan) -> Iterator[Problem]:
    """Everything that keeps a recipe's part of the plan from being bought as it was approved."""
    if recipe.digest != frozen.digest:
        yield edited(frozen)
    yield from _lowered(f"recipe {frozen.name}", frozen.budget, _budget(recipe.budget), plan.currency)
    yield from _dearer(frozen, plan)
    yield from _touched(frozen, plan)


def edited(frozen: FrozenRecipe) -> Problem:
    """The problem of a recipe whose file has changed."""
    message = f"recipe `{frozen.path}` was edited after the plan was made"
    return Problem("recipe-edited", message, hint=f"put back what was approved; or {_ANEW}")


_ANEW = "make the plan anew with `omixa plan --out`, and have that approved"


def _lowered(whose: str, was: Mapping[str, str], now: Mapping[str, str], currency: str) -> Iterator[Problem]:
    for period, text in now.items():
        before = was.get(period)
        cap = show(money.declared(text), currency)
        if before is None:
            message = f"{whose} has a budget of {cap} a {period} now, and had none when the plan was made"
            yield Problem("budget-lowered", message, hint=_ANEW)
        elif money.declared(text) < money.declared(before):
            told = show(money.declared(before), currency)
            message = f"the {period} budget of {whose} was {told} when the plan was made, and is {cap} now"
            yield Problem("budget-lowered", message, hint=_ANEW)


def _dearer(frozen: FrozenRecipe, plan: Plan) -> Iterator[Problem]:
    """A price that has risen. One that has fallen keeps nobody from buying what was approved for more."""
    prices = frozen.prices or {plan.model: FrozenPrice(ceiling=frozen.ceiling, expected=frozen.expected)}
    pairs = []
    for part in {part.model: part for part in plan.parts}.values():
        was, of = prices.get(part.model, _UNPRICED), f" of {part.model}" if frozen.prices else ""
        pairs.append((f"the most that one{of} may cost", was.ceiling, part.price.ceiling_micros))
        pairs.append((f"what one{of} is expected to cost", was.expected, part.price.expected_micros))
    for what, text, now in pairs:
        before = None if text is None else money.declared(text)
        if now is not None and (before is None or now > before):
            told = "not known" if before is None else show(before, plan.currency)
            message = f"{frozen.name}: {what} was {told} when the plan was made, and is {show(now, plan.currency)} now"
            yield Problem("price-raised", message, hint=_ANEW)


_UNPRICED = FrozenPrice(ceiling=None, expected=None)


def _touched(frozen: FrozenRecipe, plan: Plan) -> Iterator[Problem]:
    """What is to be bought, and is not what it was."""
    now = {item.draft.place: item for item in plan.items}
    made = {item.draft.output_path: item for item in plan.items}
    found: dict[str, list[str]] = {}
    for item in frozen.items:
        if item.action != "buy":
            continue
        found_now = now.get(place_of(item))
        if item.lineage is not None and found_now is not None and _is_ended(found_now, made):
            continue  # it is not bought any more, because what it was to be made of did not come
        code = _change(item, None if found_now is None else found_now.draft)
        if code is not None:
            found.setdefault(code, []).append(item.source or item.output)
    for code, sources in found.items():
        named = ", ".join(f"`{source}`" for source in dict.fromkeys(sources[:_NAMED_MAX]))
        more = f" and {len(sources) - _NAMED_MAX} more" if len(sources) > _NAMED_MAX else ""
        yield Problem(code, f"{frozen.name}: {_WHAT[code]}: {named}{more}", hint=_ANEW)


_WHAT = {
    "picture-gone": "not wanted any more, or not there",
    "picture-touched": "changed after the plan was made",
    "prompt-changed": "another prompt than in the plan",
    "options-changed": "other options than in the plan",
    "output-changed": "another output path than in the plan",
    "item-changed": "another request than in the plan",
}


def _is_ended(item: Item, made: Mapping[str, Item]) -> bool:
    """Whether what an item is made of, or that is made of, is held back now: so it is not bought either."""
    origin = made.get(item.draft.origin or "")
    return origin is not None and (origin.action in ("hold", "unsuitable") or _is_ended(origin, made))


def _change(item: FrozenItem, draft: Draft | None) -> str | None:
    if draft is not None and draft.origin is not None and item.lineage is not None:
        return _change_of_made(item, draft)
    if draft is None or (draft.source is not None and draft.picture is None and not draft.source.exists()):
        return "picture-gone"
    # Where the model takes no picture, there is none, and was none.
    if draft.awaits or (draft.source is not None and draft.picture is None):
        return "picture-touched"
    if item.digest != (None if draft.picture is None else draft.picture.digest):
        return "picture-touched"
    changed = _change_of_request(item, draft)
    if changed is not None:
        return changed
    return "item-changed" if draft.key != item.key else None


def _change_of_made(item: FrozenItem, draft: Draft) -> str | None:
    """What was to be made of a result that had not come: it is as it was when it is made of the same."""
    changed = _change_of_request(item, draft)
    if changed is not None:
        return changed
    return "picture-touched" if draft.lineage != item.lineage else None


def _change_of_request(item: FrozenItem, draft: Draft) -> str | None:
    negative = None if draft.negative is None else digest(draft.negative)
    if (digest(draft.prompt), negative) != (item.prompt_digest, item.negative_digest):
        return "prompt-changed"
    if _texts(draft.options) != item.options:
        return "options-changed"
    return "output-changed" if draft.output_path != item.output else None


def place_of(item: FrozenItem) -> tuple[str, str, str, str]:
    """Which of a recipe's items it is (`Draft.place`)."""
    return item.step, item.source, item.prompt, item.preset


def only(frozen: FrozenRecipe, plan: Plan) -> Plan:
    """The plan as it is now, without any purchase that is not in the frozen one."""
    approved = {place_of(one) for one in frozen.items if one.action == "buy"}

    def kept(item: Item) -> Item:
        if item.action != "buy" or item.draft.place in approved:
            return item
        return replace(item, action="later", reason=f"not in the approved plan: {item.reason}", after=None)

    return replace(plan, items=Shelf(map(kept, plan.items)), first_of=None)


def as_text(found: PlanFile, plan_digest: str) -> str:
    """What is approved, for a person: all that is bought, and what it costs."""
    from runner.terminal import clean, table

    unit, workspace = clean(found.workspace.currency), found.workspace
    where = workspace.endpoint if workspace.url is None else f"{workspace.endpoint} ({workspace.url})"
    git = "" if found.made_by.git is None else f", {found.made_by.git}"
    commit = "no commit" if found.commit is None else f"commit {found.commit[:12]}"
    lines = [
        f"plan {plan_digest}",
        f"made {found.made_at[:16].replace('T', ' ')} UTC by {clean(found.made_by.who + git)}, {clean(commit)}"
        + (", with changes that were not committed" if found.dirty else ""),
        f"workspace {clean(workspace.account)} at {clean(where)}",
    ]
    for one in found.recipes:
        lines += ["", f"{clean(one.name)} · {clean(one.path)} · {clean(one.model)}"]
        if one.author is not None:
            lines.append(f"written by {clean(one.author)}")
        is_graph = one.prices is not None
        rows = [
            [
                *([clean(item.step)] if is_graph else []),
                clean(item.source) or "–",
                clean(item.output),
                clean(item.prompt) or "–",
                clean(item.preset) or "–",
            ]
            for item in one.items
            if item.action == "buy"
        ]
        header = [*(["step"] if is_graph else []), "source", "output", "prompt", "preset"]
        lines.append(table(header, rows, right=set()) if rows else "nothing to buy")
        cost = f"expected {show(money.declared(one.expected_cost), unit)}"
        lines.append(f"{counted(one.buy, 'picture')}, {cost}, at most {show(money.declared(one.worst_cost), unit)}")
    lines += ["", f"in all {counted(found.buy_count, 'picture')}"]
    lines[-1] += f", expected {show(found.expected_micros, unit)}, at most {show(found.worst_micros, unit)}"
    if found.reroll:
        lines.append("bought again on purpose, also what was paid before (--reroll)")
    return "\n".join(lines)
