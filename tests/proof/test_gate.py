"""The gate shares the ledger among processes, is let go of when one dies, and is not waited for without a limit."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from runner.errors import LedgerError
from runner.ledger import gate
from runner.ledger.database import Database, gate_path, open_database
from runner.ledger.gate import Gate, holder_of
from runner.ledger.ledger import Ledger
from tests.ledger.conftest import Desk

LISTS_LOCKS = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system does not list its locks")

# Writes, says so, and does not go on until it is let.
HOLDER = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import text
from runner.ledger.database import open_database
with open_database(Path(sys.argv[1]), create=False) as database, database.write_transaction() as connection:
    connection.execute(text("INSERT INTO texts (digest, text) VALUES ('held', 'held')"))
    print("inside", flush=True)
    if sys.argv[2] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        sys.stdin.readline()
"""

SHARES = """
import json, sys, tempfile
from pathlib import Path
from tests.long.races import shares
with tempfile.TemporaryDirectory() as name:
    found = shares(Path(name), processes=8, gate=sys.argv[1] == "gate", enough=lambda all: all >= 480)
print(json.dumps([[share.transactions, share.busy] for share in found]))
"""


@pytest.fixture(autouse=True)
def no_endless_wait() -> Iterator[None]:
    """A gate that is waited for without a limit is what these tests look for: it must fail them, not hold them up."""

    def give_up(*_: object) -> None:
        raise AssertionError("somebody waits for the gate without a limit")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "home" / "ledger.db"
    open_database(found, create=True).close()
    return found


@contextmanager
def holding(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is inside a write transaction, stopped or waiting for a line."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "inside\n"
        if how == "stop":
            os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def write(database: Database, word: str) -> None:
    with database.write_transaction() as connection:
        connection.execute(text("INSERT INTO texts (digest, text) VALUES (:word, :word)"), {"word": word})


def written(path: Path) -> list[str]:
    with open_database(path, create=False) as database, database.read() as connection:
        return sorted(connection.execute(text("SELECT digest FROM texts")).scalars())


# ---- nobody waits without a limit


@LISTS_LOCKS
def test_a_stopped_process_is_named_with_what_to_do(path: Path) -> None:
    with holding(path, "stop") as holder, Database(path, wait_s=0.05) as database:
        with pytest.raises(LedgerError) as caught:
            write(database, "mine")
        assert caught.value.message.startswith(f"the ledger `{path}` was held for 0.05 s by process {holder.pid} (`")
        assert caught.value.message.endswith("…`), which is stopped")
        assert f"kill -CONT {holder.pid}" in (caught.value.hint or "")
        holder.send_signal(signal.SIGCONT)
        assert holder.wait() == 0
        write(database, "mine")
    assert written(path) == ["held", "mine"]


@LISTS_LOCKS
def test_a_living_process_that_keeps_the_ledger_is_named_too(path: Path) -> None:
    with (
        holding(path, "wait") as holder,
        Database(path, wait_s=0.05) as database,
        pytest.raises(LedgerError) as caught,
    ):
        write(database, "mine")
    assert f"by process {holder.pid} (`" in caught.value.message
    assert "stopped" not in caught.value.message
    assert f"`kill {holder.pid}`" in (caught.value.hint or "")


def test_the_limit_holds_in_every_thread(path: Path) -> None:
    with holding(path, "stop"), Database(path, wait_s=0.05) as database, ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(write, database, f"item-{n}") for n in range(8)]
        assert all(isinstance(answer.exception(), LedgerError) for answer in answers)


def test_threads_that_queued_behind_one_that_gave_up_do_not_wait_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    wait = gate._Standing.wait
    monkeypatch.setattr(gate._Standing, "wait", lambda place, limit: limits.append(limit) or wait(place, limit))
    with holding(path, "stop"):
        one = Gate(gate_path(path), ledger=path, wait_s=0.05)
        before = time.monotonic()
        for asked_at in (before, before, None):
            with pytest.raises(LedgerError), one.held(asked_at):
                raise AssertionError("another process holds it")
    assert limits == [0.05, 0.05]


