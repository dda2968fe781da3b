"""What `omixa doctor` looks at, one function a subject. Each tells what it found; none changes anything.

A problem in one place hides nothing in another: the ledger is checked although omixa.toml is broken.
"""

import os
import platform
import shlex
import stat
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from runner import __version__, images, items, known_models, tomlfile
from runner import recipe as recipes_module
from runner.commands.schema import schema_text
from runner.diagnostics import Problem, Problems, masked
from runner.drafts import shown
from runner.errors import DiskError, ExitCode, LedgerError, UsageError
from runner.execution import FREE_BYTES_PER_REQUEST, stopped_text
from runner.ledger import HEAD, balance_check, usage
from runner.ledger.database import (
    NETWORK_FILE_SYSTEMS,
    SQLITE_VERSION_MIN,
    Database,
    driver_of,
    explained,
    file_system,
    no_file,
    revision,
    sqlite_module,
)
from runner.money import show
from runner.project import contracts, find_root, load_all, recipe_paths
from runner.providers.key import read_key
from runner.recipe import Recipe
from runner.settings import LedgerSettings, Settings, Workspace, ledger_path
from runner.settings_checks import is_plaintext
from runner.settings_tables import FILE_NAME, SANDBOX, LedgerTable
from runner.terminal import counted
from runner.windows import clock

# This program was written in that year: an earlier clock is wrong, and would book into windows long gone.
YEAR_MIN = 2026

