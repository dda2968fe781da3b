"""A contract file → Contract: a model that the package does not know. Or every Problem in it, each with its place.

A file says what a model page's table says: fields, limits, defaults. It names no address and no code: whatever model it
declares is asked for at the workspace's endpoint, by the one operation there is (contract C1).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from runner.contracts import CONTRACTS
from runner.contracts.contract import REQUEST_BYTES_MAX, Contract, Operation, OptionValue, PictureLimits
from runner.contracts.contract import Field as ContractField
from runner.declared import (
    Declared,
    in_order,
    key_problems,
    kind_of,
    quotes_hint,
    shape_problems,
    shown,
    shown_path,
    size_problems,
    wrong,
)
from runner.diagnostics import Problem, Problems, did_you_mean
from runner.tomlfile import Loc, TomlFile, read

PIXELS_MAX = 64_000_000  # what is decoded here at all

_ITEMS_MAX: dict[Loc, int] = {("fields",): 50, ("fields", "*", "accepted"): 200}

# Contract C7: the one way a picture is sent.
_PICTURES = "input_images"
_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

_NUMBER = r"-?[0-9]{1,12}(?:\.[0-9]{1,6})?"
_RANGE = re.compile(rf"({_NUMBER}) ?[-–] ?({_NUMBER})", re.ASCII)
_CHARACTERS = re.compile(r"(?:([0-9]{1,6}) ?[-–] ?|up to )([0-9]{1,6}) characters?", re.ASCII)

# Fields that the runner itself fills in, and what they must be for that.
_TEXT, _WORDS = "text of so many characters, such as `1-10000 characters`", 'a list of words, such as `["png", "webp"]`'
_RANGE_HINT = "write the lowest and the highest value, such as `0.1-0.5`"


# --- the file: its tables, and the types of single values ----------------------------------------------------------


def _model(value: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value):
        return value
    message = f"`{shown(value)}` cannot be the name of a model"
    raise wrong("bad-name", message, hint="write the slug of the model page: a-z, 0-9, `.`, `_` and `-`")


def _field_name(value: str) -> str:
    if value == "model":
        hint = "it stands at the top of the file: remove this field"
        raise wrong("reserved-field", "`model` is no field of the table", hint=hint)
    if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", value):
        return value
    message = f"`{shown(value)}` cannot be the name of a field"
    raise wrong("bad-name", message, hint="write it as the model page does: a-z, 0-9 and `_`")


def _words(most: int) -> AfterValidator:
    """A validator of text for people, of so many characters."""

    def check(value: str) -> str:
        if len(value) > most:
            raise wrong("too-long", f"this text has {len(value)} characters, at most {most} are accepted")
        if value.strip() and all(character.isprintable() or character == "\n" for character in value):
            return value
        found = "a control character" if value.strip() else "nothing"
        raise wrong("bad-text", f"expected words, found {found}")

    return AfterValidator(check)


def _format(value: str) -> str:
    if value in _MEDIA_TYPES:
        return value
    closest = did_you_mean(value, _MEDIA_TYPES)
    label = f"did you mean `{closest}`?" if closest else None
    message = f"`{shown(value)}` is no format of source pictures; known: {', '.join(_MEDIA_TYPES)}"
    raise wrong("unknown-choice", message, label=label)


Line = Annotated[str, _words(200), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200})]
Words = Annotated[str, _words(2000), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 2000})]


class FieldTable(Declared):
    """One row of the model page's table."""

    field: Annotated[str, AfterValidator(_field_name)] = Field(
        description="The field's name.", examples=["prompt"], json_schema_extra={"pattern": "^[a-z][a-z0-9_]{0,63}$"}
    )
    type: Literal["string", "integer", "number", "array"] = Field(
        description="What the JSON carries. Only `input_images` is an array.", examples=["string"]
    )
    required: bool = Field(description="Whether a request without it is none.", examples=[True])
    # Checked by _accepted, which knows what fits which type.
    accepted: Annotated[
        Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    ] = Field(
        default=None,
        description="Accepted values: a range such as `0.1-0.5`, a length such as `1-10000 characters` or "
        "`up to 10000 characters`, or a list of words. Not for `input_images`.",
    )
    default: Annotated[Any, WithJsonSchema({"type": ["string", "number"]})] = Field(
        default=None, description="What the provider does when the field is left out; leave it out if nobody says."
    )
    description: Words = Field(
        description="What the field is for.", examples=["What the picture should show, in English."]
    )


