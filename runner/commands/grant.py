"""`omixa grant`: let a window of a workspace take more than its cap, for a while, without touching omixa.toml."""

import argparse
from typing import TYPE_CHECKING

from runner.commands import reading

if TYPE_CHECKING:
    from datetime import datetime

    from runner.settings import Workspace
    from runner.windows import Window

# As in runner.windows, which is not imported for --help; a test holds them equal.
PERIODS = ("day", "week", "month", "quarter", "year", "total")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("amount", nargs="?", metavar="AMOUNT", help="how much more, such as `12.50`")
    parser.add_argument("--workspace", metavar="W", help="whose budget")
    parser.add_argument("--window", choices=PERIODS, help="which of its windows; the one that holds this moment")
    parser.add_argument("--until", metavar="T", help="ends by itself (default: with the window): `12h`, `2026-11-30`")
    parser.add_argument("--reason", metavar="TEXT", help="why; kept in the ledger")
    parser.add_argument("--end", type=reading.attempt_id, metavar="N", help="end grant N now instead of giving one")


def run(
    *,
    project: str | None,
    amount: str | None,
    workspace: str | None,
    window: str | None,
    until: str | None,
    reason: str | None,
    end: int | None,
    **_: object,
) -> int:
    """Record a grant, or end one."""
    from runner.errors import ExitCode, UsageError

    kept = reading.note(reason, "what is it for? the ledger keeps it", option="--reason")
    if end is not None:
        if (amount, workspace, window, until) != (None, None, None, None):
            raise UsageError("`--end` takes only --reason", f"omixa grant --end {end} --reason TEXT")
        _end(project, end, kept)
        return int(ExitCode.OK)
    missing = [
        name for name, value in (("AMOUNT", amount), ("--workspace", workspace), ("--window", window)) if value is None
    ]
    if missing:
        raise UsageError(
            f"missing: {', '.join(missing)}", "omixa grant AMOUNT --workspace W --window month --until T --reason TEXT"
        )
    assert amount is not None
    assert workspace is not None
    assert window is not None
    _give(project, amount, workspace, window, until, kept)
    return int(ExitCode.OK)


def _give(project: str | None, amount: str, workspace: str, period: str, until: str | None, reason: str) -> None:
    from runner.caps import caps_of
    from runner.errors import UsageError
    from runner.identity import who
    from runner.ledger import known, usage
    from runner.ledger.ledger import Ledger
    from runner.money import declared, show
    from runner.windows import clock, local_text

    try:
        micros = declared(amount)
    except ValueError as error:
        raise UsageError(f"AMOUNT: {error}", "write such as `12.50`") from None
    if micros == 0:
        raise UsageError("a grant of nothing changes nothing", "write such as `12.50`")
    with reading.ledger(project, create=True) as (settings, database):
        found = [one for one in settings.workspaces.values() if workspace in (one.name, one.account)]
        if not found:
            reading.account(workspace, settings, database)  # the message with what is known
            raise UsageError(f"workspace `{workspace}` is not in omixa.toml any more, so it has no cap to raise")
        owner = found[0]
        at = usage.moment_of(database, clock())
        span, ends = _span(owner, period, until, at)
        number = Ledger(database).grant(
            owner.account,
            period=span.period,
            label=span.label,
            amount_micros=micros,
            until=ends,
            reason=reason,
            who=who(),
            at=at,
        )
        cap = next(cap for cap in caps_of(owner) if cap.period == period)
        room = known.headrooms(database, workspace=owner.account, zone=owner.time_zone, caps=[cap], at=at)[0]
    lasts = "" if ends is None else f" until {local_text(ends, owner.time_zone)}"
    print(f"grant {number}: {span} of workspace {owner.account} may take {show(micros, owner.unit)} more{lasts}")
    print(f"its cap is {show(room.cap_micros, owner.unit)} now, {show(room.left_micros, owner.unit)} of it left")


def _span(owner: "Workspace", period: str, until: str | None, at: "datetime") -> "tuple[Window, datetime | None]":
    """The window that holds the moment, and when the grant ends: with the window at the latest. Raises UsageError."""
    from runner.errors import UsageError
    from runner.windows import PERIODS, local_day, local_text, window

    declared = [one for one in PERIODS if one in owner.budget]
    if period not in declared:
        has = f"it has {', '.join(declared)}" if declared else "it has none"
        raise UsageError(f"workspace {owner.name} has no {period} cap in omixa.toml, so there is none to raise", has)
    span = window(next(one for one in PERIODS if one == period), local_day(at, owner.time_zone), owner.time_zone)
    ends = reading.until(until, owner.time_zone, at) or span.ends_at
    if span.ends_at is not None and ends is not None and ends > span.ends_at:
        raise UsageError(
            f"{span} ends at {local_text(span.ends_at, owner.time_zone)}: a grant does not outlive its window",
            "leave --until out, and give another grant in the next window if it is still needed",
        )
    if ends is None:
        raise UsageError("a total budget never ends, so the grant needs an end", "add --until, such as `--until 30d`")
    return span, ends


def _end(project: str | None, number: int, note: str) -> None:
    from runner.identity import who
    from runner.ledger import usage
    from runner.ledger.ledger import Ledger
    from runner.money import show
    from runner.windows import clock

    with reading.ledger(project) as (settings, database):
        ended = Ledger(database).end_grant(number, note=note, who=who(), at=clock())
        units = {one.account: one.unit for one in settings.workspaces.values()} | usage.workspaces(database)
    assert ended.amount_micros is not None
    amount = show(ended.amount_micros, units.get(ended.workspace or "", "")).strip()
    print(f"grant {number} of {amount} for {ended.period} {ended.label} of workspace {ended.workspace} is over")
