"""What a call used where its answer told nothing of it, or but a part."""

from collections.abc import Callable

import msgspec

from metering.asgi.context import Call
from metering.dialects.dialect import Report
from metering.facts import SentAudio
from metering.log import Log
from metering.usage import Usage, UsageSource

__all__ = ["estimate", "filled", "sent", "told"]

_log = Log()


def told(call: Call, read: Callable[[], Report]) -> Report:
    """Return what an answer tells; nothing, where its dialect fails to read it.

    An app's own dialect may raise: the answer is passed on all the same, and the call
    is ended and settled as one without a usage.
    """
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's dialect raises
        _log.error(
            "answer_not_read",
            call=call.id,
            dialect=call.dialect.name,
            error=type(error).__name__,  # not its message, which may quote the answer
        )
        return Report()


def estimate(call: Call, output_tokens: int, *, whole: bool = False) -> Usage:
    """Return about what a call used of which no answer told the usage.

    Args:
        call: The call.
        output_tokens: What was counted of its output.
        whole: Whether all was delivered that was asked for.
    """
    facts = call.facts
    if facts is None:
        return Usage()
    return Usage(
        input_tokens=call.estimate_input_tokens(),
        output_tokens=output_tokens,
        audio_ms=0 if facts.audio is None else _audio_ms(call, facts.audio),
        images=facts.images if whole else 0,
    )


def filled(call: Call, report: Report, told: Usage) -> tuple[Usage, UsageSource]:
    """Return a usage of which the answer told a part, with what the price needs.

    Args:
        call: The call.
        report: What its answer told, and which part it did not.
        told: Its usage.
    """
    audio = None if call.facts is None else call.facts.audio
    priced = _priced(call)
    if report.untold == "audio_ms" and audio is not None:
        if audio.exact_ms is not None or "audio_ms" in priced:
            told = msgspec.structs.replace(told, audio_ms=_audio_ms(call, audio))
        known = audio.exact_ms is not None or "audio_ms" not in priced
    else:
        known = report.untold != "tokens" or "output_tokens" not in priced
        if not known:
            about = estimate(call, report.counted_tokens)
            told = msgspec.structs.replace(
                told, input_tokens=about.input_tokens, output_tokens=about.output_tokens
            )
    return told, "upstream" if known else "estimated"


def sent(call: Call) -> Usage | None:
    """Return the usage that the request tells; None where the price needs more."""
    priced = _priced(call)
    audio = None if call.facts is None else call.facts.audio
    exact_ms = None if audio is None else audio.exact_ms
    if not priced or not priced <= {"requests", "audio_ms"}:
        return None
    if "audio_ms" in priced and exact_ms is None:
        return None
    return Usage(audio_ms=exact_ms or 0)


def _priced(call: Call) -> frozenset[str]:
    price = None if call.quote is None else call.quote.price
    return frozenset() if price is None else frozenset(price.rates)


def _audio_ms(call: Call, audio: SentAudio) -> int:
    """Return the length of the audio: as its header tells, or at most what was held."""
    if audio.exact_ms is not None:
        return audio.exact_ms
    model = None if call.quote is None else call.quote.model
    longest_ms = (None if model is None else model.audio_ms_max) or 0
    about_ms = audio.about_ms
    return longest_ms if about_ms is None else min(about_ms, longest_ms or about_ms)
