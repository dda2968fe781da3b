"""Signed checkpoints of the ledger's chains, kept at a second place, and what they say of the ledger later."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import LedgerError
from runner.ledger.database import Database, moment
from runner.ledger.ends import broken_by, chain_ends, ledger_uid
from runner.ledger.verify import Seen
from runner.settings import Settings, ledger_path
from runner.trail import checkpoint
from runner.trail.checkpoint import Checkpoint, SigningKey, VerifierKey, origin

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_FILE = "audit.key"


class Witness:
    """Writes down how far each chain has come. One for a process; safe to call from any of its threads."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._told: dict[str, int] = {}

    def write(self, *, at: datetime) -> None:
        """Add a signed checkpoint for each chain that has grown since the last call.

        Raises DiskError, and LedgerError for a key that cannot be used; the ledger itself is as sound as before.
        """
        grown = [(chain, end) for chain, end in chain_ends(self._database).items() if end.size != self._told.get(chain)]
        if not grown:
            return
        uid = ledger_uid(self._database)
        key = signing_key(self._settings, uid)
        for chain, end in grown:
            note = key.sign(Checkpoint(origin(uid, chain), end.size, end.root(), moment(at)))
            checkpoint.append(checkpoints_path(self._settings), note)
            self._told[chain] = end.size


def checkpoints_path(settings: Settings) -> Path:
    """Where checkpoints are kept: `[audit] checkpoints`, relative to the project."""
    return settings.root / settings.audit.checkpoints


def signing_key(settings: Settings, uid: str) -> SigningKey:
    """The ledger's own key, beside it; made at its first use. Raises LedgerError, DiskError."""
    return SigningKey.load_or_create(ledger_path(settings).parent / KEY_FILE, f"omixa/{uid}")


def own_key(settings: Settings, uid: str) -> VerifierKey | None:
    """The verifier key of the ledger's own key; None when there is no key yet. Raises LedgerError, DiskError."""
    if not (ledger_path(settings).parent / KEY_FILE).exists():
        return None
    return signing_key(settings, uid).verifier


def known_keys(settings: Settings, database: Database, named: Sequence[str]) -> list[VerifierKey]:
    """The verifier keys that are named or declared, or else our own. Raises UsageError, LedgerError, DiskError."""
    known = [VerifierKey.parse(text) for text in (*settings.audit.keys, *named)]
    own = None if known or database.path is None else own_key(settings, ledger_uid(database))
    return known if own is None else [own]


@dataclass(slots=True)
class Testimony:
    """What files of checkpoints say of this ledger. `faults` in words; `others`: checkpoints of other ledgers."""

    seen: list[Seen] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    others: int = 0


def testimony(files: "Iterable[Path]", keys: Sequence[VerifierKey], uid: str) -> Testimony:
    """Every checkpoint in the files whose signature is good; what is torn or signed by nobody known is a fault.

    Raises DiskError for a file that cannot be read.
    """
    found = Testimony()
    for file in files:
        for number, part in enumerate(checkpoint.read(file), start=1):
            where = f"`{file}`, part {number}"
            try:
                note = checkpoint.verify(part, keys)
            except LedgerError as error:
                if _is_of_another(part, uid):
                    found.others += 1
                else:
                    found.faults.append(f"{where}: {error.message}")
                continue
            ours = origin(uid, "")
            if note.origin.startswith(ours):
                found.seen.append(Seen(note.origin.removeprefix(ours), note.size, note.root, f"{where}, of {note.at}"))
            else:
                found.others += 1
    if found.others and not found.seen:
        found.faults.append(
            f"all {found.others} checkpoints are of another ledger: this one was put in its place, or they are not its"
        )
    return found


def broken_chains(database: Database, settings: Settings) -> list[str]:
    """The chains that are not what the newest checkpoint of our own says: rewritten, cut off or put back.

    Meant to be asked often; `omixa audit verify` compares everything. Raises LedgerError, DiskError.
    """
    path = checkpoints_path(settings)
    if not path.exists():
        return []
    uid = ledger_uid(database)
    key = own_key(settings, uid)
    seen = testimony([path], [] if key is None else [key], uid).seen
    return broken_by(database, [(one.chain, one.size, one.root) for one in seen])


def _is_of_another(part: str, uid: str) -> bool:
    """Whether a part is a whole note that names another ledger, so that its key need not be known here."""
    first = part.partition("\n")[0]
    return checkpoint.is_whole(part) and first.startswith("omixa/") and not first.startswith(origin(uid, ""))
