"""`omixa reconcile`: the provider's usage or invoice file against the ledger; `--apply` does what it proves."""

import argparse
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from pathlib import Path

    from runner.invoices.file import InvoiceFile
    from runner.invoices.matching import Matching, Terms
    from runner.ledger.database import Database
    from runner.ledger.reconciling import Applied
    from runner.reports.reconciled import Reconciliation
    from runner.settings import Invoice, Settings

PERIODS = (("month", "2026-10"), ("quarter", "2026-Q3"), ("year", "2026"))


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.description = (
        "Compares a file of the provider with the ledger, by id where there is one, else by time and amount, and "
        "names each difference. [invoices.NAME] in omixa.toml says which column is which. Only --apply writes anything."
    )
    parser.add_argument("file", metavar="FILE", help="the provider's usage or invoice file: CSV, JSON or JSON lines")
    parser.add_argument("--invoice", metavar="NAME", help="which [invoices.NAME] it is (default: the only)")
    parser.add_argument("--workspace", metavar="W", help="whose requests (default: as declared, or the only)")
    parser.add_argument("--from", dest="first_day", metavar="DAY", help="first day of the file, as 2026-10-01")
    parser.add_argument("--to", dest="last_day", metavar="DAY", help="last day of the file, as 2026-10-31")
    for period, example in PERIODS:
        parser.add_argument(f"--{period}", metavar="P", help=f"the file is of this {period}: {example}, last or this")
    parser.add_argument("--complete", action="store_true", help="it lists everything that was billed in these days")
    parser.add_argument("--apply", action="store_true", help="settle and release what it proves, and record verdicts")
    parser.add_argument(
        "--format", choices=("text", "csv", "json"), help="(default: by the ending of --out, else text)"
    )
    parser.add_argument("--out", metavar="FILE", help="write to a file, whole or not at all (default: standard output)")


def run(
    *,
    project: str | None,
    file: str,
    invoice: str | None,
    workspace: str | None,
    complete: bool,
    apply: bool,
    format: str | None,  # noqa: A002 - named as the argument is
    out: str | None,
    **days: Any,
) -> int:
    """Compare, say what was found, and with `apply` do what the file proves."""
    from pathlib import Path

    from runner.errors import ExitCode, OmixaError
    from runner.reports.output import output
    from runner.reports.reconciled import FORMATS, has_differences, has_open

    wanted = format or {".csv": "csv", ".json": "json"}.get(Path(out or "").suffix.lower(), "text")
    with reading.ledger(project) as (settings, database):
        how = _how(invoice, settings)
        account = _account(workspace, how, settings, database)
        told = _compared(Path(file), how, account, complete, days, settings, database)
        try:
            # A place that cannot be written to is told before anything is applied.
            with output(out) as stream:
                if apply:
                    told = _applied(told, settings, database)
                FORMATS[wanted](told, stream)
                stream.flush()
        except (OmixaError, OSError):
            if told.applied is not None:
                _say_applied(told.applied, account)
            raise
    if told.applied is not None:
        _warn(told.applied, account)
    if has_differences(told.found):
        return int(ExitCode.FAILED)
    return int(ExitCode.UNKNOWN if has_open(told.found) else ExitCode.OK)


def _how(name: str | None, settings: "Settings") -> "Invoice":
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError

    declared = settings.invoices
    if not declared:
        raise UsageError(
            "omixa.toml does not say how the provider's file is read",
            'add `[invoices.omixa]` with `time = "COLUMN"` and `amount = "COLUMN"`; docs/reconcile.md has the others',
        )
    known = ", ".join(f"`{one}`" for one in declared)
    if name is None:
        if len(declared) > 1:
            raise UsageError("omixa.toml describes several files", f"say which with --invoice: {known}")
        return next(iter(declared.values()))
    if name not in declared:
        closest = did_you_mean(name, declared)
        raise UsageError(
            f"there is no [invoices.{name}] in omixa.toml",
            f"did you mean `{closest}`?" if closest else f"known: {known}",
        )
    return declared[name]


def _account(name: str | None, how: "Invoice", settings: "Settings", database: "Database") -> str:
    """The workspace's name in the ledger. Raises UsageError when nobody says whose file it is."""
    from runner.errors import UsageError

    wanted = name or how.workspace
    if wanted is None and len(settings.workspaces) == 1:
        wanted = next(iter(settings.workspaces))
    found = reading.account(wanted, settings, database)
    if found is None:
        known = ", ".join(f"`{one}`" for one in settings.workspaces)
        raise UsageError(
            "whose requests is the file about? there are several workspaces",
            f"add `workspace` to [invoices.{how.name}], or say --workspace: {known}",
        )
    return found


