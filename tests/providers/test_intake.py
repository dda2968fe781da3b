"""A picture is cut out of its answer while it comes, and whatever cannot be put together again is kept as it came."""

import base64
import gc
import itertools
import json
import os
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.booking import Means, drop, keep_raw
from runner.providers.answer import Answer, Reading, read
from runner.providers.intake import Base64, Intake
from runner.providers.key import Key
from runner.providers.spool import SpoolWriter, opened
from tests.providers.conftest import SECRET

PICTURE = bytes(range(256)) * 700
CODED = base64.b64encode(PICTURE).decode()
ANSWER = Answer(200, {"content-type": "application/json"}, datetime(2026, 11, 22, 12, tzinfo=UTC), b"")
BILL = '"usage": {"billed_amount": "0.039000"}}'
BODY = f'{{"created": 1, "data": [{{"b64_json": "{CODED}", "url": null}}], {BILL}'.encode()


def taken(body: bytes, spool: Path, key: Key, *, block_bytes: int = 50_000, answer: Answer = ANSWER) -> Intake:
    """What becomes of a body that comes in blocks; it is on the disk afterwards."""
    writer = SpoolWriter(spool)
    writer.begin(answer.status, answer.headers, answer.received_at)
    intake = Intake(writer, key, answer)
    try:
        for at in range(0, len(body), block_bytes):
            intake.feed(body[at : at + block_bytes])
        assert intake.finish()
    finally:
        writer.close()
    return intake


def as_received(spool: Path) -> bytes:
    """The body of a spooled answer, put together again."""
    with opened(spool) as answer:
        if answer.cut is None:
            return answer.body[: len(answer.body)]
        at = answer.cut.at
        return bytes(answer.body[:at]) + b"".join(answer.cut.text()) + bytes(answer.body[at:])


def whole(body: bytes, key: Key, file: Path, answer: Answer = ANSWER) -> Reading:
    """How the same answer is read when it is in memory as a whole."""

    def keep(blocks: Iterator[bytes]) -> Path:
        file.write_bytes(b"".join(blocks))
        return file

    return read(replace(answer, body=body), key=key, keep=keep)


@pytest.mark.parametrize("body", [BODY, b'{"error": {"message": "no"}}'], ids=["cut", "as it came"])
def test_what_an_answer_needed_is_gone_with_it(body: bytes, spool: Path, key: Key) -> None:
    gc.collect()
    gc.disable()  # the collector comes by after some hundred pictures, each with up to 64 KiB of its answer's head
    try:
        left = weakref.ref(taken(body, spool, key))
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("block_bytes", [1000, 4096, 50_000, 65_537, len(BODY)])
def test_a_usual_answer_is_kept_without_its_picture_and_can_be_put_together_to_the_byte(
    spool: Path, key: Key, block_bytes: int
) -> None:
    intake = taken(BODY, spool, key, block_bytes=block_bytes)
    assert intake.kept is not None
    assert sorted(file.name for file in spool.parent.iterdir()) == ["attempt-1", "attempt-1.picture"]
    assert spool.stat().st_size < 500
    assert (spool.parent / "attempt-1.picture").read_bytes() == PICTURE
    assert as_received(spool) == BODY
    reading = read(intake.kept, key=key, keep=lambda _: spool)
    expected = whole(BODY, key, spool.parent / "attempt-1.picture")
    assert replace(reading, digest=None) == expected
    assert reading.digest is not None


