"""What a provider's file and the ledger say of each other: for people, as CSV, and as one JSON object.

The rows make the difference of the totals, to the micro-unit: each attempt and each line is in one row at most.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from runner.invoices.file import InvoiceFile, moment_of
from runner.invoices.matching import DIFFERENCES, OPEN, Matching, Row, Terms, Verdict
from runner.ledger.database import moment
from runner.ledger.reconciling import Applied
from runner.money import exact
from runner.reports.csv import cell
from runner.terminal import clean, counted, table

SCHEMA = "omixa.reconcile/1"

# In the order that they are told in; what they are called.
NAMES: Mapping[Verdict, str] = {
    "matched": "matched",
    "differs": "amount differs",
    "only-ours": "only ours",
    "only-theirs": "only theirs",
    "duplicate": "billed twice",
    "credit": "credit",
    "billed-released": "billed, was released",
    "billed": "unknown, proved billed",
    "not-billed": "unknown, proved not billed",
    "unproven": "unknown, not proved",
    "under-way": "under way",
    "edge": "at the edge",
}
COLUMNS = (
    *("verdict", "line", "attempt", "evidence", "time", "id", "model", "currency", "ours", "theirs", "difference"),
    *("state", "what_to_do"),
)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was compared, on which terms. `days` in words; `applied` None: only shown. `currency`: of every amount."""

    file: InvoiceFile
    terms: Terms
    account: str
    currency: str
    days: str
    found: Matching
    applied: Applied | None = None

    @property
    def ours_micros(self) -> int:
        """What the ledger has as settled, of everything that was compared."""
        return sum(row.ours.settled_micros for row in self.found.rows if row.ours is not None)

    @property
    def theirs_micros(self) -> int:
        """What the file bills, of everything that was compared."""
        return sum(row.theirs.micros for row in self.found.rows if row.theirs is not None)


def write_text(told: Reconciliation, out: TextIO) -> None:
    """The sums first, then every row that does not simply match, each with what to do."""
    file, found = told.file, told.found
    title = f"{file.name} ({counted(len(file.lines), 'line')}) · workspace {told.account} · {told.days}"
    print(clean(f"{title} · [invoices.{told.terms.invoice}]"), file=out)
    print(f"SHA-256 {file.digest}", file=out)
    by_time = "by time and amount: no id of the file is in the ledger"
    print(f"matched {'by id, else by time and amount' if found.by_id else by_time}", file=out)
    print(f"\n{_sums(told)}\n", file=out)
    for line in _totals(told):
        print(line, file=out)
    others = [row for row in found.rows if row.verdict != "matched"]
    if others:
        header = ["where", "what", "attempt", "time (UTC)", "ours", "theirs", "difference", "what to do"]
        rows = [_told(row, file.name) for row in sorted(others, key=_rank)]
        print(f"\n{table(header, rows, right={4, 5, 6})}", file=out)
    if told.applied is not None:
        print(f"\n{done_text(told.applied)}", file=out)


def _rank(row: Row) -> int:
    return list(NAMES).index(row.verdict)


def _sums(told: Reconciliation) -> str:
    header = ["", "rows", f"ours {told.currency}", f"theirs {told.currency}", f"difference {told.currency}"]
    rows = []
    for verdict, name in NAMES.items():
        own = [row for row in told.found.rows if row.verdict == verdict]
        if own:
            ours = sum(row.ours.settled_micros for row in own if row.ours is not None)
            theirs = sum(row.theirs.micros for row in own if row.theirs is not None)
            rows.append([name, str(len(own)), exact(ours), exact(theirs), _signed(ours - theirs)])
    ours, theirs = told.ours_micros, told.theirs_micros
    rows.append(["total", str(len(told.found.rows)), exact(ours), exact(theirs), _signed(ours - theirs)])
    return table(header, rows, right={1, 2, 3, 4})


def _totals(told: Reconciliation) -> Iterator[str]:
    """Whether both sides say the same, and what was not compared."""
    left = told.ours_micros - told.theirs_micros
    named = [row for row in told.found.rows if row.difference_micros]
    assert left == sum(row.difference_micros for row in named)
    if not named:
        yield f"ours − theirs = {exact(left)} {told.currency}: both say the same"
    else:
        below = "the row below" if len(named) == 1 else f"the {len(named)} rows below"
        yield f"ours − theirs = {_signed(left)} {told.currency}: {below}, to the micro-unit"
    outside = told.found.outside
    if outside:
        amount = exact(sum(line.micros for line in outside))
        yield f"not compared: {counted(len(outside), 'line')} of other days, {amount} {told.currency}"
    if told.file.left_out:
        yield f"not compared: {counted(told.file.left_out, 'line')} that `only` leaves out"
    if told.file.rounded:
        yield f"{counted(told.file.rounded, 'line')} with more than six decimals: rounded up, as every bill is"


def _told(row: Row, file: str) -> list[str]:
    one, line = row.ours, row.theirs
    at = line.at if line is not None else one.first if one is not None else 0
    return [
        "–" if line is None else f"{file}:{line.number}",
        NAMES[row.verdict],
        "–" if one is None else str(one.attempt_id),
        moment(moment_of(at))[:19].replace("T", " "),
        "–" if one is None else exact(one.settled_micros),
        "–" if line is None else exact(line.micros),
        _signed(row.difference_micros),
        what_to_do(row),
    ]


