"""What the verbs that read the ledger share: their arguments, opening it, and whose attempts are meant."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from runner.ledger.database import Database
    from runner.settings import Settings

# SQLite's largest row number.
ATTEMPT_MAX = 2**63 - 1
NOTE_LENGTH_MAX = 1000


def filters(parser: argparse.ArgumentParser) -> None:
    """Which attempts: a workspace, and days from and to, both inside."""
    parser.add_argument("--workspace", metavar="W", help="only this workspace (default: all)")
    parser.add_argument("--from", dest="first_day", metavar="DAY", help="first day, as 2026-11-01; the workspace's own")
    parser.add_argument("--to", dest="last_day", metavar="DAY", help="last day, as 2026-11-30")


def attempt_id(text: str) -> int:
    """The type of an argument that names an attempt."""
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= ATTEMPT_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected the number of an attempt, such as 12; found `{text}`")


def note(text: str | None, question: str, *, option: str = "--note") -> str:
    """The note that a person gave, without anything that looks like a key. Raises UsageError when there is none."""
    from runner.diagnostics import masked
    from runner.errors import UsageError

    kept = (text or "").strip()
    if not kept:
        raise UsageError(question, f'add {option} "…"')
    if len(kept) > NOTE_LENGTH_MAX:
        raise UsageError(f"a note has at most {NOTE_LENGTH_MAX} characters, found {len(kept)}")
    return masked(kept)


def until(text: str | None, zone: str, at: "datetime") -> "datetime | None":
    """A moment to come: a span such as `90m`, `12h`, `3d`, or a local day or moment such as `2026-11-30T18:00`.

    A day ends at its midnight. UTC comes back; None stays None. Raises UsageError, also for a moment that is past.
    """
    from datetime import UTC, date, datetime, timedelta
    from re import ASCII, fullmatch
    from zoneinfo import ZoneInfo

    from runner.errors import UsageError

    if text is None:
        return None
    try:
        if (span := fullmatch(r"([1-9][0-9]{0,4})([mhd])", text, ASCII)) is not None:
            unit = {"m": "minutes", "h": "hours", "d": "days"}[span[2]]
            return at + timedelta(**{unit: int(span[1])})
        if fullmatch(r"\d{4}-\d\d-\d\d", text, ASCII):
            midnight = datetime.combine(date.fromisoformat(text) + timedelta(days=1), datetime.min.time())
            found = midnight.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        else:
            read = datetime.fromisoformat(text)
            found = (read if read.tzinfo else read.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"`--until {text}` is not a moment",
            f"write a span such as `12h` or `3d`, or a day or moment of {zone}: `2026-11-30`, `2026-11-30T18:00`",
        ) from None
    if found <= at:
        raise UsageError(f"`--until {text}` is past", "write a moment to come")
    return found


@contextmanager
def ledger(project: str | None, *, create: bool = False) -> "Iterator[tuple[Settings, Database]]":
    """omixa.toml and its ledger, which is made only with `create`. Raises Problems, UsageError, LedgerError.

    Recipes are not read: what was spent can be told whatever is wrong with them.
    """
    from runner.diagnostics import Problems
    from runner.ledger.database import open_database
    from runner.project import find_root
    from runner.settings import ledger_path, load

    settings, problems = load(find_root(project))
    if settings is None:
        raise Problems(problems)
    with open_database(ledger_path(settings), create=create) as database:
        if create:
            from runner.jobs import claim_home

            claim_home(settings)
        yield settings, database


def account(name: str | None, settings: "Settings", database: "Database") -> str | None:
    """The workspace's name in the ledger; None stays None. Raises UsageError for one that nobody knows.

    A workspace that omixa.toml no longer has can still be asked for: its attempts stay.
    """
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError
    from runner.ledger import usage

    if name is None:
        return None
    recorded = usage.workspaces(database)
    accounts = {workspace.account for workspace in settings.workspaces.values()}
    # The ledger's own name first: a workspace that went back to the sandbox still has its real money under it.
    if name in recorded or name in accounts:
        return name
    if name in settings.workspaces:
        return settings.workspaces[name].account
    known = sorted({*settings.workspaces, *recorded})
    closest = did_you_mean(name, known)
    listed = ", ".join(f"`{one}`" for one in known[:10])
    raise UsageError(
        f"there is no workspace `{name}`, in omixa.toml or in the ledger",
        f"did you mean `{closest}`?" if closest else f"known: {listed}",
    )


def zone_of(account_name: str | None, settings: "Settings") -> str:
    """The time zone of a workspace of the ledger; for everywhere the one that all share, or UTC."""
    zones = {
        workspace.time_zone
        for workspace in settings.workspaces.values()
        if account_name in (None, workspace.name, workspace.account)
    }
    return zones.pop() if len(zones) == 1 else "UTC"
