"""Refusals as clients see them: status, code, headers and a body in their dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Send

from metering.asgi.context import Call
from metering.clock import NS_PER_MS, NS_PER_S
from metering.dialects.dialect import Detail
from metering.errors import JournalFullError, StorageError
from metering.quota import Unit

__all__ = [
    "NAME_SHOWN_MAX",
    "Detail",
    "Refusal",
    "retry_headers",
    "send_refusal",
    "storage_refusal",
]

NAME_SHOWN_MAX = 200
"""Letters of a name that a client made up, as answers and logs repeat it."""

RETRY_AFTER_MAX_NS = 60 * NS_PER_S
"""Above it some SDKs hammer and some sleep for minutes: they are told not to retry."""

STATUS_BY_CODE = {
    "invalid_json": 400,
    "invalid_form": 400,
    "invalid_content_encoding": 400,
    "model_missing": 400,
    "request_exceeds_limit": 400,
    "input_not_bounded": 400,
    "output_not_bounded": 400,
    "invalid_api_key": 401,
    "insufficient_quota": 402,
    "usage_limit_reached": 402,
    "account_suspended": 403,
    "route_not_metered": 403,
    "model_not_priced": 404,
    "body_too_large": 413,
    "unsupported_content_encoding": 415,
    "rate_limit_exceeded": 429,
    "budget_in_flight": 429,
    "storage_unavailable": 503,
    "journal_full": 503,
    "model_not_ready": 503,
    "platform_busy": 503,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not served.

    Attributes:
        code: A key of `STATUS_BY_CODE`.
        message: What happened, with the value, and the way on.
        retry_after_ns: When to try again; None where that does not help.
        headers: Further headers.
        quota: Name of the quota that refused, for logs.
        unit: What that quota counts.
        details: Further members of the error, such as `resets_at`.
        reason: What failed inside the service, for logs alone.
    """

    code: str
    message: str
    retry_after_ns: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    quota: str = ""
    unit: Unit = "requests"
    details: Mapping[str, Detail] = field(default_factory=dict)
    reason: str = ""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS_BY_CODE[self.code]


def storage_refusal(error: StorageError) -> Refusal:
    """Return the refusal of a call that a store or the journal cannot take just now."""
    # The error names hosts, files and a driver's words: none of a client's business.
    if isinstance(error, JournalFullError):
        return Refusal(
            "journal_full",
            "What calls use cannot be written down just now, so none is served. Try"
            " again in a few seconds.",
            retry_after_ns=5 * NS_PER_S,
            reason=str(error),
        )
    return Refusal(
        "storage_unavailable",
        "The storage that calls are counted in does not answer just now. Try again in"
        " a second.",
        retry_after_ns=NS_PER_S,
        reason=str(error),
    )


def retry_headers(retry_after_ns: int | None) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a client's SDK when to try again, rounded up."""
    if retry_after_ns is None:
        return [(b"x-should-retry", b"false")]
    seconds = max(1, -(-retry_after_ns // NS_PER_S))
    headers = [
        (b"retry-after", b"%d" % seconds),
        (b"retry-after-ms", b"%d" % -(-retry_after_ns // NS_PER_MS)),
    ]
    if retry_after_ns > RETRY_AFTER_MAX_NS:
        headers.append((b"x-should-retry", b"false"))
    return headers


async def send_refusal(call: Call, refusal: Refusal, send: Send) -> None:
    """Answer the call with a refusal, as plain JSON also where a stream was wanted."""
    body = call.dialect.error_body(
        status=refusal.status,
        code=refusal.code,
        message=refusal.message,
        unit=refusal.unit,
        details=refusal.details,
        call_id=call.id,
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-usage-id", call.id.encode()),
        (b"x-request-id", call.id.encode()),
        (b"request-id", call.id.encode()),  # where Anthropic's clients look for it
        *retry_headers(refusal.retry_after_ns),
        *refusal.headers,
    ]
    if refusal.status == 401:  # noqa: PLR2004 - RFC 9110 asks for the challenge
        headers.append((b"www-authenticate", b"Bearer"))
    await send(
        {"type": "http.response.start", "status": refusal.status, "headers": headers}
    )
    await send({"type": "http.response.body", "body": body})
