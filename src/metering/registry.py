"""What an operator does: accounts, keys, payments, credit, and looking them up."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar, Unpack

import msgspec
import structlog
from anyio import to_thread

from metering.accounts import (
    Account,
    Agreement,
    ApiKey,
    Overrides,
    checked_account_id,
    hash_key,
    new_secret,
)
from metering.billing import usage_limit_demand
from metering.clock import Clock
from metering.errors import ConfigurationError, StorageError
from metering.ids import uuid7
from metering.ledger import (
    SIGN_UP,
    CreditGrant,
    CreditState,
    Payment,
    PaymentKind,
    PeriodState,
    checked_credit_reference,
    checked_period_key,
    period_at,
)
from metering.limiter import Limiter
from metering.money import format_usd, parse_usd
from metering.pricing import PriceBook
from metering.stores import (
    AccountChange,
    AccountVersions,
    ChargedEvent,
    Ledger,
    UsageTotal,
)
from metering.tiers import TierResolver

__all__ = ["Accounts", "Billing", "Change"]

_log = structlog.get_logger("metering")

_T = TypeVar("_T")


class Change:
    """Tells every worker that an account has changed.

    Args:
        resolver: Forgets what this process knows of it.
        versions: Where other processes see it.
    """

    def __init__(self, resolver: TierResolver, versions: AccountVersions) -> None:
        self._resolver = resolver
        self._versions = versions

    async def tell(self, account: Account) -> None:
        """Make the next call of *account* see it as it is now."""
        self._resolver.forget(account.id)
        try:
            await self._versions.announce(account.id, account.version)
        except StorageError as error:
            # The change stands. Other processes see it when what they know is too old.
            _log.error("change_not_told", account=account.id, error=str(error))

    async def tell_key(self, key: ApiKey) -> None:
        """Make the next call with *key* see it as it is now."""
        await self._resolver.forget_key(key.hash)


class Accounts:
    """Accounts and their keys. Reached as `Metering.accounts`."""

    def __init__(
        self,
        ledger: Ledger,
        change: Change,
        *,
        clock: Clock,
        prices: PriceBook,
        read_agreement: Callable[[str, Agreement], Overrides],
        sign_up_credit_p: int,
        pepper: bytes = b"",
    ) -> None:
        self._ledger = ledger
        self._change = change
        self._clock = clock
        self._prices = prices
        self._read_agreement = read_agreement
        self._sign_up_credit_p = sign_up_credit_p
        self._pepper = pepper

    async def create(self, account_id: str) -> Account:
        """Create an account with its sign-up credit; tried again, return it as it is.

        Raises:
            ConfigurationError: The id is no string of 1 to 200 printable characters, or
                has some that keys of stores are made of.
        """
        checked_account_id(account_id)
        now_ns = self._clock()
        credit = None
        if self._sign_up_credit_p:
            credit = CreditGrant(
                id=SIGN_UP,
                account_id=account_id,
                kind="promo",
                amount_p=self._sign_up_credit_p,
                effective_ns=now_ns,
            )
        account = Account(id=account_id, created_ns=now_ns)
        return await to_thread.run_sync(self._ledger.create, account, credit)

    async def get(self, account_id: str) -> Account:
        """Return an account.

        Raises:
            AccountNotFoundError: There is none of that id.
        """
        return await to_thread.run_sync(self._ledger.get, account_id)

    async def issue_key(self, account_id: str) -> str:
        """Return a new API key. It is shown here once; only its hash is stored.

        Raises:
            AccountNotFoundError: There is no such account.
        """
        secret = new_secret()
        now_ns = self._clock()
        key = ApiKey(
            id=uuid7(now_ns),
            account_id=account_id,
            hash=hash_key(secret.encode(), self._pepper),
            hint=secret[-4:],
            created_ns=now_ns,
        )
        await to_thread.run_sync(self._ledger.add_key, key)
        await self._change.tell_key(key)
        _log.info("key_issued", account=account_id, key=key.id)
        return secret

    async def revoke_key(self, secret_or_id: str) -> ApiKey:
        """Revoke a key, named by its id or by itself; its next call is refused.

        Raises:
            AccountNotFoundError: There is no such key.
        """
        now_ns = self._clock()
        key_hash = hash_key(secret_or_id.encode(), self._pepper)
        find = partial(self._ledger.find_key, key_hash, now_ns=now_ns)
        record = await to_thread.run_sync(find)
        key_id = secret_or_id if record is None else record.key.id
        revoke = partial(self._ledger.revoke_key, key_id, now_ns=now_ns)
        key = await to_thread.run_sync(revoke)
        await self._change.tell_key(key)
        await self._change.tell(await self.get(key.account_id))
        _log.info("key_revoked", account=key.account_id, key=key.id)
        return key

    async def set_payment_method(self, account_id: str, *, on_file: bool) -> Account:
        """Say whether a valid payment method is on file. Credit stays as it is."""
        return await self._apply(account_id, AccountChange(payment_method=on_file))

    async def pin_tier(self, account_id: str, level: int | None) -> Account:
        """Set the tier by agreement, or by spend again with None.

        Raises:
            ConfigurationError: There is no tier of that level.
        """
        return await self._apply(account_id, AccountChange(pin=level))

    async def override(
        self,
        account_id: str,
        overrides: Overrides | None = None,
        /,
        **agreed: Unpack[Agreement],
    ) -> Account:
        """Set what was agreed with the account, in place of its tier's values.

        It replaces what was agreed before: `override("acme")` alone ends all of it.

        Args:
            account_id: The account.
            overrides: Exact values, in place of the terms below.
            **agreed: Terms as a plan writes them: `usage_limit="500"` (dollars),
                `output_tokens_max="32K"`, `requests={"paid": "2000/minute"}`,
                `prices={"model": {"input": "0.5", "output": "2"}}`.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: Names the term, its value and what is allowed.
        """
        if overrides is None:
            overrides = self._read_agreement(account_id, agreed)
        elif agreed:
            raise ConfigurationError(
                f"Overrides of {account_id!r}: give either the value or the terms"
                f" {', '.join(agreed)}, not both."
            )
        for name in overrides.prices:
            self._check_model(account_id, name)
        return await self._apply(account_id, AccountChange(overrides=overrides))

    def _check_model(self, account_id: str, name: str) -> None:
        model = self._prices.model(name)
        if model is None or model.name != name:
            reason = "There is no such model in the plan."
            if model is not None:
                reason = f"It is an alias: write {model.name!r}."
            raise ConfigurationError(
                f"Overrides of {account_id!r}: prices[{name!r}] cannot be used."
                f" {reason}"
            )

    async def suspend(self, account_id: str, *, suspended: bool = True) -> Account:
        """Refuse every call of the account, or no longer."""
        return await self._apply(account_id, AccountChange(suspended=suspended))

    async def _apply(self, account_id: str, change: AccountChange) -> Account:
        account = await to_thread.run_sync(self._ledger.change, account_id, change)
        await self._change.tell(account)
        changed = [
            name
            for name in change.__struct_fields__
            if getattr(change, name) is not msgspec.UNSET
        ]
        _log.info("account_changed", account=account_id, changed=changed)
        return account


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
        period = period_at(payment.at_ns).key
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
        tiers = self._ledger.tiers
        was, now = tiers.tier_of(before), tiers.tier_of(account)
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
        return await self._read_of(account_id, read)

    async def period(self, account_id: str, period: str | None = None) -> PeriodState:
        """Return what was spent in a period ("2026-01"); None means the present one.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The period is not written like that.
        """
        read = partial(self._ledger.period, account_id, self._period_key(period))
        return await self._read_of(account_id, read)

    async def usage(
        self, account_id: str, period: str | None = None
    ) -> list[UsageTotal]:
        """Return what was used in a period, by model; raises as `period` does."""
        read = partial(self._ledger.totals, account_id, self._period_key(period))
        return await self._read_of(account_id, read)

    async def charges(self, account_id: str, *, limit: int = 100) -> list[ChargedEvent]:
        """Return the latest calls with their charges, newest first.

        Raises:
            AccountNotFoundError: There is no such account.
        """
        read = partial(self._ledger.events, account_id, limit=limit)
        return await self._read_of(account_id, read)

    async def _read_of(self, account_id: str, read: Callable[[], _T]) -> _T:
        def read_if_there() -> _T:
            self._ledger.get(account_id)
            return read()

        return await to_thread.run_sync(read_if_there)

    def _period_key(self, period: str | None) -> str:
        if period is None:
            return period_at(self._clock()).key
        return checked_period_key(period)
