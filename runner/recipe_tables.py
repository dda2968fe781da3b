"""A recipe file as data: its tables, and the types of single values. What they mean together is recipe_checks.py."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from runner import slots
from runner.contracts import CONTRACTS
from runner.declared import BudgetTable, Declared, Line, Money, Name, PathText, shown, wrong
from runner.settings_tables import Preset, TimeZone, cron_text

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


class StepTable(Declared):
    """One step of a recipe that has several: it reads folders, or takes what an earlier step makes."""

    name: Name = Field(
        description="What it is called; later steps, reports and messages name it.", examples=["enlarge"]
    )
    model: str = Field(
        description="Which tool of the endpoint; `omixa models` shows what each accepts.",
        examples=["stability-upscale-creative"],
    )
    from_: str | None = Field(
        default=None,
        alias="from",
        description="The earlier step whose results it takes, each as soon as it is there; or `[[steps.sources]]`.",
        examples=["cut-out"],
    )
    sources: list[SourceTable] = Field(
        default=[], description="Folders of pictures.", examples=[[{"folder": "pictures"}]]
    )
    prompt: OneOrMany | None = Field(
        default=None,
        description="Only without `[[steps.sources]]`: the name of a prompt, or several: each buys a picture. Optional "
        "with one prompt.",
    )
    preset: OneOrMany | None = Field(
        default=None,
        description="Only without `[[steps.sources]]`: the name of a preset, or several: each buys a picture.",
    )
    output: OutputTable = Field(description="Where its results go.", examples=[{"folder": "out"}])


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
    steps: list[StepTable] = Field(
        default=[],
        min_length=1,
        description="Instead of `model`, `[[sources]]` and `[output]`: several steps, each with its own; a step may "
        "take what an earlier one makes.",
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


class GraphFile(DrawnFile):
    """A recipe of several steps: each has what the recipe of one has at its top."""

    model: str = ""
    steps: list[StepTable] = Field(min_length=1, examples=[[{"name": "enlarge"}]])
    prompts: dict[Name, PromptTable] = Field(default={})
    output: OutputTable = OutputTable(folder="out")  # nobody asks for it: every step has its own


class UnknownFile(DrawnFile):
    """A recipe for a model that nobody knows here: what it must have, nobody can say."""

    prompts: dict[Name, PromptTable] = Field(default={})
