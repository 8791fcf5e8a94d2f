"""Whatever is written to the ledger, with what is told of it, in one transaction."""

from collections.abc import Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from metering.accounts import Account, TierBook
from metering.backends.sql import alerts, identity, money, outbox, posting
from metering.ledger import (
    USAGE_RECORDED,
    CreditGrant,
    Notice,
    Notices,
    Payment,
    notice_of_alert,
    notice_of_payment,
    notice_of_suspension,
    notice_of_tier,
    notice_of_usage,
)
from metering.stores import AccountChange, PaymentReport, PostReport
from metering.usage import UsageEvent

__all__ = ["Telling"]


class Telling:
    """Writes to the ledger and tells of it; each method is part of a transaction.

    Args:
        tiers: The tier book that payments are judged by.
        notices: What is told, and whom.
    """

    def __init__(self, tiers: TierBook, notices: Notices) -> None:
        self._tiers = tiers
        self._notices = notices
        self._tells_usage = bool(notices.destinations(USAGE_RECORDED))

    def post(self, connection: Connection, events: Sequence[UsageEvent]) -> PostReport:
        """Post a batch of events."""
        report = posting.post(connection, events)
        if not (self._tells_usage or self._notices.thresholds):
            return report
        new = set(report.posted)
        # Of two with one id the first was posted.
        fresh = {event.id: event for event in reversed(events) if event.id in new}
        if self._tells_usage:
            outbox.add(connection, map(notice_of_usage, fresh.values()), self._notices)
        fired = alerts.fire(
            connection, fresh.values(), self._tiers, self._notices.thresholds
        )
        if not fired:
            return report
        outbox.add(connection, map(notice_of_alert, fired), self._notices)
        return replace(report, alerts=tuple(fired))

    def record_payment(self, connection: Connection, payment: Payment) -> PaymentReport:
        """Record a payment."""
        identity.lock(connection, payment.account_id)
        before = identity.get(connection, payment.account_id)
        report = money.record_payment(connection, payment, self._tiers)
        if not report.new:
            return report
        told = [notice_of_payment(payment)]
        told += self._of_account(before, report.account, payment.at_ns)
        outbox.add(connection, told, self._notices)
        if report.account.lifetime_paid_p > before.lifetime_paid_p:
            self._pass_over(connection, report.account, payment.at_ns)
        return report

    def grant_credit(
        self, connection: Connection, grant: CreditGrant
    ) -> tuple[Account, bool]:
        """Grant credit."""
        account, new = money.grant_credit(connection, grant, self._tiers)
        if new:
            self._pass_over(connection, account, grant.effective_ns)
        return account, new

    def change(
        self,
        connection: Connection,
        account_id: str,
        change: AccountChange,
        now_ns: int,
    ) -> Account:
        """Change an account."""
        before = identity.get(connection, account_id, to_write=True)
        after = identity.change(connection, account_id, change, self._tiers, now_ns)
        outbox.add(connection, self._of_account(before, after, now_ns), self._notices)
        return after

    def _of_account(self, before: Account, after: Account, at_ns: int) -> list[Notice]:
        told: list[Notice] = []
        was, now = (self._tiers.tier_of(each, at_ns) for each in (before, after))
        if was.level != now.level:
            told.append(notice_of_tier(after, was, now, at_ns))
        if after.suspended and not before.suspended:
            told.append(notice_of_suspension(after, at_ns))
        return told

    def _pass_over(self, connection: Connection, account: Account, now_ns: int) -> None:
        """Let money that has come in be followed by no alert at what was used before.

        The limit, the credit or the epoch is another one now, whose thresholds nobody
        has passed yet.
        """
        thresholds = self._notices.thresholds
        if thresholds:
            alerts.pass_over(connection, account, self._tiers, thresholds, now_ns)
