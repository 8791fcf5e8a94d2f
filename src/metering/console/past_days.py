"""What all accounts used by day; days that are over are read again now and then."""

from datetime import date, timedelta
from threading import Lock

from metering.clock import NS_PER_S, Clock
from metering.ledger import day_at
from metering.stores import Ledger, UsageDay

__all__ = ["KEPT_BY_AGE_NS", "KEPT_MAX", "PastDays"]

KEPT_BY_AGE_NS = {
    1: 60 * NS_PER_S,
    2: 300 * NS_PER_S,
    8: 3600 * NS_PER_S,
}
"""How old an answer may be about days that are at least so many days past: calls that
are told late change them. Days that have just begun are always read."""

KEPT_MAX = 24
"""Answers that are kept, the latest read; names of models come from clients."""

_DAY_NS = 86_400 * NS_PER_S

_Asked = tuple[str, str, str | None]


class PastDays:
    """Reads usage of all accounts together; safe in worker threads.

    A month of 10,000 accounts is some 200,000 rows to add up, those of one day some
    10,000.

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

        Yesterday (UTC) may be a minute old, days before it five minutes, and those more
        than a week past an hour.
        """
        now_ns, kept_ns = self._clock(), 0
        found: list[list[UsageDay]] = []
        for age, older_kept_ns in KEPT_BY_AGE_NS.items():
            end = day_at(now_ns - age * _DAY_NS)
            first = max(first_day, _after(end))
            found.append(self._read(first, last_day, model, kept_ns))
            last_day, kept_ns = min(last_day, end), older_kept_ns
        found.append(self._read(first_day, last_day, model, kept_ns))
        return [day for days in reversed(found) for day in days]

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


def _after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