class PicturesTable(Declared):
    """Which source pictures the model accepts."""

    formats: list[Annotated[str, AfterValidator(_format)]] = Field(
        default=["png", "jpeg", "webp"],
        min_length=1,
        description="File formats.",
        json_schema_extra={"items": {"type": "string", "enum": [*_MEDIA_TYPES]}},
    )
    side_px_min: int = Field(default=1, ge=1, le=65_535, description="The shortest side, in pixels.")
    pixels_min: int = Field(default=1, ge=1, le=PIXELS_MAX, description="The fewest pixels in all.")
    pixels_max: int = Field(default=PIXELS_MAX, ge=1, le=PIXELS_MAX, description="The most pixels in all.")
    request_bytes_max: int = Field(
        default=REQUEST_BYTES_MAX,
        ge=65_536 * 2,
        le=REQUEST_BYTES_MAX,
        description="The most bytes of a request: the picture in base64, and everything around it.",
    )


class ContractFile(Declared):
    """A contract: what one model accepts."""

    model_config = ConfigDict(title="a contract")

    model: Annotated[str, AfterValidator(_model)] = Field(
        description="The slug that the endpoint knows the model by.",
        examples=["stability-upscale-fast"],
        json_schema_extra={"pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"},
    )
    operation: Operation = Field(
        description="What the model does. `prompt-to-image` takes no source picture; the others take one.",
        examples=["upscaling"],
    )
    title: Line = Field(description="The model's name.", examples=["Stability Fast Upscale"])
    summary: Words | None = Field(default=None, description="What the model is for.")
    source: Line = Field(
        description="Who says so: the model page and the day it was read. Messages cite it.",
        examples=["model page, 27 Nov 2026"],
    )
    pictures: PicturesTable = Field(default=PicturesTable(), description="Which source pictures the model accepts.")
    fields: list[FieldTable] = Field(
        min_length=1, description="The rows of the model page's table.", examples=[[{"field": "prompt"}]]
    )


# --- loading -------------------------------------------------------------------------------------------------------


def load(
    path: Path, root: Path, known: Mapping[str, Contract | None] = CONTRACTS
) -> tuple[str, Contract | None, list[Problem]]:
    """The model's name and its contract; None for that and every problem when there is any.

    `known` are the models that there are already. Where the file cannot be read, its own name stands for the model's.
    """
    where = shown_path(path, root)
    try:
        file = read(path, where, root=root)
    except Problems as error:
        return path.stem, None, list(error.problems)
    model = file.data.get("model")
    name = model if isinstance(model, str) else path.stem
    too_many = size_problems(file, _ITEMS_MAX)
    if too_many:
        return name, None, in_order(too_many, where)
    found: list[Iterable[Problem]] = [key_problems(file), _cross_problems(file, known)]
    try:
        table = ContractFile.model_validate(file.data)
    except ValidationError as error:
        found.append(shape_problems(file, ContractFile, error))
    problems = in_order(chain.from_iterable(found), where)
    return name, None if problems else _resolved(table, where), problems


def _resolved(table: ContractFile, where: str) -> Contract:
    rows = [row.model_dump() for row in table.fields]
    fields = [_made(row, table.source) for row in rows]
    own = ContractField(
        name="model",
        kind="choice",
        required=True,
        choices=(table.model,),
        description="Selects the tool at the endpoint.",
        source=table.source,
    )
    return Contract(
        model=table.model,
        title=table.title,
        summary=table.summary or "",
        fields=(own, *fields),
        pictures=None if table.operation == "prompt-to-image" else _limits(table),
        operation=table.operation,
        file=where,
    )


def _limits(table: ContractFile) -> PictureLimits:
    pictures = table.pictures
    return PictureLimits(
        count=1,
        media_types=tuple(_MEDIA_TYPES[name] for name in dict.fromkeys(pictures.formats)),
        side_px_min=pictures.side_px_min,
        pixels_min=pictures.pixels_min,
        pixels_max=pictures.pixels_max,
        request_bytes_max=pictures.request_bytes_max,
        source=table.source,
    )


def _made(row: Mapping[str, Any], source: str) -> ContractField:
    """One row as a field. The row must be without problems."""
    made = _accepted(row)
    assert isinstance(made, ContractField)
    default: OptionValue | None = row.get("default")
    return replace(
        made, required=row["required"], description=" ".join(row["description"].split()), source=source, default=default
    )


