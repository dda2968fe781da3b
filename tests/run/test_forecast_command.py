"""`omixa forecast` on a real project: a real ledger with a history, real pictures that wait, real schedules."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from runner import jobs
from runner.commands import forecast
from runner.errors import OmixaError
from runner.forecast import Gain
from runner.ledger import history
from runner.ledger.agenda import Agenda
from runner.outlook import Outlook, outlook
from runner.project import load_all
from tests.reports.conftest import MONTH, POSTERS, SCANS, TOTAL, Books, parsed
from tests.run.conftest import Studio

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHTLY = '[schedule]\ncron = "0 2 * * *"\n'


class Foreseen:
    """A project with a history, and short words to look ahead."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.books = Books(studio.root)
        self.month("5.00")

    def month(self, cap: str) -> None:
        self.studio.settings(month=cap)

    def bought(self, days: list[str], run: Any = POSTERS, first: int = 0) -> None:
        """One picture at noon of each day, each another one."""
        for n, day in enumerate(days, first):
            at = datetime.fromisoformat(f"{day}T11:00").replace(tzinfo=UTC)
            self.books.settled(run, f"{run.recipe}-{n}", at, 39_000, caps=(MONTH, TOTAL))

    def outlook(self, **changes: Any) -> Outlook:
        (found,) = self.outlooks(**changes)
        return found

    def outlooks(self, **changes: Any) -> list[Outlook]:
        settings, recipes, problems = load_all(self.studio.root, [])
        assert settings is not None, problems
        plain = {"at": NOON}
        return outlook(settings, recipes, self.books.database, jobs.results(settings), **(plain | changes))

    def run(self, *words: str) -> int:
        """The command in this process, with the time that it is."""
        parser = argparse.ArgumentParser(prog="omixa forecast")
        forecast.arguments(parser)
        return forecast.run(project=str(self.studio.root), **vars(parser.parse_args(words)))


@pytest.fixture
def project(open_studio: Callable[..., Studio]) -> Iterator[Foreseen]:
    made = Foreseen(open_studio())
    with closing(made.books.database):
        yield made


@pytest.fixture
def usual(project: Foreseen) -> Foreseen:
    """Four pictures wait and one comes every second day; November has 4.17 of 5.00 spent, most of it by scans."""
    project.studio.recipe(more=NIGHTLY)
    project.studio.recipe("logos", folder="logos", output="out/logos")
    project.studio.pictures(4)
    project.bought(["2026-10-20"])
    project.bought([f"2026-{day}" for day in ("10-26", "10-28", "10-30")], first=1)
    project.bought([f"2026-11-{day:02}" for day in range(1, 12)], first=4)
    project.bought([f"2026-11-{day:02}" for day in range(1, 12)] * 8, SCANS)
    project.month("4.70")
    return project


# ---- the whole answer


TEXT = """\
workspace studio · USD · from 22 Nov 2026 13:00 to 1 Dec 2026 00:00 Europe/Berlin

assumed of posters: 4 pictures wait now and 0.50 a day are gained, from 14 pictures in 28 days; \
each costs 0.039 USD (median of what was billed), at most 0.700 USD
not counted: logos: it has no [schedule]

recipe   slots  pictures  left waiting  expected cost, USD
posters      8         4             3               0.156

budget, USD                    cap    now  projected  ends
month 2026-11 Europe/Berlin  4.700  3.861      4.017  1 Dec 2026 00:00  refuses from 2026-11-25 02:00 (recipe posters)

month 2026-11 Europe/Berlin of workspace studio ends at the slot of 2026-11-25 02:00: recipe posters wants 1 picture, \
and 0 of them fit; most of it is spent by recipe scans: 3.432 USD
expected cost of 8 slots: 0.156 USD"""


def test_the_text_has_assumptions_recipes_windows_and_where_a_budget_ends(usual: Foreseen) -> None:
    assert forecast.as_text(usual.outlook()) == TEXT


