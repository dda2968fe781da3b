"""Two connections see the same ledger or there is only one; and nobody is at work any more when the check is over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from runner.ledger.beside import TRIES, Answers, views
from runner.ledger.database import Database, sqlite_module
from runner.ledger.ledger import Ledger

COUNT = text("SELECT count(*) FROM workspaces")
# Not quite endless: when it is not stopped, the test fails and does not stand still.
LONG = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000000) SELECT count(*) FROM n")


@pytest.fixture
def path(open_ledger: Callable[[], Ledger], ledger_path: Path) -> Path:
    """A ledger with nothing in it; closed."""
    open_ledger().database.close()
    return ledger_path


class Busy(Database):
    """A ledger in which somebody commits whenever a view of it is to be opened, so many times."""

    def __init__(self, path: Path, times: int) -> None:
        super().__init__(path)
        self.times = times

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """As always, after the commit."""
        with super().read() as connection:
            if self.times:
                self.times -= 1
                assert self.path is not None
                with closing(sqlite_module().connect(self.path, isolation_level=None)) as raw:
                    raw.execute("INSERT INTO workspaces VALUES (?, 'USD')", (f"workspace {self.times}",))
            yield connection


@pytest.mark.parametrize("commits", [0, 1, 2, 3, 10])
def test_two_views_are_the_same_whoever_commits_in_between(path: Path, commits: int) -> None:
    with Busy(path, commits) as busy, views(busy, two=True) as (one, other):
        assert other is not None
        with closing(sqlite_module().connect(path, isolation_level=None)) as raw:
            raw.execute("INSERT INTO workspaces VALUES ('later', 'USD')")
        assert one.execute(COUNT).scalar_one() == other.execute(COUNT).scalar_one() == commits
        assert busy.times == 0


def test_where_somebody_always_commits_one_view_goes_alone(path: Path) -> None:
    with Busy(path, 10 * TRIES) as busy, views(busy, two=True) as (one, other):
        assert other is None
        assert one.execute(COUNT).scalar_one() == 2 * TRIES + 1


def test_nothing_is_opened_beside_when_nobody_asks_for_it_or_there_is_no_file(path: Path) -> None:
    with Database(path) as database, views(database, two=False) as (_, other):
        assert other is None
    with Database(None) as database, views(database, two=True) as (_, other):
        assert other is None


def names(connection: Connection) -> list[str]:
    """Who answers, and what it sees."""
    return [threading.current_thread().name, str(connection.execute(COUNT).scalar_one())]


def fails(connection: Connection) -> list[str]:
    """What is there cannot be read."""
    return [str(connection.execute(text("SELECT 1 FROM nowhere")).all())]


def slowly(connection: Connection) -> list[str]:
    """Takes many seconds."""
    return [str(connection.execute(LONG).scalar_one())]


def often(connection: Connection) -> list[str]:
    """Takes many seconds, in many small statements."""
    for _ in range(100_000):
        connection.execute(COUNT).all()
    return []


def test_questions_are_answered_beside_or_when_they_are_asked_for(path: Path) -> None:
    with Database(path) as database:
        with views(database, two=True) as (one, other), Answers(one, other, [names]) as answers:
            assert answers.to(names) == ["verify beside", "0"]
        with views(database, two=False) as (one, other), Answers(one, other, [names]) as answers:
            assert answers.to(names) == [threading.current_thread().name, "0"]


@pytest.mark.parametrize("two", [True, False])
def test_what_cannot_be_answered_is_raised_where_it_is_asked_for(path: Path, two: bool) -> None:
    with (
        Database(path) as database,
        views(database, two=two) as (one, other),
        Answers(one, other, [names, fails, names]) as answers,
    ):
        assert answers.to(names)[-1] == "0"
        with pytest.raises(DBAPIError, match="nowhere"):
            answers.to(fails)
    assert not any(thread.name == "verify beside" for thread in threading.enumerate())


@pytest.mark.parametrize("question", [slowly, often])
def test_who_is_interrupted_leaves_nobody_at_work(path: Path, question: Callable[[Connection], list[str]]) -> None:
    ended = []

    def to_its_end(connection: Connection) -> list[str]:
        question(connection)
        ended.append(question)
        return []

    with (
        Database(path) as database,
        pytest.raises(KeyboardInterrupt),
        views(database, two=True) as (one, other),
        Answers(one, other, [to_its_end, names]),
    ):
        raise KeyboardInterrupt
    assert not any(thread.name == "verify beside" for thread in threading.enumerate())
    assert ended == []