@pytest.mark.parametrize(
    "body",
    [
        f'{{"data": [{{"b64_json": "{CODED[:76]}\\n{CODED[76:]}"}}], {BILL}',
        f'{{"data": [{{"b64_json": "data:image/png;base64,{CODED}"}}], {BILL}',
        f'{{"data": [{{"b64_json": "{CODED.replace("/", chr(92) + "/")}"}}], {BILL}',
        f'{{"data": [{{"b64_json": "{CODED[:-1]}"}}], {BILL}',
        f'{{"data": [{{"b64_json": "{CODED[:-4]}/x=="}}], {BILL}',  # two bits to spare, and not zero
        f'{{"data": [{{"b64_json": "{CODED[:-4]}AA=={CODED}"}}], {BILL}',
        f'{{"data": [{{"b64_json": "{CODED}", "b64_json": "{CODED}"}}], {BILL}',
        f'{{"data": [{{"url": "https://a.test/1"}}, {{"b64_json": "{CODED}"}}], {BILL}',
        f'{{"data": {{"b64_json": "{CODED}"}}, {BILL}',
        f'{{"data": [{{"b64_json": "{CODED}"}}], "more": "{"x" * 70_000}", {BILL}',
        f'{{"more": "{"x" * 70_000}", "data": [{{"b64_json": "{CODED}"}}], {BILL}',
        f'{{"data": [{{"b64_json": "{CODED}"}}], {BILL} and more',
        f'{{"data": [{{"b64_json": "{CODED}',
        f'{{"data": [{{"b64_json": "{CODED}"',
        f'{{"data": [{{"b64_json": ""}}], {BILL}',
        f'{{"data": [{{"b64_json": null}}], {BILL}',
        f'{{"data": [{{"b64_json"{" " * 40}: "{CODED}"}}], {BILL}',
        f'{{"note": "\\"b64_json\\": \\"{CODED}", "data": [], {BILL}',
        "<html>b64_json</html>",
        "",
    ],
    ids=lambda body: body[:24],
)
@pytest.mark.parametrize("block_bytes", [999, 65_536])
def test_what_is_not_usual_is_kept_as_it_came(spool: Path, key: Key, body: str, block_bytes: int) -> None:
    intake = taken(body.encode(), spool, key, block_bytes=block_bytes)
    assert intake.kept is None
    assert [file.name for file in spool.parent.iterdir()] == ["attempt-1"]
    assert as_received(spool) == body.encode()


def test_an_encoded_answer_is_not_looked_into(spool: Path, key: Key) -> None:
    intake = taken(BODY, spool, key, answer=replace(ANSWER, headers={"content-encoding": "gzip"}))
    assert intake.kept is None
    assert as_received(spool) == BODY


@pytest.mark.parametrize("place", [0, 1, 2, 99_998, len(PICTURE) - 60])
@pytest.mark.parametrize("block_bytes", [24, 777, 65_536])
def test_a_picture_with_the_key_in_it_is_never_on_the_disk(spool: Path, key: Key, place: int, block_bytes: int) -> None:
    with_key = PICTURE[:place] + SECRET.encode() + PICTURE[place:]
    body = BODY.replace(CODED.encode(), base64.b64encode(with_key))
    intake = taken(body, spool, key, block_bytes=block_bytes)
    assert intake.kept is None
    assert [file.name for file in spool.parent.iterdir()] == ["attempt-1"]
    assert SECRET.encode() not in spool.read_bytes()
    assert b"***" in spool.read_bytes()
    with opened(spool) as answer:
        reading = read(answer, key=key, keep=lambda blocks: Path(os.devnull) if list(blocks) else spool)
    assert reading.fault == "`data[0].b64_json` is not base64"


def test_a_key_beside_the_picture_is_hidden_on_either_side(spool: Path, key: Key) -> None:
    body = BODY.replace(b'"created": 1', f'"echo": "{SECRET}"'.encode()).replace(
        b'"usage"', f'"also": "{SECRET}", "usage"'.encode()
    )
    assert taken(body, spool, key).kept is not None
    assert as_received(spool) == body.replace(SECRET.encode(), b"***")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=9000),
    st.lists(st.integers(0, 12_000), max_size=6),
    st.sampled_from([BILL, '"usage": null}', "}", '"x": "' + "y" * 2000 + '"}', '"error": {"message": "no"}}']),
    st.sampled_from([200, 400, 429, 500]),
)
def test_an_answer_means_the_same_however_it_came(
    tmp_path: Path, key: Key, content: bytes, cuts: list[int], end: str, status: int
) -> None:
    spool = tmp_path / "attempt-1"
    coded = base64.b64encode(content).decode()
    body = f'{{"data": [{{"b64_json": "{coded}", "url": null}}], {end}'.encode()
    answer = replace(ANSWER, status=status)
    writer = SpoolWriter(spool)
    writer.begin(answer.status, answer.headers, answer.received_at)
    intake = Intake(writer, key, answer)
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    for start, stop in itertools.pairwise(edges):
        intake.feed(body[start:stop])
    assert intake.finish()
    writer.close()
    assert as_received(spool) == body
    picture = tmp_path / "attempt-1.picture"
    expected = whole(body, key, picture, answer)
    if intake.kept is not None:
        assert replace(read(intake.kept, key=key, keep=lambda _: spool), digest=None) == expected
    with opened(spool) as again:
        assert replace(read(again, key=key, keep=lambda b: keep_at(picture, b)), digest=None) == expected


