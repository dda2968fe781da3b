"""A commit that the ledger acknowledged survives a power cut. The short form of `python -m tests.long.power`."""

import random

import pytest

pytest.importorskip("apsw", reason="apsw has no wheel for this platform")

from tests.long.power import (
    FULL,
    NORMAL,
    OFF,
    Event,
    Removed,
    Synced,
    Truncated,
    Wrote,
    cuts,
    disk_after,
)


def test_no_acknowledged_commit_is_lost_in_a_power_cut() -> None:
    outcome = cuts(75, 5, FULL)
    assert (outcome.cuts, outcome.losing, outcome.wrong) == (75, 0, [])


def test_with_synchronous_normal_the_same_cuts_lose_acknowledged_commits() -> None:
    outcome = cuts(25, 5, NORMAL)
    assert outcome.losing > 0
    assert outcome.lost >= outcome.losing


def test_with_synchronous_off_a_power_cut_ruins_ledgers() -> None:
    """The ledger's own file is torn as well as its WAL, or this proof would not see a fold-back that syncs nothing."""
    assert cuts(25, 5, OFF).ruined > 0


def contents(events: list[Event], before: bytes) -> set[bytes | None]:
    """All that a disk was seen to hold of one file."""
    return {disk_after(events, {"f": before}, random.Random(seed)).get("f") for seed in range(200)}


def test_a_disk_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    old, new = b"a" * 1024, b"b" * 1024
    torn = {b"a" * 512 + b"b" * 512, b"b" * 512 + b"a" * 512}
    assert contents([Wrote("f", 0, new)], old) == {old, new} | torn
    assert contents([Wrote("f", 0, new), Synced("f")], old) == {new}
    assert contents([Wrote("f", 0, new), Synced("other")], old) == {old, new} | torn
    assert contents([Truncated("f", 512)], old) == {old, old[:512]}
    assert contents([Removed("f")], old) == {old, None}
    assert contents([Removed("f"), Synced("f")], old) == {None}
