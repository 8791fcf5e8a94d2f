"""Periods of one's own, corrections, double entry, alerts, invoices, usage by day."""  # noqa: INP001 - Alembic loads it by path

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_REAL: sa.Double[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_STRICT: dict[str, Any] = {"sqlite_strict": True}
_CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

_DAY_SUMS = (
    *("input_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("output_tokens", "reasoning_tokens", "audio_ms", "images"),
    *("compute_ms", "requests", "charge_p"),
)
_UTC_DAY = {
    "sqlite": "date(admitted_ns / 1000000000, 'unixepoch')",
    "postgresql": (
        "to_char(to_timestamp(admitted_ns / 1000000000) AT TIME ZONE 'UTC',"
        " 'YYYY-MM-DD')"
    ),
}

_BOUGHT = """
credit_grants AS g ON g.account_id = p.account_id AND g.kind = 'paid'
AND g.id = 'payment:' || p.reference
"""
# What calls, credit and payments of before have moved, as it would be booked now: what
# credit paid of calls, by grant; what none paid, by period; what was given; what was
# paid, of which a part may have become credit.
_MOVED = (
    """
SELECT 'usage', 'credit_' || g.kind || ':' || e.account_id, 'revenue',
       CAST(SUM(d.amount_p) AS BIGINT), e.account_id, g.id, MAX(e.ended_ns)
FROM draws AS d JOIN usage_events AS e ON e.id = d.event_id
JOIN credit_grants AS g ON g.account_id = e.account_id AND g.id = d.grant_id
GROUP BY g.kind, e.account_id, g.id
    """,
    """
SELECT CASE funding WHEN 'credit' THEN 'overrun' ELSE 'usage' END,
       'receivable:' || account_id, 'revenue', CAST(SUM(rest_p) AS BIGINT),
       account_id, period, MAX(ended_ns)
FROM usage_events WHERE rest_p > 0 GROUP BY funding, account_id, period
    """,
    """
SELECT 'grant', CASE kind WHEN 'promo' THEN 'promo_expense' ELSE 'cash' END,
       'credit_' || kind || ':' || account_id, amount_p, account_id, id, effective_ns
FROM credit_grants AS g WHERE NOT EXISTS (
  SELECT 1 FROM payments AS p WHERE g.id = 'payment:' || p.reference
)
    """,
    f"""
SELECT p.kind, 'cash', 'credit_paid:' || p.account_id, g.amount_p,
       p.account_id, p.reference, p.at_ns
FROM payments AS p JOIN {_BOUGHT}
    """,  # noqa: S608 - our own names
    f"""
SELECT p.kind, 'cash', 'receivable:' || p.account_id,
       p.amount_p - COALESCE(g.amount_p, 0), p.account_id, p.reference, p.at_ns
FROM payments AS p LEFT JOIN {_BOUGHT} WHERE p.amount_p > COALESCE(g.amount_p, 0)
    """,  # noqa: S608 - our own names
)


def _text(
    name: str, *, null: bool = False, default: str | None = None
) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=null, server_default=default)


def _int(
    name: str, *, null: bool = False, default: str | None = None
) -> sa.Column[int]:
    return sa.Column(name, _INT, nullable=null, server_default=default)


def _real(name: str, *, null: bool = False) -> sa.Column[float]:
    return sa.Column(name, _REAL, nullable=null)


def upgrade() -> None:
    """Add what the second version keeps; the rows there stay as they are, and count."""
    _add_columns()
    _create_books()
    _fill_books()
    _create_messages()
    _create_usage_days()
    _create_history()


def _add_columns() -> None:
    added: dict[str, tuple[sa.Column[Any], ...]] = {
        "accounts": (
            _text("time_zone", default="UTC"),
            _int("anchor_day", default="1"),
            _int("kept_tier", null=True),
            _int("kept_until_ns", null=True),
        ),
        "api_keys": (_int("usage_limit_p", null=True),),
        "payments": (_text("refers_to", null=True),),
        "credit_grants": (
            _text("models", null=True),
            _int("expired_p", default="0"),
            _int("withdrawn_p", default="0"),
        ),
        "periods": (
            _int("corrected_p", default="0"),
            _int("invoiced_p", null=True),
            _int("invoiced_early_p", null=True),
        ),
        "usage_events": (_int("audio_ms", default="0"), _int("images", default="0")),
    }
    for table, columns in added.items():
        for column in columns:
            op.add_column(table, column)
    op.create_index(
        "api_keys_of_account", "api_keys", ["account_id", "created_ns", "id"]
    )
    op.create_index(
        "payments_of_account", "payments", ["account_id", "at_ns", "reference"]
    )


def _create_books() -> None:
    op.create_table(
        "key_periods",
        _text("key_id"),
        _text("period"),
        _text("account_id"),
        _int("spent_p"),
        sa.PrimaryKeyConstraint("key_id", "period"),
        sa.CheckConstraint("spent_p >= 0", name="key_periods_spent"),
        **_CLUSTERED,
    )
    op.create_table(
        "corrections",
        _text("id"),
        _text("event_id"),
        _text("account_id"),
        _text("kind"),
        _int("amount_p"),
        _int("rest_p"),
        _text("price_version"),
        _text("period"),
        _text("booked_period"),
        _text("reason"),
        _int("at_ns"),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["event_id"], ["usage_events.id"]),
        **_CLUSTERED,
    )
    op.create_index("corrections_of_event", "corrections", ["event_id"])
    op.create_index(
        "corrections_booked", "corrections", ["account_id", "booked_period"]
    )
    op.create_table(
        "correction_draws",
        _text("correction_id"),
        _int("position"),
        _text("grant_id"),
        _int("amount_p"),
        sa.PrimaryKeyConstraint("correction_id", "position"),
        sa.ForeignKeyConstraint(["correction_id"], ["corrections.id"]),
        **_CLUSTERED,
    )
    op.create_table(
        "transfers",
        sa.Column("id", _INT, nullable=False, autoincrement=True),
        _text("code"),
        _text("debit"),
        _text("credit"),
        _int("amount_p"),
        _text("account_id"),
        _text("source"),
        _int("at_ns"),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("amount_p > 0", name="transfers_amount"),
        sa.CheckConstraint("debit <> credit", name="transfers_sides"),
        **_STRICT,
    )
    op.create_index("transfers_of_account", "transfers", ["account_id", "source"])
    op.create_table(
        "invoices",
        _text("id"),
        _text("account_id"),
        _text("period"),
        _int("start_ns"),
        _int("end_ns"),
        _int("closed_ns"),
        _int("total_cents"),
        _int("residual_p"),
        _text("lines"),
        _text("paid_by", null=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "period", name="invoices_period"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        **_STRICT,
    )


def _fill_books() -> None:
    """Book what the rows that are there have moved, as if it had been at its time."""
    columns = "code, debit, credit, amount_p, account_id, source, at_ns"
    for moved in _MOVED:
        op.execute(f"INSERT INTO transfers ({columns}) {moved}")
    op.execute(
        "INSERT INTO key_periods SELECT key_id, period, MIN(account_id),"
        " CAST(SUM(charge_p) AS BIGINT) FROM usage_events"
        " WHERE key_id <> '' AND charge_p > 0 GROUP BY key_id, period"
    )


def _create_messages() -> None:
    op.create_table(
        "alert_firings",
        _text("account_id"),
        _text("subject"),
        _text("period"),
        _int("epoch"),
        _int("threshold"),
        _int("value_p"),
        _int("limit_p"),
        _int("at_ns"),
        _int("told"),
        sa.PrimaryKeyConstraint(
            *("account_id", "subject", "period", "epoch", "limit_p", "threshold")
        ),
        **_CLUSTERED,
    )
    op.create_index("alert_firings_latest", "alert_firings", ["at_ns"])
    op.create_table(
        "outbox",
        _text("id"),
        _text("destination"),
        _text("kind"),
        _text("account_id"),
        _text("body"),
        _int("created_ns"),
        _int("due_ns"),
        _int("attempts"),
        _text("state"),
        _text("error"),
        sa.PrimaryKeyConstraint("destination", "id"),
        **_CLUSTERED,
    )
    op.create_index("outbox_due", "outbox", ["destination", "state", "due_ns"])
    op.create_table(
        "sessions",
        _text("token_hash"),
        _text("account_id", null=True),
        _text("credential"),
        _int("created_ns"),
        _int("expires_ns"),
        sa.PrimaryKeyConstraint("token_hash"),
        **_CLUSTERED,
    )
    op.create_index("sessions_of_credential", "sessions", ["credential", "created_ns"])
    op.create_index("sessions_expired", "sessions", ["expires_ns"])


def _create_usage_days() -> None:
    op.create_table(
        "usage_days",
        _text("account_id"),
        _text("period"),
        _text("day"),
        _text("model"),
        _int("calls"),
        *(_int(name + part) for name in _DAY_SUMS for part in ("", "_carry")),
        sa.PrimaryKeyConstraint("account_id", "period", "day", "model"),
        **_CLUSTERED,
    )
    op.create_index("usage_days_of_all", "usage_days", ["day"])
    op.execute(_days_of_events(_UTC_DAY[op.get_bind().dialect.name]))


def _days_of_events(day: str) -> str:
    """Return what fills the table; each account's zone was UTC until now.

    Sums are taken apart, into millions and the rest, since 64 bits may not hold them.
    """
    millions = {
        name: f"CAST(SUM({name} / 1000000) AS BIGINT)"
        f" + CAST(SUM({name} % 1000000) AS BIGINT) / 1000000"
        for name in _DAY_SUMS
    }
    parts = ", ".join(
        f"{part} AS {name}_millions, CAST(SUM({name} % 1000000) AS BIGINT) % 1000000"
        f" AS {name}_rest"
        for name, part in millions.items()
    )
    cells = ", ".join(
        f"{name}_millions % 4000000000000 * 1000000 + {name}_rest,"
        f" {name}_millions / 4000000000000"
        for name in _DAY_SUMS
    )
    of = "account_id, period, day, model"
    return (
        f"INSERT INTO usage_days SELECT {of}, calls, {cells} FROM ("  # noqa: S608 - our own names
        f"SELECT account_id, period, {day} AS day, model, COUNT(*) AS calls, {parts}"
        f" FROM usage_events GROUP BY {of}) AS summed"
    )


def _create_history() -> None:
    refusal = ("minute_ns", "account_id", "model", "code", "quota", "tier")
    op.create_table(
        "refusals",
        _text("account_id"),
        _int("minute_ns"),
        _text("model"),
        _text("code"),
        _text("quota"),
        _int("tier"),
        _int("status"),
        _int("calls"),
        _int("first_ns"),
        _int("last_ns"),
        sa.PrimaryKeyConstraint("account_id", "minute_ns", *refusal[2:]),
        **_CLUSTERED,
    )
    op.create_index("refusals_latest", "refusals", refusal)
    op.create_table(
        "pool_minutes",
        _int("minute_ns"),
        _text("pool"),
        _text("node"),
        _text("state"),
        _text("cause"),
        _real("limit_rpm"),
        _real("limit_rpm_min"),
        _real("awaiting"),
        _real("waiting"),
        _real("budget_per_s", null=True),
        _real("capacity_per_s"),
        _real("unloaded_s"),
        sa.PrimaryKeyConstraint("minute_ns", "pool", "node"),
        **_CLUSTERED,
    )
