"""Verified entries per second, beside plain SHA-256 over the same bytes in the same run, and the peak memory.

Verified means what every check of a chain does with each entry: read its payload strictly, hash it as a leaf, compare
the link to the one before, and add it to the tree. Payloads are made in blocks, outside of that time. All times are
those of the processor, so that other programs on the machine do not count.

    python benchmarks/trail.py 1000000
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from hashlib import sha256

from runner.trail.merkle import Frontier
from runner.trail.payload import FIRST, Entry, decode, encode, leaf_hash

BLOCK = 10_000
FACTS = {
    "code": None,
    "git_commit": "16f9982ad5f3c1f6a6a5d3f0a9f1b4e1a2b3c4d5",
    "git_dirty": False,
    "item_key": "a5" * 32,
    "model": "stability-upscale-creative",
    "output_path": "out/scans/harbour-dusk.png",
    "prompt": "7e" * 32,
    "recipe": "restore-scans",
    "source_path": "pictures/scans/harbour-dusk.jpg",
}


def entry(seq: int, before: bytes) -> Entry:
    """An entry as a reservation writes it."""
    at = f"2026-11-22T16:47:00.{seq % 1_000_000:06}Z"
    who = "anna@press-2"
    return Entry("5b2f0c1e9d3a4b77", "studio", seq, before, at, "reserve", seq, 700_000, 0, who, None, FACTS)


def blocks(count: int) -> Iterator[tuple[list[bytes], int]]:
    """The payloads of a chain, and the nanoseconds that spelling and hashing a block of them took."""
    before, seq = FIRST, 0
    while seq < count:
        payloads = []
        began = time.process_time_ns()
        for _ in range(min(BLOCK, count - seq)):
            payload = encode(entry(seq, before))
            before = leaf_hash(payload)
            payloads.append(payload)
            seq += 1
        yield payloads, time.process_time_ns() - began


def peak_mb() -> float:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("entries", nargs="?", type=int, default=1_000_000)
    count = parser.parse_args().entries
    written = hashed = verified = size_bytes = 0
    frontier, before, first_mb = Frontier(), FIRST, 0.0
    for payloads, took in blocks(count):
        written += took
        size_bytes += sum(map(len, payloads))
        began = time.process_time_ns()
        for payload in payloads:
            sha256(payload).digest()
        hashed += time.process_time_ns() - began
        began = time.process_time_ns()
        for payload in payloads:
            if decode(payload).before != before:
                sys.exit("a link is wrong")
            before = leaf_hash(payload)
            frontier.append(before)
        verified += time.process_time_ns() - began
        first_mb = first_mb or peak_mb()
    if frontier.size != count:
        sys.exit("the tree has another size")
    print(f"{count:,} entries of {size_bytes / count:.0f} bytes; root {frontier.root().hex()[:16]}…")
    print(f"{'':34}{'entries/s':>11}{'µs each':>9}{'of SHA-256':>12}")
    rows = (
        ("plain SHA-256", hashed),
        ("verified (decode, hash, link, tree)", verified),
        ("written (entry, encode, hash)", written),
    )
    for name, took in rows:
        print(f"{name:35}{count * 1e9 / took:>10,.0f}{took / count / 1000:>9.2f}{took / hashed:>11.1f}×")
    print(f"peak memory after the first {min(BLOCK, count):,} entries {first_mb:.1f} MB, after all {peak_mb():.1f} MB")


if __name__ == "__main__":
    main()
