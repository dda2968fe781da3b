"""The workspace key: read once, shown never."""

import base64
import html
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from runner.errors import UsageError
from runner.providers.document import Buffer

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

    __slots__ = ("_escaped", "_octets", "_secret", "_spellings")
    __hash__ = None  # type: ignore[assignment]  # a key is no dictionary key: nothing may collect keys by value

    def __init__(self, secret: str) -> None:
        fault = _fault(secret)
        if fault:
            raise UsageError(f"the API key {fault}", _EXPECTED)
        self._secret = secret
        self._spellings = _spellings(secret)
        # Endpoints may echo a latin-1 key in either encoding.
        octets = {text.encode(encoding) for text in self._spellings for encoding in ("latin-1", "utf-8")}
        self._octets = tuple(sorted(octets, key=len, reverse=True))
        self._escaped: Escaped | None = None

    def reveal(self) -> str:
        """The secret itself. For the Authorization header and for finding it in what comes back."""
        return self._secret

    def spellings(self) -> tuple[str, ...]:
        """The ways in which the key may stand in a text, the longest first."""
        return self._spellings

    def octets(self) -> tuple[bytes, ...]:
        """The same in bytes, the longest first."""
        return self._octets

    def escaped(self) -> "Escaped":
        """What finds the key where any of its characters may be written as an escape."""
        if self._escaped is None:  # made when first needed: most answers have no escapes
            self._escaped = Escaped(self._secret, _in_base64(self._secret))
        return self._escaped

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
    return _KEY_LIKE.sub(HIDDEN, key.escaped().hidden_in_text(text) if _has_escapes(text) else text)


class Escaped:
    """Finds a text of latin-1 where any character may be written as `\\u0041`, `\\/`, `%41`, `&#65;` or `&amp;`.

    Also when only some are, and when the escapes were escaped again, as in JSON inside of JSON. Of the texts `more`,
    such as its base64, only what is no letter or digit may be. `length_max`: the most bytes that the text can take.
    """

    def __init__(self, text: str, more: Iterable[str] = ()) -> None:
        self._units = [_unit(character) for character in text]
        others = ["".join(c if c.isalnum() else _unit(c) for c in other) for other in sorted(more, key=len)]
        patterns = ["".join(self._units), *reversed(others)]
        self._text = [re.compile(pattern) for pattern in patterns]
        self._octets = [re.compile(pattern.encode("latin-1")) for pattern in patterns]
        self.length_max = len(text) * _UNIT_BYTES_MAX

    def hidden(self, block: bytes) -> bytes:
        """The bytes with each of the texts as `***`."""
        for pattern in self._octets:
            block = pattern.sub(HIDDEN.encode(), block)
        return block

    def hidden_in_text(self, text: str) -> str:
        """The same for text."""
        for pattern in self._text:
            text = pattern.sub(HIDDEN, text)
        return text

    def count(self, octets: Buffer) -> int:
        """How often the texts are found in the bytes."""
        return sum(1 for pattern in self._octets for _ in pattern.finditer(octets))

    def without_beginning(self, octets: bytes) -> bytes:
        """The bytes without the beginning of the first text at their end, if it is four characters or longer."""
        for start in range(max(0, len(octets) - self.length_max), len(octets) - 3):
            at, known = start, 0
            for unit in self._units:
                found = re.compile(unit.encode("latin-1")).match(octets, at)
                if found is None:
                    break
                at, known = found.end(), known + 1
            if known >= 4 and _CUT_ESCAPE.fullmatch(octets, at):
                return octets[:start]
        return octets


# The longest way to write a character: `\\\\u0041` with four backslashes, or `&#x000041;`.
_UNIT_BYTES_MAX = 11
_CUT_ESCAPE = re.compile(rb"(?:\\{1,4}(?:u[0-9A-Fa-f]{0,4})?|%(?:25)?[0-9A-Fa-f]?|&[#a-z0-9A-Fx]{0,9})?")


def _has_escapes(text: bytes | str) -> bool:
    """Whether a text can hold an escape at all. Asked first, because it takes no time and pictures hold none."""
    if isinstance(text, bytes):
        return b"\\u00" in text or b"%" in text or b"&" in text
    return "\\u00" in text or "%" in text or "&" in text


def _unit(character: str) -> str:
    """A pattern for one character of latin-1 in each way that it may be written; it begins with a branch of literals,
    so that the search for it is fast."""
    number = ord(character)
    two = f"(?i:{number:02x})"
    ways = [f"\\\\\\\\{{0,3}}u00{two}", f"%(?:25)?{two}", f"&#(?:0{{0,4}}{number}|[xX]0{{0,4}}{two});"]
    if character in '"\\/':
        ways.append("\\\\" + re.escape(character))
    if html.escape(character) != character:
        ways.append(html.escape(character).replace("&#x27;", "&apos;"))
    if number > 127:
        ways.append(re.escape(character.encode().decode("latin-1")))  # its bytes in UTF-8
    return f"(?:{'|'.join([*ways, re.escape(character)])})"


class Redaction:
    """Hides the key in a stream of bytes, also where it lies across two blocks. Other bytes pass unchanged."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._spellings = key.octets()
        self._overlap = _UNIT_BYTES_MAX * len(self._spellings[0]) - 1
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
        for size in range(min(len(rest), len(self._spellings[0]) - 1), 3, -1):
            if any(spelling.startswith(rest[-size:]) for spelling in self._spellings):
                return rest[:-size]
        return self._key.escaped().without_beginning(rest) if _has_escapes(rest) or b"\\" in rest else rest

    def _hidden(self, block: bytes) -> bytes:
        for spelling in self._spellings:
            block = block.replace(spelling, HIDDEN.encode())
        return self._key.escaped().hidden(block) if _has_escapes(block) else block


def _spellings(secret: str) -> tuple[str, ...]:
    """Raw, with JSON's short escapes, in hex, in base64 and URL-encoded."""
    octets = secret.encode("latin-1")
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
    found = {
        secret,
        escaped,
        octets.hex(),
        octets.hex().upper(),
        quote(secret, safe=""),
        quote(secret, safe="/"),
        *_in_base64(secret),
    }
    found |= {text.replace("/", "\\/") for text in found}
    return tuple(sorted(found, key=len, reverse=True))


def _in_base64(secret: str) -> set[str]:
    """In a longer base64 text it begins at one of three offsets; only characters that it alone decides count."""
    octets = secret.encode("latin-1")
    found = set()
    for offset in range(3):
        first = -(-offset * 8 // 6)
        last = (offset + len(octets)) * 8 // 6
        padded = bytes(offset) + octets
        found.add(base64.b64encode(padded).decode()[first:last])
        found.add(base64.urlsafe_b64encode(padded).decode()[first:last])
    return found


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
