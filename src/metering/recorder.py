"""Where calls are recorded: the journal, and what brings it into the ledger."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from metering.clock import Clock
from metering.journal import Journal, RefusedEvent, SetAside, adopt_orphans
from metering.ledger import Alert, notice_kind
from metering.log import Log
from metering.money import format_usd
from metering.shipper import ShipFault, Shipper
from metering.stores import LedgerWriter, PostReport
from metering.usage import UsageEvent

__all__ = ["OnLeft", "Recorder"]

OnLeft = Callable[[Sequence[UsageEvent]], None]
"""Is told of calls that a process has left behind which is gone."""

_log = Log()


class Recorder:
    """The journal of a process with its way into the ledger; operators hear of faults.

    Args:
        data: The data home.
        ledger: Where calls are posted.
        clock: The node's clock.
        sync_ms: The first unsynced line of the journal waits no longer than this.

    Attributes:
        journal: Where calls are written as they begin and end.
    """

    def __init__(
        self, data: Path, ledger: LedgerWriter, *, clock: Clock, sync_ms: int
    ) -> None:
        self._data = data
        self.journal = Journal(data, clock=clock, sync_ms=sync_ms)
        self._ledger = ledger
        self._post = SetAside(data, self._alerting, on_refused=_tell_refused).post
        self._shipper = Shipper(self.journal, self._post, on_fault=_tell_shipping)

    def start(self, on_left: OnLeft = lambda _: None) -> None:
        """Post what processes have left that are gone, and begin to ship.

        Args:
            on_left: Told of the calls of each batch of theirs, once it is posted and
                before their journal is deleted.

        Raises:
            StorageError: The ledger cannot be written to.
        """

        def post(events: Sequence[UsageEvent]) -> PostReport:
            report = self._post(events)
            on_left(events)
            return report

        adopted = adopt_orphans(self._data, post)
        if adopted.owners:
            _log.info(
                "journal_adopted",
                owners=adopted.owners,
                closed=adopted.closed,
                recovered=adopted.recovered,
                damaged=adopted.damaged,
            )
        self._shipper.start()

    @property
    def posting_fails(self) -> bool:
        """Whether the ledger takes no charges, as far as is known."""
        return self._shipper.fails

    def flush(self, timeout_s: float) -> bool:
        """Wait until all calls that have ended are in the ledger; say if so."""
        return self._shipper.flush(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Post what there is, as far as the time allows; the rest stays on disk."""
        if not self._shipper.stop(timeout_s):
            _log.warning("journal_not_posted", data=str(self._data))
        self.journal.close()

    def _alerting(self, events: Sequence[UsageEvent]) -> PostReport:
        """Post a batch and log whom it has alerted."""
        report = self._ledger.post(events)
        with suppress(Exception):  # a log that fails must not stop charges
            for alert in report.alerts:
                _tell_alert(alert)
        return report


_SHIPPING_TOLD: dict[ShipFault, str] = {
    "down": "ledger_down",
    "failing": "posting_failing",
    "up": "ledger_up",
    "conflict": "journal_conflict",
    "damaged": "journal_damaged",
    "disk_failing": "journal_disk_failing",
    "disk_up": "journal_disk_up",
    "lost": "journal_calls_lost",
}


def _tell_shipping(kind: ShipFault, error: Exception | None) -> None:
    if error is None:
        _log.info(_SHIPPING_TOLD[kind])
    else:
        _log.error(_SHIPPING_TOLD[kind], error=str(error), kind=type(error).__name__)


def _tell_alert(alert: Alert) -> None:
    of = alert.allowance
    _log.warning(
        "account_alerted",
        account=of.account_id,
        about=notice_kind(alert),
        period=of.period,
        threshold_percent=alert.threshold,
        used_usd=format_usd(of.used_p),
        limit_usd=format_usd(of.limit_p),
    )


def _tell_refused(refused: RefusedEvent, kept: bool) -> None:  # noqa: FBT001 - a callback
    event = refused.event
    _log.error(
        "event_set_aside",
        id=event.id,
        account=event.account_id,
        period=event.period,
        charge_usd=format_usd(event.charge_p),
        reason=refused.reason,
        kept=kept,
    )
