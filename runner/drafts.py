"""Every picture a recipe asks for, looked at: its type, size and digest, its prompt and options, and its item key."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from runner import images
from runner.contracts.contract import OptionValue
from runner.images import Picture, Unsuitable
from runner.items import Wanted
from runner.plan import Draft, item_key
from runner.prompts import PromptText, text_for
from runner.recipe import Recipe


def draft(recipe: Recipe, wanted: Iterable[Wanted], root: Path) -> list[Draft]:
    """The drafts of a recipe, in the order they are wanted. A source used with several prompts is read once."""
    looked: dict[Path | None, Picture | Unsuitable | None] = {None: None}
    limits = recipe.contract.pictures
    drafts = []
    for want in wanted:
        if want.source is not None and limits is not None and want.source not in looked:
            looked[want.source] = images.inspect(
                want.source,
                limits,
                output_format=recipe.output.format,
                flatten=recipe.output.flatten,
                sixteen_bit=recipe.allow.sixteen_bit,
            )
        drafts.append(_draft(recipe, want, looked[want.source], root))
    return drafts


def _draft(recipe: Recipe, want: Wanted, found: Picture | Unsuitable | None, root: Path) -> Draft:
    """`found` None: the model takes no source picture."""
    text = text_for(recipe, want.prompt, picture=want.source, rel=want.rel)
    options = _options(recipe, want.preset)
    fault = found.reason if isinstance(found, Unsuitable) else text if isinstance(text, str) else None
    key = None
    if not isinstance(found, Unsuitable) and isinstance(text, PromptText):
        is_flattened = found is not None and found.has_alpha and recipe.output.format == "jpeg"
        key = item_key(
            recipe.contract,
            options,
            prompt=text.text,
            negative=text.negative,
            picture_digest=found.digest if found is not None else "",
            flatten=recipe.output.flatten if is_flattened else None,
        )
    return Draft(
        source=want.source,
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
        provenance=recipe.output.provenance,
        resembles=recipe.contract.operation == "upscaling",
    )


def _options(recipe: Recipe, preset: str) -> Mapping[str, OptionValue]:
    """What the preset and the output format send; seed 0 means random, which the runner draws itself."""
    declared = dict(recipe.presets.get(preset, {}))
    if declared.get("seed") == 0:
        del declared["seed"]
    return {**declared, "output_format": recipe.output.format}


def shown(path: Path, root: Path) -> str:
    """A path as the ledger keeps it: relative to the project where it is inside, posix."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _size(path: Path) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None
