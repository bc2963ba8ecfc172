"""Joining a caller's transaction: the saga exists if and only if the caller commits, and is rung after that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.orm import Session

from sagaworker.errors import InvalidInput
from sagaworker.ledger.connection import Database

# Which cluster and database a connection reaches, without any privilege.
_PLACE = """
    SELECT d.oid, pg_postmaster_start_time()
    FROM pg_database AS d
    WHERE d.datname = current_database()
"""
_PENDING = "sagaworker.pending"
_COMMITTED = "sagaworker.committed"


@dataclass(frozen=True, slots=True)
class Joined:
    """One caller's open transaction. `driver` is what the moves run on; it is never committed or closed here."""

    driver: psycopg.Connection[Any]
    given: sa.Connection | Session | psycopg.Connection[Any]

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call once the caller has committed; never if it rolls back. A bare psycopg connection tells nobody."""
        match self.given:
            case Session():
                _after_session_commit(self.given, call)
            case sa.Connection():
                _after_connection_commit(self.given, call)
            case _:
                pass


def join(connection: object, database: Database) -> Joined:
    """Accept a caller's SQLAlchemy Connection or Session or psycopg 3 connection.

    Raises:
        InvalidInput: something else, a connection in autocommit (each statement would commit by itself), or one to
            another database than the ledger's.
    """
    match connection:
        case Session():
            driver = _begun(connection.connection()).connection.driver_connection
        case sa.Connection():
            driver = _begun(connection).connection.driver_connection
        case _:
            driver = connection
    if not isinstance(driver, psycopg.Connection):
        raise InvalidInput(
            f"connection must be a SQLAlchemy Connection or Session over psycopg 3, or a psycopg 3 connection, got a"
            f" {type(driver).__module__}.{type(driver).__name__}"
        )
    if driver.autocommit and driver.info.transaction_status is TransactionStatus.IDLE:
        raise InvalidInput("connection must be in a transaction, got one in autocommit", "open a transaction first")
    if _place(driver) != _ledgers_place(database):
        raise InvalidInput(
            f"connection must reach the ledger's database, got {driver.info.dbname!r} on {driver.info.host!r}",
            "a saga can join only a transaction of the database it is stored in",
        )
    return Joined(driver, connection)  # type: ignore[arg-type]  # one of the three, as the match found


def _begun(connection: sa.Connection) -> sa.Connection:
    """SQLAlchemy commits only what it knows to have begun, and it does not see what runs on the driver's connection."""
    connection.execute(sa.text("SELECT 1"))
    return connection


def _place(driver: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    with driver.cursor() as cursor:
        return cursor.execute(_PLACE).fetchone()


def _ledgers_place(database: Database) -> tuple[Any, ...] | None:
    with database.checkout() as own, own.cursor() as cursor:
        return cursor.execute(_PLACE).fetchone()


def _after_session_commit(session: Session, call: Callable[[], None]) -> None:
    waiting: list[Callable[[], None]] = [call]

    def committed(_session: Session) -> None:
        while waiting:
            waiting.pop()()

    def rolled_back(_session: Session) -> None:
        waiting.clear()

    event.listen(session, "after_commit", committed, once=True)
    event.listen(session, "after_rollback", rolled_back, once=True)


def _after_connection_commit(connection: sa.Connection, call: Callable[[], None]) -> None:
    """SQLAlchemy tells of a Connection's commit before it happens, so the call waits until the connection is returned."""
    info = connection.info
    if _PENDING not in info:
        info[_PENDING], info[_COMMITTED] = [], []
        event.listen(connection, "commit", _note_commit)
        event.listen(connection, "rollback", _note_rollback)
        event.listen(connection.engine.pool, "checkin", _on_checkin)
    info[_PENDING].append(call)


def _note_commit(connection: sa.Connection) -> None:
    connection.info[_COMMITTED].extend(connection.info[_PENDING])
    connection.info[_PENDING].clear()


def _note_rollback(connection: sa.Connection) -> None:
    connection.info[_PENDING].clear()


def _on_checkin(_driver: object, record: Any) -> None:
    calls = record.info.get(_COMMITTED, [])
    while calls:
        calls.pop()()
    record.info.pop(_PENDING, None)
    record.info.pop(_COMMITTED, None)
