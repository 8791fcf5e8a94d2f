"""The accounts that asked of late, and how much each was let through."""

import math
from collections import OrderedDict
from dataclasses import dataclass

from metering.clock import NS_PER_S

__all__ = ["RecentAccounts"]

_USE_TAU_S = 60.0


@dataclass(slots=True)
class _Use:
    asked_ns: int
    sent: float = 0.0
    sent_ns: int = 0

    def at(self, now_ns: int) -> float:
        """Calls sent in about the last minute."""
        idle_s = (now_ns - self.sent_ns) / NS_PER_S
        return self.sent * math.exp(-idle_s / _USE_TAU_S)


class RecentAccounts:
    """Accounts by their last request, the longest silent first.

    Args:
        seen_s: How long an account is remembered after its last request.
        accounts_max: Most accounts; beyond it the longest silent is forgotten.
    """

    def __init__(self, seen_s: float, accounts_max: int) -> None:
        self._seen_ns = round(seen_s * NS_PER_S)
        self._max = accounts_max
        self._uses: OrderedDict[str, _Use] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def asked(self, account_id: str, now_ns: int) -> None:
        """Remember that an account asked."""
        use = self._uses.get(account_id)
        if use is None:
            self._uses[account_id] = _Use(now_ns)
            if len(self._uses) > self._max:
                self._uses.popitem(last=False)
        else:
            use.asked_ns = now_ns
            self._uses.move_to_end(account_id)

    def sent(self, account_id: str, now_ns: int) -> None:
        """Remember that a call of an account went upstream."""
        use = self._uses.get(account_id)
        if use is not None:
            use.sent, use.sent_ns = use.at(now_ns) + 1.0, now_ns

    def used(self, account_id: str, now_ns: int) -> float:
        """Return about how many calls of an account went upstream in a minute."""
        use = self._uses.get(account_id)
        return 0.0 if use is None else use.at(now_ns)

    def forget(self, now_ns: int) -> None:
        """Forget who has been silent for long."""
        while self._uses:
            account_id, use = next(iter(self._uses.items()))
            if now_ns - use.asked_ns <= self._seen_ns:
                return
            del self._uses[account_id]
