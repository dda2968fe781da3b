"""Which slots are due, and which of them are ours: recipes and settings as last good, against the ledger's agenda.

One step at a time, by a clock that is handed in; starts no thread and opens no socket.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runner import approvals, known_models
from runner import recipe as recipes
from runner.declared import shown_path
from runner.diagnostics import Problem, Problems
from runner.errors import OmixaError
from runner.ledger import agenda, owners
from runner.ledger.agenda import Agenda, Schedule, Slot
from runner.project import load_all, recipe_paths
from runner.recipe import Recipe
from runner.settings import Settings, Workspace, ledger_path
from runner.settings_tables import FILE_NAME, SANDBOX
from runner.slots import Timing, last_due, next_due
from runner.terminal import counted

# A slot that is seen so much later than it was due was missed: nobody looked, or the machine slept.
GRACE = timedelta(minutes=5)

# The most slots of one recipe that are written down one by one when nobody has looked for long.
ACCOUNTED_MAX = 10_000

Log = Callable[..., None]


@dataclass(slots=True)
class Watched:
    """A recipe as it is looked after: its last good version, and what is wrong with the file now, if anything.

    `recipe` None: it was never good since this process began. `accounted`: slots up to here are in the ledger.
    """

    name: str
    recipe: Recipe | None
    timing: Timing | None
    account: str
    accounted: datetime
    problem: str | None = None
    problem_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A slot that is ours to run, not before `start_at`."""

    slot: Slot
    recipe: Recipe
    settings: Settings
    start_at: datetime


