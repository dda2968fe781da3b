"""What finance gets. To add a format: a file beside this one, and its line in the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

# How many pictures a page shows, and the most that it can: large ones take 0.4 s each to be made small.
GALLERY, GALLERY_MAX = 100, 10_000


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the module and function that write it, what of, and whether they write bytes.

    `groups`: `write(report, stream)`. `workbook`: `write(report, book, stream)`, of a report by cost centre first.
    `attempts`: `write(rows, book, stream)`, of single attempts, streamed. `page`: `write(report, book, sight, stream)`.
    """

    of: Literal["groups", "workbook", "attempts", "page"]
    module: str
    is_binary: bool = False
    function: str = "write"
    ending: str | None = None

    @property
    def write(self) -> Callable[..., None]:
        """The function; its module is imported only now, as some need a package that is an extra."""
        found: Callable[..., None] = getattr(import_module(f"runner.reports.{self.module}"), self.function)
        return found


FORMATS: dict[str, Format] = {
    "text": Format("groups", "text", ending="txt"),
    "csv": Format("groups", "csv"),
    "json": Format("groups", "json"),
    "html": Format("page", "html"),
    "xlsx": Format("workbook", "xlsx", is_binary=True),
    "beancount": Format("attempts", "beancount"),
    "focus": Format("attempts", "focus", function="write_csv", ending="focus.csv"),
    "focus-parquet": Format("attempts", "focus", is_binary=True, function="write_parquet", ending="focus.parquet"),
    "parquet": Format("attempts", "parquet", is_binary=True),
}


def by_ending(file: str) -> str | None:
    """The format that a file's name asks for; None: none does."""
    fitting = [name for name, one in FORMATS.items() if file.lower().endswith(f".{one.ending or name}")]
    return max(fitting, key=lambda name: len(FORMATS[name].ending or name), default=None)
