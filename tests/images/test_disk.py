"""Writing pictures: the whole file or nothing, and paid results kept by what they are."""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from runner.errors import DiskError, ExitCode
from runner.images import Results, check_writable, free_bytes, write_atomically
from runner.images.disk import explained
from tests.images.samples import encoded, saved, scene

ROOT = Path(__file__).parents[2]


def test_a_file_is_written_with_its_folders_and_nothing_besides(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", scene())
    target = tmp_path / "new" / "folder" / "b.png"
    write_atomically(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert os.listdir(target.parent) == ["b.png"]
    assert source.exists()


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", scene())
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(source, tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_existing_file_is_replaced_or_left_alone_as_asked(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", scene())
    target = tmp_path / "b.png"
    target.write_bytes(b"older")
    with pytest.raises(DiskError, match=r"`.*/b\.png` already exists and is not written over"):
        write_atomically(source, target, over=False)
    assert target.read_bytes() == b"older"
    write_atomically(source, target)
    assert target.read_bytes() == source.read_bytes()
    write_atomically(source, tmp_path / "c.png", over=False)
    assert (tmp_path / "c.png").read_bytes() == source.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "c.png"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"1" * 3_000_000)
    second.write_bytes(b"2" * 2_000_000)
    target = tmp_path / "target"
    write_atomically(first, target)
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(hashlib.sha256(target.read_bytes()).digest())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        write_atomically(second, target)
        write_atomically(first, target)
    done.set()
    reader.join()
    assert seen <= {hashlib.sha256(path.read_bytes()).digest() for path in (first, second)}


@pytest.mark.parametrize("over", [True, False])
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, over: bool) -> None:
    source = saved(tmp_path / "a.png", scene())
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for number, aim in enumerate((precious, tmp_path / "nowhere")):
        link = tmp_path / f"link{number}.png"
        link.symlink_to(aim)
        with pytest.raises(DiskError, match="is a symbolic link and is not written through"):
            write_atomically(source, link, over=over)
        assert link.is_symlink()
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_one_clear_error() -> None:
    # The kernel's own full device: every write to it fails as on a full disk.
    with (
        pytest.raises(DiskError) as caught,
        explained(Path("out/a.png")),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert caught.value.message == "`out/a.png` cannot be written: the disk is full"
    assert caught.value.hint == "free some space there or choose another folder, then run again"
    assert caught.value.exit_code == ExitCode.DISK


@pytest.mark.parametrize("before", [b"", b"older"])
def test_a_write_that_stops_half_way_leaves_what_was_there(tmp_path: Path, before: bytes) -> None:
    source, target = tmp_path / "source", tmp_path / "out" / "a.png"
    source.write_bytes(bytes(300_000))
    if before:
        target.parent.mkdir()
        target.write_bytes(before)
    program = (
        "import resource, sys; from pathlib import Path; from runner.errors import DiskError\n"
        "from runner.images import Results, write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for write in (lambda: write_atomically(Path(sys.argv[1]), Path(sys.argv[2])),\n"
        "              lambda: Results(Path(sys.argv[2]).parent).keep(Path(sys.argv[1]))):\n"
        "    try:\n"
        "        write()\n"
        "    except DiskError as error:\n"
        "        print(error.message.partition(': ')[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(source), str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "it would be larger than this system or `ulimit -f` allows\n" * 2
    assert (target.read_bytes() if target.exists() else b"") == before
    left = [path for path in target.parent.rglob("*") if path.is_file() and path != target]
    assert left == []


def test_what_cannot_be_written_is_named_with_cause_and_next_step(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", scene())
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "taken.png").mkdir()
    cases = {
        tmp_path / "file" / "b.png": "a part of the path is a file, not a folder",
        tmp_path / "file" / "deep" / "b.png": "a part of the path is a file, not a folder",
        tmp_path / ("x" * 300): "the name is too long",
        tmp_path / ("x" * 300) / "b.png": "the name is too long",
        tmp_path / "taken.png": "a folder of that name is in the way",
    }
    for target, cause in cases.items():
        with pytest.raises(DiskError) as caught:
            write_atomically(source, target)
        assert caught.value.message == f"`{target}` cannot be written: {cause}"
        assert caught.value.hint
    assert not list(tmp_path.glob(".omixa*"))
    # /sys takes new folders from nobody, root included.
    for path in (Path("/sys/omixa/a.png"), Path("/sys/a.png")):
        with pytest.raises(DiskError, match=r"may not write there|read-only"):
            write_atomically(source, path)


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"`.*/gone` cannot be read: No such file"):
        write_atomically(tmp_path / "gone", tmp_path / "b.png")
    with pytest.raises(DiskError, match=r"`.*/gone` cannot be read: No such file"):
        Results(tmp_path).keep(tmp_path / "gone")
    assert os.listdir(tmp_path) == []


def test_free_bytes_are_those_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    free = free_bytes(tmp_path / "not" / "there" / "yet")
    assert abs(free - room.f_bavail * room.f_frsize) < 256 * 2**20  # others write at the same time
    assert not (tmp_path / "not").exists()


def test_a_folder_is_tried_out_before_anything_is_paid(tmp_path: Path) -> None:
    check_writable(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="a part of the path is a file"):
        check_writable(tmp_path / "file" / "out")


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_a_result_is_kept_under_its_digest(tmp_path: Path, kind: str, suffix: str) -> None:
    file = saved(tmp_path / "answer", scene(), format=kind)
    results = Results(tmp_path / "results")
    digest = results.keep(file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    kept = results.path(digest)
    assert kept == tmp_path / "results" / digest[:2] / f"{digest}{suffix}"
    assert kept.read_bytes() == file.read_bytes()
    file.unlink()
    assert Results(tmp_path / "results").path(digest) == kept


def test_a_result_kept_twice_is_kept_once_and_not_touched_again(tmp_path: Path) -> None:
    file = saved(tmp_path / "answer.png", scene())
    results = Results(tmp_path / "results")
    kept = results.path(results.keep(file))
    assert kept is not None
    inode = kept.stat().st_ino
    assert results.path(results.keep(file)) == kept
    assert kept.stat().st_ino == inode
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == [kept]


def test_a_kept_result_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    file = saved(tmp_path / "answer.png", scene())
    results = Results(tmp_path / "results")
    digest = results.keep(file)
    kept = results.path(digest)
    assert kept is not None
    kept.write_bytes(file.read_bytes()[:-1])
    assert results.keep(file) == digest
    assert kept.read_bytes() == file.read_bytes()


def test_what_is_not_kept_has_no_path(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    digest = results.keep(saved(tmp_path / "answer.png", scene()))
    kept = results.path(digest)
    assert kept is not None
    assert results.path("0" * 64) is None
    kept.write_bytes(b"")
    assert results.path(digest) is None
    kept.unlink()
    kept.symlink_to(tmp_path / "answer.png")
    assert results.path(digest) is None
    # A digest comes from the ledger, and a ledger can be edited: it must not lead out of the folder.
    deeper = Results(tmp_path / "deep" / "results")
    deeper.folder.mkdir(parents=True)
    assert (deeper.folder / ".." / "../answer.png").resolve() == tmp_path / "answer.png"
    assert deeper.path("../answer") is None
    assert results.path(digest.upper()) is None


def test_a_kept_result_that_nobody_may_look_at_is_not_called_gone(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    digest = results.keep(saved(tmp_path / "answer.png", scene()))
    kept = results.path(digest)
    assert kept is not None
    folder, away = kept.parent, tmp_path / "away"
    folder.rename(away)
    assert results.path(digest) is None
    folder.write_text("a file is in the way")
    with pytest.raises(DiskError, match="a part of the path is a file, not a folder") as found:
        results.path(digest)
    assert f"the kept result `{kept}` cannot be read" in found.value.message
    folder.unlink()
    folder.symlink_to(folder)
    with pytest.raises(DiskError, match="links in a circle"):
        results.path(digest)
    folder.unlink()
    away.rename(folder)
    assert results.path(digest) == kept


def test_of_a_kept_result_that_this_user_may_not_read_that_is_said_and_what_to_do() -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from runner.errors import DiskError; from runner.images import Results\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: print(Results(Path(sys.argv[1])).path(sys.argv[2]))\n"
        "except DiskError as error: print(error.message, error.hint, sep='; ')"
    )
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        results = Results(Path(place) / "results")
        digest = results.keep(saved(Path(place) / "answer.png", scene()))
        kept = results.path(digest)
        assert kept is not None
        kept.parent.chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", program, str(results.folder), digest],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        kept.parent.chmod(0o700)
    assert done.stdout == (
        f"the kept result `{kept}` cannot be read: this user may not read it; "
        "let this user read it and go into the folders above it, then run again: it is paid for\n"
    )


def test_twenty_threads_can_keep_the_same_result(tmp_path: Path) -> None:
    file = tmp_path / "answer.png"
    file.write_bytes(encoded(scene(400, 300), "PNG"))
    results = Results(tmp_path / "results")
    kept: list[str] = []
    threads = [threading.Thread(target=lambda: kept.append(results.keep(file))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 20
    assert len(set(kept)) == 1
    assert len([path for path in (tmp_path / "results").rglob("*") if path.is_file()]) == 1


def test_a_file_that_is_taken_is_kept_itself_and_only_a_damaged_one_is_written_again(tmp_path: Path) -> None:
    file = saved(tmp_path / "spool.png", scene())
    results = Results(tmp_path / "results")
    digest = results.take(file)
    kept = results.path(digest)
    assert kept is not None
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert kept.stat().st_ino == file.stat().st_ino
    assert results.take(file, digest) == digest
    content = file.read_bytes()
    file.unlink()
    assert kept.read_bytes() == content
    kept.write_bytes(content[:-1])
    file.write_bytes(content)
    assert results.take(file, digest) == digest
    assert kept.read_bytes() == content
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize("size_bytes", [0, 1, 5_000_000])
def test_a_file_of_another_file_system_is_copied_whole(tmp_path: Path, size_bytes: int) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as elsewhere:
        elsewhere.write(os.urandom(size_bytes))
        elsewhere.flush()
        source, results = Path(elsewhere.name), Results(tmp_path / "results")
        write_atomically(source, tmp_path / "out" / "a.png")
        assert (tmp_path / "out" / "a.png").read_bytes() == source.read_bytes()
        kept = results.path(results.take(source))
        assert (kept.read_bytes() if kept is not None else b"") == source.read_bytes()
