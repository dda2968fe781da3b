"""An endpoint that is fast enough not to be what is measured: answers made before, exact counts of requests and money.

It is a process of its own, and no sandbox: it reads as much of a request as it needs to know where it ends, waits for
as long as it was told, and answers with a picture that is like no other one it gave. `GET /counts` says what it has
counted since the last `POST /reset`; between `POST /hold` and `POST /go` it answers nothing.

    python -m benchmarks.endpoint --answer result.png --latency-ms 20      # prints its address; Ctrl-C ends it
"""

import argparse
import asyncio
import base64
import http.client
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

PRICE = "0.039000"
KEY = "omx_live_benchmark"
PATH = "/images/generations"

_RECEIVED_BYTES = 256 * 1024
_PIECE_BYTES = 256 * 1024
_HEAD_BYTES_MAX = 64 * 1024
_PNG_START_BYTES = 33  # signature and IHDR


@dataclass
class Books:
    """What was asked and billed. Times are of this process's monotonic clock, in seconds."""

    requests: int = 0  # whole requests for a picture, each of which is billed
    refused: int = 0  # whole requests that were none
    billed_micros: int = 0
    answered: int = 0  # answers that were handed over to the connection whole
    received_bytes: int = 0
    connections: int = 0
    in_flight: int = 0
    in_flight_max: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    cpu_before_s: float = field(default_factory=time.process_time)

    def shown(self) -> dict[str, Any]:
        """As the control path tells it. `seconds`: from the first request's arrival to the last answer's end."""
        return {
            "requests": self.requests,
            "refused": self.refused,
            "billed_micros": self.billed_micros,
            "answered": self.answered,
            "received_bytes": self.received_bytes,
            "connections": self.connections,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "seconds": max(0.0, self.last_at - self.first_at),
            "cpu_s": time.process_time() - self.cpu_before_s,
        }


class Pictures:
    """Answers that differ: a PNG with a text chunk that holds a number, around bytes that are encoded only once."""

    def __init__(self, png: bytes, price: str) -> None:
        """`png` is any whole PNG file; `price` the amount as the answers state it."""
        if png[:8] != b"\x89PNG\r\n\x1a\n":
            raise SystemExit("the answer must be a PNG file")
        self._start = png[:_PNG_START_BYTES]
        self._before = b'{"created":1764262800,"data":[{"b64_json":"'
        rest = base64.b64encode(png[_PNG_START_BYTES:])
        self.rest = memoryview(rest + f'","url":null}}],"usage":{{"billed_amount":"{price}"}}}}'.encode())
        self.length = len(self.beginning(0)) + len(self.rest)

    def beginning(self, number: int) -> bytes:
        """The body up to where all answers are the same."""
        text = b"tEXtComment\0picture %017d" % number  # with start, length and checksum 78 bytes, a multiple of three
        chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
        return self._before + base64.b64encode(self._start + chunk)


