"""Entries made anew from rows, byte for byte: what `verify` compares before it takes anything apart. Pure.

An entry's columns say all that stands in its payload before its facts. And most attempts have the life reserve, sent,
and one end: of such a one the attempt's row says all that is in the facts of its entries. So both can be spelled again
by joining texts; when they are the bytes that were hashed, neither was changed, and nothing needs to be read.

Everything else (an attempt that was unknown and then resolved, a purged prompt, an entry of an older program, a row
that somebody changed) only has other bytes here, and is left to the check that reads and explains.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from json.encoder import encode_basestring_ascii as text_of
from typing import Any, NamedTuple

from runner.trail.payload import HASH_BYTES, VERSION, framed

# The columns of an attempt in the order in which `Retelling.of` takes their values: what was asked, and what came.
COLUMNS = (
    *("run_id", "workspace", "recipe", "model", "item_key", "source_path", "source_digest", "source_bytes"),
    *("prompt_name", "prompt_digest", "negative_digest", "preset_name", "options", "output_path", "reserved_micros"),
    *("day", "reserved_at"),
    *("live_key", "state", "sent_at", "ended_at", "billed_micros", "billed_text", "breach", "code", "message"),
    *("status", "request_id", "headers", "body_head"),
    *("result_digest", "result_bytes", "result_width", "result_height", "remark"),
)
_CAME = COLUMNS.index("live_key")

# A picture that was bought, which most attempts are, and the part of its facts that SQLite spells itself: at its own
# speed, and without making a Python value of each column. Its JSON is ours but for what is not ASCII. None otherwise.
_ASKED = ("prompt_name", "recipe", "reserved_at", "reserved_micros", "run_id", "source_bytes", "source_digest")
_SHOWN = ("remark", "request_id", "result_bytes", "result_digest", "result_height", "result_width", "state", "status")


def _object(names: tuple[str, ...]) -> str:
    pairs = ", ".join(f"'{name}', {name}" for name in names)
    return f"json_object({pairs})"


# SQLite keeps 7.5 where whole numbers belong; a sum of whole numbers is one, and one with 7.5 in it is not.
_WHOLE = " + ".join(("run_id", "source_bytes", "result_bytes", "result_height", "result_width", "status"))
_IS_BOUGHT = (
    "state = 'settled' AND live_key IS NULL AND result_digest IS NOT NULL AND body_head IS NOT NULL "
    f"AND headers IS NOT NULL AND breach IN (0, 1) AND typeof({_WHOLE}) = 'integer'"
)
# What `Retelling.bought` takes. The last is None when it is no such attempt.
BOUGHT = (
    *("day", "workspace", "model", "item_key", "negative_digest", "options", "output_path", "preset_name"),
    *("prompt_digest", "sent_at", "reserved_micros", "billed_micros", "billed_text", "body_head", "breach", "code"),
    *("ended_at", "headers", "message", "result_digest", _object((*_ASKED, "source_path"))),
    f"CASE WHEN {_IS_BOUGHT} THEN {_object(_SHOWN)} END",
)
_NOT_ASCII = re.compile("[\x7f-\U0010ffff]")

# The state that each kind of entry leaves an attempt in.
ENDS = {"settle": "settled", "release": "released", "unknown": "unknown"}
_ENDED = frozenset(ENDS.values())

# How many spellings are remembered: there are few models, and many moments.
_KNOWN_MAX = 4096

_NONE = framed(None)
_LENGTHS = [framed(bytes(size))[:-size] for size in range(1, 64)]
_LENGTHS.insert(0, framed(b""))
_BEFORE = framed(bytes(HASH_BYTES))[:-HASH_BYTES]  # the length of the hash of the entry before


class Retold(NamedTuple):
    """What the entries of an attempt must be. Facts are canonical JSON, so ASCII; amounts are micro-units.

    `reserve` is what stands before and after the numbers of its windows. `end`: the facts of its last entry, before
    and after where a delivery would stand, None while it is reserved or sent. `delivery`: that of a picture that was
    written out with it, before and after the number of the entry that it replaces, None when none can have been.
    """

    state: str
    sent_at: str | None
    reserved_micros: int
    billed_micros: int
    reserve: tuple[str, str]
    end: tuple[str, str] | None
    delivery: tuple[str, str] | None

    def ended(self, *, brings: bool) -> str:
        """The facts of its last entry. `brings`: a delivery to a place where none was before stands in them.

        Raises TypeError when there is no last entry, or no delivery.
        """
        begin, rest = self.end  # type: ignore[misc]
        if not brings:
            return f"{begin}{rest}"
        before, after = self.delivery  # type: ignore[misc]
        return f"{begin}{before}0{after}{rest}"


class Known(dict[Any, Any]):
    """Spellings that were made before, up to some number of them."""

    def __init__(self, spell: Callable[[Any], Any]) -> None:
        super().__init__()
        self._spell = spell

    def __missing__(self, value: Any) -> Any:
        if len(self) >= _KNOWN_MAX:
            self.clear()
        made = self[value] = self._spell(value)
        return made


class Retelling:
    """Makes the entries of attempts anew."""

    def __init__(self, key: bytes) -> None:
        """`key`: of the ledger's digests."""
        self._digest = keyed(key)
        self._few = Known(_or_null)  # what many attempts share
        self._prompts = Known(self._secret)

    def bought(self, row: Any) -> Retold:
        """The same as `of`, of a picture that was bought, in less time. `row`: two that are not looked at, and the
        values of BOUGHT, the last not None. Raises as `of` does.
        """
        # fmt: off
        (_, _, day, workspace, model, item_key, negative, options, output_path, preset_name, prompt, sent_at, reserved,
         billed, billed_text, body, breach, code, ended_at, headers, message, result, told, shown) = row
        # fmt: on
        few, prompts, digest = self._few, self._prompts, self._digest
        item, path, both = digest(item_key), text_of(output_path), told + shown
        if not both.isascii() or "\x7f" in both:
            told, shown = _ascii(told), _ascii(shown)
        reserve = (
            f'{{"breach":0,"day":{few[day]},"item_key":"{item}","live_key":"{item}","model":{few[model]},'
            f'"negative_digest":{prompts[negative]},"options":{few[options]},"output_path":{path},'
            f'"preset_name":{few[preset_name]},"prompt_digest":{prompts[prompt]},{told[1:-1]},'
            '"state":"reserved","windows":['
        )
        begin = (
            f'{{"billed_micros":{billed!r},"billed_text":{few[billed_text]},"body_head":"{digest(body)}",'
            f'"breach":{breach!r},"code":{few[code]},'
        )
        last = (
            f'"ended_at":{text_of(ended_at)},"headers":"{digest(headers)}","live_key":null,'
            f'"message":{"null" if message is None else self._secret(message)},{shown[1:]}'
        )
        delivery = (
            f'"delivery":{{"item_key":"{item}","output_path":{path},"replaces":',
            f',"result_digest":{text_of(result)}}},',
        )
        after = f'],"workspace":{few[workspace]}}}'
        return Retold("settled", sent_at, reserved, billed or 0, (reserve, after), (begin, last), delivery)

    def of(self, row: Any) -> Retold | None:
        """What the entries of an attempt are when they are the usual ones. `row`: the values of COLUMNS.

        None for a row that no usual life leaves. Raises TypeError or AttributeError for a value of a type that no
        program writes in its column.
        """
        (run_id, workspace, recipe, model, item_key, source_path, source_digest, source_bytes) = row[:8]
        (prompt_name, prompt, negative, preset_name, options, output_path, reserved, day, reserved_at) = row[8:_CAME]
        few, prompts = self._few, self._prompts
        item, path = self._digest(item_key), text_of(output_path)
        before = (
            f'{{"breach":0,"day":{few[day]},"item_key":"{item}","live_key":"{item}","model":{few[model]},'
            f'"negative_digest":{prompts[negative]},"options":{few[options]},"output_path":{path},'
            f'"preset_name":{few[preset_name]},"prompt_digest":{prompts[prompt]},"prompt_name":{few[prompt_name]},'
            f'"recipe":{few[recipe]},"reserved_at":{text_of(reserved_at)},"reserved_micros":{_number(reserved)},'
            f'"run_id":{_number(run_id)},"source_bytes":{_number(source_bytes)},"source_digest":{text_of(source_digest)},'
            f'"source_path":{text_of(source_path)},"state":"reserved","windows":['
        )
        reserve = before, f'],"workspace":{few[workspace]}}}'
        came = row[_CAME:]
        live_key, state, sent_at, _, billed = came[:5]
        if live_key is not None and live_key != item_key:
            return None
        if state in ("reserved", "sent"):
            is_new = live_key is not None and came[6] == 0 and came[3:6] == _NOTHING[:3] and came[7:] == _NOTHING
            return Retold(state, sent_at, reserved, 0, reserve, None, None) if is_new else None
        if state not in _ENDED or (live_key is None) != (state != "unknown"):
            return None
        end = self._end(came, item, path)
        return None if end is None else Retold(state, sent_at, reserved, billed or 0, reserve, *end)

    def _end(self, came: Any, item: str, path: str) -> tuple[tuple[str, str], tuple[str, str] | None] | None:
        """The facts of the last entry, and a delivery in them; None: no program leaves such a row."""
        (_, state, _, ended_at, billed, billed_text, breach, code, message) = came[:9]
        (status, request_id, headers, body_head, result, size, width, height, remark) = came[9:]
        secret = self._secret
        settled = body = ended = live = head = breached = asked = noted = shown = last = ""
        if state == "settled":
            settled = f'"billed_micros":{_number(billed)},"billed_text":{_or_null(billed_text)},'
            breached = f'"breach":{_number(breach)},'
        elif billed is not None or billed_text is not None or breach != 0:
            return None
        if state != "unknown":
            ended, live = f'"ended_at":{text_of(ended_at)},', '"live_key":null,'
        elif ended_at is not None:
            return None
        if came[9:13] != _NOTHING[:4]:
            body, head = f'"body_head":{secret(body_head)},', f'"headers":{secret(headers)},'
            asked, last = f'"request_id":{_or_null(request_id)},', f',"status":{_number(status)}'
        if came[13:] != _NOTHING[:5]:
            noted = f'"remark":{_or_null(remark)},'
            shown = (
                f'"result_bytes":{_number(size)},"result_digest":{_or_null(result)},'
                f'"result_height":{_number(height)},"result_width":{_number(width)},'
            )
        end = (
            f'{{{settled}{body}{breached}"code":{self._few[code]},',
            f'{ended}{head}{live}"message":{secret(message)},{noted}{asked}{shown}"state":"{state}"{last}}}',
        )
        if result is None:
            return end, None
        return end, (
            f'"delivery":{{"item_key":"{item}","output_path":{path},"replaces":',
            f',"result_digest":{text_of(result)}}},',
        )

    def _secret(self, value: str | None) -> str:
        """As facts.py says what may quote a prompt: its digest, or null."""
        return "null" if value is None else f'"{self._digest(value)}"'


