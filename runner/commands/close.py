"""`omixa close`: close a window for good, so that its reports do not change any more; list and check what is closed."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from runner.ledger.closed import Closing
    from runner.ledger.database import Database
    from runner.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.description = (
        "Close a month, quarter or year for good. Its snapshot is signed, the ledger refuses every change in it, and "
        "its reports are the same bytes from then on. What comes later is a correction in the window that is open "
        "then. Nothing opens a window again."
    )
    parser.add_argument("window", nargs="?", metavar="WINDOW", help="2026-10, 2026-Q3 or 2026; it must be over")
    parser.add_argument("--workspace", metavar="W", help="only this workspace (default: all that the ledger has)")
    parser.add_argument(
        "--out", metavar="DIR", help="also write snapshots and their signed notes, to be kept elsewhere"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="show what is closed")
    other.add_argument("--verify", action="store_true", help="check that what is closed is what was signed")
    parser.add_argument("--snapshot", metavar="FILE", help="with --verify: where the ledger differs from this file")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="with --verify: a verifier key")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(*, project: str | None, window: str | None, workspace: str | None, json: bool, **asked: Any) -> int:
    """Close a window, or tell of those that are closed."""
    from runner.errors import UsageError

    if asked["snapshot"] and not asked["verify"]:
        raise UsageError("`--snapshot` is for --verify", "to write a snapshot: omixa close WINDOW --out DIR")
    if window is None and not (asked["list"] or asked["verify"]):
        raise UsageError("which window?", "name a month that is over: omixa close 2026-10; --list shows what is closed")
    with reading.ledger(project) as (settings, database):
        name = reading.account(workspace, settings, database)
        if asked["list"]:
            return _list(database, name, window, as_json=json)
        if asked["verify"]:
            return _verify(settings, database, name, window, asked["snapshot"], asked["key"])
        assert window is not None
        return _close(settings, database, name, window, asked["out"], as_json=json)


# ---- close


def _close(
    settings: "Settings", database: "Database", name: str | None, label: str, out: str | None, *, as_json: bool
) -> int:
    from runner import __version__
    from runner.errors import ExitCode, FrozenError, UsageError
    from runner.identity import who
    from runner.ledger import closing, owners, usage, verify
    from runner.ledger.ends import ledger_uid
    from runner.settings import ledger_path
    from runner.windows import clock
    from runner.witness import signing_key

    closing.window_of(label, "UTC")  # before anything is read
    names = [name] if name is not None else sorted(usage.workspaces(database))
    if database.path is None or not names:
        raise UsageError("the ledger has nothing that could be closed", "`omixa run` makes it")
    key = signing_key(settings, ledger_uid(database))
    folder = ledger_path(settings).parent / "owners"
    closer = closing.Closer(database, _uptime())
    spans = {one: closing.window_of(label, _zone(settings, database, one)) for one in names}

    def is_living(uid: str) -> bool:
        return owners.is_held(folder, uid)

    closer.check(spans, at=clock(), is_living=is_living)
    sound = verify.verify(database)
    if sound.faults:
        raise FrozenError(
            f"the ledger is not what its chain says, so nothing is closed: {sound.faults[0]}",
            "`omixa audit verify` names every bad row; then a backup, or `omixa audit repair`",
        )
    told = []
    for one, window in spans.items():
        found, is_new = closer.close(
            one,
            window,
            closer.read(one, window),
            program=f"omixa-runner {__version__}",
            who=who(),
            at=clock(),
            sign=key.sign,
            is_living=is_living,
        )
        if out is not None:
            _write(database, found, Path(out))
        if not as_json:
            _say(database, found, is_new=is_new)
        told.append((found, is_new))
    _witness(settings, database)
    if as_json:
        _print([one for one, _ in told])
    return int(ExitCode.OK)


def _uptime() -> Any:
    from runner.ledger import clocks

    return clocks.uptime


def _zone(settings: "Settings", database: "Database", account: str) -> str:
    """The workspace's zone; of one that omixa.toml no longer has, the one that it was last closed with, or UTC."""
    from runner.ledger import closed

    declared = [one.time_zone for one in settings.workspaces.values() if one.account == account]
    return next(iter(declared + [one.zone for one in reversed(closed.closings(database, workspace=account))]), "UTC")


def _witness(settings: "Settings", database: "Database") -> None:
    """A checkpoint over the closing, so that whoever takes it out again is found. Without one it is closed as well."""
    from runner.errors import OmixaError
    from runner.windows import clock
    from runner.witness import Witness

    try:
        Witness(database, settings).write(at=clock())
    except OmixaError as error:
        print(f"warning: it is closed, but no checkpoint was written: {error.message}", file=sys.stderr)
        print(f"   = help: {error.hint or 'the next run writes one'}", file=sys.stderr)


