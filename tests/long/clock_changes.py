"""Every clock change of every zone: what `slots` says is due, against a walk over every minute with zoneinfo alone.

    python -m tests.long.clock_changes                                         all zones, 2000-2037
    python -m tests.long.clock_changes --zones Europe/Berlin --first 2020 --last 2030
    python -m tests.long.clock_changes --zones Europe/Berlin --every-minute    also the days far from any change

Of a change, the day before and after it are walked, too, and so are two days of each January and July. Daily times are
also counted over all of the years: one a day of the calendar, whatever the clock did on it.
"""

import argparse
import sys
import time
import zoneinfo
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from runner import slots

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MANY = 100_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cron expression in words of Python, so that no cron library is asked: is it declared for a local time?

    `goes_on`: by real time, through the hour that is repeated.
    """

    fits: Callable[[datetime], bool]
    goes_on: bool = False


def daily(hour: int, minute: int) -> Wanted:
    """Once a day."""
    return Wanted(lambda local: local.minute == minute and local.hour == hour)


DAILY = {"0 0 * * *": daily(0, 0), "30 1 * * *": daily(1, 30), "0 2 * * *": daily(2, 0), "30 2 * * *": daily(2, 30)}
OTHERS = {
    "0 9 * * 1-5": Wanted(lambda local: local.minute == 0 and local.hour == 9 and local.isoweekday() <= 5),
    "15 1 * * 0": Wanted(lambda local: local.minute == 15 and local.hour == 1 and local.isoweekday() == 7),
    "15 1 * * 7": Wanted(lambda local: local.minute == 15 and local.hour == 1 and local.isoweekday() == 7),
    "*/20 0-3,23 * * *": Wanted(lambda local: local.minute % 20 == 0 and local.hour in (0, 1, 2, 3, 23)),
    "*/15 * * * *": Wanted(lambda local: local.minute % 15 == 0, goes_on=True),
    "45 * * * *": Wanted(lambda local: local.minute == 45, goes_on=True),
    "10 */2 * * *": Wanted(lambda local: local.minute == 10 and local.hour % 2 == 0, goes_on=True),
}


def walked(
    zone: str, after: datetime, until: datetime, wanted: Mapping[str, Wanted]
) -> tuple[dict[str, list[datetime]], int]:
    """What is due in (after, until] by looking at the clock on the wall every minute, and how many minutes that were.

    Both are whole minutes, and `after` is not within a repeated hour.
    """
    wall = zoneinfo.ZoneInfo(zone)
    found: dict[str, list[datetime]] = {cron: [] for cron in wanted}
    each = [(cron, one.fits, one.goes_on) for cron, one in wanted.items()]
    latest = after.astimezone(wall).replace(tzinfo=None)  # what the clock has shown so far
    at, minutes = after, 0
    while at < until:
        at, minutes = at + MINUTE, minutes + 1
        local = at.astimezone(wall).replace(tzinfo=None)
        if local - latest == MINUTE:
            for cron, fits, _ in each:
                if fits(local):
                    found[cron].append(at)
            latest = local
            continue
        is_again = local <= latest
        skipped = [] if is_again else [latest + n * MINUTE for n in range(1, (local - latest) // MINUTE)]
        gap = len(skipped) * MINUTE
        for cron, fits, goes_on in each:
            is_due = fits(local) and (goes_on or not is_again)
            # What was skipped is due now; by real time, where it does not come as much later all the same.
            if is_due or any(fits(lost) and not (goes_on and fits(lost + gap)) for lost in skipped):
                found[cron].append(at)
        latest = max(latest, local)
    return found, minutes


def changes(zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The hours in (after, until] within which the zone's clock changed, as their ends."""
    wall = zoneinfo.ZoneInfo(zone)
    found, at, offset = [], after, after.astimezone(wall).utcoffset()
    while at < until:
        at += HOUR
        if (now := at.astimezone(wall).utcoffset()) != offset:
            found.append(at)
            offset = now
    return found


def spans(around: list[datetime], first: int, last: int) -> Iterator[tuple[datetime, datetime]]:
    """What is walked: from a day and a half before each change to as long after it, and some days without any."""
    half = 36 * HOUR
    wide = [(at - half, at + half) for at in around]
    wide += [(begin, begin + 2 * DAY) for year in range(first, last + 1) for begin in _ordinary(year)]
    begin, end = None, None
    for low, high in sorted(wide):
        if begin is not None and end is not None and low <= end:
            end = max(end, high)
            continue
        if begin is not None and end is not None:
            yield begin, end
        begin, end = low, high
    if begin is not None and end is not None:
        yield begin, end


