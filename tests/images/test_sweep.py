"""Temporary files of killed processes are removed, those of living ones are not."""

import subprocess
import sys
from pathlib import Path

from runner import images

WRITER = """
import sys, time
from pathlib import Path
from runner.images import disk
def stop(part, target, over):
    print("written", flush=True)
    sys.stdin.readline()
disk._into_place = stop
disk.write_atomically(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_part_is_swept_only_when_its_process_is_dead(tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "out" / "target.png"
    source.write_bytes(b"picture")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(source), str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"written\n"
    images.sweep(target.parent)
    assert len(list(target.parent.iterdir())) == 1
    writer.kill()
    writer.communicate()
    images.sweep(target.parent)
    assert list(target.parent.iterdir()) == []


def test_sweeping_touches_nothing_else(tmp_path: Path) -> None:
    for name in ("a.png", ".hidden", ".omixa-note", "x.part"):
        (tmp_path / name).write_bytes(b"x")
    images.sweep(tmp_path)
    images.sweep(tmp_path / "missing")
    assert len(list(tmp_path.iterdir())) == 4
