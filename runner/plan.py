"""What would be bought, why, and what it would cost: Recipe + pictures + what the ledger has → Plan. Pure."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from runner.contracts.contract import Contract, OptionValue
from runner.errors import DiskError
from runner.images import STAMP_BYTES_MAX, Picture, Unsuitable
from runner.item import Action as Action
from runner.item import Draft as Draft
from runner.item import Item as Item
from runner.item import Paid as Paid
from runner.pile import FirstOf
from runner.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Live:
    """An item whose money is open: `unknown` waits for a person, the other states for their process."""

    attempt_id: int
    state: str


@dataclass(frozen=True, slots=True)
class Declined:
    """An item that the provider declined for what it is; the same input would be declined again."""

    attempt_id: int
    date: str
    message: str


@dataclass(frozen=True, slots=True)
class Before:
    """What was last asked for at the same place (recipe, source path, prompt and preset name).

    `item_key` None: not known.
    """

    source_digest: str
    prompt_digest: str
    negative_digest: str | None
    options: Mapping[str, OptionValue]
    model: str
    item_key: str | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What one request costs, in micro-units. `declared`: the operator's ceiling; the others: seen by the ledger.

    None: not declared, or never seen. `mean_micros`: of what several models are expected to cost, seen or not; None: it
    is the price of one model.
    """

    declared_micros: int | None
    highest_micros: int | None
    median_micros: int | None
    mean_micros: int | None = None

    @property
    def ceiling_micros(self) -> int | None:
        """The most one request may cost; None when nobody knows."""
        known = [
            micros for micros in (self.declared_micros, self.highest_micros) if micros
        ]  # bills of zero tell nothing
        return max(known) if known else None

    @property
    def expected_micros(self) -> int | None:
        """The median that the ledger has seen; before the first bill, the ceiling. Of several models their mean."""
        if self.mean_micros is not None:
            return self.mean_micros
        return self.median_micros if self.median_micros is not None else self.ceiling_micros


