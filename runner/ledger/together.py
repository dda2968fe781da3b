"""Bookings that wait at the same time are committed together: one writer, one transaction, one sync of the disk.

A commit that survives a power cut costs more than all statements of a booking. So whoever comes while another books
does not queue for a transaction of its own: it hands its change over, and the one that holds the ledger does it in the
same transaction, before it commits. There is no thread for this and no waiting for company: the first that comes leads
at once, alone when it is alone; when it is through, it hands over to one of those who came too late.

What this keeps, whatever happens:

- A caller returns only when its own change is committed, or with its own error.
- One that fails is undone alone, and its error goes to whoever asked for it. Nearly none does, and a savepoint for each
  would cost a tenth of a booking; so when one fails, the transaction is begun anew and all are done once more, each in
  a savepoint. (A change may therefore be called twice; of the first time nothing is left.) Only when the first fails
  nothing else has been done yet: the transaction ends there.
- When the commit fails, or the transaction ends by itself (a full disk), everybody in it gets the error, and nothing of
  what was read or written in it is believed any more.
- Before the commit nobody has been told anything; so a process that is killed loses only what nobody was told.
- The main thread, which alone hears Ctrl-C, always books by itself: no one else's change depends on it.

Between transactions the page (chain.py) is kept, and used again when neither this process nor another has written
since: `PRAGMA data_version` proves that, together with a count of our own transactions.
"""

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from runner.baton import WORKERS
from runner.errors import LedgerError
from runner.ledger.chain import Identity, Page, Writing
from runner.ledger.database import Database, explained
from runner.ledger.prepared import Prepared

# The most that are committed in one transaction, so that another process has its turn.
TOGETHER_MAX = 128

_SAVEPOINT, _RELEASE = Prepared("SAVEPOINT booking"), Prepared("RELEASE SAVEPOINT booking")
_UNDO = Prepared("ROLLBACK TO SAVEPOINT booking")

T = TypeVar("T")
Change = Callable[[Writing], T]


class _Waiting(Generic[T]):
    """One change that somebody waits for: how it ended, or that the one who waits is to lead."""

    __slots__ = ("_call", "at", "change", "error", "result", "settled", "writing")

    def __init__(self, at: datetime, change: Change[T]) -> None:
        self.at, self.change = at, change
        self.settled = False  # True: `result` or `error` says how
        self.result: T | None = None
        self.error: BaseException | None = None
        self.writing: Writing | None = None
        self._call = WORKERS.call()

    def wait(self) -> None:
        """Until somebody calls `wake`."""
        self._call.wait()

    def wake(self) -> None:
        """It has ended, or is to lead."""
        self._call.make()

    def fail(self, error: BaseException) -> None:
        """It was not done. An own copy of the error, because each is raised in another thread."""
        self.error = copy.copy(error) if isinstance(error, LedgerError) else error
        self.error.__cause__ = error.__cause__
        self.settled = True


