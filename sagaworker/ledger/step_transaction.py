"""The transaction of a TRANSACTIONAL step: what the step writes and that it completed are one commit.

It runs on a connection of its own and locks no row of the ledger until its end, where `advance` or `complete` runs in
it and proves the fence. So a worker that died in it, or was given up, leaves either all of it or nothing
(docs/protocol.md, rule 12).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from datetime import timedelta
from typing import Any, NoReturn, Self

import psycopg
from psycopg.rows import DictRow

from sagaworker.errors import InvalidInput
from sagaworker.ledger.database import Database
from sagaworker.ledger.line import UNKNOWN
from sagaworker.ledger.session import Connection
from sagaworker.ledger.statements import execute_one

# What a step may set for itself and the move depends on. In this order: a session authorization resets the role.
_OURS = ("session_authorization", "role", "search_path", "row_security", "client_encoding", "datestyle",
         "intervalstyle")  # fmt: skip
# So that the server ends the transaction of a worker that vanished: its locks would keep the next attempt waiting until
# TIMEOUT and grace are over. Not read back: over a Unix socket each is 0.
_CLIENT_GONE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "11000",
    "client_connection_check_interval": "5000",
}
_OPENING = f"""
    SELECT
      pg_current_xact_id()::text::bigint, {", ".join(f"current_setting('{name}')" for name in _OURS)},
      set_config('statement_timeout', %(timeout)s, true), set_config('idle_in_transaction_session_timeout', %(end)s, true),
      set_config('lock_timeout', '0', true), {
    ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _CLIENT_GONE.items())
}
""".encode()
_RESTORED = ("SELECT " + ", ".join(f"pg_catalog.set_config('{name}', %s, true)" for name in _OURS)).encode()
# What the step deferred runs now, as the step set it up; at the commit it would run with our settings.
_DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE"
# A number, for text comes as bytes when the step set another client_encoding.
_CURRENT = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text::bigint"
# A standby may not have heard of a commit yet. A backend whose client is gone is ended: nobody else could.
_FATE = """
    SELECT
      CASE WHEN NOT pg_is_in_recovery() THEN pg_xact_status(CAST(%(xid)s AS xid8)) END,
      (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_xid = CAST(CAST(%(xid)s AS xid8) AS xid))
"""
_FATE_PATIENCE = 20.0  # seconds: a server that restarts is mostly back by then
_WHOLE = "SELECT set_config('transaction_timeout', %(end)s, true)"  # PostgreSQL 17 and later
_LAST = (
    "SELECT pg_catalog.set_config('statement_timeout', '10s', true), pg_catalog.set_config('lock_timeout', '5s', true)"
)
_ENDING = frozenset(
    {"commit", "rollback", "close", "cancel", "cancel_safe", "set_autocommit", "set_isolation_level", "set_read_only",
     "set_deferrable", "xid", "tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback", "detach"}
)  # fmt: skip


class TransactionLost(Exception):
    """The transaction was rolled back by no fault of the step: its connection was lost, or it met another one."""


class TransactionRefused(Exception):
    """PostgreSQL refused what the step wrote, at its end: `cause` says why. All of it was rolled back."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


class TransactionEnded(Exception):
    """The step ended the transaction itself, so what it wrote may stay although the step is not on record."""


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that remembers having been outside of a transaction: the one it is in is not the first then."""

    was_idle = False

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Every exchange with the server passes here, whichever cursor began it."""
        try:
            return super().wait(gen, *args, **kwargs)
        finally:
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                self.was_idle = True


