"""A disk in memory that outlives its processes: paths, locks that the kernel drops, and what the runner calls on them.

Every name here stands in for one that `runner.execution`, `runner.booking`, `runner.recovery` or `runner.ledger.owners`
looks up in its own module. A file appears whole (the real ones are written aside, synced and renamed), and what was
written stays when the process dies. Before each effect the scheduler may switch, or kill: see `simulator.World.at`.
"""

import fnmatch
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from runner import images
from runner.errors import DiskError

# Far more than a run asks for; a disk that is full fails where something is written.
FREE_BYTES = 1 << 50


class Disk:
    """Files by their path, how often each content stands somewhere, and who holds which lock."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.files: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.copies: Counter[str] = Counter()
        self.answers: dict[str, Any] = {}
        self.inodes: dict[str, int] = {}
        self.locks: dict[int, int] = {}  # inode → descriptor
        self.descriptors: dict[int, tuple[int, Any]] = {}  # descriptor → inode and process
        self._number = 0

    def put(self, path: str, content: bytes) -> None:
        """A whole file, in place of whatever stood there."""
        if path in self.files:
            self._forget(path)
        digest = hashlib.sha256(content).hexdigest()
        self.files[path], self.digests[path] = content, digest
        self.copies[digest] += 1

    def remove(self, path: str) -> None:
        """Take a file away. Raises FileNotFoundError."""
        if path not in self.files:
            raise FileNotFoundError(path)
        digest = self._forget(path)
        self.world.removed(path, digest)

    def move(self, path: str, target: str) -> None:
        """Rename, in one step."""
        if path not in self.files:
            raise FileNotFoundError(path)
        if target in self.files:
            self._forget(target)
        for table in (self.files, self.digests, self.answers):
            if path in table:
                table[target] = table.pop(path)  # type: ignore[index]
        self.world.removed(path, self.digests[target])

    def _forget(self, path: str) -> str:
        del self.files[path]
        self.answers.pop(path, None)
        digest = self.digests.pop(path)
        self.copies[digest] -= 1
        return digest

    def names(self, folder: str) -> list[str]:
        """What stands in a folder, in a fixed order."""
        start = len(folder) + 1
        every = [*self.files, *self.inodes]
        return sorted(name[start:] for name in every if name.startswith(f"{folder}/") and "/" not in name[start:])

    # ---- locks

    def open(self, path: str, flags: int) -> int:
        """A descriptor for a lock file."""
        if path not in self.inodes:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(path)
            self._number += 1
            self.inodes[path] = self._number
        self._number += 1
        self.descriptors[self._number] = (self.inodes[path], self.world.process)
        return self._number

    def flock(self, descriptor: int, _how: int) -> None:
        """Take the lock, or raise at once."""
        inode = self.descriptors[descriptor][0]
        if self.locks.get(inode, descriptor) != descriptor:
            raise BlockingIOError(path_free_message)
        self.locks[inode] = descriptor

    def close(self, descriptor: int) -> None:
        """Let go of a descriptor, and of its lock."""
        inode, _ = self.descriptors.pop(descriptor)
        if self.locks.get(inode) == descriptor:
            del self.locks[inode]

    def close_all(self, process: Any) -> None:
        """What the kernel does when a process is gone."""
        for descriptor in [number for number, (_, owner) in self.descriptors.items() if owner is process]:
            self.close(descriptor)


path_free_message = "somebody holds it"

# The world that runs now: paths are made once and used in all of them.
NOW: Any = SimpleNamespace(world=None)


class Place:
    """A path on the simulated disk, with the methods of pathlib.Path that the runner uses on these."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __truediv__(self, part: "str | Place") -> "Place":
        return Place(f"{self.text}/{part}")

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def name(self) -> str:
        return self.text.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> "Place":
        return Place(self.text.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "Place":
        return self.parent / (self.stem + suffix)

    def with_name(self, name: str) -> "Place":
        return self.parent / name

    def exists(self) -> bool:
        NOW.world.alive()
        return self.text in NOW.world.disk.files

    is_file = exists

    def read_text(self, encoding: str = "utf-8") -> str:
        NOW.world.alive()
        if self.text not in NOW.world.disk.files:
            raise FileNotFoundError(self.text)
        content: bytes = NOW.world.disk.files[self.text]
        return content.decode(encoding)

    def is_symlink(self) -> bool:
        return False

    def stat(self) -> Any:
        NOW.world.alive()
        disk = NOW.world.disk
        if self.text in disk.inodes:
            return SimpleNamespace(st_ino=disk.inodes[self.text], st_size=0)
        if self.text not in disk.files:
            raise FileNotFoundError(self.text)
        return SimpleNamespace(st_ino=0, st_size=len(disk.files[self.text]))

    def open(self, mode: str = "r") -> io.BytesIO:
        NOW.world.alive()
        assert mode == "rb", mode
        if self.text not in NOW.world.disk.files:
            raise FileNotFoundError(2, "no such file", self.text)
        return io.BytesIO(NOW.world.disk.files[self.text])

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        NOW.world.alive()

    def unlink(self, missing_ok: bool = False) -> None:
        world = NOW.world
        # What is to be sent is a copy: whether it is there or not makes no difference to anybody else.
        world.at("unlink", self.text) if "/work/" not in self.text else world.alive()
        if self.text in world.disk.inodes:
            del world.disk.inodes[self.text]
            return
        try:
            world.disk.remove(self.text)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def replace(self, target: "Place") -> "Place":
        world = NOW.world
        # As in `unlink`: between two places of what was sent nothing can be lost.
        world.at("rename", self.text) if "/work/" not in self.text or "/work/" not in target.text else world.alive()
        world.disk.move(self.text, target.text)
        return target

    rename = replace

    def glob(self, pattern: str) -> "Iterator[Place]":
        """Names of this very folder that fit the pattern."""
        NOW.world.alive()
        return iter([self / name for name in fnmatch.filter(NOW.world.disk.names(self.text), pattern)])


# ---- what stands in for `runner.images`


def _prepare(
    picture: Any, *, output_format: str, flatten: str | None, limits: Any, folder: Place, spare: Any = None
) -> Any:
    world = NOW.world
    world.alive()
    path = folder / f"{picture.path}-{world.number_file()}"
    if spare is not None:
        spare(path)
    world.disk.put(path.text, b"to be sent")
    return images.Prepared(path, "image/png", picture.size_bytes)


def _free_bytes(_folder: Place) -> int:
    NOW.world.alive()
    return FREE_BYTES


def _result_facts(picture: Place) -> Any:
    NOW.world.alive()
    content = NOW.world.disk.files.get(picture.text)
    return "cannot be read: gone" if content is None else images.ResultFacts("image/png", 64, 64, len(content))


def _looks_wrong(_source: Place, _result: Place) -> None:
    return None


def _write_atomically(source: Place, target: Place, *, over: bool = True, edits: Any = ()) -> None:
    world = NOW.world
    world.at("write", target.text)
    if source.text not in world.disk.files:
        raise DiskError(f"`{source}` cannot be read: gone")
    if world.disk_fails():
        raise DiskError(f"`{target}` cannot be written: the disk is full")
    if not over and target.text in world.disk.files:
        raise DiskError(f"`{target}` already exists and is not written over")
    world.disk.put(target.text, world.disk.files[source.text])
    world.at("written", target.text)


def _digests(path: Place) -> list[str]:
    NOW.world.alive()
    return [NOW.world.disk.digests[path.text]]


def _sweep(_folder: Place) -> None:
    """Nothing half written is ever seen on this disk."""
    NOW.world.alive()


class Results:
    """Paid results by their digest."""

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    def keep(self, file: Place) -> str:
        world = NOW.world
        if file.text not in world.disk.files:
            raise DiskError(f"`{file}` cannot be read: gone")
        digest: str = world.disk.digests[file.text]
        target = self.folder / f"{digest}.png"
        if target.text not in world.disk.files:
            _write_atomically(file, target)
        return digest

    def take(self, file: Place, digest: str | None = None) -> str:
        """A second name for the same file: it needs no room, and is there or not."""
        world = NOW.world
        if file.text not in world.disk.files:
            raise DiskError(f"`{file}` cannot be read: gone")
        own: str = world.disk.digests[file.text]
        assert digest in (None, own), "the provider says what the file is not"
        target = self.folder / f"{own}.png"
        if target.text not in world.disk.files:
            world.at("name", target.text)
            world.disk.put(target.text, world.disk.files[file.text])
            world.at("named", target.text)
        return own

    def path(self, digest: str) -> Place | None:
        NOW.world.alive()
        found = self.folder / f"{digest}.png"
        return found if found.text in NOW.world.disk.files else None


IMAGES = SimpleNamespace(
    prepare=_prepare,
    Unsuitable=images.Unsuitable,
    ResultFacts=images.ResultFacts,
    Results=Results,
    digests=_digests,
    free_bytes=_free_bytes,
    result_facts=_result_facts,
    looks_wrong=_looks_wrong,
    write_atomically=_write_atomically,
    sweep=_sweep,
)


# ---- what stands in for `os`, `fcntl` and `shutil`


def _lexists(path: Place) -> bool:
    return path.exists()


def _open(path: Place, flags: int, _mode: int = 0o777) -> int:
    NOW.world.at("open lock", path.text)
    descriptor: int = NOW.world.disk.open(path.text, flags)
    return descriptor


def _close(descriptor: int) -> None:
    NOW.world.alive()
    NOW.world.disk.close(descriptor)


def _fstat(descriptor: int) -> Any:
    NOW.world.alive()
    return SimpleNamespace(st_ino=NOW.world.disk.descriptors[descriptor][0])


def _flock(descriptor: int, how: int) -> None:
    NOW.world.at("lock")
    while True:
        try:
            NOW.world.disk.flock(descriptor, how)
            return
        except BlockingIOError:
            if how & FCNTL.LOCK_NB:
                raise
            NOW.world.at("lock", sleep_us=1000)


def _rmtree(folder: Place, ignore_errors: bool = False) -> None:
    world = NOW.world
    world.alive()
    for name in world.disk.names(folder.text):
        world.disk.remove(f"{folder.text}/{name}")


OS = SimpleNamespace(
    path=SimpleNamespace(lexists=_lexists),
    open=_open,
    close=_close,
    fstat=_fstat,
    O_RDWR=os.O_RDWR,
    O_RDONLY=os.O_RDONLY,
    O_CREAT=os.O_CREAT,
    O_CLOEXEC=os.O_CLOEXEC,
)
FCNTL = SimpleNamespace(flock=_flock, LOCK_EX=2, LOCK_SH=1, LOCK_NB=4, LOCK_UN=8)
SHUTIL = SimpleNamespace(rmtree=_rmtree)
