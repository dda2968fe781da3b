"""What `omixa schedule …` prints, whole, in text and as JSON, with everything that a project can hold.

Slots that were are of November 2025; those that come are of the next June, so that every day gives the same text.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.commands import schedule
from runner.identity import who
from runner.ledger import agenda, tables
from runner.ledger.agenda import Agenda, SlotState
from runner.ledger.database import open_database
from tests.run.conftest import Studio

NOW = datetime.now(UTC)
YEAR = NOW.year + (datetime(NOW.year, 6, 1, tzinfo=UTC) <= NOW)
JUNE = '[schedule]\ncron = "30 2 1 6 *"\n'
TWICE = '[schedule]\ncron = "30 2 1,2 6 *"\n'
TO_JUNE = ("--until", f"{YEAR}-06-30")

NIGHT = datetime(2025, 11, 3, 1, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOBODY = "nobody looked when it was due"

# Red, a new line, a letter that turns what follows around, a C1 escape, a delete.
HOSTILE = "holi\x1b[31mday\nof \u202eana\x9b1m\x7f"
SHOWN = r"holi\x1b[31mday\nof \u202eana\x9b1m\x7f"

SETTINGS = """
[endpoints.local]
url = "{url}"

[workspaces.studio]
endpoint = "local"
api_key = {{ env = "STUDIO_KEY" }}
currency = "USD"
time_zone = "Europe/Berlin"
budget = {{ month = "1.50" }}
ceilings = {{ "stability-upscale-creative" = "0.70" }}

