"""What is wrong with a recipe across its values: asked of the data as written, whatever else is wrong."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from runner import slots, templates
from runner.contracts.contract import Contract
from runner.declared import absolute, is_path, real, shown, shown_path, similar, tables, unknown
from runner.diagnostics import Place, Problem, did_you_mean
from runner.recipe_prompts import Prompt, prompt_problems
from runner.recipe_tables import (
    DRAWN_NAME_PLACEHOLDERS,
    EXTENSIONS,
    JITTER_MAX_S,
    NAME_PLACEHOLDERS,
    OUTPUT_NAME_LENGTH_MAX,
    OutputTable,
    ScheduleTable,
)
from runner.settings import Names
from runner.settings_checks import preset_problems
from runner.settings_tables import preset_options
from runner.tomlfile import Loc, TomlFile


def cross_problems(file: TomlFile, names: Names, contract: Contract | None) -> Iterator[Problem]:
    """Every problem that no single value has: names that nothing has, options that do not fit, folders over folders."""
    yield from _name_problems(file)
    yield from _workspace_problems(file, names)
    yield from _model_problems(file, (), file.data, names)
    yield from _preset_problems(file, names, contract)
    if contract is not None and contract.pictures is None:
        yield from _drawn_problems(file, names, contract)
    else:
        if contract is not None:
            yield from _top_preset_problems(file)
        for position, source in enumerate(_tables_of(file.data, "sources")):
            yield from _source_problems(file, ("sources", position), source, names, contract)
    yield from _output_problems(file, names.root, contract, (), file.data)
    yield from _schedule_problems(file)


def graph_problems(file: TomlFile, names: Names, prompts: Mapping[str, Prompt]) -> Iterator[Problem]:
    """The same of a recipe of several steps. `prompts` as they were read."""
    yield from _name_problems(file)
    yield from _workspace_problems(file, names)
    for key in ("model", "sources", "output", "preset"):
        if key in file.data:
            message = f"`{key}` stands at the top, and each of the `[[steps]]` has its own"
            yield Problem("unexpected-key", message, file.place((key,)), hint="move it into the steps it is for")
    steps = _step_tables(file)
    yield from _step_preset_problems(file, names, steps)
    for position, step in enumerate(steps):
        loc: Loc = ("steps", position)
        yield from _step_name_problems(file, loc, step, steps[:position])
        yield from _origin_problems(file, loc, step, steps)
        yield from _model_problems(file, loc, step, names)
        contract = _contract(step, names)
        yield from _step_source_problems(file, loc, step, names, contract)
        yield from _step_prompt_problems(file, loc, step, prompts, contract)
        yield from _output_problems(file, names.root, contract, loc, step)
        yield from _transparency_problems(file, loc, step, steps[:position], names)
    yield from _schedule_problems(file)


def _step_tables(file: TomlFile) -> list[dict[str, Any]]:
    return _tables_of(file.data, "steps")


def _tables_of(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The tables of an array; what is none is reported elsewhere, and is an empty one here."""
    found = data.get(key)
    return [one if isinstance(one, dict) else {} for one in found] if isinstance(found, list) else []


def _contract(table: Mapping[str, Any], names: Names) -> Contract | None:
    model = table.get("model")
    return names.contracts.get(model) if isinstance(model, str) else None


def _step_name_problems(
    file: TomlFile, loc: Loc, step: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]
) -> Iterator[Problem]:
    name = step.get("name")
    if isinstance(name, str) and any(one.get("name") == name for one in earlier):
        message = f"there are two steps `{shown(name)}`"
        yield Problem("same-name", message, file.place((*loc, "name"), value=True), hint="give each a name of its own")


def _origin_problems(
    file: TomlFile, loc: Loc, step: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
) -> Iterator[Problem]:
    """A step takes from an earlier one, so that none waits for itself."""
    name, position = step.get("from"), loc[1]
    assert isinstance(position, int)
    if not isinstance(name, str):
        return
    earlier = [one["name"] for one in steps[:position] if isinstance(one.get("name"), str)]
    place = file.place((*loc, "from"), value=True)
    if name == step.get("name"):
        message = f"step `{shown(name)}` takes from itself"
        yield Problem("later-step", message, place, hint="name an earlier step, or give it `[[steps.sources]]`")
    elif name not in earlier and any(one.get("name") == name for one in steps):
        message = f"`{shown(name)}` is a later step, and a step takes from an earlier one"
        yield Problem("later-step", message, place, hint=f"write the step `{shown(name)}` above this one")
    elif name not in earlier:
        yield unknown("unknown-step", "earlier step", name, earlier, place)


