"""The endpoint at omixa.cloud, and the only module that can send a paid request (contract C1-C21).

Every request has a connection of its own, opened for it and closed after it. So an error before the body is read
for the first time is proof that nothing was sent, and nothing is ever sent twice below our own attempt loop.
"""

import errno
import http.client
import io
import ipaddress
import json
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

import pybase64
import requests
import requests.adapters
import urllib3
import urllib3.connection

from runner import __version__
from runner.baton import CONNECT, RECEIVE, SEND, aside, heavy, taken
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, OptionValue
from runner.errors import UsageError
from runner.providers import spool as spooling
from runner.providers.answer import (
    SUCCESS,
    Answer,
    Reading,
    decide,
    decide_silence,
    evidence_of,
    kept_headers,
    read,
)
from runner.providers.intake import Intake
from runner.providers.key import Key
from runner.providers.line import Clock, Line, NotConnected, Why, connect_words
from runner.providers.provider import Declined, Evidence, Order, Outcome

ANSWER_BYTES_MAX = 96 * 1024 * 1024
FETCH_SECONDS_MAX = 120
_FETCH_CONNECT_TIMEOUT_S = 10

_USER_AGENT = f"omixa-runner/{__version__}"
_READ_BYTES = 256 * 1024
_PICTURE_BYTES = 3 * 64 * 1024  # a multiple of three, so that the base64 of the blocks is the base64 of the whole

# A block of the body goes out at once instead of waiting for the next.
_SOCKET_OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)

# The library quotes header lines it cannot parse, and an endpoint may have echoed the key into one.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

# One answer at a time is taken apart: sixteen that arrive together must not need sixteen times the memory.
_ONE_ANSWER_AT_A_TIME = threading.Semaphore(1)


