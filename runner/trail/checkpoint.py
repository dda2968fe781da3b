"""Signed checkpoints: how long a chain was at a moment and the root over it, so that it cannot be rewritten unseen.

A checkpoint is a C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) with one extension line, `at MOMENT`, in a
C2SP signed note (https://c2sp.org/signed-note) with an Ed25519 key. They are kept in a file that only grows, best at a
place that whoever can write the ledger cannot. docs/audit-trail.md has an example.
"""

import base64
import binascii
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from runner.errors import DiskError, LedgerError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT_BYTES = 32
# A note of ours has under 400 bytes. C2SP asks for room for 16 signatures of others, up to 5 kB each.
NOTE_BYTES_MAX = 128 * 1024
KEY_FILE_BYTES_MAX = 16 * 1024

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_PUBLIC_BYTES = 32
_SIGNATURE_BYTES = 64
_SIZE_MAX = 2**63 - 1
_DASH = "\N{EM DASH} "
_NOT_FOR_OTHERS = 0o077

_CONTROL = re.compile(r"[\x00-\x1f]")
_SIGNATURE_LINE = re.compile(rf"{_DASH}([^\s+]+) ([A-Za-z0-9+/]+={{0,2}})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_KEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")

_TAMPERED = "somebody or something changed it after it was signed: compare it with a copy from elsewhere"
_OUR_KEY_HINT = "use the verifier key that was noted when the ledger was made"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A chain at a moment: `size` entries, and the root over them (merkle.Frontier), 32 bytes.

    `origin` says whose chain it is, as `origin()` writes it; `at` is a moment in UTC, by the clock of who signed.
    """

    origin: str
    size: int
    root: bytes
    at: str


def origin(ledger: str, chain: str) -> str:
    """The first line of a checkpoint: `omixa/LEDGER/CHAIN`."""
    return f"omixa/{ledger}/{chain}"


# ---- keys


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What a signature is checked with. Not secret: whoever checks must have it from elsewhere than the checkpoints."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> "VerifierKey":
        """The key of a text `NAME+ID+KEY`, as C2SP and Go write it. Raises UsageError."""
        hint = f"a verifier key is one line: a name, `+`, 8 hex digits, `+`, and the key in base64; {_OUR_KEY_HINT}"
        match = _KEY.fullmatch(vkey)
        kind = None if match is None else _base64(match[3])
        if match is None or kind is None or not _is_name(match[1]) or len(kind) != 1 + _PUBLIC_BYTES:
            raise UsageError("this is not a verifier key", hint)
        if kind[:1] != _ED25519:
            raise UsageError(f"the verifier key of `{match[1]}` is not an Ed25519 key", hint)
        key = cls(match[1], kind[1:])
        if key.key_id.hex() != match[2]:
            raise UsageError(
                f"the verifier key of `{key.name}` says `{match[2]}`, its key has `{key.key_id.hex()}`: mistyped", hint
            )
        return key

    @property
    def key_id(self) -> bytes:
        """What a signature line names the key by, beside its name: 4 bytes of a hash over name and key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The text that `parse` reads: `NAME+ID+KEY`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def is_good(self, signature: bytes, text: bytes) -> bool:
        """Whether the signature is this key's over the text."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):  # ValueError: the 32 bytes are no key at all
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The ledger's own key. It is a file (PEM, PKCS #8, not encrypted), so whoever reads that file can sign."""

    verifier: VerifierKey
    _private: "Ed25519PrivateKey" = field(repr=False, compare=False)

    @classmethod
    def load_or_create(cls, path: Path, name: str) -> "SigningKey":
        """The key in the file, or a new one, on disk when this returns: mode 0600, in a folder made with 0700.

        When two processes create it at once, both get the same. `name` is what its signatures are signed with: no
        spaces and no plus, otherwise ValueError. Raises LedgerError for a file that is no such key or that others may
        read, and DiskError.
        """
        if not _is_name(name):
            raise ValueError(f"`{name}` cannot name a key: it is empty, or has a space, a plus or a control character")
        with _explained(path, "read or made"):
            private = _load(path) if path.exists() else _create(path)
        return cls(VerifierKey(name, private.public_key().public_bytes_raw()), private)

    @property
    def vkey(self) -> str:
        """The verifier key as text; it belongs where the ledger's keeper cannot change it."""
        return self.verifier.vkey

    def sign_bytes(self, body: bytes) -> bytes:
        """The 64 bytes of this key's signature over anything else than a checkpoint."""
        return self._private.sign(body)

    def sign(self, checkpoint: Checkpoint) -> str:
        """The checkpoint as a signed note, all of it. Raises ValueError for values that a checkpoint cannot have."""
        body = _body(checkpoint)
        signature = self.verifier.key_id + self._private.sign(body.encode())
        return f"{body}\n{_DASH}{self.verifier.name} {base64.b64encode(signature).decode()}\n"


