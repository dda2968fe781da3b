"""`omixa check`: every problem of omixa.toml and the recipes, at once."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.diagnostics import Problem

FORMATS = ("text", "json", "github", "gitlab", "sarif", "junit")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="names of recipes (default: all)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text for people, json, annotations for GitHub, Code Quality for GitLab, SARIF, or JUnit (default: text)",
    )


def run(*, project: str | None, recipes: list[str], format: str, **_: object) -> int:  # noqa: A002
    """Load everything, see what the recipes would write, and show every problem. Opens no socket."""
    from runner import items, policy
    from runner.errors import ExitCode
    from runner.project import find_root, load_all, recipe_paths

    root = find_root(project)
    paths = recipe_paths(root, recipes)
    settings, loaded, problems = load_all(root, recipes)
    if settings is not None:
        problems = [*problems, *policy.problems(loaded, settings), *items.all_problems(loaded, settings)]
        if settings.reports:
            from runner import mailing  # imports the ledger; most projects mail no report

            problems += mailing.problems(settings)
    _show(format, problems, root, [path.stem for path in paths])
    failed = any(problem.severity == "error" for problem in problems)
    return int(ExitCode.INVALID if failed else ExitCode.OK)


def _show(format_name: str, problems: "Sequence[Problem]", root: "Path", recipes: "Sequence[str]") -> None:
    import sys

    if format_name == "text":
        from runner.diagnostics import render

        summary = f"{_count(len(recipes), 'recipe')}, {_count(len(problems), 'problem')}"
        if problems:
            print(render(problems), file=sys.stderr)
            print(f"\n{summary}", file=sys.stderr)
        else:
            print(summary)
        return
    from runner.commands import problem_formats

    match format_name:
        case "json":
            print(problem_formats.as_json(problems, recipes))
        case "github":
            sys.stdout.write(problem_formats.as_github(problems, root))
        case "gitlab":
            print(problem_formats.as_gitlab(problems, root))
        case "junit":
            from runner.recipe import FOLDER
            from runner.settings_tables import FILE_NAME

            files = [FILE_NAME, *(f"{FOLDER}/{name}.toml" for name in recipes)]
            print(problem_formats.as_junit(problems, root, files))
        case _:
            print(problem_formats.as_sarif(problems, root))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
