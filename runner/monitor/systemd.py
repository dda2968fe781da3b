"""Telling systemd how we are; a unit that gives the scheduler no more rights than it needs; and a cron line."""

import os
import re
import shlex
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runner.errors import UsageError
from runner.terminal import clean

# How long systemd waits for a sign of life. A look may wait for the ledger, and read many pictures for a plan.
WATCHDOG_S = 300
# What it takes to end in good order beyond a request in flight: its picture is written and booked.
_MARGIN_S = 60
_SEND_S = 1.0

_USER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,30}", re.ASCII)
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - looked for, not used


# ---- telling systemd


def notify(**state: object) -> None:
    """Tell systemd, such as `READY=1`, `STATUS="3 slots wait"`, `WATCHDOG=1`; `RELOADING=1` gets its moment with it.

    Does nothing without $NOTIFY_SOCKET. Never raises, and waits for a second at most.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if "RELOADING" in state:
        state["MONOTONIC_USEC"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    lines = "".join(f"{name}={clean(str(value))}\n" for name, value in state.items())
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_SEND_S)
        sender.sendto(lines.encode("utf-8", "backslashreplace"), address.replace("@", "\0", 1))


def watchdog_s() -> float | None:
    """How often to send `WATCHDOG=1`: half of what systemd allows, in seconds. None: it does not watch this process."""
    allowed, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not re.fullmatch(r"[1-9][0-9]{0,18}", allowed, re.ASCII) or pid not in ("", str(os.getpid())):
        return None
    return int(allowed) / 2_000_000


# ---- the unit


def unit(
    project: Path,
    executable: Path,
    *,
    user: str,
    environment_file: Path | None = None,
    timeout_s: int = 600,
    options: Sequence[str] = (),
    writes: Sequence[Path] = (),
    reads: Sequence[Path] = (),
) -> str:
    """A unit that runs `omixa schedule run` for a project, and may write nowhere else. All paths are absolute.

    `environment_file`: NAME=VALUE lines with the key; None: the key is in a file that omixa.toml names. `timeout_s`:
    of the slowest endpoint. `options`: after `schedule run`. `writes`: folders outside of the project that must be
    written, such as the ledger's. `reads`: what else must be seen, such as source folders or Python's own.
    Raises UsageError for what no unit can say.
    """
    if not _USER.fullmatch(user):
        raise UsageError(f"`{clean(user)}` cannot be the user of a unit", "name a user of this machine: --user omixa")
    seen = [project, executable, *writes, *reads, *([] if environment_file is None else [environment_file])]
    command = [f":{executable}", "--project", str(project), "schedule", "run", *options]
    for path in (*seen, *(Path(option) for option in options)):
        _refuse_control(str(path))
    for path in seen:
        if not path.is_absolute():
            raise UsageError(f"a unit needs absolute paths, found `{path}`", "write the whole path, from `/` on")
    if re.search(r"[\"'\\]", str(executable)):
        raise UsageError(
            f"systemd starts no program whose path has a quote or a backslash: `{executable}`",
            "install omixa elsewhere, or link to it from such as /usr/local/bin",
        )
    return _UNIT.format(
        # A comment ends with its line, and a backslash there would go on.
        project=str(project).rstrip("\\"),
        description=_specifiers(project.name).rstrip("\\") or "/",
        user=user,
        environment="" if environment_file is None else f"EnvironmentFile={_pattern(environment_file)}\n",
        # The colon: nothing in this line is a variable, whatever has a `$`.
        command=" ".join(_word(part) for part in command),
        watchdog_s=WATCHDOG_S,
        stop_s=timeout_s + _MARGIN_S,
        writes=" ".join(_word(str(path)) for path in dict.fromkeys((project, *writes))),
        home=_unless(seen, _HOMES, "ProtectHome=yes", "homes stay visible: the project or what it needs is in one"),
        temporary=_unless(seen, _TEMPORARY, "PrivateTmp=yes", "the project or what it needs is in a temporary folder"),
    )


def _unless(paths: Sequence[Path], places: Sequence[str], line: str, why_not: str) -> str:
    inside = any(path.is_relative_to(place) for path in paths for place in places)
    return f"# no {line.partition('=')[0]}=: {why_not}" if inside else line


def _refuse_control(text: str) -> None:
    if any(ord(c) < 0x20 or ord(c) == 0x7F or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise UsageError(
            f"`{clean(text)}` has a character that no unit and no cron line can hold", "rename that file or folder"
        )


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a line that systemd splits: quoted, and `%` is no specifier."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_specifiers(escaped)}"'


def _pattern(path: Path) -> str:
    """A path where systemd takes the rest of the line, unquoted, as a pattern of glob(3)."""
    if str(path)[-1:].isspace():
        raise UsageError(f"`{path}` ends with a space, which a unit cannot say", "rename that file")
    return _specifiers(re.sub(r"([\\*?\[\]])", r"\\\1", str(path)))


_UNIT = """\
# The scheduler of omixa for {project}
# Put it at /etc/systemd/system/omixa-schedule.service, then: systemctl enable --now omixa-schedule

[Unit]
Description=omixa schedule of {description}
Documentation=https://pypi.org/project/omixa-runner/
Wants=network-online.target
# Which slots are due, and which budget window holds them, is a matter of the clock.
After=network-online.target time-sync.target

[Service]
Type=notify
NotifyAccess=main
User={user}
{environment}ExecStart={command}
# Recipes and settings are read again when their files change; this is for the impatient.
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec={watchdog_s}
# An older ledger is copied and migrated first.
TimeoutStartSec=600
# A request in flight is paid for: its answer is waited for, written and booked.
TimeoutStopSec={stop_s}
KillMode=mixed
KillSignal=SIGTERM
SuccessExitStatus=130
Restart=on-failure
RestartSec=30

# It writes here and nowhere else.
ProtectSystem=strict
ReadWritePaths={writes}
{home}
{temporary}
UMask=0077
# A core dump would hold the key.
LimitCORE=0
LimitNOFILE=8192

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
# Not ProcSubset=pid: the ledger checks the clock against the machine's start, which stands in /proc/sys.
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


# ---- cron


def cron_line(
    recipe: str, cron: str, zone: str, executable: Path, project: Path, *, environment_file: Path | None = None
) -> str:
    """Lines of a crontab that run one recipe, for who prefers cron to `omixa schedule run`. Paths are absolute.

    `cron`: its five fields; `zone`: the calendar that they mean. `environment_file`: a shell reads it first.
    Raises UsageError for what no crontab can say.
    """
    words = [str(executable), "--project", str(project), "run", recipe, "--yes"]
    command = shlex.join(words)
    if environment_file is not None:
        command = f"set -a; . {shlex.quote(str(environment_file))}; {command}"
    for text in (cron, zone, command):
        _refuse_control(text)
    if "\\" in command:
        raise UsageError(
            f"the backslash in `{clean(command)}` means different things to different crons", "rename that folder"
        )
    return _CRON.format(recipe=recipe, zone=zone, cron=" ".join(cron.split()), command=command.replace("%", "\\%"))


_CRON = """\
# {recipe}: cron goes by the machine's time zone, and these fields mean {zone}. Where the two differ, write
# CRON_TZ={zone} on a line before (cronie), or set the machine's zone. What a clock change skips or repeats is up to
# cron; what nobody was there for is lost without a word, and no slot is recorded.
# No flock is needed: runs share the ledger, and none buys what another one buys or has bought.
{cron} {command}
"""
