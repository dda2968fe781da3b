"""omixa.toml → Settings: endpoints, who pays, caps, ceilings, shared presets, the ledger. Or every Problem in it."""

import ipaddress
import re
import zoneinfo
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, JsonValue, ValidationError, WithJsonSchema

from runner import known_models, slots
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, OptionValue
from runner.contracts.contract import Field as ContractField
from runner.declared import (
    BudgetTable,
    Declared,
    Line,
    Money,
    Name,
    PathText,
    absolute,
    in_order,
    key_problems,
    quotes_hint,
    shape_problems,
    shown,
    size_problems,
    tables,
    unknown,
    wrong,
)
from runner.diagnostics import Problem, Problems, did_you_mean
from runner.errors import UsageError
from runner.tomlfile import Loc, TomlFile, read

FILE_NAME = "omixa.toml"
SANDBOX = "sandbox"  # the built-in endpoint: no account, no money

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

# What `omixa report --format` knows: the registry in runner/reports, which a test compares.
REPORT_FORMATS = ("text", "csv", "json", "html", "xlsx", "beancount", "focus", "focus-parquet", "parquet")

# What an alert can be about; docs/alerts.md says when each fires.
ALERT_KINDS = (
    *("budget", "forecast", "breach", "stop", "unknown", "slot", "recipe", "checkpoint", "clock", "frozen"),
    "approval",
    "test",
)


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


# --- the file: its tables, and the types of single values ----------------------------------------------------------


def _url(value: str) -> str:
    example = "write such as `http://omixa.cloud/api/v1`"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise wrong("bad-url", f"`{shown(value)}` is not a URL: {error}", hint=example) from None
    if parts.scheme not in ("http", "https") or not host or not value.isprintable() or " " in value:
        raise wrong("bad-url", f"`{shown(value)}` is not an http or https URL", hint=example)
    if parts.username is not None or parts.password is not None:
        raise wrong("bad-url", "a URL with a name or password in it would be logged", hint="use `api_key`")
    if parts.query or parts.fragment:
        raise wrong("bad-url", f"`{shown(value)}` has a query or fragment; only the base URL is expected")
    return value.rstrip("/")


def _ledger_url(value: str) -> str:
    scheme = value.partition(":")[0]
    example = "write such as `sqlite:///.omixa/ledger.db`"
    if scheme.startswith(("postgresql", "postgres")):
        raise wrong("unsupported-ledger", "a ledger on PostgreSQL is not supported by this version", hint=example)
    if not value.startswith("sqlite:///"):
        raise wrong("unsupported-ledger", f"a ledger at `{shown(value)}` is not supported", hint=example)
    path = value.removeprefix("sqlite:///")
    if path in ("", ":memory:") or path.endswith("/") or "?" in path or not path.isprintable():
        raise wrong("unsupported-ledger", f"`{shown(value)}` names no file; a ledger is a file", hint=example)
    return value


def _verifier_key(value: str) -> str:
    from runner.trail.checkpoint import VerifierKey

    try:
        VerifierKey.parse(value)
    except UsageError as error:
        raise wrong("bad-verifier-key", error.message, hint=error.hint) from None
    return value


def _approver_key(value: str) -> str:
    from runner.trail.approval import public_bytes

    if public_bytes(value) is None:
        message = f"`{shown(value)}` is not an approver's public key"
        raise wrong("bad-approver-key", message, hint="`omixa approve --new-key` makes one, and prints this line")
    return value


def _currency(value: str) -> str:
    if re.fullmatch(r"[A-Z]{3}", value):
        return value
    better = value.strip().upper()
    label = f"did you mean `{better}`?" if re.fullmatch(r"[A-Z]{3}", better) else None
    message = f"a currency is three capital letters, such as `USD`; found `{shown(value)}`"
    raise wrong("bad-currency", message, label=label)


