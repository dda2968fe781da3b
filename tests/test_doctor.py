"""`omixa doctor`: each thing that can be wrong is told, hides nothing else, and nothing is changed by looking."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from runner.cli import main
from runner.commands.doctor import packages
from runner.ledger import owners
from runner.ledger.balance_check import check_balances
from runner.ledger.database import SQLITE_VERSION_MIN, open_database
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap
from runner.windows import PERIODS
from tests.ledger.conftest import RUN, Desk, no_uptime
from tests.run.test_trouble import ROOT, mounted

# Not shaped like a real one, which would be starred out wherever it slips into a message.
KEY = "studios-own-secret-0123456789"
PAID = 'endpoint = "omixa"'
MONTH = Cap("workspace", "", "month", 50_000_000)
POSTERS_MONTH = Cap("recipe", "posters", "month", 20_000_000)


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A new project, as `omixa init` writes it."""
    root = tmp_path / "studio"
    assert main(["init", str(root)]) == 0
    capsys.readouterr()
    return root


@pytest.fixture
def desk(project: Path) -> Iterator[Desk]:
    """Its ledger, with a purchase in it, and money on the way in every state. The run's process is this one."""
    with open_database(project / ".omixa/ledger.db", create=True) as database:
        owner = owners.hold(project / ".omixa/owners", RUN.uid)
        made = Desk(Ledger(database, uptime=no_uptime))
        made.at = datetime.now(UTC) - timedelta(hours=1)
        caps = (MONTH, POSTERS_MONTH)
        made.buy("bought", caps=caps)
        made.release(made.send("declined", caps=caps))
        made.send("sent", caps=caps)
        made.reserve("reserved", caps=caps)
        yield made
        owner.let_go()


