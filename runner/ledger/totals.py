"""Usage by day, as the database itself adds it up: what a report needs without reading every attempt.

Triggers keep the totals in the transaction that changes an attempt; `wrong` proves that they equal the rows.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType

from sqlalchemy import Connection, text

from runner.ledger.database import Database, driver_of
from runner.ledger.prepared import Prepared
from runner.ledger.tables import SUMS, TOTALS

# Which column a key of a report is read from. What is not here (a run, a slot, a source) only the attempts can tell.
_COLUMNS = {
    **dict.fromkeys(("day", "week", "month", "quarter", "year"), "day"),
    "workspace": "workspace",
    "recipe": "recipe",
    "model": "model",
    "preset": "preset_name",
    "prompt": "prompt_name",
    **dict.fromkeys(("cost-centre", "commit", "who", "label", "author", "approver"), "run_facts"),
}

# How many of those that do not add up are named.
WRONG_MAX = 10


@dataclass(frozen=True, slots=True)
class DayTotal:
    """Attempts that are alike in what was asked for, summed; what was not asked for is None, or empty.

    `sums` are in the order of `tables.SUMS`. The other fields are those of a UsageRow.
    """

    workspace: str
    currency: str
    day: str
    recipe: str
    model: str
    preset: str
    prompt: str
    cost_centre: str | None
    git_commit: str | None
    git_dirty: bool | None
    labels: Mapping[str, str]
    who: str
    author: str | None
    approver: str | None
    sums: tuple[int, ...]


def tell(keys: Collection[str]) -> bool:
    """Whether the totals know these keys of a report, such as `month` or `label:client`."""
    return all(_plain(key) in _COLUMNS for key in keys)


def rows(
    database: Database,
    keys: Collection[str],
    *,
    workspace: str | None = None,
    first_day: str | None = None,
    last_day: str | None = None,
) -> Iterator[DayTotal]:
    """Usage summed by these keys and the currency. Days are the workspace's own, both ends inside."""
    names = {"workspace": workspace, "first": first_day, "last": last_day}
    values = {name: value for name, value in names.items() if value is not None}
    statement = _statement(frozenset(_COLUMNS[_plain(key)] for key in keys), tuple(values))
    with database.read() as connection:
        sql, ordered = statement.on(connection.dialect)
        for row in driver_of(connection).execute(sql, ordered(values)):
            day, of, recipe, model, preset, prompt, facts, currency, *sums = row
            run = _facts(facts)
            yield DayTotal(of, currency, day, recipe, model, preset, prompt, *run, tuple(sums))


_LIMITS = {"workspace": "workspace = :workspace", "first": "day >= :first", "last": "day <= :last"}


@cache
def _statement(wanted: frozenset[str], limits: tuple[str, ...]) -> Prepared:
    """Sums by these columns. First by the columns of the key up to the last of them, which is the order in which the
    rows stand, so nothing is sorted; then what is left, a tenth or less, by the columns themselves.
    """
    until = max(_ALL.index(column) for column in {"workspace", *wanted}) + 1
    where = f"WHERE {' AND '.join(_LIMITS[name] for name in limits)}" if limits else ""
    rows = f"(SELECT * FROM totals {where})"  # noqa: S608 - names of columns
    if until < len(_ALL):
        added = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
        prefix = ", ".join(_ALL[:until])
        rows = f"(SELECT {prefix}, {added} FROM totals {where} GROUP BY {prefix})"  # noqa: S608
    columns = [f"t.{column}" for column in _ALL if column in wanted]
    told = ", ".join(f"t.{column}" if column in wanted else "''" for column in _ALL)
    return Prepared(
        f"SELECT {told}, w.currency, {', '.join(f'sum(t.{name})' for name in SUMS)} FROM {rows} t "  # noqa: S608
        f"JOIN workspaces w ON w.name = t.workspace GROUP BY {', '.join([*columns, 'w.currency'])}"
    )


_ALL = tuple(column.name for column in TOTALS.primary_key)


def _plain(key: str) -> str:
    return key.partition(":")[0]


@lru_cache(maxsize=1024)
def _facts(
    told: str,
) -> tuple[str | None, str | None, bool | None, Mapping[str, str], str, str | None, str | None]:
    """Cost centre, commit, dirty, labels, who, author and approver of a run."""
    if not told:
        return None, None, None, {}, "", None, None
    cost_centre, commit, dirty, labels, who, author, approver = json.loads(told)
    labelled = MappingProxyType(json.loads(labels))
    return cost_centre, commit, None if dirty is None else bool(dirty), labelled, who, author, approver


# Day by day, each by its index: to sort all attempts of a year at once takes gigabytes.
_DAYS = text(
    "SELECT workspace, day FROM attempts UNION SELECT workspace, day FROM corrections "
    "UNION SELECT workspace, day FROM totals ORDER BY 1, 2"
)
_OF_DAY = "workspace = :workspace AND day = :day"
_GROUPED = (
    f"SELECT {', '.join(_ALL)}, {', '.join(f'sum({name}) AS {name}' for name in SUMS)} "  # noqa: S608 - names of columns
    f"FROM counted WHERE {_OF_DAY} GROUP BY {', '.join(_ALL)}"
)
_HAD = text(f"SELECT {', '.join(_ALL + SUMS)} FROM totals WHERE {_OF_DAY}")  # noqa: S608
_MADE = text(_GROUPED)
_ADD_UP = text(f"INSERT INTO totals ({', '.join(_ALL + SUMS)}) {_GROUPED}")


def wrong(connection: Connection) -> list[str]:
    """Every day, workspace and recipe whose totals are not the sums of its attempts, in words; the first ten."""
    found: list[str] = []
    for workspace, day in connection.execute(_DAYS).all():
        for recipe in _wrong_of_day(connection, workspace, day):
            told = f"the totals of {recipe} on {day} in workspace {workspace} are not the sums of its attempts"
            found.append(told)
            if len(found) == WRONG_MAX:
                return found
    return found


def _wrong_of_day(connection: Connection, workspace: str, day: str) -> list[str]:
    """The recipes of totals that no attempts make, and of attempts that no total has."""
    names = {"workspace": workspace, "day": day}
    had = {tuple(row) for row in connection.execute(_HAD, names)}
    made = {tuple(row) for row in connection.execute(_MADE, names)}
    return sorted({row[_RECIPE] for row in had ^ made})


_RECIPE = _ALL.index("recipe")


def remake(connection: Connection) -> None:
    """Add all totals up anew from the attempts."""
    connection.execute(text("DELETE FROM totals"))
    for workspace, day in connection.execute(_DAYS).all():
        connection.execute(_ADD_UP, {"workspace": workspace, "day": day})
