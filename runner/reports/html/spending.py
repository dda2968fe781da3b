"""Spend per day and workspace, and added up against the cap of its window, as columns with the numbers beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from runner.ledger.usage import Spent
from runner.money import exact
from runner.reports.html import charts
from runner.reports.html.charts import Amounts, Column
from runner.reports.html.markup import Markup, element
from runner.reports.report import Sums
from runner.windows import Period, labelled, window

COLUMNS_MAX = 130
_CAPPED: Sequence[Period] = ("month", "quarter", "year", "total")


@dataclass(frozen=True, slots=True)
class Days:
    """What a workspace spent by its local day, and within which days that is shown, both inside; None: as it comes.

    `day_caps`: by day, in micro-units. `budgets`: the workspace's own windows. `known_until`: the last day that can
    have brought something, so that no line goes on into the future.
    """

    workspace: str
    currency: str
    sums: dict[str, Sums]
    first_day: str | None
    last_day: str | None
    known_until: date
    day_caps: dict[str, int]
    budgets: Sequence[Spent]


def amounts(sums: Sums) -> Amounts:
    """The parts of a bar: what is unknown is taken out of what is open."""
    return Amounts(sums.settled_micros, sums.open_micros - sums.unknown_micros, sums.unknown_micros)


def figure(days: Days) -> Markup:
    """Both charts of a workspace, and a table of the days on which there was something."""
    first, last = _edges(days)
    each = _each(days, first, last)
    total = sum((amounts(sums) for sums in days.sums.values()), Amounts())
    parts = [element("h4", f"Each {_bucket(first, last)}"), charts.columns(each, says=_says(days, each))]
    far = {cap for cap in (column.cap_micros for column in each) if cap is not None}
    highest = max((column.amounts.total for column in each if column.amounts), default=0)
    if far and not charts.fits(max(far), highest):
        told = " and ".join(f"{exact(cap)} {days.currency}" for cap in sorted(far)[:3])
        parts.append(element("p", f"The cap of a day, {told}, lies above this chart.", class_="note"))
    if first < last:
        period, running = _running(days, first, last)
        caps = {column.cap_micros for column in running} - {None}
        against = f", against the cap of the {period}" if period != "total" else ", against the cap in total"
        parts.append(element("h4", f"Added up{against if caps else ''}"))
        parts.append(charts.columns(running, says=_says_running(days, running), joined_up=True))
    caption = element("h3", f"Workspace {days.workspace}: {exact(total.settled)} {days.currency} settled")
    return element("figure", element("figcaption", caption), *parts, _numbers(days), class_="spending")


def _edges(days: Days) -> tuple[date, date]:
    """The days that are shown: those that were asked for, else the whole months in which there was something."""
    told = sorted(days.sums)
    first = date.fromisoformat(days.first_day or told[0])
    last = date.fromisoformat(days.last_day or told[-1])
    if days.first_day is None:
        first = window("month", first, "UTC").first_day or first
    if days.last_day is None:
        last = window("month", last, "UTC").last_day or last
    return first, last


def _bucket(first: date, last: date) -> Period:
    """What one column is: as fine as can be told apart."""
    count = (last - first).days + 1
    return "day" if count <= COLUMNS_MAX else "week" if count <= 7 * COLUMNS_MAX else "month"


def _every(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _each(days: Days, first: date, last: date) -> list[Column]:
    """One column a day; of longer spans one a week or month, which has no cap of a day."""
    period = _bucket(first, last)
    found: dict[str, Amounts] = {}
    begins: dict[str, date] = {}
    for day in _every(first, last):
        label = window(period, day, "UTC").label
        begins.setdefault(label, day)
        sums = days.sums.get(day.isoformat())
        found[label] = found.get(label, Amounts()) + (Amounts() if sums is None else amounts(sums))
    caps = _filled(days.day_caps, list(found)) if period == "day" else {}
    return [
        Column(_named(period, begins[label]), one, f"{label}: {_told(one, days.currency)}", caps.get(label))
        for label, one in found.items()
    ]


def _filled(caps: dict[str, int], days: Sequence[str]) -> dict[str, int]:
    """The caps of days; where nothing was reserved between two days of the same cap, it was that all the time."""
    found = dict(caps)
    known = [day for day in days if day in caps]
    for one, other in pairwise(known):
        if caps[one] == caps[other]:
            found.update({day: caps[one] for day in days if one < day < other})
    return found


def _running(days: Days, first: date, last: date) -> tuple[Period, list[Column]]:
    """What was spent since the beginning of the window, day by day; the window is the shortest one that has a cap."""
    whole = {one.period: one for one in days.budgets if _days_of(one) == (first, last)}
    periods = [one for one in _CAPPED if one in whole] or [
        one for one in _CAPPED if any(one == budget.period for budget in days.budgets)
    ]
    period: Period = periods[0] if periods else "total"
    caps = {one.label: one.cap_micros for one in days.budgets if one.period == period}
    known = max([days.known_until, *(date.fromisoformat(day) for day in days.sums)])
    found = []
    label, spent = "", Amounts()
    for day in _every(first, last):
        now = window(period, day, "UTC").label
        if now != label:
            label, spent = now, Amounts()
        sums = days.sums.get(day.isoformat())
        spent += Amounts() if sums is None else amounts(sums)
        tip = f"until {day.isoformat()}: {_told(spent, days.currency)}"
        found.append(Column(_named("day", day), spent if day <= known else None, tip, caps.get(label)))
    return period, found


def _days_of(one: Spent) -> tuple[date, date] | None:
    return None if one.period == "total" else labelled(one.period, one.label)  # type: ignore[arg-type]


def _named(period: Period, day: date) -> str:
    return f"{day:%b %Y}" if period == "month" else f"{day.day} {day:%b}"


def _told(one: Amounts, currency: str) -> str:
    parts = [f"settled {exact(one.settled)}"]
    parts += [f"open {exact(one.open + one.unknown)}"] if one.open + one.unknown else []
    parts += [f"of which unknown {exact(one.unknown)}"] if one.unknown else []
    return f"{', '.join(parts)} {currency}"


def _says(days: Days, each: Sequence[Column]) -> str:
    highest = max(each, key=lambda column: column.amounts.total if column.amounts else 0)
    return f"What workspace {days.workspace} spent, {each[0].label} to {each[-1].label}. The most: {highest.tip}"


def _says_running(days: Days, running: Sequence[Column]) -> str:
    last = [column for column in running if column.amounts is not None][-1:]
    cap = f"; the cap is {exact(last[0].cap_micros)}" if last and last[0].cap_micros is not None else ""
    return f"What workspace {days.workspace} spent, added up. {last[0].tip if last else 'nothing yet'}{cap}"


def _numbers(days: Days) -> Markup:
    """The same, exactly, for who reads numbers; days without anything are left out."""
    head = ("day", f"settled {days.currency}", f"open {days.currency}", f"of which unknown {days.currency}", "cap")
    lines = []
    for day in sorted(days.sums):
        one, cap = days.sums[day], days.day_caps.get(day)
        money = (exact(one.settled_micros), exact(one.open_micros), exact(one.unknown_micros))
        cells = [element("td", cell, class_="number") for cell in (*money, "–" if cap is None else exact(cap))]
        lines.append(element("tr", element("th", day, scope="row"), *cells))
    table = element(
        "table",
        element("caption", f"Workspace {days.workspace}, day by day"),
        element("thead", element("tr", *(element("th", name, scope="col") for name in head))),
        element("tbody", *lines),
    )
    return element("details", element("summary", "The numbers, day by day"), element("div", table, class_="wide"))
