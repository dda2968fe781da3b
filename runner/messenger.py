"""One message through apprise, in a process of its own: what hangs there is killed, what it prints is not heard.

`python messenger.py VARIABLE` reads `{"title": …, "body": …, "type": …, "attach": [URL of a file, …]}` from standard
input and sends it to what the apprise URL in that environment variable names. It answers with one JSON object: a stable
`code`, and in `said` what apprise had to say, which can quote the URL: whoever reads it takes that out. Imports nothing
else of this program.
"""

import json
import logging
import os
import sys
from typing import Any


class _Ear(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def send(url: str, message: dict[str, Any]) -> dict[str, str]:
    """Send a message. The code is `sent`, `missing` (no apprise here), `bad-url` or `failed`."""
    try:
        import apprise
    except ImportError:
        return {"code": "missing", "said": ""}
    ear = _Ear()
    logging.getLogger("apprise").addHandler(ear)
    asset = apprise.AppriseAsset(app_id="omixa", app_desc="omixa alerts")
    service = apprise.Apprise(asset=asset)
    if not service.add(url) or not len(service):
        return {"code": "bad-url", "said": ""}
    arrived = service.notify(
        title=message["title"], body=message["body"], notify_type=message["type"], attach=message["attach"] or None
    )
    return {"code": "sent" if arrived else "failed", "said": " ".join(ear.heard)}


def main() -> int:
    """Send what standard input says, and answer on standard output."""
    message = json.load(sys.stdin)
    print(json.dumps(send(os.environ[sys.argv[1]], message)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
