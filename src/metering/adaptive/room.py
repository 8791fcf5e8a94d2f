"""The waiting room: short, bounded, first come first served, fair when it is full."""

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Waiter", "WaitingRoom"]


@dataclass(frozen=True, slots=True)
class Waiter:
    """A call that waits for the gate.

    Attributes:
        use: How much its account had of late, calls that waited already included.
    """

    request_id: str
    account_id: str
    input_tokens: int
    streams: bool
    since_ns: int
    use: float


class WaitingRoom:
    """Calls of one class that wait, by the time they came.

    Args:
        wait_max_ns: Longest stay.
    """

    def __init__(self, wait_max_ns: int) -> None:
        self._wait_max_ns = wait_max_ns
        self._waiters: OrderedDict[str, Waiter] = OrderedDict()
        self._per_account: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiters

    def waiting(self, account_id: str) -> int:
        """Return how many calls of an account wait."""
        return self._per_account.get(account_id, 0)

    def enter(self, waiter: Waiter) -> None:
        """Let a call wait, behind all others."""
        self._waiters[waiter.request_id] = waiter
        self._per_account[waiter.account_id] = self.waiting(waiter.account_id) + 1

    def leave(self, request_id: str) -> Waiter | None:
        """Take out a call wherever it stands; None if it does not wait."""
        waiter = self._waiters.pop(request_id, None)
        if waiter is not None:
            left = self._per_account[waiter.account_id] - 1
            if left:
                self._per_account[waiter.account_id] = left
            else:
                del self._per_account[waiter.account_id]
        return waiter

    def first(self) -> Waiter:
        """Take out who came first; somebody must wait."""
        waiter = next(iter(self._waiters.values()))
        self.leave(waiter.request_id)
        return waiter

    def evict(self) -> Waiter:
        """Take out the newest call of who had most; somebody must wait."""
        most = -1.0
        evicted = ""
        for waiter in self._waiters.values():
            if waiter.use >= most:
                most, evicted = waiter.use, waiter.request_id
        waiter = self._waiters[evicted]
        self.leave(evicted)
        return waiter

    def overdue(self, now_ns: int) -> list[Waiter]:
        """Take out all who have waited as long as they may."""
        late: list[Waiter] = []
        for waiter in self._waiters.values():
            if now_ns - waiter.since_ns < self._wait_max_ns:
                break
            late.append(waiter)
        for waiter in late:
            self.leave(waiter.request_id)
        return late
