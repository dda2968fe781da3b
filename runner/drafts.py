"""Every picture a recipe asks for, looked at: its type, size and digest, its prompt and options, and its item key."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from runner import images
from runner.contracts.contract import OptionValue
from runner.images import Picture, Unsuitable
from runner.items import Wanted
from runner.plan import Draft, item_key
from runner.prompts import PromptText, text_for
from runner.recipe import Recipe, Step


def draft(
    recipe: Recipe, wanted: Iterable[Wanted], root: Path, mend: Callable[[Draft], Draft] = lambda one: one
) -> list[Draft]:
    """The drafts of a recipe, in the order they are wanted. A source used with several prompts is read once.

    What is made of a result waits for it, whether that is there or not: `made_of` gives it its picture. `mend` changes
    a draft before what is made of its result is looked at.
    """
    identities: dict[Path, str | None] = {}
    looked: dict[tuple[Path | None, str], Picture | Unsuitable | None] = {}
    drafts = []
    for want in wanted:
        origin = want.source if want.step.origin is not None else None
        source = want.source if origin is None else None
        at = source, want.step.name
        if at not in looked:
            looked[at] = None if source is None else _looked(recipe, want.step, source)
        made = mend(_draft(recipe, want, looked[at], None if origin is None else identities.get(origin), root))
        if len(recipe.steps) > 1:
            identities[want.output] = made.identity
        drafts.append(made)
    return drafts


def made_of(recipe: Recipe, one: Draft, file: Path) -> Draft:
    """The draft of what is made of a result, now that it is there and kept as `file`: with its picture and key."""
    step = recipe.step(one.step)
    found = _looked(recipe, step, file)
    fault = found.reason if isinstance(found, Unsuitable) else None
    key = None
    if isinstance(found, Picture):
        key = _key(step, one.options, one.prompt, one.negative, found)
    return replace(one, source=file, picture=found if isinstance(found, Picture) else None, fault=fault, key=key)


def key_of_made(recipe: Recipe, one: Draft, result_digest: str) -> str:
    """The item key of what is made of a result that is known by its digest alone. Where transparency would be laid on a
    colour, it is taken for transparent.
    """
    return _key(recipe.step(one.step), one.options, one.prompt, one.negative, result_digest)


def _looked(recipe: Recipe, step: Step, source: Path) -> Picture | Unsuitable | None:
    limits = step.contract.pictures
    if limits is None:
        return None
    return images.inspect(
        source,
        limits,
        output_format=step.output.format,
        flatten=step.output.flatten,
        sixteen_bit=recipe.allow.sixteen_bit,
    )


def _key(
    step: Step,
    options: Mapping[str, OptionValue],
    prompt: str,
    negative: str | None,
    found: Picture | str | None,
) -> str:
    """The item key. `found`: the picture; or what stands in for one that is not there; None: the model takes none."""
    is_jpeg = step.output.format == "jpeg"
    is_flattened = is_jpeg and (found.has_alpha if isinstance(found, Picture) else isinstance(found, str))
    return item_key(
        step.contract,
        options,
        prompt=prompt,
        negative=negative,
        picture_digest=found.digest if isinstance(found, Picture) else found or "",
        flatten=step.output.flatten if is_flattened else None,
    )


def _draft(recipe: Recipe, want: Wanted, found: Picture | Unsuitable | None, made_of: str | None, root: Path) -> Draft:
    """`found` None: the model takes no source picture, or the result that it takes: of the identity `made_of`."""
    step = want.step
    text = text_for(recipe, step.contract, want.prompt, picture=want.source, rel=want.rel)
    options = _options(recipe, step, want.preset)
    fault = found.reason if isinstance(found, Unsuitable) else text if isinstance(text, str) else None
    key = lineage = None
    if isinstance(text, PromptText):
        sent = step, options, text.text, text.negative
        if step.origin is None:
            key = None if isinstance(found, Unsuitable) else _key(*sent, found)
        elif made_of is not None:
            lineage = _key(*sent, f"made of {made_of}")
    return Draft(
        source=want.source if step.origin is None else None,
        source_path=shown(want.source, root) if want.source is not None else "",
        picture=found if isinstance(found, Picture) else None,
        fault=fault,
        prompt_name=want.prompt,
        prompt=text.text if isinstance(text, PromptText) else "",
        negative=text.negative if isinstance(text, PromptText) else None,
        preset_name=want.preset,
        options=options,
        key=key,
        output=want.output,
        output_path=shown(want.output, root),
        output_size=_size(want.output),
        provenance=step.output.provenance,
        resembles=step.contract.operation == "upscaling",
        step=step.name,
        origin=shown(want.source, root) if step.origin is not None and want.source is not None else None,
        lineage=lineage,
    )


def _options(recipe: Recipe, step: Step, preset: str) -> Mapping[str, OptionValue]:
    """What the preset and the output format send; seed 0 means random, which the runner draws itself."""
    declared = dict(recipe.presets.get(preset, {}))
    if declared.get("seed") == 0:
        del declared["seed"]
    return {**declared, "output_format": step.output.format}


def shown(path: Path, root: Path) -> str:
    """A path as the ledger keeps it: relative to the project where it is inside, posix."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _size(path: Path) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None
