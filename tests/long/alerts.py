"""Ten thousand requests past a threshold are one alert, on a real webhook and in a real mail, whoever looks how often.

Four processes buy in one ledger past 80 % of a month's budget, and look for alerts and deliver them after every
hundred requests, each as a new process would: the first half of them, then all are killed, then the other half. Then
the next month begins, and 80 % of it is one alert more. Prints what arrived; 1 when that is not one and one.

    python -m tests.long.alerts --requests 10000
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from runner.ledger import alerting
from runner.ledger.values import Cap
from tests.alerts.conftest import House, Mailbox, Receiver

PROCESSES = 4
LOOK_EVERY = 100
MONTH = Cap("workspace", "", "month", 1_000_000)


def main() -> int:
    """Buy, kill, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    requests = parser.parse_args().requests
    began = time.perf_counter()
    receiver, mailbox = Receiver(), Mailbox()
    os.environ["OPS_URL"], os.environ["MAIL_URL"] = receiver.url, mailbox.url
    with tempfile.TemporaryDirectory(prefix="omixa-alerts-") as folder:
        house = House(Path(folder) / "house")
        house.write(
            'thresholds = [80]\n[[alerts.to]]\nname = "ops"\nurl_env = "OPS_URL"\n'
            '[[alerts.to]]\nname = "mail"\nurl_env = "MAIL_URL"\n'
        )
        spend(house, "november", 799)
        # 1.00 is the cap; each request past 80 % takes its share of what is left.
        price = max(1, 190_000 // requests)
        told = [crowd(house, f"half-{half}", requests // 2 // PROCESSES, price, killed=half == 0) for half in (0, 1)]
        november = len(receiver.messages), len(mailbox.mails)
        house.pass_time(days=31)
        spend(house, "december", 800)
        told.append(crowd(house, "next", LOOK_EVERY, 1, killed=False))
        december = len(receiver.messages) - november[0], len(mailbox.mails) - november[1]
        with house.database() as opened:
            recorded = [alert.key for alert, _ in alerting.alerts(opened, newest=1000)]
    receiver.stop()
    mailbox.stop()
    print(f"{sum(told)} requests by {PROCESSES} processes in two crowds, the first of them killed -9, then a new month")
    print(f"past 80 %: {november[0]} on the webhook, {november[1]} by mail; next month: {december[0]}, {december[1]}")
    print(f"in the ledger: {', '.join(recorded)}")
    print(f"{time.perf_counter() - began:.0f} s")
    return 0 if november == december == (1, 1) and len(recorded) == 2 else 1


def spend(house: House, uid: str, thousandths: int) -> None:
    """So many thousandths of the month's budget, before anybody looks."""
    with house.desk(uid) as desk:
        for n in range(thousandths):
            desk.buy(f"{uid}-{n}", billed=1000, amount=1000, caps=[MONTH])


def crowd(house: House, name: str, each: int, price: int, *, killed: bool) -> int:
    """Processes that buy and look at once; how many requests were booked. `killed`: at their last request."""
    fresh = multiprocessing.get_context("spawn")
    shops = [
        fresh.Process(target=shop, args=(house.root, house.at, f"{name}-{number}", each, price, killed))
        for number in range(PROCESSES)
    ]
    for process in shops:
        process.start()
    for process in shops:
        process.join()
    ended = [process.exitcode for process in shops]
    if ended != [-signal.SIGKILL if killed else 0] * PROCESSES:
        raise SystemExit(f"the processes of {name} ended with {ended}")
    return each * PROCESSES


def shop(root: Path, at: datetime, uid: str, each: int, price: int, killed: bool) -> None:
    """Buy, and look now and then."""
    house = House(root, keep=True)
    house.at = at
    with house.desk(uid) as desk:
        for n in range(each):
            desk.buy(f"{uid}-{n}", billed=price, amount=price, caps=[MONTH])
            if n % LOOK_EVERY == LOOK_EVERY - 1 or n == each - 1:
                house.look()
                house.deliver()
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