def _say(database: "Database", one: "Closing", *, is_new: bool) -> None:
    from runner.ledger import closed
    from runner.money import exact
    from runner.terminal import clean, counted
    from runner.windows import local_text

    days = f"{one.first_day} to {one.last_day} {one.zone}"
    if not is_new:
        when = local_text(one.moment, one.zone)
        print(clean(f"{one.label} of workspace {one.workspace} is closed already: on {when} by {one.who}"))
        return
    totals = one.totals
    print(clean(f"closed {one.label} of workspace {one.workspace}: {days}"))
    print(
        f"  {counted(totals['attempts'], 'request')}: {totals['settled']} settled, {totals['released']} released, "
        f"{totals['open']} open; {exact(totals['settled_micros'])} {one.currency} settled, "
        f"{exact(totals['open_micros'])} {one.currency} open"
    )
    if totals["corrections"]:
        print(f"  with {counted(totals['corrections'], 'correction')} of windows that were closed before")
    print(f"  SHA-256 {one.digest}")
    waiting = closed.open_in(database, one)
    if waiting:
        print(f"  still open in it: attempt {', '.join(map(str, waiting[:10]))}{', …' if len(waiting) > 10 else ''}")
        print("  how they end will be a correction in the window that is open then; `omixa resolve` lists what waits")


def _write(database: "Database", one: "Closing", folder: Path) -> None:
    """The snapshot and its note; the same bytes each time. Raises DiskError."""
    from runner.errors import DiskError
    from runner.ledger import closed
    from runner.reports.output import output

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"`{folder}` cannot be made: {error.strerror}", "choose another place with --out") from error
    name = f"{one.label}-{one.workspace}"
    with output(str(folder / f"{name}.jsonl"), binary=True) as stream:
        for line in closed.snapshot(database, one):
            stream.write(line)
    with output(str(folder / f"{name}.note")) as stream:
        stream.write(one.note)
    print(f"wrote {folder / name}.jsonl and .note", file=sys.stderr)


# ---- tell and check


def _list(database: "Database", name: str | None, label: str | None, *, as_json: bool) -> int:
    from runner.errors import ExitCode
    from runner.ledger import closed
    from runner.money import exact
    from runner.terminal import table
    from runner.windows import local_text

    found = [one for one in closed.closings(database, workspace=name) if label in (None, one.label)]
    if as_json:
        _print(found)
        return int(ExitCode.OK)
    header = ["workspace", "window", "closed on", "by", "requests", "open", "settled", "", "SHA-256"]
    rows = [
        [
            one.workspace,
            one.label,
            local_text(one.moment, one.zone),
            one.who,
            str(one.totals["attempts"]),
            str(one.totals["open"]),
            exact(one.totals["settled_micros"]),
            one.currency,
            one.digest[:16],
        ]
        for one in found
    ]
    print(table(header, rows, right=(4, 5, 6)) if rows else "nothing is closed")
    return int(ExitCode.OK)


def _print(found: "list[Closing]") -> None:
    from json import dumps

    from runner.money import exact

    told = [
        {
            "workspace": one.workspace,
            "window": one.label,
            "from": one.first_day,
            "to": one.last_day,
            "zone": one.zone,
            "at": one.at,
            "who": one.who,
            "program": one.program,
            "currency": one.currency,
            **{name: one.totals[name] for name in ("attempts", "settled", "released", "open", "corrections")},
            "settled_amount": exact(one.totals["settled_micros"]),
            "open_amount": exact(one.totals["open_micros"]),
            "sha256": one.digest,
            "note": one.note,
        }
        for one in found
    ]
    print(dumps({"schema": "omixa.close/1", "closings": told}, indent=2))


def _verify(
    settings: "Settings",
    database: "Database",
    name: str | None,
    label: str | None,
    snapshot: str | None,
    keys: list[str],
) -> int:
    from runner.errors import ExitCode, UsageError
    from runner.ledger import closed
    from runner.terminal import clean, counted
    from runner.witness import known_keys

    wanted = [one for one in closed.closings(database, workspace=name) if label in (None, one.label)]
    if label is not None and not wanted:
        raise UsageError(f"`{label}` is not closed", "`omixa close --list` shows what is closed")
    if snapshot is not None and len(wanted) != 1:
        raise UsageError("which closing is the snapshot of?", "name one: --verify WINDOW --workspace W --snapshot FILE")
    faults = closed.faults(database, known_keys(settings, database, keys), wanted)
    if snapshot is not None:
        difference = closed.first_difference(database, wanted[0], _lines(snapshot))
        faults += [] if difference is None else [f"`{snapshot}` differs: {difference}"]
    for fault in faults:
        print(f"BAD  {clean(fault)}")
    if faults:
        print("\nwhat was closed is NOT what was signed")
        return int(ExitCode.FROZEN)
    print(f"sound: {counted(len(wanted), 'closing')}")
    return int(ExitCode.OK)


def _lines(file: str) -> list[bytes]:
    from runner.errors import UsageError

    try:
        return Path(file).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(
            f"`{file}` cannot be read: {error.strerror}", "--snapshot names a file of `omixa close --out`"
        ) from error
