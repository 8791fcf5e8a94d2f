"""Each piece alone and each pair around a small app: what its docs promise, no more."""

import json
from dataclasses import replace
from itertools import combinations, product
from types import SimpleNamespace

import pytest

from metering.accounts import Account, ApiKey, hash_key
from metering.asgi.billing import BillingMiddleware
from metering.asgi.clamp import ClampMiddleware
from metering.asgi.limiter import LimiterMiddleware
from metering.asgi.meter import MeterMiddleware
from metering.asgi.parts import Parts
from metering.asgi.tier import TierMiddleware
from metering.backends.memory import MemoryLimitStore
from metering.backends.sql import SqlLedger
from metering.billing import Biller, usage_limit_demand
from metering.clock import NS_PER_S
from metering.config import plan_from_preset
from metering.errors import ConfigurationError
from metering.journal import Journal, adopt_orphans
from metering.limiter import Limiter
from metering.money import PICO
from metering.pricing import PriceBook
from metering.quota import RateQuota
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel
from metering.tiers import TierResolver

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
KEY = "mk-acme"
LIMIT_P = 50 * PICO
TOKEN_P = 100_000
ESTIMATED_TOKENS = 2 + 5  # of 5 bytes of text, and 5 words
TWO_A_MINUTE = RateQuota(2, 60 * NS_PER_S)

ORDER = (
    TierMiddleware,
    ClampMiddleware,
    BillingMiddleware,
    LimiterMiddleware,
    MeterMiddleware,
)
SUBSETS = [s for size in range(1, 6) for s in combinations(ORDER, size)]


def _names(pieces):
    return "+".join(piece.name for piece in pieces)


@pytest.fixture
def services(tmp_path):
    """Return what pieces share, and one account of tier 1 with a key."""
    plan, clock = plan_from_preset("friendli"), ManualClock()
    ledger, store = SqlLedger("sqlite://", tiers=plan.tiers), MemoryLimitStore()
    journal = Journal(tmp_path, clock=clock)
    biller = Biller(plan.prices, ledger, journal)
    account = Account(id="acme", created_ns=clock(), payment_method=True)
    ledger.create(account, None)
    ledger.add_key(
        ApiKey(
            id="key-1",
            account_id="acme",
            hash=hash_key(KEY.encode(), b""),
            hint="acme",
            created_ns=clock(),
        )
    )
    parts = Parts(
        clock=clock,
        resolver=TierResolver(ledger, plan.tiers, clock=clock),
        limiter=Limiter(store, clock=clock, spent_of=biller.spent_p),
        biller=biller,
        journal=journal,
        tiers=plan.tiers,
    )
    yield SimpleNamespace(
        parts=parts,
        clock=clock,
        ledger=ledger,
        store=store,
        journal=journal,
        prices=plan.prices,
        home=tmp_path,
    )
    journal.close()


async def _in_use_p(services):
    demand = usage_limit_demand("acme", "2026-01", LIMIT_P, 0)
    (verdict,) = await services.store.peek([demand], now_ns=services.clock())
    return LIMIT_P - verdict.remaining


async def _holds(services):
    """End the holds that are left, and return how many there were."""
    return await services.store.sweep(now_ns=services.clock() + 3600 * NS_PER_S)


def _recorded(services):
    """Return the events in the journal."""
    services.journal.close()
    events = []

    def post(batch):
        events.extend(batch)
        return services.ledger.post(batch)

    adopt_orphans(services.home, post)
    return events


# The order


@pytest.mark.parametrize(
    ("outer", "inner"), list(product(ORDER, ORDER)), ids=lambda piece: piece.name
)
def test_a_wrong_order_is_an_error_that_names_the_right_one(services, outer, inner):
    """Of 25 pairs the 10 in order are taken; the others name piece and order."""
    inside = inner(FakeModel(), services.parts)
    right = [piece.name for piece in ORDER if piece in {outer, inner}]
    if ORDER.index(outer) < ORDER.index(inner):
        assert inside is outer(inside, services.parts).app
        return
    with pytest.raises(ConfigurationError) as error:
        outer(inside, services.parts)

    assert (
        f"The {outer.name} piece has {inner.name} inside it. From the outermost to the"
        f" innermost, each once: {', '.join(right)}."
    ) == str(error.value)


def test_a_wrong_order_is_seen_through_other_middleware(services):
    """Whoever keeps what it wraps in `app` hides nothing, as Starlette's do."""
    meter = MeterMiddleware(FakeModel(), services.parts)
    between = SimpleNamespace(app=SimpleNamespace(app=meter))

    with pytest.raises(ConfigurationError, match="meter piece has meter inside"):
        MeterMiddleware(between, services.parts)


