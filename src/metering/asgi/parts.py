"""The services and settings that the pieces of one stack share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.types import Scope

from metering.accounts import TierBook
from metering.asgi.lowering import ClampMode
from metering.asgi.missing import MissingUsage
from metering.asgi.subjects import Subject
from metering.asgi.tokenizer import Tokenizer
from metering.billing import Biller
from metering.clock import Clock, system_clock
from metering.dialects.dialect import Dialect
from metering.dialects.known import DIALECT_BY_PATH
from metering.journal import Journal
from metering.limit_rules import LimitRule
from metering.limiter import Limiter
from metering.observing import Observers, RefusedCall
from metering.platform import Platform
from metering.tiers import TierResolver

__all__ = ["Identify", "Parts"]

Identify = Callable[[Scope], Awaitable[str | None]]
"""Returns the id of the account a request is for, or None if nobody is signed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What pieces are made with; each uses some, and what it lacks is left out.

    Attributes:
        clock: The node's clock.
        routes: Dialect by path; None for a path that is left alone.
        resolver: Finds the account; needed by the tier piece.
        limiter: Admits; needed by limiter and billing.
        platform: What can be spared; needed by the adaptive piece.
        biller: Prices; needed by billing.
        journal: Where calls are recorded; None: the event is on the Call alone.
        limits: What the limiter demands beside the tier's own quotas.
        subjects: Of whom a limit may be besides `OWN_SUBJECTS`: functions of a request
            by name. None as an answer: the call is not limited by that.
        tiers: Names the next tier in refusals.
        identify: Who calls, for apps that know it themselves; None: by API key.
        anonymous: Account of callers without a key; None: refused.
        unpriced_refused: Whether a model without a price is refused.
        unmetered_refused: Whether a stack that bills refuses what a known path of model
            servers serves and no dialect meters; else it passes, with a warning.
        clamp: What becomes of a request for more output than it may have.
        missing_usage: What becomes of a call that never told what it used.
        tokenizer: Counts its tokens; None: they are estimated.
        drain_ns: How long an app may go on whose client has gone; 0: not at all.
        body_bytes_max: Largest request body.
        durable: Whether a call waits for its journal lines to reach the disk.
        log_calls: Whether each call is logged.
        observers: Who is told of calls.
        on_refused: Called with each refused call, whoever observes; None: nobody.
        ready: Awaited before the first call; starts what works in the background.
    """

    clock: Clock = system_clock
    routes: Mapping[str, Dialect | None] = field(
        default_factory=lambda: DIALECT_BY_PATH
    )
    resolver: TierResolver | None = None
    limiter: Limiter | None = None
    platform: Platform | None = None
    biller: Biller | None = None
    journal: Journal | None = None
    limits: tuple[LimitRule, ...] = ()
    subjects: Mapping[str, Subject] = field(default_factory=dict)
    tiers: TierBook | None = None
    identify: Identify | None = None
    anonymous: str | None = None
    unpriced_refused: bool = True
    unmetered_refused: bool = True
    clamp: ClampMode = "cap"
    missing_usage: MissingUsage = field(default_factory=MissingUsage)
    tokenizer: Tokenizer | None = None
    drain_ns: int = 0
    body_bytes_max: int = 8 * 1024 * 1024
    durable: bool = False
    log_calls: bool = False
    observers: Observers = field(default_factory=Observers)
    on_refused: Callable[[RefusedCall], None] | None = None
    ready: Callable[[], Awaitable[None]] | None = None
