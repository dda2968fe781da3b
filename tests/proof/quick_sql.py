"""The ledger's own statements on a real SQLite connection, with a thin executor in place of SQLAlchemy's.

SQLAlchemy still writes the SQL and says which value goes where; only its pool, events and result objects are left out,
because a million schedules run some hundred million statements. `test_simulator.py` holds both ways equal.
"""

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Dialect, TextClause

Values = Mapping[str, Any]


class Plan:
    """One compiled statement: its SQL, and how its positional values are made from the named ones."""

    def __init__(self, compiled: Any) -> None:
        assert not compiled.insert_prefetch, "no column has a default of Python's"
        assert not compiled.update_prefetch, "no column has a default of Python's"
        self.compiled = compiled
        self._shapes: dict[tuple[int, ...], tuple[str, Any]] = {}
        self._expanding = [
            compiled.bind_names[bind]
            for bind in compiled.bind_names
            if bind in compiled.post_compile_params or bind in compiled.literal_execute_params
        ]
        self.row: Any = None
        if not self._expanding:
            self.sql, self.names = str(compiled), tuple(compiled.positiontup or ())
            self.fixed = compiled.construct_params(_check=False)

    def bind(self, values: Values, extracted: Sequence[Any] | None) -> tuple[str, tuple[Any, ...]]:
        """The SQL and the values in its order."""
        if not self._expanding:
            if extracted is None:
                fixed = self.fixed
                return self.sql, tuple([values[name] if name in values else fixed[name] for name in self.names])
            found = self.compiled.construct_params(values, extracted_parameters=extracted, escape_names=False)
            return self.sql, tuple([found[name] for name in self.names])
        found = self.compiled.construct_params(values, extracted_parameters=extracted, escape_names=False)
        shape = tuple([len(found[name]) for name in self._expanding])
        known = self._shapes.get(shape)
        if known is None:
            state = self.compiled._process_parameters_for_postcompile(dict(found))
            known = self._shapes[shape] = (state.statement, (tuple(state.positiontup), state.parameter_expansion))
        sql, (names, expansion) = known
        for name, parts in expansion.items():
            found.update(zip(parts, found[name], strict=True))
        return sql, tuple([found[name] for name in names])


class Rows:
    """What a statement gave: the parts of SQLAlchemy's Result that the ledger uses."""

    __slots__ = ("_cursor", "_plan", "rowcount")

    def __init__(self, cursor: Any, plan: Plan | None) -> None:
        self._cursor, self._plan, self.rowcount = cursor, plan, cursor.rowcount

    def _maker(self) -> Any:
        if self._plan is None:
            return _row_type([column[0] for column in self._cursor.description])
        if self._plan.row is None:
            self._plan.row = _row_type([column[0] for column in self._cursor.description])
        return self._plan.row

    def first(self) -> Any:
        found = self._cursor.fetchone()
        if found is None:
            return None
        self._cursor.close()
        return self._maker()._make(found)

    one_or_none = first

    def one(self) -> Any:
        found = self.first()
        assert found is not None, "one row was expected"
        return found

    def scalar_one_or_none(self) -> Any:
        found = self._cursor.fetchone()
        if found is None:
            return None
        self._cursor.close()
        return found[0]

    scalar = scalar_one_or_none

    def scalar_one(self) -> Any:
        found = self._cursor.fetchone()
        assert found is not None, "one row was expected"
        self._cursor.close()
        return found[0]

    def scalars(self) -> Any:
        return Column([row[0] for row in self._cursor.fetchall()])

    def all(self) -> list[Any]:
        found = self._cursor.fetchall()
        return list(map(self._maker()._make, found)) if found else []

    def mappings(self) -> Any:
        return Column([row._mapping for row in self.all()])

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())


class Column:
    """A list of values that was read whole."""

    __slots__ = ("_values",)

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def all(self) -> list[Any]:
        return self._values

    def first(self) -> Any:
        return self._values[0] if self._values else None

    one_or_none = first

    def one(self) -> Any:
        (value,) = self._values
        return value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)


_TYPES: dict[tuple[str, ...], Any] = {}


