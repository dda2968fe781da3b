"""A process may die at any moment: nothing is sent twice, nothing paid is lost, what nobody knows is held."""

import base64
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from runner import booking, sandbox
from runner.errors import DiskError
from tests.run.conftest import KEY, Studio, kill, wait_until


def big_studio(open_studio: Callable[..., Studio], pictures: int = 60) -> Studio:
    """Sixteen in flight at an endpoint that takes a moment and writes down what it gets."""
    studio = open_studio()
    studio.endpoint.stop()
    studio.endpoint = sandbox.start(
        sandbox.SandboxOptions(key=KEY, latency_ms=150, answer_bytes=20_000, log=studio.log)
    )
    studio.settings(concurrency=16, ceiling="0.05")
    studio.recipe()
    studio.pictures(pictures)
    studio.know_price()
    return studio


def sent_twice(studio: Studio) -> list[str]:
    digests = [json.loads(line)["picture"] for line in studio.log.read_text().splitlines()]
    return [digest for digest in set(digests) if digests.count(digest) > 1]


@pytest.mark.parametrize("answered", [0, 5, 30])
def test_after_kill_9_every_request_is_in_the_ledger_and_none_is_sent_twice(
    open_studio: Callable[..., Studio], answered: int
) -> None:
    studio = big_studio(open_studio)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests > answered, process)
    kill(process)
    arrived_before = {name for name in studio.outputs() if not name.startswith(".omixa-")}
    ended = studio.run()
    studio.balances()
    # The endpoint's own count against the ledger: every request that arrived is an attempt that was sent, and what
    # was billed is settled or held, never free.
    states, counts = studio.states(), studio.endpoint.counts()
    sent = states.get("settled", 0) + states.get("unknown", 0)
    assert states.keys() <= {"settled", "unknown", "released"}, states
    assert sent >= counts.requests
    assert counts.billed_micros <= studio.settled + studio.open
    assert sent_twice(studio) == []
    # What was delivered before the kill is still there, every settled picture too, and the unknown ones are listed.
    assert arrived_before <= set(studio.outputs())
    assert len(studio.outputs()) == states["settled"]
    assert states["settled"] + states.get("unknown", 0) == 60
    assert ended.code == (6 if states.get("unknown") else 0), ended
    assert ended.out.count("may have been billed") == states.get("unknown", 0)
    after = studio.run()
    assert studio.endpoint.counts().requests == counts.requests, after


def test_recovery_may_be_killed_itself_and_repeated(open_studio: Callable[..., Studio]) -> None:
    studio = big_studio(open_studio, pictures=30)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests >= 10, process)
    kill(process)
    for _ in range(3):
        process = studio.start("run", "posters", "--yes", "--limit", "1")
        wait_until(lambda: bool(studio.rows()))
        kill(process)
    studio.run()
    studio.balances()
    assert sent_twice(studio) == []
    assert studio.states().keys() <= {"settled", "unknown", "released"}
    assert studio.endpoint.counts().billed_micros <= studio.settled + studio.open


def test_a_spooled_answer_of_a_dead_process_is_settled_and_written_out(studio: Studio) -> None:
    """What a process leaves that died between the answer and the booking: sent in the ledger, the answer on disk."""
    studio.pictures(1)
    studio.run()
    home = studio.root / ".omixa"
    kept = next((home / "results").rglob("*.png"))
    picture = kept.read_bytes()
    # Put the clock of that attempt back to the moment after its answer was spooled.
    _put_back(studio, picture)
    kept.unlink()
    (studio.root / "out" / "000.png").unlink()
    ended = studio.run()
    assert "recovered attempt 1 of a run that died: settled from its kept answer" in ended.err, ended
    assert (studio.root / "out" / "000.png").read_bytes() == picture
    assert (studio.endpoint.counts().requests, studio.settled, studio.open) == (1, 39_000, 0)
    studio.balances()
    with sqlite3.connect(home / "ledger.db") as connection:
        kinds = [row[0] for row in connection.execute("SELECT kind FROM entries ORDER BY id")]
    assert kinds[-2:] == ["settle", "run-ended"]


