"""Headless Chromium for tests of pages; `tests/conftest.py` makes fixtures of it."""

import shutil
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Without the last four, Chromium looks up hosts of its own at every start.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Opened(NamedTuple):
    """A page, and whatever it complained of or asked the network for."""

    page: Any
    complaints: list[str]


@contextmanager
def chromium():
    """A browser; the test is skipped where there is none, or nothing to drive it."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no browser: none of " + ", ".join(NAMES) + " is on the PATH")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def open_offline(browser, path, **options):
    """Open a file in a context of its own, which has no network."""
    page = browser.new_context(offline=True, **options).new_page()
    complaints = []

    def on_request(request):
        if request.url != path.as_uri():
            complaints.append(f"request: {request.url}")

    def on_console(message):
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
    page.goto(path.as_uri())
    return Opened(page, complaints)
