"""A report as CSV for spreadsheets (RFC 4180): one row a group, no totals row, money with exactly six decimals."""

import csv
from typing import TextIO

from runner.money import exact
from runner.reports.report import Report
from runner.terminal import clean

COLUMNS = (
    "currency",
    "attempts",
    "settled_count",
    "released_count",
    "open_count",
    "unknown_count",
    "settled",
    "open",
    "unknown",
    "unusable_count",
    "unusable",
    "again_count",
    "again",
    "reconciled_count",
    "reconciled",
    "price_per_picture",
    "correction_count",
)
COMPARED = ("settled_before", "change")

# A spreadsheet takes a cell that starts so for a formula and runs it; full-width forms too, in some locales.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(text: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula and no terminal obeys; None is empty."""
    if text is None:
        return ""
    return f"'{clean(text)}" if text.startswith(_FORMULA) else clean(text)


def write(report: Report, out: TextIO) -> None:
    """Write the rows. `open` includes `unknown`; neither is in `settled`, but `unusable`, `again` and
    `reconciled` are.

    No totals: a sum over the column is one.
    """
    writer = csv.writer(out)
    compared = COMPARED if report.before_span is not None else ()
    writer.writerow([*report.by, *COLUMNS, *compared])
    for line in report.lines:
        sums = line.sums
        writer.writerow(
            [
                *map(cell, line.values),
                line.currency,
                sums.attempts,
                sums.settled_count,
                sums.released_count,
                sums.open_count,
                sums.unknown_count,
                exact(sums.settled_micros),
                exact(sums.open_micros),
                exact(sums.unknown_micros),
                sums.unusable_count,
                exact(sums.unusable_micros),
                sums.again_count,
                exact(sums.again_micros),
                sums.reconciled_count,
                exact(sums.reconciled_micros),
                "" if sums.price_micros is None else exact(sums.price_micros),
                sums.correction_count,
                *(() if line.before is None else (exact(line.before.settled_micros), exact(line.change_micros or 0))),
            ]
        )
