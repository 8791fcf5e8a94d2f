"""What an operator does with accounts and their keys."""

from collections.abc import Callable
from functools import partial
from typing import Unpack

import msgspec
from anyio import to_thread

from metering.accounts import (
    Account,
    Agreement,
    ApiKey,
    Overrides,
    Tier,
    checked_account_id,
    hash_key,
    new_secret,
)
from metering.clock import Clock
from metering.errors import ConfigurationError
from metering.ids import uuid7
from metering.ledger import (
    SIGN_UP,
    CreditGrant,
    checked_anchor_day,
    checked_time_zone,
)
from metering.log import Log
from metering.money import AMOUNT_MAX_P, format_usd, parse_usd
from metering.pricing import PriceBook
from metering.registry.change import Change
from metering.stores import AccountChange, Ledger

__all__ = ["Accounts"]

_log = Log()


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
        time_zone: str = "UTC",
        anchor_day: int = 1,
        pepper: bytes = b"",
    ) -> None:
        self._ledger = ledger
        self._change = change
        self._clock = clock
        self._prices = prices
        self._read_agreement = read_agreement
        self._sign_up_credit_p = sign_up_credit_p
        self._time_zone = time_zone
        self._anchor_day = anchor_day
        self._pepper = pepper

    async def create(
        self,
        account_id: str,
        *,
        time_zone: str | None = None,
        anchor_day: int | None = None,
    ) -> Account:
        """Create an account with its sign-up credit; tried again, return it as it is.

        Args:
            account_id: Your own name for it.
            time_zone: IANA name of the zone at whose midnights its months begin; None:
                the plan's.
            anchor_day: Day on which they begin, 1 to 31; None: the plan's. Neither
                changes later: months that are billed would overlap.

        Raises:
            ConfigurationError: The id is no string of 1 to 200 printable characters, or
                has some that keys of stores are made of; there is no such zone or day.
        """
        checked_account_id(account_id)
        if time_zone is None:
            time_zone = self._time_zone
        if anchor_day is None:
            anchor_day = self._anchor_day
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
        account = Account(
            id=account_id,
            created_ns=now_ns,
            time_zone=checked_time_zone(time_zone),
            anchor_day=checked_anchor_day(anchor_day),
        )
        return await to_thread.run_sync(self._ledger.create, account, credit)

    async def get(self, account_id: str) -> Account:
        """Return an account.

        Raises:
            AccountNotFoundError: There is none of that id.
        """
        return await to_thread.run_sync(self._ledger.get, account_id)

    def tier_of(self, account: Account) -> Tier:
        """Return the tier in which an account is just now."""
        return self._ledger.tiers.tier_of(account, self._clock())

    async def issue_key(
        self,
        account_id: str,
        *,
        usage_limit: str | None = None,
        in_use_max: int | None = None,
    ) -> str:
        """Return a new API key. It is shown here once; only its hash is stored.

        Args:
            account_id: Whose calls it lets in.
            usage_limit: What calls with it may cost in a month, in dollars; None: as
                much as the account may.
            in_use_max: How many keys that are not revoked the account may have with
                it; None: any number.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The limit is no amount of dollars.
            LedgerError: The account has that many.
        """
        limit_p = None if usage_limit is None else parse_usd(usage_limit)
        if limit_p is not None and not 0 < limit_p <= AMOUNT_MAX_P:
            raise ConfigurationError(
                f"The limit ${usage_limit} of a key of {account_id!r} cannot be kept."
                f" Give more than $0 and at most ${format_usd(AMOUNT_MAX_P)}, or revoke"
                " a key that nobody may use."
            )
        secret = new_secret()
        now_ns = self._clock()
        key = ApiKey(
            id=uuid7(now_ns),
            account_id=account_id,
            hash=hash_key(secret.encode(), self._pepper),
            hint=secret[-4:],
            created_ns=now_ns,
            usage_limit_p=limit_p,
        )
        add = partial(self._ledger.add_key, key, in_use_max=in_use_max)
        await to_thread.run_sync(add)
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
            at = f"Overrides of {account_id!r}: prices[{name!r}]"
            self._prices.checked_name(name, at)
        return await self._apply(account_id, AccountChange(overrides=overrides))

    async def suspend(self, account_id: str, *, suspended: bool = True) -> Account:
        """Refuse every call of the account, or no longer."""
        return await self._apply(account_id, AccountChange(suspended=suspended))

    async def _apply(self, account_id: str, change: AccountChange) -> Account:
        apply = partial(self._ledger.change, account_id, change, now_ns=self._clock())
        account = await to_thread.run_sync(apply)
        await self._change.tell(account)
        changed = [
            name
            for name in change.__struct_fields__
            if getattr(change, name) is not msgspec.UNSET
        ]
        _log.info("account_changed", account=account_id, changed=changed)
        return account
