"""What systemd is told arrives as it is meant; a unit and a cron line mean the paths that they are made of."""

import ctypes
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.monitor import systemd
from runner.monitor.systemd import cron_line, notify, unit, watchdog_s

PROJECT, OMIXA = Path("/srv/studio"), Path("/opt/omixa/bin/omixa")
HOSTILE = {
    "spaces": "a b  c",
    "percent": "100% %h %% %",
    "dollar": "$HOME ${HOME} $$ $(id)",
    "double quote": 'a "b" "',
    "single quote": "it's 'b'",
    "shell": "; id & `id` | id > x # !",
    "options": "--project -x",
    "glob": "a*b[c]d?e{f,g}~",
    "not ASCII": "Büro 漢字 \u2028\u200b",
    "equals": "A=b=c",
    "comment": "#;a",
}
BACKSLASHES = {"backslash": "a\\b", "escape": "\\x41\\n\\t\\s\\", "two at the end": "a\\\\"}
SIMPLE_UNIT: dict[str, Any] = {"project": PROJECT, "executable": OMIXA, "user": "omixa"}
SIMPLE_LINE: dict[str, Any] = {
    "recipe": "posters",
    "cron": "0 6 * * *",
    "zone": "UTC",
    "executable": OMIXA,
    "project": PROJECT,
}
CONTROL = {"newline": "a\nUser=root", "carriage return": "a\rb", "tab": "a\tb", "delete": "a\x7f", "no text": "a\udcff"}


# ---- telling systemd


