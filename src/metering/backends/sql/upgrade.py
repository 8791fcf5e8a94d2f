"""Brings a database to the schema this version knows, from within the library.

It has no ini file and leaves logging alone. Alembic is imported only here, for it costs
a start 100 ms that a ledger which is up to date need not pay.
"""

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from metering.backends.sql.version import schema_version
from metering.errors import ConfigurationError

__all__ = ["upgrade"]

_SCRIPTS = Path(__file__).parent / "migrations"

# Alembic keeps the migration that runs in module globals: one at a time in a process.
_one_at_a_time = Lock()


def upgrade(connection: Connection) -> None:
    """Upgrade the schema within the transaction that *connection* has begun.

    The transaction must hold the write lock; another process may have been first, and
    then nothing is left to do.

    Raises:
        ConfigurationError: A newer version of the library wrote the database.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigurationError(
                f"The ledger has schema {schema_version(connection)}, which this"
                " version of metering does not know. Upgrade the package."
            ) from error
