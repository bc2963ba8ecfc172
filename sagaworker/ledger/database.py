"""The database: one SQLAlchemy engine that owns the pool, and the psycopg connections the moves run on.

Moves run on psycopg because a statement through SQLAlchemy's text() costs a third more (measured); reads are composed
with SQLAlchemy. Both use connections of the same pool, in autocommit: a move is one statement, or one explicit
transaction.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import psycopg
import sqlalchemy as sa
from psycopg.rows import DictRow, tuple_row
from sqlalchemy import exc as sa_exc

from sagaworker.errors import InvalidSetting, SchemaMismatch
from sagaworker.ledger import version
from sagaworker.ledger.outage import LOST
from sagaworker.ledger.pool import ExactPool
from sagaworker.ledger.pooler import is_ours_alone
from sagaworker.ledger.session import FORM, MIGRATING, SESSION, Connection, closed_on_error, connect, prove
from sagaworker.ledger.statements import execute, has_schema, use_schema
from sagaworker.ledger.url import parameters_of

_Kind = TypeVar("_Kind", bound=Connection)
_Result = TypeVar("_Result")


_GENERATION = "sagaworker.generation"
_GONE = ("08", "57P", "25006")  # SQLSTATE: connection exceptions; the server shuts down, crashed, starts; is read-only


_WHERE = """
    SELECT coalesce(
      (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
       WHERE c.oid = to_regclass('saga_runs')),
      current_schema())
"""


class Database:
    """Connections to one ledger. Safe between threads, and in a forked child, which leaves its parent's alone."""

    def __init__(
        self,
        database_url: str,
        *,
        schema: str | None = None,
        pool_size: int | None = None,
        cursor_class: type[psycopg.Cursor[Any]] | None = None,
    ) -> None:
        """`pool_size`: as many connections stay open, those in use counted; without it up to 5 that are not in use."""
        self._schema = schema
        self._parameters = parameters_of(database_url)
        # Another cursor only for failpoints: SQLAlchemy's own reads use it too.
        self._cursor_class: dict[str, Any] = {} if cursor_class is None else {"cursor_factory": cursor_class}
        self._pid = os.getpid()
        self._generation = 0
        self._is_proven = False
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,  # in autocommit there is nothing to roll back; what failed is thrown away
            poolclass=sa.QueuePool if pool_size is None else ExactPool,
            pool_size=pool_size or 5,
            max_overflow=-1,
            pool_recycle=1800,
        )

    @property
    def engine(self) -> sa.Engine:
        """The engine that owns the pool, for reads."""
        if self._pid != os.getpid():
            self.forget()
        return self._engine

    def schema(self, connection: Connection) -> str:
        """The schema of the ledger: the setting, else where this connection of ours finds it. Asked once.

        Before `migrate` it is where `migrate` would make the tables, and is asked again.
        """
        if self._schema is None:
            with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
                row = cursor.execute(_WHERE).fetchone()
                if row is None or row[0] is None:
                    raise InvalidSetting(
                        "SAGAWORKER_DATABASE_URL must lead to a schema that exists, got a search_path without one",
                        "correct the search_path of the role or of the URL's options, or set SAGAWORKER_SCHEMA",
                    )
                self._schema = str(row[0])
        return self._schema

    def connect(self, *, connect_timeout: int = 5) -> Connection:
        """A connection: for the pool, or of its own, for the heartbeat, and for one incident of the local witness."""
        connection = connect(
            psycopg.Connection, self._parameters, connect_timeout=connect_timeout, **self._cursor_class
        )
        with closed_on_error(connection):
            # Before anything is set: others would get the server with our settings.
            self._is_proven = self._is_proven or is_ours_alone(connection, self._parameters)
            prove(connection, SESSION)
            return self._placed(connection)

    def connect_for_step(self, kind: type[_Kind]) -> _Kind:
        """A connection for a TRANSACTIONAL step: in transactions, and planned as its own statements deserve.

        READ COMMITTED, whatever the database defaults to: the move at its end must see what was noted or cancelled
        meanwhile. A stricter level would refuse it.
        """
        if self._schema is None:
            with self.checkout() as own:
                self.schema(own)
        connection = connect(kind, self._parameters, name="sagaworker step")
        with closed_on_error(connection):
            prove(connection, FORM)
            connection.autocommit = False
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        use_schema(connection, self._schema or "")
        return connection

    def _placed(self, connection: _Kind) -> _Kind:
        use_schema(connection, self.schema(connection))
        return connection

    @contextlib.contextmanager
    def checkout(self) -> Iterator[Connection]:
        """A pooled psycopg connection. After any error it is thrown away rather than returned."""
        pooled = self.engine.raw_connection()
        while pooled.info.setdefault(_GENERATION, self._generation) < self._generation:
            pooled.invalidate()
            pooled.close()
            pooled = self.engine.raw_connection()
        try:
            connection = cast("Connection", pooled.driver_connection)
            if not has_schema(connection):
                self._placed(connection)
            yield connection
        except BaseException as exc:
            pooled.invalidate()
            if isinstance(exc, LOST):
                self.retire(exc)
            self.refuse_older(exc)
            raise
        finally:
            pooled.close()

    def again(self, work: Callable[[Connection], _Result]) -> _Result:
        """Run work that may be done twice without harm; once more on a fresh connection when one was stale."""
        try:
            with self.checkout() as connection:
                return work(connection)
        except LOST:
            with self.checkout() as connection:
                return work(connection)

    def retried(self, name: str, parameters: dict[str, Any]) -> list[DictRow]:
        """Run a statement that may be sent twice without harm; once more on a fresh connection when one was stale."""
        return self.again(lambda connection: execute(connection, name, parameters))

    def retire(self, error: psycopg.Error) -> None:
        """Use no connection again that is open now, where this error says that the server may be gone from all of them.

        Each is closed when its turn comes: to dispose of the pool would leave those in use to the garbage collector.
        """
        if error.sqlstate is None or error.sqlstate.startswith(_GONE):
            self._generation += 1

    def refuse_older(self, error: BaseException | None) -> None:
        """Say so where that is what an error comes from: that the database has no ledger, or that of another version.

        Raises:
            SchemaMismatch: it is not migrated, as `version.check` says.
        """
        driver = error.orig if isinstance(error, sa_exc.DBAPIError) else error
        if not isinstance(driver, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)):
            return
        try:
            version.check(self.engine, self._schema)
        except SchemaMismatch as mismatch:
            raise mismatch from error

    def forget(self) -> None:
        """After a fork: leave the parent's sockets alone and start with an empty pool."""
        self._pid = os.getpid()
        self._engine.dispose(close=False)

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()


def migrating_engine(database_url: str) -> sa.Engine:
    """An engine without a pool and without our time-outs, for migrations."""
    parameters = parameters_of(database_url)

    def creator() -> Connection:
        connection = connect(psycopg.Connection, parameters, name="sagaworker migrate")
        with closed_on_error(connection):
            is_ours_alone(connection, parameters)
            prove(connection, MIGRATING)
            connection.autocommit = False
        return connection

    return sa.create_engine("postgresql+psycopg://", creator=creator, poolclass=sa.NullPool)
