"""A recipe file → Recipe: what may be bought. Or every Problem in it, each with its place."""

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError, WithJsonSchema

from runner import slots, templates
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, OptionValue
from runner.declared import (
    BudgetTable,
    Declared,
    Line,
    Money,
    Name,
    PathText,
    absolute,
    in_order,
    is_path,
    key_problems,
    real,
    shape_problems,
    shown,
    shown_path,
    size_problems,
    tables,
    unknown,
    wrong,
)
from runner.diagnostics import Place, Problem, Problems, did_you_mean
from runner.settings import Names, Preset, Settings, TimeZone, cron_text, names_of, preset_options, preset_problems
from runner.tomlfile import Loc, TomlFile
from runner.tomlfile import read as read_toml

FOLDER = "recipes"
PICTURES = ["**/*.png", "**/*.jpg", "**/*.jpeg", "**/*.webp"]
NAMELESS = ""  # the preset of a source that names none: no options; the prompt of a model that takes none
EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

PROMPT_PLACEHOLDERS = ("stem", "name", "dir", "parent", "recipe")
NAME_PLACEHOLDERS = ("stem", "suffix", "dir", "parent", "prompt", "preset", "recipe")
# Without a source picture, only these mean something; and results are called after their prompts.
DRAWN_PROMPT_PLACEHOLDERS = ("recipe",)
DRAWN_NAME_PLACEHOLDERS = ("prompt", "preset", "recipe")
DRAWN_NAME = "{prompt}"

GLOB_LENGTH_MAX = 1000
OUTPUT_NAME_LENGTH_MAX = 500
JITTER_MAX_S = 3600
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


# --- the file: its tables, and the types of single values ----------------------------------------------------------


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _glob(value: str) -> str:
    parts = PurePosixPath(value).parts
    too_long = len(value) > GLOB_LENGTH_MAX or len(parts) > 64
    if not value or not value.isprintable() or value.startswith("/") or ".." in parts or too_long:
        message = f"`{shown(value)}` is not a pattern inside the folder"
        raise wrong("bad-pattern", message, hint="write such as `**/*.png`, relative to `folder`")
    return value


def _every(value: str) -> str:
    if slots.interval_s(value) is not None:
        return value
    message = f"`{shown(value)}` is not an interval from `1m` to `7d`"
    raise wrong("bad-interval", message, hint="write a whole number and `m`, `h` or `d`, such as `15m`")


def _colour(value: str) -> str:
    if re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return value.lower()
    raise wrong("bad-colour", f"`{shown(value)}` is not a colour", hint="write such as `#ffffff`")