class OmixaProvider:
    """Sends one request a call to `{url}/images/generations`, and reads what comes back.

    `timeout_s` is for everything from the connection to the last byte of the answer; `connect_timeout_s` for the
    connection alone. `ca_file` names certificates to trust instead of the usual ones. `contracts` are the models that
    may be asked for. Nothing is read from the environment: no proxy, no .netrc. Raises UsageError for an address that a
    key must not be sent to.
    """

    def __init__(
        self,
        *,
        url: str,
        key: Key,
        timeout_s: int,
        allow_plaintext: bool = False,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        connect_timeout_s: int = 10,
        ca_file: Path | None = None,
        contracts: Mapping[str, Contract] = CONTRACTS,
    ) -> None:
        self._url = _checked_url(url, allow_plaintext=allow_plaintext)
        self._key = key
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        if ca_file is not None and not ca_file.is_file():
            raise UsageError(f"there is no certificate file `{ca_file}`", "check `ca_file` beside the endpoint's url")
        self._contracts = contracts
        self._connect_timeout_s = min(connect_timeout_s, timeout_s)
        self._host = _Host(self._url, self._connect_timeout_s, ca_file)
        # Made once: all but the length of the body is the same in each request.
        self._head = self._host.head("POST", self._url, _headers(key)) + b"Content-Length: "
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._clock = Clock()
        self._cancelled = False

    def send(self, order: Order, *, spool: Path, on_sending: Callable[[], None]) -> Outcome:
        """Send one request and read its answer; see Provider.send. Raises only what `on_sending` raises.

        The folder of `spool` must exist. A picture is at `<spool>.picture`, on disk, when Billed names it.
        """
        fault = _order_fault(order, self._contracts)
        if fault:
            return Declined(Evidence(), "not-in-contract", f"nothing was sent: {fault}")
        try:
            body = _Body(order, on_sending)
        except OSError as error:
            words = spooling.words_of(error)
            return Declined(Evidence(), "picture-unreadable", f"nothing was sent: `{order.picture}`: {words}")
        with body:
            try:
                writer = spooling.SpoolWriter(spool)
            except OSError as error:
                message = f"nothing was sent: the answer could not be kept at `{spool}`: {spooling.words_of(error)}"
                return Declined(Evidence(), "spool-unwritable", message, stops_run=True)
            try:
                outcome = self._exchange(body, writer, spool)
            finally:
                writer.close()
        if body.refusal is not None:
            raise body.refusal
        return outcome

    def read_spooled(self, spool: Path) -> Outcome:
        """The outcome of an answer that is on disk, the same as when it came; its picture is decoded again."""
        try:
            with taken(_ONE_ANSWER_AT_A_TIME), spooling.opened(spool) as answer:
                reading = self._read(answer, spool)
        except (OSError, spooling.NotASpool) as error:
            words = spooling.words_of(error) if isinstance(error, OSError) else str(error)
            message = f"the answer kept at `{spool}` cannot be read: {words}"
            return decide_silence(sent=True, code="spool-unreadable", message=message, evidence=Evidence())
        return decide(self._with_fetched(reading, spool))

    def cancel(self) -> None:
        """Stop now: every request in flight ends at once, and no further one is sent. From any thread."""
        with self._lock:
            self._cancelled = True
            lines = list(self._lines)
        for line in lines:
            line.cut("cancelled")

    def _exchange(self, body: "_Body", writer: spooling.SpoolWriter, spool: Path) -> Outcome:
        """One request on one line, up to the judgement of its answer."""
        receipt = _Receipt(writer, self._key, self._answer_bytes_max)
        trouble: Exception | None = None
        try:
            line = body.line = self._open_line(self._timeout_s)
        except NotConnected as reason:
            return self._silence(body, receipt, None, reason)
        try:
            with closing(self._host.connect(line)) as connection:
                head = self._head + b"%d\r\n\r\n" % len(body)
                with closing(connection.exchange(head, body)) as response:
                    receipt.take(response, line)
        except _Stopped:
            pass
        # Whatever a library raises: what it means for the money follows from how far body and answer had come.
        except Exception as error:  # noqa: BLE001
            trouble = error
        finally:
            self._close_line(line)
        if not receipt.complete:
            return self._silence(body, receipt, line.why, trouble)
        return self._judged(body, receipt, writer, spool)

    def _judged(self, body: "_Body", receipt: "_Receipt", writer: spooling.SpoolWriter, spool: Path) -> Outcome:
        """What a complete answer means, judged by what is on the disk, or from memory when the disk failed."""
        answer, intake = receipt.answer, receipt.intake
        assert answer is not None
        assert intake is not None
        if not body.begun:
            # No bill can be for what never left, so nothing is spooled that could later be taken for one.
            head = replace(answer, body=intake.head(broken_off=False))
            return decide(read(head, key=self._key, keep=_discard), sent=False)
        if intake.finish():
            if intake.kept is None:
                return self.read_spooled(spool)
            return decide(read(intake.kept, key=self._key, keep=_discard, parsed=intake.document))
        if writer.lost:
            message = f"the answer came, but the disk lost it: {writer.fault}"
            return decide_silence(sent=True, code="answer-lost", message=message, evidence=receipt.evidence())
        with taken(_ONE_ANSWER_AT_A_TIME):
            reading = read(replace(answer, body=writer.body()), key=self._key, keep=_discard)
        if reading.offered or reading.status in SUCCESS:
            reading = replace(reading, fault=f"the disk could not take the answer: {writer.fault}")
        return decide(reading)

    def _read(self, answer: Answer, spool: Path) -> Reading:
        return read(
            answer, key=self._key, keep=lambda blocks: spooling.keep_picture(blocks, spooling.picture_path(spool))
        )

    def _with_fetched(self, reading: Reading, spool: Path) -> Reading:
        """The reading with its picture fetched, where the answer only says where it is (contract R)."""
        if reading.url is None or not reading.readable:
            return reading
        path = spooling.picture_path(spool)
        if path.exists():  # fetched before this process; such an address may work only once
            return replace(reading, picture=path)
        try:
            line = self._open_line(min(self._timeout_s, FETCH_SECONDS_MAX), public_only=True)
            try:
                fetch(reading.url, path, line, bytes_max=self._answer_bytes_max)
            finally:
                self._close_line(line)
        except (FetchFailed, NotConnected) as reason:
            return replace(reading, fault=f"the picture could not be fetched: {reason}")
        return replace(reading, picture=path)

    def _silence(self, body: "_Body", receipt: "_Receipt", why: Why | None, trouble: Exception | None) -> Outcome:
        """What it means that no complete answer came."""
        code, words = self._trouble(body, receipt, why, trouble)
        message = words if body.begun else f"nothing was sent: {words}"
        own_doing = why == "cancelled" or body.fault is not None
        return decide_silence(
            sent=body.begun, code=code, message=message, evidence=receipt.evidence(), own_doing=own_doing
        )

    def _trouble(
        self, body: "_Body", receipt: "_Receipt", why: Why | None, trouble: Exception | None
    ) -> tuple[str, str]:
        """The code and the words for what ended the request early."""
        if body.fault is not None:
            return "picture-unreadable", f"the picture could not be read while it was being sent: {body.fault}"
        if why == "cancelled":
            return "cancelled" if body.begun else "not-sent", "stopped on request before an answer was complete"
        if why == "deadline":
            what = "no complete answer" if body.begun else "not ready to send"
            return "timed-out", f"{what} within {self._timeout_s} s"
        if receipt.too_large:
            return "answer-too-large", f"the answer is larger than {self._answer_bytes_max} bytes"
        if isinstance(trouble, NotConnected):
            return "not-sent", str(trouble)
        words = _words(trouble)
        if receipt.answer is not None:
            return "answer-cut", f"the answer broke off after {receipt.body_bytes} bytes of its body: {words}"
        return "no-answer", f"the connection ended before an answer came: {words}"

    def _open_line(self, seconds: int, *, public_only: bool = False) -> Line:
        line = Line(seconds, public_only=public_only, clock=self._clock)
        with self._lock:
            self._lines.add(line)
            cancelled = self._cancelled
        if cancelled:
            line.cut("cancelled")
        return line

    def _close_line(self, line: Line) -> None:
        with self._lock:
            self._lines.discard(line)
        line.close()


