"""What an operator sees of all accounts, and who else sees prices and alerts."""

import pytest
from msgspec.structs import replace

from metering.accounts import Overrides
from metering.clock import NS_PER_S
from metering.money import PICO
from metering.platform import Arrival
from metering.stores import PoolMinute
from metering.stores.history import MINUTE_NS

pytestmark = pytest.mark.anyio

OPERATOR = "an-operator-signs-in-by-this-token-alone"
GLM = "zai-org/GLM-4.7"
POOL = PoolMinute(
    node="a",
    pool="others",
    minute_ns=0,
    state="normal",
    cause="ceiling",
    limit_rpm=60.0,
    limit_rpm_min=58.0,
    awaiting=3.0,
    waiting=0.0,
    budget_per_s=None,
    capacity_per_s=20.0,
    unloaded_s=0.5,
)


@pytest.fixture
async def service(open_console, browse):
    """A service, and an operator who is signed in."""
    async with (
        open_console() as console,
        browse(console, secret=OPERATOR) as browser,
    ):
        yield console, browser


def rows(page):
    """Return the account of each row that leads to one."""
    links = [attrs["href"] for attrs in page.all("a")]
    start = "/console/?account="
    return [link.removeprefix(start) for link in links if link.startswith(start)]


async def later(console, browser, *, days):
    """Let time pass, beyond the end of the session."""
    console.clock.advance(seconds=days * 86_400)
    await browser.sign_in(OPERATOR)


async def spend(console, name, *calls, tier=1):
    """Have an account spend: dollars for each call."""
    key = await console.account(name, tier=tier)
    await console.chat(key, model=GLM)
    await console.flush()
    (one,) = console.ledger.events(name)
    events = [
        replace(one.event, id=f"{name}-{number}", charge_p=dollars * PICO)
        for number, dollars in enumerate(calls)
    ]
    console.ledger.post(events)
    return key


async def test_home_tells_of_today_the_month_and_the_last_hour(service):
    console, browser = service
    await spend(console, "acme", 20)
    await later(console, browser, days=1)
    key = await spend(console, "zeta", 1)
    await console.client.post(
        "/v1/chat/completions",
        json={"model": "no-such-model", "messages": []},
        headers={"authorization": f"Bearer {key}"},
    )
    console.meter._historian.write()

    home = await browser.see("/home")

    assert "Spent today $1.00 2 requests Spent this month $21.00 4 requests" in (
        home.text
    )
    assert "hour 1 most: the model was unknown or had no price" in home.text
    assert f"{GLM} 4" in home.text


async def test_home_looks_back_at_months(service):
    console, browser = service
    await spend(console, "acme", 20)
    await later(console, browser, days=40)

    home = await browser.see("/home")
    before = await browser.see("/home", period="2026-01", show="requests")

    assert "No usage in February 2026" in home.text
    assert f"{GLM} 2" in before.text
    assert "Spent this month $0.00" in before.text


async def test_home_names_who_is_near_a_limit_until_there_is_room(service):
    """Tier 1 may spend $50; who was alerted is looked at as they are now."""
    console, browser = service
    await spend(console, "under", 39)
    await spend(console, "near", 41)
    await spend(console, "above", 51)

    assert ["above", "near"] == rows(await browser.see("/home"))

    await console.meter.accounts.override("near", Overrides(usage_limit_p=500 * PICO))
    assert ["above"] == rows(await browser.see("/home"))


async def test_home_says_what_is_wrong_with_the_process(service, monkeypatch):
    console, browser = service
    assert "takes no charges" not in (await browser.see("/home")).text

    monkeypatch.setattr(type(console.meter._recorder), "posting_fails", True)
    home = await browser.see("/home")

    assert "The ledger accepts no charges right now" in home.text


