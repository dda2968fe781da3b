"""The page from top to bottom: each currency for itself, then what needs a person, then the pictures."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from runner.ledger.exhibits import Bought
from runner.money import exact
from runner.reports import GALLERY_MAX
from runner.reports.book import Book
from runner.reports.days import Span
from runner.reports.html import budgets, charts, gallery, spending, tables
from runner.reports.html.gallery import Shelf
from runner.reports.html.markup import Markup, element, from_file, joined
from runner.reports.html.overview import Overview
from runner.reports.report import Line, Report
from runner.reports.text import closed_lines
from runner.terminal import counted
from runner.windows import local_day

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sight:
    """What a page shows beside its table. `overview` has watched the very attempts that the report is made of.

    `bought`: the pictures of the gallery, the newest first. `day_caps`: by workspace and day.
    """

    overview: Overview
    day_caps: Mapping[tuple[str, str], int]
    bought: Sequence[Bought]
    shelf: Shelf


def write(report: Report, book: Book, sight: Sight, out: TextIO) -> None:
    """Write the page. Memory does not grow with its pictures."""
    style, script = from_file(_HERE / "style.css"), from_file(_HERE / "script.js")
    out.write("<!doctype html>\n")
    out.write('<html lang="en">\n')
    out.write(_head(report, book, style, script))
    out.write(f"\n<body>\n{charts.PATTERNS}\n")
    out.write(f"{_title(report, book)}\n<main>\n")
    currencies = list(dict.fromkeys([*report.totals, *(one.currency for one in report.budgets)]))
    if not report.totals:
        out.write(f"{element('p', 'No money was reserved in these days: there are no attempts.', class_='empty')}\n")
    for currency in sorted(currencies):
        out.write(f"{_currency(report, book, sight, currency)}\n")
    for part in _needing_somebody(report, sight.overview):
        out.write(f"{part}\n")
    for part in _pictures(report, sight):
        out.write(f"{part}\n")
    out.write(f"</main>\n{_foot(book)}\n")
    out.write(f"{element('script', script)}\n</body>\n</html>\n")


def _head(report: Report, book: Book, style: Markup, script: Markup) -> Markup:
    """What forbids the page to fetch anything, and any script and style but its own two."""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_quoted(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=book.program),
        element("title", f"{_subject(report)} – usage"),
        element("link", rel="icon", href="data:,"),  # without it, a browser asks the server for one
        element("style", style),
    )


def _quoted(policy: str) -> Markup:
    # Made of our own words and digests alone; its quotes must stay as they are to be read in the source.
    return Markup(policy)


def _digest(inside: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


def _subject(report: Report) -> str:
    whose = f"workspace {report.workspace}" if report.workspace else "all workspaces"
    return f"{report.span or _days(report)}, {whose}"


def _days(report: Report) -> str:
    return str(Span(report.first_day, report.last_day))


def _workspaces(report: Report, book: Book) -> Iterable[str]:
    """Whose days they are. What is closed keeps its zones, whatever omixa.toml has by now."""
    if report.workspace is not None:
        return [report.workspace]
    return [one.workspace for one in report.closings] or book.zones


def _title(report: Report, book: Book) -> Markup:
    whose = f"workspace {report.workspace}" if report.workspace else "all workspaces"
    days = str(Span(report.first_day, report.last_day, report.span))
    zones = sorted({book.zone(name, report.last_day or "") for name in _workspaces(report, book)})
    local = f"days are those of {', '.join(zones)}" if zones else "days are the workspaces' own"
    return element(
        "header",
        element("h1", "What pictures cost"),
        element("p", element("strong", days), f" · {whose}", class_="subject"),
        *(element("p", line, class_="note") for line in closed_lines(report)),
        element("p", f"made {book.made_at:%Y-%m-%d %H:%M:%S} UTC by {book.program} · {local}", class_="note"),
    )


# ---- a currency


def _currency(report: Report, book: Book, sight: Sight, currency: str) -> Markup:
    own = [one for one in report.budgets if one.currency == currency]
    is_play = currency.startswith("sandbox-")
    play = element("p", "Play money of the sandbox: nobody has to pay it.", class_="note") if is_play else None
    parts: list[Markup | None] = [element("h2", currency), play]
    if currency in report.totals:
        parts += [_glance(report, sight.overview, currency), budgets.gauges(own)]
        parts += [_spending(report, book, sight, currency), _breakdown(sight.overview, currency)]
        parts += [element("section", element("h3", "In full"), tables.report(report, currency))]
    else:
        parts += [budgets.gauges(own)]
    return element("section", *parts, class_="currency")


def _glance(report: Report, overview: Overview, currency: str) -> Markup:
    """What one wants to know first: the sum, what may be added to it, and what was paid for nothing."""
    total = report.total(currency)
    sums = total.sums
    back = overview.taken_back(currency, report.first_day, report.last_day)
    open_count, unknown_count = sums.open_count - back.open_count, sums.unknown_count - back.unknown_count
    wasted = sums.unusable_micros + sums.again_micros
    words = [
        ("settled", exact(sums.settled_micros), f"billed for {counted(sums.settled_count, 'request')}", "main"),
        (
            "open",
            exact(sums.open_micros),
            f"may still be billed, {counted(open_count, 'request')}{_less(-back.open_micros)}",
            None,
        ),
        (
            "of which unknown",
            exact(sums.unknown_micros),
            (
                f"no answer came: somebody has to find out, {counted(unknown_count, 'request')}"
                f"{_less(-back.unknown_micros)}"
            ),
            "alarm" if unknown_count else None,
        ),
        (
            "paid for nothing",
            exact(wasted),
            f"no usable picture {sums.unusable_count}, bought again {sums.again_count}",
            "alarm" if wasted else None,
        ),
    ]
    if sums.price_micros is not None:
        words.append(("a picture cost", exact(sums.price_micros), f"{counted(sums.pictures, 'picture')}, mean", None))
    if total.before is not None:
        words.append(_change(report, total))
    cards = [
        element("div", element("dt", name), element("dd", element("b", amount), f" {currency}", class_="amount"),
                element("dd", says, class_="note"), class_=kind)
        for name, amount, says, kind in words
    ]  # fmt: skip
    return joined(
        element("dl", *cards, class_="glance"),
        element("p", _verdict(total, open_count, sums.open_micros - back.open_micros), class_="verdict"),
    )


def _change(report: Report, total: Line) -> tuple[str, str, str, None]:
    assert total.before is not None
    change = total.change_micros or 0
    sign = "+" if change > 0 else ""
    return f"against {report.before_span}", f"{sign}{exact(change)}", f"then {exact(total.before.settled_micros)}", None


def _less(micros: int) -> str:
    return f"; less {exact(micros)} that corrections took back of closed windows" if micros > 0 else ""


def _verdict(total: Line, open_count: int, open_micros: int) -> str:
    """`open_count` and `open_micros`: what these days have open themselves, without what was taken back of others."""
    sums, currency = total.sums, total.currency
    if not open_count:
        return f"Nothing is open: these days cost {exact(sums.settled_micros)} {currency}."
    least, most = exact(sums.settled_micros), exact(sums.settled_micros + open_micros)
    return f"These days cost at least {least} and at most {most} {currency}: what is open has no bill yet."


def _spending(report: Report, book: Book, sight: Sight, currency: str) -> Markup | None:
    figures = []
    for workspace in sight.overview.workspaces(currency):
        days = spending.Days(
            workspace,
            currency,
            sight.overview.by_day(currency, workspace),
            report.first_day,
            report.last_day,
            local_day(book.made_at, book.zone(workspace, report.last_day or "")),
            {day: cap for (whose, day), cap in sight.day_caps.items() if whose == workspace},
            [one for one in report.budgets if one.workspace == workspace and one.recipe is None],
        )
        figures.append(spending.figure(days))
    return element("section", element("h3", "Spend per day"), charts.legend(), *figures) if figures else None


def _breakdown(overview: Overview, currency: str) -> Markup | None:
    recipes, centres = overview.by_recipe(currency), overview.by_cost_centre(currency)
    if not recipes:
        return None
    by_recipe = tables.bars("recipe", recipes, currency, none="no recipe")
    by_centre = tables.bars("cost centre", centres, currency, none="no cost centre")
    return element("section", element("h3", "Who it was for"), element("div", by_recipe, by_centre, class_="sides"))


# ---- what needs a person


def _needing_somebody(report: Report, overview: Overview) -> Iterator[Markup]:
    def count(field: str) -> int:
        return sum(getattr(sums, field) for sums in report.totals.values())

    found = [
        tables.requests(
            "Unknown requests",
            "The answer to these never came, so they may have been billed. They stay counted until somebody says what "
            "became of them: omixa resolve ATTEMPT --billed AMOUNT, or --not-billed.",
            overview.unknown,
            sum(
                sums.unknown_count - overview.taken_back(currency, report.first_day, report.last_day).unknown_count
                for currency, sums in report.totals.items()
            ),
            is_open=True,
        ),
        tables.requests(
            "Billed without a usable picture",
            "These were billed, and brought no picture that can be used.",
            overview.unusable,
            count("unusable_count"),
            is_open=False,
        ),
        tables.requests(
            "Bought again",
            "These were billed for what had been bought before.",
            overview.again,
            count("again_count"),
            is_open=False,
        ),
    ]
    parts = [part for part in found if part is not None]
    if parts:
        yield element("section", element("h2", "What to look at"), *parts, class_="needs")


# ---- pictures


def _pictures(report: Report, sight: Sight) -> Iterator[Markup]:
    if not sight.bought:
        return
    count = max(sum(sums.pictures for sums in report.totals.values()), len(sight.bought))
    shown = len(sight.bought)
    all_of = f"all {counted(count, 'picture')}" if shown == count else f"the newest {shown} of {count} pictures"
    more = f" omixa report --gallery {min(count, GALLERY_MAX)} shows more." if shown < count else ""
    yield Markup('<section class="gallery">')
    yield element("h2", "Before and after")
    yield element("p", f"These are {all_of}, the newest first.{more}", class_="note")
    yield Markup('<div class="exhibits">')
    yield from gallery.exhibits(sight.bought, sight.shelf)
    yield Markup("</div></section>")


def _foot(book: Book) -> Markup:
    return element(
        "footer",
        element(
            "p",
            "Settled is what was billed. Open is set aside and may still be billed; the part of it whose answer never "
            "came is unknown. Open money is never part of settled, and currencies are never added together.",
        ),
        element("p", f"{book.program} · {book.made_at:%Y-%m-%d %H:%M:%S} UTC"),
        class_="note",
    )
