"""`omixa resolve` and `omixa resume`: only evidence moves money that is unknown, and the ledger keeps it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runner.commands.resolve import _age
from runner.ledger import usage
from runner.ledger.values import Cap
from tests.reports.conftest import MONTH, POSTERS, TOTAL, Books

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def waiting(empty_books: Books) -> Books:
    """Attempt 1 is unknown, in two budgets and that of its run, which is over."""
    of_run = Cap("run", POSTERS.uid, "run", 2_000_000)
    empty_books.unknown(POSTERS, "a", NOON, caps=(MONTH, TOTAL, of_run), message="no answer within 600 s")
    return empty_books


def attempt(books: Books, attempt_id: int = 1) -> dict[str, Any]:
    found = usage.attempt(books.database, attempt_id)
    assert found is not None
    return found


def test_billed_settles_and_says_what_each_window_has_left(waiting: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.omixa("resolve", "1", "--billed", "0.039", "--note", "invoice 2026-11, line 7") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (
        "attempt 1 is settled: 0.039 USD billed (0.700 USD were held)\n"
        "  month 2026-11 Europe/Berlin of workspace studio: 4.961 USD left of 5.000 USD\n"
        "  total of workspace studio: 499.961 USD left of 500.000 USD\n"
    )
    found = attempt(waiting)
    assert (found["state"], found["billed_micros"]) == ("settled", 39_000)
    entry = found["entries"][-1]
    assert (entry["kind"], entry["note"]) == ("settle", "billed 0.039000: invoice 2026-11, line 7")
    assert "@" in entry["who"]
    assert entry["who"] != "ana@desk"


def test_not_billed_releases_all_that_was_held(waiting: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.omixa("resolve", "1", "--not-billed", "--note", "the provider has no trace of it") == 0
    assert capsys.readouterr().out == (
        "attempt 1 is released, nothing was billed (0.700 USD were held)\n"
        "  month 2026-11 Europe/Berlin of workspace studio: 5.000 USD left of 5.000 USD\n"
        "  total of workspace studio: 500.000 USD left of 500.000 USD\n"
    )
    found = attempt(waiting)
    assert (found["state"], found["billed_micros"]) == ("released", None)
    assert found["entries"][-1]["note"] == "not billed: the provider has no trace of it"


def test_a_bill_of_zero_is_a_bill(waiting: Books) -> None:
    assert waiting.omixa("resolve", "1", "--billed", "0", "--note", "invoice says 0.00") == 0
    assert (attempt(waiting)["state"], attempt(waiting)["billed_micros"]) == ("settled", 0)


def test_a_bill_above_the_reservation_stops_the_workspace_until_it_is_resumed(
    waiting: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waiting.omixa("resolve", "1", "--billed", "0.9", "--note", "invoice") == 0
    said = capsys.readouterr()
    assert said.err == (
        "warning: that is more than was held, so workspace studio is stopped\n"
        "   = help: look into it, then: omixa resume --workspace studio --note TEXT\n"
    )
    assert usage.stopped(waiting.database, "studio", at=NOON) is not None

    assert waiting.omixa("resume", "--workspace", "studio", "--note", "price was raised; ceiling too") == 0
    assert capsys.readouterr().out == (
        "workspace studio goes on; it was stopped because attempt 1 was billed 0.900 USD, "
        "above its reservation of 0.700 USD\n"
    )
    assert usage.stopped(waiting.database, "studio", at=NOON) is None
    assert waiting.omixa("resume", "--workspace", "studio", "--note", "again") == 0
    assert capsys.readouterr().out == "workspace studio is not stopped; nothing was changed\n"


def test_resuming_is_an_entry_with_its_note(waiting: Books) -> None:
    from sqlalchemy import select

    from runner.ledger.tables import ENTRIES

    waiting.omixa("resolve", "1", "--billed", "0.9", "--note", "invoice")
    waiting.omixa("resume", "--workspace", "studio", "--note", "looked into it")
    with waiting.database.read() as connection:
        last = connection.execute(select(ENTRIES).order_by(ENTRIES.c.id.desc()).limit(1)).one()
    assert (last.kind, last.note, last.workspace, last.attempt_id) == ("resume", "looked into it", "studio", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1"], "was attempt 1 billed? say one of the two"),
        (["1", "--note", "x"], "was attempt 1 billed? say one of the two"),
        (["1", "--billed", "0.039"], "how do you know? the ledger keeps it"),
        (["1", "--not-billed", "--note", "  "], "how do you know? the ledger keeps it"),
        (["1", "--not-billed", "--note", "x" * 1001], "a note has at most 1000 characters, found 1001"),
        (["1", "--billed", "0,039", "--note", "x"], 'expected an amount such as "5.00", found "0,039"'),
        (["1", "--billed", "0.0390001", "--note", "x"], "at most six decimals can be billed"),
        (["1", "--billed", "", "--note", "x"], 'expected an amount such as "5.00", found ""'),
        (["--not-billed", "--note", "x"], "which attempt? its number is missing"),
        (["7", "--not-billed", "--note", "x"], "there is no attempt 7"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_is_changed(
    waiting: Books, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert waiting.omixa("resolve", *words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "= help: " in said.err or "1000" in message
    assert attempt(waiting)["state"] == "unknown"


def test_billed_and_not_billed_exclude_each_other(waiting: Books) -> None:
    with pytest.raises(SystemExit) as ended:
        waiting.omixa("resolve", "1", "--billed", "1", "--not-billed", "--note", "x")
    assert ended.value.code == 2


def test_only_an_unknown_attempt_can_be_resolved(waiting: Books, capsys: pytest.CaptureFixture[str]) -> None:
    sent = waiting.sent(POSTERS, "b", NOON)
    assert waiting.omixa("resolve", str(sent), "--not-billed", "--note", "x") == 2
    assert f"attempt {sent} is sent; only an unknown attempt can be resolved" in capsys.readouterr().err


def test_a_key_in_a_note_is_not_kept(waiting: Books) -> None:
    assert waiting.omixa("resolve", "1", "--not-billed", "--note", "asked with omx_live_abcdef") == 0
    assert "abcdef" not in str(attempt(waiting)["entries"])


def test_without_a_number_what_waits_is_listed(waiting: Books, capsys: pytest.CaptureFixture[str]) -> None:
    waiting.settled(POSTERS, "b", NOON, 39_000)
    waiting.unknown(POSTERS, "c", NOON, message="\x1b[2Jcut off")
    assert waiting.omixa("resolve") == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split() == ["id", "sent", "held", "workspace", "recipe", "output", "picture", "why"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "3"]
    assert lines[1].endswith("ago  0.700 USD  studio     posters  out/a.png  no       no answer within 600 s")
    assert lines[2].endswith("\\x1b[2Jcut off")
    assert said.err == "to end one: omixa resolve ID --billed AMOUNT | --not-billed --note TEXT\n"


def test_when_nothing_waits_that_is_said(empty_books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert empty_books.omixa("resolve") == 0
    assert capsys.readouterr().out == "no attempt is unknown\n"


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=59), "0 min ago"),
        (timedelta(minutes=61), "1 h 1 min ago"),
        (timedelta(hours=23, minutes=59), "23 h 59 min ago"),
        (timedelta(hours=24), "1 d 0 h ago"),
        (timedelta(seconds=-5), "0 min ago"),
    ],
)
def test_the_age_is_in_the_two_largest_units(passed: timedelta, text: str) -> None:
    assert _age("2026-11-20T12:00:00.000000Z", NOON + passed) == text


def test_a_project_without_a_ledger_has_nothing_to_resolve_and_gets_none(
    waiting: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (waiting.root / "omixa.toml").read_text()
    (waiting.root / "omixa.toml").write_text('[ledger]\nurl = "sqlite:///other/ledger.db"\n' + text)
    assert waiting.omixa("resolve") == 0
    assert waiting.omixa("resolve", "1", "--not-billed", "--note", "x") == 2
    assert waiting.omixa("resume", "--workspace", "studio", "--note", "x") == 0
    assert "workspace studio is not stopped" in capsys.readouterr().out
    assert not (waiting.root / "other").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workspace", "studi", "--note", "x"], "there is no workspace `studi`"),
        (["--workspace", "studio"], "why may it go on? the ledger keeps it"),
    ],
)
def test_resume_needs_a_workspace_that_exists_and_a_note(
    waiting: Books, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert waiting.omixa("resume", *words) == 2
    assert message in capsys.readouterr().err