@dataclass(slots=True)
class Watch:
    """What is watched over. `log(action, **facts)` hears what happens, in stable words.

    Without `consent` what spends real money is skipped. `price` says what a run of a recipe would buy and cost now, in
    words, for missed slots that are only planned.
    """

    root: Path
    agenda: Agenda
    owner: str
    who: str
    log: Log
    price: Callable[[Recipe, Settings, datetime], str]
    consent: bool = True
    settings: Settings | None = None
    watched: dict[str, Watched] = field(default_factory=dict)
    settings_problem: str | None = None
    _signature: Any = None
    _doubted: str | None = None

    # ---- recipes and settings

    def reload(self, at: datetime, *, force: bool = False) -> bool:
        """Read the files again when they have changed; whether they were read.

        What is broken keeps its last good version. Raises Problems when omixa.toml is broken and never was good.
        """
        signature = self._sign()
        if signature == self._signature and not force:
            return False
        settings, loaded, problems = load_all(self.root, [])
        if settings is None or self._is_other_ledger(settings):
            if self.settings is None:
                raise Problems(problems)
            text = (
                _told(problems, beyond=FILE_NAME)
                if settings is None
                else "[ledger] url has changed: that needs a restart"
            )
            self._settings_broke(text)
        else:
            if self.settings_problem is not None:
                self.log("recipe-restored", recipe=FILE_NAME)
            self.settings, self.settings_problem = settings, None
        if settings is not None:
            self._take_in(loaded, problems, at)
        self._signature = signature
        return True

    def _is_other_ledger(self, settings: Settings) -> bool:
        return self.settings is not None and ledger_path(settings) != ledger_path(self.settings)

    def _settings_broke(self, text: str) -> None:
        if text != self.settings_problem:
            self.settings_problem = text
            self.log("reload-failed", file=FILE_NAME, problem=text)

    def _take_in(self, loaded: Sequence[Recipe], problems: Sequence[Problem], at: datetime) -> None:
        assert self.settings is not None
        good = {recipe.name: recipe for recipe in loaded}
        broken = {path.stem: path for path in recipe_paths(self.root, []) if path.stem not in good}
        for recipe in good.values():
            if recipe.workspace in self.settings.workspaces:
                self._watch(recipe, at)
        for name, path in broken.items():
            self._broke(name, path, _told([one for one in problems if _is_about(one, path, self.root)]), at)
        gone = [name for name in self.watched if name not in good and name not in broken]
        for name in gone:
            self._forget(name, self.watched.pop(name).account, at)
        if self._signature is None:  # what went away while nobody looked
            for one in agenda.schedules(self.agenda.database).values():
                if one.timing is not None and one.recipe not in self.watched:
                    self._forget(one.recipe, one.workspace, at)

    def _watch(self, recipe: Recipe, at: datetime) -> None:
        """Look after the present version of a recipe; the slots of another timing before it are accounted for first."""
        assert self.settings is not None
        workspace = self.settings.workspaces[recipe.workspace]
        timing = recipe.schedule.timing(workspace.time_zone) if recipe.schedule else None
        known = self.watched.get(recipe.name)
        if known is not None and known.problem is not None:
            self.log("recipe-restored", recipe=recipe.name)
        if known is not None and known.timing == timing and known.account == workspace.account:
            known.recipe, known.problem, known.problem_digest = recipe, None, None
            return
        recorded = agenda.schedule(self.agenda.database, recipe.name)
        if timing is None and (recorded is None or recorded.timing is None):
            accounted = at
        else:
            accounted = self._accounted(known, recipe.name, recorded, timing, workspace, at)
        self.watched[recipe.name] = Watched(recipe.name, recipe, timing, workspace.account, accounted)

    def _accounted(
        self,
        known: Watched | None,
        name: str,
        recorded: Schedule | None,
        timing: Timing | None,
        workspace: Workspace,
        at: datetime,
    ) -> datetime:
        """Record the timing of a recipe; up to which moment its slots are accounted for."""
        before = _timing(recorded)
        if recorded is not None and before is not None and before != timing:
            since = agenda.accounted_to(self.agenda.database, name) or at
            # A slot of the last minutes belongs to whoever changed it in time; older ones, nobody has seen.
            until = at if known is None else at - GRACE
            old, _ = last_due(before, since, max(since, until), ACCOUNTED_MAX)
            self._account(name, recorded.workspace, old, "missed", "nobody was there before the schedule changed", at)
        text, zone = (None, workspace.time_zone) if timing is None else (str(timing), timing.zone)
        self.agenda.watch(name, workspace.account, text, zone, who=self.who, at=at)
        return agenda.accounted_to(self.agenda.database, name) or at

    def _broke(self, name: str, path: Path, text: str, at: datetime) -> None:
        """A file that cannot be used: its last good version goes on; without one, its slots are skipped."""
        known = self.watched.get(name)
        if known is None:
            recorded = agenda.schedule(self.agenda.database, name)
            accounted = agenda.accounted_to(self.agenda.database, name) or at
            workspace = "" if recorded is None else recorded.workspace
            known = self.watched[name] = Watched(name, None, _timing(recorded), workspace, accounted)
        digest = _digest(path)
        if (known.problem, known.problem_digest) != (text, digest):
            known.problem, known.problem_digest = text, digest
            version = "its last good version goes on" if known.recipe is not None else "its slots are skipped"
            self.log("recipe-invalid", recipe=name, problem=text, version=version)

    def _forget(self, name: str, account: str, at: datetime) -> None:
        """A file that is gone has no schedule any more."""
        recorded = agenda.schedule(self.agenda.database, name)
        if recorded is not None and recorded.timing is not None:
            self.agenda.watch(name, account, None, recorded.zone, who=self.who, at=at)
            self.log("reload", recipe=name, change="its file is gone, so it is not run any more")

    def _sign(self) -> Any:
        """What tells whether a file has changed: place, size, moment of change, inode."""
        files = [
            file for folder in (known_models.FOLDER, recipes.FOLDER) for file in (self.root / folder).glob("*.toml")
        ]
        places = [self.root / FILE_NAME, self.root / ".git" / "HEAD", *sorted(files)]
        found = []
        for place in places:
            try:
                facts = place.stat()
                found.append((place, facts.st_size, facts.st_mtime_ns, facts.st_ino))
            except OSError:
                found.append((place, -1, -1, -1))
        return tuple(found)

    def recipes_of(self, workspace: str) -> list[Recipe]:
        """The last good version of each recipe of a workspace."""
        found = [one.recipe for one in list(self.watched.values()) if one.recipe is not None]
        return [recipe for recipe in found if recipe.workspace == workspace]

    # ---- slots

    def next_at(self, at: datetime) -> datetime | None:
        """When the next slot of any recipe is due, after what is accounted for; None: none is ever."""
        moments = [next_due(one.timing, one.accounted) for one in self.watched.values() if one.timing is not None]
        return min((moment for moment in moments if moment is not None), default=None)

    def due(self, at: datetime) -> list[Due]:
        """Claim what is due and ours, and write down what became of the rest. Nothing is done by a doubted clock."""
        doubt = self.agenda.clock_ran_ahead(at)
        if doubt is not None:
            if self._doubted is None:
                self.log("clock-jump", problem=doubt, help="omixa doctor --confirm-clock --note …")
            self._doubted = doubt
            return []
        self._doubted = None
        ours: list[Due] = []
        for one in sorted(self.watched.values(), key=lambda one: one.name):
            if one.timing is not None:
                ours += self._due_of(one, at)
        return ours

    def _due_of(self, one: Watched, at: datetime) -> Iterator[Due]:
        assert one.timing is not None
        moments, older = last_due(one.timing, one.accounted, at, ACCOUNTED_MAX)
        if not moments:
            return
        why_not = self._why_not(one)
        if why_not is not None:
            self._account(one.name, one.account, moments, "skipped", why_not, at)
            one.accounted = moments[-1]
            return
        recipe = one.recipe
        assert recipe is not None
        assert recipe.schedule is not None
        missed = [moment for moment in moments if at - moment > GRACE]
        fresh = moments[len(missed) :]
        late = None
        if missed:
            late = missed.pop() if recipe.schedule.missed == "once" and not fresh else None
            self._miss(one, recipe, missed, older, at)
        for moment in [*([] if late is None else [late]), *fresh]:
            slot = self.agenda.claim(
                one.name,
                moment,
                one.account,
                owner=self.owner,
                who=self.who,
                at=at,
                overlap=recipe.schedule.overlap,
            )
            if slot is None:
                continue  # another scheduler has it
            if slot.state == "overlapped":
                self.log("slot-overlapped", recipe=one.name, due_at=moment, reason=slot.reason)
                continue
            self.log("slot-claimed", recipe=one.name, due_at=moment)
            assert self.settings is not None
            yield Due(slot, recipe, self.settings, moment + jitter(one.name, moment, recipe.schedule.jitter_s))
        one.accounted = moments[-1]

    def _miss(self, one: Watched, recipe: Recipe, missed: list[datetime], older: int, at: datetime) -> None:
        if not missed:
            return
        assert recipe.schedule is not None
        reason = "nobody looked when it was due"
        if recipe.schedule.missed == "plan" and self.settings is not None:
            reason += f"; {self._priced(recipe, self.settings, at)}"
        if older:
            first = f"{reason}; {counted(older, 'older slot')} before it not written down one by one"
            self._account(one.name, one.account, missed[:1], "missed", first, at)
            missed = missed[1:]
        self._account(one.name, one.account, missed, "missed", reason, at)

    def _priced(self, recipe: Recipe, settings: Settings, at: datetime) -> str:
        try:
            return self.price(recipe, settings, at)
        except OmixaError as error:
            return f"no plan could be made: {error.message if not isinstance(error, Problems) else 'see omixa check'}"

    def stands_in_the_way(self, recipe: str) -> str | None:
        """Why a slot of a recipe that has waited is not run now; None: it is."""
        one = self.watched.get(recipe)
        return "its recipe is gone" if one is None else self._why_not(one)

    def _why_not(self, one: Watched) -> str | None:
        """Why none of a recipe's slots runs now; None: they run."""
        if one.recipe is None:
            return f"the recipe has problems: {one.problem}"
        assert one.recipe.schedule is not None
        if one.recipe.schedule.paused:
            return "paused in the recipe"
        recorded = agenda.schedule(self.agenda.database, one.name)
        if recorded is not None and recorded.paused_at is not None:
            return f"paused by {recorded.paused_by}: {recorded.paused_reason}"
        if self.settings is None or one.recipe.workspace not in self.settings.workspaces:
            return f"{FILE_NAME} has no workspace `{one.recipe.workspace}` any more"
        if not self.consent and self.settings.workspaces[one.recipe.workspace].endpoint != SANDBOX:
            return "it spends real money, and the scheduler was started without --yes"
        return None

    def _account(
        self, name: str, account: str, moments: Sequence[datetime], state: Any, reason: str, at: datetime
    ) -> None:
        added = self.agenda.account(name, account, moments, state, reason, who=self.who, at=at)
        if added:
            facts = {"recipe": name, "slots": added, "first": moments[0], "last": moments[-1], "reason": reason}
            self.log("slot-missed" if state == "missed" else "slot-skipped", **facts)

    # ---- what the dead have left

    def inherit(self, home: Path, at: datetime) -> list[Due]:
        """Slots whose process is gone: those that ran have failed, those that waited are taken over while fresh."""
        ours: list[Due] = []
        for slot in agenda.open_slots(self.agenda.database):
            if slot.owner == self.owner or (slot.owner is not None and owners.is_held(home / "owners", slot.owner)):
                continue
            due = self._taken_over(slot, at) if slot.state == "waiting" else None
            if due is not None:
                ours.append(due)
                continue
            reason = "its process died; what it had sent is settled, or held as unknown"
            state: Any = "failed"
            if slot.state == "waiting":
                state, reason = "missed", "its process died before it began"
                if slot.reason is not None:
                    state, reason = "refused", f"it {slot.reason}; its process died, and nobody has looked in time"
            if self.agenda.end(slot.id, state, reason, who=self.who, at=at, owner=slot.owner):
                action = f"slot-{state}"
                self.log(action, recipe=slot.recipe, due_at=slot.due_at, reason=reason)
        return ours

    def _taken_over(self, slot: Slot, at: datetime) -> Due | None:
        one = self.watched.get(slot.recipe)
        if one is None or one.recipe is None or one.recipe.schedule is None or self.settings is None:
            return None
        fresh = GRACE + timedelta(seconds=one.recipe.schedule.jitter_s)
        if approvals.waiting_path(self.settings, slot.recipe, slot.due_at).exists():
            fresh = approvals.WAIT
        if at - slot.due_at > fresh or self._why_not(one) is not None:
            return None
        taken = self.agenda.adopt(slot.id, before=slot.owner, owner=self.owner, who=self.who, at=at)
        if taken is None:
            return None
        self.log("slot-claimed", recipe=slot.recipe, due_at=slot.due_at, reason="its process had died")
        wait = jitter(slot.recipe, slot.due_at, one.recipe.schedule.jitter_s)
        return Due(taken, one.recipe, self.settings, slot.due_at + wait)


def jitter(recipe: str, due_at: datetime, most_s: int) -> timedelta:
    """How much later a slot starts: between 0 and `most_s` seconds, the same whoever asks."""
    if not most_s:
        return timedelta()
    seed = hashlib.sha256(f"{recipe} {due_at.isoformat()}".encode()).digest()
    return timedelta(milliseconds=int.from_bytes(seed[:8], "big") % (most_s * 1000 + 1))


def _timing(recorded: Schedule | None) -> Timing | None:
    if recorded is None or recorded.timing is None:
        return None
    return Timing.parse(recorded.timing, recorded.zone)


def _told(problems: Sequence[Problem], *, beyond: str | None = None) -> str:
    """The first problem, and how many more. With its file, where that is another than `beyond`."""
    if not problems:
        return "it cannot be read"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    place = problems[0].place
    where = f"{place.path}: " if beyond is not None and place is not None and place.path != beyond else ""
    return f"{where}{problems[0].message}{more}; `omixa check` shows where"


def _is_about(problem: Problem, path: Path, root: Path) -> bool:
    return problem.place is not None and problem.place.path == shown_path(path, root)


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