@pytest.fixture(params=["a path", "an abstract name"])
def heard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a systemd, whose address is in the environment."""
    address = str(tmp_path / "notify") if request.param == "a path" else f"@omixa-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield receiver


def messages(receiver: socket.socket) -> list[bytes]:
    """What has come; a datagram is there as soon as it is sent."""
    found = []
    while True:
        try:
            found.append(receiver.recv(65536))
        except BlockingIOError:
            return found


def test_systemd_hears_each_state_in_a_message_of_its_own(heard: socket.socket) -> None:
    notify(READY=1)
    notify(WATCHDOG=1)
    notify(STATUS="3 slots wait", EXTEND_TIMEOUT_USEC=90_000_000)
    notify(STOPPING=1)
    assert messages(heard) == [
        b"READY=1\n",
        b"WATCHDOG=1\n",
        b"STATUS=3 slots wait\nEXTEND_TIMEOUT_USEC=90000000\n",
        b"STOPPING=1\n",
    ]


def test_reloading_has_its_moment_with_it_and_nothing_else_has(heard: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    notify(RELOADING=1)
    after = time.monotonic_ns() // 1000
    (message,) = messages(heard)
    found = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=([0-9]+)\n", message)
    assert found is not None
    assert before <= int(found[1]) <= after


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\0", "\v", "\x1e", "\x85", "\u2028"])
def test_a_text_is_one_line_whatever_it_holds(heard: socket.socket, end: str) -> None:
    notify(STATUS=f"posters{end}MAINPID=1{end}STOPPING=1", READY=1)
    (message,) = messages(heard)
    assert message.count(b"\n") == 2
    assert [line.partition("=")[0] for line in message.decode().splitlines()] == ["STATUS", "READY"]


def test_any_text_can_be_told(heard: socket.socket) -> None:
    notify(STATUS="Büro \udcff")
    assert messages(heard) == ["STATUS=Büro \\udcff\n".encode()]


@pytest.mark.parametrize(
    "address",
    [
        None,
        *("", "notify", "vsock:2:1234", "\udcff"),
        *("/nowhere/notify", "/", "/dev/null", "/\udcff", "/" + "x" * 500),
        *("@", "@omixa-nobody", "@" + "x" * 500),
    ],
    ids=ascii,
)
def test_where_no_systemd_listens_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify(READY=1)
    notify(RELOADING=1)


def test_a_relative_address_is_no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("notify")
        receiver.setblocking(False)
        notify(READY=1)
        assert messages(receiver) == []


def test_a_socket_of_another_kind_or_too_long_a_text_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "stream"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "stream"))
        listener.listen()
        notify(READY=1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        notify(STATUS="x" * 50_000_000)


def test_a_systemd_that_does_not_listen_is_not_waited_for(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert systemd._SEND_S == 1
    monkeypatch.setattr(systemd, "_SEND_S", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sender.sendto(b"x", heard.getsockname())
    telling = threading.Thread(target=notify, kwargs={"WATCHDOG": 1}, daemon=True)
    telling.start()
    telling.join(20)
    assert not telling.is_alive()
    assert b"WATCHDOG=1\n" not in messages(heard)


def test_no_socket_is_left_open(heard: socket.socket) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        notify(READY=1)
        messages(heard)
    assert len(os.listdir("/dev/fd")) == before


# ---- the watchdog


@pytest.mark.parametrize("pid", [None, "", "{mine}"])
@pytest.mark.parametrize(
    ("allowed", "every_s"), [("300000000", 150.0), ("1", 0.0000005), ("2000001", 1.0000005), ("9" * 19, 5e12)]
)
def test_a_sign_of_life_is_sent_at_half_of_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, allowed: str, every_s: float, pid: str | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", allowed)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid.format(mine=os.getpid()))
    assert watchdog_s() == pytest.approx(every_s)


@pytest.mark.parametrize(
    "allowed",
    [
        None,
        *("", "0", "00", "01", "-1", "+1", "1.5", "1e6", " 5", "5\n", "1_000", "٣", "infinity", "0x10"),
        *("1" * 20, "9" * 5000),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_what_is_no_number_is_no_watchdog(monkeypatch: pytest.MonkeyPatch, allowed: str | None) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if allowed is not None:
        monkeypatch.setenv("WATCHDOG_USEC", allowed)
    assert watchdog_s() is None


@pytest.mark.parametrize("pid", ["1", "{parent}", "0{mine}", " {mine}", "{mine}0", "x", "0"])
def test_the_watchdog_of_another_process_is_none_of_ours(monkeypatch: pytest.MonkeyPatch, pid: str) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000000")
    monkeypatch.setenv("WATCHDOG_PID", pid.format(mine=os.getpid(), parent=os.getppid()))
    assert watchdog_s() is None


# ---- the unit

SIMPLE = """\
# The scheduler of omixa for /srv/studio
# Put it at /etc/systemd/system/omixa-schedule.service, then: systemctl enable --now omixa-schedule

[Unit]
Description=omixa schedule of studio
Documentation=https://pypi.org/project/omixa-runner/
Wants=network-online.target
# Which slots are due, and which budget window holds them, is a matter of the clock.
After=network-online.target time-sync.target

[Service]
Type=notify
NotifyAccess=main
User=omixa
ExecStart=":/opt/omixa/bin/omixa" "--project" "/srv/studio" "schedule" "run"
# Recipes and settings are read again when their files change; this is for the impatient.
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=300
# An older ledger is copied and migrated first.
TimeoutStartSec=600
# A request in flight is paid for: its answer is waited for, written and booked.
TimeoutStopSec=660
KillMode=mixed
KillSignal=SIGTERM
SuccessExitStatus=130
Restart=on-failure
RestartSec=30

# It writes here and nowhere else.
ProtectSystem=strict
ReadWritePaths="/srv/studio"
ProtectHome=yes
PrivateTmp=yes
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


def values(text: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in text.split("\n") if line.startswith(f"{name}=")]


def value(text: str, name: str) -> str:
    (found,) = values(text, name)
    return found


