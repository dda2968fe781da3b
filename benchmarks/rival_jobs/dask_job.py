"""The job with Dask: a delayed call for each picture, on its threads. URL KEY PICTURES OUT IN-FLIGHT."""

import sys
from pathlib import Path

import dask
from clients import plain_session

url, key, pictures, out, in_flight = sys.argv[1:]
Path(out).mkdir()
buy = plain_session(url, key, Path(out))
work = [dask.delayed(buy)(path) for path in sorted(Path(pictures).iterdir())]
dask.compute(*work, scheduler="threads", num_workers=int(in_flight))