class Checked:
    """What the doctor said, as a program reads it."""

    def __init__(self, code: int, out: str) -> None:
        self.code = code
        self.checks: list[dict[str, Any]] = json.loads(out)["checks"]
        assert KEY not in out

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The only check of that name."""
        (found,) = [check for check in self.checks if check["name"] == name]
        return found

    @property
    def bad(self) -> dict[str, str]:
        """Name → status of all that is not ok."""
        return {check["name"]: check["status"] for check in self.checks if check["status"] != "ok"}


@pytest.fixture
def doctor(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], Checked]:
    def ask() -> Checked:
        code = main(["--project", str(project), "doctor", "--json"])
        return Checked(code, capsys.readouterr().out)

    return ask


def edit(project: Path, name: str, old: str, new: str) -> None:
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))


def alter(project: Path, *statements: str) -> None:
    """Change the ledger behind the program's back."""
    with closing(sqlite3.connect(project / ".omixa/ledger.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with what is in it; SQLite's side files come and go with those who have it open."""
    found = {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
    return {str(path): content for path, content in found.items() if path.suffix not in (".db-shm", ".db-wal")}


# ---- in good order


def test_a_new_project_has_nothing_to_complain_about_and_nothing_is_made(
    project: Path, doctor: Callable[[], Checked]
) -> None:
    before = everything(project)
    found = doctor()
    assert (found.code, found.bad) == (0, {})
    assert "the first run makes it" in found["ledger"]["message"]
    assert everything(project) == before


def test_a_ledger_in_use_is_in_good_order_and_left_as_it_is(
    project: Path, desk: Desk, doctor: Callable[[], Checked]
) -> None:
    before = everything(project)
    found = doctor()
    assert (found.code, found.bad) == (0, {})
    assert everything(project) == before
    names = {check["name"] for check in found.checks}
    assert names >= {"packages", "sqlite", "time zones", "clock", "settings", "recipes", "key", "ledger", "ledger file"}
    assert names >= {
        "ledger tables",
        "balances",
        "ledger clock",
        "attempts",
        "workspaces",
        "runs",
        "file modes",
        "disk",
    }


def test_one_line_a_check_says_what_and_what_to_do(
    project: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".omixa/ledger.db").chmod(0o644)
    edit(project, "recipes/first.toml", 'preset = "photo"', 'preset = "foto"')
    assert main(["--project", str(project), "doctor"]) == 2
    out = capsys.readouterr().out
    assert re.search(r"^ok    balances  ", out, re.MULTILINE)
    assert re.search(
        r"^FAIL  recipes +1 recipe: 1 problem\n +  = help: `omixa check` shows them all$", out, re.MULTILINE
    )
    assert re.search(
        r"^warn  file modes +others can read `.*ledger.db` \(0644\)\n +  = help: chmod 600 ", out, re.MULTILINE
    )
    assert out.endswith("checks: 1 failure, 1 warning\n")


def test_no_socket_is_opened(project: Path, desk: Desk, tmp_path: Path) -> None:
    edit(project, "omixa.toml", 'endpoint = "sandbox"', PAID)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.__init__ = refuse\nsocket.getaddrinfo = refuse\n"
    )
    path = f"{site}:{Path(__file__).parents[1]}"
    done = process(project, PYTHONPATH=path, OMIXA_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    # The trap works: what does open one falls into it.
    assert process(project, "sandbox", "--port", "0", PYTHONPATH=path).returncode == 1


def process(project: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "runner", "--project", str(project), *(words or ["doctor"])],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **more},
    )


# ---- the program and the machine


@pytest.mark.skipif(sqlite3.sqlite_version_info >= SQLITE_VERSION_MIN, reason="this Python's own SQLite has the fix")
def test_a_sqlite_without_the_wal_fix_is_a_warning(project: Path, tmp_path: Path) -> None:
    (tmp_path / "pysqlite3.py").write_text("raise ImportError('no wheel for this platform')")
    done = process(project, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[1]}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^warn  sqlite .*lacks the WAL-reset fix of 3\.51\.3", done.stdout, re.MULTILINE)


def test_a_machine_without_time_zones_is_told(project: Path, tmp_path: Path) -> None:
    (tmp_path / "tzdata.py").write_text("raise ImportError('not installed')")
    done = process(project, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[1]}", PYTHONTZPATH="/nowhere")
    assert done.returncode == 2, done.stderr
    assert re.search(r"^FAIL  time zones .*\n.*pip install tzdata", done.stdout, re.MULTILINE)


def test_the_packages_are_those_that_the_program_needs_here() -> None:
    found = packages()
    assert {"sqlalchemy", "pydantic", "requests"} <= found.keys()
    assert not {"pytest", "mypy", "ruff"} & found.keys()
    assert None not in found.values()


def test_a_clock_that_is_years_behind_is_a_warning() -> None:
    from runner.commands import checkup

    assert checkup.clock_check(datetime(2025, 12, 31, 23, 59, tzinfo=UTC)).status == "warn"
    assert checkup.clock_check(datetime(2026, 1, 1, tzinfo=UTC)).status == "ok"


# ---- the project


def test_without_a_project_the_program_is_checked_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--project", str(tmp_path), "doctor", "--json"]) == 2
    found = Checked(2, capsys.readouterr().out)
    assert found.bad == {"project": "fail"}
    assert found["project"]["help"] == "start a project with `omixa init`"
    assert found["sqlite"]["status"] == "ok"


@pytest.mark.parametrize("line", ["colour = 3\n", "[[[\n"])
def test_problems_of_omixa_toml_do_not_hide_the_ledger(
    project: Path, desk: Desk, doctor: Callable[[], Checked], line: str
) -> None:
    edit(project, "omixa.toml", "[endpoints.omixa]\n", f"[endpoints.omixa]\n{line}")
    found = doctor()
    assert (found.code, found.bad) == (2, {"settings": "fail"})
    assert found["settings"]["message"] == "omixa.toml: 1 problem"
    assert found["balances"]["status"] == "ok"


def test_the_ledger_is_looked_for_where_omixa_toml_says_although_the_rest_has_problems(
    project: Path, desk: Desk, doctor: Callable[[], Checked]
) -> None:
    edit(project, "omixa.toml", ".omixa/ledger.db", "elsewhere/books.db")
    edit(project, "omixa.toml", 'currency = "USD"', 'currency = "dollars"')
    found = doctor()
    assert "elsewhere/books.db" in found["ledger"]["message"]
    assert "the first run makes it" in found["ledger"]["message"]


def test_problems_of_recipes_are_counted_as_check_counts_them(
    project: Path, doctor: Callable[[], Checked], capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, "recipes/first.toml", 'format = "png"', 'format = "gif"')
    other = (project / "recipes/first.toml").read_text().replace('format = "gif"', "")
    # Two recipes that write the same files: nothing is wrong with either alone.
    (project / "recipes/second.toml").write_text(other)
    (project / "recipes/third.toml").write_text(other)
    assert main(["--project", str(project), "check", "--format", "json"]) == 2
    counted = len(json.loads(capsys.readouterr().out)["problems"])
    assert counted > 1
    found = doctor()
    assert (found.code, found.bad) == (2, {"recipes": "fail"})
    assert found["recipes"]["message"] == f"3 recipes: {counted} problems"


def test_a_schema_of_another_version_is_a_warning_with_the_command_that_writes_it_anew(
    project: Path, doctor: Callable[[], Checked], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor()["schema"]["message"] == "2 schemas for editors, as this version writes them"
    schema = project / "schema/recipe.schema.json"
    edit(project, "schema/recipe.schema.json", '"canary"', '"canaries"')
    found = doctor()
    assert (found.code, found.bad) == (0, {"schema": "warn"})
    assert found["schema"]["message"].startswith("`schema/recipe.schema.json` is not what this version")
    assert found["schema"]["help"] == f"omixa schema recipe --out {schema}"
    assert main(["--project", str(project), *str(found["schema"]["help"]).split()[1:]]) == 0
    capsys.readouterr()
    assert doctor()["schema"]["status"] == "ok"
    # A model that came since is one that editors would flag.
    (project / "contracts").mkdir()
    contract = (Path(__file__).parents[1] / "contracts/image-core.toml").read_text().partition("\n")[2]
    (project / "contracts/new.toml").write_text(contract)
    assert [one["help"].split()[2] for one in doctor().checks if one["name"] == "schema"] == ["settings", "recipe"]
    schema.unlink()
    (project / "contracts/new.toml").unlink()
    assert doctor()["schema"]["message"] == "`schema/recipe.schema.json` is not there, and editors go by it"
    edit(project, "recipes/first.toml", "#:schema ../schema/", "#:schema ../elsewhere/")
    place = project / "elsewhere"
    assert doctor()["schema"]["help"] == f"mkdir -p {place} && omixa schema recipe --out {place}/recipe.schema.json"
    edit(project, "recipes/first.toml", "#:schema ../elsewhere/recipe.schema.json", "#:schema https://example.org/r")
    assert doctor()["schema"]["message"] == "1 schema for editors, as this version writes them"


def test_a_project_without_recipes_is_a_warning(project: Path, doctor: Callable[[], Checked]) -> None:
    (project / "recipes/first.toml").unlink()
    found = doctor()
    assert (found.code, found.bad) == (0, {"recipes": "warn"})


# ---- the key and the endpoint


def test_a_key_that_is_missing_is_told_with_the_workspace(
    project: Path, doctor: Callable[[], Checked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMIXA_API_KEY", raising=False)
    edit(project, "omixa.toml", 'endpoint = "sandbox"', PAID)
    found = doctor()
    assert (found.code, found["key"]["status"]) == (2, "fail")
    assert found["key"]["message"].startswith("workspace studio: the environment variable `OMIXA_API_KEY`")

    monkeypatch.setenv("OMIXA_API_KEY", KEY)
    found = doctor()
    assert (found.code, found["key"]["status"]) == (0, "ok")


@pytest.mark.parametrize(("mode", "status"), [(0o600, "ok"), (0o640, "fail")])
def test_a_key_file_that_others_can_read_is_told(
    project: Path, doctor: Callable[[], Checked], mode: int, status: str
) -> None:
    edit(project, "omixa.toml", 'endpoint = "sandbox"', PAID)
    edit(project, "omixa.toml", 'env = "OMIXA_API_KEY"', 'file = "../key"')
    (project.parent / "key").write_text(KEY)
    (project.parent / "key").chmod(mode)
    found = doctor()["key"]
    assert found["status"] == status
    assert (found["help"] is None) == (status == "ok")


@pytest.mark.parametrize(("scheme", "status"), [("http", "warn"), ("https", "ok")])
def test_a_key_that_goes_over_plain_http_is_a_warning(
    project: Path, doctor: Callable[[], Checked], monkeypatch: pytest.MonkeyPatch, scheme: str, status: str
) -> None:
    monkeypatch.setenv("OMIXA_API_KEY", KEY)
    edit(project, "omixa.toml", 'endpoint = "sandbox"', PAID)
    edit(project, "omixa.toml", "http://", f"{scheme}://")
    found = doctor()
    assert (found.code, found["endpoint"]["status"]) == (0, status)


# ---- the ledger


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE budget_windows SET open_micros = open_micros - 1 WHERE scope = 'workspace'",
        "UPDATE budget_windows SET settled_micros = settled_micros - 1 WHERE scope = 'recipe'",
        "UPDATE budget_windows SET settled_micros = settled_micros + 1 WHERE scope = 'recipe'",
        "UPDATE attempts SET billed_micros = 1 WHERE state = 'settled'",
        "UPDATE attempts SET reserved_micros = 1 WHERE state = 'sent'",
        "UPDATE attempts SET state = 'released', live_key = NULL WHERE state = 'sent'",
        "DELETE FROM attempt_windows WHERE attempt_id = 1 AND window_id = 1",
        # Booked in a window that it does not belong to, and the balance with it.
        "UPDATE attempts SET day = '2020-01-01' WHERE state = 'settled'",
        "UPDATE attempts SET recipe = 'other' WHERE state = 'settled'",
        "UPDATE attempts SET workspace = 'other' WHERE state = 'settled'",
        (
            "INSERT INTO entries SELECT 99, at, workspace, 1, 'settle', 0, -39000, who, NULL, 99, payload, hash "
            "FROM entries LIMIT 1"
        ),
        (
            "INSERT INTO entries SELECT 99, at, workspace, 1, 'release', -39000, 0, who, NULL, 99, payload, hash "
            "FROM entries LIMIT 1"
        ),
    ],
)
def test_a_balance_that_is_not_the_sum_of_its_attempts_is_told(
    project: Path, desk: Desk, doctor: Callable[[], Checked], statement: str
) -> None:
    assert check_balances(desk.ledger.database) == []
    alter(project, statement)
    found = doctor()
    assert (found.code, found.bad["balances"]) == (8, "fail")
    assert len(check_balances(desk.ledger.database)) >= 1


def test_a_wrong_balance_is_told_with_both_sums(project: Path, desk: Desk) -> None:
    alter(project, "UPDATE budget_windows SET open_micros = 7, cap_micros = 9 WHERE scope = 'workspace'")
    month = f"{desk.at.astimezone(ZoneInfo(RUN.zone)):%Y-%m}"
    (told,) = check_balances(desk.ledger.database)
    assert told == (
        f"budget month {month} Europe/Berlin of workspace studio has 0.000007 open and 0.039000 settled; "
        "its attempts make 0.078000 open and 0.039000 settled"
    )


def test_every_state_of_money_adds_up(desk: Desk) -> None:
    desk.lose(desk.send("lost"))
    desk.settle(desk.send("late"), billed=1_000)
    attempt_id = desk.send("resolved")
    desk.lose(attempt_id)
    desk.ledger.resolve(attempt_id, billed_micros=5, note="on the invoice", who="ana", at=desk.at)
    assert check_balances(desk.ledger.database) == []


def test_every_window_adds_up_whenever_it_was_made_and_whichever_caps_come_and_go(desk: Desk) -> None:
    total, of_the_run = Cap("workspace", "", "total", 90_000_000), Cap("run", "run-2", "run", 9_000_000)
    desk.run = replace(RUN, uid="run-2")
    desk.run_id = desk.ledger.begin_run(desk.run, at=desk.at)
    periods = [Cap("recipe", RUN.recipe, period, 90_000_000) for period in PERIODS]
    for n, caps in enumerate([[total], [MONTH], periods, [total], [MONTH, total, *periods]]):
        desk.buy(f"bought {n}", caps=[of_the_run, *caps])
        desk.lose(desk.send(f"lost {n}", caps=[of_the_run, *caps]))
        desk.pass_time(days=20)
    assert check_balances(desk.ledger.database) == []


def test_a_damaged_ledger_is_graver_than_broken_settings(
    project: Path, desk: Desk, doctor: Callable[[], Checked]
) -> None:
    desk.ledger.database.close()
    path = project / ".omixa/ledger.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + b"\xff" * 4000 + whole[9000:])
    edit(project, "omixa.toml", "[endpoints.omixa]\n", "[endpoints.omixa]\ncolour = 3\n")
    found = doctor()
    assert found.code == 5
    assert found.bad["settings"] == "fail"
    assert "damaged" in " ".join(check["message"] for check in found.checks if check["status"] == "fail")
    assert "restore the newest backup" in " ".join(check["help"] or "" for check in found.checks)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE budget_windows SET scope = 'nobody'", "CHECK constraint failed in budget_windows"),
        ("DELETE FROM runs", "a row of attempts refers to a row of runs that is missing"),
    ],
)
def test_rows_that_the_ledger_would_never_have_written_are_told(
    project: Path, desk: Desk, doctor: Callable[[], Checked], statement: str, told: str
) -> None:
    alter(project, "PRAGMA ignore_check_constraints = ON", statement)
    found = doctor()
    assert (found.code, found.bad) == (5, {"ledger file": "fail"})
    assert told in found["ledger file"]["message"]


