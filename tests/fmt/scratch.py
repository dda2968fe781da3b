"""A scratch repository: a project that `omixa init` wrote, in git, with its own folder for what tools keep."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


class Scratch:
    """A git repository at `folder`, in which commands find this program, and nothing of whoever runs the tests."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        folder.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "GITHUB_", "CI_"))}
        who = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PRE_COMMIT_HOME": str(folder.parent / "kept")}
        self.environment = {**kept, **who, **path, "GIT_CONFIG_GLOBAL": os.devnull, **more}
        self.does("omixa init")
        self.does("git init -q && git add -A && git commit -qm start")

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run lines as a pipeline runs them: bash, ending at the first that fails."""
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def does(self, script: str) -> str:
        """Run lines that must succeed; what they printed."""
        done = self.run(script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def change(self, old: str, new: str) -> None:
        """Change the recipe."""
        path = self.folder / "recipes/first.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
