"""`omixa blame`: which request made a picture: recipe, commit and its author, prompt, options, price, run, slot."""

import argparse
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from pathlib import Path

    from runner.ledger.database import Database
    from runner.settings import Settings

SCHEMA = "omixa.blame/1"
DIGEST_MIN = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.description = (
        "Which request made a picture. The picture is known by its content, so it may have been renamed or moved; "
        "one that was changed is not known any more, but what was delivered to its place is."
    )
    parser.add_argument("picture", metavar="PICTURE", help="a file, or the SHA-256 of one (8 digits will do)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(*, project: str | None, picture: str, json: bool, **_: object) -> int:
    """Tell; 1 when no request of this ledger made it."""
    from json import dumps

    from runner.errors import ExitCode
    from runner.ledger import usage

    with reading.ledger(project) as (settings, database):
        file, digest = _digest(picture)
        found = [_record(attempt_id, settings, database) for attempt_id in usage.made(database, digest)]
        others = [] if found or file is None else _others(file, digest, settings, database)
    if json:
        told = {"schema": SCHEMA, "picture": picture, "digest": digest, "made_by": found, "instead": others}
        print(dumps(told, indent=2))
    else:
        print(_told(picture, digest, found, others))
    return int(ExitCode.OK if found else ExitCode.FAILED)


def _digest(picture: str) -> "tuple[Path | None, str]":
    """The file, if it is one, and the SHA-256 that is meant. Raises UsageError, DiskError."""
    from hashlib import file_digest
    from pathlib import Path
    from re import ASCII, fullmatch

    from runner.errors import DiskError, UsageError

    path = Path(picture)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return path, file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise DiskError(f"`{picture}` cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if fullmatch(rf"[0-9a-fA-F]{{{DIGEST_MIN},64}}", picture, ASCII):
        return None, picture.lower()
    raise UsageError(
        f"`{picture}` is no file, and not the SHA-256 of one",
        f"name a picture, or write at least {DIGEST_MIN} hexadecimal digits of its SHA-256",
    )


def _record(attempt_id: int, settings: "Settings", database: "Database") -> dict[str, Any]:
    """An attempt as `omixa audit show` has it, with the author of its commit."""
    from runner.identity import author_of
    from runner.ledger import usage
    from runner.reports import audit

    attempt = usage.attempt(database, attempt_id)
    assert attempt is not None
    told = audit.record(attempt, usage.workspaces(database)[attempt["workspace"]])
    del told["entries"]
    commit = told["run"]["git_commit"]
    author = None if commit is None else author_of(settings.root, commit)
    told["commit"] = None if author is None else {"author": author.name, "at": author.at, "subject": author.subject}
    return told


def _others(file: "Path", digest: str, settings: "Settings", database: "Database") -> list[dict[str, Any]]:
    """What is known of a file that no request made: what was delivered to its place, and who was sent it."""
    from runner.ledger import usage

    told: list[dict[str, Any]] = []
    try:
        place = file.resolve().relative_to(settings.root.resolve()).as_posix()
    except ValueError:
        place = None
    here = None if place is None else usage.delivered_to(database, place)
    if here is not None:
        told.append({"is": "changed", "attempt": _record(here, settings, database)})
    sent = usage.asked_with(database, digest)
    if sent:
        told.append({"is": "source", "attempts": sent})
    return told


def _told(picture: str, digest: str, found: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    from runner.terminal import clean, counted

    if found:
        several = len({one["result"]["digest"] for one in found}) > 1
        what = f"pictures whose SHA-256 begins with {digest}" if several else "this very picture"
        many = [f"{counted(len(found), 'request')} brought {what}"] if len(found) > 1 else []
        return "\n\n".join([*many, *(_story(one) for one in found)])
    lines = [f"no request of this ledger made {clean(picture)} (SHA-256 {digest})"]
    for other in others:
        if other["is"] == "changed":
            lines += ["", "it was changed since; what was delivered to its place:", _story(other["attempt"])]
        else:
            listed = ", ".join(map(str, other["attempts"][:10]))
            more = ", …" if len(other["attempts"]) > 10 else ""
            count = counted(len(other["attempts"]), "request")
            lines.append(f"it is a source picture: it was sent with {count}: {listed}{more}")
    return "\n".join(lines)


def _story(told: dict[str, Any]) -> str:
    """One attempt in words: what was asked, by whom, and what it cost."""
    from runner.terminal import clean

    asked, run, money, times = (told[section] for section in ("asked", "run", "money", "times"))
    recipe = f"{run['recipe']} ({run['recipe_path']})"
    if run["git_commit"] is not None:
        dirty = ", with changes that were not committed" if run["git_dirty"] else ""
        recipe += f" at commit {run['git_commit'][:12]}{dirty}"
    begun = f"slot {run['slot']}" if run["slot"] is not None else "by hand"
    pairs = [
        ("picture", f"{asked['output_path']} ({told['result']['width']} × {told['result']['height']})"),
        ("digest", told["result"]["digest"]),
        ("made from", f"{asked['source_path']} (SHA-256 {asked['source_digest']})"),
        ("recipe", recipe),
        *([("written by", "{author}, {at}: {subject}".format(**told["commit"]))] if told["commit"] else []),
        ("prompt", _prompt(asked["prompt_name"], asked["prompt"])),
        *([("without", asked["negative_prompt"])] if asked["negative_prompt"] else []),
        ("model", asked["model"]),
        ("options", ", ".join(f"{name} = {value}" for name, value in asked["options"].items()) or "–"),
        *([("preset", asked["preset_name"])] if asked["preset_name"] else []),
        ("price", f"{money['billed']} {told['currency']}, workspace {told['workspace']}, on {times['day']}"),
        ("attempt", f"{told['id']}: `omixa audit show {told['id']}` has all of it"),
        ("run", f"{run['uid']}, {begun}, by {run['who']}"),
    ]
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:{width}}  {clean(str(value))}" for name, value in pairs)


def _prompt(name: str, text: str | None) -> str:
    if text is None:
        return f"{name}: its text was purged"
    return f"{name}: {' '.join(text.split())}" if name else " ".join(text.split())
