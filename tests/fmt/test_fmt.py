"""`omixa fmt` by its command line: which files it takes, what it writes, what it leaves alone, and how it ends."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.commands.fmt import write
from runner.errors import DiskError
from runner.tomlfile import read
from tests.run.test_trouble import mounted

PROBLEMS = Path(__file__).parents[1] / "problems"
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
UGLY = 'model = "m" # who\nworkspace="w"\n'
NEAT = 'workspace = "w"\nmodel = "m" # who\n'

Omixa = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose omixa.toml is laid out, and without recipes."""
    root = tmp_path / "project"
    shutil.copytree(PROBLEMS / "_project", root)
    (root / "recipes").mkdir()
    return root


@pytest.fixture
def omixa(project: Path) -> Omixa:
    """Runs a command line in the project."""

    def run(*words: str, text: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "runner", *words], cwd=project, input=text, capture_output=True, timeout=60
        )

    return run


def test_without_files_the_project_is_laid_out_and_what_changed_is_named(project: Path, omixa: Omixa) -> None:
    (project / "recipes/ugly.toml").write_text(UGLY)
    (project / "recipes/neat.toml").write_text(NEAT)

    done = omixa("fmt")

    assert (done.returncode, done.stdout) == (0, b"formatted  recipes/ugly.toml\n")
    assert done.stderr == b"3 files, 1 formatted\n"
    assert (project / "recipes/ugly.toml").read_text() == NEAT
    assert omixa("fmt").stderr == b"3 files, 0 formatted\n"


def test_contract_files_have_the_order_of_their_page(project: Path, omixa: Omixa) -> None:
    ugly = """source="s"
title = "t"
operation = "prompt-to-image"
model = "draw" # theirs
summary = "x"
[[fields]]
description = "d"
accepted=["png"]
required = false
type = "string"
field = "output_format"
"""
    neat = """model = "draw" # theirs
operation = "prompt-to-image"
title = "t"
summary = "x"
source = "s"

[[fields]]
field = "output_format"
type = "string"
required = false
accepted = ["png"]
description = "d"
"""
    (project / "contracts").mkdir()
    (project / "contracts/draw.toml").write_text(ugly)

    assert omixa("fmt").stdout == b"formatted  contracts/draw.toml\n"
    assert (project / "contracts/draw.toml").read_text() == neat
    assert omixa("fmt", "-", text=ugly.encode()).stdout == neat.encode()


def test_files_are_taken_as_paths_or_as_names_of_recipes(project: Path, omixa: Omixa) -> None:
    for name in ("one", "two", "three"):
        (project / f"recipes/{name}.toml").write_text(UGLY)

    assert omixa("fmt", "one", "recipes/two.toml", "recipes/two.toml").stderr == b"2 files, 2 formatted\n"
    assert (project / "recipes/three.toml").read_text() == UGLY
    assert b"there is no recipe `tree` in recipes/" in omixa("fmt", "tree").stderr
    missing = omixa("fmt", "recipes/tree.toml")
    assert (missing.returncode, missing.stdout) == (2, b"")
    assert b"error[unreadable-file]: `recipes/tree.toml` cannot be read: No such file or directory" in missing.stderr


