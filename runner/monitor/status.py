"""The scheduler's status file: what it does now, for whoever cannot ask it. Whole or not there, whatever happens."""

import fcntl
import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from runner.images.disk import explained, make_folder, sweep
from runner.ledger.database import moment

SCHEMA = "omixa.schedule-status/1"

# The largest file that can be one of ours: the most recipes of a project, with the longest messages.
_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecipeStatus:
    """How a recipe stands: `scheduled`, `paused`, `invalid` or another such word.

    `problem`: what is wrong with its file; None: nothing. `next_due_at` None: no slot comes. `running_due_at`: the
    slot that runs now; None: none does.
    """

    name: str
    state: str
    problem: str | None = None
    next_due_at: AwareDatetime | None = None
    running_due_at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class RunningSlot:
    """A slot that runs now: how many of its pictures are done, of how many that are planned."""

    recipe: str
    due_at: AwareDatetime
    begun_at: AwareDatetime
    done: int
    planned: int


@dataclass(frozen=True, slots=True)
class Status:
    """One scheduler at the moment `at`, which is its latest step. `program`: its name and version.

    Whoever reads it judges by `at` whether the scheduler still lives: a killed one leaves its last words.
    """

    pid: int
    who: str
    program: str
    started_at: AwareDatetime
    at: AwareDatetime
    state: Literal["running", "stopping", "stopped"]
    recipes: tuple[RecipeStatus, ...] = ()
    running: tuple[RunningSlot, ...] = ()
    queue_length: int = 0

    def to_json(self) -> str:
        """One JSON object, in lines; its `schema` says which. Moments are UTC."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, default=_text) + "\n"


def _text(value: object) -> str:
    assert isinstance(value, datetime), f"{type(value).__name__} does not belong into a status"
    return moment(value)


def write(path: Path, status: Status) -> None:
    """Put the status at `path`, on disk when this returns: readers see the old file or the new one, whole.

    Only its owner can read it. Raises DiskError, and then the old file is as it was.
    """
    content = status.to_json().encode("ascii")
    with explained(path):
        make_folder(path.parent)
        sweep(path.parent)  # what writers left that were killed in the middle
        part, handle = _new_part(path.parent)
        try:
            with os.fdopen(handle, "wb", buffering=0):
                _write_all(handle, content)
                os.fsync(handle)
                part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def _new_part(folder: Path) -> tuple[Path, int]:
    """A new file beside the target, named and locked as those of images.disk, so that `sweep` knows it."""
    while True:
        part = folder / f".omixa-{secrets.token_hex(8)}.part"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return part, handle
        os.close(handle)  # somebody swept here between the two steps


def _write_all(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


def _sync(folder: Path) -> None:
    """Put the new name on disk. A file system that cannot sync folders has done what it can."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Status | None:
    """The status at `path`; None when there is none, or what is there is none of ours, or torn. Never raises."""
    content = _content(path)
    if content is None:
        return None
    try:
        told = json.loads(content)
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            return None
        status: Status = _adapter().validate_json(content, strict=True)
        return status
    except (ValueError, ValidationError, RecursionError):
        return None


def _content(path: Path) -> bytes | None:
    """The bytes of a regular file of a likely size; None otherwise. Waits for nothing: a pipe may stand there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file, suppress(OSError):
        content = file.read(_BYTES_MAX + 1)
        return content if len(content) <= _BYTES_MAX else None
    return None


@cache
def _adapter() -> Any:
    return TypeAdapter(Status)
