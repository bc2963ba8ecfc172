from alembic import context
from store.db import engine
from store.models import Base

from sagaworker.autogenerate import include_name

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=include_name,
        include_schemas=True,
    )
    with context.begin_transaction():
        context.run_migrations()
