"""What one node grants by itself while the store that it shares with others is away."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from metering.errors import ConfigurationError
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

    What the others granted is not known, nor what this node had granted before: so an
    outage admits at most one whole quota more than the rates refill, and of a budget
    at most what was left of it. A share is never less than one request or slot.

    Args:
        new_store: Makes a store in this node's memory, one for each outage.
        nodes: How many nodes share the quotas, at least 1.
        rates: What becomes of calls that demand rates or slots.
        money: What becomes of calls that demand money.

    Raises:
        ConfigurationError: There is no node.
    """

    def __init__(
        self,
        new_store: Callable[[], LimitStore],
        *,
        nodes: int,
        rates: OnOutage = "local_share",
        money: OnOutage = "refuse",
    ) -> None:
        if nodes < 1:
            raise ConfigurationError(
                f"{nodes} nodes cannot share anything: at least 1."
            )
        self._new_store = new_store
        self._store = new_store()
        self._policy = _Policy(rates=rates, money=money, nodes=nodes)
        self._spent: dict[str, int] = {}

    def begin(self) -> None:
        """Forget the last outage: the shares of this one are whole."""
        self._store = self._new_store()
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
        """Grant all demands out of this node's share, or take nothing."""
        return await self._store.acquire(
            [self._shared(demand) for demand in demands],
            hold_id=hold_id,
            lease_ns=_ENDLESS_NS,
            now_ns=now_ns,
        )

    async def seed(self, key: str, spent: int, *, now_ns: int) -> None:
        """Say what a budget had spent before this node went on alone."""
        if await self._store.seed(key, spent, now_ns=now_ns):
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
        return msgspec.structs.replace(demand, quota=self._share(demand))

    def _share(self, demand: Demand) -> Quota:
        quota, nodes = demand.quota, self._policy.nodes
        if isinstance(quota, RateQuota):
            burst = quota.burst or quota.amount
            return RateQuota(
                quota.amount,
                min(quota.per_ns * nodes, _PER_NS_MAX),
                max(1, burst // nodes),
            )
        spent = self._spent.get(demand.key, 0)
        share = max(0, quota.amount - spent) // nodes
        if demand.unit == "running":
            share = max(1, share)
        return BudgetQuota(spent + share, quota.ledgered)
