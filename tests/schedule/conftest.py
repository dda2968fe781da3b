"""A scheduler over a real project, ledger and endpoint; only the calendar is the test's own."""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.jobs import claim_home
from runner.ledger import agenda
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database, open_database
from runner.schedule import Scheduler
from runner.settings import ledger_path, load
from tests.run.conftest import KEY, Studio
from tests.run.conftest import open_studio as open_studio
from tests.run.conftest import studio as studio

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
HOURLY = '[schedule]\ncron = "0 * * * *"\ntime_zone = "UTC"\n'


class Office:
    """A project whose schedules a test looks after by hand: `step` does what is due, and waits until it is done."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.at = START
        self.studio = Studio(root, now=lambda: self.at.timestamp(), **options)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.uptime: Callable[[], Uptime | None] = lambda: None
        self.consent = True
        self._database: Database | None = None
        self._scheduler: Scheduler | None = None

    @property
    def scheduler(self) -> Scheduler:
        if self._scheduler is None:
            settings, problems = load(self.studio.root)
            assert settings is not None, problems
            self._database = open_database(ledger_path(settings), create=True)
            claim_home(settings)
            self._scheduler = Scheduler(
                self.studio.root,
                settings,
                self._database,
                log=lambda action, **facts: self.told.append((action, facts)),
                now=lambda: self.at,
                uptime=lambda: self.uptime(),
                consent=self.consent,
            )
        return self._scheduler

    @property
    def database(self) -> Database:
        assert self._database is not None
        return self._database

    def step(self, *, wait: bool = True, **units: float) -> datetime:
        """Move the clock, and let the scheduler do what is due then."""
        self.at += timedelta(**units)
        due = self.scheduler.step()
        if wait:
            assert self.scheduler.settled(60)
        return due

    def end(self) -> None:
        """As a process that is gone: its lock is free, and nothing else is put in order."""
        if self._scheduler is not None:
            os.close(self._scheduler._owner._file)
        if self._database is not None:
            self._database.close()
        self._scheduler = self._database = None

    def slots(self, recipe: str | None = None) -> list[tuple[str, str, str | None]]:
        """Due moment (UTC, day and time), state and reason of every slot."""
        found = agenda.slots(self.database, recipe=recipe, newest=10_000)
        return [(f"{slot.due_at:%d %H:%M}", slot.state, slot.reason) for slot in found]

    def states(self, recipe: str | None = None) -> list[str]:
        return [state for _, state, _ in self.slots(recipe)]

    def running(self) -> None:
        """Wait until a slot runs."""
        pause = threading.Event()
        assert any("running" in self.states() or pause.wait(0.01) for _ in range(3000))

    def actions(self) -> list[str]:
        return [action for action, _ in self.told]


@pytest.fixture
def open_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Office]]:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    opened: list[Office] = []

    def make(**options: Any) -> Office:
        opened.append(Office(tmp_path, **options))
        return opened[-1]

    yield make
    for office in opened:
        office.end()
        office.studio.endpoint.stop()


@pytest.fixture
def office(open_office: Callable[..., Office]) -> Office:
    found = open_office()
    found.studio.recipe(more=HOURLY)
    return found