def _transparency_problems(
    file: TomlFile, loc: Loc, step: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], names: Names
) -> Iterator[Problem]:
    """JPEG of what an earlier step cuts out, and no colour behind it: the run would hear of that when the cut-outs are
    bought. What else may come back transparent, nobody says beforehand.
    """
    output, taken = step.get("output"), step.get("from")
    if not isinstance(output, dict) or output.get("format") != "jpeg" or "flatten" in output:
        return
    for one in earlier:
        contract, of_earlier = _contract(one, names), one.get("output")
        is_cut_out = contract is not None and contract.operation == "background-removal"
        is_opaque = isinstance(of_earlier, dict) and of_earlier.get("format") == "jpeg"
        if isinstance(taken, str) and one.get("name") == taken and is_cut_out and not is_opaque:
            message = f"the step `{shown(taken)}` makes backgrounds transparent, which JPEG cannot keep"
            hint = 'add the colour behind it, such as `flatten = "#ffffff"`, or choose another format'
            yield Problem("transparent-jpeg", message, file.place((*loc, "output", "format"), value=True), hint=hint)
            return


def _step_source_problems(
    file: TomlFile, loc: Loc, step: Mapping[str, Any], names: Names, contract: Contract | None
) -> Iterator[Problem]:
    """Where a step's pictures are from: folders, an earlier step, or nowhere because its model takes none."""
    is_drawn = contract is not None and contract.pictures is None
    sources = [] if is_drawn else _tables_of(step, "sources")
    if not is_drawn and "sources" in step and "from" in step:
        message = "the step has both `from` and `[[steps.sources]]`, and needs one of them"
        yield Problem("from-and-sources", message, file.place((*loc, "from")), hint="remove one; or make it two steps")
    if contract is not None and is_drawn:
        for key in ("sources", "from"):
            if key in step:
                message = f"{contract.model} takes no source picture, so its step has no `{key}`"
                at = (*loc, key, 0) if key == "sources" else (*loc, key)
                yield Problem("unexpected-key", message, file.place(at), hint="remove it")
    elif contract is not None and not sources and "from" not in step and step.get("sources", []) == []:
        hint = 'add `from = "…"` with an earlier step, or `[[steps.sources]]` with a folder'
        yield Problem("missing-sources", "the step does not say which pictures it takes", file.place(loc), hint=hint)
    for position, source in enumerate(sources):
        yield from _source_problems(file, (*loc, "sources", position), source, names, contract)
    if sources:
        for key in ("prompt", "preset"):
            if key in step:
                message = f"`{key}` stands beside `[[steps.sources]]`, and each of those says its own"
                yield Problem(
                    "unexpected-key", message, file.place((*loc, key)), hint="write it in `[[steps.sources]]`"
                )
    else:
        yield from _named_prompt_problems(file, loc, step, contract, "step")
        yield from _named_preset_problems(file, loc, step, names, contract)


def _step_prompt_problems(
    file: TomlFile, loc: Loc, step: Mapping[str, Any], prompts: Mapping[str, Prompt], contract: Contract | None
) -> Iterator[Problem]:
    """Prompts that the step's model would decline, or could not fill in; the recipe has them for all of its steps."""
    if contract is None:
        return
    sources: list[tuple[Loc, Mapping[str, Any]]] = [
        ((*loc, "sources", at), one) for at, one in enumerate(_tables_of(step, "sources"))
    ]
    for where, table in sources or [(loc, step)]:
        named = list(_named(table, where, "prompt"))
        if contract.field("prompt") is None:
            for at, name in named[:1]:
                message = f"{contract.model} takes no prompt, and `{shown(name)}` is one"
                yield Problem("unexpected-key", message, file.place(at, value=True), hint="remove it")
            continue
        if not named and len(prompts) == 1:
            named = [(where, next(iter(prompts)))]
        if not named and not prompts and contract.needs_prompt:
            hint = 'add `[prompts.NAME]` with `text = "…"`'
            yield Problem("missing-table", f"{contract.model} needs a prompt", file.place(where), hint=hint)
        for at, name in named:
            if name in prompts:
                place = file.place(at, value=at != where)
                yield from prompt_problems(prompts[name], contract, f"prompt `{shown(name)}`", place)


