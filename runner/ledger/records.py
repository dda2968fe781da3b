"""Rows beside the money that must not be changed unseen either: each changes only with an entry that holds it whole.

The row names its newest entry, and each entry names the one that it replaces; so a row that was changed, taken out, put
in or put back to an older state is found by `verify`. Called inside a write transaction.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Table, TextClause, text

from runner.ledger.chain import Writing


def put(
    writing: Writing,
    table: Table,
    row: Mapping[str, Any],
    *,
    chain: str,
    kind: str,
    who: str,
    attempt_id: int | None = None,
) -> None:
    """Write a row, new or in the place of the one with the same key, and its entry. `row` has every column but
    `entry_id`; None where there is nothing to say. `kind`: of the entry; `attempt_id`: which attempt it is about.
    """
    keys = tuple(column.name for column in table.primary_key)
    columns = tuple(column.name for column in table.columns if column.name != "entry_id")
    assert row.keys() == set(columns), f"{table.name}: a record is written whole"
    find, write = _statements(table.name, keys, columns)
    before = writing.connection.execute(find, {key: row[key] for key in keys}).scalar_one_or_none()
    facts = {"record": {"table": table.name, "replaces": before or 0, "row": dict(row)}}
    entry_id = writing.entry(chain, kind, who, facts, attempt_id=attempt_id)
    writing.connection.execute(write, {**row, "entry_id": entry_id})


@cache
def _statements(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> tuple[TextClause, TextClause]:
    """As text they are built once a table, not once a row."""
    same = " AND ".join(f"{key} = :{key}" for key in keys)
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    changed = ", ".join(f"{name} = :{name}" for name in (*columns, "entry_id") if name not in keys)
    find = text(f"SELECT entry_id FROM {table} WHERE {same}")  # noqa: S608 - names of our own tables
    write = text(
        f"INSERT INTO {table} ({names}, entry_id) VALUES ({values}, :entry_id) "  # noqa: S608
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}"
    )
    return find, write
