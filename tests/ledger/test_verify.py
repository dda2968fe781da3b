"""Nobody changes the ledger unseen: every value, every row, every tail, and a whole chain made anew."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from runner.errors import LedgerError
from runner.ledger import export, fresh, records, verify
from runner.ledger.agenda import Agenda
from runner.ledger.closing import Closer, window_of
from runner.ledger.database import Database, moment, open_database
from runner.ledger.ends import chain_ends
from runner.ledger.ledger import Ledger
from runner.ledger.tables import ALERT_SENDINGS, ALERTS, EVERYWHERE, RECONCILED
from runner.ledger.values import Cap, Result
from runner.ledger.verify import Seen
from runner.plan import digest
from runner.providers.provider import Evidence
from runner.trail.merkle import Frontier
from runner.trail.payload import FIELDS, Entry, decode, encode, framed, leaf_hash
from runner.trail.payload import _split as payload_fields
from tests.ledger.conftest import MONTH, RUN, Desk, asked, no_uptime

BY = {"who": "ana@desk"}
EVIDENCE = Evidence(status=200, headers={"date": "now"}, request_id="r-1", body_head='{"created": 1}')
PICTURE = Result("e" * 64, 1000, 64, 64, None, True)


def fill(ledger: Ledger) -> Desk:
    """Something of everything that a ledger can hold."""
    desk = Desk(ledger, seen=False)
    caps = [MONTH, Cap("recipe", RUN.recipe, "day", 900_000), Cap("run", RUN.uid, "run", 900_000)]
    for key in ("a", "b"):
        attempt_id = desk.send(key, caps=caps)
        ledger.settle(
            attempt_id,
            billed_micros=39_000,
            billed_text="0.039000",
            code="billed",
            message="fine",
            evidence=EVIDENCE,
            result=PICTURE,
            at=desk.at,
            **BY,
        )
    ledger.deliver(RUN, "out/copy.png", "a", "e" * 64, at=desk.at)
    ledger.deliver(RUN, "out/copy.png", "b", "e" * 64, at=desk.at)
    desk.pass_time(hours=1)
    desk.lose(desk.send("lost", caps=caps))
    desk.release(desk.send("declined", caps=caps))
    late = Cap("workspace", "", "week", 5_000_000)
    desk.send("under way", caps=[*caps, late])
    desk.reserve("set aside", caps=caps)
    ledger.reserve(
        desk.run_id,
        RUN,
        asked("negative", negative="no text", negative_digest=digest("no text")),
        amount_micros=39_000,
        caps=[Cap("workspace", "", "month", 2_000_000), caps[-1]],
        at=desk.at,
    )
    ledger.settle(
        desk.send("dear", caps=caps[-1:]),
        billed_micros=40_500_000,
        billed_text="40.5",
        code="billed",
        message=None,
        evidence=None,
        result=None,
        at=desk.at,
        **BY,
    )
    ledger.resume("studio", note="seen", at=desk.at, **BY)
    number = ledger.grant(
        "studio", period="month", label="2026-11", amount_micros=5, until=None, reason="rush", at=desk.at, **BY
    )
    ledger.end_grant(number, note="over", at=desk.at, **BY)
    ledger.stop(None, reason="night", at=desk.at, **BY)
    fill_closed(desk)
    ledger.doubt_clock("odd", at=desk.at, **BY)
    fill_records(ledger, desk.at)
    ledger.end_run(desk.run_id, "done", at=desk.at)
    return desk


def fill_closed(desk: Desk) -> None:
    """A closed window with a budget that ended in it, and attempts that went on afterwards, one of them twice."""
    desk.pass_time(days=20)
    closer, window = Closer(desk.ledger.database, no_uptime), window_of("2026-11", RUN.zone)
    told = {"program": "omixa-runner test", "who": "ana", "at": desk.at, "is_living": lambda _: False}
    closer.close("studio", window, closer.read("studio", window), sign=lambda what: f"signed: {what}", **told)
    desk.ledger.resolve(3, billed_micros=None, note="no trace", at=desk.at, **BY)
    desk.lose(5)
    desk.ledger.resolve(5, billed_micros=39_000, note="invoice", at=desk.at, **BY)


def fill_records(ledger: Ledger, at: datetime) -> None:
    """A schedule, slots that run and have ended, an alert and how far it came."""
    agenda = Agenda(ledger.database, uptime=no_uptime)
    agenda.watch("posters", "studio", "cron 0 2 * * *", "Europe/Berlin", at=at, **BY)
    agenda.pause("posters", "studio", "Europe/Berlin", reason="holiday", at=at, **BY)
    agenda.account("posters", "studio", [at, at + timedelta(hours=1)], "missed", "nobody was there", at=at, **BY)
    slot = agenda.claim("posters", at + timedelta(hours=2), "studio", owner="o", at=at, **BY)
    assert slot is not None
    agenda.begin(slot.id, owner="o", at=at, **BY)
    agenda.runs_as(slot.id, RUN.uid, 39_000, at=at, **BY)
    agenda.end(slot.id, "ran", None, billed_micros=39_000, bought=1, at=at, **BY)
    agenda.claim("posters", at + timedelta(hours=3), "studio", owner="o", at=at, **BY)
    told = dict.fromkeys(column.name for column in ALERTS.columns if column.name != "entry_id")
    told |= {"key": "breach 1", "kind": "breach", "message": "it cost more", "at": moment(at)}
    sending = {"alert": "breach 1", "channel": "ops", "state": "waiting", "tries": 1, "error": "nobody answered"}
    sending |= {"next_at": moment(at), "at": moment(at)}
    matched = {"key": "attempt 1", "attempt_id": 1, "verdict": "matched", "evidence": "id", "line": 2, "who": "ana"}
    matched |= {
        "workspace": "studio",
        "ours_micros": 39_000,
        "theirs_micros": 39_000,
        "line_key": "k",
        "at": moment(at),
    }
    matched |= {"billed_at": moment(at), "invoice": "omixa", "file_name": "october.csv", "file_digest": "f" * 64}
    nobody = {**matched, "key": "line n", "attempt_id": None, "verdict": "only-theirs", "ours_micros": None}
    with agenda._write(at) as writing:
        for row in (matched, nobody, {**nobody, "verdict": "explained"}):
            records.put(writing, RECONCILED, row, chain="studio", kind="reconcile", who="ana")
        records.put(writing, ALERTS, told, chain=EVERYWHERE, kind="alert", who="ana")
        records.put(writing, ALERT_SENDINGS, sending, chain=EVERYWHERE, kind="alert-sending", who="ana")


@pytest.fixture
def full(open_ledger: Callable[[], Ledger], ledger_path: Path) -> Path:
    """A sound ledger with something of everything; closed."""
    ledger = open_ledger()
    fill(ledger)
    assert faults(ledger.database) == []
    ledger.database.close()
    return ledger_path


def faults(database: Database, seen: tuple[Seen, ...] = ()) -> list[str]:
    """What is found; and that it is the same, word for word, when every entry is read and none is only compared, and
    when SQLite's part of it goes on beside.
    """
    found = verify.verify(database, seen)
    for other in (verify.verify(database, seen, reading=True), verify.verify(database, seen, beside=True)):
        assert (found.faults, found.entries, found.checkpoints) == (other.faults, other.entries, other.checkpoints)
        assert {name: (end.size, end.frontier.root(), end.head) for name, end in found.chains.items()} == {
            name: (end.size, end.frontier.root(), end.head) for name, end in other.chains.items()
        }
    return found.faults


def found_in(path: Path, seen: tuple[Seen, ...] = ()) -> list[str]:
    with Database(path) as opened:
        return faults(opened, seen)


TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"


def meddle(path: Path, copy: Path, *statements: tuple[str, tuple[object, ...]]) -> Path:
    """A copy in which somebody who can do anything with the file has changed something, and tidied up behind."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=MEMORY")
        raw.execute("PRAGMA synchronous=OFF")
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("PRAGMA ignore_check_constraints=ON")
        triggers = raw.execute(TRIGGERS).fetchall()
        for name, _ in triggers:
            raw.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            raw.execute(statement, values)
        for _, sql in triggers:
            raw.execute(sql)
    return copy


