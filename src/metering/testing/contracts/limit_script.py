"""Random scripts of calls, played to a limit store and to the model side by side."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

import msgspec
from hypothesis import strategies as st

from metering.clock import NS_PER_S, NS_PER_US
from metering.quota import BudgetQuota, Demand, Quota, RateQuota, Verdict
from metering.stores import LimitStore
from metering.testing.contracts.limit_model import LimitModel

__all__ = ["SCRIPTS", "Step", "play"]

LEASE_NS = 30 * NS_PER_S
_WHOLE = 2**62

QUOTAS: dict[str, tuple[Quota, ...]] = {
    "requests": (RateQuota(5, 60 * NS_PER_S), RateQuota(7, 60 * NS_PER_S)),
    "tokens": (RateQuota(7, NS_PER_S, 3), RateQuota(70, NS_PER_S)),
    "slots": (BudgetQuota(3), BudgetQuota(2)),
    "usd": (BudgetQuota(20, ledgered=True), BudgetQuota(12, ledgered=True)),
}
"""Few and small, so that calls meet; two of each, for amounts may change."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A demand without its key: which quota, in which version, how much of it."""

    name: str
    version: int
    cost: int
    spare: int
    shadow: bool

    def demand(self, account: str) -> Demand:
        """Return it as a demand of that account; `spare` units are dispensable."""
        return Demand(
            key=_key(account, self.name),
            quota=QUOTAS[self.name][self.version],
            cost=self.cost,
            cost_min=max(0, self.cost - self.spare) if self.spare else None,
            name=self.name,
            shadow=self.shadow,
        )


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask under a fresh hold, under the latest one again, or under none."""

    claims: tuple[Claim, ...]
    hold: str = "fresh"


@dataclass(frozen=True, slots=True)
class Settle:
    """Settle the hold at this place, open, expired or settled before."""

    at: int
    costs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew the hold at this place."""

    at: int


@dataclass(frozen=True, slots=True)
class Seed:
    """Say what was spent in dollars."""

    spent: int


@dataclass(frozen=True, slots=True)
class Advance:
    """Let time pass."""

    us: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """End what is over."""


Step = Acquire | Settle | Renew | Seed | Advance | Sweep