def _word(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        return value
    raise wrong("bad-word", f"`{shown(value)}` cannot be a value of an option")


Glob = Annotated[str, AfterValidator(_glob)]
OneOrMany = Annotated[
    list[str],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class SourceTable(Declared):
    """A folder of pictures, and what is bought for each of them."""

    folder: PathText = Field(description="The folder, relative to the project.", examples=["pictures/scans"])
    include: list[Glob] = Field(default=PICTURES, min_length=1, description="Which files count as pictures.")
    exclude: list[Glob] = Field(default=[], description="Which of those are left out.")
    prompt: OneOrMany | None = Field(
        default=None, description="The name of a prompt, or several: each buys a picture. Optional with one prompt."
    )
    preset: OneOrMany | None = Field(
        default=None,
        description="The name of a preset, or several: each buys a picture. Without it, no options are set.",
    )


class PromptTable(Declared):
    """A named text: exactly one of `text` and `file`. Placeholders: {stem} {name} {dir} {parent} {recipe} {file:…}."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["text"]}, {"required": ["file"]}]})

    text: str | None = Field(
        default=None,
        description="The prompt.",
        examples=["Preserve the subject while restoring crisp, realistic detail."],
        json_schema_extra={"pattern": r"\S"},
    )
    file: PathText | None = Field(
        default=None,
        description="A text file with the prompt, relative to the project.",
        examples=["prompts/restore.txt"],
    )
    negative: str | None = Field(
        default=None, description="What the picture should not show.", examples=["text, watermark"]
    )


class OutputTable(Declared):
    """Where results go."""

    folder: PathText = Field(description="The folder, relative to the project.", examples=["out/scans"])
    name: str = Field(
        default="{dir}/{stem}",
        description="Name of each result in `folder`, without extension. "
        "Placeholders: {stem} {suffix} {dir} {parent} {prompt} {preset} {recipe}.",
    )
    format: Literal["png", "jpeg", "webp"] = Field(default="png", description="File format of the results.")
    flatten: Annotated[str, AfterValidator(_colour)] | None = Field(
        default=None,
        description="Colour put behind transparent parts, such as `#ffffff`.",
        json_schema_extra={"pattern": "^#[0-9a-fA-F]{6}$"},
    )
    provenance: bool = Field(
        default=False, description="Write into each result, as XMP metadata, which request made it."
    )


def _run_first(schema: dict[str, Any]) -> None:
    """The order that editors offer, and that `omixa fmt` writes."""
    schema["properties"] = {"run": schema["properties"]["run"], **schema["properties"]}


class RecipeBudgetTable(BudgetTable):
    """The most this recipe may spend, on top of the workspace's budget: both must have room."""

    model_config = ConfigDict(json_schema_extra=_run_first)

    run: Money | None = Field(default=None, description="The most one run may cost.")


class AllowTable(Declared):
    """What is unusual, and meant."""

    style_preset: list[Annotated[str, AfterValidator(_word)]] = Field(
        default=[], description="Values of `style_preset` that the contract does not list."
    )
    sixteen_bit: bool = Field(default=False, description="Send 16-bit pictures although they are reduced to 8 bits.")


class ScheduleTable(Declared):
    """When the recipe runs by itself: exactly one of `cron` and `every`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["cron"]}, {"required": ["every"]}]})

    cron: Annotated[str, AfterValidator(cron_text)] | None = Field(
        default=None,
        description="Five fields: minute, hour, day of the month, month, weekday.",
        examples=["0 2 * * 1-5"],
        json_schema_extra={"pattern": r"^\s*\S+(\s+\S+){4}\s*$"},
    )
    every: Annotated[str, AfterValidator(_every)] | None = Field(
        default=None,
        description="An interval from `1m` to `7d`: a whole number of minutes, hours or days.",
        examples=["15m"],
        # `1m` to `10080m`, `1h` to `168h`, `1d` to `7d`; tests hold it against the check, number by number.
        json_schema_extra={
            "pattern": "^(([1-9][0-9]{0,3}|100[0-7][0-9]|10080)m|([1-9][0-9]?|1[0-5][0-9]|16[0-8])h|[1-7]d)$"
        },
    )
    time_zone: TimeZone | None = Field(default=None, description="IANA name; without it, the workspace's.")
    missed: Literal["skip", "once", "plan"] = Field(
        default="skip", description="A moment that was missed is skipped, run once, or only planned and reported."
    )
    overlap: Literal["skip", "queue"] = Field(
        default="skip", description="A moment that comes while the last run goes on is skipped, or waits."
    )
    jitter_s: int = Field(
        default=0,
        ge=0,
        le=JITTER_MAX_S,
        description="Start up to this many seconds later, at random; less than an interval.",
    )
    time_limit_s: int | None = Field(default=None, ge=1, description="Start nothing new after so many seconds.")
    paused: bool = Field(default=False, description="Do not run by itself for now.")


class RecipeFile(Declared):
    """A recipe: what may be bought."""

    model_config = ConfigDict(title="a recipe")

    workspace: str = Field(description="Who pays: a `[workspaces.NAME]` of omixa.toml.", examples=["studio"])
    model: str = Field(
        description="Which tool of the endpoint; `omixa models` shows what each accepts.",
        examples=["stability-upscale-creative"],
        json_schema_extra={"enum": [*CONTRACTS]},
    )
    description: str | None = Field(default=None, max_length=2000, description="What the recipe is for.")
    cost_centre: Line | None = Field(default=None, description="Who the cost belongs to, for reports.")
    labels: dict[Name, Line] = Field(default={}, description="Names and values for reports.")
    sources: list[SourceTable] = Field(
        min_length=1, description="Folders of pictures.", examples=[[{"folder": "pictures"}]]
    )
    prompts: dict[Name, PromptTable] = Field(
        description="Prompts, by name.",
        min_length=1,
        examples=[{"restore": {"text": "Restore crisp, realistic detail."}}],
    )
    presets: dict[Name, Preset] = Field(default={}, description="Presets of this recipe; they win over omixa.toml's.")
    output: OutputTable = Field(description="Where results go.", examples=[{"folder": "out"}])
    preset: OneOrMany | None = Field(
        default=None,
        description="Only for a model without source pictures: the name of a preset, or several; each prompt is bought "
        "with each.",
    )
    budget: RecipeBudgetTable = Field(default=RecipeBudgetTable(), description="The most this recipe may spend.")
    allow: AllowTable = Field(default=AllowTable(), description="What is unusual, and meant.")
    schedule: ScheduleTable | None = Field(default=None, description="When the recipe runs by itself.")
    canary: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Buy so many pictures first, and the others only when those came and cost no more than planned.",
    )


class DrawnFile(RecipeFile):
    """A recipe whose model takes no source picture."""

    sources: list[SourceTable] = Field(default=[])


class WordlessFile(RecipeFile):
    """A recipe whose model can do without a prompt."""

    prompts: dict[Name, PromptTable] = Field(default={})


class UnknownFile(DrawnFile):
    """A recipe for a model that nobody knows here: what it must have, nobody can say."""

    prompts: dict[Name, PromptTable] = Field(default={})


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
    prompts, of_prompts = _prompts(file, names.root, contract)
    found: list[Iterable[Problem]] = [of_prompts, key_problems(file), _cross_problems(file, names, contract)]
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


# --- prompts -------------------------------------------------------------------------------------------------------


def _prompts(file: TomlFile, root: Path, contract: Contract | None) -> tuple[dict[str, Prompt], list[Problem]]:
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
        problems = _length_problems(template, "prompt", contract, file.place(at, value=True))
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
        problems = _length_problems(template, "negative_prompt", contract, file.place(loc, value=True))
    return template, problems


def _placeholders(contract: Contract | None) -> tuple[str, ...]:
    """What can be filled into a prompt."""
    return DRAWN_PROMPT_PLACEHOLDERS if contract is not None and contract.pictures is None else PROMPT_PLACEHOLDERS


def _from_file(
    file: TomlFile, at: Loc, value: str, root: Path, placeholders: tuple[str, ...], included: set[str]
) -> tuple[str, list[Problem]]:
    path = absolute(root, value)
    where = shown_path(path, root)
    place = file.place(at, value=True)
    if not real(path).is_relative_to(real(root)):
        message = f"`{shown(value)}` is outside the project, so it is not read"
        hint = "what is sent to the endpoint should be reviewed with the recipe"
        return "", [Problem("outside-project", message, place, hint=hint)]
    try:
        text = templates.from_file(path, where)
    except templates.TextFault as fault:
        return "", [Problem("missing-prompt-file", f"`{where}` {fault}", place, label=_similar(path))]
    template, problems = templates.expanded(text, placeholders, root, (path,), included=included)
    return template, [*templates.key_problems(text), *problems]


def _length_problems(template: str, name: str, contract: Contract | None, place: Place) -> list[Problem]:
    """Too short or too long for the model, whatever the placeholders will hold."""
    literal = templates.fill(template, dict.fromkeys(PROMPT_PLACEHOLDERS, ""))
    if name == "prompt" and not template.strip():
        return [Problem("empty-prompt", "the prompt is empty", place)]
    field = contract.field(name) if contract is not None else None
    if contract is not None and field is None:
        return [Problem("unknown-option", f"{contract.model} has no `{name}`", place)]
    fault = field.fault(literal) if field is not None and literal else None
    return [Problem(fault.code, fault.message, place)] if fault is not None else []


# --- checks across values: on the data as written, so that they are made whatever else is wrong --------------------


def _cross_problems(file: TomlFile, names: Names, contract: Contract | None) -> Iterator[Problem]:
    yield from _name_problems(file)
    yield from _reference_problems(file, names)
    yield from _preset_problems(file, names, contract)
    if contract is not None and contract.pictures is None:
        yield from _drawn_problems(file, names, contract)
    else:
        if contract is not None:
            yield from _top_preset_problems(file)
        for position, source in enumerate(_source_tables(file)):
            yield from _source_problems(file, ("sources", position), source, names, contract)
    yield from _output_problems(file, names.root, contract)
    yield from _schedule_problems(file)


def _name_problems(file: TomlFile) -> Iterator[Problem]:
    name = file.path.stem
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        better = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "recipe"
        message = f"`{shown(name)}` cannot be the name of a recipe"
        hint = f"names have a-z, 0-9, `.`, `_` and `-`; rename the file, for example to `{better}.toml`"
        yield Problem("bad-name", message, Place(file.shown), hint=hint)


def _reference_problems(file: TomlFile, names: Names) -> Iterator[Problem]:
    workspace, model = file.data.get("workspace"), file.data.get("model")
    if isinstance(workspace, str) and names.workspaces is not None and workspace not in names.workspaces:
        place = file.place(("workspace",), value=True)
        yield unknown("unknown-workspace", "workspace", workspace, names.workspaces, place)
    if isinstance(model, str) and model not in names.contracts:
        yield unknown("unknown-model", "model", model, names.contracts, file.place(("model",), value=True))


def _allowed_styles(file: TomlFile) -> list[str]:
    allow = file.data.get("allow")
    styles = allow.get("style_preset") if isinstance(allow, dict) else None
    return [style for style in styles if isinstance(style, str)] if isinstance(styles, list) else []


def _preset_problems(file: TomlFile, names: Names, contract: Contract | None) -> Iterator[Problem]:
    if contract is not None:
        for name, preset in tables(file.data, "presets").items():
            yield from preset_problems(file, ("presets", name), preset, contract, _allowed_styles(file))


def _source_tables(file: TomlFile) -> list[dict[str, Any]]:
    sources = file.data.get("sources")
    return [source if isinstance(source, dict) else {} for source in sources] if isinstance(sources, list) else []


def _drawn_problems(file: TomlFile, names: Names, contract: Contract) -> Iterator[Problem]:
    """What does not fit a model without source pictures, and the presets that its prompts are bought with."""
    if "sources" in file.data:
        message = f"{contract.model} takes no source picture, so a recipe for it has no `[[sources]]`"
        hint = "remove it; each prompt × each `preset` at the top is one picture"
        yield Problem("unexpected-table", message, file.place(("sources", 0)), hint=hint)
    yield from _named_preset_problems(file, (), file.data, names, contract)


def _top_preset_problems(file: TomlFile) -> Iterator[Problem]:
    if "preset" in file.data:
        message = "`preset` at the top is for models without source pictures"
        yield Problem("unexpected-key", message, file.place(("preset",)), hint="write it in `[[sources]]`")


def _source_problems(
    file: TomlFile, loc: Loc, source: Mapping[str, Any], names: Names, contract: Contract | None
) -> Iterator[Problem]:
    folder = source.get("folder")
    if is_path(folder):
        yield from _folder_problems(file, (*loc, "folder"), folder, names.root)
    prompts = tables(file.data, "prompts")
    for at, name in _named(source, loc, "prompt"):
        if name not in prompts:
            yield unknown("unknown-prompt", "prompt", name, prompts, file.place(at, value=True))
    if source.get("prompt") is None and len(prompts) > 1:
        listed = ", ".join(f"`{shown(name)}`" for name in prompts)
        message = f"this source does not say which prompt it wants, and the recipe has {len(prompts)}"
        yield Problem("missing-prompt", message, file.place(loc), hint=f"add `prompt = …` with one of {listed}")
    yield from _named_preset_problems(file, loc, source, names, contract)


def _named_preset_problems(
    file: TomlFile, loc: Loc, source: Mapping[str, Any], names: Names, contract: Contract | None
) -> Iterator[Problem]:
    """What is wrong with the presets that the table at `loc` names: unknown, for another model, or incomplete."""
    own = tables(file.data, "presets")
    if contract is not None and source.get("preset") is None:
        place = file.place(loc) if loc else file.place(("model",), value=True)
        yield from _incomplete_problems("no preset sets it", {}, contract, place)
    for at, name in _named(source, loc, "preset"):
        place = file.place(at, value=True)
        if name not in own and names.presets is not None and name not in names.presets:
            yield unknown("unknown-preset", "preset", name, {*own, *names.presets}, place)
        elif name not in own and names.presets is not None and contract is not None:
            yield from _misfit_problems(name, names.presets[name], names, contract, place)
        preset = own.get(name, (names.presets or {}).get(name))
        if isinstance(preset, Mapping) and contract is not None:
            yield from _incomplete_problems(f"the preset `{shown(name)}` does not set it", preset, contract, place)


def _incomplete_problems(what: str, preset: Mapping[str, Any], contract: Contract, place: Place) -> Iterator[Problem]:
    """Options that the model requires and nobody sets: it would decline what is sent."""
    for name, option in preset_options(contract).items():
        if option.required and name not in preset:
            message = f"{contract.model} requires `{name}`, and {what}"
            yield Problem("missing-option", message, place, hint=f"set it in a preset: {option.accepts()}")


def _misfit_problems(
    name: str, preset: Mapping[str, Any], names: Names, contract: Contract, place: Place
) -> Iterator[Problem]:
    """A shared preset that fits another model, but not this recipe's. One that fits none is reported in omixa.toml."""
    fits_another = any(other is None or not _faults(preset, other) for other in names.contracts.values())
    for fault in _faults(preset, contract)[:1]:
        if fits_another:
            message = f"the preset `{name}` of omixa.toml does not fit {contract.model}: {fault.message}"
            yield Problem("preset-misfit", message, place, hint=f"declare `[presets.{name}]` in this recipe")


def _faults(preset: Mapping[str, Any], contract: Contract) -> list[Problem]:
    return list(preset_problems(None, (), preset, contract))


def _named(source: Mapping[str, Any], loc: Loc, key: str) -> Iterator[tuple[Loc, str]]:
    """The names under `prompt` or `preset`, each with its way in the file; wrong types are reported elsewhere."""
    value = source.get(key)
    if isinstance(value, str):
        yield (*loc, key), value
    elif isinstance(value, list):
        for position, name in enumerate(value):
            if isinstance(name, str):
                yield (*loc, key, position), name


def _folder_problems(file: TomlFile, loc: Loc, folder: str, root: Path) -> Iterator[Problem]:
    path = absolute(root, folder)
    where = shown_path(path, root)
    try:
        if path.is_dir():
            return
        is_there = path.exists()
    except OSError as error:
        message = f"the folder `{where}` cannot be looked at: {error.strerror or error}"
        yield Problem("unreadable-folder", message, file.place(loc, value=True))
        return
    place = file.place(loc, value=True)
    if is_there:
        yield Problem("not-a-folder", f"`{where}` is a file, and a source is a folder", place)
    else:
        yield Problem("missing-folder", f"the folder `{where}` does not exist", place, label=_similar(path))


def _similar(path: Path) -> str | None:
    """A hint at a file or folder beside a missing one that is spelled almost the same."""
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean `{close[0]}`?" if close else None


# --- output --------------------------------------------------------------------------------------------------------


def _output_problems(file: TomlFile, root: Path, contract: Contract | None) -> Iterator[Problem]:
    output = file.data.get("output")
    if not isinstance(output, dict):
        return
    name = output.get("name")
    if isinstance(name, str):
        drawn = contract is not None and contract.pictures is None
        yield from _output_name_problems(file, name, DRAWN_NAME_PLACEHOLDERS if drawn else NAME_PLACEHOLDERS)
    if contract is not None:
        yield from _format_problems(file, output, contract)
    folder = output.get("folder")
    if is_path(folder):
        yield from _output_folder_problems(file, folder, root)


def _format_problems(file: TomlFile, output: Mapping[str, Any], contract: Contract) -> Iterator[Problem]:
    """A format that the model cannot give, although others can."""
    field, wanted = contract.field("output_format"), output.get("format", OutputTable.model_fields["format"].default)
    if field is not None and isinstance(wanted, str) and wanted in EXTENSIONS and wanted not in field.choices:
        message = f"{contract.model} gives no `{wanted}`; accepted: {', '.join(field.choices)}"
        found = ("output", "format") if "format" in output else ("output",)
        yield Problem("unknown-choice", message, file.place(found, value="format" in output))


def _output_name_problems(
    file: TomlFile, name: str, placeholders: tuple[str, ...] = NAME_PLACEHOLDERS
) -> Iterator[Problem]:
    loc = ("output", "name")
    place = file.place(loc, value=True)
    if len(name) > OUTPUT_NAME_LENGTH_MAX:
        message = f"the name has {len(name)} characters, more than {OUTPUT_NAME_LENGTH_MAX}"
        yield Problem("unsafe-output-name", message, place)
        return
    text = templates.Text(name, file.path.parent, lambda part: file.place_within(loc, part))
    yield from templates.faults(text, placeholders)
    parts = name.split("/")
    if name.startswith(("/", "~")) or "\\" in name or ".." in parts or "." in parts:
        message = f"the name `{shown(name)}` could lead out of the output folder"
        hint = "names are relative, with `/` between folders and without `..`"
        yield Problem("unsafe-output-name", message, place, hint=hint)
    elif not name.isprintable() or not parts[-1].strip():
        yield Problem("unsafe-output-name", f"the name `{shown(name)}` is no file name", place)
    elif name.lower().endswith((".png", ".jpg", ".jpeg", ".webp")):
        extension = PurePosixPath(name).suffix
        message = f"the name ends in `{shown(extension)}`, and the format adds an extension"
        yield Problem("extension-in-name", message, place, hint="leave it out")


def _output_folder_problems(file: TomlFile, folder: str, root: Path) -> Iterator[Problem]:
    output = absolute(root, folder)
    for source in _source_tables(file):
        declared = source.get("folder")
        if not is_path(declared):
            continue
        pictures = absolute(root, declared)
        # Resolved, because a link to the sources is the sources.
        if real(pictures).is_relative_to(real(output)):
            is_same = real(pictures) == real(output)
            what = "is" if is_same else "contains"
            yield Problem(
                "output-over-source",
                f"the output folder {what} the source folder `{shown_path(pictures, root)}`",
                file.place(("output", "folder"), value=True),
                hint="results must never stand where sources are: choose a folder of their own, such as `out`",
            )


# --- schedule ------------------------------------------------------------------------------------------------------


def _schedule_problems(file: TomlFile) -> Iterator[Problem]:
    schedule = file.data.get("schedule")
    if not isinstance(schedule, dict):
        return
    loc = ("schedule",)
    if "cron" in schedule and "every" in schedule:
        message = "`[schedule]` has both `cron` and `every`, and needs exactly one"
        yield Problem("cron-and-every", message, file.place((*loc, "every")), hint="remove one of the two")
    elif "cron" not in schedule and "every" not in schedule and not _is_misspelled(schedule):
        message = "`[schedule]` has neither `cron` nor `every`, and needs exactly one"
        hint = 'add `cron = "0 2 * * 1-5"` or `every = "15m"`'
        yield Problem("missing-key", message, file.place(loc), hint=hint)
    every, jitter_s = schedule.get("every"), schedule.get("jitter_s")
    every_s = slots.interval_s(every) if isinstance(every, str) else None
    if every_s is not None and isinstance(jitter_s, int) and every_s <= jitter_s <= JITTER_MAX_S:
        message = (
            f"`jitter_s` must be shorter than the interval `{every}`, which has {every_s} seconds; found {jitter_s}"
        )
        place = file.place((*loc, "jitter_s"), value=True)
        yield Problem("jitter-too-long", message, place, hint="otherwise one run could start after the next")


def _is_misspelled(schedule: Mapping[str, Any]) -> bool:
    """Whether a key is meant to be `cron` or `every`: it is reported as an unknown one, and nothing is missing then."""
    known = ScheduleTable.model_fields
    return any(did_you_mean(key, known) in ("cron", "every") for key in schedule if key not in known)
