"""The local endpoint's HTTP: one operation, strictly kept; every request counted, every picture billed.

The way of a request: its head (path, method, key, type, length) → its body → `judge` → the bill → the answer.
"""

import itertools
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

import pybase64

from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract
from runner.errors import UsageError
from runner.sandbox import answer, enlarge, reading
from runner.sandbox.answer import Answer
from runner.sandbox.books import Books, Counts
from runner.sandbox.faults import Fault, effect
from runner.sandbox.judge import Accepted, Refused, judge, refused
from runner.sandbox.reading import BASE, OPERATION

_COUNTS = "/sandbox/counts"
_LINGER_BYTES_MAX = 64 * 1024 * 1024
_LINGER_S = 2.0
_STOP_S = 5.0
_PHRASES = {int(status): status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How the local endpoint behaves. `port` 0: any free one. `price_micros`: what each picture is billed.

    `latency_ms`: added before every answer of the operation. `faults`: see runner.sandbox.faults; `seed` repeats
    those with a rate. `key` None: any non-empty Bearer key will do. `answer_bytes`: answer with one padded PNG of
    about that size instead of enlarging, for load tests. `log`: one JSON line a request is appended there. `now`: the
    Unix time that its `Date` tells. `contracts`: the models that it knows.
    """

    host: str = "127.0.0.1"
    port: int = 0
    price_micros: int = 39_000
    latency_ms: int = 0
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    key: str | None = None
    answer_bytes: int | None = None
    log: Path | None = None
    now: Callable[[], float] = time.time
    contracts: Mapping[str, Contract] = field(default_factory=lambda: CONTRACTS)


class Sandbox:
    """A running local endpoint; `url` is the base that a client is configured with. Ends with `stop` or `with`."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        host, self.port = str(server.server_address[0]), int(server.server_address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}{BASE}"
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="sandbox", daemon=True
        )
        self._thread.start()

    def counts(self) -> Counts:
        """The server's own count, of this moment."""
        return self._server.books.counts()

    def stop(self) -> None:
        """Take no new request, answer those in flight without further delay, and close. Safe to call twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(options: SandboxOptions) -> Sandbox:
    """Serve in a daemon thread; the port is open when this returns.

    Raises UsageError when the address cannot be taken, DiskError when the log cannot be opened.
    """
    try:
        return Sandbox(_Server(options))
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {options.host} port {options.port}: {getattr(error, 'strerror', None) or error}",
            "choose another with `--port`, or `--port 0` for any free one",
        ) from error


class _Server(ThreadingHTTPServer):
    """What all requests share: the options, the books, and how many pictures are worked on at a time."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.address_family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        self.books = Books(options.log)
        self.numbers = itertools.count(1)  # next() on it is atomic
        self.name = secrets.token_hex(4)  # keeps request ids of two servers apart
        # A picture of 4096 × 4096 takes some 150 MB while it is made; more at a time would not be faster.
        self.processing = threading.Semaphore(os.cpu_count() or 1)
        self.stopping = threading.Event()
        self.padded = pybase64.b64encode(enlarge.padded_png(options.answer_bytes)) if options.answer_bytes else None
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        try:
            super().__init__((options.host, options.port), _Handler)
        except BaseException:
            self.books.close()
            raise

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the name service for the host's full name, which nobody here needs.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):  # a client that has gone is no news
            print(f"sandbox: {type(error).__name__}: {error}", file=sys.stderr)

    def close(self) -> None:
        """Let what is in flight finish, within five seconds; then close what is left."""
        self.stopping.set()
        self.server_close()
        self._hang_up(socket.SHUT_RD)  # who is idle or still sending sees the end; answers can still leave
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout=_STOP_S)
        self._hang_up(socket.SHUT_RDWR)
        self.books.close()

    def _hang_up(self, how: int) -> None:
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(how)
                except OSError:
                    continue  # the client was faster


