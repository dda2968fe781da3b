"""omixa.toml → Settings: endpoints, who pays, caps, ceilings, shared presets, the ledger. Or every Problem in it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, InstanceOf, ValidationError

from runner import known_models, slots
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, OptionValue
from runner.declared import (
    Declared,
    absolute,
    in_order,
    key_problems,
    shape_problems,
    size_problems,
    tables,
)
from runner.diagnostics import Problem, Problems
from runner.settings_checks import cross_problems
from runner.settings_tables import (
    FILE_NAME,
    SANDBOX,
    AlertsTable,
    PolicyTable,
    ReportTable,
    SettingsFile,
    WorkspaceTable,
    span_of,
)
from runner.tomlfile import Loc, read

# The most in one omixa.toml.
_ITEMS_MAX: dict[Loc, int] = {
    ("endpoints",): 1000,
    ("workspaces",): 1000,
    ("presets",): 1000,
    ("invoices",): 100,
    ("policy", "required_labels"): 100,
    ("policy", "allowed_folders"): 100,
    ("policy", "forbidden_words"): 1000,
    ("policy", "cap_raisers"): 100,
    ("alerts", "thresholds"): 20,
    ("alerts", "to"): 50,
    ("alerts", "to", "*", "on"): 50,
    ("alerts", "to", "*", "workspaces"): 1000,
    ("alerts", "to", "*", "command"): 100,
    ("reports",): 100,
    ("reports", "*", "formats"): 20,
    ("reports", "*", "to"): 50,
    ("reports", "*", "by"): 50,
    ("approvers",): 1000,
}


# --- values: what the rest of the program works with ---------------------------------------------------------------


class Endpoint(Declared):
    """Where requests go. `url` is None for the built-in sandbox, which has no fixed address."""

    name: str
    url: str | None
    allow_plaintext: bool = False
    timeout_s: int = 600


class KeySource(Declared):
    """Where the workspace key is kept: exactly one of an environment variable and a file (absolute path)."""

    env: str | None = None
    file: Path | None = None


class Workspace(Declared):
    """Who pays. Amounts are micro-units of `currency`; windows are of the calendar of `time_zone`.

    `api_key` is None only for the sandbox. `ceilings`: model → the most one request may cost.
    """

    name: str
    endpoint: str
    api_key: KeySource | None
    currency: str
    time_zone: str
    concurrency: int = 4
    budget: dict[str, int] = Field(default_factory=dict)
    unlimited: bool = False
    ceilings: dict[str, int] = Field(default_factory=dict)

    @property
    def account(self) -> str:
        """The workspace's name in the ledger. The sandbox's play money has an account of its own, so that a workspace
        that moves to a paid endpoint starts with nothing spent and nothing bought."""
        return f"{self.name}@{SANDBOX}" if self.endpoint == SANDBOX else self.name

    @property
    def unit(self) -> str:
        """The currency in the ledger; the sandbox's is never added to real money."""
        return f"{SANDBOX}-{self.currency}" if self.endpoint == SANDBOX else self.currency


class LedgerSettings(Declared):
    """Where the ledger is: a `sqlite:///` URL, relative to the project."""

    url: str = "sqlite:///.omixa/ledger.db"


class AuditSettings(Declared):
    """Where signed checkpoints of the ledger go, relative to the project, and the keys that may have signed them."""

    checkpoints: str = ".omixa/checkpoints.txt"
    keys: tuple[str, ...] = ()


class Channel(Declared):
    """Where alerts go: exactly one of `url_env`, the environment variable that holds an apprise URL, and `command`,
    a program with its arguments.

    `on`: only these kinds; `workspaces`: only about these, by their names in omixa.toml. None: all.
    """

    name: str
    url_env: str | None = None
    command: tuple[str, ...] | None = None
    on: tuple[str, ...] | None = None
    workspaces: tuple[str, ...] | None = None


class AlertSettings(Declared):
    """What alerts are about, and where they go. `thresholds`: percent of a budget, rising."""

    thresholds: tuple[int, ...] = (50, 80, 100)
    forecast: bool = True
    unknown_after: timedelta = timedelta(hours=24)
    channels: tuple[Channel, ...] = ()


class ReportOrder(Declared):
    """A report that is made and sent by itself: about the last whole `window` before each moment of its timing.

    `account`: the workspace by its name in the ledger; None: all. `to`: names of channels. `folder`: absolute.
    """

    name: str
    timing: slots.Timing
    formats: tuple[str, ...]
    to: tuple[str, ...]
    window: Literal["day", "week", "month", "quarter", "year"] = "month"
    account: str | None = None
    by: tuple[str, ...] = ("recipe",)
    compare: bool = False
    folder: Path


