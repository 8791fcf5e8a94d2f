"""What an answer about audio or images tells of its cost, as a body or as one event."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Literal

import msgspec

from metering.dialects.dialect import Report
from metering.dialects.figures import (
    COUNT_MAX,
    NOT_AN_OBJECT,
    NULL,
    TEXT_BYTES_PER_TOKEN,
    UNREADABLE,
    count_of,
    members_of,
    value_of,
)
from metering.errors import UsageError
from metering.usage import Usage

__all__ = [
    "MediaAnswer",
    "has_failed",
    "read_answer",
    "report_of",
    "report_of_images",
]

# Ample digits for 2**53 ms, whatever the caller's context is.
_EXACTLY = Context(prec=60, rounding=ROUND_HALF_UP)
_MS_PER_S = 1000
_DIGITS_MAX = 40
_SECONDS = ("seconds", "prompt_audio_seconds")  # OpenAI and vLLM; Mistral
_MILLISECONDS = "input_audio_length_ms"  # Friendli


class MediaAnswer(msgspec.Struct, frozen=True, gc=False):
    """The members of a response, or of one event of it, that tell something."""

    type: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    object: msgspec.Raw = NULL
    duration: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    data: msgspec.Raw = NULL


_answers = msgspec.json.Decoder(MediaAnswer)
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def read_answer(body: bytes) -> MediaAnswer | None:
    """Return what *body* says, or None if it is no JSON object."""
    try:
        return _answers.decode(body)
    except UNREADABLE:
        return None


def has_failed(answer: MediaAnswer) -> bool:
    """Whether *answer* is an error: `{"error": …}` or a `type` or `object` that is."""
    return (
        answer.error != NULL
        or bytes(answer.type) == b'"error"'
        or bytes(answer.object) == b'"error"'
    )


def report_of(answer: MediaAnswer, *, listens: bool = False) -> Report:
    """Return what tokens were read and written, and what audio was listened to.

    Args:
        answer: A whole response, or one event of a stream.
        listens: Whether the model listens to audio. Servers then tell its length, or
            tokens, or both.
    """
    failed = has_failed(answer)
    figures = value_of(answer.usage)
    counted = 0 if failed else _written_tokens(answer)
    if figures is None:
        figures = {}
    elif not isinstance(figures, dict):
        return Report(failed=failed, refused=NOT_AN_OBJECT)
    try:
        usage = _tokens(figures)
        audio_ms = _audio_ms(figures, value_of(answer.duration)) if listens else None
    except UsageError as error:
        return Report(failed=failed, refused=str(error))
    untold: Literal["", "tokens", "audio_ms"] = ""
    if audio_ms is not None:
        untold = "tokens" if usage is None else ""
        usage = msgspec.structs.replace(usage or Usage(), audio_ms=audio_ms)
    elif usage is not None and listens:
        untold = "audio_ms"
    return Report(usage, counted, failed=failed, untold=untold)


def report_of_images(answer: MediaAnswer) -> Report:
    """Return how many images a whole answer has, and what tokens they took."""
    report = report_of(answer)
    try:
        images = len(_elements.decode(answer.data))
    except UNREADABLE:  # null, if there are none to be seen
        return report
    if report.refused:
        return report
    if report.usage is None:
        return Report(Usage(images=images), failed=report.failed, untold="tokens")
    return report._replace(usage=msgspec.structs.replace(report.usage, images=images))


def _tokens(figures: Mapping[str, object]) -> Usage | None:
    """Return the tokens, in the newer or the older words; None where none are told."""
    read, details = count_of(figures, "input_tokens"), "input_tokens_details"
    written = count_of(figures, "output_tokens")
    if read is None and written is None:
        read, details = count_of(figures, "prompt_tokens"), "prompt_tokens_details"
        written = count_of(figures, "completion_tokens")
    elif details not in figures:
        details = "input_token_details"  # of transcripts
    if read is None or written is None:
        return None
    # A part of the total on the wire, and taken out of it here.
    from_cache = count_of(members_of(figures, details), "cached_tokens") or 0
    from_cache = min(from_cache, read)
    return Usage(read - from_cache, from_cache, output_tokens=written)


def _audio_ms(figures: Mapping[str, object], duration: object) -> int | None:
    exact = count_of(figures, _MILLISECONDS)
    if exact is not None:
        return exact
    for seconds in (*map(figures.get, _SECONDS), duration):
        if seconds is not None and seconds != ():
            return _ms(seconds)
    return None


def _ms(seconds: object) -> int:
    """Return a length in milliseconds, rounded half up; some write it as a string.

    Raises:
        UsageError: It cannot be one.
    """
    if isinstance(seconds, str) and len(seconds) <= _DIGITS_MAX:
        try:
            seconds = Decimal(seconds)
        except InvalidOperation:
            seconds = None
    if isinstance(seconds, int | Decimal) and not isinstance(seconds, bool):
        exact = Decimal(seconds)
        if exact.is_finite() and 0 <= exact <= COUNT_MAX:
            ms = _EXACTLY.multiply(exact, _MS_PER_S)
            return int(ms.to_integral_value(context=_EXACTLY))
    raise UsageError("the length of the audio is no time from 0 to 2**53 s")


def _written_tokens(answer: MediaAnswer) -> int:
    text = value_of(answer.text)
    written = len(text.encode(errors="replace")) if isinstance(text, str) else 0
    return -(-written // TEXT_BYTES_PER_TOKEN)
