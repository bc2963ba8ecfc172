"""A ledger's revision, and the revisions that this version has, without Alembic, which is slow to import."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from sagaworker.errors import SchemaMismatch
from sagaworker.ledger.names import VERSION_TABLE


class LedgerIsNewer(SchemaMismatch):
    """A later sagaworker migrated the ledger: this version must not touch it."""

    def __str__(self) -> str:
        return (
            f"the ledger must be at a migration up to {self.expected}, got {self.found} which this sagaworker does not"
            " know: a newer one made it\nupgrade sagaworker"
        )


def migrations_folder() -> Path:
    """`sagaworker/migrations` of a wheel, else `migrations` beside the package in a checkout."""
    package = Path(str(files("sagaworker")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


@cache
def known() -> tuple[str, ...]:
    """The revisions of this version, oldest first, read from the file names. Each revision follows the one before."""
    return tuple(sorted(file.name[:4] for file in (migrations_folder() / "versions").glob("[0-9]*_*.py")))


def head() -> str:
    """The newest revision of this version."""
    return known()[-1]


def found(connection: sa.Connection, schema: str | None = None) -> str | None:
    """The revision of the ledger in `schema` (None: where the search_path leads). Returns None where there is no ledger."""
    table = sa.table(VERSION_TABLE, sa.column("version_num"), schema=schema)
    name = VERSION_TABLE if schema is None else f"{quoted(schema)}.{VERSION_TABLE}"
    if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name}) is None:
        return None
    revision: str | None = connection.scalar(sa.select(table.c.version_num))
    return revision


def check(engine: sa.Engine, schema: str | None = None) -> None:
    """Refuse a ledger at another revision.

    Raises:
        SchemaMismatch: with the revision found, the one needed, and the command to run.
        LedgerIsNewer: this version does not know the revision.
    """
    try:
        revision = _asked(engine, schema)
    except DBAPIError as exc:
        if not exc.connection_invalidated:
            raise
        # The pooled connection had died since its last use, and the pool has dropped all older connections.
        revision = _asked(engine, schema)
    refuse_newer(revision)
    if revision != head():
        raise SchemaMismatch(revision, head())


def _asked(engine: sa.Engine, schema: str | None) -> str | None:
    with engine.connect() as connection:
        return found(connection, schema)


def refuse_newer(revision: str | None) -> None:
    """Refuse a revision that this version does not have.

    Raises:
        LedgerIsNewer: the revision is unknown here.
    """
    if revision is not None and revision not in known():
        raise LedgerIsNewer(revision, head())


def quoted(schema: str) -> str:
    """A schema as a quoted identifier."""
    return '"' + schema.replace('"', '""') + '"'