class Policy(Declared):
    """What recipes must keep to; docs/reviews.md says where each rule is enforced.

    Amounts are micro-units, in each workspace's own currency; None: no limit. `allowed_folders`: as written, relative
    to the project, which sources and results must lie in; empty: any. `cap_raisers`: e-mail addresses of git authors;
    None: anybody may raise a cap. `approval_over`: what a run may cost without an approved plan; None: anything.
    `approvals`: how many it takes; `not_author`: neither who wrote the recipe nor who made the plan counts.
    """

    max_price_micros: int | None = None
    max_monthly_cost_micros: int | None = None
    required_labels: tuple[str, ...] = ()
    allowed_folders: tuple[str, ...] = ()
    forbidden_words: tuple[str, ...] = ()
    require_clean: bool = False
    cap_raisers: tuple[str, ...] | None = None
    approval_over: int | None = None
    approvals: int = 1
    not_author: bool = False


class SandboxSettings(Declared):
    """How the built-in sandbox behaves: what it bills for a picture, and how long it waits before it answers."""

    price_micros: int = 39_000
    latency_ms: int = 0


class Invoice(Declared):
    """How a provider's usage or invoice file is read: which column says what. docs/reconcile.md explains each.

    Columns are named as in the file's header, in JSON as `a.b`. `only`: column → the text that a line must have there.
    `within`: how far a line's time may be from the request's. None: not said.
    """

    name: str
    workspace: str | None
    format: str | None
    rows: str | None
    delimiter: str | None
    encoding: str
    time: str
    time_format: str | None
    time_zone: str | None
    amount: str
    decimal: str
    currency: str | None
    id: str | None
    model: str | None
    only: dict[str, str]
    within: timedelta
    complete: bool


class Approver(Declared):
    """Who may approve plans: by which public key, as whom git knows them, and up to how much (micro-units; None: any
    amount).
    """

    name: str
    key: str
    email: str | None = None
    max_micros: int | None = None


class Settings(Declared):
    """What omixa.toml says. `root` is the project's folder; `endpoints` always has the sandbox.

    `contracts` are all models: those that the package knows, and those of the project's contract files.
    """

    root: Path
    endpoints: dict[str, Endpoint]
    ledger: LedgerSettings
    audit: AuditSettings = AuditSettings()
    alerts: AlertSettings = AlertSettings()
    reports: dict[str, ReportOrder] = Field(default_factory=dict)
    policy: Policy = Policy()
    sandbox: SandboxSettings
    workspaces: dict[str, Workspace]
    presets: dict[str, dict[str, OptionValue]]
    invoices: dict[str, Invoice] = Field(default_factory=dict)
    contracts: dict[str, InstanceOf[Contract]] = Field(default_factory=lambda: dict(CONTRACTS))
    approvers: dict[str, Approver] = Field(default_factory=dict)


def ledger_path(settings: Settings) -> Path:
    """The ledger's file, absolute."""
    return settings.root / settings.ledger.url.removeprefix("sqlite:///")


@dataclass(frozen=True, slots=True)
class Names:
    """What recipes may refer to: known even where omixa.toml has problems of its own.

    None where omixa.toml could not be read at all, so that nothing can be said against a name; the contract of a model
    is None where its file has problems.
    """

    root: Path
    workspaces: Collection[str] | None
    presets: Mapping[str, Mapping[str, Any]] | None
    contracts: Mapping[str, Contract | None] = field(default_factory=lambda: dict(CONTRACTS))


def names_of(settings: Settings) -> Names:
    """What recipes may refer to, from settings without problems."""
    return Names(settings.root, settings.workspaces.keys(), settings.presets, settings.contracts)


# --- loading -------------------------------------------------------------------------------------------------------


def load(root: Path) -> tuple[Settings | None, list[Problem]]:
    """The settings of the project at `root` (absolute); None and every problem when there is any."""
    settings, _, problems = load_with_names(root)
    return settings, problems


