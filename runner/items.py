"""What a recipe wants: each picture × prompt × preset of each step (some models take no picture), and where it goes.

The pictures of a step are those in folders, or the results of an earlier step: where those will be is known before they
are bought, so that all results of a recipe can be told apart beforehand.
"""

import os
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path

from runner import images
from runner.declared import PROBLEMS_MAX, shown_path
from runner.diagnostics import Place, Problem, Problems
from runner.errors import DiskError
from runner.recipe import Recipe, Source, Step
from runner.recipe_tables import EXTENSIONS
from runner.settings import Settings, ledger_path
from runner.templates import fill
from runner.tomlfile import Loc
from runner.tomlfile import read as read_toml

COMPONENT_BYTES_MAX = 200  # file systems allow 255; a temporary name beside the file needs some of it
PATH_BYTES_MAX = 3000  # systems allow 4096
# Of one recipe: more pictures than anybody pays for in one go. It takes eight bytes for each to find two that would be
# written to the same file.
WANTED_MAX = 10_000_000
# How many are held at once by who needs all of them together (`expand`): some kilobytes for each.
HELD_MAX = 200_000
# So many are looked at together; what is made of them, in later steps, comes on top.
BATCH = 1_000
_PARTS = 256  # of the numbers that stand for output paths: a part of them is sorted at a time
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


class Wants:
    """All that a recipe wants, batch after batch, and every problem with where results go. Reads folders, no pictures.

    Pictures in output folders and in the project's state folder are no sources. Where a problem is found on the way,
    no further batch comes; what is wrong is known when the last one is through.
    """

    def __init__(
        self, recipe: Recipe, settings: Settings, *, pass_over: Callable[[str], images.Listing | None] | None = None
    ) -> None:
        """`pass_over`: as of `images.found`; what is wanted of those pictures comes in no batch."""
        self.recipe, self.settings, self._pass_over = recipe, settings, pass_over
        self.paths = _Paths()
        self._bad: list[Problem] = []
        self._long: list[Problem] = []
        self._is_too_many = False
        home = ledger_path(settings).parent
        outputs = [step.output.folder for step in recipe.steps]
        self._leave_out = (*outputs, settings.root / ".omixa", *(home / name for name in STATE_FOLDERS))

    def batches(self, *, to_the_end: bool = False) -> Iterator[list[Wanted]]:
        """Some thousand wanted pictures at a time, in the order of the sources, each batch step by step.

        What is made of a result is in the batch of that result. `to_the_end`: also when there is a problem.
        """
        count = 0
        for batch in self._walked(self._pass_over):
            count += len(batch)
            if count > WANTED_MAX:
                self._is_too_many = True
                return
            self.paths.note(batch)
            self._long += islice(_too_long(self.recipe, self.settings, batch), 1 - len(self._long))
            if to_the_end or not (self._bad or self._long or self.paths.meet):
                yield batch

    def problems(self) -> list[Problem]:
        """Everything that is wrong, once all batches are through."""
        recipe, settings = self.recipe, self.settings
        if self._is_too_many:
            return [_too_many(recipe, settings, WANTED_MAX)]
        if self._bad or self._long:
            return self._bad or self._long
        found: list[Problem] = []
        twice = self.paths.twice()
        if twice:
            # Only the numbers are known that stand for them: once more, for those that they stand for.
            again = (one for batch in self.every() for one in batch if hash(_folded(one.output)) in twice)
            found += islice(_collisions(recipe, settings, again), PROBLEMS_MAX)
            if not found:
                raise DiskError(f"the folders of `{recipe.name}` changed while they were looked at", "try it again")
        if self.paths.overwrite:
            found += _overwrites(recipe, settings, [one for batch in self.every() for one in batch])
        return found

    def every(self) -> Iterator[list[Wanted]]:
        """All batches, whatever is wrong with them and whatever is passed over; their output paths are not noted."""
        return self._walked(None)

    def _walked(self, pass_over: Callable[[str], images.Listing | None] | None) -> Iterator[list[Wanted]]:
        for step in self.recipe.steps:
            if step.origin is not None:
                continue
            batch: list[Wanted] = []
            for one in self._of_folders(step, pass_over):
                batch += one
                if len(batch) >= BATCH:
                    yield self._with_made(step, batch)
                    batch = []
            if batch:
                yield self._with_made(step, batch)

    def _of_folders(
        self, step: Step, pass_over: Callable[[str], images.Listing | None] | None
    ) -> Iterator[list[Wanted]]:
        """What is wanted of each picture that stands in a folder, or (once) where the model takes none."""
        for position, source in enumerate(step.sources):
            if source.folder is None:
                yield list(_of_picture(self.recipe, step, source, None, None, ""))
                continue
            is_bad = not _is_recordable(str(source.folder))
            found = images.found(
                source.folder, source.include, source.exclude, leave_out=self._leave_out, pass_over=pass_over
            )
            for rel in found:
                picture = source.folder / rel
                if not is_bad and _is_recordable(rel):
                    yield list(_of_picture(self.recipe, step, source, source.folder, picture, rel))
                elif len(self._bad) < PROBLEMS_MAX:
                    self._bad.append(_bad_file_name(self.recipe, self.settings, step, position, picture))

    def _with_made(self, root: Step, batch: list[Wanted]) -> list[Wanted]:
        """The batch, and what later steps make of its results."""
        made = {root.name: batch}
        found = batch
        for step in self.recipe.steps:
            if step.origin in made:
                folder = self.recipe.step(step.origin).output.folder
                own = made[step.name] = [
                    one
                    for source in step.sources
                    for origin in made[step.origin]
                    for one in _of_picture(
                        self.recipe, step, source, folder, origin.output, origin.output.relative_to(folder).as_posix()
                    )
                ]
                found = found + own
        return found