[workspaces.lab]
endpoint = "local"
api_key = {{ env = "STUDIO_KEY" }}
currency = "EUR"
time_zone = "America/New_York"
unlimited = true
ceilings = {{ "stability-upscale-creative" = "0.05" }}
"""


class Desk:
    """A project with two workspaces, its ledger, and short words for slots that were."""

    def __init__(self, studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
        self.studio, self.root = studio, studio.root
        self._capsys = capsys
        (self.root / "omixa.toml").write_text(SETTINGS.format(url=studio.endpoint.url))
        self.database = open_database(self.root / ".omixa" / "ledger.db", create=True)
        self.agenda = Agenda(self.database, uptime=lambda: None)

    def recipe(self, name: str, more: str = "", *, lab: bool = False, pictures: int = 0) -> Path:
        self.studio.recipe(name, folder=f"in/{name}", output=f"out/{name}", more=more)
        self.studio.pictures(pictures, folder=f"in/{name}")
        path = self.root / "recipes" / f"{name}.toml"
        if lab:
            path.write_text(path.read_text().replace('"studio"', '"lab"'))
        return path

    def watched(self, name: str, workspace: str = "studio", zone: str = "Europe/Berlin") -> None:
        """As a scheduler has seen it."""
        self.agenda.watch(name, workspace, "cron 30 2 * * *", zone, who="ana@desk", at=NIGHT - DAY)

    def missed(self, name: str, count: int, workspace: str = "studio") -> None:
        moments = [NIGHT + n * HOUR for n in range(count)]
        self.agenda.account(name, workspace, moments, "missed", NOBODY, who="ana@desk", at=NIGHT + DAY)

    def slot(self, name: str, day: int, state: SlotState, reason: str | None = None, bought: int | None = None) -> None:
        """A slot of 2:30 in Berlin, some days after the first; what is bought costs 0.039 a piece."""
        at, own = NIGHT + day * DAY, {"who": "ana@desk", "owner": "one"}
        slot = self.agenda.claim(name, at, "studio", at=at, overlap="queue", **own)
        assert slot is not None
        assert slot.is_open
        if state != "waiting":
            self.agenda.begin(slot.id, at=at + HOUR / 60, **own)
        if bought is not None:
            self.agenda.runs_as(slot.id, f"run-{day}", bought * 41_000, who="ana@desk", at=at + HOUR / 60)
        if state not in ("waiting", "running"):
            billed = None if bought is None else bought * 39_000
            end = {"billed_micros": billed, "bought": bought, "who": "ana@desk"}
            self.agenda.end(slot.id, state, reason, at=at + HOUR / 10, **end)

    def omixa(self, *words: str, code: int = 0) -> str:
        """What `omixa schedule …` prints to stdout; what it prints to stderr comes after it."""
        self._capsys.readouterr()
        ended = cli.main(["--project", str(self.root), "schedule", *words])
        out, err = self._capsys.readouterr()
        assert ended == code, out + err
        assert all(c.isprintable() or c == "\n" for c in out + err), "something could steer the terminal"
        return out + err

    def json(self, *words: str) -> dict[str, Any]:
        told = self.omixa(*words, "--json")
        assert told.isascii()
        found: dict[str, Any] = json.loads(told)
        return found


@pytest.fixture
def desk(open_studio: Callable[..., Studio], capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    made = Desk(open_studio(), capsys)
    with closing(made.database):
        yield made


def test_the_states_that_can_be_asked_for_are_those_of_the_ledger() -> None:
    assert schedule.STATES == tables.SLOT_STATES


# ---- a project without anything


@pytest.mark.parametrize(
    ("verb", "text", "told"),
    [
        ("list", "no recipes yet\n", {"recipes": []}),
        (
            "next",
            "no slot comes to the end of this month; --until DAY looks further\n",
            {"slots": [], "not_counted": [], "more": 0},
        ),
        ("missed", "no slot was missed since each recipe last ran\n", {"recipes": []}),
        ("history", "no slots yet\n", {"slots": []}),
    ],
)
def test_an_empty_project_has_nothing_to_tell(desk: Desk, verb: str, text: str, told: dict[str, Any]) -> None:
    assert desk.omixa(verb) == text
    assert desk.json(verb) == {"schema": f"omixa.schedule-{verb}/1", **told}


def test_reading_makes_no_ledger(open_studio: Callable[..., Studio], capsys: pytest.CaptureFixture[str]) -> None:
    studio = open_studio()
    studio.recipe(more=JUNE)
    for words in (["list"], ["next"], ["missed"], ["history"], ["unit"], ["unit", "--cron"], ["unpause", "poster"]):
        cli.main(["--project", str(studio.root), "schedule", *words])
    assert "Traceback" not in capsys.readouterr().err
    assert not (studio.root / ".omixa").exists()


# ---- list


@pytest.fixture
def busy(desk: Desk) -> Desk:
    """One recipe of every kind."""
    desk.recipe("archive")
    desk.recipe("broken").write_text("workspace = 3\n")
    desk.recipe("held", JUNE)
    desk.recipe("lab-scans", JUNE, lab=True)
    desk.recipe("posters", JUNE)
    desk.recipe("resting", JUNE + "paused = true\n")
    desk.recipe("tokyo", '[schedule]\ncron = "0 12 1 6 *"\ntime_zone = "Asia/Tokyo"\n', lab=True)
    desk.watched("broken")
    desk.watched("gone")
    desk.slot("posters", 0, "ran", bought=2)
    desk.slot("broken", 1, "skipped", f"paused by ana@desk: {HOSTILE}")
    desk.missed("gone", 1)
    desk.missed("lab-scans", 2, "lab")
    desk.agenda.pause("held", "studio", "Europe/Berlin", reason=HOSTILE, who="ana@desk", at=NIGHT)
    return desk


LIST = f"""\
recipe     when             state                                                       next due                      \
     last slot                          how it went
archive    –                by hand only                                                –                             \
     –                                  –
broken     –                invalid (omixa check)                                       –                             \
     4 Nov 2025 02:30 Europe/Berlin     skipped
held       cron 30 2 1 6 *  paused (ana@desk: {SHOWN})  –                                  –                          \
        –
lab-scans  cron 30 2 1 6 *  scheduled                                                   1 Jun {YEAR} 02:30 America/New_\
York  2 Nov 2025 21:30 America/New_York  missed
posters    cron 30 2 1 6 *  scheduled                                                   1 Jun {YEAR} 02:30 Europe/Berl\
in     3 Nov 2025 02:30 Europe/Berlin     ran
resting    cron 30 2 1 6 *  paused (in the recipe)                                      –                             \
     –                                  –
tokyo      cron 0 12 1 6 *  scheduled                                                   1 Jun {YEAR} 12:00 Asia/Tokyo \
       –                                  –
