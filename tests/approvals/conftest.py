"""A real project in a real git repository, with approvers who have keys of their own outside of it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from tests.run.conftest import KEY, Ended, Studio
from tests.run.conftest import open_studio as open_studio

MAIL = {name: f"{name}@studio.example" for name in ("ana", "ben", "eve")}


class House:
    """A studio whose recipes are committed by `ana`, and where `ben` and others may approve.

    `plan`, `approve` and `run_plan` go by what a person would type; those that must be processes say so.
    """

    def __init__(self, studio: Studio, outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.studio, self.outside, self.capsys = studio, outside, capsys
        self.plan_file = studio.root / "plans" / "plan.json"
        outside.mkdir()
        self.public = {name: self._key(name) for name in MAIL}
        self.policy = ""
        self.listed = ["ben"]
        self.more: dict[str, str] = {}
        studio.recipe()
        studio.pictures(3)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "cleo")
        self.git("config", "user.email", "cleo@studio.example")
        self.settings()
        self.commit("ana")

    def _key(self, name: str) -> str:
        ended = self.omixa("approve", "--new-key", "--key", str(self.key(name)))
        assert ended.code == 0, ended
        return ended.out.split('key = "')[1].split('"')[0]

    def key(self, name: str) -> Path:
        return self.outside / f"{name}.pem"

    def settings(self, **options: Any) -> None:
        """omixa.toml, with the approvers that are listed and the policy."""
        self.studio.settings(**options)
        path = self.studio.root / "omixa.toml"
        lines = [self.policy]
        for name in self.listed:
            lines.append(f'[approvers.{name}]\nkey = "{self.public[name]}"\nemail = "{MAIL[name]}"')
            lines.append(self.more.get(name, ""))
        path.write_text(path.read_text() + "\n".join(lines) + "\n")

    def git(self, *words: str, **more: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **more}
        done = subprocess.run(
            ["git", "-C", str(self.studio.root), *words], capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout

    def commit(self, name: str) -> None:
        """What the recipes and omixa.toml are now, as the work of somebody."""
        self.git("add", "recipes", "omixa.toml")
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", f"{name}@studio.example"))
        }
        self.git("commit", "-q", "--allow-empty", "-m", "change", **who)

    def omixa(self, *words: str) -> Ended:
        """A command, in this process."""
        os.environ["STUDIO_KEY"] = KEY
        self.capsys.readouterr()
        code = cli.main(["--project", str(self.studio.root), *words])
        said = self.capsys.readouterr()
        return Ended(code, said.out, said.err)

    def plan(self, *words: str) -> dict[str, Any]:
        ended = self.omixa("plan", *(words or ("posters",)), "--out", str(self.plan_file))
        assert ended.code == 0, ended
        found: dict[str, Any] = json.loads(self.plan_file.read_text())
        return found

    def approve(self, name: str = "ben", amount: str = "12.00", *more: str) -> Ended:
        words = ("approve", str(self.plan_file), "--max", amount, "--key", str(self.key(name)), "--yes", *more)
        return self.omixa(*words)

    def approval(self, name: str = "ben") -> Path:
        return self.plan_file.with_name(f"plan.approval-{name}.json")

    def run_plan(self, *more: str) -> Ended:
        return self.omixa("run", "--plan", str(self.plan_file), *more)

    @property
    def requests(self) -> int:
        return self.studio.endpoint.counts().requests


@pytest.fixture
def house(
    open_studio: Callable[..., Studio],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    return House(open_studio(), tmp_path_factory.mktemp("home") / "keys", capsys)
