"""What a plan must know of the ledger: what was bought and delivered, prices, windows, and how far the ledger has come.

In plain SQL, on the driver's connection: to load SQLAlchemy would take longer than to plan a small recipe.
"""

import json
import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from sys import intern
from typing import Any

from runner.images.unchanged import Moved, Position
from runner.ledger import standing
from runner.ledger.database import Database
from runner.ledger.values import Cap
from runner.plan import Before, Declined, Draft, Facts, Headroom, Live, Paid, Price

# Declined for what it is, not for when it was asked: asking again with the same input changes nothing (contract B).
DECLINED_FOR_GOOD = ("moderated",)

# How many of the newest bills the expected price is the median of.
MEDIAN_OF = 1001

# How many values one query asks for, in one JSON array.
CHUNK = 5000

# A table of what is asked for, joined with by index: one statement for any number, without a place for each of them.
# CROSS JOIN is SQLite's word for "in this order": otherwise it may go through all attempts to save itself the sorting.
_ASKED = "FROM json_each(:values) AS asked CROSS JOIN"
_DELIVERED = f"SELECT d.output_path, d.result_digest {_ASKED} deliveries AS d ON d.output_path = asked.value"
_SETTLED = (
    f"SELECT a.item_key, a.id, a.ended_at, a.result_digest, a.result_bytes {_ASKED} attempts AS a "
    "ON a.workspace = :workspace AND a.item_key = asked.value AND a.state = 'settled' "
    "ORDER BY a.result_digest IS NOT NULL, a.id"
)
# All of a workspace: only what is in flight or unknown has a live key.
_LIVE = "SELECT live_key, id, state FROM attempts WHERE workspace = :workspace AND live_key IS NOT NULL"
_DECLINED = (
    f"SELECT a.item_key, a.id, a.ended_at, a.message {_ASKED} attempts AS a "  # noqa: S608 - no input
    "ON a.workspace = :workspace AND a.item_key = asked.value AND a.state = 'released' "
    "AND a.code IN (SELECT value FROM json_each(:codes)) ORDER BY a.id"
)
_BEFORE = (
    "SELECT a.source_path, a.prompt_name, a.preset_name, a.source_digest, a.prompt_digest, a.negative_digest, "
    f"a.options, a.model, a.item_key {_ASKED} attempts AS a "
    "ON a.workspace = :workspace AND a.recipe = :recipe AND a.source_path = asked.value ORDER BY a.id"
)
_HIGHEST = "SELECT highest_micros FROM prices WHERE workspace = :workspace AND model = :model"
_NEWEST_BILLS = (
    "SELECT billed_micros FROM attempts WHERE workspace = :workspace AND model = :model AND state = 'settled' "
    "ORDER BY id DESC LIMIT :count"
)
_UID = "SELECT uid FROM ledger_state"
_HASH = "SELECT hash FROM entries WHERE id = :id"
_NEWEST_ENTRY = "SELECT id, hash FROM entries ORDER BY id DESC LIMIT 1"
_MOVED = (
    "SELECT DISTINCT a.item_key FROM entries AS e JOIN attempts AS a ON a.id = e.attempt_id "
    "WHERE e.id > :after AND e.id <= :upto"
)


def facts(
    database: Database,
    drafts: Sequence[Draft],
    *,
    workspace: str,
    recipe: str,
    model: str,
    declared_micros: int | None,
    zone: str,
    caps: Sequence[Cap],
    at: datetime,
    is_kept: Callable[[str], bool],
    is_same_file: Callable[[Path, str], bool],
) -> Facts:
    """What the ledger knows about these drafts, read in one consistent view.

    Refusals, and what was asked for before, only of drafts that are not settled: nobody asks it of the others. What was
    delivered only where something stands.
    """
    with database.looking() as raw:
        return _facts(
            raw,
            drafts,
            workspace,
            recipe,
            _price(raw, workspace, model, declared_micros),
            standing.headrooms(raw, workspace, zone, caps, at),
            is_kept,
            is_same_file,
        )


def facts_of(
    database: Database,
    drafts: Sequence[Draft],
    *,
    workspace: str,
    recipe: str,
    price: Price,
    windows: Sequence[Headroom],
    is_kept: Callable[[str], bool],
    is_same_file: Callable[[Path, str], bool],
) -> Facts:
    """As `facts`, where the price and the windows were read before: of one batch of many drafts."""
    with database.looking() as raw:
        return _facts(raw, drafts, workspace, recipe, price, windows, is_kept, is_same_file)