class StepConnection:
    """The psycopg connection that a step sees, without what would end its transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        object.__setattr__(self, "_connection", connection)

    def __getattr__(self, name: str) -> Any:
        if name in _ENDING:
            _refuse(name)
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(f"setting {name}")

    def __enter__(self) -> NoReturn:
        _refuse("with (it commits and closes)")

    def __exit__(self, *_: object) -> None:
        """Never reached."""


def _refuse(what: str) -> NoReturn:
    raise InvalidInput(
        f"state.connection must stay in the transaction that records the step, got {what}",
        "return the state to commit, raise to roll back; for a savepoint use: with state.connection.transaction()",
    )


class StepTransaction:
    """One attempt's transaction. A context manager; leaving it without `record` rolls everything back.

    Raises:
        TransactionLost: there is no connection to be had.
    """

    def __init__(self, database: Database, *, timeout: timedelta, grace: timedelta) -> None:
        self._database = database
        self._timeout = timeout
        self._end = timeout + grace

    def __enter__(self) -> Self:
        parameters = {"timeout": _milliseconds(self._timeout), "end": _milliseconds(self._end)}
        try:
            self._connection = self._database.connect_for_step(WatchedConnection)
            ((self._xid, *settings),) = self._connection.execute(_OPENING, parameters).fetchall()
            self._settings = settings[: len(_OURS)]
            if self._connection.info.server_version >= 170000:  # noqa: PLR2004 - as libpq spells it
                self._connection.execute(_WHOLE, parameters)
        except UNKNOWN as exc:
            raise TransactionLost(str(exc)) from exc
        self._connection.was_idle = False
        self.connection = StepConnection(self._connection)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give it up: what was not committed is rolled back, now or when the server notices."""
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    @property
    def was_ended(self) -> bool:
        """Whether the step ended it by a statement of its own, or may have: what it wrote may stay.

        A failed or lost transaction is rolled back, but the step may have ended its own before, or a COMMIT of its own
        may be what was lost. So its fate is asked of another connection; while it is not known, this says True.
        """
        if self._connection.was_idle:
            return True
        if self._connection.info.transaction_status is psycopg.pq.TransactionStatus.INERROR:
            return self._may_be_committed()
        try:
            row = self._connection.execute(_CURRENT).fetchone()
        except psycopg.Error:
            self.close()
            return self._may_be_committed()
        return row is None or row[0] != self._xid

    def _may_be_committed(self) -> bool:
        until = time.monotonic() + _FATE_PATIENCE
        while True:
            try:
                with self._database.checkout() as connection:
                    row = connection.execute(_FATE, {"xid": str(self._xid)}).fetchone()
            except psycopg.errors.InvalidParameterValue:
                return False  # in the future: the server crashed, and nothing of it had reached the disk
            except UNKNOWN as exc:
                self._database.retire(exc)
                row = None
            if row is not None and row[0] in ("committed", "aborted"):
                return bool(row[0] == "committed")
            if time.monotonic() > until:
                return True
            time.sleep(0.1)

    def record(self, name: str, parameters: dict[str, Any]) -> DictRow | None:
        """Run the move in it and commit. None: the fence is stale, and nothing is left of the transaction.

        Raises:
            psycopg.OperationalError, psycopg.InterfaceError: unknown whether it was committed; it is closed.
            TransactionRefused: certainly not, and why.
            TransactionEnded: the step ended it before.
        """
        try:
            if self.was_ended:
                raise TransactionEnded
            self._connection.execute(_LAST)
            self._connection.execute(_DEFERRED)
            self._connection.execute(_RESTORED, self._settings)
            row = execute_one(self._connection, name, parameters)
            if row is not None:
                self._connection.commit()
        except psycopg.errors.InFailedSqlTransaction as exc:  # the step swallowed a failure: certainly not committed
            self.close()
            raise TransactionRefused(exc) from exc
        except UNKNOWN:
            self.close()
            raise
        except psycopg.Error as exc:
            self.close()
            raise TransactionRefused(exc) from exc
        return row


def _milliseconds(length: timedelta) -> str:
    """As PostgreSQL takes it: at least one, for 0 would be no limit at all, and at most what fits."""
    return str(min(max(round(length.total_seconds() * 1000), 1), 2**31 - 1))
