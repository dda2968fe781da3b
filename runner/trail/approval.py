"""Signed approvals: an approver's Ed25519 signature over the digest of one plan, an amount and a moment of expiry.

Both the plan and the approval are JSON. What is hashed and signed is their canonical form: keys sorted, no white space,
ASCII, no number that is not whole; so a file may be spelled differently and is still the same. docs/approvals.md has an
example.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from runner.errors import LedgerError, UsageError
from runner.money import AmountError, declared, exact
from runner.trail.checkpoint import SigningKey, VerifierKey

SCHEMA = "omixa.approval/1"
PREFIX = "ed25519:"
FILE_BYTES_MAX = 64 * 1024

_PUBLIC_BYTES = 32
_FIELDS = ("approved_at", "approver", "currency", "expires_at", "key", "max", "plan", "schema", "signature")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Approval:
    """What one approver signed: so much for this plan, until then. `plan` is the digest; moments are UTC.

    `key` is the public key as text; whose it is, only omixa.toml says: `approver` is what the signer called himself.
    """

    plan: str
    amount_micros: int
    currency: str
    approved_at: datetime
    expires_at: datetime
    approver: str
    key: str
    signature: str = ""

    def body(self) -> bytes:
        """The bytes that are signed: everything but the signature, in the canonical form."""
        record = self.record()
        del record["signature"]
        return canonical(record)

    def record(self) -> dict[str, Any]:
        """The approval as it stands in a file."""
        return {
            "schema": SCHEMA,
            "plan": self.plan,
            "max": exact(self.amount_micros),
            "currency": self.currency,
            "approved_at": _text(self.approved_at),
            "expires_at": _text(self.expires_at),
            "approver": self.approver,
            "key": self.key,
            "signature": self.signature,
        }

    @property
    def is_signed(self) -> bool:
        """Whether the signature is over this very body, by the key that it names."""
        try:
            signature = base64.b64decode(self.signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        if base64.b64encode(signature).decode() != self.signature:
            return False  # another spelling of the same bytes
        public = public_bytes(self.key)
        return public is not None and VerifierKey("approver", public).is_good(signature, self.body())


# ---- the canonical form


def canonical(value: Any) -> bytes:
    """The bytes that a JSON value is hashed and signed as."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(value: Any) -> str:
    """The SHA-256 of the canonical form, in hex."""
    return sha256(canonical(value)).hexdigest()


def parse(text: str) -> Any:
    """The JSON value of a text. Raises ValueError for what has no one meaning: a name twice, a number with a point."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_float=_no_float, parse_constant=_no_float)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_float(text: str) -> Any:
    raise ValueError(f"`{text[:40]}` is not a whole number; amounts are text")


# ---- keys


def public_bytes(key: str) -> bytes | None:
    """The 32 bytes of `ed25519:…`; None for anything else, also for another spelling of the same bytes."""
    try:
        found = base64.b64decode(key.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == _PUBLIC_BYTES and public_text(found) == key else None


def public_text(public: bytes) -> str:
    """A public key as it stands in omixa.toml."""
    return PREFIX + base64.b64encode(public).decode()


def new_key(path: Path) -> str:
    """Make an approver's private key, mode 0600; returns the public key as text. Raises UsageError, DiskError."""
    if path.exists():
        raise UsageError(
            f"`{path}` is there already, and a key is never written over",
            f"its public key is `{load_key(path)[1]}`; name another file with --key to make a new one",
        )
    return public_text(SigningKey.load_or_create(path, "approver").verifier.public)


def load_key(path: Path) -> tuple[SigningKey, str]:
    """An approver's private key, and its public key as text. Raises UsageError, DiskError."""
    if not path.exists():
        raise UsageError(f"there is no key `{path}`", "make one with `omixa approve --new-key`, or name it with --key")
    try:
        found = SigningKey.load_or_create(path, "approver")
    except LedgerError as error:
        raise UsageError(error.message, error.hint) from None
    return found, public_text(found.verifier.public)


def sign(
    key: SigningKey, *, plan: str, amount_micros: int, currency: str, approver: str, at: datetime, until: datetime
) -> Approval:
    """The approval of a plan, by its digest, signed."""
    public = public_text(key.verifier.public)
    unsigned = Approval(plan, amount_micros, currency, _whole(at), _whole(until), approver, public)
    signature = base64.b64encode(key.sign_bytes(unsigned.body())).decode()
    return Approval(plan, amount_micros, currency, _whole(at), _whole(until), approver, public, signature)


# ---- the file


def read(text: str) -> Approval:
    """The approval in a file's text; whether it is good is another question. Raises ValueError, with what is wrong."""
    data = parse(text)
    if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
        raise ValueError(f"it is not an approval (`{SCHEMA}`)")
    if sorted(data) != sorted(_FIELDS) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError(f"an approval has exactly these texts: {', '.join(_FIELDS)}")
    if not _DIGEST.fullmatch(data["plan"]):
        raise ValueError("`plan` is not a digest: 64 hexadecimal digits")
    if not data["approver"].isprintable() or not 0 < len(data["approver"]) <= _NAME_LENGTH_MAX:
        raise ValueError("`approver` is not a name")
    try:
        amount = declared(data["max"])
    except AmountError as error:
        raise ValueError(f"`max`: {error}") from None
    if exact(amount) != data["max"] or amount == 0:
        raise ValueError("`max` is not an amount above zero with six decimals")
    return Approval(
        plan=data["plan"],
        amount_micros=amount,
        currency=data["currency"],
        approved_at=_moment(data["approved_at"]),
        expires_at=_moment(data["expires_at"]),
        approver=data["approver"],
        key=data["key"],
        signature=data["signature"],
    )


def _moment(told: str) -> datetime:
    if not _MOMENT.fullmatch(told):
        raise ValueError(f"`{told[:40]}` is not a moment such as `2026-11-22T16:47:00.000000Z`")
    return datetime.fromisoformat(told).astimezone(UTC)


def _text(at: datetime) -> str:
    # By `strftime`, the year 26 is written with two digits on some systems, and with four on others.
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _whole(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=0)
