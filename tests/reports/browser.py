"""A real browser that opens pages and remembers all that it did beside it: messages, mistakes, requests."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Where the browser is; None: there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window. Skips the test where there is none, but never in CI."""
    found = chromium()
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    assert found is not None, f"CI needs one of {', '.join(NAMES)}"
    # Chromium refuses to sandbox itself for root.
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=words)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(started: Browser, file: Path, **context: Any) -> Iterator[Page]:
    """A file in the browser. At the end it must have asked for nothing but itself, and complained of nothing."""
    with started.new_context(**context) as within:
        page = within.new_page()
        heard: list[str] = []
        within.on("console", lambda message: heard.append(f"console: {message.text}"))
        within.on("weberror", lambda error: heard.append(f"error: {error.error}"))
        within.on("request", lambda request: heard.append(f"request: {request.url.partition(',')[0]}"))
        within.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
        page.goto(file.as_uri())
        yield page
        assert heard == [f"request: {file.as_uri()}"], heard
