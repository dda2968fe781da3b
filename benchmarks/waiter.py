"""Starts a program, waits for its end, and writes down what it used.

A process of its own, because Linux counts the memory of who starts a program as if the program had needed it: this one
is small. Started by benchmarks/measured.py with `python -I -S`.
"""

import os
import sys
import time


def main() -> int:
    """`waiter.py FILE PROGRAM …`: writes wall seconds, CPU seconds and peak memory; ends as the program did."""
    out, *words = sys.argv[1:]
    began = time.perf_counter()
    pid = os.posix_spawnp(words[0], words, os.environ)
    _, status, used = os.wait4(pid, 0)
    with open(out, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib would be half of this process
        file.write(f"{time.perf_counter() - began} {used.ru_utime + used.ru_stime} {used.ru_maxrss}")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