def _ordinary(year: int) -> tuple[datetime, datetime]:
    return datetime(year, 1, 11, 3, tzinfo=UTC), datetime(year, 7, 11, 3, tzinfo=UTC)


def differences(zone: str, first: int, last: int, *, every_minute: bool = False) -> tuple[list[str], Counter[str]]:
    """Where `slots.due` and the walk do not agree in those years, both inside; and what was compared."""
    begin, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    around = changes(zone, begin, end)
    told: list[str] = []
    tally = Counter({"zones": 1, "changes": len(around)})
    for low, high in [(begin, end)] if every_minute else spans(around, first, last):
        found, minutes = walked(zone, low, high, DAILY | OTHERS)
        tally["minutes"] += minutes
        for cron, moments in found.items():
            said = slots.due(slots.Timing(cron, None, zone), low, high, MANY)
            tally["moments"] += len(moments)
            told += [
                f"{zone} `{cron}`: {at:%Y-%m-%dT%H:%M}Z is due and not said" for at in sorted({*moments} - {*said})
            ]
            told += [
                f"{zone} `{cron}`: {at:%Y-%m-%dT%H:%M}Z is said and not due" for at in sorted({*said} - {*moments})
            ]
            if said != sorted(set(said)):
                told.append(f"{zone} `{cron}`: not in order, or twice, from {low:%Y-%m-%dT%H:%M}Z on")
    for cron in DAILY:
        more, days = _days_without_one(cron, zone, first, last)
        told += more
        tally["days"] += days
    return told, tally


def _days_without_one(cron: str, zone: str, first: int, last: int) -> tuple[list[str], int]:
    """Days of the local calendar on which a daily time is not due exactly once, and how many days were looked at."""
    wall = zoneinfo.ZoneInfo(zone)
    begin, end = datetime(first, 1, 1, 12, tzinfo=wall), datetime(last, 12, 31, 12, tzinfo=wall)
    said = slots.due(slots.Timing(cron, None, zone), begin, end, MANY)
    counted = Counter(at.astimezone(wall).date() for at in said)
    days = [begin.date() + n * DAY for n in range(1, (end.date() - begin.date()).days + 1)]
    # Samoa left out a whole day: what was due on it is due when the next one begins, and makes two of that.
    expected = Counter(days)
    for day in days:
        if not _is_there(day, wall):
            expected[day] -= 1
            expected[day + DAY] += 0 if cron == "0 0 * * *" else 1
    wrong = [day for day in days if counted[day] != expected[day]]
    return [f"{zone} `{cron}`: {counted[day]} times on {day}" for day in wrong], len(days)


def _is_there(day: date, wall: zoneinfo.ZoneInfo) -> bool:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=wall)
    return noon.astimezone(UTC).astimezone(wall).date() == day


def main(words: list[str] | None = None) -> int:
    """Compare, and say what was compared; 1 when something was not as the walk has it."""
    parser = argparse.ArgumentParser(prog="python -m tests.long.clock_changes", description=__doc__.splitlines()[0])
    parser.add_argument("--zones", nargs="+", metavar="NAME", help="IANA names (default: all that this machine has)")
    parser.add_argument("--first", type=int, default=2000, metavar="YEAR")
    parser.add_argument("--last", type=int, default=2037, metavar="YEAR")
    parser.add_argument("--every-minute", action="store_true", help="walk every minute of all years")
    args = parser.parse_args(words)
    began, told = time.monotonic(), 0
    tally: Counter[str] = Counter()
    for zone in args.zones or sorted(zoneinfo.available_timezones() - {"localtime"}):
        found, compared = differences(zone, args.first, args.last, every_minute=args.every_minute)
        tally += compared
        told += len(found)
        for line in found[:20]:
            print(line, flush=True)
    print(
        f"{tally['zones']} zones, {args.first}-{args.last}, {tally['changes']} clock changes, "
        f"{len(DAILY) + len(OTHERS)} expressions: {tally['minutes']:,} minutes walked, {tally['moments']:,} due "
        f"moments compared, {tally['days']:,} local days counted, {told} differences, {time.monotonic() - began:.0f} s"
    )
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
