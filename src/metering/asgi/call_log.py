"""The line that each call may be logged with."""

from metering.clock import NS_PER_MS
from metering.log import Log
from metering.money import format_usd
from metering.usage import UsageEvent

__all__ = ["log_call"]

_log = Log()


def log_call(event: UsageEvent) -> None:
    """Log that a call has ended, and what it used: ids and amounts, no content."""
    _log.info(
        "call",
        call=event.id,
        account=event.account_id,
        tier=event.tier,
        model=event.model,
        ending=event.ending,
        status=event.status,
        input_tokens=event.usage.input_total,
        output_tokens=event.usage.output_total,
        compute_ms=event.usage.compute_ms,
        audio_ms=event.usage.audio_ms,
        images=event.usage.images,
        charge_usd=format_usd(event.charge_p),
        duration_ms=(event.ended_ns - event.admitted_ns) // NS_PER_MS,
    )
