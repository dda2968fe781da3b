"""A month of slots with the calendar handed in: the forecast names the slot that the budget then really refuses."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from runner import jobs
from runner.ledger import agenda
from runner.outlook import Outlook, outlook
from runner.project import load
from tests.schedule.conftest import START, Office

DAILY = '[schedule]\ncron = "0 {hour} * * *"\n'
PRICE = 39_000


@pytest.fixture
def month(open_office: Callable[..., Office]) -> Office:
    """Two recipes that share a month's budget; each gains some pictures a day."""
    office = open_office()
    office.at = datetime(2026, 10, 31, 23, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(START.tzinfo)
    office.studio.settings(month="3.00", ceiling="0.039")
    for name, hour in (("posters", 2), ("logos", 14)):
        office.studio.recipe(name, folder=name, output=f"out/{name}", more=DAILY.format(hour=hour))
        office.studio.pictures(2, folder=name)
    office.step()
    return office


def predicted(office: Office, gains: dict[str, Fraction]) -> Outlook:
    settings, recipes = load(office.studio.root, [])
    last = date(2026, 11, 30)
    (one,) = outlook(settings, recipes, office.database, jobs.results(settings), at=office.at, until=last, gains=gains)
    return one


def test_the_slot_that_the_forecast_says_is_refused_is_the_one_that_is(month: Office) -> None:
    gained = {"posters": 2, "logos": 1}
    month.step(hours=2)
    foreseen = predicted(month, {name: Fraction(count) for name, count in gained.items()}).forecast.refused
    assert foreseen is not None
    for day in range(1, 31):
        for hour, name in ((2, "posters"), (14, "logos")):
            month.at = datetime(2026, 11, day, hour, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(START.tzinfo)
            for n in range(gained[name] if day > 1 else 0):  # no day has gone by before the first
                month.studio.picture(f"{name}/gained-{day:02}-{n}.png")
            month.step()
    refused = [slot for slot in agenda.slots(month.database, newest=100) if slot.state == "refused"]
    assert (foreseen.recipe, foreseen.at) == (refused[0].recipe, refused[0].due_at)
    assert foreseen.fitting == (refused[0].bought or 0)
    assert foreseen.refused_by in (refused[0].reason or "")
    assert month.studio.settled == 3_000_000 // PRICE * PRICE
    month.studio.balances()


def test_what_a_folder_gained_a_day_is_taken_from_history(month: Office) -> None:
    for day in range(1, 11):
        month.at = datetime(2026, 11, day, 2, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(START.tzinfo)
        for n in range(2):
            month.studio.picture(f"posters/gained-{day:02}-{n}.png")
        month.step()
    month.at += timedelta(hours=1)
    assumed = {one.recipe: one for one in predicted(month, {}).assumptions}
    assert assumed["posters"].gained_per_day == 2
