"""One class of calls at the gate: who waits, who asked of late, what just happened."""

from math import ceil

from metering.adaptive.law import Second
from metering.adaptive.recent import RecentAccounts
from metering.adaptive.room import WaitingRoom
from metering.adaptive.settings import AdaptiveSettings
from metering.clock import NS_PER_S

__all__ = ["Lane"]

_ROOM_MIN = 2
_SENT_MIN = 0.5
_SENT_WEIGHT = 0.3


class Lane:
    """The room, the accounts and the present second of one class.

    Args:
        settings: Of the pool.
        klass: Which of its classes.
    """

    def __init__(self, settings: AdaptiveSettings, klass: int) -> None:
        own = settings.classes[klass]
        self.wait_max_ns = own.wait_max_ns
        self.waiting_max = settings.waiting_max
        self.room = WaitingRoom(own.wait_max_ns)
        self.recent = RecentAccounts(settings.tuning.seen_s, settings.accounts_max)
        self.sent_per_s = 0.0
        self.second = Second()
        self.made_wait = False

    @property
    def room_max(self) -> int:
        """Calls that may wait: as many as go upstream in the longest stay."""
        stay_s = self.wait_max_ns / NS_PER_S
        some = int(stay_s * max(_SENT_MIN, self.sent_per_s))
        return min(self.waiting_max, max(_ROOM_MIN, some))

    @property
    def retry_after_ns(self) -> int:
        """When who is refused may come back: three times the room's wait, >= 1 s."""
        wait_s = len(self.room) / max(_SENT_MIN, self.sent_per_s)
        return max(1, ceil(3 * wait_s)) * NS_PER_S

    def close_second(self, now_ns: int) -> Second:
        """Return the second that ends, and begin the next."""
        self.recent.forget(now_ns)
        ended = self.second
        self.sent_per_s += _SENT_WEIGHT * (ended.sent - self.sent_per_s)
        self.second = Second()
        self.made_wait = False
        return ended
