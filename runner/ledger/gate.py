"""The gate: a lock held around each write transaction, and a queue before it, so that who asked first is first.

The kernel lets go of both when a process ends, however it ends. A process that is stopped keeps the gate, so nobody
waits for it without a limit; the error then says which process holds it. The queue is a courtesy between processes that
are awake: it decides who is next, never who may write, and nobody stays in it behind one that does not move.
"""

import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.baton import aside
from runner.errors import LedgerError
from runner.terminal import clean

# How long a process queues before it asks for the gate beside the queue: the one before it may have been stopped.
QUEUE_S = 5

# How much of another process's command line a message shows.
COMMAND_CHARACTERS_MAX = 120

# Locks on bytes that belong to one opening of a file, as flock's do; elsewhere the gate has no queue before it.
_HAS_QUEUE = sys.platform == "linux" and sys.maxsize > 2**32
_BYTES = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, process

# What the bytes stand for: the first guards the newest ticket, which is the content of the file; then one a ticket.
_NEWEST, _TICKETS = 0, 1
_TICKET_BYTES = 8


class Gate:
    """The gate of one ledger, for the threads of one process: only one of them may ask for it at a time."""

    def __init__(self, path: Path, *, ledger: Path, wait_s: float) -> None:
        """`path`: the lock file, made when it is first needed. `wait_s`: the longest that one thread waits."""
        self._path = path
        self._ledger = ledger
        self._wait_s = wait_s
        self._file: int | None = None
        self._gave_up_at = time.monotonic()  # nobody has yet, and whoever asks, asks later

    @contextmanager
    def held(self, asked_at: float | None = None) -> Iterator[None]:
        """Inside, no other process writes. Raises LedgerError when another holds the gate for too long, and OSError.

        `asked_at`, of the monotonic clock: since when this thread waits for its turn; None: since now. Threads that
        queued behind one that gave up have waited as long as it, and do not wait anew one after the other.
        """
        has_waited = asked_at is not None and asked_at < self._gave_up_at
        try:
            if not self._had_at_once(beside_queue=has_waited) and (has_waited or not self._waited_for()):
                self._gave_up_at = time.monotonic()
                raise self._held_too_long()
            yield
        finally:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._file

    def _had_at_once(self, *, beside_queue: bool) -> bool:
        """Take the gate when nobody has it, and nobody queues for it."""
        file = self._opened()
        if not beside_queue and _is_queue(file):
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _waited_for(self) -> bool:
        """Wait for the gate, in the queue first; False, and the gate is not ours, when that took too long."""
        until = time.monotonic() + self._wait_s
        with aside():
            if self._stood(min(QUEUE_S, self._wait_s), queue=_HAS_QUEUE):
                return True
            left_s = until - time.monotonic()
            return left_s > 0 and self._stood(left_s, queue=False)

    def _stood(self, wait_s: float, *, queue: bool) -> bool:
        """Wait for the gate for at most so long.

        A thread of its own waits in the kernel, because locks know no limit and a signal would only reach the main
        thread. Asking again and again instead would give the gate to whoever happens to ask at the right moment.
        """
        file = self._opened()
        standing = _Standing(file, queue=queue)
        try:
            standing.start()
        except RuntimeError:
            # No thread to be had. To wait without a limit is better than not to book what was billed.
            fcntl.flock(file, fcntl.LOCK_EX)
            return True
        try:
            taken = standing.wait(wait_s)
        except BaseException:
            self._file = None
            if not standing.leave():
                os.close(file)
            raise
        if not taken:
            self._file = None
        return taken

    def _held_too_long(self) -> LedgerError:
        holder = holder_of(self._path)
        waited = f"the ledger `{self._ledger}` was held for {self._wait_s:g} s"
        if holder is None:
            return LedgerError(
                f"{waited} by another process",
                "end the omixa that does not go on (`fuser` on the ledger's `.gate` file names it) and run again; "
                "what was in flight is settled from its spooled answers then",
            )
        pid, command, stopped = holder
        named = f"process {pid} (`{command}`)" if command else f"process {pid}"
        if stopped:
            return LedgerError(
                f"{waited} by {named}, which is stopped",
                f"`kill -CONT {pid}` lets it go on, `kill -KILL {pid}` ends it; then run again: what was in flight is "
                "settled from its spooled answers",
            )
        return LedgerError(
            f"{waited} by {named}",
            f"wait for it if it migrates the ledger, otherwise end it with `kill {pid}`; then run again: what was in "
            "flight is settled from its spooled answers",
        )