def test_the_same_for_a_program_is_one_object_with_money_as_text(usual: Foreseen) -> None:
    found = parsed(json.dumps(forecast.as_json([usual.outlook()], None, [], [])))
    assert (found["schema"], found["what_if"]) == ("omixa.forecast/1", None)
    (one,) = found["workspaces"]
    refused = {
        "recipe": "posters",
        "at": "2026-11-25T01:00:00.000000Z",
        "wanted": 1,
        "fits": 0,
        "expected_cost": "0.000000",
        "refused_by": "month 2026-11 Europe/Berlin of workspace studio",
    }
    slots = one.pop("slots")
    assert [slot["wanted"] for slot in slots] == [4, 0, 1, 1, 2, 2, 3, 3]
    assert slots[2] == refused
    assert one == {
        "workspace": "studio",
        "currency": "USD",
        "time_zone": "Europe/Berlin",
        "from": "2026-11-22T12:00:00.000000Z",
        "until": "2026-11-30T23:00:00.000000Z",
        "unlimited": False,
        "stopped": None,
        "expected_cost": "0.156000",
        "assumptions": [
            {
                "recipe": "posters",
                "waiting": 4,
                "gained_per_day": "0.50",
                "history": {"pictures": 14, "days": 28},
                "expected_price": "0.039000",
                "ceiling": "0.700000",
            }
        ],
        "not_counted": [{"recipe": "logos", "reason": "it has no [schedule]"}],
        "recipes": [
            {
                "recipe": "posters",
                "slots": 8,
                "pictures": 4,
                "left": 3,
                "expected_cost": "0.156000",
                "refused": refused,
            }
        ],
        "windows": [
            {
                "budget": "month 2026-11 Europe/Berlin of workspace studio",
                "period": "month",
                "label": "2026-11",
                "recipe": None,
                "cap": "4.700000",
                "now": "3.861000",
                "projected": "4.017000",
                "ends_at": "2026-11-30T23:00:00.000000Z",
                "refuses": refused,
                "most_spent_by": {"recipe": "scans", "amount": "3.432000"},
            }
        ],
    }


def test_where_everything_fits_it_says_so(usual: Foreseen) -> None:
    usual.month("50.00")
    assert forecast.as_text(usual.outlook()).endswith(
        "\n\nall pictures of these slots fit into every budget\nexpected cost of 8 slots: 0.273 USD"
    )


def test_a_month_to_come_begins_empty_and_is_shown_beside_this_one(usual: Foreseen) -> None:
    found = usual.outlook(until=date(2026, 12, 31))
    assert [(window.label, window.now_micros) for window in found.forecast.windows] == [
        ("2026-11", 3_861_000),
        ("2026-12", 0),
    ]
    assert found.until == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert found.forecast.slots[-1].at == datetime(2026, 12, 31, 1, tzinfo=UTC)
    # The three that November refused are bought on 1 December, and the others as they come.
    assert [slot.fitting for slot in found.forecast.slots][8:12] == [4, 0, 1, 0]


def test_windows_between_the_telling_ones_are_left_to_json(usual: Foreseen) -> None:
    text = (usual.studio.root / "omixa.toml").read_text()
    (usual.studio.root / "omixa.toml").write_text(text.replace("budget = {", 'budget = { day = "1.00",'))
    found = usual.outlook()
    assert len(found.forecast.windows) == 10
    shown = forecast.as_text(found)
    assert "day 2026-11-22 Europe/Berlin" in shown
    assert "day 2026-11-30 Europe/Berlin" in shown
    assert "day 2026-11-23" not in shown
    assert "7 more windows are in --json" in shown


# ---- what is assumed


@pytest.mark.parametrize(
    ("days", "gain"),
    [
        # The first day bought what had waited; the 28 whole days before today are looked at, today is not over.
        (["2026-10-01", "2026-10-24"], Gain(0, 28)),
        (["2026-10-01", "2026-10-25"], Gain(1, 28)),
        (["2026-10-01", "2026-11-21"], Gain(1, 28)),
        (["2026-10-01", "2026-11-22"], Gain(0, 28)),
        (["2026-10-25", "2026-10-26"], Gain(1, 27)),
        (["2026-10-24", "2026-10-25"], Gain(1, 28)),
        (["2026-11-20", "2026-11-21"], Gain(1, 1)),
        (["2026-11-21", "2026-11-22"], Gain(0, 0)),
        (["2026-11-22"], Gain(0, 0)),
    ],
)
def test_pictures_gained_are_taken_from_28_whole_days_without_the_first_of_all(
    project: Foreseen, days: list[str], gain: Gain
) -> None:
    # Another recipe's history is its own. (A month without a reservation would make the ledger doubt the clock.)
    others = [(day, SCANS) for day in ("2026-09-01", "2026-09-30", "2026-10-20", "2026-11-15")]
    for n, (day, run) in enumerate(sorted([*others, *((day, POSTERS) for day in days)], key=lambda one: one[0])):
        project.bought([day], run, first=n)
    found = history.gains(project.books.database, workspace="studio", today=date(2026, 11, 22))
    assert found["posters"] == gain


