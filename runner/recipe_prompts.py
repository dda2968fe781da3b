"""The prompts of a recipe: texts with their files read and their includes put in, and everything wrong with them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner import templates
from runner.contracts.contract import Contract
from runner.declared import Declared, absolute, is_path, real, shown, shown_path, similar, tables
from runner.diagnostics import Place, Problem
from runner.recipe_tables import DRAWN_PROMPT_PLACEHOLDERS, PROMPT_PLACEHOLDERS
from runner.tomlfile import Loc, TomlFile


class Prompt(Declared):
    """A named text, with placeholders and without includes: those are read when the recipe is.

    `file` is the project's path of the file it was read from, None when it stands in the recipe; `included` are those
    of the files that were put in.
    """

    name: str
    text: str
    file: str | None = None
    negative: str | None = None
    included: tuple[str, ...] = ()


def read_prompts(file: TomlFile, root: Path, contract: Contract | None) -> tuple[dict[str, Prompt], list[Problem]]:
    """The prompts with their files read and their includes put in, and everything wrong with them."""
    prompts: dict[str, Prompt] = {}
    problems: list[Problem] = []
    for name, table in tables(file.data, "prompts").items():
        included: set[str] = set()
        text, found = _prompt_text(file, ("prompts", name), table, root, contract, included)
        negative, more = _negative_text(file, ("prompts", name, "negative"), table, root, contract, included)
        problems += [*found, *more]
        source = table.get("file")
        shown_file = shown_path(absolute(root, source), root) if is_path(source) else None
        prompts[name] = Prompt(
            name=name, text=text, file=shown_file, negative=negative, included=tuple(sorted(included))
        )
    return prompts, problems


def _prompt_text(
    file: TomlFile, loc: Loc, table: Mapping[str, Any], root: Path, contract: Contract | None, included: set[str]
) -> tuple[str, list[Problem]]:
    if ("text" in table) == ("file" in table):
        both = "text" in table
        found = "both `text` and `file`" if both else "neither `text` nor `file`"
        message = f"prompt `{shown(loc[-1])}` has {found}, and needs exactly one"
        place = file.place((*loc, "file")) if both else file.place(loc)
        hint = "remove one of the two" if both else 'add `text = "…"`'
        return "", [Problem("text-and-file" if both else "missing-text", message, place, hint=hint)]
    key = "text" if "text" in table else "file"
    value = table[key]
    if not isinstance(value, str) or (key == "file" and not is_path(value)):
        return "", []  # reported as a wrong type or a bad path
    at = (*loc, key)
    if key == "text":
        text = templates.Text(value, root, lambda part: file.place_within(at, part))
        template, problems = templates.expanded(text, _placeholders(contract), root, included=included)
    else:
        template, problems = _from_file(file, at, value, root, _placeholders(contract), included)
    if not problems:
        problems = _length_problems(template, "prompt", contract, lambda: file.place(at, value=True))
    return template, problems


def _negative_text(
    file: TomlFile, loc: Loc, table: Mapping[str, Any], root: Path, contract: Contract | None, included: set[str]
) -> tuple[str | None, list[Problem]]:
    value = table.get("negative")
    if not isinstance(value, str):
        return None, []
    text = templates.Text(value, root, lambda part: file.place_within(loc, part))
    template, problems = templates.expanded(text, _placeholders(contract), root, included=included)
    if not problems:
        problems = _length_problems(template, "negative_prompt", contract, lambda: file.place(loc, value=True))
    return template, problems


def _placeholders(contract: Contract | None) -> tuple[str, ...]:
    """What can be filled into a prompt."""
    return DRAWN_PROMPT_PLACEHOLDERS if contract is not None and contract.pictures is None else PROMPT_PLACEHOLDERS


def _from_file(
    file: TomlFile, at: Loc, value: str, root: Path, placeholders: tuple[str, ...], included: set[str]
) -> tuple[str, list[Problem]]:
    path = absolute(root, value)
    where = shown_path(path, root)
    if not real(path).is_relative_to(real(root)):
        message = f"`{shown(value)}` is outside the project, so it is not read"
        hint = "what is sent to the endpoint should be reviewed with the recipe"
        return "", [Problem("outside-project", message, file.place(at, value=True), hint=hint)]
    try:
        text = templates.from_file(path, where)
    except templates.TextFault as fault:
        place = file.place(at, value=True)
        return "", [Problem("missing-prompt-file", f"`{where}` {fault}", place, label=similar(path))]
    template, problems = templates.expanded(text, placeholders, root, (path,), included=included)
    return template, [*templates.key_problems(text), *problems]


def prompt_problems(prompt: Prompt, contract: Contract, subject: str, place: Place) -> Iterator[Problem]:
    """Why a model would decline a prompt that the recipe has for other models, too, or could not fill it in."""
    for text, name in ((prompt.text, "prompt"), (prompt.negative, "negative_prompt")):
        if text is None:
            continue
        unfilled = sorted(templates.placeholders(text) - set(_placeholders(contract)))
        if unfilled:
            message = f"{subject} has `{{{unfilled[0]}}}`, and {contract.model} takes no picture that it could be of"
            yield Problem("unknown-placeholder", message, place)
        for problem in _length_problems(text, name, contract, lambda: place):
            yield replace(problem, message=f"{subject}: {problem.message}")


def _length_problems(template: str, name: str, contract: Contract | None, place: Callable[[], Place]) -> list[Problem]:
    """Too short or too long for the model, whatever the placeholders will hold.

    The place is looked for when there is something to say: that parses the file a second time.
    """
    literal = templates.fill(template, dict.fromkeys(PROMPT_PLACEHOLDERS, ""))
    if name == "prompt" and not template.strip():
        return [Problem("empty-prompt", "the prompt is empty", place())]
    field = contract.field(name) if contract is not None else None
    if contract is not None and field is None:
        return [Problem("unknown-option", f"{contract.model} has no `{name}`", place())]
    fault = field.fault(literal) if field is not None and literal else None
    return [Problem(fault.code, fault.message, place())] if fault is not None else []
