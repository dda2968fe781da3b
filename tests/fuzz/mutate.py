"""Makes hostile input out of good examples: one number says which input, so that each can be made again."""

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache

from tests.fuzz.targets import TARGETS, Target

LENGTH_MAX = 64 * 1024
_NUMBERS = (0, 1, 2, 4, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 128, 254, 255)


def made(target: Target, seed: int, number: int) -> bytes:
    """Input `number` of a seed: a good example with one to a few changes, some of them taken from another example."""
    chance = random.Random(seed << 40 | number)
    seeds = _seeds(target.name)
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        chance.choice(_CHANGES)(data, chance, seeds, target.words)
    if target.name == "picture" and chance.random() < 0.5:
        return _checked_again(bytes(data[:LENGTH_MAX]))
    return bytes(data[:LENGTH_MAX])


@cache
def _seeds(name: str) -> list[bytes]:
    return TARGETS[name].seeds()


def _flip(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_NUMBERS)


def _wide(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """Two or four bytes at once, as lengths and sizes are."""
    width, order = chance.choice((2, 4)), chance.choice(("little", "big"))
    if len(data) > width:
        at = chance.randrange(len(data) - width)
        value = chance.choice((0, 1, 63, 64, 65, 1024, 30_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)) % 256**width
        data[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]


def _word(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at : at + chance.choice((0, 0, 1, 4))] = chance.choice(words)


def _remove(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        at = chance.randrange(len(data))
        del data[at : at + chance.choice((1, 1, 2, 4, 8, 16, 64, 256))]


def _cut(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        del data[chance.randrange(len(data)) :]


def _double(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """A stretch of it again, now and then hundreds of times."""
    if data:
        at = chance.randrange(len(data))
        stretch = data[at : at + chance.choice((1, 4, 8, 16, 64, 256))]
        times = chance.choice((1, 1, 1, 2, 8, 200))
        data[at:at] = (stretch * times)[:LENGTH_MAX]


def _splice(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    other = chance.choice(seeds)
    if data and other:
        start = chance.randrange(len(other))
        at = chance.randrange(len(data))
        data[at : at + chance.choice((0, 8, 64))] = other[start : start + chance.choice((4, 16, 64, 512))]


def _swap(data: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """Two lines or tokens change places."""
    pieces = re.split(rb"([\n,{}\[\]])", bytes(data))
    if len(pieces) > 3:
        one, two = chance.randrange(len(pieces)), chance.randrange(len(pieces))
        pieces[one], pieces[two] = pieces[two], pieces[one]
        data[:] = b"".join(pieces)


_CHANGES: tuple[Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], None], ...] = (
    *(_flip, _set, _wide, _word, _word, _remove, _cut, _double, _splice, _swap),
)


def _checked_again(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks set right, as far as they go: otherwise all that is tried is the first."""
    if data[1:9] != b"\x89PNG\r\n\x1a\n":
        return data
    parts, at = [data[:9]], 9
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        parts += [data[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + length
    return b"".join([*parts, data[at:]])