def _ascii(told: str) -> str:
    """JSON by SQLite, which leaves as it is what we escape."""
    return _NOT_ASCII.sub(lambda one: text_of(one[0])[1:-1], told)


_NOTHING = (None,) * 11


def _or_null(value: str | None) -> str:
    return "null" if value is None else text_of(value)


def _number(value: int | None) -> str:
    return "null" if value is None else repr(whole(value))


def whole(value: int) -> int:
    """The same number. Raises TypeError for what is none, or not a whole one: SQLite keeps it in any column."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def keyed(key: bytes) -> Callable[[str], str]:
    """Makes digests under a key, as `Identity.digest` does, in hex.

    HMAC-SHA-256 (RFC 2104) at half of the cost, because the two blocks of the key are hashed once.
    """
    block = (key if len(key) <= 64 else sha256(key).digest()).ljust(64, b"\0")
    inner_of = sha256(bytes(byte ^ 0x36 for byte in block)).copy
    outer_of = sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def digest(value: str) -> str:
        inner, outer = inner_of(), outer_of()
        inner.update(value.encode("utf-8", "surrogatepass"))
        outer.update(inner.digest())
        return outer.hexdigest()

    return digest


class Heads:
    """Makes anew what stands in payloads before the facts."""

    def __init__(self, ledger: str) -> None:
        """`ledger`: its identity."""
        self.ledger = ledger
        self._texts = Known(framed_text)
        self._rests = Known(_rest)
        version, of = framed(VERSION), framed_text(ledger)
        self._chains = Known(lambda name: version + of + framed_text(name))

    def of(self, row: Any, before: bytes) -> bytes:
        """`row`: at, chain, attempt, kind, open, settled, who, note, seq. `before`: the hash of the entry before.

        Raises TypeError, AttributeError or LookupError for what no program writes in these columns.
        """
        at, chain, attempt, kind, opened, settled, who, note, seq = row
        place, moment = b"%a" % seq, at.encode()
        number = b"" if attempt is None else b"%a" % whole(attempt)
        return b"".join(
            (
                self._chains[chain],
                _LENGTHS[len(place)],
                place,
                _BEFORE,
                before,
                _LENGTHS[len(moment)],
                moment,
                self._texts[kind],
                _LENGTHS[len(number)] if number else _NONE,
                number,
                self._rests[opened, settled, who, note],
            )
        )


def framed_text(value: str) -> bytes:
    """A text as a field of a payload."""
    return framed(value.encode("utf-8", "surrogatepass"))


def _rest(told: tuple[int, int, str, str | None]) -> bytes:
    opened, settled, who, note = told
    parts = framed(b"%a" % whole(opened)), framed(b"%a" % whole(settled)), framed_text(who)
    return b"".join((*parts, _NONE if note is None else framed_text(note)))
