"""Every picture a recipe asks for, looked at: its type, size and digest, its prompt and options, and its item key."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner import images
from runner.contracts.contract import OptionValue
from runner.images import Picture, Unsuitable
from runner.items import Wanted
from runner.plan import Draft, item_keys
from runner.prompts import SIDECAR_SUFFIX, PromptText, text_for
from runner.recipe import Recipe, Step

if TYPE_CHECKING:
    from runner.images.seen import Seen


def draft(
    recipe: Recipe,
    wanted: Iterable[Wanted],
    root: Path,
    mend: Callable[[Draft], Draft] = lambda one: one,
    *,
    seen: "Seen | None" = None,
) -> list[Draft]:
    """The drafts of a recipe, in the order they are wanted. A source used with several prompts is looked at once, and
    not at all when it is as it was `seen`; None: all are.

    What is made of a result waits for it, whether that is there or not: `made_of` gives it its picture. `mend` changes
    a draft before what is made of its result is looked at.
    """
    return Drafting(recipe, root, mend, seen=seen).of(wanted)


class Drafting:
    """Makes the drafts of one recipe, batch after batch (`items.Wants`), as `draft` does for all of them at once."""

    def __init__(
        self,
        recipe: Recipe,
        root: Path,
        mend: Callable[[Draft], Draft] = lambda one: one,
        *,
        seen: "Seen | None" = None,
    ) -> None:
        self._looks = {step.name: _looking(recipe, step, seen) for step in recipe.steps}
        self._drawing = _Drawing(recipe, root)
        self._mend, self._has_steps = mend, len(recipe.steps) > 1

    def of(self, wanted: Iterable[Wanted]) -> list[Draft]:
        """The drafts of a batch, in its order. What is made of a result is in the batch of that result."""
        identities: dict[Path, str | None] = {}
        looked: dict[tuple[Path | None, str], Picture | Unsuitable | None] = {}
        drafts = []
        for want in wanted:
            origin = want.source if want.step.origin is not None else None
            source = want.source if origin is None else None
            at = source, want.step.name
            if at not in looked:
                looked[at] = None if source is None else self._looks[want.step.name](source)
            made = self._mend(self._drawing.draft(want, looked[at], None if origin is None else identities.get(origin)))
            if self._has_steps:
                identities[want.output] = made.identity
            drafts.append(made)
        return drafts


def made_of(recipe: Recipe, one: Draft, file: Path, seen: "Seen | None" = None) -> Draft:
    """The draft of what is made of a result, now that it is there and kept as `file`: with its picture and key."""
    step = recipe.step(one.step)
    found = _looking(recipe, step, seen)(file)
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


def _looking(recipe: Recipe, step: Step, seen: "Seen | None") -> Callable[[Path], Picture | Unsuitable | None]:
    """How the pictures of a step are looked at; None comes of it where its model takes none."""
    limits, output_format, flatten = step.contract.pictures, step.output.format, step.output.flatten
    sixteen_bit = recipe.allow.sixteen_bit
    if limits is None:
        return lambda _: None
    if seen is not None:
        return seen.looking(limits, output_format=output_format, flatten=flatten, sixteen_bit=sixteen_bit)
    return lambda path: images.inspect(
        path, limits, output_format=output_format, flatten=flatten, sixteen_bit=sixteen_bit
    )


def _key(
    step: Step,
    options: Mapping[str, OptionValue],
    prompt: str,
    negative: str | None,
    found: Picture | str | None,
) -> str:
    """The item key. `found`: the picture; or what stands in for one that is not there; None: the model takes none."""
    return item_keys(step.contract, options, prompt=prompt, negative=negative, flatten=_flattened(step, found))(
        _digest(found)
    )


def _flattened(step: Step, found: Picture | str | None) -> str | None:
    """The colour under transparency that is not kept; a picture that is not there may have some."""
    is_jpeg = step.output.format == "jpeg"
    is_flattened = is_jpeg and (found.has_alpha if isinstance(found, Picture) else isinstance(found, str))
    return step.output.flatten if is_flattened else None


def _digest(found: Picture | str | None) -> str:
    return found.digest if isinstance(found, Picture) else found or ""


class _Drawing:
    """Makes the drafts of one recipe. What is the same for many of them is made once, and shared."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self._recipe, self._root = recipe, root
        self._options: dict[tuple[str, str], Mapping[str, OptionValue]] = {}
        self._texts: dict[tuple[str, str], PromptText | str | None] = {}
        self._keys: dict[tuple[str, str, str, str | None, str | None], Callable[[str], str]] = {}
        self._listed: tuple[str | None, frozenset[str]] = (None, frozenset())

    def draft(self, want: Wanted, found: Picture | Unsuitable | None, made_of: str | None) -> Draft:
        """`found` None: the model takes no source picture, or the result that it takes: of the identity `made_of`."""
        step, root = want.step, self._root
        text = self._text(want)
        options = self._options.get((step.name, want.preset))
        if options is None:
            options = self._options[step.name, want.preset] = _options(self._recipe, step, want.preset)
        fault = found.reason if isinstance(found, Unsuitable) else text if isinstance(text, str) else None
        key = lineage = None
        if isinstance(text, PromptText):
            sent = want, options, text.text, text.negative
            if step.origin is None:
                key = None if isinstance(found, Unsuitable) else self._key(*sent, found)
            elif made_of is not None:
                lineage = self._key(*sent, f"made of {made_of}")
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

    def _key(
        self,
        want: Wanted,
        options: Mapping[str, OptionValue],
        prompt: str,
        negative: str | None,
        found: Picture | str | None,
    ) -> str:
        step = want.step
        flatten, picture_digest = _flattened(step, found), _digest(found)
        same = (step.name, want.preset, prompt, negative, flatten)
        keys = self._keys.get(same)
        if keys is None:
            keys = item_keys(step.contract, options, prompt=prompt, negative=negative, flatten=flatten)
            if len(self._keys) < _HELD_MAX:
                self._keys[same] = keys
        return keys(picture_digest)

    def _text(self, want: Wanted) -> PromptText | str:
        at = want.step.name, want.prompt
        if at not in self._texts:
            self._texts[at] = _same_for_all(self._recipe, want.step, want.prompt)
        same = self._texts[at]
        if same is not None and not (want.source is not None and self._has_sidecar(want.source)):
            return same
        return text_for(self._recipe, want.step.contract, want.prompt, picture=want.source, rel=want.rel)

    def _has_sidecar(self, picture: Path) -> bool:
        """Whether a prompt of its own lies beside a picture. Pictures come folder by folder, so each is listed once."""
        folder, name = os.path.split(picture)
        if self._listed[0] != folder:
            try:
                with os.scandir(folder) as listing:
                    names = frozenset(one.name for one in listing if one.name.endswith(SIDECAR_SUFFIX))
            except OSError:
                return True  # whoever looks at it says why
            self._listed = folder, names
        return name + SIDECAR_SUFFIX in self._listed[1]


# Prompts that differ from picture to picture have a key of their own each, which nobody asks for again.
_HELD_MAX = 1000


def _same_for_all(recipe: Recipe, step: Step, prompt_name: str) -> PromptText | str | None:
    """The text of a prompt without placeholders, which is that of every picture; None: it differs."""
    prompt = recipe.prompts.get(prompt_name)
    if prompt is None or set("{}") & {*prompt.text, *(prompt.negative or "")}:
        return None
    return text_for(recipe, step.contract, prompt_name, picture=None, rel="")


def _options(recipe: Recipe, step: Step, preset: str) -> Mapping[str, OptionValue]:
    """What the preset and the output format send; seed 0 means random, which the runner draws itself."""
    declared = dict(recipe.presets.get(preset, {}))
    if declared.get("seed") == 0:
        del declared["seed"]
    return {**declared, "output_format": step.output.format}


def shown(path: Path, root: Path) -> str:
    """A path as the ledger keeps it: relative to the project where it is inside, posix."""
    text, above = str(path), f"{str(root).rstrip('/')}/"
    if text.startswith(above):
        return text[len(above) :]
    return "." if path == root else text


def _size(path: Path) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None
