"""What is no spooled answer is said so, whatever stands in the file."""

from pathlib import Path

import pytest

from runner.providers.key import Key
from runner.providers.omixa import OmixaProvider
from runner.providers.provider import Unknown


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n{}",
        b"[" * 100_000,
        b'{"status": Infinity, "headers": {}, "received_at": "2026-11-22T12:00:00+00:00"}\n{}',
        b'{"status": NaN, "headers": {}, "received_at": "2026-11-22T12:00:00+00:00"}\n{}',
        b'{"status": 400, "headers": {}, "received_at": "0001-01-01T00:00:00+23:59"}\n{}',
        b'{"status": 400, "headers": [], "received_at": "2026-11-22T12:00:00+00:00"}\n{}',
        b'{"status": ' + b"9" * 10_000 + b', "headers": {}, "received_at": "2026-11-22T12:00:00+00:00"}\n{}',
        b'{"status": 400, "headers": {}}\n{}',
        b"\xff\xfe\n",
    ],
)
def test_a_damaged_spool_leaves_the_attempt_in_doubt_and_raises_nothing(spool: Path, key: Key, content: bytes) -> None:
    spool.write_bytes(content)
    outcome = OmixaProvider(url="https://endpoint.test", key=key, timeout_s=20).read_spooled(spool)
    assert isinstance(outcome, Unknown)
    assert outcome.code == "spool-unreadable"
