"""Any sequence of operations on the ledger, against a small model of its own; Hypothesis shrinks what goes wrong.

Real: a SQLite file, two Ledgers on it as two processes would have, owners' locks and recovery. The model knows what was
asked and what money must have become of it, and none of the ledger's SQL.
"""

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner import images, recovery
from runner.booking import Means
from runner.errors import LedgerError, UsageError
from runner.ledger import balance_check, known, owners, usage
from runner.ledger.clocks import Uptime
from runner.ledger.database import moment, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.values import AlreadyBought, Cap, InFlight, Refusal, Reserved, Stopped
from tests.ledger.conftest import RUN, asked

BERLIN = ZoneInfo("Europe/Berlin")
BEGINNING = datetime(2026, 11, 28, 22, tzinfo=UTC)
CEILING = 40
CAPS = (Cap("workspace", "", "day", 120), Cap("workspace", "", "month", 200), Cap("recipe", "posters", "total", 260))
KEYS = "abcde"
OPEN = ("reserved", "sent", "unknown")
WHO = "ana"


@dataclass
class Attempt:
    """What the model knows of one attempt."""

    key: str
    run_id: int
    day: date
    reserved: int
    state: str = "reserved"
    billed: int = 0

    @property
    def counts(self) -> int:
        """What it takes from every cap."""
        return self.reserved if self.state in OPEN else self.billed

    def is_in(self, cap: Cap, day: date) -> bool:
        """Whether it falls into the window of a cap that holds a day."""
        if cap.period == "total":
            return True
        return self.day == day if cap.period == "day" else (self.day.year, self.day.month) == (day.year, day.month)


