"""`omixa resolve`: end an attempt whose answer never came, on a person's evidence; without ID, list them."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from runner.ledger.database import Database


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.description = (
        "An attempt is unknown when it may have been billed and the answer does not say. Its money stays held until "
        "somebody knows, from an invoice or from the provider. Without ID: list what waits."
    )
    parser.add_argument("id", type=reading.attempt_id, nargs="?", metavar="ID", help="number of the attempt")
    found = parser.add_mutually_exclusive_group()
    found.add_argument("--billed", metavar="AMOUNT", help="what it was billed, such as 0.039: settles it")
    found.add_argument("--not-billed", action="store_true", help="it was not billed: releases what is held")
    parser.add_argument("--note", metavar="TEXT", help="how you know; kept in the ledger")


def run(
    *,
    project: str | None,
    id: int | None,  # noqa: A002 - named as the argument is
    billed: str | None,
    not_billed: bool,
    note: str | None,
    **_: object,
) -> int:
    """Resolve one attempt, or list those that wait."""
    from runner.errors import ExitCode, UsageError
    from runner.windows import clock

    if id is None:
        if billed is not None or not_billed or note is not None:
            raise UsageError("which attempt? its number is missing", "`omixa resolve` lists those that wait")
        with reading.ledger(project) as (_settings, database):
            _list(database, clock())
        return int(ExitCode.OK)
    if billed is None and not not_billed:
        raise UsageError(
            f"was attempt {id} billed? say one of the two",
            f"omixa resolve {id} --billed AMOUNT --note TEXT, or omixa resolve {id} --not-billed --note TEXT",
        )
    billed_micros = None if billed is None else _amount(billed)
    kept = reading.note(note, "how do you know? the ledger keeps it")
    with reading.ledger(project) as (_settings, database):
        _resolve(database, id, billed_micros, kept, clock())
    return int(ExitCode.OK)


def _amount(text: str) -> int:
    from runner import money
    from runner.errors import UsageError

    try:
        return money.declared(text)
    except money.AmountError as error:
        raise UsageError(f"`--billed`: {error}", "write it like `--billed 0.039`, without the currency") from error


def _list(database: "Database", at: "datetime") -> None:
    from runner.ledger import usage
    from runner.money import show
    from runner.terminal import table

    currencies = usage.workspaces(database)
    waiting = list(usage.attempts(database, states=("unknown",)))
    if not waiting:
        print("no attempt is unknown")
        return
    rows = [
        [
            str(found["id"]),
            _age(found["sent_at"], at),
            show(found["reserved_micros"], currencies[found["workspace"]]),
            found["workspace"],
            found["recipe"],
            found["output_path"],
            "yes" if found["result_digest"] else "no",
            found["message"] or found["code"] or "–",
        ]
        for found in waiting
    ]
    print(table(["id", "sent", "held", "workspace", "recipe", "output", "picture", "why"], rows, right={0, 1, 2}))
    print("to end one: omixa resolve ID --billed AMOUNT | --not-billed --note TEXT", file=sys.stderr)


def _age(since: str, at: "datetime") -> str:
    """How long ago a moment of the ledger was: `3 d 4 h`."""
    from datetime import datetime

    minutes = max(0, int((at - datetime.fromisoformat(since)).total_seconds())) // 60
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h ago"
    return f"{hours} h {minutes % 60} min ago" if hours else f"{minutes} min ago"


def _resolve(database: "Database", attempt_id: int, billed_micros: int | None, note: str, at: "datetime") -> None:
    from runner.identity import who
    from runner.ledger import closed, usage
    from runner.ledger.ledger import Ledger
    from runner.money import show

    breach = Ledger(database).resolve(attempt_id, billed_micros=billed_micros, note=note, who=who(), at=at)
    found = usage.attempt(database, attempt_id)
    assert found is not None
    currency = usage.workspaces(database)[found["workspace"]]
    held = f"{show(found['reserved_micros'], currency)} were held"
    ended = (
        "released, nothing was billed" if billed_micros is None else f"settled: {show(billed_micros, currency)} billed"
    )
    print(f"attempt {attempt_id} is {ended} ({held})")
    corrected = closed.corrected_on(database, attempt_id)
    if corrected is not None:
        print(f"  the window of {found['day']} is closed, so reports show it as a correction on {corrected}")
    for room in usage.windows_of(database, attempt_id):
        print(f"  {room.name}: {show(room.left_micros, currency)} left of {show(room.cap_micros, currency)}")
    if breach:
        _say_stopped(found)


def _say_stopped(found: "Mapping[str, Any]") -> None:
    name = found["workspace"]
    print(f"warning: that is more than was held, so workspace {name} is stopped", file=sys.stderr)
    print(f"   = help: look into it, then: omixa resume --workspace {name} --note TEXT", file=sys.stderr)
