"""Each event is one line that a script can read, it holds no key, and no stream that breaks ends anything."""

import fcntl
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

import pytest

from runner.monitor import logs

Form = Literal["json", "text"]

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
# A test hands it to the log itself, to see it masked there; so it is none of those that must not be heard anywhere.
GIVEN = "omx_live_never-told-anybody_7"
MASKED = "omx_live_" + "*" * 20
AT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
# Every character that is not shown, or steers something, and some that are only rare.
CONTROL = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x202E, 0x2028, 0x2029, 0xFEFF]))
RARE = "Büro 漢字 🙂 \udcff"

# What scripts may rely on: words are added here, never changed.
LEVELS = {
    "start": "info",
    "ready": "info",
    "reload": "info",
    "reload-failed": "warning",
    "recipe-invalid": "warning",
    "recipe-restored": "info",
    "slot-claimed": "info",
    "slot-started": "info",
    "slot-ended": "info",
    "slot-skipped": "warning",
    "slot-missed": "warning",
    "slot-overlapped": "warning",
    "slot-refused": "warning",
    "slot-waits": "warning",
    "slot-failed": "error",
    "recovered": "warning",
    "alert": "warning",
    "alert-failed": "error",
    "clock-jump": "warning",
    "stopping": "info",
    "stopped": "info",
    "status-unwritable": "warning",
    "tick-failed": "error",
    "library": "info",
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    logs.close_log()


class Log:
    """A log in a real file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path.open("w", encoding="ascii")

    @property
    def octets(self) -> bytes:
        return self.path.read_bytes()

    def events(self) -> list[dict[str, object]]:
        """Its lines as JSON; nothing else is in it."""
        octets = self.octets
        assert octets.endswith(b"\n") or not octets
        return [json.loads(line) for line in octets.split(b"\n")[:-1]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Form], Log]]:
    made: list[Log] = []

    def open_one(form: Form) -> Log:
        made.append(Log(tmp_path / f"log-{len(made)}"))
        logs.open_log(made[-1].stream, form)
        return made[-1]

    yield open_one
    for one in made:
        one.stream.close()


Opened = Callable[[Form], Log]


def run(program: str, *, stderr: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", f"import logging, sys\nfrom runner.monitor import logs\n{program}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
    )


# ---- JSON


def test_an_event_is_one_line_of_json_with_when_how_grave_and_what_first(opened: Opened) -> None:
    log = opened("json")
    logs.log("slot-started", recipe="posters", due_at=NOON, pictures=3, late=False, run=None)
    line = log.octets.decode()
    told = '"action": "slot-started", "due_at": "2026-11-22T12:00:00.000Z", "late": false, "pictures": 3'
    assert re.fullmatch(
        rf'\{{"at": "{AT}", "level": "info", {re.escape(told)}, "recipe": "posters", "run": null\}}\n', line
    )


def test_it_says_when_it_was_in_utc(opened: Opened) -> None:
    log = opened("json")
    before = datetime.now(UTC)
    logs.log("ready")
    after = datetime.now(UTC)
    at = datetime.fromisoformat(str(log.events()[0]["at"]))
    assert before - timedelta(milliseconds=1) <= at <= after
    assert at.utcoffset() == timedelta(0)


def test_every_word_can_be_told_and_keeps_its_name_and_its_level(opened: Opened) -> None:
    log = opened("json")
    for action in logs.ACTIONS:
        logs.log(action)
    assert {event["action"]: event["level"] for event in log.events()} == LEVELS
    assert list(logs.ACTIONS) == list(LEVELS)
    assert all(words.endswith(".") for words in logs.ACTIONS.values())


def test_a_word_that_is_none_and_a_name_of_the_logs_own_are_mistakes(opened: Opened) -> None:
    log = opened("json")
    with pytest.raises(AssertionError, match="`slot-begun` is no word of the log"):
        logs.log("slot-begun")
    for name in ("at", "level", "action"):
        with pytest.raises(AssertionError, match="the log's own"):
            logs.log("ready", **{name: "now"})
    assert log.octets == b""


class Odd:
    def __str__(self) -> str:
        return f"odd {GIVEN}"


def test_values_are_text_whole_numbers_truth_and_lists_and_all_else_is_shown_as_text(opened: Opened) -> None:
    log = opened("json")
    berlin = NOON.astimezone(timezone(timedelta(hours=1)))
    facts = {
        "number": -(10**30),
        "truth": True,
        "nothing": None,
        "moment": berlin.replace(microsecond=987_654),
        "list": [1, "a", None, (True, [NOON])],
        "fraction": 0.1,
        "path": Path("/srv/studio"),
        "odd": Odd(),
        "error": ValueError("no"),
        "octets": b"\xff",
        "pairs": {"a": 1},
    }
    logs.log("ready", **facts)
    (event,) = log.events()
    assert {name: event[name] for name in facts} == {
        "number": -(10**30),
        "truth": True,
        "nothing": None,
        "moment": "2026-11-22T12:00:00.987Z",
        "list": [1, "a", None, [True, ["2026-11-22T12:00:00.000Z"]]],
        "fraction": "0.1",
        "path": "/srv/studio",
        "odd": f"odd {MASKED}",
        "error": "no",
        "octets": "b'\\xff'",
        "pairs": "{'a': 1}",
    }
    assert list(event) == ["at", "level", "action", *sorted(facts)]


@pytest.mark.parametrize("text", [CONTROL, RARE, 'a"b\\c', '", "level": "error'])
def test_a_line_is_one_line_of_ascii_whatever_it_holds(opened: Opened, text: str) -> None:
    log = opened("json")
    logs.log("slot-failed", problem=text, names=[text], **{text: 1})
    assert all(0x20 <= octet < 0x7F for octet in log.octets[:-1])
    (event,) = log.events()
    assert event["problem"] == text
    assert event["names"] == [text]
    assert event[text] == 1


def test_a_long_text_is_cut_and_says_so(opened: Opened) -> None:
    log = opened("json")
    logs.log("slot-failed", fits="x" * 4000, long="x" * 4001)
    (event,) = log.events()
    assert event["fits"] == "x" * 4000
    assert event["long"] == "x" * 3999 + "…"


def test_a_key_is_told_to_nobody(opened: Opened) -> None:
    forms: tuple[Form, ...] = ("json", "text")
    for form in forms:
        log = opened(form)
        logs.log("slot-failed", problem=f"with {GIVEN}.", names=[GIVEN, (GIVEN,)], odd=Odd(), pairs={GIVEN: GIVEN})
        # Cut in the middle of it.
        logs.log("slot-failed", problem="x" * 3985 + GIVEN)
        logging.getLogger("sqlalchemy").warning("key=%s", GIVEN)
        assert b"never-told" not in log.octets
        assert b"omx_live_n" not in log.octets
        assert log.octets.count(MASKED.encode()) == 7


def test_lines_of_many_threads_do_not_mix(opened: Opened) -> None:
    log = opened("json")

    def tell(number: int) -> None:
        for line in range(100):
            logs.log("slot-ended", number=number, line=line, why="x" * 3000)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(event["number"], event["line"]) for event in log.events()]
    assert sorted(found) == [(number, line) for number in range(8) for line in range(100)]


# ---- text


def test_as_text_an_event_is_a_line_for_people(opened: Opened) -> None:
    log = opened("text")
    logs.log("slot-started", recipe="posters", due_at=NOON, pictures=3, late=False, run=None, why="", to=["a b", 1])
    logs.log("slot-failed", problem="no answer")
    logs.log("alert")
    lines = [re.sub(f"^{AT}", "AT", line) for line in log.octets.decode().split("\n")]
    started = (
        "AT info    slot-started due_at=2026-11-22T12:00:00.000Z late=false pictures=3 recipe=posters "
        'to=["a b", 1] why=""'
    )
    assert lines == [
        started,
        'AT error   slot-failed problem="no answer"',
        "AT warning alert",
        "",
    ]


def test_as_text_nothing_steers_a_terminal_and_what_is_printable_stays(opened: Opened) -> None:
    log = opened("text")
    logs.log("slot-failed", problem=CONTROL, names=[CONTROL], recipe=RARE.replace(" ", ""))
    logging.getLogger("sqlalchemy").warning("a\x1b[2Jb\nc")
    first, second, rest = log.octets.decode().split("\n")
    assert rest == ""
    assert first.isprintable()
    assert second.isprintable()
    assert "recipe=Büro漢字🙂\\udcff" in first
    assert "a\\x1b[2Jb\\nc" in second


# ---- other packages


def test_a_warning_of_another_package_is_an_event_of_its_own(opened: Opened) -> None:
    log = opened("json")
    logging.getLogger("sqlalchemy.pool").warning("lost %d of %s", 2, "x\n")
    logging.getLogger("apscheduler").error("gone", exc_info=ValueError("a secret"))
    logging.getLogger("sqlalchemy.pool").info("no warning")
    found = [{name: event[name] for name in event if name != "at"} for event in log.events()]
    assert found == [
        {"level": "warning", "action": "library", "message": "lost 2 of x\n", "package": "sqlalchemy.pool"},
        {"level": "error", "action": "library", "message": "gone", "package": "apscheduler"},
    ]


def test_what_another_package_says_wrongly_or_cannot_be_shown_is_lost_and_ends_nothing(
    opened: Opened, capfd: pytest.CaptureFixture[str]
) -> None:
    class Mute:
        def __str__(self) -> str:
            raise ZeroDivisionError

    # pytest's own handlers would raise for it.
    root = logging.getLogger()
    others = [handler for handler in root.handlers if not isinstance(handler, logs._Lines)]
    log = opened("json")
    for handler in others:
        root.removeHandler(handler)
    try:
        logging.getLogger("sqlalchemy").warning("%d", "x")
        logs.log("ready", fact=Mute())
        logs.log("ready")
    finally:
        for handler in others:
            root.addHandler(handler)
    assert [event["action"] for event in log.events()] == ["ready"]
    assert capfd.readouterr() == ("", "")


# ---- who hears it


def test_only_the_newest_stream_hears_it_and_once(opened: Opened) -> None:
    first, second = opened("json"), opened("json")
    logs.log("ready")
    third = opened("text")
    logs.log("stopping")
    assert first.octets == b""
    assert [event["action"] for event in second.events()] == ["ready"]
    assert third.octets.count(b"\n") == 1


def test_after_close_nobody_hears_it_and_it_may_be_closed_again(opened: Opened) -> None:
    log = opened("json")
    logs.close_log()
    logs.close_log()
    logs.log("tick-failed", problem="x")
    logging.getLogger("sqlalchemy").warning("x")
    assert log.octets == b""


def test_close_leaves_the_handlers_of_others_alone(opened: Opened) -> None:
    theirs = logging.NullHandler()
    logging.getLogger().addHandler(theirs)
    try:
        opened("json")
        logs.close_log()
        assert theirs in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(theirs)


def test_before_it_is_opened_and_after_it_is_closed_nobody_hears_it() -> None:
    done = run(
        "logs.log('alert', kind='x'); logs.log('tick-failed'); logs.log('ready')\n"
        "logs.open_log(sys.stdout, 'json'); logs.close_log()\n"
        "logs.log('alert', kind='x'); logs.log('tick-failed'); logs.log('ready')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- streams that break


def test_a_full_disk_ends_nothing_neither_now_nor_at_the_end() -> None:
    with open("/dev/full", "w") as full:
        done = run(
            "logs.open_log(sys.stderr, 'json')\n"
            "for _ in range(3): logs.log('alert', kind='x')\n"
            "logging.getLogger('x').error('y')\n"
            "print('went on')",
            stderr=full.fileno(),
        )
    assert (done.returncode, done.stdout) == (0, "went on\n")


def test_a_reader_that_has_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("logs.open_log(sys.stderr, 'text')\nlogs.log('alert')\nprint('went on')", stderr=writing)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, "went on\n")


def test_a_closed_stream_ends_nothing(tmp_path: Path) -> None:
    before, after = (tmp_path / "one").open("w"), (tmp_path / "two").open("w")
    before.close()
    logs.open_log(before, "json")
    logs.log("alert")
    logs.open_log(after, "json")
    after.close()
    logs.log("alert")


def test_a_stream_without_a_descriptor_is_a_log_too() -> None:
    stream = io.StringIO()
    logs.open_log(stream, "json")
    logs.log("ready", recipes=2)
    assert json.loads(stream.getvalue())["recipes"] == 2
    assert stream.getvalue().count("\n") == 1


def test_an_event_is_out_at_once_past_the_buffer_of_the_stream(opened: Opened) -> None:
    log = opened("json")
    logs.log("ready")
    assert [event["action"] for event in log.events()] == ["ready"]
    log.stream.flush()
    assert len(log.events()) == 1


class Pipe:
    """A pipe that is never waited for: once it is full, a write takes what fits, or nothing."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        for end in (self.reading, self.writing):
            os.set_blocking(end, False)
        size = fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4 * os.sysconf("SC_PAGE_SIZE"))
        self.stream = os.fdopen(self.writing, "w")
        self.size = size

    def drain(self) -> bytes:
        found = b""
        while True:
            try:
                found += os.read(self.reading, 2**20)
            except BlockingIOError:
                return found

    def fill(self, left: int = 0) -> None:
        assert os.write(self.writing, b"-" * (self.size - left)) == self.size - left


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()
    os.close(made.reading)


