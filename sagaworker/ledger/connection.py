"""The database: one SQLAlchemy engine that owns the pool, and the psycopg connections the moves run on.

Moves run on psycopg because a statement through SQLAlchemy's text() costs a third more (PLATFORM section 5); reads are
composed with SQLAlchemy. Both use connections of the same pool, in autocommit: a move is one statement, or one explicit
transaction.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy as sa
from psycopg.rows import DictRow, dict_row, tuple_row

from sagaworker.errors import InvalidSetting
from sagaworker.ledger.names import qualified

Connection: TypeAlias = psycopg.Connection[Any]
_Kind = TypeVar("_Kind", bound=Connection)

# PROTOCOL section 3, rule 4. The session ends what hangs; TCP keepalive finds a database host that vanished.
_SESSION = {
    "lock_timeout": "5s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_isolation": "read committed",
    # Every statement here touches a few rows by primary key or partial index: one generic plan serves all values. Made
    # while the tables were empty, it would read them whole until the next ANALYZE, so that plan is ruled out.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "timezone": "UTC",
}
_GENERATION = "sagaworker.generation"
_GONE = ("08", "57P")  # SQLSTATE: connection exceptions; the server shuts down, crashed, starts
_KEEPALIVE: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


def sqlalchemy_url(database_url: str) -> sa.URL:
    """The URL with the driver this project uses, whatever spelling of PostgreSQL it came in."""
    url = sa.make_url(database_url)
    return url.set(drivername="postgresql+psycopg")


def connect_arguments(*, connect_timeout: int = 5) -> dict[str, Any]:
    """Libpq settings of every connection sagaworker opens."""
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in _SESSION.items())
    return {"connect_timeout": connect_timeout, "options": options, "application_name": "sagaworker", **_KEEPALIVE}


# The schema of the ledger that a connection is used for: our own ones, and callers' connections that we have joined.
_schemas: WeakKeyDictionary[Connection, str] = WeakKeyDictionary()

_WHERE = """
    SELECT coalesce(
      (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
       WHERE c.oid = to_regclass('saga_runs')),
      current_schema())
"""


@cache
def sql(name: str, schema: str = "") -> bytes:
    """The text of `ledger/sql/<name>.sql` without comments and indentation, its tables in `schema`.

    psycopg caches how it reads a query only up to 4,096 bytes; reading a longer one anew costs a third of a move.
    """
    text = files("sagaworker.ledger").joinpath("sql", f"{name}.sql").read_text()
    lines = (line.strip() for line in text.splitlines())
    statement = " ".join(line for line in lines if line and not line.startswith("--")).encode()
    return qualified(statement, schema) if schema else statement


def use_schema(connection: Connection, schema: str) -> None:
    """From now on statement files run on this connection in that schema, whatever its search_path says."""
    _schemas[connection] = schema


def schema_of(connection: Connection) -> str:
    """The schema that `use_schema` said, or "": the search_path decides."""
    return _schemas.get(connection, "")


class Database:
    """Connections to one ledger. Safe between threads, and in a forked child, which leaves its parent's alone."""

    def __init__(
        self,
        database_url: str,
        *,
        schema: str | None = None,
        pool_size: int = 5,
        cursor_class: type[psycopg.Cursor[Any]] | None = None,
    ) -> None:
        self._schema = schema
        self._url = sqlalchemy_url(database_url)
        # Another cursor only for failpoints: SQLAlchemy's own reads use it too.
        self._cursor_class: dict[str, Any] = {} if cursor_class is None else {"cursor_factory": cursor_class}
        self._pid = os.getpid()
        self._generation = 0
        self._engine = sa.create_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            connect_args=connect_arguments() | self._cursor_class,
            pool_size=pool_size,
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
        """A connection of its own, outside the pool: for the heartbeat, and for one incident of the local witness."""
        url = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        arguments = connect_arguments(connect_timeout=connect_timeout) | self._cursor_class
        return self._placed(psycopg.connect(url, autocommit=True, **arguments))

    def connect_for_step(self, kind: type[_Kind]) -> _Kind:
        """A connection for a TRANSACTIONAL step: in transactions, and planned as its own statements deserve.

        READ COMMITTED, whatever the database defaults to: the move at its end must see what was noted or cancelled
        meanwhile. A stricter level would refuse it.
        """
        url = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = kind.connect(url, connect_timeout=5, application_name="sagaworker step", **_KEEPALIVE)
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        if self._schema is None:
            with self.checkout() as own:
                self.schema(own)
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
            if connection not in _schemas:
                self._placed(connection)
            yield connection
        except BaseException:
            pooled.invalidate()
            raise
        finally:
            pooled.close()

    def retried(self, name: str, parameters: dict[str, Any]) -> list[DictRow]:
        """Run a statement that may be sent twice without harm; once more on a fresh connection when one was stale."""
        try:
            with self.checkout() as connection:
                return execute(connection, name, parameters)
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            self.retire(exc)
            with self.checkout() as connection:
                return execute(connection, name, parameters)

    def retire(self, error: psycopg.Error) -> None:
        """Use no connection again that is open now, where this error says that the server may be gone from all of them.

        Each is closed when its turn comes: to dispose of the pool would leave those in use to the garbage collector.
        """
        if error.sqlstate is None or error.sqlstate.startswith(_GONE):
            self._generation += 1

    def forget(self) -> None:
        """After a fork: leave the parent's sockets alone and start with an empty pool."""
        self._pid = os.getpid()
        self._engine.dispose(close=False)

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()


def _cursor(connection: Connection) -> psycopg.Cursor[DictRow]:
    """Not the connection's own kind of cursor: a caller's connection may make any (ClientCursor, RawCursor).

    But the one that failpoints hurt, where they are set.
    """
    kind = connection.cursor_factory
    chosen: type[psycopg.Cursor[Any]] = kind if getattr(kind, "is_hurt_by_failpoints", False) else psycopg.Cursor
    return chosen(connection, row_factory=dict_row)


def execute(connection: Connection, name: str, parameters: dict[str, Any]) -> list[DictRow]:
    """Run one statement file, prepared, and fetch its rows."""
    with _cursor(connection) as cursor:
        return cursor.execute(sql(name, schema_of(connection)), parameters, prepare=True).fetchall()


def execute_one(connection: Connection, name: str, parameters: dict[str, Any]) -> DictRow | None:
    """Run one statement file, prepared, and fetch its only row, or None."""
    with _cursor(connection) as cursor:
        return cursor.execute(sql(name, schema_of(connection)), parameters, prepare=True).fetchone()


def execute_locked(connection: Connection, name: str, parameters: dict[str, Any]) -> DictRow | None:
    """Lock the saga row, then run the move on a fresh snapshot, in one transaction (PROTOCOL section 3, rule 11)."""
    with connection.transaction():
        execute(connection, "lock_run", parameters)
        return execute_one(connection, name, parameters)
