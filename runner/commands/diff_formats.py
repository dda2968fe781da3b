"""A comparison for a terminal, for a comment in a pull request, and for a program."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runner.comparison import BudgetChange, Change, Comparison, Room, Stand, Total
from runner.diagnostics import masked
from runner.money import exact, short, show
from runner.plan import Draft
from runner.terminal import clean, counted, table
from runner.windows import local_text

_ITEMS_MAX = 10  # shown of those gained and of those lost
_RECIPES_MAX = 60  # in a comment, which a host cuts or refuses beyond some length
_WORDS_MAX = 40  # of one recipe or omixa.toml

# How a text that somebody else wrote is marked: as it is, or so that no Markdown comes of it.
_Mark = Callable[[str], str]


# ---- what both say


def headline(found: Comparison) -> str:
    """The first line: what a month costs more or less, and what is to be bought anew, in each currency."""
    if not found.totals:
        return "there are no recipes to compare"
    return " · ".join(_total(one) for one in found.totals)


def _total(one: Total) -> str:
    unit = one.currency
    if one.change_micros is None:
        return f"nobody knows how much more a month can cost in {unit}"
    before, after = one.before_micros or 0, one.after_micros or 0
    if one.change_micros == 0:
        text = f"a month can cost as much as before, {show(after, unit)}"
    else:
        more = "more" if one.change_micros > 0 else "less"
        times = f", ×{after // before}" if before and after > before and after % before == 0 else ""
        text = f"a month can cost {show(abs(one.change_micros), unit)} {more} ({short(before)} → {short(after)}{times})"
    if one.anew_micros is None:
        return f"{text}; nobody knows what is to be bought anew"
    if one.anew:
        are = "is" if one.anew == 1 else "are"
        return f"{text}; {counted(one.anew, 'picture')} {are} to be bought anew: {show(one.anew_micros, unit)}"
    return f"{text}; nothing is to be bought anew"


def verdict(found: Comparison) -> str:
    """The second line: whether a limit is broken."""
    if found.violations:
        count = len(found.violations)
        return f"refused: {'one rule or limit is' if count == 1 else f'{count} rules or limits are'} broken"
    return "within every limit"


def _context(found: Comparison) -> str:
    prices = "what was billed, or else the ceiling" if found.observed else "the declared ceilings"
    return f"{found.before} → {found.after}; the slots of {found.month:%Y-%m}; prices: {prices}"


_HEADER = ["recipe", "", "runs a month", "pictures", "anew", "a run", "at most", "a month", "more"]
_RIGHT = range(2, 9)


def _row(change: Change) -> list[str]:
    old, new = change.before, change.after
    what = "new" if old is None else "gone" if new is None else f"was {change.was}" if change.was else "changed"
    return [
        change.name,
        what,
        _both(change, lambda one: f"{one.slots}" if one.slots else "by hand") + _times(change),
        _both(change, lambda one: "?" if one.items is None else str(one.items)),
        str(change.anew) if change.anew_micros is not None else "?",
        _both(change, lambda one: _money(one.run_micros)),
        _both(change, lambda one: _money(one.run_worst_micros)),
        _both(change, lambda one: _money(one.month_micros)),
        _more(change),
    ]


def _times(change: Change) -> str:
    old, new = (0 if one is None else one.slots for one in (change.before, change.after))
    return f" (×{new // old})" if old and new > old and new % old == 0 else ""


def _more(change: Change) -> str:
    """How much more a month of one recipe costs, with its unit; one that pays in another currency has no difference."""
    units = dict.fromkeys(one.workspace.unit for one in (change.before, change.after) if one is not None)
    if change.buys_alike:
        return show(0, next(iter(units)))
    if len(units) > 1:
        return " → ".join(units)
    months = [0 if one is None else one.month_micros for one in (change.before, change.after)]
    if months[0] is None or months[1] is None:
        return "?"
    more = months[1] - months[0]
    return f"{'+' if more > 0 else ''}{show(more, next(iter(units)))}"


def _both(change: Change, of: Callable[[Stand], str]) -> str:
    texts = ["–" if one is None else of(one) for one in (change.before, change.after)]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} → {texts[1]}"


def _money(micros: int | None) -> str:
    return "?" if micros is None else short(micros)


def _details(change: Change, mark: _Mark, plain: _Mark) -> Iterator[str]:
    """What there is to say of a recipe, a line each."""
    for word in change.words[:_WORDS_MAX]:
        yield _word(word.key, word.before, word.after, mark)
    if len(change.words) > _WORDS_MAX:
        yield f"and {len(change.words) - _WORDS_MAX} more keys"
    places = [{_item(one) for one in drafts} for drafts in (change.gained, change.lost)]
    both = places[0] & places[1]
    for what, drafts in (
        ("changed", [one for one in change.gained if _item(one) in both]),
        ("gained", [one for one in change.gained if _item(one) not in both]),
        ("lost", [one for one in change.lost if _item(one) not in both]),
    ):
        if drafts:
            yield f"{what} {counted(len(drafts), 'item')}: {_listed(drafts, mark)}"
    if change.gained:
        paid = len(change.gained) - change.anew
        of = f" ({paid} more had before, or paid for)" if paid else ""
        yield f"to be bought anew: {counted(change.anew, 'picture')}{of}"
    if change.moved:
        yield f"{counted(change.moved, 'item')} only with another name or place: nothing is bought for it"
    yield from map(plain, _sizes(change))


def _sizes(change: Change) -> Iterator[str]:
    for side, one in (("before", change.before), ("after", change.after)):
        if one is None:
            continue
        if one.unknown is not None:
            yield f"{side}: its pictures are not counted, because {one.unknown}"
        if one.unsuitable:
            yield f"{side}: {counted(one.unsuitable, 'picture')} cannot be sent"
        if one.scheduled_micros != one.month_micros:
            most = _money(one.scheduled_micros)
            cap = _money(one.cap_micros)
            yield f"{side}: its schedule could spend {most} a month; its own budgets let {cap} through"
    new = change.after
    if new is not None and new.price.expected_micros is None:
        yield f"nobody knows what one request of {' or '.join(new.recipe.models)} may cost: no ceiling is declared"
    if new is not None and new.slots and (change.before is None or change.before.month != new.month):
        yield f"its slots are those of {new.month:%Y-%m}"
    if change.before is not None and new is not None and change.before.price != new.price:
        yield f"price of one: {_money(change.before.price.expected_micros)} → {_money(new.price.expected_micros)}"


def _word(key: str, before: str | None, after: str | None, mark: _Mark) -> str:
    if before is None:
        return f"{mark(key)} is new: {mark(after or '')}"
    if after is None:
        return f"{mark(key)} is gone, it was: {mark(before)}"
    return f"{mark(key)}: {mark(before)} → {mark(after)}"


def _listed(drafts: Sequence[Draft], mark: _Mark) -> str:
    shown = [mark(_item(one)) for one in drafts[:_ITEMS_MAX]]
    return ", ".join(shown) + (f" and {len(drafts) - _ITEMS_MAX} more" if len(drafts) > _ITEMS_MAX else "")


def _item(one: Draft) -> str:
    return " × ".join(name for name in (one.source_path, one.prompt_name, one.preset_name) if name)


def _budget(one: BudgetChange) -> list[str]:
    return [one.name, one.currency, _room(one, "cap"), _room(one, "left"), _lasts(one)]


_BUDGETS = ["budget, as forecast", "", "cap", "least left", "ends"]


def _room(one: BudgetChange, what: str) -> str:
    def of(room: Room | None) -> str:
        return "–" if room is None else short(room.cap_micros if what == "cap" else room.left_micros)

    return of(one.before) if of(one.before) == of(one.after) else f"{of(one.before)} → {of(one.after)}"


def _lasts(one: BudgetChange) -> str:
    def of(room: Room | None) -> str:
        return "–" if room is None else "lasts" if room.refused_at is None else local_text(room.refused_at, one.zone)

    return of(one.before) if of(one.before) == of(one.after) else f"{of(one.before)} → {of(one.after)}"


def _forecasts(found: Comparison) -> Iterator[str]:
    for unit, (before, after) in found.forecast_micros.items():
        yield (
            f"forecast: the slots until the end of {found.month:%Y-%m} are expected to buy for {short(before)} → "
            f"{show(after, unit)} (each picture once)"
        )


def _policy_line(found: Comparison) -> Iterator[str]:
    if any(word.key.startswith("policy.") for word in found.settings):
        yield f"the change alters [policy]; it is judged by that of {found.policy_of}"
    if any(word.key.startswith("approvers.") for word in found.settings):
        yield "the change alters [approvers], so others may approve, or more, once it is merged"


# ---- for a terminal


def as_text(found: Comparison) -> str:
    """The comparison for a person at a terminal."""
    blocks = [f"{headline(found)}\n{verdict(found)}\n{clean(_context(found))}"]
    if found.violations:
        blocks.append(
            "\n".join(f"broken[{one.code}]: {_of(one.recipe)}{clean(one.message)}" for one in found.violations)
        )
    if found.changes:
        blocks.append(table(_HEADER, [_row(change) for change in found.changes], right=_RIGHT))
    for change in found.changes:
        lines = [f"  {line}" for line in _details(change, _quoted, clean)]
        if lines:
            blocks.append("\n".join([f"{change.name}:", *lines]))
    if found.settings:
        words = [f"  {_word(one.key, one.before, one.after, _quoted)}" for one in found.settings[:_WORDS_MAX]]
        blocks.append("\n".join(["omixa.toml:", *words]))
    if found.budgets:
        blocks.append(table(_BUDGETS, [_budget(one) for one in found.budgets], right={2, 3}))
    blocks.append("\n".join(clean(line) for line in [*_forecasts(found), *_policy_line(found), *found.notes]))
    return "\n\n".join(block for block in blocks if block)


def _quoted(text: str) -> str:
    return f"`{clean(masked(text))}`"


def _of(recipe: str | None) -> str:
    return "" if recipe is None else f"{recipe}: "


# ---- for a comment


def as_markdown(found: Comparison) -> str:
    """The comparison as Markdown for a comment: the month first, then a table, then what can be unfolded.

    Nothing that a branch has written becomes Markdown, HTML, a link or a mention.
    """
    blocks = [
        f"**{harmless(headline(found))}**",
        f"{harmless(verdict(found).capitalize())}. {harmless(_context(found))}.",
    ]
    if found.violations:
        blocks.append(
            "\n".join(
                f"- **{one.code}**: {in_code(one.recipe) + ': ' if one.recipe else ''}{harmless(one.message)}"
                for one in found.violations
            )
        )
    if found.changes:
        rows = [[in_code(row[0]), *map(harmless, row[1:])] for row in map(_row, found.changes[:_RECIPES_MAX])]
        blocks.append(_markdown_table(_HEADER, rows, right=_RIGHT))
        if len(found.changes) > _RECIPES_MAX:
            blocks.append(f"… and {len(found.changes) - _RECIPES_MAX} more recipes, which `omixa diff` shows.")
    if found.budgets:
        rows = [[harmless(cell) for cell in _budget(one)] for one in found.budgets]
        blocks.append(_markdown_table(_BUDGETS, rows, right={2, 3}))
    said = [*_forecasts(found), *_policy_line(found), *found.notes]
    if said:
        blocks.append("\n".join(f"- {harmless(line)}" for line in said))
    for change in found.changes[:_RECIPES_MAX]:
        blocks += _folded(change.name, list(_details(change, in_code, harmless)))
    words = [_word(one.key, one.before, one.after, in_code) for one in found.settings[:_WORDS_MAX]]
    blocks += _folded("omixa.toml", words)
    return "\n\n".join(blocks) + "\n"


def _folded(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    listed = "\n".join(f"- {line}" for line in lines)
    return [f"<details><summary>{in_code(title)}</summary>\n\n{listed}\n\n</details>"]


def _markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] | set[int] | range
) -> str:
    rule = ["---:" if at in right else "---" for at in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *rows])


def in_code(text: str) -> str:
    """A text of somebody else: inside of `<code>`, where hosts make no mentions, and with nothing left to mean."""
    return f"<code>{harmless(text)}</code>"


def harmless(text: str) -> str:
    """Text in which no character means anything to Markdown, HTML or a host's own links and mentions."""
    text = clean(masked(text))
    # `www.` alone is a link to some hosts; `@name` and `#1` are something to most, unless a joiner stands between.
    text = re.sub(r"(?i)(www)\.", r"\1&#46;", re.sub(r"&", "&amp;", text))
    text = re.sub(r"[<>|`*_~\[\]\\$!\"{}]|:(?=[\w/])", lambda one: f"&#{ord(one[0])};", text)
    return re.sub(r"([@#!%])", lambda one: f"&#{ord(one[0])};&#8288;", text.replace("&#", "\0")).replace("\0", "&#")


