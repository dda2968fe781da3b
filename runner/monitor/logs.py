"""The scheduler's log: one line an event, with a stable word for what happened. A log that breaks ends nothing."""

import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

from runner.diagnostics import masked
from runner.terminal import clean

# What can happen, in words that scripts may rely on: they are never renamed.
ACTIONS: Mapping[str, str] = {
    "start": "The scheduler has begun: which program, which project, which ledger.",
    "ready": "It has looked once and watches now.",
    "reload": "omixa.toml or recipes were read again.",
    "reload-failed": "They cannot be used as they are now; it goes on with the last good ones.",
    "recipe-invalid": "A recipe has become invalid; its last good version stays in force.",
    "recipe-restored": "A recipe that was invalid is good again.",
    "slot-claimed": "A slot is due, and this scheduler looks after it.",
    "slot-started": "The run of a slot has begun.",
    "slot-ended": "The run of a slot has ended as it should.",
    "slot-skipped": "A slot does not run: its recipe is paused or invalid, or its workspace is stopped.",
    "slot-missed": "Nobody looked when a slot was due, and it does not run any more.",
    "slot-overlapped": "A slot does not run because an earlier one of its recipe still does.",
    "slot-refused": "A budget had no room for all of a slot, or no approval came for it.",
    "slot-waits": "A slot waits for its plan to be approved.",
    "slot-failed": "A slot could not do what it should.",
    "recovered": "An attempt that a dead process had left was brought to its end.",
    "alert": "An alert has fired.",
    "alert-failed": "An alert could not be delivered on one channel.",
    "clock-jump": "The clock is not believed; nothing is started by it.",
    "stopping": "It was told to stop: nothing new is begun, what is in flight finishes.",
    "stopped": "Nothing is in flight any more; what is left is named.",
    "status-unwritable": "The status file cannot be written; the scheduler goes on.",
    "tick-failed": "One look failed; it is tried again at the next.",
    "library": "A package that omixa uses has something to say.",
}

_WARNINGS = frozenset(
    {
        "slot-skipped",
        "slot-missed",
        "slot-overlapped",
        "slot-refused",
        "slot-waits",
        "recovered",
        "alert",
        "reload-failed",
    }
    | {"recipe-invalid", "clock-jump", "status-unwritable"}
)
_ERRORS = frozenset({"slot-failed", "alert-failed", "tick-failed"})

_FIRST = ("at", "level", "action")
_TEXT_LENGTH_MAX = 4000
_LOGGER = logging.getLogger("omixa")
# Where nobody hears a warning, Python would write a line of its own to stderr: an empty one.
_LOGGER.addHandler(logging.NullHandler())


def log(action: str, /, **facts: object) -> None:
    """Tell of one event, in a word of ACTIONS. Text is masked, moments are UTC, and what is no fact is shown as text.

    Never raises for what the log is written to. Before `open_log` nobody hears it.
    """
    assert action in ACTIONS, f"`{action}` is no word of the log"
    assert not facts.keys() & set(_FIRST), "these names are the log's own"
    _LOGGER.log(_level(action), "", extra={"omixa": (action, facts)})


def open_log(stream: TextIO, form: Literal["json", "text"]) -> None:
    """From now on events are written to a stream, and to no other; warnings of other packages, too."""
    close_log()
    handler = _Lines(stream, _as_json if form == "json" else _as_text)
    _LOGGER.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)


def close_log() -> None:
    """From now on nobody hears it."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Lines)]:
        root.removeHandler(handler)


def _level(action: str) -> int:
    if action in _ERRORS:
        return logging.ERROR
    return logging.WARNING if action in _WARNINGS else logging.INFO


class _Lines(logging.Handler):
    """Writes each event in one piece. What cannot be written is lost, and the next event begins on a line of its own.

    The descriptor is written to without Python's buffer: what stays in a buffer would be tried again at the end, and
    fail the whole program.
    """

    def __init__(self, stream: TextIO, form: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._form = form
        self._stream = stream
        self._is_torn = False
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError, io.UnsupportedOperation):
            self._descriptor = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._form(record) + "\n"
            if self._descriptor is None:
                self._stream.write(line)
                self._stream.flush()
                return
            self._write(self._descriptor, (("\n" if self._is_torn else "") + line).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001, S110 - there is nobody left to tell
            pass

    def _write(self, descriptor: int, octets: bytes) -> None:
        written = 0
        try:
            while written < len(octets):
                written += os.write(descriptor, octets[written:])
        finally:
            if written:
                self._is_torn = written < len(octets)


def _facts(record: logging.LogRecord) -> tuple[dict[str, object], dict[str, object]]:
    """When, how grave and what; and the facts, by name in their order."""
    told: tuple[str, dict[str, object]] | None = getattr(record, "omixa", None)
    # Not ours: another package's warning.
    action, facts = told or ("library", {"package": record.name, "message": record.getMessage()})
    at = _moment(datetime.fromtimestamp(record.created, UTC))
    head: dict[str, object] = {"at": at, "level": record.levelname.lower(), "action": action}
    return head, {name: _value(facts[name]) for name in sorted(facts)}


def _as_json(record: logging.LogRecord) -> str:
    """ASCII: whatever a file name holds, a line is one line and steers no terminal."""
    head, facts = _facts(record)
    return json.dumps({**head, **facts})


def _as_text(record: logging.LogRecord) -> str:
    head, facts = _facts(record)
    told = [f"{name}={_shown(value)}" for name, value in facts.items() if value is not None]
    return " ".join([str(head["at"]), str(head["level"]).ljust(7), str(head["action"]), *told])


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    text = clean(value)
    return f'"{text}"' if " " in text or not text else text


def _value(value: object) -> object:
    """A value as JSON has it: text, whole numbers, truth, None and lists of them; anything else as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return _moment(value.astimezone(UTC))
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    text = masked(str(value))
    return text if len(text) <= _TEXT_LENGTH_MAX else text[: _TEXT_LENGTH_MAX - 1] + "…"


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