class LedgerMachine(RuleBasedStateMachine):
    """Two processes and a person on one ledger, and the model of what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-machine-"))
        self.databases = [open_database(self.folder / "ledger.db", create=True) for _ in range(2)]
        self.ledgers = [Ledger(database, uptime=self.uptime) for database in self.databases]
        self.at = BEGINNING
        self.latest = ""  # the moment of the latest reservation
        self.attempts: dict[int, Attempt] = {}
        self.stops: list[tuple[str | None, str | None]] = []
        self.grants: list[tuple[str, str, int, str]] = []  # period, label, amount, until
        self.breached = False
        self.highest = 0
        self.runs: list[tuple[int, Any, owners.Owner]] = []
        self.run_count = 0

    def teardown(self) -> None:
        """Let go of the files."""
        for _, _, owner in self.runs:
            owner.close()
        for database in self.databases:
            database.close()
        shutil.rmtree(self.folder)

    # ---- what the model says

    def uptime(self) -> Uptime:
        """The machine's own count agrees with the calendar: tests/ledger/test_clocks.py is about when it does not."""
        return Uptime("boot", int((self.at - BEGINNING) / timedelta(microseconds=1)) * 1000)

    def now(self) -> str:
        """The moment of a reservation: it never goes back behind the latest."""
        return max(self.latest, moment(self.at))

    def day(self) -> date:
        """The local day of that moment."""
        return datetime.fromisoformat(self.now()).astimezone(BERLIN).date()

    def taken(self, cap: Cap, day: date) -> int:
        """What is open or settled in a window."""
        return sum(attempt.counts for attempt in self.attempts.values() if attempt.is_in(cap, day))

    def allowed(self, cap: Cap) -> int:
        """The cap with what was granted on top of it and has not ended."""
        now = self.now()
        return cap.cap_micros + sum(
            amount
            for period, label, amount, until in self.grants
            if cap.scope == "workspace" and (period, label) == (cap.period, self.label(period)) and now < until
        )

    def label(self, period: str) -> str:
        """Of the day's or the month's window that holds the moment."""
        return f"{self.day():%Y-%m-%d}" if period == "day" else f"{self.day():%Y-%m}"

    def stopped(self) -> bool:
        """Whether nothing may be reserved."""
        return self.breached or any(until is None or moment(self.at) < until for _, until in self.stops)

    def of(self, *states: str) -> list[int]:
        """The attempts in these states."""
        return [number for number, attempt in self.attempts.items() if attempt.state in states]

    # ---- runs

    @initialize()
    def first_run(self) -> None:
        """A run to reserve in."""
        self.begin_run()

    def begin_run(self) -> None:
        """A run whose owner lives."""
        self.run_count += 1
        run = replace(RUN, uid=f"run-{self.run_count}")
        owner = owners.hold(self.folder / "owners", run.uid)
        self.runs.append((self.ledgers[0].begin_run(run, at=self.at), run, owner))

    @precondition(lambda self: len(self.runs) < 3)
    @rule()
    def another_run_begins(self) -> None:
        """A second process."""
        self.begin_run()

    # ---- money

    @rule(
        key=st.sampled_from(KEYS),
        which=st.integers(0, 1),
        run=st.integers(0, 2),
        count=st.integers(1, 3),
        again=st.booleans(),
    )
    def reserve(self, key: str, which: int, run: int, count: int, again: bool) -> None:
        """The answer is the model's."""
        run_id, facts, _ = self.runs[run % len(self.runs)]
        caps = CAPS[:count]
        found = self.ledgers[which].reserve(
            run_id, facts, asked(key), amount_micros=CEILING, caps=caps, at=self.at, again=again
        )
        amount, day = max(CEILING, self.highest), self.day()
        live = [number for number in self.of(*OPEN) if self.attempts[number].key == key]
        bought = [number for number in self.of("settled") if self.attempts[number].key == key]
        full = [cap for cap in caps if self.taken(cap, day) + amount > self.allowed(cap)]
        if type(found).__name__ == "FirstOfPrice":
            # Alone until the first bill: somebody's money must be in the air, and nothing settled yet.
            assert self.of(*OPEN)
            assert not self.of("settled")
        elif self.stopped():
            assert isinstance(found, Stopped)
        elif live:
            assert isinstance(found, InFlight)
            assert (found.attempt_id, found.state) == (live[0], self.attempts[live[0]].state)
        elif bought and not again:
            assert isinstance(found, AlreadyBought)
        elif full:
            assert isinstance(found, Refusal)
            assert found.left_micros < amount
        else:
            assert isinstance(found, Reserved), (found, full)
            assert found.amount_micros == amount
            self.attempts[found.attempt_id] = Attempt(key, run_id, day, amount)
            self.latest = self.now()

    @rule(key=st.sampled_from(KEYS), which=st.integers(0, 1), billed=st.sampled_from((1, 39, 40, 41)), on=st.booleans())
    def buy(self, key: str, which: int, billed: int, on: bool) -> None:
        """The usual way, in one step, and perhaps on after a breach: so that longer stories fit into an example."""
        before = set(self.attempts)
        self.reserve(key, which, 0, 1, False)
        for number in set(self.attempts) - before:
            self.ledgers[which].sent(number, who=WHO, at=self.at)
            self.attempts[number].state = "sent"
            self.settle_one(number, which, billed)
        if on and self.breached:
            self.resume(which)

    @precondition(lambda self: self.of("reserved"))
    @rule(data=st.data(), which=st.integers(0, 1))
    def sent(self, data: st.DataObject, which: int) -> None:
        """The body is about to leave."""
        number = data.draw(st.sampled_from(self.of("reserved")))
        self.ledgers[which].sent(number, who=WHO, at=self.at)
        self.attempts[number].state = "sent"

    @precondition(lambda self: self.of("sent"))
    @rule(data=st.data(), which=st.integers(0, 1), billed=st.sampled_from((0, 1, 7, 39, 40, 40, 40, 41, 300)))
    def settle(self, data: st.DataObject, which: int, billed: int) -> None:
        """A bill came, whatever it is."""
        self.settle_one(data.draw(st.sampled_from(self.of("sent"))), which, billed)

    def settle_one(self, number: int, which: int, billed: int) -> None:
        """Book a bill, here and in the model."""
        breach = self.ledgers[which].settle(
            number,
            billed_micros=billed,
            billed_text=None,
            code="billed",
            message=None,
            evidence=None,
            result=None,
            who=WHO,
            at=self.at,
        )
        self.billed(number, billed, breach)

    def billed(self, number: int, billed: int, breach: bool) -> None:
        """What the model makes of a bill."""
        attempt = self.attempts[number]
        assert breach == (billed > attempt.reserved)
        attempt.state, attempt.billed = "settled", billed
        self.highest = max(self.highest, billed)
        self.breached = self.breached or breach

    @precondition(lambda self: self.of("reserved", "sent"))
    @rule(data=st.data(), which=st.integers(0, 1))
    def release(self, data: st.DataObject, which: int) -> None:
        """Nothing was billed."""
        number = data.draw(st.sampled_from(self.of("reserved", "sent")))
        self.ledgers[which].release(number, code="declined", message="no", evidence=None, who=WHO, at=self.at)
        self.attempts[number].state = "released"

    @precondition(lambda self: self.of("sent"))
    @rule(data=st.data(), which=st.integers(0, 1))
    def unknown(self, data: st.DataObject, which: int) -> None:
        """No answer came."""
        number = data.draw(st.sampled_from(self.of("sent")))
        self.ledgers[which].unknown(
            number, code="timed-out", message="gone", evidence=None, result=None, who=WHO, at=self.at
        )
        self.attempts[number].state = "unknown"

    @precondition(lambda self: self.of("unknown"))
    @rule(data=st.data(), which=st.integers(0, 1), billed=st.sampled_from((None, None, 0, 40, 41)))
    def resolve(self, data: st.DataObject, which: int, billed: int | None) -> None:
        """A person knows."""
        number = data.draw(st.sampled_from(self.of("unknown")))
        breach = self.ledgers[which].resolve(number, billed_micros=billed, note="invoice", who=WHO, at=self.at)
        if billed is None:
            self.attempts[number].state = "released"
        else:
            self.billed(number, billed, breach)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), which=st.integers(0, 1))
    def what_does_not_fit_its_state_changes_nothing(self, data: st.DataObject, which: int) -> None:
        """An attempt that ended cannot end again, nor be sent, nor resolved."""
        number = data.draw(st.sampled_from(sorted(self.attempts)))
        state, ledger = self.attempts[number].state, self.ledgers[which]
        if state != "reserved":
            with pytest.raises(LedgerError):
                ledger.sent(number, who=WHO, at=self.at)
        if state not in OPEN:
            with pytest.raises(LedgerError):
                ledger.release(number, code="late", message=None, evidence=None, who=WHO, at=self.at)
        if state != "unknown":
            with pytest.raises(UsageError):
                ledger.resolve(number, billed_micros=1, note="wrong", who=WHO, at=self.at)

    # ---- people, clocks, deaths

    @rule(which=st.integers(0, 1))
    def resume(self, which: int) -> None:
        """The workspace goes on, after a breach or a stop of it."""
        self.ledgers[which].resume(RUN.workspace, note="looked", who=WHO, at=self.at)
        self.breached = False
        self.stops = [stop for stop in self.stops if stop[0] is None]

    @rule(which=st.integers(0, 1), everywhere=st.booleans(), hours=st.sampled_from((None, 1, 30)))
    def stop(self, which: int, everywhere: bool, hours: int | None) -> None:
        """Nothing more is reserved."""
        until = None if hours is None else self.at + timedelta(hours=hours)
        workspace = None if everywhere else RUN.workspace
        self.ledgers[which].stop(workspace, until=until, reason="enough", who=WHO, at=self.at)
        self.stops.append((workspace, None if until is None else moment(until)))

    @precondition(lambda self: self.stops)
    @rule(which=st.integers(0, 1))
    def resume_everywhere(self, which: int) -> None:
        """What was stopped everywhere goes on."""
        self.ledgers[which].resume(None, note="go on", who=WHO, at=self.at)  # type: ignore[arg-type]
        self.stops = [stop for stop in self.stops if stop[0] is not None]

    @rule(which=st.integers(0, 1), period=st.sampled_from(("day", "month")), hours=st.sampled_from((1, 30)))
    def grant(self, which: int, period: Literal["day", "month"], hours: int) -> None:
        """More, for a while."""
        until = self.at + timedelta(hours=hours)
        self.ledgers[which].grant(
            RUN.workspace,
            period=period,
            label=self.label(period),
            amount_micros=50,
            until=until,
            reason="more",
            who=WHO,
            at=self.at,
        )
        self.grants.append((period, self.label(period), 50, moment(until)))

    @rule(hours=st.sampled_from((-50, -1, 1, 3, 25, 60)))
    def the_clock_moves(self, hours: int) -> None:
        """Forward or back; the ledger only follows forward."""
        self.at += timedelta(hours=hours)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), which=st.integers(0, 1))
    def a_process_dies_and_another_recovers(self, data: st.DataObject, which: int) -> None:
        """Its reservations are released, what it had sent is unknown; nobody else's attempts are touched."""
        dead = data.draw(st.integers(0, len(self.runs) - 1))
        run_id, _, owner = self.runs.pop(dead)
        owner.close()
        recovery.recover(self.means(which))
        for number in self.of("reserved", "sent"):
            attempt = self.attempts[number]
            if attempt.run_id == run_id:
                attempt.state = "released" if attempt.state == "reserved" else "unknown"
        if not self.runs:
            self.begin_run()

    def means(self, which: int) -> Means:
        """What a recovery works with: no answer was ever spooled, so no provider is asked."""
        values = {
            "ledger": self.ledgers[which],
            "provider": None,
            "results": images.Results(self.folder / "results"),
            "root": self.folder,
            "home": self.folder,
            "now": lambda: self.at,
        }
        return Means(**{name: value for name, value in values.items() if name in Means.__dataclass_fields__})  # type: ignore[arg-type]

    # ---- what holds after each step

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
        """Every attempt and every window."""
        rows = {
            row.attempt_id: (row.state, row.open_micros, row.billed_micros) for row in usage.rows(self.databases[0])
        }
        assert rows == {
            number: (a.state, a.reserved if a.state in OPEN else 0, a.billed if a.state == "settled" else None)
            for number, a in self.attempts.items()
        }
        at = datetime.fromisoformat(self.now())
        found = known.headrooms(self.databases[1], workspace=RUN.workspace, zone=RUN.zone, caps=CAPS, at=at)
        assert [room.settled_micros + room.open_micros for room in found] == [
            self.taken(cap, self.day()) for cap in CAPS
        ]

    @invariant()
    def it_adds_up(self) -> None:
        """Balances are the sums of their attempts, and those of their entries."""
        assert balance_check.check_balances(self.databases[0]) == []


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
