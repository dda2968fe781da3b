"""One connection of one request, which can be cut from outside: at its deadline, or when someone says stop."""

import ipaddress
import math
import os
import queue
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

Why = Literal["deadline", "cancelled"]
_PATIENCE_S = 30
_Found = tuple[int, int, int, str, Any]  # what getaddrinfo gives for one address


class NotConnected(Exception):
    """No connection stands, so nothing of a body can have left. The message says why, in our own words.

    Deliberately no OSError: libraries below swallow or rename those.
    """


class Line:
    """Connects once, and is cut after `seconds` or by `cut`, whatever the thread that uses it is waiting for.

    Per-operation timeouts do not do this: an endpoint that sends a byte a second would be waited for forever.
    With `public_only`, it refuses to connect to any but public addresses. `clock` may be shared by many lines. Raises
    NotConnected when not even the clock can be started.
    """

    def __init__(self, seconds: float, *, public_only: bool = False, clock: "Clock | None" = None) -> None:
        self.why: Why | None = None
        # What a user of the line may set as timeout of a single operation. It only covers a clock that never comes:
        # ending first, it would end a request whose answer is there already and is read after the cut.
        self.patience_s = seconds + _PATIENCE_S
        self._public_only = public_only
        self._used = False
        self._lock = threading.Lock()
        self._twin: socket.socket | None = None
        self._resolved: queue.SimpleQueue[Sequence[_Found] | NotConnected] = queue.SimpleQueue()
        self._clock = Clock() if clock is None else clock
        self._clock.watch(self, time.monotonic() + seconds)

    def connect(self, host: str, port: int, seconds: float, options: Iterable[tuple[int, int, int]]) -> socket.socket:
        """A connected socket, within `seconds` over all addresses of the host. Raises NotConnected."""
        with self._lock:
            if self._used:
                raise NotConnected("a line connects only once")
            self._used = True
        until = time.monotonic() + seconds
        addresses = self._addresses(host.strip("[]"), port, seconds)
        if self._public_only:
            # Checked here, on the very addresses that are connected to: a second look-up could say something else.
            for *_, address in addresses:
                if not is_public(address[0]):
                    raise NotConnected("its address is not a public one")
        reason = "the name has no address"
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            # The time is shared, so that one dead address does not take it from the others.
            share = (until - time.monotonic()) / (len(addresses) - position)
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                reason = connect_words(error)
                continue
            try:
                for option in options:
                    sock.setsockopt(*option)
                sock.settimeout(max(share, 0.01))
                self._adopt(sock)
                sock.connect(address)
                self._check()
                return sock
            except OSError as error:
                sock.close()
                reason = connect_words(error)
            except NotConnected:
                sock.close()
                raise
            self._check()
        raise NotConnected(reason)

    def cut(self, why: Why) -> None:
        """End whatever the line is doing, from any thread. The first reason stays."""
        with self._lock:
            self.why = self.why or why
            if self._twin is not None:
                with suppress(OSError):
                    self._twin.shutdown(socket.SHUT_RDWR)
        self._resolved.put(NotConnected(_STOPPED[why]))

    def close(self) -> None:
        """Let go of the connection; it can no longer be cut."""
        self._clock.forget(self)
        with self._lock:
            if self._twin is not None:
                self._twin.close()
                self._twin = None

    def _adopt(self, sock: socket.socket) -> None:
        """Keep a second handle on the connection.

        The first one changes hands on the way (TLS takes it over, the answer closes it); shutting down the second
        ends the connection all the same, and its number cannot meanwhile belong to something else.
        """
        with self._lock:
            if self._twin is not None:
                self._twin.close()
            self._twin = sock.dup()
        self._check()

    def _check(self) -> None:
        if self.why is not None:
            raise NotConnected(_STOPPED[self.why])

    def _addresses(self, host: str, port: int, seconds: float) -> Sequence[_Found]:
        with suppress(OSError, UnicodeError):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        # A look-up cannot be interrupted, so a thread of its own waits for it, and may be left behind.
        threading.Thread(target=self._look_up, args=(host, port), daemon=True).start()
        try:
            found = self._resolved.get(timeout=seconds)
        except queue.Empty:
            raise NotConnected(f"the name was not resolved within {seconds:g} s") from None
        if isinstance(found, NotConnected):
            raise found
        return found

    def _look_up(self, host: str, port: int) -> None:
        try:
            self._resolved.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            self._resolved.put(NotConnected("name not resolved"))


class Clock:
    """Cuts lines when their time is up. One thread for all of them, which ends when there is none left to watch."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._until: dict[Line, float] = {}
        self.next_look = math.inf  # when the thread looks again
        self._thread: threading.Thread | None = None

    def watch(self, line: Line, until: float) -> None:
        """Cut the line at that moment of the monotonic clock. Raises NotConnected when no thread can be started."""
        with self._changed:
            self._until[line] = until
            if self._thread is None or not self._thread.is_alive():
                self.next_look = until
                self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None
                    del self._until[line]
                    raise NotConnected("the system starts no further thread") from None
            elif until < self.next_look:
                self._changed.notify()

    def forget(self, line: Line) -> None:
        """The line is not cut any more. Not told to the thread, which looks when it would have been."""
        with self._changed:
            self._until.pop(line, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = [line for line, until in self._until.items() if until <= now]
                for line in due:
                    del self._until[line]
                if not due:
                    self.next_look = min(self._until.values(), default=math.inf)
                    if self.next_look == math.inf:
                        self._thread = None
                        return
                    self._changed.wait(self.next_look - now)
            for line in due:
                line.cut("deadline")


_STOPPED: dict[Why, str] = {"deadline": "the time was up", "cancelled": "stopped on request"}


def connect_words(error: OSError) -> str:
    """Why a connection does not stand, such as `connection refused`."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "connect timed out"
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Special ranges that the standard library of some Python takes for the open internet: protocol assignments
# (RFC 6890), translation inside a site
# (RFC 8215), 6to4 relays (RFC 7526), documentation (RFC 9637) and segment routing (RFC 9602).
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b:1::/48", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16")
)


def is_public(address: str) -> bool:
    """Whether the address is on the open internet: not private, loopback, link-local, reserved or multicast.

    An IPv6 address that only wraps an IPv4 address is judged by what it wraps.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        if ip.is_site_local or ip.scope_id is not None:
            return False
    if any(ip in network for network in _SPECIAL):
        return False
    return ip.is_global and not (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )
