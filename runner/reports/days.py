"""The days that a report or list is asked for."""

from datetime import date

from runner.errors import UsageError


def span(first: str | None, last: str | None) -> tuple[str | None, str | None]:
    """`--from` and `--to` as days `2026-11-30`, both inside; None: no limit. Raises UsageError.

    They are compared with the local day of the workspace, as it was fixed when the money was reserved.
    """
    first_day, last_day = _day("--from", first), _day("--to", last)
    if first_day is not None and last_day is not None and first_day > last_day:
        raise UsageError(f"`--from {first_day}` is after `--to {last_day}`, so no day is left", "swap the two")
    return first_day, last_day


def _day(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        # Python reads more forms, such as 20261130; one way of writing is enough and cannot be misread.
        if len(text) == len("2026-11-30") and text[4] == text[7] == "-":
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise UsageError(f"`{option} {text}` is not a day of the calendar", f"write it like `{option} 2026-11-30`")
