"""Threads that are done with their memory do not each keep it."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading
from runner.allocator import share_arenas
from tests.images.samples import peak_kib

if sys.argv[1] == "shared":
    share_arenas()
before, turn = peak_kib(), threading.Lock()
ready, end = threading.Barrier(17), threading.Event()

def work():
    with turn:  # one after the other: at no moment is there more than what one of them needs
        held = [b"x" * (60_000 + n) for n in range(150)]
        kept = held[::10]  # between what is freed, so that it cannot simply be given back
        del held
    ready.wait()
    end.wait(len(kept) and 60)

for _ in range(16):
    threading.Thread(target=work, daemon=True).start()
ready.wait()
print(peak_kib() - before)
"""


TABLES = """
import sys
from pathlib import Path
from runner.allocator import return_large

if sys.argv[1] == "returned":
    return_large()

def held_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

before, kept = held_kib(), []
for _ in range(3):
    table = b"x" * 20_000_000  # from the second time on it is nothing unusual
    kept.append(b"x" * 100_000)  # behind it, so that it cannot simply be cut off
    del table
print(held_kib() - before)
"""


def grown_kib(how: str, program: str = PROGRAM) -> int:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, how], cwd=root, capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")
def test_what_one_thread_has_freed_is_there_for_the_next() -> None:
    assert grown_kib("shared") < 40 * 1024
    assert grown_kib("alone") > 80 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")
def test_what_was_large_goes_back_each_time() -> None:
    assert grown_kib("returned", TABLES) < 4 * 1024
    assert grown_kib("alone", TABLES) > 16 * 1024
