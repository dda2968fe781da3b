"""A recipe file → Recipe: what may be bought. Or every Problem in it, each with its place."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import Field, InstanceOf, ValidationError

from runner import slots
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, OptionValue
from runner.declared import Declared, absolute, in_order, key_problems, shape_problems, shown_path, size_problems
from runner.diagnostics import Problem, Problems
from runner.recipe_checks import cross_problems
from runner.recipe_prompts import Prompt, read_prompts
from runner.recipe_tables import (
    DRAWN_NAME,
    NAMELESS,
    PICTURES,
    DrawnFile,
    OutputTable,
    RecipeFile,
    ScheduleTable,
    SourceTable,
    UnknownFile,
    WordlessFile,
)
from runner.settings import Names, Settings, names_of
from runner.tomlfile import Loc, TomlFile
from runner.tomlfile import read as read_toml

FOLDER = "recipes"  # where they stand in a project

# The most in one recipe; who needs more writes a second one.
_ITEMS_MAX: dict[Loc, int] = {
    ("sources",): 100,
    ("sources", "*", "include"): 100,
    ("sources", "*", "exclude"): 100,
    ("sources", "*", "prompt"): 100,
    ("sources", "*", "preset"): 100,
    ("preset",): 100,
    ("prompts",): 100,
    ("presets",): 100,
    ("labels",): 100,
    ("allow", "style_preset"): 100,
}


# --- values: what the rest of the program works with ---------------------------------------------------------------


class Source(Declared):
    """A folder of pictures (absolute), and the names of the prompts and presets each of them is bought with.

    `folder` None: the model takes no source picture, and one is bought for each prompt × preset.
    """

    folder: Path | None
    include: tuple[str, ...] = tuple(PICTURES)
    exclude: tuple[str, ...] = ()
    prompts: tuple[str, ...]
    presets: tuple[str, ...] = (NAMELESS,)


class Output(Declared):
    """Where results go: a folder (absolute), a name template without extension, a format.

    `flatten` is the colour put behind a picture with transparency, None to keep it. `provenance`: whether each file
    says in its metadata which attempt made it.
    """

    folder: Path
    name: str = "{dir}/{stem}"
    format: Literal["png", "jpeg", "webp"] = "png"
    flatten: str | None = None
    provenance: bool = False


class Allow(Declared):
    """What is unusual, and meant: style presets that the contract does not list, and 16-bit sources made 8-bit."""

    style_preset: tuple[str, ...] = ()
    sixteen_bit: bool = False


class Schedule(Declared):
    """When the recipe runs by itself: exactly one of `cron` and `every_s`, the other is None.

    `time_zone` None means the workspace's; `time_limit_s` None means no limit.
    """

    cron: str | None = None
    every_s: int | None = None
    time_zone: str | None = None
    missed: Literal["skip", "once", "plan"] = "skip"
    overlap: Literal["skip", "queue"] = "skip"
    jitter_s: int = 0
    time_limit_s: int | None = None
    paused: bool = False

    def timing(self, workspace_zone: str) -> slots.Timing:
        """When it is due, by the clock of its own time zone or else of the workspace's."""
        return slots.Timing(self.cron, self.every_s, self.time_zone or workspace_zone)


class Recipe(Declared):
    """One checked recipe; `name` is the file's stem.

    `digest` is the sha256, in hex, of the bytes that the recipe was read from: the file may have changed since.
    `budget`: period or `run` → micro-units of the workspace's currency. `presets` are the effective ones: the
    recipe's own, and those of omixa.toml that it does not declare itself. `contract` is that of its model.
    """

    name: str
    path: Path
    digest: str
    workspace: str
    model: str
    description: str | None = None
    cost_centre: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    sources: tuple[Source, ...]
    prompts: dict[str, Prompt]
    presets: dict[str, dict[str, OptionValue]] = Field(default_factory=dict)
    output: Output
    budget: dict[str, int] = Field(default_factory=dict)
    allow: Allow = Allow()
    schedule: Schedule | None = None
    canary: int | None = None
    contract: InstanceOf[Contract] = Field(default_factory=lambda data: CONTRACTS[data["model"]])