# How many of a kind are told one by one.
LISTED_MAX = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `hint` is what to do next; `code` is how the program ends when it failed."""

    name: str
    status: Literal["ok", "warn", "fail"]
    message: str
    hint: str | None = None
    code: ExitCode = ExitCode.OK

    def __post_init__(self) -> None:
        # Messages quote what was found, so this is where a key would slip out.
        object.__setattr__(self, "message", masked(self.message))


# From the least to the gravest: what cannot be undone comes last.
_GRAVITY = (ExitCode.OK, ExitCode.INVALID, ExitCode.DISK, ExitCode.LEDGER, ExitCode.FROZEN)


def gravest(checks: Iterable[Check]) -> ExitCode:
    """The exit code of the gravest failure; OK without one."""
    return max((check.code for check in checks if check.status == "fail"), key=_GRAVITY.index, default=ExitCode.OK)


def examine(project: str | None, versions: Mapping[str, str]) -> list[Check]:
    """Everything, in the order of a run: the program, the project, the keys, the ledger, the disk.

    `versions`: the installed packages. `project`: as for `find_root`.
    """
    at = clock()
    checks = [*_program(versions), clock_check(at)]
    try:
        root = find_root(project)
    except UsageError as error:
        return [*checks, Check("project", "fail", error.message, error.hint, ExitCode.INVALID)]
    checks.append(Check("project", "ok", f"`{root}`"))
    settings, recipes, problems = load_all(root, [])
    checks += _declarations(root, settings, recipes, problems)
    checks += _schemas(root)
    if settings is not None:
        for workspace in settings.workspaces.values():
            checks += _workspace(workspace, settings)
    path = root / _ledger_url(root).removeprefix("sqlite:///") if settings is None else ledger_path(settings)
    checks += _ledger(path, at)
    checks += _disk([path.parent, *(step.output.folder for recipe in recipes for step in recipe.steps)], root)
    return checks


# ---- the program


def _program(versions: Mapping[str, str]) -> Iterator[Check]:
    yield Check("program", "ok", f"omixa {__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Check("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not listed")
    module = sqlite_module()
    found = f"SQLite {module.sqlite_version} of `{module.__name__}`"
    if module.sqlite_version_info >= SQLITE_VERSION_MIN:
        yield Check("sqlite", "ok", f"{found}, with the WAL-reset fix")
    else:
        wanted = ".".join(str(part) for part in SQLITE_VERSION_MIN)
        message = f"{found} lacks the WAL-reset fix of {wanted}: a crash at the wrong moment can lose a booking"
        yield Check("sqlite", "warn", message, "pip install pysqlite3, or a Python with a newer SQLite")
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
        yield Check("time zones", "ok", f"{counted(len(zoneinfo.available_timezones()), 'zone')} known")
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        message = "this machine has no time zone data, so no budget window can be found"
        yield Check("time zones", "fail", message, "pip install tzdata, or the system's package", ExitCode.INVALID)


def clock_check(at: datetime) -> Check:
    """Whether a moment can be now."""
    now = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if at.year >= YEAR_MIN:
        return Check("clock", "ok", now)
    return Check("clock", "warn", f"it is {now}, which cannot be", "set the clock: budgets are of the calendar")


# ---- the project


def _declarations(
    root: Path, settings: Settings | None, recipes: list[Recipe], problems: list[Problem]
) -> Iterator[Check]:
    if settings is not None:
        problems = problems + items.all_problems(recipes, settings)
    of_settings = [problem for problem in problems if problem.place is not None and problem.place.path == FILE_NAME]
    yield _counted("settings", FILE_NAME, of_settings)
    count = len(recipe_paths(root, []))
    if count == 0:
        yield Check("recipes", "warn", "there are none", "write one: recipes/NAME.toml (docs/recipes.md)")
    else:
        yield _counted("recipes", counted(count, "recipe"), [one for one in problems if one not in of_settings])


def _counted(name: str, what: str, problems: list[Problem]) -> Check:
    errors = sum(problem.severity == "error" for problem in problems)
    message = f"{what}: {counted(errors, 'problem')}"
    if len(problems) > errors:
        message += f", {counted(len(problems) - errors, 'warning')}"
    if not problems:
        return Check(name, "ok", message)
    return Check(name, "fail" if errors else "warn", message, "`omixa check` shows them all", ExitCode.INVALID)


def _schemas(root: Path) -> Iterator[Check]:
    """Whether the schemas in the project that its files name for editors are what this program would write now."""
    named: dict[Path, str] = {}
    folders = ((recipes_module.FOLDER, "recipe"), (known_models.FOLDER, "contract"))
    files = [(root / FILE_NAME, "settings")]
    files += [(path, kind) for folder, kind in folders for path in sorted((root / folder).glob("*.toml"))]
    for path, kind in files:
        schema = _named_schema(path)
        if schema is not None:
            named.setdefault(schema, kind)
    if not named:
        return
    try:
        known = contracts(str(root))
    except Problems:
        return  # told above; until they are right, nobody knows what a schema should say
    stale = [(path, kind) for path, kind in sorted(named.items()) if not _is_fresh(path, schema_text(kind, known))]
    for path, kind in stale:
        what = "is not what this version and this project's contracts say" if path.is_file() else "is not there"
        message = f"`{shown(path, root)}` {what}, and editors go by it"
        folder = "" if path.parent.is_dir() else f"mkdir -p {shlex.quote(str(path.parent))} && "
        yield Check("schema", "warn", message, f"{folder}omixa schema {kind} --out {shlex.quote(str(path))}")
    if not stale:
        yield Check("schema", "ok", f"{counted(len(named), 'schema')} for editors, as this version writes them")


def _named_schema(path: Path) -> Path | None:
    """The schema that the `#:schema` line of a file names; None: none, or one that is not a file here."""
    try:
        text = tomlfile.read_regular(path, tomlfile.BYTES_MAX, links=False).decode("utf-8-sig", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        if not line.startswith("#"):
            return None
        place = line.removeprefix("#:schema").strip()
        if line.startswith("#:schema") and place and "://" not in place:
            return Path(os.path.normpath(path.parent / place))
    return None


def _is_fresh(path: Path, text: str) -> bool:
    try:
        return tomlfile.read_regular(path, 2 * len(text.encode()), links=True).decode("utf-8", "replace") == text
    except OSError:
        return False


def _ledger_url(root: Path) -> str:
    """Where omixa.toml says the ledger is, although it has problems; the usual place when even that cannot be read."""
    try:
        data = tomlfile.read(root / FILE_NAME, FILE_NAME).data
        return LedgerTable.model_validate(data.get("ledger", {})).url
    except (Problems, ValidationError):
        return LedgerSettings().url


# ---- who pays, and where


def _workspace(workspace: Workspace, settings: Settings) -> Iterator[Check]:
    """The key, which is read and never shown, and the address, which is not called."""
    owner = f"workspace {workspace.name}"
    if workspace.endpoint == SANDBOX:
        yield Check("key", "ok", f"{owner} buys at the sandbox, which needs none")
        return
    source, endpoint = workspace.api_key, settings.endpoints[workspace.endpoint]
    assert source is not None
    assert endpoint.url is not None
    place = f"the environment variable `{source.env}`" if source.env is not None else f"the file `{source.file}`"
    try:
        read_key(env=source.env, file=source.file)
        yield Check("key", "ok", f"{owner} has one, in {place}")
    except UsageError as error:
        yield Check("key", "fail", f"{owner}: {error.message}", error.hint, ExitCode.INVALID)
    if is_plaintext(endpoint.url):
        message = f"{owner} sends its key to {endpoint.url} over plain http, readable on the way"
        yield Check("endpoint", "warn", message, "write `https://` in omixa.toml as soon as the endpoint offers it")
    else:
        yield Check("endpoint", "ok", f"{owner} buys at {endpoint.url}")


# ---- the ledger


def _ledger(path: Path, at: datetime) -> Iterator[Check]:
    """Everything about the ledger's file; what it says in it, when its tables are this program's."""
    try:
        with explained(path):
            refused, there = no_file(path), path.exists()
        if refused is not None:
            raise refused
        yield _place(path, there)
        if there:
            yield from _contents(path, at)
            yield _modes(path)
    except LedgerError as error:
        yield Check("ledger", "fail", error.message, error.hint, ExitCode.LEDGER)


def _place(path: Path, there: bool) -> Check:
    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        message = f"`{path}` is on a network file system ({kind}), where locks cannot be trusted"
        hint = "put it on a local disk with [ledger] url in omixa.toml"
        return Check("ledger", "fail", message, hint, ExitCode.LEDGER)
    needed = [path, path.parent] if there else [_existing(path.parent)]
    for one in needed:
        if not os.access(one, os.W_OK) or not (there or one.is_dir()):
            hint = "make it writable: without the ledger nothing can be bought"
            return Check("ledger", "fail", f"this user cannot write `{one}`", hint, ExitCode.LEDGER)
    message = f"`{path}` on {kind or 'a file system that the system does not name'}"
    return Check("ledger", "ok", message if there else f"{message}: not there yet, the first run makes it")


def _contents(path: Path, at: datetime) -> Iterator[Check]:
    # Not `open_database`, which would migrate it.
    with Database(path) as database:
        damage = balance_check.damage(database)
        if damage:
            hint = "stop all runs, keep the file, and restore the newest backup"
            yield Check("ledger file", "fail", f"damaged: {_some(damage)}", hint, ExitCode.LEDGER)
            return
        yield Check("ledger file", "ok", "SQLite finds nothing wrong with it")
        tables_check = _tables(revision(database))
        others = _differences(database) if tables_check.status == "ok" else []
        yield _made_otherwise(others) if others else tables_check
        if tables_check.status != "ok":
            return
        if any(one.startswith("table ") for one in others):
            return  # what is in them may not be what it seems
        yield _balances(database)
        yield _ledgers_clock(balance_check.latest_moment(database), at)
        yield _unknown(database)
        yield from _stopped(database, at)
        yield from _doubts(database)
        yield _dead(database, path.parent / "owners")


def _tables(reached: str | None) -> Check:
    name = "ledger tables"
    if reached == HEAD:
        return Check(name, "ok", f"at {reached}, as this program wants them")
    if reached is None:
        return Check(name, "warn", "there are none yet", "the first run makes them")
    from runner.ledger import migrate  # Alembic costs half a second

    if reached in migrate.revisions():
        message = f"at {reached}, this program wants {HEAD}; what is in them was not checked"
        return Check(name, "warn", message, "the next command that opens the ledger migrates it, after a backup")
    message = f"at {reached}, written by a newer omixa; this program knows {HEAD}"
    return Check(name, "fail", message, "update omixa-runner; nothing was changed", ExitCode.LEDGER)


def _differences(database: Database) -> list[str]:
    from runner.ledger import fresh

    with database.read() as connection:
        return fresh.differences(driver_of(connection))


def _made_otherwise(others: list[str]) -> Check:
    """Tables, indexes or triggers that are not this program's: nothing of it ever makes or drops one."""
    message = f"somebody has changed how the ledger is made: {_some(others)}"
    hint = (
        "stop all runs, keep a copy, and ask who changed it: restore the newest backup; `omixa audit verify` says more"
    )
    return Check("ledger tables", "fail", message, hint, ExitCode.LEDGER)


