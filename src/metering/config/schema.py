"""What a plan file may contain: its tables, their fields, and what each field takes.

The descriptions are what an operator is shown beside a value that cannot be used.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from metering.accounts import Falls
from metering.config.notation import Count, Dollars, Instant
from metering.ledger import NoticeKind
from metering.local_share import OnOutage
from metering.pricing import PriceKind
from metering.quota import Window

__all__ = [
    "AdaptiveTable",
    "AlertTable",
    "CallTable",
    "CreditTable",
    "JournalTable",
    "LimitTable",
    "ModelTable",
    "OutageTable",
    "PlanFile",
    "PlanTable",
    "PoolTable",
    "PriceTable",
    "RateTable",
    "RouteTable",
    "StepTable",
    "StorageTable",
    "StreamTable",
    "TierRequestTable",
    "TierTable",
    "WebhookTable",
]

Text = Annotated[str, Meta(min_length=1, description="a string that is not empty")]
Flag = Annotated[bool, Meta(description="true or false")]
Usd = Annotated[
    Dollars,
    Meta(description='dollars from 0 to 9,000,000, such as "0.6", 0.6 or 50'),
]
Units = Annotated[
    Count,
    Meta(description='1 to 1,000,000,000, such as 4096, "4K" (4,096) or "8M"'),
]
Moment = Annotated[
    Instant, Meta(description="a date-time with offset, such as 2026-02-12T00:00:00Z")
]

Milliseconds = Annotated[
    int, Meta(ge=1, le=86_400_000, description="milliseconds, 1 to 86,400,000")
]


# Each table forbids unknown fields: a misspelt one is an error, not silence.


class PlanTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[plan]`: what the plan is called, and what its reader should know."""

    name: Text
    notes: tuple[Text, ...] = ()


class CreditTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[credit]`: what a new account is given."""

    sign_up: Usd = Dollars(0)


class PeriodTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[periods]`: when the months of a new account begin, and when they are closed."""

    time_zone: Text = "UTC"
    anchor_day: Annotated[
        int, Meta(ge=1, le=31, description="a day of the month, 1 to 31")
    ] = 1
    settle_h: Annotated[int, Meta(ge=0, le=720, description="hours, 0 to 720")] = 24


class PaymentTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[payments]`: what becomes of a tier when a payment is taken back."""

    on_refund: Annotated[
        Falls, Meta(description='"period_end", "immediate" or "never"')
    ] = "period_end"


class AlertTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[alerts]`: when an account is told that its allowance comes to its end."""

    thresholds: tuple[
        Annotated[int, Meta(ge=1, le=100, description="per cent, 1 to 100")], ...
    ] = (50, 80, 90, 100)


class WebhookTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[webhooks]]`: a URL that is told of alerts, payments and tiers."""

    url: Annotated[
        str,
        Meta(pattern="^https?://", description='a URL, such as "https://example.com/"'),
    ]
    secret: Text | None = None
    secret_env: Text | None = None
    events: tuple[
        Annotated[NoticeKind, Meta(description="one of those that are listed")], ...
    ] = ()


class StreamTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[events]`: where each call goes as an event."""

    nats: Text | None = None
    subject: Annotated[
        str,
        Meta(
            pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$",
            description='a subject without wildcards, such as "metering.usage"',
        ),
    ] = "metering.usage"
    source: Text = "metering"


class CallTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[calls]`: how every call is treated."""

    anonymous: Text | None = None
    unpriced: Annotated[
        Literal["refuse", "pass"], Meta(description='"refuse" or "pass"')
    ] = "refuse"
    unmetered: Annotated[
        Literal["refuse", "pass"], Meta(description='"refuse" or "pass"')
    ] = "refuse"
    clamp: Annotated[
        Literal["cap", "strict", "fit"],
        Meta(description='"cap", "strict" or "fit"'),
    ] = "cap"
    missing_usage: Annotated[
        Literal["estimate", "fail", "free"],
        Meta(description='"estimate", "fail" or "free"'),
    ] = "estimate"
    on_client_gone: Annotated[
        Literal["cancel", "drain"], Meta(description='"cancel" or "drain"')
    ] = "cancel"
    drain_s: Annotated[int, Meta(ge=1, le=600, description="seconds, 1 to 600")] = 30
    body_bytes_max: Units = Count("8M")
    lease_s: Annotated[int, Meta(ge=3, le=600, description="seconds, 3 to 600")] = 30
    resolve_ttl_s: Annotated[
        int, Meta(ge=1, le=300, description="seconds, 1 to 300")
    ] = 30
    log: Flag = False


class JournalTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[journal]`: when what is charged is safe on disk."""

    sync_ms: Annotated[
        int, Meta(ge=1, le=10_000, description="milliseconds, 1 to 10,000")
    ] = 100
    durability: Annotated[
        Literal["process", "power"], Meta(description='"process" or "power"')
    ] = "process"


OnOutageField = Annotated[OnOutage, Meta(description='"refuse" or "local_share"')]


class StorageTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[storage]`: where things are kept."""

    data: Text | None = None
    ledger: Text | None = None
    limits: Text | None = None
    windows: Text | None = None


class OutageTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[outage]`: what a node does while the shared limit store is away."""

    rates: OnOutageField | None = None
    money: OnOutageField = "refuse"
    nodes: Annotated[int, Meta(ge=1, le=10_000, description="1 to 10,000")] = 1
    deadline_ms: (
        Annotated[int, Meta(ge=1, le=10_000, description="milliseconds, 1 to 10,000")]
        | None
    ) = None


class RouteTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[routes]]`: a path that serves models, and the dialect spoken on it."""

    path: Annotated[
        str, Meta(pattern="^/", description='a path, such as "/v1/chat/completions"')
    ]
    dialect: Text


class RateTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request limit whose burst differs from its rate."""

    rate: Annotated[str, Meta(description='a rate, such as "100/minute"')]
    burst: Annotated[int, Meta(ge=1, le=10**9, description="1 to 1,000,000,000")]


