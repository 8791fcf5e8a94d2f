"""What one node grants by itself while the store that it shares with others is away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from metering.errors import ConfigurationError, StorageError
from metering.quota import BudgetQuota, Demand, Quota, RateQuota
from metering.stores import LimitStore, Outcome

__all__ = ["LocalShare", "OnOutage"]

OnOutage = Literal["refuse", "local_share"]
"""What becomes of calls while the store is away: refused with 503, or each node grants
its share of the quotas by itself."""

_PER_NS_MAX = 400 * 24 * 3600 * 10**9
_ENDLESS_NS = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    rates: OnOutage
    money: OnOutage
    nodes: int


class LocalShare:
    """Grants a node's share of each quota from its own memory.

    A share refills as its quota does, and is not made whole by another outage: rates
    and slots are remembered from one to the next. Of a ledgered budget it is a share of
    what was left when the outage began. It is never less than one request or slot. What
    the others granted meanwhile is not known, nor what the store itself had granted: so
    all shares together may admit a quota once more.

    Args:
        store: A store in this node's memory, for nothing else.
        nodes: How many nodes share the quotas, at least 1.
        rates: What becomes of calls that demand rates or slots.
        money: What becomes of calls that demand money.

    Raises:
        ConfigurationError: There is no node.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        nodes: int,
        rates: OnOutage = "local_share",
        money: OnOutage = "refuse",
    ) -> None:
        if nodes < 1:
            raise ConfigurationError(
                f"{nodes} nodes cannot share anything: at least 1."
            )
        self._store = store
        self._policy = _Policy(rates=rates, money=money, nodes=nodes)
        self._spent: dict[str, int] = {}
        self._outage = 0
        self._nodes_seen = 1

    def shared_by(self, nodes: int) -> None:
        """Share with so many nodes, where more are seen than were said to be there."""
        self._nodes_seen = nodes

    def begin(self) -> None:
        """An outage begins: ledgered budgets are to be seeded anew."""
        self._outage += 1
        self._spent = {}

    def grants(self, demands: Sequence[Demand]) -> bool:
        """Whether calls with these demands are decided here at all."""
        policy = self._policy
        return all(
            (policy.money if demand.unit == "pico_usd" else policy.rates)
            == "local_share"
            for demand in demands
        )

    async def acquire(
        self, demands: Sequence[Demand], *, hold_id: str, now_ns: int
    ) -> Outcome:
        """Grant all demands out of this node's share, or take nothing.

        Raises:
            StorageError: The call fits into a quota, but never into a share of it.
        """
        outcome = await self._store.acquire(
            [self._shared(demand) for demand in demands],
            hold_id=hold_id,
            lease_ns=_ENDLESS_NS,
            now_ns=now_ns,
        )
        for demand, verdict in zip(demands, outcome.verdicts, strict=False):
            if verdict.reason == "impossible" and demand.cost <= _most(demand.quota):
                raise StorageError(
                    f"The store of limits is away, and {demand.cost} of quota"
                    f" {demand.name!r} are more than this node may grant alone."
                )
        unseeded = tuple(self._key_of(key) for key in outcome.unseeded)
        return msgspec.structs.replace(outcome, unseeded=unseeded)

    async def seed(self, key: str, spent: int, *, now_ns: int) -> None:
        """Say what a budget had spent before this node went on alone."""
        if await self._store.seed(self._own_key(key), spent, now_ns=now_ns):
            self._spent[key] = spent

    async def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        *,
        now_ns: int,
    ) -> None:
        """Replace a hold by what was used."""
        shared = [self._shared(demand) for demand in demands]
        await self._store.settle(hold_id, shared, costs, now_ns=now_ns)

    def _shared(self, demand: Demand) -> Demand:
        key, quota = demand.key, demand.quota
        if isinstance(quota, BudgetQuota) and quota.ledgered:
            key = self._own_key(key)
        return msgspec.structs.replace(demand, key=key, quota=self._share(demand))

    def _own_key(self, key: str) -> str:
        return f"{self._outage}:{key}"

    @staticmethod
    def _key_of(own_key: str) -> str:
        return own_key.partition(":")[2]

    def _share(self, demand: Demand) -> Quota:
        quota, nodes = demand.quota, max(self._policy.nodes, self._nodes_seen)
        if isinstance(quota, RateQuota):
            least = demand.cost if demand.unit == "requests" else 1
            burst = max(least, (quota.burst or quota.amount) // nodes)
            per_ns = quota.per_ns * nodes
            if per_ns <= _PER_NS_MAX:
                return RateQuota(quota.amount, per_ns, burst)
            return RateQuota(max(1, quota.amount // nodes), quota.per_ns, burst)
        spent = self._spent.get(demand.key, 0)
        share = max(0, quota.amount - spent) // nodes
        if demand.unit == "running":
            share = max(1, share)
        return BudgetQuota(spent + share, quota.ledgered)


def _most(quota: Quota) -> int:
    """Return the most that a quota can ever grant at once."""
    return (
        (quota.burst or quota.amount) if isinstance(quota, RateQuota) else quota.amount
    )
