"""What docs/editors.md says is what the program does: every console example is run, in order."""

import shlex
import shutil
from pathlib import Path

import pytest

from runner.cli import main
from tests.reports.test_docs import examples

PROBLEMS = Path(__file__).parents[1] / "problems"
POSTERS = """\
model = "stability-upscale-creative" # the only one so far
workspace="studio"
[[sources]]
preset= "photo"
folder = "pictures/prints"
[prompts.restore]
text = "Restore."
[output]
folder = "out/posters"
"""


def test_every_console_example_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(PROBLEMS / "_project", tmp_path / "project")
    (tmp_path / "project/recipes").mkdir()
    (tmp_path / "project/recipes/posters.toml").write_text(POSTERS)
    monkeypatch.chdir(tmp_path / "project")
    assert len(examples("editors.md")) >= 3
    for command, printed in examples("editors.md"):
        program, *words = shlex.split(command)
        assert (program, main(words)) == ("omixa", 0), command
        said = capsys.readouterr()
        assert said.out + said.err == printed, command
