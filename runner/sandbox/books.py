"""The server's own count: what arrived, what was sold, what was billed; and its log. Safe for many threads."""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from runner import money
from runner.errors import DiskError
from runner.sandbox.judge import Accepted


@dataclass(frozen=True, slots=True)
class Counts:
    """What the server counted, at one moment.

    `requests`: complete bodies received for the operation, whatever became of them. `pictures`: requests billed,
    whether or not the answer arrived; `billed_micros` is their sum. `refused`: error answers by status, also of
    requests that were turned away before their body was read.
    """

    requests: int
    pictures: int
    billed_micros: int
    refused: Mapping[int, int]

    def to_json(self) -> str:
        """One JSON object; money as an exact decimal string."""
        return json.dumps(
            {
                "schema": "omixa.sandbox-counts/1",
                "requests": self.requests,
                "pictures": self.pictures,
                "billed": money.exact(self.billed_micros),
                "refused": {str(status): count for status, count in sorted(self.refused.items())},
            }
        )


class Books:
    """The counters and the log behind one lock. `log` None: no log is kept. Raises DiskError if it can't be opened."""

    def __init__(self, log: Path | None) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._pictures = 0
        self._billed_micros = 0
        self._refused: Counter[int] = Counter()
        try:
            self._log: TextIO | None = log.open("a", encoding="utf-8") if log else None
        except OSError as error:
            raise DiskError(
                f"the log `{log}` cannot be opened: {error.strerror}", "choose another with `--log`"
            ) from error

    def arrived(self) -> None:
        """A body for the operation is complete."""
        with self._lock:
            self._requests += 1

    def turned_away(self, status: int) -> None:
        """An error was answered to something that is not a request of the operation, or not a complete one."""
        with self._lock:
            self._refused[status] += 1

    def decided(
        self, request_id: str, status: int | None, billed_micros: int | None, accepted: Accepted | None
    ) -> None:
        """A request is decided, before a byte of its answer leaves. `status` None: there will be no answer.

        `billed_micros` None: not billed. `accepted` None: it was refused. The log gets one line, never with the
        key, the prompt or the picture.
        """
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": request_id,
            "status": status,
            "billed": None if billed_micros is None else money.exact(billed_micros),
            "picture": accepted.picture_digest if accepted else None,
            "options": accepted.options_digest if accepted else None,
        }
        with self._lock:
            if status is not None and status >= 300:
                self._refused[status] += 1
            if billed_micros is not None:
                self._pictures += 1
                self._billed_micros += billed_micros
            if self._log:
                self._log.write(json.dumps(line) + "\n")
                self._log.flush()

    def counts(self) -> Counts:
        """All counters of one moment."""
        with self._lock:
            return Counts(self._requests, self._pictures, self._billed_micros, dict(self._refused))

    def close(self) -> None:
        """Close the log; nothing may be decided afterwards."""
        with self._lock:
            if self._log:
                self._log.close()
                self._log = None
