"""`[policy]` is no advice: a plan, a run and a slot refuse what breaks it, before anything is sent."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runner import policy
from tests.run.conftest import Studio
from tests.test_identity import git


@pytest.fixture
def studio(open_studio: Callable[..., Studio]) -> Studio:
    made = open_studio()
    made.recipe()
    made.pictures(2)
    return made


def with_policy(studio: Studio, text: str) -> None:
    path = studio.root / "omixa.toml"
    path.write_text(path.read_text() + f"\n[policy]\n{text}\n")


def sent(studio: Studio) -> int:
    return len(studio.log.read_text().splitlines()) if studio.log.exists() else 0


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ('max_price = "0.699999"', "policy-price"),
        ('required_labels = ["client"]', "policy-label"),
        ('allowed_folders = ["pictures"]', "policy-folder"),
        ('forbidden_words = ["RESTORE"]', "policy-word"),
    ],
)
def test_what_breaks_a_rule_is_neither_planned_nor_bought(studio: Studio, rule: str, code: str) -> None:
    with_policy(studio, rule)
    for words in (["check"], ["plan"], ["run", "posters", "--yes"]):
        ended = studio.omixa(*words)
        assert (ended.code, ended.err.count(f"error[{code}]")) == (2, 1), ended
    assert not (studio.root / "out").exists()
    assert sent(studio) == 0


@pytest.mark.parametrize(
    "rule",
    [
        'max_price = "0.70"',
        "required_labels = []",
        'allowed_folders = ["pictures", "."]',
        'forbidden_words = ["store"]',
    ],
)
def test_what_just_keeps_a_rule_is_bought(studio: Studio, rule: str) -> None:
    with_policy(studio, rule)
    ended = studio.run()
    assert ended.code == 0, ended
    assert len(studio.outputs()) == 2


def test_a_price_that_was_seen_above_the_limit_is_refused_though_the_ceiling_is_below(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(price=800_000)
    studio.recipe()
    studio.pictures(3)
    assert studio.run().code == 3  # a breach: the bill was above the ceiling
    with_policy(studio, 'max_price = "0.70"')
    assert studio.omixa("check").code == 0
    ended = studio.omixa("plan")
    assert ended.code == 2, ended
    assert "may cost 0.800 USD in workspace studio, and the policy allows 0.700 USD" in ended.err


@pytest.mark.parametrize("how", ["file name", "sidecar"])
def test_words_that_only_a_picture_brings_are_found_by_the_plan(studio: Studio, how: str) -> None:
    studio.recipe(text="Restore {stem}.")
    with_policy(studio, 'forbidden_words = ["blood"]')
    assert studio.omixa("plan").code == 0
    if how == "sidecar":
        (studio.root / "pictures/000.png.prompt.txt").write_text("Blood on the wall.")
    else:
        (studio.root / "pictures/000.png").rename(studio.root / "pictures/blood.png")
    ended = studio.run()
    assert (ended.code, ended.err.count("error[policy-word]")) == (2, 1), ended
    assert sent(studio) == 0


def test_a_link_does_not_lead_out_of_the_allowed_folders(studio: Studio, tmp_path: Path) -> None:
    with_policy(studio, 'allowed_folders = ["pictures", "out"]')
    studio.recipe(folder="pictures/more")
    assert studio.omixa("check").code == 0
    (studio.root / "pictures/more").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (studio.root / "pictures/more").symlink_to(tmp_path / "elsewhere")
    assert "error[policy-folder]" in studio.omixa("check").err


def test_only_what_is_committed_is_bought_when_the_policy_says_so(studio: Studio) -> None:
    with_policy(studio, "require_clean = true")
    studio.recipe(more='[prompts.other]\nfile = "style.txt"')
    (studio.root / "style.txt").write_text("Restore it. {file:mood.txt}")
    (studio.root / "mood.txt").write_text("Calm.")
    path = studio.root / "recipes/posters.toml"
    path.write_text(path.read_text().replace('prompt = "restore"', 'prompt = ["restore"]'))
    assert "there is no commit to be found" in studio.run().err
    git(studio.root, "init", "--quiet")
    git(studio.root, "add", "omixa.toml", "recipes", "style.txt", "mood.txt")
    git(studio.root, "commit", "--quiet", "-m", "first")
    for name in ("style.txt", "mood.txt", "recipes/posters.toml", "omixa.toml"):
        file = studio.root / name
        text = file.read_text()
        file.write_text(text + "\n")
        ended = studio.run()
        assert (ended.code, f"`{name}` is not committed" in ended.err) == (2, True), ended
        slot = studio.omixa("schedule", "run-now", "posters", "--yes")
        assert slot.code == 2, slot
        file.write_text(text)
    assert sent(studio) == 0
    assert studio.omixa("check").code == 0
    assert studio.run().code == 0
    assert len(studio.outputs()) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("blood", True),
        ("BLOOD!", True),
        ("ＢＬＯＯＤ", True),
        ("bl\u200bood", True),
        ("bloodless", False),
        ("b lood", False),
        ("made\n  in it", False),
        ("made\n  in Rome", True),
    ],
)
def test_a_word_is_found_whole_and_however_it_is_spelled(text: str, found: bool) -> None:
    assert bool(policy.words_in(text, ["Blood", "made in rome"])) is found
