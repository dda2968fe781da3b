"""Files that are written over instead of made anew."""

import threading
from pathlib import Path

import pytest

from runner.spares import Spares


@pytest.fixture
def spares(tmp_path: Path) -> Spares:
    (tmp_path / "work").mkdir()
    return Spares(tmp_path / "work", "copy")


def test_what_was_kept_is_given_once_and_is_the_same_file(spares: Spares, tmp_path: Path) -> None:
    old, place = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(b"old")
    number = old.stat().st_ino
    spares.keep(old)
    assert not old.exists()
    assert spares.give(place)
    assert (place.read_bytes(), place.stat().st_ino) == (b"old", number)
    assert not spares.give(tmp_path / "another.png")
    assert not (tmp_path / "another.png").exists()


def test_what_is_not_there_or_has_nowhere_to_go_is_nothing_to_give(spares: Spares, tmp_path: Path) -> None:
    spares.keep(tmp_path / "never made")
    assert not spares.give(tmp_path / "new.png")
    left = tmp_path / "left.png"
    left.write_bytes(b"left")
    (tmp_path / "work").rmdir()
    spares.keep(left)
    assert not left.exists()
    assert not spares.give(tmp_path / "new.png")


def test_a_spare_that_went_away_with_its_run_is_nothing_to_give(spares: Spares, tmp_path: Path) -> None:
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    spares.keep(old)
    for file in (tmp_path / "work").iterdir():
        file.unlink()
    assert not spares.give(tmp_path / "new.png")


def test_no_two_threads_are_given_the_same_file(spares: Spares, tmp_path: Path) -> None:
    for number in range(200):
        file = tmp_path / f"{number}.png"
        file.write_bytes(b"%d" % number)
        spares.keep(file)

    def take(thread: int) -> None:
        number = 0
        while spares.give(tmp_path / f"taken-{thread}-{number}"):
            number += 1

    threads = [threading.Thread(target=take, args=(thread,)) for thread in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(int(file.read_bytes()) for file in tmp_path.glob("taken-*")) == list(range(200))
