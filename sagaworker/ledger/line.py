"""One episode's line to the database: a pooled connection kept from load to close, and replaced when it is lost."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from sagaworker.ledger.connection import Database, sql

# What a statement raises when its fate, or the server's, is unknown; anything else is a fault of ours and propagates.
UNKNOWN = (psycopg.OperationalError, psycopg.InterfaceError)


class Line:
    """Runs statement files, prepared, in autocommit. Not safe between threads. A context manager."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked_out = contextlib.ExitStack()
        self._cursor: psycopg.Cursor[DictRow] | None = None

    def __enter__(self) -> Line:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def one(self, name: str, parameters: dict[str, Any]) -> DictRow | None:
        """Run a statement, one round trip, and fetch its only row."""
        return self._open().execute(sql(name), parameters, prepare=True).fetchone()

    def rows(self, name: str, parameters: dict[str, Any]) -> list[DictRow]:
        """Run a statement and fetch its rows."""
        return self._open().execute(sql(name), parameters, prepare=True).fetchall()

    def locked(self, name: str, parameters: dict[str, Any]) -> DictRow | None:
        """Lock the saga row, then run the move on a fresh snapshot, in one transaction (PROTOCOL section 3, rule 11)."""
        cursor = self._open()
        with cursor.connection.transaction():
            cursor.execute(sql("lock_run"), parameters, prepare=True)
            return cursor.execute(sql(name), parameters, prepare=True).fetchone()

    def lost(self, error: BaseException) -> None:
        """Throw the connection away; the next statement opens another."""
        self._cursor = None
        self._checked_out.__exit__(type(error), error, error.__traceback__)
        self._checked_out = contextlib.ExitStack()

    def close(self) -> None:
        """Give the connection back to the pool."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        self._checked_out.close()

    def _open(self) -> psycopg.Cursor[DictRow]:
        if self._cursor is None:
            connection = self._checked_out.enter_context(self._database.checkout())
            self._cursor = connection.cursor(row_factory=dict_row)
        return self._cursor
