"""What the services need of a store. A backend is a class with these methods.

Each method is one atomic operation and takes the time as an argument. Limit stores are
asynchronous, for they sit on the way of every call; the others are synchronous and are
called from worker threads.
"""

from metering.stores.history import (
    History,
    PoolMinute,
    PoolSpan,
    RefusalMinute,
    RefusalPlace,
    RefusalReason,
)
from metering.stores.invoices import (
    BudgetFreed,
    CorrectionReport,
    CorrectionStore,
    InvoiceStore,
    UnbilledPeriod,
)
from metering.stores.ledger import (
    AccountChange,
    AccountStore,
    ChargedEvent,
    KeyRecord,
    Ledger,
    LedgerReader,
    LedgerWriter,
    PaymentReport,
    PostReport,
    PriceStore,
    Snapshots,
    UsageDay,
    UsageTotal,
)
from metering.stores.limits import (
    AccountVersions,
    LimitStore,
    Outcome,
    SettleResult,
    Status,
    WindowStore,
)
from metering.stores.listing import (
    AccountSpend,
    AccountsWanted,
    AlertPlace,
    Listing,
)
from metering.stores.outbox import KeptMessage, Outbox, OutboxMessage
from metering.stores.sessions import Session, Sessions

__all__ = [
    "AccountChange",
    "AccountSpend",
    "AccountStore",
    "AccountVersions",
    "AccountsWanted",
    "AlertPlace",
    "BudgetFreed",
    "ChargedEvent",
    "CorrectionReport",
    "CorrectionStore",
    "History",
    "InvoiceStore",
    "KeptMessage",
    "KeyRecord",
    "Ledger",
    "LedgerReader",
    "LedgerWriter",
    "LimitStore",
    "Listing",
    "Outbox",
    "OutboxMessage",
    "Outcome",
    "PaymentReport",
    "PoolMinute",
    "PoolSpan",
    "PostReport",
    "PriceStore",
    "RefusalMinute",
    "RefusalPlace",
    "RefusalReason",
    "Session",
    "Sessions",
    "SettleResult",
    "Snapshots",
    "Status",
    "UnbilledPeriod",
    "UsageDay",
    "UsageTotal",
    "WindowStore",
]
