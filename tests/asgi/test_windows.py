"""Limits whose requests are counted in windows, beside all others of a call."""

from types import SimpleNamespace

import anyio
import http_sf
import pytest

from metering import Metering
from metering.backends import windows
from metering.clock import NS_PER_S
from metering.config import OutageSettings
from metering.errors import ConfigurationError
from metering.limit_rules import LimitRule
from metering.quota import BudgetQuota, RateQuota

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"
WINDOWS = ("fixed", "moving", "sliding")
MINUTE_NS = 60 * NS_PER_S
TOKENS = LimitRule(name="tokens", quotas=(RateQuota(10**6, MINUTE_NS),), unit="tokens")
RUNNING = LimitRule(name="running", quotas=(BudgetQuota(2),), unit="running")
NOWHERE = "redis://127.0.0.1:1"


def three(window, **fields):
    """Three calls a minute."""
    quotas = (RateQuota(3, MINUTE_NS),)
    return LimitRule(**({"name": "calls", "quotas": quotas, "window": window} | fields))


@pytest.fixture
def stand_still(monkeypatch):
    """Return what gives `limits` the clock of a service."""

    def stand(service):
        standing = SimpleNamespace(time=lambda: service.clock() / NS_PER_S)
        for module in ("storage.memory", "strategies"):
            monkeypatch.setattr(f"limits.aio.{module}.time", standing)
        monkeypatch.setattr(windows, "time", standing)

    return stand


def remaining(answer, name):
    return dict(http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list"))[
        name
    ]["r"]


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_full_window_refuses_until_it_said(open_service, stand_still, window):
    async with open_service(limits=(three(window),)) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        other = await service.account("other", tier=1)
        served = [await service.chat(key) for _ in range(3)]
        refused = await service.chat(key)
        elsewhere = await service.chat(other)
        wait_ns = int(refused.headers["retry-after-ms"]) * 10**6
        await service.flush()  # a journal that is a minute old takes no calls
        service.clock.advance(ns=wait_ns - 3 * 10**6)
        early = await service.chat(key)
        service.clock.advance(ns=3 * 10**6)
        after = await service.chat(key)

    assert [200, 200, 200, 429] == [a.status_code for a in (*served, refused)]
    error = refused.json()["error"]
    assert ("rate_limit_exceeded", "requests") == (error["code"], error["type"])
    assert "The limit of 3 requests per minute is reached" in error["message"]
    assert "quota 'calls'" in error["message"]
    assert 60 <= int(refused.headers["retry-after"]) <= 61
    assert [200, 429, 200] == [a.status_code for a in (elsewhere, early, after)]


@pytest.mark.parametrize("window", WINDOWS)
async def test_headers_tell_of_windows_too(open_service, stand_still, window):
    async with open_service(limits=(three(window), TOKENS)) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        served = await service.chat(key)
        for _ in range(3):
            refused = await service.chat(key)

    for answer in (served, refused):
        policy = dict(
            http_sf.parse(answer.headers["ratelimit-policy"].encode(), tltype="list")
        )
        assert {"q": 3, "qu": "requests", "w": 60} == policy["calls"]
        assert ["requests", "calls", "tokens"] == list(policy)
    assert (2, 0) == (remaining(served, "calls"), remaining(refused, "calls"))
    assert "3" == served.headers["x-ratelimit-limit-requests"]
    assert "2" == served.headers["x-ratelimit-remaining-requests"]
    assert "1m0s" == served.headers["x-ratelimit-reset-requests"]


@pytest.mark.parametrize("model", [LLAMA, FREE])
@pytest.mark.parametrize("window", WINDOWS)
async def test_a_window_that_refuses_gives_back_what_the_others_took(
    open_service, stand_still, window, model
):
    """Requests, tokens, slots and money, after 30 refusals, as after none."""
    limits = (three(window), TOKENS, RUNNING)
    async with open_service(limits=limits) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        for _ in range(3):
            before = await service.chat(key, model=model)
        refusals = [await service.chat(key, model=model) for _ in range(30)]
        spent_p = sum(event.charge_p for event in await service.events("acme"))
        in_use_p = await service.in_use_p("acme") if model == LLAMA else 0
        service.meter._limiter._windows = None  # what the others say without it
        after = await service.chat(key, model=model)

    assert {429} == {answer.status_code for answer in refusals}
    assert 200 == after.status_code
    used = remaining(before, "tokens") - remaining(after, "tokens")
    assert remaining(before, "requests") - 1 == remaining(after, "requests")
    assert 0 <= used <= 100  # of one call, less what those before had too many
    assert 1 == remaining(after, "running")
    assert spent_p == in_use_p


