"""What a recipe wants: each picture × prompt × preset of each step (some models take no picture), and where it goes.

The pictures of a step are those in folders, or the results of an earlier step: where those will be is known before they
are bought, so that all results of a recipe can be told apart beforehand.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from runner import images
from runner.declared import PROBLEMS_MAX, shown_path
from runner.diagnostics import Place, Problem, Problems
from runner.recipe import Recipe, Source, Step
from runner.recipe_tables import EXTENSIONS
from runner.settings import Settings, ledger_path
from runner.templates import fill
from runner.tomlfile import Loc
from runner.tomlfile import read as read_toml

COMPONENT_BYTES_MAX = 200  # file systems allow 255; a temporary name beside the file needs some of it
PATH_BYTES_MAX = 3000  # systems allow 4096
# Of one recipe: more pictures than anybody pays for in one go, and what a plan in memory can hold.
WANTED_MAX = 200_000
# What the runner keeps beside the ledger; pictures in there are no sources.
STATE_FOLDERS = ("spool", "results", "raw", "work", "owners")

# Control characters, line separators, the marks that make a name read backwards, and what nobody sees: not the
# joiners, which emoji and scripts are written with. Then what some file system reads as more than a name.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    '\U000e0000-\U000e007f<>:"|?*\\\\]'
)
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])[ .]*(\.|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One picture to buy. `rel` is the source's path relative to `source_folder`, with forward slashes.

    `source` and `output` are absolute; nothing is said about whether the output exists already. `source` and
    `source_folder` are None, and `rel` empty, where the model takes no source picture. Where the step takes what an
    earlier one makes, `source` is where that result will stand.
    """

    source: Path | None
    rel: str
    source_folder: Path | None
    prompt: str
    preset: str
    output: Path
    step: Step


def expand(recipe: Recipe, settings: Settings) -> tuple[list[Wanted], list[Problem]]:
    """All that the recipe wants, step by step in the order of their sources, and every problem with where results go.

    Reads folders, no pictures. Pictures in output folders and in the project's state folder are no sources.
    """
    wanted: list[Wanted] = []
    problems: list[Problem] = []
    made: dict[str, list[Wanted]] = {}
    home = ledger_path(settings).parent
    outputs = [step.output.folder for step in recipe.steps]
    leave_out = (*outputs, settings.root / ".omixa", *(home / name for name in STATE_FOLDERS))
    for step in recipe.steps:
        own = made[step.name] = []
        for position, source in enumerate(step.sources):
            for folder, rel in _pictures(recipe, step, source, made, leave_out):
                picture = None if folder is None else folder / rel
                if picture is not None and not (_is_recordable(rel) and _is_recordable(str(folder))):
                    problems.append(_bad_file_name(recipe, settings, step, position, picture))
                    continue
                own += _of_picture(recipe, step, source, folder, picture, rel)
                if len(wanted) + len(own) > WANTED_MAX:
                    return [], [_too_many(recipe, settings)]
        wanted += own
    problems = problems[:PROBLEMS_MAX] or list(islice(_too_long(recipe, settings, wanted), 1))
    if not problems:
        problems = [*_collisions(recipe, settings, wanted), *_overwrites(recipe, settings, wanted)]
    return wanted, problems


def all_problems(recipes: Sequence[Recipe], settings: Settings) -> list[Problem]:
    """Results that would be written to the same file or over a source, within a recipe or by two of them."""
    problems: list[Problem] = []
    results = []
    for recipe in recipes:
        wanted, found = expand(recipe, settings)
        problems += found
        results.append((recipe, wanted))
    return problems + clashes(results, settings)


def clashes(results: Iterable[tuple[Recipe, Sequence[Wanted]]], settings: Settings) -> list[Problem]:
    """Results of different recipes that would be written to the same file."""
    first: dict[str, tuple[Recipe, Wanted]] = {}
    found: dict[tuple[str, str], Problem] = {}
    for recipe, wanted in results:
        for one in wanted:
            other, _ = first.setdefault(_folded(one.output), (recipe, one))
            pair = (other.name, recipe.name)
            if other is not recipe and pair not in found:
                found[pair] = Problem(
                    "output-collision",
                    f"recipes `{other.name}` and `{recipe.name}` would both write "
                    f"`{shown_path(one.output, settings.root)}`",
                    _place(recipe, settings, recipe.loc(one.step, "output", "folder")),
                    hint="give one of them another `folder`, or add `{recipe}` to its `name`",
                )
    return list(found.values())


