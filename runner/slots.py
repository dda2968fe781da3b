"""Cron → due moments: pure. The meaning of cron is cronsim's, which keeps Debian cron's rules around clock changes."""

from datetime import UTC, datetime
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


def next_slots(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` due moments strictly after `after`, in UTC and in order; fewer only when no more come.

    `after` must be aware. `zone` is an IANA name: the wall clock the expression means. A moment that the spring
    change skips is due right after the gap; one that autumn repeats is due once, the first time.
    """
    assert after.tzinfo is not None
    found: list[datetime] = []
    latest = after.astimezone(UTC)
    for moment in CronSim(cron, after.astimezone(ZoneInfo(zone))):
        if len(found) == count:
            break
        at = moment.astimezone(UTC)
        # Asked inside the hour that autumn repeats, cronsim 2.8 answers with the first pass, which is over.
        if at > latest:
            found.append(at)
            latest = at
    return found


def _name(position: int) -> str:
    return ("minute", "hour", "day of the month", "month", "weekday")[position]


def _is_valid(cron: str) -> bool:
    try:
        CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True
