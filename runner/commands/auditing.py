"""`omixa audit verify`, `repair`, `key`, `purge` and the export of a bundle: the ledger's chain, checked and shown."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from runner.ledger.database import Database
    from runner.ledger.verify import Verified
    from runner.settings import Settings
    from runner.witness import Testimony

SEES = """\
What this sees: an entry, or a row of any table that entries speak of, that was changed, removed, added or moved;
balances that are not the sum of their entries. With checkpoints also a chain that was rewritten with all hashes made
anew, cut off, or put back to an older copy.
What it cannot see: what no checkpoint covers, when somebody rewrote the whole chain after it; checkpoints that were
removed, when no copy of them is at hand; anything by somebody who has the ledger's key and can change the
checkpoints too; a request that was never recorded. Those need the provider's invoice."""


def verify(project: str | None, *, files: list[str], keys: list[str], as_json: bool) -> int:
    """Check every entry, row and checkpoint; name the first bad one. Returns the exit code."""
    from json import dumps

    from runner.errors import ExitCode
    from runner.ledger import closed
    from runner.ledger import verify as checking
    from runner.ledger.ends import ledger_uid
    from runner.witness import known_keys

    with reading.ledger(project) as (settings, database):
        told = _testimony(settings, database, files, keys, ledger_uid(database))
        found = checking.verify(database, told.seen)
        wrong = [] if found.faults else closed.faults(database, known_keys(settings, database, keys))
    for fault in (*told.faults, *wrong):
        found.fault(fault)
    text = dumps(_json(found), indent=2) if as_json else _text(found, told)
    print(text)
    return int(ExitCode.FROZEN if found.faults else ExitCode.OK)


def _testimony(settings: "Settings", database: "Database", files: list[str], keys: list[str], uid: str) -> "Testimony":
    """What the checkpoints say, in the usual place and in the files, by the keys named or declared, or by our own."""
    from runner.errors import UsageError
    from runner.trail.checkpoint import VerifierKey
    from runner.witness import checkpoints_path, own_key, testimony

    known = [VerifierKey.parse(text) for text in (*settings.audit.keys, *keys)]
    if not known and database.path is not None:
        own = own_key(settings, uid)
        known = [] if own is None else [own]
        if own is not None:
            print("note: signatures are checked with the key beside the ledger", file=sys.stderr)
            print("   = help: note `omixa audit key` elsewhere, and write it into [audit] keys", file=sys.stderr)
    places = [Path(name) for name in files]
    for place in places:
        if not place.is_file():
            raise UsageError(f"there is no file `{place}`", "--checkpoints names a file of checkpoints")
    kept = checkpoints_path(settings)
    return testimony(([kept] if kept.exists() else []) + places, known, uid)


def _text(found: "Verified", told: "Testimony") -> str:
    from runner.money import exact
    from runner.terminal import clean, counted

    lines = [f"BAD  {clean(fault)}" for fault in found.faults]
    if lines:
        lines.append("\nthe ledger is NOT what its chain says; the first bad row is named above")
    else:
        lines.append(f"sound: {_entries(found.entries)}, {counted(found.checkpoints, 'checkpoint')}")
    for name, end in sorted(found.chains.items()):
        money = f"{exact(end.open_micros)} open, {exact(end.settled_micros)} settled"
        lines.append(f"  {name}: {_entries(end.frontier.size)}, {money}, head {end.head.hex()[:16]}")
    if told.others:
        lines.append(f"  {counted(told.others, 'checkpoint')} of other ledgers were passed over")
    return "\n".join([*lines, "", SEES])


def _entries(count: int) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


def _json(found: "Verified") -> dict[str, Any]:
    from base64 import b64encode

    return {
        "schema": "omixa.audit.verify/1",
        "sound": not found.faults,
        "faults": found.faults,
        "entries": found.entries,
        "checkpoints": found.checkpoints,
        "chains": {
            name: {"size": end.frontier.size, "root": b64encode(end.frontier.root()).decode(), "head": end.head.hex()}
            for name, end in sorted(found.chains.items())
        },
    }


