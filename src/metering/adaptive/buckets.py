"""The limit of one account as a quota that any limit store can enforce.

The quota counts thousandths of a request, for a limit is seldom a whole number of
requests a minute. How many may pass at once is ten seconds' worth, at least one
request, and up to one more: a share that is fixed for the account. Without that share
a cut would let all accounts run dry, and be let in again, at the same instants.
"""

from collections import OrderedDict
from zlib import crc32

from metering.clock import NS_PER_S, NS_PER_US
from metering.quota import RateQuota, Verdict, decide_rate

__all__ = ["REQUEST_COST", "AccountBuckets", "account_quota"]

REQUEST_COST = 1000
"""What one request costs of an `account_quota`."""

_BURST_S = 10


def account_quota(account_id: str, limit_rpm: float) -> RateQuota:
    """Return the quota of an account at a published limit.

    Args:
        account_id: Whose quota.
        limit_rpm: Requests a minute, as published.
    """
    amount = max(1, round(limit_rpm * REQUEST_COST))
    phase = crc32(account_id.encode()) % REQUEST_COST
    burst = max(REQUEST_COST, amount * _BURST_S // 60) + phase
    return RateQuota(amount, 60 * NS_PER_S, burst)


class AccountBuckets:
    """Account limits of one process, where no limit store keeps them.

    Args:
        accounts_max: Most accounts; beyond it the longest silent is forgotten.
    """

    def __init__(self, accounts_max: int = 100_000) -> None:
        self._max = accounts_max
        self._dues_us: OrderedDict[str, int] = OrderedDict()

    def take(self, account_id: str, limit_rpm: float, now_ns: int) -> Verdict:
        """Take one request from an account; a refusal takes nothing."""
        quota = account_quota(account_id, limit_rpm)
        now_us = now_ns // NS_PER_US
        # A backlog above the burst was made at a lower limit: it counts as "empty".
        due_us = min(self._dues_us.get(account_id, 0), now_us + quota.burst_us)
        verdict, due_us = decide_rate(quota, due_us, REQUEST_COST, now_us)
        if verdict.granted:
            self._dues_us[account_id] = due_us
            self._dues_us.move_to_end(account_id)
            if len(self._dues_us) > self._max:
                self._dues_us.popitem(last=False)
        return verdict

    def give_back(self, account_id: str, limit_rpm: float) -> None:
        """Give back one request of a call that was taken but never went upstream."""
        due_us = self._dues_us.get(account_id)
        if due_us is not None:
            quota = account_quota(account_id, limit_rpm)
            self._dues_us[account_id] = due_us - quota.span_us(REQUEST_COST)
