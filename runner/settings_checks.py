"""What must fit together in omixa.toml: on the data as written, so that it is checked whatever else is wrong."""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from runner.contracts.contract import Contract
from runner.declared import (
    quotes_hint,
    shown,
    tables,
    unknown,
)
from runner.diagnostics import Problem, did_you_mean
from runner.settings_tables import ELSEWHERE, SANDBOX, preset_options
from runner.tomlfile import Loc, TomlFile


def cross_problems(file: TomlFile, contracts: Mapping[str, Contract | None]) -> Iterator[Problem]:
    """Everything in which one value contradicts another. `contracts`: None of a model whose file has problems."""
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
