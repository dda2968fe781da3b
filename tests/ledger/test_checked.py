"""Whether the ledger adds up, at the cost of what has changed: what is found all the same, and what is not read."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import event, text

from runner.ledger import checked
from runner.ledger.balance_check import check_balances
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap
from runner.ledger.verify import verify
from tests.ledger.conftest import MONTH, RUN, Desk
from tests.ledger.test_totals import close

# The large tables, by their names and by what the statements call them.
WHOLE = {"attempts", "entries", "attempt_windows", "a", "e", "j"}
CAPS = [MONTH, Cap("recipe", "posters", "total", 90_000_000), Cap("run", "run-1", "run", 90_000_000)]

STRAY = "INSERT INTO entries SELECT 99, at, workspace, {}, {}, who, NULL, 99, payload, hash FROM entries LIMIT 1"


@pytest.fixture
def desk(open_ledger: Callable[[], Ledger]) -> Desk:
    """A ledger that was seen to add up, with attempts from before in every state and some from after."""
    desk = Desk(open_ledger(), seen=False)
    desk.buy("old 1", caps=CAPS)
    desk.buy("old 2", caps=CAPS)
    desk.release(desk.send("old declined", caps=CAPS))
    desk.lose(desk.send("old lost", caps=CAPS))
    desk.send("old sent", caps=CAPS)
    note(desk)
    desk.run = replace(RUN, uid="run-2")
    desk.run_id = desk.ledger.begin_run(desk.run, at=desk.at)
    caps = [*CAPS[:2], Cap("run", "run-2", "run", 90_000_000)]
    desk.buy("new", caps=caps)
    desk.send("new sent", caps=caps)
    return desk


def note(desk: Desk) -> None:
    found = checked.check(desk.ledger.database)
    assert found.wrong == []
    desk.ledger.note_checked(found.seen, who="ana", at=desk.at)


def alter(desk: Desk, *statements: str) -> None:
    """As somebody does who has the file."""
    with desk.ledger.database.write_transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def reads(desk: Desk) -> set[str]:
    """The tables that the check reads from one end to the other."""
    statements: list[tuple[str, object]] = []
    engine = desk.ledger.database._engine

    def heard(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        statements.append((statement, values))

    event.listen(engine, "before_cursor_execute", heard)
    checked.check(desk.ledger.database)
    event.remove(engine, "before_cursor_execute", heard)
    whole = set()
    with desk.ledger.database.read() as connection:
        for statement, values in statements:
            if statement.startswith(("SELECT", "WITH")):
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values):  # type: ignore[arg-type]
                    word, _, rest = row.detail.partition(" ")
                    # An index from its first value that is not NULL on is as long as the table.
                    is_whole = word == "SCAN" or "(attempt_id>?)" in rest
                    whole |= {rest.split()[0]} if is_whole else set()
    return whole


def test_the_first_time_everything_is_read(open_ledger: Callable[[], Ledger]) -> None:
    desk = Desk(open_ledger(), seen=False)
    desk.buy("a")
    assert {"attempts", "entries"} <= reads(desk)


def test_afterwards_neither_attempts_nor_entries_are_read_again(desk: Desk) -> None:
    assert reads(desk) & WHOLE == set()
    assert checked.check(desk.ledger.database).wrong == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE budget_windows SET open_micros = open_micros - 1 WHERE scope = 'workspace'",
        "UPDATE budget_windows SET settled_micros = settled_micros - 1 WHERE scope = 'recipe'",
        "UPDATE budget_windows SET settled_micros = settled_micros - 1 WHERE name = 'run-2'",
        "UPDATE budget_windows SET open_micros = open_micros + 1 WHERE name = 'run-1'",
        "UPDATE attempts SET billed_micros = 1 WHERE id = 1",
        "UPDATE attempts SET billed_micros = 1 WHERE id = 6",
        "UPDATE attempts SET reserved_micros = 1 WHERE id = 5",
        "UPDATE attempts SET reserved_micros = 1 WHERE id = 7",
        "UPDATE attempts SET state = 'released', live_key = NULL WHERE id = 4",
        "UPDATE attempts SET state = 'released', live_key = NULL, billed_micros = NULL WHERE id = 2",
        "DELETE FROM attempt_windows WHERE attempt_id = 5 AND window_id = 1",
        "DELETE FROM attempts WHERE id = 2",
        STRAY.format(1, "'settle', 0, -39000"),
        STRAY.format(3, "'release', -39000, 0"),
    ],
)
def test_a_balance_that_is_not_what_its_attempts_cost_is_found_also_where_nothing_has_changed(
    desk: Desk, statement: str
) -> None:
    alter(desk, "PRAGMA defer_foreign_keys=ON", statement) if "DELETE" not in statement else unguarded(desk, statement)
    found = checked.check(desk.ledger.database)
    assert found.wrong != []
    assert found.wrong == check_balances(desk.ledger.database)
    assert not found.due


def unguarded(desk: Desk, statement: str) -> None:
    """Without the database's own checks, which would refuse it."""
    with desk.ledger.database._engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
        connection.execute(text(statement))
        connection.commit()
        connection.connection.driver_connection.execute("PRAGMA foreign_keys=ON")  # type: ignore[union-attr]


