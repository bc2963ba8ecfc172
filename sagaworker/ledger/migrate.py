"""Migrations: Alembic on the ledger's connection, found in a checkout and in an installed wheel alike."""

from __future__ import annotations

import logging
import time
from importlib.resources import files
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc as sa_exc

from sagaworker.errors import InvalidInput, SagaworkerError, SchemaMismatch
from sagaworker.ledger.connection import migrating_engine

# It tells at INFO, in every worker's log, which database it looks at.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

# Two deployments that migrate at once take turns: one advisory lock per database, from the project's name.
_LOCK = 0x5A6A_0001
# A table's lock waits for every transaction that read it, and every move waits behind: so not for long, but often.
_LOCK_SECONDS = 1
_LOCK_TRIES = 20
_PAUSE_SECONDS = 1.0


class LedgerBusy(SagaworkerError):
    """A migration did not get the locks it needs: somebody's transaction has read the ledger and does not end."""

    def __str__(self) -> str:
        return (
            f"tables of the ledger must be free for a moment, got them locked in each of {_LOCK_TRIES} tries; nothing was"
            " changed\nwait for an audit or a dump to end; find other transactions in pg_stat_activity, by xact_start"
        )


class LedgerIsNewer(SchemaMismatch):
    """A later sagaworker migrated the ledger: this one must not touch it."""

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


def known() -> list[str]:
    """The revisions this version carries, oldest first."""
    revisions = ScriptDirectory.from_config(_config()).walk_revisions()
    return [script.revision for script in revisions][::-1]


def migrate(database_url: str, revision: str = "head") -> str:
    """Bring the ledger to a revision ("head", "base", "0001"); return the one it is at.

    All of it in one transaction under an advisory lock: it happens wholly or not at all, and once. Moves wait behind it
    for a second at most while it waits for one table's lock, and as long as it takes once it has all.

    Raises:
        InvalidInput: there is no such revision.
        LedgerBusy: other transactions kept the tables locked. Nothing was changed.
        LedgerIsNewer: the ledger is at a revision that this version does not know.
    """
    if revision not in (*known(), "head", "base"):
        raise InvalidInput(
            f"revision {revision!r} must be one that this sagaworker knows, got another",
            f"one of: base, {', '.join(known())}, head",
        )
    engine = migrating_engine(database_url)
    for _ in range(_LOCK_TRIES):
        try:
            return _migrated(engine, revision)
        except sa_exc.OperationalError as exc:
            if not isinstance(exc.orig, psycopg.errors.LockNotAvailable):
                raise
            time.sleep(_PAUSE_SECONDS)
    raise LedgerBusy


def _migrated(engine: sa.Engine, revision: str) -> str:
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
        current = MigrationContext.configure(connection).get_current_revision()
        _refuse_newer(current)
        is_down = revision == "base" or (revision != "head" and current is not None and revision < current)
        (command.downgrade if is_down else command.upgrade)(_config(connection), revision)
        return MigrationContext.configure(connection).get_current_revision() or "base"


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in known():
        raise LedgerIsNewer(found, head())


def check(engine: sa.Engine) -> None:
    """Refuse a ledger at another revision.

    Raises:
        SchemaMismatch: with the revision found, the one needed, and the command to run.
        LedgerIsNewer: this version does not know the revision.
    """
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    _refuse_newer(found)
    if found != head():
        raise SchemaMismatch(found, head())
