"""The event of a call: what is recorded when it opens, while it runs, when it ends."""

import msgspec

from metering.asgi.context import Call
from metering.asgi.missing import MissingUsage
from metering.asgi.untold import estimate, filled, sent
from metering.dialects.dialect import Report
from metering.money import AMOUNT_MAX_P
from metering.usage import Ending, Usage, UsageEvent, UsageSource

__all__ = ["closing_event", "opening_event", "running_event", "unserved_event"]

_ERROR_STATUS = 400
_NOTHING = Usage()


def opening_event(call: Call) -> UsageEvent:
    """Return the event to post should nothing more be heard of the call: its input."""
    return running_event(call, Report(), at_ns=call.now_ns)


def unserved_event(call: Call, ended_ns: int) -> UsageEvent:
    """Return the event of a call that was opened and never reached the app: $0."""
    return _event(call, _NOTHING, "cancelled", "none", ended_ns=ended_ns)


def running_event(
    call: Call, report: Report, *, at_ns: int, measured_ms: int = 0
) -> UsageEvent:
    """Return the event to post should the process die now.

    Args:
        call: The call.
        report: What its response told so far.
        at_ns: The present instant; nothing later is known of the call then.
        measured_ms: As in `closing_event`, so far.
    """
    usage = report.usage or estimate(call, report.counted_tokens)
    usage, time_source = _with_time(call, usage, report, measured_ms)
    event = _event(
        call,
        usage,
        "recovered",
        "checkpoint",
        ended_ns=at_ns,
        time_source=time_source,
    )
    if event.charge_p > AMOUNT_MAX_P:
        return _flagged(_quarantined(call, "recovered", 0, at_ns), "recovered")
    if report.usage is None or report.partial:
        return _flagged(event, "estimated", "recovered")
    return _flagged(event, "recovered")


def closing_event(
    call: Call,
    report: Report,
    ending: Ending,
    *,
    status: int,
    measured_ms: int,
    ended_ns: int,
    missing: MissingUsage,
) -> UsageEvent:
    """Return the final event of a call.

    Args:
        call: The call.
        report: What its response told.
        ending: How it ended, as far as the messages showed.
        status: HTTP status; 0 where no response began.
        measured_ms: From the call's dispatch to its last byte, without waiting for
            the client; used for time prices where the server told no time.
        ended_ns: When it ended.
        missing: What becomes of a whole answer that did not tell its usage.
    """
    if report.failed or status >= _ERROR_STATUS:
        ending = "upstream_error"
    if report.refused and (call.reported is None or call.reported.usage is None):
        return _quarantined(call, ending, status, ended_ns)
    usage, source = _measured(call, report, ending, status)
    time_source = ""
    if source != "none":
        usage, time_source = _with_time(call, usage, report, measured_ms)
    event = _event(
        call,
        usage,
        ending,
        source,
        ended_ns=ended_ns,
        status=status,
        time_source=time_source,
    )
    if (
        source == "estimated"
        and missing.policy != "estimate"
        and _never_told(call, report, ending)
    ):
        return _decided(event, missing)
    if event.charge_p > AMOUNT_MAX_P:  # each count may be true, their price cannot
        return _quarantined(call, ending, status, ended_ns)
    return event


def _never_told(call: Call, report: Report, ending: Ending) -> bool:
    """Whether the answer was whole and the charge still rests on an estimate alone.

    An answer that was cut off might have told its usage at its end: were it free, every
    client would hang up before. By time a call is charged for what was measured.
    """
    return ending == "completed" and not report.partial and not _is_timed(call)


def _decided(event: UsageEvent, missing: MissingUsage) -> UsageEvent:
    """Charge as the operator decided for calls whose usage nobody told."""
    if event.price_version:
        missing.tell(event.model)
    free = missing.policy == "free"
    flags = tuple(flag for flag in event.flags if flag != "overrun")
    return msgspec.structs.replace(
        event,
        charge_p=0 if free else event.hold_p,
        flags=(*flags, "usage_missing" if free else "quarantined"),
    )


