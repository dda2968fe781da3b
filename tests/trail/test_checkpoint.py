"""Checkpoints: only what the key signed is taken, and the file that keeps them forgets none."""

import base64
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import DiskError, LedgerError, UsageError
from runner.trail import verifier
from runner.trail.checkpoint import (
    NOTE_BYTES_MAX,
    Checkpoint,
    SigningKey,
    VerifierKey,
    append,
    is_whole,
    origin,
    read,
    verify,
)
from runner.trail.payload import FIELDS

# The key and the signature of the reference implementation's tests and documentation (golang.org/x/mod/sumdb/note).
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
# The example of https://c2sp.org/tlog-checkpoint; its key is not published.
C2SP_EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)

NAME = "omixa/5b2f0c1e9d3a4b77"
ROOT = bytes(range(32))
AT = "2026-11-22T16:47:00.123456Z"


def seeded(seed: bytes, name: str = NAME) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return SigningKey(VerifierKey(name, private.public_key().public_bytes_raw()), private)


KEY = seeded(bytes(32))
OTHER = seeded(bytes([1] * 32))
CHECKPOINT = Checkpoint(origin("5b2f0c1e9d3a4b77", "studio"), 1_000, ROOT, AT)
NOTE = KEY.sign(CHECKPOINT)


def refused(note: str, *keys: SigningKey) -> str:
    with pytest.raises(LedgerError) as caught:
        verify(note, [key.verifier for key in keys or (KEY,)])
    assert caught.value.hint
    return caught.value.message


# ---- the format is that of C2SP


def test_the_published_note_of_the_reference_implementation_is_signed_and_verified_alike() -> None:
    key = seeded(base64.b64decode(GO_SEED.rpartition("+c74f20a3+")[2])[1:], "PeterNeumann")
    assert key.vkey == GO_KEY
    assert VerifierKey.parse(GO_KEY) == key.verifier
    signed = base64.b64decode(GO_SIGNATURE)
    assert signed[:4] == key.verifier.key_id
    assert key.verifier.is_good(signed[4:], GO_TEXT.encode())
    assert not key.verifier.is_good(signed[4:], GO_TEXT.replace("know", "knew").encode())
    assert key._private.sign(GO_TEXT.encode()) == signed[4:]


def test_a_note_has_a_line_each_for_origin_size_root_and_moment_and_then_its_signature() -> None:
    body, _, signature = NOTE.rpartition("\n\n")
    assert body.split("\n") == [
        "omixa/5b2f0c1e9d3a4b77/studio",
        "1000",
        base64.b64encode(ROOT).decode(),
        f"at {AT}",
    ]
    dash, name, blob = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", NAME)
    assert base64.b64decode(blob)[:4] == KEY.verifier.key_id
    assert verify(NOTE, [KEY.verifier]) == CHECKPOINT


def test_a_checkpoint_of_another_log_is_no_checkpoint_of_ours() -> None:
    assert refused(C2SP_EXAMPLE).startswith("the checkpoint is signed by `example.com/behind-the-sofa`, with no key")


def test_the_verifier_that_stands_alone_reads_every_note_that_we_sign() -> None:
    for size in (0, 1, 7, 2**63 - 1):
        checkpoint = Checkpoint(origin("ledger", "studio@sandbox"), size, ROOT, AT)
        body, signatures = verifier.split_note(KEY.sign(checkpoint).encode())
        assert verifier.parse_checkpoint(body) == (checkpoint.origin, size, ROOT, AT)
        ((name, signed),) = signatures
        key = verifier.Key(KEY.vkey)
        assert (key.name, key.key_id) == (name, signed[:4])
        assert key.is_good(signed[4:], body)
        assert not verifier.Key(OTHER.vkey).is_good(signed[4:], body)


# ---- what is refused


def test_every_changed_byte_of_a_note_is_refused() -> None:
    whole = NOTE.encode()
    for place in range(len(whole)):
        for bit in range(8):
            bad = bytearray(whole)
            bad[place] ^= 1 << bit
            refused(bad.decode("utf-8", "surrogateescape"))