broken: skipped: paused by ana@desk: {SHOWN}
lab-scans: missed: {NOBODY}
"""


def test_list_tells_how_every_recipe_stands_in_its_own_time_zone(busy: Desk) -> None:
    assert busy.omixa("list") == LIST


def test_list_for_a_program_has_all_that_is_known_of_a_recipe(busy: Desk) -> None:
    told = busy.json("list")
    names = ["archive", "broken", "held", "lab-scans", "posters", "resting", "tokyo"]
    assert [one["recipe"] for one in told["recipes"]] == names
    plain: dict[str, Any] = dict.fromkeys(told["recipes"][0]) | {"zone": "Europe/Berlin"}
    weekly = plain | {"timing": "cron 30 2 1 6 *"}
    assert told == {
        "schema": "omixa.schedule-list/1",
        "recipes": [
            plain | {"recipe": "archive", "state": "by hand only"},
            {
                "recipe": "broken",
                "timing": None,
                "zone": "Europe/Berlin",
                "state": "invalid",
                "why": "omixa check",
                "next_due_at": None,
                "last_due_at": "2025-11-04T01:30:00.000000Z",
                "last_state": "skipped",
                "last_reason": f"paused by ana@desk: {HOSTILE}",
            },
            weekly | {"recipe": "held", "state": "paused", "why": f"ana@desk: {HOSTILE}"},
            {
                "recipe": "lab-scans",
                "timing": "cron 30 2 1 6 *",
                "zone": "America/New_York",
                "state": "scheduled",
                "why": None,
                "next_due_at": f"{YEAR}-06-01T06:30:00.000000Z",
                "last_due_at": "2025-11-03T02:30:00.000000Z",
                "last_state": "missed",
                "last_reason": NOBODY,
            },
            {
                "recipe": "posters",
                "timing": "cron 30 2 1 6 *",
                "zone": "Europe/Berlin",
                "state": "scheduled",
                "why": None,
                "next_due_at": f"{YEAR}-06-01T00:30:00.000000Z",
                "last_due_at": "2025-11-03T01:30:00.000000Z",
                "last_state": "ran",
                "last_reason": None,
            },
            weekly | {"recipe": "resting", "state": "paused", "why": "in the recipe"},
            {
                "recipe": "tokyo",
                "timing": "cron 0 12 1 6 *",
                "zone": "Asia/Tokyo",
                "state": "scheduled",
                "why": None,
                "next_due_at": f"{YEAR}-06-01T03:00:00.000000Z",
                "last_due_at": None,
                "last_state": None,
                "last_reason": None,
            },
        ],
    }


def test_list_says_of_a_paused_recipe_that_it_is_paused_whatever_else_is_wrong(desk: Desk) -> None:
    desk.recipe("archive")
    desk.recipe("broken").write_text("workspace = 3\n")
    for name in ("archive", "broken"):
        desk.agenda.pause(name, "studio", "Europe/Berlin", reason="moving", who="ana@desk", at=NIGHT)
    assert (
        desk.omixa("list")
        == """\
