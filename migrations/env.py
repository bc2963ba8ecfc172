"""Alembic's entry: runs on the connection that `sagaworker migrate` hands over."""

from alembic import context

from sagaworker.ledger.names import VERSION_TABLE
from sagaworker.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
