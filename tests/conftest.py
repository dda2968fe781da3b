"""For all tests: what they leave on the disk and print is searched for the keys that they use (see tests/canary.py)."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from tests import canary

# Paths whose tests write a key themselves, and why. Parts of the path below the session's folder, as pytest names it.
WRITTEN_BY_TESTS = {
    "key": "a key file: what the program is told to read the key from",
}

_heard: list[str] = []
_told = pytest.StashKey[str]()


@pytest.hookimpl(trylast=True)  # after pytest has chosen its folder
def pytest_configure(config: pytest.Config) -> None:
    """Give everything that is made outside of `tmp_path`, also by child processes, a place that is searched."""
    folder = _folder(config) / "elsewhere"
    folder.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test printed or logged is searched at once: nobody keeps it."""
    for name, text in report.sections:
        _heard.extend(f"{report.nodeid}: the key, {how}, in {name}" for how in canary.heard_in(text))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """At the end of the whole session, of all its workers: no byte that it left may hold a key."""
    if hasattr(session.config, "workerinput"):
        return  # the workers' folders lie in that of the session
    folder = _folder(session.config)
    began = time.perf_counter()
    found = [str(one) for one in canary.search([folder]) if not _is_meant(one, folder)]
    took = time.perf_counter() - began
    session.config.stash[_told] = f"searched what the tests left for their keys in {took:.1f} s: {len(found)} found"
    _heard.extend(found)
    if _heard and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was searched, and where a key was heard."""
    if _heard:
        terminalreporter.section("a key where it must not be", sep="=", red=True)
        for line in _heard[:50]:
            terminalreporter.line(line)
    terminalreporter.line(config.stash.get(_told, ""))


def _folder(config: pytest.Config) -> Path:
    """The session's folder, in which each `tmp_path` lies: pytest keeps all of them until a later session."""
    folder: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return folder


def _is_meant(one: canary.Heard, folder: Path) -> bool:
    """Whether a test wrote the key there itself, by a rule of WRITTEN_BY_TESTS."""
    return one.path.name in WRITTEN_BY_TESTS