def test_every_missing_doubled_and_added_byte_of_a_note_is_refused() -> None:
    for place in range(len(NOTE)):
        refused(NOTE[:place])
        refused(NOTE[:place] + NOTE[place + 1 :])
        refused(NOTE[:place] + NOTE[place] + NOTE[place:]) if NOTE[place] != "\n" else None
    for more in ("\n", " ", "\0", "— x eA==\n", "\n— "):
        refused(NOTE + more)
        refused(more + NOTE)


@settings(max_examples=300)
@given(st.text(max_size=300))
def test_any_text_is_refused_and_never_crashes(text: str) -> None:
    for note in (text, text + NOTE, NOTE + text, NOTE.replace("1000", text), NOTE.replace("AAEC", text)):
        if note != NOTE:
            refused(note)


def test_a_signature_of_another_key_is_no_signature_and_does_no_harm() -> None:
    theirs = OTHER.sign(CHECKPOINT).rpartition("\n\n")[2]
    stranger = seeded(bytes([2] * 32), "witness.example/w1").sign(CHECKPOINT).rpartition("\n\n")[2]
    assert "with no key that is known here" in refused(OTHER.sign(CHECKPOINT))
    assert "expected nobody" in refusal_without_keys()
    for note in (NOTE + theirs, NOTE + stranger, NOTE.replace("\n\n", f"\n\n{stranger}{theirs}")):
        assert verify(note, [KEY.verifier]) == CHECKPOINT
    assert verify(NOTE + theirs, [OTHER.verifier]) == CHECKPOINT


