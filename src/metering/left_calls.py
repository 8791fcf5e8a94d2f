"""Brings to a shared limit store what calls cost whose process was killed."""

from collections.abc import Sequence

from anyio import from_thread

from metering.billing import demands_of_event
from metering.clock import Clock
from metering.errors import AccountNotFoundError
from metering.limiter import REMEMBERED_NS, Limiter
from metering.quota import Demand
from metering.stores import AccountStore
from metering.usage import UsageEvent

__all__ = ["LeftCalls"]


class LeftCalls:
    """Settles calls that a process has left behind, which others adopt.

    Each is settled under the id of its hold: what the process has settled itself counts
    once, and what it held is free at once. A budget that another process seeds just
    then from the ledger may have such a call twice, never not at all.

    Args:
        limiter: Admits and settles.
        accounts: Where the accounts are.
        clock: The node's clock.
    """

    def __init__(
        self, limiter: Limiter, accounts: AccountStore, *, clock: Clock
    ) -> None:
        self._limiter = limiter
        self._accounts = accounts
        self._clock = clock

    def settle(self, events: Sequence[UsageEvent]) -> None:
        """Settle calls that are posted; what a store that is away lacks is sent later.

        Blocks; it is for a worker thread of the event loop.
        """
        if not self._limiter.shares:
            return
        # One that ended longer ago may have been settled: then the ledger alone has it.
        since_ns = self._clock() - REMEMBERED_NS
        epochs: dict[str, int | None] = {}
        calls: list[tuple[str, list[Demand], list[int]]] = []
        for event in events:
            # Who was killed before the end of a call has not settled it.
            if event.ending == "recovered" or event.ended_ns >= since_ns:
                epoch = self._credit_epoch(event, epochs)
                demands = demands_of_event(event, epoch)
                calls.append((event.id, demands, [event.charge_p] * len(demands)))
        if calls:
            from_thread.run(self._limiter.settle_left, calls)

    def _credit_epoch(
        self, event: UsageEvent, epochs: dict[str, int | None]
    ) -> int | None:
        """Return which counter of credit the call draws on, or None."""
        if event.funding != "credit":
            return None
        if event.account_id not in epochs:
            try:
                account = self._accounts.get(event.account_id)
            except AccountNotFoundError:
                epochs[event.account_id] = None
            else:
                epochs[event.account_id] = account.credit_epoch
        return epochs[event.account_id]
