"""Usage rows → Report: sums by any of the keys, each currency for itself. Pure; memory grows with the groups only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from runner.diagnostics import did_you_mean
from runner.errors import UsageError
from runner.terminal import counted
from runner.windows import Period, window

if TYPE_CHECKING:  # at run time this module stays light: the command line asks it for the keys
    from runner.ledger.closed import Closing
    from runner.ledger.totals import DayTotal
    from runner.ledger.usage import Spent, UsageRow

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
    "quarter": _of_calendar("quarter"),
    "year": _of_calendar("year"),
    "workspace": lambda row: row.workspace,
    "recipe": lambda row: row.recipe,
    "model": lambda row: row.model,
    "preset": lambda row: row.preset or None,
    "prompt": lambda row: row.prompt or None,
    "source": lambda row: row.source_path or None,
    "cost-centre": lambda row: row.cost_centre,
    "commit": _commit,
    "run": lambda row: row.run_uid,
    "slot": lambda row: row.slot,
    "who": lambda row: row.who,
    "author": lambda row: row.author,
    "approver": lambda row: row.approver,
}


@dataclass(slots=True)
class Sums:
    """How many attempts, in which states, and their money in micro-units of one currency.

    attempts = settled + released + open. `unknown` is the part of `open` whose answer never came. `unusable` and
    `again` are parts of `settled`, and nothing is in both: what brought no picture that can be used, and what had been
    bought before. `reconciled` is the part of `settled` that a file of the provider bills just so.

    A correction of a closed window takes an attempt out of what is open there and adds how it ended, so `open` and
    `unknown` can be below zero where only the correction is counted.
    """

    attempts: int = 0
    settled_count: int = 0
    released_count: int = 0
    open_count: int = 0
    unknown_count: int = 0
    unusable_count: int = 0
    again_count: int = 0
    reconciled_count: int = 0
    settled_micros: int = 0
    open_micros: int = 0
    unknown_micros: int = 0
    unusable_micros: int = 0
    again_micros: int = 0
    reconciled_micros: int = 0
    correction_count: int = 0

    def count(self, row: "UsageRow") -> None:
        """Add one attempt, or one correction of an attempt that another window has counted."""
        if row.before_state is not None:
            self._correct(row)
        self.attempts += 1
        match row.state:
            case "settled":
                assert row.billed_micros is not None
                self.settled_count += 1
                self.settled_micros += row.billed_micros
                if not row.has_picture:
                    self.unusable_count += 1
                    self.unusable_micros += row.billed_micros
                elif row.again:
                    self.again_count += 1
                    self.again_micros += row.billed_micros
                if row.reconciled:
                    self.reconciled_count += 1
                    self.reconciled_micros += row.billed_micros
            case "released":
                self.released_count += 1
            case _:
                self.open_count += 1
                self.open_micros += row.reserved_micros
                if row.state == "unknown":
                    self.unknown_count += 1
                    self.unknown_micros += row.reserved_micros

    def _correct(self, row: "UsageRow") -> None:
        """Take out what the attempt was counted as."""
        self.correction_count += 1
        self.attempts -= 1
        self.open_count -= 1
        self.open_micros -= row.reserved_micros
        if row.before_state == "unknown":
            self.unknown_count -= 1
            self.unknown_micros -= row.reserved_micros

    def add(self, other: "Sums") -> None:
        """Add the sums of a group."""
        for one in fields(Sums):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def pictures(self) -> int:
        """How many attempts brought a picture that can be used."""
        return self.settled_count - self.unusable_count

    @property
    def price_micros(self) -> int | None:
        """What a usable picture cost, with all that was billed: a rounded mean. None: there is no picture."""
        return None if not self.pictures else (2 * self.settled_micros + self.pictures) // (2 * self.pictures)


@dataclass(frozen=True, slots=True)
class Line:
    """One group: a value for each key of the report (None: the attempts have none), in one currency.

    `before`: the same group in the window before; None where that was not asked for.
    """

    values: tuple[str | None, ...]
    currency: str
    sums: Sums
    before: Sums | None = None

    @property
    def change_micros(self) -> int | None:
        """How much more was settled than in the window before."""
        return None if self.before is None else self.sums.settled_micros - self.before.settled_micros


@dataclass(frozen=True, slots=True)
class Report:
    """Sums by group. `lines` are in the order of their values, None last; the dearest first, when only some are shown.

    `workspace`, `first_day` and `last_day` are what was asked for, None: all. `absent`: labels no attempt has. `span`
    is what the days are called, such as `2026-10`. `before_span`: the window that it is compared with. `budgets`: the
    windows of the budgets that lie within these days. `closings`: of the windows that are closed in these days.
    """

    by: tuple[str, ...]
    lines: tuple[Line, ...]
    absent: tuple[str, ...] = ()
    workspace: str | None = None
    first_day: str | None = None
    last_day: str | None = None
    span: str | None = None
    before_span: str | None = None
    budgets: "tuple[Spent, ...]" = ()
    closings: "tuple[Closing, ...]" = ()
    totals: dict[str, Sums] = field(init=False)
    totals_before: dict[str, Sums] = field(init=False)

    def __post_init__(self) -> None:
        # The total is the sum of the lines by construction, each currency for itself.
        totals: dict[str, Sums] = {}
        before: dict[str, Sums] = {}
        for line in self.lines:
            totals.setdefault(line.currency, Sums()).add(line.sums)
            if line.before is not None:
                before.setdefault(line.currency, Sums()).add(line.before)
        object.__setattr__(self, "totals", dict(sorted(totals.items())))
        object.__setattr__(self, "totals_before", before)

    def total(self, currency: str) -> Line:
        """The total of a currency, as a line without values."""
        return Line((), currency, self.totals[currency], self.totals_before.get(currency))


Groups = dict[tuple[tuple[str | None, ...], str], Sums]


def build(
    rows: "Iterable[UsageRow | DayTotal]",
    by: Sequence[str],
    *,
    before: "Iterable[UsageRow | DayTotal] | None" = None,
    top: int | None = None,
    **told: Any,
) -> Report:
    """Group the rows by the keys, and with `before` those of the window before, too. Rows are attempts, or what the
    ledger has summed of them by these keys.

    `top`: only so many groups of each currency, those with the most settled; the others are one line. What else is
    `told` is only carried along, to be said on the report. Raises UsageError on an unknown key.
    """
    names = parse_keys(by)
    groups = _grouped(rows, names)
    earlier = None if before is None else _grouped(before, names)
    keys = {**groups, **(earlier or {})}
    lines = [Line(*key, groups.get(key, Sums()), None if earlier is None else earlier.get(key, Sums())) for key in keys]
    lines.sort(key=_order)
    absent = tuple(
        name
        for at, name in enumerate(names)
        if lines and name.startswith(LABEL) and all(line.values[at] is None for line in lines)
    )
    if top is not None:
        lines = [line for currency in sorted({line.currency for line in lines}) for line in _top(lines, currency, top)]
    return Report(names, tuple(lines), absent, **told)


def _grouped(rows: "Iterable[UsageRow | DayTotal]", names: Sequence[str]) -> Groups:
    readers = [_reader(name) for name in names]
    groups: Groups = {}
    for row in rows:
        group = (tuple(read(row) for read in readers), row.currency)
        sums = groups.get(group)
        if sums is None:
            sums = groups[group] = Sums()
        if row.sums is None:
            sums.count(row)
        else:
            sums.add(Sums(*row.sums))
    return groups


def _top(lines: Sequence[Line], currency: str, count: int) -> list[Line]:
    """The dearest lines of a currency, and one for all others."""
    own = [line for line in lines if line.currency == currency]
    own.sort(key=lambda line: (-line.sums.settled_micros, -line.sums.open_micros))
    if len(own) <= count:
        return own
    rest = Line((counted(len(own) - count, "other"), *[None] * (len(own[0].values) - 1)), currency, Sums(), None)
    before = None if own[0].before is None else Sums()
    for line in own[count:]:
        rest.sums.add(line.sums)
        if before is not None and line.before is not None:
            before.add(line.before)
    return [*own[:count], replace(rest, before=before)]


def parse_keys(texts: Sequence[str]) -> tuple[str, ...]:
    """The keys of `--by day,recipe --by label:client`: in order, each once. Raises UsageError."""
    return tuple(dict.fromkeys(_checked(name.strip()) for text in texts for name in text.split(",")))


def _checked(name: str) -> str:
    if name in KEYS or (name.startswith(LABEL) and len(name) > len(LABEL)):
        return name
    closest = did_you_mean(name, [*KEYS, LABEL])
    known = f"known: {', '.join(f'`{key}`' for key in KEYS)} and `{LABEL}NAME`"
    if name == "step":  # a word of recipes, so it is asked for
        known = f"the ledger has no steps; `model`, `prompt` or `preset` tells most of them apart; {known}"
    if closest is None:
        raise UsageError(f"a report cannot be grouped by `{name}`", known)
    if closest == LABEL:
        closest = f"{LABEL}NAME"
    raise UsageError(f"a report cannot be grouped by `{name}`; did you mean `{closest}`?", known)


def _reader(name: str) -> "Callable[[Any], str | None]":
    if not name.startswith(LABEL):
        return KEYS[name]
    label = name.removeprefix(LABEL)
    return lambda row: row.labels.get(label)


def _order(line: Line) -> tuple[tuple[tuple[bool, str], ...], str]:
    return tuple((value is None, value or "") for value in line.values), line.currency
