"""Seeded faults against the simulator: how many schedules each promise about money survives when it is broken.

    python -m tests.long.mutants_sim            all of them
    python -m tests.long.mutants_sim NAME …     some

A mutant that survives means that the simulator is blind to a promise; the command then exits 1. At the end the house
itself runs the same schedules, as many as the slowest find took, and must hold.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parents[2]
SCHEDULES_MAX = 10_000
SEED = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One promise, and the changes (file, old text, new text) that break it."""

    name: str
    promise: str
    changes: tuple[tuple[str, str, str], ...]


BALANCES, LEDGER = "runner/ledger/balances.py", "runner/ledger/ledger.py"
EXECUTION, BOOKING, RECOVERY = "runner/execution.py", "runner/booking.py", "runner/recovery.py"
OWNERS = "runner/ledger/owners.py"

_ROOM = "open_micros + settled_micros + :amount <= :cap{n}"
_BOOK_UNKNOWN = """            ledger.unknown(
                attempt_id,
                code=code,
                message=message,
                evidence=evidence,
                result=None,
"""
_ASSERT_AMOUNT = "        assert amount_micros is None or amount_micros > 0\n"
_LOOK_BEFORE = """        assert amount_micros is not None
        with self._write(at) as writing:
            connection = writing.connection
            day = windows.local_day(standing.moment_of(driver_of(connection), at), run.zone)
            for id_, cap in self._windows.all(writing, run, caps, day, {}):
                query = f"SELECT open_micros + settled_micros FROM budget_windows WHERE id = {id_}"
                if connection.exec_driver_sql(query).scalar_one() + amount_micros > cap.cap_micros:
                    return balances.refusal(connection, [(id_, cap)], amount_micros, day)
"""
_SHRUNK = """            amount = _amount(writing, run.workspace, asked.model, amount_micros)
            if isinstance(amount, int):
                amount = min([amount, *(cap.cap_micros for cap in caps)])
"""
_ENDS_TRY = """            if not isinstance(outcome, Declined) or outcome.retry_after_s is None:
                return done
"""
_FREE_AND_TRY_AGAIN = """            if done.kind == "unknown" and tries_left:
                means.ledger.resolve(
                    reservation.attempt_id, billed_micros=None, note="again", who="", at=means.now()
                )
                continue
"""
_SEND = "outcome = means.provider.send(order, spool=spool, on_sending=_recorder(reservation, purchase, means))"
_SEND_THEN_RECORD = """outcome = means.provider.send(order, spool=spool, on_sending=lambda: None)
                _recorder(reservation, purchase, means)()"""
_WINDOWS_THEN = '"WHERE id IN (SELECT window_id FROM attempt_windows WHERE attempt_id = :attempt)"'
_WINDOWS_NOW = """"WHERE id IN (SELECT max(n.id) FROM attempt_windows w JOIN budget_windows o ON o.id = w.window_id "
    "JOIN budget_windows n ON n.workspace = o.workspace AND n.scope = o.scope AND n.name = o.name "
    "AND n.period = o.period WHERE w.attempt_id = :attempt GROUP BY o.id)\""""
_RECOVERED = "    _clear_spool(means)\n    return found\n"
_RECOVERED_AND_EXPIRED = """    _clear_spool(means)
    with means.ledger.database.read() as connection:
        old = connection.exec_driver_sql("SELECT id FROM attempts WHERE state = 'unknown'").all()
    for (id_,) in old:
        means.ledger.resolve(id_, billed_micros=None, note="expired", who="", at=means.now())
    return found
"""
_NOT_MINE = "        os.close(file)\n        return None\n"
_MINE_ANYWAY = "        return Owner(path, file)\n"