@pytest.mark.parametrize(
    ("piece", "lacks", "says"),
    [
        (TierMiddleware, "resolver", "TierMiddleware needs a resolver"),
        (BillingMiddleware, "biller", "BillingMiddleware needs a biller and a limiter"),
        (BillingMiddleware, "limiter", "BillingMiddleware needs a biller and a limite"),
        (LimiterMiddleware, "limiter", "LimiterMiddleware needs a limiter"),
    ],
)
def test_a_piece_that_lacks_a_part_says_so_at_once(services, piece, lacks, says):
    """When it is made, not when the first customer calls."""
    with pytest.raises(ConfigurationError, match=says):
        piece(FakeModel(), replace(services.parts, **{lacks: None}))


# Any of them


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("pieces", SUBSETS, ids=_names)
async def test_any_subset_serves_and_leaves_nothing_held(
    services, hand_written, pieces, streams
):
    """All 31: the client sees the app's own answer, charged once if at all."""
    model = app = FakeModel()
    for piece in reversed(pieces):
        app = piece(app, services.parts)
    body = {**CHAT, "max_tokens": 5, "stream": streams}
    if BillingMiddleware in pieces and TierMiddleware not in pieces:
        with pytest.raises(ConfigurationError, match="Put TierMiddleware outside it"):
            await hand_written(KEY, body).call(app)
        return
    client, bare = hand_written(KEY, body), hand_written(KEY, body)
    await client.call(app)
    await bare.call(FakeModel())

    assert 200 == client.status
    assert b"".join(bare.bodies) == b"".join(client.bodies)
    assert 1 == len(model.calls)
    assert 0 == await _holds(services)
    billed, metered = BillingMiddleware in pieces, MeterMiddleware in pieces
    # Only the meter asks a stream for its usage.
    source = "upstream" if metered or not streams else "estimated"
    tokens = 8 if source == "upstream" else ESTIMATED_TOKENS
    told = [(source, tokens * TOKEN_P * billed)] * (billed or metered)
    assert told == [(e.usage_source, e.charge_p) for e in _recorded(services)]
    assert tokens * TOKEN_P * billed == await _in_use_p(services)


@pytest.mark.parametrize("pieces", SUBSETS, ids=_names)
async def test_any_subset_that_fails_leaves_nothing_held(
    services, hand_written, pieces
):
    """What the app raised comes out as it was, and nothing is charged."""
    if BillingMiddleware in pieces and TierMiddleware not in pieces:
        return
    raised = RuntimeError("mine")

    async def broken(_scope, _receive, _send):
        raise raised

    app = broken
    for piece in reversed(pieces):
        app = piece(app, services.parts)
    with pytest.raises(RuntimeError) as caught:
        await hand_written(KEY, {**CHAT, "max_tokens": 5}).call(app)

    assert raised is caught.value
    assert 0 == await _holds(services)
    assert 0 == await _in_use_p(services)


# Each alone


async def test_tier_alone_says_who_calls_and_reads_no_body(services, hand_written):
    """The app finds the account on the Call; nobody else gets in."""
    found = []

    async def app(scope, _receive, _send):
        found.append(scope["state"]["metering"].caller)

    tier = TierMiddleware(app, services.parts)
    known, unknown, nobody = (hand_written(k) for k in (KEY, "mk-other", None))
    for client in (known, unknown, nobody):
        await client.call(tier)

    assert ["acme"] == [caller.account.id for caller in found]
    assert ["Tier 1"] == [caller.tier.name for caller in found]
    assert [401, 401] == [unknown.status, nobody.status]
    assert b"Bearer" == unknown.header(b"www-authenticate")
    assert [0, 0, 0] == [c.received for c in (known, unknown, nobody)]
    assert [] == _recorded(services)


@pytest.mark.parametrize(
    ("account", "sees"), [("acme", "acme"), ("nobody", 401), (None, 401)]
)
@pytest.mark.parametrize("by", ["identify", "anonymous"])
async def test_tier_takes_the_apps_word(services, hand_written, account, sees, by):
    """By a callable or one account for all who show no key; unknown ones are 401."""
    found = []

    async def app(scope, _receive, _send):
        found.append(scope["state"]["metering"].caller.account.id)

    async def identify(_scope):
        return account

    known_by = {"anonymous": account, "identify": identify}[by]
    client = hand_written(None)
    await client.call(TierMiddleware(app, replace(services.parts, **{by: known_by})))

    assert [sees] == (found or [client.status])


