"""Migrations: Alembic on the ledger's connection, found in a checkout and in an installed wheel alike."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sagaworker.errors import SchemaMismatch
from sagaworker.ledger.connection import sqlalchemy_url

# Two deployments that migrate at once take turns: one advisory lock per database, from the project's name.
_LOCK = 0x5A6A_0001


def migrations_folder() -> Path:
    """`sagaworker/migrations` of a wheel, else `migrations` beside the package in a checkout."""
    package = Path(str(files("sagaworker")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The newest revision this version carries."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def migrate(database_url: str, revision: str = "head") -> str:
    """Bring the ledger to a revision ("head", "base", "0001"); return the one it is at.

    All of it in one transaction under an advisory lock: it happens wholly or not at all, and once.
    """
    engine = sa.create_engine(sqlalchemy_url(database_url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        current = MigrationContext.configure(connection).get_current_revision()
        is_down = revision == "base" or (revision != "head" and current is not None and revision < current)
        (command.downgrade if is_down else command.upgrade)(_config(connection), revision)
        return MigrationContext.configure(connection).get_current_revision() or "base"


def check(engine: sa.Engine) -> None:
    """Refuse a ledger at another revision.

    Raises:
        SchemaMismatch: with the revision found, the one needed, and the command to run.
    """
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != head():
        raise SchemaMismatch(found, head())
