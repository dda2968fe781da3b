"""What stands in a folder, as one digest, however much it is."""

import os
import tracemalloc
from pathlib import Path

import pytest

from runner.images import listing
from runner.images.listing import listing_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven files and two folders, of which three are looked at together."""
    monkeypatch.setattr(listing, "_TOGETHER", 3)
    for name in "abcdefg":
        (tmp_path / name).write_text(name)
    (tmp_path / "b1").mkdir()
    (tmp_path / "z").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", "abcdefg")
def test_each_entry_counts(folder: Path, name: str) -> None:
    before = listing_of(str(folder))
    assert before is not None
    assert listing_of(str(folder)) == before
    while (folder / name).stat().st_ctime_ns <= before.newest_ns:  # until the clock of the disk has gone on
        os.utime(folder / name, ns=(1, 1))
    after = listing_of(str(folder))
    assert after is not None
    assert after.digest != before.digest
    assert after.newest_ns == (folder / name).stat().st_ctime_ns
    assert (after.folders, after.count) == (["b1", "z"], 9)


def test_a_large_folder_is_looked_at_in_little_memory(tmp_path: Path) -> None:
    for number in range(5_000):
        (tmp_path / f"{number:06}.png").touch()
    tracemalloc.start()
    try:
        found = listing_of(str(tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found.count == 5_000
    assert peak < 1024 * 1024, peak  # all that is told of them takes twice that, their names a third
