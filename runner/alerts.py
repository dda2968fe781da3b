"""Alerts: what is told without being asked, once each, and taken to every channel until it arrives.

`evaluate` finds and records, `deliver` sends; both can be called at any time, by any number of processes. Delivery is
at least once: a process that dies after an alert has left, and before it wrote that down, leaves it to be sent again.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote

from runner.caps import caps_of
from runner.diagnostics import masked
from runner.identity import who
from runner.ledger import alerting
from runner.ledger.alerting import IN_FLIGHT, LEASE, WAITS, Alert, Alerting, Sending
from runner.ledger.database import Database, moment
from runner.ledger.occasions import Lookout, Occasion, Payer
from runner.ledger.values import Cap
from runner.recipe import Recipe
from runner.settings import Channel, Settings, Workspace
from runner.terminal import clean

# The longest that one sending may take: far below the lease of a claim.
SEND_TIMEOUT_S = 30

ERROR_LENGTH_MAX = 200
INSTALL = "pip install 'omixa-runner[alerts]'"

# What apprise calls a message of each kind; its services choose a colour or a picture by it.
_TYPES = {
    "test": "info",
    "report": "info",
    "breach": "failure",
    "stop": "failure",
    "frozen": "failure",
    "clock": "failure",
}


# ---- what others tell us


def predicted(account: str, title: str, key: str, message: str) -> Occasion:
    """A budget that will not last its window, as a forecast says in our own words.

    `title` and `key` are of the window, such as `month 2026-11 Europe/Berlin of workspace studio` and what
    `occasions.window_key` gives.
    """
    hint = "`omixa forecast` shows which slot it is"
    return Occasion(f"forecast {key} 100", "forecast", account, f"{title} will not last: {message}", hint)


def recipe_invalid(name: str, account: str | None, digest: str | None) -> Occasion:
    """A recipe whose file has this digest (None: it cannot be read) cannot be used.

    What is wrong in it may quote a prompt, so it is not said here.
    """
    message = f"recipe {name} has become invalid; a scheduler goes on with its last good version"
    key = f"recipe {name} {digest or 'unreadable'}"
    return Occasion(key, "recipe", account, message, f"`omixa check {name}` says why")


def checkpoint_mismatch(chain: str) -> Occasion:
    """A signed checkpoint says something else of a chain than the ledger."""
    message = "a checkpoint does not fit the ledger: it was rewritten, cut off, or put back to an older copy"
    key = f"checkpoint {sha256(chain.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return Occasion(key, "checkpoint", None, message, "`omixa audit verify` names the first bad entry")


# ---- finding


def evaluate(
    settings: Settings,
    recipes: Sequence[Recipe],
    database: Database,
    *,
    at: datetime,
    told: Sequence[Occasion] = (),
) -> list[Alert]:
    """Record what there is to tell and was never told, with a sending for each channel that wants it.

    Returns the alerts that this call recorded; another process may have been faster. `told`: what only the caller can
    know. Reads the ledger once, and writes nothing when nothing is new.
    """
    lookout = Lookout(
        payers=[
            Payer(workspace.account, workspace.time_zone, workspace.unit, _caps(workspace, recipes))
            for workspace in settings.workspaces.values()
        ],
        thresholds=settings.alerts.thresholds,
        unknown_after=settings.alerts.unknown_after,
        at=at,
    )
    wanted = [one for one in told if one.kind != "forecast" or settings.alerts.forecast]
    return Alerting(database).notice(
        lookout, wanted, lambda occasion: channels_of(occasion, settings), who=who(), at=at
    )


def _caps(workspace: Workspace, recipes: Sequence[Recipe]) -> list[Cap]:
    """Every cap that has windows in the calendar: a run's own budget begins anew with each run."""
    caps = caps_of(workspace)
    for recipe in recipes:
        if recipe.workspace == workspace.name:
            caps += [cap for cap in caps_of(workspace, recipe) if cap.scope == "recipe"]
    return caps


def channels_of(occasion: Occasion, settings: Settings) -> list[str]:
    """The names of the channels that want to hear of it. What is about no single workspace goes to all of them."""
    return [channel.name for channel in settings.alerts.channels if _wants(channel, occasion, settings)]


def _wants(channel: Channel, occasion: Occasion, settings: Settings) -> bool:
    if channel.on is not None and occasion.kind not in channel.on:
        return False
    if channel.workspaces is None or occasion.workspace is None:
        return True
    accounts = {settings.workspaces[name].account for name in channel.workspaces}
    return occasion.workspace in accounts.union(channel.workspaces)


def record_test(database: Database, channels: Sequence[str], *, at: datetime) -> Alert:
    """Record an alert that only tries the channels of these names, whatever they want to hear of."""
    message = "this is a test: what omixa has to tell of this project arrives here"
    occasion = Occasion(f"test {moment(at)}", "test", None, message)
    return Alerting(database).record(occasion, channels, who=who(), at=at)


