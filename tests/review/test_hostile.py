"""A branch of a hostile hand: nothing of it is run or followed, and no word of it does harm in a comment."""

import os
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from runner.commands.diff_formats import harmless, in_code
from tests.review.conftest import Scratch
from tests.review.test_diff import only

# What a host's Markdown, HTML, mentions and references are made of.
EVIL = "</code>|<script>alert(1)</script> @team #1 !2 [x](http://e) `c` **b** &lt; www.e.example <!-- \\ \u202e"


def test_nothing_of_a_branch_is_run(scratch: Scratch, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    script.chmod(0o755)
    for key in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "diff.evil.command", "diff.external"):
        scratch.git("config", key, str(script))
    scratch.git("config", "core.fsmonitor", str(script))
    hooks = scratch.root / ".git/hooks"
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit"):
        (hooks / name).write_text(script.read_text())
        (hooks / name).chmod(0o755)
    scratch.write(".gitattributes", "* filter=evil diff=evil\n")
    scratch.recipe(cron="0 3 * * *")
    scratch.git("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "add", "--all")
    scratch.git("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "evil")
    ran.unlink(missing_ok=True)
    assert only(scratch.diff("main...HEAD"))["after"]["items"] == 3
    scratch.diff("--staged")
    scratch.diff("main")
    assert not ran.exists()


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_EXTERNAL_DIFF"])
def test_the_environment_leads_git_nowhere_else(scratch: Scratch, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    scratch.recipe(cron="0 3 * * *")
    scratch.commit()
    monkeypatch.setenv(name, "/nowhere")
    assert only(scratch.diff("main...HEAD"))["recipe"] == "posters"


def test_a_hook_compares_what_it_is_about_to_commit(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.recipe(cron="0 3 * * *")
    index = scratch.root / ".git/next-index"
    monkeypatch.setenv("GIT_INDEX_FILE", str(index))
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)}
    subprocess.run(["git", "add", "--all"], cwd=scratch.root, check=True, env=environment)
    assert only(scratch.diff("--staged"))["recipe"] == "posters"
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert scratch.diff("--staged")["recipes"] == []


def test_a_link_of_a_branch_is_not_followed(scratch: Scratch, tmp_path: Path) -> None:
    outside = Scratch(tmp_path / "outside", scratch._capsys)
    outside.picture("secret.png")
    (scratch.root / "linked").symlink_to(outside.root)
    scratch.recipe("thief", folder="linked")
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert only(told)["after"]["items"] is None
    assert only(told)["after"]["not_counted"] == "`linked` is a link in git, which is not followed"
    assert "secret" not in str(told)


def test_a_folder_outside_that_only_the_branch_names_is_not_looked_at(scratch: Scratch, tmp_path: Path) -> None:
    outside = Scratch(tmp_path / "outside", scratch._capsys)
    outside.picture("secret.png")
    scratch.recipe("thief", folder=str(outside.root))
    scratch.commit()
    told = scratch.diff("main...HEAD")
    assert "is outside the project, and only the change names it" in only(told)["after"]["not_counted"]
    assert "secret" not in str(told)
    scratch.git("branch", "--force", "main")
    scratch.recipe("thief", folder=str(outside.root), cron="0 3 * * *")
    scratch.commit()
    assert only(scratch.diff("main...HEAD"))["after"]["items"] == 1


def test_a_prompt_file_that_is_a_link_is_read_inside_of_the_branch_alone(scratch: Scratch, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    scratch.write("styles/a.txt", "In style.")
    (scratch.root / "inside.txt").symlink_to("styles/a.txt")
    scratch.recipe(text="Restore it. {file:inside.txt}")
    scratch.commit()
    assert only(scratch.diff("main...HEAD"))["changes"][0]["after"] == "Restore it. In style."
    (scratch.root / "outside.txt").symlink_to(tmp_path / "secret.txt")
    scratch.recipe(text="Restore it. {file:outside.txt}")
    scratch.commit()
    code, out, err = scratch.say("diff", "main...HEAD")
    assert code == 2
    assert "`outside.txt` does not exist" in err
    assert "a secret" not in out + err


def test_a_submodule_is_not_looked_into(scratch: Scratch) -> None:
    commit = scratch.git("rev-parse", "HEAD")
    scratch.git("update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    scratch.recipe("thief", folder="module/pictures")
    scratch.git("add", "recipes")
    scratch.git("commit", "--quiet", "-m", "a module")
    assert only(scratch.diff("main...HEAD"))["after"]["not_counted"] == "`module` is a submodule"


def test_paths_that_no_checkout_would_write_are_left_out(scratch: Scratch) -> None:
    """A tree made by hand may hold `..`; it must not lead out of the folder that files are laid out in."""
    blob = scratch.git("hash-object", "-w", "omixa.toml")
    inner = _tree(scratch, f"100644 blob {blob}\tstolen.txt\n")
    inner = _tree(scratch, f"040000 tree {inner}\t..\n100644 blob {blob}\tbeside.txt\n")
    entries = scratch.git("ls-tree", "HEAD")
    top = _tree(scratch, f"{entries}\n040000 tree {inner}\t..\n040000 tree {inner}\t.git\n")
    commit = scratch.git("commit-tree", top, "-p", "HEAD", "-m", "hostile")
    scratch.git("update-ref", "refs/heads/hostile", commit)
    assert scratch.diff("main...hostile")["recipes"] == []
    # What is compared is laid out two folders below this one.
    assert not (Path(tempfile.gettempdir()) / "stolen.txt").exists()


def _tree(scratch: Scratch, entries: str) -> str:
    # Raw, because `git mktree` refuses such names.
    raw = b""
    for line in entries.splitlines():
        facts, _, name = line.partition("\t")
        mode, _, oid = facts.split()
        raw += f"{mode.lstrip('0')} {name}".encode() + b"\0" + bytes.fromhex(oid)
    done = subprocess.run(
        ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
        cwd=scratch.root,
        input=raw,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("mark", [in_code, harmless])
def test_no_text_of_a_branch_becomes_markdown_html_a_link_or_a_mention(mark: object) -> None:
    assert callable(mark)
    made = mark(EVIL)
    inner = made.removeprefix("<code>").removesuffix("</code>")
    assert not set("<>|`*_[]\\@!") & set(inner)
    assert "://" not in inner
    assert "www." not in inner
    seen = Seen()
    seen.feed(made)
    assert set(seen.tags) <= {"code"}
    # A reader sees what was written: a joiner that is not shown stands after what could be a mention.
    assert seen.text.replace("\u2060", "") == EVIL.replace("\u202e", "\\u202e")


def test_a_comment_survives_a_hostile_prompt_and_shows_the_month_first(scratch: Scratch) -> None:
    scratch.write("style.txt", f"Restore it. {EVIL}".replace("\u202e", ""))
    scratch.recipe(text="{file:style.txt}", cron="0 * * * *")
    scratch.write("pictures/@team | <b>.png", "no picture")
    scratch.commit()
    code, text, _ = scratch.say("diff", "main...HEAD", "--format", "markdown", "--max-increase", "1.00")
    assert code == 3
    lines = text.splitlines()
    assert lines[0].startswith("**a month can cost ")
    assert lines[2].startswith("Refused: one rule or limit is broken.")
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows[:3]} == {10}
    assert "@team" not in text
    assert "<script" not in text
    seen = Seen()
    seen.feed(text)
    assert set(seen.tags) == {"code", "details", "summary"}


def test_a_folder_that_is_nowhere_does_no_harm_by_its_name(scratch: Scratch) -> None:
    scratch.recipe("thief", folder="no|where/@team <script> **b**")
    scratch.commit()
    text = scratch.say("diff", "main...HEAD", "--format", "markdown", "--max-increase", "1.00")[1]
    assert "is neither in git nor here" in text
    for evil in ("@team", "<script", "**b", "no|where"):
        assert evil not in text


def test_a_huge_change_makes_a_comment_that_hosts_accept(scratch: Scratch) -> None:
    for n in range(80):
        scratch.recipe(f"r{n:02}", text=f"Number {n}. " + "x" * 2000)
    scratch.commit()
    text = scratch.say("diff", "main...HEAD", "--format", "markdown")[1]
    assert len(text) < 65_536
    assert "and 20 more recipes" in text
