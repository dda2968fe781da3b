"""The JSON Schema of `omixa report --format json`: what a program may rely on, in each field."""

from typing import Any

_MONEY = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{6}$"}
_COUNT = {"type": "integer", "minimum": 0}
# Of what is open: below zero where a correction takes out what the closed window has counted.
_CHANGE = {"type": "integer"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_DAY_OR_NULL = {"type": ["string", "null"], "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}

# What stands in every row and total, beside its keys.
SUMS: dict[str, tuple[dict[str, Any], str]] = {
    "attempts": (_COUNT, "Requests that money was reserved for: settled + released + open."),
    "settled_count": (_COUNT, "Requests that were billed."),
    "released_count": (_COUNT, "Requests that were certainly not billed."),
    "open_count": (_CHANGE, "Requests that are neither: reserved, sent or unknown."),
    "unknown_count": (_CHANGE, "The part of open whose answer never came."),
    "settled": (_MONEY, "What was billed."),
    "open": (_MONEY, "What is set aside and may still be billed, at most."),
    "unknown": (_MONEY, "The part of open that waits for a person."),
    "unusable_count": (_COUNT, "Settled requests that brought no picture that can be used."),
    "unusable": (_MONEY, "What those cost."),
    "again_count": (_COUNT, "Settled requests for what had been bought before; none of them is unusable."),
    "again": (_MONEY, "What those cost."),
    "reconciled_count": (_COUNT, "Settled requests that a file of the provider bills just so (`omixa reconcile`)."),
    "reconciled": (_MONEY, "What those cost: the part of settled that is proved."),
    "price_per_picture": (
        {**_MONEY, "type": ["string", "null"]},
        "Settled money by usable picture, a rounded mean; null without one.",
    ),
    "correction_count": (_COUNT, "Requests of windows that were closed before, counted here for how they went on."),
}
COMPARED: dict[str, tuple[dict[str, Any], str]] = {
    "settled_before": (_MONEY, "What was billed in the window before; only with --compare."),
    "change": (_MONEY, "How much more that is now; only with --compare."),
}
_CURRENCY = ({"type": "string", "minLength": 1}, "The currency of all amounts beside it.")
_BUDGET: dict[str, tuple[dict[str, Any], str]] = {
    "workspace": ({"type": "string"}, "Whose budget."),
    "recipe": (_TEXT_OR_NULL, "The recipe that it is of; null: of the whole workspace."),
    "period": ({"enum": ["day", "week", "month", "quarter", "year"]}, "What kind of window."),
    "window": ({"type": "string"}, "Which one, such as 2026-11."),
    "currency": _CURRENCY,
    "cap": (_MONEY, "The most that may be spent, as last declared."),
    "settled": (_MONEY, "What was billed in it."),
    "open": (_MONEY, "What is set aside in it."),
    "left": (_MONEY, "What is left; below zero when a bill broke the cap, or the cap was lowered."),
}
_CLOSING: dict[str, tuple[dict[str, Any], str]] = {
    "workspace": ({"type": "string"}, "Whose window is closed."),
    "window": ({"type": "string"}, "Which one, such as 2026-10."),
    "from": (_DAY_OR_NULL, "Its first day."),
    "to": (_DAY_OR_NULL, "Its last day."),
    "zone": ({"type": "string"}, "Of whose calendar."),
    "at": ({"type": "string"}, "When it was closed: a moment in UTC."),
    "who": ({"type": "string"}, "Who closed it."),
    "sha256": ({"type": "string", "pattern": "^[0-9a-f]{64}$"}, "The digest of its snapshot."),
}


def schema() -> dict[str, Any]:
    """JSON Schema draft-07. A row also has a key for each entry of `by`: text, or null where attempts have none."""
    row = _table({"currency": _CURRENCY, **SUMS}, optional=COMPARED)
    row["additionalProperties"] = {**_TEXT_OR_NULL, "description": "A key of the report: its value in this group."}
    total = _table({"currency": _CURRENCY, **SUMS}, optional=COMPARED)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "omixa.report/1: what was spent",
        **_table(
            {
                "schema": ({"const": "omixa.report/1"}, "Which version of this."),
                "by": ({"type": "array", "items": {"type": "string"}, "minItems": 1}, "What rows are grouped by."),
                "workspace": (_TEXT_OR_NULL, "The only workspace; null: all."),
                "from": (_DAY_OR_NULL, "The first day, in the workspace's calendar; null: no limit."),
                "to": (_DAY_OR_NULL, "The last day; null: no limit."),
                "window": (_TEXT_OR_NULL, "What these days are called, such as 2026-11; null: nothing."),
                "window_before": (_TEXT_OR_NULL, "What they are compared with; null: nothing."),
                "rows": ({"type": "array", "items": row}, "The groups."),
                "totals": ({"type": "array", "items": total}, "The sum of the rows, by currency."),
                "budgets": ({"type": "array", "items": _table(_BUDGET)}, "The budget windows that lie in these days."),
                "closings": ({"type": "array", "items": _table(_CLOSING)}, "What is closed of these days."),
            }
        ),
    }


def _table(
    fields: dict[str, tuple[dict[str, Any], str]], optional: dict[str, tuple[dict[str, Any], str]] | None = None
) -> dict[str, Any]:
    every = {**fields, **(optional or {})}
    return {
        "type": "object",
        "required": list(fields),
        "additionalProperties": False,
        "properties": {name: {**kind, "description": text} for name, (kind, text) in every.items()},
    }
