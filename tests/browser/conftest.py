"""A real browser without a window, and pages that may not fail unseen in it."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlencode

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Page, sync_playwright

from metering.demo.months import NOW_NS, live_through
from metering.demo.serve import serve

OPERATOR = "an-operator-signs-in-by-this-token-alone"
TIMEOUT_MS = 8_000
QUIET = (
    "--no-sandbox",  # of the browser's own; root, as in a container, has none
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


# Not for the session: Playwright holds the thread's event loop as long as it runs, and
# the tests of other folders want it. Only a folder that is a package ends its fixtures.
@pytest.fixture(scope="package")
def chromium(chromium_path):
    """Return the browser; tests share it, each in a context of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium_path, args=list(QUIET)
        )
        with closing(launched):
            yield launched


@dataclass
class Seen:
    """A page in a browser, and all that went wrong since it was opened."""

    page: Page
    root: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self):
        page = self.page
        page.on("pageerror", lambda error: self.faults.append(f"raised: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)
        page.on("response", self._answered)
        page.on("console", self._told)

    def visit(self, path, **query):
        """Open a page of the console, and return the status of the answer."""
        wanted = f"?{urlencode(query)}" if query else ""
        answer = self.page.goto(f"{self.root}{path}{wanted}")
        assert answer is not None
        return answer.status

    def sign_in(self, secret):
        """Fill in the form to sign in by, and send it."""
        self.visit("/login")
        self.page.get_by_label("API key").fill(secret)
        self.page.get_by_role("button", name="Sign in").click()

    def _asked(self, request):
        if not request.url.startswith(f"{self.root}/"):
            self.faults.append(f"asked elsewhere: {request.url}")

    def _failed(self, request):
        # The browser gives up what a page wanted that was left for the next one.
        if request.failure == "net::ERR_ABORTED":
            return
        self.faults.append(f"failed: {request.url}: {request.failure}")

    def _answered(self, response):
        # The status of the page itself is for its test to judge.
        if response.status >= 400 and not response.request.is_navigation_request():
            self.faults.append(f"answered {response.status}: {response.url}")

    def _told(self, message):
        # What breaks the policy of the page is told here as well.
        answered = message.text.startswith("Failed to load resource")
        if message.type in {"error", "warning"} and not answered:
            self.faults.append(f"told: {message.text}")


@pytest.fixture(scope="package")
def lived_in(tmp_path_factory):
    """A service with some months behind it on a real port, and a key of each account.

    What its tests do to it is done to accounts of their own.
    """
    data = tmp_path_factory.mktemp("months")
    with start_blocking_portal() as portal:
        keys = portal.call(partial(live_through, data, part=0.1, days_of_pools=1))
    with serve(data, start_ns=NOW_NS, operator_token=OPERATOR) as service:
        yield service, keys


@pytest.fixture(scope="package")
def service(lived_in):
    """The service, in the hands of who operates it."""
    return lived_in[0]


@pytest.fixture(scope="package")
def northwind(lived_in):
    """A key of the account that has the most behind it."""
    return lived_in[1]["northwind"]


@pytest.fixture(scope="session")
def operator_token():
    """What the operator signs in by."""
    return OPERATOR


@pytest.fixture
def open_page(chromium, service):
    """Return what opens a page in a context of its own, 1280 pixels wide."""
    with ExitStack() as closing:

        def open_it(**options):
            size = {"width": 1280, "height": 900}
            # Colours on their way to others are none of the page's.
            still = {"viewport": size, "reduced_motion": "reduce"}
            context = chromium.new_context(**still, **options)
            closing.callback(context.close)
            context.set_default_timeout(TIMEOUT_MS)
            return Seen(context.new_page(), f"{service.url}/console")

        yield open_it


@pytest.fixture
def seen(open_page):
    """A page in a browser; nothing may have gone wrong by the end of the test."""
    opened = open_page()
    yield opened
    assert [] == opened.faults


@pytest.fixture(scope="package")
def sessions(chromium, service, northwind):
    """Cookies of who is signed in: "account" and "operator"."""
    cookies = {}
    for who, secret in (("account", northwind), ("operator", OPERATOR)):
        with closing(chromium.new_context()) as context:
            opened = Seen(context.new_page(), f"{service.url}/console")
            opened.sign_in(secret)
            opened.page.get_by_role("button", name="Sign out").wait_for()
            cookies[who] = context.storage_state()
    return cookies


@pytest.fixture
def post_now(service):
    """Return what has all calls so far in the ledger, and refusals as well."""

    def post():
        assert service.meter._recorder.flush(10.0)
        service.meter._historian.write()

    return post
