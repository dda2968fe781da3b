"""A set of numbers that is only compared, in no more room than one number."""

import os

# 2^127 - 1 is prime.
_PRIME = 2**127 - 1
# Drawn anew by every process, so that nobody can choose numbers by it.
_AT = int.from_bytes(os.urandom(16), "big") % _PRIME


class Standing:
    """The numbers that stand when each was put in, and what it replaces taken out.

    Two are equal when the same numbers stand in both; when not, they are equal by chance in one case of 10^30. Each
    number is a factor of a product: of two different polynomials of some degree, few places show the same value.
    """

    __slots__ = ("_in", "_out")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        """Nothing stands."""
        self._in = self._out = 1

    def put(self, number: int, replaces: int = 0) -> None:
        """One more, from 1 on, and one less when it replaces one (0: none)."""
        self._in = self._in * (_AT - number) % _PRIME
        if replaces:
            self._out = self._out * (_AT - replaces) % _PRIME

    def __eq__(self, other: object) -> bool:
        """Whether the same numbers stand in both."""
        return isinstance(other, Standing) and self._in * other._out % _PRIME == other._in * self._out % _PRIME
