"""A cron expression or an interval → due moments: pure.

What an expression means is cronsim's: standard weekdays, where 0 and 7 are Sunday. What a clock change makes of it is
ours: a local time that does not exist is due at the next minute that does, and one that happens twice is due once, the
first time. An hour field that begins with `*` goes on by real time: it is due in both passes of a repeated hour, and a
time that is skipped is made up for only where an hour of real time does not bring it anyway.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

# Field name of cronsim → position in the expression, and what it takes.
_FIELDS = {
    "minute": (0, "0-59"),
    "hour": (1, "0-23"),
    "day-of-month": (2, "1-31, L or LW"),
    "month": (3, "1-12 or JAN-DEC"),
    "day-of-week": (4, "0-7 or SUN-SAT, where 0 and 7 are Sunday"),
}
_COUNTS = {0: "no fields", 1: "one field", 2: "two fields", 3: "three fields", 4: "four fields", 6: "six fields"}
_LENGTH_MAX = 200

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_EVERY_MIN_S, _EVERY_MAX_S = 60, 7 * 86_400

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_QUIET_DAYS_MAX = 50 * 366  # cronsim gives up after 50 years, too: no expression that is ever due waits so long
_LAST_DAY = date(9999, 12, 28)  # the days after it are not moments in every zone


@dataclass(frozen=True, slots=True)
class Timing:
    """When something is due: exactly one of a cron expression, valid as `check` says, and an interval in seconds.

    `zone` is an IANA name: the wall clock that the expression means. Intervals need none; theirs are the multiples of
    the interval since 1970-01-01T00:00Z, so that everybody who asks agrees and nothing must be remembered.
    """

    cron: str | None
    every_s: int | None
    zone: str

    def __post_init__(self) -> None:
        assert (self.cron is None) != (self.every_s is None)
        assert self.every_s is None or self.every_s > 0

    def __str__(self) -> str:
        """For people and for the ledger: `cron 0 2 * * 1-5`, or `every 15m` in the largest unit that is whole."""
        if self.every_s is None:
            return f"cron {' '.join((self.cron or '').split())}"
        unit = next(unit for unit, unit_s in _UNITS_S.items() if self.every_s % unit_s == 0)
        return f"every {self.every_s // _UNITS_S[unit]}{unit}"

    @classmethod
    def parse(cls, text: str, zone: str) -> "Timing":
        """What `str` made of a timing. Raises ValueError on anything else."""
        kind, _, rest = text.partition(" ")
        if kind == "cron" and check(rest) is None:
            return cls(rest, None, zone)
        if kind == "every" and rest[:-1].isdecimal() and rest[-1:] in _UNITS_S and int(rest[:-1]) > 0:
            return cls(None, int(rest[:-1]) * _UNITS_S[rest[-1]], zone)
        raise ValueError(f"`{text}` is no timing")


def check(cron: str) -> str | None:
    """What is wrong with a cron expression of five fields, as the end of a sentence; None when it is valid."""
    fields = cron.split()
    if len(fields) == 6:
        return "has six fields: seconds are not supported, write minute, hour, day, month, weekday"
    if len(fields) != 5:
        count = _COUNTS.get(len(fields), f"{len(fields)} fields")
        return f"has {count} and needs five: minute, hour, day, month, weekday"
    if len(cron) > _LENGTH_MAX:
        return f"has {len(cron)} characters, at most {_LENGTH_MAX} are accepted"
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        position, takes = _FIELDS[str(error).removeprefix("Bad ")]
        if position == 2 and _is_valid(f"0 0 {fields[2]} * *"):
            return f"is never due: month `{fields[3]}` has no day `{fields[2]}`"
        return f"has a bad {_name(position)} `{fields[position]}`; it takes {takes}"
    except StopIteration:
        return "is never due: no such day comes"
    return None


def interval_s(text: str) -> int | None:
    """The seconds of an interval such as `15m`, `6h` or `1d`; None when it is none between `1m` and `7d`."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match is not None else 0
    return seconds if _EVERY_MIN_S <= seconds <= _EVERY_MAX_S else None


