"""Whoever asks how the scheduler is gets one answer, and who only holds a connection is let go."""

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LedgerError, UsageError
from runner.monitor import http
from runner.monitor.http import CONNECTION_S, CONNECTIONS_MAX, SILENT_S, WITHOUT_METRICS, Health, Metrics, Server

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NUMBERS = b"# TYPE some gauge\nsome 1.0\n"
# No test waits for so long, unless something is wrong.
PATIENCE_S = 20


def well() -> tuple[bool, dict[str, Any]]:
    return True, {"looked_at": NOON, "running": 2}


@pytest.fixture(autouse=True)
def quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LOOK_S", 0.02)


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start_one(health: Health = well, metrics: Metrics | None = lambda: NUMBERS, **where: Any) -> Server:
            return stack.enter_context(http.serve(where.pop("port", 0), health=health, metrics=metrics, **where))

        yield start_one


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=PATIENCE_S)


def rest(connection: socket.socket) -> bytes:
    """All that still comes, until the other end closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def sent(port: int, request: bytes) -> bytes:
    """The whole answer to these bytes."""
    with connect(port) as connection:
        connection.sendall(request)
        return rest(connection)


def ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def is_answered(port: int) -> bool:
    with suppress(ConnectionError):
        return sent(port, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")
    return False


def reset(connection: socket.socket) -> None:
    """Hang up in the middle of whatever it is."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wait_until(true: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(true() or pause.wait(0.02) for _ in range(int(PATIENCE_S / 0.02)))


def hold(server: Server, count: int, stack: ExitStack) -> list[socket.socket]:
    """So many silent connections; the server has taken each."""

    def holds(number: int) -> bool:
        return len(server._server._open) == number

    held = []
    for number in range(1, count + 1):
        held.append(stack.enter_context(connect(server.port)))
        assert wait_until(partial(holds, number))
    return held


class Gate:
    """Metrics that say that somebody waits for them, and come when they are let."""

    def __init__(self) -> None:
        self.asked, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> bytes:
        self.asked.set()
        assert self.opened.wait(PATIENCE_S)
        return NUMBERS


# ---- what is told


def test_health_is_one_json_object_in_ascii(start: Callable[..., Server]) -> None:
    server = start(health=lambda: (True, {"looked_at": NOON, "who": "ana@Büro", "home": Path("/srv"), "running": 2}))
    status, headers, body = ask(server.port, "/healthz")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body.isascii()
    assert body.endswith(b"}\n")
    assert json.loads(body) == {
        "healthy": True,
        "looked_at": "2026-11-22T12:00:00.000000Z",
        "who": "ana@Büro",
        "home": "/srv",
        "running": 2,
    }


def test_a_scheduler_that_is_not_well_is_a_503_that_still_tells(start: Callable[..., Server]) -> None:
    status, _, body = ask(start(health=lambda: (False, {"looked_at": None})).port, "/healthz")
    assert (status, json.loads(body)) == (503, {"healthy": False, "looked_at": None})


def test_each_answer_is_new(start: Callable[..., Server]) -> None:
    answers: Iterator[tuple[bool, dict[str, Any]]] = iter([(True, {}), (False, {}), (True, {})])
    port = start(health=lambda: next(answers)).port
    assert [ask(port, "/healthz")[0] for _ in range(3)] == [200, 503, 200]


def test_metrics_are_given_as_they_are_in_the_media_type_of_prometheus(start: Callable[..., Server]) -> None:
    status, headers, body = ask(start().port, "/metrics")
    assert (status, body) == (200, NUMBERS)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_without_the_extra_whoever_asks_for_metrics_is_told_how_to_get_them(start: Callable[..., Server]) -> None:
    port = start(metrics=None).port
    status, _, body = ask(port, "/metrics")
    assert (status, body.decode()) == (501, WITHOUT_METRICS + "\n")
    assert "pip install 'omixa-runner[metrics]'" in WITHOUT_METRICS
    assert ask(port, "/healthz")[0] == 200


def test_what_follows_a_question_mark_is_passed_over(start: Callable[..., Server]) -> None:
    port = start().port
    assert ask(port, "/healthz?verbose=1&x=/metrics")[0] == 200
    assert ask(port, "/metrics?name[]=some")[2] == NUMBERS