def _with_time(
    call: Call, usage: Usage, report: Report, measured_ms: int
) -> tuple[Usage, str]:
    """Add the compute time, from whom it is to be trusted most."""
    reported = call.reported
    if reported is not None and reported.compute_ms is not None:
        compute_ms, source = reported.compute_ms, "reported"
    elif report.time_source and report.usage is not None:
        compute_ms, source = report.usage.compute_ms, report.time_source
    elif _is_timed(call):
        compute_ms, source = call.header_time or (measured_ms, "measured")
    else:
        return usage, ""
    return msgspec.structs.replace(usage, compute_ms=compute_ms), source


def _is_timed(call: Call) -> bool:
    price = None if call.quote is None else call.quote.price
    return price is not None and price.kind == "time"


def _measured(
    call: Call, report: Report, ending: Ending, status: int
) -> tuple[Usage, UsageSource]:
    if call.reported is not None and call.reported.usage is not None:
        return call.reported.usage, "reported"
    if report.usage is not None and report.untold:
        return filled(call, report, report.usage)
    if report.usage is not None:
        return report.usage, "estimated" if report.partial else "upstream"
    served = ending in {"completed", "client_gone", "cancelled"}
    if status >= _ERROR_STATUS or not (served or report.counted_tokens):
        return _NOTHING, "none"
    known = sent(call)
    if known is not None:
        return known, "request"
    whole = ending == "completed"
    return estimate(call, report.counted_tokens, whole=whole), "estimated"


def _quarantined(call: Call, ending: Ending, status: int, ended_ns: int) -> UsageEvent:
    # The report cannot be true, so the call is charged what it was held for.
    event = _event(
        call,
        estimate(call, 0),
        ending,
        "estimated",
        ended_ns=ended_ns,
        status=status,
    )
    event = msgspec.structs.replace(event, charge_p=call.hold_p)
    return _flagged(event, "quarantined")


def _flagged(event: UsageEvent, *flags: str) -> UsageEvent:
    return msgspec.structs.replace(event, flags=(*event.flags, *flags))


def _event(
    call: Call,
    usage: Usage,
    ending: Ending,
    source: UsageSource,
    *,
    ended_ns: int,
    status: int = 0,
    time_source: str = "",
) -> UsageEvent:
    caller, quote, clamp, facts = call.caller, call.quote, call.clamp, call.facts
    price = None if quote is None else quote.price
    asked = model = "" if facts is None else facts.model
    if quote is not None and quote.model is not None:
        model = quote.model.name
    charge_p = 0 if price is None or source == "none" else price.charge_p(usage)
    flags = call.shadow_refused
    if flags:
        flags = tuple(f"shadow:{name}" for name in flags)
    if source == "estimated":
        flags = (*flags, "estimated")
    if charge_p > call.hold_p:
        flags = (*flags, "overrun")
    if quote is not None and price is None:
        flags = (*flags, "unpriced")
    if quote is not None and quote.agreed:
        flags = (*flags, "agreed_price")
    return UsageEvent(
        id=call.id,
        account_id="" if caller is None else caller.account.id,
        key_id="" if caller is None else caller.key_id,
        tier=0 if caller is None else caller.tier.level,
        model=model,
        model_asked="" if asked == model else asked,
        dialect=call.dialect.name,
        price_version="" if price is None else price.id,
        period="" if call.period is None else call.period.key,
        funding="postpaid" if caller is None else caller.funding,
        admitted_ns=call.now_ns,
        ended_ns=ended_ns,
        ending=ending,
        status=status,
        usage=usage,
        usage_source=source,
        time_source=time_source,
        charge_p=charge_p,
        hold_p=call.hold_p,
        output_tokens_max=0 if clamp is None else clamp.output_tokens_max,
        clamped_from=None if clamp is None else clamp.clamped_from,
        flags=flags,
    )