def due(timing: Timing, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """The first `limit` due moments strictly after `after`, up to and including `until`, in UTC and in order.

    Both must be aware. Asking for two spans that meet gives the same moments as asking for both at once.
    """
    assert after.tzinfo is not None
    assert until.tzinfo is not None
    assert limit >= 0
    if timing.every_s is not None:
        multiples = _multiples(timing.every_s, after, until)[:limit]
        return [_multiple(timing.every_s, number) for number in multiples]
    return list(islice(takewhile(lambda moment: moment <= until, _moments(timing, after, until)), limit))


def last_due(timing: Timing, after: datetime, until: datetime, limit: int) -> tuple[list[datetime], int]:
    """The newest `limit` of the due moments of `due`, in order, and how many older ones are left out.

    Holds no more than those and a day's in memory, and only counts the others: ten years of every minute take less
    than a second.
    """
    assert after.tzinfo is not None
    assert until.tzinfo is not None
    assert limit >= 0
    if timing.every_s is not None:
        multiples = _multiples(timing.every_s, after, until)
        older = max(0, len(multiples) - limit)
        return [_multiple(timing.every_s, number) for number in multiples[older:]], older
    rule, zone = _rule(timing.cron or ""), ZoneInfo(timing.zone)
    first, day = _first_day(after, zone), _last_day(until, zone)
    near = (first + _DAY, day - 2 * _DAY)
    newest: list[datetime] = []
    # Before a day without a clock change, nothing is later than what was found after it.
    while day >= first and (len(newest) < limit or not _is_plain(day, zone)):
        newest += [moment for moment in _of_day(rule, zone, day) if after < moment <= until]
        day -= _DAY
    older = max(0, len(newest) - limit)
    kept = sorted(newest)[older:]
    while day >= first:
        is_whole = near[0] < day < near[1] and _is_plain(day, zone) and _is_plain(day - _DAY, zone)
        if not is_whole:
            older += sum(after < moment <= until for moment in _of_day(rule, zone, day))
        elif rule.is_on(day):
            older += len(rule.minutes)
        day -= _DAY
    return kept, older


def next_due(timing: Timing, after: datetime) -> datetime | None:
    """The first due moment strictly after `after`, which must be aware, in UTC; None when no more come."""
    assert after.tzinfo is not None
    if timing.every_s is not None:
        return _multiple(timing.every_s, _multiples(timing.every_s, after, after).stop)
    return next(_moments(timing, after, None), None)


def next_slots(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` due moments of a cron expression strictly after `after`, which must be aware, in UTC.

    They are in order; fewer only when no more come.
    """
    assert after.tzinfo is not None
    return list(islice(_moments(Timing(cron, None, zone), after, None), count))


# ---- intervals


def _multiples(every_s: int, after: datetime, until: datetime) -> range:
    """The numbers of the intervals since 1970 that end in (after, until]."""
    step = timedelta(seconds=every_s)
    return range((after - _EPOCH) // step + 1, (until - _EPOCH) // step + 1)


def _multiple(every_s: int, number: int) -> datetime:
    return _EPOCH + number * timedelta(seconds=every_s)


# ---- cron: declared local times, and the moment that each of them is


@dataclass(frozen=True, slots=True)
class _Rule:
    """A cron expression, read: on which days, and at which minutes of these. `goes_on`: by real time, see above."""

    days: CronSim
    minutes: tuple[int, ...]
    goes_on: bool

    def is_on(self, day: date) -> bool:
        """Whether it is declared for a day of the calendar."""
        return day.month in self.days.months and self.days.match_day(day)

    def declares(self, local: datetime) -> bool:
        """Whether it is declared for a local time, of which only whole minutes count."""
        return self.is_on(local.date()) and local.hour in self.days.hours and local.minute in self.days.minutes


@lru_cache(maxsize=256)
def _rule(cron: str) -> _Rule:
    # Only cronsim's reading of the expression is used: walking over a clock change, cronsim 2.8 loses `*/15 2 * * *`
    # for the whole day that spring shortens, and skips times beside a change of half an hour.
    read = CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC))
    minutes = tuple(60 * hour + minute for hour in sorted(read.hours) for minute in sorted(read.minutes))
    return _Rule(read, minutes, goes_on=cron.split()[1].startswith("*"))


def _moments(timing: Timing, after: datetime, until: datetime | None) -> Iterator[datetime]:
    """Every due moment strictly after `after`, in order and each once; some after `until` may come, too."""
    rule, zone = _rule(timing.cron or ""), ZoneInfo(timing.zone)
    day = _first_day(after, zone)
    last = _last_day(until, zone) if until is not None else _LAST_DAY
    waiting: list[datetime] = []  # moments that one of the next day could still come before
    quiet_days = 0
    while day <= last and quiet_days < _QUIET_DAYS_MAX:
        found = _of_day(rule, zone, day)
        quiet_days = 0 if found else quiet_days + 1
        day += _DAY
        if found or waiting:
            waiting = sorted(waiting + found)
            ready = bisect_left(waiting, _earliest(day, zone))
            yield from (moment for moment in waiting[:ready] if moment > after)
            del waiting[:ready]
    yield from (moment for moment in waiting if moment > after)


def _of_day(rule: _Rule, zone: ZoneInfo, day: date) -> list[datetime]:
    """The moments of the times declared for a calendar day; not those that are also of the day before."""
    if not rule.is_on(day):
        return []
    if _is_plain(day, zone):
        midnight = _utc(datetime.combine(day, time()), zone)
        moments = [midnight + timedelta(minutes=minute) for minute in rule.minutes]
    else:
        moments = sorted(_of_changed_day(rule, zone, day))
    # A time skipped before midnight is due when the next day begins, where that may have one of its own.
    if not _is_plain(day - _DAY, zone) and rule.is_on(day - _DAY):
        earlier = _of_changed_day(rule, zone, day - _DAY)
        moments = [moment for moment in moments if moment not in earlier]
    return moments


def _of_changed_day(rule: _Rule, zone: ZoneInfo, day: date) -> set[datetime]:
    moments: set[datetime] = set()
    for minute in rule.minutes:
        local = datetime.combine(day, time()) + timedelta(minutes=minute)
        first, second = _utc(local, zone), _utc(local, zone, fold=1)
        shown = first.astimezone(zone).replace(tzinfo=None)
        if shown == local:
            moments.update((first, second) if rule.goes_on else (first,))
        elif not (rule.goes_on and rule.declares(shown)):
            moments.add(_end_of_gap(second, first, zone))
    return moments


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first whole minute after a clock change that lies between two moments."""
    low, high = 0, (after - before) // _MINUTE
    offset = after.astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if (before + middle * _MINUTE).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return before + high * _MINUTE


def _is_plain(day: date, zone: ZoneInfo) -> bool:
    """Whether no clock change skips or repeats anything of a calendar day."""
    begin = datetime.combine(day, time(), zone)
    end = datetime.combine(day + _DAY, time(fold=1), zone)
    return begin.utcoffset() == end.utcoffset()


def _first_day(after: datetime, zone: ZoneInfo) -> date:
    """The first calendar day whose moments may be after `after`."""
    day = after.astimezone(zone).date()
    return day if _is_plain(day - _DAY, zone) else day - _DAY


def _last_day(until: datetime, zone: ZoneInfo) -> date:
    """The last calendar day whose moments may be up to `until`: tomorrow, as a change can repeat a midnight."""
    return min(until.astimezone(zone).date(), _LAST_DAY) + _DAY


def _earliest(day: date, zone: ZoneInfo) -> datetime:
    """What no moment of that calendar day, or of a later one, comes before."""
    midnight = datetime.combine(day, time())
    return min(_utc(midnight, zone), _utc(midnight, zone, fold=1))


def _utc(local: datetime, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    """A local time as a moment. One that happens twice is the first, with `fold` the second.

    One that does not exist is a moment after the change, with `fold` one before it.
    """
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _name(position: int) -> str:
    return ("minute", "hour", "day of the month", "month", "weekday")[position]


def _is_valid(cron: str) -> bool:
    try:
        CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True
