"""`omixa report`: what was spent, grouped as finance wants it."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from runner.ledger.database import Database
    from runner.ledger.totals import DayTotal
    from runner.ledger.usage import UsageRow
    from runner.reports import Format
    from runner.reports.days import Span
    from runner.reports.html import Sight
    from runner.settings import Settings


# How many pictures a page shows: large ones take 0.4 s each to be made small.
GALLERY, GALLERY_MAX = 100, 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    from runner.reports import FORMATS
    from runner.reports.report import KEYS, LABEL

    parser.description = (
        "What was spent. Settled is what was billed; open is set aside and not billed yet, and in its own column, "
        "as is the part of it whose answer never came (unknown). Currencies are never added together."
    )
    keys = f"{', '.join(KEYS)}, {LABEL}NAME"
    parser.add_argument(
        "--by", action="append", metavar="KEY", help=f"group by {keys}; several: --by month,recipe (default: recipe)"
    )
    reading.filters(parser)
    for period, example in (("month", "2026-10"), ("quarter", "2026-Q3"), ("year", "2026")):
        parser.add_argument(f"--{period}", metavar="P", help=f"just this {period}: {example}, last or this")
    parser.add_argument("--compare", action="store_true", help="what was settled in the window before, too")
    parser.add_argument("--top", type=int, metavar="N", help="the N dearest groups; all others are one line")
    parser.add_argument("--format", choices=list(FORMATS), help="(default: by the ending of --out, else text)")
    parser.add_argument(
        "--gallery", type=int, metavar="N", help=f"with html: the N newest pictures, 0: none (default: {GALLERY})"
    )
    parser.add_argument("--out", metavar="FILE", help="write to a file, whole or not at all (default: standard output)")


def run(
    *,
    project: str | None,
    by: list[str] | None,
    workspace: str | None,
    compare: bool,
    top: int | None,
    format: str | None,  # noqa: A002 - named as the argument is
    gallery: int | None,
    out: str | None,
    **days: Any,
) -> int:
    """Write the report."""
    from runner import __version__
    from runner.errors import ExitCode, UsageError
    from runner.jobs import clock
    from runner.ledger import closed, totals
    from runner.reports import FORMATS, by_ending
    from runner.reports.book import Book, made_at
    from runner.reports.days import asked
    from runner.reports.output import output
    from runner.reports.report import LABEL, build, parse_keys
    from runner.windows import local_day

    wanted = format or by_ending(out or "") or "text"
    chosen = FORMATS[wanted]
    keys = parse_keys(by or ["recipe"])
    _refuse(wanted, chosen, grouped=bool(by or compare or top is not None), gallery=gallery, out=out)
    if top is not None and top < 1:
        raise UsageError(f"`--top` is the most groups to list, at least 1; found {top}")
    with reading.ledger(project) as (settings, database):
        name = reading.account(workspace, settings, database)
        today = local_day(clock(), reading.zone_of(name, settings))
        periods = {period: days[period] for period in ("month", "quarter", "year")}
        span = asked(days["first_day"], days["last_day"], **periods, today=today)
        earlier = span.before() if compare else None

        def rows(of: "Span") -> "Iterator[UsageRow]":
            return closed.rows(database, workspace=name, first_day=of.first_day, last_day=of.last_day)

        def sums(of: "Span") -> "Iterator[UsageRow] | Iterator[DayTotal]":
            if not totals.tell(keys):
                return rows(of)
            return totals.rows(database, keys, workspace=name, first_day=of.first_day, last_day=of.last_day)

        frame = closed.frame(database, workspace=name, first_day=span.first_day, last_day=span.last_day)
        program, now = frame.made_by(f"omixa-runner {__version__}", clock())
        zones = {one.account: one.time_zone for one in settings.workspaces.values()}
        title = f"usage · {f'workspace {name}' if name else 'all workspaces'} · {span}"
        book = Book(title, program, made_at(now), zones, frame.closings)
        if chosen.of == "attempts":
            with output(out, binary=chosen.is_binary) as stream:
                chosen.write(rows(span), book, stream)
            return int(ExitCode.OK)
        if chosen.of == "workbook":
            keys = tuple(dict.fromkeys(("cost-centre", *keys)))
        budgets: list[Any] = []
        if chosen.of == "page" or (span.first_day is not None and span.last_day is not None):
            of = {"workspace": name, "first_day": span.first_day, "last_day": span.last_day}
            budgets = closed.spent(database, frame.closings, **of)
        sight = _sight(settings, database, name, span, gallery) if chosen.of == "page" else None
        report = build(
            sums(span) if sight is None else sight.overview.watch(rows(span)),
            keys,
            before=None if earlier is None else sums(earlier),
            top=top,
            workspace=name,
            first_day=span.first_day,
            last_day=span.last_day,
            span=span.name,
            before_span=None if earlier is None else earlier.name,
            budgets=tuple(budgets),
            closings=frame.closings if span.first_day or span.last_day else (),
        )
    with output(out, binary=chosen.is_binary) as stream:
        framed = {"groups": (), "workbook": (book,), "page": (book, sight)}[chosen.of]
        chosen.write(report, *framed, stream)
    for key in report.absent:
        print(f"warning: no attempt in this report has the label `{key.removeprefix(LABEL)}`", file=sys.stderr)
    return int(ExitCode.OK)


def _sight(
    settings: "Settings", database: "Database", workspace: str | None, span: "Span", gallery: int | None
) -> "Sight":
    """What a page shows beside its table."""
    from runner.jobs import results
    from runner.ledger import exhibits
    from runner.reports.html import Overview, Shelf, Sight

    limit = GALLERY if gallery is None else gallery
    days = {"first_day": span.first_day, "last_day": span.last_day}
    return Sight(
        Overview(),
        exhibits.day_caps(database),
        exhibits.bought(database, workspace=workspace, limit=limit, **days) if limit else [],
        Shelf(settings.root, results(settings)),
    )


def _refuse(name: str, chosen: "Format", *, grouped: bool, gallery: int | None, out: str | None) -> None:
    """Raises UsageError for what a format cannot do, before anything is read."""
    from runner.errors import UsageError

    if gallery is not None and chosen.of != "page":
        raise UsageError(f"`--gallery` goes with `--format html` only; this is `{name}`", "leave it away")
    if gallery is not None and not 0 <= gallery <= GALLERY_MAX:
        raise UsageError(f"`--gallery` is how many pictures to show, 0 to {GALLERY_MAX}; found {gallery}")
    if chosen.is_binary and out is None and sys.stdout.isatty():
        raise UsageError(f"`--format {name}` is no text for a terminal", f"add --out usage.{chosen.ending or name}")
    if chosen.of == "attempts" and grouped:
        raise UsageError(
            f"`--format {name}` lists every request by itself",
            "leave --by, --compare and --top away, or use another",
        )
