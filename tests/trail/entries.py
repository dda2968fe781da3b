"""Entries as a ledger would write them, and entries as nobody would."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from runner.trail.payload import FIRST, Entry

# Everything that a text can be in Python, lone surrogates too.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
WHOLE = st.integers(-(2**63), 2**63 - 1)
KEYS = st.text(st.characters(exclude_categories=()), max_size=8)


def without_pairs(text: str) -> bool:
    """No two surrogates in a row: JSON writes those like the one character that they stand for."""
    return text == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS.filter(without_pairs),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS.filter(without_pairs), inner, max_size=4),
    max_leaves=12,
)
FACTS = st.dictionaries(KEYS.filter(without_pairs), JSON, max_size=6)


@st.composite
def any_entry(draw: st.DrawFn) -> Entry:
    """Any entry that can be written."""
    seq = draw(st.integers(0, 2**63 - 1))
    return Entry(
        ledger=draw(TEXTS),
        chain=draw(TEXTS),
        seq=seq,
        before=FIRST if seq == 0 else draw(st.binary(min_size=32, max_size=32)),
        at=draw(TEXTS),
        kind=draw(TEXTS),
        attempt_id=draw(st.none() | st.integers(0, 2**63 - 1)),
        open_micros=draw(WHOLE),
        settled_micros=draw(WHOLE),
        who=draw(TEXTS),
        note=draw(st.none() | TEXTS),
        facts=draw(FACTS),
    )


RESERVED = Entry(
    ledger="5b2f0c1e9d3a4b77",
    chain="studio",
    seq=7,
    before=bytes(range(32)),
    at="2026-11-22T16:47:00.123456Z",
    kind="reserve",
    attempt_id=3,
    open_micros=700_000,
    settled_micros=0,
    who="anna@press-2",
    note=None,
    facts={
        "recipe": "posters",
        "model": "stability-upscale-creative",
        "git_commit": "16f9982ad5f3c1f6a6a5d3f0a9f1b4e1a2b3c4d5",
        "git_dirty": False,
        "item_key": "a5" * 32,
        "source_path": "pictures/scans/harbour-dusk.jpg",
        "source_digest": "c3" * 32,
        "prompt": "7e" * 32,
        "windows": ["day 2026-11-22 Europe/Berlin", "month 2026-11 Europe/Berlin"],
    },
)


def with_(**changed: Any) -> Entry:
    """The example entry with some fields changed."""
    return replace(RESERVED, **changed)