# ---- sending


def deliver(
    settings: Settings,
    database: Database,
    *,
    at: datetime,
    only: str | None = None,
    timeout_s: int = SEND_TIMEOUT_S,
) -> list[Sending]:
    """Send what waits and is due, or with `only` what is due of that alert; how each of them stands now.

    Each is claimed for a while before it is sent, so that no other process sends it too. A channel that fails once is
    left alone until the next call, so that a dead one takes its time once. What arrived but could not be written down,
    because the process died or the ledger cannot be written, is sent again.
    """
    channels = {channel.name: channel for channel in settings.alerts.channels}
    began, done = time.monotonic(), []
    for one in alerting.due(database, at):
        if only not in (None, one.alert):
            continue
        # Sending takes time, and the lease of a claim must last from when it is made.
        now = at + timedelta(seconds=time.monotonic() - began)
        channel = channels.get(one.channel)
        if channel is not None:
            result = _deliver(one, channel, settings, database, now, timeout_s)
        elif one.channel not in {known.name for known in settings.alerts.channels}:
            error = "omixa.toml has no channel of that name any more"
            result = Alerting(database).failed(one, error, next_at=None, who=who(), at=now)
        else:
            continue  # it has failed in this call
        if result is not None:
            done.append(result)
            if result.state != "sent":
                channels.pop(one.channel, None)
    return done


def _deliver(
    one: Sending, channel: Channel, settings: Settings, database: Database, at: datetime, timeout_s: int
) -> Sending | None:
    """Send one; None when another process does."""
    office, by = Alerting(database), who()
    if one.tries > len(WAITS):
        return office.failed(one, IN_FLIGHT, next_at=None, who=by, at=at)
    mine = office.claim(one, until=at + LEASE, who=by, at=at)
    if mine is None:
        return None
    alert = alerting.alert(database, one.alert)
    began = time.monotonic()
    error = send(channel, alert, settings, timeout_s=timeout_s)
    at += timedelta(seconds=time.monotonic() - began)
    if error is None:
        return office.arrived(mine, who=by, at=at)
    # A test is for whoever waits for it now.
    is_last = mine.tries > len(WAITS) or alert.kind == "test"
    next_at = None if is_last else at + WAITS[mine.tries - 1]
    return office.failed(mine, error, next_at=next_at, who=by, at=at)


def send(channel: Channel, alert: Alert, settings: Settings, *, timeout_s: int = SEND_TIMEOUT_S) -> str | None:
    """Send an alert to a channel now; None when it arrived, else why not: short, and without the channel's URL.

    The files that a report names go with it, as they were when it was recorded, or nothing goes.
    """
    files = enclosed(alert, settings)
    if isinstance(files, str):
        return files
    if channel.command is not None:
        return _run_command(channel.command, alert, files, settings, timeout_s)
    assert channel.url_env is not None
    return _through_apprise(channel.url_env, alert, files, settings, timeout_s)


_ENCLOSED = re.compile(r"(?:: |, )(.+?) \(SHA-256 ([0-9a-f]{64})\)")


def enclosed(alert: Alert, settings: Settings) -> list[Path] | str:
    """The files of a report, which its record names with their digests; none for other alerts. Or what is wrong."""
    if alert.kind != "report":
        return []
    folders = [order.folder for order in settings.reports.values()]
    files = []
    for name, digest in _ENCLOSED.findall(alert.message):
        file = Path(os.path.normpath(settings.root / name))
        # Whatever the ledger says: nothing but reports is sent.
        if file.parent not in folders:
            return f"`{clean(name)}` is in no folder of a report of omixa.toml"
        try:
            found = sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            return f"`{clean(name)}` cannot be read: {error.strerror}"
        if found != digest:
            return f"`{clean(name)}` was changed since the report was made"
        files.append(file)
    return files


def trouble(channel: Channel, settings: Settings) -> tuple[str, str] | None:
    """Why nothing can arrive on a channel, and what to do; None: nothing is known against it. Sends nothing."""
    if channel.command is not None:
        program = channel.command[0]
        # A path is one as seen from the project, where it is run; `which` takes a whole path as it is.
        if shutil.which(str(settings.root / program) if "/" in program else program) is not None:
            return None
        return f"there is no program `{clean(program)}`", "install it, or write its whole path"
    if not os.environ.get(channel.url_env or ""):
        return _unset(channel.url_env or ""), "export it where omixa runs; it holds an apprise URL"
    if find_spec("apprise") is None:
        return "apprise is not installed", INSTALL
    return None


def _unset(variable: str) -> str:
    return f"the environment variable `{variable}` is not set"


