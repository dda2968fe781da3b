"""One picture to buy: the draft before the ledger was asked, and the item with its decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.contracts.contract import OptionValue
from runner.images import Picture

# buy: will be sent · restore: paid before, comes back without paying · skip: paid and there · hold: its money or its
# file is in a state that a person must look at · unsuitable: the model would refuse it · later: beyond --limit
Action = Literal["buy", "restore", "skip", "hold", "unsuitable", "later"]


@dataclass(frozen=True, slots=True)
class Draft:
    """One source picture × one prompt × one preset, before the ledger was asked. Some models take no source picture.

    `key` is the item key, None when `fault` says why the picture or its prompt cannot be sent. `options` holds all
    that is sent but prompts, and no seed unless one is declared. `source_path` and `output_path` are relative to the
    project, posix. `output_size` is None when nothing stands at the output path. Without a source picture, `source` and
    `picture` are None, and `source_path` is empty. `resembles`: the result should show what the source shows.
    `provenance`: whether the file is to say which attempt made it.

    `step` is empty in a recipe of one. What takes the result of an earlier step names that one's output path as
    `origin`, which is its `source_path`, too; `source` is then the kept result. Until that is bought there is none, and
    `key` is None: then `lineage`, which says what is to be made of what, stands in for it.
    """

    source: Path | None
    source_path: str
    picture: Picture | None
    fault: str | None
    prompt_name: str
    prompt: str
    negative: str | None
    preset_name: str
    options: Mapping[str, OptionValue]
    key: str | None
    output: Path
    output_path: str
    output_size: int | None
    provenance: bool = False
    resembles: bool = True
    step: str = ""
    origin: str | None = None
    lineage: str | None = None

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Which of a recipe's items it is, whatever is in the picture: step, source path, prompt and preset name."""
        return self.step, self.source_path, self.prompt_name, self.preset_name

    @property
    def awaits(self) -> bool:
        """Whether the picture that it is to be made of is still to be bought."""
        return self.origin is not None and self.key is None and self.fault is None

    @property
    def identity(self) -> str | None:
        """What is the same for all that is one purchase; None: it cannot be sent."""
        return self.key or (self.lineage if self.awaits else None)

    @property
    def told(self) -> str:
        """What a message calls it: its source picture, or without one its result."""
        return self.source_path or self.output_path

    @property
    def missing(self) -> str:
        """What a message calls it that says it is not there: as `told`, but its own result where its source is one.

        The source has a line of its own then, or is there; and more than one thing may be made of it.
        """
        return self.told if self.origin is None else self.output_path


@dataclass(frozen=True, slots=True)
class Paid:
    """An item that was paid for: when (UTC date), and what came. `result_digest` None: no usable picture."""

    attempt_id: int
    date: str
    result_digest: str | None
    result_bytes: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """A draft with its decision. `after` names the item (output path) that this one shares its purchase with."""

    draft: Draft
    action: Action
    reason: str
    paid: Paid | None = None
    after: str | None = None
