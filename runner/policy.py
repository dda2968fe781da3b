"""The rules of `[policy]` in omixa.toml: what recipes must keep to. Each broken one is a Problem at its place.

`omixa check` asks what the files say (`problems`), a plan also what would really be sent (`plan_problems`), and a run
whether it is committed (`uncommitted`). What only a change can break, `omixa diff` asks (runner/comparison.py).
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runner.declared import absolute, real, shown_path
from runner.diagnostics import Place, Problem, Problems
from runner.identity import GitState
from runner.money import show
from runner.plan import Plan
from runner.recipe import Recipe
from runner.settings import Policy, Settings, Workspace
from runner.settings_tables import FILE_NAME
from runner.tomlfile import Loc
from runner.tomlfile import read as read_toml


def problems(recipes: Sequence[Recipe], settings: Settings) -> list[Problem]:
    """Every rule that omixa.toml or one of the recipes breaks by what it says. Reads no pictures."""
    found = [
        problem
        for workspace in settings.workspaces.values()
        for model, ceiling in workspace.ceilings.items()
        for problem in price_problems(settings.policy, workspace, model, ceiling, settings.root)
    ]
    for recipe in recipes:
        found += recipe_problems(settings.policy, recipe, settings.root)
    return found


def recipe_problems(policy: Policy, recipe: Recipe, root: Path, *, links: bool = True) -> list[Problem]:
    """The rules that a recipe breaks: labels, folders, words in its prompts. `links`: follow those of the disk."""
    return [
        *_label_problems(policy, recipe, root),
        *_folder_problems(policy, recipe, root, links=links),
        *(
            _word_problem(word, f"prompt `{name}`", _place(recipe, root, _prompt_loc(recipe, name)))
            for name, prompt in recipe.prompts.items()
            for word in words_in(prompt.text, policy.forbidden_words)
        ),
    ]


def price_problems(
    policy: Policy, workspace: Workspace, model: str, ceiling_micros: int, root: Path
) -> Iterator[Problem]:
    """A request that may cost more than the policy lets one picture cost."""
    most = policy.max_price_micros
    if most is None or ceiling_micros <= most:
        return
    unit = workspace.unit
    yield Problem(
        "policy-price",
        f"a picture of {model} may cost {show(ceiling_micros, unit)} in workspace {workspace.name}, "
        f"and the policy allows {show(most, unit)}",
        _place_in(root / FILE_NAME, root, ("workspaces", workspace.name, "ceilings", model)),
        hint="lower the ceiling, or raise `max_price` in [policy]",
    )


def plan_problems(made: Plan, recipe: Recipe, settings: Settings) -> list[Problem]:
    """The rules that a plan breaks: those of `problems`, and in the prompts as they would be sent.

    File names fill placeholders and sidecars replace prompts, so that only the plan knows them; the price is the
    declared ceiling, or what the ledger has seen when that is more.
    """
    policy = settings.policy
    found = recipe_problems(policy, recipe, settings.root)
    workspace = settings.workspaces[recipe.workspace]
    ceilings = {part.model: part.price.ceiling_micros for part in made.parts}
    for model, ceiling in ceilings.items():
        if ceiling is not None:
            found += price_problems(policy, workspace, model, ceiling, settings.root)
    if policy.forbidden_words and not any(problem.code == "policy-word" for problem in found):
        asked: str | None = None
        for item in made.items:
            prompt = item.draft.prompt
            words = [] if prompt == asked else words_in(prompt, policy.forbidden_words)
            asked = prompt
            if words:
                subject = f"the prompt of `{item.draft.source_path}`"
                found.append(_word_problem(words[0], subject, Place(shown_path(recipe.path, settings.root))))
                break
    return found


def uncommitted(recipe: Recipe, settings: Settings, state: Callable[[Path], GitState]) -> list[Problem]:
    """Each file that says what to buy and is not as git has it. `state` tells of one file."""
    files = [settings.root / FILE_NAME, recipe.path]
    files += [settings.root / step.contract.file for step in recipe.steps if step.contract.file is not None]
    files += [settings.root / prompt.file for prompt in recipe.prompts.values() if prompt.file is not None]
    files += [settings.root / name for prompt in recipe.prompts.values() for name in prompt.included]
    found = []
    for file in dict.fromkeys(files):
        git = state(file)
        if git.commit is None or git.dirty is not False:
            name = shown_path(file, settings.root)
            why = "there is no commit to be found" if git.commit is None else "it differs from the commit"
            found.append(
                Problem(
                    "policy-uncommitted",
                    f"`{name}` is not committed ({why}), and the policy buys only with what is",
                    Place(name),
                    hint="commit it, so that the ledger can name what was bought by; nothing was sent",
                )
            )
    return found


def words_in(text: str, forbidden: Sequence[str]) -> list[str]:
    """The forbidden words that a text has as whole words, whatever their case, accents' spelling and spacing."""
    if not forbidden:
        return []
    plain = _plain(text)
    return [word for word in forbidden if re.search(rf"(?<!\w){re.escape(_plain(word))}(?!\w)", plain)]


def is_allowed(folder: Path, policy: Policy, root: Path, *, links: bool) -> bool:
    """Whether a folder lies in one that the policy allows. `links`: also after those of the disk were followed."""
    if not policy.allowed_folders:
        return True
    allowed = [absolute(root, text) for text in policy.allowed_folders]
    inside = any(folder.is_relative_to(one) for one in allowed)
    return inside and (not links or any(real(folder).is_relative_to(real(one)) for one in allowed))


def _plain(text: str) -> str:
    """One spelling for texts that read alike: compatibility forms, case, what is not shown, and runs of space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())


def _label_problems(policy: Policy, recipe: Recipe, root: Path) -> Iterator[Problem]:
    for name in policy.required_labels:
        if name not in recipe.labels:
            yield Problem(
                "policy-label",
                f"the policy wants a label `{name}`, and the recipe has none",
                _place(recipe, root, ("labels",)),
                hint=f'add `{name} = "…"` to [labels]',
            )


def _folder_problems(policy: Policy, recipe: Recipe, root: Path, *, links: bool) -> Iterator[Problem]:
    places: list[tuple[Path, Loc]] = [
        (source.folder, recipe.loc(step, "sources", at, "folder"))
        for step in recipe.steps
        for at, source in enumerate(step.sources)
        if source.folder is not None
    ]
    places += [(step.output.folder, recipe.loc(step, "output", "folder")) for step in recipe.steps]
    for folder, loc in places:
        if not is_allowed(folder, policy, root, links=links):
            listed = ", ".join(f"`{name}`" for name in policy.allowed_folders[:10])
            yield Problem(
                "policy-folder",
                f"the folder `{shown_path(folder, root)}` lies in none that the policy allows",
                _place(recipe, root, loc),
                hint=f"allowed: {listed}",
            )


def _word_problem(word: str, subject: str, place: Place) -> Problem:
    return Problem("policy-word", f"{subject} has `{word}`, which the policy forbids", place, hint="leave it out")


def _prompt_loc(recipe: Recipe, name: str) -> Loc:
    return ("prompts", name, "file" if recipe.prompts[name].file is not None else "text")


def _place(recipe: Recipe, root: Path, loc: Loc) -> Place:
    return _place_in(recipe.path, root, loc)


def _place_in(path: Path, root: Path, loc: Loc) -> Place:
    # Read again, because only a problem needs it.
    shown = shown_path(path, root)
    try:
        return read_toml(path, shown).place(loc, value=True)
    except Problems:
        return Place(shown)