recipe   when  state                                              next due  last slot  how it went
archive  –     by hand only (paused by ana@desk: moving)          –         –          –
broken   –     invalid (omixa check; paused by ana@desk: moving)  –         –          –
"""
    )


# ---- next

COMING = f"""\
due                                recipe     would buy    expected
1 Jun {YEAR} 02:30 Europe/Berlin     posters    3 pictures  1.400 USD  \
2 of 3 fit: month {YEAR}-06 Europe/Berlin of workspace studio
1 Jun {YEAR} 02:30 Europe/Berlin     scans      1 picture   0.000 USD  \
0 of 1 fit: month {YEAR}-06 Europe/Berlin of workspace studio
1 Jun {YEAR} 02:30 America/New_York  lab-scans  2 pictures  0.100 EUR  fits
2 Jun {YEAR} 02:30 Europe/Berlin     posters    1 picture   0.000 USD  \
0 of 1 fit: month {YEAR}-06 Europe/Berlin of workspace studio
2 Jun {YEAR} 02:30 America/New_York  lab-scans  0 pictures  0.000 EUR  fits
"""


@pytest.fixture
def coming(desk: Desk) -> Desk:
    """Three pictures of posters, of which a month of 1.50 has room for two; and another workspace without a cap."""
    desk.recipe("posters", TWICE, pictures=3)
    desk.recipe("scans", JUNE, pictures=1)
    desk.recipe("lab-scans", TWICE, lab=True, pictures=2)
    return desk


def test_next_tells_what_each_slot_would_buy_and_where_the_budget_ends(coming: Desk) -> None:
    assert coming.omixa("next", *TO_JUNE) == COMING


def test_next_says_how_many_slots_the_limit_leaves_out(coming: Desk) -> None:
    told = coming.omixa("next", *TO_JUNE, "--limit", "2").splitlines()
    assert [line.split()[5] for line in told[1:-1]] == ["posters", "scans"]
    assert told[-1] == "… and 3 more (--limit); `omixa forecast` adds them up"
    assert coming.omixa("next", *TO_JUNE, "--limit", "5") == COMING


def test_next_shows_only_the_recipes_named_and_counts_the_others_all_the_same(coming: Desk) -> None:
    month = f"month {YEAR}-06 Europe/Berlin of workspace studio"
    assert coming.json("next", "scans", *TO_JUNE) == {
        "schema": "omixa.schedule-next/1",
        "slots": [
            {
                "recipe": "scans",
                "workspace": "studio",
                "currency": "USD",
                "due_at": f"{YEAR}-06-01T00:30:00.000000Z",
                "pictures": 1,
                "fitting": 0,
                "expected": "0.000000",
                "refused_by": month,
                "needs_approval": False,
            }
        ],
        "not_counted": [],
        "more": 0,
    }
    told = coming.json("next", *TO_JUNE, "--limit", "1")
    assert [(one["recipe"], one["fitting"], one["expected"]) for one in told["slots"]] == [("posters", 2, "1.400000")]
    assert told["more"] == 4


def test_next_looks_to_the_end_of_the_last_day_and_not_further(coming: Desk) -> None:
    assert coming.omixa("next", "--until", f"{YEAR}-06-01").count("\n") == 4
    assert coming.omixa("next", "--until", f"{YEAR}-05-31") == f"no slot comes to the end of {YEAR}-05-31\n"


def test_next_names_the_recipes_that_it_does_not_count(busy: Desk) -> None:
    assert (
        busy.omixa("next", *TO_JUNE)
        == f"""\
due                                 recipe     would buy    expected
1 Jun {YEAR} 02:30 Europe/Berlin      posters    0 pictures  0.000 USD  fits
31 May {YEAR} 23:00 America/New_York  tokyo      0 pictures  0.000 EUR  fits
1 Jun {YEAR} 02:30 America/New_York   lab-scans  0 pictures  0.000 EUR  fits
not counted: archive: it has no [schedule]
not counted: held: it is paused by ana@desk since 3 Nov 2025 02:30 Europe/Berlin: {SHOWN}
not counted: resting: it is paused by `paused = true` in its [schedule]
not counted: broken: it has problems: `omixa check` shows them
"""
    )
    assert busy.json("next", "broken", "archive") == {
        "schema": "omixa.schedule-next/1",
        "slots": [],
        "not_counted": [
            {"recipe": "archive", "reason": "it has no [schedule]"},
            {"recipe": "broken", "reason": "it has problems: `omixa check` shows them"},
        ],
        "more": 0,
    }


def test_what_was_bought_already_is_bought_by_no_slot(desk: Desk) -> None:
    desk.recipe("posters", JUNE, pictures=1)
    desk.missed("posters", 1)
    assert desk.studio.run().code == 0
    assert (
        desk.omixa("next", *TO_JUNE)
        == f"""\
due                             recipe   would buy    expected
1 Jun {YEAR} 02:30 Europe/Berlin  posters  0 pictures  0.000 USD  fits
"""
    )
    assert desk.omixa("missed") == (
        "posters: 1 slot missed, 3 Nov 2025 02:30 Europe/Berlin\n  a run now would buy nothing\n"
    )


# ---- missed


def test_missed_tells_what_one_run_now_would_cost_however_many_were_missed(coming: Desk) -> None:
    coming.missed("posters", 3)
    coming.missed("lab-scans", 2, "lab")
    coming.missed("scans", 1)
    coming.missed("gone", 1)
    coming.recipe("broken").write_text("workspace = 3\n")
    coming.missed("broken", 1)
    assert (
        coming.omixa("missed")
        == """\
broken: 1 slot missed, 3 Nov 2025 02:30 Europe/Berlin
  no plan can be made: `omixa check` tells
gone: 1 slot missed, 3 Nov 2025 02:30 Europe/Berlin
  no plan can be made: there is no recipe `gone` in recipes/
lab-scans: 2 slots missed, 2 Nov 2025 20:30 to 2 Nov 2025 21:30 America/New_York
  one run now would buy 2 pictures for about 0.100 EUR, at most 0.100 EUR
   = help: omixa schedule run-now lab-scans