class _Stopped(BaseException):
    """Ends a request from inside its body. No Exception, because the libraries below swallow some of those."""


class _Body:
    """The body of one request, made while it is read: JSON around the base64 of a picture file, where there is one.

    Memory stays flat.

    The first `read` calls `on_sending`. What that raises is kept in `refusal`, and nothing is sent. `begun` is
    True as soon as any byte may have left. Raises OSError when the picture cannot be opened.
    """

    def __init__(self, order: Order, on_sending: Callable[[], None]) -> None:
        self.line: Line | None = None
        self.begun = False
        self.refusal: BaseException | None = None
        self.fault: str | None = None
        self._on_sending = on_sending
        self._announced = False
        before, after = _around_picture(order)
        self._file: IO[bytes] = order.picture.open("rb") if order.picture is not None else io.BytesIO()
        self._picture_bytes = os.fstat(self._file.fileno()).st_size if order.picture is not None else 0
        self._length = len(before) + -(-self._picture_bytes // 3) * 4 + len(after)
        self._blocks = self._generate(before, after)

    def __enter__(self) -> "_Body":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        """The length that is announced to the endpoint, in bytes."""
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        """The blocks, of whatever size."""
        return iter(self.read, b"")

    def read(self) -> bytes:
        """The next block; empty at the end."""
        self._announce()
        try:
            block = next(self._blocks, b"")
        except OSError as error:
            self.fault = spooling.words_of(error)
            raise _Stopped from None
        if self.line is not None and self.line.why is not None and not self.begun:
            raise _Stopped
        self.begun = True
        return block

    def _announce(self) -> None:
        if self._announced:
            return
        self._announced = True
        try:
            self._on_sending()
        except BaseException as error:  # noqa: BLE001  # handed out unchanged by send()
            self.refusal = error
            raise _Stopped from None

    def _generate(self, before: bytes, after: bytes) -> Iterator[bytes]:
        left = self._picture_bytes
        block = before
        while left:
            picture = self._file.read(min(left, _PICTURE_BYTES))
            left -= len(picture)
            if not picture or (left and len(picture) % 3):
                raise OSError("it became shorter")
            block += pybase64.b64encode(picture)
            if left:
                yield block
                block = b""
        yield block + after


def _around_picture(order: Order) -> tuple[bytes, bytes]:
    """The JSON before and after the base64 of the picture (contract C6-C16). Decimals are written as they are.

    Without a picture, all of it comes before.
    """
    fields = [f"{json.dumps(name)}:{_json(value)}" for name, value in order.options.items()]
    fields.insert(0, f'"model":{json.dumps(order.model)}')
    if order.picture is None:
        return ("{" + ",".join(fields)).encode(), b"}"
    url = json.dumps(f"data:{order.media_type};base64,")[:-1]
    fields.append(f'"input_images":[{{"type":"image_url","image_url":{{"url":{url}')
    return ("{" + ",".join(fields)).encode(), b'"}}]}'


def _json(value: OptionValue) -> str:
    """One option as JSON. A Decimal keeps its digits: never by way of a float."""
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value)


