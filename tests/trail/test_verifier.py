"""The verifier that stands alone: it finds and names every change of an export, and needs nothing of ours."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.trail import payload, verifier
from runner.trail.checkpoint import Checkpoint, append, origin, read
from runner.trail.merkle import Frontier
from runner.trail.payload import Entry
from tests.trail.bundle import LEDGER, STORY, write_bundle_example
from tests.trail.entries import any_entry, with_
from tests.trail.test_checkpoint import KEY, OTHER, ROOT

SCRIPT = Path(verifier.__file__)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound export."""
    write_bundle_example(tmp_path / "export")
    return tmp_path / "export"


key_of = cache(verifier.Key)


def check(folder: Path, *more: str, keys: tuple[str, ...] = (KEY.vkey,)) -> tuple[int, str]:
    """What the verifier ends with and says, in this process."""
    trail = verifier.check(folder, [key_of(key) for key in keys], [Path(word) for word in more], False)
    return (verifier.NOT_SOUND if trail.problems else verifier.SOUND), "\n".join(trail.problems)


def found(folder: Path, *words: str, keys: tuple[str, ...] = (KEY.vkey,)) -> str:
    """The problems of an export that must not be sound."""
    status, said = check(folder, keys=keys)
    assert status == verifier.NOT_SOUND, words
    for word in words:
        assert word in said, said
    return said


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def put(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def run(*words: str, script: Path = SCRIPT, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """The script as an auditor runs it: no environment, no site packages, not this project's folder."""
    return subprocess.run(
        [python, "-I", "-S", str(script), *words], capture_output=True, text=True, cwd=script.parent, env={}
    )


# ---- sound


def test_a_sound_export_is_sound_and_says_how_much_checkpoints_fix(folder: Path) -> None:
    done = run(str(folder), "--key", KEY.vkey)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'SOUND: ledger `"5b2f0c1e9d3a4b77"`: 17 entries, 6 attempts, 5 checkpoints.' in done.stdout
    assert 'chain `"studio"`: 7 entries, 6 fixed by signed checkpoints; the last 1 could be rewritten' in done.stdout
    assert 'chain `"lab"`: 10 entries, 9 fixed by signed checkpoints; the last 1 could be rewritten' in done.stdout
    assert "What this cannot see" in done.stdout
    assert "WARNING" not in done.stdout


def test_it_is_one_file_that_runs_anywhere(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "verifier.py"
    alone.parent.mkdir()
    shutil.copy(SCRIPT, alone)
    assert run(str(folder), "--key", KEY.vkey, script=alone).returncode == 0


def test_it_runs_on_older_pythons_too(folder: Path) -> None:
    """Those that are at hand; the rest is kept by writing no newer syntax."""
    for minor in range(8, 15):
        python = shutil.which(f"python3.{minor}")
        if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode != 0:
            continue
        done = run(str(folder), "--key", KEY.vkey, python=python)
        assert (done.returncode, done.stderr) == (0, ""), python


def test_its_help_explains_everything() -> None:
    done = run("--help")
    assert done.returncode == 0
    for words in ("entries.jsonl", "attempts.jsonl", "heads.json", "checkpoints.txt", "--allow-torn", "Exit status"):
        assert words in done.stdout
    assert verifier.LIMITS in done.stdout


def test_an_empty_ledger_is_sound(tmp_path: Path) -> None:
    write_bundle_example(tmp_path, [])
    assert check(tmp_path) == (0, "")


def test_without_a_key_it_says_loudly_that_no_signature_was_checked(folder: Path) -> None:
    done = run(str(folder))
    assert done.returncode == 0
    assert done.stdout.startswith("WARNING: no --key was given: NO SIGNATURE WAS CHECKED.")
    assert "fixed by checkpoints whose signature was NOT checked" in done.stdout


def test_what_cannot_be_read_is_not_called_unsound(folder: Path, tmp_path: Path) -> None:
    for name in ("heads.json", "entries.jsonl", "attempts.jsonl", "checkpoints.txt"):
        copy = tmp_path / f"without-{name}"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        done = run(str(copy), "--key", KEY.vkey)
        assert done.returncode == 2
        assert done.stderr == f"cannot check: {copy / name} cannot be read: No such file or directory\n"
    for key in ("", "omixa", KEY.vkey[:-1], KEY.vkey.replace("omixa", "omixo")):
        done = run(str(folder), "--key", key)
        assert done.returncode == 2
        assert done.stderr.startswith("cannot check: ")
    assert run(str(folder), "--key", KEY.vkey, "--checkpoints", str(tmp_path / "none")).returncode == 2


# ---- every change of a line


@pytest.mark.parametrize("name", ["entries.jsonl", "attempts.jsonl"])
def test_a_line_that_is_missing_doubled_or_moved_is_found_and_named(folder: Path, name: str) -> None:
    path = folder / name
    whole = lines(path)
    for at in range(len(whole)):
        put(path, whole[:at] + whole[at + 1 :])
        # The last line of a chain is missed by heads.json, which says how many there are; of attempts, by the entries.
        said = found(folder)
        assert f"{name} line " in said or "heads.json, chain " in said or f"{name}: it ends" in said
        put(path, [*whole[: at + 1], whole[at], *whole[at + 1 :]])
        found(folder, f"{name} line {at + 2}")
        for to in range(at + 1, len(whole)):
            swapped = list(whole)
            swapped[at], swapped[to] = whole[to], whole[at]
            put(path, swapped)
            found(folder, f"{name} line {at + 1}" if name == "attempts.jsonl" else f"{name} line ")
    put(path, [*whole, b"\n"])
    found(folder, f"{name} line {len(whole) + 1}")


def test_lines_that_were_removed_with_all_ids_and_numbers_made_to_fit_are_found(tmp_path: Path) -> None:
    for gone in range(len(STORY)):
        ids = iter(range(1, len(STORY) + 1))
        write_bundle_example(tmp_path, altered=lambda line, ids=ids: line.update(id=next(ids)))
        path = tmp_path / "entries.jsonl"
        put(path, lines(path)[:gone] + lines(path)[gone + 1 :])
        chain = STORY[gone][0]
        later = [number for number, (name, *_) in enumerate(STORY, 1) if name == chain and number > gone + 1]
        # The next entry of that chain does not follow; at its end, the head does not.
        found(tmp_path, f"entries.jsonl line {later[0] - 1} " if later else f'heads.json, chain `"{chain}"`')
        shutil.rmtree(tmp_path)


def test_a_tail_that_was_dropped_is_found_at_every_byte(folder: Path) -> None:
    for name in ("entries.jsonl", "attempts.jsonl", "heads.json"):
        path = folder / name
        whole = path.read_bytes()
        for end in range(0, len(whole) - 1, 1 if name == "attempts.jsonl" else 17):
            path.write_bytes(whole[:end])
            said = found(folder, keys=())
            if whole[:end][-1:] not in (b"", b"\n"):
                assert f"{name} line {whole[:end].count(10) + 1}: it has no end" in said or name == "heads.json"
        path.write_bytes(whole)
    assert check(folder) == (0, "")


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two texts are the same JSON, each key once: then nothing was changed that anybody could read."""
    try:
        return bool(json.loads(one) == json.loads(other)) and len(one) == len(other)
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["entries.jsonl", "attempts.jsonl", "heads.json"])
def test_every_flipped_byte_is_found_and_named(folder: Path, name: str) -> None:
    path = folder / name
    whole = lines(path) if name != "heads.json" else [path.read_bytes()]
    checked = 0
    # Of entries a few lines: each byte of them, with every bit once.
    for at, line in list(enumerate(whole))[:: 6 if name == "entries.jsonl" else 1]:
        for place in range(len(line)):
            bad = bytearray(line)
            bad[place] ^= 1 << (place % 8)
            if same_json(bytes(bad), line):
                continue
            put(path, [*whole[:at], bytes(bad), *whole[at + 1 :]])
            said = found(folder, keys=())  # no signature is needed to find it, and each takes its time
            assert f"{name} line {at + 1}" in said or "heads.json" in said or "checkpoints.txt line 1" in said, said
            checked += 1
    assert checked > 300


def test_every_flipped_byte_of_a_checkpoint_is_found_and_named(folder: Path) -> None:
    path = folder / "checkpoints.txt"
    whole = path.read_bytes()
    second = len(whole) // 5
    for place in range(second * 2):
        bad = bytearray(whole)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        said = found(folder, "checkpoints.txt line ")
        # A line break that is lost joins two notes, so either of them may be named.
        assert "checkpoints.txt line 1:" in said if place < second - 1 else "checkpoints.txt line " in said


def test_a_line_of_checkpoints_that_is_missing_doubled_or_moved_is_found(folder: Path) -> None:
    path = folder / "checkpoints.txt"
    whole = lines(path)
    assert len(whole) == 5 * 7
    for at, line in enumerate(whole):
        if line == b"\n" and at % 7 == 6:
            # The empty line between two notes.
            continue
        put(path, whole[:at] + whole[at + 1 :])
        found(folder, f"checkpoints.txt line {at // 7 * 7 + 1}:")
        if line == b"\n" or at % 7 == 5:
            continue  # a second empty line, or the same signature twice, says nothing new
        put(path, [*whole[: at + 1], line, *whole[at + 1 :]])
        found(folder, f"checkpoints.txt line {at // 7 * 7 + 1}:")
        put(path, [*whole[:at], whole[at + 1], line, *whole[at + 2 :]])
        found(folder, f"checkpoints.txt line {at // 7 * 7 + 1}:")


# ---- somebody who can make all hashes anew


def story(change: Callable[[list[Any]], None]) -> list[Any]:
    changed = [list(line) for line in STORY]
    change(changed)
    return changed


def rewritten(folder: Path, changed: list[Any]) -> None:
    """An export in which everything is made anew but the checkpoints, which need the key."""
    kept = (folder / "checkpoints.txt").read_bytes()
    write_bundle_example(folder, changed, checkpoints=False)
    (folder / "checkpoints.txt").write_bytes(kept)


def test_a_history_that_was_rewritten_with_all_hashes_made_anew_is_found_by_the_next_checkpoint(folder: Path) -> None:
    def cheaper(changed: list[Any]) -> None:
        changed[4][4] = 39_000

    rewritten(folder, story(cheaper))
    # What differs is on line 5, the fourth entry of its chain; its next checkpoint is over six.
    found(
        folder, "entries.jsonl line 7 ", "the 6 entries of its chain up to here are not those", "checkpoints.txt line"
    )


def test_what_no_checkpoint_covers_can_be_rewritten_and_the_report_says_so(folder: Path) -> None:
    def otherwise(changed: list[Any]) -> None:
        changed[16][5] = {"code": "read-timeout"}

    rewritten(folder, story(otherwise))
    assert check(folder) == (0, "")
    assert "the last 1 could be rewritten unseen" in run(str(folder), "--key", KEY.vkey).stdout


def test_a_chain_that_was_cut_short_or_put_back_is_found_by_a_checkpoint(folder: Path) -> None:
    rewritten(folder, STORY[:9])
    found(
        folder, 'checkpoints.txt line 22: chain `"lab"` had 6 entries at', "the export has 3", "put back to an old copy"
    )
    rewritten(folder, [line for line in STORY if line[0] == "studio"])
    assert 'chain `"lab"` had 3 entries' in check(folder)[1]


def test_a_checkpoint_from_elsewhere_finds_what_was_cut_off_together_with_its_checkpoints(tmp_path: Path) -> None:
    write_bundle_example(tmp_path / "whole")
    write_bundle_example(tmp_path / "cut", STORY[:9])
    assert check(tmp_path / "cut") == (0, "")
    elsewhere = tmp_path / "whole" / "checkpoints.txt"
    status, said = check(tmp_path / "cut", str(elsewhere))
    assert status == 1
    assert "had 6 entries at" in said
    assert run(str(tmp_path / "cut"), "--key", KEY.vkey, "--checkpoints", str(elsewhere)).returncode == 1
    assert run(str(tmp_path / "whole"), "--key", KEY.vkey, "--checkpoints", str(elsewhere)).returncode == 0


def test_checkpoints_of_another_key_are_found(folder: Path, tmp_path: Path) -> None:
    write_bundle_example(tmp_path / "theirs", key=OTHER)
    found(tmp_path / "theirs", "checkpoints.txt line 1: signed by ", "with no key that was given")
    assert check(tmp_path / "theirs", keys=(KEY.vkey, OTHER.vkey)) == (0, "")
    assert check(tmp_path / "theirs", keys=()) == (0, "")


def test_two_histories_that_were_both_signed_are_found(folder: Path) -> None:
    append(folder / "checkpoints.txt", KEY.sign(Checkpoint(origin(LEDGER, "studio"), 3, ROOT, "later")))
    found(folder, "another root for 3 entries of chain", "two histories were signed")


def test_a_checkpoint_of_another_ledger_is_found(folder: Path) -> None:
    append(folder / "checkpoints.txt", KEY.sign(Checkpoint(origin("other", "studio"), 3, ROOT, "later")))
    found(folder, "which is not of this ledger")


def test_a_checkpoint_of_nothing_and_a_doubled_one_are_sound(folder: Path) -> None:
    append(folder / "checkpoints.txt", KEY.sign(Checkpoint(origin(LEDGER, "lab"), 0, Frontier().root(), "early")))
    append(folder / "checkpoints.txt", next(iter(read(folder / "checkpoints.txt"))))
    assert check(folder) == (0, "")


def test_a_checkpoint_over_no_entries_has_the_root_of_nothing(folder: Path) -> None:
    append(folder / "checkpoints.txt", KEY.sign(Checkpoint(origin(LEDGER, "lab"), 0, ROOT, "early")))
    found(folder, "checkpoints.txt line 36:", "no entries")


def test_a_torn_checkpoint_is_unsound_until_a_person_says_that_a_crash_explains_it(folder: Path) -> None:
    whole = (folder / "checkpoints.txt").read_bytes()
    late = KEY.sign(Checkpoint(origin(LEDGER, "lab"), 10, ROOT, "late")).encode()
    for end in (1, 90, late.index(b"\n\n") + 2, len(late) - 4, len(late) - 1):
        (folder / "checkpoints.txt").write_bytes(whole + late[:end])
        found(folder, "checkpoints.txt line 36: this is not a whole checkpoint")
        done = run(str(folder), "--key", KEY.vkey, "--allow-torn")
        assert done.returncode == 0
        assert "REMARK  checkpoints.txt line 36: not a whole note, passed over" in done.stdout
    # A line end that was added later does not make a cut signature whole.
    (folder / "checkpoints.txt").write_bytes(whole + late[:-5] + b"\n\n")
    found(folder, "checkpoints.txt line 36: this is not a whole checkpoint: it has no whole signature")


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ({"seq": 4}, "expected seq 3 after line 4: entries are missing before it"),
        ({"seq": 2}, "expected seq 3 after line 4: it stands there twice"),
        ({"before": ROOT}, "it follows the hash `000102"),
        ({"ledger": "another"}, 'an entry of ledger `"another"`'),
    ],
)
def test_an_entry_that_does_not_follow_is_found_though_everything_was_made_to_fit_it(
    tmp_path: Path, forged: dict[str, Any], words: str
) -> None:
    write_bundle_example(tmp_path, forged=lambda number, entry: replace(entry, **forged) if number == 5 else entry)
    found(tmp_path, 'entries.jsonl line 5 (id `5`, chain `"studio"`', words)


# ---- entries that are linked well and do not make sense


@pytest.mark.parametrize(
    ("at", "line", "words"),
    [
        (0, ("studio", "reserve", None, 700_000, 0, {}), "a reservation is of an attempt above 0"),
        (0, ("studio", "reserve", 1, 0, 0, {}), "of money above 0"),
        (0, ("studio", "reserve", 1, -5, 0, {}), "of money above 0"),
        (0, ("studio", "reserve", 1, 5, 5, {}), "of money above 0"),
        (3, ("studio", "reserve", 2, 700_000, 0, {}), "a reservation is of an attempt above 2"),
        (1, ("studio", "sent", 9, 0, 0, {}), "attempt 9 is not open"),
        (1, ("lab", "sent", 1, 0, 0, {}), "so it cannot be sent in chain"),
        (1, ("studio", "sent", 1, 1, 0, {}), "it moves open by 1"),
        (1, ("studio", "unknown", 1, 0, 0, {}), "attempt 1 is reserved"),
        (1, ("studio", "settle", 1, -700_000, 1, {}), "attempt 1 is reserved"),
        (4, ("studio", "settle", 1, -699_999, 1, {}), "open must move by -700000"),
        (4, ("studio", "settle", 1, -700_000, -1, {}), "settled by -1"),
        (9, ("studio", "release", 3, -700_000, 1, {}), "settled by 1"),
        (9, ("studio", "release", 3, 0, 0, {}), "open must move by -700000"),
        (9, ("studio", "release", 1, -700_000, 0, {}), "attempt 1 is not open"),
        (5, ("studio", "breach", 1, 0, 5, {}), "no money to move"),
        (5, ("studio", "breach", 7, 0, 0, {}), "of no attempt"),
        (6, ("studio", "stop", None, 5, 0, {}), "no money to move"),
        (6, ("studio", "release", None, 0, 0, {}), "of no attempt"),
    ],
)
def test_entries_that_do_not_follow_from_those_before_are_found(
    tmp_path: Path, at: int, line: tuple[Any, ...], words: str
) -> None:
    write_bundle_example(tmp_path, [*STORY[:at], line, *STORY[at + 1 :]])
    found(tmp_path, f"entries.jsonl line {at + 1} ", words)


@pytest.mark.parametrize(
    ("attempt", "name", "value", "words"),
    [
        (1, "state", "released", '`"state"` is `"released"`, and `"settled"` by its entries'),
        (1, "billed_micros", 39_000, '`"billed_micros"` is `39000`, and `900000` by its entries'),
        (1, "billed_micros", None, '`"billed_micros"` is `null`, and `900000`'),
        (1, "reserved_micros", 900_000, '`"reserved_micros"` is `900000`, and `700000`'),
        (1, "workspace", "lab", '`"workspace"` is `"lab"`, and `"studio"`'),
        (1, "recipe", "logos", '`"recipe"` is `"logos"`, and `"posters"`'),
        (1, "git_dirty", 0, '`"git_dirty"` is `0`, and `false`'),
        (1, "remark", "fine", '`"remark"` is `"fine"`, and no entry says so'),
        (2, "billed_micros", False, '`"billed_micros"` is `false`, and `0`'),
        (4, "state", "unknown", '`"state"` is `"unknown"`, and `"sent"`'),
        (6, "code", "read-timeout", '`"code"` is `"read-timeout"`, and `"reset"`'),
    ],
)
def test_an_attempt_that_does_not_follow_from_its_entries_is_found(
    folder: Path, attempt: int, name: str, value: Any, words: str
) -> None:
    path = folder / "attempts.jsonl"
    rows = [json.loads(line) for line in lines(path)]
    rows[attempt - 1][name] = value
    put(path, [json.dumps(row).encode() + b"\n" for row in rows])
    found(folder, f"attempts.jsonl line {attempt} (attempt {attempt})", words)


def test_a_fact_that_is_missing_from_an_attempt_is_found(folder: Path) -> None:
    path = folder / "attempts.jsonl"
    rows = [json.loads(line) for line in lines(path)]
    del rows[2]["code"]
    put(path, [json.dumps(row).encode() + b"\n" for row in rows])
    found(folder, 'attempts.jsonl line 3 (attempt 3): `"code"` is missing, and `"not-sent"` by its entries')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: line["entry"].update(settled_micros=39_000), '`settled_micros` of the payload is `"900000"`'),
        (lambda line: line["entry"].update(who="bert"), "field `who` of the payload"),
        (lambda line: line["entry"].update(seq=True), "`seq` of the readable copy is `true`"),
        (lambda line: line["entry"].update(before="00"), "`before` of the readable copy"),
        (lambda line: line["entry"].update(note=""), "field `note` of the payload"),
        (lambda line: line["entry"].update(more=1), '`entry`: `"more"` does not belong here'),
        (lambda line: line["entry"].pop("who"), "`entry`: `who` is missing"),
        (lambda line: line.update(entry=[]), "`entry` is not an object"),
        (lambda line: line.update(seq=9), "seq is `9`, and `3` in the payload"),
        (lambda line: line.update(chain="lab"), 'chain is `"lab"`, and `"studio"` in the payload'),
        (lambda line: line.update(id=4), "the id must be a whole number above 4"),
        (lambda line: line.update(id="5"), "the id must be a whole number above 4"),
        (lambda line: line.update(hash=line["hash"].upper()), "by its payload"),
        (lambda line: line.update(payload=line["payload"] + "\n"), "`payload` is not base64"),
        (lambda line: line.update(payload=7), "`payload` is not base64"),
        (lambda line: line.update(extra=None), '`"extra"` does not belong here'),
        (lambda line: line["entry"]["facts"].update(x=[[]] * 9), "field `facts` of the payload"),
    ],
)
def test_a_line_that_disagrees_with_itself_is_found_and_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    write_bundle_example(tmp_path, altered=lambda line: change(line) if line["id"] == 5 else None)
    found(tmp_path, "entries.jsonl line 5", words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"id":5', b'"id":5.0', "is not a whole number"),
        (b'"id":5', b'"id":5,"id":5', "a key stands there twice"),
        (b'"id":5', b'"id":NaN', "is not a whole number"),
        (b'"id":5', b'"id":' + b"[" * 100_000, "nested too deeply"),
        (b'"id":5', b'"id":' + b"1" * 10_000, "not JSON"),
        (b'"id":5', b'"id":\xff', "not JSON"),
        (b"{", b"[", "not JSON"),
    ],
)
def test_a_line_that_is_not_the_json_it_must_be_is_found_and_named(
    folder: Path, old: bytes, new: bytes, words: str
) -> None:
    whole = lines(folder / "entries.jsonl")
    whole[4] = whole[4].replace(old, new, 1)
    put(folder / "entries.jsonl", whole)
    found(folder, "entries.jsonl line 5: ", words)


def test_messages_hold_nothing_that_a_terminal_would_obey(folder: Path) -> None:
    whole = lines(folder / "entries.jsonl")
    whole[4] = whole[4].replace(b'"id":5', b'"id":"\\u001b[2J\\ud800"', 1)
    put(folder / "entries.jsonl", whole)
    done = run(str(folder), "--key", KEY.vkey)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


@given(any_entry())
def test_it_spells_every_entry_as_the_program_does(entry: Entry) -> None:
    copy = json.loads(json.dumps({name: getattr(entry, name) for name in verifier.COPIED if name != "before"}))
    copy["before"] = entry.before.hex()
    verifier.check_copy(payload.encode(entry), copy)


def test_it_refuses_every_payload_that_differs_in_a_byte() -> None:
    entry = with_(note="fällig")
    whole = payload.encode(entry)
    copy = {name: getattr(entry, name) for name in verifier.COPIED} | {"before": entry.before.hex()}
    verifier.check_copy(whole, copy)
    for place in range(len(whole)):
        for bad in (
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :],
            whole[:place] + whole[place + 1 :],
            whole[:place],
        ):
            with pytest.raises(verifier.Bad, match="payload"):
                verifier.check_copy(bad, copy)


# ---- Ed25519


def vkey(public: bytes, name: str = "k") -> str:
    kind = b"\1" + public
    key_id = hashlib.sha256(name.encode() + b"\n" + kind).hexdigest()[:8]
    return f"{name}+{key_id}+{base64.b64encode(kind).decode()}"


# Secret key, public key, message, signature: RFC 8032, 7.1, tests 1 to 3.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_the_published_signatures_are_good(public: str, message: str, signature: str) -> None:
    key = verifier.Key(vkey(bytes.fromhex(public)))
    assert key.is_good(bytes.fromhex(signature), bytes.fromhex(message))
    assert not key.is_good(bytes.fromhex(signature), bytes.fromhex(message) + b"\0")


@settings(max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.integers(0, 511))
def test_it_takes_the_signatures_that_another_implementation_takes_and_no_other(
    seed: bytes, text: bytes, bit: int
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    key = verifier.Key(vkey(public))
    signature = private.sign(text)
    assert key.is_good(signature, text)
    bad = bytearray(signature)
    bad[bit // 8] ^= 1 << bit % 8
    assert not key.is_good(bytes(bad), text)
    assert not key.is_good(signature, text + b"!")
    # The same number plus the order of the group would be a second spelling.
    again = int.from_bytes(signature[32:], "little") + verifier.ORDER
    second = signature[:32] + again.to_bytes(32, "little")
    assert not key.is_good(second, text)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public).verify(second, text)
    assert not key.is_good(signature[:63], text)
    assert not key.is_good(signature + b"\0", text)


def test_bytes_that_are_no_point_are_no_key() -> None:
    refused = 0
    for number in range(40):
        try:
            verifier.Key(vkey(bytes([number]) + bytes([7] * 31)))
        except verifier.Unreadable:
            refused += 1
    assert 5 < refused < 35  # half of all numbers are the height of no point
    with pytest.raises(verifier.Unreadable):
        verifier.Key(vkey((2**255 - 19 + 1).to_bytes(32, "little")))  # a second spelling of the height 1
    with pytest.raises(verifier.Unreadable):
        verifier.Key(vkey((1 | 1 << 255).to_bytes(32, "little")))  # zero has no sign


# ---- much


def test_memory_does_not_grow_with_the_entries(tmp_path: Path) -> None:
    """Peak memory of a check of many entries stays within a few megabytes of that of a check of few."""
    one = [
        ("studio", "reserve", 0, 700_000, 0, {"recipe": "posters"}),
        ("studio", "sent", 0, 0, 0, {}),
        ("studio", "settle", 0, -700_000, 39_000, {"code": "picture"}),
    ]
    peaks = []
    for count in (50, 4_000):
        many = [(chain, kind, n, *rest) for n in range(1, count + 1) for chain, kind, _, *rest in one]
        write_bundle_example(tmp_path / str(count), many, every=1_000)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SCRIPT), str(tmp_path / str(count)), "--key", KEY.vkey],
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        peaks.append(used.ru_maxrss)
    assert peaks[1] - peaks[0] < 4 * 1024, peaks
