"""Statements of the hot path: written with SQLAlchemy, compiled once, and then given to the driver as text and values.

What SQLAlchemy does around each statement (its own objects for statement, transaction, result and row) takes longer
than SQLite needs to execute it. So a booking runs its statements on the driver's connection: the same statements, in
the dialect of the engine, compiled when they are first used. Only columns whose values the driver takes as they are
(texts, whole numbers, bytes) stand in them.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from sqlalchemy import ClauseElement, Dialect, text

Values = Mapping[str, Any]


class Prepared:
    """One statement. `columns`: what an INSERT without its own values puts in."""

    __slots__ = ("_columns", "_made", "_statement")

    def __init__(self, statement: ClauseElement | str, *columns: str) -> None:
        self._statement = text(statement) if isinstance(statement, str) else statement
        self._columns = columns
        self._made: dict[str, tuple[str, Callable[[Values], Any]]] = {}

    def on(self, dialect: Dialect) -> tuple[str, Callable[[Values], Any]]:
        """Its SQL, and what puts values, which are given by name and every one of them, into the driver's order."""
        return self._made.get(dialect.name) or self._made.setdefault(dialect.name, self._compiled(dialect))

    def _compiled(self, dialect: Dialect) -> tuple[str, Callable[[Values], Any]]:
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(self._columns) or None)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        if not compiled.positional:
            return str(compiled), lambda values: {**fixed, **values}
        names = tuple(compiled.positiontup)
        if not names:
            return str(compiled), lambda _: ()
        pick = itemgetter(*names)
        if len(names) == 1:
            return str(compiled), lambda values: (pick({**fixed, **values}),)
        return str(compiled), (lambda values: pick({**fixed, **values})) if fixed else pick
