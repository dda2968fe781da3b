"""The progress of a run: a live bar on a terminal, plain lines elsewhere, nothing when only data is wanted."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runner.execution import Done
from runner.ledger import usage
from runner.money import show
from runner.terminal import clean

if TYPE_CHECKING:
    from runner.ledger.database import Database
    from runner.ledger.values import Cap
    from runner.plan import Plan

# The ledger is asked for the money that is open and left at most so often.
ASK_EVERY_S = 1.0


@contextmanager
def progress(
    made: "Plan", caps: "Sequence[Cap]", database: "Database", *, quiet: bool
) -> Iterator[Callable[[Done], None]]:
    """Yields what execute calls for every item that ended. Everything goes to stderr."""
    if quiet:
        yield lambda done: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _live(made, caps, database) as watch:
            yield watch
    else:
        yield lambda done: print(_line(made, done), file=sys.stderr, flush=True)


def _line(made: "Plan", done: Done) -> str:
    cost = f"  {show(done.billed_micros, made.currency)}" if done.kind == "bought" else ""
    why = f"  {clean(done.message or done.remark or '')}" if done.message or done.remark else ""
    return f"{done.kind:10}  {clean(done.item.draft.output_path)}{cost}{why}"


@contextmanager
def _live(made: "Plan", caps: "Sequence[Cap]", database: "Database") -> Iterator[Callable[[Done], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[money]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started, asked, billed, ended = time.monotonic(), 0.0, 0, 0
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(made.recipe, total=len(made.of("buy")) + len(made.of("restore")), money="", rate="")

        def watch(done: Done) -> None:
            nonlocal asked, billed, ended
            billed += done.billed_micros
            ended += 1
            rate = ended / max(time.monotonic() - started, 0.001)
            fields: dict[str, Any] = {"rate": f"{rate:.1f}/s"}
            if time.monotonic() - asked > ASK_EVERY_S or ended == 1:
                asked = time.monotonic()
                fields["money"] = _money(made, caps, database, billed)
            bar.update(task, advance=1, **fields)
            if done.kind not in ("bought", "restored") or done.remark or done.unwritten:
                bar.console.print(_line(made, done), markup=False, highlight=False)

        yield watch
        bar.update(task, money=_money(made, caps, database, billed))


def _money(made: "Plan", caps: "Sequence[Cap]", database: "Database", billed: int) -> str:
    found = usage.headrooms(database, workspace=made.workspace, zone=made.zone, caps=caps, at=datetime.now(UTC))
    if not found:
        return f"settled {show(billed, made.currency)}"
    tightest = min(found, key=lambda window: window.left_micros)
    return (
        f"settled {show(billed, made.currency)} · open {show(tightest.open_micros, made.currency)} · "
        f"left {show(tightest.left_micros, made.currency)}"
    )
