"""The operators' levers on real runs: stop, resume, grant, canary, and a clock that an endpoint contradicts."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.providers.endpoint import Endpoint, answering, http
from tests.run.conftest import KEY, Studio, wait_until


def test_stop_with_a_thousand_queued_in_three_processes_lets_only_those_in_flight_finish(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(latency_ms=200)
    studio.settings(concurrency=4)
    studio.know_price()
    for n in range(3):
        studio.recipe(f"posters-{n}", folder=f"pictures/{n}", output=f"out/{n}")
        studio.pictures(334, folder=f"pictures/{n}")
    running = [studio.start("run", f"posters-{n}", "--yes") for n in range(3)]
    wait_until(lambda: studio.endpoint.counts().requests >= 12)
    assert studio.omixa("stop", "--reason", "wrong prompt").code == 0
    in_flight_at_most = studio.endpoint.counts().requests + 12
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 3, (out, err)
        assert "stopped: everything is stopped by " in out
        assert ": wrong prompt\n   = help: omixa resume --note …" in out
    counts = studio.endpoint.counts()
    assert counts.requests <= in_flight_at_most
    assert (studio.settled, studio.open) == (counts.billed_micros, 0)
    studio.balances()
    again = studio.omixa("run", "posters-0", "--yes")
    assert again.code == 3, again
    assert studio.endpoint.counts().requests == counts.requests
    assert "everything goes on; it was stopped by " in studio.omixa("resume", "--note", "prompt mended").out
    assert studio.omixa("run", "posters-0", "--yes", "--limit", "1").code == 0


def test_one_bill_above_its_ceiling_stops_every_process_and_says_how_to_go_on(
    open_studio: Callable[..., Studio],
) -> None:
    studio = open_studio(faults=("bill=40.5,nth=1",), latency_ms=50)
    studio.settings(concurrency=1, month="500.00")
    studio.know_price()
    for n in range(3):
        studio.recipe(f"posters-{n}", folder=f"pictures/{n}", output=f"out/{n}")
        studio.pictures(50, folder=f"pictures/{n}")
    running = [studio.start("run", f"posters-{n}", "--yes") for n in range(3)]
    ended = [process.communicate(timeout=120) for process in running]
    assert {process.returncode for process in running} == {3}
    # At most what was in flight when the bill came; nothing was reserved after it.
    assert studio.endpoint.counts().requests <= 5
    assert studio.settled == studio.endpoint.counts().billed_micros
    for out, _ in ended:
        assert "was billed 40.500 USD, above its reservation of 0.700 USD" in out
        assert "omixa resume --workspace studio --note …" in out


def test_a_grant_lets_a_full_month_take_more_and_is_shown(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio()
    studio.settings(month="0.078", ceiling="0.039")
    studio.recipe()
    studio.pictures(5)
    assert studio.run().code == 3
    given = studio.omixa("grant", "0.039", "--workspace", "studio", "--window", "month", "--reason", "rush job")
    assert given.code == 0, given
    assert "its cap is 0.117 USD now, 0.039 USD of it left" in given.out
    shown = studio.omixa("budget")
    assert "grant 1: 0.039000 USD more for month " in shown.out
    assert ": rush job" in shown.out
    assert studio.run().code == 3
    assert studio.endpoint.counts().requests == 3
    assert studio.omixa("grant", "--end", "1", "--reason", "enough").code == 0
    levers = json.loads(studio.omixa("audit", "levers", "--json").out)["levers"]
    assert [(one["kind"], one["amount"], one["reason"], one["ended_note"]) for one in levers] == [
        ("grant", "0.039000", "rush job", "enough")
    ]


def test_a_canary_whose_price_is_within_the_plan_goes_on(studio: Studio) -> None:
    studio.pictures(5)
    ended = studio.run("--canary", "2")
    assert ended.code == 0, ended
    assert "canary: 2 pictures bought\n  out/000.png  0.039 USD" in ended.err.replace("001", "000")
    assert "at most 0.039 USD a picture, as planned (0.700 USD)" in ended.err
    assert studio.endpoint.counts().requests == 5


def test_a_canary_is_not_asked_about_when_nothing_else_is_to_be_bought(studio: Studio) -> None:
    studio.pictures(2)
    for gone in ((), ("000.png",)):
        for name in gone:
            (studio.root / "out" / name).unlink()
        ended = studio.run("--canary", "2")
        assert ended.code == 0, ended
        assert "canary" not in ended.out + ended.err
    assert studio.outputs() == ["000.png", "001.png"]
    assert studio.endpoint.counts().requests == 2


def test_what_was_paid_for_comes_back_before_a_canary_that_a_cap_refuses(studio: Studio) -> None:
    studio.settings(month="0.08", ceiling="0.039", concurrency=1)
    studio.pictures(2)
    assert studio.run().code == 0
    for name in ("new-0", "new-1"):
        studio.picture(f"pictures/{name}.png")
    (studio.root / "out" / "001.png").unlink()
    ended = studio.run("--canary", "1")
    assert ended.code == 3, ended
    assert "restored 1 without paying" in ended.out
    assert "left: 2 pictures" in ended.out
    assert studio.outputs() == ["000.png", "001.png"]
    # With room again, what came back is not taken for what the canary brought.
    (studio.root / "out" / "001.png").unlink()
    studio.settings(month="1.00", ceiling="0.039", concurrency=1)
    ended = studio.run("--canary", "1")
    assert ended.code == 0, ended
    assert "canary: 1 picture bought" in ended.err
    assert studio.endpoint.counts().requests == 4


def test_a_canary_that_costs_more_than_planned_stops_the_rest(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(faults=("bill=0.5,nth=2",))
    studio.recipe()
    studio.picture("pictures/first.png")
    assert studio.run().code == 0
    recipe = studio.root / "recipes" / "posters.toml"
    recipe.write_text("canary = 1\n" + recipe.read_text())
    studio.pictures(4)
    ended = studio.run()
    assert ended.code == 3, ended
    assert (
        "a picture of the canary cost 0.500 USD, and the plan expects 0.039 USD; the others are not bought" in ended.out
    )
    assert studio.endpoint.counts().requests == 2
    assert "left: 3 pictures" in ended.out


def test_a_canary_that_does_not_come_stops_the_rest(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio(faults=("moderated,nth=1",))
    studio.recipe()
    studio.pictures(4)
    ended = studio.run("--canary", "1")
    assert ended.code == 3, ended
    assert "not every picture of the canary came" in ended.out
    assert studio.endpoint.counts().requests == 1


def read_all(terminal: int) -> None:
    """What a terminal shows, until nobody writes to it any more: a full one would hold its writer up."""
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_a_canary_that_another_run_has_bought_meanwhile_is_not_called_missing(studio: Studio) -> None:
    studio.pictures(3)
    ours, theirs = os.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "runner", "--project", str(studio.root), "run", "posters", "--canary", "1"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env=os.environ | {"STUDIO_KEY": KEY},
    )
    asked = b""
    while b"[y/N]" not in asked:
        asked += os.read(ours, 4096)
    assert studio.run("--limit", "1").code == 0
    os.write(ours, b"y\n")
    reader = threading.Thread(target=read_all, args=(ours,), daemon=True)
    reader.start()
    out, _ = asking.communicate(timeout=60)
    assert asking.returncode == 3, out
    assert "stopped: another run has bought the canary meanwhile, so this one saw no price" in out
    assert "`omixa plan posters` shows what is left, by what was billed; then run again" in out
    assert studio.endpoint.counts().requests == 1
    assert studio.run("--canary", "1").code == 0
    assert studio.endpoint.counts().requests == 3
    os.close(theirs)
    reader.join(60)
    os.close(ours)


def test_an_endpoint_that_contradicts_the_clock_stops_until_it_is_confirmed(studio: Studio) -> None:
    picture = studio.picture("pictures/a.png")
    studio.picture("pictures/b.png")
    off = datetime.now(UTC) + timedelta(hours=3)
    answer = {
        "created": 1,
        "data": [{"b64_json": base64.b64encode(picture.read_bytes()).decode(), "url": None}],
        "usage": {"billed_amount": "0.039000"},
    }
    date = {"Date": format_datetime(off, usegmt=True)}
    endpoint = Endpoint(answering(http(json.dumps(answer).encode(), headers=date)))
    with closing(endpoint):
        studio.settings(url=endpoint.url, concurrency=1)
        ended = studio.run()
        assert ended.code == 3, ended
        assert "the endpoint said it was" in ended.out
        assert "omixa doctor --confirm-clock --note …" in ended.out
        assert studio.states() == {"settled": 1}, "the bill is a fact"
        assert studio.run().code == 3
        assert studio.omixa("doctor").code == 5
        assert studio.omixa("doctor", "--confirm-clock", "--note", "their clock is wrong").code == 0
    studio.settings()
    assert studio.run().code == 0
    assert KEY not in ended.out