_CLAIMS = st.lists(
    st.builds(
        Claim,
        st.sampled_from(sorted(QUOTAS)),
        st.sampled_from((0, 0, 0, 1)),
        st.sampled_from((0, 1, 1, 2, 2, 3, 4, 8)),
        st.sampled_from((0, 2, 8)),
        st.sampled_from((False, False, False, True)),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda claim: claim.name,
).map(tuple)
_ACQUIRES = st.builds(
    Acquire, _CLAIMS, st.sampled_from(("fresh", "fresh", "fresh", "again", "none"))
)
_PLACES = st.integers(-4, -1)
_COSTS = st.tuples(*[st.sampled_from((0, 1, 2, 5, 9))] * 4)
_SPANS_US = st.one_of(
    st.sampled_from((1, 142_857, 12_000_000, 29_999_999, 30_000_000)),
    st.integers(1, 40_000_000),
)

_STEP: st.SearchStrategy[Step] = st.one_of(
    _ACQUIRES,
    _ACQUIRES,
    _ACQUIRES,
    st.builds(Settle, _PLACES, _COSTS),
    st.builds(Renew, _PLACES),
    st.builds(Seed, st.sampled_from((0, 0, 5))),
    st.builds(Advance, _SPANS_US),
    st.builds(Sweep),
)
SCRIPTS = st.lists(_STEP, min_size=8, max_size=40)
"""Random scripts; most are long enough for calls to meet."""


async def play(store: LimitStore, steps: Iterable[Step], *, now_ns: int) -> None:
    """Take every step in the store and in the model, and compare what they answer."""
    stage = _Stage(store, now_ns)
    await store.sweep(now_ns=now_ns + 10 * LEASE_NS)  # what other tests left open
    for step in steps:
        await stage.take(step)
        await stage.check_used()
    stage.now_ns += 2 * LEASE_NS
    await stage.check_used()
    await stage.sweep()


class _Stage:
    """One account in a store and in the model, and the calls it made so far."""

    def __init__(self, store: LimitStore, now_ns: int) -> None:
        self.store = store
        self.model = LimitModel()
        self.account = uuid4().hex
        self.now_ns = now_ns
        self.calls: list[tuple[str, tuple[Demand, ...]]] = []

    async def take(self, step: Step) -> None:
        match step:
            case Acquire():
                await self.acquire(step)
            case Settle():
                await self.settle(step)
            case Renew():
                await self.renew(step)
            case Seed():
                key = _key(self.account, "usd")
                expected = self.model.seed(key, step.spent)
                actual = await self.store.seed(key, step.spent, now_ns=self.now_ns)
                assert expected == actual
            case Sweep():
                await self.sweep()
            case Advance():
                self.now_ns += step.us * NS_PER_US

    async def acquire(self, step: Acquire) -> None:
        demands = tuple(claim.demand(self.account) for claim in step.claims)
        hold_id = uuid4().hex
        if step.hold == "none":
            hold_id = ""
            demands = tuple(d for d in demands if isinstance(d.quota, RateQuota))
            if not demands:
                return
        running = self.model.open_holds(self.now_ns)
        again = step.hold == "again" and bool(running)
        if again:
            hold_id = running[-1]
        now_ns = self.now_ns
        before = self.model.peek(demands, now_ns=now_ns)
        _check_same(before, await self.store.peek(demands, now_ns=now_ns))
        expected = self.model.acquire(
            demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=now_ns
        )
        actual = await self.store.acquire(
            demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=now_ns
        )
        assert (expected.status, expected.unseeded) == (actual.status, actual.unseeded)
        _check_same(expected.verdicts, actual.verdicts)
        if actual.status == "refused":
            told = actual.verdicts[actual.binding].reason
            assert expected.verdicts[expected.binding].reason == told
        elif actual.status == "admitted" and hold_id and not again:
            self.calls.append((hold_id, _as_granted(demands, actual.verdicts)))
            self.check_no_overshoot(demands)

    async def settle(self, step: Settle) -> None:
        hold_id, demands = self.call(step.at)
        costs = step.costs[: len(demands)]
        expected = self.model.settle(hold_id, demands, costs, now_ns=self.now_ns)
        actual = await self.store.settle(hold_id, demands, costs, now_ns=self.now_ns)
        assert expected == actual

    async def renew(self, step: Renew) -> None:
        hold_id, demands = self.call(step.at)
        now_ns = self.now_ns
        expected = self.model.renew(hold_id, demands, lease_ns=LEASE_NS, now_ns=now_ns)
        actual = await self.store.renew(
            hold_id, demands, lease_ns=LEASE_NS, now_ns=now_ns
        )
        assert expected == actual

    async def sweep(self) -> None:
        """Ending holds on the way is a store's right; ending one twice is not."""
        over = self.model.sweep(now_ns=self.now_ns)
        assert 0 <= await self.store.sweep(now_ns=self.now_ns) <= over
        assert await self.store.sweep(now_ns=self.now_ns) == 0

    def call(self, at: int) -> tuple[str, tuple[Demand, ...]]:
        """Return the call at that place from the end, or one that never was."""
        if len(self.calls) >= -at:
            return self.calls[at]
        lost = tuple(
            Claim(name, 0, 2, 0, shadow=False).demand(self.account) for name in QUOTAS
        )
        return f"lost{at}-{self.account}", lost

    def check_no_overshoot(self, demands: Iterable[Demand]) -> None:
        """What was admitted fits; only debt brings a budget above its amount."""
        for demand in demands:
            if demand.shadow:
                continue
            if isinstance(demand.quota, BudgetQuota) and demand.cost:
                held = self.model.held(demand.key, self.now_ns)
                spent = self.model.spent.get(demand.key, 0)
                assert spent + held <= demand.quota.amount

    async def check_used(self) -> None:
        """Spent and held together are what the model says, after every step."""
        for name in ("slots", "usd"):
            key = _key(self.account, name)
            nothing = Demand(key, BudgetQuota(_WHOLE), 0)
            (verdict,) = await self.store.peek((nothing,), now_ns=self.now_ns)
            spent = self.model.spent.get(key, 0)
            held = self.model.held(key, self.now_ns)
            assert _WHOLE - verdict.remaining == spent + held


def _key(account: str, name: str) -> str:
    return f"{{{account}}}:{name}"


def _as_granted(
    demands: tuple[Demand, ...], verdicts: tuple[Verdict, ...]
) -> tuple[Demand, ...]:
    return tuple(
        msgspec.structs.replace(demand, cost=verdict.granted, cost_min=None)
        for demand, verdict in zip(demands, verdicts, strict=True)
    )


def _check_same(expected: tuple[Verdict, ...], actual: tuple[Verdict, ...]) -> None:
    assert len(expected) == len(actual)
    for wanted, given in zip(expected, actual, strict=True):
        if wanted.reason == "held":
            # When the oldest hold ends is the latest answer; a store that knows of one
            # that ends sooner may name that.
            assert NS_PER_US <= given.retry_after_ns <= wanted.retry_after_ns
            assert wanted == msgspec.structs.replace(
                given, retry_after_ns=wanted.retry_after_ns
            )
        else:
            assert wanted == given
