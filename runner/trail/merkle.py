"""The tree of RFC 6962 over the entries of a chain, kept as its right edge: a root for every size, in little room."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
_SIZE_BYTES = 8
_EMPTY = sha256(b"").digest()
# To go on from a hash that is begun takes two thirds of the time of beginning one.
_node = sha256(b"\1").copy


class Frontier:
    """The root of a growing list of leaves; it keeps one hash for each bit that is set in the size.

    These are the roots of the full subtrees, from the left, each a power of two and larger than the next. Roots are
    those of RFC 6962 (2.1), so that any tool for such logs can check them.
    """

    __slots__ = ("_nodes", "_size")

    def __init__(self) -> None:
        """The tree without leaves."""
        self._size = 0
        self._nodes: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves were added."""
        return self._size

    def append(self, leaf_hash: bytes) -> None:
        """Add a leaf by its hash (payload.leaf_hash), 32 bytes. One more hash an append, on average.

        Raises ValueError for anything else than 32 bytes.
        """
        if len(leaf_hash) != HASH_BYTES:
            raise ValueError(f"expected a hash of {HASH_BYTES} bytes, got {len(leaf_hash)}")
        node, nodes, full = leaf_hash, self._nodes, self._size
        while full & 1:
            node = sha256(b"\1" + nodes.pop() + node).digest()
            full >>= 1
        nodes.append(node)
        self._size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add many leaves, from the left: as `append` would, in half of the time. Raises ValueError as it does."""
        row = list(leaf_hashes)
        if not set(map(len, row)) <= {HASH_BYTES}:
            raise ValueError(f"expected hashes of {HASH_BYTES} bytes")
        full, edge = self._size, []
        self._size += len(row)
        while row:
            if full & 1:
                row.insert(0, self._nodes.pop())
            full >>= 1
            if len(row) & 1:
                edge.append(row.pop())
            above = []
            for left, right in zip(row[::2], row[1::2], strict=True):
                node = _node()
                node.update(left + right)
                above.append(node.digest())
            row = above
        self._nodes.extend(reversed(edge))

    def root(self) -> bytes:
        """The root over all leaves so far, 32 bytes; of no leaves it is the SHA-256 of nothing."""
        if not self._nodes:
            return _EMPTY
        *rest, root = self._nodes
        for node in reversed(rest):
            root = sha256(b"\1" + node + root).digest()
        return root

    def copy(self) -> "Frontier":
        """Another one of the same leaves; what is added to one is not added to the other."""
        return _made(self._size, self._nodes)

    def to_bytes(self) -> bytes:
        """All that is needed to go on: the size in 8 bytes (big-endian), and the hashes from the left."""
        return self._size.to_bytes(_SIZE_BYTES, "big") + b"".join(self._nodes)

    @classmethod
    def from_bytes(cls, kept: bytes) -> "Frontier":
        """What `to_bytes` wrote. Raises ValueError for a length that does not go with the size."""
        size = int.from_bytes(kept[:_SIZE_BYTES], "big")
        expected = _SIZE_BYTES + HASH_BYTES * size.bit_count()
        if len(kept) != expected:
            raise ValueError(f"the edge of a tree of {size} leaves takes {expected} bytes, got {len(kept)}")
        return _made(size, [kept[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, expected, HASH_BYTES)])


def _made(size: int, nodes: Sequence[bytes]) -> Frontier:
    made = Frontier()
    made._size, made._nodes = size, list(nodes)
    return made
