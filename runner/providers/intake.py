"""How an answer comes in: the key hidden, and the picture cut out of the text and decoded while it arrives.

A usual answer is a little JSON around one long string, the picture in base64. Its bytes go to the disk decoded, a block
at a time, so that neither the answer nor the picture is ever in memory as a whole, and nothing is read again. What is
left of the answer, with nothing in that place, is a few hundred bytes.

Only what can be put together again to the byte is cut: base64 in its one canonical spelling, that stands where the
picture does. Anything else is kept as it came, and taken apart when it is whole.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import chain

import pybase64

from runner.providers.answer import Answer, is_plain, with_picture_cut
from runner.providers.document import Cut, Document
from runner.providers.key import Key, Redaction
from runner.providers.spool import SpoolWriter

_TEXT_BYTES_MAX = 64 * 1024  # on each side of the picture; more is kept as it came
_PICTURE_BYTES = 3 * 64 * 1024  # a multiple of three, so that the base64 of the blocks is the base64 of the whole
_PICTURE_BYTES_MIN = 1024  # less needs no file of its own
_HEAD_BYTES = 4096
_HEAD_ROOM_BYTES = 64 * 1024  # how much of the beginning is held, so that a key on the edge of the head is seen whole
_BEGINNING = re.compile(rb'"b64_json"\s{0,16}:\s{0,16}"')


class Base64:
    """Decodes base64 in pieces, and only what would be encoded to the very same text."""

    def __init__(self) -> None:
        self.carry = b""
        self._ended = False

    def feed(self, text: bytes) -> bytes:
        """The bytes that are certain now. Raises ValueError."""
        text = self.carry + text if self.carry else text
        whole = len(text) & ~3
        if not whole:
            self.carry = text
            return b""
        if self._ended:
            raise ValueError("text after the padding")
        decoded = pybase64.b64decode(memoryview(text)[:whole], validate=True)
        if text.endswith(b"=", 0, whole):
            self._ended = True
            # The last letters have bits to spare, and a decoder takes any.
            if pybase64.b64encode(decoded[-(len(decoded) % 3) :]) != text[whole - 4 : whole]:
                raise ValueError("it is not in its canonical spelling")
        self.carry = text[whole:]
        return decoded


class Intake:
    """Takes the blocks of one answer's body to `writer`, which is asked to begin before. `answer` has no body yet.

    Nothing raises but what is a mistake of ours: what the disk does is for the writer to say.
    """

    def __init__(self, writer: SpoolWriter, key: Key, answer: Answer) -> None:
        self._writer = writer
        self._key = key
        self._answer = answer
        self._inner = key.reveal().encode("latin-1")[1:-1]
        self._overlap = b""
        self._head = bytearray()
        self._before = bytearray()
        self._after = bytearray()
        self._base64 = Base64()
        self._digest = sha256()
        self._picture_bytes = 0
        self._redaction = Redaction(key)
        # Not a method of this object: that would be a cycle, and all of it stay until the collector comes by.
        self._take: Callable[[Intake, bytes], None] = Intake._look if is_plain(answer.headers) else Intake._pass
        self.kept: Answer | None = None
        self.document: Document | None = None  # of `kept`

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the body."""
        if len(self._head) < _HEAD_ROOM_BYTES:
            self._head += block[: _HEAD_ROOM_BYTES - len(self._head)]
        self._take(self, block)

    def finish(self) -> bool:
        """The answer is whole: whether it is on the disk, under its name. `kept` then has it if it was cut."""
        if self._take is Intake._collect and self._kept():
            return True
        if self._take is not Intake._pass:
            self._undo(b"")
        self._writer.write(self._redaction.finish())
        return not self._writer.lost and self._writer.commit()

    def head(self, *, broken_off: bool) -> bytes:
        """The beginning of the body, the key hidden; `broken_off`: also where only the beginning of one is there."""
        redaction = Redaction(self._key)
        shown = redaction.feed(bytes(self._head))
        return (shown + (redaction.broken_off() if broken_off else redaction.finish()))[:_HEAD_BYTES]

    def _look(self, block: bytes) -> None:
        """For where the picture begins."""
        self._before += block
        found = _BEGINNING.search(self._before)
        if found is not None and found.end() <= _TEXT_BYTES_MAX:
            rest = bytes(self._before[found.end() :])
            del self._before[found.end() :]
            self._take = Intake._decode
            self._decode(rest)
        elif found is not None or len(self._before) > _TEXT_BYTES_MAX:
            self._undo(b"")

    def _decode(self, block: bytes) -> None:
        """The picture, up to the end of its string."""
        end = block.find(b'"')
        carry = self._base64.carry
        try:
            decoded = self._base64.feed(block if end < 0 else block[:end])
            if end >= 0 and self._base64.carry:
                raise ValueError("not a whole number of quanta")
            if self._holds_key(decoded) or not self._writer.picture(decoded):
                raise ValueError("it cannot be kept like this")
        except ValueError:
            self._base64.carry = carry
            self._undo(block)
            return
        self._digest.update(decoded)
        self._picture_bytes += len(decoded)
        if end >= 0:
            self._take = Intake._collect
            self._collect(block[end:])

    def _holds_key(self, decoded: bytes) -> bool:
        """Whether the picture has the key in it, but for its first and last letters: those may share their base64."""
        seam = self._overlap + decoded[: len(self._inner)]
        self._overlap = (self._overlap + decoded[-len(self._inner) :])[1 - len(self._inner) :]
        return self._inner in seam or self._inner in decoded

    def _collect(self, block: bytes) -> None:
        """What comes behind the picture."""
        self._after += block
        if len(self._after) > _TEXT_BYTES_MAX:
            self._undo(b"")

    def _pass(self, block: bytes) -> None:
        self._writer.write(self._redaction.feed(block))

    def _undo(self, block: bytes) -> None:
        """Keep it all as it came; `block` is what has not been taken yet."""
        self._take = Intake._pass
        picture = (pybase64.b64encode(part) for part in self._writer.picture_so_far(_PICTURE_BYTES))
        for piece in chain([bytes(self._before)], picture, [self._base64.carry, bytes(self._after), block]):
            self._pass(piece)
        self._writer.forget_picture()

    def _kept(self) -> bool:
        """Keep the answer without its picture, and the picture. False when this one has to be kept as it came."""
        if self._picture_bytes < _PICTURE_BYTES_MIN:
            return False
        before, after = (self._hidden(bytes(text)) for text in (self._before, self._after))
        cut = Cut(len(before), self._picture_bytes, self._digest.hexdigest(), self._writer.picture_path)
        answer = replace(self._answer, body=before + after, cut=cut)
        document = with_picture_cut(answer)
        if document is None or not self._writer.commit_cut(before + after, cut):
            return False
        self.kept, self.document = answer, document
        return True

    def _hidden(self, text: bytes) -> bytes:
        redaction = Redaction(self._key)
        return redaction.feed(text) + redaction.finish()
