"""Which schema a database has, and which one this library needs."""

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

from metering.backends.sql.schema import metadata

__all__ = ["SCHEMA_VERSION", "make", "schema_version"]

SCHEMA_VERSION = "0002"
"""The last migration."""

_versions = Table("alembic_version", MetaData(), Column("version_num", Text))


def schema_version(connection: Connection) -> str | None:
    """Return the schema's version, or None where there are no tables yet."""
    if not inspect(connection).has_table(_versions.name):
        return None
    return connection.execute(select(_versions.c.version_num)).scalar_one_or_none()


def make(connection: Connection) -> None:
    """Make the tables of the last version where nothing is yet.

    It comes to the same as every migration in turn, in a tenth of the time.
    """
    metadata.create_all(connection)
    _versions.create(connection)
    connection.execute(_versions.insert().values(version_num=SCHEMA_VERSION))
