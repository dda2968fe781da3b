"""`omixa audit`: every request that was ever reserved: who, what was asked, what came back, and what it cost."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from runner.ledger.database import Database

# As in runner.ledger.tables, which costs too much to import for --help; a test holds them equal.
STATES = ("reserved", "sent", "unknown", "settled", "released")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their arguments."""
    actions = parser.add_subparsers(
        dest="action", metavar="list|show|levers|export|verify|repair|key|purge", title="actions", required=True
    )

    listing = actions.add_parser("list", help="one line an attempt, the newest last", allow_abbrev=False)
    _which(listing)
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most the N newest (default: 50)")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout")

    show = actions.add_parser("show", help="everything the ledger has on one attempt", allow_abbrev=False)
    show.add_argument("id", type=reading.attempt_id, metavar="ID", help="number of the attempt")
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")

    levers = actions.add_parser("levers", help="every stop, breach and grant: who, when, why", allow_abbrev=False)
    levers.add_argument("--json", action="store_true", help="one JSON object on stdout")

    export = actions.add_parser("export", help="every attempt whole, for auditors", allow_abbrev=False)
    _which(export)
    export.add_argument(
        "--format", choices=["jsonl", "csv"], help="(default: csv for an --out of that ending, else jsonl)"
    )
    export.add_argument("--out", metavar="FILE", help="write to a file, whole or not at all (default: standard output)")
    export.add_argument(
        "--bundle",
        metavar="DIR",
        help="instead: a folder with the whole chain and a verifier that needs nothing of omixa",
    )

    verify = actions.add_parser("verify", help="check every entry, row and checkpoint", allow_abbrev=False)
    verify.add_argument(
        "--checkpoints", action="append", default=[], metavar="FILE", help="also those in a file; repeatable"
    )
    verify.add_argument("--key", action="append", default=[], metavar="VKEY", help="a verifier key; repeatable")
    verify.add_argument("--json", action="store_true", help="one JSON object on stdout")

    repair = actions.add_parser("repair", help="make balances anew, and unfreeze", allow_abbrev=False)
    repair.add_argument("--note", metavar="TEXT", help="what happened; kept in the ledger")

    actions.add_parser("key", help="print the ledger's verifier key", allow_abbrev=False)

    purge = actions.add_parser("purge", help="remove old prompts; the chain stays whole", allow_abbrev=False)
    purge.add_argument("--before", metavar="DAY", help="of attempts reserved before that day, as 2026-01-01")
    purge.add_argument("--note", metavar="TEXT", help="why; kept in the ledger")


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", action="append", choices=STATES, help="only in this state; repeatable")
    reading.filters(parser)


def run(*, project: str | None, action: str, **options: Any) -> int:
    """List, show or export."""
    from runner.errors import ExitCode
    from runner.reports.days import span

    if action == "show":
        _show(project, options["id"], as_json=options["json"])
        return int(ExitCode.OK)
    if action == "levers":
        _levers(project, as_json=options["json"])
        return int(ExitCode.OK)
    if action not in ("list", "export") or options.get("bundle"):
        return _trail(project, action, options)
    first, last = span(options["first_day"], options["last_day"])
    with reading.ledger(project) as (settings, database):
        which = {
            "workspace": reading.account(options["workspace"], settings, database),
            "first_day": first,
            "last_day": last,
            "states": options["state"] or (),
        }
        if action == "list":
            _list(database, which, options["limit"], as_json=options["json"])
        else:
            _export(database, which, options["format"], options["out"])
    return int(ExitCode.OK)


def _trail(project: str | None, action: str, options: dict[str, Any]) -> int:
    """What is about the chain and not about single attempts."""
    from runner.commands import auditing

    match action:
        case "verify":
            return auditing.verify(project, files=options["checkpoints"], keys=options["key"], as_json=options["json"])
        case "repair":
            return auditing.repair(project, options["note"])
        case "key":
            return auditing.key(project)
        case "purge":
            return auditing.purge(project, options["before"], options["note"])
        case _:
            return auditing.bundle(project, options["bundle"])


def _list(database: "Database", which: dict[str, Any], limit: int, *, as_json: bool) -> None:
    from collections import deque
    from json import dumps

    from runner.errors import UsageError
    from runner.ledger import usage
    from runner.reports import audit

    if limit < 1:
        raise UsageError(f"`--limit` is the most attempts to list, at least 1; found {limit}")
    found = 0
    newest: deque[usage.UsageRow] = deque(maxlen=limit)
    for row in usage.rows(database, **which):
        found += 1
        newest.append(row)
    summaries = [audit.summary(row) for row in newest]
    if as_json:
        print(dumps({"schema": audit.LIST_SCHEMA, "found": found, "attempts": summaries}, indent=2))
        return
    print(audit.listing(summaries) if summaries else "no attempts")
    if found > len(summaries):
        print(f"the newest {len(summaries)} of {found}; --limit {found} lists all", file=sys.stderr)


def _show(project: str | None, attempt_id: int, *, as_json: bool) -> None:
    from json import dumps

    from runner.errors import UsageError
    from runner.ledger import usage
    from runner.reports import audit

    with reading.ledger(project) as (_, database):
        found = usage.attempt(database, attempt_id)
        if found is None:
            raise UsageError(f"there is no attempt {attempt_id}", "`omixa audit list` shows the newest")
        whole = audit.record(found, usage.workspaces(database)[found["workspace"]])
    print(dumps(whole, indent=2) if as_json else audit.text(whole))


def _levers(project: str | None, *, as_json: bool) -> None:
    from json import dumps

    from runner.ledger import usage
    from runner.reports import levers

    with reading.ledger(project) as (settings, database):
        units = {one.account: one.unit for one in settings.workspaces.values()} | usage.workspaces(database)
        records = [levers.record(lever, units.get(lever.workspace or "")) for lever in usage.all_levers(database)]
    if as_json:
        print(dumps({"schema": levers.SCHEMA, "levers": records}, indent=2))
    else:
        print(levers.listing(records) if records else "no stops, breaches or grants")


def _export(database: "Database", which: dict[str, Any], format_name: str | None, out: str | None) -> None:
    from runner.ledger import usage
    from runner.reports import audit
    from runner.reports.output import output

    currencies = usage.workspaces(database)

    def records() -> Iterator[audit.Record]:
        for found in usage.attempts(database, **which):
            yield audit.record(found, currencies[found["workspace"]])

    wanted = format_name or ("csv" if (out or "").lower().endswith(".csv") else "jsonl")
    with output(out) as stream:
        audit.WRITERS[wanted](records(), stream)
