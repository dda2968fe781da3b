"""`omixa history`: each change of a recipe beside what the ledger says was bought by that very file."""

import json
from typing import Any

import pytest

from tests.review.conftest import ANA, BO, Scratch


def history(scratch: Scratch, *words: str) -> list[dict[str, Any]]:
    code, out, err = scratch.say("history", "posters", "--json", *words)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["schema"], told["recipe"]) == ("omixa.history/1", "posters")
    found: list[dict[str, Any]] = told["versions"]
    return found


def bought(version: dict[str, Any]) -> list[tuple[int, str]]:
    return [(one["pictures"], one["settled"]) for one in version["bought"]]


@pytest.fixture
def used(scratch: Scratch) -> Scratch:
    """Bought by the first version, by another prompt of BO's, and by an edit that nobody committed."""
    assert scratch.say("run", "posters")[0] == 0
    scratch.write(".gitignore", ".omixa\nout\n")
    scratch.recipe(text="Restore it well.", output="two")
    scratch.commit("another prompt", author=BO)
    scratch.picture("pictures/3.png")
    assert scratch.say("run", "posters")[0] == 0
    scratch.recipe(text="Restore it best.", output="three")
    assert scratch.say("run", "posters")[0] == 0
    scratch.git("checkout", "recipes")
    return scratch


def test_each_change_has_what_was_bought_by_it_and_what_differs(used: Scratch) -> None:
    newest, first, loose = history(used)
    assert (newest["author"], newest["subject"]) == (BO, "another prompt")
    assert [one["key"] for one in newest["changes"]] == ["prompts.restore.text", "output.folder"]
    assert bought(newest) == [(4, "0.156000")]
    assert (first["author"], first["changes"], bought(first)) == (ANA, [], [(3, "0.117000")])
    assert (loose["commit"], bought(loose)) == (None, [(4, "0.156000")])


def test_the_sum_is_the_reports(used: Scratch) -> None:
    out = used.say("report", "--by", "recipe", "--format", "json")[1]
    settled = json.loads(out)["totals"][0]["settled"]
    micros = sum(int(text.replace(".", "")) for version in history(used) for _, text in bought(version))
    assert micros == int(settled.replace(".", ""))


def test_the_text_is_a_table_with_the_newest_first(used: Scratch) -> None:
    used.replace("recipes/posters.toml", "[labels]", "# a word\n[labels]")
    used.commit("layout")
    code, out, _ = used.say("history", "posters")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "posters"
    assert lines[3].endswith("layout only")
    assert "prompts.restore.text: Restore it. → Restore it well.; output.folder: out/posters → out/two" in lines[4]
    assert lines[5].endswith("first")
    assert lines[6].startswith("not in git")
    assert "1 older change" not in out
    assert "2 older changes not shown; --limit 3 lists all" in used.say("history", "posters", "--limit", "1")[1]


def test_a_content_that_came_back_is_counted_once(used: Scratch) -> None:
    used.recipe()
    used.commit("back")
    assert [bought(one) for one in history(used)] == [[(3, "0.117000")], [(4, "0.156000")], [], [(4, "0.156000")]]


def test_a_recipe_that_is_gone_still_has_a_history(used: Scratch) -> None:
    (used.root / "recipes/posters.toml").unlink()
    used.commit("gone")
    assert [bought(one) for one in history(used)][:2] == [[], [(4, "0.156000")]]
    assert "gone" in used.say("history", "posters")[1].splitlines()[3]


@pytest.mark.parametrize("name", ["nothing", "../omixa", "--limit"])
def test_a_recipe_that_nobody_knows_is_said(scratch: Scratch, name: str) -> None:
    if name.startswith("-"):
        with pytest.raises(SystemExit):
            scratch.say("history", name)
        return
    code, out, err = scratch.say("history", name)
    assert (code, out) == (2, "")
    assert "neither git nor the ledger knows a recipe" in err
