"""What an answer means: every row of contract B, every rung of contract R, and amounts nobody should trust."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.providers.answer import (
    LADDER,
    NO_ANSWER,
    SUCCESS,
    TABLE,
    Answer,
    Reading,
    Seen,
    base64_blocks,
    decide,
    decide_silence,
    kept_headers,
    read,
    retry_after_s,
    row_for,
)
from runner.providers.key import Key
from runner.providers.provider import Billed, Declined, Evidence, Outcome, Unknown

SECRET = "omx_live_4hT-9q_ZsecretZ"
KEY = Key(SECRET)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PICTURE = b"\x89PNG picture bytes" * 3
PICTURE_DATA = [{"b64_json": base64.b64encode(PICTURE).decode(), "url": None}]
BILL = {"billed_amount": "0.039000"}


class Kept:
    """Takes pictures in memory."""

    content: bytes | None = None

    def __call__(self, blocks: Iterator[bytes]) -> Path:
        self.content = b"".join(blocks)
        return Path("/spool/1.picture")


def reading(status: int, body: object, headers: dict[str, str] | None = None, keep: Kept | None = None) -> Reading:
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(Answer(status, headers or {}, NOW, octets), key=KEY, keep=keep or Kept())


def judge(status: int, body: object, headers: dict[str, str] | None = None) -> Outcome:
    return decide(reading(status, body, headers))


# --- contract B -----------------------------------------------------------------------------------------------

U6 = {"id": "f0a1", "name": "bad_request", "errors": ["prompt: must be English"]}
NO_WAIT = (None, False)
ROWS: list[tuple[str, int, object, dict[str, str], str, tuple[Any, ...]]] = [
    # 200: picture and amount, one of them, none of them
    ("picture and amount", 200, {"data": PICTURE_DATA, "usage": BILL}, {}, "billed", (39_000, True)),
    ("created too", 201, {"created": 1780660800, "data": PICTURE_DATA, "usage": BILL}, {}, "billed", (39_000, True)),
    ("amount, no data", 200, {"usage": BILL}, {}, "billed", (39_000, False)),
    ("amount, empty data", 200, {"data": [], "usage": BILL}, {}, "billed", (39_000, False)),
    ("amount, null", 200, {"data": [{"b64_json": None, "url": None}], "usage": BILL}, {}, "billed", (39_000, False)),
    ("amount, b64 broken", 200, {"data": [{"b64_json": "QQ=A"}], "usage": BILL}, {}, "billed", (39_000, False)),
    ("amount and error", 200, {"error": "x", "usage": BILL}, {}, "billed", (39_000, False)),
    ("amount, error, picture", 200, {"error": "x", "data": PICTURE_DATA, "usage": BILL}, {}, "billed", (39_000, True)),
    ("no usage", 200, {"data": PICTURE_DATA}, {}, "billed", (None, True)),
    ("usage null", 200, {"data": PICTURE_DATA, "usage": None}, {}, "billed", (None, True)),
    ("usage empty", 200, {"data": PICTURE_DATA, "usage": {}}, {}, "billed", (None, True)),
    ("usage a list", 200, {"data": PICTURE_DATA, "usage": [BILL]}, {}, "billed", (None, True)),
    ("error false", 200, {"error": False, "data": PICTURE_DATA}, {}, "billed", (None, True)),
    ("error null", 200, {"error": None, "data": PICTURE_DATA}, {}, "billed", (None, True)),
    ("error 0", 200, {"error": 0, "data": PICTURE_DATA}, {}, "billed", (None, True)),
    ("error empty", 200, {"error": {}, "data": PICTURE_DATA}, {}, "billed", (None, True)),
    ("error inside", 200, {"error": {"message": "no"}}, {}, "unknown", ("error-in-success",)),
    ("error inside beside a picture", 200, {"error": True, "data": PICTURE_DATA}, {}, "unknown", ("error-in-success",)),
    ("quota error inside", 200, {"error": "insufficient_quota"}, {}, "unknown", ("error-in-success",)),
    ("nothing", 200, {}, {}, "unknown", ("answer-unreadable",)),
    ("no body", 200, b"", {}, "unknown", ("answer-unreadable",)),
    ("no content", 204, b"", {}, "unknown", ("answer-unreadable",)),
    ("a page", 200, b"<html>welcome</html>", {}, "unknown", ("answer-unreadable",)),
    ("cut JSON", 200, b'{"usage": {"billed_amount": "0.039000"}, "da', {}, "unknown", ("answer-unreadable",)),
    ("broken b64, no amount", 200, {"data": [{"b64_json": "%"}]}, {}, "unknown", ("answer-unreadable",)),
    ("compressed", 200, b"\x1f\x8b\x08", {"content-encoding": "gzip"}, "unknown", ("answer-unreadable",)),
    ("compressed refusal", 400, b"\x1f\x8b\x08", {"content-encoding": "br"}, "unknown", ("answer-unreadable",)),
    ("odd transfer", 400, b"{}", {"transfer-encoding": "gzip, chunked"}, "unknown", ("answer-unreadable",)),
    # the same input is refused again
    ("400", 400, U6, {}, "declined", ("bad-request", *NO_WAIT)),
    ("404", 404, b"<h1>Not Found</h1>", {}, "declined", ("not-found", *NO_WAIT)),
    ("405", 405, b"", {}, "declined", ("method-not-allowed", *NO_WAIT)),
    ("413", 413, {"name": "payload_too_large", "errors": []}, {}, "declined", ("too-large", *NO_WAIT)),
    ("415", 415, {}, {}, "declined", ("unsupported-type", *NO_WAIT)),
    ("422", 422, {"name": "public_figure", "errors": ["a"]}, {}, "declined", ("unprocessable", *NO_WAIT)),
    ("422 usage null", 422, {"usage": None}, {}, "declined", ("unprocessable", *NO_WAIT)),
    ("422 with an amount", 422, {"usage": BILL}, {}, "billed", (39_000, False)),
    ("422 with usage", 422, {"usage": {"billed_amount": 0.039}}, {}, "unknown", ("bill-unreadable",)),
    ("400 with an empty usage", 400, {"usage": {}}, {}, "unknown", ("bill-unreadable",)),
    ("400 cut", 400, b'{"error": "no", "usage": {"bill', {}, "unknown", ("answer-unreadable",)),
    ("429 cut", 429, b' {"error": "no', {}, "unknown", ("answer-unreadable",)),
    ("400 a page with an amount", 400, b'<p>"billed_amount": "1"</p>', {}, "unknown", ("bill-unreadable",)),
    ("400 a list", 400, [U6], {}, "declined", ("bad-request", *NO_WAIT)),
    # who we are and what we have
    ("401", 401, {"error": {"message": "bad key"}}, {}, "declined", ("key-refused", None, True)),
    ("403", 403, b"Forbidden", {}, "declined", ("key-refused", None, True)),
    ("403 moderated", 403, {"name": "content_moderation", "errors": ["x"]}, {}, "declined", ("moderated", *NO_WAIT)),
    ("403 moderated code", 403, {"error": {"code": "content_policy"}}, {}, "declined", ("moderated", *NO_WAIT)),
    ("403 moderated words", 403, {"message": "Flagged by moderation"}, {}, "declined", ("moderated", *NO_WAIT)),
    ("402", 402, {"name": "payment_required", "errors": []}, {}, "declined", ("account-empty", None, True)),
    ("402 page", 402, b"<p>Pay</p>", {}, "declined", ("account-empty", None, True)),
    ("402 with an amount", 402, {"usage": BILL}, {}, "billed", (39_000, False)),
    ("429 quota", 429, {"error": {"code": "insufficient_quota"}}, {}, "declined", ("account-empty", None, True)),
    ("429 quota type", 429, {"error": {"type": "Insufficient-Quota"}}, {}, "declined", ("account-empty", None, True)),
    ("400 budget", 400, {"code": "budget_exceeded", "message": "m"}, {}, "declined", ("account-empty", None, True)),
    ("403 pay", 403, {"error": "payment_required"}, {}, "declined", ("account-empty", None, True)),
    ("500 quota", 500, {"error": "insufficient_quota"}, {}, "unknown", ("server-error",)),
    # later
    ("429", 429, {}, {}, "declined", ("rate-limited", 60.0, False)),
    ("429 wait", 429, {}, {"retry-after": "7"}, "declined", ("rate-limited", 7.0, False)),
    ("429 with an amount", 429, {"usage": BILL}, {"retry-after": "7"}, "billed", (39_000, False)),
    ("429 with usage", 429, {"usage": {}}, {"retry-after": "7"}, "unknown", ("bill-unreadable",)),
    ("503 wait", 503, b"", {"retry-after": "9"}, "declined", ("unavailable", 9.0, False)),
    ("503", 503, b"", {}, "unknown", ("server-error",)),
    ("503 unreadable wait", 503, b"", {"retry-after": "soon"}, "unknown", ("server-error",)),
    ("503 usage", 503, {"usage": "?"}, {"retry-after": "9"}, "unknown", ("bill-unreadable",)),
    # nobody knows
    *((str(n), n, b"", {"retry-after": "1"}, "unknown", ("unexpected-status",)) for n in (408, 409, 425, 499)),
    *((str(n), n, b"", {"retry-after": "1"}, "unknown", ("server-error",)) for n in (500, 501, 502, 504, 520)),
    *((str(n), n, b"", {"retry-after": "1"}, "unknown", ("redirected",)) for n in (300, 301, 302, 303, 307, 308)),
    *((str(n), n, b"", {}, "unknown", ("unexpected-status",)) for n in (101, 103, 406, 410, 418, 451, 600, 999)),
    ("500 with an amount", 500, {"usage": BILL}, {}, "billed", (39_000, False)),
    ("302 with an amount and a picture", 302, {"data": PICTURE_DATA, "usage": BILL}, {}, "billed", (39_000, False)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "facts"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_contract_b(status: int, body: object, headers: dict[str, str], kind: str, facts: tuple[Any, ...]) -> None:
    outcome = judge(status, body, headers)
    assert outcome.evidence.status == status
    match outcome:
        case Billed():
            found: tuple[Any, ...] = (outcome.amount_micros, outcome.result is not None)
            assert (outcome.fault is None) == (outcome.result is not None)
            assert kind == "billed"
        case Declined():
            found = (outcome.code, outcome.retry_after_s, outcome.stops_run)
            assert outcome.message.startswith(f"the endpoint answered {status}")
            assert kind == "declined"
        case Unknown():
            found = (outcome.code,)
            assert outcome.message.startswith(f"the endpoint answered {status}")
            assert kind == "unknown"
    assert found == facts


def test_no_answer_and_nothing_sent_is_not_billed_and_may_be_sent_again_soon() -> None:
    outcome = decide_silence(sent=False, code="x", message="nothing was sent: connection refused", evidence=Evidence())
    assert outcome == Declined(Evidence(), "not-sent", "nothing was sent: connection refused", 1.0, False)


def test_what_was_stopped_here_before_the_first_byte_is_not_sent_again_by_itself() -> None:
    outcome = decide_silence(sent=False, code="not-sent", message="m", evidence=Evidence(), own_doing=True)
    assert outcome == Declined(Evidence(), "not-sent", "m", None, False)


@pytest.mark.parametrize("own_doing", [True, False])
def test_no_answer_after_a_byte_was_sent_is_unknown_whoever_stopped_it(own_doing: bool) -> None:
    outcome = decide_silence(sent=True, code="timed-out", message="m", evidence=Evidence(), own_doing=own_doing)
    assert outcome == Unknown(Evidence(), "timed-out", "m")


SEEN = st.builds(
    Seen,
    sent=st.booleans(),
    status=st.none() | st.integers(100, 999),
    readable=st.booleans(),
    bill=st.sampled_from(["none", "readable", "unreadable"]),
    picture=st.booleans(),
    error=st.booleans(),
    markers=st.frozensets(st.sampled_from(["no-money", "moderated", "retry-after", "own-doing"])),
)


@settings(deadline=None)
@given(SEEN)
def test_whatever_was_seen_has_a_row_and_only_proof_makes_it_free(seen: Seen) -> None:
    row = row_for(seen)
    if not seen.sent:
        assert row.billed == "no"
    elif row.billed == "no":
        assert seen.status is not None
        assert seen.bill == "none"
        assert seen.readable
        assert seen.status in {400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 503} or "no-money" in seen.markers
    if seen.sent and seen.bill == "readable" and seen.readable and seen.status is not None:
        assert row.billed == "yes"
    if row.again != "no":
        assert row.billed == "no"
        assert not row.stops_run


def test_every_row_of_the_table_can_be_reached_and_needs_a_sent_body_to_bill_or_doubt() -> None:
    reached = set()
    for sent in (True, False):
        for markers in ((), ("own-doing",), ("no-money",), ("moderated",), ("retry-after",)):
            for status in (None, 200, 302, 400, 401, 402, 403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 503):
                for bill in ("none", "readable", "unreadable"):
                    for picture, error, readable in (
                        (True, False, True),
                        (False, True, True),
                        (False, False, False),
                        (False, False, True),
                    ):
                        reached.add(
                            row_for(Seen(sent, status, readable, bill, picture, error, frozenset(markers))).seen
                        )  # type: ignore[arg-type]
    assert reached == {row.seen for row in TABLE}
    assert all(row.sent is True for row in TABLE if row.billed != "no")
    assert [row.statuses is NO_ANSWER for row in TABLE] == [True] * 3 + [False] * (len(TABLE) - 3)


# --- amounts (contract C19, B) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "micros", "text"),
    [
        ('"0.039000"', 39_000, "0.039000"),
        ('"0"', 0, "0"),
        ('"0.0390001"', 39_001, "0.0390001"),
        ('"999999999.999999"', 999_999_999_999_999, "999999999.999999"),
        ('"0.0\\u0033"', 30_000, "0.03"),
        ('"1E+1000000"', None, "1E+1000000"),
        ('"0_039.0"', None, "0_039.0"),
        ('"NaN"', None, "NaN"),
        ('"-0.039000"', None, "-0.039000"),
        ('"+0.039000"', None, "+0.039000"),
        ('" 0.039000"', None, " 0.039000"),
        ('"0.039000\\n"', None, "0.039000 "),
        ('"٠.٠٣٩"', None, "٠.٠٣٩"),
        ('"0,039"', None, "0,039"),
        ('"0.0390000000000"', None, "0.0390000000000"),
        ('"123456789.1234567890123456"', None, "123456789.1234567890123456"),
        ('"00.039"', None, "00.039"),
        ('".039"', None, ".039"),
        ('""', None, ""),
        ('"' + "9" * 5000 + '"', None, "9" * 64),
        ('"\\ud800"', None, "?"),
        ("0.039000", None, "0.039000"),
        ("1E+1000000", None, "1E+1000000"),
        ("NaN", None, "NaN"),
        ("-Infinity", None, "-Infinity"),
        ("true", None, None),
        ("null", None, None),
        ('["0.039"]', None, None),
        ('"0.039000", "billed_amount": "0.039000"', None, None),
        ('"0.039000", "billed\\u005famount": "9.000000"', None, None),
    ],
)
def test_only_a_strict_string_is_an_amount_and_the_picture_is_kept_beside_any(
    literal: str, micros: int | None, text: str | None
) -> None:
    body = f'{{"data": {json.dumps(PICTURE_DATA)}, "usage": {{"billed_amount": {literal}}}}}'.encode()
    outcome = judge(200, body)
    assert isinstance(outcome, Billed)
    assert outcome.amount_micros == micros
    assert outcome.amount_text == text
    assert outcome.result is not None


def test_usage_that_appears_twice_is_no_amount() -> None:
    body = f'{{"data": {json.dumps(PICTURE_DATA)}, "usage": {json.dumps(BILL)}, "usage": {json.dumps(BILL)}}}'
    outcome = judge(200, body.encode())
    assert isinstance(outcome, Billed)
    assert outcome.amount_micros is None
    assert outcome.result is not None


# --- never free while anything readable speaks of a bill ---------------------------------------------------------

REFUSALS = [400, 401, 402, 403, 404, 405, 413, 415, 422, 429]
FREE = {"billed_amount": "0.000000"}


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no", "usage": BILL}},
        {"error": "no", "billed_amount": "0.6"},
        {"error": "no", "data": [{"usage": BILL}]},
        {"error": "the upstream said " + json.dumps({"usage": BILL})},
        {"error": "the upstream said " + json.dumps({"error": json.dumps({"usage": BILL})})},
        {"error": {"usage": BILL}, "usage": None},
        {"error": {"usage": BILL}, "usage": FREE},
        {"error": {"usage": {"billed_amount": None}}},
        [{"usage": BILL}],
        b'{"error": {"billed\\u005famount": "0.6"}}',
        b'[{"usage": {"billed\\u005famount": "0.6"}}]',
        b'{"usage": {"billed_amount": "0.000000", "billed_amount": "0.6"}}',
        b'{"usage": {"billed_amount": "0.000000"}, "usage": {"billed_amount": "0.6"}}',
        b'{"error": {"usage": {"billed_amount": "0.6"}}, "error": "no"}',
        {"error": "no", "data": PICTURE_DATA},
        {"error": "no", "data": [{"url": "https://pictures.example/1"}]},
        {"error": "no", "data": PICTURE_DATA, "usage": FREE},
        b"\x1f\x8b\x08 gzip, and no header says so",
        b"\x28\xb5\x2f\xfd zstd, and no header says so",
        b"\xff\xfe" + json.dumps({"usage": BILL}).encode("utf-16-le"),
        json.dumps({"usage": BILL}).encode("utf-16-be"),
        json.dumps({"usage": BILL}).encode("utf-32-be"),
        {"deep": json.loads("[" * 62 + "]" * 62), "usage": {"x": [[[BILL]]]}},
    ],
)
def test_a_refusal_that_speaks_of_a_bill_or_brings_a_picture_is_in_doubt(status: int, body: object) -> None:
    outcome = judge(status, body, {"retry-after": "7"})
    assert isinstance(outcome, Unknown)
    assert outcome.code in ("bill-unreadable", "answer-unreadable")
    assert outcome.stops_run == (status in (401, 402, 403))


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize(
    "body",
    [
        {"error": "no", "usage": FREE},
        {"error": {"message": "no", "usage": FREE}},
        {"error": {"message": "no", "usage": FREE}, "usage": FREE},
        {"error": "no", "usage": None},
        {"error": "no", "data": []},
        {"error": "no", "data": [{"b64_json": None, "url": None}]},
        {"error": "no", "data": [{"b64_json": "", "url": ""}]},
        b"x marks the spot",
    ],
)
def test_a_refusal_whose_every_amount_is_zero_is_one(status: int, body: object) -> None:
    assert isinstance(judge(status, body), Declined)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, {"error": "bad key", "usage": BILL}, "key-refused"),
        (403, {"error": "no", "usage": BILL}, "key-refused"),
        (402, {"usage": BILL}, "account-empty"),
        (429, {"error": {"code": "insufficient_quota"}, "usage": BILL}, "account-empty"),
        (400, {"error": {"code": "budget_exceeded"}, "usage": BILL}, "account-empty"),
    ],
)
def test_a_bill_does_not_hide_that_the_run_cannot_go_on(status: int, body: object, code: str) -> None:
    outcome = judge(status, body)
    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.stops_run, outcome.code) == (39_000, True, code)
    assert outcome.message.startswith(f"the endpoint answered {status}")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"data": PICTURE_DATA, "usage": BILL}),
        (200, {"error": {"code": "insufficient_quota"}, "usage": BILL}),
        (400, {"error": "no", "usage": BILL}),
        (403, {"name": "content_moderation", "errors": [], "usage": BILL}),
        (429, {"usage": BILL}),
        (500, {"error": {"code": "insufficient_quota"}, "usage": BILL}),
    ],
)
def test_any_other_bill_lets_the_run_go_on(status: int, body: object) -> None:
    outcome = judge(status, body)
    assert isinstance(outcome, Billed)
    assert (outcome.stops_run, outcome.code, outcome.message) == (False, "", "")


def test_an_answer_may_be_nested_64_deep_and_no_deeper_whoever_reads_it() -> None:
    for depth, found in ((63, Billed), (64, Unknown)):
        body = b'{"usage": {"billed_amount": "0.039000"}, "x": ' + b"[" * depth + b"]" * depth + b"}"
        assert isinstance(judge(200, body), found)
    brackets = json.dumps({"message": "[{" * 500, "x": [[]] * 500, "usage": BILL})
    assert isinstance(judge(200, brackets.encode()), Billed)


# --- pictures -------------------------------------------------------------------------------------------------

BIG = bytes(range(256)) * 5000  # longer than a block, and not a multiple of three
BIG_TEXT = base64.b64encode(BIG).decode()


@pytest.mark.parametrize(
    "literal",
    [
        json.dumps(BIG_TEXT),
        json.dumps(BIG_TEXT).replace("/", "\\/"),
        json.dumps(BIG_TEXT).replace("+", "\\u002b"),
        json.dumps("data:image/png;base64," + BIG_TEXT),
        json.dumps("data:image/png;charset=x;base64," + BIG_TEXT).replace("/", "\\/"),
        json.dumps(" \r\n" + BIG_TEXT + "\n"),
        json.dumps(base64.encodebytes(BIG).decode()),
        '"' + base64.encodebytes(BIG).decode() + '"',  # raw line breaks: no JSON, but a paid picture
    ],
    ids=["plain", "slashes", "unicode", "data", "data-params", "white-space", "wrapped", "raw-breaks"],
)
@pytest.mark.parametrize("place", ["alone", "usage-first"])
def test_a_picture_is_decoded_however_its_base64_is_written(literal: str, place: str) -> None:
    keep = Kept()
    data = f'"data": [{{"b64_json": {literal}, "url": null}}]'
    usage = f'"usage": {json.dumps(BILL)}'
    body = "{" + (f"{data}, {usage}" if place == "alone" else f"{usage}, {data}") + "}"
    outcome = decide(reading(200, body.encode(), keep=keep))
    assert isinstance(outcome, Billed)
    assert outcome.amount_micros == 39_000
    assert keep.content == BIG


@pytest.mark.parametrize(
    "text",
    [
        "Q",
        "QQ",
        "QQ=",
        "Q===",
        "====",
        "QQ==QUJD",
        "QUJD=",
        "QUJ_",
        "QUJ-",
        "QUJD%",
        "data:image/png,QUJD",
        " \n",
        "Ａ",
    ],
)
@pytest.mark.parametrize("before", ["", "QUJD" * 1000, "QUJD" * (256 * 1024)])
def test_what_is_not_strict_base64_is_no_picture(before: str, text: str) -> None:
    if text.startswith("data:") or (before and not text.strip()):
        before = ""
    outcome = judge(200, {"data": [{"b64_json": before + text}], "usage": BILL})
    assert isinstance(outcome, Billed)
    assert outcome.result is None
    assert outcome.fault == "`data[0].b64_json` is not base64"


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(0, 60), max_size=20))
def test_base64_means_the_same_however_it_is_cut_into_pieces(content: bytes, cuts: list[int]) -> None:
    text = base64.b64encode(content)
    pieces = []
    for cut in cuts:
        pieces.append(text[:cut])
        text = text[cut:]
    assert b"".join(base64_blocks([*pieces, text])) == content


def test_only_the_first_data_entry_is_the_picture_and_other_long_strings_are_not() -> None:
    keep = Kept()
    other = base64.b64encode(b"other" * 1000).decode()
    body = {"preview": other, "data": [{"thumb": other, "b64_json": BIG_TEXT}, {"b64_json": other}], "usage": BILL}
    decide(reading(200, body, keep=keep))
    assert keep.content == BIG


def test_a_disk_that_cannot_take_the_picture_does_not_change_the_bill() -> None:
    def full(blocks: Iterator[bytes]) -> Path:
        next(blocks)
        raise OSError(28, "No space left on device")

    body = json.dumps({"data": PICTURE_DATA, "usage": BILL}).encode()
    outcome = decide(read(Answer(200, {}, NOW, body), key=KEY, keep=full))
    assert isinstance(outcome, Billed)
    assert (outcome.amount_micros, outcome.result) == (39_000, None)
    assert outcome.fault == "the picture could not be written: No space left on device"


def test_an_address_instead_of_bytes_is_offered_for_fetching() -> None:
    found = reading(200, {"data": [{"b64_json": None, "url": "https://pictures.example/1?sig=x"}], "usage": BILL})
    assert found.url == "https://pictures.example/1?sig=x"
    assert found.offered
    outcome = decide(found)
    assert isinstance(outcome, Billed)
    assert outcome.result is None


# --- contract R: the ladder -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "no credit", "type": "billing", "code": "c1"}}, "c1", "no credit"),
        ({"error": {"message": "m", "type": "billing"}}, "billing", "m"),
        ({"error": {"message": "m", "code": 4031}}, "4031", "m"),
        ({"error": {"message": "m", "code": "4031"}}, "4031", "m"),
        ({"error": {"code": "c"}, "message": "outer"}, "c", "outer"),
        ({"error": "plain words here"}, None, "plain words here"),
        ({"error": "bad_request"}, "bad_request", "bad_request"),
        ({"error": True, "message": "m", "code": 7}, "7", "m"),
        ({"name": "bad_request", "errors": ["a", "b"], "id": "1"}, "bad_request", "a; b"),
        ({"name": "bad_request", "errors": [{"message": "a", "field": "seed"}]}, "bad_request", "seed: a"),
        ({"name": "bad_request", "errors": []}, "bad_request", None),
        ({"detail": "words"}, None, "words"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "too big", "type": "t"}]}, None, "body.seed: too big"),
        ({"detail": [{"loc": ["body", "input_images", 0], "msg": "m"}, "s"]}, None, "body.input_images.0: m; s"),
        ({"title": "Bad", "detail": "very", "status": 400, "type": "about:blank"}, "about:blank", "Bad: very"),
        ({"title": "Bad"}, None, "Bad"),
        ({"message": "m"}, None, "m"),
        ({"message": "m", "code": "c"}, "c", "m"),
        # the order of the rungs
        (
            {"error": {"message": "1"}, "name": "n", "errors": ["2"], "detail": "3", "title": "4", "message": "5"},
            "n",
            "1",
        ),
        ({"error": "1 1", "name": "n", "errors": ["2"], "detail": "3", "title": "4", "message": "5"}, "n", "1 1"),
        ({"name": "n", "errors": ["2"], "detail": "3", "title": "4", "message": "5"}, "n", "2"),
        ({"detail": ["3"], "title": "4", "message": "5"}, None, "3"),
        ({"title": "4", "message": "5"}, None, "4"),
        ({}, None, None),
        ({"error": {}}, None, None),
        ({"message": {"no": "string"}}, None, None),
        # long strings are strings, too
        ({"error": {"message": "long " * 1000}}, None, ("long " * 1000)[:499] + "…"),
        (b"<html><head><title>502 Bad</title><style>p{}</style></head><body><p>a &amp;  b</p>", None, "502 Bad a & b"),
        (b"<script>alert(1)</script>words", None, "words"),
        (b"plain\x00\x1b[31m words\r\n", None, "plain\ufffd\ufffd[31m words"),
        (b"caf\xe9", None, "caf\ufffd"),
        (b'"a JSON string"', None, '"a JSON string"'),
        (b"", None, None),
    ],
)
def test_contract_r(body: object, code: str | None, message: str | None) -> None:
    said = reading(400, body).said
    assert (said.code, said.message) == (code, message)


def test_the_ladder_has_the_rungs_of_the_contract_in_its_order() -> None:
    assert [name for name, _ in LADDER] == [
        "`error` as an object",
        "`error` as a string",
        "`name` and `errors[]` (contract U6)",
        "`detail`, a list or a string",
        "`title` and `detail` (RFC 9457)",
        "`message`",
    ]


def test_the_message_holds_the_words_of_the_endpoint_and_the_policy() -> None:
    outcome = judge(400, U6)
    assert isinstance(outcome, Declined)
    assert outcome.message == (
        "the endpoint answered 400 (bad_request): prompt: must be English; not billed, by the declared policy"
    )


def test_a_page_of_angle_brackets_is_read_in_no_time() -> None:
    for body in (b"<" * 500_000, b"<script" * 100_000, b"&" * 500_000):
        assert isinstance(judge(400, body), Declined)


# --- waiting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": " 30 "}, 30.0),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "1"}, 1.0),
        ({"retry-after": "600"}, 600.0),
        ({"retry-after": "601"}, 600.0),
        ({"retry-after": "9" * 20}, 600.0),
        ({"retry-after": "9" * 21}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:45 GMT"}, 45.0),
        ({"retry-after": "Sun, 22 Nov 2026 13:00:45 +0100"}, 45.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 1.0),
        ({"retry-after": "Sun, 22 Nov 2099 11:00:00 GMT"}, 600.0),
        ({"retry-after": "Sun, 22 Nov 2026 15:00:45 GMT", "date": "Sun, 22 Nov 2026 15:00:00 GMT"}, 45.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:45 GMT", "date": "yesterday"}, 45.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 99 Nov 2026 99:00:00 GMT"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_held_within_bounds(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers, NOW) == seconds


# --- evidence -------------------------------------------------------------------------------------------------


def test_only_listed_headers_are_kept_and_none_shows_the_key() -> None:
    kept = kept_headers(
        [
            ("Content-Type", "text/html"),
            ("Set-Cookie", "session=1"),
            ("Authorization", SECRET),
            ("Server", f"echo {SECRET}"),
            ("X-RateLimit-Remaining", "3"),
            ("RateLimit-Policy", "a\x1b[2J"),
            ("Via", "a"),
            ("via", "b" * 1000),
        ],
        KEY,
    )
    assert kept == {
        "content-type": "text/html",
        "server": "echo ***",
        "x-ratelimit-remaining": "3",
        "ratelimit-policy": "a\ufffd[2J",
        "via": ("a, " + "b" * 1000)[:500],
    }
    assert len(kept_headers([(f"x-ratelimit-{n}", "1") for n in range(1000)], KEY)) == 40


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"cf-ray": "4", "x-omixa-request-id": "3", "request-id": "2", "x-request-id": "1"}, "1"),
        ({"cf-ray": "4", "x-omixa-request-id": "3", "request-id": "2"}, "2"),
        ({"cf-ray": "4", "x-omixa-request-id": "3"}, "3"),
        ({"cf-ray": "4"}, "4"),
        ({"x-request-id": "", "cf-ray": "4"}, "4"),
        ({}, None),
    ],
)
def test_the_request_id_is_the_first_of_the_list(headers: dict[str, str], expected: str | None) -> None:
    assert reading(200, {}, headers).evidence.request_id == expected


def test_the_head_of_the_body_shows_the_bill_behind_the_picture_but_no_picture() -> None:
    for picture in (BIG_TEXT, base64.b64encode(PICTURE).decode() * 3, base64.encodebytes(BIG).decode()):
        head = reading(200, {"data": [{"b64_json": picture}], "usage": BILL}).evidence.body_head
        assert '"billed_amount": "0.039000"' in head
        assert picture[:40] not in head
        assert len(head) < 400


def test_the_head_of_the_body_is_short_printable_and_without_the_key() -> None:
    encoded = base64.b64encode(f"Bearer {SECRET}".encode()).decode()
    body = f"é\x1b[2J\n{SECRET} {encoded} omx_test_other {'words ' * 4000}"
    head = reading(500, body.encode()).evidence.body_head
    assert head.startswith("é\ufffd[2J\n*** ")
    assert "omx_" not in head
    assert encoded[12:30] not in head
    assert len(head) == 4096
    assert isinstance(judge(500, body.encode()), Unknown)
    assert SECRET not in judge(500, body.encode()).message  # type: ignore[union-attr]


# --- whatever comes -------------------------------------------------------------------------------------------

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(
    ["0.039000", "1E+1000000", "QUJD", "https://x.example/", SECRET, "QUJD" * 400, "insufficient_quota", "\ud800"]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        *("error", "message", "code", "type", "name", "errors", "detail", "title"),
        *("usage", "billed_amount", "data", "b64_json", "url", "loc", "msg", "field"),
    ]
)
TREE = st.recursive(LEAF, lambda i: st.lists(i, max_size=3) | st.dictionaries(NAMES, i, max_size=4), max_leaves=20)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-encoding", "transfer-encoding", "x-request-id", "content-type"]),
    st.text(max_size=40)
    | st.sampled_from(["7", "gzip", "Sun, 22 Nov 2026 12:00:45 GMT", "Mon, 1 Jan 0001 00:00:00 -2359"]),
)


def holds_nothing_harmful(outcome: Outcome) -> bool:
    texts = [outcome.evidence.body_head]
    if isinstance(outcome, Billed):
        texts += [outcome.amount_text or "", outcome.fault or ""]
        assert outcome.amount_micros is None or outcome.amount_micros >= 0
    else:
        texts += [outcome.code, outcome.message]
    for text in texts:
        text.encode("utf-8")  # a lone surrogate would break the ledger
        assert SECRET not in text
    return True


@settings(deadline=None)
@given(st.integers(100, 999), HEADERS, st.dictionaries(NAMES, TREE, max_size=5))
def test_no_json_makes_the_judgement_raise(status: int, headers: dict[str, str], body: dict[str, object]) -> None:
    outcome = judge(status, body, headers)
    assert holds_nothing_harmful(outcome)
    if isinstance(outcome, Billed) and outcome.amount_micros is None:
        assert status in SUCCESS


@settings(deadline=None)
@given(st.integers(100, 999), HEADERS, st.binary(max_size=300))
def test_no_bytes_make_the_judgement_raise(status: int, headers: dict[str, str], body: bytes) -> None:
    assert holds_nothing_harmful(judge(status, body, headers))
    assert not isinstance(judge(status, body, headers), Billed) or b"billed_amount" in body
