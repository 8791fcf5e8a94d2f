"""What the API tells of the plan: limits and what is left of them, tiers, prices."""

import pytest

from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.limit_rules import LimitRule
from metering.money import PICO
from metering.pricing import Leaf, PriceBook, PricedModel, PriceVersion, Rate, Step
from metering.quota import BudgetQuota, RateQuota
from metering.testing.contracts.samples import used

pytestmark = pytest.mark.anyio

MINUTE_NS = 60 * NS_PER_S
GLM = "zai-org/GLM-4.7"
CHEAP = "meta-llama/Llama-3.1-8B-Instruct"
RULES = (
    LimitRule(name="tokens", quotas=(RateQuota(10_000, MINUTE_NS),), unit="tokens"),
    LimitRule(name="of-key", quotas=(RateQuota(9, MINUTE_NS),), per=("key",)),
    LimitRule(
        name="of-model",
        quotas=(RateQuota(8, MINUTE_NS),),
        per=("account", "model"),
        models=frozenset({GLM, CHEAP}),
    ),
    LimitRule(name="at-once", quotas=(BudgetQuota(7),), unit="running"),
    LimitRule(name="of-ip", quotas=(RateQuota(6, MINUTE_NS),), per=("ip",)),
    LimitRule(name="hourly", quotas=(RateQuota(5, 60 * MINUTE_NS),), window="fixed"),
    LimitRule(
        name="tried", quotas=(RateQuota(4, MINUTE_NS),), per=("everyone",), shadow=True
    ),
    LimitRule(name="of-tier-5", quotas=(RateQuota(1, 1000),), tiers=frozenset({5})),
)


async def test_the_plans_limits_tell_what_is_used_and_left(open_console):
    """Per account, key and model; of what the app says, the amounts; other tiers no."""
    subjects = {"ip": lambda scope: scope["client"][0]}
    async with open_console(limits=RULES, own={"subjects": subjects}) as console:
        key = await console.account("acme", tier=3)
        await console.chat(key, model=GLM)
        await console.flush()

        shown = await console.get("/v1/limits", by=key)

        rules = {(row["name"], row["model"]): row for row in shown["rules"]}
        left = {
            name: (row["amount"], row["used"], row["remaining"])
            for name, row in rules.items()
        }
        tokens = left.pop(("tokens", None))
        assert {
            ("of-key", None): (9, 1, 8),
            ("of-model", CHEAP): (8, 0, 8),
            ("of-model", GLM): (8, 1, 7),
            ("at-once", None): (7, 0, 7),
            ("of-ip", None): (6, None, None),
            ("hourly", None): (5, 1, 4),
            ("tried", None): (4, 1, 3),
        } == left
        assert 0 < tokens[1] < 10_000
        assert 10_000 == tokens[1] + tokens[2]
        assert {
            "counts": "running",
            "per": ["account"],
            "per_s": None,
            "window": None,
            "whole_after_s": None,
        }.items() <= rules["at-once", None].items()
        assert (3600.0, "fixed") == (
            rules["hourly", None]["per_s"],
            rules["hourly", None]["window"],
        )
        assert [CHEAP, GLM] == rules["of-model", GLM]["models"]
        assert rules["tried", None]["shadow"]
        again = (await console.get("/v1/limits", by=key))["rules"]
        assert [row["remaining"] for row in shown["rules"]] == [
            row["remaining"] for row in again
        ], "looking takes nothing"


async def test_what_a_key_has_left_is_told_to_that_key_alone(open_console):
    async with open_console(limits=RULES[1:2]) as console:
        key = await console.account("acme", tier=3)
        other = await console.meter.accounts.issue_key("acme")
        await console.chat(key)

        shown = [
            (await console.get("/v1/limits", **who))["rules"][0]["remaining"]
            for who in ({"by": key}, {"by": other}, {"account": "acme"})
        ]

        assert [8, 9, None] == shown


async def test_money_is_told_as_calls_are_held_to_it(open_console):
    """Of the period and of the key, posted, held and left; again after a payment."""
    async with open_console() as console:
        await console.account("acme", tier=2)
        key = await console.meter.accounts.issue_key("acme", usage_limit="3")
        fresh = (await console.get("/v1/limits", by=key))["money"]
        await console.chat(key, model=GLM)

        running = (await console.get("/v1/limits", by=key))["money"]
        await console.flush()
        posted = (await console.get("/v1/limits", by=key))["money"]
        to_all = (await console.get("/v1/limits", account="acme"))["money"]

        none = {"spent_usd": "0", "held_usd": "0"}
        assert [
            {"of": "period", "limit_usd": "500", "left_usd": "500"} | none,
            {"of": "key", "limit_usd": "3", "left_usd": "3"} | none,
        ] == fresh
        spent = (await console.get("/v1/account", by=key))["period"]["spent_usd"]
        assert [(spent, "0"), (spent, "0")] == [
            (row["spent_usd"], row["held_usd"]) for row in posted
        ]
        assert [row["left_usd"] for row in running] == [
            row["left_usd"] for row in posted
        ], "a call that is not posted yet is held"
        assert 500 == pytest.approx(float(spent) + float(posted[0]["left_usd"]))
        assert posted[:1] == to_all


async def test_what_was_spent_before_a_store_began_is_not_left(open_console):
    """A store that was never asked for a budget answers as if nothing were spent."""
    async with open_console() as console:
        key = await console.account("acme", tier=2)
        console.ledger.post([used("e", 20 * PICO)])

        (row,) = (await console.get("/v1/limits", by=key))["money"]

        assert ("20", "0", "480") == tuple(
            row[f"{name}_usd"] for name in ("spent", "held", "left")
        )


