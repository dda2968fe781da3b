"""Both sides of a comparison, read: settings, recipes, and where their pictures are or why they are not known."""

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.declared import absolute, is_path, real
from runner.diagnostics import Problem, Problems
from runner.known_models import FOLDER as CONTRACTS
from runner.project import load_all
from runner.recipe import FOLDER, Recipe
from runner.revisions import PICTURES, Entry, Repository, Revision, Store, Tree, above
from runner.settings import Settings
from runner.settings_tables import FILE_NAME
from runner.templates import TEXT_BYTES_MAX
from runner.tomlfile import BYTES_MAX
from runner.tomlfile import read as read_toml


@dataclass(slots=True)
class Side:
    """One state of a project. `root`: where its files are to be read. `settings` None: omixa.toml has problems.

    `unknown`: source folders (absolute) whose pictures cannot be counted, and why. `commit` None: no commit.
    """

    name: str
    root: Path
    commit: str | None = None
    settings: Settings | None = None
    recipes: Sequence[Recipe] = ()
    problems: Sequence[Problem] = ()
    unknown: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self) -> "Side":
        """The side, with what its files say."""
        if (self.root / FILE_NAME).is_file():
            self.settings, self.recipes, self.problems = load_all(self.root, [])
        else:
            self.notes.append(f"{self.name} has no {FILE_NAME}: everything is new")
        return self


def of_folder(folder: Path, name: str) -> Side:
    """A project in a folder, as it is."""
    return Side(name, folder).read()


def of_revisions(before: Revision, after: Revision | None, repository: Repository, place: Path) -> tuple[Side, Side]:
    """Two states that git has, laid out below `place`; `after` None: the working tree, as it is.

    Pictures that neither has in git are those of the working tree, for both. Raises DiskError and UsageError.
    """
    project = repository.project
    store = Store(repository, place)
    trees = [before.tree, repository.tracked() if after is None else after.tree]
    base = _laid_out(before, place / "before", store)
    named = {_relative(folder, base.root) for folder in _folders(base.root)}
    _pictures(base, trees[0], trees[1], project, store, named)
    if after is None:
        return base.read(), of_folder(project, "the working tree")
    head = _laid_out(after, place / "after", store)
    _pictures(head, trees[1], trees[0], project, store, named)
    return base.read(), head.read()


def _laid_out(revision: Revision, root: Path, store: Store) -> Side:
    """Everything but pictures, which are many: omixa.toml, recipes, contracts, and what may be a prompt file."""
    root.mkdir()
    store.lay_out({path: one for path, one in revision.tree.items() if _is_text(path, one)}, root)
    return Side(revision.name, root, revision.commit)


def _is_text(path: str, entry: Entry) -> bool:
    if not entry.is_file or path.lower().endswith(PICTURES):
        return False
    is_toml = path == FILE_NAME or (posixpath.dirname(path) in (FOLDER, CONTRACTS) and path.endswith(".toml"))
    return is_toml or entry.size <= TEXT_BYTES_MAX


def _folders(root: Path) -> list[Path]:
    """Every source folder that a recipe names, absolute; the shorter first, because one may lie in another."""
    found = set()
    for path in (root / FOLDER).glob("*.toml"):
        try:
            if path.stat().st_size > BYTES_MAX:
                continue
            data = read_toml(path, path.name, root=root).data
        except (OSError, Problems):
            continue
        for source in [one for table in (data, *_tables(data, "steps")) for one in _tables(table, "sources")]:
            folder = source.get("folder")
            if is_path(folder):
                found.add(absolute(root, folder))
    return sorted(found, key=lambda folder: (len(folder.parts), folder))


def _tables(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The tables of an array of a recipe that nobody has checked."""
    found = data.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _relative(folder: Path, root: Path) -> str:
    """A folder as both sides call it: relative to the project where it is inside, `.` the project itself."""
    return os.path.relpath(folder, root) if folder.is_relative_to(root) else folder.as_posix()


def _pictures(side: Side, own: Tree, other: Tree, project: Path, store: Store, named: set[str]) -> None:
    """Lay out the pictures of a side, link to those of the working tree, or say why they cannot be counted.

    `named`: the folders that the base names. A change may not make us look where the base does not.
    """
    for folder in _folders(side.root):
        name = _relative(folder, side.root)
        if not folder.is_relative_to(side.root):
            if name not in named:
                side.unknown[folder] = f"`{name}` is outside the project, and only the change names it"
            continue
        why_not = next(iter(_odd(name, (own, other))), None)
        if why_not is not None:
            side.unknown[folder] = why_not
        elif any(True for _ in _below(own, name)):
            store.lay_out(dict(_below(own, name)), side.root)
        elif not any(True for _ in _below(other, name)):
            _from_working_tree(side, folder, project, name, named)
        if not os.path.lexists(folder):
            folder.mkdir(parents=True, exist_ok=True)


def _from_working_tree(side: Side, folder: Path, project: Path, name: str, named: set[str]) -> None:
    here = project / name
    if not here.is_dir():
        side.unknown[folder] = f"`{name}` is neither in git nor here"
    elif not real(here).is_relative_to(real(project)) and name not in named:
        side.unknown[folder] = f"`{name}` leads out of the project, and only the change names it"
    elif not os.path.lexists(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(here)
        side.notes.append(f"`{name}` is not in git: both sides are counted with the pictures that are here now")


def _odd(name: str, trees: Sequence[Tree]) -> Iterator[str]:
    """Why a folder cannot be looked at by what git has in its way."""
    for tree in trees:
        for path in above(name):
            entry = tree.get(path)
            if entry is not None and not entry.is_file:
                what = "a link in git, which is not followed" if entry.mode == "120000" else "a submodule"
                yield f"`{path}` is {what}"


def _below(tree: Tree, name: str) -> Iterator[tuple[str, Entry]]:
    start = "" if name == "." else f"{name}/"
    return ((path, one) for path, one in tree.items() if path.startswith(start) and one.is_file)


def by_name(side: Side) -> Mapping[str, Recipe]:
    """The side's recipes by their names."""
    return {recipe.name: recipe for recipe in side.recipes}
