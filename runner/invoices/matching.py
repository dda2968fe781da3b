"""Attempts × lines of a provider's file → rows with a verdict each: by id where there is one, else by time and amount.

Pure. Every attempt and every line is in one row at most, so the differences of the rows add up to that of the totals.
The order of the lines changes nothing. Moments are microseconds since 1970, UTC; amounts micro-units.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from runner.invoices.pairing import pairs

Verdict = Literal[
    "matched",
    "differs",
    "only-ours",
    "only-theirs",
    "duplicate",
    "credit",
    "billed-released",
    "billed",
    "not-billed",
    "unproven",
    "under-way",
    "edge",
]
# What must be looked into: the two sides do not say the same.
DIFFERENCES = ("differs", "only-ours", "only-theirs", "duplicate", "credit", "billed-released")
# What the file says of attempts that are still open.
OPEN = ("billed", "not-billed", "unproven", "under-way")
Evidence = Literal["id", "time"]
_DOUBTFUL = ("only-theirs", "differs", "billed-released")


@dataclass(frozen=True, slots=True)
class Proof:
    """What an earlier file, read by `[invoices.INVOICE]`, said of an attempt. `agreed`: as the ledger has it."""

    verdict: str
    agreed: bool
    theirs_micros: int | None
    line_key: str | None
    invoice: str
    file_name: str
    line: int | None

    @property
    def where(self) -> str:
        """The file and its line, for messages."""
        return self.file_name if self.line is None else f"{self.file_name}:{self.line}"


@dataclass(frozen=True, slots=True)
class Ours:
    """An attempt that was sent. `micros`: what was billed when it is settled, else what was reserved.

    `first` and `last`: from when to when the provider can have dated it.
    """

    attempt_id: int
    state: str
    micros: int
    model: str
    request_id: str | None
    first: int
    last: int
    proof: Proof | None = None

    @property
    def settled_micros(self) -> int:
        """What the ledger has as spent."""
        return self.micros if self.state == "settled" else 0


@dataclass(frozen=True, slots=True)
class Theirs:
    """A line of the file. `number`: where it stands. `key`: the same wherever the same line stands."""

    number: int
    micros: int
    at: int
    id: str | None
    model: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was found. `candidates`: the attempts that a line, or an unknown attempt, was not told apart from.

    `earlier`: what another line said of the same attempt, where the two cannot both be.
    """

    verdict: Verdict
    ours: Ours | None = None
    theirs: Theirs | None = None
    evidence: Evidence | None = None
    candidates: tuple[int, ...] = ()
    earlier: Proof | None = None

    @property
    def difference_micros(self) -> int:
        """How much more the ledger has as spent than the file."""
        ours = 0 if self.ours is None else self.ours.settled_micros
        return ours - (0 if self.theirs is None else self.theirs.micros)


