"""Usage rows → Report: sums by any of the keys, each currency for itself. Pure; memory grows with the groups only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from runner.diagnostics import did_you_mean
from runner.errors import UsageError
from runner.windows import Period, window

if TYPE_CHECKING:  # at run time this module stays light: the command line asks it for the keys
    from runner.ledger.usage import UsageRow

LABEL = "label:"


def _of_calendar(period: Period) -> "Callable[[UsageRow], str]":
    # A window's label is a matter of its local day alone; the zone is only where the day came from.
    return lambda row: window(period, date.fromisoformat(row.day), "UTC").label


def _commit(row: "UsageRow") -> str | None:
    """As `git describe --dirty` says it: what a changed recipe bought was not bought by the commit."""
    if row.git_commit is None:
        return None
    return f"{row.git_commit}-dirty" if row.git_dirty else row.git_commit


# What rows can be grouped by, beside `label:NAME`. None: the row has none. To add one: its line here.
KEYS: "dict[str, Callable[[UsageRow], str | None]]" = {
    "day": _of_calendar("day"),
    "week": _of_calendar("week"),
    "month": _of_calendar("month"),
    "workspace": lambda row: row.workspace,
    "recipe": lambda row: row.recipe,
    "model": lambda row: row.model,
    "preset": lambda row: row.preset or None,
    "cost-centre": lambda row: row.cost_centre,
    "commit": _commit,
}


@dataclass(slots=True)
class Sums:
    """How many attempts, in which states, and their money in micro-units of one currency.

    attempts = settled + released + open. `unknown` is the part of `open` whose answer never came.
    """

    attempts: int = 0
    settled_count: int = 0
    released_count: int = 0
    open_count: int = 0
    unknown_count: int = 0
    settled_micros: int = 0
    open_micros: int = 0
    unknown_micros: int = 0

    def count(self, row: "UsageRow") -> None:
        """Add one attempt."""
        self.attempts += 1
        match row.state:
            case "settled":
                assert row.billed_micros is not None
                self.settled_count += 1
                self.settled_micros += row.billed_micros
            case "released":
                self.released_count += 1
            case _:
                self.open_count += 1
                self.open_micros += row.open_micros
                if row.state == "unknown":
                    self.unknown_count += 1
                    self.unknown_micros += row.open_micros

    def add(self, other: "Sums") -> None:
        """Add the sums of a group."""
        self.attempts += other.attempts
        self.settled_count += other.settled_count
        self.released_count += other.released_count
        self.open_count += other.open_count
        self.unknown_count += other.unknown_count
        self.settled_micros += other.settled_micros
        self.open_micros += other.open_micros
        self.unknown_micros += other.unknown_micros


@dataclass(frozen=True, slots=True)
class Line:
    """One group: a value for each key of the report (None: the attempts have none), in one currency."""

    values: tuple[str | None, ...]
    currency: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Report:
    """Sums by group. `lines` are in the order of their values, None last.

    `workspace`, `first_day` and `last_day` are what was asked for, None: all. `absent`: labels no attempt has.
    """

    by: tuple[str, ...]
    lines: tuple[Line, ...]
    absent: tuple[str, ...] = ()
    workspace: str | None = None
    first_day: str | None = None
    last_day: str | None = None
    totals: dict[str, Sums] = field(init=False)

    def __post_init__(self) -> None:
        # The total is the sum of the lines by construction, each currency for itself.
        totals: dict[str, Sums] = {}
        for line in self.lines:
            totals.setdefault(line.currency, Sums()).add(line.sums)
        object.__setattr__(self, "totals", dict(sorted(totals.items())))


def build(
    rows: "Iterable[UsageRow]",
    by: Sequence[str],
    *,
    workspace: str | None = None,
    first_day: str | None = None,
    last_day: str | None = None,
) -> Report:
    """Group the rows by the keys. The other arguments are only carried along, to be said on the report.

    Raises UsageError on an unknown key.
    """
    names = parse_keys(by)
    readers = [_reader(name) for name in names]
    groups: dict[tuple[tuple[str | None, ...], str], Sums] = {}
    for row in rows:
        group = (tuple(read(row) for read in readers), row.currency)
        sums = groups.get(group)
        if sums is None:
            sums = groups[group] = Sums()
        sums.count(row)
    lines = sorted((Line(values, currency, sums) for (values, currency), sums in groups.items()), key=_order)
    absent = tuple(
        name
        for at, name in enumerate(names)
        if lines and name.startswith(LABEL) and all(line.values[at] is None for line in lines)
    )
    return Report(names, tuple(lines), absent, workspace, first_day, last_day)


def parse_keys(texts: Sequence[str]) -> tuple[str, ...]:
    """The keys of `--by day,recipe --by label:client`: in order, each once. Raises UsageError."""
    return tuple(dict.fromkeys(_checked(name.strip()) for text in texts for name in text.split(",")))


def _checked(name: str) -> str:
    if name in KEYS or (name.startswith(LABEL) and len(name) > len(LABEL)):
        return name
    closest = did_you_mean(name, [*KEYS, LABEL])
    known = f"known: {', '.join(f'`{key}`' for key in KEYS)} and `{LABEL}NAME`"
    if closest is None:
        raise UsageError(f"a report cannot be grouped by `{name}`", known)
    if closest == LABEL:
        closest = f"{LABEL}NAME"
    raise UsageError(f"a report cannot be grouped by `{name}`; did you mean `{closest}`?", known)


def _reader(name: str) -> "Callable[[UsageRow], str | None]":
    if not name.startswith(LABEL):
        return KEYS[name]
    label = name.removeprefix(LABEL)
    return lambda row: row.labels.get(label)


def _order(line: Line) -> tuple[tuple[tuple[bool, str], ...], str]:
    return tuple((value is None, value or "") for value in line.values), line.currency
