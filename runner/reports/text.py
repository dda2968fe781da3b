"""A report as an aligned table for people, one for each currency, with its total."""

from collections.abc import Iterator
from typing import TextIO

from runner.money import exact
from runner.reports.days import Span
from runner.reports.report import Line, Report, Sums
from runner.terminal import clean, counted, table
from runner.windows import local_text

NONE = "–"
SHORT_COMMIT = 12


def write(report: Report, out: TextIO) -> None:
    """Write the tables. What is open and what is unknown stand in their own columns, never in `settled`."""
    print(_title(report), file=out)
    for line in closed_lines(report):
        print(line, file=out)
    if not report.lines:
        print("\nno attempts", file=out)
    for currency in report.totals:
        total = report.total(currency)
        money = [f"{word} {currency}" for word in ("settled", "open", "of which unknown")]
        # Only where there is any: most tables stay narrow.
        proved = total.sums.reconciled_count > 0
        if proved:
            money.append(f"reconciled {currency}")
        if report.before_span is not None:
            money += [f"settled {report.before_span}", "change"]
        header = [*report.by, "attempts", "settled", "released", "open", "unknown", *money]
        keys = len(report.by)
        rows = [
            [*(_shown(key, value) for key, value in zip(report.by, line.values, strict=True)), *_numbers(line, proved)]
            for line in report.lines
            if line.currency == currency
        ]
        rows.append([*["total", *[""] * (keys - 1)][:keys], *_numbers(total, proved)])
        print(f"\n{table(header, rows, right=range(keys, len(header)))}", file=out)
        for remark in _remarks(total.sums, currency):
            print(remark, file=out)
    if report.budgets:
        print(f"\n{_budgets(report)}", file=out)


def _title(report: Report) -> str:
    whose = f"workspace {report.workspace}" if report.workspace else "all workspaces"
    days = Span(report.first_day, report.last_day, report.span)
    return clean(f"usage by {', '.join(report.by)} · {whose} · {days}")


def closed_lines(report: Report) -> Iterator[str]:
    """How far each workspace is closed within the days of the report."""
    newest = {one.workspace: one for one in report.closings}
    for one in newest.values():
        when = local_text(one.moment, one.zone)
        yield clean(f"workspace {one.workspace} is closed up to {one.last_day}: on {when} by {one.who}")


def _remarks(total: Sums, currency: str) -> Iterator[str]:
    """What a picture cost, and what was paid for nothing."""
    if total.price_micros is not None:
        yield f"a picture cost {exact(total.price_micros)} {currency} on average"
    if total.unusable_count:
        money = f"{exact(total.unusable_micros)} {currency}"
        yield f"of what was settled, {money} brought no usable picture ({counted(total.unusable_count, 'request')})"
    if total.again_count:
        money = f"{exact(total.again_micros)} {currency}"
        yield f"of what was settled, {money} was for what had been bought ({counted(total.again_count, 'picture')})"
    if total.correction_count:
        yield f"with {counted(total.correction_count, 'correction')} of windows that were closed before"


def _budgets(report: Report) -> str:
    header = ["budget", "cap", "settled", "open", "left", "", "used"]
    rows = []
    for one in report.budgets:
        owner = f"workspace {one.workspace}" if one.recipe is None else f"recipe {one.recipe} of {one.workspace}"
        used = one.settled_micros + one.open_micros
        money = (one.cap_micros, one.settled_micros, one.open_micros, one.cap_micros - used)
        share = f"{100 * used // one.cap_micros} %"
        rows.append([f"{one.period} {one.label} of {owner}", *map(exact, money), one.currency, share])
    return table(header, rows, right=(1, 2, 3, 4, 6))


def _shown(key: str, value: str | None) -> str:
    if value is None:
        return NONE
    if key == "commit":
        commit, dash, dirty = value.partition("-")
        return commit[:SHORT_COMMIT] + dash + dirty
    return value


def _numbers(line: Line, proved: bool) -> list[str]:
    sums = line.sums
    counts = (sums.attempts, sums.settled_count, sums.released_count, sums.open_count, sums.unknown_count)
    money = [sums.settled_micros, sums.open_micros, sums.unknown_micros, *([sums.reconciled_micros] if proved else [])]
    found = [*map(str, counts), *map(exact, money)]
    if line.before is not None and line.change_micros is not None:
        found += [exact(line.before.settled_micros), f"{'+' * (line.change_micros > 0)}{exact(line.change_micros)}"]
    return found
