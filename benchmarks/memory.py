"""Peak memory of a run: that it is small, and does not grow with the number of pictures.

Three runs of the real program against the local endpoint in a process of its own: 100 and 1 000 pictures of 20 KB with
answers of 80 KB at 20 ms latency, and 64 pictures of one megapixel with answers of 12 MB. Prints what it measured.

    python benchmarks/memory.py
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

SETTINGS = """
[endpoints.local]
url = "{url}"
[workspaces.bench]
endpoint = "local"
api_key = {{ env = "BENCH_KEY" }}
currency = "USD"
time_zone = "UTC"
concurrency = {concurrency}
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


def picture(path: Path, side: int, seed: int) -> None:
    """A square picture of noise: what it weighs is close to side² × 3 bytes as PNG."""
    Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3)).save(path, compress_level=1)


def measure(count: int, side: int, answer_bytes: int, latency_ms: int, concurrency: int) -> tuple[int, float, float]:
    """Peak resident KiB, seconds and CPU seconds of one `omixa run` over `count` pictures."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("pictures", "recipes"):
            (root / folder).mkdir()
        for n in range(count):
            picture(root / "pictures" / f"{n:06}.png", side, n)
        (root / "recipes" / "all.toml").write_text(RECIPE)
        program = [sys.executable, "-m", "runner"]
        endpoint = subprocess.Popen(
            [*program, "sandbox", "--port", "0", "--latency-ms", str(latency_ms), "--answer-bytes", str(answer_bytes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert endpoint.stdout is not None
            line = ""
            while "http://" not in line:
                line = endpoint.stdout.readline()
            url = "http://" + line.split("http://", 1)[1].split()[0].rstrip(".,")
            (root / "omixa.toml").write_text(SETTINGS.format(url=url, concurrency=concurrency))
            began = time.perf_counter()
            run = subprocess.Popen(
                [*program, "--project", name, "run", "all", "--yes", "--json"],
                stdout=subprocess.DEVNULL,
                env={**os.environ, "BENCH_KEY": "omx_live_benchmark"},
            )
            _, status, used = os.wait4(run.pid, 0)
            seconds = time.perf_counter() - began
        finally:
            endpoint.terminate()
            endpoint.communicate()
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"the run ended with {os.waitstatus_to_exitcode(status)}")
        outputs = len(list((root / "out").iterdir()))
        assert outputs == count, outputs
        return used.ru_maxrss, seconds, used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concurrency", type=int, default=16)
    concurrency = parser.parse_args().concurrency
    print(f"{'pictures':>8}  {'in':>8}  {'answer':>10}  {'peak RSS':>9}  {'seconds':>8}  {'CPU ms each':>11}")
    for count, side, answer_bytes, latency_ms in (
        (100, 82, 80_000, 20),
        (1_000, 82, 80_000, 20),
        (64, 1024, 12_000_000, 20),
    ):
        rss, seconds, cpu = measure(count, side, answer_bytes, latency_ms, concurrency)
        sizes = f"{side * side * 3 // 1000:>6} KB  {answer_bytes // 1000:>7} KB"
        print(f"{count:>8}  {sizes}  {rss / 1024:>6.1f} MB  {seconds:>8.1f}  {cpu / count * 1000:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
