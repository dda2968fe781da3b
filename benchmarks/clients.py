"""Ways to buy every picture of a folder without any governance: what is written today, and how fast it could be.

    python benchmarks/clients.py plain-session --url http://127.0.0.1:8080 --pictures DIR --out DIR --in-flight 16

Each is a program of its own in this one file and imports only what it needs. None has caps, a ledger or a record; none
makes sure that what it wrote is on the disk.
"""

import argparse
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    import requests

MODEL = "stability-upscale-creative"
PROMPT = "Restore it."

# Takes the address, the key and the folder for results; returns what buys one picture, from any thread.
Client = Callable[[str, str, Path], Callable[[Path], None]]


# ---- what people write


def plain(url: str, key: str, out: Path) -> Callable[[Path], None]:
    """`requests.post`, as in the examples of every endpoint's page."""
    import requests

    return _with_requests(lambda: requests.post, url, key, out)


def plain_session(url: str, key: str, out: Path) -> Callable[[Path], None]:
    """The same by somebody who knows that a Session keeps its connection: one for each thread."""
    import requests

    here = threading.local()

    def post() -> Callable[..., "requests.Response"]:
        if not hasattr(here, "session"):
            here.session = requests.Session()
        found: Callable[..., requests.Response] = here.session.post
        return found

    return _with_requests(post, url, key, out)


def plain_one_session(url: str, key: str, out: Path) -> Callable[[Path], None]:
    """One Session for all threads, as many write it; it keeps ten connections and opens new ones for the rest."""
    import logging

    import requests

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each connection that it does not keep
    session = requests.Session()
    return _with_requests(lambda: session.post, url, key, out)


def _with_requests(post: Callable[[], Callable[..., object]], url: str, key: str, out: Path) -> Callable[[Path], None]:
    import base64

    def buy(path: Path) -> None:
        encoded = base64.b64encode(path.read_bytes()).decode()
        body = {
            "model": MODEL,
            "prompt": PROMPT,
            "output_format": "png",
            "input_images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}],
        }
        response = post()(
            f"{url}/images/generations", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=300
        )
        response.raise_for_status()  # type: ignore[attr-defined]
        picture = base64.b64decode(response.json()["data"][0]["b64_json"])  # type: ignore[attr-defined]
        (out / path.name).write_bytes(picture)

    return buy


# ---- limits: what is left when everything is left out


_BEFORE = (
    b'{"model":"%s","prompt":"%s","output_format":"png","input_images":[{"type":"image_url","image_url":{"url":'
    b'"data:image/png;base64,' % (MODEL.encode(), PROMPT.encode())
)
_AFTER = b'"}}]}'
_FIELD = b'"b64_json":"'


def _body(path: Path) -> bytes:
    import pybase64

    return b"".join((_BEFORE, pybase64.b64encode(path.read_bytes()), _AFTER))


def _keep(answer: bytes | bytearray, path: Path) -> None:
    """Cut the picture out of an answer, without reading the rest of it."""
    import pybase64

    begin = answer.index(_FIELD) + len(_FIELD)
    end = answer.index(b'"', begin)
    path.write_bytes(pybase64.b64decode(memoryview(answer)[begin:end]))


def http_client(url: str, key: str, out: Path) -> Callable[[Path], None]:
    """The standard library's `http.client`, one connection for each thread, fast base64, no JSON."""
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(url)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    here = threading.local()

    def buy(path: Path) -> None:
        if not hasattr(here, "connection"):
            here.connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=300)
        here.connection.request("POST", f"{place.path}/images/generations", body=_body(path), headers=headers)
        response = here.connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"status {response.status}")
        _keep(answer, out / path.name)

    return buy


def raw_socket(url: str, key: str, out: Path) -> Callable[[Path], None]:
    """A socket for each thread, a head that was made before, and the answer decoded while it comes."""
    import socket
    from urllib.parse import urlsplit

    place = urlsplit(url)
    head = (
        f"POST {place.path}/images/generations HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    here = threading.local()

    def buy(path: Path) -> None:
        if not hasattr(here, "socket"):
            here.socket = socket.create_connection((place.hostname, place.port), timeout=300)
            here.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            here.buffer = bytearray(256 * 1024)
        body = _body(path)
        here.socket.sendall(b"%s%d\r\n\r\n" % (head, len(body)))
        here.socket.sendall(body)
        _stream(here.socket, here.buffer, out / path.name)

    return buy


def _stream(connection: "socket.socket", buffer: bytearray, path: Path) -> None:
    """Decode the picture of the next answer into a file; the buffer is all the memory that it takes."""
    import pybase64

    view, filled = memoryview(buffer), 0

    def more() -> int:
        count = connection.recv_into(view[filled:])
        if not count:
            raise SystemExit("the answer broke off")
        return filled + count

    begin = -1
    while begin < 0:
        filled = more()
        begin = buffer.find(_FIELD, 0, filled)
    head, _, _ = bytes(view[:begin]).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(head.decode("latin-1"))
    left = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]) + len(head) + 4 - filled
    begin += len(_FIELD)
    with path.open("wb", buffering=0) as file:
        while (end := buffer.find(b'"', begin, filled)) < 0:
            whole = begin + (filled - begin) // 4 * 4
            file.write(pybase64.b64decode(view[begin:whole], validate=True))
            rest = bytes(view[whole:filled])
            buffer[: len(rest)] = rest
            begin, filled, before = 0, len(rest), len(rest)
            filled = more()
            left -= filled - before
        file.write(pybase64.b64decode(view[begin:end], validate=True))
    while left:
        left -= connection.recv_into(view[: min(left, len(buffer))])


def pycurl_client(url: str, key: str, out: Path) -> Callable[[Path], None]:
    """libcurl, a handle for each thread."""
    import pycurl

    headers = [f"Authorization: Bearer {key}", "Content-Type: application/json", "Expect:"]
    here = threading.local()

    def buy(path: Path) -> None:
        if not hasattr(here, "curl"):
            here.curl = pycurl.Curl()
            here.curl.setopt(pycurl.URL, f"{url}/images/generations")
            here.curl.setopt(pycurl.HTTPHEADER, headers)
            here.curl.setopt(pycurl.NOPROXY, "*")
        answer = bytearray()
        here.curl.setopt(pycurl.POSTFIELDS, _body(path))
        here.curl.setopt(pycurl.WRITEFUNCTION, answer.extend)
        here.curl.perform()
        if here.curl.getinfo(pycurl.RESPONSE_CODE) != 200:
            raise SystemExit(f"status {here.curl.getinfo(pycurl.RESPONSE_CODE)}")
        _keep(answer, out / path.name)

    return buy


CLIENTS: dict[str, Client] = {
    "plain": plain,
    "plain-session": plain_session,
    "plain-one-session": plain_one_session,
    "http.client": http_client,
    "raw-socket": raw_socket,
    "pycurl": pycurl_client,
}


def main() -> None:
    """Buy all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    options.out.mkdir()
    buy = CLIENTS[options.client](options.url, options.key, options.out)
    with ThreadPoolExecutor(options.in_flight) as pool:
        list(pool.map(buy, sorted(options.pictures.iterdir())))


if __name__ == "__main__":
    main()
