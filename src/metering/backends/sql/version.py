"""Which schema a database has, and which one this library needs."""

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

__all__ = ["SCHEMA_VERSION", "schema_version"]

SCHEMA_VERSION = "0002"
"""The last migration."""

_versions = Table("alembic_version", MetaData(), Column("version_num", Text))


def schema_version(connection: Connection) -> str | None:
    """Return the schema's version, or None where there are no tables yet."""
    if not inspect(connection).has_table(_versions.name):
        return None
    return connection.execute(select(_versions.c.version_num)).scalar_one_or_none()
