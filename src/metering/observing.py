"""Who is told of each call, and what there is to see of a service besides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from metering.adaptive import Explanation
from metering.log import Log
from metering.usage import UsageEvent

__all__ = ["Headers", "Observer", "Observers", "RefusedCall", "ServiceState"]

Headers = Sequence[tuple[bytes, bytes]]
"""Headers of a request, as ASGI has them."""

_log = Log()


class RefusedCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call that was not served.

    Attributes:
        id: The call's.
        account_id: Whose it was; None where nobody knows the caller.
        code: Why, such as "rate_limit_exceeded".
        status: HTTP status of the answer.
        quota: Name of the quota that refused; "" if none did.
        tier: Level of the caller's tier; None where nobody knows the caller.
        model: Its name in the price book, else what the client wrote.
        dialect: Name of the dialect.
        began_ns: When the request came.
        ended_ns: When it was refused.
    """

    id: str
    account_id: str | None
    code: str
    status: int
    quota: str
    tier: int | None
    model: str
    dialect: str
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """One look at a process of a service.

    Attributes:
        holds_open: Calls that hold something; None where the store does not tell.
        settlements_owed: Ended calls that the store of limits has not heard of.
        limits_away: Whether the store of limits does not answer.
        windows_away: Whether the storage of windows does not answer.
        journal_unposted: Ended calls that are not in the ledger yet.
        journal_lag_ns: Age of the oldest of them; 0 if there is none.
        journal_backlog: Ended calls whose line waits in memory for the disk.
        journal_lost: Ended calls that found no room to wait for it.
        journal_full: Whether new calls are refused for the journal's sake.
        posting_fails: Whether the ledger takes no charges.
        outbox: Messages that wait, by destination; None: the ledger does not tell.
        pools: What each adaptive pool is doing.
        models: "cold", "warming" or "warm", by each model that was asked for lately.
    """

    holds_open: int | None = None
    settlements_owed: int = 0
    limits_away: bool = False
    windows_away: bool = False
    journal_unposted: int = 0
    journal_lag_ns: int = 0
    journal_backlog: int = 0
    journal_lost: int = 0
    journal_full: bool = False
    posting_fails: bool = False
    outbox: Mapping[str, int] | None = field(default_factory=dict)
    pools: Mapping[str, Explanation] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


class Observer:
    """Is told of calls; does nothing with it. Exporters override what they need.

    The methods run on the way of calls, so they must be quick and never block.
    """

    def begin(self, models: Iterable[str]) -> None:
        """Learn the names in the price book; clients may write any others."""

    def call_ended(self, event: UsageEvent, headers: Headers) -> None:
        """Learn that a call has ended, after it was recorded.

        Args:
            event: Its record; flagged `recovered` if its process died before its end.
            headers: Those of its request; none of a recovered one.
        """

    def call_refused(self, refused: RefusedCall, headers: Headers) -> None:
        """Learn that a call was refused, before it is answered."""

    def limits_asked(self, took_ns: int, *, answered: bool) -> None:
        """Learn how long a shared store of limits took to admit or refuse a call."""

    def state_seen(self, state: ServiceState) -> None:
        """Learn what there is to see of the process, every ten seconds while it runs.

        It is looked at for those who override this, and were given to the service when
        it was made.
        """


class Observers(Observer):
    """Tells all that observe a service; one that fails stops neither call nor others.

    Args:
        observers: Who is told.
        models: The names in the price book.

    Attributes:
        told: Whether there is anybody: who calls asks this first, and pays no more.
        watches: Whether anybody wants to know the state of the process.
    """

    __slots__ = ("_all", "_failed", "_models", "told", "watches")

    def __init__(
        self, observers: Iterable[Observer] = (), models: Iterable[str] = ()
    ) -> None:
        self._all: list[Observer] = []
        self._failed: set[int] = set()
        self._models = tuple(models)
        self.told = self.watches = False
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Tell one more from now on."""
        observer.begin(self._models)
        self._all.append(observer)
        self.told = True
        self.watches |= type(observer).state_seen is not Observer.state_seen

    def call_ended(self, event: UsageEvent, headers: Headers) -> None:
        """Tell of a call that has ended."""
        for observer in self._all:
            try:
                observer.call_ended(event, headers)
            except Exception as error:  # noqa: BLE001 - the call was served
                self._note_failed(observer, error)

    def call_refused(self, refused: RefusedCall, headers: Headers) -> None:
        """Tell of a call that was refused."""
        for observer in self._all:
            try:
                observer.call_refused(refused, headers)
            except Exception as error:  # noqa: BLE001 - it must be answered
                self._note_failed(observer, error)

    def limits_asked(self, took_ns: int, *, answered: bool) -> None:
        """Tell how long a shared store of limits took."""
        for observer in self._all:
            try:
                observer.limits_asked(took_ns, answered=answered)
            except Exception as error:  # noqa: BLE001 - the call was decided
                self._note_failed(observer, error)

    def state_seen(self, state: ServiceState) -> None:
        """Tell what there is to see of the process."""
        for observer in self._all:
            try:
                observer.state_seen(state)
            except Exception as error:  # noqa: BLE001 - it is the next one's turn
                self._note_failed(observer, error)

    def _note_failed(self, observer: Observer, error: Exception) -> None:
        """Say so once for each observer: it may fail with every call."""
        if id(observer) not in self._failed:
            self._failed.add(id(observer))
            _log.error(
                "observer_failed",
                observer=type(observer).__name__,
                error=f"{type(error).__name__}: {error}",
            )