def _order_fault(order: Order, contracts: Mapping[str, Contract]) -> str | None:
    """What the contract does not know, as the last line of defence before money is spent (contract C6, C16)."""
    contract = contracts.get(order.model)
    if contract is None:
        return f"there is no model `{order.model}`"
    known = {field.name for field in contract.options}
    for name, value in order.options.items():
        if name not in known:
            return f"{order.model} has no option `{name}`"
        if isinstance(value, bool) or (isinstance(value, Decimal) and not value.is_finite()):
            return f"`{name}` cannot be `{value}`"
    if (order.picture is None) != (contract.pictures is None):
        return f"{order.model} takes {'no' if contract.pictures is None else 'a'} source picture"
    return None


class _Receipt:
    """What has arrived of one answer so far, on its way to the spool."""

    def __init__(self, writer: spooling.SpoolWriter, key: Key, bytes_max: int) -> None:
        self.answer: Answer | None = None  # its body is not here, but in `intake`
        self.intake: Intake | None = None
        self.body_bytes = 0
        self.too_large = False
        self.complete = False
        self._writer = writer
        self._key = key
        self._bytes_max = bytes_max

    def take(self, response: "_Response", line: Line) -> None:
        """Stream the answer to the writer. Raises what the library raises when the answer breaks off."""
        headers = kept_headers(response.headers.items(), self._key)
        self.answer = answer = Answer(response.status, headers, datetime.now(UTC), b"")
        self._writer.begin(answer.status, answer.headers, answer.received_at)
        self.intake = Intake(self._writer, self._key, answer)
        with heavy(response.length or 0):
            while block := response.next_block():
                self.body_bytes += len(block)
                if self.body_bytes > self._bytes_max:
                    self.too_large = True
                    return
                self.intake.feed(block)
        # Without an announced length the body ends where the connection ends: also when it was cut on our side.
        self.complete = line.why is None or response.length is not None or response.chunked

    def evidence(self) -> Evidence:
        """What is kept of an answer that is not complete, or of none."""
        if self.answer is None or self.intake is None:
            return Evidence()
        head = self.intake.head(broken_off=True).decode("utf-8", "replace")
        return evidence_of(self.answer.status, self.answer.headers, head, self._key)


class FetchFailed(Exception):
    """A picture could not be fetched; the message says why, without the address."""


def fetch(url: str, path: Path, line: Line, *, bytes_max: int, ca_file: Path | None = None) -> None:
    """Fetch a picture over https to `path`, without the key and without following redirects (contract R).

    `line` is to be public only: an endpoint must not make this machine read its own network. Raises FetchFailed.
    """
    try:
        parts = urlsplit(url)
        hidden_login = parts.username is not None or parts.password is not None
    except ValueError:
        raise FetchFailed("its address cannot be read") from None
    if parts.scheme.lower() != "https" or not parts.hostname or hidden_login:
        raise FetchFailed("its address is not a plain https one")
    headers = {"Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": _USER_AGENT}
    try:
        host = _Host(url, _FETCH_CONNECT_TIMEOUT_S, ca_file)
        with (
            closing(host.connect(line)) as connection,
            closing(connection.exchange(host.head("GET", url, headers) + b"\r\n", ())) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"its host answered {response.status}")
            spooling.keep_picture(_fetched_blocks(response, line, bytes_max), path)
    except FetchFailed:
        raise
    except NotConnected as reason:
        raise FetchFailed(str(reason)) from None
    # As in send(): whatever a library raises, the picture did not come, and the bill is booked all the same.
    except Exception as error:  # noqa: BLE001
        raise FetchFailed(_words(error)) from None


def _fetched_blocks(response: "_Response", line: Line, bytes_max: int) -> Iterator[bytes]:
    total = 0
    while block := response.next_block():
        total += len(block)
        if total > bytes_max:
            raise FetchFailed(f"it is larger than {bytes_max} bytes")
        yield block
    if line.why is not None:
        raise FetchFailed("it did not come in time")
    if not total:
        raise FetchFailed("it is empty")