@dataclass(frozen=True, slots=True)
class Headroom:
    """One budget window with what is already in it, micro-units. `name`: as in messages; `ends_at` None: never."""

    name: str
    scope: str
    cap_micros: int
    settled_micros: int
    open_micros: int
    ends_at: str | None

    @property
    def left_micros(self) -> int:
        """The headroom: cap − settled − open."""
        return self.cap_micros - self.settled_micros - self.open_micros

    def fits(self, price: Price) -> int:
        """How many requests fit one after another: each needs the ceiling free, and takes what is expected."""
        ceiling, expected = price.ceiling_micros, price.expected_micros
        if ceiling is None or expected is None or self.left_micros < ceiling:
            return 0
        return (self.left_micros - ceiling) // max(expected, 1) + 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger and the kept results know about the drafts of one recipe."""

    settled: Mapping[str, Paid]
    live: Mapping[str, Live]
    declined: Mapping[str, Declined]
    before: Mapping[tuple[str, str, str], Before]
    delivered: Mapping[str, str]
    price: Price
    windows: Sequence[Headroom]
    is_kept: Callable[[str], bool]
    is_same_file: Callable[[Path, str], bool]


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a plan: what one request of its model costs. `name` is empty in a recipe of one step."""

    name: str
    model: str
    price: Price
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Every item of one recipe with its decision, what it may cost, and each budget's headroom.

    `zone` is the workspace's time zone. `parts`: the recipe's steps in their order. Items stand in the order in which
    they are bought: what is made of a result comes right after it. `first_of`: the output path of what is bought, by
    its identity; None: not known beside the items.
    """

    recipe: str
    workspace: str
    parts: Sequence[Part]
    currency: str
    zone: str
    items: Shelf
    windows: Sequence[Headroom]
    first_of: FirstOf | None = None

    @property
    def model(self) -> str:
        """The model that is asked; of several steps all, in their order."""
        return " + ".join(dict.fromkeys(part.model for part in self.parts))

    @property
    def price(self) -> Price:
        """What one request costs. Of several models: the highest ceiling, and the mean of what is expected, rounded up,
        by how many each step buys (or evenly, when none is bought).
        """
        return price_of(self.parts, self.buys)

    @property
    def buys(self) -> Mapping[str, int]:
        """How many requests each step would send."""
        return {part.name: self.items.how_many("buy", step=part.name) for part in self.parts}

    def paid(self, step: str) -> int:
        """How many pictures of a step were paid for before; not those that share a purchase still to be made."""
        return self.items.how_many("skip", "restore", step=step, alone=True)

    def of(self, action: Action) -> Iterator[Item]:
        """The items with that decision, in order."""
        return self.items.of(action)

    def count(self, *actions: Action) -> int:
        """How many items have one of these decisions."""
        return self.items.how_many(*actions)

    @property
    def buy_count(self) -> int:
        """How many requests would be sent."""
        return self.count("buy")

    @property
    def expected_micros(self) -> int:
        """What the purchases should cost. The price of each step that buys must be known."""
        return sum(_times(self.buys[part.name], part.price.expected_micros) for part in self.parts)

    @property
    def worst_micros(self) -> int:
        """The most the purchases may cost. The price of each step that buys must be known."""
        return sum(_times(self.buys[part.name], part.price.ceiling_micros) for part in self.parts)

    @property
    def fits(self) -> int:
        """How many of the purchases fit into every budget."""
        return min([self.buy_count, *(self.fits_into(window) for window in self.windows)])

    def fits_into(self, window: Headroom) -> int:
        """How many requests fit into a window: of one model as there is room for, of several of those to be sent."""
        if not self.buy_count or len({part.model for part in self.parts}) == 1:
            return window.fits(self.price)
        prices = {part.name: part.price for part in self.parts}
        left, count = window.left_micros, 0
        for action, step, *_ in self.items.lines:
            if action != "buy":
                continue
            price = prices[step]
            if price.ceiling_micros is None or left < price.ceiling_micros:
                break
            left -= price.expected_micros or 0
            count += 1
        return count


