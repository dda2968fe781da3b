"""A provider's file is read to the micro-unit, or every problem in it is told, each with its place."""

import csv
import io
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.diagnostics import Problems
from runner.errors import UsageError
from runner.invoices import file
from runner.invoices.file import InvoiceFile, micros_of, read
from runner.settings import Invoice

HOW: dict[str, Any] = {
    **dict.fromkeys(
        ("workspace", "format", "rows", "delimiter", "time_format", "time_zone", "currency", "id", "model")
    ),
    "name": "omixa",
    "encoding": "utf-8",
    "time": "at",
    "amount": "amount",
    "decimal": ".",
    "only": {},
    "within": timedelta(minutes=2),
    "complete": False,
}
TEN = datetime(2026, 10, 3, 10, tzinfo=UTC)


def lines(folder: Path, text: str | bytes, name: str = "october.csv", **how: Any) -> InvoiceFile:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, Invoice(**{**HOW, **how}), "USD")


def said(folder: Path, text: str | bytes, name: str = "october.csv", **how: Any) -> list[str]:
    """The problems: place and message."""
    with pytest.raises(Problems) as raised:
        lines(folder, text, name, **how)
    return [f"{one.place.path if one.place else ''}{f':{one.place.line}' if one.place and one.place.line else ''} "
            f"{one.code}" for one in raised.value.problems]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "how"),
    [
        ("at,amount\n2026-10-03T10:00:00Z,0.039\n", "a.csv", {}),
        ("\ufeffat,amount\r\n\r\n2026-10-03T12:00:00+02:00, 0.039000 \r\n", "a.csv", {}),
        ('amount;"at"\n0,039;"03.10.2026 12:00"\n', "a.csv",
         {"delimiter": ";", "decimal": ",", "time_format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"}),
        ("at\tamount\n1791021600\t0.039\n", "a.tsv", {"time_format": "unix"}),
        ("at,amount\n2026-10-03T10:00:00Z,0.039\n".encode("utf-16"), "a.csv", {"encoding": "utf-16"}),
        ('at,amount,type\n2026-10-03T10:00:00Z,0.039,usage\n,12.00,tax\n', "a.csv", {"only": {"type": "usage"}}),
        ('{"at": "2026-10-03T10:00:00Z", "amount": 0.039}\n\n', "a.jsonl", {}),
        ('[{"at": "2026-10-03T10:00:00Z", "usage": {"amount": "0.039"}}]', "a.json", {"amount": "usage.amount"}),
        ('{"data": {"items": [{"at": 1791021600.000, "amount": "0.039"}]}}', "a.json",
         {"rows": "data.items", "time_format": "unix"}),
        ('{"at": "2026-10-03T10:00:00Z", "a.b": "0.039"}', "export", {"format": "jsonl", "amount": "a.b"}),
    ],
)  # fmt: skip
def test_a_line_says_the_same_in_every_spelling(tmp_path: Path, text: str | bytes, name: str, how: Any) -> None:
    found = lines(tmp_path, text, name, **how)
    assert [(line.micros, line.at) for line in found.lines] == [(39_000, micros_of(TEN))]


def test_ids_models_and_places_are_kept(tmp_path: Path) -> None:
    text = 'at,amount,id,model,note\n2026-10-03T10:00:00Z,-0.039,r-1,m,"two\nlines"\n2026-10-03T10:00:00Z,0.0,,,\n'
    found = lines(tmp_path, text, id="id", model="model").lines
    assert [(one.number, one.micros, one.id, one.model) for one in found] == [
        (2, -39_000, "r-1", "m"),
        (4, 0, None, None),
    ]


def test_beyond_six_decimals_is_rounded_up_as_bills_are_and_said(tmp_path: Path) -> None:
    found = lines(tmp_path, "at,amount\n2026-10-03T10:00:00Z,0.0390001\n2026-10-03T10:00:00Z,0.0390000\n")
    assert ([line.micros for line in found.lines], found.rounded) == ([39_001, 39_000], 1)


def test_lines_that_say_the_same_have_keys_of_their_own_whatever_their_order(tmp_path: Path) -> None:
    rows = ["2026-10-03T10:00:00Z,0.039", "2026-10-03T10:00:00Z,0.039", "2026-10-03T11:00:00Z,0.039"]
    first = {line.key for line in lines(tmp_path, "\n".join(["at,amount", *rows])).lines}
    second = {line.key for line in lines(tmp_path, "\n".join(["at,amount", *reversed(rows)]), "other.csv").lines}
    assert first == second
    assert len(first) == 3


@pytest.mark.parametrize(
    "amount",
    ["", "1,234.50", "$0.039", "0.039 USD", "1e-3", "0_039", ".5", "00.5", "+1", "--1", "NaN", "٣", "1" * 30, "-"],
)
def test_what_is_no_amount_is_refused_where_it_stands(tmp_path: Path, amount: str) -> None:
    text = f'at,amount\n2026-10-03T10:00:00Z,0.039\n2026-10-03T10:00:00Z,"{amount}"\n'
    code = "bad-amount" if amount else "missing-amount"
    assert said(tmp_path, text) == [f"october.csv:3:amount {code}"]


