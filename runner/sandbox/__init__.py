"""The local endpoint: a real HTTP server that keeps the contract and really enlarges the picture.

It resamples; it is not the Stability model, and says so in every answer.
"""

from runner.sandbox.books import Counts
from runner.sandbox.faults import Fault, parse_fault
from runner.sandbox.server import Sandbox, SandboxOptions, start

__all__ = ["Counts", "Fault", "Sandbox", "SandboxOptions", "parse_fault", "start"]