def test_only_pictures_that_are_bought_for_the_first_time_are_a_gain(project: Foreseen) -> None:
    books = project.books
    project.bought(["2026-10-01", "2026-11-01"])
    run = replace(POSTERS, uid="again")
    books.ledger.begin_run(run, at=datetime(2026, 11, 2, 11, tzinfo=UTC))
    books.released(POSTERS, "declined", datetime(2026, 11, 2, 11, tzinfo=UTC))
    books.unknown(POSTERS, "lost", datetime(2026, 11, 2, 11, tzinfo=UTC))
    # As after --reroll: the same item once more.
    with books.database.write_transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE attempts SET item_key = 'key of posters-0' WHERE item_key = 'key of posters-1'"
        )
    found = history.gains(books.database, workspace="studio", today=date(2026, 11, 22))
    assert found["posters"] == Gain(0, 28)


def test_a_recipe_without_a_history_gains_nothing_and_says_so(project: Foreseen) -> None:
    project.studio.recipe(more=NIGHTLY)
    project.studio.pictures(1)
    assert (
        "assumed of posters: 1 picture waits now and 0.00 a day are gained, for lack of a history (--gain says "
        "otherwise); each costs 0.700 USD (no bill seen yet: the ceiling), at most 0.700 USD\n"
    ) in forecast.as_text(project.outlook())


def test_a_gain_that_is_given_replaces_history(usual: Foreseen) -> None:
    found = usual.outlook(gains={"posters": Fraction(2)})
    assert [slot.wanted for slot in found.forecast.slots][:2] == [5, 3]
    assert "2.00 a day are gained, as --gain says;" in forecast.as_text(found)


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        (Fraction(0), "0.00"),
        (Fraction(1, 2), "0.50"),
        (Fraction(1, 3), "0.33"),
        (Fraction(2, 3), "0.67"),
        (Fraction(1, 200), "0.01"),
        (Fraction(1, 201), "<0.01"),
        (Fraction(1234567, 100), "12345.67"),
    ],
)
def test_pictures_a_day_are_shown_with_two_decimals(gain: Fraction, text: str) -> None:
    assert forecast.per_day(gain) == text


@pytest.mark.parametrize(
    "text", ["posters", "posters=", "posters=-1", "posters=1e3", "posters=.5", "posters=0.1234567"]
)
def test_a_gain_that_is_no_number_is_refused(usual: Foreseen, text: str) -> None:
    with pytest.raises(OmixaError, match="does not say how many pictures a day"):
        usual.run("--gain", text)


def test_a_gain_is_read_exactly_and_only_of_a_recipe_that_is_there(usual: Foreseen) -> None:
    assert forecast._gains(["posters=0.1", "logos=999999.999999"], {"posters", "logos"}) == {
        "posters": Fraction(1, 10),
        "logos": Fraction(999999999999, 1000000),
    }
    with pytest.raises(OmixaError) as caught:
        usual.run("--gain", "poster=1")
    assert (caught.value.message, caught.value.hint) == (
        "`--gain poster=1`: there is no recipe `poster`",
        "did you mean `posters`?",
    )


def test_what_two_recipes_want_is_bought_by_the_one_that_is_due_first(project: Foreseen) -> None:
    project.studio.recipe("a", more='[schedule]\ncron = "0 3 * * *"\n', output="out/a")
    project.studio.recipe("b", more=NIGHTLY, output="out/b")
    project.studio.pictures(2)
    found = project.outlook()
    assert [(one.recipe, one.waiting) for one in found.assumptions] == [("a", 0), ("b", 2)]