def _balances(database: Database) -> Check:
    wrong = balance_check.check_all(database)
    if not wrong:
        return Check("balances", "ok", "every budget is the sum of its attempts, every attempt of its entries")
    hint = "stop all runs, keep a copy, and find out who changed it: `omixa audit verify` names the first bad row"
    return Check("balances", "fail", f"the ledger does not add up: {_some(wrong)}", hint, ExitCode.FROZEN)


def _ledgers_clock(latest: datetime | None, at: datetime) -> Check:
    if latest is None or latest <= at:
        return Check("ledger clock", "ok", "no entry is later than now")
    message = f"the latest entry is of {latest:%Y-%m-%d %H:%M:%S} UTC, {_span(latest, at)} ahead of this clock"
    hint = "set the clock; until it has caught up, the ledger books everything at that moment"
    return Check("ledger clock", "warn", message, hint)


def _span(later: datetime, earlier: datetime) -> str:
    seconds = int((later - earlier).total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(seconds // length, unit)
    return counted(seconds, "second")


def _unknown(database: Database) -> Check:
    rows = list(usage.rows(database, states=["unknown"]))
    if not rows:
        return Check("attempts", "ok", "no attempt waits to be resolved")
    held: dict[str, int] = {}
    for row in rows:
        held[row.currency] = held.get(row.currency, 0) + row.reserved_micros
    money = " + ".join(show(micros, currency) for currency, micros in held.items())
    ids = _some([str(row.attempt_id) for row in rows])
    message = f"{counted(len(rows), 'attempt')} may have been billed and hold {money}: {ids}"
    return Check("attempts", "warn", message, f"omixa resolve {rows[0].attempt_id} --billed X|--not-billed --note …")


def _stopped(database: Database, at: datetime) -> Iterator[Check]:
    names = usage.workspaces(database)
    stopped = {name: found for name in names if (found := usage.stopped(database, name, at=at)) is not None}
    for name, found in stopped.items():
        message, hint = stopped_text(found, name, "UTC")
        yield Check("workspaces", "warn", message, f"look into it, then: {hint}")
    if not stopped:
        yield Check("workspaces", "ok", "no workspace is stopped")


def _doubts(database: Database) -> Iterator[Check]:
    doubt, frozen = usage.doubts(database)
    if doubt is not None:
        hint = "set the clock if it is wrong; when it is right: omixa doctor --confirm-clock --note …"
        yield Check("clock", "fail", f"nothing is reserved: {doubt}", hint, ExitCode.LEDGER)
    if frozen is not None:
        message = f"the ledger is frozen, nothing is reserved: {frozen}"
        yield Check("ledger", "fail", message, "`omixa audit verify`, then `omixa audit repair`", ExitCode.FROZEN)


def _dead(database: Database, owners: Path) -> Check:
    try:
        dead = balance_check.dead_runs(database, owners)
    except LedgerError as error:  # the locks cannot be looked at; the rest can
        return Check("runs", "fail", error.message, error.hint, ExitCode.LEDGER)
    if not dead:
        return Check("runs", "ok", "no run has lost its process")
    message = f"the process of {counted(len(dead), 'run')} died; its attempts are not finished"
    return Check("runs", "warn", message, "the next `omixa run` finishes them first, from the answers that were kept")


def _modes(path: Path) -> Check:
    """Prompts, paths and costs are nobody else's business."""
    files = sorted(one for one in path.parent.iterdir() if one.name.startswith(path.name))
    wrong = []
    for one, wanted in [(path.parent, 0o700), *((file, 0o600) for file in files)]:
        with suppress(FileNotFoundError):  # SQLite removes its side files when the last process lets go
            mode = stat.S_IMODE(one.stat().st_mode)
            if mode & 0o077:
                wrong.append((f"`{one}` ({mode:04o})", f"chmod {wanted:o} {shlex.quote(str(one))}"))
    if not wrong:
        return Check("file modes", "ok", "only this user can read the ledger")
    commands = " && ".join(command for _, command in wrong)
    return Check("file modes", "warn", f"others can read {_some([what for what, _ in wrong])}", commands)


# ---- the disk


def _disk(folders: Iterable[Path], root: Path) -> Iterator[Check]:
    """Space and the right to write, once for each file system and folder."""
    seen: set[int] = set()
    for folder in dict.fromkeys(folders):
        name = shown(folder, root)
        try:
            place = _existing(folder)
            free, device = images.free_bytes(place), place.stat().st_dev
        except (DiskError, OSError) as error:
            message = error.message if isinstance(error, DiskError) else f"`{name}`: {error.strerror}"
            yield Check("disk", "fail", message, "make the folder readable for this user", ExitCode.DISK)
            continue
        if not os.access(place, os.W_OK) or not place.is_dir():
            message = f"this user cannot write in `{name}`"
            yield Check("disk", "fail", message, "make it writable, or choose another folder", ExitCode.DISK)
        elif free < FREE_BYTES_PER_REQUEST:
            message = f"`{name}` has {_mib(free)} free, and a request needs {_mib(FREE_BYTES_PER_REQUEST)}"
            yield Check("disk", "fail", message, "free some space: nothing is sent before", ExitCode.DISK)
        elif device not in seen:
            seen.add(device)
            yield Check("disk", "ok", f"`{name}` has {_mib(free)} free")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _mib(count: int) -> str:
    return f"{count // (1024 * 1024)} MiB"


def _some(words: list[str]) -> str:
    rest = len(words) - LISTED_MAX
    return "; ".join(words[:LISTED_MAX]) + (f"; and {rest} more" if rest > 0 else "")
