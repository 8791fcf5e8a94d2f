"""The plan: everything that an operator has decided, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from metering.accounts import TierBook
from metering.clock import NS_PER_S
from metering.config.notices import NoticeSettings
from metering.ledger import SETTLE_GRACE_NS
from metering.limit_rules import LimitRule
from metering.local_share import OnOutage
from metering.platform import PlatformSettings
from metering.pricing import PriceBook

__all__ = ["JournalSettings", "OutageSettings", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """When a journal line is safe.

    Attributes:
        sync_ms: Longest time, in milliseconds, that a line may wait for the disk.
        durability: `process`: a charge survives the death of the process at once, and
            a power cut after `sync_ms`. `power`: calls wait until it survives both.
    """

    sync_ms: int = 100
    durability: Literal["process", "power"] = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageSettings:
    """What a node does while the store of limits that it shares is away.

    Attributes:
        rates: What becomes of calls that demand rates or slots. None: refused where
            the store is a file, which is away when it is locked; else a local share.
        money: What becomes of calls that demand money.
        nodes: How many nodes share the quotas.
        deadline_ms: How long the store is waited for, in milliseconds, before it counts
            as away; None: its own default.
    """

    rates: OnOutage | None = None
    money: OnOutage = "refuse"
    nodes: int = 1
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All settings of one deployment.

    Attributes:
        name: What the plan is called.
        tiers: Tiers, and who is in which.
        prices: Models, and what they cost when.
        adaptive: What tiers get whose requests are adaptive; None: there are none.
        limits: Limits beside those of the tiers.
        sign_up_credit_p: Credit of a new account, in pico-dollars.
        time_zone: Zone at whose midnights the months of a new account begin.
        anchor_day: Day of the month, 1 to 31, on which they begin.
        settle_ns: How long after its end a month stays open for calls begun in it.
        anonymous: Account that calls without a key are billed to; None: refused.
        unpriced: What becomes of a call to a model that has no price just then:
            `refuse`, or `pass` it on and record it without a charge.
        unmetered: What becomes of a request to a known path of model servers that no
            dialect meters: `refuse`, or `pass` it on with one warning a path.
        clamp: What becomes of a request for more output than its tier has: lowered to
            the `cap`, refused (`strict`), or lowered to what is paid for too: `fit`.
        missing_usage: What becomes of a whole answer that does not tell its usage:
            `estimate` it, `fail` and charge what was held, or charge nothing: `free`.
        on_client_gone: What becomes of a call whose client has gone: the app is told at
            once (`cancel`), or only when it had time to end (`drain`).
        drain_ns: How much time that is.
        body_bytes_max: Largest request body that is read, in bytes.
        lease_ns: How long a hold outlives a process that died.
        resolve_ttl_ns: How long a resolved key is good for.
        log_calls: Whether each call is logged, besides refusals and faults.
        routes: Dialect by path, in addition to the paths that dialects have; "none"
            for a path that is left alone.
        journal: When a journal line is safe.
        data: Directory of the journal and of the default ledger; None: the default.
        ledger: Path of the ledger, `sqlite:///` and a path, or `postgresql://`; None:
            an SQLite file in the data directory.
        limits_store: URL of the store of limits; None: the memory of the process.
        windows_store: URL of the storage of windows; None: the memory of the process.
        outage: What a node does while a shared store of limits is away.
        notices: Who is told of what.
        key_pepper: Secret under which keys are hashed; empty for none.
        notes: What whoever runs this plan should know.
    """

    name: str
    tiers: TierBook
    prices: PriceBook
    adaptive: PlatformSettings | None = None
    limits: tuple[LimitRule, ...] = ()
    sign_up_credit_p: int = 0
    time_zone: str = "UTC"
    anchor_day: int = 1
    settle_ns: int = SETTLE_GRACE_NS
    anonymous: str | None = None
    unpriced: Literal["refuse", "pass"] = "refuse"
    unmetered: Literal["refuse", "pass"] = "refuse"
    clamp: Literal["cap", "strict", "fit"] = "cap"
    missing_usage: Literal["estimate", "fail", "free"] = "estimate"
    on_client_gone: Literal["cancel", "drain"] = "cancel"
    drain_ns: int = 30 * NS_PER_S
    body_bytes_max: int = 8 * 1024 * 1024
    lease_ns: int = 30 * NS_PER_S
    resolve_ttl_ns: int = 30 * NS_PER_S
    log_calls: bool = False
    routes: Mapping[str, str] = field(default_factory=dict)
    journal: JournalSettings = JournalSettings()
    data: str | None = None
    outage: OutageSettings = OutageSettings()
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    # All may hold a secret, so neither is shown where a plan is printed.
    ledger: str | None = field(default=None, repr=False)
    limits_store: str | None = field(default=None, repr=False)
    windows_store: str | None = field(default=None, repr=False)
    key_pepper: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()
