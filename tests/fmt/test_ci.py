"""The pipelines in docs/ci are what GitHub and GitLab take, and every command of theirs runs in a scratch place."""

import json
import subprocess
from pathlib import Path
from typing import Any

import junitparser
import pytest
import yaml

from tests.fmt.scratch import BIN, Scratch

DOCS = Path(__file__).parents[2] / "docs"
INSTALL = "pip install omixa-runner"


def github_steps() -> dict[str, str]:
    """The shell steps, by name."""
    workflow: dict[Any, Any] = yaml.safe_load((DOCS / "ci/github.yml").read_text(encoding="utf-8"))
    return {step["name"]: step["run"] for step in workflow["jobs"]["recipes"]["steps"] if "run" in step}


def gitlab_job() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load((DOCS / "ci/gitlab.yml").read_text(encoding="utf-8"))["recipes"]
    return job


@pytest.fixture
def github(tmp_path: Path) -> Scratch:
    """A repository as a workflow finds it."""
    scratch = Scratch(
        tmp_path / "repository",
        GITHUB_WORKSPACE=str(tmp_path / "repository"),
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
        GITHUB_BASE_REF="main",
    )
    scratch.does("git update-ref refs/remotes/origin/main HEAD")
    return scratch


@pytest.fixture
def gitlab(tmp_path: Path) -> Scratch:
    """A repository as a job finds it."""
    folder = tmp_path / "repository"
    return Scratch(folder, CI_PROJECT_DIR=str(folder), CI_MERGE_REQUEST_DIFF_BASE_SHA="HEAD")


@pytest.mark.parametrize(("kind", "name"), [("github-workflows", "github"), ("gitlab-ci", "gitlab")])
def test_a_pipeline_is_valid_by_the_official_schema(kind: str, name: str) -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{kind}", DOCS / f"ci/{name}.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_installed_is_this_package() -> None:
    pyproject = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert 'name = "omixa-runner"' in pyproject
    assert github_steps()["Install"] == INSTALL
    assert gitlab_job()["before_script"] == [INSTALL]


def test_every_step_of_the_workflow_passes_on_a_sound_project(github: Scratch, tmp_path: Path) -> None:
    steps = github_steps()
    assert len(steps) == 6
    for name, script in steps.items():
        if script != INSTALL:
            github.does(script)
        assert "${{" not in script, f"{name}: text from a pull request would be run"
    assert "3 pictures: 3 buy" in (tmp_path / "summary.md").read_text()
    assert json.loads((github.folder / "recipes.sarif").read_text())["runs"][0]["results"] == []


def test_the_workflow_shows_what_is_wrong_beside_the_line(github: Scratch) -> None:
    github.change('folder = "pictures/first"\npreset = "photo"', 'preset = "foto"\nfolder = "pictures/first"')
    steps = github_steps()
    check = github.run(steps["Problems, beside the lines they are in"])
    assert check.returncode == 2
    assert check.stdout.startswith("::error file=recipes/first.toml,line=9,col=10,endColumn=16,title=unknown-preset::")
    layout = github.run(steps["Layout"])
    assert layout.returncode == 10
    assert '-folder = "pictures/first"' in layout.stdout
    github.does(steps["Report for code scanning"])
    sarif = json.loads((github.folder / "recipes.sarif").read_text())
    assert [result["ruleId"] for result in sarif["runs"][0]["results"]] == ["unknown-preset"]


def test_the_workflow_shows_what_the_change_costs_and_stops_what_the_policy_forbids(
    github: Scratch, tmp_path: Path
) -> None:
    step = github_steps()["What the change costs a month"]
    github.change("Preserve the", "Keep the")
    github.does("git commit -qam other-words")
    github.does(step)
    assert "to be bought anew" in (tmp_path / "summary.md").read_text()
    github.does("printf '\n[policy]\nforbidden_words = [\"keep\"]\n' >> omixa.toml")
    github.does("git commit -qam policy && git update-ref refs/remotes/origin/main HEAD")
    github.change("Keep the", "Please keep the")
    github.does("git commit -qam forbidden")
    assert github.run(step).returncode != 0


def test_the_job_passes_on_a_sound_project(gitlab: Scratch) -> None:
    gitlab.does("\n".join(gitlab_job()["script"]))
    reports = gitlab_job()["artifacts"]["reports"]
    assert json.loads((gitlab.folder / reports["codequality"]).read_text()) == []
    (suite,) = junitparser.JUnitXml.fromfile(str(gitlab.folder / reports["junit"]))
    assert (suite.tests, suite.failures) == (2, 0)


def test_the_job_fails_on_a_broken_project_and_its_reports_are_there(gitlab: Scratch) -> None:
    gitlab.change('preset = "photo"', 'preset = "foto"')
    assert gitlab.run("\n".join(gitlab_job()["script"])).returncode == 2
    reports = gitlab_job()["artifacts"]["reports"]
    (one,) = json.loads((gitlab.folder / reports["codequality"]).read_text())
    assert one["location"] == {"path": "recipes/first.toml", "lines": {"begin": 10}}
    (suite,) = junitparser.JUnitXml.fromfile(str(gitlab.folder / reports["junit"]))
    assert (suite.tests, suite.failures) == (2, 1)


def test_the_page_shows_where_the_pipelines_are() -> None:
    page = (DOCS / "ci.md").read_text(encoding="utf-8")
    assert "(ci/github.yml)" in page
    assert "(ci/gitlab.yml)" in page
