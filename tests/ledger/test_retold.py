"""What is made anew from rows is, byte for byte, what was hashed when the entries were written; and of no other row."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runner.ledger import chain, verify
from runner.ledger.database import driver_of, open_database, sqlite_module
from runner.ledger.ledger import Ledger
from runner.ledger.lives import Lives
from runner.ledger.multiset import Standing
from runner.ledger.retold import BOUGHT, COLUMNS, Retelling, Retold, keyed
from runner.ledger.tables import ATTEMPTS
from runner.ledger.usual import Usual
from runner.ledger.values import Cap, Reserved, Result
from runner.plan import digest
from runner.providers.provider import Evidence
from tests.ledger.conftest import RUN, Desk, asked, no_uptime

# Whatever a ledger can hold: SQLite takes no lone surrogates. Quotes, controls and what JSON escapes come often.
TEXTS = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from('"\\/\0\b\t\n\x1f\x7f\x80ÿ\u2028\ufeff\uffff😀[]{},:'),
    max_size=12,
)
MAYBE = st.none() | TEXTS
WHOLE = st.integers(0, 2**53)
EVIDENCE = st.none() | st.builds(Evidence, st.none() | WHOLE, st.dictionaries(TEXTS, TEXTS, max_size=2), MAYBE, TEXTS)
RESULT = st.none() | st.builds(Result, TEXTS, WHOLE, WHOLE, WHOLE, MAYBE, st.booleans())
LIFE = st.fixed_dictionaries(
    {
        "ends": st.sampled_from(["reserved", "sent", "settle", "settle", "release", "unsent", "unknown"]),
        "asked": st.fixed_dictionaries(
            {
                **dict.fromkeys(("source_path", "source_digest", "prompt_name", "preset_name"), TEXTS),
                **dict.fromkeys(("prompt", "options", "output_path", "model"), TEXTS),
                "negative": MAYBE,
                "source_bytes": WHOLE,
            }
        ),
        "code": TEXTS,
        "message": MAYBE,
        "evidence": EVIDENCE,
        "result": RESULT,
        "note": MAYBE,
        "who": TEXTS,
        "billed_text": MAYBE,
        "billed": st.integers(0, 39_000),
        "caps": st.sets(st.sampled_from(["day", "week", "month", "total"])),
    }
)


def live(desk: Desk, item_key: str, life: dict[str, Any]) -> None:
    """One attempt, by the functions that book real ones."""
    ledger, at = desk.ledger, desk.at
    caps = [Cap("workspace", "", period, 10**12) for period in sorted(life["caps"])]
    prompt, negative = life["asked"]["prompt"], life["asked"]["negative"]
    digests = {"prompt_digest": digest(prompt), "negative_digest": None if negative is None else digest(negative)}
    wanted = asked(item_key, **life["asked"], **digests)
    held = ledger.reserve(desk.run_id, desk.run, wanted, amount_micros=39_000, caps=caps, at=at, again=True)
    if not isinstance(held, Reserved):  # the first of a price is under way, or this item is
        return
    number, who = held.attempt_id, life["who"]
    if life["ends"] not in ("reserved", "unsent"):
        ledger.sent(number, who=who, at=at)
    came = {name: life[name] for name in ("code", "message", "evidence", "who")} | {"at": at}
    match life["ends"]:
        case "settle":
            bill = {"billed_micros": life["billed"], "billed_text": life["billed_text"], "note": life["note"]}
            ledger.settle(number, result=life["result"], **bill, **came)
        case "release" | "unsent":
            ledger.release(number, note=life["note"], **came)
        case "unknown":
            ledger.unknown(number, result=life["result"], **came)


# Making an example smaller takes minutes of opening ledgers, and these are small.
@settings(max_examples=60, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(st.lists(st.tuples(TEXTS, LIFE), max_size=5), TEXTS)
def test_every_usual_life_is_told_anew_to_the_byte(lives: list[tuple[str, dict[str, Any]]], workspace: str) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        open_database(Path(name) / "home" / "ledger.db", create=True) as database,
    ):
        desk = Desk(Ledger(database, uptime=no_uptime), replace(RUN, workspace=workspace), seen=False)
        for item_key, life in lives:
            live(desk, item_key, life)
            desk.pass_time(minutes=1)
        with database.read() as connection:
            assert lives_left(connection) == []
        assert verify.verify(database).faults == []


def lives_left(connection: Any) -> list[int] | None:
    """The attempts that reading must look at."""
    who_am_i, found = chain.identity(connection), verify.Verified()
    tables = verify._Tables(connection, found)
    followed = Lives(driver_of(connection), who_am_i.key, tables.delivered)
    verify._chains(connection, who_am_i, tables, followed, found, (), reading=False)
    assert found.faults == []
    left, _ = followed.left()
    return left


def test_usual_entries_are_followed_and_not_taken_apart(desk: Desk) -> None:
    """Two that were bought, one after the other and side by side; a checkpoint on the way stops it."""
    came = {"evidence": None, "code": "billed", "message": None, "at": desk.at, "who": "ana@desk"}
    bill = {"billed_micros": 5, "billed_text": "0.000005"}
    one = desk.send("a")
    desk.ledger.settle(one, result=None, **bill, **came)
    one, other = desk.send("b"), desk.send("c")
    desk.ledger.settle(one, result=Result("e" * 64, 1000, 64, 64, None, True), **bill, **came)
    desk.ledger.release(other, note="declined", **{**came, "code": "declined"})
    with desk.ledger.database.read() as connection:
        raw, who_am_i = driver_of(connection), chain.identity(connection)
        rows = raw.execute(verify._ENTRIES).fetchall()
        first = next(at for at, row in enumerate(rows) if row[3] == "reserve")
        size, head = rows[first][8], rows[first - 1][11] if rows[first][8] else bytes(32)
        for until in (None, size + 4):
            usual = Usual(who_am_i.uid, Lives(raw, who_am_i.key, Standing()))
            found = usual.follow(rows, first, first + 1, rows[first][0], size, head, until)
            whole = len(rows) - first if until is None else 4
            assert found.leaves == [row[11] for row in rows[first : first + whole]]
            assert found.open_micros == sum(row[4] for row in rows[first : first + whole])
            assert found.settled_micros == sum(row[5] for row in rows[first : first + whole])


def test_of_an_attempt_that_was_reserved_twice_nothing_is_believed(desk: Desk) -> None:
    desk.send("a")
    with desk.ledger.database.read() as connection:
        lives = Lives(driver_of(connection), chain.identity(connection).key, Standing())
        begun = lives.begun(1)
        assert begun is not None
        life, held = begun
        facts = f"{life.reserve[0]}{held}{life.reserve[1]}"
        assert not lives.tells(4, desk.at.isoformat(), 1, "reserve", 39_000, 0, facts.replace("reserved", "preserved"))
        assert lives.begun(1) is None
        assert not lives.tells(5, desk.at.isoformat(), 1, "reserve", 39_000, 0, facts)
        assert lives.left()[0] == [1]


# ---- only of that row

ROWS = st.fixed_dictionaries(
    {
        **dict.fromkeys(COLUMNS, TEXTS),
        **dict.fromkeys(("run_id", "source_bytes", "reserved_micros"), WHOLE),
        **dict.fromkeys(("billed_micros", "result_bytes", "result_width", "result_height"), st.none() | WHOLE),
        **dict.fromkeys(("negative_digest", "billed_text", "message", "request_id", "headers", "remark"), MAYBE),
        **dict.fromkeys(("body_head", "result_digest", "sent_at", "ended_at", "live_key", "code"), MAYBE),
        "status": st.none() | WHOLE,
        "breach": st.integers(0, 1),
        "state": st.sampled_from(["reserved", "sent", "unknown", "settled", "released"]),
    }
)
SETTLED = {"live_key": None, "state": "settled", "ended_at": "then", "billed_micros": 5}
BOUGHT_ONE = {**SETTLED, "result_digest": "\x7fé😀", "headers": "{}", "body_head": "\0"}
NUMBERS_OF_A_ROW = {"run_id", "source_bytes", "reserved_micros", "billed_micros", "breach", "status", "result_bytes"}
PLAIN = {name: 7 if name in NUMBERS_OF_A_ROW | {"result_width", "result_height"} else "x" for name in COLUMNS}
OTHERS = st.none() | TEXTS | WHOLE | st.floats(allow_nan=False) | st.binary(max_size=3)  # NaN is stored as NULL
TELLS = Retelling(b"k" * 32)


# Columns of no type, which keep whatever is put in.
NOWHERE = sqlite_module().connect(":memory:", isolation_level=None)
NOWHERE.execute(f"CREATE TABLE attempts (id, {', '.join(COLUMNS)})")


def told(row: dict[str, Any]) -> Retold | None:
    """What its entries must be; None: nothing that could be compared.

    By SQLite when it is a picture that was bought; and in Python, which says the same of what a program writes.
    """
    values = tuple(row[name] for name in COLUMNS)
    NOWHERE.execute("DELETE FROM attempts")
    NOWHERE.execute(f"INSERT INTO attempts VALUES (1, {', '.join('?' * len(COLUMNS))})", values)
    try:
        spelled = NOWHERE.execute(f"SELECT id, NULL, {', '.join(BOUGHT)} FROM attempts").fetchall()[0]
        if spelled[-1] is None:
            return TELLS.of(values)
        made = TELLS.bought(spelled)
    except (TypeError, AttributeError, sqlite_module().OperationalError):
        return None
    if all(
        type(value) is type(PLAIN[name]) or (value is None and ATTEMPTS.c[name].nullable) for name, value in row.items()
    ):
        assert made == TELLS.of(values)
    return made


@settings(max_examples=1500, deadline=None)
@given(ROWS, st.sampled_from([{}, SETTLED, BOUGHT_ONE, BOUGHT_ONE]), st.sampled_from(COLUMNS), OTHERS)
def test_no_other_row_is_told_the_same(row: dict[str, Any], more: dict[str, Any], name: str, value: Any) -> None:
    row = row | more
    has = told(row)
    if has is not None and not (value == row[name] and type(value) is type(row[name])):
        assert told(row | {name: value}) != has


def test_a_text_that_looks_like_a_number_is_not_told_as_one() -> None:
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS, "x"), **SETTLED, "breach": 0}
    numbers = (*NUMBERS_OF_A_ROW, "result_width", "result_height")
    row |= dict.fromkeys(numbers, 7)
    for plain in (row, row | {"headers": None}):  # by SQLite, and in Python
        for name in numbers:
            for other in ("7", 7.0, b"7"):
                assert told(plain) != told(plain | {name: other}), (name, other)


def test_sqlite_spells_every_character_as_we_do_or_is_corrected() -> None:
    row: dict[str, Any] = {**PLAIN, **SETTLED, "breach": 0}
    many = (range(0x800), range(0x2020, 0x2030), range(0xFE00, 0x10010), range(0x1F600, 0x1F610), (0x10FFFF,))
    for characters in (*map(chr, range(0x100)), *("".join(map(chr, numbers)) for numbers in many)):
        assert told(row | {"source_path": characters, "request_id": characters}) is not None


def test_every_column_of_an_attempt_is_told() -> None:
    assert sorted([*COLUMNS, "id"]) == sorted(column.name for column in ATTEMPTS.columns)


@given(st.binary(max_size=100), TEXTS)
def test_a_digest_under_the_key_is_that_of_the_ledger(key: bytes, value: str) -> None:
    assert keyed(key)(value) == chain.Identity("uid", key).digest(value)


# ---- which entries stand

NUMBERS = st.lists(st.integers(1, 8), max_size=8)


@given(NUMBERS, NUMBERS)
def test_two_sets_are_equal_only_when_the_same_numbers_stand(some: list[int], others: list[int]) -> None:
    one, other = Standing(), Standing()
    for number in some:
        one.put(number)
    for number in others:
        other.put(number)
    assert (one == other) == (sorted(some) == sorted(others))


@given(st.lists(st.integers(0, 3), max_size=12))
def test_what_is_replaced_does_not_stand(places: list[int]) -> None:
    standing, newest = Standing(), dict.fromkeys(range(4), 0)
    for number, place in enumerate(places, 1):
        standing.put(number, newest[place])
        newest[place] = number
    left = Standing()
    for number in filter(None, newest.values()):
        left.put(number)
    assert standing == left
    left.put(99)
    assert standing != left
