"""One report in one format, from the ledger to a stream: what `omixa report` prints and what is sent by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runner import __version__
from runner.ledger import closed, totals
from runner.ledger.closed import Frame
from runner.ledger.database import Database
from runner.ledger.totals import DayTotal
from runner.ledger.usage import UsageRow
from runner.reports import GALLERY, Format
from runner.reports.book import Book, made_at
from runner.reports.days import Span
from runner.reports.report import Report, build

if TYPE_CHECKING:
    from runner.reports.html import Sight
    from runner.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report is of. `account`: the workspace by its name in the ledger, None: all; `top` None: every group.

    `gallery`: how many pictures a page shows, the newest.
    """

    format: Format
    keys: Sequence[str]
    account: str | None
    span: Span
    compare: bool
    top: int | None
    gallery: int = GALLERY

    def days(self, span: Span | None = None) -> dict[str, str | None]:
        """Whose days are meant, as the ledger is asked for them."""
        span = span or self.span
        return {"workspace": self.account, "first_day": span.first_day, "last_day": span.last_day}


def write(wanted: Wanted, settings: "Settings", database: Database, stream: Any, *, at: datetime) -> Report | None:
    """Write it to a stream of bytes or text, as the format says. The report; None for a list of single attempts.

    It says that it was made `at`, or at the closing when all of it is closed. A workbook is by cost centre first.
    Raises UsageError for an unknown key, a window without one before, and a package that is not installed.
    """
    chosen = wanted.format
    frame = closed.frame(database, **wanted.days())
    book = _book(wanted, frame, settings, at)
    if chosen.of == "attempts":
        chosen.write(closed.rows(database, **wanted.days()), book, stream)
        return None
    sight = _sight(wanted, settings, database) if chosen.of == "page" else None
    report = _built(wanted, frame, sight, database)
    framed: dict[str, tuple[Any, ...]] = {"groups": (), "workbook": (book,), "page": (book, sight)}
    chosen.write(report, *framed[chosen.of], stream)
    return report


def _book(wanted: Wanted, frame: Frame, settings: "Settings", at: datetime) -> Book:
    program, moment = frame.made_by(f"omixa-runner {__version__}", at)
    zones = {one.account: one.time_zone for one in settings.workspaces.values()}
    whose = f"workspace {wanted.account}" if wanted.account else "all workspaces"
    return Book(f"usage · {whose} · {wanted.span}", program, made_at(moment), zones, frame.closings)


def _built(wanted: Wanted, frame: Frame, sight: "Sight | None", database: Database) -> Report:
    span, earlier = wanted.span, wanted.span.before() if wanted.compare else None
    keys = tuple(wanted.keys)
    if wanted.format.of == "workbook":
        keys = tuple(dict.fromkeys(("cost-centre", *keys)))

    def sums(of: Span) -> Iterator[UsageRow] | Iterator[DayTotal]:
        if totals.tell(keys):
            return totals.rows(database, keys, **wanted.days(of))
        return closed.rows(database, **wanted.days(of))

    budgets: list[Any] = []
    if sight is not None or (span.first_day is not None and span.last_day is not None):
        budgets = closed.spent(database, frame.closings, **wanted.days())
    return build(
        # A page is of one look at the attempts, and lists some of them.
        sums(span) if sight is None else sight.overview.watch(closed.rows(database, **wanted.days())),
        keys,
        before=None if earlier is None else sums(earlier),
        top=wanted.top,
        **wanted.days(),
        span=span.name,
        before_span=None if earlier is None else earlier.name,
        budgets=tuple(budgets),
        closings=frame.closings if span.first_day or span.last_day else (),
    )


def _sight(wanted: Wanted, settings: "Settings", database: Database) -> "Sight":
    """What a page shows beside its table."""
    from runner.jobs import results
    from runner.ledger import exhibits
    from runner.reports.html import Overview, Shelf, Sight

    return Sight(
        Overview(),
        exhibits.day_caps(database),
        exhibits.bought(database, limit=wanted.gallery, **wanted.days()) if wanted.gallery else [],
        Shelf(settings.root, results(settings)),
    )
