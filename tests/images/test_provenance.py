"""Stamps in pictures: no pixel is touched, they come out again to the byte, and they outlive other programs."""

import io
import random
import string
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from runner.images import Claim, Stamp, claim, digests, provenance, result_facts, stamped, write_atomically
from tests.images.samples import chunk, encoded, orientation, scene

STAMP = Stamp(
    ledger="0123456789abcdef" * 2,
    attempt="12",
    run="fedcba9876543210" * 2,
    recipe="posters",
    model="stability-upscale-creative",
    options="creativity=0.3 output_format=png seed=7",
    source="ab" * 32,
    at="2026-11-22T16:47:00.123456Z",
    commit="c0" * 20,
    slot="2026-11-22T16:00:00Z",
)
CLAIM = Claim(STAMP.ledger, 12, STAMP.run)
THEIRS = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/png"/></rdf:RDF></x:xmpmeta>'
    + b" " * 101
    + b'<?xpacket end="w"?>'
)


@cache
def pictures() -> dict[str, bytes]:
    """Pictures of every sort that an endpoint may answer with."""
    rgba = scene(63, 48).convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = {
        "png": encoded(scene(), "PNG"),
        "png-palette": encoded(scene().convert("P"), "PNG"),
        "png-alpha": encoded(rgba, "PNG"),
        "png-behind": encoded(scene(), "PNG") + b"behind the end",
        "jpeg": encoded(scene(), "JPEG"),
        "jpeg-exif": encoded(scene(), "JPEG", exif=orientation(6)),
        "jpeg-progressive": encoded(scene(), "JPEG", progressive=True),
        "webp": encoded(scene(), "WEBP"),
        "webp-odd": encoded(scene(61, 47), "WEBP", quality=31),
        "webp-lossless": encoded(scene(), "WEBP", lossless=True),
        "webp-lossless-alpha": encoded(rgba, "WEBP", lossless=True),
        "webp-alpha": encoded(rgba, "WEBP"),
        "webp-exif": encoded(scene(), "WEBP", exif=orientation(1)),
        "webp-profile": encoded(scene(), "WEBP", icc_profile=profile),
        "png-profile": encoded(scene(), "PNG", icc_profile=profile),
        "jpeg-profile": encoded(scene(), "JPEG", icc_profile=profile),
    }
    for kind in ("PNG", "JPEG", "WEBP"):
        for length in (len(THEIRS), len(THEIRS) - 1):
            packet = THEIRS.replace(b" " * 101, b" " * (101 + length - len(THEIRS)))
            found[f"{kind.lower()}-xmp-{length % 2}"] = with_xmp(encoded(scene(), kind), kind, packet)
    return found


def with_xmp(data: bytes, kind: str, packet: bytes) -> bytes:
    """The same picture with XMP of somebody else."""
    if kind == "PNG":
        return data[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet) + data[33:]
    return encoded(Image.open(io.BytesIO(data)), kind, xmp=packet, quality=90)


def stamp_of(data: bytes, tmp_path: Path, stamp: Stamp = STAMP) -> Path:
    """The picture, stamped."""
    source, target = tmp_path / "plain", tmp_path / "stamped"
    source.write_bytes(data)
    edits = stamped(source, stamp)
    assert not isinstance(edits, str), edits
    write_atomically(source, target, edits=edits)
    return target


@pytest.mark.parametrize("name", pictures())
def test_a_stamp_touches_no_pixel_and_comes_out_to_the_byte(name: str, tmp_path: Path) -> None:
    data = pictures()[name]
    made = stamp_of(data, tmp_path)
    assert made.read_bytes() != data
    own, without = digests(made)
    assert [without] == digests(tmp_path / "plain")
    assert own != without
    assert claim(made) == CLAIM
    with Image.open(made) as after, Image.open(io.BytesIO(data)) as before:
        assert (after.format, after.size, after.mode) == (before.format, before.size, before.mode)
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert after.getexif() == before.getexif()
        assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()
        packet = after.info["xmp"]
    tags = [element.tag for element in ElementTree.fromstring(packet.decode("utf-8-sig").rpartition("<?")[0]).iter()]
    assert tags.count("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}RDF") == 1
    facts, before_facts = result_facts(made), result_facts(tmp_path / "plain")
    assert not isinstance(facts, str)
    assert not isinstance(before_facts, str)
    assert 0 < facts.size_bytes - before_facts.size_bytes <= provenance.STAMP_BYTES_MAX


