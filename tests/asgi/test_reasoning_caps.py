"""A plan may give models that reason caps of their own; so may an agreement."""

import itertools
from importlib.resources import files

import pytest

from metering.accounts import Account, Overrides, Tier, TierBook
from metering.config import load_plan
from metering.ledger import CreditState
from metering.resolved import resolved

pytestmark = pytest.mark.anyio

REASONS = "zai-org/GLM-4.7"
OTHER = "meta-llama/Llama-3.1-8B-Instruct"
PRESET = (files("metering") / "presets" / "friendli.toml").read_text(encoding="utf-8")
EDITS = {
    'output_tokens_max = "16K"\nusage_limit = "50"\n': (
        'output_tokens_max = "16K"\nreasoning_output_tokens_max = "32K"\n'
        'usage_limit = "50"\n'
    ),
    f'name = "{REASONS}"\n': (
        f'name = "{REASONS}"\naliases = ["glm"]\nreasoning = true\n'
    ),
}


def edited():
    """Return the preset after an edit of its text: three lines more."""
    text = PRESET
    for old, new in EDITS.items():
        assert old in text
        text = text.replace(old, new)
    return load_plan(text, source="edited")


@pytest.mark.parametrize(
    ("model", "cap"), [(REASONS, 32_768), ("glm", 32_768), (OTHER, 16_384)]
)
async def test_an_edit_of_the_plan_gives_reasoning_models_another_cap(
    open_service, model, cap
):
    """By the model's name or alias; it is told, enforced and held for."""
    plan = edited()
    async with open_service(tiers=plan.tiers, prices=plan.prices) as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, model=model, max_tokens=100_000)
        (event,) = await service.events("acme")

        assert str(cap) == answer.headers["x-output-tokens-limit"]
        assert cap == service.model.calls[0].body["max_tokens"]
        assert cap == event.output_tokens_max


async def test_a_tier_without_one_has_one_cap_for_all(open_service):
    """Tier 2 was not edited."""
    plan = edited()
    async with open_service(tiers=plan.tiers, prices=plan.prices) as service:
        await service.chat(
            await service.account("acme", tier=2), model=REASONS, max_tokens=100_000
        )

        assert 16_384 == service.model.calls[0].body["max_tokens"]


@pytest.mark.parametrize(
    ("of_tier", "agreed", "agreed_reasoning"),
    list(itertools.product([None, 32], [None, 4, 64], [None, 8])),
)
def test_what_was_agreed_wins(of_tier, agreed, agreed_reasoning):
    """An agreed cap is one for all models, unless another is agreed for some."""
    tier = Tier(
        level=0, name="t", output_tokens_max=16, reasoning_output_tokens_max=of_tier
    )
    overrides = Overrides(
        output_tokens_max=agreed, reasoning_output_tokens_max=agreed_reasoning
    )
    account = Account(id="acme", created_ns=0, overrides=overrides)
    caller = resolved(
        account, CreditState(), TierBook((tier,)), now_ns=0, good_until_ns=0
    )

    assert (agreed or 16) == caller.output_tokens_max
    assert (
        agreed_reasoning or agreed or of_tier or 16
    ) == caller.reasoning_output_tokens_max