FAULTS = (
    Fault(
        "check-then-act",
        "a cap is checked and taken in one transaction",
        ((BALANCES, f"(id = :id{{n}} AND {_ROOM})", "(id = :id{n})"), (LEDGER, _ASSERT_AMOUNT, _LOOK_BEFORE)),
    ),
    Fault(
        "settled-only", "what is open counts against a cap", ((BALANCES, _ROOM, _ROOM.replace("open_micros + ", "")),)
    ),
    Fault(
        "open-only",
        "what was billed counts against a cap",
        ((BALANCES, _ROOM, _ROOM.replace("settled_micros + ", "")),),
    ),
    Fault("skip-one-cap", "every declared cap is asked", ((BALANCES, "for cap in caps]", "for cap in caps[1:]]"),)),
    Fault(
        "one-window-is-enough",
        "every window must have room",
        ((BALANCES, '= {count}"', '>= 1"'),),
    ),
    Fault(
        "shrink-to-fit",
        "a reservation is never made smaller to fit",
        (
            (
                LEDGER,
                "            amount = _amount(writing, run.workspace, asked.model, amount_micros)\n",
                _SHRUNK,
            ),
        ),
    ),
    Fault(
        "refusal-keeps-what-it-took",
        "a refusal takes from no window",
        ((BALANCES, 'AND (SELECT count(*) FROM budget_windows WHERE {terms}) = {count}"', 'AND ({terms})"'),),
    ),
    Fault(
        "release-sent-on-recovery",
        "what a dead process had sent is not released",
        ((RECOVERY, 'if row.state == "reserved":', 'if row.state == "reserved" or not spool.exists():'),),
    ),
    Fault(
        "forget-the-spool",
        "an answer that a dead process had spooled is settled",
        ((RECOVERY, "elif spool.exists():", "elif False:"),),
    ),
    Fault(
        "release-on-timeout",
        "what may have been billed stays held",
        (
            (
                BOOKING,
                _BOOK_UNKNOWN,
                _BOOK_UNKNOWN.replace("unknown", "release").replace("                result=None,\n", ""),
            ),
        ),
    ),
    Fault(
        "retry-on-timeout",
        "what may have been billed is not sent again",
        ((EXECUTION, _ENDS_TRY, _FREE_AND_TRY_AGAIN + _ENDS_TRY),),
    ),
    Fault(
        "no-item-key",
        "an item whose money is open is not reserved again",
        (
            (LEDGER, 'if its_state != "settled":', "if False:"),
            (LEDGER, "            if not again:\n", '            if its_state == "settled" and not again:\n'),
            (LEDGER, '"live_key": asked.item_key,', '"live_key": f"{asked.item_key} {moment(at)}",'),
        ),
    ),
    Fault("bought-again", "a bought item is not bought again by accident", ((LEDGER, "if not again:", "if False:"),)),
    Fault(
        "send-before-commit",
        "an attempt is recorded as sent before its body leaves",
        ((EXECUTION, _SEND, _SEND_THEN_RECORD),),
    ),
    Fault(
        "settle-into-today",
        "a bill counts in the window it was reserved in",
        ((BALANCES, _WINDOWS_THEN, _WINDOWS_NOW),),
    ),
    Fault(
        "expire-unknown",
        "time never frees what may have been billed",
        ((RECOVERY, _RECOVERED, _RECOVERED_AND_EXPIRED),),
    ),
    Fault(
        "float-money",
        "money is whole micro-units",
        (
            (
                BALANCES,
                "settled_micros = settled_micros + :billed ",
                "settled_micros = CAST((settled_micros / 1000000.0 + :billed / 1000000.0) * 1000000 AS INTEGER) ",
            ),
        ),
    ),
    Fault(
        "drop-spool-before-settle",
        "an answer is on disk until it is booked",
        (
            (
                BOOKING,
                "    written = _write(item.draft, billed, held.attempt_id, means)\n",
                "    written = _write(item.draft, billed, held.attempt_id, means)\n    drop(spool)\n",
            ),
        ),
    ),
    Fault(
        "drop-the-only-copy",
        "a picture that could not be kept stays in the spool until it can",
        (
            (
                BOOKING,
                "        drop(spool)\n    # Otherwise",
                "        drop(spool)\n    else:\n        drop(spool)\n    # Otherwise",
            ),
        ),
    ),
    Fault(
        "no-owner-check",
        "a living process's attempts are left alone",
        ((OWNERS, _NOT_MINE, _MINE_ANYWAY),),
    ),
    Fault(
        "no-recovery",
        "what a dead process left is finished",
        (
            (
                RECOVERY,
                "    for run_id, uid in usage.open_runs(means.ledger.database):\n        owner",
                "    for run_id, uid in []:\n        owner",
            ),
        ),
    ),
    Fault(
        "do-not-wait",
        "a cap is filled exactly: a refusal waits for what is in flight",
        ((EXECUTION, "case Refusal(may_free=True):", "case Refusal(may_free=True) if False:"),),
    ),
    Fault(
        "unknown-may-free",
        "who waits for money does not wait for an unknown attempt",
        (
            (
                BALANCES,
                'ATTEMPTS.c.state.in_(("reserved", "sent"))',
                'ATTEMPTS.c.state.in_(("reserved", "sent", "unknown"))',
            ),
        ),
    ),
    Fault(
        "breach-goes-on",
        "a bill above its reservation stops the workspace",
        (("runner/ledger/standing.py", "AND kind <> 'grant' \"", "AND kind = 'stop' \""),),
    ),
    Fault(
        "grant-never-ends",
        "the end of a grant is kept",
        (
            (
                "runner/ledger/standing.py",
                '"AND workspace = :workspace AND (until IS NULL OR until > :at)"',
                '"AND workspace = :workspace"',
            ),
        ),
    ),
    Fault(
        "stop-is-not-asked",
        "nothing is reserved while a stop is in force",
        (
            (
                LEDGER,
                "            if stopped is not None:\n                return stopped\n        names",
                "        names",
            ),
        ),
    ),
    Fault(
        "clock-goes-back",
        "windows only move forward",
        ((LEDGER, "within = at if latest is None else max(at, latest)", "within = at"),),
    ),
    Fault(
        "new-window-starts-empty",
        "a window that is made late counts what was spent in it before",
        (
            (
                BALANCES,
                '{"open_micros": open_micros, "settled_micros": settled_micros}',
                '{"open_micros": 0, "settled_micros": 0}',
            ),
        ),
    ),
)


