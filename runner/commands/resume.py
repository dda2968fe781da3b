"""`omixa resume`: let go on what a stop, or a bill above its reservation, has stopped."""

import argparse

from runner.commands import reading


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "--workspace", metavar="W", help="the workspace that is stopped (default: what stops everything)"
    )
    parser.add_argument("--note", metavar="TEXT", help="what you found out; kept in the ledger")


def run(*, project: str | None, workspace: str | None, note: str | None, **_: object) -> int:
    """End the stops and breaches of a workspace, or those that stop everything, with a note."""
    from runner.errors import ExitCode
    from runner.identity import who
    from runner.ledger import usage
    from runner.ledger.ledger import Ledger
    from runner.terminal import clean
    from runner.windows import clock

    kept = reading.note(note, "why may it go on? the ledger keeps it")
    with reading.ledger(project) as (settings, database):
        name = reading.account(workspace, settings, database)
        at = clock()
        ended = Ledger(database).resume(name, note=kept, who=who(), at=at)
        what = "everything" if name is None else f"workspace {name}"
        for lever in ended:
            because = f"by {lever.who}: {lever.reason}" if lever.kind == "stop" else f"because {lever.reason}"
            print(f"{what} goes on; it was stopped {clean(because)}")
        if not ended:
            print(f"{what} is not stopped; nothing was changed")
        left = _left(name, usage.all_levers(database), at)
    for line in left:
        print(line)
    return int(ExitCode.OK)


def _left(name: str | None, levers: object, at: object) -> list[str]:
    """What still stops something, with its command."""
    from datetime import datetime

    from runner.ledger.database import moment
    from runner.ledger.values import Lever

    assert isinstance(at, datetime)
    assert isinstance(levers, list)
    active: list[Lever] = [one for one in levers if one.kind != "grant" and one.is_active(moment(at))]
    found = {one.workspace for one in active if one.workspace is None or name is None or one.workspace == name}
    lines = [] if None not in found else ["everything is still stopped: omixa resume --note TEXT"]
    return lines + [
        f"workspace {one} is still stopped: omixa resume --workspace {one} --note TEXT"
        for one in sorted(one for one in found if one is not None)
    ]
