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


def grown_kib(how: str) -> int:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], cwd=root, capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")
def test_what_one_thread_has_freed_is_there_for_the_next() -> None:
    assert grown_kib("shared") < 40 * 1024
    assert grown_kib("alone") > 80 * 1024
