"""The benchmarks run, with few pictures and no look at the time, and end when anything is lost."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.clients import CLIENTS
from benchmarks.turns import OMIXA, WAYS, Bench, Scene

ROOT = Path(__file__).parents[2]
SCENE = Scene("tiny", "tiny", 12_288, 20_000, 1, 2, 4)


def benchmark(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_governed_run_and_every_client_buy_the_same(tmp_path: Path) -> None:
    # pycurl would be fetched from the package registry.
    clients = [OMIXA, *(client for client in CLIENTS if client != "pycurl")]
    said = benchmark("benchmarks.sending", "--quick", "--clients", ",".join(clients), "--folder", str(tmp_path))
    for client in clients:
        assert said.count(f"  {client} ") == 2
    assert "12 turns: every picture, request and micro-unit was accounted for" in said


@pytest.mark.parametrize("name", ["processes", "growth"])
def test_the_other_benchmarks_of_runs_work(tmp_path: Path, name: str) -> None:
    assert "CPU ms each" in benchmark(f"benchmarks.{name}", "--quick", "--folder", str(tmp_path))


def test_what_a_start_costs_is_measured(tmp_path: Path) -> None:
    assert "`omixa budget`" in benchmark("benchmarks.startup", "--quick", "--folder", str(tmp_path))


def test_the_profile_knows_every_stage_of_a_run(tmp_path: Path) -> None:
    words = ["benchmarks.sending", "--quick", "--profile", "--scene", "small-quick", "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "governance: reserve, sent, settle" in done.stdout


# What a client may do wrong; each is told by the name of what does not agree.
LOSSES: dict[str, tuple[str, str]] = {
    "one picture is not bought": ("paths = paths[1:]", "requests: 3, should be 4"),
    "one is bought twice": ("paths = paths + paths[:1]", "requests: 5, should be 4"),
    "one is not written": ("keep = lambda path: path != paths[0]", "files: 3, should be 4"),
    "one is cut off": ("cut = True", "bytes in files"),
    "one is written in the place of another": ("same = True", "pictures of this turn: 1, should be 4"),
}
CLIENT = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from clients import plain
url, key, pictures, out = sys.argv[1:]
out = Path(out)
out.mkdir()
paths = sorted(Path(pictures).iterdir())
keep, cut, same = lambda path: True, False, False
{fault}
buy = plain(url, key, out)
for path in paths:
    buy(path)
    if not keep(path):
        (out / path.name).unlink()
bought = sorted(out.iterdir())
if cut:
    bought[0].write_bytes(bought[0].read_bytes()[:-1])
if same:
    for path in bought:
        path.write_bytes(bought[0].read_bytes())
"""


def faulty(tmp_path: Path, fault: str) -> Callable[[Path, str, int], tuple[list[str], Mapping[str, str]]]:
    script = tmp_path / "client.py"
    script.write_text(CLIENT.format(benchmarks=str(ROOT / "benchmarks"), fault=fault))

    def words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
        return [sys.executable, str(script), url, "key", str(root / "pictures"), str(root / "out")], {}

    return words


def test_a_client_that_does_nothing_wrong_is_measured(tmp_path: Path) -> None:
    (turn,) = Bench(tmp_path / "work", SCENE, {"mine": faulty(tmp_path, "")}).rounds(1)
    assert (turn.client, turn.in_flight_max) == ("mine", 1)
    assert min(turn.wall_s, turn.cpu_s, turn.rss_mib, turn.sending_s) > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_benchmark_that_lost_something_ends(tmp_path: Path, loss: str) -> None:
    fault, told = LOSSES[loss]
    with pytest.raises(SystemExit) as ended:
        Bench(tmp_path / "work", SCENE, {"mine": faulty(tmp_path, fault)}).rounds(1)
    assert told in str(ended.value)


def test_a_benchmark_whose_program_fails_ends_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nobody knows"):
        Bench(tmp_path / "work", SCENE, {"mine": faulty(tmp_path, "sys.exit('nobody knows')")}).rounds(1)


def test_a_ledger_that_does_not_say_what_was_billed_ends_the_benchmark(tmp_path: Path) -> None:
    """The governed run buys one picture less than there are, and something else buys that one."""

    def words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
        governed, variables = WAYS[OMIXA](root, url, in_flight)
        script = tmp_path / "both.py"
        script.write_text(BOTH.format(benchmarks=str(ROOT / "benchmarks"), root=str(root), url=url, governed=governed))
        return [sys.executable, str(script)], variables

    with pytest.raises(SystemExit, match=r"micro-units settled: 117000, should be 156000"):
        Bench(tmp_path / "work", SCENE, {OMIXA: words}).rounds(1)


BOTH = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from clients import plain
root = Path({root!r})
subprocess.run([*{governed!r}, "--limit", "3"], check=False)
(left,) = [path for path in (root / "pictures").iterdir() if not (root / "out" / path.name).exists()]
plain({url!r}, "key", root / "out")(left)
"""