def test_a_slot_is_due_by_the_clock_of_its_schedule_and_booked_by_that_of_the_workspace(project: Foreseen) -> None:
    project.studio.recipe(more='[schedule]\ncron = "0 9 * * *"\ntime_zone = "Asia/Tokyo"\n')
    # 09:00 in Tokyo is 01:00 in Berlin.
    assert project.outlook().forecast.slots[-1].at == datetime(2026, 11, 30, 0, tzinfo=UTC)


# ---- what is not counted


def test_recipes_that_do_not_run_by_themselves_are_named_with_the_reason(project: Foreseen) -> None:
    studio = project.studio
    studio.recipe("by-hand", output="out/1")
    studio.recipe("asleep", output="out/2", more=NIGHTLY + "paused = true\n")
    studio.recipe("held", output="out/3", more=NIGHTLY)
    agenda = Agenda(project.books.database, uptime=lambda: None)
    agenda.pause("held", "studio", "Europe/Berlin", reason="wrong prompt", who="ana@desk", at=NOON)
    found = project.outlook()
    assert {left.recipe: left.reason for left in found.uncounted} == {
        "asleep": "it is paused by `paused = true` in its [schedule]",
        "by-hand": "it has no [schedule]",
        "held": "it is paused by ana@desk since 22 Nov 2026 13:00 Europe/Berlin: wrong prompt",
    }
    assert forecast.as_text(found).endswith("\n\nno slot is due in that time")


def test_a_recipe_whose_results_would_collide_is_named_with_the_problem(project: Foreseen) -> None:
    project.studio.recipe(more=NIGHTLY)
    project.studio.picture("pictures/a.png")
    project.studio.picture("pictures/a.webp")
    (left,) = project.outlook().uncounted
    assert left.recipe == "posters"
    assert left.reason.startswith("it has a problem: ")


def test_a_recipe_of_which_nobody_knows_the_price_is_named(project: Foreseen) -> None:
    text = (project.studio.root / "omixa.toml").read_text()
    (project.studio.root / "omixa.toml").write_text("\n".join(x for x in text.split("\n") if "ceilings" not in x))
    project.studio.recipe(more=NIGHTLY)
    (without,) = project.outlook().uncounted
    assert without.reason == "nobody knows what one request of stability-upscale-creative may cost"
    project.studio.pictures(1)
    (left,) = project.outlook().uncounted
    assert left.reason.startswith("nobody knows what one request of stability-upscale-creative may cost: ")


def test_a_recipe_that_cannot_be_read_is_named_and_the_others_are_counted(
    usual: Foreseen, capsys: pytest.CaptureFixture[str]
) -> None:
    (usual.studio.root / "recipes" / "broken.toml").write_text('workspace = "studio"\nnonsense\n')
    assert usual.run() == 0
    said = capsys.readouterr()
    assert said.err == (
        "warning: recipes/broken.toml cannot run and are not counted: they have problems\n"
        "   = help: `omixa check` shows them all\n"
    )
    assert "\nposters  " in said.out


def test_a_stop_is_told_and_taken_to_be_over(usual: Foreseen) -> None:
    usual.books.ledger.stop("studio", reason="wrong prompt", who="ana@desk", until=None, at=NOON)
    found = usual.outlook()
    assert found.stopped == "wrong prompt"
    assert ("\nstopped now: wrong prompt; the forecast takes it to be over by the next slot\n") in forecast.as_text(
        found
    )
    assert found.forecast.slots[0].fitting == 4


def test_a_grant_counts_as_long_as_it_lasts(usual: Foreseen) -> None:
    def given(amount: int, until: datetime | None) -> None:
        usual.books.ledger.grant(
            "studio",
            period="month",
            label="2026-11",
            amount_micros=amount,
            until=until,
            reason="rush",
            who="ana@desk",
            at=NOON,
        )

    given(39_000, None)
    given(39_000, datetime(2026, 11, 26, tzinfo=UTC))
    # By the slot of 27 November, which wants a second one, one of the two is over.
    assert [slot.fitting for slot in usual.outlook().forecast.slots] == [4, 0, 1, 0, 0, 0, 0, 0]
    given(39_000, None)
    assert [slot.fitting for slot in usual.outlook().forecast.slots] == [4, 0, 1, 0, 1, 0, 0, 0]


