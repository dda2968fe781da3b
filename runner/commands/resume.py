"""`omixa resume`: let a workspace go on that a bill above its reservation has stopped."""

import argparse

from runner.commands import reading


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--workspace", metavar="W", required=True, help="the workspace that is stopped")
    parser.add_argument("--note", metavar="TEXT", help="what you found out; kept in the ledger")


def run(*, project: str | None, workspace: str, note: str | None, **_: object) -> int:
    """Clear the stop, with a note."""
    from runner.errors import ExitCode
    from runner.identity import who
    from runner.jobs import clock
    from runner.ledger import usage
    from runner.ledger.ledger import Ledger
    from runner.terminal import clean

    kept = reading.note(note, "why may it go on? the ledger keeps it")
    with reading.ledger(project) as (settings, database):
        name = reading.account(workspace, settings, database)
        assert name is not None
        reason = usage.stopped(database, name)
        if reason is not None and Ledger(database).resume(name, note=kept, who=who(), at=clock()):
            print(f"workspace {name} goes on; it was stopped because {clean(reason)}")
        else:
            print(f"workspace {name} is not stopped; nothing was changed")
    return int(ExitCode.OK)