class _WholeLines:
    """A file of which every line must have its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        if not line.endswith(b"\n") and (limit < 0 or len(line) < limit):
            raise http.client.RemoteDisconnected("it ends inside its headers")
        return line

    def close(self) -> None:
        self._file.close()


class _Response(http.client.HTTPResponse):
    """Reads an answer as the standard requires, where the standard library is lenient.

    It takes an end of the connection for the end of the headers, so that a 429 cut in its headers would pass for
    a whole one; it takes interim answers (102 Processing, 103 Early Hints) for the final one; of two lengths that
    contradict each other it believes the first; and it lets a body end before its announced length.
    """

    length: int | None  # of what has not been read yet; None: nothing was announced

    def begin(self) -> None:
        file = self.fp
        self.fp = cast(io.BufferedReader, _WholeLines(file))
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = file
        told = {length.strip() for line in self.headers.get_all("content-length", ()) for length in line.split(",")}
        if len(told) > 1:
            raise http.client.HTTPException("two lengths")

    def next_block(self) -> bytes:
        """The next bytes of the body, as soon as there are any; empty at its end. Raises HTTPException when that
        comes too early, and OSError."""
        if self.chunked:
            with RECEIVE.wait():
                return self.read1(_READ_BYTES)
        if self.length == 0 or self.fp is None:
            return b""
        with RECEIVE.wait():
            block = self.fp.read1(_READ_BYTES if self.length is None else min(self.length, _READ_BYTES))
        if self.length is not None:
            if not block:
                raise http.client.IncompleteRead(b"", self.length)
            self.length -= len(block)
        return block

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            with aside():
                version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
            if status not in _INTERIM:
                return version, status, reason
            http.client.parse_headers(self.fp)


# 100 is left to the standard library, and 101 answers a question that was not asked.
_INTERIM = range(102, 200)


class _PlainConnection(urllib3.connection.HTTPConnection):
    """A connection of urllib3 that runs over a Line, for one request."""

    def __init__(self, host: str, port: int, line: Line, connect_timeout_s: float, **tls: Any) -> None:
        super().__init__(host, port, **tls)
        self._line, self._connect_timeout_s = line, connect_timeout_s

    def _new_conn(self) -> socket.socket:
        return self._line.connect(self._dns_host, self.port or 0, self._connect_timeout_s, _SOCKET_OPTIONS)

    def connect(self) -> None:
        """Connect, TLS included. Raises NotConnected for whatever keeps the connection from standing."""
        try:
            super().connect()
        except NotConnected:
            raise
        except Exception as error:  # noqa: BLE001  # of any kind: what matters is that no connection stands
            raise NotConnected(_tls_words(error)) from None
        # Otherwise the connect timeout would hold for each block of the body, too.
        self.sock.settimeout(self._line.patience_s)

    def exchange(self, head: bytes, body: Iterable[bytes]) -> _Response:
        """Send the request, and read the head of its answer. Raises what the library raises.

        Written here and not by urllib3, because making the same head anew takes longer than sending it.
        """
        try:
            self.sock.sendall(head)
            for block in body:
                with SEND.wait():
                    self.sock.sendall(block)
        except OSError as error:
            # Who hangs up before the body has ended may have answered before.
            if error.errno not in _HUNG_UP:
                raise
        response = _Response(self.sock, method="POST")
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response


_HUNG_UP = (errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET, errno.EPROTOTYPE)


class _TlsConnection(_PlainConnection, urllib3.connection.HTTPSConnection):
    """The same with TLS: `connect` above goes on to the TLS one of urllib3."""


class _Host:
    """One host: no retries, no redirects, no proxies, a connection for each request, over the line that is given.

    Safe to use from any thread. The certificates to trust are read once, at the first connection over TLS.
    """

    def __init__(self, url: str, connect_timeout_s: float, ca_file: Path | None = None) -> None:
        place = urllib3.util.parse_url(_prepared("GET", url).url or "")
        self._name = (place.host or "").removeprefix("[").removesuffix("]")
        self._is_tls = place.scheme == "https"
        usual = 443 if self._is_tls else 80
        self._port = place.port or usual
        shown = f"[{self._name}]" if ":" in self._name else self._name.rstrip(".")
        self._shown = shown if self._port == usual else f"{shown}:{self._port}"
        self._connect_timeout_s = connect_timeout_s
        self._ca_file = requests.adapters.DEFAULT_CA_BUNDLE_PATH if ca_file is None else str(ca_file)
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def head(self, method: str, url: str, headers: Mapping[str, str]) -> bytes:
        """The head of a request to an address of the host, but for the empty line at its end."""
        lines = [f"{method} {_prepared(method, url).path_url} HTTP/1.1", f"Host: {self._shown}"]
        return "".join(f"{line}\r\n" for line in (*lines, *map(": ".join, headers.items()))).encode("latin-1")

    def connect(self, line: Line) -> _PlainConnection:
        """A new connection over the line, for one request. Raises NotConnected."""
        place = (self._name, self._port, line, self._connect_timeout_s)
        connection: _PlainConnection
        if self._is_tls:
            connection = _TlsConnection(*place, ssl_context=self._trust(), cert_reqs=ssl.CERT_REQUIRED)
        else:
            connection = _PlainConnection(*place)
        try:
            with CONNECT.wait():
                connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _trust(self) -> ssl.SSLContext:
        """Whom to trust. The files are large, and reading them takes long."""
        with self._lock:
            if self._context is None:
                self._context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
                with suppress(OSError):  # of a file without certificates: then the handshake finds nobody to trust
                    self._context.load_verify_locations(self._ca_file)
            return self._context


def _prepared(method: str, url: str) -> requests.PreparedRequest:
    """An address as requests spells it. Not through a Session: that is what would read proxies and .netrc."""
    return requests.Request(method, url).prepare()


def _headers(key: Key) -> Mapping[str, str]:
    return {
        "Authorization": f"Bearer {key.reveal()}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": _USER_AGENT,
    }


def _checked_url(url: str, *, allow_plaintext: bool) -> str:
    """The address that requests go to. Raises UsageError for one that a key must not be sent to."""
    try:
        parts = urlsplit(url)
        has_login = parts.username is not None or parts.password is not None
        _ = parts.port
    except ValueError:
        raise UsageError("the endpoint's url cannot be read", _URL_HINT) from None
    if has_login:  # not quoted: it may be a secret
        raise UsageError("the endpoint's url carries a user name or password", "the key belongs into `api_key`")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the endpoint's url `{url}` is not an http or https address", _URL_HINT)
    if "?" in url or "#" in url or not url.isprintable() or any(character in url for character in " \\"):
        raise UsageError("the endpoint's url is more than an address and a path", _URL_HINT)  # may hold a secret
    if parts.scheme == "http" and not allow_plaintext and not _is_loopback(parts.hostname):
        raise UsageError(
            f"the endpoint's url `{url}` would send the API key unencrypted to another machine",
            "use https, or write `allow_plaintext = true` beside the url in omixa.toml to accept that",
        )
    target = f"{url.rstrip('/')}/images/generations"
    with suppress(requests.RequestException, UnicodeError):
        _prepared("POST", target)
        return target
    raise UsageError(f"the endpoint's url `{url}` cannot be used", _URL_HINT)


_URL_HINT = "such as `http://omixa.cloud/api/v1`"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _discard(blocks: Iterator[bytes]) -> Path:
    """Stands for a disk that takes nothing: the picture is checked, and then gone."""
    for _ in blocks:
        pass
    raise OSError("nothing was kept")


def _tls_words(error: Exception) -> str:
    """Why a connection could not be secured."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS certificate not trusted: {cause.verify_message}"
        if isinstance(cause, TimeoutError):
            return "TLS handshake timed out"
        if isinstance(cause, ssl.SSLError):
            return "TLS handshake failed"
        if isinstance(cause, OSError) and cause.errno:
            return f"TLS handshake failed: {connect_words(cause)}"
    return f"no secure connection ({type(error).__name__})"


def _words(error: Exception | None) -> str:
    """What ended an exchange, in our own words: a library's text may quote headers, and so the key."""
    for cause in _causes(error):
        if isinstance(cause, http.client.RemoteDisconnected):
            return "it was closed without one"
        if isinstance(cause, http.client.IncompleteRead):
            return "it is shorter than announced"
        if isinstance(cause, http.client.HTTPException):
            return f"what came is no HTTP ({type(cause).__name__})"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed"
        if isinstance(cause, TimeoutError):
            return "timed out"
        if isinstance(cause, OSError) and cause.errno:
            return connect_words(cause)
    return type(error).__name__ if error is not None else "it ended"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
