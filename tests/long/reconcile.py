"""Four seeded differences in an invoice of 5 000 lines are all found and none is invented; `--apply` twice is once.

    python -m tests.long.reconcile                     5 000 lines, by id and by time alone; then 200 000
    python -m tests.long.reconcile --large 0           without the large one

A real ledger and a real file each; prints what was found, the time and the most memory. Ends with 1 when it is not
just what was seeded.
"""

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from runner.ledger.database import moment, open_database, sqlite_module
from runner.ledger.ledger import Ledger
from tests.ledger.conftest import NOON, RUN, Desk, no_uptime

SETTINGS = """
[endpoints.paid]
url = "https://endpoint.invalid/api/v1"
[workspaces.studio]
endpoint = "paid"
api_key = { env = "STUDIO_KEY" }
currency = "USD"
time_zone = "UTC"
unlimited = true
[invoices.named]
time = "time"
amount = "amount"
id = "request"
model = "model"
[invoices.nameless]
time = "time"
amount = "amount"
"""
# What an attempt of the large ledger is copied from; quick, and every value as the program writes it but the entry.
_COPY = (
    "INSERT INTO attempts SELECT :id, run_id, workspace, recipe, model, 'k' || :id, NULL, source_path, source_digest, "
    "source_bytes, prompt_name, prompt_digest, negative_digest, preset_name, options, output_path, state, "
    "reserved_micros, billed_micros, billed_text, breach, code, message, status, 'r-' || :id, headers, body_head, "
    "result_digest, result_bytes, result_width, result_height, remark, :day, :at, :at, :ended "
    "FROM attempts WHERE id = 1"
)


def make(root: Path, count: int, seed: int) -> list[dict[str, str]]:
    """A ledger of `count` settled attempts, a few seconds apart, and the provider's true lines of them."""
    dice = random.Random(seed)
    (root / "omixa.toml").write_text(SETTINGS)
    lines = []
    with open_database(root / ".omixa" / "ledger.db", create=True) as opened:
        desk = Desk(Ledger(opened, uptime=no_uptime), RUN)
        desk.buy("first", caps=())
        at = NOON
        with opened.write_transaction() as connection:
            for number in range(2, count + 2):
                at += timedelta(seconds=dice.randint(4, 15))
                ended = at + timedelta(seconds=dice.randint(1, 3), milliseconds=dice.randint(0, 999))
                values = {"id": number, "day": f"{at:%Y-%m-%d}", "at": moment(at), "ended": moment(ended)}
                connection.execute(text(_COPY), values)
                billed_at = ended + timedelta(milliseconds=dice.randint(-400, 400))
                line = {"time": billed_at.isoformat(), "amount": "0.039000", "request": f"r-{number}"}
                lines.append({**line, "model": "stability-upscale-creative"})
            # The one that all others are copies of is in no month.
            connection.execute(text("UPDATE attempts SET sent_at = '2000-01-01T00:00:00.000000Z' WHERE id = 1"))
    return lines


def seed_differences(lines: list[dict[str, str]], dice: random.Random) -> set[tuple[str, str]]:
    """Put four in, far apart: one lost, one dearer, one of nobody, one twice. Returns what must be found."""
    lost, dearer, twice = (
        dice.randrange(start, start + len(lines) // 8) for start in (100, len(lines) // 3, len(lines) // 2)
    )
    expected = {("only-ours", lines[lost]["request"]), ("differs", lines[dearer]["request"])}
    expected |= {("duplicate", lines[twice]["request"]), ("only-theirs", "r-nobody")}
    lines[dearer]["amount"] = "0.041000"
    again, nobody = dict(lines[twice]), {**lines[-5], "request": "r-nobody", "amount": "0.700000"}
    del lines[lost]
    lines += [again, nobody]
    dice.shuffle(lines)
    return expected


def omixa(root: Path, *words: str) -> tuple[int, Any, float, int]:
    """The program as a process: how it ended, what it said, its seconds and its kilobytes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "runner", "--project", str(root), *words, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), took, peak


def one(count: int, seed: int, *, named: bool) -> bool:
    """One ledger and its invoice. Whether what was found is what was seeded."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="omixa-reconcile-") as folder:
        root = Path(folder)
        lines = make(root, count, seed)
        expected = seed_differences(lines, dice)
        invoice = root / "invoice.csv"
        with invoice.open("w", newline="") as out:
            writer = csv.DictWriter(out, ["time", "amount", "request", "model"])
            writer.writeheader()
            writer.writerows(lines)
        words = ["reconcile", str(invoice), "--invoice", "named" if named else "nameless"]
        words += ["--from", "2026-11-22", "--to", "2027-12-31"]
        code, told, took, peak = omixa(root, *words)
        found = [(str(row["verdict"]), row["id"]) for row in told["rows"] if row["verdict"] != "matched"]
        if named:
            right = code == 1 and len(found) == 4 and set(found) == expected
        else:
            # Without ids a line that stands twice is one of nobody, and of an attempt only its place in time is known.
            kinds = sorted(verdict for verdict, _ in found)
            right = code == 1 and kinds == ["differs", "only-ours", "only-theirs", "only-theirs"]
            right = right and {found_id for verdict, found_id in found if verdict in ("differs", "only-ours")} == {
                name for verdict, name in expected if verdict in ("differs", "only-ours")
            }
        print(
            f"{len(lines)} lines by {'id' if named else 'time'}: {len(found)} of 4 differences, "
            f"{told['counts']['matched']} matched, ours − theirs {told['difference']} USD; "
            f"{took:.1f} s, {peak // 1024} MB: {'right' if right else f'WRONG: {found}, expected {expected}'}",
            flush=True,
        )
        applied = [omixa(root, *words, "--apply") for _ in range(2)]
        entries = [_entries(root)]
        omixa(root, *words, "--apply")
        entries.append(_entries(root))
        said = [one["applied"] for _, one, _, _ in applied]
        same = applied[0][1]["rows"] == applied[1][1]["rows"] == told["rows"] and entries[0] == entries[1]
        same = same and said[1]["recorded"] == 0 and said[0]["recorded"] == len(told["rows"])
        print(
            f"  applied: {said[0]['recorded']} recorded in {applied[0][2]:.1f} s, again {said[1]['recorded']}: "
            f"{'the same' if same else 'NOT THE SAME'}",
            flush=True,
        )
        return right and same


def _entries(root: Path) -> int:
    with sqlite_module().connect(root / ".omixa" / "ledger.db") as connection:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def main() -> int:
    """Both ways, and a large one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    right = [one(5_000, asked.seed, named=named) for named in (True, False)]
    if asked.large:
        right += [one(asked.large, asked.seed, named=named) for named in (True, False)]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
