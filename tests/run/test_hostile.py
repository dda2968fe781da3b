"""What an attacker, an accident or an impatient operator can do, and what must still be true (see docs/ledger.md)."""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import KEY, Studio, kill, wait_until
from tests.run.test_trouble import ROOT, mounted

# ---- nobody's file is overwritten


def test_a_file_that_appears_after_the_plan_is_not_overwritten(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(latency_ms=1_500)
    studio.recipe()
    studio.pictures(1)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests == 1, process)
    (studio.root / "out" / "000.png").write_bytes(b"somebody's own")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 7, (out, err)
    assert (studio.root / "out" / "000.png").read_bytes() == b"somebody's own"
    assert studio.settled == 39_000
    (studio.root / "out" / "000.png").unlink()
    again = studio.run()
    assert "restored 1 without paying" in again.out, again
    assert studio.endpoint.counts().requests == 1


@pytest.mark.parametrize("again", ["reroll", "prompt"])
def test_a_retouched_output_is_not_replaced_by_another_purchase(studio: Studio, again: str) -> None:
    studio.pictures(1)
    studio.run()
    (studio.root / "out" / "000.png").write_bytes(b"retouched by hand")
    if again == "prompt":
        studio.recipe(text="Another way.")
    ended = studio.run(*(["--reroll"] if again == "reroll" else []))
    assert "or that was changed since" in ended.out, ended
    assert (studio.root / "out" / "000.png").read_bytes() == b"retouched by hand"
    assert studio.endpoint.counts().requests == 1


def test_two_recipes_of_a_project_cannot_write_to_one_file_even_when_run_apart(studio: Studio) -> None:
    studio.pictures(1)
    studio.recipe("twin", text="Another way.")
    ended = studio.run()
    assert ended.code == 2, ended
    assert "would both write `out/000.png`" in ended.err
    assert studio.endpoint.counts().requests == 0


# ---- nothing paid is lost


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_result_that_could_not_be_kept_is_kept_by_the_next_run(studio: Studio) -> None:
    studio.pictures(1)
    studio.settings(concurrency=1)
    with mounted(studio.root / ".omixa" / "results", "size=1m,ro"):
        ended = studio.run()
        assert studio.settled == 39_000, ended
        assert studio.outputs() == ["000.png"]
    picture = (studio.root / "out" / "000.png").read_bytes()
    studio.run()
    (studio.root / "out" / "000.png").unlink()
    again = studio.run()
    assert "restored 1 without paying" in again.out, again
    assert (studio.root / "out" / "000.png").read_bytes() == picture
    assert list((studio.root / ".omixa" / "spool").iterdir()) == []


