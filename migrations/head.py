"""Write `head.sql` beside this file: what a ledger is made of after all migrations. To be run when one is added."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from runner.ledger import HEAD
from runner.ledger.database import driver_of, sqlite_module
from runner.ledger.migrate import upgrade

TOLD = """\
-- What a ledger is made of, as SQLite tells it of one that came by all migrations up to {revision}.
-- Made by `python migrations/head.py`; a test compares it with the migrations.
"""


def lines() -> Iterator[str]:
    """The whole file, statement by statement, in the order in which the migrations come to them."""
    engine = create_engine("sqlite://", module=sqlite_module(), poolclass=StaticPool)
    with engine.connect() as connection:
        upgrade(connection)
        connection.commit()
        yield TOLD.format(revision=HEAD)
        asked = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
        for (sql,) in driver_of(connection).execute(asked):
            yield f"\n{sql};\n"
    engine.dispose()


if __name__ == "__main__":
    path = Path(__file__).with_name("head.sql")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as new:
        new.writelines(lines())
    Path(new.name).replace(path)
    print(f"{path}: written", file=sys.stderr)