def test_the_recipes_budgets_count_too(usual: Foreseen) -> None:
    usual.studio.recipe(more=f'[budget]\nmonth = "1.20"\nrun = "0.739"\n{NIGHTLY}')
    found = usual.outlook()
    # Eleven bills of November are in the recipe's own month already: 0.429.
    of = {window.budget: window for window in found.forecast.windows}
    own = of["month 2026-11 Europe/Berlin of recipe posters"]
    assert (own.cap_micros, own.now_micros, own.most_by) == (1_200_000, 429_000, ("posters", 507_000))
    assert [slot.fitting for slot in found.forecast.slots][:3] == [2, 0, 0]
    assert found.forecast.slots[0].refused_by == own.budget
    assert of["each run of recipe posters"].refuses == found.forecast.slots[0]


def test_an_unlimited_workspace_has_no_budget_to_end(usual: Foreseen) -> None:
    text = (usual.studio.root / "omixa.toml").read_text()
    (usual.studio.root / "omixa.toml").write_text(text.replace('budget = { month = "4.70" }', "unlimited = true"))
    text = forecast.as_text(usual.outlook())
    assert "\nno budget has a cap (`unlimited = true`)\n" in text
    assert "all pictures of these slots fit into every budget" in text


def test_a_clock_that_has_gone_back_does_not_look_at_slots_twice(usual: Foreseen) -> None:
    earlier = usual.outlook(at=datetime(2026, 11, 1, tzinfo=UTC))
    assert earlier.at == datetime(2026, 11, 11, 11, tzinfo=UTC)
    assert earlier.forecast.slots[0].at == datetime(2026, 11, 12, 1, tzinfo=UTC)


# ---- the command


