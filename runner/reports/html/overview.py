"""What a page adds up beside its table, in the same pass over the attempts: by day, recipe and cost centre.

Memory grows with days × recipes × cost centres, and with corrections, not with attempts.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from runner.reports.report import Sums

if TYPE_CHECKING:
    from runner.ledger.usage import UsageRow

# How many single requests a page lists of each kind.
LISTED_MAX = 50

_Key = tuple[str, str, str, str, str | None]


class Overview:
    """Sums of one currency each. `unknown`, `unusable` and `again`: as many attempts of each as a page lists."""

    def __init__(self) -> None:
        self._groups: dict[_Key, Sums] = {}
        self._corrected: dict[tuple[str, str, int], Sums] = {}
        self._unknown: dict[int, UsageRow] = {}
        self.unusable: list[UsageRow] = []
        self.again: list[UsageRow] = []

    def watch(self, rows: "Iterable[UsageRow]") -> "Iterator[UsageRow]":
        """The same attempts, counted as they go by: so that all of a page is of one look at the ledger."""
        for row in rows:
            key = (row.currency, row.workspace, row.day, row.recipe, row.cost_centre)
            sums = self._groups.get(key)
            if sums is None:
                sums = self._groups[key] = Sums()
            sums.count(row)
            if row.before_state is not None:
                self._correct(row)
            if row.state == "unknown" and len(self._unknown) < LISTED_MAX:
                self._unknown[row.attempt_id] = row
            listed = self._list_of(row)
            if listed is not None and len(listed) < LISTED_MAX:
                listed.append(row)
            yield row

    @property
    def unknown(self) -> "list[UsageRow]":
        """Attempts whose answer never came, without those of which a correction tells how they ended."""
        return list(self._unknown.values())

    def taken_back(self, currency: str, first_day: str | None, last_day: str | None) -> Sums:
        """What corrections took back of attempts that other days than these have counted: only what was open of them.

        It is part of the report's own sums, so what these days have open themselves is those less this. Zero or below.
        """
        found = Sums()
        for (of_currency, day, _), change in self._corrected.items():
            is_here = (first_day or day) <= day <= (last_day or day)
            if of_currency == currency and not is_here:
                found.open_count += min(0, change.open_count)
                found.open_micros += min(0, change.open_micros)
                found.unknown_count += min(0, change.unknown_count)  # above: a correction that only lost the answer
                found.unknown_micros += min(0, change.unknown_micros)
        return found

    def _correct(self, row: "UsageRow") -> None:
        """A correction is of an attempt that was counted before it, here or in a report of other days."""
        assert row.corrected_day is not None
        change = Sums()
        change.count(row)
        self._corrected.setdefault((row.currency, row.corrected_day, row.attempt_id), Sums()).add(change)
        self._unknown.pop(row.attempt_id, None)

    def _list_of(self, row: "UsageRow") -> "list[UsageRow] | None":
        if row.state != "settled" or (row.has_picture and not row.again):
            return None
        return self.again if row.has_picture else self.unusable

    def workspaces(self, currency: str) -> list[str]:
        """The workspaces with attempts in a currency."""
        return sorted({key[1] for key in self._groups if key[0] == currency})

    def by_day(self, currency: str, workspace: str) -> dict[str, Sums]:
        """Sums by the workspace's local day; days without attempts are not there."""
        return {str(day): sums for day, sums in self._by(2, currency, workspace).items()}

    def by_recipe(self, currency: str) -> dict[str | None, Sums]:
        """Sums by recipe, the dearest first."""
        return _dearest_first(self._by(3, currency))

    def by_cost_centre(self, currency: str) -> dict[str | None, Sums]:
        """Sums by cost centre, the dearest first; None: without one."""
        return _dearest_first(self._by(4, currency))

    def _by(self, at: int, currency: str, workspace: str | None = None) -> dict[str | None, Sums]:
        found: dict[str | None, Sums] = {}
        for key, sums in self._groups.items():
            if key[0] == currency and workspace in (None, key[1]):
                found.setdefault(key[at], Sums()).add(sums)
        return found


def _dearest_first(groups: dict[str | None, Sums]) -> dict[str | None, Sums]:
    def order(group: tuple[str | None, Sums]) -> tuple[int, int, bool, str]:
        name, sums = group
        return -sums.settled_micros, -sums.open_micros, name is None, name or ""

    return dict(sorted(groups.items(), key=order))