def moved(database: Database) -> Moved:
    """How far the ledger has come, and which items have been booked since it had come less far."""

    def hash_of(entry: int) -> bytes | None:
        with database.looking() as raw:
            row = raw.execute(_HASH, {"id": entry}).fetchone()
            return None if row is None else bytes(row[0])

    def keys(after: int, upto: int) -> Iterator[str]:
        with database.looking() as raw:
            for (key,) in raw.execute(_MOVED, {"after": after, "upto": upto}):
                yield key

    with database.looking() as raw:
        (uid,) = raw.execute(_UID).fetchone()
        newest = raw.execute(_NEWEST_ENTRY).fetchone()
    now = Position(uid, 0, b"") if newest is None else Position(uid, newest[0], bytes(newest[1]))
    return Moved(now, hash_of, keys)


def headrooms(database: Database, *, workspace: str, zone: str, caps: Sequence[Cap], at: datetime) -> list[Headroom]:
    """The windows of these caps that hold the moment `at`, or the latest reservation's when the clock has gone back.

    Caps are raised by what is granted.
    """
    with database.looking() as raw:
        return standing.headrooms(raw, workspace, zone, caps, at)


def price(database: Database, *, workspace: str, model: str, declared_micros: int | None) -> Price:
    """What one request of a model costs in a workspace."""
    with database.looking() as raw:
        return _price(raw, workspace, model, declared_micros)


def paid(database: Database, workspace: str, key: str) -> Paid | None:
    """The purchase of one item; None when it was not bought."""
    with database.looking() as raw:
        return _settled(raw, workspace, [key]).get(key)


def delivered(database: Database, output_path: str) -> str | None:
    """The digest of what was last delivered to an output path; None: nothing."""
    with database.looking() as raw:
        return _delivered(raw, [output_path]).get(output_path)


def _facts(
    raw: Any,
    drafts: Sequence[Draft],
    workspace: str,
    recipe: str,
    price: Price,
    windows: Sequence[Headroom],
    is_kept: Callable[[str], bool],
    is_same_file: Callable[[Path, str], bool],
) -> Facts:
    keys = {draft.key for draft in drafts if draft.key is not None}
    # In order, so that neighbours are found in the same page of the index.
    settled = _settled(raw, workspace, sorted(keys))
    others = keys - settled.keys()
    unpaid = [draft.source_path for draft in drafts if draft.key not in settled]
    return Facts(
        settled=settled,
        live=_live(raw, workspace, keys),
        declined=_declined(raw, workspace, sorted(others)),
        before=_before(raw, workspace, recipe, unpaid),
        delivered=_delivered(raw, [draft.output_path for draft in drafts if draft.output_size is not None]),
        price=price,
        windows=windows,
        is_kept=is_kept,
        is_same_file=is_same_file,
    )


def _in_chunks(raw: Any, query: str, values: Sequence[str], **names: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement that asks for `values`, which may be many."""
    for start in range(0, len(values), CHUNK):
        yield from raw.execute(query, {**names, "values": json.dumps(values[start : start + CHUNK])}).fetchall()


def _settled(raw: Any, workspace: str, keys: Sequence[str]) -> dict[str, Paid]:
    """By item key; of several purchases the newest that brought a picture."""
    rows = _in_chunks(raw, _SETTLED, keys, workspace=workspace)
    return {key: Paid(attempt, intern(ended_at[:10]), *result) for key, attempt, ended_at, *result in rows}


def _live(raw: Any, workspace: str, keys: Collection[str]) -> dict[str, Live]:
    rows = raw.execute(_LIVE, {"workspace": workspace})
    return {key: Live(attempt, state) for key, attempt, state in rows if key in keys}


def _declined(raw: Any, workspace: str, keys: Sequence[str]) -> dict[str, Declined]:
    rows = _in_chunks(raw, _DECLINED, keys, workspace=workspace, codes=json.dumps(DECLINED_FOR_GOOD))
    return {key: Declined(attempt, ended_at[:10], message or "") for key, attempt, ended_at, message in rows}


def _before(raw: Any, workspace: str, recipe: str, source_paths: Sequence[str]) -> dict[tuple[str, str, str], Before]:
    """The newest attempt at each place (source path, prompt name, preset name) of a recipe."""
    paths = list(dict.fromkeys(source_paths))
    rows = _in_chunks(raw, _BEFORE, paths, workspace=workspace, recipe=recipe)
    return {
        (source, prompt, preset): Before(of_source, of_prompt, of_negative, json.loads(options), model, key)
        for source, prompt, preset, of_source, of_prompt, of_negative, options, model, key in rows
    }


def _delivered(raw: Any, output_paths: Sequence[str]) -> dict[str, str]:
    return {path: digest for path, digest in _in_chunks(raw, _DELIVERED, output_paths)}  # noqa: C416 - not just pairs


def _price(raw: Any, workspace: str, model: str, declared_micros: int | None) -> Price:
    names = {"workspace": workspace, "model": model}
    highest = raw.execute(_HIGHEST, names).fetchone()
    billed = [micros for (micros,) in raw.execute(_NEWEST_BILLS, {**names, "count": MEDIAN_OF})]
    return Price(declared_micros, highest[0] if highest else None, statistics.median_low(billed) if billed else None)