LONG = {f"fact_{number}": "x" * 4000 for number in range(10)}


def test_after_a_torn_line_the_next_event_begins_a_line_of_its_own(pipe: Pipe) -> None:
    logs.open_log(pipe.stream, "json")
    logs.log("slot-failed", **LONG)
    torn = pipe.drain()
    assert 0 < len(torn) < 40_000
    assert b"\n" not in torn
    logs.log("ready")
    logs.log("stopping")
    empty, *lines, end = pipe.drain().split(b"\n")
    assert (empty, end) == (b"", b"")
    assert [json.loads(line)["action"] for line in lines] == ["ready", "stopping"]


def test_an_event_that_is_lost_whole_leaves_no_empty_line_behind(pipe: Pipe) -> None:
    logs.open_log(pipe.stream, "json")
    pipe.fill()
    logs.log("alert")
    assert pipe.drain() == b"-" * pipe.size
    logs.log("ready")
    (line, end) = pipe.drain().split(b"\n")
    assert (json.loads(line)["action"], end) == ("ready", b"")


def test_a_line_stays_torn_until_something_can_be_written(pipe: Pipe) -> None:
    logs.open_log(pipe.stream, "json")
    logs.log("slot-failed", **LONG)  # torn
    logs.log("alert")  # lost: the pipe is full
    pipe.drain()
    logs.log("ready")
    told = pipe.drain()
    assert told.startswith(b"\n{")
    assert json.loads(told)["action"] == "ready"


def test_a_slow_reader_gets_a_long_line_whole_though_a_signal_comes_between() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGE_SIZE"))
    found: list[bytes] = []
    came = threading.Event()

    def read() -> None:
        assert came.wait(20)
        with os.fdopen(reading, "rb") as pipe:
            found.append(pipe.read())

    reader = threading.Thread(target=read)
    reader.start()
    before = signal.signal(signal.SIGALRM, lambda *_: came.set())
    try:
        with os.fdopen(writing, "w") as stream:
            logs.open_log(stream, "json")
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # while the pipe is full and nobody reads
            logs.log("slot-failed", **LONG)
            logs.close_log()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    reader.join(20)
    event = json.loads(found[0])
    assert {name: event[name] for name in LONG} == LONG
