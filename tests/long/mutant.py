"""What a seeded fault is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One promise, the change that breaks it, and the tests that must notice."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: str
