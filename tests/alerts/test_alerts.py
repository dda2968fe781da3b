"""Alerts: told once, whoever looks and however often; taken to every channel until they arrive; never with a secret."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from runner import alerts
from runner.ledger import alerting, verify
from runner.ledger.agenda import Agenda
from runner.ledger.alerting import Alerting
from runner.ledger.database import moment
from runner.ledger.ends import ledger_uid
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap
from runner.ringing import Ringer
from runner.trail import checkpoint
from runner.trail.checkpoint import Checkpoint, origin
from runner.watch import Watch
from runner.witness import Witness, broken_chains, signing_key
from tests.alerts.conftest import SECRET, House, Mailbox, Receiver
from tests.ledger.conftest import no_uptime

CENT = 10_000
MONTH = Cap("workspace", "", "month", 1_000_000)
BY = {"who": "ana@desk"}


def buy(house: House, count: int, *, uid: str = "run-1", micros: int = CENT) -> None:
    with house.desk(uid) as desk:
        for n in range(count):
            desk.buy(f"{uid}-{n}", billed=micros, amount=micros, caps=[MONTH])


def kinds(found: list[alerting.Alert]) -> list[str]:
    return [one.kind for one in found]


def faults(house: House) -> list[str]:
    """What verify finds, but for the price that a desk pretends to have seen."""
    with house.database() as opened:
        return [fault for fault in verify.verify(opened).faults if not fault.startswith("prices of ")]


# ---- budgets


def test_a_threshold_fires_once_however_much_is_bought_past_it(house: House) -> None:
    buy(house, 79)
    assert [one.key for one in house.look()] == ["budget studio@sandbox workspace - month 2026-11 50"]
    buy(house, 1, uid="run-2")
    (found,) = house.look()
    assert found.key == "budget studio@sandbox workspace - month 2026-11 80"
    assert "month 2026-11 Europe/Berlin of workspace studio@sandbox" in found.message
    for n in range(15):
        buy(house, 1, uid=f"more-{n}")
        assert house.look() == []
    assert faults(house) == []


def test_just_below_a_threshold_nothing_fires(house: House) -> None:
    buy(house, 1, micros=499_999)
    assert house.look() == []
    buy(house, 1, uid="run-2", micros=1)
    assert len(house.look()) == 1


def test_what_is_open_counts(house: House) -> None:
    with house.desk() as desk:
        desk.send("a", amount=500_000, caps=[MONTH])
    assert kinds(house.look()) == ["budget"]


def test_a_jump_past_several_thresholds_tells_the_highest_only(house: House) -> None:
    buy(house, 1, micros=900_000)
    (found,) = house.look()
    assert found.key.endswith(" 80")
    assert house.look() == []


def test_the_next_window_is_armed_again(house: House) -> None:
    buy(house, 80)
    assert len(house.look()) == 1
    house.pass_time(days=31)
    assert house.look() == []
    buy(house, 80, uid="december")
    (found,) = house.look()
    assert found.key == "budget studio@sandbox workspace - month 2026-12 80"


def test_five_hundred_requests_past_a_threshold_are_one_alert_whoever_looks(house: House, receiver: Receiver) -> None:
    """Its long form, ten thousand requests, is tests/long/alerts.py."""
    house.write('[[alerts.to]]\nname = "ops"\nurl_env = "OPS_URL"\n')
    buy(house, 80)
    with house.desk("past") as desk, ThreadPoolExecutor(4) as threads:
        found = []
        for n in range(500):
            desk.buy(f"past-{n}", billed=300, amount=300, caps=[MONTH])
            if n % 50 == 0:
                found += [one for look in threads.map(lambda _: house.look(), range(4)) for one in look]
    assert [one.key.rpartition(" ")[2] for one in found] == ["80"]


# ---- other occasions


def test_a_breach_and_a_stop_are_told_once(house: House) -> None:
    with house.desk() as desk:
        desk.settle(desk.send("dear", caps=[MONTH]), billed=400_000)
    assert kinds(house.look()) == ["breach"]
    with house.database() as opened:
        Ledger(opened, uptime=no_uptime).stop(None, reason="night", at=house.at, **BY)
    assert kinds(house.look()) == ["stop"]
    assert house.look() == []


def test_an_unknown_attempt_is_told_when_it_is_older_than_a_day(house: House) -> None:
    with house.desk() as desk:
        desk.lose(desk.send("lost", caps=[MONTH]))
    house.pass_time(hours=23, minutes=59)
    assert house.look() == []
    house.pass_time(minutes=1)
    (found,) = house.look()
    assert (found.kind, found.key) == ("unknown", "unknown 1")
    assert house.look() == []


def test_a_month_of_missed_slots_is_one_alert_a_day_at_the_most(house: House) -> None:
    with house.database() as opened:
        agenda = Agenda(opened, uptime=no_uptime)
        agenda.watch("posters", "studio@sandbox", "cron 0 * * * *", "Europe/Berlin", at=house.at, **BY)
        hours = [house.at + timedelta(hours=n) for n in range(1, 24 * 30)]
        house.pass_time(days=30)
        agenda.account("posters", "studio@sandbox", hours, "missed", "nobody looked", at=house.at, **BY)
    found = house.look()
    assert kinds(found) == ["slot"]
    assert "719" in found[0].message
    assert house.look() == []


@pytest.mark.parametrize("state", ["refused", "failed"])
def test_a_slot_that_was_refused_or_failed_is_told(house: House, state: str) -> None:
    with house.database() as opened:
        agenda = Agenda(opened, uptime=no_uptime)
        agenda.watch("posters", "studio@sandbox", "cron 0 * * * *", "Europe/Berlin", at=house.at, **BY)
        slot = agenda.claim("posters", house.at, "studio@sandbox", owner="o", at=house.at, **BY)
        assert slot is not None
        agenda.end(slot.id, state, "no room", at=house.at, **BY)
    (found,) = house.look()
    assert found.kind == "slot"
    assert state in found.message
    assert house.look() == []


def test_what_others_tell_is_told_once_and_again_when_it_changes(house: House) -> None:
    broken = alerts.recipe_invalid("posters", "studio@sandbox", "a" * 64)
    assert kinds(house.look([broken])) == ["recipe"]
    assert house.look([broken]) == []
    assert kinds(house.look([alerts.recipe_invalid("posters", "studio@sandbox", "b" * 64)])) == ["recipe"]
    predicted = alerts.predicted("studio@sandbox", "month 2026-11", "studio@sandbox workspace - month 2026-11", "no")
    assert kinds(house.look([predicted])) == ["forecast"]
    assert house.look([predicted]) == []


# ---- channels


@pytest.fixture
def ops(house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    monkeypatch.setenv("OPS_URL", receiver.url)
    house.write('[[alerts.to]]\nname = "ops"\nurl_env = "OPS_URL"\n')
    return receiver


def test_a_webhook_gets_the_alert_once(house: House, ops: Receiver) -> None:
    buy(house, 80)
    house.look()
    assert [one.state for one in house.deliver()] == ["sent"]
    assert house.deliver() == []
    (message,) = ops.messages
    assert "month 2026-11 Europe/Berlin of workspace studio@sandbox" in message


def test_a_mailbox_gets_the_alert(house: House, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_URL", mailbox.url)
    house.write('[[alerts.to]]\nname = "mail"\nurl_env = "MAIL_URL"\n')
    buy(house, 80)
    house.look()
    (sending,) = house.deliver()
    assert sending.state == "sent", sending
    ((sender, to, subject, body),) = mailbox.mails
    assert (sender, to) == ("omixa@studio.example", ["ops@studio.example"])
    assert subject == "omixa: budget of workspace studio@sandbox"
    assert "month 2026-11" in body


def test_a_command_gets_the_alert_without_a_shell(house: House, script: Callable[[str], str]) -> None:
    house.write(script('cat > heard.json; printf "%s|%s|%s" "$OMIXA_ALERT_KIND" "$1" "$2" > words'))
    buy(house, 80)
    house.look()
    assert [one.state for one in house.deliver()] == ["sent"]
    assert json.loads((house.root / "heard.json").read_text())["kind"] == "budget"
    assert (house.root / "words").read_text() == "budget|one|two words"


def test_a_receiver_that_is_down_three_times_gets_it_at_the_fourth(house: House, ops: Receiver) -> None:
    ops.status = 500
    buy(house, 80)
    house.look()
    for minutes in (0, 1, 5):
        house.pass_time(minutes=minutes)
        (sending,) = house.deliver()
        assert (sending.state, ops.messages) == ("waiting", [])
        house.pass_time(seconds=30)
        assert house.deliver() == [], "it is not tried before its time"
        house.pass_time(seconds=30)
    ops.status = 200
    house.pass_time(minutes=30)
    (sending,) = house.deliver()
    assert (sending.state, sending.tries, len(ops.messages)) == ("sent", 4, 1)


def test_what_never_arrives_is_given_up_visibly_and_can_be_tried_anew(house: House, ops: Receiver) -> None:
    ops.status = 500
    buy(house, 80)
    house.look()
    for _ in range(8):
        (sending,) = house.deliver()
        house.pass_time(days=1, minutes=1)
    assert (sending.state, sending.tries) == ("given-up", 8)
    assert house.deliver() == []
    ops.status = 200
    with house.database() as opened:
        assert Alerting(opened).retry(at=house.at, **BY) == 1
    assert [one.state for one in house.deliver()] == ["sent"]


def test_no_error_and_no_byte_of_the_ledger_has_the_secret_of_a_channel(house: House, ops: Receiver) -> None:
    ops.status = 500
    buy(house, 80)
    house.look()
    (sending,) = house.deliver()
    assert sending.error
    assert SECRET not in sending.error
    assert SECRET.encode() not in house.octets()
    assert faults(house) == []


def test_a_channel_hears_only_what_it_wants(house: House, script: Callable[[str], str]) -> None:
    house.write(script("exit 0") + 'on = ["breach"]\n')
    buy(house, 80)
    house.look()
    assert house.deliver() == []
    with house.database() as opened:
        found = alerting.alerts(opened)
    assert {(alert.kind, len(sendings)) for alert, sendings in found} == {("budget", 0)}


DIES = """
import os, signal, sys
from pathlib import Path
from runner import alerts
from runner.ledger.database import open_database
from runner.settings import load, ledger_path
from tests.ledger.conftest import NOON
alerts.send = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
settings, _ = load(Path(sys.argv[1]))
with open_database(ledger_path(settings), create=False) as database:
    alerts.deliver(settings, database, at=NOON)