@pytest.mark.parametrize(
    ("statements", "told", "balances"),
    [
        (["DROP TRIGGER entries_no_update"], "trigger `entries_no_update` of entries is missing", True),
        (["CREATE VIEW mine AS SELECT 1"], "view `mine` of mine is none of the program's", True),
        (
            ["DROP INDEX ix_entries_attempt", "CREATE INDEX ix_entries_attempt ON entries (at)"],
            "index `ix_entries_attempt` of entries is not the program's",
            True,
        ),
        (["ALTER TABLE prices ADD COLUMN mine"], "table `prices` of prices is not the program's", False),
    ],
)
def test_what_the_ledger_is_made_of_is_what_the_migrations_make(
    project: Path, desk: Desk, doctor: Callable[[], Checked], statements: list[str], told: str, balances: bool
) -> None:
    alter(project, *statements)
    found = doctor()
    assert (found.code, found.bad) == (5, {"ledger tables": "fail"})
    assert found["ledger tables"]["message"] == f"somebody has changed how the ledger is made: {told}"
    assert "restore the newest backup" in str(found["ledger tables"]["help"])
    assert ("balances" in {check["name"] for check in found.checks}) == balances


@pytest.mark.parametrize("content", [b"no database at all" * 300, None])
def test_a_file_that_is_no_ledger_is_told(project: Path, doctor: Callable[[], Checked], content: bytes | None) -> None:
    (project / ".omixa").mkdir(mode=0o700)
    path = project / ".omixa/ledger.db"
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE songs (name)")
    else:
        path.write_bytes(content)
    path.chmod(0o600)
    before = path.read_bytes()
    found = doctor()
    assert (found.code, set(found.bad.values())) == (5, {"fail"})
    assert path.read_bytes() == before


