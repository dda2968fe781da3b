"""The key is read once and shown never."""

import base64
import copy
import html
import json
import os
import pickle
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.providers.key import Key, Redaction, read_key, redact

SECRET = "omx_live_4hT-9q_ZsecretZ"
ODD = 'a+b/c="d\\e%f~12'


def test_a_key_shows_itself_only_when_asked_by_name() -> None:
    key = Key(SECRET)
    assert key.reveal() == SECRET
    for shown in (repr(key), str(key), f"{key}", f"{key!r:>40}", repr([key])):
        assert SECRET not in shown
        assert "***" in shown


def test_a_key_cannot_be_pickled_copied_hashed_or_dumped() -> None:
    key = Key(SECRET)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, hash, json.dumps, vars):
        with pytest.raises(TypeError) as caught:
            leak(key)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("omx_live_ab c", "white space"),
        ("omx_live_abc\n", "white space or a line break"),
        ("omx_live\nabc", "line break"),
        ("omx_live_\x00abc", "control characters"),
        ("omx_live_\x7fabc", "control characters"),
        ("omx_live_…abc", "cannot stand in an HTTP header"),
        ("short12", "fewer than 8"),
        ("k" * 4097, "more than 4096"),
    ],
)
def test_a_key_that_cannot_be_one_is_refused_without_being_quoted(
    text: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=fault) as caught:
        Key(text)
    assert not text or text not in str(caught.value)
    if "\x00" not in text:
        monkeypatch.setenv("MY_KEY", text)
        with pytest.raises(UsageError, match=fault) as caught:
            read_key(env="MY_KEY", file=None)
        assert "`MY_KEY`" in caught.value.message


def test_eight_characters_of_latin_1_are_a_key() -> None:
    assert Key("clé-1234").reveal() == "clé-1234"


def test_a_missing_variable_is_named_with_the_way_to_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UsageError, match="`MY_KEY` with the API key is not set") as caught:
        read_key(env="MY_KEY", file=None)
    assert caught.value.hint is not None
    assert "export MY_KEY=" in caught.value.hint


def test_no_source_at_all_says_what_to_write_into_the_settings() -> None:
    with pytest.raises(UsageError, match="no API key is declared") as caught:
        read_key(env=None, file=None)
    assert "api_key = {" in str(caught.value.hint)


def test_the_variable_is_asked_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("from-the-file")
    file.chmod(0o600)
    monkeypatch.setenv("MY_KEY", "from-the-variable")
    assert read_key(env="MY_KEY", file=file).reveal() == "from-the-variable"
    monkeypatch.delenv("MY_KEY")
    assert read_key(env="MY_KEY", file=file).reveal() == "from-the-file"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_line_break_at_the_end_of_a_key_file_is_not_part_of_the_key(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "key"
    file.write_bytes((SECRET + ending).encode())
    file.chmod(0o400)
    assert read_key(env=None, file=file).reveal() == SECRET


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [
        (SECRET, 0o640, r"can be read by others \(mode 0640\)"),
        (SECRET, 0o604, r"can be read by others \(mode 0604\)"),
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        (SECRET + "\n\n", 0o600, "line break"),
        ("k" * 100_000, 0o600, "more than 4096"),
    ],
)
def test_a_key_file_that_is_open_to_others_or_no_key_is_refused(
    tmp_path: Path, content: str, mode: int, fault: str
) -> None:
    file = tmp_path / "key"
    file.write_text(content, encoding="utf-8")
    file.chmod(mode)
    with pytest.raises(UsageError, match=fault) as caught:
        read_key(env=None, file=file)
    assert str(file) in caught.value.message
    assert SECRET not in caught.value.message
    assert caught.value.hint is not None
    if mode != 0o600:
        assert f"chmod 600 {file}" in caught.value.hint