def rows_of(path: Path) -> Iterator[tuple[str, list[str], dict[str, object]]]:
    """Every row of every table: table, its primary key, values."""
    with closing(sqlite3.connect(path)) as raw:
        raw.row_factory = sqlite3.Row
        tables = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'alembic%'")
        for (table,) in tables.fetchall():
            info = raw.execute(f"PRAGMA table_info({table})").fetchall()
            key = [column["name"] for column in info if column["pk"]]
            for row in raw.execute(f"SELECT * FROM {table}"):
                yield table, key, dict(row)


def other(value: object) -> list[object]:
    """Values that somebody could put in the place of this one."""
    match value:
        case None:
            return ["x", 1]
        case int():
            return [value + 1, -value - 1, value + 0.5]
        case bytes():
            return [bytes([value[0] ^ 1]) + value[1:], value[:-1] + bytes([value[-1] ^ 128]), value[:-1]]
        case str():
            return [value + "x", value[:-1] + chr(ord(value[-1]) ^ 1) if value else "y", ""] if value else ["y"]
    raise AssertionError(type(value))


def changed_values(path: Path) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Every value of every row, changed in every way that is thought of: in words, as a statement, and its values."""
    for table, key, row in rows_of(path):
        where = " AND ".join(f"{name} = ?" for name in key)
        for column, value in row.items():
            for changed in [*other(value), *([None] if value is not None else [])]:
                values = (changed, *(row[name] for name in key))
                words = f"{table}.{column} of {values[1:]}: {value!r} → {changed!r}"
                yield words, f"UPDATE {table} SET {column} = ? WHERE {where}", values


# How much of it `make test` tries; `python -m tests.long.tampering` tries everything.
ONE_IN = 17


def test_every_value_that_is_changed_is_found(full: Path, tmp_path: Path) -> None:
    refused = 0
    for words, statement, values in list(changed_values(full))[::ONE_IN]:
        try:
            copy = meddle(full, tmp_path / "copy" / "ledger.db", (statement, values))
        except sqlite3.IntegrityError:  # the file itself refuses: not null, unique
            refused += 1
            continue
        assert found_in(copy), words
    assert refused < len(list(changed_values(full))[::ONE_IN])


def test_an_attempt_that_joined_a_window_is_compared_to_the_fraction(full: Path, tmp_path: Path) -> None:
    """A released attempt is in no sum: only the digest of those that joined can tell."""
    moved = "UPDATE attempt_windows SET attempt_id = 3.5 WHERE attempt_id = 3 AND window_id = 4"
    found = found_in(meddle(full, tmp_path / "copy" / "ledger.db", (moved, ())))
    assert [line.partition(" than ")[0] for line in found] == ["attempt_windows: other attempts stand in window 4"]


@pytest.fixture
def usual_life(open_ledger: Callable[[], Ledger], ledger_path: Path) -> Path:
    """A ledger with what is only compared, and never read, while it is sound: one picture that was bought; closed."""
    ledger = open_ledger()
    desk = Desk(ledger, seen=False)
    came = {"evidence": EVIDENCE, "result": PICTURE, "code": "billed", "message": "fine", "at": desk.at}
    ledger.settle(desk.send("a"), billed_micros=39_000, billed_text="0.039000", **came, **BY)
    ledger.database.close()
    return ledger_path


def test_every_value_of_a_usual_life_is_compared(usual_life: Path, tmp_path: Path) -> None:
    path = usual_life
    usual = ("attempts.", "entries.", "attempt_windows.", "deliveries.")
    # The first change of each value: the last, to nothing at all, the file mostly refuses by itself.
    changes = {
        one[0].partition(":")[0]: one for one in reversed(list(changed_values(path))) if one[0].startswith(usual)
    }
    refused = 0
    for words, statement, values in changes.values():
        try:
            assert found_in(meddle(path, tmp_path / "copy" / "ledger.db", (statement, values))), words
        except sqlite3.IntegrityError:
            refused += 1
    assert refused < len(changes) / 10


def test_every_part_of_the_file_is_held_against_what_the_migrations_make(full: Path, tmp_path: Path) -> None:
    """Each table, index, view and trigger: another one of the same name, none, and one that is hidden."""
    parts = fresh.schema()
    assert {kind for kind, _, _ in parts} == {"table", "index", "view", "trigger"}
    assert told_of(full) == []
    told = "the file has other tables, indexes or triggers than the migrations make: "
    for kind, name, table in parts:
        # A comment stands for what would say something else.
        copy = make_other(
            full, tmp_path / "ledger.db", "UPDATE sqlite_master SET sql = sql || ' /* */' WHERE name = ?", name
        )
        assert told_of(copy) == [f"{told}{kind} `{name}` of {table} is not the program's"]
        if kind in ("trigger", "index"):
            copy = make_other(full, tmp_path / "ledger.db", "DELETE FROM sqlite_master WHERE name = ?", name)
            assert f"{told}{kind} `{name}` of {table} is missing" in told_of(copy)
    for name in ("more", "sqlite_more"):
        copy = make_other(full, tmp_path / "ledger.db", HIDDEN, name)
        assert told_of(copy) == [f"{told}trigger `{name}` of prices is none of the program's"]


def told_of(path: Path) -> list[str]:
    with Database(path) as opened:
        return verify.verify(opened).faults


def make_other(path: Path, copy: Path, statement: str, name: str) -> Path:
    """A copy whose own description was changed."""
    shutil.copyfile(path, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as raw:
        raw.execute("PRAGMA writable_schema=ON")
        assert raw.execute(statement, (name,)).rowcount == 1
    return copy


HIDDEN = (
    "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('trigger', ?1, 'prices', 0, "
    "'CREATE TRIGGER ' || ?1 || ' AFTER INSERT ON prices BEGIN DELETE FROM prices; END')"
)


def test_a_trigger_that_lets_pass_what_is_closed_is_found(full: Path, tmp_path: Path) -> None:
    lax = "UPDATE sqlite_master SET sql = substr(sql, 1, instr(sql, 'BEGIN') + 5) || 'SELECT 1; END' WHERE name = ?"
    found = found_in(make_other(full, tmp_path / "ledger.db", lax, "entries_no_update"))
    assert len(found) == 1
    assert "trigger `entries_no_update` of entries is not the program's" in found[0]


def test_what_sqlite_notes_of_how_rows_are_spread_is_not_held_against_a_ledger(full: Path, tmp_path: Path) -> None:
    assert found_in(meddle(full, tmp_path / "copy" / "ledger.db", ("ANALYZE", ()))) == []


@pytest.mark.parametrize("one_in", [3])
def test_every_row_that_is_taken_out_is_found(full: Path, tmp_path: Path, one_in: int) -> None:
    for table, key, row in list(rows_of(full))[::one_in]:
        where = " AND ".join(f"{name} = ?" for name in key)
        statement = (f"DELETE FROM {table} WHERE {where}", tuple(row[name] for name in key))
        copy = meddle(full, tmp_path / "copy" / "ledger.db", statement)
        if table == "ledger_state":
            continue  # without it the ledger does not open
        assert found_in(copy), f"{table}: {[row[name] for name in key]}"


@pytest.mark.parametrize("one_in", [3])
def test_every_row_that_is_put_in_beside_its_like_is_found(full: Path, tmp_path: Path, one_in: int) -> None:
    for table, key, row in list(rows_of(full))[::one_in]:
        like = dict(row)
        for name in key:
            like[name] = like[name] + 1000 if isinstance(like[name], int) else f"{like[name]}-2"
        for name in ("uid", "live_key"):
            if like.get(name) is not None and table in ("runs", "attempts"):
                like[name] = f"{like[name]}-2"
        if table in ("entries", "budget_windows"):
            like |= {"seq": 1000} if table == "entries" else {"label": "2031-01"}
        if table == "slots":
            like["due_at"] = "2031" + str(like["due_at"])[4:]
        columns, marks = ", ".join(like), ", ".join("?" * len(like))
        statement = (f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(like.values()))
        copy = meddle(full, tmp_path / "copy" / "ledger.db", statement)
        assert found_in(copy), f"{table}: {list(like.values())[:3]}"


@pytest.mark.parametrize("step", [2003])
def test_every_byte_of_the_file_that_says_something_is_guarded(full: Path, tmp_path: Path, step: int) -> None:
    """Where a flipped byte is not found, the file still says exactly the same."""
    whole = full.read_bytes()
    copy = tmp_path / "copy" / "ledger.db"
    copy.parent.mkdir(parents=True)

    def said(path: Path) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
            found: list[tuple[object, ...]] = []
            for table, _, _ in {one[0]: one for one in rows_of(path)}.values():
                found += raw.execute(f"SELECT * FROM {table}").fetchall()
            return found

    before = said(full)
    for at in range(100, len(whole), step):
        if whole[at] == 0 and whole[at - 8 : at + 8] == bytes(16):
            continue  # unused room
        copy.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            quiet = not found_in(copy)
        except LedgerError:
            continue  # it does not open, or cannot be read: found as well
        if quiet:
            assert said(copy) == before, f"byte {at}"


def test_the_first_bad_row_is_named_first(full: Path, tmp_path: Path) -> None:
    copy = meddle(
        full,
        tmp_path / "copy" / "ledger.db",
        ("UPDATE entries SET note = 'x' WHERE id = 9", ()),
        ("UPDATE entries SET note = 'x' WHERE id = 4", ()),
        ("UPDATE attempts SET output_path = 'x' WHERE id = 2", ()),
    )
    found = found_in(copy)
    assert found[0] == "entry 4: its column `note` is not what was hashed"
    assert found[-1] == "attempts: row 2: `output_path` is not what its entries say"


def test_an_entry_that_was_forged_with_a_hash_of_its_own_does_not_fit_the_next(full: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(full)) as raw:
        rows = raw.execute("SELECT id, payload FROM entries WHERE workspace = 'studio' ORDER BY id").fetchall()
    at = next(n for n, (_, payload) in enumerate(rows) if decode(payload).note == "rush")
    entry = decode(rows[at][1])
    forged = encode(replace(entry, note="rent"))
    frontier = Frontier()
    for n, (_, payload) in enumerate(rows):
        frontier.append(leaf_hash(forged if n == at else payload))
    number = rows[at][0]
    copy = meddle(
        full,
        tmp_path / "copy" / "ledger.db",
        ("UPDATE entries SET payload = ?, hash = ?, note = 'rent' WHERE id = ?", (forged, leaf_hash(forged), number)),
        ("UPDATE levers SET reason = 'rent' WHERE reason = 'rush'", ()),
        ("UPDATE chains SET frontier = ? WHERE workspace = 'studio'", (frontier.to_bytes(),)),
    )
    (found,) = [fault for fault in found_in(copy) if not fault.startswith("levers")]
    assert found.startswith(f"entry {rows[at + 1][0]}: it is number {at + 1} of chain studio and does not follow on")


def test_an_attempt_between_two_and_one_behind_all_are_found(full: Path, tmp_path: Path) -> None:
    """A row that stands where its neighbours are only compared."""
    with closing(sqlite3.connect(full)) as raw:
        raw.row_factory = sqlite3.Row
        last = dict(raw.execute("SELECT * FROM attempts ORDER BY id DESC LIMIT 1").fetchone())
    usual = {**last, "live_key": None, "state": "released", "ended_at": last["reserved_at"]}
    for number in (0, last["id"] + 1):
        row = {**usual, "id": number, "item_key": f"other {number}"}
        marks = ", ".join("?" * len(row))
        statement = f"INSERT INTO attempts ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        assert f"attempts: no entry speaks of row {number}" in found_in(
            meddle(full, tmp_path / "copy" / "ledger.db", statement)
        )


def test_the_length_of_the_facts_is_compared_too(usual_life: Path, tmp_path: Path) -> None:
    """An entry that says its facts are longer than they are, its hash and the end of its chain made to fit."""
    with closing(sqlite3.connect(usual_life)) as raw:
        rows = raw.execute("SELECT id, kind, payload FROM entries WHERE workspace = 'studio' ORDER BY id").fetchall()
    frontier = Frontier()
    for *_, payload in rows[:-1]:
        frontier.append(leaf_hash(payload))
    number, kind, payload = rows[-1]
    assert kind == "settle"
    at = payload.index(b'{"billed')
    wrong = payload[: at - 4] + (len(payload) - at + 1).to_bytes(4, "big") + payload[at:]
    frontier.append(leaf_hash(wrong))
    ended = "UPDATE chains SET head = ?, frontier = ? WHERE workspace = 'studio'"
    copy = meddle(
        usual_life,
        tmp_path / "copy" / "ledger.db",
        ("UPDATE entries SET payload = ?, hash = ? WHERE id = ?", (wrong, leaf_hash(wrong), number)),
        (ended, (leaf_hash(wrong), frontier.to_bytes())),
    )
    assert found_in(copy)[0].startswith(f"entry {number}: its payload cannot be read: facts: it says ")


def ends(path: Path) -> tuple[Seen, ...]:
    with open_database(path, create=False) as opened:
        return tuple(Seen(name, end.size, end.root(), "elsewhere") for name, end in chain_ends(opened).items())


def test_a_tail_that_is_cut_off_tidily_is_found_only_by_a_checkpoint_elsewhere(full: Path, tmp_path: Path) -> None:
    seen = ends(full)
    assert found_in(full, seen) == []
    # Somebody takes the last entry of a chain, and everything that it says, out of every table.
    with closing(sqlite3.connect(full)) as raw:
        last = raw.execute("SELECT max(id) FROM entries").fetchone()[0]
        chain, kind = raw.execute("SELECT workspace, kind FROM entries WHERE id = ?", (last,)).fetchone()
        assert kind == "run-ended"
        left = [row[0] for row in raw.execute("SELECT payload FROM entries WHERE workspace = ? ORDER BY id", (chain,))]
    frontier = Frontier()
    for payload in left[:-1]:
        frontier.append(leaf_hash(payload))
    cut = meddle(
        full,
        tmp_path / "copy" / "ledger.db",
        ("DELETE FROM entries WHERE id = ?", (last,)),
        ("UPDATE runs SET ended_at = NULL, outcome = NULL", ()),
        (
            "UPDATE chains SET head = ?, frontier = ? WHERE workspace = ?",
            (leaf_hash(left[-2]), frontier.to_bytes(), chain),
        ),
    )
    assert found_in(cut) == [], "nobody can see this without a checkpoint"
    assert "was cut off or put back to an older copy" in found_in(cut, seen)[0]


def made_anew(path: Path, copy: Path, changes: Callable[[Entry], dict[str, object]], *more: str) -> Path:
    """A copy in which somebody has changed entries, and made all hashes and the row of the chain anew."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT id, payload FROM entries WHERE workspace = 'studio' ORDER BY id").fetchall()
    statements: list[tuple[str, tuple[object, ...]]] = [(statement, ()) for statement in more]
    frontier, before = Frontier(), bytes(32)
    for number, payload in rows:
        forged = replace(entry := decode(payload), before=before, **changes(entry))
        made = encode(forged)
        before = leaf_hash(made)
        frontier.append(before)
        columns = ("attempt_id", "kind", "open_micros", "settled_micros", "who", "note")
        named = ", ".join(f"{name} = ?" for name in ("payload", "hash", *columns))
        values = (made, before, *(getattr(forged, name) for name in columns), number)
        statements.append((f"UPDATE entries SET {named} WHERE id = ?", values))
    statements.append(
        ("UPDATE chains SET head = ?, frontier = ? WHERE workspace = 'studio'", (before, frontier.to_bytes()))
    )
    return meddle(path, copy, *statements)


