"""The usual entries of a chain, as many as come one after the other, each compared as a whole: one loop, for speed.

An entry is made anew as a text in which each character is a byte (Latin-1): a hash as it is, what is not ASCII by its
UTF-8. Nothing is noted of an entry before all of it is found to be what its columns and rows make it; from the first
that is not, `verify.py` goes on, which takes it apart and explains.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from runner.ledger.lives import Lives
from runner.ledger.retold import Known, framed_text, whole
from runner.trail.payload import HASH_BYTES, VERSION, framed

_BYTES = "latin-1"
_LENGTHS = [framed(b"").decode(_BYTES), *(framed(bytes(size))[:-size].decode(_BYTES) for size in range(1, 4096))]
_BEFORE = framed(bytes(HASH_BYTES))[:-HASH_BYTES].decode(_BYTES)
_NONE = framed(None)
_leaf = sha256(b"\0").copy


class Followed:
    """Entries that were followed: their hashes, the moment of the last, and the changes of open and settled money."""

    __slots__ = ("latest", "leaves", "open_micros", "settled_micros")

    def __init__(self, latest: str) -> None:
        """None yet. `latest`: the moment of the entry before."""
        self.latest = latest
        self.leaves: list[bytes] = []
        self.open_micros = self.settled_micros = 0


class Usual:
    """Follows the chains of a ledger as far as their entries are usual ones."""

    def __init__(self, ledger: str, lives: Lives) -> None:
        """`ledger`: its identity."""
        before = framed(VERSION) + framed_text(ledger)
        self._lives = lives
        self._chains = Known(lambda name: (before + framed_text(name)).decode(_BYTES))
        self._sides = Known(_sides)
        self._brings = True  # whether the last end had a delivery with it: the next is likely to be the same

    def follow(
        self, rows: Sequence[Any], first: int, number: int, latest: str, size: int, head: bytes, until: int | None
    ) -> Followed:
        """From `first` on, while they are usual entries of one chain and have the numbers from `number` on.

        `rows`: at, chain, attempt, kind, open, settled, who, note, seq, number, payload, hash. `latest`: the moment of
        the entry before. `size`, `head`: how long the chain is, and its last hash; at the length `until` it ends.
        """
        found = Followed(latest)
        lives, sides, lengths, leaves, name = self._lives, self._sides, _LENGTHS, found.leaves, rows[first][1]
        before, opens, begun_of, moved, spent = head.decode(_BYTES), lives.open, lives.begun, 0, 0
        try:
            chain, rows = self._chains[name], rows[first:]
            for at, of, attempt, kind, opened, settled, who, note, seq, own, payload, digest in rows:
                if of != name or own != number or seq != size or size == until or at < latest or not at.isascii():
                    break
                if type(attempt) is not int or lives.is_lost:
                    break
                ahead, behind = sides[kind, opened, settled, who, note]
                place, about = repr(seq), repr(attempt)
                start = (
                    f"{chain}{lengths[len(place)]}{place}{_BEFORE}{before}{lengths[len(at)]}{at}"
                    f"{ahead}{lengths[len(about)]}{about}{behind}"
                )
                brings = False
                if kind == "reserve":
                    life, held = begun_of(attempt)  # type: ignore[misc]  # None is a TypeError here
                    facts = f"{life.reserve[0]}{held}{life.reserve[1]}"
                    if opened != life.reserved_micros or settled:
                        break
                elif kind == "sent":
                    one, facts = opens[attempt], "{}"
                    if one.is_sent or one.life.sent_at != at or opened or settled:
                        break
                else:
                    one = opens[attempt]
                    if not one.ends(kind, opened, settled):
                        break
                    brings = self._brings and one.life.delivery is not None
                    facts = one.life.ended(brings=brings)
                if payload != f"{start}{lengths[len(facts)]}{facts}".encode(_BYTES):
                    if kind in ("reserve", "sent") or one.life.delivery is None:
                        break
                    brings = not brings
                    facts = one.life.ended(brings=brings)
                    if payload != f"{start}{lengths[len(facts)]}{facts}".encode(_BYTES):
                        break
                    self._brings = brings
                leaf = _leaf()
                leaf.update(payload)
                hashed = leaf.digest()
                if hashed != digest:
                    break
                if kind == "reserve":
                    lives.begin(attempt, life, held)
                elif kind == "sent":
                    one.is_sent = True
                else:
                    lives.end(attempt)
                    if brings:
                        lives.delivered.put(own)
                leaves.append(hashed)
                before, latest = hashed.decode(_BYTES), at
                number += 1
                size += 1
                moved += opened
                spent += settled
        except (TypeError, AttributeError, LookupError, ValueError):
            pass  # what no program writes, or what is told in another way
        found.latest, found.open_micros, found.settled_micros = latest, moved, spent
        return found


def _sides(told: tuple[str, int, int, str, str | None]) -> tuple[str, str]:
    """What stands before and after the number of an attempt, between the moment and the facts."""
    kind, opened, settled, who, note = told
    after = framed(b"%a" % whole(opened)), framed(b"%a" % whole(settled)), framed_text(who)
    noted = _NONE if note is None else framed_text(note)
    return framed_text(kind).decode(_BYTES), b"".join((*after, noted)).decode(_BYTES)