def time_zone(value: str) -> str:
    """A validator: the name is in the IANA time zone database of this machine."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        closest = did_you_mean(value, zoneinfo.available_timezones(), cutoff=0.8)
        label = f"did you mean `{closest}`?" if closest else None
        hint = None if closest else "write an IANA name such as `Europe/Berlin` or `UTC`"
        raise wrong("bad-time-zone", f"there is no time zone `{shown(value)}`", label=label, hint=hint) from None
    return value


def _variable(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return value
    hint = "write the name of the variable, such as `OMIXA_API_KEY`, never the key"
    raise wrong("bad-variable", "`env` is not the name of an environment variable", hint=hint)


_SPAN = r"([1-9][0-9]{0,4})([mhd])"


def _span_text(value: str) -> str:
    if re.fullmatch(_SPAN, value, re.ASCII):
        return value
    message = f"`{shown(value)}` is not a span of time"
    raise wrong("bad-span", message, hint="write such as `90m`, `24h` or `3d`: minutes, hours or days")


def span(text: str) -> timedelta | None:
    """The span of time that a person wrote, such as `90m`, `24h` or `3d`; None when it is none."""
    return _span(text) if re.fullmatch(_SPAN, text, re.ASCII) else None


def _span(text: str) -> timedelta:
    count, unit = int(text[:-1]), {"m": "minutes", "h": "hours", "d": "days"}[text[-1]]
    return timedelta(**{unit: count})


def _alert_kind(value: str) -> str:
    if value in ALERT_KINDS:
        return value
    closest = did_you_mean(value, ALERT_KINDS)
    label = f"did you mean `{closest}`?" if closest else None
    hint = None if closest else f"known: {', '.join(f'`{kind}`' for kind in ALERT_KINDS)}"
    raise wrong("unknown-alert", f"there is no kind of alert `{shown(value)}`", label=label, hint=hint)


def _address(value: str) -> str:
    if re.fullmatch(r"[^\s@<>]{1,100}@[^\s@<>]{1,100}", value) and value.isprintable():
        return value
    raise wrong("bad-address", f"`{shown(value)}` is not an e-mail address", hint="write it as `git log` shows it")


def _argument(value: str) -> str:
    if value.isprintable() and 0 < len(value) <= 1000:
        return value
    what = "empty" if not value else "too long" if len(value) > 1000 else "not printable"
    raise wrong("bad-argument", f"a word of a command is {what}", hint="each word stands alone: no shell reads them")


def cron_text(value: str) -> str:
    """The validator of a cron expression."""
    fault = slots.check(value)
    if fault is not None:
        # Most likely copied from a cron with seconds: the last five fields are what was meant.
        five = " ".join(value.split()[1:])
        label = f"did you mean `{five}`?" if slots.check(five) is None else None
        raise wrong("bad-cron", f"`{shown(value)}` {fault}", label=label)
    return value


def _report_format(value: str) -> str:
    if value in REPORT_FORMATS:
        return value
    closest = did_you_mean(value, REPORT_FORMATS)
    label = f"did you mean `{closest}`?" if closest else None
    hint = None if closest else f"known: {', '.join(f'`{name}`' for name in REPORT_FORMATS)}"
    raise wrong("unknown-format", f"there is no report format `{shown(value)}`", label=label, hint=hint)


def _option_schema(field: ContractField) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": f"{field.description} ({field.source})"}
    if field.kind == "choice":
        # An editor offers the list; a word beyond it may be allowed on purpose, so it is no error there.
        more = [{"type": "string"}] if field.choices_may_grow else []
        schema["anyOf"] = [{"type": "string", "enum": list(field.choices)}, *more]
    else:
        schema["type"] = field.kind
        limits = {"minimum": field.minimum, "maximum": field.maximum}
        schema |= {name: _number(limit) for name, limit in limits.items() if limit is not None}
    if field.default is not None:
        schema["default"] = _number(field.default) if isinstance(field.default, Decimal) else field.default
    return schema


def presets_schema(contracts: Iterable[Contract]) -> dict[str, Any]:
    """JSON Schema of a preset for any of these models. What two of them take differently may be either."""
    options: dict[str, list[dict[str, Any]]] = {}
    for contract in contracts:
        for name, option in preset_options(contract).items():
            schema = _option_schema(option)
            if schema not in options.setdefault(name, []):
                options[name].append(schema)
    return {
        "type": "object",
        "description": "A named bundle of model options.",
        "additionalProperties": False,
        "properties": {
            name: found[0] if len(found) == 1 else {"description": "As the model takes it.", "anyOf": found}
            for name, found in options.items()
        },
    }


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


# Set by prompts and output, so no part of a preset.
ELSEWHERE = {
    "prompt": "prompts stand in `[prompts.NAME]`, and `[[sources]]` names one",
    "negative_prompt": "write it as `negative` in `[prompts.NAME]`",
    "output_format": "write it as `format` in `[output]`",
}


def preset_options(contract: Contract) -> dict[str, ContractField]:
    """The options a preset may set: all but those that prompts and output set."""
    return {field.name: field for field in contract.options if field.name not in ELSEWHERE}


# Values are checked against the contract of the model, not by pydantic.
Preset = Annotated[dict[str, Any], WithJsonSchema(presets_schema(CONTRACTS.values()))]
TimeZone = Annotated[str, AfterValidator(time_zone)]


class EndpointTable(Declared):
    """An endpoint that pictures can be bought at."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="Base URL; `/images/generations` is added.",
        examples=["http://omixa.cloud/api/v1"],
        json_schema_extra={"pattern": r"^[hH][tT][tT][pP][sS]?://\S"},
    )
    allow_plaintext: bool = Field(
        default=False,
        description="Allow the key to be sent over plain http to another machine. Without it, it never is.",
    )
    timeout_s: int = Field(default=600, ge=1, le=3600, description="Seconds to wait for an answer, in all.")


