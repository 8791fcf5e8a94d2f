"""What an operator does about invoices and charges: closes, takes back, prices anew."""

from typing import Annotated

import msgspec

from metering.console.api.asked import CallsOf
from metering.console.api.bodies import DuePeriods, PeriodClosed, Rerated, Reversed
from metering.console.api.documents import (
    ChargeRow,
    InvoiceShown,
    InvoicesShown,
)
from metering.console.api.fields import Usd, nanoseconds
from metering.console.api.places import PeriodPlaced
from metering.console.api.rows import charge_row, invoice_row, invoice_shown
from metering.console.lane import in_thread
from metering.console.problems import ProblemError
from metering.console.services import Services
from metering.money import format_usd, parse_usd
from metering.registry import Repriced

__all__ = [
    "CALLS_MAX",
    "AccountDelta",
    "RerateShown",
    "close_due",
    "close_period",
    "preview_rerate",
    "rerate",
    "reverse",
]

CALLS_MAX = 5_000
"""Calls that one request prices anew at most: more take longer than clients wait."""

_ACCOUNTS_MAX = 200


class AccountDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is charged more, or less."""

    account: str
    delta_usd: Usd


class RerateShown(msgspec.Struct, frozen=True, kw_only=True):
    """Calls priced anew, or what would become of them."""

    applied: bool
    calls: int
    changed: int
    kept: Annotated[
        dict[str, int], msgspec.Meta(description="Left as they are, by why.")
    ]
    delta_usd: Annotated[
        Usd, msgspec.Meta(description="What all cost more; below 0 for less.")
    ]
    accounts: Annotated[int, msgspec.Meta(description="Whose calls changed.")]
    most: Annotated[
        list[AccountDelta],
        msgspec.Meta(description="Of these accounts at most 200, the most changed."),
    ]


async def close_period(services: Services, body: PeriodClosed) -> InvoiceShown:
    """Make the invoice of a period that has ended, once."""
    return invoice_shown(await services.billing.close(body.account, body.period))


async def close_due(services: Services, body: DuePeriods) -> InvoicesShown:
    """Make the invoices of all periods that may be closed, some at a time."""
    after = ("", "")
    if body.cursor is not None:
        at = PeriodPlaced.of(body.cursor)
        after = at.account_id, at.period
    made, rest = await services.billing.close_due(after=after, limit=body.limit)
    return InvoicesShown(
        invoices=[invoice_row(each) for each in made],
        next=None if rest is None else PeriodPlaced(*rest).cursor(),
    )


async def reverse(services: Services, body: Reversed) -> ChargeRow:
    """Take the charge of a call back, for good; again changes nothing."""
    await _known(services, body.id)
    now = await services.corrections.reverse(body.id, reason=body.reason)
    return charge_row(now, now.event.charge_p)


async def preview_rerate(services: Services, query: CallsOf) -> RerateShown:
    """What calls of a model would cost at a published price; changes nothing."""
    seen = await _preview(services, query, *_instants(services, query))
    return _shown(seen, applied=False)


async def rerate(services: Services, body: Rerated) -> RerateShown:
    """Price calls of a model anew, if that comes to what the preview said."""
    since_ns, until_ns = _instants(services, body)
    seen = await _preview(services, body, since_ns, until_ns)
    meant_p = parse_usd(body.delta_usd)
    if seen.delta_p != meant_p:
        raise ProblemError(
            "contradiction",
            f"It would come to ${format_usd(seen.delta_p)}, and delta_usd says"
            f" ${format_usd(meant_p)}: calls have been posted or corrected meanwhile."
            " Look at the preview again, and end `until` in the past.",
        )
    done = await services.corrections.rerate(
        _model(services, body),
        since_ns,
        until_ns,
        reason=body.reason,
        price_version=body.price_version,
    )
    return _shown(done, applied=True)


async def _preview(
    services: Services, query: CallsOf, since_ns: int, until_ns: int
) -> Repriced:
    return await services.corrections.preview(
        _model(services, query),
        since_ns,
        until_ns,
        price_version=query.price_version,
        on_batch=_refuse_many,
    )


def _model(services: Services, query: CallsOf) -> str:
    """Return the name of the model, which the plan need not have any more."""
    model = services.prices.model(query.model)
    return query.model if model is None else model.name


def _refuse_many(seen: Repriced) -> None:
    if seen.calls > CALLS_MAX:
        raise ProblemError(
            "invalid_request",
            f"More than {CALLS_MAX:,} calls are too many for one request. Give a"
            " shorter time, or use `metering rerate`, which shows how far it is.",
        )


def _instants(services: Services, query: CallsOf) -> tuple[int, int]:
    until_ns = services.clock() if query.until is None else nanoseconds(query.until)
    return nanoseconds(query.since), until_ns


async def _known(services: Services, event_id: str) -> None:
    if await in_thread(services.ledger.standing, event_id) is None:
        raise ProblemError(
            "not_found", f"There is no call {event_id!r}. /v1/charges lists them by id."
        )


def _shown(seen: Repriced, *, applied: bool) -> RerateShown:
    by_size = sorted(seen.by_account.items(), key=lambda each: (-abs(each[1]), each[0]))
    return RerateShown(
        applied=applied,
        calls=seen.calls,
        changed=seen.changed,
        kept=seen.kept,
        delta_usd=format_usd(seen.delta_p),
        accounts=len(by_size),
        most=[
            AccountDelta(account=name, delta_usd=format_usd(delta_p))
            for name, delta_p in by_size[:_ACCOUNTS_MAX]
        ],
    )
