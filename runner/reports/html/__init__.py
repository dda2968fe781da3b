"""A report as one HTML file that needs nothing else: prints, sorts, dark and light, with charts and pictures."""

from runner.reports.html.gallery import Shelf
from runner.reports.html.overview import Overview
from runner.reports.html.page import Sight, write

__all__ = ["Overview", "Shelf", "Sight", "write"]
