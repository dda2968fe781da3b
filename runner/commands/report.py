"""`omixa report`: what was spent, grouped as finance wants it."""

import argparse
import sys

from runner.commands import reading


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
    parser.add_argument("--format", choices=list(FORMATS), help="(default: by the ending of --out, else text)")
    parser.add_argument("--out", metavar="FILE", help="write to a file, whole or not at all (default: standard output)")


def run(
    *,
    project: str | None,
    by: list[str] | None,
    first_day: str | None,
    last_day: str | None,
    workspace: str | None,
    format: str | None,  # noqa: A002 - named as the argument is
    out: str | None,
    **_: object,
) -> int:
    """Write the report."""
    from runner.errors import ExitCode
    from runner.ledger import usage
    from runner.reports import FORMATS
    from runner.reports.days import span
    from runner.reports.output import output
    from runner.reports.report import LABEL, build, parse_keys

    keys = parse_keys(by or ["recipe"])
    first, last = span(first_day, last_day)
    with reading.ledger(project) as (settings, database):
        name = reading.account(workspace, settings, database)
        rows = usage.rows(database, workspace=name, first_day=first, last_day=last)
        report = build(rows, keys, workspace=name, first_day=first, last_day=last)
    ending = (out or "").rpartition(".")[2]
    with output(out) as stream:
        FORMATS[format or (ending if ending in FORMATS else "text")](report, stream)
    for key in report.absent:
        print(f"warning: no attempt in this report has the label `{key.removeprefix(LABEL)}`", file=sys.stderr)
    return int(ExitCode.OK)