@dataclass(frozen=True, slots=True)
class Matching:
    """The rows: by line, then by attempt. `outside`: lines of other days. `by_id`: some ids are in the ledger."""

    rows: tuple[Row, ...]
    outside: tuple[Theirs, ...] = ()
    by_id: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What is compared. `first` ≤ moment < `last`: the days of the file; None: from its first line to its last.

    `within`: microseconds. `complete`: what the file does not list was not billed. `invoice`: of `[invoices.NAME]`.
    """

    within: int
    invoice: str
    first: int | None = None
    last: int | None = None
    complete: bool = False


def match(ours: Sequence[Ours], theirs: Sequence[Theirs], terms: Terms) -> Matching:
    """Compare. `ours`: the attempts of these days, an hour and `within` around them, and all whose id a line has."""
    return _Matcher(ours, theirs, terms).match()


@dataclass(slots=True)
class _Matcher:
    """One comparison. `ours` and `theirs` hold what is not in a row yet."""

    all_ours: Sequence[Ours]
    all_theirs: Sequence[Theirs]
    terms: Terms
    rows: list[Row] = field(default_factory=list)
    ours: dict[int, Ours] = field(init=False)
    theirs: dict[int, Theirs] = field(init=False)
    named: Mapping[str, Ours] = field(init=False)
    by_id: bool = False

    def match(self) -> Matching:
        # An id that several attempts have tells none of them.
        told = Counter(one.request_id for one in self.all_ours)
        ids = ((one.request_id, one) for one in self.all_ours)
        self.named = {name: one for name, one in ids if name is not None and told[name] == 1}
        self.ours = {one.attempt_id: one for one in sorted(self.all_ours, key=lambda one: one.attempt_id)}
        ordered = sorted(self.all_theirs, key=lambda line: (line.at, line.micros, line.number))
        first, last = self._span(ordered)
        reach = self.terms.within
        near = [line for line in ordered if first - reach <= line.at <= last + reach]
        outside = [line for line in ordered if not first - reach <= line.at <= last + reach]
        self.theirs = {line.number: line for line in near}
        self._credits()
        self._again()
        self._by_id()
        self._by_time(self._left("settled"), exact=True)
        self._unknown()
        self._by_time(self._left("settled"), exact=False)
        self._released()
        outside += self._only_theirs(first, last)
        self._only_ours(first, last)
        self._not_billed(ordered, first, last)
        rows, others = self._of_these_days(first, last)
        return Matching(tuple(sorted(rows, key=_order)), tuple(outside + others), self.by_id)

    def _span(self, ordered: Sequence[Theirs]) -> tuple[int, int]:
        if self.terms.first is not None and self.terms.last is not None:
            return self.terms.first, self.terms.last
        return (ordered[0].at, ordered[-1].at) if ordered else (0, 0)

    def _row(self, row: Row) -> None:
        self.rows.append(row)
        if row.ours is not None:
            self.ours.pop(row.ours.attempt_id, None)
        if row.theirs is not None:
            self.theirs.pop(row.theirs.number, None)

    def _left(self, *states: str) -> list[Ours]:
        return [one for one in self.ours.values() if one.state in states]

    # ---- what needs no search

    def _credits(self) -> None:
        """A line below zero gives money back; the ledger has nothing that it could be matched with."""
        for line in [line for line in self.theirs.values() if line.micros < 0]:
            self._row(Row("credit", None, line))

    def _again(self) -> None:
        """A line that was matched before stays with its attempt. What differed is looked at anew, as if for the first
        time: so that to record a difference makes nothing certain that was not."""
        proofs = ((one.proof, one) for one in self.ours.values() if one.proof is not None)
        known = {proof.line_key: one for proof, one in proofs if proof.agreed and proof.line_key is not None}
        for line in list(self.theirs.values()):
            one = known.get(line.key)
            if one is not None and one.attempt_id in self.ours:
                same_id = line.id is not None and self.named.get(line.id) == one
                self.by_id |= same_id
                self._pair(one, line, "id" if same_id else "time")

    def _by_id(self) -> None:
        """One line an id: the one that says our amount, else the earliest. All further ones are billed twice."""
        lines: dict[str, list[Theirs]] = {}
        for line in self.theirs.values():
            if line.id is not None and line.id in self.named:
                lines.setdefault(line.id, []).append(line)
        for name, group in lines.items():
            self.by_id = True
            one = self.named[name]
            group.sort(key=lambda line: (line.micros != one.micros, line.at, line.micros, line.number))
            before = None
            if one.attempt_id in self.ours:
                if self._billed_before(one, group[0]):
                    before = one.proof
                else:
                    self._pair(one, group.pop(0), "id")
            for line in group:
                self._row(Row("duplicate", None, line, "id", (one.attempt_id,), before))

    def _billed_before(self, one: Ours, line: Theirs) -> bool:
        """Whether another file of the kind has billed the attempt, and this line is not of its time: billed again."""
        proof = one.proof
        if proof is None or proof.line_key in (None, line.key) or proof.invoice != self.terms.invoice:
            return False
        return not one.first - self.terms.within <= line.at <= one.last + self.terms.within

    # ---- by time

    def _by_time(self, candidates: list[Ours], *, exact: bool) -> None:
        """Pairs of one amount (with `exact`; else of any two) at one time, the nearest first."""
        # What another file of this kind has billed is not billed by a line of this one.
        free = [one for one in candidates if not self._is_billed(one)]
        for ours, lines in self._halves(free):
            for with_model in (True, False):
                groups: dict[tuple[int, str], tuple[list[Ours], list[Theirs]]] = {}
                for line in lines:
                    if line.number in self.theirs and (line.model is not None) == with_model:
                        key = (line.micros if exact else 0, line.model or "")
                        groups.setdefault(key, ([], []))[1].append(line)
                for one in ours:
                    key = (one.micros if exact else 0, one.model if with_model else "")
                    if one.attempt_id in self.ours and key in groups:
                        groups[key][0].append(one)
                for group in groups.values():
                    for one, line in pairs(*group, self.terms.within):
                        self._pair(one, line, "time")

    def _is_billed(self, one: Ours) -> bool:
        proof = one.proof
        return proof is not None and proof.agreed and proof.line_key is not None and proof.invoice == self.terms.invoice

    def _halves(self, candidates: list[Ours]) -> Iterable[tuple[list[Ours], list[Theirs]]]:
        """Where ids tell, an attempt with one and a line with another are not the same, whenever they were."""
        lines = list(self.theirs.values())
        if not self.by_id:
            return [(candidates, lines)]
        nameless = [one for one in candidates if one.request_id is None]
        named = [line for line in lines if line.id is not None]
        return [(nameless, named), (candidates, [line for line in lines if line.id is None])]

    def _pair(self, one: Ours, line: Theirs, evidence: Evidence) -> None:
        """An attempt and a line that are the same request."""
        verdict: Verdict
        match one.state:
            case "settled":
                verdict = "matched" if one.micros == line.micros else "differs"
            case "released":
                # A line of zero says what the ledger says.
                verdict = "billed-released" if line.micros else "matched"
            case "unknown":
                verdict = "billed"
            case _:
                verdict = "under-way"
        self._row(Row(verdict, one, line, evidence, earlier=_contradicted(one, verdict, line)))

    # ---- what the ledger does not know the bill of

    def _unknown(self) -> None:
        """A line at the time of an unknown attempt proves that it was billed only where nothing else can be meant.

        Attempts that could be meant by the same lines are looked at together: as many lines as attempts, all of one
        amount that none of them exceeds its reservation by, and no settled attempt at that time that the file lacks.
        """
        reach = self.terms.within
        settled = self._left("settled")
        anybody = _Reached(settled, reach)
        nameless = _Reached([one for one in settled if one.request_id is None], reach)
        for group, meant in _together(self._meant()):
            if len(meant) != len(group) or len({line.micros for line in meant}) != 1:
                continue
            if any((nameless if self.by_id and line.id is not None else anybody).by(line) for line in meant):
                continue
            found = pairs(group, meant, reach)
            if len(found) == len(group) and all(self._could_be(one, line) for one, line in found):
                for one, line in found:
                    self._pair(one, line, "time")

    def _meant(self) -> list[tuple[Theirs, list[Ours]]]:
        """Each line that is left, with the open attempts that it could be the bill of."""
        left = sorted(self._left("unknown", "sent"), key=lambda one: (one.first, one.attempt_id))
        begun = [one.first for one in left]
        longest = max((one.last - one.first for one in left), default=0) + self.terms.within
        found = []
        for line in self.theirs.values():
            near = left[bisect_left(begun, line.at - longest) : bisect_right(begun, line.at + self.terms.within)]
            found.append((line, [one for one in near if self._could_be(one, line)]))
        return found

    def _could_be(self, one: Ours, line: Theirs) -> bool:
        """Whether a line could be the bill of an open attempt."""
        if self.by_id and line.id is not None and one.request_id is not None:
            return False
        at_its_time = one.first - self.terms.within <= line.at <= one.last + self.terms.within
        return at_its_time and line.micros <= one.micros and line.model in (None, one.model)

    def _released(self) -> None:
        """A line of nobody at the time of an attempt that was given back may be its bill after all."""
        for ours, lines in self._halves(self._left("released")):
            free = [one for one in ours if one.attempt_id in self.ours]
            for one, line in pairs(free, [line for line in lines if line.number in self.theirs], self.terms.within):
                if 0 < line.micros <= one.micros and line.model in (None, one.model):
                    self._pair(one, line, "time")

    def _only_theirs(self, first: int, last: int) -> list[Theirs]:
        """What is left of the lines of these days, each with the open attempts it could mean. Returns the others."""
        outside = []
        for line, could_be in self._meant():
            if self.terms.last is not None and not first <= line.at < last:
                outside.append(line)
            else:
                self._row(Row("only-theirs", None, line, candidates=tuple(one.attempt_id for one in could_be)))
        return outside

    # ---- what the file does not have

    def _only_ours(self, first: int, last: int) -> None:
        reach = self.terms.within
        for one in self._left("settled"):
            # A bill of nothing need not be on a bill.
            if one.micros == 0 or one.first >= last or one.last < first:
                continue
            strictly = first + reach <= one.first and one.last <= last - reach
            earlier = one.proof if one.proof is not None and one.proof.line_key else None
            if strictly:
                self._row(Row("only-ours", one, earlier=earlier))
            elif earlier is None:
                self._row(Row("edge", one))

    def _not_billed(self, ordered: Sequence[Theirs], first: int, last: int) -> None:
        """What a complete file does not list although it lists others before and after it was not billed."""
        reach = self.terms.within
        low = max(first, ordered[0].at) if ordered else last
        high = min(last, ordered[-1].at) if ordered else first
        # A line that nobody explains, or only by its time and not by its amount, could be the bill.
        doubtful = [row.theirs for row in self.rows if row.verdict in _DOUBTFUL and row.evidence != "id"]
        strangers = sorted(line.at for line in doubtful if line is not None)
        for one in self._left("unknown", "sent"):
            if one.first >= last or one.last < first:
                continue
            doubted = bisect_right(strangers, one.last + reach) > bisect_left(strangers, one.first - reach)
            covered = low <= one.first - reach and one.last + reach <= high
            if one.state == "sent":
                self._row(Row("under-way", one))
            elif self.terms.complete and covered and not doubted:
                self._row(Row("not-billed", one))
            else:
                self._row(Row("unproven", one))

    def _of_these_days(self, first: int, last: int) -> tuple[list[Row], list[Theirs]]:
        """Without what is of other days on both sides; it was only looked at because it is near."""
        if self.terms.last is None:
            return self.rows, []
        kept, others = [], []
        for row in self.rows:
            line, one = row.theirs, row.ours
            inside = one is not None and one.first < last and one.last >= first
            if line is None or inside or first <= line.at < last:
                kept.append(row)
            else:
                others.append(line)
        return kept, others


class _Reached:
    """Whether any of some attempts could be meant by a line."""

    def __init__(self, ours: Sequence[Ours], within: int) -> None:
        ordered = sorted(ours, key=lambda one: one.first)
        self._within = within
        self._first = [one.first for one in ordered]
        self._last = list(accumulate((one.last for one in ordered), max))

    def by(self, line: Theirs) -> bool:
        count = bisect_right(self._first, line.at + self._within)
        return count > 0 and self._last[count - 1] >= line.at - self._within


def _together(meant: Iterable[tuple[Theirs, list[Ours]]]) -> Iterable[tuple[list[Ours], list[Theirs]]]:
    """Attempts that could be meant by the same lines, directly or through others, and those lines."""
    groups: dict[int, tuple[list[Ours], list[Theirs]]] = {}
    of: dict[int, int] = {}  # attempt → its group
    for line, ours in meant:
        if not ours:
            continue
        joined = {of[one.attempt_id] for one in ours if one.attempt_id in of}
        # The largest takes the others in, so that no attempt changes its group often.
        name = max(joined, key=lambda group: len(groups[group][0]), default=line.number)
        group = groups.setdefault(name, ([], []))
        for other in joined - {name}:
            attempts, lines = groups.pop(other)
            group[0].extend(attempts)
            group[1].extend(lines)
            of.update((one.attempt_id, name) for one in attempts)
        new = [one for one in ours if one.attempt_id not in of]
        group[0].extend(new)
        of.update((one.attempt_id, name) for one in new)
        group[1].append(line)
    return groups.values()


def _contradicted(one: Ours, verdict: Verdict, line: Theirs) -> Proof | None:
    """What an earlier file said, where this line says otherwise."""
    proof = one.proof
    if proof is None or not proof.agreed:
        return None
    agrees = verdict == "matched" and proof.theirs_micros in (None, line.micros)
    return None if agrees else proof


def _order(row: Row) -> tuple[bool, int, int]:
    line = row.theirs
    return line is None, 0 if line is None else line.number, 0 if row.ours is None else row.ours.attempt_id