def test_a_chain_made_anew_with_all_its_hashes_is_found_only_by_a_checkpoint_elsewhere(
    full: Path, tmp_path: Path
) -> None:
    seen = ends(full)
    forged_file = made_anew(
        full, tmp_path / "copy" / "ledger.db", lambda entry: {"note": "rent"} if entry.note == "rush" else {}
    )
    assert found_in(forged_file) == [], "nobody can see this without a checkpoint"
    assert "is not what the checkpoint at elsewhere saw" in found_in(forged_file, seen)[0]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("reserve", {"open_micros": 39_001}),
        ("reserve", {"settled_micros": 1}),
        ("sent", {"open_micros": 1}),
        ("sent", {"settled_micros": -1}),
        ("settle", {"open_micros": -38_999}),
        ("settle", {"settled_micros": 39_001}),
        ("settle", {"attempt_id": 2}),
        ("sent", {"attempt_id": None}),
        ("sent", {"attempt_id": 99}),
        ("release", {"settled_micros": 5}),
        ("unknown", {"open_micros": -39_000}),
        ("deliver", {"open_micros": 1, "attempt_id": 1}),
        ("window", {"open_micros": 1, "attempt_id": 99}),
    ],
)
def test_a_chain_made_anew_that_moves_other_money_than_its_attempts_is_found(
    full: Path, tmp_path: Path, kind: str, changes: dict[str, object]
) -> None:
    done = iter([changes])
    copy = made_anew(full, tmp_path / "copy" / "ledger.db", lambda entry: next(done, {}) if entry.kind == kind else {})
    assert next(done, None) is None
    assert found_in(copy)