def test_an_empty_file_waits_for_its_tables(project: Path, doctor: Callable[[], Checked]) -> None:
    (project / ".omixa").mkdir(mode=0o700)
    (project / ".omixa/ledger.db").touch(mode=0o600)
    found = doctor()
    assert (found.code, found.bad) == (0, {"ledger tables": "warn"})
    assert (project / ".omixa/ledger.db").stat().st_size == 0


def test_a_ledger_of_a_newer_program_is_told_and_left_alone(
    project: Path, desk: Desk, doctor: Callable[[], Checked]
) -> None:
    alter(project, "UPDATE alembic_version SET version_num = '9999'", "DROP TABLE entries")
    found = doctor()
    assert (found.code, found.bad) == (5, {"ledger tables": "fail"})
    assert "9999" in found["ledger tables"]["message"]


def test_a_ledger_ahead_of_the_clock_is_a_warning(desk: Desk, doctor: Callable[[], Checked]) -> None:
    desk.at = datetime.now(UTC) + timedelta(days=3, hours=1)
    desk.buy("later")
    found = doctor()
    assert (found.code, found.bad) == (0, {"ledger clock": "warn"})
    assert "3 days ahead of this clock" in found["ledger clock"]["message"]


def test_attempts_without_an_answer_are_listed_with_their_money(desk: Desk, doctor: Callable[[], Checked]) -> None:
    lost = [desk.send(key) for key in ("first", "second")]
    for attempt_id in lost:
        desk.lose(attempt_id)
    found = doctor()
    assert (found.code, found.bad) == (0, {"attempts": "warn"})
    assert found["attempts"]["message"] == f"2 attempts may have been billed and hold 0.078 USD: {lost[0]}; {lost[1]}"
    assert found["attempts"]["help"] == f"omixa resolve {lost[0]} --billed X|--not-billed --note …"


