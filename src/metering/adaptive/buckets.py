"""The limit of one account as a quota that any limit store can enforce.

The quota counts thousandths of a request, for a limit is seldom a whole number of
requests a minute. What may pass at once is what refills in a minute or so, at least one
request. The time is the same at each limit, so that a limit that moves keeps the share
that was used. It is not the same for each account: else a cut would let all of them run
dry, and be let in again, at the same instants.
"""

from collections import OrderedDict
from zlib import crc32

from metering.adaptive.settings import AdaptiveSettings
from metering.clock import NS_PER_S, NS_PER_US
from metering.quota import RateQuota, Verdict, decide_rate

__all__ = ["REQUEST_COST", "AccountBuckets", "account_quota"]

REQUEST_COST = 1000
"""What one request costs of an `account_quota`."""

_MINUTE_NS = 60 * NS_PER_S


def account_quota(
    account_id: str, limit_rpm: float, burst_ns: int = _MINUTE_NS
) -> RateQuota:
    """Return the quota of an account at a published limit.

    Args:
        account_id: Whose quota.
        limit_rpm: Requests a minute, as published.
        burst_ns: Time in which the mean account's burst refills. An account's own is
            from three to five quarters of that, always the same.
    """
    amount = max(1, round(limit_rpm * REQUEST_COST))
    own = 3000 + crc32(account_id.encode()) % 2001
    burst = amount * burst_ns * own // (4000 * _MINUTE_NS)
    return RateQuota(amount, _MINUTE_NS, max(REQUEST_COST, burst))


class AccountBuckets:
    """Account limits of one process, where no limit store keeps them.

    Args:
        settings: Most accounts, beyond which the longest silent is forgotten, and
            the time in which a burst refills.
    """

    def __init__(self, settings: AdaptiveSettings) -> None:
        self._max = settings.accounts_max
        self._burst_ns = settings.burst_ns
        self._dues_us: OrderedDict[str, int] = OrderedDict()

    def take(self, account_id: str, limit_rpm: float, now_ns: int) -> Verdict:
        """Take one request from an account; a refusal takes nothing."""
        quota = account_quota(account_id, limit_rpm, self._burst_ns)
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
            quota = account_quota(account_id, limit_rpm, self._burst_ns)
            self._dues_us[account_id] = due_us - quota.span_us(REQUEST_COST)
