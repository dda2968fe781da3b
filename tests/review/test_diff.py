"""`omixa diff` in a real repository: what a change costs a month, and what it makes to be bought anew."""

import calendar
import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner import jobs
from runner.comparison import compare
from runner.ledger.database import open_database
from runner.sides import of_folder
from tests.review.conftest import Scratch

PRICE = 40_000
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def micros(text: str) -> int:
    return int(text.replace(".", ""))


def only(told: dict[str, Any]) -> dict[str, Any]:
    (recipe,) = told["recipes"]
    found: dict[str, Any] = recipe
    return found


def days(told: dict[str, Any]) -> int:
    return calendar.monthrange(*map(int, told["month"].split("-")))[1]


def total(told: dict[str, Any]) -> dict[str, Any]:
    (one,) = told["totals"]
    found: dict[str, Any] = one
    return found


# ---- when and how often


def test_from_daily_to_hourly_is_24_times_the_slots_and_the_month(scratch: Scratch) -> None:
    scratch.recipe(cron="0 * * * *")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    recipe, one, n = only(told), total(told), days(told)
    assert (recipe["before"]["slots"], recipe["after"]["slots"]) == (n, 24 * n)
    assert micros(one["month_before"]) == n * 3 * PRICE
    assert micros(one["month_after"]) == 24 * n * 3 * PRICE
    assert micros(one["month_change"]) == 23 * n * 3 * PRICE
    assert (one["anew"], one["anew_cost"]) == (0, "0.000000")
    assert recipe["changes"] == [{"key": "schedule", "before": "cron 0 2 * * *", "after": "cron 0 * * * *"}]
    code, text, _ = scratch.say("diff", "main...HEAD")
    first, second, *_ = text.splitlines()
    assert code == 0
    assert first.startswith("a month can cost ")
    assert f" ({n * 3 * PRICE // 1000 / 1000:.3f} → " in first
    assert ", ×24); nothing is to be bought anew" in first
    assert second == "within every limit"
    assert f"{n} → {24 * n} (×24)" in text


def test_an_increase_beyond_the_limit_ends_with_3_and_one_just_at_it_with_0(scratch: Scratch) -> None:
    scratch.recipe(cron="0 * * * *")
    scratch.commit()
    more = micros(total(scratch.diff("main...HEAD"))["month_change"])
    limit = f"{more // 10**6}.{more % 10**6:06d}"
    below = f"{(more - 1) // 10**6}.{(more - 1) % 10**6:06d}"
    scratch.diff("main...HEAD", "--max-increase", limit)
    told = scratch.diff("main...HEAD", "--max-increase", below, code=3)
    assert [one["code"] for one in told["violations"]] == ["max-increase"]


def test_what_costs_less_a_month_is_no_increase(scratch: Scratch) -> None:
    scratch.recipe(cron="0 2 * * 1")
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00")
    assert total(told)["month_change"].startswith("-")
    assert " less (" in scratch.say("diff", "main...HEAD")[1].splitlines()[0]


def test_own_budgets_bound_a_months_cost_and_raising_one_is_an_increase(scratch: Scratch) -> None:
    scratch.recipe(cron="0 * * * *", more='[budget]\nmonth = "5.00"')
    scratch.commit()
    told = scratch.diff("main...HEAD")
    after = only(told)["after"]
    assert (after["month_cost"], after["month_cap"]) == ("5.000000", "5.000000")
    assert micros(after["month_scheduled"]) == 24 * days(told) * 3 * PRICE
    scratch.git("branch", "--force", "main")
    scratch.recipe(cron="0 * * * *", more='[budget]\nmonth = "7.50"')
    scratch.commit()
    assert total(scratch.diff("main...HEAD"))["month_change"] == "2.500000"


