"""A ledger of the first program, with rows in it, is taken into the chain as it stands, and guarded from then on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from runner.errors import LedgerError
from runner.ledger import closed, database, migrate, totals, usage, verify
from runner.ledger.closing import Closer, window_of
from runner.ledger.database import Database, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.values import Reserved
from runner.plan import digest
from tests.ledger.conftest import RUN, asked, no_uptime

AT = "2026-11-20T12:00:0{}.000000Z"
MODEL = "stability-upscale-creative"


@pytest.fixture
def old(ledger_path: Path) -> Path:
    """A settled attempt, an unknown one, a breach, and a run that has not ended."""
    ledger_path.parent.mkdir()
    made = Database(ledger_path)
    with made._engine.connect() as connection:
        migrate.upgrade(connection, "0001")
        prompt = digest("restore it")
        connection.execute(
            text("INSERT INTO workspaces VALUES ('studio', 'USD', 'attempt 3 was billed 40', :at)"),
            {"at": AT.format(9)},
        )
        connection.execute(text("INSERT INTO texts VALUES (:digest, 'restore it')"), {"digest": prompt})
        connection.execute(
            text(
                "INSERT INTO runs (id, uid, workspace, recipe, recipe_path, recipe_digest, labels, who, program, "
                "started_at, ended_at, outcome) VALUES (1, 'run-1', 'studio', 'posters', 'recipes/posters.toml', 'd', "
                "'{}', 'ana', 'omixa', :at, :at, 'done'), (2, 'run-2', 'studio', 'posters', 'recipes/posters.toml', "
                "'d', '{}', 'ana', 'omixa', :at, NULL, NULL)"
            ),
            {"at": AT.format(1)},
        )
        for number, state, billed in ((1, "settled", 39_000), (2, "unknown", None), (3, "settled", 40_000_000)):
            values = {"id": number, "key": f"k{number}", "prompt": prompt, "state": state, "billed": billed}
            values |= {"at": AT.format(2), "live": f"k{number}" if state == "unknown" else None}
            values |= {"breach": int((billed or 0) > 700_000), "model": MODEL}
            connection.execute(
                text(
                    "INSERT INTO attempts (id, run_id, workspace, recipe, model, item_key, live_key, source_path, "
                    "source_digest, source_bytes, prompt_name, prompt_digest, preset_name, options, output_path, "
                    "state, reserved_micros, billed_micros, breach, message, day, reserved_at) VALUES (:id, 1, "
                    "'studio', 'posters', :model, :key, :live, 'a.png', 's', 10, 'restore', :prompt, 'photo', '{}', "
                    "'out/' || :key, :state, 700000, :billed, :breach, 'it said so', '2026-11-20', :at)"
                ),
                values,
            )
            for kind, opened, settled in [("reserve", 700_000, 0), ("sent", 0, 0)] + (
                [("settle", -700_000, billed)] if billed else [("unknown", 0, 0)]
            ):
                connection.execute(
                    text(
                        "INSERT INTO entries (at, workspace, attempt_id, kind, open_micros, settled_micros, who) "
                        "VALUES (:at, 'studio', :id, :kind, :opened, :settled, 'ana')"
                    ),
                    {"at": AT.format(3), "id": number, "kind": kind, "opened": opened, "settled": settled},
                )
        connection.execute(
            text(
                "INSERT INTO budget_windows VALUES (1, 'workspace', 'studio', '', 'month', '2026-11', 'Europe/Berlin', "
                "'2026-11-30T23:00:00.000000Z', 50000000, 700000, 40039000)"
            )
        )
        connection.execute(text("INSERT INTO attempt_windows VALUES (1, 1), (2, 1), (3, 1)"))
        connection.execute(text(f"INSERT INTO prices VALUES ('studio', '{MODEL}', 2, 40000000)"))
        connection.execute(
            text("INSERT INTO deliveries VALUES ('out/k1', 'k1', 'e', :at), ('elsewhere', 'k1', 'e', :at)"),
            {"at": AT.format(4)},
        )
        connection.commit()
    made.close()
    return ledger_path


def test_an_older_ledger_is_sound_after_its_migration_and_goes_on(old: Path) -> None:
    with open_database(old, create=False) as opened:
        assert verify.verify(opened).faults == []
        assert [(row.attempt_id, row.state, row.billed_micros) for row in usage.rows(opened)] == [
            (1, "settled", 39_000),
            (2, "unknown", None),
            (3, "settled", 40_000_000),
        ]
        summed = [(row.currency, row.sums[:9]) for row in totals.rows(opened, ["recipe"])]
        assert summed == [("USD", (3, 2, 0, 1, 1, 2, 0, 0, 40_039_000))]
        ledger = Ledger(opened, uptime=no_uptime)
        at = database.datetime.fromisoformat(AT.format(9))
        assert ledger.resume("studio", note="seen", who="ana", at=at)
        found = ledger.reserve(1, RUN, asked("new"), amount_micros=700_000, caps=[], at=at)
        assert isinstance(found, Reserved)
        assert found.amount_micros == 40_000_000
        ledger.resolve(2, billed_micros=39_000, note="invoice", who="ana", at=at)
        assert verify.verify(opened).faults == []


def test_an_older_ledger_can_be_closed_and_is_guarded_then(old: Path) -> None:
    with open_database(old, create=False) as opened:
        closer, window = Closer(opened, no_uptime), window_of("2026-11", "Europe/Berlin")
        told = {"program": "p", "who": "ana", "at": database.datetime(2026, 12, 1, 9, tzinfo=database.UTC)}
        made, _ = closer.close(
            "studio",
            window,
            closer.read("studio", window),
            sign=lambda _: "signed",
            is_living=lambda _: False,
            **told,  # type: ignore[arg-type]
        )
        assert (made.totals["settled_micros"], made.totals["open"]) == (40_039_000, 1)
        change = text("UPDATE attempts SET billed_micros = 1 WHERE id = 1")
        with pytest.raises(LedgerError, match="what is closed"), opened.write_transaction() as connection:
            connection.execute(change)
        Ledger(opened, uptime=no_uptime).resolve(2, billed_micros=39_000, note="invoice", who="ana", at=told["at"])  # type: ignore[arg-type]
        assert verify.verify(opened).faults == []
        assert closed.faults(opened, []) == []


def test_what_an_older_ledger_said_cannot_be_changed_unseen_any_more(old: Path) -> None:
    open_database(old, create=False).close()
    with closing(sqlite3.connect(old)) as raw:
        for change in (
            "UPDATE attempts SET billed_micros = 38000 WHERE id = 1",
            "UPDATE deliveries SET result_digest = 'f' WHERE output_path = 'elsewhere'",
            "UPDATE runs SET recipe_digest = 'x' WHERE id = 2",
            "UPDATE budget_windows SET cap_micros = 60000000",
            "UPDATE levers SET reason = 'x'",
        ):
            raw.execute("BEGIN")
            raw.execute(change)
            raw.commit()
            with Database(old) as opened:
                assert verify.verify(opened).faults, change
            raw.execute("BEGIN")
            raw.execute(change.partition(" SET ")[0] + " SET " + BACK[change.split()[1]])
            raw.commit()
    with Database(old) as opened:
        assert verify.verify(opened).faults == []


BACK = {
    "attempts": "billed_micros = 39000 WHERE id = 1",
    "deliveries": "result_digest = 'e' WHERE output_path = 'elsewhere'",
    "runs": "recipe_digest = 'd' WHERE id = 2",
    "budget_windows": "cap_micros = 50000000",
    "levers": "reason = 'attempt 3 was billed 40'",
}


def test_an_approver_that_is_written_into_an_older_run_is_found(old: Path) -> None:
    open_database(old, create=False).close()
    for column in ("author", "approver", "approval"):
        with closing(sqlite3.connect(old)) as raw:
            # A run without attempts: no total tells of it.
            raw.execute(f"UPDATE runs SET {column} = 'ben' WHERE id = 2")
            raw.commit()
        with Database(old) as opened:
            faults = verify.verify(opened).faults
        assert faults == [f"runs: row 2: `{column}` is not what entry {entry_of(old)} says"]
        with closing(sqlite3.connect(old)) as raw:
            raw.execute(f"UPDATE runs SET {column} = NULL WHERE id = 2")
            raw.commit()


def entry_of(path: Path) -> int:
    """The entry that tells of run 2."""
    with closing(sqlite3.connect(path)) as raw:
        found = raw.execute("SELECT id FROM entries WHERE kind = 'run' ORDER BY id").fetchall()
    return int(found[1][0])
