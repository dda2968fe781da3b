"""Who owns a run: a lock file that the kernel lets go of when its process dies. No heartbeat, no clock."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from runner.errors import LedgerError


@dataclass(slots=True)
class Owner:
    """A held lock. Dies with the process; `let_go` ends it in good order."""

    path: Path
    _file: int

    def let_go(self) -> None:
        """Remove the lock. Call it after the run is recorded as ended, never before."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Stop holding it, and leave the lock file: the run has not ended."""
        os.close(self._file)


def hold(folder: Path, uid: str) -> Owner:
    """Become the owner of a new run, before the ledger hears of it. Raises LedgerError."""
    # Waits: whoever clears away what the dead have left may hold the new lock for a moment.
    owner = claim(folder, uid, wait=True)
    assert owner is not None, "a run's uid is used once"
    return owner


def claim(folder: Path, uid: str, *, wait: bool = False) -> Owner | None:
    """Become the owner of a run whose process is gone; None while somebody alive holds it, unless told to wait.

    Raises LedgerError.
    """
    path = folder / f"{uid}.lock"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(
            f"`{path}` cannot be created: {error.strerror}",
            "make the ledger's folder writable for this user; nothing was sent",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(file)
        return None
    # Another recoverer may have removed this very file between the opening and the lock: then it is worth nothing.
    if not _is_at(path, file):
        os.close(file)
        return claim(folder, uid, wait=wait)
    return Owner(path, file)


def _is_at(path: Path, file: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file).st_ino
    except OSError:
        return False


def locked(folder: Path) -> list[str]:
    """The uids of all runs that have a lock file, whether or not somebody holds it."""
    return sorted(path.stem for path in folder.glob("*.lock"))


def is_held(folder: Path, uid: str) -> bool:
    """Whether somebody alive owns the run. Changes nothing; a run without a lock file has no owner."""
    try:
        file = os.open(folder / f"{uid}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
