"""Limits beside those of tiers, and the headers that tell of all of them."""

import threading

import anyio
import anyio.lowlevel
import http_sf
import pytest

import metering
from metering.asgi import body as bodies
from metering.asgi.context import Call
from metering.asgi.limiter import LimiterMiddleware
from metering.asgi.parts import Parts
from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.limit_rules import LimitRule
from metering.limiter import Limiter
from metering.quota import BudgetQuota, RateQuota
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

TOKENS = LimitRule(
    name="tokens", quotas=(RateQuota(1000, 60 * NS_PER_S),), unit="tokens"
)
RUNNING = LimitRule(name="running", quotas=(BudgetQuota(2),), unit="running")
PER_SECOND = LimitRule(
    name="bursts",
    quotas=(RateQuota(2, NS_PER_S), RateQuota(5, 3600 * NS_PER_S)),
)


def _refused(answer):
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["type"]


def _tokens_left(answer):
    return int(answer.headers["x-ratelimit-remaining-tokens"])


async def test_tokens_are_taken_by_estimate_and_settled_by_use(open_service):
    """Of 1,000 a call of cap 600 takes 600 and its input; it writes 64 and reads 7."""
    async with open_service(limits=(TOKENS,)) as service:
        key = await service.account("acme", tier=1)
        first = await service.chat(key, max_tokens=600)
        used = first.json()["usage"]["total_tokens"]
        second = await service.chat(key, max_tokens=600)
        third = await service.chat(key, max_tokens=5000)

    taken = 1000 - _tokens_left(first)
    assert 600 < taken < 650
    assert 1000 - used - taken == _tokens_left(second)
    assert 2 * used < 1000 - 600
    assert (429, "rate_limit_exceeded", "tokens") == _refused(third)
    assert "1000" == third.headers["x-ratelimit-limit-tokens"]


async def test_a_refused_call_takes_nothing_of_any_limit(open_service):
    """Money, requests, tokens, slots: whichever refuses, the others stay whole."""
    async with open_service(limits=(TOKENS, RUNNING)) as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, max_tokens=1)
        before = await service.chat(key, max_tokens=1)
        refusals = [await service.chat(key, max_tokens=5000) for _ in range(50)]
        after = await service.chat(key, max_tokens=1)

    assert {429} == {answer.status_code for answer in refusals}
    assert 200 == after.status_code
    requests = "x-ratelimit-remaining-requests"
    assert int(before.headers[requests]) - 1 == int(after.headers[requests])


async def test_a_slot_is_free_again_though_the_app_failed(open_service):
    """Two at once: five that raise, one after the other, are all let in."""

    async def app(_scope, receive, _send):
        await receive()
        raise LookupError

    async with open_service(app, limits=(RUNNING,)) as service:
        key = await service.account("acme", tier=1)
        for _ in range(5):
            with pytest.raises(LookupError):
                await service.chat(key)


async def test_more_calls_at_once_than_slots_are_refused(open_service):
    waiting, go_on = [], anyio.Event()

    async def pause(chunk):
        waiting.append(chunk)
        await go_on.wait()

    async with open_service(FakeModel(pause=pause), limits=(RUNNING,)) as service:
        key = await service.account("acme", tier=1)
        other = await service.account("other", tier=1)
        answers = []

        async def call(secret):
            answers.append(await service.chat(secret))

        async with anyio.create_task_group() as tasks:
            for secret in (key, key, other):
                tasks.start_soon(call, secret)
            while len(waiting) < 3:
                await anyio.lowlevel.checkpoint()
            third = await service.chat(key)
            go_on.set()
        after = await service.chat(key)

    assert [200] * 3 == [answer.status_code for answer in answers]
    assert (429, "rate_limit_exceeded", "requests") == _refused(third)
    assert "2 calls run, as many as may at once" in third.json()["error"]["message"]
    assert "1" == third.headers["retry-after"]
    assert 200 == after.status_code


async def test_several_rates_at_once(open_service):
    """Two a second and five an hour."""
    async with open_service(limits=(PER_SECOND,)) as service:
        key = await service.account("acme", tier=1)
        statuses = []
        for _ in range(4):
            statuses += [(await service.chat(key)).status_code for _ in range(3)]
            service.clock.advance(seconds=1)
        last = await service.chat(key)

    assert [200, 200, 429, 200, 200, 429, 200, 429, 429, 429, 429, 429] == statuses
    assert "quota 'bursts-3600s'" in last.json()["error"]["message"]


async def test_a_limit_per_whatever_a_function_finds(open_service):
    """Per address: another address is another allowance; none is no limit."""
    per_ip = LimitRule(
        name="per-ip", quotas=(RateQuota(1, 60 * NS_PER_S),), per=("ip",)
    )

    def ip(scope):
        return dict(scope["headers"]).get(b"x-real-ip", b"").decode() or None

    async with open_service(limits=(per_ip,), subjects={"ip": ip}) as service:
        key = await service.account("acme", tier=1)

        async def call(address=None):
            headers = {"x-real-ip": address} if address else {}
            return (await service.chat(key, headers=headers)).status_code

        assert [200, 429] == [await call("10.0.0.1") for _ in range(2)]
        assert 200 == await call("10.0.0.2")
        assert [200, 200] == [await call() for _ in range(2)]


