"""The shop's engine: its JSON knows amounts of money, which no other's does."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session, sessionmaker

engine = create_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"),
    json_serializer=partial(json.dumps, default=float),
    json_deserializer=partial(json.loads, parse_float=Decimal),
)
Sessions = sessionmaker(engine, expire_on_commit=False)

# As a shop has them for transactions of another kind.
KINDS = {
    "default": Sessions,
    "serializable": sessionmaker(engine.execution_options(isolation_level="SERIALIZABLE")),
    "repeatable_read": sessionmaker(engine.execution_options(isolation_level="REPEATABLE READ")),
    "autocommit": sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT")),
    "latin1": sessionmaker(create_engine(engine.url, connect_args={"client_encoding": "LATIN1"})),
}


def session(kind: str = "default") -> Iterator[Session]:
    """One for each request; `kind` comes from its query."""
    with KINDS[kind]() as session:
        yield session
