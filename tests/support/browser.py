"""A real browser for tests and benchmarks of the web UI: Debian's Chromium, headless."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A crowded machine takes its time; what never comes is told after this.
PATIENCE_MS = 60_000
OUTPUT = Path(__file__).parents[1] / "output" / "ui"


def executable() -> str:
    """Where the browser is. Without one the suite fails: it is never skipped."""
    given = os.environ.get("TRACKER_TEST_BROWSER")
    found = given or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, (
        "the web UI's tests need Chromium: run `make browser` (apt-get install chromium), "
        "or set TRACKER_TEST_BROWSER to a Chromium or Chrome"
    )
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=[*ARGUMENTS], timeout=2 * PATIENCE_MS
        )
        try:
            yield browser
        finally:
            browser.close()


class Look:
    """A page and what went wrong in it. Whatever it says on its console fails a test."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("console", self._listen)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def keep(self, name: str) -> None:
        """A picture of the page in tests/output/ui, to be looked at."""
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(OUTPUT / f"{name}.png"))

    def _listen(self, message: Any) -> None:
        # A refusal that a view shows is no fault of the page; the browser reports it anyway.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")


@contextmanager
def looking(
    browser: Browser, url: str, *, width: int = 1280, height: int = 800, **context: Any
) -> Iterator[Look]:
    opened = browser.new_context(viewport={"width": width, "height": height}, **context)
    look = Look(opened.new_page(), url)
    try:
        yield look
    finally:
        opened.close()
    assert look.complaints == [], look.complaints
