"""What an app says itself of a call: its usage, its compute time."""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
from starlette.requests import HTTPConnection

from metering.asgi.context import call_of
from metering.errors import UsageError
from metering.usage import Usage

__all__ = ["Reported", "header_time", "report"]

_COUNT_MAX = 2**53
_COMPUTE = re.compile(rb"(?:^|,)\s*compute\s*;[^,]*?\bdur=\"?(\d{1,15}(?:\.\d{1,9})?)")
_MS = re.compile(rb"\d{1,15}(?:\.\d{1,9})?")


class Reported(msgspec.Struct, frozen=True):
    """What an app reported; None where it said nothing."""

    usage: Usage | None = None
    compute_ms: int | None = None


def report(
    request: HTTPConnection | Mapping[str, Any],
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    audio_ms: int | None = None,
    images: int | None = None,
    compute_ms: int | None = None,
) -> bool:
    """Say what a call used, from within the app: it is trusted above all else.

    To be called before the last of the answer is sent. Said again, the last word
    counts. All counts are said together; the time may be said by itself.

    Args:
        request: Starlette's or FastAPI's request, or an ASGI scope.
        input_tokens: Fresh tokens that the model read, without those of the cache.
        output_tokens: Tokens that it wrote, without its reasoning.
        cache_read_tokens: Tokens read from the cache.
        cache_write_tokens: Tokens written to it.
        reasoning_tokens: Tokens of its reasoning.
        audio_ms: Length of the audio that it listened to.
        images: Images that it made.
        compute_ms: Its execution alone, without queue, cold start or network.

    Returns:
        Whether anybody meters the call.

    Raises:
        UsageError: A figure is no whole number from 0 to 2**53.
    """
    counts = {
        "input_tokens": input_tokens or 0,
        "output_tokens": output_tokens or 0,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
        "reasoning_tokens": reasoning_tokens,
        "audio_ms": audio_ms or 0,
        "images": images or 0,
    }
    for name, count in {**counts, "compute_ms": compute_ms or 0}.items():
        if type(count) is not int or not 0 <= count <= _COUNT_MAX:
            raise UsageError(f"{name} {count!r} is no whole number from 0 to 2**53.")
    scope = request.scope if isinstance(request, HTTPConnection) else request
    call = call_of(scope)  # type: ignore[arg-type]
    if call is None:
        return False
    told = (input_tokens, output_tokens, audio_ms, images)
    usage = None if told == (None,) * 4 else Usage(**counts)
    before = call.reported or Reported()
    call.reported = Reported(
        usage or before.usage,
        before.compute_ms if compute_ms is None else compute_ms,
    )
    return True


def header_time(headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
    """Return the compute time in ms that a response's headers tell, and which does.

    Source: `Server-Timing` (W3C), metric `compute`; TGI's `x-inference-time` in ms.
    """
    for key, value in headers:
        name = key.lower()
        if name == b"server-timing":
            found = _COMPUTE.search(value)
            if found is not None:
                return _whole_ms(found[1]), "server-timing"
        elif name == b"x-inference-time":
            whole = _MS.fullmatch(value.strip())
            if whole is not None:
                return _whole_ms(whole[0]), "x-inference-time"
    return None


def _whole_ms(digits: bytes) -> int:
    ms = Decimal(digits.decode("ascii")).quantize(Decimal(1), ROUND_HALF_UP)
    return min(int(ms), _COUNT_MAX)