def test_a_stopped_workspace_is_a_warning_with_the_command_that_lets_it_go_on(
    desk: Desk, doctor: Callable[[], Checked]
) -> None:
    desk.settle(desk.send("dear"), billed=900_000)
    found = doctor()
    assert (found.code, found.bad) == (0, {"workspaces": "warn"})
    assert "billed 0.900 USD, above its reservation of 0.039 USD" in found["workspaces"]["message"]
    assert "omixa resume --workspace studio --note …" in found["workspaces"]["help"]


def test_a_run_whose_process_died_is_a_warning_and_is_left_to_whoever_recovers_it(
    project: Path, desk: Desk, doctor: Callable[[], Checked]
) -> None:
    folder = project / ".omixa/owners"
    dead = replace(RUN, uid="run-2")
    os.close(owners.hold(folder, dead.uid)._file)  # as the kernel does when a process dies
    run_id = desk.ledger.begin_run(dead, at=desk.at)
    found = doctor()
    assert (found.code, found.bad) == (0, {"runs": "warn"})
    assert "the process of 1 run died" in found["runs"]["message"]
    assert (folder / f"{dead.uid}.lock").exists()
    claimed = owners.claim(folder, dead.uid)
    assert claimed is not None
    desk.ledger.end_run(run_id, "died", at=desk.at)
    claimed.let_go()
    assert doctor().bad == {}