@pytest.mark.parametrize("kind", ["reserve", "sent", "settle"])
@pytest.mark.parametrize("what", ["open_micros", "settled_micros"])
def test_a_usual_life_made_anew_that_moves_other_money_is_found(
    usual_life: Path, tmp_path: Path, kind: str, what: str
) -> None:
    def changes(entry: Entry) -> dict[str, object]:
        return {what: getattr(entry, what) + 1} if entry.kind == kind else {}

    assert found_in(made_anew(usual_life, tmp_path / "copy" / "ledger.db", changes))


def respelled(path: Path, copy: Path, change: Callable[[dict[str, bytes]], None], *more: str) -> Path:
    """As `made_anew`, of bytes that no program writes: `change` is given the fields of each payload."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT id, payload FROM entries WHERE workspace = 'studio' ORDER BY id").fetchall()
    statements: list[tuple[str, tuple[object, ...]]] = [(statement, ()) for statement in more]
    frontier, before = Frontier(), bytes(32)
    for number, payload in rows:
        fields = payload_fields(payload)
        fields["before"] = before
        change(fields)
        made = b"".join(framed(fields.get(name)) for name in FIELDS)
        before = leaf_hash(made)
        frontier.append(before)
        statements.append(("UPDATE entries SET payload = ?, hash = ? WHERE id = ?", (made, before, number)))
    ended = "UPDATE chains SET head = ?, frontier = ? WHERE workspace = 'studio'"
    return meddle(path, copy, *statements, (ended, (before, frontier.to_bytes())))


NOT_WHOLE = {
    "run_id": "reserve",
    "source_bytes": "reserve",
    "reserved_micros": "reserve",
    "billed_micros": "settle",
    "breach": "settle",
    "status": "settle",
    "result_bytes": "settle",
    "result_width": "settle",
    "result_height": "settle",
}


@pytest.mark.parametrize("bought", [True, False])
@pytest.mark.parametrize("column", NOT_WHOLE)
def test_a_number_that_is_not_whole_is_found_in_a_chain_made_anew(
    usual_life: Path, tmp_path: Path, column: str, bought: bool
) -> None:
    """In a row and in its entries alike. `bought`: as SQLite spells the row, or as we do, which headers decide."""

    def change(fields: dict[str, bytes]) -> None:
        if fields["kind"].decode() == NOT_WHOLE[column]:
            fields["facts"], count = re.subn(rb'("%s"):[0-9]+' % column.encode(), rb"\1:7.5", fields["facts"])
            assert count == 1
        if fields["kind"] == b"settle" and not bought:
            fields["facts"] = re.sub(rb'"headers":"[0-9a-f]+"', b'"headers":null', fields["facts"])

    without = [] if bought else ["UPDATE attempts SET headers = NULL"]
    change_row = f"UPDATE attempts SET {column} = 7.5"
    copy = respelled(usual_life, tmp_path / "copy" / "ledger.db", change, change_row, *without)
    found = found_in(copy)
    assert any("facts: `7.5` is not a whole number" in fault for fault in found), found


@pytest.mark.parametrize("kind", ["workspace", "run", "reserve", "sent", "settle"])
@pytest.mark.parametrize("column", ["open_micros", "settled_micros", "attempt_id"])
def test_a_change_of_money_that_is_not_whole_is_found_in_a_chain_made_anew(
    usual_life: Path, tmp_path: Path, kind: str, column: str
) -> None:
    def change(fields: dict[str, bytes]) -> None:
        if fields["kind"].decode() == kind:
            fields[column] = b"7.5"

    change_row = f"UPDATE entries SET {column} = 7.5 WHERE kind = '{kind}'"
    copy = respelled(usual_life, tmp_path / "copy" / "ledger.db", change, change_row)
    assert any(f"its payload cannot be read: {column}: `7.5` is not a whole number" in one for one in found_in(copy))


def test_an_amount_that_is_not_whole_is_found_in_a_life_that_fits_it(usual_life: Path, tmp_path: Path) -> None:
    """In the row, the facts, and the changes of money, so that all of them agree."""
    amounts = {"reserve": (b"7.5", b"0"), "settle": (b"-7.5", b"7.5")}

    def change(fields: dict[str, bytes]) -> None:
        kind = fields["kind"].decode()
        if kind in amounts:
            fields["open_micros"], fields["settled_micros"] = amounts[kind]
            fields["facts"] = re.sub(rb'"(reserved|billed)_micros":[0-9]+', rb'"\1_micros":7.5', fields["facts"])

    copy = respelled(
        usual_life,
        tmp_path / "copy" / "ledger.db",
        change,
        "UPDATE entries SET open_micros = 7.5 WHERE kind = 'reserve'",
        "UPDATE entries SET open_micros = -7.5, settled_micros = 7.5 WHERE kind = 'settle'",
        "UPDATE attempts SET reserved_micros = 7.5, billed_micros = 7.5",
    )
    assert "open_micros: `7.5` is not a whole number" in found_in(copy)[0]


def test_a_window_that_has_no_whole_number_is_found_in_a_chain_made_anew(usual_life: Path, tmp_path: Path) -> None:
    def change(fields: dict[str, bytes]) -> None:
        if fields["kind"] == b"reserve":
            fields["facts"] = re.sub(rb'"windows":\[[0-9]+', b'"windows":[7.5', fields["facts"])

    copy = respelled(
        usual_life,
        tmp_path / "copy" / "ledger.db",
        change,
        "UPDATE attempt_windows SET window_id = 7.5 WHERE window_id = (SELECT min(window_id) FROM attempt_windows)",
    )
    assert any("facts: `7.5` is not a whole number" in fault for fault in found_in(copy))


def test_a_moment_before_that_of_the_entry_above_is_found_in_a_chain_made_anew(
    usual_life: Path, tmp_path: Path
) -> None:
    early = "2026-11-22T11:00:00.000000Z"
    copy = made_anew(
        usual_life,
        tmp_path / "copy" / "ledger.db",
        lambda entry: {"at": early} if entry.kind == "sent" else {},
        f"UPDATE entries SET at = '{early}' WHERE kind = 'sent'",
        f"UPDATE attempts SET sent_at = '{early}'",
    )
    assert [fault.partition(": ")[2] for fault in found_in(copy)] == [
        f"its moment {early} is before that of the entry above it"
    ]


@pytest.mark.parametrize("column", ["source_path", "status", "result_digest", "headers"])
def test_what_sqlite_makes_no_json_of_is_found(full: Path, tmp_path: Path, column: str) -> None:
    """Of a value of bytes, somewhere in the middle; and in the same words as by reading."""
    copy = meddle(full, tmp_path / "copy" / "ledger.db", (f"UPDATE attempts SET {column} = x'00ff' WHERE id = 2", ()))
    assert any(f"row 2: `{column}`" in fault or "cannot be read" in fault for fault in found_in(copy))


def test_what_sqlite_makes_no_json_of_is_found_behind_all_others(usual_life: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(usual_life)) as raw:
        names = ", ".join(name for _, name, *_ in raw.execute("PRAGMA table_info(attempts)") if name != "id")
    copy = meddle(
        usual_life,
        tmp_path / "copy" / "ledger.db",
        (f"INSERT INTO attempts (id, {names}) SELECT 2, {names} FROM attempts", ()),
        ("UPDATE attempts SET source_path = x'00ff' WHERE id = 2", ()),
    )
    assert "attempts: no entry speaks of row 2" in found_in(copy)


def test_a_number_that_was_passed_over_is_found(usual_life: Path, tmp_path: Path) -> None:
    copy = meddle(
        usual_life,
        tmp_path / "copy" / "ledger.db",
        ("UPDATE entries SET id = id + 1 WHERE kind = 'settle'", ()),
        ("UPDATE deliveries SET entry_id = entry_id + 1", ()),
    )
    assert [fault.partition(": ")[2].partition(" be ")[0] for fault in found_in(copy)] == ["its number should"]


def test_prompts_can_be_purged_without_breaking_the_chain(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    desk = Desk(ledger, seen=False)
    first = desk.send("a")
    ledger.settle(
        first,
        billed_micros=39_000,
        billed_text="0.039000",
        code="billed",
        message="it said: restore it",
        evidence=EVIDENCE,
        result=PICTURE,
        at=desk.at,
        **BY,
    )
    desk.pass_time(days=2)
    desk.lose(desk.send("b"))
    assert ledger.purge(before="2026-11-24", note="request of the client", at=desk.at, **BY) == (1, 0)
    assert faults(ledger.database) == []
    ledger.resolve(2, billed_micros=None, note="not billed", at=desk.at, **BY)
    assert ledger.purge(before="2026-11-25", note="request of the client", at=desk.at, **BY) == (1, 1)
    assert faults(ledger.database) == []
    with ledger.database.read() as connection:
        kept = connection.execute(text("SELECT prompt_digest, message, body_head, headers FROM attempts")).all()
        assert {tuple(row) for row in kept} == {("purged", None, None, None)}
    ledger.database.compact()
    assert ledger.database.path is not None
    for file in ledger.database.path.parent.glob("ledger.db*"):
        assert b"restore it" not in file.read_bytes(), file
    with ledger.database.write_transaction() as connection:
        connection.execute(text("UPDATE attempts SET prompt_digest = 'purged', message = 'x' WHERE id = 1"))
    assert faults(ledger.database) == ["attempts: row 1: `message` is not what its entries say"]


def test_a_prompt_cannot_be_taken_out_unsaid(full: Path, tmp_path: Path) -> None:
    copy = meddle(
        full,
        tmp_path / "copy" / "ledger.db",
        ("UPDATE attempts SET prompt_digest = 'purged' WHERE id = 1", ()),
    )
    assert found_in(copy) == ["attempts: row 1: `prompt_digest` is not what its entries say"]


def test_an_export_says_what_the_ledger_says(full: Path) -> None:
    heads: dict[str, dict[str, object]] = {}
    with open_database(full, create=False) as opened, opened.read() as connection:
        lines = list(export.entries(connection, heads))
        attempts = {row["id"]: (row["state"], row["billed_micros"]) for row in export.attempts(connection)}
        assert [line["id"] for line in lines] == list(range(1, len(lines) + 1))
        stored = connection.execute(text("SELECT id, state, billed_micros FROM attempts")).all()
        assert attempts == {row.id: (row.state, row.billed_micros) for row in stored}
        assert json.dumps(lines)
    assert {name: head["size"] for name, head in heads.items()} == {
        name: sum(line["chain"] == name for line in lines) for name in heads
    }
    assert heads["studio"]["settled_micros"] == 3 * 39_000 + 40_500_000
