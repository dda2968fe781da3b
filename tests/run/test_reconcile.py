"""Reconciled with what a real endpoint itself counted; killed in the middle, and by two processes at once."""

import csv
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner import sandbox
from runner.ledger import reconciling, verify
from runner.ledger.database import open_database
from tests.run.conftest import KEY, Studio, kill, wait_until

MAPPING = """
[invoices.omixa]
time = "time"
amount = "billed"
id = "request_id"
complete = true
"""


def kept(root: Path) -> list[tuple[Any, ...]]:
    with open_database(root / ".omixa" / "ledger.db", create=False) as opened:
        names = ("key", "verdict", "evidence", "ours_micros", "theirs_micros", "line")
        return [tuple(row[name] for name in names) for row in reconciling.kept(opened)]


def test_what_the_endpoint_counted_is_what_the_ledger_has(open_studio: Callable[..., Studio], tmp_path: Path) -> None:
    """Answers that never came were billed, and their lines are the only ones at their time."""
    studio = open_studio()
    studio.endpoint.stop()
    log = tmp_path / "endpoint.jsonl"
    faults = (sandbox.parse_fault("close_after_read,first=1"), sandbox.parse_fault("status=422,rate=0.2"))
    options = sandbox.SandboxOptions(faults=faults, price_micros=39_000, key=KEY, answer_bytes=20_000, seed=3, log=log)
    studio.endpoint = sandbox.start(options)
    studio.settings()
    (tmp_path / "omixa.toml").write_text((tmp_path / "omixa.toml").read_text() + MAPPING)
    studio.recipe()
    studio.pictures(12)
    assert studio.run().code == 6
    counts = studio.endpoint.counts()
    assert studio.states()["unknown"] == 1

    # The endpoint's own count as its invoice: a line for each request that it billed.
    told = [json.loads(line) for line in log.read_text().splitlines()]
    billed = [line for line in told if line["billed"] is not None]
    assert len(billed) == counts.pictures
    invoice = tmp_path / "invoice.csv"
    with invoice.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["time", "billed", "request_id"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(billed)

    assert studio.omixa("reconcile", str(invoice)).code == 6
    ended = studio.omixa("reconcile", str(invoice), "--apply")
    assert (ended.code, "both say the same" in ended.out) == (0, True), ended
    assert (studio.settled, studio.open) == (counts.billed_micros, 0)
    assert "unknown" not in studio.states()
    studio.balances()
    assert f" {counts.billed_micros // 10**6}.{counts.billed_micros % 10**6:06d}\n" in studio.omixa("report").out
    with open_database(tmp_path / ".omixa" / "ledger.db", create=False) as opened:
        assert verify.verify(opened).faults == []


# ---- many attempts, and an invoice that settles, releases and matches


def month(root: Path, count: int) -> Path:
    """A ledger of `count` attempts, every tenth unknown; half of those are on the invoice. Returns the invoice."""
    from runner.ledger.ledger import Ledger
    from tests.ledger.conftest import RUN, Desk, no_uptime

    (root / ".omixa").mkdir(mode=0o700)
    lines = [["time", "billed", "request_id"]]
    with open_database(root / ".omixa" / "ledger.db", create=True) as opened:
        desk = Desk(Ledger(opened, uptime=no_uptime), RUN, seen=False)
        for number in range(count):
            desk.pass_time(seconds=8000)
            attempt_id = desk.send(f"k{number}", caps=())
            on_invoice = True
            if number % 10 == 5:
                desk.lose(attempt_id)
                on_invoice = number % 20 == 5
            else:
                desk.settle(attempt_id)
            if on_invoice:
                lines.append([(desk.at + timedelta(seconds=1)).isoformat(), "0.039", f"inv-{number}"])
    with (root / "invoice.csv").open("w", newline="") as out:
        csv.writer(out).writerows(lines)
    return root / "invoice.csv"


@pytest.fixture
def project(studio: Studio) -> tuple[Studio, Path]:
    settings = (studio.root / "omixa.toml").read_text()
    (studio.root / "omixa.toml").write_text(settings + MAPPING)
    return studio, month(studio.root, 300)


def expected(studio: Studio, invoice: Path, other: Path) -> list[tuple[Any, ...]]:
    """What one process does that nothing disturbs, on a copy."""
    shutil.copytree(studio.root, other)
    ended = studio.omixa("--project", str(other), "reconcile", str(other / invoice.name), "--apply")
    assert ended.code == 0, ended
    found = kept(other)
    assert {verdict: sum(row[1] == verdict for row in found) for verdict in ("matched", "billed", "not-billed")} == {
        "matched": 270,
        "billed": 15,
        "not-billed": 15,
    }
    return found


def check(studio: Studio, invoice: Path, found: list[tuple[Any, ...]]) -> None:
    assert kept(studio.root) == found
    ended = studio.omixa("reconcile", str(invoice), "--apply")
    assert (ended.code, "0 verdicts recorded" in ended.out) == (0, True), ended
    assert kept(studio.root) == found
    assert studio.states() == {"settled": 285, "released": 15}
    studio.balances()
    with open_database(studio.root / ".omixa" / "ledger.db", create=False) as opened:
        assert verify.verify(opened).faults == []


@pytest.mark.parametrize("after", [1, 12, 31])
def test_killed_in_the_middle_it_is_done_by_doing_it_again(
    project: tuple[Studio, Path], tmp_path_factory: pytest.TempPathFactory, after: int
) -> None:
    studio, invoice = project
    found = expected(studio, invoice, tmp_path_factory.mktemp("copy") / "project")
    process = studio.start("reconcile", str(invoice), "--apply")
    with open_database(studio.root / ".omixa" / "ledger.db", create=False) as opened:
        wait_until(lambda: len(list(reconciling.kept(opened))) >= after, process)
    kill(process)
    assert studio.omixa("reconcile", str(invoice), "--apply").code == 0
    check(studio, invoice, found)


def test_two_processes_at_once_do_what_one_does(
    project: tuple[Studio, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    studio, invoice = project
    found = expected(studio, invoice, tmp_path_factory.mktemp("copy") / "project")
    both = [studio.start("reconcile", str(invoice), "--apply") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out, err)
    check(studio, invoice, found)


def test_what_was_applied_is_told_although_its_report_cannot_be_written(project: tuple[Studio, Path]) -> None:
    studio, invoice = project
    ended = studio.omixa("reconcile", str(invoice), "--apply", "--out", "/dev/full")
    assert (ended.code, ended.out) == (7, ""), ended
    assert ended.err.startswith("applied: 300 verdicts recorded; 0 stood there already; settled attempts "), ended
    assert "`/dev/full` cannot be written: No space left on device" in ended.err
    assert "the same command without --apply writes it, and changes nothing" in ended.err
    assert studio.states() == {"settled": 285, "released": 15}
    report = studio.omixa("reconcile", str(invoice))
    assert (report.code, "both say the same" in report.out) == (0, True), report


def test_nothing_is_applied_when_there_is_no_place_for_the_report(project: tuple[Studio, Path]) -> None:
    studio, invoice = project
    ended = studio.omixa("reconcile", str(invoice), "--apply", "--out", str(studio.root / "nowhere" / "report.csv"))
    assert (ended.code, "applied:" in ended.err) == (7, False), ended
    assert kept(studio.root) == []
