"""Both ends of the disk for pictures: find, check and prepare sources; keep, check and write results."""

from runner.images.disk import Results, check_writable, explained, free_bytes, sweep, write_atomically
from runner.images.edits import Edit
from runner.images.folders import find
from runner.images.formats import Unusable
from runner.images.provenance import STAMP_BYTES_MAX, Claim, Stamp, claim, digests, stamped
from runner.images.results import ResultFacts, looks_wrong, result_facts
from runner.images.sources import Picture, Prepared, Unsuitable, inspect, prepare
from runner.images.thumbnails import Changed, Thumbnail, thumbnail

__all__ = [
    "STAMP_BYTES_MAX",
    "Changed",
    "Claim",
    "Edit",
    "Picture",
    "Prepared",
    "ResultFacts",
    "Results",
    "Stamp",
    "Thumbnail",
    "Unsuitable",
    "Unusable",
    "check_writable",
    "claim",
    "digests",
    "explained",
    "find",
    "free_bytes",
    "inspect",
    "looks_wrong",
    "prepare",
    "result_facts",
    "stamped",
    "sweep",
    "thumbnail",
    "write_atomically",
]
