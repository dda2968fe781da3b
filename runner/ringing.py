"""What a scheduler tells without being asked: its alerts, with what only it knows: broken recipes, and the forecast."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from runner import alerts, jobs, witness
from runner.errors import OmixaError
from runner.forecast import Projection
from runner.ledger.alerting import Alert, Sending
from runner.ledger.database import Database
from runner.ledger.occasions import Occasion, window_key
from runner.ledger.values import Cap
from runner.mailing import Postman
from runner.outlook import Outlook, outlook
from runner.settings import Settings
from runner.watch import Watch
from runner.windows import local_text

# A forecast plans every recipe, which reads its folders: not at each look.
FORECAST_EVERY_S = 900
# What the newest checkpoint saw is made anew from the hashes of the whole chain.
CHECKPOINTS_EVERY_S = 3600


@dataclass(slots=True)
class Ringer:
    """Finds what there is to tell, and tells it."""

    watch: Watch
    database: Database
    _made: float | None = None
    _foreseen: Sequence[Occasion] = ()
    _compared: float | None = None
    _postman: Postman = field(default_factory=Postman)

    def ring(self, at: datetime) -> tuple[list[Alert], list[Sending]]:
        """Record what is new, and send what waits; the new alerts, and how each sending ended. Raises OmixaError."""
        settings = self.watch.settings
        if settings is None:
            return [], []
        recipes = [recipe for workspace in settings.workspaces for recipe in self.watch.recipes_of(workspace)]
        told = [*self._broken(), *self._predicted(at), *self._contradicted(settings)]
        found = alerts.evaluate(settings, recipes, self.database, at=at, told=told)
        found += self._postman.post(settings, self.database, at=at)
        return found, alerts.deliver(settings, self.database, at=at)

    def _broken(self) -> list[Occasion]:
        return [
            alerts.recipe_invalid(one.name, one.account or None, one.problem_digest)
            for one in list(self.watch.watched.values())
            if one.problem is not None
        ]

    def _contradicted(self, settings: Settings) -> Sequence[Occasion]:
        """Looked for at the start, and from time to time."""
        if self._compared is not None and time.monotonic() - self._compared < CHECKPOINTS_EVERY_S:
            return ()
        self._compared = time.monotonic()
        return contradicted(self.database, settings)

    def _predicted(self, at: datetime) -> Sequence[Occasion]:
        """The budgets that will not last this month, as far as the forecast can tell."""
        settings = self.watch.settings
        assert settings is not None
        if not settings.alerts.forecast:
            return ()
        if self._made is None or time.monotonic() - self._made >= FORECAST_EVERY_S:
            self._made = time.monotonic()
            recipes = [recipe for workspace in settings.workspaces for recipe in self.watch.recipes_of(workspace)]
            try:
                found = outlook(settings, recipes, self.database, jobs.results(settings), at=at)
            except OmixaError:
                return self._foreseen  # `omixa forecast` tells why there is none
            self._foreseen = [told for one in found for told in foreseen(one)]
        return self._foreseen


def contradicted(database: Database, settings: Settings) -> list[Occasion]:
    """An occasion for each chain of the ledger that is not what its newest checkpoint says. Raises OmixaError."""
    return [alerts.checkpoint_mismatch(chain) for chain in witness.broken_chains(database, settings)]


def foreseen(one: Outlook) -> Iterator[Occasion]:
    """An occasion for each window of the calendar that will refuse a slot."""
    for window in one.forecast.windows:
        if window.refuses is None or window.label is None or window.period == "run":
            continue
        yield alerts.predicted(one.workspace, window.budget, _key(one, window), _message(one, window))


def _key(one: Outlook, window: Projection) -> str:
    assert window.label is not None
    cap = Cap("workspace" if window.recipe is None else "recipe", window.recipe or "", window.period, 0)
    return window_key(one.workspace, cap, window.label)


def _message(one: Outlook, window: Projection) -> str:
    assert window.refuses is not None
    slot = window.refuses
    most = "" if window.most_by is None else f"; most of it is recipe {window.most_by[0]}"
    return f"it refuses recipe {slot.recipe} at {local_text(slot.at, one.zone)}{most}"
