"""Reports by themselves: each due moment once, late once, through real SMTP and real HTTP, until they arrive."""

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from runner import alerts, mailing
from runner.ledger import alerting
from runner.ledger.alerting import Alert, Sending
from runner.mailing import Postman, problems
from runner.reports import FORMATS
from runner.settings import load
from runner.settings_tables import REPORT_FORMATS
from tests.alerts.conftest import SECRET, House, Mailbox, Receiver
from tests.ledger.conftest import no_uptime

CHANNEL = '[[alerts.to]]\nname = "finance"\nurl_env = "FINANCE_URL"\n'
ORDER = '[reports.monthly]\nschedule = "0 7 1 * *"\nformats = ["csv", "xlsx"]\nto = ["finance"]\n'
# In Berlin the first of December begins an hour before; the report is due at 06:00 UTC.
BEFORE = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
DUE = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)


class Desk(Mailbox):
    """An SMTP server that keeps whole mails."""

    def __init__(self) -> None:
        self.whole: list[EmailMessage] = []
        super().__init__()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - of aiosmtpd
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.whole.append(mail)
        return "250 kept"


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.stop()


@pytest.fixture
def office(house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> House:
    """A project with a monthly report to a webhook, in which two pictures were bought in November."""
    monkeypatch.setenv("FINANCE_URL", receiver.url)
    buy(house, "run-1", 2)
    house.write(CHANNEL + ORDER)
    house.at = BEFORE
    return house


def buy(house: House, uid: str, count: int) -> None:
    with house.desk(uid) as at:
        for number in range(count):
            at.buy(f"{uid}-{number}")


def ring(house: House, at: datetime | None = None, postman: Postman | None = None) -> tuple[list[Alert], list[Sending]]:
    """A look as a scheduler takes it."""
    when = at or house.at
    with house.database() as opened:
        found = (postman or Postman(uptime=no_uptime)).post(house.settings, opened, at=when)
        return found, alerts.deliver(house.settings, opened, at=when)


def omixa(house: House, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "runner", "--project", str(house.root), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def attached(heard: dict[str, Any]) -> dict[str, bytes]:
    """The files that a webhook got."""
    return {one["filename"]: base64.b64decode(one["base64"]) for one in heard["attachments"]}


def test_a_report_is_made_kept_and_sent_when_it_is_due_and_only_once(office: House, receiver: Receiver) -> None:
    assert ring(office, BEFORE) == ([], [])
    assert ring(office, DUE - timedelta(seconds=1)) == ([], [])
    found, sendings = ring(office, DUE)
    assert [one.state for one in sendings] == ["sent"]
    assert [one.kind for one in found] == ["report"]
    for later in (0, 1, 30, 3600, 86_400):
        assert ring(office, DUE + timedelta(seconds=later)) == ([], [])
    files = attached(receiver.heard[0])
    assert list(files) == ["monthly-2026-11.csv", "monthly-2026-11.xlsx"]
    for name, data in files.items():
        assert (office.root / "reports" / name).read_bytes() == data
        assert f"reports/{name} (SHA-256 {hashlib.sha256(data).hexdigest()})" in found[0].message
    rows = list(csv.DictReader(io.StringIO(files["monthly-2026-11.csv"].decode())))
    assert [row["settled"] for row in rows] == ["0.078000"]
    assert receiver.heard[0]["title"] == "omixa: report monthly of 2026-11"
    assert len(receiver.heard) == 1


def test_by_mail_its_files_are_attachments(office: House, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINANCE_URL", desk.url)
    ring(office, BEFORE)
    _, sendings = ring(office, DUE)
    assert [one.state for one in sendings] == ["sent"]
    (mail,) = desk.whole
    assert mail["subject"] == "omixa: report monthly of 2026-11"
    files = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert files == {path.name: path.read_bytes() for path in (office.root / "reports").iterdir()}
    assert b"omx_live" not in mail.as_bytes()


def test_a_command_gets_the_places_of_the_files(
    house: House, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = script('cat > told.json; printf "%s" "$OMIXA_ALERT_FILES" > files').replace("script", "finance")
    house.write(channel + ORDER)
    ring(house, BEFORE)
    assert [one.state for one in ring(house, DUE)[1]] == ["sent"]
    told = json.loads((house.root / "told.json").read_text())
    assert told["files"] == (house.root / "files").read_text().splitlines()
    assert [Path(one).is_file() for one in told["files"]] == [True, True]


def test_any_number_of_schedulers_send_it_once(office: House, receiver: Receiver) -> None:
    ring(office, BEFORE)
    code = (
        "import sys; from datetime import datetime; from pathlib import Path; "
        "from tests.alerts.conftest import House; from tests.alerts.test_mailing import ring; "
        "house = House(Path(sys.argv[1]), keep=True); ring(house, datetime.fromisoformat(sys.argv[2]))"
    )
    words = [sys.executable, "-c", code, str(office.root), DUE.isoformat()]
    processes = [subprocess.Popen(words, env=os.environ, cwd=Path(__file__).parents[2]) for _ in range(5)]
    assert [process.wait(120) for process in processes] == [0] * 5
    assert len(receiver.heard) == 1
    assert len(list((office.root / "reports").iterdir())) == 2


def test_a_death_before_the_record_leaves_files_that_the_next_one_finds_again(
    office: House, receiver: Receiver
) -> None:
    ring(office, BEFORE)
    code = (
        "import os, sys; from datetime import datetime; from pathlib import Path; "
        "from runner.ledger.alerting import Alerting; "
        "from tests.alerts.conftest import House; from tests.alerts.test_mailing import ring; "
        "Alerting.record_once = lambda *a, **b: os.kill(os.getpid(), 9); "
        "house = House(Path(sys.argv[1]), keep=True); ring(house, datetime.fromisoformat(sys.argv[2]))"
    )
    words = [sys.executable, "-c", code, str(office.root), DUE.isoformat()]
    assert subprocess.run(words, cwd=Path(__file__).parents[2], check=False).returncode == -9
    before = {path.name: path.read_bytes() for path in (office.root / "reports").iterdir()}
    assert len(before) == 2
    assert len(ring(office, DUE + timedelta(minutes=1))[0]) == 1
    assert (
        attached(receiver.heard[0]) == before == {p.name: p.read_bytes() for p in (office.root / "reports").iterdir()}
    )


def test_what_was_missed_is_sent_late_once_and_says_so(office: House, receiver: Receiver) -> None:
    office.write(CHANNEL + ORDER.replace("0 7 1 * *", "0 7 * * *").replace("xlsx", "json"))
    ring(office, BEFORE)
    found, _ = ring(office, DUE + timedelta(days=3, hours=5))
    assert found[0].message.endswith(
        "; late, it was due 4 Dec 2026 07:00 Europe/Berlin; 3 reports before it, while no scheduler was up, not made"
    )
    assert len(receiver.heard) == 1
    assert ring(office, DUE + timedelta(days=3, hours=6)) == ([], [])


@pytest.mark.parametrize(("late", "count"), [(mailing.LATE_MAX - timedelta(seconds=1), 1), (mailing.LATE_MAX, 0)])
def test_it_is_not_sent_late_for_ever(office: House, late: timedelta, count: int) -> None:
    ring(office, BEFORE)
    assert len(ring(office, DUE + late)[0]) == count


def test_a_report_that_is_new_is_not_sent_for_what_was_due_before_it(office: House, receiver: Receiver) -> None:
    assert ring(office, DUE + timedelta(hours=1)) == ([], [])
    assert ring(office, DUE + timedelta(hours=2)) == ([], [])
    assert receiver.heard == []
    assert len(ring(office, datetime(2027, 1, 1, 6, 0, tzinfo=UTC))[0]) == 1


def test_a_channel_that_is_down_gets_the_very_same_files_later(office: House, receiver: Receiver) -> None:
    receiver.status = 503
    ring(office, BEFORE)
    _, sendings = ring(office, DUE)
    assert [(one.state, one.tries) for one in sendings] == [("waiting", 1)]
    before = {path.name: path.read_bytes() for path in (office.root / "reports").iterdir()}
    with office.database() as opened:
        (stands,) = mailing.standings(office.settings, opened, at=DUE)
        assert [one.state for one in stands.sendings] == ["waiting"]
    office.at = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    buy(office, "run-2", 1)  # the ledger goes on
    receiver.status = 200
    assert [one.state for one in ring(office, DUE + timedelta(minutes=2))[1]] == ["sent"]
    assert attached(receiver.heard[0]) == before
    assert SECRET.encode() not in office.octets()


def test_files_that_were_changed_or_are_gone_are_not_sent(office: House, receiver: Receiver) -> None:
    receiver.status = 503
    ring(office, BEFORE)
    ring(office, DUE)
    receiver.status = 200
    file = office.root / "reports/monthly-2026-11.csv"
    kept = file.read_bytes()
    file.write_bytes(b"0.00")
    _, (one,) = ring(office, DUE + timedelta(minutes=2))
    assert one.error == "`reports/monthly-2026-11.csv` was changed since the report was made"
    file.unlink()
    _, (one,) = ring(office, DUE + timedelta(minutes=8))
    assert one.error == "`reports/monthly-2026-11.csv` cannot be read: No such file or directory"
    file.write_bytes(kept)
    assert [one.state for one in ring(office, DUE + timedelta(hours=1))[1]] == ["sent"]


def test_a_folder_of_any_name_will_do(office: House, receiver: Receiver) -> None:
    office.write(CHANNEL + ORDER + 'folder = "re, ports; of: (us) 1"\n')
    ring(office, BEFORE)
    ring(office, DUE)
    assert list(attached(receiver.heard[0])) == ["monthly-2026-11.csv", "monthly-2026-11.xlsx"]


def test_nothing_but_reports_is_enclosed_whatever_the_ledger_says(office: House) -> None:
    digest = hashlib.sha256((office.root / "omixa.toml").read_bytes()).hexdigest()
    for place in ("omixa.toml", "reports/../omixa.toml", "/etc/hostname"):
        alert = Alert("report x", "report", None, f"report x of 2026-11: {place} (SHA-256 {digest})", None, DUE, "x")
        assert alerts.enclosed(alert, office.settings) == f"`{place}` is in no folder of a report of omixa.toml"


def test_what_stands_in_the_folder_is_never_written_over(office: House, receiver: Receiver) -> None:
    (office.root / "reports").mkdir()
    mine = office.root / "reports/monthly-2026-11.csv"
    mine.write_text("mine")
    ring(office, BEFORE)
    ring(office, DUE)
    assert mine.read_text() == "mine"
    names = list(attached(receiver.heard[0]))
    assert names[0].startswith("monthly-2026-11-")
    assert names[0].endswith(".csv")
    assert len(names[0]) == len("monthly-2026-11-.csv") + 12


def test_one_that_cannot_be_made_is_told_once_and_made_when_it_can_be(office: House, receiver: Receiver) -> None:
    (office.root / "reports").write_text("a file where the folder should be")
    ring(office, BEFORE)
    postman = Postman(uptime=no_uptime)
    found, _ = ring(office, DUE, postman)
    assert found[0].message.startswith("report monthly of 2026-11 could not be made: ")
    assert ring(office, DUE + timedelta(minutes=1), postman) == ([], [])
    (office.root / "reports").unlink()
    assert ring(office, DUE + timedelta(minutes=2), postman) == ([], [])  # it rests
    assert len(ring(office, DUE + timedelta(minutes=2))[0]) == 1
    titles = [one["title"] for one in receiver.heard]
    assert titles == ["omixa: report monthly of 2026-11 could not be made", "omixa: report monthly of 2026-11"]


@pytest.mark.parametrize(
    ("window", "name", "first", "last"),
    [
        ("day", "2026-11-30", "2026-11-30", "2026-11-30"),
        ("week", "2026-W48", "2026-11-23", "2026-11-29"),
        ("month", "2026-11", "2026-11-01", "2026-11-30"),
        ("quarter", "2026-Q3", "2026-07-01", "2026-09-30"),
        ("year", "2025", "2025-01-01", "2025-12-31"),
    ],
)
def test_it_is_about_the_last_whole_window_of_its_own_calendar(
    house: House, window: str, name: str, first: str, last: str
) -> None:
    settings = house.write(CHANNEL + ORDER + f'window = "{window}"\n')
    # 23:30 UTC of 30 November is the first of December in Berlin.
    span = mailing.span_of(settings.reports["monthly"], datetime(2026, 11, 30, 23, 30, tzinfo=UTC))
    assert (span.name, span.first_day, span.last_day) == (name, first, last)


# ---- omixa.toml


def test_the_formats_of_omixa_toml_are_those_of_the_registry() -> None:
    assert list(REPORT_FORMATS) == list(FORMATS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"finance"]', '"finanec"]', "there is no channel `finanec`"),
        ('"0 7 1 * *"', '"0 7 1 *"', "`0 7 1 *` has four fields"),
        ('"xlsx"', '"xls"', "there is no report format `xls`"),
        ('["csv", "xlsx"]', "[]", "`formats` is empty"),
        ("to =", 'workspace = "studoi"\nto =', "there is no workspace `studoi`"),
        ("to =", 'window = "fortnight"\nto =', "fortnight"),
    ],
)
def test_a_mistake_in_an_order_is_a_problem_with_its_place(house: House, old: str, new: str, message: str) -> None:
    house.write("")
    text = (house.root / "omixa.toml").read_text() + CHANNEL + ORDER.replace(old, new)
    (house.root / "omixa.toml").write_text(text)
    settings, found = load(house.root)
    assert settings is None
    assert any(message in problem.message for problem in found), found
    assert all(problem.place is not None and problem.place.line for problem in found)


def test_a_missing_extra_is_told_by_check_and_at_the_start(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = house.write(CHANNEL + ORDER + 'by = ["recipee"]\n')
    found = [problem.message for problem in problems(settings)]
    assert found == ["a report cannot be grouped by `recipee`; did you mean `recipe`?"]
    monkeypatch.setattr(mailing, "_PACKAGES", {"xlsx": ("no_such_package", "omixa-runner[xlsx]")})
    first = problems(settings)[0]
    assert first.message == "report `monthly` wants xlsx, which needs the package no_such_package"
    assert first.hint == "pip install 'omixa-runner[xlsx]'"
    code, _, err = omixa(house, "check")
    assert (code, "a report cannot be grouped by `recipee`" in err) == (2, True)


# ---- by hand


def test_a_report_is_sent_by_hand_and_listed(office: House, receiver: Receiver) -> None:
    code, out, err = omixa(office, "report", "--send", "monthly")
    assert (code, err) == (0, "")
    assert out.endswith("finance: sent\n")
    assert len(receiver.heard) == 1
    code, out, _ = omixa(office, "report", "--scheduled")
    assert code == 0
    assert out.startswith("monthly  next 1 ")
    assert "    finance: sent 2" in out
    code, out, _ = omixa(office, "report", "--scheduled", "--json")
    told = json.loads(out)
    assert (told["schema"], told["reports"][0]["newest"]["sendings"][0]["state"]) == (
        "omixa.report.scheduled/1",
        "sent",
    )
    assert omixa(office, "report", "--send", "montly")[0] == 2


def test_check_sends_what_is_due_for_who_has_no_scheduler(office: House, receiver: Receiver) -> None:
    office.write(CHANNEL + ORDER.replace("0 7 1 * *", "* * * * *").replace(', "xlsx"', ""))
    with office.database() as opened:
        # As if it had been looked after since an hour ago.
        mailing._seen(office.settings.reports["monthly"], opened, datetime.now(UTC) - timedelta(hours=1))
        assert alerting.count(opened) == 1
    code, out, _ = omixa(office, "alert", "check")
    assert code == 0
    assert "report monthly of " in out
    assert len(receiver.heard) == 1
