"""Who signs in sees their own, and after signing out nothing, in a real browser."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(60)


def test_by_a_key_to_the_page_that_was_asked_for(seen, northwind):
    seen.visit("/usage", show="tokens")
    expect(seen.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    seen.page.get_by_label("API key").fill(northwind)
    seen.page.get_by_role("button", name="Sign in").click()

    expect(seen.page).to_have_url(f"{seen.root}/usage?show=tokens")
    expect(seen.page.get_by_text("northwind", exact=True)).to_be_visible()
    assert [] == seen.page.evaluate("document.cookie.split(';').filter(Boolean)")


def test_by_the_operators_token_to_all_accounts(seen, operator_token):
    seen.sign_in(operator_token)

    expect(seen.page).to_have_url(f"{seen.root}/home")
    seen.page.get_by_role("link", name="Accounts", exact=True).click()
    expect(seen.page.get_by_role("rowheader", name="juniper-bank")).to_be_visible()


def test_not_by_another_key(seen, northwind):
    seen.sign_in(northwind[:-1])

    alert = seen.page.get_by_role("alert")
    expect(alert).to_contain_text("This key is unknown or revoked.")
    field = seen.page.get_by_label("API key")
    expect(field).to_be_focused()
    expect(field).to_have_value("")
    expect(field).to_have_accessible_description(alert.inner_text().strip())


def test_going_back_after_signing_out_shows_nothing(seen, northwind):
    page = seen.page
    seen.sign_in(northwind)
    page.get_by_role("link", name="Invoices").click()
    expect(page.get_by_text("May 2026").first).to_be_visible()
    (shown,) = page.context.cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.go_back()

    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_text("May 2026")).to_have_count(0)
    page.context.add_cookies([shown])
    seen.visit("/invoices")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_without_javascript_all_but_what_stays_fresh(open_page, northwind):
    seen = open_page(java_script_enabled=False)
    page = seen.page
    seen.sign_in(northwind)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_role("img", name="Spend by day")).to_be_visible()
    page.get_by_role("link", name="Requests").click()
    page.get_by_label("Model").select_option("zai-org/GLM-4.7")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("cell", name="MiniMaxAI/MiniMax-M2.1")).to_have_count(0)
    expect(page.get_by_role("cell", name="zai-org/GLM-4.7").first).to_be_visible()
    page.get_by_role("link", name="Keys").click()
    page.get_by_label("Limit per period").fill("3.50")
    page.get_by_role("button", name="Issue key").click()

    expect(page.locator("#secret")).to_contain_text("mk-")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    assert [] == seen.faults


def test_two_accounts_never_see_each_others_rows(open_page, lived_in):
    service, keys = lived_in
    ours, theirs = "northwind", "atlas-robotics"
    strange = {
        name: [key.hint for key in service.meter.ledger.keys(other)]
        + [other, f"pi_{other}"]
        for name, other in ((ours, theirs), (theirs, ours))
    }
    opened = {name: open_page() for name in (ours, theirs)}
    for name, seen in opened.items():
        seen.sign_in(keys[name])
    for path in ("/", "/requests", "/refusals", "/keys"):
        for name, seen in opened.items():
            seen.visit(path)
            text = seen.page.content()
            assert name in text
            assert [] == [word for word in strange[name] if word in text], path
    for path in ("/invoices", "/payments", "/alerts"):
        for name, seen in opened.items():
            seen.visit(path)
            assert [] == [w for w in strange[name] if w in seen.page.content()], path
    for name, other in ((ours, theirs), (theirs, ours)):
        seen = opened[name]
        assert 403 == seen.visit("/", account=other)
        assert 404 == seen.visit("/invoice", id=f"{other}-2026-05")
