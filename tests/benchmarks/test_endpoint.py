"""The benchmarks' endpoint counts exactly, whatever shape a request has, and no two of its pictures are the same."""

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from benchmarks import scenes
from benchmarks.endpoint import KEY, Running

HEADERS = {"Authorization": f"Bearer {KEY}"}
PATH = "/api/v1/images/generations"


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return scenes.make(tmp_path / "work", 2, source_bytes=20_000, result_bytes=80_000)


@pytest.fixture
def endpoint(result: Path) -> Iterator[Running]:
    with Running(result, latency_ms=1) as running:
        yield running


def connected(endpoint: Running) -> http.client.HTTPConnection:
    place = urlsplit(endpoint.url)
    return http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)


def bought(connection: http.client.HTTPConnection, body: object, **headers: str) -> bytes:
    """The picture of one answer, whose bill must be readable."""
    connection.request("POST", PATH, body=body, headers={**HEADERS, **headers})  # type: ignore[arg-type]
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert (response.status, answer["usage"]) == (200, {"billed_amount": "0.039000"})
    return base64.b64decode(answer["data"][0]["b64_json"], validate=True)


def counted(endpoint: Running) -> tuple[int, int, int, int]:
    found = endpoint.counts()
    return found["requests"], found["answered"], found["billed_micros"], found["refused"]


def test_every_answer_is_a_whole_picture_like_no_other(endpoint: Running, result: Path) -> None:
    connection = connected(endpoint)
    # With a length, of no bytes, in chunks that end anywhere, and larger than what is read at once.
    bodies = [b"x" * 27_000, b"", iter([b"a", b"b" * 300_000, b"c" * 3]), b"y" * 2_000_000]
    pictures = [bought(connection, body) for body in bodies]
    connection.close()
    assert len(set(pictures)) == 4
    with Image.open(result) as wanted:
        wanted.load()
        for number, picture in enumerate(pictures, start=1):
            with Image.open(BytesIO(picture)) as found:
                found.load()
                assert found.tobytes() == wanted.tobytes()
                assert found.info["Comment"] == f"picture {number:017}"
    assert counted(endpoint) == (4, 4, 4 * 39_000, 0)


def test_a_connection_that_is_to_be_closed_is_closed_after_the_answer(endpoint: Running) -> None:
    for _ in range(20):
        connection = connected(endpoint)
        bought(connection, b"x" * 100_000, Connection="close")
        assert connection.sock is None or connection.sock.recv(1) == b""
        connection.close()
    assert counted(endpoint) == (20, 20, 20 * 39_000, 0)


def test_requests_that_come_before_the_answer_are_answered_in_turn(endpoint: Running) -> None:
    place = urlsplit(endpoint.url)
    request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 3\r\n\r\nabc".encode()
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(request * 3)
        received = b""
        while received.count(b'"billed_amount"') < 3 or not received.endswith(b"}}"):
            more = connection.recv(1 << 20)
            assert more
            received += more
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert counted(endpoint) == (3, 3, 3 * 39_000, 0)


def test_what_is_no_request_for_a_picture_is_not_billed(endpoint: Running) -> None:
    connection = connected(endpoint)
    for method, path, headers in (("GET", PATH, HEADERS), ("POST", "/elsewhere", HEADERS), ("POST", PATH, {})):
        connection.request(method, path, body=b"x", headers=headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 404
    assert counted(endpoint) == (0, 0, 0, 3)


def test_a_request_that_breaks_off_is_not_counted_and_one_whose_client_went_away_is(endpoint: Running) -> None:
    place = urlsplit(endpoint.url)
    head = f"POST {PATH} HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n".encode()
    for body in (b"x" * 99, b"x" * 100):
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            connection.sendall(head + body)
    connection = connected(endpoint)
    bought(connection, b"x")
    connection.close()
    assert endpoint.counts()["billed_micros"] == 2 * 39_000


def test_what_is_held_is_answered_when_it_is_let_go(endpoint: Running) -> None:
    endpoint.hold()
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(bought(connected(endpoint), b"x" * 1000))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    while endpoint.counts()["in_flight"] < 5:
        pass
    assert found == []
    endpoint.go()
    for thread in threads:
        thread.join(60)
    assert len(set(found)) == 5
    assert endpoint.reset()["in_flight_max"] == 5
    assert counted(endpoint) == (0, 0, 0, 0)
