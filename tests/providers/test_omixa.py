"""The one module that sends paid requests, against endpoints that misbehave in every way a network allows."""

import base64
import gzip
import hashlib
import json
import logging
import os
import re
import resource
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, Field
from runner.errors import UsageError
from runner.providers.key import Key
from runner.providers.line import Line, Why
from runner.providers.omixa import OmixaProvider
from runner.providers.provider import Billed, Declined, Order, Outcome, Unknown
from tests.providers.conftest import SECRET
from tests.providers.endpoint import (
    Endpoint,
    Play,
    answering,
    http,
    read_headers,
    read_request,
    wait_for_more,
)

Start = Callable[..., Endpoint]
Send = Callable[..., Outcome]

CERTIFICATE = Path(__file__).with_name("loopback-test-only.pem")
PICTURE = bytes(range(256)) * 700
SUCCESS = json.dumps(
    {
        "created": 1780660800,
        "data": [{"b64_json": base64.b64encode(PICTURE).decode(), "url": None}],
        "usage": {"billed_amount": "0.039000"},
    }
).encode()


DRAW = Contract(
    "draw",
    "Draw",
    "",
    (
        Field("model", "choice", True, "", "", choices=("draw",)),
        Field("prompt", "string", True, "", ""),
        Field("strength", "number", False, "", ""),
    ),
    None,
    operation="prompt-to-image",
)