def load_with_names(root: Path) -> tuple[Settings | None, Names, list[Problem]]:
    """As `load`; also what recipes may refer to, so that they can be checked although omixa.toml has problems.

    What is wrong with contract files is among the problems.
    """
    contracts, of_contracts = known_models.load_all(root)
    try:
        file = read(root / FILE_NAME, FILE_NAME)
    except Problems as error:
        return None, Names(root, None, None, contracts), [*error.problems, *of_contracts]
    too_many = size_problems(file, _ITEMS_MAX)
    if too_many:
        return None, Names(root, None, None, contracts), [*in_order(too_many, FILE_NAME), *of_contracts]
    names = Names(root, tables(file.data, "workspaces"), tables(file.data, "presets"), contracts)
    found: list[Iterable[Problem]] = [key_problems(file), cross_problems(file, contracts)]
    try:
        table = SettingsFile.model_validate(file.data)
    except ValidationError as error:
        found.append(shape_problems(file, SettingsFile, error))
    problems = [*in_order(chain.from_iterable(found), FILE_NAME), *of_contracts]
    return (None if problems else _resolved(table, root, contracts)), names, problems


def _resolved(table: SettingsFile, root: Path, contracts: Mapping[str, Contract | None]) -> Settings:
    endpoints = {name: Endpoint(name=name, **endpoint.model_dump()) for name, endpoint in table.endpoints.items()}
    return Settings(
        root=root,
        endpoints={SANDBOX: Endpoint(name=SANDBOX, url=None)} | endpoints,
        ledger=LedgerSettings(url=table.ledger.url),
        audit=AuditSettings(checkpoints=table.audit.checkpoints, keys=tuple(table.audit.keys)),
        alerts=_alerts(table.alerts),
        reports={name: _report(name, report, table, root) for name, report in table.reports.items()},
        policy=_policy(table.policy),
        sandbox=SandboxSettings(price_micros=table.sandbox.price, latency_ms=table.sandbox.latency_ms),
        workspaces={name: _workspace(name, workspace, root) for name, workspace in table.workspaces.items()},
        presets=table.presets,
        invoices={
            name: Invoice(name=name, **{**one.model_dump(), "within": span_of(one.within)})
            for name, one in table.invoices.items()
        },
        contracts={model: contract for model, contract in contracts.items() if contract is not None},
        approvers={
            name: Approver(name=name, key=one.key, email=one.email, max_micros=one.max)
            for name, one in table.approvers.items()
        },
    )


def _alerts(table: AlertsTable) -> AlertSettings:
    return AlertSettings(
        thresholds=tuple(table.thresholds),
        forecast=table.forecast,
        unknown_after=span_of(table.unknown_after),
        channels=tuple(
            Channel(
                name=one.name,
                url_env=one.url_env,
                command=None if one.command is None else tuple(one.command),
                on=None if one.on is None else tuple(one.on),
                workspaces=None if one.workspaces is None else tuple(one.workspaces),
            )
            for one in table.to
        ),
    )


def _report(name: str, table: ReportTable, whole: SettingsFile, root: Path) -> ReportOrder:
    workspace = (
        None if table.workspace is None else _workspace(table.workspace, whole.workspaces[table.workspace], root)
    )
    zones = {one.time_zone for one in ([workspace] if workspace is not None else whole.workspaces.values())}
    zone = table.time_zone or (zones.pop() if len(zones) == 1 else "UTC")
    return ReportOrder(
        name=name,
        timing=slots.Timing(table.schedule, None, zone),
        formats=tuple(dict.fromkeys(table.formats)),
        to=tuple(dict.fromkeys(table.to)),
        window=table.window,
        account=None if workspace is None else workspace.account,
        by=tuple(table.by),
        compare=table.compare,
        folder=absolute(root, table.folder),
    )


def _policy(table: PolicyTable) -> Policy:
    return Policy(
        max_price_micros=table.max_price,
        max_monthly_cost_micros=table.max_monthly_cost,
        required_labels=tuple(table.required_labels),
        allowed_folders=tuple(table.allowed_folders),
        forbidden_words=tuple(table.forbidden_words),
        require_clean=table.require_clean,
        cap_raisers=None if table.cap_raisers is None else tuple(table.cap_raisers),
        approval_over=table.approval_over,
        approvals=table.approvals,
        not_author=table.not_author,
    )


def _workspace(name: str, table: WorkspaceTable, root: Path) -> Workspace:
    key = table.api_key
    return Workspace(
        name=name,
        endpoint=table.endpoint,
        api_key=None if key is None else KeySource(env=key.env, file=absolute(root, key.file) if key.file else None),
        currency=table.currency,
        time_zone=table.time_zone,
        concurrency=table.concurrency,
        budget=table.budget.caps(),
        unlimited=table.unlimited,
        ceilings=table.ceilings,
    )
