"""The JSON Schema of `omixa diff --format json`: what a program may rely on, in each field."""

from typing import Any

_MONEY = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{6}$"}
_MONEY_OR_NULL = {**_MONEY, "type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_MONTH = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}$"}

_Fields = dict[str, tuple[dict[str, Any], str]]

_WORD: _Fields = {
    "key": (_TEXT, "Which key differs."),
    "before": (_TEXT_OR_NULL, "Its value before, perhaps shortened; null: it was not there."),
    "after": (_TEXT_OR_NULL, "Its value after; null: it is gone."),
}
_ITEM: _Fields = {
    "source": (_TEXT_OR_NULL, "The source picture; null: the model takes none."),
    "prompt": (_TEXT_OR_NULL, "The prompt's name; null: it is bought without one."),
    "preset": (_TEXT_OR_NULL, "The preset's name; null: no options."),
    "output": (_TEXT, "Where the result goes."),
    "item_key": (_TEXT_OR_NULL, "What must not be bought twice."),
}
_STAND: _Fields = {
    "workspace": (_TEXT, "Who pays, as the ledger calls it."),
    "currency": (_TEXT, "The currency of all amounts beside it."),
    "month": (_MONTH, "Whose slots are counted: the asked month, or a busier one of the year after it."),
    "slots": (_COUNT, "Due moments in it; 0: no schedule, counted as one run by hand."),
    "items": (_COUNT_OR_NULL, "Items that a run finds; null: not known."),
    "unsuitable": (_COUNT, "Pictures that cannot be sent."),
    "pointers": (_COUNT, "Items known only by their Git LFS pointers."),
    "not_counted": (_TEXT_OR_NULL, "Why the items are not known; null: they are."),
    "expected_price": (_MONEY_OR_NULL, "What one request should cost; null: nobody knows."),
    "ceiling": (_MONEY_OR_NULL, "What it may cost at most."),
    "run_expected": (_MONEY_OR_NULL, "A run in which everything is new."),
    "run_worst": (_MONEY_OR_NULL, "The same, at the ceiling."),
    "month_scheduled": (_MONEY_OR_NULL, "Slots × items × expected price."),
    "month_cap": (_MONEY_OR_NULL, "What the recipe's own budgets let through in a month; null: it has none."),
    "month_cost": (_MONEY_OR_NULL, "The lesser of both: what is compared."),
}
_ROOM: _Fields = {
    "cap": (_MONEY, "The cap of the window with the least left."),
    "least_left": (_MONEY, "What the forecast leaves of it."),
    "window": (_TEXT_OR_NULL, "Which window; null: a budget of each run."),
    "ends_at": (_TEXT_OR_NULL, "The first slot that is refused, in UTC; null: it lasts."),
}
_TOTAL: _Fields = {
    "currency": (_TEXT, "Amounts of different currencies are never added."),
    "month_before": (_MONEY_OR_NULL, "A month of all recipes before; null: not known."),
    "month_after": (_MONEY_OR_NULL, "And after."),
    "month_change": (_MONEY_OR_NULL, "How much more that is; what --max-increase limits."),
    "anew": (_COUNT, "Pictures that the change makes to be bought anew, of those that can be counted."),
    "anew_cost": (_MONEY_OR_NULL, "What they cost; --max-increase limits it, too."),
    "forecast_before": (_MONEY, "What the slots until the end of the month are expected to buy, before."),
    "forecast_after": (_MONEY, "And after."),
}
_VIOLATION: _Fields = {
    "code": (_TEXT, "Which rule or limit; stable."),
    "recipe": (_TEXT_OR_NULL, "The recipe; null: of no single one."),
    "message": (_TEXT, "In words."),
}


def schema() -> dict[str, Any]:
    """JSON Schema draft-07."""
    change: _Fields = {
        "recipe": (_TEXT, "The recipe's name."),
        "was": (_TEXT_OR_NULL, "Its name before, when it was renamed."),
        "changes": (_list(_WORD), "Keys that differ."),
        "before": (_or_null(_STAND), "null: it is new."),
        "after": (_or_null(_STAND), "null: it is gone."),
        "gained": (_list(_ITEM), "Items that were not there before."),
        "lost": (_list(_ITEM), "Items that are not there any more."),
        "moved": (_COUNT, "Items with another source or output path, which cost nothing."),
        "anew": (_COUNT_OR_NULL, "Gained items that nobody had or paid for; null: not known."),
        "anew_cost": (_MONEY_OR_NULL, "What they cost; null: not known."),
    }
    budget: _Fields = {
        "budget": (_TEXT, "Which budget."),
        "currency": (_TEXT, "Its currency."),
        "before": (_or_null(_ROOM), "As the forecast leaves it before; null: it is not there."),
        "after": (_or_null(_ROOM), "And after."),
    }
    fields: _Fields = {
        "schema": ({"const": "omixa.diff/1"}, "Which version of this."),
        "before": (_TEXT, "What is compared."),
        "after": (_TEXT, "With what."),
        "month": (_MONTH, "Whose slots are counted."),
        "observed_prices": ({"type": "boolean"}, "Whether a ledger was there; without, prices are declared ceilings."),
        "within_limits": ({"type": "boolean"}, "Whether no rule or limit is broken: exit code 0, or 3."),
        "violations": (_list(_VIOLATION), "What is broken."),
        "totals": (_list(_TOTAL), "All recipes, by currency."),
        "recipes": (_list(change), "Recipes that differ; what costs most comes first."),
        "settings": (_list(_WORD), "What differs in omixa.toml."),
        "budgets": (_list(budget), "Budgets that are left with more or less."),
        "policy_of": (_TEXT, "Whose [policy] judges."),
        "notes": ({"type": "array", "items": _TEXT}, "What else must be known to read this rightly."),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "omixa.diff/1: what a change would cost",
        **_table(fields),
    }


def _list(fields: _Fields) -> dict[str, Any]:
    return {"type": "array", "items": _table(fields)}


def _or_null(fields: _Fields) -> dict[str, Any]:
    return {"anyOf": [_table(fields), {"type": "null"}]}


def _table(fields: _Fields) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(fields),
        "additionalProperties": False,
        "properties": {name: {**kind, "description": text} for name, (kind, text) in fields.items()},
    }
