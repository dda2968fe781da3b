"""Reports that are made and sent by themselves: each due moment once, through the channels of alerts.

A report that is due is made, kept in its folder, and recorded in the ledger as one occasion with a sending for each
channel; the ledger's record names its files and their digests. From there on it is an alert like any other: claimed,
sent, tried again, given up. Whoever dies before the record leaves at most a file that the next one finds again.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path

from runner import images
from runner.diagnostics import Problem
from runner.errors import DiskError, OmixaError, UsageError
from runner.identity import who
from runner.ledger import alerting, clocks, usage
from runner.ledger.agenda import Agenda
from runner.ledger.alerting import Alert, Alerting, Sending
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database, moment
from runner.ledger.occasions import Occasion
from runner.reports import FORMATS
from runner.reports.days import Span
from runner.reports.made import Wanted, write
from runner.reports.output import output
from runner.reports.report import parse_keys
from runner.settings import ReportOrder, Settings
from runner.settings_tables import FILE_NAME
from runner.slots import last_due, next_due
from runner.terminal import counted
from runner.tomlfile import read
from runner.windows import local_day, local_text, window

# A moment that nobody saw for so long is let go: its report can be had by hand, and later ones come by themselves.
LATE_MAX = timedelta(days=7)
# Later than this, a report says that it is late.
GRACE = timedelta(minutes=5)
# A report that could not be made is not tried at each look.
AGAIN_S = 900
# How many moments that were missed are counted one by one.
MISSED_MAX = 1000

_PACKAGES = {
    "xlsx": ("xlsxwriter", "omixa-runner[xlsx]"),
    "parquet": ("pyarrow", "omixa-runner[parquet]"),
    "focus-parquet": ("pyarrow", "omixa-runner[parquet]"),
}


def problems(settings: Settings) -> list[Problem]:
    """What would keep a report from being made, told before the night in which it is due. Sends nothing."""
    if not settings.reports:
        return []
    file = read(settings.root / FILE_NAME, FILE_NAME)
    found = []
    for order in settings.reports.values():
        for at, name in enumerate(order.formats):
            package, extra = _PACKAGES.get(name, (None, ""))
            if package is not None and find_spec(package) is None:
                message = f"report `{order.name}` wants {name}, which needs the package {package}"
                place = file.place(("reports", order.name, "formats", at), value=True)
                found.append(Problem("missing-extra", message, place, hint=f"pip install '{extra}'"))
        try:
            parse_keys(order.by)
        except UsageError as error:
            place = file.place(("reports", order.name, "by"), value=True)
            found.append(Problem("unknown-key", error.message, place, hint=error.hint))
    return found


# ---- what is due


@dataclass(slots=True)
class Postman:
    """Makes the reports that are due. One a process: it remembers what has just failed."""

    uptime: Callable[[], Uptime | None] = clocks.uptime
    _failed: dict[str, float] = field(default_factory=dict)

    def post(self, settings: Settings, database: Database, *, at: datetime) -> list[Alert]:
        """Make and record every report that is due and that nobody has recorded, each once whoever looks.

        One that cannot be made is told once through its channels, and tried again from time to time, until it is
        `LATE_MAX` old. Nothing is sent here: `alerts.deliver` does. By a clock that is doubted nothing is due.
        Raises LedgerError.
        """
        if not settings.reports or Agenda(database, uptime=self.uptime).clock_ran_ahead(at) is not None:
            return []
        at = usage.moment_of(database, at)
        found = []
        for order in settings.reports.values():
            due = _due(order, database, at)
            if due is None or self._is_resting(due.key):
                continue
            try:
                alert = _post(order, due, settings, database, at)
            except OmixaError as error:
                self._failed[due.key] = time.monotonic()
                alert = _failure(order, due, error, database, at)
            if alert is not None:
                found.append(alert)
        return found

    def _is_resting(self, key: str) -> bool:
        return key in self._failed and time.monotonic() - self._failed[key] < AGAIN_S


@dataclass(frozen=True, slots=True)
class Due:
    """A moment at which a report is due. `missed`: how many before it were made by nobody; `is_late`: it says so."""

    key: str
    moment: datetime
    missed: int = 0
    is_late: bool = False


def _due(order: ReportOrder, database: Database, at: datetime) -> Due | None:
    """The newest moment that is due and not recorded; None: there is none.

    A report is looked after from when it is first seen with its schedule: what was due before is nobody's.
    """
    seen = _seen(order, database, at)
    moments, _ = last_due(order.timing, max(seen, at - LATE_MAX), at, MISSED_MAX)
    if not moments:
        return None
    keys = [_key(order, one) for one in moments]
    known = alerting.known(database, keys)
    if keys[-1] in known:
        return None
    missed = 0
    for key in reversed(keys[:-1]):
        if key in known:
            break
        missed += 1
    return Due(keys[-1], moments[-1], missed, at - moments[-1] > GRACE)


def _seen(order: ReportOrder, database: Database, at: datetime) -> datetime:
    key = f"report-schedule {order.name} {order.timing} {order.timing.zone}"
    message = f"report {order.name} is made from now on: {order.timing} {order.timing.zone}"
    if not alerting.known(database, [key]):
        occasion = Occasion(key, "report", order.account, message, quiet=True)
        Alerting(database).record_once(occasion, (), who=who(), at=at)
    return alerting.alert(database, key).at


def _key(order: ReportOrder, due: datetime) -> str:
    return f"report {order.name} {moment(due)}"


# ---- making it


def _post(order: ReportOrder, due: Due, settings: Settings, database: Database, at: datetime) -> Alert | None:
    span = span_of(order, due.moment)
    files = make(order, due.moment, span, settings, database)
    message = f"report {order.name} of {span.name}: " + ", ".join(
        f"{name} (SHA-256 {digest})" for name, digest in files
    )
    if due.is_late:
        message += f"; late, it was due {local_text(due.moment, order.timing.zone)}"
    if due.missed:
        message += f"; {counted(due.missed, 'report')} before it, while no scheduler was up, not made"
    occasion = Occasion(due.key, "report", order.account, message)
    return Alerting(database).record_once(occasion, order.to, who=who(), at=at)


def _failure(order: ReportOrder, due: Due, error: OmixaError, database: Database, at: datetime) -> Alert | None:
    message = f"report {order.name} of {span_of(order, due.moment).name} could not be made: {error.message}"
    hint = f"{error.hint}; " if error.hint else ""
    occasion = Occasion(
        f"report-failed {order.name} {moment(due.moment)}",
        "report",
        order.account,
        message,
        f"{hint}it is tried again; `omixa report --send {order.name}` makes it by hand",
    )
    return Alerting(database).record_once(occasion, order.to, who=who(), at=at)


def span_of(order: ReportOrder, due: datetime) -> Span:
    """The last whole window before the day of a moment, by the report's own time zone."""
    this = window(order.window, local_day(due, order.timing.zone), order.timing.zone)
    assert this.first_day is not None
    last = this.first_day - timedelta(days=1)
    found = window(order.window, last, order.timing.zone)
    assert found.first_day is not None
    return Span(found.first_day.isoformat(), last.isoformat(), found.label, order.window)


