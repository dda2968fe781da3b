"""The progress of a run: a live bar on a terminal, plain lines elsewhere, nothing when only data is wanted."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runner.booking import Done
from runner.errors import OmixaError
from runner.ledger import known
from runner.money import short, show
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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    console = Console(stderr=True)
    money = _Money(made, caps, database)

    class MoneyColumn(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(money.text())

    class RateColumn(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.completed / task.elapsed:.1f}/s" if task.completed and task.elapsed else "")

    # What must be seen comes first; a narrow terminal loses the bar, not the money.
    columns: list[ProgressColumn] = [MofNCompleteColumn(), MoneyColumn(), RateColumn(), TimeRemainingColumn()]
    if console.width >= 100:
        columns = [TextColumn(made.recipe), BarColumn(bar_width=20), *columns]
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(made.recipe, total=made.count("buy", "restore"))

        def watch(done: Done) -> None:
            bar.update(task, advance=1)
            bar.console.print(_line(made, done), markup=False, highlight=False, soft_wrap=True)

        yield watch
        money.forget()


class _Money:
    """What is settled, open and left in the tightest budget, asked of the ledger now and then."""

    def __init__(self, made: "Plan", caps: "Sequence[Cap]", database: "Database") -> None:
        self._made, self._caps, self._database = made, caps, database
        self._asked = 0.0
        self._text = ""

    def forget(self) -> None:
        """Ask anew next time."""
        self._asked = 0.0

    def text(self) -> str:
        """Never raises: the display must not end a purchase."""
        if time.monotonic() - self._asked > ASK_EVERY_S:
            self._asked = time.monotonic()
            with suppress(OmixaError):
                self._text = self._ask()
        return self._text

    def _ask(self) -> str:
        made = self._made
        found = known.headrooms(
            self._database, workspace=made.workspace, zone=made.zone, caps=self._caps, at=datetime.now(UTC)
        )
        if not found:
            return ""
        tightest = min(found, key=lambda window: window.left_micros)
        amounts = (tightest.settled_micros, tightest.open_micros, tightest.left_micros)
        settled, opened, left = (short(micros) for micros in amounts)
        return f"settled {settled} · open {opened} · left {left} {made.currency}"
