"""What a run by hand tells without being asked: its alerts, once, when all is bought and told."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.ledger.alerting import Sending
    from runner.ledger.database import Database
    from runner.recipe import Recipe
    from runner.settings import Settings


def ring(settings: "Settings", recipes: "Sequence[Recipe]", database: "Database") -> None:
    """Record what the ledger has to tell and was never told, and send what waits; nothing without `[[alerts.to]]`.

    The budgets of `recipes` are looked at beside those of the workspaces. Raises nothing, and Ctrl-C only ends the
    sending: how the run went is known by now, and what was recorded and did not leave is sent by whoever looks next.
    """
    from contextlib import suppress

    from runner.errors import OmixaError

    if not settings.alerts.channels:
        return
    try:
        _ring(settings, recipes, database)
    except OmixaError as error:
        told = [f"warning: no alert could be sent: {error.message}"]
        told += [f"   = help: {error.hint}"] if error.hint else []
    except KeyboardInterrupt:
        told = ["\nalerts that were not sent yet wait: `omixa alert check` sends them"]
    else:
        return
    with suppress(OSError):
        print("\n".join(told), file=sys.stderr, flush=True)


def _ring(settings: "Settings", recipes: "Sequence[Recipe]", database: "Database") -> None:
    from runner import alerts
    from runner.terminal import clean
    from runner.windows import clock

    at = clock()
    for alert in alerts.evaluate(settings, recipes, database, at=at):
        _say(f"alert: {clean(alert.message)}")
    for one in alerts.deliver(settings, database, at=at):
        if one.state != "sent":
            _say(_not_sent(one))


def _not_sent(one: "Sending") -> str:
    from runner.terminal import clean

    again = "is not tried again by itself (`omixa alert retry`)"
    if one.next_at is not None:
        again = "is tried again by the next run, a scheduler, or `omixa alert check`"
    return f"warning: an alert was not sent to {one.channel}, and {again}: {clean(one.error or '')}"


def _say(text: str) -> None:
    from contextlib import suppress

    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
