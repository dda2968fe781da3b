"""A small project for the proofs: pictures, a recipe, a ledger; and its verdict against the endpoint's truth."""

import hashlib
import random
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from PIL import Image

from runner.errors import ExitCode
from runner.ledger import balance_check
from runner.ledger.database import open_database
from tests.proof.death import Death
from tests.proof.endpoint import Provider, Request
from tests.proof.forks import Ended, Forks

KEY = "omx_live_proof-key-0123456789"
MICRO = 1_000_000
MODEL = "stability-upscale-creative"

_SETTINGS = """
[endpoints.local]
url = "{url}"
timeout_s = {timeout_s}
{ledger}
[workspaces.studio]
endpoint = "local"
api_key = {{ env = "STUDIO_KEY" }}
currency = "USD"
time_zone = "Europe/Berlin"
concurrency = {concurrency}
budget = {{ month = "{month}" }}
ceilings = {{ "stability-upscale-creative" = "0.70" }}
"""

_RECIPE = """
workspace = "studio"
model = "stability-upscale-creative"
[[sources]]
folder = "pictures"
prompt = "restore"
[prompts.restore]
text = "Restore it."
[output]
folder = "out"
"""


# How a process may end that nobody killed: here no file is wrong, no disk full and no ledger damaged.
_ENDS = (ExitCode.OK, ExitCode.FAILED, ExitCode.BUDGET, ExitCode.PROVIDER, ExitCode.UNKNOWN)