def reset(connection: socket.socket) -> None:
    """Hang up with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def large(order: Order) -> Order:
    """The same order with a picture that does not fit into the buffers between the two ends."""
    order.picture.write_bytes(os.urandom(1 << 20) * 24)
    return order


# --- what is sent ---------------------------------------------------------------------------------------------


def test_a_request_is_the_contract_and_nothing_else(endpoint: Start, send: Send, order: Order, spool: Path) -> None:
    there = endpoint(answering(http(SUCCESS, headers={"X-Request-Id": "r-1", "Set-Cookie": "a=b"})))
    outcome = send(there)

    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.amount_text, outcome.fault) == (39_000, "0.039000", None)
    assert outcome.result == spool.with_name("attempt-1.picture")
    assert outcome.result.read_bytes() == PICTURE
    assert outcome.evidence.status == 200
    assert outcome.evidence.request_id == "r-1"
    assert "set-cookie" not in outcome.evidence.headers

    head, _, body = there.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/v1/images/generations HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert headers.pop("User-Agent").startswith("omixa-runner/")
    assert headers == {
        "Host": f"127.0.0.1:{there.port}",
        "Authorization": f"Bearer {SECRET}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Length": str(len(body)),
    }
    assert b'"creativity":0.30,' in body
    encoded = base64.b64encode(order.picture.read_bytes()).decode()
    assert json.loads(body, parse_float=Decimal) == {
        "model": "stability-upscale-creative",
        **order.options,
        "input_images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}],
    }


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 393_216, 1_000_000])
def test_a_picture_of_any_size_is_streamed_whole(endpoint: Start, send: Send, order: Order, size: int) -> None:
    order.picture.write_bytes(os.urandom(size))
    there = endpoint(answering(http(SUCCESS)))
    assert isinstance(send(there), Billed)
    body = json.loads(there.requests[0].partition(b"\r\n\r\n")[2])
    url = body["input_images"][0]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == order.picture.read_bytes()


@pytest.mark.parametrize(
    ("number", "text"),
    [("0.1", "0.1"), ("0.30", "0.30"), ("1E-1", "0.1"), ("0.10000000000000000001", "0.10000000000000000001")],
)
def test_decimals_are_written_digit_by_digit(
    endpoint: Start, key: Key, order: Order, spool: Path, number: str, text: str
) -> None:
    there = endpoint(answering(http(SUCCESS)))
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    options = {**order.options, "creativity": Decimal(number)}
    provider.send(replace(order, options=options), spool=spool, on_sending=lambda: None)
    assert f'"creativity":{text},'.encode() in there.requests[0]


def test_every_request_has_a_connection_of_its_own(endpoint: Start, key: Key, order: Order, tmp_path: Path) -> None:
    def keeps_open(connection: socket.socket, there: Endpoint) -> None:
        read_request(connection, there)
        connection.sendall(http(SUCCESS, headers={"Connection": "keep-alive"}))
        there.ended.wait(20)

    there = endpoint(keeps_open)
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    for number in range(3):
        assert isinstance(provider.send(order, spool=tmp_path / str(number), on_sending=lambda: None), Billed)
    assert there.connections == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"options": {"prompt": "x", "aspect_ratio": "1:1"}}, "not-in-contract"),
        ({"options": {"prompt": "x", "input_images": "y"}}, "not-in-contract"),
        ({"options": {"prompt": "x", "model": "y"}}, "not-in-contract"),
        ({"options": {"prompt": "x", "seed": True}}, "not-in-contract"),
        ({"options": {"prompt": "x", "creativity": Decimal("NaN")}}, "not-in-contract"),
        ({"model": "another"}, "not-in-contract"),
        ({"picture": Path("/nowhere/at/all.png")}, "picture-unreadable"),
    ],
)
def test_what_the_contract_does_not_know_or_the_disk_does_not_have_is_not_sent(
    endpoint: Start, key: Key, order: Order, spool: Path, change: dict[str, Any], code: str
) -> None:
    there = endpoint(answering(http(SUCCESS)))
    asked: list[str] = []
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    outcome = provider.send(replace(order, **change), spool=spool, on_sending=lambda: asked.append("sending"))
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s) == (code, None)
    assert outcome.message.startswith("nothing was sent: ")
    assert (asked, there.connections) == ([], 0)
    assert list(spool.parent.iterdir()) == []


# --- the moment of sending ------------------------------------------------------------------------------------


def test_on_sending_comes_after_the_connection_and_before_the_first_byte_of_the_body(
    endpoint: Start, key: Key, order: Order, spool: Path
) -> None:
    looked = threading.Event()
    early: list[bool] = []

    def looks(connection: socket.socket, there: Endpoint) -> None:
        _, body = read_headers(connection)
        early.append(bool(body) or wait_for_more(connection, 0.2))
        looked.set()
        while wait_for_more(connection, 0.2) and connection.recv(1 << 20):
            pass
        connection.sendall(http(SUCCESS))

    asked: list[bool] = []
    there = endpoint(looks)
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    # The headers are there when it is asked, which proves the connection; the body is not.
    outcome = provider.send(order, spool=spool, on_sending=lambda: asked.append(looked.wait(10)))
    assert asked == [True]
    assert early == [False]
    assert isinstance(outcome, Billed)


@pytest.mark.parametrize(
    "refusal",
    [
        *(RuntimeError("x"), BrokenPipeError(32, "x"), ConnectionResetError(104, "x"), TimeoutError("x")),
        *(StopIteration(), KeyboardInterrupt(), SystemExit(3), GeneratorExit()),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
def test_what_on_sending_raises_comes_out_unchanged_and_no_byte_of_the_body_was_sent(
    endpoint: Start, key: Key, order: Order, spool: Path, refusal: BaseException
) -> None:
    bodies: list[bytes] = []
    seen = threading.Event()

    def listens(connection: socket.socket, there: Endpoint) -> None:
        _, body = read_headers(connection)
        with suppress(OSError):
            while block := connection.recv(65536):
                body += block
        bodies.append(body)
        seen.set()

    def refuse() -> None:
        raise refusal

    there = endpoint(listens)
    with pytest.raises(type(refusal)) as caught:
        OmixaProvider(url=there.url, key=key, timeout_s=20).send(order, spool=spool, on_sending=refuse)
    assert caught.value is refusal
    assert caught.value.__cause__ is None
    assert seen.wait(10)
    assert bodies == [b""]
    assert list(spool.parent.iterdir()) == []


# --- no connection --------------------------------------------------------------------------------------------


def nothing_sent(outcome: Outcome, words: str) -> None:
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s, outcome.stops_run) == ("not-sent", 1.0, False)
    assert outcome.message == f"nothing was sent: {words}"
    assert outcome.evidence.status is None


def unasked() -> None:
    raise AssertionError("on_sending was called without a connection")


def test_a_refused_connection_is_proof_that_nothing_was_sent(key: Key, order: Order, spool: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    provider = OmixaProvider(url=f"http://127.0.0.1:{port}/api/v1", key=key, timeout_s=20)
    nothing_sent(provider.send(order, spool=spool, on_sending=unasked), "connection refused")
    assert list(spool.parent.iterdir()) == []


def test_a_name_that_is_not_known_is_proof_that_nothing_was_sent(
    key: Key, order: Order, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    provider = OmixaProvider(url="https://endpoint.test/api/v1", key=key, timeout_s=20)
    nothing_sent(provider.send(order, spool=spool, on_sending=unasked), "name not resolved")


def test_a_name_server_that_never_answers_is_not_waited_for(
    key: Key, order: Order, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def hangs(host: str, *_: object, flags: int = 0, **__: object) -> None:
        if not flags:
            answered.wait(20)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    provider = OmixaProvider(url="https://endpoint.test/api/v1", key=key, timeout_s=20, connect_timeout_s=1)
    nothing_sent(provider.send(order, spool=spool, on_sending=unasked), "the name was not resolved within 1 s")
    answered.set()


def test_a_connection_that_is_never_accepted_times_out_with_nothing_sent(key: Key, order: Order, spool: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # fill the queue, so that the next one gets no answer
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        provider = OmixaProvider(url=url, key=key, timeout_s=20, connect_timeout_s=1)
        nothing_sent(provider.send(order, spool=spool, on_sending=unasked), "connect timed out")
        for one in waiting:
            one.close()


# --- TLS ------------------------------------------------------------------------------------------------------


def over_tls(play: Play) -> Play:
    def wrapped(connection: socket.socket, there: Endpoint) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        with context.wrap_socket(connection, server_side=True) as secured:
            play(secured, there)

    return wrapped


def secure(there: Endpoint) -> str:
    return there.url.replace("http://", "https://")


def test_tls_with_a_trusted_certificate_works(endpoint: Start, send: Send) -> None:
    there = endpoint(over_tls(answering(http(SUCCESS))))
    assert isinstance(send(there, url=secure(there), ca_file=CERTIFICATE), Billed)


def test_a_certificate_that_is_not_trusted_is_proof_that_nothing_was_sent(
    endpoint: Start, key: Key, order: Order, spool: Path
) -> None:
    there = endpoint(over_tls(answering(http(SUCCESS))))
    provider = OmixaProvider(url=secure(there), key=key, timeout_s=20)
    outcome = provider.send(order, spool=spool, on_sending=unasked)
    nothing_sent(outcome, "TLS certificate not trusted: self-signed certificate")
    assert there.requests == []


def test_a_certificate_of_another_host_is_not_trusted(endpoint: Start, key: Key, order: Order, spool: Path) -> None:
    there = endpoint(over_tls(answering(http(SUCCESS))))
    url = secure(there).replace("127.0.0.1", "127.0.0.2")
    provider = OmixaProvider(url=url, key=key, timeout_s=20, ca_file=CERTIFICATE)
    outcome = provider.send(order, spool=spool, on_sending=unasked)
    assert isinstance(outcome, Declined)
    assert (outcome.code, there.requests) == ("not-sent", [])


def test_a_handshake_that_fails_or_never_ends_is_proof_that_nothing_was_sent(
    endpoint: Start, key: Key, order: Order, spool: Path
) -> None:
    def no_tls(connection: socket.socket, there: Endpoint) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        there.ended.wait(0.2)

    for play, words in (
        (no_tls, "TLS handshake failed"),
        (lambda connection, there: None, r"TLS handshake failed.*"),
        (lambda connection, there: there.ended.wait(20), "TLS handshake timed out"),
    ):
        there = endpoint(play)
        provider = OmixaProvider(url=secure(there), key=key, timeout_s=20, connect_timeout_s=1, ca_file=CERTIFICATE)
        outcome = provider.send(order, spool=spool, on_sending=unasked)
        assert isinstance(outcome, Declined)
        assert re.fullmatch(f"nothing was sent: {words}", outcome.message)
        assert outcome.retry_after_s == 1.0


# --- broken on the way ----------------------------------------------------------------------------------------


def in_doubt(outcome: Outcome, code: str, words: str = "") -> Unknown:
    assert isinstance(outcome, Unknown)
    assert outcome.code == code
    assert words in outcome.message
    return outcome


def test_a_connection_that_closes_at_once_is_free_only_if_the_body_had_not_begun(
    endpoint: Start, key: Key, order: Order, tmp_path: Path
) -> None:
    there = endpoint(lambda connection, there: reset(connection), lambda connection, there: None)
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    for number in range(20):
        asked: list[str] = []
        outcome = provider.send(order, spool=tmp_path / str(number), on_sending=lambda: asked.append("x"))  # noqa: B023
        if asked:
            in_doubt(outcome, "no-answer", "the connection ended before an answer came")
        else:
            assert isinstance(outcome, Declined)
            assert outcome.code == "not-sent"


def test_a_reset_while_the_body_is_sent_is_in_doubt(endpoint: Start, send: Send, order: Order, spool: Path) -> None:
    def resets(connection: socket.socket, there: Endpoint) -> None:
        read_headers(connection)
        connection.recv(1000)
        reset(connection)

    large(order)
    in_doubt(send(endpoint(resets)), "no-answer", "the connection ended before an answer came")
    assert list(spool.parent.iterdir()) == []


@pytest.mark.parametrize(
    "gone",
    [
        b"",
        b"HTTP/1.1 4",
        b"HTTP/1.1 429 Slow Down",
        b"HTTP/1.1 429 Slow Down\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Le",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 20\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_answer_cut_before_its_body_is_in_doubt(
    endpoint: Start, send: Send, spool: Path, gone: bytes, how: str
) -> None:
    def cuts(connection: socket.socket, there: Endpoint) -> None:
        read_request(connection, there)
        connection.sendall(gone)
        if how == "reset":
            reset(connection)

    in_doubt(send(endpoint(cuts)), "no-answer", "the connection ended before an answer came")
    assert list(spool.parent.iterdir()) == []


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Request-Id: r-9\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "sent",
    [
        http(SUCCESS, headers={"X-Request-Id": "r-9"})[:-1],
        http(SUCCESS, headers={"X-Request-Id": "r-9"})[:300],
        CHUNKED + chunk(SUCCESS),
        CHUNKED + chunk(SUCCESS)[:-1000],
        CHUNKED + chunk(SUCCESS[:5000]) + chunk(SUCCESS[5000:]) + b"0",
        CHUNKED + b"zz\r\n" + SUCCESS,
    ],
    ids=["a-byte-short", "cut-early", "no-last-chunk", "cut-chunk", "cut-last-chunk", "bad-chunk"],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_answer_cut_in_its_body_is_in_doubt_and_never_spooled(
    endpoint: Start, send: Send, spool: Path, sent: bytes, how: str
) -> None:
    def cuts(connection: socket.socket, there: Endpoint) -> None:
        read_request(connection, there)
        connection.sendall(sent)
        if how == "reset":
            wait_for_more(connection, 0.2)
            reset(connection)

    outcome = send(endpoint(cuts))
    if sent.endswith(b"\r\n0") and how == "close":
        # The last chunk is empty and there: only its line break is missing, and nothing of the body.
        assert isinstance(outcome, Billed)
        return
    in_doubt(outcome, "answer-cut", "the answer broke off")
    assert outcome.evidence.request_id == "r-9"
    assert list(spool.parent.iterdir()) == []


def test_a_whole_answer_is_read_in_chunks_or_up_to_the_end_of_the_connection(endpoint: Start, send: Send) -> None:
    chunks = b"".join(chunk(SUCCESS[start : start + 777]) for start in range(0, len(SUCCESS), 777))
    for raw in (
        CHUNKED + chunks + b"0\r\n\r\n",
        CHUNKED + chunks + b"0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + SUCCESS,
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(SUCCESS),
        b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + http(SUCCESS),
        http(SUCCESS) + b"HTTP/1.1 500 Again\r\n\r\n",
    ):
        outcome = send(endpoint(answering(raw)))
        assert isinstance(outcome, Billed)
        assert outcome.amount_micros == 39_000
        assert outcome.result is not None
        assert outcome.result.read_bytes() == PICTURE


def test_an_answer_cut_where_the_connection_was_its_end_is_in_doubt(endpoint: Start, send: Send) -> None:
    in_doubt(send(endpoint(answering(b"HTTP/1.0 200 OK\r\n\r\n" + SUCCESS[:-1]))), "answer-unreadable")


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}",
        http(SUCCESS, headers={"content-length": "5"}),
        http(SUCCESS).replace(b"Content-Length: ", b"Content-Length: 5, "),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + http(SUCCESS),
    ],
)
def test_what_is_no_proper_http_is_in_doubt_and_raises_nothing(endpoint: Start, send: Send, raw: bytes) -> None:
    assert isinstance(send(endpoint(answering(raw))), Unknown)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_an_answer_that_comes_before_the_body_was_read_is_read(
    endpoint: Start, send: Send, order: Order, monkeypatch: pytest.MonkeyPatch, hangs_up: bool
) -> None:
    def too_large(connection: socket.socket, there: Endpoint) -> None:
        read_headers(connection)
        connection.sendall(http(b'{"name": "payload_too_large", "errors": ["max 10 MiB"]}', "413 Too Large"))
        if not hangs_up:  # neither reads nor hangs up: the time runs out with the answer already there
            there.ended.wait(20)

    def late(line: Line, why: Why, cut: Callable[[Line, Why], None] = Line.cut) -> None:
        time.sleep(0.5)  # as on a machine with much to do: the line's clock comes late
        cut(line, why)

    monkeypatch.setattr(Line, "cut", late)
    large(order)
    outcome = send(endpoint(too_large), timeout_s=20 if hangs_up else 1)
    assert isinstance(outcome, Declined)
    assert outcome.code == "too-large"
    assert "max 10 MiB" in outcome.message


@pytest.mark.parametrize(
    ("raw", "code", "retry_after_s"),
    [
        (http(SUCCESS), "not-sent", 1.0),
        (http(b"{}", "500 Oops"), "not-sent", 1.0),
        (http(b"{}", "408 Request Timeout"), "not-sent", 1.0),
        (http(b"{}", "401 Unauthorized"), "key-refused", None),
        (http(b"{}", "429 Slow Down", {"Retry-After": "3"}), "rate-limited", 3.0),
        (b"", "not-sent", 1.0),
    ],
)
def test_an_answer_to_what_was_never_sent_cannot_bill_or_leave_in_doubt(
    endpoint: Start,
    key: Key,
    order: Order,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
    raw: bytes,
    code: str,
    retry_after_s: float | None,
) -> None:
    connected = threading.Event()

    def answers_and_resets(connection: socket.socket, there: Endpoint) -> None:
        connected.wait(10)
        connection.sendall(raw)
        reset(connection)

    class WaitsForTheReset(socket.socket):
        """A socket that is connected, and hung up on by the time anything is sent."""

        def connect(self, address: Any) -> None:
            super().connect(address)
            connected.set()
            poll = select.poll()
            poll.register(self, 0)  # hang-ups and errors are always reported
            poll.poll(10_000)

    there = endpoint(answers_and_resets)
    monkeypatch.setattr(socket, "socket", WaitsForTheReset)
    outcome = OmixaProvider(url=there.url, key=key, timeout_s=20).send(order, spool=spool, on_sending=unasked)
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s) == (code, retry_after_s)
    assert list(spool.parent.iterdir()) == []


# --- time -----------------------------------------------------------------------------------------------------


def trickling(start: bytes, drop: bytes, end: bytes) -> Play:
    """Sends a little again and again, for far longer than the deadline, and then a whole answer."""

    def play(connection: socket.socket, there: Endpoint) -> None:
        read_request(connection, there)
        connection.sendall(start)
        for _ in range(100):
            there.ended.wait(0.1)
            connection.sendall(drop)
        connection.sendall(end)

    return play


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("start", "drop", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"y", b"\r\n\r\n" + SUCCESS),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" ", SUCCESS),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b" "), chunk(SUCCESS) + b"0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(SUCCESS) + 100), b" ", SUCCESS),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", http(SUCCESS)),
    ],
    ids=["headers", "body", "chunks", "length", "continues"],
)
def test_an_endpoint_that_trickles_is_cut_at_the_deadline(
    endpoint: Start, send: Send, spool: Path, start: bytes, drop: bytes, end: bytes, secured: bool
) -> None:
    play = trickling(start, drop, end)
    there = endpoint(over_tls(play) if secured else play)
    url = secure(there) if secured else there.url
    outcome = send(there, url=url, timeout_s=1, ca_file=CERTIFICATE)
    in_doubt(outcome, "timed-out", "no complete answer within 1 s")
    assert list(spool.parent.iterdir()) == []


def test_a_body_that_nobody_reads_is_cut_at_the_deadline(endpoint: Start, send: Send, order: Order) -> None:
    large(order)
    in_doubt(send(endpoint(lambda connection, there: there.ended.wait(20)), timeout_s=1), "timed-out")


def test_a_slow_endpoint_may_take_longer_for_the_body_than_for_the_connection(
    endpoint: Start, send: Send, order: Order
) -> None:
    def pauses(connection: socket.socket, there: Endpoint) -> None:
        there.ended.wait(1.5)
        read_request(connection, there)
        connection.sendall(http(SUCCESS))

    large(order)
    assert isinstance(send(endpoint(pauses), connect_timeout_s=1), Billed)


def test_a_deadline_that_passes_before_the_body_begins_leaves_nothing_sent(
    endpoint: Start, key: Key, order: Order, spool: Path
) -> None:
    bodies: list[bytes] = []

    def listens(connection: socket.socket, there: Endpoint) -> None:
        _, body = read_headers(connection)
        bodies.append(body + (connection.recv(1000) if wait_for_more(connection, 10) else b""))
        there.ended.set()

    there = endpoint(listens)
    provider = OmixaProvider(url=there.url, key=key, timeout_s=1)
    outcome = provider.send(order, spool=spool, on_sending=lambda: assert_true(there.ended.wait(20)))
    nothing_sent(outcome, "not ready to send within 1 s")
    assert bodies == [b""]


def assert_true(value: bool) -> None:
    assert value


# --- stop now -------------------------------------------------------------------------------------------------


def test_cancel_ends_everything_in_flight_and_nothing_is_sent_after(
    endpoint: Start, key: Key, order: Order, tmp_path: Path
) -> None:
    arrived = threading.Semaphore(0)

    def holds(connection: socket.socket, there: Endpoint) -> None:
        read_request(connection, there)
        arrived.release()
        there.ended.wait(20)

    there = endpoint(holds)
    provider = OmixaProvider(url=there.url, key=key, timeout_s=60)
    outcomes: list[Outcome] = []

    def one(number: int) -> None:
        outcomes.append(provider.send(order, spool=tmp_path / str(number), on_sending=lambda: None))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert arrived.acquire(timeout=10)
    provider.cancel()
    for thread in threads:
        thread.join(10)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Unknown"] * 6
    assert {outcome.code for outcome in outcomes if isinstance(outcome, Unknown)} == {"cancelled"}

    after = provider.send(order, spool=tmp_path / "after", on_sending=unasked)
    assert isinstance(after, Declined)
    assert (after.code, after.retry_after_s, after.stops_run) == ("not-sent", None, False)
    assert there.connections == 6


def test_cancel_before_the_body_began_leaves_nothing_sent(endpoint: Start, key: Key, order: Order, spool: Path) -> None:
    there = endpoint(answering(http(SUCCESS)))
    provider = OmixaProvider(url=there.url, key=key, timeout_s=60)
    outcome = provider.send(order, spool=spool, on_sending=provider.cancel)
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s) == ("not-sent", None)
    assert outcome.message.startswith("nothing was sent: stopped on request")


def test_cancel_does_not_wait_for_a_name_server_or_a_handshake(
    endpoint: Start, key: Key, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, release = threading.Event(), threading.Event()

    def shakes_no_hands(connection: socket.socket, there: Endpoint) -> None:
        connection.recv(1000)
        waiting.set()
        there.ended.wait(20)

    def stopped(url: str, name: str) -> Outcome:
        waiting.clear()
        provider = OmixaProvider(url=url, key=key, timeout_s=60, connect_timeout_s=60)
        canceller = threading.Thread(target=lambda: waiting.wait(10) and provider.cancel())
        canceller.start()
        outcome = provider.send(order, spool=tmp_path / name, on_sending=unasked)
        canceller.join(10)
        return outcome

    outcomes = [stopped(secure(endpoint(shakes_no_hands)), "tls")]

    def hangs(host: str, *_: object, flags: int = 0, **__: object) -> None:
        if not flags:
            waiting.set()
            release.wait(20)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    outcomes.append(stopped("https://endpoint.test", "dns"))
    release.set()
    for outcome in outcomes:
        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.retry_after_s) == ("not-sent", None)


# --- surprises ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(endpoint: Start, send: Send, spool: Path, status: int) -> None:
    elsewhere = endpoint(answering(http(SUCCESS)))
    there = endpoint(answering(http(b"moved", f"{status} Moved", {"Location": elsewhere.url})))
    in_doubt(send(there), "redirected", f"the endpoint answered {status}")
    assert (there.connections, elsewhere.connections) == (1, 0)
    assert spool.exists()


def test_a_429_is_not_sent_again_by_anything_below_us(endpoint: Start, send: Send) -> None:
    there = endpoint(answering(http(b"{}", "429 Slow Down", {"Retry-After": "0"})))
    outcome = send(there)
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s) == ("rate-limited", 1.0)
    assert there.connections == 1


def test_nothing_in_the_environment_changes_where_a_request_goes_or_who_asks(
    endpoint: Start, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = endpoint(answering(http(SUCCESS)))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://user:word@127.0.0.1:{decoy.port}")
        monkeypatch.setenv(name.lower(), f"http://user:word@127.0.0.1:{decoy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    there = endpoint(answering(http(SUCCESS)))
    assert isinstance(send(there), Billed)
    assert f"Authorization: Bearer {SECRET}".encode() in there.requests[0]
    assert b"Proxy" not in there.requests[0]
    assert decoy.connections == 0


def test_an_answer_over_the_limit_is_in_doubt_and_not_kept(endpoint: Start, send: Send, spool: Path) -> None:
    endless = b"HTTP/1.1 200 OK\r\nX-Request-Id: big\r\n\r\n" + b"x" * 3_000_000
    for raw in (http(b"x" * 1_000_001, headers={"X-Request-Id": "big"}), endless):
        outcome = send(endpoint(answering(raw)), answer_bytes_max=1_000_000)
        in_doubt(outcome, "answer-too-large", "larger than 1000000 bytes")
        assert outcome.evidence.request_id == "big"
        assert list(spool.parent.iterdir()) == []


def test_an_answer_of_exactly_the_limit_is_read(endpoint: Start, send: Send) -> None:
    assert isinstance(send(endpoint(answering(http(SUCCESS))), answer_bytes_max=len(SUCCESS)), Billed)


def test_a_compressed_answer_is_in_doubt_but_kept(endpoint: Start, send: Send, spool: Path) -> None:
    there = endpoint(answering(http(gzip.compress(SUCCESS), headers={"Content-Encoding": "gzip"})))
    in_doubt(send(there), "answer-unreadable", "compressed")
    assert spool.read_bytes().endswith(gzip.compress(SUCCESS)[-20:])


def test_an_error_page_is_told_in_its_own_words(endpoint: Start, send: Send) -> None:
    page = b"<html><head><title>404 Not Found</title></head><body><center>nginx</center></body></html>"
    outcome = send(endpoint(answering(http(page, "404 Not Found", {"Server": "nginx"}))))
    assert isinstance(outcome, Declined)
    assert outcome.message == "the endpoint answered 404: 404 Not Found nginx; not billed, by the declared policy"
    assert outcome.evidence.headers["server"] == "nginx"


def test_the_key_is_in_no_file_message_evidence_or_log_whatever_the_endpoint_echoes(
    endpoint: Start, send: Send, spool: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(f"Bearer {SECRET}".encode()).decode()
    echo = {"Server": SECRET, "X-Request-Id": f"id-{SECRET}", "X-RateLimit-Key": encoded}
    words = f"{'x' * 65_500} {SECRET} {SECRET.encode().hex()} {encoded}"
    picture = {"data": [{"b64_json": "QUJD"}], "usage": {"billed_amount": "0.039000"}, "you_sent": words}
    error = {"error": {"message": f"key {SECRET} unknown", "code": SECRET}}
    scenes: list[Play] = [
        answering(http(json.dumps(picture).encode(), headers=echo)),
        answering(http(json.dumps(error).encode(), f"401 {SECRET}", echo)),
        answering(http(json.dumps(error).encode(), "500 Oops", echo)[:-9]),
        answering(http(words.encode(), "502 Oops", echo)),
        answering(f"HTTP/1.1 200 OK\r\nX: y\r\n{SECRET} no colon\r\nServer: {SECRET}\r\n\r\n{SECRET}".encode()),
        answering(f"{SECRET}\r\n".encode()),
        answering(f"HTTP/1.1 {SECRET}\r\n\r\n".encode()),
        answering(CHUNKED + f"{SECRET}\r\n".encode()),
        answering(f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\nContent-Length: 3\r\n\r\n".encode()),
    ]
    kinds = []
    for scene in scenes:
        outcome = send(endpoint(scene))
        kinds.append(type(outcome).__name__)
        assert SECRET not in repr(outcome)
        assert encoded[12:30] not in repr(outcome)
        for file in spool.parent.iterdir():
            content = file.read_bytes()
            for leak in (SECRET, SECRET.encode().hex(), encoded[12:30]):
                assert leak.encode() not in content
            file.unlink()
    assert kinds == ["Billed", "Declined", *["Unknown"] * 7]
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())


# --- the spool ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        http(SUCCESS, headers={"X-Request-Id": "1"}),
        http(b"{}", "429 Slow Down", {"Retry-After": "Sun, 22 Nov 2099 12:00:45 GMT"}),
        http(b"<p>oops</p>", "500 Oops"),
        http(b"", "204 Nothing"),
        http(json.dumps({"usage": {"billed_amount": "0.1"}, "error": "no picture today"}).encode()),
    ],
    ids=["success", "429", "500", "204", "bill-only"],
)
def test_a_spooled_answer_means_the_same_when_it_is_read_again(
    endpoint: Start, send: Send, key: Key, spool: Path, raw: bytes
) -> None:
    outcome = send(endpoint(answering(raw)))
    picture = spool.with_name("attempt-1.picture")
    was = picture.read_bytes() if picture.exists() else None
    again = OmixaProvider(url="https://elsewhere.test", key=key, timeout_s=1).read_spooled(spool)
    assert again == outcome
    assert (picture.read_bytes() if picture.exists() else None) == was
    assert sorted(file.name for file in spool.parent.iterdir()) == [
        "attempt-1",
        *(["attempt-1.picture"] if was else []),
    ]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in spool.parent.iterdir())


def test_the_spool_holds_the_body_as_it_was_received(endpoint: Start, send: Send, spool: Path) -> None:
    send(endpoint(answering(http(SUCCESS, headers={"Set-Cookie": "x=y", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}))))
    line, _, body = spool.read_bytes().partition(b"\n")
    head = json.loads(line)
    cut = head.pop("cut")
    picture = spool.with_name("attempt-1.picture").read_bytes()
    assert body[: cut["at"]] + base64.b64encode(picture) + body[cut["at"] :] == SUCCESS
    assert (cut["size_bytes"], cut["sha256"]) == (len(PICTURE), hashlib.sha256(PICTURE).hexdigest())
    assert head.pop("received_at").endswith("+00:00")
    assert head == {
        "status": 200,
        "headers": {
            "content-length": str(len(SUCCESS)),
            "content-type": "application/json",
            "date": "Sun, 22 Nov 2026 12:00:00 GMT",
        },
    }


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b"garbage\n{}", b'{"status": 200}\n', b"[]\n", b"\x00" * 400_000]
)
def test_a_spool_that_cannot_be_read_is_in_doubt(key: Key, spool: Path, content: bytes | None) -> None:
    if content is not None:
        spool.write_bytes(content)
    outcome = OmixaProvider(url="https://elsewhere.test", key=key, timeout_s=1).read_spooled(spool)
    in_doubt(outcome, "spool-unreadable", str(spool))


def test_a_file_that_is_written_over_leaves_nothing_in_the_answer(endpoint: Start, send: Send, spool: Path) -> None:
    spool.with_name("attempt-1.part").write_bytes(b"x" * 1_000_000)
    outcome = send(endpoint(answering(http(b'{"error": {"code": "bad", "message": "no"}}', "400 Bad Request"))))
    assert isinstance(outcome, Declined)
    assert spool.read_bytes().endswith(b'"no"}}')


def test_nothing_is_sent_when_the_answer_could_not_be_kept(
    endpoint: Start, key: Key, order: Order, tmp_path: Path
) -> None:
    there = endpoint(answering(http(SUCCESS)))
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    outcome = provider.send(order, spool=tmp_path / "missing" / "1", on_sending=unasked)
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s, outcome.stops_run) == ("spool-unwritable", None, True)
    assert "no such file or directory" in outcome.message
    assert there.connections == 0


@pytest.fixture
def small_files() -> Any:
    """The disk takes no more than 64 KiB a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_fills_up_under_the_answer_loses_the_picture_but_not_the_bill(
    endpoint: Start, send: Send, spool: Path
) -> None:
    outcome = send(endpoint(answering(http(SUCCESS, headers={"X-Request-Id": "r-7"}))))
    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.amount_text, outcome.result) == (39_000, "0.039000", None)
    assert outcome.fault == "the disk could not take the answer: file too large"
    assert outcome.evidence.request_id == "r-7"
    assert list(spool.parent.iterdir()) == []


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_fills_up_under_a_picture_without_a_bill_holds_the_reservation(endpoint: Start, send: Send) -> None:
    body = json.dumps({"data": json.loads(SUCCESS)["data"]}).encode()
    outcome = send(endpoint(answering(http(body))))
    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.result) == (None, None)


