"""The tables of a page: the report itself, which sorts, single requests that need somebody, and bars by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runner.money import exact
from runner.reports.html.charts import bar
from runner.reports.html.markup import Markup, element, joined
from runner.reports.html.spending import amounts
from runner.reports.report import Line, Report, Sums
from runner.reports.text import NONE, SHORT_COMMIT
from runner.terminal import counted

if TYPE_CHECKING:
    from runner.ledger.usage import UsageRow

BARS_MAX = 12

# Heading, what it holds (a count or money), and how it is read from the sums.
_Number = tuple[str, str, str]
_NUMBERS: Sequence[_Number] = (
    ("attempts", "count", "attempts"),
    ("settled", "count", "settled_count"),
    ("released", "count", "released_count"),
    ("open", "count", "open_count"),
    ("unknown", "count", "unknown_count"),
    ("settled", "money", "settled_micros"),
    ("open", "money", "open_micros"),
    ("of which unknown", "money", "unknown_micros"),
)
# Mostly there is none: these columns are there when there is.
_RARE: Sequence[_Number] = (
    ("no usable picture", "money", "unusable_micros"),
    ("bought again", "money", "again_micros"),
    ("reconciled", "money", "reconciled_micros"),
    ("corrections", "count", "correction_count"),
)


def report(shown: Report, currency: str) -> Markup:
    """The lines of one currency with their total, as every other format has them. Sorts where scripts run."""
    compared = shown.before_span is not None
    total = shown.total(currency)
    numbers = [*_NUMBERS, *(one for one in _RARE if getattr(total.sums, one[2]))]
    names = [name if kind == "count" else f"{name} {currency}" for name, kind, _ in numbers]
    names += [f"settled {shown.before_span} {currency}", f"change {currency}"] if compared else []
    names += [f"a picture cost {currency}"]
    head = [element("th", name, scope="col") for name in shown.by]
    head += [element("th", name, scope="col", class_="number") for name in names]
    lines = [line for line in shown.lines if line.currency == currency]
    foot = [element("th", "total", scope="row"), *(element("td") for _ in shown.by[1:])]
    table = element(
        "table",
        element("caption", f"By {', '.join(shown.by)}, in {currency}"),
        element("thead", element("tr", *head)),
        element("tbody", *(element("tr", *_keys(shown.by, line), *_cells(line, numbers)) for line in lines)),
        element("tfoot", element("tr", *foot, *_cells(total, numbers))),
        class_="sorts report",
        data_currency=currency,
    )
    return element("div", table, class_="wide", tabindex=0, role="region", aria_label=f"by {', '.join(shown.by)}")


def _keys(by: Sequence[str], line: Line) -> list[Markup]:
    found = []
    for at, (key, value) in enumerate(zip(by, line.values, strict=True)):
        text = NONE if value is None else _short(value) if key == "commit" else value
        # Beside the text stands whether there is any: what has none comes last, whichever way it is sorted.
        inside = element("span", text, class_="none") if value is None else text
        found.append(element("th" if at == 0 else "td", inside, scope="row" if at == 0 else None))
    return found


def _short(commit: str) -> str:
    name, dash, dirty = commit.partition("-")
    return name[:SHORT_COMMIT] + dash + dirty


def _cells(line: Line, numbers: Sequence[_Number]) -> list[Markup]:
    values: list[tuple[str, int | None]] = [(kind, getattr(line.sums, field)) for _, kind, field in numbers]
    if line.before is not None:
        values += [("money", line.before.settled_micros), ("change", line.change_micros)]
    values += [("money", line.sums.price_micros)]
    return [_cell(kind, value) for kind, value in values]


def _cell(kind: str, value: int | None) -> Markup:
    """A number; what it is sorted by stands beside it, whole."""
    if value is None:
        return element("td", element("span", NONE, class_="none"), class_="number")
    text = str(value) if kind == "count" else exact(value)
    sign = "+" if kind == "change" and value > 0 else ""
    return element("td", f"{sign}{text}", class_="number" if value else "number zero", data_sort=value)


def bars(title: str, groups: Mapping[str | None, Sums], currency: str, *, none: str) -> Markup:
    """A bar for each of the dearest groups and one for all others, with their amounts."""
    shown: list[tuple[str, Sums]] = [(none if name is None else name, sums) for name, sums in groups.items()]
    if len(shown) > BARS_MAX:
        rest = Sums()
        for _, sums in shown[BARS_MAX - 1 :]:
            rest.add(sums)
        shown = [*shown[: BARS_MAX - 1], (counted(len(shown) - BARS_MAX + 1, "other"), rest)]
    whole = max((amounts(sums).total for _, sums in shown), default=0)
    lines = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", bar(amounts(sums), whole), class_="drawn"),
            element("td", exact(sums.settled_micros), class_="number"),
            element("td", exact(sums.open_micros), class_="number" if sums.open_micros else "number zero"),
        )
        for name, sums in shown
    ]
    names = (title, "", "settled", "open")
    head = [element("th", name, scope="col", class_="number" if at > 1 else None) for at, name in enumerate(names)]
    table = element(
        "table",
        element("caption", f"Spend by {title}, in {currency}"),
        element("thead", element("tr", *head)),
        element("tbody", *lines),
        class_="bars",
    )
    return element("div", table, class_="wide")


def requests(title: str, says: str, listed: "Sequence[UsageRow]", count: int, *, is_open: bool) -> Markup | None:
    """Single requests of one kind, and what is to be done about them; None: there are none."""
    if not listed:
        return None
    money = "held" if is_open else "billed"
    names = ("attempt", "day", "workspace", "recipe", "source", money, "currency", "what came back")
    head = [
        element("th", name, scope="col", class_="number" if at in (0, 5) else None) for at, name in enumerate(names)
    ]
    lines = []
    for row in listed:
        micros = row.reserved_micros if is_open else row.billed_micros
        lines.append(
            element(
                "tr",
                element("th", str(row.attempt_id), scope="row", class_="number"),
                *(
                    element("td", text)
                    for text in (row.day, row.workspace, row.recipe, row.source_path or row.output_path)
                ),
                element("td", NONE if micros is None else exact(micros), class_="number"),
                element("td", row.currency),
                element("td", row.code or NONE),
            )
        )
    more = (
        element("p", f"These are the first {len(listed)} of {count}.", class_="note") if count > len(listed) else None
    )
    table = element(
        "table",
        element("caption", says),
        element("thead", element("tr", *head)),
        element("tbody", *lines),
    )
    return joined(element("h3", title), element("div", table, class_="wide"), more)
