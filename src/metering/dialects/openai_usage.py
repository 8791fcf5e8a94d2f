"""What an OpenAI-like answer tells of its cost, as a whole body or as one event."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal

import msgspec

from metering.clock import NS_PER_MS, NS_PER_S
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
    "Answer",
    "carries_choice",
    "has_failed",
    "read_answer",
    "report_of",
    "written_tokens",
]

# Ample digits for 2**53 seconds in nanoseconds, whatever the caller's context is.
_NANOSECONDS = Context(prec=40, rounding=ROUND_HALF_UP)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The members of a response, or of one event of it, that tell something."""

    usage: msgspec.Raw = NULL
    choices: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    object: msgspec.Raw = NULL
    metrics: msgspec.Raw = NULL
    time_info: msgspec.Raw = NULL


_answers = msgspec.json.Decoder(Answer)


def read_answer(body: bytes) -> Answer | None:
    """Return what *body* says, or None if it is no JSON object."""
    try:
        return _answers.decode(body)
    except UNREADABLE:
        return None


def has_failed(answer: Answer) -> bool:
    """Whether *answer* is an error: `{"error": …}` or vLLM's `{"object": "error"}`."""
    return answer.error != NULL or bytes(answer.object) == b'"error"'


def carries_choice(answer: Answer) -> bool:
    """Whether *answer* has a choice: what a model wrote, or a part of it."""
    choices = answer.choices
    return choices != NULL and bytes(choices).strip(b"[] \t\r\n") != b""


def report_of(answer: Answer, *, writes: bool) -> Report:
    """Return what *answer* tells.

    Args:
        answer: A whole response, or one event of a stream.
        writes: Whether the model writes tokens: a usage without their number tells
            nothing then.
    """
    failed = has_failed(answer)
    figures = value_of(answer.usage)
    if figures is None:
        return Report(failed=failed)
    if not isinstance(figures, dict):
        return Report(failed=failed, refused=NOT_AN_OBJECT)
    try:
        compute_ms, time_source = _compute_ms(answer, figures)
        usage = _usage(figures, compute_ms, writes=writes)
    except UsageError as error:
        return Report(failed=failed, refused=str(error))
    return Report(usage, time_source=time_source if usage else "", failed=failed)


def written_tokens(answer: Answer) -> int:
    """Return an estimate of the tokens in the text of a whole response."""
    choices = value_of(answer.choices)
    text_bytes = 0
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            message = choice.get("message")
            parts = message if isinstance(message, dict) else choice
            for name in ("content", "reasoning_content", "reasoning", "text"):
                text = parts.get(name)
                text_bytes += len(text.encode()) if isinstance(text, str) else 0
    return -(-text_bytes // TEXT_BYTES_PER_TOKEN)


def _usage(
    figures: Mapping[str, object], compute_ms: int, *, writes: bool
) -> Usage | None:
    read = count_of(figures, "prompt_tokens")
    written = count_of(figures, "completion_tokens")
    if read is None or (writes and written is None):
        return None
    of_read = members_of(figures, "prompt_tokens_details")
    of_written = members_of(figures, "completion_tokens_details")
    reasoning = count_of(of_written, "reasoning_tokens")
    if reasoning is None:
        reasoning = count_of(figures, "reasoning_tokens")  # where SGLang puts it
    # Parts of the two totals on the wire, and taken out of them here. A part above its
    # total is cut to it: the total is what was done.
    written = written or 0
    from_cache = min(count_of(of_read, "cached_tokens") or 0, read)
    to_cache = min(count_of(of_read, "cache_write_tokens") or 0, read - from_cache)
    reasoning = min(reasoning or 0, written)
    return Usage(
        input_tokens=read - from_cache - to_cache,
        cache_read_tokens=from_cache,
        cache_write_tokens=to_cache,
        output_tokens=written - reasoning,
        reasoning_tokens=reasoning,
        compute_ms=compute_ms,
    )


def _compute_ms(answer: Answer, figures: Mapping[str, object]) -> tuple[int, str]:
    """Return the model's execution in whole ms, rounded half up, and who told it."""
    if (
        "prompt_time" not in figures
        and answer.metrics == NULL
        and answer.time_info == NULL
    ):
        return 0, ""  # most servers tell no time
    metrics, time_info = value_of(answer.metrics), value_of(answer.time_info)
    told: dict[str, int] = {}
    if isinstance(metrics, dict):  # vLLM: the first token's time includes the queue
        first = _ns(metrics, "time_to_first_token_ms", NS_PER_MS)
        queue = _ns(metrics, "queue_time_ms", NS_PER_MS)
        rest = _ns(metrics, "generation_time_ms", NS_PER_MS)
        if first is not None and queue is not None and rest is not None:
            told["metrics"] = first - queue + rest
    for source, times in (("usage", figures), ("time_info", time_info)):
        if isinstance(times, dict):  # Groq; Cerebras
            read = _ns(times, "prompt_time", NS_PER_S)
            write = _ns(times, "completion_time", NS_PER_S)
            if read is not None and write is not None:
                told[source] = read + write
    for source, ns in told.items():
        if 0 <= ns <= COUNT_MAX:
            return (2 * ns + NS_PER_MS) // (2 * NS_PER_MS), source
    return 0, ""


def _ns(times: Mapping[str, object], name: str, unit_ns: int) -> int | None:
    time = times.get(name)
    if isinstance(time, bool) or not isinstance(time, int | Decimal):
        return None
    if not 0 <= time <= COUNT_MAX:
        return None
    exact = _NANOSECONDS.multiply(Decimal(time), unit_ns)
    return int(exact.to_integral_value(context=_NANOSECONDS))