def test_a_name_that_cannot_be_given_to_the_answer_does_not_lose_the_bill(
    endpoint: Start, send: Send, spool: Path
) -> None:
    spool.mkdir()
    (spool / "in the way").touch()
    outcome = send(endpoint(answering(http(SUCCESS))))
    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.result) == (39_000, None)
    assert outcome.fault is not None
    assert "the disk could not take the answer: " in outcome.fault


def test_a_picture_that_shrinks_before_it_is_sent_is_not_sent(
    endpoint: Start, key: Key, order: Order, spool: Path
) -> None:
    there = endpoint(answering(http(SUCCESS)))
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    outcome = provider.send(order, spool=spool, on_sending=lambda: os.truncate(order.picture, 0))
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.retry_after_s) == ("picture-unreadable", None)


def test_a_picture_that_shrinks_while_it_is_sent_is_in_doubt(endpoint: Start, send: Send, order: Order) -> None:
    def shortens(connection: socket.socket, there: Endpoint) -> None:
        read_headers(connection)
        connection.recv(1000)
        os.truncate(order.picture, 1000)
        while connection.recv(1 << 20):
            pass

    large(order)
    in_doubt(send(endpoint(shortens)), "picture-unreadable", "became shorter")


# --- the address ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://omixa.cloud", "not an http or https address"),
        ("omixa.cloud/api/v1", "not an http or https address"),
        ("https://", "not an http or https address"),
        ("", "not an http or https address"),
        ("https://me:hidden@omixa.cloud", "user name or password"),
        ("https://hidden@omixa.cloud", "user name or password"),
        ("https://@omixa.cloud", "user name or password"),
        ("https://omixa.cloud/api?key=hidden", "more than an address"),
        ("https://omixa.cloud/api#x", "more than an address"),
        ("https://omixa.cloud/a b", "more than an address"),
        ("https://omixa.cloud\\.evil.test", "more than an address"),
        ("https://omixa.cloud/\r\nX: y", "more than an address"),
        ("https://omixa.cloud:port", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://*.omixa.cloud", "cannot be used"),
        ("http://omixa.cloud/api/v1", "unencrypted to another machine"),
        ("http://10.0.0.1", "unencrypted to another machine"),
        ("http://0.0.0.0", "unencrypted to another machine"),
        ("http://127.0.0.1.evil.test", "unencrypted to another machine"),
        ("http://localhost.evil.test", "unencrypted to another machine"),
    ],
)
def test_an_address_a_key_must_not_be_sent_to_is_refused(key: Key, url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        OmixaProvider(url=url, key=key, timeout_s=1)
    assert "hidden" not in str(caught.value)


def test_a_certificate_file_that_is_not_there_is_said_before_anything_is_sent(key: Key, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no certificate file"):
        OmixaProvider(url="https://omixa.cloud", key=key, timeout_s=1, ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("url", "plaintext"),
    [
        ("http://omixa.cloud/api/v1", True),
        ("https://omixa.cloud/api/v1/", False),
        ("http://127.0.0.1:8080", False),
        ("http://127.9.9.9:8080", False),
        ("http://[::1]:8080/api", False),
        ("http://localhost/api", False),
    ],
)
def test_other_addresses_are_accepted(key: Key, url: str, plaintext: bool) -> None:
    OmixaProvider(url=url, key=key, timeout_s=1, allow_plaintext=plaintext)


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("https://omixa.cloud/api/v1", "/api/v1/images/generations", "omixa.cloud"),
        ("https://Omixa.Cloud.:443/", "/images/generations", "omixa.cloud"),
        ("https://omixa.cloud:8443", "/images/generations", "omixa.cloud:8443"),
        ("https://omixa.cloud:80", "/images/generations", "omixa.cloud:80"),
        ("https://bücher.example/ü", "/%C3%BC/images/generations", "xn--bcher-kva.example"),
        ("https://omixa.cloud/%d0%bf", "/%D0%BF/images/generations", "omixa.cloud"),
        ("http://[::1]/api", "/api/images/generations", "[::1]"),
        ("http://[::1]:8080/api", "/api/images/generations", "[::1]:8080"),
        ("http://localhost:80", "/images/generations", "localhost"),
    ],
)
def test_the_address_is_spelled_as_the_standard_has_it(key: Key, url: str, line: str, host: str) -> None:
    head = OmixaProvider(url=url, key=key, timeout_s=1)._head
    assert head.startswith(f"POST {line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: ".encode())
    assert head.endswith(b"\r\nContent-Length: ")


