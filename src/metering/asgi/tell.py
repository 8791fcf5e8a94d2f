"""Who hears of a refusal: the operator in the log, the history, and observers."""

from metering.asgi.context import Call
from metering.asgi.parts import Parts
from metering.asgi.refusal import NAME_SHOWN_MAX, Refusal
from metering.log import Log
from metering.observing import RefusedCall

__all__ = ["tell_refused"]

_log = Log()


def tell_refused(call: Call, refusal: Refusal, parts: Parts) -> None:
    """Write the one log event of a refusal, and tell the history and the observers."""
    _log.info(
        "call_refused",
        call=call.id,
        account=call.account[0] if call.account else None,
        model=call.facts.model[:NAME_SHOWN_MAX] if call.facts else None,
        code=refusal.code,
        quota=refusal.quota or None,
        reason=refusal.reason or None,
    )
    if parts.on_refused is None and not parts.observers.told:
        return
    refused = RefusedCall(
        id=call.id,
        account_id=None if call.caller is None else call.caller.account.id,
        code=refusal.code,
        status=refusal.status,
        quota=refusal.quota,
        tier=None if call.caller is None else call.caller.tier.level,
        model=call.model[:NAME_SHOWN_MAX],
        dialect=call.dialect.name,
        began_ns=call.now_ns,
        ended_ns=parts.clock(),
    )
    if parts.on_refused is not None:
        parts.on_refused(refused)
    parts.observers.call_refused(refused, call.request_headers)