def _accepted(row: Mapping[str, Any]) -> ContractField | str:
    """The field with its type and accepted values; or, where those do not fit together, what is wanted instead."""
    name, kind, accepted = row["field"], row["type"], row.get("accepted")
    bare = ContractField(name=name, kind="string", required=False, description="", source="")
    if kind == "array":
        return replace(bare, kind="pictures")
    if kind == "string" and isinstance(accepted, list):
        fits = bool(accepted) and all(isinstance(word, str) and _is_word(word) for word in accepted)
        return replace(bare, kind="choice", choices=tuple(dict.fromkeys(accepted))) if fits else _WORDS
    if kind == "string":
        length = _CHARACTERS.fullmatch(accepted) if isinstance(accepted, str) else None
        low, high = (int(length[1] or 0), int(length[2])) if length else (1, 0)
        return replace(bare, length_min=low, length_max=high) if low <= high else f"{_TEXT}, or {_WORDS}"
    span = _RANGE.fullmatch(accepted) if isinstance(accepted, str) else None
    if span is None or (kind == "integer" and "." in span[0]) or Decimal(span[1]) > Decimal(span[2]):
        return f"a range of {'whole numbers' if kind == 'integer' else 'numbers'} from low to high, such as " + (
            "`0-4294967294`" if kind == "integer" else "`0.1-0.5`"
        )
    return replace(bare, kind=kind, minimum=Decimal(span[1]), maximum=Decimal(span[2]))


def _is_word(value: str) -> bool:
    return value.isprintable() and 0 < len(value) <= 64 and value.strip() == value


# --- checks across values: on the data as written, so that they are made whatever else is wrong --------------------


