"""`omixa blame`: which request made a picture: recipe, commit and its author, prompt, options, price, run, slot."""

import argparse
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from pathlib import Path

    from runner.images import Claim
    from runner.ledger.database import Database
    from runner.settings import Settings

SCHEMA = "omixa.blame/1"
DIGEST_MIN = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.description = (
        "Which request made a picture. The picture is known by its content, so it may have been renamed or moved. "
        "One that was written anew tells by its metadata, where the recipe has `provenance = true`; of any other that "
        "was changed only its place is known."
    )
    parser.add_argument("picture", metavar="PICTURE", help="a file, or the SHA-256 of one (8 digits will do)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(*, project: str | None, picture: str, json: bool, **_: object) -> int:
    """Tell; 1 when no request of this ledger made it."""
    from json import dumps

    from runner.errors import ExitCode
    from runner.ledger import usage

    with reading.ledger(project) as (settings, database):
        file, digests, claim = _looked_at(picture)
        made = [(usage.made(database, digest), digest) for digest in digests]
        numbers, digest = next((pair for pair in made if pair[0]), (made[-1][0], digests[-1]))
        says = None if claim is None else _judged(claim, numbers, database)
        if claim is not None and claim.attempt in numbers:
            numbers = [claim.attempt, *(number for number in numbers if number != claim.attempt)]
        found = [_record(number, settings, database) for number in numbers]
        others = [] if found or file is None else _others(file, digest, says, settings, database)
    if json:
        told = {"schema": SCHEMA, "picture": picture, "digest": digest, "says": says}
        print(dumps({**told, "made_by": found, "instead": others}, indent=2))
    else:
        print(_told(picture, digest, says, found, others))
    sure = found or any(other["is"] == "rewritten" and other["looks"] is None for other in others)
    return int(ExitCode.OK if sure else ExitCode.FAILED)


def _looked_at(picture: str) -> "tuple[Path | None, list[str], Claim | None]":
    """The file, if it is one; the SHA-256 that are meant: its own, and without its stamp; and what it says of itself.

    Raises UsageError, DiskError.
    """
    from pathlib import Path
    from re import ASCII, fullmatch

    from runner import images
    from runner.errors import DiskError, UsageError

    path = Path(picture)
    try:
        if path.is_file():
            return path, images.digests(path), images.claim(path)
    except (OSError, ValueError) as error:
        raise DiskError(f"`{picture}` cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if fullmatch(rf"[0-9a-fA-F]{{{DIGEST_MIN},64}}", picture, ASCII):
        return None, [picture.lower()], None
    raise UsageError(
        f"`{picture}` is no file, and not the SHA-256 of one",
        f"name a picture, or write at least {DIGEST_MIN} hexadecimal digits of its SHA-256",
    )


def _judged(claim: "Claim", made: list[int], database: "Database") -> dict[str, Any]:
    """What a picture says of itself, and what is to be thought of it: anybody can write into a picture.

    `is`: "so" when its content is what that attempt brought; "possible" when this ledger has that attempt, and it
    brought a picture; "not so"; or "of another ledger".
    """
    from runner.ledger import usage

    told = {"ledger": claim.ledger, "attempt": claim.attempt, "run": claim.run}
    if claim.ledger != usage.ledger_uid(database):
        return {**told, "is": "of another ledger", "why": "it is not this one"}
    attempt = usage.attempt(database, claim.attempt)
    if attempt is None:
        return {**told, "is": "not so", "why": "this ledger has no such attempt"}
    if claim.run not in (None, attempt["run"]["uid"]):
        return {**told, "is": "not so", "why": f"that attempt was of run {attempt['run']['uid']}"}
    if claim.attempt in made:
        return {**told, "is": "so", "why": None}
    if made:
        return {**told, "is": "not so", "why": "that attempt brought another picture"}
    if attempt["result_digest"] is None:
        return {**told, "is": "not so", "why": "that attempt brought no picture"}
    return {**told, "is": "possible", "why": None}


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


def _others(
    file: "Path", digest: str, says: dict[str, Any] | None, settings: "Settings", database: "Database"
) -> list[dict[str, Any]]:
    """What is known of a file that no request made: what it says, what was delivered to its place, who was sent it."""
    from runner import images, jobs
    from runner.errors import DiskError
    from runner.ledger import usage

    told: list[dict[str, Any]] = []
    if says is not None and says["is"] == "possible":
        record = _record(says["attempt"], settings, database)
        try:
            kept = jobs.results(settings).path(record["result"]["digest"])
            looks = "its kept result is gone" if kept is None else images.looks_wrong(kept, file)
        except DiskError as error:
            looks = error.message
        told.append({"is": "rewritten", "attempt": record, "looks": looks})
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


def _told(
    picture: str, digest: str, says: dict[str, Any] | None, found: list[dict[str, Any]], others: list[dict[str, Any]]
) -> str:
    from runner.terminal import clean, counted

    said = _said(says)
    if found:
        several = len({one["result"]["digest"] for one in found}) > 1
        what = f"pictures whose SHA-256 begins with {digest}" if several else "this very picture"
        many = [f"{counted(len(found), 'request')} brought {what}"] if len(found) > 1 else []
        return "\n\n".join([*many, *said, *(_story(one) for one in found)])
    lines = [f"no request of this ledger made {clean(picture)} (SHA-256 {digest})", *said]
    for other in others:
        if other["is"] == "rewritten":
            lines += ["", *_compared(other["looks"]), _story(other["attempt"])]
        elif other["is"] == "changed":
            lines += ["", "it was changed since; what was delivered to its place:", _story(other["attempt"])]
        else:
            listed = ", ".join(map(str, other["attempts"][:10]))
            more = ", …" if len(other["attempts"]) > 10 else ""
            count = counted(len(other["attempts"]), "request")
            lines.append(f"it is a source picture: it was sent with {count}: {listed}{more}")
    return "\n".join(lines)


def _said(says: dict[str, Any] | None) -> list[str]:
    """What the picture says of itself, where that is not plainly so."""
    if says is None or says["is"] == "so":
        return []
    told = f"its metadata says that it is attempt {says['attempt']} of ledger {says['ledger']}"
    return [told if says["why"] is None else f"{told}, but {says['why']}"]


def _compared(looks: str | None) -> list[str]:
    """Whether what it says can be: its content is not what was delivered, so only its looks can speak for it."""
    if looks is None:
        return ["it looks like what that attempt brought: it was written anew, or changed a little"]
    return [f"it does not look like what that attempt brought: {looks}", "what the ledger has of that attempt:"]


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
        ("made from", _source(asked)),
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
        *([("approved by", f"{run['approver']}, plan {run['approval']}")] if run["approver"] else []),
    ]
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:{width}}  {clean(str(value))}" for name, value in pairs)


def _source(asked: dict[str, Any]) -> str:
    if not asked["source_path"]:
        return "the prompt alone: its model takes no source picture"
    return f"{asked['source_path']} (SHA-256 {asked['source_digest']})"


def _prompt(name: str, text: str | None) -> str:
    if text == "" and not name:
        return "–"
    if text is None:
        return f"{name}: its text was purged"
    return f"{name}: {' '.join(text.split())}" if name else " ".join(text.split())
