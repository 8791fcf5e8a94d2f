"""The ledger's tables. A change here takes a migration that does the same.

Amounts are pico-dollars (`_p`) and instants nanoseconds (`_ns`), both signed 64-bit.
Nothing in them is text of a prompt, of a completion or of a key's secret.
"""

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from metering.usage import Usage

__all__ = [
    "DAY_SUMS",
    "DAY_SUM_END",
    "account_changes",
    "accounts",
    "alert_firings",
    "api_keys",
    "correction_draws",
    "corrections",
    "credit_grants",
    "draws",
    "invoices",
    "key_periods",
    "metadata",
    "outbox",
    "payments",
    "periods",
    "pool_minutes",
    "price_versions",
    "refusals",
    "transfers",
    "usage_days",
    "usage_events",
]

# SQLite alone: INTEGER already has 64 bits there, and STRICT is what makes a sum that
# overflows an error, where an ordinary table would silently turn it into a REAL.
_Int = BigInteger().with_variant(Integer(), "sqlite")
# PostgreSQL alone: whatever its database's own order, text is ordered by code point.
_Text = Text().with_variant(Text(collation="C"), "postgresql")
# Of load alone: no amount is a float.
_Real: Double[float] = Double().with_variant(REAL(), "sqlite")
_STRICT: dict[str, Any] = {"sqlite_strict": True}
_CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

# Rows older than these columns hold none of what they count.
_ADDED_LATER = {"audio_ms": "0", "images": "0"}

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("id", _Text, primary_key=True),
    Column("created_ns", _Int, nullable=False),
    Column("payment_method", _Int, nullable=False),
    Column("lifetime_paid_p", _Int, nullable=False),
    Column("pin", _Int),
    Column("overrides", _Text, nullable=False),
    Column("suspended", _Int, nullable=False),
    Column("version", _Int, nullable=False),
    Column("credit_epoch", _Int, nullable=False),
    Column("tier", _Int, nullable=False),  # its level as of the last change
    Column("debt_p", _Int, nullable=False),
    Column("time_zone", _Text, nullable=False, server_default="UTC"),
    Column("anchor_day", _Int, nullable=False, server_default="1"),
    Column("kept_tier", _Int),  # a level that outlives what it was qualified by
    Column("kept_until_ns", _Int),
    CheckConstraint("debt_p >= 0", name="accounts_debt"),
    **_STRICT,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _Text, primary_key=True),
    Column("account_id", _Text, ForeignKey("accounts.id"), nullable=False),
    Column("hash", _Text, nullable=False, unique=True),
    Column("hint", _Text, nullable=False),
    Column("created_ns", _Int, nullable=False),
    Column("revoked_ns", _Int),
    Column("usage_limit_p", _Int),
    Index("api_keys_of_account", "account_id", "created_ns", "id"),
    **_STRICT,
)

account_changes = Table(
    "account_changes",
    metadata,
    Column("id", _Int, primary_key=True, autoincrement=False),  # there is one row
    Column("count", _Int, nullable=False),
    CheckConstraint("id = 1", name="account_changes_one"),
    **_STRICT,
)