def _put_back(studio: Studio, picture: bytes) -> None:
    home = studio.root / ".omixa"
    with sqlite3.connect(home / "ledger.db") as connection:
        uid = connection.execute("SELECT uid FROM runs").fetchone()[0]
        connection.executescript(
            """
            UPDATE attempts SET state = 'sent', live_key = item_key, billed_micros = NULL, billed_text = NULL,
                result_digest = NULL, ended_at = NULL;
            UPDATE budget_windows SET open_micros = 700000, settled_micros = 0;
            UPDATE runs SET ended_at = NULL;
            INSERT INTO entries (at, workspace, attempt_id, kind, open_micros, settled_micros, who, seq, payload, hash)
                SELECT max(at), 'studio', 1, 'settle', 700000, -39000, 'test', 1000000, x'00', x'00' FROM entries;
            DELETE FROM deliveries;
            """
        )
    body = {
        "created": 1,
        "data": [{"b64_json": base64.b64encode(picture).decode(), "url": None}],
        "usage": {"billed_amount": "0.039000"},
    }
    head = {"status": 200, "headers": {}, "received_at": "2026-11-22T12:00:00+00:00"}
    (home / "spool" / f"{uid}-1.answer").write_text(json.dumps(head) + "\n" + json.dumps(body))


def test_ctrl_c_once_finishes_what_is_in_flight_and_lists_the_rest(open_studio: Callable[..., Studio]) -> None:
    studio = big_studio(open_studio)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests >= 16, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "finishing what is in flight" in err
    assert studio.open == 0
    assert studio.settled == studio.endpoint.counts().billed_micros
    left = 60 - studio.endpoint.counts().requests
    assert f"left: {left} pictures" in out
    assert studio.run().code == 0
    assert studio.endpoint.counts().requests == 60


def test_ctrl_c_twice_stops_now_and_holds_what_may_have_been_billed(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(latency_ms=30_000)
    studio.recipe()
    studio.settings(concurrency=8)
    studio.know_price()
    studio.pictures(8)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests >= 8, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    line = ""
    while "finishing" not in line:
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _err = process.communicate(timeout=20)
    assert process.returncode == 130, out
    assert studio.states() == {"unknown": 8}
    studio.balances()


def test_the_attempts_of_a_living_process_are_left_alone(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(latency_ms=6_000)
    studio.recipe()
    studio.recipe("other", folder="elsewhere", output="out2")
    studio.know_price()
    studio.pictures(4)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests == 4, process)
    # Every run begins with a look for the dead; it must not take the living for one of them.
    assert studio.omixa("run", "other", "--yes").code == 0
    assert studio.states() == {"sent": 4}
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert studio.states() == {"settled": 4}


def test_a_second_run_waits_for_an_item_that_another_is_buying_and_does_not_pay_twice(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(latency_ms=300)
    studio.recipe()
    studio.recipe("twin", output="out2")
    studio.pictures(6)
    running = [studio.start("run", name, "--yes") for name in ("posters", "twin")]
    for process in running:
        assert process.communicate(timeout=60) is not None
    assert [process.returncode for process in running] in ([0, 0], [0, 1], [1, 0])
    assert studio.omixa("run", "posters", "twin", "--yes").code == 0
    assert studio.endpoint.counts().requests == 6
    assert studio.outputs() == studio.outputs("out2")


def test_a_file_half_written_by_a_run_that_only_restored_is_put_away_by_one_that_has_nothing_to_do(
    studio: Studio,
) -> None:
    studio.pictures(1)
    assert studio.run().code == 0
    # As a process leaves it that is killed between the two names of a file.
    (studio.root / "out" / ".omixa-0123456789abcdef.part").hardlink_to(studio.root / "out" / "000.png")
    ended = studio.run()
    assert "nothing was sent" in ended.out, ended
    assert studio.outputs() == ["000.png"]


def test_what_another_process_has_brought_back_meanwhile_is_in_place(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.pictures(1)
    assert studio.run().code == 0
    output = studio.root / "out" / "000.png"
    draft = SimpleNamespace(output=output, output_path="out/000.png", provenance=False)
    copy = studio.root / "copy.png"
    copy.write_bytes(output.read_bytes())
    # The file came after it was looked for.
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    booking._put(copy, draft, None, None)
    copy.write_bytes(b"another picture")
    with pytest.raises(DiskError, match="already exists and is not written over"):
        booking._put(copy, draft, None, None)
    assert output.read_bytes() != b"another picture"
