"""Migrations: Alembic on the ledger's connection, found in a checkout and in an installed wheel alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc as sa_exc

from sagaworker.errors import InvalidInput, InvalidSetting, SagaworkerError
from sagaworker.ledger.database import migrating_engine
from sagaworker.ledger.names import VERSION_TABLE
from sagaworker.ledger.version import found, known, migrations_folder, quoted, refuse_newer

# At INFO it would write its database into every worker's log.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

# Two deployments that migrate at once take turns by this advisory lock of the database, made from the project's name.
_LOCK = 0x5A6A_0001
# A lock on a table waits for every transaction that read the table, and every move waits behind it: so the wait for a
# lock is short, and repeated.
_LOCK_SECONDS = 1
_LOCK_TRIES = 20
_PAUSE_SECONDS = 1.0
_BUILD_SECONDS = 60  # for which the build of an index waits for writing transactions; nobody waits for the build


# Other objects named after a table of an old ledger. Constraints first: renaming one renames its index.
_PARTS = {
    'ALTER TABLE {table} RENAME CONSTRAINT "{name}" TO "{target}"': (
        "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:table AS regclass) AND conname LIKE :old"
    ),
    'ALTER INDEX "{name}" RENAME TO "{target}"': (
        "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = CAST(:table AS regclass) AND c.relname LIKE :old"
    ),
}


class LedgerBusy(SagaworkerError):
    """A migration did not get the locks it needs: another transaction has read the ledger and does not end."""

    def __str__(self) -> str:
        return (
            "tables of the ledger must be free for a moment, got them locked all the time; nothing was changed"
            "\nwait for an audit or a dump to end; find other transactions in pg_stat_activity, by xact_start"
        )


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(database_url: str, revision: str = "head", *, schema: str | None = None) -> str:
    """Bring the ledger to a revision ("head", "base", "0001"); return its revision after that.

    The ledger is in `schema`, which is made if it is missing; None: where the connection's search_path leads. The version
    is kept in a table of our own, so that an application's Alembic history in the same schema is neither read nor written.

    A migration is one transaction under an advisory lock: it happens wholly or not at all, and once. Moves wait for a
    second at most while it waits for one table's lock, and until it ends once it has all locks. Indexes on tables that
    may be large are built before it, while moves go on.

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
    with _turn(engine) as outside:
        _build_indexes(outside, revision, schema)
        for _ in range(_LOCK_TRIES):
            try:
                return _migrated(engine, revision, schema)
            except sa_exc.OperationalError as exc:
                if not isinstance(exc.orig, psycopg.errors.LockNotAvailable):
                    raise
                time.sleep(_PAUSE_SECONDS)
    raise LedgerBusy


