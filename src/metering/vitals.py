"""What a process of a service can tell of itself, put together when somebody looks."""

import anyio
from anyio import to_thread

from metering.clock import Clock
from metering.coldstart import ColdStart
from metering.errors import StorageError
from metering.limiter import Limiter
from metering.observing import ServiceState
from metering.platform import Platform
from metering.recorder import Recorder
from metering.stores import Outbox

__all__ = ["Vitals"]

OUTBOX_S = 2.0
"""How long to wait for the ledger to count what waits to be sent."""


class Vitals:
    """Looks at the parts of a service.

    Args:
        limiter: Admits calls.
        recorder: Records them.
        clock: The node's clock.
        outbox: Where messages wait; None: nobody is sent any.
        platform: What can be spared; None: no tier is adaptive.
        cold: Warms models up; None: they are warm.
    """

    def __init__(
        self,
        limiter: Limiter,
        recorder: Recorder,
        *,
        clock: Clock,
        outbox: Outbox | None,
        platform: Platform | None,
        cold: ColdStart | None,
    ) -> None:
        self._limiter = limiter
        self._recorder = recorder
        self._clock = clock
        self._outbox = outbox
        self._platform = platform
        self._cold = cold

    async def look(self) -> ServiceState:
        """Return what there is to see now; what cannot be seen is None."""
        limiter, journal = self._limiter, self._recorder.journal
        keeper, faults = limiter.keeper, journal.faults
        if keeper is None:  # a store of this process alone, which may count its holds
            holds_open = getattr(limiter.store, "holds_open", None)
        else:
            holds_open = keeper.running
        oldest_ns = journal.oldest_ns
        lag_ns = 0 if oldest_ns is None else max(0, self._clock() - oldest_ns)
        return ServiceState(
            holds_open=holds_open,
            settlements_owed=0 if keeper is None else keeper.owed,
            limits_away=limiter.away,
            windows_away=limiter.windows_away,
            journal_unposted=journal.calls_closed - journal.calls_posted,
            journal_lag_ns=lag_ns,
            journal_backlog=faults.backlog,
            journal_lost=faults.backlog_lost,
            journal_full=journal.is_full,
            posting_fails=self._recorder.posting_fails,
            outbox=await self._waiting(),
            pools={} if self._platform is None else self._platform.explain(),
            models={} if self._cold is None else self._cold.statuses(),
        )

    async def _waiting(self) -> dict[str, int] | None:
        """Return how much waits to be sent; None if the ledger does not say."""
        if self._outbox is None:
            return {}
        if self._recorder.posting_fails:
            return None
        try:
            with anyio.fail_after(OUTBOX_S):
                return await to_thread.run_sync(
                    self._outbox.waiting, abandon_on_cancel=True
                )
        except (StorageError, TimeoutError):
            return None