def words(line: str) -> list[str]:
    """The words of a line as systemd.syntax(7) has them; written a second time, without a look at the first."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    assert " ".join(f'"{word}"' for word in found) == line
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in found]


def others(text: str) -> list[str]:
    """The lines that name no path."""
    named = ("# The scheduler of", "Description=", "ExecStart=", "ReadWritePaths=")
    return [line for line in text.split("\n") if not line.startswith(named)]


def test_the_unit_of_a_simple_project() -> None:
    assert unit(PROJECT, OMIXA, user="omixa") == SIMPLE


def test_what_is_asked_for_stands_where_it_belongs_and_nothing_else_changes() -> None:
    asked = unit(
        PROJECT,
        OMIXA,
        user="ana-2",
        environment_file=Path("/etc/omixa/key"),
        timeout_s=1200,
        options=["--yes", "--port", "9273"],
        writes=[Path("/var/lib/omixa"), Path("/mnt/out"), PROJECT, Path("/mnt/out")],
        reads=[Path("/mnt/scans")],
    )
    changed = set(asked.split("\n")) ^ set(SIMPLE.split("\n"))
    assert changed == {
        "User=ana-2",
        "User=omixa",
        "EnvironmentFile=/etc/omixa/key",
        'ExecStart=":/opt/omixa/bin/omixa" "--project" "/srv/studio" "schedule" "run" "--yes" "--port" "9273"',
        'ExecStart=":/opt/omixa/bin/omixa" "--project" "/srv/studio" "schedule" "run"',
        "TimeoutStopSec=1260",
        "TimeoutStopSec=660",
        'ReadWritePaths="/srv/studio" "/var/lib/omixa" "/mnt/out"',
        'ReadWritePaths="/srv/studio"',
    }


@pytest.mark.parametrize("name", (HOSTILE | BACKSLASHES).values(), ids=HOSTILE | BACKSLASHES)
def test_any_path_is_meant_and_adds_no_line(name: str) -> None:
    project, ledger, option = Path("/srv", name), Path("/var", name, "home"), f"--name={name}"
    text = unit(project, OMIXA, user="omixa", options=[option], writes=[ledger])
    assert words(value(text, "ExecStart")) == [f":{OMIXA}", "--project", str(project), "schedule", "run", option]
    assert words(value(text, "ReadWritePaths")) == [str(project), str(ledger)]
    description = value(text, "Description").replace("%%", "%")
    assert description == f"omixa schedule of {project.name}".rstrip("\\")
    assert others(text) == others(SIMPLE)


@pytest.mark.parametrize("name", (HOSTILE | BACKSLASHES).values(), ids=HOSTILE | BACKSLASHES)
def test_no_line_goes_on_in_the_next(name: str) -> None:
    path = Path("/srv", name)
    text = unit(path, OMIXA, user="omixa", options=[name], environment_file=path, writes=[path])
    for line in text.split("\n"):
        assert line.startswith("EnvironmentFile=") or not line.endswith("\\")
        # There, each backslash has one before it.
        assert (len(line) - len(line.rstrip("\\"))) % 2 == 0


@pytest.mark.parametrize("name", CONTROL.values(), ids=CONTROL)
def test_a_path_that_no_unit_can_hold_is_refused_wherever_it_stands(name: str) -> None:
    bad = Path("/srv", name)
    places: list[dict[str, Any]] = [
        {"project": bad},
        {"executable": bad},
        {"environment_file": bad},
        {"options": [name]},
    ]
    for place in [*places, {"writes": [PROJECT, bad]}, {"reads": [bad]}]:
        with pytest.raises(UsageError, match="has a character that no unit and no cron line can hold") as caught:
            unit(**SIMPLE_UNIT | place)
        assert caught.value.message.isprintable()
        assert caught.value.hint == "rename that file or folder"


def test_a_path_that_begins_somewhere_else_is_refused_wherever_it_stands() -> None:
    bad = Path("srv/studio")
    places: list[dict[str, Any]] = [
        {"project": bad},
        {"executable": bad},
        {"environment_file": bad},
        {"writes": [bad]},
        {"reads": [bad]},
    ]
    for place in places:
        with pytest.raises(UsageError, match="a unit needs absolute paths, found `srv/studio`"):
            unit(**SIMPLE_UNIT | place)


@pytest.mark.parametrize("name", ["it's", 'a "b"', "a\\b"])
def test_a_program_that_systemd_would_not_start_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="systemd starts no program whose path has a quote or a backslash") as caught:
        unit(PROJECT, Path("/opt", name, "omixa"), user="omixa")
    assert "link to it" in str(caught.value.hint)


@pytest.mark.parametrize("user", ["", "0", "0day", "a b", "root\n", "a\nGroup=root", "%u", "a:b", "ü", "a" * 32, "-a"])
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(UsageError, match="cannot be the user of a unit"):
        unit(PROJECT, OMIXA, user=user)


@pytest.mark.parametrize("user", ["root", "_omixa", "ana-2", "A_b", "a" * 31])
def test_what_is_a_user_is_taken(user: str) -> None:
    assert value(unit(PROJECT, OMIXA, user=user), "User") == user


def test_the_root_folder_is_a_project_too() -> None:
    assert value(unit(Path("/"), OMIXA, user="omixa"), "Description") == "omixa schedule of /"


class _Glob(ctypes.Structure):
    _fields_ = (("count", ctypes.c_size_t), ("found", ctypes.POINTER(ctypes.c_char_p)), ("rest", ctypes.c_byte * 256))


def globbed(pattern: str) -> list[bytes]:
    """What glob(3) itself finds, as systemd asks it."""
    libc, asked = ctypes.CDLL(None), _Glob()
    if libc.glob(os.fsencode(pattern), 0, None, ctypes.byref(asked)) != 0:
        return []
    found = [asked.found[at] for at in range(asked.count)]
    libc.globfree(ctypes.byref(asked))
    return [path for path in found if path is not None]


@pytest.mark.parametrize("name", [*(HOSTILE | BACKSLASHES).values(), "*", "?", "[a-z]", "[!a]", "\\*", " a"], ids=repr)
def test_the_environment_file_is_that_file_and_no_other(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    for one in (file, tmp_path / "a", tmp_path / "axbcdye{f,g}~"):
        one.touch()
    told = value(unit(PROJECT, OMIXA, user="omixa", environment_file=file), "EnvironmentFile")
    assert "%" not in told.replace("%%", "")
    assert globbed(told.replace("%%", "%")) == [os.fsencode(file)]


def test_an_environment_file_whose_end_is_not_seen_is_refused() -> None:
    with pytest.raises(UsageError, match="`/etc/key ` ends with a space, which a unit cannot say"):
        unit(PROJECT, OMIXA, user="omixa", environment_file=Path("/etc/key "))


NO_HOME = "# no ProtectHome=: homes stay visible: the project or what it needs is in one"
NO_TMP = "# no PrivateTmp=: the project or what it needs is in a temporary folder"


@pytest.mark.parametrize("place", ["project", "executable", "environment_file", "writes", "reads"])
@pytest.mark.parametrize(
    ("path", "home", "temporary"),
    [
        ("/home/ana/x", NO_HOME, "PrivateTmp=yes"),
        ("/root/x", NO_HOME, "PrivateTmp=yes"),
        ("/run/user/1000/x", NO_HOME, "PrivateTmp=yes"),
        ("/home", NO_HOME, "PrivateTmp=yes"),
        ("/tmp/x", "ProtectHome=yes", NO_TMP),
        ("/var/tmp/x", "ProtectHome=yes", NO_TMP),
        ("/homes/x", "ProtectHome=yes", "PrivateTmp=yes"),
        ("/srv/home/tmp/root", "ProtectHome=yes", "PrivateTmp=yes"),
        ("/tmpfiles", "ProtectHome=yes", "PrivateTmp=yes"),
    ],
)
def test_what_is_needed_stays_visible_and_all_else_is_hidden(path: str, home: str, temporary: str, place: str) -> None:
    given = [Path(path)] if place in ("writes", "reads") else Path(path)
    text = unit(**SIMPLE_UNIT | {place: given})
    lines = text.split("\n")
    assert lines.count(home) == 1
    assert lines.count(temporary) == 1
    assert len(values(text, "ProtectHome")) == (home == "ProtectHome=yes")
    assert len(values(text, "PrivateTmp")) == (temporary == "PrivateTmp=yes")


# ---- systemd itself

SYSTEMD = shutil.which("systemd", path="/usr/lib/systemd:/lib/systemd:/usr/bin")
# systemd reads units for a test only when it is not root; the right to read is kept, for pytest's folders are private.
AS_SOMEBODY = (
    ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    if os.geteuid() == 0
    else []
)


def parsed(folder: Path, text: str) -> str:
    """What systemd says that it has understood of a unit, whole."""
    if SYSTEMD is None or (AS_SOMEBODY and shutil.which("setpriv") is None):
        pytest.skip("there is no systemd here")
    for name in ("sysinit", "basic", "shutdown", "network-online", "time-sync"):
        (folder / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (folder / "omixa-schedule.service").write_text(text)
    done = subprocess.run(
        [*AS_SOMEBODY, SYSTEMD, "--test", "--system", "--unit=omixa-schedule.service", "--log-target=console"],
        env={"SYSTEMD_UNIT_PATH": str(folder), "SYSTEMD_LOG_LEVEL": "info", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        pytest.skip(f"systemd reads no units here: {(done.stdout + done.stderr)[-200:]}")
    told = done.stdout + done.stderr
    complaints = [line for line in told.split("\n") if line.startswith(f"{folder}/omixa-schedule.service:")]
    assert complaints == []
    return told.partition("-> Unit omixa-schedule.service:\n")[2].partition("-> Unit ")[0]


def field(told: str, name: str) -> list[str]:
    found = (re.fullmatch(rf"\s*{name}: (.*)", line) for line in told.split("\n"))
    return [match[1] for match in found if match]


def shell_words(line: str) -> list[str]:
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", (HOSTILE | BACKSLASHES).values(), ids=HOSTILE | BACKSLASHES)
def test_systemd_understands_every_line_and_means_the_same(tmp_path: Path, name: str) -> None:
    project, option = Path("/srv", name), f"--name={name}"
    executable = Path("/opt", re.sub(r"[\"'\\]", "", name), "omixa")
    text = unit(project, executable, user="omixa", options=[option], environment_file=Path("/etc", name))
    told = parsed(tmp_path, text)
    start, reload = field(told, "Command Line")
    assert shell_words(start) == [str(executable), "--project", str(project), "schedule", "run", option]
    assert shell_words(reload) == ["/bin/kill", "-HUP", "$MAINPID"]
    assert field(told, "ReadWritePaths") == [str(project)]
    assert field(told, "Description") == [f"omixa schedule of {name}".rstrip("\\")]
    assert field(told, "User") == ["omixa"]
    (file,) = field(told, "EnvironmentFile")
    assert re.sub(r"\\(.)", r"\1", file) == f"/etc/{name}"


def test_systemd_takes_each_right_away(tmp_path: Path) -> None:
    told = parsed(tmp_path, unit(PROJECT, OMIXA, user="omixa"))
    yes = "PrivateTmp PrivateDevices ProtectHome ProtectClock ProtectControlGroups ProtectHostname ProtectKernelLogs"
    yes += " ProtectKernelModules ProtectKernelTunables RestrictRealtime RestrictSUIDSGID LockPersonality"
    for name in [*yes.split(), "MemoryDenyWriteExecute"]:
        assert field(told, name) == ["yes"], name
    assert field(told, "ProtectProc") == ["invisible"]
    assert field(told, "ProtectSystem") == ["strict"]
    assert field(told, "CapabilityBoundingSet") == [""]
    assert field(told, "UMask") == ["0077"]
    assert field(told, "LimitCORE") == ["0"]
    assert field(told, "Type") == ["notify"]
    assert field(told, "TimeoutStopSec") == ["11min"]
    assert field(told, "WatchdogSec") == ["5min"]


# ---- cron

SIMPLE_CRON = """\
# posters: cron goes by the machine's time zone, and these fields mean Asia/Tokyo. Where the two differ, write
# CRON_TZ=Asia/Tokyo on a line before (cronie), or set the machine's zone. What a clock change skips or repeats is up to
# cron; what nobody was there for is lost without a word, and no slot is recorded.
# No flock is needed: runs share the ledger, and none buys what another one buys or has bought.
0 6 * * mon-fri /opt/omixa/bin/omixa --project /srv/studio run posters --yes
"""


def test_the_cron_line_of_a_simple_recipe() -> None:
    assert cron_line("posters", " 0 6  * *   mon-fri ", "Asia/Tokyo", OMIXA, PROJECT) == SIMPLE_CRON


def test_a_shell_reads_the_environment_file_first() -> None:
    asked = cron_line("posters", "0 6 * * mon-fri", "Asia/Tokyo", OMIXA, PROJECT, environment_file=Path("/etc/a b"))
    before = "0 6 * * mon-fri "
    assert asked == SIMPLE_CRON.replace(before, f"{before}set -a; . '/etc/a b'; ")


def command(crontab: str) -> str:
    """What cron gives to `sh -c`: up to the first `%` without a backslash, and without the backslash of the others."""
    (line,) = [line for line in crontab.split("\n") if line and not line.startswith("#")]
    after = line.split(" ", 5)[5]
    return re.split(r"(?<!\\)%", after)[0].replace("\\%", "%")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_what_cron_runs_is_what_was_meant(tmp_path: Path, name: str) -> None:
    folder, told = tmp_path / name, tmp_path / "told"
    folder.mkdir()
    executable, environment = folder / "omixa", folder / "key file"
    executable.write_text('#!/bin/sh\nprintf \'%s\\0\' "$0" "$@" "$OMIXA_KEY" > "$TOLD"\n')
    executable.chmod(0o755)
    environment.write_text("OMIXA_KEY='a key of two words'\n")
    crontab = cron_line(name, "0 6 * * *", "UTC", executable, folder, environment_file=environment)
    done = subprocess.run(
        ["sh", "-c", command(crontab)],
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "TOLD": str(told)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout + done.stderr == ""
    expected = [str(executable), "--project", str(folder), "run", name, "--yes", "a key of two words"]
    assert told.read_text().split("\0")[:-1] == expected
    assert sorted(os.listdir(tmp_path)) == sorted([name, "told"])


@pytest.mark.parametrize("name", CONTROL.values(), ids=CONTROL)
def test_what_no_crontab_can_hold_is_refused_wherever_it_stands(name: str) -> None:
    bad = Path("/srv", name)
    places: list[dict[str, Any]] = [
        {"recipe": name},
        {"cron": name},
        {"zone": name},
        {"executable": bad},
        {"project": bad},
    ]
    for place in [*places, {"environment_file": bad}]:
        with pytest.raises(UsageError, match="has a character that no unit and no cron line can hold"):
            cron_line(**SIMPLE_LINE | place)


@pytest.mark.parametrize("name", BACKSLASHES.values(), ids=BACKSLASHES)
def test_a_backslash_is_refused_for_crons_differ(name: str) -> None:
    bad = Path("/srv", name)
    places: list[dict[str, Any]] = [{"recipe": name}, {"executable": bad}, {"project": bad}]
    for place in [*places, {"environment_file": bad}]:
        with pytest.raises(UsageError, match="means different things to different crons") as caught:
            cron_line(**SIMPLE_LINE | place)
        assert caught.value.hint == "rename that folder"
