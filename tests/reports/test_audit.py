"""`omixa audit`: every attempt whole, in words that cannot steer a terminal, never a key."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.commands.audit import STATES
from runner.ledger import tables
from runner.plan import digest
from runner.providers.provider import Evidence
from tests.reports.conftest import COMMIT, POSTERS, Books, parsed

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def listed(books: Books, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert books.omixa("audit", "list", "--json", *words) == 0
    return parsed(capsys.readouterr().out)


def shown(books: Books, capsys: pytest.CaptureFixture[str], attempt_id: int) -> dict[str, Any]:
    assert books.omixa("audit", "show", str(attempt_id), "--json") == 0
    return parsed(capsys.readouterr().out)


def test_the_states_offered_are_those_of_the_ledger() -> None:
    assert STATES == tables.STATES


def test_the_list_has_a_line_an_attempt_with_the_newest_last(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("audit", "list") == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert said.err == ""
    assert " ".join(lines[0].split()) == "id reserved at (UTC) state workspace recipe source billed open code"
    assert [line.split()[0] for line in lines[1:]] == [str(n) for n in range(1, 9)]
    assert lines[1] == (
        " 1  2026-10-31 22:59:59  settled   studio     posters  pictures/a.png  0.039000  0.000000  USD  billed"
    )
    assert lines[8] == (
        " 8  2026-11-09 12:00:00  unknown   lab        logos    pictures/h.png         –  0.700000  EUR  read-timeout"
    )


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--state", "unknown"], [3, 8]),
        (["--state", "reserved", "--state", "sent"], [5, 6]),
        (["--state", "released"], [4]),
        (["--workspace", "lab"], [7, 8]),
        (["--from", "2026-11-08", "--to", "2026-11-08"], [5, 6, 7]),
        (["--state", "unknown", "--workspace", "studio"], [3]),
        (["--limit", "2"], [7, 8]),
    ],
)
def test_the_list_can_be_narrowed(
    books: Books, capsys: pytest.CaptureFixture[str], words: list[str], ids: list[int]
) -> None:
    assert [one["id"] for one in listed(books, capsys, *words)["attempts"]] == ids


def test_a_limited_list_says_how_many_there_are(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("audit", "list", "--limit", "3") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4
    assert said.err == "the newest 3 of 8; --limit 8 lists all\n"
    assert listed(books, capsys, "--limit", "3")["found"] == 8
    assert books.omixa("audit", "list", "--limit", "0") == 2
    assert books.omixa("audit", "list", "--from", "2027-01-01") == 0
    assert capsys.readouterr().out == "no attempts\n"


def test_money_in_the_list_is_text_with_its_currency(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(books, capsys)
    assert found["schema"] == "omixa.audit.list/1"
    one = found["attempts"][6]
    assert (one["billed"], one["open"], one["currency"], one["day"]) == ("0.050001", "0.000000", "EUR", "2026-11-08")


def test_one_attempt_has_who_what_when_the_answer_the_money_and_its_entries(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(books, capsys, 1)
    assert found["schema"] == "omixa.audit.attempt/1"
    assert (found["id"], found["state"], found["workspace"], found["currency"]) == (1, "settled", "studio", "USD")
    assert found["money"] == {
        "reserved": "0.700000",
        "open": "0.000000",
        "billed": "0.039000",
        "billed_text": "0.039000",
        "breach": False,
    }
    assert found["times"]["day"] == "2026-10-31"
    assert found["times"]["sent_at"] == "2026-10-31T22:59:59.000000Z"
    run = found["run"]
    assert (run["who"], run["recipe_path"], run["git_commit"], run["git_dirty"]) == (
        "ana@desk",
        "recipes/posters.toml",
        COMMIT,
        False,
    )
    assert run["labels"] == {"client": "acme"}
    asked = found["asked"]
    assert (asked["prompt"], asked["negative_prompt"]) == ("Restore it.\nCarefully.", "text, watermark")
    assert asked["options"] == {"creativity": "0.3", "seed": "7"}
    assert (asked["source_digest"], asked["output_path"]) == ("a", "out/a.png")
    assert found["answer"] == {
        "code": "billed",
        "message": None,
        "status": 200,
        "request_id": "req-1",
        "headers": {"content-type": "application/json"},
        "body_head": '{"created": 1}',
    }
    assert found["result"] == {"digest": "r" * 64, "bytes": 4096, "width": 256, "height": 128, "remark": None}
    assert [(entry["kind"], entry["open"], entry["settled"]) for entry in found["entries"]] == [
        ("reserve", "0.700000", "0.000000"),
        ("sent", "0.000000", "0.000000"),
        ("settle", "-0.700000", "0.039000"),
    ]


@pytest.mark.parametrize(
    ("attempt_id", "held"),
    [(1, "0.000000"), (3, "0.700000"), (4, "0.000000"), (5, "0.700000"), (6, "0.700000")],
    ids=["settled", "unknown", "released", "reserved", "sent"],
)
def test_money_is_open_while_reserved_sent_or_unknown(
    books: Books, capsys: pytest.CaptureFixture[str], attempt_id: int, held: str
) -> None:
    money = shown(books, capsys, attempt_id)["money"]
    assert (money["reserved"], money["open"]) == ("0.700000", held)


def test_on_a_terminal_an_unknown_attempt_says_how_to_end_it(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("audit", "show", "3") == 0
    text = capsys.readouterr().out
    assert text.startswith("attempt 3 · unknown · workspace studio · USD\n\nmoney\n  reserved     0.700000\n")
    assert "  prompt           Restore it.\n                   Carefully.\n" in text
    assert "  labels         client = globex\n                 season = autumn\n" in text
    assert text.endswith("it may have been billed: omixa resolve 3 --billed AMOUNT | --not-billed --note TEXT\n")
    assert books.omixa("audit", "show", "1") == 0
    assert "omixa resolve" not in capsys.readouterr().out


def test_an_attempt_that_is_not_there_is_refused(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("audit", "show", "99") == 2
    assert "there is no attempt 99" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "9" * 30, "9223372036854775808", "١"])
def test_what_is_no_number_of_an_attempt_is_refused(
    books: Books, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        books.omixa("audit", "show", text)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


HOSTILE = "\x1b[31mred\x07 \u202eback \x9b2J"
KEY = "omx_live_abcdefghijklmnop"


@pytest.fixture
def hostile(books: Books) -> Books:
    """Attempt 9: everything that comes from outside tries to steer the terminal, and echoes a key."""
    evidence = Evidence(500, {"server": HOSTILE, "x-echo": KEY}, HOSTILE, f"{HOSTILE}\nBearer {KEY}\n=1+1")
    books.unknown(
        POSTERS,
        "i",
        NOON,
        message=f"{HOSTILE} {KEY}",
        evidence=evidence,
        source_path=f"pictures/{HOSTILE}.png",
        prompt=f"=cmd {HOSTILE}",
        prompt_digest="h" * 64,
        output_path=f"out/{KEY}.png",
    )
    return books


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--json"],
        ["show", "9"],
        ["show", "9", "--json"],
        ["export"],
        ["export", "--format", "csv"],
    ],
    ids=" ".join,
)
def test_nothing_from_outside_steers_the_terminal_and_no_key_leaves(
    hostile: Books, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert hostile.omixa("audit", *words) == 0
    text = capsys.readouterr().out
    assert "red" in text
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}
    assert KEY not in text


def test_the_export_has_every_attempt_whole_a_line_each(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("audit", "export") == 0
    lines = capsys.readouterr().out.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["id"] for record in records] == list(range(1, 9))
    assert records[2] == shown(books, capsys, 3)
    assert sum(len(record["entries"]) for record in records) == 8 + 7 + 6  # reserve, sent, and how it ended


def test_the_export_can_be_narrowed_and_goes_to_a_file(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    out = books.root / "audit.jsonl"
    assert books.omixa("audit", "export", "--state", "settled", "--to", "2026-11-01", "--out", str(out)) == 0
    assert capsys.readouterr().out == ""
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [1, 2]
    table = books.root / "audit.csv"
    assert books.omixa("audit", "export", "--out", str(table)) == 0
    assert table.read_text().startswith("id,")


def test_the_csv_export_has_a_row_an_attempt_and_no_formula(hostile: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert hostile.omixa("audit", "export", "--format", "csv") == 0
    text = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 10)]
    assert len(text.splitlines()) == 10
    assert rows[8]["asked.prompt"].startswith("'=cmd ")
    assert rows[0]["money.billed"] == "0.039000"
    assert rows[0]["money.open"] == "0.000000"
    assert rows[2]["money.billed"] == ""
    assert rows[2]["run.git_dirty"] == "yes"
    assert json.loads(rows[2]["run.labels"]) == {"client": "globex", "season": "autumn"}
    record = shown(hostile, capsys, 1)
    flat = {f"{section}.{name}" for section, part in record.items() if isinstance(part, dict) for name in part}
    assert set(rows[0]) == flat | {"id", "state", "workspace", "currency"}


def test_a_purged_prompt_leaves_the_rest_of_the_record(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    from sqlalchemy import delete

    with books.database.write_transaction() as connection:
        connection.execute(delete(tables.TEXTS))
    found = shown(books, capsys, 1)
    assert (found["asked"]["prompt"], found["asked"]["prompt_digest"]) == (None, digest("Restore it.\nCarefully."))


def test_an_action_is_needed(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        books.omixa("audit")
    assert ended.value.code == 2
    assert "list" in capsys.readouterr().err
