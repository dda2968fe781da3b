"""A project with a real ledger: attempts in all five states, two workspaces with their own currency and time zone."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner import cli
from runner.ledger import usage
from runner.ledger.database import open_database
from runner.ledger.ledger import Ledger
from runner.ledger.usage import UsageRow
from runner.ledger.values import Asked, Cap, Reserved, Result, RunFacts
from runner.plan import digest
from runner.providers.provider import Evidence

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CEILING = 700_000

SETTINGS = """
[endpoints.paid]
url = "https://endpoint.invalid/api/v1"

[workspaces.studio]
endpoint = "paid"
api_key = { env = "STUDIO_KEY" }
currency = "USD"
time_zone = "Europe/Berlin"
budget = { month = "5.00", total = "500.00" }
ceilings = { "stability-upscale-creative" = "0.70" }

[workspaces.lab]
endpoint = "paid"
api_key = { env = "LAB_KEY" }
currency = "EUR"
time_zone = "America/New_York"
budget = { total = "10.00" }
"""

POSTERS = RunFacts(
    uid="run-posters",
    workspace="studio",
    currency="USD",
    zone="Europe/Berlin",
    recipe="posters",
    recipe_path="recipes/posters.toml",
    recipe_digest="d" * 64,
    git_commit=COMMIT,
    git_dirty=False,
    cost_centre="4711",
    labels={"client": "acme"},
    who="ana@desk",
    program="omixa-runner test",
)
SCANS = replace(
    POSTERS,
    uid="run-scans",
    recipe="scans",
    recipe_path="recipes/scans.toml",
    git_dirty=True,
    cost_centre=None,
    labels={"client": "globex", "season": "autumn"},
)
LOGOS = replace(
    POSTERS,
    uid="run-logos",
    workspace="lab",
    currency="EUR",
    zone="America/New_York",
    recipe="logos",
    recipe_path="recipes/logos.toml",
    git_commit=None,
    git_dirty=None,
    labels={},
)

MONTH = Cap("workspace", "", "month", 5_000_000)
TOTAL = Cap("workspace", "", "total", 500_000_000)
LAB_TOTAL = Cap("workspace", "", "total", 10_000_000)


def asked(name: str, **changes: object) -> Asked:
    """A request for the picture `name`."""
    plain = Asked(
        model="stability-upscale-creative",
        item_key=f"key of {name}",
        source_path=f"pictures/{name}.png",
        source_digest=name,
        source_bytes=100,
        prompt_name="restore",
        prompt="Restore it.\nCarefully.",
        prompt_digest=digest("Restore it.\nCarefully."),
        negative="text, watermark",
        negative_digest=digest("text, watermark"),
        preset_name="photo",
        options='{"creativity": "0.3", "seed": "7"}',
        output_path=f"out/{name}.png",
    )
    return replace(plain, **changes)


class Books:
    """The project's folder, its ledger, and short words to fill it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "omixa.toml").write_text(SETTINGS)
        self.database = open_database(root / ".omixa" / "ledger.db", create=True)
        self.ledger = Ledger(self.database, uptime=lambda: None)
        self._runs: dict[str, int] = {}

    def sent(
        self,
        run: RunFacts,
        name: str,
        at: datetime,
        *,
        caps: tuple[Cap, ...] = (),
        sent: bool = True,
        again: bool = False,
        **changes: object,
    ) -> int:
        """An attempt that is sent, or with `sent=False` only reserved."""
        if run.uid not in self._runs:
            self._runs[run.uid] = self.ledger.begin_run(run, at=at)
        reserved = self.ledger.reserve(
            self._runs[run.uid], run, asked(name, **changes), amount_micros=CEILING, caps=caps, at=at, again=again
        )
        assert isinstance(reserved, Reserved), reserved
        if sent:
            self.ledger.sent(reserved.attempt_id, who=run.who, at=at)
        return reserved.attempt_id

    def settled(
        self, run: RunFacts, name: str, at: datetime, billed: int, *, caps: tuple[Cap, ...] = (), again: bool = False
    ) -> int:
        """An attempt that was billed, with a picture."""
        attempt_id = self.sent(run, name, at, caps=caps, again=again)
        self.ledger.settle(
            attempt_id,
            billed_micros=billed,
            billed_text=f"0.{billed:06d}",
            code="billed",
            message=None,
            evidence=Evidence(200, {"content-type": "application/json"}, "req-1", '{"created": 1}'),
            result=Result("r" * 64, 4096, 256, 128, None, delivered=True),
            who=run.who,
            at=at,
        )
        return attempt_id

    def released(self, run: RunFacts, name: str, at: datetime, *, message: str = "declined") -> int:
        """An attempt that was not billed."""
        attempt_id = self.sent(run, name, at)
        self.ledger.release(attempt_id, code="moderated", message=message, evidence=Evidence(403), who=run.who, at=at)
        return attempt_id

    def unknown(
        self,
        run: RunFacts,
        name: str,
        at: datetime,
        *,
        caps: tuple[Cap, ...] = (),
        message: str = "no answer came",
        evidence: Evidence | None = None,
        **changes: object,
    ) -> int:
        """An attempt whose answer never came."""
        attempt_id = self.sent(run, name, at, caps=caps, **changes)
        self.ledger.unknown(
            attempt_id, code="read-timeout", message=message, evidence=evidence, result=None, who=run.who, at=at
        )
        return attempt_id

    def fill(self) -> None:
        """Eight attempts: attempts 1 and 2 lie either side of midnight in Berlin, 7 was the day before in New York."""
        self.settled(POSTERS, "a", datetime(2026, 10, 31, 22, 59, 59, tzinfo=UTC), 39_000)
        self.settled(POSTERS, "b", datetime(2026, 10, 31, 23, 0, 0, tzinfo=UTC), 41_000)
        self.unknown(SCANS, "c", datetime(2026, 11, 2, 9, tzinfo=UTC))
        self.released(SCANS, "d", datetime(2026, 11, 2, 10, tzinfo=UTC))
        self.sent(POSTERS, "e", datetime(2026, 11, 8, 9, tzinfo=UTC), sent=False)
        self.sent(POSTERS, "f", datetime(2026, 11, 8, 10, tzinfo=UTC))
        self.settled(LOGOS, "g", datetime(2026, 11, 9, 3, tzinfo=UTC), 50_001)
        self.unknown(LOGOS, "h", datetime(2026, 11, 9, 12, tzinfo=UTC))

    def rows(self) -> list[UsageRow]:
        return list(usage.rows(self.database))

    def omixa(self, *words: str) -> int:
        """The command line, in this process; argparse ends it with SystemExit on wrong arguments."""
        return cli.main(["--project", str(self.root), *words])


@pytest.fixture
def empty_books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    with closing(made.database):
        yield made


@pytest.fixture
def books(empty_books: Books) -> Books:
    empty_books.fill()
    return empty_books


def parsed(text: str) -> dict[str, object]:
    """One JSON object and nothing else."""
    found = json.loads(text)
    assert isinstance(found, dict)
    return found