posters: 3 slots missed, 3 Nov 2025 02:30 to 3 Nov 2025 04:30 Europe/Berlin
  one run now would buy 3 pictures for about 2.100 USD, at most 2.100 USD
   = help: omixa schedule run-now posters
scans: 1 slot missed, 3 Nov 2025 02:30 Europe/Berlin
  one run now would buy 1 picture for about 0.700 USD, at most 0.700 USD
   = help: omixa schedule run-now scans
"""
    )


def test_missed_for_a_program_has_money_as_text_with_its_currency(coming: Desk) -> None:
    coming.missed("lab-scans", 2, "lab")
    coming.missed("gone", 1)
    assert coming.json("missed", "lab-scans", "gone") == {
        "schema": "omixa.schedule-missed/1",
        "recipes": [
            {
                "recipe": "lab-scans",
                "zone": "America/New_York",
                "slots": 2,
                "first_due_at": "2025-11-03T01:30:00.000000Z",
                "last_due_at": "2025-11-03T02:30:00.000000Z",
                "reason": NOBODY,
                "pictures": 2,
                "expected": "0.100000",
                "worst": "0.100000",
                "currency": "EUR",
                "problem": None,
            },
            {
                "recipe": "gone",
                "zone": "Europe/Berlin",
                "slots": 1,
                "first_due_at": "2025-11-03T01:30:00.000000Z",
                "last_due_at": "2025-11-03T01:30:00.000000Z",
                "reason": NOBODY,
                "pictures": None,
                "expected": None,
                "worst": None,
                "currency": None,
                "problem": "there is no recipe `gone` in recipes/",
            },
        ],
    }


def test_what_was_missed_before_the_last_run_is_told_no_more(desk: Desk) -> None:
    desk.recipe("posters", JUNE)
    desk.missed("posters", 3)
    desk.slot("posters", 1, "ran", bought=1)
    assert desk.omixa("missed") == "no slot was missed since each recipe last ran\n"


# ---- history


@pytest.fixture
def past(desk: Desk) -> Desk:
    """Slots of one recipe in every state."""
    desk.recipe("posters", JUNE)
    desk.slot("posters", 0, "ran", bought=2)
    desk.slot("posters", 1, "skipped", f"paused by ana@desk: {HOSTILE}")
    desk.slot("posters", 2, "refused", "the month is full; 2 pictures left", bought=0)
    desk.slot("posters", 3, "failed", "the disk is full")
    desk.agenda.account("posters", "studio", [NIGHT + 4 * DAY], "missed", NOBODY, who="ana@desk", at=NIGHT + 5 * DAY)
    desk.slot("posters", 5, "running", bought=3)
    late = NIGHT + 6 * DAY
    desk.agenda.claim("posters", late, "studio", owner="one", who="ana@desk", at=late)
    desk.slot("posters", 7, "waiting")
    return desk


HISTORY = f"""\
due                              recipe   state       bought     billed  why
3 Nov 2025 02:30 Europe/Berlin   posters  ran              2  0.078 USD
4 Nov 2025 02:30 Europe/Berlin   posters  skipped                        paused by ana@desk: {SHOWN}
5 Nov 2025 02:30 Europe/Berlin   posters  refused          0  0.000 USD  the month is full; 2 pictures left
6 Nov 2025 02:30 Europe/Berlin   posters  failed                         the disk is full
7 Nov 2025 02:30 Europe/Berlin   posters  missed                         {NOBODY}
8 Nov 2025 02:30 Europe/Berlin   posters  running
9 Nov 2025 02:30 Europe/Berlin   posters  overlapped                     OVERLAPPED
10 Nov 2025 02:30 Europe/Berlin  posters  waiting
"""


def test_history_tells_of_slots_in_every_state(past: Desk) -> None:
    assert {slot.state for slot in agenda.slots(past.database)} == set(tables.SLOT_STATES)
    (overlapped,) = agenda.slots(past.database, states=["overlapped"])
    assert past.omixa("history") == HISTORY.replace("OVERLAPPED", overlapped.reason or "")


def test_history_of_some_states_has_no_others(past: Desk) -> None:
    ran = {
        "id": 1,
        "recipe": "posters",
        "workspace": "studio",
        "currency": "USD",
        "due_at": "2025-11-03T01:30:00.000000Z",
        "state": "ran",
        "reason": None,
        "run": "run-0",
        "who": "ana@desk",
        "claimed_at": "2025-11-03T01:30:00.000000Z",
        "begun_at": "2025-11-03T01:31:00.000000Z",
        "ended_at": "2025-11-03T01:36:00.000000Z",
        "bought": 2,
        "expected": "0.082000",
        "billed": "0.078000",
    }
    running = {
        "id": 6,
        "recipe": "posters",
        "workspace": "studio",
        "currency": "USD",
        "due_at": "2025-11-08T01:30:00.000000Z",
        "state": "running",
        "reason": None,
        "run": "run-5",
        "who": "ana@desk",
        "claimed_at": "2025-11-08T01:30:00.000000Z",
        "begun_at": "2025-11-08T01:31:00.000000Z",
        "ended_at": None,
        "bought": None,
        "expected": "0.123000",
        "billed": None,
    }
    told = past.json("history", "posters", "--state", "ran", "--state", "running")
    assert told == {"schema": "omixa.schedule-history/1", "slots": [ran, running]}


@pytest.mark.parametrize("state", tables.SLOT_STATES)
def test_history_of_a_state_that_no_slot_is_in_says_so(desk: Desk, state: str) -> None:
    assert desk.omixa("history", "--state", state) == f"no slot in state {state}\n"


def test_history_keeps_the_newest_and_says_that_there_are_more(past: Desk) -> None:
    assert (
        past.omixa("history", "posters", "--limit", "2")
        == """\
