"""The status file is there whole, or is the one before, whatever happens to the writer."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner.errors import DiskError
from runner.monitor import status
from runner.monitor.status import RecipeStatus, RunningSlot, Status

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STATUS = Status(
    pid=4711,
    who="ana@desk",
    program="omixa-runner test",
    started_at=NOON.replace(hour=8),
    at=NOON,
    state="running",
    recipes=(
        RecipeStatus("posters", "scheduled", next_due_at=NOON.replace(hour=13), running_due_at=NOON),
        RecipeStatus("scans", "invalid", "`creativity` is 0.9, at most 0.5 is accepted"),
    ),
    running=(RunningSlot("posters", NOON, NOON.replace(second=1), done=3, planned=40),),
    queue_length=1,
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "home" / "schedule.json"
    status.write(path, STATUS)
    assert status.read(path) == STATUS
    assert os.listdir(path.parent) == ["schedule.json"]


def test_the_file_is_one_json_object_with_its_schema_and_moments_in_utc() -> None:
    told = json.loads(STATUS.to_json())
    assert told["schema"] == "omixa.schedule-status/1"
    assert told["at"] == "2026-11-22T12:00:00.000000Z"
    assert told["recipes"][0] == {
        "name": "posters",
        "state": "scheduled",
        "problem": None,
        "next_due_at": "2026-11-22T13:00:00.000000Z",
        "running_due_at": "2026-11-22T12:00:00.000000Z",
    }
    assert told["running"][0]["done"] == 3


def test_only_its_owner_can_read_it_whatever_the_umask_and_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.touch(0o644)
    before = os.umask(0)
    try:
        status.write(path, STATUS)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "schedule.json"
    precious.write_text("precious")
    path.symlink_to(precious)
    status.write(path, STATUS)
    assert precious.read_text() == "precious"
    assert status.read(path) == STATUS


FOREIGN = {
    "nothing": b"",
    "torn": STATUS.to_json().encode()[:-40],
    "no json": b"\xff\xfe\x00",
    "another object": b'{"schema": "omixa.plan/1"}',
    "a newer schema": STATUS.to_json().replace("status/1", "status/2").encode(),
    "no object": b"[]",
    "nested": b"[" * 200_000,
    "a huge number": b'{"schema": ' + b"9" * 5000 + b"}",
    "a word too many": STATUS.to_json().replace('"running",', '"dancing",').encode(),
    "text for a number": STATUS.to_json().replace("4711", '"4711"').encode(),
    "truth for a number": STATUS.to_json().replace("4711", "true").encode(),
    "a moment of no zone": STATUS.to_json().replace("12:00:00.000000Z", "12:00:00").encode(),
    "a part that is missing": STATUS.to_json().replace('"pid": 4711,', "").encode(),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_what_is_none_of_ours_is_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "schedule.json"
    path.write_bytes(content)
    assert status.read(path) is None


def test_what_a_newer_program_adds_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(STATUS.to_json().replace('"pid": 4711,', '"pid": 4711, "mood": "good",'))
    assert status.read(path) == STATUS


def test_what_is_no_file_is_nothing_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "nul\0"):
        assert status.read(path) is None


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    status.write(path, STATUS)
    larger = replace(STATUS, who="x" * 100_000)
    program = (
        "import resource, sys; from pathlib import Path; from runner.errors import DiskError\n"
        "from tests.monitor import test_status; from runner.monitor import status; from dataclasses import replace\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        "    status.write(Path(sys.argv[1]), replace(test_status.STATUS, who='x' * 100_000))\n"
        "except DiskError as error:\n"
        "    print(error.message.partition(': ')[2] + ' | ' + error.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "it would be larger than this system or `ulimit -f` allows | raise the limit or choose another disk\n"
    )
    assert status.read(path) == STATUS
    assert os.listdir(tmp_path) == ["schedule.json"]
    status.write(path, larger)
    assert status.read(path) == larger


def test_a_folder_that_takes_no_file_is_one_clear_error() -> None:
    # /sys takes new files from nobody, root included.
    with pytest.raises(DiskError, match=r"^`/sys/schedule\.json` cannot be written: ") as caught:
        status.write(Path("/sys/schedule.json"), STATUS)
    assert caught.value.hint


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from runner.monitor import status
from tests.monitor.test_status import STATUS
path, number = Path(sys.argv[1]), int(sys.argv[2])
while True:
    number += 1
    status.write(path, replace(STATUS, queue_length=number, who="x" * (number % 7 * 20_000)))
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_anywhere_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    number = 0
    for round_ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline()) for _ in range(1 + round_)]
            writer.send_signal(signal.SIGKILL)
            told += [int(line) for line in writer.stdout if line.endswith("\n")]
        found = status.read(path)
        assert found is not None
        assert found.queue_length >= told[-1], "what was written is on the disk"
        assert found.who == "x" * (found.queue_length % 7 * 20_000)
        number = found.queue_length
    status.write(path, STATUS)
    assert os.listdir(tmp_path) == ["schedule.json"], "what the dead have left is cleared away"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    status.write(path, STATUS)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = {found.queue_length if (found := status.read(path)) else None for _ in range(300)}
        writer.kill()
    assert None not in seen
    assert len(seen) > 1
