"""Money is exact, and text from outside is read by a strict grammar (contract C19, B: Amounts)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import money


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("0.039000", 39_000),
        ("40.5", 40_500_000),
        ("999999999.999999", 999_999_999_999_999),
        ("0.0390001", 39_001),
        ("0.039000000000", 39_000),
        ("0.000000000001", 1),
        ("999999999.9999999", 1_000_000_000_000_000),
    ],
)
def test_a_billed_amount_is_read_exactly_and_rounds_up_beyond_six_decimals(text: str, micros: int) -> None:
    assert money.billed(text) == micros


@pytest.mark.parametrize(
    "value",
    [
        "",
        "NaN",
        "Infinity",
        "1E+1000000",
        "1e3",
        "-0.1",
        "+1",
        "0_039.0",
        "00.1",
        ".5",
        "5.",
        " 1",
        "1\n",
        "1,5",
        "٠.٣",
        "1000000000",
        "0.0000000000001",
        "0" * 25,
        "0.03900000000000000000000001",
        0.039,
        1,
        True,
        None,
        ["0.1"],
    ],
)
def test_anything_else_is_unreadable(value: object) -> None:
    assert money.billed(value) is None


def test_an_amount_a_person_declared_may_not_have_a_seventh_decimal() -> None:
    assert money.declared("0.000001") == 1
    with pytest.raises(money.AmountError, match="six decimals"):
        money.declared("0.0000011")


@pytest.mark.parametrize("value", [5, 0.5, True, "", "5 USD", "-1", "1e2"])
def test_an_amount_a_person_declared_must_be_text_of_the_grammar(value: object) -> None:
    with pytest.raises(money.AmountError):
        money.declared(value)


@given(st.integers(min_value=0, max_value=money.LIMIT_MICROS - 1))
def test_exact_text_reads_back_to_the_same_amount(micros: int) -> None:
    assert money.billed(money.exact(micros)) == micros


@given(st.text(max_size=30))
def test_no_text_raises(text: str) -> None:
    found = money.billed(text)
    assert found is None or 0 <= found <= money.LIMIT_MICROS


@pytest.mark.parametrize(
    ("micros", "text"), [(700_000, "0.700 USD"), (21_000, "0.021 USD"), (39_001, "0.039001 USD"), (-5, "-0.000005 USD")]
)
def test_a_message_shows_three_decimals_or_as_many_as_needed(micros: int, text: str) -> None:
    assert money.show(micros, "USD") == text
