"""Both ends of the disk for pictures: find, check and prepare sources; keep, check and write results."""

from runner.images.disk import Results, check_writable, explained, free_bytes, sweep, write_atomically
from runner.images.folders import find
from runner.images.results import ResultFacts, looks_wrong, result_facts
from runner.images.sources import Picture, Prepared, Unsuitable, inspect, prepare

__all__ = [
    "Picture",
    "Prepared",
    "ResultFacts",
    "Results",
    "Unsuitable",
    "check_writable",
    "explained",
    "find",
    "free_bytes",
    "inspect",
    "looks_wrong",
    "prepare",
    "result_facts",
    "sweep",
    "write_atomically",
]
