"""Where a process is killed: a named function of the program, before, in the middle of, at the commit of, or after it.

Patched into a forked child; the process then sends itself a SIGKILL, which nothing can catch, clean up or flush.
"""

import functools
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

When = Literal["before", "middle", "commit", "after"]


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the program's way. `targets`: `module:function` or `module:Class.method`; any of them is the place.

    `whens` are the ways in which a process can die there.
    """

    name: str
    targets: tuple[str, ...]
    whens: tuple[When, ...] = ("before", "middle", "after")


@dataclass(frozen=True, slots=True)
class Death:
    """One kill: at the `nth` call of any target. `middle`: at the `step`-th call of anything inside, at the latest when
    it ends; `commit`: when a transaction inside is about to be committed. Another thread may commit for that call: then
    it is at the next call that commits itself."""

    name: str
    targets: tuple[str, ...]
    when: When
    nth: int = 1
    step: int = 1

    def to_json(self) -> dict[str, Any]:
        """For the way to the child."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Death":
        """As `to_json` gave it."""
        return cls(**{**values, "targets": tuple(values["targets"])})


_LEDGER, _DISK = "runner.ledger.ledger:Ledger", "runner.images.disk"
_IN_ONE_TRANSACTION: tuple[When, ...] = ("before", "middle", "commit", "after")

# Data, so that a name can be added. What a first start does, in its order …
STARTING = (
    Point("create the ledger", ("runner.ledger.database:_create_file",)),
    Point("back up", ("runner.ledger.database:_back_up",)),
    Point("leave the old journal", ("runner.ledger.database:_alone",)),
    Point("make the tables", ("runner.ledger.fresh:make",)),
    Point("commit the tables", ("runner.ledger.database:_migrate",), ("middle", "commit", "after")),
    Point("migrate", ("runner.ledger.migrate:upgrade",), _IN_ONE_TRANSACTION),
    Point("claim the home", ("runner.jobs:claim_home",)),
    Point("plan", ("runner.jobs:make_plan",)),
)
# … a run …
RUNNING = (
    Point("look whether outputs can be written", ("runner.images.disk:check_writable",)),
    Point("own the run", ("runner.ledger.owners:hold",)),
    Point("begin the run", (f"{_LEDGER}.begin_run",), _IN_ONE_TRANSACTION),
    Point("prepare", ("runner.images.sources:prepare",)),
    Point("reserve", (f"{_LEDGER}.reserve",), _IN_ONE_TRANSACTION),
    Point("connect", ("runner.providers.line:Line.connect",)),
    Point("sent", (f"{_LEDGER}.sent",), _IN_ONE_TRANSACTION),
    Point("write the request", ("runner.providers.omixa:_Body.read",), ("before", "after")),
    Point("exchange", ("runner.providers.omixa:OmixaProvider.send",), ("middle",)),
    Point("read the answer", ("runner.providers.omixa:_Receipt.take",)),
    Point(
        "write the spool", ("runner.providers.spool:SpoolWriter.write", "runner.providers.spool:SpoolWriter.picture")
    ),
    Point("spool", ("runner.providers.spool:SpoolWriter.commit", "runner.providers.spool:SpoolWriter.commit_cut")),
    Point("decode what comes", ("runner.providers.intake:Intake._decode",)),
    Point("decode what was kept", ("runner.providers.spool:keep_picture",)),
    Point("keep the result", ("runner.images.disk:Results.take", "runner.images.disk:Results.keep")),
    Point("deliver", ("runner.booking:_put",)),
    Point("into place", (f"{_DISK}:_into_place",), ("before", "after")),
    Point("book", ("runner.booking:book",), ("middle", "after")),
    Point("settle", (f"{_LEDGER}.settle",), _IN_ONE_TRANSACTION),
    Point("release", (f"{_LEDGER}.release",), _IN_ONE_TRANSACTION),
    Point("unknown", (f"{_LEDGER}.unknown",), _IN_ONE_TRANSACTION),
    Point("keep the raw answer", ("runner.booking:keep_raw",)),
    Point("drop the spool", ("runner.booking:drop",)),
)
# … its end …
ENDING = (
    Point("end the run", (f"{_LEDGER}.end_run",), _IN_ONE_TRANSACTION),
    Point("let go", ("runner.ledger.owners:Owner.let_go",)),
    Point("write checkpoints", ("runner.witness:Witness.write",)),
    Point("append a checkpoint", ("runner.trail.checkpoint:append",)),
)
# … and the recovery of an earlier death do. In a recovery, the points of booking strike as well.
RECOVERING = (
    Point("recover", ("runner.recovery:recover",), ("middle", "after")),
    Point("claim the dead", ("runner.ledger.owners:claim",)),
    Point("recover an attempt", ("runner.recovery:_recover_attempt",)),
    Point("read the spool", ("runner.providers.omixa:OmixaProvider.read_spooled",)),
    Point("sweep", ("runner.recovery:_sweep",)),
    Point("keep what was left behind", ("runner.recovery:_clear_spool",)),
    Point("forget the ended", ("runner.recovery:_forget_ended",)),
    Point("see that it adds up", ("runner.recovery:check",)),
    Point("restore", ("runner.booking:restore",)),
    Point("record a delivery", (f"{_LEDGER}.deliver",), _IN_ONE_TRANSACTION),
)
POINTS = (*STARTING, *RUNNING, *ENDING, *RECOVERING)


def found(target: str) -> tuple[Any, str, Any]:
    """What holds the function, its name there, and the function as it is kept. Raises AttributeError."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    if name not in vars(owner):
        raise AttributeError(f"{target}: there is no such function any more")
    return owner, name, vars(owner)[name]


def install(death: Death, mark: Path) -> None:
    """Make this process die there. `mark` then holds the name of the point, so that others know it was that."""
    counting, calls = threading.Lock(), 0

    def strike() -> None:
        file = os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(file, f"{death.name}, {death.when}".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def is_it() -> bool:
        nonlocal calls
        with counting:
            calls += 1
            return calls >= death.nth if death.when == "commit" else calls == death.nth

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def instead(*args: Any, **kwargs: Any) -> Any:
            if not is_it():
                return real(*args, **kwargs)
            if death.when == "before":
                strike()
            if death.when in ("middle", "commit"):
                sys.setprofile(_stepper(death, strike))
            try:
                return real(*args, **kwargs)
            finally:
                sys.setprofile(None)
                if death.when != "commit":
                    strike()

        return instead

    for target in death.targets:
        owner, name, real = found(target)
        static = isinstance(real, staticmethod)
        patched: Any = deadly(real.__func__ if static else real)
        setattr(owner, name, staticmethod(patched) if static else patched)
        if not isinstance(owner, type):
            _everywhere(real, patched)


def _stepper(death: Death, strike: Callable[[], None]) -> Callable[[FrameType, str, Any], None]:
    left = death.step

    def watch(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if death.when == "commit":
            if event == "c_call" and called.__name__ == "commit":
                strike()
        elif event in ("call", "c_call"):
            left -= 1
            if left <= 0:
                strike()

    return watch


def _everywhere(real: Any, patched: Any) -> None:
    """Also in the modules that imported the function by its name."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "runner":
            for here, value in list(vars(module).items()):
                if value is real:
                    setattr(module, here, patched)


def missing() -> list[str]:
    """The targets that name no function: a kill point that never strikes proves nothing."""
    lost = []
    for target in [target for point in POINTS for target in point.targets]:
        try:
            found(target)
        except (AttributeError, ImportError):
            lost.append(target)
    return lost