def what_to_do(row: Row) -> str:
    """The next step for a row that does not simply match; empty for one that does."""
    number = None if row.ours is None else row.ours.attempt_id
    look = f"`omixa audit show {number}`"
    earlier = "" if row.earlier is None else f"; {row.earlier.where} said `{row.earlier.verdict}`, which is kept"
    match row.verdict:
        case "matched":
            return earlier.removeprefix("; ")
        case "differs":
            return f"the answer stated what ours says ({look}): ask the provider{earlier}"
        case "only-ours":
            return f"not on the file: expect it on another one, or ask for nothing{earlier}"
        case "only-theirs" if row.candidates:
            numbers = ", ".join(map(str, row.candidates[:5])) + (", …" if len(row.candidates) > 5 else "")
            return f"may be the bill of attempt {numbers}; when you know which: `omixa resolve ID --billed …`"
        case "only-theirs":
            return "no request of this ledger: who else uses the key? Ask the provider"
        case "duplicate":
            first = "" if row.earlier is None else f" before, in {row.earlier.where}"
            return f"attempt {row.candidates[0]} was billed already{first}: ask for a credit"
        case "credit":
            return "the ledger keeps what was billed: set it against the other differences by hand"
        case "billed-released":
            return f"held as not billed ({look}); it stays released: ask for a credit, or count it by hand{earlier}"
        case "billed":
            return "settled by `--apply`"
        case "not-billed":
            return "released by `--apply`"
        case "unproven":
            return f"the file does not prove whether it was billed; when you know: `omixa resolve {number} …`"
        case "under-way":
            return "not booked yet: let its run end, or start one, and compare again"
        case "edge":
            return "at the edge of these days: expect it on the file beside this one"


def done_text(done: Applied) -> str:
    """What was applied, in one line."""
    parts = [f"{counted(done.recorded, 'verdict')} recorded", f"{done.already} stood there already"]
    if done.settled:
        parts.append(f"settled {_numbers(done.settled)}")
    if done.released:
        parts.append(f"released {_numbers(done.released)}")
    if done.kept:
        parts.append(f"{counted(len(done.kept), 'verdict')} of an earlier file kept, although this one says otherwise")
    if done.changed:
        parts.append(f"{_numbers(done.changed)} changed meanwhile: compare the file again")
    return "; ".join(parts)


def _numbers(attempts: list[int]) -> str:
    return f"attempt{'s' * (len(attempts) > 1)} {', '.join(map(str, attempts))}"


def _signed(micros: int) -> str:
    return f"{'+' * (micros > 0)}{exact(micros)}"


def write_csv(told: Reconciliation, out: TextIO) -> None:
    """Every row, also those that match; no totals, as a sum over a column is one."""
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in told.found.rows:
        record = _record(row, told)
        text = {"id", "model", "currency", "state", "what_to_do"}
        writer.writerow([cell(record[name]) if name in text else _plain(record[name]) for name in COLUMNS])


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def write_json(told: Reconciliation, out: TextIO) -> None:
    """One object, `omixa.reconcile/1`; money as text with six decimals."""
    done = told.applied
    whole = {
        "schema": SCHEMA,
        "file": told.file.name,
        "sha256": told.file.digest,
        "invoice": told.terms.invoice,
        "workspace": told.account,
        "currency": told.currency,
        "days": told.days,
        "by_id": told.found.by_id,
        "ours": exact(told.ours_micros),
        "theirs": exact(told.theirs_micros),
        "difference": exact(told.ours_micros - told.theirs_micros),
        "counts": {verdict: sum(row.verdict == verdict for row in told.found.rows) for verdict in NAMES},
        "lines_of_other_days": len(told.found.outside),
        "lines_left_out": told.file.left_out,
        "applied": None
        if done is None
        else {
            "recorded": done.recorded,
            "already": done.already,
            "settled": done.settled,
            "released": done.released,
            "kept": len(done.kept),
            "changed": done.changed,
            "breaches": done.breaches,
        },
        "rows": [_record(row, told) for row in told.found.rows],
    }
    json.dump(whole, out, indent=2)
    out.write("\n")


def _record(row: Row, told: Reconciliation) -> dict[str, Any]:
    one, line = row.ours, row.theirs
    return {
        "verdict": row.verdict,
        "line": None if line is None else line.number,
        "attempt": None if one is None else one.attempt_id,
        "evidence": row.evidence,
        "time": moment(moment_of(line.at if line is not None else one.first if one is not None else 0)),
        "id": (None if line is None else line.id) or (None if one is None else one.request_id),
        "model": one.model if one is not None else None if line is None else line.model,
        "currency": told.currency,
        "ours": None if one is None else exact(one.settled_micros),
        "theirs": None if line is None else exact(line.micros),
        "difference": exact(row.difference_micros),
        "state": None if one is None else one.state,
        "what_to_do": what_to_do(row),
    }


def has_differences(found: Matching) -> bool:
    """Whether the two sides do not say the same, or an earlier file says otherwise."""
    return any(row.verdict in DIFFERENCES or row.earlier is not None for row in found.rows)


def has_open(found: Matching) -> bool:
    """Whether money is held that the ledger does not know the bill of."""
    return any(row.verdict in OPEN for row in found.rows)


FORMATS = {"text": write_text, "csv": write_csv, "json": write_json}
