"""Each scripted fault does what it says, to the requests it names, and to the bill."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image, ImageStat
from sandbox_client import ask, dial, drawn, file_of, head, picture_of, read_all, request

from runner.errors import UsageError
from runner.sandbox import parse_fault
from runner.sandbox.faults import effect

SMALL = {"answer_bytes": 1000}


def raw_answer(sandbox):
    """All the bytes of one answer; empty when the connection is dropped."""
    body = json.dumps(request()).encode()
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, f"Content-Length: {len(body)}") + body)
        return read_all(connection)


def test_a_status_is_answered_in_the_shape_of_upstream_and_not_billed(serve):
    sandbox = serve("status=500")
    answer = ask(sandbox)
    assert answer.status_code == 500
    assert answer.json()["name"] == "internal_error"
    assert answer.json()["errors"] == ["scripted fault: internal error"]
    assert sandbox.counts().requests == 1
    assert sandbox.counts().pictures == 0
    assert sandbox.counts().refused == {500: 1}


@pytest.mark.parametrize("status", [302, 304, 408, 409, 418, 425, 429, 499, 502, 503, 599])
def test_any_status_can_be_scripted(serve, status):
    sandbox = serve(f"status={status}")
    assert ask(sandbox).status_code == status


def test_a_redirect_leads_back_to_the_operation_so_that_following_it_is_noticed(serve):
    assert ask(serve("status=307")).headers["Location"] == "/api/v1/images/generations"


def test_a_status_can_be_billed_all_the_same(serve):
    sandbox = serve("status=500,billed=yes")
    assert ask(sandbox).status_code == 500
    assert sandbox.counts().billed_micros == 39_000


def test_retry_after_is_said_as_written(serve):
    assert ask(serve("status=429,retry_after=1")).headers["Retry-After"] == "1"
    assert ask(serve("status=503,retry_after=soon")).headers["Retry-After"] == "soon"
    assert "Retry-After" not in ask(serve("status=429")).headers


def test_moderation_is_a_403_with_its_own_name_and_free(serve):
    sandbox = serve("moderated")
    answer = ask(sandbox)
    assert (answer.status_code, answer.json()["name"]) == (403, "content_moderation")
    assert "not charged" in answer.json()["errors"][0]
    assert sandbox.counts().billed_micros == 0


def test_a_plain_403_does_not_look_like_moderation(serve):
    assert ask(serve("status=403")).json()["name"] == "forbidden"


def test_an_unpaid_account_is_a_402(serve):
    answer = ask(serve("unpaid"))
    assert (answer.status_code, answer.json()["name"]) == (402, "payment_required")


@pytest.mark.parametrize("length", [0, 10, 300, 1000])
def test_a_cut_answer_ends_at_that_byte_and_is_billed(serve, length):
    sandbox = serve(f"cut_at={length}")
    found = raw_answer(sandbox)
    assert len(found) == length
    assert b"HTTP/1.1 200 OK".startswith(found[:15])
    assert sandbox.counts().billed_micros == 39_000


def test_a_cut_client_sees_an_incomplete_body(serve):
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        ask(serve("cut_at=1000"))


def test_closing_before_reading_is_neither_counted_nor_billed(serve):
    sandbox = serve("close_before_read")
    assert raw_answer(sandbox) == b""
    assert sandbox.counts().requests == 0
    assert sandbox.counts().billed_micros == 0


def test_closing_before_reading_does_not_wait_for_the_body(serve):
    sandbox = serve("close_before_read")
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, "Content-Length: 1000"))
        assert read_all(connection) == b""


def test_closing_after_reading_is_counted_and_billed(serve):
    sandbox = serve("close_after_read")
    assert raw_answer(sandbox) == b""
    assert sandbox.counts().requests == 1
    assert sandbox.counts().billed_micros == 39_000


def test_another_bill_is_said_and_booked(serve):
    sandbox = serve("bill=40.5", **SMALL)
    assert ask(sandbox).json()["usage"] == {"billed_amount": "40.500000"}
    assert sandbox.counts().billed_micros == 40_500_000


@pytest.mark.parametrize("text", ["abc", "", "-1", "1e9", "0.0390000000001", '"'])
def test_a_bill_that_is_no_amount_is_only_said(serve, text):
    sandbox = serve(f"bill_text={text}", **SMALL)
    assert ask(sandbox).json()["usage"] == {"billed_amount": text}
    assert sandbox.counts().billed_micros == 39_000


def test_usage_can_be_missing(serve):
    sandbox = serve("usage=missing", **SMALL)
    assert list(ask(sandbox).json()) == ["created", "data"]
    assert sandbox.counts().billed_micros == 39_000


def test_usage_can_be_a_number(serve):
    assert '"usage": {"billed_amount": 0.039000}' in ask(serve("usage=number", **SMALL)).text


def test_the_picture_can_be_missing_while_it_is_billed(serve):
    sandbox = serve("picture=missing")
    answer = ask(sandbox).json()
    assert answer["data"] == [{"b64_json": None, "url": None}]
    assert answer["usage"] == {"billed_amount": "0.039000"}
    assert sandbox.counts().pictures == 1


@pytest.mark.parametrize("options", [{}, {"answer_bytes": 4000}])
def test_a_broken_picture_is_base64_of_half_a_file(serve, options):
    text = ask(serve("picture=broken", **options)).json()["data"][0]["b64_json"]
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    if not options:  # of a padded file, the half with the pixels is left
        with pytest.raises(OSError, match="truncated"):
            image.load()
    assert not base64.b64decode(text).endswith(b"IEND\xaeB`\x82")


def test_a_blurred_picture_has_the_size_and_nothing_to_recognise(serve):
    bars = Image.new("RGB", (64, 64), "black")
    for x in range(0, 64, 8):
        bars.paste("white", (x, 0, x + 4, 64))
    sharp, blurred = (picture_of(ask(serve(*faults), request(file_of(bars)))) for faults in ([], ["picture=blurred"]))
    assert blurred.size == sharp.size
    assert ImageStat.Stat(blurred).stddev[0] < ImageStat.Stat(sharp).stddev[0] / 4


def test_an_error_can_hide_in_a_200(serve):
    sandbox = serve("error_in_200")
    answer = ask(sandbox)
    assert answer.status_code == 200
    assert list(answer.json()) == ["error"]
    assert sandbox.counts().billed_micros == 0


@pytest.mark.parametrize(("fault", "status", "billed"), [("body=html", 200, 39_000), ("body=html,status=502", 502, 0)])
def test_a_page_can_come_instead_of_json(serve, fault, status, billed):
    sandbox = serve(fault)
    answer = ask(sandbox)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!doctype html>")
    assert sandbox.counts().billed_micros == billed


def test_a_delayed_request_is_billed_before_it_is_answered_and_a_stop_ends_the_delay(serve):
    sandbox = serve("delay_ms=3600000", **SMALL)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, sandbox)
        while sandbox.counts().pictures == 0:
            assert not asking.done()
        sandbox.stop()
        assert asking.result().status_code == 200


def test_latency_holds_up_every_answer(serve):
    sandbox = serve(latency_ms=3_600_000)
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask, sandbox, body) for body in (request(seed=1), b"{}")]
        while sandbox.counts().pictures + sum(sandbox.counts().refused.values()) < 2:
            assert not any(one.done() for one in asking)
        sandbox.stop()
        assert sorted(one.result().status_code for one in asking) == [200, 400]


def test_a_request_that_breaks_the_contract_gets_its_refusal_whatever_is_scripted(serve):
    sandbox = serve("status=500,billed=yes")
    assert ask(sandbox, request(seed=-1)).status_code == 400
    assert sandbox.counts().billed_micros == 0


def numbers_hit(text, seed=0, until=1000):
    fault = parse_fault(text)
    return [number for number in range(1, until + 1) if fault.strikes(number, seed, 0)]


def test_selectors_pick_requests_by_their_number():
    assert numbers_hit("unpaid,every=300") == [300, 600, 900]
    assert numbers_hit("unpaid,first=3") == [1, 2, 3]
    assert numbers_hit("unpaid,nth=3") == [3]
    assert numbers_hit("unpaid,every=2,first=5") == [2, 4]
    assert numbers_hit("unpaid", until=3) == [1, 2, 3]


def test_a_rate_is_repeatable_by_seed_and_about_right():
    assert numbers_hit("unpaid,rate=0.1", seed=1) == numbers_hit("unpaid,rate=0.1", seed=1)
    assert numbers_hit("unpaid,rate=0.1", seed=1) != numbers_hit("unpaid,rate=0.1", seed=2)
    assert 60 < len(numbers_hit("unpaid,rate=0.1")) < 140
    assert numbers_hit("unpaid,rate=0") == []
    assert len(numbers_hit("unpaid,rate=1")) == 1000


def test_two_faults_of_one_rate_do_not_fall_together():
    fault = parse_fault("unpaid,rate=0.5")
    assert [fault.strikes(n, 0, 0) for n in range(50)] != [fault.strikes(n, 0, 1) for n in range(50)]


def test_the_first_fault_that_meets_a_request_decides_and_delays_add_up():
    texts = ("delay_ms=5", "delay_ms=7,bill=1.00,nth=2", "bill=2.00,usage=missing,delay_ms=100,first=2", "unpaid,nth=3")
    script = [parse_fault(text) for text in texts]
    first, second, third, fourth = (effect(script, number, 0) for number in (1, 2, 3, 4))
    assert (first.delay_ms, first.bill_micros, first.usage) == (105, 2_000_000, "missing")
    assert (second.delay_ms, second.bill_micros, second.usage) == (112, 1_000_000, None)
    assert (third.delay_ms, third.unpaid, third.bill_micros) == (5, True, None)
    assert (fourth.delay_ms, fourth.only_delays) == (5, True)


def test_selectors_count_the_requests_of_the_server(serve):
    sandbox = serve("status=429,first=2", "status=500,every=4", **SMALL)
    assert [ask(sandbox).status_code for _ in range(8)] == [429, 429, 200, 500, 200, 200, 200, 500]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("statsu=500", "`statsu` is not a part of a fault", "did you mean `status`?"),
        ("", "`` is not a part of a fault", "known parts: status, "),
        ("status=200", "`status` must be a whole number 300–599, found `200`", "status=500,every=10"),
        ("status", "`status` must be a whole number 300–599, found ``", "status=500,every=10"),
        ("status=five", "`status` must be a whole number", None),
        ("unpaid,every=0", "`every` must be a whole number 1–1000000000, found `0`", None),
        ("unpaid,rate=1.1", "`rate` must be a decimal number 0–1", None),
        ("unpaid,rate=nan", "`rate` must be a decimal number 0–1", None),
        ("bill=1e3", "`bill` must be an amount such as `0.039`, found `1e3`", "bill_text"),
        ("usage=gone", "`usage` must be `missing` or `number`, found `gone`", None),
        ("picture=blured", "`picture` must be `missing` or `broken` or `blurred`", None),
        ("billed=true,status=500", "`billed` must be `yes` or `no`", None),
        ("moderated=yes", "`moderated` takes no value, found `yes`", "write only `moderated`"),
        ("status=500,status=501", "`status` stands there twice", "write one `--fault`"),
        ("every=3", "says when, but not what", "add a part"),
        ("moderated,status=500", "`status` and `moderated` exclude each other", None),
        ("retry_after=1", "`retry_after` needs a status", "status=429,retry_after=1"),
        ("status=429,retry_after=1\r\nx: y", "`retry_after` must be printable ASCII text", None),
    ],
)
def test_a_fault_that_cannot_be_read_is_explained(text, message, hint):
    with pytest.raises(UsageError) as caught:
        parse_fault(text)
    assert message in caught.value.message
    assert f"fault `{text}`" in caught.value.message
    if hint:
        assert hint in caught.value.hint


def test_pictures_stay_untouched_without_a_script(sandbox):
    assert picture_of(ask(sandbox, request(file_of(drawn())))).size == (256, 256)