def test_all_problems_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    text = "at,amount,currency\n2026-10-03T10:00:00,x,EUR\nyesterday,0.039,USD\n2026-10-03T10:00:00Z,0.039\n"
    assert sorted(said(tmp_path, text, currency="currency")) == [
        "october.csv:2:amount bad-amount",
        "october.csv:2:at no-time-zone",
        "october.csv:2:currency other-currency",
        "october.csv:3:at bad-time",
        "october.csv:4 bad-line",
    ]


def test_a_hundred_problems_are_enough(tmp_path: Path) -> None:
    assert len(said(tmp_path, "at,amount\n" + "x,y\n" * 5000)) == 101


def test_a_column_that_is_not_there_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(Problems) as raised:
        lines(tmp_path, "created_at,amout,Id\n1,2,3\n", time="created", amount="amount", id="id", only={"kind": "x"})
    message = str(raised.value)
    assert "no column `amount`, which [invoices.omixa] names as `amount`" in message
    assert "did you mean `amout`? the file has: `created_at`, `amout`, `Id`" in message
    assert message.count("error[missing-column]") == 4


@pytest.mark.parametrize(
    ("text", "name", "how", "code"),
    [
        ("", "a.csv", {}, "a.csv:1 missing-column"),
        ("at,amount\n", "a.csv", {}, "a.csv empty-file"),
        ("at;amount\n1;2\n", "a.csv", {}, "a.csv:1 bad-delimiter"),
        ("at,amount,at\n1,2,3\n", "a.csv", {}, "a.csv:1 column-twice"),
        ('at,amount\n"1', "a.csv", {}, "a.csv bad-csv"),
        ("at,amount\n\0,1\n", "a.csv", {}, "a.csv:2:at bad-time"),
        (b"at,amount\n\xff,1\n", "a.csv", {}, "a.csv:2 bad-encoding"),
        ("{}", "a.json", {}, "a.json no-rows"),
        ('{"data": []}', "a.json", {"rows": "items"}, "a.json no-rows"),
        ("[1]", "a.json", {}, "a.json:1 bad-line"),
        ('[{"at": 1, "at": 2, "amount": 3}]', "a.json", {}, "a.json bad-json"),
        ('{"at": 1\n', "a.jsonl", {}, "a.jsonl:1 bad-json"),
        ("[" * 100_000, "a.json", {}, "a.json bad-json"),
        ('[{"at": {}, "amount": "1"}]', "a.json", {}, "a.json:1:at bad-value"),
        ('[{"at": "2026-10-03T10:00:00Z", "amount": true}]', "a.json", {}, "a.json:1:amount bad-amount"),
        ('[{"at": "2026-10-03T10:00:00Z", "amount": 3e-2}]', "a.json", {}, "a.json:1:amount bad-amount"),
        ('[{"at": "2026-10-03T10:00:00Z", "amount": "1"}]', "a.json", {"id": "id"}, "a.json:1 missing-column"),
        ("at,amount\n9999-12-31T23:59:59-23:59,1\n", "a.csv", {}, "a.csv:2:at bad-time"),
        ("at,amount\n99999999999,1\n", "a.csv", {"time_format": "unix"}, "a.csv:2:at bad-time"),
    ],
)
def test_a_file_that_is_no_such_file_is_told_in_words(
    tmp_path: Path, text: Any, name: str, how: Any, code: str
) -> None:
    assert code in said(tmp_path, text, name, **how)


def test_a_file_that_cannot_be_read_or_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "missing.csv", Invoice(**HOW), "USD")
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path, Invoice(**HOW), "USD")
    monkeypatch.setattr(file, "BYTES_MAX", 10)
    with pytest.raises(UsageError, match="larger than"):
        lines(tmp_path, "at,amount\n2026-10-03T10:00:00Z,0.039\n")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl"]),
    st.sampled_from([None, "unix", "%d.%m.%Y", "%", "%Z%z%j", "(["]),
    st.booleans(),
)
def test_no_file_ends_the_program_with_a_mistake_of_its_own(
    tmp_path: Path, data: bytes, name: str, time_format: str | None, headed: bool
) -> None:
    with suppress(Problems):
        lines(tmp_path, b"at,amount\n" * headed + data, name, time_format=time_format)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15), st.text(min_size=1, max_size=8)), min_size=1))
def test_csv_and_json_of_the_same_lines_say_the_same(tmp_path: Path, found: list[tuple[int, int, str]]) -> None:
    told = [
        {
            "at": (datetime(2001, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).isoformat(),
            "amount": f"{micros // 10**6}.{micros % 10**6:06d}",
            "id": name.strip() or "x",
        }
        for at, micros, name in found
        if not set(name) & set("\r\n\0")
        if not any("\ud800" <= letter <= "\udfff" for letter in name)
        if micros < 10**15
    ]
    if not told:
        return
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["at", "amount", "id"])
    writer.writeheader()
    writer.writerows(told)
    first = lines(tmp_path, out.getvalue(), "a.csv", id="id")
    second = lines(tmp_path, "\n".join(map(json.dumps, told)), "a.jsonl", id="id")
    assert [line.key for line in first.lines] == [line.key for line in second.lines]
