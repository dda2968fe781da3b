"""Turns: every item is taken once, and what is made of a result comes after it and before what has not begun."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import turns as turns_module
from runner.plan import Draft, Item
from runner.turns import Turns


def item(name: str, *, origin: str | None = None, after: str | None = None) -> Item:
    made = Draft(
        source=None,
        source_path=origin or f"pictures/{name}",
        picture=None,
        fault=None,
        prompt_name="p",
        prompt="x",
        negative=None,
        preset_name="",
        options={},
        key=None if origin else f"key-{name}",
        output=Path("/project") / name,
        output_path=name,
        output_size=None,
        step="s",
        origin=origin,
        lineage=f"lineage-{name}" if origin else None,
    )
    return Item(made, "buy" if after is None else "restore", "new", after=after)


def drained(turns: Turns, results: dict[str, str | None] | None = None) -> list[str]:
    order = []
    while (one := turns.take(lambda: False)) is not None:
        order.append(one.draft.output_path)
        turns.ended(one, (results or {}).get(one.draft.output_path, f"digest-{one.draft.output_path}"))
    return order


def test_what_is_made_of_a_result_comes_next() -> None:
    turns = Turns([item("a"), item("a2", origin="a"), item("a3", origin="a2"), item("b"), item("b2", origin="b")])
    assert drained(turns) == ["a", "a2", "a3", "b", "b2"]
    assert list(turns.left()) == []


def test_what_shares_a_purchase_waits_for_it_also_on_its_way() -> None:
    twin = replace(item("b2", origin="b"), after="a2")
    turns = Turns([item("b", after="a"), twin, item("a"), item("a2", origin="a")])
    assert drained(turns) == ["a", "b", "a2", "b2"]


def test_a_result_that_did_not_come_is_told_to_what_is_made_of_it() -> None:
    turns = Turns([item("a"), item("a2", origin="a")])
    first = turns.take(lambda: False)
    assert first is not None
    turns.ended(first, None)
    second = turns.take(lambda: False)
    assert second is not None
    assert turns.result(second) is None


def test_what_came_in_an_earlier_round_is_known_in_the_next() -> None:
    first = Turns([item("a"), item("a2", origin="a")])
    assert drained(first) == ["a", "a2"]
    second = Turns([item("a3", origin="a")], first.results)
    last = second.take(lambda: False)
    assert last is not None
    assert second.result(last) == "digest-a"


def test_what_was_never_taken_is_left_in_the_order_of_the_plan() -> None:
    turns = Turns([item("a"), item("a2", origin="a"), item("b")])
    assert turns.take(lambda: False) is not None
    assert turns.take(lambda: True) is None
    assert [one.draft.output_path for one in turns.left()] == ["a2", "b"]


def test_a_worker_waits_for_a_result_that_may_still_come() -> None:
    turns = Turns([item("a"), item("a2", origin="a")])
    first = turns.take(lambda: False)
    assert first is not None
    taken: list[Item | None] = []
    other = threading.Thread(target=lambda: taken.append(turns.take(lambda: False)))
    other.start()
    turns.ended(first, "digest")
    other.join(timeout=10)
    assert [one.draft.output_path for one in taken if one is not None] == ["a2"]


def test_waiting_ends_when_the_run_does() -> None:
    turns = Turns([item("a"), item("a2", origin="a")])
    assert turns.take(lambda: False) is not None
    ending = threading.Event()
    taken: list[Item | None] = []
    other = threading.Thread(target=lambda: taken.append(turns.take(ending.is_set)))
    other.start()
    ending.set()
    other.join(timeout=10)
    assert taken == [None]


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30), st.integers(1, 4))
def test_every_item_is_taken_once_and_after_what_it_waits_for(shape: list[tuple[int, bool]], workers: int) -> None:
    """Any forest: item n is made of, or shares with, an item before it, or stands alone."""
    items = []
    for n, (of, shares) in enumerate(shape):
        parent = str(of) if of < n else None
        items.append(item(str(n), origin=None if shares else parent, after=parent if shares else None))
    turns, order, lock = Turns(items), [], threading.Lock()

    def work() -> None:
        while (one := turns.take(lambda: False)) is not None:
            with lock:
                order.append(one.draft.output_path)
            turns.ended(one, "digest")

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(order, key=int) == [str(n) for n in range(len(items))]
    for one in items:
        for before in {one.after, one.draft.origin} - {None}:
            assert order.index(str(before)) < order.index(one.draft.output_path)


@pytest.mark.parametrize("ahead", [1, 2, 3, 7])
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30), st.integers(1, 4))
def test_it_is_the_same_however_few_are_looked_at_ahead(
    ahead: int, shape: list[tuple[int, bool]], workers: int
) -> None:
    """A plan's order: what is made of a result stands right behind it; what shares a purchase, anywhere after it."""
    items, roots = [], 0
    for n, (of, shares) in enumerate(shape):
        if shares and of < n:
            items.append(item(str(n), after=items[of].draft.output_path))
            roots = n
        else:
            items.append(item(str(n), origin=str(roots) if n and of % 2 else None))
            roots = roots if n and of % 2 else n
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns_module, "AHEAD", ahead)
        turns, order, lock = Turns(iter(items), keep=False), [], threading.Lock()
        wrong = []

        def work() -> None:
            while (one := turns.take(lambda: False)) is not None:
                with lock:
                    order.append(one.draft.output_path)
                    if one.draft.awaits and turns.result(one) != f"digest-{one.draft.origin}":
                        wrong.append(one)
                turns.ended(one, f"digest-{one.draft.output_path}")

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert sorted(order, key=int) == [str(n) for n in range(len(items))]
    assert wrong == []
    # Nothing is kept of what is over.
    assert turns.results == {}


def test_how_an_item_ended_is_forgotten_when_nobody_waits_for_it() -> None:
    turns = Turns(iter([item("a"), item("a2", origin="a"), item("b"), item("b2", origin="b")]), keep=False)
    assert drained(turns) == ["a", "a2", "b", "b2"]
    assert turns.results == {}


def test_no_more_of_a_plan_is_held_than_is_looked_at_ahead() -> None:
    given_out = 0

    def plan() -> Iterator[Item]:
        nonlocal given_out
        for number in range(5 * turns_module.AHEAD):
            given_out += 1
            yield item(str(number))

    turns = Turns(plan())
    for _ in range(10):
        one = turns.take(lambda: False)
        assert one is not None
        turns.ended(one, None)
    assert given_out <= turns_module.AHEAD + 1
    assert len(list(turns.left())) == 5 * turns_module.AHEAD - 10
