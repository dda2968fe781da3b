"""Which slots will fit, and where each budget ends: due moments + pictures + prices + budgets → Forecast. Pure.

Pictures are bought as the ledger lets them through: one after another, each with the ceiling free in every window, and
settled at the expected price. Between slots nothing is open that was not open before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Literal

from runner import windows
from runner.errors import UsageError
from runner.plan import Headroom, Price
from runner.windows import Period

# Every quarter of an hour for five years, or every minute for four months.
SLOTS_MAX = 200_000

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Gain:
    """What is known of how many pictures a recipe gains: so many in so many whole days; without days, nothing."""

    pictures: int
    days: int

    @property
    def per_day(self) -> Fraction:
        """Pictures a day, exact; 0 when nothing is known."""
        return Fraction(self.pictures, self.days) if self.days else Fraction(0)


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe: when it is due, how many pictures wait to be bought now, and how many it gains a day.

    `due` are aware moments in order. The price must be known.
    """

    recipe: str
    due: Sequence[datetime]
    waiting: int
    gained_per_day: Fraction
    price: Price


@dataclass(frozen=True, slots=True)
class Room:
    """One budget: of the workspace, or with `recipe` of that recipe alone. `run` begins anew with each slot.

    `used_micros`: settled + open of the window that holds the moment of the forecast. `used_by`: which recipes that
    is of, as far as it is known; only to say whose a window is.
    """

    period: Period | Literal["run"]
    cap_micros: int
    recipe: str | None = None
    used_micros: int = 0
    used_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """How much more a window of the workspace may take; `until` None: as long as the window lasts."""

    period: Period
    label: str
    amount_micros: int
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """What one due moment would do: how many pictures it wants and how many of them fit into every budget.

    `refused_by`: the budget that refuses first, in words; None: all fit.
    """

    recipe: str
    at: datetime
    wanted: int
    fitting: int
    expected_micros: int
    refused_by: str | None


