"""`omixa stop`: reserve nothing more, in one workspace or everywhere, in every process, at once."""

import argparse

from runner.commands import reading


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--workspace", metavar="W", help="only this workspace (default: everything)")
    parser.add_argument("--until", metavar="T", help="ends by itself: `12h`, `3d`, `2026-11-30`, `2026-11-30T18:00`")
    parser.add_argument("--reason", metavar="TEXT", help="why; kept in the ledger and shown to whoever is refused")


def run(*, project: str | None, workspace: str | None, until: str | None, reason: str | None, **_: object) -> int:
    """Record the stop. What is in flight finishes and is booked."""
    from runner.errors import ExitCode
    from runner.identity import who
    from runner.ledger.ledger import Ledger
    from runner.windows import clock, local_text

    kept = reading.note(reason, "why must it stop? whoever is refused will read it", option="--reason")
    with reading.ledger(project, create=True) as (settings, database):
        name = reading.account(workspace, settings, database)
        zone, at = reading.zone_of(name, settings), clock()
        ends = reading.until(until, zone, at)
        Ledger(database).stop(name, until=ends, reason=kept, who=who(), at=at)
    what = "everything is stopped" if name is None else f"workspace {name} is stopped"
    if ends is not None:
        what += f" until {local_text(ends, zone)}"
    where = "" if name is None else f" --workspace {name}"
    print(f"{what}: what is in flight finishes, nothing new is sent")
    print(f"to go on: omixa resume{where} --note TEXT")
    return int(ExitCode.OK)