@pytest.mark.parametrize(
    ("asked", "cap", "reads"),
    [(None, 100, 100), (500, 100, 100), (7, 100, 7), (None, None, None)],
)
async def test_clamp_alone_lowers_to_its_own_cap(
    services, hand_written, asked, cap, reads
):
    """Without a tier the cap is its argument; None leaves all alone."""
    model = FakeModel()
    clamp = ClampMiddleware(model, services.parts, output_tokens_max=cap)
    body = CHAT if asked is None else {**CHAT, "max_tokens": asked}
    client = hand_written(None, body)
    await client.call(clamp)
    (call,) = model.calls

    assert reads == call.body.get("max_tokens")
    changed = reads != asked
    assert (str(cap).encode() if changed else None) == client.header(
        b"x-output-tokens-limit"
    )
    if not changed:
        assert json.dumps(body).encode() == call.raw
    assert [] == _recorded(services)


async def test_clamp_under_a_tier_has_the_tiers_cap(services, hand_written):
    """Its own argument is for callers without one."""
    model = FakeModel()
    clamp = ClampMiddleware(model, services.parts, output_tokens_max=100)
    await hand_written(KEY).call(TierMiddleware(clamp, services.parts))

    assert 16_384 == model.calls[0].body["max_tokens"]


async def test_limiter_alone_limits_all_callers_together(services, hand_written):
    """Two a minute, the third comes back in 30 s and is served; no body is read."""
    model = FakeModel()
    limiter = LimiterMiddleware(model, services.parts, requests=TWO_A_MINUTE)
    clients = [hand_written(key) for key in (None, KEY, "x", None)]
    for client in clients[:3]:
        await client.call(limiter)
    services.clock.advance(seconds=30)
    await clients[3].call(limiter)
    third = clients[2]

    assert [200, 200, 429, 200] == [c.status for c in clients]
    assert [b"1", b"0", b"0"] == [
        c.header(b"x-ratelimit-remaining-requests") for c in clients[:3]
    ]
    assert (b"30", b"30000") == (
        third.header(b"retry-after"),
        third.header(b"retry-after-ms"),
    )
    assert 0 == third.received
    assert [] == _recorded(services)


async def test_limiter_under_a_tier_has_the_tiers_quota(services, hand_written):
    """A hundred a minute, whatever its argument says for callers without one."""
    limiter = LimiterMiddleware(FakeModel(), services.parts, requests=TWO_A_MINUTE)
    client = hand_written(KEY)
    await client.call(TierMiddleware(limiter, services.parts))

    assert b"100" == client.header(b"x-ratelimit-limit-requests")


@pytest.mark.parametrize("streams", [True, False])
async def test_meter_alone_counts_and_charges_nobody(services, hand_written, streams):
    """Without a journal the event is on the Call, for who wraps it."""
    alone = Parts(clock=services.clock)
    client = hand_written(None, {**CHAT, "stream": streams})
    await client.call(MeterMiddleware(FakeModel(), alone))
    event = client.scope["state"]["metering"].event

    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert (3, 64) == (event.usage.input_tokens, event.usage.output_tokens)
    assert ("", 0) == (event.account_id, event.charge_p)
    assert b"usage" not in b"".join(client.bodies) or not streams


# Billing without the pieces beside it


@pytest.mark.parametrize(
    ("sent", "context", "tokens"),
    [
        ({"max_tokens": 100}, None, 100),
        ({"max_tokens": 100, "max_completion_tokens": 300}, None, 300),
        ({"max_tokens": 9000}, 8192, 8192),
        ({}, 8192, 8192),
        ({"max_tokens": None}, 8192, 8192),
    ],
)
async def test_billing_without_a_clamp_holds_what_bounds_the_call(
    services, hand_written, sent, context, tokens
):
    """The request's own bound or the context length, whichever is less."""
    events = await _billed(services, hand_written, {**CHAT, **sent}, context)
    input_tokens = len(json.dumps(CHAT["model"]) + json.dumps(CHAT["messages"])) + 1024
    extra = sum(len(str(value)) for value in sent.values())

    assert [(input_tokens + extra + tokens) * TOKEN_P] == [e.hold_p for e in events]


@pytest.mark.parametrize("sent", [{}, {"max_tokens": None}, {"max_tokens": "abc"}])
async def test_billing_refuses_what_nothing_bounds(services, hand_written, sent):
    """Neither clamp nor request nor model says how much: it could cost any amount."""
    client = hand_written(KEY, {**CHAT, **sent})
    model = FakeModel()
    billing = BillingMiddleware(model, services.parts)
    await client.call(TierMiddleware(billing, services.parts))

    assert (400, "output_not_bounded") == (
        client.status,
        client.json()["error"]["code"],
    )
    assert 0 == len(model.calls)
    assert 0 == await _holds(services)


async def _billed(services, hand_written, body, context):
    models = tuple(
        replace(m, context_tokens_max=context) for m in services.prices.models
    )
    biller = Biller(PriceBook(models), services.ledger, services.journal)
    parts = replace(services.parts, biller=biller)
    client = hand_written(KEY, body)
    await client.call(TierMiddleware(BillingMiddleware(FakeModel(), parts), parts))
    assert 200 == client.status
    return _recorded(services)
