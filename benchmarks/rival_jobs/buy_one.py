"""One picture, for what starts a program for each. URL KEY SOURCE OUT."""

import sys
from pathlib import Path

from clients import plain

url, key, source, out = sys.argv[1:]
plain(url, key, Path(out).parent)(Path(source))