@pytest.mark.parametrize(
    ("budget", "cap"),
    [('run = "0.01"', 24 * 10_000), ('day = "0.10"', None), ('week = "0.10"', None), ('total = "0.50"', 500_000)],
)
def test_every_own_budget_bounds_a_month(scratch: Scratch, budget: str, cap: int | None) -> None:
    scratch.recipe(cron="0 * * * *", more=f"[budget]\n{budget}")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    n = days(told)
    wanted = {"run": 24 * n * 10_000, "day": 31 * 100_000, "week": 6 * 100_000, "total": cap}[budget.split()[0]]
    assert micros(only(told)["after"]["month_cap"]) == wanted


def test_a_recipe_without_slots_counts_as_one_run_by_hand(scratch: Scratch) -> None:
    scratch.recipe("scans", more="paused = true")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    recipe = only(told)
    assert (recipe["before"], recipe["after"]["slots"], recipe["after"]["month_cost"]) == (None, 0, "0.120000")
    assert " by hand " in scratch.say("diff", "main...HEAD")[1]
    # It wants what posters has anyway.
    assert (recipe["anew"], len(recipe["gained"])) == (0, 3)


def test_a_schedule_of_another_month_is_not_free(scratch: Scratch) -> None:
    told = scratch.diff("main...HEAD")
    month = int(told["month"][5:]) % 12 + 1  # the month after the one that is counted
    scratch.recipe(cron=f"0 2 * {month} *")
    scratch.commit()
    after = only(scratch.diff("main...HEAD"))["after"]
    assert after["slots"] >= 28
    assert int(after["month"][5:]) == month


# ---- what costs nothing


def test_reordered_keys_and_layout_are_no_change_at_all(scratch: Scratch) -> None:
    text = (scratch.root / "recipes/posters.toml").read_text()
    blocks = text.strip().split("\n[")
    head, *tables = blocks[0].split("\n"), *blocks[1:]
    shuffled = "\n".join(reversed(head)) + "\n# a word\n" + "\n".join(f"[{table}" for table in reversed(tables))
    scratch.write("recipes/posters.toml", shuffled + "\n")
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00")
    assert (told["recipes"], told["settings"], total(told)["month_change"]) == ([], [], "0.000000")


def test_a_renamed_picture_costs_nothing(scratch: Scratch) -> None:
    (scratch.root / "pictures/0.png").rename(scratch.root / "pictures/other.png")
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00")
    recipe = only(told)
    assert (recipe["gained"], recipe["lost"], recipe["moved"], recipe["anew"]) == ([], [], 1, 0)
    assert total(told)["month_change"] == "0.000000"


@pytest.mark.parametrize("edited", [False, True])
def test_a_renamed_recipe_costs_nothing_and_is_known_by_what_it_buys(scratch: Scratch, edited: bool) -> None:
    (scratch.root / "recipes/posters.toml").rename(scratch.root / "recipes/prints.toml")
    if edited:
        scratch.replace("recipes/prints.toml", "[labels]", "[labels]\nproject = 'x'")
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00")
    recipe = only(told)
    assert (recipe["recipe"], recipe["was"], recipe["gained"], recipe["lost"]) == ("prints", "posters", [], [])
    assert total(told)["month_change"] == "0.000000"
    assert bool(recipe["changes"]) is edited


def test_a_renamed_recipe_with_budgets_says_that_they_start_anew(scratch: Scratch) -> None:
    scratch.recipe(more='[budget]\nmonth = "5.00"')
    scratch.commit()
    scratch.git("branch", "--force", "main")
    (scratch.root / "recipes/posters.toml").rename(scratch.root / "recipes/prints.toml")
    scratch.commit()
    (note,) = scratch.diff("main...HEAD")["notes"]
    assert note.startswith("prints was posters: its own budgets start anew")


def test_a_name_in_the_prompt_makes_a_renamed_picture_another_item(scratch: Scratch) -> None:
    scratch.recipe(text="Restore {stem}.")
    scratch.commit()
    scratch.git("branch", "--force", "main")
    (scratch.root / "pictures/0.png").rename(scratch.root / "pictures/other.png")
    scratch.commit()
    assert only(scratch.diff("main...HEAD"))["anew"] == 1


