"""What goes to a paid endpoint and what can come back: Billed, Declined or Unknown. Values only, no network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runner.contracts.contract import OptionValue


@dataclass(frozen=True, slots=True)
class Order:
    """One request for one picture. `options` holds every field but `model` and `input_images`, as it is sent.

    `picture` is the file whose bytes are sent as they are; `media_type` its registered type (contract C9). Both are
    None for a model that takes no source picture.
    """

    model: str
    options: Mapping[str, OptionValue]
    picture: Path | None
    media_type: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What came back, for the audit: never the key, never picture bytes.

    `status` is None when no status line arrived. `headers` is an allow-list, lower-case names. `body_head` is
    at most the first 4 KiB as text, key redacted, long base64 cut out. `request_id` is None when none was sent.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None
    body_head: str = ""


@dataclass(frozen=True, slots=True)
class Billed:
    """It was bought. `amount_micros` None: bought, but the amount is missing or unreadable (contract B).

    `amount_text` is `usage.billed_amount` as received. `result` is the decoded picture file, `digest` its sha256 in hex
    where it is known; None when no usable picture came, with `fault` saying why. `stops_run`: it was billed by an
    answer after which no further request of this run can succeed, such as a 401; then `code` and `message` are those of
    the Declined that it would have been without the bill, otherwise they are empty.
    """

    evidence: Evidence
    amount_micros: int | None
    amount_text: str | None
    result: Path | None
    fault: str | None = None
    stops_run: bool = False
    code: str = ""
    message: str = ""
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """It was not billed. `code` is a stable word.

    From the endpoint: `rate-limited`, `unavailable`, `moderated`, `key-refused`, `account-empty`, `bad-request`,
    `not-found`, `method-not-allowed`, `too-large`, `unsupported-type`, `unprocessable`. Without it, because nothing
    was sent: `not-sent`, `not-in-contract`, `picture-unreadable`, `spool-unwritable`.
    `retry_after_s`: seconds to wait before it may be sent again by itself; None: never by itself.
    `stops_run`: no further request of this run can succeed (key refused, account empty).
    """

    evidence: Evidence
    code: str
    message: str
    retry_after_s: float | None = None
    stops_run: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been billed. Never sent again by itself; only evidence changes it (contract B).

    `code` is a stable word. No complete answer: `no-answer`, `answer-cut`, `answer-too-large`, `timed-out`,
    `cancelled`, `picture-unreadable`, `answer-lost`, `spool-unreadable`. An answer that does not say:
    `answer-unreadable`, `error-in-success`, `bill-unreadable`, `redirected`, `server-error`, `unexpected-status`.
    `stops_run`: whatever becomes of it, no further request of this run can succeed (key refused, account empty).
    """

    evidence: Evidence
    code: str
    message: str
    stops_run: bool = False


Outcome = Billed | Declined | Unknown


class Provider(Protocol):
    """The one place a paid request can leave from."""

    def send(self, order: Order, *, spool: Path, on_sending: Callable[[], None]) -> Outcome:
        """Send one request and read its answer; never raises for anything the network does.

        `on_sending` is called once, after the connection stands and before the first byte of the body can leave;
        if it raises, nothing of the body is sent and the exception comes out. A complete answer is at `spool`,
        on disk, before this returns, unless the disk failed (then `fault` says so) or nothing had been sent. When
        `on_sending` was not called, the outcome is Declined.
        """
        ...

    def read_spooled(self, spool: Path) -> Outcome:
        """The outcome of an answer that is already on disk, for a process that died after spooling it."""
        ...

    def cancel(self) -> None:
        """Stop now, from any thread: what is in flight ends at once, by what is certain then; nothing more is sent."""
        ...
