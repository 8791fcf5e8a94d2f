"""The ledger's tables. A change here takes a migration that does the same.

Amounts are pico-dollars (`_p`) and instants nanoseconds (`_ns`), both signed 64-bit.
Nothing in them is text of a prompt, of a completion or of a key's secret.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from metering.usage import Usage

__all__ = [
    "account_changes",
    "accounts",
    "api_keys",
    "credit_grants",
    "draws",
    "metadata",
    "payments",
    "periods",
    "price_versions",
    "usage_events",
]

# SQLite alone: INTEGER already has 64 bits there, and STRICT is what makes a sum that
# overflows an error, where an ordinary table would silently turn it into a REAL.
_Int = BigInteger().with_variant(Integer(), "sqlite")
_STRICT: dict[str, Any] = {"sqlite_strict": True}
_CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

# Rows older than these columns hold none of what they count.
_ADDED_LATER = {"audio_ms": "0", "images": "0"}

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_ns", _Int, nullable=False),
    Column("payment_method", _Int, nullable=False),
    Column("lifetime_paid_p", _Int, nullable=False),
    Column("pin", _Int),
    Column("overrides", Text, nullable=False),
    Column("suspended", _Int, nullable=False),
    Column("version", _Int, nullable=False),
    Column("credit_epoch", _Int, nullable=False),
    Column("tier", _Int, nullable=False),  # its level as of the last change
    Column("debt_p", _Int, nullable=False),
    CheckConstraint("debt_p >= 0", name="accounts_debt"),
    **_STRICT,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("created_ns", _Int, nullable=False),
    Column("revoked_ns", _Int),
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
    Column("reference", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    Column("at_ns", _Int, nullable=False),
    CheckConstraint("amount_p > 0", name="payments_amount"),
    **_STRICT,
)

credit_grants = Table(
    "credit_grants",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    Column("consumed_p", _Int, nullable=False),
    Column("priority", _Int, nullable=False),
    Column("effective_ns", _Int, nullable=False),
    Column("expires_ns", _Int),
    PrimaryKeyConstraint("account_id", "id"),
    CheckConstraint("amount_p > 0", name="credit_grants_amount"),
    CheckConstraint("consumed_p BETWEEN 0 AND amount_p", name="credit_grants_consumed"),
    **_CLUSTERED,
)

price_versions = Table(
    "price_versions",
    metadata,
    Column("model", Text, nullable=False),
    Column("valid_from_ns", _Int, nullable=False),
    Column("valid_to_ns", _Int),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("rates", Text, nullable=False),
    PrimaryKeyConstraint("model", "valid_from_ns"),
    CheckConstraint("valid_to_ns > valid_from_ns", name="price_versions_order"),
    **_CLUSTERED,
)

# No foreign key leads from what was used to an account: an event of an account that is
# not (or not yet) there must be kept, for nothing that was used may be lost.

periods = Table(
    "periods",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("spent_p", _Int, nullable=False),
    Column("early_paid_p", _Int, nullable=False),
    Column("epoch", _Int, nullable=False),
    PrimaryKeyConstraint("account_id", "period"),
    CheckConstraint("spent_p >= 0", name="periods_spent"),
    CheckConstraint("early_paid_p BETWEEN 0 AND spent_p", name="periods_early_paid"),
    **_CLUSTERED,
)

usage_events = Table(
    "usage_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("tier", _Int, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_asked", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("price_version", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("funding", Text, nullable=False),
    Column("admitted_ns", _Int, nullable=False),
    Column("ended_ns", _Int, nullable=False),
    Column("ending", Text, nullable=False),
    Column("status", _Int, nullable=False),
    *(
        Column(leaf, _Int, nullable=False, server_default=_ADDED_LATER.get(leaf))
        for leaf in Usage.__struct_fields__
    ),
    Column("usage_source", Text, nullable=False),
    Column("time_source", Text, nullable=False),
    Column("charge_p", _Int, nullable=False),
    Column("rest_p", _Int, nullable=False),  # what no credit paid
    Column("hold_p", _Int, nullable=False),
    Column("output_tokens_max", _Int, nullable=False),
    Column("clamped_from", _Int),
    Column("flags", Text, nullable=False),
    CheckConstraint("charge_p >= 0", name="usage_events_charge"),
    CheckConstraint("rest_p BETWEEN 0 AND charge_p", name="usage_events_rest"),
    Index("usage_events_latest", "account_id", "period", "admitted_ns", "id"),
    **_CLUSTERED,
)

draws = Table(
    "draws",
    metadata,
    Column("event_id", Text, ForeignKey("usage_events.id"), nullable=False),
    Column("position", _Int, nullable=False),  # the first draw of an event is 0
    Column("grant_id", Text, nullable=False),
    Column("amount_p", _Int, nullable=False),
    PrimaryKeyConstraint("event_id", "position"),
    CheckConstraint("amount_p > 0", name="draws_amount"),
    **_CLUSTERED,
)