# ---- what is bought anew


def test_a_changed_prompt_shows_exactly_its_items(scratch: Scratch) -> None:
    scratch.recipe(source='[[sources]]\nfolder = "logos"\nprompt = "crisp"', more='[prompts.crisp]\ntext = "Crisp."')
    scratch.picture("logos/a.png")
    scratch.commit()
    scratch.git("branch", "--force", "main")
    scratch.replace("recipes/posters.toml", 'text = "Crisp."', 'text = "Crisper."')
    scratch.commit()
    told = scratch.diff("main...HEAD")
    recipe = only(told)
    assert [(one["source"], one["prompt"]) for one in recipe["gained"]] == [("logos/a.png", "crisp")]
    assert [(one["source"], one["prompt"]) for one in recipe["lost"]] == [("logos/a.png", "crisp")]
    assert (recipe["anew"], recipe["anew_cost"]) == (1, "0.040000")
    assert recipe["changes"] == [{"key": "prompts.crisp", "before": "Crisp.", "after": "Crisper."}]
    assert total(told)["month_change"] == "0.000000"
    scratch.diff("main...HEAD", "--max-increase", "0.04")
    scratch.diff("main...HEAD", "--max-increase", "0.039999", code=3)


def test_a_shared_preset_shows_on_every_recipe_that_uses_it_and_on_no_other(scratch: Scratch) -> None:
    scratch.recipe("a", source='preset = "photo"')
    scratch.recipe("b", source='preset = "photo"', folder="pictures", text="Another.")
    scratch.commit()
    scratch.git("branch", "--force", "main")
    scratch.settings(creativity="0.35")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert {one["recipe"]: one["anew"] for one in told["recipes"]} == {"a": 3, "b": 3}
    assert [one["key"] for one in told["settings"]] == ["presets.photo"]


def test_pictures_added_and_removed_are_gained_and_lost(scratch: Scratch) -> None:
    (scratch.root / "pictures/0.png").unlink()
    scratch.picture("pictures/3.png")
    scratch.picture("pictures/4.png")
    scratch.picture("pictures/5.png", seed="pictures/4.png")  # the same picture again: bought once
    scratch.commit()
    told = scratch.diff("main...HEAD")
    recipe = only(told)
    assert [one["source"] for one in recipe["gained"]] == ["pictures/3.png", "pictures/4.png"]
    assert [one["source"] for one in recipe["lost"]] == ["pictures/0.png"]
    assert (recipe["before"]["items"], recipe["after"]["items"]) == (3, 4)
    assert micros(total(told)["month_change"]) == days(told) * PRICE
    more = f"+{days(told) * PRICE // 1000 / 1000:.3f} sandbox-USD"
    assert more in scratch.say("diff", "main...HEAD")[1].split("\n\n")[1]


def test_a_prompt_file_that_changes_is_a_changed_prompt(scratch: Scratch) -> None:
    scratch.write("style.txt", "In style.")
    scratch.recipe(text="Restore it. {file:style.txt}")
    scratch.commit()
    scratch.git("branch", "--force", "main")
    scratch.write("style.txt", "In another style.")
    scratch.commit()
    recipe = only(scratch.diff("main...HEAD"))
    assert (recipe["anew"], [one["key"] for one in recipe["changes"]]) == (3, ["prompts.restore"])


# ---- prices


def test_a_lower_ceiling_makes_nothing_cheaper_and_a_higher_one_dearer(scratch: Scratch) -> None:
    scratch.settings(ceiling="0.01")
    scratch.commit()
    assert total(scratch.diff("main...HEAD"))["month_change"] == "0.000000"
    scratch.settings(ceiling="0.08")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert micros(total(told)["month_change"]) == days(told) * 3 * PRICE


