"""What an operator sees of all accounts, and changes of one."""

from functools import partial

from anyio import to_thread

from metering.accounts import Account
from metering.console.api.asked import (
    AccountsPage,
    KeyRevoked,
    NewAccount,
    NewCredit,
    NewKey,
    NewPayment,
    Nothing,
    TierPin,
)
from metering.console.api.documents import (
    AccountRow,
    AccountsShown,
    PlatformShown,
)
from metering.console.api.fields import nanoseconds
from metering.console.api.lists import KeyIssued, KeyRow, key_row
from metering.console.api.rows import account_row, pool_shown
from metering.console.services import Services

__all__ = [
    "accounts",
    "create_account",
    "grant_credit",
    "issue_key",
    "pin_tier",
    "platform",
    "record_payment",
    "revoke_key",
]


async def accounts(services: Services, query: AccountsPage) -> AccountsShown:
    """All accounts, by id."""
    limit = query.limit
    read = partial(services.ledger.accounts, after=query.cursor or "", limit=limit + 1)
    found = await to_thread.run_sync(read)
    page = found[:limit]
    return AccountsShown(
        accounts=[_row(services, each) for each in page],
        next=page[-1].id if len(found) > limit else None,
    )


async def platform(services: Services, _: Nothing) -> PlatformShown:
    """What adaptive pools are doing in this process, and why."""
    pools = {} if services.platform is None else services.platform.explain()
    return PlatformShown(pools=[pool_shown(name, now) for name, now in pools.items()])


async def create_account(services: Services, body: NewAccount) -> AccountRow:
    """Create an account with its sign-up credit; one that is there stays as it is."""
    made = await services.accounts.create(
        body.id, time_zone=body.time_zone, anchor_day=body.anchor_day
    )
    return _row(services, made)


async def record_payment(services: Services, body: NewPayment) -> AccountRow:
    """Record money that has come or gone back, once a reference."""
    paid = await services.billing.record_payment(
        body.account,
        usd=body.usd,
        reference=body.reference,
        kind=body.kind,
        refers_to=body.refers_to,
    )
    return _row(services, paid)


async def grant_credit(services: Services, body: NewCredit) -> AccountRow:
    """Give promotional credit, once a reference."""
    granted = await services.billing.grant_credit(
        body.account,
        usd=body.usd,
        reference=body.reference,
        expires_ns=None if body.expires is None else nanoseconds(body.expires),
        models=body.models,
        priority=body.priority,
    )
    return _row(services, granted)


async def pin_tier(services: Services, body: TierPin) -> AccountRow:
    """Set a tier by agreement, or by spend again."""
    pinned = await services.accounts.pin_tier(body.account, body.level)
    return _row(services, pinned)


async def issue_key(services: Services, body: NewKey) -> KeyIssued:
    """Issue a key. Its secret is answered once; each request makes another."""
    secret = await services.accounts.issue_key(
        body.account, usage_limit=body.usage_limit_usd
    )
    return KeyIssued(account=body.account, secret=secret)


async def revoke_key(services: Services, query: KeyRevoked) -> KeyRow:
    """Revoke a key, for good; again changes nothing."""
    return key_row(await services.accounts.revoke_key(query.id))


def _row(services: Services, account: Account) -> AccountRow:
    return account_row(account, services.accounts.tier_of(account))
