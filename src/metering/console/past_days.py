"""What all accounts used by day; days that are over are read again now and then."""

from metering.clock import NS_PER_S, Clock
from metering.ledger import day_at
from metering.stores import Ledger, UsageDay

__all__ = ["KEPT_NS", "PastDays"]

KEPT_NS = 300 * NS_PER_S
"""How old an answer of days that are over may be: calls that are told late, and
corrections, change them."""

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
        self._kept: dict[_Asked, tuple[int, list[UsageDay]]] = {}

    def read(
        self, first_day: str, last_day: str, *, model: str | None = None
    ) -> list[UsageDay]:
        """Return what all accounts used, by day and model; see `Ledger.days_of_all`.

        Days before yesterday (UTC) may be five minutes old.
        """
        now_ns = self._clock()
        yesterday = day_at(now_ns - _DAY_NS)
        over = day_at(now_ns - 2 * _DAY_NS)
        days: list[UsageDay] = []
        if first_day < yesterday:
            days += self._over((first_day, min(last_day, over), model), now_ns)
        if last_day >= yesterday:
            since = max(first_day, yesterday)
            days += self._ledger.days_of_all(since, last_day, model=model)
        return days

    def _over(self, asked: _Asked, now_ns: int) -> list[UsageDay]:
        kept = self._kept.get(asked)
        if kept is not None and now_ns - kept[0] < KEPT_NS:
            return kept[1]
        first_day, last_day, model = asked
        days = self._ledger.days_of_all(first_day, last_day, model=model)
        self._kept.pop(asked, None)
        while len(self._kept) >= KEPT_MAX:
            self._kept.pop(next(iter(self._kept), asked), None)
        self._kept[asked] = now_ns, days
        return days
