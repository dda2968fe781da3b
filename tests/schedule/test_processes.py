"""Schedulers as real processes: two at once, one of them killed; and the one that `omixa schedule run` is."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from runner.ledger import agenda, verify
from runner.ledger.database import open_database
from runner.trail.payload import decode
from tests.run.conftest import KEY, Studio, wait_until
from tests.schedule.conftest import START

EVERY_MINUTE = '[schedule]\ncron = "* * * * *"\ntime_zone = "UTC"\noverlap = "queue"\n'


class Driven:
    """One scheduler as a process; `minute` lets it go on by a minute of its calendar."""

    def __init__(self, root: Path, minutes: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.schedule.drive", str(root), START.isoformat(), str(minutes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "STUDIO_KEY": KEY},
        )

    def minute(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def drive() -> Iterator[Callable[..., Driven]]:
    driven: list[Driven] = []

    def start(root: Path, minutes: int) -> Driven:
        driven.append(Driven(root, minutes))
        return driven[-1]

    yield start
    for one in driven:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("seed", [1, 2])
def test_two_schedulers_run_a_hundred_slots_and_one_that_is_killed_loses_none(
    open_studio: Callable[..., Studio], drive: Callable[..., Driven], seed: int
) -> None:
    minute = 0
    studio = open_studio(now=lambda: START.timestamp() + 60 * minute, latency_ms=5)
    studio.settings(month="500.00")
    for name in ("posters", "logos"):
        studio.recipe(name, folder=name, output=f"out/{name}", more=EVERY_MINUTE)
        studio.pictures(2, folder=name)
    dice = random.Random(seed)
    dies_at = dice.randrange(10, 40)
    minutes = 50
    both = [drive(studio.root, minutes), drive(studio.root, minutes)]
    for minute in range(minutes):
        studio.picture(f"{dice.choice(['posters', 'logos'])}/{minute}-{seed}.png")
        for one in both:
            one.minute()
        if minute == dies_at:
            victim = both.pop(dice.randrange(2))
            wait_until(lambda: is_running(studio) or both[0].process.poll() is not None)
            victim.process.send_signal(signal.SIGKILL)
            victim.process.wait()
        for one in both:
            assert one.heard() == str(minute)
    assert [one.heard() for one in both] == ["end"]
    with open_database(studio.root / ".omixa" / "ledger.db", create=False) as database:
        slots = agenda.slots(database, newest=1000)
        assert verify.verify(database).faults == []
        with database.read() as connection:
            payloads = connection.execute(text("SELECT payload FROM entries WHERE kind = 'slot'")).scalars()
            told = [decode(payload).facts["record"]["row"] for payload in payloads]
            runs = connection.execute(text("SELECT slot, recipe, count(*) AS n FROM runs GROUP BY slot, recipe")).all()
    due = Counter((slot.recipe, slot.due_at) for slot in slots)
    assert len(due) == 100
    expected = {START + timedelta(minutes=n) for n in range(1, minutes + 1)}
    assert {recipe: {at for name, at in due if name == recipe} for recipe in ("posters", "logos")} == {
        "posters": expected,
        "logos": expected,
    }
    assert not [slot for slot in slots if slot.is_open]
    begun = Counter((row["recipe"], row["due_at"]) for row in told if row["state"] == "running" and not row["run_uid"])
    assert max(begun.values()) == 1, "a slot was run twice"
    assert all(row.n == 1 for row in runs)
    assert sum(slot.state == "failed" for slot in slots) <= 2
    assert Counter(slot.state for slot in slots)["ran"] >= 90
    counts = studio.endpoint.counts()
    assert counts.requests == counts.pictures
    assert studio.settled <= counts.billed_micros <= studio.settled + studio.open
    studio.balances()


def is_running(studio: Studio) -> bool:
    with open_database(studio.root / ".omixa" / "ledger.db", create=False) as database:
        return any(slot.state == "running" for slot in agenda.open_slots(database))


# ---- `omixa schedule run`


def lines(err: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in err.splitlines()]


def started(studio: Studio, *words: str) -> "subprocess.Popen[str]":
    process = studio.start("schedule", "run", "--yes", "--log", "json", *words)
    wait_until(lambda: (studio.root / ".omixa" / "schedule.json").exists(), process)
    return process


def test_a_scheduler_tells_what_it_does_and_ends_in_good_order(studio: Studio) -> None:
    studio.recipe(more='[schedule]\ncron = "0 2 * * *"\n')
    process = started(studio)
    status = json.loads((studio.root / ".omixa" / "schedule.json").read_text())
    assert (status["schema"], status["state"]) == ("omixa.schedule-status/1", "running")
    assert [one["name"] for one in status["recipes"]] == ["posters"]
    assert status["recipes"][0]["next_due_at"] is not None
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    actions = [line["action"] for line in lines(err)]
    assert actions[:2] == ["start", "ready"]
    assert actions[-2:] == ["stopping", "stopped"]
    assert json.loads((studio.root / ".omixa" / "schedule.json").read_text())["state"] == "stopped"
    assert list((studio.root / ".omixa" / "owners").glob("*.lock")) == []


def test_real_money_is_not_spent_by_itself_without_consent(studio: Studio) -> None:
    studio.recipe(more='[schedule]\ncron = "0 2 * * *"\n')
    ended = studio.omixa("schedule", "run")
    assert ended.code == 2
    assert ended.err == (
        "error: these recipes would spend real money by themselves: posters\n"
        "   = help: `omixa forecast` tells how much, `omixa budget` the caps; then add --yes\n"
    )


def test_a_slot_that_is_due_while_a_scheduler_is_up_runs(studio: Studio) -> None:
    """The one test of the real clock: a cron of every minute, and at most a minute of patience."""
    studio.pictures(1)
    studio.recipe(more='[schedule]\ncron = "* * * * *"\n')
    process = started(studio)
    end_of_patience = os.times().elapsed + 75
    while studio.endpoint.counts().requests == 0:
        assert os.times().elapsed < end_of_patience
        assert process.poll() is None
        signal.sigtimedwait([signal.SIGUSR2], 0.1)
    wait_until(lambda: "ran" in studio.omixa("schedule", "history").out, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    told = {line["action"]: line for line in lines(err)}
    assert told["slot-ended"]["bought"] == 1
    assert told["slot-ended"]["billed_micros"] == 39_000


def test_sigterm_finishes_what_is_in_flight_and_says_what_is_left(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(latency_ms=1000)
    studio.settings(concurrency=2)
    studio.know_price()
    studio.recipe()
    studio.pictures(10)
    process = studio.start("schedule", "run-now", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests >= 2, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    counts = studio.endpoint.counts()
    assert process.returncode == 130, (out, err)
    assert out.startswith(f"posters: ran, bought {counts.requests} pictures for ")
    assert f"{10 - counts.requests} pictures left" in out
    assert studio.states() == {"settled": counts.requests}
