"""Runs of the program as real processes that cost no start: forked from one that has imported everything.

`python -m tests.proof.forks` is that process. It has one thread and no open file of a ledger; each order on its stdin
becomes a child that calls `runner.cli.main` in a project's folder and leaves with its exit code. Harness only: the
program itself has no hook.
"""

import faulthandler
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.proof.death import Death, install

ROOT = Path(__file__).parents[2]

# A child that is still there after so long hangs: it is killed, and its round has failed.
LIMIT_S = 300

# Waits that the program takes for the provider's sake, shortened: how long they are decides nothing about money.
SHORT_WAITS: Mapping[str, object] = {
    "runner.providers.answer.RETRY_SOON_S": 0.01,
    "runner.providers.answer.RETRY_WITHOUT_HEADER_S": 0.02,
    "runner.providers.answer.RETRY_MIN_S": 0.01,
    "runner.execution.LOOK_FOR_DEAD_S": 0.2,
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended. `killed` names the kill point that struck it or `moment`; None: it ended by itself.

    `code` is the exit code, negative for a signal; `hung`: it had to be ended after LIMIT_S.
    """

    code: int
    killed: str | None
    hung: bool
    out: str
    err: str


class Forks:
    """A fork server and the talk with it. Not for several threads at once; ends with `close`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.proof.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self._logs: dict[int, Path] = {}

    def start(
        self, words: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str], death: Death | None = None
    ) -> int:
        """Start the program; its pid. `log` is the beginning of the names of its stdout, stderr and mark."""
        order = {"do": "start", "words": list(words), "cwd": str(cwd), "log": str(log), "env": dict(env)}
        pid = int(self._ask(order | {"death": death.to_json() if death else None})["pid"])
        self._logs[pid] = log
        return pid

    def wait(self, pid: int, *, kill_after_ms: int | None = None) -> Ended:
        """Wait for the end; with `kill_after_ms` it gets a SIGKILL so long after its start, if it still lives."""
        told = self._ask({"do": "wait", "pid": pid, "kill_after_ms": kill_after_ms})
        log = self._logs.pop(pid)
        out, err = (_text(log, kind) for kind in ("out", "err"))
        killed = _text(log, "mark").strip() or ("moment" if told["by_time"] else None)
        return Ended(int(told["code"]), killed if told["code"] == -signal.SIGKILL else None, told["hung"], out, err)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(LIMIT_S)
        self._process.stdout.close()

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _text(log: Path, kind: str) -> str:
    path = log.with_name(f"{log.name}.{kind}")
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


# ---- the server


class _Child:
    """A living child: the read end of a pipe that closes when it dies, and when it began."""

    def __init__(self, order: dict[str, Any]) -> None:
        assert threading.active_count() == 1, "a fork beside other threads may copy a lock that nobody opens again"
        self._alive, writing = os.pipe()
        self._began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(order)
        os.close(writing)

    def wait(self, kill_after_ms: int | None) -> dict[str, Any]:
        by_time = kill_after_ms is not None and not self._ends_until(self._began + kill_after_ms / 1000)
        hung = not by_time and not self._ends_until(self._began + LIMIT_S)
        if hung:
            os.kill(self.pid, signal.SIGUSR1)  # it says on stderr where it hangs
            self._ends_until(time.monotonic() + 5)
        if by_time or hung:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._alive)
        return {"code": os.waitstatus_to_exitcode(status), "by_time": by_time, "hung": hung}

    def _ends_until(self, moment: float) -> bool:
        return bool(select.select([self._alive], [], [], max(0.0, moment - time.monotonic()))[0])


def _become(order: dict[str, Any]) -> None:
    """Be the program, in the child; does not return."""
    code = 99
    try:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{order['log']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        faulthandler.register(signal.SIGUSR1)
        os.environ.update(order["env"])
        os.chdir(order["cwd"])
        for name, value in SHORT_WAITS.items():
            module, _, constant = name.rpartition(".")
            assert hasattr(import_module(module), constant), name
            setattr(import_module(module), constant, value)
        if order["death"]:
            install(Death.from_json(order["death"]), Path(f"{order['log']}.mark"))
        from runner.cli import main

        code = main(order["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - said on stderr, where the verdict looks for it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import_everything() -> None:
    import runner

    for module in pkgutil.walk_packages(runner.__path__, "runner."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    import_module("sqlalchemy.dialects.sqlite")
    import_module("encodings.idna")
    from PIL import Image

    Image.init()


def serve() -> None:
    """Fork on order until stdin ends."""
    _import_everything()
    children: dict[int, _Child] = {}
    while line := sys.stdin.readline():
        order = json.loads(line)
        if order["do"] == "start":
            child = _Child(order)
            children[child.pid] = child
            answer: dict[str, Any] = {"pid": child.pid}
        else:
            answer = children.pop(order["pid"]).wait(order["kill_after_ms"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
