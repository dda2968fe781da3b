"""`omixa init`: a small project that works at once, on the built-in sandbox."""

import argparse
from pathlib import Path

SCAFFOLD = Path(__file__).resolve().parents[1] / "scaffold"
SETTINGS = "omixa.toml"
# Not `.gitignore` in the package: there, git and the build would obey it.
RENAMED = {"gitignore": ".gitignore"}
# What editors complete and check the files by; the first line of each file names it.
SCHEMAS = {"schema/omixa.schema.json": "settings", "schema/recipe.schema.json": "recipe"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="where to (default: this folder)")


def run(*, project: str | None, folder: str, **_: object) -> int:
    """Write what is missing and overwrite nothing. Raises UsageError where a project is already, and DiskError.

    omixa.toml comes last: an `init` that failed half-way can be repeated.
    """
    from runner.errors import ExitCode, UsageError
    from runner.images.disk import explained

    target = Path(project or ".") / folder
    with explained(target):
        if (target / SETTINGS).exists() or (target / SETTINGS).is_symlink():
            raise UsageError(
                f"`{target / SETTINGS}` is there already, and nothing is overwritten",
                "`omixa check` checks it; to start another project: omixa init DIR",
            )
    for name, content in sorted(_files().items(), key=lambda file: file[0] == SETTINGS):
        with explained(target / name):
            written = _write(content, target / name)
        print(f"wrote  {target / name}" if written else _kept(target / name, content))
    print(_next(target))
    return int(ExitCode.OK)


def _files() -> dict[str, bytes]:
    """The files of the new project: name in the project → what is in it. The schemas are those of this version."""
    from runner.commands.schema import schema_text

    names = (path.relative_to(SCAFFOLD) for path in sorted(SCAFFOLD.rglob("*")) if path.is_file())
    found = {RENAMED.get(str(name), name.as_posix()): (SCAFFOLD / name).read_bytes() for name in names}
    return found | {file: schema_text(kind).encode() for file, kind in SCHEMAS.items()}


def _write(content: bytes, path: Path) -> bool:
    """Write a new file; False, and nothing written, when there is one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    with file:
        file.write(content)
    return True


def _kept(path: Path, content: bytes) -> str:
    if path.name != ".gitignore":
        return f"kept   {path}: it was there already"
    lines = " and ".join(f"`{line}`" for line in content.decode().splitlines())
    return f"kept   {path}: it was there already; it should have the lines {lines}"


def _next(target: Path) -> str:
    import shlex

    there = "" if target.resolve() == Path.cwd() else f"cd {shlex.quote(str(target))}\n  "
    return (
        "\nNothing here costs money: the workspace uses the built-in sandbox. Next:\n\n"
        f"  {there}"
        "omixa check        # every problem in omixa.toml and the recipes: none\n"
        "  omixa plan first   # what would be bought, and what it would cost\n"
        "  omixa run first    # buys it; the pictures are in out/first"
    )
