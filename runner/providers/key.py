"""The workspace key: read once, shown never."""

import base64
import os
import re
import stat
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from runner.errors import UsageError

HIDDEN = "***"

# Shorter than this is a slip of the pen, and hiding it would garble answers that hold the same few letters.
_LENGTH_MIN = 8
_LENGTH_MAX = 4096
_KEY_LIKE = re.compile(r"omx_(?:live|test)_[A-Za-z0-9_-]+", re.ASCII)


class Key:
    """A secret that shows itself only when asked by name: `reveal()`. Everywhere else it reads `***`.

    Always fit for an HTTP header: 8 to 4096 characters of latin-1 without white space or control characters.
    Raises UsageError, without the secret in the message, for anything else.
    """

    __slots__ = ("_secret", "_spellings")
    __hash__ = None  # type: ignore[assignment]  # a key is no dictionary key: nothing may collect keys by value

    def __init__(self, secret: str) -> None:
        fault = _fault(secret)
        if fault:
            raise UsageError(f"the API key {fault}", _EXPECTED)
        self._secret = secret
        self._spellings = _spellings(secret)

    def reveal(self) -> str:
        """The secret itself. For the Authorization header and for finding it in what comes back."""
        return self._secret

    def spellings(self) -> tuple[str, ...]:
        """The ways in which the key may stand in a text, the longest first."""
        return self._spellings

    def __repr__(self) -> str:
        return HIDDEN

    def __str__(self) -> str:
        return HIDDEN

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is never pickled or copied")


_EXPECTED = "a workspace key is one line such as `omx_live_…`, as the provider shows it"


def read_key(*, env: str | None, file: Path | None) -> Key:
    """The key from the environment variable `env` or, when that is None or not set, from `file`.

    One line break at the end of the file is not part of the key. Raises UsageError, which says what to set
    and never quotes what was found.
    """
    if env is not None and env in os.environ:
        return _checked(os.environ[env], f"the environment variable `{env}`")
    if file is not None:
        return _checked(_file_text(file), f"the key file `{file}`")
    if env is not None:
        raise UsageError(
            f"the environment variable `{env}` with the API key is not set",
            f'export {env}=omx_live_…  (or name a file in omixa.toml: api_key = {{ file = "…" }})',
        )
    raise UsageError(
        "no API key is declared for this workspace",
        'add to omixa.toml: api_key = { env = "OMIXA_API_KEY" } or api_key = { file = "…" }',
    )


def redact(text: str, key: Key) -> str:
    """The text with the key, in any usual spelling, and everything that looks like such a key as `***`."""
    for spelling in key.spellings():
        text = text.replace(spelling, HIDDEN)
    return _KEY_LIKE.sub(HIDDEN, text)


class Redaction:
    """Hides the key in a stream of bytes, also where it lies across two blocks. Other bytes pass unchanged."""

    def __init__(self, key: Key) -> None:
        texts = key.spellings()
        # Endpoints may echo a latin-1 key in either encoding.
        encoded = {text.encode(encoding) for text in texts for encoding in ("latin-1", "utf-8")}
        self._spellings = sorted(encoded, key=len, reverse=True)
        self._overlap = len(self._spellings[0]) - 1
        self._held = b""

    def feed(self, block: bytes) -> bytes:
        """What can be passed on now; the last few bytes are held back until it is known what follows them."""
        whole = self._hidden(self._held + block)
        cut = max(0, len(whole) - self._overlap)
        self._held = whole[cut:]
        return whole[:cut]

    def finish(self) -> bytes:
        """What was held back."""
        rest, self._held = self._held, b""
        return rest

    def broken_off(self) -> bytes:
        """What was held back of a stream that does not go on, without the beginning of a key at its end."""
        rest = self.finish()
        for size in range(min(len(rest), self._overlap), 3, -1):
            if any(spelling.startswith(rest[-size:]) for spelling in self._spellings):
                return rest[:-size]
        return rest

    def _hidden(self, block: bytes) -> bytes:
        for spelling in self._spellings:
            block = block.replace(spelling, HIDDEN.encode())
        return block


def _spellings(secret: str) -> tuple[str, ...]:
    """Raw, with JSON's escapes, in hex, in base64 and URL-encoded."""
    octets = secret.encode("latin-1")
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
    found = {
        secret,
        escaped,
        escaped.replace("/", "\\/"),
        octets.hex(),
        octets.hex().upper(),
        quote(secret, safe=""),
        quote(secret, safe="/"),
    }
    # Inside a longer base64 text the key begins at one of three offsets; only the characters it alone decides count.
    for offset in range(3):
        first = -(-offset * 8 // 6)
        last = (offset + len(octets)) * 8 // 6
        padded = bytes(offset) + octets
        found.add(base64.b64encode(padded).decode()[first:last])
        found.add(base64.urlsafe_b64encode(padded).decode()[first:last])
    return tuple(sorted(found, key=len, reverse=True))


def _checked(text: str, where: str) -> Key:
    fault = _fault(text)
    if fault:
        raise UsageError(f"the API key in {where} {fault}", _EXPECTED)
    return Key(text)


def _fault(text: str) -> str | None:
    """What keeps the text from being a key, or None. Never quotes the text."""
    if not text:
        return "is empty"
    if any(character.isspace() for character in text):
        return "contains white space or a line break"
    if not text.isprintable():
        return "contains control characters"
    if any(ord(character) > 255 for character in text):
        return "contains characters that cannot stand in an HTTP header"
    if len(text) < _LENGTH_MIN:
        return f"has fewer than {_LENGTH_MIN} characters"
    if len(text) > _LENGTH_MAX:
        return f"has more than {_LENGTH_MAX} characters"
    return None


def _file_text(path: Path) -> str:
    """The text of a key file that only its owner can read, without its last line break."""
    try:
        with path.open("rb") as file:
            # Asked of the open file, so that it cannot be exchanged between the check and the reading.
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise UsageError(
                    f"the key file `{path}` can be read by others (mode {stat.S_IMODE(mode):04o})",
                    f"chmod 600 {path}",
                )
            data = file.read(_LENGTH_MAX + 3)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else type(error).__name__
        raise UsageError(
            f"the key file `{path}` cannot be read: {reason}",
            "put the key into it as its only line, and chmod 600 it",
        ) from None
    return data.decode("latin-1").removesuffix("\n").removesuffix("\r")
