"""One function a kind of hostile input: it feeds the real code and asserts what that code promises.

Each takes any bytes at all. What it raises is a finding: an assertion, or an exception that is not documented.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import ImageFile

from runner import contract_file, items, money, planfile, recipe_checks, settings_tables
from runner import recipe as recipes
from runner import settings as settings_file
from runner.commands.diff_formats import harmless, in_code
from runner.contracts import CONTRACTS
from runner.diagnostics import Problem, keys_in, masked, render
from runner.images import (
    Claim,
    Picture,
    Prepared,
    ResultFacts,
    Stamp,
    Unsuitable,
    claim,
    digests,
    inspect,
    looks_wrong,
    prepare,
    result_facts,
    stamped,
    write_atomically,
)
from runner.images.formats import PIXELS_MAX
from runner.providers.answer import Answer, Reading, decide, kept_headers, read
from runner.providers.intake import Intake
from runner.providers.key import Key, Redaction
from runner.providers.provider import Billed, Declined, Outcome, Unknown
from runner.providers.spool import SpoolWriter, opened
from runner.recipe import Output, Recipe, Source, Step
from runner.recipe_prompts import Prompt
from runner.terminal import clean
from runner.tomlfile import TomlFile
from runner.trail import approval
from runner.trail.checkpoint import SigningKey, VerifierKey
from tests.images.samples import scene

SECRET = "omx_live_fuzz-Key_4hT9q"
KEY = Key(SECRET)
MOMENT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUSE = Path(__file__).parents[2]


# ---- amounts


def amount(data: bytes) -> None:
    """An amount is read exactly as the grammar says, or not at all; what we book is never less than what is stated."""
    text = data.decode("utf-8", "surrogateescape")
    found = money.billed(text)
    assert found == oracle(text), (text, found)
    try:
        written: int | None = money.declared(text)
    except money.AmountError:
        written = None
    assert written == (found if len(text.partition(".")[2]) <= 6 else None)
    if found is not None:
        assert 0 <= found <= money.LIMIT_MICROS
        assert money.billed(money.exact(found)) == found or found == money.LIMIT_MICROS


def oracle(text: str) -> int | None:
    """What contract B says an amount is, by other means: digit by digit, without patterns, Decimal or float."""
    if not 1 <= len(text) <= 24:
        return None
    digits = {digit: value for value, digit in enumerate("0123456789")}
    whole, point, fraction = text.partition(".")
    if any(character not in digits for character in whole + fraction):
        return None
    if not 1 <= len(whole) <= 9 or (len(whole) > 1 and whole[0] == "0"):
        return None
    if point and not 1 <= len(fraction) <= 12:
        return None
    value = 0
    for character in whole + fraction:
        value = 10 * value + digits[character]
    # ⌈value · 10⁶ / 10ⁿ⌉
    return -(-value * 10**6 // 10 ** len(fraction))


# ---- answers

STATUSES = (
    200,
    200,
    200,
    201,
    204,
    301,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    415,
    422,
    425,
    429,
    499,
    500,
    503,
    599,
)
HEADERS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (("Content-Type", "application/json"), ("Date", "Sun, 22 Nov 2026 12:00:45 GMT"), ("X-Request-Id", "r-1")),
    (("Retry-After", "7"),),
    (("Retry-After", "Sun, 22 Nov 2026 12:00:45 GMT"), ("Server", f"echo {SECRET}")),
    (("Content-Encoding", "gzip"),),
    (("Transfer-Encoding", "gzip, chunked"),),
)
_STATED = re.compile(r'"billed_amount"\s*:\s*"([0-9.]*)"')


def answer(data: bytes) -> None:
    """An answer is billed, declined or in doubt: never declined when it states a bill, and never with the key in it.

    The first byte is the status, the second the headers, the rest the body.
    """
    status, headers = (
        STATUSES[data[0] % len(STATUSES)] if data else 200,
        HEADERS[data[1] % len(HEADERS) if data[1:] else 0],
    )
    outcome = decide(received(status, headers, data[2:]))
    assert isinstance(outcome, Billed | Declined | Unknown)
    if isinstance(outcome, Declined):
        assert not states_a_bill(data[2:]), outcome
        assert outcome.retry_after_s is None or 1.0 <= outcome.retry_after_s <= 600.0
    if isinstance(outcome, Billed):
        assert outcome.amount_micros == (oracle(outcome.amount_text) if outcome.amount_text is not None else None)
        assert outcome.amount_micros is not None or status in range(200, 300)
    assert outcome.evidence.status == status
    assert len(outcome.evidence.body_head) <= 4096
    for text in texts_of(outcome):
        text.encode()  # a lone surrogate would break the ledger
        assert SECRET not in text


def received(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> Reading:
    """The reading of an answer, as the provider makes it: redacted in blocks on its way to the disk.

    One whose picture can be cut out while it comes is read that way, too, and means the same.
    """
    redaction = Redaction(KEY)
    blocks = [redaction.feed(body[at : at + 500]) for at in range(0, len(body), 500)]
    kept = b"".join([*blocks, redaction.finish()])
    assert SECRET.encode() not in kept
    reading = read(Answer(status, kept_headers(headers, KEY), MOMENT, kept), key=KEY, keep=_keep)
    if b"b64_json" in body:
        assert taken_in(Answer(status, kept_headers(headers, KEY), MOMENT, b""), body) in (None, reading)
    return reading


def taken_in(answer: Answer, body: bytes) -> Reading | None:
    """The reading of an answer whose picture was cut out while it came; None when it had to be kept as it came."""
    spool = scratch() / "answer"
    writer = SpoolWriter(spool)
    writer.begin(answer.status, answer.headers, answer.received_at)
    intake = Intake(writer, KEY, answer)
    try:
        for at in range(0, len(body), 500):
            intake.feed(body[at : at + 500])
        assert intake.finish()
    finally:
        writer.close()
    assert SECRET.encode() not in spool.read_bytes()
    if intake.kept is None:
        return None
    with opened(spool) as again:
        reading = read(again, key=KEY, keep=_keep)
    assert reading.picture is None or SECRET.encode() not in reading.picture.read_bytes()
    return replace(reading, picture=reading.picture and Path("/spool/1.picture"), digest=None)


def _keep(blocks: Iterator[bytes]) -> Path:
    for _ in blocks:
        pass
    return Path("/spool/1.picture")


def states_a_bill(body: bytes) -> bool:
    """Whether anybody who looks finds an amount that is not zero, in plain text or in JSON with escapes."""
    text = body.decode("utf-8", "replace")
    if any(stated.strip("0.") for stated in _STATED.findall(text)):
        return True
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            stated = found.get("billed_amount")
            if isinstance(stated, str) and stated.strip("0."):
                return True
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return False


def texts_of(outcome: Outcome) -> list[str]:
    """Every text of an outcome that goes into the ledger or onto a terminal."""
    evidence = outcome.evidence
    texts = [evidence.body_head, evidence.request_id or "", *evidence.headers, *evidence.headers.values()]
    texts += [outcome.code, outcome.message]
    if isinstance(outcome, Billed):
        texts += [outcome.amount_text or "", outcome.fault or ""]
    return texts


# ---- TOML


def toml(data: bytes) -> None:
    """A recipe or omixa.toml is read, or becomes Problems that can be shown, each with its place; nothing else leaves.

    An odd first byte makes it omixa.toml.
    """
    root = project()
    if data[:1] and data[0] % 2:
        (root / "omixa.toml").write_bytes(data[1:])
        settings, problems = settings_file.load(root)
        assert (settings is None) == bool(problems)
    else:
        path = root / "recipes" / "one.toml"
        path.write_bytes(data[1:])
        made, problems = recipes.read(path, names())
        assert (made is None) == bool(problems)
    showable(problems)


def contract(data: bytes) -> None:
    """A contract file is a contract, or becomes Problems that can be shown, each with its place; nothing else leaves.

    What becomes a contract takes what it says that it takes, and its own defaults.
    """
    root = project()
    path = root / "contracts" / "one.toml"
    path.write_bytes(data)
    _, made, problems = contract_file.load(path, root)
    assert (made is None) == bool(problems)
    showable(problems)
    if made is not None:
        assert (made.pictures is None) == (made.field("input_images") is None)
        assert made.field("output_format") is not None
        for field in made.options:
            assert field.accepts()
            assert field.default is None or field.fault(field.default) is None
        settings_tables.presets_schema([made])


def showable(problems: list[Problem]) -> None:
    """Assert that a terminal can show them, that no key is among them, and that each says where."""
    assert len(problems) <= 101
    for problem in problems:
        assert problem.place is not None
        assert problem.code != "bad-value"
    text = render(problems)
    text.encode()
    assert all(line.isprintable() for line in text.split("\n"))
    assert all(set(text[at : at + length].partition("_")[2].partition("_")[2]) <= {"*"} for at, length in keys_in(text))


@cache
def scratch() -> Path:
    """A folder of this process, in memory where the machine has such a place; removed at its end."""
    import atexit

    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="omixa-fuzz-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def project() -> Path:
    """A project with a folder of pictures and a prompt file, for recipes to name."""
    root = scratch() / "project"
    for folder in ("recipes", "contracts", "pictures/scans", "prompts"):
        (root / folder).mkdir(parents=True)
    (root / "prompts/restore.txt").write_text("Restore {stem}.")
    return root


@cache
def names() -> settings_file.Names:
    """What a recipe may refer to."""
    return settings_file.Names(project(), {"studio"}, {"photo": {}})


# ---- names of outputs

_BIDI = set(range(0x202A, 0x202F)) | set(range(0x2066, 0x206A)) | {0x200E, 0x200F, 0x061C}
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³")}


def output_name(data: bytes) -> None:
    """A result's name stays in the output folder, and is one that every file system and terminal takes for what it is.

    Up to the first NUL it is the template of the recipe, then come the picture's folders and name.
    """
    template, _, rest = data.decode("utf-8", "surrogateescape").partition("\0")
    parts = [part for part in rest.replace("\0", "").split("/") if part not in ("", ".", "..")]
    rel = "/".join(part[:200] for part in parts) or "a.png"
    if not items._is_recordable(rel) or not items._is_recordable(template):
        return
    file = TomlFile(Path("one.toml"), "one.toml", "", {})
    if list(recipe_checks.output_name_problems(file, ("output", "name"), template)):
        return
    step = wish().steps[0].model_copy(update={"output": Output(folder=Path("/project/out"), name=template)})
    made = wish().model_copy(update={"steps": (step,)})
    output = items._output_name(made, step, step.sources[0].folder, rel, "restore", "photo")
    folder = str(step.output.folder)
    assert os.path.normpath(f"{folder}/{output}") == f"{folder}/{output}"
    for part in output.split("/"):
        assert 1 <= len(part.encode()) <= items.COMPONENT_BYTES_MAX
        assert part not in (".", "..")
        assert not part.endswith((" ", "."))
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or ord(c) in _BIDI or c in '<>:"|?*\\' for c in part)
        assert part.partition(".")[0].rstrip(" ").upper() not in _DEVICES
    assert output.endswith(".png")
    assert items._folded(Path(items._folded(Path(output)))) == items._folded(Path(output))


@cache
def wish() -> Recipe:
    """A recipe, of which only the name template changes."""
    folder = Path("/project/pictures")
    return Recipe(
        name="one",
        path=Path("/project/recipes/one.toml"),
        digest="0" * 64,
        workspace="studio",
        steps=(
            Step(
                model="stability-upscale-creative",
                sources=(Source(folder=folder, prompts=("restore",)),),
                output=Output(folder=Path("/project/out")),
            ),
        ),
        prompts={"restore": Prompt(name="restore", text="x")},
    )


# ---- pictures

LIMITS = CONTRACTS["stability-upscale-creative"].pictures


def picture(data: bytes) -> None:
    """A file is a Picture or Unsuitable, and nothing beyond the pixel cap is ever decoded.

    The first byte says what is wished for; the rest is the file. It is also looked at as a result.
    """
    wishes = data[0] if data else 0
    path = scratch() / "picture"
    path.write_bytes(data[1:])
    output_format, flatten = ("jpeg", "#ffffff") if wishes & 1 else ("jpeg", None) if wishes & 2 else ("png", None)
    with _pixels_at_most(LIMITS.pixels_max):
        found = inspect(path, LIMITS, output_format=output_format, flatten=flatten, sixteen_bit=bool(wishes & 4))
        assert isinstance(found, Picture | Unsuitable)
        if isinstance(found, Picture):
            assert found.width * found.height <= LIMITS.pixels_max
            made = prepare(
                found, output_format=output_format, flatten=flatten, limits=LIMITS, folder=scratch() / "sent"
            )
            if isinstance(made, Prepared):
                assert made.size_bytes == made.path.stat().st_size
                made.path.unlink()
        assert not (scratch() / "sent").exists() or not list((scratch() / "sent").iterdir())
    with _pixels_at_most(PIXELS_MAX):
        facts = result_facts(path)
        assert isinstance(facts, str | ResultFacts)
        if wishes & 8:
            assert isinstance(looks_wrong(_source(), path), str | None)


@cache
def _source() -> Path:
    path = scratch() / "source.png"
    scene(64, 64).save(path)
    return path


class _pixels_at_most:  # noqa: N801 - reads as a sentence
    """Within it, Pillow's own load raises when it is about to decode more."""

    def __init__(self, pixels_max: int) -> None:
        self._pixels_max = pixels_max

    def __enter__(self) -> None:
        self._load = ImageFile.ImageFile.load
        load, pixels_max = self._load, self._pixels_max

        def checked(image: ImageFile.ImageFile) -> object:
            # No Exception: the gate turns those of Pillow into Unsuitable.
            if image.size[0] * image.size[1] > pixels_max:
                raise LoadedTooMuch(f"{image.size} pixels are loaded, at most {pixels_max} may be")
            return load(image)

        ImageFile.ImageFile.load = checked  # type: ignore[method-assign,assignment]

    def __exit__(self, *_: object) -> None:
        ImageFile.ImageFile.load = self._load  # type: ignore[method-assign]


