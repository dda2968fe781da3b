"""What every declared table shares: a strict pydantic base, the small types, and pydantic's errors as Problems."""

import difflib
import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

import annotated_types
import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from runner import money
from runner.diagnostics import Place, Problem, did_you_mean, keys_in
from runner.tomlfile import Loc, TomlFile

PROBLEMS_MAX = 100  # of one file: nobody reads more, and a hostile file has thousands


class Declared(BaseModel):
    """A declared table, or a value made from one: exact types, no unknown keys, never changed afterwards."""

    # Built when it is first used: most commands use a third of what can be declared.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


def wrong(code: str, message: str, *, label: str | None = None, hint: str | None = None) -> PydanticCustomError:
    """What a validator raises: becomes a Problem at the value's place."""
    return PydanticCustomError(code, "{message}", {"message": message, "label": label, "hint": hint})


def shown(value: object) -> str:
    """A found value for a message, short: text as it is, anything else by its type."""
    text = str(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else kind_of(value)
    return text if len(text) <= 60 else text[:59] + "…"


def kind_of(value: object) -> str:
    """The TOML type of a value, with its article."""
    kinds = {bool: "a boolean", int: "an integer", Decimal: "a decimal number", str: "a string", list: "an array"}
    more = {dict: "a table", datetime: "a date and time", date: "a date", time: "a time of day"}
    return (kinds | more).get(type(value), f"a {type(value).__name__}")


# --- types ---------------------------------------------------------------------------------------------------------


def _money(value: object) -> int:
    try:
        return money.declared(value)
    except money.AmountError as error:
        if isinstance(value, str):
            raise wrong("bad-amount", str(error)) from None
        hint = f'write `"{value}"`' if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
        raise wrong("money-not-text", str(error), hint=hint) from None


def _name(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        return value
    message = f"`{shown(value)}` cannot be a name"
    raise wrong("bad-name", message, hint="names have letters, digits, `.`, `_` and `-`, 64 characters at most")


def _line(value: str) -> str:
    if value.strip() and value.isprintable() and len(value) <= 200:
        return value
    found = (
        "nothing" if not value.strip() else f"{len(value)} characters" if len(value) > 200 else "a control character"
    )
    raise wrong("bad-text", f"expected one line of 1-200 characters, found {found}")


def is_path(value: object) -> TypeGuard[str]:
    """Whether a value can be a path at all, so that asking the disk about it cannot fail in odd ways."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 1000:
        return False
    return all(len(part.encode()) <= 255 for part in value.split("/"))


def _path(value: str) -> str:
    if is_path(value):
        return value
    raise wrong("bad-path", "this cannot be a path: it is empty, too long, or has a control character")


# Money, in micro-units of the workspace's currency.
Money = Annotated[
    int,
    BeforeValidator(_money),
    WithJsonSchema({"type": "string", "pattern": r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?$", "examples": ["5.00"]}),
]
Name = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, AfterValidator(_line), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200})]
PathText = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "minLength": 1})]


class BudgetTable(Declared):
    """The most that may be spent in each window of the workspace's calendar."""

    day: Money | None = Field(default=None, description="The most one calendar day may cost.")
    week: Money | None = Field(default=None, description="The most one week, from Monday, may cost.")
    month: Money | None = Field(default=None, description="The most one calendar month may cost.")
    quarter: Money | None = Field(default=None, description="The most one calendar quarter may cost.")
    year: Money | None = Field(default=None, description="The most one calendar year may cost.")
    total: Money | None = Field(default=None, description="The most that may ever be spent.")

    def caps(self) -> dict[str, int]:
        """The declared caps, period → micro-units."""
        return {period: cap for period, cap in self if cap is not None}


# --- paths ---------------------------------------------------------------------------------------------------------


def absolute(root: Path, path: str) -> Path:
    """A declared path, made absolute and without `..`; `~` is the home folder, links are left as they are."""
    home = os.path.expanduser(path)  # noqa: PTH111  (Path.expanduser raises for a user that is not there)
    return Path(os.path.normpath(root / home))


def real(path: Path) -> Path:
    """The path with every symbolic link followed. Unlike Path.resolve, never raises, not even for a circle of links."""
    return Path(os.path.realpath(path))


def shown_path(path: Path, root: Path) -> str:
    """A path for messages: relative to the project where it is in it, with forward slashes."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


# --- checks that settings and recipes share ------------------------------------------------------------------------


def similar(path: Path) -> str | None:
    """A hint at a file or folder beside a missing one that is spelled almost the same."""
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean `{close[0]}`?" if close else None


def tables(data: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """The tables under `key`, such as each of `[prompts.…]`; what is no table is left out (reported as a bad type)."""
    found = data.get(key)
    if not isinstance(found, dict):
        return {}
    return {name: table for name, table in found.items() if isinstance(table, dict)}


def size_problems(file: TomlFile, limits: Mapping[Loc, int]) -> list[Problem]:
    """Arrays and tables with more in them than anybody writes by hand; `*` in a place stands for each item of it.

    Asked before anything else is: what is checked or read for each of a hundred takes minutes for each of ten
    thousand, and their product is what is bought.
    """
    found = []
    for pattern, most in limits.items():
        for loc, value in _at(file.data, pattern):
            if isinstance(value, list | dict) and len(value) > most:
                message = f"{_called(loc)} has {len(value)} items, more than {most}"
                found.append(Problem("too-many-items", message, file.place(loc)))
    return found[:PROBLEMS_MAX]


def _at(value: object, pattern: Loc, loc: Loc = ()) -> Iterator[tuple[Loc, object]]:
    """Everything in the data that a pattern leads to, and where it is."""
    if not pattern:
        yield loc, value
    elif pattern[0] != "*":
        if isinstance(value, dict) and pattern[0] in value:
            yield from _at(value[pattern[0]], pattern[1:], (*loc, pattern[0]))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _at(item, pattern[1:], (*loc, position))


def key_problems(file: TomlFile) -> Iterator[Problem]:
    """Everything in the text that looks like a workspace key, also in comments. The key itself is never shown."""
    for start, length in keys_in(file.text):
        yield Problem(
            "key-in-file",
            "this looks like a workspace key; keys do not belong in files under version control",
            file.place_at(start, length),
            hint="remove it and have it revoked; omixa.toml says where a key is kept: "
            '`api_key = { env = "OMIXA_API_KEY" }`',
        )


def unknown(code: str, what: str, name: str, known: Iterable[str], place: Place | None) -> Problem:
    """The Problem of a name that nothing has: `what` is such as `workspace`, `known` the names there are."""
    names = sorted(known)
    closest = did_you_mean(name, names)
    listed = ", ".join(f"`{name}`" for name in names[:10]) + (", …" if len(names) > 10 else "")
    return Problem(
        code,
        f"there is no {what} `{shown(name)}`",
        place,
        label=f"did you mean `{closest}`?" if closest else None,
        hint=None if closest else f"known: {listed}" if names else f"no {what} is declared",
    )


def in_order(problems: Iterable[Problem], path: str) -> list[Problem]:
    """One file's problems from top to bottom; at most PROBLEMS_MAX, and then a word that there are more."""
    first = list(dict.fromkeys(islice(problems, 10 * PROBLEMS_MAX)))
    first.sort(key=lambda problem: _position(problem, path))
    if len(first) > PROBLEMS_MAX:
        message = f"there are more than {PROBLEMS_MAX} problems in this file; the others are not shown"
        first[PROBLEMS_MAX:] = [Problem("too-many-problems", message, Place(path))]
    return first


def _position(problem: Problem, path: str) -> tuple[bool, int, int]:
    place = problem.place
    if place is None:
        return False, 0, 0
    return place.path != path, place.line or 0, place.column or 0


# --- pydantic's errors as Problems ---------------------------------------------------------------------------------


def shape_problems(file: TomlFile, model: type[Declared], error: ValidationError) -> Iterator[Problem]:
    """What pydantic found, each with its place: unknown and missing keys, wrong types, values out of range."""
    details = error.errors(include_url=False)[: 10 * PROBLEMS_MAX]
    misspelled = {_meant(model, tuple(detail["loc"])) for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        if detail["type"] != "missing" or tuple(detail["loc"]) not in misspelled:
            yield _shape_problem(file, model, detail)


def _meant(model: type[Declared], loc: Loc) -> Loc:
    """The way to the key that an unknown one is a misspelling of; to itself when it is not close to any."""
    table = _model_at(model, loc[:-1])
    return (*loc[:-1], did_you_mean(str(loc[-1]), _keys(table)) or loc[-1])


def _shape_problem(file: TomlFile, model: type[Declared], detail: ErrorDetails) -> Problem:
    loc: Loc = tuple(detail["loc"])
    kind, found, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(file, model, loc, found)
    if kind == "missing":
        return _missing_key(file, model, loc)
    place = file.place(loc[:-1]) if loc[-1:] == ("[key]",) else file.place(loc, value=True)
    if "message" in context:  # from wrong()
        return Problem(kind, context["message"], place, label=context["label"], hint=context["hint"])
    field = _field_at(model, loc)
    code, message, label = _in_words(kind, _called(loc), found, field) or ("bad-value", detail["msg"], None)
    hint = _table_hint(kind, loc, found, field, _model_at(model, (*loc, 0)) is not None) or quotes_hint(code, found)
    return Problem(code, message, place, label, hint=hint)


def quotes_hint(code: str, found: object) -> str | None:
    """The way out for a number written as text, text written as a number, or several where one is taken."""
    if code != "wrong-type":
        return None
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return f'write one of them, without brackets: `"{shown(found[0])}"`'
    if isinstance(found, str) and re.fullmatch(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?", found):
        return "remove the quotes"
    if isinstance(found, int | Decimal) and not isinstance(found, bool):
        return f'text stands in quotes: `"{shown(found)}"`'
    return None


_WANTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "`true` or `false`",
    "dict_type": "a table",
    "model_type": "a table",
    "list_type": "an array",
}


def _in_words(kind: str, name: str, found: object, field: FieldInfo | None) -> tuple[str, str, str | None] | None:
    """Code, message and label of an error that pydantic itself raised; None for one that our models never meet."""
    if kind == "list_type" and _takes_one(field):
        return "wrong-type", f"{name} must be a string, or an array of strings, found {kind_of(found)}", None
    if kind in _WANTED:
        return "wrong-type", f"{name} must be {_WANTED[kind]}, found {kind_of(found)}", None
    low, high = _limits(field)
    if kind in ("greater_than_equal", "less_than_equal"):
        accepted = f"{low}-{high}" if high is not None else f"at least {low}"
        return "out-of-range", f"{name} must be {accepted}, found {shown(found)}", None
    if kind == "literal_error" and field is not None:
        words = [str(word) for word in get_args(_bare(field.annotation))]
        closest = did_you_mean(str(found), words)
        label = f"did you mean `{closest}`?" if closest else None
        return "unknown-choice", f"{name} has no value `{shown(found)}`; accepted: {', '.join(words)}", label
    if kind == "too_short":
        return "too-short", f"{name} is empty", None
    if kind == "string_too_long":
        return "too-long", f"{name} has {len(str(found))} characters, at most {_longest(field)} are accepted", None
    return None


def _takes_one(field: FieldInfo | None) -> bool:
    """Whether a string may stand for an array of one."""
    parts = () if field is None else (field.annotation, *get_args(field.annotation))
    notes = [note for part in parts for note in getattr(part, "__metadata__", ())]
    return any(isinstance(note, BeforeValidator) for note in notes)


def _unknown_key(file: TomlFile, model: type[Declared], loc: Loc, found: object) -> Problem:
    table = _model_at(model, loc[:-1])
    known = _keys(table)
    name = str(loc[-1])
    closest = did_you_mean(name, known)
    what = "table" if isinstance(found, dict) or _is_tables(found) else "key"
    return Problem(
        f"unknown-{what}",
        f"{_table(loc[:-1], model)} has no {what} `{shown(name)}`",
        file.place(loc),
        label=f"did you mean `{closest}`?" if closest else None,
        hint=None if closest else f"known: {', '.join(f'`{key}`' for key in known)}",
    )


def _missing_key(file: TomlFile, model: type[Declared], loc: Loc) -> Problem:
    field = _field_at(model, loc)
    name = str(loc[-1])
    example = field.examples[0] if field is not None and field.examples else None
    what = "table" if isinstance(example, dict) or _is_tables(example) else "key"
    return Problem(
        f"missing-{what}",
        f"`{name}` is missing" + (f" from {_table(loc[:-1], model)}" if len(loc) > 1 else ""),
        file.place(loc[:-1]),
        hint=_add(_dotted(loc) if what == "table" else name, example),
    )


def _add(name: str, example: Any) -> str | None:
    """How to write what is missing, from the example in the model."""
    if example is None:
        return None
    if _is_tables(example):
        key, value = next(iter(example[0].items()))
        return f"add `[[{name}]]` with `{_pair(key, value)}`"
    if not isinstance(example, dict):
        return f"add `{_pair(name, example)}`"
    key, value = next(iter(example.items()))
    return _add(f"{name}.{key}", value) if isinstance(value, dict) else f"add `[{name}]` with `{_pair(key, value)}`"


def _pair(key: str, value: object) -> str:
    return tomli_w.dumps({key: value}).strip()


def _table_hint(kind: str, loc: Loc, found: object, field: FieldInfo | None, is_of_tables: bool) -> str | None:
    """The way out for tables written with the wrong number of brackets, or as plain values."""
    if kind == "list_type" and is_of_tables:
        brackets = f"`[[{_dotted(loc)}]]`, with two brackets"
        return f"write {brackets}" if isinstance(found, dict) else f"write {brackets}, and its keys below it"
    if kind not in ("dict_type", "model_type"):
        return None
    if isinstance(loc[-1], int):
        return f"write `[[{_dotted(loc)}]]`, with two brackets, and its keys below it"
    if _is_tables(found):
        return f"write `[{_dotted(loc)}]`, with one bracket"
    if field is not None and field.examples and not any(isinstance(v, dict) for v in field.examples[0].values()):
        inside = ", ".join(_pair(key, value) for key, value in field.examples[0].items())
        return f"write `{loc[-1]} = {{ {inside} }}`"
    return f"write `[{_dotted(loc)}]` and its keys below it"


def _table(loc: Loc, model: type[Declared]) -> str:
    """A table in words: `[output]`, `[[sources]]`, or what the whole file is."""
    if not loc:
        return str(model.model_config.get("title"))
    return f"`[[{_dotted(loc)}]]`" if isinstance(loc[-1], int) else f"`[{_dotted(loc)}]`"


def _called(loc: Loc) -> str:
    """A value in words: `folder`, item 2 of `include`."""
    if len(loc) > 1 and isinstance(loc[-1], int):
        return f"item {loc[-1] + 1} of `{_dotted(loc[-2:-1])}`"
    return f"`{loc[-1]}`"


def _dotted(loc: Loc) -> str:
    return ".".join(part for part in loc if isinstance(part, str))


def _is_tables(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(item, dict) for item in found)


def _limits(field: FieldInfo | None) -> tuple[object, object]:
    metadata = field.metadata if field is not None else []
    low = next((limit.ge for limit in metadata if isinstance(limit, annotated_types.Ge)), None)
    high = next((limit.le for limit in metadata if isinstance(limit, annotated_types.Le)), None)
    return low, high


def _longest(field: FieldInfo | None) -> object:
    metadata = field.metadata if field is not None else []
    return next((limit.max_length for limit in metadata if isinstance(limit, annotated_types.MaxLen)), None)


def _model_at(model: type[Declared], loc: Loc) -> type[Declared] | None:
    """The table's class at `loc`; None where there is none, as inside a preset."""
    at: Any = model
    for part in loc:
        at = _bare(at)
        if isinstance(at, type) and issubclass(at, Declared):
            field = _field(at, str(part))
            at = field.annotation if field is not None else None
        else:
            at = next(iter(get_args(at)[-1:]), None)
    at = _bare(at)
    return at if isinstance(at, type) and issubclass(at, Declared) else None


def _field_at(model: type[Declared], loc: Loc) -> FieldInfo | None:
    table = _model_at(model, loc[:-1])
    return _field(table, str(loc[-1])) if table is not None else None


def _field(table: type[Declared], key: str) -> FieldInfo | None:
    """The field of a key. Where a key is a word of Python (`from`), the field has it as its alias."""
    return next((field for name, field in table.model_fields.items() if key == (field.alias or name)), None)


def _keys(table: type[Declared] | None) -> list[str]:
    """The keys of a table, as they are written."""
    return [field.alias or name for name, field in table.model_fields.items()] if table is not None else []


def _bare(annotation: Any) -> Any:
    """The type without `Annotated` and `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation
