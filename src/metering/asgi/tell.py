"""Who hears of a refusal: the operator in the log, and those who observe calls."""

from metering.asgi.context import Call
from metering.asgi.parts import Parts
from metering.asgi.refusal import NAME_SHOWN_MAX, Refusal
from metering.log import Log
from metering.observing import RefusedCall

__all__ = ["tell_refused"]

_log = Log()


def tell_refused(call: Call, refusal: Refusal, parts: Parts) -> None:
    """Write the one log event of a refusal, and tell the observers."""
    _log.info(
        "call_refused",
        call=call.id,
        account=call.account[0] if call.account else None,
        model=call.facts.model[:NAME_SHOWN_MAX] if call.facts else None,
        code=refusal.code,
        quota=refusal.quota or None,
    )
    if parts.observers.told:
        refused = RefusedCall(
            id=call.id,
            code=refusal.code,
            status=refusal.status,
            quota=refusal.quota,
            tier=None if call.caller is None else call.caller.tier.level,
            model=call.model[:NAME_SHOWN_MAX],
            dialect=call.dialect.name,
            began_ns=call.now_ns,
            ended_ns=parts.clock(),
        )
        parts.observers.call_refused(refused, call.request_headers)
