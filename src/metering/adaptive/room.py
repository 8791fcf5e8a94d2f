"""The waiting room: short, bounded, first come first served, fair when it is full."""

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Call", "WaitingRoom"]


@dataclass(slots=True)
class Call:
    """A call, from when it asks until it ends.

    Attributes:
        request_id: Its name.
        account_id: Whose it is.
        input_tokens: Size of its prompt.
        streams: Whether it asks for a stream.
        waits_ns: When it began to wait.
        use: How much its account had of late, calls that waited already included.
        sent_ns: When it went upstream.
        awaited: Whether its first byte is awaited.
        unloaded: Whether it went while next to nobody waited.
    """

    request_id: str
    account_id: str
    input_tokens: int
    streams: bool
    waits_ns: int = 0
    use: float = 0.0
    sent_ns: int = 0
    awaited: bool = False
    unloaded: bool = False


class WaitingRoom:
    """Calls of one class that wait, by the time they came.

    Args:
        wait_max_ns: Longest stay.
    """

    def __init__(self, wait_max_ns: int) -> None:
        self._wait_max_ns = wait_max_ns
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._per_account: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def enter(self, call: Call, used: float, now_ns: int) -> None:
        """Let a call of an account that had *used* of late wait, behind all others."""
        waiting = self._per_account.get(call.account_id, 0)
        call.use, call.waits_ns = used + waiting, now_ns
        self._calls[call.request_id] = call
        self._per_account[call.account_id] = waiting + 1

    def leave(self, request_id: str) -> Call | None:
        """Take out a call wherever it stands; None if it does not wait."""
        call = self._calls.pop(request_id, None)
        if call is not None:
            left = self._per_account[call.account_id] - 1
            if left:
                self._per_account[call.account_id] = left
            else:
                del self._per_account[call.account_id]
        return call

    def first(self) -> Call:
        """Take out who came first; somebody must wait."""
        call = next(iter(self._calls.values()))
        self.leave(call.request_id)
        return call

    def evict(self) -> Call:
        """Take out the newest call of who had most; somebody must wait."""
        most = -1.0
        evicted = ""
        for call in self._calls.values():
            if call.use >= most:
                most, evicted = call.use, call.request_id
        call = self._calls[evicted]
        self.leave(evicted)
        return call

    def overdue(self, now_ns: int) -> list[Call]:
        """Take out all who have waited as long as they may."""
        late: list[Call] = []
        for call in self._calls.values():
            if now_ns - call.waits_ns < self._wait_max_ns:
                break
            late.append(call)
        for call in late:
            self.leave(call.request_id)
        return late