class Endpoint:
    """What all connections share."""

    def __init__(self, pictures: Pictures, price_micros: int, latency_s: float) -> None:
        """`latency_s`: from the last byte of a request to the first of its answer."""
        self.pictures, self.price_micros, self.latency_s = pictures, price_micros, latency_s
        self.books = Books()
        self.served = 0
        self.held: list[Callable[[], None]] | None = None  # what is to be answered when it is let go
        # All connections read into the same bytes: what came is looked at before the next is asked for.
        self.received = memoryview(bytearray(_RECEIVED_BYTES))
        self._date = (0, b"")

    def date(self) -> bytes:
        """The header's value, made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, formatdate(now, usegmt=True).encode())
        return self._date[1]

    def picture(self) -> bytes:
        """Head and beginning of the next answer."""
        self.served += 1
        self.books.billed_micros += self.price_micros
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %s\r\nX-Request-Id: b-%d"
            b"\r\n\r\n" % (self.pictures.length, self.date(), self.served)
        )
        return head + self.pictures.beginning(self.served)

    def told(self, method: bytes, path: bytes) -> tuple[int, dict[str, Any]]:
        """The control path."""
        if path == b"/counts" and method == b"GET":
            return 200, self.books.shown()
        if path == b"/hold" and method == b"POST":
            self.held = []
            return 200, {}
        if path == b"/go" and method == b"POST":
            waiting, self.held = self.held or [], None
            self.books.first_at = time.monotonic()
            for answer in waiting:
                asyncio.get_running_loop().call_later(self.latency_s, answer)
            return 200, {"waiting": len(waiting)}
        if path == b"/reset" and method == b"POST":
            shown = self.books.shown()
            self.books = Books(in_flight=self.books.in_flight)
            return 200, shown
        self.books.refused += 1
        return 404, {"error": {"message": "there is nothing here", "code": "not-found"}}


class Conversation(asyncio.BufferedProtocol):
    """One connection: requests one after the other, each with a length or in chunks."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._request = b""
        self._body_left: int | None = None  # None: the head is not complete
        self._chunks: _Chunks | None = None
        self._answering = self._is_picture = False
        self._early = bytearray()  # came before the last answer was out
        self._out: memoryview | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Nothing waits in the program: what the kernel does not take is handed over when it does.
        self._transport.set_write_buffer_limits(high=0)
        self._endpoint.books.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering and self._is_picture:
            self._endpoint.books.in_flight -= 1
        self._answering = False
        self._transport = None

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._endpoint.received

    def buffer_updated(self, nbytes: int) -> None:
        if self._answering:
            self._early += self._endpoint.received[:nbytes]
        else:
            self._take(self._endpoint.received[:nbytes])

    def _take(self, data: memoryview) -> None:
        """What came next of a request."""
        self._endpoint.books.received_bytes += len(data)
        if self._body_left is None and self._chunks is None:
            known = max(0, len(self._head) - 3)
            self._head += data
            end = self._head.find(b"\r\n\r\n", known)
            if end < 0:
                if len(self._head) > _HEAD_BYTES_MAX:
                    self._close()
                return
            rest = memoryview(bytes(self._head[end + 4 :]))
            head = bytes(self._head[:end])
            self._head.clear()
            if not self._begin(head):
                self._close()
                return
            data = rest
        if self._chunks is not None:
            left = self._chunks.take(data)
            if left is None:
                return
            over = data[len(data) - left :]
        else:
            assert self._body_left is not None
            taken = min(self._body_left, len(data))
            self._body_left -= taken
            if self._body_left:
                return
            over = data[taken:]
        self._early += over
        self._complete()

    def _begin(self, head: bytes) -> bool:
        """Read a head; False when it cannot be told where its body ends."""
        self._request = head
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lower:
            self._chunks = _Chunks()
        else:
            at = lower.find(b"\r\ncontent-length:")
            digits = lower[at + 17 :].split(b"\r\n", 1)[0].strip() if at >= 0 else b"0"
            if not digits.isdigit():
                return False
            self._body_left = int(digits)
        return True

    def _complete(self) -> None:
        """A whole request is here."""
        self._body_left = self._chunks = None
        endpoint, books = self._endpoint, self._endpoint.books
        self._answering = True
        method, path, *_ = (*self._request.split(b"\r\n", 1)[0].split(b" "), b"", b"")
        if method != b"POST" or not path.endswith(PATH.encode()) or b"Bearer " not in self._request:
            self._is_picture = False
            self._say(*endpoint.told(method, path))
            return
        now = time.monotonic()
        self._is_picture = True
        books.requests += 1
        books.first_at = books.first_at or now
        books.in_flight += 1
        books.in_flight_max = max(books.in_flight_max, books.in_flight)
        if endpoint.held is not None:
            endpoint.held.append(self._answer)
        elif endpoint.latency_s:
            asyncio.get_running_loop().call_later(endpoint.latency_s, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        # Who went away has asked all the same, and is billed, as by the real one.
        beginning = self._endpoint.picture()
        if self._transport is None:
            return
        rest = self._endpoint.pictures.rest
        first = min(len(rest), _PIECE_BYTES)
        self._transport.write(b"".join((beginning, rest[:first])))
        self._out = rest[first:]
        self._pump()

    def _say(self, status: int, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        reason = http.client.responses[status]
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        assert self._transport is not None
        self._transport.write(head.encode() + body)
        self._out = memoryview(b"")
        self._pump()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._out is not None:
            self._pump()

    def _pump(self) -> None:
        """Hand over as much of the answer as the kernel takes."""
        while self._out and not self._paused and self._transport is not None:
            piece, self._out = self._out[:_PIECE_BYTES], self._out[_PIECE_BYTES:]
            self._transport.write(piece)
        if not self._out and not self._paused:
            self._out = None
            self._through()

    def _through(self) -> None:
        """The answer is out; go on with what came meanwhile."""
        books = self._endpoint.books
        if not self._answering:
            return
        self._answering = False
        if self._is_picture:
            books.in_flight -= 1
            books.answered += 1
            books.last_at = time.monotonic()
        if b"\r\nconnection: close" in self._request.lower():
            # Not at once: asyncio may be in the middle of having written, and would then close a second time.
            asyncio.get_running_loop().call_soon(self._close)
        elif self._early:
            early = memoryview(bytes(self._early))
            self._early.clear()
            self._take(early)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Chunks:
    """Finds the end of a body in chunks."""

    def __init__(self) -> None:
        self._left = 0  # of the chunk, with the line end behind it
        self._line = bytearray()
        self._last = False

    def take(self, data: memoryview) -> int | None:
        """None while the body goes on; otherwise how many of the bytes are behind its end."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            self._line.append(data[at])
            at += 1
            if not self._line.endswith(b"\r\n"):
                continue
            line = bytes(self._line[:-2])
            self._line.clear()
            if self._last:
                if not line:
                    return len(data) - at
                continue  # a trailer
            size = int(line.split(b";", 1)[0], 16)
            self._last = size == 0
            self._left = size + 2 if size else 0
        return None


async def serve(endpoint: Endpoint, port: int) -> None:
    """Serve until the process is ended, or the standard input that it was given."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(endpoint), "127.0.0.1", port, backlog=1024)
    bound = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{bound}", flush=True)
    ended: asyncio.Future[None] = loop.create_future()

    def look() -> None:
        """The pipe from who started this is closed when that process is gone."""
        if not os.read(0, 4096) and not ended.done():
            ended.set_result(None)

    if not sys.stdin.isatty():
        loop.add_reader(sys.stdin.fileno(), look)
    await ended


class Running:
    """An endpoint in a process of its own, for as long as the `with` goes; it also ends when this process does."""

    def __init__(self, answer: Path, *, latency_ms: float, price: str = PRICE) -> None:
        """`answer`: the PNG file that it answers with."""
        words = ["--answer", str(answer), "--latency-ms", str(latency_ms), "--price", price]
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            raise SystemExit("the benchmark's endpoint did not start")
        self.pid = self._process.pid

    def counts(self) -> dict[str, Any]:
        """What it has counted since the last reset."""
        return self._ask("GET", "/counts")

    def reset(self) -> dict[str, Any]:
        """Begin to count anew; returns what it had counted."""
        return self._ask("POST", "/reset")

    def hold(self) -> None:
        """Answer nothing, until told to go."""
        self._ask("POST", "/hold")

    def go(self) -> None:
        """Answer what waits, each after the latency, and go on as usual; the time is counted from now."""
        self._ask("POST", "/go")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
        try:
            connection.request(method, path)
            return cast(dict[str, Any], json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--answer", type=Path, required=True, help="the PNG file to answer with")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--price", default=PRICE, help="with six decimals")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    whole, _, decimals = options.price.partition(".")
    if not (whole.isdigit() and decimals.isdigit() and len(decimals) == 6):
        parser.error("--price has six decimals, such as 0.039000")
    pictures = Pictures(options.answer.read_bytes(), options.price)
    endpoint = Endpoint(pictures, int(whole + decimals), options.latency_ms / 1000)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(endpoint, options.port))


if __name__ == "__main__":
    main()
