"""What an operator does about charges that were wrong: take them back, price anew."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from anyio import to_thread

from metering.accounts import Account
from metering.billing import freed_demand
from metering.clock import Clock, iso_utc
from metering.errors import (
    AccountNotFoundError,
    ConfigurationError,
    LedgerError,
    StorageError,
)
from metering.ledger import Correction, Revision, Standing, period_of
from metering.limiter import Limiter
from metering.log import Log
from metering.money import format_usd
from metering.pricing import PublishedPrices
from metering.registry.change import Change
from metering.registry.repricing import Repriced, Repricer
from metering.stores import BudgetFreed, CorrectionReport, Ledger

__all__ = ["Corrections"]

BATCH = 500
"""How many calls are corrected in one transaction."""

_log = Log()

_Told = Callable[[Repriced], None]


class Corrections:
    """Corrects charges by entries beside them. Reached as `Metering.corrections`."""

    def __init__(
        self, ledger: Ledger, change: Change, limiter: Limiter, *, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._change = change
        self._limiter = limiter
        self._clock = clock

    async def reverse(self, event_id: str, *, reason: str) -> Standing:
        """Take the charge of a call back, for good; again changes nothing.

        What credit paid goes back to where it came from; what had ended meanwhile ends
        again. If the call's period has an invoice, the account's next one tells it.

        Args:
            event_id: The call, by the id of its response and its event.
            reason: Why; it is kept with the correction.

        Returns:
            What the call costs now.

        Raises:
            AccountNotFoundError: Nobody owns the call.
            ConfigurationError: There is no reason.
            LedgerError: There is no such call.
        """
        reason = _checked_reason(reason)
        standing = await self._standing(event_id)
        revision = Revision(event_id=event_id, reason=reason)
        await self._correct([standing], [revision], reason)
        return await self._standing(event_id)

    async def preview(
        self,
        model: str,
        from_ns: int,
        to_ns: int,
        *,
        price_version: str | None = None,
        on_batch: _Told = lambda _: None,
    ) -> Repriced:
        """Return what `rerate` would change, and change nothing."""
        return await self._rerate(
            model,
            from_ns,
            to_ns,
            price_version=price_version,
            reason=None,
            on_batch=on_batch,
        )

    async def rerate(
        self,
        model: str,
        from_ns: int,
        to_ns: int,
        *,
        reason: str,
        price_version: str | None = None,
        on_batch: _Told = lambda _: None,
    ) -> Repriced:
        """Price calls of a model anew, by prices that were published.

        In batches, each of them one transaction: begun again after it was cut short, it
        changes what is left.

        Args:
            model: Its name in the price book.
            from_ns: Calls admitted at this instant or later.
            to_ns: Calls admitted before this one.
            reason: Why; it is kept with each correction.
            price_version: The price; None: that in force at each call's admission.
            on_batch: Told after each batch what has become of the calls so far.

        Raises:
            ConfigurationError: There is no reason, no time between the two instants, or
                no such price.
        """
        reason = _checked_reason(reason)
        return await self._rerate(
            model,
            from_ns,
            to_ns,
            price_version=price_version,
            reason=reason,
            on_batch=on_batch,
        )

    async def _rerate(
        self,
        model: str,
        from_ns: int,
        to_ns: int,
        *,
        price_version: str | None,
        reason: str | None,
        on_batch: _Told,
    ) -> Repriced:
        if from_ns >= to_ns:
            raise ConfigurationError(
                f"No call is admitted from {iso_utc(from_ns)} until before"
                f" {iso_utc(to_ns)}. Name an earlier instant first."
            )
        published = await to_thread.run_sync(self._ledger.published)
        prices = PublishedPrices(published)
        repricer = Repricer(model, prices, price_version, reason or "")
        after = ""
        while True:
            find = partial(
                self._ledger.standings, model, from_ns, to_ns, after=after, limit=BATCH
            )
            standings = await to_thread.run_sync(find)
            if not standings:
                return repricer.seen
            owners = await to_thread.run_sync(self._accounts, standings)
            revisions = repricer.revisions(standings, owners)
            if reason is not None and revisions:
                await self._correct(standings, revisions, reason)
            on_batch(repricer.seen)
            after = standings[-1].event.id

    async def _standing(self, event_id: str) -> Standing:
        standing = await to_thread.run_sync(self._ledger.standing, event_id)
        if standing is None:
            raise LedgerError(
                f"There is no event {event_id!r}. Name a call by the id that its"
                " response and its event have."
            )
        return standing

    async def _correct(
        self, standings: Sequence[Standing], revisions: Sequence[Revision], reason: str
    ) -> None:
        revised = {revision.event_id for revision in revisions}
        concerned = [each for each in standings if each.event.id in revised]
        budgets = await to_thread.run_sync(self._budgets, concerned)
        async with AsyncExitStack() as seeding:
            # As with early payments: no budget is seeded by what is half done.
            for key in sorted(budgets):
                await seeding.enter_async_context(self._limiter.seeding(key))
                await self._know(key)
            correct = partial(self._ledger.correct, revisions, now_ns=self._clock())
            report = await to_thread.run_sync(correct)
            await self._relieve(report, budgets)
        for account in report.accounts:
            await self._change.tell(account)
            its = [c for c in report.corrections if c.account_id == account.id]
            _log.info(
                "charges_corrected",
                account=account.id,
                calls=len({each.event_id for each in its}),
                usd=format_usd(sum(each.amount_p for each in its)),
                reason=reason,
            )

    def _budgets(self, standings: Sequence[Standing]) -> set[str]:
        """Return the keys of budgets that running calls draw on."""
        now_ns = self._clock()
        accounts = self._accounts(standings)
        return {
            freed_demand(account, budget).key
            for standing in standings
            if (account := accounts.get(standing.event.account_id)) is not None
            for budget in _budgets_of(standing)
            if self._in_use(account, budget, now_ns)
        }

    def _accounts(self, standings: Iterable[Standing]) -> dict[str, Account]:
        """Return the accounts of calls, those of them that exist."""
        accounts: dict[str, Account] = {}
        for account_id in {standing.event.account_id for standing in standings}:
            with suppress(AccountNotFoundError):
                accounts[account_id] = self._ledger.get(account_id)
        return accounts

    def _in_use(self, account: Account, budget: BudgetFreed, now_ns: int) -> bool:
        if budget.kind == "credit":
            return self._ledger.tiers.tier_of(account, now_ns).funding == "credit"
        return budget.period == period_of(account, now_ns).key

    async def _know(self, key: str) -> None:
        try:
            await self._limiter.know(key)
        except StorageError as error:
            # The charge is wrong all the same; room is made when the store is back.
            _log.warning("limits_not_read", key=key, error=str(error))

    async def _relieve(self, report: CorrectionReport, budgets: set[str]) -> None:
        accounts = {account.id: account for account in report.accounts}
        first: dict[str, Correction] = {}
        for each in report.corrections:
            first.setdefault(each.account_id, each)
        for freed in report.freed:
            demand = freed_demand(accounts[freed.account_id], freed)
            if demand.key in budgets and freed.amount_p:
                reference = f"{first[freed.account_id].id}:{demand.key}"
                await self._limiter.relieve(demand, freed.amount_p, reference=reference)


def _budgets_of(standing: Standing) -> list[BudgetFreed]:
    event = standing.event
    budgets = [
        BudgetFreed(
            account_id=event.account_id, kind="spend", period=event.period, amount_p=0
        ),
        BudgetFreed(account_id=event.account_id, kind="credit", amount_p=0),
    ]
    if event.key_id:
        budgets.append(
            BudgetFreed(
                account_id=event.account_id,
                kind="key",
                key_id=event.key_id,
                period=event.period,
                amount_p=0,
            )
        )
    return budgets


def _checked_reason(reason: str) -> str:
    if not reason.strip():
        raise ConfigurationError(
            f"The reason {reason!r} tells nothing. Say why charges are corrected: it is"
            " kept, and read when someone asks."
        )
    return reason
