"""A stamp in a picture that says which attempt made it: put beside the pixels, and taken out again to the byte.

What the ledger remembers of a picture is the digest of what came. So a stamp must come out again exactly: then every
comparison is with the file without its stamp, and `stamped` gives up where that would not be so. Nothing in here
knows a prompt, a price, a person or a key: pictures leave the house.
"""

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

from runner.images import packets
from runner.images.chunks import Unusable, media_type_of
from runner.images.edits import Edit, edited

NAMESPACE = "urn:omixa:provenance:1#"
_LEDGER = f"{NAMESPACE} ledger"  # as expat names it
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_VALUE_LENGTH_MAX = 300
_BLOCK_BYTES = 1024 * 1024
_STAMP_BYTES_MAX = 32 * 1024
# The most by which a stamp makes a file larger, with all that it needs around it.
STAMP_BYTES_MAX = _STAMP_BYTES_MAX + 1024

# A packet with nothing but the stamp. The stamp goes before `</rdf:RDF>`, as it does in a packet that was there.
_END_OF_RDF = b"</rdf:RDF>"
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + _RDF.encode() + b'">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="omixa"/>'
    + _END_OF_RDF
    + b'</x:xmpmeta><?xpacket end="r"?>'
)
_START = f'<rdf:Description xmlns:rdf="{_RDF}" xmlns:omixa="{NAMESPACE}" rdf:about=""'
_STAMP = re.compile(_START.encode() + rb'((?: omixa:[a-z_]{1,20}="[\x20\x21\x23-\x3b\x3d\x3f-\x7e]*")*)/>')
_NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PAIR = re.compile(r'omixa:([a-z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a picture says of itself: enough to find its attempt, and what a recipe's readers know anyway.

    `ledger`: its uid, because attempts of two ledgers have the same numbers. `options`: as sent, without prompts.
    `source`: the SHA-256 of the source picture. `at`: when the money was set aside, UTC. None: not known.
    """

    ledger: str
    attempt: str
    run: str
    recipe: str
    model: str
    options: str
    source: str
    at: str
    commit: str | None = None
    slot: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a picture claims to be, and anybody can write: an attempt of a ledger. `run` None: it does not say."""

    ledger: str
    attempt: int
    run: str | None


def stamped(file: Path, stamp: Stamp) -> list[Edit] | str:
    """The edits that stamp a picture, tried out on it: without them it is the same again to the byte. Or why not.

    Raises nothing.
    """
    from runner.images.formats import read_header  # with Pillow; only who writes a stamp pays for it

    try:
        with file.open("rb") as opened:
            edits = _stamping(opened, stamp)
            made = edited(opened, edits)
            back = _unstamping(made)
            if back is None or _digest(edited(made, back)) != _digest(opened):
                return "its own metadata is in the way"
            if _claim_in(made) != Claim(stamp.ledger, int(stamp.attempt), stamp.run):
                return "its XMP cannot be read"
            if read_header(made, made.seek(0, os.SEEK_END)) != read_header(opened, opened.seek(0, os.SEEK_END)):
                return "it would read as another picture"
            return edits
    except Unusable as fault:
        return fault.reason
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def digests(file: Path) -> list[str]:
    """The SHA-256 of a file in hex, and when it is stamped, also of the picture without the stamp. Raises OSError."""
    with file.open("rb") as opened:
        found = [_digest(opened)]
        with suppress(Unusable):
            back = _unstamping(opened)
            if back is not None:
                found.append(_digest(edited(opened, back)))
        return found


def claim(file: Path) -> Claim | None:
    """Which attempt a picture claims to be of, also after another program has written it anew; None: it does not.

    Raises OSError.
    """
    with file.open("rb") as opened, suppress(Unusable):
        return _claim_in(opened)
    return None


def _claim_in(file: BinaryIO) -> Claim | None:
    """The first claim in an open picture. Raises Unusable."""
    media_type, size_bytes = _kind(file)
    found = map(_claimed, packets.all_packets(file, media_type, size_bytes))
    return next((one for one in found if one is not None), None)


def _kind(file: BinaryIO) -> tuple[str, int]:
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    media_type = media_type_of(file.read(12))
    if media_type is None:
        raise Unusable("it is no picture")
    return media_type, size_bytes


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _stamping(file: BinaryIO, stamp: Stamp) -> list[Edit]:
    media_type, size_bytes = _kind(file)
    found = packets.held(file, media_type, size_bytes)
    before, end, after = (_EMPTY if found is None else found.packet).rpartition(_END_OF_RDF)
    if not end:
        raise Unusable("its XMP does not end as others do")
    packet = before + _written(stamp) + end + after
    if found is None:
        return packets.adding(file, media_type, size_bytes, packet)
    return packets.replacing(file, media_type, found, packet)


def _unstamping(file: BinaryIO) -> list[Edit] | None:
    """The edits that take the newest stamp out; None when there is none that we could have written."""
    media_type, size_bytes = _kind(file)
    found = packets.held(file, media_type, size_bytes)
    at = -1 if found is None else found.packet.rfind(_START.encode())
    if found is None or at < 0:
        return None
    match = _STAMP.match(found.packet, at, at + _STAMP_BYTES_MAX)
    if match is None or not _is_ours(match):
        return None
    rest = found.packet[:at] + found.packet[match.end() :]
    if rest == _EMPTY:
        return packets.removing(file, media_type, size_bytes, found)
    return packets.replacing(file, media_type, found, rest)


def _written(stamp: Stamp) -> bytes:
    pairs = [(field.name, getattr(stamp, field.name)) for field in fields(Stamp)]
    return (_START + "".join(f' omixa:{name}="{_escaped(v)}"' for name, v in pairs if v is not None) + "/>").encode()


def _escaped(value: str) -> str:
    """A value in ASCII. What XML has no way to say, and what is too long, is left out."""
    value = _NOT_IN_XML.sub("", value[:_VALUE_LENGTH_MAX])
    return "".join(c if " " <= c <= "~" and c not in '&<>"' else f"&#{ord(c)};" for c in value)


def _is_ours(match: re.Match[bytes]) -> bool:
    """Whether it is, to the byte, what we would write."""
    pairs = _PAIR.findall(match[1].decode("ascii"))
    try:
        values = {name: re.sub(r"&#(\d{1,7});", lambda found: chr(int(found[1])), value) for name, value in pairs}
        return _written(Stamp(**values)) == match[0]
    except (TypeError, ValueError, OverflowError):  # another version's, or somebody else's
        return False


def _claimed(packet: bytes) -> Claim | None:
    """Read as XML, because other programs write XMP in their own way. Document types, and so entities, are refused."""
    from xml.parsers import expat

    values: dict[str, str] = {}
    inside: list[str] = []

    def keep(name: str, value: str) -> None:
        if name.startswith(f"{NAMESPACE} "):
            key = name.removeprefix(f"{NAMESPACE} ")
            values[key] = (values.get(key, "") + value)[: 2 * _VALUE_LENGTH_MAX]

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        if _LEDGER in attributes:
            values.clear()  # another stamp: the newest stands last
        if name.startswith(f"{NAMESPACE} "):
            values.pop(name.removeprefix(f"{NAMESPACE} "), None)
        for key, value in attributes.items():
            keep(key, value)

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser = expat.ParserCreate("UTF-8", " ")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: inside.pop() and None
    parser.CharacterDataHandler = lambda text: keep(inside[-1], text) if inside else None
    parser.StartDoctypeDeclHandler = refuse
    with suppress(expat.ExpatError, ValueError):
        # What was read before a fault counts: packets are padded, and cut off, in many ways.
        parser.Parse(packet[: packets.PACKET_BYTES_MAX], True)
    ledger, attempt, run = (values.get(name, "").strip() for name in ("ledger", "attempt", "run"))
    if not re.fullmatch(r"[0-9a-f-]{16,64}", ledger) or not re.fullmatch(r"[1-9][0-9]{0,17}", attempt):
        return None
    return Claim(ledger, int(attempt), run if re.fullmatch(r"[0-9a-f-]{16,64}", run) else None)