due                              recipe   state       bought  billed  why
9 Nov 2025 02:30 Europe/Berlin   posters  overlapped                  OVERLAPPED
10 Nov 2025 02:30 Europe/Berlin  posters  waiting
the newest 2; --limit lists more
""".replace("OVERLAPPED", agenda.slots(past.database, states=["overlapped"])[0].reason or "")
    )
    assert "--limit" not in past.omixa("history", "--limit", "8")


def test_history_of_two_workspaces_is_in_order_of_time_and_each_in_its_own_zone(busy: Desk) -> None:
    assert (
        busy.omixa("history")
        == f"""\
due                                recipe     state    bought     billed  why
3 Nov 2025 02:30 Europe/Berlin     posters    ran           2  0.078 USD
3 Nov 2025 02:30 Europe/Berlin     gone       missed                      {NOBODY}
2 Nov 2025 20:30 America/New_York  lab-scans  missed                      {NOBODY}
2 Nov 2025 21:30 America/New_York  lab-scans  missed                      {NOBODY}
4 Nov 2025 02:30 Europe/Berlin     broken     skipped                     paused by ana@desk: {SHOWN}
"""
    )


def test_a_recipe_that_is_gone_keeps_its_history_even_if_it_only_ever_ran_by_hand(desk: Desk) -> None:
    desk.recipe("posters", JUNE)
    desk.slot("by-hand", 0, "ran", bought=1)
    assert (
        desk.omixa("history", "by-hand")
        == """\