class LedgerTable(Declared):
    """The ledger: every request, every cent."""

    url: Annotated[str, AfterValidator(_ledger_url)] = Field(
        default="sqlite:///.omixa/ledger.db",
        description="`sqlite:///` and a path, relative to this file. PostgreSQL is not supported by this version.",
        json_schema_extra={"pattern": "^sqlite:///.*[^/]$"},
    )


class AuditTable(Declared):
    """How the ledger's chain can be checked from outside."""

    checkpoints: PathText = Field(
        default=".omixa/checkpoints.txt",
        description="Where signed checkpoints go, relative to this file. Best is a place that whoever can write the "
        "ledger cannot change: a file in git, another disk.",
    )
    keys: list[Annotated[str, AfterValidator(_verifier_key)]] = Field(
        default=[], description="The verifier keys that may have signed them, as `omixa audit key` prints its own."
    )


class ChannelTable(Declared):
    """Where alerts go: to what an apprise URL names (webhook, mail, Slack …), or to a command."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["url_env"]}, {"required": ["command"]}]})

    name: Name = Field(description="What messages and the ledger call it.", examples=["ops"])
    url_env: str | None = Field(
        default=None,
        description="The environment variable that holds the apprise URL, which is a secret and stands in no file.",
        examples=["OMIXA_ALERT_URL"],
        json_schema_extra={"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    )
    command: list[Annotated[str, AfterValidator(_argument)]] | None = Field(
        default=None,
        min_length=1,
        description="A program and its arguments, run without a shell; the alert is on its standard input as JSON, "
        "and in the environment as OMIXA_ALERT_KIND, OMIXA_ALERT_MESSAGE and others.",
        examples=[["notify-send", "omixa"]],
    )
    on: list[Annotated[str, AfterValidator(_alert_kind)]] | None = Field(
        default=None,
        min_length=1,
        description="Only these kinds of alert (default: all).",
        json_schema_extra={"items": {"enum": [*ALERT_KINDS], "type": "string"}},
    )
    workspaces: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Only about these workspaces, and what is about none alone (default: all).",
    )


class AlertsTable(Declared):
    """What is told without being asked, and to whom."""

    thresholds: list[int] = Field(
        default=[50, 80, 100],
        description="At how many percent of a budget, settled and open together, an alert fires; rising.",
        json_schema_extra={"items": {"type": "integer", "minimum": 1, "maximum": 1000}},
    )
    forecast: bool = Field(default=True, description="Whether a budget that will not last its window is told ahead.")
    unknown_after: Annotated[str, AfterValidator(_span_text)] = Field(
        default="24h",
        description="How old an attempt whose answer never came is when it is told: minutes, hours or days.",
        json_schema_extra={"pattern": f"^{_SPAN}$"},
    )
    to: list[ChannelTable] = Field(default=[], description="Where alerts go; without any they are only recorded.")


class ReportTable(Declared):
    """A report that a scheduler makes and sends through the channels of alerts."""

    schedule: Annotated[str, AfterValidator(cron_text)] = Field(
        description="When: five fields: minute, hour, day of the month, month, weekday.", examples=["0 7 1 * *"]
    )
    time_zone: TimeZone | None = Field(
        default=None, description="IANA name; without it the workspace's, or the one that all share, or UTC."
    )
    formats: list[Annotated[str, AfterValidator(_report_format)]] = Field(
        min_length=1,
        description="What it is made as; each is a file.",
        examples=[["xlsx", "csv"]],
        json_schema_extra={"items": {"enum": [*REPORT_FORMATS], "type": "string"}},
    )
    to: list[str] = Field(min_length=1, description="Names of channels, of `[[alerts.to]]`.", examples=[["finance"]])
    window: Literal["day", "week", "month", "quarter", "year"] = Field(
        default="month", description="It is about the last whole one before the moment it is due."
    )
    workspace: str | None = Field(default=None, description="Only about this workspace (default: all).")
    by: list[str] = Field(default=["recipe"], min_length=1, description="What it groups by, as `omixa report --by`.")
    compare: bool = Field(default=False, description="What was settled in the window before, too.")
    folder: PathText = Field(default="reports", description="Where its files are kept, relative to this file.")


class SandboxTable(Declared):
    """The built-in local endpoint."""

    price: Money = Field(default="0.039", validate_default=True, description="What it bills for a picture.")
    latency_ms: int = Field(default=0, ge=0, le=600_000, description="Milliseconds it waits before it answers.")


class KeyTable(Declared):
    """Where the workspace key is kept. Exactly one of the two; the key itself never stands in a file of the project."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["env"]}, {"required": ["file"]}]})

    env: Annotated[str, AfterValidator(_variable)] | None = Field(
        default=None, description="The name of the environment variable that holds the key."
    )
    file: PathText | None = Field(
        default=None, description="A file that holds the key and nothing else, readable only by you."
    )