async def test_credit_is_a_limit_where_it_is_all_that_may_be_spent(open_console):
    async with open_console() as console:
        key = await console.account("acme")

        (row,) = (await console.get("/v1/limits", by=key))["money"]

        assert {
            "of": "credit",
            "limit_usd": "5",
            "spent_usd": "0",
            "held_usd": "0",
            "left_usd": "5",
        } == row


async def test_what_a_store_that_is_away_has_is_not_known(open_console, monkeypatch):
    async with open_console(limits=RULES[:4] + RULES[5:]) as console:
        await console.account("acme", tier=2)

        async def away(*_, **__):
            raise StorageError("It is away.")

        monkeypatch.setattr(console.meter.limit_store, "peek", away)
        monkeypatch.setattr(console.meter._windows, "peek", away)
        shown = await console.get("/v1/limits", account="acme")

        assert {None} == {row["remaining"] for row in shown["rules"]}
        (money,) = shown["money"]
        assert ("500", "0", None, None) == tuple(
            money[f"{name}_usd"] for name in ("limit", "spent", "held", "left")
        )


async def test_tiers_are_the_plans_table_and_ones_own_is_marked(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=2)

        own = (await console.get("/v1/tiers", by=key))["tiers"]
        plain = (await console.get("/v1/tiers"))["tiers"]

        assert [(level, level == 2) for level in range(6)] == [
            (row["level"], row["own"]) for row in own
        ]
        assert not any(row["own"] for row in plain)
        assert {
            "lifetime_paid_usd": "0",
            "payment_method": True,
            "requests": {
                "paid": [{"amount": 100, "per_s": 60.0, "burst": 100}],
                "free": [{"amount": 60, "per_s": 60.0, "burst": 60}],
            },
            "adaptive": [],
            "output_tokens_max": 16_384,
            "usage_limit_usd": "50",
            "funding": "postpaid",
        }.items() <= own[1].items()
        assert (["free", "paid"], "credit") == (own[0]["adaptive"], own[0]["funding"])
        assert own[5]["lifetime_paid_usd"] is None


async def test_prices_are_told_by_the_usual_unit_and_as_of_now(open_console):
    async with open_console() as console:
        key = await console.account("acme")

        shown = (await console.get("/v1/prices", by=key))["models"]

        of = {row["model"]: row for row in shown}
        (glm,) = of[GLM]["versions"]
        assert ("token", "present", None, None) == tuple(
            glm[name] for name in ("kind", "when", "start", "end")
        )
        assert [
            ("input_tokens", "0.6", 1_000_000),
            ("output_tokens", "2.2", 1_000_000),
        ] == [(rate["of"], rate["usd"], rate["per"]) for rate in glm["rates"]]
        (timed,) = of["Qwen/Qwen3-32B"]["versions"]
        assert [{"of": "compute_ms", "usd": "0.002", "per": 1000, "units_min": 0}] == (
            timed["rates"]
        )
        assert "free" == of["LGAI-EXAONE/K-EXAONE-236B-A23B"]["kind"]


async def test_prices_past_and_future_in_steps_and_by_the_hour(open_console):
    """What no dollar amount by the second is exact for is told by the hour."""
    hour_ns = 60 * MINUTE_NS
    async with open_console() as probe:
        now_ns = probe.clock()
    tokens: dict[Leaf, Rate] = {"input_tokens": Rate(7, 10), "output_tokens": Rate(2)}
    many = (Step(200_000, {"input_tokens": Rate(3)}),)
    edges = [0, now_ns - hour_ns, now_ns, now_ns + hour_ns, None]
    rates = [tokens, tokens | {"output_tokens": Rate(3)}, tokens, tokens]
    stepped = PricedModel(
        name="m",
        versions=tuple(
            PriceVersion(
                model="m",
                kind="token",
                valid_from_ns=start,
                valid_to_ns=end,
                rates=rate,
                steps=many,
            )
            for start, end, rate in zip(edges, edges[1:], rates, strict=False)
        ),
        reasoning=True,
    )
    hourly: dict[Leaf, Rate] = {"compute_ms": Rate(10**12, 3_600_000, 50)}
    timed = PricedModel(
        name="t",
        versions=(PriceVersion(model="t", kind="time", rates=hourly),),
        compute_ms_max=9,
    )
    book = PriceBook([stepped, timed], {"x": "m", "y": "m"})

    async with open_console(prices=book) as console:
        await console.account("acme")
        await console.meter.accounts.override(
            "acme", prices={"m": {"input": "0.5", "output": "2"}}
        )
        m, t = (await console.get("/v1/prices", account="acme"))["models"]
        plain = (await console.get("/v1/prices"))["models"][0]

    assert ["past", "past", "present", "future"] == [v["when"] for v in m["versions"]]
    assert (["x", "y"], True, "token") == (m["aliases"], m["reasoning"], m["kind"])
    assert ["0.0000007", "0.000002"] == [r["usd"] for r in m["versions"][2]["rates"]]
    (step,) = m["versions"][2]["steps"]
    assert (200_000, "0.000003") == (
        step["above_input_tokens"],
        step["rates"][0]["usd"],
    )
    assert [("input_tokens", "0.5"), ("output_tokens", "2")] == [
        (rate["of"], rate["usd"]) for rate in m["agreed"]
    ]
    assert plain["agreed"] is None
    assert [{"of": "compute_ms", "usd": "1", "per": 3_600_000, "units_min": 50}] == (
        t["versions"][0]["rates"]
    )
