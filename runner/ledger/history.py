"""What recipes did before, as a forecast takes it for the time to come: pictures gained, and who spent in a window."""

from collections.abc import Mapping
from datetime import date, timedelta

from sqlalchemy import and_, bindparam, case, func, select

from runner.forecast import Gain
from runner.ledger.database import Database
from runner.ledger.tables import ATTEMPTS, LIVE_STATES
from runner.windows import Window

# A whole number of weeks, so that each weekday counts as often as the others.
DAYS = 28

_SETTLED = (ATTEMPTS.c.workspace == bindparam("workspace"), ATTEMPTS.c.state == "settled")
# The day on which each picture was first bought: to buy it again on purpose is no gain.
_BOUGHT = (
    select(ATTEMPTS.c.recipe, ATTEMPTS.c.item_key, func.min(ATTEMPTS.c.day).label("day"))
    .where(*_SETTLED)
    .group_by(ATTEMPTS.c.recipe, ATTEMPTS.c.item_key)
    .subquery()
)
_BEGUN = (
    select(ATTEMPTS.c.recipe, func.min(ATTEMPTS.c.day).label("day"))
    .where(*_SETTLED)
    .group_by(ATTEMPTS.c.recipe)
    .subquery()
)
_COUNTED = and_(
    _BOUGHT.c.day > _BEGUN.c.day, _BOUGHT.c.day >= bindparam("first_day"), _BOUGHT.c.day <= bindparam("last_day")
)
_GAINS = (
    select(_BEGUN.c.recipe, _BEGUN.c.day, func.sum(case((_COUNTED, 1), else_=0)).label("pictures"))
    .join(_BOUGHT, _BOUGHT.c.recipe == _BEGUN.c.recipe)
    .group_by(_BEGUN.c.recipe, _BEGUN.c.day)
)
_SPENT = (
    select(
        ATTEMPTS.c.recipe,
        func.sum(
            case(
                (ATTEMPTS.c.state == "settled", ATTEMPTS.c.billed_micros),
                (ATTEMPTS.c.state.in_(LIVE_STATES), ATTEMPTS.c.reserved_micros),
                else_=0,
            )
        ).label("micros"),
    )
    .where(
        ATTEMPTS.c.workspace == bindparam("workspace"),
        ATTEMPTS.c.day >= bindparam("first_day"),
        ATTEMPTS.c.day <= bindparam("last_day"),
    )
    .group_by(ATTEMPTS.c.recipe)
)


def gains(database: Database, *, workspace: str, today: date) -> dict[str, Gain]:
    """How many pictures each recipe first bought in the DAYS whole days before `today` (the workspace's), by recipe.

    Without the very first day of a recipe, which bought what had waited until then; so one that began less than DAYS
    ago is judged by fewer days, and one that began yesterday by none. A recipe that bought nothing yet is not there.
    """
    first_day, last_day = today - timedelta(days=DAYS), today - timedelta(days=1)
    names = {"workspace": workspace, "first_day": first_day.isoformat(), "last_day": last_day.isoformat()}
    with database.read() as connection:
        return {
            row.recipe: Gain(row.pictures, max(0, min(DAYS, (last_day - date.fromisoformat(row.day)).days)))
            for row in connection.execute(_GAINS, names)
        }


def spent(database: Database, *, workspace: str, window: Window) -> Mapping[str, int]:
    """Settled and open micro-units of each recipe in a window of its workspace, by recipe."""
    first_day = "0000-00-00" if window.first_day is None else window.first_day.isoformat()
    last_day = "9999-99-99" if window.last_day is None else window.last_day.isoformat()
    names = {"workspace": workspace, "first_day": first_day, "last_day": last_day}
    with database.read() as connection:
        return {row.recipe: row.micros for row in connection.execute(_SPENT, names)}
