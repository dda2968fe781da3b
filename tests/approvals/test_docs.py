"""What docs/approvals.md says is what the program does: its commands are run, its causes are those of the code."""

import re
import shlex
from pathlib import Path

import pytest

from runner import cli

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "approvals.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_buy_an_approved_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    assert cli.main(["init", str(tmp_path / "studio")]) == 0
    monkeypatch.chdir(tmp_path / "studio")
    block = re.search(r"```console\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    said = ""
    for line in block[1].strip().splitlines():
        program, *words = shlex.split(line.removeprefix("$ "), comments=True)
        capsys.readouterr()
        assert (program, cli.main(words)) == ("omixa", 0), line
        said = capsys.readouterr().out
        if "--new-key" in words:
            settings = tmp_path / "studio" / "omixa.toml"
            settings.write_text(settings.read_text() + said.replace("NAME", "ana"))
    assert "bought 3 pictures" in said
    assert (tmp_path / "studio" / "plan.approval-ana.json").exists()


def test_every_cause_is_on_the_page() -> None:
    code = "".join(
        (HOUSE / "runner" / name).read_text(encoding="utf-8")
        for name in ("approvals.py", "planfile.py", "jobs.py", "ledger/approvals.py")
    )
    causes = set(re.findall(r'Problem\(\s*"([a-z-]+)"', code)) | set(re.findall(r'^    "([a-z]+-[a-z]+)":', code, re.M))
    assert len(causes) > 15
    assert [cause for cause in sorted(causes) if f"`{cause}`" not in PAGE] == []
