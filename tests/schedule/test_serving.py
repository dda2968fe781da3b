"""`omixa schedule run` as a real process: what it tells over HTTP, systemd and its log, and how it starts and ends."""

import http.client
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runner.ledger import agenda, owners
from runner.ledger.agenda import Agenda
from runner.ledger.database import open_database
from runner.monitor.logs import ACTIONS
from runner.watch import jitter
from tests.run.conftest import KEY, Studio, wait_until

# Due in no test, unless one is run within minutes of the end of February in a leap year.
QUIET = '[schedule]\ncron = "30 2 29 2 *"\n'
JITTER_S = 3600


class Serving:
    """A scheduler as a process, its log line by line, and the socket on which systemd would listen."""

    def __init__(self, studio: Studio, *words: str, key: str | None = KEY, **environment: str) -> None:
        self.studio = studio
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = studio.root / "notify"
        self.socket.bind(str(address))
        self.socket.settimeout(60)
        self.lines: list[dict[str, Any]] = []
        environment |= {"NOTIFY_SOCKET": str(address)}
        self.process = studio.start("schedule", "run", "--yes", "--log", "json", *words, key=key, **environment)

    def until(self, action: str) -> dict[str, Any]:
        """Read the log up to the next line of that action; fails when none comes."""
        assert self.process.stderr is not None
        patience = threading.Timer(60, self.process.kill)
        patience.start()
        try:
            for text in self.process.stderr:
                self._hear(text)
                if self.lines[-1]["action"] == action:
                    return self.lines[-1]
        finally:
            patience.cancel()
        raise AssertionError(f"ended without `{action}`: {self.lines}")

    def _hear(self, text: str) -> None:
        line = json.loads(text)
        assert text.isascii()
        assert list(line)[:3] == ["at", "level", "action"]
        assert line["action"] in ACTIONS
        self.lines.append(line)

    def get(self, path: str) -> tuple[int, str]:
        port = next(line["port"] for line in self.lines if line["action"] == "start")
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def metrics(self) -> dict[str, str]:
        """Every series with its value, as Prometheus reads them."""
        status, text = self.get("/metrics")
        assert status == 200, text
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("omixa_"))

    def heard(self) -> str:
        """The next thing that systemd is told."""
        return self.socket.recv(4096).decode()

    def end(self, *, code: int = 0) -> None:
        """Wait for the end, and hear all that was logged until then."""
        out, err = self.process.communicate(timeout=60)
        assert (self.process.returncode, out) == (code, ""), err
        for text in err.splitlines():
            self._hear(text)

    def all_heard(self) -> list[str]:
        """What systemd was told and nobody has read, when the process has ended."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.heard())
        except BlockingIOError:
            return found

    def actions(self) -> list[str]:
        return [line["action"] for line in self.lines]


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    opened: list[Serving] = []

    def start(studio: Studio, *words: str, **more: Any) -> Serving:
        opened.append(Serving(studio, *words, **more))
        return opened[-1]

    yield start
    for one in opened:
        one.process.kill()
        one.process.communicate()
        one.socket.close()


def left_behind(studio: Studio, recipe: str = "posters", *, due_at: datetime | None = None) -> None:
    """A slot that a process had claimed and not begun when it died: the next scheduler takes it over."""
    at = datetime.now(UTC)
    with open_database(studio.root / ".omixa" / "ledger.db", create=True) as database:
        by = {"owner": "gone", "who": "ana@desk"}
        assert Agenda(database).claim(recipe, due_at or at, "studio", at=at, **by) is not None


def delayed() -> datetime:
    """A moment just now whose slot of logos still waits, for its jitter, for ten minutes at least."""
    at = datetime.now(UTC)
    moments = (at - timedelta(seconds=n) for n in range(200))
    return next(one for one in moments if one + jitter("logos", one, JITTER_S) > at + timedelta(minutes=10))


# ---- while it runs


def test_health_tells_that_it_looks_and_which_process_it_is(studio: Studio, serve: Callable[..., Serving]) -> None:
    studio.recipe(more=QUIET)
    serving = serve(studio, "--port", "0")
    serving.until("ready")
    status, text = serving.get("/healthz")
    told = json.loads(text)
    assert (status, told.pop("healthy"), told.pop("running"), told.pop("pid")) == (200, True, 0, serving.process.pid)
    assert list(told) == ["looked_at"]
    assert datetime.fromisoformat(told["looked_at"]).tzinfo is not None


def test_metrics_tell_of_money_of_slots_by_state_and_of_the_queue(
    studio: Studio, serve: Callable[..., Serving]
) -> None:
    studio.recipe(more=QUIET)
    studio.pictures(2)
    assert studio.omixa("schedule", "run-now", "posters", "--yes").code == 0
    home = studio.root / ".omixa"
    elsewhere = owners.hold(home / "owners", "of-another-scheduler")
    at = datetime.now(UTC)
    with open_database(home / "ledger.db", create=False) as database:
        book, who = Agenda(database), "ana@desk"
        days = [at - timedelta(days=n) for n in (3, 2, 1)]
        book.account("posters", "studio", days, "missed", "nobody looked", who=who, at=at)
        book.account("posters", "studio", [at - timedelta(days=9)], "refused", "the month is full", who=who, at=at)
        assert book.claim("posters", at, "studio", owner="of-another-scheduler", who=who, at=at) is not None
    serving = serve(studio, "--port", "0")
    serving.until("ready")
    told = serving.metrics()
    elsewhere.let_go()
    window = 'period="month",recipe="",scope="workspace",unit="USD",workspace="studio"'
    slots = {name: value for name, value in told.items() if name.startswith("omixa_slots_total")}
    assert slots == {
        f'omixa_slots_total{{recipe="posters",state="{state}",workspace="studio"}}': count
        for state, count in {"missed": "3.0", "ran": "1.0", "refused": "1.0"}.items()
    }
    assert told['omixa_slots_open{recipe="posters",state="waiting",workspace="studio"}'] == "1.0"
    assert told["omixa_queue_slots"] == "1.0"
    assert told[f"omixa_budget_cap_amount{{{window}}}"] == "50.0"
    assert told[f"omixa_budget_settled_amount{{{window}}}"] == "0.078"
    assert told[f"omixa_budget_open_amount{{{window}}}"] == "0.0"
    assert told[f"omixa_budget_headroom_amount{{{window}}}"] == "49.922"
    assert told['omixa_billed_amount_total{unit="USD",workspace="studio"}'] == "0.078"
    assert told['omixa_unknown_oldest_age_seconds{workspace="studio"}'] == "0.0"


def test_a_port_tells_of_nothing_else(studio: Studio, serve: Callable[..., Serving]) -> None:
    serving = serve(studio, "--port", "0")
    serving.until("ready")
    assert serving.get("/") == (404, "there is /healthz and /metrics\n")


def test_without_a_port_nothing_is_served(studio: Studio, serve: Callable[..., Serving]) -> None:
    assert serve(studio).until("start")["port"] is None


def test_sighup_reads_the_files_again(studio: Studio, serve: Callable[..., Serving]) -> None:
    studio.recipe(more=QUIET)
    serving = serve(studio)
    serving.until("ready")
    recipe = studio.root / "recipes" / "posters.toml"
    good = recipe.read_text()
    recipe.write_text("workspace = 3\n")
    serving.process.send_signal(signal.SIGHUP)
    assert serving.until("reload")["change"] == "as told by SIGHUP"
    invalid = next(line for line in serving.lines if line["action"] == "recipe-invalid")
    assert (invalid["recipe"], invalid["version"]) == ("posters", "its last good version goes on")
    recipe.write_text(good)
    (studio.root / "omixa.toml").write_text("[workspaces.studio]\n")
    serving.process.send_signal(signal.SIGHUP)
    serving.until("reload")
    assert "reload-failed" in serving.actions()
    studio.settings()
    serving.process.send_signal(signal.SIGHUP)
    serving.until("reload")
    restored = [line["recipe"] for line in serving.lines if line["action"] == "recipe-restored"]
    assert sorted(restored) == ["omixa.toml", "posters"]
    serving.process.send_signal(signal.SIGTERM)
    serving.end()


def test_sighup_sees_what_no_change_of_a_recipe_tells(studio: Studio, serve: Callable[..., Serving]) -> None:
    studio.recipe(more=QUIET)
    recipe, prompt = studio.root / "recipes" / "posters.toml", studio.root / "restore.txt"
    recipe.write_text(recipe.read_text().replace('text = "Restore it."', 'file = "restore.txt"'))
    prompt.write_text("Restore it.")
    serving = serve(studio)
    serving.until("ready")
    prompt.unlink()
    serving.process.send_signal(signal.SIGHUP)
    serving.until("reload")
    assert "recipe-invalid" in serving.actions()


# ---- systemd


def test_systemd_is_told_when_it_is_ready_and_when_it_ends(studio: Studio, serve: Callable[..., Serving]) -> None:
    serving = serve(studio)
    assert serving.heard() == "READY=1\n"
    assert serving.heard() == "WATCHDOG=1\n"
    serving.process.send_signal(signal.SIGHUP)
    assert serving.heard() == "WATCHDOG=1\n"
    serving.process.send_signal(signal.SIGTERM)
    serving.end()
    assert serving.all_heard() == ["STOPPING=1\n"]


def test_it_looks_as_often_as_the_watchdog_of_systemd_asks_for(studio: Studio, serve: Callable[..., Serving]) -> None:
    serving = serve(studio, WATCHDOG_USEC="400000")
    assert serving.heard() == "READY=1\n"
    serving.socket.settimeout(20)  # without a watchdog it looks every 30 s
    assert [serving.heard() for _ in range(3)] == ["WATCHDOG=1\n"] * 3


# ---- the end


def test_sigterm_finishes_what_is_in_flight_and_names_what_is_left(
    open_studio: Callable[..., Studio], serve: Callable[..., Serving]
) -> None:
    studio = open_studio(latency_ms=3000)
    studio.settings(concurrency=2)
    studio.know_price()
    studio.recipe(more=QUIET)
    studio.recipe("logos", folder="logos", output="out/logos", more=f"{QUIET}jitter_s = {JITTER_S}\n")
    studio.pictures(10)
    left_behind(studio)
    left_behind(studio, "logos", due_at=delayed())
    serving = serve(studio, "--port", "0")
    serving.until("slot-started")
    wait_until(lambda: studio.endpoint.counts().requests >= 2, serving.process)
    assert json.loads(serving.get("/healthz")[1])["running"] == 1
    told = serving.metrics()
    for recipe, state in (("posters", "running"), ("logos", "waiting")):
        assert told[f'omixa_slots_open{{recipe="{recipe}",state="{state}",workspace="studio"}}'] == "1.0"
    assert told["omixa_queue_slots"] == "1.0"
    serving.process.send_signal(signal.SIGTERM)
    serving.end()
    sent = studio.endpoint.counts().requests
    by_action = {line["action"]: line for line in serving.lines}
    assert (by_action["stopping"]["running"], by_action["stopping"]["waiting"]) == (["posters"], 1)
    assert by_action["slot-ended"]["bought"] == sent
    assert by_action["slot-ended"]["reason"] == f"the scheduler was told to stop; {10 - sent} pictures left"
    assert by_action["stopped"]["left"] == "logos"
    assert studio.states() == {"settled": sent}
    with open_database(studio.root / ".omixa" / "ledger.db", create=False) as database:
        assert {slot.recipe: slot.state for slot in agenda.slots(database)} == {"posters": "ran", "logos": "waiting"}
    heard = serving.all_heard()
    assert heard.count("STOPPING=1\n") == 1
    assert heard[-1] == "WATCHDOG=1\n", "systemd hears of the end when it begins, and then that it goes on"


# ---- what keeps it from starting


def refused(studio: Studio, *words: str) -> tuple[int, str]:
    """The exit code, and what stderr said; nothing may be left behind."""
    ended = studio.omixa("schedule", "run", "--yes", "--log", "json", *words)
    assert ended.out == ""
    assert not (studio.root / ".omixa" / "schedule.json").exists()
    assert list((studio.root / ".omixa").glob("owners/*.lock")) == []
    return ended.code, ended.err


def test_a_port_that_is_taken_is_named(studio: Studio) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, told = refused(studio, "--port", str(port))
    hint = "another scheduler or program may have that port: choose another one, or end the other program"
    assert code == 2
    assert told == f"error: cannot listen on 127.0.0.1 port {port}: Address already in use\n   = help: {hint}\n"


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_is_none_is_refused(studio: Studio, port: str) -> None:
    code, told = refused(studio, "--port", port)
    assert code == 2
    assert told.startswith(f"error: cannot listen on 127.0.0.1 port {port}: a port is 0–65535\n")


PROBLEMS = """\
error[bad-time-zone]: there is no time zone `Europe/Berln`
  --> omixa.toml:10:13
   |
