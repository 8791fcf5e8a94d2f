"""What all accounts used by day; days that are over are read again now and then."""

from datetime import date, timedelta
from threading import Lock

from metering.clock import NS_PER_S, Clock
from metering.ledger import day_at
from metering.stores import Ledger, UsageDay

__all__ = ["KEPT_NS", "OLD_DAYS", "OLD_KEPT_NS", "PastDays"]

KEPT_NS = 300 * NS_PER_S
"""How old an answer of days that are over may be: calls that are told late change
them."""

OLD_DAYS = 7
OLD_KEPT_NS = 3600 * NS_PER_S
"""How old an answer of days may be that are this many days past."""

KEPT_MAX = 24
"""Answers that are kept, the latest read; names of models come from clients."""

_DAY_NS = 86_400 * NS_PER_S

_Asked = tuple[str, str, str | None]


class PastDays:
    """Reads usage of all accounts together; safe in worker threads.

    A month of 10,000 accounts is some 200,000 rows to add up, of which the days that
    have begun in any time zone since yesterday are few.

    Args:
        ledger: Where it is read.
        clock: The node's clock.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._keeping = Lock()
        self._kept: dict[_Asked, tuple[int, list[UsageDay]]] = {}

    def read(
        self, first_day: str, last_day: str, *, model: str | None = None
    ) -> list[UsageDay]:
        """Return what all accounts used, by day and model; see `Ledger.days_of_all`.

        Days before yesterday (UTC) may be five minutes old; those more than a week
        past, an hour.
        """
        now_ns = self._clock()
        recent, yesterday = (day_at(now_ns - days * _DAY_NS) for days in (OLD_DAYS, 1))
        return [
            *self._read(first_day, min(last_day, _before(recent)), model, OLD_KEPT_NS),
            *self._read(
                max(first_day, recent),
                min(last_day, _before(yesterday)),
                model,
                KEPT_NS,
            ),
            *self._read(max(first_day, yesterday), last_day, model, 0),
        ]

    def _read(
        self, first_day: str, last_day: str, model: str | None, kept_ns: int
    ) -> list[UsageDay]:
        """Return those days, at most so old."""
        if first_day > last_day:
            return []
        asked, now_ns = (first_day, last_day, model), self._clock()
        kept = self._kept.get(asked)
        if kept is not None and now_ns - kept[0] < kept_ns:
            return kept[1]
        days = self._ledger.days_of_all(first_day, last_day, model=model)
        if kept_ns:
            with self._keeping:
                self._kept.pop(asked, None)
                if len(self._kept) >= KEPT_MAX:
                    del self._kept[next(iter(self._kept))]
                self._kept[asked] = now_ns, days
        return days


def _before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()
