"""Every value, every row and every byte of a ledger, changed one at a time: does `omixa audit verify` find it?

    python -m tests.long.tampering            every value and row, and every byte
    python -m tests.long.tampering --step 7   every seventh byte

A change that is not found, and that changes what the ledger says, ends the command with 1.
"""

import argparse
import sqlite3
import sys
import tempfile
from pathlib import Path

from runner.ledger.database import open_database
from runner.ledger.ledger import Ledger
from tests.ledger import test_verify
from tests.ledger.conftest import no_uptime


def main() -> int:
    """Try everything and say how much of it was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", type=int, default=1)
    step = parser.parse_args().step
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "home" / "ledger.db"
        with open_database(path, create=True) as opened:
            test_verify.fill(Ledger(opened, uptime=no_uptime))
        tried = refused = 0
        missed = []
        for words, statement, values in test_verify.changed_values(path):
            try:
                copy = test_verify.meddle(path, folder / "copy" / "ledger.db", (statement, values))
            except sqlite3.IntegrityError:
                refused += 1
                continue
            tried += 1
            if not test_verify.found_in(copy):
                missed.append(words)
        print(
            f"values: {tried} changes, {refused} more refused by the file itself, {len(missed)} not found", flush=True
        )
        for words in missed:
            print(f"  {words}")
        rows = len(list(test_verify.rows_of(path)))
        test_verify.test_every_row_that_is_taken_out_is_found(path, folder / "out", 1)
        test_verify.test_every_row_that_is_put_in_beside_its_like_is_found(path, folder / "in", 1)
        print(f"rows: {rows} taken out one by one, {rows} put in beside their like, all found", flush=True)
        test_verify.test_every_byte_of_the_file_that_says_something_is_guarded(path, folder / "bytes", step)
        print(f"bytes: one in {step} of {path.stat().st_size}: found, or the file says exactly the same", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