RequestLimit = Annotated[
    str | RateTable,
    Meta(
        description='a rate, such as "100/minute" or "100 per 2 minutes" (second,'
        ' minute, hour, day, month or year), several, such as "10/second; 5000/day",'
        ' or { rate = "100/minute", burst = 20 }'
    ),
]


class RequestTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request limits by class of model."""

    paid: RequestLimit | None = None
    free: RequestLimit | None = None


TierRequestLimit = Annotated[
    str | RateTable,
    Meta(
        description='a rate, such as "100/minute" or "100 per 2 minutes" (second,'
        ' minute, hour, day, month or year), several, such as "10/second; 5000/day",'
        ' { rate = "100/minute", burst = 20 }, or "adaptive"'
    ),
]


class TierRequestTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tiers.requests]`: the same of a tier, which may follow the platform's load."""

    paid: TierRequestLimit | None = None
    free: TierRequestLimit | None = None


class TierTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[tiers]]`: how an account qualifies, and what it may then do."""

    level: Annotated[int, Meta(ge=0, le=1000, description="a rank from 0 to 1,000")]
    name: Text
    lifetime_spend: Usd | None = None
    payment_method: Flag = False
    by_agreement: Flag = False
    requests: TierRequestTable = TierRequestTable()
    output_tokens_max: Units
    reasoning_output_tokens_max: Units | None = None
    usage_limit: Usd | None = None
    funding: Annotated[
        Literal["credit", "postpaid"], Meta(description='"credit" or "postpaid"')
    ] = "postpaid"


Rpm = Annotated[
    int | Decimal, Meta(description="requests a minute, 0.01 to 1,000,000,000")
]


class PoolTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[adaptive.pools]]`: models that run on the same machines."""

    name: Text
    models: Annotated[
        tuple[Text, ...], Meta(min_length=1, description="names of models of the plan")
    ]
    gauges: (
        Annotated[
            str,
            Meta(
                pattern="^https?://",
                description='a URL, such as "http://127.0.0.1:8000/metrics"',
            ),
        ]
        | None
    ) = None


class AdaptiveTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[adaptive]`: limits that follow what the platform can spare."""

    floor_rpm: Rpm = Decimal("0.5")
    ceiling_rpm: Rpm = 60
    wait_max_s: Annotated[int, Meta(ge=0, le=60, description="seconds, 0 to 60")] = 3
    first_byte_target_ms: (
        Annotated[int, Meta(ge=1, le=600_000, description="milliseconds, 1 to 600,000")]
        | None
    ) = None
    pools: tuple[PoolTable, ...] = ()


class LimitTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[limits]]`: a limit beside those of the tiers."""

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z][a-z0-9-]{0,39}$",
            description='letters, digits and hyphens, such as "tokens-per-minute"',
        ),
    ]
    rate: RequestLimit | None = None
    at_once: Units | None = None
    unit: Annotated[
        Literal["requests", "tokens", "input_tokens", "output_tokens"],
        Meta(description='"requests", "tokens", "input_tokens" or "output_tokens"'),
    ] = "requests"
    per: tuple[Text, ...] = ("account",)
    tiers: tuple[
        Annotated[int, Meta(ge=0, le=1000, description="the level of a tier")], ...
    ] = ()
    models: tuple[Text, ...] = ()
    shadow: Flag = False
    window: (
        Annotated[Window, Meta(description='"fixed", "moving" or "sliding"')] | None
    ) = None


class StepTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models.prices.steps]]`: other prices for calls with much input."""

    above_input_tokens: Units
    input: Usd | None = None
    output: Usd | None = None
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    reasoning: Usd | None = None


class PriceTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models.prices]]`: what a model costs from one instant until another."""

    kind: Annotated[
        PriceKind,
        Meta(description='"token", "time", "audio", "image", "request" or "free"'),
    ]
    input: Usd | None = None
    output: Usd | None = None
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    reasoning: Usd | None = None
    per_second: Usd | None = None
    per_hour: Usd | None = None
    audio_per_second: Usd | None = None
    audio_per_minute: Usd | None = None
    audio_per_hour: Usd | None = None
    per_image: Usd | None = None
    per_request: Usd | None = None
    billed_ms_min: Milliseconds | None = None
    steps: tuple[StepTable, ...] = ()
    start: Moment | None = field(default=None, name="from")
    until: Moment | None = None


class ModelTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models]]`: a model, and its prices over time."""

    name: Text
    aliases: tuple[Text, ...] = ()
    reasoning: Flag = False
    context_tokens_max: Units | None = None
    compute_ms_max: Milliseconds | None = None
    audio_ms_max: Milliseconds | None = None
    prices: tuple[PriceTable, ...] = ()


class PlanFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole plan file."""

    plan: PlanTable
    credit: CreditTable = CreditTable()
    periods: PeriodTable = PeriodTable()
    payments: PaymentTable = PaymentTable()
    calls: CallTable = CallTable()
    journal: JournalTable = JournalTable()
    storage: StorageTable = StorageTable()
    outage: OutageTable = OutageTable()
    alerts: AlertTable = AlertTable()
    webhooks: tuple[WebhookTable, ...] = ()
    events: StreamTable = StreamTable()
    routes: tuple[RouteTable, ...] = ()
    tiers: tuple[TierTable, ...]
    adaptive: AdaptiveTable | None = None
    limits: tuple[LimitTable, ...] = ()
    models: tuple[ModelTable, ...] = ()
