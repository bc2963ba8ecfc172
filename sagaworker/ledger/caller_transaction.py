"""Joining a caller's transaction: the saga exists if and only if the caller commits, and is rung after that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import event
from sqlalchemy import exc as sa_exc

from sagaworker.errors import InvalidInput
from sagaworker.ledger.database import Database
from sagaworker.ledger.outage import reason
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import adapted, schema_of, use_schema

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session

# Names the cluster and database that a connection reaches, and needs no privilege.
_PLACE = """
    SELECT d.oid, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
    FROM pg_database AS d
    WHERE d.datname = current_database()
"""
_WAITING = "sagaworker.waiting"
Result = TypeVar("Result")


@dataclass(slots=True)
class _Bells:
    """Calls for the time after a connection's commit, each with the savepoint in which it was asked for."""

    pending: list[tuple[Callable[[], object], sa.NestedTransaction | None]] = field(default_factory=list)
    committing: list[Callable[[], object]] = field(default_factory=list)
    committed: list[Callable[[], object]] = field(default_factory=list)

    def settle(self) -> None:
        """Count the last commit as done: a failed one would have removed its calls."""
        self.committed += self.committing
        self.committing.clear()


@dataclass(frozen=True, slots=True)
class Joined:
    """One caller's open transaction. The moves run on `driver`, which is never committed or closed here."""

    driver: psycopg.Connection[Any]
    connection: sa.Connection | None

    def after_commit(self, call: Callable[[], object]) -> None:
        """Call once the caller has committed: not after a rollback, and not on a bare psycopg connection, which reports nothing.

        `call` must not raise: SQLAlchemy would raise the error from the caller's commit, which has happened by then.
        """
        if self.connection is not None:
            _after_connection_commit(self.connection, call)

    @contextmanager
    def in_utf8(self) -> Iterator[None]:
        """Within, client_encoding is UTF8 for the moves: the caller's encoding may lack letters that a saga has.

        If the transaction fails within, its rollback restores the caller's encoding.
        """
        theirs = self.driver.info.parameter_status("client_encoding") or "UTF8"
        if theirs == "UTF8":
            yield
            return
        self._encode_in("UTF8")
        try:
            yield
        finally:
            if self.driver.info.transaction_status is TransactionStatus.INTRANS:
                self._encode_in(theirs)

    def _encode_in(self, encoding: str) -> None:
        with adapted(psycopg.Cursor(self.driver)) as cursor:
            cursor.execute("SELECT pg_catalog.set_config('client_encoding', %s, false)", (encoding,))


def in_transaction(database: Database, work: Callable[[Connection], Result]) -> Result:
    """Run `work` in one transaction of its own: an exception rolls back all its writes.

    A stale connection makes it run again on a fresh one. The first commit may have landed, so `work` must be repeatable.
    """
    try:
        return _transacted(database, work)
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        database.retire(exc)
        return _transacted(database, work)


def _transacted(database: Database, work: Callable[[Connection], Result]) -> Result:
    with database.checkout() as connection, connection.transaction():
        return work(connection)


def join(connection: object, database: Database) -> Joined:
    """Accept a caller's SQLAlchemy Connection, Session or scoped_session, or psycopg 3 connection.

    Raises:
        InvalidInput: another object, a connection in autocommit (each statement would commit by itself), a connection to
            another database than the ledger's, or one that can run no statement: closed, not begun, or in a failed
            transaction.
    """
    try:
        joined = _joined(connection)
        place = _place(joined.driver)
    except (psycopg.Error, sa_exc.SQLAlchemyError) as exc:
        raise InvalidInput(
            f"connection must be in a transaction that can go on, got: {reason(exc)}",
            "roll it back, or open another",
        ) from exc
    ledgers_place, schema = _ledgers_place(database)
    if place != ledgers_place:
        info = joined.driver.info
        raise InvalidInput(
            f"connection must reach the ledger's database, got {info.dbname!r} on {info.host!r}",
            "a saga can join only a transaction of the database it is stored in",
        )
    use_schema(joined.driver, schema)
    return joined


