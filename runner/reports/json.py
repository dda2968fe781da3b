"""A report as one JSON object, `omixa.report/1`; money as text with six decimals, so that no reader rounds it."""

import json
from typing import Any, TextIO

from runner.money import exact
from runner.reports.report import Report, Sums

SCHEMA = "omixa.report/1"


def write(report: Report, out: TextIO) -> None:
    """Write rows and totals, each with its currency. A key that attempts have no value for is null."""
    whole = {
        "schema": SCHEMA,
        "by": list(report.by),
        "workspace": report.workspace,
        "from": report.first_day,
        "to": report.last_day,
        "rows": [
            {**dict(zip(report.by, line.values, strict=True)), "currency": line.currency, **_sums(line.sums)}
            for line in report.lines
        ],
        "totals": [{"currency": currency, **_sums(total)} for currency, total in report.totals.items()],
    }
    json.dump(whole, out, indent=2)
    out.write("\n")


def _sums(sums: Sums) -> dict[str, Any]:
    return {
        "attempts": sums.attempts,
        "settled_count": sums.settled_count,
        "released_count": sums.released_count,
        "open_count": sums.open_count,
        "unknown_count": sums.unknown_count,
        "settled": exact(sums.settled_micros),
        "open": exact(sums.open_micros),
        "unknown": exact(sums.unknown_micros),
    }
