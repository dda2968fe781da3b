"""`[policy]` judges a change: by the rules that stood before it, and by who raised a cap in which commit."""

from typing import Any

import pytest

from tests.review.conftest import ANA, BO, Scratch


def broken(told: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(one["code"], one["recipe"]) for one in told["violations"]]


def policy(scratch: Scratch, text: str) -> None:
    """The base has this policy, and so has the branch."""
    scratch.settings(more=f"[policy]\n{text}")
    scratch.commit()
    scratch.git("branch", "--force", "main")


@pytest.mark.parametrize(
    ("rule", "code", "change"),
    [
        ('required_labels = ["client"]', "policy-label", ('client = "acme"', 'project = "x"')),
        ('allowed_folders = ["pictures", "out"]', "policy-folder", ('"out/posters"', '"results"')),
        ('forbidden_words = ["blood"]', "policy-word", ("Restore it.", "Blood.")),
        # 31 days × 3 × 0.04 fit, and 24 times as many do not.
        ('max_monthly_cost = "3.72"', "policy-monthly-cost", ("0 2 * * *", "0 * * * *")),
    ],
)
def test_a_change_that_breaks_a_rule_ends_with_3_and_one_that_keeps_it_with_0(
    scratch: Scratch, rule: str, code: str, change: tuple[str, str]
) -> None:
    policy(scratch, rule)
    scratch.replace("recipes/posters.toml", "[labels]", '[labels]\nother = "y"')
    scratch.commit()
    assert broken(scratch.diff("main...HEAD")) == []
    scratch.replace("recipes/posters.toml", *change)
    scratch.commit()
    assert broken(scratch.diff("main...HEAD", code=3)) == [(code, "posters")]


def test_a_ceiling_above_the_highest_price_is_refused(scratch: Scratch) -> None:
    policy(scratch, 'max_price = "0.04"')
    scratch.replace("omixa.toml", '"0.04" }', '"0.040001" }')
    scratch.commit()
    assert broken(scratch.diff("main...HEAD", code=3)) == [("policy-price", None)]


def test_a_recipes_own_budget_keeps_it_below_the_highest_monthly_cost(scratch: Scratch) -> None:
    policy(scratch, 'max_monthly_cost = "3.72"')
    scratch.recipe(cron="0 * * * *", more='[budget]\nmonth = "3.72"')
    scratch.commit()
    assert broken(scratch.diff("main...HEAD")) == []


def test_a_branch_does_not_loosen_the_policy_that_judges_it(scratch: Scratch) -> None:
    policy(scratch, 'forbidden_words = ["blood"]')
    scratch.settings()
    scratch.recipe(text="Blood.")
    scratch.commit()
    told = scratch.diff("main...HEAD", code=3)
    assert broken(told) == [("policy-word", "posters")]
    assert told["policy_of"].startswith("main (")
    assert "the change alters [policy]; it is judged by that of main (" in scratch.say("diff", "main...HEAD")[1]


def test_a_change_of_who_must_approve_is_told(scratch: Scratch) -> None:
    policy(scratch, f'approval_over = "1.00"\nnot_author = true\n{APPROVER}')
    new = APPROVER.replace("20.00", "90.00")
    scratch.settings(more=f'[policy]\napproval_over = "500.00"\n{new}{new.replace("bo", "eve").replace(":A", ":B")}')
    scratch.commit()
    told = {one["key"]: (one["before"], one["after"]) for one in scratch.diff("main...HEAD")["settings"]}
    assert told["policy.approval_over"] == ("1.000", "500.000")
    assert told["policy.not_author"] == ("true", None)
    assert told["approvers.bo.max"] == ("20.000", "90.000")
    assert told["approvers.eve.key"] == (None, f"ed25519:B{'A' * 42}=")
    said = scratch.say("diff", "main...HEAD")[1]
    assert "the change alters [policy]; it is judged by that of main (" in said
    assert "the change alters [approvers], so others may approve, or more, once it is merged" in said


def test_what_a_change_does_not_touch_is_not_held_against_it(scratch: Scratch) -> None:
    scratch.recipe("old", text="Blood.")
    policy(scratch, 'forbidden_words = ["blood"]')
    scratch.recipe(cron="0 3 * * *")
    scratch.commit()
    assert broken(scratch.diff("main...HEAD")) == []


# ---- who may raise a cap


TWO = '[workspaces.two]\nendpoint = "sandbox"\ncurrency = "USD"\ntime_zone = "UTC"\nbudget = { day = "1.00" }\n'
APPROVER = f'[approvers.bo]\nkey = "ed25519:{"A" * 43}="\nemail = "{BO}"\nmax = "20.00"\n'
MAY = f'cap_raisers = ["{ANA.upper()}"]'