class Together:
    """The changes of one ledger file in this process. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Waiting[Any]] = deque()
        self._queueing = threading.Lock()
        self._led = False  # somebody leads, or has been told to
        self._page: Page | None = None
        self._seen = (0, 0)
        self._identity: Identity | None = None

    def book(self, at: datetime, change: Change[T]) -> tuple[T, Writing]:
        """Make a change, durably, maybe in one transaction with others; what it returned. Raises what it raised.

        `at`: its moment; entries never go back behind the latest.
        """
        mine = _Waiting(at, change)
        if threading.current_thread() is threading.main_thread():
            self._lead(mine, alone=True)
        elif self._must_wait(mine):
            mine.wait()
        if not mine.settled:
            try:
                self._lead(mine, alone=False)
            finally:
                self._hand_over()
        if mine.error is not None:
            raise mine.error
        assert mine.writing is not None
        return mine.result, mine.writing  # type: ignore[return-value]  # it was done, so it is what it returned

    @contextmanager
    def alone(self, at: datetime) -> Iterator[Writing]:
        """A transaction of one's own. Nothing that was known before is believed in it, or after it."""
        with self._database.write_transaction() as connection:
            self._page = None
            page = Page(connection, self._identity)
            page.doubt()
            yield _writing(page, at)
            page.finish()
        self._identity = page.identity  # only once it is committed

    def _must_wait(self, mine: _Waiting[Any]) -> bool:
        with self._queueing:
            if self._led:
                self._queue.append(mine)
                return True
            self._led = True
            return False

    def _hand_over(self) -> None:
        with self._queueing:
            if self._queue:
                self._queue.popleft().wake()
            else:
                self._led = False

    def _next(self, done: int) -> _Waiting[Any] | None:
        """One who came meanwhile."""
        with self._queueing:
            return self._queue.popleft() if self._queue and done < TOGETHER_MAX else None

    def _lead(self, mine: _Waiting[Any], *, alone: bool) -> None:
        """One transaction: the leader's change, and those of all who wait. Raises only what is no Exception."""
        taken: list[_Waiting[Any]] = []
        try:
            with self._database.write_transaction() as connection:
                page = self._turned_to(connection)
                page = self._do_all(mine, page, taken, alone=alone)
                page.finish()
                self._page, self._identity = page, page.identity
        except BaseException as error:
            self._page = None
            taken = taken or [mine, *self._waiting(alone)]
            told = (
                error if isinstance(error, Exception) else LedgerError("the thread that booked was ended", "run again")
            )
            for one in taken:
                one.fail(told)
            if not isinstance(error, Exception):
                raise
        else:
            for done in [then for one in taken if one.writing is not None for then in one.writing.then]:
                done()
        finally:
            for one in taken:
                one.settled = True
                if one is not mine:
                    one.wake()

    def _waiting(self, alone: bool) -> list[_Waiting[Any]]:
        """When not even a transaction can be begun: all that wait, because they have waited as long as we."""
        with self._queueing:
            found = [] if alone else list(self._queue)
            if not alone:
                self._queue.clear()
            return found

    def _turned_to(self, connection: Connection) -> Page:
        """The page of the transaction before, when nobody has written since; otherwise a new one."""
        database, page = self._database, self._page
        version, begun = database.version(connection), database.begun
        self._page = None
        if page is None or page.connection is not connection or version != self._seen[0] or begun - self._seen[1] > 1:
            page = Page(connection, self._identity)
        self._seen = version, begun
        return page

    def _do_all(self, mine: _Waiting[Any], page: Page, taken: list[_Waiting[Any]], *, alone: bool) -> Page:
        """The changes of the leader and of all who wait, whom `taken` then has; the page that they are on. Raises when
        the whole transaction must end."""
        one: _Waiting[Any] | None = mine
        singly = False
        while one is not None:
            taken.append(one)
            if singly:
                self._do_singly(one, page)
            elif not self._done(one, page, is_first=one is mine):
                singly, page = True, self._anew(page)
                for again in taken:
                    self._do_singly(again, page)
            one = None if alone else self._next(len(taken))
        return page

    def _done(self, one: _Waiting[Any], page: Page, *, is_first: bool) -> bool:
        """One change; False when it failed, so that what the transaction has written cannot stay. The first may raise,
        because nothing else has been done yet."""
        page.believe()
        one.writing = _writing(page, one.at)
        try:
            one.result = one.change(one.writing)
        except Exception:
            if is_first:
                raise
            return False
        return True

    def _do_singly(self, one: _Waiting[Any], page: Page) -> None:
        """One change in a savepoint: when it fails, it is undone alone, and has its error. Raises when the whole
        transaction must end."""
        page.believe()
        one.writing = _writing(page, one.at)
        mark = page.mark()
        page.run(_SAVEPOINT, {})
        try:
            with explained(self._database.path):
                one.result = one.change(one.writing)
        except Exception as error:
            if not self._database.is_inside(page.connection):
                raise
            page.run(_UNDO, {})
            page.back(mark)
            one.writing.then.clear()
            one.fail(error)
        page.run(_RELEASE, {})

    def _anew(self, page: Page) -> Page:
        """The transaction from its beginning, as if nothing had been done in it: a page that believes nothing."""
        self._database.begin_anew(page.connection)
        return Page(page.connection, self._identity)


def _writing(page: Page, at: datetime) -> Writing:
    """At `at`, or at the ledger's latest moment when the clock has gone back: so moments only move forward."""
    return Writing(page, at if page.latest is None else max(at, page.latest))


_MAKING = threading.Lock()


def together(database: Database) -> Together:
    """What commits the changes of an open ledger: one for everybody in this process."""
    with _MAKING:
        found: Together = database.kept.setdefault(Together, Together(database))
        return found
