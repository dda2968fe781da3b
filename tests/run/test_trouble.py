"""Disks, folders, files and keys in disorder: one clear message, the right code, a ledger that adds up."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Studio

ROOT = os.geteuid() == 0


def test_an_output_folder_that_cannot_be_written_is_told_before_anything_is_paid(studio: Studio) -> None:
    studio.pictures(2)
    (studio.root / "out").write_text("a file is in the way")
    ended = studio.run()
    assert ended.code == 7, ended
    assert "a part of the path is a file, not a folder" in ended.err
    assert studio.endpoint.counts().requests == 0
    assert not studio.rows()


def test_what_was_paid_for_and_cannot_be_read_is_not_to_be_paid_again(studio: Studio) -> None:
    studio.pictures(1)
    assert studio.run().code == 0
    (studio.root / "out/000.png").unlink()
    (folder,) = (studio.root / ".omixa/results").iterdir()
    away = folder.rename(studio.root / "away")
    folder.write_text("a file is in the way")
    for verb in ("plan", "run"):
        ended = studio.omixa(verb, "posters")
        assert f"but the kept result `{folder}/" in ended.out, ended
        assert "cannot be read: a part of the path is a file, not a folder: move that file away" in ended.out
        assert "reroll" not in ended.out + ended.err
    folder.unlink()
    assert "its kept result is gone: --reroll buys it again" in studio.omixa("plan", "posters").out
    away.rename(folder)
    assert studio.run().code == 0
    assert (studio.root / "out/000.png").is_file()
    assert studio.endpoint.counts().requests == 1


@pytest.mark.skipif(not ROOT, reason="mounting needs root; without root the permission test below does the same")
def test_a_read_only_output_folder_is_told_before_anything_is_paid(studio: Studio) -> None:
    studio.pictures(2)
    with mounted(studio.root / "out", "size=1m,ro"):
        ended = studio.run()
    assert ended.code == 7, ended
    assert "read-only" in ended.err
    assert studio.endpoint.counts().requests == 0


@pytest.mark.skipif(ROOT, reason="root may write anywhere; the test above mounts a read-only folder")
def test_an_output_folder_of_somebody_else_is_told_before_anything_is_paid(studio: Studio) -> None:
    studio.pictures(2)
    (studio.root / "out").mkdir(mode=0o500)
    ended = studio.run()
    assert ended.code == 7, ended
    assert studio.endpoint.counts().requests == 0


def mounted(folder: Path, options: str) -> "Mount":
    return Mount(folder, options)


class Mount:
    """A small file system of its own, for as long as the block lasts."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder, self.options = folder, options

    def __enter__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", str(self.folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
@pytest.mark.parametrize("place", [".omixa", "out"])
def test_a_disk_that_is_nearly_full_is_told_before_anything_is_paid(studio: Studio, place: str) -> None:
    studio.pictures(2)
    with mounted(studio.root / place, "size=8m"):
        ended = studio.run()
        assert ended.code == 7, ended
        assert "MiB free, at least 224 MiB are needed for 4 in flight before a paid request leaves" in ended.out
        assert studio.endpoint.counts().requests == 0
        assert studio.open == 0


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_ledger_on_a_disk_without_any_space_sends_nothing(studio: Studio) -> None:
    studio.pictures(2)
    with mounted(studio.root / ".omixa", "size=64k"):
        ended = studio.run()
        assert ended.code == 5, ended
        assert "disk is full" in ended.err
    assert studio.endpoint.counts().requests == 0


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_ledger_on_a_read_only_path_sends_nothing(studio: Studio) -> None:
    studio.pictures(2)
    with mounted(studio.root / ".omixa", "size=1m,ro"):
        ended = studio.run()
    assert ended.code == 5, ended
    assert "cannot be created" in ended.err
    assert studio.endpoint.counts().requests == 0


