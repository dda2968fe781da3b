"""One connection that can be cut, and the addresses a fetch may go to."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.providers.key import Key
from runner.providers.line import Clock, Line, NotConnected, is_public
from runner.providers.omixa import FetchFailed, OmixaProvider, fetch
from runner.providers.provider import Billed, Declined, Order
from tests.providers.endpoint import Endpoint, Play, answering, http, read_headers
from tests.providers.test_omixa import CERTIFICATE, over_tls, secure

Start = Callable[..., Endpoint]


@pytest.fixture
def line() -> object:
    made = Line(20)
    yield made
    made.close()


@pytest.fixture
def public_line() -> object:
    made = Line(20, public_only=True)
    yield made
    made.close()


def addresses(*found: tuple[str, int]) -> Callable[..., object]:
    """A name server that gives these addresses for every name."""

    def look_up(host: str, port: int, *_: object, flags: int = 0, **__: object) -> object:
        if flags:
            raise socket.gaierror(-2, "not a number")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    return look_up


def test_a_dead_address_does_not_hide_a_living_one(
    endpoint: Start, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = endpoint(answering(http(b"")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead = server.getsockname()
    monkeypatch.setattr(socket, "getaddrinfo", addresses(dead, ("127.0.0.1", there.port)))
    with line.connect("endpoint.test", 80, 5, ()) as sock:
        assert sock.getpeername()[1] == there.port


def test_a_line_connects_only_once(endpoint: Start, line: Line) -> None:
    there = endpoint(answering(http(b"")))
    line.connect("127.0.0.1", there.port, 5, ()).close()
    with pytest.raises(NotConnected, match="only once"):
        line.connect("127.0.0.1", there.port, 5, ())


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "", "a..test"])
def test_a_name_that_cannot_be_one_is_not_resolved(line: Line, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnicodeError("label empty or too long")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(NotConnected, match="name not resolved"):
        line.connect(host, 80, 5, ())


def test_a_name_without_addresses_is_said_so(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses())
    with pytest.raises(NotConnected, match="the name has no address"):
        line.connect("endpoint.test", 80, 5, ())


def test_a_line_that_was_cut_connects_to_nothing_and_keeps_its_first_reason(endpoint: Start, line: Line) -> None:
    there = endpoint(answering(http(b"")))
    line.cut("cancelled")
    line.cut("deadline")
    assert line.why == "cancelled"
    with pytest.raises(NotConnected, match="stopped on request"):
        line.connect("127.0.0.1", there.port, 5, ())
    assert there.connections == 0


def test_cutting_wakes_whoever_reads(endpoint: Start, line: Line) -> None:
    there = endpoint(lambda connection, there: there.ended.wait(20))
    sock = line.connect("127.0.0.1", there.port, 5, ())
    cutter = threading.Thread(target=line.cut, args=["cancelled"])
    cutter.start()
    assert sock.recv(10) == b""
    cutter.join()
    sock.close()


def test_one_clock_cuts_each_line_at_its_own_moment_also_one_that_is_earlier(endpoint: Start) -> None:
    there = endpoint(lambda connection, there: there.ended.wait(20))
    clock = Clock()
    lines = [Line(seconds, clock=clock) for seconds in (600, 0.5)]
    with lines[1].connect("127.0.0.1", there.port, 5, ()) as sock:
        sock.settimeout(10)
        assert sock.recv(10) == b""
    while clock.next_look < time.monotonic() + 500:  # until it waits for nothing but the late one
        assert lines[0].why is None
    for seconds in (1.5, 1):
        lines.append(Line(seconds, clock=clock))
        with lines[-1].connect("127.0.0.1", there.port, 5, ()) as sock:
            sock.settimeout(10)
            assert sock.recv(10) == b""
    assert [line.why for line in lines] == [None, "deadline", "deadline", "deadline"]
    for line in lines:
        line.close()


def test_a_clock_that_has_rested_goes_on(endpoint: Start) -> None:
    there = endpoint(lambda connection, there: there.ended.wait(20))
    clock = Clock()
    for _ in range(3):
        line = Line(0.5, clock=clock)
        with line.connect("127.0.0.1", there.port, 5, ()) as sock:
            sock.settimeout(10)
            assert sock.recv(10) == b""
        line.close()
        assert line.why == "deadline"


def test_no_socket_and_no_thread_left_are_said_so_and_leave_nothing_sent(
    key: Key, order: Order, spool: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", exhausted)
        with pytest.raises(NotConnected, match="too many open files"):
            line.connect("127.0.0.1", 9, 5, ())

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    provider = OmixaProvider(url="https://omixa.cloud", key=key, timeout_s=20)
    outcome = provider.send(order, spool=spool, on_sending=lambda: None)
    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.message) == ("not-sent", "nothing was sent: the system starts no further thread")


# --- addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "2001:db8::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
        *("192.0.0.8", "192.88.99.1", "64:ff9b:1::a00:1", "3fff::1", "5f00::1", "::127.0.0.1", "::ffff:0:7f00:1"),
        *("", "example.com", "127.1", "2130706433", "0x7f000001", "8.8.8.8 "),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "pictures.test"])
def test_a_public_line_connects_to_no_address_of_this_machine(
    endpoint: Start, public_line: Line, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = endpoint(answering(http(b"")))
    if host == "pictures.test":
        monkeypatch.setattr(socket, "getaddrinfo", addresses(("127.0.0.1", there.port)))
    with pytest.raises(NotConnected, match="its address is not a public one"):
        public_line.connect(host, there.port, 5, ())
    assert there.connections == 0


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    endpoint: Start, public_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = endpoint(answering(http(b"")))
    # The first is public, in a family that it does not fit: nothing could reach it, and then the second is tried.
    public = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 9))
    private = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", there.port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [public, private])
    with pytest.raises(NotConnected, match="its address is not a public one"):
        public_line.connect("pictures.test", 443, 5, ())
    assert there.connections == 0


# --- fetching a picture ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://pictures.test/1.png?secret=1", "not a plain https one"),
        ("file:///etc/passwd", "not a plain https one"),
        ("ftp://pictures.test/1.png", "not a plain https one"),
        ("//pictures.test/1.png", "not a plain https one"),
        ("data:image/png;base64,QUJD", "not a plain https one"),
        ("https://", "not a plain https one"),
        ("https://me:word@pictures.test/", "not a plain https one"),
        ("https://[::1", "cannot be read"),
        ("https://127.0.0.1/1.png", "not a public one"),
        ("https://[::1]/1.png", "not a public one"),
        ("https://[::ffff:127.0.0.1]/1.png", "not a public one"),
        ("https://169.254.169.254/latest/meta-data", "not a public one"),
        ("https://10.0.0.1:8443/", "not a public one"),
    ],
)
def test_a_picture_is_not_fetched_from_just_anywhere(public_line: Line, tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(FetchFailed, match=words) as caught:
        fetch(url, tmp_path / "picture", public_line, bytes_max=1000)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_fetched_without_the_key(endpoint: Start, line: Line, tmp_path: Path) -> None:
    heads: list[bytes] = []

    def serve(connection: socket.socket, there: Endpoint) -> None:
        heads.append(read_headers(connection)[0])
        connection.sendall(http(b"picture", headers={"Content-Type": "image/png"}))

    there = endpoint(over_tls(serve))
    path = tmp_path / "picture"
    fetch(f"{secure(there)}/1.png?sig=x", path, line, bytes_max=7, ca_file=CERTIFICATE)
    assert path.read_bytes() == b"picture"
    assert heads[0].startswith(b"GET /api/v1/1.png?sig=x HTTP/1.1\r\n")
    assert b"uthorization" not in heads[0]
    assert b"omx_" not in heads[0]


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (answering(http(b"", "302 Found", {"Location": "https://127.0.0.1/"})), "its host answered 302"),
        (answering(http(b"no", "404 Not Found")), "its host answered 404"),
        (answering(http(b"12345678")), "larger than 7 bytes"),
        (answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100), "larger than 7 bytes"),
        (answering(http(b"1234567")[:-1]), "shorter than announced"),
        (answering(http(b"")), "it is empty"),
        (answering(b""), "closed without one"),
    ],
)
def test_a_fetch_that_fails_leaves_no_file(endpoint: Start, line: Line, tmp_path: Path, play: Play, words: str) -> None:
    there = endpoint(over_tls(play))
    with pytest.raises(FetchFailed, match=words):
        fetch(secure(there), tmp_path / "picture", line, bytes_max=7, ca_file=CERTIFICATE)
    assert list(tmp_path.iterdir()) == []
    assert there.connections == 1


def test_a_fetch_that_trickles_is_cut(endpoint: Start, tmp_path: Path) -> None:
    def trickles(connection: socket.socket, there: Endpoint) -> None:
        read_headers(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            there.ended.wait(0.1)

    there = endpoint(over_tls(trickles))
    line = Line(1)
    with pytest.raises(FetchFailed, match="did not come in time"):
        fetch(secure(there), tmp_path / "picture", line, bytes_max=1000, ca_file=CERTIFICATE)
    line.close()
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_fetched_does_not_change_the_bill(
    endpoint: Start, key: Key, order: Order, spool: Path
) -> None:
    trap = endpoint(answering(http(b"secret of this machine")))
    body = b'{"data": [{"b64_json": null, "url": "https://127.0.0.1:%d/x?sig=1"}], "usage": {"billed_amount": "0.04"}}'
    there = endpoint(answering(http(body % trap.port)))
    provider = OmixaProvider(url=there.url, key=key, timeout_s=20)
    outcome = provider.send(order, spool=spool, on_sending=lambda: None)
    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.result) == (40_000, None)
    assert outcome.fault == "the picture could not be fetched: its address is not a public one"
    assert trap.connections == 0

    # A picture that was fetched before is not fetched again: such an address may work only once.
    picture = spool.with_name("attempt-1.picture")
    picture.write_bytes(b"fetched before")
    again = provider.read_spooled(spool)
    assert isinstance(again, Billed)
    assert (again.amount_micros, again.result, again.fault) == (40_000, picture, None)
