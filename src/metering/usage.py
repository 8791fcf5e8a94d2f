"""What one call used, in parts that never overlap, and the record of it."""

from typing import Literal

import msgspec

__all__ = [
    "Ending",
    "FundingMode",
    "Usage",
    "UsageEvent",
    "UsageSource",
]

Ending = Literal[
    "completed", "client_gone", "upstream_error", "app_error", "cancelled", "recovered"
]
"""How the call ended. `recovered`: its process died and the journal told the rest."""

UsageSource = Literal[
    "reported", "upstream", "request", "estimated", "checkpoint", "none"
]
"""Who said what was used; `reported`: the app, by `metering.report`; `request`: what
was sent, such as the header of a WAV file; `none`: nothing was used, such as with an
upstream error."""

FundingMode = Literal["credit", "postpaid"]
"""`credit`: only granted credit may be spent; `postpaid`: credit first, then a bill."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Quantities of one call by leaf; the leaves are disjoint, so sums are safe.

    `input_tokens` excludes both cache leaves and `output_tokens` excludes
    `reasoning_tokens`, whatever the wire dialect does; `audio_ms` is the length of the
    audio that was read, `images` how many pictures were made; `compute_ms` is the
    model's execution alone, without queue, cold start or network.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_ms: int = 0
    images: int = 0
    compute_ms: int = 0
    requests: int = 1

    @property
    def input_total(self) -> int:
        """Tokens read by the model: fresh, from the cache and into it."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def output_total(self) -> int:
        """Tokens written by the model, reasoning included."""
        return self.output_tokens + self.reasoning_tokens


class UsageEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False
):
    """The one immutable record of an admitted call. Never holds any content.

    Its `id` is the request's, the hold's and the charge's: a UUIDv7 minted at
    admission, so that replaying a record is harmless for ever. Amounts are in
    pico-dollars, instants in nanoseconds since the epoch. `model` is the name in the
    price book; `model_asked` is what the client wrote where that was an alias.
    """

    id: str
    account_id: str
    key_id: str = ""
    tier: int
    model: str
    model_asked: str = ""
    dialect: str
    price_version: str
    period: str
    funding: FundingMode = "postpaid"
    admitted_ns: int
    ended_ns: int
    ending: Ending
    status: int = 0
    usage: Usage
    usage_source: UsageSource
    time_source: str = ""
    charge_p: int
    hold_p: int = 0
    output_tokens_max: int = 0
    clamped_from: int | None = None
    flags: tuple[str, ...] = ()
