"""What Alembic runs to migrate: in the transaction that the ledger has begun."""  # noqa: INP001 - by path

from alembic import context

from metering.backends.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata
)
with context.begin_transaction():
    context.run_migrations()