def _joined(connection: object) -> Joined:
    # A session's bell follows the connection beneath it. The session's own events report the end of a savepoint as a
    # commit, and a commit inside a transaction that somebody else has begun.
    known = connection.connection() if _is_session(connection) else connection
    if isinstance(known, sa.Connection):
        # SQLAlchemy commits only a transaction that it saw begin, and it does not see statements on the driver's connection.
        known.execute(sa.text("SELECT 1"))
        driver: object = known.connection.driver_connection
    else:
        driver = known
    if not isinstance(driver, psycopg.Connection):
        raise InvalidInput(
            f"connection must be a SQLAlchemy Connection or Session over psycopg 3, or a psycopg 3 connection, got a"
            f" {type(driver).__module__}.{type(driver).__name__}",
            "of Django's connection give what is beneath it, connection.connection; for asynchronous ones see docs/hosts.md",
        )
    if driver.autocommit and driver.info.transaction_status is TransactionStatus.IDLE:
        raise InvalidInput("connection must be in a transaction, got one in autocommit", "open a transaction first")
    return Joined(driver, known if isinstance(known, sa.Connection) else None)


def _is_session(connection: object) -> TypeGuard[Session | scoped_session[Session]]:
    """Do not import SQLAlchemy's ORM, which takes as long as the rest of SQLAlchemy: a caller with a session has done so."""
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(connection, (orm.Session, orm.scoped_session))


def _place(driver: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    with adapted(psycopg.Cursor(driver, row_factory=tuple_row)) as cursor:
        return cursor.execute(_PLACE).fetchone()


def _ledgers_place(database: Database) -> tuple[tuple[Any, ...] | None, str]:
    return database.again(lambda own: (_place(own), schema_of(own)))


def _after_connection_commit(connection: sa.Connection, call: Callable[[], object]) -> None:
    """SQLAlchemy reports a Connection's commit before the commit, so the call waits until the connection is returned."""
    info = connection.info
    if _WAITING not in info:
        info[_WAITING] = _Bells()
        event.listen(connection, "commit", _committed)
        event.listen(connection, "commit_twophase", _committed)
        event.listen(connection, "rollback", _rolled_back)
        event.listen(connection, "rollback_twophase", _rolled_back)
        event.listen(connection, "rollback_savepoint", _savepoint_rolled_back)
        event.listen(connection.engine, "handle_error", _on_error)
        event.listen(connection.engine.pool, "checkin", _on_checkin)
    info[_WAITING].pending.append((call, connection.get_nested_transaction()))


def _bells(connection: sa.Connection) -> _Bells:
    """The bells of the connection; made anew where the same Connection goes on after its bells were rung."""
    bells: _Bells = connection.info.setdefault(_WAITING, _Bells())
    return bells


def _committed(connection: sa.Connection, *_: object) -> None:
    bells = _bells(connection)
    bells.settle()
    bells.committing += [call for call, _ in bells.pending]
    bells.pending.clear()


def _rolled_back(connection: sa.Connection, *_: object) -> None:
    bells = _bells(connection)
    bells.settle()
    bells.pending.clear()


def _on_error(context: sa.ExceptionContext) -> None:
    """Drop the calls of a commit that failed (a deferred constraint, a lost connection): only commits have no statement."""
    connection = context.connection
    if context.statement is None and connection is not None and not connection.invalidated:
        _bells(connection).committing.clear()


def _savepoint_rolled_back(connection: sa.Connection, *_: object) -> None:
    """Forget calls asked for inside the savepoint, and inside released savepoints, which may have been parts of it."""
    bells = _bells(connection)
    current = connection.get_nested_transaction()
    bells.pending = [
        (call, savepoint)
        for call, savepoint in bells.pending
        if savepoint is None or (savepoint is not current and savepoint.is_active)
    ]


def _on_checkin(_driver: object, record: Any) -> None:
    bells: _Bells | None = record.info.pop(_WAITING, None)
    if bells is None:
        return
    bells.settle()
    for call in bells.committed:
        call()
