"""The items of a plan, packed: what comes out is what was put in."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import pile, shelf
from runner.images import Picture
from runner.item import Draft, Item, Paid
from runner.shelf import Shelf

TEXT = st.text(max_size=5)
MAYBE = st.none() | TEXT
# Shared by items, as those of a preset are.
OPTIONS = [{}, {"creativity": Decimal("0.30"), "seed": 7, "style": "x", "deep": True}, {"creativity": Decimal("0.3")}]
PATHS = st.sampled_from([Path("/p/a.png"), Path("/p/b c.png"), Path("/p/d/\N{SNOWMAN}.png"), Path("/a.png")])
PICTURES = st.builds(
    Picture,
    path=PATHS,
    digest=TEXT,
    size_bytes=st.integers(0, 2**40),
    media_type=TEXT,
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    has_alpha=st.booleans(),
    sixteen_bit=st.booleans(),
    needs_preparing=st.booleans(),
)
DRAFTS = st.builds(
    Draft,
    source=st.none() | PATHS,
    source_path=TEXT,
    picture=st.none() | PICTURES,
    fault=MAYBE,
    prompt_name=TEXT,
    prompt=TEXT,
    negative=MAYBE,
    preset_name=TEXT,
    options=st.sampled_from(OPTIONS),
    key=MAYBE,
    output=PATHS,
    output_path=TEXT,
    output_size=st.none() | st.integers(0, 2**40),
    provenance=st.booleans(),
    resembles=st.booleans(),
    step=st.sampled_from(["", "cut", "large"]),
    origin=MAYBE,
    lineage=MAYBE,
)
PAID = st.builds(Paid, attempt_id=st.integers(1, 2**40), date=TEXT, result_digest=MAYBE, result_bytes=st.none())
ITEMS = st.builds(
    Item,
    draft=DRAFTS,
    action=st.sampled_from(["buy", "restore", "skip", "hold", "unsuitable", "later"]),
    reason=TEXT,
    paid=st.none() | PAID,
    after=MAYBE,
)


@pytest.mark.parametrize("held", [0, 2, 1000])
@given(items=st.lists(ITEMS, max_size=9))
def test_items_come_back_as_they_were(held: int, items: list[Item]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (pile, shelf):
            patch.setattr(module, "HELD", held)
        patch.setattr(pile, "BLOCK", 2)
        made = Shelf(items)
        assert (list(made), len(made), made[1:-1]) == (items, len(items), items[1:-1])
        assert [made[at] for at in range(len(items))] == items
        assert list(made.of("buy", "hold")) == [item for item in items if item.action in ("buy", "hold")]
        assert list(made.lines) == [
            (item.action, item.draft.step, item.draft.source_path, item.draft.output_path, item.reason)
            for item in items
        ]
        assert made.how_many() == len(items)
        assert made.how_many("buy", step="cut", alone=True) == sum(
            item.action == "buy" and item.draft.step == "cut" and item.after is None for item in items
        )
        first = list(dict.fromkeys(item.action for item in items))
        assert list(made.actions) == first
        assert set(made.folders) == {str(item.draft.output.parent) for item in items}


def test_what_is_not_listed_is_counted() -> None:
    made = Shelf()
    made.add_unlisted(3, ["/out/a", "/out/b"])
    assert (made.how_many(), made.how_many("skip"), len(made), made.unlisted) == (3, 3, 0, 3)
    assert list(made.folders) == ["/out/a", "/out/b"]