@pytest.mark.parametrize("name", [name for name in pictures() if "xmp" in name])
def test_the_metadata_of_others_stays(name: str, tmp_path: Path) -> None:
    made = stamp_of(pictures()[name], tmp_path)
    assert b'dc:format="image/png"' in made.read_bytes()
    assert made.read_bytes().count(b"<rdf:RDF") == 1


def test_a_stamped_picture_is_stamped_again_and_both_come_out(tmp_path: Path) -> None:
    for name, data in pictures().items():
        once = stamp_of(data, tmp_path).read_bytes()
        twice = stamp_of(once, tmp_path, Stamp(**{**_values(), "attempt": "13"}))
        assert claim(twice) == Claim(STAMP.ledger, 13, STAMP.run), name
        assert digests(twice)[1] == digests(tmp_path / "plain")[0]


def _values() -> dict[str, str]:
    return {name: getattr(STAMP, name) for name in STAMP.__slots__}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(pictures())),
    values=st.lists(st.text(max_size=400) | st.text(string.printable), min_size=5, max_size=5),
    slot=st.none() | st.text(max_size=40),
)
def test_whatever_a_stamp_holds_it_comes_out_again(
    name: str, values: list[str], slot: str | None, tmp_path: Path
) -> None:
    recipe, model, options, source, at = values
    stamp = Stamp(STAMP.ledger, "7", STAMP.run, recipe, model, options, source, at, None, slot)
    made = stamp_of(pictures()[name], tmp_path, stamp)
    assert digests(made)[1:] == digests(tmp_path / "plain")
    assert claim(made) == Claim(STAMP.ledger, 7, STAMP.run)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(pictures())), size=st.integers(1, 70), seed=st.integers(0, 2**32), how=st.data())
def test_pictures_of_any_size_with_any_xmp(name: str, size: int, seed: int, how: st.DataObject, tmp_path: Path) -> None:
    kind = name.partition("-")[0].upper()
    dice = random.Random(seed)
    noise = Image.frombytes("RGB", (size, 3), dice.randbytes(size * 9))
    data = encoded(noise, kind, lossless=how.draw(st.booleans()))
    if how.draw(st.booleans()):
        packet = THEIRS[: how.draw(st.integers(0, len(THEIRS)))] + b"</rdf:RDF>" + how.draw(st.binary(max_size=9))
        data = with_xmp(data, kind, packet)
    source = tmp_path / "plain"
    source.write_bytes(data)
    assume(not isinstance(stamped(source, STAMP), str))
    made = stamp_of(data, tmp_path)
    assert digests(made)[1:] == digests(source)


# ---- what cannot be stamped is said, and never half done


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            pictures()["png"][:33]
            + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(THEIRS))
            + pictures()["png"][33:],
            "its XMP is compressed",
        ),
        (with_xmp(pictures()["png"], "PNG", b"<x/>"), "its XMP does not end as others do"),
        (with_xmp(pictures()["png"], "PNG", b"x" * 300_000), "its XMP has more than 262144 bytes"),
        (with_xmp(pictures()["jpeg"], "JPEG", THEIRS + b" " * 64_900), "its XMP has no room for more"),
        (pictures()["jpeg"][:2] + b"\xff" + pictures()["jpeg"][2:], "its JPEG segments do not follow one another"),
        (with_xmp(pictures()["webp"], "WEBP", THEIRS.replace(b"dc:format", b"dc format")), "its XMP cannot be read"),
        (b"GIF89a" + bytes(30), "it is no picture"),
        (pictures()["png"][:60], "truncated: the PNG ends within its IDAT chunk"),
    ],
)
def test_what_cannot_be_stamped_says_why(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(data)
    assert stamped(file, STAMP) == reason
    assert len(digests(file)) == 1


def test_a_container_that_would_not_come_back_to_the_byte_is_left_alone(tmp_path: Path) -> None:
    data = bytearray(pictures()["webp-xmp-1"])
    assert data[-1] == 0
    data[-1] = 1  # padding that nobody reads
    file = tmp_path / "picture"
    file.write_bytes(data)
    assert stamped(file, STAMP) == "its own metadata is in the way"


# ---- after other programs


def rewritten(data: Path, kind: str, **options: object) -> Path:
    """As any program does that keeps XMP: decoded and encoded again."""
    target = data.with_suffix(f".{kind.lower()}")
    with Image.open(data) as picture:
        packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
        packet = packet.encode() if isinstance(packet, str) else packet
        if kind == "PNG":
            written = encoded(picture.convert("RGB"), "PNG")
            target.write_bytes(with_xmp(written, "PNG", packet))
        else:
            picture.convert("RGB").save(target, kind, xmp=packet, **options)
    return target


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "png-xmp-1", "jpeg-xmp-1", "webp-xmp-1"])
def test_a_stamp_outlives_being_written_anew_in_every_other_format(name: str, tmp_path: Path) -> None:
    made = stamp_of(pictures()[name], tmp_path)
    for kind in ("WEBP", "JPEG", "PNG", "WEBP"):
        made = rewritten(made, kind)
        assert claim(made) == CLAIM
        assert digests(made)[0] not in digests(tmp_path / "stamped")


