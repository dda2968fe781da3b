"""`omixa report`: what was spent, grouped as finance wants it."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from runner.reports import Format


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    from runner.reports import FORMATS, GALLERY
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
    mailed = parser.add_mutually_exclusive_group()
    mailed.add_argument("--send", metavar="NAME", help="make the `[reports.NAME]` of omixa.toml now, and send it")
    mailed.add_argument("--scheduled", action="store_true", help="the reports of omixa.toml: when each comes, and came")
    parser.add_argument("--json", action="store_true", help="with --scheduled: one JSON object on stdout")
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
    send: str | None = None,
    scheduled: bool = False,
    json: bool = False,
    **days: Any,
) -> int:
    """Write the report."""
    if send is not None or scheduled:
        from runner.commands import mailed

        return mailed.listing(project, as_json=json) if send is None else mailed.send(project, send)
    from runner.errors import ExitCode, UsageError
    from runner.reports import FORMATS, GALLERY
    from runner.reports.days import asked
    from runner.reports.made import Wanted, write
    from runner.reports.output import output
    from runner.reports.report import LABEL, parse_keys
    from runner.windows import clock, local_day

    wanted = format or _by_ending(out) or "text"
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
        made = Wanted(chosen, keys, name, span, compare, top, GALLERY if gallery is None else gallery)
        with output(out, binary=chosen.is_binary) as stream:
            report = write(made, settings, database, stream, at=clock())
    for key in () if report is None else report.absent:
        print(f"warning: no attempt in this report has the label `{key.removeprefix(LABEL)}`", file=sys.stderr)
    return int(ExitCode.OK)


def _by_ending(out: str | None) -> str | None:
    """The format that the name of a file asks for; None: none. Raises UsageError for an ending of no format.

    What has no ending, or one that is no word, such as `.10` of `usage-2026.10`, asks for nothing.
    """
    from pathlib import Path

    from runner.errors import UsageError
    from runner.reports import FORMATS, by_ending

    found, ending = by_ending(out or ""), Path(out or "").suffix
    if found is None and ending[1:].isalnum() and not ending[1:].isdigit():
        known = ", ".join(f"`.{one.ending or name}`" for name, one in FORMATS.items())
        raise UsageError(f"no report is written as `{ending}`", f"known: {known}; or say it with --format")
    return found


def _refuse(name: str, chosen: "Format", *, grouped: bool, gallery: int | None, out: str | None) -> None:
    """Raises UsageError for what a format cannot do, before anything is read."""
    from runner.errors import UsageError
    from runner.reports import GALLERY_MAX

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
