"""`omixa history`: the changes of a recipe in git, each beside what was bought by it."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.ledger.versions import Bought
    from runner.revisions import Version
    from runner.wording import Word


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help="its name; it may be gone by now")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="the newest N changes (default: 20)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(*, project: str | None, recipe: str, limit: int, json: bool, **_: object) -> int:
    """Show the changes, the newest first; opens no socket and writes nothing."""
    from runner.errors import ExitCode, UsageError
    from runner.ledger.database import open_database
    from runner.ledger.versions import bought
    from runner.project import find_root
    from runner.recipe import FOLDER
    from runner.revisions import Repository
    from runner.settings import ledger_path

    if limit < 1:
        raise UsageError(f"--limit is how many changes to show, at least 1; found {limit}")
    root = find_root(project)
    name = recipe.rpartition("/")[2].removesuffix(".toml")
    if not name.isprintable():
        raise UsageError("the name of a recipe is one line of text")
    with open_database(ledger_path(_settings(root)), create=False) as database:
        spent = bought(database, name)
    versions = Repository(root).versions(f"{FOLDER}/{name}.toml")
    if not versions and not spent:
        raise UsageError(
            f"neither git nor the ledger knows a recipe `{name[:100]}`", "`omixa check` and recipes/ have their names"
        )
    rows = _rows(versions, spent)
    if json:
        from json import dumps

        print(dumps(_as_json(name, rows), indent=2))
    else:
        print(_as_text(name, rows, limit))
    return int(ExitCode.OK)


def _settings(root: "Path") -> Any:
    from runner.diagnostics import Problems
    from runner.settings import load

    settings, problems = load(root)
    if settings is None:
        raise Problems(problems)
    return settings


_Row = tuple["Version | None", "Sequence[Word]", "Sequence[Bought]"]


def _rows(versions: "Sequence[Version]", spent: "Sequence[Bought]") -> list[_Row]:
    """Each change with its words and what was bought by it, the newest first; then what git does not have.

    A content that came back is one version to the ledger: what was bought by it stands at its newest change.
    """
    from runner.wording import raw_words

    left = list(spent)
    rows: list[_Row] = []
    for at, version in enumerate(versions):
        earlier = versions[at + 1].content if at + 1 < len(versions) else None
        own = [one for one in left if one.digest == version.digest]
        left = [one for one in left if one not in own]
        rows.append((version, raw_words(earlier, version.content), own))
    return rows + ([(None, [], left)] if left else [])


def _as_text(name: str, rows: "Sequence[_Row]", limit: int) -> str:
    from runner.money import short
    from runner.terminal import clean, counted, table

    lines = []
    for version, words, own in [*rows[:limit], *(row for row in rows[limit:] if row[0] is None)]:
        about = ["not in git", "", "", ""]
        if version is not None:
            about = [version.commit.oid[:12], version.commit.at[:10], version.commit.author, _told(version, words)]
        for one in own or (None,):
            amounts = ["–", "–", "–", ""]
            if one is not None:
                amounts = [str(one.pictures), short(one.settled_micros), short(one.open_micros), one.currency]
            lines.append([*about[:3], *amounts, about[3]])
            about = ["", "", "", ""]
    header = ["commit", "date", "author", "pictures", "settled", "open", "", "what changed"]
    shown = table(header, lines, right={3, 4, 5})
    hidden = sum(version is not None for version, _, _ in rows) - limit
    more_text = (
        f"\n{counted(hidden, 'older change')} not shown; --limit {limit + hidden} lists all" if hidden > 0 else ""
    )
    return f"{clean(name)}\n\n{shown}{more_text}"


def _told(version: "Version", words: "Sequence[Word]") -> str:
    if version.content is None:
        return "gone"
    if not words:
        return version.commit.subject if version.is_first else "layout only"
    told = [f"{one.key}: {_value(one.before)} → {_value(one.after)}" for one in words[:3]]
    return "; ".join(told) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def _value(text: str | None) -> str:
    if text is None:
        return "–"
    return text if len(text) <= 40 else text[:39] + "…"


def _as_json(name: str, rows: "Sequence[_Row]") -> dict[str, Any]:
    """All changes, the newest first; money as text with six decimals."""
    from runner.money import exact

    return {
        "schema": "omixa.history/1",
        "recipe": name,
        "versions": [
            {
                "commit": None if version is None else version.commit.oid,
                "author": None if version is None else version.commit.author,
                "at": None if version is None else version.commit.at,
                "subject": None if version is None else version.commit.subject,
                "digest": None if version is None else version.digest,
                "changes": [{"key": one.key, "before": one.before, "after": one.after} for one in words],
                "bought": [
                    {
                        "digest": one.digest,
                        "currency": one.currency,
                        "runs": one.runs,
                        "pictures": one.pictures,
                        "settled": exact(one.settled_micros),
                        "open": exact(one.open_micros),
                        "first_day": one.first_day,
                        "last_day": one.last_day,
                    }
                    for one in own
                ],
            }
            for version, words, own in rows
        ],
    }