OTHER_WAYS = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:ns1="urn:omixa:provenance:1#">'
    "<ns1:attempt>12</ns1:attempt><ns1:run>{run}</ns1:run><ns1:ledger>{ledger}</ns1:ledger>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def test_xmp_in_another_spelling_is_read(tmp_path: Path) -> None:
    packet = OTHER_WAYS.format(run=STAMP.run, ledger=STAMP.ledger).encode()
    file = tmp_path / "picture"
    hexadecimal = b"\nxmp\n%8d\n" % len(packet) + packet.hex().encode() + b"\n"
    png = pictures()["png"]
    for data in (
        with_xmp(png, "PNG", packet),
        png[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)) + png[33:],
        png[:33] + chunk(b"tEXt", b"Raw profile type xmp\0" + hexadecimal) + png[33:],
        png[:33] + chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(hexadecimal)) + png[33:],
        with_xmp(pictures()["jpeg"], "JPEG", packet),
        with_xmp(pictures()["webp"], "WEBP", packet),
    ):
        file.write_bytes(data)
        assert claim(file) == CLAIM
        assert len(digests(file)) == 1  # no stamp of ours: nothing is taken out


# ---- hostile packets


def hostile() -> Iterator[bytes]:
    """Packets that try to be believed, or to cost something."""
    bomb = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"<!ENTITY {this} '{f'&{last};' * 10}'>".encode()
    stamp = provenance._written(STAMP)
    yield bomb + b"]><x>" + stamp.replace(b"posters", b"&i;") + b"</x>"
    yield b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + stamp
    yield stamp.replace(b'"12"', b'"-12"')
    yield stamp.replace(b'"12"', "\N{ARABIC-INDIC DIGIT ONE}".join('""').encode())
    yield stamp.replace(b'"12"', b'"9999999999999999999"')
    yield stamp.replace(b'"12"', b'"\xff"')
    yield stamp.replace(STAMP.ledger.encode(), b"../../x")
    yield stamp.replace(b"urn:omixa", b"urn:other")
    yield b"<a>" * 80_000
    yield b"<a " + b" ".join(b'x%d=""' % n for n in range(30_000)) + b"/>"
    yield b" " * provenance.packets.PACKET_BYTES_MAX + stamp


@pytest.mark.parametrize("number", range(11))
def test_hostile_packets_are_no_claim(number: int, tmp_path: Path) -> None:
    packets = list(hostile())
    assert len(packets) == 11
    file = tmp_path / "picture"
    file.write_bytes(with_xmp(pictures()["png"], "PNG", packets[number]))
    assert claim(file) is None
    assert len(digests(file)) <= 2


def test_only_what_we_would_write_ourselves_is_taken_out(tmp_path: Path) -> None:
    made = stamp_of(pictures()["webp"], tmp_path)
    data = made.read_bytes()
    for old, new in ((b'"12"', b"'12'"), (b"omixa:attempt", b"omixa:attemqt"), (b'"posters"', b'"poste&#x72;"')):
        changed = data.replace(old, new.ljust(len(old))[: len(old)])
        assert changed != data
        made.write_bytes(changed)
        assert len(digests(made)) == 1