def test_it_sends_nothing_needs_no_key_and_writes_nothing(usual: Foreseen, capsys: pytest.CaptureFixture[str]) -> None:
    files = [path for path in usual.studio.root.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    before = {path: path.read_bytes() for path in files}
    assert usual.run() == 0
    assert capsys.readouterr().out.startswith("workspace studio · USD · from ")
    assert usual.studio.endpoint.counts().requests == 0
    now = [path for path in usual.studio.root.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    assert {path: path.read_bytes() for path in now} == before


def test_after_a_real_run_what_it_spent_is_in_the_window_and_nothing_waits(project: Foreseen) -> None:
    project.studio.recipe(more=NIGHTLY)
    project.studio.pictures(3)
    before = project.outlook(at=datetime.now(UTC))
    assert project.studio.run().code == 0
    after = project.outlook(at=datetime.now(UTC))
    assert [one.assumptions[0].waiting for one in (before, after)] == [3, 0]
    assert [one.forecast.windows[0].now_micros for one in (before, after)] == [0, 3 * 39_000]
    assert after.assumptions[0].price.expected_micros == 39_000


def test_only_the_recipes_that_are_named_are_shown_and_all_are_counted(usual: Foreseen) -> None:
    usual.studio.recipe("other", folder="other", output="out/other", more='[schedule]\ncron = "0 1 * * *"\n')
    usual.studio.pictures(3, folder="other")
    found = usual.outlook()
    text = forecast.as_text(found, {"posters"})
    assert "other" not in text.replace("another", "")
    assert "logos" not in text
    # Three of the four that fit are the other's.
    assert "\nposters      8         1             6               0.039\n" in text
    shown = forecast.as_json([found], {"posters"}, [], [])["workspaces"][0]
    assert {slot["recipe"] for slot in shown["slots"]} == {"posters"}


def test_the_command_shows_one_workspace_and_knows_which_there_are(
    usual: Foreseen, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usual.run("--workspace", "studio", "--json") == 0
    (one,) = parsed(capsys.readouterr().out)["workspaces"]
    assert one["workspace"] == "studio"
    with pytest.raises(OmixaError) as caught:
        usual.run("--workspace", "studi")
    assert caught.value.hint == "did you mean `studio`?"
    with pytest.raises(OmixaError, match="there is no recipe `poster`"):
        usual.run("poster")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--month", "2026-13"), "`--month 2026-13` is not a month of the calendar"),
        (("--month", "2026-11-01"), "`--month 2026-11-01` is not a month of the calendar"),
        (("--until", "2026-11-31"), "`--until 2026-11-31` is not a day of the calendar"),
        (("--until", "20261130"), "`--until 20261130` is not a day of the calendar"),
    ],
)
def test_a_day_or_month_that_is_none_is_refused(usual: Foreseen, words: tuple[str, str], message: str) -> None:
    with pytest.raises(OmixaError) as caught:
        usual.run(*words)
    assert caught.value.message == message


def test_a_month_ends_with_its_last_day() -> None:
    assert forecast.asked_day("2028-02", None) == date(2028, 2, 29)
    assert forecast.asked_day(None, "2026-12-24") == date(2026, 12, 24)
    assert forecast.asked_day(None, None) is None


def test_a_forecast_is_of_days_to_come(usual: Foreseen) -> None:
    assert usual.outlook(until=date(2026, 11, 22)).until == datetime(2026, 11, 22, 23, tzinfo=UTC)
    with pytest.raises(OmixaError, match="2026-11-21 is past: today is 2026-11-22 in Europe/Berlin"):
        usual.outlook(until=date(2026, 11, 21))


# ---- what if


def elsewhere(project: Foreseen, name: str) -> Path:
    """A file of that recipe, which is not in recipes/."""
    folder = project.studio.root / "drafts"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.toml"


def changed(project: Foreseen, old: str, new: str, name: str = "posters") -> tuple[Any, list[Outlook]]:
    """The recipe as in a file elsewhere, with one change, as the command reads it; and the forecast with it."""
    settings, recipes, _ = load_all(project.studio.root, [])
    assert settings is not None
    file = elsewhere(project, name)
    text = (project.studio.root / "recipes" / "posters.toml").read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    found = forecast._changed([str(file)], settings)
    new_recipes = [recipe for recipe in recipes if recipe.name not in found] + list(found.values())
    database = project.books.database
    return found, outlook(settings, new_recipes, database, jobs.results(settings), at=NOON)


def test_a_changed_recipe_is_set_beside_the_present_one(usual: Foreseen) -> None:
    found, after = changed(usual, '"0 2 * * *"', '"0 2 30 * *"')
    (table,) = forecast.what_if(usual.outlooks(), after, found)
    assert table == (
        "what if                     pictures  expected cost, USD  first refused\n"
        "recipe posters    as it is         4               0.156  2026-11-25 02:00 by month 2026-11 Europe/Berlin of "
        "workspace studio\n"
        "recipe posters    changed          4               0.156  2026-11-30 02:00 by month 2026-11 Europe/Berlin of "
        "workspace studio\n"
        "workspace studio  as it is         4               0.156  2026-11-25 02:00 by month 2026-11 Europe/Berlin of "
        "workspace studio\n"
        "workspace studio  changed          4               0.156  2026-11-30 02:00 by month 2026-11 Europe/Berlin of "
        "workspace studio"
    )


def test_a_recipe_that_is_not_there_yet_is_counted_beside_the_others(usual: Foreseen) -> None:
    usual.month("50.00")
    found, after = changed(usual, "Restore it.", "Restore it twice.", name="twice")
    differences = forecast.as_json(after, None, usual.outlooks(), found)["what_if"]
    assert [(one["recipe"], one["before"]["expected_cost"], one["after"]["expected_cost"]) for one in differences] == [
        ("twice", "0.000000", "0.156000"),
        (None, "0.273000", "0.429000"),
    ]


def test_the_command_compares_and_leaves_the_recipe_as_it_is(
    usual: Foreseen, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    file = elsewhere(usual, "posters")
    recipe = usual.studio.root / "recipes" / "posters.toml"
    text = recipe.read_text()
    file.write_text(text.replace("0 2 * * *", "0 3 * * *"))
    assert usual.run("--recipe-file", str(file)) == 0
    assert "\n\nwhat if " in capsys.readouterr().out
    assert recipe.read_text() == text
    file.write_text(text.replace("0 2 * * *", "0 25 * * *"))
    with pytest.raises(OmixaError, match="bad hour"):
        usual.run("--recipe-file", str(file))
    with pytest.raises(OmixaError, match="two of the files are recipe `posters`"):
        usual.run("--recipe-file", str(recipe), "--recipe-file", str(recipe))
    outside = tmp_path_factory.mktemp("outside") / "posters.toml"
    outside.write_text(text)
    with pytest.raises(OmixaError, match="is outside the project, so it is not read"):
        usual.run("--recipe-file", str(outside))
