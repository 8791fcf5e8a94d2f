"""What an operator does with payments and credit, and what was used."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
from anyio import to_thread

from metering.accounts import Account
from metering.billing import usage_limit_demand
from metering.clock import Clock
from metering.errors import ConfigurationError, StorageError
from metering.ledger import (
    CreditGrant,
    CreditState,
    Payment,
    PaymentKind,
    PeriodState,
    checked_credit_reference,
    period_named,
    period_of,
)
from metering.limiter import Limiter
from metering.money import format_usd, parse_usd
from metering.registry.change import Change
from metering.stores import ChargedEvent, Ledger, UsageTotal

__all__ = ["Billing"]

_log = structlog.get_logger("metering")

_T = TypeVar("_T")


class Billing:
    """Payments, credit and what was used. Reached as `Metering.billing`."""

    def __init__(
        self, ledger: Ledger, change: Change, limiter: Limiter, *, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._change = change
        self._limiter = limiter
        self._clock = clock

    async def record_payment(
        self, account_id: str, *, usd: str, reference: str, kind: PaymentKind
    ) -> Account:
        """Record money received, once a reference; the tier may rise with it.

        Args:
            account_id: Who paid.
            usd: Dollars, as a decimal string.
            reference: The payment processor's id.
            kind: `invoice`, `credit_purchase` or `early_payment`.

        Returns:
            The account as it is now.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The amount or the kind cannot be.
            LedgerError: The reference is known with another account, kind or amount.
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
        ).checked()
        before = await to_thread.run_sync(self._ledger.get, account_id)
        period = period_of(before, payment.at_ns).key
        demand = usage_limit_demand(account_id, period, 0, 0)
        # The budget is not seeded meanwhile: its seed would have the payment already.
        async with self._limiter.seeding(demand.key):
            # Nor is it by another process: the store knows it before it is paid.
            await self._know(demand.key)
            paid = await to_thread.run_sync(self._ledger.record_payment, payment)
            if paid.freed_p:
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

    async def _know(self, key: str) -> None:
        try:
            await self._limiter.know(key)
        except StorageError as error:
            # The money has come all the same; room is made when the store is back.
            _log.warning("limits_not_read", key=key, error=str(error))

    async def grant_credit(
        self,
        account_id: str,
        *,
        usd: str,
        reference: str,
        expires_ns: int | None = None,
    ) -> Account:
        """Give promotional credit, once a reference.

        Args:
            account_id: Who gets it.
            usd: Dollars, as a decimal string; above 0.
            reference: Your own name for it, unique within the account.
            expires_ns: The first instant at which new calls may not draw on it.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The amount, the reference or the end cannot be.
            LedgerError: The reference is known with another amount or end.
        """
        grant = CreditGrant(
            id=checked_credit_reference(reference),
            account_id=account_id,
            kind="promo",
            amount_p=parse_usd(usd),
            effective_ns=self._clock(),
            expires_ns=expires_ns,
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
