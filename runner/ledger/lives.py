"""Attempts beside their entries, in one pass over both: which of them are just what their entries make them.

What is not, or not in the usual way, is left for the check that reads every entry of an attempt and explains
(`verify.py`). Memory grows with the attempts that are open and with those that are left, both up to a bound; beyond it
all are left.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from runner.ledger.database import sqlite_module
from runner.ledger.multiset import Standing
from runner.ledger.retold import BOUGHT, COLUMNS, ENDS, Known, Retelling, Retold

LEFT_MAX = 50_000
OPEN_MAX = 20_000

_ROWS = 1000
_WINDOWS = "(SELECT group_concat(quote(window_id)) FROM attempt_windows w WHERE w.attempt_id = a.id)"
_ATTEMPTS = f"SELECT id, {_WINDOWS}, {', '.join(BOUGHT)} FROM attempts a ORDER BY id"  # noqa: S608 - our own columns
_ATTEMPT = f"SELECT {', '.join(COLUMNS)} FROM attempts WHERE id = ?"  # noqa: S608
_MISSING = "SELECT count(*) FROM json_each(?) WHERE value NOT IN (SELECT id FROM attempts)"
_NUMBERS = re.compile(r"[1-9][0-9]*(?:,[1-9][0-9]*)*", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]*", re.ASCII)


class Open:
    """An attempt whose last entry has not come. `named`: how many windows its reservation names."""

    __slots__ = ("is_sent", "life", "named")

    def __init__(self, life: Retold, named: int) -> None:
        """Reserved, and nothing more."""
        self.life, self.named, self.is_sent = life, named, False

    def ends(self, kind: str, opened: int, settled: int) -> bool:
        """Whether this kind of entry, with these changes of open and settled money, is how it ended."""
        life = self.life
        due = 0 if kind == "unknown" else -life.reserved_micros, life.billed_micros if kind == "settle" else 0
        return ENDS[kind] == life.state and (opened, settled) == due and self.is_sent == (life.sent_at is not None)


class Lives:
    """Follows the attempts of a ledger while its entries go by."""

    def __init__(self, raw: Any, key: bytes, delivered: Standing) -> None:
        """`raw`: the driver's connection; `key`: of the ledger's digests; `delivered` hears of every delivery."""
        self._raw, self.delivered = raw, delivered
        self._retelling = Retelling(key)
        # Those of a run are mostly in the same windows.
        self._are_numbers = Known(lambda held: not held or _NUMBERS.fullmatch(held) is not None)
        self._rows = stream(raw, _ATTEMPTS)
        self._at = 0  # the newest attempt whose row was read
        self._begun: tuple[Retold, str] | None = None  # of that one
        self.open: dict[int, Open] = {}
        self._left: set[int] = set()
        self._mentioned: set[int] = set()
        self.is_lost = False
        self._named = 0

    def tells(self, number: int, at: str, attempt: int, kind: str, opened: int, settled: int, facts: str) -> bool:
        """Whether entry `number` is just what the rows of its attempt make it; otherwise the attempt is left.

        When it is, its facts are canonical, and they say nothing of any other row but its delivery. `kind` is reserve,
        sent, or one of ENDS.
        """
        if self.is_lost:
            return False
        try:
            if kind == "reserve":
                told = self._reserved(attempt, opened, settled, facts)
            elif attempt not in self.open:
                told = False
            elif kind == "sent":
                told = self._sent(attempt, at, facts) and not opened and not settled
            else:
                told = self._ended(number, attempt, kind, opened, settled, facts)
        except (TypeError, AttributeError):  # in its row is what no program writes
            told = False
        if not told:
            self.leave(attempt)
        return told

    def _reserved(self, attempt: int, opened: int, settled: int, facts: str) -> bool:
        begun = self.begun(attempt)
        if begun is None or opened != begun[0].reserved_micros or settled:
            return False
        life, held = begun
        before, after = life.reserve
        named: str | None = held
        if facts != before + held + after:
            named = _between(facts, before, after)
            if named is None or not _are_held(named, held):
                return False
        self.begin(attempt, life, named or "")
        return True

    def _sent(self, attempt: int, at: str, facts: str) -> bool:
        one = self.open[attempt]
        if one.is_sent or one.life.sent_at != at or facts != "{}":
            return False
        one.is_sent = True
        return True

    def _ended(self, number: int, attempt: int, kind: str, opened: int, settled: int, facts: str) -> bool:
        one = self.open[attempt]
        life = one.life
        if life.end is None or not one.ends(kind, opened, settled):
            return False
        begin, rest = life.end
        if facts != begin + rest:
            before, after = life.delivery or ("", "")
            replaces = _between(facts, begin + before, after + rest)
            if life.delivery is None or replaces is None or not _NUMBER.fullmatch(replaces):
                return False
            self.delivered.put(number, int(replaces))
        self.end(attempt)
        return True

    def begun(self, attempt: int) -> tuple[Retold, str] | None:
        """What the entries of an attempt must be, and the windows that it is in, when its first entry comes; the same
        until `begin`. None: there is no such row, it was begun before, or no usual life leaves it like this.
        """
        if self._at < attempt:
            row = self._read_to(attempt)
            if row is not None:
                life = self._told(row)
                self._begun = None if life is None or not self._are_numbers[row[1]] else (life, row[1] or "")
        return self._begun if self._at == attempt else None

    def _told(self, row: Any) -> Retold | None:
        if row[-1] is not None:
            return self._retelling.bought(row)
        return self._retelling.of(self._raw.execute(_ATTEMPT, row[:1]).fetchone())

    def begin(self, attempt: int, life: Retold, named: str) -> None:
        """Its first entry is what it must be, and names these windows."""
        self._begun = None
        self._left.discard(attempt)
        self.open[attempt] = Open(life, named.count(",") + 1 if named else 0)
        if len(self.open) > OPEN_MAX:
            self._lose()

    def end(self, attempt: int) -> None:
        """So is its last."""
        self._named += self.open.pop(attempt).named

    def _read_to(self, attempt: int) -> Any:
        """The row of an attempt; None when there is none, or it was read before. It and those before it are left, for
        now: attempts have rising numbers, so each row is read when its first entry comes.
        """
        self._begun = None
        while self._at < attempt:
            row = self._next()
            if row is None:
                return None
            self._at = row[0]
            self._put_aside(self._at)
            if self._at == attempt:
                return row
        return None

    def _next(self) -> Any:
        try:
            return next(self._rows, None)
        except sqlite_module().OperationalError:  # of a value that no program writes, SQLite makes no JSON
            self._lose()
            self._rows = iter(())
            return None

    def adopted(self, attempt: int) -> None:
        """It is of a ledger that was not chained yet: left."""
        self._read_to(attempt)
        self.leave(attempt)

    def mentioned(self, attempt: int, *, moves: bool) -> None:
        """There is an entry about it of some other kind, so there must be a row. `moves`: money, which none should."""
        if moves:
            self.leave(attempt)
        self._mentioned.add(attempt)
        if len(self._mentioned) >= _ROWS:
            self._look_up()

    def _look_up(self) -> None:
        asked = json.dumps(list(self._mentioned))
        self._mentioned.clear()
        if self._raw.execute(_MISSING, (asked,)).fetchone() != (0,):
            self._lose()

    def leave(self, attempt: Any) -> None:
        """We cannot tell of it. When it had ended in the usual way, or was never there, then of none."""
        if attempt == self._at:
            self._begun = None
        if self.open.pop(attempt, None) is not None:
            self._put_aside(attempt)
        elif attempt not in self._left:
            self._lose()

    def _put_aside(self, attempt: int) -> None:
        if not self.is_lost:
            self._left.add(attempt)
            if len(self._left) > LEFT_MAX:
                self._lose()

    def _lose(self) -> None:
        self.is_lost = True
        self._left.clear()
        self.open.clear()

    def left(self) -> tuple[list[int] | None, int]:
        """In the end: which attempts were left, None for all; and how many rows of attempt_windows the others name."""
        self._look_up()
        for attempt, one in list(self.open.items()):
            if one.life.state == ("sent" if one.is_sent else "reserved") and one.is_sent != (one.life.sent_at is None):
                self._named += one.named
            else:
                self.leave(attempt)
        while not self.is_lost and (row := self._next()) is not None:
            self._put_aside(row[0])
        return (None, 0) if self.is_lost else (sorted(self._left), self._named)


def _between(facts: str, before: str, after: str) -> str | None:
    """What stands between the two; None when they do not stand there."""
    end = len(facts) - len(after)
    if end < len(before) or not (facts.startswith(before) and facts.endswith(after)):
        return None
    return facts[len(before) : end]


def _are_held(named: str, held: str) -> bool:
    """Whether an attempt is in all windows that its reservation names: it may have joined others since."""
    if named and not _NUMBERS.fullmatch(named):
        return False
    windows = named.split(",") if named else []
    return len(set(windows)) == len(windows) and set(held.split(",")).issuperset(windows)


def stream(raw: Any, statement: str) -> Iterator[Any]:
    """The rows of a statement on the driver's connection, some at a time."""
    for rows in blocks(raw, statement):
        yield from rows


def blocks(raw: Any, statement: str) -> Iterator[list[Any]]:
    """The same, a list of some rows at a time."""
    cursor = raw.execute(statement)
    while rows := cursor.fetchmany(_ROWS):
        yield rows
