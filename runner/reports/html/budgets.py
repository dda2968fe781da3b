"""Headroom: a gauge for the newest window of each budget, and a table of the windows before."""

from collections.abc import Sequence

from runner.ledger.usage import Spent
from runner.money import exact
from runner.reports.html.charts import Amounts, bar
from runner.reports.html.markup import Markup, element


def gauges(budgets: Sequence[Spent]) -> Markup | None:
    """The budgets of one currency; None: there are none."""
    if not budgets:
        return None
    newest: dict[tuple[str, str | None, str], Spent] = {}
    for one in budgets:
        kept = newest.setdefault(_whose(one), one)
        if one.label > kept.label:
            newest[_whose(one)] = one
    earlier = [one for one in budgets if newest[_whose(one)] is not one]
    items = element("ul", *(element("li", *_gauge(one)) for one in newest.values()), class_="gauges")
    return element("section", element("h3", "Headroom"), items, _earlier(earlier) if earlier else None)


def _whose(one: Spent) -> tuple[str, str | None, str]:
    return one.workspace, one.recipe, one.period


def name(one: Spent) -> str:
    """A budget's window in words: `month 2026-11 of workspace studio`."""
    owner = f"workspace {one.workspace}" if one.recipe is None else f"recipe {one.recipe} of {one.workspace}"
    return f"in total, {owner}" if one.period == "total" else f"{one.period} {one.label} of {owner}"


def _gauge(one: Spent) -> list[Markup]:
    used = one.settled_micros + one.open_micros
    left = one.cap_micros - used
    share = _share(used, one.cap_micros)
    is_over = left < 0
    says = f"over its cap by {exact(-left)} {one.currency}" if is_over else f"{exact(left)} {one.currency} left"
    amounts = f"settled {exact(one.settled_micros)} + open {exact(one.open_micros)} of {exact(one.cap_micros)}"
    whole = max(used, one.cap_micros)
    return [
        element("span", name(one), class_="name"),
        element("strong", says, class_="over" if is_over else None),
        bar(Amounts(one.settled_micros, one.open_micros), whole, cap_micros=one.cap_micros),
        element("span", f"{amounts}: {share}", class_="note"),
    ]


def _share(used: int, cap: int) -> str:
    share = 100 * used // cap
    return f"{share} % used" if share or not used else "less than 1 % used"


def _earlier(budgets: Sequence[Spent]) -> Markup:
    head = ("window", "cap", "settled", "open", "left", "")
    lines = []
    for one in budgets:
        used = one.settled_micros + one.open_micros
        money = (one.cap_micros, one.settled_micros, one.open_micros, one.cap_micros - used)
        cells = [*(exact(micros) for micros in money), _share(used, one.cap_micros)]
        lines.append(
            element(
                "tr", element("th", name(one), scope="row"), *(element("td", cell, class_="number") for cell in cells)
            )
        )
    table = element(
        "table",
        element("caption", f"Windows before, in {budgets[0].currency}"),
        element("thead", element("tr", *(element("th", word, scope="col") for word in head))),
        element("tbody", *lines),
    )
    return element("details", element("summary", "The windows before"), element("div", table, class_="wide"))
