"""A report as one JSON object, `omixa.report/1`; money as text with six decimals, so that no reader rounds it."""

import json
from typing import Any, TextIO

from runner.money import exact
from runner.reports.report import Line, Report

SCHEMA = "omixa.report/1"


def write(report: Report, out: TextIO) -> None:
    """Write rows and totals, each with its currency. A key that attempts have no value for is null."""
    whole: dict[str, Any] = {
        "schema": SCHEMA,
        "by": list(report.by),
        "workspace": report.workspace,
        "from": report.first_day,
        "to": report.last_day,
        "window": report.span,
        "window_before": report.before_span,
        "rows": [
            {**dict(zip(report.by, line.values, strict=True)), "currency": line.currency, **_sums(line)}
            for line in report.lines
        ],
        "totals": [{"currency": currency, **_sums(report.total(currency))} for currency in report.totals],
        "budgets": [
            {
                "workspace": one.workspace,
                "recipe": one.recipe,
                "period": one.period,
                "window": one.label,
                "currency": one.currency,
                "cap": exact(one.cap_micros),
                "settled": exact(one.settled_micros),
                "open": exact(one.open_micros),
                "left": exact(one.cap_micros - one.settled_micros - one.open_micros),
            }
            for one in report.budgets
        ],
        "closings": [
            {
                "workspace": one.workspace,
                "window": one.label,
                "from": one.first_day,
                "to": one.last_day,
                "zone": one.zone,
                "at": one.at,
                "who": one.who,
                "sha256": one.digest,
            }
            for one in report.closings
        ],
    }
    json.dump(whole, out, indent=2)
    out.write("\n")


def _sums(line: Line) -> dict[str, Any]:
    sums = line.sums
    told = {
        "attempts": sums.attempts,
        "settled_count": sums.settled_count,
        "released_count": sums.released_count,
        "open_count": sums.open_count,
        "unknown_count": sums.unknown_count,
        "settled": exact(sums.settled_micros),
        "open": exact(sums.open_micros),
        "unknown": exact(sums.unknown_micros),
        "unusable_count": sums.unusable_count,
        "unusable": exact(sums.unusable_micros),
        "again_count": sums.again_count,
        "again": exact(sums.again_micros),
        "reconciled_count": sums.reconciled_count,
        "reconciled": exact(sums.reconciled_micros),
        "price_per_picture": None if sums.price_micros is None else exact(sums.price_micros),
        "correction_count": sums.correction_count,
    }
    if line.before is not None and line.change_micros is not None:
        told |= {"settled_before": exact(line.before.settled_micros), "change": exact(line.change_micros)}
    return told
