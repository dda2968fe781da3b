"""A real project in an empty folder, the real program as a process, and a real endpoint on loopback that counts."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from runner import sandbox
from runner.ledger import usage
from runner.ledger.database import open_database, sqlite_module
from runner.ledger.usage import UsageRow
from tests.ledger.conftest import SEEN

KEY = "omx_live_test-key-0123456789"

SETTINGS = """
[endpoints.local]
url = "{url}"
timeout_s = {timeout_s}

[workspaces.studio]
endpoint = "local"
api_key = {{ env = "STUDIO_KEY" }}
currency = "USD"
time_zone = "Europe/Berlin"
concurrency = {concurrency}
budget = {{ month = "{month}" }}
ceilings = {{ "stability-upscale-creative" = "{ceiling}" }}
"""

RECIPE = """
workspace = "studio"
model = "stability-upscale-creative"
[[sources]]
folder = "{folder}"
prompt = "restore"
[prompts.restore]
text = "{text}"
[output]
folder = "{output}"
{more}
"""


class Studio:
    """A project that buys at a counting endpoint."""

    def __init__(
        self,
        root: Path,
        *,
        faults: tuple[str, ...] = (),
        price: int = 39_000,
        latency_ms: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.root = root
        self.log = root / "endpoint.jsonl"
        self.endpoint = sandbox.start(
            sandbox.SandboxOptions(
                faults=tuple(sandbox.parse_fault(text) for text in faults),
                price_micros=price,
                latency_ms=latency_ms,
                key=KEY,
                answer_bytes=20_000,
                now=now,
            )
        )
        self.settings()

    def settings(
        self,
        *,
        month: str = "50.00",
        ceiling: str = "0.70",
        concurrency: int = 4,
        url: str | None = None,
        timeout_s: int = 60,
    ) -> None:
        text = SETTINGS.format(
            url=url or self.endpoint.url, month=month, ceiling=ceiling, concurrency=concurrency, timeout_s=timeout_s
        )
        (self.root / "omixa.toml").write_text(text)

    def recipe(
        self,
        name: str = "posters",
        *,
        folder: str = "pictures",
        output: str = "out",
        text: str = "Restore it.",
        more: str = "",
    ) -> None:
        (self.root / "recipes").mkdir(exist_ok=True)
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        recipe = RECIPE.format(folder=folder, output=output, text=text, more=more)
        (self.root / "recipes" / f"{name}.toml").write_text(recipe)

    def picture(self, name: str, seed: int | None = None, size: int = 64) -> Path:
        """A small picture; equal seeds give equal bytes."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dice = random.Random(name if seed is None else seed)
        Image.frombytes("RGB", (size, size), dice.randbytes(size * size * 3)).save(path, compress_level=1)
        return path

    def pictures(self, count: int, folder: str = "pictures") -> None:
        for n in range(count):
            self.picture(f"{folder}/{n:03}.png")

    def start(self, *words: str, key: str | None = KEY, **more: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name != "STUDIO_KEY"} | more
        if key is not None:
            environment["STUDIO_KEY"] = key
        return subprocess.Popen(
            [sys.executable, "-m", "runner", "--project", str(self.root), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def omixa(self, *words: str, key: str | None = KEY, **more: str) -> "Ended":
        process = self.start(*words, key=key, **more)
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    def run(self, *words: str) -> "Ended":
        return self.omixa("run", "posters", "--yes", *words)

    def know_price(self) -> None:
        """As after a bill, so that the first request does not go alone. The bill was zero: it raises no ceiling."""
        path = self.root / ".omixa" / "ledger.db"
        with open_database(path, create=True) as database, database.write_transaction() as connection:
            connection.execute(SEEN, {"workspace": "studio", "model": "stability-upscale-creative"})

    def rows(self) -> list[UsageRow]:
        database = open_database(self.root / ".omixa" / "ledger.db", create=False)
        try:
            return list(usage.rows(database))
        finally:
            database.close()

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self.rows():
            found[row.state] = found.get(row.state, 0) + 1
        return found

    @property
    def settled(self) -> int:
        return sum(row.billed_micros or 0 for row in self.rows())

    @property
    def open(self) -> int:
        return sum(row.open_micros for row in self.rows())

    def outputs(self, folder: str = "out") -> list[str]:
        root = self.root / folder
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def balances(self) -> None:
        """Assert that every balance is the sum of its attempts, and the entries agree."""
        # The ledger's own SQLite: another one in this process would let go of locks that a test still holds.
        with sqlite_module().connect(f"file:{self.root / '.omixa' / 'ledger.db'}?mode=ro", uri=True) as connection:
            wrong = connection.execute(
                """
                SELECT w.id FROM budget_windows w LEFT JOIN attempt_windows j ON j.window_id = w.id
                LEFT JOIN attempts a ON a.id = j.attempt_id GROUP BY w.id
                HAVING w.open_micros <> coalesce(sum(
                    CASE WHEN a.state IN ('reserved', 'sent', 'unknown') THEN a.reserved_micros ELSE 0 END), 0)
                OR w.settled_micros <> coalesce(sum(a.billed_micros), 0)
                """
            ).fetchall()
            assert wrong == []
            sums = connection.execute("SELECT sum(open_micros), sum(settled_micros) FROM entries").fetchone()
            assert (sums[0] or 0, sums[1] or 0) == (self.open, self.settled)


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in err, err
        assert KEY not in out + err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def wait_until(true: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    """Look again until something is so; fails after a minute, or when the process has ended."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        # Gives the processor to the others; no test depends on how long it takes.
        os.sched_yield()


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture
def open_studio(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    opened: list[Studio] = []

    def make(**options: object) -> Studio:
        studio = Studio(tmp_path, **options)
        opened.append(studio)
        return studio

    yield make
    for studio in opened:
        studio.endpoint.stop()


@pytest.fixture
def studio(open_studio: Callable[..., Studio]) -> Studio:
    found = open_studio()
    found.recipe()
    return found
