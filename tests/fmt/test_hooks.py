"""The hooks run in the real pre-commit, before a real commit. tests/long/hooks.py also lets it install them itself."""

from pathlib import Path

import pytest
import yaml

from tests.fmt.scratch import Scratch

HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"


@pytest.fixture
def repository(tmp_path: Path) -> Scratch:
    """A repository whose commits go through the hooks as they are declared, with the program that is here."""
    scratch = Scratch(tmp_path / "repository")
    hooks = [{**hook, "language": "system"} for hook in yaml.safe_load(HOOKS.read_text(encoding="utf-8"))]
    text = yaml.safe_dump({"repos": [{"repo": "local", "hooks": hooks}]})
    (scratch.folder / ".pre-commit-config.yaml").write_text(text, encoding="utf-8")
    scratch.does("pre-commit install && git add -A && git commit -qm hooks")
    return scratch


def test_the_declaration_is_valid_to_pre_commit(repository: Scratch) -> None:
    repository.does(f"pre-commit validate-manifest {HOOKS}")
    declared = [hook["id"] for hook in yaml.safe_load(HOOKS.read_text(encoding="utf-8"))]
    assert declared == ["omixa-check", "omixa-fmt", "omixa-diff"]


def test_a_sound_project_is_committed(repository: Scratch) -> None:
    said = repository.does("pre-commit run --all-files")
    assert said.count("Passed") == 3
    repository.change("Three pictures", "Some pictures")
    said = repository.does("git commit -qam words")
    assert said.count("Passed") == 3


def test_a_change_that_breaks_a_limit_is_not_committed(repository: Scratch) -> None:
    config = repository.folder / ".pre-commit-config.yaml"
    limit = "omixa diff --staged --max-increase 0.50"
    config.write_text(config.read_text(encoding="utf-8").replace("omixa diff --staged", limit), encoding="utf-8")
    repository.does("git commit -qam limit")
    repository.change("Preserve the", "Keep the")
    done = repository.run("git commit -qam dearer")
    assert done.returncode != 0
    assert "broken[max-increase]" in done.stderr


def test_a_broken_recipe_is_not_committed(repository: Scratch) -> None:
    repository.change('preset = "photo"', 'preset = "foto"')
    done = repository.run("git commit -qam broken")
    assert done.returncode != 0
    assert "error[unknown-preset]: there is no preset `foto`" in done.stderr
    assert repository.does("git log --format=%s").split() == ["hooks", "start"]


def test_pictures_that_are_gone_stop_a_commit_too(repository: Scratch) -> None:
    done = repository.run("git rm -qr pictures && git commit -qm gone")
    assert done.returncode != 0
    assert "missing-folder" in done.stderr


def test_a_recipe_is_laid_out_before_it_is_committed(repository: Scratch) -> None:
    repository.change('preset = "photo"', 'preset="photo"   # as printed')
    done = repository.run("git commit -qam ugly")
    assert done.returncode != 0
    assert "formatted  recipes/first.toml" in done.stderr
    assert 'preset = "photo" # as printed\n' in (repository.folder / "recipes/first.toml").read_text()
    repository.does("git commit -qam neat")


def test_other_toml_is_left_alone(repository: Scratch) -> None:
    (repository.folder / "pyproject.toml").write_text("[tool]\nx=1\n")
    (repository.folder / "recipes/old").mkdir()
    (repository.folder / "recipes/old/x.toml").write_text("x=1\n")
    repository.does("git add -A && git commit -qm other")
    assert (repository.folder / "pyproject.toml").read_text() == "[tool]\nx=1\n"
    assert (repository.folder / "recipes/old/x.toml").read_text() == "x=1\n"