@contextmanager
def _turn(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection outside of transactions that holds the advisory lock of the database, until it is closed.

    It tries again and again: a statement that waited for the lock would hold a snapshot, and the lock's holder, which
    builds an index, waits for all snapshots.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(sa.text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            time.sleep(_PAUSE_SECONDS / 10)
        yield connection


def _build_indexes(connection: sa.Connection, revision: str, schema: str | None) -> None:
    """Build the indexes that migrations on the way only declare, CONCURRENTLY: moves go on, but no transaction may do so.

    An interrupted build leaves an index that no query uses and every move writes: it is made anew.
    """
    table = "saga_runs" if schema is None else f"{quoted(schema)}.saga_runs"
    if not _exists(connection, table):
        return  # a new ledger: its tables are empty when the migration makes their indexes
    where = connection.scalar(
        sa.text(
            "SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE c.oid = to_regclass(:table)"
        ),
        {"table": table},
    )
    inside = f"{quoted(str(where))}."
    connection.execute(sa.text(f"SET lock_timeout = '{_BUILD_SECONDS}s'"))
    for name, columns in _indexes_between(found(connection, str(where)), revision).items():
        is_valid = connection.scalar(
            sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"), {"name": inside + name}
        )
        try:
            if is_valid is False:
                connection.execute(sa.text(f"DROP INDEX CONCURRENTLY {inside}{name}"))
            if not is_valid:
                connection.execute(sa.text(f"CREATE INDEX CONCURRENTLY {name} ON {inside}{columns}"))
        except sa_exc.OperationalError as exc:
            if isinstance(exc.orig, psycopg.errors.LockNotAvailable):
                raise LedgerBusy from None
            raise


def _indexes_between(current: str | None, revision: str) -> dict[str, str]:
    """The indexes that migrations on the way want built beforehand; none on the way down, or for a newer ledger."""
    if revision == "base" or (current is not None and current not in known()):
        return {}
    wanted = [one for one in known() if (current or "") < one and (revision == "head" or one <= revision)]
    scripts = ScriptDirectory.from_config(_config())
    indexes: dict[str, str] = {}
    for one in wanted:
        script = scripts.get_revision(one)
        indexes |= getattr(script and script.module, "CREATED", {})
    return indexes


def _migrated(engine: sa.Engine, revision: str, schema: str | None) -> str:
    with engine.begin() as connection:
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
        _enter(connection, schema)
        adopted = _adopt(connection)
        current = found(connection)
        refuse_newer(current)
        is_down = revision == "base" or (revision != "head" and current is not None and revision < current)
        (command.downgrade if is_down else command.upgrade)(_config(connection), revision)
        if adopted is not None:
            _clear_old(connection, adopted)
        return found(connection) or "base"


def _enter(connection: sa.Connection, schema: str | None) -> None:
    """Make names without a schema mean the ledger's schema only, so that no object of another schema is found."""
    if schema is None:
        schema = connection.scalar(
            sa.text(
                "SELECT coalesce((SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
                " WHERE c.oid = to_regclass('saga_runs')), current_schema())"
            )
        )
        if schema is None:
            raise InvalidSetting(
                "SAGAWORKER_DATABASE_URL must lead to a schema that exists, got a search_path without one",
                "correct the search_path of the role or of the URL's options, or set SAGAWORKER_SCHEMA",
            )
    elif not connection.scalar(sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :schema"), {"schema": schema}):
        connection.execute(sa.schema.CreateSchema(schema))
    connection.execute(sa.text("SELECT set_config('search_path', quote_ident(:schema), true)"), {"schema": schema})


def _adopt(connection: sa.Connection) -> str | None:
    """Make the version table of a ledger that is older than our version table; return the ledger's revision.

    The ledger's tables show the revision, never `alembic_version`: that table may be the application's, and its revisions
    may have our names.
    """
    if _exists(connection, VERSION_TABLE) or not _exists(connection, "saga_runs"):
        return None
    has = sa.inspect(connection).get_columns("saga_step_results")
    if any(column["name"] == "failed_attempts" for column in has):
        revision = "0004"
    elif not _exists(connection, "saga_definitions"):
        revision = "0001"
    else:
        active = connection.scalar(sa.text("SELECT pg_get_indexdef('saga_runs_active'::regclass)"))
        revision = "0003" if "protocol_version" in str(active) else "0002"
    _rename(connection, revision)
    MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).stamp(
        ScriptDirectory.from_config(_config(connection)), revision
    )
    return revision


def _rename(connection: sa.Connection, revision: str) -> None:
    """Give the tables of an old ledger today's names. Only the catalog is written."""
    renamed = {"episodes": "saga_episodes"} | ({"sweep_state": "saga_sweeps"} if revision > "0001" else {})
    for old, new in renamed.items():
        connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
        for kind, query in _PARTS.items():
            for name in connection.scalars(sa.text(query), {"table": new, "old": f"{old}_%"}).all():
                target = new + name.removeprefix(old)
                connection.execute(sa.text(kind.format(table=new, name=name, target=target)))
    connection.execute(sa.text("ALTER DOMAIN episode_outcome RENAME TO saga_episode_outcome"))
    connection.execute(
        sa.text(
            "ALTER DOMAIN saga_episode_outcome"
            " RENAME CONSTRAINT episode_outcome_is_known TO saga_episode_outcome_is_known"
        )
    )


def _clear_old(connection: sa.Connection, revision: str) -> None:
    """Delete our row from `alembic_version`. An application's row stays; an empty table is dropped."""
    if not _exists(connection, "alembic_version"):
        return
    connection.execute(sa.text("DELETE FROM alembic_version WHERE version_num = :revision"), {"revision": revision})
    if connection.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 0:
        connection.execute(sa.text("DROP TABLE alembic_version"))


def _exists(connection: sa.Connection, table: str) -> bool:
    return connection.scalar(sa.text("SELECT to_regclass(:table)"), {"table": table}) is not None
