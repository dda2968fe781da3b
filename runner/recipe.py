"""A recipe file → Recipe: what may be bought. Or every Problem in it, each with its place."""

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, InstanceOf, ValidationError

from runner import slots
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, OptionValue
from runner.declared import Declared, absolute, in_order, key_problems, shape_problems, shown_path, size_problems
from runner.diagnostics import Problem, Problems
from runner.recipe_checks import cross_problems, graph_problems
from runner.recipe_prompts import Prompt, read_prompts
from runner.recipe_tables import (
    DRAWN_NAME,
    NAMELESS,
    PICTURES,
    DrawnFile,
    GraphFile,
    OutputTable,
    RecipeFile,
    ScheduleTable,
    SourceTable,
    StepTable,
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
    ("steps",): 20,
    ("steps", "*", "sources"): 100,
    ("steps", "*", "sources", "*", "include"): 100,
    ("steps", "*", "sources", "*", "exclude"): 100,
    ("steps", "*", "sources", "*", "prompt"): 100,
    ("steps", "*", "sources", "*", "preset"): 100,
    ("steps", "*", "prompt"): 100,
    ("steps", "*", "preset"): 100,
    ("prompts",): 100,
    ("presets",): 100,
    ("labels",): 100,
    ("allow", "style_preset"): 100,
}


# --- values: what the rest of the program works with ---------------------------------------------------------------


class Source(Declared):
    """A folder of pictures (absolute), and the names of the prompts and presets each of them is bought with.

    `folder` None: what an earlier step makes; or the model takes no source picture, and one is bought for each
    prompt × preset.
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


class Step(Declared):
    """What one model makes of pictures: of those in folders, or of what an earlier step has made.

    `name` is empty for the one step of a recipe that names none. `origin`: the step whose results it takes, with one
    source that has no folder; None: it takes none. `contract` is that of its model.
    """

    name: str = NAMELESS
    model: str
    origin: str | None = None
    sources: tuple[Source, ...]
    output: Output
    contract: InstanceOf[Contract] = Field(default_factory=lambda data: CONTRACTS[data["model"]])


class Recipe(Declared):
    """One checked recipe; `name` is the file's stem.

    `digest` is the sha256, in hex, of the bytes that the recipe was read from: the file may have changed since.
    `steps`: at least one, each after those it takes from. `budget`: period or `run` → micro-units of the workspace's
    currency. `presets` are the effective ones: the recipe's own, and those of omixa.toml that it does not declare
    itself.
    """

    name: str
    path: Path
    digest: str
    workspace: str
    description: str | None = None
    cost_centre: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    steps: tuple[Step, ...] = Field(min_length=1)
    prompts: dict[str, Prompt]
    presets: dict[str, dict[str, OptionValue]] = Field(default_factory=dict)
    budget: dict[str, int] = Field(default_factory=dict)
    allow: Allow = Allow()
    schedule: Schedule | None = None
    canary: int | None = None

    @property
    def models(self) -> list[str]:
        """The models of its steps, each once, in their order."""
        return list(dict.fromkeys(step.model for step in self.steps))

    def step(self, name: str) -> Step:
        """The step of that name. Raises KeyError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def loc(self, step: Step, *way: str | int) -> Loc:
        """The way in the file to what a step says."""
        return ("steps", self.steps.index(step), *way) if step.name else way


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
    is_graph = "steps" in file.data
    contract = _contract(file.data, names)
    # Without a model it must have what most recipes must.
    model = GraphFile if is_graph else _file_of(contract) if "model" in file.data else RecipeFile
    prompts, of_prompts = read_prompts(file, names.root, contract)
    across = graph_problems(file, names, prompts) if is_graph else cross_problems(file, names, contract)
    found: list[Iterable[Problem]] = [of_prompts, key_problems(file), across]
    try:
        table = model.model_validate(file.data)
    except ValidationError as error:
        found.append(shape_problems(file, model, error))
    # Not looked for further than they are shown: each takes a while to place, and a hostile file has thousands.
    problems = in_order(chain.from_iterable(found), where)
    if problems:
        return None, problems
    steps = [_step(one, names, prompts) for one in (table.steps if is_graph else [table])]
    # The contract of a model that is known is None only where its own file has problems, and those are told there.
    made = [step for step in steps if step is not None]
    return (_resolved(table, file, names, prompts, made) if len(made) == len(steps) else None), []


def _contract(table: Mapping[str, Any], names: Names) -> Contract | None:
    model = table.get("model")
    return names.contracts.get(model) if isinstance(model, str) else None


def _file_of(contract: Contract | None) -> type[RecipeFile]:
    """What a recipe for this model must have."""
    if contract is None:
        return UnknownFile
    return DrawnFile if contract.pictures is None else RecipeFile if contract.needs_prompt else WordlessFile


def _resolved(
    table: RecipeFile, file: TomlFile, names: Names, prompts: dict[str, Prompt], steps: Iterable[Step]
) -> Recipe:
    # omixa.toml may have problems of its own, which are told there: then what is no option is left out here.
    shared = {
        name: {option: value for option, value in preset.items() if type(value) in (str, int, Decimal)}
        for name, preset in (names.presets or {}).items()
    }
    return Recipe(
        name=file.path.stem,
        path=file.path,
        digest=hashlib.sha256(file.raw).hexdigest(),
        workspace=table.workspace,
        description=table.description,
        cost_centre=table.cost_centre,
        labels=table.labels,
        steps=tuple(steps),
        # What has no prompt is bought with the nameless one, of which nothing is sent.
        prompts=prompts or {NAMELESS: Prompt(name=NAMELESS, text="")},
        presets={NAMELESS: {}, **shared, **table.presets},
        budget=table.budget.caps(),
        allow=Allow(style_preset=tuple(table.allow.style_preset), sixteen_bit=table.allow.sixteen_bit),
        schedule=_schedule(table.schedule) if table.schedule is not None else None,
        canary=table.canary,
    )


def _step(table: RecipeFile | StepTable, names: Names, prompts: Mapping[str, Prompt]) -> Step | None:
    """A step, or a recipe that is one; None: its model's own file has problems."""
    contract = names.contracts[table.model]
    if contract is None:
        return None
    name, origin, chosen = NAMELESS, None, None
    every = list(prompts) or [NAMELESS]
    if isinstance(table, StepTable):
        name, origin, chosen = table.name, table.from_, table.prompt
        # A model that takes no prompt is asked without one, whatever the other steps have.
        every = [NAMELESS] if contract.field("prompt") is None else every
    if table.sources:
        sources = tuple(_source(source, names.root, every) for source in table.sources)
    else:
        sources = (Source(folder=None, prompts=tuple(chosen or every), presets=tuple(table.preset or [NAMELESS])),)
    return Step(
        name=name,
        model=table.model,
        origin=origin,
        sources=sources,
        output=_output(table.output, names.root, contract),
        contract=contract,
    )


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