@pytest.mark.parametrize("window", WINDOWS)
async def test_requests_alone_are_given_back_too(open_service, stand_still, window):
    """Without money, tokens or slots a call has no hold of its own."""
    async with open_service(limits=(three(window),)) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        answers = [await service.chat(key, model=FREE) for _ in range(20)]
        await service.flush()
        service.clock.advance(seconds=61)
        after = await service.chat(key, model=FREE)
        held = service.meter.limit_store._holds

    assert [200] * 3 + [429] * 17 == [answer.status_code for answer in answers]
    assert [59, 58, 57] == [remaining(answer, "requests") for answer in answers[:3]]
    assert {56} == {remaining(answer, "requests") for answer in answers[3:]}
    assert 59 == remaining(after, "requests")
    assert {} == held


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_call_that_another_quota_refuses_is_not_counted(
    open_service, stand_still, window
):
    """The caller is told of all, and of the longer wait."""
    one = LimitRule(name="rarely", quotas=(RateQuota(1, NS_PER_S),))
    async with open_service(limits=(one, three(window))) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        await service.chat(key)
        refused = [await service.chat(key) for _ in range(5)]
        for _ in range(2):
            service.clock.advance(seconds=1)
            served = await service.chat(key)
        both = await service.chat(key)

    assert {429} == {answer.status_code for answer in refused}
    assert "quota 'rarely'" in refused[-1].json()["error"]["message"]
    assert (200, 0) == (served.status_code, remaining(served, "calls"))
    assert "quota 'calls'" in both.json()["error"]["message"]


async def test_several_windows_of_one_limit(open_service, stand_still):
    """Two a second and five an hour; one that refuses takes nothing of the other."""
    rates = RateQuota(2, NS_PER_S), RateQuota(5, 3600 * NS_PER_S)
    async with open_service(limits=(three("moving", quotas=rates),)) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        statuses = []
        for _ in range(4):
            statuses += [(await service.chat(key)).status_code for _ in range(3)]
            service.clock.advance(seconds=1.01)
        last = await service.chat(key)

    assert [200, 200, 429, 200, 200, 429, 200, 429, 429, 429, 429, 429] == statuses
    assert "quota 'calls-3600s'" in last.json()["error"]["message"]


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_window_in_shadow_is_told_and_refuses_nobody(
    open_service, stand_still, window, capsys
):
    async with open_service(limits=(three(window, shadow=True),)) as service:
        stand_still(service)
        key = await service.account("acme", tier=1)
        answers = [await service.chat(key) for _ in range(5)]
        events = await service.events("acme")

    assert [200] * 5 == [answer.status_code for answer in answers]
    assert [()] * 3 + [("shadow:calls",)] * 2 == sorted(e.flags for e in events)
    assert 2 == capsys.readouterr().out.count("call_refused_in_shadow")
    assert "calls" not in answers[0].headers["ratelimit"]


async def test_fifty_at_once_are_three_in_a_window(open_service):
    async with open_service(limits=(three("fixed"), RUNNING)) as service:
        key = await service.account("acme", tier=1)
        statuses = []

        async def call():
            statuses.append((await service.chat(key, model=FREE)).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
        budgets = service.meter.limit_store._budgets

    assert [200] * 3 + [429] * 47 == sorted(statuses)
    assert not any(budget.held for budget in budgets.values())


class TestAway:
    """The storage of the windows does not answer; the limits have their own."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch):
        monkeypatch.setattr(windows, "GIVEN_UP_S", 0.1)

    async def test_by_default_the_window_is_not_enforced(self, open_service, capsys):
        limits = three("moving"), TOKENS
        async with open_service(limits=limits, windows_store=NOWHERE) as service:
            key = await service.account("acme", tier=1)
            answers = [await service.chat(key) for _ in range(5)]

        assert [200] * 5 == [answer.status_code for answer in answers]
        assert "calls" not in answers[0].headers["ratelimit"]
        assert 10**6 > remaining(answers[0], "tokens")
        assert 1 == capsys.readouterr().out.count("windows_away")

    async def test_or_calls_are_refused_and_nothing_stays_held(self, open_service):
        async with open_service(
            limits=(three("moving"), RUNNING),
            windows_store=NOWHERE,
            outage=OutageSettings(rates="refuse"),
        ) as service:
            key = await service.account("acme", tier=1)
            answers = [await service.chat(key) for _ in range(5)]
            in_use_p = await service.in_use_p("acme")
            budgets = service.meter.limit_store._budgets

        assert [503] * 5 == [answer.status_code for answer in answers]
        assert "storage_unavailable" == answers[0].json()["error"]["code"]
        assert "1" == answers[0].headers["retry-after"]
        assert 0 == in_use_p
        assert not any(budget.held for budget in budgets.values())


class TestPlan:
    """What cannot be is said before the first call."""

    def test_a_storage_that_is_not_there(self, open_service):
        plan = open_service.plan(limits=(three("fixed"),), windows_store="pigeon://h")
        with pytest.raises(ConfigurationError, match="'pigeon'; the URL begins with"):
            Metering(plan)

    def test_a_storage_is_looked_at_though_no_limit_has_a_window(self, open_service):
        with pytest.raises(ConfigurationError, match="Windows cannot be kept in"):
            Metering(open_service.plan(windows_store="pigeon://h"))

    def test_a_plan_does_not_show_the_password(self, open_service):
        plan = open_service.plan(windows_store="redis://me:secret@host")

        assert "secret" not in repr(plan)

    async def test_windows_in_memory_are_of_one_process(self, open_service, tmp_path):
        """Though the other limits are shared: each process would grant them anew."""
        url = f"sqlite:///{tmp_path / 'limits.db'}"
        plan = open_service.plan(limits=(three("fixed"),), limits_store=url)
        first, second = Metering(plan), Metering(plan)
        await first.start()
        try:
            with pytest.raises(ConfigurationError, match="and windows, if limits have"):
                await second.start()
        finally:
            await first.stop()
            await second.stop()
