"""The command line as a whole: one way to show errors, and never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner import cli
from runner.errors import DiskError, ExitCode


def run(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "runner", *words], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("words", [["plan"], ["run", "x"], ["check"], ["budget"], ["report"], ["audit", "list"]])
def test_outside_a_project_every_command_says_how_to_start_one(words: list[str], tmp_path: Path) -> None:
    done = run(*words, folder=tmp_path)
    assert done.returncode == ExitCode.INVALID
    assert "there is no omixa.toml" in done.stderr
    assert "omixa init" in done.stderr


def test_a_mistake_of_our_own_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(**_: object) -> int:
        raise RuntimeError("omx_live_this-must-not-be-shown")

    monkeypatch.setattr("runner.commands.models.run", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["models"]) == ExitCode.INTERNAL
    told = capsys.readouterr().err
    assert "Traceback" not in told
    report = next(tmp_path.glob("omixa-crash-*"))
    assert str(report) in told
    text = report.read_text()
    assert "RuntimeError: ***" in text
    assert "must-not-be-shown" not in text


def test_an_error_has_its_code_and_its_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> int:
        raise DiskError("`out` cannot be written", "make room")

    monkeypatch.setattr("runner.commands.models.run", fail)
    assert cli.main(["models"]) == ExitCode.DISK
    assert capsys.readouterr().err == "error: `out` cannot be written\n   = help: make room\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == ExitCode.OK
    out = capsys.readouterr().out
    assert all(name in out for name in cli.COMMANDS)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m runner models | head -1", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_ctrl_c_while_the_program_is_still_loading_is_no_traceback() -> None:
    program = """
import signal, sys
from runner import cli

class Hit:
    def find_spec(name, *_):
        if name == "runner.errors":
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Hit)
sys.argv = ["omixa", "budget"]
sys.exit(cli.start())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")
