"""What an answer of OpenAI's Responses tells of its cost."""

from typing import Any

import msgspec

from metering.dialects.dialect import Report
from metering.dialects.figures import (
    NOT_AN_OBJECT,
    NULL,
    UNREADABLE,
    count_of,
    members_of,
    value_of,
)
from metering.errors import UsageError
from metering.usage import Usage

__all__ = ["Response", "read_response", "report_of"]


class Response(msgspec.Struct, frozen=True, gc=False):
    """The members of a response that tell something."""

    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    status: msgspec.Raw = NULL
    output: msgspec.Raw = NULL


_responses = msgspec.json.Decoder(Response)


def read_response(body: bytes | msgspec.Raw) -> Response | None:
    """Return what *body* says, or None if it is no JSON object."""
    try:
        return _responses.decode(body)
    except UNREADABLE:
        return None


def report_of(response: Response) -> Report:
    """Return what a response tells, be it a whole body or within an event."""
    failed = response.error != NULL or bytes(response.status) == b'"failed"'
    figures = value_of(response.usage)
    if figures is None:
        return Report(failed=failed)
    if not isinstance(figures, dict):
        return Report(failed=failed, refused=NOT_AN_OBJECT)
    try:
        return Report(_usage(figures), failed=failed)
    except UsageError as error:
        return Report(failed=failed, refused=str(error))


def _usage(figures: dict[str, Any]) -> Usage | None:
    read, written = (
        count_of(figures, "input_tokens"),
        count_of(figures, "output_tokens"),
    )
    if read is None or written is None:
        return None
    of_read = members_of(figures, "input_tokens_details")
    of_written = members_of(figures, "output_tokens_details")
    # Parts of the two totals on the wire, and taken out of them here. A part above its
    # total is cut to it: the total is what was done.
    from_cache = min(count_of(of_read, "cached_tokens") or 0, read)
    to_cache = min(count_of(of_read, "cache_write_tokens") or 0, read - from_cache)
    reasoning = min(count_of(of_written, "reasoning_tokens") or 0, written)
    return Usage(
        input_tokens=read - from_cache - to_cache,
        cache_read_tokens=from_cache,
        cache_write_tokens=to_cache,
        output_tokens=written - reasoning,
        reasoning_tokens=reasoning,
    )
