"""What an account is shown of itself, and an operator of any."""

from metering.clock import iso_utc
from metering.console.api.asked import (
    ChargesPage,
    OneInvoice,
    OwnedPage,
    OwnedQuery,
    UsageDaysOf,
    UsageOf,
)
from metering.console.api.documents import (
    AccountShown,
    ChargesShown,
    CreditLeft,
    InvoiceShown,
    InvoicesShown,
    PeriodShown,
    TierShown,
    UsageDaysShown,
    UsageShown,
)
from metering.console.api.limits import caller_of
from metering.console.api.places import CallPlaced
from metering.console.api.rows import (
    account_row,
    agreement_shown,
    charge_row,
    day_usage,
    invoice_row,
    invoice_shown,
    model_usage,
    next_tier,
)
from metering.console.lane import in_lane, in_thread
from metering.console.problems import ProblemError
from metering.console.services import Services, Viewer
from metering.ledger import Period, day_at, period_at, period_named, period_of
from metering.money import format_usd

__all__ = [
    "account",
    "charges",
    "invoice",
    "invoices",
    "usage",
    "usage_days",
]


async def account(
    services: Services, viewer: Viewer, query: OwnedQuery
) -> AccountShown:
    """An account: tier, what the next one takes, spend against limit, credit left."""
    account_id = viewer.sees(query.account)
    return await in_thread(_account, services, account_id)


def _account(services: Services, account_id: str) -> AccountShown:
    now_ns, ledger = services.clock(), services.ledger
    caller = caller_of(services, account_id)
    period = period_of(caller.account, now_ns)
    state = ledger.period(account_id, period.key)
    row, credit = account_row(caller.account, caller.tier), caller.credit
    limit_p = caller.usage_limit_p
    return AccountShown(
        id=row.id,
        created=row.created,
        time_zone=caller.account.time_zone,
        anchor_day=caller.account.anchor_day,
        tier=TierShown(level=caller.tier.level, name=caller.tier.name),
        pinned=row.pinned,
        next_tier=next_tier(caller.account, caller.tier, ledger.tiers),
        payment_method=row.payment_method,
        lifetime_paid_usd=row.lifetime_paid_usd,
        suspended=row.suspended,
        funding=caller.funding,
        output_tokens_max=caller.output_tokens_max,
        reasoning_output_tokens_max=caller.reasoning_output_tokens_max,
        agreed=agreement_shown(caller.account.overrides),
        period=PeriodShown(
            period=period.key,
            start=iso_utc(period.start_ns),
            end=iso_utc(period.end_ns),
            spent_usd=format_usd(state.spent_p),
            early_paid_usd=format_usd(state.early_paid_p),
            limit_usd=None if limit_p is None else format_usd(limit_p),
        ),
        credit=CreditLeft(
            granted_usd=format_usd(credit.ceiling_p),
            used_usd=format_usd(credit.used_p),
            left_usd=format_usd(credit.ceiling_p - credit.used_p),
        ),
    )


async def usage(services: Services, viewer: Viewer, query: UsageOf) -> UsageShown:
    """What was used in a period, by model."""
    account_id = viewer.sees(query.account)
    return await in_thread(_usage, services, account_id, query.period)


def _usage(services: Services, account_id: str, named: str | None) -> UsageShown:
    period = _period(services, account_id, named)
    totals = services.ledger.totals(account_id, period.key)
    return UsageShown(
        period=period.key,
        start=iso_utc(period.start_ns),
        end=iso_utc(period.end_ns),
        calls=sum(total.calls for total in totals),
        charge_usd=format_usd(sum(total.charge_p for total in totals)),
        models=[model_usage(total) for total in totals],
    )


async def usage_days(
    services: Services, viewer: Viewer, query: UsageDaysOf
) -> UsageDaysShown:
    """What was used in a period by day and model; of all accounts, in a month."""
    account_id = viewer.sees_of_all(query.account)
    return await in_thread(_usage_days, services, account_id, query)


def _usage_days(
    services: Services, account_id: str | None, query: UsageDaysOf
) -> UsageDaysShown:
    ledger, time_zone, model = services.ledger, "UTC", _model(services, query.model)
    if account_id is None:
        now_ns = services.clock()
        key = query.period
        period = period_at(now_ns) if key is None else period_named(key)
    else:
        time_zone = ledger.get(account_id).time_zone
        period = _period(services, account_id, query.period)
    first_day, last_day = (
        day_at(instant_ns, time_zone)
        for instant_ns in (period.start_ns, period.end_ns - 1)
    )
    if account_id is None:
        days = services.days.read(first_day, last_day, model=model)
    else:
        days = ledger.days(account_id, period.key, model=model)
    return UsageDaysShown(
        period=period.key,
        start=iso_utc(period.start_ns),
        end=iso_utc(period.end_ns),
        first_day=first_day,
        last_day=last_day,
        days=[day_usage(day) for day in days],
    )


def _model(services: Services, named: str | None) -> str | None:
    """Return the name in the price book; what is not in it is a name as well."""
    found = None if named is None else services.prices.model(named)
    return named if found is None else found.name


def _period(services: Services, account_id: str, named: str | None) -> Period:
    """Return the period of that name in the account's calendar; None: the present."""
    found = services.ledger.get(account_id)
    if named is None:
        return period_of(found, services.clock())
    return period_named(named, found.time_zone, found.anchor_day)


async def charges(
    services: Services, viewer: Viewer, query: ChargesPage
) -> ChargesShown:
    """Calls with what they cost, the latest first."""
    account_id = viewer.sees(query.account)
    return await in_thread(_charges, services, account_id, query)


def _charges(services: Services, account_id: str, query: ChargesPage) -> ChargesShown:
    ledger, place = services.ledger, None
    if query.cursor is not None:
        at = CallPlaced.of(query.cursor)
        place = at.period, at.admitted_ns, at.id
    period = _period(services, account_id, query.period)
    found = ledger.events(
        account_id,
        period=None if query.period is None else period.key,
        model=_model(services, query.model),
        before=place,
        limit=query.limit + 1,
    )
    page = found[: query.limit]
    posted_p = {each.event.id: each.charge.amount_p for each in page}
    now = {each.event.id: each for each in ledger.standings_by_id(posted_p)}
    more = None
    if len(found) > len(page):
        last = page[-1].event
        more = CallPlaced(last.period, last.admitted_ns, last.id).cursor()
    return ChargesShown(
        charges=[charge_row(now[key], charge_p) for key, charge_p in posted_p.items()],
        next=more,
    )


async def invoices(
    services: Services, viewer: Viewer, query: OwnedPage
) -> InvoicesShown:
    """Invoices of an account, by id."""
    account_id, limit = viewer.sees(query.account), query.limit
    found = await in_lane(
        services.billing.invoices, account_id, after=query.cursor or "", limit=limit + 1
    )
    page = found[:limit]
    return InvoicesShown(
        invoices=[invoice_row(each) for each in page],
        next=page[-1].id if len(found) > limit else None,
    )


async def invoice(
    services: Services, viewer: Viewer, query: OneInvoice
) -> InvoiceShown:
    """One invoice with its lines."""
    account_id = viewer.sees(query.account)
    await in_thread(services.ledger.get, account_id)
    found = await in_thread(services.ledger.invoice, query.id)
    if found is None or found.account_id != account_id:
        raise ProblemError(
            "not_found",
            f"Account {account_id!r} has no invoice {query.id!r}. They are made when a"
            " period is closed; /v1/invoices lists them.",
        )
    return invoice_shown(found)