# ---- for a program


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison for a program; money as text with six decimals, null where nobody knows."""
    return {
        "schema": "omixa.diff/1",
        "before": found.before,
        "after": found.after,
        "month": f"{found.month:%Y-%m}",
        "observed_prices": found.observed,
        "within_limits": not found.violations,
        "violations": [{"code": one.code, "recipe": one.recipe, "message": one.message} for one in found.violations],
        "totals": [
            {
                "currency": one.currency,
                "month_before": _exact(one.before_micros),
                "month_after": _exact(one.after_micros),
                "month_change": _exact(one.change_micros),
                "anew": one.anew,
                "anew_cost": _exact(one.anew_micros),
                "forecast_before": exact(found.forecast_micros.get(one.currency, (0, 0))[0]),
                "forecast_after": exact(found.forecast_micros.get(one.currency, (0, 0))[1]),
            }
            for one in found.totals
        ],
        "recipes": [_change_json(one) for one in found.changes],
        "settings": [_word_json(one.key, one.before, one.after) for one in found.settings],
        "budgets": [
            {
                "budget": one.name,
                "currency": one.currency,
                "before": _room_json(one.before),
                "after": _room_json(one.after),
            }
            for one in found.budgets
        ],
        "policy_of": found.policy_of,
        "notes": list(found.notes),
    }


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "recipe": change.name,
        "was": change.was,
        "changes": [_word_json(one.key, one.before, one.after) for one in change.words],
        "before": _stand_json(change.before),
        "after": _stand_json(change.after),
        "gained": [_draft_json(one) for one in change.gained],
        "lost": [_draft_json(one) for one in change.lost],
        "moved": change.moved,
        "anew": change.anew if change.is_counted else None,
        "anew_cost": _exact(change.anew_micros),
    }


def _stand_json(one: Stand | None) -> dict[str, Any] | None:
    if one is None:
        return None
    price = one.price
    return {
        "workspace": one.workspace.account,
        "currency": one.workspace.unit,
        "month": f"{one.month:%Y-%m}",
        "slots": one.slots,
        "items": one.items,
        "unsuitable": one.unsuitable,
        "pointers": one.pointers,
        "not_counted": one.unknown,
        "expected_price": _exact(price.expected_micros),
        "ceiling": _exact(price.ceiling_micros),
        "run_expected": _exact(one.run_micros),
        "run_worst": _exact(one.run_worst_micros),
        "month_scheduled": _exact(one.scheduled_micros),
        "month_cap": _exact(one.cap_micros),
        "month_cost": _exact(one.month_micros),
    }


def _draft_json(one: Draft) -> dict[str, Any]:
    return {
        "source": one.source_path or None,
        "prompt": one.prompt_name or None,
        "preset": one.preset_name or None,
        "output": one.output_path,
        "item_key": one.key,
    }


def _word_json(key: str, before: str | None, after: str | None) -> dict[str, Any]:
    return {"key": key, "before": before, "after": after}


def _room_json(room: Room | None) -> dict[str, Any] | None:
    from runner.ledger.database import moment

    if room is None:
        return None
    return {
        "cap": exact(room.cap_micros),
        "least_left": exact(room.left_micros),
        "window": room.window,
        "ends_at": None if room.refused_at is None else moment(room.refused_at),
    }


def _exact(micros: int | None) -> str | None:
    return None if micros is None else exact(micros)