def _cross_problems(file: TomlFile, known: Mapping[str, Contract | None]) -> Iterator[Problem]:
    yield from _model_problems(file, known)
    rows = file.data.get("fields")
    rows = [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []
    first: dict[str, int] = {}
    for at, row in enumerate(rows):
        name = row.get("field")
        if not isinstance(name, str):
            continue
        if name in first:
            line = file.place(("fields", first[name], "field")).line
            message = f"the field `{shown(name)}` is declared twice, first in line {line}"
            place = file.place(("fields", at, "field"), value=True)
            yield Problem("field-twice", message, place, hint="remove one of the two")
        first.setdefault(name, at)
        yield from _row_problems(file, ("fields", at), row)
    yield from _operation_problems(file, {name: (at, rows[at]) for name, at in first.items()})
    yield from _limit_problems(file)


def _model_problems(file: TomlFile, known: Mapping[str, Contract | None]) -> Iterator[Problem]:
    model = file.data.get("model")
    if not isinstance(model, str) or model not in known:
        return
    place = file.place(("model",), value=True)
    if model in CONTRACTS:
        message = f"the model `{model}` is built in and cannot be declared"
        yield Problem("model-twice", message, place, hint=f"`omixa models {model}` shows what it accepts")
    else:
        other = known[model]
        where = f"`{other.file}`" if other is not None else "another file"
        message = f"the model `{shown(model)}` is declared twice, by {where} too"
        yield Problem("model-twice", message, place, hint="remove one of the two")


def _row_problems(file: TomlFile, loc: Loc, row: Mapping[str, Any]) -> Iterator[Problem]:
    name, kind = row["field"], row.get("type")
    if name == "model" or kind not in ("string", "integer", "number", "array"):
        return  # reported as a reserved name, a missing key or an unknown word
    if (kind == "array") != (name == _PICTURES):
        message = f"`{shown(name)}` cannot be an array" if kind == "array" else f"`{name}` must be an array"
        hint = f"the one array is `{_PICTURES}`: that is how the endpoint takes a picture"
        yield Problem("wrong-type", message, file.place((*loc, "type"), value=True), hint=hint)
        return
    if kind == "array":
        for column in ("accepted", "default"):
            if column in row:
                message = f"`{name}` has no `{column}`: which pictures it takes stands in `[pictures]`"
                yield Problem("unexpected-key", message, file.place((*loc, column)), hint="remove it")
        return
    made = _accepted(row)
    if isinstance(made, ContractField):
        yield from _use_problems(file, loc, row, made)
        yield from _default_problems(file, loc, row, made)
    elif any(did_you_mean(key, FieldTable.model_fields) == "accepted" for key in row if key != "accepted"):
        return  # reported as an unknown key
    elif "accepted" not in row:
        message = f"`accepted` is missing from the field `{shown(name)}`"
        yield Problem("missing-key", message, file.place((*loc, "field"), value=True), hint=f"write {made}")
    else:
        found = row["accepted"]
        message = f"the accepted values of a {kind} are {made}; found {_told(found)}"
        yield Problem("bad-accepted", message, file.place((*loc, "accepted"), value=True))


def _told(found: object) -> str:
    return f"`{shown(found)}`" if isinstance(found, str) else kind_of(found)


def _use_problems(file: TomlFile, loc: Loc, row: Mapping[str, Any], made: ContractField) -> Iterator[Problem]:
    """Fields that recipes and the runner fill in must be what is filled in."""
    place = file.place((*loc, "accepted"), value=True)
    required = row.get("required")
    match made.name:
        case "prompt" | "negative_prompt" if made.kind != "string":
            message = f"`{made.name}` must be {_TEXT}"
            yield Problem("bad-accepted", message, place, hint="recipes write it in `[prompts.NAME]`")
        case "negative_prompt" if required is True:
            message = "`negative_prompt` cannot be required: recipes may leave it out"
            yield Problem("bad-required", message, file.place((*loc, "required"), value=True))
        case "output_format":
            strange = [word for word in made.choices if word not in _MEDIA_TYPES]
            if made.kind != "choice" or strange:
                closest = did_you_mean(strange[0], _MEDIA_TYPES) if strange else None
                message = "`output_format` must be a list of `png`, `jpeg` and `webp`"
                label = f"did you mean `{closest}`?" if closest else None
                yield Problem(
                    "bad-accepted", message, place, label=label, hint="recipes name one of them in `[output]`"
                )
        case "seed":
            low, high = made.minimum, made.maximum
            if made.kind != "integer" or low is None or high is None or low not in (0, 1) or high < 1:
                message = "`seed` must be an integer from 0 or 1 upwards, such as `0-4294967294`"
                yield Problem("bad-accepted", message, place, hint="the runner draws one where a recipe declares none")


def _default_problems(file: TomlFile, loc: Loc, row: Mapping[str, Any], made: ContractField) -> Iterator[Problem]:
    if "default" not in row:
        return
    fault = made.fault(row["default"])
    place = file.place((*loc, "default"), value=True)
    if fault is not None:
        hint = quotes_hint(fault.code, row["default"]) or f"accepted: {made.accepts()}"
        yield Problem(
            "bad-default", f"the default is not accepted: {fault.message}", place, label=fault.hint, hint=hint
        )
    elif made.name in ("prompt", "negative_prompt", "output_format"):
        message = f"`{made.name}` has no default: what is sent stands in the recipe"
        yield Problem("unexpected-key", message, file.place((*loc, "default")), hint="remove it")


_MISSING = {
    "output_format": 'add `[[fields]]` with `field = "output_format"`: without it, nobody knows what file comes back',
    "prompt": 'add `[[fields]]` with `field = "prompt"`, required',
    _PICTURES: f'add `[[fields]]` with `field = "{_PICTURES}"` and `type = "array"`, required',
}


def _operation_problems(file: TomlFile, rows: Mapping[str, tuple[int, Mapping[str, Any]]]) -> Iterator[Problem]:
    """Fields that the operation needs, and those that it cannot have."""
    operation = file.data.get("operation")
    draws = operation == "prompt-to-image"
    needed = ["output_format"]
    if operation in ("prompt-to-image", "image-editing", "upscaling", "background-removal"):
        needed.append("prompt" if draws else _PICTURES)
    for name in needed:
        if rows and name not in rows:
            yield Problem("missing-field", f"there is no field `{name}`", file.place(("fields",)), hint=_MISSING[name])
        elif rows and name != "output_format" and rows[name][1].get("required") is False:
            place = file.place(("fields", rows[name][0], "required"), value=True)
            message = f"`{name}` must be required: the operation is `{operation}`"
            hint = "an item is one source picture" if name == _PICTURES else "there is nothing else to draw from"
            yield Problem("bad-required", message, place, hint=hint)
    if draws and _PICTURES in rows:
        message = f"`{_PICTURES}` does not fit: the operation `prompt-to-image` takes no source picture"
        place = file.place(("fields", rows[_PICTURES][0], "field"), value=True)
        yield Problem(
            "unexpected-field", message, place, hint='a model that takes one is `operation = "image-editing"`'
        )
    if draws and "pictures" in file.data:
        message = "`[pictures]` does not fit: the operation `prompt-to-image` takes no source picture"
        yield Problem("unexpected-table", message, file.place(("pictures",)), hint="remove it")


def _limit_problems(file: TomlFile) -> Iterator[Problem]:
    pictures = file.data.get("pictures")
    if not isinstance(pictures, dict):
        return
    low, high = pictures.get("pixels_min", 1), pictures.get("pixels_max", PIXELS_MAX)
    formats = pictures.get("formats")
    if isinstance(formats, list) and formats and "png" not in formats:
        message = "`formats` must have `png`: pictures that are turned or converted before they are sent become PNG"
        yield Problem("bad-limits", message, file.place(("pictures", "formats"), value=True))
    if isinstance(low, int) and isinstance(high, int) and low > high:
        message = f"no picture has at least {low} and at most {high} pixels"
        key = "pixels_min" if "pixels_min" in pictures else "pixels_max"
        yield Problem("bad-limits", message, file.place(("pictures", key), value=True))
