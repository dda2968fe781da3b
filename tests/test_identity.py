"""Who and from which commit: real git repositories, and everything that can be missing."""

import os
import subprocess
from pathlib import Path

import pytest

from runner import identity
from runner.identity import GitState, git_state, who


def git(folder: Path, *words: str) -> str:
    identity_of_test = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity_of_test, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "recipes").mkdir(parents=True)
    (root / "omixa.toml").write_text("# settings\n")
    (root / "recipes/posters.toml").write_text("# posters\n")
    (root / "recipes/other.toml").write_text("# other\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def files(root: Path) -> list[Path]:
    return [root / "recipes/posters.toml", root / "omixa.toml"]


def test_committed_files_are_clean_at_their_commit(repository: Path) -> None:
    assert git_state(repository, files(repository)) == GitState(git(repository, "rev-parse", "HEAD"), False)


def test_a_modified_file_is_dirty(repository: Path) -> None:
    (repository / "omixa.toml").write_text("# changed\n")
    assert git_state(repository, files(repository)).dirty is True


def test_a_staged_change_is_dirty(repository: Path) -> None:
    (repository / "omixa.toml").write_text("# changed\n")
    git(repository, "add", "omixa.toml")
    assert git_state(repository, files(repository)).dirty is True


def test_an_untracked_file_is_dirty(repository: Path) -> None:
    (repository / "recipes/new.toml").write_text("# new\n")
    assert git_state(repository, [repository / "recipes/new.toml"]).dirty is True


def test_an_ignored_file_is_dirty_because_the_commit_does_not_have_it(repository: Path) -> None:
    (repository / ".gitignore").write_text("local.toml\n")
    (repository / "recipes/local.toml").write_text("# mine\n")
    assert git_state(repository, [repository / "recipes/local.toml"]).dirty is True


def test_changes_in_other_files_do_not_count(repository: Path) -> None:
    (repository / "recipes/other.toml").write_text("# changed\n")
    assert git_state(repository, files(repository)).dirty is False
    assert git_state(repository, []).dirty is False


def test_a_project_below_the_top_of_its_repository_is_found(repository: Path) -> None:
    (repository / "recipes/posters.toml").write_text("# changed\n")
    below = repository / "recipes"
    assert git_state(below, [Path("posters.toml")]) == GitState(git(repository, "rev-parse", "HEAD"), True)
    assert git_state(below, [below / "other.toml"]).dirty is False


def test_a_file_name_with_wildcards_means_only_itself(repository: Path) -> None:
    (repository / "recipes/posters.toml").write_text("# changed\n")
    assert git_state(repository, [repository / "recipes/*.toml"]).dirty is False
    (repository / "recipes/*.toml").write_text("# untracked\n")
    assert git_state(repository, [repository / "recipes/*.toml"]).dirty is True


def test_a_repository_without_a_commit_has_none_and_its_files_are_dirty(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "omixa.toml").write_text("")
    assert git_state(tmp_path, [tmp_path / "omixa.toml"]) == GitState(None, True)


def test_outside_a_repository_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path, [tmp_path / "omixa.toml"]) == GitState(None, None)
    assert git_state(tmp_path, []) == GitState(None, None)


def test_a_missing_folder_or_git_is_no_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(repository / "gone", files(repository)) == GitState(None, None)
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository, files(repository)) == GitState(None, None)


def test_git_that_never_answers_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = repository / "git"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(repository))
    monkeypatch.setattr(identity, "GIT_TIMEOUT_S", 0.05)
    assert git_state(repository, files(repository)) == GitState(None, None)


def test_the_environment_of_a_git_hook_is_not_believed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert git_state(repository, files(repository)) == GitState(commit, False)


def test_looking_leaves_the_index_alone(repository: Path) -> None:
    index = repository / ".git/index"
    os.utime(repository / "omixa.toml", (1, 1))  # git would refresh its index if it were allowed to
    before = index.read_bytes()
    git_state(repository, files(repository))
    assert index.read_bytes() == before


def test_who_is_a_user_at_a_machine_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = who()
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert who() == said
    user, _, host = said.partition("@")
    assert user
    assert host


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_123)
    assert who().startswith("uid4000000123@")
