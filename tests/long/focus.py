"""The official FOCUS validator reads what `omixa report --format focus` writes, as CSV and as Parquet.

It needs Python 3.12 or newer and packages of its own, so it gets an environment of its own. It always ends with 0: its
`Total:` line is read. Of two rules for InvoiceId that contradict each other one always fails; any other is ours.

    python -m tests.long.focus --python python3.12
"""

import argparse
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runner.reports import FORMATS
from runner.reports.book import Book
from tests.reports.test_report import row

VERSION = "2.2.1"
CONTRADICTORY = {"InvoiceId-C-004-C", "InvoiceId-C-005-C"}
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def main() -> int:
    """Validate; 1 when a rule fails that can be kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default="python3.12", help="3.12 or newer (default: python3.12)")
    parser.add_argument("--rows", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="omixa-focus-") as name:
        folder = Path(name)
        environment = folder / "environment"
        subprocess.run([options.python, "-m", "venv", environment], check=True)
        wanted = [f"focus-validator=={VERSION}", "pyarrow<24"]
        subprocess.run([environment / "bin/pip", "install", "--quiet", *wanted], check=True)
        # It looks for its own files below the folder that it is started in.
        (home,) = environment.glob("lib/python3*/site-packages")
        return max(validated(folder / f"usage.{kind}", environment, home, options.rows) for kind in ("csv", "parquet"))


def validated(file: Path, environment: Path, home: Path, count: int) -> int:
    """Write a file and have it read."""
    chosen = FORMATS["focus" if file.suffix == ".csv" else "focus-parquet"]
    zones = {"studio": "Europe/Berlin", "lab": "America/New_York"}
    with file.open("wb" if chosen.is_binary else "w", newline=None if chosen.is_binary else "") as out:
        chosen.write(map(attempt, range(count)), Book("usage", "omixa-runner", NOW, zones), out)
    command = [environment / "bin/focus-validator", "--data-file", file, "--validate-version", "1.2"]
    done = subprocess.run([*command, "--block-download"], cwd=home, capture_output=True, text=True)
    total = re.search(r"^Total: .*$", done.stdout, re.MULTILINE)
    failed = set(re.findall(r"^❌ (\S+): FAIL", done.stdout, re.MULTILINE))
    print(f"{file.name}, {count} attempts: {total[0] if total else done.stderr}")
    print(f"  failed: {', '.join(sorted(failed)) or 'none'}")
    return int(total is None or not failed <= CONTRADICTORY or len(failed) > 1)


def attempt(number: int) -> object:
    """One of many, unlike its neighbours."""
    ended = NOW - timedelta(hours=number % 700)
    return row(
        number + 1,
        "settled" if number % 5 else "released",
        39_000 + number % 1000,
        workspace=("studio", "lab")[number % 2],
        currency=("USD", "EUR", "sandbox-USD")[number % 3],
        recipe=f"recipe-{number % 7}",
        cost_centre=(None, "4711", "marketing")[number % 3],
        labels={"client": f"client-{number % 11}"} if number % 4 else {},
        day=f"{ended:%Y-%m-%d}",
        ended_at=f"{ended:%Y-%m-%dT%H:%M:%S.000000Z}",
        has_picture=bool(number % 13),
    )


if __name__ == "__main__":
    sys.exit(main())