def test_a_slash_at_the_end_of_the_address_makes_no_difference(endpoint: Start, send: Send) -> None:
    there = endpoint(answering(http(SUCCESS)))
    send(there, url=there.url + "/")
    assert there.requests[0].startswith(b"POST /api/v1/images/generations HTTP/1.1\r\n")


# ---- models of contract files


def test_a_request_without_a_picture_is_the_json_of_its_options(endpoint: Start, key: Key, spool: Path) -> None:
    server = endpoint(answering(http(SUCCESS)))
    provider = OmixaProvider(url=server.url, key=key, timeout_s=20, contracts={"draw": DRAW})
    order = Order("draw", {"prompt": "“boats”", "strength": Decimal("0.30")}, None, None)
    outcome = provider.send(order, spool=spool, on_sending=lambda: None)
    assert isinstance(outcome, Billed), outcome
    assert outcome.amount_micros == 39_000
    body = server.requests[0].partition(b"\r\n\r\n")[2]
    assert json.loads(body, parse_float=Decimal) == {"model": "draw", "prompt": "“boats”", "strength": Decimal("0.30")}
    assert b'"strength":0.30' in body


def test_a_refusal_before_sending_sends_nothing_without_a_picture_too(endpoint: Start, key: Key, spool: Path) -> None:
    begun: list[bytes] = []

    def play(connection: socket.socket, _: Endpoint) -> None:
        with suppress(OSError):
            begun.append(connection.recv(1 << 16).partition(b"\r\n\r\n")[2])

    def no() -> None:
        raise RuntimeError("not recorded")

    provider = OmixaProvider(url=endpoint(play).url, key=key, timeout_s=20, contracts={"draw": DRAW})
    with pytest.raises(RuntimeError, match="not recorded"):
        provider.send(Order("draw", {"prompt": "x"}, None, None), spool=spool, on_sending=no)
    assert begun in ([], [b""])


@pytest.mark.parametrize(
    ("model", "options", "has_picture", "why"),
    [
        ("draw", {"prompt": "x"}, True, "draw takes no source picture"),
        ("stability-upscale-creative", {"prompt": "x"}, False, "stability-upscale-creative takes a source picture"),
        ("draw", {"prompt": "x", "seed": 1}, False, "draw has no option `seed`"),
        ("edit", {"prompt": "x"}, False, "there is no model `edit`"),
    ],
)
def test_what_does_not_fit_its_contract_never_leaves(
    order: Order, key: Key, spool: Path, model: str, options: dict[str, Any], has_picture: bool, why: str
) -> None:
    # Nobody listens there: a connection would be told as one that could not be made.
    contracts = {**CONTRACTS, "draw": DRAW}
    provider = OmixaProvider(url="http://127.0.0.1:9", key=key, timeout_s=20, contracts=contracts)
    media_type = "image/png" if has_picture else None
    wrong = Order(model, options, order.picture if has_picture else None, media_type)
    outcome = provider.send(wrong, spool=spool, on_sending=lambda: None)
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.message) == ("not-in-contract", f"nothing was sent: {why}")