def title(alert: Alert) -> str:
    """The alert in one line: `omixa: budget of workspace studio`, `omixa: report monthly of 2026-10`."""
    if alert.kind == "report":
        return f"omixa: {alert.message.partition(': ')[0]}"
    return f"omixa: {alert.kind}" + ("" if alert.workspace is None else f" of workspace {alert.workspace}")


def _run_command(
    command: Sequence[str], alert: Alert, files: Sequence[Path], settings: Settings, timeout_s: int
) -> str | None:
    """Run a program with the alert on its standard input as JSON, and in its environment."""
    told: dict[str, str | None] = {
        "schema": "omixa.alert/1",
        "key": alert.key,
        "kind": alert.kind,
        "workspace": alert.workspace,
        "title": title(alert),
        "message": alert.message,
        "hint": alert.hint,
        "at": moment(alert.at),
        "who": alert.who,
    }
    named = {f"OMIXA_ALERT_{name.upper()}": value or "" for name, value in told.items() if name != "schema"}
    places: dict[str, object] = {"files": [str(file) for file in files]} if files else {}
    if files:
        named["OMIXA_ALERT_FILES"] = "\n".join(map(str, files))
    try:
        environment = _environment(settings) | named
        code, _ = _run(command, json.dumps({**told, **places}), environment, settings.root, timeout_s, hear=False)
    except OSError as error:
        return f"`{clean(command[0])}` cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"`{clean(command[0])}` took longer than {timeout_s} s, and was ended"
    return None if code == 0 else f"`{clean(command[0])}` ended with {code}"


def _through_apprise(
    variable: str, alert: Alert, files: Sequence[Path], settings: Settings, timeout_s: int
) -> str | None:
    """Send by the apprise URL in an environment variable, in another process: it may hang, and prints what it likes."""
    url = os.environ.get(variable)
    if not url:
        return _unset(variable)
    body = alert.message if alert.hint is None else f"{alert.message}\n{alert.hint}"
    told = {"title": title(alert), "body": body, "type": _TYPES.get(alert.kind, "warning")}
    message = {**told, "attach": [f"file://{quote(str(file))}" for file in files]}
    # -P: nothing is imported from the folder of that file, nor from where omixa was started.
    command = [sys.executable, "-P", str(Path(__file__).with_name("messenger.py")), variable]
    try:
        code, output = _run(command, json.dumps(message), _environment(settings), settings.root, timeout_s)
        answer = json.loads(output) if code == 0 else {"code": "failed", "said": f"it ended with {code}"}
    except subprocess.TimeoutExpired:
        return f"apprise took longer than {timeout_s} s, and was ended"
    except (OSError, ValueError):
        return "apprise cannot be started"
    match answer["code"]:
        case "sent":
            return None
        case "missing":
            return f"apprise is not installed: {INSTALL}"
        case "bad-url":
            return f"`{variable}` does not hold a URL that apprise knows"
        case _:
            return f"apprise could not deliver it: {without(url, answer['said']) or 'it does not say why'}"


def _environment(settings: Settings) -> dict[str, str]:
    """The environment without workspace keys: nothing that sends an alert has a use for one."""
    sources = (workspace.api_key for workspace in settings.workspaces.values())
    keys = {source.env for source in sources if source is not None}
    return {name: value for name, value in os.environ.items() if name not in keys}


def _run(
    command: Sequence[str],
    told: str,
    environment: Mapping[str, str],
    folder: Path,
    timeout_s: int,
    *,
    hear: bool = True,
) -> tuple[int, str]:
    """Run a program to its end; its exit code, and its standard output unless nobody wants to `hear` it.

    Raises OSError, TimeoutExpired. What it has started is ended with it when its time is over.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        # What goes on in the background may hold it open for ever.
        stdout=subprocess.PIPE if hear else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        output, _ = process.communicate(told, timeout=timeout_s)
    except BaseException:
        _end(process)
        raise
    return process.returncode, output or ""


def _end(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def without(secret: str, said: str) -> str:
    """What apprise said, on one short line, without the URL: neither whole nor any part of it, nor any other.

    Words that are long enough to be a token are left out too, whatever they are.
    """
    plain = masked(clean(said))
    scheme = secret.partition("://")[0]
    for whole in {secret, secret.partition("://")[2], unquote(secret)}:
        plain = plain.replace(whole, "…") if whole else plain
    parts = {part for form in (secret, unquote(secret)) for part in re.split(r"[^A-Za-z0-9]+", form)} - {"", scheme}
    for part in sorted(parts, key=len, reverse=True):
        # A short one is a word of the language as well: only where it stands alone.
        edge = r"\b" if len(part) < 4 else ""
        plain = re.sub(f"{edge}{re.escape(part)}{edge}", "…", plain, flags=re.IGNORECASE)
    words = ["…" if "://" in word or len(word) > 20 else word for word in plain.split()]
    line = " ".join(words)
    return line if len(line) <= ERROR_LENGTH_MAX else line[: ERROR_LENGTH_MAX - 1] + "…"
