"""A real browser without a window, and pages that may not fail unseen in it."""

from contextlib import closing

import pytest
from playwright.sync_api import sync_playwright

QUIET = (
    "--no-sandbox",  # of the browser's own; root, as in a container, has none
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


# Not for the session: Playwright holds the thread's event loop as long as it runs, and
# the tests of other folders want it.
@pytest.fixture(scope="package")
def chromium(chromium_path):
    """Return the browser; tests share it, each in a context of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium_path, args=list(QUIET)
        )
        with closing(launched):
            yield launched
