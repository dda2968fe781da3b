"""`omixa diff`: what a change of recipes would cost, before it is merged; opens no socket and runs nothing of it."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime
    from pathlib import Path

    from runner.cap_raises import Range
    from runner.comparison import Comparison
    from runner.sides import Side

FORMATS = ("text", "markdown", "json")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="BASE...HEAD",
        help="what HEAD did since it left BASE; or BASE..HEAD, a commit against the working tree, or two folders "
        "(default: HEAD against the working tree)",
    )
    parser.add_argument("--staged", action="store_true", help="the index instead of the working tree")
    parser.add_argument("--format", choices=FORMATS, default="text", help="markdown is for a comment (default: text)")
    parser.add_argument(
        "--max-increase",
        metavar="AMOUNT",
        help="refuse (exit code 3) when a month would cost so much more, such as 50.00; in each currency by itself",
    )
    parser.add_argument("--month", metavar="MONTH", help="the month whose slots count, as 2026-12 (default: the next)")
    parser.add_argument("--no-ledger", action="store_true", help="count with declared prices, as where there is none")


def run(
    *,
    project: str | None,
    what: list[str],
    staged: bool,
    format: str,  # noqa: A002
    max_increase: str | None,
    month: str | None,
    no_ledger: bool,
    **_: object,
) -> int:
    """Show what the change would do. 0: within every limit, 3: not, 2: what is compared has problems."""
    from runner import windows
    from runner.errors import ExitCode

    limit, first_day = _amount(max_increase), _month(month)
    found = compared(project, what, at=windows.clock(), staged=staged, month=first_day, ledger=not no_ledger)
    if limit is not None:
        from runner.comparison import over

        found.violations.extend(over(found, limit))
    print(shown(found, format), end="")
    return int(ExitCode.BUDGET if found.violations else ExitCode.OK)


def compared(
    project: str | None,
    what: list[str],
    *,
    at: "datetime",
    staged: bool = False,
    month: "date | None" = None,
    ledger: bool = True,
) -> "Comparison":
    """The comparison of what the words name, as of a moment. `month`: its first day; None: the one after `at`.

    `ledger`: whether the project's is asked. Raises Problems with everything wrong in what is compared, UsageError,
    DiskError and LedgerError.
    """
    import tempfile
    from pathlib import Path

    from runner.errors import DiskError

    try:
        place = tempfile.TemporaryDirectory(prefix="omixa-diff-", ignore_cleanup_errors=True)
    except OSError as error:
        raise DiskError(f"there is no place for what is compared: {error.strerror or error}", "set TMPDIR") from None
    with place as folder:
        if len(what) == 2:
            before, after, span, root = _folders(what, project, staged=staged)
        else:
            before, after, span, root = _revisions(what, project, Path(folder), staged=staged)
        return _compared(before, after, span, root if ledger else None, Path(folder), at, month)


def _amount(text: str | None) -> int | None:
    from runner.errors import UsageError
    from runner.money import AmountError, declared

    try:
        return None if text is None else declared(text)
    except AmountError as error:
        raise UsageError(f"--max-increase: {error}", "write such as `--max-increase 50.00`") from None


def _month(text: str | None) -> "date | None":
    from runner.commands.forecast import asked_day

    last = asked_day(text, None)
    return None if last is None else last.replace(day=1)


def _folders(what: list[str], project: str | None, *, staged: bool) -> "tuple[Side, Side, Range | None, Path | None]":
    from pathlib import Path

    from runner.errors import UsageError
    from runner.project import find_root
    from runner.settings_tables import FILE_NAME
    from runner.sides import of_folder

    if staged:
        raise UsageError("--staged is of git, and these are two folders")
    for name in what:
        if not Path(name).is_dir():
            hint = "write two folders, or one range such as `main...HEAD`"
            raise UsageError(f"there is no folder `{name[:200]}`", hint)
        if not (Path(name) / FILE_NAME).is_file():
            raise UsageError(f"the folder `{name}` has no {FILE_NAME}", "both must be projects")
    try:
        root: Path | None = find_root(project)
    except UsageError:
        if project is not None:
            raise
        root = None
    return of_folder(Path(what[0]).resolve(), what[0]), of_folder(Path(what[1]).resolve(), what[1]), None, root


def _revisions(
    what: list[str], project: str | None, place: "Path", *, staged: bool
) -> "tuple[Side, Side, Range | None, Path | None]":
    from runner.cap_raises import Range
    from runner.errors import UsageError
    from runner.project import find_root
    from runner.revisions import Repository, Revision, ends_of
    from runner.sides import of_revisions

    if len(what) > 2:
        raise UsageError(f"{len(what)} things cannot be compared", "write `main...HEAD`, or two folders")
    root = find_root(project)
    repository = Repository(root)
    base, head, parted = ends_of(what[0] if what else "HEAD")
    if staged and head is not None:
        raise UsageError(
            f"--staged compares one commit with the index, and `{what[0][:100]}` is a range", "leave one out"
        )
    first = repository.commit(base)
    last = repository.commit("HEAD" if head is None else head)
    if parted:
        first = repository.merge_base(first, last)
    before = repository.revision(base, first)
    after: Revision | None = None  # the working tree
    if head is not None:
        after = repository.revision(head, last)
    elif staged:
        after = repository.index()
    sides = of_revisions(before, after, repository, place)
    return *sides, Range(repository, first, last), root


def _compared(
    before: "Side",
    after: "Side",
    span: "Range | None",
    root: "Path | None",
    place: "Path",
    at: "datetime",
    month: "date | None",
) -> "Comparison":
    from runner import images
    from runner.cap_raises import violations
    from runner.comparison import compare
    from runner.diagnostics import Problems
    from runner.ledger.database import open_database
    from runner.settings import ledger_path

    if after.problems:
        raise Problems(after.problems)
    ledger = place / "none" / "ledger.db"
    # The ledger is where the base says: a change may not have us read another file.
    if root is not None and before.settings is not None:
        ledger = ledger_path(before.settings.model_copy(update={"root": root}))
    results = images.Results(ledger.parent / "results")
    with open_database(ledger, create=False) as database:
        found = compare(before, after, database, results, at=at, month=month, observed=ledger.is_file())
        found.violations.extend(violations(found, before, after, span))
    return found


def shown(found: "Comparison", format_name: str) -> str:
    """The comparison in one of FORMATS, with its last line end."""
    from runner.commands import diff_formats

    match format_name:
        case "json":
            from json import dumps

            return dumps(diff_formats.as_json(found), indent=2) + "\n"
        case "markdown":
            return diff_formats.as_markdown(found)
        case _:
            return diff_formats.as_text(found) + "\n"
