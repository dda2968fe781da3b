"""A small HTTP server that tells how the scheduler is: `/healthz` for whoever restarts it, `/metrics` for Prometheus.

It only reads, and is meant for this machine: it takes no key and no body, and few connections, none of them for long.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self

from runner.diagnostics import masked
from runner.errors import OmixaError, UsageError
from runner.ledger.database import moment

Health = Callable[[], tuple[bool, dict[str, Any]]]
Metrics = Callable[[], bytes]

CONNECTIONS_MAX = 16
# The longest that a connection may be silent, and the longest that it may take in all.
SILENT_S = 5.0
CONNECTION_S = 15.0
# How long `stop` waits for answers that are on their way, so that nothing is closed under them.
_STOP_S = 5.0
# The most of a body that is read, to be thrown away.
_BODY_BYTES_MAX = 65536

WITHOUT_METRICS = "there are no metrics: pip install 'omixa-runner[metrics]' and start the scheduler again"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_LOOK_S = 0.5


class Server:
    """A running server. `port`: where it listens. Ends with `stop`, or with the process."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self.port = int(server.server_address[1])
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": _LOOK_S}, name="monitor", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no new connection, and end those that are open within five seconds. Safe to call twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(port: int, *, host: str = "127.0.0.1", health: Health, metrics: Metrics | None) -> Server:
    """Listen on exactly that address, in a daemon thread; the port is open when this returns.

    `port` 0: any free one. `health`: whether all is well, and what to say of it; it and `metrics` are called from many
    threads. `metrics` None: prometheus-client is not installed. Raises UsageError when the address cannot be taken.
    """
    if not host:
        raise UsageError("an empty address would be every address of this machine", "name one, such as 127.0.0.1")
    try:
        return Server(_Server(host, port, health, metrics))
    except (OSError, OverflowError) as error:
        cause = "a port is 0–65535" if isinstance(error, OverflowError) else error.strerror or str(error)
        raise UsageError(
            f"cannot listen on {host} port {port}: {cause}",
            "another scheduler or program may have that port: choose another one, or end the other program",
        ) from error


class _Server(ThreadingHTTPServer):
    """What all connections share, and the bound on how many there are and how long they last."""

    daemon_threads = True
    # As many may wait as may be answered: the system's own five would let a burst wait a second.
    request_queue_size = CONNECTIONS_MAX
    # Newer Pythons would let two schedulers share one port without a word.
    allow_reuse_port = False

    def __init__(self, host: str, port: int, health: Health, metrics: Metrics | None) -> None:
        self.health, self.metrics = health, metrics
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._open: dict[socket.socket, float] = {}
        self._changing = threading.Condition()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the name service for the host's full name, which nobody here needs.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            is_full = len(self._open) >= CONNECTIONS_MAX
            if not is_full:
                self._open[request] = time.monotonic()
        if is_full:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changing:
            self._open.pop(request, None)
            self._changing.notify_all()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called by the serving loop every half second: end what goes on for too long, a byte at a time or not."""
        self._end(CONNECTION_S, socket.SHUT_RDWR)

    def let_go(self) -> None:
        """End every connection: first those that say nothing, then the others."""
        self._end(0, socket.SHUT_RD)  # who is silent sees the end; answers can still leave
        with self._changing:
            self._changing.wait_for(lambda: not self._open, timeout=_STOP_S)
        self._end(0, socket.SHUT_RDWR)

    def _end(self, older_than_s: float, how: int) -> None:
        begun_before = time.monotonic() - older_than_s
        with self._changing:
            for connection, begun in self._open.items():
                if begun <= begun_before:
                    try:
                        connection.shutdown(how)
                    except OSError:
                        continue  # the client was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that has gone is no news, and a mistake of ours was answered with a 500."""


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request, one answer."""

    protocol_version = "HTTP/1.0"
    timeout = SILENT_S
    server: _Server

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/healthz":
                self._answer(*self._told(self._health))
            case "/metrics":
                self._answer(*self._told(self._metrics))
            case _:
                self._answer(404, _PLAIN, b"there is /healthz and /metrics\n")

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself: a method that has no function here, or what is no request at all."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._answer(405, _PLAIN, b"only GET and HEAD\n", ("Allow", "GET, HEAD"))
            self._linger()
            return
        self._answer(code, _PLAIN, f"{HTTPStatus(code).phrase}\n".encode("ascii"))

    def _health(self) -> tuple[int, str, bytes]:
        well, told = self.server.health()
        body = json.dumps({"healthy": well, **told}, default=_text) + "\n"
        return 200 if well else 503, "application/json", body.encode("ascii")

    def _metrics(self) -> tuple[int, str, bytes]:
        if self.server.metrics is None:
            return 501, _PLAIN, f"{WITHOUT_METRICS}\n".encode("ascii")
        return 200, _PROMETHEUS, self.server.metrics()

    def _told(self, tell: Callable[[], tuple[int, str, bytes]]) -> tuple[int, str, bytes]:
        """The answer, or why there is none."""
        try:
            return tell()
        except OmixaError as error:
            return 503, _PLAIN, f"{masked(error.message)}\n".encode("utf-8", "backslashreplace")
        except Exception as error:  # noqa: BLE001 - a mistake of ours is told to whoever asks, and ends nothing
            return 500, _PLAIN, f"omixa made a mistake of its own ({type(error).__name__})\n".encode("ascii")

    def _answer(self, status: int, media_type: str, body: bytes, *headers: tuple[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        more = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), ("Connection", "close"))
        for name, value in (("Content-Type", media_type), ("Content-Length", str(len(body))), *more, *headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _linger(self) -> None:
        """Read a little of a body: closing before would reset the client before it has read the answer."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        left = _BODY_BYTES_MAX
        while left > 0 and (read := self.rfile.read1(left)):
            left -= len(read)

    def version_string(self) -> str:
        """What the `Server` header says: no version of anything."""
        return "omixa"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Nothing: who asks how we are is no news."""


def _text(value: object) -> str:
    return moment(value) if isinstance(value, datetime) else str(value)
