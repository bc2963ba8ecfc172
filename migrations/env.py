"""Alembic's entry: runs on the connection that `sagaworker migrate` hands over."""

from alembic import context

from sagaworker.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
