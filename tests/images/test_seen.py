"""What was seen of pictures before: never another answer than a look would give, and never in the way."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.images import Picture, Unsuitable, inspect
from runner.images.provenance import digests
from runner.images.seen import Seen
from tests.images.samples import LIMITS, chunk, encoded, png, saved, scene

assert LIMITS is not None
HOW = {"output_format": "png", "flatten": None, "sixteen_bit": False}

OTHERS = [encoded(scene(80, 64), "PNG"), encoded(scene(65, 70), "JPEG"), b"no picture", b""]


def same_size(number: int) -> bytes:
    """A picture of the same size in bytes as that of every other number up to 255, and with another digest."""
    return png(64, 64, 8, 0, (b"\0" + bytes(64)) * 64, chunk(b"nuMb", bytes([number])))


def look(path: Path) -> Picture | Unsuitable:
    return inspect(path, LIMITS, output_format="png", flatten=None, sixteen_bit=False)


def looking(seen: Seen) -> Callable[[Path], Picture | Unsuitable]:
    return seen.looking(LIMITS, output_format="png", flatten=None, sixteen_bit=False)


def tick(folder: Path) -> None:
    """Let the clock of the file system go on by one step: what is written now has later moments than what was."""
    probe = folder.parent / "tick"
    probe.write_bytes(b"")
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.write_bytes(b"")


def forged(memory: Path, path: Path, content: bytes) -> None:
    """Put another content at a path, and have the memory say that it is still what was seen there."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with sqlite3.connect(memory) as database:
        changed = database.execute(
            "UPDATE files SET ctime_ns = ?, inode = ? WHERE name = ?", (after.st_ctime_ns, after.st_ino, path.name)
        )
    database.close()
    assert changed.rowcount >= 1


NAMES = st.sampled_from(["a.png", "b.png", "c.png", "deep/d.png"])
NUMBERS = st.integers(1, 4)
EDITS = st.one_of(
    st.tuples(st.just("write"), NAMES, NUMBERS),
    st.tuples(st.just("other"), NAMES, st.integers(0, len(OTHERS) - 1)),
    st.tuples(st.just("write and set back"), NAMES, NUMBERS),
    st.tuples(st.just("replace and set back"), NAMES, NUMBERS),
    st.tuples(st.just("replace"), NAMES, NUMBERS),
    st.tuples(st.just("touch"), NAMES, NUMBERS),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("swap"), NAMES, NAMES),
    st.tuples(st.just("link"), NAMES, NAMES),
    st.tuples(st.just("delete"), NAMES, NUMBERS),
    st.tuples(st.just("forget"), NAMES, NUMBERS),
)


def edit(folder: Path, memory: Path, what: str, name: str, with_: int | str) -> None:
    path = folder / name
    kept = path.stat() if path.exists() else None
    if what in ("write", "write and set back"):
        path.unlink() if path.is_symlink() else None
        path.write_bytes(same_size(int(with_)))
    elif what == "other":
        path.unlink() if path.is_symlink() else None
        path.write_bytes(OTHERS[int(with_)])
    elif what in ("replace", "replace and set back"):
        new = folder.parent / "new"
        new.write_bytes(same_size(int(with_)))
        new.replace(path)
    elif what == "touch" and kept is not None:
        path.touch()
    elif what == "rename" and kept is not None:
        path.replace(folder / str(with_))
    elif what == "swap" and kept is not None and (folder / str(with_)).exists():
        other, aside = folder / str(with_), folder.parent / "aside"
        path.replace(aside)
        if other.exists():
            other.replace(path)
        aside.replace(other)
    elif what == "link":
        path.unlink(missing_ok=True)
        path.symlink_to(folder / str(with_))
    elif what == "delete":
        path.unlink(missing_ok=True)
    elif what == "forget":
        memory.unlink(missing_ok=True)
    if what.endswith("set back") and kept is not None:
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(EDITS, max_size=3), min_size=2, max_size=6))
def test_whatever_is_done_to_files_what_is_remembered_is_what_a_look_finds(
    tmp_path: Path, rounds: list[list[tuple[str, str, int | str]]]
) -> None:
    shutil.rmtree(tmp_path / "world", ignore_errors=True)
    folder, memory = tmp_path / "world" / "pictures", tmp_path / "world" / "seen.db"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "c.png", "deep/d.png"), start=1):
        (folder / name).write_bytes(same_size(number))
    files = [folder / name for name in ("a.png", "b.png", "c.png", "deep/d.png")]
    for edits in rounds:
        for what, name, with_ in edits:
            edit(folder, memory, what, name, with_)
        # The moments of what is written next differ; that a file may be too young to tell has a test of its own.
        tick(folder)
        with Seen(memory, young_ns=0) as seen:
            assert [looking(seen)(path) for path in files] == [look(path) for path in files]
            there = [path for path in files if path.exists()]
            assert [seen.digests(path) for path in there] == [digests(path) for path in there]