"""


def test_a_process_that_dies_while_it_sends_leaves_it_to_be_sent_again_after_its_lease(
    house: House, ops: Receiver
) -> None:
    buy(house, 80)
    house.look()
    dead = subprocess.run([sys.executable, "-c", DIES, str(house.root)], check=False)
    assert dead.returncode == -9
    assert house.deliver() == []
    house.pass_time(minutes=6)
    (sending,) = house.deliver()
    assert (sending.state, len(ops.messages)) == ("sent", 1)


def test_of_two_that_deliver_at_once_one_sends(house: House, ops: Receiver) -> None:
    buy(house, 80)
    house.look()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: house.deliver(), range(3)))
    assert len(ops.messages) == 1


# ---- the command


def omixa(house: House, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "runner", "--project", str(house.root), "alert", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
    )
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_test_alert_says_of_each_channel_whether_it_arrived(house: House, ops: Receiver) -> None:
    assert omixa(house, "test") == (0, "ops: sent\n", "")
    assert ops.messages == ["this is a test: what omixa has to tell of this project arrives here"]
    ops.status = 500
    code, out, _ = omixa(house, "test")
    assert code == 1
    assert out.startswith("ops: not sent: apprise could not deliver it: ")
    code, _, err = omixa(house, "test", "--to", "opps")
    assert (code, err) == (2, "error: there is no channel `opps`\n   = help: did you mean `ops`?\n")


def test_the_list_tells_how_far_each_alert_has_come(house: House, ops: Receiver) -> None:
    omixa(house, "test")
    code, out, _ = omixa(house, "list", "--json")
    told = json.loads(out)
    assert (code, told["schema"]) == (0, "omixa.alerts/1")
    assert [one["state"] for one in told["alerts"][0]["sendings"]] == ["sent"]


def test_without_channels_it_says_so(house: House) -> None:
    code, _, err = omixa(house, "test")
    assert code == 2
    assert "[[alerts.to]]" in err


def test_check_looks_and_sends_once_for_who_has_no_scheduler(house: House, ops: Receiver) -> None:
    with house.database() as opened:
        Ledger(opened, uptime=no_uptime).stop(None, reason="night", at=house.at, **BY)
    code, out, _ = omixa(house, "check")
    assert code == 0
    assert out.startswith("stop: ")
    assert out.endswith("ops: sent\n")
    assert omixa(house, "check")[1] == ""
    assert len(ops.messages) == 1


def test_a_ledger_that_was_put_back_or_made_anew_is_told(house: House, ops: Receiver) -> None:
    copy = house.root / "copy.db"
    for name in ("a", "b"):
        with house.desk(name) as desk:
            desk.buy(name)
        with house.database() as opened:
            Witness(opened, house.settings).write(at=house.at)
            assert broken_chains(opened, house.settings) == []
        if name == "a":
            shutil.copy(house.path, copy)
    assert omixa(house, "check")[1] == ""
    shutil.copy(copy, house.path)
    assert omixa(house, "check")[1].startswith("checkpoint: a checkpoint does not fit the ledger")
    assert omixa(house, "check")[1] == ""
    with house.desk("another") as desk:
        desk.buy("another")
        desk.buy("and another")
    with house.database() as opened:  # as long as before, and longer: but not the same
        assert broken_chains(opened, house.settings) == ["studio@sandbox"]
    assert len(ops.messages) == 1


def test_the_scheduler_compares_the_ledger_with_its_checkpoints_once_an_hour(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("runner.ringing.time.monotonic", lambda: now[0])
    with house.desk() as desk:
        desk.buy("a")
    with house.database() as opened:
        Witness(opened, house.settings).write(at=house.at)
        agenda = Agenda(opened, uptime=no_uptime)
        watch = Watch(house.root, agenda, "o", "w", lambda *_, **__: None, lambda *_: "")
        watch.reload(house.at)
        ringer = Ringer(watch, opened)
        assert ringer.ring(house.at)[0] == []
        checkpoints = house.root / house.settings.audit.checkpoints
        uid = ledger_uid(opened)
        note = signing_key(house.settings, uid).sign(
            Checkpoint(origin(uid, "studio@sandbox"), 99, bytes(32), moment(house.at))
        )
        checkpoint.append(checkpoints, note)
        now[0] = 3599
        assert ringer.ring(house.at)[0] == []
        now[0] = 3600
        assert kinds(ringer.ring(house.at)[0]) == ["checkpoint"]
