"""Searches files for a key in whatever way it may have been written: a canary that must not be heard anywhere.

python -m tests.canary FOLDER …          searches folders for the keys of the tests
"""

import base64
import mmap
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# Every key that a test gives to the program or to an endpoint. They begin in few ways, so that one look finds them all.
BEGINNINGS = ("omx_live_", "studios-own-secret")
# Not those that tests write into recipes, prompts and ledgers, to see that they are told or masked.
KEYS = (
    "omx_live_test-key-0123456789",  # tests/run
    "omx_live_wrong-key-987654321",
    "omx_live_4hT-9q_ZsecretZ",  # tests/providers
    "omx_live_private",  # tests/sandbox
    "omx_live_right",
    "omx_live_wrong",
    "omx_live_other",
    "omx_live_fuzz-Key_4hT9q",  # tests/fuzz
    "omx_live_proof-key-0123456789",  # tests/proof
    "studios-own-secret-0123456789",  # tests/test_doctor.py
    "studios-own-secret-of-alerts",  # tests/alerts
    "omx_live_benchmark",  # benchmarks
)


@dataclass(frozen=True, slots=True)
class Heard:
    """A key that was found: in which file, and how it was written. The key itself is not shown."""

    path: Path
    how: str
    position: int

    def __str__(self) -> str:
        return f"{self.path}: the key, {self.how}, at byte {self.position}"


def spellings(key: str) -> dict[str, bytes]:
    """How a key may be written, by name. Also right for the beginning of a key, but for `reversed`: then its end."""
    octets = key.encode()
    found = {
        "raw": octets,
        "reversed": octets[::-1],
        "in hex": octets.hex().encode(),
        "in upper-case hex": octets.hex().upper().encode(),
        "URL-encoded": quote(key, safe="").encode(),
        "URL-encoded, every character": "".join(f"%{octet:02X}" for octet in octets).encode(),
        "URL-encoded, in lower case": "".join(f"%{octet:02x}" for octet in octets).encode(),
        "with JSON escapes": "".join(f"\\u{octet:04x}" for octet in octets).encode(),
        "with JSON escapes in upper case": "".join(f"\\u{octet:04X}" for octet in octets).encode(),
        "as HTML": "".join(f"&#{octet};" for octet in octets).encode(),
        "in UTF-16": key.encode("utf-16-le"),
    }
    for offset in range(3):
        # Only the characters that the key alone decides, wherever it begins in a longer text.
        first, last = -(-offset * 8 // 6), (offset + len(octets)) * 8 // 6
        padded = bytes(offset) + octets
        found[f"in base64 from its byte {offset}"] = base64.b64encode(padded)[first:last]
        found[f"in URL-safe base64 from its byte {offset}"] = base64.urlsafe_b64encode(padded)[first:last]
    return found


def search(folders: Sequence[Path], keys: Sequence[str] = KEYS) -> list[Heard]:
    """Every file and name under the folders that holds one of the keys, in any spelling. Links are not followed."""
    # Most files hold nothing: they are looked through for what all keys begin with.
    first = {text for beginning in BEGINNINGS for text in spellings(beginning).values()}
    assert all(key.startswith(BEGINNINGS) for key in keys)
    wanted = {text: how for key in keys for how, text in reversed(spellings(key).items())}
    heard: list[Heard] = []
    for path in _files(folders):
        name = os.fsencode(path)
        heard += [Heard(path, f"{how}, in its name", 0) for text, how in wanted.items() if text in name]
        for offset, block in _extents(path):
            with block:
                if all(block.find(text) < 0 for text in first):
                    continue
                for text, how in wanted.items():
                    position = block.find(text)
                    if position >= 0:
                        heard.append(Heard(path, how, offset + position))
    return heard


def heard_in(text: str, keys: Sequence[str] = KEYS) -> list[str]:
    """How any of the keys is written in a text, such as what a test printed."""
    octets = text.encode("utf-8", "surrogateescape")
    return [how for key in keys for how, found in spellings(key).items() if found in octets]


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    """Everything under the folders but folders."""
    for folder in folders:
        for above, _, names in os.walk(folder):
            for name in names:
                yield Path(above, name)


def _extents(path: Path) -> Iterator[tuple[int, mmap.mmap]]:
    """The parts of a regular file that are on the disk: a test makes one of gigabytes that is a hole."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return  # a link, a socket, or gone
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            return
        at = 0
        while at < found.st_size:
            try:
                start = os.lseek(handle, at, os.SEEK_DATA)
            except OSError:
                return  # a hole up to the end
            at = os.lseek(handle, start, os.SEEK_HOLE)
            aligned = start - start % mmap.ALLOCATIONGRANULARITY
            yield aligned, mmap.mmap(handle, at - aligned, access=mmap.ACCESS_READ, offset=aligned)
    finally:
        os.close(handle)


def main() -> int:
    """Search, and say what was found."""
    heard = search([Path(word) for word in sys.argv[1:]])
    for one in heard:
        print(one)
    print(f"{len(heard)} found")
    return 1 if heard else 0


if __name__ == "__main__":
    sys.exit(main())