class _Paths:
    """The output paths of a recipe, as numbers: whether two of them are the same, and whether one is a source's.

    The same number is given to what some file system takes for the same file; two paths that are not have the same
    only by chance, about once in ten thousand million recipes of a hundred thousand pictures.
    """

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]
        self._real = lru_cache(maxsize=1024)(_real_number)
        self._sources: set[int] = set()
        self._outputs: set[int] = set()
        self._own: set[int] = set()
        self._passed: set[int] = set()
        self._folders: tuple[str, str] = ("", "")
        # Whether two in one batch are the same already.
        self.meet = False

    def note(self, batch: Sequence[Wanted]) -> None:
        """These are wanted, too."""
        own = set()
        parts = self._parts
        for one in batch:
            output = str(one.output)
            number = hash(_folded(output))
            own.add(number)
            parts[number % _PARTS].append(number)
            self._note_folders(one, output)
        self.meet = self.meet or len(own) < len(batch)

    def _note_folders(self, one: Wanted, output: str) -> None:
        """Folders change seldom from one picture to the next, and to follow the links of one takes a while."""
        source = "" if one.source is None or one.step.origin is not None else str(one.source)
        folders = source[: source.rfind("/") + 1], output[: output.rfind("/") + 1]
        if folders != self._folders:
            self._folders = folders
            if source:
                self._sources.add(self._real(folders[0]))
            self._outputs.add(self._real(folders[1]))
            self._own.add(hash(_folded(folders[1][:-1])))

    def note_passed(self, source: str, outputs: Iterable[str]) -> None:
        """Pictures directly in this folder are passed over, with results in those: nothing else is known of them."""
        self._sources.add(self._real(source))
        for output in outputs:
            self._outputs.add(self._real(output))
            self._passed.add(hash(_folded(output)))

    @property
    def is_in_passed(self) -> bool:
        """Whether a result goes to a folder that has results of what was passed over: it may be one of them."""
        return not self._passed.isdisjoint(self._own)

    @property
    def overwrite(self) -> bool:
        """Whether results go to a folder that has sources: then each has to be compared."""
        return not self._sources.isdisjoint(self._outputs)

    def twice(self) -> set[int]:
        """The numbers that stand for more than one path."""
        found: set[int] = set()
        for part in self._parts:
            if len(set(part)) < len(part):
                counts = Counter(part)
                found.update(number for number, count in counts.items() if count > 1)
        return found

    def common(self, other: "_Paths") -> set[int]:
        """The numbers that both have."""
        found: set[int] = set()
        for ours, theirs in zip(self._parts, other._parts, strict=True):
            found.update(set(ours).intersection(theirs))
        return found


def _real_number(folder: str) -> int:
    return hash(_folded(os.path.realpath(folder)))


def expand(recipe: Recipe, settings: Settings) -> tuple[list[Wanted], list[Problem]]:
    """All that the recipe wants at once, step by step in the order of their sources, and every problem with it.

    As `Wants`, for who needs all of them together.
    """
    wants = Wants(recipe, settings)
    by_step: dict[str, list[Wanted]] = {step.name: [] for step in recipe.steps}
    count = 0
    for batch in wants.batches(to_the_end=True):
        count += len(batch)
        if count > HELD_MAX:
            return [], [_too_many(recipe, settings, HELD_MAX, ", and no more can be compared")]
        for one in batch:
            by_step[one.step.name].append(one)
    problems = wants.problems()
    if any(problem.code == "too-many-items" for problem in problems):
        return [], problems
    return [one for own in by_step.values() for one in own], problems


def all_problems(recipes: Sequence[Recipe], settings: Settings) -> list[Problem]:
    """Results that would be written to the same file or over a source, within a recipe or by two of them."""
    problems: list[Problem] = []
    pairs = _meeting(recipes)
    meeting = {number for pair in pairs for number in pair}
    known: dict[int, _Paths] = {}
    for at, recipe in enumerate(recipes):
        wants = Wants(recipe, settings)
        for _ in wants.batches():
            pass
        problems += wants.problems()
        if at in meeting:
            known[at] = wants.paths
    common: set[int] = set()
    for one, other in pairs:
        common |= known[one].common(known[other])
    return problems + _clashes_at(common, recipes, settings)


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
    known: dict[str, _Paths] = {}
    latest = {one.name: one for one in (*everyone, *recipes)}
    names = {recipe.name for recipe in recipes}
    found: list[Problem] = []
    # The one that is not asked about comes first, and is told first.
    for one, other in combinations(sorted(latest.values(), key=lambda recipe: (recipe.name in names, recipe.name)), 2):
        if other.name in names and _may_meet(one, other):
            common = _paths_of(one, known, settings).common(_paths_of(other, known, settings))
            found += _clashes_at(common, (one, other), settings)
    return found