def clashes_of(recipes: Sequence[Recipe], everyone: Sequence[Recipe], settings: Settings) -> list[Problem]:
    """Results of `recipes` that would be written to the same file as a result of another recipe of the project."""
    wanted = {one.name: (one, expand(one, settings)[0]) for one in (*everyone, *recipes)} if len(everyone) > 1 else {}
    names = {recipe.name for recipe in recipes}
    found: list[Problem] = []
    for name in names & wanted.keys():
        for other in wanted.keys() - {name}:
            if other not in names or other < name:
                found += clashes([wanted[other], wanted[name]], settings)
    return found


def _pictures(
    recipe: Recipe, step: Step, source: Source, made: Mapping[str, Sequence[Wanted]], leave_out: Sequence[Path]
) -> Iterator[tuple[Path | None, str]]:
    """Each picture that a source stands for: its folder, and its path in it, posix; None: there is none."""
    if step.origin is not None:
        folder = recipe.step(step.origin).output.folder
        yield from ((folder, one.output.relative_to(folder).as_posix()) for one in made[step.origin])
    elif source.folder is None:
        yield None, ""
    else:
        found = images.found(source.folder, source.include, source.exclude, leave_out=leave_out)
        yield from ((source.folder, rel) for rel in found)


def _of_picture(
    recipe: Recipe, step: Step, source: Source, folder: Path | None, picture: Path | None, rel: str
) -> Iterator[Wanted]:
    for prompt in source.prompts:
        for preset in source.presets:
            output = step.output.folder / _output_name(recipe, step, folder, rel, prompt, preset)
            yield Wanted(picture, rel, folder, prompt, preset, output, step)


def _output_name(recipe: Recipe, step: Step, folder: Path | None, rel: str, prompt: str, preset: str) -> str:
    """The result's path in the output folder: the template filled in, every part of it a safe name."""
    values = _placeholders(recipe, folder, rel, prompt, preset)
    # `.` is what `{dir}` is for a picture directly in the source folder; empty parts are dropped with it.
    parts = [part for part in fill(step.output.name, values).split("/") if part not in ("", ".")]
    extension = EXTENSIONS[step.output.format]
    return "/".join([*map(_safe_folder, parts[:-1]), _safe(parts[-1] if parts else "_", extension)])


def _placeholders(recipe: Recipe, folder: Path | None, rel: str, prompt: str, preset: str) -> dict[str, str]:
    if folder is None:
        return {"prompt": prompt, "preset": preset, "recipe": recipe.name}
    above, _, name = rel.rpartition("/")
    # As pathlib has it: a dot at the beginning or at the end of a name begins no suffix.
    dot = name.rfind(".")
    is_suffixed = 0 < dot < len(name) - 1
    return {
        "stem": name[:dot] if is_suffixed else name,
        "suffix": name[dot + 1 :] if is_suffixed else "",
        "dir": above or ".",
        "parent": above.rpartition("/")[2] or folder.name,
        "prompt": prompt,
        "preset": preset,
        "recipe": recipe.name,
    }


def _safe(part: str, extension: str = "") -> str:
    """One part of a path that every file system takes, and that no terminal or file manager misreads."""
    part = _UNSAFE.sub("_", part).rstrip(". ") or "_"
    if _DEVICE.match(part):
        part = "_" + part
    room = COMPONENT_BYTES_MAX - len(extension)
    return part.encode()[:room].decode(errors="ignore").rstrip(". ") + extension


# Pictures come folder by folder, and their results go there too.
_safe_folder = lru_cache(maxsize=64)(_safe)


def _folded(path: Path | str) -> str:
    """The same for paths that some file system takes for the same file.

    Upper and lower case, composed and decomposed letters, and characters that are not shown (HFS+ leaves them out).
    """
    text = str(path)
    if text.isascii():
        return text.casefold()
    shown = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
    # Folding can leave what folds and composes again, so until nothing changes: two rounds, for all of Unicode.
    for _ in range(2):
        shown = unicodedata.normalize("NFC", shown.casefold())
    return shown


def _collisions(recipe: Recipe, settings: Settings, wanted: Sequence[Wanted]) -> Iterator[Problem]:
    """One problem for each file that two wanted results would be written to."""
    first: dict[str, Wanted] = {}
    reported: set[str] = set()
    for one in wanted:
        key = _folded(one.output)
        other = first.setdefault(key, one)
        if other is not one and key not in reported:
            reported.add(key)
            yield _collision(recipe, settings, other, one)


