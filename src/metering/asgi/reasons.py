"""Why a quota refused a call, and the way on, in words for its client."""

from datetime import UTC, datetime

from metering.asgi.context import Call
from metering.asgi.headers import limit_headers
from metering.asgi.parts import Parts
from metering.asgi.refusal import Detail, Refusal
from metering.billing import affordable_output_tokens
from metering.clock import NS_PER_S
from metering.money import format_usd
from metering.quota import NEVER_NS, BudgetQuota, Demand, RateQuota, Unit, Verdict
from metering.stores import Outcome

__all__ = ["rate_in_words", "why_refused"]

_HELD_RETRY_NS_MAX = 30 * NS_PER_S
_SPANS = (
    ("day", 24 * 3600 * NS_PER_S),
    ("hour", 3600 * NS_PER_S),
    ("minute", 60 * NS_PER_S),
    ("second", NS_PER_S),
)

Headers = tuple[tuple[bytes, bytes], ...]


def rate_in_words(quota: RateQuota, unit: Unit, each: int = 1) -> str:
    """Return a rate as people say it, such as "100 requests per 2 minutes".

    Args:
        quota: The rate.
        unit: What it counts.
        each: How many units of the quota are one of that.
    """
    counted = unit.replace("_", " ")
    amount = f"{quota.amount / each:g}" if quota.amount % each else ""
    if quota.amount == each:
        counted = counted.removesuffix("s")
    span = f"{quota.per_ns / NS_PER_S:g} seconds"
    for name, length_ns in _SPANS:
        if quota.per_ns % length_ns == 0:
            count = quota.per_ns // length_ns
            span = name if count == 1 else f"{count} {name}s"
            break
    return f"{amount or f'{quota.amount // each:,}'} {counted} per {span}"


def why_refused(call: Call, outcome: Outcome, parts: Parts) -> Refusal:
    """Return the refusal by the quota that binds."""
    demand = call.demands[outcome.binding]
    verdict = outcome.verdicts[outcome.binding]
    headers = tuple(limit_headers(call.demands, outcome.verdicts))
    if isinstance(demand.quota, RateQuota):
        return _by_rate(demand, demand.quota, verdict, headers)
    if demand.unit == "pico_usd":
        return _by_money(call, demand, verdict, headers, parts)
    return _by_calls_at_once(demand, demand.quota, headers)


def _by_rate(
    demand: Demand, quota: RateQuota, verdict: Verdict, headers: Headers
) -> Refusal:
    each = demand.cost if demand.unit == "requests" else 1
    limit = max(1, quota.amount // each)
    details: dict[str, Detail] = {"quota": demand.name, "limit": limit}
    if verdict.retry_after_ns == NEVER_NS:
        counted = demand.unit.replace("_", " ")
        return Refusal(
            "request_exceeds_limit",
            f"The call takes {demand.cost} {counted}; quota {demand.name!r} never"
            f" grants more than {quota.burst} at once. Send less.",
            headers=headers,
            quota=demand.name,
            details=details,
        )
    return Refusal(
        "rate_limit_exceeded",
        f"The limit of {rate_in_words(quota, demand.unit, each)} is reached (quota"
        f" {demand.name!r}). Try again in {verdict.retry_after_ns / NS_PER_S:.3f} s.",
        retry_after_ns=verdict.retry_after_ns,
        headers=headers,
        quota=demand.name,
        unit=demand.unit,
        details=details,
    )


def _by_calls_at_once(demand: Demand, quota: BudgetQuota, headers: Headers) -> Refusal:
    running = "1 call runs" if quota.amount == 1 else f"{quota.amount:,} calls run"
    return Refusal(
        "rate_limit_exceeded",
        f"{running}, as many as may at once (quota {demand.name!r}). Try again when"
        " one of them has ended.",
        retry_after_ns=NS_PER_S,
        headers=headers,
        quota=demand.name,
        details={"quota": demand.name, "limit": quota.amount},
    )


def _by_money(
    call: Call, demand: Demand, verdict: Verdict, headers: Headers, parts: Parts
) -> Refusal:
    limit_p = demand.quota.amount
    needed, left = format_usd(demand.cost), format_usd(verdict.remaining)
    if demand.cost_min is not None:
        needed = f"{format_usd(demand.cost_min)} with the shortest answer"
    limit = format_usd(limit_p)
    details: dict[str, Detail] = {
        "quota": demand.name,
        "limit": limit,
        "spent": format_usd(limit_p - verdict.remaining),
    }
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
            details=details,
        )
    if verdict.reason == "impossible" and limit_p:
        tokens = affordable_output_tokens(call.quote, call.facts, verdict.remaining)
        if tokens:
            headers = (*headers, (b"x-affordable-output-tokens", b"%d" % tokens))
            details["affordable_output_tokens"] = tokens
        return Refusal(
            "request_exceeds_limit",
            f"This call alone may cost ${needed}, above the whole {demand.name} limit"
            f" of ${limit}. {_how_to_ask_for_less(call, tokens)}",
            headers=headers,
            quota=demand.name,
            details=details,
        )
    way_on = _way_on(call, parts)
    if demand.name == "credit":
        return Refusal(
            "insufficient_quota",
            f"This call may cost ${needed}; ${left} of ${limit} credit is left."
            f" {way_on[0].upper()}{way_on[1:]}.",
            headers=headers,
            quota=demand.name,
            details=details,
        )
    resets = ""
    if call.period is not None:
        details["resets_at"] = _instant(call.period.end_ns)
        resets = f" It resets at {details['resets_at']}."
    if demand.name == "key":
        whose, then = "this key's limit for the month", "Use another key of the account"
    else:
        whose, then = "this month's limit", f"Pay early, or {way_on}"
    return Refusal(
        "usage_limit_reached",
        f"This call may cost ${needed}; ${left} of {whose} of ${limit} is left."
        f"{resets} {then}.",
        headers=headers,
        quota=demand.name,
        details=details,
    )


def _how_to_ask_for_less(call: Call, affordable_tokens: int) -> str:
    quote = call.quote
    if quote is not None and quote.price is not None and quote.price.kind == "time":
        return (
            "It is billed by compute time, and the longest call is held for it. Name a"
            " model that costs less, or ask the operator for a higher limit."
        )
    if affordable_tokens:
        return (
            f"Ask for at most {affordable_tokens} output tokens"
            " (x-affordable-output-tokens)."
        )
    return (
        "Its input and one token of each output are above what is left. Send less"
        " input, ask for fewer outputs, or ask the operator for a higher limit."
    )


def _way_on(call: Call, parts: Parts) -> str:
    if call.caller is None or parts.tiers is None:
        return "ask the operator for more"
    above = parts.tiers.next_above(call.caller.tier)
    if above is None or above.lifetime_paid_min_p is None:
        return "ask the operator for a higher limit"
    missing_p = above.lifetime_paid_min_p - call.caller.account.lifetime_paid_p
    if above.payment_method and not call.caller.account.payment_method:
        return f"add a payment method to reach {above.name}"
    return f"pay ${format_usd(max(0, missing_p))} more to reach {above.name}"


def _instant(at_ns: int) -> str:
    """Return an instant as RFC 3339 writes it."""
    at = datetime.fromtimestamp(at_ns // NS_PER_S, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