def test_a_picture_without_a_bill_that_could_not_be_kept_is_kept_by_the_next_run(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(faults=("usage=missing,nth=1",))
    studio.recipe()
    studio.pictures(1)
    with mounted(studio.root / ".omixa" / "results", "size=1m,ro"):
        assert studio.run().code == 6
        assert studio.states() == {"unknown": 1}
    picture = (studio.root / "out" / "000.png").read_bytes()
    assert studio.omixa("resolve", "1", "--billed", "0.039", "--note", "invoice").code == 0
    studio.run()
    (studio.root / "out" / "000.png").unlink()
    again = studio.run()
    assert "restored 1 without paying" in again.out, again
    assert (studio.root / "out" / "000.png").read_bytes() == picture
    assert studio.endpoint.counts().requests == 1


def test_a_kept_result_that_is_damaged_is_not_delivered(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    (studio.root / "out" / "000.png").unlink()
    kept = next((studio.root / ".omixa" / "results").rglob("*.png"))
    kept.write_bytes(kept.read_bytes()[:100])
    ended = studio.run()
    assert ended.code == 1, ended
    assert "is damaged" in ended.err
    assert studio.outputs() == []


def test_an_answer_left_by_an_older_ledger_is_not_taken_for_a_new_attempts(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(latency_ms=30_000)
    studio.recipe()
    studio.pictures(1)
    spool = studio.root / ".omixa" / "spool"
    spool.mkdir(parents=True, mode=0o700)
    head = {"status": 200, "headers": {}, "received_at": "2026-11-22T12:00:00+00:00"}
    for name in ("1.answer", "0123-1.answer"):
        (spool / name).write_text(json.dumps(head) + '\n{"usage": {"billed_amount": "0.000000"}}')
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests == 1, process)
    kill(process)
    studio.endpoint.stop()
    studio.run()
    assert studio.states() == {"unknown": 1}
    assert studio.open == 700_000


# ---- nothing is sent that should not be


def test_after_ctrl_c_nothing_new_is_sent_not_even_what_was_waiting_for_the_provider(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(faults=("status=429,retry_after=30,first=4",))
    studio.recipe()
    studio.pictures(6)
    process = studio.start("run", "posters", "--yes", "--json")
    wait_until(lambda: studio.endpoint.counts().requests == 4, process)
    wait_until(lambda: studio.states() == {"released": 4}, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=25)
    assert process.returncode == 130, (out, err)
    assert studio.endpoint.counts().requests == 4
    assert len(json.loads(out)["runs"][0]["left"]) == 6
    assert studio.open == 0


def test_reroll_across_recipes_buys_what_the_plan_says(studio: Studio) -> None:
    for folder in ("pictures", "other"):
        studio.picture(f"{folder}/a.png", seed=1)
        studio.picture(f"{folder}/b.png", seed=2)
    studio.recipe("second", folder="other", output="out2")
    studio.omixa("run", "posters", "second", "--yes")
    assert studio.endpoint.counts().requests == 2
    plan = json.loads(studio.omixa("plan", "posters", "second", "--reroll", "--json").out)
    assert sum(one["buy"] for one in plan["plans"]) == 2
    assert studio.omixa("run", "posters", "second", "--yes", "--reroll").code == 0
    assert studio.endpoint.counts().requests == 4
    assert (studio.root / "out" / "a.png").read_bytes() == (studio.root / "out2" / "a.png").read_bytes()


def test_a_twin_of_what_was_not_bought_waits_for_it(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(faults=("close_after_read,first=1",))
    studio.recipe()
    studio.picture("pictures/a.png", seed=1)
    studio.picture("pictures/b.png", seed=1)
    ended = studio.run()
    assert ended.code == 6, ended
    assert "it waits for `out/a.png`, which was not bought" in ended.err
    assert "--reroll" not in ended.out + ended.err


def test_kept_results_are_no_sources_wherever_the_ledger_is(studio: Studio) -> None:
    text = (studio.root / "omixa.toml").read_text()
    (studio.root / "omixa.toml").write_text('[ledger]\nurl = "sqlite:///state/ledger.db"\n' + text)
    studio.recipe(folder=".")
    studio.picture("a.png")
    for _ in range(3):
        assert studio.run().code == 0
    assert studio.endpoint.counts().requests == 1


def test_a_ledger_belongs_to_one_project(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> None:
    studio.pictures(1)
    studio.run()
    other = tmp_path_factory.mktemp("other")
    for name in ("omixa.toml", "recipes", "pictures"):
        subprocess.run(["cp", "-r", str(studio.root / name), str(other / name)], check=True)
    text = (other / "omixa.toml").read_text()
    (other / "omixa.toml").write_text(f'[ledger]\nurl = "sqlite:///{studio.root}/.omixa/ledger.db"\n{text}')
    ended = studio.omixa("--project", str(other), "run", "posters", "--yes")
    assert ended.code == 2, ended
    assert f"belongs to the project `{studio.root}`" in ended.err
    assert not (other / "out").exists()


@pytest.mark.parametrize("bill", ["0.000000", "0.039000"])
def test_a_key_that_is_refused_stops_the_run_also_with_a_bill(studio: Studio, bill: str) -> None:
    """The endpoint of this test answers each request with 401 and `usage.billed_amount`."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(1)
            body = b'{"error": "unauthorized", "usage": {"billed_amount": "%s"}}' % bill.encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        studio.settings(url=f"http://127.0.0.1:{server.server_port}/api/v1", concurrency=1)
        studio.pictures(4)
        ended = studio.run()
    finally:
        server.shutdown()
    assert ended.code == 4, ended
    assert len(requests) == 1
    assert "api_key" in ended.out
    assert studio.states() == {"released" if bill == "0.000000" else "settled": 1}


# ---- the end is told truly


def test_a_reader_that_goes_away_changes_neither_the_run_nor_its_exit_code(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(faults=("close_after_read,nth=2",), latency_ms=200)
    studio.recipe()
    studio.pictures(6)
    process = studio.start("run", "posters", "--yes")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 6
    assert studio.states() == {"settled": 5, "unknown": 1}


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_run(studio: Studio) -> None:
    studio.picture("pictures/łódź.png")
    ended = studio.omixa("run", "posters", "--yes", PYTHONIOENCODING="ascii")
    assert ended.code == 0, ended
    assert studio.outputs() == ["łódź.png"]


def test_a_full_disk_behind_standard_output_is_named(studio: Studio) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m runner --project "$1" check >/dev/full', os.sys.executable, str(studio.root)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done
    assert "standard output cannot be used: No space left on device" in done.stderr


def test_what_was_bought_is_told_when_a_later_recipe_fails(studio: Studio) -> None:
    studio.pictures(2)
    studio.recipe("second", folder="other", output="out2")
    studio.picture("other/x.png")
    (studio.root / "out2").write_text("in the way")
    ended = studio.omixa("run", "posters", "second", "--yes", "--json")
    assert ended.code == 7, ended
    told = json.loads(ended.out)["runs"]
    assert told[0]["billed"] == "0.078000"
    assert sorted(picture["output"] for picture in told[0]["pictures"]) == ["out/000.png", "out/001.png"]
    assert "out2" in told[1]["error"]


def test_an_attempt_left_in_an_ended_run_is_finished_all_the_same(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(latency_ms=30_000)
    studio.recipe()
    studio.pictures(1)
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests == 1, process)
    kill(process)
    with sqlite3.connect(studio.root / ".omixa" / "ledger.db") as connection:
        connection.execute("UPDATE runs SET ended_at = started_at, outcome = 'died'")
    ended = studio.run()
    assert ended.code == 6, ended
    assert studio.states() == {"unknown": 1}


def test_the_key_is_in_no_file_that_a_run_leaves(studio: Studio) -> None:
    studio.pictures(2)
    studio.run()
    for path in Path(studio.root).rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