due                             recipe   state  bought     billed  why
3 Nov 2025 02:30 Europe/Berlin  by-hand  ran         1  0.039 USD
"""
    )


def test_a_workspace_that_is_gone_keeps_its_currency(desk: Desk) -> None:
    desk.recipe("posters", pictures=1)
    assert desk.studio.omixa("schedule", "run-now", "posters", "--yes").code == 0
    settings = desk.root / "omixa.toml"
    settings.write_text(settings.read_text().replace("[workspaces.studio]", "[workspaces.atelier]"))
    assert "0.039 USD" in desk.omixa("history")
    assert [one["currency"] for one in desk.json("history")["slots"]] == ["USD"]


# ---- what is wrong with the words

UNKNOWN = "error: there is no recipe `poster`"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["next", "poster"], f"{UNKNOWN} in recipes/\n   = help: did you mean `posters`?\n"),
        (["missed", "poster"], f"{UNKNOWN}, in recipes/ or in the ledger\n   = help: did you mean `posters`?\n"),
        (["history", "poster"], f"{UNKNOWN}, in recipes/ or in the ledger\n   = help: did you mean `posters`?\n"),
        (["history", "x"], "error: there is no recipe `x`, in recipes/ or in the ledger\n"),
        (["pause", "poster", "--reason", "x"], f"{UNKNOWN} in recipes/\n   = help: did you mean `posters`?\n"),
        (["unpause", "poster"], f"{UNKNOWN} in recipes/\n   = help: did you mean `posters`?\n"),
        (["run-now", "poster"], f"{UNKNOWN} in recipes/\n   = help: did you mean `posters`?\n"),
        (["pause", "posters"], "error: why is it paused? every slot that is skipped tells it\n"),
        (["pause", "posters", "--reason", " "], '   = help: add --reason "…"\n'),
        (["unpause", "posters"], "error: posters is not paused by anybody\n"),
        (["next", "--until", "2020-01-01"], "error: 2020-01-01 is past: today is "),
        (["next", "--until", "soon"], "error: `--until soon` is not a day of the calendar\n"),
        (["next", "--limit", "0"], "error: `--limit` is the most slots to list, at least 1; found 0\n"),
        (["history", "--limit", "-1"], "error: `--limit` is the most slots to list, at least 1; found -1\n"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do_next(desk: Desk, words: list[str], message: str) -> None:
    desk.recipe("posters", JUNE)
    assert message in desk.omixa(*words, code=2)


@pytest.mark.parametrize("verb", ["list", "next", "missed", "history", "unit"])
def test_settings_with_problems_are_shown_with_all_of_them(desk: Desk, verb: str) -> None:
    (desk.root / "omixa.toml").write_text("[workspaces.studio]\n")
    told = desk.omixa(verb, code=2)
    assert told.startswith("error[")
    assert told.count("error[") > 1


def test_an_unknown_state_is_refused_with_those_that_there_are(desk: Desk) -> None:
    with pytest.raises(SystemExit, match="2"):
        desk.omixa("history", "--state", "runing")
    assert "choose from 'waiting', 'running', 'ran'" in desk._capsys.readouterr().err


# ---- pausing


def test_a_recipe_is_paused_with_a_reason_and_goes_on_again(desk: Desk) -> None:
    desk.recipe("posters", JUNE)
    assert desk.omixa("pause", "recipes/posters.toml", "--reason", HOSTILE) == (
        "posters is paused: its slots are skipped, in every scheduler; a run that goes on finishes\n"
        "to go on: omixa schedule unpause posters\n"
    )
    recorded = agenda.schedule(desk.database, "posters")
    assert recorded is not None
    assert (recorded.workspace, recorded.paused_by, recorded.paused_reason) == ("studio", who(), HOSTILE)
    assert desk.json("list")["recipes"][0]["state"] == "paused"
    assert desk.omixa("unpause", "posters") == f"posters goes on; it was paused by {who()}: {SHOWN}\n"
    assert desk.json("list")["recipes"][0]["state"] == "scheduled"


def test_a_recipe_that_has_become_invalid_and_goes_on_in_its_last_good_version_can_be_paused(desk: Desk) -> None:
    desk.recipe("posters", JUNE).write_text("workspace = 3\n")
    assert desk.omixa("pause", "posters", "--reason", "x", code=2).startswith("error[")
    desk.watched("posters", "lab", "America/New_York")
    desk.omixa("pause", "posters", "--reason", "x")
    recorded = agenda.schedule(desk.database, "posters")
    assert recorded is not None
    assert (recorded.workspace, recorded.paused_reason) == ("lab", "x")
    assert desk.omixa("unpause", "posters") == f"posters goes on; it was paused by {who()}: x\n"


# ---- run-now


def test_run_now_asks_first_and_then_tells_how_it_ended(desk: Desk) -> None:
    desk.recipe("posters", JUNE, pictures=3)
    asked = desk.studio.omixa("schedule", "run-now", "posters")
    assert (asked.code, asked.out) == (2, "")
    assert asked.err == (
        "error: 3 pictures for about 2.100 USD, at most 2.100 USD would be bought, and nobody can be asked\n"
        "   = help: add --yes\n"
    )
    assert agenda.slots(desk.database) == []
    ended = desk.studio.omixa("schedule", "run-now", "posters", "--yes")
    assert (ended.code, ended.out, ended.err) == (0, "posters: ran, bought 3 pictures for 0.117 USD\n", "")
    again = desk.studio.omixa("schedule", "run-now", "posters", "--yes")
    assert (again.code, again.err) == (0, "")
    assert again.out == "posters: ran, bought 0 pictures for 0.000 USD: everything is paid for and in place\n"
    assert [slot.state for slot in agenda.slots(desk.database)] == ["ran", "ran"]


@pytest.mark.parametrize(
    ("happens", "code", "word"),
    [("moderated", 1, "ran"), ("close_after_read", 6, "ran"), ("status=401", 4, "failed")],
)
def test_run_now_ends_with_the_code_of_a_run(
    open_studio: Callable[..., Studio], happens: str, code: int, word: str
) -> None:
    studio = open_studio(faults=(happens,))
    studio.recipe(more=JUNE)
    studio.pictures(1)
    ended = studio.omixa("schedule", "run-now", "posters", "--yes")
    assert (ended.code, ended.out.split()[1].strip(":,")) == (code, word), ended
    studio.picture("pictures/other.png")
    assert studio.run().code == code  # as `omixa run` does


def test_run_now_that_comes_to_its_time_limit_has_failed_and_was_interrupted_by_nobody(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(latency_ms=700)
    studio.settings(concurrency=1)
    studio.recipe(more=JUNE + "time_limit_s = 1\n")
    studio.pictures(6)
    ended = studio.omixa("schedule", "run-now", "posters", "--yes")
    assert ended.code == 1, ended
    assert "its time limit of 1 s was over" in ended.out


def test_run_now_of_a_recipe_whose_slot_is_open_runs_nothing(desk: Desk) -> None:
    desk.recipe("posters", JUNE, pictures=1)
    desk.slot("posters", 0, "running")
    told = desk.studio.omixa("schedule", "run-now", "posters", "--yes")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: posters is not run: the run of ")
    assert told.err.endswith("   = help: `omixa schedule history` tells when it has ended\n")
    assert desk.studio.endpoint.counts().requests == 0


# ---- unit

CRON = """\
# {name}: cron goes by the machine's time zone, and these fields mean {zone}. Where the two differ, write
# CRON_TZ={zone} on a line before (cronie), or set the machine's zone. What a clock change skips or repeats is up to
# cron; what nobody was there for is lost without a word, and no slot is recorded.
# No flock is needed: runs share the ledger, and none buys what another one buys or has bought.
{cron} {command}
"""


def test_lines_for_cron_are_of_the_recipes_that_cron_can_run(busy: Desk) -> None:
    busy.recipe("broken", '[schedule]\nevery = "6h"\n')
    program = schedule_program()
    words = f"{program} --project {busy.root} run"

    def line(name: str, zone: str, cron: str) -> str:
        return CRON.format(name=name, zone=zone, cron=cron, command=f"{words} {name} --yes")

    assert busy.omixa("unit", "--cron") == (
        "# broken: `every 6h` is no cron expression; only `omixa schedule run` runs it\n"
        + line("held", "Europe/Berlin", "30 2 1 6 *")
        + line("lab-scans", "America/New_York", "30 2 1 6 *")
        + line("posters", "Europe/Berlin", "30 2 1 6 *")
        + "# resting: no line, because of `paused = true` in its [schedule]\n"
        + line("tokyo", "Asia/Tokyo", "0 12 1 6 *")
    )


def test_lines_for_cron_of_a_project_without_schedules_say_so(desk: Desk) -> None:
    desk.recipe("archive")
    assert desk.omixa("unit", "--cron") == "# no recipe has a [schedule]\n"


def test_a_unit_runs_this_program_for_this_project(desk: Desk) -> None:
    recipe = desk.recipe("posters", JUNE)
    outside = desk.root.parent / f"{desk.root.name}-outside"
    outside.mkdir()
    recipe.write_text(recipe.read_text().replace('"out/posters"', f'"{outside}"'))
    command = f'ExecStart=":{schedule_program()}" "--project" "{desk.root}" "schedule" "run" "--yes"'
    assert command in desk.omixa("unit").splitlines()
    told = desk.omixa("unit", "--port", "9108", "--user", "omixa", "--environment-file", "/etc/omixa.env").splitlines()
    assert f"# The scheduler of omixa for {desk.root}" in told
    for line in (
        "Type=notify",
        "User=omixa",
        "EnvironmentFile=/etc/omixa.env",
        f'{command} "--port" "9108"',
        f'ReadWritePaths="{desk.root}" "{outside}"',
        "TimeoutStopSec=660",
        "SuccessExitStatus=130",
    ):
        assert line in told


def schedule_program() -> Path:
    """The `omixa` that belongs to this Python, as the commands name it."""
    from runner.commands.scheduler import _executable

    return _executable()