def test_without_a_price_nobody_knows_and_a_limit_refuses(scratch: Scratch) -> None:
    scratch.replace("omixa.toml", 'ceilings = { "stability-upscale-creative" = "0.04" }', "")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert total(told)["month_change"] is None
    text = scratch.say("diff", "main...HEAD")[1]
    assert text.startswith("nobody knows how much more a month can cost in sandbox-USD")
    told = scratch.diff("main...HEAD", "--max-increase", "1000.00", code=3)
    assert [one["code"] for one in told["violations"]] == ["increase-unknown"]


def test_currencies_are_never_added(scratch: Scratch) -> None:
    more = (
        '[endpoints.local]\nurl = "http://localhost:9"\n[workspaces.euro]\nendpoint = "local"\n'
        'api_key = { env = "EURO_KEY" }\ncurrency = "EUR"\ntime_zone = "UTC"\nbudget = { month = "5.00" }\n'
        'ceilings = { "stability-upscale-creative" = "0.50" }\n'
    )
    scratch.settings(more=more)
    scratch.recipe("paid")
    scratch.replace("recipes/paid.toml", 'workspace = "studio"', 'workspace = "euro"')
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "1.00", code=3)
    found = {one["currency"]: micros(one["month_change"]) for one in told["totals"]}
    assert found == {"EUR": days(told) * 3 * 500_000, "sandbox-USD": 0}
    assert {one["message"].split(" EUR")[0].split(" ")[-1] for one in told["violations"]} >= {"1.500"}


def test_what_was_billed_is_the_price_and_what_is_paid_for_is_not_bought_anew(scratch: Scratch) -> None:
    assert scratch.say("run", "posters")[0] == 0
    scratch.recipe("prints", folder="more")
    scratch.picture("more/known.png", seed="pictures/0.png")
    scratch.picture("more/new.png")
    scratch.write(".gitignore", ".omixa\nout\n")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    (recipe,) = [one for one in told["recipes"] if one["recipe"] == "prints"]
    assert told["observed_prices"] is True
    assert recipe["after"]["expected_price"] == "0.039000"
    assert (len(recipe["gained"]), recipe["anew"], recipe["anew_cost"]) == (2, 1, "0.039000")
    declared = scratch.diff("main...HEAD", "--no-ledger")
    (recipe,) = [one for one in declared["recipes"] if one["recipe"] == "prints"]
    assert (declared["observed_prices"], recipe["after"]["expected_price"]) == (False, "0.040000")


# ---- budgets and the forecast


def test_headroom_and_the_end_of_a_budget_are_the_forecasts(tmp_path: Path, scratch: Scratch) -> None:
    after = tmp_path / "after"
    shutil.copytree(scratch.root, after)
    text = (after / "omixa.toml").read_text()
    (after / "omixa.toml").write_text(text.replace('month = "500.00"', 'month = "0.10"'))
    with closing(open_database(tmp_path / "none.db", create=False)) as database:
        sides = of_folder(scratch.root, "before"), of_folder(after, "after")
        settings = sides[0].settings
        assert settings is not None
        found = compare(*sides, database, jobs.results(settings), at=NOON, observed=False)
    (budget,) = found.budgets
    assert budget.name == "month of workspace studio@sandbox"
    assert budget.before is not None
    assert budget.after is not None
    assert (budget.before.cap_micros, budget.before.left_micros) == (500_000_000, 499_880_000)
    assert budget.before.refused_at is None
    assert (budget.after.cap_micros, budget.after.left_micros) == (100_000, 20_000)
    assert budget.after.refused_at == datetime(2026, 11, 23, 2, tzinfo=UTC)
    assert found.forecast_micros == {"sandbox-USD": (120_000, 120_000)}


# ---- what can be compared


