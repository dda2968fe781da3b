"""Seeded faults in what makes a check and a report fast. `tests.long.mutants` tries them."""

from tests.long.mutant import Mutant

VERIFY, LIVES, RETOLD = "runner/ledger/verify.py", "runner/ledger/lives.py", "runner/ledger/retold.py"
STANDING, TOTALS, MERKLE = "runner/ledger/multiset.py", "runner/ledger/totals.py", "runner/trail/merkle.py"
TESTS = "tests/ledger/test_verify.py"
USUAL, ANEW = f"{TESTS} -k usual", f"{TESTS} -k other_money"
TOLD, SUMS = "tests/ledger/test_retold.py", "tests/ledger/test_totals.py"

VERIFYING = (
    Mutant(
        "hash-uncompared",
        "an entry whose bytes are right must have its hash beside it",
        VERIFY,
        "if hashed != digest or size != len(facts):",
        "if size != len(facts):",
        USUAL,
    ),
    Mutant(
        "columns-unspelled",
        "an entry that is not read is the bytes that its columns make",
        VERIFY,
        "not payload.startswith(head)",
        "not payload.startswith(head[:80])",
        USUAL,
    ),
    Mutant(
        "length-uncompared",
        "the length of the facts is part of the bytes that are compared",
        VERIFY,
        "if hashed != digest or size != len(facts):",
        "if hashed != digest:",
        f"{TESTS} -k length_of",
    ),
    Mutant(
        "money-uncompared",
        "an end moves the money of its attempt",
        LIVES,
        "ENDS[kind] != life.state or (opened, settled) != due or",
        "ENDS[kind] != life.state or",
        ANEW,
    ),
    Mutant(
        "reserved-uncompared",
        "a reservation moves the money of its attempt",
        LIVES,
        "or opened != life.reserved_micros or settled:",
        "or settled:",
        ANEW,
    ),
    Mutant(
        "sent-at-any-time",
        "an attempt was sent when its entry says so",
        LIVES,
        "one.is_sent or one.life.sent_at != at or facts",
        "one.is_sent or facts",
        USUAL,
    ),
    Mutant(
        "windows-uncompared",
        "an attempt is in every window that it was reserved in",
        LIVES,
        "if named is None or not _are_held(named, held):",
        "if named is None:",
        USUAL,
    ),
    Mutant(
        "rows-passed-over",
        "an attempt that no entry speaks of is found",
        LIVES,
        "            self._put_aside(self._at)\n            if self._at == attempt:\n",
        "            if self._at == attempt:\n                self._put_aside(self._at)\n",
        f"{TESTS} -k between_two",
    ),
    Mutant(
        "rows-at-the-end-unread",
        "an attempt behind the last that entries speak of is found",
        LIVES,
        "        for row in self._rows:\n            if self._is_lost:",
        "        for row in self._rows:\n            if row:",
        f"{TESTS} -k between_two",
    ),
    Mutant(
        "negative-untold",
        "what is told anew of a row is told of that row only",
        RETOLD,
        '"negative_digest":{prompts[negative]}',
        '"negative_digest":null',
        f"{TOLD} -k told_the_same",
    ),
    Mutant(
        "numbers-of-any-kind",
        "a number of a row is not told as a text that looks like it",
        RETOLD,
        '"run_id":{run_id!r}',
        '"run_id":{run_id}',
        f"{TOLD} -k looks_like",
    ),
    Mutant(
        "control-characters-raw",
        "what is told anew is what was hashed, to the byte",
        RETOLD,
        "from json.encoder import encode_basestring_ascii as text_of",
        "from json.encoder import encode_basestring as text_of",
        f"{TOLD} -k to_the_byte",
    ),
    Mutant(
        "delivery-of-any-moment",
        "a delivery is of the moment of its entry",
        VERIFY,
        "AND d.result_digest = a.result_digest AND d.at = e.at",
        "AND d.result_digest = a.result_digest",
        USUAL,
    ),
    Mutant(
        "replaced-stands",
        "what was replaced does not stand any more",
        STANDING,
        "        if replaces:\n",
        "        if False:\n",
        f"{TOLD} -k stand",
    ),
    Mutant(
        "edge-of-the-tree",
        "many leaves at once make the tree that one after the other does",
        MERKLE,
        "            if len(row) & 1:\n",
        "            if len(row) == 1:\n",
        "tests/trail/test_merkle.py",
    ),
    Mutant(
        "totals-of-nothing",
        "a total that no attempts make is found",
        TOTALS,
        "for row in had ^ made",
        "for row in made - had",
        f"{SUMS} -k changed",
    ),
    Mutant(
        "totals-out-of-order",
        "totals summed in their own order are those of the rows, by every key",
        TOTALS,
        'until = max(_ALL.index(column) for column in {"workspace", *wanted}) + 1',
        'until = max(_ALL.index(column) for column in {"workspace", *wanted})',
        f"{SUMS} -k by_every_key",
    ),
)