def test_a_ledger_that_becomes_read_only_can_still_be_read(studio: Studio) -> None:
    if not ROOT:
        pytest.skip("mounting needs root")
    studio.pictures(1)
    studio.run()
    home = studio.root / ".omixa"
    subprocess.run(["mount", "--bind", str(home), str(home)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(home)], check=True)
        budget = studio.omixa("budget")
        assert budget.code == 0, budget
        assert "0.039" in budget.out
        studio.picture("pictures/more.png")
        assert studio.run().code == 5
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.mark.parametrize("damage", [b"no database at all" * 300, b""])
def test_a_damaged_ledger_sends_nothing(studio: Studio, damage: bytes) -> None:
    studio.pictures(1)
    studio.run()
    path = studio.root / ".omixa" / "ledger.db"
    for rest in path.parent.glob("ledger.db-*"):
        rest.unlink()
    path.write_bytes(damage or path.read_bytes()[:5000] + b"\xff" * 4000 + path.read_bytes()[9000:])
    studio.picture("pictures/more.png")
    ended = studio.run()
    assert ended.code == 5, ended
    assert "is damaged" in ended.err
    assert "backup" in ended.err
    assert studio.endpoint.counts().requests == 1


def bomb(path: Path) -> None:
    """A PNG header that announces 900 megapixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


def test_pictures_that_cannot_be_sent_are_named_and_the_others_bought(studio: Studio) -> None:
    studio.pictures(1)
    folder = studio.root / "pictures"
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    (folder / "cut.png").write_bytes((folder / "000.png").read_bytes()[:60])
    bomb(folder / "bomb.png")
    studio.picture("pictures/narrow.png", size=63)
    ended = studio.run()
    assert studio.endpoint.counts().requests == 1, ended
    plan = studio.omixa("plan", "posters")
    lines = {line.split()[1].removeprefix("pictures/"): line for line in plan.out.splitlines() if "pictures/" in line}
    assert {name: line.split()[0] for name, line in lines.items()} == {
        "000.png": "skip",
        "bomb.png": "unsuitable",
        "cut.png": "unsuitable",
        "empty.png": "unsuitable",
        "narrow.png": "unsuitable",
        "text.png": "unsuitable",
    }
    assert "63 px side, at least 64 px needed" in lines["narrow.png"]
    assert "900" in lines["bomb.png"]


def test_a_picture_cut_in_its_middle_is_found_before_it_is_paid(studio: Studio) -> None:
    studio.pictures(2)
    path = studio.root / "pictures" / "001.png"
    path.write_bytes(path.read_bytes()[:-2000])
    ended = studio.run()
    assert studio.endpoint.counts().requests in (1, 2), ended
    assert studio.states().get("unknown") is None
    studio.balances()


def test_a_recipe_with_problems_sends_nothing(studio: Studio) -> None:
    studio.pictures(1)
    path = studio.root / "recipes" / "posters.toml"
    path.write_text(path.read_text() + "\n[presets.x]\ncreativty = 0.3\n")
    ended = studio.run()
    assert ended.code == 2
    assert "did you mean `creativity`?" in ended.err
    assert studio.endpoint.counts().requests == 0


@pytest.fixture
def no_network(tmp_path: Path) -> dict[str, str]:
    """An environment in which the program cannot open a socket."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.__init__ = refuse\nsocket.getaddrinfo = refuse\n"
    )
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}


def test_plan_opens_no_socket_needs_no_key_and_writes_nothing(studio: Studio, no_network: dict[str, str]) -> None:
    studio.pictures(2)
    before = sorted(studio.root.rglob("*"))
    ended = studio.omixa("plan", "posters", key=None, **no_network)
    assert ended.code == 0, ended
    assert "2 buy" in ended.out
    assert sorted(path for path in studio.root.rglob("*") if "__pycache__" not in path.parts) == [
        path for path in before if "__pycache__" not in path.parts
    ]


@pytest.mark.parametrize(("month", "code"), [("50.00", 10), ("0.71", 3)])
def test_plan_says_by_its_exit_code_whether_something_would_be_bought_and_fits(
    studio: Studio, month: str, code: int
) -> None:
    studio.settings(month=month)
    assert studio.omixa("plan", "--detailed-exitcode").code == 0
    studio.pictures(2)
    assert studio.omixa("plan", "--detailed-exitcode").code == code


def test_the_endpoint_may_vanish_in_the_middle_of_an_answer(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(faults=("cut_at=5000,every=2",))
    studio.recipe()
    studio.pictures(6)
    ended = studio.run()
    assert ended.code == 6, ended
    assert studio.endpoint.counts().billed_micros <= studio.settled + studio.open
    assert studio.states() == {"settled": 3, "unknown": 3}
    studio.balances()


def test_the_program_can_be_run_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "runner", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("omixa ")
