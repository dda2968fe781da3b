"""What a plan knows of a source picture, or why it is not sent. Without Pillow, which only looking at one needs."""

from dataclasses import dataclass
from pathlib import Path

# Why a picture is not sent whose bytes are not those that were planned.
CHANGED = "changed since it was planned; plan again"


@dataclass(frozen=True, slots=True)
class Picture:
    """A suitable source picture. `digest`: sha256 of the file's bytes, in hex.

    `width` and `height` in pixels as sent, after orientation. `needs_preparing`: it is not sent byte for byte, but
    set right and sent as PNG (orientation, CMYK, colour profile, alpha where the result is JPEG).
    """

    path: Path
    digest: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    has_alpha: bool
    sixteen_bit: bool
    needs_preparing: bool


@dataclass(frozen=True, slots=True)
class Unsuitable:
    """A file that is not sent; `reason` is a phrase, such as `63 px side, at least 64 px needed (contract U2)`."""

    path: Path
    reason: str
