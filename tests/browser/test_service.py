"""What calls, clients and operators do is on the pages of who may see it."""

from decimal import Decimal

import openai
import pytest
from openai import OpenAI
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(60)

MODEL = "zai-org/GLM-4.7"
QUESTION = [{"role": "user", "content": "How many bees live in one hive?"}]
REFRESH_MS = 5_000


@pytest.fixture
def client_of(service):
    """Return what makes a client with a key."""
    made = []

    def make(key):
        url = f"{service.url}/v1"
        made.append(OpenAI(api_key=key, base_url=url, max_retries=0))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_a_key_of_the_page_makes_calls_which_it_shows_with_their_charge(
    seen, service, client_of, post_now
):
    page = seen.page
    first = service.create("caller")
    service.add_payment_method("caller")
    seen.sign_in(first)
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("button", name="Issue key").click()
    client = client_of(page.locator("#secret").inner_text())
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    post_now()

    usage = answer.usage
    charge = Decimal(usage.prompt_tokens * 6 + usage.completion_tokens * 22)
    page.get_by_role("link", name="Requests").click()
    (row,) = page.get_by_role("row").filter(has_text=MODEL).all()
    cells = [cell.strip() for cell in row.get_by_role("cell").all_inner_texts()]
    assert [MODEL, str(usage.prompt_tokens), str(usage.completion_tokens)] == cells[1:4]
    shown = cells[-1].split("\n")[0]
    assert charge / 10**7 == Decimal(shown.removeprefix("$"))

    page.get_by_role("link", name="Refused").click()
    refused = page.get_by_role("row").filter(has_text="model_not_priced")
    expect(refused).to_contain_text("404")
    expect(refused).to_contain_text("The model was unknown or had no price.")


def test_limits_are_fresh_without_loading_the_page_again(seen, service):
    key = service.create("patient")
    service.add_payment_method("patient")
    seen.page.clock.install()
    seen.sign_in(key)
    seen.page.get_by_role("link", name="Limits", exact=True).click()
    limits = seen.page.locator("#limits")
    expect(limits).to_contain_text("100 requests per minute")
    seen.page.evaluate("window.stays = true")
    service.sell_credit("patient", usd="50")
    seen.page.clock.run_for(REFRESH_MS)

    expect(limits).to_contain_text("1,000 requests per minute")
    assert seen.page.evaluate("window.stays")


def test_a_payment_that_the_operator_records_raises_the_tier_on_its_page(
    open_page, service, operator_token
):
    customer, operator = open_page(), open_page()
    customer.sign_in(service.create("riser"))
    tier = customer.page.locator(".figure").filter(has_text="Tier")
    expect(tier).to_contain_text("Tier 0")
    operator.sign_in(operator_token)
    operator.visit("/account", account="riser")
    page = operator.page
    section = page.get_by_role("region", name="Record a payment")
    section.get_by_label("Dollars").fill("500")
    section.get_by_label("Reference").fill("pi_of_riser")
    section.get_by_role("button", name="Record a payment").click()
    page.locator(".ask button[name=confirmed]").click()
    expect(page.get_by_role("status")).to_be_visible()
    customer.page.reload()

    expect(tier).to_contain_text("Tier 3")
    customer.page.get_by_role("link", name="Payments").click()
    expect(customer.page.get_by_role("cell", name="pi_of_riser").first).to_be_visible()
    assert [] == customer.faults + operator.faults


def test_an_invoice_is_printed_in_black_without_what_is_around_it(open_page, sessions):
    seen = open_page(storage_state=sessions["account"], color_scheme="dark")
    seen.visit("/invoice", id="northwind-2026-05")
    page = seen.page
    page.emulate_media(media="print")

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text(MODEL).first).to_be_visible()
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    inks = (
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    assert ["rgb(0, 0, 0)", "rgb(255, 255, 255)"] == page.evaluate(f"() => {{{inks}}}")
