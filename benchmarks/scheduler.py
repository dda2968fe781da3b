"""A scheduler with 50 recipes: memory and punctuality over 24 simulated hours, and what it costs when nothing is due.

The hours are simulated: the real scheduler, ledger and local endpoint, with a calendar that moves by half a minute a
step. Then the real program watches the same recipes for a real minute in which none is due. Prints what it measured.

    python benchmarks/scheduler.py
    python benchmarks/scheduler.py --hours 6 --recipes 10 --idle-s 20
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image

from runner import sandbox
from runner.ledger import agenda, verify
from runner.ledger.database import open_database
from runner.schedule import Scheduler
from runner.settings import ledger_path, load

SETTINGS = """
[endpoints.local]
url = "{url}"
[workspaces.bench]
endpoint = "local"
api_key = {{ env = "BENCH_KEY" }}
currency = "USD"
time_zone = "Europe/Berlin"
budget = {{ total = "1000.00" }}
ceilings = {{ "stability-upscale-creative" = "0.05" }}
"""
RECIPE = """
workspace = "bench"
model = "stability-upscale-creative"
[[sources]]
folder = "pictures/{number}"
[prompts.restore]
text = "Restore it."
[output]
folder = "out/{number}"
[schedule]
cron = "{cron}"
"""
STEP = timedelta(seconds=30)
PICTURES = 2


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--recipes", type=int, default=50)
    parser.add_argument("--idle-s", type=int, default=60)
    options = parser.parse_args()
    os.environ["BENCH_KEY"] = "bench-key"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        project(root, options.recipes, "{minute} * * * *")
        simulated(root, options.hours)
        for number in range(options.recipes):
            recipe(root, number, "0 4 29 2 *")  # not due for years
        idle(root, options.idle_s)
    return 0


def project(root: Path, recipes: int, cron: str) -> None:
    """So many recipes, each with a few pictures, due at a minute of its own."""
    (root / "recipes").mkdir()
    for number in range(recipes):
        folder = root / "pictures" / str(number)
        folder.mkdir(parents=True)
        for picture in range(PICTURES):
            draw(folder / f"{picture}.png")
        recipe(root, number, cron.format(minute=number % 60))


def draw(path: Path) -> None:
    """A small picture like no other."""
    Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3)).save(path)


def recipe(root: Path, number: int, cron: str) -> None:
    """One recipe file."""
    text = RECIPE.format(number=number, cron=cron)
    (root / "recipes" / f"recipe-{number:02}.toml").write_text(text, encoding="utf-8")


def simulated(root: Path, hours: int) -> None:
    """Step through the hours; print memory on the way, and how late slots were by the simulated calendar."""
    at = begin = datetime(2026, 11, 2, tzinfo=UTC)
    # The endpoint's `Date` goes with the calendar, or the clock would be doubted.
    endpoint = sandbox.start(sandbox.SandboxOptions(now=lambda: at.timestamp(), answer_bytes=20_000))
    (root / "omixa.toml").write_text(SETTINGS.format(url=endpoint.url), encoding="utf-8")
    settings, problems = load(root)
    assert settings is not None, problems
    with open_database(ledger_path(settings), create=True) as database:
        scheduler = Scheduler(root, settings, database, log=lambda *_, **__: None, now=lambda: at, uptime=lambda: None)
        began, cpu = time.perf_counter(), time.process_time()
        for step in range(hours * 120 + 1):
            at = begin + step * STEP
            if step % 120 == 1:  # each folder gains a picture an hour
                for folder in (root / "pictures").iterdir():
                    draw(folder / f"gained-{step}.png")
            scheduler.step()
            assert scheduler.settled(60)
            if step % (hours * 30) == 0:
                print(f"after {step // 120:3} simulated hours: {rss_mib()} MiB", flush=True)
        slots = agenda.slots(database, newest=1_000_000)
        late = Counter(int((slot.claimed_at - slot.due_at).total_seconds()) for slot in slots)
        states = Counter(slot.state for slot in slots)
        reasons = Counter(slot.reason for slot in slots if slot.state != "ran")
        faults = verify.verify(database).faults
        scheduler.close()
    endpoint.stop()
    print(f"{len(slots)} slots: {dict(states)}; seconds late: {dict(late)}; ledger: {faults or 'sound'}")
    for reason, count in reasons.most_common(5):
        print(f"  {count} times: {reason}")
    print(f"{time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} s CPU")


def rss_mib() -> int:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >> 20


def idle(root: Path, seconds: int) -> None:
    """The real program with nothing due: CPU and memory of a while after it was ready."""
    command = [sys.executable, "-m", "runner", "--project", str(root), "schedule", "run", "--yes", "--log", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"ready"' in line:
                break
        time.sleep(5)
        before = cpu_s(process.pid)
        time.sleep(seconds)
        used = cpu_s(process.pid) - before
        held = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").partition("VmRSS:")[2].split()[0]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    share = 100 * used / seconds
    print(f"idle for {seconds} s: {used:.2f} s CPU, {share:.2f} % of one core, {int(held) >> 10} MiB")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