def refusal_without_keys() -> str:
    with pytest.raises(LedgerError) as caught:
        verify(NOTE, [])
    return caught.value.message


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    """The last digit of its base64 has two bits that say nothing."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = digits.index(NOTE[-3])
    assert last % 4 == 0
    for other in range(last + 1, last + 4):
        bad = NOTE[:-3] + digits[other] + NOTE[-2:]
        assert base64.b64decode(bad.split()[-1]) == base64.b64decode(NOTE.split()[-1])
        assert "a line after the text is not a signature" in refused(bad)


def test_a_note_has_no_control_character_not_even_in_the_name_of_a_stranger() -> None:
    blob = base64.b64encode(bytes(68)).decode()
    assert verify(f"{NOTE}— stranger {blob}\n", [KEY.verifier]) == CHECKPOINT
    assert "it has a control character" in refused(f"{NOTE}— stran\x1bger {blob}\n")


def test_a_false_signature_in_the_name_of_a_known_key_condemns_the_note() -> None:
    body, _, _ = NOTE.rpartition("\n\n")
    false = base64.b64encode(KEY.verifier.key_id + bytes(64)).decode()
    short = base64.b64encode(KEY.verifier.key_id + bytes(63)).decode()
    for blob in (false, short):
        line = f"— {NAME} {blob}\n"
        assert "is not over this checkpoint" in refused(f"{body}\n\n{line}")
        assert "is not over this checkpoint" in refused(NOTE + line)


def signed_text(text: str) -> str:
    blob = KEY.verifier.key_id + KEY._private.sign(text.encode())
    return f"{text}\n— {NAME} {base64.b64encode(blob).decode()}\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1000", "01000"),
        ("1000", "+1000"),
        ("1000", "-1"),
        ("1000", ""),
        ("1000", "1 000"),
        ("1000", "١٠٠٠"),
        ("1000", "9223372036854775808"),
        ("at ", "At "),
        ("at ", ""),
        (AT, ""),
        (AT, AT + "\nand more"),
        ("AAECAwQF", "AAECAwQ"),
        ("Hh8=", "Hh9="),
        ("Hh8=", "Hh8"),
        ("omixa/5b2f0c1e9d3a4b77/studio", "omixa\u2028studio"),
    ],
)
def test_another_spelling_is_refused_even_when_it_is_signed(old: str, new: str) -> None:
    good = NOTE.rpartition("\n\n")[0] + "\n"
    assert verify(signed_text(good), [KEY.verifier]) == CHECKPOINT
    assert "the note is not a checkpoint" in refused(signed_text(good.replace(old, new)))


def test_a_note_beyond_all_measure_is_refused_before_it_is_read() -> None:
    stranger = "— witness.example/w1 " + base64.b64encode(bytes(4 + 5_000)).decode() + "\n"
    assert verify(NOTE + stranger * 16, [KEY.verifier]) == CHECKPOINT
    assert "more than" in refused(NOTE + stranger * (NOTE_BYTES_MAX // len(stranger) + 1))


def test_values_that_a_checkpoint_cannot_have_are_not_signed() -> None:
    for values in (
        ("", 1, ROOT, AT),
        ("two\nlines", 1, ROOT, AT),
        ("o", -1, ROOT, AT),
        ("o", 2**63, ROOT, AT),
        ("o", 1, ROOT[1:], AT),
        ("o", 1, ROOT, ""),
        ("\udce9", 1, ROOT, AT),
    ):
        with pytest.raises(ValueError, match=r"^(origin|size|root|at): "):
            KEY.sign(Checkpoint(*values))


# ---- keys


def test_a_mistyped_verifier_key_is_refused() -> None:
    vkey = KEY.vkey
    for place, was in enumerate(vkey):
        for other in "x0+ \n":
            if other != was:
                with pytest.raises(UsageError) as caught:
                    VerifierKey.parse(vkey[:place] + other + vkey[place + 1 :])
                assert caught.value.hint
        with pytest.raises(UsageError):
            VerifierKey.parse(vkey[:place])
    name, key_id, blob = vkey.rsplit("+", 2)
    ecdsa = base64.b64encode(b"\x02" + base64.b64decode(blob)[1:]).decode()
    with pytest.raises(UsageError, match="is not an Ed25519 key"):
        VerifierKey.parse(f"{name}+{key_id}+{ecdsa}")


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "made" / "audit.key"
    key = SigningKey.load_or_create(path, NAME)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert SigningKey.load_or_create(path, NAME) == key
    assert VerifierKey.parse(key.vkey) == key.verifier
    assert verify(key.sign(CHECKPOINT), [key.verifier]) == CHECKPOINT
    assert [file.name for file in path.parent.iterdir()] == ["audit.key"]


def test_the_private_key_is_in_no_repr(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path / "audit.key", NAME)
    secret = key._private.private_bytes_raw()
    for text in (repr(key), str(key), repr(key._private)):
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode() not in text
        assert repr(secret) not in text


def test_what_a_dead_creator_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    (tmp_path / "audit.key.part").write_text("-----BEGIN PRI")
    key = SigningKey.load_or_create(path, NAME)
    assert SigningKey.load_or_create(path, NAME) == key
    assert [file.name for file in tmp_path.iterdir()] == ["audit.key"]


CREATE = """
import sys
from pathlib import Path
from runner.trail.checkpoint import SigningKey
sys.stdin.read(1)
print(SigningKey.load_or_create(Path(sys.argv[1]), "omixa/race").vkey)
"""


def test_two_processes_that_create_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    for round_ in range(3):
        path = tmp_path / str(round_) / "audit.key"
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", CREATE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("!")
            racer.stdin.flush()
        vkeys = {racer.communicate()[0] for racer in racers}
        assert vkeys == {SigningKey.load_or_create(path, "omixa/race").vkey + "\n"}


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    SigningKey.load_or_create(path, NAME)
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="may be read by others: its mode is 0640") as caught:
        SigningKey.load_or_create(path, NAME)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"chmod 600 {path}")


def test_a_file_that_is_no_such_key_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, words in ((b"", "is no private key"), (b"\xff" * 99, "is no private key"), (rsa, "not an Ed25519")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(LedgerError, match=words):
            SigningKey.load_or_create(path, NAME)
        assert path.read_bytes() == content


def test_a_key_has_a_name_that_a_signature_line_can_carry(tmp_path: Path) -> None:
    for name in ("", "a b", "a+b", "a\nb", "a\u2003b", "a\0"):
        with pytest.raises(ValueError, match="cannot name a key"):
            SigningKey.load_or_create(tmp_path / "audit.key", name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for call in (
        lambda: SigningKey.load_or_create(tmp_path / "file" / "audit.key", NAME),
        lambda: append(tmp_path / "file" / "checkpoints.txt", NOTE),
        lambda: append(tmp_path, NOTE),
        lambda: list(read(tmp_path / "none")),
    ):
        with pytest.raises(DiskError) as caught:
            call()
        assert caught.value.hint


# ---- the file


def notes(count: int) -> list[str]:
    return [KEY.sign(Checkpoint(CHECKPOINT.origin, size, ROOT, AT)) for size in range(count)]


def test_what_was_appended_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "checkpoints.txt"
    for number, note in enumerate(notes(5)):
        append(path, note)
        assert list(read(path)) == notes(number + 1)
    assert path.read_text() == "".join(note + "\n" for note in notes(5))


def test_only_a_whole_note_is_appended(tmp_path: Path) -> None:
    for bad in ("", NOTE[:-1], NOTE + NOTE, "\n" + NOTE, NOTE.partition("\n\n")[0]):
        with pytest.raises(ValueError, match="expected a whole note"):
            append(tmp_path / "checkpoints.txt", bad)
    assert not list(tmp_path.iterdir())


def test_a_torn_tail_hides_no_note_before_or_after_it(tmp_path: Path) -> None:
    before, torn, after = notes(3)
    path = tmp_path / "checkpoints.txt"
    for end in range(len(torn.encode()) + 2):
        path.unlink(missing_ok=True)
        append(path, before)
        with path.open("ab") as file:
            file.write((torn + "\n").encode()[:end])
        append(path, after)
        found = list(read(path))
        assert [part for part in found if is_whole(part)] in ([before, after], [before, torn, after])
        strange = [part for part in found if not is_whole(part)]
        # In the middle of its dash, a signature line is a part of its own.
        assert len(strange) in ((0,) if torn in found or end == 0 else (1, 2)), end
        # What is left of it is shown as it stands; only line ends were added to close it off.
        shown = "".join(strange).encode("utf-8", "surrogateescape")
        assert shown.replace(b"\n", b"") == (b"" if torn in found else torn.encode()[:end].replace(b"\n", b""))


def test_a_torn_tail_that_nothing_follows_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.txt"
    append(path, NOTE)
    whole = path.read_bytes()
    for end in range(1, len(whole) - 1):
        path.write_bytes(whole + whole[:end])
        first, *rest = read(path)
        assert first == NOTE
        assert rest
        assert not any(is_whole(part) for part in rest)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"\n", b"\n\n", "— x ".encode(), NOTE.encode()])))
def test_whatever_stands_in_the_file_comes_out_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, junk: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"junk-{os.getpid()}.txt"
    path.write_bytes(b"".join(junk))
    out = "".join(read(path)).encode("utf-8", "surrogateescape")
    assert out.replace(b"\n", b"") == path.read_bytes().replace(b"\n", b"")
    append(path, NOTE)
    assert list(read(path))[-1] == NOTE


def test_a_line_without_end_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.txt"
    append(path, NOTE)
    with path.open("ab") as file:
        file.write(b"x" * (3 * NOTE_BYTES_MAX + 7))
    append(path, NOTE)
    first, *strange, last = read(path)
    assert (first, last) == (NOTE, NOTE)
    assert sum(map(len, strange)) == 3 * NOTE_BYTES_MAX + 7 + 1
    assert max(map(len, strange)) <= NOTE_BYTES_MAX


APPEND = """
import json, sys
from pathlib import Path
from runner.trail.checkpoint import append
for note in json.load(sys.stdin):
    append(Path(sys.argv[1]), note)
"""


def test_processes_that_append_at_once_lose_no_note(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.txt"
    made = notes(90)
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(path)], stdin=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for number, writer in enumerate(writers):
        assert writer.stdin is not None
        json.dump(made[number::3], writer.stdin)
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = list(read(path))
    assert sorted(found) == sorted(made)
    assert all(verify(note, [KEY.verifier]) for note in found)


def test_importing_checkpoints_does_not_import_cryptography() -> None:
    """It would take longer than the rest of a start."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, runner.trail.checkpoint; sys.exit('cryptography' in sys.modules)"]
    )
    assert done.returncode == 0


def test_the_page_of_the_format_shows_a_note_that_verifies_and_every_field_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs/audit-trail.md").read_text(encoding="utf-8")
    assert f"```text\n{NOTE}```" in page
    assert f"```text\n{KEY.vkey}\n```" in page
    assert tuple(re.findall(r"^\| \d+ \| `(\w+)` \|", page, re.MULTILINE)) == FIELDS