def repair(project: str | None, note: str | None) -> int:
    """Make every balance anew from the attempts, when the chain is sound, and let a frozen ledger go on."""
    from runner.errors import ExitCode, FrozenError
    from runner.identity import who
    from runner.ledger import verify as checking
    from runner.ledger.ledger import Ledger
    from runner.terminal import clean
    from runner.windows import clock

    kept = reading.note(note, "what happened to the ledger? it keeps your answer")
    with reading.ledger(project) as (_, database):
        found = checking.verify(database, balances=False)
        faults = [fault for fault in found.faults if not fault.startswith("ledger_state: `frozen_reason`")]
        if faults:
            raise FrozenError(
                f"the chain is not sound, so balances cannot be made from it: {faults[0]}",
                "restore the newest backup whose chain is sound: `omixa audit verify` says so",
            )
        wrong = Ledger(database).repair(note=kept, who=who(), at=clock())
    for line in wrong:
        print(f"was: {clean(line)}")
    print("balances were made anew from the entries; the ledger goes on" if wrong else "nothing was wrong")
    return int(ExitCode.OK)


def key(project: str | None) -> int:
    """Print the verifier key of this ledger, for [audit] keys and for auditors."""
    from runner.errors import ExitCode
    from runner.ledger.ends import ledger_uid
    from runner.witness import signing_key

    with reading.ledger(project, create=True) as (settings, database):
        print(signing_key(settings, ledger_uid(database)).vkey)
    return int(ExitCode.OK)


def purge(project: str | None, before: str | None, note: str | None) -> int:
    """Remove the prompts of attempts reserved before a day, and what may quote them; the chain stays whole."""
    from runner.errors import ExitCode, UsageError
    from runner.identity import who
    from runner.ledger.ledger import Ledger
    from runner.reports.days import span
    from runner.terminal import counted
    from runner.windows import clock

    kept = reading.note(note, "why are prompts purged? the ledger keeps it")
    if before is None:
        raise UsageError(
            "which prompts?", "add --before DAY, as 2026-01-01: those of attempts reserved before that day"
        )
    day, _ = span(before, None)
    assert day is not None
    with reading.ledger(project) as (_, database):
        attempts, texts = Ledger(database).purge(before=day, note=kept, who=who(), at=clock())
        database.compact()
    print(f"purged {counted(texts, 'prompt')} of {counted(attempts, 'attempt')} before {day}; the chain is whole")
    print("not touched: raw answers in `raw` beside the ledger, and backups of older migrations", file=sys.stderr)
    return int(ExitCode.OK)


def bundle(project: str | None, out: str) -> int:
    """Write a folder that an auditor can check without this program: entries, attempts, checkpoints, verifier."""
    import json
    import shutil

    from runner.errors import DiskError, ExitCode, FrozenError, UsageError
    from runner.ledger import export
    from runner.ledger.ends import ledger_uid
    from runner.trail import verifier
    from runner.witness import checkpoints_path

    folder = Path(out)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise UsageError(f"`{folder}` is there already", "name a folder that is empty or not there yet")
    with reading.ledger(project) as (settings, database):
        heads: dict[str, dict[str, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with database.read() as connection:
                for name, rows in (
                    ("entries", export.entries(connection, heads)),
                    ("attempts", export.attempts(connection)),
                ):
                    with (folder / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                        for row in rows:
                            file.write(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n")
                uid = ledger_uid(database)
            whole = {"schema": "omixa.audit.bundle/1", "ledger": uid, "chains": heads}
            (folder / "heads.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            kept = checkpoints_path(settings)
            (folder / "checkpoints.txt").write_bytes(kept.read_bytes() if kept.exists() else b"")
            shutil.copyfile(verifier.__file__, folder / "verifier.py")
        except ValueError as error:
            raise FrozenError(
                f"the chain cannot be read: {error}", "`omixa audit verify` names the first bad row"
            ) from error
        except OSError as error:
            raise DiskError(
                f"`{folder}` cannot be written: {error.strerror or error}", "choose another place"
            ) from error
    entries = sum(head["size"] for head in heads.values())
    print(f"{_entries(entries)} in `{folder}`; to check them:")
    print(f"  python3 {folder / 'verifier.py'} {folder} --key VKEY --checkpoints FILE")
    return int(ExitCode.OK)
