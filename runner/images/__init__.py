"""Both ends of the disk for pictures: find, check and prepare sources; keep, check and write results.

What looks into pictures is imported when it is first asked for: Pillow is a tenth of the start of a command, and most
commands look into none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runner.images.chunks import Unusable
from runner.images.disk import Results, check_writable, explained, free_bytes, sweep, write_atomically
from runner.images.edits import Edit
from runner.images.folders import find, found
from runner.images.listing import Listing
from runner.images.picture import CHANGED, Picture, Unsuitable
from runner.images.provenance import STAMP_BYTES_MAX, Claim, Stamp, claim, digests, stamped

if TYPE_CHECKING:
    from runner.images.results import ResultFacts, looks_wrong, result_facts
    from runner.images.sources import Prepared, inspect, prepare
    from runner.images.thumbnails import Changed, Thumbnail, thumbnail

__all__ = [
    "CHANGED",
    "STAMP_BYTES_MAX",
    "Changed",
    "Claim",
    "Edit",
    "Listing",
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
    "found",
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

_WITH_PILLOW = {
    **dict.fromkeys(("ResultFacts", "looks_wrong", "result_facts"), "results"),
    **dict.fromkeys(("Prepared", "inspect", "prepare"), "sources"),
    **dict.fromkeys(("Changed", "Thumbnail", "thumbnail"), "thumbnails"),
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_PILLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_WITH_PILLOW[name]}"), name)
    globals()[name] = found
    return found
