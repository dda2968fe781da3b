"""The days that a report or list is asked for."""

from dataclasses import dataclass
from datetime import date, timedelta

from runner.errors import UsageError
from runner.windows import Period, labelled, window


def span(first: str | None, last: str | None) -> tuple[str | None, str | None]:
    """`--from` and `--to` as days `2026-11-30`, both inside; None: no limit. Raises UsageError.

    They are compared with the local day of the workspace, as it was fixed when the money was reserved.
    """
    first_day, last_day = _day("--from", first), _day("--to", last)
    if first_day is not None and last_day is not None and first_day > last_day:
        raise UsageError(f"`--from {first_day}` is after `--to {last_day}`, so no day is left", "swap the two")
    return first_day, last_day


@dataclass(frozen=True, slots=True)
class Span:
    """The days that a report is about, both inside; None: no limit. `name`: what they are called, such as `2026-10`."""

    first_day: str | None
    last_day: str | None
    name: str | None = None
    period: Period | None = None

    def __str__(self) -> str:
        """The days, as the head of a report says them."""
        first, last = self.first_day, self.last_day
        if first is None and last is None:
            return "all days"
        days = f"{first} to {last}" if first and last else f"from {first}" if first else f"until {last}"
        return f"{self.name} ({days})" if self.name else days

    def before(self) -> "Span":
        """The window before: the month before a month, else as many days. Raises UsageError without both days."""
        if self.first_day is None or self.last_day is None:
            raise UsageError(
                "there is no window before, because the days have no beginning or no end",
                "name a window: --month 2026-10, --quarter 2026-Q3, or --from and --to",
            )
        first, last = date.fromisoformat(self.first_day), date.fromisoformat(self.last_day)
        day_before = first - timedelta(days=1)
        if self.period is not None:
            found = window(self.period, day_before, "UTC")
            assert found.first_day is not None
            return Span(found.first_day.isoformat(), day_before.isoformat(), found.label, self.period)
        begin = first - (last - first) - timedelta(days=1)
        return Span(begin.isoformat(), day_before.isoformat(), f"{begin.isoformat()} to {day_before.isoformat()}")


def asked(
    first: str | None, last: str | None, *, month: str | None, quarter: str | None, year: str | None, today: date
) -> Span:
    """What `--from`, `--to`, `--month`, `--quarter` and `--year` mean; `this` and `last` go by `today`.

    Raises UsageError, also for two of them that contradict each other.
    """
    periods: list[tuple[Period, str | None]] = [("month", month), ("quarter", quarter), ("year", year)]
    given = [(period, text) for period, text in periods if text is not None]
    if len(given) + bool(first or last) > 1:
        raise UsageError("the days are said twice", "use one of --month, --quarter, --year, or --from and --to")
    if not given:
        return Span(*span(first, last))
    ((period, text),) = given
    label = _relative(period, text, today)
    try:
        found = labelled(period, label)
    except ValueError:
        example = {"month": "2026-10", "quarter": "2026-Q3", "year": "2026"}[period]
        raise UsageError(
            f"`--{period} {text}` is not a {period}", f"write it like `--{period} {example}`, or `last`, or `this`"
        ) from None
    return Span(found[0].isoformat(), found[1].isoformat(), label, period)


def _relative(period: Period, text: str, today: date) -> str:
    if text not in ("this", "last"):
        return text
    found = window(period, today, "UTC")
    if text == "last":
        assert found.first_day is not None
        found = window(period, found.first_day - timedelta(days=1), "UTC")
    return found.label


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
