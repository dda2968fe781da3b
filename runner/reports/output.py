"""Where a report goes: standard output, or a file that is whole or not there."""

import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runner.errors import DiskError


@contextmanager
def output(file: str | None, *, binary: bool = False) -> Iterator[Any]:
    """Standard output, or `file`, which appears under its name when all is written and on disk; UTF-8, or bytes.

    What stood there before is kept until then, and for good when writing fails. A symbolic link is followed. What is
    no file (`/dev/null`, a pipe) is written directly. Raises DiskError.
    """
    if file is None:
        yield sys.stdout.buffer if binary else sys.stdout
        return
    text: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
    kind = "b" if binary else ""
    target = Path(os.path.realpath(file))
    with _explained(file):
        if target.exists() and not target.is_file():
            with target.open(f"w{kind}", **text) as out:
                yield out
            return
        part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
        try:
            with part.open(f"x{kind}", **text) as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            if target.exists():  # whoever made it private meant it
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def _explained(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"`{file}` cannot be written: {error.strerror or error}",
            "create its folder, or choose another place with --out",
        ) from error
