"""What a format gets beside the attempts: who reports, when, and what is meant by workspaces and days."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.ledger.closed import Closing


@dataclass(frozen=True, slots=True)
class Book:
    """The frame of a report of single attempts. `zones`: each workspace's time zone by its name in the ledger; a window
    that is closed keeps the one that it was closed with.

    `title` says what the report is about, in words. `made_at` is aware, in whole seconds of UTC.
    """

    title: str
    program: str
    made_at: datetime
    zones: Mapping[str, str]
    closings: "Sequence[Closing]" = ()

    def zone(self, workspace: str, day: str) -> str:
        """A workspace's time zone on a day; UTC for one that omixa.toml no longer has."""
        for one in self.closings:
            if one.workspace == workspace and one.first_day <= day <= one.last_day:
                return one.zone
        return self.zones.get(workspace, "UTC")


def made_at(now: datetime) -> datetime:
    """When a report says it was made: `SOURCE_DATE_EPOCH` where that is set, so that its bytes are the same again.

    https://reproducible-builds.org/specs/source-date-epoch/. Raises UsageError for what is no such number.
    """
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told is None:
        return now.astimezone(UTC).replace(microsecond=0)
    try:
        if told.isascii() and told.isdigit():
            return datetime.fromtimestamp(int(told), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise UsageError(
        f"the environment variable SOURCE_DATE_EPOCH is `{told}`, which is no number of seconds since 1970",
        "unset it, or give it such as 1796083200",
    )