@pytest.mark.parametrize(("name", "mode"), [("", 0o750), ("ledger.db", 0o640), ("ledger.db.gate", 0o604)])
def test_what_others_can_read_is_a_warning_and_the_command_helps(
    project: Path, desk: Desk, doctor: Callable[[], Checked], name: str, mode: int
) -> None:
    (project / ".omixa" / name).chmod(mode)
    found = doctor()
    assert (found.code, found.bad) == (0, {"file modes": "warn"})
    subprocess.run(["sh", "-c", found["file modes"]["help"]], check=True)
    assert doctor().bad == {}


# ---- the disk


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
@pytest.mark.parametrize("place", [".omixa", "out"])
def test_a_disk_that_is_nearly_full_is_told(project: Path, doctor: Callable[[], Checked], place: str) -> None:
    with mounted(project / place, "size=8m,mode=700"):
        found = doctor()
    assert (found.code, found.bad) == (7, {"disk": "fail"})


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_disk_without_any_room_is_called_full_by_all_that_open_the_ledger(
    project: Path, doctor: Callable[[], Checked], capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(project / ".omixa", "size=2m,mode=700"):
        with open_database(project / ".omixa/ledger.db", create=True):
            pass
        with suppress(OSError), (project / ".omixa/others").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        for words in (["budget"], ["report"], ["run", "first"], ["audit", "list"]):
            assert main(["--project", str(project), *words]) == 5
            err = capsys.readouterr().err
            assert "cannot be written: the disk is full\n   = help: free some space and run again" in err, (words, err)
        (failed,) = [one for one in doctor().checks if (one["name"], one["status"]) == ("ledger", "fail")]
        assert failed["message"].endswith("cannot be written: the disk is full")


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_ledger_on_a_read_only_path_is_told(project: Path, doctor: Callable[[], Checked]) -> None:
    with mounted(project / ".omixa", "size=1m,ro"):
        found = doctor()
    assert (found.code, found["ledger"]["status"]) == (5, "fail")
    assert "cannot write" in found["ledger"]["message"]


def test_a_ledger_whose_folder_is_a_file_is_told(project: Path, doctor: Callable[[], Checked]) -> None:
    (project / ".omixa").write_text("in the way")
    found = doctor()
    assert (found.code, found["ledger"]["status"]) == (5, "fail")


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("ledger.db", "folder", "is a folder"),
        ("ledger.db.gate", "folder", "is a folder"),
        ("ledger.db", "pipe", "is no file"),
        ("ledger.db", "circle", "is a link that leads nowhere"),
        ("ledger.db", "gone", "is a link that leads nowhere"),
    ],
)
def test_what_stands_where_the_ledger_should_be_and_is_no_file_is_told_by_all_that_open_it(
    project: Path,
    doctor: Callable[[], Checked],
    capsys: pytest.CaptureFixture[str],
    name: str,
    kind: str,
    told: str,
) -> None:
    (project / ".omixa").mkdir(mode=0o700)
    place = project / ".omixa" / name
    # What a link leads to could be made: a new ledger on a disk that is only not mounted would forget all purchases.
    make = {
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
        "circle": lambda: place.symlink_to(place.name),
        "gone": lambda: place.symlink_to("elsewhere.db"),
    }
    make[kind]()
    found = doctor()
    assert (found.code, found.bad) == (5, {"ledger": "fail"})
    assert told in found["ledger"]["message"]
    for words in (["plan", "first"], ["run", "first"], ["budget"], ["audit", "verify"], ["schedule", "list"]):
        assert main(["--project", str(project), *words]) == 5, words
        assert f"`{place}` {told}\n   = help: " in capsys.readouterr().err, words
    assert [one.name for one in (project / ".omixa").iterdir()] == [name]
