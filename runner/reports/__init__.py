"""What finance gets. To add a format: a file beside this one, and its line in the registry."""

from collections.abc import Callable
from typing import TextIO

from runner.reports import csv, json, text
from runner.reports.report import Report

FORMATS: dict[str, Callable[[Report, TextIO], None]] = {"text": text.write, "csv": csv.write, "json": json.write}
