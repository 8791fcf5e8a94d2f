"""What asks for too much output is lowered, refused, or fitted to the money left."""

import json

import anyio
import anyio.lowlevel
import pytest

from metering.accounts import Overrides, TokenPrices
from metering.money import PICO
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TIMED = "Qwen/Qwen3-32B"
CAP = 16_384  # of tier 1
TOKEN_P = PICO // 1000
LIMIT_P = 990 * TOKEN_P


def _asking(**body):
    return {"messages": [{"role": "user", "content": "a b c"}]} | body


async def _poor(service, *, limit_p=LIMIT_P, cap=64, name="acme", input_p=0):
    """Return a key whose output costs $0.001 a token, within a limit of $0.99."""
    key = await service.account(name, tier=1)
    agreed = Overrides(
        output_tokens_max=cap,
        usage_limit_p=limit_p,
        prices={LLAMA: TokenPrices(input_p, TOKEN_P)},
    )
    await service.meter.accounts.override(name, agreed)
    return key


# Strict


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("chat/completions", {"max_tokens": CAP + 1}, "max_tokens"),
        ("chat/completions", {"max_completion_tokens": "20000"}, None),
        ("chat/completions", {"max_tokens": 5, "max_completion_tokens": 1e5}, None),
        ("chat/completions", {"min_tokens": CAP + 1}, "min_tokens"),
        ("completions", {"prompt": "a", "max_tokens": CAP + 1}, "max_tokens"),
        ("responses", {"input": "a", "max_output_tokens": CAP + 1}, None),
        ("messages", {"max_tokens": CAP + 1}, "max_tokens"),
    ],
)
async def test_strict_refuses_what_is_above_the_cap(open_service, path, body, field):
    """400 tells the cap and what was asked; nothing is taken, and no app is called."""
    field = field or next(reversed(body))
    async with open_service(clamp="strict") as service:
        key = await service.account("acme", tier=1)
        answer = await service.client.post(
            f"/v1/{path}",
            json=_asking(model=LLAMA) | body,
            headers={"authorization": f"Bearer {key}"},
        )
        text = json.dumps(answer.json())

        assert 400 == answer.status_code
        assert "request_exceeds_limit" in text
        assert f"{field} asks for {int(body[field]):,} output tokens" in text
        assert f'"limit": {CAP}, "asked": {int(body[field])}' in text
        assert 0 == len(service.model.calls)
        assert 0 == await service.in_use_p("acme")
        assert [] == await service.events("acme")


@pytest.mark.parametrize(
    "asked",
    [{}, {"max_tokens": CAP}, {"max_tokens": 5}, {"max_tokens": None}],
    ids=["no bound", "the cap itself", "less", "null"],
)
async def test_strict_serves_what_is_within_the_cap(open_service, asked):
    """Who names no bound asks for no amount, and is given the cap."""
    async with open_service(clamp="strict") as service:
        answer = await service.chat(await service.account("acme", tier=1), **asked)

        assert 200 == answer.status_code
        wanted = asked.get("max_tokens") or CAP
        assert wanted == service.model.calls[0].body["max_tokens"]


async def test_the_cap_is_lowered_to_by_default(open_service):
    """Served, with the header that tells."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, max_tokens=CAP + 1)

        assert (200, str(CAP)) == (
            answer.status_code,
            answer.headers["x-output-tokens-limit"],
        )


@pytest.mark.parametrize("dialect", ["openai.chat", "openai.chat.max_tokens"])
async def test_a_route_tells_which_bound_its_server_obeys(open_service, dialect):
    """Its app is given that one too; every other app the very bytes of the client."""
    routes = {"/v1/chat/completions": dialect}
    async with open_service(routes=routes) as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, max_completion_tokens=5)
        (call,) = service.model.calls
        (event,) = await service.events("acme")

    added = {} if dialect == "openai.chat" else {"max_tokens": 5}
    assert _asking(model=LLAMA, max_completion_tokens=5) | added == call.body
    assert (dialect, 5) == (event.dialect, event.output_tokens_max)


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ({"thinking_token_budget": 20_000}, {"thinking_token_budget": CAP // 2}),
        (
            {"thinking_token_budget": 30_000, "max_tokens": 40_000},
            {"thinking_token_budget": CAP * 3 // 4},
        ),
        (
            {
                "custom_params": {"a": 1, "thinking_budget": 30_000},
                "max_tokens": 40_000,
            },
            {"custom_params": {"a": 1, "thinking_budget": CAP * 3 // 4}},
        ),
        ({"thinking_token_budget": 9000, "max_tokens": 9001}, {"max_tokens": 9001}),
    ],
    ids=["no bound", "lowered", "SGLang", "within the cap"],
)
async def test_the_cap_leaves_room_for_an_answer(open_service, asked, read):
    """What is set aside for reasoning keeps its share of what is left of the bound."""
    async with open_service() as service:
        await service.chat(await service.account("acme", tier=1), **asked)
        (call,) = service.model.calls

    assert _asking(model=LLAMA) | asked | {"max_tokens": CAP} | read == call.body


# Fit


@pytest.mark.parametrize(
    ("left", "asked", "tokens"),
    [(64, 64, 64), (63, 64, 63), (16, 64, 16), (40, None, 40), (7, 7, 7), (40, 7, 7)],
)
async def test_fit_lowers_to_what_the_room_pays_for(open_service, left, asked, tokens):
    """The app is told that bound, the client too, and the hold is no more than left."""
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=left * TOKEN_P)
        body = {} if asked is None else {"max_tokens": asked}
        answer = await service.chat(key, **body)
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert 200 == answer.status_code
        assert tokens == call.body["max_tokens"] == event.output_tokens_max
        assert tokens * TOKEN_P == event.hold_p == event.charge_p
        assert tokens * TOKEN_P == await service.in_use_p("acme", left * TOKEN_P)
        if tokens != asked:
            assert str(tokens) == answer.headers["x-output-tokens-limit"]


@pytest.mark.parametrize(("left", "asked"), [(15, 64), (15, None), (6, 7), (0, 64)])
async def test_fit_cuts_no_answer_below_what_is_worth_having(open_service, left, asked):
    """Below 16 tokens, or the client's own bound: refused, and nothing held."""
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=left * TOKEN_P)
        body = {} if asked is None else {"max_tokens": asked}
        answer = await service.chat(key, **body)

        assert answer.status_code in {400, 402}
        assert "with the shortest answer" in answer.json()["error"]["message"]
        assert 0 == len(service.model.calls)
        assert 0 == await service.in_use_p("acme", left * TOKEN_P)


