"""The server's own count is exact, whatever the threads; its log agrees and holds no secret."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from sandbox_client import KEY, ask, dial, head, request

from runner.errors import DiskError, UsageError
from runner.sandbox import SandboxOptions, start


def test_counts_are_exact_under_eight_threads(serve, tmp_path):
    log = tmp_path / "requests.jsonl"
    faults = ("status=500,rate=0.2", "close_after_read,rate=0.1", "bill=0.5,rate=0.1")
    sandbox = serve(*faults, answer_bytes=2000, log=log, seed=3)

    def one(number):
        try:
            answer = ask(sandbox, b"{}" if number % 10 == 0 else None)
        except requests.ConnectionError:
            return "dropped"
        return answer.json()["usage"]["billed_amount"] if answer.status_code == 200 else answer.status_code

    with ThreadPoolExecutor(8) as pool:
        seen = Counter(pool.map(one, range(200)))
    sandbox.stop()
    counts = sandbox.counts()
    assert min(seen[kind] for kind in (400, 500, "dropped", "0.039000", "0.500000")) > 0
    assert counts.requests == 200
    assert counts.refused == {400: 20, 500: seen[500]}
    assert counts.pictures == seen["dropped"] + seen["0.039000"] + seen["0.500000"]

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 200
    billed = Counter(line["billed"] for line in lines)
    assert billed[None] == 20 + seen[500]
    assert counts.billed_micros == billed["0.039000"] * 39_000 + billed["0.500000"] * 500_000
    assert sum(line["status"] is None for line in lines) == seen["dropped"]


def test_equal_scripts_and_seeds_give_equal_counts(serve):
    def counted():
        sandbox = serve("status=500,rate=0.3", answer_bytes=500, seed=5)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: ask(sandbox), range(40)))
        return sandbox.counts()

    assert counted() == counted()


def test_the_price_is_billed_and_said(serve):
    sandbox = serve(price_micros=1_234_567, answer_bytes=500)
    assert ask(sandbox).json()["usage"]["billed_amount"] == "1.234567"
    assert sandbox.counts().billed_micros == 1_234_567


def test_a_picture_for_nothing_is_still_a_picture(serve):
    sandbox = serve(price_micros=0, answer_bytes=500)
    assert ask(sandbox).json()["usage"]["billed_amount"] == "0.000000"
    assert (sandbox.counts().pictures, sandbox.counts().billed_micros) == (1, 0)


def test_the_counts_are_served_without_a_key_and_with_exact_money(serve):
    sandbox = serve(answer_bytes=500)
    ask(sandbox)
    ask(sandbox, b"{}")
    answer = requests.get(f"http://127.0.0.1:{sandbox.port}/sandbox/counts", timeout=60)
    assert answer.json() == {
        "schema": "omixa.sandbox-counts/1",
        "requests": 2,
        "pictures": 1,
        "billed": "0.039000",
        "refused": {"400": 1},
    }


def test_a_request_with_the_wrong_key_is_counted_and_not_billed(serve, tmp_path):
    sandbox = serve(key="omx_live_right", log=tmp_path / "log")
    assert ask(sandbox).status_code == 401
    assert sandbox.counts().requests == 1
    assert sandbox.counts().refused == {401: 1}
    assert json.loads((tmp_path / "log").read_text())["status"] == 401


def test_a_body_that_stops_in_the_middle_is_not_counted(serve, tmp_path):
    sandbox = serve(log=tmp_path / "log")
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, "Content-Length: 1000") + b'{"model"')
    sandbox.stop()
    assert sandbox.counts().requests == 0
    assert (tmp_path / "log").read_text() == ""


def test_a_log_line_tells_the_request_apart_and_holds_neither_key_nor_content(serve, tmp_path):
    sandbox = serve(answer_bytes=500, log=tmp_path / "log")
    asked = [request(prompt=text) for text in ("a secret prompt", "a secret prompt", "another")]
    asked[1] = {name: asked[1][name] for name in reversed(asked[1])}  # the order of the fields means nothing
    answers = [ask(sandbox, one) for one in asked]
    text = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [set(line) for line in lines] == [{"time", "request_id", "status", "billed", "picture", "options"}] * 3
    assert [line["request_id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert lines[0]["options"] == lines[1]["options"] != lines[2]["options"]
    assert lines[0]["picture"] == lines[2]["picture"]
    assert KEY not in text
    assert "secret" not in text


def test_a_log_is_continued_and_never_overwritten(serve, tmp_path):
    for _ in range(2):
        sandbox = serve(answer_bytes=500, log=tmp_path / "log")
        ask(sandbox)
        sandbox.stop()
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_a_log_that_cannot_be_opened_is_refused_by_name(tmp_path):
    with pytest.raises(DiskError, match="missing"):
        start(SandboxOptions(log=tmp_path / "missing" / "log"))


def test_a_port_in_use_is_refused_with_the_way_out(sandbox):
    with pytest.raises(UsageError) as caught:
        start(SandboxOptions(port=sandbox.port))
    assert str(sandbox.port) in caught.value.message
    assert "--port" in caught.value.hint


def test_after_the_stop_nobody_listens_and_the_counts_stay(sandbox):
    ask(sandbox)
    sandbox.stop()
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        ask(sandbox)
    assert sandbox.counts().requests == 1
