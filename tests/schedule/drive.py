"""A scheduler as a process of its own, driven through many slots by a calendar that moves with every step.

    python -m tests.schedule.drive ROOT FIRST MINUTES      one line `n` a minute of the calendar, then `end`

Reads a line from standard input before each minute, so that whoever starts it can hold several together.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runner.ledger.database import open_database
from runner.schedule import Scheduler
from runner.settings import ledger_path, load


def main(root: str, first: str, minutes: str) -> None:
    """Step through the minutes, each of which lasts until its slots are done."""
    settings, problems = load(Path(root))
    assert settings is not None, problems
    at = datetime.fromisoformat(first)

    def log(action: str, **facts: Any) -> None:
        print(f"  {action} {facts.get('recipe')} {facts.get('due_at')} {facts.get('reason') or ''}", file=sys.stderr)

    with open_database(ledger_path(settings), create=True) as database:
        scheduler = Scheduler(Path(root), settings, database, log=log, now=lambda: at, uptime=lambda: None)
        for minute in range(int(minutes)):
            sys.stdin.readline()
            scheduler.step()
            assert scheduler.settled(60)
            print(minute, flush=True)
            at += timedelta(minutes=1)
        scheduler.step()
        assert scheduler.settled(60)
        print("end", flush=True)
        scheduler.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
