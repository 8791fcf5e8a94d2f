"""Admitting a call: its demands to the store, and a refusal in words for the client."""

import structlog

from metering.asgi.context import Call
from metering.asgi.headers import limit_headers
from metering.asgi.parts import Parts
from metering.asgi.refusal import Refusal
from metering.billing import affordable_output_tokens
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.money import format_usd
from metering.quota import NEVER_NS, BudgetQuota, Demand, Verdict
from metering.stores import Outcome

__all__ = ["StaleAccountError", "admit", "hold_id_of", "release"]

_HELD_RETRY_NS_MAX = 30 * NS_PER_S

_log = structlog.get_logger("metering")


class StaleAccountError(Exception):
    """The account has changed since it was resolved; nothing was taken or sent."""


def hold_id_of(call: Call) -> str:
    """Return the id of the call's hold; "" where nothing is to be settled."""
    for demand in call.demands:
        if demand.unit != "requests":
            return call.id
    return ""


async def admit(call: Call, parts: Parts) -> Refusal | None:
    """Have all demands of the call granted, or return why they are not.

    Raises:
        StaleAccountError: The account changed; resolve it again, but once only.
    """
    if parts.limiter is None or not call.demands:
        return None
    try:
        outcome = await parts.limiter.admit(
            call.demands, hold_id=hold_id_of(call), account=call.account
        )
    except StorageError as error:
        return Refusal("storage_unavailable", str(error), retry_after_ns=NS_PER_S)
    call.verdicts = outcome.verdicts
    if outcome.status == "admitted":
        if any(verdict.reason for verdict in outcome.verdicts):
            _drop_refused_in_shadow(call)
        return None
    if outcome.status == "refused":
        return _explain(call, outcome, parts)
    if outcome.status == "stale" and not call.started_over:
        raise StaleAccountError
    return Refusal(
        "storage_unavailable",
        "The account or its limits change faster than they can be read. Try again.",
        retry_after_ns=NS_PER_S,
    )


async def release(call: Call, parts: Parts) -> None:
    """Give back all that was taken for a call that does not run after all."""
    hold_id = hold_id_of(call)
    if parts.limiter is not None and hold_id:
        await parts.limiter.settle(hold_id, call.demands, [0] * len(call.demands))


def _explain(call: Call, outcome: Outcome, parts: Parts) -> Refusal:
    demand = call.demands[outcome.binding]
    quota = demand.quota
    verdict = outcome.verdicts[outcome.binding]
    headers = tuple(limit_headers(call.demands, outcome.verdicts))
    counted = demand.unit.replace("_", " ")
    if isinstance(quota, BudgetQuota):
        if demand.unit == "pico_usd":
            return _money(call, demand, verdict, headers, parts)
        return Refusal(
            "rate_limit_exceeded",
            f"{quota.amount} calls run, as many as may at once (quota"
            f" {demand.name!r}). Try again when one of them has ended.",
            retry_after_ns=NS_PER_S,
            headers=headers,
            quota=demand.name,
        )
    if verdict.retry_after_ns == NEVER_NS:
        return Refusal(
            "request_exceeds_limit",
            f"The call takes {demand.cost} {counted}; quota {demand.name!r} never"
            f" grants more than {quota.burst} at once. Send less.",
            headers=headers,
            quota=demand.name,
        )
    return Refusal(
        "rate_limit_exceeded",
        f"The limit of {quota.amount} {counted} per"
        f" {quota.per_ns / NS_PER_S:g} s is reached (quota {demand.name!r})."
        f" Try again in {verdict.retry_after_ns / NS_PER_S:.3f} s.",
        retry_after_ns=verdict.retry_after_ns,
        headers=headers,
        quota=demand.name,
        unit=demand.unit,
    )


def _drop_refused_in_shadow(call: Call) -> None:
    """Note which quotas would have refused the call: there is nothing to settle."""
    pairs = list(zip(call.demands, call.verdicts, strict=True))
    refused = tuple(demand.name for demand, verdict in pairs if verdict.reason)
    granted = [(demand, verdict) for demand, verdict in pairs if not verdict.reason]
    call.demands = [demand for demand, _ in granted]
    call.verdicts = tuple(verdict for _, verdict in granted)
    call.shadow_refused = refused
    _log.info(
        "call_refused_in_shadow",
        call=call.id,
        account=call.account[0] if call.account else None,
        quotas=refused,
    )


def _money(
    call: Call,
    demand: Demand,
    verdict: Verdict,
    headers: tuple[tuple[bytes, bytes], ...],
    parts: Parts,
) -> Refusal:
    needed, left = format_usd(demand.cost), format_usd(verdict.remaining)
    limit_p = demand.quota.amount
    if verdict.reason == "held":
        # Nobody knows when they end; until a lease is over, at the latest, all do.
        wait_ns = min(max(verdict.retry_after_ns, NS_PER_S), _HELD_RETRY_NS_MAX)
        return Refusal(
            "budget_in_flight",
            f"This call may cost ${needed}; ${left} is free while other calls of the"
            " account hold the rest. Try again when they have ended.",
            retry_after_ns=wait_ns,
            headers=headers,
            quota=demand.name,
        )
    if verdict.reason == "impossible" and limit_p:
        tokens = affordable_output_tokens(call.quote, call.facts, verdict.remaining)
        return Refusal(
            "request_exceeds_limit",
            f"This call alone may cost ${needed}, above the whole"
            f" {demand.name} limit of ${format_usd(limit_p)}. Ask for less output:"
            f" {tokens} tokens are affordable (affordable_output_tokens).",
            headers=(*headers, (b"x-affordable-output-tokens", b"%d" % tokens)),
            quota=demand.name,
        )
    if demand.name == "credit":
        return Refusal(
            "insufficient_quota",
            f"This call may cost ${needed}; ${left} of ${format_usd(limit_p)} credit is"
            f" left. {_ways_on(call, parts)}",
            headers=headers,
            quota=demand.name,
        )
    resets = "" if call.period is None else f" It resets after {call.period.key} (UTC)."
    return Refusal(
        "usage_limit_reached",
        f"This call may cost ${needed}; ${left} of this month's limit of"
        f" ${format_usd(limit_p)} is left.{resets} Pay early, or:"
        f" {_ways_on(call, parts)}",
        headers=headers,
        quota=demand.name,
    )


def _ways_on(call: Call, parts: Parts) -> str:
    if call.caller is None or parts.tiers is None:
        return "Ask the operator for more."
    above = parts.tiers.next_above(call.caller.tier)
    if above is None or above.lifetime_paid_min_p is None:
        return "Ask the operator for a higher limit."
    missing_p = above.lifetime_paid_min_p - call.caller.account.lifetime_paid_p
    if above.payment_method and not call.caller.account.payment_method:
        return f"Add a payment method to reach {above.name}."
    return f"Pay ${format_usd(max(0, missing_p))} more to reach {above.name}."