_ENDED = (
    "SELECT r.uid, a.id FROM attempts a JOIN runs r ON r.id = a.run_id "
    "WHERE a.state NOT IN ('reserved', 'sent') AND r.ended_at IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as the ledger has it: what it was for, its state and its money in micro-units."""

    id: int
    item: str
    output: str
    state: str
    sent: bool
    reserved_micros: int
    billed_micros: int | None
    result: str | None

    @property
    def held_micros(self) -> int:
        """What of the cap it uses up: its bill, or its reservation as long as it is open."""
        if self.state == "released":
            return 0
        return self.reserved_micros if self.billed_micros is None else self.billed_micros


class Project:
    """A project in a folder of its own, and every process that worked on it."""

    def __init__(self, root: Path, *, pictures: int = 1, size: int = 64, ledger: Path | None = None) -> None:
        """`size` is the side of the pictures in pixels; `ledger`: outside, in a folder of its own."""
        self.root = root
        self.ledger = ledger or root / ".omixa" / "ledger.db"
        self._outside = ledger is not None
        self.ended: list[Ended] = []
        self._started = 0
        self._restless: list[str] = []
        (root / "pictures").mkdir(parents=True)
        (root / "recipes").mkdir()
        (root / "logs").mkdir()
        (root / "recipes" / "posters.toml").write_text(_RECIPE)
        self.items: set[str] = set()
        self._size = size
        self.more(pictures)

    def settings(self, url: str, *, timeout_s: int = 60, concurrency: int = 1, month: str = "100.00") -> None:
        """Write omixa.toml."""
        place = f'\n[ledger]\nurl = "sqlite:///{self.ledger}"\n' if self._outside else ""
        text = _SETTINGS.format(url=url, timeout_s=timeout_s, ledger=place, concurrency=concurrency, month=month)
        (self.root / "omixa.toml").write_text(text)

    def more(self, count: int) -> None:
        """Add so many pictures, each with bytes of its own."""
        size = self._size
        for number in range(len(self.items), len(self.items) + count):
            path = self.root / "pictures" / f"{number:03}.png"
            dice = random.Random(f"{size} {number}")
            Image.frombytes("RGB", (size, size), dice.randbytes(size * size * 3)).save(path, compress_level=1)
            self.items.add(_digest(path))

    def start(self, forks: Forks, *more: str, death: Death | None = None) -> int:
        """Begin `omixa run`; the pid, for `wait`."""
        self._started += 1
        return forks.start(
            ["run", "posters", "--yes", *more],
            cwd=self.root,
            log=self.root / "logs" / f"{self._started}",
            env={"STUDIO_KEY": KEY},
            death=death,
        )

    def wait(self, forks: Forks, pid: int, *, kill_after_ms: int | None = None) -> Ended:
        """How it ended."""
        self.ended.append(forks.wait(pid, kill_after_ms=kill_after_ms))
        return self.ended[-1]

    def run(self, forks: Forks, *more: str, death: Death | None = None, kill_after_ms: int | None = None) -> Ended:
        """`omixa run`, up to its end or death."""
        return self.wait(forks, self.start(forks, *more, death=death), kill_after_ms=kill_after_ms)

    def finish(self, forks: Forks, provider: Provider, cell: str, *, runs_max: int = 8) -> list[Request]:
        """Run until a run changes nothing any more and sends nothing; the endpoint's truth then.

        When that does not come, the verdict says so.
        """
        before: object = None
        for _ in range(runs_max + 1):
            truth = provider.truth(cell)
            now = (len(truth), [attempt.state for attempt in self.attempts()])
            if now == before:
                return truth
            before = now
            self.run(forks)
        self._restless = [f"restless: it still changes in its {runs_max}th run: {before}"]
        return provider.truth(cell)

    def attempts(self) -> list[Attempt]:
        """Every attempt in the ledger, in order; none without a ledger."""
        if not self._has_tables():
            return []
        query = (
            "SELECT id, source_digest, output_path, state, sent_at IS NOT NULL, reserved_micros, billed_micros, "
            "result_digest FROM attempts ORDER BY id"
        )
        return [Attempt(*row[:4], bool(row[4]), *row[5:]) for row in self._rows(query)]

    def _has_tables(self) -> bool:
        if not self.ledger.exists():
            return False
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'attempts'"))

    def _rows(self, query: str) -> list[tuple[object, ...]]:
        # Writable, because a reader of a WAL that a dead process left may have to recover it.
        with closing(sqlite3.connect(self.ledger)) as connection:
            return connection.execute(query).fetchall()

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._outside:
            shutil.rmtree(self.ledger.parent, ignore_errors=True)

    # ---- the verdict

    def verdict(self, truth: Sequence[Request], *, month: str = "100.00") -> list[str]:
        """Everything in which the project does not keep its promises, when all has ended; empty is right.

        Only the endpoint's truth, the disk and the ledger are looked at, never what the program said of itself.
        """
        if not self._has_tables():
            return ["there is no ledger"]
        attempts = self.attempts()
        return [
            *self._restless,
            *self._unequal(truth, attempts),
            *_doubled(truth, attempts),
            *self._undelivered(truth, attempts),
            *self._unbalanced(attempts, truth, int(Decimal(month) * MICRO)),
            *self._left(),
            *self._said(),
        ]

    def _unequal(self, truth: Sequence[Request], attempts: Sequence[Attempt]) -> Iterator[str]:
        """Lost: what came to the endpoint and is not in the ledger, or was billed beyond settled + open."""
        for item in {request.item for request in truth if request.complete} - self.items:
            yield f"lost: a picture {item} arrived that is none of the project's"
        sent = [attempt for attempt in attempts if attempt.sent]
        if len(truth) > len(sent):
            yield f"lost: {len(truth)} requests came, {len(sent)} attempts were sent"
        for item in self.items:
            came = [request for request in truth if request.item == item]
            mine = [attempt for attempt in attempts if attempt.item == item]
            if len(came) > sum(attempt.sent for attempt in mine):
                yield f"lost: {len(came)} requests for {item} came, the ledger has sent fewer"
            billed, held = billed_micros(came), sum(attempt.held_micros for attempt in mine)
            if billed > held and not unheard_breach(came, mine):
                yield f"lost: {item} was billed {billed} micros, the ledger has {held} settled and open"

    def _undelivered(self, truth: Sequence[Request], attempts: Sequence[Attempt]) -> Iterator[str]:
        """Lost: a picture that was paid for and is not at its place, byte for byte as the endpoint gave it."""
        for attempt in attempts:
            if attempt.state != "settled" or attempt.result is None:
                continue
            place = self.root / attempt.output
            if not place.is_file() or _digest(place) != attempt.result:
                yield f"lost: the picture of attempt {attempt.id} is not at `{attempt.output}`"
            if not any(request.answered == attempt.result and request.item == attempt.item for request in truth):
                yield f"lost: attempt {attempt.id} has a picture that the endpoint did not give for it"

    def _unbalanced(self, attempts: Sequence[Attempt], truth: Sequence[Request], cap: int) -> Iterator[str]:
        with open_database(self.ledger, create=False) as database:
            yield from (f"ledger: {text}" for text in balance_check.damage(database))
            yield from (f"balance: {text}" for text in balance_check.check_balances(database))
        for attempt in attempts:
            if attempt.state in ("reserved", "sent"):
                yield f"unfinished: attempt {attempt.id} is {attempt.state}"
        yield from (f"unfinished: run {uid}" for (uid,) in self._rows("SELECT uid FROM runs WHERE ended_at IS NULL"))
        breach = any((attempt.billed_micros or 0) > attempt.reserved_micros for attempt in attempts)
        if billed_micros(truth) > cap and not breach:
            yield f"cap: {billed_micros(truth)} micros were billed, the cap is {cap}"

    def _left(self) -> Iterator[str]:
        """Owner locks, work folders, booked answers and half-written files that nobody needs any more."""
        home = self.ledger.parent
        yield from (f"left: owner's lock {path.name}" for path in sorted((home / "owners").glob("*")))
        yield from (f"left: work folder {path.name}" for path in sorted((home / "work").glob("*")))
        ended = {f"{uid}-{id_}" for uid, id_ in self._rows(_ENDED)}
        for path in sorted((home / "spool").glob("*")):
            if path.name.partition(".")[0] in ended:
                yield f"left: an answer that is booked, {path.name}"
        for folder in (self.root, home):
            yield from (f"left: half-written {path.name}" for path in sorted(folder.rglob("*.part")))

    def _said(self) -> Iterator[str]:
        for number, ended in enumerate(self.ended, 1):
            if ended.hung:
                yield f"process {number} hung"
            if ended.killed is None and ended.code not in _ENDS:
                yield f"process {number} ended with {ended.code}: {ended.err[-500:]}"
            if "Traceback" in ended.err or KEY in ended.out + ended.err:
                yield f"process {number} shows a traceback or the key: {ended.err[-2000:]}"


def _doubled(truth: Sequence[Request], attempts: Sequence[Attempt]) -> Iterator[str]:
    """What was asked for again although the time before was billed, or may have been."""
    for item in {request.item for request in truth if request.complete}:
        came = [request for request in truth if request.item == item]
        for before in came[:-1]:
            if before.billed is not None and Decimal(before.billed) > 0:
                yield f"doubled: {item} was billed {before.billed} and asked for again"
    for item in {attempt.item for attempt in attempts}:
        states = [attempt.state for attempt in attempts if attempt.item == item]
        if any(state != "released" for state in states[:-1]):
            yield f"doubled: the attempts at {item} are {', '.join(states)}"


def unheard_breach(truth: Sequence[Request], attempts: Sequence[Attempt]) -> bool:
    """Whether a bill above the reservation was made in an answer that never came: the limit that no ledger can hold."""
    unknown = [attempt.reserved_micros for attempt in attempts if attempt.state == "unknown"]
    return bool(unknown) and any(billed_micros([request]) > max(unknown) for request in truth)


def billed_micros(truth: Sequence[Request]) -> Decimal:
    """What the endpoint has billed, in micro-units, exactly."""
    return sum((Decimal(request.billed) * MICRO for request in truth if request.billed is not None), Decimal(0))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