def test_a_range_means_what_the_branch_did_and_two_dots_all_that_differs(scratch: Scratch) -> None:
    scratch.recipe(cron="0 3 * * *")
    scratch.commit()
    scratch.git("checkout", "--quiet", "main")
    scratch.recipe("other", text="Another.")
    scratch.commit()
    scratch.git("checkout", "--quiet", "feature")
    assert [one["recipe"] for one in scratch.diff("main...")["recipes"]] == ["posters"]
    assert {one["recipe"] for one in scratch.diff("main..feature")["recipes"]} == {"posters", "other"}


def test_the_working_tree_and_the_index_are_compared_as_they_are(scratch: Scratch) -> None:
    assert scratch.diff()["recipes"] == []
    scratch.recipe(cron="0 3 * * *")
    scratch.git("add", "recipes")
    scratch.recipe(cron="0 4 * * *")
    assert only(scratch.diff())["changes"][0]["after"] == "cron 0 4 * * *"
    assert only(scratch.diff("--staged"))["changes"][0]["after"] == "cron 0 3 * * *"
    assert only(scratch.diff("main"))["changes"][0]["after"] == "cron 0 4 * * *"


def test_two_folders_need_no_git(tmp_path: Path, scratch: Scratch) -> None:
    for name in ("old", "new"):
        shutil.copytree(scratch.root, tmp_path / name, ignore=shutil.ignore_patterns(".git"))
    recipe = tmp_path / "new/recipes/posters.toml"
    recipe.write_text(recipe.read_text().replace("0 2", "0 3"))
    told = scratch.diff(str(tmp_path / "old"), str(tmp_path / "new"))
    assert only(told)["changes"] == [{"key": "schedule", "before": "cron 0 2 * * *", "after": "cron 0 3 * * *"}]


def test_a_project_below_the_top_of_its_repository_is_found(scratch: Scratch, tmp_path: Path) -> None:
    outer = Scratch(tmp_path / "outer", scratch._capsys)
    shutil.copytree(scratch.root, outer.root / "a/project", ignore=shutil.ignore_patterns(".git"))
    outer.git("init", "--quiet", "--initial-branch=main")
    outer.write("README", "x")
    outer.commit()
    inner = Scratch(outer.root / "a/project", scratch._capsys)
    inner.recipe(cron="0 3 * * *")
    assert only(inner.diff())["after"]["items"] == 3
    assert only(inner.diff())["before"]["items"] == 3


def test_a_project_that_is_new_is_all_new(scratch: Scratch) -> None:
    scratch.git("checkout", "--quiet", "--orphan", "empty")
    scratch.git("commit", "--quiet", "--allow-empty", "-m", "nothing")
    scratch.git("rm", "-r", "--quiet", "--cached", ".")
    scratch.git("commit", "--quiet", "--allow-empty", "-m", "nothing at all")
    scratch.git("add", "--all")
    told = scratch.diff("--staged")
    assert (only(told)["before"], only(told)["anew"]) == (None, 3)


def test_pictures_that_are_not_in_git_are_counted_as_they_are_here_for_both(scratch: Scratch) -> None:
    scratch.write(".gitignore", "archive\n")
    scratch.recipe(folder="archive")
    scratch.picture("archive/a.png")
    scratch.commit()
    scratch.git("branch", "--force", "main")
    scratch.recipe(folder="archive", cron="0 * * * *")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert (only(told)["before"]["items"], only(told)["after"]["items"]) == (1, 1)
    assert told["notes"] == ["`archive` is not in git: both sides are counted with the pictures that are here now"]


def test_pictures_that_are_nowhere_are_not_guessed(scratch: Scratch) -> None:
    scratch.write(".gitignore", "archive\n")
    scratch.recipe(folder="archive")
    scratch.picture("archive/a.png")
    scratch.commit()
    shutil.rmtree(scratch.root / "archive")
    scratch.git("branch", "--force", "main")
    scratch.replace("recipes/posters.toml", 'client = "acme"', 'client = "other"')
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00")  # whatever it costs, it is no change
    assert only(told)["after"]["items"] is None
    assert only(told)["after"]["not_counted"] == "`archive` is neither in git nor here"
    scratch.recipe(folder="archive", cron="0 * * * *")
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "1000.00", code=3)
    assert [one["code"] for one in told["violations"]] == ["increase-unknown"]
    assert "`archive` is neither in git nor here" in told["violations"][0]["message"]