def _compared(
    file: "Path",
    how: "Invoice",
    account: str,
    complete: bool,
    days: dict[str, Any],
    settings: "Settings",
    database: "Database",
) -> "Reconciliation":
    from datetime import timedelta

    from runner.invoices.file import read
    from runner.invoices.matching import Terms
    from runner.ledger import usage
    from runner.reports.reconciled import Reconciliation

    zone = how.time_zone or reading.zone_of(account, settings)
    first, last, words = _days(days, zone)
    currency = usage.workspaces(database).get(account) or _declared_currency(account, settings)
    terms = Terms(how.within // timedelta(microseconds=1), how.name, first, last, how.complete or complete)
    # Nothing was billed in those days, somebody says; without days, an empty file is about no time at all.
    told = read(file, how, currency, may_be_empty=complete and first is not None)
    return Reconciliation(told, terms, account, currency, words, _match(told, terms, account, database))


def _match(told: "InvoiceFile", terms: "Terms", account: str, database: "Database") -> "Matching":
    """The file against the ledger as it stands now."""
    from runner.invoices import matching
    from runner.ledger import reconciling

    moments = [line.at for line in told.lines] or [0]
    ours = reconciling.attempts(
        database,
        account,
        first=min(moments) if terms.first is None else terms.first,
        last=max(moments) if terms.last is None else terms.last,
        within=terms.within,
        ids={line.id for line in told.lines if line.id is not None},
    )
    return matching.match(ours, told.lines, terms)


def _declared_currency(account: str, settings: "Settings") -> str:
    """For a workspace that has bought nothing yet."""
    return next(one.unit for one in settings.workspaces.values() if one.account == account)


def _days(days: dict[str, Any], zone: str) -> tuple[int | None, int | None, str]:
    """The days asked for, in the file's calendar, as moments: from the first up to the second. None: not said."""
    from datetime import date, datetime, time, timedelta
    from zoneinfo import ZoneInfo

    from runner.errors import UsageError
    from runner.invoices.file import micros_of
    from runner.reports.days import asked
    from runner.windows import clock, local_day

    periods = {period: days[period] for period, _ in PERIODS}
    span = asked(days["first_day"], days["last_day"], **periods, today=local_day(clock(), zone))
    if span.first_day is None and span.last_day is None:
        return None, None, "from its first to its last line"
    if span.first_day is None or span.last_day is None:
        raise UsageError("of which days is the file?", "say both --from and --to, or --month 2026-10")
    begins = datetime.combine(date.fromisoformat(span.first_day), time(), ZoneInfo(zone))
    ends = datetime.combine(date.fromisoformat(span.last_day) + timedelta(days=1), time(), ZoneInfo(zone))
    return micros_of(begins), micros_of(ends), f"{span}, {zone}"


def _applied(told: "Reconciliation", settings: "Settings", database: "Database") -> "Reconciliation":
    """The same after what the file proves was done, compared anew."""
    from dataclasses import replace

    from runner.errors import OmixaError, UsageError
    from runner.identity import who
    from runner.ledger.reconciling import Reconciling, Source
    from runner.windows import clock
    from runner.witness import Witness

    if database.path is None:
        raise UsageError("there is no ledger yet, so there is nothing to apply", "only `omixa run` makes one")
    ledger = Reconciling(database)
    source = Source(told.account, told.terms.invoice, told.file, who())
    done = ledger.apply(told.found, source, at=clock())
    if ledger.checkpoint_due:
        try:
            Witness(database, settings).write(at=clock())
        except OmixaError as error:
            print(f"warning: no checkpoint of the ledger was written: {error.message}", file=sys.stderr)
    return replace(told, applied=done, found=_match(told.file, told.terms, told.account, database))


def _say_applied(done: "Applied", account: str) -> None:
    """What was done, on stderr, where the report that says so could not be written."""
    from runner.reports.reconciled import done_text

    with suppress(OSError):
        print(f"applied: {done_text(done)}; only the report of it could not be written:", file=sys.stderr)
        print("   = help: the same command without --apply writes it, and changes nothing", file=sys.stderr)
        _warn(done, account)


def _warn(done: "Applied", account: str) -> None:
    for number in done.breaches:
        print(
            f"warning: attempt {number} was billed more than was held, so workspace {account} is stopped",
            file=sys.stderr,
        )
    if done.breaches:
        print(f"   = help: look into it, then: omixa resume --workspace {account} --note TEXT", file=sys.stderr)
