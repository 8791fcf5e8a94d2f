"""Headers as bytes: reading one, and writing what tells a client its limits."""

from collections.abc import Iterable
from functools import lru_cache

from metering.clock import NS_PER_S
from metering.quota import Demand, RateQuota, Verdict

__all__ = ["find_header", "go_duration", "limit_headers"]

_NS_PER_MINUTE = 60 * NS_PER_S
_NS_PER_MS = 1_000_000
_POLICIES_MAX = 1024

Header = tuple[bytes, bytes]


def find_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the first header of that lower-case name, or b""."""
    for key, value in headers:
        if key == name or key.lower() == name:
            return value
    return b""


def go_duration(span_ns: int) -> str:
    """Return a span as OpenAI's clients parse it ("12ms", "1s", "6m0s"), rounded up."""
    if span_ns < NS_PER_S:
        return f"{-(-span_ns // _NS_PER_MS)}ms"
    minutes, rest_ns = divmod(-(-span_ns // NS_PER_S) * NS_PER_S, _NS_PER_MINUTE)
    seconds = rest_ns // NS_PER_S
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def limit_headers(demand: Demand, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return what tells a client of one rate quota: OpenAI's names and the IETF's.

    Source: draft-ietf-httpapi-ratelimit-headers-10, structured fields (RFC 9651).
    """
    quota = demand.quota
    if not isinstance(quota, RateQuota):
        return []
    limit, policy, remaining_name, reset_name, name = _policy(demand.name, quota)
    left, reset_ns = verdict.remaining, verdict.reset_after_ns
    return [
        limit,
        (remaining_name, b"%d" % left),
        (reset_name, go_duration(reset_ns).encode()),
        policy,
        (b"ratelimit", b'"%b";r=%d;t=%d' % (name, left, -(-reset_ns // NS_PER_S))),
    ]


@lru_cache(maxsize=_POLICIES_MAX)
def _policy(name: str, quota: RateQuota) -> tuple[Header, Header, bytes, bytes, bytes]:
    """Return what is the same for all calls: two headers, two names, the quota's."""
    burst = quota.burst or quota.amount
    window_s = max(1, -(-quota.per_ns // NS_PER_S))
    policy = f'"{name}";q={burst};qu="{name}";w={window_s}'
    return (
        (f"x-ratelimit-limit-{name}".encode(), b"%d" % quota.amount),
        (b"ratelimit-policy", policy.encode()),
        f"x-ratelimit-remaining-{name}".encode(),
        f"x-ratelimit-reset-{name}".encode(),
        name.encode(),
    )
