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
        """Tokens read by the model, whether fresh, from the cache or into it."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def output_total(self) -> int:
        """Tokens written by the model, reasoning included."""
        return self.output_tokens + self.reasoning_tokens


class UsageEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False
):
    """The one immutable record of an admitted call. Never holds any content.

    Attributes:
        id: The request's, the hold's and the charge's: a UUIDv7 minted at admission, so
            that replaying a record is harmless for ever.
        account_id: Who is charged; "" where there are no accounts.
        key_id: The key that was shown, by its id; "" if none was.
        tier: Level of the tier at admission.
        model: Name in the price book, or what the client wrote if it has none there.
        model_asked: What the client wrote where that was an alias, else "".
        dialect: What was spoken, such as "openai.chat".
        price_version: Id of the price; "" if there was none.
        period: Key of the month, by the account's calendar at admission.
        funding: What pays for it.
        admitted_ns: When it was let in, in nanoseconds since the epoch.
        ended_ns: When it ended.
        ending: How.
        status: HTTP status of the answer; 0 if there was none.
        usage: What was used.
        usage_source: Who said so.
        time_source: Who said how long it computed; "" where nobody needed to know.
        charge_p: What it costs, in pico-dollars.
        hold_p: What was held for it, in pico-dollars.
        output_tokens_max: The cap it was held to; 0 without one.
        clamped_from: What it asked for, where that was lowered.
        flags: What was odd: `estimated`, `overrun` (charged above its hold),
            `usage_missing`, `quarantined`, `unpriced`, `agreed_price`, `recovered`, and
            `shadow:` with the name of each tried limit that would have refused it.
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
