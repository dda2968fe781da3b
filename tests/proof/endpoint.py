"""An endpoint in a process of its own that does what a scene says and knows the truth: what came, what it billed.

`POST /CELL/SCENE/api/v1/images/generations` plays a scene; what happens is kept by cell, so that one endpoint serves
any number of projects at once. `GET /CELL` waits until every connection of the cell has ended and tells its truth.
Raw sockets, because a real server would not dare.
"""

import base64
import hashlib
import io
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
GONE_S = 60


@dataclass(slots=True)
class Request:
    """One request of which at least a byte of the body came. `item`: the digest of the picture in a complete body.

    `billed`: the amount in the provider's own books, decimal text, None when it was not billed. `answered`: the digest
    of the picture that left with the answer.
    """

    number: int
    complete: bool = False
    item: str | None = None
    billed: str | None = None
    answered: str | None = None


class Hangup(Exception):
    """The client has gone, or sent no HTTP."""


class Caller:
    """One connection of a client, and what a scene can do with it. `number`: of the complete requests of the cell."""

    def __init__(self, sock: socket.socket, books: "Books") -> None:
        self.sock = sock
        self.books = books
        self.cell = self.scene = self.method = ""
        self.number = 0
        self.picture = b""
        self._request: Request | None = None
        self._rest = b""
        self._length = 0
        self._got = 0

    def head(self) -> None:
        """Read the head of the request, and learn from its path what is to be played. Raises Hangup."""
        data = b""
        while b"\r\n\r\n" not in data:
            block = self.sock.recv(65536)
            data += block
            if not block or data[:1] == b"\x16":  # gone, or TLS
                raise Hangup
        head, _, self._rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, path, _ = first.split(" ")
        parts = path.split("/")
        self.cell, self.scene = parts[1], parts[2] if len(parts) > 2 else ""
        fields = dict(line.lower().split(": ", 1) for line in lines)
        self._length = int(fields.get("content-length", "0"))

    def read_some(self, share: int = 1) -> None:
        """Read a part of the body: all of it divided by `share`, at least a byte. Raises Hangup."""
        wanted = max(1, self._length // share)
        while self._got < wanted:
            block = self._rest or self.sock.recv(1 << 20)
            if not block:
                raise Hangup
            self._rest = b""
            self._request = self._request or self.books.begun(self.cell)
            self._got += len(block)
            self.picture += block

    @property
    def came(self) -> int:
        """Which request of its cell it is, complete or not; only when a part of the body was read."""
        assert self._request is not None
        return self._request.number

    def read(self) -> None:
        """Read the whole body; from now on the request has arrived, and could be billed. Raises Hangup."""
        self.read_some()
        body = json.loads(self.picture)
        url = body["input_images"][0]["image_url"]["url"]
        self.picture = base64.b64decode(url.partition(",")[2])
        assert self._request is not None
        self.number = self.books.arrived(self.cell, self._request, hashlib.sha256(self.picture).hexdigest())

    def bill(self, amount: str | None) -> None:
        """Write the bill into the provider's own books, before anything of the answer leaves."""
        assert self._request is not None
        self.books.note(self._request, billed=amount)

    def bought(self) -> bytes:
        """The picture that is sold: the one that came, with a mark that makes it the only one of its kind."""
        data = f"sold\0{self.cell} {self.number}".encode()
        chunk = struct.pack(">I", len(data)) + b"tEXt" + data + struct.pack(">I", zlib.crc32(b"tEXt" + data))
        return self.give(self.picture[:33] + chunk + self.picture[33:])

    def bought_as(self, kind: str) -> bytes:
        """The picture that is sold, in another format than asked for."""
        file = io.BytesIO()
        Image.open(io.BytesIO(self.picture)).save(file, format=kind)
        return self.give(file.getvalue())

    def give(self, picture: bytes) -> bytes:
        """Note that this picture leaves with the answer."""
        assert self._request is not None
        self.books.note(self._request, answered=hashlib.sha256(picture).hexdigest())
        return picture

    def send(self, data: bytes) -> None:
        """Send; a client that has gone is no news."""
        with suppress(OSError):
            self.sock.sendall(data)

    def reset(self) -> None:
        """End the connection with a reset instead of an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait(self, seconds: float = GONE_S) -> bool:
        """Wait until the client has gone, at most so long; whether it has."""
        with suppress(OSError):
            return bool(select.select([self.sock], [], [], seconds)[0])
        return True


class Books:
    """The truth, by cell. Safe for many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: dict[str, list[Request]] = {}
        self._connections: dict[int, str | None] = {}  # open ones, with their cell as soon as it is known

    def connected(self, connection: int, cell: str | None) -> None:
        """A connection stands, or its cell has become known."""
        with self._changed:
            self._connections[connection] = cell
            self._changed.notify_all()

    def ended(self, connection: int) -> None:
        """A connection has ended."""
        with self._changed:
            del self._connections[connection]
            self._changed.notify_all()

    def begun(self, cell: str) -> Request:
        """The first byte of a body came."""
        with self._changed:
            requests = self._requests.setdefault(cell, [])
            requests.append(Request(len(requests) + 1))
            return requests[-1]

    def arrived(self, cell: str, request: Request, item: str) -> int:
        """A body is complete; which complete one of its cell it is."""
        with self._changed:
            request.complete, request.item = True, item
            return sum(each.complete for each in self._requests[cell])

    def earlier(self, cell: str, item: str) -> int:
        """How many complete requests the item has had."""
        with self._changed:
            return sum(each.item == item for each in self._requests.get(cell, []))

    def note(self, request: Request, **facts: str | None) -> None:
        """Write something down about a request."""
        with self._changed:
            for name, value in facts.items():
                setattr(request, name, value)

    def truth(self, cell: str, connection: int) -> list[Request]:
        """The requests of a cell, when all its connections have ended that stood before this one."""

        def quiet() -> bool:
            others = {number: of for number, of in self._connections.items() if number < connection}
            return not any(of in (None, cell) for of in others.values())

        with self._changed:
            assert self._changed.wait_for(quiet, GONE_S), f"a connection of {cell} does not end"
            return list(self._requests.get(cell, []))


def _serve(server: socket.socket, books: Books) -> None:
    number = 0
    while True:
        connection, _ = server.accept()
        number += 1
        books.connected(number, None)
        threading.Thread(target=_talk, args=(connection, number, books), daemon=True).start()


def _talk(connection: socket.socket, number: int, books: Books) -> None:
    from tests.proof.scenes import SCENES

    try:
        with connection, suppress(OSError, Hangup):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            caller = Caller(connection, books)
            caller.head()
            books.connected(number, caller.cell)
            if caller.method == "GET" and not caller.scene:
                body = json.dumps([asdict(request) for request in books.truth(caller.cell, number)]).encode()
                caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            else:
                name, _, seed = caller.scene.partition("~")
                SCENES[name].play(caller, seed)
    finally:
        books.ended(number)


class Provider:
    """The endpoint as its users see it: started as a process, asked for its truth, ended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.proof.endpoint"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        self.port, self.refusing_port = map(int, self._process.stdout.readline().split())

    def url(self, cell: str, scene: str) -> str:
        """The address to configure, where that scene is played for that cell."""
        return f"http://127.0.0.1:{self.port}/{cell}/{scene}/api/v1"

    @property
    def refusing_url(self) -> str:
        """An address where nobody listens, and nobody else can begin to."""
        return f"http://127.0.0.1:{self.refusing_port}/api/v1"

    @property
    def tls_url(self) -> str:
        """An address that hangs up on TLS."""
        return f"https://127.0.0.1:{self.port}/api/v1"

    def truth(self, cell: str) -> list[Request]:
        """Every request of the cell that came, in order, when none is in flight any more."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{cell}", timeout=2 * GONE_S) as answer:
            return [Request(**request) for request in json.load(answer)]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(GONE_S)
        self._process.stdout.close()

    def __enter__(self) -> "Provider":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """Serve until stdin ends; the first line on stdout is the port, and one where connections are refused."""
    server = socket.create_server(("127.0.0.1", 0), backlog=512)
    refusing = socket.socket()
    refusing.bind(("127.0.0.1", 0))  # and never listens
    threading.Thread(target=_serve, args=(server, Books()), daemon=True).start()
    print(server.getsockname()[1], refusing.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    # Not as `__main__`: the scenes import the names of this module, and there must be one of each.
    from tests.proof import endpoint

    endpoint.main()
