"""`omixa graph`: a recipe as a picture: which step takes what from where, and how many pictures that makes."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.plan import Plan
    from runner.recipe import Recipe
    from runner.settings import Settings

FORMATS = ("text", "mermaid", "svg")
_ENDINGS = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help="its name")
    parser.add_argument(
        "--format", choices=FORMATS, help="text, mermaid or svg (default: by the ending of --out, else text)"
    )
    parser.add_argument("--plan", action="store_true", help="also what each step has paid for, and would buy")
    parser.add_argument("--out", metavar="FILE", help="write it to a file instead of stdout")


def run(
    *,
    project: str | None,
    recipe: str,
    format: str | None,  # noqa: A002 - named as the argument is
    plan: bool,
    out: str | None,
    **_: object,
) -> int:
    """Draw the recipe; opens no socket, and writes nothing but the file of --out. Raises Problems with it."""
    from pathlib import Path

    from runner import items
    from runner.commands import graph_formats
    from runner.diagnostics import Problems
    from runner.errors import DiskError, ExitCode
    from runner.project import find_root, load

    settings, (found,) = load(find_root(project), [recipe])
    wants = items.Wants(found, settings)
    counts = {step.name: 0 for step in found.steps}
    for batch in wants.batches():
        for one in batch:
            counts[one.step.name] += 1
    problems = wants.problems()
    if problems:
        raise Problems(problems)
    remarks = _remarks(found, settings) if plan else {}
    wanted = format or _ENDINGS.get(Path(out or "").suffix.lower(), "text")
    text = graph_formats.WRITERS[wanted](graph_formats.graph_of(found, settings.root, counts, remarks))
    if out is None:
        print(text, end="")
        return int(ExitCode.OK)
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(f"`{out}` cannot be written: {error.strerror or error}") from None
    return int(ExitCode.OK)


def _remarks(recipe: "Recipe", settings: "Settings") -> "Mapping[str, str]":
    """What each step has paid for and would buy, in words, by its name."""
    from runner import jobs, windows
    from runner.ledger.database import open_database
    from runner.settings import ledger_path

    with open_database(ledger_path(settings), create=False) as database:
        made = jobs.make_plan(
            recipe, settings, database, jobs.results(settings), at=windows.clock(), wishes=jobs.Wishes()
        )
    return {part.name: _remark(made, part.name) for part in made.parts}


def _remark(made: "Plan", name: str) -> str:
    from runner.money import show

    (part,) = (part for part in made.parts if part.name == name)
    paid, buys = made.paid(name), made.buys[name]
    many = made.items.how_many
    shared = many("restore", step=name) - many("restore", step=name, alone=True)
    told = [f"{paid} paid"] if paid else []
    if buys and part.price.expected_micros is not None:
        told.append(f"{buys} to buy, {show(buys * part.price.expected_micros, made.currency)}")
    if shared:
        told.append(f"{shared} the same as others")
    held, unsuitable = many("hold", step=name), many("unsuitable", step=name)
    told += [f"{held} held back"] if held else []
    told += [f"{unsuitable} unsuitable"] if unsuitable else []
    return "; ".join(told) or "nothing to do"