# What stands in no single key; the checks say the same with better words.
_WORKSPACE_RULES: list[JsonValue] = [
    {"anyOf": [{"properties": {"endpoint": {"const": SANDBOX}}}, {"required": ["api_key"]}]},
    {
        "anyOf": [
            {"required": ["budget"], "properties": {"unlimited": {"const": False}}},
            {"required": ["unlimited"], "properties": {"unlimited": {"const": True}, "budget": {"maxProperties": 0}}},
        ]
    },
]


class WorkspaceTable(Declared):
    """Who pays: a key, a currency, a time zone, caps."""

    model_config = ConfigDict(json_schema_extra={"allOf": _WORKSPACE_RULES})

    endpoint: str = Field(description="`sandbox`, or the name of an `[endpoints.NAME]`.", examples=["sandbox"])
    api_key: KeyTable | None = Field(
        default=None,
        description="Where the key is kept. Not needed for the sandbox.",
        examples=[{"env": "OMIXA_API_KEY"}],
    )
    currency: Annotated[str, AfterValidator(_currency)] = Field(
        description="Three capital letters.",
        examples=["USD"],
        json_schema_extra={"pattern": "^[A-Z]{3}$"},
    )
    time_zone: TimeZone = Field(
        description="IANA name; days and months of the budget are of its calendar.", examples=["Europe/Berlin"]
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="The most requests in flight at once.")
    budget: BudgetTable = Field(
        default=BudgetTable(), description="The most that may be spent, by window of the calendar."
    )
    unlimited: bool = Field(default=False, description="Must be true when there is no budget at all.")
    ceilings: dict[str, Money] = Field(
        default={},
        description="Model → the most one request may cost. Without it and without history, nothing is sent.",
        json_schema_extra={"propertyNames": {"enum": [*sorted(CONTRACTS)]}},
    )


def _delimiter(value: str) -> str:
    if len(value) == 1 and (value == "\t" or value.isprintable()) and value not in "\"'" and not value.isalnum():
        return value
    raise wrong("bad-delimiter", f"`{shown(value)}` cannot part cells", hint='write one character, such as `";"`')


def _encoding(value: str) -> str:
    try:
        # Some codecs are no encodings of text, and would fail on the first byte.
        "".encode(value)
        b"".decode(value)
    except (LookupError, ValueError):
        message = f"there is no encoding `{shown(value)}`"
        raise wrong("bad-encoding", message, hint="write such as `utf-8`, `utf-16` or `cp1252`") from None
    return value