@dataclass(frozen=True, slots=True)
class Projection:
    """One window of one budget: what is in it now, and what will be when it ends (or the forecast does, if sooner).

    Of a `run` budget: the most that one of its slots spends. `cap_micros` has what is granted when the forecast first
    meets the window. `refuses`: the first slot that it refuses, None: none. `most_by`: the recipe that most of it is
    of, and how much; None: nobody's, or a `run` budget, which is always its own recipe's.
    """

    budget: str
    period: Period | Literal["run"]
    label: str | None
    recipe: str | None
    cap_micros: int
    now_micros: int
    projected_micros: int
    ends_at: datetime | None
    refuses: Slot | None
    most_by: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Total:
    """One recipe over all its slots. `left`: pictures that still wait after the last of them."""

    recipe: str
    slots: int
    bought: int
    left: int
    expected_micros: int
    refused: Slot | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Every slot in order of time, every window that they fall into, and the recipes."""

    slots: Sequence[Slot]
    windows: Sequence[Projection]
    totals: Sequence[Total]

    @property
    def expected_micros(self) -> int:
        """What all slots together should cost."""
        return sum(total.expected_micros for total in self.totals)

    @property
    def refused(self) -> Slot | None:
        """The first slot that a budget refuses; None: everything fits."""
        return next((slot for slot in self.slots if slot.refused_by is not None), None)


def look_ahead(
    lines: Sequence[Line],
    rooms: Sequence[Room],
    *,
    workspace: str,
    zone: str,
    at: datetime,
    until: datetime,
    grants: Sequence[Grant] = (),
) -> Forecast:
    """Walk every slot after `at` and before `until` in order of time; those of one moment in order of recipe names.

    `rooms` in the order in which a refusal names them. `zone`: of the workspace's windows. What does not fit waits for
    the recipe's next slot. Raises UsageError on more than SLOTS_MAX slots.
    """
    due = _in_order(lines, at, until)
    if len(due) > SLOTS_MAX:
        raise too_many_slots(workspace)
    books = _Books(rooms, workspace, zone, grants)
    books.of(at, first=True)
    bought = {line.recipe: 0 for line in lines}
    assert len(bought) == len(lines), "a recipe has one line"
    slots: list[Slot] = []
    for moment, line in due:
        wanted = line.waiting + _gained(line, moment - at) - bought[line.recipe]
        slot = books.buy(line, moment, wanted)
        bought[line.recipe] += slot.fitting
        slots.append(slot)
    books.of(max(at, until - _TICK))
    own: dict[str, list[Slot]] = {line.recipe: [] for line in lines}
    for slot in slots:
        own[slot.recipe].append(slot)
    return Forecast(slots, books.projections(), [_total(line, own[line.recipe]) for line in lines])


def too_many_slots(workspace: str) -> UsageError:
    """The error of a forecast that would walk for too long."""
    return UsageError(
        f"the schedules of workspace {workspace} have more than {SLOTS_MAX} slots in that time",
        "look less far ahead: `--until DAY`",
    )


def _in_order(lines: Sequence[Line], at: datetime, until: datetime) -> list[tuple[datetime, Line]]:
    found = [(moment, line) for line in lines for moment in line.due if at < moment < until]
    return sorted(found, key=lambda one: (one[0], one[1].recipe))


def _gained(line: Line, passed: timedelta) -> int:
    """Whole pictures; the fraction is never lost, because it is counted from the beginning each time."""
    return int(line.gained_per_day * Fraction(passed // _TICK, _DAY // _TICK))


def _total(line: Line, own: Sequence[Slot]) -> Total:
    return Total(
        line.recipe,
        len(own),
        sum(slot.fitting for slot in own),
        own[-1].wanted - own[-1].fitting if own else line.waiting,
        sum(slot.expected_micros for slot in own),
        next((slot for slot in own if slot.refused_by is not None), None),
    )


def _fits(left_micros: int, price: Price, wanted: int) -> int:
    """How many of `wanted` requests fit one after another, as a plan counts them."""
    assert price.ceiling_micros is not None
    assert price.expected_micros is not None
    if left_micros >= price.ceiling_micros + (wanted - 1) * price.expected_micros:
        return wanted
    return min(wanted, Headroom("", "", left_micros, 0, 0, None).fits(price))


@dataclass(slots=True)
class _Open:
    """A window as it fills."""

    room: Room
    window: windows.Window | None
    granted: Sequence[Grant]
    first_cap_micros: int
    now_micros: int = 0
    used_micros: int = 0
    by: dict[str, int] = field(default_factory=dict)
    refuses: Slot | None = None

    def cap_micros(self, at: datetime) -> int:
        return self.room.cap_micros + sum(
            grant.amount_micros for grant in self.granted if grant.until is None or grant.until > at
        )

    def left_micros(self, at: datetime) -> int:
        # A run's budget is whole again at every slot.
        used = 0 if self.window is None else self.used_micros
        return self.cap_micros(at) - used

    def take(self, recipe: str, micros: int) -> None:
        self.used_micros = max(self.used_micros, micros) if self.window is None else self.used_micros + micros
        self.by[recipe] = self.by.get(recipe, 0) + micros


class _Books:
    """The windows of one workspace, each opened when a slot first falls into it, and kept as it was left."""

    def __init__(self, rooms: Sequence[Room], workspace: str, zone: str, grants: Sequence[Grant]) -> None:
        self._rooms = rooms
        self._workspace = workspace
        self._zone = zone
        self._grants = grants
        self._open: dict[tuple[int, str | None], _Open] = {}
        self._of_day: dict[date, list[_Open]] = {}

    def of(self, at: datetime, *, first: bool = False) -> list[_Open]:
        """The windows that hold a moment, in the order of the budgets. `first`: they have what was used before."""
        day = windows.local_day(at, self._zone)
        if day not in self._of_day:
            self._of_day[day] = [self._find(n, room, day, at, first) for n, room in enumerate(self._rooms)]
        return self._of_day[day]

    def _find(self, n: int, room: Room, day: date, at: datetime, first: bool) -> _Open:
        window = None if room.period == "run" else windows.window(room.period, day, self._zone)
        key = n, window.label if window else None
        if key not in self._open:
            # What is granted is granted to the workspace's windows.
            granted = [
                grant
                for grant in self._grants
                if window and room.recipe is None and (grant.period, grant.label) == (window.period, window.label)
            ]
            opened = _Open(room, window, granted, 0)
            opened.first_cap_micros = opened.cap_micros(at)
            if first and window:
                opened.now_micros = opened.used_micros = room.used_micros
                opened.by = dict(room.used_by)
            self._open[key] = opened
        return self._open[key]

    def buy(self, line: Line, at: datetime, wanted: int) -> Slot:
        """One slot: as many pictures as fit into every window of the recipe, and the windows that refuse the next."""
        held = [opened for opened in self.of(at) if opened.room.recipe in (None, line.recipe)]
        if not wanted:
            return Slot(line.recipe, at, 0, 0, 0, None)
        fits = [_fits(opened.left_micros(at), line.price, wanted) for opened in held]
        fitting = min([wanted, *fits])
        refusing = [opened for opened, count in zip(held, fits, strict=True) if count == fitting < wanted]
        expected = fitting * (line.price.expected_micros or 0)
        for opened in held:
            opened.take(line.recipe, expected)
        refused_by = self._title(refusing[0]) if refusing else None
        slot = Slot(line.recipe, at, wanted, fitting, expected, refused_by)
        for opened in refusing:
            opened.refuses = opened.refuses or slot
        return slot

    def _title(self, opened: _Open) -> str:
        if opened.window is None:
            return f"each run of recipe {opened.room.recipe}"
        owner = f"workspace {self._workspace}" if opened.room.recipe is None else f"recipe {opened.room.recipe}"
        return f"{opened.window} of {owner}"

    def projections(self) -> list[Projection]:
        """Every window that was opened: budget by budget, and of each the earlier first."""
        return [
            Projection(
                self._title(opened),
                opened.room.period,
                opened.window.label if opened.window else None,
                opened.room.recipe,
                opened.first_cap_micros,
                opened.now_micros,
                opened.used_micros,
                opened.window.ends_at if opened.window else None,
                opened.refuses,
                _most(opened.by) if opened.window else None,
            )
            # Dictionaries keep their order, and windows are opened in the order of time.
            for _, opened in sorted(self._open.items(), key=lambda one: one[0][0])
        ]


def _most(by: Mapping[str, int]) -> tuple[str, int] | None:
    """Who has the most, and how much; of several the first by name."""
    spending = sorted((-micros, recipe) for recipe, micros in by.items() if micros > 0)
    return (spending[0][1], -spending[0][0]) if spending else None
