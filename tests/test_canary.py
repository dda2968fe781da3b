"""The search for keys hears one however and wherever it is written, and is not deaf to the suite's own keys."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import canary
from tests.canary import KEYS, heard_in, search, spellings

KEY = KEYS[0]
HOUSE = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of what the session searches at its end, removed by its test."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp().parent))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("how", list(spellings(KEY)))
def test_a_key_is_heard_in_every_spelling(folder: Path, how: str, key: str) -> None:
    (folder / "deep").mkdir()
    path = folder / "deep/ledger.db"
    path.write_bytes(os.urandom(5_000) + b" " + spellings(key)[how] + b" " + os.urandom(5_000))
    found = [one for one in search([folder]) if one.path == path]
    assert [spellings(key)[one.how] for one in found][:1] == [spellings(key)[how]]
    assert found[0].position == 5_001
    assert key not in str(found[0])


@pytest.mark.parametrize("before", [b"", b"B", b"Be", b"Bearer ", b"Basic x:"])
def test_a_key_is_heard_wherever_it_stands_in_base64(folder: Path, before: bytes) -> None:
    for number, encode in enumerate((base64.b64encode, base64.urlsafe_b64encode)):
        (folder / f"{number}").write_bytes(b'{"a": "' + encode(before + KEY.encode() + b" and more") + b'"}')
    assert {one.path.name for one in search([folder])} == {"0", "1"}


def test_a_key_is_heard_in_a_name_and_behind_a_hole_of_gigabytes(folder: Path) -> None:
    (folder / f"{KEY}.png").touch()
    with (folder / "hole").open("wb") as file:
        file.truncate(3 * 2**30)
        file.seek(3 * 2**30)
        file.write(KEY.encode())
    assert {(one.path.name[:4], one.position) for one in search([folder])} == {("omx_", 0), ("hole", 3 * 2**30)}


def test_nothing_is_heard_where_there_is_no_key(folder: Path) -> None:
    (folder / "a").write_text("omx_live_ and omx_test_other and omx_live_test-key-012345678")
    (folder / "b").write_bytes(os.urandom(1_000_000))
    (folder / "c").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "d")
    (folder / "e").touch()
    assert search([folder]) == []
    assert heard_in("omx_live_xxx") == []
    assert heard_in(f"… {KEY}") == ["raw", "URL-encoded"]


def test_every_key_that_the_tests_use_is_searched_for() -> None:
    """A key in a constant named for it, or handed to an endpoint, is one that the program could let slip."""
    used: set[str] = set()
    for path in HOUSE.glob("tests/**/*.py"):
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r'^(?:KEY|SECRET) = "([^"]+)"', text, re.MULTILINE))
        used |= set(re.findall(r'\bkey="(omx_live_[^"]+)"', text))
        used |= set(re.findall(r'_KEY="(omx_live_[^"]+)"', text))
    # Written into the ledger by its test; and the sample key of the contract, which stands in every message about keys.
    assert used - set(KEYS) == {"omx_live_abcdefghijklmnop", "omx_live_xxx"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("(tmp_path / 'report.csv').write_text(base64.b64encode(b'x' + KEY.encode()).decode())", "report.csv: the key"),
        ("print(KEY)", "in Captured stdout call"),
        ("import tempfile; tempfile.mkstemp()[1]; Path(tempfile.mkstemp()[1]).write_text(KEY)", "the key, raw"),
    ],
    ids=["file", "print", "elsewhere"],
)
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_a_session_that_leaves_a_key_fails(folder: Path, body: str, words: str, workers: list[str]) -> None:
    (folder / "tests").mkdir()
    for name in ("__init__.py", "conftest.py", "canary.py"):
        (folder / "tests" / name).write_bytes((HOUSE / "tests" / name).read_bytes())
    lines = [
        "import base64",
        "from pathlib import Path",
        "from tests.canary import KEYS",
        "KEY = KEYS[0]",
        "def test_leaks(tmp_path):",
        f"    {body}",
        "def test_has_a_key_file(tmp_path):",
        "    (tmp_path / 'key').write_text(KEY)",
    ]
    (folder / "tests/test_one.py").write_text("\n".join(lines))
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *workers, f"--basetemp={folder}/made", "tests"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert "2 passed" in done.stdout
    assert words in done.stdout
    assert canary.KEYS[0] not in done.stdout
    (folder / "tests/test_one.py").write_text("\n".join([*lines[:4], *lines[6:]]))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
