"""Seeded faults in how the workers of a run take turns. `tests.long.mutants` tries them."""

from tests.long.mutant import Mutant

BATON, OMIXA, TOGETHER = "runner/baton.py", "runner/providers/omixa.py", "runner/ledger/together.py"
TESTS, IN_A_RUN = "tests/test_baton.py", "tests/run/test_baton.py"

HANDED_ON = (
    Mutant(
        "baton-for-two",
        "one carries the baton at a time",
        BATON,
        "            if self._carrier is None:\n                self._carrier = mine.handed",
        "            if True:\n                self._carrier = mine.handed",
        f"{TESTS} -k one_carries",
    ),
    Mutant(
        "baton-to-the-last",
        "who has waited longest is next",
        BATON,
        "self._carrier = self._waiting.popleft() if",
        "self._carrier = self._waiting.pop() if",
        f"{TESTS} -k one_carries",
    ),
    Mutant(
        "baton-without-patience",
        "one that is stuck with the baton holds up nobody",
        BATON,
        "if self.handovers == seen:",
        "if self.handovers == -2:",
        f"{TESTS} -k stuck_with",
    ),
    Mutant(
        "baton-left-with-the-stuck",
        "one that is stuck with the baton is waited for once",
        BATON,
        "                    self._carrier = mine.handed\n                    self.taken_away",
        "                    self.taken_away",
        f"{TESTS} -k waited_for_once",
    ),
    Mutant(
        "baton-handed-on-twice",
        "who has the baton no more hands on nothing",
        BATON,
        "            if self._carrier is not mine.handed:\n                return",
        "            if False:\n                return",
        f"{TESTS} -k stuck_with_it_is_waited",
    ),
    Mutant(
        "baton-with-little-patience",
        "nobody goes on without the baton while it goes round",
        BATON,
        "if self.handovers == seen:",
        "if self.handovers >= seen:",
        f"{TESTS} -k goes_round",
    ),
    Mutant(
        "baton-not-called-yet",
        "who is not called yet goes on waiting",
        BATON,
        "if mine.handed not in self._waiting:",
        "if False:",
        f"{TESTS} -k not_called_yet",
    ),
    Mutant(
        "baton-while-locked-out",
        "a lock is not waited for with the baton in hand",
        BATON,
        "            with self.aside():\n                lock.acquire()",
        "            lock.acquire()",
        f"{TESTS} -k was_let_go_of",
    ),
    Mutant(
        "baton-never-tried-again",
        "a wait that has become short is noticed",
        BATON,
        "if self._usual_s > SHORT_S and self._count % TRIED_EVERY:",
        "if self._usual_s > SHORT_S:",
        f"{TESTS} -k become_short",
    ),
    Mutant(
        "baton-kept-for-an-answer",
        "who waits for an answer holds up nobody",
        OMIXA,
        "            with aside():\n                version, status, reason = super()._read_status()",
        "            if True:\n                version, status, reason = super()._read_status()",
        IN_A_RUN,
    ),
    Mutant(
        "baton-kept-for-a-booking",
        "who waits for others' bookings holds up nobody",
        TOGETHER,
        "        self._call = WORKERS.call()",
        "        self._call = __import__('runner.baton').baton.Baton().call()",
        IN_A_RUN,
    ),
    Mutant(
        "baton-not-carried",
        "workers take turns",
        "runner/execution.py",
        "        with carried():\n            work_on()",
        "        work_on()",
        IN_A_RUN,
    ),
)
