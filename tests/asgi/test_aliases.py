"""A model is one model on a bill, whatever names it was asked for by."""

import pytest

from metering.pricing import PriceBook

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


async def test_an_alias_is_billed_under_the_models_own_name(open_service):
    """One line of the bill, and the name that was asked for stays with its call."""
    prices = open_service.plan().prices
    aliased = PriceBook(prices.models, {"llama": LLAMA, "small": LLAMA})
    async with open_service(prices=aliased) as service:
        key = await service.account("acme", tier=1)
        for name in (LLAMA, "llama", "small"):
            await service.chat(key, model=name)
        events = await service.events("acme")
        (total,) = service.ledger.totals("acme", "2026-01")

    assert (LLAMA, 3, 3 * 6_700_000) == (total.model, total.calls, total.charge_p)
    assert {(LLAMA, ""), (LLAMA, "llama"), (LLAMA, "small")} == {
        (event.model, event.model_asked) for event in events
    }


async def test_a_model_without_a_price_keeps_its_name(open_service):
    """Where such models pass there is no other name than the one asked for."""
    async with open_service(unpriced="pass") as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, model="gpt-9")
        (event,) = await service.events("acme")

    assert ("gpt-9", "") == (event.model, event.model_asked)
