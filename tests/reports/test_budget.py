"""`omixa budget`: each window as the ledger would judge it, whatever is wrong with a recipe."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.commands import budget
from runner.ledger.values import Cap
from runner.project import load_all
from tests.reports.conftest import LAB_TOTAL, LOGOS, MONTH, POSTERS, SCANS, TOTAL, Books, parsed

RECIPE = """
workspace = "studio"
model = "stability-upscale-creative"
[[sources]]
folder = "pictures"
prompt = "restore"
[prompts.restore]
text = "Restore it."
[output]
folder = "out"
[budget]
run = "2.00"
month = "1.00"
"""
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OF_POSTERS = Cap("recipe", "posters", "month", 1_000_000)


@pytest.fixture
def shop(empty_books: Books) -> Books:
    """One recipe with a budget of its own, and money in three states in November, one bill in October."""
    (empty_books.root / "pictures").mkdir()
    (empty_books.root / "recipes").mkdir()
    (empty_books.root / "recipes" / "posters.toml").write_text(RECIPE)
    held = (MONTH, TOTAL, OF_POSTERS)
    empty_books.settled(POSTERS, "a", datetime(2026, 10, 25, 12, tzinfo=UTC), 11_000, caps=held)
    empty_books.settled(POSTERS, "b", NOON, 39_000, caps=held)
    empty_books.sent(POSTERS, "c", NOON, caps=held)
    empty_books.unknown(SCANS, "d", NOON, caps=(MONTH, TOTAL))
    empty_books.unknown(LOGOS, "e", NOON, caps=(LAB_TOTAL,))
    return empty_books


def at(books: Books, moment: datetime) -> dict[str, dict[str, Any]]:
    """Workspace → what the command shows of it at that moment."""
    settings, recipes, problems = load_all(books.root, [])
    assert settings is not None, problems
    with books.database.looking() as raw:
        return {
            workspace.name: budget._of(workspace, recipes, raw, moment) for workspace in settings.workspaces.values()
        }


def test_every_window_shows_cap_settled_open_unknown_left_and_end(shop: Books) -> None:
    windows = at(shop, NOON)["studio"]["windows"]
    assert windows == [
        {
            "budget": "month 2026-11 Europe/Berlin of workspace studio",
            "scope": "workspace",
            "recipe": None,
            "period": "month",
            "cap": "5.000000",
            "settled": "0.039000",
            "open": "1.400000",
            "unknown": "0.700000",
            "left": "3.561000",
            "over": False,
            "ends_at": "2026-11-30T23:00:00.000000Z",
        },
        {
            "budget": "total of workspace studio",
            "scope": "workspace",
            "recipe": None,
            "period": "total",
            "cap": "500.000000",
            "settled": "0.050000",
            "open": "1.400000",
            "unknown": "0.700000",
            "left": "498.550000",
            "over": False,
            "ends_at": None,
        },
        {
            "budget": "month 2026-11 Europe/Berlin of recipe posters",
            "scope": "recipe",
            "recipe": "posters",
            "period": "month",
            "cap": "1.000000",
            "settled": "0.039000",
            "open": "0.700000",
            "unknown": "0.000000",
            "left": "0.261000",
            "over": False,
            "ends_at": "2026-11-30T23:00:00.000000Z",
        },
        {
            "budget": "each run of recipe posters",
            "scope": "run",
            "recipe": "posters",
            "period": "run",
            "cap": "2.000000",
            "settled": "0.000000",
            "open": "0.000000",
            "unknown": "0.000000",
            "left": "2.000000",
            "over": False,
            "ends_at": None,
        },
    ]


def test_workspaces_do_not_see_each_others_money(shop: Books) -> None:
    lab = at(shop, NOON)["lab"]
    assert (lab["currency"], lab["time_zone"], lab["stopped"]) == ("EUR", "America/New_York", None)
    assert [(w["settled"], w["open"], w["unknown"]) for w in lab["windows"]] == [("0.000000", "0.700000", "0.700000")]


def test_the_month_turns_at_local_midnight_and_a_total_keeps_its_unknown(shop: Books) -> None:
    before = at(shop, datetime(2026, 11, 30, 22, 59, tzinfo=UTC))["studio"]["windows"]
    after = at(shop, datetime(2026, 11, 30, 23, 0, tzinfo=UTC))["studio"]["windows"]
    assert (before[0]["settled"], before[0]["unknown"]) == ("0.039000", "0.700000")
    assert (after[0]["settled"], after[0]["open"], after[0]["unknown"]) == ("0.000000", "0.000000", "0.000000")
    assert after[1]["unknown"] == "0.700000"
    assert after[0]["budget"].startswith("month 2026-12 ")


def test_a_cap_below_what_is_spent_is_flagged(shop: Books) -> None:
    text = (shop.root / "omixa.toml").read_text()
    (shop.root / "omixa.toml").write_text(text.replace('month = "5.00"', 'month = "1.00"'))
    found = at(shop, NOON)["studio"]
    assert (found["windows"][0]["left"], found["windows"][0]["over"]) == ("-0.439000", True)
    lines = budget._text(found).splitlines()
    assert [line.endswith("OVER ITS CAP") for line in lines[2:6]] == [True, False, False, False]
    (shop.root / "omixa.toml").write_text(text.replace('month = "5.00"', 'month = "1.439"'))
    full = at(shop, NOON)["studio"]["windows"][0]
    assert (full["left"], full["over"]) == ("0.000000", False)


def test_the_text_says_when_a_window_ends_in_its_own_zone(shop: Books) -> None:
    lines = budget._text(at(shop, NOON)["studio"]).splitlines()
    month, recipe = "month 2026-11 Europe/Berlin", "month 2026-11 Europe/Berlin of recipe posters"
    assert [re.split(r" {2,}", line) for line in lines] == [
        ["workspace studio · USD"],
        ["budget", "cap", "settled", "open", "of which unknown", "left", "ends"],
        [month, "5.000000", "0.039000", "1.400000", "0.700000", "3.561000", "1 Dec 2026 00:00 Europe/Berlin"],
        ["total", "500.000000", "0.050000", "1.400000", "0.700000", "498.550000", "never"],
        [recipe, "1.000000", "0.039000", "0.700000", "0.000000", "0.261000", "1 Dec 2026 00:00 Europe/Berlin"],
        ["each run of recipe posters", "2.000000", "0.000000", "0.000000", "0.000000", "2.000000", "with the run"],
    ]


def test_an_unlimited_workspace_shows_what_it_spent_without_a_cap(shop: Books) -> None:
    text = (shop.root / "omixa.toml").read_text()
    text = text.replace('budget = { month = "5.00", total = "500.00" }', "unlimited = true")
    (shop.root / "omixa.toml").write_text(text)
    windows = at(shop, NOON)["studio"]["windows"]
    assert (windows[0]["cap"], windows[0]["left"], windows[0]["over"]) == (None, None, False)
    assert windows[0]["settled"] == "0.050000"
    assert windows[1]["cap"] == "1.000000"  # the recipe's own budget still holds
    assert "no cap" in budget._text(at(shop, NOON)["studio"])


def test_a_stopped_workspace_says_why_and_what_to_type(shop: Books, capsys: pytest.CaptureFixture[str]) -> None:
    attempt_id = shop.settled(POSTERS, "dear", NOON, 900_000)
    assert shop.omixa("budget") == 0
    said = capsys.readouterr().out
    assert (
        f"stopped by a breach on 22 Nov 2026 13:00 Europe/Berlin: attempt {attempt_id} was billed 0.900 USD, "
        "above its reservation of 0.700 USD\n"
        "   = help: look into it, then: omixa resume --workspace studio --note TEXT\n"
    ) in said
    assert said.count("stopped by") == 1


def test_the_command_prints_one_json_object(shop: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.omixa("budget", "--json") == 0
    found = parsed(capsys.readouterr().out)
    assert found["schema"] == "omixa.budget/1"
    workspaces = found["workspaces"]
    assert isinstance(workspaces, list)
    assert [one["workspace"] for one in workspaces] == ["studio", "lab"]
    assert workspaces[0]["windows"][1]["settled"] == "0.050000"  # `total` holds whatever the day is


def test_only_one_workspace_when_it_is_named(shop: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.omixa("budget", "--workspace", "lab") == 0
    text = capsys.readouterr().out
    assert text.startswith("workspace lab · EUR\n")
    assert "studio" not in text
    assert shop.omixa("budget", "--workspace", "lob") == 2
    assert "did you mean `lab`?" in capsys.readouterr().err


def test_a_broken_recipe_hides_only_its_own_budget(shop: Books, capsys: pytest.CaptureFixture[str]) -> None:
    (shop.root / "recipes" / "broken.toml").write_text('workspace = "studio"\nnonsense\n')
    assert shop.omixa("budget") == 0
    said = capsys.readouterr()
    assert said.err == (
        "warning: the budgets of recipes/broken.toml are not shown: they have problems\n"
        "   = help: `omixa check` shows them all\n"
    )
    assert "workspace studio" in said.out
    assert "of recipe posters" in said.out


def test_broken_settings_are_told_with_their_place(shop: Books, capsys: pytest.CaptureFixture[str]) -> None:
    text = (shop.root / "omixa.toml").read_text()
    (shop.root / "omixa.toml").write_text(text.replace('"5.00"', "5.00"))
    assert shop.omixa("budget") == 2
    said = capsys.readouterr()
    assert "--> omixa.toml:" in said.err
    assert said.out == ""


def test_without_a_ledger_everything_is_left_and_none_is_made(shop: Books, capsys: pytest.CaptureFixture[str]) -> None:
    text = (shop.root / "omixa.toml").read_text()
    (shop.root / "omixa.toml").write_text('[ledger]\nurl = "sqlite:///other/ledger.db"\n' + text)
    assert shop.omixa("budget", "--workspace", "lab") == 0
    assert "10.000000  0.000000  0.000000" in capsys.readouterr().out
    assert not (shop.root / "other").exists()