class LoadedTooMuch(BaseException):
    """A picture was about to be decoded that is larger than the cap."""


# ---- stamps


def stamp(data: bytes) -> None:
    """A picture is stamped so that it comes out again to the byte and reads as the same picture, or it is not stamped.

    What it says of itself is an attempt of a ledger or nothing, whatever stands in it.
    """
    path, made = scratch() / "plain", scratch() / "stamped"
    path.write_bytes(data)
    found = claim(path)
    assert found is None or (found.attempt > 0 and found.ledger.isalnum())
    assert 1 <= len(digests(path)) <= 2
    facts = result_facts(path)
    edits = stamped(path, STAMP)
    if isinstance(edits, str):
        return
    write_atomically(path, made, edits=edits)
    assert digests(made)[1] == digests(path)[0]
    assert claim(made) == Claim(STAMP.ledger, int(STAMP.attempt), STAMP.run)
    if isinstance(facts, ResultFacts):
        after = result_facts(made)
        assert isinstance(after, ResultFacts), after
        assert (after.width, after.height, after.media_type) == (facts.width, facts.height, facts.media_type)


STAMP = Stamp("0123456789abcdef" * 2, "12", "fedcba9876543210" * 2, "one", "m", "seed=7 é", "ab" * 32, "2026")


# ---- text in a comment