async def test_fit_pays_for_the_input_first(open_service):
    """What bounds the input is held whole; outputs share the rest, each its part."""
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=100 * TOKEN_P, input_p=TOKEN_P // 100)
        answer = await service.chat(key, n=2)
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert 200 == answer.status_code
        tokens = call.body["max_tokens"]
        left_p = event.hold_p - 2 * tokens * TOKEN_P
        assert 100 * TOKEN_P == event.hold_p
        assert 16 <= tokens < 50
        assert 0 < event.charge_p - 2 * tokens * TOKEN_P <= left_p


async def test_fit_lowers_what_reasoning_may_take_as_well(open_service):
    """A budget that leaves no room for an answer would be refused by the app."""
    body = _asking(
        model=LLAMA,
        max_tokens=4000,
        thinking={"type": "enabled", "budget_tokens": 2000},
    )
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=3000 * TOKEN_P, cap=4000)
        answer = await service.client.post(
            "/v1/messages", json=body, headers={"x-api-key": key}
        )
        (call,) = service.model.calls

        assert 200 == answer.status_code
        assert 3000 == call.body["max_tokens"]
        assert 1500 == call.body["thinking"]["budget_tokens"]


async def test_fit_streams_keep_the_usage_that_was_asked_for(open_service):
    """The body is written once, with both changes."""
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=20 * TOKEN_P)
        await service.chat(key, stream=True)
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert (20, True) == (
            call.body["max_tokens"],
            call.body["stream_options"]["include_usage"],
        )
        assert ("upstream", 20 * TOKEN_P) == (event.usage_source, event.charge_p)


async def test_fit_holds_a_time_price_as_ever(open_service):
    """No bound on tokens bounds the time: 300 s are held, or the call is refused."""
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=PICO // 10)
        answer = await service.chat(key, model=TIMED)

        assert (400, "request_exceeds_limit") == (
            answer.status_code,
            answer.json()["error"]["code"],
        )


async def test_fit_leaves_a_bound_that_is_no_number_to_the_app(open_service):
    """Nothing can be written in its place, so the call is held at its cap or not."""
    async with open_service(clamp="fit") as service:
        key = await _poor(service, limit_p=20 * TOKEN_P)
        answer = await service.chat(key, max_tokens="many")

        assert 400 == answer.status_code
        assert 0 == len(service.model.calls)


@pytest.mark.parametrize("limits", [None, "sqlite"])
async def test_fifty_racing_calls_never_pass_the_limit(open_service, tmp_path, limits):
    """Of $0.99 fifteen hold 64 tokens, one the 30 that are left, and none the rest."""
    in_use, running, go = [], [], anyio.Event()

    async def pause(_chunk):
        running.append(await service.in_use_p("acme", LIMIT_P))
        await go.wait()

    fields = {} if limits is None else {"limits_store": f"sqlite:///{tmp_path}/l.db"}
    model = FakeModel(pause=pause, output_tokens=100_000)
    async with open_service(model, clamp="fit", **fields) as service:
        key = await _poor(service)
        codes = []

        async def call():
            codes.append((await service.chat(key)).status_code)
            in_use.append(await service.in_use_p("acme", LIMIT_P))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
            while len(running) + len(codes) < 50:
                await anyio.lowlevel.checkpoint()
            go.set()
        events = await service.events("acme")

        assert [30] + 15 * [64] == sorted(c.body["max_tokens"] for c in model.calls)
        assert (16, 34) == (codes.count(200), codes.count(429))
        assert LIMIT_P == max(running + in_use)
        assert [e.output_tokens_max * TOKEN_P for e in events] == [
            e.hold_p for e in events
        ]
        assert LIMIT_P == sum(event.charge_p for event in events)


async def test_fit_room_that_was_not_used_is_there_for_others(open_service):
    """Each of ten calls in a row writes 5 tokens of those it holds: all are served."""
    async with open_service(FakeModel(output_tokens=5), clamp="fit") as service:
        key = await _poor(service, limit_p=65 * TOKEN_P)
        bounds = []
        for _ in range(10):
            await service.chat(key)
            bounds.append(service.model.calls[-1].body["max_tokens"])

        assert [64, 60, 55, 50, 45, 40, 35, 30, 25, 20] == bounds
        assert 50 * TOKEN_P == await service.in_use_p("acme", 65 * TOKEN_P)
