"""Headers as bytes: reading one, and writing what tells a client its limits."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from metering.clock import NS_PER_S
from metering.quota import UNKNOWN, Demand, Quota, RateQuota, Unit, Verdict

__all__ = ["find_header", "go_duration", "limit_headers"]

_NS_PER_MINUTE = 60 * NS_PER_S
_NS_PER_MS = 1_000_000
_POLICIES_MAX = 1024
_FIELD_MAX = 10**15 - 1
"""The largest integer of a structured field; a client may refuse a field with more."""

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


def limit_headers(
    demands: Sequence[Demand], verdicts: Sequence[Verdict]
) -> list[Header]:
    """Return what tells a client of its limits: OpenAI's names and the IETF's.

    OpenAI's has one limit on requests and one on tokens, so each tells of the tightest:
    the one with the least share left of what may pass at once. Quotas of money are not
    for headers, nor are those in shadow or not enforced now.

    Source: draft-ietf-httpapi-ratelimit-headers-10, structured fields (RFC 9651).
    """
    headers: list[Header] = []
    policies: list[bytes] = []
    states: list[bytes] = []
    tightest: dict[str, tuple[float, list[Header]]] = {}
    for demand, verdict in zip(demands, verdicts, strict=False):
        if demand.shadow or demand.unit == "pico_usd":
            continue
        left, reset_ns = verdict.remaining, verdict.reset_after_ns
        if left == UNKNOWN:
            continue
        # A quota may count parts of a request; then one costs many of its units.
        each = demand.cost if demand.unit == "requests" else 1
        policy, state = _ietf(demand.name, demand.quota, demand.unit, each)
        policies.append(policy)
        reset_s = min(-(-reset_ns // NS_PER_S), _FIELD_MAX)
        states.append(state % (min(left // each, _FIELD_MAX), reset_s))
        names = _openai(demand.quota, demand.unit, each)
        if names is None:
            continue
        kind, limit, remaining, reset = names
        share = left / _burst(demand.quota)
        if kind not in tightest or share < tightest[kind][0]:
            told = [
                limit,
                (remaining, b"%d" % min(left // each, int(limit[1]))),
                (reset, go_duration(reset_ns).encode()),
            ]
            tightest[kind] = share, told
    for _, told in tightest.values():
        headers += told
    if policies:
        headers.append((b"ratelimit-policy", b", ".join(policies)))
        headers.append((b"ratelimit", b", ".join(states)))
    return headers


@lru_cache(maxsize=_POLICIES_MAX)
def _ietf(name: str, quota: Quota, unit: Unit, each: int) -> tuple[bytes, bytes]:
    """Return the policy of a quota, and its state with two numbers to be filled in."""
    if isinstance(quota, RateQuota):
        window_s = max(1, -(-quota.per_ns // NS_PER_S))
        kind = "requests" if unit == "requests" else "tokens"
        most = min(_burst(quota), _FIELD_MAX)
        if each > 1:  # a whole number of requests, in as long as that takes
            told = Fraction(quota.amount, each)
            most, window_s = told.numerator, window_s * told.denominator
        policy = f'"{name}";q={most};qu="{kind}";w={window_s}'
        return policy.encode(), f'"{name}";r=%d;t=%d'.encode()
    most = min(quota.amount, _FIELD_MAX)
    policy = f'"{name}";q={most};qu="concurrent-requests"'
    return policy.encode(), f'"{name}";r=%d;t=%d'.encode()


@lru_cache(maxsize=_POLICIES_MAX)
def _openai(
    quota: Quota, unit: Unit, each: int
) -> tuple[str, Header, bytes, bytes] | None:
    """Return OpenAI's kind of limit, its first header and the names of two more."""
    if not isinstance(quota, RateQuota):
        return None
    kind = "requests" if unit == "requests" else "tokens"
    # What remains is up to the burst, so a smaller amount would read as a fault.
    most = max(quota.amount, _burst(quota)) if each == 1 else quota.amount // each
    limit = f"x-ratelimit-limit-{kind}".encode(), b"%d" % max(1, most)
    remaining = f"x-ratelimit-remaining-{kind}".encode()
    return kind, limit, remaining, f"x-ratelimit-reset-{kind}".encode()


def _burst(quota: Quota) -> int:
    """Return what may pass at once."""
    if isinstance(quota, RateQuota):
        return quota.burst or quota.amount
    return quota.amount