def schedules_until_found(fault: Fault, most: int = SCHEDULES_MAX) -> tuple[int | None, str, float]:
    """How many schedules it took (None: never found), what was found, and seconds; the house itself is not touched."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in ("runner", "migrations", "tests"):
            shutil.copytree(HOUSE / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for path, old, new in fault.changes:
            file = copy / path
            text = file.read_text()
            if old not in text:
                raise SystemExit(f"fault {fault.name}: its place in {path} has changed; write it anew")
            file.write_text(text.replace(old, new))
        began = time.perf_counter()
        words = ["-m", "tests.long.simulate", "--brief", "--seed", str(SEED), "--schedules", str(most)]
        done = subprocess.run(
            [sys.executable, *words],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
    found = re.match(r"(\d+) schedules: (.*)", done.stdout)
    if found is None:
        raise SystemExit(f"fault {fault.name}: the simulator ended with {done.returncode}\n{done.stderr[-2000:]}")
    return int(found[1]) if done.returncode else None, found[2], seconds


def main() -> int:
    """Try the faults and say after how many schedules each was found."""
    wanted = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not wanted or fault.name in wanted]
    survived, slowest = [], 0
    for fault in chosen:
        schedules, what, seconds = schedules_until_found(fault)
        if schedules is None:
            survived.append(fault.name)
            tell(f"SURVIVED          {fault.name:28} {fault.promise} ({seconds:.1f} s)")
        else:
            slowest = max(slowest, schedules)
            tell(f"{schedules:>6} schedules  {fault.name:28} {fault.promise} ({seconds:.1f} s): {what[:110]}")
    tell(
        f"{len(chosen) - len(survived)} of {len(chosen)} mutants caught; seed {SEED}, at most {SCHEDULES_MAX} schedules"
    )
    broken, what, _ = schedules_until_found(Fault("none", "the house as it is", ()), slowest)
    tell(f"without a mutant, {slowest} schedules: {what}")
    return 1 if survived or broken else 0


def tell(line: str) -> None:
    """Print at once: it takes a while."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
