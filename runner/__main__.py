"""`python -m runner` is the same program as `omixa`."""

import sys

from runner.cli import start

if __name__ == "__main__":
    sys.exit(start())
