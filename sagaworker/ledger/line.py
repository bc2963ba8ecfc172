"""One episode's line to the database: a pooled connection kept from load to close, and replaced when it is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import TupleRow, tuple_row

from sagaworker.ledger import prepared
from sagaworker.ledger.database import Database
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import adapted, schema_of, sql

# What a statement raises when its fate, or the server's, is unknown; anything else is a fault of ours and propagates.
# InternalError: a server that has become a read-only standby, a transaction that it ended while this process was paused.
UNKNOWN = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)


_COLUMNS: dict[str, tuple[str, ...]] = {}


class Line:
    """Runs statement files, prepared, in autocommit. Not safe between threads. A context manager."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked_out = contextlib.ExitStack()
        self._connection: Connection | None = None
        self._cursor: psycopg.Cursor[TupleRow] | None = None  # made where one is needed: most episodes need none
        self._schema = ""
        self._run: prepared.Run | None = None
        self.on_lost: Callable[[], None] = lambda: None  # called before another connection is asked for

    def __enter__(self) -> Line:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.close()
        self._database.refuse_older(error)

    def one(self, name: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Run a statement, one round trip, and fetch its only row."""
        rows = self.rows(name, parameters)
        return rows[0] if rows else None

    def rows(self, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Run a statement and fetch its rows."""
        connection = self._connection or self._connected()
        if self._run is not None and name in prepared.FILES:
            return self._run(connection, name, parameters)
        cursor = self._open()
        rows = cursor.execute(sql(name, self._schema), parameters, prepare=True).fetchall()
        return [self._named(name, cursor, row) for row in rows]

    def read(self, name: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """`one` for a statement that changes nothing: once more where a pooled connection has died since its last use."""
        try:
            return self.one(name, parameters)
        except UNKNOWN as exc:
            self.lost(exc)
            self._database.retire(exc)
            return self.one(name, parameters)

    def locked(self, name: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Lock the saga row, then run the move on a fresh snapshot, in one transaction (docs/protocol.md, rule 11)."""
        cursor = self._open()
        with cursor.connection.transaction():
            cursor.execute(sql("lock_run", self._schema), parameters, prepare=True)
            row = cursor.execute(sql(name, self._schema), parameters, prepare=True).fetchone()
        return None if row is None else self._named(name, cursor, row)

    def lost(self, error: BaseException) -> None:
        """Throw the connection away; the next statement opens another."""
        self.on_lost()
        self._connection = self._cursor = None
        self._checked_out.__exit__(type(error), error, error.__traceback__)
        self._checked_out = contextlib.ExitStack()

    def close(self) -> None:
        """Give the connection back to the pool."""
        if self._cursor is not None:
            self._cursor.close()
        self._connection = self._cursor = None
        self._checked_out.close()

    @staticmethod
    def _named(name: str, cursor: psycopg.Cursor[TupleRow], row: TupleRow) -> dict[str, Any]:
        """A row by its columns' names. They never change for one statement, and asking psycopg costs 20 us each time."""
        if name not in _COLUMNS:
            _COLUMNS[name] = tuple(column.name for column in cursor.description or ())
        return dict(zip(_COLUMNS[name], row, strict=True))

    def _open(self) -> psycopg.Cursor[TupleRow]:
        if self._cursor is None:
            connection = self._connection or self._connected()
            self._cursor = adapted(connection.cursor(row_factory=tuple_row))
        return self._cursor

    def _connected(self) -> Connection:
        self._connection = connection = self._checked_out.enter_context(self._database.checkout())
        self._schema = schema_of(connection)
        self._run = prepared.runner(connection)
        return connection