async def test_a_limit_in_shadow_is_told_and_refuses_nobody(open_service, capsys):
    shadow = LimitRule(
        name="soon",
        quotas=(RateQuota(1, 60 * NS_PER_S),),
        shadow=True,
    )
    async with open_service(limits=(shadow,)) as service:
        key = await service.account("acme", tier=1)
        answers = [await service.chat(key) for _ in range(3)]
        events = await service.events("acme")

    assert [200] * 3 == [answer.status_code for answer in answers]
    assert [(), ("shadow:soon",), ("shadow:soon",)] == sorted(e.flags for e in events)
    assert 2 == capsys.readouterr().out.count("call_refused_in_shadow")
    assert "soon" not in answers[0].headers["ratelimit"]


async def test_the_ietf_fields_are_structured_and_tell_of_each_quota(open_service):
    """Parsed by a real parser of RFC 9651: lists of strings with parameters."""
    async with open_service(limits=(TOKENS, RUNNING, PER_SECOND)) as service:
        key = await service.account("acme", tier=1)
        served = await service.chat(key, max_tokens=500)
        for _ in range(2):
            refused = await service.chat(key, max_tokens=500)

    def fields(answer, name):
        value = answer.headers[name].encode()
        return dict(http_sf.parse(value, tltype="list"))

    policy = fields(served, "ratelimit-policy")
    assert policy == {
        "requests": {"q": 100, "qu": "requests", "w": 60},
        "tokens": {"q": 1000, "qu": "tokens", "w": 60},
        "running": {"q": 2, "qu": "concurrent-requests"},
        "bursts": {"q": 2, "qu": "requests", "w": 1},
        "bursts-3600s": {"q": 5, "qu": "requests", "w": 3600},
    }
    state = fields(served, "ratelimit")
    assert list(policy) == list(state)
    assert {"r": 99, "t": 1} == state["requests"]
    assert {"r": 1, "t": 1} == state["bursts"]
    assert 429 == refused.status_code
    assert policy == fields(refused, "ratelimit-policy")
    assert 0 == fields(refused, "ratelimit")["bursts"]["r"]
    # OpenAI's names have room for one limit on requests: the tightest.
    assert "2" == refused.headers["x-ratelimit-limit-requests"]


async def test_a_limit_on_requests_alone_reads_no_body(hand_written):
    """Per address, without another piece: the app reads what the client sends."""
    rule = LimitRule(name="ip", quotas=(RateQuota(1, NS_PER_S),), per=("ip",))
    parts = Parts(
        limiter=Limiter(MemoryLimitStore(), clock=ManualClock()),
        limits=(rule,),
        subjects={"ip": lambda _scope: "10.0.0.1"},
    )
    app = LimiterMiddleware(FakeModel(), parts)
    served, refused = hand_written("key"), hand_written("key")
    await served.call(app)
    await refused.call(app)

    assert (200, 429) == (served.status, refused.status)
    assert 0 == refused.received


@pytest.mark.parametrize("inline", [True, False])
async def test_a_large_request_is_read_beside_the_loop(
    open_service, monkeypatch, inline
):
    """Above 32 kB: its facts, and the estimate of its input when it is first asked."""
    threads = []

    def noting(act):
        def noted(*args):
            threads.append(threading.current_thread())
            return act(*args)

        return noted

    estimate = noting(Call.estimate_input_tokens)
    monkeypatch.setattr(Call, "estimate_input_tokens", estimate)
    monkeypatch.setattr(bodies, "_read_facts", noting(bodies._read_facts))
    words = 8_000 if inline else 8_200
    async with open_service() as service:
        key = await service.account("acme", tier=4)
        content = "abc " * words
        answer = await service.chat(
            key, messages=[{"role": "user", "content": content}]
        )

    assert 200 == answer.status_code
    own = threading.current_thread()
    assert [inline, inline] == [thread is own for thread in threads[:2]]


async def test_a_limit_per_member_of_the_body(open_service):
    """Per OpenAI's `user`: another one is another allowance, none is no limit."""
    rule = LimitRule(name="user", quotas=(RateQuota(1, NS_PER_S),), per=("user",))
    subjects = {"user": metering.FromBody("user")}
    async with open_service(limits=(rule,), subjects=subjects) as service:
        key = await service.account("acme", tier=1)

        async def call(**body):
            return (await service.chat(key, **body)).status_code

        assert [200, 429] == [await call(user="a\u00e9") for _ in range(2)]
        assert [200, 429] == [await call(user=7) for _ in range(2)]
        assert [200] * 2 == [await call(user=None) for _ in range(2)]
        assert [200] * 2 == [await call() for _ in range(2)]