def test_a_lfs_pointer_is_the_item_of_its_picture(scratch: Scratch) -> None:
    import hashlib

    digest = hashlib.sha256((scratch.root / "pictures/0.png").read_bytes()).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 12345\n"
    scratch.write("pictures/0.png", pointer)
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00")
    assert told["recipes"] == []  # the same content: the same items
    scratch.recipe(cron="0 3 * * *")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert (only(told)["after"]["items"], only(told)["after"]["pointers"]) == (3, 1)
    assert "1 of its pictures are Git LFS pointers here" in told["notes"][0]


# ---- models of contract files


CONTRACT = """
model = "{model}"
operation = "{operation}"
title = "A model"
summary = "It makes pictures."
source = "its page"
{more}
[[fields]]
field = "output_format"
type = "string"
required = false
accepted = ["png", "webp"]
description = "File format."

[[fields]]
field = "seed"
type = "integer"
required = false
accepted = "0-9"
default = {default}
description = "Repeats a result."
"""
PROMPT_FIELD = """
[[fields]]
field = "prompt"
type = "string"
required = true
accepted = "1-99 characters"
description = "What to draw."
"""
PICTURE_FIELD = """
[[fields]]
field = "input_images"
type = "array"
required = true
description = "The source picture."
"""


def contract(scratch: Scratch, *, draws: bool, default: int = 1, comment: str = "") -> None:
    kind = ("draw", "prompt-to-image", PROMPT_FIELD) if draws else ("cut", "background-removal", PICTURE_FIELD)
    text = CONTRACT.format(model=kind[0], operation=kind[1], more=kind[2], default=default)
    scratch.write(f"contracts/{kind[0]}.toml", text + comment)


def with_model(scratch: Scratch, *, draws: bool) -> None:
    """`main` has a recipe of a contract file, and nothing else."""
    contract(scratch, draws=draws)
    model = "draw" if draws else "cut"
    scratch.replace("omixa.toml", '"stability-upscale-creative"', f'"{model}"')
    body = '[prompts.harbour]\ntext = "A harbour."' if draws else '[[sources]]\nfolder = "pictures"'
    scratch.write(
        "recipes/posters.toml", f'workspace = "studio"\nmodel = "{model}"\n{body}\n[output]\nfolder = "out"\n'
    )
    scratch.commit()
    scratch.git("branch", "--force", "main")


def test_another_default_of_a_model_is_bought_anew_and_said(scratch: Scratch) -> None:
    with_model(scratch, draws=True)
    contract(scratch, draws=True, default=2)
    scratch.commit()
    told = only(scratch.diff("main...HEAD"))
    assert told["anew"] == 1
    assert told["changes"] == [{"key": "contract.defaults", "before": "seed = 1", "after": "seed = 2"}]
    assert (told["gained"][0]["source"], told["gained"][0]["prompt"]) == (None, "harbour")
    assert "  changed 1 item: `harbour`\n" in scratch.say("diff", "main...HEAD")[1]


def test_a_contract_file_is_read_whatever_its_size(scratch: Scratch) -> None:
    with_model(scratch, draws=True)
    contract(scratch, draws=True, comment="# where each limit comes from\n" * 5_000)
    scratch.commit()
    assert scratch.diff("main...HEAD")["recipes"] == []


def test_a_lfs_pointer_counts_also_for_a_model_without_a_prompt(scratch: Scratch) -> None:
    with_model(scratch, draws=False)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'5' * 64}\nsize 12345\n"
    scratch.write("pictures/new.png", pointer)
    scratch.commit()
    told = scratch.diff("main...HEAD", "--max-increase", "0.00", code=3)
    assert (only(told)["after"]["pointers"], only(told)["anew"]) == (1, 1)


