"""What one picture costs on its way from reserved to settled: CPU by stage, and peak memory of the run.

Runs of the real program in processes of their own, against an endpoint that does nothing but answer. With `--against`
another checkout is measured in turn with this one, for a before and an after on the same busy machine.

    python benchmarks/picture.py --set large --in-flight 8 --against ../before
"""

import argparse
import base64
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

HERE = Path(__file__).parents[1]
SETTINGS = """
[endpoints.local]
url = "{url}"
[workspaces.bench]
endpoint = "local"
api_key = {{ env = "BENCH_KEY" }}
currency = "USD"
time_zone = "UTC"
concurrency = {in_flight}
budget = {{ total = "1000.00" }}
ceilings = {{ "stability-upscale-creative" = "0.05" }}
"""
RECIPE = """
workspace = "bench"
model = "stability-upscale-creative"
[[sources]]
folder = "pictures"
[prompts.restore]
text = "Restore it."
[output]
folder = "out"
"""
# Sides of source and result, in pixels of noise: 20 KB → 80 KB and 1.5 MB → 13 MB as PNG.
SETS = {"small": (82, 166), "large": (708, 2200)}
# What is measured: the name in the table, and the functions whose CPU time it is.
STAGES = {
    "prepare": ["runner.execution:_prepared"],
    "send and receive": ["runner.providers.omixa:OmixaProvider.send"],
    "is it whole": ["runner.images:result_facts"],
    "keep": ["runner.images.disk:Results.keep", "runner.images.disk:Results.take"],
    "write out": ["runner.booking:_put"],
    "look at it": ["runner.images:looks_wrong"],
    "ledger": [f"runner.ledger.ledger:Ledger.{verb}" for verb in ("reserve", "sent", "settle")],
}


def serve(answer: bytes) -> str:
    """An endpoint in a process of its own, which ends with this one; its address."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    if os.fork() == 0:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        while True:
            threading.Thread(target=_answer, args=(server.accept()[0], answer), daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/api/v1"


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


def _answer(connection: socket.socket, answer: bytes) -> None:
    with connection:
        data = connection.recv(1 << 18)
        while b"\r\n\r\n" not in data:
            data += connection.recv(1 << 18)
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
        while left > 0:
            left -= len(connection.recv(1 << 18))
        time.sleep(0.02)
        connection.sendall(answer)


def pictures(folder: Path, count: int, sides: tuple[int, int]) -> bytes:
    """Sources that differ in one pixel, and the whole answer with what they look like enlarged."""
    noise = random.Random(1)
    base = Image.frombytes("RGB", (sides[0], sides[0]), noise.randbytes(sides[0] ** 2 * 3))
    grain = Image.frombytes("RGB", (sides[1], sides[1]), noise.randbytes(sides[1] ** 2 * 3))
    Image.blend(base.resize(grain.size), grain, 0.25).save(folder / "answer.png", compress_level=1)
    for number in range(count):
        base.putpixel((0, 0), (number & 255, number >> 8 & 255, 0))
        base.save(folder / "pictures" / f"{number:06}.png", compress_level=1)
    coded = base64.b64encode((folder / "answer.png").read_bytes()).decode()
    body = json.dumps({"data": [{"b64_json": coded, "url": None}], "usage": {"billed_amount": "0.039000"}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def measured_run(root: Path) -> None:
    """In the child: one run, with a stop-watch around each stage. Prints CPU seconds by stage as JSON."""
    import resource
    from importlib import import_module

    spent = dict.fromkeys(STAGES, 0.0)
    lock, inner = threading.Lock(), threading.local()

    def watched(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before, inner.spent, began = getattr(inner, "spent", 0.0), 0.0, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time() - began
                with lock:
                    spent[stage] += took - inner.spent  # `sent` is recorded while it is being sent
                inner.spent = before + took

        return call

    for stage, targets in STAGES.items():
        for target in targets:
            module, _, path = target.partition(":")
            owner: Any = import_module(module)
            *outer, name = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            if hasattr(owner, name):  # an older checkout has not all of them
                setattr(owner, name, watched(stage, getattr(owner, name)))
    from runner.cli import main as cli

    imported_kib = peak_kib()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = cli(["--project", str(root), "run", "all", "--yes"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"code": code, "all": used.ru_utime + used.ru_stime, "kib": peak_kib(), "imported_kib": imported_kib}
    print(json.dumps(spent | facts))


def peak_kib() -> int:
    """The most memory this process had; `ru_maxrss` would count what its parent had before it began."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def run(checkout: Path, files: Path, url: str, in_flight: int) -> dict[str, float]:
    """One run of a checkout in a project of its own."""
    with tempfile.TemporaryDirectory(dir=files) as name:
        root = Path(name)
        (root / "recipes").mkdir()
        (root / "recipes" / "all.toml").write_text(RECIPE)
        (root / "omixa.toml").write_text(SETTINGS.format(url=url, in_flight=in_flight))
        (root / "pictures").mkdir()
        for picture in (files / "pictures").iterdir():
            (root / "pictures" / picture.name).hardlink_to(picture)
        done = subprocess.run(
            [sys.executable, __file__, "--measured-run", name],
            env={**os.environ, "BENCH_KEY": "omx_live_benchmark", "PYTHONPATH": str(checkout)},
            cwd=checkout,
            stdout=subprocess.PIPE,
            check=True,
        )
        found: dict[str, float] = json.loads(done.stdout)
        assert found["code"] == 0
        return found


def main() -> None:
    """Measure in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=SETS, default="small")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout to measure in turn with this one")
    parser.add_argument("--measured-run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measured_run is not None:
        sys.path.insert(0, os.environ["PYTHONPATH"])
        measured_run(options.measured_run)
        return
    checkouts = [HERE, *([options.against.resolve()] if options.against else [])]
    found: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        (files / "pictures").mkdir()
        url = serve(pictures(files, options.pictures, SETS[options.set]))
        for number in range(options.rounds):
            for checkout in checkouts if number % 2 else checkouts[::-1]:
                found[checkout].append(run(checkout, files, url, options.in_flight))
    print(f"{options.set}, {options.pictures} pictures, {options.in_flight} in flight, load {os.getloadavg()[0]:.1f}")
    print(f"{'CPU ms a picture':24}" + "".join(f"{'this' if c == HERE else 'before':>10}" for c in checkouts))
    for stage in (*STAGES, "all"):
        each = [median(one[stage] for one in found[c]) / options.pictures * 1000 for c in checkouts]
        print(f"{stage:24}" + "".join(f"{value:>10.2f}" for value in each))
    for line, key in (("peak RSS, MB", "kib"), ("of it imports, MB", "imported_kib")):
        print(f"{line:24}" + "".join(f"{median(one[key] for one in found[c]) / 1024:>10.1f}" for c in checkouts))


if __name__ == "__main__":
    main()
