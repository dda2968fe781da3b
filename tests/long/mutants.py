"""Seeded faults: each promise is broken on purpose in a copy of the house, and its test must fail.

    python -m tests.long.mutants            all of them
    python -m tests.long.mutants NAME …     some

A mutant that survives means that a promise has no test; the command then exits 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.long.mutant import Mutant
from tests.long.mutants_approvals import APPROVALS
from tests.long.mutants_baton import HANDED_ON
from tests.long.mutants_benchmarks import BENCHMARKS
from tests.long.mutants_contracts import CONTRACTS
from tests.long.mutants_jobs import JOBS
from tests.long.mutants_recipes import RECIPES
from tests.long.mutants_reports import REPORTS
from tests.long.mutants_reviews import REVIEWS
from tests.long.mutants_speed import SPEED
from tests.long.mutants_steps import STEPS
from tests.long.mutants_verify import VERIFYING

HOUSE = Path(__file__).parents[2]


BALANCES, LEDGER, EXECUTION = "runner/ledger/balances.py", "runner/ledger/ledger.py", "runner/execution.py"
BOOKING, RECOVERY = "runner/booking.py", "runner/recovery.py"
INTAKE = "runner/providers/intake.py"
KEY, ANSWER, FORMATS = "runner/providers/key.py", "runner/providers/answer.py", "runner/images/formats.py"
TOGETHER, TOGETHER_TESTS = "runner/ledger/together.py", "tests/ledger/test_together.py"
CHECKED, CHECKED_TESTS = "runner/ledger/checked.py", "tests/ledger/test_checked.py"
STATES, RACES = "tests/ledger/test_states.py", "tests/ledger/test_races.py"
LEVERS, VERIFY = "tests/ledger/test_levers.py", "runner/ledger/verify.py"
RUN, CRASH = "tests/run/test_run.py", "tests/run/test_crash.py"

MUTANTS = (
    Mutant(
        "unreadable-is-gone",
        "nobody is told to pay again for a kept result because this user may not read it",
        "runner/images/disk.py",
        "            except FileNotFoundError:\n                continue",
        "            except OSError:\n                continue",
        "tests/run/test_trouble.py -k not_to_be_paid_again",
    ),
    Mutant(
        "check-then-act",
        "a cap is checked and taken in one statement",
        BALANCES,
        "(id = :id{n} AND open_micros + settled_micros + :amount <= :cap{n})",
        "(id = :id{n})",
        f"{STATES} -k one_full_window",
    ),
    Mutant(
        "settled-only",
        "what is open counts against a cap",
        BALANCES,
        "open_micros + settled_micros + :amount <= :cap{n}",
        "settled_micros + :amount <= :cap{n}",
        f"{STATES} -k last_micro_unit",
    ),
    Mutant(
        "one-window-is-enough",
        "every window must have room",
        BALANCES,
        '= {count}"',
        '>= 1"',
        f"{STATES} -k one_full_window",
    ),
    Mutant(
        "skip-one-cap",
        "every declared cap is asked",
        BALANCES,
        "for cap in caps]",
        "for cap in caps[1:]]",
        f"{STATES} -k wherever_it_stands",
    ),
    Mutant(
        "refusal-keeps-what-it-took",
        "a refusal takes from no window",
        BALANCES,
        'AND (SELECT count(*) FROM budget_windows WHERE {terms}) = {count}"',
        'AND ({terms})"',
        f"{STATES} -k takes_from_none",
    ),
    Mutant(
        "shrink-to-fit",
        "a reservation is never made smaller to fit",
        LEDGER,
        "            amount = _amount(writing, run.workspace, asked.model, amount_micros)\n",
        "            amount = min([_amount(writing, run.workspace, asked.model, amount_micros), "
        "*(cap.cap_micros for cap in caps)])\n",
        f"{STATES} -k 'takes_from_none or highest_bill'",
    ),
    Mutant(
        "forget-what-was-seen",
        "a reservation is at least the highest bill seen",
        LEDGER,
        "amount = max(declared_micros or 0, seen or 0)",
        "amount = declared_micros or 0",
        f"{STATES} -k highest_bill",
    ),
    Mutant(
        "no-item-key",
        "an item whose money is open is not reserved again",
        LEDGER,
        'if its_state != "settled":',
        "if False:",
        f"{STATES} -k cannot_be_reserved_again",
    ),
    Mutant(
        "bought-again",
        "a bought item is not bought again by accident",
        LEDGER,
        "if not again:",
        "if False:",
        f"{STATES} -k unless_on_purpose",
    ),
    Mutant(
        "breach-goes-on",
        "a bill above its reservation stops the workspace",
        LEDGER,
        "            if breach:\n",
        "            if False:\n",
        f"{STATES} -k stops_the_workspace",
    ),
    Mutant(
        "clock-goes-back",
        "windows only move forward",
        LEDGER,
        "within = at if latest is None else max(at, latest)",
        "within = at",
        f"{STATES} tests/ledger/test_clocks.py -k goes_back",
    ),
    Mutant(
        "end-twice",
        "an attempt that ended cannot end again",
        LEDGER,
        "if attempt is None or attempt.state not in states:",
        "if attempt is None:",
        f"{STATES} -k cannot_end_again",
    ),
    Mutant(
        "new-cap-starts-empty",
        "a cap declared in the middle of a month counts the whole month",
        BALANCES,
        '{"open_micros": open_micros, "settled_micros": settled_micros}',
        '{"open_micros": 0, "settled_micros": 0}',
        f"{STATES} -k middle_of_a_month",
    ),
    Mutant(
        "undeclared-is-not-counted",
        "a window counts its whole span, also while no cap is declared for it",
        BALANCES,
        "for row in others if row.id not in known]",
        "for row in ()]",
        f"{STATES} -k put_back",
    ),
    Mutant(
        "unknown-may-free",
        "an unknown attempt never makes room by itself",
        BALANCES,
        'ATTEMPTS.c.state.in_(("reserved", "sent"))',
        'ATTEMPTS.c.state.in_(("reserved", "sent", "unknown"))',
        f"{STATES} -k in_flight_could_make_room",
    ),
    Mutant(
        "no-transactions",
        "what belongs together is written together, or not at all",
        "runner/ledger/database.py",
        'raw.execute("BEGIN IMMEDIATE")',
        'raw.execute("SELECT 1")',
        f"{TOGETHER_TESTS} -k 'undone_alone or everybody_hears'",
    ),
    Mutant(
        "told-before-committed",
        "nobody is told of a booking before it is committed",
        TOGETHER,
        "                page.finish()\n                self._page, self",
        "                page.finish()\n                for one in taken[1:]:\n                    one.settled = True\n"
        "                    one.wake()\n                taken = [mine]\n                self._page, self",
        f"{TOGETHER_TESTS} -k nobody_is_told",
    ),
    Mutant(
        "told-before-synced",
        "of those who wait for one commit, nobody is told before it survives a power cut",
        TOGETHER,
        "                page.finish()\n                self._page, self",
        "                page.finish()\n                for one in taken[1:]:\n                    one.settled = True\n"
        "                    one.wake()\n                taken = [mine]\n                self._page, self",
        "tests/proof/test_power.py -k 'lost_in_a_power_cut'",
    ),
    Mutant(
        "error-of-one-lost",
        "who asked for a change that failed hears of it",
        TOGETHER,
        "            one.fail(error)\n        page.run",
        "        page.run",
        f"{TOGETHER_TESTS} -k undone_alone",
    ),
    Mutant(
        "failed-one-not-undone",
        "a change that failed is undone, also in the middle of a transaction",
        TOGETHER,
        "            page.run(_UNDO, {})\n",
        "",
        f"{TOGETHER_TESTS} -k undone_alone",
    ),
    Mutant(
        "failed-one-leaves-its-chain",
        "the chain goes on where it was before a change that failed",
        TOGETHER,
        "            page.back(mark)\n",
        "",
        f"{TOGETHER_TESTS} -k undone_alone",
    ),
    Mutant(
        "anew-with-what-was-undone",
        "when all are done once more, nothing is believed of the first time",
        TOGETHER,
        "return Page(page.connection, self._identity)",
        "return page",
        f"{TOGETHER_TESTS} -k undone_alone",
    ),
    Mutant(
        "anew-on-top",
        "when all are done once more, nothing is left of the first time",
        "runner/ledger/database.py",
        '        raw.rollback()\n        raw.execute("BEGIN IMMEDIATE")\n',
        "",
        f"{TOGETHER_TESTS} -k undone_alone",
    ),
    Mutant(
        "one-undoes-all",
        "a change that failed undoes nobody else's",
        TOGETHER,
        "            if not self._database.is_inside(page.connection):\n",
        "            if True:\n",
        f"{TOGETHER_TESTS} -k undone_alone",
    ),
    Mutant(
        "ended-transaction-goes-on",
        "nothing is believed booked after the transaction has ended by itself",
        TOGETHER,
        "            if not self._database.is_inside(page.connection):\n                raise\n",
        "            if not self._database.is_inside(page.connection):\n                return\n",
        f"{TOGETHER_TESTS} -k everybody_hears",
    ),
    Mutant(
        "failed-commit-told-to-one",
        "when a commit fails, everybody in it hears of it",
        TOGETHER,
        "            for one in taken:\n                one.fail(told)",
        "            for one in taken[:1]:\n                one.fail(told)",
        f"{TOGETHER_TESTS} -k everybody_hears",
    ),
    Mutant(
        "page-outlives-others",
        "what another process wrote is seen by the next booking",
        TOGETHER,
        "version != self._seen[0]",
        "False",
        f"{TOGETHER_TESTS} -k another_process",
    ),
    Mutant(
        "page-outlives-our-own",
        "what was written beside the ledger's functions is seen by the next booking",
        TOGETHER,
        "begun - self._seen[1] > 1",
        "False",
        f"{TOGETHER_TESTS} -k beside",
    ),
    Mutant(
        "remembers-after-writing",
        "what any statement may have changed is not remembered",
        "runner/ledger/chain.py",
        "        self.page.doubt()\n",
        "",
        "tests/ledger",
    ),
    Mutant(
        "sums-are-not-compared",
        "what old attempts cost is still proven by the sums of their entries",
        CHECKED,
        "    if made != _with(",
        "    if False and made != _with(",
        f"{CHECKED_TESTS} -k by_the_sums",
    ),
    Mutant(
        "entries-since-are-not-compared",
        "each attempt that changed is the sum of its entries",
        CHECKED,
        "    if connection.execute(_ATTEMPT_OFF",
        "    if False and connection.execute(_ATTEMPT_OFF",
        f"{CHECKED_TESTS} -k entries_of_the_newer",
    ),
    Mutant(
        "open-money-is-not-compared",
        "every balance has the open attempts that are booked in it",
        CHECKED,
        "        if row.open_micros != booked.get(row.id, 0):",
        "        if False:",
        f"{CHECKED_TESTS} -k also_where_nothing",
    ),
    Mutant(
        "spans-are-not-compared",
        "the balance of a window is what was spent in its span",
        CHECKED,
        "        elif has != spans.get(",
        "        elif False and has != spans.get(",
        f"{CHECKED_TESTS} -k also_where_nothing",
    ),
    Mutant(
        "runs-are-not-compared",
        "the balance of a run is the sum of its attempts",
        CHECKED,
        "            if has != runs[row.period]",
        "            if False and has != runs[row.period]",
        f"{CHECKED_TESTS} -k also_where_nothing",
    ),
    Mutant(
        "corrections-are-not-taken-back",
        "a late bill of a closed window counts in the balance that it was reserved in",
        CHECKED,
        "-open_micros, -settled_micros FROM counted",
        "0, 0 FROM counted",
        f"{CHECKED_TESTS} -k late",
    ),
    Mutant(
        "whatever-was-checked",
        "what was written down when the ledger added up is verified",
        VERIFY,
        "            _checked(number, entry, found)\n",
        "            pass\n",
        f"{CHECKED_TESTS} -k made_up",
    ),
    Mutant(
        "send-before-commit",
        "an attempt is recorded as sent before its body leaves",
        EXECUTION,
        "means.ledger.sent(reservation.attempt_id, who=purchase.run.who, at=means.now())",
        "pass",
        f"{RUN} -k bought_once",
    ),
    Mutant(
        "retry-unknown",
        "what may have been billed is not sent again",
        EXECUTION,
        "if not isinstance(outcome, Declined) or outcome.retry_after_s is None:",
        "if isinstance(outcome, Billed) or (isinstance(outcome, Declined) and outcome.retry_after_s is None):",
        f"{RUN} -k 'never_came or server_error'",
    ),
    Mutant(
        "release-unknown",
        "what may have been billed stays held",
        BOOKING,
        """            ledger.unknown(
                attempt_id,
                code=code,
                message=message,
                evidence=evidence,
                result=None,
""",
        """            ledger.release(
                attempt_id,
                code=code,
                message=message,
                evidence=evidence,
""",
        f"{RUN} -k never_came",
    ),
    Mutant(
        "release-sent-on-recovery",
        "what a dead process had sent is not released",
        RECOVERY,
        'if row.state == "reserved":',
        "if True:",
        f"{CRASH} -k 'kill_9 or spooled'",
    ),
    Mutant(
        "forget-the-spool",
        "an answer that a dead process had spooled is settled",
        RECOVERY,
        "elif spool.exists():",
        "elif False:",
        f"{CRASH} -k spooled",
    ),
    Mutant(
        "no-owner-check",
        "a living process's attempts are left alone",
        "runner/ledger/owners.py",
        "        os.close(file)\n        return None\n",
        "        return Owner(path, file)\n",
        f"{CRASH} -k living_process",
    ),
    Mutant(
        "no-recovery",
        "what a dead process left is finished",
        RECOVERY,
        "    for run_id, uid in usage.open_runs(means.ledger.database):\n        owner",
        "    for run_id, uid in []:\n        owner",
        f"{CRASH} -k 'kill_9 or spooled'",
    ),
    Mutant(
        "do-not-wait",
        "a cap is filled exactly: a refusal waits for what is in flight",
        EXECUTION,
        "case Refusal(may_free=True):",
        "case Refusal(may_free=True) if False:",
        f"{RUN} -k whatever_the_number",
    ),
    Mutant(
        "book-before-writing",
        "a bill without a usable picture is told apart",
        BOOKING,
        "    if isinstance(facts, str):\n        return Written(None, facts)\n",
        "    if isinstance(facts, str):\n        facts = images.ResultFacts('image/png', 1, 1, 1)\n",
        f"{RUN} -k bill_without_a_picture",
    ),
    Mutant(
        "overwrite-foreign",
        "a file that omixa did not write is never overwritten",
        "runner/plan.py",
        "if draft.output_size is not None and not _is_ours(draft, facts):",
        "if False:",
        f"{RUN} -k did_not_write",
    ),
    Mutant(
        "overwrite-late-comers",
        "a file that appears after the plan is not overwritten",
        BOOKING,
        "    if not os.path.lexists(draft.output):\n",
        "    if True:\n        images.write_atomically(file, draft.output)\n        return\n    if False:\n",
        "tests/run/test_hostile.py -k appears_after_the_plan",
    ),
    Mutant(
        "send-while-ending",
        "after Ctrl-C nothing new is sent",
        EXECUTION,
        "            if control.finishing:\n",
        "            if False:\n",
        "tests/run/test_hostile.py -k nothing_new_is_sent",
    ),
    Mutant(
        "drop-the-only-copy",
        "a result that could not be kept stays in the spool until it can",
        BOOKING,
        "    elif written.kept:\n",
        "    else:\n",
        "tests/run/test_hostile.py -k kept_by_the_next_run",
    ),
    Mutant(
        "plan-alone",
        "recipes of one run are planned together",
        "runner/commands/run.py",
        "wishes=session.wishes, after=plans",
        "wishes=session.wishes, after=()",
        "tests/run/test_hostile.py -k reroll_across",
    ),
    Mutant(
        "lenient-amount",
        "amounts are read by a strict grammar",
        "runner/money.py",
        '_GRAMMAR = re.compile(r"(0|[1-9][0-9]{0,8})(?:\\.([0-9]{1,12}))?", re.ASCII)',
        '_GRAMMAR = re.compile(r"\\s*(\\d+)(?:\\.(\\d+))?\\s*")',
        "tests/test_money.py",
    ),
    Mutant(
        "round-down",
        "beyond six decimals a bill rounds up",
        "runner/money.py",
        'return micros + 1 if fraction[6:].strip("0") else micros',
        "return micros",
        "tests/test_money.py",
    ),
    Mutant(
        "stop-is-not-asked",
        "a stop holds in every process from the moment it is committed",
        LEDGER,
        "            if stopped is not None:\n                return stopped\n        names",
        "        names",
        f"{LEVERS} -k 'stop_refuses or stops_them_all'",
    ),
    Mutant(
        "stop-never-ends",
        "a stop with an end ends by itself",
        "runner/ledger/standing.py",
        '(until IS NULL OR until > :at) "\n    "ORDER',
        '(until IS NULL OR TRUE) "\n    "ORDER',
        f"{LEVERS} -k ends_by_itself",
    ),
    Mutant(
        "grant-never-ends",
        "the end of a grant is kept",
        "runner/ledger/standing.py",
        '"AND workspace = :workspace AND (until IS NULL OR until > :at)"',
        '"AND workspace = :workspace"',
        f"{LEVERS} -k over_at_its_end",
    ),
    Mutant(
        "grant-for-every-window",
        "a grant is for one window",
        "runner/ledger/standing.py",
        "granted.get((cap.period, windows.window(cap.calendar, day, zone).label), 0)",
        "sum(more for (period, _), more in granted.items() if period == cap.period)",
        f"{LEVERS} -k not_for_the_next",
    ),
    Mutant(
        "many-find-out-the-price",
        "a price never seen is found out by one request alone",
        LEDGER,
        "return FirstOfPrice(first[0])",
        "pass",
        f"{LEVERS} -k goes_alone",
    ),
    Mutant(
        "believe-every-clock",
        "a clock that ran ahead opens no window",
        LEDGER,
        "            if doubt is not None:\n                return ClockDoubted(doubt)\n",
        "",
        "tests/ledger/test_clocks.py -k 'new_month_is_refused or stays_until'",
    ),
    Mutant(
        "bills-open-windows",
        "windows move forward by reservations only",
        "runner/ledger/standing.py",
        '_RESERVED_LAST = "SELECT reserved_at FROM attempts ORDER BY id DESC LIMIT 1"',
        '_RESERVED_LAST = "SELECT max(at) FROM entries"',
        "tests/ledger/test_clocks.py -k opens_no_window",
    ),
    Mutant(
        "endpoints-date-unread",
        "an endpoint that contradicts the clock stops the runs",
        EXECUTION,
        "if is_off(said, min(max(said, began), now)):",
        "if False:",
        "tests/run/test_levers.py -k contradicts_the_clock",
    ),
    Mutant(
        "canary-goes-on",
        "a canary that costs more than planned stops the rest",
        "runner/jobs.py",
        "        if cost <= planned:\n",
        "        if True:\n",
        "tests/run/test_levers.py -k costs_more_than_planned",
    ),
    Mutant(
        "frozen-goes-on",
        "a ledger that does not add up reserves nothing",
        RECOVERY,
        "    if frozen is not None:\n        raise",
        "    if False:\n        raise",
        "tests/run/test_trail.py -k frozen_and_repaired",
    ),
    Mutant(
        "links-unchecked",
        "every link of the chain is checked",
        VERIFY,
        "if entry.before != end.head or entry.seq != seq:",
        "if entry.seq != seq:",
        f"{STATES.replace('states', 'verify')} -k fit_the_next",
    ),
    Mutant(
        "columns-unchecked",
        "every row is what its entries say",
        VERIFY,
        "if value == expected.get(name) or",
        "if True or value == expected.get(name) or",
        f"{STATES.replace('states', 'verify')} -k 'every_value or unsaid'",
    ),
    Mutant(
        "checkpoints-unread",
        "a chain that is cut off shows against a checkpoint",
        VERIFY,
        "        if left.size or size:\n",
        "        if False:\n",
        f"{STATES.replace('states', 'verify')} -k cut_off_tidily",
    ),
    Mutant(
        "prompts-in-the-chain",
        "prompts can be purged without breaking the chain",
        "runner/ledger/facts.py",
        "name: identity.digest(value) if name in _UNDER_KEY and value is not None else value",
        "name: value",
        f"{STATES.replace('states', 'verify')} -k 'purged or every_value'",
    ),
    # ---- hostile input
    Mutant(
        "escaped-key",
        "the key is hidden also where its characters are written as escapes",
        KEY,
        "return self._key.escaped().hidden(block) if _has_escapes(block) else block",
        "return block",
        "tests/providers/test_key.py -k escapes",
    ),
    Mutant(
        "beginning-of-an-escaped-key",
        "a stream that breaks off inside the escaped key does not show its beginning",
        KEY,
        'return self._key.escaped().without_beginning(rest) if _has_escapes(rest) or b"\\\\" in rest else rest',
        "return rest",
        "tests/providers/test_key.py -k breaks_off",
    ),
    Mutant(
        "bill-elsewhere",
        "a refusal that speaks of a bill anywhere is in doubt",
        ANSWER,
        "    if not micros and answer.status not in SUCCESS and _speaks_of_money(document, answer.body):\n",
        "    if False:\n",
        "tests/providers/test_answer.py -k speaks_of_a_bill",
    ),
    Mutant(
        "bill-elsewhere-unseen-by-fuzz",
        "the answer target finds a bill that was taken for none",
        ANSWER,
        "    if not micros and answer.status not in SUCCESS and _speaks_of_money(document, answer.body):\n",
        "    if False:\n",
        "tests/fuzz/test_fuzz.py",
    ),
    Mutant(
        "compressed-refusal",
        "a body in an encoding that nobody asked for says nothing about money",
        ANSWER,
        " or answer.body[:4].startswith(_ENCODED):",
        ":",
        "tests/providers/test_answer.py -k speaks_of_a_bill",
    ),
    Mutant(
        "bill-hides-the-stop",
        "a bill does not hide that the run cannot go on",
        ANSWER,
        "        if not refusal.stops_run:\n",
        "        if True:\n",
        "tests/providers/test_answer.py -k cannot_go_on",
    ),
    Mutant(
        "deep-answer",
        "an answer is nested 64 deep at most",
        "runner/providers/document.py",
        "    if _is_deep(rest):\n",
        "    if False:\n",
        "tests/providers/test_answer.py -k nested_64",
    ),
    Mutant(
        "special-addresses",
        "a picture is fetched only from the open internet",
        "runner/providers/line.py",
        "    if any(ip in network for network in _SPECIAL):\n",
        "    if False:\n",
        "tests/providers/test_line.py -k addresses_that_are_not_public",
    ),
    Mutant(
        "two-headers",
        "a PNG with two headers is refused",
        FORMATS,
        '        elif chunk.kind == b"IHDR":\n',
        "        elif False:\n",
        "tests/images/test_hostile_pictures.py",
    ),
    Mutant(
        "size-of-the-decoder",
        "what a decoder would make is as large as what was checked",
        FORMATS,
        "    if picture.size != (header.width, header.height):\n",
        "    if False:\n",
        "tests/images/test_hostile_pictures.py",
    ),
    Mutant(
        "endless-jpeg",
        "a JPEG that keeps a decoder busy is refused",
        FORMATS,
        "    _check_jpeg_segments(file)\n",
        "",
        "tests/images/test_hostile_pictures.py",
    ),
    Mutant(
        "scans-behind-a-false-end",
        "metadata cannot hide the scans behind it",
        FORMATS,
        "        at += max(2, length)\n",
        "        at += 2\n",
        "tests/images/test_hostile_pictures.py -k inside_metadata",
    ),
    Mutant(
        "asserting-decoder",
        "whatever Pillow raises is a damaged picture",
        FORMATS,
        "    AssertionError,\n",
        "",
        "tests/images/test_hostile_pictures.py",
    ),
    Mutant(
        "endless-problems",
        "problems are not looked for further than they are shown",
        "runner/diagnostics.py",
        "    if len(name) > _NAME_LENGTH_MAX:\n        return None\n",
        "",
        "tests/test_recipe.py -k name_of_a_megabyte",
    ),
    Mutant(
        "many-of-everything",
        "a recipe has as many tables as anybody writes",
        "runner/recipe.py",
        "    if too_many:\n",
        "    if False:\n",
        "tests/test_recipe.py -k not_one_more",
    ),
    Mutant(
        "linked-recipe",
        "a recipe is no way to read other files",
        "runner/recipe.py",
        "file = read_toml(path, where, root=names.root)",
        "file = read_toml(path, where)",
        "tests/test_recipe.py -k no_way_to_read",
    ),
    Mutant(
        "followed-sidecar",
        "a link is not followed, by the open file",
        "runner/tomlfile.py",
        "(0 if links else os.O_NOFOLLOW)",
        "0",
        "tests/test_prompts.py",
    ),
    Mutant(
        "waits-for-a-pipe",
        "a named pipe is refused",
        "runner/tomlfile.py",
        "        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # of a folder, the reading itself says so\n",
        "        if False:\n",
        "tests/test_recipe.py -k named_pipe",
    ),
    Mutant(
        "unsafe-names",
        "a result's name is taken by every file system for what it is",
        "runner/items.py",
        '<>:"|?*',
        "",
        "tests/test_items.py",
    ),
    Mutant(
        "invisible-difference",
        "names that differ in what is not shown collide",
        "runner/items.py",
        'if unicodedata.category(c) != "Cf"',
        "if True",
        "tests/test_items.py",
    ),
    Mutant(
        "endless-wishes",
        "a recipe cannot want more than a plan can hold",
        "runner/items.py",
        "            if count > WANTED_MAX:\n",
        "            if False:\n",
        "tests/test_items.py",
    ),
    Mutant(
        "key-in-the-spool",
        "the key is in no file that the suite leaves",
        INTAKE,
        "        self._writer.write(self._redaction.feed(block))\n",
        "        self._writer.write(block)\n",
        "tests/providers",
    ),
    Mutant(
        "key-in-the-picture",
        "a picture that has the key in it is not kept as one",
        INTAKE,
        "            if self._holds_key(decoded) or not self._writer.picture(decoded):\n",
        "            if not self._writer.picture(decoded):\n",
        "tests/providers/test_intake.py -k key_in_it",
    ),
    Mutant(
        "key-on-the-seam",
        "the key is found in a picture also where it lies across two blocks",
        INTAKE,
        "        return self._inner in seam or self._inner in decoded\n",
        "        return self._inner in decoded\n",
        "tests/providers/test_intake.py -k key_in_it",
    ),
    Mutant(
        "key-beside-the-picture",
        "the key is hidden in what stands beside a picture",
        INTAKE,
        "        before, after = (self._hidden(bytes(text)) for text in (self._before, self._after))\n",
        "        before, after = bytes(self._before), bytes(self._after)\n",
        "tests/providers/test_intake.py -k key_beside",
    ),
    Mutant(
        "sloppy-base64",
        "only base64 that is put together again to the byte is cut out of an answer",
        INTAKE,
        "            if pybase64.b64encode(decoded[-(len(decoded) % 3) :]) != text[whole - 4 : whole]:\n",
        "            if False:\n",
        "tests/providers/test_intake.py -k not_usual",
    ),
    Mutant(
        "any-long-string-is-the-picture",
        "what is cut out of an answer stood where its picture does",
        INTAKE,
        "        if document is None or not self._writer",
        "        if not self._writer",
        "tests/providers/test_intake.py -k not_usual",
    ),
    Mutant(
        "copy-with-the-rest-of-another",
        "what is sent has nothing of the picture before",
        "runner/images/sources.py",
        "                target.truncate()\n",
        "",
        "tests/images/test_prepare.py -k written_over",
    ),
    Mutant(
        "answer-given-away-unbooked",
        "an answer is written over only when its bill is booked",
        BOOKING,
        "    attempt_id, unwritten = held.attempt_id, result is not None and not result.delivered\n",
        "    attempt_id, unwritten = held.attempt_id, result is not None and not result.delivered\n"
        "    if spares is not None:\n        spares.keep(spool)\n",
        "tests/proof/test_simulator.py",
    ),
    Mutant(
        "spare-for-two",
        "a file that may be written over is given to one only",
        "runner/spares.py",
        "self._files.pop().replace(place)",
        "__import__('shutil').copy(self._files[-1], place)",
        "tests/test_spares.py",
    ),
    Mutant(
        "half-a-quantum",
        "a picture whose base64 ends too early is none",
        INTAKE,
        "            if end >= 0 and self._base64.carry:\n",
        "            if False:\n",
        "tests/providers/test_intake.py -k not_usual",
    ),
    Mutant(
        "lost-picture-believed",
        "a spooled picture is the one that came, or is not delivered",
        "runner/providers/spool.py",
        '            if file_digest(file, "sha256").hexdigest() == cut.digest:\n',
        "            if True:\n",
        "tests/providers/test_intake.py -k disk_has_lost",
    ),
    Mutant(
        "raw-without-its-picture",
        "a raw answer that a person may have to look at is kept with its picture",
        BOOKING,
        "            if is_cut(spool):\n",
        "            if False:\n",
        "tests/providers/test_intake.py -k look_at",
    ),
    Mutant(
        "connections-used-again",
        "every request has a connection of its own",
        "runner/providers/omixa.py",
        "            connection = _PlainConnection(*place)\n        try:\n            with CONNECT.wait():\n"
        "                connection.connect()\n",
        "            connection = self.__dict__.setdefault('kept', _PlainConnection(*place))\n"
        "            connection.close = lambda: None\n"
        "        try:\n            if True:\n                connection.sock or connection.connect()\n",
        "tests/providers/test_omixa.py -k connection_of_its_own",
    ),
    Mutant(
        "body-before-sent",
        "nothing of the body is there to be sent before the ledger has *sent*",
        "runner/providers/omixa.py",
        "            self.sock.sendall(head)\n            for block in body:\n",
        "            body._announced = True\n            blocks = list(body)\n"
        "            self.sock.sendall(head + blocks[0])\n"
        "            body._announced = False\n            body.read()\n"
        "            for block in blocks[1:]:\n",
        "tests/providers/test_omixa.py -k before_the_first_byte",
    ),
    Mutant(
        "body-ends-early",
        "a body that is shorter than announced is no whole answer",
        "runner/providers/omixa.py",
        '                raise http.client.IncompleteRead(b"", self.length)\n',
        "                return block\n",
        "tests/providers/test_omixa.py -k cut_in_its_body",
    ),
    Mutant(
        "restored-in-its-turn",
        "what is paid for comes back although a cap refuses what stands before it",
        EXECUTION,
        "chain(_paid(items), _to_buy(items, ()))",
        'items.of("buy", "restore")',
        f"{RUN} -k although_a_cap",
    ),
    Mutant(
        "canary-first",
        "and although a cap refuses the canary",
        EXECUTION,
        "    if paid:\n        yield",
        "    if False:\n        yield",
        "tests/run/test_levers.py -k before_a_canary",
    ),
    Mutant(
        "canary-of-all",
        "a canary is asked about only when others are to be bought",
        EXECUTION,
        '        yield "others", chain(',
        '        yield "canary", chain(',
        "tests/run/test_levers.py -k nothing_else",
    ),
    Mutant(
        "two-lengths",
        "an answer with two lengths is no proper one",
        "runner/providers/omixa.py",
        "if len(told) > 1:",
        "if len(told) > 9:",
        "tests/providers/test_omixa.py -k no_proper_http",
    ),
    Mutant(
        "answer-before-the-end-unread",
        "an endpoint that hangs up before the end of the body is heard",
        "runner/providers/omixa.py",
        "            if error.errno not in _HUNG_UP:\n",
        "            if True:\n",
        "tests/providers/test_omixa.py -k before_the_body_was_read",
    ),
    Mutant(
        "anybody-is-trusted",
        "a certificate that is not trusted is proof that nothing was sent",
        "runner/providers/omixa.py",
        "ssl_context=self._trust(), cert_reqs=ssl.CERT_REQUIRED",
        "ssl_context=ssl._create_unverified_context(), cert_reqs=ssl.CERT_NONE",
        "tests/providers/test_omixa.py -k certificate",
    ),
    Mutant(
        "late-clock",
        "an endpoint that trickles is cut at the deadline",
        "runner/providers/line.py",
        "            elif until < self.next_look:\n                self._changed.notify()\n",
        "",
        "tests/providers/test_line.py -k earlier",
    ),
    Mutant(
        "believed-profile",
        "a colour profile is read only if everything that it declares is there",
        "runner/images/sources.py",
        "if not profile or not is_sound(profile):",
        "if not profile:",
        "tests/images/test_hostile_pictures.py -k colour_engine",
    ),
    Mutant(
        "side-file-looked-at-twice",
        "another process may take a ledger's -wal away at any moment",
        "runner/ledger/database.py",
        "    try:\n        return path.stat().st_size > 0\n    except FileNotFoundError:\n        return False",
        "    return path.exists() and path.stat().st_size > 0",
        "tests/ledger/test_database.py -k another_process",
    ),
    *CONTRACTS,
    *JOBS,
    *REPORTS,
    *APPROVALS,
    *BENCHMARKS,
    *REVIEWS,
    *STEPS,
    *RECIPES,
    *SPEED,
    *VERIFYING,
    *HANDED_ON,
)


def caught(mutant: Mutant) -> tuple[bool, float]:
    """Whether the tests notice, and how long they took; the house itself is not touched."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        parts = (
            "runner",
            "migrations",
            "tests",
            "benchmarks",
            "contracts",
            "recipes",
            "pictures",
            "docs",
            "omixa.toml",
            "pyproject.toml",
        )
        for part in parts:
            source = HOUSE / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__", ".cache"))
            else:
                shutil.copy(source, copy / part)
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.old) < 1:
            raise SystemExit(f"mutant {mutant.name}: its place in {mutant.file} has changed; write it anew")
        file.write_text(text.replace(mutant.old, mutant.new))
        began = time.perf_counter()
        done = subprocess.run(
            f"{sys.executable} -m pytest -q -x -p no:cacheprovider {mutant.tests}",
            shell=True,
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        # 1: a test failed. Anything else (nothing collected, a usage error) proves nothing.
        if done.returncode not in (0, 1):
            raise SystemExit(f"mutant {mutant.name}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
        return done.returncode == 1, time.perf_counter() - began


def main() -> int:
    """Try the mutants and say which were caught."""
    wanted = sys.argv[1:]
    survived = []
    chosen = [mutant for mutant in MUTANTS if not wanted or mutant.name in wanted]
    for mutant in chosen:
        found, seconds = caught(mutant)
        print(f"{'caught  ' if found else 'SURVIVED'}  {mutant.name:28} {mutant.promise} ({seconds:.1f} s)", flush=True)
        if not found:
            survived.append(mutant.name)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutants caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
