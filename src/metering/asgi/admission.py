"""Admitting a call: all its demands to the store, and giving back what it took."""

from metering.asgi.context import Call
from metering.asgi.lowering import fit
from metering.asgi.parts import Parts
from metering.asgi.reasons import why_refused
from metering.asgi.refusal import Refusal, storage_refusal
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.log import Log

__all__ = ["StaleAccountError", "admit", "hold_id_of", "release"]

_log = Log()


class StaleAccountError(Exception):
    """The account has changed since it was resolved; nothing was taken or sent."""


def hold_id_of(call: Call) -> str:
    """Return the id of the call's hold; "" where nothing is to be settled."""
    if call.gates or call.returnable:
        return call.id
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
        return storage_refusal(error)
    call.verdicts = outcome.verdicts
    if outcome.status == "admitted":
        if parts.clamp == "fit":
            fit(call, outcome.verdicts)
        if any(verdict.reason for verdict in outcome.verdicts):
            _drop_refused_in_shadow(call)
        return None
    if outcome.status == "refused":
        return why_refused(call, outcome, parts)
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
