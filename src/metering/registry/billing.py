"""What an operator does with payments and credit, and what was used."""

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from anyio import to_thread

from metering.accounts import Account
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S, Clock
from metering.errors import ConfigurationError, StorageError
from metering.ledger import (
    CreditGrant,
    CreditState,
    Payment,
    PaymentKind,
    PeriodState,
    checked_credit_reference,
    checked_priority,
    period_named,
    period_of,
)
from metering.limiter import Limiter
from metering.log import Log
from metering.money import format_usd, parse_usd
from metering.pricing import PriceBook
from metering.registry.change import Change
from metering.registry.invoicing import Invoicing
from metering.stores import ChargedEvent, Ledger, UsageDay, UsageTotal

__all__ = ["Billing"]

EXPIRED_AFTER_NS = 24 * 3600 * NS_PER_S
"""How long after the end of credit its rest is booked as expired: calls that were
admitted before the end have been posted by then."""

_log = Log()

_T = TypeVar("_T")


class Billing(Invoicing):
    """Payments, credit, invoices and what was used. Reached as `Metering.billing`."""

    def __init__(
        self,
        ledger: Ledger,
        change: Change,
        limiter: Limiter,
        *,
        clock: Clock,
        prices: PriceBook,
        settle_ns: int,
    ) -> None:
        super().__init__(ledger, clock=clock, settle_ns=settle_ns)
        self._change = change
        self._limiter = limiter
        self._prices = prices

    async def record_payment(
        self,
        account_id: str,
        *,
        usd: str,
        reference: str,
        kind: PaymentKind,
        refers_to: str | None = None,
    ) -> Account:
        """Record money that has come or gone back, once a reference.

        The tier may rise or fall with it. Record what is settled: a payment that may
        yet fail is none.

        Args:
            account_id: Who paid.
            usd: Dollars, as a decimal string.
            reference: The payment processor's id.
            kind: `invoice`, `credit_purchase` or `early_payment`; `refund` or
                `chargeback` where one of them was taken back, in part or whole.
            refers_to: The reference of the payment that was taken back; of an invoice
                payment, the invoice.

        Returns:
            The account as it is now.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The amount or the kind cannot be, or it is not said what
                was taken back.
            LedgerError: The reference is known with another account, kind or amount, or
                more was taken back than that account had paid.
        """
        if kind not in PaymentKind.__args__:  # type: ignore[attr-defined]
            kinds = ", ".join(PaymentKind.__args__)  # type: ignore[attr-defined]
            raise ConfigurationError(f"Payment kind {kind!r} is not one of: {kinds}.")
        payment = Payment(
            reference=reference,
            account_id=account_id,
            kind=kind,
            amount_p=parse_usd(usd),
            at_ns=self._clock(),
            refers_to=refers_to,
        ).checked()
        before = await to_thread.run_sync(self._ledger.get, account_id)
        made_ns = await to_thread.run_sync(self._made_ns, payment)
        period = period_of(before, made_ns).key
        demand = usage_limit_demand(account_id, period, 0, 0)
        # The budget is not seeded meanwhile: its seed would have the payment already.
        async with self._limiter.seeding(demand.key):
            # Nor is it by another process: the store knows it before it is paid.
            knew = await self._know(demand.key)
            paid = await to_thread.run_sync(self._ledger.record_payment, payment)
            # Who recorded it before may have been killed before it made room.
            owed = paid.new or (knew and self._limiter.remembers(made_ns))
            if paid.freed_p and owed:
                await self._limiter.relieve(demand, paid.freed_p, reference=reference)
        account = paid.account
        await self._change.tell(account)
        _log.info(
            "payment_recorded",
            account=account_id,
            reference=reference,
            kind=kind,
            usd=format_usd(payment.amount_p),
            new=paid.new,
        )
        was, now = (
            self._ledger.tiers.tier_of(each, payment.at_ns)
            for each in (before, account)
        )
        if was != now:
            _log.info("tier_changed", account=account_id, before=was.name, now=now.name)
        return account

    def _made_ns(self, payment: Payment) -> int:
        """Return when a payment that makes room was made, or one that had made it."""
        made_ns = payment.at_ns
        made_by = payment.refers_to if payment.takes_back else payment.reference
        for paid in self._ledger.payments(payment.account_id):
            if paid.reference == made_by:
                made_ns = paid.at_ns
        return made_ns

    async def _know(self, key: str) -> bool:
        """Have the store know a budget; say whether it did before."""
        try:
            return await self._limiter.know(key)
        except StorageError as error:
            # The money has come all the same; room is made when the store is back.
            _log.warning("limits_not_read", key=key, error=str(error))
            return False

    async def grant_credit(
        self,
        account_id: str,
        *,
        usd: str,
        reference: str,
        expires_ns: int | None = None,
        models: Collection[str] | None = None,
        priority: int = 50,
    ) -> Account:
        """Give promotional credit, once a reference.

        Args:
            account_id: Who gets it.
            usd: Dollars, as a decimal string; above 0.
            reference: Your own name for it, unique within the account.
            expires_ns: The first instant at which new calls may not draw on it.
            models: The models it pays for; None: for any.
            priority: Credit with a lower one is drawn first; what was bought has 50.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The amount, the reference or the end cannot be, or a
                model is not in the plan.
            LedgerError: The reference is known with another amount, end, priority or
                other models.
        """
        for name in models or ():
            at = f"Credit {reference!r} of {account_id!r}: models[{name!r}]"
            self._prices.checked_name(name, at)
        grant = CreditGrant(
            id=checked_credit_reference(reference),
            account_id=account_id,
            kind="promo",
            amount_p=parse_usd(usd),
            effective_ns=self._clock(),
            expires_ns=expires_ns,
            models=None if models is None else tuple(sorted(models)),
            priority=checked_priority(priority),
        )
        account, new = await to_thread.run_sync(self._ledger.grant_credit, grant)
        await self._change.tell(account)
        _log.info(
            "credit_granted",
            account=account_id,
            reference=reference,
            usd=format_usd(grant.amount_p),
            new=new,
        )
        return account

    async def expire_credit(self) -> int:
        """Book as expired what is left of credit that ended a day ago or earlier.

        A running service does so every hour. The day lets calls that were admitted
        before the end be posted; one that comes later still is owed or debt.

        Returns:
            Of how many grants something expired.
        """
        now_ns = self._clock()
        expire = partial(
            self._ledger.expire_credit,
            ended_by_ns=now_ns - EXPIRED_AFTER_NS,
            now_ns=now_ns,
        )
        expired = await to_thread.run_sync(expire)
        if expired:
            _log.info("credit_expired", grants=expired)
        return expired

    async def credit(self, account_id: str) -> CreditState:
        """Return the account's credit as posted.

        Raises:
            AccountNotFoundError: There is no such account.
        """
        read = partial(self._ledger.credit, account_id, now_ns=self._clock())
        return await self._read_any(account_id, read)

    async def period(self, account_id: str, period: str | None = None) -> PeriodState:
        """Return what was spent in a period ("2026-01"); None means the present one.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The account has no period of that name.
        """
        return await self._read_of(account_id, self._ledger.period, period)

    async def usage(
        self, account_id: str, period: str | None = None
    ) -> list[UsageTotal]:
        """Return what was used in a period, by model; raises as `period` does."""
        return await self._read_of(account_id, self._ledger.totals, period)

    async def days(self, account_id: str, period: str | None = None) -> list[UsageDay]:
        """Return what was used in a period, by day and model; raises as `period`."""
        return await self._read_of(account_id, self._ledger.days, period)

    async def charges(self, account_id: str, *, limit: int = 100) -> list[ChargedEvent]:
        """Return the latest calls with their charges, newest first.

        Raises:
            AccountNotFoundError: There is no such account.
        """
        read = partial(self._ledger.events, account_id, limit=limit)
        return await self._read_any(account_id, read)

    async def _read_of(
        self,
        account_id: str,
        read: Callable[[str, str], _T],
        period: str | None,
    ) -> _T:
        """Read a period of the account, in the words of its own calendar."""
        now_ns = self._clock()

        def read_if_there() -> _T:
            account = self._ledger.get(account_id)
            if period is None:
                key = period_of(account, now_ns).key
            else:
                key = period_named(period, account.time_zone, account.anchor_day).key
            return read(account_id, key)

        return await to_thread.run_sync(read_if_there)

    async def _read_any(self, account_id: str, read: Callable[[], _T]) -> _T:
        def read_if_there() -> _T:
            self._ledger.get(account_id)
            return read()

        return await to_thread.run_sync(read_if_there)