class InvoiceTable(Declared):
    """Which column of the provider's usage or invoice file says what."""

    workspace: Name | None = Field(
        default=None, description="Whose requests the file is about; needed when there are several workspaces."
    )
    format: Literal["csv", "json", "jsonl"] | None = Field(
        default=None, description="What kind of file it is (default: by its ending)."
    )
    rows: Line | None = Field(
        default=None, description="JSON only: the key of the list of lines, such as `data.items` (default: the file)."
    )
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = Field(
        default=None, description="CSV only: what stands between cells (default: `,`, a tab in .tsv)."
    )
    encoding: Annotated[str, AfterValidator(_encoding)] = Field(default="utf-8", description="How text is encoded.")
    time: Line = Field(description="The column with the moment of a request.", examples=["created_at"])
    time_format: Line | None = Field(
        default=None,
        description="How moments are written, in the words of strptime, or `unix` (default: ISO 8601).",
        examples=["%d.%m.%Y %H:%M:%S"],
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The calendar of the file: of moments without an offset, and of its months (default: the "
        "workspace's, and no moment without an offset).",
    )
    amount: Line = Field(description="The column with what was billed.", examples=["amount"])
    decimal: Literal[".", ","] = Field(default=".", description="What stands before the decimals of an amount.")
    currency: Line | None = Field(
        default=None, description="The column with the currency: checked against the workspace's."
    )
    id: Line | None = Field(
        default=None, description="The column with the request's id, as answers carry it in `x-request-id`."
    )
    model: Line | None = Field(
        default=None, description="The column with the model, named as in recipes; leave it out where it is not."
    )
    only: dict[str, str] = Field(
        default={},
        description="Only lines with these texts in these columns; all others are left out.",
        examples=[{"type": "usage"}],
    )
    within: Annotated[str, AfterValidator(_span_text)] = Field(
        default="2m",
        description="How far a line's moment may be from the request's: minutes, hours or days.",
        json_schema_extra={"pattern": f"^{_SPAN}$"},
    )
    complete: bool = Field(
        default=False,
        description="The file lists everything that was billed, so what it does not list was not billed.",
    )


class PolicyTable(Declared):
    """What recipes must keep to: `omixa check`, `plan` and `run` refuse what breaks it, and so does `omixa diff`."""

    max_price: Money | None = Field(
        default=None, description="The most that one picture may cost, in each workspace's own currency."
    )
    max_monthly_cost: Money | None = Field(
        default=None, description="The most that a recipe may cost in a month, as `omixa diff` counts it."
    )
    required_labels: list[Name] = Field(default=[], description="Labels that each recipe must have.")
    allowed_folders: list[PathText] = Field(
        default=[], description="Where sources and results of recipes must lie. Without any: everywhere."
    )
    forbidden_words: list[Line] = Field(
        default=[], description="Words that no prompt may have, in upper or lower case."
    )
    require_clean: bool = Field(
        default=False, description="Buy only with recipes, prompt files and omixa.toml that are committed to git."
    )
    cap_raisers: list[Annotated[str, AfterValidator(_address)]] | None = Field(
        default=None,
        description="Who may raise a cap: e-mail addresses of git authors. Without it, everybody.",
        examples=[["ana@studio.example"]],
    )
    approval_over: Money | None = Field(
        default=None,
        description="A run whose worst cost is above this amount needs an approved plan; also one by a schedule.",
        examples=["20.00"],
    )
    approvals: int = Field(default=1, ge=1, le=20, description="How many approvers must have approved a plan.")
    not_author: bool = Field(
        default=False, description="Whether who wrote the recipe, or made the plan, does not count as an approver."
    )


class ApproverTable(Declared):
    """Who may approve plans."""

    key: Annotated[str, AfterValidator(_approver_key)] = Field(
        description="The public key, as `omixa approve --new-key` prints it."
    )
    email: str | None = Field(default=None, description="As in the approver's own commits, for `not_author`.")
    max: Money | None = Field(default=None, description="The most that this approver may approve.", examples=["50.00"])


class SettingsFile(Declared):
    """omixa.toml: the operator's facts."""

    model_config = ConfigDict(title=FILE_NAME)

    endpoints: dict[Name, EndpointTable] = Field(
        default={},
        description="Where pictures can be bought, by name.",
        json_schema_extra={"propertyNames": {"not": {"const": SANDBOX}}},
    )
    ledger: LedgerTable = Field(default=LedgerTable(), description="The ledger: every request, every cent.")
    audit: AuditTable = Field(default=AuditTable(), description="How the ledger's chain can be checked from outside.")
    alerts: AlertsTable = Field(default=AlertsTable(), description="What is told without being asked, and to whom.")
    reports: dict[Name, ReportTable] = Field(default={}, description="Reports that come by themselves, by name.")
    policy: PolicyTable = Field(default=PolicyTable(), description="What recipes must keep to.")
    sandbox: SandboxTable = Field(default=SandboxTable(), description="How the built-in local endpoint behaves.")
    workspaces: dict[Name, WorkspaceTable] = Field(
        description="Who pays, by name.", examples=[{"studio": {"endpoint": "sandbox"}}], min_length=1
    )
    presets: dict[Name, Preset] = Field(default={}, description="Presets that every recipe can use, by name.")
    invoices: dict[Name, InvoiceTable] = Field(
        default={}, description="How the provider's usage or invoice files are read, by name."
    )
    approvers: dict[Name, ApproverTable] = Field(default={}, description="Who may approve plans, by name.")


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
    found: list[Iterable[Problem]] = [key_problems(file), _cross_problems(file, contracts)]
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
            name: Invoice(name=name, **{**one.model_dump(), "within": _span(one.within)})
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
        unknown_after=_span(table.unknown_after),
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


# --- checks across values: on the data as written, so that they are made whatever else is wrong --------------------


def _cross_problems(file: TomlFile, contracts: Mapping[str, Contract | None]) -> Iterator[Problem]:
    for name, endpoint in tables(file.data, "endpoints").items():
        yield from _endpoint_problems(file, name, endpoint)
    for name, workspace in tables(file.data, "workspaces").items():
        yield from _workspace_problems(file, ("workspaces", name), name, workspace, contracts)
    for name, preset in tables(file.data, "presets").items():
        yield from _shared_preset_problems(file, ("presets", name), preset, contracts)
    for name, invoice in tables(file.data, "invoices").items():
        yield from _invoice_problems(file, ("invoices", name), invoice)
    yield from _approval_problems(file)
    alerts = file.data.get("alerts")
    if isinstance(alerts, dict):
        yield from _threshold_problems(file, alerts.get("thresholds"))
        yield from _channels_problems(file, alerts.get("to"))
    for name, report in tables(file.data, "reports").items():
        yield from _report_problems(file, ("reports", name), report, alerts)


def _report_problems(file: TomlFile, loc: Loc, report: Mapping[str, Any], alerts: object) -> Iterator[Problem]:
    told = alerts.get("to") if isinstance(alerts, dict) else None
    channels = [one.get("name") for one in (told if isinstance(told, list) else ()) if isinstance(one, dict)]
    known = [name for name in channels if isinstance(name, str)]
    wanted = report.get("to")
    for number, name in enumerate(wanted if isinstance(wanted, list) else ()):
        if isinstance(name, str) and name not in known:
            place = file.place((*loc, "to", number), value=True)
            yield unknown("unknown-channel", "channel", name, known, place)
    workspace, workspaces = report.get("workspace"), tables(file.data, "workspaces")
    if isinstance(workspace, str) and workspace not in workspaces:
        place = file.place((*loc, "workspace"), value=True)
        yield unknown("unknown-workspace", "workspace", workspace, workspaces, place)


def _endpoint_problems(file: TomlFile, name: str, endpoint: Mapping[str, Any]) -> Iterator[Problem]:
    loc: Loc = ("endpoints", name)
    if name == SANDBOX:
        message = "the endpoint `sandbox` is built in and cannot be declared"
        hint = "its price and latency stand in `[sandbox]`; give another endpoint another name"
        yield Problem("reserved-name", message, file.place(loc), hint=hint)
    url = endpoint.get("url")
    if isinstance(url, str) and is_plaintext(url) and endpoint.get("allow_plaintext", False) is False:
        yield Problem(
            "plaintext-endpoint",
            "the key would be sent to another machine over plain http, readable on the way",
            file.place((*loc, "url"), value=True),
            hint="use `https://`, or add `allow_plaintext = true` when that is all the endpoint offers",
        )


def is_plaintext(url: str) -> bool:
    """Whether a key sent to `url` could be read on the way: plain http to another machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme != "http" or not host or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _workspace_problems(
    file: TomlFile, loc: Loc, name: str, workspace: Mapping[str, Any], contracts: Mapping[str, Contract | None]
) -> Iterator[Problem]:
    endpoint = workspace.get("endpoint")
    known = {SANDBOX, *tables(file.data, "endpoints")}
    if isinstance(endpoint, str) and endpoint not in known:
        place = file.place((*loc, "endpoint"), value=True)
        yield unknown("unknown-endpoint", "endpoint", endpoint, known, place)
    yield from _key_source_problems(file, loc, name, workspace)
    yield from _limit_problems(file, loc, name, workspace)
    ceilings = workspace.get("ceilings")
    for model, ceiling in ceilings.items() if isinstance(ceilings, dict) else ():
        if model not in contracts:
            yield unknown("unknown-model", "model", model, contracts, file.place((*loc, "ceilings", model)))
        if isinstance(ceiling, str) and re.fullmatch(r"0(\.0+)?", ceiling):
            place = file.place((*loc, "ceilings", model), value=True)
            message = "a ceiling of zero says that a request is free"
            hint = "write the most one request may cost; to forbid all spending, set a budget of zero"
            yield Problem("zero-ceiling", message, place, hint=hint)


def _key_source_problems(file: TomlFile, loc: Loc, name: str, workspace: Mapping[str, Any]) -> Iterator[Problem]:
    key = workspace.get("api_key")
    endpoint = workspace.get("endpoint")
    if key is None and isinstance(endpoint, str) and endpoint != SANDBOX and endpoint in tables(file.data, "endpoints"):
        message = f"workspace `{shown(name)}` does not say where its key is kept"
        hint = 'add `api_key = { env = "OMIXA_API_KEY" }`; only the sandbox needs none'
        yield Problem("missing-key-source", message, file.place(loc), hint=hint)
    if isinstance(key, dict) and ("env" in key) == ("file" in key):
        found = "both `env` and `file`" if "env" in key else "neither `env` nor `file`"
        message = f"`api_key` has {found}, and needs exactly one"
        hint = 'write such as `api_key = { env = "OMIXA_API_KEY" }`'
        yield Problem("bad-key-source", message, file.place((*loc, "api_key"), value=True), hint=hint)


def _limit_problems(file: TomlFile, loc: Loc, name: str, workspace: Mapping[str, Any]) -> Iterator[Problem]:
    budget, unlimited = workspace.get("budget", {}), workspace.get("unlimited", False)
    if budget == {} and unlimited is False:
        yield Problem(
            "no-budget",
            f"workspace `{shown(name)}` has no budget, so nothing would stop it",
            file.place(loc),
            hint='add `budget = { month = "50.00" }`, or `unlimited = true` if that is what you mean',
        )
    if isinstance(budget, dict) and budget and unlimited is True:
        message = f"workspace `{shown(name)}` has a budget, and `unlimited = true`"
        place = file.place((*loc, "unlimited"), value=True)
        yield Problem("budget-and-unlimited", message, place, hint="remove one of the two")


def _approval_problems(file: TomlFile) -> Iterator[Problem]:
    """One person with two names would count as two; and more approvals than there are approvers can never come."""
    approvers = tables(file.data, "approvers")
    policy = file.data.get("policy")
    policy = policy if isinstance(policy, dict) else {}
    owners: dict[str, str] = {}
    for name, one in approvers.items():
        for what in ("key", "email"):
            value = one.get(what)
            if not isinstance(value, str):
                continue
            first = owners.setdefault(value.casefold() if what == "email" else value, name)
            if first != name:
                place = file.place(("approvers", name, what), value=True)
                message = f"approvers `{shown(first)}` and `{shown(name)}` have the same {what}"
                yield Problem(f"approver-{what}-twice", message, place, hint="one person counts once: remove one")
        if policy.get("not_author") is True and "email" not in one:
            message = f"approver `{shown(name)}` has no `email`, so nobody can tell whether they are the author"
            hint = 'add such as `email = "ana@studio.example"`, as in their commits, or remove `not_author`'
            yield Problem("approver-without-email", message, file.place(("approvers", name)), hint=hint)
    wanted = policy.get("approvals")
    needed = wanted if isinstance(wanted, int) and not isinstance(wanted, bool) else 1
    if "approval_over" in policy and needed > len(approvers):
        place = file.place(("policy", "approvals" if wanted is not None else "approval_over"), value=True)
        message = f"{needed} must approve, and omixa.toml lists {len(approvers)} who may"
        hint = "`omixa approve --new-key` prints the lines of an approver: [approvers.NAME]"
        yield Problem("too-few-approvers", message, place, hint=hint)


def _threshold_problems(file: TomlFile, thresholds: object) -> Iterator[Problem]:
    before = 0
    for at, found in enumerate(thresholds if isinstance(thresholds, list) else ()):
        if not isinstance(found, int) or isinstance(found, bool):
            continue
        place = file.place(("alerts", "thresholds", at), value=True)
        if not 1 <= found <= 1000:
            message = f"a threshold must be 1-1000, found {shown(found)}"
            yield Problem("out-of-range", message, place, hint="it is in percent of the budget")
        elif found <= before:
            message = f"thresholds must rise: {found} stands after {before}"
            yield Problem("bad-thresholds", message, place, hint="write each once, the lowest first")
        else:
            before = found


def _channels_problems(file: TomlFile, channels: object) -> Iterator[Problem]:
    names: set[str] = set()
    for at, channel in enumerate(channels if isinstance(channels, list) else ()):
        if not isinstance(channel, dict):
            continue
        loc: Loc = ("alerts", "to", at)
        yield from _channel_problems(file, loc, channel)
        name = channel.get("name")
        if isinstance(name, str) and name in names:
            place = file.place((*loc, "name"), value=True)
            message = f"two channels are named `{shown(name)}`"
            yield Problem("channel-twice", message, place, hint="the ledger tells them apart by their names")
        if isinstance(name, str):
            names.add(name)


def _channel_problems(file: TomlFile, loc: Loc, channel: Mapping[str, Any]) -> Iterator[Problem]:
    if ("url_env" in channel) == ("command" in channel):
        found = "both `url_env` and `command`" if "command" in channel else "neither `url_env` nor `command`"
        hint = 'write such as `url_env = "OMIXA_ALERT_URL"` or `command = ["notify-send", "omixa"]`'
        yield Problem("bad-channel", f"a channel has {found}, and needs exactly one", file.place(loc), hint=hint)
    variable = channel.get("url_env")
    if isinstance(variable, str) and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        # Most likely it is the URL, a secret: the line is not shown.
        place = replace(file.place((*loc, "url_env"), value=True), source=None)
        hint = "write the name of the variable, such as `OMIXA_ALERT_URL`, never the URL"
        yield Problem("bad-variable", "`url_env` is not the name of an environment variable", place, hint=hint)
    wanted, known = channel.get("workspaces"), tables(file.data, "workspaces")
    for number, name in enumerate(wanted if isinstance(wanted, list) else ()):
        if isinstance(name, str) and name not in known:
            place = file.place((*loc, "workspaces", number), value=True)
            yield unknown("unknown-workspace", "workspace", name, known, place)


def _invoice_problems(file: TomlFile, loc: Loc, invoice: Mapping[str, Any]) -> Iterator[Problem]:
    name, known = invoice.get("workspace"), tables(file.data, "workspaces")
    if isinstance(name, str) and name not in known:
        yield unknown("unknown-workspace", "workspace", name, known, file.place((*loc, "workspace"), value=True))


def _shared_preset_problems(
    file: TomlFile, loc: Loc, preset: Mapping[str, Any], contracts: Mapping[str, Contract | None]
) -> Iterator[Problem]:
    """A shared preset may be for any model, so it must fit one; what is reported is the one it fits best.

    It may be for a model whose file has problems: then nothing is said.
    """
    if None not in contracts.values():
        found = [list(preset_problems(file, loc, preset, contract)) for contract in contracts.values() if contract]
        yield from min(found, key=len)


def preset_problems(
    file: TomlFile | None, loc: Loc, preset: Mapping[str, Any], contract: Contract, allowed: Collection[str] = ()
) -> Iterator[Problem]:
    """What the contract does not accept in the preset at `loc`; places only with a `file`.

    `allowed` are extra words for lists that may grow.
    """
    options = preset_options(contract)
    for name, value in preset.items():
        if name in ELSEWHERE:
            key = file.place((*loc, name)) if file is not None else None
            yield Problem("option-elsewhere", f"a preset cannot set `{name}`", key, hint=ELSEWHERE[name])
        elif name not in options:
            key = file.place((*loc, name)) if file is not None else None
            fault = contract.unknown_option(name)
            closest = did_you_mean(name, options)
            label = f"did you mean `{closest}`?" if closest else None
            hint = None if closest else f"known: {', '.join(f'`{option}`' for option in options) or 'none'}"
            yield Problem(fault.code, fault.message, key, label=label, hint=hint)
        else:
            bad = options[name].fault(value, allowed)
            if bad is not None:
                grows = bad.code == "unknown-choice" and options[name].choices_may_grow
                allow = f"a word that is not listed needs a recipe with `{name}` in its `[allow]`"
                hint = allow if grows else quotes_hint(bad.code, value)
                place = file.place((*loc, name), value=True) if file is not None else None
                yield Problem(bad.code, bad.message, place, label=bad.hint, hint=hint)
