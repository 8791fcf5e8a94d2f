"""What an operator does with invoices: periods are closed, and looked up."""

from collections.abc import AsyncIterator
from functools import partial

from anyio import to_thread

from metering.accounts import Account
from metering.clock import Clock
from metering.errors import AccountNotFoundError, ConfigurationError
from metering.ledger import Invoice, Period, invoice_id, period_named, period_of
from metering.log import Log
from metering.money import format_usd
from metering.stores import Ledger, UnbilledPeriod

__all__ = ["Invoicing"]

_PAGE = 500

_log = Log()


class Invoicing:
    """Invoices. Reached as `Metering.billing`.

    Args:
        ledger: Where they are kept.
        clock: The node's clock.
        settle_ns: How long after its end a period stays open for calls that began in
            it.
    """

    def __init__(self, ledger: Ledger, *, clock: Clock, settle_ns: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._settle_ns = settle_ns

    async def close(self, account_id: str, period: str | None = None) -> Invoice:
        """Make the invoice of a period, once; closed again, return the one there is.

        Args:
            account_id: Whose period.
            period: Its key, such as "2026-01"; None: the last that may be closed.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The account has no such period, as it was created after
                it and nothing was used then, or it may not be closed yet.
        """
        return await to_thread.run_sync(self._close, account_id, period)

    async def close_all(self) -> AsyncIterator[Invoice]:
        """Close whatever may be closed, of every account; yield each new invoice.

        Begun again after it was cut short, it goes on with what is left.
        """
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            made, after = await self.close_due(after=after, limit=_PAGE)
            for invoice in made:
                yield invoice

    async def close_due(
        self, *, after: tuple[str, str] = ("", ""), limit: int
    ) -> tuple[list[Invoice], tuple[str, str] | None]:
        """Close what may be closed of the next so many periods not wholly invoiced.

        Args:
            after: Account and period after which to go on.
            limit: How many periods are looked at, at most; above 0.

        Returns:
            The invoices that are new, and after which account and period to go on; None
            where none is left.
        """
        find = partial(self._ledger.unbilled, after=after, limit=limit)
        page = await to_thread.run_sync(find)
        made: list[Invoice] = []
        for unbilled in page:
            key = await to_thread.run_sync(self._due, unbilled)
            if key is not None:
                close = partial(self._close, unbilled.account_id, key)
                made.append(await to_thread.run_sync(close))
        if len(page) < limit:
            return made, None
        return made, (page[-1].account_id, page[-1].period)

    async def invoice(self, invoice_id: str) -> Invoice:
        """Return an invoice.

        Raises:
            ConfigurationError: There is none of that id.
        """
        found = await to_thread.run_sync(self._ledger.invoice, invoice_id)
        if found is None:
            raise ConfigurationError(
                f"There is no invoice {invoice_id!r}. They are named by account and"
                ' period, such as "acme-2026-01", and made when a period is closed.'
            )
        return found

    async def invoices(
        self, account_id: str | None = None, *, after: str = "", limit: int = 100
    ) -> list[Invoice]:
        """Return invoices by id, after the one named; of None, everybody's.

        Raises:
            AccountNotFoundError: There is no such account.
        """
        if account_id is not None:
            await to_thread.run_sync(self._ledger.get, account_id)
        find = partial(self._ledger.invoices, account_id, after=after, limit=limit)
        return await to_thread.run_sync(find)

    def _close(self, account_id: str, period: str | None) -> Invoice:
        now_ns = self._clock()
        if period is None:
            period = self._last_due(self._ledger.get(account_id), now_ns).key
        invoice = self._ledger.close_period(
            account_id, period, now_ns=now_ns, grace_ns=self._settle_ns
        )
        if invoice.closed_ns == now_ns:
            _log.info(
                "period_closed",
                account=account_id,
                period=period,
                invoice=invoice.id,
                usd=format_usd(invoice.total_p),
            )
        return invoice

    def _due(self, unbilled: UnbilledPeriod) -> str | None:
        """Return the period to close for what is unbilled; None: it is not time yet."""
        try:
            account = self._ledger.get(unbilled.account_id)
        except AccountNotFoundError:
            return None  # calls of an account that nobody has created yet
        last = self._last_due(account, self._clock())
        if unbilled.invoiced:
            # What came after its invoice is told by the next one.
            closed = self._ledger.invoice(invoice_id(account.id, last.key))
            return last.key if closed is None else None
        try:
            named = period_named(unbilled.period, account.time_zone, account.anchor_day)
        except ConfigurationError as error:
            # Its calls came before the account, from a plan whose months began on
            # another day: nobody else's invoice waits until that is sorted out.
            _log.error("period_not_closed", account=account.id, error=str(error))
            return None
        return named.key if named.end_ns <= last.end_ns else None

    def _last_due(self, account: Account, now_ns: int) -> Period:
        """Return the last period that may be closed."""
        running = period_of(account, now_ns - self._settle_ns)
        return period_of(account, running.start_ns - 1)
