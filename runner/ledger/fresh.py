"""A new ledger: the tables that all migrations together make, written down, so that nobody has to walk the whole way.

`migrations/head.sql` is what SQLite itself says of a ledger that came by the migrations (a test makes one, and compares
every byte). It is also what `omixa audit verify` holds a ledger against.
"""

import secrets
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from runner.errors import LedgerError

_NAME = "head.sql"
# Kind, name, and of which table.
Part = tuple[str, str, str]
_AGAIN = "install omixa-runner again"


def folder() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout. Raises LedgerError."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "migrations", package.parent / "migrations"):
        if (place / "env.py").is_file():
            return place
    raise LedgerError("the ledger's migrations are missing from this installation", _AGAIN)


@cache
def statements() -> tuple[str, ...]:
    """What makes the tables, indexes, views and triggers of a ledger, one statement each. Raises LedgerError."""
    path = folder() / _NAME
    try:
        told = path.read_text(encoding="utf-8")
    except OSError as error:
        told = f"`{path}` cannot be read: {error.strerror}"
        raise LedgerError(f"the ledger's tables are missing from this installation: {told}", _AGAIN) from error
    return tuple(_split(told))


def make(raw: Any, revision: str, *, uid: str | None = None) -> None:
    """Inside a transaction of the driver's connection: an empty file becomes an empty ledger of this revision.

    `uid`: its identity; None: one that nobody else has.
    """
    for statement in statements():
        raw.execute(statement)
    raw.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (revision,))
    state = (uid or uuid.uuid4().hex, secrets.token_hex(32))
    raw.execute("INSERT INTO ledger_state (id, uid, digest_key) VALUES (1, ?, ?)", state)


@cache
def schema() -> Mapping[Part, str]:
    """What a ledger is made of: kind, name and table of each part, and how it was made. Raises LedgerError."""
    with closing(sqlite3.connect(":memory:")) as raw:
        for statement in statements():
            raw.execute(statement)
        return schema_of(raw)


def schema_of(raw: Any) -> Mapping[Part, str]:
    """The same of the ledger that this connection of the driver has open. What SQLite makes by itself is left out:
    indexes of keys, and its notes on how rows are spread (`ANALYZE`).
    """
    rows = raw.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master "
        "WHERE sql IS NOT NULL AND NOT (type = 'table' AND name GLOB 'sqlite_stat[1-4]')"
    )
    # How a table was broken into lines is a matter of the library that wrote it down.
    return {(kind, name, table): " ".join(str(told).split()) for kind, name, table, told in rows.fetchall()}


def differences(raw: Any) -> list[str]:
    """What of the open ledger is not what the migrations make, to the word: a trigger that guards what is closed, a
    check of a table. In words, sorted; empty when nothing is.
    """
    made, found = schema(), schema_of(raw)
    wrong = {
        "is missing": made.keys() - found.keys(),
        "is none of the program's": found.keys() - made.keys(),
        "is not the program's": {part for part, told in made.items() if found.get(part, told) != told},
    }
    return sorted(f"{kind} `{name}` of {table} {what}" for what, parts in wrong.items() for kind, name, table in parts)


def _split(told: str) -> Iterator[str]:
    """The statements, as SQLite keeps them: a trigger has semicolons of its own."""
    statement = ""
    for line in told.splitlines(keepends=True):
        if not statement and (line.startswith("--") or not line.strip()):
            continue
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.rstrip().removesuffix(";")
            statement = ""
