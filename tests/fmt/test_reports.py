"""What `omixa check --format` writes for pipelines is read by what it is made for, on every broken recipe there is."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import junitparser
import pytest

from runner.cli import main

PROBLEMS = Path(__file__).parents[1] / "problems"
SCHEMAS = Path(__file__).parents[1] / "schemas"
RECIPES = sorted(PROBLEMS.glob("*.toml"))

Check = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a project in a folder of it, and every broken recipe."""
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(PROBLEMS / "_project", tmp_path / "repository/jobs/a b")
    (tmp_path / "repository/.git").mkdir()
    (tmp_path / "repository/jobs/a b/recipes").mkdir()
    for path in RECIPES:
        shutil.copy(path, tmp_path / "repository/jobs/a b/recipes")
    return tmp_path / "repository"


@pytest.fixture
def check(repository: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs `omixa check` in the project and gives what it printed."""

    def run(form: str, *words: str, code: int = 2) -> str:
        assert main(["--project", str(repository / "jobs/a b"), "check", "--format", form, *words]) == code
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


@pytest.fixture
def expected(check: Check) -> list[dict[str, Any]]:
    """All problems, as JSON has them."""
    found: list[dict[str, Any]] = json.loads(check("json"))["problems"]
    assert len(found) > 60
    return found


def test_sarif_is_valid_by_the_official_schema(check: Check, expected: list[dict[str, Any]]) -> None:
    schema = json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator.check_schema(schema)
    log = json.loads(check("sarif"))
    jsonschema.Draft4Validator(schema).validate(log)
    results = log["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == [problem["code"] for problem in expected]
    for result, problem in zip(results, expected, strict=True):
        place = result["locations"][0]["physicalLocation"]
        assert unquote(place["artifactLocation"]["uri"]) == f"jobs/a b/{problem['path']}"
        assert place.get("region", {}).get("startLine") == problem["line"]
        assert place.get("region", {}).get("startColumn") == problem["column"]
    # The schema must be able to say no.
    log["runs"][0]["results"][0]["level"] = "bad"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(log)


def test_gitlab_has_what_code_quality_needs(check: Check, expected: list[dict[str, Any]]) -> None:
    found = json.loads(check("gitlab"))
    assert len(found) == len(expected)
    for one, problem in zip(found, expected, strict=True):
        assert one["check_name"] == problem["code"]
        assert one["description"].startswith(problem["message"])
        assert one["severity"] == "major"
        assert one["location"] == {"path": f"jobs/a b/{problem['path']}", "lines": {"begin": problem["line"] or 1}}
    assert len({one["fingerprint"] for one in found}) == len(found), "GitLab shows only the first of equal ones"


def test_a_problem_is_known_again_when_lines_move(repository: Path, check: Check) -> None:
    before = {one["fingerprint"] for one in json.loads(check("gitlab"))}
    path = repository / "jobs/a b/recipes/many-at-once.toml"
    path.write_text("# one\n# two\n" + path.read_text())
    after = json.loads(check("gitlab"))
    assert {one["fingerprint"] for one in after} == before
    sarif = json.loads(check("sarif"))["runs"][0]["results"]
    assert {one["partialFingerprints"]["omixa/1"] for one in sarif} == before


def test_junit_has_a_case_for_each_problem_and_each_sound_file(
    repository: Path, check: Check, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "junit.xml").write_text(check("junit"), encoding="utf-8")
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    failed = [case for case in suite if case.result]
    sound = [case for case in suite if not case.result]
    assert (suite.tests, suite.failures, suite.errors) == (len(failed) + len(sound), len(failed), 0)
    assert [case.classname for case in failed] == [f"jobs/a b/{problem['path']}" for problem in expected]
    assert [case.result[0].type for case in failed] == [problem["code"] for problem in expected]
    assert [case.classname for case in sound] == ["jobs/a b/omixa.toml"]
    assert "did you mean" in "".join(case.result[0].text for case in failed)


def test_reports_of_a_sound_project_are_whole_and_say_nothing(repository: Path, check: Check, tmp_path: Path) -> None:
    shutil.rmtree(repository / "jobs/a b/recipes")
    (repository / "jobs/a b/recipes").mkdir()
    assert json.loads(check("gitlab", code=0)) == []
    assert json.loads(check("sarif", code=0))["runs"][0]["results"] == []
    (tmp_path / "junit.xml").write_text(check("junit", code=0), encoding="utf-8")
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suite.tests, suite.failures) == (1, 0)


@pytest.mark.parametrize("variable", ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"])
def test_paths_begin_where_the_pipeline_checked_out(
    repository: Path, check: Check, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(repository / "jobs"))
    assert {one["location"]["path"].split("/")[0] for one in json.loads(check("gitlab"))} == {"a b"}
    assert "::error file=a b/recipes/" in check("github")
    monkeypatch.setenv(variable, str(repository / "elsewhere"))
    assert "::error file=jobs/a b/recipes/" in check("github")


def test_a_hostile_name_breaks_no_report(repository: Path, check: Check, tmp_path: Path) -> None:
    os.rename(
        repository / "jobs/a b/recipes/seed-as-text.toml",
        os.fsencode(repository / "jobs/a b/recipes") + b"/\x1b\xff]]>.toml",
    )
    schema = json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
    sarif = json.loads(check("sarif"))
    jsonschema.Draft4Validator(schema).validate(sarif)
    uris = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in sarif["runs"][0]["results"]]
    assert "jobs/a%20b/recipes/%1B%FF%5D%5D%3E.toml" in uris
    (tmp_path / "junit.xml").write_text(check("junit"), encoding="utf-8")
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert any("]]>.toml" in case.classname for case in suite)
    assert json.loads(check("gitlab"))
    assert "\x1b" not in check("github")