# --- loading -------------------------------------------------------------------------------------------------------


def load(path: Path, settings: Settings) -> tuple[Recipe | None, list[Problem]]:
    """The recipe at `path`; None and every problem when there is any."""
    return read(path, names_of(settings))


def read(path: Path, names: Names) -> tuple[Recipe | None, list[Problem]]:
    """As `load`, also where omixa.toml has problems of its own: `names` is what is known of it."""
    where = shown_path(path, names.root)
    try:
        file = read_toml(path, where, root=names.root)
    except Problems as error:
        return None, list(error.problems)
    too_many = size_problems(file, _ITEMS_MAX)
    if too_many:
        return None, in_order(too_many, where)
    contract = names.contracts.get(file.data["model"]) if isinstance(file.data.get("model"), str) else None
    # Without a model it must have what most recipes must.
    model = _file_of(contract) if "model" in file.data else RecipeFile
    prompts, of_prompts = read_prompts(file, names.root, contract)
    found: list[Iterable[Problem]] = [of_prompts, key_problems(file), cross_problems(file, names, contract)]
    try:
        table = model.model_validate(file.data)
    except ValidationError as error:
        found.append(shape_problems(file, model, error))
    # Not looked for further than they are shown: each takes a while to place, and a hostile file has thousands.
    problems = in_order(chain.from_iterable(found), where)
    # The contract of a model that is known is None only where its own file has problems, and those are told there.
    return (None if problems or contract is None else _resolved(table, file, names, prompts, contract)), problems


def _file_of(contract: Contract | None) -> type[RecipeFile]:
    """What a recipe for this model must have."""
    if contract is None:
        return UnknownFile
    return DrawnFile if contract.pictures is None else RecipeFile if contract.needs_prompt else WordlessFile


def _resolved(
    table: RecipeFile, file: TomlFile, names: Names, prompts: dict[str, Prompt], contract: Contract
) -> Recipe:
    shared = {name: dict(preset) for name, preset in (names.presets or {}).items()}
    return Recipe(
        name=file.path.stem,
        path=file.path,
        digest=hashlib.sha256(file.raw).hexdigest(),
        workspace=table.workspace,
        model=table.model,
        description=table.description,
        cost_centre=table.cost_centre,
        labels=table.labels,
        sources=_sources(table, names.root, prompts, contract),
        # What has no prompt is bought with the nameless one, of which nothing is sent.
        prompts=prompts or {NAMELESS: Prompt(name=NAMELESS, text="")},
        presets={NAMELESS: {}, **shared, **table.presets},
        output=_output(table.output, names.root, contract),
        budget=table.budget.caps(),
        allow=Allow(style_preset=tuple(table.allow.style_preset), sixteen_bit=table.allow.sixteen_bit),
        schedule=_schedule(table.schedule) if table.schedule is not None else None,
        canary=table.canary,
        contract=contract,
    )


def _sources(table: RecipeFile, root: Path, prompts: Mapping[str, Prompt], contract: Contract) -> tuple[Source, ...]:
    names = list(prompts) or [NAMELESS]
    if contract.pictures is not None:
        return tuple(_source(source, root, names) for source in table.sources)
    return (Source(folder=None, prompts=tuple(names), presets=tuple(table.preset or [NAMELESS])),)


def _output(table: OutputTable, root: Path, contract: Contract) -> Output:
    declared = table.model_dump(exclude={"folder"})
    if contract.pictures is None and "name" not in table.model_fields_set:
        declared["name"] = DRAWN_NAME
    return Output(**declared, folder=absolute(root, table.folder))


def _schedule(table: ScheduleTable) -> Schedule:
    every_s = slots.interval_s(table.every) if table.every is not None else None
    return Schedule(**table.model_dump(exclude={"every"}), every_s=every_s)


def _source(table: SourceTable, root: Path, prompts: Iterable[str]) -> Source:
    return Source(
        folder=absolute(root, table.folder),
        include=tuple(table.include),
        exclude=tuple(table.exclude),
        prompts=tuple(table.prompt or prompts),
        presets=tuple(table.preset or [NAMELESS]),
    )
