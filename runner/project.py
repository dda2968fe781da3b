"""The project: the folder with omixa.toml, and everything that its files declare."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from runner import known_models
from runner import recipe as recipes
from runner import settings as settings_file
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract
from runner.diagnostics import Problem, Problems, did_you_mean
from runner.errors import UsageError
from runner.recipe import Recipe
from runner.settings import Settings
from runner.settings_tables import FILE_NAME

RECIPES_MAX = 1000


def find_root(start: str | None) -> Path:
    """The project's folder, absolute: `start`, or the working folder, or the nearest one above with omixa.toml.

    Raises UsageError when there is none.
    """
    folder = Path(start) if start is not None else Path.cwd()
    if start is not None and not folder.is_dir():
        raise UsageError(f"there is no folder `{start}`")
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate
    raise UsageError(f"there is no {FILE_NAME} in `{folder}` or any folder above", "start a project with `omixa init`")


def recipe_paths(root: Path, names: Sequence[str]) -> list[Path]:
    """The files of the named recipes, in the order named and each once; all of `recipes/`, sorted, without names.

    A name is `restore-scans`, `restore-scans.toml` or `recipes/restore-scans.toml`. Raises UsageError, also for a
    folder of more than RECIPES_MAX recipes.
    """
    folder = root / recipes.FOLDER
    found = list(islice(folder.glob("*.toml"), RECIPES_MAX + 1))
    if len(found) > RECIPES_MAX:
        raise UsageError(f"{recipes.FOLDER}/ has more than {RECIPES_MAX} recipes", "split them into several projects")
    known = {path.stem: path for path in sorted(found)}
    if not names:
        return list(known.values())
    return list(dict.fromkeys(_recipe_path(root, name, known) for name in names))


def _recipe_path(root: Path, name: str, known: dict[str, Path]) -> Path:
    stem = Path(name).name.removesuffix(".toml")
    # A path is one as seen from the project or from the working folder; a bare name is the recipe's.
    if "/" not in name and stem in known:
        return known[stem]
    if "/" in name and stem in known and known[stem].resolve() in ((root / name).resolve(), Path(name).resolve()):
        return known[stem]
    closest = did_you_mean(stem, known)
    hint = f"did you mean `{closest}`?" if closest else _known(known)
    raise UsageError(f"there is no recipe `{name}` in {recipes.FOLDER}/", hint)


def _known(known: dict[str, Path]) -> str:
    if not known:
        return f"write one: {recipes.FOLDER}/NAME.toml"
    listed = ", ".join(f"`{name}`" for name in list(known)[:10])
    return f"known: {listed}" + (", …" if len(known) > 10 else "")


def contracts(start: str | None) -> dict[str, Contract]:
    """Every model that is known here: those of the package, and those of the project, where there is one.

    Raises Problems with everything wrong in the project's contract files, UsageError where `start` names no project.
    """
    try:
        root = find_root(start)
    except UsageError:
        if start is not None:
            raise
        return dict(CONTRACTS)
    known, problems = known_models.load_all(root)
    if problems:
        raise Problems(problems)
    return {model: contract for model, contract in known.items() if contract is not None}


def load(root: Path, names: Sequence[str]) -> tuple[Settings, list[Recipe]]:
    """omixa.toml with the project's contracts, and the named recipes (all without names).

    Raises Problems with everything wrong in any of them.
    """
    settings, found, problems = load_all(root, names)
    if problems:
        raise Problems(problems)
    assert settings is not None
    return settings, found


def load_all(root: Path, names: Sequence[str]) -> tuple[Settings | None, list[Recipe], list[Problem]]:
    """As `load`, but returns what could be loaded beside the problems; omixa.toml's come first, then contracts'."""
    paths = recipe_paths(root, names)
    settings, known, problems = settings_file.load_with_names(root)
    loaded: list[Recipe] = []
    for path in paths:
        one, more = recipes.read(path, known)
        problems = [*problems, *more]
        if one is not None:
            loaded.append(one)
    return settings, loaded, problems
