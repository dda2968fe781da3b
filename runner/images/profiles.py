"""Colour profiles: whether one can be handed to the colour engine, which believes every count that it reads in one."""

import math
import struct

_BYTES_MAX = 4 * 1024 * 1024
_TAGS_MAX = 100

# Types of tags whose size is fixed, or which only hold what they bring along.
_PLAIN = frozenset(
    {
        b"XYZ ",
        b"chrm",
        b"cicp",
        b"clro",
        b"data",
        b"dtim",
        b"meas",
        b"para",
        b"sf32",
        b"sig ",
        b"text",
        b"view",
        b"uf32",
    }
)


def is_sound(profile: bytes) -> bool:
    """Whether everything that an ICC profile declares is there: https://www.color.org/specification/ICC.1-2022-05.pdf.

    A profile of half a kilobyte that declares 33 million names makes the engine take 400 MB for them. False also for
    a profile with tags of a type that is not looked at here: it stays in the picture, but nothing is converted by it.
    """
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        if len(profile) > _BYTES_MAX or count > _TAGS_MAX:
            return False
        return all(_tag_is_sound(profile, *struct.unpack_from(">II", profile, 136 + 12 * n)) for n in range(count))
    except (struct.error, IndexError):
        return False


def _tag_is_sound(profile: bytes, offset: int, size_bytes: int) -> bool:
    """One tag: it lies in the profile, and what it declares fits into it. Raises struct.error when it is too short."""
    if offset + size_bytes > len(profile):
        return False
    tag = profile[offset : offset + size_bytes]
    kind = tag[:4]
    if kind in (b"mft1", b"mft2"):
        return _table_bytes(tag) <= size_bytes
    if kind in (b"mAB ", b"mBA "):
        return _curves_and_table_bytes(tag) <= size_bytes
    (count,) = struct.unpack_from(">I", tag, 8) if kind in (b"mluc", b"desc", b"curv") else (0,)
    # Each name takes 12 bytes, each character of a plain description one, each point of a curve two.
    needed = {b"mluc": 16 + 12 * count, b"desc": 12 + count, b"curv": 12 + 2 * count}
    return kind in _PLAIN or needed.get(kind, size_bytes + 1) <= size_bytes


def _table_bytes(tag: bytes) -> int:
    """What the curves and the grid of an older look-up table take."""
    inputs, outputs, points = tag[8], tag[9], tag[10]
    entries_in: int
    entries_out: int
    entries_in, entries_out = struct.unpack_from(">HH", tag, 48) if tag[:4] == b"mft2" else (256, 256)
    width, head = (2, 52) if tag[:4] == b"mft2" else (1, 48)
    grid: int = points**inputs * outputs
    return head + width * (inputs * entries_in + grid + outputs * entries_out)


def _curves_and_table_bytes(tag: bytes) -> int:
    """What the newer look-up table takes up to the end of its grid; 0 without one. Its curves are declared in bytes."""
    inputs, outputs = tag[8], tag[9]
    starts = struct.unpack_from(">5I", tag, 12)
    if any(start and struct.unpack_from(">I", tag, start + 8)[0] * 2 > len(tag) for start in _curves(tag, starts)):
        return len(tag) + 1
    at: int = starts[3]
    if not at:
        return 0
    return at + 20 + math.prod(tag[at : at + min(inputs, 16)]) * outputs * tag[at + 16]


def _curves(tag: bytes, starts: tuple[int, ...]) -> list[int]:
    """Where the first curve of each set begins, if it is a list of points; the engine caps the others by itself."""
    return [start for start in (starts[0], starts[2], starts[4]) if start and tag[start : start + 4] == b"curv"]