async def test_accounts_are_listed_with_spend_and_limit(service):
    console, browser = service
    await spend(console, "acme", 12)
    await console.account("zeta")

    page = await browser.see("/accounts")

    assert ["acme", "zeta"] == rows(page)
    assert "acme Tier 1 agreed $12.00 $50 None $0.00" in page.text
    assert "zeta Tier 0 $0.00 Prepaid None $0.00" in page.text


async def test_accounts_are_found_by_prefix_tier_and_state(service):
    console, browser = service
    for name, tier in (("acme", 1), ("acorn", 2), ("zeta", 2)):
        await console.account(name, tier=tier)
    await console.meter.accounts.suspend("zeta")

    async def found(**query):
        return rows(await browser.see("/accounts", **query))

    assert ["acme", "acorn"] == await found(prefix="ac")
    assert ["acorn", "zeta"] == await found(tier="2")
    assert ["zeta"] == await found(suspended="true")
    assert ["acorn"] == await found(tier="2", suspended="false", prefix="")
    assert "No matching accounts" in (await browser.see("/accounts", prefix="x")).text


async def test_pages_of_accounts_go_on_in_the_order_that_was_chosen(service):
    console, browser = service
    for name, dollars in (("a", 1), ("b", 3), ("c", 2), ("d", 4)):
        await spend(console, name, dollars)

    first = await browser.see("/accounts", order="spent", limit="2", prefix="")
    (more,) = [attrs["href"] for attrs in first.all("a") if "cursor=" in attrs["href"]]
    rest = await browser.client.get(more)

    assert ["d", "b"] == rows(first)
    assert rest.text.index('account=c"') < rest.text.index('account=a"')


async def test_a_pool_is_told_with_its_state_its_cause_and_its_past(service):
    console, browser = service
    now_ns = console.clock()
    minutes = [
        replace(POOL, minute_ns=now_ns - number * MINUTE_NS, **changes)
        for number, changes in (
            (50, {}),
            (20, {"state": "busy", "limit_rpm": 12.0, "limit_rpm_min": 9.0}),
            (19, {"state": "busy", "limit_rpm": 14.0, "waiting": 7.0}),
            (1, {"limit_rpm": 31.0}),
            (0, {"limit_rpm": 33.0}),
            (90, {"state": "shedding_paid"}),
        )
    ]
    console.ledger.history.note([], minutes)
    ask = console.meter.platform.upstream(GLM).ask
    ask(Arrival("call", "acme", 0, 10, streams=True))

    hour = await browser.see("/platform")
    day = await browser.see("/platform", over="day")

    assert "others Normal Limit per account 60 per minute" in hour.text
    assert "Each account of class 0 may make 60 requests a minute" in hour.text
    assert "The lowest limit was 9 requests per minute, at 14 Jan 23:40" in hour.text
    assert "the last is 33." in hour.text
    assert "14 Jan 2026, 23:40:00 Busy 2 min 0 s 9 3 7" in hour.text
    assert "Over capacity 5 min" not in hour.text
    assert "Over capacity 5 min 0 s 58" in day.text
    bands = [a for a in hour.all("rect") if a.get("class") == "band busy"]
    assert 3 == len(bands)


async def test_a_pool_that_another_process_has_is_told_as_well(service):
    console, browser = service
    now_ns = console.clock() - MINUTE_NS
    far = replace(POOL, pool="far away", minute_ns=now_ns)
    console.ledger.history.note([], [far])

    page = await browser.see("/platform")

    assert "far away This process does not run this pool;" in page.text


async def test_pools_that_nobody_asks_for_are_rows_of_one_table(service):
    console, browser = service
    busy = console.meter.platform.upstream(GLM)
    busy.ask(Arrival("call", "acme", 0, 10, streams=True))

    platform = await browser.see("/platform")
    home = await browser.see("/home")

    asked, _, idle = platform.text.partition("Idle pools")
    assert f"{GLM} Normal" in asked
    assert GLM not in idle
    assert "meta-llama/Llama-3.3-70B-Instruct 60" in idle
    assert "meta-llama/Llama-3.3-70B-Instruct" not in asked
    assert f"{GLM} Normal" in home.text
    assert "14 idle pools." in home.text