payments = Table(
    "payments",
    metadata,
    Column("reference", _Text, primary_key=True),
    Column("account_id", _Text, ForeignKey("accounts.id"), nullable=False),
    Column("kind", _Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    Column("at_ns", _Int, nullable=False),
    Column("refers_to", _Text),  # the invoice paid, or the payment taken back
    CheckConstraint("amount_p > 0", name="payments_amount"),
    Index("payments_of_account", "account_id", "at_ns", "reference"),
    **_STRICT,
)

credit_grants = Table(
    "credit_grants",
    metadata,
    Column("account_id", _Text, ForeignKey("accounts.id"), nullable=False),
    Column("id", _Text, nullable=False),
    Column("kind", _Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    Column("consumed_p", _Int, nullable=False),
    Column("priority", _Int, nullable=False),
    Column("effective_ns", _Int, nullable=False),
    Column("expires_ns", _Int),
    Column("models", _Text),  # a JSON list; null: it pays for any model
    Column("expired_p", _Int, nullable=False, server_default="0"),  # booked as unused
    Column("withdrawn_p", _Int, nullable=False, server_default="0"),  # with its payment
    PrimaryKeyConstraint("account_id", "id"),
    CheckConstraint("amount_p > 0", name="credit_grants_amount"),
    CheckConstraint("consumed_p BETWEEN 0 AND amount_p", name="credit_grants_consumed"),
    **_CLUSTERED,
)

price_versions = Table(
    "price_versions",
    metadata,
    Column("model", _Text, nullable=False),
    Column("valid_from_ns", _Int, nullable=False),
    Column("valid_to_ns", _Int),
    Column("id", _Text, nullable=False),
    Column("kind", _Text, nullable=False),
    Column("rates", _Text, nullable=False),
    PrimaryKeyConstraint("model", "valid_from_ns"),
    CheckConstraint("valid_to_ns > valid_from_ns", name="price_versions_order"),
    **_CLUSTERED,
)

# No foreign key leads from what was used to an account: an event of an account that is
# not (or not yet) there must be kept, for nothing that was used may be lost.

periods = Table(
    "periods",
    metadata,
    Column("account_id", _Text, nullable=False),
    Column("period", _Text, nullable=False),
    Column("spent_p", _Int, nullable=False),
    Column("early_paid_p", _Int, nullable=False),
    Column("epoch", _Int, nullable=False),
    Column("corrected_p", _Int, nullable=False, server_default="0"),  # of earlier ones
    Column("invoiced_p", _Int),  # what of spent_p is on invoices; null: none was made
    Column("invoiced_early_p", _Int),
    PrimaryKeyConstraint("account_id", "period"),
    CheckConstraint("spent_p >= 0", name="periods_spent"),
    CheckConstraint("early_paid_p BETWEEN 0 AND spent_p", name="periods_early_paid"),
    **_CLUSTERED,
)

usage_events = Table(
    "usage_events",
    metadata,
    Column("id", _Text, primary_key=True),
    Column("account_id", _Text, nullable=False),
    Column("key_id", _Text, nullable=False),
    Column("tier", _Int, nullable=False),
    Column("model", _Text, nullable=False),
    Column("model_asked", _Text, nullable=False),
    Column("dialect", _Text, nullable=False),
    Column("price_version", _Text, nullable=False),
    Column("period", _Text, nullable=False),
    Column("funding", _Text, nullable=False),
    Column("admitted_ns", _Int, nullable=False),
    Column("ended_ns", _Int, nullable=False),
    Column("ending", _Text, nullable=False),
    Column("status", _Int, nullable=False),
    *(
        Column(leaf, _Int, nullable=False, server_default=_ADDED_LATER.get(leaf))
        for leaf in Usage.__struct_fields__
    ),
    Column("usage_source", _Text, nullable=False),
    Column("time_source", _Text, nullable=False),
    Column("charge_p", _Int, nullable=False),
    Column("rest_p", _Int, nullable=False),  # what no credit paid
    Column("hold_p", _Int, nullable=False),
    Column("output_tokens_max", _Int, nullable=False),
    Column("clamped_from", _Int),
    Column("flags", _Text, nullable=False),
    CheckConstraint("charge_p >= 0", name="usage_events_charge"),
    CheckConstraint("rest_p BETWEEN 0 AND charge_p", name="usage_events_rest"),
    Index("usage_events_latest", "account_id", "period", "admitted_ns", "id"),
    **_CLUSTERED,
)

draws = Table(
    "draws",
    metadata,
    Column("event_id", _Text, ForeignKey("usage_events.id"), nullable=False),
    Column("position", _Int, nullable=False),  # the first draw of an event is 0
    Column("grant_id", _Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    PrimaryKeyConstraint("event_id", "position"),
    CheckConstraint("amount_p > 0", name="draws_amount"),
    **_CLUSTERED,
)

key_periods = Table(
    "key_periods",
    metadata,
    Column("key_id", _Text, nullable=False),
    Column("period", _Text, nullable=False),
    Column("account_id", _Text, nullable=False),
    Column("spent_p", _Int, nullable=False),
    PrimaryKeyConstraint("key_id", "period"),
    CheckConstraint("spent_p >= 0", name="key_periods_spent"),
    **_CLUSTERED,
)

corrections = Table(
    "corrections",
    metadata,
    Column("id", _Text, primary_key=True),
    Column("event_id", _Text, ForeignKey("usage_events.id"), nullable=False),
    Column("account_id", _Text, nullable=False),
    Column("kind", _Text, nullable=False),
    Column("amount_p", _Int, nullable=False),  # below 0 where it takes a charge back
    Column("rest_p", _Int, nullable=False),  # what of it is not credit's
    Column("price_version", _Text, nullable=False),
    Column("period", _Text, nullable=False),  # the event's
    Column("booked_period", _Text, nullable=False),  # whose invoice tells it
    Column("reason", _Text, nullable=False),
    Column("at_ns", _Int, nullable=False),
    Index("corrections_of_event", "event_id"),
    Index("corrections_booked", "account_id", "booked_period"),
    **_CLUSTERED,
)

correction_draws = Table(
    "correction_draws",
    metadata,
    Column("correction_id", _Text, ForeignKey("corrections.id"), nullable=False),
    Column("position", _Int, nullable=False),
    Column("grant_id", _Text, nullable=False),
    Column("amount_p", _Int, nullable=False),  # below 0 where the grant got it back
    PrimaryKeyConstraint("correction_id", "position"),
    **_CLUSTERED,
)

# Each row moves an amount from one account of the books to another, so all of them
# together always sum to 0.
transfers = Table(
    "transfers",
    metadata,
    Column("id", _Int, primary_key=True, autoincrement=True),
    Column("code", _Text, nullable=False),
    Column("debit", _Text, nullable=False),
    Column("credit", _Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    Column("account_id", _Text, nullable=False),
    Column("source", _Text, nullable=False),  # a grant's, payment's or invoice's id
    Column("at_ns", _Int, nullable=False),
    CheckConstraint("amount_p > 0", name="transfers_amount"),
    CheckConstraint("debit <> credit", name="transfers_sides"),
    Index("transfers_of_account", "account_id", "source"),
    **_STRICT,
)

alert_firings = Table(
    "alert_firings",
    metadata,
    Column("account_id", _Text, nullable=False),
    Column("subject", _Text, nullable=False),  # which allowance comes to its end
    Column("period", _Text, nullable=False),
    Column("epoch", _Int, nullable=False),
    Column("threshold", _Int, nullable=False),  # per cent; 0: from where on it counts
    Column("value_p", _Int, nullable=False),
    Column("limit_p", _Int, nullable=False),
    Column("at_ns", _Int, nullable=False),
    Column("told", _Int, nullable=False),  # 0 where a higher one was told instead
    PrimaryKeyConstraint(
        # A limit that was changed is another one, so it is in the key.
        *("account_id", "subject", "period", "epoch", "limit_p", "threshold")
    ),
    Index("alert_firings_latest", "at_ns"),
    **_CLUSTERED,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Text, nullable=False),
    Column("destination", _Text, nullable=False),
    Column("kind", _Text, nullable=False),
    Column("account_id", _Text, nullable=False),
    Column("body", _Text, nullable=False),
    Column("created_ns", _Int, nullable=False),
    Column("due_ns", _Int, nullable=False),
    Column("attempts", _Int, nullable=False),
    Column("state", _Text, nullable=False),
    Column("error", _Text, nullable=False),
    PrimaryKeyConstraint("destination", "id"),
    Index("outbox_due", "destination", "state", "due_ns"),
    **_CLUSTERED,
)

invoices = Table(
    "invoices",
    metadata,
    Column("id", _Text, primary_key=True),
    Column("account_id", _Text, ForeignKey("accounts.id"), nullable=False),
    Column("period", _Text, nullable=False),
    Column("start_ns", _Int, nullable=False),
    Column("end_ns", _Int, nullable=False),
    Column("closed_ns", _Int, nullable=False),
    Column("total_cents", _Int, nullable=False),
    Column("residual_p", _Int, nullable=False),  # what rounding to cents left over
    Column("lines", _Text, nullable=False),
    Column("paid_by", _Text),  # the payment's reference
    UniqueConstraint("account_id", "period", name="invoices_period"),
    **_STRICT,
)

# Who is signed in to the console.
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", _Text, primary_key=True),
    Column("account_id", _Text),  # null: an operator
    Column("credential", _Text, nullable=False),  # a key's id, or of which token
    Column("created_ns", _Int, nullable=False),
    Column("expires_ns", _Int, nullable=False),
    Index("sessions_of_credential", "credential", "created_ns"),
    Index("sessions_expired", "expires_ns"),
    **_CLUSTERED,
)

DAY_SUMS = (*Usage.__struct_fields__, "charge_p")
"""What `usage_days` adds up, each in two columns, for a sum may outgrow 64 bits."""

DAY_SUM_END = 4 * 10**18
"""The first holds less than this; `..._carry` counts how often it went over."""

# A day is that of the admission, in the zone the account had when the call was posted.
usage_days = Table(
    "usage_days",
    metadata,
    Column("account_id", _Text, nullable=False),
    Column("period", _Text, nullable=False),
    Column("day", _Text, nullable=False),
    Column("model", _Text, nullable=False),
    Column("calls", _Int, nullable=False),
    *(
        Column(name + part, _Int, nullable=False)
        for name in DAY_SUMS
        for part in ("", "_carry")
    ),
    PrimaryKeyConstraint("account_id", "period", "day", "model"),
    Index("usage_days_of_all", "day"),
    **_CLUSTERED,
)

# What no charge depends on, and what is forgotten after a while.

refusals = Table(
    "refusals",
    metadata,
    Column("account_id", _Text, nullable=False),  # "": nobody knows the caller
    Column("minute_ns", _Int, nullable=False),
    Column("model", _Text, nullable=False),  # "": none of the price book
    Column("code", _Text, nullable=False),
    Column("quota", _Text, nullable=False),
    Column("tier", _Int, nullable=False),  # -1: nobody knows the caller
    Column("status", _Int, nullable=False),
    Column("calls", _Int, nullable=False),
    Column("first_ns", _Int, nullable=False),
    Column("last_ns", _Int, nullable=False),
    PrimaryKeyConstraint(
        *("account_id", "minute_ns", "model", "code", "quota", "tier")
    ),
    Index(
        "refusals_latest",
        *("minute_ns", "account_id", "model", "code", "quota", "tier"),
    ),
    **_CLUSTERED,
)

pool_minutes = Table(
    "pool_minutes",
    metadata,
    Column("minute_ns", _Int, nullable=False),
    Column("pool", _Text, nullable=False),
    Column("node", _Text, nullable=False),
    Column("state", _Text, nullable=False),
    Column("cause", _Text, nullable=False),
    Column("limit_rpm", _Real, nullable=False),
    Column("limit_rpm_min", _Real, nullable=False),
    Column("awaiting", _Real, nullable=False),
    Column("waiting", _Real, nullable=False),
    Column("budget_per_s", _Real),
    Column("capacity_per_s", _Real, nullable=False),
    Column("unloaded_s", _Real, nullable=False),
    PrimaryKeyConstraint("minute_ns", "pool", "node"),
    **_CLUSTERED,
)
