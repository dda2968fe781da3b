"""A report with many pictures in a real browser: how long until it is there, its size, and what writing it takes.

    python benchmarks/page.py --pictures 2000

Every picture is another one. The same ledger is also written without its gallery, to compare.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image, ImageOps

HOUSE = Path(__file__).parent.parent
sys.path.insert(0, str(HOUSE))

from runner.ledger.values import Result  # noqa: E402 - the tests' folder must be found first
from runner.providers.provider import Evidence  # noqa: E402
from tests.reports.browser import browser, opened  # noqa: E402
from tests.reports.conftest import POSTERS, Books  # noqa: E402

AT = datetime(2026, 11, 2, 9, tzinfo=UTC)


def fill(root: Path, count: int) -> None:
    """A ledger of so many pictures with their files: cut-outs of the demo's, no two alike."""
    demo = [
        ImageOps.fit(Image.open(path).convert("RGB"), (480, 320)) for path in sorted(HOUSE.glob("pictures/scans/*.*"))
    ]
    books = Books(root)
    with closing(books.database):
        for folder in ("pictures", "out"):
            (root / folder).mkdir()
        for number in range(count):
            left, above = number // len(demo) % 96, number // len(demo) // 96
            source = demo[number % len(demo)].crop((left, above, left + 384, above + 256))
            before, after = root / f"pictures/p{number}.jpg", root / f"out/p{number}.jpg"
            source.save(before)
            source.resize((1152, 768), Image.Resampling.BICUBIC).save(after)
            at = AT + timedelta(minutes=10 * number)
            told = {"source_path": f"pictures/p{number}.jpg", "output_path": f"out/p{number}.jpg"}
            attempt_id = books.sent(
                POSTERS, f"p{number}", at, source_digest=_digest(before), source_bytes=before.stat().st_size, **told
            )
            books.ledger.settle(
                attempt_id,
                billed_micros=39_000,
                billed_text="0.039000",
                code="billed",
                message=None,
                evidence=Evidence(200),
                result=Result(_digest(after), after.stat().st_size, 1152, 768, None, delivered=True),
                who="ana@desk",
                at=at,
            )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def written(root: Path, gallery: int) -> tuple[Path, float, int]:
    """The page, the seconds of CPU it took to write, and the most memory that took, in MiB."""
    file = root / f"report-{gallery}.html"
    words = ["--project", str(root), "report", "--out", str(file), "--gallery", str(gallery)]
    subprocess.run([sys.executable, "-c", _MEASURED, *words], cwd=HOUSE, check=True)
    seconds, kilobytes = (root / "used").read_text().split()
    return file, float(seconds), int(kilobytes) // 1024


_MEASURED = """
import resource, sys
from pathlib import Path
from runner.cli import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
Path(sys.argv[2], "used").write_text(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss}")
sys.exit(code)
"""


def main() -> int:
    """Fill, write, open, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--times", type=int, default=3, help="how often each page is opened; the median counts")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser() as started:
        root = Path(folder)
        fill(root, wanted.pictures)
        for gallery in dict.fromkeys((0, min(100, wanted.pictures), wanted.pictures)):
            file, took, peak = written(root, gallery)
            figures = []
            for _ in range(wanted.times):
                with opened(started, file, viewport={"width": 1280, "height": 900}) as page:
                    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
                    paint, load = page.evaluate(
                        "[performance.getEntriesByName('first-contentful-paint')[0].startTime,"
                        " performance.getEntriesByType('navigation')[0].loadEventEnd]"
                    )
                    began = time.perf_counter()
                    if gallery:
                        last = page.locator(".pair img").last
                        last.scroll_into_view_if_needed()
                        last.evaluate("image => image.decode()")
                    figures.append((load, paint, 1000 * (time.perf_counter() - began)))
            load, paint, jump = sorted(figures)[len(figures) // 2]
            print(
                f"{gallery:5} pictures: {file.stat().st_size / 2**20:5.2f} MiB, written in {took:.1f} s of CPU with at "
                f"most {peak} MiB; something to read after {paint:.0f} ms, loaded after {load:.0f} ms, the last "
                f"picture {jump:.0f} ms after jumping there"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