def _is_name(name: str) -> bool:
    """Whether C2SP lets a key have that name: no space, no plus, and text that can be written down."""
    return bool(re.fullmatch(r"[^\s+]+", name)) and name.isprintable()


def _load(path: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    hint = "put the right key file back from a backup; without it older checkpoints can still be checked"
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_IMODE(found.st_mode) & _NOT_FOR_OTHERS:
            raise LedgerError(
                f"the signing key `{path}` may be read by others: its mode is {stat.S_IMODE(found.st_mode):04o}",
                f"chmod 600 {path}; if others may have read it, they can sign as this ledger: make a new key",
            )
        pem = file.read(KEY_FILE_BYTES_MAX)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LedgerError(f"`{path}` is no private key in PEM without a password", hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerError(f"the signing key `{path}` is not an Ed25519 key", hint)
    return key


def _create(path: Path) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # One creator at a time; the lock ends with the process, and the part of a dead one is written over.
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return _load(path)
        key = Ed25519PrivateKey.generate()
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        _sync(folder)
        return key
    finally:
        os.close(folder)


# ---- notes


def verify(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint of a signed note, after at least one of the keys was found to have signed it.

    Signatures of other keys are passed over, as C2SP asks; one that names a known key and is not its own condemns the
    note. Raises LedgerError, with what is wrong with it.
    """
    text, signatures = _split(note)
    names = sorted({name for name, _ in signatures})
    found = False
    for name, signature in signatures:
        for key in keys:
            if (key.name, key.key_id) == (name, signature[:_KEY_ID_BYTES]):
                if not key.is_good(signature[_KEY_ID_BYTES:], text.encode()):
                    raise LedgerError(f"the signature of `{name}` is not over this checkpoint", _TAMPERED)
                found = True
    if not found:
        wanted = " or ".join(f"`{key.name}+{key.key_id.hex()}`" for key in keys) or "nobody"
        raise LedgerError(
            f"the checkpoint is signed by {_listed(names)}, with no key that is known here; expected {wanted}",
            _OUR_KEY_HINT,
        )
    return _parse(text)


def is_whole(part: str) -> bool:
    """Whether a part of a checkpoint file has the form of a note. One that has not is torn, or was meddled with."""
    try:
        text, signatures = _split(part)
        _parse(text)
    except LedgerError:
        return False
    # One that was cut after a multiple of three bytes still is base64.
    return any(len(signature) == _KEY_ID_BYTES + _SIGNATURE_BYTES for _, signature in signatures)


def _body(checkpoint: Checkpoint) -> str:
    """The text that is signed. Raises ValueError."""
    for name, line in (("origin", checkpoint.origin), ("at", checkpoint.at)):
        if not line or not line.isprintable():
            raise ValueError(f"{name}: `{line!r}` is not one line of text")
    if len(checkpoint.root) != ROOT_BYTES:
        raise ValueError(f"root: expected {ROOT_BYTES} bytes, got {len(checkpoint.root)}")
    if not 0 <= checkpoint.size <= _SIZE_MAX:
        raise ValueError(f"size: {checkpoint.size} is not the size of a chain")
    root = base64.b64encode(checkpoint.root).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\nat {checkpoint.at}\n"


def _parse(text: str) -> Checkpoint:
    lines = text.split("\n")
    root = _base64(lines[2]) if len(lines) == 5 else None
    if root is None or not _SIZE.fullmatch(lines[1]) or not lines[3].startswith("at "):
        raise LedgerError(
            "the note is not a checkpoint: expected an origin, a size, a root and `at MOMENT`, a line each", _TAMPERED
        )
    checkpoint = Checkpoint(lines[0], int(lines[1]), root, lines[3].removeprefix("at "))
    try:
        if _body(checkpoint) == text:
            return checkpoint
        fault = "it has another spelling"
    except ValueError as error:
        fault = str(error)
    raise LedgerError(f"the note is not a checkpoint: {fault}", _TAMPERED)


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The signed text, and the name and bytes of each signature. Raises LedgerError for what is not a signed note."""
    try:
        size_bytes = len(note.encode())
    except UnicodeEncodeError:
        raise _malformed("it is not UTF-8") from None
    if size_bytes > NOTE_BYTES_MAX:
        raise _malformed(f"it has {size_bytes} bytes, more than {NOTE_BYTES_MAX}")
    if _CONTROL.search(note.replace("\n", "")):
        raise _malformed("it has a control character")
    text, blank, tail = note.rpartition("\n\n")
    if not text or not blank or not tail.endswith("\n"):
        raise _malformed("it ends before its signature does")
    signatures = []
    for line in tail[:-1].split("\n"):
        match = _SIGNATURE_LINE.fullmatch(line)
        signature = None if match is None else _base64(match[2])
        if match is None or signature is None or len(signature) <= _KEY_ID_BYTES:
            raise _malformed("a line after the text is not a signature")
        signatures.append((match[1], signature))
    return text + "\n", signatures


def _malformed(fault: str) -> LedgerError:
    return LedgerError(
        f"this is not a whole signed note: {fault}",
        "a crash while it was written leaves a torn one, which counts for nothing; anything else has changed it",
    )


def _base64(text: str) -> bytes | None:
    """The bytes of base64 in its only spelling; None for anything else."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == text else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# ---- the file


def append(path: Path, note: str) -> None:
    """Add a note to a file of checkpoints, on disk when this returns; nothing that stands there is changed.

    Missing folders are made. Each note is followed by an empty line. What a crash has left torn at the end is closed
    off first, so that it hides nothing that comes after. Raises ValueError for what is not a whole note, and DiskError.
    """
    if not is_whole(note):
        raise ValueError("expected a whole note, as SigningKey.sign gives it")
    with _explained(path), _locked_to_append(path) as file:
        size = os.fstat(file).st_size
        end = os.pread(file, 2, max(0, size - 2))
        closing = b"" if size == 0 or end == b"\n\n" else b"\n" if end.endswith(b"\n") else b"\n\n"
        rest = memoryview(closing + note.encode() + b"\n")
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
        if size == 0:
            _sync_folder(path.parent)


def read(path: Path) -> Iterator[str]:
    """Every part of a file of checkpoints, from the first: whole notes, and whatever else stands there, as it stands.

    Nothing is left out: a part that is torn or strange comes out too, and neither `is_whole` nor `verify` takes it. It
    reads what was there when it began, a part at a time, so a file of any size takes little room. Bytes that are not
    UTF-8 come as lone surrogates. Raises DiskError.
    """
    with _explained(path, "read"), path.open("rb") as file:
        held = b""
        for part in _paragraphs(file, _whole_size(file)):
            signed = [line.startswith(_DASH.encode()) for line in part.rstrip(b"\n").split(b"\n")]
            if held and all(signed):
                yield from _texts(held + b"\n" + part)
                held = b""
            elif any(signed):
                yield from _texts(held, part)
                held = b""
            else:
                # A text whose signatures may follow; what was held before has none, or they would be here.
                yield from _texts(held)
                held = part
        yield from _texts(held)


def _paragraphs(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines between empty lines, in pieces where they are longer than any note."""
    part = b""
    while size > 0 and (line := file.readline(min(size, NOTE_BYTES_MAX))):
        size -= len(line)
        # After a piece of a long line this is its end, and not an empty line.
        if line == b"\n" and (not part or part.endswith(b"\n")):
            if part:
                yield part
            part = b""
            continue
        if part and len(part) + len(line) > NOTE_BYTES_MAX:
            yield part
            part = b""
        part += line
    if part:
        yield part


def _texts(*parts: bytes) -> Iterator[str]:
    for part in parts:
        if part:
            yield part.decode("utf-8", "surrogateescape")


def _whole_size(file: BinaryIO) -> int:
    """The size between two writers, so that a note that is just being written is not taken for a torn one."""
    with suppress(OSError):  # some file systems have no locks; then the last part may look torn
        fcntl.flock(file, fcntl.LOCK_SH)
    try:
        return os.fstat(file.fileno()).st_size
    finally:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def _locked_to_append(path: Path) -> Iterator[int]:
    """The file, opened for appending and ours alone. The lock ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # git may have put another file in its place between the opening and the lock.
            if _is_at(path, file):
                yield file
                return
        finally:
            os.close(file)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(folder)
    finally:
        os.close(folder)


def _sync(folder: int) -> None:
    """Put the folder's names on disk: without it a power cut can undo that a file was made."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise


@contextmanager
def _explained(path: Path, verb: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to the folder and its rights"
        raise DiskError(f"`{path}` cannot be {verb}: {error.strerror or error}", hint) from error
