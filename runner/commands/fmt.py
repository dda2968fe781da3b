"""`omixa fmt`: omixa.toml, recipes and contracts in one order and spacing; comments stay, and no value changes."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.diagnostics import Problem
    from runner.errors import OmixaError
    from runner.tomlfile import TomlFile

STDIN = "-"
_BOM = b"\xef\xbb\xbf"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="files, or names of recipes; - reads standard input and writes standard output (default: the project's)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing, name what would change, and end with 10")
    parser.add_argument("--diff", action="store_true", help="write nothing, and show what would change")


def run(*, project: str | None, files: list[str], check: bool, diff: bool, **_: object) -> int:
    """Lay out each file; one that is broken, read-only or cannot be proven the same stays as it is and is named."""
    from runner.errors import ExitCode, UsageError

    if STDIN in files:
        if files != [STDIN]:
            raise UsageError("`-` stands alone: standard input is one file")
        return _stdin(check, diff)
    done = _Done(check, diff)
    found = _chosen(project, files)
    for path, shown in found.items():
        done.take(path, shown)
    done.say(len(found))
    return int(done.exit_code() or ExitCode.OK)


def _chosen(project: str | None, files: "Sequence[str]") -> dict[Path, str]:
    """The files to lay out, each once, and how they are called. Raises UsageError."""
    from runner.declared import shown_path
    from runner.known_models import FOLDER
    from runner.project import find_root, recipe_paths
    from runner.settings_tables import FILE_NAME

    if not files:
        root = find_root(project)
        contracts = sorted((root / FOLDER).glob("*.toml"))
        return {path: shown_path(path, root) for path in [root / FILE_NAME, *recipe_paths(root, []), *contracts]}
    found = {}
    for name in files:
        is_name = "/" not in name and not name.endswith(".toml") and not Path(name).exists()
        path = recipe_paths(find_root(project), [name])[0] if is_name else Path(name)
        found[path] = name if path == Path(name) else path.as_posix()
    return found


def _stdin(check: bool, diff: bool) -> int:
    import sys

    from runner.errors import ExitCode
    from runner.tomlfile import BYTES_MAX, from_bytes

    file = from_bytes(sys.stdin.buffer.read(BYTES_MAX + 1), "standard input", Path(STDIN))
    kind = "settings" if {"workspaces", "endpoints"} & file.data.keys() else "recipe"
    kind = "contract" if {"operation", "fields"} & file.data.keys() else kind
    after = _laid_out(file, kind)
    if diff:
        sys.stdout.write(_difference(file, after))
    elif not check:
        sys.stdout.buffer.write(after)
    return int(ExitCode.CHANGES if check and after != file.raw else ExitCode.OK)


@dataclass
class _Done:
    """What became of the files so far. Problems and errors are said at the end, all of them."""

    check: bool
    diff: bool
    changed: int = 0
    problems: "list[Problem]" = field(default_factory=list)
    errors: "list[OmixaError]" = field(default_factory=list)

    def take(self, path: Path, shown: str) -> None:
        """Lay out one file."""
        import sys

        from runner.diagnostics import Problems
        from runner.errors import OmixaError
        from runner.known_models import FOLDER
        from runner.settings_tables import FILE_NAME
        from runner.tomlfile import read

        try:
            file = read(path, shown)
            kind = "contract" if path.absolute().parent.name == FOLDER else "recipe"
            after = _laid_out(file, "settings" if path.name == FILE_NAME else kind)
            if after == file.raw:
                return
            if not (self.check or self.diff):
                write(file, after)
        except Problems as error:
            self.problems += error.problems
            return
        except OmixaError as error:
            self.errors.append(error)
            return
        self.changed += 1
        if self.diff:
            sys.stdout.write(_difference(file, after))
        else:
            print(f"{'not formatted' if self.check else 'formatted'}  {shown}")

    def say(self, count: int) -> None:
        """Problems, errors and a summary, on stderr."""
        import sys

        from runner.diagnostics import render

        if self.problems:
            print(f"{render(self.problems)}\n", file=sys.stderr)
        for error in self.errors:
            print(f"error: {error.message}", file=sys.stderr)
            if error.hint:
                print(f"   = help: {error.hint}", file=sys.stderr)
        would = "would be formatted" if self.check or self.diff else "formatted"
        left = len({problem.place.path for problem in self.problems if problem.place}) + len(self.errors)
        more = f", {left} left as {'it is' if left == 1 else 'they are'}" if left else ""
        print(f"{count} {'file' if count == 1 else 'files'}, {self.changed} {would}{more}", file=sys.stderr)

    def exit_code(self) -> int:
        """The gravest of what happened: our mistake, a broken file, a disk, a change that `--check` found."""
        from runner.errors import ExitCode

        codes = [error.exit_code for error in self.errors]
        codes += [ExitCode.INVALID] if self.problems else []
        codes += [ExitCode.CHANGES] if self.check and self.changed else []
        gravity = (ExitCode.INTERNAL, ExitCode.INVALID, ExitCode.DISK, ExitCode.CHANGES)
        return next((int(code) for code in gravity if code in codes), int(ExitCode.OK))


def _laid_out(file: "TomlFile", kind: str) -> bytes:
    from runner.commands.schema import schema
    from runner.layout import NotKept, laid_out

    try:
        text = laid_out(file.text, schema(kind))
    except NotKept as reason:
        raise NotKept(
            f"`{file.shown}` is left as it is: {reason.message}",
            "this is a mistake in omixa, not in the file: please send it to the maintainers",
        ) from None
    # A byte order mark is no part of the text, and who put it there needs it.
    return (_BOM if file.raw.startswith(_BOM) else b"") + text.encode()


def write(file: "TomlFile", after: bytes) -> None:
    """Put the new text in the file's place, whole or not at all; its mode stays, and a link stays a link.

    Raises DiskError, also for a file that is read-only or is not what was read any more.
    """
    import os

    from runner.errors import DiskError
    from runner.reports.output import output
    from runner.tomlfile import BYTES_MAX, read_regular

    try:
        # A file can be replaced in a folder that can be written; who made it read-only did not mean that.
        is_read_only = not file.path.stat().st_mode & 0o222 or not os.access(file.path, os.W_OK)
        is_same = read_regular(file.path, BYTES_MAX + 1, links=True) == file.raw
    except OSError as error:
        raise DiskError(f"`{file.shown}` cannot be read: {error.strerror or error}") from None
    if is_read_only:
        raise DiskError(f"`{file.shown}` is read-only, so it is left as it is", "make it writable: chmod u+w")
    if not is_same:
        raise DiskError(f"`{file.shown}` was changed meanwhile, so it is left as it is", "run `omixa fmt` again")
    try:
        with output(str(file.path), binary=True) as out:
            out.write(after)
    except DiskError as error:
        raise DiskError(error.message, "free some space or grant access to its folder, then run again") from None


def _difference(file: "TomlFile", after: bytes) -> str:
    """A unified diff, as `git apply` reads it; what looks like a key is starred out, and nothing steers a terminal."""
    import difflib

    from runner.diagnostics import masked

    old, new = (_lines(raw.decode()) for raw in (file.raw, after))
    text = "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old, new, f"a/{file.shown}", f"b/{file.shown}")
    )
    plain = "".join(c if c.isprintable() or c in "\t\r\n\ufeff" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return masked(plain)


def _lines(text: str) -> list[str]:
    """The lines with their ends. (`str.splitlines` ends one at characters that TOML has inside of strings.)"""
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    return lines if lines[-1] else lines[:-1]
