"""A journal for Beancount: what was settled, a transaction a day, recipe and payer.

Accounts are `Expenses:Pictures:<cost centre>:<recipe>` and `Liabilities:Pictures:<workspace>`. What is open is not in
it: no bill has come. https://beancount.github.io/docs/beancount_language_syntax.html
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, timedelta
from typing import TextIO

from runner.ledger.usage import UsageRow
from runner.money import exact
from runner.reports.book import Book
from runner.terminal import clean

_NO_COST_CENTRE = "No-cost-centre"

# Day, workspace, cost centre, recipe, currency, and what it corrects; "" where there is none.
Key = tuple[str, str, str, str, str, str]


def write(rows: Iterable[UsageRow], book: Book, out: TextIO) -> None:
    """Write the journal. Memory grows with days × recipes × cost centres and with corrections, not with attempts."""
    sums: dict[Key, list[int]] = {}
    for row in rows:
        if row.state != "settled":
            continue
        assert row.billed_micros is not None
        # A late bill of a closed window is a transaction of its own.
        corrected = "" if row.corrected_day is None else f"attempt {row.attempt_id} of {row.corrected_day}"
        key = (row.day, row.workspace, row.cost_centre or "", row.recipe, row.currency, corrected)
        found = sums.setdefault(key, [0, 0])
        found[0] += 1
        found[1] += row.billed_micros
    print(f'option "title" "{_text(book.title)}"', file=out)
    print(f"; made {book.made_at:%Y-%m-%d %H:%M:%S} UTC by {clean(book.program)}", file=out)
    if not sums:
        return
    first = min(key[0] for key in sums)
    print(file=out)
    for account in sorted({account for key in sums for account in (_expense(key), _liability(key))}):
        print(f"{first} open {account}", file=out)
    owed: dict[tuple[str, str], int] = {}
    for key in sorted(sums):
        day, workspace, cost_centre, recipe, currency, corrected = key
        count, micros = sums[key]
        unit = commodity(currency)
        what = f"correction: {corrected}" if corrected else f"{count} × picture"
        link = f" ^{corrected.replace(' ', '-')}" if corrected else ""
        print(f'\n{day} * "{_text(recipe)}" "{what}, workspace {_text(workspace)}"{link}', file=out)
        print(f'  recipe: "{_text(recipe)}"', file=out)
        print(f'  workspace: "{_text(workspace)}"', file=out)
        if cost_centre:
            print(f'  cost-centre: "{_text(cost_centre)}"', file=out)
        print(f"  requests: {count}", file=out)
        print(f"  {_expense(key)}  {exact(micros)} {unit}", file=out)
        print(f"  {_liability(key)}  {exact(-micros)} {unit}", file=out)
        owed[(_liability(key), unit)] = owed.get((_liability(key), unit), 0) - micros
    after = date.fromisoformat(max(key[0] for key in sums)) + timedelta(days=1)
    print(file=out)
    for (account, unit), micros in sorted(owed.items()):
        # The balance is our own sum: whoever reads the journal checks it against the transactions.
        print(f"{after} balance {account}  {exact(micros)} {unit}", file=out)


def commodity(currency: str) -> str:
    """A currency as Beancount writes it: `sandbox-USD` is `SANDBOX-USD`."""
    return re.sub(r"[^A-Z0-9'._-]", "-", currency.upper())


def _expense(key: Key) -> str:
    return f"Expenses:Pictures:{_part(key[2]) if key[2] else _NO_COST_CENTRE}:{_part(key[3])}"


def _liability(key: Key) -> str:
    return f"Liabilities:Pictures:{_part(key[1])}"


def _part(name: str) -> str:
    """A part of an account's name: letters, digits and dashes, beginning with a capital or a digit.

    Names that only differ in other characters share an account; the transactions tell them apart.
    """
    plain = unicodedata.normalize("NFKD", name)
    kept = re.sub(r"[^A-Za-z0-9-]+", "-", "".join(c for c in plain if not unicodedata.combining(c))).strip("-")
    return (kept[:1].upper() + kept[1:]) or "X"


def _text(value: str) -> str:
    return clean(value).replace("\\", "\\\\").replace('"', '\\"')