def raised(scratch: Scratch, *words: str) -> str:
    told = scratch.diff(*(words or ("main...HEAD",)), code=3)
    assert broken(told) == [("policy-cap-raised", None)]
    message: str = told["violations"][0]["message"]
    return message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"500.00"', '"500.01"', "the cap of studio by month is raised from 500.000 to 500.010"),
        ('{ month = "500.00" }', '{ day = "500.00" }', "the cap of studio by month is gone"),
        ('endpoint = "sandbox"', 'endpoint = "local"', "workspace studio pays elsewhere"),
        ("[presets.photo]", f"{TWO}[presets.photo]", "workspace two is new"),
        ("cap_raisers = [", f'cap_raisers = ["{BO}", ', "[policy] is changed"),
        ("[presets.photo]", f"{APPROVER}[presets.photo]", "[approvers] is changed"),
    ],
)
def test_only_those_whom_the_base_names_raise_a_cap(scratch: Scratch, old: str, new: str, said: str) -> None:
    more = '\n[endpoints.local]\nurl = "http://localhost:9"'
    policy(scratch, MAY + more)
    scratch.replace("omixa.toml", 'endpoint = "sandbox"', 'endpoint = "sandbox"\napi_key = { env = "STUDIO_KEY" }')
    scratch.commit(author=BO)
    assert broken(scratch.diff("main...HEAD")) == []
    scratch.replace("omixa.toml", old, new)
    commit = scratch.commit(author=BO)
    message = raised(scratch)
    assert message.startswith(f"{said}: {BO} did it ({commit[:12]})")
    scratch.git("commit", "--quiet", "--amend", "--no-edit", "--author", f"Ana <{ANA}>")
    assert broken(scratch.diff("main...HEAD")) == []


def test_lowering_a_cap_is_everybodys(scratch: Scratch) -> None:
    policy(scratch, MAY)
    scratch.replace("omixa.toml", '"500.00"', '"499.99"')
    scratch.recipe(more='[budget]\nmonth = "1.00"')
    scratch.commit(author=BO)
    assert broken(scratch.diff("main...HEAD")) == []


def test_a_recipes_cap_is_one_also_under_another_name(scratch: Scratch) -> None:
    scratch.recipe(more='[budget]\nmonth = "1.00"')
    policy(scratch, MAY)
    (scratch.root / "recipes/posters.toml").rename(scratch.root / "recipes/prints.toml")
    scratch.replace("recipes/prints.toml", 'month = "1.00"', 'month = "2.00"')
    scratch.commit(author=BO)
    assert raised(scratch).startswith("the cap of the recipe by month is raised from 1.000 to 2.000: ")


def test_somebody_elses_commit_beside_it_is_no_fault(scratch: Scratch) -> None:
    policy(scratch, MAY)
    scratch.replace("omixa.toml", "creativity = 0.3", "creativity = 0.4")
    scratch.commit(author=BO)
    scratch.replace("omixa.toml", '"500.00"', '"600.00"')
    scratch.commit(author=ANA)
    scratch.replace("omixa.toml", "creativity = 0.4", "creativity = 0.5")
    scratch.commit(author=BO)
    assert broken(scratch.diff("main...HEAD")) == []


def test_a_cap_that_comes_back_over_a_broken_file_is_nobodys(scratch: Scratch) -> None:
    policy(scratch, MAY)
    whole = (scratch.root / "omixa.toml").read_text()
    scratch.write("omixa.toml", "[broken")
    scratch.commit(author=BO)
    scratch.write("omixa.toml", whole.replace('"500.00"', '"900.00"'))
    scratch.commit(author=BO)
    told = scratch.diff("main...HEAD", code=3)
    assert {code for code, _ in broken(told)} == {"policy-cap-raised"}
    assert all("is raised from 500.000 to 900.000" in one["message"] for one in told["violations"])


def test_a_cap_that_the_base_has_lowered_since_is_raised_by_nobody(scratch: Scratch) -> None:
    policy(scratch, MAY)
    scratch.recipe(cron="0 3 * * *")
    scratch.commit(author=BO)
    scratch.git("checkout", "--quiet", "main")
    scratch.replace("omixa.toml", '"500.00"', '"400.00"')
    scratch.commit(author=ANA)
    assert "no commit of the change does it, so nobody knows who did" in raised(scratch, "main..feature")
    assert broken(scratch.diff("main...feature")) == []


def test_a_merge_that_raises_a_cap_by_itself_has_an_author_too(scratch: Scratch) -> None:
    policy(scratch, MAY)
    scratch.write("a", "a")
    scratch.commit(author=ANA)
    scratch.git("checkout", "--quiet", "-b", "side", "main")
    scratch.write("b", "b")
    scratch.commit(author=ANA)
    scratch.git("merge", "--quiet", "--no-commit", "feature")
    scratch.replace("omixa.toml", '"500.00"', '"900.00"')
    scratch.commit(author=BO)
    assert f"{BO} did it" in raised(scratch, "main...side")


def test_what_is_not_committed_is_of_whoever_would_commit_it(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    policy(scratch, MAY)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    scratch.replace("omixa.toml", '"500.00"', '"900.00"')
    assert "nobody knows who did it" in raised(scratch, "HEAD")
    scratch.git("config", "user.email", BO)
    assert f"{BO} did it (what is not committed)" in raised(scratch, "HEAD")
    scratch.git("config", "user.email", ANA)
    assert broken(scratch.diff("HEAD")) == []


def test_folders_have_no_authors(scratch: Scratch, tmp_path: Any) -> None:
    import shutil

    policy(scratch, MAY)
    for name, month in (("old", "500.00"), ("new", "900.00")):
        shutil.copytree(scratch.root, tmp_path / name, ignore=shutil.ignore_patterns(".git"))
        file = tmp_path / name / "omixa.toml"
        file.write_text(file.read_text().replace("500.00", month))
    assert "folders do not say who did it" in raised(scratch, str(tmp_path / "old"), str(tmp_path / "new"))
    scratch.diff(str(tmp_path / "new"), str(tmp_path / "old"))
