"""What only SQLite has to look at, while Python looks at something else: on a second connection, with the same view.

SQLite lets go of the interpreter while it works, so a thread is enough: with two cores both go on at once.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, text

from runner.ledger.database import Database, driver_of

# How often a second view is tried while others commit; a try takes less than a millisecond.
TRIES = 50

Question = Callable[[Connection], list[str]]
_LOOK = text("SELECT count(*) FROM ledger_state")
_STOPPING_S = 0.05


@contextmanager
def views(database: Database, *, two: bool) -> Iterator[tuple[Connection, Connection | None]]:
    """A consistent view; and, with `two`, a second connection that sees the very same, None when there cannot be one.

    Nothing is held up: when somebody has committed between the two, both are opened anew; after many tries the first
    goes alone. Raises LedgerError.
    """
    if two and database.path is not None:
        with database.looking() as watcher:
            watcher.execute("ROLLBACK")  # in no transaction, each question is answered of its own moment
            for _ in range(TRIES):
                before = _version(watcher)
                with ExitStack() as opened:
                    one, other = (_view(opened.enter_context(database.read())) for _ in range(2))
                    if _version(watcher) == before:
                        yield one, other
                        return
    with database.read() as one:
        yield one, None


def _view(connection: Connection) -> Connection:
    """A view begins with the first that is read."""
    connection.execute(_LOOK).all()
    return connection


def _version(watcher: Any) -> Any:
    """What differs from the time before when anybody has committed in between.

    https://www.sqlite.org/pragma.html#pragma_data_version. All is fetched: a statement that has not ended keeps its
    view, and would not see the commit.
    """
    return watcher.execute("PRAGMA data_version").fetchall()


class Answers:
    """Questions that are answered in their order: on the other connection at once, or without one when it is asked for.

    Used as a context: at its end nobody is at work any more.
    """

    def __init__(self, connection: Connection, other: Connection | None, questions: Sequence[Question]) -> None:
        """Nothing is asked yet."""
        self._connection, self._other, self._questions = connection, other, questions
        self._found: dict[Question, list[str]] = {}
        self._error: BaseException | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin with the first, when there is another connection."""
        if self._other is not None:
            thread = threading.Thread(target=self._work, args=(self._other,), name="verify beside", daemon=True)
            with suppress(RuntimeError):  # no thread can be had: then one after the other
                thread.start()
                self._thread = thread
        return self

    def _work(self, other: Connection) -> None:
        try:
            for question in self._questions:
                if self._stopping:
                    return
                self._found[question] = question(other)
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            self._error = error

    def to(self, question: Question) -> list[str]:
        """What was answered. Raises what was raised when this question was answered, or one before it."""
        if self._thread is None:
            return question(self._connection)
        self._thread.join()
        if question not in self._found and self._error is not None:
            raise self._error
        return self._found[question]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop what is at work."""
        self._stopping = True
        while self._thread is not None and self._thread.is_alive():
            driver_of(self._other).interrupt()  # type: ignore[arg-type]
            self._thread.join(_STOPPING_S)
