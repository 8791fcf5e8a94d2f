"""The first tables of the ledger."""  # noqa: INP001 - Alembic loads it by path

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_STRICT: dict[str, Any] = {"sqlite_strict": True}
_CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
_LEAVES = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "compute_ms",
    "requests",
)


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, _INT, nullable=null)


def upgrade() -> None:
    """Create every table of the first version."""
    _create_accounts()
    _create_money()
    _create_usage()


def _create_accounts() -> None:
    op.create_table(
        "account_changes",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        _int("count"),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="account_changes_one"),
        **_STRICT,
    )
    op.create_table(
        "accounts",
        _text("id"),
        _int("created_ns"),
        _int("payment_method"),
        _int("lifetime_paid_p"),
        _int("pin", null=True),
        _text("overrides"),
        _int("suspended"),
        _int("version"),
        _int("credit_epoch"),
        _int("tier"),
        _int("debt_p"),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("debt_p >= 0", name="accounts_debt"),
        **_STRICT,
    )
    op.create_table(
        "api_keys",
        _text("id"),
        _text("account_id"),
        _text("hash"),
        _text("hint"),
        _int("created_ns"),
        _int("revoked_ns", null=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        **_STRICT,
    )


def _create_money() -> None:
    op.create_table(
        "payments",
        _text("reference"),
        _text("account_id"),
        _text("kind"),
        _int("amount_p"),
        _int("at_ns"),
        sa.PrimaryKeyConstraint("reference"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.CheckConstraint("amount_p > 0", name="payments_amount"),
        **_STRICT,
    )
    op.create_table(
        "credit_grants",
        _text("account_id"),
        _text("id"),
        _text("kind"),
        _int("amount_p"),
        _int("consumed_p"),
        _int("priority"),
        _int("effective_ns"),
        _int("expires_ns", null=True),
        sa.PrimaryKeyConstraint("account_id", "id"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.CheckConstraint("amount_p > 0", name="credit_grants_amount"),
        sa.CheckConstraint(
            "consumed_p BETWEEN 0 AND amount_p", name="credit_grants_consumed"
        ),
        **_CLUSTERED,
    )
    op.create_table(
        "price_versions",
        _text("model"),
        _int("valid_from_ns"),
        _int("valid_to_ns", null=True),
        _text("id"),
        _text("kind"),
        _text("rates"),
        sa.PrimaryKeyConstraint("model", "valid_from_ns"),
        sa.CheckConstraint("valid_to_ns > valid_from_ns", name="price_versions_order"),
        **_CLUSTERED,
    )


def _create_usage() -> None:
    op.create_table(
        "periods",
        _text("account_id"),
        _text("period"),
        _int("spent_p"),
        _int("early_paid_p"),
        _int("epoch"),
        sa.PrimaryKeyConstraint("account_id", "period"),
        sa.CheckConstraint("spent_p >= 0", name="periods_spent"),
        sa.CheckConstraint(
            "early_paid_p BETWEEN 0 AND spent_p", name="periods_early_paid"
        ),
        **_CLUSTERED,
    )
    op.create_table(
        "usage_events",
        _text("id"),
        _text("account_id"),
        _text("key_id"),
        _int("tier"),
        _text("model"),
        _text("model_asked"),
        _text("dialect"),
        _text("price_version"),
        _text("period"),
        _text("funding"),
        _int("admitted_ns"),
        _int("ended_ns"),
        _text("ending"),
        _int("status"),
        *(_int(leaf) for leaf in _LEAVES),
        _text("usage_source"),
        _text("time_source"),
        _int("charge_p"),
        _int("rest_p"),
        _int("hold_p"),
        _int("output_tokens_max"),
        _int("clamped_from", null=True),
        _text("flags"),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("charge_p >= 0", name="usage_events_charge"),
        sa.CheckConstraint("rest_p BETWEEN 0 AND charge_p", name="usage_events_rest"),
        **_CLUSTERED,
    )
    op.create_index(
        "usage_events_latest",
        "usage_events",
        ["account_id", "period", "admitted_ns", "id"],
    )
    op.create_table(
        "draws",
        _text("event_id"),
        _int("position"),
        _text("grant_id"),
        _int("amount_p"),
        sa.PrimaryKeyConstraint("event_id", "position"),
        sa.ForeignKeyConstraint(["event_id"], ["usage_events.id"]),
        sa.CheckConstraint("amount_p > 0", name="draws_amount"),
        **_CLUSTERED,
    )
