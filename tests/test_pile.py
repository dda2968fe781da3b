"""Long lists in little memory: the same values come out, in their order, on both sides of every border."""

import errno
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import pile
from runner.errors import DiskError
from runner.pile import FirstOf, InOrder, Pile

BORDERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pile, "HELD", 6)
    monkeypatch.setattr(pile, "BLOCK", 4)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", BORDERS)
def test_a_pile_gives_back_what_was_put_on_it(count: int) -> None:
    values = [
        (number, f"t\N{LATIN SMALL LETTER E WITH ACUTE} {number}", None, {"a": [number]}) for number in range(count)
    ]
    made = Pile(values)
    assert (list(made), len(made), list(made)) == (values, count, values)
    assert [made[at] for at in range(count)] == values
    assert [made[at - count] for at in range(count)] == values
    with pytest.raises(IndexError):
        made[count]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", BORDERS)
def test_a_part_of_a_pile_is_that_of_a_list(count: int) -> None:
    made, values = Pile(range(count)), list(range(count))
    for at in range(count + 2):
        assert list(made.part(at)) == values[at:]
        assert all(list(made.part(at, end)) == values[at:end] for end in range(count + 1))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [0, 1, 59, 60, 61, 119, 120, 121, 500])
def test_texts_come_back_in_the_order_of_their_names(count: int) -> None:
    texts = [f"{number * 7919 % 1000:03}\udcff\N{LATIN SMALL LETTER E WITH ACUTE}.png" for number in range(count)]
    made = InOrder()
    for text in texts:
        made.append(text)
    assert list(made) == list(made) == sorted(texts)


def test_very_many_texts_are_sorted_in_little_memory() -> None:
    tracemalloc.start()
    try:
        made = InOrder()
        for number in range(60_000):
            made.append(f"{number * 7919 % 60_000:06}.png")
        assert sum(1 for _ in made) == 60_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 1024 * 1024  # all of them take 4


def test_a_short_pile_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pile.tempfile, "TemporaryFile", None)
    assert len(Pile(range(pile.HELD - 1))) == pile.HELD - 1


@pytest.mark.usefixtures("small")
def test_the_file_of_a_pile_is_nowhere_to_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pile.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = Pile(range(100))
    assert list(made) == list(range(100))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_a_full_disk_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pile.os, "pwrite", full)
    with pytest.raises(DiskError, match="No space left") as caught:
        Pile(range(10))
    assert caught.value.hint is not None
    assert "TMPDIR" in caught.value.hint


@pytest.mark.usefixtures("small")
def test_a_disk_that_takes_a_part_at_a_time_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(pile.os, "pwrite", lambda file, data, at: write(file, data[:7], at))
    assert list(Pile(range(1000))) == list(range(1000))


@pytest.mark.parametrize("held", [0, 1, 2, 1000])
@given(names=st.lists(st.text(alphabet="0123456789abcdef", min_size=1, max_size=2), max_size=60))
def test_the_first_of_those_that_are_the_same_stays_the_first(held: int, names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pile, "HELD", held)
        made, known = FirstOf(), {}
        for number, name in enumerate(names):
            assert made.get(name) == known.get(name)
            if name not in known:
                known[name] = f"out/{number}"
                made.add(name, f"out/{number}")
        assert {name: made.get(name) for name in known} == known