def comment(data: bytes) -> None:
    """A text in a comment is read as that very text, by a real Markdown reader: nothing of it is markup or a mention.

    Source: runner/commands/diff_formats.py, which writes what branches have in prompts, names and messages.
    """
    text = data.decode("utf-8", "replace")
    wanted = clean(masked(text))
    for made in (in_code(text), harmless(text)):
        cell = made.removeprefix("<code>").removesuffix("</code>")
        assert not set("<>|`*_[]\\!@\n\r") & set(cell), cell
        page = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| a |\n| --- |\n| x{made}x |\n")
        seen = _Seen()
        seen.feed(page)
        assert set(seen.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}, page
        shown = "".join(seen.text).replace("\u2060", "").split("x", 1)[1].rstrip().removesuffix("x")
        assert shown == wanted.replace("\u2060", ""), page


class _Seen(HTMLParser):
    """What a browser would make of it: tags, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


# ---- approvals


def approved(data: bytes) -> None:
    """A plan or an approval is read whole, or told to be none; what is read is spelled in one way only, and an approval
    that was not signed as it stands never counts.
    """
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        _, digest = planfile.read(text)
        assert digest == approval.digest(json.loads(text))
        assert planfile.read(json.dumps(json.loads(text), indent=3))[1] == digest
    try:
        found = approval.read(text)
    except ValueError:
        return
    assert 0 < found.amount_micros <= money.LIMIT_MICROS
    assert approval.read(json.dumps(found.record())) == found
    assert not found.is_signed or found.record() in SIGNED


@cache
def _signed() -> dict[str, object]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key = SigningKey(VerifierKey("approver", private.public_key().public_bytes_raw()), private)
    good = approval.sign(
        key, plan="0" * 64, amount_micros=12_000_000, currency="USD", approver="ana", at=MOMENT, until=MOMENT
    )
    return good.record()


# The only approval that the key of these tests ever signed.
SIGNED = (_signed(),)


# ---- all of them


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of input: what it is fed to, and where good examples of it come from."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]


def _all() -> dict[str, Target]:
    from tests.fuzz import corpus

    return {
        target.name: target
        for target in (
            Target("amount", amount, corpus.amounts, corpus.AMOUNT_WORDS),
            Target("answer", answer, corpus.answers, corpus.ANSWER_WORDS),
            Target("toml", toml, corpus.tomls, corpus.TOML_WORDS),
            Target("contract", contract, corpus.contracts, corpus.CONTRACT_WORDS),
            Target("output_name", output_name, corpus.output_names, corpus.NAME_WORDS),
            Target("comment", comment, corpus.comments, corpus.COMMENT_WORDS),
            Target("approved", approved, corpus.approved, corpus.APPROVED_WORDS),
            Target("picture", picture, corpus.pictures, corpus.PICTURE_WORDS),
            Target("stamp", stamp, corpus.stamped_pictures, corpus.STAMP_WORDS),
        )
    }


TARGETS = _all()
