"""What a run and its plan hold does not grow with the number of pictures."""

import gc
import sys
from collections import Counter

import pytest

from benchmarks import measured
from benchmarks.plan import png
from runner.cli import main
from runner.ledger.database import open_database
from tests.run.conftest import KEY, Studio

COUNTS, GROWTH_MIB = (1_000, 20_000), 12


def left_behind(studio: Studio, folder: str, count: int) -> Counter[str]:
    """Of what of ours a run over so many pictures leaves how many in cycles, which only the collector finds."""
    studio.pictures(count, folder)
    studio.recipe(folder=folder, output=f"out/{folder}")
    gc.collect()
    gc.disable()
    try:
        assert main(["--project", str(studio.root), "run", "posters", "--yes"]) == 0
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
        # The local endpoint runs in this process, too.
        return Counter(kind for kind in kinds if kind.startswith("runner.") and not kind.startswith("runner.sandbox."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_picture_leaves_nothing_for_the_collector(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    few = left_behind(studio, "few", 2)
    assert left_behind(studio, "more", 7) == few


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other ways")
def test_a_plan_of_many_pictures_in_one_folder_takes_little_more_memory_than_one_of_few(studio: Studio) -> None:
    studio.recipe()
    with open_database(studio.root / ".omixa" / "ledger.db", create=True):
        pass
    words = [sys.executable, "-m", "runner", "--project", str(studio.root), "plan", "posters"]
    told, peaks, made = studio.root / "told.txt", [], 0
    for count in COUNTS:
        for number in range(made, count):
            (studio.root / "pictures" / f"{number:06}.png").write_bytes(png(number))
        made = count
        peaks.append(measured.measure(words, told, STUDIO_KEY=KEY).rss_mib)
        assert f"of {count} fit into every budget" in told.read_text()
    assert peaks[1] - peaks[0] < GROWTH_MIB, peaks
