"""Endpoints that misbehave in one way each: raw sockets on loopback, because a real server would not dare."""

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

Play = Callable[[socket.socket, "Endpoint"], None]


class Endpoint:
    """A TCP server that plays one scene a connection; the last one is played again for every further connection."""

    def __init__(self, *plays: Play) -> None:
        self._plays = list(plays)
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = threading.Event()  # set at the end of a test: scenes that wait must wait on this
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            play = self._plays[min(self.connections, len(self._plays) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._play, args=(play, connection), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, play: Play, connection: socket.socket) -> None:
        # The client may hang up; what it made of it is what the test looks at.
        with connection, suppress(OSError):
            play(connection, self)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)


def read_headers(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request, and what of the body came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return data, b""
        data += block
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def read_request(connection: socket.socket, endpoint: Endpoint) -> bytes:
    """A whole request, also noted at the endpoint."""
    head, body = read_headers(connection)
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        block = connection.recv(1 << 20)
        if not block:
            break
        body += block
    endpoint.requests.append(head + b"\r\n\r\n" + body)
    return body


def answering(raw: bytes) -> Play:
    """Reads the whole request, sends these bytes, and hangs up."""

    def play(connection: socket.socket, endpoint: Endpoint) -> None:
        read_request(connection, endpoint)
        connection.sendall(raw)

    return play


def http(body: bytes, status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a well-formed answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def wait_for_more(connection: socket.socket, seconds: float) -> bool:
    """Whether more comes within the time."""
    return bool(select.select([connection], [], [], seconds)[0])
