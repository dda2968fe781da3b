"""A report as an aligned table for people, one for each currency, with its total."""

from typing import TextIO

from runner.money import exact
from runner.reports.report import Report, Sums
from runner.terminal import clean, table

NONE = "–"
SHORT_COMMIT = 12


def write(report: Report, out: TextIO) -> None:
    """Write the tables. What is open and what is unknown stand in their own columns, never in `settled`."""
    print(_title(report), file=out)
    if not report.lines:
        print("\nno attempts", file=out)
    for currency, total in report.totals.items():
        money = [f"{word} {currency}" for word in ("settled", "open", "of which unknown")]
        header = [*report.by, "attempts", "settled", "released", "open", "unknown", *money]
        keys = len(report.by)
        rows = [
            [*(_shown(key, value) for key, value in zip(report.by, line.values, strict=True)), *_numbers(line.sums)]
            for line in report.lines
            if line.currency == currency
        ]
        rows.append([*["total", *[""] * (keys - 1)][:keys], *_numbers(total)])
        print(f"\n{table(header, rows, right=range(keys, len(header)))}", file=out)


def _title(report: Report) -> str:
    whose = f"workspace {report.workspace}" if report.workspace else "all workspaces"
    return clean(f"usage by {', '.join(report.by)} · {whose} · {_days(report.first_day, report.last_day)}")


def _days(first: str | None, last: str | None) -> str:
    if first is not None and last is not None:
        return f"{first} to {last}"
    return "all days" if first is None and last is None else f"from {first}" if first is not None else f"until {last}"


def _shown(key: str, value: str | None) -> str:
    if value is None:
        return NONE
    if key == "commit":
        commit, dash, dirty = value.partition("-")
        return commit[:SHORT_COMMIT] + dash + dirty
    return value


def _numbers(sums: Sums) -> list[str]:
    counts = (sums.attempts, sums.settled_count, sums.released_count, sums.open_count, sums.unknown_count)
    money = (sums.settled_micros, sums.open_micros, sums.unknown_micros)
    return [*map(str, counts), *map(exact, money)]
