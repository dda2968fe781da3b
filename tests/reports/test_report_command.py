"""`omixa report` on a real ledger."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.reports.output import output
from tests.reports.conftest import Books, parsed


def attempts_of(books: Books, capsys: pytest.CaptureFixture[str], *words: str) -> int:
    assert books.omixa("report", "--format", "json", *words) == 0
    totals = parsed(capsys.readouterr().out)["totals"]
    assert isinstance(totals, list)
    return sum(total["attempts"] for total in totals)


def test_the_default_is_by_recipe_as_text(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report") == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage by recipe · all workspaces · all days\n")
    assert said.err == ""


def test_keys_can_be_repeated_or_comma_separated(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report", "--by", "month,recipe", "--by", "label:client", "--format", "csv") == 0
    assert capsys.readouterr().out.startswith("month,recipe,label:client,currency,")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 8),
        (["--from", "2026-10-31"], 8),
        (["--from", "2026-11-01"], 7),
        (["--from", "2026-11-02"], 6),
        (["--to", "2026-10-31"], 1),
        (["--to", "2026-11-01"], 2),
        (["--from", "2026-11-08", "--to", "2026-11-08"], 3),
        (["--from", "2026-11-08", "--to", "2026-11-08", "--workspace", "lab"], 1),
        (["--from", "2026-11-09", "--workspace", "studio"], 0),
    ],
)
def test_both_days_are_inside_and_local(
    books: Books, capsys: pytest.CaptureFixture[str], words: list[str], count: int
) -> None:
    assert attempts_of(books, capsys, *words) == count


@pytest.mark.parametrize("day", ["2026-02-30", "30.11.2026", "20261130", "2026-W48-1", "yesterday", "", "2026-1-01"])
def test_what_is_no_day_is_refused_by_name(books: Books, capsys: pytest.CaptureFixture[str], day: str) -> None:
    assert books.omixa("report", "--from", day) == 2
    assert capsys.readouterr().err == (
        f"error: `--from {day}` is not a day of the calendar\n   = help: write it like `--from 2026-11-30`\n"
    )


def test_from_after_to_is_refused(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report", "--from", "2026-11-02", "--to", "2026-11-01") == 2
    assert "`--from 2026-11-02` is after `--to 2026-11-01`" in capsys.readouterr().err


def test_an_unknown_key_is_refused_before_anything_is_read(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report", "--by", "recpie") == 2
    assert "did you mean `recipe`?" in capsys.readouterr().err


def test_an_unknown_workspace_is_refused_not_shown_as_free(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report", "--workspace", "studi") == 2
    said = capsys.readouterr()
    assert "there is no workspace `studi`" in said.err
    assert "did you mean `studio`?" in said.err


def test_a_workspace_that_the_settings_no_longer_have_can_still_be_reported(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (books.root / "omixa.toml").read_text()
    (books.root / "omixa.toml").write_text(text[: text.index("[workspaces.lab]")])
    assert attempts_of(books, capsys, "--workspace", "lab") == 2


def test_a_sandbox_workspace_is_found_by_its_own_name_and_by_that_of_its_account(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (books.root / "omixa.toml").read_text()
    sandbox = '[workspaces.play]\nendpoint = "sandbox"\ncurrency = "USD"\ntime_zone = "UTC"\nunlimited = true\n'
    (books.root / "omixa.toml").write_text(text + sandbox)
    for name in ("play", "play@sandbox"):
        assert books.omixa("report", "--workspace", name) == 0
        assert "workspace play@sandbox" in capsys.readouterr().out


def test_a_label_that_nothing_has_is_a_warning(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert books.omixa("report", "--by", "label:cleint") == 0
    assert capsys.readouterr().err == "warning: no attempt in this report has the label `cleint`\n"


def test_a_project_without_a_ledger_has_spent_nothing_and_gets_none(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (books.root / "omixa.toml").read_text()
    (books.root / "omixa.toml").write_text('[ledger]\nurl = "sqlite:///other/ledger.db"\n' + text)
    assert books.omixa("report") == 0
    assert "no attempts" in capsys.readouterr().out
    assert not (books.root / "other").exists()


def test_the_file_is_whole_or_as_it_was(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    out = books.root / "usage.csv"
    out.write_text("the old report")
    out.chmod(0o600)
    assert books.omixa("report", "--format", "csv", "--out", str(out)) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert out.read_bytes().startswith(b"recipe,currency,")
    assert out.read_bytes().count(b"\r\n") == out.read_bytes().count(b"\n") == 4
    assert out.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in books.root.glob(".*.part")] == []


def test_a_link_is_followed_and_a_device_is_written_directly(books: Books) -> None:
    (books.root / "shared").mkdir()
    link = books.root / "latest.csv"
    link.symlink_to(books.root / "shared" / "usage.csv")
    assert books.omixa("report", "--out", str(link)) == 0
    assert link.is_symlink()
    assert (books.root / "shared" / "usage.csv").is_file()
    assert books.omixa("report", "--out", "/dev/null") == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(("name", "code"), [("usage.xslx", 2), ("usage.pdf", 2), ("usage", 0), ("usage-2026.10", 0)])
def test_an_ending_of_no_format_is_not_written_as_text(
    books: Books, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    assert books.omixa("report", "--out", str(books.root / name)) == code
    assert (books.root / name).exists() == (code == 0)
    assert ("known: `.txt`, `.csv`, `.json`" in capsys.readouterr().err) == (code == 2)
    assert books.omixa("report", "--out", str(books.root / name), "--format", "text") == 0


@pytest.mark.parametrize("place", ["missing/usage.csv", "omixa.toml/usage.csv", ".omixa"])
def test_a_file_that_cannot_be_written_is_one_message(
    books: Books, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    assert books.omixa("report", "--out", str(books.root / place)) == 7
    assert f"error: `{books.root / place}` cannot be written: " in capsys.readouterr().err


def test_it_runs_as_a_program_and_says_so_without_a_project(books: Books, tmp_path: Path) -> None:
    def omixa(folder: Path) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "runner", "report", "--by", "workspace", "--format", "csv"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment)

    inside = books.root / "recipes"
    inside.mkdir()
    done = omixa(inside)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.splitlines()[1]
        == "lab,EUR,2,1,0,1,1,0.050001,0.700000,0.700000,0,0.000000,0,0.000000,0,0.000000,0.050001,0"
    )
    (books.root / "omixa.toml").rename(books.root / "gone.toml")
    lost = omixa(inside)
    assert lost.returncode == 2
    assert "there is no omixa.toml" in lost.stderr


def test_a_report_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "usage.csv"
    out.write_text("the old report")

    def write_half() -> None:
        with output(str(out)) as stream:
            stream.write("half")
            stream.flush()
            assert out.read_text() == "the old report"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert out.read_text() == "the old report"
    assert [path.name for path in tmp_path.iterdir()] == ["usage.csv"]
