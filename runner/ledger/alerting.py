"""Alerts as records: what was told, once each, and how far each has come on every channel.

A sending is claimed before it is sent, so that two processes do not send the same. Whoever dies in between leaves the
claim behind, and after its lease it is sent again: at least once is the promise, not exactly once.
Every public function takes `at` (aware, UTC).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select, text

from runner.ledger import clocks, records
from runner.ledger.chain import Writing
from runner.ledger.database import Database, moment
from runner.ledger.occasions import Lookout, Occasion, known_keys, untold
from runner.ledger.office import Office
from runner.ledger.tables import ALERT_SENDINGS, ALERTS, ENTRIES, EVERYWHERE

SendingState = Literal["waiting", "sent", "given-up"]

# How long a claim lasts: several times the longest that one sending takes.
LEASE = timedelta(minutes=5)

# How long it waits after each failure; after the last it is given up, and `omixa alert retry` begins anew.
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 360, 720, 1440))

# What stands beside a sending that is claimed, and stays there when the process dies.
IN_FLIGHT = "being sent, or the process that sent it died"

_ALERTS = (
    select(ALERTS, ENTRIES.c.who)
    .join(ENTRIES, ENTRIES.c.id == ALERTS.c.entry_id)
    .order_by(ALERTS.c.entry_id.desc())
    .limit(bindparam("newest"))
)
_ALERT = (
    select(ALERTS, ENTRIES.c.who)
    .join(ENTRIES, ENTRIES.c.id == ALERTS.c.entry_id)
    .where(ALERTS.c.key == bindparam("alert"))
)
_NEWEST_OF = (
    select(ALERTS, ENTRIES.c.who)
    .join(ENTRIES, ENTRIES.c.id == ALERTS.c.entry_id)
    .where(ALERTS.c.key > bindparam("prefix"), ALERTS.c.key < bindparam("end"))
    .order_by(ALERTS.c.entry_id.desc())
    .limit(1)
)
_SENDINGS = (
    select(ALERT_SENDINGS).where(ALERT_SENDINGS.c.alert == bindparam("alert")).order_by(ALERT_SENDINGS.c.channel)
)
_SENDING = select(ALERT_SENDINGS).where(
    ALERT_SENDINGS.c.alert == bindparam("alert"), ALERT_SENDINGS.c.channel == bindparam("channel")
)
# A moment far ahead was written by a clock that was wrong. As text with the state in it, for the index over waiting.
_DUE = text(
    "SELECT * FROM alert_sendings WHERE state = 'waiting' AND (next_at <= :at OR next_at > :far) "
    "ORDER BY next_at, alert, channel"
)
_LEFT = text("SELECT * FROM alert_sendings WHERE state <> 'sent' ORDER BY alert, channel")
_COUNT = text("SELECT count(*) FROM alerts")


@dataclass(frozen=True, slots=True)
class Alert:
    """What was told, to whoever listens, and by which process. `workspace` None: about no single one."""

    key: str
    kind: str
    workspace: str | None
    message: str
    hint: str | None
    at: datetime
    who: str


@dataclass(frozen=True, slots=True)
class Sending:
    """How far an alert has come on a channel. `next_at`: when it is tried (again); `error`: why it did not arrive."""

    alert: str
    channel: str
    state: SendingState
    tries: int
    next_at: datetime | None
    error: str | None
    at: datetime


class Alerting(Office):
    """What is written about alerts. Safe to share between threads; any number of processes may write."""

    def __init__(self, database: Database, *, uptime: Callable[[], clocks.Uptime | None] = clocks.uptime) -> None:
        super().__init__(database, uptime)

    def notice(
        self,
        lookout: Lookout,
        told: Sequence[Occasion],
        channels_of: Callable[[Occasion], Sequence[str]],
        *,
        who: str,
        at: datetime,
    ) -> list[Alert]:
        """Record what there is to tell and was not told, each once whoever looks, with a sending for each channel.

        Returns the alerts that this call recorded, without the quiet ones. Writes nothing when nothing is new.
        """
        with self.database.read() as connection:
            if not untold(connection, lookout, told):
                return []
        with self._write(at) as writing:
            # Looked for again: only now can no other process record the same.
            found = untold(writing.connection, lookout, told)
            made = [(one, _put_alert(writing, one, channels_of(one), who, at)) for one in found]
            return [alert for one, alert in made if not one.quiet]

    def record(self, one: Occasion, channels: Sequence[str], *, who: str, at: datetime) -> Alert:
        """Record one alert, with a sending for each of these channels. Its key must be new."""
        with self._write(at) as writing:
            return _put_alert(writing, one, channels, who, at)

    def record_once(self, one: Occasion, channels: Sequence[str], *, who: str, at: datetime) -> Alert | None:
        """Record one alert, unless there is one of its key already: then None, and nothing is written."""
        with self._write(at) as writing:
            if known_keys(writing.connection, [one.key]):
                return None
            return _put_alert(writing, one, channels, who, at)

    def claim(self, found: Sending, *, until: datetime, who: str, at: datetime) -> Sending | None:
        """Become the one who sends, up to a moment; None when another process was faster."""
        with self._write(at) as writing:
            if _sending(writing.connection, found) != found:
                return None
            mine = replace(found, tries=found.tries + 1, next_at=until, error=IN_FLIGHT)
            return _put_sending(writing, mine, who)

    def arrived(self, mine: Sending, *, who: str, at: datetime) -> Sending:
        """Record that a claimed sending was delivered, whoever has claimed it meanwhile."""
        with self._write(at) as writing:
            now = _sending(writing.connection, mine)
            if now.state == "sent":
                return now
            return _put_sending(writing, replace(now, state="sent", next_at=None, error=None), who)

    def failed(self, mine: Sending, error: str, *, next_at: datetime | None, who: str, at: datetime) -> Sending:
        """Record why a sending did not arrive, and when it is tried again; None: not any more.

        Nothing is changed when another process has claimed or delivered it since.
        """
        with self._write(at) as writing:
            now = _sending(writing.connection, mine)
            if now != mine:
                return now
            state: SendingState = "given-up" if next_at is None else "waiting"
            return _put_sending(writing, replace(mine, state=state, next_at=next_at, error=error), who)

    def retry(self, *, who: str, at: datetime) -> int:
        """Let everything that waits or was given up be tried now, from the beginning; how many.

        What is being sent at this moment is left to who sends it.
        """
        with self._write(at) as writing:
            left = [_sending_of(row) for row in writing.connection.execute(_LEFT)]
            again = [one for one in left if one.error != IN_FLIGHT or one.next_at is None or one.next_at <= at]
            for one in again:
                _put_sending(writing, replace(one, state="waiting", tries=0, next_at=at), who)
            return len(again)


# ---- reading


def alerts(database: Database, *, newest: int = 50) -> list[tuple[Alert, list[Sending]]]:
    """The newest alerts with what became of them on each channel, the newest last."""
    with database.read() as connection:
        rows = connection.execute(_ALERTS, {"newest": newest}).all()
        return [(_alert_of(row), _sendings(connection, row.key)) for row in rows[::-1]]


def count(database: Database) -> int:
    """How many alerts there ever were."""
    with database.read() as connection:
        return int(connection.execute(_COUNT).scalar_one())


def due(database: Database, at: datetime) -> list[Sending]:
    """The sendings that are to be tried at a moment, the longest waiting first."""
    far = moment(at + max(WAITS) + LEASE)
    with database.read() as connection:
        return [_sending_of(row) for row in connection.execute(_DUE, {"at": moment(at), "far": far})]


def alert(database: Database, key: str) -> Alert:
    """The alert of a key that is there."""
    with database.read() as connection:
        return _alert_of(connection.execute(_ALERT, {"alert": key}).one())


def known(database: Database, keys: Sequence[str]) -> set[str]:
    """Those of the keys that an alert was recorded of."""
    with database.read() as connection:
        return known_keys(connection, keys)


def newest_of(database: Database, prefix: str) -> tuple[Alert, list[Sending]] | None:
    """The newest alert whose key begins so, with what became of it on each channel; None: there is none."""
    with database.read() as connection:
        row = connection.execute(_NEWEST_OF, {"prefix": prefix, "end": f"{prefix}~"}).one_or_none()
        return None if row is None else (_alert_of(row), _sendings(connection, row.key))


# ---- rows


def _put_alert(writing: Writing, one: Occasion, channels: Sequence[str], who: str, at: datetime) -> Alert:
    row = {
        "key": one.key,
        "kind": one.kind,
        "workspace": one.workspace,
        "message": one.message,
        "hint": one.hint,
        "at": moment(writing.now),
    }
    records.put(writing, ALERTS, row, chain=one.workspace or EVERYWHERE, kind="alert", who=who)
    if not one.quiet:
        for channel in channels:
            _put_sending(writing, Sending(one.key, channel, "waiting", 0, at, None, writing.now), who)
    return Alert(one.key, one.kind, one.workspace, one.message, one.hint, writing.now, who)


def _put_sending(writing: Writing, one: Sending, who: str) -> Sending:
    one = replace(one, at=writing.now)
    row = {
        "alert": one.alert,
        "channel": one.channel,
        "state": one.state,
        "tries": one.tries,
        "next_at": None if one.next_at is None else moment(one.next_at),
        "error": one.error,
        "at": moment(one.at),
    }
    about = writing.connection.execute(_ALERT, {"alert": one.alert}).one()
    records.put(writing, ALERT_SENDINGS, row, chain=about.workspace or EVERYWHERE, kind="alert-sending", who=who)
    return one


def _sending(connection: Connection, like: Sending) -> Sending:
    return _sending_of(connection.execute(_SENDING, {"alert": like.alert, "channel": like.channel}).one())


def _sendings(connection: Connection, key: str) -> list[Sending]:
    return [_sending_of(row) for row in connection.execute(_SENDINGS, {"alert": key})]


def _sending_of(row: Any) -> Sending:
    next_at = None if row.next_at is None else _moment(row.next_at)
    return Sending(row.alert, row.channel, row.state, row.tries, next_at, row.error, _moment(row.at))


def _alert_of(row: Any) -> Alert:
    return Alert(row.key, row.kind, row.workspace, row.message, row.hint, _moment(row.at), row.who)


def _moment(told: str) -> datetime:
    return datetime.fromisoformat(told).astimezone(UTC)