class _Standing:
    """One who waits for the gate. Whoever left owns nothing: the lock, when it comes, is let go of at once."""

    def __init__(self, file: int, *, queue: bool) -> None:
        self._file = file
        self._queue = queue
        self._answered = threading.Event()
        self._deciding = threading.Lock()
        self._left = False
        self._error: OSError | None = None

    def start(self) -> None:
        """Raises RuntimeError when no thread can be had."""
        threading.Thread(target=self._stand, name="gate", daemon=True).start()

    def wait(self, wait_s: float) -> bool:
        """Whether the lock came in time. False: the place was left, and the file will be closed. Raises OSError."""
        if not self._answered.wait(wait_s) and self.leave():
            return False
        if self._error is not None:
            raise self._error
        return True

    def leave(self) -> bool:
        """Give the place up, and the file with it. False when the lock had already come: both are the caller's."""
        with self._deciding:
            if self._answered.is_set():
                return False
            self._left = True
            if self._queue:
                _leave_queue(self._file)
            return True

    def _stand(self) -> None:
        try:
            if self._queue:
                _queue(self._file)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        with self._deciding:
            if self._left:
                os.close(self._file)  # and with it all its locks
            elif self._queue:
                _leave_queue(self._file)
            self._answered.set()


# ---- the queue: each waits for the one before it to leave, so that a place that becomes free wakes one process only


def _queue(file: int) -> None:
    """Draw a ticket, and wait until the one before it is through the gate, or gone."""
    # A disk that is full, or whatever else is wrong with the queue, keeps nobody from the gate.
    with suppress(OSError):
        _bytes(file, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _NEWEST)
        ticket = int.from_bytes(os.pread(file, _TICKET_BYTES, 0), "little") + 1
        os.pwrite(file, ticket.to_bytes(_TICKET_BYTES, "little"), 0)
        _bytes(file, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, _TICKETS + ticket)
        _bytes(file, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _NEWEST)
        _bytes(file, fcntl.F_OFD_SETLKW, fcntl.F_RDLCK, _TICKETS + ticket - 1)


def _is_queue(file: int) -> bool:
    """Whether another process queues: then the gate is not to be had beside it."""
    if not _HAS_QUEUE:
        return False
    try:
        return _bytes(file, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, _TICKETS, 0) != fcntl.F_UNLCK
    except OSError:
        return False


def _leave_queue(file: int) -> None:
    with suppress(OSError):
        _bytes(file, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _NEWEST, 0)


def _bytes(file: int, command: int, kind: int, start: int, length: int = 1) -> int:
    """Lock, unlock or look at bytes of a file, from `start` on; 0 bytes are all. The kind of lock that was found."""
    answer = fcntl.fcntl(file, command, _BYTES.pack(kind, os.SEEK_SET, start, length, 0))
    return int(_BYTES.unpack(answer)[0])


def holder_of(path: Path) -> tuple[int, str | None, bool] | None:
    """The process that holds a lock file: its number, its command line, and whether it is stopped.

    The command line is cut and cleaned; None: it cannot be read. None instead of all: this system does not say.
    """
    try:
        facts = path.stat()
        place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
        # `1: FLOCK  ADVISORY  WRITE 4242 fe:00:131 0 EOF`; those who wait have an arrow in the second place.
        lines = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    for _, kind, _, access, pid, where, *_ in lines:
        if (kind, access, where) == ("FLOCK", "WRITE", place) and int(pid) > 0:
            return int(pid), _command(pid), _stopped(pid)
    return None


def _command(pid: str) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    command = clean(words.rstrip("\0").replace("\0", " "))
    if len(command) > COMMAND_CHARACTERS_MAX:
        command = command[: COMMAND_CHARACTERS_MAX - 1] + "…"
    return command or None


def _stopped(pid: str) -> bool:
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return facts.rpartition(")")[2].split()[0] in ("T", "t")
