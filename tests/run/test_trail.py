"""The audit trail of real runs: checkpoints at their end, a bundle that is checked without omixa, a frozen ledger."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.run.conftest import Studio


def checkpoints(studio: Studio) -> Path:
    return studio.root / ".omixa" / "checkpoints.txt"


def meddle(studio: Studio, statement: str) -> None:
    with closing(sqlite3.connect(studio.root / ".omixa" / "ledger.db")) as raw:
        raw.executescript(statement)
        raw.commit()


def test_a_run_ends_with_a_signed_checkpoint_and_the_ledger_verifies(studio: Studio) -> None:
    studio.pictures(3)
    assert studio.run().code == 0
    assert checkpoints(studio).read_text().count("— omixa/") >= 1
    found = studio.omixa("audit", "verify")
    assert found.code == 0, found
    assert found.out.startswith("sound: "), found
    assert "What it cannot see" in found.out
    assert "note `omixa audit key` elsewhere" in found.err
    key = studio.omixa("audit", "key").out.strip()
    told = json.loads(studio.omixa("audit", "verify", "--key", key, "--json").out)
    assert (told["sound"], told["faults"], told["checkpoints"]) == (True, [], 2)


def test_checkpoints_go_where_omixa_toml_says_and_a_rollback_shows(studio: Studio) -> None:
    settings = (studio.root / "omixa.toml").read_text()
    (studio.root / "omixa.toml").write_text(settings + '[audit]\ncheckpoints = "audit/points.txt"\n')
    studio.pictures(2)
    assert studio.run().code == 0
    ledger = studio.root / ".omixa" / "ledger.db"
    with closing(sqlite3.connect(ledger)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    older = ledger.read_bytes()
    studio.pictures(3)
    assert studio.run().code == 0
    assert not checkpoints(studio).exists()
    for side in ledger.parent.glob("ledger.db-*"):
        side.unlink()
    ledger.write_bytes(older)
    found = studio.omixa("audit", "verify")
    assert found.code == 8, found
    assert "the ledger was cut off or put back to an older copy" in found.out


def test_a_changed_row_is_named_and_the_exit_code_says_so(studio: Studio) -> None:
    studio.pictures(2)
    assert studio.run().code == 0
    meddle(studio, "UPDATE attempts SET output_path = 'elsewhere.png' WHERE id = 2")
    found = studio.omixa("audit", "verify")
    assert found.code == 8, found
    assert found.out.startswith("BAD  attempts: row 2: `output_path` is not what its entries say\n")


def test_a_bundle_is_checked_without_omixa(studio: Studio, tmp_path: Path) -> None:
    studio.pictures(3)
    assert studio.run().code == 0
    key = studio.omixa("audit", "key").out.strip()
    bundle = tmp_path / "bundle"
    made = studio.omixa("audit", "export", "--bundle", str(bundle))
    assert made.code == 0, made

    def check() -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-I", str(bundle / "verifier.py"), str(bundle), "--key", key]
        return subprocess.run(
            [*words, "--checkpoints", str(checkpoints(studio))], capture_output=True, text=True, check=False
        )

    found = check()
    assert found.returncode == 0, found.stdout + found.stderr
    assert "SOUND" in found.stdout
    lines = (bundle / "entries.jsonl").read_text().replace('"settled_micros":39000', '"settled_micros":38000')
    (bundle / "entries.jsonl").write_text(lines)
    found = check()
    assert found.returncode == 1
    assert "BAD  entries.jsonl line " in found.stdout
    again = studio.omixa("audit", "export", "--bundle", str(bundle))
    assert again.code == 2, again


def test_a_ledger_that_does_not_add_up_is_frozen_and_repaired_from_its_chain(studio: Studio) -> None:
    studio.pictures(2)
    assert studio.run().code == 0
    meddle(studio, "UPDATE budget_windows SET settled_micros = 1")
    studio.pictures(3)
    ended = studio.run()
    assert ended.code == 8, ended
    assert "the ledger is frozen, nothing is reserved: budget month" in ended.err
    assert studio.endpoint.counts().requests == 2
    assert "nothing is reserved: the ledger is frozen" in studio.omixa("budget").out
    mended = studio.omixa("audit", "repair", "--note", "a tool wrote into it")
    assert mended.code == 0, mended
    assert "was: budget month" in mended.out
    assert studio.run().code == 0
    assert (studio.settled, studio.endpoint.counts().requests) == (117_000, 3)
    assert studio.omixa("audit", "verify").code == 0


def test_a_ledger_whose_chain_is_broken_is_not_repaired(studio: Studio) -> None:
    studio.pictures(1)
    assert studio.run().code == 0
    meddle(studio, "UPDATE attempts SET billed_micros = 1")
    studio.pictures(2)
    assert studio.run().code == 8
    refused = studio.omixa("audit", "repair", "--note", "please")
    assert refused.code == 8, refused
    assert "the chain is not sound" in refused.err


@pytest.mark.parametrize("words", [["purge", "--note", "x"], ["repair"], ["verify", "--checkpoints", "nowhere"]])
def test_what_is_missing_is_said(studio: Studio, words: list[str]) -> None:
    ended = studio.omixa("audit", *words)
    assert ended.code == 2, ended
    assert "   = help: " in ended.err


def test_old_prompts_are_purged_and_the_chain_is_whole(studio: Studio) -> None:
    studio.pictures(1)
    assert studio.run().code == 0
    done = studio.omixa("audit", "purge", "--before", "2099-01-01", "--note", "the client asked")
    assert done.code == 0, done
    assert "purged 1 prompt of 1 attempt" in done.out
    assert studio.omixa("audit", "verify").code == 0
    for file in (studio.root / ".omixa").glob("ledger.db*"):
        assert b"Restore it." not in file.read_bytes()