async def test_refusals_of_the_last_hour_are_summed_by_reason(service):
    console, browser = service
    for _ in range(2):
        await console.client.post(
            "/v1/chat/completions",
            json={"model": GLM, "messages": []},
            headers={"authorization": "Bearer nobody"},
        )
    console.meter._historian.write()

    page = await browser.see("/platform")

    assert "The key was unknown or revoked. invalid_api_key 2 1" in page.text


async def test_alerts_of_all_are_an_operators_and_ones_own_an_accounts(service, browse):
    console, browser = service
    key = await spend(console, "acme", 26)
    await spend(console, "zeta", 51)

    every = await browser.see("/alerts")
    of_one = await browser.see("/alerts", account="acme")
    async with browse(console, secret=key) as customer:
        own = await customer.see("/alerts")

    assert {"acme", "zeta"} == set(rows(every))
    assert "acme 50 % of the 2026-01 limit $26.00 $50" in every.text
    for page in (of_one, own):
        assert "50 % of the 2026-01 limit $26.00 $50" in page.text
        assert "zeta" not in page.text
    assert not own.all("input")[1:]


async def test_prices_are_told_by_how_they_are_billed(service):
    _, browser = service
    page = await browser.see("/prices")

    assert "By token Dollars per 1M tokens" in page.text
    assert f"{GLM} $0.60 $2.20" in page.text
    assert "By compute time Dollars per second" in page.text
    assert "zai-org/GLM-4.6 $0.004" in page.text
    assert "Free Models billed: Free Model" in page.text
    assert "K-EXAONE-236B-A23B until 12 Feb 2026" in page.text
    assert "Tier 1 A payment method on file 100 per minute 60 per minute 16K $50" in (
        page.text
    )
    assert "Tier 0 Sign-up Adaptive Adaptive 4K Credit only" in page.text
    assert "Tier 5 By agreement" in page.text


async def test_a_price_that_has_ended_is_one_of_other_times(service):
    console, browser = service
    await later(console, browser, days=40)

    page = await browser.see("/prices")

    assert "No price right now" in page.text
    assert "LGAI-EXAONE/K-EXAONE-236B-A23B the start 12 Feb 2026 free" in page.text


async def test_an_account_sees_its_own_tier_and_what_was_agreed(service, browse):
    console, browser = service
    key = await console.account("acme", tier=2)
    await console.account("zeta")
    await console.meter.accounts.override(
        "acme", prices={GLM: {"input": "0.5", "output": "1.9"}}
    )

    async with browse(console, secret=key) as customer:
        own = await customer.see("/prices")
    other = await browser.see("/prices", account="zeta")

    assert f"{GLM} by agreement $0.50 list $0.60 $1.90 list $2.20" in own.text
    assert "Tier 2 your tier $50 paid" in own.text
    assert "by agreement" not in other.text.replace("Tier 5 By agreement", "")
    assert "Tier 0 its tier" in other.text


async def test_an_account_leads_to_what_it_may_see_alone(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as customer:
            page = await customer.see("/")

    links = [attrs["href"] for attrs in page.all("a")]
    assert "/console/prices" in links
    for path in ("/home", "/accounts", "/platform", "/account"):
        assert f"/console{path}" not in links


async def test_time_stands_in_order_from_left_to_right(service):
    """Marks lie within the chart, and gaps are no lines."""
    console, browser = service
    now_ns = console.clock()
    console.ledger.history.note(
        [],
        [
            replace(POOL, minute_ns=now_ns - number * 60 * NS_PER_S)
            for number in (3, 4, 30)
        ],
    )

    page = await browser.see("/platform")

    lines = [
        attrs["points"] for attrs in page.all("polyline") if attrs["class"] == "line l1"
    ][:2]
    assert [2, 2] == [len(points.split()) for points in lines]
