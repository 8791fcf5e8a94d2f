"""Calls of a month as the ledger has them, as if they had been exported."""

from collections.abc import Iterator

from metering.accounts import Account
from metering.cli.exported import Exported
from metering.ledger import period_named, period_of
from metering.stores import Ledger

__all__ = ["read_ledger"]

_PAGE = 500


def read_ledger(ledger: Ledger, period: str) -> Iterator[Exported]:
    """Yield the calls of all accounts in a period, as they were posted.

    It blocks: call it in a thread.

    Args:
        ledger: Where they are.
        period: A month, such as "2026-01": of each account the one that begins in it,
            by its own calendar.

    Raises:
        ConfigurationError: It names no period.
    """
    after = ""
    while accounts := ledger.accounts(after=after, limit=_PAGE):
        for account in accounts:
            yield from _of_account(ledger, account, period)
        after = accounts[-1].id


def _of_account(ledger: Ledger, account: Account, period: str) -> Iterator[Exported]:
    # Whatever day its months begin on, the month's last instant is in the right one.
    month = period_named(period, account.time_zone)
    key = period_of(account, month.end_ns - 1).key
    place = -1, ""
    find = ledger.standings_of_period
    while calls := find(account.id, key, after=place, limit=_PAGE):
        for each in calls:
            event = each.event
            yield Exported(
                account_id=event.account_id,
                model=event.model,
                admitted_ns=event.admitted_ns,
                ended_ns=event.ended_ns,
                usage=event.usage,
                tier=event.tier,
                charge_p=event.charge_p,
                output_tokens_max=event.output_tokens_max or None,
                key_id=event.key_id,
            )
        place = calls[-1].event.admitted_ns, calls[-1].event.id