10 | time_zone = "Europe/Berln"
   |             ^^^^^^^^^^^^^^ did you mean `Europe/Berlin`?

error[money-not-text]: money is written as a string, such as "5.00"; found a decimal number
  --> omixa.toml:12:20
   |
12 | budget = { month = 50.00 }
   |                    ^^^^^
   = help: write `"50.00"`

error[missing-key]: `model` is missing
  --> recipes/broken.toml
   = help: add `model = "stability-upscale-creative"`

error[missing-table]: `sources` is missing
  --> recipes/broken.toml
   = help: add `[[sources]]` with `folder = "pictures"`

error[missing-table]: `prompts` is missing
  --> recipes/broken.toml
   = help: add `[prompts.restore]` with `text = "Restore crisp, realistic detail."`

error[missing-table]: `output` is missing
  --> recipes/broken.toml
   = help: add `[output]` with `folder = "out"`

error[unknown-key]: a recipe has no key `workspce`
  --> recipes/broken.toml:1:1
   |
1  | workspce = 3
   | ^^^^^^^^ did you mean `workspace`?
"""


def test_every_problem_of_settings_and_recipes_is_shown_before_anything_begins(studio: Studio) -> None:
    settings = studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace("Europe/Berlin", "Europe/Berln").replace('"50.00"', "50.00"))
    (studio.root / "recipes" / "broken.toml").write_text("workspce = 3\n")
    code, told = refused(studio)
    assert code == 2
    assert told == PROBLEMS
    assert not (studio.root / ".omixa").exists()


def test_a_recipe_with_problems_keeps_no_other_from_running(studio: Studio, serve: Callable[..., Serving]) -> None:
    studio.recipe(more=QUIET)
    studio.pictures(1)
    (studio.root / "recipes" / "broken.toml").write_text("workspace = 3\n")
    left_behind(studio)
    serving = serve(studio)
    assert serving.until("recipe-invalid")["version"] == "its slots are skipped"
    assert serving.until("slot-ended")["bought"] == 1
    serving.process.send_signal(signal.SIGTERM)
    serving.end()


def test_without_a_key_the_slot_fails_and_the_scheduler_stays(studio: Studio, serve: Callable[..., Serving]) -> None:
    studio.recipe(more=QUIET)
    studio.pictures(1)
    left_behind(studio)
    serving = serve(studio, key=None)
    assert "STUDIO_KEY" in serving.until("slot-failed")["reason"]
    serving.process.send_signal(signal.SIGTERM)
    serving.end()
