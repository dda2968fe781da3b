"""`omixa init`: what it writes works at once, and nothing that was there is touched."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from runner.commands.init import SCAFFOLD
from runner.contracts import CONTRACTS
from runner.project import contracts
from tests.run.test_trouble import ROOT, mounted

REPOSITORY = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def omixa(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "runner", *words], cwd=folder, capture_output=True, text=True, timeout=120
    )


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_new_project_is_checked_and_run_without_another_step(tmp_path: Path) -> None:
    assert omixa(tmp_path, "init", "studio").returncode == 0
    project = tmp_path / "studio"

    assert omixa(project, "check").returncode == 0
    first = omixa(project, "run", "first")
    assert first.returncode == 0, first.stderr
    assert "bought 3 pictures for 0.117 sandbox-USD" in first.stdout
    pictures = [Path(name).with_suffix(".png").name for name in files(project / "pictures")]
    assert files(project / "out/first") == pictures
    assert "nothing was sent" in omixa(project, "run", "first").stdout
    assert omixa(project, "doctor").returncode == 0


def test_the_commands_it_prints_can_be_typed_as_they_are(tmp_path: Path) -> None:
    said = omixa(tmp_path, "init", "old scans").stdout
    commands = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert [line.split("#")[0].split() for line in commands[1:]] == [
        ["omixa", "check"],
        ["omixa", "plan", "first"],
        ["omixa", "run", "first"],
    ]
    done = subprocess.run(
        ["sh", "-e"],
        input="\n".join(commands),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr


def test_it_names_every_file_it_wrote(tmp_path: Path) -> None:
    said = omixa(tmp_path, "init").stdout
    wrote = sorted(line.removeprefix("wrote").strip() for line in said.splitlines() if line.startswith("wrote"))
    assert wrote == files(tmp_path)
    assert "cd " not in said


def test_where_a_project_is_already_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "omixa.toml").write_text("# mine\n")
    done = omixa(tmp_path, "init")
    assert done.returncode == 2
    assert done.stderr == (
        "error: `omixa.toml` is there already, and nothing is overwritten\n"
        "   = help: `omixa check` checks it; to start another project: omixa init DIR\n"
    )
    assert files(tmp_path) == ["omixa.toml"]
    assert (tmp_path / "omixa.toml").read_text() == "# mine\n"


@pytest.mark.parametrize("name", files(SCAFFOLD))
def test_a_file_that_is_there_is_left_alone_and_said(tmp_path: Path, name: str) -> None:
    name = ".gitignore" if name == "gitignore" else name
    if name == "omixa.toml":
        pytest.skip("that is a project: refused above")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    done = omixa(tmp_path, "init")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text() == "mine"
    assert f"kept   {name}: it was there already" in done.stdout
    assert f"wrote  {name}" not in done.stdout
    assert (name == ".gitignore") == ("it should have the lines `.omixa/` and `out/`" in done.stdout)


@pytest.mark.parametrize(("name", "code"), [("omixa.toml", 2), (".gitignore", 0)])
def test_nothing_is_written_through_a_link_that_leads_nowhere(tmp_path: Path, name: str, code: int) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    (project / name).symlink_to(elsewhere)
    assert omixa(project, "init").returncode == code
    assert not elsewhere.exists()


def test_a_project_can_start_in_a_folder_that_option_project_names(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert omixa(tmp_path, "--project", "there", "init", "deep").returncode == 0
    assert (tmp_path / "there/deep/omixa.toml").is_file()


def test_after_a_failure_it_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("in the way")
    assert omixa(tmp_path, "init").returncode == 7
    assert not (tmp_path / "omixa.toml").exists()
    (tmp_path / "pictures").unlink()
    assert omixa(tmp_path, "init").returncode == 0
    assert omixa(tmp_path, "check").returncode == 0


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = omixa(tmp_path, "init", "file/studio")
    assert done.returncode == 7
    assert "a part of the path is a file, not a folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not ROOT, reason="mounting needs root; without root the test below does the same")
def test_a_read_only_place_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "there", "size=1m,ro"):
        done = omixa(tmp_path, "init", "there")
    assert done.returncode == 7
    assert "cannot be written: the file system is read-only" in done.stderr


@pytest.mark.skipif(ROOT, reason="root may write anywhere; the test above mounts a read-only folder")
def test_a_place_of_somebody_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o500)
    done = omixa(tmp_path, "init", "there")
    assert done.returncode == 7
    assert "cannot be written: this user may not write there" in done.stderr


def test_the_scaffold_has_the_keys_of_this_repositorys_own_settings() -> None:
    ours = tomllib.loads((REPOSITORY / "omixa.toml").read_text(encoding="utf-8"))
    theirs = tomllib.loads((SCAFFOLD / "omixa.toml").read_text(encoding="utf-8"))
    # A new project has no contract files, so their models have no ceilings.
    own = {f"workspaces.studio.ceilings.{name}" for name in contracts(str(REPOSITORY)).keys() - CONTRACTS.keys()}
    assert keys(theirs) == keys(ours) - own


def keys(table: dict[str, object], above: str = "") -> set[str]:
    found = set()
    for name, value in table.items():
        found.add(above + name)
        if isinstance(value, dict):
            found |= keys(value, f"{above}{name}.")
    return found


def test_the_scaffold_is_small() -> None:
    assert sum((SCAFFOLD / name).stat().st_size for name in files(SCAFFOLD)) <= 60_000


@pytest.mark.parametrize("torn", [b"", b"\x99torn\xff", b"/some/other/place\n"])
def test_a_note_of_whose_ledger_it_is_that_was_torn_is_written_anew(tmp_path: Path, torn: bytes) -> None:
    assert omixa(tmp_path, "init").returncode == 0
    (tmp_path / ".omixa").mkdir(mode=0o700)
    note = tmp_path / ".omixa/project"
    note.write_bytes(torn)
    done = omixa(tmp_path, "stop", "--reason", "holiday")
    assert done.returncode == 0, done.stderr
    done = omixa(tmp_path, "run", "first")
    assert done.returncode == 3, done.stderr  # stopped, and not by a mistake of the program
    assert note.read_bytes() == os.fsencode(tmp_path) + b"\n"


def test_a_project_in_a_folder_of_any_bytes_is_not_a_mistake_of_the_program(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"od\xffd")
    assert omixa(tmp_path, "init", str(root)).returncode == 0
    done = omixa(root, "stop", "--reason", "holiday")
    assert done.returncode == 0, done.stderr
    assert (root / ".omixa/project").read_bytes() == os.fsencode(root) + b"\n"
    done = omixa(root, "plan", "first")
    assert done.returncode == 2
    assert "the path of the picture `" in done.stderr
    assert "= help: rename the folder" in done.stderr
