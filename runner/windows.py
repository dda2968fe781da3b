"""Budget windows: labels of the local calendar in a zone. Pure; all moments are aware and come back as UTC."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

Period = Literal["day", "week", "month", "quarter", "year", "total"]
PERIODS: tuple[Period, ...] = get_args(Period)


def clock() -> datetime:
    """The time now, UTC. Commands hand it on; everything below takes it."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """One span of the local calendar: `month 2026-11 Europe/Berlin`.

    `first_day` and `last_day` are local dates, both inside; None for `total`, which has no end.
    """

    period: Period
    label: str
    zone: str
    first_day: date | None
    last_day: date | None

    def __str__(self) -> str:
        return f"{self.period} {self.label} {self.zone}" if self.period != "total" else "total"

    @property
    def ends_at(self) -> datetime | None:
        """The first moment after the window, in UTC; None for `total`."""
        if self.last_day is None:
            return None
        # A midnight that a clock change skips is the moment of the change itself, which is what we want.
        return datetime.combine(self.last_day + timedelta(days=1), time(), ZoneInfo(self.zone)).astimezone(UTC)


def local_day(at: datetime, zone: str) -> date:
    """The calendar day of a moment in a zone."""
    assert at.tzinfo is not None
    return at.astimezone(ZoneInfo(zone)).date()


def local_text(at: datetime, zone: str) -> str:
    """A moment for a message, in a zone: `1 Dec 2026 00:00 Europe/Berlin`."""
    local = at.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b %Y %H:%M} {zone}"


def window(period: Period, day: date, zone: str) -> Window:
    """The window of that period which holds a local day. Weeks are ISO weeks: Monday to Sunday."""
    match period:
        case "day":
            return Window(period, day.isoformat(), zone, day, day)
        case "week":
            year, week, weekday = day.isocalendar()
            monday = day - timedelta(days=weekday - 1)
            return Window(period, f"{year}-W{week:02d}", zone, monday, monday + timedelta(days=6))
        case "month":
            return Window(period, f"{day:%Y-%m}", zone, day.replace(day=1), _last_of_month(day))
        case "quarter":
            quarter = (day.month + 2) // 3
            first = day.replace(month=3 * quarter - 2, day=1)
            return Window(
                period,
                f"{day.year:04d}-Q{quarter}",
                zone,
                first,
                _last_of_month(day.replace(month=3 * quarter, day=1)),
            )
        case "year":
            return Window(period, f"{day.year:04d}", zone, day.replace(month=1, day=1), day.replace(month=12, day=31))
        case "total":
            return Window(period, "all", zone, None, None)


def labelled(period: Period, label: str) -> tuple[date, date]:
    """First and last day of a window by its label, such as `2026-11`, `2026-Q4`, `2026-W48`, `2026`, `2026-11-30`.

    Raises ValueError for what is no label of that period; `total` has no days.
    """
    match period:
        case "day":
            first = date.fromisoformat(label)
        case "week":
            first = date.fromisoformat(f"{label}-1")
        case "month":
            first = date.fromisoformat(f"{label}-01")
        case "quarter":
            year, _, quarter = label.partition("-Q")
            first = date(int(year), 3 * int(quarter) - 2, 1)
        case "year":
            first = date(int(label), 1, 1)
        case "total":
            raise ValueError("`total` has no days")
    found = window(period, first, "UTC")
    if found.label != label or found.first_day is None or found.last_day is None:
        raise ValueError(f"`{label}` is not how a {period} is written")
    return found.first_day, found.last_day


def _last_of_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
