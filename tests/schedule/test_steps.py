"""What a scheduler does at each step: runs what is due, once, and writes down what became of everything else."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.date import DateTrigger
from sqlalchemy import text

from runner.errors import LedgerError
from runner.ledger import agenda, owners, verify
from runner.ledger.clocks import Uptime
from runner.schedule import Waker
from runner.watch import jitter
from tests.run.conftest import Studio
from tests.run.test_trouble import ROOT, mounted
from tests.schedule.conftest import HOURLY, START, Office

NOBODY = "nobody looked when it was due"


def test_a_slot_runs_when_it_is_due_and_not_before(office: Office) -> None:
    office.studio.pictures(2)
    office.step(minutes=59)
    assert office.slots() == []
    assert office.studio.endpoint.counts().requests == 0
    office.step(minutes=1)
    assert office.slots() == [("02 09:00", "ran", None)]
    assert office.studio.endpoint.counts().requests == 2
    office.step(minutes=1)
    office.step(minutes=59)
    assert office.slots()[1:] == [("02 10:00", "ran", "everything is paid for and in place")]
    assert verify.verify(office.database).faults == []
    office.studio.balances()


def test_a_slot_that_bought_says_what_it_held_back(office: Office) -> None:
    office.studio.pictures(2)
    (office.studio.root / "out").mkdir()
    (office.studio.root / "out/000.png").write_text("mine")
    office.step()
    office.step(hours=1)
    ((_, state, reason),) = office.slots()
    assert (state, reason) == ("ran", "1 picture held back: `omixa plan posters` tells why")
    assert office.studio.endpoint.counts().requests == 1


def test_a_slot_that_is_seen_a_little_late_runs_all_the_same(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.step(hours=1, minutes=5)
    assert office.states() == ["ran"]


def test_a_run_that_was_begun_by_a_slot_says_which(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.step(hours=1)
    assert [row.slot for row in office.studio.rows()] == ["2026-11-02T09:00:00+00:00"]


def test_the_next_step_is_due_with_the_next_slot_or_in_half_a_minute(office: Office) -> None:
    assert office.step() == START + timedelta(seconds=30)
    assert office.step(minutes=59, seconds=50) == START + timedelta(hours=1)


@pytest.mark.parametrize(("missed", "sent"), [("skip", 0), ("plan", 0), ("once", 3)])
def test_thirty_days_off_with_an_hourly_recipe(office: Office, missed: str, sent: int) -> None:
    office.studio.recipe(more=f'{HOURLY}missed = "{missed}"\n')
    office.step()
    office.end()
    office.studio.pictures(3)
    office.step(days=30, minutes=30)
    assert office.studio.endpoint.counts().requests == sent
    states = office.states()
    assert len(states) == 30 * 24
    assert set(states[:-1]) == {"missed"}
    assert states[-1] == ("ran" if missed == "once" else "missed")
    reason = office.slots()[0][2]
    if missed == "plan":
        told = "a run now would buy 3 pictures for about 2.100 USD, at most 2.100 USD"
        assert reason == f"{NOBODY}; {told}: `omixa schedule run-now posters` starts it"
    else:
        assert reason == NOBODY
    office.step(minutes=30)
    assert office.states()[-1] == "ran"
    assert office.studio.endpoint.counts().requests == 3
    assert verify.verify(office.database).faults == []


def test_once_runs_no_missed_slot_beside_one_that_is_due_now(office: Office) -> None:
    office.studio.recipe(more=f'{HOURLY}missed = "once"\n')
    office.studio.pictures(1)
    office.step()
    office.step(hours=5)
    assert office.states() == ["missed"] * 4 + ["ran"]


def test_a_slot_that_comes_while_the_last_run_goes_on_is_overlapped(open_office: Callable[..., Office]) -> None:
    office = open_office(latency_ms=1500)
    office.studio.recipe(more=HOURLY)
    office.studio.pictures(1)
    office.step()
    office.step(wait=False, hours=1)
    office.step(hours=1)
    assert office.states() == ["ran", "overlapped"]


def test_with_queue_it_waits_for_the_run_before_it(open_office: Callable[..., Office]) -> None:
    office = open_office(latency_ms=1500)
    office.studio.recipe(more=f'{HOURLY}overlap = "queue"\n')
    office.studio.pictures(1)
    office.step()
    office.step(wait=False, hours=1)
    # Its thread has only just been started: as long as it waits itself, another cannot wait for it.
    office.running()
    office.step(hours=1)
    assert office.states() == ["ran", "waiting"]
    office.step(seconds=1)
    assert office.states() == ["ran", "ran"]


def test_jitter_delays_a_start_by_the_same_time_whoever_asks(office: Office) -> None:
    due_at = START + timedelta(hours=1)
    wait = jitter("posters", due_at, 600)
    assert timedelta() < wait < timedelta(seconds=600)
    assert jitter("posters", due_at, 0) == timedelta()
    assert jitter("posters", due_at + timedelta(hours=1), 600) != wait
    office.studio.recipe(more=f"{HOURLY}jitter_s = 600\n")
    office.step()
    office.step(hours=1)
    assert office.states() == ["waiting"]
    office.at = due_at + wait - timedelta(milliseconds=1)
    office.step()
    assert office.states() == ["waiting"]
    office.step(milliseconds=1)
    assert office.states() == ["ran"]


def test_a_paused_recipe_skips_and_says_who_paused_it(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.scheduler.place.agenda.pause("posters", "studio", "UTC", reason="holiday", who="ana", at=office.at)
    office.step(hours=1)
    assert office.slots() == [("02 09:00", "skipped", "paused by ana: holiday")]
    office.scheduler.place.agenda.unpause("posters", who="ana", at=office.at)
    office.studio.recipe(more=f"{HOURLY}paused = true\n")
    office.step(hours=1)
    assert office.slots()[1:] == [("02 10:00", "skipped", "paused in the recipe")]
    assert office.studio.endpoint.counts().requests == 0
    office.studio.recipe(more=HOURLY)
    office.step(hours=1)
    assert office.states()[2:] == ["ran"]


def test_a_recipe_that_begins_to_cost_real_money_is_skipped_by_a_scheduler_that_may_not_spend_any(
    office: Office,
) -> None:
    office.consent = False  # as `omixa schedule run` without --yes, which only starts where all is play money
    office.studio.pictures(1)
    office.step()
    office.step(hours=1)
    assert office.slots() == [
        ("02 09:00", "skipped", "it spends real money, and the scheduler was started without --yes")
    ]
    assert office.studio.endpoint.counts().requests == 0


def test_a_stop_skips_and_a_full_budget_refuses(office: Office) -> None:
    office.studio.settings(month="0.80")
    office.studio.know_price()
    office.studio.pictures(4)
    office.step()
    office.scheduler.place.agenda.stop("studio", reason="wrong prompt", who="ana", at=office.at)
    office.step(hours=1)
    assert office.slots() == [("02 09:00", "skipped", "a stop: wrong prompt")]
    office.scheduler.place.agenda.resume("studio", note="mended", who="ana", at=office.at)
    office.step(hours=1)
    when, state, reason = office.slots()[1]
    assert (when, state) == ("02 10:00", "refused")
    assert (reason or "").startswith("budget month 2026-11 Europe/Berlin of workspace studio has ")
    assert (reason or "").endswith("this request may cost 0.700 USD; 1 picture left")
    assert office.studio.settled == 3 * 39_000


def test_a_time_limit_ends_a_run_and_says_what_is_left(open_office: Callable[..., Office]) -> None:
    office = open_office(latency_ms=700)
    office.studio.settings(concurrency=1)
    office.studio.recipe(more=f"{HOURLY}time_limit_s = 1\n")
    office.studio.pictures(6)
    office.step()
    office.step(hours=1)
    ((_, state, reason),) = office.slots()
    assert state == "ran"
    assert (reason or "").startswith("its time limit of 1 s was over; ")
    assert (reason or "").endswith(" left")
    assert 1 <= office.studio.endpoint.counts().requests < 6


# ---- files that change


def test_an_edit_counts_from_the_next_slot_on(office: Office) -> None:
    office.studio.picture("more/a.png")
    office.step()
    office.studio.recipe(folder="more", more=HOURLY)
    office.step(hours=1)
    assert office.studio.outputs() == ["a.png"]


def test_an_edit_that_breaks_a_recipe_leaves_its_last_good_version_running_and_says_so(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    path = office.studio.root / "recipes" / "posters.toml"
    good = path.read_text()
    path.write_text(good.replace("workspace =", "workspce ="))
    office.step(hours=1)
    assert office.states() == ["ran"]
    (told,) = [facts for action, facts in office.told if action == "recipe-invalid"]
    assert told["recipe"] == "posters"
    assert "workspce" in told["problem"]
    assert told["version"] == "its last good version goes on"
    office.step(hours=1)
    assert office.actions().count("recipe-invalid") == 1
    path.write_text(good)
    office.step(hours=1)
    assert "recipe-restored" in office.actions()
    assert office.studio.endpoint.counts().requests == 1


def test_what_a_run_of_the_last_good_version_bought_is_booked_under_that_version(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    path = office.studio.root / "recipes" / "posters.toml"
    path.write_text("broken")
    office.step(hours=1)
    digests = {row["recipe_digest"] for row in runs(office)}
    office.studio.recipe(more=HOURLY)
    office.studio.picture("pictures/new.png")
    office.step(hours=1)
    assert len(runs(office)) == 2
    assert {row["recipe_digest"] for row in runs(office)} == digests


def runs(office: Office) -> list[dict[str, object]]:
    with office.database.read() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM runs")).mappings()]


def test_a_recipe_that_is_broken_when_the_scheduler_starts_is_skipped_visibly(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.end()
    (office.studio.root / "recipes" / "posters.toml").write_text("workspace = 1\n")
    office.step(hours=1)
    office.step(hours=1)
    ((_, state, _), (when, skipped, reason)) = office.slots()
    assert (state, when, skipped) == ("skipped", "02 10:00", "skipped")
    assert (reason or "").startswith("the recipe has problems: ")
    assert office.studio.endpoint.counts().requests == 0


def test_a_broken_contract_keeps_the_last_good_version_of_everything(office: Office) -> None:
    office.studio.pictures(1)
    (office.studio.root / "contracts").mkdir()
    path = office.studio.root / "contracts" / "draw.toml"
    office.step()
    path.write_text("model = 7\n")
    office.step(minutes=1)  # nothing is due: it is seen because the file is looked at
    assert "reload-failed" in office.actions()
    office.step(hours=1)
    assert office.states() == ["ran"]
    (told,) = [facts for action, facts in office.told if action == "reload-failed"]
    assert str(told["problem"]).startswith("contracts/draw.toml: ")
    path.unlink()
    office.step(hours=1)
    assert "recipe-restored" in office.actions()


def test_broken_settings_keep_the_last_good_ones(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    path = office.studio.root / "omixa.toml"
    path.write_text(path.read_text().replace("[workspaces.studio]", "[workspaces.studio"))
    office.step(hours=1)
    assert office.states() == ["ran"]
    assert "reload-failed" in office.actions()


def test_a_lower_cap_counts_from_the_next_slot_on(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.studio.settings(month="0.10")
    office.step(hours=1)
    assert office.states() == ["refused"]
    assert office.studio.endpoint.counts().requests == 0


def test_a_recipe_that_goes_away_is_not_run_any_more(office: Office) -> None:
    office.step()
    (office.studio.root / "recipes" / "posters.toml").unlink()
    office.step(hours=1)
    office.step(hours=1)
    assert office.slots() == []
    assert office.scheduler.watch.next_at(office.at) is None


def test_slots_of_a_timing_that_changed_while_nobody_looked_are_accounted_for(office: Office) -> None:
    office.step()
    office.end()
    office.studio.recipe(more='[schedule]\ncron = "30 * * * *"\ntime_zone = "UTC"\n')
    office.step(hours=3)
    before = "nobody was there before the schedule changed"
    assert office.slots() == [(f"02 {hour:02}:00", "missed", before) for hour in (9, 10, 11)]
    office.step(minutes=30)
    assert office.slots()[3:] == [("02 11:30", "ran", "no pictures were found")]


def test_a_new_recipe_counts_from_when_it_is_seen(office: Office) -> None:
    office.step()
    office.studio.recipe("logos", folder="logos", output="logos-out", more=HOURLY)
    office.step(minutes=30)
    office.step(minutes=30)
    assert [slot[:2] for slot in office.slots("logos")] == [("02 09:00", "ran")]


# ---- trouble


def test_a_source_folder_that_is_gone_fails_the_slot_and_sends_nothing(office: Office) -> None:
    office.step()
    (office.studio.root / "pictures").rmdir()
    office.step(hours=1)
    ((_, state, reason),) = office.slots()
    assert state == "failed"
    assert "pictures" in (reason or "")


def test_a_key_that_was_revoked_fails_the_slot_and_one_that_was_rotated_is_read_anew(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.studio.pictures(3)
    office.step()
    monkeypatch.setenv("STUDIO_KEY", "omx_live_another-0123456789")
    office.step(hours=1)
    ((_, state, reason),) = office.slots()
    assert (state, (reason or "").partition(":")[0]) == ("failed", "the endpoint cannot be used")
    assert office.studio.settled == office.studio.open == 0
    monkeypatch.undo()
    monkeypatch.setenv("STUDIO_KEY", "omx_live_test-key-0123456789")
    office.step(hours=1)
    assert office.states() == ["failed", "ran"]


def test_an_endpoint_that_is_down_fails_each_slot_and_spends_nothing(office: Office) -> None:
    office.studio.pictures(2)
    office.studio.settings(url="http://127.0.0.1:9")
    office.step()
    office.step(hours=1)
    assert office.states() == ["failed"]
    office.studio.settings()
    office.step(hours=1)
    assert office.states() == ["failed", "ran"]
    assert office.studio.endpoint.counts().requests == 2


def test_a_lid_that_was_closed_for_a_day_misses_its_slots_and_surprises_nobody(office: Office) -> None:
    seconds = 0
    office.uptime = lambda: Uptime("boot", seconds * 10**9)
    office.studio.pictures(1)
    office.step()
    seconds = 3600
    office.step(hours=1)
    assert office.states() == ["ran"]
    office.studio.picture("pictures/new.png")
    seconds += 86_400 + 1800
    office.step(days=1, minutes=30)
    assert office.states() == ["ran"] + ["missed"] * 24
    assert office.studio.endpoint.counts().requests == 1
    seconds += 1800
    office.step(minutes=30)
    assert office.states()[-1] == "ran"
    assert office.studio.endpoint.counts().requests == 2


def test_a_clock_that_jumped_ahead_runs_and_misses_nothing_until_it_is_confirmed(office: Office) -> None:
    seconds = 0
    office.uptime = lambda: Uptime("boot", seconds * 10**9)
    office.studio.pictures(1)
    office.step()
    office.scheduler.place.agenda.confirm_clock(note="right", who="ana", at=office.at)
    office.step(days=365)
    assert office.slots() == []
    assert office.actions().count("clock-jump") == 1
    office.step(hours=1)
    assert office.actions().count("clock-jump") == 1
    seconds, office.at = 3600, START
    office.step(hours=1)
    assert office.states() == ["ran"]


def test_a_clock_that_is_set_back_runs_no_slot_twice(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.step(hours=2)
    office.step(hours=-1, minutes=-30)
    office.step(hours=1)
    assert [slot[0] for slot in office.slots()] == ["02 09:00", "02 10:00"]


# ---- processes that die


def test_a_slot_whose_process_died_while_it_ran_has_failed_and_is_not_run_again(office: Office) -> None:
    office.step()
    place = office.scheduler.place
    slot = place.agenda.claim("posters", START, "studio", owner="gone", who="ana", at=office.at)
    assert slot is not None
    place.agenda.begin(slot.id, owner="gone", who="ana", at=office.at)
    office.step(minutes=1)
    reason = "its process died; what it had sent is settled, or held as unknown"
    assert office.slots() == [("02 08:00", "failed", reason)]


def test_one_that_only_waited_is_taken_over_while_it_is_fresh(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    agenda = office.scheduler.place.agenda
    agenda.claim("posters", START, "studio", owner="gone", who="ana", at=office.at)
    office.step(minutes=4)
    assert office.states() == ["ran"]
    agenda.claim("posters", START + timedelta(seconds=1), "studio", owner="gone", who="ana", at=office.at)
    office.step(minutes=6)
    assert office.slots()[-1][1:] == ("missed", "its process died before it began")


def test_two_schedulers_run_each_slot_once(office: Office) -> None:
    office.studio.pictures(3)
    another = Office(office.studio.root)
    another.studio.settings(url=office.studio.endpoint.url)
    try:
        for one in (office, another):
            one.step()
        for _ in range(5):
            for one in (office, another):
                one.at += timedelta(hours=1)
                one.scheduler.step()
            for one in (office, another):
                assert one.scheduler.settled(60)
        assert office.states() == ["ran"] * 5
        assert office.studio.endpoint.counts().requests == 3
    finally:
        another.end()
        another.studio.endpoint.stop()


# ---- sharing


def test_a_small_run_does_not_stand_behind_a_large_one(open_office: Callable[..., Office]) -> None:
    office = open_office(latency_ms=100)
    studio: Studio = office.studio
    studio.settings(concurrency=2)
    studio.know_price()
    studio.recipe("large", folder="large", output="out/large", more=HOURLY)
    studio.recipe("small", folder="small", output="out/small", more=HOURLY)
    studio.pictures(40, folder="large")
    studio.pictures(4, folder="small")
    office.step()
    office.step(hours=1)
    ended = [facts["recipe"] for action, facts in office.told if action == "slot-ended"]
    assert ended == ["small", "large"]
    before = [row for row in studio.rows() if row.recipe == "large"][:8]
    last_small = max(row.ended_at or "" for row in studio.rows() if row.recipe == "small")
    assert sum((row.ended_at or "") < last_small for row in studio.rows() if row.recipe == "large") < 20
    assert len(before) == 8


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_disk_without_space_for_pictures_fails_the_slot_before_anything_is_paid(office: Office) -> None:
    office.studio.pictures(2)
    office.step()
    with mounted(office.studio.root / "out", "size=8m"):
        office.step(hours=1)
        assert office.studio.endpoint.counts().requests == 0
    office.step(hours=1)
    (_, failed, reason), (_, ran, _) = office.slots()
    assert (failed, ran) == ("failed", "ran")
    assert "MiB free, at least " in (reason or "")
    assert office.studio.endpoint.counts().requests == 2


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_ledger_that_cannot_grow_any_more_starts_nothing_and_every_slot_gets_its_end_later(office: Office) -> None:
    office.studio.pictures(2)
    home = office.studio.root / ".omixa"
    with mounted(home, "size=300m"):
        office.step()
        filler = home / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(LedgerError, match="disk is full"):
            office.step(hours=1)
        assert office.studio.endpoint.counts().requests == 0
        filler.unlink()
        office.step(minutes=1)
        assert office.slots() == [("02 09:00", "ran", None)]
        assert office.studio.endpoint.counts().requests == 2
        office.end()


def test_a_slot_whose_end_cannot_be_written_gets_it_when_the_ledger_can_be_written_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise LedgerError("the disk is full")

    office.studio.pictures(2)
    office.step()
    with monkeypatch.context() as broken:
        broken.setattr(office.scheduler.place.agenda, "end", full)
        office.step(hours=1)
        assert office.states() == ["running"]
        with pytest.raises(LedgerError):
            office.step(minutes=1)
    office.step(minutes=1)
    assert office.states() == ["ran"]
    (slot,) = agenda.slots(office.database)
    assert (slot.bought, slot.billed_micros) == (2, 78_000)
    office.step(minutes=58)
    assert office.states() == ["ran", "ran"]


def test_a_slot_whose_process_lives_is_left_to_it_and_taken_over_when_that_is_gone(office: Office) -> None:
    office.studio.pictures(1)
    office.step()
    office.at += timedelta(hours=1)
    place = office.scheduler.place
    other = owners.hold(office.scheduler.home / "owners", "another")
    slot = place.agenda.claim("posters", office.at, "studio", owner="another", who="ana", at=office.at)
    assert slot is not None
    office.step()
    assert office.states() == ["waiting"]
    assert place.agenda.begin(slot.id, owner="another", who="ana", at=office.at) is not None
    office.step(minutes=1)
    assert office.states() == ["running"]
    other.let_go()
    office.step(minutes=1)
    assert office.slots() == [
        ("02 09:00", "failed", "its process died; what it had sent is settled, or held as unknown")
    ]
    assert office.studio.endpoint.counts().requests == 0


def test_a_clock_that_is_ended_at_the_very_moment_it_rings_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(trigger: DateTrigger, before: datetime | None, now: datetime) -> datetime | None:
        if before is not None:  # asked after it has rung, before the moment is forgotten
            ended.wait(1)
        return asked(trigger, before, now)

    asked = DateTrigger.get_next_fire_time
    rung, ended, broke = threading.Event(), threading.Event(), list[object]()
    monkeypatch.setattr(DateTrigger, "get_next_fire_time", slowly)
    monkeypatch.setattr(threading, "excepthook", broke.append)
    with Waker(rung.set) as waker:
        waker.at(datetime.now(UTC))
        assert rung.wait(60)
        threading.Timer(0.2, ended.set).start()
    assert broke == []
