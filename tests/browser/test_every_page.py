"""Every page of the table is sound in a real browser: wide, narrow, light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from metering.console.pages.table import PAGES

pytestmark = pytest.mark.timeout(60)

AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "resultTypes": ["violations"],
}
WIDTHS = (390, 1280)
VIEWS = [
    *[("account", page) for page in PAGES if page.owner != "operator"],
    *[("operator", page) for page in PAGES],
]
WIDER = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("body *")]
        .filter(each => each.getBoundingClientRect().right > width)
        .map(each => each.outerHTML.slice(0, 120));
}"""


@pytest.fixture
def query_of(service):
    """Return what a page of an account must be asked."""
    ours = service.meter.ledger.keys("northwind")
    needed = {
        "/invoice": {"id": "northwind-2026-05"},
        "/invoice/file": {"id": "northwind-2026-05"},
        "/keys/revoke": {"id": ours[0].id},
        "/platform": {"over": "day"},
    }

    def query(who, page):
        by_operator = who == "operator" and page.of_account
        of = {"account": "northwind"} if by_operator else {}
        return of | needed.get(page.path, {})

    return query


def told(violations):
    """Return what is wrong, and with which elements."""
    return [
        (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]])
        for each in violations
    ]


def assert_fits(page):
    """Nothing is wider than the window, in none of the widths."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert [] == page.evaluate(WIDER), width


@pytest.mark.parametrize(
    ("who", "page"), VIEWS, ids=[f"{who} {page.path}" for who, page in VIEWS]
)
def test_is_sound_wide_narrow_light_and_dark(open_page, sessions, query_of, who, page):
    opened = open_page(storage_state=sessions[who])
    query = query_of(who, page)
    shown = opened.page
    if page.path == "/invoice/file":
        answer = shown.request.get(f"{opened.root}{page.path}", params=query)
        assert answer.headers["content-disposition"].startswith("attachment")
        return
    status = opened.visit(page.path, **query)
    shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert 200 == status
    assert_fits(shown)
    # What an operator sees of an account is the account's page in another frame.
    framed = who == "operator" and page.owner == "account"
    for scheme in ("light",) if framed else ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        found = Axe().run(shown, options=AXE).response
        assert len(found["passes"]) > 10
        assert [] == told(found["violations"]), scheme
    assert [] == opened.faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_so_are_the_pages_without_a_session_and_of_what_is_wrong(open_page, scheme):
    opened = open_page(color_scheme=scheme)
    for path, status in (("/login", 200), ("/nowhere", 404)):
        assert status == opened.visit(path)
        assert_fits(opened.page)
        assert [] == told(Axe().run(opened.page, options=AXE).response["violations"])


def test_what_is_held_against_pages_is_found(open_page):
    """A page that breaks each of the rules, so that the rules are known to bite."""
    opened = open_page()
    opened.visit("/login")
    opened.page.evaluate(
        """() => {
        const image = document.createElement("img");
        image.src = "https://elsewhere.test/a.png";
        const wide = document.createElement("p");
        wide.style.width = "3000px";
        wide.append(image);
        document.querySelector("main").append(wide);
        }"""
    )

    with pytest.raises(AssertionError, match="<img"):
        assert_fits(opened.page)
    violations = Axe().run(opened.page, options=AXE).response["violations"]
    assert "image-alt" in [each["id"] for each in violations]
    assert any("Content Security Policy" in fault for fault in opened.faults)
