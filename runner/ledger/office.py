"""What people do beside buying: stop, resume, grant, confirm the clock, and see that the ledger adds up.

Each is a record, with who, when and why, and an entry of the chain.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from sqlalchemy import text, update

from runner.errors import FrozenError, UsageError
from runner.ledger import balance_check, checked, clocks, levers, standing, totals
from runner.ledger.balances import rebuild
from runner.ledger.chain import Writing
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database, driver_of, moment
from runner.ledger.facts import PURGED
from runner.ledger.tables import EVERYWHERE, LEDGER_STATE
from runner.ledger.together import together
from runner.ledger.values import Lever
from runner.windows import Period

# The newest attempt below which every one is old and ended.
_PURGE_TO = text(
    "SELECT coalesce(min(id) - 1, (SELECT coalesce(max(id), 0) FROM attempts)) FROM attempts "
    "WHERE day >= :before OR state IN ('reserved', 'sent', 'unknown')"
)
_PURGE = text(
    "UPDATE attempts SET prompt_digest = :purged, message = NULL, headers = NULL, body_head = NULL, "
    "negative_digest = CASE WHEN negative_digest IS NULL THEN NULL ELSE :purged END "
    "WHERE id <= :up_to AND prompt_digest <> :purged"
)
_DROP_TEXTS = text(
    "DELETE FROM texts WHERE digest NOT IN (SELECT prompt_digest FROM attempts UNION "
    "SELECT negative_digest FROM attempts WHERE negative_digest IS NOT NULL)"
)

T = TypeVar("T")


class Office:
    """The part of the ledger that is about no attempt. Safe to share between threads, as `Database` is."""

    def __init__(self, database: Database, uptime: Callable[[], Uptime | None]) -> None:
        self.database = database
        self._uptime = uptime
        self._together = together(database)
        # Whether a chain has passed another thousand entries; whoever writes checkpoints sets it back.
        self.checkpoint_due = False

    @contextmanager
    def _write(self, at: datetime) -> Iterator[Writing]:
        """A write transaction at `at`, or at the ledger's latest moment when the clock has gone back.

        So the moments of entries only move forward.
        """
        with self._together.alone(at) as writing:
            yield writing
        # Only once it is committed.
        self.checkpoint_due |= writing.checkpoint_due

    def _book(self, at: datetime, change: Callable[[Writing], T]) -> T:
        """The same for a change that others may wait for at the same time: it is committed together with theirs."""
        result, writing = self._together.book(at, change)
        self.checkpoint_due |= writing.checkpoint_due
        return result

    # ---- levers: what operators set beside the declared caps

    def stop(self, workspace: str | None, *, until: datetime | None = None, reason: str, who: str, at: datetime) -> int:
        """Reserve nothing more in a workspace, or (None) anywhere, in any process; what is in flight finishes.

        `until`: it ends by itself then; None: when a person resumes. Returns its number.
        """
        with self._write(at) as writing:
            return levers.add(writing, "stop", workspace, reason=reason, who=who, until=until)

    def resume(self, workspace: str | None, *, note: str, who: str, at: datetime) -> list[Lever]:
        """End every stop and breach of a workspace, or (None) what stops everything. Returns what was ended."""
        with self._write(at) as writing:
            ended = [
                lever
                for lever in standing.all_levers(driver_of(writing.connection))
                if lever.kind != "grant" and lever.workspace == workspace and lever.is_active(moment(at))
            ]
            if ended:
                levers.end(writing, "resume", ended, note=note, who=who)
            return ended

    def grant(
        self,
        workspace: str,
        *,
        period: Period,
        label: str,
        amount_micros: int,
        until: datetime | None,
        reason: str,
        who: str,
        at: datetime,
    ) -> int:
        """Let one window of a workspace take more than its declared cap, for a while. Returns its number.

        `until` None: as long as the window lasts.
        """
        assert amount_micros > 0
        with self._write(at) as writing:
            return levers.add(
                writing,
                "grant",
                workspace,
                reason=reason,
                who=who,
                until=until,
                period=period,
                label=label,
                amount_micros=amount_micros,
            )

    def end_grant(self, number: int, *, note: str, who: str, at: datetime) -> Lever:
        """End a grant before its time. Raises UsageError when there is none of that number in force."""
        with self._write(at) as writing:
            everyone = standing.all_levers(driver_of(writing.connection))
            found = [lever for lever in everyone if lever.id == number and lever.kind == "grant"]
            if not found or not found[0].is_active(moment(at)):
                raise UsageError(
                    f"there is no grant {number} in force", "`omixa audit levers` lists all that were ever given"
                )
            levers.end(writing, "grant-ended", found, note=note, who=who)
            return found[0]

    # ---- the ledger as a whole

    def doubt_clock(self, reason: str, *, who: str, at: datetime) -> None:
        """Reserve nothing more until a person has confirmed the clock. The first reason stays."""
        with self._write(at) as writing:
            if clocks.state(writing.connection).clock_doubt is None:
                writing.connection.execute(update(LEDGER_STATE).values(clock_doubt=reason))
                writing.entry(EVERYWHERE, "clock-doubted", who, {"clock_doubt": reason})

    def confirm_clock(self, *, note: str, who: str, at: datetime) -> None:
        """Believe the clock as it is now; from here on it is measured against the machine's own."""
        up = self._uptime()
        with self._write(at) as writing:
            writing.connection.execute(update(LEDGER_STATE).values(clock_doubt=None))
            writing.entry(EVERYWHERE, "clock-confirmed", who, {"clock_doubt": None}, note=note)
            if up is not None:
                clocks.read(writing, at, up)

    def freeze(self, reason: str, *, who: str, at: datetime) -> None:
        """Reserve nothing more, because the ledger does not add up. The first reason stays."""
        with self._write(at) as writing:
            if clocks.state(writing.connection).frozen_reason is None:
                writing.connection.execute(update(LEDGER_STATE).values(frozen_reason=reason))
                writing.entry(EVERYWHERE, "frozen", who, {"frozen_reason": reason})

    def note_checked(self, seen: int, *, who: str, at: datetime) -> None:
        """Write down that the ledger adds up to entry `seen`, so that the next check need not read it all again."""
        with self._write(at) as writing:
            facts = {"seen": seen, "sums": {name: list(made) for name, made in checked.sums(writing.reader).items()}}
            writing.entry(EVERYWHERE, "checked", who, facts)

    def purge(self, *, before: str, note: str, who: str, at: datetime) -> tuple[int, int]:
        """Remove the prompts of ended attempts that were reserved before a local day, and what may quote them.

        Up to the newest such attempt; prompts that a later or an open attempt has too stay. Returns how many attempts
        and how many texts. The chain has only digests of them, under a key, and stays whole.
        """
        with self._write(at) as writing:
            execute = writing.connection.execute
            up_to = execute(_PURGE_TO, {"before": before}).scalar_one()
            attempts = execute(_PURGE, {"up_to": up_to, "purged": PURGED}).rowcount
            texts = execute(_DROP_TEXTS).rowcount
            writing.entry(EVERYWHERE, "purged", who, {"up_to": up_to, "attempts": attempts, "texts": texts}, note=note)
            return attempts, texts

    def repair(self, *, note: str, who: str, at: datetime) -> list[str]:
        """Make every balance and total anew from its attempts, and let a frozen ledger go on. Returns what was wrong.

        Call it only when the chain is sound (`verify`): the attempts are then what the entries say.
        """
        with self._write(at) as writing:
            wrong = balance_check.wrong_balances(writing.connection) + totals.wrong(writing.connection)
            rebuild(writing.connection)
            totals.remake(writing.connection)
            left = balance_check.wrong_balances(writing.connection)
            if left:
                raise FrozenError(
                    f"the ledger does not add up, and not only in its balances: {left[0]}",
                    "restore the newest backup; `omixa audit verify` names what was changed",
                )
            writing.connection.execute(update(LEDGER_STATE).values(frozen_reason=None))
            writing.entry(EVERYWHERE, "repaired", who, {"frozen_reason": None, "wrong": wrong[:100]}, note=note)
            return wrong
