"""All can be done with the keyboard alone, and what has the focus is seen."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(60)

STOPS_MAX = 60
MARKED = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1.5;
}"""


def go_to(page, element):
    """Press Tab until an element has the focus; each one on the way is marked."""
    for _ in range(STOPS_MAX):
        page.keyboard.press("Tab")
        assert page.evaluate(MARKED), page.evaluate("document.activeElement.outerHTML")
        if element.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"Tab never comes to {element}.")


def test_signs_in_issues_a_key_and_revokes_it(seen, service):
    page, keyboard = seen.page, seen.page.keyboard
    key = service.create("keys-alone")
    seen.visit("/login")
    expect(page.get_by_label("API key")).to_be_focused()
    keyboard.type(key)
    keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

    skip = page.get_by_role("link", name="Skip to content")
    keyboard.press("Tab")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.reload()
    go_to(page, page.get_by_role("link", name="Keys"))
    keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Keys")
    go_to(page, page.get_by_label("Limit per period"))
    keyboard.type("2.50")
    keyboard.press("Enter")

    secret = page.locator("#secret")
    expect(secret).to_contain_text("mk-")
    hint = secret.inner_text()[-4:]
    row = page.get_by_role("row").filter(has_text=f"…{hint}")
    expect(row).to_contain_text("$2.50")
    page.goto(page.url)
    expect(secret).to_have_count(0)

    go_to(page, page.get_by_role("link", name=f"Revoke the key ending in {hint}"))
    keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(hint)
    go_to(page, page.get_by_role("button", name="Revoke key"))
    keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"…{hint} is revoked")
    expect(row).to_contain_text("Revoked")