class _Handler(BaseHTTPRequestHandler):
    """One connection. Reads a request to its end, or closes; answers in one piece."""

    protocol_version = "HTTP/1.1"
    server_version = "omixa-sandbox"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 65536
    timeout = 300
    server: _Server

    request_id = ""

    def do_POST(self) -> None:
        self._begin()
        refusal = self._fault_of_head()
        if refusal:
            self._turn_away(refusal)
            return
        number = next(self.server.numbers)
        fault = effect(self.server.options.faults, number, self.server.options.seed)
        if fault.close_before_read:
            self.close_connection = True
            return
        body = self._body()
        if isinstance(body, bytes):
            self.server.books.arrived()
            self._operate(body, fault)
        elif body is None:
            self.close_connection = True  # the client gave up in the middle
        else:
            self._turn_away(body, unread=True)

    def do_GET(self) -> None:
        self._begin()
        if self.path == _COUNTS and self.command in ("GET", "HEAD"):
            self._send(Answer(200, "application/json", [self.server.books.counts().to_json().encode(), b"\n"]))
            return
        refusal = self._fault_of_head()
        assert refusal is not None  # only POST is ever right
        self._turn_away(refusal)

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - the names are http.server's

    def handle_expect_100(self) -> bool:
        return True  # said in _body(), once the head has been accepted

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself (a broken request line, say), in the shape of all other refusals."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self.do_GET()  # a method nobody knows is refused like the known ones
            return
        self._begin()
        self._turn_away(refused(code, message or _PHRASES.get(code, "refused")), unread=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Nothing: the books keep the log."""

    def _begin(self) -> None:
        self.request_id = f"sandbox-{self.server.name}-{secrets.token_hex(6)}"

    def _fault_of_head(self) -> Refused | None:
        return reading.fault_of_head(self.command, self.path, self.headers, self.server.options.key)

    def _body(self) -> bytes | Refused | None:
        """The complete body; None when the client stopped in the middle."""
        if self._expects_continue():
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        return reading.body(self.rfile, self.headers)

    def _expects_continue(self) -> bool:
        return self.request_version != "HTTP/1.0" and self.headers.get("Expect", "").lower() == "100-continue"

    def _operate(self, body: bytes, fault: Fault) -> None:
        """Judge a complete body, bill it, and only then answer, so that a lost answer is still on the books."""
        server = self.server
        with server.processing:
            verdict = judge(body, server.options.contracts)
        if isinstance(verdict, Refused):
            server.books.decided(self.request_id, verdict.status, None, None)
            server.stopping.wait(server.options.latency_ms / 1000)
            self._send(answer.to_refused(verdict, self.request_id))
            return
        given = answer.to_fault(fault, self.request_id, OPERATION)
        status = None if fault.close_after_read else given.status if given else 200
        billed_micros = fault.billed_micros(server.options.price_micros)
        server.books.decided(self.request_id, status, billed_micros, verdict)
        server.stopping.wait((server.options.latency_ms + fault.delay_ms) / 1000)
        if fault.close_after_read:
            self.close_connection = True
            return
        self._send(given or self._sell(verdict, fault), fault.cut_at)

    def _sell(self, accepted: Accepted, fault: Fault) -> Answer:
        with self.server.processing:
            return answer.to_accepted(accepted, fault, self.server.options.price_micros, self.server.padded)

    def _turn_away(self, refusal: Refused, *, unread: bool = False) -> None:
        """Answer a refusal that needed no body. A body on its way is read if it is small; otherwise we hang up.

        `unread`: the rest of the request cannot be read, so that the connection cannot go on.
        """
        unread = unread or self._expects_continue() or reading.fault_of_length(self.headers) is not None
        complete = not unread and isinstance(self._body(), bytes)
        if complete and refusal.status in (401, 415):  # a request of the operation, though not a welcome one
            self.server.books.arrived()
            self.server.books.decided(self.request_id, refusal.status, None, None)
        else:
            self.server.books.turned_away(refusal.status)
        self.close_connection = self.close_connection or not complete
        headers = (("Allow", "POST"),) if refusal.status == 405 else ()
        self._send(answer.to_refused(refusal, self.request_id, headers))
        if not complete:
            self._linger()

    def _linger(self) -> None:
        """Read on for a while after the answer: closing at once would reset the client before it has read it."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER_S)
        left = _LINGER_BYTES_MAX
        while left > 0 and (read := self.rfile.read1(65536)):
            left -= len(read)

    def _send(self, given: Answer, cut_at: int | None = None) -> None:
        """Write one answer. `cut_at`: stop and close after that many bytes of it, head included."""
        has_body = self.command != "HEAD" and given.status != HTTPStatus.NOT_MODIFIED
        left = cut_at
        for piece in (self._head(given), *(given.parts if has_body else ())):
            self.wfile.write(piece if left is None else piece[:left])
            left = None if left is None else max(0, left - len(piece))
        self.wfile.flush()
        if cut_at is not None:
            self.close_connection = True

    def _head(self, given: Answer) -> bytes:
        lines = [
            f"HTTP/1.1 {given.status} {_PHRASES.get(given.status, 'Unnamed')}",
            f"Server: {self.server_version}",
            f"Date: {self.date_time_string(self.server.options.now())}",
            f"Content-Type: {given.media_type}",
            f"Content-Length: {sum(len(part) for part in given.parts)}",
            f"x-request-id: {self.request_id}",
            *(f"{name}: {value}" for name, value in (("x-sandbox", given.honest), *given.headers)),
            *(["Connection: close"] if self.close_connection else []),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
