"""What an operator sees of all accounts, and changes of one."""

from functools import partial

from metering.accounts import Account, Overrides, RateOverride, TokenPrices
from metering.clock import NS_PER_S
from metering.console.api.asked import (
    AccountsPage,
    Nothing,
)
from metering.console.api.bodies import (
    Agreed,
    NewAccount,
    NewCredit,
    NewPayment,
    PaymentMethod,
    Suspension,
    TierPin,
)
from metering.console.api.documents import (
    AccountRow,
    AccountsShown,
    AgreementShown,
    PlatformShown,
)
from metering.console.api.fields import nanoseconds
from metering.console.api.places import SpendPlaced
from metering.console.api.rows import (
    account_listed,
    account_row,
    agreement_shown,
    pool_shown,
)
from metering.console.lane import in_thread
from metering.console.services import Services
from metering.money import parse_usd
from metering.stores import AccountsWanted

__all__ = [
    "accounts",
    "agree",
    "create_account",
    "grant_credit",
    "pin_tier",
    "platform",
    "record_payment",
    "set_payment_method",
    "suspend",
]

_PER_TOKENS = 1_000_000


async def accounts(services: Services, query: AccountsPage) -> AccountsShown:
    """Accounts with the spend of their present period, by id or by spend."""
    wanted = AccountsWanted(
        prefix=query.prefix or "",
        tier=query.tier,
        suspended=query.suspended,
        order=query.order,
    )
    after = None if query.cursor is None else SpendPlaced.of(query.cursor)
    find = partial(
        services.ledger.listing.accounts,
        wanted,
        now_ns=services.clock(),
        after=None if after is None else (after.spent_p, after.id),
        limit=query.limit + 1,
    )
    found = await in_thread(find)
    page, more = found[: query.limit], None
    if len(found) > len(page):
        more = SpendPlaced(page[-1].spent_p, page[-1].account.id).cursor()
    tier_of = services.accounts.tier_of
    return AccountsShown(
        accounts=[account_listed(each, tier_of(each.account)) for each in page],
        next=more,
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


async def suspend(services: Services, body: Suspension) -> AccountRow:
    """Refuse every call of an account, or no longer."""
    changed = await services.accounts.suspend(body.account, suspended=body.suspended)
    return _row(services, changed)


async def set_payment_method(services: Services, body: PaymentMethod) -> AccountRow:
    """Say whether a valid payment method is on file; the tier follows."""
    changed = await services.accounts.set_payment_method(
        body.account, on_file=body.on_file
    )
    return _row(services, changed)


async def agree(services: Services, body: Agreed) -> AgreementShown:
    """Set all that is agreed with an account, in place of what was."""
    limit_usd = body.usage_limit_usd
    overrides = Overrides(
        usage_limit_p=None if limit_usd is None else parse_usd(limit_usd),
        output_tokens_max=body.output_tokens_max,
        reasoning_output_tokens_max=body.reasoning_output_tokens_max,
        requests={
            kind: RateOverride(rate.amount, rate.per_s * NS_PER_S, rate.burst)
            for kind, rate in body.requests.items()
        },
        prices={
            model: TokenPrices(
                parse_usd(each.input_usd), parse_usd(each.output_usd), _PER_TOKENS
            )
            for model, each in body.prices.items()
        },
    )
    changed = await services.accounts.override(body.account, overrides)
    return agreement_shown(changed.overrides)


def _row(services: Services, account: Account) -> AccountRow:
    return account_row(account, services.accounts.tier_of(account))
