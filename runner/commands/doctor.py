"""`omixa doctor`: whether everything that a run needs is in order. Opens no socket; changes nothing by itself."""

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.commands.checkup import Check

DISTRIBUTION = "omixa-runner"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--confirm-clock", action="store_true", help="say that this machine's clock is right")
    parser.add_argument("--note", metavar="TEXT", help="with --confirm-clock: how you know; kept in the ledger")


def run(*, project: str | None, json: bool, confirm_clock: bool, note: str | None, **_: object) -> int:
    """Check everything, show one line a check, and return the gravest failure's exit code."""
    from runner.errors import UsageError

    versions = packages()
    missing = [f"`{name}`" for name, version in versions.items() if version is None]
    if missing:
        # Nothing else could be imported.
        raise UsageError(
            f"this installation lacks {', '.join(missing)}", f"pip install --force-reinstall {DISTRIBUTION}"
        )
    if confirm_clock:
        _confirm_clock(project, note)
    elif note is not None:
        raise UsageError("`--note` belongs to --confirm-clock", "omixa doctor --confirm-clock --note TEXT")
    from runner.commands import checkup

    checks = checkup.examine(project, {name: version or "" for name, version in versions.items()})
    print(_json(checks) if json else _text(checks))
    return int(checkup.gravest(checks))


def _confirm_clock(project: str | None, note: str | None) -> None:
    from runner.commands import reading
    from runner.identity import who
    from runner.ledger.ledger import Ledger
    from runner.windows import clock

    kept = reading.note(note, "how do you know that the clock is right? the ledger keeps it")
    with reading.ledger(project, create=True) as (_, database):
        at = clock()
        Ledger(database).confirm_clock(note=kept, who=who(), at=at)
    print(f"the clock is confirmed: {at:%Y-%m-%d %H:%M:%S} UTC")


def packages() -> dict[str, str | None]:
    """The version of every package that this program needs here; None: not installed.

    A package that only some systems need is left out where it is not installed.
    """
    from importlib import metadata

    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, str | None] = {}
    for requirement in declared:
        words, _, condition = requirement.partition(";")
        if "extra" in condition:
            continue
        match = re.match(r"[A-Za-z0-9._-]+", words)
        assert match is not None
        try:
            found[match[0]] = metadata.version(match[0])
        except metadata.PackageNotFoundError:
            if not condition:
                found[match[0]] = None
    return found


def _json(checks: "list[Check]") -> str:
    from json import dumps

    shown = [
        {"name": check.name, "status": check.status, "message": check.message, "help": check.hint} for check in checks
    ]
    return dumps({"schema": "omixa.doctor/1", "checks": shown}, indent=2)


def _text(checks: "list[Check]") -> str:
    from runner.terminal import clean, counted

    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        status = "FAIL" if check.status == "fail" else check.status
        lines.append(f"{status:4}  {check.name:{width}}  {clean(check.message)}")
        if check.hint:
            lines.append(f"{'':{width + 6}}  = help: {clean(check.hint)}")
    failures = sum(check.status == "fail" for check in checks)
    warnings = sum(check.status == "warn" for check in checks)
    lines.append(f"\n{counted(len(checks), 'check')}: {counted(failures, 'failure')}, {counted(warnings, 'warning')}")
    return "\n".join(lines)
