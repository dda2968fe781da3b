"""Many processes on one ledger race to caps: each is filled exactly. The short form of `python -m tests.long.races`."""

import subprocess
import sys

import pytest

from tests.long.races import CROWDS, Race, Shop, drawn


# A process of its own: a fork wants a parent without threads, and a test runner may have some. This seed draws in its
# six rounds one and two workspaces, shared and own pictures, all kinds of caps, and ceilings at and above the price.
def test_2_8_and_16_processes_fill_each_cap_exactly() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.long.races", "--rounds", "6", "--seed", "290"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 filled each cap exactly, 0 did not" in done.stdout


def test_a_seed_draws_the_same_race_again() -> None:
    assert drawn(11, 8) == drawn(11, 8)
    assert drawn(11, 8) != drawn(12, 8)


def test_the_rounds_have_one_price_and_many_one_cap_and_stacked_ones() -> None:
    rounds = [drawn(seed, CROWDS[seed % 3]) for seed in range(300)]
    shops = [shop for round_ in rounds for shop in round_.shops]
    assert {len(round_.shops) for round_ in rounds} == {1, 2}
    assert {len(shop.recipe_caps) for shop in shops} == {1, 2}
    for trait in (
        [len(shop.prices) > 1 for shop in shops],
        [shop.ceiling > max(shop.prices) for shop in shops],
        [shop.run_cap is not None for shop in shops],
        [shop.shared for shop in shops],
        [shop.declines for shop in shops],
        [any(shop.recipe_caps) for shop in shops],
    ):
        assert 20 < sum(trait) < len(shops) - 20
    assert all(max(shop.prices) <= shop.ceiling for shop in shops)


# What fits is worked out by hand here, because the rounds are judged by it.
@pytest.mark.parametrize(
    ("cap", "price", "ceiling", "fits"),
    [
        (1_000_000, 39_000, 39_000, 25),
        (1_000_000, 39_000, 50_000, 25),
        (975_000, 39_000, 39_000, 25),
        (974_999, 39_000, 39_000, 24),
        (986_000, 39_000, 50_000, 25),
        (985_999, 39_000, 50_000, 24),
        (49_999, 39_000, 50_000, 0),
        (50_000, 39_000, 50_000, 1),
    ],
)
def test_what_fits_into_a_cap(cap: int, price: int, ceiling: int, fits: int) -> None:
    shop = Shop("studio", (price,), ceiling, cap, (None,), None, shared=False, declines=False)
    assert shop.fits(cap) == fits
    assert Race(1, (shop,), ((0, 0), (0, 0))).expected(0) == fits


def test_what_fits_under_stacked_caps() -> None:
    shop = Shop("studio", (10,), 10, 100, (30, None), 20, shared=False, declines=False)
    # Two runs of at most 2 pictures share a recipe with room for 3; another recipe has one run of 2.
    assert Race(1, (shop,), ((0, 0), (0, 0), (0, 1))).expected(0) == 5
