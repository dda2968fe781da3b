"""A real git repository with recipes and pictures, and the command as a reviewer runs it."""

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from runner.cli import main
from runner.commands.schema import schema

# UTC has no clock changes: an hourly schedule has exactly 24 times the slots of a daily one, in any month.
SETTINGS = """
[workspaces.studio]
endpoint = "sandbox"
currency = "USD"
time_zone = "UTC"
budget = {{ month = "{month}" }}
ceilings = {{ "stability-upscale-creative" = "{ceiling}" }}

[presets.photo]
creativity = {creativity}

{more}
"""

RECIPE = """
workspace = "studio"
model = "stability-upscale-creative"
[labels]
client = "acme"
[[sources]]
folder = "{folder}"
prompt = "restore"
{source}
[prompts.restore]
text = "{text}"
[output]
folder = "out/{output}"
[schedule]
cron = "{cron}"
{more}
"""

ANA, BO = "ana@studio.example", "bo@studio.example"


class Scratch:
    """A project in a git repository, and what `omixa diff` says of it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        root.mkdir(parents=True, exist_ok=True)

    # ---- files and commits

    def settings(self, more: str = "", **changes: str) -> None:
        plain = {"month": "500.00", "ceiling": "0.04", "creativity": "0.3"}
        self.write("omixa.toml", SETTINGS.format(more=more, **(plain | changes)))

    def recipe(self, name: str = "posters", **changes: str) -> None:
        plain = {"folder": "pictures", "text": "Restore it.", "output": name, "cron": "0 2 * * *"}
        self.write(f"recipes/{name}.toml", RECIPE.format(**({"source": "", "more": ""} | plain | changes)))

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def picture(self, name: str, seed: object = None) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dice = random.Random(str(name if seed is None else seed))
        Image.frombytes("RGB", (64, 64), dice.randbytes(64 * 64 * 3)).save(path, compress_level=1)

    def git(self, *words: str, author: str = ANA) -> str:
        named = ["-c", "user.name=t", "-c", f"user.email={author}", "-c", "commit.gpgsign=false"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *named, *words], cwd=self.root, capture_output=True, text=True, check=True, env=clean
        )
        return done.stdout.strip()

    def commit(self, text: str = "a change", author: str = ANA) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", text, author=author)
        return self.git("rev-parse", "HEAD")

    # ---- what is said

    def say(self, *words: str) -> tuple[int, str, str]:
        """The exit code, stdout and stderr of a command."""
        code = main(["--project", str(self.root), *words])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def diff(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What it says to a program; checked against the schema."""
        found, out, err = self.say("diff", "--format", "json", *words)
        assert (found, err) == (code, ""), out + err
        told: dict[str, Any] = json.loads(out)
        jsonschema.validate(told, schema("diff"))
        assert told["within_limits"] is (code == 0)
        return told


@pytest.fixture
def scratch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scratch:
    """Three pictures, a daily recipe, all of it committed to `main`, and a branch to change it in."""
    made = Scratch(tmp_path / "project", capsys)
    made.settings()
    made.recipe()
    for n in range(3):
        made.picture(f"pictures/{n}.png")
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("first")
    made.git("checkout", "--quiet", "-b", "feature")
    return made