def test_a_file_needs_no_project(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(UGLY)
    done = subprocess.run([sys.executable, "-m", "runner", "fmt", "a.toml"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    assert (tmp_path / "a.toml").read_text() == NEAT


def test_omixa_toml_has_an_order_of_its_own(project: Path, omixa: Omixa) -> None:
    text = (project / "omixa.toml").read_text()
    head, _, rest = text.partition("[workspaces.")
    (project / "omixa.toml").write_text(f"[workspaces.{rest}\n\n\n{head}")
    assert omixa("fmt", "omixa.toml").returncode == 0
    assert (project / "omixa.toml").read_text() == text


def test_check_writes_nothing_and_says_what_would_change(project: Path, omixa: Omixa) -> None:
    (project / "recipes/ugly.toml").write_text(UGLY)

    done = omixa("fmt", "--check")

    assert (done.returncode, done.stdout) == (10, b"not formatted  recipes/ugly.toml\n")
    assert done.stderr == b"2 files, 1 would be formatted\n"
    assert (project / "recipes/ugly.toml").read_text() == UGLY
    (project / "recipes/ugly.toml").write_text(NEAT)
    assert omixa("fmt", "--check").returncode == 0


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_difference_is_one_that_git_can_apply(project: Path, omixa: Omixa, ending: str) -> None:
    ugly = (UGLY + 'description = "\x85 ends no line"').replace("\n", ending).encode()
    (project / "recipes/ugly.toml").write_bytes(ugly)

    shown = omixa("fmt", "--diff")

    assert shown.returncode == 0
    assert (project / "recipes/ugly.toml").read_bytes() == ugly
    assert omixa("fmt", "--diff", "--check").returncode == 10
    patch = shown.stdout.replace("\N{REPLACEMENT CHARACTER}".encode(), "\x85".encode())
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=project, input=patch, check=True)
    applied = (project / "recipes/ugly.toml").read_bytes()
    assert omixa("fmt", "--check").returncode == 0
    assert applied == (NEAT + 'description = "\x85 ends no line"\n').replace("\n", ending).encode()


def test_a_difference_shows_no_key_and_steers_no_terminal(project: Path, omixa: Omixa) -> None:
    (project / "recipes/ugly.toml").write_text('model= "omx_live_0123456789" # \x9b31m\n')
    shown = omixa("fmt", "--diff").stdout.decode()
    assert "omx_live_**********" in shown
    assert "0123456789" not in shown
    assert "\x9b" not in shown


def test_standard_input_becomes_standard_output(omixa: Omixa) -> None:
    done = omixa("fmt", "-", text=UGLY.encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, NEAT.encode(), b"")
    settings = omixa("fmt", "-", text=b"[workspaces.a]\n[endpoints.b]\n")
    assert settings.stdout == b"[endpoints.b]\n\n[workspaces.a]\n"
    assert omixa("fmt", "-", "--check", text=UGLY.encode()).returncode == 10
    assert omixa("fmt", "-", "--check", text=NEAT.encode()).returncode == 0
    assert b'-workspace="w"' in omixa("fmt", "-", "--diff", text=UGLY.encode()).stdout
    assert omixa("fmt", "-", "omixa.toml").returncode == 2


def test_a_byte_order_mark_and_windows_line_ends_stay(project: Path, omixa: Omixa) -> None:
    (project / "recipes/ugly.toml").write_bytes(b"\xef\xbb\xbf" + UGLY.replace("\n", "\r\n").encode())
    assert omixa("fmt").returncode == 0
    neat = b"\xef\xbb\xbf" + NEAT.replace("\n", "\r\n").encode()
    assert (project / "recipes/ugly.toml").read_bytes() == neat
    assert omixa("fmt", "--check").returncode == 0


def test_a_broken_file_is_left_alone_with_what_check_says_and_the_others_are_laid_out(
    project: Path, omixa: Omixa
) -> None:
    shutil.copy(PROBLEMS / "toml-string-open.toml", project / "recipes")
    shutil.copy(PROBLEMS / "not-utf-8.toml", project / "recipes")
    (project / "recipes/ugly.toml").write_text(UGLY)
    before = (project / "recipes/toml-string-open.toml").read_bytes()

    done = omixa("fmt")

    assert (done.returncode, done.stdout) == (2, b"formatted  recipes/ugly.toml\n")
    said = [
        (PROBLEMS / f"{name}.txt").read_text().rsplit("\n", 2)[0].strip() for name in ("not-utf-8", "toml-string-open")
    ]
    assert done.stderr.decode() == "\n\n".join([*said, "4 files, 1 formatted, 2 left as they are\n"])
    assert (project / "recipes/toml-string-open.toml").read_bytes() == before
    assert omixa("fmt", "-", text=before).returncode == 2


def test_a_hostile_file_is_left_alone(project: Path, omixa: Omixa) -> None:
    shutil.copy(PROBLEMS / "hostile-nesting.toml", project / "recipes")
    (project / "recipes/large.toml").write_bytes(b"# " + b"x" * 1024 * 1024)
    done = omixa("fmt")
    assert done.returncode == 2
    assert b"nested-too-deep" in done.stderr
    assert b"file-too-large" in done.stderr
    assert b"file-too-large" in omixa("fmt", "-", text=b"#" * (1024 * 1024 + 1)).stderr


def test_a_read_only_file_is_named_and_not_replaced(project: Path, omixa: Omixa) -> None:
    (project / "recipes/kept.toml").write_text(UGLY)
    (project / "recipes/kept.toml").chmod(0o444)
    (project / "recipes/ugly.toml").write_text(UGLY)

    done = omixa("fmt")

    assert (done.returncode, done.stdout) == (7, b"formatted  recipes/ugly.toml\n")
    assert b"error: `recipes/kept.toml` is read-only, so it is left as it is\n" in done.stderr
    assert (project / "recipes/kept.toml").read_text() == UGLY


def test_a_read_only_file_that_is_laid_out_is_no_error(project: Path, omixa: Omixa) -> None:
    (project / "recipes/kept.toml").write_text(NEAT)
    (project / "recipes/kept.toml").chmod(0o444)
    assert omixa("fmt").returncode == 0


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
@pytest.mark.parametrize("options", ["size=1m,ro", "size=4k"])
def test_where_nothing_can_be_written_the_file_stays_whole(tmp_path: Path, omixa: Omixa, options: str) -> None:
    with mounted(tmp_path / "there", options.replace(",ro", "")):
        (tmp_path / "there/a.toml").write_text(UGLY)
        if "ro" in options:
            subprocess.run(["mount", "-o", "remount,ro", tmp_path / "there"], check=True)
        done = omixa("fmt", str(tmp_path / "there/a.toml"))
        assert (tmp_path / "there/a.toml").read_text() == UGLY
        assert os.listdir(tmp_path / "there") == ["a.toml"]
    assert done.returncode == 7
    assert b"Traceback" not in done.stderr


def test_the_mode_stays_and_a_link_stays_a_link(project: Path, omixa: Omixa) -> None:
    real = project / "real.toml"
    real.write_text(UGLY)
    real.chmod(0o640)
    (project / "recipes/link.toml").symlink_to("../real.toml")

    assert omixa("fmt").returncode == 0

    assert (project / "recipes/link.toml").is_symlink()
    assert real.read_text() == NEAT
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in project.iterdir()) == ["omixa.toml", "pictures", "real.toml", "recipes"]


def test_what_is_no_file_is_told(project: Path, omixa: Omixa) -> None:
    os.mkfifo(project / "recipes/pipe.toml")
    done = omixa("fmt", "recipes", "recipes/pipe.toml")
    assert done.returncode == 2
    assert b"`recipes` cannot be read: Is a directory" in done.stderr
    assert b"`recipes/pipe.toml` is not a file" in done.stderr


def test_what_was_changed_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(UGLY)
    file = read(path, "a.toml")
    path.write_text(UGLY + "# saved by an editor\n")
    with pytest.raises(DiskError, match="was changed meanwhile"):
        write(file, NEAT.encode())
    assert path.read_text() == UGLY + "# saved by an editor\n"
