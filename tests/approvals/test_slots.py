"""A slot that costs more than the policy allows waits, visibly, until its plan is approved; it buys nothing before."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner import alerts
from runner.approvals import WAIT, approval_path
from runner.ledger import verify
from runner.monitor.logs import ACTIONS
from runner.planfile import read
from runner.settings import load
from runner.trail import approval
from tests.schedule.conftest import HOURLY, Office
from tests.schedule.conftest import open_office as open_office

POLICY = '[policy]\napproval_over = "1.00"\n[approvers.ben]\nkey = "{key}"\n'


class Waiting:
    """An office whose hourly recipe costs more than may be bought without asking."""

    def __init__(self, office: Office, outside: Path) -> None:
        self.office = office
        self.key = outside / "ben.pem"
        self.public = approval.new_key(self.key)
        office.studio.recipe(more=HOURLY)
        office.studio.pictures(2)
        path = office.studio.root / "omixa.toml"
        path.write_text(path.read_text() + POLICY.format(key=self.public))
        office.step()
        office.step(hours=1)

    @property
    def plan(self) -> Path:
        return self.office.studio.root / ".omixa" / "waiting" / "posters-20261102T090000Z.plan.json"

    @property
    def requests(self) -> int:
        return self.office.studio.endpoint.counts().requests

    def approve(self, **changes: Any) -> None:
        key, _ = approval.load_key(self.key)
        _, digest = read(self.plan.read_text())
        told = {"plan": digest, "amount_micros": 2_000_000, "currency": "USD", "approver": "ben"}
        told |= {"at": self.office.at, "until": self.office.at + timedelta(hours=1)}
        signed = approval.sign(key, **(told | changes))
        approval_path(self.plan, "ben").write_text(json.dumps(signed.record()))


@pytest.fixture
def waiting(open_office: Callable[..., Office], tmp_path_factory: pytest.TempPathFactory) -> Waiting:
    return Waiting(open_office(), tmp_path_factory.mktemp("keys"))


ASKS = (
    "waits for an approval of up to 1.400 USD: "
    "`omixa approve .omixa/waiting/posters-20261102T090000Z.plan.json --max AMOUNT`"
)


def test_a_slot_waits_for_its_approval_and_then_buys(waiting: Waiting) -> None:
    office = waiting.office
    assert office.slots() == [("02 09:00", "waiting", ASKS)]
    office.step(minutes=10)
    assert waiting.requests == 0
    waiting.approve()
    office.step(minutes=1)
    assert office.slots() == [("02 09:00", "ran", None)]
    assert waiting.requests == 2
    assert set(office.actions()) <= set(ACTIONS)
    assert [(row.approver, row.slot) for row in office.studio.rows()] == [("ben", "2026-11-02T09:00:00+00:00")] * 2
    assert verify.verify(office.database).faults == []
    office.studio.balances()


MEANWHILE = "the slot of 2026-11-02 09:00 UTC still waits for an approval of up to 1.400 USD"


def test_slots_that_come_meanwhile_say_what_the_first_waits_for(waiting: Waiting) -> None:
    waiting.office.step(hours=1)
    assert waiting.office.slots()[1] == ("02 10:00", "overlapped", MEANWHILE)
    assert waiting.requests == 0


def test_a_slot_that_nobody_approves_ends_and_the_next_one_waits(waiting: Waiting) -> None:
    office = waiting.office
    office.step(seconds=(WAIT - timedelta(seconds=1)).total_seconds())
    assert office.states()[0] == "waiting"
    office.step(seconds=1)
    assert office.slots()[0] == ("02 09:00", "refused", "no approval came within 22 hours")
    assert office.states()[-1] == "waiting"
    assert waiting.requests == 0


def test_a_slot_goes_on_waiting_when_its_process_dies(waiting: Waiting) -> None:
    office = waiting.office
    office.end()
    office.step(hours=3)
    assert office.slots()[0] == ("02 09:00", "waiting", ASKS)
    waiting.approve()
    office.step(minutes=1)
    assert office.states()[0] == "ran"
    assert waiting.requests == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plan": "0" * 64}, "approves another plan"),
        ({"until": datetime(2026, 11, 2, 9, tzinfo=UTC)}, "has expired"),
        ({"currency": "EUR"}, "is about EUR"),
    ],
)
def test_an_approval_that_does_not_hold_leaves_it_waiting_and_says_why(
    waiting: Waiting, changes: dict[str, Any], told: str
) -> None:
    waiting.approve(**changes)
    waiting.office.step(minutes=1)
    _, state, reason = waiting.office.slots()[0]
    assert state == "waiting"
    assert told in (reason or "")
    waiting.approve()
    waiting.office.step(minutes=1)
    assert waiting.office.states()[0] == "ran"


def test_a_picture_that_was_touched_after_the_plan_ends_the_slot(waiting: Waiting) -> None:
    waiting.office.studio.picture("pictures/000.png", seed=7)
    waiting.approve()
    waiting.office.step(minutes=1)
    _, state, reason = waiting.office.slots()[0]
    assert (state, waiting.requests) == ("refused", 0)
    assert "changed after the plan was made: `pictures/000.png`" in (reason or "")


def test_an_alert_tells_once_that_an_approval_is_needed(waiting: Waiting) -> None:
    office = waiting.office
    settings, _ = load(office.studio.root)
    assert settings is not None
    found = [alerts.evaluate(settings, [], office.database, at=office.at) for _ in range(2)]
    assert [[one.kind for one in some] for some in found] == [["approval"], []]
    assert found[0][0].message == f"recipe posters: the slot of 2026-11-02 09:00 UTC {ASKS}"


def test_plans_that_nobody_approved_are_put_away_after_a_month_and_those_bought_by_stay(waiting: Waiting) -> None:
    office, place = waiting.office, waiting.plan.parent
    waiting.approve()
    office.step(minutes=1)
    assert office.states()[0] == "ran"
    office.studio.pictures(4)
    office.step(hours=1)
    second = place / "posters-20261102T100000Z.plan.json"
    approval_path(second, "ben").write_text("of no use")
    others = {place / name: name for name in ("notes.plan.json", "posters-20260101T000000Z.plan.json")}
    for path, text in others.items():
        path.write_text(text)
    bought_by = {waiting.plan, approval_path(waiting.plan, "ben"), *others}
    office.step(days=29)
    assert {second, approval_path(second, "ben"), *bought_by} <= set(place.iterdir())
    office.step(days=2)
    left = set(place.iterdir())
    assert bought_by <= left
    assert not {second, approval_path(second, "ben")} & left
    assert waiting.requests == 2


def test_whoever_approves_a_slot_is_told_that_the_scheduler_buys_it(waiting: Waiting) -> None:
    ended = waiting.office.studio.omixa(
        "approve", str(waiting.plan), "--max", "2.00", "--key", str(waiting.key), "--yes"
    )
    assert ended.code == 0, ended
    assert ended.out.endswith(
        "a scheduler buys it within a minute, when enough have approved; `omixa schedule history` tells\n"
    )
    assert waiting.requests == 0


def test_by_hand_nobody_waits(waiting: Waiting) -> None:
    waiting.office.end()
    ended = waiting.office.studio.omixa("schedule", "run-now", "posters", "--yes")
    assert ended.code == 9
    assert "error[approval-needed]" in ended.err
    assert waiting.requests == 0


def test_what_comes_says_that_it_waits_for_an_approval_before_it_buys(waiting: Waiting) -> None:
    studio = waiting.office.studio
    ahead = ("schedule", "next", "posters", "--limit", "1", "--until", str((datetime.now(UTC) + timedelta(2)).date()))
    told = studio.omixa(*ahead)
    assert "  fits; waits for an approval of up to 1.400 USD\n" in told.out, told
    (slot,) = json.loads(studio.omixa(*ahead, "--json").out)["slots"]
    assert slot["needs_approval"] is True
    settings = studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace('approval_over = "1.00"', 'approval_over = "1.40"'))
    assert "approval" not in studio.omixa(*ahead).out
    (slot,) = json.loads(studio.omixa(*ahead, "--json").out)["slots"]
    assert slot["needs_approval"] is False


def test_a_recipe_that_was_paused_meanwhile_is_not_bought_when_its_approval_comes(waiting: Waiting) -> None:
    office = waiting.office
    paused = office.studio.omixa("schedule", "pause", "posters", "--reason", "holiday")
    assert paused.code == 0
    waiting.approve()
    office.step(minutes=1)
    _, state, reason = office.slots()[0]
    assert (state, waiting.requests) == ("skipped", 0)
    assert "holiday" in (reason or "")