def test_who_gave_up_holds_nothing_when_the_gate_comes_after_all(path: Path) -> None:
    with holding(path, "wait") as holder, Database(path, wait_s=0.05) as database:
        for _ in range(3):
            with pytest.raises(LedgerError):
                write(database, "too early")
        holder.communicate("go on\n")
        # Another process, as it were: its own file, its own place in the queue.
        with Database(path) as another:
            write(another, "theirs")
        write(database, "mine")
    assert written(path) == ["held", "mine", "theirs"]


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """As a program in the foreground does: what a shell starts in the background ignores Ctrl-C, also the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@LISTS_LOCKS
@pytest.mark.usefixtures("_hears_ctrl_c")
def test_ctrl_c_while_waiting_holds_nothing_either(path: Path) -> None:
    with holding(path, "wait") as holder, Database(path) as database:
        main = threading.get_ident()
        interrupter = threading.Thread(target=lambda: interrupt_once(path, main))
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            write(database, "interrupted")
        interrupter.join()
        holder.communicate("go on\n")
        with Database(path) as another:
            write(another, "theirs")
        write(database, "mine")
    assert written(path) == ["held", "mine", "theirs"]


def interrupt_once(path: Path, thread: int) -> None:
    until(lambda: waits(path) == 1)
    signal.pthread_kill(thread, signal.SIGINT)


def until(reached: Callable[[], bool]) -> None:
    while not reached():
        os.sched_yield()


def locks(path: Path) -> list[str]:
    """The kernel's lines about the gate: who holds it, and who waits for it or for a place before it.

    The kernel tells them a page at a time, so a list that changes meanwhile may tell one twice; two that agree are
    true.
    """
    number = f":{gate_path(path).stat().st_ino} "
    before: list[str] | None = None
    now: list[str] = []
    while before != now:
        before, now = now, [line for line in Path("/proc/locks").read_text().splitlines() if number in line]
        now = [line.partition(":")[2] for line in now]
    return now


def waits(path: Path) -> int:
    """How many wait in the kernel."""
    return sum("->" in line for line in locks(path))


def test_without_a_thread_to_wait_in_the_gate_is_waited_for_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        assert holder.stdin is not None
        holder.stdin.write("go on\n")
        holder.stdin.flush()
        raise RuntimeError("can't start new thread")

    with holding(path, "wait") as holder, Database(path, wait_s=0.05) as database:
        monkeypatch.setattr(threading.Thread, "start", none_left)
        write(database, "mine")
    assert written(path) == ["held", "mine"]


# ---- the kernel lets go of it


def test_a_process_that_is_killed_inside_a_transaction_leaves_the_gate_open_and_nothing_behind(path: Path) -> None:
    with holding(path, "wait") as holder, Database(path) as database:
        holder.kill()
        holder.wait()
        write(database, "mine")
    assert written(path) == ["mine"]


@LISTS_LOCKS
def test_nobody_holds_the_gate_between_transactions(path: Path) -> None:
    with Database(path) as database:
        write(database, "mine")
        assert holder_of(gate_path(path)) is None
        with database.write_transaction():
            found = holder_of(gate_path(path))
        assert found is not None
        assert found[0] == os.getpid()
        assert holder_of(gate_path(path)) is None


@LISTS_LOCKS
def test_a_command_line_cannot_steer_the_terminal(path: Path) -> None:
    program = HOLDER.replace("import os", "'\x1b[2J'\nimport os", 1)
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path), "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    found = holder_of(gate_path(path))
    holder.communicate("go on\n")
    assert found is not None
    assert "\\x1b[2J" in (found[1] or "")
    assert (found[1] or "").isprintable()


# ---- nobody starves

# Writes one word after the other, and never loses patience with the queue.
WRITER = """
import sys
from pathlib import Path
from sqlalchemy import text
from runner.ledger import gate
from runner.ledger.database import open_database
gate.QUEUE_S = 600
with open_database(Path(sys.argv[1]), create=False) as database:
    for word in sys.argv[2:]:
        with database.write_transaction() as connection:
            connection.execute(text("INSERT INTO texts (digest, text) VALUES (:word, '')"), {"word": word})
"""


def writer(path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), *words], text=True)


@LISTS_LOCKS
def test_who_asked_first_is_first_and_who_comes_again_is_last(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As patient as the others: on a slow disk their three commits may take longer than one waits in the queue.
    monkeypatch.setattr(gate, "QUEUE_S", 600)
    with Database(path) as database:
        with database.write_transaction() as connection:
            connection.execute(text("INSERT INTO texts (digest, text) VALUES ('mine', '')"))
            writers = []
            for number in range(3):
                writers.append(writer(path, f"theirs {number}"))
                until(lambda waiting=number + 1: waits(path) == waiting)
        write(database, "mine again")
        assert [one.wait() for one in writers] == [0, 0, 0]
        assert locks(path) == []
        with database.read() as connection:
            order = list(connection.execute(text("SELECT digest FROM texts ORDER BY rowid")).scalars())
    assert order == ["mine", "theirs 0", "theirs 1", "theirs 2", "mine again"]


@LISTS_LOCKS
def test_a_process_that_is_stopped_in_the_queue_keeps_nobody_from_the_ledger(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "QUEUE_S", 0.05)
    with holding(path, "wait") as holder, Database(path) as database:
        stopped = writer(path, "theirs")
        until(lambda: waits(path) == 1)
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
        holder.communicate("go on\n")
        write(database, "mine")
        write(database, "mine again")
        assert written(path) == ["held", "mine", "mine again"]
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait() == 0
        assert written(path) == ["held", "mine", "mine again", "theirs"]


@LISTS_LOCKS
def test_a_process_that_is_killed_in_the_queue_leaves_no_place_behind(path: Path) -> None:
    with Database(path) as database:
        with database.write_transaction():
            killed = writer(path, "theirs")
            until(lambda: waits(path) == 1)
            killed.kill()
            killed.wait()
            assert waits(path) == 0
        write(database, "mine")
    assert written(path) == ["mine"]


def test_a_system_without_a_queue_has_the_gate_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_HAS_QUEUE", False)
    with holding(path, "wait") as holder, Database(path, wait_s=0.05) as database:
        with pytest.raises(LedgerError, match="was held for"):
            write(database, "too early")
        holder.communicate("go on\n")
        write(database, "mine")
    assert written(path) == ["held", "mine"]


def shared(how: str) -> tuple[list[int], int]:
    """The write transactions of each of 8 processes when all together have made 480, and the busy errors of all."""
    done = subprocess.run([sys.executable, "-c", SHARES, how], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return sorted(count for count, _ in told), sum(busy for _, busy in told)


def test_with_the_gate_no_process_gets_less_than_half_of_what_another_gets() -> None:
    counts, busy = shared("gate")
    assert counts[0] * 2 >= counts[-1], counts
    assert busy == 0


def test_without_the_gate_one_does() -> None:
    counts, busy = shared("no gate")
    assert counts[0] * 2 < counts[-1] or busy, counts


def test_a_ledger_in_memory_needs_no_gate() -> None:
    with open_database(Path("/nonexistent/ledger.db"), create=False) as database:
        assert Desk(Ledger(database)).buy("a") == 1
