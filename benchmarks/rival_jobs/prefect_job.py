"""The job with Prefect: a task for each picture, submitted to its threads. URL KEY PICTURES OUT IN-FLIGHT."""

import sys
from pathlib import Path

from clients import plain_session
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

url, key, pictures, out, in_flight = sys.argv[1:]
buy = plain_session(url, key, Path(out))


@task
def one(path: Path) -> None:
    """One picture."""
    buy(path)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=int(in_flight)))
def everything() -> None:
    """All pictures."""
    for future in [one.submit(path) for path in sorted(Path(pictures).iterdir())]:
        future.result()


if __name__ == "__main__":
    Path(out).mkdir()
    everything()
