"""The hooks as somebody else's repository uses them: pre-commit clones this one at its newest commit and installs it.

    python -m tests.long.hooks

Needs the package registry. Ends with 1 when a hook lets something through, or stops what is sound.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.fmt.scratch import Scratch

HOUSE = Path(__file__).parents[2]
CONFIG = """\
repos:
  - repo: {repository}
    rev: {commit}
    hooks:
      - id: omixa-check
      - id: omixa-fmt
      - id: omixa-diff
"""


def main() -> int:
    """Commit what is sound, what is broken and what is not laid out."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(Path(folder) / "repository")
        commit = scratch.does(f"git -C {HOUSE} rev-parse HEAD").strip()
        text = CONFIG.format(repository=HOUSE.as_uri(), commit=commit)
        (scratch.folder / ".pre-commit-config.yaml").write_text(text, encoding="utf-8")
        scratch.does("pre-commit install --install-hooks")
        installed = time.monotonic() - began
        # What the hooks run is in an environment of their own, not the program that is installed here.
        (found,) = Path(folder).glob("kept/repo*/py_env-*/bin/omixa")
        sound = scratch.does("git add -A && pre-commit run --all-files").count("Passed") == 3
        scratch.does("git commit -qm hooks")
        scratch.change('preset = "photo"', 'preset = "foto"')
        broken = scratch.run("git commit -qam broken")
        scratch.change('preset = "foto"', 'preset="photo"')
        ugly = scratch.run("git commit -qam ugly")
        said = {
            "a sound project is committed": sound,
            "a broken recipe is not": broken.returncode != 0 and "unknown-preset" in broken.stderr,
            "one that is not laid out is laid out": ugly.returncode != 0 and "formatted  recipes/" in ugly.stderr,
            "and then there is nothing to commit": scratch.does("git status --porcelain") == "",
        }
    print(
        f"{commit[:7]}: pre-commit installed {found.name} in {installed:.0f} s, {time.monotonic() - began:.0f} s in all"
    )
    for what, holds in said.items():
        print(f"{'ok  ' if holds else 'FAIL'}  {what}")
    return 0 if all(said.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
