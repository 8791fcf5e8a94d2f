"""The ledger in an SQL database, by SQLAlchemy Core."""

from metering.backends.sql.database import migrate
from metering.backends.sql.ledger import SqlLedger

__all__ = ["SqlLedger", "migrate"]
