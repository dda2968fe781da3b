"""A project with channels, and what hears them: a real webhook receiver and a real SMTP server on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from runner import alerts, settings
from runner.ledger.alerting import Alert, Sending
from runner.ledger.database import Database, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.occasions import Occasion
from runner.recipe import Recipe
from runner.settings import Settings, ledger_path
from tests.ledger.conftest import NOON, Desk, no_uptime

# Stands in URLs of channels; nothing may keep it or show it (tests/canary.py).
SECRET = "studios-own-secret-of-alerts"

SETTINGS = """
[workspaces.studio]
endpoint = "sandbox"
currency = "USD"
time_zone = "Europe/Berlin"
budget = {{ month = "1.00" }}
ceilings = {{ "stability-upscale-creative" = "0.70" }}

[alerts]
{alerts}
"""


class Receiver:
    """A webhook that keeps what it gets, with the path it came to. `status`: what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.heard: list[dict[str, Any]] = []
        self.paths: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.paths.append(self.path)
                if receiver.status == 200:
                    receiver.heard.append(json.loads(body))
                self.send_response(receiver.status)
                # What answers here says back what it was asked, as many do.
                self.end_headers()
                self.wfile.write(f"{self.path} {self.headers}".encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """For apprise, with a secret in it."""
        return f"json://ana:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}"

    @property
    def messages(self) -> list[str]:
        return [one["message"] for one in self.heard]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Mailbox:
    """An SMTP server that keeps the mails it gets: sender, receivers, subject and text."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], str, str]] = []
        self.loop = asyncio.new_event_loop()
        # aiosmtpd's own Controller cannot take whichever port is free.
        begin = self.loop.create_server(lambda: SMTP(self, loop=self.loop), "127.0.0.1", 0)
        self.server = self.loop.run_until_complete(begin)
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - of aiosmtpd
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text = mail.get_body(("plain", "html")).get_content()
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail["subject"], text))
        return "250 kept"

    @property
    def url(self) -> str:
        """For apprise."""
        whom = "from=omixa@studio.example&to=ops@studio.example"
        return f"mailto://127.0.0.1:{self.port}?smtp=127.0.0.1&mode=insecure&format=text&{whom}"

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class House:
    """A project on disk, its ledger, and a desk that buys in it. `keep`: the project is there already."""

    def __init__(self, root: Path, *, keep: bool = False) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.at = NOON
        if keep:
            self.read()
        else:
            self.write("")

    def write(self, text: str) -> Settings:
        """omixa.toml with these lines in [alerts]; the settings as they are read from it."""
        (self.root / "omixa.toml").write_text(SETTINGS.format(alerts=text), encoding="utf-8")
        return self.read()

    def read(self) -> Settings:
        """The settings as they are read from omixa.toml."""
        made, problems = settings.load(self.root)
        assert problems == []
        assert made is not None
        self.settings = made
        self.path = ledger_path(made)
        return made

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The ledger's file, opened as another process would."""
        with open_database(self.path, create=True) as opened:
            yield opened

    @contextmanager
    def desk(self, uid: str = "run-1") -> Iterator[Desk]:
        from dataclasses import replace

        from tests.ledger.conftest import RUN

        with self.database() as opened:
            run = replace(RUN, uid=uid, workspace="studio@sandbox", currency="sandbox-USD")
            desk = Desk(Ledger(opened, uptime=no_uptime), run)
            desk.at = self.at
            yield desk

    def look(
        self, told: Sequence[Occasion] = (), *, at: datetime | None = None, recipes: Sequence[Recipe] = ()
    ) -> list[Alert]:
        with self.database() as opened:
            return alerts.evaluate(self.settings, recipes, opened, at=at or self.at, told=told)

    def deliver(self, *, at: datetime | None = None, **more: Any) -> list[Sending]:
        with self.database() as opened:
            return alerts.deliver(self.settings, opened, at=at or self.at, **more)

    def pass_time(self, **units: int) -> None:
        self.at += timedelta(**units)

    def octets(self) -> bytes:
        """Every byte beside the ledger: its file, its WAL, and whatever else is there."""
        return b"".join(path.read_bytes() for path in sorted(self.path.parent.rglob("*")) if path.is_file())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "project")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.stop()


@pytest.fixture
def script(house: House) -> Callable[[str], str]:
    """Writes a shell script into the project; its channel, as omixa.toml has it."""

    def write(text: str) -> str:
        path = house.root / "hear.sh"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return '[[alerts.to]]\nname = "script"\ncommand = ["./hear.sh", "one", "two words"]\n'

    return write