def _row_type(names: Sequence[str]) -> Any:
    key = tuple(names)
    if key not in _TYPES:
        base = namedtuple("Row", key, rename=True)  # type: ignore[misc]
        row = type(
            "Row", (base,), {"__slots__": (), "_mapping": property(lambda self: dict(zip(key, self, strict=True)))}
        )
        _TYPES[key] = row
    return _TYPES[key]


class Nested:
    """A savepoint."""

    def __init__(self, raw: Any) -> None:
        self._raw, self.is_active = raw, True
        raw.execute("SAVEPOINT nested")

    def commit(self) -> None:
        self._raw.execute("RELEASE nested")
        self.is_active = False

    def rollback(self) -> None:
        self._raw.execute("ROLLBACK TO nested")
        self._raw.execute("RELEASE nested")
        self.is_active = False

    def __enter__(self) -> "Nested":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.is_active:
            self.commit() if kind is None else self.rollback()


class QuickConnection:
    """The parts of SQLAlchemy's Connection that the ledger uses. The caller begins and ends the transaction."""

    def __init__(self, raw: Any, dialect: Dialect) -> None:
        self.raw, self.dialect = raw, dialect
        self._texts: dict[str, Plan] = {}
        self._plans: dict[Any, Plan] = {}
        # Statements that live as long as their module; the others come and go, and so do their numbers.
        self._prebuilt: dict[int, ClauseElement] = {}

    @property
    def connection(self) -> "QuickConnection":
        """What SQLAlchemy keeps around the driver's connection."""
        return self

    @property
    def driver_connection(self) -> Any:
        """The driver's own, on which the ledger runs the statements of its hot path."""
        return self.raw

    def remember(self, modules: Sequence[Any]) -> None:
        """Statements that are made once in these modules are found by their identity, without a cache key."""
        for module in modules:
            for value in vars(module).values():
                for one in value.values() if isinstance(value, dict) else (value,):
                    if isinstance(one, ClauseElement):
                        self._prebuilt[id(one)] = one

    def execute(self, statement: Any, values: Any = None) -> Rows:
        """Run one statement; a list of values runs it for each."""
        many = isinstance(values, list | tuple)
        first: Values = (values[0] if many else values) or {}
        plan, extracted = self._plan(statement, first, many)
        cursor = self.raw.cursor()
        if many:
            bound = [plan.bind(each, extracted) for each in values]
            cursor.executemany(bound[0][0], [row for _, row in bound])
        else:
            cursor.execute(*plan.bind(first, extracted))
        return Rows(cursor, plan)

    def exec_driver_sql(self, statement: str, values: Any = ()) -> Rows:
        """Run SQL as it stands."""
        return Rows(self.raw.execute(statement, values or ()), None)

    def scalar(self, statement: Any, values: Any = None) -> Any:
        """The first column of the first row, or None."""
        return self.execute(statement, values).scalar()

    def execution_options(self, **_: object) -> "QuickConnection":
        """Nothing that the ledger asks for changes what its statements do."""
        return self

    def begin_nested(self) -> Nested:
        """A savepoint."""
        return Nested(self.raw)

    def _plan(self, statement: Any, values: Values, many: bool) -> tuple[Plan, Sequence[Any] | None]:
        if isinstance(statement, TextClause):
            plan = self._texts.get(statement.text)
            if plan is None:
                plan = self._texts[statement.text] = Plan(statement.compile(dialect=self.dialect))
            return plan, None
        given = tuple(values)
        if id(statement) in self._prebuilt:
            key: Any = (id(statement), given, many)
            extracted = None
        else:
            made = statement._generate_cache_key()
            assert made is not None, "every statement of the ledger can be cached"
            key, extracted = (made.key, given, many), made.bindparams
        plan = self._plans.get(key)
        if plan is None:
            compiled = statement.compile(
                dialect=self.dialect,
                column_keys=list(given) or None,
                for_executemany=many,
                cache_key=statement._generate_cache_key(),
            )
            plan = self._plans[key] = Plan(compiled)
        return plan, extracted
