"""The ledger in an SQL database, by SQLAlchemy Core."""

from metering.backends.sql.database import migrate
from metering.backends.sql.ledger import SqlLedger
from metering.backends.sql.verifying import verify

__all__ = ["SqlLedger", "migrate", "verify"]