def test_a_picture_that_is_as_it_was_seen_is_not_opened(tmp_path: Path) -> None:
    path, memory = saved(tmp_path / "in" / "a.png", scene(64, 64)), tmp_path / "seen.db"
    path.write_bytes(same_size(1))
    with Seen(memory, young_ns=0) as seen:
        before = looking(seen)(path)
        assert before == look(path)
        kept = seen.digests(path)
    forged(memory, path, same_size(2))
    with Seen(memory) as seen:
        assert looking(seen)(path) == before != look(path)
        assert seen.digests(path) == kept != digests(path)
    # Unless it is not to be trusted; and then it is right again.
    with Seen(memory, trust=False, young_ns=0) as seen:
        assert looking(seen)(path) == look(path)
    with Seen(memory) as seen:
        assert looking(seen)(path) == look(path)


def test_a_file_that_is_young_is_not_remembered(tmp_path: Path) -> None:
    """It could be written again within the same tick of a coarse clock, and would look the same."""
    path, memory = tmp_path / "a.png", tmp_path / "seen.db"
    for number in range(20):
        path.write_bytes(same_size(number))
        with Seen(memory) as seen:
            assert looking(seen)(path) == look(path)
            assert seen.digests(path) == digests(path)
    assert remembered(memory) == 0
    # Nor one whose content says that it is of tomorrow: only its entry is old enough then.
    tick(tmp_path / "in")
    os.utime(path, ns=(0, 2**62))
    tick(tmp_path / "in")
    with Seen(memory, young_ns=0) as seen:
        looking(seen)(path)
    assert remembered(memory) == 0
    os.utime(path, ns=(0, 0))
    tick(tmp_path / "in")
    with Seen(memory, young_ns=0) as seen:
        looking(seen)(path)
    assert remembered(memory) == 1


def remembered(memory: Path) -> int:
    with sqlite3.connect(memory) as database:
        (count,) = database.execute("SELECT count(*) FROM files").fetchone()
    database.close()
    return int(count)


@pytest.mark.parametrize(
    "how",
    [
        {"output_format": "jpeg", "flatten": None, "sixteen_bit": False},
        {"output_format": "jpeg", "flatten": "#ffffff", "sixteen_bit": False},
        {"output_format": "png", "flatten": None, "sixteen_bit": True},
    ],
)
def test_what_was_seen_for_one_recipe_is_not_taken_for_another(tmp_path: Path, how: dict[str, object]) -> None:
    path = saved(tmp_path / "in" / "a.png", scene(64, 64, "RGBA"))
    with Seen(tmp_path / "seen.db", young_ns=0) as seen:
        assert looking(seen)(path) == look(path)
    with Seen(tmp_path / "seen.db", young_ns=0) as seen:
        assert seen.looking(LIMITS, **how)(path) == inspect(path, LIMITS, **how)  # type: ignore[arg-type]
        smaller = replace(LIMITS, side_px_min=65)
        assert seen.looking(smaller, **HOW)(path) == inspect(path, smaller, **HOW)  # type: ignore[arg-type]


def garbage(memory: Path) -> None:
    memory.write_bytes(os.urandom(9000))


def cut_off(memory: Path) -> None:
    memory.write_bytes(memory.read_bytes()[:5000])


def overwritten(memory: Path) -> None:
    """Its head is sound, and what follows is not."""
    with memory.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (memory.stat().st_size - 4096))


def of_a_later_version(memory: Path) -> None:
    with sqlite3.connect(memory) as database:
        database.execute("PRAGMA user_version=99")
    database.close()


def without_its_tables(memory: Path) -> None:
    with sqlite3.connect(memory) as database:
        database.execute("DROP TABLE files")
    database.close()


def of_other_kinds(memory: Path) -> None:
    with sqlite3.connect(memory) as database:
        database.execute("UPDATE files SET digests = 'text', width = 'wide'")
    database.close()


def of_no_picture(memory: Path) -> None:
    """Of the right kinds, and nothing that was ever seen in a picture."""
    with sqlite3.connect(memory) as database:
        for number, change in enumerate(("media_type = 'text/plain'", "width = 0", "flags = 99")):
            database.execute(f"UPDATE files SET {change} WHERE name = ?", (f"{number}.png",))
    database.close()


def emptied(memory: Path) -> None:
    memory.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [garbage, cut_off, overwritten, of_a_later_version, without_its_tables, of_other_kinds, of_no_picture, emptied],
)
def test_a_memory_that_is_damaged_is_begun_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    memory = tmp_path / "seen.db"
    files = [saved(tmp_path / "in" / f"{n}.png", scene(64 + n, 64)) for n in range(3)]
    for _ in range(2):
        with Seen(memory, young_ns=0) as seen:
            assert [looking(seen)(path) for path in files] == [look(path) for path in files]
    damage(memory)
    for _ in range(3):
        with Seen(memory, young_ns=0) as seen:
            assert [looking(seen)(path) for path in files] == [look(path) for path in files]
    # It is in use again.
    content = files[0].read_bytes()
    forged(memory, files[0], content[:-1] + bytes([content[-1] ^ 1]))
    with Seen(memory) as seen:
        assert looking(seen)(files[0]) != look(files[0])


