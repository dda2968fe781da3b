"""Writes small exports, as docs/audit-trail.md describes them: sound ones, and ones that somebody who can hash made."""

import base64
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from runner.trail.checkpoint import Checkpoint, SigningKey, append, origin
from runner.trail.merkle import Frontier
from runner.trail.payload import FIRST, Entry, encode, leaf_hash
from tests.trail.test_checkpoint import KEY

LEDGER = "5b2f0c1e9d3a4b77"
AT = "2026-11-22T16:47:{:02d}.000000Z"

# Chain, kind, attempt, open, settled, facts: each state, two chains, a breach, remarks about a workspace.
STORY: list[tuple[str, str, int | None, int, int, dict[str, Any]]] = [
    ("studio", "reserve", 1, 700_000, 0, {"recipe": "posters", "git_dirty": False}),
    ("studio", "sent", 1, 0, 0, {}),
    ("lab", "reserve", 2, 50_000, 0, {"recipe": "logos"}),
    ("studio", "reserve", 3, 700_000, 0, {"recipe": "posters"}),
    ("studio", "settle", 1, -700_000, 900_000, {"code": "picture", "billed_text": "0.9"}),
    ("studio", "breach", 1, 0, 0, {}),
    ("studio", "stop", None, 0, 0, {"until": None}),
    ("lab", "sent", 2, 0, 0, {}),
    ("lab", "unknown", 2, 0, 0, {"code": "read-timeout"}),
    ("studio", "release", 3, -700_000, 0, {"code": "not-sent"}),
    ("lab", "reserve", 4, 50_000, 0, {"recipe": "logos"}),
    ("lab", "sent", 4, 0, 0, {}),
    ("lab", "reserve", 5, 50_000, 0, {"recipe": "logos"}),
    ("lab", "settle", 2, -50_000, 0, {"code": "resolved"}),
    ("lab", "reserve", 6, 50_000, 0, {"recipe": "café \udce9"}),
    ("lab", "sent", 6, 0, 0, {}),
    ("lab", "unknown", 6, 0, 0, {"code": "reset"}),
]
STATES = {"reserve": "reserved", "sent": "sent", "unknown": "unknown", "settle": "settled", "release": "released"}


def chained(story: Iterable[Any], forged: Callable[[int, Entry], Entry]) -> Iterator[tuple[Entry, bytes]]:
    """The entries of a story with their payloads, each linked to the one before it in its chain, or as it is forged."""
    heads: dict[str, tuple[int, bytes]] = {}
    for number, (chain, kind, attempt, opened, settled, facts) in enumerate(story):
        seq, before = heads.get(chain, (0, FIRST))
        note = None if number % 3 else "why: “odd” \udce9"
        at = AT.format(number % 60)
        entry = Entry(LEDGER, chain, seq, before, at, kind, attempt, opened, settled, "anna@press-2", note, facts)
        entry = forged(number + 1, entry)
        payload = encode(entry)
        heads[chain] = (entry.seq + 1, leaf_hash(payload))
        yield entry, payload


def write_bundle_example(
    folder: Path,
    story: Iterable[Any] = STORY,
    *,
    key: SigningKey = KEY,
    every: int = 3,
    checkpoints: bool = True,
    altered: Callable[[dict[str, Any]], None] = lambda line: None,
    forged: Callable[[int, Entry], Entry] = lambda number, entry: entry,
) -> None:
    """Write the export of a story, with a checkpoint after every `every` entries of a chain.

    `altered` may change each line of entries.jsonl before it is written, `forged` each entry before it is hashed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trees: dict[str, Frontier] = {}
    heads: dict[str, dict[str, Any]] = {}
    attempts: dict[int, dict[str, Any]] = {}
    (folder / "checkpoints.txt").touch()
    with (folder / "entries.jsonl").open("w") as file:
        for number, (entry, payload) in enumerate(chained(story, forged), 1):
            leaf = leaf_hash(payload)
            tree = trees.setdefault(entry.chain, Frontier())
            tree.append(leaf)
            head = heads.setdefault(entry.chain, {"open_micros": 0, "settled_micros": 0})
            head["open_micros"] += entry.open_micros
            head["settled_micros"] += entry.settled_micros
            head |= {"size": tree.size, "root": base64.b64encode(tree.root()).decode(), "head": leaf.hex()}
            fold(attempts, entry)
            line = line_of(number, entry, payload)
            altered(line)
            print(json.dumps(line, separators=(",", ":")), file=file)
            if checkpoints and tree.size % every == 0:
                signed = key.sign(Checkpoint(origin(LEDGER, entry.chain), tree.size, tree.root(), entry.at))
                append(folder / "checkpoints.txt", signed)
    with (folder / "attempts.jsonl").open("w") as file:
        for attempt in attempts.values():
            print(json.dumps(attempt, separators=(",", ":")), file=file)
    whole = {"schema": "omixa.audit.bundle/1", "ledger": LEDGER, "chains": heads}
    (folder / "heads.json").write_text(json.dumps(whole, indent=1) + "\n")


def line_of(number: int, entry: Entry, payload: bytes) -> dict[str, Any]:
    copy = dataclasses.asdict(entry) | {"before": entry.before.hex()}
    return {
        "id": number,
        "chain": entry.chain,
        "seq": entry.seq,
        "hash": leaf_hash(payload).hex(),
        "payload": base64.b64encode(payload).decode(),
        "entry": copy,
    }


def fold(attempts: dict[int, dict[str, Any]], entry: Entry) -> None:
    """What the entries so far make of an attempt. Facts that come after its end are not part of it."""
    if entry.attempt_id is None or entry.kind not in STATES:
        return
    row = attempts.setdefault(
        entry.attempt_id,
        {"id": entry.attempt_id, "workspace": entry.chain, "reserved_micros": entry.open_micros, "billed_micros": None},
    )
    if row.get("state") in ("settled", "released"):
        return
    row |= {**entry.facts, "state": STATES[entry.kind]}
    if entry.kind == "settle":
        row["billed_micros"] = entry.settled_micros