def keep_at(file: Path, blocks: Iterator[bytes]) -> Path:
    file.write_bytes(b"".join(blocks))
    return file


@given(st.binary(max_size=300), st.lists(st.integers(0, 420), max_size=5))
def test_base64_is_decoded_in_any_pieces(content: bytes, cuts: list[int]) -> None:
    text = base64.b64encode(content)
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    decoder = Base64()
    decoded = b"".join(decoder.feed(text[a:b]) for a, b in itertools.pairwise(edges))
    assert (decoded, decoder.carry) == (content, b"")


def test_a_picture_of_any_size_takes_the_same_little_memory(tmp_path: Path, key: Key) -> None:
    block = base64.b64encode(os.urandom(3 * 64 * 1024))

    def peak(blocks: int) -> int:
        spool = tmp_path / str(blocks)
        writer = SpoolWriter(spool)
        writer.begin(200, ANSWER.headers, ANSWER.received_at)
        intake = Intake(writer, key, ANSWER)
        tracemalloc.start()
        intake.feed(b'{"data": [{"b64_json": "')
        for _ in range(blocks):
            intake.feed(block)
        intake.feed(b'"}], ' + BILL.encode())
        assert intake.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.close()
        assert intake.kept is not None
        return most

    assert peak(8) < 2 * 1024 * 1024
    assert peak(200) < 2 * 1024 * 1024


def test_a_picture_that_the_disk_has_lost_leaves_the_bill(spool: Path, key: Key) -> None:
    taken(BODY, spool, key)
    picture = spool.with_name("attempt-1.picture")
    for spoil, words in (
        (lambda: picture.write_bytes(PICTURE[:-1]), "is not the picture that came"),
        (picture.unlink, "cannot be read: no such file or directory"),
    ):
        spoil()
        with opened(spool) as answer:
            reading = read(answer, key=key, keep=lambda _: spool)
        assert (reading.amount_micros, reading.picture, reading.offered) == (39_000, None, True)
        assert words in str(reading.fault)


def test_an_answer_that_an_older_program_has_spooled_is_read(spool: Path, key: Key) -> None:
    line = {"status": 200, "headers": {}, "received_at": "2026-11-22T12:00:00+00:00"}
    spool.write_bytes(json.dumps(line).encode() + b"\n" + BODY)
    with opened(spool) as answer:
        reading = read(answer, key=key, keep=lambda blocks: keep_at(spool.with_name("p"), blocks))
    assert (reading.amount_micros, reading.offered) == (39_000, True)
    assert spool.with_name("p").read_bytes() == PICTURE


@pytest.mark.parametrize("body", [BODY, BODY.replace(b"==", b"\\n==").replace(b'", "url"', b'\\n", "url"')])
def test_a_raw_answer_that_a_person_may_look_at_is_kept_with_all_that_came(
    tmp_path: Path, spool: Path, key: Key, body: bytes
) -> None:
    taken(body, spool, key)
    nothing: Any = None  # what keeps answers asks only where
    means = Means(nothing, nothing, nothing, tmp_path, tmp_path, lambda: ANSWER.received_at)
    kept = keep_raw(spool, means)
    assert kept == tmp_path / "raw" / "attempt-1"
    assert as_received(kept) == body
    assert list(spool.parent.iterdir()) == []


def test_nothing_of_an_answer_stays_when_it_is_dropped_however_far_it_came(spool: Path, key: Key) -> None:
    taken(BODY, spool, key)
    for name in (".part", ".picture.part"):
        spool.with_name(spool.name + name).write_bytes(b"half")
    other = spool.with_name("attempt-10")
    other.write_bytes(b"of another attempt")
    drop(spool)
    assert list(spool.parent.iterdir()) == [other]