def make(
    order: ReportOrder, due: datetime, span: Span, settings: Settings, database: Database
) -> list[tuple[str, str]]:
    """Make a report's files in its folder: path relative to the project, and SHA-256 in hex, of each.

    They say that they were made at `due`. What stands there is never written over: another content gets another name.
    Raises DiskError, UsageError, LedgerError.
    """
    made = []
    with tempfile.TemporaryDirectory(prefix="omixa-report-") as work:
        for name in order.formats:
            wanted = Wanted(FORMATS[name], parse_keys(order.by), order.account, span, order.compare, None)
            file = Path(work) / name
            with output(str(file), binary=FORMATS[name].is_binary) as stream:
                write(wanted, settings, database, stream, at=due)
            made.append(_keep(file, order, f"{order.name}-{span.name}", FORMATS[name].ending or name, settings.root))
    return made


def _keep(file: Path, order: ReportOrder, stem: str, ending: str, root: Path) -> tuple[str, str]:
    digest = _digest(file)
    for name in (f"{stem}.{ending}", f"{stem}-{digest[:12]}.{ending}"):
        target = order.folder / name
        if not os.path.lexists(target):
            try:
                images.write_atomically(file, target, over=False)
            except DiskError:
                # Another scheduler may have made the very same meanwhile.
                if not target.is_file():
                    raise
        if target.is_file() and _digest(target) == digest:
            return os.path.relpath(target, root), digest
    raise DiskError(f"`{target}` is there already, with another content", "move it away")


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DiskError(f"`{path}` cannot be read: {error.strerror}", "make it readable, or move it away") from error


# ---- by hand, and how it stands


def post_now(order: ReportOrder, settings: Settings, database: Database, *, at: datetime) -> Alert:
    """Make a report now and record it for its channels, beside those that its schedule brings."""
    due = Due(f"{_key(order, at)} by hand", at)
    alert = _post(order, due, settings, database, at)
    assert alert is not None, "a moment to the microsecond is nobody else's"
    return alert


@dataclass(frozen=True, slots=True)
class Standing:
    """A report of omixa.toml: when it comes next (None: never), and what became of the newest."""

    order: ReportOrder
    next_at: datetime | None
    newest: Alert | None
    sendings: Sequence[Sending]


def standings(settings: Settings, database: Database, *, at: datetime) -> Iterator[Standing]:
    """How every declared report stands, in the order of omixa.toml."""
    for order in settings.reports.values():
        found = alerting.newest_of(database, f"report {order.name} ")
        alert, sendings = found if found is not None else (None, [])
        yield Standing(order, next_due(order.timing, at), alert, sendings)