def _meeting(recipes: Sequence[Recipe]) -> set[tuple[int, int]]:
    """The pairs of recipes of which `_may_meet` is true, by their numbers; without a look at each pair."""
    folders = sorted((_folder(step), number) for number, recipe in enumerate(recipes) for step in recipe.steps)
    found: set[tuple[int, int]] = set()
    around: list[tuple[str, int]] = []  # in which the next one may lie: what does, stands together
    for folder, number in folders:
        while around and not folder.startswith(around[-1][0]):
            around.pop()
        found.update((min(one, number), max(one, number)) for _, one in around if one != number)
        around.append((folder, number))
    return found


def _folder(step: Step) -> str:
    return _folded(step.output.folder) + "/"


def _may_meet(one: Recipe, other: Recipe) -> bool:
    """Whether results of two recipes can be the same file: only where a folder of one lies in a folder of the other."""
    ours, theirs = (list(map(_folder, recipe.steps)) for recipe in (one, other))
    return any(a.startswith(b) or b.startswith(a) for a in ours for b in theirs)


def _paths_of(recipe: Recipe, known: dict[str, _Paths], settings: Settings) -> _Paths:
    if recipe.name not in known:
        wants = Wants(recipe, settings)
        for _ in wants.batches():
            pass
        known[recipe.name] = wants.paths
    return known[recipe.name]


def _clashes_at(numbers: set[int], recipes: Sequence[Recipe], settings: Settings) -> list[Problem]:
    """The clashes of these recipes at the output paths that the numbers stand for: nearly always there are none."""
    if not numbers:
        return []
    results = []
    for recipe in recipes:
        wanted = (one for batch in Wants(recipe, settings).every() for one in batch)
        results.append((recipe, [one for one in wanted if hash(_folded(one.output)) in numbers]))
    return clashes(results, settings)


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


def _collisions(recipe: Recipe, settings: Settings, wanted: Iterable[Wanted]) -> Iterator[Problem]:
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
        table = "[steps.output]" if second.step.name else "[output]"
        listed = " and ".join(f"`{{{name}}}`" for name in apart)
        hint = f"add {listed} to `name` in `{table}`" if apart else "move one of them to a recipe of its own"
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


def _apart(recipe: Recipe, first: Wanted, second: Wanted) -> list[str]:
    """The placeholder that would tell the two apart, or none.

    Where that is the prompt or the preset, and a source is bought with several of the other too, both: they would be
    the next to collide.
    """
    ours, theirs = (
        _placeholders(recipe, one.source_folder, one.rel, one.prompt, one.preset) for one in (first, second)
    )
    used = second.step.output.name
    different = [name for name in ours if ours[name].casefold() != theirs[name].casefold()]
    found = [name for name in different if f"{{{name}}}" not in used][:1]
    sources = second.step.sources
    many = {
        "prompt": any(len(source.prompts) > 1 for source in sources),
        "preset": any(len(source.presets) > 1 for source in sources),
    }
    if found and found[0] in many:
        found = [name for name in many if name in found or (many[name] and f"{{{name}}}" not in used)]
    return found


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


def _too_many(recipe: Recipe, settings: Settings, most: int, why: str = "") -> Problem:
    message = f"the recipe wants more than {most} pictures{why}: its sources × their prompts × their presets"
    hint = "narrow `include`, or write several recipes"
    loc = recipe.loc(recipe.steps[0], "sources")[:1]
    return Problem("too-many-items", message, _place(recipe, settings, loc), hint=hint)


def _too_long(recipe: Recipe, settings: Settings, wanted: Sequence[Wanted]) -> Iterator[Problem]:
    """A result whose path no system takes: said before it is paid for."""
    for one in wanted:
        path = str(one.output)
        if len(path) > PATH_BYTES_MAX // 4 and len(path.encode()) > PATH_BYTES_MAX:
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
    word, told = ("path", str(picture)) if _is_recordable(picture.name) else ("name", picture.name)
    name = told.encode(errors="surrogateescape").decode(errors="replace")
    place = _place(recipe, settings, recipe.loc(step, "sources", position, "folder"))
    message = f"the {word} of the picture `{name}` is not UTF-8, so it cannot be recorded"
    hint = "rename the file, or leave it out with `exclude`" if word == "name" else "rename the folder"
    return Problem("bad-file-name", message, place, hint=hint)


def _place(recipe: Recipe, settings: Settings, loc: Loc) -> Place:
    """Where the recipe says it. Read again, because only a problem needs it."""
    shown = shown_path(recipe.path, settings.root)
    try:
        return read_toml(recipe.path, shown).place(loc, value=True)
    except Problems:
        return Place(shown)
