"""The workers of a run hand the baton on wherever they wait for long."""

import socket
import threading
from urllib.parse import urlsplit

import pytest

from runner import baton
from runner.cli import main
from tests.run.conftest import KEY, Studio

AT_ONCE = 4
A_MOMENT_S = 30.0


class Together:
    """Before the endpoint: it answers when so many have asked, and none before."""

    def __init__(self, endpoint_url: str) -> None:
        place = urlsplit(endpoint_url)
        self._behind = (str(place.hostname), int(place.port or 0))
        self._all_asked = threading.Barrier(AT_ONCE)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=AT_ONCE)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}{place.path}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                threading.Thread(target=self._pass_on, args=(self._server.accept()[0],), daemon=True).start()
            except OSError:  # closed
                return

    def _pass_on(self, asking: socket.socket) -> None:
        with asking, asking.makefile("rb") as asked, socket.create_connection(self._behind) as behind:
            head = list(iter(asked.readline, b"\r\n"))
            (length,) = [int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")]
            behind.sendall(b"".join(head) + b"\r\n" + asked.read(length))
            with behind.makefile("rb") as answered:
                answer = answered.read()
            try:
                self._all_asked.wait(A_MOMENT_S)
            except threading.BrokenBarrierError:
                return
            asking.sendall(answer)

    def close(self) -> None:
        self._server.close()


def test_who_waits_for_an_answer_or_a_booking_holds_up_nobody(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    # Nobody takes it away for so long: whoever waited with the baton in hand would wait for the others in vain.
    monkeypatch.setattr(baton, "PATIENCE_S", A_MOMENT_S / 6)
    before = Together(studio.endpoint.url)
    studio.settings(url=before.url, concurrency=AT_ONCE)
    studio.pictures(2 * AT_ONCE)
    studio.know_price()
    handed, without = baton.WORKERS.handovers, baton.WORKERS.taken_away
    assert main(["--project", str(studio.root), "run", "posters", "--yes"]) == 0
    assert (studio.endpoint.counts().requests, len(studio.outputs())) == (2 * AT_ONCE, 2 * AT_ONCE)
    assert baton.WORKERS.handovers - handed >= 2 * AT_ONCE
    assert baton.WORKERS.taken_away == without
    before.close()
    studio.balances()