def test_only_its_owner_can_read_it_and_it_needs_a_folder(tmp_path: Path) -> None:
    path = saved(tmp_path / "in" / "a.png", scene(64, 64))
    with Seen(tmp_path / "seen.db", young_ns=0) as seen:
        looking(seen)(path)
    assert (tmp_path / "seen.db").stat().st_mode & 0o777 == 0o600
    with Seen(tmp_path / "missing" / "seen.db", young_ns=0) as seen:
        assert looking(seen)(path) == look(path)
    assert not (tmp_path / "missing").exists()
    with Seen(None) as seen:
        assert looking(seen)(path) == look(path)


def test_a_link_is_not_taken_for_the_picture_that_it_leads_to(tmp_path: Path) -> None:
    path, memory = saved(tmp_path / "in" / "a.png", scene(64, 64)), tmp_path / "seen.db"
    with Seen(memory, young_ns=0) as seen:
        looking(seen)(path)
    moved = path.rename(tmp_path / "in" / "b.png")
    path.symlink_to(moved)
    with sqlite3.connect(memory) as database:  # as on a file system that leaves the moment of what is moved
        database.execute("UPDATE files SET ctime_ns = ?", (moved.stat().st_ctime_ns,))
    database.close()
    with Seen(memory) as seen:
        assert looking(seen)(path) == look(path)
        assert isinstance(looking(seen)(path), Unsuitable)


def test_what_only_reads_uses_it_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    path, memory = tmp_path / "in" / "a.png", tmp_path / "seen.db"
    other = saved(tmp_path / "in" / "b.png", scene(70, 64))
    path.write_bytes(same_size(1))
    with Seen(memory, keep=False, young_ns=0) as seen:
        assert looking(seen)(path) == look(path)
    assert not memory.exists()
    with Seen(memory, young_ns=0) as seen:
        before = looking(seen)(path)
    forged(memory, path, same_size(2))
    kept = memory.read_bytes()
    with Seen(memory, keep=False, young_ns=0) as seen:
        assert looking(seen)(path) == before != look(path)
        assert looking(seen)(other) == look(other)
    assert memory.read_bytes() == kept
    garbage(memory)
    kept = memory.read_bytes()
    with Seen(memory, keep=False, young_ns=0) as seen:
        assert looking(seen)(path) == look(path)
    assert memory.read_bytes() == kept


@pytest.mark.parametrize("what", ["folder", "link", "full"])
def test_where_nothing_can_be_remembered_it_is_done_without(tmp_path: Path, what: str) -> None:
    path, memory = saved(tmp_path / "in" / "a.png", scene(64, 64)), tmp_path / "seen.db"
    if what == "folder":
        (memory / "something").mkdir(parents=True)
    elif what == "link":
        (tmp_path / "empty").write_bytes(b"")
        memory.symlink_to(tmp_path / "empty")
    else:
        memory.symlink_to("/dev/full")
    for _ in range(2):
        with Seen(memory, young_ns=0) as seen:
            assert looking(seen)(path) == look(path)
    if what == "link":
        assert (tmp_path / "empty").read_bytes() == b""


def test_a_name_that_is_no_text_is_looked_at(tmp_path: Path) -> None:
    path = saved(tmp_path / "in" / "a.png", scene(64, 64))
    odd = path.rename(Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.png")))
    for _ in range(2):
        with Seen(tmp_path / "seen.db", young_ns=0) as seen:
            assert looking(seen)(odd) == look(odd)


TOGETHER = """
import sys
from pathlib import Path
from runner.images.seen import Seen
from tests.images.test_seen import look, looking
files = sorted(Path(sys.argv[1]).iterdir())
for _ in range(20):
    with Seen(Path(sys.argv[2]), young_ns=0, trust=False) as seen:
        assert [looking(seen)(path) for path in files] == [look(path) for path in files]
"""


def test_several_processes_use_it_at_once(tmp_path: Path) -> None:
    files = [saved(tmp_path / "in" / f"{n}.png", scene(64 + n, 64)) for n in range(8)]
    words = [sys.executable, "-c", TOGETHER, str(tmp_path / "in"), str(tmp_path / "seen.db")]
    at_work = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in at_work] == [""] * 3
    assert [process.returncode for process in at_work] == [0] * 3
    with sqlite3.connect(tmp_path / "seen.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM files").fetchone() == (len(files),)
    database.close()
