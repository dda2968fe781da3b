"""`omixa check`: each broken recipe or settings file, and the whole of what it says.

A case is `tests/problems/<case>.toml`, put into `_project/` as a recipe of that name; or a folder `<case>/`, laid
over it. `<case>.txt` is what goes to stderr, to the letter. After a change of words, write them anew and read them:

    OMIXA_REWRITE=1 pytest tests/test_check.py
    git diff tests/problems
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from runner.cli import main

PROBLEMS = Path(__file__).parent / "problems"
CASES = sorted(path.stem if path.is_file() else path.name for path in PROBLEMS.iterdir() if path.suffix != ".txt")
CASES.remove("_project")
REWRITE = "OMIXA_REWRITE" in os.environ


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without problems, and without recipes."""
    root = tmp_path / "project"
    shutil.copytree(PROBLEMS / "_project", root)
    (root / "recipes").mkdir()
    return root


def put(case: str, root: Path) -> None:
    """Put a case into the project."""
    folder = PROBLEMS / case
    if folder.is_dir():
        shutil.copytree(folder, root, dirs_exist_ok=True)
    else:
        shutil.copy(PROBLEMS / f"{case}.toml", root / "recipes")


@pytest.mark.parametrize("case", CASES)
def test_each_problem_is_said_in_full(case: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(case, project)

    code = main(["--project", str(project), "check"])

    out, err = capsys.readouterr()
    golden = PROBLEMS / f"{case}.txt"
    if REWRITE:
        golden.write_text(err, encoding="utf-8")
    assert code == 2
    assert out == ""
    assert err == golden.read_text(encoding="utf-8")


def check(root: Path, *arguments: str) -> int:
    return main(["--project", str(root), "check", *arguments])


def test_a_project_without_problems_says_so_on_stdout(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "one")
    write_recipe(project, "two", folder="out/two")

    assert check(project) == 0
    assert capsys.readouterr() == ("2 recipes, 0 problems\n", "")


def test_only_the_named_recipes_are_checked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "good")
    (project / "recipes/bad.toml").write_text("nonsense")

    assert check(project, "recipes/good.toml") == 0
    assert check(project, "good", "bad") == 2
    assert "recipes/bad.toml:1:9" in capsys.readouterr().err


def test_a_misspelled_recipe_name_is_answered_with_the_right_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(project, "restore-scans")

    assert check(project, "restore-scan") == 2
    assert capsys.readouterr().err == (
        "error: there is no recipe `restore-scan` in recipes/\n   = help: did you mean `restore-scans`?\n"
    )


def test_json_is_one_object_with_every_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "one", more="[budget]\nmonthly = 1\n")

    assert check(project, "--format", "json") == 2
    assert json.loads(capsys.readouterr().out) == {
        "schema": "omixa.check/1",
        "ok": False,
        "recipes": ["one"],
        "problems": [
            {
                "code": "unknown-key",
                "severity": "error",
                "message": "`[budget]` has no key `monthly`",
                "label": "did you mean `month`?",
                "hint": None,
                "path": "recipes/one.toml",
                "line": 11,
                "column": 1,
                "length": 7,
            }
        ],
    }


def test_json_without_problems_is_ok(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "one")

    assert check(project, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "omixa.check/1",
        "ok": True,
        "recipes": ["one"],
        "problems": [],
    }


def test_github_annotations_are_escaped_and_relative_to_the_repository(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.parent))
    write_recipe(project, "50%,a", more='[budget]\nrun = "5%"\n')

    assert check(project, "--format", "github") == 2
    assert capsys.readouterr().out == (
        "::error file=project/recipes/50%25%2Ca.toml,title=bad-name::`50%25,a` cannot be the name of a recipe%0A"
        "names have a-z, 0-9, `.`, `_` and `-`; rename the file, for example to `50-a.toml`\n"
        "::error file=project/recipes/50%25%2Ca.toml,line=11,col=7,endColumn=11,title=bad-amount::"
        'expected an amount such as "5.00", found "5%25"\n'
    )


def test_github_gets_nothing_when_nothing_is_wrong(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "one")

    assert check(project, "--format", "github") == 0
    assert capsys.readouterr().out == ""


def test_sarif_names_rule_file_and_region(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    write_recipe(project, "one", more='[budget]\n"ü" = "1"\nrun = 1\n')

    assert check(project, "--format", "sarif") == 2
    log = json.loads(capsys.readouterr().out)
    assert (log["version"], log["runs"][0]["tool"]["driver"]["name"]) == ("2.1.0", "omixa")
    results = log["runs"][0]["results"]
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in results] == ["unknown-key", "money-not-text"]
    assert results[1]["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "recipes/one.toml"},
                "region": {"startLine": 12, "startColumn": 7, "endColumn": 8},
            }
        }
    ]
    assert results[0]["locations"][0]["physicalLocation"]["region"]["endColumn"] == 4


@pytest.mark.parametrize("form", ["text", "json", "github", "gitlab", "sarif", "junit"])
def test_a_key_is_never_shown(form: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "one", more='[labels]\norder = "omx_live_0123456789" # omx_test_0123456789\n')
    text = (project / "recipes/one.toml").read_text()
    (project / "recipes/one.toml").write_text(text.replace('"photo"', '"omx_live_0123456789"'))

    assert check(project, "--format", form) == 2
    out, err = capsys.readouterr()
    assert "key-in-file" in out + err
    assert "0123456789" not in out + err


def test_a_hostile_name_cannot_reach_the_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(project, "one", more='[labels]\n"\\u001b[31m\\n" = "x"\n')

    assert check(project) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "bad-name" in err


def test_without_a_project_the_next_step_is_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no omixa.toml in ")
    assert err.endswith("   = help: start a project with `omixa init`\n")


def test_the_project_is_found_from_a_folder_inside_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(project, "one")
    monkeypatch.chdir(project / "recipes")

    assert main(["check", "one.toml"]) == 0
    assert capsys.readouterr().out == "1 recipe, 0 problems\n"


def test_every_problem_code_is_stable_and_says_something(project: Path) -> None:
    """Codes are words with hyphens, so that they can be searched for and suppressed by scanners."""
    goldens = [path.read_text(encoding="utf-8") for path in PROBLEMS.glob("*.txt")]
    heads = [line for text in goldens for line in text.splitlines() if line.startswith("error[")]
    assert len(goldens) >= 34
    assert all(head.split("]")[0].removeprefix("error[").replace("-", "").isalnum() for head in heads)


def write_recipe(root: Path, name: str, *, folder: str = "out/one", more: str = "") -> None:
    """A recipe without problems of nine lines, and `more` from line 10 on."""
    (root / "recipes" / f"{name}.toml").write_text(
        'workspace = "studio"\nmodel = "stability-upscale-creative"\n'
        '[[sources]]\nfolder = "pictures/prints"\npreset = "photo"\n'
        '[prompts.restore]\ntext = "Restore."\n'
        f'[output]\nfolder = "{folder}"\n{more}',
        encoding="utf-8",
    )
