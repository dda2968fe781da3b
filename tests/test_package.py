"""The wheel: everything that a run needs is in it, and it works from an empty folder, without this checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is, but without a build environment of its own, which would need the package registry."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program and nothing else; what it depends on comes from where the tests run."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-index", "--target", str(folder), str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def omixa(
    installed: Path, folder: Path, *words: str, python: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *python, "-m", "runner", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_wheel_has_all_that_is_read_at_run_time_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    scaffold = {path.relative_to(ROOT).as_posix() for path in (ROOT / "runner/scaffold").rglob("*") if path.is_file()}
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "runner/reports/html").glob("*.[cj]s*")}
    assert len(page) == 2
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "runner").rglob("*.py")}
    migrations = {f"runner/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "migrations").rglob("*.py")}
    assert "runner/migrations/env.py" in migrations
    assert any(name.startswith("runner/migrations/versions/0001") for name in migrations)
    assert len(scaffold) >= 5
    assert scaffold | page | code | migrations <= names
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
    others = {name.partition("/")[0] for name in names} - {"runner"}
    assert all(name.endswith(".dist-info") for name in others), others


def test_the_installed_program_makes_and_runs_a_project_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    init = omixa(installed, tmp_path, "init")
    assert init.returncode == 0, init.stderr
    check = omixa(installed, tmp_path, "check")
    assert check.returncode == 0, check.stderr
    # The migrations that make the ledger come out of the wheel.
    run = omixa(installed, tmp_path, "run", "first")
    assert run.returncode == 0, run.stderr
    assert "bought 3 pictures for 0.117 sandbox-USD" in run.stdout
    assert len(list((tmp_path / "out/first").glob("*.png"))) == 3
    doctor = omixa(installed, tmp_path, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "0 failures, 0 warnings" in doctor.stdout


def test_it_is_the_installed_program_that_was_tested(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    program = "import runner; from runner.ledger import migrate; print(runner.__file__, migrate.folder())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(installed / "runner/__init__.py"), str(installed / "runner/migrations")]


def test_an_installation_that_lacks_a_package_says_which(installed: Path, tmp_path: Path) -> None:
    # `-S`: without what the tests are installed with.
    done = omixa(installed, tmp_path, "doctor", python=("-S",))
    assert done.returncode == 2
    assert done.stderr.startswith("error: this installation lacks `")
    assert "`pydantic`" in done.stderr
    assert "= help: pip install --force-reinstall omixa-runner" in done.stderr
