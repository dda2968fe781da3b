"""Seeded faults in reports: sums that do not agree, and days of another calendar. `tests.long.mutants` tries them."""

from tests.long.mutant import Mutant

REPORT, FOCUS = "runner/reports/report.py", "runner/reports/focus.py"
TOTALS = "tests/ledger/test_totals.py"
FILES, SUMS = "tests/reports/test_files.py", "tests/reports/test_report.py"

REPORTS = (
    Mutant(
        "others-dropped",
        "showing only the dearest loses nothing of the total",
        REPORT,
        "return [*own[:count], replace(rest, before=before)]",
        "return own[:count]",
        SUMS,
    ),
    Mutant(
        "waste-counted-twice",
        "nothing is both unusable and bought again",
        REPORT,
        "elif row.again:",
        "if row.again:",
        SUMS,
    ),
    Mutant(
        "only-new-groups",
        "the total of the window before is the sum of its column",
        REPORT,
        "keys = {**groups, **(earlier or {})}",
        "keys = groups",
        SUMS,
    ),
    Mutant(
        "play-money-is-cost",
        "play money is no cost",
        FOCUS,
        'return row.state == "settled" and len(row.currency) == 3',
        'return row.state == "settled"',
        FILES,
    ),
    Mutant(
        "month-of-utc",
        "a billing period is the workspace's own month",
        FOCUS,
        "_month(row.day, book.zone(row.workspace))",
        '_month(row.day, "UTC")',
        FILES,
    ),
    Mutant(
        "journal-keeps-the-last",
        "the journal adds up every bill of a day",
        "runner/reports/beancount.py",
        "found[1] += row.billed_micros",
        "found[1] = row.billed_micros",
        FILES,
    ),
    Mutant(
        "sum-too-short",
        "a workbook's formulas add up every row",
        "runner/reports/xlsx.py",
        "=SUM({_cell(at - count, column)}",
        "=SUM({_cell(at - count + (count > 1), column)}",
        FILES,
    ),
    Mutant(
        "blame-forgets-the-content",
        "a picture is known by its content",
        "runner/ledger/usage.py",
        'ATTEMPTS.c.result_digest.startswith(bindparam("digest"))',
        'ATTEMPTS.c.output_path.startswith(bindparam("digest"))',
        "tests/reports/test_blame.py",
    ),
    Mutant(
        "totals-forget-what-was",
        "a change of an attempt takes out what it counted for",
        "migrations/versions/0007_totals.py",
        "BEGIN {_added(-1)} END",
        "BEGIN SELECT 1; END",
        TOTALS,
    ),
    Mutant(
        "totals-only-of-ends",
        "an attempt counts from its reservation on",
        "migrations/versions/0007_totals.py",
        "AFTER INSERT ON attempts BEGIN {_added(1)} END",
        "AFTER INSERT ON attempts WHEN NEW.state = 'settled' BEGIN {_added(1)} END",
        TOTALS,
    ),
    Mutant(
        "totals-of-all-days",
        "the days that were asked for limit the totals",
        "runner/ledger/totals.py",
        '"last": "day <= :last"',
        '"last": "day <= :last OR 1"',
        TOTALS,
    ),
    Mutant(
        "totals-lost-are-unseen",
        "attempts that no total has are told",
        "runner/ledger/totals.py",
        'f"UNION ALL SELECT * FROM ({_GROUPED} EXCEPT {_HAD}))',
        'f") -- (',
        TOTALS,
    ),
)
