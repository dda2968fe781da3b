"""The tree is that of RFC 6962, for every size, and can be put down and taken up again."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.trail.merkle import Frontier
from runner.trail.payload import leaf_hash

# The eight leaves and the roots of the first n of them, from the test suite of Certificate Transparency.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:half]) + naive_root(leaves[half:])).digest()


def of(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf_hash(leaf))
    return frontier


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_the_published_ones(size: int) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in LEAVES[:size]]
    assert of(leaves).root().hex() == ROOTS[size]
    assert naive_root(leaves).hex() == ROOTS[size]


def test_the_roots_are_those_of_the_rfc_at_every_size_up_to_300() -> None:
    frontier, leaves = Frontier(), []
    for number in range(300):
        leaves.append(b"leaf %d" % number)
        frontier.append(leaf_hash(leaves[-1]))
        assert frontier.size == number + 1
        assert frontier.root() == naive_root(leaves)


@given(st.lists(st.binary(max_size=40), max_size=80), st.lists(st.binary(max_size=40), max_size=80))
def test_a_tree_that_was_put_down_goes_on_as_if_it_never_was(first: list[bytes], then: list[bytes]) -> None:
    kept = of(first).to_bytes()
    frontier = Frontier.from_bytes(kept)
    assert frontier.to_bytes() == kept
    assert (frontier.size, frontier.root()) == (len(first), naive_root(first))
    for leaf in then:
        frontier.append(leaf_hash(leaf))
    assert frontier.root() == naive_root(first + then)
    assert frontier.to_bytes() == of(first + then).to_bytes()


def test_a_copy_grows_apart() -> None:
    frontier = of([b"a", b"b", b"c"])
    other = frontier.copy()
    other.append(leaf_hash(b"d"))
    assert (frontier.size, frontier.root()) == (3, naive_root([b"a", b"b", b"c"]))
    assert (other.size, other.root()) == (4, naive_root([b"a", b"b", b"c", b"d"]))


def test_the_edge_of_a_million_leaves_is_small() -> None:
    full = (2**20 - 1).to_bytes(8, "big") + bytes(32 * 20)
    frontier = Frontier.from_bytes(full)
    frontier.append(bytes(32))
    assert len(frontier.to_bytes()) == 8 + 32


@given(st.integers(0, 200), st.binary(min_size=1, max_size=64))
def test_an_edge_of_another_length_is_refused(size: int, more: bytes) -> None:
    kept = of([b""] * size).to_bytes()
    for bad in (kept + more, kept[: -len(more)]):
        with pytest.raises(ValueError, match=r"^the edge of a tree of \d+ leaves takes \d+ bytes, got \d+$"):
            Frontier.from_bytes(bad)


def test_a_leaf_is_added_by_its_hash() -> None:
    for bad in (b"", b"leaf", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match=r"^expected a hash of 32 bytes, got \d+$"):
            Frontier().append(bad)
    assert Frontier().root() == hashlib.sha256(b"").digest()


@given(st.lists(st.lists(st.binary(min_size=32, max_size=32), max_size=40), max_size=5))
def test_many_leaves_at_once_are_as_one_after_the_other(parts: list[list[bytes]]) -> None:
    one, many = Frontier(), Frontier()
    for part in parts:
        many.extend(part)
        for leaf in part:
            one.append(leaf)
        assert (many.to_bytes(), many.root()) == (one.to_bytes(), one.root())
    with pytest.raises(ValueError, match="32 bytes"):
        many.extend([b"short"])
    assert many.to_bytes() == one.to_bytes()
