"""JSON that is written in pieces is the JSON that the standard library writes at once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.commands.json_pieces import json_pieces, print_json

PLAIN = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_pieces_are_what_the_standard_library_writes(value: Any) -> None:
    assert "".join(json_pieces(value)) == json.dumps(value, indent=2)


@given(st.lists(VALUES))
def test_whatever_can_be_gone_through_is_an_array(values: list[Any]) -> None:
    assert "".join(json_pieces({"items": iter(values)})) == json.dumps({"items": values}, indent=2)


def test_a_long_array_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"items": ({"at": at} for at in range(12_345))})
    assert [one["at"] for one in json.loads(capsys.readouterr().out)["items"]] == list(range(12_345))