def test_a_missing_key_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or directory"):
        read_key(env=None, file=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is a directory"):
        read_key(env=None, file=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_key_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    file.chmod(0o000)
    with pytest.raises(UsageError, match="permission denied"):
        read_key(env=None, file=file)


def spelled(secret: str) -> list[str]:
    octets = secret.encode("latin-1")
    return [
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        octets.hex(),
        octets.hex().upper(),
        base64.b64encode(octets).decode(),
        base64.urlsafe_b64encode(octets).decode(),
        base64.b64encode(b"Bearer " + octets).decode(),
        base64.b64encode(b"x:" + octets + b"!").decode(),
        quote(secret, safe=""),
    ]


@pytest.mark.parametrize("secret", [SECRET, ODD])
def test_the_key_is_hidden_in_every_usual_spelling(secret: str) -> None:
    key = Key(secret)
    for spelling in spelled(secret):
        hidden = redact(f"before {spelling} after", key)
        assert hidden.startswith("before ")
        assert hidden.endswith(" after")
        assert "***" in hidden
        # Not more than the edges that the key shares with its surroundings may be left of it.
        longest = max(len(part) for part in hidden.removeprefix("before ").removesuffix(" after").split("***"))
        assert longest <= 12


def escaped(secret: str) -> dict[str, str]:
    """The key with every character, or only some, written as an escape."""
    octets = secret.encode("latin-1")
    base = base64.b64encode(octets).decode()
    return {
        "json, lower case": "".join(f"\\u{ord(c):04x}" for c in secret),
        "json, upper case": "".join(f"\\u{ord(c):04X}" for c in secret),
        "json, one character": secret[:9] + f"\\u{ord(secret[9]):04x}" + secret[10:],
        "json, every other": "".join(c if n % 2 else f"\\u{ord(c):04x}" for n, c in enumerate(secret)),
        "json inside of json": "".join(f"\\\\u{ord(c):04x}" for c in secret),
        "json, as python writes it": json.dumps(secret)[1:-1],
        "url, every character": "".join(f"%{octet:02X}" for octet in octets),
        "url, lower case": "".join(f"%{octet:02x}" for octet in octets),
        "url, twice": quote(quote(secret, safe=""), safe=""),
        "html": "".join(f"&#{ord(c)};" for c in secret),
        "html, hex": "".join(f"&#x{ord(c):x};" for c in secret),
        "html, named": html.escape(secret),
        "base64 in json": "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in base),
        "base64 in a url": quote(base, safe=""),
        "base64, slashes escaped": base.replace("/", "\\/"),
    }


@pytest.mark.parametrize("secret", [SECRET, ODD, "clé-&<1234>/\\x"])
@pytest.mark.parametrize("how", list(escaped(SECRET)))
def test_the_key_is_hidden_also_where_escapes_are_written_for_its_characters(how: str, secret: str) -> None:
    written = escaped(secret)[how]
    if how == "url, twice" and "é" in secret:
        written = written.replace("%25C3%25A9", "%25E9")
    key = Key(secret)
    shown = redact(f"before {written} after", key)
    redaction = Redaction(key)
    passed = redaction.feed(f"before {written} after".encode("latin-1")) + redaction.finish()
    for hidden in (shown, passed.decode("latin-1")):
        assert hidden.startswith("before ")
        assert hidden.endswith(" after")
        assert "***" in hidden
        # Of base64, the last character belongs to the key and to what follows it, and padding is no part of it.
        assert len(hidden) <= len("before *** after") + (len("g\\u003d\\u003d") if "base64" in how else 0)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=30), st.lists(st.integers(0, 3), min_size=24, max_size=24), st.data())
def test_the_escaped_key_is_hidden_wherever_the_blocks_of_a_stream_are_cut(
    cuts: list[int], ways: list[int], data: st.DataObject
) -> None:
    spelled_ways = (lambda c: c, lambda c: f"\\u{ord(c):04x}", lambda c: f"%{ord(c):02X}", lambda c: f"&#{ord(c)};")
    written = "".join(spelled_ways[way](c) for way, c in zip(ways, SECRET, strict=True)).encode()
    noise = data.draw(st.binary(max_size=300))
    redaction = Redaction(Key(SECRET))
    out, rest = b"", noise + b" " + written + b" " + noise
    for cut in [*cuts, len(rest)]:
        out += redaction.feed(rest[:cut])
        rest = rest[cut:]
    assert b" *** " in out + redaction.finish()


def test_a_stream_that_breaks_off_inside_an_escaped_key_does_not_show_its_beginning() -> None:
    whole = escaped(SECRET)["json, every other"].encode()
    for size in range(30, len(whole)):
        redaction = Redaction(Key(SECRET))
        out = redaction.feed(b'{"error": "bad key ' + whole[:size])
        assert out + redaction.broken_off() == b'{"error": "bad key '
    assert whole[:30].count(b"u00") >= 4


def test_what_only_looks_like_an_escape_passes_unchanged() -> None:
    body = b'{"a": "50% of it &amp; \\u00e9 \\u0041", "b": "omx%5Flive is no key \\u00"}'
    redaction = Redaction(Key(SECRET))
    assert redaction.feed(body) + redaction.finish() == body


def test_everything_that_looks_like_a_key_of_this_provider_is_hidden() -> None:
    text = "omx_live_another-1 and omx_test_x, but not omx_dead_x"
    assert redact(text, Key(SECRET)) == "*** and ***, but not omx_dead_x"


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=30), st.integers(0, 300))
def test_the_key_is_hidden_wherever_the_blocks_of_a_stream_are_cut(noise: bytes, cuts: list[int], at: int) -> None:
    whole = noise[:at] + SECRET.encode() + noise[at:]
    redaction = Redaction(Key(SECRET))
    out, rest = b"", whole
    for cut in [*cuts, len(whole)]:
        out += redaction.feed(rest[:cut])
        rest = rest[cut:]
    out += redaction.finish()
    assert out == whole.replace(SECRET.encode(), b"***")


def test_a_stream_that_breaks_off_inside_the_key_does_not_show_its_beginning() -> None:
    redaction = Redaction(Key(SECRET))
    out = redaction.feed(b'{"error": "bad key ' + SECRET[:14].encode())
    assert out + redaction.broken_off() == b'{"error": "bad key '