def _step_preset_problems(file: TomlFile, names: Names, steps: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """What is wrong with the recipe's own presets, for each model that is asked with them."""
    every = [contract for contract in (_contract(step, names) for step in steps) if contract is not None]
    users: dict[str, list[Contract]] = {}
    for step in steps:
        contract = _contract(step, names)
        for table in [step, *_tables_of(step, "sources")]:
            for _, name in _named(table, (), "preset"):
                if contract is not None and contract not in users.setdefault(name, []):
                    users[name].append(contract)
    for name, preset in tables(file.data, "presets").items():
        found = [
            list(preset_problems(file, ("presets", name), preset, contract, _allowed_styles(file)))
            for contract in users.get(name) or every
        ]
        if users.get(name):
            yield from (problem for problems in found for problem in problems)
        elif found and all(found):  # no step asks with it, and none could
            yield from found[0]


def _name_problems(file: TomlFile) -> Iterator[Problem]:
    name = file.path.stem
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        better = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "recipe"
        message = f"`{shown(name)}` cannot be the name of a recipe"
        hint = f"names have a-z, 0-9, `.`, `_` and `-`; rename the file, for example to `{better}.toml`"
        yield Problem("bad-name", message, Place(file.shown), hint=hint)


def _workspace_problems(file: TomlFile, names: Names) -> Iterator[Problem]:
    workspace = file.data.get("workspace")
    if isinstance(workspace, str) and names.workspaces is not None and workspace not in names.workspaces:
        place = file.place(("workspace",), value=True)
        yield unknown("unknown-workspace", "workspace", workspace, names.workspaces, place)


def _model_problems(file: TomlFile, loc: Loc, table: Mapping[str, Any], names: Names) -> Iterator[Problem]:
    model = table.get("model")
    if isinstance(model, str) and model not in names.contracts:
        yield unknown("unknown-model", "model", model, names.contracts, file.place((*loc, "model"), value=True))


def _allowed_styles(file: TomlFile) -> list[str]:
    allow = file.data.get("allow")
    styles = allow.get("style_preset") if isinstance(allow, dict) else None
    return [style for style in styles if isinstance(style, str)] if isinstance(styles, list) else []


def _preset_problems(file: TomlFile, names: Names, contract: Contract | None) -> Iterator[Problem]:
    if contract is not None:
        for name, preset in tables(file.data, "presets").items():
            yield from preset_problems(file, ("presets", name), preset, contract, _allowed_styles(file))


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
    yield from _named_prompt_problems(file, loc, source, contract, "source")
    yield from _named_preset_problems(file, loc, source, names, contract)


def _named_prompt_problems(
    file: TomlFile, loc: Loc, table: Mapping[str, Any], contract: Contract | None, what: str
) -> Iterator[Problem]:
    """Prompts that the table at `loc`, a source or a step, names and nobody has; or that it does not choose between."""
    prompts = tables(file.data, "prompts")
    for at, name in _named(table, loc, "prompt"):
        if name not in prompts:
            yield unknown("unknown-prompt", "prompt", name, prompts, file.place(at, value=True))
    # A step without a prompt, of a model that takes none, says nothing about those of the others.
    wordless = loc[:1] == ("steps",) and contract is not None and contract.field("prompt") is None
    if table.get("prompt") is None and len(prompts) > 1 and not wordless:
        listed = ", ".join(f"`{shown(name)}`" for name in prompts)
        message = f"this {what} does not say which prompt it wants, and the recipe has {len(prompts)}"
        yield Problem("missing-prompt", message, file.place(loc), hint=f"add `prompt = …` with one of {listed}")


def _named_preset_problems(
    file: TomlFile, loc: Loc, source: Mapping[str, Any], names: Names, contract: Contract | None
) -> Iterator[Problem]:
    """What is wrong with the presets that the table at `loc` names: unknown, for another model, or incomplete."""
    own = tables(file.data, "presets")
    if contract is not None and source.get("preset") is None:
        # Places are looked for when there is something to say: that parses the file a second time.
        place = partial(file.place, loc) if loc else partial(file.place, ("model",), value=True)
        yield from _incomplete_problems("no preset sets it", {}, contract, place)
    for at, name in _named(source, loc, "preset"):
        place = partial(file.place, at, value=True)
        if name not in own and names.presets is not None and name not in names.presets:
            yield unknown("unknown-preset", "preset", name, {*own, *names.presets}, place())
        elif name not in own and names.presets is not None and contract is not None:
            yield from _misfit_problems(name, names.presets[name], names, contract, place)
        preset = own.get(name, (names.presets or {}).get(name))
        if isinstance(preset, Mapping) and contract is not None:
            yield from _incomplete_problems(f"the preset `{shown(name)}` does not set it", preset, contract, place)


def _incomplete_problems(
    what: str, preset: Mapping[str, Any], contract: Contract, place: Callable[[], Place]
) -> Iterator[Problem]:
    """Options that the model requires and nobody sets: it would decline what is sent."""
    for name, option in preset_options(contract).items():
        if option.required and name not in preset:
            message = f"{contract.model} requires `{name}`, and {what}"
            yield Problem("missing-option", message, place(), hint=f"set it in a preset: {option.accepts()}")


def _misfit_problems(
    name: str, preset: Mapping[str, Any], names: Names, contract: Contract, place: Callable[[], Place]
) -> Iterator[Problem]:
    """A shared preset that fits another model, but not this recipe's. One that fits none is reported in omixa.toml."""
    fits_another = any(other is None or not _faults(preset, other) for other in names.contracts.values())
    for fault in _faults(preset, contract)[:1]:
        if fits_another:
            message = f"the preset `{name}` of omixa.toml does not fit {contract.model}: {fault.message}"
            yield Problem("preset-misfit", message, place(), hint=f"declare `[presets.{name}]` in this recipe")


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
        yield Problem("missing-folder", f"the folder `{where}` does not exist", place, label=similar(path))


# --- output --------------------------------------------------------------------------------------------------------


def _output_problems(
    file: TomlFile, root: Path, contract: Contract | None, loc: Loc, table: Mapping[str, Any]
) -> Iterator[Problem]:
    """What is wrong with the output of a step, or of a recipe that is one: `table`, at `loc`."""
    output = table.get("output")
    loc = (*loc, "output")
    if not isinstance(output, dict):
        return
    name = output.get("name")
    if isinstance(name, str):
        drawn = contract is not None and contract.pictures is None
        yield from output_name_problems(
            file, (*loc, "name"), name, DRAWN_NAME_PLACEHOLDERS if drawn else NAME_PLACEHOLDERS
        )
    if contract is not None:
        yield from _format_problems(file, loc, output, contract)
    folder = output.get("folder")
    if is_path(folder):
        yield from _output_folder_problems(file, (*loc, "folder"), folder, root)


def _format_problems(file: TomlFile, loc: Loc, output: Mapping[str, Any], contract: Contract) -> Iterator[Problem]:
    """A format that the model cannot give, although others can."""
    field, wanted = contract.field("output_format"), output.get("format", OutputTable.model_fields["format"].default)
    if field is not None and isinstance(wanted, str) and wanted in EXTENSIONS and wanted not in field.choices:
        message = f"{contract.model} gives no `{wanted}`; accepted: {', '.join(field.choices)}"
        found = (*loc, "format") if "format" in output else loc
        yield Problem("unknown-choice", message, file.place(found, value="format" in output))


def output_name_problems(
    file: TomlFile, loc: Loc, name: str, placeholders: tuple[str, ...] = NAME_PLACEHOLDERS
) -> Iterator[Problem]:
    """What is wrong with the template of results' names, which stands at `loc`."""
    if len(name) > OUTPUT_NAME_LENGTH_MAX:
        message = f"the name has {len(name)} characters, more than {OUTPUT_NAME_LENGTH_MAX}"
        yield Problem("unsafe-output-name", message, file.place(loc, value=True))
        return
    text = templates.Text(name, file.path.parent, lambda part: file.place_within(loc, part))
    yield from templates.faults(text, placeholders)
    parts = name.split("/")
    if name.startswith(("/", "~")) or "\\" in name or ".." in parts or "." in parts:
        message = f"the name `{shown(name)}` could lead out of the output folder"
        hint = "names are relative, with `/` between folders and without `..`"
        yield Problem("unsafe-output-name", message, file.place(loc, value=True), hint=hint)
    elif not name.isprintable() or not parts[-1].strip():
        yield Problem("unsafe-output-name", f"the name `{shown(name)}` is no file name", file.place(loc, value=True))
    elif name.lower().endswith((".png", ".jpg", ".jpeg", ".webp")):
        extension = PurePosixPath(name).suffix
        message = f"the name ends in `{shown(extension)}`, and the format adds an extension"
        yield Problem("extension-in-name", message, file.place(loc, value=True), hint="leave it out")


def _output_folder_problems(file: TomlFile, loc: Loc, folder: str, root: Path) -> Iterator[Problem]:
    output = absolute(root, folder)
    for source in [one for table in [file.data, *_step_tables(file)] for one in _tables_of(table, "sources")]:
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
                file.place(loc, value=True),
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