def test_a_bill_made_smaller_together_with_every_balance_is_found_by_the_sums(desk: Desk) -> None:
    # The totals follow by themselves, as the database keeps them.
    alter(
        desk,
        "UPDATE attempts SET billed_micros = billed_micros - 9 WHERE id = 1",
        "UPDATE budget_windows SET settled_micros = settled_micros - 9 WHERE name <> 'run-2'",
    )
    (told,) = checked.check(desk.ledger.database).wrong
    assert told.startswith("attempt 1 is settled with")


def test_a_bill_that_was_moved_to_an_older_attempt_is_found_by_the_entries_of_the_newer(desk: Desk) -> None:
    alter(
        desk,
        "UPDATE attempts SET billed_micros = billed_micros + 9 WHERE id = 1",
        "UPDATE attempts SET billed_micros = billed_micros - 9 WHERE id = 6",
        "UPDATE budget_windows SET settled_micros = settled_micros + 9 WHERE name = 'run-1'",
        "UPDATE budget_windows SET settled_micros = settled_micros - 9 WHERE name = 'run-2'",
    )
    assert len(checked.check(desk.ledger.database).wrong) == 2


def test_bills_of_closed_windows_that_come_late_add_up_too(desk: Desk) -> None:
    desk.settle(5)
    desk.settle(7)
    close(desk)
    desk.ledger.resolve(4, billed_micros=5, note="on the invoice", who="ana", at=desk.at)
    with desk.ledger.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM corrections")).scalar_one() == 1
    assert check_balances(desk.ledger.database) == []
    assert reads(desk) & WHOLE == set()
    note(desk)
    assert verify(desk.ledger.database).faults == []
    assert checked.check(desk.ledger.database).wrong == []


def test_it_is_written_down_again_when_enough_has_changed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not checked.check(desk.ledger.database).due
    monkeypatch.setattr(checked, "CHECKED_EVERY", 6)
    assert checked.check(desk.ledger.database).due
    note(desk)
    assert not checked.check(desk.ledger.database).due
    assert verify(desk.ledger.database).faults == []


def test_sums_that_were_made_up_are_not_believed_and_are_told(desk: Desk) -> None:
    with desk.ledger._write(desk.at) as writing:
        writing.entry("*", "checked", "eve", {"seen": 3, "sums": {"studio": [0, 7]}})
    assert checked.check(desk.ledger.database).wrong == []  # everything was read again
    alter(desk, "UPDATE budget_windows SET settled_micros = 7")
    assert checked.check(desk.ledger.database).wrong == check_balances(desk.ledger.database) != []
    assert "the sums in it are not those of the entries before it" in " ".join(verify(desk.ledger.database).faults)


def test_the_sums_of_an_entry_that_was_changed_are_not_believed(desk: Desk) -> None:
    alter(desk, "DROP TRIGGER entries_no_update", "UPDATE entries SET hash = x'00' WHERE kind = 'checked'")
    assert {"attempts", "entries"} <= reads(desk)
