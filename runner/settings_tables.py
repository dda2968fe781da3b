"""omixa.toml: its tables, and the types of single values. What is said of them is also its JSON Schema."""

import re
import zoneinfo
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from runner import slots
from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract
from runner.contracts.contract import Field as ContractField
from runner.declared import (
    BudgetTable,
    Declared,
    Line,
    Money,
    Name,
    PathText,
    shown,
    wrong,
)
from runner.diagnostics import did_you_mean
from runner.errors import UsageError

FILE_NAME = "omixa.toml"
SANDBOX = "sandbox"  # the built-in endpoint: no account, no money

# What `omixa report --format` knows: the registry in runner/reports, which a test compares.
REPORT_FORMATS = ("text", "csv", "json", "html", "xlsx", "beancount", "focus", "focus-parquet", "parquet")

# What an alert can be about; docs/alerts.md says when each fires.
ALERT_KINDS = (
    *("budget", "forecast", "breach", "stop", "unknown", "slot", "recipe", "checkpoint", "clock", "frozen"),
    "approval",
    "test",
)


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
    return span_of(text) if re.fullmatch(_SPAN, text, re.ASCII) else None


def span_of(text: str) -> timedelta:
    """The span of time of a text that has been checked."""
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

    workspace: str | None = Field(
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
