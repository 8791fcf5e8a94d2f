"""How the rows of answers are made from what the ledger and the stores know."""

from metering.accounts import Account, Overrides, Tier, TierBook
from metering.adaptive import Explanation
from metering.clock import NS_PER_S, iso_utc
from metering.console.api.documents import (
    AccountListed,
    AccountRow,
    AgreedPrice,
    AgreedRequests,
    AgreementShown,
    ChargeRow,
    DayUsage,
    InvoiceLineShown,
    InvoiceRow,
    InvoiceShown,
    ModelUsage,
    NextTier,
    PoolShown,
    TierShown,
)
from metering.ledger import (
    CENT_P,
    Invoice,
    InvoiceLine,
    Standing,
)
from metering.money import format_usd
from metering.stores import AccountSpend, UsageDay, UsageTotal

__all__ = [
    "account_listed",
    "account_row",
    "agreement_shown",
    "charge_row",
    "day_usage",
    "invoice_row",
    "invoice_shown",
    "model_usage",
    "next_tier",
    "pool_shown",
]

_TOKENS = 1_000_000


def account_row(account: Account, tier: Tier) -> AccountRow:
    """Return an account in its tier."""
    return AccountRow(
        id=account.id,
        created=iso_utc(account.created_ns),
        tier=TierShown(level=tier.level, name=tier.name),
        pinned=account.pin,
        payment_method=account.payment_method,
        lifetime_paid_usd=format_usd(account.lifetime_paid_p),
        suspended=account.suspended,
    )


def account_listed(each: AccountSpend, tier: Tier) -> AccountListed:
    """Return an account in its tier, with what it spent in its period."""
    row = account_row(each.account, tier)
    limit_p = each.account.overrides.usage_limit_p
    if limit_p is None:
        limit_p = tier.usage_limit_p
    return AccountListed(
        **{name: getattr(row, name) for name in row.__struct_fields__},
        period=each.period,
        spent_usd=format_usd(each.spent_p),
        limit_usd=_usd_or_none(limit_p),
    )


def agreement_shown(agreed: Overrides) -> AgreementShown:
    """Return what is agreed with an account."""
    return AgreementShown(
        usage_limit_usd=_usd_or_none(agreed.usage_limit_p),
        output_tokens_max=agreed.output_tokens_max,
        reasoning_output_tokens_max=agreed.reasoning_output_tokens_max,
        requests={
            kind: AgreedRequests(
                amount=rate.amount,
                per_s=rate.per_ns / NS_PER_S,
                burst=rate.amount if rate.burst is None else rate.burst,
            )
            for kind, rate in agreed.requests.items()
        },
        prices={
            model: AgreedPrice(
                input_usd=_per_million(each.input_p, each.per),
                output_usd=_per_million(each.output_p, each.per),
            )
            for model, each in agreed.prices.items()
        },
    )


def _per_million(amount_p: int, per: int) -> str:
    # Finer than a pico-dollar for a million tokens is only what a program wrote so.
    return format_usd((2 * amount_p * _TOKENS + per) // (2 * per))


def next_tier(account: Account, tier: Tier, tiers: TierBook) -> NextTier | None:
    """Return the next tier that paying leads to, or None at the top."""
    following = tiers.next_above(tier)
    if following is None:
        return None
    least_p = following.lifetime_paid_min_p or 0
    return NextTier(
        level=following.level,
        name=following.name,
        paid_usd=format_usd(max(0, least_p - account.lifetime_paid_p)),
        payment_method=following.payment_method and not account.payment_method,
        usage_limit_usd=_usd_or_none(following.usage_limit_p),
    )


def model_usage(total: UsageTotal) -> ModelUsage:
    """Return what was used of a model."""
    return ModelUsage(
        model=total.model,
        calls=total.calls,
        usage=total.usage,
        charge_usd=format_usd(total.charge_p),
    )


def day_usage(day: UsageDay) -> DayUsage:
    """Return what was used of a model on a day."""
    return DayUsage(
        day=day.day,
        model=day.model,
        calls=day.calls,
        usage=day.usage,
        charge_usd=format_usd(day.charge_p),
    )


def pool_shown(pool: str, now: Explanation) -> PoolShown:
    """Return all that is to be said of a pool."""
    return PoolShown(
        pool=pool,
        state=now.state,
        cause=now.cause,
        signal=now.signal,
        limit_rpm=now.limit_rpm,
        previous_rpm=now.previous_rpm,
        accounts=now.accounts,
        budget_per_s=now.budget_per_s,
        capacity_per_s=now.capacity_per_s,
        awaiting=now.awaiting,
        waiting=now.waiting,
        unloaded_s=now.unloaded_s,
        pace_per_s=now.pace_per_s,
        text=str(now),
    )


def charge_row(now: Standing, charge_p: int) -> ChargeRow:
    """Return a call as it stands now.

    Args:
        now: What it costs now.
        charge_p: What it cost when it was posted.
    """
    event = now.event
    return ChargeRow(
        id=event.id,
        key=event.key_id or None,
        period=event.period,
        model=event.model,
        model_asked=event.model_asked or event.model,
        dialect=event.dialect,
        admitted=iso_utc(event.admitted_ns),
        ended=iso_utc(event.ended_ns),
        ending=event.ending,
        status=event.status,
        usage=event.usage,
        usage_source=event.usage_source,
        output_tokens_max=event.output_tokens_max,
        clamped_from=event.clamped_from,
        flags=list(event.flags),
        charge_usd=format_usd(charge_p),
        costs_usd=format_usd(now.amount_p),
        credit_usd=format_usd(sum(draw.amount_p for draw in now.draws)),
        reversed=now.reversed,
        price_version=now.price_version,
    )


def invoice_row(invoice: Invoice) -> InvoiceRow:
    """Return an invoice without its lines."""
    return InvoiceRow(
        id=invoice.id,
        account=invoice.account_id,
        period=invoice.period,
        start=iso_utc(invoice.start_ns),
        end=iso_utc(invoice.end_ns),
        closed=iso_utc(invoice.closed_ns),
        total_usd=format_usd(invoice.total_p),
        paid=invoice.paid,
        paid_by=invoice.paid_by,
    )


def invoice_shown(invoice: Invoice) -> InvoiceShown:
    """Return an invoice with its lines."""
    return InvoiceShown(
        invoice=invoice_row(invoice), lines=[_line(line) for line in invoice.lines]
    )


def _line(line: InvoiceLine) -> InvoiceLineShown:
    return InvoiceLineShown(
        kind=line.kind,
        period=line.period,
        model=line.model,
        price_version=line.price_version,
        calls=line.calls,
        usage=line.usage,
        amount_usd=format_usd(line.amount_p),
        shown_usd=format_usd(line.cents * CENT_P),
    )


def _usd_or_none(amount_p: int | None) -> str | None:
    """Return an amount that may be missing."""
    return None if amount_p is None else format_usd(amount_p)
