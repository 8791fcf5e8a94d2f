"""Admission: all demands of a call in one store operation, seeded where need be."""

from collections.abc import Callable, Sequence

import anyio
from anyio import to_thread

from metering.clock import NS_PER_S, Clock
from metering.quota import Demand
from metering.stores import LimitStore, Outcome, SettleResult

__all__ = ["Limiter", "SpentOf"]

SpentOf = Callable[[str, int], int]
"""Returns what the budget of a key has spent at an instant; runs in a thread."""

SETTLE_S = 2.0
"""Longest time that an ended call waits for the store; then its lease runs out."""

_ENDLESS_NS = 2**62


class Limiter:
    """Admits calls and settles ended ones.

    Args:
        store: Where quotas and holds are.
        clock: The node's clock.
        lease_ns: How long a hold outlives a process that died, in a store that does.
        spent_of: Where the seed of a ledgered budget comes from; None without any.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        clock: Clock,
        lease_ns: int = 30 * NS_PER_S,
        spent_of: SpentOf | None = None,
    ) -> None:
        self.store = store
        self._clock = clock
        # A store within the process dies with its calls: their holds need no lease.
        self._lease_ns = lease_ns if store.waits else _ENDLESS_NS
        self._spent_of = spent_of
        self.seeding = anyio.Lock()

    async def admit(
        self,
        demands: Sequence[Demand],
        *,
        hold_id: str,
        account: tuple[str, int] | None = None,
    ) -> Outcome:
        """Grant all demands or take nothing; `stale` is left to the caller.

        Raises:
            StorageError: The store, or the ledger that seeds it, did not answer.
        """
        outcome = await self._acquire(demands, hold_id, account)
        if outcome.status == "unseeded":
            await self._seed(outcome.unseeded)
            outcome = await self._acquire(demands, hold_id, account)
        return outcome

    async def settle(
        self, hold_id: str, demands: Sequence[Demand], costs: Sequence[int]
    ) -> SettleResult | None:
        """Replace a hold by what was used, once. None if the store took too long.

        It is shielded: whoever cancels the call does not keep its hold.
        """
        settling = self.store.settle(hold_id, demands, costs, now_ns=self._clock())
        if not self.store.waits:
            return await settling
        with anyio.CancelScope(shield=True), anyio.move_on_after(SETTLE_S):
            return await settling
        return None

    async def relieve(self, demand: Demand, relief: int, *, reference: str) -> None:
        """Take an early payment off what a budget has spent, once a reference.

        To be called with `seeding` held since before the payment was recorded.
        """
        await self.store.settle(
            f"relief:{reference}", [demand], [-relief], now_ns=self._clock()
        )

    async def _acquire(
        self,
        demands: Sequence[Demand],
        hold_id: str,
        account: tuple[str, int] | None,
    ) -> Outcome:
        return await self.store.acquire(
            demands,
            hold_id=hold_id,
            lease_ns=self._lease_ns,
            now_ns=self._clock(),
            account=account,
        )

    async def _seed(self, keys: Sequence[str]) -> None:
        async with self.seeding:
            for key in keys:
                now_ns = self._clock()
                spent = 0
                if self._spent_of is not None:
                    spent = await to_thread.run_sync(self._spent_of, key, now_ns)
                await self.store.seed(key, spent, now_ns=now_ns)