def price_of(parts: Sequence[Part], counts: Mapping[str, int]) -> Price:
    """What one of so many requests costs (by the names of their steps), as `Plan.price` says it."""
    first, *others = parts
    if all(part.model == first.model for part in others):
        return first.price
    weights = [counts[part.name] for part in parts] if any(counts.values()) else [1] * len(parts)
    ceilings = [part.price.ceiling_micros for part in parts]
    expected = [part.price.expected_micros for part in parts]
    if None in ceilings or None in expected:
        return Price(None, None, None)
    total = sum(_times(weight, micros) for weight, micros in zip(weights, expected, strict=True))
    return Price(max(micros or 0 for micros in ceilings), None, None, -(-total // sum(weights)))


def _times(count: int, micros: int | None) -> int:
    assert micros is not None or not count
    return count * (micros or 0)


def item_key(
    contract: Contract,
    options: Mapping[str, OptionValue],
    *,
    prompt: str,
    negative: str | None,
    picture_digest: str,
    flatten: str | None,
) -> str:
    """The digest of what is bought: model, normalised options, prompts and picture bytes.

    Normalised: documented defaults filled in, a random seed left out, numbers without trailing zeros. `flatten` is the
    colour that transparency is laid on before sending, None when it is kept. Without a source picture, and without a
    prompt, their text here is empty.
    """
    return item_keys(contract, options, prompt=prompt, negative=negative, flatten=flatten)(picture_digest)


def item_keys(
    contract: Contract,
    options: Mapping[str, OptionValue],
    *,
    prompt: str,
    negative: str | None,
    flatten: str | None,
) -> Callable[[str], str]:
    """As `item_key`, of pictures (by digest) that are bought with the same words and options."""
    normal = {field.name: field.default for field in contract.options if field.default is not None} | dict(options)
    if normal.get("seed") == 0:
        del normal["seed"]
    parts = {name: plain(value) for name, value in normal.items()}
    # One JSON array, written in three parts: [1, model, options, prompt, negative, picture, flatten].
    head = json.dumps([1, contract.model, parts, prompt, negative], sort_keys=True, ensure_ascii=False)[:-1]
    begun, end = hashlib.sha256(f"{head}, ".encode()), f", {json.dumps(flatten, ensure_ascii=False)}]"

    def key(picture_digest: str) -> str:
        made = begun.copy()
        made.update(f"{json.dumps(picture_digest)}{end}".encode())
        return made.hexdigest()

    return key


def plain(value: OptionValue) -> str:
    """A value as text, one text for equal values: `0.30` and `0.3` are the same option."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def digest(text: str) -> str:
    """The digest under which a prompt is kept."""
    return hashlib.sha256(text.encode()).hexdigest()


def build(
    drafts: Iterable[Draft],
    facts: Facts,
    *,
    recipe: str,
    workspace: str,
    model: str,
    currency: str,
    zone: str,
    reroll: bool = False,
    limit: int | None = None,
    after: Sequence[Plan] = (),
) -> Plan:
    """A plan of one step: every draft decided (`decide`), and put together with the others (`assemble`)."""
    items = [decide(draft, facts, model, reroll=reroll) for draft in drafts]
    parts = [Part("", model, facts.price)]
    return assemble(
        parts,
        items,
        facts.windows,
        recipe=recipe,
        workspace=workspace,
        currency=currency,
        zone=zone,
        limit=limit,
        after=after,
    )


def assemble(
    parts: Sequence[Part],
    items: Sequence[Item],
    windows: Sequence[Headroom],
    *,
    recipe: str,
    workspace: str,
    currency: str,
    zone: str,
    limit: int | None = None,
    after: Sequence[Plan] = (),
) -> Plan:
    """The decided items of all steps as one plan: equal ones are bought once, and `limit` is the most that is bought.

    `after` are plans that will be run first: what they buy is not bought again, and is taken from the budgets. An item
    comes after the one whose result it takes.
    """
    return gather(
        parts,
        in_turn(items),
        windows,
        recipe=recipe,
        workspace=workspace,
        currency=currency,
        zone=zone,
        limit=limit,
        after=after,
    )


def gather(
    parts: Sequence[Part],
    items: Iterable[Item],
    windows: Sequence[Headroom],
    *,
    recipe: str,
    workspace: str,
    currency: str,
    zone: str,
    limit: int | None = None,
    after: Sequence[Plan] = (),
) -> Plan:
    """As `assemble`, of items that stand in turn already. Gone through once, and never held all at once."""
    earlier = [made for made in after if made.workspace == workspace]
    known = [made.first_of or _first_of(made) for made in earlier]
    own = FirstOf()
    shelf = Shelf()
    later: set[str] = set()
    bought = 0
    for item in items:
        draft = item.draft
        if draft.origin is None:
            later.clear()  # what is made of a result stands right behind it
        if item.action == "buy" and draft.identity is not None:
            first = next((told for one in (own, *known) if (told := one.get(draft.identity)) is not None), None)
            if first is not None:
                item = Item(draft, "restore", f"same content and options as `{first}`: bought once", after=first)
            elif draft.awaits and draft.origin in later:
                item = replace(item, action="later", reason=f"made of `{draft.origin}`, which is not bought now")
            elif limit is not None and bought >= limit:
                item = replace(item, action="later", reason=f"beyond --limit {limit}: {item.reason}")
            else:
                own.add(draft.identity, draft.output_path)
                bought += 1
        if item.action == "later" and len(parts) > 1:
            later.add(draft.output_path)
        shelf.append(item)
    planned = sum(made.expected_micros for made in earlier if made.buy_count)
    headrooms = [
        replace(window, open_micros=window.open_micros + planned) if window.scope == "workspace" else window
        for window in windows
    ]
    return Plan(recipe, workspace, parts, currency, zone, shelf, headrooms, own)


def _first_of(made: Plan) -> FirstOf:
    found = FirstOf()
    for item in made.of("buy"):
        if item.draft.identity is not None and found.get(item.draft.identity) is None:
            found.add(item.draft.identity, item.draft.output_path)
    return found


def in_turn(items: Sequence[Item]) -> Sequence[Item]:
    """The items with what is made of each right behind it: a picture goes all its way before the next one begins."""
    made_of: dict[str, list[Item]] = {}
    for item in items:
        if item.draft.origin is not None:
            made_of.setdefault(item.draft.origin, []).append(item)
    if not made_of:
        return items
    found: list[Item] = []
    waiting = [item for item in reversed(items) if item.draft.origin is None]
    while waiting:
        item = waiting.pop()
        found.append(item)
        waiting += reversed(made_of.get(item.draft.output_path, []))
    return found


def unsuitable(found: Picture | Unsuitable) -> str | None:
    """Why a picture cannot be sent, or None."""
    return found.reason if isinstance(found, Unsuitable) else None


def decide(draft: Draft, facts: Facts, model: str, *, reroll: bool = False, origin: Item | None = None) -> Item:
    """What is to be done about a draft, and why. `reroll` buys again what was paid before.

    `origin`: the item whose result it is to be made of, decided; None: it is made of a picture that is there, or of
    none.
    """
    key = draft.key
    if origin is not None and origin.action in ("hold", "unsuitable"):
        if origin.draft.origin is not None and origin.reason.startswith(_MADE_OF):
            return Item(draft, "hold", origin.reason)  # where it began, for all that would come of it
        held = "is held back" if origin.action == "hold" else "cannot be made"
        return Item(draft, "hold", f"{_MADE_OF}`{origin.draft.output_path}`, which {held}: {origin.reason}")
    if draft.awaits:
        return _decide_awaiting(draft, facts, origin)
    if key is None:
        return Item(draft, "unsuitable", draft.fault or "cannot be sent")
    if key in facts.live:
        return Item(draft, "hold", _held(facts.live[key]))
    paid = facts.settled.get(key)
    if paid is not None and not reroll:
        return _decide_paid(draft, paid, facts)
    if draft.output_size is not None and not _is_ours(draft, facts):
        return Item(draft, "hold", _FOREIGN)
    if paid is not None:
        return Item(draft, "buy", f"bought again on purpose (--reroll); paid on {paid.date}", paid)
    declined = facts.declined.get(key)
    if declined is not None and not reroll:
        return Item(
            draft,
            "hold",
            f"declined on {declined.date} (attempt {declined.attempt_id}): {declined.message}; "
            "the same input would be declined again",
        )
    return Item(draft, "buy", _why_new(draft, facts, model))


def _decide_awaiting(draft: Draft, facts: Facts, origin: Item | None) -> Item:
    """What is made of a result that is still to be bought: only then it is known whether it was bought before."""
    if origin is not None and origin.action == "skip":
        # Its delivered file would do, if it were as it was delivered: it costs nothing, so it is said first.
        stands = f"and what stands there cannot be read or was changed: {_PUT_RIGHT}"
        lost = _lost(origin.paid, facts)
        trouble = f"whose kept result is gone, {stands}" if lost in (None, _GONE) else lost
        return Item(draft, "hold", f"{_MADE_OF}`{draft.origin}`, {trouble}")
    if origin is None or (origin.action == "restore" and origin.after is None):
        lost = _lost(None if origin is None else origin.paid, facts) or _GONE
        return Item(draft, "hold", f"{_MADE_OF}`{draft.origin}`, {lost}")
    if draft.output_size is not None and not _is_ours(draft, facts):
        return Item(draft, "hold", _FOREIGN)
    before = "new" if facts.before.get((draft.source_path, draft.prompt_name, draft.preset_name)) is None else "again"
    return Item(draft, "buy", f"{before}: made of `{draft.origin}`, which is bought first")


def _lost(paid: Paid | None, facts: Facts) -> str | None:
    """Why the kept result of a purchase cannot be had, and what to do; None when it can be.

    What cannot be read is there, or may be: nobody is told to pay for it again.
    """
    try:
        if paid is not None and paid.result_digest is not None and facts.is_kept(paid.result_digest):
            return None
    except DiskError as error:
        return f"but {error.message}: {error.hint}"
    return _GONE


_GONE = "but its kept result is gone: --reroll buys it again"
_MADE_OF = "made of "
_PUT_RIGHT = "make it readable or bring it back, for nothing, or --reroll buys it again"
_FOREIGN = (
    "a file that omixa did not write, or that was changed since, stands at the output path: "
    "move it away, or change `name` of the output"
)


def _is_ours(draft: Draft, facts: Facts) -> bool:
    """Whether what stands at the output path is what was last delivered there, to the byte but for our stamp.

    Then it may be replaced.
    """
    delivered = facts.delivered.get(draft.output_path)
    return delivered is not None and facts.is_same_file(draft.output, delivered)


def _held(live: Live) -> str:
    if live.state == "unknown":
        return f"attempt {live.attempt_id} may have been billed and is not sent again: omixa resolve {live.attempt_id}"
    return f"attempt {live.attempt_id} is buying it now, in another run"


def _decide_paid(draft: Draft, paid: Paid, facts: Facts) -> Item:
    if paid.result_digest is None:
        reason = f"paid on {paid.date} (attempt {paid.attempt_id}), but no usable picture came: --reroll buys it again"
        return Item(draft, "hold", reason, paid)
    if draft.output_size is not None:
        delivered = facts.delivered.get(draft.output_path)
        stamp_bytes = draft.output_size - (paid.result_bytes or 0)
        like_size = 0 <= stamp_bytes <= STAMP_BYTES_MAX
        if delivered == paid.result_digest or (like_size and facts.is_same_file(draft.output, paid.result_digest)):
            return Item(draft, "skip", f"already paid on {paid.date}", paid)
        if not _is_ours(draft, facts):
            return Item(draft, "hold", _FOREIGN, paid)
    lost = _lost(paid, facts)
    if lost is not None:
        return Item(draft, "hold", f"paid on {paid.date} (attempt {paid.attempt_id}), {lost}", paid)
    return Item(draft, "restore", f"already paid on {paid.date}", paid)


def _why_new(draft: Draft, facts: Facts, model: str) -> str:
    before = facts.before.get((draft.source_path, draft.prompt_name, draft.preset_name))
    # Another step may have asked another model about the same picture.
    if before is None or (draft.step and before.model != model):
        return "new"
    changes = []
    if before.model != model:
        changes.append(f"model changed ({before.model} → {model})")
    if draft.picture is not None and before.source_digest != draft.picture.digest:
        changes.append("picture changed")
    if before.prompt_digest != digest(draft.prompt):
        changes.append("prompt changed")
    if before.negative_digest != (None if draft.negative is None else digest(draft.negative)):
        changes.append("negative prompt changed")
    changes += _changed_options(before.options, draft.options)
    if not changes and before.item_key not in (None, draft.key):
        return "what the model does by default, or the colour under transparent parts, has changed"
    # The same request as before, without a settled purchase: the last attempt was not billed.
    return ", ".join(changes) or "not bought yet: the last attempt was not billed"


def _changed_options(before: Mapping[str, OptionValue], now: Mapping[str, OptionValue]) -> list[str]:
    def shown(options: Mapping[str, OptionValue], name: str) -> str:
        return plain(options[name]) if name in options else "unset"

    # A seed that nobody declared is drawn anew for each request; it is no change.
    names = {*before, *now} - ({"seed"} if "seed" not in now else set())
    return [
        f"option {name} changed ({shown(before, name)} → {shown(now, name)})"
        for name in sorted(names)
        if shown(before, name) != shown(now, name)
    ]
