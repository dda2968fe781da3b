"""Before and after: what each picture cost, with thumbnails of what still is what the ledger says it was. Streamed."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.errors import DiskError
from runner.images import STAMP_BYTES_MAX, Changed, Results, Thumbnail, Unusable, digests, thumbnail
from runner.ledger.exhibits import Bought
from runner.money import billed, exact
from runner.reports.html.markup import Markup, data_uri, element

SIDE_PIXELS = 320


class Shelf:
    """Where pictures are looked for: at their places in the project, and results also where copies are kept."""

    def __init__(self, root: Path, kept: Results) -> None:
        self._root, self._kept = root, kept

    def source(self, one: Bought) -> Thumbnail | str:
        """The picture that was sent, or why it is not shown."""
        if not one.source_path:
            return "drawn from words: there is no source"
        return self._at(one.source_path, one.source_digest, one.source_bytes, "the source")

    def result(self, one: Bought) -> tuple[Thumbnail | str, str | None]:
        """The picture that was bought, or why it is not shown; and a remark on where it stands."""
        found = self._at(one.output_path, one.result_digest, one.result_bytes, "the picture")
        if isinstance(found, Thumbnail):
            return found, None
        try:
            copy = self._kept.path(one.result_digest)
        except DiskError:
            return f"{found}; the copy cannot be read", None
        kept = "there is no copy" if copy is None else _shown(copy, one.result_digest, one.result_bytes, "the copy")
        return (kept, f"{found}; this is the copy that was kept") if isinstance(kept, Thumbnail) else (found, None)

    def _at(self, place: str, digest: str, size_bytes: int | None, what: str) -> Thumbnail | str:
        """What stands at a place that the ledger names; nothing outside of the project is looked at."""
        try:
            path = self._root / place
            if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self._root)):
                return f"{what} lies outside the project"
        except (OSError, ValueError):
            return f"{what} cannot be read"
        return _shown(path, digest, size_bytes, what)


def _shown(path: Path, digest: str, size_bytes: int | None, what: str) -> Thumbnail | str:
    try:
        try:
            return thumbnail(path, digest, size_bytes=size_bytes, side=SIDE_PIXELS)
        except Changed:
            stamped = _stamped(path, digest, size_bytes)
            return thumbnail(path, stamped, size_bytes=None, side=SIDE_PIXELS)
    except Changed:
        return f"{what} has changed since"
    except Unusable as fault:
        return f"{what} is gone" if not path.exists() else f"{what} cannot be shown: {fault.reason}"
    except (OSError, ValueError):
        return f"{what} cannot be read"


def _stamped(path: Path, digest: str, size_bytes: int | None) -> str:
    """The digest of a file that is the picture with our stamp in it. Raises Changed when it is not, and OSError."""
    if size_bytes is not None and not size_bytes < path.stat().st_size <= size_bytes + STAMP_BYTES_MAX:
        raise Changed
    own, *without = digests(path)
    if digest not in without:
        raise Changed
    return own


def exhibits(bought: Sequence[Bought], shelf: Shelf) -> Iterator[Markup]:
    """One figure a picture, made when it is asked for: never more than one is held in memory."""
    for one in bought:
        before, (after, remark) = shelf.source(one), shelf.result(one)
        both = isinstance(before, Thumbnail) and isinstance(after, Thumbnail)
        pair = element(
            "div",
            _side(before, "before", one.source_path),
            _side(after, "after", one.output_path),
            class_="pair slides" if both else "pair",
            data_of=one.output_path if both else None,
        )
        yield element("figure", pair, element("figcaption", *_facts(one, remark)), class_="exhibit")


def _side(found: Thumbnail | str, side: str, place: str) -> Markup:
    if isinstance(found, str):
        return element("div", element("span", side, class_="side"), element("p", found), class_=f"{side} missing")
    picture = element(
        "img",
        src=data_uri("image/webp", found.content),
        width=found.width,
        height=found.height,
        alt=f"{side}: {place}",
        loading="lazy",
        decoding="async",
    )
    return element("div", picture, element("span", side, class_="side", aria_hidden="true"), class_=side)


def _facts(one: Bought, remark: str | None) -> Iterator[Markup]:
    price = exact(one.billed_micros)
    is_same = billed(one.billed_text) == one.billed_micros and len((one.billed_text or "").partition(".")[2]) <= 6
    received = "" if one.billed_text is None or is_same else f" · received as {one.billed_text}"
    yield element("strong", f"{price} {one.currency}", class_="price")
    asked = " · ".join(part for part in (one.recipe, one.prompt, one.preset) if part)
    yield element("span", asked)
    size = f" · {one.width} × {one.height}" if one.width is not None and one.height is not None else ""
    yield element("span", f"attempt {one.attempt_id} · {one.day}{size}{received}", class_="note")
    way = f"{one.source_path} → {one.output_path}" if one.source_path else one.output_path
    yield element("span", way, class_="note")
    for said in (remark, one.remark):
        if said:
            yield element("span", said, class_="remark")
