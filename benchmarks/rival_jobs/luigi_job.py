"""The job with Luigi: a task for each picture, on its workers. URL KEY PICTURES OUT IN-FLIGHT."""

import sys
from pathlib import Path

import luigi
from clients import plain_session

url, key, pictures, out, in_flight = sys.argv[1:]
buy = plain_session(url, key, Path(out))


class Buy(luigi.Task):
    """One picture."""

    name = luigi.Parameter()

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(Path(out, self.name)))

    def run(self) -> None:
        buy(Path(pictures, self.name))


if __name__ == "__main__":
    Path(out).mkdir()
    tasks = [Buy(name=path.name) for path in sorted(Path(pictures).iterdir())]
    sys.exit(0 if luigi.build(tasks, local_scheduler=True, workers=int(in_flight), log_level="WARNING") else 1)