# ---- what cannot


def test_every_problem_of_the_change_is_said_at_once(scratch: Scratch) -> None:
    scratch.recipe("a", cron="never")
    scratch.recipe("b", folder="pictures", text="{nothing}")
    scratch.commit()
    code, out, err = scratch.say("diff", "main...HEAD")
    assert (code, out) == (2, "")
    assert "--> recipes/a.toml:15" in err
    assert "--> recipes/b.toml:11" in err


def test_results_over_each_other_and_names_that_are_no_text_are_problems_of_the_change(scratch: Scratch) -> None:
    scratch.recipe("a", output="posters")
    scratch.commit()
    code, out, err = scratch.say("diff", "main...HEAD")
    assert (code, out) == (2, "")
    assert "recipes `a` and `posters` would both write" in err
    (scratch.root / "recipes/a.toml").unlink()
    (scratch.root / "pictures" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    scratch.commit()
    code, out, err = scratch.say("diff", "main...HEAD")
    assert (code, out) == (2, "")
    assert "is not UTF-8, so it cannot be recorded" in err
    # As the base, it is compared as far as it can be.
    told = scratch.diff("HEAD..main")
    assert only(told)["before"]["items"] is None
    assert (only(told)["anew_cost"], total(told)["month_change"]) == (None, None)


def test_a_partial_clone_fetches_nothing_and_says_so(scratch: Scratch, tmp_path: Path) -> None:
    scratch.git("config", "uploadpack.allowFilter", "true")
    scratch.recipe(cron="0 3 * * *")
    scratch.commit()
    scratch.git(
        "clone", "--quiet", "--filter=blob:none", "--no-checkout", f"file://{scratch.root}", str(tmp_path / "x")
    )
    partial = Scratch(tmp_path / "x", scratch._capsys)
    partial.settings()
    code, out, err = partial.say("diff", "origin/main...origin/feature")
    assert (code, out) == (2, "")
    assert "nothing is fetched" in err


def test_a_base_with_problems_is_compared_as_far_as_it_can_be_read(scratch: Scratch) -> None:
    scratch.recipe("broken", cron="never")
    scratch.commit()
    scratch.git("branch", "--force", "main")
    scratch.recipe("broken", text="Another.")
    scratch.recipe(cron="0 3 * * *")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert {one["recipe"]: one["before"] is None for one in told["recipes"]} == {"broken": True, "posters": False}
    assert "has problems of its own" in told["notes"][0]
    assert "recipes/broken.toml" in told["notes"][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing...HEAD"], "git knows no commit `nothing` here"),
        (["--", "--upload-pack=x...HEAD"], "is no revision"),
        (["main...-x"], "`-x` is no revision"),
        (["a", "b"], "there is no folder `a`"),
        (["a", "b", "c"], "3 things cannot be compared"),
        (["main...HEAD", "--staged"], "is a range"),
        (["--max-increase", "5,00"], "--max-increase: expected an amount"),
        (["--month", "2026-13"], "is not a month of the calendar"),
        (["--month", "2020-01"], "2020-01 is past"),
    ],
)
def test_what_cannot_be_asked_is_said_with_a_way_out(scratch: Scratch, words: list[str], said: str) -> None:
    code, out, err = scratch.say("diff", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "= help: " in err


def test_without_git_it_says_how_to_go_on(tmp_path: Path, scratch: Scratch) -> None:
    shutil.rmtree(scratch.root / ".git")
    code, _, err = scratch.say("diff")
    assert code == 2
    assert "not a git repository" in err
    assert "omixa diff OLD NEW" in err


def test_no_socket_is_opened_and_nothing_is_written(scratch: Scratch) -> None:
    before = sorted(path for path in scratch.root.rglob("*"))
    scratch.diff("main...HEAD")
    assert sorted(path for path in scratch.root.rglob("*")) == before