def _collision(recipe: Recipe, settings: Settings, first: Wanted, second: Wanted) -> Problem:
    root = settings.root
    output = shown_path(first.output, root)
    if (
        first.source is not None
        and (first.source, first.step) == (second.source, second.step)
        and (first.prompt, first.preset) == (second.prompt, second.preset)
    ):
        message = f"`{shown_path(first.source, root)}` is wanted twice, by two of the sources, as `{output}`"
        hint = "leave it out of one of them with `exclude`"
    else:
        message = f"two results would be written to `{output}`: {_told(first, second, root)}"
        apart = _apart(recipe, first, second)
        hint = f"add `{{{apart}}}` to `name` in `[output]`" if apart else "move one of them to a recipe of its own"
        if first.step is not second.step:
            message += f", of the steps `{first.step.name}` and `{second.step.name}`"
            hint = "give one of the steps another `folder`"
    return Problem("output-collision", message, _place(recipe, settings, _name_of(recipe, second)), hint=hint)


def _name_of(recipe: Recipe, one: Wanted) -> Loc:
    return recipe.loc(one.step, "output", "name")


def _told(first: Wanted, second: Wanted, root: Path) -> str:
    """The two pictures, with their prompt or preset where that is the difference."""
    names = [f"`{shown_path(one.source, root)}`" if one.source else "one" for one in (first, second)]
    if first.source == second.source:
        key = "prompt" if first.prompt != second.prompt else "preset"
        names = [
            f"{name} with {key} `{getattr(one, key)}`" if getattr(one, key) else f"{name} without {key}"
            for name, one in zip(names, (first, second), strict=True)
        ]
    return " and ".join(names)


def _apart(recipe: Recipe, first: Wanted, second: Wanted) -> str | None:
    """The placeholder that would tell the two apart, or None."""
    ours, theirs = (
        _placeholders(recipe, one.source_folder, one.rel, one.prompt, one.preset) for one in (first, second)
    )
    used = second.step.output.name
    different = [name for name in ours if ours[name].casefold() != theirs[name].casefold()]
    return next((name for name in different if f"{{{name}}}" not in used), None)


def _overwrites(recipe: Recipe, settings: Settings, wanted: Sequence[Wanted]) -> Iterator[Problem]:
    """A result that would replace a source: possible only where a folder under the output folder is a link."""
    pictures = [one.source for one in wanted if one.source is not None and one.step.origin is None]
    places = lru_cache(maxsize=1024)(os.path.realpath)
    above = {_folded(places(folder)) for folder in {os.path.split(picture)[0] for picture in pictures}}
    if above.isdisjoint(_folded(places(folder)) for folder in {os.path.split(one.output)[0] for one in wanted}):
        return  # as it nearly always is; otherwise each has to be compared

    def place(path: Path) -> str:
        folder, name = os.path.split(path)
        return _folded(os.path.join(places(folder), name))  # noqa: PTH118 - half the time of a plan's, as a Path

    sources = {place(picture): picture for picture in pictures}
    for one in wanted:
        source = sources.get(place(one.output))
        if source is not None:
            message = f"the result `{shown_path(one.output, settings.root)}` would replace the source "
            message += f"`{shown_path(source, settings.root)}`"
            hint = "a folder under the output folder is a link to the sources: remove the link, or choose another"
            where = _place(recipe, settings, recipe.loc(one.step, "output", "folder"))
            yield Problem("overwrites-source", message, where, hint=hint)
            return


def _too_many(recipe: Recipe, settings: Settings) -> Problem:
    message = f"the recipe wants more than {WANTED_MAX} pictures: its sources × their prompts × their presets"
    hint = "narrow `include`, or write several recipes"
    loc = recipe.loc(recipe.steps[0], "sources")[:1]
    return Problem("too-many-items", message, _place(recipe, settings, loc), hint=hint)


def _too_long(recipe: Recipe, settings: Settings, wanted: Sequence[Wanted]) -> Iterator[Problem]:
    """A result whose path no system takes: said before it is paid for."""
    for one in wanted:
        if len(str(one.output).encode()) > PATH_BYTES_MAX:
            message = f"the path of the result of `{one.rel[:100]}…` has more than {PATH_BYTES_MAX} bytes"
            yield Problem("output-too-long", message, _place(recipe, settings, _name_of(recipe, one)))


def _is_recordable(name: str) -> bool:
    """Whether the name is text: file systems allow any bytes, and the ledger and reports do not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad_file_name(recipe: Recipe, settings: Settings, step: Step, position: int, picture: Path) -> Problem:
    name = picture.name.encode(errors="surrogateescape").decode(errors="replace")
    place = _place(recipe, settings, recipe.loc(step, "sources", position, "folder"))
    message = f"the name of the picture `{name}` is not UTF-8, so it cannot be recorded"
    return Problem("bad-file-name", message, place, hint="rename the file, or leave it out with `exclude`")


def _place(recipe: Recipe, settings: Settings, loc: Loc) -> Place:
    """Where the recipe says it. Read again, because only a problem needs it."""
    shown = shown_path(recipe.path, settings.root)
    try:
        return read_toml(recipe.path, shown).place(loc, value=True)
    except Problems:
        return Place(shown)
