"""The items of a plan, however many: the first thousand as they are, more of them packed, in a file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from runner.contracts.contract import OptionValue
from runner.images import Picture
from runner.item import Action, Draft, Item, Paid
from runner.pile import HELD, Pile
from runner.recipe_tables import NAMELESS

# What a table shows of an item: action, step, source path, output path, reason.
Line = tuple[Action, str, str, str, str]
_FOLDERS_HELD = 64


class Shelf(Sequence[Item]):
    """Items in their order, with their counts. They are given once, and can be gone through as often as needed.
    `len` is of those that are listed.

    Safe to read from any thread when all are there. Raises DiskError when there is no room for the file.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._held: list[Item] | None = []
        self._packed = Pile()
        self._options: list[Mapping[str, OptionValue]] = []
        self._numbers: dict[int, int] = {}
        self._count = 0
        # How many more there are that are paid for and in place, of which nothing else is known.
        self.unlisted = 0
        self._counts: Counter[tuple[str, Action, bool]] = Counter()
        self._folders = Pile()
        self._newest_folders: dict[str, None] = {}
        for item in items:
            self.append(item)

    def append(self, item: Item) -> None:
        """One more item."""
        self._count += 1
        self._counts[item.draft.step, item.action, item.after is not None] += 1
        self._note_folder(str(item.draft.output))
        if self._held is None:
            self._packed.append(self._pack(item))
            return
        self._held.append(item)
        if len(self._held) > HELD:
            self._packed.extend(map(self._pack, self._held))
            self._held = None

    def add_unlisted(self, count: int, folders: Iterable[str]) -> None:
        """So many more that are paid for and in place, in these folders: they are counted, and are not in the list.

        Of a recipe of one step.
        """
        if count:
            self.unlisted += count
            self._counts[NAMELESS, "skip", False] += count
            self._folders.extend(folders)

    def how_many(self, *actions: Action, step: str | None = None, alone: bool = False) -> int:
        """How many items have one of these decisions, of one step or (None) of all; without any: how many there are,
        listed or not.

        `alone`: without those that share a purchase which is still to be made.
        """
        return sum(
            count
            for (of, action, shared), count in self._counts.items()
            if (not actions or action in actions) and step in (None, of) and not (alone and shared)
        )

    @property
    def actions(self) -> Mapping[Action, int]:
        """How many items have which decision, in the order in which the first of each came."""
        found: Counter[Action] = Counter()
        for (_, action, _), count in self._counts.items():
            found[action] += count
        return found

    @property
    def steps(self) -> frozenset[tuple[str, Action]]:
        """Which steps have items with which decision."""
        return frozenset((step, action) for step, action, _ in self._counts)

    @property
    def folders(self) -> Iterable[str]:
        """Where the results are to stand, absolute; one may be named more than once."""
        return self._folders

    @property
    def lines(self) -> Iterator[Line]:
        """What a table shows of each item: for many it is several times as fast as to make the items again."""
        if self._held is not None:
            for item in self._held:
                draft = item.draft
                yield item.action, draft.step, draft.source_path, draft.output_path, item.reason
        else:
            for row in self._packed:
                yield row[:5]

    def of(self, *actions: Action) -> Iterator[Item]:
        """The items with one of these decisions, in order."""
        if self._held is not None:
            yield from (item for item in self._held if item.action in actions)
        else:
            yield from (self._unpacked(row) for row in self._packed if row[0] in actions)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return iter(self._held) if self._held is not None else map(self._unpacked, self._packed)

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...

    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if self._held is not None:
            return self._held[at]
        if isinstance(at, slice):
            return [self._unpacked(self._packed[one]) for one in range(self._count)[at]]
        return self._unpacked(self._packed[at])

    def _note_folder(self, output: str) -> None:
        folder = output[: output.rfind("/")] or "/"
        if folder in self._newest_folders:
            return
        if len(self._newest_folders) >= _FOLDERS_HELD:
            del self._newest_folders[next(iter(self._newest_folders))]
        self._newest_folders[folder] = None
        self._folders.append(folder)

    def _number_of(self, options: Mapping[str, OptionValue]) -> int:
        """Options are shared by all items of one preset: each is kept once, and stays where it is in memory."""
        number = self._numbers.get(id(options))
        if number is None:
            number = self._numbers[id(options)] = len(self._options)
            self._options.append(options)
        return number

    def _pack(self, item: Item) -> tuple[Any, ...]:
        draft, picture, paid = item.draft, item.draft.picture, item.paid
        source = None if draft.source is None else str(draft.source)
        return (
            item.action,
            draft.step,
            draft.source_path,
            draft.output_path,
            item.reason,
            item.after,
            None if paid is None else (paid.attempt_id, paid.date, paid.result_digest, paid.result_bytes),
            source,
            None
            if picture is None
            else (
                None if picture.path == draft.source else str(picture.path),
                picture.digest,
                picture.size_bytes,
                picture.media_type,
                picture.width,
                picture.height,
                picture.has_alpha,
                picture.sixteen_bit,
                picture.needs_preparing,
            ),
            draft.fault,
            draft.prompt_name,
            draft.prompt,
            draft.negative,
            draft.preset_name,
            self._number_of(draft.options),
            draft.key,
            str(draft.output),
            draft.output_size,
            draft.provenance,
            draft.resembles,
            draft.origin,
            draft.lineage,
        )

    def _unpacked(self, row: tuple[Any, ...]) -> Item:
        action, step, source_path, output_path, reason, after, paid, source, picture, fault, *rest = row
        prompt_name, prompt, negative, preset_name, options, key, output, size, provenance, resembles, *made = rest
        path = None if source is None else Path(source)
        draft = Draft(
            source=path,
            source_path=source_path,
            picture=None if picture is None else _picture(path, *picture),
            fault=fault,
            prompt_name=prompt_name,
            prompt=prompt,
            negative=negative,
            preset_name=preset_name,
            options=self._options[options],
            key=key,
            output=Path(output),
            output_path=output_path,
            output_size=size,
            provenance=provenance,
            resembles=resembles,
            step=step,
            origin=made[0],
            lineage=made[1],
        )
        return Item(draft, action, reason, None if paid is None else Paid(*paid), after)


def _picture(source: Path | None, path: str | None, *others: Any) -> Picture:
    """`path` None: it is the draft's source."""
    where = source if path is None else Path(path)
    assert where is not None
    return Picture(where, *others)