@pytest.mark.parametrize("path", ["/", "/healthz/", "/Healthz", "/../healthz", "/etc/passwd", "*"])
def test_any_other_path_is_a_404_that_names_the_two(start: Callable[..., Server], path: str) -> None:
    answer = sent(start().port, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 404 Not Found\r\n")
    assert answer.endswith(b"\r\n\r\nthere is /healthz and /metrics\n")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/elsewhere"])
def test_head_has_the_head_of_get_and_no_body(start: Callable[..., Server], path: str) -> None:
    port = start().port
    (status, headers, body), (status_of_head, head, _) = ask(port, path), ask(port, path, "HEAD")
    assert sent(port, f"HEAD {path} HTTP/1.0\r\n\r\n".encode()).endswith(b"\r\nConnection: close\r\n\r\n")
    assert status_of_head == status
    assert {**head, "Date": ""} == {**headers, "Date": ""}
    assert head["Content-Length"] == str(len(body))


def test_an_answer_is_kept_by_nobody_and_names_no_version(start: Callable[..., Server]) -> None:
    port = start().port
    for path in ("/healthz", "/metrics", "/elsewhere"):
        _, headers, body = ask(port, path)
        assert {**headers, "Date": "", "Content-Type": ""} == {
            "Server": "omixa",
            "Date": "",
            "Content-Type": "",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }


def test_an_error_of_the_ledger_is_a_503_with_its_words(start: Callable[..., Server]) -> None:
    def fail() -> bytes:
        raise LedgerError("`/srv/\udcff/ledger.db` is damaged", "look at it")

    port = start(metrics=fail).port
    assert ask(port, "/metrics")[::2] == (503, b"`/srv/\\udcff/ledger.db` is damaged\n")
    assert ask(port, "/healthz")[0] == 200


def test_a_mistake_of_ours_is_a_500_that_tells_its_kind_and_not_its_words(start: Callable[..., Server]) -> None:
    def fail() -> tuple[bool, dict[str, Any]]:
        raise ZeroDivisionError("a secret")

    port = start(health=fail).port
    assert ask(port, "/healthz")[::2] == (500, b"omixa made a mistake of its own (ZeroDivisionError)\n")
    assert ask(port, "/metrics")[0] == 200


def test_many_ask_at_once_and_none_waits_for_another(start: Callable[..., Server]) -> None:
    together = threading.Barrier(6)

    def meet() -> bytes:
        together.wait(PATIENCE_S)
        return NUMBERS

    port, found = start(metrics=meet).port, []
    threads = [threading.Thread(target=lambda: found.append(ask(port, "/metrics")[2])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [NUMBERS] * 6


# ---- what is refused


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X" * 100])
def test_only_get_and_head_are_answered(start: Callable[..., Server], method: str) -> None:
    head, _, body = sent(start().port, f"{method} /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, HEAD" in head
    assert body == b"only GET and HEAD\n"


def test_who_sends_a_body_still_reads_the_answer(start: Callable[..., Server]) -> None:
    pause = threading.Event()
    with connect(start().port) as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 30000\r\n\r\n")
        for _ in range(30):
            connection.sendall(b"x" * 1000)
            pause.wait(0.005)  # the answer is there long before the body has ended
        assert rest(connection).endswith(b"only GET and HEAD\n")


def test_who_is_refused_need_not_hang_up_first(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._Handler, "timeout", 3600.0)
    monkeypatch.setattr(http, "CONNECTION_S", 3600.0)
    assert sent(start().port, b"POST / HTTP/1.0\r\n\r\n").endswith(b"only GET and HEAD\n")


def test_a_body_without_an_end_is_not_read_to_its_end(start: Callable[..., Server]) -> None:
    port = start().port
    with connect(port) as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n")
        taken = 0
        with suppress(ConnectionError):
            while taken < 64 * 2**20:
                taken += connection.send(b"x" * 65536)
    assert taken < 64 * 2**20
    assert ask(port, "/healthz")[0] == 200


# Each is read by the server to its last byte: what it had not read would reset the client.
NO_REQUEST = {
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n", 400),
    "too many words": (b"GET /healthz or /metrics HTTP/1.0\r\n", 400),
    "a version that is none": (b"GET /healthz HTTP/x\r\n", 400),
    "a version to come": (b"GET /healthz HTTP/2.0\r\n", 505),
    "an endless line": (b"GET /" + b"a" * (65537 - 5), 414),
    "an endless header": (b"GET /healthz HTTP/1.0\r\nX: " + b"a" * (65537 - 3), 431),
    "headers without an end": (b"GET /healthz HTTP/1.0\r\n" + b"X: y\r\n" * 101, 431),
}


@pytest.mark.parametrize(("request_", "status"), NO_REQUEST.values(), ids=NO_REQUEST)
def test_what_is_no_request_is_refused_in_a_word(start: Callable[..., Server], request_: bytes, status: int) -> None:
    port = start().port
    answer = sent(port, request_)
    # What has no readable version is answered as in the days before there were heads.
    assert answer.startswith(b"HTTP/1.0 %d " % status) or re.fullmatch(rb"[A-Z][A-Za-z -]+\n", answer)
    assert len(answer) < 400
    assert request_[-8:] not in answer
    assert ask(port, "/healthz")[0] == 200


def test_a_connection_has_one_request_and_one_answer(start: Callable[..., Server]) -> None:
    two = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" * 2
    assert sent(start().port, two).count(b"HTTP/1.0 200 OK") == 1


def test_requests_leave_no_word_behind(capfd: pytest.CaptureFixture[str]) -> None:
    with http.serve(0, health=well, metrics=lambda: b"x" * 8_000_000) as server:
        ask(server.port, "/healthz")
        ask(server.port, "/nowhere")
        ask(server.port, "/healthz", "DELETE")
        sent(server.port, b"\xff\r\n\r\n")
        for request in (b"", b"GET /heal", b"GET /metrics HTTP/1.0\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n"):
            gone = connect(server.port)
            gone.sendall(request)
            reset(gone)
        assert is_answered(server.port)
    assert capfd.readouterr() == ("", "")


# ---- who holds a connection


def test_few_connections_are_taken_and_one_that_ends_makes_room(start: Callable[..., Server]) -> None:
    server = start()
    with ExitStack() as stack:
        silent = hold(server, CONNECTIONS_MAX, stack)
        assert [is_answered(server.port) for _ in range(3)] == [False] * 3
        with connect(server.port) as one_more:
            assert rest(one_more) == b""
        silent[7].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert rest(silent[7]).startswith(b"HTTP/1.0 200 OK\r\n"), "those that were taken are served"
        assert wait_until(lambda: is_answered(server.port))
    assert wait_until(lambda: is_answered(server.port))


def test_as_many_connections_are_taken_as_it_says(start: Callable[..., Server]) -> None:
    server = start()
    with ExitStack() as stack:
        hold(server, CONNECTIONS_MAX - 1, stack)
        assert is_answered(server.port)


SILENCES = {
    "nothing": b"",
    "half a line": b"GET /hea",
    "half a head": b"GET /healthz HTTP/1.0\r\nX: y\r\n",
    "a body that never comes": b"POST /healthz HTTP/1.0\r\nContent-Length: 10\r\n\r\n",
}


@pytest.mark.parametrize("request_", SILENCES.values(), ids=SILENCES)
def test_who_falls_silent_is_let_go(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    assert http._Handler.timeout == SILENT_S == 5
    monkeypatch.setattr(http._Handler, "timeout", 0.1)
    monkeypatch.setattr(http, "CONNECTION_S", 3600.0)
    with connect(start().port) as connection:
        connection.sendall(request_)
        rest(connection)


def test_who_sends_a_byte_at_a_time_is_let_go(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONNECTION_S == 15
    monkeypatch.setattr(http._Handler, "timeout", 3600.0)
    monkeypatch.setattr(http, "CONNECTION_S", 0.2)
    pause = threading.Event()
    with connect(start().port) as connection:
        connection.settimeout(0.01)
        for _ in range(1000):
            with suppress(TimeoutError, ConnectionError):
                connection.sendall(b"G")
                if connection.recv(1) == b"":
                    break
            pause.wait(0.01)
        else:
            pytest.fail("it may go on for ever")


def test_who_does_not_read_the_answer_is_let_go(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._Handler, "timeout", 3600.0)
    monkeypatch.setattr(http, "CONNECTION_S", 0.1)
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 1)
    port = start(metrics=lambda: b"x" * 50_000_000).port
    with connect(port) as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert wait_until(lambda: is_answered(port))


# ---- where it listens


def test_it_listens_on_that_address_and_no_other(start: Callable[..., Server]) -> None:
    here = start()
    there = start(host="127.0.0.2", port=here.port)
    assert here.port == there.port
    another = start(host="127.0.0.2")
    with pytest.raises(ConnectionRefusedError):
        connect(another.port)
    with connect(another.port, "127.0.0.2") as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert rest(connection).startswith(b"HTTP/1.0 200 OK")


def test_an_address_of_six_is_as_good(start: Callable[..., Server]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    with connect(start(host="::1").port, "::1") as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert rest(connection).startswith(b"HTTP/1.0 200 OK")


def test_a_port_has_one_scheduler(start: Callable[..., Server]) -> None:
    port, before = start().port, threading.active_count()
    with pytest.raises(UsageError, match=rf"^cannot listen on 127\.0\.0\.1 port {port}: Address already in use$"):
        start(port=port)
    assert threading.active_count() == before
    assert is_answered(port)


@pytest.mark.parametrize("port", [-1, 65536, 2**70])
def test_a_port_that_is_none_is_one_clear_error(start: Callable[..., Server], port: int) -> None:
    with pytest.raises(UsageError, match=rf"^cannot listen on 127\.0\.0\.1 port {port}: a port is 0–65535$") as caught:
        start(port=port)
    assert caught.value.hint


def test_an_address_of_another_machine_is_one_clear_error(start: Callable[..., Server]) -> None:
    with pytest.raises(UsageError, match=r"^cannot listen on 192\.0\.2\.1 port 0: Cannot assign requested address$"):
        start(host="192.0.2.1")


def test_an_empty_address_is_not_every_address(start: Callable[..., Server]) -> None:
    with pytest.raises(UsageError, match="every address of this machine"):
        start(host="")


def test_nobody_is_asked_for_the_name_of_this_machine(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getfqdn", asked.append)
    assert is_answered(start().port)
    assert asked == []


# ---- how it ends


def test_after_stop_the_port_is_free_and_stop_may_come_twice() -> None:
    server = http.serve(0, health=well, metrics=None)
    assert is_answered(server.port)
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        connect(server.port)
    with http.serve(server.port, health=well, metrics=None) as next_one:
        assert is_answered(next_one.port)


def test_stop_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with http.serve(0, health=well, metrics=None) as server, connect(server.port):
        assert is_answered(server.port)
    assert wait_until(lambda: threading.active_count() == before)


def test_stop_lets_an_answer_on_its_way_arrive_and_waits_for_nobody_who_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http._Handler, "timeout", 3600.0)
    monkeypatch.setattr(http, "_STOP_S", 60.0)
    gate = Gate()
    server = http.serve(0, health=well, metrics=gate)
    stopping = threading.Thread(target=server.stop, daemon=True)
    with connect(server.port) as silent, connect(server.port) as asking:
        asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert gate.asked.wait(PATIENCE_S)
        stopping.start()
        assert rest(silent) == b"", "it is let go before the answer is there"
        assert stopping.is_alive()
        gate.opened.set()
        answer = rest(asking)
        stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(NUMBERS)


def test_stop_does_not_wait_for_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    assert http._STOP_S == 5
    monkeypatch.setattr(http, "_STOP_S", 0.05)
    gate = Gate()
    server = http.serve(0, health=well, metrics=gate)
    with connect(server.port) as asking:
        asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert gate.asked.wait(PATIENCE_S)
        server.stop()
        assert rest(asking) == b""
        gate.opened.set()


def test_stop_does_not_mind_who_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_STOP_S", 0.05)
    gate = Gate()
    server = http.serve(0, health=well, metrics=gate)
    asking = connect(server.port)
    asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert gate.asked.wait(PATIENCE_S)
    reset(asking)
    server.stop()
    gate.opened.set()


def test_a_server_keeps_no_program_from_its_end() -> None:
    program = (
        "import os, socket; from runner.monitor import http\n"
        "server = http.serve(0, health=lambda: (True, {}), metrics=None)\n"
        "held = socket.create_connection(('127.0.0.1', server.port))\n"
        "print(server.port)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert int(done.stdout) > 0
    assert done.stderr == ""
